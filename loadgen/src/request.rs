//! Builds appends in place: one buffer per writer, reused, sent in one write.
//!
//! The payload is written first, behind room for what goes in front of it: the head of a request,
//! of a chunk or of a frame, whose only varying part is a length. So nothing is copied twice.

use std::ops::Range;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};

use crate::cli::{AppendArgs, Format, HttpVersion, Protocol};
use crate::peers::{octets, resp};
use crate::proto::{push_varint, varint_len};
use crate::receipts;
use crate::record::{
    BatchId, IDENTITY_BYTES, IDENTITY_HEADER, Identity, Pool, STAMP_BYTES, chain_hash, encode_stamp,
};
use crate::s2s::{FRAME_HEAD_BYTES, frame_head};

/// Room for `content-length`'s digits and the end of the head.
const LENGTH_ROOM: usize = 24;
/// Room for a chunk's size, six hexadecimal digits, and the end of its line.
const CHUNK_HEAD_ROOM: usize = 8;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notation {
    Json(Format),
    Proto,
    /// The bodies one after the other.
    Octets,
    /// A Redis command for each record.
    Resp,
}

/// What goes around the records.
#[derive(Debug)]
enum Wrapping {
    /// A whole HTTP/1.1 request; the constant parts of its head by stream.
    Request { heads: Vec<Vec<u8>> },
    /// Nothing: the body of an HTTP/2 request.
    Bare,
    /// A frame of a session over HTTP/2.
    Frame,
    /// A frame in a chunk of its own, for a session over HTTP/1.1.
    Chunk,
}

/// The form of all appends of a run.
#[derive(Debug)]
pub(crate) struct Layout {
    notation: Notation,
    wrapping: Wrapping,
    /// Bytes kept free in front of the payload.
    room: usize,
    /// Names by stream, where records carry them; empty otherwise.
    names: Vec<String>,
}

impl Layout {
    /// `headers` are complete lines, as [`crate::client::common_headers`] makes them.
    pub(crate) fn new(streams: &[String], headers: &str, args: &AppendArgs) -> Self {
        let notation = match args.protocol {
            Protocol::Json => Notation::Json(args.format),
            Protocol::Proto | Protocol::S2s => Notation::Proto,
            Protocol::DurableStreams => Notation::Octets,
            Protocol::Redis => Notation::Resp,
        };
        let (wrapping, room) = match (args.protocol, args.http) {
            (Protocol::S2s, HttpVersion::One) => {
                (Wrapping::Chunk, CHUNK_HEAD_ROOM + FRAME_HEAD_BYTES)
            }
            (Protocol::S2s, HttpVersion::Two) => (Wrapping::Frame, FRAME_HEAD_BYTES),
            (Protocol::Redis, _) | (_, HttpVersion::Two) => (Wrapping::Bare, 0),
            (protocol, HttpVersion::One) => {
                let kinds = append_headers(args);
                let head = |stream: &String| append_head(protocol, stream, headers, &kinds);
                let heads: Vec<_> = streams.iter().map(head).collect();
                let room = heads.iter().map(Vec::len).max().unwrap_or(0) + LENGTH_ROOM;
                (Wrapping::Request { heads }, room)
            }
        };
        let names = if notation == Notation::Resp { streams.to_vec() } else { Vec::new() };
        Self { notation, wrapping, room, names }
    }
}

/// The head of a unary append to `stream`, up to the digits of its length.
fn append_head(protocol: Protocol, stream: &str, headers: &str, kinds: &str) -> Vec<u8> {
    if protocol == Protocol::DurableStreams {
        return octets::append_head(stream, headers).into_bytes();
    }
    let path = format!("/v1/streams/{stream}/records");
    format!("POST {path} HTTP/1.1\r\n{headers}{kinds}content-length: ").into_bytes()
}

/// The headers of appends besides those common to all requests, each line with its end.
pub(crate) fn append_headers(args: &AppendArgs) -> String {
    let kinds = kind_headers(args.protocol, args.format);
    if args.receipts { format!("{kinds}{}: 1\r\n", receipts::HEADER) } else { kinds }
}

