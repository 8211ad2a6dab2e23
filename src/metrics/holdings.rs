//! What the log of a shard takes on the disk, and how it is, now.

use serde::Serialize;

use super::snapshot::add;

/// What a shard's log takes on the disk, now; the shard says so when it is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Holdings {
    /// Segments of which something is, or may be, needed; the one that is written counts.
    pub segments_in_use: u64,
    /// Segments that are ready to be written.
    pub segments_spare: u64,
    /// Files of segments given up, which will be used again.
    pub segments_free: u64,
    /// Bytes of all these files.
    pub file_bytes: u64,
    /// Bytes of log in the segments in use.
    pub log_bytes: u64,
    /// What of them streams still need, most likely: from what streams store by the API's measure,
    /// and what such bytes took in the log lately.
    pub live_bytes: u64,
    /// Bytes of log since the last checkpoint, which a start would have to replay.
    pub unsaved_bytes: u64,
    /// How many of these are logs that take no appends any more, since a write or a sync failed.
    pub failed: u64,
    /// How many of these are logs whose disk had no room for another segment when last asked.
    pub full: u64,
}

impl Holdings {
    /// Adds what another shard holds.
    pub(super) fn merge(&mut self, other: &Self) {
        add(&mut self.segments_in_use, other.segments_in_use);
        add(&mut self.segments_spare, other.segments_spare);
        add(&mut self.segments_free, other.segments_free);
        add(&mut self.file_bytes, other.file_bytes);
        add(&mut self.log_bytes, other.log_bytes);
        add(&mut self.live_bytes, other.live_bytes);
        add(&mut self.unsaved_bytes, other.unsaved_bytes);
        add(&mut self.failed, other.failed);
        add(&mut self.full, other.full);
    }
}
