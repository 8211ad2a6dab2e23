//! Reads that wait at the tail.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::common::client::{Client, fresh_basin, records_path};
use crate::common::http::{Request, Response};
use crate::common::{ANSWER_WAIT, Stopwatch};

/// How long a read must stay unanswered, once it was sent, before the test believes that it waits.
const STILL_WAITING: Duration = Duration::from_millis(300);

/// A read under way on a connection and a thread of its own.
struct Poll {
    answer: Receiver<(Response, Duration)>,
}

impl Poll {
    /// Returns when the request has been written.
    fn start(client: &Client, stream: &str, query: &str) -> Self {
        let mut client = client.another();
        let request = client.encode(&Request::get(&format!("{}?{query}", records_path(stream))));
        client.conn().write(&request).expect("the server takes the request");
        let (sender, answer) = mpsc::channel();
        thread::spawn(move || {
            let watch = Stopwatch::start();
            let response = client.read_response("GET", &request).expect("an answer");
            // The test may have failed and gone.
            let _receiver_lives = sender.send((response, watch.elapsed()));
        });
        Self { answer }
    }

    /// Fails if an answer comes although there is nothing to tell yet.
    #[track_caller]
    fn still_waits(&self) {
        match self.answer.recv_timeout(STILL_WAITING) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok((response, _)) => response.fail("the read was answered before there was anything"),
            Err(error) => panic!("the read failed: {error}"),
        }
    }

    #[track_caller]
    fn answer(self) -> (Response, Duration) {
        self.answer.recv_timeout(ANSWER_WAIT).expect("the read is answered in time")
    }
}

#[track_caller]
fn check_live(response: &Response, seq_nums: &[u64]) {
    let read: Vec<_> = response.records().iter().map(|record| record["seq_num"].clone()).collect();
    assert_eq!(json!(read), json!(seq_nums), "{response}");
    let next = seq_nums.last().map_or(0, |last| last + 1);
    assert_eq!(response.u64_at("/tail/seq_num"), next, "a live read tells the tail: {response}");
    let last = format!("/records/{}/timestamp", seq_nums.len() - 1);
    assert_eq!(response.at("/tail/timestamp"), response.at(&last), "{response}");
}

#[test]
fn case_56_a_waiting_read_is_answered_by_the_next_append() {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.append_bodies("s", &["before"]);
    for query in ["seq_num=1&wait=10", "seq_num=99&clamp=true&wait=10", "tail_offset=0&wait=10"] {
        let tail = client.tail_seq_num("s");
        let query = query.replace("seq_num=1&", &format!("seq_num={tail}&"));
        let poll = Poll::start(&client, "s", &query);
        poll.still_waits();
        client.append_bodies("s", &["a", "b"]);
        let (response, elapsed) = poll.answer();
        assert!(elapsed < Duration::from_secs(8), "answered only after {elapsed:?}: {response}");
        check_live(&response, &[tail, tail + 1]);
        assert_eq!(response.at("/records/0/body"), json!("a"));
        assert_eq!(response.at("/records/1/body"), json!("b"));
    }
}

/// Eight pairs of connections: with two shards it is all but certain that readers and writers
/// meet on the same shard as well as on different ones.
#[test]
fn readers_and_writers_meet_whatever_connection_they_are_on() {
    let mut client = fresh_basin();
    let streams: Vec<String> = (0..8).map(|index| format!("stream {index}")).collect();
    for stream in &streams {
        client.create_stream(stream);
    }
    let polls: Vec<Poll> =
        streams.iter().map(|stream| Poll::start(&client, stream, "seq_num=0&wait=10")).collect();
    for poll in &polls {
        poll.still_waits();
    }
    for stream in &streams {
        client.another().append_bodies(stream, &[stream]);
    }
    for (poll, stream) in polls.into_iter().zip(&streams) {
        let (response, elapsed) = poll.answer();
        assert!(elapsed < Duration::from_secs(9), "answered only after {elapsed:?}: {response}");
        check_live(&response, &[0]);
        assert_eq!(response.at("/records/0/body"), json!(stream));
    }
}

#[test]
fn every_waiting_reader_gets_the_record() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let polls = [(); 5].map(|()| Poll::start(&client, "s", "seq_num=0&wait=10"));
    for poll in &polls {
        poll.still_waits();
    }
    client.append_bodies("s", &["a"]);
    for poll in polls {
        check_live(&poll.answer().0, &[0]);
    }
}

#[test]
fn a_live_batch_is_cut_to_the_limits() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let poll = Poll::start(&client, "s", "seq_num=0&wait=10&count=2");
    poll.still_waits();
    client.append_bodies("s", &["a", "b", "c"]);
    let (response, _) = poll.answer();
    assert_eq!(response.records().len(), 2, "{response}");
    assert_eq!(response.u64_at("/tail/seq_num"), 3, "the tail is after the whole batch");
}

#[test]
fn a_live_batch_of_which_nothing_fits_ends_the_read() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let poll = Poll::start(&client, "s", "seq_num=0&wait=10&bytes=8");
    poll.still_waits();
    client.append_bodies("s", &["a"]);
    let (response, elapsed) = poll.answer();
    assert!(response.records().is_empty(), "{response}");
    assert!(elapsed < Duration::from_secs(9), "it waited on for {elapsed:?}");
}

#[test]
fn other_streams_do_not_wake_a_reader() {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.create_stream("t");
    let poll = Poll::start(&client, "s", "seq_num=0&wait=10");
    poll.still_waits();
    client.append_bodies("t", &["other"]);
    client.append("s", &json!({ "records": [{}], "match_seq_num": 7 })).status(412);
    poll.still_waits();
    client.append_bodies("s", &["own"]);
    assert_eq!(poll.answer().0.at("/records/0/body"), json!("own"));
}

#[test]
fn a_read_that_has_records_does_not_wait_for_more() {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.append_bodies("s", &["a"]);
    for query in ["seq_num=0&wait=10", "seq_num=0&count=5&wait=10", "timestamp=0&wait=10"] {
        let watch = Stopwatch::start();
        assert_eq!(client.read_bodies("s", query), ["a"]);
        assert!(watch.elapsed() < Duration::from_secs(8), "{query} waited");
    }
}

#[test]
fn case_88_an_expired_wait_is_an_empty_success() {
    let mut client = fresh_basin();
    client.create_stream("s");
    for query in ["timestamp=0&wait=1", "tail_offset=0&wait=1", "seq_num=5&clamp=true&wait=1"] {
        let watch = Stopwatch::start();
        let read = client.read("s", query);
        let waited = watch.elapsed();
        assert!(read.records().is_empty(), "{read}");
        if let Some(tail) = read.json().get("tail") {
            assert_eq!(*tail, json!({ "seq_num": 0, "timestamp": 0 }), "{read}");
        }
        assert!(waited >= Duration::from_millis(990), "{query}: only {waited:?}");
        assert!(waited < Duration::from_secs(8), "{query}: {waited:?}");
    }
    // The connection is as good as before.
    client.append_bodies("s", &["a"]);
    assert_eq!(client.connects(), 1);
}

#[test]
fn case_73_deletion_answers_a_waiting_reader() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let poll = Poll::start(&client, "s", "seq_num=0&wait=10");
    poll.still_waits();
    client.delete("/v1/streams/s").status(202);
    let (response, elapsed) = poll.answer();
    response.refused(409, "stream_deletion_pending");
    assert!(elapsed < Duration::from_secs(9), "it waited on for {elapsed:?}");
}
