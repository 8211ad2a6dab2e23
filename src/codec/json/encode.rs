//! Writes acks, tails and read batches, straight into the bytes of a response.

use base64_simd::STANDARD;

use super::escape::push_lossy;
use crate::codec::Format;
use crate::types::{Ack, StreamPosition};

/// Room that a record's braces, member names and numbers may need, in bytes.
const RECORD_FRAME_BYTES: usize = 96;

/// Appends `{"start":{…},"end":{…},"tail":{…}}`.
///
/// * Source: S2 specification, section 4.6.
pub fn encode_ack(out: &mut Vec<u8>, ack: &Ack) {
    out.extend_from_slice(b"{\"start\":");
    push_position(out, ack.start);
    out.extend_from_slice(b",\"end\":");
    push_position(out, ack.end);
    out.extend_from_slice(b",\"tail\":");
    push_position(out, ack.tail);
    out.push(b'}');
}

/// Appends `{"tail":{…}}`: the answer to a tail check, and the body of a 416.
pub fn encode_tail(out: &mut Vec<u8>, tail: StreamPosition) {
    out.extend_from_slice(b"{\"tail\":");
    push_position(out, tail);
    out.push(b'}');
}

pub(in crate::codec) fn push_position(out: &mut Vec<u8>, position: StreamPosition) {
    out.extend_from_slice(b"{\"seq_num\":");
    push_integer(out, position.seq_num);
    out.extend_from_slice(b",\"timestamp\":");
    push_integer(out, position.timestamp);
    out.push(b'}');
}

pub(in crate::codec) fn push_integer(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes `{"records":[…],"tail":{…}}` record by record.
///
/// * Shape: what was there in the vector stays. The batch is whole only after
///   [`finish`](Self::finish).
/// * Source: S2 specification, section 5.4.
#[derive(Debug)]
pub struct ReadBatchEncoder<'out> {
    out: &'out mut Vec<u8>,
    format: Format,
    is_first: bool,
}

impl<'out> ReadBatchEncoder<'out> {
    /// Opens a batch at the end of `out`; strings will hold bytes in `format`.
    pub fn new(out: &'out mut Vec<u8>, format: Format) -> Self {
        out.extend_from_slice(b"{\"records\":[");
        Self { out, format, is_first: true }
    }

    /// Appends one record; empty headers or an empty body are left out.
    pub fn record<'h>(
        &mut self,
        seq_num: u64,
        timestamp: u64,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        body: &[u8],
    ) {
        self.out.reserve(RECORD_FRAME_BYTES + body.len());
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"{\"seq_num\":");
        push_integer(self.out, seq_num);
        self.out.extend_from_slice(b",\"timestamp\":");
        push_integer(self.out, timestamp);
        self.headers(headers);
        if !body.is_empty() {
            self.out.extend_from_slice(b",\"body\":");
            self.string(body);
        }
        self.out.push(b'}');
    }

    /// Closes the batch; returns what it was written to.
    pub fn finish(self, tail: Option<StreamPosition>) -> &'out mut Vec<u8> {
        self.out.push(b']');
        if let Some(tail) = tail {
            self.out.extend_from_slice(b",\"tail\":");
            push_position(self.out, tail);
        }
        self.out.push(b'}');
        self.out
    }

    fn headers<'h>(&mut self, headers: impl Iterator<Item = (&'h [u8], &'h [u8])>) {
        let mut before: &[u8] = b",\"headers\":[[";
        for (name, value) in headers {
            self.out.extend_from_slice(before);
            self.string(name);
            self.out.push(b',');
            self.string(value);
            before = b"],[";
        }
        if before == b"],[" {
            self.out.extend_from_slice(b"]]");
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        match self.format {
            Format::Raw => push_lossy(self.out, bytes),
            Format::Base64 => STANDARD.encode_append(bytes, self.out),
        }
        self.out.push(b'"');
    }
}

#[cfg(test)]
mod tests;
