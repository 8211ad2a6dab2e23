//! Many sessions at once: on one connection, with readers that take nothing, through a crash.

use serde_json::json;

use crate::common::client::{Client, fresh_basin, fresh_basin_on, records_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::Request;
use crate::common::http2::{Http2, Windows};
use crate::common::poll;
use crate::common::s2s::AppendInput;
use crate::common::server::Server;
use crate::common::session::{Session, append_request, read_request};
use crate::read::append_all;

/// Writers and followers of streams of both cores, all on one connection.
#[test]
fn one_connection_carries_sessions_of_many_streams() {
    let mut client = fresh_basin();
    let conn = Http2::open(client.host());
    let start = |request: Request| conn.start_open(&client.scoped(request));
    let streams: Vec<String> = (0..8).map(|index| format!("stream {index}")).collect();
    let mut other = client.another();
    streams.iter().for_each(|stream| other.create_stream(stream));
    let mut sessions: Vec<(Session, Session)> = streams
        .iter()
        .map(|stream| {
            let writer = Session::open(Exchange::of_stream(start(append_request(stream))));
            let read = client.scoped(read_request(stream, "seq_num=0"));
            (writer, Session::open(Exchange::of_stream(conn.start(&read))))
        })
        .collect();
    for at in 0..40 {
        for (writer, _) in &mut sessions {
            writer.push(&AppendInput::one(format!("{at}")));
        }
    }
    for (writer, reader) in &mut sessions {
        writer.acks(0, 40);
        writer.finish();
        writer.end();
        let mut seen = Vec::new();
        while seen.len() < 40 {
            seen.extend(reader.batch().seq_nums());
        }
        assert_eq!(seen, (0..40).collect::<Vec<u64>>());
    }
    for stream in &streams {
        assert_eq!(client.tail_seq_num(stream), 40);
    }
}

/// A stream whose client does not read holds up neither its connection nor a writer.
#[test]
fn a_stuck_reader_holds_up_nobody_else_on_its_connection() {
    let mut client = fresh_basin();
    for stream in crate::STREAMS {
        client.create_stream(stream);
        append_all(&client, stream, &vec![AppendInput::one(vec![7; 900_000]); 5]);
        let windows = Windows { stream: 65_535, connection: 8 * 1024 * 1024 };
        let mut conn = Http2::open_with(client.host(), windows);
        let request = client.scoped(read_request(stream, "seq_num=0"));
        let mut stuck = Session::open(Exchange::of_stream(conn.start(&request)));
        let tail = Request::get(&format!("{}/tail", records_path(stream)));
        for _ in 0..10 {
            conn.send(&client.scoped(tail.clone())).status(200);
        }
        conn.ping();
        let mut live = Session::open(Exchange::of_stream(
            conn.start(&client.scoped(read_request(stream, "seq_num=5"))),
        ));
        live.heartbeat(5);
        client.append_bodies(stream, &["x"]);
        assert_eq!(live.batch().seq_nums(), [5]);
        let mut seen = Vec::new();
        while seen.len() < 6 {
            seen.extend(stuck.batch().seq_nums());
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }
}

/// What readers do not take is not kept for them.
#[test]
fn stuck_readers_cost_little_memory() {
    const READERS: usize = 12;
    const GROWTH_BYTES_MAX: u64 = 130_000_000;
    let window = ("THALWEG_READ_WINDOW_BYTES", "8388608");
    let Some(server) = Server::start_with(2, &[window]) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    // What serving costs anyway: buffers, both protocols' code, the log's own memory.
    append_all(&client, "s", &vec![AppendInput::one(vec![1; 1_000_000]); 12]);
    let windows = Windows { stream: 65_535, connection: 65_535 };
    let mut conns = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..READERS {
        for protocol in Protocol::BOTH {
            let request = client.scoped(read_request("s", "seq_num=12"));
            let mut reader = Session::open(match protocol {
                Protocol::Http1 => Exchange::start(&client, protocol, request),
                Protocol::Http2 => {
                    let conn = Http2::open_with(client.host(), windows);
                    let stream = conn.start(&request);
                    conns.push(conn);
                    Exchange::of_stream(stream)
                }
            });
            reader.heartbeat(12);
            readers.push(reader);
        }
    }
    let before = client.metric("process_resident_memory_bytes");
    append_all(&client, "s", &vec![AppendInput::one(vec![2; 1_000_000]); 30]);
    let after = client.metric("process_resident_memory_bytes");
    let growth = after.saturating_sub(before);
    eprintln!("{growth} bytes for {} readers", 2 * READERS);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more for {} stuck readers", 2 * READERS);
    // One of each protocol wakes up.
    for reader in readers.iter_mut().take(2) {
        let mut next = 12;
        while next < 42 {
            for record in reader.batch().records {
                assert_eq!((record.seq_num, record.body.len()), (next, 1_000_000));
                next += 1;
            }
        }
    }
}

/// Case 80 for sessions: nothing that was acknowledged is lost, whatever else is.
#[test]
fn acknowledged_batches_survive_a_crash() {
    let Some(mut server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let mut sessions = Vec::new();
    for index in 0..4 {
        for protocol in Protocol::BOTH {
            let stream = format!("{protocol} {index}");
            client.create_stream(&stream);
            let mut session = Session::append(&client, protocol, &stream);
            for at in 0..300 {
                session.push(&AppendInput::one(format!("{at}")));
            }
            sessions.push((session, stream));
        }
    }
    for (session, _) in &mut sessions {
        session.acks(0, 100);
    }
    server.kill();
    // More may have been acknowledged on the way.
    let acked: Vec<(String, u64)> = sessions
        .into_iter()
        .map(|(mut session, stream)| {
            let mut acked = 100;
            while let Ok(Some(frame)) = session.try_next() {
                assert!(!frame.is_terminal(), "{frame:?}");
                acked += 1;
            }
            (stream, acked)
        })
        .collect();
    server.restart();
    let mut after: Client = server.client().in_basin(client.basin());
    for (stream, acked) in acked {
        let bodies = after.read_bodies(&stream, "seq_num=0");
        assert!(bodies.len() as u64 >= acked, "{stream}: {} of {acked}", bodies.len());
        let expected: Vec<String> = (0..bodies.len()).map(|at| at.to_string()).collect();
        assert_eq!(bodies, expected, "{stream}");
    }
}

/// A thousand sockets' worth of followers: half over connections of their own, half as streams of
/// two connections. What they follow was just written, so the disk is not read for any of them.
#[test]
fn a_thousand_followers_of_one_stream_get_everything_without_a_read_of_the_disk() {
    const FOLLOWERS: usize = 1000;
    const STREAMS_PER_CONNECTION: usize = 250;
    const BATCHES: u64 = 40;
    let Some(server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    let request = client.scoped(read_request("s", "seq_num=0"));
    let mut conns = Vec::new();
    let mut followers = Vec::new();
    for at in 0..FOLLOWERS {
        let exchange = if at < FOLLOWERS / 2 {
            Exchange::start(&client, Protocol::Http1, read_request("s", "seq_num=0"))
        } else {
            if at % STREAMS_PER_CONNECTION == 0 {
                conns.push(Http2::open(client.host()));
            }
            Exchange::of_stream(conns.last().expect("just opened").start(&request))
        };
        followers.push(Session::open(exchange));
    }
    followers.iter_mut().for_each(|follower| follower.heartbeat(0));
    let reads_before = client.metric("thalweg_log_reads_total");
    let read_before = client.metric("thalweg_read_records_total");
    let mut writer = Session::append(&client, Protocol::Http2, "s");
    for at in 0..BATCHES {
        writer.push(&AppendInput::one(format!("{at}")));
    }
    for (number, follower) in followers.iter_mut().enumerate() {
        let mut next = 0;
        while next < BATCHES {
            for record in follower.batch().records {
                assert_eq!(record.seq_num, next, "follower {number}");
                assert_eq!(record.body, next.to_string().into_bytes(), "follower {number}");
                next += 1;
            }
        }
    }
    writer.acks(0, BATCHES);
    let delivered = client.metric("thalweg_read_records_total") - read_before;
    assert_eq!(delivered, FOLLOWERS as u64 * BATCHES);
    assert_eq!(client.metric("thalweg_log_reads_total"), reads_before, "reads of the disk");
}

/// Followers that leave, in every way that there is, leave nothing behind.
#[test]
fn sessions_that_are_abandoned_are_given_up() {
    let Some(server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("a");
    client.create_stream("b");
    for protocol in Protocol::BOTH {
        let mut sessions = Vec::new();
        for _ in 0..20 {
            for stream in ["a", "b"] {
                sessions.push(Session::append(&client, protocol, stream));
                let mut follower = Session::read(&client, protocol, stream, "seq_num=0");
                follower.batch();
                sessions.push(follower);
            }
        }
        assert!(client.metric("thalweg_connections{") > 80, "over {protocol}");
        drop(sessions);
        let given_up = || (client.metric("thalweg_connections{") <= 1).then_some(());
        let given_up = poll(std::time::Duration::from_secs(10), given_up);
        assert!(given_up.is_some(), "connections stay open over {protocol}");
    }
    client.append_bodies("a", &["x"]);
}
