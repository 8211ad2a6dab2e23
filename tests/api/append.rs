//! Appends: acknowledgements, what a batch may hold, strict JSON.

use serde_json::{Value, json};

use crate::common::client::{batch, check_ack, fresh_basin};
use crate::common::http::Request;
use crate::common::now_ms;

/// The largest body of a record without headers.
const BODY_BYTES_MAX: usize = 1_048_568;

fn body_of(bytes: usize) -> Value {
    json!({ "records": [{ "body": "x".repeat(bytes) }] })
}

#[test]
fn case_27_28_29_an_append_is_acknowledged_and_readable() {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.tail("s").is(200, &json!({ "tail": { "seq_num": 0, "timestamp": 0 } }));

    let before_ms = now_ms();
    let ack = client.append_bodies("s", &["a", "b"]);
    assert_eq!(ack.u64_at("/start/seq_num"), 0);
    assert_eq!(ack.u64_at("/end/seq_num"), 2);
    assert_eq!(ack.at("/tail"), ack.at("/end"), "{ack}");
    assert!(ack.u64_at("/start/timestamp") + 50 >= before_ms, "{ack}");
    assert!(ack.u64_at("/end/timestamp") <= now_ms(), "{ack}");
    client.tail("s").is(200, &json!({ "tail": ack.at("/tail") }));

    let read = client.read("s", "seq_num=0");
    let expected = [
        json!({ "seq_num": 0, "timestamp": ack.at("/start/timestamp"), "body": "a" }),
        json!({ "seq_num": 1, "timestamp": ack.at("/end/timestamp"), "body": "b" }),
    ];
    assert_eq!(read.records(), expected, "{read}");
    if let Some(tail) = read.json().get("tail") {
        assert_eq!(*tail, ack.at("/tail"), "a tail is optional here, but must be true: {read}");
    }
    let second = client.append_bodies("s", &["c"]);
    assert_eq!(second.u64_at("/start/seq_num"), 2);
}

#[test]
fn case_30_bad_batches_are_refused() {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.append("s", &json!({ "records": [] })).refused(422, "invalid");
    client.append("s", &batch(&["x"; 1001])).refused(422, "invalid");
    client.append("s", &json!({})).refused(400, "bad_json");
    let request = Request::new("POST", "/v1/streams/s/records");
    let typed =
        |body: &[u8]| request.clone().bytes(body).header("content-type", "application/json");
    client.send(typed(b"not json")).refused(400, "bad_json");
    client.send(request.clone().bytes("{\"records\":[{}]}")).refused(400, "bad_json");
    client.send(request.clone()).refused(400, "bad_json");
    let plain = request.clone().bytes("{\"records\":[{}]}").header("content-type", "text/plain");
    client.send(plain).refused(400, "bad_json");
    assert_eq!(client.tail_seq_num("s"), 0);
    check_ack(&client.append("s", &batch(&["x"; 1000])), 1000);
}

#[test]
fn json_is_parsed_strictly() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let request = Request::new("POST", "/v1/streams/s/records");
    let refused: [&[u8]; 28] = [
        b"",
        b"null",
        b"[]",
        b"[{\"body\":\"x\"}]",
        b"{\"records\":[{}]",
        b"{\"records\":[{}]}x",
        b"{\"records\":[{}]}{}",
        b"{\"records\":[{}],}",
        b"\xef\xbb\xbf{\"records\":[{}]}",
        b"{\"records\":null}",
        b"{\"records\":{}}",
        b"{\"records\":[null]}",
        b"{\"records\":[1]}",
        b"{\"records\":[{}],\"records\":[{}]}",
        b"{\"records\":[{\"body\":\"x\",\"body\":\"y\"}]}",
        b"{\"records\":[{\"body\":null}]}",
        b"{\"records\":[{\"body\":7}]}",
        b"{\"records\":[{\"body\":\"\xff\"}]}",
        b"{\"records\":[{\"body\":\"\\ud800\"}]}",
        b"{\"records\":[{\"body\":\"a\nb\"}]}",
        b"{\"records\":[{\"headers\":null}]}",
        b"{\"records\":[{\"headers\":[[\"a\"]]}]}",
        b"{\"records\":[{\"headers\":[[\"a\",\"b\",\"c\"]]}]}",
        b"{\"records\":[{\"timestamp\":-1}]}",
        b"{\"records\":[{\"timestamp\":1.0}]}",
        b"{\"records\":[{\"timestamp\":18446744073709551616}]}",
        b"{\"records\":[{}],\"match_seq_num\":\"0\"}",
        b"{\"records\":[{}],\"fencing_token\":7}",
    ];
    for body in refused {
        let typed = request.clone().bytes(body).header("content-type", "application/json");
        client.send(typed).refused(400, "bad_json");
    }
    assert_eq!(client.tail_seq_num("s"), 0);
    let accepted: [&[u8]; 6] = [
        b" \r\n\t{ \"records\" : [ { } ] } \n",
        b"{\"records\":[{\"headers\":[],\"body\":\"\",\"timestamp\":null}]}",
        b"{\"records\":[{}],\"match_seq_num\":null,\"fencing_token\":null}",
        b"{\"unknown\":{\"deep\":[1,2.5,null]},\"records\":[{\"more\":true}]}",
        b"{\"records\":[{\"body\":\"\\ud83d\\ude00\\u0000\\\"\\\\\\/\\b\\f\\n\\r\\t\"}]}",
        b"{\"rec\\u006frds\":[{\"b\\u006fdy\":\"x\"}]}",
    ];
    for body in accepted {
        let typed = request.clone().bytes(body).header("content-type", "application/json");
        check_ack(&client.send(typed), 1);
    }
    let bodies = ["", "", "", "", "\u{1f600}\0\"\\/\u{8}\u{c}\n\r\t", "x"];
    assert_eq!(client.read_bodies("s", "seq_num=0"), bodies);
}

