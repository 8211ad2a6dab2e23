//! Read sessions: catching up, bounds, and what a start resolves to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::common::client::{Client, fresh_basin_on, records_path, stream_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::{Request, Response};
use crate::common::s2s::{
    AppendInput, AppendRecord, Frame, GZIP, Position, ReadBatch, SequencedRecord, ZSTD,
};
use crate::common::server::Server;
use crate::common::session::{Session, append_request, read_request};
use crate::common::sse::sse_request;
use crate::common::{Stopwatch, poll};
use crate::{both_ways, everywhere};

/// Appends batches through a session; all must be acknowledged.
#[track_caller]
pub(crate) fn append_all(client: &Client, stream: &str, batches: &[AppendInput]) {
    let mut session = Session::append(client, Protocol::Http1, stream);
    batches.iter().for_each(|batch| session.push(batch));
    session.finish();
    for _ in batches {
        session.ack();
    }
    session.end();
}

/// What a read is refused with beforehand.
#[track_caller]
fn refused(client: &Client, protocol: Protocol, stream: &str, query: &str) -> Response {
    let request = client.scoped(read_request(stream, query));
    let mut exchange = Exchange::start(client, protocol, request);
    exchange.whole()
}

/// The records' numbers of a read that ends well.
#[track_caller]
fn seq_nums(client: &Client, protocol: Protocol, stream: &str, query: &str) -> Vec<u64> {
    let batches = Session::read(client, protocol, stream, query).all_batches();
    batches.iter().flat_map(ReadBatch::seq_nums).collect()
}

#[test]
fn case_65_a_heartbeat_comes_at_once_at_an_empty_tail() {
    everywhere(|client, protocol, stream| {
        for query in ["seq_num=0", "", "tail_offset=3", "timestamp=0", "seq_num=7&clamp=true"] {
            let watch = Stopwatch::start();
            let mut session = Session::read(client, protocol, stream, query);
            assert_eq!(session.frame(), Frame { flag: 0, body: vec![0x12, 0] }, "{query}");
            let elapsed = watch.elapsed();
            assert!(elapsed < Duration::from_secs(2), "{query}: only after {elapsed:?}");
        }
    });
}

#[test]
fn case_66_a_start_beyond_the_tail_is_a_plain_answer() {
    everywhere(|client, protocol, stream| {
        let ack = client.append_bodies(stream, &["x"]);
        let tail = json!({ "tail": ack.at("/tail") });
        let after = ack.u64_at("/tail/timestamp") + 1;
        for query in [
            "seq_num=99".to_owned(),
            "seq_num=2".to_owned(),
            "seq_num=99&wait=5".to_owned(),
            // Bounded reads do not wait unless told to.
            "seq_num=1&count=1".to_owned(),
            "seq_num=1&count=1&wait=0".to_owned(),
            "seq_num=1&bytes=100".to_owned(),
            "seq_num=1&until=99999999999999".to_owned(),
            "seq_num=99&clamp=true&count=1".to_owned(),
            "tail_offset=0&count=1".to_owned(),
            "count=1".to_owned(),
            format!("timestamp={after}"),
            format!("timestamp={after}&clamp=true&count=1"),
        ] {
            refused(client, protocol, stream, &query).is(416, &tail);
        }
        refused(client, protocol, stream, "seq_num=0&timestamp=0").refused(422, "invalid");
        refused(client, protocol, stream, "timestamp=5&until=5").refused(422, "invalid");
        refused(client, protocol, stream, "seq_num=-1").refused(400, "bad_query");
        refused(client, protocol, stream, "clamp=1").refused(400, "bad_query");
        refused(client, protocol, "missing", "seq_num=0").refused(404, "stream_not_found");
    });
}

