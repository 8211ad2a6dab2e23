use super::*;
use crate::types::token::{OpGroups, ReadWrite};
use crate::types::{ResourceSet, Scope, TokenId};

fn access(scope: Scope) -> Access {
    let id = TokenId::new("t").expect("legal");
    let info = TokenInfo { id, expires_us: None, auto_prefix_streams: false, scope };
    Access::Token(Grant::new(info))
}

/// Every form of a set, and whether it holds `name`; `other` is no beginning of it.
fn forms(name: &str, other: &str) -> Vec<(ResourceSet, bool)> {
    let longer = format!("{name}x");
    let exact = |text: &str| ResourceSet::Exact(text.into());
    let prefix = |text: &str| ResourceSet::Prefix(text.into());
    vec![
        (ResourceSet::Nothing, false),
        (exact(name), true),
        (exact(&longer), false),
        (exact(&name[..1]), false),
        (exact(other), false),
        (prefix(""), true),
        (prefix(&name[..1]), true),
        (prefix(name), true),
        (prefix(&longer), false),
        (prefix(other), false),
    ]
}

/// Every form of a scope's operations: none, each one by itself, all but each one, all, each half
/// of each group.
fn operations() -> Vec<(OpGroups, PermissionSet)> {
    let all: PermissionSet = Permission::ALL.iter().copied().collect();
    let mut forms = vec![(OpGroups::default(), PermissionSet::NONE), (OpGroups::default(), all)];
    for one in Permission::ALL.iter().copied() {
        let others = Permission::ALL.iter().copied().filter(|other| *other != one).collect();
        forms.push((OpGroups::default(), PermissionSet::of(&[one])));
        forms.push((OpGroups::default(), others));
    }
    for half in [ReadWrite { read: true, write: false }, ReadWrite { read: false, write: true }] {
        let none = OpGroups::default();
        forms.push((OpGroups { account: half, ..none }, PermissionSet::NONE));
        forms.push((OpGroups { basin: half, ..none }, PermissionSet::NONE));
        forms.push((OpGroups { stream: half, ..none }, PermissionSet::of(&[Permission::Fence])));
    }
    forms
}

/// Names of groups as the specification's table lists them, beside the operations' names: written
/// down a second time, so that a slip in one of the two shows.
fn is_permitted(groups: &OpGroups, ops: PermissionSet, operation: Permission) -> bool {
    let OpGroups { account, basin, stream } = *groups;
    let by_group = match operation.as_str() {
        "list-basins"
        | "list-access-tokens"
        | "account-metrics"
        | "list-locations"
        | "get-default-location" => account.read,
        "create-basin"
        | "delete-basin"
        | "reconfigure-basin"
        | "issue-access-token"
        | "revoke-access-token"
        | "set-default-location" => account.write,
        "get-basin-config" => basin.read || account.write,
        "list-streams" | "basin-metrics" => basin.read,
        "create-stream" | "delete-stream" | "reconfigure-stream" => basin.write,
        "get-stream-config" => stream.read || basin.write,
        "check-tail" | "read" | "stream-metrics" => stream.read,
        "append" | "trim" | "fence" => stream.write,
        other => panic!("{other} is not in the specification's table"),
    };
    by_group || ops.iter().any(|op| op.as_str() == operation.as_str())
}

