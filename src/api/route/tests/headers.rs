//! What the headers of S2's own do to each operation.

use super::*;
use crate::types::Retention;

#[test]
fn basin_scoped_routes_need_a_valid_basin_header() {
    for (method, target) in ENDPOINTS.iter().filter(|(_, t)| t.starts_with("/v1/streams")) {
        let missing = ask(method, target, &[JSON]).expect_err("no basin").into_response();
        assert_eq!(missing.status, 400, "{method} {target}");
        let body = String::from_utf8(missing.body).expect("JSON is UTF-8");
        assert!(body.contains("bad_header") && body.contains("s2-basin"), "{body}");
        for value in ["", "short", "Test-Basin-1", "日本日本"] {
            let headers = [JSON, ("s2-basin", value)];
            assert_eq!(code(method, target, &headers), Some(Code::BadHeader), "{value}");
        }
    }
    assert!(ask("GET", "/v1/streams", &[("S2-Basin", " test-basin-1\t")]).is_ok());
}

#[test]
fn account_scoped_routes_ignore_the_basin_header() {
    for (method, target) in [("GET", "/v1/basins"), ("GET", "/v1/basins/test-basin-1")] {
        assert!(ask(method, target, &[("s2-basin", "!")]).is_ok(), "{target}");
    }
}

#[test]
fn request_tokens_count_only_where_something_is_created() {
    let longest = "x".repeat(36);
    for value in ["abc", "", "a b\tc", &longest] {
        let headers = [JSON, BASIN, ("s2-request-token", value)];
        let token = Some(RequestToken::new(value).expect("legal"));
        let expected = Operation::CreateBasin { token: token.clone() };
        assert_eq!(ask("POST", "/v1/basins", &headers), Ok(expected), "{value:?}");
        let expected = Operation::CreateStream { basin: basin_name("test-basin-1"), token };
        assert_eq!(ask("POST", "/v1/streams", &headers), Ok(expected), "{value:?}");
    }
    let long = "x".repeat(37);
    for value in [long.as_str(), "日", "a\u{1}b", "a\u{7f}"] {
        let headers = [JSON, BASIN, ("s2-request-token", value)];
        assert_eq!(code("POST", "/v1/basins", &headers), Some(Code::BadHeader), "{value:?}");
        assert_eq!(code("POST", "/v1/streams", &headers), Some(Code::BadHeader), "{value:?}");
        for (method, target) in [
            ("GET", "/v1/basins"),
            ("GET", "/v1/streams"),
            ("DELETE", "/v1/streams/s"),
            ("PUT", "/v1/streams/s"),
            ("PATCH", "/v1/streams/s"),
            ("PUT", "/v1/basins/test-basin-1"),
            ("PATCH", "/v1/basins/test-basin-1"),
            ("PUT", "/v1/locations/default"),
            ("POST", RECORDS),
            ("GET", RECORDS),
        ] {
            assert!(ask(method, target, &headers).is_ok(), "{method} {target}");
        }
    }
}

#[test]
fn bodies_must_be_declared_as_json() {
    for target in ["/v1/basins", "/v1/streams", RECORDS] {
        for value in ["application/json", "application/json; charset=utf-8", "application/x+json"] {
            assert!(ask("POST", target, &[BASIN, ("content-type", value)]).is_ok(), "{value}");
        }
        assert_eq!(code("POST", target, &[BASIN]), Some(Code::BadJson), "{target}");
        for value in ["", "text/plain", "text/plain, application/json"] {
            let headers = [BASIN, ("content-type", value)];
            assert_eq!(code("POST", target, &headers), Some(Code::BadJson), "{target} {value}");
        }
    }
    for value in ["application/protobuf", "s2s/proto"] {
        let headers = [BASIN, ("content-type", value)];
        assert_eq!(code("POST", "/v1/basins", &headers), Some(Code::BadJson), "{value}");
    }
}