#[test]
fn reads_that_may_not_wait_end_at_the_tail() {
    everywhere(|client, protocol, stream| {
        // Unbounded, and not to wait: no heartbeat either.
        Session::read(client, protocol, stream, "seq_num=0&wait=0").end();
        Session::read(client, protocol, stream, "wait=0").end();
        client.append_bodies(stream, &["a", "b", "c"]);
        for (query, expected) in [
            ("seq_num=0&wait=0", &[0, 1, 2][..]),
            ("seq_num=3&wait=0", &[]),
            ("seq_num=9&clamp=true&wait=0", &[]),
            ("seq_num=1&count=10", &[1, 2]),
            ("tail_offset=2&count=10", &[1, 2]),
            ("tail_offset=10&count=10", &[0, 1, 2]),
        ] {
            assert_eq!(seq_nums(client, protocol, stream, query), expected, "{query}");
        }
    });
}

#[test]
fn bounds_end_a_read_where_they_are_met() {
    everywhere(|client, protocol, stream| {
        // Records of 10 metered bytes at 10, 20, 20, 30, 40.
        let at = |timestamp| AppendRecord::of("xx").at(timestamp);
        let (one, two) = ([at(10), at(20), at(20)].to_vec(), [at(30), at(40)].to_vec());
        append_all(client, stream, &[AppendInput::of(one), AppendInput::of(two)]);
        let cases: &[(&str, &[u64])] = &[
            ("seq_num=0&count=1", &[0]),
            ("seq_num=0&count=4", &[0, 1, 2, 3]),
            ("seq_num=0&count=5", &[0, 1, 2, 3, 4]),
            ("seq_num=0&count=6", &[0, 1, 2, 3, 4]),
            ("seq_num=3&count=1&wait=60", &[3]),
            ("seq_num=0&count=5&wait=60", &[0, 1, 2, 3, 4]),
            ("seq_num=0&bytes=9", &[]),
            ("seq_num=0&bytes=9&wait=60", &[]),
            ("seq_num=0&bytes=10&wait=60", &[0]),
            ("seq_num=0&bytes=19&wait=60", &[0]),
            ("seq_num=0&bytes=30", &[0, 1, 2]),
            ("seq_num=0&bytes=50&wait=60", &[0, 1, 2, 3, 4]),
            ("seq_num=0&until=10&wait=60", &[]),
            ("seq_num=0&until=11&wait=60", &[0]),
            ("seq_num=0&until=20&wait=60", &[0]),
            ("seq_num=0&until=21&wait=60", &[0, 1, 2]),
            ("seq_num=0&until=99", &[0, 1, 2, 3, 4]),
            ("seq_num=1&count=3&bytes=20&wait=60", &[1, 2]),
            ("seq_num=1&count=1&bytes=200&until=99&wait=60", &[1]),
            ("timestamp=0&count=9", &[0, 1, 2, 3, 4]),
            ("timestamp=20&count=9", &[1, 2, 3, 4]),
            ("timestamp=21&count=9", &[3, 4]),
            ("timestamp=40&wait=0", &[4]),
            ("timestamp=20&until=30&wait=60", &[1, 2]),
            // Nothing is asked for: not even a start beyond the tail matters.
            ("seq_num=0&count=0", &[]),
            ("seq_num=99&count=0&wait=60", &[]),
            ("seq_num=0&bytes=0&wait=60", &[]),
            ("timestamp=999&bytes=0", &[]),
        ];
        for (query, expected) in cases {
            assert_eq!(seq_nums(client, protocol, stream, query), *expected, "{query}");
        }
    });
}

#[test]
fn case_87_a_read_of_nothing_succeeds_at_once() {
    both_ways(|client, protocol, stream| {
        for nothing in ["count=0", "bytes=0"] {
            for start in ["timestamp=0", "timestamp=1", "seq_num=0", "seq_num=1", "tail_offset=0"] {
                for wait in [0, 60] {
                    let query = format!("{start}&{nothing}&wait={wait}");
                    Session::read(client, protocol, stream, &query).end();
                }
            }
        }
        refused(client, protocol, "missing", "count=0").refused(404, "stream_not_found");
        refused(client, protocol, stream, "count=0&timestamp=5&until=5").refused(422, "invalid");
    });
}

