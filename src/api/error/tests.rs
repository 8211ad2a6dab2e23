use std::collections::BTreeSet;

use super::*;

/// Table 2.2 of the specification, then the codes that are ours.
const TABLE: &[(&str, u16)] = &[
    ("bad_header", 400),
    ("bad_path", 400),
    ("bad_query", 400),
    ("bad_json", 400),
    ("bad_proto", 400),
    ("bad_frame", 400),
    ("decryption_failed", 400),
    ("authn", 401),
    ("permission_denied", 403),
    ("quota_exhausted", 403),
    ("access_token_not_found", 404),
    ("basin_not_found", 404),
    ("stream_not_found", 404),
    ("request_timeout", 408),
    ("resource_already_exists", 409),
    ("basin_deletion_pending", 409),
    ("stream_deletion_pending", 409),
    ("transaction_conflict", 409),
    ("invalid", 422),
    ("rate_limited", 429),
    ("client_hangup", 499),
    ("other", 500),
    ("storage", 500),
    ("not_implemented", 501),
    ("hot_server", 502),
    ("unavailable", 503),
    ("server_draining", 503),
    ("upstream_timeout", 504),
    ("not_found", 404),
    ("method_not_allowed", 405),
    ("unsupported_media_type", 415),
    ("bad_request", 400),
    ("content_too_large", 413),
    ("uri_too_long", 414),
    ("expectation_failed", 417),
    ("head_too_large", 431),
    ("http_version_not_supported", 505),
];

#[test]
fn codes_and_statuses_are_those_of_the_specification_and_unique() {
    let ours: BTreeSet<_> = Code::ALL.iter().map(|c| (c.as_str(), c.status())).collect();
    assert_eq!(ours, TABLE.iter().copied().collect());
    let texts: BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
    assert_eq!(texts.len(), Code::ALL.len());
    assert_eq!(Code::ALL.len(), TABLE.len());
}

fn answer(error: impl Into<ApiError>) -> (u16, String) {
    let response = error.into().into_response();
    assert_eq!(response.content_type, Some("application/json"));
    (response.status, String::from_utf8(response.body).expect("JSON is UTF-8"))
}

#[test]
fn every_refusal_has_its_status_and_body() {
    let coded = |code: &str, message: &str| format!(r#"{{"code":"{code}","message":"{message}"}}"#);
    let token = FencingToken::new("t\"1").expect("short");
    let cases = [
        (Refusal::BasinNotFound("b".into()), 404, coded("basin_not_found", "basin `b` not found")),
        (
            Refusal::StreamNotFound("s".into()),
            404,
            coded("stream_not_found", "stream `s` not found"),
        ),
        (
            Refusal::BasinDeletionPending("b".into()),
            409,
            coded("basin_deletion_pending", "basin `b` is being deleted"),
        ),
        (
            Refusal::StreamDeletionPending("s".into()),
            409,
            coded("stream_deletion_pending", "stream `s` is being deleted"),
        ),
        (
            Refusal::AlreadyExists("basin `b`".into()),
            409,
            coded("resource_already_exists", "basin `b` already exists"),
        ),
        (
            Refusal::FencingTokenMismatch(token),
            412,
            r#"{"fencing_token_mismatch":"t\"1"}"#.to_owned(),
        ),
        (
            Refusal::FencingTokenMismatch(FencingToken::default()),
            412,
            r#"{"fencing_token_mismatch":""}"#.to_owned(),
        ),
        (Refusal::SeqNumMismatch(5), 412, r#"{"seq_num_mismatch":5}"#.to_owned()),
        (
            Refusal::Unsatisfiable(StreamPosition { seq_num: 3, timestamp: 7 }),
            416,
            r#"{"tail":{"seq_num":3,"timestamp":7}}"#.to_owned(),
        ),
        (Refusal::Invalid("no".into()), 422, coded("invalid", "no")),
        (Refusal::Storage("io".into()), 500, coded("storage", "storage failed: io")),
        (
            Refusal::RateLimited { retry_after_ms: 60 },
            429,
            coded("rate_limited", "the server has more to do than it can in time; try again later"),
        ),
        (Refusal::HotServer("full".into()), 502, coded("hot_server", "full")),
        (Refusal::Draining, 503, coded("server_draining", "server is shutting down")),
        (Refusal::Other("gone".into()), 500, coded("other", "gone")),
    ];
    for (refusal, status, body) in cases {
        assert_eq!(answer(refusal.clone()), (status, body), "{refusal:?}");
    }
}

#[test]
fn long_messages_are_cut_at_a_character_and_stay_under_1_kib() {
    for name in ["a", "é", "日", "😀", "\u{1}", "\"", "\\", "\n", "\u{7f}"] {
        for count in [1, 512, 4000] {
            let (_, body) = answer(Refusal::StreamNotFound(name.repeat(count)));
            assert!(body.len() < 1024, "{name:?} x {count}: {} bytes", body.len());
            let parsed: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let message = parsed["message"].as_str().expect("a string");
            assert!(message.starts_with(&format!("stream `{name}")), "{message}");
            assert_eq!(message.ends_with('…'), !message.ends_with("` not found"), "{message}");
        }
    }
    let (_, body) = answer(Refusal::StreamNotFound("a".repeat(512)));
    assert!(body.contains("not found"), "an ordinary long name is shown whole");
}

#[test]
fn a_header_that_belongs_to_the_error_is_in_the_response() {
    let error = ApiError::new(Code::MethodNotAllowed, "no").with_header("allow", "GET");
    assert_eq!(error.code(), Some(Code::MethodNotAllowed));
    assert_eq!(error.into_response().headers, [("allow", "GET".into())]);
}