/// The headers that say what an append and its answer look like, each line with its end.
pub(crate) fn kind_headers(protocol: Protocol, format: Format) -> String {
    match protocol {
        Protocol::Json => format!(
            "content-type: application/json\r\naccept: application/json\r\ns2-format: {}\r\n",
            format.name()
        ),
        Protocol::Proto => {
            "content-type: application/protobuf\r\naccept: application/protobuf\r\n".to_owned()
        }
        Protocol::S2s => "content-type: s2s/proto\r\naccept: application/protobuf\r\n".to_owned(),
        Protocol::DurableStreams | Protocol::Redis => String::new(),
    }
}

/// What the records of one append are made of.
pub(crate) enum Bodies<'a> {
    /// Generated records of this many bytes each; with `is_stamped` there is a place for
    /// [`Encoder::stamp`] in each.
    Generated { pool: &'a Pool, count: u16, len: usize, is_stamped: bool },
    /// The given bodies; `identity_header` adds the header that verification needs.
    Given { bodies: &'a [Vec<u8>], identity_header: bool },
}

impl Bodies<'_> {
    fn len_of(&self, index: u16) -> usize {
        match self {
            Self::Generated { len, .. } => *len,
            Self::Given { bodies, .. } => bodies[usize::from(index)].len(),
        }
    }
}

/// What was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Records in the append.
    pub(crate) count: u16,
    /// Sum of the bodies' bytes.
    pub(crate) body_bytes: u64,
    /// Chained hash of the bodies; 0 unless asked for.
    pub(crate) hash: u64,
}

/// The reusable buffer of one writer.
pub(crate) struct Encoder {
    layout: Arc<Layout>,
    is_hashing: bool,
    buffer: Vec<u8>,
    start: usize,
    body: Vec<u8>,
    /// Bodies in the buffer that wait for their stamp.
    unstamped: Vec<Range<usize>>,
}

impl Encoder {
    /// `is_hashing` pays for [`Encoded::hash`].
    pub(crate) fn new(layout: Arc<Layout>, is_hashing: bool) -> Self {
        let (buffer, body, unstamped) = (Vec::new(), Vec::new(), Vec::new());
        Self { layout, is_hashing, buffer, start: 0, body, unstamped }
    }

    /// The bytes made by the last [`Encoder::encode`].
    pub(crate) fn request(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// The bytes made by the last [`Encoder::encode`], given away without a copy.
    pub(crate) fn take_request(&mut self) -> Bytes {
        let next = Vec::with_capacity(self.buffer.len());
        let mut bytes = Bytes::from(std::mem::replace(&mut self.buffer, next));
        bytes.advance(self.start);
        bytes
    }

    /// Makes the append of `bodies` to `stream`.
    pub(crate) fn encode(&mut self, id: BatchId, stream: u32, bodies: &Bodies<'_>) -> Encoded {
        self.unstamped.clear();
        self.buffer.resize(self.layout.room, 0);
        let notation = self.layout.notation;
        if matches!(notation, Notation::Json(_)) {
            self.buffer.extend_from_slice(b"{\"records\":[");
        }
        let size = match bodies {
            Bodies::Generated { count, .. } => *count,
            Bodies::Given { bodies, .. } => u16::try_from(bodies.len()).expect("at most 1000"),
        };
        let mut encoded = Encoded { count: size, body_bytes: 0, hash: 0 };
        for index in 0..size {
            let identity = Identity { id, stream, index, size };
            let len = match notation {
                Notation::Json(format) => {
                    self.buffer.extend_from_slice(if index == 0 { b"{" } else { b",{" });
                    let len = self.json_record(format, &identity, bodies, &mut encoded.hash);
                    self.buffer.push(b'}');
                    len
                }
                Notation::Proto => self.proto_record(&identity, bodies, &mut encoded.hash),
                Notation::Octets => self.plain_body(&identity, bodies, &mut encoded.hash),
                Notation::Resp => self.resp_record(&identity, bodies, &mut encoded.hash),
            };
            encoded.body_bytes += len as u64;
        }
        if matches!(notation, Notation::Json(_)) {
            self.buffer.extend_from_slice(b"]}");
        }
        self.wrap(stream);
        encoded
    }

    /// Writes `due_ns` into each record of the append just made, and returns the hash of the bodies
    /// as they are now. Does nothing to records that were not made for it.
    pub(crate) fn stamp(&mut self, due_ns: u64, encoded: &mut Encoded) {
        if self.unstamped.is_empty() {
            return;
        }
        let stamp = encode_stamp(due_ns);
        encoded.hash = 0;
        for body in &self.unstamped {
            let at = body.start + IDENTITY_BYTES;
            self.buffer[at..at + STAMP_BYTES].copy_from_slice(&stamp);
            if self.is_hashing {
                encoded.hash = chain_hash(encoded.hash, &self.buffer[body.clone()]);
            }
        }
    }

    /// Writes a generated body as it is; returns its length.
    fn generated_body(
        &mut self,
        identity: &Identity,
        bodies: (&Pool, usize, bool),
        hash: &mut u64,
    ) -> usize {
        let (pool, len, is_stamped) = bodies;
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&identity.encode());
        self.buffer.extend_from_slice(pool.filling(identity, len - IDENTITY_BYTES));
        if is_stamped {
            self.unstamped.push(start..self.buffer.len());
        } else if self.is_hashing {
            *hash = chain_hash(*hash, &self.buffer[start..]);
        }
        len
    }

