//! The search against the definition: small random histories, and every order of every choice of
//! their operations. And large ones that were executed, so that an order is known to exist.
//!
//! `HISTORIES_SEED=7 cargo test --test brute_force` repeats one case.

use std::time::Duration;

use histories::check::{Bounds, Verdict, check};
use histories::event::{Append, Event, Finish, Line, Start, chain};
use histories::history::History;
use histories::model::State;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(20), memory_bytes: 256 << 20 };
const TOKENS: [&str; 2] = ["one", "two"];

/// The stream itself, written another way than the model: it keeps its records.
#[derive(Clone, Default)]
struct Stream {
    records: Vec<u64>,
    token: String,
}

impl Stream {
    fn append(&mut self, append: &Append) -> Option<u64> {
        let fenced = append.fencing_token.as_ref().is_some_and(|token| *token != self.token);
        let moved = append.match_seq_num.is_some_and(|tail| tail != self.tail());
        if fenced || moved {
            return None;
        }
        self.records.extend(&append.record_hashes);
        if let Some(token) = &append.set_fencing_token {
            self.token.clone_from(token);
        }
        Some(self.tail())
    }

    fn tail(&self) -> u64 {
        self.records.len() as u64
    }

    fn read(&self) -> Finish {
        let stream_hash = self.records.iter().fold(0, |hash, record| chain(hash, *record));
        Finish::ReadSuccess { tail: self.tail(), stream_hash }
    }
}

/// An operation on its way through an execution.
struct Running {
    client_id: u64,
    op_id: u64,
    asked: Start,
    answer: Option<Finish>,
}

/// Executes random operations of several clients: each takes effect at one moment between its begin
/// and its end, and then the answer of some appends is lost; of those, some never happen.
fn execute(rng: &mut StdRng, operations: u64, clients: u64, lost_percent: u32) -> Vec<Line> {
    let mut stream = Stream::default();
    let mut lines = Vec::new();
    let mut lost = Vec::new();
    let mut running: Vec<Running> = Vec::new();
    let mut next_op = 0;
    // Each lost answer makes a client a new one.
    let mut names: Vec<u64> = (0..clients).collect();
    while next_op < operations || !running.is_empty() {
        let idle: Vec<usize> = (0..names.len())
            .filter(|&at| running.iter().all(|running| running.client_id != names[at]))
            .collect();
        if next_op < operations && !idle.is_empty() && rng.random_bool(0.5) {
            let client_id = names[idle[rng.random_range(0..idle.len())]];
            let asked = ask(rng, &stream, next_op);
            let event = Event::Start(asked.clone());
            lines.push(Line { event, client_id, op_id: next_op });
            running.push(Running { client_id, op_id: next_op, asked, answer: None });
            next_op += 1;
        } else if !running.is_empty() {
            let at = rng.random_range(0..running.len());
            let is_append = matches!(running[at].asked, Start::Append(_));
            if is_append && rng.random_ratio(lost_percent, 100) {
                let Running { client_id, op_id, asked, answer } = running.swap_remove(at);
                if let (Start::Append(append), None, true) = (&asked, &answer, rng.random()) {
                    stream.append(append);
                }
                let event = Event::Finish(Finish::AppendIndefiniteFailure);
                lost.push(Line { event, client_id, op_id });
                let name = names.iter_mut().find(|name| **name == client_id);
                let name = name.expect("only clients run");
                *name = clients + op_id;
            } else if running[at].answer.is_none() {
                running[at].answer = Some(answer(&mut stream, &running[at].asked));
            } else {
                let Running { client_id, op_id, answer, .. } = running.swap_remove(at);
                let event = Event::Finish(answer.expect("it has taken effect"));
                lines.push(Line { event, client_id, op_id });
            }
        }
    }
    lines.extend(lost);
    lines
}

fn ask(rng: &mut StdRng, stream: &Stream, op_id: u64) -> Start {
    match rng.random_range(0..5) {
        0 => Start::Read,
        1 => Start::CheckTail,
        kind => {
            let num_records = rng.random_range(1..=2);
            let mut append = Append {
                num_records,
                record_hashes: (0..num_records).map(|part| op_id * 16 + part).collect(),
                set_fencing_token: None,
                fencing_token: None,
                match_seq_num: None,
            };
            let token = Some(TOKENS[rng.random_range(0..TOKENS.len())].to_owned());
            match kind {
                2 => {}
                3 => append.match_seq_num = Some(stream.tail() + rng.random_range(0..2)),
                _ if rng.random() => append.fencing_token = token,
                _ => append.set_fencing_token = token,
            }
            Start::Append(append)
        }
    }
}

fn answer(stream: &mut Stream, asked: &Start) -> Finish {
    match asked {
        Start::Append(append) => match stream.append(append) {
            Some(tail) => Finish::AppendSuccess { tail },
            None => Finish::AppendDefiniteFailure,
        },
        Start::Read => stream.read(),
        Start::CheckTail => Finish::CheckTailSuccess { tail: stream.tail() },
    }
}

