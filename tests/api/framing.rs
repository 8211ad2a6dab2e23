//! HTTP/1.1 as dishonest or broken clients use it: whatever is ambiguous is refused, and what
//! follows on the connection is never taken for a request.

use serde_json::json;

use crate::common::client::{Client, batch, fresh_basin, fresh_basin_on, records_path};
use crate::common::http::Request;
use crate::common::server::Server;

/// A request that would append, were it ever obeyed.
fn smuggled(client: &Client) -> String {
    let body = json!({ "records": [{ "body": "smuggled" }] }).to_string();
    let head = append_head(client);
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

fn append_head(client: &Client) -> String {
    format!(
        "POST /v1/streams/s/records HTTP/1.1\r\nhost: x\r\ns2-basin: {}\r\n\
         content-type: application/json\r\n",
        client.basin()
    )
}

/// Sends each `tail` after the head of an append; each must be refused, close the connection, and
/// leave the stream as it was.
fn all_refused(tails: &[&str], statuses: &[u16]) {
    let mut client = fresh_basin();
    client.create_stream("s");
    for tail in tails {
        let sent = format!("{}{tail}{}", append_head(&client), smuggled(&client));
        client.answered_and_closed(sent.as_bytes(), statuses);
        assert_eq!(client.tail_seq_num("s"), 0, "something was appended by {sent}");
    }
}

/// Whoever says so much is told so at once, however many say it at the same time.
#[test]
fn lengths_that_cannot_be_are_refused_beside_large_appends() {
    let Some(server) = Server::start_with(1, &[]) else { return };
    let mut client = fresh_basin_on(&server, &json!({}));
    client.create_stream("s");
    let large = Request::post(&records_path("s"), &batch(&[&"x".repeat(40_000)]));
    let large = client.encode(&client.scoped(large));
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\ns2-basin: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        records_path("s"),
        client.basin(),
        u64::MAX
    );
    for _ in 0..20 {
        let mut others: Vec<Client> = (0..8).map(|_| client.another()).collect();
        for (at, other) in others.iter_mut().enumerate() {
            let bytes = if at % 2 == 0 { head.as_bytes() } else { &large };
            let _sent = other.conn().write(bytes);
        }
    }
    client.another().exchange(head.as_bytes(), "POST").status(413);
    client.append_bodies("s", &["after"]);
}

#[test]
fn two_ways_of_framing_are_refused() {
    all_refused(
        &[
            "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n",
        ],
        &[400],
    );
}

#[test]
fn contradictory_or_malformed_lengths_are_refused() {
    all_refused(
        &[
            "content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
            "content-length: 2, 3\r\n\r\n{}",
            "content-length: +2\r\n\r\n{}",
            "content-length: -2\r\n\r\n{}",
            "content-length: 2x\r\n\r\n{}",
            "content-length: 0x2\r\n\r\n{}",
            "content-length: \r\n\r\n{}",
            "content-length: 99999999999999999999999\r\n\r\n{}",
        ],
        &[400, 413],
    );
}

#[test]
fn transfer_codings_other_than_chunked_are_refused() {
    all_refused(
        &[
            "transfer-encoding: gzip\r\n\r\n",
            "transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
            "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        ],
        &[400, 501],
    );
}

#[test]
fn malformed_chunks_are_refused() {
    all_refused(
        &[
            "transfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\n\r\n{}\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        ],
        &[400, 413],
    );
}

#[test]
fn malformed_heads_are_refused() {
    all_refused(
        &[
            "content-length : 2\r\n\r\n{}",
            "x-folded: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
            "no colon\r\ncontent-length: 2\r\n\r\n{}",
            "x-nul: a\0b\r\ncontent-length: 2\r\n\r\n{}",
            ": no name\r\ncontent-length: 2\r\n\r\n{}",
        ],
        &[400],
    );
}

#[test]
fn malformed_request_lines_are_refused() {
    let mut client = fresh_basin();
    for line in
        ["GET /health", "GET", "GET  /health HTTP/1.1", "GET /health HTTP/9.9", "\x16\x03\x01"]
    {
        client.answered_and_closed(format!("{line}\r\nhost: x\r\n\r\n").as_bytes(), &[400, 505]);
    }
}

#[test]
fn an_oversized_head_is_refused() {
    let mut client = fresh_basin();
    let one_long =
        format!("GET /health HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(512 << 10));
    let refused = client.answered_and_closed(one_long.as_bytes(), &[431]);
    refused.error_code();
    let many: String = (0..20_000).map(|index| format!("x-{index}: a\r\n")).collect();
    let many = format!("GET /health HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    client.answered_and_closed(many.as_bytes(), &[431]);
}

#[test]
fn a_long_but_reasonable_head_is_accepted() {
    let mut client = fresh_basin();
    let long = "a".repeat(4_000);
    let head = format!("GET /health HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n");
    client.exchange(head.as_bytes(), "GET").status(200);
}

#[test]
fn a_body_beyond_sixteen_mebibytes_is_refused_by_its_length_alone() {
    let mut client = fresh_basin();
    client.create_stream("s");
    for length in ["16777217", "9999999999", "18446744073709551615"] {
        let sent = format!("{}content-length: {length}\r\n\r\n", append_head(&client));
        client.answered_and_closed(sent.as_bytes(), &[413]).error_code();
        let asks = format!(
            "{}expect: 100-continue\r\ncontent-length: {length}\r\n\r\n",
            append_head(&client)
        );
        client.answered_and_closed(asks.as_bytes(), &[413]).error_code();
    }
}

#[test]
fn error_answers_are_json_with_code_and_message() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let answers = [
        client.get("/v1/nope"),
        client.get("/v1/basins/x"),
        client.get("/v1/basins?limit=x"),
        client.get("/v1/streams/missing"),
        client.append("s", &json!(7)),
        client.append("s", &json!({ "records": [] })),
        client.post("/v1/streams", &json!({ "stream": "s" })),
    ];
    let statuses = answers.map(|answer| {
        answer.error_code();
        assert!(answer.body.len() < 1024, "error bodies stay small: {answer}");
        answer.status
    });
    assert_eq!(statuses, [404, 400, 400, 404, 400, 422, 409]);
}
