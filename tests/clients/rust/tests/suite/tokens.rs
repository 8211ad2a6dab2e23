//! Access tokens: issued, listed, revoked; and used, where the server asks who its clients are.

use std::collections::HashSet;

use futures_util::StreamExt;
use s2_sdk::S2;
use s2_sdk::types::{
    AccessTokenId, AccessTokenMatcher, AccessTokenScopeInput, BasinConfig, BasinMatcher,
    CommandRecord, CreateStreamInput, IssueAccessTokenInput, ListAccessTokensInput,
    ListAllAccessTokensInput, ListBasinsInput, ListStreamsInput, Operation,
    OperationGroupPermissions, ReadWritePermissions, StreamMatcher,
};

use crate::common::{
    append_code, basin_name, basin_with, bodies, client, code, config, config_of, from_seq_num,
    input, is_enforced, is_reference, read_code, stream_in, stream_name, texts, url, within,
};

fn token_id(text: &str) -> AccessTokenId {
    text.parse().expect("the id is legal")
}

fn everything() -> AccessTokenScopeInput {
    AccessTokenScopeInput::from_op_group_perms(OperationGroupPermissions::read_write_all())
        .with_basins(BasinMatcher::Prefix("".parse().unwrap()))
        .with_streams(StreamMatcher::Prefix("".parse().unwrap()))
        .with_access_tokens(AccessTokenMatcher::Prefix("".parse().unwrap()))
}

/// A client that presents this secret.
fn holder(secret: &str) -> S2 {
    client(config_of(&url(), secret))
}

#[tokio::test]
async fn a_token_is_issued_listed_and_revoked() {
    within(async {
        if is_reference() {
            return;
        }
        let s2 = client(config());
        let id = token_id(&format!("{}/é b", basin_name()));
        let scope = AccessTokenScopeInput::from_ops([Operation::Append, Operation::Trim])
            .with_basins(BasinMatcher::Exact("some-basin".parse().unwrap()))
            .with_streams(StreamMatcher::Prefix("p/".parse().unwrap()));
        let expires_at = "2099-01-02T03:04:05.678901Z".parse().unwrap();
        let input = IssueAccessTokenInput::new(id.clone(), scope.clone())
            .with_expires_at(expires_at)
            .with_auto_prefix_streams(true);
        let secret = s2.issue_access_token(input).await.unwrap();
        assert!(secret.len() > 40);

        let listed = || {
            let prefix = id.to_string().parse().unwrap();
            s2.list_access_tokens(ListAccessTokensInput::new().with_prefix(prefix))
        };
        let page = listed().await.unwrap();
        assert!(!page.has_more);
        let [info] = &page.values[..] else { panic!("{:?}", page.values) };
        assert_eq!((&info.id, info.auto_prefix_streams), (&id, true));
        let expires_at = info.expires_at.as_ref().unwrap().to_string();
        assert_eq!(expires_at, "2099-01-02T03:04:05.678901Z");
        assert!(matches!(&info.scope.basins, Some(BasinMatcher::Exact(b)) if &**b == "some-basin"));
        assert!(matches!(&info.scope.streams, Some(StreamMatcher::Prefix(p)) if &**p == "p/"));
        assert!(info.scope.access_tokens.is_none());
        assert_eq!(info.scope.ops, HashSet::from([Operation::Append, Operation::Trim]));

        let again = IssueAccessTokenInput::new(id.clone(), scope);
        let refused = s2.issue_access_token(again).await.unwrap_err();
        assert_eq!(code(&refused), "resource_already_exists");
        s2.revoke_access_token(id.clone()).await.unwrap();
        let refused = s2.revoke_access_token(id.clone()).await.unwrap_err();
        assert_eq!(code(&refused), "access_token_not_found");
        assert!(listed().await.unwrap().values.is_empty());
    })
    .await;
}

#[tokio::test]
async fn all_tokens_are_listed_in_order() {
    within(async {
        if is_reference() {
            return;
        }
        let s2 = client(config());
        let base = basin_name();
        let ids: Vec<String> = (0..5).map(|number| format!("{base}-{number}")).collect();
        for id in ids.iter().rev() {
            let input = IssueAccessTokenInput::new(token_id(id), everything());
            s2.issue_access_token(input).await.unwrap();
        }
        let prefix = format!("{base}-");
        let input = ListAccessTokensInput::new()
            .with_prefix(prefix.parse().unwrap())
            .with_start_after(ids[0].parse().unwrap())
            .with_limit(2);
        let page = s2.list_access_tokens(input).await.unwrap();
        let page_ids: Vec<String> = page.values.iter().map(|info| info.id.to_string()).collect();
        assert_eq!((&page_ids[..], page.has_more), (&ids[1..3], true));
        let input = ListAllAccessTokensInput::new().with_prefix(prefix.parse().unwrap());
        let all: Vec<_> = s2.list_all_access_tokens(input).collect().await;
        let all: Vec<String> = all.into_iter().map(|info| info.unwrap().id.to_string()).collect();
        assert_eq!(all, ids);
    })
    .await;
}

