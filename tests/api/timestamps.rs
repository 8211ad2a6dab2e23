//! Timestamps: modes, capping, monotony.

use serde_json::{Value, json};

use crate::common::client::{Client, fresh_basin};
use crate::common::now_ms;

/// The server may read a coarser clock than the test does.
const CLOCK_SLACK_MS: u64 = 50;

fn stream_with(timestamping: Value) -> Client {
    let mut client = fresh_basin();
    client.create_stream_with("s", &json!({ "timestamping": timestamping }));
    client
}

fn append_at(client: &mut Client, timestamps: &[Option<u64>]) -> crate::common::http::Response {
    let records: Vec<Value> = timestamps.iter().map(|at| json!({ "timestamp": at })).collect();
    client.append("s", &json!({ "records": records }))
}

fn timestamps(client: &mut Client) -> Vec<u64> {
    let records = client.read("s", "seq_num=0").records();
    records.iter().filter_map(|record| record["timestamp"].as_u64()).collect()
}

#[test]
fn case_45_a_required_timestamp_must_be_there() {
    let mut client = stream_with(json!({ "mode": "client-require" }));
    append_at(&mut client, &[Some(1), None]).refused(422, "invalid");
    assert_eq!(client.tail_seq_num("s"), 0);
    append_at(&mut client, &[Some(1), Some(2)]).status(200);
    assert_eq!(timestamps(&mut client), [1, 2]);
}

#[test]
fn case_46_the_future_is_capped_unless_allowed() {
    let mut client = stream_with(json!({}));
    let start_ms = now_ms();
    let ack = append_at(&mut client, &[Some(start_ms + 60_000)]);
    let stored = ack.status(200).u64_at("/start/timestamp");
    assert!(stored + CLOCK_SLACK_MS >= start_ms && stored <= now_ms(), "{ack}");

    let mut client = stream_with(json!({ "uncapped": true }));
    let ack = append_at(&mut client, &[Some(start_ms + 60_000)]);
    assert_eq!(ack.status(200).u64_at("/start/timestamp"), start_ms + 60_000);
    // Later records inherit it: monotony is judged after capping.
    let ack = append_at(&mut client, &[None, Some(5)]);
    assert_eq!(ack.status(200).u64_at("/start/timestamp"), start_ms + 60_000);
    assert_eq!(ack.u64_at("/end/timestamp"), start_ms + 60_000);
    let ack = append_at(&mut client, &[Some(u64::MAX)]);
    assert_eq!(ack.status(200).u64_at("/tail/timestamp"), u64::MAX);
}

#[test]
fn case_47_timestamps_never_decrease() {
    let mut client = stream_with(json!({}));
    append_at(&mut client, &[Some(1000)]).status(200);
    append_at(&mut client, &[Some(500)]).status(200);
    append_at(&mut client, &[Some(2000), Some(1), Some(0), Some(2001)]).status(200);
    assert_eq!(timestamps(&mut client), [1000, 1000, 2000, 2000, 2000, 2001]);
    client.tail("s").is(200, &json!({ "tail": { "seq_num": 6, "timestamp": 2001 } }));
}

#[test]
fn case_48_arrival_ignores_what_the_client_says() {
    let mut client = stream_with(json!({ "mode": "arrival" }));
    let start_ms = now_ms();
    append_at(&mut client, &[Some(1), None, Some(u64::MAX)]).status(200);
    for stored in timestamps(&mut client) {
        assert!(stored + CLOCK_SLACK_MS >= start_ms && stored <= now_ms(), "{stored}");
    }
}

#[test]
fn a_record_without_a_timestamp_gets_the_time_of_arrival() {
    let mut client = stream_with(json!({ "mode": "client-prefer" }));
    let start_ms = now_ms();
    append_at(&mut client, &[Some(7), None]).status(200);
    let stored = timestamps(&mut client);
    assert_eq!(stored[0], 7);
    assert!(stored[1] + CLOCK_SLACK_MS >= start_ms && stored[1] <= now_ms(), "{stored:?}");
}
