//! Where a stream's records lie in the log: sparse, so that it stays small.
//!
//! * One entry stands for a *run* of records: from its own number up to the next entry's. All of
//!   the run's batches lie, in order, in one *span* of [`SPAN_BYTES`] of log that starts at the
//!   entry's place; other streams' batches, and older or later ones of this stream, lie between.
//! * To read on from a record: find the entry of its run, go through the span, take the batch that
//!   comes next each time, and look up the record after the last one taken.
//! * Numbers ascend from entry to entry; places need not: the cleaner copies old batches to the
//!   log's end.

use std::collections::VecDeque;

use crate::types::LogPos;

/// Log bytes that one entry stands for, counted from its own position.
pub const SPAN_BYTES: u32 = 64 * 1024;

/// A run of a stream's records in one span of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Number of its first record.
    pub seq_num: u64,
    /// Timestamp of that record or, after a part of a run was moved away, of the last one before
    /// it; milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// When the batch of that record, or the one before it as above, was accepted, milliseconds
    /// since the Unix epoch.
    pub arrival_ms: u64,
    /// The frame that holds it, or one before that in the same span.
    pub pos: LogPos,
}

impl IndexEntry {
    /// Whether a frame at `pos` lies in this entry's span.
    #[must_use]
    pub fn spans(&self, pos: LogPos) -> bool {
        pos.segment == self.pos.segment
            && pos.offset_bytes >= self.pos.offset_bytes
            && pos.offset_bytes - self.pos.offset_bytes < SPAN_BYTES
    }

    /// Whether this entry's span and the stretch from `begin` to `end_bytes` of its segment meet.
    #[must_use]
    pub fn meets(&self, begin: LogPos, end_bytes: u32) -> bool {
        self.pos.segment == begin.segment
            && self.pos.offset_bytes < end_bytes
            && begin.offset_bytes < self.pos.offset_bytes.saturating_add(SPAN_BYTES)
    }
}

/// A batch that was copied to another place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovedBatch {
    /// Number of its first record.
    pub first_seq_num: u64,
    /// One past the last record's.
    pub end_seq_num: u64,
    /// Timestamp of the first record, milliseconds since the Unix epoch.
    pub first_timestamp: u64,
    /// Timestamp of the last one.
    pub last_timestamp: u64,
    /// When it was accepted, milliseconds since the Unix epoch.
    pub arrival_ms: u64,
    /// The frame that holds its copy.
    pub pos: LogPos,
}

/// The index of one stream.
///
/// Invariant: sequence numbers strictly ascend, timestamps do not descend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    entries: VecDeque<IndexEntry>,
}

impl Index {
    /// The index with these runs, as a checkpoint kept them: numbers ascend.
    #[must_use]
    pub fn restored(mut runs: Vec<IndexEntry>) -> Self {
        debug_assert!(runs.is_sorted_by(|a, b| a.seq_num < b.seq_num), "sequence order");
        runs.shrink_to_fit(); // most have one, and collecting makes room for four
        Self { entries: runs.into() }
    }

    /// Notes a durable batch; makes an entry when it opens a new span.
    pub fn push(&mut self, entry: IndexEntry) {
        if let Some(last) = self.entries.back() {
            assert!(last.seq_num < entry.seq_num, "sequence order");
            if last.spans(entry.pos) {
                return;
            }
        }
        if self.entries.capacity() == 0 {
            self.entries.reserve_exact(1); // most streams are written to once, and then are idle
        }
        self.entries.push_back(entry);
    }

    /// The run that holds the record `seq_num`: the last one that starts at or before it, or the
    /// first of all.
    #[must_use]
    pub fn at_seq_num(&self, seq_num: u64) -> Option<IndexEntry> {
        self.before(self.entries.partition_point(|e| e.seq_num <= seq_num))
    }

    /// The run to start scanning for the first record with this timestamp or a later one.
    #[must_use]
    pub fn at_timestamp(&self, timestamp: u64) -> Option<IndexEntry> {
        self.before(self.entries.partition_point(|e| e.timestamp < timestamp))
    }

    /// Whether the batch that starts with `seq_num` is the one in the frame at `pos`, rather than
    /// one that was moved away from there.
    #[must_use]
    pub fn is_at(&self, seq_num: u64, pos: LogPos) -> bool {
        let run = self.at_seq_num(seq_num);
        run.is_some_and(|run| run.seq_num <= seq_num && run.spans(pos))
    }

    /// Takes note that a batch was copied to another place, and that its copy counts from now on.
    /// `tail` is the stream's, past all that the last run holds.
    ///
    /// The rest of its run stays where it was.
    pub fn moved(&mut self, batch: &MovedBatch, tail: u64) {
        let after = self.entries.partition_point(|e| e.seq_num <= batch.first_seq_num);
        let Some(run) = after.checked_sub(1).map(|at| self.entries[at]) else {
            return; // before all that is kept
        };
        let run_end = self.entries.get(after).map_or(tail, |next| next.seq_num);
        let mut at = after - 1;
        if run.seq_num < batch.first_seq_num {
            at = after; // what comes before it stays
        } else {
            self.entries.remove(at);
        }
        let before = at.checked_sub(1).map(|at| self.entries[at]);
        if before.is_none_or(|before| !before.spans(batch.pos)) {
            let (seq_num, timestamp) = (batch.first_seq_num, batch.first_timestamp);
            let (arrival_ms, pos) = (batch.arrival_ms, batch.pos);
            self.entries.insert(at, IndexEntry { seq_num, timestamp, arrival_ms, pos });
            at += 1;
        }
        if batch.end_seq_num < run_end {
            // Nothing before the rest is later than what was moved.
            let (seq_num, timestamp) = (batch.end_seq_num, batch.last_timestamp);
            let arrival_ms = batch.arrival_ms;
            self.entries.insert(at, IndexEntry { seq_num, timestamp, arrival_ms, pos: run.pos });
        }
    }

    fn before(&self, ordinal: usize) -> Option<IndexEntry> {
        self.entries.get(ordinal.saturating_sub(1)).copied()
    }

    /// Forgets runs that hold only records before `trim_point`.
    pub fn trim(&mut self, trim_point: u64) {
        while let Some(second) = self.entries.get(1)
            && second.seq_num <= trim_point
        {
            self.entries.pop_front();
        }
    }

    /// Epoch of the oldest segment that holds any of its spans.
    #[must_use]
    pub fn first_epoch(&self) -> Option<u64> {
        self.entries.iter().map(|e| e.pos.segment).min()
    }

    /// Records before this one arrived before `floor_ms`, milliseconds since the Unix epoch, as far
    /// as the index can tell: later ones may have, too.
    #[must_use]
    pub fn arrived_before(&self, floor_ms: u64) -> Option<u64> {
        let is_late = |e: &&IndexEntry| e.arrival_ms < floor_ms;
        let first = self.entries.front()?;
        let late = if first.arrival_ms == u64::MAX {
            self.entries.iter().rev().find(is_late) // when it came is not known
        } else {
            self.entries.iter().take_while(is_late).last()
        };
        late.map(|e| e.seq_num)
    }

    /// Says when the batches of its entries arrived, as little-endian milliseconds since the Unix
    /// epoch; false, and nothing happens, when they are not as many.
    #[must_use]
    pub fn set_arrivals(&mut self, arrivals: &[[u8; 8]]) -> bool {
        if arrivals.len() != self.entries.len() {
            return false;
        }
        for (entry, arrival) in self.entries.iter_mut().zip(arrivals) {
            entry.arrival_ms = u64::from_le_bytes(*arrival);
        }
        true
    }

    /// Iterates over the entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &IndexEntry> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests;
