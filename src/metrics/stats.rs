//! What one shard has counted, in the form that the dashboard draws: small enough to be asked for
//! each second.
//!
//! * Everything that is not said to be *now* only grows while the process lives, so two answers
//!   can be subtracted. What is smaller than before is of another life.
//! * Nothing is counted for it: it is another form of what [`Snapshot`] and the phases hold.

use serde::Serialize;

use super::buckets::sparse;
use super::histogram::Histogram;
use super::holdings::Holdings;
use super::latency::LatencyRef;
use super::phase::Phase;
use super::shard::target_us;
use super::snapshot::{AckSnapshot, CLASSES, Snapshot};
use crate::types::StorageClass;

/// Microseconds and how many acks took at most as long, but longer than the bucket before.
pub(super) type Buckets = Vec<(u64, u64)>;

/// What is told for each storage class.
#[derive(Debug, Clone, Serialize)]
pub struct ByClass<T> {
    /// Of `express`.
    pub express: T,
    /// Of `standard`.
    pub standard: T,
}

impl<T> ByClass<T> {
    fn of(of: impl Fn(StorageClass) -> T) -> Self {
        let [express, standard] = CLASSES.map(of);
        Self { express, standard }
    }
}

/// The ack latency that each class aims for at p99.9, in microseconds.
#[must_use]
pub fn targets_us() -> ByClass<u64> {
    ByClass::of(target_us)
}

/// Acks of one class, and where their time went.
#[derive(Debug, Clone, Serialize)]
pub struct AckStats {
    /// Batches acknowledged.
    pub appends: u64,
    /// Records in them.
    pub records: u64,
    /// Metered bytes in them.
    pub record_bytes: u64,
    /// Acks later than the class's target.
    pub late: u64,
    /// Microseconds of each phase, and of all together.
    pub latency_us: PhaseBuckets,
}

/// Where the time went: sparse buckets of each phase.
#[derive(Debug, Clone, Serialize)]
pub struct PhaseBuckets {
    pub queue: Buckets,
    pub write: Buckets,
    pub sync: Buckets,
    pub respond: Buckets,
    pub whole: Buckets,
}

/// Groups, and what was written for them.
#[derive(Debug, Clone, Serialize)]
pub struct GroupStats {
    /// Groups written and synced.
    pub groups: u64,
    /// Batches in them.
    pub batches: u64,
    /// Frames in them.
    pub frames: u64,
    /// How many groups had so many batches, at most; `null` stands for more than the last bound.
    pub batches_per_group: Vec<(Option<u64>, u64)>,
    /// Syncs completed, of groups.
    pub syncs: u64,
    /// Bytes written by groups: what write amplification divides,
    pub written_bytes: u64,
    /// by these: metered bytes of their records.
    pub record_bytes: u64,
}

/// What readers took.
#[derive(Debug, Clone, Serialize)]
pub struct ReadStats {
    /// Times that records were handed to a reader.
    pub reads: u64,
    /// Records handed out.
    pub records: u64,
    /// Metered bytes of those.
    pub record_bytes: u64,
    /// Reads of the disk for them.
    pub disk_reads: u64,
    /// Bytes of those.
    pub disk_bytes: u64,
    /// Times that the cache had what was wanted.
    pub cache_hits: u64,
    /// Reads that met damage.
    pub damaged: u64,
}

/// What the cleaner and the checkpoints did.
#[derive(Debug, Clone, Serialize)]
pub struct UpkeepStats {
    /// Segments that the cleaner emptied.
    pub segments_cleaned: u64,
    /// Bytes of batches that it copied.
    pub moved_bytes: u64,
    /// Segments taken into use again.
    pub segments_recycled: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Checkpoints that failed.
    pub checkpoint_failures: u64,
    /// Microseconds that those written took, together.
    pub checkpoint_us: u64,
    /// Bytes of old segments read again to look for damage.
    pub scrub_bytes: u64,
    /// Frames known to be damaged, now.
    pub damaged_frames: u64,
}

/// All of one shard.
#[derive(Debug, Clone, Serialize)]
pub struct ShardStats {
    /// How long it was counted, in microseconds.
    pub counted_us: u64,
    /// Acks, by class.
    pub acks: ByClass<AckStats>,
    /// Batches that asked to be admitted.
    pub offered: u64,
    /// Groups.
    pub groups: GroupStats,
    /// Readers.
    pub reads: ReadStats,
    /// Cleaning and checkpoints.
    pub upkeep: UpkeepStats,
    /// Metered bytes accepted and not durable yet, now.
    pub inflight_bytes: u64,
    /// Streams, now.
    pub streams: u64,
    /// Metered bytes stored, now.
    pub stored_bytes: u64,
    /// What the log takes on the disk, now.
    pub log: Holdings,
}

impl ShardStats {
    /// The same counts in fewer words.
    pub(super) fn of(state: &Snapshot, latency: LatencyRef<'_>, counted_us: u64) -> Self {
        Self {
            counted_us,
            acks: ByClass::of(|class| acks(state.acks(class), class, latency)),
            offered: state.batch_records.count(),
            groups: groups(state),
            reads: ReadStats {
                reads: state.reads,
                records: state.records_read,
                record_bytes: state.read_bytes,
                disk_reads: state.log_reads,
                disk_bytes: state.log_read_bytes,
                cache_hits: state.read_cache_hits,
                damaged: state.reads_damaged,
            },
            upkeep: UpkeepStats {
                segments_cleaned: state.segments_cleaned,
                moved_bytes: state.moved_bytes,
                segments_recycled: state.segments_recycled,
                checkpoints: state.checkpoints,
                checkpoint_failures: state.checkpoint_failures,
                checkpoint_us: state.checkpoint_us,
                scrub_bytes: state.scrub_bytes,
                damaged_frames: state.scrub_damaged_frames,
            },
            inflight_bytes: state.inflight_bytes,
            streams: state.streams_open,
            stored_bytes: state.stored_bytes,
            log: state.holdings,
        }
    }
}

fn acks(acks: &AckSnapshot, class: StorageClass, latency: LatencyRef<'_>) -> AckStats {
    let of = |phase| sparse(latency.of(class, phase));
    AckStats {
        appends: acks.appends,
        records: acks.records,
        record_bytes: acks.record_bytes,
        late: acks.late,
        latency_us: PhaseBuckets {
            queue: of(Phase::Queue),
            write: of(Phase::Write),
            sync: of(Phase::Sync),
            respond: of(Phase::Respond),
            whole: of(Phase::Whole),
        },
    }
}

fn groups(state: &Snapshot) -> GroupStats {
    GroupStats {
        groups: state.groups,
        batches: state.group_batches.sum(),
        frames: state.frames,
        batches_per_group: each_bucket(&state.group_batches),
        syncs: state.syncs,
        written_bytes: state.written_bytes,
        record_bytes: state.group_record_bytes,
    }
}

/// The buckets that hold anything, with the open one last.
fn each_bucket(histogram: &Histogram) -> Vec<(Option<u64>, u64)> {
    let mut below = 0;
    let mut buckets = Vec::new();
    let bounded = histogram.cumulative().map(|(bound, count)| (Some(bound), count));
    for (bound, total) in bounded.chain([(None, histogram.count())]) {
        if total > below {
            buckets.push((bound, total - below));
        }
        below = total;
    }
    buckets
}

#[cfg(test)]
mod tests;
