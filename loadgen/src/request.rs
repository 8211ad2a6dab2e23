//! Builds append requests in place: one buffer per connection, reused, sent in one write.
//!
//! The body is written first, behind room for a head; the head, whose only varying part is the
//! content length, is then laid right in front of it. So nothing is copied twice.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cli::Format;
use crate::record::{BatchId, IDENTITY_BYTES, IDENTITY_HEADER, Identity, Pool, chain_hash};

/// Room for `content-length`'s digits and the end of the head.
const LENGTH_ROOM: usize = 24;

/// The constant parts of all requests to one stream.
#[derive(Debug)]
pub(crate) struct Heads {
    heads: Vec<Vec<u8>>,
    room: usize,
}

impl Heads {
    /// `headers` are complete lines, as [`crate::client::common_headers`] makes them.
    pub(crate) fn new(streams: &[String], headers: &str, format: Format) -> Self {
        let format = format.name();
        let heads: Vec<_> = streams
            .iter()
            .map(|stream| {
                format!(
                    "POST /v1/streams/{stream}/records HTTP/1.1\r\n{headers}\
                     content-type: application/json\r\naccept: application/json\r\n\
                     s2-format: {format}\r\ncontent-length: "
                )
                .into_bytes()
            })
            .collect();
        let room = heads.iter().map(Vec::len).max().unwrap_or(0) + LENGTH_ROOM;
        Self { heads, room }
    }
}

