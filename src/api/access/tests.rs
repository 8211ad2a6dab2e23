use proptest::prelude::*;

use super::*;
use crate::api::request::testing::{Pairs, parts};
use crate::api::route::route;
use crate::auth::{Grant, Within};
use crate::types::name::FencingToken;
use crate::types::{AppendBuilder, HeaderSpan, Span, TokenId, TokenInfo};

const BASIN: &str = "test-basin-1";
const S2S: (&str, &str) = ("content-type", "s2s/proto");
const JSON: (&str, &str) = ("content-type", "application/json");

fn all() -> ResourceSet {
    ResourceSet::Prefix("".into())
}

fn everywhere(ops: PermissionSet) -> Scope {
    Scope { basins: all(), streams: all(), access_tokens: all(), ops, ..Scope::default() }
}

fn token(scope: Scope, auto_prefix_streams: bool) -> Access {
    let id = TokenId::new("t").expect("legal");
    Access::Token(Grant::new(TokenInfo { id, expires_us: None, auto_prefix_streams, scope }))
}

fn access(scope: Scope) -> Access {
    token(scope, false)
}

fn everything() -> PermissionSet {
    Permission::ALL.iter().copied().collect()
}

/// A token that may do everything to streams that start with `prefix`, and does not say it.
fn prefixing(prefix: &str) -> Access {
    let streams = ResourceSet::Prefix(prefix.into());
    token(Scope { streams, ..everywhere(everything()) }, true)
}

fn ask(method: &str, target: &str, content_type: (&str, &str)) -> Operation {
    let pairs = [("s2-basin", BASIN), content_type];
    route(&parts(method, target, &Pairs(&pairs))).expect(target)
}

fn code<T>(result: Result<T, ApiError>) -> Option<Code> {
    result.err().and_then(|error| error.code())
}

/// What is needed for something.
#[derive(Debug, Clone, Copy)]
enum Needs {
    Nothing,
    All(&'static [&'static str]),
    Any(&'static [&'static str]),
}

/// What something is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Account,
    Basin,
    Stream,
    Token,
}

/// Every operation, what it needs, and what it is done to, as far as the head says that.
fn operations() -> Vec<(Operation, Needs, On)> {
    use Needs::{All, Any, Nothing};
    let of =
        |method: &str, target: &str, needs: Needs, on: On| (ask(method, target, JSON), needs, on);
    let session =
        |method: &str, needs: Needs| (ask(method, "/v1/streams/s/records", S2S), needs, On::Stream);
    let appending = Any(&["append", "trim", "fence"]);
    let (basin, stream) = ("/v1/basins/test-basin-1", "/v1/streams/s");
    vec![
        of("OPTIONS", "/v1/basins", Nothing, On::Account),
        of("GET", "/health", Nothing, On::Account),
        of("GET", "/metrics", Nothing, On::Account),
        of("GET", "/v1/basins", All(&["list-basins"]), On::Account),
        of("POST", "/v1/basins", All(&["create-basin"]), On::Account),
        of("GET", basin, All(&["get-basin-config"]), On::Basin),
        of("PUT", basin, All(&["create-basin", "reconfigure-basin"]), On::Basin),
        of("PATCH", basin, All(&["reconfigure-basin"]), On::Basin),
        of("DELETE", basin, All(&["delete-basin"]), On::Basin),
        of("GET", "/v1/streams", All(&["list-streams"]), On::Basin),
        of("POST", "/v1/streams", All(&["create-stream"]), On::Basin),
        of("GET", stream, All(&["get-stream-config"]), On::Stream),
        of("PUT", stream, All(&["create-stream", "reconfigure-stream"]), On::Stream),
        of("PATCH", stream, All(&["reconfigure-stream"]), On::Stream),
        of("DELETE", stream, All(&["delete-stream"]), On::Stream),
        of("GET", "/v1/streams/s/records/tail", All(&["check-tail"]), On::Stream),
        of("GET", "/v1/streams/s/records", All(&["read"]), On::Stream),
        session("GET", All(&["read"])),
        of("POST", "/v1/streams/s/records", appending, On::Stream),
        session("POST", appending),
        of("GET", "/v1/metrics?set=account-ops", All(&["account-metrics"]), On::Account),
        of("GET", "/v1/metrics/test-basin-1?set=storage", All(&["basin-metrics"]), On::Basin),
        of("GET", "/v1/metrics/test-basin-1/s?set=storage", All(&["stream-metrics"]), On::Stream),
        of("GET", "/v1/locations", All(&["list-locations"]), On::Account),
        of("GET", "/v1/locations/default", All(&["get-default-location"]), On::Account),
        of("PUT", "/v1/locations/default", All(&["set-default-location"]), On::Account),
        of("GET", "/v1/access-tokens", All(&["list-access-tokens"]), On::Account),
        of("POST", "/v1/access-tokens", All(&["issue-access-token"]), On::Account),
        of("DELETE", "/v1/access-tokens/s", All(&["revoke-access-token"]), On::Token),
    ]
}

