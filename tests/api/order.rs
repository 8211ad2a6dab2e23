//! The order in which a request's faults are found (S2 specification, section 1.10): of two
//! faults in one request, the earlier stage's is reported.

use serde_json::{Value, json};

use crate::common::client::{batch, fresh_basin};
use crate::common::http::Request;

const MISSING: &str = "/v1/streams/missing/records";

#[test]
fn case_72_a_missing_stream_or_basin_is_reported() {
    let mut client = fresh_basin();
    client.append("missing", &batch(&["a"])).refused(404, "stream_not_found");
    client.read("missing", "seq_num=0").refused(404, "stream_not_found");
    client.read("missing", "seq_num=0&count=0").refused(404, "stream_not_found");
    client.tail("missing").refused(404, "stream_not_found");
    client.get("/v1/streams/missing").refused(404, "stream_not_found");

    let mut client = client.in_basin("no-such-basin-1");
    client.append("missing", &batch(&["a"])).refused(404, "basin_not_found");
    client.read("missing", "seq_num=0").refused(404, "basin_not_found");
    client.tail("missing").refused(404, "basin_not_found");
    client.get("/v1/streams").refused(404, "basin_not_found");
}

#[test]
fn headers_come_before_path_before_query() {
    let mut client = fresh_basin();
    let request = Request::get("/v1/streams/%FF/records?seq_num=x");
    client.send(request.clone().header("s2-basin", "x")).refused(400, "bad_header");
    client.send(request).refused(400, "bad_path");
    let request = Request::get(&format!("{MISSING}?seq_num=x")).header("s2-format", "hex");
    client.send(request).refused(400, "bad_query");
}

#[test]
fn the_request_token_is_judged_first_and_only_where_it_means_something() {
    let mut client = fresh_basin();
    let token = "t".repeat(37);
    let create = Request::new("POST", "/v1/streams").bytes("not json");
    let create = create.header("content-type", "application/json");
    client.send(create.clone().header("s2-request-token", &token)).refused(400, "bad_header");
    client.send(create).refused(400, "bad_json");
    client.create_stream("s");
    let append = Request::post("/v1/streams/s/records", &batch(&["a"]));
    client.send(append.header("s2-request-token", &token)).status(200);
    client.send(Request::get("/v1/streams").header("s2-request-token", &token)).status(200);
}

#[test]
fn an_append_is_judged_by_headers_then_body_then_meaning_then_state() {
    let mut client = fresh_basin();
    let append = |body: &str| {
        Request::new("POST", MISSING).bytes(body).header("content-type", "application/json")
    };
    let empty = json!({ "records": [] }).to_string();
    client.send(append("{").header("s2-format", "hex")).refused(400, "bad_header");
    client.send(append("{").header("s2-encryption-key", "k".repeat(45))).refused(400, "bad_header");
    client.send(append("{").header("s2-stream-config", "x")).refused(400, "bad_header");
    client.send(append("{")).refused(400, "bad_json");
    client.send(append(&empty)).refused(422, "invalid");
    client.send(append(&json!({ "records": [{}] }).to_string())).refused(404, "stream_not_found");
}

#[test]
fn meaning_comes_before_conditions_and_before_creation() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let wrong = |records: Value| json!({ "records": records, "match_seq_num": 9 });
    client.append("s", &wrong(json!([]))).refused(422, "invalid");
    client.append("s", &wrong(json!([{}]))).is(412, &json!({ "seq_num_mismatch": 0 }));
    client.read("missing", "seq_num=0&timestamp=0").refused(422, "invalid");
    let invalid = json!({ "stream": "s", "config": { "retention_policy": { "age": 0 } } });
    client.post("/v1/streams", &invalid).refused(422, "invalid");
}

#[test]
fn a_read_is_judged_by_query_then_headers_then_meaning_then_state() {
    let mut client = fresh_basin();
    let read = |query: &str| Request::get(&format!("{MISSING}?{query}"));
    client.send(read("clamp=1").header("s2-format", "hex")).refused(400, "bad_query");
    let both = read("timestamp=5&until=5");
    client.send(both.clone().header("s2-format", "hex")).refused(400, "bad_header");
    client.send(both).refused(422, "invalid");
    client.send(read("timestamp=5&until=6")).refused(404, "stream_not_found");
}
