//! What a frame's payload holds: a run of entries, each a batch of records or a change of
//! metadata.
//!
//! ```text
//!  entry     0  u32 entry_bytes (of all that follows)
//!            4  u8  kind            1, 11 batch; others metadata, see `Kind`
//!            5  ..  by kind
//!
//!  batch     5  u8  cipher, or 0    32 u64 arrival_ms
//!            6  u16 record_count    40 u32 metered_bytes
//!            8  u64 stream_id       44 records
//!           16  u64 first_seq_num
//!           24  u64 first_timestamp
//!
//!  record    varint timestamp_delta (to the record before; 0 for the first)
//!            varint header_count
//!            header_count * (varint name_bytes, varint value_bytes)
//!            varint body_bytes
//!            header_count * (name, value), body
//!
//!  metadata  5  JSON text
//! ```
//!
//! Record bytes are copied exactly once, from the receive buffer into the frame's. [`sealed`] says
//! how a batch with a cipher is laid out.

pub mod sealed;

use self::sealed::{Cover, cover_of, uncover};
use super::format::{FormatError, u16_at, u32_at, u64_at};
use super::index::MovedBatch;
use crate::types::sealed::Sealed;
use crate::types::{AppendInput, LogPos, RecordSpan, StreamId};
use crate::wire::{VARINT_BYTES_MAX, put_varint, take_varint};

/// Bytes of an entry's own length field.
pub const ENTRY_LENGTH_BYTES: usize = 4;
/// Bytes of a batch entry before its records.
pub const BATCH_HEADER_BYTES: usize = 44;

/// What kind of entry; the number is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Records of one append.
    Batch = 1,
    /// A stream as it is now: created, reconfigured or marked for deletion (upsert).
    Stream = 2,
    /// A stream is gone.
    StreamGone = 3,
    /// A basin as it is now: created, reconfigured or marked for deletion (upsert).
    Basin = 4,
    /// A basin is gone.
    BasinGone = 5,
    /// A stream's position and index, in checkpoints only.
    StreamState = 6,
    /// The front of an entry that is too long for a frame, in checkpoints only: the next entry
    /// goes on with it, and says what it is if it is the last.
    Part = 7,
    /// Usage counters as they are now.
    Usage = 8,
    /// A stream's trim point moved without a command of a client: its records outlived their
    /// retention.
    Trimmed = 9,
    /// When a stream's batches arrived, in checkpoints only: what retention by age goes by.
    Arrivals = 10,
    /// A batch again, copied to the log's end so that the segment it was in can go. From then on
    /// this copy counts. Laid out as a batch.
    Moved = 11,
    /// An access token as it is now: issued (upsert).
    Token = 12,
    /// An access token is gone: revoked, or removed after it expired.
    TokenGone = 13,
}

impl Kind {
    /// Whether it holds records, where they were first put or as a copy.
    #[must_use]
    pub fn is_batch(self) -> bool {
        matches!(self, Self::Batch | Self::Moved)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Batch,
            2 => Self::Stream,
            3 => Self::StreamGone,
            4 => Self::Basin,
            5 => Self::BasinGone,
            6 => Self::StreamState,
            7 => Self::Part,
            8 => Self::Usage,
            9 => Self::Trimmed,
            10 => Self::Arrivals,
            11 => Self::Moved,
            12 => Self::Token,
            13 => Self::TokenGone,
            _ => return None,
        })
    }
}

/// One entry as found in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: Kind,
    /// All of its bytes, from the length field on.
    pub bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The JSON text of a metadata entry.
    #[must_use]
    pub fn metadata(&self) -> &'a [u8] {
        &self.bytes[ENTRY_LENGTH_BYTES + 1..]
    }
}

