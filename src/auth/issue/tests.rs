use proptest::prelude::*;

use super::*;
use crate::auth::Grant;
use crate::types::token::{OpGroups, ReadWrite};
use crate::types::{Scope, TokenId};

const NOW_US: u64 = 1_000_000;

fn all() -> ResourceSet {
    ResourceSet::Prefix("".into())
}

fn info(scope: Scope) -> TokenInfo {
    let id = TokenId::new("new").expect("legal");
    TokenInfo { id, expires_us: None, auto_prefix_streams: false, scope }
}

/// A token that may issue others, and everything else besides, within `streams`.
fn issuer(streams: ResourceSet) -> TokenInfo {
    let (basins, access_tokens) = (all(), all());
    let (op_groups, ops) = (OpGroups::ALL, PermissionSet::NONE);
    info(Scope { basins, streams, access_tokens, op_groups, ops })
}

fn reading(streams: ResourceSet) -> TokenInfo {
    let ops = PermissionSet::of(&[Permission::Read]);
    info(Scope { basins: all(), streams, ops, ..Scope::default() })
}

fn issue(own: &TokenInfo, requested: &TokenInfo) -> Result<TokenInfo, NotIssued> {
    may_issue(&Access::Token(Grant::new(own.clone())), requested.clone(), NOW_US)
}

#[test]
fn a_token_that_permits_nothing_is_refused_in_these_words() {
    let requested = info(Scope { basins: all(), streams: all(), ..Scope::default() });
    let refused = may_issue(&Access::Open, requested, NOW_US).expect_err("no operation");
    assert_eq!(refused, NotIssued::Invalid("Access token permissions cannot be empty"));
    let by_group = Scope {
        op_groups: OpGroups {
            stream: ReadWrite { read: true, write: false },
            ..OpGroups::default()
        },
        ..Scope::default()
    };
    assert!(may_issue(&Access::Open, info(by_group), NOW_US).is_ok());
}

#[test]
fn a_token_that_prefixes_without_a_prefix_is_refused_in_these_words() {
    let words = "Auto prefixing is only allowed for streams with prefix matching";
    for streams in [ResourceSet::Nothing, ResourceSet::Exact("a".into())] {
        let requested = TokenInfo { auto_prefix_streams: true, ..reading(streams) };
        let refused = may_issue(&Access::Root, requested, NOW_US).expect_err("no prefix");
        assert_eq!(refused, NotIssued::Invalid(words));
    }
    for streams in [ResourceSet::Prefix("a/".into()), all()] {
        let requested = TokenInfo { auto_prefix_streams: true, ..reading(streams) };
        assert_eq!(may_issue(&Access::Root, requested.clone(), NOW_US), Ok(requested));
    }
}

#[test]
fn a_token_that_has_expired_already_is_refused() {
    for (expires_us, is_fine) in [(0, false), (NOW_US, false), (NOW_US + 1, true)] {
        let requested = TokenInfo { expires_us: Some(expires_us), ..reading(all()) };
        assert_eq!(may_issue(&Access::Open, requested, NOW_US).is_ok(), is_fine, "{expires_us}");
    }
}

#[test]
fn what_makes_no_sense_is_said_before_what_is_not_permitted() {
    let own = reading(ResourceSet::Nothing);
    let requested = info(Scope::default());
    assert_eq!(issue(&own, &requested), Err(NotIssued::Invalid(NO_PERMISSIONS)));
    let denied = Denied::Operation(Permission::IssueAccessToken);
    assert_eq!(issue(&own, &reading(all())), Err(NotIssued::Denied(denied)));
}

#[test]
fn the_id_must_be_among_those_that_the_issuer_is_about() {
    let mut own = issuer(all());
    for (set, is_fine) in [
        (ResourceSet::Exact("new".into()), true),
        (ResourceSet::Prefix("ne".into()), true),
        (ResourceSet::Exact("old".into()), false),
        (ResourceSet::Nothing, false),
    ] {
        own.scope.access_tokens = set;
        let issued = issue(&own, &reading(all()));
        assert_eq!(issued.is_ok(), is_fine, "{issued:?}");
        assert!(is_fine || issued == Err(NotIssued::Denied(Denied::Token)));
    }
}

#[test]
fn an_expiry_is_inherited_and_not_exceeded() {
    let limited = TokenInfo { expires_us: Some(NOW_US + 10), ..issuer(all()) };
    let endless = issuer(all());
    for (own, requested_us, expected) in [
        (&endless, None, Some(None)),
        (&endless, Some(NOW_US + 5), Some(Some(NOW_US + 5))),
        (&limited, None, Some(Some(NOW_US + 10))),
        (&limited, Some(NOW_US + 10), Some(Some(NOW_US + 10))),
        (&limited, Some(NOW_US + 11), None),
    ] {
        let requested = TokenInfo { expires_us: requested_us, ..reading(all()) };
        let issued = issue(own, &requested).map(|info| info.expires_us);
        let denied = Err(NotIssued::Denied(Denied::Exceeds("expiry")));
        assert_eq!(issued, expected.map_or(denied, Ok), "{requested_us:?}");
    }
}

