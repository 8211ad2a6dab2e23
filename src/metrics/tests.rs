//! The exposition as a scraper reads it, and what must hold.

mod conventions;
mod exposition;

use self::exposition::{Exposition, Labels};
use super::*;
use crate::types::StorageClass::{Express, Standard};

/// The four names that users of the peer have on their graphs.
const PEER: [&str; 4] = [
    "s2_append_permit_latency_seconds",
    "s2_append_ack_latency_seconds",
    "s2_append_batch_records",
    "s2_append_batch_bytes",
];

fn render(shards: &[&Metrics], executors: &[&ExecutorMetrics]) -> Exposition {
    let shards: Vec<_> = (0..).zip(shards.iter().map(|shard| shard.snapshot())).collect();
    let executors: Vec<_> = (0..).zip(executors.iter().map(|one| one.snapshot())).collect();
    Exposition::parse(&Exporter::new("1.2.3").render(&shards, &executors)).unwrap()
}

/// A shard on which everything happened at least once.
fn busy_shard() -> Metrics {
    let metrics = Metrics::default();
    for (records, bytes, wait_us, latency_us) in
        [(1, 9, 0, 80), (10, 700, 3, 5_000), (1_000, 1 << 20, 6_000, 3_000_000)]
    {
        metrics.append_offered(records, bytes);
        metrics.append_admitted(wait_us);
        metrics.append_acked(Express, records, bytes, latency_us);
        metrics.append_acked(Standard, records, bytes, latency_us);
    }
    metrics.refused("invalid");
    metrics.standard_waited(700);
    metrics.group_written(GroupWritten {
        batches: 6,
        frames: 2,
        written_bytes: 8192,
        record_bytes: 4096,
        ticket: 1,
        began_us: 100,
        write_us: 60,
        sync_us: 900,
    });
    for class in [Express, Standard] {
        metrics.append_waited(class, 1, 50, 1_200);
    }
    metrics.checkpoint_written(2_500_000);
    metrics.checkpoint_failed();
    let (lag_bytes, lag_us, objects, bytes, retries) = (4096, 2_500_000, 8, 9000, 3);
    metrics.set_bucket(Some(BucketState { lag_bytes, lag_us, objects, bytes, retries }));
    metrics.set_holdings(Holdings {
        segments_in_use: 2,
        segments_spare: 2,
        segments_free: 1,
        file_bytes: 5_000,
        log_bytes: 1_500,
        live_bytes: 700,
        unsaved_bytes: 90,
        failed: 1,
        full: 1,
    });
    metrics.set_inflight_bytes(120);
    metrics.set_streams_open(7);
    metrics.set_segment_files(3);
    metrics.set_log_reads(5, 655_360, 7);
    metrics.set_index_bytes(4_000);
    metrics.set_index_reloads(9, 6);
    metrics.segment_recycled();
    metrics.set_stored_bytes(300);
    metrics.segment_cleaned();
    metrics.batches_moved(500);
    metrics.records_read(11, 222);
    metrics.read_damaged();
    metrics.scrubbed(4096);
    metrics.scrubbed(4096);
    metrics.scrub_passed();
    metrics.set_scrub_damaged_frames(2);
    metrics
}

/// An executor on which everything happened at least once.
fn busy_executor() -> ExecutorMetrics {
    let metrics = ExecutorMetrics::default();
    metrics.connection_accepted();
    metrics.connection_accepted();
    metrics.connection_moved_in();
    metrics.connection_left();
    metrics.connection_refused();
    metrics.request();
    metrics.ran(1_500_000, 40);
    metrics.tls_handshake("done");
    metrics.forwarded();
    metrics.http_violation(431);
    metrics.http_violation(400);
    metrics.http_violation(400);
    metrics.refused("invalid");
    metrics.refused("authn");
    metrics
}

#[test]
fn every_sample_has_a_family_and_no_series_appears_twice() {
    let (shard, executor) = (busy_shard(), busy_executor());
    for (shards, executors) in [
        (vec![], vec![]),
        (vec![&Metrics::default()], vec![&ExecutorMetrics::default()]),
        (vec![&shard, &shard], vec![&executor, &executor]),
    ] {
        let exposition = render(&shards, &executors);
        for (name, kind) in &exposition.types {
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        }
        assert_eq!(exposition.value("thalweg_build_info", &[("version", "1.2.3")]), Some(1.0));
        assert!(exposition.value("process_resident_memory_bytes", &[]).unwrap() > 0.0);
        assert!(exposition.value("process_open_fds", &[]).unwrap() > 0.0);
    }
}

