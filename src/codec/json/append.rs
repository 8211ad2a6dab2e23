//! Decodes the body of a unary append, in place.
//!
//! ```text
//! receive buffer: ....{"records":[{"body":"hi\nyou"},{"body":"aGk="}]}
//!   unescape          {"records":[{"body":"hi·you."},{"body":"aGk="}]}   simd-json, in place
//!   spans                                  ^-----^            ^--^       from the tape
//!   base64                                                    hi..       in place, if asked for
//! ```
//!
//! Invariants:
//! * The record bytes stay in the buffer they were received into; the buffer moves into the
//!   [`AppendInput`].
//! * A body that is malformed anywhere is [`DecodeError::BadJson`], whatever else is wrong with
//!   it; only a body that is sound as JSON can be [`DecodeError::Invalid`].
//! * No message carries more of the client's bytes than one character.
//! * Scratch memory is bounded: see [`BODY_BYTES_MAX`] and `strict::STRUCTURALS_MAX`; what is
//!   kept from one body to the next is bounded by `KEPT_BODY_BYTES` and `KEPT_ITEMS`.

use base64_simd::STANDARD;
use simd_json::{Buffers, Tape};

use super::strict;
use super::tape::{Draft, DraftRecord};
use crate::codec::{DecodeError, Format};
use crate::types::{AppendBuilder, AppendInput, HeaderSpan, Span};
use crate::wire::BodyBuf;

/// Longest body that is decoded, in bytes. The transport usually refuses earlier; stated here
/// because spans are 32 bits wide and scratch memory is a multiple of the body.
///
/// A legal batch needs at most 6 MiB (every byte of it escaped as `\u0000`).
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Scratch that grew for a body longer than this is given back after it.
const KEPT_BODY_BYTES: usize = 2 * 1024 * 1024;
/// Scratch lists that hold more items than this are given back.
const KEPT_ITEMS: usize = 64 * 1024;

/// Decodes append bodies one after another, keeping its scratch memory between them.
///
/// One per core is enough: decoding does not wait for anything.
pub struct AppendDecoder {
    buffers: Buffers,
    /// Empty between bodies; kept for its allocation.
    tape: Tape<'static>,
    draft: Draft,
}

impl std::fmt::Debug for AppendDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppendDecoder").finish_non_exhaustive()
    }
}

impl Default for AppendDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl AppendDecoder {
    /// A decoder without scratch memory; it grows with the bodies it meets.
    #[must_use]
    pub fn new() -> Self {
        Self { buffers: Buffers::new(0), tape: Tape(Vec::new()), draft: Draft::default() }
    }

    /// Decodes `body`, whose strings hold bytes in `format`.
    ///
    /// Strict: a member that is read (`records`, `match_seq_num`, `fencing_token`, `timestamp`,
    /// `headers`, `body`) may appear once; nothing but white space may follow the value; strings
    /// must be UTF-8 without lone surrogates; integers must be plain digits below 2^64. Members
    /// that are not known are ignored, repeated or not, except that a number in them must fit
    /// an `f64`.
    ///
    /// * Shape: spans of the result point into the buffer that `body` came in, counted from the
    ///   buffer's start, not the body's.
    /// * Errors: [`DecodeError::BadJson`] before [`DecodeError::Invalid`]; the buffer is dropped.
    /// * Cost: simd-json copies the body once into its own scratch; beyond that, two lists of known
    ///   size for the spans, in memory of earlier ones. Record bytes move only where an escape or
    ///   base64 makes them shorter.
    /// * Source: S2 specification, sections 4.1 to 4.3.
    pub fn decode(&mut self, body: BodyBuf, format: Format) -> Result<AppendInput, DecodeError> {
        let len_bytes = body.len();
        let (mut buf, start) = body.into_parts();
        if len_bytes > BODY_BYTES_MAX || u32::try_from(buf.len()).is_err() {
            return Err(DecodeError::BadJson("body is too large".to_owned()));
        }
        let drafted = self.draft(&mut buf[start..start + len_bytes], start);
        let result = match drafted {
            Ok(()) => build(&mut self.draft, buf, format),
            Err(message) => Err(DecodeError::BadJson(message)),
        };
        self.shed(len_bytes);
        result
    }

    /// Fills `self.draft` from `body`, which lies `start` bytes into its buffer.
    fn draft(&mut self, body: &mut [u8], start: usize) -> Result<(), String> {
        strict::before_parse(body)?;
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let base = body.as_ptr().addr() - start;
        let drafted = simd_json::fill_tape(body, &mut self.buffers, &mut tape)
            .map_err(|e| format!("malformed JSON: {e}"))
            .and_then(|()| self.draft.fill(&tape.0, base));
        self.tape = tape.reset();
        drafted?;
        if self.draft.has_unseen_numbers {
            strict::check_numbers(body, self.buffers.structural_indexes())?;
        }
        Ok(())
    }

    /// Gives back scratch memory that only an unusual body needs.
    fn shed(&mut self, body_bytes: usize) {
        let structurals = self.buffers.structural_indexes().len();
        if body_bytes > KEPT_BODY_BYTES || structurals > KEPT_ITEMS {
            self.buffers = Buffers::new(0);
        }
        if self.tape.0.capacity() > KEPT_ITEMS {
            self.tape = Tape(Vec::new());
        }
        self.draft.shed(KEPT_ITEMS);
    }
}

/// Turns the draft into a batch: decodes base64 where asked for, then judges each record.
fn build(draft: &mut Draft, mut buf: Vec<u8>, format: Format) -> Result<AppendInput, DecodeError> {
    let mut builder = AppendBuilder::with_capacity(draft.records.len(), draft.headers.len());
    let mut headers = draft.headers.drain(..);
    for record in draft.records.drain(..) {
        let DraftRecord { timestamp, headers_count, mut body } = record;
        for mut header in headers.by_ref().take(headers_count as usize) {
            if format == Format::Base64 {
                decode_header(&mut buf, &mut header)?;
            }
            builder.push_header(header);
        }
        if format == Format::Base64 {
            decode_span(&mut buf, &mut body)?;
        }
        builder.push_record(&buf, timestamp, body)?;
    }
    Ok(builder.finish(buf, draft.match_seq_num, draft.fencing_token)?)
}

fn decode_header(buf: &mut [u8], header: &mut HeaderSpan) -> Result<(), DecodeError> {
    decode_span(buf, &mut header.name)?;
    decode_span(buf, &mut header.value)
}

/// Decodes base64 where it lies: the bytes begin where the text began, and are fewer.
fn decode_span(buf: &mut [u8], span: &mut Span) -> Result<(), DecodeError> {
    let start = span.offset as usize;
    let text = &mut buf[start..start + span.len as usize];
    let decoded = STANDARD
        .decode_inplace(text)
        .map_err(|_| DecodeError::Invalid("not strict base64 (standard, padded)".to_owned()))?;
    #[expect(clippy::cast_possible_truncation, reason = "shorter than the text, whose length fits")]
    let len = decoded.len() as u32;
    span.len = len;
    Ok(())
}

#[cfg(test)]
mod tests;
