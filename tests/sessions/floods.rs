//! Peers that send frames of HTTP/2 that bring nothing forward: too many end their connection, and
//! as many as an honest client needs do not.

use std::time::Duration;

use crate::common::client::{batch, fresh_basin, records_path};
use crate::common::frames::{DATA, END_STREAM, GOAWAY, PING, RawHttp2, SETTINGS, encode_frame};
use crate::common::http::Request;
use crate::common::http2::Http2;
use crate::common::{EVENTUALLY_WAIT, poll};

const WINDOW_UPDATE: u8 = 8;
const PRIORITY: u8 = 2;
const UNKNOWN: u8 = 99;
const ENHANCE_YOUR_CALM: u32 = 11;

fn window_update(stream: u32) -> Vec<u8> {
    encode_frame(WINDOW_UPDATE, 0, stream, &1u32.to_be_bytes())
}

/// Sends `chunk` again and again; gives the code of the GOAWAY that ends the connection. What
/// comes is read, or else the socket would stop us and not the server.
fn told_to_go(raw: &mut RawHttp2, chunk: &[u8]) -> Option<u32> {
    const ROUNDS_MAX: usize = 1_000;
    let mut open = true;
    for _ in 0..ROUNDS_MAX {
        open = open && raw.write(chunk).is_ok();
        loop {
            match raw.next_within(Duration::from_millis(if open { 1 } else { 1_000 })) {
                Ok(Some(frame)) if frame.kind == GOAWAY => return Some(frame.code()),
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(_) if open => break,
                Err(error) => panic!("neither GOAWAY nor end: {error}"),
            }
        }
    }
    panic!("{ROUNDS_MAX} floods of {} bytes are taken", chunk.len());
}

#[test]
fn floods_of_control_frames_are_told_to_calm_down() {
    let client = fresh_basin();
    let floods = [
        ("PING", encode_frame(PING, 0, 0, b"12345678")),
        ("SETTINGS", encode_frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("empty SETTINGS", encode_frame(SETTINGS, 0, 0, &[])),
        ("window updates", window_update(0)),
        ("PRIORITY", encode_frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 9])),
        ("frames of an unknown kind", encode_frame(UNKNOWN, 0, 0, b"?")),
    ];
    let mut told = 0;
    for (name, frame) in &floods {
        let mut raw = RawHttp2::open(client.host(), &[]);
        match told_to_go(&mut raw, &frame.repeat(1_000)) {
            Some(code) => {
                assert_eq!(code, ENHANCE_YOUR_CALM, "{name}");
                told += 1;
            }
            // A reset may overtake what was said.
            None => eprintln!("{name}: closed without a GOAWAY"),
        }
        Http2::open(client.host()).send(&Request::get("/health")).status(200);
    }
    assert!(told > 0, "nobody was told why");
}

/// A stream that stays open and gets no answer is no excuse.
#[test]
fn an_open_session_does_not_pay_for_a_flood() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let mut raw = RawHttp2::open(client.host(), &[]);
    let headers = [("s2-basin", client.basin()), ("content-type", "s2s/proto")];
    let head = raw.request(1, 0, "POST", &records_path("s"), &headers);
    raw.write(&head).expect("it is taken");
    let flood = [window_update(0), window_update(1)].concat().repeat(500);
    let code = told_to_go(&mut raw, &flood);
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{code:?}");
    client.append_bodies("s", &["served"]);
}

