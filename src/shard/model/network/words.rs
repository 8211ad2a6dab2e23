//! The bytes of requests and answers, spelled and read by hand: what is checked here shares
//! nothing with the code that it checks.

use serde_json::Value;

use super::ledger::Batch;

/// Marks the last frame of a session.
const TERMINAL: u8 = 0x80;

/// A record as it was read.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) seq_num: u64,
    pub(super) timestamp: u64,
    pub(super) is_fence: bool,
    pub(super) body: Vec<u8>,
}

/// A batch as it was read.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) records: Vec<Record>,
    pub(super) tail: Option<u64>,
}

/// An acknowledgement: sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) tail: u64,
}

/// A frame of a session that came.
#[derive(Debug)]
pub(super) enum Frame {
    Message(Vec<u8>),
    /// The last one: a status and why.
    Terminal(u16, String),
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7F).expect("seven bits") | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("seven bits"));
}

fn push_bytes(out: &mut Vec<u8>, tag: u64, bytes: &[u8]) {
    push_varint(out, tag << 3 | 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A batch in protobuf.
pub(super) fn append_proto(batch: &Batch) -> Vec<u8> {
    let mut out = Vec::new();
    for body in &batch.records {
        let mut record = Vec::new();
        if batch.is_fence {
            let mut header = Vec::new();
            push_bytes(&mut header, 2, b"fence");
            push_bytes(&mut record, 2, &header);
        }
        push_bytes(&mut record, 3, body);
        push_bytes(&mut out, 1, &record);
    }
    if let Some(seq_num) = batch.match_seq_num {
        push_varint(&mut out, 2 << 3);
        push_varint(&mut out, seq_num);
    }
    if let Some(token) = &batch.token {
        push_bytes(&mut out, 3, token.as_bytes());
    }
    out
}

/// A batch in JSON.
pub(super) fn append_json(batch: &Batch) -> Vec<u8> {
    let record = |body: &Vec<u8>| {
        let body = String::from_utf8_lossy(body);
        if batch.is_fence {
            serde_json::json!({"headers": [["", "fence"]], "body": body})
        } else {
            serde_json::json!({"body": body})
        }
    };
    let records: Vec<Value> = batch.records.iter().map(record).collect();
    let mut input = serde_json::json!({"records": records});
    if let Some(seq_num) = batch.match_seq_num {
        input["match_seq_num"] = seq_num.into();
    }
    if let Some(token) = &batch.token {
        input["fencing_token"] = token.as_str().into();
    }
    input.to_string().into_bytes()
}

/// A frame around a message.
pub(super) fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len() + 1).expect("messages are short");
    let mut out = length.to_be_bytes()[1..].to_vec();
    out.push(0);
    out.extend_from_slice(message);
    out
}

/// Takes the first frame, if it is whole.
pub(super) fn take_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let [a, b, c, flag] = *bytes.first_chunk::<4>()?;
    let end = 3 + u32::from_be_bytes([0, a, b, c]) as usize;
    let body = bytes.get(4..end)?.to_vec();
    bytes.drain(..end);
    assert_eq!(flag & !TERMINAL & !0x10, 0, "nobody asked for a coding");
    if flag & TERMINAL == 0 {
        return Some(Frame::Message(body));
    }
    let (status, text) = body.split_at(2);
    let status = u16::from_be_bytes([status[0], status[1]]);
    Some(Frame::Terminal(status, String::from_utf8_lossy(text).into_owned()))
}

/// A field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn take_varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
    }
    panic!("a number of more than 64 bits");
}

/// The fields of a message, by number.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = take_varint(&mut bytes);
        let number = take_varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(number),
            2 => {
                let (field, rest) = bytes.split_at(usize::try_from(number).expect("a length"));
                bytes = rest;
                Field::Bytes(field)
            }
            other => panic!("wire type {other} is not used"),
        };
        found.push((tag >> 3, field));
    }
    found
}

/// The first number of a message; zero is not spelled.
fn first_number(message: &[u8]) -> u64 {
    let found = fields(message).into_iter().find_map(|field| match field {
        (1, Field::Number(number)) => Some(number),
        _ => None,
    });
    found.unwrap_or(0)
}

/// An acknowledgement in protobuf.
pub(super) fn ack_proto(bytes: &[u8]) -> Ack {
    let mut positions = [None; 3];
    for (tag, field) in fields(bytes) {
        let Field::Bytes(position) = field else { panic!("field {tag} is a position") };
        positions[usize::try_from(tag).expect("small") - 1] = Some(first_number(position));
    }
    let [start, end, tail] = positions.map(|position| position.expect("all three are there"));
    Ack { start, end, tail }
}

/// An acknowledgement in JSON.
pub(super) fn ack_json(bytes: &[u8]) -> Ack {
    let ack = json(bytes);
    let of = |name: &str| ack[name]["seq_num"].as_u64().expect("all three are there");
    Ack { start: of("start"), end: of("end"), tail: of("tail") }
}

/// The answer to a check of the tail.
pub(super) fn tail_json(bytes: &[u8]) -> u64 {
    json(bytes)["tail"]["seq_num"].as_u64().expect("a tail")
}

fn json(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A batch that was read, in protobuf.
pub(super) fn records_proto(bytes: &[u8]) -> Records {
    let mut read = Records::default();
    for (tag, field) in fields(bytes) {
        match (tag, field) {
            (1, Field::Bytes(record)) => read.records.push(record_proto(record)),
            (2, Field::Bytes(tail)) => read.tail = Some(first_number(tail)),
            (tag, _) => panic!("a batch has no field {tag}"),
        }
    }
    read
}

fn record_proto(bytes: &[u8]) -> Record {
    let mut record = Record { seq_num: 0, timestamp: 0, is_fence: false, body: Vec::new() };
    for (tag, field) in fields(bytes) {
        match (tag, field) {
            (1, Field::Number(number)) => record.seq_num = number,
            (2, Field::Number(number)) => record.timestamp = number,
            (3, Field::Bytes(header)) => {
                let value = fields(header);
                assert!(matches!(value[..], [(2, Field::Bytes(b"fence"))]), "the one header");
                record.is_fence = true;
            }
            (4, Field::Bytes(body)) => record.body = body.to_vec(),
            (tag, _) => panic!("a record has no field {tag}"),
        }
    }
    record
}

/// The same in JSON.
pub(super) fn records_json(bytes: &[u8]) -> Records {
    let read = json(bytes);
    let record = |record: &Value| Record {
        seq_num: record["seq_num"].as_u64().expect("a number"),
        timestamp: record["timestamp"].as_u64().expect("a number"),
        is_fence: record.get("headers").is_some_and(|h| *h == serde_json::json!([["", "fence"]])),
        body: record["body"].as_str().expect("a body").into(),
    };
    let records = read["records"].as_array().expect("records").iter().map(record).collect();
    Records { records, tail: read["tail"]["seq_num"].as_u64() }
}
