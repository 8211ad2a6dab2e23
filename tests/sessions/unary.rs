//! Unary appends and reads: representations, negotiation, and bodies that are compressed.

use prost::Message as _;
use serde_json::json;

use crate::both_ways;
use crate::common::client::{Client, records_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::{Request, Response};
use crate::common::s2s::{
    AppendAck, AppendInput, AppendRecord, ReadBatch, gunzip, gzip_of, unzstd, zstd_of,
};

const PROTOBUF: &str = "application/protobuf";
const JSON: &str = "application/json";

#[track_caller]
fn send(client: &Client, protocol: Protocol, request: Request) -> Response {
    Exchange::start(client, protocol, request).whole()
}

fn append(stream: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::new("POST", &records_path(stream)).header("content-type", content_type).bytes(body)
}

fn one(body: &str) -> Vec<u8> {
    AppendInput::one(body).encode_to_vec()
}

#[track_caller]
fn ack(response: &Response) -> AppendAck {
    assert_eq!(response.status(200).header("content-type"), Some(PROTOBUF), "{response}");
    let ack = AppendAck::decode(&*response.body).expect("an acknowledgement");
    assert!(ack.start.is_some() && ack.end.is_some() && ack.tail.is_some(), "{ack:?}");
    ack
}

#[track_caller]
fn batch(response: &Response) -> ReadBatch {
    assert_eq!(response.status(200).header("content-type"), Some(PROTOBUF), "{response}");
    ReadBatch::decode(&*response.body).expect("a batch")
}

#[test]
fn case_69_protobuf_both_ways() {
    both_ways(|client, protocol, stream| {
        let request = append(stream, "application/x-protobuf", gzip_of(&one("a")))
            .header("content-encoding", "gzip")
            .header("accept", "application/x-protobuf");
        let first = ack(&send(client, protocol, request));
        assert_eq!(first.start.map(|start| start.seq_num), Some(0));
        let read = Request::get(&format!("{}?seq_num=0", records_path(stream)));
        let read = send(client, protocol, read.header("accept", "application/x-protobuf"));
        let read = batch(&read);
        assert_eq!((read.seq_nums(), &*read.records[0].body), (vec![0], &b"a"[..]));
    });
}

/// Presence matters: zero and empty are values.
#[test]
fn protobuf_conditions_are_told_from_absent_ones() {
    both_ways(|client, protocol, stream| {
        let post = |input: AppendInput| {
            let request = append(stream, PROTOBUF, input.encode_to_vec());
            send(client, protocol, request)
        };
        post(AppendInput::one("a").matching(0)).status(200);
        let mismatch = json!({ "seq_num_mismatch": 1 });
        post(AppendInput::one("b").matching(0)).is(412, &mismatch);
        let fence = AppendRecord::of("t").header("", b"fence");
        post(AppendInput::of(vec![fence]).fenced("")).status(200);
        let mismatch = json!({ "fencing_token_mismatch": "t" });
        post(AppendInput::one("b").fenced("")).is(412, &mismatch);
        post(AppendInput::one("b").fenced("t").matching(2)).status(200);
    });
}

#[test]
fn case_39_and_others_protobuf_that_is_refused() {
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (AppendInput::one("x").fenced(&"t".repeat(37)).encode_to_vec(), 422, "invalid"),
        (AppendInput::default().encode_to_vec(), 422, "invalid"),
        (vec![], 422, "invalid"),
        (vec![0x0A, 0xFF], 400, "bad_proto"),
        (vec![0x0F], 400, "bad_proto"),
        (b"{\"records\":[{}]}".to_vec(), 400, "bad_proto"),
        // A fencing token that is not UTF-8.
        ([one("x"), vec![0x1A, 1, 0xFF]].concat(), 400, "bad_proto"),
        (AppendInput::of(vec![AppendRecord::default(); 1001]).encode_to_vec(), 422, "invalid"),
    ];
    both_ways(|client, protocol, stream| {
        for (body, status, code) in &cases {
            let refused = send(client, protocol, append(stream, PROTOBUF, body.clone()));
            refused.refused(*status, code);
        }
        assert_eq!(client.tail_seq_num(stream), 0);
    });
}

