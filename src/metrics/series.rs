//! The series of the exposition: names, meanings and labels.
//!
//! * The four `s2_append_*` histograms are the peer's, by name, unit and bounds, summed over the
//!   shards; each appears after its first observation (S2 specification, section 1.2).
//! * What tells shards or executors apart carries the label `shard` or `executor`; everything
//!   else is summed here.
//! * `thalweg_append_ack_latency_quantile_seconds` holds exact-to-three-digits quantiles *since
//!   the process started*: gauges with the label `quantile`, whose value 1 is the maximum. They
//!   cannot be averaged or windowed; a graph over time belongs on the histogram.

use super::bucket::BucketState;
use super::executor::ExecutorSnapshot;
use super::family::{Families, Labels, Unit};
use super::phase::Phase;
use super::snapshot::{AckSnapshot, CLASSES, Snapshot, index_of, name_of};
use super::tally::Tally;
use crate::types::StorageClass;
use crate::types::exposure::Exposed;

/// Quantiles that are exposed, with their labels.
const QUANTILES: [(f64, &str); 4] = [(0.5, "0.5"), (0.99, "0.99"), (0.999, "0.999"), (1.0, "1")];

/// What the server's addresses lack; 0 for what is as it should be.
pub(super) fn put_exposed(families: &mut Families, exposed: &Exposed) {
    let samples = exposed.facts().map(|(what, lacks)| {
        let labels = vec![("what", what.to_owned())];
        (labels, if lacks { 1.0 } else { 0.0 })
    });
    families.gauge(
        "thalweg_insecure",
        "Whether an address that other machines reach lacks what protects it.",
        samples,
    );
}

/// The peer's four histograms.
pub(super) fn put_peer(families: &mut Families, total: &Snapshot) {
    let seconds = Unit::MicrosecondsAsSeconds;
    for (name, help, unit, of) in [
        (
            "s2_append_permit_latency_seconds",
            "Time that batches waited to be admitted.",
            seconds,
            &total.permit_latency,
        ),
        (
            "s2_append_ack_latency_seconds",
            "Time from a batch's arrival to its ack.",
            seconds,
            &total.ack_latency,
        ),
        (
            "s2_append_batch_records",
            "Records per batch offered for append.",
            Unit::Plain,
            &total.batch_records,
        ),
        (
            "s2_append_batch_bytes",
            "Metered bytes per batch offered for append.",
            Unit::Plain,
            &total.batch_bytes,
        ),
    ] {
        families.histogram(name, help, unit, [(vec![], of)]);
    }
}

/// Acks by storage class.
pub(super) fn put_appends(families: &mut Families, total: &Snapshot) {
    let counts = |of: fn(&AckSnapshot) -> u64| {
        CLASSES.map(|class| (vec![class_label(class)], of(total.acks(class))))
    };
    families.counter("thalweg_appends_total", "Batches acknowledged.", counts(|acks| acks.appends));
    families.counter(
        "thalweg_append_records_total",
        "Records acknowledged.",
        counts(|acks| acks.records),
    );
    families.counter(
        "thalweg_append_bytes_total",
        "Metered bytes acknowledged.",
        counts(|acks| acks.record_bytes),
    );
    families.counter(
        "thalweg_appends_late_total",
        "Batches acknowledged later than their class aims for (express 50 ms, standard 500 ms).",
        counts(|acks| acks.late),
    );
    families.histogram(
        "thalweg_append_ack_latency_seconds",
        "Time from a batch's arrival to its ack, by storage class.",
        Unit::MicrosecondsAsSeconds,
        CLASSES.map(|class| (vec![class_label(class)], &total.acks(class).latency)),
    );
    let phases = CLASSES.into_iter().flat_map(|class| {
        let each = Phase::PARTS.into_iter().zip(&total.phase_latency[index_of(class)]);
        each.map(move |(phase, times)| {
            (vec![class_label(class), ("phase", phase.name().to_owned())], times)
        })
    });
    families.histogram(
        "thalweg_append_ack_part_seconds",
        "Where the time between a batch's arrival and its ack went, by storage class.",
        Unit::MicrosecondsAsSeconds,
        phases,
    );
    families.gauge(
        "thalweg_append_ack_latency_quantile_seconds",
        "Quantiles of the ack latency since the process started; quantile 1 is the maximum, and \
         latencies beyond 60 s count as 60 s.",
        CLASSES.into_iter().flat_map(|class| quantiles(class, total.acks(class))),
    );
    families.histogram(
        "thalweg_standard_wait_seconds",
        "Time that groups of nothing but Standard batches waited for company.",
        Unit::MicrosecondsAsSeconds,
        [(vec![], &total.standard_wait)],
    );
}

