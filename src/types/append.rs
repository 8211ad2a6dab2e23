//! A decoded append: its bytes stay where they were received, spans point at them.
//!
//! Every body representation (JSON, base64 JSON, protobuf) is decoded into an [`AppendInput`]
//! through [`AppendBuilder`], which holds the rules that do not depend on the stream: limits,
//! metering, headers and command records. The value owns its buffer, so it can cross to the
//! shard that owns the stream without a copy; the record bytes are copied once, into the log.
//!
//! Source: S2 specification, sections 4.1 to 4.3.

use super::limits::{
    BATCH_METERED_BYTES_MAX, BATCH_RECORDS_MAX, HEADER_OVERHEAD_METERED_BYTES, RECORD_HEADERS_MAX,
    RECORD_METERED_BYTES_MAX, RECORD_OVERHEAD_METERED_BYTES,
};
use super::name::FencingToken;
use super::payload::Payload;
use super::reused::Reused;

/// Bytes `offset..offset + len` of [`AppendInput::buf`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Bytes from the start of the buffer.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The bytes this span points at.
    #[must_use]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        let start = self.offset as usize;
        &buf[start..start + self.len as usize]
    }
}

/// One header of a record, as spans into the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderSpan {
    /// The header's name; empty only on a command record.
    pub name: Span,
    /// The header's value.
    pub value: Span,
}

/// What a command record asks of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Set the fencing token.
    Fence(FencingToken),
    /// Raise the trim point to this sequence number, the first one to keep.
    Trim(u64),
}

/// One record, as spans into the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSpan {
    /// The client's timestamp in milliseconds since the Unix epoch, if it gave one.
    pub timestamp: Option<u64>,
    /// Index of its first header in [`AppendInput::headers`].
    pub headers_start: u32,
    /// How many headers it has.
    pub headers_count: u32,
    /// Its body.
    pub body: Span,
    /// The command it carries, if it is a command record.
    pub command: Option<Command>,
}

/// A batch that passed every check that does not need its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendInput {
    /// What was received; spans point into it.
    pub buf: Payload,
    /// The records, 1 to 1000, in order.
    pub records: Reused<RecordSpan>,
    /// All headers of all records, in order.
    pub headers: Reused<HeaderSpan>,
    /// Refuse the batch unless this is the next sequence number.
    pub match_seq_num: Option<u64>,
    /// Refuse the batch unless this is the stream's fencing token.
    pub fencing_token: Option<FencingToken>,
    /// The batch's size by the API's measure.
    pub metered_bytes: u64,
}

impl AppendInput {
    /// The headers of `record`.
    #[must_use]
    pub fn headers_of(&self, record: &RecordSpan) -> &[HeaderSpan] {
        let start = record.headers_start as usize;
        &self.headers[start..start + record.headers_count as usize]
    }
}

/// Why a well-formed batch is semantically invalid (422 `invalid`). The message is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidBatch(pub &'static str);

/// Collects the records of a batch as a decoder meets them, and judges each as it is completed.
///
/// Call [`push_header`](Self::push_header) for each header, then
/// [`push_record`](Self::push_record); [`finish`](Self::finish) hands the buffer over.
#[derive(Debug, Default)]
pub struct AppendBuilder {
    records: Reused<RecordSpan>,
    headers: Reused<HeaderSpan>,
    headers_start: usize,
    metered_bytes: u64,
}

impl AppendBuilder {
    /// A builder with room for `records` records and `headers` headers in all, for decoders
    /// that know the counts beforehand.
    #[must_use]
    pub fn with_capacity(records: usize, headers: usize) -> Self {
        Self {
            records: Reused::with_room(records),
            headers: Reused::with_room(headers),
            headers_start: 0,
            metered_bytes: 0,
        }
    }

    /// Adds a header to the record being built.
    pub fn push_header(&mut self, header: HeaderSpan) {
        self.headers.push(header);
    }

