//! What an operator has given up for lost: damaged places that are passed over, and the records
//! that were there.
//!
//! Nothing passes over damage by itself. `thalweg repair` writes the file `quarantine` into a
//! shard's directory when it is told to; the frames themselves stay as they are.
//!
//! ```text
//!  TWQ1 <CRC-32C of the text, 8 hex digits> <bytes of the text, decimal>\n
//!  text: JSON, see `Quarantine`
//!  spaces up to a multiple of 4096
//! ```
//!
//! * Replaced whole, never edited: the old one or the new one is there, whatever happens.
//! * Epochs are not used again, so what it says of a segment that was given up means nothing, and
//!   nothing else.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::format::{FormatError, NUMBER_MAX, is_frame_place};
use super::writer::Chain;
use crate::io::{BLOCK_BYTES, Disk, Extent, IoError, IoResult, LogFile};
use crate::types::{LogPos, json};

/// Name of the file in a shard's directory.
pub const FILE: &str = "quarantine";
const TEMPORARY: &str = "quarantine.tmp";
const MAGIC: &str = "TWQ1";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The disk refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// It is not what was written.
    #[error("the file {FILE} is damaged: {0}")]
    Damaged(FormatError),
}

/// A damaged stretch of a segment that is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostPlace {
    /// The segment.
    pub epoch: u64,
    /// Where it begins, in bytes from the start of the file.
    pub offset: u32,
    /// Where the next whole frame begins, or the segment ends.
    pub end_offset: u32,
    /// Number of the first frame in it.
    pub frame_seq: u64,
    /// Number of the frame after it.
    pub next_frame_seq: u64,
    /// What that frame says of the one before it.
    pub next_prev_crc: u32,
    /// Where the damaged bytes were copied to, below the data directory.
    pub copy: String,
}

impl LostPlace {
    /// Whether it can be a place in a log, between two frames.
    fn is_sound(&self) -> bool {
        let place = |offset_bytes| LogPos { segment: self.epoch, offset_bytes };
        is_frame_place(place(self.offset))
            && is_frame_place(place(self.end_offset))
            && self.offset < self.end_offset
            && self.next_frame_seq <= NUMBER_MAX
    }

    /// What the frame after it must say.
    #[must_use]
    pub fn next(&self) -> Chain {
        Chain { next_frame_seq: self.next_frame_seq, prev_crc: self.next_prev_crc }
    }
}

/// Records of one stream that were in such places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRecords {
    /// The stream's id in its shard.
    pub stream: u64,
    /// `basin/stream`, for people.
    pub name: String,
    /// The first of them.
    pub first_seq_num: u64,
    /// One past the last.
    pub end_seq_num: u64,
}

/// Everything that a shard has given up for lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Damaged places, in the log's order.
    pub places: Vec<LostPlace>,
    /// What was in them.
    pub records: Vec<LostRecords>,
}

impl Quarantine {
    /// Reads the file in `disk`'s directory; empty when there is none.
    ///
    /// * Errors: [`QuarantineError`].
    pub async fn read<D: Disk>(disk: &D) -> Result<Self, QuarantineError> {
        let listed = disk.list()?.into_iter().find(|(name, _)| name == FILE);
        let Some((_, len_bytes)) = listed else { return Ok(Self::default()) };
        let len_bytes = usize::try_from(len_bytes).expect("far below 16 EiB");
        if len_bytes == 0 || !len_bytes.is_multiple_of(BLOCK_BYTES) {
            return Err(QuarantineError::Damaged(FormatError::Length));
        }
        let file = disk.open(FILE).await?;
        let bytes = file.read_at(Extent { offset_bytes: 0, len_bytes }).await?;
        Self::parse(bytes.as_ref()).map_err(QuarantineError::Damaged)
    }

    fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let end = bytes.iter().position(|b| *b == b'\n').ok_or(FormatError::Magic)?;
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        let line = std::str::from_utf8(line).map_err(|_| FormatError::Magic)?;
        let mut words = line.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(FormatError::Magic);
        }
        let crc = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
        let len = words.next().and_then(|word| word.parse().ok()).ok_or(FormatError::Length)?;
        let text = rest.get(..len).ok_or(FormatError::Length)?;
        if crc != Some(crc32c::crc32c(text)) {
            return Err(FormatError::PayloadChecksum);
        }
        let parsed: Self = json::from_slice(text).map_err(|_| FormatError::Entry("quarantine"))?;
        let is_sound = parsed.places.iter().all(LostPlace::is_sound);
        if is_sound { Ok(parsed) } else { Err(FormatError::Number) }
    }

    /// Replaces the file in `disk`'s directory.
    ///
    /// * Durable: yes, name included, when it returns.
    pub async fn write<D: Disk>(&self, disk: &D) -> IoResult<()> {
        let text = serde_json::to_vec_pretty(self).expect("plain members");
        let mut bytes =
            format!("{MAGIC} {:08x} {}\n", crc32c::crc32c(&text), text.len()).into_bytes();
        bytes.extend_from_slice(&text);
        bytes.push(b'\n');
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), b' ');
        replace(disk, TEMPORARY, FILE, &bytes).await
    }

    /// The places in the segment with this epoch.
    #[must_use]
    pub fn in_segment(&self, epoch: u64) -> Vec<LostPlace> {
        self.places.iter().filter(|place| place.epoch == epoch).cloned().collect()
    }
}