    /// Writes one record's members; returns the length of its body.
    fn json_record(
        &mut self,
        format: Format,
        identity: &Identity,
        bodies: &Bodies<'_>,
        hash: &mut u64,
    ) -> usize {
        match bodies {
            Bodies::Generated { pool, len, is_stamped, .. } if format == Format::Raw => {
                self.buffer.extend_from_slice(b"\"body\":\"");
                self.generated_body(identity, (pool, *len, *is_stamped), hash);
                self.buffer.push(b'"');
                *len
            }
            Bodies::Generated { pool, len, .. } => {
                self.body.clear();
                self.body.extend_from_slice(&identity.encode());
                self.body.extend_from_slice(pool.filling(identity, len - IDENTITY_BYTES));
                if self.is_hashing {
                    *hash = chain_hash(*hash, &self.body);
                }
                self.buffer.extend_from_slice(b"\"body\":\"");
                push_base64(&mut self.buffer, &self.body);
                self.buffer.push(b'"');
                *len
            }
            Bodies::Given { bodies, identity_header } => {
                let body = &bodies[usize::from(identity.index)];
                if *identity_header {
                    self.json_identity_header(format, identity);
                }
                if self.is_hashing {
                    *hash = chain_hash(*hash, body);
                }
                self.buffer.extend_from_slice(b"\"body\":");
                match format {
                    Format::Raw => {
                        let text = std::str::from_utf8(body).expect("checked when read");
                        serde_json::to_writer(&mut self.buffer, text).expect("a Vec takes all");
                    }
                    Format::Base64 => {
                        self.buffer.push(b'"');
                        push_base64(&mut self.buffer, body);
                        self.buffer.push(b'"');
                    }
                }
                body.len()
            }
        }
    }

    fn json_identity_header(&mut self, format: Format, identity: &Identity) {
        let (name, value) = (IDENTITY_HEADER.as_bytes(), identity.encode());
        self.buffer.extend_from_slice(b"\"headers\":[[\"");
        match format {
            Format::Raw => self.buffer.extend_from_slice(name),
            Format::Base64 => push_base64(&mut self.buffer, name),
        }
        self.buffer.extend_from_slice(b"\",\"");
        match format {
            Format::Raw => self.buffer.extend_from_slice(&value),
            Format::Base64 => push_base64(&mut self.buffer, &value),
        }
        self.buffer.extend_from_slice(b"\"]],");
    }

