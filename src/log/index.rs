//! Where a stream's records lie in the log: sparse, so that it stays small.
//!
//! One entry stands for a *span* of [`SPAN_BYTES`] of log, the first batch of the stream in it.
//! To read on from a record, scan the span of its entry, then the span of the next entry, and so
//! on: what lies between two spans holds nothing of this stream.

use std::collections::VecDeque;

use crate::types::LogPos;

/// Log bytes that one entry stands for, counted from its own position.
pub const SPAN_BYTES: u32 = 64 * 1024;

/// The first batch of a stream in one span of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Number of that batch's first record.
    pub seq_num: u64,
    /// Timestamp of that record, milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// When that batch was accepted, milliseconds since the Unix epoch.
    pub arrival_ms: u64,
    /// The frame it is in.
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
}

/// The index of one stream.
///
/// Invariant: sequence numbers and positions strictly ascend, timestamps do not descend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    entries: VecDeque<IndexEntry>,
}

impl Index {
    /// Notes a durable batch; makes an entry when it opens a new span.
    pub fn push(&mut self, entry: IndexEntry) {
        if let Some(last) = self.entries.back() {
            assert!(last.seq_num < entry.seq_num && last.pos <= entry.pos, "log order");
            if last.spans(entry.pos) {
                return;
            }
        }
        self.entries.push_back(entry);
    }

    /// The span to start scanning for the record `seq_num`: the last one that starts at or before
    /// it, or the first of all.
    #[must_use]
    pub fn at_seq_num(&self, seq_num: u64) -> Option<IndexEntry> {
        self.before(self.entries.partition_point(|e| e.seq_num <= seq_num))
    }

    /// The span to start scanning for the first record with this timestamp or a later one.
    #[must_use]
    pub fn at_timestamp(&self, timestamp: u64) -> Option<IndexEntry> {
        self.before(self.entries.partition_point(|e| e.timestamp < timestamp))
    }

    /// The span after the one that starts with the record `seq_num`.
    #[must_use]
    pub fn after(&self, seq_num: u64) -> Option<IndexEntry> {
        self.entries.get(self.entries.partition_point(|e| e.seq_num <= seq_num)).copied()
    }

    fn before(&self, ordinal: usize) -> Option<IndexEntry> {
        self.entries.get(ordinal.saturating_sub(1)).copied()
    }

    /// Forgets spans that hold only records before `trim_point`.
    pub fn trim(&mut self, trim_point: u64) {
        while let Some(second) = self.entries.get(1)
            && second.seq_num <= trim_point
        {
            self.entries.pop_front();
        }
    }

    /// Where the oldest span starts.
    #[must_use]
    pub fn first_pos(&self) -> Option<LogPos> {
        self.entries.front().map(|e| e.pos)
    }

    /// Records before this one arrived before `floor_ms`, milliseconds since the Unix epoch, as far
    /// as the index can tell: later ones may have, too.
    #[must_use]
    pub fn arrived_before(&self, floor_ms: u64) -> Option<u64> {
        let late = self.entries.iter().rev().find(|e| e.arrival_ms < floor_ms);
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
mod tests {
    use super::*;

    fn entry(seq_num: u64, timestamp: u64, segment: u64, offset_bytes: u32) -> IndexEntry {
        IndexEntry { seq_num, timestamp, arrival_ms: 0, pos: LogPos { segment, offset_bytes } }
    }

    fn sample() -> Index {
        let mut index = Index::default();
        for e in [
            entry(0, 10, 1, 4096),
            entry(5, 20, 1, 8192), // same span: no entry of its own
            entry(10, 20, 1, 4096 + SPAN_BYTES),
            entry(20, 30, 2, 4096), // same offset in another segment: another span
        ] {
            index.push(e);
        }
        index
    }

    #[test]
    fn one_entry_per_span() {
        let seqs: Vec<u64> = sample().iter().map(|e| e.seq_num).collect();
        assert_eq!(seqs, [0, 10, 20]);
    }

    #[test]
    fn a_search_starts_at_the_last_span_that_may_hold_the_record() {
        let index = sample();
        let found = |entry: Option<IndexEntry>| entry.map(|e| e.seq_num);
        for (seq_num, start) in [(0, 0), (5, 0), (9, 0), (10, 10), (19, 10), (20, 20), (99, 20)] {
            assert_eq!(found(index.at_seq_num(seq_num)), Some(start), "seq {seq_num}");
        }
        // The first record of timestamp 20 may lie before the entry that starts with 20.
        for (timestamp, start) in [(0, 0), (10, 0), (11, 0), (20, 0), (21, 10), (31, 20)] {
            assert_eq!(found(index.at_timestamp(timestamp)), Some(start), "timestamp {timestamp}");
        }
        assert_eq!(Index::default().at_seq_num(7), None);
    }

    #[test]
    fn spans_are_stepped_through_by_their_first_record() {
        let index = sample();
        for (seq_num, next) in [(0, Some(10)), (10, Some(20)), (12, Some(20)), (20, None)] {
            assert_eq!(index.after(seq_num).map(|e| e.seq_num), next, "after {seq_num}");
        }
    }

    #[test]
    fn trimming_keeps_the_span_that_holds_the_trim_point() {
        for (trim_point, first) in [(0, 0), (9, 0), (10, 10), (15, 10), (20, 20), (99, 20)] {
            let mut index = sample();
            index.trim(trim_point);
            assert_eq!(index.iter().next().map(|e| e.seq_num), Some(first), "trim {trim_point}");
        }
    }
}
