//! What one shard records, event by event.

use std::cell::RefCell;
use std::time::Duration;

use super::bucket::BucketState;
use super::holdings::Holdings;
use super::latency::{LatencyRef, LatencySnapshot};
use super::phase::{GroupTimes, Phases};
use super::snapshot::{CLASSES, Snapshot, add, index_of};
use super::stats::ShardStats;
use crate::types::StorageClass;

/// The ack latency that a class aims for at p99.9, in microseconds.
pub(super) const fn target_us(class: StorageClass) -> u64 {
    match class {
        StorageClass::Express => 50_000,
        StorageClass::Standard => 500_000,
    }
}

/// A group that was written and synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupWritten {
    /// Batches in it.
    pub batches: u64,
    /// Frames in it.
    pub frames: u64,
    /// Bytes written: headers, entries and padding.
    pub written_bytes: u64,
    /// Metered bytes of its records.
    pub record_bytes: u64,
    /// Every entry up to this ticket is durable with it.
    pub ticket: u64,
    /// When its write began, in microseconds on the monotonic clock.
    pub began_us: u64,
    /// Time spent writing, in microseconds.
    pub write_us: u64,
    /// Time spent in the sync, in microseconds.
    pub sync_us: u64,
}

/// The numbers of one shard; methods take `&self`, and none calls back, so no borrow outlives it.
///
/// * Cost: recording is arithmetic on memory held from the start; no allocation. The one
///   exception is [`refused`](Self::refused) once more than 48 codes were seen.
#[derive(Debug, Default)]
pub struct Metrics {
    state: RefCell<Snapshot>,
    phases: RefCell<Phases>,
    /// When counting began, on the monotonic clock.
    since_us: u64,
}

impl Metrics {
    /// Nothing is counted yet; it is `now_us` on the monotonic clock.
    #[must_use]
    pub fn since(now_us: u64) -> Self {
        Self { since_us: now_us, ..Self::default() }
    }

