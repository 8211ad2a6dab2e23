//! Whatever a power cut takes: everything acknowledged is there, and of the rest a prefix.
//!
//! Each seed runs several generations of one directory: open, check, append in groups from
//! several tasks, crash at a random moment. `SIM_SEED` repeats one seed, `SIM_SEEDS` says how
//! many to try.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use thalweg::io::Clock;
use thalweg::io::sim::{Faults, SimIo, SimRuntime, Stream};
use thalweg::log::segment::LogFacts;

use crate::kit::{Appended, Life, open_as, records};

const FACTS: LogFacts = LogFacts { directory_id: 0xC4A5, shard: 0, segment_bytes: 2 << 20 };
const GENERATIONS: u64 = 6;

/// What a life told its clients, and how it ended.
struct Outcome {
    io: SimIo,
    appended: Vec<Appended>,
    acknowledged: usize,
    events: usize,
}

fn lengths(dice: &mut Stream) -> Vec<usize> {
    let count = 1 + dice.below(4);
    let mut one = || match dice.below(40) {
        0 => 200_000 + dice.index(40_000),
        1..5 => dice.index(60_000),
        _ => 1 + dice.index(2_000),
    };
    let mut lengths: Vec<usize> = (0..count).map(|_| one()).collect();
    if dice.below(60) == 0 {
        lengths = vec![1_000_000 + dice.index(40_000)];
    }
    lengths
}

/// One life: appends and flushes until the power goes, at a moment that the seed decides.
fn live_and_die(io: &SimIo, model: &[Appended], seed: u64) -> Outcome {
    let runtime = SimRuntime::new(io);
    io.set_faults(Faults { latency_us_max: 2_000, ..io.faults() });
    let life: Rc<Life<SimIo>> = runtime.block_on(async {
        let life = open_as(&Rc::new(io.clone()), FACTS).await;
        Rc::new(life.unwrap_or_else(|refusal| panic!("a power cut is no damage: {refusal}")))
    });
    let found = &life.found.batches;
    assert!(found == model, "found {} batches, expected {}", found.len(), model.len());

    let keeper = Rc::clone(&life);
    runtime.spawn(async move { keeper.segments.keep(&keeper.io).await.unwrap() });
    let acknowledged = Rc::new(Cell::new(0));
    let flusher = (Rc::clone(&life), Rc::clone(&acknowledged));
    runtime.spawn(async move {
        let (life, acknowledged) = flusher;
        loop {
            let flushed = life.flush().await.unwrap();
            acknowledged.set(usize::try_from(flushed.durable_ticket).unwrap());
        }
    });
    let dice = Rc::new(RefCell::new(Stream::new(seed, "appends")));
    for stream in 0..3 {
        let (life, dice) = (Rc::clone(&life), Rc::clone(&dice));
        runtime.spawn(async move {
            for _ in 0..100 {
                let (wait_us, records) = {
                    let mut dice = dice.borrow_mut();
                    // Now and then long enough for a marker.
                    let wait_us = if dice.below(8) == 0 { 20_000 } else { 2_000 };
                    let lengths = lengths(&mut dice);
                    (dice.below(wait_us), records(&mut dice, &lengths))
                };
                life.append(stream, records);
                life.io.sleep_us(wait_us).await;
            }
        });
    }
    let life_us = 1 + Stream::new(seed, "death").below(60_000);
    runtime.block_on(io.sleep_us(life_us));
    let dies = Stream::new(seed, "kind of death").below(4);
    let after = if dies == 0 { io.kill(seed) } else { io.crash(seed) };
    Outcome {
        io: after,
        appended: life.appended.take(),
        acknowledged: acknowledged.get(),
        events: io.trace().len(),
    }
}

