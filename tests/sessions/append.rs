//! Append sessions that go well.

use std::time::Duration;

use serde_json::json;

use crate::common::client::{Client, records_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::{Body, Conn, Request, chunk};
use crate::common::poll;
use crate::common::s2s::{AppendInput, AppendRecord, GZIP, ZSTD, frame, gzip_of, zstd_of};
use crate::common::session::{Session, append_request};
use crate::{both_ways, everywhere};

/// How long nothing may come before a test believes that nothing will.
const STILL: Duration = Duration::from_millis(100);

#[test]
fn case_60_the_head_comes_first_and_a_half_close_ends_the_session_well() {
    everywhere(|client, protocol, stream| {
        let mut session = Session::append(client, protocol, stream);
        session.push_bytes(&[0, 0, 7, 0, 0x0A, 4, 0x1A, 2, 0x68, 0x69]);
        session.finish();
        session.acks(0, 1);
        session.end();
        assert_eq!(client.read_bodies(stream, "seq_num=0"), ["hi"]);
    });
}

#[test]
fn case_68_batches_are_acknowledged_while_the_request_is_open() {
    everywhere(|client, protocol, stream| {
        let mut session = Session::append(client, protocol, stream);
        for at in 0..3 {
            session.push(&AppendInput::one(format!("{at}")));
            session.acks(at, at + 1);
        }
        session.silent_for(STILL);
        session.push(&AppendInput::one("3"));
        session.finish();
        session.acks(3, 4);
        session.end();
        assert_eq!(client.read_bodies(stream, "seq_num=0"), ["0", "1", "2", "3"]);
    });
}

#[test]
fn a_session_without_a_batch_ends_without_a_frame() {
    everywhere(|client, protocol, stream| {
        let mut session = Session::append(client, protocol, stream);
        session.silent_for(Duration::from_millis(20));
        session.finish();
        session.end();
        assert_eq!(client.tail_seq_num(stream), 0);
    });
}

/// More than a session may have unanswered at once, so that intake has to wait on the way.
#[test]
fn thousands_of_pipelined_batches_are_acknowledged_in_order() {
    const BATCHES: u64 = 3000;
    everywhere(|client, protocol, stream| {
        let mut session = Session::append(client, protocol, stream);
        let mut bytes = Vec::new();
        for at in 0..BATCHES {
            bytes.extend_from_slice(&AppendInput::one(format!("{at}")).matching(at).frame());
        }
        // Pieces end wherever they do: in a head, in a body, behind a frame.
        bytes.chunks(4099).for_each(|piece| session.push_bytes(piece));
        session.finish();
        session.acks(0, BATCHES);
        session.end();
        assert_eq!(client.tail_seq_num(stream), BATCHES);
        assert_eq!(client.read_bodies(stream, "seq_num=2998"), ["2998", "2999"]);
    });
}

#[test]
fn frames_may_be_split_anywhere() {
    both_ways(|client, protocol, stream| {
        let mut session = Session::append(client, protocol, stream);
        let input = AppendInput::of(vec![
            AppendRecord::of("first").header("name", b"value"),
            AppendRecord::of(vec![0xFF, 0]),
        ]);
        let bytes = [input.frame(), input.frame(), input.frame()].concat();
        bytes.chunks(1).for_each(|piece| session.push_bytes(piece));
        session.finish();
        for start in [0, 2, 4] {
            assert_eq!(session.ack().start.map(|start| start.seq_num), Some(start));
        }
        session.end();
        let records = client.read(stream, "seq_num=4").records();
        assert_eq!(records[0]["headers"], json!([["name", "value"]]));
    });
}

#[test]
fn messages_may_be_compressed_and_reserved_bits_are_ignored() {
    let input = AppendInput::one("x".repeat(20_000));
    let plain = prost::Message::encode_to_vec(&input);
    let frames = [
        frame(ZSTD, &zstd_of(&plain)),
        frame(GZIP, &gzip_of(&plain)),
        frame(0, &plain),
        frame(ZSTD | 0x1F, &zstd_of(&plain)),
        frame(0x1F, &plain),
        frame(GZIP | 0x10, &gzip_of(&plain)),
        // Tiny ones too.
        frame(ZSTD, &zstd_of(&prost::Message::encode_to_vec(&AppendInput::one("tiny")))),
    ];
    everywhere(|client, protocol, stream| {
        let mut session = Session::append(client, protocol, stream);
        frames.iter().for_each(|frame| session.push_bytes(frame));
        session.finish();
        session.acks(0, 7);
        session.end();
        let bodies = client.read_bodies(stream, "seq_num=0");
        let lengths: Vec<usize> = bodies.iter().map(String::len).collect();
        assert_eq!(lengths, [20_000, 20_000, 20_000, 20_000, 20_000, 20_000, 4]);
    });
}

#[test]
fn the_largest_batch_passes() {
    both_ways(|client, protocol, stream| {
        let mut session = Session::append(client, protocol, stream);
        session.push(&AppendInput::one(vec![b'x'; 1_048_568]));
        session.push(&AppendInput::of(vec![AppendRecord::default(); 1000]));
        session.finish();
        session.acks(0, 1);
        let ack = session.ack();
        assert_eq!(ack.end.map(|end| end.seq_num), Some(1001));
        session.end();
        assert_eq!(client.tail_seq_num(stream), 1001);
    });
}

#[test]
fn other_writers_may_come_in_between() {
    everywhere(|client, protocol, stream| {
        let mut one = Session::append(client, protocol, stream);
        let mut two = Session::append(client, protocol, stream);
        one.push(&AppendInput::one("one").matching(0));
        assert_eq!(one.ack().end.map(|end| end.seq_num), Some(1));
        two.push(&AppendInput::one("two").matching(1));
        assert_eq!(two.ack().end.map(|end| end.seq_num), Some(2));
        client.append_bodies(stream, &["unary"]);
        one.push(&AppendInput::one("three").matching(3));
        assert_eq!(one.ack().tail.map(|tail| tail.seq_num), Some(4));
        one.finish();
        one.end();
        two.finish();
        two.end();
        assert_eq!(client.read_bodies(stream, "seq_num=0"), ["one", "two", "unary", "three"]);
    });
}

#[test]
fn a_fence_holds_from_the_next_batch_on() {
    both_ways(|client, protocol, stream| {
        let mut session = Session::append(client, protocol, stream);
        let fence = AppendRecord::of("t1").header("", b"fence");
        session.push(&AppendInput::of(vec![fence, AppendRecord::of("data")]).fenced(""));
        session.push(&AppendInput::one("with").fenced("t1"));
        session.push(&AppendInput::one("without"));
        session.push(&AppendInput::one("stale").fenced(""));
        for end in [2, 3, 4] {
            assert_eq!(session.ack().end.map(|end| end.seq_num), Some(end));
        }
        assert_eq!(session.terminal(), (412, json!({ "fencing_token_mismatch": "t1" })));
        assert_eq!(client.tail_seq_num(stream), 4);
    });
}

/// What was sequenced stays, whole batches in order; the rest never happened.
#[test]
fn a_client_that_vanishes_leaves_a_prefix_of_what_it_sent() {
    everywhere(|client, protocol, stream| {
        let mut session = Session::append(client, protocol, stream);
        for at in 0..200 {
            session.push(&AppendInput::one(format!("{at}")));
        }
        session.acks(0, 20);
        drop(session);
        let kept = settled_bodies(client, stream);
        assert!((20..=200).contains(&kept.len()), "{} of 200 batches are there", kept.len());
        let expected: Vec<String> = (0..kept.len()).map(|at| at.to_string()).collect();
        assert_eq!(kept, expected);
    });
}

/// The stream's records once no more come.
fn settled_bodies(client: &mut Client, stream: &str) -> Vec<String> {
    let mut last = u64::MAX;
    poll(Duration::from_secs(10), || {
        // The same tail twice, with a durable append's time in between.
        let before = last;
        last = client.tail_seq_num(stream);
        (last == before).then_some(())
    })
    .expect("the tail settles");
    client.read_bodies(stream, "seq_num=0")
}

#[test]
fn a_connection_goes_on_behind_a_session() {
    both_ways(|client, protocol, stream| {
        if protocol == Protocol::Http2 {
            return;
        }
        let mut conn = Conn::open(client.host());
        let mut append = append_request(stream);
        append.body = Body::Chunked(vec![AppendInput::one("a").frame()]);
        let health = Request::get("/health");
        let sent = [client.encode(&append), client.encode(&append), client.encode(&health)];
        conn.write(&sent.concat()).expect("the server reads");
        for seq_num in [0, 1] {
            let response = conn.read_response("POST").expect("the session's answer");
            response.status(200);
            assert_eq!(response.header("transfer-encoding"), Some("chunked"));
            let mut body = response.body.clone();
            let ack = crate::common::s2s::Frame::take(&mut body).expect("one frame");
            let ack: crate::common::s2s::AppendAck = ack.message();
            assert_eq!((ack.start.map(|s| s.seq_num), body.len()), (Some(seq_num), 0));
        }
        conn.read_response("GET").expect("an answer behind the sessions").status(200);
    });
}

#[test]
fn a_session_may_expect_to_be_told_to_continue() {
    let mut client = crate::common::client::fresh_basin();
    for stream in crate::STREAMS {
        client.create_stream(stream);
        let mut conn = Conn::open(client.host());
        let request = client.scoped(append_request(stream)).header("expect", "100-continue");
        let mut head = request.encode_head(client.host());
        head.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        conn.write(&head).expect("the server reads");
        let interim = conn.read_head().expect("an interim answer");
        assert_eq!(interim.status, 100, "{interim}");
        conn.read_head().expect("the head of the session").status(200);
        conn.write(&chunk(&AppendInput::one("x").frame())).expect("the server reads");
        assert!(conn.read_chunk().expect("an acknowledgement").is_some());
        conn.write(b"0\r\n\r\n").expect("the server reads");
        assert_eq!(conn.read_chunk(), Ok(None));
        assert_eq!(client.tail_seq_num(stream), 1);
    }
}

/// HTTP/1.0 knows no chunks: the answer goes on until the connection ends.
#[test]
fn an_old_client_reads_until_the_connection_ends() {
    let mut client = crate::common::client::fresh_basin();
    for stream in crate::STREAMS {
        client.create_stream(stream);
        client.append_bodies(stream, &["x"]);
        let mut request = crate::common::sse::sse_request(stream, "seq_num=0&count=1");
        request.version = "HTTP/1.0";
        let mut conn = Conn::open(client.host());
        conn.write(&client.encode(&request)).expect("the server reads");
        let response = conn.read_response("GET").expect("an answer");
        assert_eq!(response.status(200).header("transfer-encoding"), None, "{response}");
        assert!(response.body.ends_with(b"data: [DONE]\n\n"), "{response}");
    }
}

/// On two shards, some of these streams are foreign wherever a connection was accepted; a
/// connection that opens a session there moves, with the session in full.
#[test]
fn http1_sessions_move_to_the_core_of_their_stream() {
    let mut client = crate::common::client::fresh_basin();
    let before = client.metric("thalweg_connections_moved_total");
    for index in 0..16 {
        let stream = format!("stream {index}");
        client.create_stream(&stream);
        let request = append_request(&stream);
        let mut session = Session::open(Exchange::start_open(&client, Protocol::Http1, request));
        for at in 0..10 {
            session.push(&AppendInput::one(format!("{at}")));
        }
        session.finish();
        session.acks(0, 10);
        session.end();
    }
    let moved = client.metric("thalweg_connections_moved_total") - before;
    assert!(moved > 0, "none of 16 sessions moved");
}

#[test]
fn case_85_a_session_creates_its_stream_with_the_configuration_of_its_header() {
    let config = json!({ "create_stream_on_append": true, "create_stream_on_read": true });
    for protocol in Protocol::BOTH {
        let mut client = crate::common::client::fresh_basin_with(&config);
        let header = r#"{"retention_policy": {"age": 3600}, "storage_class": "standard"}"#;
        let request = append_request("new").header("s2-stream-config", header);
        let mut session = Session::open(Exchange::start_open(&client, protocol, request));
        session.push(&AppendInput::one("a"));
        session.finish();
        session.acks(0, 1);
        session.end();
        let created = client.config("new");
        assert_eq!(created["retention_policy"], json!({ "age": 3600 }), "over {protocol}");
        assert_eq!(created["storage_class"], "standard", "over {protocol}");
        // On a stream that exists it changes nothing.
        let request = append_request("new").header("s2-stream-config", "{}");
        let mut session = Session::open(Exchange::start_open(&client, protocol, request));
        session.finish();
        session.end();
        assert_eq!(client.config("new"), created, "over {protocol}");
        // Wrong ones are refused before anything is created.
        let request =
            append_request("never").header("s2-stream-config", r#"{"retention_policy":{"age":0}}"#);
        let mut exchange = Exchange::start(&client, protocol, request);
        let refused = exchange.whole();
        refused.refused(400, "bad_header");
        client.get(&records_path("never").replace("/records", "")).refused(404, "stream_not_found");
    }
}