/// A client that gives back every window at once and pings for each answer, as some do, is served
/// for as long as it likes: far more frames than time alone brings.
#[test]
fn a_client_that_is_answered_may_send_many_control_frames() {
    const ROUNDS: u32 = 60;
    const REQUESTS: u32 = 100;
    let client = fresh_basin();
    let mut raw = RawHttp2::open(client.host(), &[]);
    for round in 0..ROUNDS {
        let mut bytes = Vec::new();
        for index in 0..REQUESTS {
            let stream = 2 * (REQUESTS * round + index) + 1;
            bytes.extend(raw.request(stream, END_STREAM, "GET", "/health", &[]));
            bytes.extend(window_update(0));
            bytes.extend(window_update(0));
            bytes.extend(encode_frame(PING, 0, 0, b"12345678"));
        }
        raw.write(&bytes).expect("they are taken");
        let (mut ended, mut pongs) = (0, 0);
        while ended < REQUESTS || pongs < REQUESTS {
            let frame = raw.next();
            let frame = frame.unwrap_or_else(|| panic!("the connection ends in round {round}"));
            assert_ne!(frame.kind, GOAWAY, "in round {round}");
            ended += u32::from(frame.ends_stream());
            pongs += u32::from(frame.kind == PING);
        }
    }
}

/// A client that gives both windows back for every few KiB that it reads, as some do, however large
/// the frames are that it takes, reads for as long as it likes.
#[test]
fn a_reader_that_gives_windows_back_in_small_pieces_is_served_to_the_end() {
    const RECORDS: usize = 33;
    const RECORD_BYTES: usize = 1_000_000;
    const READ_BYTES: usize = 4 * 1024;
    const INITIAL_WINDOW_SIZE: u16 = 4;
    const MAX_FRAME_SIZE: u16 = 5;
    let mut client = fresh_basin();
    client.create_stream("s");
    let body = "x".repeat(RECORD_BYTES);
    for _ in 0..RECORDS {
        // Where other tests append as well, it may have to come again.
        let appended = poll(EVENTUALLY_WAIT, || {
            (client.append("s", &batch(&[&body])).status == 200).then_some(())
        });
        assert!(appended.is_some(), "an append is taken at last");
    }
    let settings = [(INITIAL_WINDOW_SIZE, 4 << 20), (MAX_FRAME_SIZE, (1 << 24) - 1)];
    let mut raw = RawHttp2::open(client.host(), &settings);
    raw.send(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes()).expect("it is taken");
    let headers = [("s2-basin", client.basin()), ("content-type", "s2s/proto")];
    let path = format!("{}?seq_num=0&count={RECORDS}", records_path("s"));
    let head = raw.request(1, END_STREAM, "GET", &path, &headers);
    raw.write(&head).expect("it is taken");
    let more = u32::try_from(READ_BYTES).expect("a few KiB").to_be_bytes();
    let both = [0, 1].map(|stream| encode_frame(WINDOW_UPDATE, 0, stream, &more)).concat();
    let (mut received, mut given_back) = (0, 0);
    loop {
        let frame = raw.next().unwrap_or_else(|| panic!("the end after {received} bytes"));
        assert_ne!(frame.kind, GOAWAY, "code {} after {received} bytes", frame.code());
        if frame.kind == DATA {
            received += frame.payload.len();
            let pieces = (received - given_back) / READ_BYTES;
            raw.write(&both.repeat(pieces)).expect("they are taken");
            given_back += pieces * READ_BYTES;
        }
        if frame.ends_stream() {
            break;
        }
    }
    assert!(received > RECORDS * RECORD_BYTES, "{received} bytes are not all");
}

/// Byte by byte is slow, and allowed.
#[test]
fn a_body_byte_by_byte_is_taken() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let mut raw = RawHttp2::open(client.host(), &[]);
    let headers = [("s2-basin", client.basin()), ("content-type", "application/json")];
    let body = format!(r#"{{"records":[{{"body":"{}"}}]}}"#, "x".repeat(20_000));
    let mut bytes = raw.request(1, 0, "POST", &records_path("s"), &headers);
    for byte in body.as_bytes() {
        bytes.extend(encode_frame(DATA, 0, 1, &[*byte]));
    }
    bytes.extend(encode_frame(DATA, END_STREAM, 1, &[]));
    raw.write(&bytes).expect("it is taken");
    let ended = raw.find(|frame| frame.stream == 1 && frame.ends_stream() || frame.kind == GOAWAY);
    assert!(ended.is_some_and(|frame| frame.kind != GOAWAY), "it is answered");
    assert_eq!(client.read_bodies("s", "seq_num=0").len(), 1);
}