#[test]
fn buckets_are_cumulative_and_the_open_one_is_the_count() {
    let (shard, executor) = (busy_shard(), busy_executor());
    let exposition = render(&[&shard, &shard], &[&executor]);
    let mut seen = 0;
    for (family, _) in exposition.types.iter().filter(|(_, kind)| *kind == "histogram") {
        for (labels, buckets) in exposition.buckets(family) {
            seen += 1;
            let of =
                |suffix: &str| exposition.samples[&(format!("{family}{suffix}"), labels.clone())];
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{family}: {buckets:?}");
            let (bound, count) = *buckets.last().unwrap();
            assert!(bound.is_infinite(), "{family}");
            assert!(count > 0.0 && count == of("_count"), "{family}");
            assert!(of("_sum") > 0.0, "{family}");
        }
    }
    assert_eq!(seen, 19, "peer 4, ack latency 2, phases 8, wait, group 2, write, sync");
}

#[test]
fn each_peer_series_appears_with_its_first_observation() {
    let metrics = Metrics::default();
    let present = |metrics: &Metrics| {
        let exposition = render(&[&Metrics::default(), metrics], &[]);
        PEER.map(|name| exposition.types.contains_key(name))
    };
    assert_eq!(present(&metrics), [false, false, false, false]);
    metrics.append_offered(1, 9);
    assert_eq!(present(&metrics), [false, false, true, true]);
    metrics.append_admitted(0);
    assert_eq!(present(&metrics), [true, false, true, true]);
    metrics.append_acked(Express, 1, 9, 100);
    assert_eq!(present(&metrics), [true, true, true, true]);
}

#[test]
fn peer_series_have_the_peers_bounds_and_units() {
    let exposition = render(&[&busy_shard()], &[]);
    let latency = "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 +Inf";
    let records = "1 10 50 100 250 500 1000 +Inf";
    let bytes = "512 1024 4096 16384 65536 262144 524288 1048576 +Inf";
    for (name, bounds) in PEER.into_iter().zip([latency, latency, records, bytes]) {
        let series = format!("{name}_bucket");
        for bound in bounds.split(' ') {
            assert!(exposition.value(&series, &[("le", bound)]).is_some(), "{name} {bound}");
        }
        let count = bounds.split(' ').count();
        assert_eq!(exposition.buckets(name)[&Labels::new()].len(), count, "{name}");
    }
    let ack = |bound| exposition.value("s2_append_ack_latency_seconds_bucket", &[("le", bound)]);
    assert_eq!((ack("0.005"), ack("2.5"), ack("+Inf")), (Some(4.0), Some(4.0), Some(6.0)));
    let sum = exposition.value("s2_append_ack_latency_seconds_sum", &[]).unwrap();
    assert!((sum - 6.01016).abs() < 1e-9, "{sum}");
}

