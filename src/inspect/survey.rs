//! What is damaged in a shard, and which records of which streams that took.
//!
//! The newest checkpoint says which records each stream has and where the run lies that holds each
//! of them. What of a run is not met there, in whole frames, was in the damaged places that its
//! span meets. Copies that were made after the checkpoint count, too.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::fault::Fault;
use super::saved::Newest;
use super::start::Place;
use super::walk::Follower;
use crate::control::SavedState;
use crate::log::entry::{Batch, Entry};
use crate::log::format::FormatError;
use crate::log::index::IndexEntry;
use crate::log::quarantine::{LostPlace, LostRecords};
use crate::log::scan::Visitor;
use crate::types::{LogPos, StreamId};

/// A damaged place that nobody has given up yet.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) pos: LogPos,
    pub(super) fault: Fault,
    /// Number of the first frame in it.
    pub(super) frame_seq: u64,
    /// The next whole frame.
    pub(super) next: Option<Place>,
}

/// Missing records of one stream, and where they were.
#[derive(Debug)]
struct Hole {
    stream: u64,
    seq_nums: Range<u64>,
    places: Vec<LogPos>,
}

/// Records without a gap: where they end, and where their first and last batch lie.
#[derive(Debug, Clone, Copy)]
struct Met {
    end: u64,
    first_pos: LogPos,
    last_pos: LogPos,
}

/// Follows a walk.
pub(super) struct Survey {
    pub(super) newest: Option<Newest>,
    pub(super) hits: Vec<Hit>,
    /// Every place passed, given up or not, with its end in its segment.
    passed: Vec<(LogPos, u32)>,
    /// By stream and first record, the records that were met where they count.
    met: BTreeMap<u64, BTreeMap<u64, Met>>,
    holes: Vec<Hole>,
}

impl Survey {
    pub(super) fn new(newest: Option<Newest>) -> Self {
        let (hits, passed, holes) = (Vec::new(), Vec::new(), Vec::new());
        Self { newest, hits, passed, met: BTreeMap::new(), holes }
    }

    /// Finds what is missing of the streams that the newest checkpoint has, once the walk is over.
    pub(super) fn finish(&mut self) {
        let mut holes = Vec::new();
        for (&stream, saved) in self.newest.iter().flat_map(|n| &n.saved.streams) {
            let Some(state) = &saved.state else { continue };
            for (run, seq_nums) in runs(state) {
                if !self.passed.iter().any(|(pos, end)| run.meets(*pos, *end)) {
                    continue;
                }
                for seq_nums in self.missing(stream, seq_nums) {
                    let places = self.places_of(stream, run, &seq_nums);
                    holes.push(Hole { stream, seq_nums, places });
                }
            }
        }
        self.holes = holes;
    }

    /// The damaged places in a run's span where missing records may have been: a run's batches are
    /// in order, so between the neighbours that were met.
    fn places_of(&self, stream: u64, run: &IndexEntry, seq_nums: &Range<u64>) -> Vec<LogPos> {
        let met = self.met.get(&stream);
        let before = met.and_then(|met| met.range(..seq_nums.start).next_back());
        let before = before.map(|(_, met)| met.last_pos).filter(|pos| run.spans(*pos));
        let after = met.and_then(|met| met.range(seq_nums.end..).next());
        let after = after.map(|(_, met)| met.first_pos).filter(|pos| run.spans(*pos));
        let lies_there = |(pos, end): &&(LogPos, u32)| {
            run.meets(*pos, *end)
                && before.is_none_or(|before| before < *pos)
                && after.is_none_or(|after| *pos < after)
        };
        self.passed.iter().filter(lies_there).map(|(pos, _)| *pos).collect()
    }

    /// What of these records of a stream was not met.
    fn missing(&self, stream: u64, seq_nums: Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut next = seq_nums.start;
        let met = self.met.get(&stream).into_iter().flatten();
        for (&first, &Met { end, .. }) in met.filter(|(_, met)| met.end > seq_nums.start) {
            let gap = next..first.min(seq_nums.end);
            if !gap.is_empty() {
                missing.push(gap);
            }
            next = next.max(end);
        }
        if next < seq_nums.end {
            missing.push(next..seq_nums.end);
        }
        missing
    }

