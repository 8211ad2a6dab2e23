//! What one shard has counted, as plain data.

use hdrhistogram::Histogram as HdrHistogram;

use super::bucket::BucketState;
use super::histogram::{
    FINE_LATENCY_US, GROUP_BATCHES, GROUP_BYTES, Histogram, PEER_BATCH_BYTES, PEER_BATCH_RECORDS,
    PEER_LATENCY_US,
};
use super::holdings::Holdings;
use super::tally::Tally;
use crate::types::StorageClass;

/// Longest ack latency that quantiles tell apart, in microseconds; a longer one counts as this.
pub(super) const QUANTILE_US_MAX: u64 = 60_000_000;

/// Every class, in the order in which snapshots keep them.
pub(super) const CLASSES: [StorageClass; 2] = [StorageClass::Express, StorageClass::Standard];

/// The acks of one storage class.
#[derive(Debug, Clone)]
pub struct AckSnapshot {
    /// Batches acknowledged.
    pub appends: u64,
    /// Records in them.
    pub records: u64,
    /// Metered bytes in them.
    pub record_bytes: u64,
    /// Acks that took longer than the class's target.
    pub late: u64,
    /// Ack latency in microseconds, in fixed buckets.
    pub latency: Histogram,
    /// Ack latency in microseconds at three significant digits, up to 60 s.
    pub latency_hdr: HdrHistogram<u64>,
}

impl Default for AckSnapshot {
    fn default() -> Self {
        Self {
            appends: 0,
            records: 0,
            record_bytes: 0,
            late: 0,
            latency: Histogram::new(FINE_LATENCY_US),
            latency_hdr: HdrHistogram::new_with_max(QUANTILE_US_MAX, 3)
                .expect("the bound is above 2 and three digits are among the possible ones"),
        }
    }
}

impl AckSnapshot {
    /// Counts one acknowledged batch. Does not allocate: the HDR histogram has all its counts
    /// from the start and never grows.
    pub(super) fn acked(&mut self, records: u64, record_bytes: u64, latency_us: u64, late: bool) {
        add(&mut self.appends, 1);
        add(&mut self.records, records);
        add(&mut self.record_bytes, record_bytes);
        add(&mut self.late, u64::from(late));
        self.latency.observe(latency_us);
        self.latency_hdr.saturating_record(latency_us.min(QUANTILE_US_MAX));
    }

    fn merge(&mut self, other: &Self) {
        add(&mut self.appends, other.appends);
        add(&mut self.records, other.records);
        add(&mut self.record_bytes, other.record_bytes);
        add(&mut self.late, other.late);
        self.latency.merge(&other.latency);
        self.latency_hdr.add(&other.latency_hdr).expect("all have the same bounds");
    }
}

