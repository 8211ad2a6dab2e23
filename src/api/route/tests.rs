mod headers;

use proptest::prelude::*;

use super::*;
use crate::api::query::ReadStart;
use crate::api::request::testing::{Pairs, parts};
use crate::auth::Within;
use crate::codec::Format;

const BASIN: (&str, &str) = ("s2-basin", "test-basin-1");
const JSON: (&str, &str) = ("content-type", "application/json");
const RECORDS: &str = "/v1/streams/s/records";

type List<'a> = &'a [(&'a str, &'a str)];

fn ask(method: &str, target: &str, headers: List<'_>) -> Result<Operation, ApiError> {
    let pairs = Pairs(headers);
    route(&parts(method, target, &pairs))
}

fn code(method: &str, target: &str, headers: List<'_>) -> Option<Code> {
    ask(method, target, headers).err().and_then(|error| error.code())
}

fn basin_name(text: &str) -> BasinName {
    BasinName::new(text).expect("legal in tests")
}

fn path(stream: &str) -> StreamPath {
    let stream = StreamName::new(stream).expect("legal in tests");
    StreamPath { basin: basin_name("test-basin-1"), stream }
}

fn everything() -> ListQuery {
    ListQuery {
        prefix: String::new(),
        start_after: String::new(),
        limit: 1000,
        within: Within::All,
    }
}

fn append_of(form: BatchForm, answer_proto: bool) -> Operation {
    Operation::Append {
        path: path("s"),
        key: None,
        form,
        answer_proto,
        receipt: false,
        auto_create: None,
    }
}

fn from_tail() -> ReadQuery {
    ReadParams::parse(None).and_then(ReadParams::validate).expect("legal in tests")
}

#[test]
fn every_served_route_gives_its_operation() {
    let basin = || basin_name("test-basin-1");
    let form = BatchForm::Json(Format::Raw);
    let read =
        Operation::Read { path: path("s"), key: None, query: from_tail(), form, auto_create: None };
    let append = append_of(form, false);
    let cases = [
        ("GET", "/health", Operation::Health),
        ("GET", "/ping", Operation::Health),
        ("GET", "/health?x=1", Operation::Health),
        ("GET", "/metrics", Operation::Metrics),
        ("GET", "/debug/latency", Operation::Latency(LatencyQuery::default())),
        ("GET", "/debug/stats", Operation::Stats),
        ("GET", "/v1/basins", Operation::ListBasins(everything())),
        ("POST", "/v1/basins", Operation::CreateBasin { token: None }),
        ("GET", "/v1/basins/test-basin-1", Operation::GetBasin(basin())),
        ("GET", "/v1/basins/test%2Dbasin-1", Operation::GetBasin(basin())),
        ("DELETE", "/v1/basins/test-basin-1", Operation::DeleteBasin(basin())),
        (
            "PUT",
            "/v1/basins/test-basin-1",
            Operation::EnsureBasin { basin: basin(), has_body: true },
        ),
        ("PATCH", "/v1/basins/test-basin-1", Operation::ReconfigureBasin(basin())),
        ("GET", "/v1/streams", Operation::ListStreams { basin: basin(), query: everything() }),
        ("POST", "/v1/streams", Operation::CreateStream { basin: basin(), token: None }),
        ("GET", "/v1/streams/s", Operation::GetStream(path("s"))),
        ("DELETE", "/v1/streams/s", Operation::DeleteStream(path("s"))),
        ("PUT", "/v1/streams/s", Operation::EnsureStream { path: path("s"), has_body: true }),
        ("PATCH", "/v1/streams/s", Operation::ReconfigureStream(path("s"))),
        ("GET", "/v1/locations", Operation::ListLocations),
        ("GET", "/v1/locations/default", Operation::GetDefaultLocation),
        ("PUT", "/v1/locations/default", Operation::SetDefaultLocation),
        ("GET", "/v1/streams/s/records/tail", Operation::CheckTail(path("s"))),
        ("GET", RECORDS, read),
        ("POST", RECORDS, append),
    ];
    for (method, target, operation) in cases {
        assert_eq!(ask(method, target, &[JSON, BASIN]), Ok(operation.clone()), "{method} {target}");
        if method == "GET" {
            assert_eq!(ask("HEAD", target, &[BASIN]), Ok(operation), "HEAD {target}");
        }
    }
}

