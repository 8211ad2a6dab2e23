//! Every power cut in a small history: at each state that the disk passes through, what no sync
//! covers is kept in every way, and each result is lived on.
//!
//! * The history: some appends, alone and together, a checkpoint, and a turn of segments.
//! * Of what is open at a moment (sectors that make a difference, and changes of names) all subsets
//!   are tried while they are few; else all prefixes, each part alone, all but each, every subset
//!   of whole writes, and some drawn ones. How many of each is printed.
//! * Who lives on appends a batch as long as the one that may be torn, at the same place, and goes
//!   on in the next segment: whatever a start leaves behind the log's end would come up then.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::act::Attempt;
use super::life::open;
use super::plan::{Batch, Op, Step, Upkeep};
use super::{Dice, NAMES, Run, variable};
use crate::io::Clock;
use crate::io::sim::{SimIo, SimRuntime};
use crate::log::segment::LogFacts;

/// Parts of which all subsets are tried, when nobody says how many.
const SUBSETS_OF: u64 = 6;
/// Drawn subsets of more parts than that.
const DRAWN: usize = 6;
/// Length of the batches that share a group and have a frame each, in bytes.
const LONG_BYTES: usize = 9_000;

/// How many crashes were tried, and how.
#[derive(Debug, Default)]
struct Tried {
    states: u64,
    whole_sets: u64,
    partly: u64,
    images: u64,
    parts_max: usize,
}

/// A run with the streams "a" and "b" on small segments.
fn begin(seed: u64) -> Run {
    let mut run = Run::new(seed);
    run.config.log = LogFacts { segment_bytes: 64 * 1024, ..run.config.log };
    run.config.checkpoint_bytes = 1 << 30;
    run.begin();
    let io = run.io.clone();
    let runtime = SimRuntime::new(&io);
    runtime.block_on(async {
        let shard = open(&runtime, &io, run.config).await;
        let create = |name| Op::Create { name, age_secs: None, standard: false, empty_secs: 0 };
        let step = Step { ops: vec![(create("a"), None), (create("b"), None)] };
        run.step(&runtime, &shard, step, None, None).await;
    });
    drop(runtime);
    run.io = io.kill(seed);
    run
}

/// What happens, step by step.
fn history(run: &mut Run) -> Vec<Vec<Op>> {
    let append = |name, batch: Rc<Batch>| Op::Append { name, batch };
    let mut batch = |count, bytes| run.planner.exactly(count, bytes);
    vec![
        vec![append("a", batch(1, 100))],
        vec![append("a", batch(2, 60)), append("b", batch(1, 60))],
        vec![append("a", batch(1, LONG_BYTES)), append("a", batch(1, LONG_BYTES))],
        vec![Op::Upkeep(Upkeep::Checkpoint)],
        vec![append("b", batch(1, 700))],
        vec![append("a", batch(1, 16_000))],
        vec![append("a", batch(1, 90)), append("b", batch(3, 40))],
    ]
}

/// Lives through the history, at most until `cut_us`; what came of it is what is left.
fn live(run: &mut Run, steps: &[Vec<Op>], cut_us: u64) {
    let io = run.io.clone();
    let runtime = SimRuntime::new(&io);
    let left: Vec<Attempt> = runtime.block_on(async {
        let opening = std::pin::pin!(open(&runtime, &io, run.config));
        let cut = std::pin::pin!(io.sleep_us(cut_us));
        let futures_util::future::Either::Left((shard, _)) =
            futures_util::future::select(opening, cut).await
        else {
            return Vec::new();
        };
        let mut left = Vec::new();
        for step in steps {
            let step = Step { ops: step.iter().map(|op| (op.clone(), None)).collect() };
            let rest_us = cut_us.saturating_sub(io.now_us());
            let (attempts, is_cut) = run.attempt(&runtime, &shard, step, Some(rest_us), None).await;
            left.extend(attempts);
            if is_cut {
                break;
            }
        }
        left
    });
    drop(runtime);
    run.left = left;
    run.io = io;
}

