//! Opens a shard's log: what is there, what it says, where it ends, and what must be mended.
//!
//! Order matters: everything is read and judged first; only when the log is known to be whole up
//! to its end is anything written (the torn tail zeroed, a first or next segment made), and that
//! is synced before the log is used. Nothing is ever deleted because something is missing; files
//! that are not ours are left alone and reported. Segments after the log's end, which hold nothing
//! or a torn tail, are removed.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::checkpoint::{self, CheckpointError, CheckpointFacts};
use super::format::{FormatError, FrameHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::quarantine::{self, Quarantine, QuarantineError};
use super::scan::{LogEnd, ScanError, SegmentMap, Visitor, scan};
use super::segment::{LogFacts, Segment, Source, file_number};
use super::segments::{SPARES, Segments};
use super::writer::Chain;
use crate::io::{BLOCK_BYTES, Disk, Extent, Io, IoError, LogFile};
use crate::planted::{self, Bug};
use crate::types::LogPos;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The disk refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The scan met damage.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A segment's header is damaged although frames of the log follow it, or it is of another
    /// directory.
    #[error("segment {file}, offset 0: {reason}")]
    SegmentHeader {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: FormatError,
    },
    /// A segment that must exist does not.
    #[error("segment with epoch {0} is missing")]
    SegmentMissing(u64),
    /// What was given up for lost cannot be told.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
    /// The log's start was given up after a checkpoint, and no checkpoint can be read.
    #[error("no usable checkpoint, and the log starts at epoch {0}")]
    CheckpointMissing(u64),
}

/// A log as found on disk, before anything is mended.
pub struct Found<D: Disk> {
    /// Segments by epoch, those after the log's end included.
    pub segments: SegmentMap<D>,
    /// Files whose creation was interrupted.
    pub unfinished: Vec<String>,
    /// Number for the next new file.
    pub next_file_number: u64,
    /// What an operator has given up for lost.
    pub quarantine: Quarantine,
}

/// What recovery learnt.
pub struct Recovered<I: Io> {
    /// The log's segments, ready to be written on.
    pub segments: Segments<I>,
    /// What the next frame must say.
    pub chain: Chain,
    /// The next stream id that the checkpoint knew of.
    pub next_stream_id: u64,
    /// Bytes cut from the end because their write was interrupted.
    pub torn_bytes: u64,
    /// What an operator has given up for lost.
    pub quarantine: Quarantine,
}

/// Finds the segments in `disk`'s directory.
///
/// * Errors: a damaged header of a segment that still holds frames, another directory's segment.
pub async fn find<D: Disk>(disk: &D, log: LogFacts) -> Result<Found<D>, RecoveryError> {
    let mut found = Found {
        segments: BTreeMap::new(),
        unfinished: Vec::new(),
        next_file_number: 1,
        quarantine: Quarantine::read(disk).await?,
    };
    for (name, len_bytes) in disk.list()? {
        let Some(number) = file_number(&name) else {
            let is_known = ["checkpoint-", "index-", quarantine::FILE];
            if !is_known.iter().any(|front| name.starts_with(front)) {
                tracing::warn!(file = name, "unknown file in the log's directory, left alone");
            }
            continue;
        };
        found.next_file_number = found.next_file_number.max(number + 1);
        if len_bytes < 2 * SEGMENT_HEADER_BYTES as u64 {
            found.unfinished.push(name);
            continue;
        }
        let file = disk.open(&name).await?;
        let block = file.read_at(Extent { offset_bytes: 0, len_bytes: BLOCK_BYTES }).await?;
        let refuse = |reason| RecoveryError::SegmentHeader { file: name.clone(), reason };
        match SegmentHeader::decode(block.as_ref()) {
            Ok(header) if header.directory_id != log.directory_id || header.shard != log.shard => {
                return Err(refuse(FormatError::Entry("segment of another directory or shard")));
            }
            Ok(header) if header.segment_bytes > len_bytes || !is_sane(header.segment_bytes) => {
                return Err(refuse(FormatError::Length));
            }
            Ok(header) => {
                let segment = Rc::new(Segment::found(file, &header));
                segment.set_lost(found.quarantine.in_segment(header.epoch));
                if found.segments.insert(header.epoch, segment).is_some() {
                    return Err(refuse(FormatError::Entry("two segments of one epoch")));
                }
            }
            // Its checksum is right: it is no header whose write was interrupted.
            Err(reason @ (FormatError::Version(_) | FormatError::Number)) => {
                return Err(refuse(reason));
            }
            Err(reason) if holds_frames(&file, len_bytes, log).await? => {
                return Err(refuse(reason));
            }
            Err(_) => found.unfinished.push(name),
        }
    }
    Ok(found)
}