/// A trim point that retention moved: the body of a `Kind::Trimmed` entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trimmed {
    /// The stream.
    pub stream: StreamId,
    /// First sequence number still readable.
    pub trim_point: u64,
    /// When that was decided, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl Trimmed {
    /// Its bytes after the kind.
    #[must_use]
    pub fn encode(&self) -> [u8; 24] {
        let mut body = [0; 24];
        body[..8].copy_from_slice(&self.stream.0.to_le_bytes());
        body[8..16].copy_from_slice(&self.trim_point.to_le_bytes());
        body[16..].copy_from_slice(&self.at_ms.to_le_bytes());
        body
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// * Errors: [`FormatError::Entry`] when it has another length.
    pub fn of(entry: &Entry<'_>) -> Result<Self, FormatError> {
        let body = entry.metadata();
        if body.len() != 24 {
            return Err(FormatError::Entry("trim point"));
        }
        Ok(Self {
            stream: StreamId(u64_at(body, 0)),
            trim_point: u64_at(body, 8),
            at_ms: u64_at(body, 16),
        })
    }
}

/// Iterates over the entries of a payload whose checksum was checked.
///
/// * Errors: [`FormatError::Entry`], once, when the payload does not parse.
pub fn entries(payload: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, FormatError>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = split_entry(rest);
        rest = entry.as_ref().map_or(&[][..], |(_, after)| after);
        Some(entry.map(|(entry, _)| entry))
    })
}

fn split_entry(bytes: &[u8]) -> Result<(Entry<'_>, &[u8]), FormatError> {
    if bytes.len() < ENTRY_LENGTH_BYTES + 1 {
        return Err(FormatError::Entry("cut inside an entry's header"));
    }
    let end = ENTRY_LENGTH_BYTES + u32_at(bytes, 0) as usize;
    if end < ENTRY_LENGTH_BYTES + 1 || end > bytes.len() {
        return Err(FormatError::Entry("entry length out of bounds"));
    }
    let kind = Kind::from_byte(bytes[4]).ok_or(FormatError::Entry("unknown kind"))?;
    let (entry, rest) = bytes.split_at(end);
    Ok((Entry { kind, bytes: entry }, rest))
}

/// Bytes that [`put_metadata`] will take for `json_bytes` of text.
#[must_use]
pub const fn metadata_bytes(json_bytes: usize) -> usize {
    ENTRY_LENGTH_BYTES + 1 + json_bytes
}

/// Writes a metadata entry at the front of `out`; returns its length in bytes.
pub fn put_metadata(out: &mut [u8], kind: Kind, json: &[u8]) -> usize {
    let end = metadata_bytes(json.len());
    put_length(out, end);
    out[4] = kind as u8;
    out[5..end].copy_from_slice(json);
    end
}

fn put_length(out: &mut [u8], end: usize) {
    let length = u32::try_from(end - ENTRY_LENGTH_BYTES).expect("entries are bounded by a frame");
    out[0..4].copy_from_slice(&length.to_le_bytes());
}

/// Writes a batch entry again as one that was moved; returns its length in bytes.
pub fn put_moved(out: &mut [u8], batch: &[u8]) -> usize {
    out[..batch.len()].copy_from_slice(batch);
    out[4] = Kind::Moved as u8;
    batch.len()
}

/// Most bytes that [`put_batch`] can take for `batch`.
#[must_use]
pub fn batch_bytes_max(batch: &AppendInput) -> usize {
    let varints = batch.records.len() * 3 * VARINT_BYTES_MAX + batch.headers.len() * 2 * 5;
    let bytes = usize::try_from(batch.metered_bytes).expect("at most 1 MiB by AppendBuilder");
    BATCH_HEADER_BYTES + varints + bytes
}

/// Where and when a batch was sequenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPlace {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Number of its first record.
    pub first_seq_num: u64,
    /// When it was accepted, milliseconds since the Unix epoch.
    pub arrival_ms: u64,
}

