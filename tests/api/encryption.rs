//! What encryption leaves on the disk and in the log file: nothing that tells a record or a key.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::common::client::{Client, batch, fresh_basin_on, records_path};
use crate::common::http::Request;
use crate::common::keys::{CIPHERS, KEY, OTHER_KEY, with_key};
use crate::common::s2s::{AppendInput, AppendRecord};
use crate::common::server::Server;

/// What no file may hold: no shorter than anything that could be there by chance.
const SECRET: &str = "the-plain-record-of-this-test";
/// What a frame begins with.
const FRAME_MAGIC: &[u8] = b"TWF1";
const SECRET_NAME: &str = "the-plain-header-of-this-test";

fn append(client: &mut Client, key: &str, body: &str) {
    let record = json!({ "body": body, "headers": [[SECRET_NAME, body]] });
    let request = Request::post(&records_path("s"), &json!({ "records": [record] }));
    client.send(with_key(request, key)).status(200);
}

/// All files below a directory.
fn files_below(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push((path.display().to_string(), std::fs::read(&path).expect("a file")));
        }
    }
    files
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(bytes, text).is_some()
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

/// The seeds of all encrypted batches, found as `docs/FORMAT.md` says.
fn seeds(segment: &[u8]) -> Vec<[u8; 32]> {
    let mut found = Vec::new();
    let mut at = 4096;
    while at + 64 <= segment.len() {
        if &segment[at..at + 4] != FRAME_MAGIC {
            at += 4096;
            continue;
        }
        let payload_bytes = u32_at(segment, at + 44);
        let payload = &segment[at + 64..at + 64 + payload_bytes];
        let mut entry = 0;
        while entry < payload.len() {
            if payload[entry + 4] == 1 && payload[entry + 5] != 0 {
                found.push(payload[entry + 44..entry + 76].try_into().expect("32 bytes"));
            }
            entry += 4 + u32_at(payload, entry);
        }
        at += (64 + payload_bytes).next_multiple_of(4096);
    }
    found
}

#[test]
fn neither_disk_nor_log_tells_a_record_or_a_key() {
    for cipher in CIPHERS {
        let settings = [("THALWEG_LOG", "trace"), ("THALWEG_CHECKPOINT_BYTES", "1048576")];
        let Some(mut server) = Server::start_with(2, &settings) else { return };
        let mut client = fresh_basin_on(&server, &json!({ "stream_cipher": cipher }));
        let basin = client.basin().to_owned();
        client.create_stream("s");
        let mut appended = 0;
        for life in 0..3 {
            for key in [KEY, OTHER_KEY] {
                // The same again and again: only the seeds differ.
                for _ in 0..20 {
                    append(&mut client, key, SECRET);
                    appended += 1;
                }
            }
            let wrong = Request::get(&format!("{}?seq_num=0", records_path("s")));
            client.send(with_key(wrong, OTHER_KEY)).refused(400, "decryption_failed");
            if life < 2 {
                server.kill();
                server.restart();
                client = server.client().in_basin(&basin);
            }
        }
        http2_and_sessions(&client);
        let one = Request::get(&format!("{}?seq_num=0&count=1", records_path("s")));
        let read = client.send(with_key(one, KEY)).records();
        assert_eq!(read[0]["body"], SECRET);
        server.terminate();
        let (status, said) = server.verify();
        assert!(status.success(), "{said}");
        assert!(!said.contains(SECRET) && !said.contains(KEY), "{said}");

        let inspected = Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(["inspect".as_ref(), server.data_dir().as_os_str()])
            .output()
            .expect("the binary can be run");
        let shown = String::from_utf8_lossy(&inspected.stdout).into_owned();
        assert!(inspected.status.success(), "{shown}");
        assert!(shown.contains(&format!("{basin}/s ({cipher})")), "{shown}");

        let files = files_below(server.data_dir().parent().expect("it has one"));
        let text = |name: &str| files.iter().any(|(path, _)| path.ends_with(name));
        assert!(text("stderr") && text("directory.json"), "the log and the data are looked at");
        let log = files.iter().find(|(path, _)| path.ends_with("stderr")).expect("seen above");
        assert!(holds(&log.1, b"DEBUG"), "the log says more than usual");
        let decoded = [[7; 32], [8; 32]];
        for (path, bytes) in &files {
            for secret in [SECRET, SECRET_NAME, KEY, OTHER_KEY] {
                assert!(!holds(bytes, secret.as_bytes()), "{path} holds {secret}");
            }
            for key in decoded {
                assert!(!holds(bytes, &key), "{path} holds a key");
            }
            assert!(!holds(bytes, b"7, 7, 7, 7, 7"), "{path} shows a key");
        }
        let segments = files.iter().filter(|(path, _)| path.ends_with(".log"));
        let seeds: Vec<_> = segments.flat_map(|(_, bytes)| seeds(bytes)).collect();
        assert!(seeds.len() >= appended, "{} seeds of {appended} batches", seeds.len());
        let different: BTreeSet<_> = seeds.iter().map(|seed| &seed[..30]).collect();
        assert_eq!(different.len(), seeds.len(), "a seed was used twice");
    }
}