#[test]
fn appends_are_read_as_their_content_type_says_and_answered_as_wished() {
    /// Content type, body, accept, and the answer's type or the refusal's code.
    type Case = (&'static str, Vec<u8>, Option<&'static str>, Result<&'static str, &'static str>);
    let json_body = json!({ "records": [{ "body": "x" }] }).to_string().into_bytes();
    let cases: Vec<Case> = vec![
        (PROTOBUF, one("x"), Some("application/x-protobuf"), Ok(PROTOBUF)),
        ("Application/X-ProtoBuf; v=1", one("x"), Some("APPLICATION/PROTOBUF;q=0.1"), Ok(PROTOBUF)),
        (PROTOBUF, one("x"), None, Ok(JSON)),
        (PROTOBUF, one("x"), Some("*/*"), Ok(JSON)),
        (PROTOBUF, one("x"), Some("application/json, application/protobuf"), Ok(JSON)),
        (JSON, json_body.clone(), Some(PROTOBUF), Ok(PROTOBUF)),
        (JSON, json_body.clone(), Some("text/plain"), Ok(JSON)),
        ("application/vnd.x+json; charset=utf-8", json_body.clone(), None, Ok(JSON)),
        ("application/json, application/protobuf", json_body.clone(), None, Ok(JSON)),
        (JSON, one("x"), None, Err("bad_json")),
        ("text/plain", json_body.clone(), None, Err("bad_json")),
        ("application/jsonx", json_body.clone(), None, Err("bad_json")),
        ("application/octet-stream", one("x"), Some(PROTOBUF), Err("bad_json")),
        ("", json_body.clone(), None, Err("bad_json")),
    ];
    both_ways(|client, protocol, stream| {
        for (content_type, body, accept, expected) in &cases {
            let mut request = append(stream, content_type, body.clone());
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            let response = send(client, protocol, request);
            match expected {
                Ok(media_type) => {
                    let came = response.status(200).header("content-type");
                    assert_eq!(came, Some(*media_type), "{content_type} {accept:?}");
                }
                // Errors are JSON whatever was wished.
                Err(code) => {
                    response.refused(400, code);
                }
            }
        }
    });
}

#[test]
fn reads_are_dispatched_on_their_content_type_before_what_they_accept() {
    // Content type, accept, and the answer's type.
    let cases: &[(Option<&str>, Option<&str>, &str)] = &[
        (None, None, JSON),
        (None, Some("*/*"), JSON),
        (None, Some(JSON), JSON),
        (None, Some("text/html"), JSON),
        (None, Some("application/problem+json"), JSON),
        (None, Some(PROTOBUF), PROTOBUF),
        (None, Some("application/x-protobuf;q=0"), PROTOBUF),
        (None, Some("application/json, text/event-stream"), JSON),
        (None, Some("Text/Event-Stream"), "text/event-stream"),
        (None, Some("text/event-stream, application/json"), "text/event-stream"),
        (Some("s2s/proto"), None, "s2s/proto"),
        (Some("S2S/Proto"), Some(PROTOBUF), "s2s/proto"),
        (Some("s2s/proto; x=y"), Some("text/event-stream"), "s2s/proto"),
        (Some("application/protobuf"), Some(JSON), JSON),
        (None, Some("s2s/proto"), JSON),
    ];
    both_ways(|client, protocol, stream| {
        client.append_bodies(stream, &["a"]);
        for (content_type, accept, expected) in cases {
            let mut request = Request::get(&format!("{}?seq_num=0&count=1", records_path(stream)));
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            let response = send(client, protocol, request);
            let came = response.status(200).header("content-type");
            assert_eq!(came, Some(*expected), "{content_type:?} {accept:?}");
        }
    });
}

#[test]
fn a_protobuf_read_without_records_is_a_batch_without_records() {
    both_ways(|client, protocol, stream| {
        client.append_bodies(stream, &["a"]);
        let tail = json!({ "tail": client.tail(stream).at("/tail") });
        let read = |query: &str| {
            let request = Request::get(&format!("{}?{query}", records_path(stream)));
            send(client, protocol, request.header("accept", PROTOBUF))
        };
        assert_eq!(batch(&read("seq_num=0&count=0")), ReadBatch::default());
        assert_eq!(batch(&read("seq_num=1&wait=1")).records, []);
        read("seq_num=1").is(416, &tail);
        read("seq_num=x").refused(400, "bad_query");
    });
}

