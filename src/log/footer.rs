//! Footers: what the index said of a sealed segment, on disk, so that memory need not hold it.
//!
//! ```text
//!  index-<epoch, 20 digits>.idx
//!    block 0   0  u32 magic "TWI1"      32 u64 run_count
//!              4  u16 version           40 u32 leaf_count
//!              6  u16 shard             44 .. zeros
//!              8  u128 directory_id   4092 u32 crc
//!             24  u64 epoch
//!    leaves    113 runs each: u64 stream_id, u64 seq_num, u64 timestamp, u64 arrival_ms,
//!              u32 offset
//!    levels    127 keys each: a run without its offset, the first one of each block of the level
//!              before; the last level is one block
//!    each      4084 u32 how many are in it, 4088 u32 its number in the file, 4092 u32 crc
//! ```
//!
//! * Runs are sorted by stream and number: a tree of few blocks leads to one of them.
//! * It says what lay in the segment when it was written, and only helps to find it: what of that
//!   still counts is said by the index in memory, and whether it is there by the log. Without it
//!   the segment is gone through. So nothing but time is lost with it.
//! * Written to a temporary name, synced, renamed, directory synced: it is there whole or not at
//!   all. Epochs are not used again, so it never speaks of another segment.

use std::rc::Rc;

use super::format::{FORMAT_VERSION, FormatError, u16_at, u32_at, u64_at};
use super::segment::LogFacts;
use crate::io::{BLOCK_BYTES, Disk, IoResult, LogFile};

const MAGIC: u32 = u32::from_le_bytes(*b"TWI1");
const CRC_AT: usize = BLOCK_BYTES - 4;
const NUMBER_AT: usize = BLOCK_BYTES - 8;
const COUNT_AT: usize = BLOCK_BYTES - 12;
const RUN_BYTES: usize = 36;
const KEY_BYTES: usize = 32;
/// Most runs in a leaf.
const LEAF_RUNS: usize = 113;
/// Most keys in a block of a level.
const LEVEL_KEYS: u32 = 127;
const _: () = assert!(LEAF_RUNS * RUN_BYTES <= COUNT_AT);
const _: () = assert!(LEVEL_KEYS as usize * KEY_BYTES <= COUNT_AT);
/// Most levels: with as many, a footer would be larger than any segment.
const LEVELS_MAX: usize = 6;
/// What the name of a footer being written ends with.
const TEMPORARY: &str = ".tmp";
/// Blocks that are written at a time.
const WRITE_BLOCKS: usize = 64;

/// Name of the footer of a segment.
#[must_use]
pub fn file_name(epoch: u64) -> String {
    format!("index-{epoch:020}.idx")
}

/// Epoch in a footer's name, if it is one.
#[must_use]
pub fn file_epoch(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("index-")?.strip_suffix(".idx")?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}

/// Whether a file is a footer that was not finished.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    name.strip_suffix(TEMPORARY).is_some_and(|name| file_epoch(name).is_some())
}

/// A run of a stream's records in one segment: its batches begin within `index::SPAN_BYTES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FooterRun {
    /// The stream's id.
    pub stream: u64,
    /// Number of its first record.
    pub seq_num: u64,
    /// No record of it is earlier than this, milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// No record before it came later than this, milliseconds since the Unix epoch; `u64::MAX` when
    /// that is not known.
    pub arrival_ms: u64,
    /// Where its span starts, in bytes from the start of the segment's file.
    pub offset_bytes: u32,
}

/// What is looked for in a footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The last run that starts at or before this record.
    SeqNum(u64),
    /// The last run that starts before this timestamp.
    Timestamp(u64),
    /// The last run before which all records came before this time.
    Arrival(u64),
}

/// What runs are sorted by: in a stream, timestamps and arrivals ascend with numbers.
type Key = (u64, u64, u64, u64);

fn key_at(bytes: &[u8]) -> Key {
    (u64_at(bytes, 0), u64_at(bytes, 8), u64_at(bytes, 16), u64_at(bytes, 24))
}

impl Target {
    /// Whether a run that starts there comes too late.
    fn is_before(self, stream: u64, key: Key) -> bool {
        match self {
            Self::SeqNum(seq_num) => (stream, seq_num) < (key.0, key.1),
            Self::Timestamp(timestamp) => (stream, timestamp) <= (key.0, key.2),
            Self::Arrival(arrival_ms) => (stream, arrival_ms) <= (key.0, key.3),
        }
    }
}

/// Where the blocks of a footer are: its levels, leaves first, each with the number of its first
/// block and how many blocks it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    levels: Vec<(u32, u32)>,
}

impl Shape {
    fn of(leaf_count: u32) -> Self {
        let mut levels = vec![(1, leaf_count)];
        let (mut first, mut count) = (1 + leaf_count, leaf_count);
        while count > 1 {
            count = count.div_ceil(LEVEL_KEYS);
            levels.push((first, count));
            first += count;
        }
        Self { levels }
    }

