//! The S2S protocol as a client speaks it (S2 specification, sections 4.1 and 6): messages by
//! `prost`, frames by hand, so that wrong ones can be made as well.

use std::io::{Read as _, Write as _};

use prost::Message;
use serde_json::Value;

use super::http::shown;

/// Longest frame: its length field counts the flag and the body.
pub(crate) const FRAME_BYTES_MAX: usize = 2_097_152;

pub(crate) const TERMINAL: u8 = 0x80;
pub(crate) const ZSTD: u8 = 0x20;
pub(crate) const GZIP: u8 = 0x40;
pub(crate) const RECONNECT_ADVISED: u8 = 0x10;
const CODING: u8 = 0x60;

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Position {
    #[prost(uint64, tag = "1")]
    pub(crate) seq_num: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) timestamp: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Header {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct AppendRecord {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) headers: Vec<Header>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct AppendInput {
    #[prost(message, repeated, tag = "1")]
    pub(crate) records: Vec<AppendRecord>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) match_seq_num: Option<u64>,
    #[prost(string, optional, tag = "3")]
    pub(crate) fencing_token: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct AppendAck {
    #[prost(message, optional, tag = "1")]
    pub(crate) start: Option<Position>,
    #[prost(message, optional, tag = "2")]
    pub(crate) end: Option<Position>,
    #[prost(message, optional, tag = "3")]
    pub(crate) tail: Option<Position>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SequencedRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) seq_num: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) timestamp: u64,
    #[prost(message, repeated, tag = "3")]
    pub(crate) headers: Vec<Header>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ReadBatch {
    #[prost(message, repeated, tag = "1")]
    pub(crate) records: Vec<SequencedRecord>,
    #[prost(message, optional, tag = "2")]
    pub(crate) tail: Option<Position>,
}

impl AppendRecord {
    pub(crate) fn of(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    pub(crate) fn at(mut self, timestamp: u64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &[u8]) -> Self {
        self.headers.push(Header { name: name.into(), value: value.to_vec() });
        self
    }
}

impl AppendInput {
    /// A batch of these records, without conditions.
    pub(crate) fn of(records: Vec<AppendRecord>) -> Self {
        Self { records, ..Self::default() }
    }

    /// A batch of one record.
    pub(crate) fn one(body: impl Into<Vec<u8>>) -> Self {
        Self::of(vec![AppendRecord::of(body)])
    }

    pub(crate) fn matching(mut self, seq_num: u64) -> Self {
        self.match_seq_num = Some(seq_num);
        self
    }

    pub(crate) fn fenced(mut self, token: &str) -> Self {
        self.fencing_token = Some(token.to_owned());
        self
    }

    /// As a frame that is not compressed.
    pub(crate) fn frame(&self) -> Vec<u8> {
        frame(0, &self.encode_to_vec())
    }
}

impl SequencedRecord {
    /// What it counts against a read's `bytes`.
    pub(crate) fn metered_bytes(&self) -> u64 {
        let headers: usize = self.headers.iter().map(|h| 2 + h.name.len() + h.value.len()).sum();
        (8 + headers + self.body.len()) as u64
    }
}

impl ReadBatch {
    pub(crate) fn seq_nums(&self) -> Vec<u64> {
        self.records.iter().map(|record| record.seq_num).collect()
    }

    /// Nothing but a tail.
    pub(crate) fn is_heartbeat(&self) -> bool {
        self.records.is_empty() && self.tail.is_some()
    }
}

/// A frame as it is sent.
pub(crate) fn frame(flag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).expect("frames of the tests are short");
    let mut out = length.to_be_bytes()[1..].to_vec();
    out.push(flag);
    out.extend_from_slice(body);
    out
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) flag: u8,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// Takes the first frame out of `buffer`; `None` when it is not whole yet.
    #[track_caller]
    pub(crate) fn take(buffer: &mut Vec<u8>) -> Option<Self> {
        let head: [u8; 4] = buffer.get(..4)?.try_into().expect("four bytes");
        let [a, b, c, flag] = head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits fit");
        assert!(length >= 1, "a frame of length 0 came");
        assert!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes came");
        if buffer.len() < 3 + length {
            return None;
        }
        let body = buffer[4..3 + length].to_vec();
        buffer.drain(..3 + length);
        Some(Self { flag, body })
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.flag & TERMINAL != 0
    }

    /// The body without its compression; must be within the protocol's limits.
    #[track_caller]
    pub(crate) fn payload(&self) -> Vec<u8> {
        let payload = match self.flag & CODING {
            0 => self.body.clone(),
            ZSTD => unzstd(&self.body),
            GZIP => gunzip(&self.body),
            coding => panic!("a frame has the compression {coding:#x}"),
        };
        assert!(payload.len() < FRAME_BYTES_MAX, "a message of {} bytes came", payload.len());
        payload
    }

    /// The body as a message of that type; terminal frames are none.
    #[track_caller]
    pub(crate) fn message<M: Message + Default>(&self) -> M {
        if self.is_terminal() {
            let (status, body) = self.error();
            panic!("expected a message, the session ended with {status} {body}");
        }
        let payload = self.payload();
        M::decode(payload.as_slice())
            .unwrap_or_else(|error| panic!("no message ({error}): {}", shown(&payload)))
    }

    /// What a terminal frame says.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, Value) {
        assert_eq!(self.flag, TERMINAL, "a terminal frame has no other flags: {self:?}");
        assert!(self.body.len() > 2, "a terminal frame holds a status and a body: {self:?}");
        let status = u16::from_be_bytes([self.body[0], self.body[1]]);
        let body = serde_json::from_slice(&self.body[2..])
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", shown(&self.body[2..])));
        (status, body)
    }
}

pub(crate) fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    // The streaming encoder does not know the size beforehand, as with some clients.
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("a level that exists");
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

pub(crate) fn gzip_of(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

#[track_caller]
pub(crate) fn unzstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::decode_all(bytes).expect("zstd")
}

#[track_caller]
pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).expect("gzip");
    out
}
