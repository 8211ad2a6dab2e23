//! Receipts (`docs/RECEIPTS.md`): what they say is held against the files of the log.

use std::collections::BTreeMap;
use std::fs;

use prost::Message as _;
use serde_json::json;

use crate::STREAMS;
use crate::common::client::{Client, fresh_basin, fresh_basin_on, records_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::{Request, Response};
use crate::common::s2s::{AppendAck, AppendInput};
use crate::common::server::Server;
use crate::common::session::{Session, append_request};

const NAME: &str = "thalweg-receipt";
const BLOCK_BYTES: usize = 4096;
const FRAME_HEADER_BYTES: usize = 64;

/// A receipt as a client of either kind sees it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Receipt {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(uint64, tag = "2")]
    segment: u64,
    #[prost(uint32, tag = "3")]
    offset: u32,
    #[prost(uint32, tag = "4")]
    class: u32,
    #[prost(uint64, tag = "5")]
    batches: u64,
    #[prost(uint64, tag = "6")]
    bytes: u64,
    #[prost(uint64, tag = "7")]
    queued_us: u64,
    #[prost(uint64, tag = "8")]
    write_us: u64,
    #[prost(uint64, tag = "9")]
    sync_us: u64,
}

/// What a client that knows nothing else finds in an acknowledgement.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct OnlyReceipt {
    #[prost(message, optional, tag = "10001")]
    receipt: Option<Receipt>,
}

const STANDARD: u32 = 1;
const EXPRESS: u32 = 2;

impl Receipt {
    /// Takes apart what a response's header says.
    #[track_caller]
    fn of(response: &Response) -> Self {
        let text = response.status(200).header(NAME).unwrap_or_else(|| panic!("none: {response}"));
        let members: Vec<(&str, &str)> =
            text.split(", ").map(|member| member.split_once('=').expect("key=value")).collect();
        let keys: Vec<&str> = members.iter().map(|(key, _)| *key).collect();
        let expected = [
            "shard",
            "segment",
            "offset",
            "class",
            "batches",
            "bytes",
            "queued_us",
            "write_us",
            "sync_us",
        ];
        assert_eq!(keys, expected, "{text}");
        let members: BTreeMap<&str, &str> = members.into_iter().collect();
        let number = |key: &str| members[key].parse::<u64>().expect("a number");
        let small = |key: &str| u32::try_from(number(key)).expect("a small number");
        Self {
            shard: small("shard"),
            segment: number("segment"),
            offset: small("offset"),
            class: match members["class"] {
                "standard" => STANDARD,
                "express" => EXPRESS,
                other => panic!("class {other}"),
            },
            batches: number("batches"),
            bytes: number("bytes"),
            queued_us: number("queued_us"),
            write_us: number("write_us"),
            sync_us: number("sync_us"),
        }
    }

    /// The frame must lie where the receipt says, hold `body`, and be the group that it says.
    #[track_caller]
    fn check(&self, server: &Server, body: &str, class: u32) {
        let log = self.segment_bytes(server);
        let (frame, batches) = frame_at(&log, self.offset as usize, self.segment);
        let holds = frame.windows(body.len()).any(|bytes| bytes == body.as_bytes());
        assert!(holds, "`{body}` is not where its receipt says: {self:?}");
        assert_eq!(self.class, class, "{self:?}");
        // Groups as small as those of these tests are one frame.
        let frame_bytes = (FRAME_HEADER_BYTES + frame.len()).next_multiple_of(BLOCK_BYTES);
        assert_eq!((self.batches, self.bytes), (batches, frame_bytes as u64), "{self:?}");
        assert!(self.sync_us > 0, "a sync takes its time: {self:?}");
        let in_all_us = self.queued_us + self.write_us + self.sync_us;
        assert!(in_all_us < 60_000_000, "longer than the test: {self:?}");
    }

    /// The file of the segment that the receipt names.
    fn segment_bytes(&self, server: &Server) -> Vec<u8> {
        let dir = server.data_dir().join(format!("shard-{}", self.shard));
        let paths = fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path());
        let logs = paths.filter(|path| path.extension().is_some_and(|text| text == "log"));
        let mut files = logs.map(|path| fs::read(path).expect("readable"));
        let found = files.find(|bytes| u64_at(bytes, 24) == self.segment);
        found.unwrap_or_else(|| panic!("no segment of that epoch: {self:?}"))
    }
}

/// The entries of the frame at `offset`, and how many batches are among them (`docs/FORMAT.md`).
#[track_caller]
fn frame_at(log: &[u8], offset: usize, epoch: u64) -> (&[u8], u64) {
    assert_eq!(offset % BLOCK_BYTES, 0, "frames start at blocks");
    let frame = &log[offset..];
    assert_eq!((&frame[..4], u64_at(frame, 8)), (&b"TWF1"[..], epoch), "a frame of this epoch");
    let payload_bytes = u32_at(frame, 44);
    let entries = &frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + payload_bytes];
    let (mut at, mut batches) = (0, 0);
    while at < entries.len() {
        batches += u64::from(entries[at + 4] == 1);
        at += 4 + u32_at(entries, at);
    }
    (entries, batches)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

#[track_caller]
fn send(client: &Client, protocol: Protocol, request: Request) -> Response {
    Exchange::start(client, protocol, request).whole()
}

fn json_append(stream: &str, body: &str) -> Request {
    Request::post(&records_path(stream), &json!({ "records": [{ "body": body }] }))
}

