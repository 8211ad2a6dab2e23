//! What clients can make the server hold, together: beyond a bound they wait for each other, and
//! are told to come again when that takes too long. Small requests get through all the same.

use serde_json::json;

use crate::common::client::{Client, batch, fresh_basin_on, records_path};
use crate::common::duplex::Protocol;
use crate::common::frames::{DATA, HEADERS, PING, RawHttp2, encode_frame};
use crate::common::http::{Request, Response};
use crate::common::http2::Http2;
use crate::common::s2s::AppendInput;
use crate::common::server::Server;
use crate::common::session::Session;

/// The least that may be set: 32 MiB for each core.
const SETTINGS: [(&str, &str); 1] = [("THALWEG_REQUEST_MEMORY_BYTES", "33554432")];
const LARGE_BYTES: usize = 900_000;
/// More than two cores have memory for.
const UNFINISHED: usize = 100;

/// An append of a large batch to the stream `s`.
fn large_append(client: &Client) -> Request {
    large_append_to(client, "s")
}

fn large_append_to(client: &Client, stream: &str) -> Request {
    let large = batch(&[&"x".repeat(LARGE_BYTES)]);
    client.scoped(Request::post(&records_path(stream), &large))
}

/// Connections that send all of it but the last byte; returns when they hold all the memory there
/// is for them.
fn unfinished(client: &Client, whole: &[u8]) -> Vec<Client> {
    let open = || {
        let mut one = client.another();
        // Refused ones may be closed before all is sent.
        let _sent = one.conn().write(&whole[..whole.len() - 1]);
        one
    };
    let all = (0..UNFINISHED).map(|_| open()).collect();
    client.another().create_stream("probe");
    let probe = client.encode(&large_append_to(client, "probe"));
    let full = crate::common::poll(crate::common::EVENTUALLY_WAIT, || {
        let answer = client.another().exchange(&probe, "POST");
        let said = String::from_utf8_lossy(&answer.body);
        let is_full = answer.status == 429 && said.contains("too much is under way");
        is_full.then_some(())
    });
    full.expect("the memory is in use");
    all
}

#[track_caller]
fn refused_for_now(answer: &Response) {
    answer.refused(429, "rate_limited");
    let retry_after_ms = answer.header("retry-after-ms").and_then(|ms| ms.parse::<u64>().ok());
    assert!(retry_after_ms.is_some_and(|ms| ms > 0), "{answer}");
}

#[test]
fn bodies_that_do_not_end_leave_room_for_small_ones_and_none_for_large_ones() {
    let Some(server) = Server::start_with(2, &SETTINGS) else { return };
    let mut client = fresh_basin_on(&server, &json!({}));
    client.create_stream("s");
    let whole = client.encode(&large_append(&client));
    let unfinished = unfinished(&client, &whole);

    client.append_bodies("s", &["small"]);
    refused_for_now(&client.another().exchange(&whole, "POST"));
    assert_eq!(client.tail_seq_num("s"), 1, "what was refused changed nothing");

    drop(unfinished);
    let taken = crate::common::poll(crate::common::EVENTUALLY_WAIT, || {
        let answer = client.another().exchange(&whole, "POST");
        (answer.status == 200).then_some(())
    });
    assert!(taken.is_some(), "there is room again");
    assert_eq!(client.tail_seq_num("s"), 2);
}

/// The stream is answered, not reset, and its connection goes on.
#[test]
fn over_http2_too_a_body_without_room_is_refused_with_an_answer() {
    let Some(server) = Server::start_with(2, &SETTINGS) else { return };
    let mut client = fresh_basin_on(&server, &json!({}));
    client.create_stream("s");
    let request = large_append(&client);
    let unfinished = unfinished(&client, &client.encode(&request));

    let conn = Http2::open(client.host());
    refused_for_now(&conn.send(&request));
    let small = Request::post(&records_path("s"), &batch(&["small"]));
    conn.send(&client.scoped(small)).status(200);
    assert_eq!(client.tail_seq_num("s"), 1, "what was refused changed nothing");

    drop(unfinished);
    let taken = crate::common::poll(crate::common::EVENTUALLY_WAIT, || {
        (conn.send(&request).status == 200).then_some(())
    });
    assert!(taken.is_some(), "there is room again");
    assert_eq!(client.tail_seq_num("s"), 2);
}

