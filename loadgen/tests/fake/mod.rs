//! A small in-memory server with the few S2 routes a load needs, and a fault to inject.
//!
//! A thread per connection, one lock around everything: slow, obvious, and independent of both the
//! real server and the load generator's own client. Connections that begin with the preface of
//! HTTP/2 are served by `http2`, sessions of both versions by `session`.

mod http2;
mod session;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What goes wrong, at one append or at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Acknowledged, but one record in the middle is missing.
    LoseRecord,
    /// Acknowledged, but not stored; its numbers go to the next append.
    LoseBatch,
    /// Stored twice.
    Duplicate,
    /// Half is stored, then the connection ends.
    Tear,
    /// Acknowledged, but a byte is changed.
    WrongByte,
    /// Stored, then the connection ends without an answer.
    HangUpAfterStore,
    /// Not stored, and the connection ends without an answer.
    HangUpBeforeStore,
    /// Refused as `rate_limited`.
    Refuse,
    /// Stored, but refused as `rate_limited`.
    RefuseAfterStore,
    /// Every append answered by 503 `unavailable`.
    Unavailable,
    /// From here on all connections end and no new one is accepted.
    Vanish,
    /// From here on nothing is stored or answered, but connections stay open.
    Silence,
    /// One second after the first append nothing is answered for half a second.
    Stall,
    /// Stored; the acknowledgement names one record fewer.
    ShortAck,
    /// Stored; the connection ends within the acknowledgement.
    CutAck,
    /// The terminal message of [`Fault::Refuse`], but the batch behind it is stored.
    StoreBehindTerminal,
    /// The session ends without a word.
    EndEarly,
    /// A reader is not given one record.
    SkipInRead,
    /// A reader is given one record twice.
    RepeatInRead,
    /// A reader is given one record with a byte changed.
    ChangeInRead,
    /// A reader's first session ends within a frame, its second by a terminal message.
    BreakReads,
    /// A reader is told that it has everything one record too early.
    PrematureHeartbeat,
}

/// The record at which a fault strikes a reader, counted from 0.
const FAULTY_RECORD: u64 = 50;

/// The append at which a fault strikes, counted from 0.
const FAULTY_APPEND: u64 = 20;
/// When and for how long [`Fault::Stall`] strikes.
const STALL_AFTER: Duration = Duration::from_secs(1);
pub(crate) const STALL: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(crate) struct Stream {
    pub(crate) records: Vec<Value>,
    next_seq_num: u64,
    storage_class: String,
}

impl Stream {
    fn store(&mut self, records: &[Value]) {
        for record in records {
            let mut record = record.clone();
            record["seq_num"] = self.next_seq_num.into();
            record["timestamp"] = 1.into();
            self.records.push(record);
            self.next_seq_num += 1;
        }
    }
}

pub(crate) struct State {
    fault: Fault,
    has_basin: bool,
    pub(crate) streams: BTreeMap<String, Stream>,
    pub(crate) appends: u64,
    first_append: Option<Instant>,
    /// Read sessions opened.
    pub(crate) reads: u64,
    /// Requests that came over HTTP/2.
    pub(crate) requests_of_http2: u64,
    /// Whether it knows receipts.
    pub(crate) gives_receipts: bool,
}

impl State {
    fn has_vanished(&self) -> bool {
        self.fault == Fault::Vanish && self.appends >= FAULTY_APPEND
    }
}

/// A running server; its threads end with the process.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
}

/// Status and body, or nothing: hang up. Status 0 is silence.
type Answer = Option<(u16, Value)>;
/// Statuses that only sessions know: answer in part and hang up; end the session.
const CUT: u16 = 1;
const END: u16 = 2;

impl Fake {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            fault,
            has_basin: false,
            streams: BTreeMap::new(),
            appends: 0,
            first_append: None,
            reads: 0,
            requests_of_http2: 0,
            gives_receipts: true,
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().has_vanished() {
                    // Ends the loop and with it the listener.
                    return;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                thread::spawn(move || {
                    if begins_with_preface(&stream) {
                        http2::serve(stream, &shared);
                    } else {
                        serve(stream, &shared);
                    }
                });
            }
        });
        Self { address, state }
    }
}

