//! Where a stream's records lie in the log: sparse, so that it stays small.
//!
//! * One entry stands for a *run* of records: from its own number up to the next entry's. All of
//!   the run's batches lie, in order, in one *span* of log that starts at the entry's place; other
//!   streams' batches, and older or later ones of this stream, lie between.
//! * To read on from a record: find the entry of its run, go through the span, take the batch that
//!   comes next each time, and look up the record after the last one taken.
//! * A span is [`SPAN_BYTES`] long, until runs are *folded*: those of one segment that follow each
//!   other become one, whose span may be all of the segment. Where in it a record lies is then said
//!   by the segment's `footer`, or found by going through it.
//! * Numbers ascend from entry to entry; places need not: the cleaner copies old batches to the
//!   log's end.

use std::collections::VecDeque;
use std::ops::Range;

use crate::types::{LogPos, StreamPosition};

/// Log bytes that an entry stands for that was not folded, counted from its own position.
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
    /// Length of its span.
    pub span_bytes: u32,
}

impl IndexEntry {
    /// Whether its span is longer than what is read to find one record.
    #[must_use]
    pub fn is_folded(&self) -> bool {
        self.span_bytes > SPAN_BYTES
    }

    /// One past its span, in bytes from the start of the segment's file; it may be beyond its end.
    #[must_use]
    pub fn end_bytes(&self) -> u32 {
        self.pos.offset_bytes.saturating_add(self.span_bytes)
    }

    /// Whether a frame at `pos` lies in this entry's span.
    #[must_use]
    pub fn spans(&self, pos: LogPos) -> bool {
        pos.segment == self.pos.segment
            && pos.offset_bytes >= self.pos.offset_bytes
            && pos.offset_bytes - self.pos.offset_bytes < self.span_bytes
    }

    /// Whether `next`, the run after this one, lies behind it in the same of these segments.
    fn goes_on_in(&self, next: &Self, epochs: &Range<u64>) -> bool {
        epochs.contains(&self.pos.segment)
            && next.pos.segment == self.pos.segment
            && next.pos.offset_bytes >= self.end_bytes()
    }

    /// Whether this entry's span and the stretch from `begin` to `end_bytes` of its segment meet.
    #[must_use]
    pub fn meets(&self, begin: LogPos, end_bytes: u32) -> bool {
        self.pos.segment == begin.segment
            && self.pos.offset_bytes < end_bytes
            && begin.offset_bytes < self.end_bytes()
    }
}

/// An entry as it is kept in memory, without padding: there may be very many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    seq_num: u64,
    timestamp: u64,
    arrival_ms: u64,
    segment: u64,
    offset_bytes: u32,
    span_bytes: u32,
}

/// Memory that an entry takes, in bytes.
pub const ENTRY_BYTES: u64 = 40;
const _: () = assert!(size_of::<Kept>() as u64 == ENTRY_BYTES);

impl From<IndexEntry> for Kept {
    fn from(entry: IndexEntry) -> Self {
        let IndexEntry { seq_num, timestamp, arrival_ms, pos, span_bytes } = entry;
        let LogPos { segment, offset_bytes } = pos;
        Self { seq_num, timestamp, arrival_ms, segment, offset_bytes, span_bytes }
    }
}

impl From<Kept> for IndexEntry {
    fn from(kept: Kept) -> Self {
        let Kept { seq_num, timestamp, arrival_ms, segment, offset_bytes, span_bytes } = kept;
        let pos = LogPos { segment, offset_bytes };
        Self { seq_num, timestamp, arrival_ms, pos, span_bytes }
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
    entries: VecDeque<Kept>,
}

impl Index {
    /// The index with these runs, as a checkpoint kept them: numbers ascend.
    #[must_use]
    pub fn restored(runs: &[IndexEntry]) -> Self {
        debug_assert!(runs.is_sorted_by(|a, b| a.seq_num < b.seq_num), "sequence order");
        let mut entries = Vec::with_capacity(runs.len()); // collecting would make room for four
        entries.extend(runs.iter().map(|run| Kept::from(*run)));
        Self { entries: entries.into() }
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory that its entries take, room for more of them included, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.entries.capacity() as u64 * ENTRY_BYTES
    }