    /// Completes a record whose headers were pushed before; `buf` is what the spans point into.
    ///
    /// * Errors: [`InvalidBatch`] when the record or the batch so far breaks a limit or a rule of
    ///   section 4.3; the builder is then of no further use.
    pub fn push_record(
        &mut self,
        buf: &[u8],
        timestamp: Option<u64>,
        body: Span,
    ) -> Result<(), InvalidBatch> {
        if self.records.len() == BATCH_RECORDS_MAX {
            return Err(InvalidBatch("a batch holds at most 1000 records"));
        }
        let headers = &self.headers[self.headers_start..];
        if headers.len() > RECORD_HEADERS_MAX {
            return Err(InvalidBatch("a record holds at most 16777215 headers"));
        }
        let metered_bytes = metered_bytes(headers, body);
        if metered_bytes > RECORD_METERED_BYTES_MAX {
            return Err(InvalidBatch("a record must be at most 1048576 metered bytes"));
        }
        self.metered_bytes += metered_bytes;
        if self.metered_bytes > BATCH_METERED_BYTES_MAX {
            return Err(InvalidBatch("a batch must be at most 1048576 metered bytes"));
        }
        let command = command_of(buf, headers, body)?;
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the metered size above")]
        self.records.push(RecordSpan {
            timestamp,
            headers_start: self.headers_start as u32,
            headers_count: headers.len() as u32,
            body,
            command,
        });
        self.headers_start = self.headers.len();
        Ok(())
    }

    /// Hands over the batch with the buffer its spans point into.
    ///
    /// * Errors: [`InvalidBatch`] when no record was pushed.
    pub fn finish(
        self,
        buf: impl Into<Payload>,
        match_seq_num: Option<u64>,
        fencing_token: Option<FencingToken>,
    ) -> Result<AppendInput, InvalidBatch> {
        if self.records.is_empty() {
            return Err(InvalidBatch("a batch must hold at least one record"));
        }
        Ok(AppendInput {
            buf: buf.into(),
            records: self.records,
            headers: self.headers,
            match_seq_num,
            fencing_token,
            metered_bytes: self.metered_bytes,
        })
    }
}

/// A record's size by the API's measure: 8 + 2 per header + names + values + body.
#[must_use]
pub fn metered_bytes(headers: &[HeaderSpan], body: Span) -> u64 {
    let of_header = |h: &HeaderSpan| {
        HEADER_OVERHEAD_METERED_BYTES + u64::from(h.name.len) + u64::from(h.value.len)
    };
    RECORD_OVERHEAD_METERED_BYTES + headers.iter().map(of_header).sum::<u64>() + u64::from(body.len)
}

/// Judges the headers of one record: a command, plain data, or neither.
fn command_of(
    buf: &[u8],
    headers: &[HeaderSpan],
    body: Span,
) -> Result<Option<Command>, InvalidBatch> {
    if let [only] = headers
        && only.name.len == 0
    {
        return match only.value.of(buf) {
            b"fence" => fence_of(body.of(buf)).map(Some),
            b"trim" => trim_of(body.of(buf)).map(Some),
            _ => Err(InvalidBatch("unknown command record")),
        };
    }
    if headers.iter().any(|h| h.name.len == 0) {
        return Err(InvalidBatch("a header name may be empty only as a command's only header"));
    }
    Ok(None)
}

fn fence_of(body: &[u8]) -> Result<Command, InvalidBatch> {
    let text =
        std::str::from_utf8(body).map_err(|_| InvalidBatch("a fencing token must be UTF-8"))?;
    let token = FencingToken::new(text)
        .map_err(|_| InvalidBatch("a fencing token must be at most 36 bytes long"))?;
    Ok(Command::Fence(token))
}

fn trim_of(body: &[u8]) -> Result<Command, InvalidBatch> {
    let bytes: [u8; 8] = body
        .try_into()
        .map_err(|_| InvalidBatch("a trim point must be exactly 8 bytes, big-endian"))?;
    Ok(Command::Trim(u64::from_be_bytes(bytes)))
}
