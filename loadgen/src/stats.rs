//! What the load threads measure, handed over once a second and summed up.
//!
//! Histograms hold nanoseconds at three significant digits, from a microsecond to an hour.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::clock::SECOND_NS;
use crate::follower::Faults;
use crate::journal::Fact;
use crate::receipts::Receipts;

/// An empty histogram of the common shape.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 3_600 * SECOND_NS, 3).expect("constant bounds are valid")
}

/// Everything measured between two hand-overs of one thread, or summed over threads and time.
///
/// Unless a field says otherwise it covers the measured time only, not the warm-up.
pub(crate) struct Stats {
    /// From intended send time to the whole answer.
    pub(crate) latency: Histogram<u64>,
    /// From actual send time to the whole answer.
    pub(crate) service: Histogram<u64>,
    /// From the moment when an append was due *and* a connection was free to its actual send.
    pub(crate) lateness: Histogram<u64>,
    /// How late the thread answered a timer of its own.
    pub(crate) probe: Histogram<u64>,
    /// Appends acknowledged before the end of the measured time.
    pub(crate) acked: u64,
    /// Their records.
    pub(crate) records: u64,
    /// Their bodies' bytes.
    pub(crate) body_bytes: u64,
    /// Appends sent, warm-up and drain included.
    pub(crate) sent: u64,
    /// Appends acknowledged, warm-up and drain included.
    pub(crate) acked_ever: u64,
    /// Appends whose fate is unknown, warm-up and drain included.
    pub(crate) indeterminate: u64,
    /// Appends due that never found a free connection before the drain ended.
    pub(crate) unsent: u64,
    /// Errors by kind, warm-up and drain included.
    pub(crate) errors: BTreeMap<String, u64>,
    /// What readers measured.
    pub(crate) delivery: Delivery,
    /// What receipts said; only when they are asked for, and from the first answer on.
    pub(crate) receipts: Option<Box<Receipts>>,
    /// Fates to remember, with their stream; only when asked for.
    pub(crate) facts: Vec<(u32, Fact)>,
}

impl Stats {
    /// Nothing measured yet.
    pub(crate) fn new() -> Self {
        Self {
            latency: histogram(),
            service: histogram(),
            lateness: histogram(),
            probe: histogram(),
            acked: 0,
            records: 0,
            body_bytes: 0,
            sent: 0,
            acked_ever: 0,
            indeterminate: 0,
            unsent: 0,
            errors: BTreeMap::new(),
            delivery: Delivery::new(),
            receipts: None,
            facts: Vec::new(),
        }
    }

    /// Counts one error.
    pub(crate) fn error(&mut self, kind: String) {
        *self.errors.entry(kind).or_default() += 1;
    }

    /// Adds everything but the facts, which are handed on instead of kept.
    pub(crate) fn add(&mut self, other: &Self) {
        let same = "all histograms share their bounds";
        self.latency.add(&other.latency).expect(same);
        self.service.add(&other.service).expect(same);
        self.lateness.add(&other.lateness).expect(same);
        self.probe.add(&other.probe).expect(same);
        self.acked += other.acked;
        self.records += other.records;
        self.body_bytes += other.body_bytes;
        self.sent += other.sent;
        self.acked_ever += other.acked_ever;
        self.indeterminate += other.indeterminate;
        self.unsent += other.unsent;
        self.delivery.add(&other.delivery);
        if let Some(receipts) = &other.receipts {
            self.receipts.get_or_insert_with(Box::default).add(receipts);
        }
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
    }

    /// Sum of all errors.
    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// What readers measured, each record counted once per reader.
pub(crate) struct Delivery {
    /// From when its append was due to a record's arrival.
    pub(crate) latency: Histogram<u64>,
    /// From its append's acknowledgement to a record's arrival; 0 for those that came first.
    pub(crate) from_ack: Histogram<u64>,
    /// Records that arrived before the end of the measured time.
    pub(crate) records: u64,
    /// Their bodies' bytes.
    pub(crate) body_bytes: u64,
    /// Records that arrived, warm-up and drain included.
    pub(crate) records_ever: u64,
    /// Records measured that arrived before their writer had the acknowledgement.
    pub(crate) early: u64,
    /// Records measured that arrived too late after their acknowledgement to know when that was.
    pub(crate) forgotten: u64,
    /// Records of other runs.
    pub(crate) foreign: u64,
    /// Empty batches that named the tail.
    pub(crate) heartbeats: u64,
    /// What must not be, warm-up and drain included.
    pub(crate) faults: Faults,
}

impl Delivery {
    fn new() -> Self {
        Self {
            latency: histogram(),
            from_ack: histogram(),
            records: 0,
            body_bytes: 0,
            records_ever: 0,
            early: 0,
            forgotten: 0,
            foreign: 0,
            heartbeats: 0,
            faults: Faults::default(),
        }
    }

    fn add(&mut self, other: &Self) {
        let same = "all histograms share their bounds";
        self.latency.add(&other.latency).expect(same);
        self.from_ack.add(&other.from_ack).expect(same);
        self.records += other.records;
        self.body_bytes += other.body_bytes;
        self.records_ever += other.records_ever;
        self.early += other.early;
        self.forgotten += other.forgotten;
        self.foreign += other.foreign;
        self.heartbeats += other.heartbeats;
        self.faults += &other.faults;
    }
}

/// The share of its life a thread spent running and waiting for a core.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuUse {
    /// Nanoseconds on a core.
    pub(crate) run_ns: u64,
    /// Nanoseconds ready to run, but waiting for a core.
    pub(crate) wait_ns: u64,
    /// Wall time, nanoseconds.
    pub(crate) wall_ns: u64,
}

impl CpuUse {
    /// Of the calling thread since its start; wall time is the caller's to fill in.
    pub(crate) fn of_this_thread() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let mut words = text.split_ascii_whitespace().map(str::parse);
        let run_ns = words.next()?.ok()?;
        let wait_ns = words.next()?.ok()?;
        Some(Self { run_ns, wait_ns, wall_ns: 0 })
    }

    /// What was used between `earlier` and this, over `wall_ns`.
    pub(crate) fn since(self, earlier: Self, wall_ns: u64) -> Self {
        Self {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            wait_ns: self.wait_ns.saturating_sub(earlier.wait_ns),
            wall_ns,
        }
    }

    /// Share of the wall time on a core, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share, not a count")]
    pub(crate) fn busy_share(self) -> f64 {
        self.run_ns as f64 / self.wall_ns.max(1) as f64
    }

    /// Share of the wall time waiting for a core, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share, not a count")]
    pub(crate) fn wait_share(self) -> f64 {
        self.wait_ns as f64 / self.wall_ns.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_every_count() {
        let mut one = Stats::new();
        one.latency.record(5_000).unwrap();
        one.acked = 2;
        one.error("429 rate_limited".to_owned());
        let mut sum = Stats::new();
        sum.error("timeout".to_owned());
        sum.add(&one);
        sum.add(&one);
        assert_eq!((sum.latency.len(), sum.acked, sum.error_count()), (2, 4, 3));
        assert_eq!(sum.errors["429 rate_limited"], 2);
    }
}