#[test]
fn a_wait_at_the_tail_runs_out() {
    both_ways(|client, protocol, stream| {
        client.append_bodies(stream, &["a"]);
        // Each with what comes before the end: a heartbeat at the tail, and records before it.
        for (query, records) in [("seq_num=0&count=5&wait=1", 1), ("seq_num=1&wait=1", 0)] {
            let watch = Stopwatch::start();
            let batches = Session::read(client, protocol, stream, query).all_batches();
            let elapsed = watch.elapsed();
            let read: usize = batches.iter().map(|batch| batch.records.len()).sum();
            assert_eq!(read, records, "{query}");
            let last = batches.last().expect("a heartbeat at least");
            assert!(last.is_heartbeat(), "{query}: {batches:?}");
            assert!(elapsed >= Duration::from_millis(950), "{query}: already after {elapsed:?}");
            assert!(elapsed < Duration::from_secs(5), "{query}: only after {elapsed:?}");
        }
    });
}

#[test]
fn cases_67_and_96_messages_are_compressed_as_the_client_says() {
    let cases: &[(&[&str], u8)] = &[
        (&[], 0),
        (&["zstd"], ZSTD),
        (&["gzip"], GZIP),
        (&["gzip, zstd"], ZSTD),
        (&["gzip", "br, ZSTD"], ZSTD),
        (&["zstd;q=0, gzip"], GZIP),
        (&["gzip;q=0"], 0),
        (&["zstd;q=0.000, gzip;Q=0"], 0),
        (&["zstd;q=0.001"], ZSTD),
        (&["identity, br"], 0),
        (&["*"], 0),
    ];
    both_ways(|client, protocol, stream| {
        let body = "text ".repeat(4000);
        let large = AppendInput::one(body.clone());
        let batches = [AppendInput::one("small"), large];
        append_all(client, stream, &batches);
        for (accepted, coding) in cases {
            for (query, flag) in [("seq_num=1&count=1", *coding), ("seq_num=0&count=1", 0)] {
                let request =
                    accepted.iter().fold(read_request(stream, query), |request, value| {
                        request.header("accept-encoding", value)
                    });
                let mut session = Session::open(Exchange::start(client, protocol, request));
                let frame = session.frame();
                assert_eq!(frame.flag, flag, "{accepted:?} {query}");
                let batch: ReadBatch = frame.message();
                let expected = if query.starts_with("seq_num=1") { body.as_str() } else { "small" };
                assert_eq!(batch.records[0].body, expected.as_bytes(), "{accepted:?}");
                session.end();
            }
        }
    });
}

/// More records than a batch holds, then more bytes than a batch holds.
#[test]
fn a_long_catch_up_arrives_in_legal_batches_and_says_when_it_is_through() {
    everywhere(|client, protocol, stream| {
        let mut batches = vec![AppendInput::of(vec![AppendRecord::of("s"); 900]); 3];
        batches.extend((0..6).map(|at| AppendInput::one(vec![at; 400_000])));
        append_all(client, stream, &batches);
        let total = 2706;
        let mut session = Session::read(client, protocol, stream, "seq_num=0");
        let mut next = 0;
        while next < total {
            let batch = session.batch();
            assert!(!batch.is_heartbeat(), "a heartbeat at {next} of {total}");
            check_batch(&batch, &mut next);
            let tail = batch.tail.map(|tail| tail.seq_num);
            if next == total {
                assert_eq!(tail, Some(total), "the last batch says that it is the last");
            } else {
                assert!(tail.is_none_or(|tail| tail == total), "at {next}: {tail:?}");
            }
        }
        session.heartbeat(total);
        // From here on it is live.
        client.append_bodies(stream, &["live", "too"]);
        let batch = session.batch();
        assert_eq!(batch.seq_nums(), [total, total + 1]);
        let last = batch.records.last().expect("two records");
        let tail = Position { seq_num: total + 2, timestamp: last.timestamp };
        assert_eq!(batch.tail, Some(tail), "a live batch says the tail");
    });
}