/// Writes a batch entry at the front of `out`; returns its length in bytes.
///
/// * Shape: `timestamps` has one for each record; `out` is at least [`batch_bytes_max`] long.
/// * Cost: one copy of each record's bytes, no allocation.
pub fn put_batch(
    out: &mut [u8],
    place: BatchPlace,
    batch: &AppendInput,
    timestamps: &[u64],
) -> usize {
    put_batch_header(out, place, batch, timestamps);
    let mut at = BATCH_HEADER_BYTES;
    let mut before = timestamps[0];
    for (record, timestamp) in batch.records.iter().zip(timestamps) {
        at = put_varint(out, at, timestamp - before);
        before = *timestamp;
        at = put_content(out, at, batch, record);
    }
    put_length(out, at);
    at
}

/// Writes what comes before the records, as of a batch that is not encrypted.
fn put_batch_header(out: &mut [u8], place: BatchPlace, batch: &AppendInput, timestamps: &[u64]) {
    assert_eq!(timestamps.len(), batch.records.len());
    let count = u16::try_from(batch.records.len()).expect("at most 1000 by AppendBuilder");
    let metered = u32::try_from(batch.metered_bytes).expect("at most 1 MiB by AppendBuilder");
    out[4] = Kind::Batch as u8;
    out[5] = 0;
    out[6..8].copy_from_slice(&count.to_le_bytes());
    out[8..16].copy_from_slice(&place.stream.0.to_le_bytes());
    out[16..24].copy_from_slice(&place.first_seq_num.to_le_bytes());
    out[24..32].copy_from_slice(&timestamps[0].to_le_bytes());
    out[32..40].copy_from_slice(&place.arrival_ms.to_le_bytes());
    out[40..44].copy_from_slice(&metered.to_le_bytes());
}

/// Writes a record but for its timestamp at `out[at..]`; returns where it ends.
fn put_content(out: &mut [u8], at: usize, batch: &AppendInput, record: &RecordSpan) -> usize {
    let headers = batch.headers_of(record);
    let mut at = put_varint(out, at, headers.len() as u64);
    for header in headers {
        at = put_varint(out, at, u64::from(header.name.len));
        at = put_varint(out, at, u64::from(header.value.len));
    }
    at = put_varint(out, at, u64::from(record.body.len));
    let spans = headers.iter().flat_map(|h| [h.name, h.value]);
    for span in spans.chain([record.body]) {
        let bytes = span.of(&batch.buf);
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    }
    at
}

/// A batch entry as found in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Where and when it was sequenced.
    pub place: BatchPlace,
    /// The first record's timestamp, milliseconds since the Unix epoch.
    pub first_timestamp: u64,
    /// How many records.
    pub record_count: u16,
    /// The batch's size by the API's measure.
    pub metered_bytes: u32,
    /// How its data records are encrypted, if they are.
    cover: Option<Cover<'a>>,
    records: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads the fixed part of a batch entry.
    ///
    /// * Errors: [`FormatError::Entry`] when it is another kind of entry or too short, when its
    ///   records have no numbers, or when it is encrypted in a way that is not known.
    pub fn of(entry: &Entry<'a>) -> Result<Self, FormatError> {
        let bytes = entry.bytes;
        let is_batch = entry.kind.is_batch();
        if !is_batch || bytes.len() < BATCH_HEADER_BYTES {
            return Err(FormatError::Entry("not a batch"));
        }
        let (record_count, first_seq_num) = (u16_at(bytes, 6), u64_at(bytes, 16));
        if first_seq_num.checked_add(record_count.into()).is_none() {
            return Err(FormatError::Entry("sequence numbers beyond 64 bits"));
        }
        let (cover, records) = cover_of(bytes[5], &bytes[BATCH_HEADER_BYTES..])?;
        Ok(Self {
            cover,
            record_count,
            place: BatchPlace {
                stream: StreamId(u64_at(bytes, 8)),
                first_seq_num,
                arrival_ms: u64_at(bytes, 32),
            },
            first_timestamp: u64_at(bytes, 24),
            metered_bytes: u32_at(bytes, 40),
            records,
        })
    }

    /// One past the last record's number.
    #[must_use]
    pub fn end_seq_num(&self) -> u64 {
        self.place.first_seq_num + u64::from(self.record_count)
    }

    /// What the index must know of a copy of it in the frame at `pos`.
    ///
    /// * Errors: [`FormatError::Entry`] when a record does not parse.
    pub fn moved_to(&self, pos: LogPos) -> Result<MovedBatch, FormatError> {
        let mut last_timestamp = self.first_timestamp;
        for record in self.records() {
            last_timestamp = record?.timestamp;
        }
        Ok(MovedBatch {
            first_seq_num: self.place.first_seq_num,
            end_seq_num: self.end_seq_num(),
            first_timestamp: self.first_timestamp,
            last_timestamp,
            arrival_ms: self.place.arrival_ms,
            pos,
        })
    }

    /// Iterates over the records, which are parsed as they are asked for.
    ///
    /// * Errors: [`FormatError::Entry`], once, when a record does not parse.
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'a>, FormatError>> + use<'a> {
        let mut seq_num = self.place.first_seq_num;
        let mut timestamp = self.first_timestamp;
        let Self { record_count: count, cover, .. } = *self;
        let mut left = count;
        let mut rest = self.records;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let index = count - 1 - left;
            let taken = take_record(rest, seq_num, timestamp)
                .and_then(|(record, after)| Some((uncover(record, cover, index)?, after)));
            match taken {
                Some((record, after)) => {
                    (seq_num, timestamp, rest) = (seq_num + 1, record.timestamp, after);
                    Some(Ok(record))
                }
                None => {
                    left = 0;
                    Some(Err(FormatError::Entry("record cannot be parsed")))
                }
            }
        })
    }
}

