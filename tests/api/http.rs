//! HTTP/1.1 as honest clients use it: routes, connections, bodies.

use serde_json::json;

use crate::common::client::{batch, check_ack, fresh_basin};
use crate::common::http::{Body, Request};
use crate::common::server::Server;

#[test]
fn case_79_an_unknown_route_is_a_json_error() {
    let mut client = fresh_basin();
    for target in ["/v1/nope", "/", "/v1", "/v2/basins", "/v1/basins/", "/v1/streams/s/nope"] {
        let code = client.get(target).status(404).error_code();
        assert!(!code.ends_with("_not_found"), "{target}: {code} is the code of a resource");
    }
}

#[test]
fn a_wrong_method_is_a_json_error_that_names_the_right_ones() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let table: [(&str, &str, &[&str]); 7] = [
        ("DELETE", "/v1/basins", &["GET", "POST"]),
        ("PATCH", "/v1/streams", &["GET", "POST"]),
        ("POST", "/v1/streams/s", &["GET", "DELETE"]),
        ("PUT", "/v1/streams/s/records", &["GET", "POST"]),
        ("DELETE", "/v1/streams/s/records/tail", &["GET"]),
        ("BREW", "/v1/basins", &["GET", "POST"]),
        ("get", "/v1/basins", &["GET", "POST"]),
    ];
    for (method, target, allowed) in table {
        let answer = client.send(Request::new(method, target));
        answer.status(405).error_code();
        let header = answer.header("allow").unwrap_or_default();
        let methods: Vec<&str> = header.split(',').map(str::trim).collect();
        for method in allowed {
            assert!(methods.contains(method), "{method} is allowed: {answer}");
        }
    }
}

#[test]
fn a_connection_serves_request_after_request_whatever_the_outcome() {
    let mut client = fresh_basin();
    client.create_stream("s");
    for _ in 0..20 {
        client.append_bodies("s", &["a"]);
        client.append("s", &json!({ "records": [] })).status(422);
        client.read("missing", "seq_num=0").status(404);
        client.read("s", "seq_num=999").status(416);
        client.get("/v1/nope").status(404);
        client.tail("s").status(200);
    }
    assert_eq!(client.connects(), 1, "no answer was a reason to close");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut client = fresh_basin();
    client.create_stream("s");
    for round in 1..=10 {
        let requests = [
            Request::post("/v1/streams/s/records", &batch(&["a"])),
            Request::get("/v1/streams/s/records/tail"),
            Request::get(&format!("/v1/streams/s/records?seq_num={}", round - 1)),
        ];
        let sent: Vec<u8> = requests.iter().flat_map(|request| client.encode(request)).collect();
        let ack = client.exchange(&sent, "POST");
        let tail = client.read_response("GET", &sent).expect("the second answer");
        let read = client.read_response("GET", &sent).expect("the third answer");
        assert_eq!(ack.status(200).u64_at("/end/seq_num"), round);
        assert_eq!(tail.status(200).u64_at("/tail/seq_num"), round, "one after the other: {tail}");
        assert_eq!(read.u64_at("/records/0/seq_num"), round - 1);
    }
    assert_eq!(client.connects(), 1);
}

#[test]
fn a_request_may_arrive_in_any_pieces() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let sized = Request::post("/v1/streams/s/records", &batch(&["in pieces"]));
    let mut chunked = sized.clone();
    chunked.body = Body::Chunked(vec![batch(&["in pieces"]).to_string().into_bytes()]);
    for request in [sized, chunked] {
        let sent = client.encode(&request);
        for step in [1, 7, 100] {
            for piece in sent.chunks(step) {
                client.conn().write(piece).expect("the server reads on");
            }
            check_ack(&client.read_response("POST", &sent).expect("an answer"), 1);
        }
    }
    assert_eq!(client.read_bodies("s", "seq_num=0"), ["in pieces"; 6]);
}

