//! What a page that subtracts two answers relies on.

use serde_json::{Value, json};

use crate::metrics::{GroupWritten, Metrics, targets_us};
use crate::types::StorageClass::{Express, Standard};

fn told(metrics: &Metrics) -> Value {
    serde_json::to_value(metrics.stats(5_000)).expect("plain values")
}

fn group(ticket: u64, batches: u64) -> GroupWritten {
    GroupWritten {
        batches,
        frames: 1,
        written_bytes: 4_096,
        record_bytes: 1_000,
        ticket,
        began_us: 20,
        write_us: 30,
        sync_us: 100,
    }
}

#[test]
fn nothing_yet_is_told_as_nothing() {
    let stats = told(&Metrics::since(1_000));
    assert_eq!(stats["counted_us"], 4_000);
    assert_eq!(stats["acks"]["express"]["latency_us"]["whole"], json!([]));
    assert_eq!(stats["groups"]["batches_per_group"], json!([]));
}

#[test]
fn acks_and_groups_are_told_in_buckets() {
    let metrics = Metrics::default();
    metrics.group_written(group(1, 2));
    metrics.group_written(group(2, 5_000));
    for latency_us in [160, 160, 700] {
        metrics.append_offered(3, 300);
        metrics.append_acked(Express, 3, 300, latency_us);
        metrics.append_waited(Express, 1, 10, latency_us);
    }
    let stats = told(&metrics);
    let express = &stats["acks"]["express"];
    assert_eq!(express["appends"], 3);
    assert_eq!(express["record_bytes"], 900);
    let latency = &express["latency_us"];
    assert_eq!(latency["queue"], json!([[11, 3]]));
    assert_eq!(latency["write"], json!([[31, 3]]));
    assert_eq!(latency["sync"], json!([[111, 3]]));
    assert_eq!(latency["respond"], json!([[23, 2], [639, 1]]));
    assert_eq!(latency["whole"], json!([[191, 2], [767, 1]]));
    assert_eq!(stats["acks"]["standard"]["appends"], 0);
    assert_eq!(stats["groups"]["batches"], 5_002);
    assert_eq!(stats["groups"]["batches_per_group"], json!([[2, 1], [null, 1]]));
    assert_eq!(stats["groups"]["written_bytes"], 8_192);
    assert_eq!(stats["offered"], 3);
}

#[test]
fn an_ack_is_late_beyond_the_target_that_is_told() {
    let targets = targets_us();
    for (class, target_us) in [(Express, targets.express), (Standard, targets.standard)] {
        let metrics = Metrics::default();
        metrics.append_acked(class, 1, 9, target_us);
        assert_eq!(metrics.snapshot().acks(class).late, 0, "{class:?}");
        metrics.append_acked(class, 1, 9, target_us + 1);
        assert_eq!(metrics.snapshot().acks(class).late, 1, "{class:?}");
    }
}
