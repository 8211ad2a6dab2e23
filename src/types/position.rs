//! Places: in a stream, and in a core's log.

/// A place in a stream: the number of a record (or the next one to assign) and a timestamp.
///
/// * Units: `timestamp` is milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamPosition {
    /// Sequence number, from 0 in every new stream.
    pub seq_num: u64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
}

/// What an append answers once its batch is durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ack {
    /// The batch's first record.
    pub start: StreamPosition,
    /// One past the batch's last record, with that record's timestamp.
    pub end: StreamPosition,
    /// The durable tail when the ack was produced; `tail.seq_num >= end.seq_num`.
    pub tail: StreamPosition,
}

/// A stream inside its shard. Never reused: a stream deleted and created again has a new one,
/// so frames of the old stream cannot be taken for the new one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// The place of a frame in a shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPos {
    /// The segment's epoch: segments are numbered in the order in which they were used.
    pub segment: u64,
    /// Bytes from the start of the segment's file; a multiple of 4096.
    pub offset_bytes: u32,
}
