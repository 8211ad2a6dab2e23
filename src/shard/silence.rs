//! How often the cores are to be woken from outside: often while they have something to do for
//! somebody, seldom while nobody says anything.
//!
//! * What a core does without a word from any client is its upkeep, which may be late by a long
//!   pulse. What it does for a client of another core follows a word to that one: so pulses are
//!   long only while all cores are quiet.
//! * A core that opens its shards, or drains, is not quiet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::server::SWEEP_US;

/// Sweeps without a word from any client after which a core is quiet: a second.
const QUIET_SWEEPS: u32 = 20;
/// How often cores are woken while somebody wants something of them, or may.
const PULSE: Duration = Duration::from_millis(5);
/// The same while all are quiet: as often as each looks around by itself.
const QUIET_PULSE: Duration = Duration::from_micros(SWEEP_US);

/// How long to wait until the cores, of which these are quiet, are woken again.
pub(super) fn pulse(quiet: &[AtomicBool]) -> Duration {
    let is_quiet = |quiet: &AtomicBool| quiet.load(Ordering::Relaxed);
    if quiet.iter().all(is_quiet) { QUIET_PULSE } else { PULSE }
}

/// For how long no client has said anything to a core.
#[derive(Debug, Default)]
pub(super) struct Silence {
    receives: u64,
    sweeps: u32,
}

impl Silence {
    /// Looks again, at a sweep, when so much was received in all; whether the core is quiet.
    pub(super) fn goes_on(&mut self, receives: u64) -> bool {
        let is_same = receives == self.receives;
        self.receives = receives;
        self.sweeps = if is_same { self.sweeps.saturating_add(1) } else { 0 };
        self.sweeps >= QUIET_SWEEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulses_are_long_after_a_second_of_silence_on_all_cores() {
        let cores = [AtomicBool::new(false), AtomicBool::new(true)];
        let mut silence = Silence::default();
        let mut sweep = |receives| {
            cores[0].store(silence.goes_on(receives), Ordering::Relaxed);
            pulse(&cores)
        };
        assert_eq!(sweep(7), PULSE, "something was said");
        for _ in 1..QUIET_SWEEPS {
            assert_eq!(sweep(7), PULSE, "a moment ago");
        }
        assert_eq!(sweep(7), QUIET_PULSE);
        assert_eq!(sweep(7), QUIET_PULSE);
        assert_eq!(sweep(8), PULSE, "again");
        cores[0].store(true, Ordering::Relaxed);
        cores[1].store(false, Ordering::Relaxed);
        assert_eq!(pulse(&cores), PULSE, "the other one is not");
    }
}
