//! What it took to make a batch durable.

use super::config::StorageClass;
use super::position::LogPos;

/// Where a batch lies in a shard's log, in which group it was written, and how long that took.
///
/// * Units: microseconds on the monotonic clock of the stream's core.
/// * Who asked at the stream's shard waited for `queued_us + write_us + sync_us`, and for the core
///   to come back to it after the sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The shard whose log it is.
    pub shard: u16,
    /// The frame that holds the batch, where it was first put.
    pub pos: LogPos,
    /// The storage class of its stream when it was logged.
    pub class: StorageClass,
    /// How many batches became durable with the same sync, this one included.
    pub group_batches: u64,
    /// What was written for them, in bytes: whole frames, padding included.
    pub group_bytes: u64,
    /// From the batch's arrival at its shard until its group was begun.
    pub queued_us: u64,
    /// The write of the group; 0 when write and sync were one call.
    pub write_us: u64,
    /// The sync of the group, and its write when they were one call.
    pub sync_us: u64,
}