/// The operation as it is when it is permitted.
fn authorized(access: &Access, mut operation: Operation) -> Result<Operation, ApiError> {
    authorize(access, &mut operation)?;
    Ok(operation)
}

#[test]
fn every_operation_needs_exactly_what_the_table_says() {
    let named = |name: &str| Permission::from_text(name).expect("in the specification");
    for (operation, needs, _) in operations() {
        for permission in Permission::ALL.iter().copied() {
            let only = access(everywhere(PermissionSet::of(&[permission])));
            let others = Permission::ALL.iter().copied().filter(|other| *other != permission);
            let without = access(everywhere(others.collect()));
            let is_named = |names: &[&str]| names.iter().any(|name| named(name) == permission);
            let (enough, missed) = match needs {
                Needs::Nothing => (true, false),
                Needs::All(names) => (is_named(names) && names.len() == 1, is_named(names)),
                Needs::Any(names) => (is_named(names), false),
            };
            let what = format!("{operation:?} and {permission:?}");
            let allowed = |access| code(authorized(access, operation.clone()));
            let denied = |is_denied: bool| is_denied.then_some(Code::PermissionDenied);
            assert_eq!(allowed(&only), denied(!enough), "{what} alone");
            assert_eq!(allowed(&without), denied(missed), "all but {what}");
        }
    }
}

#[test]
fn every_operation_is_permitted_only_on_what_the_token_is_about() {
    for (operation, needs, on) in operations() {
        let everything = everywhere(everything());
        let without_basins = Scope { basins: ResourceSet::Nothing, ..everything.clone() };
        let without_streams = Scope { streams: ResourceSet::Nothing, ..everything.clone() };
        let without_tokens = Scope { access_tokens: ResourceSet::Nothing, ..everything };
        for (scope, matters) in [
            (without_basins, matches!(on, On::Basin | On::Stream)),
            (without_streams, on == On::Stream),
            (without_tokens, on == On::Token),
        ] {
            let denied = code(authorized(&access(scope.clone()), operation.clone()));
            let expected = matters.then_some(Code::PermissionDenied);
            assert_eq!(denied, expected, "{operation:?} ({needs:?}) by {scope:?}");
        }
    }
}

#[test]
fn without_a_token_nothing_is_changed_and_nothing_denied() {
    for access in [Access::Open, Access::Root] {
        for (operation, ..) in operations() {
            assert_eq!(authorized(&access, operation.clone()), Ok(operation));
        }
    }
}

/// A batch of data and commands: `d`, `t` and `f`.
fn batch(kinds: &str) -> AppendInput {
    let buf = b"fencetrim\0\0\0\0\0\0\0\0";
    let at = |offset, len| Span { offset, len };
    let mut builder = AppendBuilder::default();
    for kind in kinds.chars() {
        let (value, body) = match kind {
            'f' => (Some(at(0, 5)), at(0, 5)),
            't' => (Some(at(5, 4)), at(9, 8)),
            _ => (None, at(0, 5)),
        };
        if let Some(value) = value {
            builder.push_header(HeaderSpan { name: Span::default(), value });
        }
        builder.push_record(buf, None, body).expect("legal");
    }
    let input = builder.finish(buf.to_vec(), None, None::<FencingToken>).expect("not empty");
    assert_eq!(input.records.len(), kinds.len());
    input
}

#[test]
fn a_batch_needs_an_operation_for_each_kind_of_record_in_it() {
    use Permission::{Append, Fence, Trim};
    for (kinds, needed) in [
        ("d", &[Append][..]),
        ("t", &[Trim]),
        ("f", &[Fence]),
        ("ddd", &[Append]),
        ("tf", &[Trim, Fence]),
        ("dft", &[Append, Fence, Trim]),
    ] {
        let batch = batch(kinds);
        let exactly = access(everywhere(PermissionSet::of(needed)));
        assert_eq!(check_batch(&exactly, &batch), Ok(()), "{kinds}");
        for missing in needed {
            let others = everything().iter().filter(|other| other != missing).collect();
            let refused = code(check_batch(&access(everywhere(others)), &batch));
            assert_eq!(refused, Some(Code::PermissionDenied), "{kinds} without {missing:?}");
        }
        assert_eq!(check_batch(&Access::Open, &batch), Ok(()));
    }
}

