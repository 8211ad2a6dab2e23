//! Followers: what just became durable is delivered out of the frame that was written, without a
//! search (`control::trail`).
//!
//! A trail says only where to look first. When it has nothing to say, or the frame is no longer in
//! memory, the stream's index is asked, as for any other read.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::From;
use crate::control::Stream;
use crate::control::trail::Trail;
use crate::io::Io;
use crate::log::reader::ReadFrame;
use crate::shard::engine::Engine;

/// Trails kept though nobody waits at the moment: who polls comes back for what became durable
/// between two polls. Each takes less than a kilobyte.
const TRAILS_MAX: usize = 1024;

/// The trails of the streams that were followed last, oldest first.
#[derive(Debug, Default)]
pub(in crate::shard) struct Followed(RefCell<VecDeque<Rc<Trail>>>);

impl<I: Io> Engine<I> {
    /// Has the stream's newest batches found at once from now on, at least as long as the result is
    /// held.
    pub(in crate::shard) fn follow_closely(&self, stream: &Stream) -> Rc<Trail> {
        if let Some(trail) = stream.trail() {
            return trail;
        }
        let trail = stream.begin_trail();
        let mut followed = self.followed.0.borrow_mut();
        if followed.len() == TRAILS_MAX {
            followed.pop_front();
        }
        followed.push_back(Rc::clone(&trail));
        trail
    }

    /// The frame with the record `seq_num`, which must be durable, if it is at hand.
    pub(super) fn live_frame(&self, stream: &Stream, seq_num: u64) -> Option<ReadFrame> {
        self.reader.recent(stream.trail()?.frame_of(seq_num)?)
    }

    /// Whether a read from there on takes frames that are at hand.
    pub(in crate::shard) fn is_live(&self, stream: &Stream, from: From) -> bool {
        let From::SeqNum(seq_num) = from else { return false };
        let frame = stream.trail().and_then(|trail| trail.frame_of(seq_num));
        frame.is_some_and(|pos| !self.reader.is_old(pos))
    }

    /// Whether a read from there on begins with what has to come from the disk, or from what was
    /// read of it.
    pub(in crate::shard) fn is_old(&self, stream: &Stream, from: From) -> bool {
        let index = stream.index();
        let run = match from {
            From::SeqNum(seq_num) => index.at_seq_num(seq_num),
            From::Timestamp(timestamp) => index.at_timestamp(timestamp),
        };
        run.is_some_and(|run| self.reader.is_old(run.pos)) && !self.is_live(stream, from)
    }
}