/// Starts again on what a crash left, checks it, and lives on into the next segment.
fn live_on(run: &mut Run) {
    let io = run.io.clone();
    let runtime = SimRuntime::new(&io);
    runtime.block_on(async {
        let shard = open(&runtime, &io, run.config).await;
        let left = std::mem::take(&mut run.left);
        run.learn(&shard, &left, &NAMES).await;
        let same = run.planner.exactly(1, LONG_BYTES);
        let append = |batch| Step { ops: vec![(Op::Append { name: "a", batch }, None)] };
        // One right after the other, so that no marker comes between.
        let (mut done, _) = run.attempt(&runtime, &shard, append(same), None, None).await;
        // Too long for what is left of the segment, if one batch can be.
        let room_bytes = shard.segments.active().room_bytes();
        let rest = run.planner.exactly(1, room_bytes.clamp(4096, 48 * 1024));
        done.extend(run.attempt(&runtime, &shard, append(rest), None, None).await.0);
        run.learn(&shard, &done, &NAMES).await;
    });
    drop(runtime);
    run.io = io;
}

/// Which parts are kept: each of the sets of indexes below `count` that are tried.
fn subsets(writes: &[u64], names: usize, dice: &mut Dice, tried: &mut Tried) -> Vec<Vec<bool>> {
    let count = writes.len() + names;
    tried.parts_max = tried.parts_max.max(count);
    let all_of = variable("THALWEG_SUBSETS").unwrap_or(SUBSETS_OF).min(16);
    if count as u64 <= all_of {
        tried.whole_sets += 1;
        let kept = |set: u32| (0..count).map(|part| set >> part & 1 == 1).collect();
        return (0..1_u32 << count).map(kept).collect();
    }
    tried.partly += 1;
    let mut sets = BTreeSet::new();
    let mut add = |keep: &dyn Fn(usize) -> bool| {
        sets.insert((0..count).map(keep).collect::<Vec<bool>>());
    };
    for end in 0..=count {
        add(&|part| part < end);
        add(&|part| part == end);
        add(&|part| part != end);
    }
    let numbers: BTreeSet<u64> = writes.iter().copied().collect();
    let numbers: Vec<u64> = numbers.into_iter().collect();
    for set in 0..1_u32 << numbers.len().min(5) {
        let kept = |number: &u64| {
            let at = numbers.iter().position(|n| n == number).unwrap_or(0);
            at >= 5 || set >> at & 1 == 1
        };
        add(&|part| writes.get(part).is_none_or(kept));
    }
    for _ in 0..DRAWN {
        let draws: Vec<bool> = (0..count).map(|_| dice.coin()).collect();
        add(&|part| draws[part]);
    }
    sets.into_iter().collect()
}

/// Tries every crash of one history.
fn try_all(seed: u64, tried: &mut Tried) {
    let mut run = begin(seed);
    let steps = history(&mut run);
    let mut whole = run.fork(run.io.kill(seed));
    live(&mut whole, &steps, u64::MAX);
    let times: BTreeSet<u64> = whole.io.trace().iter().map(|event| event.at_us).collect();
    // Of the moments at which the disk is the same, the last one: most is acknowledged then.
    let mut states: BTreeMap<u64, u64> = BTreeMap::new();
    for cut_us in times {
        let mut cut = run.fork(run.io.kill(seed));
        live(&mut cut, &steps, cut_us);
        states.insert(cut.io.fingerprint(), cut_us);
    }
    let mut dice = Dice::new(seed, "subsets");
    for cut_us in states.into_values() {
        tried.states += 1;
        let mut cut = run.fork(run.io.kill(seed));
        live(&mut cut, &steps, cut_us);
        let (writes, names) = cut.io.open_questions();
        for kept in subsets(&writes, names, &mut dice, tried) {
            tried.images += 1;
            let image: SimIo = cut.io.crash_choosing(
                seed,
                |sector| kept[sector],
                |name| kept[writes.len() + name],
            );
            let mut next = cut.fork(image);
            next.tale.lines.push(format!("cut at {cut_us} us, keeps {kept:?} of {writes:?}"));
            live_on(&mut next);
        }
    }
}

#[test]
fn every_crash_of_a_small_history_is_lived_on() {
    let mut tried = Tried::default();
    // With the first of these a torn group leaves a whole frame behind, which a start must take
    // away; with the other a life begins with a spare segment that is not durable yet.
    let seeds = variable("THALWEG_SEED").map_or(vec![2, 4], |seed| vec![seed]);
    seeds.into_iter().for_each(|seed| try_all(seed, &mut tried));
    println!("small history: {tried:?}");
    assert!(tried.states > 15 && tried.whole_sets > 8 && tried.partly > 3, "{tried:?}");
}