#[test]
fn bodies_may_be_compressed_and_broken_ones_are_refused() {
    /// Content type, coding, body, and what it is refused with.
    type Case = (&'static str, &'static str, Vec<u8>, Option<(u16, &'static str)>);
    let text = json!({ "records": [{ "body": "x" }] }).to_string().into_bytes();
    let proto = one("x");
    let bomb = {
        let mut bomb = b"{\"records\":[]".to_vec();
        bomb.resize(20 * 1024 * 1024, b' ');
        bomb
    };
    let cases: Vec<Case> = vec![
        (JSON, "gzip", gzip_of(&text), None),
        (JSON, "zstd", zstd_of(&text), None),
        (JSON, "GZip", gzip_of(&text), None),
        (JSON, "identity", text.clone(), None),
        (PROTOBUF, "zstd", zstd_of(&proto), None),
        (PROTOBUF, "gzip", gzip_of(&proto), None),
        (JSON, "gzip", text.clone(), Some((400, "bad_json"))),
        (JSON, "zstd", gzip_of(&text), Some((400, "bad_json"))),
        (PROTOBUF, "zstd", proto.clone(), Some((400, "bad_proto"))),
        (PROTOBUF, "gzip", gzip_of(&proto)[..12].to_vec(), Some((400, "bad_proto"))),
        (JSON, "zstd", zstd_of(&bomb), Some((400, "bad_json"))),
        (JSON, "gzip", gzip_of(&bomb), Some((400, "bad_json"))),
    ];
    both_ways(|client, protocol, stream| {
        let mut appended = 0;
        for (content_type, coding, body, refusal) in &cases {
            let request = append(stream, content_type, body.clone());
            let response = send(client, protocol, request.header("content-encoding", coding));
            match refusal {
                None => appended += u64::from(response.status(200).status == 200),
                Some((status, code)) => {
                    response.refused(*status, code);
                }
            }
        }
        for coding in ["br", "deflate", "gzip, br"] {
            let request = append(stream, JSON, text.clone()).header("content-encoding", coding);
            let refused = send(client, protocol, request);
            assert_eq!(refused.status(415).header("accept-encoding"), Some("zstd,gzip"));
        }
        assert_eq!(client.tail_seq_num(stream), appended);
        // On the control plane too.
        let create = gzip_of(b"{\"stream\":\"compressed\"}");
        let request = Request::new("POST", "/v1/streams").header("content-type", JSON);
        let request = request.header("content-encoding", "gzip").bytes(create);
        send(client, protocol, request).status(201);
    });
}

#[test]
fn large_answers_are_compressed_as_the_client_accepts() {
    let cases: &[(Option<&str>, Option<&str>)] = &[
        (None, None),
        (Some("zstd"), Some("zstd")),
        (Some("gzip"), Some("gzip")),
        (Some("gzip, deflate, br, zstd"), Some("zstd")),
        (Some("*"), Some("zstd")),
        (Some("zstd;q=0, *"), Some("gzip")),
        (Some("zstd;q=0, gzip;q=0.5"), Some("gzip")),
        (Some("gzip;q=0"), None),
        (Some("deflate, br"), None),
        (Some("identity"), None),
    ];
    both_ways(|client, protocol, stream| {
        let body = "text ".repeat(2000);
        client.append_bodies(stream, &[&body, "small"]);
        for (accepted, coding) in cases {
            for media_type in [JSON, PROTOBUF] {
                let with = |query: &str| {
                    let path = format!("{}?{query}", records_path(stream));
                    let request = Request::get(&path).header("accept", media_type);
                    match accepted {
                        Some(accepted) => request.header("accept-encoding", accepted),
                        None => request,
                    }
                };
                let large = send(client, protocol, with("seq_num=0&count=1"));
                assert_eq!(large.status(200).header("content-encoding"), *coding, "{accepted:?}");
                assert_eq!(large.header("content-type"), Some(media_type));
                let plain = match coding {
                    Some("zstd") => unzstd(&large.body),
                    Some(_) => gunzip(&large.body),
                    None => large.body.clone(),
                };
                let found = plain.windows(body.len()).any(|part| part == body.as_bytes());
                assert!(found, "the record is there: {accepted:?} {media_type}");
                let small = send(client, protocol, with("seq_num=1"));
                assert_eq!(small.status(200).header("content-encoding"), None, "{accepted:?}");
                let refused = send(client, protocol, with("seq_num=9"));
                assert_eq!(refused.status(416).header("content-encoding"), None, "{accepted:?}");
            }
        }
    });
}