/// What is found after a crash: the model, everything acknowledged, and a prefix of the rest.
fn check_survivors(model: &mut Vec<Appended>, outcome: &Outcome) -> usize {
    let io = Rc::new(outcome.io.clone());
    let found = {
        let mut found = crate::kit::Collected::default();
        SimRuntime::new(&io).block_on(async {
            // Only looks: the next life's opening mends.
            let segments = thalweg::log::recovery::find(&*io, FACTS).await.unwrap();
            let replayed = thalweg::log::recovery::replay(&*io, FACTS, &segments, &mut found).await;
            replayed.unwrap_or_else(|refusal| panic!("a power cut is no damage: {refusal}"));
        });
        found.batches
    };
    assert!(found.starts_with(model), "what earlier generations acknowledged");
    let survivors = &found[model.len()..];
    assert!(outcome.appended.starts_with(survivors), "a prefix, whole, in log order");
    assert!(
        survivors.len() >= outcome.acknowledged,
        "{} acknowledged, {} there",
        outcome.acknowledged,
        survivors.len()
    );
    let unacknowledged = survivors.len() - outcome.acknowledged;
    *model = found;
    unacknowledged
}

/// Counts of what happened, to show that the interesting things did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    acknowledged: usize,
    lost: usize,
    survived_unacknowledged: usize,
    events: usize,
}

fn run_seed(seed: u64) -> Tally {
    let mut io = SimIo::new(seed);
    let mut model = Vec::new();
    let mut tally = Tally::default();
    for generation in 0..GENERATIONS {
        let outcome = live_and_die(&io, &model, seed * 1_000 + generation);
        let survived = check_survivors(&mut model, &outcome);
        tally.acknowledged += outcome.acknowledged;
        tally.survived_unacknowledged += survived;
        tally.lost += outcome.appended.len() - outcome.acknowledged - survived;
        tally.events += outcome.events;
        io = outcome.io;
    }
    tally
}

/// Prints how to repeat a seed when its run panics.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SIM_SEED={} cargo test --test log crash::", self.0);
        }
    }
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn no_power_cut_takes_what_was_acknowledged() {
    if let Some(seed) = number_of("SIM_SEED") {
        let _repeat = Repeat(seed);
        eprintln!("seed {seed}: {:?}", run_seed(seed));
        return;
    }
    let mut sum = Tally::default();
    for seed in 0..number_of("SIM_SEEDS").unwrap_or(40) {
        let _repeat = Repeat(seed);
        let tally = run_seed(seed);
        sum.acknowledged += tally.acknowledged;
        sum.lost += tally.lost;
        sum.survived_unacknowledged += tally.survived_unacknowledged;
    }
    assert!(sum.acknowledged > 1_000 && sum.lost > 50, "{sum:?}");
    assert!(sum.survived_unacknowledged > 10, "{sum:?}");
}

#[test]
fn one_seed_is_one_history() {
    for seed in [3, 11] {
        assert_eq!(run_seed(seed), run_seed(seed), "seed {seed}");
    }
}

/// What a start has found may be shown to readers, also where the process before had died between
/// a write and its sync: no power cut takes it any more.
#[test]
fn no_power_cut_takes_what_a_start_has_found() {
    let mut unsynced = 0;
    for seed in 0..number_of("SIM_SEEDS").unwrap_or(40) {
        let _repeat = Repeat(seed);
        let Outcome { io, .. } = live_and_die(&SimIo::new(seed), &[], seed);
        unsynced += usize::from(io.unsynced_sectors() > 0);
        let opened = SimRuntime::new(&io).block_on(open_as(&Rc::new(io.clone()), FACTS));
        let found = opened.unwrap_or_else(|refusal| panic!("no damage: {refusal}")).found.batches;
        let after = io.crash(seed);
        let opened = SimRuntime::new(&after).block_on(open_as(&Rc::new(after.clone()), FACTS));
        let left = opened.unwrap_or_else(|refusal| panic!("no damage: {refusal}")).found.batches;
        assert!(left == found, "{} of {} batches are left", left.len(), found.len());
    }
    assert!(unsynced > 0, "no life ended between a write and its sync");
}
