//! May this run's latency figures be shown? Decided from the generator's own lateness.
//!
//! In open loop the figures are refused when the generator, not the server, made them:
//!
//! 1. *late sends*: the time from "an append was due and a connection was free" to its send has a
//!    p99 above [`LATENESS_FLOOR_NS`] **and** above [`LATENESS_SHARE_MAX`] of the measured p99; or
//! 2. *late answers*: the same for a timer that each load thread sets itself every 10 ms. It shows
//!    how long an answer lay unread, also when no connection was free; or
//! 3. *saturation*: a load thread was on a core for more than [`BUSY_SHARE_MAX`] of the time. Then
//!    appends that found no free connection may have waited for the generator.
//!
//! A closed loop has no schedule to fall behind; its figures are labelled instead.

use hdrhistogram::Histogram;

use crate::stats::{CpuUse, Stats};

/// Lateness below this is never held against a run.
pub(crate) const LATENESS_FLOOR_NS: u64 = 1_000_000;
/// Largest share of the measured p99 that may be the generator's own.
pub(crate) const LATENESS_SHARE_MAX: f64 = 0.25;
/// Largest share of a core a load thread may use.
pub(crate) const BUSY_SHARE_MAX: f64 = 0.9;

/// The reasons to refuse the figures; empty when they may be shown.
pub(crate) fn objections(stats: &Stats, busiest: Option<CpuUse>) -> Vec<String> {
    let mut reasons = Vec::new();
    for (name, histogram) in [("sends", &stats.lateness), ("answers", &stats.probe)] {
        if is_late(histogram, &stats.latency, 0.99) {
            reasons.push(format!(
                "the generator handled {name} late by itself: its own p99 of {:.2} ms is above 1 ms \
                 and above 25 % of the measured p99 of {:.2} ms",
                ms(histogram, 0.99),
                ms(&stats.latency, 0.99),
            ));
        }
    }
    if let Some(busy) = busiest.map(CpuUse::busy_share).filter(|busy| *busy > BUSY_SHARE_MAX) {
        reasons.push(format!(
            "a load thread used {:.0} % of a core (limit 90 %): use more --threads or a lower --rate",
            busy * 100.0
        ));
    }
    reasons
}

/// The quantiles beyond p99 that the generator's own lateness may have made.
pub(crate) fn doubtful_quantiles(stats: &Stats) -> Vec<f64> {
    let is_doubtful = |q: &f64| {
        is_late(&stats.lateness, &stats.latency, *q) || is_late(&stats.probe, &stats.latency, *q)
    };
    [0.999, 0.9999, 1.0].into_iter().filter(is_doubtful).collect()
}

#[expect(clippy::cast_precision_loss, reason = "compared as a share")]
fn is_late(own: &Histogram<u64>, latency: &Histogram<u64>, quantile: f64) -> bool {
    let own_ns = own.value_at_quantile(quantile);
    let measured_ns = latency.value_at_quantile(quantile);
    own_ns > LATENESS_FLOOR_NS && own_ns as f64 > LATENESS_SHARE_MAX * measured_ns as f64
}

#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(latency_us: u64, lateness_us: u64, probe_us: u64) -> Stats {
        let mut stats = Stats::new();
        stats.latency.record_n(latency_us * 1_000, 1_000).unwrap();
        stats.lateness.record_n(lateness_us * 1_000, 1_000).unwrap();
        stats.probe.record_n(probe_us * 1_000, 1_000).unwrap();
        stats
    }

    fn busy(percent: u64) -> Option<CpuUse> {
        Some(CpuUse { run_ns: percent, wait_ns: 0, wall_ns: 100 })
    }

    #[test]
    fn figures_are_refused_only_when_floor_and_share_are_both_passed() {
        for (latency_us, lateness_us, probe_us, count) in [
            (100, 50, 50, 0),
            (100, 900, 900, 0),
            (100_000, 20_000, 20_000, 0),
            (4_000, 1_500, 10, 1),
            (4_000, 10, 1_500, 1),
            (4_000, 1_500, 1_500, 2),
        ] {
            let found = objections(&stats(latency_us, lateness_us, probe_us), busy(50));
            assert_eq!(found.len(), count, "{latency_us} {lateness_us} {probe_us}: {found:?}");
        }
    }

    #[test]
    fn a_saturated_thread_is_refused_and_an_unknown_one_is_not() {
        assert_eq!(objections(&stats(100, 10, 10), busy(95)).len(), 1);
        assert_eq!(objections(&stats(100, 10, 10), busy(90)).len(), 0);
        assert_eq!(objections(&stats(100, 10, 10), None).len(), 0);
    }

    #[test]
    fn a_rare_stall_of_the_generator_casts_doubt_on_the_tail_alone() {
        let mut stats = stats(4_000, 10, 10);
        stats.lateness.record(30_000_000).unwrap();
        assert_eq!(objections(&stats, None).len(), 0);
        assert_eq!(doubtful_quantiles(&stats), [0.9999, 1.0]);
    }
}
