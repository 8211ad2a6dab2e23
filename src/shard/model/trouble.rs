//! Trouble with disk and clock that a shard must survive: what is drawn, and what it excuses.
//!
//! * *Passing* trouble (slow and stuck operations, no room, a clock that is set back) ends with its
//!   step, and then everything must be as without it; only for want of room may things be refused.
//! * *Final* trouble (a failed or short write, a failed sync) may end what the log promises: then
//!   nothing is taken any more, nothing more is shown, and the next start decides.
//! * Each kind draws from a random stream of its own, so that one more kind shifts no other.

use std::io::ErrorKind;
use std::rc::Rc;

use super::act::{Attempt, Outcome};
use super::life::SETTLED_US;
use super::{Dice, one_in};
use crate::io::sim::{Faults, SimIo, SimRuntime};
use crate::io::{Clock, Disk};
use crate::shard::testkit::Shard;
use crate::types::Refusal;

/// How long a full disk, or a stuck operation, keeps a shard busy at most, in microseconds.
const TROUBLE_US_MAX: u64 = 8_000_000;
/// How long it takes after trouble until all is as usual: on a full disk room is looked for each
/// second, in microseconds.
const RECOVERY_US: u64 = 1_300_000;
/// How long an append waits to be admitted before it is refused, in microseconds.
const EXPRESS_WAIT_US: u64 = 50_000;

/// One piece of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// One operation in six takes up to so long more, in microseconds.
    Slow { us_max: u64 },
    /// The n-th operation takes so long more, in microseconds.
    Stuck { nth: u64, us: u64 },
    /// No file grows and none is made for so long, in microseconds.
    NoSpace { us: u64 },
    /// After so long, the wall clock is set back so far, in microseconds.
    ClockBack { after_us: u64, us: u64 },
    /// The n-th write fails.
    FailedWrite { nth: u64 },
    /// The n-th write is written in part and fails.
    ShortWrite { nth: u64 },
    /// The n-th sync fails.
    FailedSync { nth: u64 },
}

impl Trouble {
    /// Whether the log may fail of it.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::FailedWrite { .. } | Self::ShortWrite { .. } | Self::FailedSync { .. })
    }

    /// How far the wall clock may go back meanwhile, in milliseconds.
    pub(super) fn back_ms(self) -> u64 {
        if let Self::ClockBack { us, .. } = self { us.div_ceil(1000) } else { 0 }
    }

    /// Begins it on a disk, as far as it is the disk's.
    pub(super) fn begin_on(self, io: &SimIo) {
        let faults = io.faults();
        io.set_faults(match self {
            Self::Slow { us_max } => Faults { slow: Some((6, us_max)), ..faults },
            Self::Stuck { nth, us } => Faults { stick: Some((nth, us)), ..faults },
            Self::NoSpace { .. } => {
                let files = io.list().expect("lists");
                let capacity_bytes = files.iter().map(|(_, len_bytes)| len_bytes).sum();
                Faults { capacity_bytes, ..faults }
            }
            Self::ClockBack { .. } => faults,
            Self::FailedWrite { nth } => {
                Faults { fail_write: Some((nth, ErrorKind::Other)), ..faults }
            }
            Self::ShortWrite { nth } => Faults { short_write: Some(nth), ..faults },
            Self::FailedSync { nth } => Faults { fail_sync: Some(nth), ..faults },
        });
    }

    /// Begins it, for a shard that runs.
    pub(super) fn begin(self, runtime: &SimRuntime, shard: &Shard) {
        self.begin_on(&shard.io);
        let io = Rc::clone(&shard.io);
        match self {
            Self::NoSpace { us } => drop(runtime.spawn(async move {
                io.sleep_us(us).await;
                io.set_faults(Faults { capacity_bytes: u64::MAX, ..io.faults() });
            })),
            Self::ClockBack { after_us, us } => drop(runtime.spawn(async move {
                io.sleep_us(after_us).await;
                io.set_wall_back(us);
            })),
            _ => {}
        }
    }

    /// Ends it, and waits until all is as usual.
    pub(super) async fn end(self, shard: &Shard) {
        match self {
            Self::Stuck { us, .. } => {
                // What the shard does by itself may have got stuck last of all, and nothing more
                // is to.
                shard.io.set_faults(Faults::default());
                shard.io.sleep_us(us).await;
            }
            Self::ClockBack { after_us, .. } => shard.io.sleep_us(after_us + 1).await,
            Self::NoSpace { us } => shard.io.sleep_us(us).await,
            _ => {}
        }
        shard.io.set_faults(Faults::default());
        // Of final trouble, what is under way may still fail: it is seen whether the log has.
        shard.io.sleep_us(if self.is_final() { SETTLED_US } else { RECOVERY_US }).await;
    }
}