/// Whether a segment can have this length: whole blocks, its header and more, every offset a `u32`.
fn is_sane(segment_bytes: u64) -> bool {
    segment_bytes.is_multiple_of(BLOCK_BYTES as u64)
        && segment_bytes >= 2 * SEGMENT_HEADER_BYTES as u64
        && u32::try_from(segment_bytes).is_ok()
}

/// Whether any frame of this directory lies in a file whose header cannot be read.
async fn holds_frames<F: LogFile>(
    file: &F,
    len_bytes: u64,
    log: LogFacts,
) -> Result<bool, IoError> {
    let mut offset_bytes = SEGMENT_HEADER_BYTES as u64;
    while offset_bytes + BLOCK_BYTES as u64 <= len_bytes {
        let step = (1 << 20).min(len_bytes - offset_bytes);
        let len_bytes = usize::try_from(step).expect("1 MiB") / BLOCK_BYTES * BLOCK_BYTES;
        let bytes = file.read_at(Extent { offset_bytes, len_bytes }).await?;
        let blocks = bytes.as_ref().chunks(BLOCK_BYTES);
        if blocks.into_iter().any(|b| FrameHeader::decode(b, log.salt()).is_ok()) {
            return Ok(true);
        }
        offset_bytes += len_bytes as u64;
    }
    Ok(false)
}

/// Reads the log in `disk`'s directory: newest usable checkpoint, then everything after it.
/// Read-only.
///
/// * Errors: [`RecoveryError`]; nothing was changed.
pub async fn replay<D: Disk>(
    disk: &D,
    log: LogFacts,
    found: &Found<D>,
    visitor: &mut impl Visitor,
) -> Result<(Option<CheckpointFacts>, LogEnd), RecoveryError> {
    let facts = newest_checkpoint(disk, log, visitor).await?;
    let first = found.segments.keys().next().copied();
    let (pos, chain) = match (facts, first) {
        (Some(facts), _) => (facts.pos, facts.chain),
        (None, Some(epoch)) if epoch > 1 => return Err(RecoveryError::CheckpointMissing(epoch)),
        (None, _) => {
            let offset_bytes = u32::try_from(SEGMENT_HEADER_BYTES).expect("4096");
            (LogPos { segment: 1, offset_bytes }, Chain::START)
        }
    };
    let first_needed = facts.map_or(1, |f| f.first_epoch);
    let last = found.segments.keys().next_back().copied().unwrap_or(0);
    let last_needed = last.max(if facts.is_some() { pos.segment } else { 0 });
    let missing = |epoch: &u64| !found.segments.contains_key(epoch);
    if let Some(epoch) = (first_needed..=last_needed).find(missing) {
        return Err(RecoveryError::SegmentMissing(epoch));
    }
    let begin = LogEnd { pos, chain, torn_to: None, torn_later: false };
    if found.segments.get(&pos.segment).is_some_and(|s| u64::from(pos.offset_bytes) > s.bytes) {
        return Err(cut_short(found, &begin).into());
    }
    let end = scan::<D>(&found.segments, log.salt(), pos, chain, visitor).await?;
    match facts {
        Some(facts) if end.chain.next_frame_seq < facts.end_frame_seq => {
            Err(cut_short(found, &end).into())
        }
        _ => Ok((facts, end)),
    }
}

/// The log ends before a frame that was durable when its checkpoint was written: what looks like a
/// torn tail is damage.
fn cut_short<D: Disk>(found: &Found<D>, end: &LogEnd) -> ScanError {
    let file = found.segments.get(&end.pos.segment).map_or("", |segment| segment.file.name());
    ScanError::Damaged {
        file: file.to_owned(),
        offset_bytes: end.pos.offset_bytes,
        frame_seq: end.chain.next_frame_seq,
        reason: FormatError::Entry("the log ends before a frame that the checkpoint knows of"),
        streams: Vec::new(),
    }
}

async fn newest_checkpoint<D: Disk>(
    disk: &D,
    log: LogFacts,
    visitor: &mut impl Visitor,
) -> Result<Option<CheckpointFacts>, RecoveryError> {
    for (name, len_bytes) in checkpoint::list(disk)?.iter().rev() {
        match checkpoint::read(disk, log, name, *len_bytes, visitor).await {
            Ok(facts) => return Ok(Some(facts)),
            Err(CheckpointError::Io(error)) => return Err(error.into()),
            // Not damage: what a newer release wrote is not passed over by an older one.
            Err(CheckpointError::Damaged {
                file, reason: FormatError::Version(version), ..
            }) => {
                return Err(ScanError::Version { file, offset_bytes: 0, version }.into());
            }
            Err(error) => tracing::warn!(shard = log.shard, %error, "trying an older checkpoint"),
        }
    }
    Ok(None)
}