fn quantiles(class: StorageClass, acks: &AckSnapshot) -> Vec<(Labels, f64)> {
    let hdr = &acks.latency_hdr;
    if hdr.is_empty() {
        return Vec::new();
    }
    let sample = |(quantile, text): (f64, &str)| {
        let labels = vec![class_label(class), ("quantile", text.to_owned())];
        (labels, hdr.value_at_quantile(quantile) as f64 / 1e6)
    };
    QUANTILES.into_iter().map(sample).collect()
}

/// Groups, frames, syncs and what they cost.
pub(super) fn put_groups(families: &mut Families, total: &Snapshot, shards: &[(u16, Snapshot)]) {
    let counts = |of: fn(&Snapshot) -> u64| each("shard", shards, of);
    families.counter(
        "thalweg_groups_total",
        "Groups of batches written under one sync.",
        counts(|shard| shard.groups),
    );
    families.counter("thalweg_frames_total", "Frames in groups.", counts(|shard| shard.frames));
    families.counter(
        "thalweg_syncs_total",
        "Syncs completed, of groups only: one each.",
        counts(|shard| shard.syncs),
    );
    families.counter(
        "thalweg_written_bytes_total",
        "Bytes written by groups: headers, entries and padding.",
        counts(|shard| shard.written_bytes),
    );
    families.counter(
        "thalweg_group_record_bytes_total",
        "Metered bytes of the records in groups: what write amplification divides by.",
        counts(|shard| shard.group_record_bytes),
    );
    families.gauge(
        "thalweg_write_amplification",
        "Bytes written by groups for each metered byte of their records, since the start.",
        total.write_amplification().map(|ratio| (vec![], ratio)),
    );
    let seconds = Unit::MicrosecondsAsSeconds;
    for (name, help, unit, of) in [
        ("thalweg_group_batches", "Batches per group.", Unit::Plain, &total.group_batches),
        ("thalweg_group_bytes", "Bytes written per group.", Unit::Plain, &total.group_bytes),
        ("thalweg_write_seconds", "Time to write a group.", seconds, &total.write_latency),
        ("thalweg_sync_seconds", "Time to sync a group.", seconds, &total.sync_latency),
    ] {
        families.histogram(name, help, unit, [(vec![], of)]);
    }
}

/// What each shard holds, and reads.
pub(super) fn put_storage(families: &mut Families, total: &Snapshot, shards: &[(u16, Snapshot)]) {
    let now = |of: fn(&Snapshot) -> u64| {
        each("shard", shards, of).map(|(labels, value)| (labels, value as f64))
    };
    families.gauge(
        "thalweg_inflight_append_bytes",
        "Metered bytes admitted and not yet acknowledged.",
        now(|shard| shard.inflight_bytes),
    );
    families.gauge("thalweg_streams", "Streams held open.", now(|shard| shard.streams_open));
    families.gauge(
        "thalweg_segment_files",
        "Segment files on disk.",
        now(|shard| shard.segment_files),
    );
    families.gauge(
        "thalweg_stored_bytes",
        "Metered bytes of records that are not trimmed or deleted.",
        now(|shard| shard.stored_bytes),
    );
    families.counter(
        "thalweg_segments_recycled_total",
        "Segments taken into use again.",
        each("shard", shards, |shard| shard.segments_recycled),
    );
    families.counter(
        "thalweg_segments_cleaned_total",
        "Segments out of which everything still needed was copied.",
        each("shard", shards, |shard| shard.segments_cleaned),
    );
    families.counter(
        "thalweg_moved_bytes_total",
        "Bytes of log copied to its end so that old segments can go.",
        each("shard", shards, |shard| shard.moved_bytes),
    );
    let counts = |of: fn(&Snapshot) -> u64| each("shard", shards, of);
    families.counter(
        "thalweg_log_reads_total",
        "Reads of the disk for readers.",
        counts(|shard| shard.log_reads),
    );
    families.counter(
        "thalweg_log_read_bytes_total",
        "Bytes read from the disk for readers.",
        counts(|shard| shard.log_read_bytes),
    );
    families.counter(
        "thalweg_read_cache_hits_total",
        "Times that a part of the log was in the cache, or on its way, when a reader came.",
        counts(|shard| shard.read_cache_hits),
    );
    for (name, help, value) in [
        ("thalweg_reads_total", "Times that records were handed to a reader.", total.reads),
        ("thalweg_read_records_total", "Records handed to readers.", total.records_read),
        ("thalweg_read_bytes_total", "Metered bytes handed to readers.", total.read_bytes),
        (
            "thalweg_reads_damaged_total",
            "Reads that met bytes which fail their checks.",
            total.reads_damaged,
        ),
    ] {
        families.counter(name, help, [(vec![], value)]);
    }
}

