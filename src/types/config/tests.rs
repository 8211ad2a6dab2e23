use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::types::json::from_slice;

fn partial(text: &str) -> Result<PartialStreamConfig, serde_json::Error> {
    from_slice(text.as_bytes())
}

fn basin(text: &str) -> Result<BasinConfig, serde_json::Error> {
    from_slice(text.as_bytes())
}

#[test]
fn absent_null_and_empty_mean_unset() {
    for text in [
        "{}",
        r#"{"storage_class":null,"retention_policy":null,"timestamping":null,"delete_on_empty":null}"#,
        r#"{"timestamping":{},"delete_on_empty":{}}"#,
        r#"{"timestamping":{"mode":null,"uncapped":null},"delete_on_empty":{"min_age_secs":null}}"#,
        r#"{"unknown":{"a":[1]},"timestamping":{"unknown":1}}"#,
    ] {
        assert!(partial(text).expect(text).is_unset(), "{text}");
    }
}

#[test]
fn every_leaf_is_read() {
    let text = r#"{"storage_class":"turbo-9","retention_policy":{"age":3600},
        "timestamping":{"mode":"client-require","uncapped":true},
        "delete_on_empty":{"min_age_secs":300}}"#;
    let expected = PartialStreamConfig {
        storage_class: Some("turbo-9".to_owned()),
        retention: Some(Retention::AgeSecs(3600)),
        timestamping_mode: Some(TimestampingMode::ClientRequire),
        timestamping_uncapped: Some(true),
        delete_on_empty_min_age_secs: Some(300),
    };
    assert_eq!(partial(text).expect("legal"), expected);
}