    /// Writes one `AppendRecord` as a member of `AppendInput`; returns the length of its body.
    fn proto_record(&mut self, identity: &Identity, bodies: &Bodies<'_>, hash: &mut u64) -> usize {
        let len = bodies.len_of(identity.index);
        let has_header = matches!(bodies, Bodies::Given { identity_header: true, .. });
        // The header's two fields, each with tag and length; then the same around both.
        let header_len = 2 + IDENTITY_HEADER.len() + 2 + IDENTITY_BYTES;
        let header_field_len = if has_header { 2 + header_len } else { 0 };
        push_field(&mut self.buffer, 1, header_field_len + 1 + varint_len(len) + len);
        if has_header {
            push_field(&mut self.buffer, 2, header_len);
            push_field(&mut self.buffer, 1, IDENTITY_HEADER.len());
            self.buffer.extend_from_slice(IDENTITY_HEADER.as_bytes());
            push_field(&mut self.buffer, 2, IDENTITY_BYTES);
            self.buffer.extend_from_slice(&identity.encode());
        }
        push_field(&mut self.buffer, 3, len);
        self.plain_body(identity, bodies, hash)
    }

    /// Writes one record as a Redis command; returns the length of its body.
    fn resp_record(&mut self, identity: &Identity, bodies: &Bodies<'_>, hash: &mut u64) -> usize {
        let layout = Arc::clone(&self.layout);
        let key = &layout.names[identity.stream as usize];
        resp::push_xadd(&mut self.buffer, key, bodies.len_of(identity.index));
        let len = self.plain_body(identity, bodies, hash);
        self.buffer.extend_from_slice(resp::XADD_END);
        len
    }

    /// Writes a body as it is; returns its length.
    fn plain_body(&mut self, identity: &Identity, bodies: &Bodies<'_>, hash: &mut u64) -> usize {
        match bodies {
            Bodies::Generated { pool, len, is_stamped, .. } => {
                self.generated_body(identity, (pool, *len, *is_stamped), hash)
            }
            Bodies::Given { bodies, .. } => {
                let body = &bodies[usize::from(identity.index)];
                if self.is_hashing {
                    *hash = chain_hash(*hash, body);
                }
                self.buffer.extend_from_slice(body);
                body.len()
            }
        }
    }

    /// Lays what belongs there in front of the payload, and behind it.
    fn wrap(&mut self, stream: u32) {
        use std::io::Write;

        let layout = Arc::clone(&self.layout);
        let payload = self.buffer.len() - layout.room;
        self.start = layout.room;
        let mut line = [0; LENGTH_ROOM];
        let mut rest = &mut line[..];
        match &layout.wrapping {
            Wrapping::Bare => {}
            Wrapping::Frame => self.lay(&frame_head(payload)),
            Wrapping::Chunk => {
                self.lay(&frame_head(payload));
                write!(rest, "{:x}\r\n", payload + FRAME_HEAD_BYTES).expect("six digits fit");
                let left = rest.len();
                self.lay(&line[..LENGTH_ROOM - left]);
                self.buffer.extend_from_slice(b"\r\n");
            }
            Wrapping::Request { heads } => {
                write!(rest, "{payload}\r\n\r\n").expect("20 digits and 4 more fit");
                let left = rest.len();
                self.lay(&line[..LENGTH_ROOM - left]);
                self.lay(&heads[stream as usize]);
            }
        }
    }

    /// Copies `bytes` right before what is there already.
    fn lay(&mut self, bytes: &[u8]) {
        let end = self.start;
        self.start -= bytes.len();
        self.buffer[self.start..end].copy_from_slice(bytes);
    }
}

/// Writes the key of a length-delimited protobuf field, and its length.
fn push_field(buffer: &mut Vec<u8>, number: u8, len: usize) {
    buffer.push(number << 3 | 2);
    push_varint(buffer, len as u64);
}

fn push_base64(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let start = buffer.len();
    buffer.resize(start + bytes.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(bytes, &mut buffer[start..]).expect("the room is exact");
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