#[test]
fn an_optional_body_counts_when_it_is_declared_as_json() {
    let has_body = |target: &str, headers: List<'_>| match ask("PUT", target, headers) {
        Ok(Operation::EnsureBasin { has_body, .. } | Operation::EnsureStream { has_body, .. }) => {
            Ok(has_body)
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code()),
    };
    let coding = ("content-encoding", "br");
    for target in ["/v1/basins/test-basin-1", "/v1/streams/s"] {
        assert_eq!(has_body(target, &[BASIN]), Ok(false), "{target}");
        let unsupported = Err(Some(Code::UnsupportedMediaType));
        assert_eq!(has_body(target, &[BASIN, coding]), unsupported, "{target}");
        assert_eq!(has_body(target, &[BASIN, coding, JSON]), unsupported, "{target}");
        for value in ["application/json", "application/x+json; charset=utf-8"] {
            let headers = [BASIN, ("content-type", value)];
            assert_eq!(has_body(target, &headers), Ok(true), "{target} {value}");
        }
        for value in ["", "text/plain", "application/protobuf", "s2s/proto", "*/*"] {
            let headers = [BASIN, ("content-type", value)];
            assert_eq!(has_body(target, &headers), Err(Some(Code::BadJson)), "{target} {value}");
        }
        // A PATCH without a body says nothing.
        assert_eq!(code("PATCH", target, &[BASIN]), Some(Code::BadJson), "{target}");
    }
    assert_eq!(code("PUT", "/v1/locations/default", &[]), Some(Code::BadJson));
}

#[test]
fn bodies_come_plain_or_in_one_coding_that_is_understood() {
    for target in ["/v1/basins", "/v1/streams", RECORDS] {
        for value in ["identity", "Identity", " identity ", "", "gzip", "zstd", "identity, gzip"] {
            let headers = [BASIN, JSON, ("content-encoding", value)];
            assert!(ask("POST", target, &headers).is_ok(), "{target} {value:?}");
        }
        for value in ["br", "deflate", "gzip, zstd", "x"] {
            let headers = [BASIN, JSON, ("content-encoding", value)];
            let error = ask("POST", target, &headers).expect_err(value);
            assert_eq!(error.code(), Some(Code::UnsupportedMediaType), "{value}");
            let response = error.into_response();
            assert_eq!(response.headers, [("accept-encoding", "zstd,gzip".into())]);
            assert_eq!((response.status, response.content_type), (415, Some("application/json")));
        }
        let twice = [BASIN, JSON, ("content-encoding", "gzip"), ("content-encoding", "zstd")];
        assert_eq!(code("POST", target, &twice), Some(Code::UnsupportedMediaType));
    }
    for coding in ["gzip", "zstd", "br"] {
        let session = [BASIN, ("content-type", "s2s/proto"), ("content-encoding", coding)];
        let refused = code("POST", RECORDS, &session);
        assert_eq!(refused, Some(Code::UnsupportedMediaType), "a session is never coded: {coding}");
    }
}

/// What `append` and `read` both do with the headers in `extra`.
fn both_modes(extra: (&str, &str)) -> [Result<Operation, ApiError>; 2] {
    let headers = [BASIN, JSON, extra];
    [ask("POST", RECORDS, &headers), ask("GET", RECORDS, &headers)]
}

#[test]
fn encryption_keys_are_1_to_44_characters_long() {
    let longest = "x".repeat(44);
    for value in ["!!!!", "x", " x ", "日本", &longest] {
        for result in both_modes(("s2-encryption-key", value)) {
            assert!(result.is_ok(), "{value}");
        }
    }
    let long = "x".repeat(45);
    for value in ["", " \t", &long] {
        for result in both_modes(("s2-encryption-key", value)) {
            let error = result.expect_err("wrong length");
            assert_eq!(error.code(), Some(Code::BadHeader), "{value:?}");
        }
        let headers = [BASIN, ("s2-encryption-key", value)];
        let tail = ask("GET", "/v1/streams/s/records/tail", &headers);
        assert!(tail.is_ok(), "a tail check needs no key");
    }
}