/// Keys and records over HTTP/2 and in sessions, whose libraries log too.
fn http2_and_sessions(client: &Client) {
    use crate::common::duplex::{Exchange, Protocol};
    use crate::common::session::{Session, append_request};
    for protocol in Protocol::BOTH {
        let unary = Request::post(&records_path("s"), &batch(&[SECRET]));
        Exchange::start(client, protocol, with_key(unary, KEY)).whole().status(200);
        let request = with_key(append_request("s"), KEY);
        let mut session = Session::open(Exchange::start_open(client, protocol, request));
        let record = AppendRecord::of(SECRET).header(SECRET_NAME, b"x");
        session.push(&AppendInput::of(vec![record]));
        session.finish();
        session.ack();
        session.end();
        // A header that is refused is not quoted either.
        let long = Request::get(&format!("{}?seq_num=0", records_path("s")));
        let long = with_key(long, &format!("{KEY}{KEY}"));
        Exchange::start(client, protocol, long).whole().refused(400, "bad_header");
    }
}

#[test]
fn encrypted_streams_live_through_restarts_and_moves() {
    let Some(mut server) = Server::start_with(1, &[("THALWEG_CHECKPOINT_BYTES", "1048576")]) else {
        return;
    };
    for cipher in CIPHERS {
        let mut client = fresh_basin_on(&server, &json!({ "stream_cipher": cipher }));
        let basin = client.basin().to_owned();
        client.create_stream("s");
        append(&mut client, KEY, "first");
        // Other streams come and go until the first segment holds little but this record.
        client.create_stream("filler");
        let body = "x".repeat(1_000_000);
        for _ in 0..30 {
            let fill = Request::post(&records_path("filler"), &batch(&[&body]));
            client.send(with_key(fill, KEY)).status(200);
        }
        let trim = json!({ "headers": [["", "trim"]], "body": "\u{7f}".repeat(8) });
        let trim = Request::post(&records_path("filler"), &json!({ "records": [trim] }));
        client.send(with_key(trim, KEY)).status(200);
        let recycled = || (client.metric("thalweg_segments_recycled_total") >= 1).then_some(());
        crate::common::poll(crate::common::EVENTUALLY_WAIT, recycled).expect("space is won");
        for _ in 0..2 {
            server.kill();
            server.restart();
            let mut client = server.client().in_basin(&basin);
            let read = Request::get(&format!("{}?seq_num=0", records_path("s")));
            client.send(read.clone()).refused(400, "bad_header");
            let records = client.send(with_key(read, KEY)).records();
            assert_eq!(records[0]["body"], "first");
            assert_eq!(records[0]["headers"], json!([[SECRET_NAME, "first"]]));
        }
    }
}
