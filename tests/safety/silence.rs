//! What must never be written anywhere but where it belongs: tokens, keys, record bodies.
//!
//! A server at the most verbose level is sent words that are easy to find again, through every
//! route and many mistakes, over both protocols. None of them may be in what it wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::common::client::{Client, records_path, stream_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::frames::{HEADERS, RawHttp2, push_literal};
use crate::common::http::{Conn, Request};
use crate::common::s2s::{AppendInput, AppendRecord, frame};
use crate::common::server::Server;
use crate::common::session::{Session, append_request, read_request};
use crate::common::sse::sse_request;
use crate::common::unique_name;

/// In every word that must not be found.
const MARK: &str = "zq7mark";
/// Longest wait for the answer to bytes that may not be answered.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

fn word(of: &str) -> String {
    format!("{MARK}-{of}-0123456789")
}

/// The ways in which the mark could be spelled by whoever prints it: as it is, as hexadecimal
/// digits, as numbers, and as base64 from each of three positions in a text.
fn spellings() -> Vec<String> {
    let bytes = MARK.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let mut spelled = vec![MARK.to_owned(), hex, numbers.join(", ")];
    for shift in 0..3 {
        // Without the first and last digits, which depend on what stands beside it.
        let coded = base64(&[&b"xxx"[..shift], bytes].concat());
        spelled.push(coded[if shift == 0 { 0 } else { 4 }..bytes.len() + shift - 1].to_owned());
    }
    spelled.iter().map(|text| text.to_ascii_lowercase()).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

/// Lines that hold the mark, however it is spelled.
fn found_in(text: &str) -> Vec<String> {
    let spellings = spellings();
    let holds = |line: &&str| {
        let line = line.to_ascii_lowercase();
        spellings.iter().any(|spelled| line.contains(spelled))
    };
    text.lines().filter(holds).map(str::to_owned).collect()
}

#[test]
fn the_mark_is_found_however_it_is_spelled() {
    let secret = word("token");
    let bytes = secret.as_bytes();
    for text in [
        format!("token: {secret}"),
        format!("{:?}", bytes),
        format!("{:x?}", secret.to_uppercase()),
        bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
        base64(bytes),
        base64(&[b"y", bytes].concat()),
        base64(&[b"yz", bytes].concat()),
    ] {
        assert_eq!(found_in(&format!("before\n{text}\nafter")), [text]);
    }
    assert!(found_in("nothing of the kind\n").is_empty());
}

/// A request with a word in every header that may carry a secret.
fn with_secrets(request: Request) -> Request {
    request
        .header("authorization", format!("Bearer {}", word("token")))
        .header("cookie", format!("session={}", word("cookie")))
        .header("s2-encryption-key", base64(word("key-of-stream").as_bytes()))
        .header("proxy-authorization", word("proxy"))
        .header("x-unknown", word("header"))
}

fn send(client: &Client, protocol: Protocol, request: Request) -> u16 {
    Exchange::start(client, protocol, with_secrets(request)).whole().status
}

/// Every route, well and badly.
fn through_every_route(client: &Client, protocol: Protocol) {
    let body = word("body");
    let json_body = json!({ "records": [{ "body": body, "headers": [["name", word("value")]] }] });
    let records = records_path("s");
    let post = |target: &str, body: &serde_json::Value| Request::post(target, body);
    let fenced = json!({ "records": [{ "body": "x" }], "fencing_token": word("fence") });
    let requests = [
        post(&records, &json_body),
        post(&records, &fenced),
        post(&records, &json!({ "records": body })),
        post(&records, &json!({ "records": [{ "body": body, "unknown": body }] })),
        Request::new("POST", &records).header("content-type", "application/json").bytes(&*body),
        Request::new("POST", &records).header("content-type", "application/protobuf").bytes(&*body),
        Request::new("POST", &records)
            .header("content-type", "application/json")
            .header("content-encoding", "zstd")
            .bytes(&*body),
        post(&records, &json_body).header("s2-format", &*body),
        Request::get(&format!("{records}?seq_num=0")),
        Request::get(&format!("{records}?seq_num={body}&access_token={body}")),
        Request::get(&format!("{records}/tail?token={body}")),
        post("/v1/basins", &json!({ "basin": "other-basin", "secret": body })),
        post("/v1/basins", &json!({ "basin": "other-basin" })).header("s2-request-token", &*body),
        post("/v1/streams", &json!({ "stream": "t", "config": { "storage_class": body } })),
        Request::new("PATCH", &stream_path("s")).json(&json!({ "retention_policy": body })),
        Request::new("PUT", &stream_path("u")).json(&json!({ "secret": body })),
        Request::get("/v1/basins").header("s2-basin", &*body),
        Request::get("/v1/access-tokens"),
        post("/v1/access-tokens", &json!({ "id": "a", "scope": { "secret": body } })),
        Request::new("DELETE", "/v1/access-tokens/a"),
        Request::get(&format!("/v1/metrics?set={body}")),
        Request::get("/metrics"),
        Request::get("/health"),
        Request::get(&format!("/{body}")),
        Request::new("BREW", &format!("/{body}")),
        Request::new("OPTIONS", "/v1/basins").header("origin", &*body),
    ];
    let statuses: Vec<u16> =
        requests.into_iter().map(|request| send(client, protocol, request)).collect();
    assert!(statuses.contains(&200) && statuses.contains(&400), "{statuses:?}");
    assert!(statuses.contains(&401), "the token for metrics was another: {statuses:?}");
}

/// Sessions that work, and sessions that break.
fn through_sessions(client: &Client, protocol: Protocol) {
    let open = |request: Request| {
        Session::open(Exchange::start_open(client, protocol, with_secrets(request)))
    };
    let record = AppendRecord::of(word("body")).header("name", word("value").as_bytes());
    let mut session = open(append_request("s"));
    session.push(&AppendInput::of(vec![record.clone()]));
    session.ack();
    session.push_bytes(&frame(0, word("no message").as_bytes()));
    session.terminal();
    let mut session = open(append_request("s"));
    session.push(&AppendInput::of(vec![record]).fenced(&word("fence")));
    assert_eq!(session.terminal().0, 412);
    let query = "seq_num=0&count=2";
    let read = with_secrets(read_request("s", query));
    let batches = Session::open(Exchange::start(client, protocol, read)).all_batches();
    let holds = |body: &[u8]| body.windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes());
    let mut bodies = batches.iter().flat_map(|batch| &batch.records);
    assert!(bodies.any(|record| holds(&record.body)), "the words are stored and come back");
    let events = with_secrets(sse_request("s", query));
    Exchange::start(client, protocol, events).whole().status(200);
    let missing = with_secrets(append_request("missing"));
    Exchange::start(client, protocol, missing).whole().status(404);
}