#[test]
fn retention_has_exactly_one_known_key() {
    let read = |value: &str| partial(&format!(r#"{{"retention_policy":{value}}}"#));
    for (value, expected) in [
        (r#"{"age":1}"#, Retention::AgeSecs(1)),
        (r#"{"age":18446744073709551615}"#, Retention::AgeSecs(u64::MAX)),
        (r#"{"infinite":{}}"#, Retention::Infinite),
        (r#"{"infinite":{"ignored":1}}"#, Retention::Infinite),
    ] {
        assert_eq!(read(value).expect(value).retention, Some(expected), "{value}");
    }
    for value in [
        "{}",
        r#"{"age":1,"infinite":{}}"#,
        r#"{"age":1,"infinite":null}"#,
        r#"{"age":null,"infinite":{}}"#,
        r#"{"age":null}"#,
        r#"{"age":1,"other":1}"#,
        r#"{"other":1}"#,
        r#"{"age":1,"age":1}"#,
        r#"{"age":-1}"#,
        r#"{"age":1.5}"#,
        r#"{"age":1.0}"#,
        r#"{"age":"1"}"#,
        r#"{"infinite":null}"#,
        r#"{"infinite":[]}"#,
        r#"{"infinite":true}"#,
        r#""infinite""#,
        "[1]",
        "1",
    ] {
        assert!(read(value).is_err(), "{value}");
    }
}

#[test]
fn wrong_types_and_unknown_words_are_refused() {
    for text in [
        r#"{"storage_class":7}"#,
        r#"{"timestamping":{"mode":"x"}}"#,
        r#"{"timestamping":{"mode":"Arrival"}}"#,
        r#"{"timestamping":{"mode":{"arrival":null}}}"#,
        r#"{"timestamping":{"uncapped":1}}"#,
        r#"{"timestamping":["arrival",true]}"#,
        r#"{"timestamping":"arrival"}"#,
        r#"{"delete_on_empty":{"min_age_secs":-1}}"#,
        r#"{"delete_on_empty":5}"#,
        r#"{"storage_class":"a","storage_class":"a"}"#,
        r#"["express"]"#,
        "null",
        "not json",
    ] {
        assert!(partial(text).is_err(), "{text}");
    }
    for text in [
        r#"{"create_stream_on_append":1}"#,
        r#"{"stream_cipher":"aes"}"#,
        r#"{"stream_cipher":{"aegis-256":null}}"#,
        r#"{"default_stream_config":[]}"#,
        "[]",
    ] {
        assert!(basin(text).is_err(), "{text}");
    }
}

#[test]
fn any_string_is_a_storage_class_and_comes_back_unchanged() {
    for class in ["", "standard", "Express", "turbo-9", "日本"] {
        let text = serde_json::json!({ "storage_class": class }).to_string();
        assert_eq!(partial(&text).expect("legal").storage_class.as_deref(), Some(class));
    }
}

#[test]
fn retention_age_zero_parses_and_is_invalid() {
    let zero = partial(r#"{"retention_policy":{"age":0}}"#).expect("well-formed");
    assert!(zero.validate().is_err());
    let one = partial(r#"{"retention_policy":{"age":1}}"#).expect("well-formed");
    assert_eq!(one.validate(), Ok(()));
    let in_basin = basin(r#"{"default_stream_config":{"retention_policy":{"age":0}}}"#);
    assert!(in_basin.expect("well-formed").validate().is_err());
    assert_eq!(BasinConfig::default().validate(), Ok(()));
}

#[test]
fn a_default_stream_shows_every_member_resolved() {
    let config = PartialStreamConfig::default().resolve(&PartialStreamConfig::default());
    assert_eq!(
        serde_json::to_string(&config).expect("serializes"),
        concat!(
            r#"{"storage_class":"express","retention_policy":{"age":604800},"#,
            r#""timestamping":{"mode":"client-prefer","uncapped":false},"#,
            r#""delete_on_empty":{"min_age_secs":0}}"#
        )
    );
}

#[test]
fn a_basin_shows_unset_members_as_null() {
    let cases = [
        ("{}", "null"),
        (r#"{"default_stream_config":{}}"#, "null"),
        (r#"{"default_stream_config":{"timestamping":{"mode":null}}}"#, "null"),
        (
            r#"{"default_stream_config":{"storage_class":"standard"}}"#,
            r#"{"storage_class":"standard","retention_policy":null,"timestamping":null,"delete_on_empty":null}"#,
        ),
        (
            r#"{"default_stream_config":{"timestamping":{"uncapped":false},"delete_on_empty":{"min_age_secs":0}}}"#,
            r#"{"storage_class":null,"retention_policy":null,"timestamping":{"mode":null,"uncapped":false},"delete_on_empty":{"min_age_secs":0}}"#,
        ),
        (
            r#"{"default_stream_config":{"retention_policy":{"infinite":{}}}}"#,
            r#"{"storage_class":null,"retention_policy":{"infinite":{}},"timestamping":null,"delete_on_empty":null}"#,
        ),
    ];
    for (input, default) in cases {
        let shown = serde_json::to_string(&basin(input).expect(input)).expect("serializes");
        let expected = format!(
            r#"{{"default_stream_config":{default},"stream_cipher":null,"create_stream_on_append":false,"create_stream_on_read":false}}"#
        );
        assert_eq!(shown, expected, "{input}");
    }
}

#[test]
fn basin_flags_and_cipher_are_read_and_shown() {
    let config = basin(
        r#"{"stream_cipher":"aes-256-gcm","create_stream_on_append":true,"create_stream_on_read":null}"#,
    );
    assert_eq!(
        serde_json::to_string(&config.expect("legal")).expect("serializes"),
        r#"{"default_stream_config":null,"stream_cipher":"aes-256-gcm","create_stream_on_append":true,"create_stream_on_read":false}"#
    );
}

fn any_retention() -> impl Strategy<Value = Retention> {
    prop_oneof![any::<u64>().prop_map(Retention::AgeSecs), Just(Retention::Infinite)]
}

fn any_mode() -> impl Strategy<Value = TimestampingMode> {
    prop_oneof![
        Just(TimestampingMode::ClientPrefer),
        Just(TimestampingMode::ClientRequire),
        Just(TimestampingMode::Arrival)
    ]
}

prop_compose! {
    fn any_partial()(
        storage_class in option::of(".*"),
        retention in option::of(any_retention()),
        timestamping_mode in option::of(any_mode()),
        timestamping_uncapped in option::of(any::<bool>()),
        delete_on_empty_min_age_secs in option::of(any::<u64>()),
    ) -> PartialStreamConfig {
        PartialStreamConfig {
            storage_class,
            retention,
            timestamping_mode,
            timestamping_uncapped,
            delete_on_empty_min_age_secs,
        }
    }
}

prop_compose! {
    fn any_basin()(
        default_stream_config in any_partial(),
        stream_cipher in option::of(prop_oneof![Just(Cipher::Aegis256), Just(Cipher::Aes256Gcm)]),
        create_stream_on_append in any::<bool>(),
        create_stream_on_read in any::<bool>(),
    ) -> BasinConfig {
        BasinConfig {
            default_stream_config,
            stream_cipher,
            create_stream_on_append,
            create_stream_on_read,
        }
    }
}

proptest! {
    #[test]
    fn configurations_are_read_back_as_written(
        partial in any_partial(),
        inherited in any_partial(),
        basin in any_basin(),
    ) {
        let text = serde_json::to_vec(&partial).expect("serializes");
        prop_assert_eq!(from_slice::<PartialStreamConfig>(&text).expect("own form"), partial.clone());
        let resolved = partial.resolve(&inherited);
        let text = serde_json::to_vec(&resolved).expect("serializes");
        prop_assert_eq!(from_slice::<StreamConfig>(&text).expect("own form"), resolved);
        let text = serde_json::to_vec(&basin).expect("serializes");
        prop_assert_eq!(from_slice::<BasinConfig>(&text).expect("own form"), basin);
    }
}