/// Opens the log for writing: reads it, mends its end, and makes a first segment where there is
/// none. Segments from `kept_epoch` on are not given up, whatever checkpoints need.
///
/// * Durable: everything that the visitor saw, and the mended end, when it returns.
/// * Errors: [`RecoveryError`]; on damage nothing was changed.
pub async fn recover<I: Io>(
    io: &I,
    log: LogFacts,
    kept_epoch: u64,
    visitor: &mut impl Visitor,
) -> Result<Recovered<I>, RecoveryError> {
    let mut found = find(io, log).await?;
    let (facts, end) = replay(io, log, &found, visitor).await?;
    let mut later = found.segments.split_off(&(end.pos.segment + 1));
    let active = found.segments.remove(&end.pos.segment);
    // Should the newest checkpoint turn out damaged next time, the one before it is needed.
    let oldest_needed = checkpoint::oldest_needed(io, log).await?.min(kept_epoch);
    let living = found.segments.split_off(&oldest_needed);
    // Spares go on being it. Others after the end hold a torn tail at most; their epochs come
    // next, and were another file given one of them, there would be two of it.
    let mut spares = Vec::new();
    while !end.torn_later
        && spares.len() < SPARES
        && let Some(spare) = later.remove(&(end.pos.segment + 1 + spares.len() as u64))
    {
        spares.push(spare);
    }
    // The last one first, and durably: should this be interrupted, also by a power cut that keeps
    // what it likes of names, none may be missing before another.
    for segment in later.values().rev() {
        io.remove(segment.file.name())?;
        io.sync_dir().await?;
    }
    found.unfinished.iter().try_for_each(|name| io.remove(name))?;

    let torn_bytes = match &active {
        Some(segment) => mend(io, segment, &end).await?,
        None => 0,
    };
    for spare in &spares {
        // Its header may have been read out of a cache alone, if the process that made it died
        // before its sync. Lost while a later segment's is there, it would be missed.
        spare.file.sync().await?;
    }
    let dead = reusable(io, log, &found.segments)?;
    let mut next_file_number = found.next_file_number;
    let active = if let Some(segment) = active {
        segment.set_end(u64::from(end.pos.offset_bytes));
        segment
    } else {
        next_file_number += 1;
        let source = Source::New(next_file_number - 1);
        Rc::new(Segment::prepare(io, log, source, end.pos.segment).await?)
    };
    io.sync_dir().await?;
    let segments = Segments::new(log, active, living, spares, dead, next_file_number);
    let next_stream_id = facts.map_or(1, |f| f.next_stream_id);
    let quarantine = found.quarantine;
    Ok(Recovered { segments, chain: end.chain, next_stream_id, torn_bytes, quarantine })
}

/// Names of given-up segments that can be used again: those of the right length. Others are
/// removed.
fn reusable<I: Io>(
    io: &I,
    log: LogFacts,
    given_up: &SegmentMap<I>,
) -> Result<Vec<String>, IoError> {
    let fits = |s: &&Rc<Segment<I::File>>| s.bytes == log.segment_bytes;
    let (whole, other): (Vec<_>, Vec<_>) = given_up.values().partition(fits);
    other.iter().try_for_each(|s| io.remove(s.file.name()))?;
    Ok(whole.iter().map(|s| s.file.name().to_owned()).collect())
}

/// Zeros what an interrupted write left after the log's end, and makes the end durable.
async fn mend<I: Io>(io: &I, segment: &Segment<I::File>, end: &LogEnd) -> Result<u64, IoError> {
    let start = u64::from(end.pos.offset_bytes);
    let torn_to = end.torn_to.map_or(start, u64::from);
    let mut at = start;
    while at < torn_to && !planted::has(Bug::TornTailKept) {
        let step = (1 << 20).min(torn_to - at);
        let mut zeros = io.alloc(usize::try_from(step).expect("1 MiB"));
        zeros.as_mut().fill(0);
        segment.file.write_at(Rc::new(zeros), at).await?;
        at += step;
    }
    if torn_to > start {
        tracing::warn!(
            file = segment.file.name(),
            offset_bytes = start,
            len_bytes = torn_to - start,
            "torn tail cut: its write was interrupted before it was acknowledged"
        );
    }
    // What was read may so far be only in a cache of the device.
    if !planted::has(Bug::MendNotSynced) {
        segment.file.sync().await?;
    }
    Ok(torn_to - start)
}
