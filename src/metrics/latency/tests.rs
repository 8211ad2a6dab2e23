//! The table as people read it, and the log as a tool does.

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::*;
use crate::metrics::{GroupWritten, Metrics};
use crate::types::StorageClass::{Express, Standard};

/// Acks of two groups: three of Express, one of Standard.
fn busy() -> Metrics {
    let metrics = Metrics::since(1_000_000);
    let group = |ticket, began_us, write_us, sync_us| GroupWritten {
        batches: ticket,
        frames: 1,
        written_bytes: 4096,
        record_bytes: 10,
        ticket,
        began_us,
        write_us,
        sync_us,
    };
    metrics.group_written(group(2, 100, 20, 70));
    for (ticket, since_us) in [(1, 90), (2, 95)] {
        metrics.append_acked(Express, 1, 9, 200);
        metrics.append_waited(Express, ticket, since_us, 200);
    }
    metrics.group_written(group(4, 1_000, 0, 900));
    metrics.append_acked(Express, 1, 9, 1_000);
    metrics.append_waited(Express, 3, 950, 1_000);
    metrics.append_acked(Standard, 1, 9, 90_000_000);
    metrics.append_waited(Standard, 4, 500, 90_000_000);
    metrics
}

#[test]
fn the_table_has_a_line_for_each_class_and_phase() {
    let snapshot = busy().latency(3_500_000);
    let table = snapshot.table();
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..5], ["#", "acks", "of", "2.5", "s,"], "{table}");
    let head = ["class", "phase", "count", "mean", "p50", "p90", "p99", "p99.9", "max"];
    assert_eq!(lines[1], head, "{table}");
    let line = |class: &str, phase: &str| {
        lines.iter().find(|line| line[..2] == [class, phase]).expect("a line")[2..].to_vec()
    };
    assert_eq!(lines.len(), 2 + 10, "{table}");
    assert_eq!(line("express", "queue"), ["3", "21.7", "10", "50", "50", "50", "50"], "{table}");
    assert_eq!(line("express", "write"), ["3", "13.3", "20", "20", "20", "20", "20"], "{table}");
    assert_eq!(line("express", "whole")[2..], ["200", "1000", "1000", "1000", "1000"], "{table}");
    let standard = line("standard", "respond");
    assert_eq!(standard[0], "1", "{table}");
    let respond: u64 = standard[6].parse().expect("a number");
    assert!((60_000_000..60_700_000).contains(&respond), "beyond 60 s counts as 60 s: {table}");

    let nothing = Metrics::since(5).latency(5).table();
    assert!(nothing.lines().skip(2).all(|line| line.ends_with('-')), "{nothing}");
}

#[test]
fn the_log_has_an_interval_in_nanoseconds_for_each_class_and_phase() {
    let snapshot = busy().latency(3_500_000);
    let log = snapshot.interval_log(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let text = String::from_utf8_lossy(&log);
    assert!(text.starts_with("#[Histogram log format version 1.3]\n"), "{text}");
    assert!(text.contains("#[StartTime: 1699999997.500 "), "{text}");
    let mut tags = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.expect("legal") else { continue };
        let times = (interval.start_timestamp(), interval.duration());
        assert_eq!(times, (Duration::ZERO, Duration::from_millis(2_500)));
        let tag = interval.tag().expect("a tag").as_str();
        let (class, phase) = tag.split_once('/').expect("both");
        let class = if class == "express" { Express } else { Standard };
        let phase = *Phase::ALL.iter().find(|p| p.name() == phase).expect("known");
        let most_ns = snapshot.of(class, phase).max() as f64 * 1e3;
        assert!((interval.max() - most_ns).abs() <= most_ns / 100.0 + 1e3, "{tag}: {text}");
        tags.push(tag.to_owned());
    }
    let phases = ["queue", "write", "sync", "respond", "whole"];
    let expected: Vec<_> = ["express", "standard"]
        .into_iter()
        .flat_map(|class| phases.map(|phase| format!("{class}/{phase}")))
        .collect();
    assert_eq!(tags, expected);
    let nothing = Metrics::default().latency(0).interval_log(SystemTime::UNIX_EPOCH);
    let mut entries = IntervalLogIterator::new(&nothing);
    assert!(!entries.any(|entry| matches!(entry, Ok(LogEntry::Interval(_)))));
}

#[test]
fn a_thousand_times_the_values_are_as_many() {
    let snapshot = busy().latency(0);
    for (class, phase, us) in snapshot.all() {
        let ns = in_nanoseconds(us);
        assert_eq!(ns.len(), us.len(), "{class} {phase}");
        for quantile in [0.0, 0.5, 0.9, 1.0] {
            let (ns, us) = (ns.value_at_quantile(quantile), us.value_at_quantile(quantile));
            let apart = ns.abs_diff(us * 1_000);
            assert!(apart <= us * 10 + 1_000, "{class} {phase} {quantile}: {ns} ns, {us} us");
        }
    }
}

#[test]
fn merging_adds_the_counts_and_keeps_the_longest_span() {
    let mut merged = busy().latency(3_500_000);
    merged.merge(&busy().latency(2_000_000));
    for phase in Phase::ALL {
        assert_eq!(merged.of(Express, phase).len(), 6, "{phase:?}");
        assert_eq!(merged.of(Standard, phase).len(), 2, "{phase:?}");
    }
    assert_eq!(merged.span, Duration::from_millis(2_500));
}
