//! Sessions: what they answer, whatever carries them, and HTTP/1.1 to carry them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use prost::Message;
use serde_json::{Value, json};

use super::{CUT, END, FAULTY_RECORD, Fault, State};

/// Gap between two looks at a stream that is followed.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(1);

#[derive(Clone, PartialEq, Message)]
struct Position {
    #[prost(uint64, tag = "1")]
    seq_num: u64,
    #[prost(uint64, tag = "2")]
    timestamp: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Ack {
    #[prost(message, optional, tag = "1")]
    start: Option<Position>,
    #[prost(message, optional, tag = "2")]
    end: Option<Position>,
    #[prost(message, optional, tag = "3")]
    tail: Option<Position>,
    #[prost(message, optional, tag = "10001")]
    receipt: Option<Receipt>,
}

#[derive(Clone, PartialEq, Message)]
struct Receipt {
    #[prost(uint64, tag = "2")]
    segment: u64,
    #[prost(uint64, tag = "5")]
    batches: u64,
    #[prost(uint64, tag = "7")]
    queued_us: u64,
    #[prost(uint64, tag = "8")]
    write_us: u64,
    #[prost(uint64, tag = "9")]
    sync_us: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Input {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(bytes = "vec", tag = "3")]
    body: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Sequenced>,
    #[prost(message, optional, tag = "2")]
    tail: Option<Position>,
}

#[derive(Clone, PartialEq, Message)]
struct Sequenced {
    #[prost(uint64, tag = "1")]
    seq_num: u64,
    #[prost(uint64, tag = "2")]
    timestamp: u64,
    #[prost(bytes = "vec", tag = "4")]
    body: Vec<u8>,
}

/// An `AppendInput` as the JSON that means the same.
pub(super) fn decode_input(body: &[u8]) -> Value {
    let input = Input::decode(body).unwrap();
    let records = input.records.into_iter();
    let records = records.map(|record| json!({"body": String::from_utf8(record.body).unwrap()}));
    json!({"records": records.collect::<Vec<_>>()})
}

/// An acknowledgement in protobuf.
pub(super) fn encode_ack(ack: &Value, has_receipt: bool) -> Vec<u8> {
    let at = |name: &str| {
        let seq_num = ack[name]["seq_num"].as_u64().unwrap();
        Some(Position { seq_num, timestamp: 1 })
    };
    let receipt = Receipt { segment: 1, batches: 3, queued_us: 31, write_us: 40, sync_us: 55 };
    let receipt = has_receipt.then_some(receipt);
    Ack { start: at("start"), end: at("end"), tail: at("tail"), receipt }.encode_to_vec()
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(body.len() + 1).unwrap().to_be_bytes();
    [&[high, middle, low, flags], body].concat()
}

fn terminal(status: u16, body: &Value) -> Vec<u8> {
    frame(0x80, &[&status.to_be_bytes()[..], body.to_string().as_bytes()].concat())
}

/// What a session does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    Send(Vec<u8>),
    /// Send this and break the connection.
    Break(Vec<u8>),
    /// End the answer in good order.
    End,
    /// Nothing for now.
    Wait,
}

/// The stream that a path names, and a number in its query.
pub(super) fn parse_path(path: &str) -> (String, u64) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let name = path.strip_prefix("/v1/streams/").unwrap().strip_suffix("/records").unwrap();
    let seq_num = query.strip_prefix("seq_num=").map_or(0, |text| text.parse().unwrap());
    (name.to_owned(), seq_num)
}

/// An append session.
pub(super) struct Appends {
    stream: String,
    bytes: Vec<u8>,
    receipts: bool,
    is_over: bool,
}

impl Appends {
    pub(super) fn new(stream: &str, receipts: bool) -> Self {
        Self { stream: stream.to_owned(), bytes: Vec::new(), receipts, is_over: false }
    }

    /// Takes what has come of the request; acts in turn.
    pub(super) fn take(&mut self, state: &Mutex<State>, bytes: &[u8]) -> Vec<Act> {
        self.bytes.extend_from_slice(bytes);
        let mut acts = Vec::new();
        while self.bytes.len() >= 4 {
            let head = [0, self.bytes[0], self.bytes[1], self.bytes[2]];
            let end = 3 + u32::from_be_bytes(head) as usize;
            if self.bytes.len() < end {
                break;
            }
            let body: Vec<u8> = self.bytes.drain(..end).skip(4).collect();
            self.batch(state, &body, &mut acts);
        }
        acts
    }

