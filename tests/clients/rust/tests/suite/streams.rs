//! Streams: creation, names, listing, configuration, deletion, creation on first use.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use s2_sdk::S2Basin;
use s2_sdk::append_session::AppendSessionConfig;
use s2_sdk::error::ReadError;
use s2_sdk::types::{
    BasinConfig, CreateStreamInput, DeleteOnEmptyConfig, DeleteOnEmptyReconfiguration,
    DeleteStreamInput, EnsureOutput, EnsureStreamInput, ListAllStreamsInput, ListStreamsInput,
    ReadSessionConfig, ReconfigureStreamInput, RetentionPolicy, StreamConfig,
    StreamReconfiguration, TimestampingConfig, TimestampingMode, TimestampingReconfiguration,
};

use crate::common::{
    append_code, basin_with, bodies, client, code, config, count, from_seq_num, read_code,
    stream_in, stream_name, texts, within,
};

async fn basin() -> S2Basin {
    basin_with(&client(config()), BasinConfig::new()).await.0
}

#[tokio::test]
async fn a_created_stream_is_listed_and_cannot_be_created_again() {
    within(async {
        let basin = basin().await;
        let created = basin.create_stream(CreateStreamInput::new(stream_name("s"))).await.unwrap();
        assert_eq!(created.name, stream_name("s"));
        assert!(created.deleted_at.is_none() && created.cipher.is_none());
        let page = basin.list_streams(ListStreamsInput::new()).await.unwrap();
        assert_eq!(page.values.len(), 1);
        assert_eq!(page.values[0].created_at, created.created_at);

        let again = basin.create_stream(CreateStreamInput::new(stream_name("s"))).await;
        assert_eq!(code(&again.unwrap_err()), "resource_already_exists");
    })
    .await;
}

/// Names with slashes, blanks, percent signs, dots, and more bytes than characters.
const NAMES: &[&str] =
    &["日本/x y", "a//b", "50%2F", "Grüße / %zz + ?x=1&y#z", " ", "...", "tab\there", "🦀"];

