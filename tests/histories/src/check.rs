//! The search for one order of the operations that explains every answer.
//!
//! A history is linearizable if each certain operation takes effect at one moment between its
//! begin and its end, each uncertain one at one moment after its begin or never, and every answer
//! is what the model says in that order. The search is that of Wing and Gong with the memory of
//! Lowe (*Testing for linearizability*, 2017): depth first over what may come next, and never twice
//! from the same set of operations done with the same state.
//!
//! ```text
//!   certain operations as a list of begins and ends in time; done ones are taken out of it:
//!
//!     begin a | begin b | end a | begin c | ...        what may come next: a, b (c begins after
//!     `------ candidates ----'^                        the first end that is still open), then
//!                             horizon                  uncertain ones that begin before it
//! ```
//!
//! Uncertain operations come last: they are only needed where no certain one fits. Two things end a
//! branch early, because a tail only grows and a content only gets longer: a certain operation that
//! is not done yet and needs a tail below the one reached, and a content that is not the one that a
//! read has seen at this tail. Neither excludes an order that explains the history.
//!
//! The search is bounded in time and memory. At a bound it gives up, which is no verdict.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use crate::history::History;
use crate::model::{Action, State};

/// How long and how far to search.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Time.
    pub time: Duration,
    /// Memory for what was tried, in bytes.
    pub memory_bytes: usize,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An order explains the history: operations by their place in it, in that order.
    Linearizable(Vec<usize>),
    /// No order does.
    Refused(Furthest),
    /// A bound was reached.
    Undecided(&'static str),
}

/// The most that any order explained before it came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Furthest {
    /// How many certain operations it held.
    pub certain: usize,
    /// The state after them.
    pub state: State,
    /// The operation that had to come by then and could not, by its place in the history.
    pub stuck: usize,
}

/// A verdict and what it took.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Different pairs of operations done and state.
    pub configurations: usize,
}

/// How long a refusal may take to be explained.
const EXPLAIN_WITHIN: Duration = Duration::from_secs(2);

/// Searches for an order.
///
/// A refusal is searched once more without ending branches early, for a short time: only so does it
/// become plain where the history turns wrong.
pub fn check(history: &History, bounds: Bounds) -> Outcome {
    let mut search = Search::new(history, true);
    let mut verdict = search.run(bounds);
    if matches!(verdict, Verdict::Refused(_)) {
        let mut plain = Search::new(history, false);
        let time = bounds.time.min(EXPLAIN_WITHIN);
        let found = plain.run(Bounds { time, ..bounds });
        assert!(!matches!(found, Verdict::Linearizable(_)), "a branch was ended wrongly");
        verdict = Verdict::Refused(plain.furthest);
    }
    Outcome { verdict, configurations: search.seen.len() }
}

/// The place of no entry, at both ends of the list.
const END: usize = 0;
/// How often the clock is read.
const STEPS_BETWEEN_LOOKS: u64 = 1024;

/// A begin or an end in the list of certain operations.
#[derive(Clone, Copy)]
struct Entry {
    operation: usize,
    is_end: bool,
    /// The line in the history.
    at: usize,
    before: usize,
    after: usize,
}

/// Where to look for the next candidate.
#[derive(Clone, Copy)]
enum Cursor {
    /// At this entry of the list.
    Certain(usize),
    /// At this one of the uncertain operations, among those that begin before the line `horizon`.
    Uncertain { next: usize, horizon: usize },
}

/// One operation done, and how to undo it.
struct Frame {
    operation: usize,
    state_before: State,
    resume: Cursor,
}

struct Search<'a> {
    history: &'a History,
    /// Whether branches end early.
    ends_early: bool,
    furthest: Furthest,
    /// Entry 0 stands before the first and after the last.
    entries: Vec<Entry>,
    /// Both entries of a certain operation.
    places: Vec<Option<(usize, usize)>>,
    /// In the order of their begin.
    uncertain: Vec<usize>,
    /// One bit for each operation.
    done: Vec<u64>,
    certain_left: usize,
    /// The tails that certain operations need which are not done, and how many need each.
    needs: BTreeMap<u64, usize>,
    /// What reads have seen: the content for each tail.
    contents: BTreeMap<u64, u64>,
    state: State,
    seen: HashSet<(Box<[u64]>, State)>,
    stack: Vec<Frame>,
}

impl<'a> Search<'a> {
    fn new(history: &'a History, ends_early: bool) -> Self {
        let count = history.operations.len();
        let mut events = Vec::with_capacity(2 * count);
        let mut uncertain = Vec::new();
        for (number, operation) in history.operations.iter().enumerate() {
            if operation.action.is_certain() {
                events.push((operation.start, number, false));
                events.push((operation.end, number, true));
            } else {
                uncertain.push(number);
            }
        }
        events.sort_unstable();
        let mut places = vec![None; count];
        let edge = Entry { operation: 0, is_end: true, at: usize::MAX, before: END, after: END };
        let mut entries = vec![edge];
        for (at, operation, is_end) in events {
            let here = entries.len();
            entries[here - 1].after = here;
            entries.push(Entry { operation, is_end, at, before: here - 1, after: END });
            places[operation] = match places[operation] {
                None => Some((here, here)),
                Some((begin, _)) => Some((begin, here)),
            };
        }
        let last = entries.len() - 1;
        entries[END].before = last;
        let mut needs = BTreeMap::new();
        let mut contents = BTreeMap::new();
        for operation in &history.operations {
            if let Some(tail) = operation.action.tail_before() {
                *needs.entry(tail).or_insert(0) += 1;
            }
            if let Action::Read { tail, hash } = operation.action {
                // Of reads that contradict each other any will do: the other one comes to nothing.
                contents.insert(tail, hash);
            }
        }
        Self {
            history,
            ends_early,
            furthest: Furthest { certain: 0, state: State::EMPTY, stuck: 0 },
            entries,
            places,
            certain_left: count - uncertain.len(),
            uncertain,
            done: vec![0; count.div_ceil(64)],
            needs,
            contents,
            state: State::EMPTY,
            seen: HashSet::new(),
            stack: Vec::new(),
        }
    }

