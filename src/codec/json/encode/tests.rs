use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn position(seq_num: u64, timestamp: u64) -> StreamPosition {
    StreamPosition { seq_num, timestamp }
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[test]
fn an_ack_always_carries_all_three_positions() {
    let ack = Ack { start: position(0, 0), end: position(2, 7), tail: position(u64::MAX, 9) };
    assert_eq!(
        text(|out| encode_ack(out, &ack)),
        concat!(
            r#"{"start":{"seq_num":0,"timestamp":0},"end":{"seq_num":2,"timestamp":7},"#,
            r#""tail":{"seq_num":18446744073709551615,"timestamp":9}}"#
        )
    );
}

#[test]
fn a_tail_is_a_position_in_an_object() {
    let expected = r#"{"tail":{"seq_num":0,"timestamp":0}}"#;
    assert_eq!(text(|out| encode_tail(out, position(0, 0))), expected);
}

#[test]
fn an_empty_batch_has_records_and_no_tail() {
    let empty = text(|out| {
        ReadBatchEncoder::new(out, Format::Raw).finish(None);
    });
    assert_eq!(empty, r#"{"records":[]}"#);
    let caught_up = text(|out| {
        ReadBatchEncoder::new(out, Format::Raw).finish(Some(position(3, 4)));
    });
    assert_eq!(caught_up, r#"{"records":[],"tail":{"seq_num":3,"timestamp":4}}"#);
}

#[test]
fn empty_headers_and_empty_body_are_left_out() {
    let batch = text(|out| {
        let mut batch = ReadBatchEncoder::new(out, Format::Raw);
        batch.record(0, 1, std::iter::empty(), b"");
        batch.record(1, 1, [(&b"n"[..], &b""[..])].into_iter(), b"");
        batch.record(2, 2, [(&b"a"[..], &b"b"[..]), (b"c", b"d")].into_iter(), b"x\"y");
        batch.finish(None);
    });
    assert_eq!(
        batch,
        concat!(
            r#"{"records":[{"seq_num":0,"timestamp":1},"#,
            r#"{"seq_num":1,"timestamp":1,"headers":[["n",""]]},"#,
            r#"{"seq_num":2,"timestamp":2,"headers":[["a","b"],["c","d"]],"body":"x\"y"}]}"#
        )
    );
}

#[test]
fn bytes_that_are_not_text_read_lossily_as_raw_and_exactly_as_base64() {
    // Conformance case 44.
    let one = |format| {
        text(|out| {
            let mut batch = ReadBatchEncoder::new(out, format);
            batch.record(0, 0, std::iter::empty(), b"\xFF");
            batch.finish(None);
        })
    };
    assert!(one(Format::Raw).contains("\"body\":\"\u{FFFD}\""));
    assert!(one(Format::Base64).contains(r#""body":"/w==""#));
}

#[test]
fn a_command_record_keeps_its_empty_header_name() {
    let one = |format| {
        text(|out| {
            let mut batch = ReadBatchEncoder::new(out, format);
            batch.record(0, 0, [(&b""[..], &b"fence"[..])].into_iter(), b"t1");
            batch.finish(None);
        })
    };
    assert!(one(Format::Raw).contains(r#""headers":[["","fence"]],"body":"t1""#));
    assert!(one(Format::Base64).contains(r#""headers":[["","ZmVuY2U="]],"body":"dDE=""#));
}

type Record = (u64, u64, Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>);

/// Bytes that are often text, sometimes nearly, sometimes not at all.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "\\PC{0,80}".prop_map(String::into_bytes),
        "[\"\\\\\u{0}-\u{1f}a-z]{0,80}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..80),
    ]
}

/// What a reader should see, built by another library.
fn model(records: &[Record], tail: Option<(u64, u64)>, format: Format) -> Value {
    let string = |bytes: &[u8]| match format {
        Format::Raw => String::from_utf8_lossy(bytes).into_owned(),
        Format::Base64 => STANDARD.encode_to_string(bytes),
    };
    let record = |(seq_num, timestamp, headers, body): &Record| {
        let mut record = json!({"seq_num": seq_num, "timestamp": timestamp});
        if !headers.is_empty() {
            let pairs = headers.iter().map(|(n, v)| json!([string(n), string(v)]));
            record["headers"] = pairs.collect();
        }
        if !body.is_empty() {
            record["body"] = json!(string(body));
        }
        record
    };
    let mut batch = json!({"records": records.iter().map(record).collect::<Value>()});
    if let Some((seq_num, timestamp)) = tail {
        batch["tail"] = json!({"seq_num": seq_num, "timestamp": timestamp});
    }
    batch
}

proptest! {
    #[test]
    fn batches_read_back_as_what_was_pushed(
        records in vec(
            (any::<u64>(), any::<u64>(), vec((bytes(), bytes()), 0..3), bytes()), 0..5),
        tail in any::<Option<(u64, u64)>>(),
        is_base64 in any::<bool>(),
    ) {
        let format = if is_base64 { Format::Base64 } else { Format::Raw };
        let encoded = text(|out| {
            let mut batch = ReadBatchEncoder::new(out, format);
            for (seq_num, timestamp, headers, body) in &records {
                let headers = headers.iter().map(|(n, v)| (&n[..], &v[..]));
                batch.record(*seq_num, *timestamp, headers, body);
            }
            batch.finish(tail.map(|(s, t)| position(s, t)));
        });
        let parsed: Value = serde_json::from_str(&encoded).expect("valid JSON");
        prop_assert_eq!(parsed, model(&records, tail, format));
    }
}