/// One record as found in a batch entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number.
    pub seq_num: u64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// The record's size by the API's measure.
    pub metered_bytes: u64,
    header_lengths: &'a [u8],
    header_count: u64,
    header_bytes: &'a [u8],
    /// Its body; empty when it is encrypted.
    pub body: &'a [u8],
    /// What of it is encrypted: all but its number, timestamp and size.
    pub sealed: Option<Sealed<'a>>,
}

impl<'a> Record<'a> {
    /// Iterates over the headers as (name, value).
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let mut lengths = self.header_lengths;
        let mut bytes = self.header_bytes;
        (0..self.header_count).map(move |_| {
            let name = take_span(&mut lengths, &mut bytes);
            (name, take_span(&mut lengths, &mut bytes))
        })
    }
}

fn take_span<'a>(lengths: &mut &'a [u8], bytes: &mut &'a [u8]) -> &'a [u8] {
    let (length, rest) = take_varint(lengths).expect("checked by take_record");
    *lengths = rest;
    let length = usize::try_from(length).expect("checked by take_record");
    let (span, rest) = bytes.split_at(length);
    *bytes = rest;
    span
}

fn take_record(bytes: &[u8], seq_num: u64, before: u64) -> Option<(Record<'_>, &[u8])> {
    let (delta, rest) = take_varint(bytes)?;
    take_content(rest, seq_num, before.checked_add(delta)?)
}

fn take_content(bytes: &[u8], seq_num: u64, timestamp: u64) -> Option<(Record<'_>, &[u8])> {
    let (header_count, lengths) = take_varint(bytes)?;
    let mut rest = lengths;
    let mut header_bytes = 0u64;
    for _ in 0..header_count.checked_mul(2)? {
        let (length, after) = take_varint(rest)?;
        header_bytes = header_bytes.checked_add(length)?;
        rest = after;
    }
    let header_lengths = &lengths[..lengths.len() - rest.len()];
    let (body_bytes, rest) = take_varint(rest)?;
    let (header_bytes, rest) = rest.split_at_checked(usize::try_from(header_bytes).ok()?)?;
    let (body, rest) = rest.split_at_checked(usize::try_from(body_bytes).ok()?)?;
    let metered_bytes = 8 + 2 * header_count + header_bytes.len() as u64 + body_bytes;
    let record = Record {
        seq_num,
        timestamp,
        metered_bytes,
        header_lengths,
        header_count,
        header_bytes,
        body,
        sealed: None,
    };
    Some((record, rest))
}
