use super::*;
use crate::types::Cipher;
use crate::types::config::Change;
use crate::types::{Retention, TimestampingMode};

fn code<T>(result: Result<T, ApiError>) -> Option<Code> {
    result.err().and_then(|error| error.code())
}

fn basin(text: &str) -> Result<CreateBasin, ApiError> {
    CreateBasin::parse(text.as_bytes())
}

fn stream(text: &str) -> Result<CreateStream, ApiError> {
    CreateStream::parse(text.as_bytes())
}

#[test]
fn basins_are_read() {
    for text in [
        r#"{"basin":"test-basin-2"}"#,
        r#"{"basin":"test-basin-2","config":null,"location":null}"#,
        r#"{"basin":"test-basin-2","config":{},"location":"local","unknown":[1]}"#,
        r#"{"basin":"test\u002dbasin-2","scope":"local"}"#,
        r#"{"scope":null,"basin":"test-basin-2"}"#,
    ] {
        let request = basin(text).expect(text);
        assert_eq!(request.basin.as_str(), "test-basin-2");
        assert_eq!(request.config, BasinConfig::default());
    }
    let request = basin(
        r#"{"basin":"test-basin-2","config":{"create_stream_on_append":true,
            "default_stream_config":{"storage_class":"turbo-9"}}}"#,
    );
    let config = request.expect("legal").config;
    assert!(config.create_stream_on_append && !config.create_stream_on_read);
    assert_eq!(config.default_stream_config.storage_class.as_deref(), Some("turbo-9"));
}