    /// Notes a durable batch whose first record is `first`; makes an entry when it opens a new
    /// span.
    pub fn push(&mut self, first: StreamPosition, arrival_ms: u64, pos: LogPos) {
        if let Some(last) = self.entries.back() {
            assert!(last.seq_num < first.seq_num, "sequence order");
            if IndexEntry::from(*last).spans(pos) {
                return;
            }
        }
        if self.entries.capacity() == 0 {
            self.entries.reserve_exact(1); // most streams are written to once, and then are idle
        }
        let StreamPosition { seq_num, timestamp } = first;
        let entry = IndexEntry { seq_num, timestamp, arrival_ms, pos, span_bytes: SPAN_BYTES };
        self.entries.push_back(entry.into());
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

    /// Number of the first record of the run after the one that starts with `seq_num`; `None` when
    /// that is the last one.
    #[must_use]
    pub fn next_after(&self, seq_num: u64) -> Option<u64> {
        let next = self.entries.partition_point(|e| e.seq_num <= seq_num);
        self.entries.get(next).map(|e| e.seq_num)
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
        let before = at.checked_sub(1).map(|at| IndexEntry::from(self.entries[at]));
        if before.is_none_or(|before| !before.spans(batch.pos)) {
            let (seq_num, timestamp) = (batch.first_seq_num, batch.first_timestamp);
            let (arrival_ms, pos) = (batch.arrival_ms, batch.pos);
            let entry = IndexEntry { seq_num, timestamp, arrival_ms, pos, span_bytes: SPAN_BYTES };
            self.entries.insert(at, entry.into());
            at += 1;
        }
        if batch.end_seq_num < run_end {
            // Nothing before the rest is later than what was moved.
            let (seq_num, timestamp) = (batch.end_seq_num, batch.last_timestamp);
            let arrival_ms = batch.arrival_ms;
            self.entries.insert(at, Kept { seq_num, timestamp, arrival_ms, ..run });
        }
    }

    /// Folds runs that lie in these segments: of those in one segment that follow each other, by
    /// number and without meeting by place, one is left, whose span is that of all of them.
    ///
    /// The segments must be sealed, so that no more is put into that span.
    pub fn fold(&mut self, epochs: &Range<u64>) {
        let mut folded = 0;
        for at in 0..self.entries.len() {
            let next = IndexEntry::from(self.entries[at]);
            let last = at.checked_sub(1).map(|_| IndexEntry::from(self.entries[folded - 1]));
            match last {
                Some(last) if last.goes_on_in(&next, epochs) => {
                    self.entries[folded - 1].span_bytes = next.end_bytes() - last.pos.offset_bytes;
                }
                _ => {
                    self.entries[folded] = next.into();
                    folded += 1;
                }
            }
        }
        let some_folded = folded < self.entries.len();
        self.entries.truncate(folded);
        // Trimming leaves room, too.
        if some_folded || self.entries.capacity() >= 2 * folded + 4 {
            self.entries.shrink_to_fit();
        }
    }

    fn before(&self, ordinal: usize) -> Option<IndexEntry> {
        self.entries.get(ordinal.saturating_sub(1)).map(|e| (*e).into())
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
        self.entries.iter().map(|e| e.segment).min()
    }

    /// Records before this one arrived before `floor_ms`, milliseconds since the Unix epoch, as far
    /// as the index can tell: later ones may have, too.
    #[must_use]
    pub fn arrived_before(&self, floor_ms: u64) -> Option<u64> {
        let is_late = |e: &&Kept| e.arrival_ms < floor_ms;
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
    pub fn iter(&self) -> impl Iterator<Item = IndexEntry> {
        self.entries.iter().map(|e| (*e).into())
    }
}

#[cfg(test)]
mod tests;