    fn batch(&mut self, state: &Mutex<State>, body: &[u8], acts: &mut Vec<Act>) {
        let input = decode_input(body);
        let records = input["records"].as_array().unwrap();
        let mut state = state.lock().unwrap();
        if self.is_over {
            if state.fault == Fault::StoreBehindTerminal {
                state.fault = Fault::None;
                state.streams.get_mut(&self.stream).unwrap().store(records);
            }
            return;
        }
        let act = match super::append(&mut state, &self.stream, records) {
            None => Act::Break(Vec::new()),
            Some((0, _)) => Act::Wait,
            Some((CUT, ack)) => {
                let whole = frame(0, &encode_ack(&ack, self.receipts));
                Act::Break(whole[..whole.len() / 2].to_vec())
            }
            Some((END, _)) => Act::End,
            Some((200, ack)) => Act::Send(frame(0, &encode_ack(&ack, self.receipts))),
            Some((status, error)) => {
                acts.push(Act::Send(terminal(status, &error)));
                Act::End
            }
        };
        self.is_over = act == Act::End;
        acts.push(act);
    }
}

/// A read session.
pub(super) struct Reads {
    stream: String,
    next: u64,
    number: u64,
    has_followed: bool,
}

impl Reads {
    pub(super) fn new(state: &Mutex<State>, stream: &str, from: u64) -> Self {
        let mut state = state.lock().unwrap();
        state.reads += 1;
        let number = state.reads;
        Self { stream: stream.to_owned(), next: from, number, has_followed: false }
    }

    /// What to do now.
    pub(super) fn act(&mut self, state: &Mutex<State>) -> Act {
        let mut state = state.lock().unwrap();
        let fault = state.fault;
        let stream = &state.streams[&self.stream];
        let tail = stream.next_seq_num;
        if self.next >= tail {
            if std::mem::replace(&mut self.has_followed, true) {
                return Act::Wait;
            }
            let tail = Some(Position { seq_num: tail, timestamp: 1 });
            return Act::Send(frame(0, &Batch { records: vec![], tail }.encode_to_vec()));
        }
        let fresh =
            stream.records.iter().filter(|record| record["seq_num"].as_u64() >= Some(self.next));
        let mut records: Vec<_> = fresh
            .map(|record| Sequenced {
                seq_num: record["seq_num"].as_u64().unwrap(),
                timestamp: 1,
                body: record["body"].as_str().unwrap().as_bytes().to_vec(),
            })
            .collect();
        let is_due = (self.next..tail).contains(&FAULTY_RECORD) && records.len() > 1;
        self.next = tail;
        let mut heartbeat = None;
        if is_due {
            match fault {
                Fault::SkipInRead => drop(records.remove(0)),
                Fault::RepeatInRead => records.push(records[0].clone()),
                Fault::ChangeInRead => *records[0].body.last_mut().unwrap() ^= 1,
                Fault::PrematureHeartbeat => {
                    let tail = Some(Position { seq_num: tail, timestamp: 1 });
                    heartbeat = Some(frame(0, &Batch { records: vec![], tail }.encode_to_vec()));
                }
                _ => {}
            }
        }
        let whole = frame(0, &Batch { records, tail: None }.encode_to_vec());
        if fault == Fault::BreakReads && self.number == 1 {
            return Act::Break(whole[..whole.len() / 2].to_vec());
        }
        if fault == Fault::BreakReads && self.number == 2 {
            state.reads += 1;
            return Act::Send([whole, terminal(503, &json!({"code": "unavailable"}))].concat());
        }
        Act::Send([heartbeat.unwrap_or_default(), whole].concat())
    }
}

/// Serves a session over HTTP/1.1, from the end of the request's head on.
pub(super) fn serve(
    mut stream: TcpStream,
    mut bytes: Vec<u8>,
    state: &Mutex<State>,
    (method, path): (&str, &str),
    receipts: bool,
) -> Option<()> {
    let (name, from) = parse_path(path);
    stream
        .write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: s2s/proto\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .ok()?;
    if method == "GET" {
        let mut reads = Reads::new(state, &name, from);
        loop {
            match reads.act(state) {
                Act::Wait => thread::sleep(LOOK_AGAIN),
                act => write(&mut stream, act)?,
            }
        }
    }
    let mut appends = Appends::new(&name, receipts);
    loop {
        while let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&bytes)
        {
            let end = line + usize::try_from(size).unwrap();
            if size == 0 {
                return write(&mut stream, Act::End);
            }
            if bytes.len() < end + 2 {
                break;
            }
            for act in appends.take(state, &bytes[line..end]) {
                if act != Act::Wait {
                    write(&mut stream, act)?;
                }
            }
            bytes.drain(..end + 2);
        }
        let mut piece = [0; 16_384];
        match stream.read(&mut piece).ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&piece[..n]),
        }
    }
}

/// Writes what an act says, each in a chunk of its own; nothing when the connection is to end.
fn write(stream: &mut TcpStream, act: Act) -> Option<()> {
    let (bytes, is_last) = match act {
        Act::Send(bytes) => (bytes, false),
        Act::Break(bytes) => (bytes, true),
        Act::Wait => return Some(()),
        Act::End => return stream.write_all(b"0\r\n\r\n").ok(),
    };
    if !bytes.is_empty() {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
        stream.write_all(&chunk).ok()?;
    }
    (!is_last).then_some(())
}