/// The window of a connection is one for all its sessions: none may wait in it for ever.
#[test]
fn a_long_message_of_a_session_without_room_ends_it() {
    let Some(server) = Server::start_with(2, &SETTINGS) else { return };
    let mut client = fresh_basin_on(&server, &json!({}));
    client.create_stream("s");
    let unfinished = unfinished(&client, &client.encode(&large_append(&client)));

    let large = AppendInput::one("x".repeat(LARGE_BYTES));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut session = Session::append(&client, protocol, "s");
        session.push(&AppendInput::one("small"));
        session.ack();
        session.push(&large);
        session.refused(429, "rate_limited");
    }
    assert_eq!(client.tail_seq_num("s"), 2, "what was refused changed nothing");

    drop(unfinished);
    let taken = crate::common::poll(crate::common::EVENTUALLY_WAIT, || {
        let mut session = Session::append(&client, Protocol::Http2, "s");
        session.push(&large);
        (!session.frame().is_terminal()).then_some(())
    });
    assert!(taken.is_some(), "there is room again");
    assert_eq!(client.tail_seq_num("s"), 3);
}

/// Heads of HTTP/1.1 are counted as bodies are: they can be 64 KiB long, and need not end.
#[test]
fn heads_that_do_not_end_leave_room_for_others() {
    const HEADS: usize = 700;
    let Some(server) = Server::start_with(1, &SETTINGS) else { return };
    let mut client = fresh_basin_on(&server, &json!({}));
    client.create_stream("s");
    let mut head = format!("GET /health HTTP/1.1\r\nhost: {}\r\n", client.host());
    while head.len() < 60_000 {
        head.push_str(&format!("x-long: {}\r\n", "x".repeat(1_000)));
    }
    let before = client.metric("process_resident_memory_bytes");
    let mut open = Vec::new();
    for _ in 0..HEADS {
        let mut one = client.another();
        // Refused ones may be closed before all is sent.
        let _sent = one.conn().write(head.as_bytes());
        open.push(one);
    }
    let refused = crate::common::poll(crate::common::EVENTUALLY_WAIT, || {
        let answered = client.metric(r#"thalweg_refusals_total{code="rate_limited""#);
        (answered > 0).then_some(answered)
    });
    assert!(refused.is_some(), "some are refused");
    client.append_bodies("s", &["small"]);
    let growth = client.metric("process_resident_memory_bytes").saturating_sub(before);
    // 32 MiB of requests, and 16 KiB that each connection has beside it, twice while it grows.
    assert!(growth < 32 * 1024 * 1024 + HEADS as u64 * 40 * 1024, "{growth} bytes more");
    let last = open.last_mut().expect("some are open");
    last.conn().write(b"\r\n").ok();
    drop(open);
    client.another().get("/health").status(200);
}

/// A session that is open keeps less than what its body might have been.
#[test]
fn many_append_sessions_share_a_core() {
    const CONNECTIONS: usize = 7;
    const SESSIONS: u32 = 250;
    let Some(server) = Server::start_with(1, &SETTINGS) else { return };
    let mut client = fresh_basin_on(&server, &json!({}));
    client.create_stream("s");
    let basin = client.basin().to_owned();
    let path = records_path("s");
    let headers = [("s2-basin", &*basin), ("content-type", "s2s/proto")];
    // Answered with a head and no end when it is open, with a whole answer when it is refused.
    let open_one = |raw: &mut RawHttp2, stream: u32| {
        let head = raw.request(stream, 0, "POST", &path, &headers);
        raw.write(&head).expect("it is taken");
        let answer = raw.find(|frame| frame.stream == stream && frame.kind == HEADERS);
        assert!(answer.is_some(), "it is answered");
        let next = encode_frame(PING, 0, 0, b"anything");
        raw.write(&next).expect("it is taken");
        let next = raw.find(|frame| frame.kind == PING || frame.stream == stream);
        next.is_some_and(|frame| frame.kind == PING)
    };
    let mut open: Vec<RawHttp2> =
        (0..CONNECTIONS).map(|_| RawHttp2::open(client.host(), &[])).collect();
    let mut admitted = 0;
    for raw in &mut open {
        for at in 0..SESSIONS {
            admitted += usize::from(open_one(raw, 2 * at + 1));
        }
    }
    // 16 MiB of 12 KiB each, but for the last which needs 24 KiB to open, and four of each
    // connection beside them.
    assert_eq!(admitted, 1364 + 4 * CONNECTIONS);
    // One of those that are counted takes a message that is longer than what is free.
    let message = AppendInput::one("x".repeat(10_000)).frame();
    let raw = &mut open[0];
    let stream = 2 * SESSIONS - 1;
    for piece in message.chunks(8_000) {
        raw.send(DATA, 0, stream, piece).expect("it is taken");
    }
    let ack = raw.find(|frame| frame.stream == stream && frame.kind == DATA);
    assert!(ack.is_some(), "it is acknowledged");
    assert_eq!(client.tail_seq_num("s"), 1);
}

/// Requests that wait are counted beyond a few of each connection, whatever their number there.
#[test]
fn open_requests_of_http2_are_bounded_over_all_connections() {
    const CONNECTIONS: usize = 12;
    const READS: u32 = 250;
    let Some(server) = Server::start_with(1, &SETTINGS) else { return };
    let mut client = fresh_basin_on(&server, &json!({}));
    client.create_stream("s");
    let basin = client.basin().to_owned();
    let path = format!("{}?seq_num=0&wait=60", records_path("s"));
    let headers = [("s2-basin", &*basin)];
    let open_all = |raw: &mut RawHttp2| {
        let heads = (0..READS).flat_map(|at| raw.request(2 * at + 1, 1, "GET", &path, &headers));
        let heads = heads.collect::<Vec<_>>();
        raw.write(&heads).expect("they are taken");
        let mut refused = 0;
        // What waits says nothing.
        while let Ok(Some(frame)) = raw.next_within(std::time::Duration::from_millis(500)) {
            refused += usize::from(frame.kind == DATA && frame.ends_stream());
            if frame.kind == DATA {
                let text = String::from_utf8_lossy(&frame.payload);
                assert!(text.contains("rate_limited"), "{text}");
            }
        }
        refused
    };
    let mut open: Vec<RawHttp2> =
        (0..CONNECTIONS).map(|_| RawHttp2::open(client.host(), &[])).collect();
    let refused: Vec<usize> = open.iter_mut().map(open_all).collect();
    // 16 MiB of 8 KiB each, and four of each connection beside them.
    let asked = CONNECTIONS * READS as usize;
    let admitted = asked - refused.iter().sum::<usize>();
    assert_eq!(admitted, 2048 + 4 * CONNECTIONS, "{refused:?}");
    assert_eq!(refused[0], 0);

    // Others are served all the same, each as many at a time as is free.
    let conn = Http2::open(client.host());
    for _ in 0..20 {
        conn.send(&Request::get("/health")).status(200);
    }
    open.truncate(1);
    let again = crate::common::poll(crate::common::EVENTUALLY_WAIT, || {
        let mut raw = RawHttp2::open(client.host(), &[]);
        (open_all(&mut raw) == 0).then_some(())
    });
    assert!(again.is_some(), "there is room again");
    client.append_bodies("s", &["x"]);
}
