//! The messages of `package s2.v1` as `prost` reads and writes them.
//!
//! Convenient rather than fast: every field is owned. Fields mean what their namesakes in
//! `types` mean. Source: S2 specification, section 4.1.

use crate::types::StorageClass;

/// A place in a stream.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StreamPosition {
    /// Sequence number.
    #[prost(uint64, tag = "1")]
    pub seq_num: u64,
    /// Milliseconds since the Unix epoch.
    #[prost(uint64, tag = "2")]
    pub timestamp: u64,
}

/// A header of a record.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Header {
    /// Empty only on a command record.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// May be empty.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A record to be appended.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AppendRecord {
    /// Milliseconds since the Unix epoch, if the client gives them.
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    /// In order.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<Header>,
    /// May be empty.
    #[prost(bytes = "vec", tag = "3")]
    pub body: Vec<u8>,
}

/// A batch to be appended.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AppendInput {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<AppendRecord>,
    /// Absent is no check; 0 is a real value.
    #[prost(uint64, optional, tag = "2")]
    pub match_seq_num: Option<u64>,
    /// Absent is no check; empty is a real value.
    #[prost(string, optional, tag = "3")]
    pub fencing_token: Option<String>,
}

/// The answer to a batch. Clients require all three positions.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct AppendAck {
    /// The batch's first record.
    #[prost(message, optional, tag = "1")]
    pub start: Option<StreamPosition>,
    /// One past the batch's last record, with that record's timestamp.
    #[prost(message, optional, tag = "2")]
    pub end: Option<StreamPosition>,
    /// The durable tail.
    #[prost(message, optional, tag = "3")]
    pub tail: Option<StreamPosition>,
    /// Only in sessions that ask for it. Not of the specification; decoders skip what they do not
    /// know, and the number is one that it will hardly come to.
    #[prost(message, optional, tag = "10001")]
    pub receipt: Option<Receipt>,
}

/// What it took to make a batch durable; see `docs/RECEIPTS.md`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Receipt {
    /// The shard whose log it is.
    #[prost(uint32, tag = "1")]
    pub shard: u32,
    /// The segment that the batch's frame lies in.
    #[prost(uint64, tag = "2")]
    pub segment: u64,
    /// The frame's place in it, in bytes.
    #[prost(uint32, tag = "3")]
    pub offset: u32,
    /// 1 is Standard, 2 Express: the numbers of `StorageClass`.
    #[prost(uint32, tag = "4")]
    pub class: u32,
    /// Batches in its group.
    #[prost(uint64, tag = "5")]
    pub batches: u64,
    /// Bytes of its group.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
    /// Microseconds until its group was begun.
    #[prost(uint64, tag = "7")]
    pub queued_us: u64,
    /// Microseconds in the write.
    #[prost(uint64, tag = "8")]
    pub write_us: u64,
    /// Microseconds in the sync.
    #[prost(uint64, tag = "9")]
    pub sync_us: u64,
}

/// A record that was read.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SequencedRecord {
    /// Its place in the stream.
    #[prost(uint64, tag = "1")]
    pub seq_num: u64,
    /// Milliseconds since the Unix epoch.
    #[prost(uint64, tag = "2")]
    pub timestamp: u64,
    /// In order.
    #[prost(message, repeated, tag = "3")]
    pub headers: Vec<Header>,
    /// May be empty.
    #[prost(bytes = "vec", tag = "4")]
    pub body: Vec<u8>,
}

/// A batch that was read; without records but with a tail it is a heartbeat.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReadBatch {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<SequencedRecord>,
    /// Where the stream ended when the batch was written, if known.
    #[prost(message, optional, tag = "2")]
    pub tail: Option<StreamPosition>,
}

impl From<crate::types::StreamPosition> for StreamPosition {
    fn from(position: crate::types::StreamPosition) -> Self {
        Self { seq_num: position.seq_num, timestamp: position.timestamp }
    }
}

impl From<crate::types::Receipt> for Receipt {
    fn from(receipt: crate::types::Receipt) -> Self {
        Self {
            shard: receipt.shard.into(),
            segment: receipt.pos.segment,
            offset: receipt.pos.offset_bytes,
            class: match receipt.class {
                StorageClass::Standard => 1,
                StorageClass::Express => 2,
            },
            batches: receipt.group_batches,
            bytes: receipt.group_bytes,
            queued_us: receipt.queued_us,
            write_us: receipt.write_us,
            sync_us: receipt.sync_us,
        }
    }
}
