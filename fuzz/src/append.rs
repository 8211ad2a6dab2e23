//! What a decoder of appends said, in a form that another decoder can be held to.

use thalweg::codec::DecodeError;
use thalweg::types::limits::{
    BATCH_METERED_BYTES_MAX, BATCH_RECORDS_MAX, FENCING_TOKEN_BYTES_MAX,
    HEADER_OVERHEAD_METERED_BYTES, RECORD_OVERHEAD_METERED_BYTES,
};
use thalweg::types::{AppendInput, Span};

/// Name and value.
pub type Header = (Vec<u8>, Vec<u8>);

/// A record without its place in a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The client's timestamp.
    pub timestamp: Option<u64>,
    /// In order.
    pub headers: Vec<Header>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What is said of a body, without its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not of the representation.
    Malformed,
    /// Of the representation, and no batch.
    Invalid,
    /// A batch.
    Accepted(Batch),
}

/// A batch without its buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// In order.
    pub records: Vec<Record>,
    /// The number it must begin with.
    pub match_seq_num: Option<u64>,
    /// The token it must bring.
    pub fencing_token: Option<String>,
}

/// The server's verdict.
pub fn of_server(decoded: Result<AppendInput, DecodeError>) -> Verdict {
    let input = match decoded {
        Ok(input) => input,
        Err(DecodeError::BadJson(text) | DecodeError::BadProto(text)) => {
            assert!(text.len() < 512, "no message carries much of the client's bytes: {text}");
            return Verdict::Malformed;
        }
        Err(DecodeError::Invalid(text)) => {
            assert!(text.len() < 512, "no message carries much of the client's bytes: {text}");
            return Verdict::Invalid;
        }
    };
    let bytes = |span: Span| span.of(&input.buf).to_vec();
    let records: Vec<Record> = input
        .records
        .iter()
        .map(|record| {
            let headers = input.headers_of(record).iter();
            let headers = headers.map(|h| (bytes(h.name), bytes(h.value))).collect();
            Record { timestamp: record.timestamp, headers, body: bytes(record.body) }
        })
        .collect();
    let metered: u64 = records.iter().map(metered_bytes).sum();
    assert_eq!(input.metered_bytes, metered);
    let fencing_token = input.fencing_token.map(|token| token.as_str().to_owned());
    Verdict::Accepted(Batch { records, match_seq_num: input.match_seq_num, fencing_token })
}

/// The verdict on a batch that a model has read: sections 4.2 and 4.3 of the specification.
pub fn of_batch(batch: Batch) -> Verdict {
    let metered: u64 = batch.records.iter().map(metered_bytes).sum();
    let token_fits =
        batch.fencing_token.as_ref().is_none_or(|token| token.len() <= FENCING_TOKEN_BYTES_MAX);
    let is_legal = (1..=BATCH_RECORDS_MAX).contains(&batch.records.len())
        && metered <= BATCH_METERED_BYTES_MAX
        && token_fits
        && batch.records.iter().all(is_legal);
    if is_legal { Verdict::Accepted(batch) } else { Verdict::Invalid }
}

fn metered_bytes(record: &Record) -> u64 {
    let of_header =
        |(name, value): &Header| HEADER_OVERHEAD_METERED_BYTES + (name.len() + value.len()) as u64;
    let headers: u64 = record.headers.iter().map(of_header).sum();
    RECORD_OVERHEAD_METERED_BYTES + headers + record.body.len() as u64
}

fn is_legal(record: &Record) -> bool {
    let body = &record.body;
    match &record.headers[..] {
        [(name, value)] if name.is_empty() => match &value[..] {
            b"fence" => body.len() <= FENCING_TOKEN_BYTES_MAX && std::str::from_utf8(body).is_ok(),
            b"trim" => body.len() == 8,
            _ => false,
        },
        headers => headers.iter().all(|(name, _)| !name.is_empty()),
    }
}
