//! One batch of records, in whichever representation was asked for.

use super::{Format, json, proto};
use crate::types::StreamPosition;

/// How a unary body spells a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchForm {
    /// As JSON, with bytes in this format.
    Json(Format),
    /// As protobuf.
    Proto,
}

impl BatchForm {
    /// Opens a batch at the end of `out`.
    pub fn encoder(self, out: &mut Vec<u8>) -> BatchEncoder<'_> {
        match self {
            Self::Json(format) => BatchEncoder::Json(json::ReadBatchEncoder::new(out, format)),
            Self::Proto => BatchEncoder::Proto(proto::ReadBatchEncoder::new(out)),
        }
    }
}

/// Writes a read batch record by record; whole only after [`finish`](Self::finish).
#[derive(Debug)]
pub enum BatchEncoder<'out> {
    /// As JSON.
    Json(json::ReadBatchEncoder<'out>),
    /// As protobuf.
    Proto(proto::ReadBatchEncoder<'out>),
}

impl BatchEncoder<'_> {
    /// Appends one record.
    pub fn record<'h>(
        &mut self,
        seq_num: u64,
        timestamp: u64,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])> + Clone,
        body: &[u8],
    ) {
        match self {
            Self::Json(encoder) => encoder.record(seq_num, timestamp, headers, body),
            Self::Proto(encoder) => encoder.record(seq_num, timestamp, headers, body),
        }
    }

    /// Closes the batch.
    pub fn finish(self, tail: Option<StreamPosition>) {
        match self {
            Self::Json(encoder) => encoder.finish(tail),
            Self::Proto(encoder) => encoder.finish(tail),
        };
    }
}