/// Table 3.2 of the specification.
const ENDPOINTS: [(&str, &str); 24] = [
    ("GET", "/v1/basins"),
    ("POST", "/v1/basins"),
    ("GET", "/v1/basins/test-basin-1"),
    ("PUT", "/v1/basins/test-basin-1"),
    ("PATCH", "/v1/basins/test-basin-1"),
    ("DELETE", "/v1/basins/test-basin-1"),
    ("GET", "/v1/streams"),
    ("POST", "/v1/streams"),
    ("GET", "/v1/streams/s"),
    ("PUT", "/v1/streams/s"),
    ("PATCH", "/v1/streams/s"),
    ("DELETE", "/v1/streams/s"),
    ("GET", "/v1/streams/s/records/tail"),
    ("GET", "/v1/streams/s/records"),
    ("POST", "/v1/streams/s/records"),
    ("GET", "/v1/access-tokens"),
    ("POST", "/v1/access-tokens"),
    ("DELETE", "/v1/access-tokens/id"),
    ("GET", "/v1/metrics?set=active-basins"),
    ("GET", "/v1/metrics/test-basin-1?set=storage"),
    ("GET", "/v1/metrics/test-basin-1/s?set=storage"),
    ("GET", "/v1/locations"),
    ("GET", "/v1/locations/default"),
    ("PUT", "/v1/locations/default"),
];

#[test]
fn every_endpoint_of_the_specification_is_known_and_its_other_methods_are_not_allowed() {
    for (_, target) in ENDPOINTS {
        let known: Vec<_> = ENDPOINTS.iter().filter(|(_, t)| *t == target).map(|e| e.0).collect();
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "get"] {
            let wanted = if method == "HEAD" { "GET" } else { method };
            let result = ask(method, target, &[JSON, BASIN]);
            let refused = result.clone().err().and_then(|error| error.code());
            if known.contains(&wanted) {
                assert_eq!(refused, None, "{method} {target}: {result:?}");
                continue;
            }
            let response = result.expect_err(target).into_response();
            assert_eq!(response.status, 405, "{method} {target}");
            let (name, allow) = &response.headers[0];
            assert_eq!(*name, "allow");
            let mut listed: Vec<_> = allow.split(", ").filter(|m| *m != "HEAD").collect();
            assert_eq!(listed.pop(), Some("OPTIONS"));
            assert_eq!(listed, known, "{method} {target}");
            assert_eq!(allow.contains("HEAD"), known.contains(&"GET"), "{target}");
        }
    }
}

#[test]
fn requests_about_tokens_are_judged_by_their_head() {
    let id = |text| TokenId::new(text).expect("legal in tests");
    let ask = |method, target, headers| ask(method, target, headers).expect(target);
    assert_eq!(ask("GET", "/v1/access-tokens", &[]), Operation::ListTokens(everything()));
    assert_eq!(ask("POST", "/v1/access-tokens", &[JSON]), Operation::IssueToken);
    let revoke = ask("DELETE", "/v1/access-tokens/a%2Fb", &[]);
    assert_eq!(revoke, Operation::RevokeToken(id("a/b")));
    let long = format!("/v1/access-tokens/{}", "x".repeat(97));
    let too_long = format!("/v1/access-tokens?prefix={}", "x".repeat(97));
    for (method, target, expected) in [
        ("POST", "/v1/access-tokens", Code::BadJson),
        ("DELETE", "/v1/access-tokens/..", Code::BadPath),
        ("DELETE", "/v1/access-tokens/%ff", Code::BadPath),
        ("DELETE", &long, Code::BadPath),
        ("GET", "/v1/access-tokens?limit=x", Code::BadQuery),
        ("GET", &too_long, Code::BadQuery),
    ] {
        assert_eq!(code(method, target, &[]), Some(expected), "{method} {target}");
    }
}

#[test]
fn unknown_paths_are_not_found() {
    for target in [
        "",
        "*",
        "/",
        "//",
        "/v1",
        "/v1/",
        "/v1/nope",
        "/v2/basins",
        "v1/basins",
        "//v1/basins",
        "/v1//streams",
        "/v1/basins/",
        "/v1/basins//",
        "/v1/streams/",
        "/v1/streams/s/",
        "/v1/streams/s/nope",
        "/v1/streams/s/records/",
        "/v1/streams/s/records/tail/",
        "/v1/streams/s/records/tail/x",
        "/v1/streams/a/b/records",
        "/v1/streams/s/./records",
        "/v1/Streams",
        "/v1/%73treams",
        "/v1/streams/s%2Frecords/tail",
        "/v1/locations/other",
        "/v1/metrics/a/b/c",
        "/health/",
        "/dashboards",
    ] {
        for method in ["GET", "POST", "BREW"] {
            assert_eq!(code(method, target, &[BASIN]), Some(Code::NotFound), "{method} {target:?}");
        }
    }
}