    /// The block to begin a search with, and how many levels lie below it; `None` when there are
    /// no runs.
    #[must_use]
    pub fn root(&self) -> Option<(u32, usize)> {
        let (first, count) = self.levels.last().copied()?;
        (count == 1).then_some((first, self.levels.len() - 1))
    }

    /// How many blocks the file has.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.levels.last().map_or(1, |(first, count)| first + count)
    }

    /// In a block of a level, which is not that of the leaves: the number of the block to go on
    /// with; `None` when all runs come too late.
    #[must_use]
    pub fn child(
        &self,
        block: &[u8],
        number: u32,
        level: usize,
        stream: u64,
        target: Target,
    ) -> Option<u32> {
        let keys = block[..COUNT_AT].chunks_exact(KEY_BYTES).take(count_of(block));
        let before = keys.take_while(|k| !target.is_before(stream, key_at(k))).count();
        let ordinal = u32::try_from(before.checked_sub(1)?).expect("at most 127");
        let (first, _) = self.levels.get(level)?;
        let (below, count) = self.levels.get(level.checked_sub(1)?)?;
        let at = number.checked_sub(*first)?.checked_mul(LEVEL_KEYS)? + ordinal;
        (at < *count).then(|| below + at)
    }
}

/// In a leaf: the run of this stream that is looked for, if it is there.
#[must_use]
pub fn find_run(block: &[u8], stream: u64, target: Target) -> Option<FooterRun> {
    let runs = block[..COUNT_AT].chunks_exact(RUN_BYTES).take(count_of(block));
    let last = runs.take_while(|r| !target.is_before(stream, key_at(r))).last()?;
    let run = FooterRun {
        stream: u64_at(last, 0),
        seq_num: u64_at(last, 8),
        timestamp: u64_at(last, 16),
        arrival_ms: u64_at(last, 24),
        offset_bytes: u32_at(last, KEY_BYTES),
    };
    (run.stream == stream).then_some(run)
}

fn count_of(block: &[u8]) -> usize {
    u32_at(block, COUNT_AT) as usize
}

fn crc_of(log: LogFacts, epoch: u64, block: &[u8]) -> u32 {
    let salt = crc32c::crc32c_append(
        crc32c::crc32c(&log.directory_id.to_le_bytes()),
        &epoch.to_le_bytes(),
    );
    crc32c::crc32c_append(salt, &block[..CRC_AT])
}

/// Checks a block of the footer of `epoch` that is not its first one.
///
/// * Errors: [`FormatError`] when it is not what was written there.
pub fn check_block(
    log: LogFacts,
    epoch: u64,
    number: u32,
    block: &[u8],
) -> Result<(), FormatError> {
    if crc_of(log, epoch, block) != u32_at(block, CRC_AT) {
        return Err(FormatError::PayloadChecksum);
    }
    if u32_at(block, NUMBER_AT) != number {
        return Err(FormatError::Entry("footer block out of place"));
    }
    Ok(())
}

/// Reads the first block of the footer of `epoch`, in a file of `len_bytes`.
///
/// * Errors: [`FormatError`] when it is not one, or is another segment's.
pub fn decode(
    log: LogFacts,
    epoch: u64,
    block: &[u8],
    len_bytes: u64,
) -> Result<Shape, FormatError> {
    if u32_at(block, 0) != MAGIC {
        return Err(FormatError::Magic);
    }
    if crc_of(log, epoch, block) != u32_at(block, CRC_AT) {
        return Err(FormatError::HeaderChecksum);
    }
    let version = u16_at(block, 4);
    if version != FORMAT_VERSION {
        return Err(FormatError::Version(version));
    }
    if u16_at(block, 6) != log.shard || u64_at(block, 24) != epoch {
        return Err(FormatError::Entry("footer of another segment"));
    }
    let shape = Shape::of(u32_at(block, 40));
    let whole = shape.levels.len() <= LEVELS_MAX
        && u64::from(shape.blocks()) * BLOCK_BYTES as u64 == len_bytes;
    if whole { Ok(shape) } else { Err(FormatError::Length) }
}

/// A footer that is being written, under a temporary name.
#[derive(Debug)]
pub struct FooterWriter<'d, D: Disk> {
    disk: &'d D,
    log: LogFacts,
    epoch: u64,
    file: D::File,
    /// Blocks that are not written yet; the last one may not be full.
    pending: Vec<u8>,
    /// How many are in the last one.
    last_count: usize,
    /// Blocks begun so far, the header included.
    blocks: u32,
    /// The first key of each block of the level that is being written.
    keys: Vec<[u8; KEY_BYTES]>,
    run_count: u64,
    written_bytes: u64,
    last: Option<(u64, u64)>,
}

impl<'d, D: Disk> FooterWriter<'d, D> {
    /// Begins the footer of a sealed segment; what an interrupted attempt left is removed.
    pub async fn create(disk: &'d D, log: LogFacts, epoch: u64) -> IoResult<Self> {
        let temporary = format!("{}{TEMPORARY}", file_name(epoch));
        if disk.list()?.iter().any(|(name, _)| *name == temporary) {
            disk.remove(&temporary)?;
        }
        // How long it will be is not known: it grows.
        let file = disk.create(&temporary, BLOCK_BYTES as u64).await?;
        Ok(Self {
            disk,
            log,
            epoch,
            file,
            pending: Vec::new(),
            last_count: 0,
            blocks: 1,
            keys: Vec::new(),
            run_count: 0,
            written_bytes: BLOCK_BYTES as u64,
            last: None,
        })
    }

