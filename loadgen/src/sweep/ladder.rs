//! What the rungs of a ladder say, and where the knee is. No runs and no files.

use serde::{Deserialize, Serialize};

use crate::child::Figures;

/// Smallest share of what was offered that must be acknowledged.
pub(super) const ACHIEVED_MIN: f64 = 0.95;

/// Everything that the report is made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sweep {
    /// What the caller says about it: commit, date.
    pub(super) label: String,
    pub(super) machine: String,
    pub(super) command: String,
    /// Options that all runs share.
    pub(super) load: String,
    pub(super) p99_max_us: f64,
    pub(super) duration_s: f64,
    pub(super) warmup_s: f64,
    /// By rate.
    pub(super) steps: Vec<Step>,
}

/// One rung.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) offered_per_s: f64,
    /// Runs it took to hold, or that all failed; the figures are the last one's.
    pub(super) tries: u32,
    pub(super) figures: Figures,
}

/// How a rung went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server followed.
    Holds,
    /// Less was acknowledged than [`ACHIEVED_MIN`] of what was offered.
    Behind,
    /// p99 was beyond the bound.
    Late,
    /// The load generator was too slow for its own figures: nothing is known of the server.
    Withheld,
}

impl Verdict {
    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Behind => "behind: less than 95 % was acknowledged",
            Self::Late => "late: p99 is beyond the bound",
            Self::Withheld => "withheld: the load generator was too slow",
        }
    }
}

impl Step {
    /// How it went, with this bound for p99.
    pub(super) fn verdict(&self, p99_max_us: f64) -> Verdict {
        if self.figures.per_s < ACHIEVED_MIN * self.offered_per_s {
            return Verdict::Behind;
        }
        match self.figures.latency {
            None => Verdict::Withheld,
            Some(latency) if latency.p99_us > p99_max_us => Verdict::Late,
            Some(_) => Verdict::Holds,
        }
    }
}

/// Between which rates the server stops to follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Knee {
    /// Highest rate that held, of those below the lowest with which the server failed.
    pub(super) holds: Option<f64>,
    /// Lowest rate with which it failed, and why. Where it failed with none: the lowest beyond
    /// those that held of which nothing is known.
    pub(super) fails: Option<(f64, Verdict)>,
}

/// The knee of `steps`, which are sorted by rate.
pub(super) fn knee(steps: &[Step], p99_max_us: f64) -> Knee {
    let judged = || steps.iter().map(|step| (step.offered_per_s, step.verdict(p99_max_us)));
    let is_failure = |verdict: Verdict| matches!(verdict, Verdict::Behind | Verdict::Late);
    let below = judged().take_while(|(_, verdict)| !is_failure(*verdict));
    let holds = below.filter(|(_, verdict)| *verdict == Verdict::Holds).last();
    let holds = holds.map(|(rate, _)| rate);
    let beyond = judged().filter(|(rate, _)| holds.is_none_or(|holds| *rate > holds));
    let fails = judged().find(|(_, verdict)| is_failure(*verdict));
    Knee { holds, fails: fails.or_else(|| beyond.min_by(|a, b| a.0.total_cmp(&b.0))) }
}

/// A rung for tests.
#[cfg(test)]
pub(super) fn example(offered_per_s: f64, per_s: f64, p99_us: Option<f64>) -> Step {
    use crate::child::Latency;

    let latency = p99_us.map(|p99_us| Latency {
        p50_us: p99_us / 4.0,
        p90_us: p99_us / 2.0,
        p99_us,
        p99_9_us: p99_us * 2.0,
        max_us: p99_us * 3.0,
    });
    let figures = Figures {
        offered_per_s: Some(offered_per_s),
        per_s,
        mib_per_s: per_s / 1024.0,
        latency,
        ..Figures::default()
    };
    Step { offered_per_s, tries: 1, figures }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: f64 = 50_000.0;

    #[test]
    fn a_rung_fails_by_its_first_reason() {
        for (offered, per_s, p99_us, expected) in [
            (1_000.0, 1_000.0, Some(50_000.0), Verdict::Holds),
            (1_000.0, 950.0, Some(400.0), Verdict::Holds),
            (1_000.0, 949.0, Some(400.0), Verdict::Behind),
            (1_000.0, 949.0, None, Verdict::Behind),
            (1_000.0, 999.0, Some(50_001.0), Verdict::Late),
            (1_000.0, 999.0, None, Verdict::Withheld),
        ] {
            let step = example(offered, per_s, p99_us);
            assert_eq!(step.verdict(BOUND), expected, "{step:?}");
        }
    }

    #[test]
    fn the_knee_is_below_the_first_rate_that_fails() {
        let good = |rate| example(rate, rate, Some(300.0));
        let late = |rate| example(rate, rate, Some(90_000.0));
        let at = |steps: &[Step]| {
            let Knee { holds, fails } = knee(steps, BOUND);
            (holds, fails.map(|(rate, _)| rate))
        };
        assert_eq!(at(&[]), (None, None));
        assert_eq!(at(&[good(1.0), good(2.0)]), (Some(2.0), None));
        assert_eq!(at(&[late(1.0), good(2.0)]), (None, Some(1.0)));
        let steps = [good(1.0), good(2.0), late(3.0), good(4.0), late(5.0)];
        assert_eq!(at(&steps), (Some(2.0), Some(3.0)), "a later rate that held was luck");
        let unknown = |rate| example(rate, rate, None);
        let steps = [good(1.0), unknown(2.0), good(3.0), unknown(4.0), late(5.0)];
        assert_eq!(at(&steps), (Some(3.0), Some(5.0)), "nothing is known of 2 and 4");
        assert_eq!(at(&steps[..4]), (Some(3.0), Some(4.0)), "the server did not fail");
        assert_eq!(at(&[unknown(4.0)]), (None, Some(4.0)));
    }
}