/// Makes one answer another one.
fn falsify(rng: &mut StdRng, lines: &mut [Line]) {
    let at = rng.random_range(0..lines.len());
    let other = rng.random_range(0..6);
    let Event::Finish(finish) = &mut lines[at].event else { return };
    match finish {
        Finish::AppendSuccess { tail } | Finish::CheckTailSuccess { tail } => *tail = other,
        Finish::ReadSuccess { tail, .. } if rng.random() => *tail = other,
        Finish::ReadSuccess { stream_hash, .. } => *stream_hash = chain(0, other),
        Finish::AppendDefiniteFailure if rng.random() => {
            *finish = Finish::AppendSuccess { tail: other };
        }
        Finish::AppendDefiniteFailure => *finish = Finish::AppendIndefiniteFailure,
        _ => {}
    }
}

/// The definition: whether the operations left can follow in some order, those of unknown outcome
/// being left out or not.
fn exists(history: &History, done: &mut [bool], state: State) -> bool {
    let operations = &history.operations;
    let left: Vec<usize> = (0..operations.len()).filter(|&at| !done[at]).collect();
    if left.iter().all(|&at| !operations[at].action.is_certain()) {
        return true;
    }
    left.iter().any(|&next| {
        // Nothing that is still to come may have ended before this one began.
        let begins = operations[next].start;
        if left.iter().any(|&other| operations[other].end < begins) {
            return false;
        }
        let Some(after) = operations[next].action.apply(state) else { return false };
        done[next] = true;
        let is_found = exists(history, done, after);
        done[next] = false;
        is_found
    })
}

/// Whether the order explains the history: no certain operation is missing, none stands before one
/// that ended before it began, and the model gives every answer.
fn explains(history: &History, order: &[usize]) -> bool {
    let operations = &history.operations;
    let mut missing = (0..operations.len()).filter(|at| !order.contains(at));
    let mut state = Some(State::EMPTY);
    for (place, &at) in order.iter().enumerate() {
        if order[place + 1..].iter().any(|&later| operations[later].end < operations[at].start) {
            return false;
        }
        state = state.and_then(|state| operations[at].action.apply(state));
    }
    state.is_some() && missing.all(|at| !operations[at].action.is_certain())
}

/// The seeds to run: one that was named, or `count` from a fixed one on.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("HISTORIES_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("HISTORIES_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}

fn repeat(seed: u64) -> String {
    format!("repeat with HISTORIES_SEED={seed} cargo test --test brute_force")
}

#[test]
fn small_histories_are_judged_as_the_definition_says() {
    let seeds = seeds(20_000);
    let is_whole = seeds.end - seeds.start > 1;
    let (mut right, mut wrong) = (0, 0);
    for seed in seeds {
        let mut rng = StdRng::seed_from_u64(seed);
        let operations = rng.random_range(1..=8);
        let mut lines = execute(&mut rng, operations, 4, 15);
        if rng.random_ratio(2, 3) {
            falsify(&mut rng, &mut lines);
        }
        // Unknown ends may have come into the middle: that is allowed, and says the same.
        let history =
            History::of(lines).unwrap_or_else(|error| panic!("{error}; {}", repeat(seed)));
        let expected = exists(&history, &mut vec![false; history.operations.len()], State::EMPTY);
        match check(&history, BOUNDS).verdict {
            Verdict::Linearizable(order) => {
                assert!(expected, "let pass: {}", repeat(seed));
                assert!(explains(&history, &order), "no such order: {}", repeat(seed));
                right += 1;
            }
            Verdict::Refused(_) => {
                assert!(!expected, "refused: {}", repeat(seed));
                wrong += 1;
            }
            Verdict::Undecided(bound) => panic!("{bound}: {}", repeat(seed)),
        }
    }
    println!("{right} linearizable, {wrong} not");
    // Otherwise the test has shown little.
    assert!(!is_whole || (right > 2_000 && wrong > 2_000), "{right} right, {wrong} wrong");
}

#[test]
fn large_histories_that_were_executed_hold_and_do_not_when_their_last_read_is_wrong() {
    for seed in seeds(60) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut lines = execute(&mut rng, 400, 6, 3);
        let history = History::of(lines.clone()).expect("executions are well formed");
        match check(&history, BOUNDS).verdict {
            Verdict::Linearizable(order) => {
                assert!(explains(&history, &order), "no such order: {}", repeat(seed));
            }
            verdict => panic!("{verdict:?}; {}", repeat(seed)),
        }
        if seed % 6 != 0 {
            // A refusal takes longer, because it is explained.
            continue;
        }
        let read = lines.iter_mut().rev().find_map(|line| match &mut line.event {
            Event::Finish(Finish::ReadSuccess { stream_hash, .. }) => Some(stream_hash),
            _ => None,
        });
        *read.expect("somebody reads") ^= 1;
        let history = History::of(lines).expect("executions are well formed");
        let verdict = check(&history, BOUNDS).verdict;
        assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}; {}", repeat(seed));
    }
}