/// What one shard has counted since it started, or several shards together.
///
/// * Shape: plain data, `Send`.
/// * Cost: about 280 KB, nearly all of it the two HDR histograms.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// By class; see [`Snapshot::acks`].
    pub(super) acks: [AckSnapshot; 2],
    /// Microseconds of acks in each phase but the whole, by class.
    pub(super) phase_latency: [[Histogram; 4]; 2],
    /// Microseconds that batches waited for room among the in-flight bytes.
    pub permit_latency: Histogram,
    /// Microseconds from a batch's arrival to its ack, both classes.
    pub ack_latency: Histogram,
    /// Records per batch offered.
    pub batch_records: Histogram,
    /// Metered bytes per batch offered.
    pub batch_bytes: Histogram,
    /// Microseconds that groups of nothing but Standard batches waited for company.
    pub standard_wait: Histogram,
    /// Refusals by the API's code.
    pub refusals: Tally<&'static str>,
    /// Groups written and synced.
    pub groups: u64,
    /// Frames in them.
    pub frames: u64,
    /// Syncs completed, of groups and of anything else.
    pub syncs: u64,
    /// Bytes written by groups: headers, entries and padding.
    pub written_bytes: u64,
    /// Metered bytes of the records in those groups.
    pub group_record_bytes: u64,
    /// Batches per group.
    pub group_batches: Histogram,
    /// Bytes written per group.
    pub group_bytes: Histogram,
    /// Microseconds that groups took to write.
    pub write_latency: Histogram,
    /// Microseconds that groups took to sync.
    pub sync_latency: Histogram,
    /// Metered bytes admitted and not yet acknowledged, now.
    pub inflight_bytes: u64,
    /// Streams held open, now.
    pub streams_open: u64,
    /// Segment files on disk, now.
    pub segment_files: u64,
    /// Segments that were taken into use again.
    pub segments_recycled: u64,
    /// Metered bytes that its streams store.
    pub stored_bytes: u64,
    /// Segments that the cleaner emptied.
    pub segments_cleaned: u64,
    /// Bytes of batches that it copied.
    pub moved_bytes: u64,
    /// Reads of the disk for readers.
    pub log_reads: u64,
    /// Bytes of those.
    pub log_read_bytes: u64,
    /// Times that a part of the log was in the cache, or on its way, when a reader came.
    pub read_cache_hits: u64,
    /// Memory that saying where records lie takes, in bytes.
    pub index_bytes: u64,
    /// Times that the disk was asked where records lie.
    pub index_reloads: u64,
    /// Blocks read for that.
    pub index_block_reads: u64,
    /// Times that records were handed to a reader.
    pub reads: u64,
    /// Records handed to readers.
    pub records_read: u64,
    /// Metered bytes of those records.
    pub read_bytes: u64,
    /// Reads that met bytes which fail their checks.
    pub reads_damaged: u64,
    /// Bytes of sealed segments read again.
    pub scrub_bytes: u64,
    /// Times that all sealed segments were.
    pub scrub_passes: u64,
    /// Frames known to be damaged, now.
    pub scrub_damaged_frames: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Checkpoints that failed.
    pub checkpoint_failures: u64,
    /// Microseconds that those written took, together.
    pub checkpoint_us: u64,
    /// What the log takes on the disk, now.
    pub holdings: Holdings,
    /// How far the log is in the bucket; `None` without one.
    pub bucket: Option<BucketState>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            acks: Default::default(),
            phase_latency: CLASSES
                .map(|_| std::array::from_fn(|_| Histogram::new(FINE_LATENCY_US))),
            permit_latency: Histogram::new(PEER_LATENCY_US),
            ack_latency: Histogram::new(PEER_LATENCY_US),
            batch_records: Histogram::new(PEER_BATCH_RECORDS),
            batch_bytes: Histogram::new(PEER_BATCH_BYTES),
            standard_wait: Histogram::new(FINE_LATENCY_US),
            refusals: Tally::default(),
            groups: 0,
            frames: 0,
            syncs: 0,
            written_bytes: 0,
            group_record_bytes: 0,
            group_batches: Histogram::new(GROUP_BATCHES),
            group_bytes: Histogram::new(GROUP_BYTES),
            write_latency: Histogram::new(FINE_LATENCY_US),
            sync_latency: Histogram::new(FINE_LATENCY_US),
            inflight_bytes: 0,
            streams_open: 0,
            segment_files: 0,
            segments_recycled: 0,
            stored_bytes: 0,
            segments_cleaned: 0,
            moved_bytes: 0,
            log_reads: 0,
            log_read_bytes: 0,
            read_cache_hits: 0,
            index_bytes: 0,
            index_reloads: 0,
            index_block_reads: 0,
            reads: 0,
            records_read: 0,
            read_bytes: 0,
            reads_damaged: 0,
            scrub_bytes: 0,
            scrub_passes: 0,
            scrub_damaged_frames: 0,
            checkpoints: 0,
            checkpoint_failures: 0,
            checkpoint_us: 0,
            holdings: Holdings::default(),
            bucket: None,
        }
    }
}