#[test]
fn options_is_answered_before_anything_else() {
    for target in ["*", "/", "/v1/nope", RECORDS, "/v1/basins/x?limit=x"] {
        assert_eq!(ask("OPTIONS", target, &[]), Ok(Operation::Options), "{target}");
    }
}

#[test]
fn stream_names_are_one_segment_decoded_once() {
    let longest = "a".repeat(512);
    let encoded = "%61".repeat(512);
    for (raw, name) in [
        ("s", "s"),
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a%2Gb", "a%2Gb"),
        ("a+b", "a+b"),
        ("%E6%97%A5%E6%9C%AC%2Fx%20y", "日本/x y"),
        ("%2E%2E%2F", "../"),
        ("...", "..."),
        ("records", "records"),
        ("a%09b%01c", "a\tb\u{1}c"),
        ("a%3Fb", "a?b"),
        (&longest, &longest),
        (&encoded, &longest),
    ] {
        let target = format!("/v1/streams/{raw}");
        assert_eq!(ask("GET", &target, &[BASIN]), Ok(Operation::GetStream(path(name))), "{raw}");
        let target = format!("{target}/records/tail");
        assert_eq!(ask("GET", &target, &[BASIN]), Ok(Operation::CheckTail(path(name))), "{raw}");
    }
}

#[test]
fn invalid_names_in_paths_are_bad_path() {
    let long = "a".repeat(513);
    for raw in ["", ".", "..", "%2E", "%2e.", "a%00b", "%FF", "%ED%A0%80", &long] {
        for method in ["GET", "POST"] {
            let target = format!("/v1/streams/{raw}/records");
            assert_eq!(code(method, &target, &[BASIN]), Some(Code::BadPath), "{method} {raw}");
        }
    }
    assert_eq!(code("PUT", "/v1/streams/..", &[BASIN]), Some(Code::BadPath));
    for raw in ["short", "Test-Basin-1", "test%20basin", "%FF", "test-basin-"] {
        for method in ["GET", "DELETE", "PUT", "PATCH"] {
            let target = format!("/v1/basins/{raw}");
            assert_eq!(code(method, &target, &[]), Some(Code::BadPath), "{method} {raw}");
        }
    }
}

#[test]
fn queries_reach_their_operations() {
    let target = "/v1/streams?prefix=p/&limit=2&start_after=p/1";
    let query =
        ListQuery { prefix: "p/".into(), start_after: "p/1".into(), limit: 2, within: Within::All };
    let expected = Operation::ListStreams { basin: basin_name("test-basin-1"), query };
    assert_eq!(ask("GET", target, &[BASIN]), Ok(expected));
    match ask("GET", "/v1/streams/s/records?seq_num=7&clamp=true&wait=1", &[BASIN]) {
        Ok(Operation::Read { query, .. }) => {
            assert_eq!((query.start, query.clamp), (ReadStart::SeqNum(7), true));
            assert!(query.unary_limits().follows());
        }
        other => panic!("{other:?}"),
    }
}

