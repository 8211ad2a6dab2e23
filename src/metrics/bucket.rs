//! How far a shard's log is in the bucket.

use super::snapshot::add;

/// What is known of a shard's log in the bucket, now and since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketState {
    /// Bytes of log that are durable here and not there.
    pub lag_bytes: u64,
    /// How long the oldest of them waits, in microseconds.
    pub lag_us: u64,
    /// Objects stored.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Requests that failed.
    pub retries: u64,
}

impl BucketState {
    /// Adds another shard's: of the waits, the longer one.
    pub(super) fn merge(&mut self, other: &Self) {
        add(&mut self.lag_bytes, other.lag_bytes);
        self.lag_us = self.lag_us.max(other.lag_us);
        add(&mut self.objects, other.objects);
        add(&mut self.bytes, other.bytes);
        add(&mut self.retries, other.retries);
    }
}