/// What the log takes on the disk, and how it is.
pub(super) fn put_log(families: &mut Families, shards: &[(u16, Snapshot)]) {
    for (name, help, of) in LOG {
        let now = each("shard", shards, of);
        families.gauge(name, help, now.map(|(labels, value)| (labels, value as f64)));
    }
    families.counter(
        "thalweg_checkpoints_total",
        "Checkpoints written.",
        each("shard", shards, |shard| shard.checkpoints),
    );
    families.counter(
        "thalweg_checkpoint_failures_total",
        "Checkpoints that could not be written.",
        each("shard", shards, |shard| shard.checkpoint_failures),
    );
    families.counter_of_seconds(
        "thalweg_checkpoint_seconds_total",
        "Time that the checkpoints written took.",
        each("shard", shards, |shard| shard.checkpoint_us),
    );
}

/// Name, meaning and value of what a log holds, now.
type LogSeries = (&'static str, &'static str, fn(&Snapshot) -> u64);
const LOG: [LogSeries; 6] = [
    ("thalweg_segment_file_bytes", "Length of all segment files.", |shard| {
        shard.holdings.file_bytes
    }),
    ("thalweg_log_bytes", "Bytes of log in segments that are not given up.", |shard| {
        shard.holdings.log_bytes
    }),
    (
        "thalweg_log_live_bytes",
        "What of them streams still need, most likely; the cleaner goes by it.",
        |shard| shard.holdings.live_bytes,
    ),
    (
        "thalweg_log_unsaved_bytes",
        "Bytes of log since the last checkpoint, which a start would replay.",
        |shard| shard.holdings.unsaved_bytes,
    ),
    (
        "thalweg_log_failed",
        "Whether a write or a sync failed: the shard then takes no more appends.",
        |shard| shard.holdings.failed,
    ),
    (
        "thalweg_log_full",
        "Whether the disk had no room for another segment when last asked.",
        |shard| shard.holdings.full,
    ),
];

/// Where records lie, and what it costs to find that out.
pub(super) fn put_index(families: &mut Families, shards: &[(u16, Snapshot)]) {
    families.gauge(
        "thalweg_index_bytes",
        "Memory that is taken by where each stream's records lie.",
        each("shard", shards, |s| s.index_bytes).map(|(of, bytes)| (of, bytes as f64)),
    );
    families.counter(
        "thalweg_index_reloads_total",
        "Times that a reader had to ask the disk where a stream's records lie.",
        each("shard", shards, |shard| shard.index_reloads),
    );
    families.counter(
        "thalweg_index_block_reads_total",
        "Reads of the disk for that; more is found in memory.",
        each("shard", shards, |shard| shard.index_block_reads),
    );
}

/// How far the log is in the bucket; nothing without one.
pub(super) fn put_bucket(families: &mut Families, shards: &[(u16, Snapshot)]) {
    let shipped: Vec<(u16, BucketState)> =
        shards.iter().filter_map(|(shard, snapshot)| Some((*shard, snapshot.bucket?))).collect();
    if shipped.is_empty() {
        return;
    }
    families.gauge(
        "thalweg_bucket_lag_bytes",
        "Bytes of log that are durable on the disk and not yet in the bucket.",
        each("shard", &shipped, |s| s.lag_bytes).map(|(of, bytes)| (of, bytes as f64)),
    );
    families.gauge(
        "thalweg_bucket_lag_seconds",
        "How long the oldest of them waits.",
        each("shard", &shipped, |s| s.lag_us).map(|(of, us)| (of, us as f64 / 1e6)),
    );
    families.counter(
        "thalweg_bucket_objects_total",
        "Objects stored in the bucket.",
        each("shard", &shipped, |s| s.objects),
    );
    families.counter(
        "thalweg_bucket_bytes_total",
        "Bytes of those objects.",
        each("shard", &shipped, |s| s.bytes),
    );
    families.counter(
        "thalweg_bucket_retries_total",
        "Requests to the bucket that failed and were tried again.",
        each("shard", &shipped, |s| s.retries),
    );
}