/// Fails unless the batch is within its limits and goes on at `next`.
#[track_caller]
fn check_batch(batch: &ReadBatch, next: &mut u64) {
    assert!(batch.records.len() <= 1000, "{} records in a batch", batch.records.len());
    let bytes: u64 = batch.records.iter().map(SequencedRecord::metered_bytes).sum();
    assert!(bytes <= 1_048_576, "{bytes} metered bytes in a batch");
    for record in &batch.records {
        assert_eq!(record.seq_num, *next, "a gap or a repetition");
        *next += 1;
    }
}

/// Headers of a byte each need twice the room that they count: with large timestamps a batch of
/// legal size does not fit into a frame.
#[test]
fn a_batch_that_does_not_fit_into_a_frame_is_split() {
    let timestamps = json!({ "timestamping": { "uncapped": true } });
    let records: Vec<AppendRecord> = (0..1000)
        .map(|at| {
            let count = if at < 144 { 261 } else { 260 };
            (0..count).fold(AppendRecord::default(), |r, _| r.header("n", b"v")).at(u64::MAX)
        })
        .collect();
    let mut client = crate::common::client::fresh_basin();
    client.create_stream_with("fat", &timestamps);
    append_all(&client, "fat", &[AppendInput::of(records)]);
    for protocol in Protocol::BOTH {
        let mut session = Session::read(&client, protocol, "fat", "seq_num=0&count=1000");
        let batches = session.all_batches();
        assert!(batches.len() >= 2, "{} batches", batches.len());
        let mut next = 0;
        for came in &batches {
            check_batch(came, &mut next);
            assert!(came.records.iter().all(|record| record.headers.len() >= 260));
        }
        assert_eq!(next, 1000);
    }
}

fn trim_to(seq_num: u64) -> AppendInput {
    let record = AppendRecord::of(seq_num.to_be_bytes()).header("", b"trim");
    AppendInput::of(vec![record])
}

/// Case 42, as a session.
#[test]
fn what_was_trimmed_is_skipped_and_by_time_it_is_not_found() {
    everywhere(|client, protocol, stream| {
        let bodies = [AppendInput::one("a"), AppendInput::one("b"), AppendInput::one("c")];
        append_all(client, stream, &bodies);
        append_all(client, stream, &[trim_to(2)]);
        let trimmed = || {
            let read = seq_nums(client, protocol, stream, "seq_num=0&count=10");
            (read == [2, 3]).then_some(())
        };
        poll(Duration::from_secs(20), trimmed).expect("the read starts behind what was trimmed");
        let found = seq_nums(client, protocol, stream, "timestamp=0&count=10");
        assert_eq!(found, [2, 3], "the first that is left");
        append_all(client, stream, &[trim_to(99)]);
        let empty = || {
            let read = seq_nums(client, protocol, stream, "seq_num=0&count=10");
            read.is_empty().then_some(())
        };
        poll(Duration::from_secs(20), empty).expect("nothing is left");
        refused(client, protocol, stream, "timestamp=0&count=10").status(416);
        let refused = refused(client, protocol, stream, "timestamp=0&count=1&wait=0");
        assert_eq!(refused.status(416).u64_at("/tail/seq_num"), 5);
        for query in ["timestamp=0", "seq_num=0", "timestamp=0&count=5&wait=9", "seq_num=4"] {
            Session::read(client, protocol, stream, query).heartbeat(5);
        }
        Session::read(client, protocol, stream, "timestamp=0&wait=0").end();
    });
}

#[test]
fn a_session_creates_its_stream_where_reads_may() {
    let config = json!({ "create_stream_on_read": true });
    for protocol in Protocol::BOTH {
        let mut client = crate::common::client::fresh_basin_with(&config);
        let header = r#"{"retention_policy":{"age":77}}"#;
        let request = read_request("new", "seq_num=0").header("s2-stream-config", header);
        let mut session = Session::open(Exchange::start(&client, protocol, request));
        session.heartbeat(0);
        assert_eq!(client.config("new")["retention_policy"], json!({ "age": 77 }));
        refused(&client, protocol, "other", "seq_num=0&timestamp=0").refused(422, "invalid");
        client.get(&stream_path("other")).refused(404, "stream_not_found");
        refused(&client, protocol, "bounded", "seq_num=0&count=1").status(416);
        client.get(&stream_path("bounded")).status(200);
    }
}

