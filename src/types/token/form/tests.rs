use proptest::prelude::*;

use super::*;
use crate::types::json::from_slice;

fn read(text: &str) -> Result<Scope, serde_json::Error> {
    from_slice(text.as_bytes())
}

#[test]
fn what_is_absent_or_null_permits_nothing() {
    let cases = [
        "{}",
        r#"{"basins":null,"streams":null,"access_tokens":null,"op_groups":null,"ops":null}"#,
        r#"{"basins":{"exact":""},"op_groups":{},"ops":[],"more":[1]}"#,
        r#"{"op_groups":{"account":null,"basin":{},"stream":{"read":null,"write":false}}}"#,
    ];
    for text in cases {
        assert_eq!(read(text).expect(text), Scope::default(), "{text}");
    }
    let empty = r#"{"basins":null,"streams":null,"access_tokens":null,"op_groups":{"account":{"read":false,"write":false},"basin":{"read":false,"write":false},"stream":{"read":false,"write":false}},"ops":[]}"#;
    assert_eq!(serde_json::to_string(&Scope::default()).expect("plain"), empty);
}

#[test]
fn a_scope_is_shown_in_full() {
    let text = r#"{"basins":{"prefix":""},"streams":{"exact":"a/b"},"access_tokens":{"prefix":"t-"},"op_groups":{"account":{"read":true,"write":false},"basin":{"read":false,"write":false},"stream":{"read":true,"write":true}},"ops":["create-basin","fence"]}"#;
    let scope = read(text).expect("legal");
    assert_eq!(scope.basins, ResourceSet::Prefix("".into()));
    assert_eq!(scope.streams, ResourceSet::Exact("a/b".into()));
    assert_eq!(serde_json::to_string(&scope).expect("plain"), text);
    let twice = read(r#"{"ops":["fence","fence"]}"#).expect("legal");
    assert_eq!(twice.ops, PermissionSet::of(&[Permission::Fence]));
}

#[test]
fn every_operation_is_read_by_its_name() {
    for permission in Permission::ALL.iter().copied() {
        let text = format!(r#"{{"ops":["{}"]}}"#, permission.as_str());
        assert_eq!(read(&text).expect(&text).ops, PermissionSet::of(&[permission]));
    }
}

#[test]
fn malformed_scopes_are_refused() {
    let long = "a".repeat(513);
    let cases = [
        "null".to_owned(),
        "[]".to_owned(),
        r#"{"basins":"all"}"#.to_owned(),
        r#"{"basins":{}}"#.to_owned(),
        r#"{"basins":["test-basin-1"]}"#.to_owned(),
        r#"{"basins":{"exact":null}}"#.to_owned(),
        r#"{"basins":{"exact":"test-basin-1","prefix":"t"}}"#.to_owned(),
        r#"{"basins":{"prefix":"t","other":1}}"#.to_owned(),
        r#"{"basins":{"exact":"short"}}"#.to_owned(),
        r#"{"basins":{"prefix":"Upper"}}"#.to_owned(),
        r#"{"streams":{"exact":".."}}"#.to_owned(),
        r#"{"streams":{"prefix":"a\u0000"}}"#.to_owned(),
        format!(r#"{{"streams":{{"prefix":"{long}"}}}}"#),
        r#"{"access_tokens":{"exact":"."}}"#.to_owned(),
        r#"{"op_groups":[]}"#.to_owned(),
        r#"{"op_groups":{"stream":true}}"#.to_owned(),
        r#"{"op_groups":{"stream":{"read":1}}}"#.to_owned(),
        r#"{"ops":["Append"]}"#.to_owned(),
        r#"{"ops":["everything"]}"#.to_owned(),
        r#"{"ops":"append"}"#.to_owned(),
        r#"{"ops":[null]}"#.to_owned(),
        r#"{"ops":[],"ops":[]}"#.to_owned(),
    ];
    for text in cases {
        assert!(read(&text).is_err(), "{text}");
    }
}

fn sets(names: &'static str, prefixes: &'static str) -> impl Strategy<Value = ResourceSet> {
    prop_oneof![
        Just(ResourceSet::Nothing),
        names.prop_map(|name| ResourceSet::Exact(name.into())),
        prefixes.prop_map(|prefix| ResourceSet::Prefix(prefix.into())),
    ]
}

fn scopes() -> impl Strategy<Value = Scope> {
    let group = (any::<bool>(), any::<bool>()).prop_map(|(read, write)| ReadWrite { read, write });
    let ops = prop::sample::subsequence(Permission::ALL.to_vec(), 0..=Permission::ALL.len());
    (
        sets("[a-z][a-z0-9]{7,20}", "([a-z][a-z0-9-]{0,7})?"),
        sets("[a-z日/]{3,9}", "[a-z日/]{0,5}"),
        sets("[a-z日/]{3,9}", "[a-z日/]{0,5}"),
        [group.clone(), group.clone(), group],
        ops,
    )
        .prop_map(|(basins, streams, access_tokens, [account, basin, stream], ops)| Scope {
            basins,
            streams,
            access_tokens,
            op_groups: OpGroups { account, basin, stream },
            ops: ops.into_iter().collect(),
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        scope in scopes(),
        expires_us in any::<Option<u64>>(),
        auto_prefix_streams in any::<bool>(),
    ) {
        let id = TokenId::new("日/t").expect("legal");
        let info = TokenInfo { id, expires_us, auto_prefix_streams, scope };
        let text = serde_json::to_string(&info).expect("plain values");
        prop_assert_eq!(from_slice::<TokenInfo>(text.as_bytes()).expect("legal"), info);
    }
}
