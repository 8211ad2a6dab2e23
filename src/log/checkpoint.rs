//! Checkpoints: the state of a shard at one place in its log, so that a restart is short and the
//! log before it may go.
//!
//! ```text
//!  checkpoint-<next frame_seq, 20 digits>.ckpt
//!    block 0   0  u32 magic "TWC1"      40 u32 offset_bytes     64 u32 frame_count
//!              4  u16 version           44 u32 prev_crc         76 .. zeros
//!              6  u16 shard             48 u64 next_frame_seq   4092 u32 crc (of 0..4092)
//!              8  u128 directory_id     56 u64 next_stream_id
//!             24  u64 log epoch          68 u64 end_frame_seq, or 0
//!             32  u64 first_epoch
//!    then      frames as in a segment: numbered from 1, epoch = next_frame_seq, holding
//!              `Kind::Basin`, `Kind::Stream` and `Kind::StreamState` entries; one that is too long
//!              for a frame (a stream's index grows with the log) is cut into `Kind::Part`s and an
//!              end of its own kind
//! ```
//!
//! Streams are saved one after the other while the log goes on: which streams there are is told as
//! of the checkpoint's place, what is in each as of a later moment, before the frame
//! `end_frame_seq`. Whoever replays the log from the place on passes over what is there already.
//!
//! Written to a temporary name, synced, renamed, directory synced: a checkpoint is there whole or
//! not at all. The newest two are kept: should one turn out damaged, the one before it and the
//! log since then still say everything.

mod write;

use super::entry::{Entry, Kind, metadata_bytes, put_metadata};
use super::format::{
    FORMAT_VERSION, FormatError, FrameHeader, NUMBER_MAX, is_frame_place, payload_of, u16_at,
    u32_at, u64_at,
};
use super::scan::Visitor;
use super::segment::LogFacts;
use super::writer::Chain;
use crate::io::{BLOCK_BYTES, Disk, Extent, IoError, IoResult, LogFile};
use crate::types::LogPos;

pub use write::{CheckpointBuilder, CheckpointWriter};

const MAGIC: u32 = u32::from_le_bytes(*b"TWC1");
const CRC_AT: usize = BLOCK_BYTES - 4;
/// Payload at which a checkpoint's frame is closed, in bytes.
const FRAME_PAYLOAD_BYTES: usize = 256 * 1024;
/// Longest body of an entry that is not cut, in bytes.
const PART_BYTES: usize = FRAME_PAYLOAD_BYTES - metadata_bytes(0);
/// What the name of a checkpoint being written ends with.
const TEMPORARY: &str = ".tmp";
/// Checkpoints kept.
const KEEP: usize = 2;

/// Where in the log a checkpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointFacts {
    /// Where the first frame after it goes.
    pub pos: LogPos,
    /// What that frame says.
    pub chain: Chain,
    /// Epoch of the oldest segment that still holds something; those before it are dead.
    pub first_epoch: u64,
    /// The next stream id to hand out.
    pub next_stream_id: u64,
    /// Streams may be saved as they were later than at the place, but before this frame; at least
    /// the number of the frame that goes there.
    pub end_frame_seq: u64,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Its bytes are not a checkpoint of this shard.
    #[error("{file} is damaged at {offset_bytes}: {reason}")]
    Damaged {
        /// The file.
        file: String,
        /// Start of the block or frame that is damaged, in bytes from the start of the file.
        offset_bytes: u64,
        /// What is wrong.
        reason: FormatError,
    },
}

fn file_name(number: u64) -> String {
    format!("checkpoint-{number:020}.ckpt")
}

fn digits(name: &str) -> Option<&str> {
    name.strip_prefix("checkpoint-")?.strip_suffix(".ckpt")
}

/// Whether a file of a shard's directory is a checkpoint, by its name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    digits(name).is_some_and(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()))
}

/// The number in a checkpoint's name; the greatest when it is none of ours.
fn number(name: &str) -> u64 {
    digits(name).and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}

fn is_temporary(name: &str) -> bool {
    name.strip_suffix(TEMPORARY).is_some_and(is_name)
}