#[test]
fn names_in_bodies_are_judged_when_they_are_known() {
    let name = |text: &str| BasinName::new(text).expect("legal");
    let scope = Scope { basins: ResourceSet::Exact(BASIN.into()), ..everywhere(everything()) };
    let access = access(scope);
    assert_eq!(check_new_basin(&access, &name(BASIN)), Ok(()));
    let denied = Some(Code::PermissionDenied);
    assert_eq!(code(check_new_basin(&access, &name("test-basin-2"))), denied);
    let path = |basin: &str, stream: &str| StreamPath {
        basin: name(basin),
        stream: StreamName::new(stream).expect("legal"),
    };
    assert_eq!(check_new_stream(&access, path(BASIN, "s")), Ok(path(BASIN, "s")));
    assert_eq!(code(check_new_stream(&access, path("test-basin-2", "s"))), denied);

    let prefixing = prefixing("p/");
    assert_eq!(check_new_stream(&prefixing, path(BASIN, "s")), Ok(path(BASIN, "p/s")));
    let long = "x".repeat(511);
    assert_eq!(code(check_new_stream(&prefixing, path(BASIN, &long))), Some(Code::BadJson));
}

#[test]
fn a_token_that_prefixes_means_full_names() {
    let access = prefixing("p/");
    let mut count = 0;
    for (operation, _, on) in operations() {
        if on != On::Stream {
            continue;
        }
        let mut found = authorized(&access, operation).expect("permitted");
        let path = stream_of(&mut found).expect("about a stream");
        assert_eq!((path.basin.as_str(), path.stream.as_str()), (BASIN, "p/s"));
        count += 1;
    }
    assert_eq!(count, 10);
    let longest = "x".repeat(510);
    for (name, expected) in [(longest.clone(), None), (longest + "x", Some(Code::BadPath))] {
        let operation = ask("GET", &format!("/v1/streams/{name}"), JSON);
        assert_eq!(code(authorized(&access, operation)), expected);
    }
}

#[test]
fn a_list_is_reduced_to_what_the_token_is_about() {
    let list = |access: &Access, target: &str| {
        let operation = authorized(access, ask("GET", target, JSON)).expect("permitted");
        let (Operation::ListBasins(query)
        | Operation::ListTokens(query)
        | Operation::ListStreams { query, .. }) = operation
        else {
            panic!("{target} is no list")
        };
        (query.prefix, query.start_after, query.within)
    };
    let scope = Scope {
        basins: ResourceSet::Prefix("test-".into()),
        streams: ResourceSet::Exact("a/b".into()),
        access_tokens: ResourceSet::Nothing,
        ..everywhere(everything())
    };
    let narrow = access(scope);
    for (access, target, (prefix, start_after, within)) in [
        (&narrow, "/v1/basins", ("test-", "", Within::All)),
        (&narrow, "/v1/basins?prefix=test-x&start_after=a", ("test-x", "a", Within::All)),
        (&narrow, "/v1/basins?prefix=other", ("other", "", Within::Nothing)),
        (&narrow, "/v1/streams?prefix=a", ("a/b", "", Within::Itself)),
        (&narrow, "/v1/access-tokens", ("", "", Within::Nothing)),
        (&prefixing("p/"), "/v1/streams", ("p/", "p/", Within::All)),
        (&prefixing("p/"), "/v1/streams?prefix=a&start_after=b", ("p/a", "p/b", Within::All)),
        (&Access::Root, "/v1/streams?prefix=a", ("a", "", Within::All)),
    ] {
        let expected = (prefix.to_owned(), start_after.to_owned(), within);
        assert_eq!(list(access, target), expected, "{target}");
    }
    let long = format!("/v1/streams?prefix={}", "x".repeat(511));
    let refused = authorized(&prefixing("p/"), ask("GET", &long, JSON));
    assert_eq!(code(refused), Some(Code::BadQuery));
}

#[test]
fn answers_do_not_show_what_goes_before_names() {
    let access = prefixing("p/");
    assert_eq!(shown_name(&access, "p/s"), "s");
    assert_eq!(shown_name(&access, "p/p/s"), "p/s");
    assert_eq!(shown_name(&Access::Root, "p/s"), "p/s");
    let error = || ApiError::new(Code::StreamNotFound, "stream `p/s` not found");
    let expected = ApiError::new(Code::StreamNotFound, "stream `s` not found");
    assert_eq!(shown_error(&access, error()), expected);
    assert_eq!(shown_error(&Access::Root, error()), error());
}

proptest! {
    /// What a token calls a stream is what it is shown as, whatever names and prefixes there are.
    #[test]
    fn a_name_goes_to_its_full_form_and_back(prefix in ".{0,20}", name in ".{1,20}") {
        prop_assume!(!prefix.contains('\0'));
        let Ok(name) = StreamName::new(&name) else { return Ok(()) };
        let access = prefixing(&prefix);
        let full = full_name(&access, &name).expect("short enough").into_owned();
        prop_assert!(full.as_str().starts_with(&prefix));
        prop_assert_eq!(shown_name(&access, full.as_str()), name.as_str());
    }
}
