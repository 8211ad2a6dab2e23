//! Walks a log to its end, past damage, also while a server writes it.
//!
//! `log::scan` stops at the first damaged place. Here the walk notes it and goes on with the next
//! frame that can be recognised. Before a place counts as damaged it is read twice: a server that
//! is writing may have overtaken the first reading, and then the tail has moved, nothing more.

use super::fault::Fault;
use super::start::{FIRST_FRAME_BYTES, Place, place_of};
use crate::io::{BLOCK_BYTES, Disk, Extent, IoError, LogFile};
use crate::log::entry::Entry;
use crate::log::format::{FormatError, FrameHeader, Salt};
use crate::log::quarantine::LostPlace;
use crate::log::scan::{ScanError, SegmentMap, Visitor, behind, scan};
use crate::types::LogPos;

/// How often the tail may move under the walk before it is content with where it got.
const TAIL_MOVES_MAX: usize = 4;
/// Bytes read at a time when looking for the next frame.
const READ_BYTES: u64 = 1024 * 1024;

/// Who follows a walk.
pub(super) trait Follower: Visitor {
    /// A damaged place: what was there is lost to the follower, whole frames perhaps.
    fn damaged(&mut self, pos: LogPos, fault: Fault);

    /// Learns where the damaged place told last ends, and the number of the first frame in it.
    /// `next` is `None` when nothing whole follows. Not told of frames that are whole themselves.
    fn passed(&mut self, pos: LogPos, frame_seq: u64, next: Option<Place>) {
        let _ = (pos, frame_seq, next);
    }

    /// A damaged place that was given up for lost, which is told instead.
    fn lost(&mut self, place: &LostPlace);
}

/// Where a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walked {
    /// Where the next frame goes.
    pub(super) end: Place,
    /// The tail was incomplete, or moved while it was read.
    pub(super) tail_moving: bool,
}

/// Passes on what a scan meets and keeps its place.
struct Tracker<'v, V> {
    follower: &'v mut V,
    salt: Salt,
    /// The frame met last.
    last: LogPos,
    /// What comes after it.
    next: Place,
}

impl<V: Follower> Visitor for Tracker<'_, V> {
    fn frame(&mut self, pos: LogPos, header: &FrameHeader) {
        let (next, chain) = behind(pos, header, self.salt);
        self.last = pos;
        self.next = Place { pos: next, chain };
        self.follower.frame(pos, header);
    }

    fn entry(&mut self, pos: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        self.follower.entry(pos, entry)
    }
}

/// Walks `segments` from `start` to the log's end.
///
/// * Errors: the disk's only; damage is the follower's to note.
pub(super) async fn walk<D: Disk, V: Follower>(
    segments: &SegmentMap<D>,
    salt: Salt,
    start: Place,
    follower: &mut V,
) -> Result<Walked, IoError> {
    let mut tracker = Tracker { follower, salt, last: start.pos, next: start };
    let mut suspect = None;
    let mut tail_moves = 0;
    loop {
        let Place { pos, chain } = tracker.next;
        let (frame_seq, reason, pos) = match scan::<D>(segments, salt, pos, chain, &mut tracker)
            .await
        {
            Ok(end) => {
                let tail_moving = tail_moves > 0 || end.torn_to.is_some();
                return Ok(Walked { end: Place { pos: end.pos, chain: end.chain }, tail_moving });
            }
            Err(ScanError::Io(error)) => return Err(error),
            Err(ScanError::Version { version, .. }) => {
                let end = tracker.next;
                tracker.follower.damaged(end.pos, FormatError::Version(version).into());
                return Ok(Walked { end, tail_moving: false });
            }
            Err(ScanError::Damaged { frame_seq, reason, file, offset_bytes, .. }) => {
                let pos = locate::<D>(segments, &file, offset_bytes);
                (frame_seq, reason, pos.unwrap_or(tracker.next.pos))
            }
        };
        let next = tracker.next;
        if next.chain.next_frame_seq > frame_seq {
            // The frame is whole, its entries make no sense: the chain goes on after it.
            tracker.follower.damaged(tracker.last, Fault::Frame { frame_seq, reason });
            continue;
        }
        if let Some(lost) = lost_at::<D>(segments, pos) {
            tracker.follower.lost(lost);
            let pos = LogPos { offset_bytes: lost.end_offset, ..pos };
            tracker.next = Place { pos, chain: lost.next() };
            continue;
        }
        if suspect != Some(frame_seq) {
            if suspect.replace(frame_seq).is_some_and(|before| before < frame_seq) {
                tail_moves += 1;
            }
            if tail_moves < TAIL_MOVES_MAX {
                continue;
            }
            return Ok(Walked { end: next, tail_moving: true });
        }
        suspect = None;
        let after = next_frame::<D>(segments, salt, next).await?;
        tracker.follower.damaged(pos, Fault::Frame { frame_seq, reason });
        tracker.follower.passed(pos, frame_seq, after);
        match after {
            Some(place) => tracker.next = place,
            None => return Ok(Walked { end: next, tail_moving: false }),
        }
    }
}

/// The place that begins here and was given up for lost.
fn lost_at<D: Disk>(segments: &SegmentMap<D>, pos: LogPos) -> Option<&LostPlace> {
    let lost = segments.get(&pos.segment)?.lost_at(pos.offset_bytes)?;
    (lost.offset == pos.offset_bytes).then_some(lost)
}

/// The place in the log of a place in a file.
fn locate<D: Disk>(segments: &SegmentMap<D>, file: &str, offset_bytes: u32) -> Option<LogPos> {
    let (epoch, _) = segments.iter().find(|(_, segment)| segment.file.name() == file)?;
    Some(LogPos { segment: *epoch, offset_bytes })
}

/// The first frame after the damaged place `bad` that is later in the log.
async fn next_frame<D: Disk>(
    segments: &SegmentMap<D>,
    salt: Salt,
    bad: Place,
) -> Result<Option<Place>, IoError> {
    for (&epoch, segment) in segments.range(bad.pos.segment..) {
        let same = epoch == bad.pos.segment;
        let start = if same { bad.pos.offset_bytes } else { FIRST_FRAME_BYTES };
        let mut at = u64::from(start);
        while at + BLOCK_BYTES as u64 <= segment.bytes {
            let step = READ_BYTES.min(segment.bytes - at) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
            let len_bytes = usize::try_from(step).expect("at most 1 MiB");
            let bytes = segment.file.read_at(Extent { offset_bytes: at, len_bytes }).await?;
            for (offset_bytes, block) in
                (at..).step_by(BLOCK_BYTES).zip(bytes.as_ref().chunks(BLOCK_BYTES))
            {
                let offset_bytes = u32::try_from(offset_bytes).expect("segments are at most 4 GiB");
                let pos = LogPos { segment: epoch, offset_bytes };
                let later = place_of(block, salt, pos)
                    .filter(|p| pos > bad.pos && p.chain.next_frame_seq > bad.chain.next_frame_seq);
                if later.is_some() {
                    return Ok(later);
                }
            }
            at += step;
        }
    }
    Ok(None)
}