    /// What was counted so far.
    ///
    /// * Cost: copies about 280 KB and walks the phases; for a scrape, not for the append path.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let phase_latency = self.phases.borrow().histograms();
        Snapshot { phase_latency, ..self.state.borrow().clone() }
    }

    /// Where the time until the acks went so far; it is `now_us` on the monotonic clock.
    ///
    /// * Cost: copies about 420 KB; for whoever asks, not for the append path.
    #[must_use]
    pub fn latency(&self, now_us: u64) -> LatencySnapshot {
        let state = self.state.borrow();
        LatencySnapshot {
            parts: self.phases.borrow().parts().clone(),
            whole: CLASSES.map(|class| state.acks(class).latency_hdr.clone()),
            span: Duration::from_micros(now_us.saturating_sub(self.since_us)),
        }
    }

    /// The same and all counts in few words; it is `now_us` on the monotonic clock.
    ///
    /// * Cost: copies no histogram; walks them as far as their largest values lie, which takes
    ///   some 10,000 steps while acks take milliseconds.
    #[must_use]
    pub fn stats(&self, now_us: u64) -> ShardStats {
        let (state, phases) = (self.state.borrow(), self.phases.borrow());
        let whole = CLASSES.map(|class| &state.acks(class).latency_hdr);
        let latency = LatencyRef { parts: phases.parts(), whole };
        ShardStats::of(&state, latency, now_us.saturating_sub(self.since_us))
    }

    /// A batch asked for admission; called whether or not it is then admitted.
    pub fn append_offered(&self, records: u64, record_bytes: u64) {
        let mut state = self.state.borrow_mut();
        state.batch_records.observe(records);
        state.batch_bytes.observe(record_bytes);
    }

    /// A batch was admitted after waiting `wait_us` microseconds for room.
    pub fn append_admitted(&self, wait_us: u64) {
        self.state.borrow_mut().permit_latency.observe(wait_us);
    }

    /// A batch was acknowledged `latency_us` microseconds after it arrived.
    pub fn append_acked(
        &self,
        class: StorageClass,
        records: u64,
        record_bytes: u64,
        latency_us: u64,
    ) {
        let late = latency_us > target_us(class);
        let mut state = self.state.borrow_mut();
        state.acks[index_of(class)].acked(records, record_bytes, latency_us, late);
        state.ack_latency.observe(latency_us);
    }

    /// That batch had arrived at `since_us` on the monotonic clock and waited for `ticket`, which
    /// [`group_written`](Self::group_written) reached; called once for each of them.
    pub fn append_waited(&self, class: StorageClass, ticket: u64, since_us: u64, latency_us: u64) {
        self.phases.borrow_mut().acked(class, ticket, since_us, latency_us);
    }

    /// An operation was refused with the API's `code`.
    pub fn refused(&self, code: &'static str) {
        self.state.borrow_mut().refusals.add(code, 1);
    }

    /// A group of nothing but Standard batches waited `wait_us` microseconds for company.
    pub fn standard_waited(&self, wait_us: u64) {
        self.state.borrow_mut().standard_wait.observe(wait_us);
    }

    /// A group is durable; counts its sync too.
    pub fn group_written(&self, group: GroupWritten) {
        let GroupWritten { ticket, began_us, write_us, sync_us, .. } = group;
        self.phases.borrow_mut().group(GroupTimes { ticket, began_us, write_us, sync_us });
        let mut state = self.state.borrow_mut();
        add(&mut state.groups, 1);
        add(&mut state.frames, group.frames);
        add(&mut state.syncs, 1);
        add(&mut state.written_bytes, group.written_bytes);
        add(&mut state.group_record_bytes, group.record_bytes);
        state.group_batches.observe(group.batches);
        state.group_bytes.observe(group.written_bytes);
        state.write_latency.observe(group.write_us);
        state.sync_latency.observe(group.sync_us);
    }

    /// So many metered bytes are admitted and not yet acknowledged.
    pub fn set_inflight_bytes(&self, bytes: u64) {
        self.state.borrow_mut().inflight_bytes = bytes;
    }

    /// So many streams are held open.
    pub fn set_streams_open(&self, streams: u64) {
        self.state.borrow_mut().streams_open = streams;
    }

    /// So many segment files are on disk.
    pub fn set_segment_files(&self, files: u64) {
        self.state.borrow_mut().segment_files = files;
    }

    /// So many metered bytes are stored.
    pub fn set_stored_bytes(&self, bytes: u64) {
        self.state.borrow_mut().stored_bytes = bytes;
    }

    /// What the log takes on the disk.
    pub fn set_holdings(&self, holdings: Holdings) {
        self.state.borrow_mut().holdings = holdings;
    }

    /// A checkpoint was written within `took_us` microseconds.
    pub fn checkpoint_written(&self, took_us: u64) {
        let mut state = self.state.borrow_mut();
        add(&mut state.checkpoints, 1);
        add(&mut state.checkpoint_us, took_us);
    }

    /// A checkpoint could not be written.
    pub fn checkpoint_failed(&self) {
        add(&mut self.state.borrow_mut().checkpoint_failures, 1);
    }

    /// All that was needed of a segment was copied elsewhere.
    pub fn segment_cleaned(&self) {
        add(&mut self.state.borrow_mut().segments_cleaned, 1);
    }

    /// Batches of `bytes` in the log were copied to its end.
    pub fn batches_moved(&self, bytes: u64) {
        add(&mut self.state.borrow_mut().moved_bytes, bytes);
    }

    /// The log was read from the disk so many times, for so many bytes, and found in the cache so
    /// many times instead, since the start.
    pub fn set_log_reads(&self, reads: u64, bytes: u64, cache_hits: u64) {
        let mut state = self.state.borrow_mut();
        (state.log_reads, state.log_read_bytes) = (reads, bytes);
        state.read_cache_hits = cache_hits;
    }

    /// Saying where records lie takes so many bytes of memory.
    pub fn set_index_bytes(&self, bytes: u64) {
        self.state.borrow_mut().index_bytes = bytes;
    }

    /// The disk was asked so many times where records lie, and so many blocks were read for it,
    /// since the start.
    pub fn set_index_reloads(&self, reloads: u64, block_reads: u64) {
        let mut state = self.state.borrow_mut();
        (state.index_reloads, state.index_block_reads) = (reloads, block_reads);
    }

    /// A segment was taken into use again.
    pub fn segment_recycled(&self) {
        add(&mut self.state.borrow_mut().segments_recycled, 1);
    }

    /// Records were handed to a reader.
    pub fn records_read(&self, records: u64, record_bytes: u64) {
        let mut state = self.state.borrow_mut();
        add(&mut state.reads, 1);
        add(&mut state.records_read, records);
        add(&mut state.read_bytes, record_bytes);
    }

    /// A read met bytes that fail their checks.
    pub fn read_damaged(&self) {
        add(&mut self.state.borrow_mut().reads_damaged, 1);
    }

    /// So many bytes of sealed segments were read again.
    pub fn scrubbed(&self, bytes: u64) {
        add(&mut self.state.borrow_mut().scrub_bytes, bytes);
    }

    /// All sealed segments were read again.
    pub fn scrub_passed(&self) {
        add(&mut self.state.borrow_mut().scrub_passes, 1);
    }

    /// So many frames are known to be damaged.
    pub fn set_scrub_damaged_frames(&self, frames: u64) {
        self.state.borrow_mut().scrub_damaged_frames = frames;
    }

    /// The log is so far in the bucket, if there is one.
    pub fn set_bucket(&self, state: Option<BucketState>) {
        self.state.borrow_mut().bucket = state;
    }
}