#[test]
fn an_issuer_that_prefixes_grants_nothing_outside_its_prefix() {
    let own =
        TokenInfo { auto_prefix_streams: true, ..issuer(ResourceSet::Prefix("team/".into())) };
    for (streams, is_fine) in [
        (ResourceSet::Prefix("team/".into()), true),
        (ResourceSet::Prefix("team/a/".into()), true),
        (ResourceSet::Exact("team/a".into()), true),
        (ResourceSet::Nothing, true),
        (ResourceSet::Prefix("a/".into()), false),
        (ResourceSet::Prefix("team".into()), false),
        (ResourceSet::Exact("a".into()), false),
        (all(), false),
    ] {
        let issued = issue(&own, &reading(streams.clone()));
        assert_eq!(issued.is_ok(), is_fine, "{streams:?}: {issued:?}");
    }
}

#[test]
fn a_group_is_granted_only_by_who_has_it() {
    let stream_read = ReadWrite { read: true, write: false };
    let group = OpGroups { stream: stream_read, ..OpGroups::default() };
    let one_by_one = Scope {
        ops: group.implied().with(Permission::IssueAccessToken),
        op_groups: OpGroups::default(),
        ..issuer(all()).scope
    };
    let requested = info(Scope { op_groups: group, ..Scope::default() });
    let denied = NotIssued::Denied(Denied::Exceeds("operations"));
    assert_eq!(issue(&info(one_by_one), &requested), Err(denied));
    assert!(issue(&issuer(all()), &requested).is_ok());
}

fn sets() -> impl Strategy<Value = ResourceSet> {
    prop_oneof![
        1 => Just(ResourceSet::Nothing),
        3 => "[ab]{1,3}".prop_map(|name| ResourceSet::Exact(name.into())),
        4 => "[ab]{0,2}".prop_map(|prefix| ResourceSet::Prefix(prefix.into())),
    ]
}

fn scopes() -> impl Strategy<Value = Scope> {
    let half = (any::<bool>(), any::<bool>()).prop_map(|(read, write)| ReadWrite { read, write });
    let ops = prop::sample::subsequence(Permission::ALL.to_vec(), 0..=Permission::ALL.len());
    (sets(), sets(), sets(), [half.clone(), half.clone(), half], ops).prop_map(
        |(basins, streams, access_tokens, [account, basin, stream], ops)| Scope {
            basins,
            streams,
            access_tokens,
            op_groups: OpGroups { account, basin, stream },
            ops: ops.into_iter().collect(),
        },
    )
}

/// Every name of up to three letters.
fn names() -> impl Iterator<Item = String> {
    const LETTERS: [&str; 3] = ["", "a", "b"];
    (0..27).map(|n| [n / 9, n / 3 % 3, n % 3].map(|at| LETTERS[at]).concat())
}

proptest! {
    /// Said with names instead of sets: a set covers another when it has every name of it. One
    /// exact name is never a whole prefix, whatever names there are.
    #[test]
    fn a_set_covers_another_when_it_has_all_its_names(ours in sets(), theirs in sets()) {
        let longer = |name: &str| format!("{name}aaaa");
        let has_all = names().chain(names().map(|name| longer(&name)))
            .all(|name| !theirs.has(&name) || ours.has(&name));
        prop_assert_eq!(ours.covers(&theirs), has_all);
    }

    /// Whatever is issued, its holder may do nothing that its issuer may not.
    #[test]
    fn nobody_hands_out_more_than_they_have(own in scopes(), requested in scopes()) {
        let (own, requested) = (info(own), info(requested));
        let Ok(issued) = issue(&own, &requested) else { return Ok(()) };
        let own = Access::Token(Grant::new(own));
        let issued = Access::Token(Grant::new(issued));
        for operation in Permission::ALL.iter().copied() {
            let needed = PermissionSet::of(&[operation]);
            for basin in names() {
                for resource in [
                    Resource::Account,
                    Resource::Basin(&basin),
                    Resource::Token(&basin),
                    Resource::Stream { basin: "a", stream: &basin },
                    Resource::Stream { basin: &basin, stream: "b" },
                ] {
                    let exceeds = permit(&issued, needed, resource).is_ok()
                        && permit(&own, needed, resource).is_err();
                    prop_assert!(!exceeds, "{:?} on {:?}", operation, resource);
                }
            }
        }
    }

    /// Who may issue at all may issue a copy of the own token, and narrower ones.
    #[test]
    fn a_copy_of_ones_own_token_can_be_issued(mut own in scopes()) {
        own.ops = own.ops.with(Permission::IssueAccessToken);
        own.access_tokens = all();
        let own = info(own);
        prop_assert_eq!(issue(&own, &own), Ok(own.clone()));
        let narrower = info(Scope { streams: ResourceSet::Nothing, ..own.scope.clone() });
        prop_assert!(issue(&own, &narrower).is_ok());
    }
}