#[test]
fn formats_are_checked_where_they_matter() {
    for (value, format) in [
        ("raw", Format::Raw),
        ("json", Format::Raw),
        (" base64 ", Format::Base64),
        ("json-binsafe", Format::Base64),
    ] {
        let [append, read] = both_modes(("s2-format", value));
        let form = BatchForm::Json(format);
        assert_eq!(append, Ok(append_of(form, false)), "{value}");
        let query = from_tail();
        let expected =
            Operation::Read { path: path("s"), key: None, query, form, auto_create: None };
        assert_eq!(read, Ok(expected), "{value}");
    }
    for value in ["hex", "", "BASE64"] {
        let bad = ("s2-format", value);
        for result in both_modes(bad) {
            assert_eq!(result.expect_err("bad").code(), Some(Code::BadHeader), "{value}");
        }
        for accept in ["application/protobuf", "text/event-stream"] {
            let headers = [BASIN, bad, ("accept", accept)];
            assert_eq!(code("GET", RECORDS, &headers), Some(Code::BadHeader), "{accept}");
        }
        for (method, content_type) in
            [("POST", "application/protobuf"), ("POST", "s2s/proto"), ("GET", "s2s/proto")]
        {
            let headers = [BASIN, bad, ("content-type", content_type)];
            assert_eq!(code(method, RECORDS, &headers), None, "{method} {content_type}");
        }
    }
}