#[test]
fn a_connection_goes_on_behind_a_read_session() {
    let mut client = crate::common::client::fresh_basin();
    client.create_stream("s");
    append_all(&client, "s", &[AppendInput::one(vec![0; 300_000])]);
    let mut reader = client.another();
    // The first may have to move to another core; after that, everything is one connection.
    reader.send(read_request("s", "seq_num=0&count=1")).status(200);
    let before = reader.connects();
    for query in ["count=0", "seq_num=0&count=1", "seq_num=0&wait=0", "seq_num=1&count=1&wait=1"] {
        for _ in 0..5 {
            reader.send(read_request("s", query)).status(200);
            reader.send(sse_request("s", query)).status(200);
            if query.ends_with("wait=1") {
                break;
            }
        }
        assert_eq!(reader.connects(), before, "kept behind {query}");
    }
}

/// Both belong to other representations.
#[test]
fn headers_of_other_modes_are_ignored() {
    both_ways(|client, protocol, stream| {
        client.append_bodies(stream, &["a", "b"]);
        let request = read_request(stream, "seq_num=0&count=2")
            .header("s2-format", "hex")
            .header("last-event-id", "0,1,9");
        let mut session = Session::open(Exchange::start(client, protocol, request));
        let read: Vec<u64> = session.all_batches().iter().flat_map(ReadBatch::seq_nums).collect();
        assert_eq!(read, [0, 1]);
        let request = append_request(stream).header("s2-format", "hex");
        let mut session = Session::open(Exchange::start_open(client, protocol, request));
        session.push(&AppendInput::one("c"));
        session.finish();
        session.acks(2, 3);
        session.end();
    });
}

#[test]
fn command_records_are_read_like_others() {
    both_ways(|client, protocol, stream| {
        let fence = AppendRecord::of("token").header("", b"fence");
        append_all(client, stream, &[AppendInput::of(vec![fence]), AppendInput::one("data")]);
        let mut session = Session::read(client, protocol, stream, "seq_num=0&count=2");
        let records: Vec<SequencedRecord> =
            session.all_batches().into_iter().flat_map(|batch| batch.records).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(
            (&*records[0].headers[0].name, &*records[0].headers[0].value),
            (&b""[..], &b"fence"[..])
        );
        assert_eq!(records[0].body, b"token");
    });
}

/// While there are appends, old records go out piece by piece, and they are as whole as any.
#[test]
fn old_records_arrive_whole_beside_appends() {
    const RECORDS: usize = 900;
    let Some(mut server) = Server::start_with(1, &[]) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    ["s", "other"].iter().for_each(|name| client.create_stream(name));
    let batch = AppendInput::of(vec![AppendRecord::of(vec![b'x'; 1000]); RECORDS]);
    append_all(&client, "s", &[batch.clone(), batch.clone(), batch]);
    // From then on none of them is at hand.
    server.kill();
    server.restart();
    let client = server.client().in_basin(&basin);
    let (mut other, ended) = (client.another(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            // Bounded, in case that what follows fails.
            for _ in 0..20_000 {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                other.append_bodies("other", &["x"]);
            }
        });
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let mut next = 0;
            for batch in Session::read(&client, protocol, "s", "seq_num=0&count=2700").all_batches()
            {
                check_batch(&batch, &mut next);
            }
            assert_eq!(next, 3 * RECORDS as u64);
            let target = format!("{}?seq_num=0&count={RECORDS}", records_path("s"));
            let request = client.scoped(Request::get(&target));
            let body = Exchange::start(&client, protocol, request).whole().json();
            assert_eq!(body["records"].as_array().map(Vec::len), Some(RECORDS));
        }
        ended.store(true, Ordering::Relaxed);
    });
}