#[tokio::test]
async fn any_name_works_in_every_call() {
    within(async {
        let basin = basin().await;
        for name in NAMES {
            let stream = stream_in(&basin, name).await;
            stream.append(bodies(["one"])).await.unwrap();
            let session = stream.append_session(AppendSessionConfig::new());
            let ticket = session.submit(bodies(["two"])).await.unwrap();
            assert_eq!(ticket.await.unwrap().end.seq_num, 2, "{name}");
            session.close().await.unwrap();
            let read = stream.read(from_seq_num(0)).await.unwrap();
            assert_eq!(texts(&read.records), ["one", "two"], "{name}");
            let input = from_seq_num(0).with_stop(count(2));
            let session = stream.read_session(input, ReadSessionConfig::new()).await.unwrap();
            let batches: Vec<_> = session.try_collect().await.unwrap();
            assert_eq!(batches.iter().map(|batch| batch.records.len()).sum::<usize>(), 2, "{name}");
            assert_eq!(stream.check_tail().await.unwrap().seq_num, 2);
            basin.get_stream_config(stream_name(name)).await.unwrap();
        }
        let long = "ü".repeat(256);
        stream_in(&basin, &long).await;

        let listed: Vec<_> =
            basin.list_all_streams(ListAllStreamsInput::new()).try_collect().await.unwrap();
        let listed: Vec<_> = listed.iter().map(|info| info.name.to_string()).collect();
        let mut names: Vec<_> = NAMES.iter().map(ToString::to_string).chain([long]).collect();
        names.sort_unstable();
        assert_eq!(listed, names, "in the order of their bytes");
        for name in NAMES {
            let input = ListStreamsInput::new().with_prefix(name.parse().unwrap());
            let page = basin.list_streams(input).await.unwrap();
            assert!(page.values.iter().any(|info| *info.name == **name), "{name}");
            basin.delete_stream(DeleteStreamInput::new(stream_name(name))).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn listing_pages_in_order_and_honours_prefix_and_start() {
    within(async {
        let basin = basin().await;
        for name in ["q/1", "p/3", "p/1", "p/2", "o"] {
            stream_in(&basin, name).await;
        }
        let list = |after: &str, limit| {
            let input = ListStreamsInput::new()
                .with_prefix("p/".parse().unwrap())
                .with_start_after(after.parse().unwrap())
                .with_limit(limit);
            basin.list_streams(input)
        };
        let names = |page: &s2_sdk::types::Page<s2_sdk::types::StreamInfo>| {
            page.values.iter().map(|info| info.name.to_string()).collect::<Vec<_>>()
        };
        let first = list("", 2).await.unwrap();
        assert_eq!((names(&first), first.has_more), (vec!["p/1".into(), "p/2".into()], true));
        let second = list("p/2", 2).await.unwrap();
        assert_eq!((names(&second), second.has_more), (vec!["p/3".into()], false));
        let exact = list("", 3).await.unwrap();
        assert!(!exact.has_more, "a full last page is the last");
        let beyond = list("p/3", 2).await.unwrap();
        assert_eq!((names(&beyond), beyond.has_more), (vec![], false));

        let all = ListAllStreamsInput::new()
            .with_prefix("p/".parse().unwrap())
            .with_start_after("p/1".parse().unwrap());
        let all: Vec<_> = basin.list_all_streams(all).try_collect().await.unwrap();
        assert_eq!(all.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_missing_basin_has_no_streams() {
    within(async {
        let s2 = client(config());
        let basin = s2.basin(crate::common::basin_name());
        let missing = basin.list_streams(ListStreamsInput::new()).await.unwrap_err();
        assert_eq!(code(&missing), "basin_not_found");
        let missing = basin.create_stream(CreateStreamInput::new(stream_name("s"))).await;
        assert_eq!(code(&missing.unwrap_err()), "basin_not_found");
    })
    .await;
}

#[tokio::test]
async fn ensure_tells_created_updated_and_unchanged_apart() {
    within(async {
        let basin = basin().await;
        let ensure = |age| {
            let config = StreamConfig::new().with_retention_policy(RetentionPolicy::Age(age));
            basin.ensure_stream(EnsureStreamInput::new(stream_name("s")).with_config(config))
        };
        let EnsureOutput::Created(created) = ensure(60).await.unwrap() else {
            panic!("the stream was there");
        };
        let EnsureOutput::ConfigUnchanged(same) = ensure(60).await.unwrap() else {
            panic!("the configuration was the same");
        };
        assert_eq!(same.created_at, created.created_at);
        assert!(matches!(ensure(61).await.unwrap(), EnsureOutput::ConfigUpdated(_)));
        let reset = basin.ensure_stream(EnsureStreamInput::new(stream_name("s"))).await.unwrap();
        assert!(matches!(reset, EnsureOutput::ConfigUpdated(_)), "{reset:?}");
        let config = basin.get_stream_config(stream_name("s")).await.unwrap();
        assert!(matches!(config.retention_policy, Some(RetentionPolicy::Age(604_800))));
    })
    .await;
}

#[tokio::test]
async fn configuration_is_resolved_and_reconfiguration_sets_and_clears() {
    within(async {
        let basin = basin().await;
        let config = StreamConfig::new()
            .with_storage_class("standard")
            .with_retention_policy(RetentionPolicy::Infinite)
            .with_timestamping(TimestampingConfig::new().with_mode(TimestampingMode::ClientRequire))
            .with_delete_on_empty(DeleteOnEmptyConfig::new().with_min_age(Duration::from_secs(70)));
        let input = CreateStreamInput::new(stream_name("s")).with_config(config);
        basin.create_stream(input).await.unwrap();
        let got = basin.get_stream_config(stream_name("s")).await.unwrap();
        assert_eq!(got.storage_class.as_deref(), Some("standard"));
        assert!(matches!(got.retention_policy, Some(RetentionPolicy::Infinite)));
        let timestamping = got.timestamping.unwrap();
        assert!(matches!(timestamping.mode, Some(TimestampingMode::ClientRequire)));
        assert_eq!(timestamping.uncapped, Some(false));
        assert_eq!(got.delete_on_empty.unwrap().min_age_secs, 70);

        let reconfigure = |change| {
            basin.reconfigure_stream(ReconfigureStreamInput::new(stream_name("s"), change))
        };
        let change = StreamReconfiguration::new()
            .with_retention_policy(RetentionPolicy::Age(120))
            .with_timestamping(TimestampingReconfiguration::new().with_uncapped(true))
            .with_delete_on_empty(
                DeleteOnEmptyReconfiguration::new().with_min_age(Duration::from_secs(80)),
            );
        let set = reconfigure(change).await.unwrap();
        assert!(matches!(set.retention_policy, Some(RetentionPolicy::Age(120))));
        let timestamping = set.timestamping.unwrap();
        assert!(matches!(timestamping.mode, Some(TimestampingMode::ClientRequire)), "left alone");
        assert_eq!(timestamping.uncapped, Some(true));
        assert_eq!(set.delete_on_empty.unwrap().min_age_secs, 80);

        let mut change = StreamReconfiguration::new();
        change.storage_class = None.into();
        change.timestamping = None.into();
        let cleared = reconfigure(change).await.unwrap();
        assert_eq!(cleared.storage_class.as_deref(), Some("express"));
        let timestamping = cleared.timestamping.unwrap();
        assert!(matches!(timestamping.mode, Some(TimestampingMode::ClientPrefer)));
        assert!(matches!(cleared.retention_policy, Some(RetentionPolicy::Age(120))), "left alone");

        let zero = StreamReconfiguration::new().with_retention_policy(RetentionPolicy::Age(0));
        assert_eq!(code(&reconfigure(zero).await.unwrap_err()), "invalid");
        let other = ReconfigureStreamInput::new(stream_name("other"), StreamReconfiguration::new());
        assert_eq!(code(&basin.reconfigure_stream(other).await.unwrap_err()), "stream_not_found");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_stream_starts_anew() {
    within(async {
        let basin = basin().await;
        let stream = stream_in(&basin, "s").await;
        stream.append(bodies(["old"])).await.unwrap();
        basin.delete_stream(DeleteStreamInput::new(stream_name("s"))).await.unwrap();
        let again = DeleteStreamInput::new(stream_name("s")).with_ignore_not_found(true);
        basin.delete_stream(again).await.unwrap();
        let gone = read_code(&stream.check_tail().await.unwrap_err()).to_owned();
        assert!(["stream_deletion_pending", "stream_not_found"].contains(&gone.as_str()), "{gone}");

        // The purge happens in the background; the whole case is bounded.
        loop {
            match basin.create_stream(CreateStreamInput::new(stream_name("s"))).await {
                Ok(_) => break,
                Err(error) => assert_eq!(code(&error), "stream_deletion_pending"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(stream.check_tail().await.unwrap().seq_num, 0);
        stream.append(bodies(["new"])).await.unwrap();
        assert_eq!(texts(&stream.read(from_seq_num(0)).await.unwrap().records), ["new"]);

        let never = DeleteStreamInput::new(stream_name("never"));
        assert_eq!(
            code(&basin.delete_stream(never.clone()).await.unwrap_err()),
            "stream_not_found"
        );
        basin.delete_stream(never.with_ignore_not_found(true)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_missing_stream_is_created_by_its_first_append_with_the_given_configuration() {
    within(async {
        let s2 = client(config());
        let allowed = BasinConfig::new().with_create_stream_on_append(true);
        let (basin, _) = basin_with(&s2, allowed).await;
        let given = || StreamConfig::new().with_retention_policy(RetentionPolicy::Age(3600));

        let unary = basin.stream(stream_name("unary"));
        unary.append(bodies(["a"]).with_stream_config(given())).await.unwrap();
        let session = basin
            .stream(stream_name("session"))
            .append_session(AppendSessionConfig::new().with_stream_config(given()));
        session.submit(bodies(["a"])).await.unwrap().await.unwrap();
        session.close().await.unwrap();
        for name in ["unary", "session"] {
            let config = basin.get_stream_config(stream_name(name)).await.unwrap();
            assert!(matches!(config.retention_policy, Some(RetentionPolicy::Age(3600))), "{name}");
            assert_eq!(config.storage_class.as_deref(), Some("express"), "{name}");
        }
        let error = basin.stream(stream_name("read")).read(from_seq_num(0)).await.unwrap_err();
        assert_eq!(read_code(&error), "stream_not_found", "reads create nothing here");
    })
    .await;
}

#[tokio::test]
async fn a_missing_stream_is_created_by_its_first_read_with_the_given_configuration() {
    within(async {
        let s2 = client(config());
        let (basin, _) = basin_with(&s2, BasinConfig::new().with_create_stream_on_read(true)).await;
        let given = || StreamConfig::new().with_retention_policy(RetentionPolicy::Age(3600));

        let unary = basin.stream(stream_name("unary"));
        let empty = unary.read(from_seq_num(0).with_stream_config(given())).await.unwrap_err();
        assert!(matches!(empty, ReadError::ReadUnwritten(tail) if tail.seq_num == 0), "{empty}");
        let following = basin.stream(stream_name("session"));
        let input = from_seq_num(0).with_stream_config(given());
        let mut session = following.read_session(input, ReadSessionConfig::new()).await.unwrap();
        following.append(bodies(["a"])).await.unwrap();
        assert_eq!(texts(&session.next().await.unwrap().unwrap().records), ["a"]);
        for name in ["unary", "session"] {
            let config = basin.get_stream_config(stream_name(name)).await.unwrap();
            assert!(matches!(config.retention_policy, Some(RetentionPolicy::Age(3600))), "{name}");
        }
        let other = basin.stream(stream_name("other"));
        let error = other.append(bodies(["a"])).await.unwrap_err();
        assert_eq!(append_code(&error), "stream_not_found", "appends create nothing here");
    })
    .await;
}
