//! Append sessions that fail: everything before the failure is acknowledged, then comes one
//! terminal frame, and nothing behind the failure is applied.

use std::time::Duration;

use prost::Message as _;
use serde_json::{Value, json};

use crate::common::Stopwatch;
use crate::common::duplex::{Exchange, Protocol};
use crate::common::frames::{
    DATA, GOAWAY, HEADERS, Http2Frame, RST_STREAM, RawHttp2, encode_frame,
};
use crate::common::http::Request;
use crate::common::s2s::{
    AppendInput, AppendRecord, FRAME_BYTES_MAX, GZIP, TERMINAL, ZSTD, frame, gzip_of, zstd_of,
};
use crate::common::session::{Session, append_request};
use crate::{both_ways, everywhere};

#[test]
fn case_61_the_first_failed_condition_is_the_last_answer() {
    everywhere(|client, protocol, stream| {
        let mut session = Session::append(client, protocol, stream);
        let batch = |seq_num| AppendInput::one("x").matching(seq_num).frame();
        session.push_bytes(&[batch(0), batch(0), batch(1)].concat());
        session.acks(0, 1);
        assert_eq!(session.terminal(), (412, json!({ "seq_num_mismatch": 1 })));
        assert_eq!(client.tail_seq_num(stream), 1);
    });
}

#[test]
fn case_62_what_is_wrong_beforehand_is_a_plain_answer() {
    both_ways(|client, protocol, stream| {
        let post = |request: Request| Exchange::start_open(client, protocol, request).whole();
        post(append_request("missing")).refused(404, "stream_not_found");
        post(append_request("")).refused(400, "bad_path");
        post(append_request(stream).header("s2-basin", "missing-basin"))
            .refused(404, "basin_not_found");
        post(append_request(stream).header("s2-basin", "x")).refused(400, "bad_header");
        let refused = post(append_request(stream).header("content-encoding", "br"));
        refused.status(415);
        assert_eq!(refused.header("accept-encoding"), Some("zstd,gzip"), "{refused}");
        post(append_request(stream).header("s2-encryption-key", "x".repeat(45)))
            .refused(400, "bad_header");
        assert_eq!(client.tail_seq_num(stream), 0);
    });
}

/// Frames that end a session, and how.
fn refused_frames() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let plain = AppendInput::one("x".repeat(5000)).encode_to_vec();
    let of = |records: Vec<AppendRecord>| AppendInput::of(records).frame();
    let command = |name: &[u8], body: Vec<u8>| of(vec![AppendRecord::of(body).header("", name)]);
    let mut bomb = Vec::new();
    for _ in 0..3 {
        bomb.extend_from_slice(&AppendInput::one(vec![0; 1_000_000]).encode_to_vec());
    }
    let bad = "bad_frame";
    let invalid = "invalid";
    vec![
        ("longer than 2 MiB", vec![0x20, 0, 1, 0], 400, bad),
        ("the longest length", vec![0xFF, 0xFF, 0xFF, 0], 400, bad),
        ("length 0", vec![0, 0, 0, 0], 400, bad),
        ("an unknown compression", frame(0x60, &plain), 400, bad),
        ("garbage", frame(0, &[0x0A, 0xFF, 0xFF]), 400, bad),
        ("a wire type that does not exist", frame(0, &[0x0F, 0]), 400, bad),
        ("a terminal frame", frame(TERMINAL, &plain), 400, bad),
        ("a terminal frame with an error", frame(TERMINAL, b"\x01\x90{}"), 400, bad),
        ("broken zstd", frame(ZSTD, &plain), 400, bad),
        ("broken gzip", frame(GZIP, &plain), 400, bad),
        ("half of zstd", frame(ZSTD, &zstd_of(&plain)[..20]), 400, bad),
        ("half of gzip", frame(GZIP, &gzip_of(&plain)[..20]), 400, bad),
        ("a bomb of zstd", frame(ZSTD, &zstd_of(&bomb)), 400, bad),
        ("a bomb of gzip", frame(GZIP, &gzip_of(&bomb)), 400, bad),
        ("no records", frame(0, &[]), 422, invalid),
        ("no records but a condition", AppendInput::default().matching(0).frame(), 422, invalid),
        ("1001 records", of(vec![AppendRecord::default(); 1001]), 422, invalid),
        ("a record beyond 1 MiB", of(vec![AppendRecord::of(vec![0; 1_048_569])]), 422, invalid),
        ("a batch beyond 1 MiB", of(vec![AppendRecord::of(vec![0; 530_000]); 2]), 422, invalid),
        (
            "an empty header name",
            of(vec![AppendRecord::of("").header("", b"").header("x", b"y")]),
            422,
            invalid,
        ),
        ("an unknown command", command(b"nope", Vec::new()), 422, invalid),
        ("a trim of 7 bytes", command(b"trim", vec![0; 7]), 422, invalid),
        ("a fence of 37 bytes", command(b"fence", vec![b'x'; 37]), 422, invalid),
        (
            "a token of 37 bytes",
            AppendInput::one("x").fenced(&"x".repeat(37)).frame(),
            422,
            invalid,
        ),
    ]
}

