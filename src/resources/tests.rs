use serde_json::{Value, json};

use super::read::resources;
use super::*;
use crate::types::{Cipher, Retention, TimestampingMode};

fn read(value: &Value) -> Result<Resources, Vec<String>> {
    read_text(&value.to_string())
}

fn read_text(text: &str) -> Result<Resources, Vec<String>> {
    resources(serde_json::from_str(text).expect("JSON"))
}

#[test]
fn the_example_of_the_specification() {
    let text = r#"{"$schema":"x","basins":[{"name":"orders-prod","config":{
        "create_stream_on_append":true,"default_stream_config":{"retention_policy":"7days",
        "timestamping":{"mode":"arrival"},"delete_on_empty":{"min_age":"1day"}}},
        "streams":[{"name":"events","config":{"storage_class":"standard",
        "retention_policy":"infinite"}}]}]}"#;
    let default = PartialStreamConfig {
        retention: Some(Retention::AgeSecs(604_800)),
        timestamping_mode: Some(TimestampingMode::Arrival),
        delete_on_empty_min_age_secs: Some(86_400),
        ..PartialStreamConfig::default()
    };
    let events = PartialStreamConfig {
        storage_class: Some("standard".to_owned()),
        retention: Some(Retention::Infinite),
        ..PartialStreamConfig::default()
    };
    let expected = Resources {
        basins: vec![BasinResource {
            name: BasinName::new("orders-prod").unwrap(),
            config: BasinConfig {
                default_stream_config: default,
                create_stream_on_append: true,
                ..BasinConfig::default()
            },
            streams: vec![StreamResource {
                name: StreamName::new("events").unwrap(),
                config: events,
            }],
        }],
    };
    assert_eq!(read_text(text), Ok(expected));
}

#[test]
fn what_may_be_left_out_or_null() {
    let none = Resources::default();
    for text in ["{}", r#"{"basins":[]}"#, r#"{"$schema":1,"$schema":2,"other":{"deep":[]}}"#] {
        assert_eq!(read_text(text).as_ref(), Ok(&none), "{text}");
    }
    let bare = read(&json!({ "basins": [{ "name": "basin-one" }] })).unwrap();
    let nulls = json!({ "basins": [{ "name": "basin-one", "config": {
        "default_stream_config": {
            "storage_class": null, "retention_policy": null, "timestamping": null,
            "delete_on_empty": null },
        "stream_cipher": null, "create_stream_on_append": null, "create_stream_on_read": null,
    }}]});
    assert_eq!(read(&nulls).as_ref(), Ok(&bare));
    for config in [
        json!(null),
        json!({}),
        json!({ "default_stream_config": null }),
        json!({ "default_stream_config": { "timestamping": {}, "delete_on_empty": {} } }),
        json!({ "default_stream_config": { "timestamping": { "mode": null, "uncapped": null },
            "delete_on_empty": { "min_age": null } } }),
    ] {
        let spec = json!({ "basins": [{ "name": "basin-one", "config": config, "streams": [] }] });
        assert_eq!(read(&spec).as_ref(), Ok(&bare), "{spec}");
    }
    let off = json!({ "delete_on_empty": { "min_age": "999ms" } });
    let spec = json!({ "basins": [{ "name": "basin-one", "streams": [
        { "name": "s", "config": off }, { "name": "t", "config": null }] }] });
    let streams = &read(&spec).unwrap().basins[0].streams;
    assert_eq!(streams[0].config.delete_on_empty_min_age_secs, Some(0));
    assert!(streams[1].config.is_unset());
}

#[test]
fn ciphers_and_flags_by_their_names() {
    for (text, cipher) in [("aegis-256", Cipher::Aegis256), ("aes-256-gcm", Cipher::Aes256Gcm)] {
        let config = json!({ "stream_cipher": text, "create_stream_on_read": true });
        let spec = json!({ "basins": [{ "name": "basin-one", "config": config }] });
        let config = &read(&spec).unwrap().basins[0].config;
        assert_eq!(config.stream_cipher, Some(cipher));
        assert!(config.create_stream_on_read && !config.create_stream_on_append);
    }
}

/// What is wrong with a basin of this configuration.
fn wrong_basin(config: &Value) -> Vec<String> {
    read(&json!({ "basins": [{ "name": "basin-one", "config": config }] })).unwrap_err()
}