/// Bytes that are no HTTP, or that break off.
fn through_broken_heads(host: &str) {
    let secret = word("head");
    let long = format!("{secret}{}", "x".repeat(100_000));
    for head in [
        format!("GET /{secret}"),
        format!("GET /{secret} HTTP/9.9\r\n\r\n"),
        format!("{secret}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nauthorization {secret}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nauthorization\u{1}: {secret}\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\nhost: x\r\nauthorization: {secret}\r\ncontent-length: {secret}\r\n\r\n"
        ),
        format!("GET / HTTP/1.1\r\nhost: x\r\nauthorization: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{secret}\r\n"),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{secret}{secret}"),
        format!("\u{16}\u{3}\u{1}{secret}"),
    ] {
        let mut conn = Conn::open(host);
        // The server may have had enough before it took everything.
        let _taken = conn.write(head.as_bytes());
        let _closed = conn.writer().shutdown(std::net::Shutdown::Write);
        let _answered = conn.read_response("GET");
    }
    // Headers that HTTP/2 forbids, a block that breaks off in the middle of one, and a path that is
    // none, which `h2` prints at `debug`.
    let odd = format!("/{secret} {secret}");
    for (path, cut) in [("/health", 0), ("/health", 5), (&odd, 0)] {
        let mut block = Vec::new();
        for (name, value) in [(":method", "GET"), (":path", path), (":scheme", "http")] {
            push_literal(&mut block, name, value);
        }
        push_literal(&mut block, "authorization", &secret);
        if path != odd {
            push_literal(&mut block, "connection", &secret);
        }
        block.truncate(block.len() - cut);
        let mut raw = RawHttp2::open(host, &[]);
        // The connection may end at once.
        let _taken = raw.send(HEADERS, 5, 1, &block);
        while let Ok(Some(_)) = raw.next_within(ANSWER_WAIT) {}
    }
}

struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        // A failure to clean up must not hide what the test found.
        let _removed = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn no_secret_and_no_record_is_written_to_any_log() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("silence"));
    fs::create_dir(&dir).expect("a directory");
    let files = Files(dir);
    let token = files.0.join("token");
    fs::write(&token, word("scrape-token")).expect("a file");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("its mode");
    let leak =
        |path: &Path| &*Box::leak(path.to_str().expect("a plain path").to_owned().into_boxed_str());
    let audit = files.0.join("audit.jsonl");
    let settings = [
        ("THALWEG_LOG", "trace"),
        ("THALWEG_AUDIT_LOG", leak(&audit)),
        ("THALWEG_METRICS_TOKEN_FILE", leak(&token)),
    ];
    let Some(mut server) = Server::start_with(2, &settings) else { return };
    let mut client = server.client();
    client.post("/v1/basins", &json!({ "basin": "marked-basin" })).status(201);
    let mut client = client.in_basin("marked-basin");
    client.create_stream("s");
    for protocol in Protocol::BOTH {
        through_every_route(&client, protocol);
        through_sessions(&client, protocol);
    }
    through_broken_heads(server.host());
    server.kill();
    server.restart();
    server.client().in_basin("marked-basin").read("s", "seq_num=0").status(200);
    server.terminate();
    let said = server.said();
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "it was verbose: {said}");
    let audited = fs::read_to_string(&audit).expect("the audit log");
    assert!(audited.contains("marked-basin") && audited.contains("authn"), "{audited}");
    let found = [found_in(&said), found_in(&audited)].concat();
    assert!(found.is_empty(), "{} lines hold a secret, such as {}", found.len(), found[0]);
}