/// Breaks every stage of section 1.10 at once, then mends them in order: each time the first
/// stage still broken must speak.
#[test]
fn the_first_failing_stage_decides() {
    let token = ("s2-request-token", "x".repeat(37));
    let token = (token.0, token.1.as_str());
    let coding = ("content-encoding", "br");
    let steps: [(&str, List<'_>, Option<Code>); 5] = [
        ("/v1/streams", &[token, ("s2-basin", "!"), coding], Some(Code::BadHeader)),
        ("/v1/streams", &[("s2-basin", "!"), coding], Some(Code::BadHeader)),
        ("/v1/streams", &[BASIN, coding], Some(Code::UnsupportedMediaType)),
        ("/v1/streams", &[BASIN], Some(Code::BadJson)),
        ("/v1/streams", &[BASIN, JSON], None),
    ];
    for (target, headers, expected) in steps {
        assert_eq!(code("POST", target, headers), expected, "{headers:?}");
    }
    let message = ask("POST", "/v1/streams", steps[0].1).expect_err("broken").into_response().body;
    assert!(String::from_utf8_lossy(&message).contains("s2-request-token"), "token comes first");

    let key = ("s2-encryption-key", "");
    let config = ("s2-stream-config", "x");
    let format = ("s2-format", "x");
    let bad_basin = ("s2-basin", "!");
    let both_starts = "/v1/streams/s/records?seq_num=0&timestamp=0";
    let sse = ("accept", "text/event-stream");
    let bad_query = "/v1/streams/s/records?seq_num=x";
    let bad_path = "/v1/streams//records?seq_num=x";
    let steps: [(&str, List<'_>, &str); 7] = [
        (bad_path, &[bad_basin, key, config, format, sse], "s2-basin"),
        (bad_path, &[BASIN, key, config, format, sse], "bad_path"),
        (bad_query, &[BASIN, key, config, format, sse], "bad_query"),
        (both_starts, &[BASIN, key, config, format, sse], "s2-encryption-key"),
        (both_starts, &[BASIN, config, format, sse], "s2-stream-config"),
        (both_starts, &[BASIN, format, sse], "s2-format"),
        (both_starts, &[BASIN, sse], "invalid"),
    ];
    for (target, headers, expected) in steps {
        let error = ask("GET", target, headers).expect_err(expected);
        let body = String::from_utf8(error.into_response().body).expect("JSON is UTF-8");
        assert!(body.contains(expected), "expected {expected}: {body}");
    }
    let session = [BASIN, ("content-type", "s2s/proto"), format];
    assert_eq!(code("GET", both_starts, &session), Some(Code::Invalid), "in sessions too");
}

proptest! {
    #[test]
    fn any_head_gets_an_operation_or_a_small_json_error(
        method in "GET|HEAD|POST|PUT|PATCH|DELETE|[A-Z]{1,8}",
        target in prop_oneof![
            "/v1/(streams|basins)/[a-z%0-9A-F/.+]{0,16}(/records(/tail)?)?(\\?[a-z_=&%0-9]{0,24})?",
            "\\PC{0,64}",
        ],
        value in "\\PC{0,64}",
        name in "s2-basin|s2-format|s2-stream-config|s2-encryption-key|content-type|accept",
    ) {
        let headers = [(name.as_str(), value.as_str()), BASIN, JSON];
        if let Err(error) = ask(&method, &target, &headers) {
            let response = error.into_response();
            prop_assert!(response.status >= 400 && response.body.len() < 1024);
            let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
            prop_assert!(body["code"].is_string() && body["message"].is_string());
        }
    }

    #[test]
    fn a_stream_name_survives_any_percent_encoding(name in "[^\0]{1,60}", every: bool) {
        prop_assume!(StreamName::new(&name).is_ok());
        let mut raw = String::new();
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() && !every {
                raw.push(char::from(byte));
            } else {
                raw.push_str(&format!("%{byte:02x}"));
            }
        }
        let target = format!("/v1/streams/{raw}");
        prop_assert_eq!(ask("GET", &target, &[BASIN]), Ok(Operation::GetStream(path(&name))));
    }
}

#[test]
fn usage_is_asked_of_the_account_a_basin_or_a_stream_and_names_come_before_the_query() {
    let scope = |target: &str| match ask("GET", target, &[]) {
        Ok(Operation::Usage { scope, .. }) => scope,
        other => panic!("{target}: {other:?}"),
    };
    let basin = UsageScope::Basin(basin_name("test-basin-1"));
    assert_eq!(scope("/v1/metrics?set=account-ops"), UsageScope::Account);
    assert_eq!(scope("/v1/metrics/test%2Dbasin-1?set=storage"), basin);
    for stream in ["s", "a%2Fb", "%E6%97%A5"] {
        let target = format!("/v1/metrics/test-basin-1/{stream}?set=storage");
        let expected = path(&decode(stream, Place::Path).expect("UTF-8"));
        assert_eq!(scope(&target), UsageScope::Stream(expected));
    }
    for target in [
        "/v1/metrics/x?set=storage",
        "/v1/metrics/x",
        "/v1/metrics/X/s?set=unknown",
        "/v1/metrics/test-basin-1/%FF?set=storage",
        "/v1/metrics/test-basin-1/..?set=storage",
        "/v1/metrics//s?set=storage",
    ] {
        assert_eq!(code("GET", target, &[]), Some(Code::BadPath), "{target}");
    }
    for target in ["/v1/metrics", "/v1/metrics/test-basin-1?set=account-ops"] {
        assert_eq!(code("GET", target, &[]), Some(Code::BadQuery), "{target}");
    }
}