/// Writes a file under a temporary name and renames it.
///
/// * Shape: `bytes` is a multiple of [`BLOCK_BYTES`] long, and at least one.
/// * Durable: yes, name included, when it returns.
pub async fn replace<D: Disk>(disk: &D, temporary: &str, name: &str, bytes: &[u8]) -> IoResult<()> {
    // What an interrupted attempt left.
    if disk.list()?.iter().any(|(left, _)| left == temporary) {
        disk.remove(temporary)?;
    }
    let file = disk.create(temporary, bytes.len() as u64).await?;
    let mut buf = disk.alloc(bytes.len());
    buf.as_mut().copy_from_slice(bytes);
    file.write_at(Rc::new(buf), 0).await?;
    file.sync().await?;
    disk.rename(temporary, name)?;
    disk.sync_dir().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{SimIo, SimRuntime};

    fn sample(places: usize) -> Quarantine {
        let place = |n: usize| LostPlace {
            epoch: n as u64,
            offset: 4096,
            end_offset: 8192,
            frame_seq: 7,
            next_frame_seq: 9,
            next_prev_crc: u32::MAX,
            copy: "quarantine/shard-0-segment-00000001.log-4096".to_owned(),
        };
        let (first_seq_num, end_seq_num) = (u64::MAX - 1, u64::MAX);
        let name = "test-basin-1/ü".to_owned();
        let records = vec![LostRecords { stream: 3, name, first_seq_num, end_seq_num }];
        Quarantine { places: (0..places).map(place).collect(), records }
    }

    #[test]
    fn it_is_there_whole_old_or_new_whatever_a_power_cut_takes() {
        let (old, new) = (sample(1), sample(100)); // one block, and several
        let mut seen = [0, 0];
        for seed in 0..200 {
            let io = SimIo::new(seed);
            let runtime = SimRuntime::new(&io);
            runtime.block_on(async { old.write(&io).await.unwrap() });
            runtime.spawn({
                let (io, new) = (io.clone(), new.clone());
                async move { new.write(&io).await }
            });
            runtime.block_on(crate::io::Clock::sleep_us(&io, seed * 5));
            let io = io.crash(seed);
            let found = SimRuntime::new(&io).block_on(async {
                let found = Quarantine::read(&io).await.unwrap();
                sample(2).write(&io).await.expect("what was left does not matter");
                assert_eq!(Quarantine::read(&io).await.unwrap(), sample(2));
                found
            });
            assert!(found == old || found == new, "seed {seed}: {found:?}");
            seen[usize::from(found == new)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 0), "both were met: {seen:?}");
    }

    #[test]
    fn any_flipped_bit_that_matters_is_noticed() {
        let io = SimIo::new(1);
        let runtime = SimRuntime::new(&io);
        runtime.block_on(async { sample(1).write(&io).await.unwrap() });
        let whole = io.contents(FILE).unwrap();
        assert_eq!(Quarantine::parse(&whole), Ok(sample(1)));
        let used = whole.iter().rposition(|b| *b == b'}').unwrap();
        for bit in 0..=used * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // The case of a hexadecimal digit says nothing.
            let read = Quarantine::parse(&bytes);
            assert!(read.is_err() || bytes.eq_ignore_ascii_case(&whole), "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn places_where_no_frame_can_be_are_refused() {
        let io = SimIo::new(1);
        let place = &sample(1).places[0];
        let changed = [
            LostPlace { offset: 4097, ..place.clone() },
            LostPlace { offset: 0, ..place.clone() },
            LostPlace { end_offset: 8191, ..place.clone() },
            LostPlace { end_offset: 4096, ..place.clone() },
            LostPlace { epoch: u64::MAX, ..place.clone() },
            LostPlace { next_frame_seq: u64::MAX, ..place.clone() },
        ];
        for place in changed {
            let bad = Quarantine { places: vec![place], records: Vec::new() };
            let read = SimRuntime::new(&io).block_on(async {
                bad.write(&io).await.unwrap();
                Quarantine::read(&io).await
            });
            let is_refused = matches!(read, Err(QuarantineError::Damaged(FormatError::Number)));
            assert!(is_refused, "{bad:?}");
        }
    }

    #[test]
    fn there_need_be_none() {
        let io = SimIo::new(1);
        let read = SimRuntime::new(&io).block_on(async { Quarantine::read(&io).await.unwrap() });
        assert_eq!(read, Quarantine::default());
    }
}