/// Removes what interrupted attempts left.
pub fn remove_unfinished<D: Disk>(disk: &D) -> IoResult<()> {
    let files = disk.list()?;
    files.iter().filter(|(name, _)| is_temporary(name)).try_for_each(|(name, _)| disk.remove(name))
}

/// The checkpoint files of a shard, oldest first.
pub fn list<D: Disk>(disk: &D) -> IoResult<Vec<(String, u64)>> {
    let mut files = disk.list()?;
    files.retain(|(name, _)| is_name(name));
    Ok(files)
}

/// Epoch of the oldest segment that any checkpoint on disk needs, were the newer ones damaged; 1
/// while there are fewer than are kept, since then the whole log may be needed.
pub async fn oldest_needed<D: Disk>(disk: &D, log: LogFacts) -> IoResult<u64> {
    let mut epochs = Vec::new();
    for (name, len_bytes) in list(disk)? {
        if len_bytes < BLOCK_BYTES as u64 {
            continue;
        }
        let extent = Extent { offset_bytes: 0, len_bytes: BLOCK_BYTES };
        let block = disk.open(&name).await?.read_at(extent).await?;
        epochs.extend(decode(block.as_ref(), log).ok().map(|(facts, _)| facts.first_epoch));
    }
    let oldest = epochs.iter().min().copied();
    Ok(oldest.filter(|_| epochs.len() >= KEEP).unwrap_or(1))
}