#[test]
fn cases_63_and_64_a_refused_frame_is_the_last_that_counts() {
    for (index, (name, frame, status, code)) in refused_frames().into_iter().enumerate() {
        both_ways(|client, protocol, _| {
            // Alone, and between good ones; on streams of both cores.
            for before in [0, 3] {
                let stream = format!("{index} {before}");
                eprintln!("{name}, behind {before} batches");
                client.create_stream(&stream);
                let mut session = Session::append(client, protocol, &stream);
                let good = AppendInput::one("good").frame();
                let mut bytes = good.repeat(usize::try_from(before).expect("small"));
                bytes.extend_from_slice(&frame);
                bytes.extend_from_slice(&good);
                session.push_bytes(&bytes);
                session.acks(0, before);
                session.refused(status, code);
                assert_eq!(client.tail_seq_num(&stream), before, "{name}");
            }
        });
    }
}

#[test]
fn the_longest_frame_is_taken_and_one_byte_more_is_not() {
    both_ways(|client, protocol, stream| {
        // An unknown field fills the message up; it is skipped.
        let mut message = AppendInput::one("x").encode_to_vec();
        let rest = FRAME_BYTES_MAX - 1 - message.len() - 4;
        message.extend_from_slice(&[0x7A]);
        prost::encoding::encode_varint(rest as u64, &mut message);
        message.resize(FRAME_BYTES_MAX - 1, 0);
        assert_eq!(message.len(), FRAME_BYTES_MAX - 1);
        let mut session = Session::append(client, protocol, stream);
        session.push_bytes(&frame(0, &message));
        session.acks(0, 1);
        message.push(0);
        session.push_bytes(&frame(0, &message));
        session.refused(400, "bad_frame");
    });
}

#[test]
fn a_frame_cut_off_by_the_end_is_refused_behind_what_was_whole() {
    let good = AppendInput::one("good").frame();
    for kept in 1..good.len() {
        both_ways(|client, protocol, stream| {
            let mut session = Session::append(client, protocol, stream);
            session.push_bytes(&[good.as_slice(), &good[..kept]].concat());
            session.finish();
            session.acks(0, 1);
            session.refused(400, "bad_frame");
            assert_eq!(client.tail_seq_num(stream), 1, "{kept} bytes of a frame");
        });
    }
}

#[test]
fn a_missing_timestamp_ends_a_session_of_a_stream_that_requires_them() {
    both_ways(|client, protocol, _| {
        client.create_stream_with("ts", &json!({ "timestamping": { "mode": "client-require" } }));
        let mut session = Session::append(client, protocol, "ts");
        let with = AppendRecord::of("with").at(1000);
        session.push(&AppendInput::of(vec![with.clone()]));
        session.push(&AppendInput::of(vec![with, AppendRecord::of("without")]));
        let ack = session.ack();
        assert_eq!(ack.start.map(|start| start.timestamp), Some(1000));
        session.refused(422, "invalid");
        assert_eq!(client.tail_seq_num("ts"), 1);
    });
}

/// The terminal frame must reach a client that goes on writing for a while.
#[test]
fn a_client_that_goes_on_writing_still_reads_why_it_failed() {
    everywhere(|client, protocol, stream| {
        let mut session = Session::append(client, protocol, stream);
        session.push(&AppendInput::one("x").matching(7));
        let large = AppendInput::one(vec![0; 500_000]).frame();
        for _ in 0..8 {
            session.push_bytes(&large);
        }
        let (status, body) = session.terminal();
        assert_eq!((status, body), (412, json!({ "seq_num_mismatch": 0 })));
        let head = session.head.clone();
        session.exchange.expect_closed(&head);
        assert_eq!(client.tail_seq_num(stream), 0);
    });
}

/// A failure poisons its own session only.
#[test]
fn another_session_does_not_notice_a_failure() {
    everywhere(|client, protocol, stream| {
        let mut good = Session::append(client, protocol, stream);
        let mut bad = Session::append(client, protocol, stream);
        good.push(&AppendInput::one("a"));
        good.acks(0, 1);
        bad.push_bytes(&[0, 0, 0, 0]);
        bad.refused(400, "bad_frame");
        good.push(&AppendInput::one("b"));
        good.acks(1, 2);
        good.finish();
        good.end();
    });
}

#[test]
fn case_73_deletion_ends_an_idle_and_a_busy_session() {
    everywhere(|client, protocol, stream| {
        let mut idle = Session::append(client, protocol, stream);
        let mut busy = Session::append(client, protocol, stream);
        busy.push(&AppendInput::one("x"));
        busy.acks(0, 1);
        client.delete(&crate::common::client::stream_path(stream)).status(202);
        busy.push(&AppendInput::one("too late"));
        busy.refused(409, "stream_deletion_pending");
        idle.refused(409, "stream_deletion_pending");
    });
}

