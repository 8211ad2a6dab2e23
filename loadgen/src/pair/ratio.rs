//! Ratios of paired measurements with a confidence interval.
//!
//! A ratio is taken within each round, so that what the machine did meanwhile hits both sides, and
//! its logarithm is averaged: a half and a double then cancel out. The interval is Student's t for
//! the mean of these logarithms, taken back to ratios. It supposes that the logarithms scatter
//! about evenly around their mean, and says nothing about what changes only between calls.

use serde::Serialize;

/// Fewer rounds give no interval worth showing.
pub(super) const ROUNDS_MIN: usize = 5;

/// A ratio and the interval in which it lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Ratio {
    /// Geometric mean over the rounds.
    pub(super) ratio: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Rounds with a figure of both sides.
    pub(super) rounds: usize,
}

impl Ratio {
    /// The second over the first of each pair; `None` with fewer than [`ROUNDS_MIN`] pairs of
    /// positive numbers.
    pub(super) fn of(pairs: &[(f64, f64)], confidence: f64) -> Option<Self> {
        let is_positive = |value: f64| value.is_finite() && value > 0.0;
        let logs: Vec<f64> = pairs
            .iter()
            .filter(|(a, b)| is_positive(*a) && is_positive(*b))
            .map(|(a, b)| (b / a).ln())
            .collect();
        let rounds = logs.len();
        if rounds < ROUNDS_MIN {
            return None;
        }
        let count = rounds as f64;
        let mean = logs.iter().sum::<f64>() / count;
        let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let half = t_quantile(rounds - 1, confidence) * (variance / count).sqrt();
        Some(Self {
            ratio: mean.exp(),
            low: (mean - half).exp(),
            high: (mean + half).exp(),
            rounds,
        })
    }

    /// True when no difference is shown.
    pub(super) fn contains_one(self) -> bool {
        self.low <= 1.0 && 1.0 <= self.high
    }
}

/// The number beyond which Student's t with `degrees` of freedom lies with probability
/// 1 - `confidence`, both sides together.
///
/// With t = √ν tan θ the density becomes cos^(ν-1) θ, which is integrated by Simpson's rule; the
/// place that has the wanted share below it is found by bisection.
fn t_quantile(degrees: usize, confidence: f64) -> f64 {
    let power = i32::try_from(degrees).unwrap_or(i32::MAX) - 1;
    let below = |theta: f64| {
        const PIECES: u32 = 1_000;
        let step = theta / f64::from(2 * PIECES);
        let at = |index: u32| (f64::from(index) * step).cos().powi(power);
        let pieces = (0..PIECES).map(|n| at(2 * n) + 4.0 * at(2 * n + 1) + at(2 * n + 2));
        pieces.sum::<f64>() * step / 3.0
    };
    let right_angle = std::f64::consts::FRAC_PI_2;
    let wanted = confidence * below(right_angle);
    let (mut low, mut high) = (0.0, right_angle);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if below(middle) < wanted { low = middle } else { high = middle }
    }
    (degrees as f64).sqrt() * low.tan()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_t_are_those_of_the_tables() {
        for (degrees, confidence, expected) in [
            (1, 0.95, 12.706),
            (4, 0.95, 2.776),
            (4, 0.999, 8.610),
            (9, 0.95, 2.262),
            (9, 0.99, 3.250),
            (29, 0.95, 2.045),
            (999, 0.95, 1.962),
        ] {
            let found = t_quantile(degrees, confidence);
            assert!((found - expected).abs() < 1e-3, "{degrees} {confidence}: {found}");
        }
    }

    #[test]
    fn a_ratio_is_within_rounds_and_an_interval_is_around_it() {
        // The machine gets slower; the second is always a tenth above the first.
        let drifting = (1..=6).map(|n| (1_000.0 / f64::from(n), 1_100.0 / f64::from(n)));
        let ratio = Ratio::of(&drifting.collect::<Vec<_>>(), 0.95).unwrap();
        assert!((ratio.ratio - 1.1).abs() < 1e-9 && ratio.high - ratio.low < 1e-6, "{ratio:?}");
        assert!(!ratio.contains_one());
        // A half and a double cancel out.
        let even = [(1.0, 2.0), (2.0, 1.0), (1.0, 2.0), (2.0, 1.0), (3.0, 3.0)];
        let ratio = Ratio::of(&even, 0.95).unwrap();
        assert!((ratio.ratio - 1.0).abs() < 1e-9 && ratio.contains_one(), "{ratio:?}");
        // mean 0.1, standard deviation 0.1 of five logarithms: 0.1 +- 2.776 * 0.1 / sqrt(5).
        let logs = [0.0, 0.1, 0.2, 0.1 - 0.1, 0.1 + 0.1];
        let pairs: Vec<_> = logs.iter().map(|log: &f64| (1.0, log.exp())).collect();
        let ratio = Ratio::of(&pairs, 0.95).unwrap();
        assert!((ratio.low.ln() - (0.1 - 2.776 * 0.1 / 5_f64.sqrt())).abs() < 1e-4, "{ratio:?}");
        assert!((ratio.high.ln() - (0.1 + 2.776 * 0.1 / 5_f64.sqrt())).abs() < 1e-4, "{ratio:?}");
    }

    #[test]
    fn too_few_rounds_give_no_ratio() {
        let pair = (1.0, 1.0);
        assert_eq!(Ratio::of(&[pair; 4], 0.95), None);
        assert_eq!(Ratio::of(&[pair, pair, pair, pair, (0.0, 1.0)], 0.95), None);
        assert_eq!(Ratio::of(&[pair, pair, pair, pair, (1.0, f64::NAN)], 0.95), None);
        assert!(Ratio::of(&[pair; 5], 0.95).is_some_and(Ratio::contains_one));
    }

    /// Of intervals of 95 %, about one in twenty misses the truth: the sign that they are neither
    /// too wide nor too narrow. The noise is a fixed sequence, so the count is too.
    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let mut state = 7_u64;
        let mut uniform = || {
            // Knuth's multiplier; the high bits are good enough here.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        // A sum of twelve is close to normal with deviation 1.
        let mut noise = || (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
        let trials = 2_000;
        let holds = (0..trials)
            .filter(|_| {
                let pairs: Vec<_> =
                    (0..7).map(|_| ((0.1 * noise()).exp(), 1.5 * (0.1 * noise()).exp())).collect();
                let ratio = Ratio::of(&pairs, 0.95).unwrap();
                ratio.low <= 1.5 && 1.5 <= ratio.high
            })
            .count();
        let share = holds as f64 / f64::from(trials);
        assert!((0.93..=0.97).contains(&share), "{share}");
    }
}
