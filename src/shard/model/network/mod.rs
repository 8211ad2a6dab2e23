//! A whole shard with its connections and sessions, on a simulated disk, clock, scheduler and
//! network.
//!
//! A run is decided by its seed: several lives of one core's process. In each, clients come and
//! append, read and follow over connections of their own, all at once, and some of them go wrong:
//! they are cut off in the middle of a frame, vanish, stop reading, send what is no frame. A life
//! ends in order, in the death of the process or in a power cut, with clients in the middle of
//! everything, or its disk fails and it serves on as well as it can. At the start of the next one
//! every stream is read whole.
//!
//! * `line` is a client's end of a connection, `words` spells and reads what goes over it by hand;
//! * `visit` is a client and its manner, `unary`, `session` and `follow` what it does;
//! * `ledger` is the judge: it knows what was offered, told and seen, and nothing of the code;
//! * `life` is the server's process, `scenes` plays single scenes that a run seldom comes to.
//!
//! `THALWEG_CASES` says how many seeds are tried, `THALWEG_SEED` repeats one, and `THALWEG_LINES`
//! says how many lines of its tale are told when it fails.

mod follow;
mod ledger;
mod life;
mod line;
mod scenes;
mod session;
mod unary;
mod visit;
mod words;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::io::sim::{SimIo, Stream as Dice};

use super::{one_in, variable};
use ledger::Ledger;
use visit::Manner;

/// The streams that clients use.
const STREAMS: [&str; 3] = ["a", "b", "c"];
/// Longest that a reader takes for everything that there is, in microseconds.
const FOLLOW_US_MAX: u64 = 200_000_000;
/// Seeds tried when nobody says how many.
const CASES: u64 = 24;

/// What a run came to see, so that it is noticed when it no longer does.
#[derive(Debug, Default, Clone)]
struct Reached {
    acked: u64,
    refused: u64,
    unanswered_kept: u64,
    unanswered_lost: u64,
    records_read: u64,
    sessions_ended_well: u64,
    sessions_refused: u64,
    frames_refused: u64,
    reads_ended: u64,
    reads_caught_up: u64,
    manners: BTreeMap<Manner, u64>,
    lives_closed: u64,
    lives_killed: u64,
    power_cuts: u64,
    connections_freed: u64,
    disks_failed: u64,
}

impl Reached {
    fn count(&mut self, manner: Manner) {
        *self.manners.entry(manner).or_default() += 1;
    }

    fn numbers(&mut self) -> [&mut u64; 15] {
        [
            &mut self.acked,
            &mut self.refused,
            &mut self.unanswered_kept,
            &mut self.unanswered_lost,
            &mut self.records_read,
            &mut self.sessions_ended_well,
            &mut self.sessions_refused,
            &mut self.frames_refused,
            &mut self.reads_ended,
            &mut self.reads_caught_up,
            &mut self.lives_closed,
            &mut self.lives_killed,
            &mut self.power_cuts,
            &mut self.connections_freed,
            &mut self.disks_failed,
        ]
    }

    fn add(&mut self, mut other: Self) {
        for (sum, more) in self.numbers().into_iter().zip(other.numbers()) {
            *sum += *more;
        }
        for (manner, count) in other.manners {
            *self.manners.entry(manner).or_default() += count;
        }
    }

    fn check(mut self) {
        use Manner::{Cut, Garbage, HalfClose, ShortFrame, Stall, Vanish};
        let never = self.numbers().iter().any(|number| **number == 0);
        assert!(!never, "too tame: {self:?}");
        for manner in [Cut, HalfClose, Vanish, Stall, ShortFrame, Garbage] {
            assert!(self.manners.contains_key(&manner), "{manner:?} never happened");
        }
    }
}

/// A run: what is on the disk, and what the ledger says of it.
struct Run {
    seed: u64,
    io: SimIo,
    dice: Dice,
    ledger: Rc<RefCell<Ledger>>,
    /// The events of all lives but the last.
    events: usize,
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown = usize::try_from(variable("THALWEG_LINES").unwrap_or(40));
            // The ledger may have been borrowed by who panics.
            if let (Ok(ledger), Ok(shown)) = (self.ledger.try_borrow(), shown) {
                let last = ledger.lines.len().saturating_sub(shown);
                let lines = ledger.lines[last..].join("\n");
                eprintln!("the last of {} lines:\n{lines}", ledger.lines.len());
            }
            let seed = self.seed;
            eprintln!("repeat: THALWEG_SEED={seed} cargo test --lib shard::model::network");
        }
    }
}

/// Lives through one seed.
fn run(seed: u64) -> Run {
    let dice = Dice::new(seed, "network model");
    let io = SimIo::new(seed);
    let mut run = Run { seed, io, dice, ledger: Rc::default(), events: 0 };
    run.begin();
    for _ in 0..2 + run.dice.below(3) {
        run.live();
    }
    run.read_back();
    run
}

#[test]
fn clients_get_what_they_were_told_whatever_happens_to_their_connections() {
    if let Some(seed) = variable("THALWEG_SEED") {
        run(seed);
        return;
    }
    let cases = variable("THALWEG_CASES").unwrap_or(CASES).max(CASES);
    let mut reached = Reached::default();
    for seed in 0..cases {
        let run = run(seed);
        let seen = run.ledger.borrow().reached.clone();
        reached.add(seen);
    }
    println!("{cases} seeds: {reached:?}");
    reached.check();
}

/// Otherwise a seed would say nothing.
#[test]
fn a_seed_decides_everything_on_the_network_too() {
    let seed = variable("THALWEG_SEED").unwrap_or(3);
    let (first, second) = (run(seed), run(seed));
    assert_eq!(first.ledger.borrow().lines, second.ledger.borrow().lines);
    assert_eq!(first.events, second.events);
    assert!(first.io.trace() == second.io.trace(), "two runs of one seed differ");
}
