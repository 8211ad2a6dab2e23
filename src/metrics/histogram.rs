//! Histograms with fixed bounds, as Prometheus keeps them.
//!
//! A bucket holds what is at most its bound and above the bound before; the last one is open.
//! Counts are kept per bucket and accumulated only when rendered.

use hdrhistogram::Histogram as HdrHistogram;

/// Latencies as the peer buckets them, in microseconds (S2 specification, section 1.2).
pub(super) const PEER_LATENCY_US: &[u64] =
    &[5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000];
/// Records per batch as the peer buckets them.
pub(super) const PEER_BATCH_RECORDS: &[u64] = &[1, 10, 50, 100, 250, 500, 1_000];
/// Metered bytes per batch as the peer buckets them.
pub(super) const PEER_BATCH_BYTES: &[u64] =
    &[512, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 512 << 10, 1 << 20];
/// Latencies from a fast device to a stalled one, in microseconds: 50 µs to 5 s, three a decade.
/// The targets of both classes, 50 ms and 500 ms, are bounds.
pub(super) const FINE_LATENCY_US: &[u64] = &[
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000,
];
/// Batches under one sync.
pub(super) const GROUP_BATCHES: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];
/// Bytes under one sync: one block to the largest group.
pub(super) const GROUP_BYTES: &[u64] = &[
    4 << 10,
    8 << 10,
    16 << 10,
    32 << 10,
    64 << 10,
    128 << 10,
    256 << 10,
    512 << 10,
    1 << 20,
    2 << 20,
    4 << 20,
];

const _: () = {
    assert!(is_rising(PEER_LATENCY_US) && is_rising(PEER_BATCH_RECORDS));
    assert!(is_rising(PEER_BATCH_BYTES) && is_rising(FINE_LATENCY_US));
    assert!(is_rising(GROUP_BATCHES) && is_rising(GROUP_BYTES));
};

const fn is_rising(bounds: &[u64]) -> bool {
    let mut i = 1;
    while i < bounds.len() {
        if bounds[i - 1] >= bounds[i] {
            return false;
        }
        i += 1;
    }
    !bounds.is_empty()
}

/// A histogram over whole numbers; whoever made it knows the unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One count per bound, and one for everything above the last.
    counts: Vec<u64>,
    sum: u64,
}

impl Histogram {
    /// An empty histogram; `bounds` rise, and each belongs to its bucket.
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0 }
    }

    /// The values of an HdrHistogram, each taken for the largest that it counts as the same.
    pub(super) fn of_hdr(bounds: &'static [u64], values: &HdrHistogram<u64>) -> Self {
        let mut histogram = Self::new(bounds);
        for bucket in values.iter_recorded() {
            let value = bucket.value_iterated_to().min(values.max());
            histogram.observe_n(value, bucket.count_at_value());
        }
        histogram
    }

    fn observe_n(&mut self, value: u64, count: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] = self.counts[bucket].saturating_add(count);
        self.sum = self.sum.saturating_add(value.saturating_mul(count));
    }

    /// Counts one observation. Does not allocate.
    pub(super) fn observe(&mut self, value: u64) {
        self.observe_n(value, 1);
    }

    /// Adds the observations of `other`, which has the same bounds.
    pub(super) fn merge(&mut self, other: &Self) {
        assert_eq!(self.bounds, other.bounds, "only like histograms merge");
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many observations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(*count))
    }

    /// The sum of all observations, in the histogram's unit.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Each bound with the number of observations at or below it; the open bucket is left to
    /// [`count`](Self::count).
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        self.bounds.iter().zip(&self.counts).scan(0_u64, |total, (bound, count)| {
            *total = total.saturating_add(*count);
            Some((*bound, *total))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (value, expected) in [
            (0, [1, 1, 1]),
            (10, [1, 1, 1]),
            (11, [0, 1, 1]),
            (20, [0, 1, 1]),
            (21, [0, 0, 1]),
            (30, [0, 0, 1]),
            (31, [0, 0, 0]),
            (u64::MAX, [0, 0, 0]),
        ] {
            let mut histogram = Histogram::new(&[10, 20, 30]);
            histogram.observe(value);
            let counts: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
            assert_eq!(counts, expected, "{value}");
            assert_eq!((histogram.count(), histogram.sum()), (1, value));
        }
    }

    #[test]
    fn a_sum_that_is_too_large_saturates() {
        let mut histogram = Histogram::new(&[1]);
        histogram.observe(u64::MAX);
        histogram.observe(2);
        assert_eq!((histogram.count(), histogram.sum()), (2, u64::MAX));
    }

    #[test]
    #[should_panic(expected = "only like histograms merge")]
    fn unlike_histograms_do_not_merge() {
        Histogram::new(&[1]).merge(&Histogram::new(&[2]));
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_values_however_they_were_split(
            values in prop::collection::vec(0..6_000_000_u64, 0..200),
            split in any::<prop::sample::Index>(),
        ) {
            let (left, right) = values.split_at(split.index(values.len() + 1));
            let of = |values: &[u64]| {
                let mut histogram = Histogram::new(FINE_LATENCY_US);
                values.iter().for_each(|value| histogram.observe(*value));
                histogram
            };
            let mut merged = of(left);
            merged.merge(&of(right));
            prop_assert_eq!(&merged, &of(&values));
            prop_assert_eq!(merged.count(), values.len() as u64);
            prop_assert_eq!(merged.sum(), values.iter().sum::<u64>());
            for (bound, count) in merged.cumulative() {
                let expected = values.iter().filter(|value| **value <= bound).count();
                prop_assert_eq!(count, expected as u64);
            }
        }
    }
}