#[test]
fn only_the_first_media_type_counts_in_any_spelling() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let send = |client: &mut crate::common::client::Client, media_type: &str| {
        let request = Request::new("POST", "/v1/streams/s/records").bytes("{\"records\":[{}]}");
        client.send(request.header("content-type", media_type))
    };
    for media_type in [
        "APPLICATION/Json",
        "application/json; charset=utf-8",
        "application/vnd.example+json",
        "application/json, text/plain",
    ] {
        check_ack(&send(&mut client, media_type), 1);
    }
    for media_type in ["text/json", "text/plain, application/json", "application/x-json", ""] {
        send(&mut client, media_type).refused(400, "bad_json");
    }
}

#[test]
fn case_31_the_largest_record_is_accepted_and_read_back() {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.append("s", &body_of(BODY_BYTES_MAX + 1)).refused(422, "invalid");
    check_ack(&client.append("s", &body_of(BODY_BYTES_MAX)), 1);
    let records = client.read("s", "seq_num=0").records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["body"].as_str().map(str::len), Some(BODY_BYTES_MAX));
}

#[test]
fn case_32_the_largest_batch_is_accepted() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let with_first_longer_by = |bytes: usize| {
        let (usual, first) = ("x".repeat(1040), "x".repeat(1040 + bytes));
        let mut bodies = [usual.as_str(); 1000];
        bodies[0] = &first;
        batch(&bodies)
    };
    // 1000 records of 1048 metered bytes leave 576 of the 1,048,576.
    check_ack(&client.append("s", &with_first_longer_by(0)), 1000);
    client.append("s", &with_first_longer_by(600)).refused(422, "invalid");
    client.append("s", &with_first_longer_by(577)).refused(422, "invalid");
    check_ack(&client.append("s", &with_first_longer_by(576)), 1000);
    assert_eq!(client.tail_seq_num("s"), 2000);
}

#[test]
fn headers_are_metered_with_their_names_and_values() {
    let mut client = fresh_basin();
    client.create_stream("s");
    // 8 for the record, 2 + 4 + 6 for the header.
    let record = |body: usize| json!({ "records": [{ "headers": [["name", "value."]], "body": "x".repeat(body) }] });
    client.append("s", &record(BODY_BYTES_MAX - 11)).refused(422, "invalid");
    check_ack(&client.append("s", &record(BODY_BYTES_MAX - 12)), 1);
}

#[test]
fn case_33_header_names_must_not_be_empty_beside_others() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let with = |headers: Value| json!({ "records": [{ "headers": headers }] });
    let refused = [
        json!([["", "nope"]]),
        json!([["", "Fence"]]),
        json!([["", ""]]),
        json!([["", "fence"], ["x", "y"]]),
        json!([["x", "y"], ["", "trim"]]),
        json!([["", "a"], ["", "b"]]),
    ];
    for headers in refused {
        client.append("s", &with(headers)).refused(422, "invalid");
    }
    assert_eq!(client.tail_seq_num("s"), 0);
    let accepted = [
        json!([["x", ""]]),
        json!([["x", "1"], ["x", "2"], ["a", "3"], ["x", "1"]]),
        json!([["fence", "é"], [" ", "\u{0}"]]),
    ];
    for headers in &accepted {
        check_ack(&client.append("s", &with(headers.clone())), 1);
    }
    let records = client.read("s", "seq_num=0").records();
    for (record, headers) in records.iter().zip(&accepted) {
        assert_eq!(record["headers"], *headers, "order and repetition are kept");
        assert!(record.get("body").is_none(), "an empty body is left out: {record}");
    }
    assert_eq!(records.len(), accepted.len());
}

#[test]
fn one_bad_record_refuses_the_whole_batch() {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.append_bodies("s", &["before"]);
    let records = json!([{ "body": "good" }, { "headers": [["", "nope"]] }, { "body": "good" }]);
    client.append("s", &json!({ "records": records })).refused(422, "invalid");
    assert_eq!(client.tail_seq_num("s"), 1);
    assert_eq!(client.append_bodies("s", &["after"]).u64_at("/start/seq_num"), 1);
}

#[test]
fn a_body_that_is_long_only_by_its_escapes_is_accepted() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let escaped = "\\u0041".repeat(500_000);
    let request = Request::new("POST", "/v1/streams/s/records")
        .bytes(format!("{{\"records\":[{{\"body\":\"{escaped}\"}}]}}"))
        .header("content-type", "application/json");
    check_ack(&client.send(request), 1);
    assert_eq!(client.read_bodies("s", "seq_num=0"), ["A".repeat(500_000)]);
}

#[test]
fn case_75_encryption_keys_are_ignored_on_plaintext_streams_but_for_their_length() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let with_key = |request: Request, key: &str| request.header("s2-encryption-key", key);
    let append = Request::post("/v1/streams/s/records", &batch(&["a"]));
    let read = Request::get("/v1/streams/s/records?seq_num=0");
    for key in ["!!!!", "x", &"k".repeat(44)] {
        client.send(with_key(append.clone(), key)).status(200);
        client.send(with_key(read.clone(), key)).status(200);
    }
    for key in [&"k".repeat(45), ""] {
        client.send(with_key(append.clone(), key)).refused(400, "bad_header");
        client.send(with_key(read.clone(), key)).refused(400, "bad_header");
    }
}
