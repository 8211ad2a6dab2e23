//! HdrHistogram counts in fewer buckets: for a page that asks each second, and for Prometheus.

use hdrhistogram::Histogram as HdrHistogram;

use super::snapshot::QUANTILE_US_MAX;

/// Most buckets that one histogram is told in: from 0 to 60 s, four to an octave.
pub(super) const BUCKETS_MAX: usize = 100;

/// The largest value in the bucket of `value`: values up to 7 have their own, and from there on
/// each octave has four.
///
/// * A bucket is a whole number of an HdrHistogram's own of two or three digits, so merging moves
///   no count across a bound.
pub(super) fn bound_of(value: u64) -> u64 {
    if value < 8 {
        return value;
    }
    let quarter = value.ilog2() - 2;
    (((value >> quarter) + 1) << quarter) - 1
}

/// Each bucket that holds anything: its largest value, and how many values it holds.
///
/// * Cost: walks the histogram's own buckets as far as its largest value lies.
pub(super) fn sparse(histogram: &HdrHistogram<u64>) -> Vec<(u64, u64)> {
    let mut buckets: Vec<(u64, u64)> = Vec::new();
    for bucket in histogram.iter_recorded() {
        let bound = bound_of(bucket.value_iterated_to().min(QUANTILE_US_MAX));
        let count = bucket.count_at_value();
        match buckets.last_mut() {
            Some((last, total)) if *last == bound => *total = total.saturating_add(count),
            _ => buckets.push((bound, count)),
        }
    }
    debug_assert!(buckets.len() <= BUCKETS_MAX, "{}", buckets.len());
    buckets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_are_four_to_an_octave() {
        for (value, bound) in [
            (0, 0),
            (7, 7),
            (8, 9),
            (9, 9),
            (10, 11),
            (14, 15),
            (16, 19),
            (1_023, 1_023),
            (1_024, 1_279),
            (50_000, 57_343),
            (QUANTILE_US_MAX, 67_108_863),
        ] {
            assert_eq!(bound_of(value), bound, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_count_is_lost_or_moved(
            values in prop::collection::vec(0..=QUANTILE_US_MAX, 0..300),
            digits in 2..=3_u8,
        ) {
            let mut histogram = HdrHistogram::new_with_max(QUANTILE_US_MAX, digits).unwrap();
            values.iter().for_each(|value| histogram.record(*value).unwrap());
            let buckets = sparse(&histogram);
            prop_assert!(buckets.len() <= BUCKETS_MAX);
            prop_assert!(buckets.is_sorted_by(|a, b| a.0 < b.0), "{:?}", buckets);
            for (bound, count) in buckets {
                let expected = values.iter().filter(|value| bound_of(**value) == bound).count();
                prop_assert_eq!(count, expected as u64, "{}", bound);
            }
        }
    }

    #[test]
    fn all_that_can_be_counted_fits() {
        let next = |bound: &u64| Some(bound_of(bound + 1));
        let bounds = std::iter::successors(Some(0), next);
        let count = 1 + bounds.take_while(|bound| *bound < QUANTILE_US_MAX).count();
        assert_eq!(count, BUCKETS_MAX, "and no more than there are");
    }
}