/// What reading old data again met.
pub(super) fn put_scrub(families: &mut Families, shards: &[(u16, Snapshot)]) {
    families.counter(
        "thalweg_scrub_bytes_total",
        "Bytes of sealed segments read again to look for damage.",
        each("shard", shards, |shard| shard.scrub_bytes),
    );
    families.counter(
        "thalweg_scrub_passes_total",
        "Times that all sealed segments were read again.",
        each("shard", shards, |shard| shard.scrub_passes),
    );
    families.gauge(
        "thalweg_scrub_damaged_frames",
        "Frames known to be damaged, as far as they are remembered.",
        each("shard", shards, |s| s.scrub_damaged_frames).map(|(of, frames)| (of, frames as f64)),
    );
}

/// Connections, requests and broken HTTP.
pub(super) fn put_connections(
    families: &mut Families,
    everywhere: &ExecutorSnapshot,
    executors: &[(u16, ExecutorSnapshot)],
) {
    let counts = |of: fn(&ExecutorSnapshot) -> u64| each("executor", executors, of);
    families.gauge(
        "thalweg_connections",
        "Connections open.",
        counts(|executor| executor.connections).map(|(labels, value)| (labels, value as f64)),
    );
    families.counter(
        "thalweg_connections_accepted_total",
        "Connections accepted.",
        counts(|executor| executor.connections_accepted),
    );
    families.counter(
        "thalweg_connections_moved_total",
        "Connections that came from another executor.",
        counts(|executor| executor.connections_moved),
    );
    families.counter(
        "thalweg_connections_refused_total",
        "Connections closed at once because a bound was reached.",
        counts(|executor| executor.connections_refused),
    );
    families.counter(
        "thalweg_requests_total",
        "Requests whose head was read.",
        counts(|executor| executor.requests),
    );
    families.counter(
        "thalweg_forwarded_total",
        "Requests that crossed to another core.",
        counts(|executor| executor.forwarded),
    );
    families.counter_of_seconds(
        "thalweg_busy_seconds_total",
        "Time in which an executor had something to do; never more than one second a second.",
        counts(|executor| executor.busy_us),
    );
    families.counter(
        "thalweg_tasks_total",
        "Times that an executor ran a task.",
        counts(|executor| executor.tasks),
    );
    let mut violations: Vec<_> = everywhere.http_violations.iter().collect();
    violations.sort_unstable();
    families.counter(
        "thalweg_http_violations_total",
        "Broken HTTP, by the status it was answered with.",
        violations.into_iter().map(|(status, count)| (vec![("status", status.to_string())], count)),
    );
    let mut handshakes: Vec<_> = everywhere.tls_handshakes.iter().collect();
    handshakes.sort_unstable();
    families.counter(
        "thalweg_tls_handshakes_total",
        "Handshakes of TLS that have ended, by how: done, plaintext, invalid, timed_out, crowded, \
         gone.",
        handshakes.into_iter().map(|(result, count)| (vec![("result", result.to_owned())], count)),
    );
}

/// Refusals by code.
pub(super) fn put_refusals(families: &mut Families, refusals: &Tally<&'static str>) {
    let mut refusals: Vec<_> = refusals.iter().collect();
    refusals.sort_unstable();
    families.counter(
        "thalweg_refusals_total",
        "Operations refused, by the API's error code.",
        refusals.into_iter().map(|(code, count)| (vec![("code", code.to_owned())], count)),
    );
}

/// One number of each owner, labelled with the owner's.
fn each<T>(
    label: &'static str,
    owners: &[(u16, T)],
    of: fn(&T) -> u64,
) -> impl Iterator<Item = (Labels, u64)> {
    owners.iter().map(move |(number, owner)| (vec![(label, number.to_string())], of(owner)))
}

fn class_label(class: StorageClass) -> (&'static str, String) {
    ("class", name_of(class).to_owned())
}