    /// The records that are missing once all of `places` are given up: those of holes that lie
    /// across no other damage. The second part are those of holes that do.
    pub(super) fn lost_with(
        &self,
        places: &BTreeSet<LogPos>,
    ) -> (Vec<LostRecords>, Vec<LostRecords>) {
        let given_up = |hole: &&Hole| hole.places.iter().all(|pos| places.contains(pos));
        let (lost, left): (Vec<&Hole>, Vec<&Hole>) = self.holes.iter().partition(given_up);
        (self.records(lost), self.records(left))
    }

    /// The records that may have been at one of the places.
    pub(super) fn missing_at(&self, pos: LogPos) -> Vec<LostRecords> {
        let may_be_there = |hole: &&Hole| hole.places.contains(&pos);
        self.records(self.holes.iter().filter(may_be_there).collect())
    }

    /// Holes that touch count as one, as long as they are of one stream.
    fn records(&self, holes: Vec<&Hole>) -> Vec<LostRecords> {
        let mut all: Vec<LostRecords> = Vec::new();
        for hole in holes {
            if let Some(last) = all.last_mut()
                && last.stream == hole.stream
                && last.end_seq_num == hole.seq_nums.start
            {
                last.end_seq_num = hole.seq_nums.end;
                continue;
            }
            let saved = self.newest.as_ref().and_then(|n| n.saved.streams.get(&hole.stream));
            all.push(LostRecords {
                stream: hole.stream,
                name: saved.map_or(String::new(), |s| s.name.clone()),
                first_seq_num: hole.seq_nums.start,
                end_seq_num: hole.seq_nums.end,
            });
        }
        all
    }

    /// Whether a batch in the frame at `pos` is where the checkpoint has it, or in a copy that was
    /// made since.
    fn counts(&self, stream: u64, first_seq_num: u64, pos: LogPos) -> bool {
        let Some(newest) = &self.newest else { return false };
        if pos >= newest.facts.pos {
            return true;
        }
        let saved = newest.saved.streams.get(&stream).and_then(|s| s.state.as_ref());
        let Some(state) = saved else { return false };
        let after = state.index.partition_point(|run| run.seq_num <= first_seq_num);
        after.checked_sub(1).is_some_and(|at| state.index[at].spans(pos))
    }
}

/// The runs of a stream, each with its records that are not trimmed.
fn runs(state: &SavedState) -> impl Iterator<Item = (&IndexEntry, Range<u64>)> {
    let ends = state.index.iter().skip(1).map(|run| run.seq_num);
    let ends = ends.chain([state.state.tail.seq_num]);
    state
        .index
        .iter()
        .zip(ends)
        .map(|(run, end)| (run, run.seq_num.max(state.state.trim_point)..end))
}

impl Visitor for Survey {
    fn entry(&mut self, pos: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        if !entry.kind.is_batch() {
            return Ok(());
        }
        let batch = Batch::of(entry)?;
        let StreamId(stream) = batch.place.stream;
        let mut first = batch.place.first_seq_num;
        let mut all = Met { end: batch.end_seq_num(), first_pos: pos, last_pos: pos };
        if !self.counts(stream, first, pos) {
            return Ok(());
        }
        // Kept as few as there are gaps.
        let met = self.met.entry(stream).or_default();
        while let Some((&from, &other)) = met.range(..=all.end).next_back()
            && other.end >= first
        {
            met.remove(&from);
            if from < first {
                (first, all.first_pos) = (from, other.first_pos);
            }
            if other.end > all.end {
                (all.end, all.last_pos) = (other.end, other.last_pos);
            }
        }
        met.insert(first, all);
        Ok(())
    }
}

impl Follower for Survey {
    fn damaged(&mut self, pos: LogPos, fault: Fault) {
        self.passed.push((pos, u32::MAX));
        self.hits.push(Hit { pos, fault, frame_seq: 0, next: None });
    }

    fn passed(&mut self, pos: LogPos, frame_seq: u64, next: Option<Place>) {
        let hit = self.hits.last_mut().expect("told right before");
        (hit.frame_seq, hit.next) = (frame_seq, next);
        let end = next.filter(|next| next.pos.segment == pos.segment);
        if let (Some(end), Some(passed)) = (end, self.passed.last_mut()) {
            passed.1 = end.pos.offset_bytes;
        }
    }

    fn lost(&mut self, place: &LostPlace) {
        let pos = LogPos { segment: place.epoch, offset_bytes: place.offset };
        self.passed.push((pos, place.end_offset));
    }
}