/// True when a connection speaks HTTP/2 from its first byte.
fn begins_with_preface(stream: &TcpStream) -> bool {
    let mut first = [0; 3];
    while let Ok(1..3) = stream.peek(&mut first) {
        thread::yield_now();
    }
    &first == b"PRI"
}

/// Serves one connection until either side ends it.
fn serve(mut stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut bytes = Vec::new();
    loop {
        let (method, path, headers, body) = read_request(&mut stream, &mut bytes)?;
        if is_session(&headers) {
            let receipts = is_receipt_due(state, &headers);
            return session::serve(stream, bytes, state, (&method, &path), receipts);
        }
        let (status, answer) = respond(state, &method, &path, &headers, &body)?;
        if status == 0 {
            while stream.read(&mut [0; 64]).ok()? > 0 {}
            return None;
        }
        let (kind, answer) = encode(status, &answer, &headers);
        let len = answer.len();
        let receipt = match is_receipt_due(state, &headers) {
            true => format!("Thalweg-Receipt: {RECEIPT}\r\n"),
            false => String::new(),
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{receipt}content-length: {len}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), &answer].concat()).ok()?;
    }
}

fn is_session(headers: &BTreeMap<String, String>) -> bool {
    headers.get("content-type").is_some_and(|kind| kind == "s2s/proto")
}

/// What each receipt of this server says; in sessions the same.
const RECEIPT: &str = "shard=0, segment=1, offset=4096, class=express, batches=3, bytes=4096, \
                       queued_us=31, write_us=40, sync_us=55";

/// True when a request asks for a receipt that this server gives.
fn is_receipt_due(state: &Mutex<State>, headers: &BTreeMap<String, String>) -> bool {
    let is_asked = headers.get("thalweg-receipt").is_some_and(|value| value == "1");
    is_asked && state.lock().unwrap().gives_receipts
}

/// An answer in the form that was asked for; errors are always JSON.
fn encode(
    status: u16,
    answer: &Value,
    headers: &BTreeMap<String, String>,
) -> (&'static str, Vec<u8>) {
    let wants_proto = headers.get("accept").is_some_and(|kind| kind == "application/protobuf");
    if status == 200 && wants_proto {
        ("application/protobuf", session::encode_ack(answer, false))
    } else {
        ("application/json", answer.to_string().into_bytes())
    }
}

type Request = (String, String, BTreeMap<String, String>, Vec<u8>);

fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Request> {
    let mut buffer = [0; 16_384];
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(head)) = request.parse(bytes) {
            let lines = request.headers.iter().map(|header| {
                let value = String::from_utf8(header.value.to_vec()).unwrap();
                (header.name.to_ascii_lowercase(), value)
            });
            let lines: BTreeMap<_, _> = lines.collect();
            let len: usize = lines.get("content-length").map_or(0, |text| text.parse().unwrap());
            if bytes.len() >= head + len {
                let method = request.method.unwrap().to_owned();
                let path = request.path.unwrap().to_owned();
                let body = bytes[head..head + len].to_vec();
                bytes.drain(..head + len);
                return Some((method, path, lines, body));
            }
        }
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

fn error(status: u16, code: &str) -> Answer {
    Some((status, json!({"code": code, "message": code})))
}

