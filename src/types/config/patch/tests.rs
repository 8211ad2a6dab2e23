use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::types::json::from_slice;

fn stream(text: &str) -> Result<StreamConfigPatch, serde_json::Error> {
    from_slice(text.as_bytes())
}

fn basin(text: &str) -> Result<BasinConfigPatch, serde_json::Error> {
    from_slice(text.as_bytes())
}

fn full() -> StreamConfig {
    StreamConfig {
        storage_class: "standard".to_owned(),
        retention: Retention::AgeSecs(77),
        timestamping_mode: TimestampingMode::Arrival,
        timestamping_uncapped: true,
        delete_on_empty_min_age_secs: 300,
    }
}

#[test]
fn absent_members_are_kept_at_every_level() {
    for text in ["{}", r#"{"timestamping":{},"delete_on_empty":{},"unknown":[null]}"#] {
        let patch = stream(text).expect(text);
        assert_eq!(patch, StreamConfigPatch::default(), "{text}");
        let default = PartialStreamConfig::default();
        assert_eq!(patch.apply_to_stream(&full(), &default), full(), "{text}");
    }
    for text in [
        "{}",
        r#"{"create_stream_on_append":null,"create_stream_on_read":null}"#,
        r#"{"unknown":{}}"#,
    ] {
        assert_eq!(basin(text).expect(text), BasinConfigPatch::default(), "{text}");
    }
}

/// What one leaf becomes, when a basin's default for it and a stream's own value are set.
#[test]
fn a_value_is_set_and_null_clears() {
    let basin_default = PartialStreamConfig {
        storage_class: Some("turbo-9".to_owned()),
        retention: Some(Retention::Infinite),
        timestamping_mode: Some(TimestampingMode::ClientRequire),
        timestamping_uncapped: Some(false),
        delete_on_empty_min_age_secs: Some(5),
    };
    let shown = |patch: &str, default: &PartialStreamConfig| {
        let config = stream(patch).expect(patch).apply_to_stream(&full(), default);
        serde_json::to_value(config).expect("serializes")
    };
    let with = |pointer: &str, value: Value| {
        let mut config = serde_json::to_value(full()).expect("serializes");
        *config.pointer_mut(pointer).expect("a member") = value;
        config
    };
    let cases = [
        (r#"{"storage_class":"x"}"#, "/storage_class", json!("x"), json!("x")),
        (r#"{"storage_class":null}"#, "/storage_class", json!("turbo-9"), json!("express")),
        (
            r#"{"retention_policy":{"age":1}}"#,
            "/retention_policy",
            json!({ "age": 1 }),
            json!({ "age": 1 }),
        ),
        (
            r#"{"retention_policy":null}"#,
            "/retention_policy",
            json!({ "infinite": {} }),
            json!({ "age": 604_800 }),
        ),
        (
            r#"{"timestamping":{"mode":null}}"#,
            "/timestamping/mode",
            json!("client-require"),
            json!("client-prefer"),
        ),
        (
            r#"{"timestamping":{"uncapped":null}}"#,
            "/timestamping/uncapped",
            false.into(),
            false.into(),
        ),
        (
            r#"{"timestamping":null}"#,
            "/timestamping",
            json!({ "mode": "client-require", "uncapped": false }),
            json!({ "mode": "client-prefer", "uncapped": false }),
        ),
        (
            r#"{"delete_on_empty":{"min_age_secs":0}}"#,
            "/delete_on_empty/min_age_secs",
            json!(0),
            json!(0),
        ),
        (
            r#"{"delete_on_empty":{"min_age_secs":null}}"#,
            "/delete_on_empty/min_age_secs",
            json!(5),
            json!(0),
        ),
        (r#"{"delete_on_empty":null}"#, "/delete_on_empty/min_age_secs", json!(5), json!(0)),
    ];
    for (patch, pointer, with_default, without) in cases {
        assert_eq!(shown(patch, &basin_default), with(pointer, with_default), "{patch}");
        let unset = PartialStreamConfig::default();
        assert_eq!(shown(patch, &unset), with(pointer, without), "{patch}");
    }
}

#[test]
fn a_basin_default_loses_what_is_cleared() {
    let before = |text: &str| -> BasinConfig { from_slice(text.as_bytes()).expect(text) };
    let set = r#"{"default_stream_config":{"storage_class":"standard",
        "timestamping":{"mode":"arrival","uncapped":false},"delete_on_empty":{"min_age_secs":0}},
        "stream_cipher":"aegis-256","create_stream_on_append":true}"#;
    let default = |patch: &str| {
        let config = basin(patch).expect(patch).apply(&before(set));
        serde_json::to_value(config).expect("serializes")["default_stream_config"].take()
    };
    let timestamping = json!({ "mode": "arrival", "uncapped": false });
    let shown = |class: Value, timestamping: Value, delete_on_empty: Value| {
        json!({
            "storage_class": class, "retention_policy": null,
            "timestamping": timestamping, "delete_on_empty": delete_on_empty,
        })
    };
    let zero = json!({ "min_age_secs": 0 });
    let cases = [
        (r#"{"default_stream_config":null}"#, Value::Null),
        (r"{}", shown(json!("standard"), timestamping.clone(), zero.clone())),
        (
            r#"{"default_stream_config":{}}"#,
            shown(json!("standard"), timestamping.clone(), zero.clone()),
        ),
        (
            r#"{"default_stream_config":{"storage_class":null}}"#,
            shown(Value::Null, timestamping.clone(), zero.clone()),
        ),
        (
            r#"{"default_stream_config":{"timestamping":{"mode":null}}}"#,
            shown(json!("standard"), json!({ "mode": null, "uncapped": false }), zero.clone()),
        ),
        (
            r#"{"default_stream_config":{"timestamping":null}}"#,
            shown(json!("standard"), Value::Null, zero),
        ),
        (
            r#"{"default_stream_config":{"delete_on_empty":null}}"#,
            shown(json!("standard"), timestamping, Value::Null),
        ),
        (
            r#"{"default_stream_config":{"storage_class":null,"timestamping":null,
                "delete_on_empty":{"min_age_secs":null}}}"#,
            Value::Null,
        ),
    ];
    for (patch, expected) in cases {
        assert_eq!(default(patch), expected, "{patch}");
    }
    let patch = r#"{"stream_cipher":null,"create_stream_on_append":null,
        "create_stream_on_read":true}"#;
    let after = basin(patch).expect("legal").apply(&before(set));
    assert_eq!(after.stream_cipher, None);
    assert!(after.create_stream_on_append && after.create_stream_on_read);
    assert_eq!(after.default_stream_config, before(set).default_stream_config);
}

