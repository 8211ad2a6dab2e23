//! Writes acks and read batches, straight into the bytes of a response.
//!
//! Lengths are computed before anything is written, so that nothing written moves again and
//! bodies are copied once.

use prost::Message;

use super::messages::AppendAck;
use crate::types::{Ack, Receipt, StreamPosition};
use crate::wire::{push_varint, varint_len};

/// Key bytes: field number << 3 | wire type.
mod key {
    pub(super) const BATCH_RECORD: u8 = 0x0A;
    pub(super) const BATCH_TAIL: u8 = 0x12;
    pub(super) const RECORD_SEQ_NUM: u8 = 0x08;
    pub(super) const RECORD_TIMESTAMP: u8 = 0x10;
    pub(super) const RECORD_HEADER: u8 = 0x1A;
    pub(super) const RECORD_BODY: u8 = 0x22;
    pub(super) const HEADER_NAME: u8 = 0x0A;
    pub(super) const HEADER_VALUE: u8 = 0x12;
    pub(super) const POSITION_SEQ_NUM: u8 = 0x08;
    pub(super) const POSITION_TIMESTAMP: u8 = 0x10;
}

/// Appends an `AppendAck`. All three positions are there, even when zero; the receipt is there if
/// the client asked for it.
///
/// * Source: S2 specification, sections 4.1 and 4.6.
pub fn encode_ack(out: &mut Vec<u8>, ack: &Ack, receipt: Option<Receipt>) {
    let message = AppendAck {
        start: Some(ack.start.into()),
        end: Some(ack.end.into()),
        tail: Some(ack.tail.into()),
        receipt: receipt.map(Into::into),
    };
    message.encode(out).expect("a vector has room");
}

/// Writes a `ReadBatch` record by record.
///
/// * Shape: what was there in the vector stays, and every prefix of whole records is a message.
/// * Cost: one copy of each body. A caller that knows its records reserves room with
///   [`encoded_record_bytes`]; otherwise the vector grows as vectors do.
/// * Source: S2 specification, sections 4.1 and 5.4.
#[derive(Debug)]
pub struct ReadBatchEncoder<'out> {
    out: &'out mut Vec<u8>,
}

impl<'out> ReadBatchEncoder<'out> {
    /// Opens a batch at the end of `out`.
    pub fn new(out: &'out mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends one record.
    pub fn record<'h>(
        &mut self,
        seq_num: u64,
        timestamp: u64,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])> + Clone,
        body: &[u8],
    ) {
        let record_bytes = record_bytes(seq_num, timestamp, headers.clone(), body.len());
        self.out.reserve(delimited_bytes(record_bytes));
        self.open(key::BATCH_RECORD, record_bytes);
        let end = self.out.len() + record_bytes;
        self.integer(key::RECORD_SEQ_NUM, seq_num);
        self.integer(key::RECORD_TIMESTAMP, timestamp);
        for (name, value) in headers {
            self.open(key::RECORD_HEADER, header_bytes(name, value));
            self.bytes(key::HEADER_NAME, name);
            self.bytes(key::HEADER_VALUE, value);
        }
        self.bytes(key::RECORD_BODY, body);
        debug_assert_eq!(self.out.len(), end, "the length announced is the length written");
    }

    /// Closes the batch; returns what it was written to. A tail is there even when both its
    /// numbers are zero.
    pub fn finish(mut self, tail: Option<StreamPosition>) -> &'out mut Vec<u8> {
        if let Some(tail) = tail {
            let StreamPosition { seq_num, timestamp } = tail;
            self.open(key::BATCH_TAIL, integer_bytes(seq_num) + integer_bytes(timestamp));
            self.integer(key::POSITION_SEQ_NUM, seq_num);
            self.integer(key::POSITION_TIMESTAMP, timestamp);
        }
        self.out
    }

    fn open(&mut self, key: u8, len: usize) {
        self.out.push(key);
        push_varint(self.out, len as u64);
    }

    /// As proto3 has it, a zero is left out.
    fn integer(&mut self, key: u8, value: u64) {
        if value != 0 {
            self.out.push(key);
            push_varint(self.out, value);
        }
    }

    /// As proto3 has it, an empty value is left out.
    fn bytes(&mut self, key: u8, value: &[u8]) {
        if !value.is_empty() {
            self.open(key, value.len());
            self.out.extend_from_slice(value);
        }
    }
}

/// Bytes that a record takes in a `ReadBatch`, its key and length included.
///
/// A batch is as long as its records together, and at most 24 bytes more for the tail
/// ([`TAIL_BYTES_MAX`]).
pub fn encoded_record_bytes<'h>(
    seq_num: u64,
    timestamp: u64,
    headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    body_len: usize,
) -> usize {
    delimited_bytes(record_bytes(seq_num, timestamp, headers, body_len))
}

/// Most bytes that the tail takes in a `ReadBatch`.
pub const TAIL_BYTES_MAX: usize = 2 + 2 * (1 + crate::wire::VARINT_BYTES_MAX);

/// The record without its own key and length.
fn record_bytes<'h>(
    seq_num: u64,
    timestamp: u64,
    headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    body_len: usize,
) -> usize {
    let headers: usize =
        headers.map(|(name, value)| delimited_bytes(header_bytes(name, value))).sum();
    integer_bytes(seq_num) + integer_bytes(timestamp) + headers + optional_bytes(body_len)
}

fn header_bytes(name: &[u8], value: &[u8]) -> usize {
    optional_bytes(name.len()) + optional_bytes(value.len())
}

fn integer_bytes(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint_len(value) }
}

fn optional_bytes(len: usize) -> usize {
    if len == 0 { 0 } else { delimited_bytes(len) }
}

fn delimited_bytes(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

#[cfg(test)]
mod tests;