fn respond(
    state: &Mutex<State>,
    method: &str,
    path: &str,
    headers: &BTreeMap<String, String>,
    body: &[u8],
) -> Answer {
    let body: Value = match headers.get("content-type").map(String::as_str) {
        Some("application/protobuf") => session::decode_input(body),
        _ => serde_json::from_slice(body).unwrap_or_default(),
    };
    let mut state = state.lock().unwrap();
    if path == "/v1/basins" {
        let existed = std::mem::replace(&mut state.has_basin, true);
        return if existed {
            error(409, "resource_already_exists")
        } else {
            Some((201, json!({})))
        };
    }
    assert!(headers.contains_key("s2-basin"), "every stream route names its basin");
    let rest = path.strip_prefix("/v1/streams").unwrap();
    if rest.is_empty() {
        let name = body["stream"].as_str().unwrap().to_owned();
        if state.streams.contains_key(&name) {
            return error(409, "resource_already_exists");
        }
        let storage_class = body["config"]["storage_class"].as_str().unwrap().to_owned();
        state.streams.insert(name, Stream { storage_class, ..Stream::default() });
        return Some((201, json!({})));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (name, action) = rest[1..].split_once('/').unwrap_or((&rest[1..], ""));
    if !state.streams.contains_key(name) {
        return error(404, "stream_not_found");
    }
    match (method, action) {
        ("POST", "records") => append(&mut state, name, body["records"].as_array().unwrap()),
        ("GET", "records") => read(&state.streams[name], query),
        ("GET", "records/tail") => {
            let seq_num = state.streams[name].next_seq_num;
            Some((200, json!({"tail": {"seq_num": seq_num, "timestamp": 1}})))
        }
        ("GET", "") => Some((200, json!({"storage_class": state.streams[name].storage_class}))),
        _ => error(404, "not_found"),
    }
}

fn read(stream: &Stream, query: &str) -> Answer {
    let parameter = |name: &str| -> u64 {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.unwrap().parse().unwrap()
    };
    let (from, count) = (parameter("seq_num"), parameter("count"));
    if from >= stream.next_seq_num {
        return Some((416, json!({"tail": {"seq_num": stream.next_seq_num, "timestamp": 1}})));
    }
    let records = stream.records.iter().filter(|record| record["seq_num"].as_u64() >= Some(from));
    let page: Vec<_> = records.take(usize::try_from(count).unwrap()).cloned().collect();
    Some((200, json!({ "records": page })))
}

fn append(state: &mut State, name: &str, records: &[Value]) -> Answer {
    let first_append = *state.first_append.get_or_insert_with(Instant::now);
    let is_stalling = state.fault == Fault::Stall && first_append.elapsed() >= STALL_AFTER;
    let fault = match state.fault {
        Fault::Unavailable => return error(503, "unavailable"),
        Fault::Stall if is_stalling => {
            // Once, with the lock held: nobody is answered meanwhile.
            state.fault = Fault::None;
            thread::sleep(STALL);
            Fault::None
        }
        Fault::Vanish if state.has_vanished() => return None,
        Fault::Silence if state.appends >= FAULTY_APPEND => return Some((0, Value::Null)),
        fault if state.appends == FAULTY_APPEND => fault,
        _ => Fault::None,
    };
    state.appends += 1;
    let stream = state.streams.get_mut(name).unwrap();
    let start = stream.next_seq_num;
    let end = start + records.len() as u64;
    match fault {
        Fault::LoseRecord => {
            stream.store(records);
            let missing = stream.records.len() - records.len() / 2 - 1;
            stream.records.remove(missing);
        }
        Fault::LoseBatch => {}
        Fault::Duplicate => {
            stream.store(records);
            stream.store(records);
        }
        Fault::Tear => {
            stream.store(&records[..records.len() / 2]);
            return None;
        }
        Fault::WrongByte => {
            stream.store(records);
            let last = stream.records.last_mut().unwrap();
            let mut body = last["body"].as_str().unwrap().to_owned();
            let changed = if body.pop() == Some('A') { 'B' } else { 'A' };
            body.push(changed);
            last["body"] = body.into();
        }
        Fault::HangUpAfterStore => {
            stream.store(records);
            return None;
        }
        Fault::HangUpBeforeStore => return None,
        Fault::Refuse | Fault::StoreBehindTerminal => return error(429, "rate_limited"),
        Fault::RefuseAfterStore => {
            stream.store(records);
            return error(429, "rate_limited");
        }
        Fault::ShortAck => {
            stream.store(records);
            return Some((200, ack(start, end - 1)));
        }
        Fault::CutAck => {
            stream.store(records);
            return Some((CUT, ack(start, end)));
        }
        Fault::EndEarly => return Some((END, Value::Null)),
        _ => stream.store(records),
    }
    Some((200, ack(start, end)))
}

fn ack(start: u64, end: u64) -> Value {
    let at = |seq_num: u64| json!({"seq_num": seq_num, "timestamp": 1});
    json!({"start": at(start), "end": at(end), "tail": at(end)})
}