#[test]
fn a_body_may_come_in_chunks() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let body = batch(&[&"x".repeat(100_000)]).to_string().into_bytes();
    for size in [1_000, 4_096, 65_537, 1 << 20] {
        let mut request = Request::new("POST", "/v1/streams/s/records");
        request.body = Body::Chunked(body.chunks(size).map(<[u8]>::to_vec).collect());
        check_ack(&client.send(request.header("content-type", "application/json")), 1);
    }
    // Extensions and trailers are legal and mean nothing here.
    let head = "POST /v1/streams/s/records HTTP/1.1\r\nhost: x\r\ncontent-type: application/json";
    let sent = format!(
        "{head}\r\ns2-basin: {}\r\nTransfer-Encoding: Chunked\r\n\r\n\
         00a;name=value\r\n{{\"records\"\r\n5;x=\"y\"\r\n:[{{}}]\r\n1\r\n}}\r\n0\r\nx-trailer: 1\r\n\r\n",
        client.basin()
    );
    check_ack(&client.exchange(sent.as_bytes(), "POST"), 1);
    assert_eq!(client.tail_seq_num("s"), 5);
    assert_eq!(client.connects(), 1);
}

#[test]
fn a_client_that_expects_to_be_asked_is_asked() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let request = Request::post("/v1/streams/s/records", &batch(&["a"]));
    let sent = client.encode(&request.header("expect", "100-continue"));
    let head_bytes = sent.len() - batch(&["a"]).to_string().len();
    client.conn().write(&sent[..head_bytes]).expect("the head is read");
    client.read_response("POST", &sent).expect("an interim answer").status(100);
    check_ack(&client.exchange(&sent[head_bytes..], "POST"), 1);
    assert_eq!(client.connects(), 1);
}

#[test]
fn a_client_that_sends_at_once_needs_no_interim_answer() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let request = Request::post("/v1/streams/s/records", &batch(&["a"]));
    let sent = client.encode(&request.header("expect", "100-continue"));
    let mut answer = client.exchange(&sent, "POST");
    if answer.status == 100 {
        answer = client.read_response("POST", &sent).expect("the final answer");
    }
    check_ack(&answer, 1);
    assert_eq!(client.tail_seq_num("s"), 1);
}

#[test]
fn head_is_get_without_its_body() {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.append_bodies("s", &["a"]);
    let targets = [
        "/health",
        "/v1/streams/s/records/tail",
        "/v1/streams/s/records?seq_num=0",
        "/v1/streams/t",
    ];
    for target in targets {
        let get = client.get(target);
        let head = client.send(Request::new("HEAD", target));
        head.status(get.status);
        let length = get.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()), "{target}: {head}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{target}: {head}");
    }
    assert_eq!(client.tail_seq_num("s"), 1, "nothing of a body was left on the connection");
    assert_eq!(client.connects(), 1);
}

#[test]
fn an_old_client_gets_a_whole_answer_and_a_closed_connection() {
    let mut client = Server::shared().client();
    for (version, connection) in [("HTTP/1.0", None), ("HTTP/1.1", Some("close"))] {
        let mut request = Request::get("/health");
        request.version = version;
        if let Some(value) = connection {
            request = request.header("connection", value);
        }
        let sent = request.encode(Server::shared().host());
        let answer = client.answered_and_closed(&sent, &[200]);
        assert_eq!(answer.body, b"OK", "{answer}");
        assert_eq!(answer.header("transfer-encoding"), None, "{answer}");
        assert!(answer.closes, "the answer says that it is the last: {answer}");
    }
}

#[test]
fn header_names_are_compared_in_any_case() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let body = r#"{"records":[{"body":"aGk="}]}"#;
    let sent = format!(
        "POST /v1/streams/s/records HTTP/1.1\r\nHOST: x\r\nS2-Basin:{}\t \r\n\
         Content-TYPE:application/json\r\nS2-FORMAT: base64\r\ncontent-LENGTH: {}\r\n\r\n{body}",
        client.basin(),
        body.len()
    );
    check_ack(&client.exchange(sent.as_bytes(), "POST"), 1);
    assert_eq!(client.read_bodies("s", "seq_num=0"), ["hi"]);
}