/// Draws trouble.
pub(super) struct Troubles {
    slow: Dice,
    stuck: Dice,
    no_space: Dice,
    clock: Dice,
    failed_write: Dice,
    short_write: Dice,
    failed_sync: Dice,
}

impl Troubles {
    pub(super) fn new(seed: u64) -> Self {
        let dice = |purpose| Dice::new(seed, purpose);
        Self {
            slow: dice("trouble: slow"),
            stuck: dice("trouble: stuck"),
            no_space: dice("trouble: no space"),
            clock: dice("trouble: clock"),
            failed_write: dice("trouble: failed write"),
            short_write: dice("trouble: short write"),
            failed_sync: dice("trouble: failed sync"),
        }
    }

    /// For a step after which life goes on.
    pub(super) fn passing(&mut self) -> Option<Trouble> {
        if one_in(&mut self.slow, 12) {
            return Some(Trouble::Slow { us_max: 1 + self.slow.below(40_000) });
        }
        if one_in(&mut self.stuck, 24) {
            let (nth, us) = (self.stuck.below(8), self.stuck.below(TROUBLE_US_MAX));
            return Some(Trouble::Stuck { nth, us });
        }
        if one_in(&mut self.no_space, 12) {
            return Some(Trouble::NoSpace { us: self.no_space.below(TROUBLE_US_MAX) });
        }
        if one_in(&mut self.clock, 16) {
            let (after_us, us) = (self.clock.below(2_000), self.clock.below(5_000_000));
            return Some(Trouble::ClockBack { after_us, us });
        }
        None
    }

    /// For the step in which a life ends.
    pub(super) fn last(&mut self) -> Option<Trouble> {
        let last = self.of_writes(5, 12);
        last.or_else(|| self.passing().filter(|trouble| trouble.back_ms() == 0))
    }

    /// For a start that fails or is interrupted.
    pub(super) fn opening(&mut self) -> Option<Trouble> {
        self.of_writes(3, 4)
    }

    fn of_writes(&mut self, bound: u64, nth_max: u64) -> Option<Trouble> {
        if one_in(&mut self.failed_write, bound) {
            return Some(Trouble::FailedWrite { nth: self.failed_write.below(nth_max) });
        }
        if one_in(&mut self.short_write, bound) {
            return Some(Trouble::ShortWrite { nth: self.short_write.below(nth_max) });
        }
        if one_in(&mut self.failed_sync, bound) {
            return Some(Trouble::FailedSync { nth: self.failed_sync.below(nth_max) });
        }
        None
    }

    /// How far the wall clock is back when the next life begins, in microseconds.
    pub(super) fn clock_between_lives(&mut self) -> Option<u64> {
        one_in(&mut self.clock, 6).then(|| self.clock.below(5_000_000))
    }
}

/// Sees whether trouble excuses how an operation ended, and has it count as unanswered where it
/// may have happened all the same; returns 1 when it was refused for want of room.
pub(super) fn excuse(attempt: &mut Attempt, trouble: Option<Trouble>, shard: &Shard) -> u64 {
    match &attempt.outcome {
        Outcome::Refused(Refusal::HotServer(_)) => {
            let no_space = matches!(trouble, Some(Trouble::NoSpace { .. }));
            assert!(no_space, "there is room: {attempt:?}");
            1
        }
        Outcome::Refused(Refusal::RateLimited { .. }) => {
            // Its wait is over, or the disk is known to be slow; what stuck before may still be.
            let is_slow = matches!(trouble, Some(Trouble::Slow { .. } | Trouble::Stuck { .. }));
            let waited_us = attempt.to_us.map_or(0, |to_us| to_us - attempt.began_us);
            assert!(is_slow || waited_us >= EXPRESS_WAIT_US, "it need not wait: {attempt:?}");
            0
        }
        Outcome::Refused(Refusal::Storage(reason)) => {
            // A read is refused only where the stream never became durable, or may be about to go.
            let has_failed = shard.durable.failure().is_some_and(|failure| *failure == **reason);
            let excused = trouble.is_some_and(Trouble::is_final) && has_failed;
            assert!(excused, "nothing is wrong with the disk: {attempt:?}");
            attempt.outcome = Outcome::Unknown;
            0
        }
        Outcome::Unfinished(_) => {
            let excused = trouble.is_some_and(|trouble| {
                trouble.is_final() || matches!(trouble, Trouble::NoSpace { .. })
            });
            assert!(excused, "nothing is wrong with the disk: {attempt:?}");
            0
        }
        _ => 0,
    }
}
