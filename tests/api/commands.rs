//! Trimming, and command records as records.

use serde_json::{Value, json};

use crate::common::client::{Client, check_ack, fresh_basin};
use crate::common::http::{Request, Response};
use crate::common::{EVENTUALLY_WAIT, poll};

/// A trim command whose body is these base64 digits.
fn append_trim(client: &mut Client, body: &str) -> Response {
    let body = json!({ "records": [{ "headers": [["", "dHJpbQ=="]], "body": body }] });
    let request = Request::post("/v1/streams/s/records", &body);
    client.send(request.header("s2-format", "base64"))
}

fn trim_to(client: &mut Client, body: &str) -> Response {
    let ack = append_trim(client, body);
    check_ack(&ack, 1);
    ack
}

fn stream_of(count: usize) -> Client {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.append_bodies("s", &vec!["x"; count]);
    client
}

/// Waits until a read from the start gives exactly these sequence numbers.
#[track_caller]
fn eventually_holds(client: &mut Client, expected: &[u64]) {
    let mut last = Vec::new();
    let reached = poll(EVENTUALLY_WAIT, || {
        last = client.read_seq_nums("s", "seq_num=0");
        (last == expected).then_some(())
    });
    assert!(reached.is_some(), "expected the stream to hold {expected:?}, it holds {last:?}");
}

#[test]
fn case_40_a_trim_body_has_eight_bytes() {
    let mut client = stream_of(1);
    for body in ["AAAAAAAAAA==", "", "AAAAAAAAAAAA"] {
        append_trim(&mut client, body).refused(422, "invalid");
    }
    assert_eq!(client.tail_seq_num("s"), 1);
}

#[test]
fn case_41_a_trim_removes_what_is_before_it() {
    let mut client = stream_of(4);
    let ack = trim_to(&mut client, "AAAAAAAAAAI=");
    eventually_holds(&mut client, &[2, 3, 4]);
    client.tail("s").is(200, &json!({ "tail": ack.at("/tail") }));
    assert_eq!(ack.u64_at("/tail/seq_num"), 5);
    // Every other way to a trimmed start leads to the oldest record as well.
    assert_eq!(client.read_seq_nums("s", "seq_num=1"), [2, 3, 4]);
    assert_eq!(client.read_seq_nums("s", "tail_offset=5"), [2, 3, 4]);
    assert_eq!(client.read_seq_nums("s", "timestamp=0"), [2, 3, 4]);
    assert_eq!(client.append_bodies("s", &["y"]).u64_at("/start/seq_num"), 5);
}

#[test]
fn the_trim_point_only_moves_forward() {
    let mut client = stream_of(4);
    trim_to(&mut client, "AAAAAAAAAAM=");
    eventually_holds(&mut client, &[3, 4]);
    trim_to(&mut client, "AAAAAAAAAAE=");
    trim_to(&mut client, "AAAAAAAAAAA=");
    eventually_holds(&mut client, &[3, 4, 5, 6]);
}

#[test]
fn case_42_a_trim_can_remove_everything_up_to_itself() {
    let mut client = stream_of(3);
    let ack = trim_to(&mut client, "AAAAAAAPQj8=");
    eventually_holds(&mut client, &[]);
    client.read("s", "seq_num=0").is(200, &json!({ "records": [] }));
    let tail = json!({ "tail": ack.at("/tail") });
    assert_eq!(ack.u64_at("/tail/seq_num"), 4);
    client.read("s", "timestamp=0").is(416, &tail);
    client.tail("s").is(200, &tail);
    // What comes later is not trimmed, though the request named a larger number.
    client.append_bodies("s", &["y"]);
    assert_eq!(client.read_seq_nums("s", "seq_num=0"), [4]);
}

#[test]
fn a_raw_trim_works_where_its_bytes_are_text() {
    let mut client = stream_of(7);
    let body = "\0\0\0\0\0\0\0\u{5}";
    let trim = json!({ "records": [{ "headers": [["", "trim"]], "body": body }] });
    client.append("s", &trim).status(200);
    eventually_holds(&mut client, &[5, 6, 7]);
}

#[test]
fn command_records_are_read_like_others() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let records = json!([
        { "body": "data" },
        { "headers": [["", "fence"]], "body": "token" },
        { "headers": [["", "trim"]], "body": "\0\0\0\0\0\0\0\0" },
    ]);
    check_ack(&client.append("s", &json!({ "records": records })), 3);
    let without_position = |mut record: Value| {
        let members = record.as_object_mut().expect("a record is an object");
        members.remove("seq_num");
        members.remove("timestamp");
        record
    };
    let read: Vec<Value> =
        client.read("s", "seq_num=0").records().into_iter().map(without_position).collect();
    assert_eq!(json!(read), records);
    let request = Request::get("/v1/streams/s/records?seq_num=1").header("s2-format", "base64");
    let read = client.send(request).records();
    assert_eq!(read[0]["headers"], json!([["", "ZmVuY2U="]]));
    assert_eq!(read[1]["headers"], json!([["", "dHJpbQ=="]]));
    assert_eq!(read[1]["body"], json!("AAAAAAAAAAA="));
    // Metered: 12 for the data, 8 + 2 + 5 + 5 for the fence, 22 for the trim.
    assert_eq!(client.read_seq_nums("s", "seq_num=0&bytes=32"), [0, 1]);
    assert_eq!(client.read_seq_nums("s", "seq_num=0&bytes=31"), [0]);
    assert_eq!(client.read_seq_nums("s", "seq_num=2&bytes=22"), [2]);
    assert_eq!(client.read_seq_nums("s", "seq_num=2&bytes=21"), [0_u64; 0]);
}
