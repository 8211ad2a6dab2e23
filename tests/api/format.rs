//! `s2-format`: raw and base64, both ways.

use serde_json::json;

use crate::common::client::{Client, fresh_basin};
use crate::common::http::{Request, Response};

fn append(client: &mut Client, format: &str, body: &str) -> Response {
    let body = json!({ "records": [{ "body": body }] });
    client.send(Request::post("/v1/streams/s/records", &body).header("s2-format", format))
}

fn read(client: &mut Client, format: &str) -> Response {
    let request = Request::get("/v1/streams/s/records?seq_num=0");
    client.send(request.header("s2-format", format))
}

fn empty_stream() -> Client {
    let mut client = fresh_basin();
    client.create_stream("s");
    client
}

#[test]
fn case_43_base64_is_strict() {
    let mut client = empty_stream();
    for body in ["not-base64!", "aGk", "aGk==", "/x==", "_w==", "aGk=\n", " aGk=", "====", "a"] {
        append(&mut client, "base64", body).refused(422, "invalid");
    }
    let headers = |name: &str, value: &str| {
        let body = json!({ "records": [{ "headers": [[name, value]] }] });
        Request::post("/v1/streams/s/records", &body).header("s2-format", "base64")
    };
    client.send(headers("aGk", "")).refused(422, "invalid");
    client.send(headers("aGk=", "aGk")).refused(422, "invalid");
    assert_eq!(client.tail_seq_num("s"), 0);
    client.send(headers("aGk=", "")).status(200);
}

#[test]
fn case_43_unknown_formats_are_refused() {
    let mut client = empty_stream();
    client.append_bodies("s", &["a"]);
    for format in ["hex", "", "Base64", "RAW", "base64,raw", "json-binsafe2"] {
        append(&mut client, format, "a").refused(400, "bad_header");
        read(&mut client, format).refused(400, "bad_header");
    }
    assert_eq!(client.tail_seq_num("s"), 1);
}

#[test]
fn case_44_bytes_that_are_no_text_survive_only_in_base64() {
    let mut client = empty_stream();
    append(&mut client, "base64", "/w==").status(200);
    assert_eq!(read(&mut client, "raw").at("/records/0/body"), json!("\u{fffd}"));
    assert_eq!(read(&mut client, "base64").at("/records/0/body"), json!("/w=="));
}

#[test]
fn the_format_of_writing_does_not_bind_reading() {
    let mut client = empty_stream();
    let in_base64 = json!({ "records": [{ "headers": [["aw==", "dmFsdWU="]], "body": "aGk=" }] });
    let in_text = json!({ "records": [{ "headers": [["k", "value"]], "body": "hi" }] });
    for (format, body) in [
        ("base64", &in_base64),
        ("json-binsafe", &in_base64),
        ("  base64\t", &in_base64),
        ("raw", &in_text),
        ("json", &in_text),
    ] {
        let request = Request::post("/v1/streams/s/records", body);
        client.send(request.header("s2-format", format)).status(200);
    }
    client.append("s", &in_text).status(200);
    let expected = [
        ("raw", &in_text),
        ("json", &in_text),
        ("base64", &in_base64),
        ("json-binsafe", &in_base64),
    ];
    for (format, body) in expected {
        let response = read(&mut client, format);
        let records = response.records();
        assert_eq!(records.len(), 6, "{response}");
        for record in records {
            assert_eq!(record["headers"], body["records"][0]["headers"], "{format}: {response}");
            assert_eq!(record["body"], body["records"][0]["body"], "{format}: {response}");
        }
    }
}

#[test]
fn every_byte_value_survives_base64() {
    let mut client = empty_stream();
    // All 256 byte values, encoded by hand: three bytes make four digits.
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u32> = (0..=254).collect();
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three[0] << 16 | three[1] << 8 | three[2];
        for shift in [18, 12, 6, 0] {
            text.push(char::from(alphabet[(bits >> shift & 63) as usize]));
        }
    }
    for body in [text.as_str(), "/w==", "//8=", ""] {
        append(&mut client, "base64", body).status(200);
    }
    let records = read(&mut client, "base64").records();
    assert_eq!(records[0]["body"], json!(text));
    assert_eq!(records[1]["body"], json!("/w=="));
    assert_eq!(records[2]["body"], json!("//8="));
    assert!(records[3].get("body").is_none(), "an empty body is left out");
}

#[test]
fn raw_reads_escape_what_json_demands() {
    let mut client = empty_stream();
    let body: String =
        (0..=0x1f_u8).map(char::from).chain("\"\\/\u{7f}\u{2028}é日😀".chars()).collect();
    client.append_bodies("s", &[&body]);
    assert_eq!(client.read_bodies("s", "seq_num=0"), [body]);
}
