//! Basins: creation, ensuring, listing, configuration, deletion.

use std::time::Duration;

use futures_util::TryStreamExt;
use s2_sdk::types::{
    BasinConfig, BasinReconfiguration, CreateBasinInput, CreateStreamInput, DeleteBasinInput,
    DeleteOnEmptyConfig, EnsureBasinInput, EnsureOutput, ListAllBasinsInput, ListBasinsInput,
    ReconfigureBasinInput, RetentionPolicy, StreamConfig, StreamReconfiguration,
    TimestampingConfig, TimestampingMode, TimestampingReconfiguration,
};

use crate::common::{basin_name, basin_with, client, code, config, stream_name, within};

#[tokio::test]
async fn a_created_basin_is_listed_and_cannot_be_created_again() {
    within(async {
        let s2 = client(config());
        let name = basin_name();
        let created = s2.create_basin(CreateBasinInput::new(name.clone())).await.unwrap();
        assert_eq!(created.name, name);
        assert_eq!(created.deleted_at, None);

        let prefix = ListBasinsInput::new().with_prefix(name.to_string().parse().unwrap());
        let page = s2.list_basins(prefix).await.unwrap();
        assert_eq!(page.values, [created], "listed exactly as it was created");
        assert!(!page.has_more);

        let again = s2.create_basin(CreateBasinInput::new(name)).await.unwrap_err();
        assert_eq!(code(&again), "resource_already_exists");
    })
    .await;
}

#[tokio::test]
async fn ensure_tells_created_updated_and_unchanged_apart() {
    within(async {
        let s2 = client(config());
        let name = basin_name();
        let ensure = |on_append| {
            let config = BasinConfig::new().with_create_stream_on_append(on_append);
            s2.ensure_basin(EnsureBasinInput::new(name.clone()).with_config(config))
        };
        let EnsureOutput::Created(created) = ensure(true).await.unwrap() else {
            panic!("the basin was there");
        };
        let EnsureOutput::ConfigUnchanged(same) = ensure(true).await.unwrap() else {
            panic!("the configuration was the same");
        };
        assert_eq!(same, created);
        let EnsureOutput::ConfigUpdated(_) = ensure(false).await.unwrap() else {
            panic!("the configuration differed");
        };
        assert!(!s2.get_basin_config(name.clone()).await.unwrap().create_stream_on_append);
        let bare = s2.ensure_basin(EnsureBasinInput::new(name)).await.unwrap();
        assert!(matches!(bare, EnsureOutput::ConfigUnchanged(_)), "{bare:?}");
    })
    .await;
}

#[tokio::test]
async fn listing_pages_in_order_and_honours_prefix_and_start() {
    within(async {
        let s2 = client(config());
        let base = basin_name().to_string();
        let names: Vec<_> = (0..5).map(|number| format!("{base}-{number}")).collect();
        for name in names.iter().rev() {
            s2.create_basin(CreateBasinInput::new(name.parse().unwrap())).await.unwrap();
        }
        let prefix = || format!("{base}-").parse().unwrap();
        let mut seen = Vec::new();
        let mut pages = 0;
        loop {
            let after: String = seen.last().cloned().unwrap_or_default();
            let input = ListBasinsInput::new()
                .with_prefix(prefix())
                .with_start_after(after.parse().unwrap())
                .with_limit(2);
            let page = s2.list_basins(input).await.unwrap();
            pages += 1;
            seen.extend(page.values.iter().map(|basin| basin.name.to_string()));
            if !page.has_more {
                break;
            }
        }
        assert_eq!(seen, names);
        assert_eq!(pages, 3);

        let all = s2.list_all_basins(
            ListAllBasinsInput::new()
                .with_prefix(prefix())
                .with_start_after(names[1].parse().unwrap()),
        );
        let all: Vec<_> = all.try_collect().await.unwrap();
        let all: Vec<_> = all.iter().map(|basin| basin.name.to_string()).collect();
        assert_eq!(all, names[2..]);
    })
    .await;
}