#[test]
fn invalid_basin_names_are_bad_json() {
    let long = "a".repeat(49);
    for name in
        ["short", "Test-Basin-1", "test_basin_1", "-test-basin", "test-basin-", &long, "", "."]
    {
        let text = format!(r#"{{"basin":"{name}"}}"#);
        assert_eq!(code(basin(&text)), Some(Code::BadJson), "{name}");
    }
}

#[test]
fn malformed_basin_bodies_are_bad_json() {
    for text in [
        "",
        "null",
        "{}",
        "not json",
        r#"["test-basin-2"]"#,
        r#"{"basin":null}"#,
        r#"{"basin":7}"#,
        r#"{"basin":"test-basin-2"} x"#,
        r#"{"basin":"test-basin-2","basin":"test-basin-2"}"#,
        r#"{"basin":"test-basin-2","location":"local","scope":"local"}"#,
        r#"{"basin":"test-basin-2","config":[]}"#,
        r#"{"basin":"test-basin-2","config":{"create_stream_on_read":"true"}}"#,
        r#"{"basin":"test-basin-2","config":{"stream_cipher":"rot13"}}"#,
        r#"{"basin":"test-basin-2","config":{"default_stream_config":{"retention_policy":{}}}}"#,
        r#"{"basin":"test-basin-2","location":7}"#,
        r#"{"basin":"test-basin-2","location":""}"#,
        r#"{"basin":"test-basin-2","location":"a b"}"#,
        r#"{"basin":"test-basin-2","location":"a_b"}"#,
        r#"{"basin":"test\ud800basin-2"}"#,
    ] {
        assert_eq!(code(basin(text)), Some(Code::BadJson), "{text}");
    }
    let long = format!(r#"{{"basin":"test-basin-2","location":"{}"}}"#, "a".repeat(65));
    assert_eq!(code(basin(&long)), Some(Code::BadJson));
}

#[test]
fn well_formed_but_invalid_basins_are_invalid() {
    let age_zero = r#"{"default_stream_config":{"retention_policy":{"age":0}}}"#;
    for text in [
        format!(r#"{{"basin":"test-basin-2","config":{age_zero}}}"#),
        r#"{"basin":"test-basin-2","location":"aws:us-east-1"}"#.to_owned(),
        r#"{"basin":"test-basin-2","scope":"LOCAL"}"#.to_owned(),
        format!(r#"{{"basin":"test-basin-2","location":"{}"}}"#, "a".repeat(64)),
    ] {
        assert_eq!(code(basin(&text)), Some(Code::Invalid), "{text}");
    }
    let malformed_too = format!(r#"{{"basin":"short","config":{age_zero}}}"#);
    assert_eq!(code(basin(&malformed_too)), Some(Code::BadJson), "decoding is judged first");
}

#[test]
fn a_cipher_is_read_wherever_a_basin_has_one() {
    let text = r#"{"basin":"test-basin-2","config":{"stream_cipher":"aegis-256"}}"#;
    assert_eq!(basin(text).expect(text).config.stream_cipher, Some(Cipher::Aegis256));
    let text = r#"{"config":{"stream_cipher":"aes-256-gcm"}}"#;
    let ensured = EnsureBasin::parse(text.as_bytes()).expect(text);
    assert_eq!(ensured.config.stream_cipher, Some(Cipher::Aes256Gcm));
    let text = r#"{"stream_cipher":"aes-256-gcm"}"#;
    let patch = reconfigure_basin(text.as_bytes()).expect(text);
    assert_eq!(patch.stream_cipher, Change::Set(Cipher::Aes256Gcm));
}

#[test]
fn streams_are_read() {
    for (text, name) in [
        (r#"{"stream":"s"}"#, "s"),
        (r#"{"stream":"日本/x y","config":null}"#, "日本/x y"),
        (r#"{"stream":"a\tb\u0001c","config":{}}"#, "a\tb\u{1}c"),
        (r#"{"stream":"\ud83d\ude00"}"#, "😀"),
    ] {
        let request = stream(text).expect(text);
        assert_eq!(request.stream.as_str(), name);
        assert!(request.config.is_unset());
    }
    let text = r#"{"stream":"s","config":{"retention_policy":{"infinite":{}},
        "timestamping":{"mode":"arrival"}}}"#;
    let config = stream(text).expect("legal").config;
    assert_eq!(config.retention, Some(Retention::Infinite));
    assert_eq!(config.timestamping_mode, Some(TimestampingMode::Arrival));
}

#[test]
fn streams_are_refused() {
    let long = "a".repeat(513);
    for name in ["", ".", "..", r"a\u0000b", &long] {
        let text = format!(r#"{{"stream":"{name}"}}"#);
        assert_eq!(code(stream(&text)), Some(Code::BadJson), "{name}");
    }
    for text in [
        "{}",
        "",
        r#"["s"]"#,
        r#"{"stream":1}"#,
        r#"{"stream":"s","stream":"s"}"#,
        r#"{"stream":"s","config":{"storage_class":7}}"#,
        r#"{"stream":"s","config":{"retention_policy":{"age":-1}}}"#,
        r#"{"stream":"s","config":{"retention_policy":{"age":1.5}}}"#,
    ] {
        assert_eq!(code(stream(text)), Some(Code::BadJson), "{text}");
    }
    let age_zero = r#"{"stream":"s","config":{"retention_policy":{"age":0}}}"#;
    assert_eq!(code(stream(age_zero)), Some(Code::Invalid));
}

#[test]
fn replays_compare_equal_when_they_ask_for_the_same() {
    let of_basin = |config: &str| {
        let text = format!(r#"{{"basin":"test-basin-2"{config}}}"#);
        basin(&text).expect(&text).idempotency_config()
    };
    let nothing = of_basin("");
    for same in [
        r#","config":null"#,
        r#","config":{}"#,
        r#","config":{"create_stream_on_append":false,"create_stream_on_read":null}"#,
        r#","config":{"default_stream_config":{"timestamping":{"mode":null}}}"#,
        r#","config":{"unknown":1},"location":"local""#,
    ] {
        assert_eq!(of_basin(same), nothing, "{same}");
    }
    for other in [
        r#","config":{"create_stream_on_append":true}"#,
        r#","config":{"create_stream_on_read":true}"#,
        r#","config":{"default_stream_config":{"storage_class":"express"}}"#,
    ] {
        assert_ne!(of_basin(other), nothing, "{other}");
    }

    let of_stream = |config: &str| {
        let text = format!(r#"{{"stream":"s"{config}}}"#);
        stream(&text).expect(&text).idempotency_config()
    };
    let nothing = of_stream("");
    for same in [r#","config":null"#, r#","config":{}"#, r#","config":{"delete_on_empty":{}}"#] {
        assert_eq!(of_stream(same), nothing, "{same}");
    }
    for other in [
        r#","config":{"storage_class":"express"}"#,
        r#","config":{"retention_policy":{"age":604800}}"#,
        r#","config":{"timestamping":{"uncapped":false}}"#,
        r#","config":{"delete_on_empty":{"min_age_secs":0}}"#,
    ] {
        assert_ne!(of_stream(other), nothing, "{other}");
    }
    assert_eq!(
        of_stream(r#","config":{"timestamping":{"uncapped":true,"mode":"arrival"}}"#),
        of_stream(r#","config":{"timestamping":{"mode":"arrival","uncapped":true}}"#),
        "the order of members does not matter"
    );
}

#[test]
fn a_basin_to_ensure_needs_no_body() {
    let nothing = ["", "null", " null ", "{}", r#"{"config":null,"location":null,"x":1}"#];
    for text in nothing {
        assert_eq!(EnsureBasin::parse(text.as_bytes()), Ok(EnsureBasin::default()), "{text:?}");
    }
    for text in [r#"{"location":"local"}"#, r#"{"scope":"local","config":{}}"#] {
        assert_eq!(EnsureBasin::parse(text.as_bytes()), Ok(EnsureBasin::default()), "{text}");
    }
    let text = r#"{"config":{"create_stream_on_append":true}}"#;
    assert!(EnsureBasin::parse(text.as_bytes()).expect("legal").config.create_stream_on_append);
}

#[test]
fn bodies_of_ensured_basins_are_refused() {
    for (text, expected) in [
        (" ", Code::BadJson),
        ("[]", Code::BadJson),
        ("null null", Code::BadJson),
        (r#"{"config":[]}"#, Code::BadJson),
        (r#"{"config":{"create_stream_on_append":1}}"#, Code::BadJson),
        (r#"{"location":7}"#, Code::BadJson),
        (r#"{"location":"a b","config":{"stream_cipher":"aegis-256"}}"#, Code::BadJson),
        (r#"{"location":"local","scope":"local"}"#, Code::BadJson),
        (r#"{"location":"aws:us-east-1"}"#, Code::Invalid),
        (
            r#"{"config":{"default_stream_config":{"retention_policy":{"age":0}},"stream_cipher":"aegis-256"}}"#,
            Code::Invalid,
        ),
        (r#"{"config":{"stream_cipher":"aes-128-gcm"}}"#, Code::BadJson),
    ] {
        assert_eq!(code(EnsureBasin::parse(text.as_bytes())), Some(expected), "{text}");
    }
}

#[test]
fn a_stream_to_ensure_is_a_bare_configuration() {
    for text in ["", "null", "{}", r#"{"timestamping":{}}"#, r#"{"config":{"storage_class":"x"}}"#]
    {
        assert!(ensure_stream(text.as_bytes()).expect(text).is_unset(), "{text:?}");
    }
    let config = ensure_stream(br#"{"storage_class":"x"}"#).expect("legal");
    assert_eq!(config.storage_class.as_deref(), Some("x"));
    for (text, expected) in [
        ("\n", Code::BadJson),
        ("\"s\"", Code::BadJson),
        (r#"{"retention_policy":{}}"#, Code::BadJson),
        (r#"{"retention_policy":{"age":-1}}"#, Code::BadJson),
        (r#"{"retention_policy":{"age":0}}"#, Code::Invalid),
    ] {
        assert_eq!(code(ensure_stream(text.as_bytes())), Some(expected), "{text}");
    }
}

#[test]
fn patches_need_a_body_and_are_judged() {
    for text in ["{}", r#"{"stream_cipher":null}"#, r#"{"default_stream_config":null}"#] {
        assert!(reconfigure_basin(text.as_bytes()).is_ok(), "{text}");
    }
    for text in ["", "null", "[]", "{", r#"{"create_stream_on_read":"x"}"#] {
        assert_eq!(code(reconfigure_basin(text.as_bytes())), Some(Code::BadJson), "{text}");
    }
    let age =
        r#"{"default_stream_config":{"retention_policy":{"age":0}},"stream_cipher":"aegis-256"}"#;
    assert_eq!(code(reconfigure_basin(age.as_bytes())), Some(Code::Invalid));

    for text in ["{}", r#"{"storage_class":null}"#, r#"{"retention_policy":{"age":1}}"#] {
        assert!(reconfigure_stream(text.as_bytes()).is_ok(), "{text}");
    }
    for text in ["", "null", "7", r#"{"storage_class":7}"#, r#"{"timestamping":{"mode":""}}"#] {
        assert_eq!(code(reconfigure_stream(text.as_bytes())), Some(Code::BadJson), "{text}");
    }
    let age = r#"{"retention_policy":{"age":0}}"#;
    assert_eq!(code(reconfigure_stream(age.as_bytes())), Some(Code::Invalid));
}
