//! Where the newest batches of a stream lie, for those who follow it.
//!
//! A stream's index says in which 64 KiB of the log a record is to be looked for. Whoever follows
//! wants what just became durable, and may know its very frame. Such a *trail* is kept only while
//! somebody follows.
//!
//! A trail never has to be taken back. It says which frame held a batch when it became durable, and
//! that frame's bytes, as long as they are in memory, hold it for good: also when the cleaner has
//! made another copy count, or when the segment was given up and its file is in use again, since
//! every use of a file has an epoch of its own. Whether a batch may still be shown (trimmed,
//! expired, deleted) is for its reader to judge, as everywhere.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::{Rc, Weak};

use crate::types::LogPos;

/// Frames that a trail remembers. Who is further behind asks the index.
const FRAMES_MAX: usize = 16;

/// The newest frames of one stream.
#[derive(Debug, Default)]
pub struct Trail {
    /// Ascending and without a gap.
    frames: RefCell<VecDeque<FrameRecords>>,
}

/// Records of the stream in one frame.
#[derive(Debug, Clone, Copy)]
struct FrameRecords {
    first_seq_num: u64,
    end_seq_num: u64,
    pos: LogPos,
}

impl Trail {
    /// Takes note of a durable batch: the records from `first_seq_num` up to `end_seq_num`, in the
    /// frame at `pos`.
    fn note(&self, first_seq_num: u64, end_seq_num: u64, pos: LogPos) {
        let mut frames = self.frames.borrow_mut();
        if let Some(last) = frames.back_mut() {
            debug_assert_eq!(last.end_seq_num, first_seq_num, "batches become durable in order");
            if last.pos == pos {
                last.end_seq_num = end_seq_num;
                return;
            }
        }
        if frames.len() == FRAMES_MAX {
            frames.pop_front();
        }
        frames.push_back(FrameRecords { first_seq_num, end_seq_num, pos });
    }

    /// The frame in which the record became durable, if that is remembered.
    #[must_use]
    pub fn frame_of(&self, seq_num: u64) -> Option<LogPos> {
        let frames = self.frames.borrow();
        let at = frames.partition_point(|held| held.end_seq_num <= seq_num);
        frames.get(at).filter(|held| held.first_seq_num <= seq_num).map(|held| held.pos)
    }
}

/// A stream's way to its trail, which is there while someone holds it.
#[derive(Default)]
pub(super) struct TrailCell(Cell<Weak<Trail>>);

impl fmt::Debug for TrailCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl TrailCell {
    /// The trail, if there is one.
    pub(super) fn get(&self) -> Option<Rc<Trail>> {
        let weak = self.0.take();
        let trail = weak.upgrade();
        self.0.set(weak);
        trail
    }

    /// Begins a new trail, with the next batch.
    pub(super) fn begin(&self) -> Rc<Trail> {
        let trail = Rc::default();
        self.0.set(Rc::downgrade(&trail));
        trail
    }

    /// Takes note of a durable batch, if somebody follows.
    pub(super) fn note(&self, first_seq_num: u64, end_seq_num: u64, pos: LogPos) {
        if let Some(trail) = self.get() {
            trail.note(first_seq_num, end_seq_num, pos);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(frame: u32) -> LogPos {
        LogPos { segment: 1, offset_bytes: frame * 4096 }
    }

    #[test]
    fn the_newest_frames_are_remembered() {
        let trail = Trail::default();
        assert_eq!(trail.frame_of(0), None);
        // Two batches of three records in each frame.
        for frame in 0..100 {
            let first = 6 * u64::from(frame);
            trail.note(first, first + 3, at(frame));
            trail.note(first + 3, first + 6, at(frame));
        }
        let oldest = 100 - u32::try_from(FRAMES_MAX).expect("small");
        for seq_num in 0..600 {
            let frame = u32::try_from(seq_num / 6).expect("small");
            let expected = (frame >= oldest).then_some(at(frame));
            assert_eq!(trail.frame_of(seq_num), expected, "{seq_num}");
        }
        assert_eq!(trail.frame_of(600), None, "not yet");
    }

    #[test]
    fn nothing_is_kept_when_nobody_follows() {
        let cell = TrailCell::default();
        cell.note(0, 1, at(1));
        let held = cell.begin();
        cell.note(1, 2, at(2));
        let found = cell.get().expect("held");
        assert!(Rc::ptr_eq(&held, &found));
        assert_eq!((held.frame_of(0), held.frame_of(1)), (None, Some(at(2))));
        drop((held, found));
        assert!(cell.get().is_none());
        assert_eq!(cell.begin().frame_of(1), None, "a new one knows nothing of before");
    }
}