#[tokio::test]
async fn configuration_is_returned_as_it_was_given() {
    within(async {
        let s2 = client(config());
        let defaults = StreamConfig::new()
            .with_storage_class("standard")
            .with_retention_policy(RetentionPolicy::Age(3600))
            .with_timestamping(
                TimestampingConfig::new().with_mode(TimestampingMode::Arrival).with_uncapped(true),
            )
            .with_delete_on_empty(DeleteOnEmptyConfig::new().with_min_age(Duration::from_secs(90)));
        let given = BasinConfig::new()
            .with_default_stream_config(defaults)
            .with_create_stream_on_append(true)
            .with_create_stream_on_read(true);
        let (basin, name) = basin_with(&s2, given).await;

        let got = s2.get_basin_config(name).await.unwrap();
        assert!(got.create_stream_on_append && got.create_stream_on_read);
        assert_eq!(got.stream_cipher, None);
        let defaults = got.default_stream_config.unwrap();
        assert_eq!(defaults.storage_class.as_deref(), Some("standard"));
        assert!(matches!(defaults.retention_policy, Some(RetentionPolicy::Age(3600))));
        let timestamping = defaults.timestamping.unwrap();
        assert!(matches!(timestamping.mode, Some(TimestampingMode::Arrival)));
        assert_eq!(timestamping.uncapped, Some(true));
        assert_eq!(defaults.delete_on_empty.unwrap().min_age_secs, 90);

        basin.create_stream(CreateStreamInput::new(stream_name("inherits"))).await.unwrap();
        let stream = basin.get_stream_config(stream_name("inherits")).await.unwrap();
        assert_eq!(stream.storage_class.as_deref(), Some("standard"));
        assert!(matches!(stream.retention_policy, Some(RetentionPolicy::Age(3600))));
    })
    .await;
}

#[tokio::test]
async fn reconfiguration_sets_clears_and_leaves_alone() {
    within(async {
        let s2 = client(config());
        let (_, name) = basin_with(&s2, BasinConfig::new()).await;
        let reconfigure =
            |change| s2.reconfigure_basin(ReconfigureBasinInput::new(name.clone(), change));

        let change = BasinReconfiguration::new()
            .with_create_stream_on_read(true)
            .with_default_stream_config(
                StreamReconfiguration::new()
                    .with_storage_class("standard")
                    .with_retention_policy(RetentionPolicy::Infinite)
                    .with_timestamping(
                        TimestampingReconfiguration::new()
                            .with_mode(TimestampingMode::ClientRequire),
                    ),
            );
        let set = reconfigure(change).await.unwrap();
        assert!(set.create_stream_on_read && !set.create_stream_on_append);
        let defaults = set.default_stream_config.unwrap();
        assert!(matches!(defaults.retention_policy, Some(RetentionPolicy::Infinite)));

        let mut change = StreamReconfiguration::new();
        change.retention_policy = None.into();
        let change = BasinReconfiguration::new().with_default_stream_config(change);
        let defaults = reconfigure(change).await.unwrap().default_stream_config.unwrap();
        assert!(defaults.retention_policy.is_none(), "cleared");
        assert_eq!(defaults.storage_class.as_deref(), Some("standard"), "left alone");

        let unchanged = reconfigure(BasinReconfiguration::new()).await.unwrap();
        assert!(unchanged.create_stream_on_read && unchanged.default_stream_config.is_some());

        let mut change = BasinReconfiguration::new().with_create_stream_on_read(false);
        change.default_stream_config = None.into();
        let cleared = reconfigure(change).await.unwrap();
        assert!(!cleared.create_stream_on_read && cleared.default_stream_config.is_none());

        let age = RetentionPolicy::Age(0);
        let change = BasinReconfiguration::new()
            .with_default_stream_config(StreamReconfiguration::new().with_retention_policy(age));
        assert_eq!(code(&reconfigure(change).await.unwrap_err()), "invalid");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_basin_is_pending_or_gone() {
    within(async {
        let s2 = client(config());
        let (_, name) = basin_with(&s2, BasinConfig::new()).await;
        s2.delete_basin(DeleteBasinInput::new(name.clone())).await.unwrap();
        let again = DeleteBasinInput::new(name.clone()).with_ignore_not_found(true);
        s2.delete_basin(again).await.unwrap();

        let prefix = || name.to_string().parse().unwrap();
        let visible = s2.list_all_basins(ListAllBasinsInput::new().with_prefix(prefix()));
        assert!(visible.try_collect::<Vec<_>>().await.unwrap().is_empty());
        let all = ListAllBasinsInput::new().with_prefix(prefix()).with_include_deleted(true);
        for basin in s2.list_all_basins(all).try_collect::<Vec<_>>().await.unwrap() {
            assert!(basin.deleted_at.is_some());
        }
        match s2.create_basin(CreateBasinInput::new(name)).await {
            Ok(_) => {}
            Err(error) => assert_eq!(code(&error), "basin_deletion_pending"),
        }

        let never = basin_name();
        let error = s2.delete_basin(DeleteBasinInput::new(never.clone())).await.unwrap_err();
        assert_eq!(code(&error), "basin_not_found");
        let ignored = DeleteBasinInput::new(never.clone()).with_ignore_not_found(true);
        s2.delete_basin(ignored).await.unwrap();
        assert_eq!(code(&s2.get_basin_config(never).await.unwrap_err()), "basin_not_found");
    })
    .await;
}