fn encode(block: &mut [u8], log: LogFacts, facts: CheckpointFacts, frame_count: usize) {
    let frame_count = u32::try_from(frame_count).expect("a checkpoint is below 1 PiB");
    block.fill(0);
    block[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    block[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    block[6..8].copy_from_slice(&log.shard.to_le_bytes());
    block[8..24].copy_from_slice(&log.directory_id.to_le_bytes());
    block[24..32].copy_from_slice(&facts.pos.segment.to_le_bytes());
    block[32..40].copy_from_slice(&facts.first_epoch.to_le_bytes());
    block[40..44].copy_from_slice(&facts.pos.offset_bytes.to_le_bytes());
    block[44..48].copy_from_slice(&facts.chain.prev_crc.to_le_bytes());
    block[48..56].copy_from_slice(&facts.chain.next_frame_seq.to_le_bytes());
    block[56..64].copy_from_slice(&facts.next_stream_id.to_le_bytes());
    block[64..68].copy_from_slice(&frame_count.to_le_bytes());
    if facts.end_frame_seq > facts.chain.next_frame_seq {
        block[68..76].copy_from_slice(&facts.end_frame_seq.to_le_bytes());
    }
    let crc = crc32c::crc32c(&block[..CRC_AT]);
    block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
}

fn decode(block: &[u8], log: LogFacts) -> Result<(CheckpointFacts, u32), FormatError> {
    if block.len() < BLOCK_BYTES {
        return Err(FormatError::Length);
    }
    if u32_at(block, 0) != MAGIC {
        return Err(FormatError::Magic);
    }
    if crc32c::crc32c(&block[..CRC_AT]) != u32_at(block, CRC_AT) {
        return Err(FormatError::HeaderChecksum);
    }
    let version = u16_at(block, 4);
    if version != FORMAT_VERSION {
        return Err(FormatError::Version(version));
    }
    let id = block[8..24] == log.directory_id.to_le_bytes();
    if !id || u16_at(block, 6) != log.shard {
        return Err(FormatError::Entry("checkpoint of another directory or shard"));
    }
    let facts = CheckpointFacts {
        pos: LogPos { segment: u64_at(block, 24), offset_bytes: u32_at(block, 40) },
        chain: Chain { next_frame_seq: u64_at(block, 48), prev_crc: u32_at(block, 44) },
        first_epoch: u64_at(block, 32),
        next_stream_id: u64_at(block, 56),
        end_frame_seq: u64_at(block, 68).max(u64_at(block, 48)),
    };
    let greatest = facts.chain.next_frame_seq.max(facts.next_stream_id);
    let is_possible = greatest <= NUMBER_MAX && facts.chain.next_frame_seq > 0;
    if !is_frame_place(facts.pos) || facts.first_epoch > facts.pos.segment || !is_possible {
        return Err(FormatError::Number);
    }
    Ok((facts, u32_at(block, 64)))
}

/// What the first block of a checkpoint says; the rest is not looked at.
///
/// * Errors: as [`FrameHeader::decode`], or that it is of another directory or shard.
pub fn facts(block: &[u8], log: LogFacts) -> Result<CheckpointFacts, FormatError> {
    decode(block, log).map(|(facts, _)| facts)
}

/// Reads a checkpoint whole and checks all of it; then hands its entries to `visitor`.
///
/// * Errors: [`CheckpointError::Damaged`] before the visitor has seen anything, so that the one
///   before it can be tried instead.
pub async fn read<D: Disk>(
    disk: &D,
    log: LogFacts,
    name: &str,
    len_bytes: u64,
    visitor: &mut impl Visitor,
) -> Result<CheckpointFacts, CheckpointError> {
    let damaged_at = |at: usize| {
        move |reason| CheckpointError::Damaged {
            file: name.to_owned(),
            offset_bytes: at as u64,
            reason,
        }
    };
    let damaged = damaged_at(0);
    let file = disk.open(name).await?;
    let len_bytes = usize::try_from(len_bytes).expect("far below 16 EiB");
    if len_bytes < BLOCK_BYTES || !len_bytes.is_multiple_of(BLOCK_BYTES) {
        return Err(damaged(FormatError::Length));
    }
    let bytes = read_all(&file, len_bytes).await?;
    let (facts, frame_count) = decode(&bytes[..BLOCK_BYTES], log).map_err(damaged)?;
    let mut payloads = Vec::new();
    let mut at = BLOCK_BYTES;
    let mut prev_crc = 0;
    for frame_seq in 1..=u64::from(frame_count) {
        let damaged = damaged_at(at);
        let rest = bytes.get(at..).ok_or_else(|| damaged(FormatError::Length))?;
        let (header, crc) = FrameHeader::decode(rest, log.salt()).map_err(damaged)?;
        let in_chain = header.frame_seq == frame_seq
            && header.prev_crc == prev_crc
            && header.epoch == facts.chain.next_frame_seq;
        if !in_chain {
            return Err(damaged(FormatError::Entry("frame out of place")));
        }
        payloads.push((at, payload_of(&header, rest).map_err(damaged)?));
        at += header.frame_bytes();
        prev_crc = crc;
    }
    let damaged = |(at, reason): (usize, FormatError)| damaged_at(at)(reason);
    join(&payloads, |_| Ok(())).map_err(damaged)?;
    visitor.checkpoint(&facts);
    join(&payloads, |entry| visitor.entry(facts.pos, entry)).map_err(damaged)?;
    Ok(facts)
}

/// Hands the entries in `payloads` to `each`, those that were cut in one piece. A payload comes
/// with its offset in the file, which an error names.
fn join(
    payloads: &[(usize, &[u8])],
    mut each: impl FnMut(&Entry<'_>) -> Result<(), FormatError>,
) -> Result<(), (usize, FormatError)> {
    let mut parts = Vec::new();
    for (at, payload) in payloads {
        for entry in super::entry::entries(payload) {
            let entry = entry.map_err(|reason| (*at, reason))?;
            if parts.is_empty() && entry.kind != Kind::Part {
                each(&entry).map_err(|reason| (*at, reason))?;
                continue;
            }
            parts.extend_from_slice(entry.metadata());
            if entry.kind != Kind::Part {
                let mut bytes = vec![0; metadata_bytes(parts.len())];
                put_metadata(&mut bytes, entry.kind, &parts);
                parts.clear();
                let whole = Entry { kind: entry.kind, bytes: &bytes };
                each(&whole).map_err(|reason| (*at, reason))?;
            }
        }
    }
    let end = payloads.last().map_or(0, |(at, _)| *at);
    let missing = FormatError::Entry("end of a cut entry is missing");
    if parts.is_empty() { Ok(()) } else { Err((end, missing)) }
}

async fn read_all<F: LogFile>(file: &F, len_bytes: usize) -> IoResult<Vec<u8>> {
    const STEP: usize = 1024 * 1024;
    let mut bytes = Vec::with_capacity(len_bytes);
    while bytes.len() < len_bytes {
        let step = STEP.min(len_bytes - bytes.len());
        let extent = Extent { offset_bytes: bytes.len() as u64, len_bytes: step };
        bytes.extend_from_slice(file.read_at(extent).await?.as_ref());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::format::PAYLOAD_BYTES_MAX;
    use super::*;

    #[test]
    fn the_header_says_how_late_streams_may_be_and_nothing_when_they_are_not() {
        let log = LogFacts { directory_id: 7, shard: 3, segment_bytes: 1 << 20 };
        let exact = CheckpointFacts {
            pos: LogPos { segment: 2, offset_bytes: 8192 },
            chain: Chain { next_frame_seq: 40, prev_crc: 9 },
            first_epoch: 1,
            next_stream_id: 5,
            end_frame_seq: 40,
        };
        for (end_frame_seq, on_disk) in [(40, 0), (41, 41), (u64::MAX, u64::MAX)] {
            let facts = CheckpointFacts { end_frame_seq, ..exact };
            let mut block = [1; BLOCK_BYTES];
            encode(&mut block, log, facts, 6);
            assert_eq!(u64_at(&block, 68), on_disk);
            assert_eq!(decode(&block, log), Ok((facts, 6)));
        }
    }

    #[test]
    fn a_header_that_names_a_place_where_no_log_can_be_is_refused() {
        let log = LogFacts { directory_id: 7, shard: 3, segment_bytes: 1 << 20 };
        let sound = CheckpointFacts {
            pos: LogPos { segment: 2, offset_bytes: 8192 },
            chain: Chain { next_frame_seq: 40, prev_crc: 9 },
            first_epoch: 2,
            next_stream_id: 5,
            end_frame_seq: 40,
        };
        let chain = Chain { next_frame_seq: u64::MAX, ..sound.chain };
        let facts = [
            CheckpointFacts { pos: LogPos { offset_bytes: 8193, ..sound.pos }, ..sound },
            CheckpointFacts { pos: LogPos { offset_bytes: 0, ..sound.pos }, ..sound },
            CheckpointFacts { pos: LogPos { segment: u64::MAX, ..sound.pos }, ..sound },
            CheckpointFacts { first_epoch: 3, ..sound },
            CheckpointFacts { next_stream_id: u64::MAX, ..sound },
            CheckpointFacts { chain, end_frame_seq: u64::MAX, ..sound },
        ];
        let mut block = [0; BLOCK_BYTES];
        for facts in facts {
            encode(&mut block, log, facts, 6);
            assert_eq!(decode(&block, log), Err(FormatError::Number), "{facts:?}");
        }
        encode(&mut block, log, sound, 6);
        assert_eq!(decode(&block, log), Ok((sound, 6)));
    }

    #[test]
    fn an_entry_of_any_length_fits_the_frames_and_comes_back_whole() {
        let lengths = [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES];
        let lengths = lengths.into_iter().chain([PAYLOAD_BYTES_MAX + 1, 3]);
        let bodies: Vec<Vec<u8>> = (1..).zip(lengths).map(|(byte, len)| vec![byte; len]).collect();
        let mut builder = CheckpointBuilder::default();
        for body in &bodies {
            builder.push(Kind::StreamState, body);
        }
        assert!(builder.frames.iter().all(|(payload, _)| payload.len() <= FRAME_PAYLOAD_BYTES));
        let payloads: Vec<(usize, &[u8])> =
            builder.frames.iter().map(|(p, _)| (0, p.as_slice())).collect();
        let mut joined = Vec::new();
        let each = |entry: &Entry<'_>| {
            assert_eq!(entry.kind, Kind::StreamState);
            joined.push(entry.metadata().to_vec());
            Ok(())
        };
        assert_eq!(join(&payloads, each), Ok(()));
        assert!(joined == bodies, "an entry changed");
    }

    #[test]
    fn an_entry_without_its_end_is_refused() {
        let mut builder = CheckpointBuilder::default();
        builder.push_part(Kind::Part, b"front");
        let payloads: Vec<(usize, &[u8])> =
            builder.frames.iter().map(|(p, _)| (0, p.as_slice())).collect();
        let missing = Err((0, FormatError::Entry("end of a cut entry is missing")));
        assert_eq!(join(&payloads, |_| Ok(())), missing);
    }
}
