//! Decodes an `AppendInput` where it was received.
//!
//! Invariants:
//! * No byte of a record is copied: spans point into the payload, which moves into the result.
//! * A message that is malformed anywhere is [`DecodeError::BadProto`], whatever else is wrong
//!   with it; only one that is sound as protobuf can be [`DecodeError::Invalid`]. So after the
//!   first breach of a limit the rest is walked over, but nothing more is collected.
//! * Memory is bounded: records by their count, headers by the metered size of a batch, whatever
//!   the message claims.

use std::ops::Range;

use super::field::{Fields, Key, Malformed};
use crate::codec::DecodeError;
use crate::types::append::InvalidBatch;
use crate::types::limits::{
    BATCH_METERED_BYTES_MAX, BATCH_RECORDS_MAX, HEADER_OVERHEAD_METERED_BYTES,
};
use crate::types::{AppendBuilder, AppendInput, FencingToken, HeaderSpan, Payload, Span};
use crate::wire::varint_len;

/// Decodes the `AppendInput` that is the bytes `range` of `payload`.
///
/// As proto3 wants it: unknown fields are skipped, of a scalar that appears several times the
/// last counts, optional fields keep their presence.
///
/// * Shape: spans of the result count from the start of the payload, not of the range.
/// * Errors: [`DecodeError::BadProto`] before [`DecodeError::Invalid`]; the payload is dropped.
/// * Cost: no copy; allocations for the spans alone.
/// * Source: S2 specification, sections 4.1 to 4.3.
///
/// # Panics
///
/// When the range is not inside the payload: the caller's arithmetic is wrong.
pub fn decode_append(
    payload: impl Into<Payload>,
    range: Range<usize>,
) -> Result<AppendInput, DecodeError> {
    let payload = payload.into();
    assert!(range.start <= range.end && range.end <= payload.len());
    if u32::try_from(range.end).is_err() {
        return Err(DecodeError::BadProto("body is too large".to_owned()));
    }
    let mut draft = Draft::with_room_for(&payload[range.clone()]);
    let fields = Fields::of_payload(&payload[..range.end], range.start);
    draft.read(fields).map_err(|error| DecodeError::BadProto(error.0.to_owned()))?;
    if let Some(invalid) = draft.invalid {
        return Err(invalid.into());
    }
    let fencing_token = draft.fencing_token.map(|text| token(&payload, text)).transpose()?;
    Ok(draft.builder.finish(payload, draft.match_seq_num, fencing_token)?)
}

fn token(payload: &[u8], span: Span) -> Result<FencingToken, DecodeError> {
    let text = std::str::from_utf8(span.of(payload)).expect("checked when it was met");
    FencingToken::new(text).map_err(|error| DecodeError::Invalid(error.0.to_owned()))
}

/// What was read so far.
struct Draft {
    builder: AppendBuilder,
    /// What the headers collected so far cost; bounds how many are collected.
    headers_metered_bytes: u64,
    match_seq_num: Option<u64>,
    /// UTF-8; its length is judged when it is known to be the last.
    fencing_token: Option<Span>,
    /// The first limit that was broken. Nothing is collected from there on.
    invalid: Option<InvalidBatch>,
}

impl Draft {
    /// Guesses the number of records from the length of the first: batches are mostly uniform,
    /// and a wrong guess costs at most the room for a full batch.
    fn with_room_for(message: &[u8]) -> Self {
        let mut fields = Fields::of_payload(message, 0);
        let first = match fields.next_key() {
            Ok(Some(key)) if key.number == 1 => fields.delimited(key).ok(),
            _ => None,
        };
        let records = first.map_or(0, |span| {
            let encoded_bytes = 1 + varint_len(u64::from(span.len)) + span.len as usize;
            (message.len() / encoded_bytes).min(BATCH_RECORDS_MAX)
        });
        Self {
            builder: AppendBuilder::with_capacity(records, 0),
            headers_metered_bytes: 0,
            match_seq_num: None,
            fencing_token: None,
            invalid: None,
        }
    }

    fn read(&mut self, mut input: Fields<'_>) -> Result<(), Malformed> {
        while let Some(key) = input.next_key()? {
            match key.number {
                1 => {
                    let span = input.delimited(key)?;
                    self.record(input.nested(span))?;
                }
                2 => self.match_seq_num = Some(input.integer(key)?),
                3 => self.fencing_token = Some(text(&mut input, key)?),
                _ => input.skip(key)?,
            }
        }
        Ok(())
    }

    fn record(&mut self, mut record: Fields<'_>) -> Result<(), Malformed> {
        let mut timestamp = None;
        let mut body = Span::default();
        while let Some(key) = record.next_key()? {
            match key.number {
                1 => timestamp = Some(record.integer(key)?),
                2 => {
                    let span = record.delimited(key)?;
                    self.header(record.nested(span))?;
                }
                3 => body = record.delimited(key)?,
                _ => record.skip(key)?,
            }
        }
        if self.invalid.is_none() {
            self.invalid = self.builder.push_record(record.bytes(), timestamp, body).err();
        }
        Ok(())
    }

    fn header(&mut self, mut header: Fields<'_>) -> Result<(), Malformed> {
        let mut name = Span::default();
        let mut value = Span::default();
        while let Some(key) = header.next_key()? {
            match key.number {
                1 => name = header.delimited(key)?,
                2 => value = header.delimited(key)?,
                _ => header.skip(key)?,
            }
        }
        if self.invalid.is_some() {
            return Ok(());
        }
        self.headers_metered_bytes +=
            HEADER_OVERHEAD_METERED_BYTES + u64::from(name.len) + u64::from(value.len);
        if self.headers_metered_bytes > BATCH_METERED_BYTES_MAX {
            self.invalid = Some(InvalidBatch("a batch must be at most 1048576 metered bytes"));
        } else {
            self.builder.push_header(HeaderSpan { name, value });
        }
        Ok(())
    }
}

/// A field that holds text: UTF-8 every time it appears, not only the time that counts.
fn text(fields: &mut Fields<'_>, key: Key) -> Result<Span, Malformed> {
    let span = fields.delimited(key)?;
    match std::str::from_utf8(span.of(fields.bytes())) {
        Ok(_) => Ok(span),
        Err(_) => Err(Malformed("malformed protobuf: fencing_token is not UTF-8")),
    }
}

#[cfg(test)]
mod tests;
