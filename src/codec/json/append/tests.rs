//! Case tables of accepted and refused bodies; properties are in `model`.

use super::*;
use crate::types::{Command, FencingToken};

mod model;

fn decode(body: impl AsRef<[u8]>, format: Format) -> Result<AppendInput, DecodeError> {
    AppendDecoder::new().decode(BodyBuf::from(body.as_ref().to_vec()), format)
}

fn raw(body: impl AsRef<[u8]>) -> Result<AppendInput, DecodeError> {
    decode(body, Format::Raw)
}

#[track_caller]
fn assert_bad_json(body: impl AsRef<[u8]>) {
    let shown =
        String::from_utf8_lossy(&body.as_ref()[..body.as_ref().len().min(120)]).into_owned();
    match raw(body) {
        Err(DecodeError::BadJson(message)) => {
            assert!(message.len() <= 100, "{shown}: {message}");
        }
        other => panic!("{shown}: {other:?}"),
    }
}

#[track_caller]
fn assert_invalid(body: impl AsRef<[u8]>, format: Format) {
    let shown =
        String::from_utf8_lossy(&body.as_ref()[..body.as_ref().len().min(120)]).into_owned();
    match decode(body, format) {
        Err(DecodeError::Invalid(message)) => assert!(message.len() <= 100, "{shown}: {message}"),
        other => panic!("{shown}: {other:?}"),
    }
}

/// A body with one record that has these members.
fn one(members: &str) -> String {
    format!(r#"{{"records":[{{{members}}}]}}"#)
}

fn body_of(input: &AppendInput, index: usize) -> &[u8] {
    input.records[index].body.of(&input.buf)
}

fn headers_of(input: &AppendInput, index: usize) -> Vec<(&[u8], &[u8])> {
    let of = |h: &HeaderSpan| (h.name.of(&input.buf), h.value.of(&input.buf));
    input.headers_of(&input.records[index]).iter().map(of).collect()
}

#[test]
fn records_become_spans_of_the_receive_buffer() {
    let json = br#"{"records":[{"body":"a"},{"headers":[["n","v"],["n","w"]],"timestamp":7}],
        "match_seq_num":0,"fencing_token":""}"#;
    let mut buf = b"POST / HTTP/1.1\r\n\r\n".to_vec();
    let start = buf.len();
    buf.extend_from_slice(json);
    buf.extend_from_slice(b"GET /next");
    let address = buf.as_ptr().addr();
    let body = BodyBuf::new(buf, start, start + json.len());
    let input = AppendDecoder::new().decode(body, Format::Raw).expect("a legal batch");

    assert_eq!(input.buf.as_ptr().addr(), address, "the buffer itself travels");
    assert_eq!(input.records.len(), 2);
    assert_eq!(body_of(&input, 0), b"a");
    assert_eq!(body_of(&input, 1), b"");
    assert_eq!(headers_of(&input, 0), []);
    assert_eq!(headers_of(&input, 1), [(&b"n"[..], &b"v"[..]), (b"n", b"w")]);
    assert_eq!(input.records[0].timestamp, None);
    assert_eq!(input.records[1].timestamp, Some(7));
    assert_eq!(input.match_seq_num, Some(0), "0 is a real value");
    assert_eq!(input.fencing_token, Some(FencingToken::default()), "empty is a real value");
    assert_eq!(input.metered_bytes, 9 + 8 + 2 * 4);
    assert!(input.buf.ends_with(b"GET /next"));
}