#[test]
fn stream_configs_in_headers_are_read() {
    let full = PartialStreamConfig {
        retention: Some(Retention::AgeSecs(3600)),
        delete_on_empty_min_age_secs: Some(300),
        ..PartialStreamConfig::default()
    };
    for (value, config) in [
        (
            r#"{"retention_policy":{"age":3600},"delete_on_empty":{"min_age_secs":300}}"#,
            full.clone(),
        ),
        (
            "{\"retention_policy\" :\t{\"age\": 3600}, \"delete_on_empty\": {\"min_age_secs\": 300}}",
            full,
        ),
        ("{}", PartialStreamConfig::default()),
        (r#" {"unknown":1,"timestamping":null} "#, PartialStreamConfig::default()),
    ] {
        for result in both_modes(("s2-stream-config", value)) {
            match result.expect(value) {
                Operation::Append { auto_create, .. } | Operation::Read { auto_create, .. } => {
                    assert_eq!(auto_create.as_ref(), Some(&config), "{value}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn invalid_stream_configs_in_headers_are_bad_header_and_named() {
    for value in [
        r#"{"retention_policy":{"age":0}}"#,
        "not json",
        "",
        "null",
        "[]",
        r#"{"timestamping":{"mode":"x"}}"#,
        r#"{"storage_class":"日本"}"#,
        "{\n}",
        "{}{}",
    ] {
        for result in both_modes(("s2-stream-config", value)) {
            let error = result.expect_err(value);
            assert_eq!(error.code(), Some(Code::BadHeader), "{value}");
            let body = String::from_utf8(error.into_response().body).expect("JSON is UTF-8");
            assert!(body.contains("s2-stream-config"), "{body}");
        }
        let headers = [BASIN, ("s2-stream-config", value)];
        let tail = ask("GET", "/v1/streams/s/records/tail", &headers);
        assert!(tail.is_ok(), "a tail check does not use it");
    }
}

#[test]
fn content_type_and_accept_choose_the_mode() {
    let proto = ("content-type", "application/x-protobuf");
    let session = ("content-type", "s2s/proto");
    let (wants_proto, wants_events) =
        (("accept", "application/protobuf"), ("accept", "text/event-stream"));
    let json = BatchForm::Json(Format::Raw);
    let read = |form| Operation::Read {
        path: path("s"),
        key: None,
        query: from_tail(),
        form,
        auto_create: None,
    };
    let fed = |feed| Operation::ReadSession {
        path: path("s"),
        key: None,
        query: from_tail(),
        feed,
        auto_create: None,
    };
    let (coding, receipt, auto_create) = (None, false, None);
    let appended =
        Operation::AppendSession { path: path("s"), key: None, coding, receipt, auto_create };
    let s2s = Feed::S2s { coding: None };
    let sse = Feed::Sse { format: Format::Raw, resumed: None };
    let cases: [(&str, List<'_>, Operation); 10] = [
        ("POST", &[BASIN, proto], append_of(BatchForm::Proto, false)),
        ("POST", &[BASIN, proto, wants_proto], append_of(BatchForm::Proto, true)),
        ("POST", &[BASIN, JSON, wants_proto], append_of(json, true)),
        ("POST", &[BASIN, JSON, wants_events], append_of(json, false)),
        ("POST", &[BASIN, session, wants_proto], appended),
        ("GET", &[BASIN, wants_proto], read(BatchForm::Proto)),
        ("GET", &[BASIN, proto], read(json)),
        ("GET", &[BASIN, session, wants_proto], fed(s2s)),
        ("GET", &[BASIN, session, wants_events], fed(s2s)),
        ("GET", &[BASIN, wants_events], fed(sse)),
    ];
    for (method, headers, operation) in cases {
        assert_eq!(ask(method, RECORDS, headers), Ok(operation), "{method} {headers:?}");
    }
}

#[test]
fn only_a_one_asks_for_receipts() {
    for (value, expected) in
        [("1", true), (" 1\t", true), ("2", false), ("", false), ("01", false), ("1, 1", false)]
    {
        for mode in [JSON, ("content-type", "application/protobuf"), ("content-type", "s2s/proto")]
        {
            let headers = [BASIN, mode, ("thalweg-receipt", value)];
            match ask("POST", RECORDS, &headers) {
                Ok(
                    Operation::Append { receipt, .. } | Operation::AppendSession { receipt, .. },
                ) => assert_eq!(receipt, expected, "{value:?} {mode:?}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_resumed_event_stream_goes_on_behind_its_last_event() {
    let resumed = |target: &str, id: &str| {
        ask("GET", target, &[BASIN, ("accept", "text/event-stream"), ("last-event-id", id)])
    };
    let target = "/v1/streams/s/records?seq_num=0&count=2&bytes=100&wait=3";
    let Ok(Operation::ReadSession { query, .. }) = resumed(target, " 4,1,70 ") else {
        panic!("it resumes")
    };
    let expected =
        ReadQuery { start: ReadStart::SeqNum(5), count: Some(1), bytes: Some(30), ..query };
    assert_eq!((query, query.wait_secs), (expected, Some(3)));
    let most = "18446744073709551615,18446744073709551615,18446744073709551615";
    let Ok(Operation::ReadSession { query, .. }) = resumed(target, most) else {
        panic!("it resumes")
    };
    assert_eq!((query.count, query.bytes), (Some(0), Some(0)));
    for id in ["", "1", "1,2", "1,2,3,4", "-1,2,3", "a,b,c", "1,,3", "18446744073709551616,0,0"] {
        let error = resumed(RECORDS, id).expect_err(id);
        assert_eq!(error.code(), Some(Code::BadHeader), "{id}");
    }
    let ignored = ask("GET", RECORDS, &[BASIN, ("last-event-id", "nonsense")]);
    assert!(ignored.is_ok(), "it means nothing outside an event stream");
}

#[test]
fn accept_chooses_json_for_all_it_does_not_know() {
    for value in ["*/*", "application/json", "", "text/html, application/protobuf", "s2s/proto"] {
        for result in both_modes(("accept", value)) {
            assert!(result.is_ok(), "{value}");
        }
    }
}

#[test]
fn header_values_that_are_not_ascii_text_are_refused() {
    let refused = |method: &str, target: &str, name: &str| {
        let pairs: [(&str, &[u8]); 3] =
            [(name, b"test\xffbasin"), (BASIN.0, BASIN.1.as_bytes()), (JSON.0, JSON.1.as_bytes())];
        route(&parts(method, target, &Pairs(&pairs))).err().and_then(|error| error.code())
    };
    for (method, target, name, expected) in [
        ("POST", "/v1/streams", "s2-request-token", Some(Code::BadHeader)),
        ("POST", "/v1/streams", "s2-basin", Some(Code::BadHeader)),
        ("POST", RECORDS, "s2-stream-config", Some(Code::BadHeader)),
        ("POST", RECORDS, "s2-format", Some(Code::BadHeader)),
        ("POST", RECORDS, "content-encoding", Some(Code::UnsupportedMediaType)),
        ("POST", RECORDS, "content-type", Some(Code::BadJson)),
        ("POST", RECORDS, "s2-encryption-key", None),
        ("POST", RECORDS, "authorization", None),
        ("GET", RECORDS, "accept", None),
    ] {
        assert_eq!(refused(method, target, name), expected, "{method} {target} {name}");
    }
}