    /// Adds a run; they come sorted by stream and number.
    pub fn push(&mut self, run: FooterRun) {
        let key = (run.stream, run.seq_num);
        assert!(self.last.is_none_or(|last| last < key), "runs are sorted");
        self.last = Some(key);
        self.run_count += 1;
        let mut bytes = [0; RUN_BYTES];
        bytes[..KEY_BYTES].copy_from_slice(&key_bytes(&run));
        bytes[KEY_BYTES..].copy_from_slice(&run.offset_bytes.to_le_bytes());
        if self.put(&bytes, LEAF_RUNS) {
            self.keys.push(key_bytes(&run));
        }
    }

    /// Puts an item into the last block, or into a new one where that is full; says whether it is
    /// the first of its block.
    fn put(&mut self, item: &[u8], count_max: usize) -> bool {
        let is_first = self.last_count == 0 || self.last_count == count_max;
        if is_first {
            self.end_block();
            self.pending.resize(self.pending.len() + BLOCK_BYTES, 0);
            self.blocks += 1;
        }
        let start = self.pending.len() - BLOCK_BYTES + self.last_count * item.len();
        self.pending[start..start + item.len()].copy_from_slice(item);
        self.last_count += 1;
        is_first
    }

    /// Closes the last block, if there is one that is open.
    fn end_block(&mut self) {
        if self.last_count == 0 {
            return;
        }
        let start = self.pending.len() - BLOCK_BYTES;
        let block = &mut self.pending[start..];
        let count = u32::try_from(self.last_count).expect("at most 127");
        block[COUNT_AT..NUMBER_AT].copy_from_slice(&count.to_le_bytes());
        block[NUMBER_AT..CRC_AT].copy_from_slice(&(self.blocks - 1).to_le_bytes());
        let crc = crc_of(self.log, self.epoch, block);
        block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        self.last_count = 0;
    }

    /// Whether there is enough for a write.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let open = if self.last_count > 0 { BLOCK_BYTES } else { 0 };
        self.pending.len() >= open + WRITE_BLOCKS * BLOCK_BYTES
    }

    /// Gives the footer up.
    pub fn abandon(self) -> IoResult<()> {
        self.disk.remove(self.file.name())
    }

    /// Writes what is there once it is enough, so that little of a footer is ever in memory.
    pub async fn write_full(&mut self) -> IoResult<()> {
        if self.is_full() {
            let open = if self.last_count > 0 { BLOCK_BYTES } else { 0 };
            let rest = self.pending.split_off(self.pending.len() - open);
            self.write_pending().await?;
            self.pending = rest;
        }
        Ok(())
    }

    async fn write_pending(&mut self) -> IoResult<()> {
        for part in self.pending.chunks(WRITE_BLOCKS * BLOCK_BYTES) {
            let mut buf = self.disk.alloc(part.len());
            buf.as_mut().copy_from_slice(part);
            self.file.write_at(Rc::new(buf), self.written_bytes).await?;
            self.written_bytes += part.len() as u64;
        }
        self.pending.clear();
        Ok(())
    }

    /// Writes what is left and gives the footer its name.
    ///
    /// * Durable: yes, name included, when it returns.
    pub async fn finish(mut self) -> IoResult<()> {
        self.end_block();
        let leaf_count = self.blocks - 1;
        while self.keys.len() > 1 {
            for key in std::mem::take(&mut self.keys) {
                if self.put(&key, LEVEL_KEYS as usize) {
                    self.keys.push(key);
                }
            }
            self.end_block();
        }
        self.write_pending().await?;
        let mut block = self.disk.alloc(BLOCK_BYTES);
        self.encode(block.as_mut(), leaf_count);
        self.file.write_at(Rc::new(block), 0).await?;
        self.file.sync().await?;
        self.disk.rename(self.file.name(), &file_name(self.epoch))?;
        self.disk.sync_dir().await
    }

    fn encode(&self, block: &mut [u8], leaf_count: u32) {
        block.fill(0);
        block[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        block[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[6..8].copy_from_slice(&self.log.shard.to_le_bytes());
        block[8..24].copy_from_slice(&self.log.directory_id.to_le_bytes());
        block[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        block[32..40].copy_from_slice(&self.run_count.to_le_bytes());
        block[40..44].copy_from_slice(&leaf_count.to_le_bytes());
        let crc = crc_of(self.log, self.epoch, block);
        block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }
}

fn key_bytes(run: &FooterRun) -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    bytes[..8].copy_from_slice(&run.stream.to_le_bytes());
    bytes[8..16].copy_from_slice(&run.seq_num.to_le_bytes());
    bytes[16..24].copy_from_slice(&run.timestamp.to_le_bytes());
    bytes[24..].copy_from_slice(&run.arrival_ms.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests;