fn proto_append(stream: &str, body: &str) -> Request {
    let request = Request::new("POST", &records_path(stream));
    let request = request.header("content-type", "application/protobuf");
    let request = request.header("accept", "application/protobuf");
    request.bytes(AppendInput::one(body).encode_to_vec())
}

#[test]
fn a_unary_receipt_says_where_the_batch_lies() {
    let Some(server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let mut shards = Vec::new();
    // Where a stream goes depends on the basin's name, which is another each time: these and twenty
    // more are on one shard only once in 16 million times.
    let more = (0..20).map(|number| format!("more-{number}"));
    for stream in STREAMS.into_iter().map(String::from).chain(more) {
        if stream.starts_with("more-") && shards.contains(&0) && shards.contains(&1) {
            break;
        }
        let stream = stream.as_str();
        client.create_stream(stream);
        for protocol in Protocol::BOTH {
            for (form, append) in
                [("json", json_append as fn(&str, &str) -> Request), ("proto", proto_append)]
            {
                let body = format!("{form} over {protocol} to {stream}");
                let response = send(&client, protocol, append(stream, &body).header(NAME, "1"));
                let receipt = Receipt::of(&response);
                receipt.check(&server, &body, EXPRESS);
                assert_eq!(receipt.batches, 1, "nobody else appends: {receipt:?}");
                shards.push(receipt.shard);
            }
        }
    }
    shards.sort_unstable();
    shards.dedup();
    assert_eq!(shards, [0, 1], "some appends cross to the other core");
}

#[test]
fn a_receipt_names_the_class_of_the_stream() {
    let Some(server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream_with("slow", &json!({ "storage_class": "standard" }));
    let response = send(&client, Protocol::Http1, json_append("slow", "patient").header(NAME, "1"));
    Receipt::of(&response).check(&server, "patient", STANDARD);
}

/// A connection may carry both kinds of request; only who asks is told.
#[test]
fn who_asks_for_nothing_gets_nothing() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let plain = |protocol| send(&client, protocol, json_append("s", "x"));
    for protocol in Protocol::BOTH {
        let names = |response: &Response| -> Vec<String> {
            response.headers.iter().map(|(name, _)| name.clone()).collect()
        };
        let expected = names(plain(protocol).status(200));
        for value in ["2", "", "0", "01", "true", "1, 1", "?1"] {
            for append in [json_append, proto_append] {
                let response = send(&client, protocol, append("s", "x").header(NAME, value));
                assert_eq!(response.status(200).header(NAME), None, "asked with `{value}`");
            }
            let asked = send(&client, protocol, json_append("s", "x").header(NAME, value));
            assert_eq!(names(&asked), expected, "asked with `{value}`");
        }
        let spaced = send(&client, protocol, json_append("s", "x").header(NAME, " 1\t"));
        Receipt::of(&spaced);
    }
}

/// What is refused is not in the log.
#[test]
fn a_refusal_has_no_receipt() {
    let mut client = fresh_basin();
    client.create_stream("s");
    for protocol in Protocol::BOTH {
        let body = json!({ "records": [{ "body": "x" }], "match_seq_num": 7 });
        let request = Request::post(&records_path("s"), &body).header(NAME, "1");
        assert_eq!(send(&client, protocol, request).status(412).header(NAME), None);
        let read = Request::get(&format!("{}?seq_num=0", records_path("s"))).header(NAME, "1");
        assert_eq!(send(&client, protocol, read).header(NAME), None);
    }
}

#[test]
fn a_session_that_asks_gets_a_receipt_with_each_acknowledgement() {
    let Some(server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    for stream in STREAMS {
        client.create_stream(stream);
        for (round, protocol) in Protocol::BOTH.into_iter().enumerate() {
            let request = append_request(stream).header(NAME, "1");
            let mut session = Session::open(Exchange::start_open(&client, protocol, request));
            assert_eq!(session.head.header(NAME), None, "it is each batch that has one");
            let bodies: Vec<String> =
                (0..40).map(|number| format!("{stream} {protocol} #{number}#")).collect();
            let frames: Vec<u8> =
                bodies.iter().flat_map(|body| AppendInput::one(&**body).frame()).collect();
            session.push_bytes(&frames);
            for (number, body) in bodies.iter().enumerate() {
                let payload = session.frame().payload();
                let ack = AppendAck::decode(&*payload).expect("what is unknown is passed over");
                let seq_num = (40 * round + number) as u64;
                assert_eq!(ack.start.map(|start| start.seq_num), Some(seq_num));
                let receipt = OnlyReceipt::decode(&*payload).expect("a message").receipt;
                receipt.expect("a receipt").check(&server, body, EXPRESS);
            }
            session.finish();
            session.end();
        }
    }
}

#[test]
fn a_session_that_does_not_ask_gets_none() {
    let mut client = fresh_basin();
    client.create_stream("s");
    for protocol in Protocol::BOTH {
        for value in ["2", "0", ""] {
            let request = append_request("s").header(NAME, value);
            let mut session = Session::open(Exchange::start_open(&client, protocol, request));
            session.push(&AppendInput::one("x"));
            let payload = session.frame().payload();
            let receipt = OnlyReceipt::decode(&*payload).expect("a message").receipt;
            assert_eq!(receipt, None, "asked with `{value}`");
            let ack = AppendAck::decode(&*payload).expect("an acknowledgement");
            assert_eq!(ack.encoded_len(), payload.len(), "and nothing else");
            session.finish();
            session.end();
        }
    }
}
