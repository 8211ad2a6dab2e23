//! Tests of `request`: what is written reads back by another library.

use clap::Parser;
use prost::Message;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command};
use crate::proto::Header;
use crate::record::decode_stamp;
use crate::s2s::{Frame, Frames};

const ID: BatchId = BatchId { run: 1, writer: 2, batch: 3 };

#[derive(Clone, PartialEq, Message)]
struct AppendRecord {
    #[prost(uint64, optional, tag = "1")]
    timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<Header>,
    #[prost(bytes = "bytes", tag = "3")]
    body: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct AppendInput {
    #[prost(message, repeated, tag = "1")]
    records: Vec<AppendRecord>,
    #[prost(uint64, optional, tag = "2")]
    match_seq_num: Option<u64>,
    #[prost(string, optional, tag = "3")]
    fencing_token: Option<String>,
}

fn encoder(options: &[&str], names: &[String]) -> Encoder {
    let line = ["loadgen", "append"].iter().chain(options);
    let Command::Append(args) = Cli::try_parse_from(line).unwrap().command else { unreachable!() };
    Encoder::new(Arc::new(Layout::new(names, "host: h\r\n", &args)), true)
}

fn generated(pool: &Pool) -> Bodies<'_> {
    Bodies::Generated { pool, count: 2, len: 40, is_stamped: false }
}

fn encode(format: Format, bodies: &Bodies<'_>) -> (Value, Encoded) {
    let names = ["s0".to_owned(), "stream-1".to_owned()];
    let format = if format == Format::Raw { "raw" } else { "base64" };
    let mut encoder = encoder(&["--format", format], &names);
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
        let (body, encoded) = encode(format, &generated(&pool));
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

/// The payload inside the wrapping that `options` ask for.
fn unwrapped(options: &[&str], encoder: &mut Encoder) -> Bytes {
    let mut bytes = encoder.request().to_vec();
    assert_eq!(encoder.take_request(), bytes);
    if options.contains(&"proto") {
        let body = bytes.windows(4).position(|part| part == b"\r\n\r\n").map_or(0, |at| at + 4);
        return Bytes::from(bytes.split_off(body));
    }
    if options.contains(&"1") {
        let (line, size) = httparse::parse_chunk_size(&bytes).unwrap().unwrap();
        assert!(bytes.ends_with(b"\r\n"));
        bytes.truncate(bytes.len() - 2);
        bytes.drain(..line);
        assert_eq!(bytes.len() as u64, size);
    }
    let mut frames = Frames::default();
    frames.push(&bytes);
    let Some(Frame::Message(message)) = frames.next().unwrap() else { panic!("a message") };
    assert!(!frames.has_rest());
    message
}

#[test]
fn protobuf_is_what_a_library_reads_in_every_wrapping() {
    let pool = Pool::new(9, 70_000);
    let lines = [b"\xff\x00line".to_vec(), Vec::new(), vec![b'x'; 300]];
    for (protocol, http) in [("proto", "1"), ("proto", "2"), ("s2s", "1"), ("s2s", "2")] {
        let options = ["--protocol", protocol, "--http", http];
        for len in [40, 127, 128, 65_536] {
            let mut encoder = encoder(&options, &["s".to_owned()]);
            let bodies = Bodies::Generated { pool: &pool, count: 3, len, is_stamped: false };
            for _ in 0..2 {
                let encoded = encoder.encode(ID, 0, &bodies);
                let input = AppendInput::decode(unwrapped(&options, &mut encoder)).unwrap();
                assert_eq!((input.match_seq_num, input.fencing_token), (None, None));
                let mut hash = 0;
                for (index, record) in (0..).zip(&input.records) {
                    let identity = Identity { id: ID, stream: 0, index, size: 3 };
                    assert_eq!(Identity::decode(&record.body), Some(identity));
                    assert_eq!(record.body.len(), len);
                    hash = chain_hash(hash, &record.body);
                }
                assert_eq!((encoded.hash, encoded.body_bytes), (hash, 3 * len as u64));
            }
        }
        for identity_header in [false, true] {
            let mut encoder = encoder(&options, &["s".to_owned()]);
            encoder.encode(ID, 0, &Bodies::Given { bodies: &lines, identity_header });
            let input = AppendInput::decode(unwrapped(&options, &mut encoder)).unwrap();
            assert!(input.records.iter().map(|record| &record.body[..]).eq(lines.iter()));
            for (index, record) in (0..).zip(&input.records) {
                let identity = Identity { id: ID, stream: 0, index, size: 3 };
                let found = record.headers.first().map(|header| &header.value[..]);
                assert_eq!(found, identity_header.then_some(&identity.encode()[..]));
            }
        }
    }
}

#[test]
fn a_stamp_changes_its_own_bytes_and_the_hash_alone() {
    let pool = Pool::new(9, 100);
    for options in [["--protocol", "json"], ["--protocol", "s2s"]] {
        let mut encoder = encoder(&options, &["s".to_owned()]);
        let bodies = Bodies::Generated { pool: &pool, count: 2, len: 60, is_stamped: true };
        let mut encoded = encoder.encode(ID, 0, &bodies);
        let before = encoder.request().to_vec();
        encoder.stamp(7_000_000_123, &mut encoded);
        let after = encoder.request();
        assert_eq!(before.len(), after.len());
        let mut hash = 0;
        for index in 0..2 {
            let identity = Identity { id: ID, stream: 0, index, size: 2 }.encode();
            let at = after.windows(IDENTITY_BYTES).position(|part| part == identity).unwrap();
            let body = &after[at..at + 60];
            assert_eq!(decode_stamp(body), Some(7_000_000_123));
            let rest = IDENTITY_BYTES + STAMP_BYTES;
            assert_eq!(body[rest..], before[at + rest..at + 60]);
            hash = chain_hash(hash, body);
        }
        assert_eq!(encoded.hash, hash);
    }
}