#[test]
fn escapes_are_undone_in_place() {
    let cases: [(&str, &str); 9] = [
        ("", ""),
        (r"\n", "\n"),
        (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r"\u0000\u001f", "\0\u{1f}"),
        (r"\u00e9\u65e5\ud83d\ude00", "é日😀"),
        (r"\uD83D\uDE00\\ud800", r"😀\ud800"),
        ("日本 plain é", "日本 plain é"),
        (
            r"long enough to fill a vector register before it: \t and after it too, again",
            "long enough to fill a vector register before it: \t and after it too, again",
        ),
        (r"\u0061\u0062\u0063", "abc"),
    ];
    for (escaped, text) in cases {
        let json = one(&format!(r#""headers":[["{escaped}n","{escaped}"]],"body":"{escaped}""#));
        let input = raw(&json).expect(&json);
        assert_eq!(body_of(&input, 0), text.as_bytes(), "{escaped}");
        let name = format!("{text}n");
        assert_eq!(headers_of(&input, 0), [(name.as_bytes(), text.as_bytes())]);
    }
}

#[test]
fn member_names_may_be_escaped() {
    let input = raw(r#"{"r\u0065cords":[{"\u0062ody":"x"}]}"#).expect("legal");
    assert_eq!(body_of(&input, 0), b"x");
    assert_bad_json(r#"{"records":[{"body":"x","\u0062ody":"y"}]}"#);
}

#[test]
fn optional_members_may_be_null_or_absent() {
    let json = r#"{"records":[{"timestamp":null}],"match_seq_num":null,"fencing_token":null}"#;
    let input = raw(json).expect("legal");
    assert_eq!(input.records[0].timestamp, None);
    assert_eq!((input.match_seq_num, input.fencing_token), (None, None));
    assert_eq!(raw(one("")).expect("an empty record is legal").metered_bytes, 8);
}

#[test]
fn integers_cover_64_bits_unsigned_and_nothing_else() {
    for good in ["0", "1", "9007199254740993", "1000000000000000000", "18446744073709551615"] {
        let input = raw(one(&format!(r#""timestamp":{good}"#))).expect(good);
        assert_eq!(input.records[0].timestamp, Some(good.parse().expect("u64")));
        let json = format!(r#"{{"match_seq_num":{good} ,"records":[{{}}]}}"#);
        assert_eq!(raw(json).expect(good).match_seq_num, Some(good.parse().expect("u64")));
    }
    for bad in [
        "18446744073709551616",
        "99999999999999999999999",
        "1.0",
        "1e3",
        "0e0",
        "-1",
        "-0",
        "-9223372036854775809",
        "01",
        "+1",
        "1.",
        ".5",
        "0x1",
        "1_0",
        "NaN",
        "Infinity",
        "\"1\"",
        "true",
        "[]",
        "{}",
        "",
        "1234567890123456789x",
        "18446744073709551615x",
        r#"1234567890123456789\"\""#,
        "1\u{0}",
        "1\u{b}",
    ] {
        assert_bad_json(one(&format!(r#""timestamp":{bad}"#)));
        assert_bad_json(format!(r#"{{"records":[{{}}],"match_seq_num":{bad}}}"#));
    }
}

#[test]
fn malformed_json_is_refused() {
    let cases: [&[u8]; 40] = [
        b"",
        b" ",
        b"\n",
        b"not json",
        b"{",
        b"}",
        b"{}}",
        b"\xEF\xBB\xBF{\"records\":[{}]}",
        b"{\"records\":[{}]}x",
        b"{\"records\":[{}]}{}",
        b"{\"records\":[{}]},",
        b"{\"records\":[{}]}\0",
        b"\0{\"records\":[{}]}",
        b"{\"records\":[{}],}",
        b"{\"records\":[{},]}",
        b"{\"records\":[,{}]}",
        b"{\"records\":[{}}",
        b"{\"records\":[{}]",
        b"{\"records\" [{}]}",
        b"{records:[{}]}",
        b"{'records':[{}]}",
        b"{\"records\":[{}],\"x\"}",
        b"{\"records\":[{}] \x0c}",
        b"{\"records\":[{}] \xc2\xa0}",
        b"{\"records\":[{\"body\":\"\xFF\"}]}",
        b"{\"records\":[{\"body\":\"\xC0\x80\"}]}",
        b"{\"records\":[{\"body\":\"\xED\xA0\x80\"}]}",
        b"{\"records\":[{\"body\":\"\xF0\x9F\x98\"}]}",
        b"{\"records\":[{\"body\":\"a\nb\"}]}",
        b"{\"records\":[{\"body\":\"a\0b\"}]}",
        b"{\"records\":[{\"body\":\"\\x\"}]}",
        b"{\"records\":[{\"body\":\"\\u12\"}]}",
        b"{\"records\":[{\"body\":\"\\u12G4\"}]}",
        b"{\"records\":[{\"body\":\"\\ud800\"}]}",
        b"{\"records\":[{\"body\":\"\\udc00\"}]}",
        b"{\"records\":[{\"body\":\"\\ud800\\ue000\"}]}",
        b"{\"records\":[{\"body\":\"\\ud800\\u0041\"}]}",
        b"{\"records\":[{\"body\":\"x]}",
        b"{\"records\":[{\"body\":\"x\\\"}]}",
        b"{\"records\":[{}] /* no */}",
    ];
    for case in cases {
        assert_bad_json(case);
    }
}

#[test]
fn malformed_unknown_members_are_refused() {
    for bad in [
        "tru",
        "truex",
        "nulL",
        "1x",
        "1234567890123456789x",
        "0.12345678901234567890x",
        "01",
        "-",
        "1e",
        "\"\\ud800\"",
        "[1 2]",
        "{\"a\" 1}",
        "[1,]",
        "true\u{0}",
        "\u{1}",
        "1e999",
    ] {
        assert_bad_json(format!(r#"{{"records":[{{}}],"x":{bad}}}"#));
        assert_bad_json(format!(r#"{{"records":[{{"x":{bad}}}]}}"#));
    }
}

#[test]
fn wrong_shapes_are_refused() {
    for bad in [
        "{}",
        "[]",
        "null",
        "1",
        "\"records\"",
        r#"{"Records":[{}]}"#,
        r#"{"records":null}"#,
        r#"{"records":{}}"#,
        r#"{"records":[null]}"#,
        r#"{"records":[[]]}"#,
        r#"{"records":["x"]}"#,
        r#"{"records":[{}],"fencing_token":1}"#,
        r#"{"records":[{}],"fencing_token":["x"]}"#,
        r#"{"records":[{}],"records":[{}]}"#,
        r#"{"records":[{}],"match_seq_num":1,"match_seq_num":1}"#,
        r#"{"records":[{}],"match_seq_num":null,"match_seq_num":1}"#,
        r#"{"fencing_token":"a","records":[{}],"fencing_token":null}"#,
    ] {
        assert_bad_json(bad);
    }
    for bad in [
        r#""body":null"#,
        r#""body":1"#,
        r#""body":["x"]"#,
        r#""headers":null"#,
        r#""headers":{}"#,
        r#""headers":"x""#,
        r#""headers":["x"]"#,
        r#""headers":[null]"#,
        r#""headers":[[]]"#,
        r#""headers":[["x"]]"#,
        r#""headers":[["x","y","z"]]"#,
        r#""headers":[["x",null]]"#,
        r#""headers":[[1,"x"]]"#,
        r#""headers":[["x",["y"]]]"#,
        r#""headers":[{"name":"x","value":"y"}]"#,
        r#""body":"x","body":"x""#,
        r#""headers":[],"headers":[]"#,
        r#""timestamp":1,"timestamp":1"#,
        r#""timestamp":null,"timestamp":null"#,
    ] {
        assert_bad_json(one(bad));
    }
}

#[test]
fn unknown_members_are_ignored_whatever_they_hold() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for any in [
        "null",
        "true",
        "-1.5e-7",
        "-0",
        "0.0",
        "123456789012345678901234567890",
        "-9223372036854775809",
        "0.1234567890123456789012",
        "1e300",
        "\"\\ud83d\\ude00\"",
        "[]",
        "{}",
        "[[],{},[{\"a\":[1,[2]]}]]",
        "{\"records\":1,\"body\":null,\"x\":{\"headers\":null}}",
        &deep,
    ] {
        let json = format!(
            r#"{{"x":{any},"records":[{{"y":{any},"body":"b","y":{any}}},{{}}],"x":{any}}}"#
        );
        let input = raw(&json).unwrap_or_else(|e| panic!("{e}: {}", &json[..json.len().min(80)]));
        assert_eq!(input.records.len(), 2);
        assert_eq!(body_of(&input, 0), b"b");
    }
}

#[test]
fn white_space_may_stand_between_tokens() {
    let input =
        raw(" \t\r\n{ \"records\" : [ { \"body\" : \"x\" , \"timestamp\" : 5 } ] } \n\t\r ");
    assert_eq!(input.expect("legal").records[0].timestamp, Some(5));
}

#[test]
fn record_count_is_one_to_a_thousand() {
    // Conformance case 30.
    assert_invalid(r#"{"records":[]}"#, Format::Raw);
    let batch = |n: usize| format!(r#"{{"records":[{}]}}"#, vec![r#"{"body":"x"}"#; n].join(","));
    assert_eq!(raw(batch(1000)).expect("legal").records.len(), 1000);
    assert_invalid(batch(1001), Format::Raw);
    assert_invalid(batch(100_000), Format::Raw);
    assert_invalid(batch(1001).replace("\"x\"", "\"eA==\""), Format::Base64);
}

#[test]
fn metered_limits_are_inclusive() {
    // Conformance cases 31 and 32.
    let body = |n: usize| one(&format!(r#""body":"{}""#, "x".repeat(n)));
    assert_eq!(raw(body(1_048_568)).expect("legal").metered_bytes, 1_048_576);
    assert_invalid(body(1_048_569), Format::Raw);
    let batch = |extra: usize| {
        let mut records = vec![format!(r#"{{"body":"{}"}}"#, "x".repeat(1040)); 999];
        records.push(format!(r#"{{"body":"{}"}}"#, "x".repeat(1040 + extra)));
        format!(r#"{{"records":[{}]}}"#, records.join(","))
    };
    assert_eq!(raw(batch(0)).expect("legal").metered_bytes, 1_048_000);
    assert_invalid(batch(600), Format::Raw);
}

#[test]
fn metering_counts_decoded_bytes() {
    let escaped = one(&format!(r#""body":"{}""#, r"\u0000".repeat(1_048_568)));
    assert_eq!(raw(escaped).expect("legal").metered_bytes, 1_048_576);
    let text = STANDARD.encode_to_string(vec![0xFF; 1_048_568]);
    let input = decode(one(&format!(r#""body":"{text}""#)), Format::Base64).expect("legal");
    assert_eq!(input.metered_bytes, 1_048_576);
    let text = STANDARD.encode_to_string(vec![0xFF; 1_048_569]);
    assert_invalid(one(&format!(r#""body":"{text}""#)), Format::Base64);
}

#[test]
fn a_legal_batch_of_the_most_headers_is_taken() {
    let headers = vec![r#"["a",""]"#; (1_048_576 - 8) / 3].join(" , ");
    let input = raw(one(&format!(r#""headers":[{headers}]"#))).expect("legal");
    assert_eq!(input.headers.len(), 349_522);
    assert_eq!(input.metered_bytes, 8 + 3 * 349_522);
}

#[test]
fn commands_and_header_names() {
    // Conformance cases 33, 35, 38 and 39.
    for bad in [
        r#""headers":[["","nope"]]"#,
        r#""headers":[["","Fence"]]"#,
        r#""headers":[["","fence"],["x","y"]]"#,
        r#""headers":[["x","y"],["",""]]"#,
        r#""headers":[["","trim"]],"body":"5""#,
        r#""headers":[["","fence"]],"body":"0123456789012345678901234567890123456""#,
    ] {
        assert_invalid(one(bad), Format::Raw);
    }
    assert_eq!(raw(one(r#""headers":[["x",""]]"#)).expect("legal").records[0].command, None);
    let input = raw(r#"{"records":[{"headers":[["","fence"]],"body":"t2"},{"body":"d"}],
        "fencing_token":"t1"}"#);
    let input = input.expect("legal");
    let token = FencingToken::new("t2").expect("short");
    assert_eq!(input.records[0].command, Some(Command::Fence(token)));
    assert_eq!(input.fencing_token, Some(FencingToken::new("t1").expect("short")));
    let trim = raw(one(
        r#""headers":[["","trim"]],"body":"\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0005""#,
    ));
    assert_eq!(trim.expect("legal").records[0].command, Some(Command::Trim(5)));
}

#[test]
fn a_fencing_token_is_at_most_36_bytes() {
    // Conformance case 39.
    let with = |token: &str| format!(r#"{{"records":[{{}}],"fencing_token":"{token}"}}"#);
    for good in ["", "t", &"x".repeat(36), &"é".repeat(18), &r"\u0061".repeat(36)] {
        assert!(raw(with(good)).is_ok(), "{good}");
    }
    for bad in [&"x".repeat(37), &"é".repeat(19), &"日".repeat(13)] {
        assert_bad_json(with(bad));
    }
}

#[test]
fn base64_commands() {
    // Conformance cases 40 and 41.
    let trim = |body: &str| one(&format!(r#""headers":[["","dHJpbQ=="]],"body":"{body}""#));
    let input = decode(trim("AAAAAAAAAAI="), Format::Base64).expect("legal");
    assert_eq!(input.records[0].command, Some(Command::Trim(2)));
    assert_eq!(input.metered_bytes, 22);
    let seven_bytes = "AAAAAAAAAg==";
    assert_invalid(trim(seven_bytes), Format::Base64);
    assert_invalid(one(r#""headers":[["","fence"]]"#), Format::Base64);
}

#[test]
fn base64_is_decoded_in_place() {
    let json = r#"{"records":[{"headers":[["bg==","dg=="],["/w==",""]],"body":"+/8="},
        {"body":"\u0061Gk="},{"body":"\/w=="},{"body":""}],"fencing_token":"dDE="}"#;
    let input = decode(json, Format::Base64).expect("legal");
    assert_eq!(headers_of(&input, 0), [(&b"n"[..], &b"v"[..]), (b"\xFF", b"")]);
    assert_eq!(body_of(&input, 0), b"\xFB\xFF");
    assert_eq!(body_of(&input, 1), b"hi", "escapes come before base64");
    assert_eq!(body_of(&input, 2), b"\xFF");
    assert_eq!(body_of(&input, 3), b"");
    let token = FencingToken::new("dDE=").expect("short");
    assert_eq!(input.fencing_token, Some(token), "the token is never base64");
}

#[test]
fn base64_is_strict() {
    // Conformance case 43.
    for bad in [
        "not-base64!",
        "A",
        "AA",
        "AAA",
        "AA=",
        "AAA",
        "A===",
        "=",
        "====",
        "AA==AA==",
        "AAAA=",
        "AB==",
        "/x==",
        "AAB=",
        "AA-_",
        "__8=",
        " AAA=",
        "AAA= ",
        "AA AA",
        r"AAAA\n",
        r"AA\r\nAA",
        "AAA=\u{a0}",
        "AAAé",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA!AAA",
    ] {
        assert_invalid(one(&format!(r#""body":"{bad}""#)), Format::Base64);
        assert_invalid(one(&format!(r#""headers":[["{bad}","AAAA"]]"#)), Format::Base64);
        assert_invalid(one(&format!(r#""headers":[["AAAA","{bad}"]]"#)), Format::Base64);
    }
}

#[test]
fn malformed_json_wins_over_an_invalid_batch() {
    let many = vec!["{}"; 1001].join(",");
    for bad in [
        r#"{"records":[],"match_seq_num":-1}"#.to_owned(),
        r#"{"records":[],"fencing_token":1}"#.to_owned(),
        r#"{"records":[]"#.to_owned(),
        r#"{"records":[{"headers":[["","nope"]]},{"body":null}]}"#.to_owned(),
        format!(r#"{{"records":[{many}],"match_seq_num":1.0}}"#),
        format!(r#"{{"records":[{many},{{"body":1}}]}}"#),
        r#"{"records":[],"x":1234567890123456789x}"#.to_owned(),
    ] {
        assert_bad_json(&bad);
        assert!(matches!(decode(&bad, Format::Base64), Err(DecodeError::BadJson(_))), "{bad}");
    }
    let bad_base64_first = r#"{"records":[{"body":"!"},{"timestamp":"x"}]}"#;
    assert!(matches!(decode(bad_base64_first, Format::Base64), Err(DecodeError::BadJson(_))));
}

#[test]
fn nesting_and_sheer_numbers_of_values_are_bounded() {
    let mib = 1024 * 1024;
    assert_bad_json("[".repeat(mib));
    assert_bad_json(format!("{{\"x\":{}", "[".repeat(8 * mib)));
    assert_bad_json("{\"a\":".repeat(mib));
    // Well-formed, and refused for its size alone.
    let values = format!(r#"{{"records":[{{}}],"x":[{}0]}}"#, "0,".repeat(2 * mib));
    assert_bad_json(values);
    let nested =
        format!(r#"{{"records":[{{}}],"x":{}{}}}"#, "[".repeat(2 * mib), "]".repeat(2 * mib));
    assert_bad_json(nested);
    // As large, but in one string: structural characters inside strings cost nothing.
    let text = format!(r#"{{"records":[{{}}],"x":"{}"}}"#, "[1,{:}]".repeat(mib));
    assert!(raw(text).is_ok());
    let fits = format!(r#"{{"records":[{{}}],"x":[{}0]}}"#, "0,".repeat(mib));
    assert!(raw(fits).is_ok());
}

#[test]
fn a_body_beyond_the_limit_is_refused_unread() {
    let mut body = one("").into_bytes();
    body.resize(BODY_BYTES_MAX, b' ');
    assert!(raw(&body).is_ok());
    body.push(b' ');
    assert_bad_json(body);
}

#[test]
fn a_decoder_starts_afresh_after_every_body() {
    let mut decoder = AppendDecoder::new();
    let huge = format!(r#"{{"records":[{{"body":"x"}}],"x":[{}0]}}"#, "0,".repeat(KEPT_ITEMS));
    let full = r#"{"records":[{"headers":[["a","b"]],"timestamp":1}],"match_seq_num":5,"fencing_token":"t"}"#;
    let bodies = [
        full.to_owned(),
        one(r#""body":"x""#),
        r#"{"records":[{"headers":[["a","b"],["","x"]]},{"headers":[["c","d"]]}]}"#.to_owned(),
        one(""),
        r#"{"records":[{"headers":[["a","b"]]},{"body":null}]}"#.to_owned(),
        huge,
        "not json".to_owned(),
        String::new(),
    ];
    for first in &bodies {
        for second in &bodies {
            let _ = decoder.decode(BodyBuf::from(first.clone().into_bytes()), Format::Raw);
            let again = decoder.decode(BodyBuf::from(second.clone().into_bytes()), Format::Raw);
            assert_eq!(again, raw(second), "{}", &second[..second.len().min(80)]);
        }
    }
}
