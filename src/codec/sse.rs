//! Server-sent events of a read.
//!
//! ```text
//! event: batch                        event: ping                 event: error
//! id: <seq_num>,<count>,<bytes>       data: {"timestamp":…,       data: <error JSON>
//! data: <ReadBatch JSON>                     "tail":{…}}                            data: [DONE]
//! ```
//!
//! Each ends with an empty line. The fields of an event may come in any order. Where the id is
//! known beforehand it comes before the data ([`push_batch`]); where it is known only once the
//! records are written it comes behind them ([`begin_batch`], [`finish_batch`]), so that they need
//! not move.
//!
//! Invariant: `data` is one line. JSON has no line breaks outside strings, and in strings they
//! are escaped.
//!
//! Source: S2 specification, section 7; WHATWG HTML, "Server-sent events".

use std::fmt;
use std::io::Write;

use super::json::encode::{push_integer, push_position};
use crate::types::StreamPosition;

/// How far a client is: what its `Last-Event-ID` says, and the `id` of each batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventId {
    /// The last record delivered.
    pub seq_num: u64,
    /// Records delivered, by earlier answers of the same read too.
    pub count: u64,
    /// Metered bytes delivered, by earlier answers of the same read too.
    pub bytes: u64,
}

/// The text is no event id. The message is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be three unsigned integers: seq_num,count,bytes")]
pub struct InvalidEventId;

impl EventId {
    /// Reads `seq_num,count,bytes`: decimal digits alone, blanks and tabs around the whole.
    ///
    /// * Errors: [`InvalidEventId`] for anything else, numbers beyond 64 bits included.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidEventId> {
        let mut numbers = text.trim_ascii().split(|b| *b == b',').map(parse_integer);
        let mut next = || numbers.next().flatten().ok_or(InvalidEventId);
        let id = Self { seq_num: next()?, count: next()?, bytes: next()? };
        if numbers.next().is_some() { Err(InvalidEventId) } else { Ok(id) }
    }

    /// The id after one more batch: `last_seq_num` is its last record, `records` and `bytes` are
    /// its records and metered bytes. The sums stay at their maximum once they reach it.
    #[must_use]
    pub fn advance(self, last_seq_num: u64, records: u64, bytes: u64) -> Self {
        Self {
            seq_num: last_seq_num,
            count: self.count.saturating_add(records),
            bytes: self.bytes.saturating_add(bytes),
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.seq_num, self.count, self.bytes)
    }
}

fn parse_integer(text: &[u8]) -> Option<u64> {
    // `parse` alone would let a `+` pass.
    let digits = text.iter().all(u8::is_ascii_digit).then_some(text)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Appends a batch whose id is known; `write_data` appends its `ReadBatch` as JSON.
pub fn push_batch(out: &mut Vec<u8>, id: EventId, write_data: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"event: batch\n");
    push_id(out, id);
    out.extend_from_slice(b"\ndata: ");
    write_data(out);
    out.extend_from_slice(b"\n\n");
}

/// Begins a batch: append its `ReadBatch` as JSON, then call [`finish_batch`]. A batch that turns
/// out to be empty is taken back by truncating `out`.
pub fn begin_batch(out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: batch\ndata: ");
}

/// Ends the batch that was begun.
pub fn finish_batch(out: &mut Vec<u8>, id: EventId) {
    out.push(b'\n');
    push_id(out, id);
    out.extend_from_slice(b"\n\n");
}

fn push_id(out: &mut Vec<u8>, id: EventId) {
    write!(out, "id: {id}").expect("a vector takes all");
}

/// Appends a heartbeat: the clock in milliseconds since the Unix epoch, and the stream's tail.
pub fn push_ping(out: &mut Vec<u8>, now_ms: u64, tail: StreamPosition) {
    out.extend_from_slice(b"event: ping\ndata: {\"timestamp\":");
    push_integer(out, now_ms);
    out.extend_from_slice(b",\"tail\":");
    push_position(out, tail);
    out.extend_from_slice(b"}\n\n");
}

/// Appends the event that ends a failed read: `json` as in the body of an error answer.
pub fn push_error(out: &mut Vec<u8>, json: &[u8]) {
    debug_assert!(!json.contains(&b'\n') && !json.contains(&b'\r'), "data is one line");
    out.extend_from_slice(b"event: error\ndata: ");
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
}

/// Appends the mark of a read that ended as it should.
pub fn push_done(out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: [DONE]\n\n");
}

#[cfg(test)]
mod tests;