/// What the records of one append are made of.
pub(crate) enum Bodies<'a> {
    /// Generated records of this many bytes each.
    Generated { pool: &'a Pool, count: u16, len: usize },
    /// The given bodies; `identity_header` adds the header that verification needs.
    Given { bodies: &'a [Vec<u8>], identity_header: bool },
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

/// The reusable buffer of one connection.
pub(crate) struct Encoder {
    heads: Arc<Heads>,
    format: Format,
    is_hashing: bool,
    buffer: Vec<u8>,
    start: usize,
    body: Vec<u8>,
}

impl Encoder {
    /// `is_hashing` pays for [`Encoded::hash`].
    pub(crate) fn new(heads: Arc<Heads>, format: Format, is_hashing: bool) -> Self {
        Self { heads, format, is_hashing, buffer: Vec::new(), start: 0, body: Vec::new() }
    }

    /// The request made by the last [`Encoder::encode`].
    pub(crate) fn request(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Makes the request that appends `bodies` to `stream`.
    pub(crate) fn encode(&mut self, id: BatchId, stream: u32, bodies: &Bodies<'_>) -> Encoded {
        let room = self.heads.room;
        self.buffer.resize(room, 0);
        self.buffer.extend_from_slice(b"{\"records\":[");
        let size = match bodies {
            Bodies::Generated { count, .. } => *count,
            Bodies::Given { bodies, .. } => u16::try_from(bodies.len()).expect("at most 1000"),
        };
        let mut encoded = Encoded { count: size, body_bytes: 0, hash: 0 };
        for index in 0..size {
            let identity = Identity { id, stream, index, size };
            self.buffer.extend_from_slice(if index == 0 { b"{" } else { b",{" });
            let len = self.encode_record(&identity, bodies, &mut encoded.hash);
            encoded.body_bytes += len as u64;
            self.buffer.push(b'}');
        }
        self.buffer.extend_from_slice(b"]}");
        self.lay_head(stream);
        encoded
    }

    /// Writes one record's members; returns the length of its body.
    fn encode_record(&mut self, identity: &Identity, bodies: &Bodies<'_>, hash: &mut u64) -> usize {
        match bodies {
            Bodies::Generated { pool, len, .. } => {
                self.body.clear();
                self.body.extend_from_slice(&identity.encode());
                self.body.extend_from_slice(pool.filling(identity, len - IDENTITY_BYTES));
                if self.is_hashing {
                    *hash = chain_hash(*hash, &self.body);
                }
                self.buffer.extend_from_slice(b"\"body\":\"");
                match self.format {
                    Format::Raw => self.buffer.extend_from_slice(&self.body),
                    Format::Base64 => push_base64(&mut self.buffer, &self.body),
                }
                self.buffer.push(b'"');
                *len
            }
            Bodies::Given { bodies, identity_header } => {
                let body = &bodies[usize::from(identity.index)];
                if *identity_header {
                    self.push_identity_header(identity);
                }
                if self.is_hashing {
                    *hash = chain_hash(*hash, body);
                }
                self.buffer.extend_from_slice(b"\"body\":");
                match self.format {
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

    fn push_identity_header(&mut self, identity: &Identity) {
        let (name, value) = (IDENTITY_HEADER.as_bytes(), identity.encode());
        self.buffer.extend_from_slice(b"\"headers\":[[\"");
        match self.format {
            Format::Raw => self.buffer.extend_from_slice(name),
            Format::Base64 => push_base64(&mut self.buffer, name),
        }
        self.buffer.extend_from_slice(b"\",\"");
        match self.format {
            Format::Raw => self.buffer.extend_from_slice(&value),
            Format::Base64 => push_base64(&mut self.buffer, &value),
        }
        self.buffer.extend_from_slice(b"\"]],");
    }

    fn lay_head(&mut self, stream: u32) {
        let room = self.heads.room;
        let head = &self.heads.heads[stream as usize];
        let mut end = [0; LENGTH_ROOM];
        let end = {
            use std::io::Write;
            let mut cursor = &mut end[..];
            let length = self.buffer.len() - room;
            write!(cursor, "{length}\r\n\r\n").expect("20 digits and 4 more fit");
            let left = cursor.len();
            &end[..LENGTH_ROOM - left]
        };
        let head_start = room - end.len() - head.len();
        self.buffer[head_start..room - end.len()].copy_from_slice(head);
        self.buffer[room - end.len()..room].copy_from_slice(end);
        self.start = head_start;
    }
}

fn push_base64(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let start = buffer.len();
    buffer.resize(start + bytes.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(bytes, &mut buffer[start..]).expect("the room is exact");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: BatchId = BatchId { run: 1, writer: 2, batch: 3 };

    fn encode(format: Format, bodies: &Bodies<'_>) -> (Value, Encoded) {
        let names = ["s0".to_owned(), "stream-1".to_owned()];
        let heads = Arc::new(Heads::new(&names, "host: h\r\n", format));
        let mut encoder = Encoder::new(heads, format, true);
        for stream in [1, 0] {
            encoder.encode(ID, stream, &Bodies::Given { bodies: &[], identity_header: false });
            let encoded = encoder.encode(ID, stream, bodies);
            let text = String::from_utf8(encoder.request().to_vec()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("POST /v1/streams/{}/", names[stream as usize])));
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
            if stream == 0 {
                return (serde_json::from_str(body).unwrap(), encoded);
            }
        }
        unreachable!("stream 0 returns");
    }

    #[test]
    fn generated_records_begin_with_their_identity() {
        let pool = Pool::new(9, 40);
        for format in [Format::Raw, Format::Base64] {
            let (body, encoded) =
                encode(format, &Bodies::Generated { pool: &pool, count: 2, len: 40 });
            assert_eq!((encoded.count, encoded.body_bytes), (2, 80));
            let mut hash = 0;
            for index in 0..2_u16 {
                let text = body["records"][usize::from(index)]["body"].as_str().unwrap();
                let bytes = match format {
                    Format::Raw => text.as_bytes().to_vec(),
                    Format::Base64 => STANDARD.decode(text).unwrap(),
                };
                assert_eq!(bytes.len(), 40);
                let identity = Identity { id: ID, stream: 0, index, size: 2 };
                assert_eq!(Identity::decode(&bytes), Some(identity));
                hash = chain_hash(hash, &bytes);
            }
            assert_eq!(hash, encoded.hash);
        }
    }

    #[test]
    fn lines_are_escaped_and_carry_their_identity_only_when_tracked() {
        let bodies = [b"say \"hi\"\t\xc3\xa9".to_vec(), Vec::new()];
        let plain = Bodies::Given { bodies: &bodies, identity_header: false };
        let (body, _) = encode(Format::Raw, &plain);
        assert_eq!(body, json!({"records": [{"body": "say \"hi\"\t\u{e9}"}, {"body": ""}]}));

        let tracked = Bodies::Given { bodies: &bodies, identity_header: true };
        let (body, _) = encode(Format::Raw, &tracked);
        let header = &body["records"][1]["headers"][0];
        assert_eq!(header[0], "loadgen");
        let identity = Identity::decode(header[1].as_str().unwrap().as_bytes());
        assert_eq!(identity, Some(Identity { id: ID, stream: 0, index: 1, size: 2 }));
    }
}