#[test]
fn every_operation_is_permitted_by_exactly_the_scopes_that_say_so() {
    const BASIN: &str = "test-basin-1";
    const STREAM: &str = "logs/日本";
    const TOKEN: &str = "reader";
    let stream = STREAM;
    let mut checked = 0u32;
    for (op_groups, ops) in operations() {
        for (basins, has_basin) in forms(BASIN, "zz") {
            for (streams, has_stream) in forms(stream, "zz") {
                for (access_tokens, has_token) in forms(TOKEN, "zz") {
                    let (basins, streams) = (basins.clone(), streams.clone());
                    let access = access(Scope { basins, streams, access_tokens, op_groups, ops });
                    let both = has_basin && has_stream;
                    for operation in Permission::ALL.iter().copied() {
                        let may = is_permitted(&op_groups, ops, operation);
                        let needed = PermissionSet::of(&[operation]);
                        for (resource, has) in [
                            (Resource::Account, true),
                            (Resource::Basin(BASIN), has_basin),
                            (Resource::Stream { basin: BASIN, stream }, both),
                            (Resource::Token(TOKEN), has_token),
                        ] {
                            let answer = permit(&access, needed, resource);
                            let what = || format!("{operation:?} on {resource:?} by {access:?}");
                            assert_eq!(answer.is_ok(), may && has, "{}: {answer:?}", what());
                            assert_eq!(permit_any(&access, needed, resource), answer);
                            checked += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(checked, (2 + 2 * 24 + 6) * 24 * 10 * 10 * 10 * 4);
}

#[test]
fn a_denial_says_what_is_missing_operations_first() {
    let scope = Scope {
        ops: PermissionSet::of(&[Permission::Append]),
        basins: ResourceSet::Prefix("test-".into()),
        ..Scope::default()
    };
    let access = access(scope);
    let append = PermissionSet::of(&[Permission::Append]);
    let both = append.with(Permission::Fence);
    let there = Resource::Stream { basin: "test-basin-1", stream: "s" };
    let elsewhere = Resource::Stream { basin: "other-basin", stream: "s" };
    for (needed, resource, expected) in [
        (both, elsewhere, Denied::Operation(Permission::Fence)),
        (append, elsewhere, Denied::Basin),
        (append, there, Denied::Stream),
        (append, Resource::Token("t"), Denied::Token),
    ] {
        assert_eq!(permit(&access, needed, resource), Err(expected));
    }
    let message = Denied::Operation(Permission::Fence).to_string();
    assert_eq!(message, "the access token does not permit fence");
}

#[test]
fn one_of_several_operations_is_enough_where_it_is_not_known_yet_which() {
    let scope = Scope {
        ops: PermissionSet::of(&[Permission::Trim]),
        basins: ResourceSet::Prefix("".into()),
        streams: ResourceSet::Exact("s".into()),
        ..Scope::default()
    };
    let access = access(scope);
    let candidates = PermissionSet::of(&[Permission::Append, Permission::Trim]);
    let on = |stream| Resource::Stream { basin: "test-basin-1", stream };
    assert_eq!(permit_any(&access, candidates, on("s")), Ok(()));
    assert_eq!(permit_any(&access, candidates, on("s2")), Err(Denied::Stream));
    let others = PermissionSet::of(&[Permission::Append, Permission::Fence]);
    let missing = Err(Denied::Operation(Permission::Append));
    assert_eq!(permit_any(&access, others, on("s")), missing);
    assert_eq!(permit(&access, candidates, on("s")), missing);
}

#[test]
fn without_a_token_everything_is_permitted() {
    let all: PermissionSet = Permission::ALL.iter().copied().collect();
    for access in [Access::Open, Access::Root] {
        for resource in [
            Resource::Account,
            Resource::Basin("test-basin-1"),
            Resource::Stream { basin: "test-basin-1", stream: "s" },
            Resource::Token("t"),
        ] {
            assert_eq!(permit(&access, all, resource), Ok(()));
            assert_eq!(permit_any(&access, all, resource), Ok(()));
        }
        assert_eq!(access.stream_prefix(), "");
        assert!(!access.is_ended());
    }
}

#[test]
fn nobody_is_permitted_nothing() {
    let read = PermissionSet::of(&[Permission::Read]);
    let nobody = &Access::Nobody;
    for resource in [Resource::Account, Resource::Stream { basin: "test-basin-1", stream: "s" }] {
        assert_eq!(permit(nobody, read, resource), Err(Denied::Nobody));
        assert_eq!(permit_any(nobody, read, resource), Err(Denied::Nobody));
    }
    assert!(!nobody.is_unlimited());
    assert_eq!(nobody.name().as_str(), "nobody");
    assert_eq!(Access::Open.name().as_str(), "open");
}

#[test]
fn a_grant_that_ended_stays_ended_for_all_who_hold_it() {
    let held = access(Scope::default());
    let other = held.clone();
    let Access::Token(grant) = &held else { panic!("made of a token") };
    assert!(!other.is_ended());
    grant.end();
    assert!(held.is_ended() && other.is_ended());
}
