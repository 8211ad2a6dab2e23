//! Appends in both representations, session frames, and the JSON that is kept on disk.

use prost::Message as _;
use thalweg::codec::Coding;
use thalweg::codec::proto::messages::{AppendInput, AppendRecord, Header};
use thalweg::codec::s2s;

pub(super) fn json() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"records":[{"body":"a"},{"headers":[["n","v"],["n","w"]],"timestamp":7}]}"#,
        r#"{"records":[{"body":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}],"match_seq_num":0}"#,
        r#"{"records":[{"timestamp":null}],"match_seq_num":null,"fencing_token":null}"#,
        r#"{"records":[{}],"fencing_token":"tok","x":[1,-2.5e3,true,false,null,{"y":"z"}]}"#,
        r#"{"records":[{"body":"aGk=","headers":[["bg==","dg=="]]}]}"#,
        r#"{"records":[{"body":"tok","headers":[["","fence"]]}]}"#,
        r#"{"records":[{"body":"AAAAAAAAAAU=","headers":[["","dHJpbQ=="]]}]}"#,
        r#"{"records":[{"timestamp":18446744073709551615}],"match_seq_num":1234567890123456789}"#,
        r#"{"records":[{"timestamp":18446744073709551616}]}"#,
        r#"{"records":[{"timestamp":1e3,"body":1}]}"#,
        r#"{"r\u0065cords":[{"\u0062ody":"x","\u0062ody":"y"}]}"#,
        r#"{"records":[{"body":"\ud800"}]}"#,
        r#" { "records" : [ ] } "#,
        r#"[[{}],null,null]"#,
        r#"{"records":[{}],"x":1e400}"#,
        r#"{"records":[{}],"x":[[[[[[[[{"a":[]}]]]]]]]]}x"#,
    ];
    (0..2_u8).flat_map(|c| bodies.map(|body| [&[c], body.as_bytes()].concat())).collect()
}

fn record(timestamp: Option<u64>, headers: &[(&str, &str)], body: &[u8]) -> AppendRecord {
    let header = |(name, value): &(&str, &str)| Header {
        name: name.as_bytes().to_vec(),
        value: value.as_bytes().to_vec(),
    };
    AppendRecord { timestamp, headers: headers.iter().map(header).collect(), body: body.to_vec() }
}

pub(super) fn proto() -> Vec<Vec<u8>> {
    let input = |records, match_seq_num, token: Option<&str>| {
        AppendInput { records, match_seq_num, fencing_token: token.map(str::to_owned) }
            .encode_to_vec()
    };
    let plain = || record(Some(5), &[("n", "v"), ("m", "")], b"body");
    let mut messages = vec![
        input(vec![], None, None),
        input(vec![plain(), record(None, &[], b"")], Some(0), Some("")),
        input(vec![record(None, &[("", "fence")], b"tok")], Some(u64::MAX), Some("a")),
        input(vec![record(None, &[("", "trim")], &[0; 8])], None, None),
        input(vec![record(None, &[("", "")], b"")], None, None),
        input(vec![plain(); 3], None, Some(&"t".repeat(37))),
    ];
    // Fields that are not known, of every wire type, in a batch, a record and a header.
    let unknown = b"\x20\x01\x29\0\0\0\0\0\0\0\0\x32\x01x\x3B\x40\x01\x3C\x45\0\0\0\0";
    let inner = [&b"\x12\x17"[..], unknown].concat();
    let outer = [&[0x0A, 25][..], &inner, unknown].concat();
    messages.push(outer);
    messages.push([&messages[1][..], &messages[1]].concat());
    messages
}

pub(super) fn s2s() -> Vec<Vec<u8>> {
    let messages = proto();
    let long = vec![b'x'; 1500];
    let mut out = Vec::new();
    for coding in [None, Some(Coding::Zstd), Some(Coding::Gzip)] {
        let mut session = vec![3];
        for message in messages.iter().take(3).chain([&long]) {
            let start = s2s::begin(&mut session);
            session.extend_from_slice(message);
            s2s::finish(&mut session, start, coding, false).expect("short");
        }
        out.push(session);
    }
    let mut terminal = vec![0];
    s2s::push_terminal(&mut terminal, 400, b"{}");
    out.extend([
        terminal,
        b"\x01\0\0\0\0".to_vec(),
        b"\x01\0\0\x01\0\0\0\x01\x10\0\0\x02\x0Fa".to_vec(),
        b"\x02\x20\0\0\0abc".to_vec(),
        b"\x02\0\0\x05\x60abcd".to_vec(),
        b"\x02\0\0\x05\x20abcd\0\0\x05\x40abcd".to_vec(),
    ]);
    out
}

pub(super) fn usage() -> Vec<Vec<u8>> {
    let parts = [
        r#"{}"#,
        r#"{"stored":[1,2,3,4]}"#,
        r#"{"stored":[1]}"#,
        r#"{"basin":"test-basin-1","minutes":{"rr":[28333333,5,1,6]},"hours":{"rr":[472222,11]}}"#,
        r#"{"basin":"test-basin-1","storage":[472222,100,3,50],"active":[1700000000]}"#,
        r#"{"basin":"test-basin-1","active":[1600000000,1650000000,1700000000]}"#,
        r#"{"basin":"x"}"#,
        r#"{"storage":[4294967295,1,1,1]}"#,
    ];
    let keys = thalweg::usage::Counter::ALL.iter().map(|counter| {
        format!(r#"{{"hours":{{"{}":[472222,1,2,18446744073709551615]}}}}"#, counter.key())
    });
    let texts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).chain(keys).collect();
    let together = texts.join("\0").into_bytes();
    texts.into_iter().map(String::into_bytes).chain([together]).collect()
}

pub(super) fn directory() -> Vec<Vec<u8>> {
    let text = |version: &str, id: &str, shards: &str, bytes: &str| {
        format!(
            r#"{{"format_version":{version},"directory_id":"{id}","shards":{shards},
"segment_bytes":{bytes},"created_us":1700000000000000,"initialised":true}}"#
        )
        .into_bytes()
    };
    let id = "00112233445566778899aabbccddeeff";
    vec![
        text("1", id, "2", "268435456"),
        text("2", id, "2", "268435456"),
        text("1", "+0112233445566778899aabbccddeeff", "1", "8192"),
        text("1", id, "0", "4096"),
        text("1", id, "65535", "4294963200"),
        b"[1,\"00112233445566778899aabbccddeeff\",1,8192,0,true]".to_vec(),
        b"{}".to_vec(),
    ]
}
