//! Read sessions that follow: heartbeats, live batches, slow readers, deletion.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::common::Stopwatch;
use crate::common::client::{Client, stream_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http2::{Http2, Windows};
use crate::common::s2s::{AppendInput, AppendRecord, ReadBatch};
use crate::common::session::{Session, append_request, read_request};
use crate::common::sse::{Events, sse_request};
use crate::read::append_all;
use crate::{both_ways, everywhere};

#[test]
fn live_batches_follow_in_order_with_their_tail() {
    everywhere(|client, protocol, stream| {
        let mut reader = Session::read(client, protocol, stream, "seq_num=0");
        reader.heartbeat(0);
        let mut writer = Session::append(client, protocol, stream);
        for at in 0..30 {
            writer.push(&AppendInput::one(format!("{at}")));
        }
        let mut next = 0;
        while next < 30 {
            let batch = reader.batch();
            for record in &batch.records {
                assert_eq!(record.seq_num, next);
                assert_eq!(record.body, next.to_string().into_bytes());
                next += 1;
            }
            let tail = batch.tail.expect("live batches say the tail").seq_num;
            assert!(tail >= next, "the tail {tail} is before what came, {next}");
        }
        writer.acks(0, 30);
    });
}

#[test]
fn a_live_batch_is_cut_where_a_bound_is_met() {
    // Each bound with what the two batches of 2 and 5 records of 10 bytes then give.
    let cases: &[(&str, &[u64])] = &[
        ("count=3", &[0, 1, 2]),
        ("count=2", &[0, 1]),
        ("count=7", &[0, 1, 2, 3, 4, 5, 6]),
        ("bytes=39", &[0, 1, 2]),
        ("bytes=9", &[]),
        ("until=1030", &[0, 1, 2]),
        ("until=1000", &[]),
    ];
    both_ways(|client, protocol, _| {
        for (bound, expected) in cases {
            client.create_stream(bound);
            let query = format!("seq_num=0&wait=60&{bound}");
            let mut reader = Session::read(client, protocol, bound, &query);
            reader.heartbeat(0);
            let record = |at: u64| AppendRecord::of("xx").at(1000 + 10 * at);
            let two = AppendInput::of((0..2).map(record).collect());
            let five = AppendInput::of((2..7).map(record).collect());
            append_all(client, bound, &[two]);
            append_all(client, bound, &[five]);
            let batches = reader.all_batches();
            let read: Vec<u64> = batches.iter().flat_map(ReadBatch::seq_nums).collect();
            assert_eq!(read, *expected, "{bound}");
            assert!(batches.iter().all(|batch| !batch.records.is_empty()), "{bound}: {batches:?}");
            if *bound == "count=3" {
                let tail = batches.last().and_then(|batch| batch.tail).map(|tail| tail.seq_num);
                assert!(tail.is_none_or(|tail| tail == 7), "the tail is the stream's: {tail:?}");
            }
        }
    });
}

#[test]
fn the_wait_begins_anew_with_every_batch() {
    let mut client = crate::common::client::fresh_basin();
    let streams = Protocol::BOTH.map(|protocol| (protocol, protocol.to_string()));
    streams.iter().for_each(|(_, stream)| client.create_stream(stream));
    let client = &client;
    thread::scope(|scope| {
        for (protocol, stream) in &streams {
            scope.spawn(move || check_waits(client, *protocol, stream));
        }
    });
}

/// Batches come after half of the wait each and a little: it would be over before the second. The
/// other half is for a busy machine.
#[track_caller]
fn check_waits(client: &Client, protocol: Protocol, stream: &str) {
    let mut reader = Session::read(client, protocol, stream, "seq_num=0&count=100&wait=3");
    reader.heartbeat(0);
    let mut writer = client.another();
    let watch = Stopwatch::start();
    for seq_num in 0..2 {
        thread_pause(Duration::from_millis(1600));
        writer.append_bodies(stream, &["x"]);
        assert_eq!(reader.batch().seq_nums(), [seq_num]);
    }
    let last = watch.elapsed();
    reader.end();
    let waited = watch.elapsed() - last;
    assert!(waited >= Duration::from_millis(2900), "ended {waited:?} after the last batch");
    assert!(waited < Duration::from_secs(9), "ended only {waited:?} after the last batch");
}

/// Lets time pass where the passing of time is what is tested.
fn thread_pause(span: Duration) {
    let never = std::sync::mpsc::channel::<()>();
    assert!(never.1.recv_timeout(span).is_err());
}

#[test]
fn heartbeats_come_within_fifteen_seconds_of_silence() {
    let mut client = crate::common::client::fresh_basin();
    client.create_stream("s");
    client.append_bodies("s", &["x"]);
    let client = &client;
    thread::scope(|scope| {
        for protocol in Protocol::BOTH {
            scope.spawn(move || {
                let mut reader = Session::read(client, protocol, "s", "seq_num=1");
                reader.heartbeat(1);
                let watch = Stopwatch::start();
                reader.heartbeat(1);
                check_gap(watch.elapsed());
            });
            scope.spawn(move || {
                let mut events = Events::open(client, protocol, sse_request("s", "seq_num=1"));
                assert_eq!(events.event().name, "ping");
                let watch = Stopwatch::start();
                let ping = events.event();
                assert_eq!(
                    (&*ping.name, ping.json()["tail"]["seq_num"].as_u64()),
                    ("ping", Some(1))
                );
                check_gap(watch.elapsed());
            });
        }
    });
}

#[track_caller]
fn check_gap(gap: Duration) {
    assert!(gap >= Duration::from_millis(4500), "a heartbeat already after {gap:?}");
    assert!(gap <= Duration::from_millis(15_500), "a heartbeat only after {gap:?}");
}

/// A reader that takes nothing while much more is appended than anybody would hold for it.
#[test]
fn a_slow_reader_gets_everything_once_it_reads_again() {
    const BATCHES: u8 = 24;
    let mut client = crate::common::client::fresh_basin();
    let windows = Windows { stream: 65_535, connection: 65_535 };
    for (number, protocol) in (0..).zip(Protocol::BOTH.into_iter().cycle().take(4)) {
        let stream = format!("s{number}");
        client.create_stream(&stream);
        let conn = Http2::open_with(client.host(), windows);
        let request = client.scoped(read_request(&stream, "seq_num=0"));
        let exchange = match protocol {
            Protocol::Http1 => Exchange::start(&client, protocol, request),
            Protocol::Http2 => Exchange::of_stream(conn.start(&request)),
        };
        let mut reader = Session::open(exchange);
        reader.heartbeat(0);
        let mut writer = Session::append(&client, protocol, &stream);
        for at in 0..BATCHES {
            writer.push(&AppendInput::one(vec![at; 1_000_000]));
        }
        writer.acks(0, u64::from(BATCHES));
        let mut next = 0;
        while next < BATCHES {
            let batch = reader.batch();
            if batch.is_heartbeat() {
                // It was at the tail for a moment: then, everything before that was delivered.
                let tail = batch.tail.map(|tail| tail.seq_num);
                assert_eq!(tail, Some(u64::from(next)), "a heartbeat ahead of what came");
                continue;
            }
            for record in batch.records {
                assert_eq!(record.seq_num, u64::from(next), "a gap or a repetition");
                assert_eq!(record.body.len(), 1_000_000);
                assert!(record.body.iter().all(|byte| *byte == next), "other bytes");
                next += 1;
            }
        }
        // Back at the tail, it follows again.
        writer.push(&AppendInput::one("live"));
        loop {
            let batch = reader.batch();
            if batch.is_heartbeat() {
                continue;
            }
            assert_eq!(batch.seq_nums(), [u64::from(BATCHES)]);
            break;
        }
    }
}

#[test]
fn case_98_a_batch_of_a_mebibyte_passes_through_tiny_windows() {
    let mut client = crate::common::client::fresh_basin();
    let windows = Windows { stream: 1024, connection: 65_535 };
    for stream in ["a", "b", "c"] {
        client.create_stream(stream);
        let body: Vec<u8> = (0..1_048_568u32).map(|at| at.to_le_bytes()[1]).collect();
        append_all(&client, stream, &[AppendInput::one(body.clone())]);
        let conn = Http2::open_with(client.host(), windows);
        let request = client.scoped(read_request(stream, "seq_num=0"));
        let mut reader = Session::open(Exchange::of_stream(conn.start(&request)));
        let batch = reader.batch();
        assert_eq!(batch.seq_nums(), [0]);
        assert!(batch.records[0].body == body, "the bytes are others");
        reader.heartbeat(1);
        // A unary read on the same connection meanwhile.
        let unary = crate::common::http::Request::get(&format!(
            "{}?seq_num=0",
            crate::common::client::records_path(stream)
        ));
        let response = conn.send(&client.scoped(unary.header("accept", "application/protobuf")));
        assert!(response.status(200).body.len() > 1_048_568);
    }
}

#[test]
fn case_73_deletion_ends_followers_with_its_error_and_no_record() {
    everywhere(|client, protocol, stream| {
        client.append_bodies(stream, &["x"]);
        let mut follower = Session::read(client, protocol, stream, "seq_num=1");
        follower.heartbeat(1);
        let mut events = Events::open(client, protocol, sse_request(stream, "seq_num=1"));
        assert_eq!(events.event().name, "ping");
        let mut writer = Session::append(client, protocol, stream);
        client.delete(&stream_path(stream)).status(202);
        follower.refused(409, "stream_deletion_pending");
        writer.refused(409, "stream_deletion_pending");
        let error = events.event();
        assert_eq!(
            (&*error.name, &error.json()["code"]),
            ("error", &json!("stream_deletion_pending"))
        );
        assert_eq!(events.next(), None, "no done marker behind an error");
        for request in [append_request(stream), read_request(stream, "seq_num=0")] {
            let mut exchange = Exchange::start(client, protocol, request);
            let gone = [(409, "stream_deletion_pending"), (404, "stream_not_found")];
            exchange.whole().refused_as(&gone);
        }
    });
}

/// What is under way when the stream goes is acknowledged as far as it got in.
#[test]
fn deletion_in_the_middle_of_a_pipeline_is_a_clean_cut() {
    everywhere(|client, protocol, stream| {
        let mut follower = Session::read(client, protocol, stream, "seq_num=0");
        let mut writer = Session::append(client, protocol, stream);
        for at in 0..2000 {
            writer.push(&AppendInput::one(format!("{at}")));
        }
        writer.acks(0, 1);
        client.delete(&stream_path(stream)).status(202);
        let mut acked = 1;
        let last = loop {
            let Some(frame) = writer.next() else { panic!("ended without a terminal frame") };
            if frame.is_terminal() {
                break frame.error();
            }
            acked += 1;
        };
        assert_eq!((last.0, &last.1["code"]), (409, &json!("stream_deletion_pending")));
        writer.end();
        assert!(acked <= 2000);
        let mut next = 0;
        loop {
            let frame = follower.frame();
            if frame.is_terminal() {
                assert_eq!(frame.error().0, 409);
                break;
            }
            for record in frame.message::<ReadBatch>().records {
                assert_eq!((record.seq_num, record.headers.len()), (next, 0), "no marker");
                next += 1;
            }
        }
        follower.end();
    });
}

#[test]
fn the_deletion_of_a_basin_reaches_the_sessions_of_its_streams() {
    for protocol in Protocol::BOTH {
        let mut client = crate::common::client::fresh_basin();
        let mut sessions = Vec::new();
        for stream in crate::STREAMS {
            client.create_stream(stream);
            sessions.push(Session::append(&client, protocol, stream));
            let mut follower = Session::read(&client, protocol, stream, "seq_num=0");
            follower.heartbeat(0);
            sessions.push(follower);
        }
        let basin = format!("/v1/basins/{}", client.basin());
        client.delete(&basin).status(202);
        for session in &mut sessions {
            let mut frame = session.frame();
            while !frame.is_terminal() {
                assert!(frame.message::<ReadBatch>().is_heartbeat());
                frame = session.frame();
            }
            let (status, body) = frame.error();
            assert_eq!((status, &body["code"]), (409, &json!("stream_deletion_pending")));
            session.end();
        }
    }
}

#[test]
fn many_followers_of_one_stream_all_get_everything() {
    both_ways(|client, protocol, stream| {
        let mut readers: Vec<Session> =
            (0..20).map(|_| Session::read(client, protocol, stream, "seq_num=0")).collect();
        readers.iter_mut().for_each(|reader| reader.heartbeat(0));
        let batches: Vec<_> = (0..50).map(|at| AppendInput::one(format!("{at}"))).collect();
        append_all(client, stream, &batches);
        for reader in &mut readers {
            let mut seen = Vec::new();
            while seen.len() < 50 {
                seen.extend(reader.batch().seq_nums());
            }
            assert_eq!(seen, (0..50).collect::<Vec<u64>>());
        }
    });
}
