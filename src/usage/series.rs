//! A number by bucket of time: only buckets with something in them are kept, in order.

use std::collections::VecDeque;
use std::ops::Range;

/// Numbers by bucket. Buckets are counted from the Unix epoch, in a unit that the owner knows.
///
/// Invariant: buckets strictly ascend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Series(VecDeque<(u32, u64)>);

impl Series {
    /// Adds to a bucket.
    ///
    /// * Cost: constant for the newest bucket, and no allocation while it stays the newest.
    pub(super) fn add(&mut self, bucket: u32, value: u64) {
        let slot = self.slot(bucket);
        *slot = slot.saturating_add(value);
    }

    /// Sets a bucket.
    pub(super) fn set(&mut self, bucket: u32, value: u64) {
        *self.slot(bucket) = value;
    }

    /// Sets a bucket unless it holds more: the same numbers may come in twice.
    pub(super) fn raise(&mut self, bucket: u32, value: u64) {
        let slot = self.slot(bucket);
        *slot = (*slot).max(value);
    }

    fn slot(&mut self, bucket: u32) -> &mut u64 {
        let at = match self.0.back() {
            Some((newest, _)) if *newest == bucket => self.0.len() - 1,
            // The clock was set back, or an older append became durable only now.
            Some((newest, _)) if *newest > bucket => {
                let at = self.0.partition_point(|(b, _)| *b < bucket);
                if self.0[at].0 != bucket {
                    self.0.insert(at, (bucket, 0));
                }
                at
            }
            _ => {
                self.0.push_back((bucket, 0));
                self.0.len() - 1
            }
        };
        &mut self.0[at].1
    }

    /// The last bucket before `bucket`.
    pub(super) fn before(&self, bucket: u32) -> Option<(u32, u64)> {
        let at = self.0.partition_point(|(b, _)| *b < bucket);
        self.0.get(at.checked_sub(1)?).copied()
    }

    /// Buckets in `range`, in order.
    pub(super) fn range(&self, range: Range<u32>) -> impl Iterator<Item = (u32, u64)> {
        let start = self.0.partition_point(|(b, _)| *b < range.start);
        self.0.range(start..).copied().take_while(move |(b, _)| *b < range.end)
    }

    /// Forgets buckets before `first`.
    pub(super) fn forget_before(&mut self, first: u32) {
        let old = self.0.partition_point(|(b, _)| *b < first);
        self.0.drain(..old);
        if self.0.capacity() > 64 && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to_fit();
        }
    }

    /// Forgets buckets after `last`.
    pub(super) fn forget_after(&mut self, last: u32) {
        while self.0.back().is_some_and(|(bucket, _)| *bucket > last) {
            self.0.pop_back();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Buckets from `first` on as one row of numbers: bucket, value, then distance to the bucket
    /// before, value, and so on.
    pub(super) fn encode(&self, first: u32) -> Vec<u64> {
        let mut row = Vec::new();
        let mut last = 0;
        for (bucket, value) in self.range(first..u32::MAX) {
            row.extend([u64::from(bucket - last), value]);
            last = bucket;
        }
        row
    }

    /// What [`encode`](Self::encode) wrote.
    ///
    /// * Errors: `None` when it is no such row.
    pub(super) fn decode(row: &[u64]) -> Option<Vec<(u32, u64)>> {
        let mut samples = Vec::with_capacity(row.len() / 2);
        let mut last = 0_u32;
        for pair in row.chunks(2) {
            let &[distance, value] = pair else { return None };
            if distance == 0 && !samples.is_empty() {
                return None;
            }
            last = last.checked_add(u32::try_from(distance).ok()?)?;
            samples.push((last, value));
        }
        Some(samples)
    }
}
