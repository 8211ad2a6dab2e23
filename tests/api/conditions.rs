//! Append conditions: expected sequence number and fencing token.

use serde_json::{Value, json};

use crate::common::client::{Client, fresh_basin};
use crate::common::http::Request;

fn fence(token: &str) -> Value {
    json!({ "headers": [["", "fence"]], "body": token })
}

/// A stream `s` that is fenced with `token` and holds nothing else.
fn fenced(token: &str) -> Client {
    let mut client = fresh_basin();
    client.create_stream("s");
    let body = json!({ "records": [fence(token)], "fencing_token": "" });
    client.append("s", &body).status(200);
    client
}

fn append_under(client: &mut Client, token: &Value) -> crate::common::http::Response {
    client.append("s", &json!({ "records": [{ "body": "x" }], "fencing_token": token }))
}

#[test]
fn case_34_a_wrong_sequence_number_changes_nothing() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let under = |seq_num: u64| json!({ "records": [{ "body": "x" }], "match_seq_num": seq_num });
    client.append("s", &under(1)).is(412, &json!({ "seq_num_mismatch": 0 }));
    client.append("s", &under(0)).status(200);
    client.append_bodies("s", &["1", "2", "3", "4"]);
    let tail = client.tail("s").json();
    for wrong in [0, 4, 6, u64::MAX] {
        client.append("s", &under(wrong)).is(412, &json!({ "seq_num_mismatch": 5 }));
    }
    assert_eq!(client.tail("s").json(), tail);
    assert_eq!(client.append("s", &under(5)).status(200).u64_at("/end/seq_num"), 6);
}

#[test]
fn case_35_36_a_fence_refuses_other_tokens() {
    let mut client = fenced("t1");
    let mismatch = json!({ "fencing_token_mismatch": "t1" });
    append_under(&mut client, &json!("t0")).is(412, &mismatch);
    append_under(&mut client, &json!("")).is(412, &mismatch);
    append_under(&mut client, &json!("T1")).is(412, &mismatch);
    assert_eq!(client.tail_seq_num("s"), 1);
    append_under(&mut client, &json!("t1")).status(200);
    append_under(&mut client, &json!(null)).status(200);
    client.append_bodies("s", &["x"]);
    assert_eq!(client.tail_seq_num("s"), 4);
}

#[test]
fn an_empty_fence_clears_the_token() {
    let mut client = fenced("t1");
    client.append("s", &json!({ "records": [fence("")] })).status(200);
    append_under(&mut client, &json!("t1")).is(412, &json!({ "fencing_token_mismatch": "" }));
    append_under(&mut client, &json!("")).status(200);
}

#[test]
fn case_37_the_fence_is_judged_before_the_sequence_number() {
    let mut client = fenced("t1");
    let body = json!({ "records": [{}], "fencing_token": "t0", "match_seq_num": 7 });
    client.append("s", &body).is(412, &json!({ "fencing_token_mismatch": "t1" }));
    let body = json!({ "records": [{}], "fencing_token": "t1", "match_seq_num": 7 });
    client.append("s", &body).is(412, &json!({ "seq_num_mismatch": 1 }));
}

#[test]
fn case_38_a_batch_is_judged_by_the_token_before_it() {
    let mut client = fenced("t1");
    let body = json!({ "records": [fence("t2"), { "body": "x" }], "fencing_token": "t1" });
    client.append("s", &body).status(200);
    client.append("s", &body).is(412, &json!({ "fencing_token_mismatch": "t2" }));
    let several = json!({ "records": [fence("a"), {}, fence("b")], "fencing_token": "t2" });
    client.append("s", &several).status(200);
    append_under(&mut client, &json!("a")).is(412, &json!({ "fencing_token_mismatch": "b" }));
    append_under(&mut client, &json!("b")).status(200);
}

#[test]
fn a_refused_batch_does_not_fence() {
    let mut client = fenced("t1");
    let body = json!({ "records": [fence("t2")], "match_seq_num": 9 });
    client.append("s", &body).is(412, &json!({ "seq_num_mismatch": 1 }));
    let body = json!({ "records": [fence("t2"), { "headers": [["", "nope"]] }] });
    client.append("s", &body).refused(422, "invalid");
    append_under(&mut client, &json!("t1")).status(200);
}

#[test]
fn case_39_a_token_has_at_most_36_bytes() {
    let mut client = fenced(&"t".repeat(36));
    append_under(&mut client, &json!("t".repeat(36))).status(200);
    client.append("s", &json!({ "records": [fence(&"t".repeat(37))] })).refused(422, "invalid");
    append_under(&mut client, &json!("t".repeat(37))).refused(400, "bad_json");
    // Bytes count, not characters.
    append_under(&mut client, &json!("é".repeat(19))).refused(400, "bad_json");
    client.append("s", &json!({ "records": [fence(&"é".repeat(19))] })).refused(422, "invalid");
    client.append("s", &json!({ "records": [fence(&"é".repeat(18))] })).status(200);
    append_under(&mut client, &json!("é".repeat(18))).status(200);
}

#[test]
fn a_fence_of_invalid_utf8_is_refused() {
    let mut client = fenced("t1");
    let body = json!({ "records": [{ "headers": [["", "ZmVuY2U="]], "body": "/w==" }] });
    let request = Request::post("/v1/streams/s/records", &body).header("s2-format", "base64");
    client.send(request).refused(422, "invalid");
    assert_eq!(client.tail_seq_num("s"), 1);
}