#[test]
fn wrong_types_are_refused_at_every_level() {
    for text in [
        "null",
        "[]",
        "",
        r#"{"storage_class":7}"#,
        r#"{"storage_class":"a","storage_class":null}"#,
        r#"{"retention_policy":{}}"#,
        r#"{"retention_policy":{"age":1,"infinite":{}}}"#,
        r#"{"retention_policy":{"age":-1}}"#,
        r#"{"retention_policy":{"age":null}}"#,
        r#"{"timestamping":{"mode":"x"}}"#,
        r#"{"timestamping":["arrival",true]}"#,
        r#"{"timestamping":{"uncapped":"true"}}"#,
        r#"{"delete_on_empty":5}"#,
        r#"{"delete_on_empty":[5]}"#,
        r#"{"delete_on_empty":{"min_age_secs":1.5}}"#,
    ] {
        assert!(stream(text).is_err(), "{text}");
        let inside = format!(r#"{{"default_stream_config":{text}}}"#);
        assert!(text == "null" || basin(&inside).is_err(), "{inside}");
    }
    for text in [
        "null",
        "[]",
        r#"{"default_stream_config":[]}"#,
        r#"{"stream_cipher":"rot13"}"#,
        r#"{"stream_cipher":1}"#,
        r#"{"create_stream_on_append":"yes"}"#,
        r#"{"create_stream_on_read":1}"#,
    ] {
        assert!(basin(text).is_err(), "{text}");
    }
}

#[test]
fn only_what_is_set_is_validated() {
    let long = format!(r#"{{"storage_class":"{}"}}"#, "c".repeat(1025));
    for text in [r#"{"retention_policy":{"age":0}}"#, &long] {
        assert!(stream(text).expect("well-formed").validate().is_err(), "{text}");
        let inside = format!(r#"{{"default_stream_config":{text}}}"#);
        assert!(basin(&inside).expect("well-formed").validate().is_err(), "{inside}");
    }
    for text in ["{}", r#"{"retention_policy":null}"#, r#"{"retention_policy":{"age":1}}"#] {
        assert_eq!(stream(text).expect("well-formed").validate(), Ok(()), "{text}");
        let inside = format!(r#"{{"default_stream_config":{text}}}"#);
        assert_eq!(basin(&inside).expect("well-formed").validate(), Ok(()), "{inside}");
    }
    assert_eq!(basin(r#"{"default_stream_config":null}"#).expect("legal").validate(), Ok(()));
}

fn change<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Change<T>> {
    prop_oneof![Just(Change::Keep), Just(Change::Clear), value.prop_map(Change::Set)]
}

fn as_json(patch: &StreamConfigPatch) -> Value {
    fn put<T: serde::Serialize>(into: &mut Value, name: &str, change: &Change<T>) {
        match change {
            Change::Keep => {}
            Change::Clear => into[name] = Value::Null,
            Change::Set(value) => into[name] = json!(value),
        }
    }
    let (mut all, mut timestamping, mut delete) = (json!({}), json!({}), json!({}));
    put(&mut all, "storage_class", &patch.storage_class);
    put(&mut all, "retention_policy", &patch.retention);
    put(&mut timestamping, "mode", &patch.timestamping_mode);
    put(&mut timestamping, "uncapped", &patch.timestamping_uncapped);
    put(&mut delete, "min_age_secs", &patch.delete_on_empty_min_age_secs);
    (all["timestamping"], all["delete_on_empty"]) = (timestamping, delete);
    all
}

prop_compose! {
    fn any_patch()(
        storage_class in change(".{0,8}"),
        age in change(1_u64..),
        arrival in change(any::<bool>()),
        timestamping_uncapped in change(any::<bool>()),
        delete_on_empty_min_age_secs in change(any::<u64>()),
    ) -> StreamConfigPatch {
        let retention = match age {
            Change::Keep => Change::Keep,
            Change::Clear => Change::Clear,
            Change::Set(age) => Change::Set(Retention::AgeSecs(age)),
        };
        let timestamping_mode = arrival.leaf(|arrival| {
            let other = TimestampingMode::ClientRequire;
            Change::Set(if *arrival { TimestampingMode::Arrival } else { other })
        });
        StreamConfigPatch {
            storage_class,
            retention,
            timestamping_mode,
            timestamping_uncapped,
            delete_on_empty_min_age_secs,
        }
    }
}

proptest! {
    #[test]
    fn a_patch_means_what_its_text_says(patch in any_patch()) {
        let text = as_json(&patch).to_string();
        prop_assert_eq!(stream(&text).expect("legal"), patch);
    }

    /// As a client sees it: a second time changes nothing, and what is not named stays.
    #[test]
    fn a_patch_changes_what_it_names_once(
        patch in any_patch(),
        class in option::of(".{0,8}"),
        min_age in option::of(any::<u64>()),
    ) {
        let default = PartialStreamConfig {
            storage_class: class,
            delete_on_empty_min_age_secs: min_age,
            ..PartialStreamConfig::default()
        };
        let once = patch.apply_to_stream(&full(), &default);
        prop_assert_eq!(&patch.apply_to_stream(&once, &default), &once);
        if patch.storage_class == Change::Keep {
            prop_assert_eq!(&once.storage_class, &full().storage_class);
        }
        if patch.retention == Change::Keep {
            prop_assert_eq!(once.retention, full().retention);
        }
        prop_assert!(patch.apply(&patch.apply(&default)) == patch.apply(&default));
    }
}
