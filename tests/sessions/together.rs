//! Writers and readers together, in an order that a seed decides.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::common::client::{Client, fresh_basin_on};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http2::{Http2, Windows};
use crate::common::s2s::{AppendInput, AppendRecord};
use crate::common::server::Server;
use crate::common::session::{Session, read_request};

/// A generator of numbers that a seed decides (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A record that tells its writer, its number and its length.
fn body(writer: u64, number: u64, length: u64) -> Vec<u8> {
    let mut body = format!("{writer} {number} {length} ").into_bytes();
    let length = usize::try_from(length).expect("short");
    body.resize(body.len() + length, b'.');
    body
}

/// The batches of a writer, each as the lengths of its records.
fn plan(writer: u64) -> Vec<Vec<u64>> {
    let mut dice = Dice(writer + 1);
    let mut batch = || {
        let records = 1 + dice.below(40);
        let length = [10, 300, 9_000][usize::try_from(dice.below(3)).expect("small")];
        (0..records).map(|_| dice.below(length)).collect()
    };
    (0..60).map(|_| batch()).collect()
}

/// Appends what is planned, with some batches unanswered at any time.
fn write(client: &Client, protocol: Protocol, stream: &str, writer: u64) {
    let mut session = Session::append(client, protocol, stream);
    let (mut number, mut unanswered) = (0, 0);
    for lengths in plan(writer) {
        let records = lengths
            .into_iter()
            .zip(number..)
            .map(|(length, number)| AppendRecord::of(body(writer, number, length)));
        let records: Vec<_> = records.collect();
        number += records.len() as u64;
        session.push(&AppendInput::of(records));
        unanswered += 1;
        while unanswered > 8 {
            session.ack();
            unanswered -= 1;
        }
    }
    session.finish();
    for _ in 0..unanswered {
        session.ack();
    }
    session.end();
}

/// Reads `total` records, now and then not for a while; gives the bodies in order.
fn read(client: &Client, protocol: Protocol, stream: &str, total: u64, seed: u64) -> Vec<Vec<u8>> {
    let mut dice = Dice(seed);
    let windows = Windows { stream: 65_535, connection: 65_535 };
    let request = client.scoped(read_request(stream, "seq_num=0"));
    let conn = Http2::open_with(client.host(), windows);
    let mut session = Session::open(match protocol {
        Protocol::Http1 => Exchange::start(client, protocol, request),
        Protocol::Http2 => Exchange::of_stream(conn.start(&request)),
    });
    let mut bodies = Vec::new();
    while (bodies.len() as u64) < total {
        if dice.below(20) == 0 {
            pause(Duration::from_millis(dice.below(150)));
        }
        let batch = session.batch();
        if batch.is_heartbeat() {
            let tail = batch.tail.map(|tail| tail.seq_num);
            assert_eq!(tail, Some(bodies.len() as u64), "a heartbeat ahead of what came");
        }
        if let Some(tail) = batch.tail {
            let next = (bodies.len() + batch.records.len()) as u64;
            assert!(tail.seq_num >= next, "the tail {tail:?} is behind what came");
        }
        for record in batch.records {
            assert_eq!(record.seq_num, bodies.len() as u64, "a gap or a repetition");
            bodies.push(record.body);
        }
    }
    bodies
}

/// Lets a reader be slow.
fn pause(span: Duration) {
    let (_never, waiting) = std::sync::mpsc::channel::<()>();
    assert!(waiting.recv_timeout(span).is_err());
}

#[test]
fn readers_of_all_speeds_see_what_writers_of_all_kinds_wrote() {
    const STREAMS: [&str; 3] = ["a", "b", "c"];
    // A window of a few batches, so that slow readers go back to the disk.
    let window = ("THALWEG_READ_WINDOW_BYTES", "1048576");
    let Some(server) = Server::start_with(2, &[window]) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    STREAMS.iter().for_each(|stream| client.create_stream(stream));
    let client = &client;
    let expected = [0, 1].into_iter().flat_map(plan).map(|batch| batch.len() as u64).sum();
    thread::scope(|scope| {
        let mut readers = Vec::new();
        for stream in STREAMS {
            for (protocol, writer) in Protocol::BOTH.into_iter().zip(0..) {
                scope.spawn(move || write(client, protocol, stream, writer));
            }
            for (protocol, seed) in Protocol::BOTH.into_iter().cycle().take(4).zip(100..) {
                let reader = move || read(client, protocol, stream, expected, seed);
                readers.push((stream, scope.spawn(reader)));
            }
        }
        let mut seen: Vec<(&str, Vec<Vec<u8>>)> = Vec::new();
        for (stream, reader) in readers {
            let bodies = reader.join().expect("no panic");
            match seen.iter().find(|(known, _)| *known == stream) {
                Some((_, first)) => assert!(*first == bodies, "readers of {stream} disagree"),
                None => {
                    check_writers(&bodies);
                    seen.push((stream, bodies));
                }
            }
        }
    });
}

/// Each writer's records are all there, in its order, with the bytes that it wrote.
fn check_writers(bodies: &[Vec<u8>]) {
    let mut next = [0, 0];
    for came in bodies {
        let text = String::from_utf8_lossy(came);
        let mut words = text.split(' ').map(|word| word.parse::<u64>().unwrap_or_default());
        let mut word = || words.next().expect("four words");
        let (writer, number, length) = (word(), word(), word());
        assert!(*came == body(writer, number, length), "other bytes: {text}");
        let next = &mut next[usize::try_from(writer).expect("two writers")];
        assert_eq!(number, *next, "writer {writer}");
        *next += 1;
    }
}

/// With room for one large batch at a time, sessions take turns; none starves, none fails.
#[test]
fn sessions_share_little_room_without_a_failure() {
    let inflight = ("THALWEG_APPEND_INFLIGHT_BYTES", "2097152");
    let Some(server) = Server::start_with(2, &[inflight]) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let mut sessions = Vec::new();
    for index in 0..6 {
        for protocol in Protocol::BOTH {
            let stream = format!("{protocol} {index}");
            client.create_stream(&stream);
            let mut session = Session::append(&client, protocol, &stream);
            for _ in 0..5 {
                session.push(&AppendInput::one(vec![0; 700_000]));
                session.push(&AppendInput::one("small"));
            }
            session.finish();
            sessions.push((session, stream));
        }
    }
    // A unary append gets its turn as well.
    client.create_stream("unary");
    client.append_bodies("unary", &[&"x".repeat(900_000)]);
    for (session, stream) in &mut sessions {
        session.acks(0, 10);
        session.end();
        assert_eq!(client.tail_seq_num(stream), 10);
    }
}