#[test]
fn errors_of_configurations_name_their_place() {
    let stream = |config: Value| json!({ "default_stream_config": config });
    let cases = [
        (json!([]), "config: must be an object, not an array"),
        (json!({ "location": "x" }), "config: unknown member \"location\""),
        (json!({ "stream_cipher": "rot13" }), "config.stream_cipher: must be aegis-256"),
        (json!({ "stream_cipher": 7 }), "config.stream_cipher: must be a string, not a number"),
        (json!({ "create_stream_on_append": "yes" }), "create_stream_on_append: must be true or"),
        (json!({ "create_stream_on_read": 1 }), "create_stream_on_read: must be true or false"),
        (stream(json!("x")), "default_stream_config: must be an object, not a string"),
        (stream(json!({ "retention": "1s" })), "unknown member \"retention\"; there are storage"),
        (stream(json!({ "storage_class": 1 })), "storage_class: must be a string, not a number"),
        (stream(json!({ "storage_class": "x".repeat(1025) })), "at most 1024 bytes long"),
        (stream(json!({ "retention_policy": { "age": 60 } })), "must be a string, not an object"),
        (stream(json!({ "retention_policy": 60 })), "retention_policy: must be a string"),
        (stream(json!({ "retention_policy": "0" })), "a retention is at least 1 second"),
        (stream(json!({ "retention_policy": "999ms" })), "a retention is at least 1 second"),
        (stream(json!({ "retention_policy": "soon" })), "retention_policy: \"soon\" is no"),
        (stream(json!({ "timestamping": "arrival" })), "timestamping: must be an object"),
        (stream(json!({ "timestamping": { "mode": "Arrival" } })), "timestamping.mode: must be"),
        (stream(json!({ "timestamping": { "uncapped": 0 } })), "timestamping.uncapped: must be"),
        (stream(json!({ "timestamping": { "x": 0 } })), "timestamping: unknown member \"x\""),
        (stream(json!({ "delete_on_empty": { "min_age_secs": 1 } })), "member \"min_age_secs\""),
        (stream(json!({ "delete_on_empty": { "min_age": 1 } })), "min_age: must be a string"),
        (stream(json!({ "delete_on_empty": { "min_age": "1" } })), "min_age: \"1\" is no"),
    ];
    for (config, expected) in cases {
        let said = wrong_basin(&config);
        assert_eq!(said.len(), 1, "{config}: {said:?}");
        assert!(said[0].starts_with("basin basin-one, config"), "{config}: {said:?}");
        assert!(said[0].contains(expected), "{config}: {said:?}");
    }
}

#[test]
fn errors_of_everything_else() {
    let cases = [
        ("[]", "the file: must be an object, not an array"),
        ("null", "the file: must be an object, not null"),
        (r#"{"basins":null}"#, "basins: must be an array, not null"),
        (r#"{"basins":{}}"#, "basins: must be an array, not an object"),
        (r#"{"basins":[],"basins":[]}"#, "the file: member \"basins\" twice"),
        (r#"{"basins":["x"]}"#, "basins[0]: must be an object, not a string"),
        (r#"{"basins":[{}]}"#, "basins[0]: needs a name"),
        (r#"{"basins":[{"name":null}]}"#, "basins[0].name: must be a string, not null"),
        (r#"{"basins":[{"name":"short"}]}"#, "basins[0].name: \"short\": basin name must be 8"),
        (r#"{"basins":[{"name":"basin-one","name":"basin-two"}]}"#, "member \"name\" twice"),
        (r#"{"basins":[{"name":"basin-one","stream":[]}]}"#, "unknown member \"stream\""),
        (r#"{"basins":[{"name":"basin-one","streams":null}]}"#, "basin basin-one, streams: must"),
        (
            r#"{"basins":[{"name":"basin-one"},{"name":"basin-two"},{"name":"basin-one"}]}"#,
            "basin \"basin-one\" is there twice",
        ),
        (
            r#"{"basins":[{"name":"basin-one","streams":[{"name":"s"},{"name":"s"}]}]}"#,
            "basin basin-one, stream \"s\" is there twice",
        ),
        (
            r#"{"basins":[{"name":"basin-one","streams":[{"name":""}]}]}"#,
            "basin basin-one, streams[0].name: \"\": stream name must not be empty",
        ),
        (
            r#"{"basins":[{"name":"basin-one","streams":[{"name":"a\u0000b"}]}]}"#,
            "stream name must not hold the NUL character",
        ),
        (
            r#"{"basins":[{"name":"basin-one","streams":[{"name":"s","config":{"x":1}}]}]}"#,
            "basin basin-one, stream \"s\", config: unknown member \"x\"",
        ),
    ];
    for (text, expected) in cases {
        let said = read_text(text).expect_err(text);
        assert_eq!(said.len(), 1, "{text}: {said:?}");
        assert!(said[0].contains(expected), "{text}: {said:?}");
    }
}

#[test]
fn all_errors_are_told_together() {
    let spec = json!({ "basins": [
        { "name": "BAD", "streams": [{ "name": "." }, { "name": "ok", "extra": 1 }] },
        { "name": "basin-one", "config": { "stream_cipher": "x", "create_stream_on_read": 2 } },
        { "name": "basin-one", "streams": 3 },
        { "config": { "default_stream_config": { "retention_policy": "0" } } },
    ]});
    let said = read(&spec).unwrap_err();
    assert_eq!(said.len(), 9, "{said:#?}");
    let path = PathBuf::from("f.json");
    let text = ResourcesError::Invalid { path, problems: said }.to_string();
    assert!(text.contains("nothing was applied: 9 error(s)\n  basins[0].name: "), "{text}");
    let path = PathBuf::from("f.json");
    let many = ResourcesError::Invalid { path, problems: vec!["x".to_owned(); 1000] }.to_string();
    assert_eq!(many.lines().count(), 102);
}

#[test]
fn files_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spec.json");
    let said = |path: &Path| Resources::from_file(path).unwrap_err();
    assert!(matches!(said(&path), ResourcesError::Read(..)));
    assert!(matches!(said(directory.path()), ResourcesError::Read(..)));
    let deep = "[".repeat(100_000);
    for text in ["", "{", "{}{}", "{\"basins\":[\"\u{1}\"]}", &deep] {
        std::fs::write(&path, text).unwrap();
        assert!(matches!(said(&path), ResourcesError::Json(..)), "{}", text.len());
    }
    std::fs::write(&path, b"{\"x\":\"\xff\"}").unwrap();
    assert!(matches!(said(&path), ResourcesError::Json(..)));
    std::fs::write(&path, "{\"basins\":[{\"name\":\"basin-one\"}]}").unwrap();
    assert_eq!(Resources::from_file(&path).unwrap().basins.len(), 1);
}