#[test]
fn numbers_arrive_under_their_names() {
    let exposition = render(&[&Metrics::default(), &busy_shard()], &[]);
    let (express, standard) = (("class", "express"), ("class", "standard"));
    let (zero, one) = (("shard", "0"), ("shard", "1"));
    for (name, labels, expected) in [
        ("thalweg_appends_total", &[express][..], 3.0),
        ("thalweg_appends_total", &[standard], 3.0),
        ("thalweg_append_records_total", &[express], 1_011.0),
        ("thalweg_append_bytes_total", &[standard], 1_049_285.0),
        ("thalweg_appends_late_total", &[express], 1.0),
        ("thalweg_append_ack_latency_seconds_count", &[standard], 3.0),
        ("thalweg_standard_wait_seconds_sum", &[], 0.0007),
        ("thalweg_groups_total", &[zero], 0.0),
        ("thalweg_groups_total", &[one], 1.0),
        ("thalweg_frames_total", &[one], 2.0),
        ("thalweg_syncs_total", &[one], 1.0),
        ("thalweg_written_bytes_total", &[one], 8192.0),
        ("thalweg_group_record_bytes_total", &[one], 4096.0),
        ("thalweg_write_amplification", &[], 2.0),
        ("thalweg_append_ack_part_seconds_count", &[express, ("phase", "sync")], 1.0),
        ("thalweg_append_ack_part_seconds_sum", &[standard, ("phase", "queue")], 0.00005),
        ("thalweg_segment_file_bytes", &[one], 5_000.0),
        ("thalweg_log_bytes", &[one], 1_500.0),
        ("thalweg_log_live_bytes", &[one], 700.0),
        ("thalweg_log_unsaved_bytes", &[one], 90.0),
        ("thalweg_log_failed", &[zero], 0.0),
        ("thalweg_log_failed", &[one], 1.0),
        ("thalweg_log_full", &[one], 1.0),
        ("thalweg_checkpoints_total", &[one], 1.0),
        ("thalweg_checkpoint_failures_total", &[one], 1.0),
        ("thalweg_checkpoint_seconds_total", &[one], 2.5),
        ("thalweg_reads_total", &[], 1.0),
        ("thalweg_group_batches_sum", &[], 6.0),
        ("thalweg_group_bytes_sum", &[], 8192.0),
        ("thalweg_write_seconds_sum", &[], 0.00006),
        ("thalweg_sync_seconds_sum", &[], 0.0009),
        ("thalweg_inflight_append_bytes", &[one], 120.0),
        ("thalweg_streams", &[one], 7.0),
        ("thalweg_segment_files", &[one], 3.0),
        ("thalweg_stored_bytes", &[one], 300.0),
        ("thalweg_segments_recycled_total", &[one], 1.0),
        ("thalweg_segments_cleaned_total", &[one], 1.0),
        ("thalweg_moved_bytes_total", &[one], 500.0),
        ("thalweg_log_reads_total", &[one], 5.0),
        ("thalweg_log_read_bytes_total", &[one], 655_360.0),
        ("thalweg_read_cache_hits_total", &[one], 7.0),
        ("thalweg_index_bytes", &[one], 4_000.0),
        ("thalweg_index_reloads_total", &[one], 9.0),
        ("thalweg_index_block_reads_total", &[one], 6.0),
        ("thalweg_read_records_total", &[], 11.0),
        ("thalweg_read_bytes_total", &[], 222.0),
        ("thalweg_reads_damaged_total", &[], 1.0),
        ("thalweg_scrub_bytes_total", &[one], 8192.0),
        ("thalweg_scrub_passes_total", &[one], 1.0),
        ("thalweg_scrub_damaged_frames", &[zero], 0.0),
        ("thalweg_scrub_damaged_frames", &[one], 2.0),
        ("thalweg_bucket_lag_bytes", &[one], 4096.0),
        ("thalweg_bucket_lag_seconds", &[one], 2.5),
        ("thalweg_bucket_objects_total", &[one], 8.0),
        ("thalweg_bucket_bytes_total", &[one], 9000.0),
        ("thalweg_bucket_retries_total", &[one], 3.0),
    ] {
        assert_eq!(exposition.value(name, labels), Some(expected), "{name} {labels:?}");
    }
}

#[test]
fn numbers_of_executors_arrive_under_their_names() {
    let exposition = render(&[&busy_shard()], &[&busy_executor()]);
    let executor = ("executor", "0");
    for (name, labels, expected) in [
        ("thalweg_busy_seconds_total", &[executor][..], 1.5),
        ("thalweg_tasks_total", &[executor], 40.0),
        ("thalweg_connections", &[executor], 2.0),
        ("thalweg_connections_accepted_total", &[executor], 2.0),
        ("thalweg_connections_moved_total", &[executor], 1.0),
        ("thalweg_connections_refused_total", &[executor], 1.0),
        ("thalweg_requests_total", &[executor], 1.0),
        ("thalweg_forwarded_total", &[executor], 1.0),
        ("thalweg_http_violations_total", &[("status", "400")], 2.0),
        ("thalweg_http_violations_total", &[("status", "431")], 1.0),
        ("thalweg_refusals_total", &[("code", "invalid")], 2.0),
        ("thalweg_refusals_total", &[("code", "authn")], 1.0),
    ] {
        assert_eq!(exposition.value(name, labels), Some(expected), "{name} {labels:?}");
    }
}