/// Frames of one stream until it ends or is reset, and what follows shortly.
fn frames_of(raw: &mut RawHttp2, stream: u32) -> Vec<Http2Frame> {
    let mut frames = Vec::new();
    let mut wait = Duration::from_secs(20);
    while let Ok(Some(frame)) = raw.next_within(wait) {
        assert_ne!(frame.kind, GOAWAY, "the connection goes on: {frame:?}");
        if frame.stream == stream && matches!(frame.kind, DATA | HEADERS | RST_STREAM) {
            if frame.ends_stream() {
                wait = Duration::from_millis(2000);
            }
            if frame.kind == RST_STREAM {
                wait = Duration::from_millis(100);
            }
            frames.push(frame);
        }
    }
    frames
}

#[test]
fn http2_ends_the_answer_before_it_resets_the_request_without_an_error() {
    let mut client = crate::common::client::fresh_basin();
    for stream in crate::STREAMS {
        client.create_stream(stream);
        let mut raw = RawHttp2::open(client.host(), &[]);
        let path = crate::common::client::records_path(stream);
        let headers = [("s2-basin", client.basin()), ("content-type", "s2s/proto")];
        let head = raw.request(1, 0, "POST", &path, &headers);
        let batch = AppendInput::one("x").matching(3).frame();
        let since_sent = Stopwatch::start();
        raw.write(&[head, encode_frame(DATA, 0, 1, &batch)].concat()).expect("it is taken");
        let frames = frames_of(&mut raw, 1);
        // A client that is still sending has time to read why it ended.
        assert!(since_sent.elapsed() >= Duration::from_millis(500), "reset at once: {frames:?}");
        let ends: Vec<usize> = (0..frames.len()).filter(|at| frames[*at].ends_stream()).collect();
        let resets: Vec<usize> =
            (0..frames.len()).filter(|at| frames[*at].kind == RST_STREAM).collect();
        assert_eq!(ends.len(), 1, "END_STREAM once: {frames:?}");
        assert_eq!(resets.len(), 1, "one RST_STREAM: {frames:?}");
        assert!(ends[0] < resets[0], "END_STREAM comes first: {frames:?}");
        assert_eq!(frames[resets[0]].code(), 0, "NO_ERROR: {frames:?}");
        // The connection is as good as before.
        let head = raw.request(3, 1, "GET", "/health", &[]);
        raw.write(&head).expect("it is taken");
        let ended = raw.find(|frame| frame.stream == 3 && frame.ends_stream());
        assert!(ended.is_some(), "the next request is answered");
    }
}

/// TypeScript parses the first piece of a refusal alone.
#[test]
fn http2_refusals_of_sessions_are_one_data_frame() {
    let mut client = crate::common::client::fresh_basin();
    client.create_stream("s");
    let mut raw = RawHttp2::open(client.host(), &[]);
    let requests = [
        ("POST", "/v1/streams/missing/records", 0),
        ("GET", "/v1/streams/missing/records?seq_num=0", 1),
        ("GET", "/v1/streams/s/records?seq_num=9", 1),
    ];
    for (number, (method, path, flags)) in (0..).map(|at| 2 * at + 1).zip(requests) {
        let headers = [("s2-basin", client.basin()), ("content-type", "s2s/proto")];
        let head = raw.request(number, flags, method, path, &headers);
        raw.write(&head).expect("it is taken");
        let frames = frames_of(&mut raw, number);
        let data: Vec<_> =
            frames.iter().filter(|f| !f.payload.is_empty() && f.kind == DATA).collect();
        assert_eq!(data.len(), 1, "{method} {path}: {frames:?}");
        let body: Value = serde_json::from_slice(&data[0].payload).expect("JSON");
        assert!(body.is_object(), "{body}");
        let reset = frames.iter().find(|frame| frame.kind == RST_STREAM);
        assert!(reset.is_none_or(|reset| reset.code() == 0), "{method} {path}: {frames:?}");
    }
}

#[test]
fn a_session_of_the_other_protocol_is_not_disturbed_by_a_client_that_resets() {
    let mut client = crate::common::client::fresh_basin();
    client.create_stream("s");
    let conn = crate::common::http2::Http2::open(client.host());
    let request = client.scoped(append_request("s"));
    let mut doomed = conn.start_open(&request);
    let mut session = Session::append(&client, Protocol::Http1, "s");
    doomed.send(&AppendInput::one("kept or not").frame());
    doomed.reset(h2::Reason::CANCEL);
    session.push(&AppendInput::one("kept"));
    session.ack();
    session.finish();
    session.end();
    let bodies = client.read_bodies("s", "seq_num=0");
    assert!(bodies.contains(&"kept".to_owned()), "{bodies:?}");
}