#[tokio::test]
async fn senseless_tokens_are_refused_in_these_words() {
    within(async {
        if is_reference() {
            return;
        }
        let s2 = client(config());
        let id = token_id(&basin_name());
        let nothing = AccessTokenScopeInput::from_ops([]);
        let exact = AccessTokenScopeInput::from_ops([Operation::Read])
            .with_streams(StreamMatcher::Exact(stream_name("s")));
        for (scope, prefixes, message) in [
            (nothing, false, "Access token permissions cannot be empty"),
            (exact, true, "Auto prefixing is only allowed for streams with prefix matching"),
        ] {
            let input =
                IssueAccessTokenInput::new(id.clone(), scope).with_auto_prefix_streams(prefixes);
            let error = s2.issue_access_token(input).await.unwrap_err();
            assert_eq!(code(&error), "invalid");
            assert_eq!(error.server_error().unwrap().message, message);
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_permits_what_it_says_until_it_is_revoked() {
    within(async {
        if !is_enforced() {
            return;
        }
        let stranger = holder("somebody-unknown");
        let refused = stranger.list_basins(ListBasinsInput::new()).await.unwrap_err();
        assert_eq!(code(&refused), "authn");

        let s2 = client(config());
        let (basin, name) = basin_with(&s2, BasinConfig::new()).await;
        let stream = stream_in(&basin, "s").await;
        let id = token_id(&basin_name());
        let scope = AccessTokenScopeInput::from_ops([Operation::Append, Operation::Read])
            .with_basins(BasinMatcher::Exact(name.clone()))
            .with_streams(StreamMatcher::Exact(stream_name("s")));
        let asked = IssueAccessTokenInput::new(id.clone(), scope);
        let holder = holder(&s2.issue_access_token(asked).await.unwrap());
        let theirs = holder.basin(name).stream(stream_name("s"));
        theirs.append(bodies(["a"])).await.unwrap();
        let read = theirs.read(from_seq_num(0)).await.unwrap();
        assert_eq!(texts(&read.records), ["a"]);
        assert_eq!(read_code(&theirs.check_tail().await.unwrap_err()), "permission_denied");
        let fence = CommandRecord::fence("f".parse().unwrap());
        let refused = theirs.append(input([fence.into()])).await.unwrap_err();
        assert_eq!(append_code(&refused), "permission_denied");
        let refused = holder.list_basins(ListBasinsInput::new()).await.unwrap_err();
        assert_eq!(code(&refused), "permission_denied");
        s2.revoke_access_token(id).await.unwrap();
        let refused = theirs.append(bodies(["b"])).await.unwrap_err();
        assert_eq!(append_code(&refused), "authn");
        assert_eq!(stream.check_tail().await.unwrap().seq_num, 1);
    })
    .await;
}

#[tokio::test]
async fn a_token_that_prefixes_sees_its_streams_alone() {
    within(async {
        if !is_enforced() {
            return;
        }
        let s2 = client(config());
        let (basin, name) = basin_with(&s2, BasinConfig::new()).await;
        stream_in(&basin, "other").await;
        let both = ReadWritePermissions::read_write;
        let groups = OperationGroupPermissions::new().with_basin(both()).with_stream(both());
        let scope = AccessTokenScopeInput::from_op_group_perms(groups)
            .with_basins(BasinMatcher::Exact(name.clone()))
            .with_streams(StreamMatcher::Prefix("tenant/".parse().unwrap()));
        let input = IssueAccessTokenInput::new(token_id(&basin_name()), scope)
            .with_auto_prefix_streams(true);
        let secret = s2.issue_access_token(input).await.unwrap();
        let theirs = holder(&secret).basin(name);
        let created = theirs.create_stream(CreateStreamInput::new(stream_name("s"))).await.unwrap();
        assert_eq!(&*created.name, "s");
        theirs.stream(stream_name("s")).append(bodies(["a"])).await.unwrap();
        for (basin, expected) in [(&theirs, &["s"][..]), (&basin, &["other", "tenant/s"])] {
            let listed = basin.list_streams(ListStreamsInput::new()).await.unwrap();
            let names: Vec<&str> = listed.values.iter().map(|info| &*info.name).collect();
            assert_eq!(names, expected);
        }
    })
    .await;
}
