//! Several connections at once: what one client was told, no other client sees contradicted.

use std::thread;

use crate::common::client::{Client, fresh_basin};

/// Four connections and eight streams: both shards take part in every role.
#[test]
fn an_acknowledged_append_is_in_the_tail_that_anyone_asks_for_next() {
    let mut client = fresh_basin();
    let streams: Vec<String> = (0..8).map(|index| format!("stream {index}")).collect();
    for stream in &streams {
        client.create_stream(stream);
    }
    let mut clients: Vec<Client> = (0..4).map(|_| client.another()).collect();
    for turn in 0..200 {
        let stream = &streams[turn % streams.len()];
        let ack = clients[turn % 4].append_bodies(stream, &["a"]);
        let tail = clients[(turn + 1 + turn / 7 % 3) % 4].tail(stream);
        assert_eq!(tail.status(200).at("/tail"), ack.at("/end"), "turn {turn}: {tail}");
        let last = ack.u64_at("/start/seq_num");
        let read = clients[(turn + 2) % 4].read_seq_nums(stream, &format!("seq_num={last}"));
        assert_eq!(read, [last], "turn {turn}: the record is readable too");
    }
}

#[test]
fn writers_of_one_stream_share_its_numbers_without_gap_or_overlap() {
    const WRITERS: usize = 4;
    const APPENDS: usize = 40;
    let mut client = fresh_basin();
    client.create_stream("s");
    let write = |writer: usize| {
        let mut client = client.another();
        let mut acked = Vec::new();
        for turn in 0..APPENDS {
            let body = format!("{writer}/{turn}");
            let ack = client.append_bodies("s", &[&body, &body]);
            acked.push((ack.u64_at("/start/seq_num"), body));
            let tail = client.tail_seq_num("s");
            assert!(tail >= ack.u64_at("/tail/seq_num"), "the tail went back: {tail} after {ack}");
        }
        acked
    };
    let mut acked: Vec<(u64, String)> = thread::scope(|scope| {
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer succeeds")).collect()
    });
    acked.sort_unstable();
    let starts: Vec<u64> = acked.iter().map(|(start, _)| *start).collect();
    let expected: Vec<u64> = (0..).step_by(2).take(WRITERS * APPENDS).collect();
    assert_eq!(starts, expected);
    let bodies: Vec<String> =
        acked.into_iter().flat_map(|(_, body)| [body.clone(), body]).collect();
    assert_eq!(client.read_bodies("s", "seq_num=0"), bodies);
}

#[test]
fn of_several_conditional_appends_at_once_exactly_one_wins() {
    let mut client = fresh_basin();
    client.create_stream("s");
    for expected in 0..10_u64 {
        let body = serde_json::json!({ "records": [{}], "match_seq_num": expected });
        let append = || client.another().append("s", &body);
        let answers: Vec<_> = thread::scope(|scope| {
            let writers: Vec<_> = (0..4).map(|_| scope.spawn(append)).collect();
            writers.into_iter().map(|writer| writer.join().expect("an answer")).collect()
        });
        let winners = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(winners, 1, "at {expected}");
        for loser in answers.iter().filter(|answer| answer.status != 200) {
            loser.is(412, &serde_json::json!({ "seq_num_mismatch": expected + 1 }));
        }
    }
    assert_eq!(client.tail_seq_num("s"), 10);
}