    fn run(&mut self, bounds: Bounds) -> Verdict {
        let began = Instant::now();
        // Set of words, state, and what the table needs beside them.
        let configuration_bytes = self.done.len() * 8 + size_of::<(Box<[u64]>, State)>() * 2 + 16;
        let configurations_max = bounds.memory_bytes / configuration_bytes;
        self.furthest = self.here();
        let mut cursor = self.first();
        let mut steps: u64 = 0;
        while self.certain_left > 0 {
            steps += 1;
            if steps.is_multiple_of(STEPS_BETWEEN_LOOKS) && began.elapsed() > bounds.time {
                return Verdict::Undecided("time");
            }
            let Some((operation, resume)) = self.candidate(cursor) else {
                let here = self.here();
                if here.certain > self.furthest.certain {
                    self.furthest = here;
                }
                let Some(frame) = self.stack.pop() else {
                    return Verdict::Refused(self.furthest.clone());
                };
                cursor = self.undo(&frame);
                continue;
            };
            if self.advance(operation, resume) {
                if self.seen.len() > configurations_max {
                    return Verdict::Undecided("memory");
                }
                cursor = self.first();
            } else {
                cursor = resume;
            }
        }
        Verdict::Linearizable(self.stack.iter().map(|frame| frame.operation).collect())
    }

    fn first(&self) -> Cursor {
        Cursor::Certain(self.entries[END].after)
    }

    /// The next operation that may come next, from the cursor on, and where to go on after it.
    fn candidate(&self, mut cursor: Cursor) -> Option<(usize, Cursor)> {
        if let Cursor::Certain(at) = cursor {
            let entry = self.entries[at];
            if !entry.is_end {
                return Some((entry.operation, Cursor::Certain(entry.after)));
            }
            cursor = Cursor::Uncertain { next: 0, horizon: entry.at };
        }
        let Cursor::Uncertain { mut next, horizon } = cursor else { return None };
        while let Some(&operation) = self.uncertain.get(next) {
            next += 1;
            if self.history.operations[operation].start >= horizon {
                return None;
            }
            if !self.is_done(operation) {
                return Some((operation, Cursor::Uncertain { next, horizon }));
            }
        }
        None
    }

    /// Does the operation, if the model allows it and what comes out is new.
    fn advance(&mut self, operation: usize, resume: Cursor) -> bool {
        let Some(state) = self.history.operations[operation].action.apply(self.state) else {
            return false;
        };
        if self.ends_early && !self.is_open(operation, state) {
            return false;
        }
        self.done[operation / 64] |= 1 << (operation % 64);
        if !self.seen.insert((self.done.clone().into_boxed_slice(), state)) {
            self.done[operation / 64] &= !(1 << (operation % 64));
            return false;
        }
        if let Some((begin, end)) = self.places[operation] {
            self.take_out(begin);
            self.take_out(end);
            self.certain_left -= 1;
            self.count_need(operation, false);
        }
        self.stack.push(Frame { operation, state_before: self.state, resume });
        self.state = state;
        true
    }

    fn undo(&mut self, frame: &Frame) -> Cursor {
        self.done[frame.operation / 64] &= !(1 << (frame.operation % 64));
        if let Some((begin, end)) = self.places[frame.operation] {
            self.put_back(end);
            self.put_back(begin);
            self.certain_left += 1;
            self.count_need(frame.operation, true);
        }
        self.state = frame.state_before;
        frame.resume
    }

    /// Whether an order can still come of `state`, which `operation` led to.
    fn is_open(&self, operation: usize, state: State) -> bool {
        let seen = self.contents.get(&state.tail).is_none_or(|hash| *hash == state.hash);
        let own = self.history.operations[operation].action.tail_before();
        let below = self.needs.range(..state.tail);
        let left =
            below.map(|(tail, count)| count - usize::from(own == Some(*tail))).sum::<usize>();
        seen && left == 0
    }

    fn count_need(&mut self, operation: usize, more: bool) {
        let Some(tail) = self.history.operations[operation].action.tail_before() else { return };
        let count = self.needs.entry(tail).or_insert(0);
        if more {
            *count += 1
        } else {
            *count -= 1
        }
        if *count == 0 {
            self.needs.remove(&tail);
        }
    }

    fn is_done(&self, operation: usize) -> bool {
        self.done[operation / 64] & (1 << (operation % 64)) != 0
    }

    fn take_out(&mut self, at: usize) {
        let Entry { before, after, .. } = self.entries[at];
        self.entries[before].after = after;
        self.entries[after].before = before;
    }

    /// Undoes the latest [`Self::take_out`] that was not undone.
    fn put_back(&mut self, at: usize) {
        let Entry { before, after, .. } = self.entries[at];
        self.entries[before].after = at;
        self.entries[after].before = at;
    }

    /// How far the search is.
    fn here(&self) -> Furthest {
        let certain = self.entries.len() / 2 - self.certain_left;
        let mut at = self.entries[END].after;
        while !self.entries[at].is_end {
            at = self.entries[at].after;
        }
        Furthest { certain, state: self.state, stuck: self.entries[at].operation }
    }
}

#[cfg(test)]
mod tests;