#[test]
fn quantiles_are_within_three_digits_and_absent_without_acks() {
    let metrics = Metrics::default();
    let name = "thalweg_append_ack_latency_quantile_seconds";
    assert!(!render(&[&metrics], &[]).types.contains_key(name));
    (1..=1_000).for_each(|ms| metrics.append_acked(Express, 1, 9, ms * 1_000));
    metrics.append_acked(Express, 1, 9, u64::MAX);
    let exposition = render(&[&metrics], &[]);
    for (quantile, expected) in [("0.5", 0.501), ("0.99", 0.991), ("0.999", 1.0), ("1", 60.0)] {
        let labels = [("class", "express"), ("quantile", quantile)];
        let value = exposition.value(name, &labels).unwrap();
        assert!((value - expected).abs() <= expected / 1e3, "{quantile}: {value}");
    }
    assert_eq!(exposition.value(name, &[("class", "standard"), ("quantile", "1")]), None);
}

#[test]
fn an_ack_is_late_only_beyond_its_class_target() {
    for (class, latency_us, late) in [
        (Express, 50_000, 0),
        (Express, 50_001, 1),
        (Standard, 50_001, 0),
        (Standard, 500_000, 0),
        (Standard, 500_001, 1),
    ] {
        let metrics = Metrics::default();
        metrics.append_acked(class, 1, 9, latency_us);
        assert_eq!(metrics.snapshot().acks(class).late, late, "{class:?} {latency_us}");
    }
}

#[test]
fn merging_adds_every_number_but_ratios_and_waits() {
    let (shard, executor) = (busy_shard(), busy_executor());
    let mut shards = shard.snapshot();
    shards.merge(&shard.snapshot());
    let mut executors = executor.snapshot();
    executors.merge(&executor.snapshot());
    let render = |shard: Snapshot, executor: ExecutorSnapshot| {
        Exposition::parse(&Exporter::new("1").render(&[(0, shard)], &[(0, executor)])).unwrap()
    };
    let once = render(shard.snapshot(), executor.snapshot());
    let twice = render(shards, executors);
    assert!(once.samples.keys().eq(twice.samples.keys()), "no series comes or goes");
    let ratios = [
        "thalweg_write_amplification",
        "thalweg_append_ack_latency_quantile_seconds",
        "thalweg_bucket_lag_seconds",
    ];
    for (series, value) in &once.samples {
        let name = series.0.as_str();
        if name.starts_with("process_") || name == "thalweg_build_info" {
            continue;
        }
        let factor = if ratios.contains(&name) { 1.0 } else { 2.0 };
        let merged = twice.samples[series];
        assert!((merged - factor * value).abs() < 1e-9, "{series:?}: {value} became {merged}");
    }
}

#[test]
fn label_values_are_escaped() {
    let metrics = Metrics::default();
    let code = "a\"b\\c\nd,e}=";
    metrics.refused(code);
    let exporter = Exporter::new("\"\\\n");
    let text = exporter.render(&[(9, metrics.snapshot())], &[]);
    let exposition = Exposition::parse(&text).unwrap();
    assert_eq!(exposition.value("thalweg_refusals_total", &[("code", code)]), Some(1.0));
    assert_eq!(exposition.value("thalweg_build_info", &[("version", "\"\\\n")]), Some(1.0));
    assert_eq!(exposition.value("thalweg_groups_total", &[("shard", "9")]), Some(0.0));
}

#[test]
fn a_snapshot_does_not_change_with_what_it_was_taken_from() {
    let metrics = Metrics::default();
    let before = metrics.snapshot();
    metrics.append_acked(Express, 1, 9, 10);
    assert_eq!(before.acks(Express).appends, 0);
    assert_eq!(metrics.snapshot().acks(Express).appends, 1);
}

#[test]
fn what_crosses_to_the_scraping_core_is_send() {
    fn is_send<T: Send>() {}
    is_send::<Snapshot>();
    is_send::<ExecutorSnapshot>();
    is_send::<Exporter>();
}
