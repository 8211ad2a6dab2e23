//! When each append is meant to leave: pure arithmetic, fixed before the run starts.
//!
//! Append `k` of the whole run is due at `start + k / rate`; thread `t` of `T` issues the appends
//! with `k % T == t`. Nothing the server does can move a due time, so waiting is never forgotten.

use crate::clock::SECOND_NS;

/// The due times of one thread.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    start_ns: u64,
    gap_ns: f64,
    first: u64,
    step: u64,
    len: u64,
}

impl Schedule {
    /// The appends of thread `thread` of `threads` due in `start_ns..end_ns`.
    pub(crate) fn new(
        rate_per_second: f64,
        start_ns: u64,
        end_ns: u64,
        thread: u32,
        threads: u32,
    ) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a second is exact in f64")]
        let gap_ns = SECOND_NS as f64 / rate_per_second;
        let (first, step) = (u64::from(thread), u64::from(threads));
        let mut schedule = Self { start_ns, gap_ns, first, step, len: u64::MAX };
        schedule.len = schedule.first_at_or_after(end_ns);
        schedule
    }

    /// How many appends this thread issues.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The due time of this thread's `index`-th append.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "exact to the nanosecond for a hundred days, and never negative"
    )]
    pub(crate) fn due_ns(&self, index: u64) -> u64 {
        let k = self.first + index * self.step;
        self.start_ns.saturating_add((k as f64 * self.gap_ns) as u64)
    }

    /// Index of the first append due at `at_ns` or later, by bisection.
    fn first_at_or_after(&self, at_ns: u64) -> u64 {
        let (mut low, mut high) = (0, 1 << 40);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.due_ns(middle) < at_ns {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_are_evenly_spaced_and_end_before_the_end() {
        let schedule = Schedule::new(1_000.0, 500, 500 + SECOND_NS, 0, 1);
        assert_eq!(schedule.len(), 1_000);
        assert_eq!(schedule.due_ns(0), 500);
        assert_eq!(schedule.due_ns(999), 500 + 999_000_000);
    }

    #[test]
    fn threads_share_one_schedule_without_overlap() {
        for (rate, threads) in [(10.0, 3), (333.0, 2), (7.5, 4), (0.5, 3)] {
            let end_ns = 4 * SECOND_NS;
            let whole = Schedule::new(rate, 0, end_ns, 0, 1);
            let mut parts: Vec<u64> = (0..threads)
                .map(|thread| Schedule::new(rate, 0, end_ns, thread, threads))
                .flat_map(|part| (0..part.len()).map(move |i| part.due_ns(i)).collect::<Vec<_>>())
                .collect();
            parts.sort_unstable();
            let expected: Vec<u64> = (0..whole.len()).map(|i| whole.due_ns(i)).collect();
            assert_eq!(parts, expected, "rate {rate}, {threads} threads");
        }
    }

    #[test]
    fn an_empty_window_has_no_appends() {
        assert_eq!(Schedule::new(1_000.0, 10, 10, 0, 1).len(), 0);
        assert_eq!(Schedule::new(1.0, 0, SECOND_NS, 1, 2).len(), 0);
    }
}