impl Snapshot {
    /// The acks of `class`.
    #[must_use]
    pub fn acks(&self, class: StorageClass) -> &AckSnapshot {
        &self.acks[index_of(class)]
    }

    /// Adds what another shard has counted; what is true *now* adds up as well.
    pub fn merge(&mut self, other: &Self) {
        for (acks, more) in self.acks.iter_mut().zip(&other.acks) {
            acks.merge(more);
        }
        for (phases, more) in self.phase_latency.iter_mut().zip(&other.phase_latency) {
            phases.iter_mut().zip(more).for_each(|(phase, more)| phase.merge(more));
        }
        self.permit_latency.merge(&other.permit_latency);
        self.ack_latency.merge(&other.ack_latency);
        self.batch_records.merge(&other.batch_records);
        self.batch_bytes.merge(&other.batch_bytes);
        self.standard_wait.merge(&other.standard_wait);
        self.refusals.merge(&other.refusals);
        add(&mut self.groups, other.groups);
        add(&mut self.frames, other.frames);
        add(&mut self.syncs, other.syncs);
        add(&mut self.written_bytes, other.written_bytes);
        add(&mut self.group_record_bytes, other.group_record_bytes);
        self.group_batches.merge(&other.group_batches);
        self.group_bytes.merge(&other.group_bytes);
        self.write_latency.merge(&other.write_latency);
        self.sync_latency.merge(&other.sync_latency);
        add(&mut self.inflight_bytes, other.inflight_bytes);
        add(&mut self.streams_open, other.streams_open);
        add(&mut self.segment_files, other.segment_files);
        add(&mut self.segments_recycled, other.segments_recycled);
        add(&mut self.stored_bytes, other.stored_bytes);
        add(&mut self.segments_cleaned, other.segments_cleaned);
        add(&mut self.moved_bytes, other.moved_bytes);
        add(&mut self.log_reads, other.log_reads);
        add(&mut self.log_read_bytes, other.log_read_bytes);
        add(&mut self.read_cache_hits, other.read_cache_hits);
        add(&mut self.index_bytes, other.index_bytes);
        add(&mut self.index_reloads, other.index_reloads);
        add(&mut self.index_block_reads, other.index_block_reads);
        add(&mut self.reads, other.reads);
        add(&mut self.records_read, other.records_read);
        add(&mut self.read_bytes, other.read_bytes);
        add(&mut self.reads_damaged, other.reads_damaged);
        add(&mut self.scrub_bytes, other.scrub_bytes);
        add(&mut self.scrub_passes, other.scrub_passes);
        add(&mut self.scrub_damaged_frames, other.scrub_damaged_frames);
        add(&mut self.checkpoints, other.checkpoints);
        add(&mut self.checkpoint_failures, other.checkpoint_failures);
        add(&mut self.checkpoint_us, other.checkpoint_us);
        self.holdings.merge(&other.holdings);
        if let Some(more) = &other.bucket {
            self.bucket.get_or_insert_default().merge(more);
        }
    }

    /// Bytes written for each metered byte of records, by groups; `None` before the first record.
    #[must_use]
    pub fn write_amplification(&self) -> Option<f64> {
        let record_bytes = self.group_record_bytes;
        (record_bytes > 0).then(|| self.written_bytes as f64 / record_bytes as f64)
    }
}

/// Where a class's acks lie in [`Snapshot::acks`].
pub(super) fn index_of(class: StorageClass) -> usize {
    match class {
        StorageClass::Express => 0,
        StorageClass::Standard => 1,
    }
}

/// The name of a class, as labels and tables have it.
pub(super) fn name_of(class: StorageClass) -> &'static str {
    match class {
        StorageClass::Express => "express",
        StorageClass::Standard => "standard",
    }
}

/// Adds to a counter, which stays at its largest value rather than stop the shard.
pub(super) fn add(counter: &mut u64, more: u64) {
    *counter = counter.saturating_add(more);
}
