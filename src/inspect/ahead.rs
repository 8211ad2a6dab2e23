//! Streams that a checkpoint has as they were later than at its place in the log.
//!
//! Streams are saved one after the other while the log goes on. Each must then be what the log says
//! of it at some place: not before the checkpoint's own, and not after the frame before which all
//! of them were saved.
//!
//! The tail says at which: there it stays until the stream's next batch. A trim point may rise
//! meanwhile, by entries of their own, so the saved one must be reached by then.

use std::collections::BTreeMap;

use super::fault::Fault;
use crate::stream::State;
use crate::types::{FencingToken, StreamPosition};

/// What the log has said of a stream so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Known once a batch was met, or from the log's very beginning.
    pub(super) tail: Option<StreamPosition>,
    pub(super) fencing_token: Option<FencingToken>,
    pub(super) trim_point: u64,
    /// Trims beyond this are in what was walked: its tail when that began, so that no trim from
    /// before can lie beyond it. Known as the tail is.
    pub(super) trims_known_from: Option<u64>,
    /// Damaged places passed when it was last met: batches may be missing since.
    pub(super) gaps: u64,
    /// Its metadata is in the log, and its end is not.
    pub(super) exists: bool,
    pub(super) gone: bool,
}

/// Streams whose saved state was not met in the log yet.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub(super) states: BTreeMap<u64, State>,
    /// Saved trim points that the log is to reach before the stream's next batch.
    trim_points: BTreeMap<u64, u64>,
}

impl Ahead {
    /// The log is to say this of the stream.
    pub(super) fn expect(&mut self, stream: u64, state: State) {
        self.states.insert(stream, state);
    }

    /// The saved tail of a stream of which no batch was met before the one that begins at `first`,
    /// if it was saved before that batch.
    pub(super) fn begins_at(
        &mut self,
        stream: u64,
        seen: &Seen,
        first: StreamPosition,
    ) -> Option<StreamPosition> {
        let saved = self.states.get(&stream)?.tail;
        let is_before = seen.tail.is_none() && saved.seq_num <= first.seq_num;
        is_before.then(|| self.states.remove(&stream)).flatten().map(|state| state.tail)
    }

    /// Meets a stream whose tail is now at `tail`; returns what its saved state gets wrong if it
    /// was saved here, or if it cannot have been saved anywhere.
    pub(super) fn meet(&mut self, stream: u64, seen: &Seen, tail: StreamPosition) -> Vec<Fault> {
        let Some(state) = self.states.get(&stream).copied() else { return Vec::new() };
        if tail.seq_num < state.tail.seq_num {
            return Vec::new();
        }
        self.states.remove(&stream);
        if tail.seq_num == state.tail.seq_num {
            return self.compare(stream, &state, seen);
        }
        let (saved, replayed) = (state.tail.seq_num, tail.seq_num);
        vec![Fault::CheckpointTail { stream, saved, replayed }]
    }

    /// What a saved state gets wrong of a stream whose tail is where the log has it, or of which
    /// the log has said nothing; a trim point that is still to be reached is judged later.
    pub(super) fn compare(&mut self, stream: u64, saved: &State, seen: &Seen) -> Vec<Fault> {
        let is_known = seen.trims_known_from.is_some_and(|from| saved.trim_point > from);
        if is_known && saved.trim_point > seen.trim_point {
            self.trim_points.insert(stream, saved.trim_point);
        }
        differences(stream, saved, seen)
    }

    /// Judges the trim point of a stream whose next batch comes now, or that was saved by now.
    pub(super) fn end_trims(&mut self, stream: u64, seen: &Seen) -> Option<Fault> {
        let saved = self.trim_points.remove(&stream)?;
        let what = "trim point";
        (saved > seen.trim_point).then_some(Fault::CheckpointState { stream, what })
    }

    /// Streams whose saved trim point the log has not reached yet.
    pub(super) fn untrimmed(&self) -> Vec<u64> {
        self.trim_points.keys().copied().collect()
    }
}

fn differences(stream: u64, saved: &State, seen: &Seen) -> Vec<Fault> {
    let differs = [
        (seen.tail.is_some_and(|tail| tail != saved.tail), "tail's timestamp"),
        (seen.fencing_token.is_some_and(|token| token != saved.fencing_token), "fencing token"),
        (saved.trim_point < seen.trim_point, "trim point"),
    ];
    let wrong = differs.into_iter().filter(|(differs, _)| *differs);
    wrong.map(|(_, what)| Fault::CheckpointState { stream, what }).collect()
}
