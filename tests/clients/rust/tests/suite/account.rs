//! Locations and metrics.

use s2_sdk::types::{
    AccountMetricSet, BasinConfig, BasinMetricSet, CreateBasinInput, EnsureBasinInput,
    GetAccountMetricsInput, GetBasinMetricsInput, GetStreamMetricsInput, Metric, MetricUnit,
    StreamMetricSet, TimeRange, TimeRangeAndInterval, TimeseriesInterval,
};

use crate::common::{
    basin_name, basin_with, bodies, client, code, config, from_seq_num, is_reference, now_ms,
    stream_in, stream_name, unless_missing, within,
};

#[tokio::test]
async fn locations_are_listed_and_one_is_the_default() {
    within(async {
        let s2 = client(config());
        let Some(all) = unless_missing(s2.list_locations().await) else { return };
        let default = s2.get_default_location().await.unwrap();
        assert!(all.contains(&default), "{all:?} has {default:?}");
        assert_eq!(default.default_storage_class.as_deref(), Some("express"));
        let classes = default.storage_classes.clone().unwrap();
        assert!(classes.iter().any(|class| class == "standard"), "{classes:?}");
        assert_eq!(s2.set_default_location(default.name.clone()).await.unwrap(), default);

        let unknown = s2.set_default_location("nowhere:1".parse().unwrap()).await.unwrap_err();
        assert_eq!(code(&unknown), "invalid");

        let name = basin_name();
        let input =
            CreateBasinInput::new(name.clone()).with_location(default.name.clone()).unwrap();
        assert_eq!(s2.create_basin(input).await.unwrap().location, Some(default.name));
        let moved = EnsureBasinInput::new(name).with_location("nowhere:1").unwrap();
        assert_eq!(code(&s2.ensure_basin(moved).await.unwrap_err()), "invalid");
    })
    .await;
}

/// The last hour, in whole seconds.
fn last_hour() -> (u32, u32) {
    let end = u32::try_from(now_ms() / 1000).unwrap();
    (end - 3600, end)
}

fn minutes() -> TimeRangeAndInterval {
    let (start, end) = last_hour();
    TimeRangeAndInterval::new(start, end).with_interval(TimeseriesInterval::Minute)
}

fn range() -> TimeRange {
    let (start, end) = last_hour();
    TimeRange::new(start, end)
}

/// The unit and kind of every metric in an answer are what the set promises.
fn check(metrics: &[Metric], unit: MetricUnit) {
    for metric in metrics {
        match metric {
            Metric::Accumulation(series) => assert_eq!(series.unit, unit, "{series:?}"),
            Metric::Gauge(series) => assert_eq!(series.unit, unit, "{series:?}"),
            other => panic!("not a series: {other:?}"),
        }
    }
}

#[tokio::test]
async fn every_metric_set_is_answered() {
    within(async {
        let s2 = client(config());
        let (basin, name) = basin_with(&s2, BasinConfig::new()).await;
        let stream = stream_in(&basin, "measured").await;
        stream.append(bodies(["a", "b"])).await.unwrap();
        stream.read(from_seq_num(0)).await.unwrap();

        let active = GetAccountMetricsInput::new(AccountMetricSet::ActiveBasins(range()));
        let Some(active) = unless_missing(s2.get_account_metrics(active).await) else { return };
        for metric in &active {
            assert!(matches!(metric, Metric::Label(_)), "{metric:?}");
        }
        let ops = GetAccountMetricsInput::new(AccountMetricSet::AccountOps(minutes()));
        check(&s2.get_account_metrics(ops).await.unwrap(), MetricUnit::Operations);

        for (set, unit) in [
            (BasinMetricSet::Storage(range()), MetricUnit::Bytes),
            (BasinMetricSet::AppendOps(minutes()), MetricUnit::Operations),
            (BasinMetricSet::ReadOps(minutes()), MetricUnit::Operations),
            (BasinMetricSet::ReadThroughput(minutes()), MetricUnit::Bytes),
            (BasinMetricSet::AppendThroughput(minutes()), MetricUnit::Bytes),
            (BasinMetricSet::BasinOps(minutes()), MetricUnit::Operations),
        ] {
            let input = GetBasinMetricsInput::new(name.clone(), set);
            check(&s2.get_basin_metrics(input).await.unwrap(), unit);
        }
        let storage = StreamMetricSet::Storage(range());
        let input = GetStreamMetricsInput::new(name, stream_name("measured"), storage);
        check(&s2.get_stream_metrics(input).await.unwrap(), MetricUnit::Bytes);
    })
    .await;
}

#[tokio::test]
async fn impossible_metric_ranges_are_refused() {
    within(async {
        if is_reference() {
            return;
        }
        let s2 = client(config());
        let (start, end) = last_hour();
        let day = 24 * 3600;
        for (start, end) in [(end, start), (start, end + 600), (end - 91 * day, end)] {
            let set = AccountMetricSet::ActiveBasins(TimeRange::new(start, end));
            let error = s2.get_account_metrics(GetAccountMetricsInput::new(set)).await.unwrap_err();
            assert_eq!(code(&error), "invalid", "{start}..{end}");
        }
        let set = AccountMetricSet::ActiveBasins(TimeRange::new(end - 89 * day, end));
        s2.get_account_metrics(GetAccountMetricsInput::new(set)).await.unwrap();
    })
    .await;
}
