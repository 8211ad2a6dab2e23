//! What the model knows, and how it learns: from answers first, then from a look that must agree.
//!
//! Operations of one step run in an order that nobody tells, and some end unanswered. The look
//! after the step shows the order: batches follow each other by their numbers. From then on it is
//! held to be so.

use std::collections::BTreeMap;

use super::act::{Attempt, Outcome, Seen, Shown};
use super::order::Order;
use super::plan::{Batch, Op};
use super::{EXPIRED_ARE_HIDDEN, OVERDUE_MS, empty, reads};
use crate::types::{FencingToken, Refusal, StreamPosition};

/// A record that may be readable.
#[derive(Debug, Clone)]
pub(super) struct HeldRecord {
    pub(super) timestamp: u64,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    /// When its batch arrived: not before the first, not after the second of these, milliseconds
    /// since the Unix epoch.
    pub(super) arrived_ms: (u64, u64),
}

impl HeldRecord {
    pub(super) fn is(&self, shown: &Shown) -> bool {
        (self.timestamp, &self.headers, &self.body)
            == (shown.timestamp, &shown.headers, &shown.body)
    }
}

/// A stream as the last look at it left it.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) tail: StreamPosition,
    pub(super) token: FencingToken,
    pub(super) age_secs: Option<u64>,
    /// What was before this record is gone, and stays gone.
    pub(super) first: u64,
    /// As far as this by commands.
    pub(super) trimmed: u64,
    pub(super) records: BTreeMap<u64, HeldRecord>,
    /// Gone by their age alone: where the end of the log is lost to damage, they may show again.
    pub(super) faded: BTreeMap<u64, HeldRecord>,
    /// It is deleted when it is empty for so long; 0 for never.
    pub(super) empty_secs: u64,
    /// When it was last written to or made, as [`HeldRecord::arrived_ms`].
    pub(super) written_ms: (u64, u64),
}

/// How often it came to what a run is made for, so that none of it is missed unnoticed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reached {
    pub(super) unanswered_there: u64,
    pub(super) unanswered_absent: u64,
    pub(super) hidden: u64,
    pub(super) expired: u64,
    pub(super) segments_given_up: u64,
    pub(super) went_empty: u64,
    pub(super) refused_for_room: u64,
    pub(super) failed_logs: u64,
    pub(super) failed_starts: u64,
    pub(super) deletions_cut: u64,
    /// Footers that said where a record lies, and that were lost.
    pub(super) footers_read: u64,
    pub(super) footers_lost: u64,
}

impl Reached {
    pub(super) fn add(&mut self, other: Self) {
        let Self { unanswered_there, unanswered_absent, hidden, expired, .. } = other;
        self.unanswered_there += unanswered_there;
        self.unanswered_absent += unanswered_absent;
        self.hidden += hidden;
        self.expired += expired;
        self.segments_given_up += other.segments_given_up;
        self.went_empty += other.went_empty;
        self.refused_for_room += other.refused_for_room;
        self.failed_logs += other.failed_logs;
        self.failed_starts += other.failed_starts;
        self.deletions_cut += other.deletions_cut;
        self.footers_read += other.footers_read;
        self.footers_lost += other.footers_lost;
    }

    /// Checks that all of it was reached.
    pub(super) fn check(&self) {
        let all = [
            self.unanswered_there,
            self.unanswered_absent,
            self.hidden,
            self.expired,
            self.segments_given_up,
            self.went_empty,
            self.refused_for_room,
            self.failed_logs,
            self.failed_starts,
            self.deletions_cut,
            self.footers_read,
            self.footers_lost,
        ];
        assert!(all.iter().all(|times| *times > 0), "the runs are too tame: {self:?}");
    }
}

/// An append of the step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Append<'a> {
    pub(super) batch: &'a Batch,
    pub(super) attempt: &'a Attempt,
}

/// Learns what a step did to the stream `name`, and checks that it may have.
///
/// * Shape: `before` and the answer are `None` where there is no such stream; `now_ms` is the
///   latest that the clock has shown.
pub(super) fn learn(
    name: &str,
    before: Option<&Known>,
    attempts: &[&Attempt],
    seen: Option<&Seen>,
    now_ms: u64,
    reached: &mut Reached,
) -> Option<Known> {
    let made = empty::made(before, attempts);
    if let (Some(known), None) = (before.or(made.as_ref()), seen)
        && !attempts.iter().any(|attempt| matches!(attempt.op, Op::Delete { .. }))
    {
        empty::check_went(name, known, attempts, now_ms);
        reached.went_empty += 1;
        return None;
    }
    let change = attempts.iter().find(|attempt| attempt.op.changes_stream()).copied();
    check_existence(name, before.is_some(), change, seen.is_some());
    for attempt in attempts {
        check_names(name, attempt, before.is_some(), change, seen.is_some());
    }
    let seen = seen?;
    let ages = ages(name, before, change, seen);
    let fresh = Known::default();
    let before = before.unwrap_or(&fresh);
    let appends: Vec<Append<'_>> = attempts
        .iter()
        .filter_map(|attempt| match &attempt.op {
            Op::Append { batch, .. } => Some(Append { batch, attempt }),
            _ => None,
        })
        .collect();
    let order = Order::find(name, before, &appends, seen);
    check_gone(name, before, &order, &ages, attempts, seen);
    reads::check(name, before, &order, attempts, seen);
    reached.unanswered_there += order.unanswered.0;
    reached.unanswered_absent += order.unanswered.1;
    reached.hidden += u64::from(order.hidden);
    reached.expired += u64::from(seen.first() > before.first.max(order.may_be_trimmed));
    let written_ms = empty::written_ms(before, attempts, change, seen);
    let empty_secs = empty::secs(before, change);
    let known = after(name, before, order, &ages, seen);
    Some(Known { written_ms, empty_secs, ..known })
}

/// Whether the stream may be there, or not be there, after `change`.
fn check_existence(name: &str, was: bool, change: Option<&Attempt>, is: bool) {
    let Some(Attempt { op, outcome, .. }) = change else {
        assert_eq!(is, was, "{name} came or went by itself");
        return;
    };
    match (op, outcome) {
        (Op::Create { .. }, Outcome::Done) => assert!(is && !was, "{name} was created"),
        (Op::Create { .. }, Outcome::Unknown) => assert!(is || !was, "{name} is lost"),
        (Op::Create { .. }, Outcome::Refused(refusal)) => {
            assert!(matches!(refusal, Refusal::AlreadyExists(_)), "creating {name}: {refusal}");
            assert!(is && was, "{name} does not exist already");
        }
        (Op::Delete { .. }, Outcome::Done) => assert!(!is && was, "{name} was deleted"),
        (Op::Delete { .. }, Outcome::Unknown) => assert!(was || !is, "{name} came by itself"),
        (Op::Retain { .. }, Outcome::Done) => assert!(is && was, "{name} was reconfigured"),
        (Op::Retain { .. }, Outcome::Unknown) => assert_eq!(is, was, "{name} is lost"),
        // Nothing was done.
        (_, Outcome::Refused(Refusal::HotServer(_))) => assert_eq!(is, was, "{name} is lost"),
        (op, outcome) => panic!("{op:?}: {outcome:?}"),
    }
}

/// Whether an answer about the name, as such, may have been given.
fn check_names(name: &str, attempt: &Attempt, was: bool, change: Option<&Attempt>, is: bool) {
    let deletes = change.is_some_and(|change| matches!(change.op, Op::Delete { .. }));
    match &attempt.outcome {
        Outcome::Refused(Refusal::StreamNotFound(_)) => {
            assert!(!was || deletes, "{name} was there all the time");
        }
        Outcome::Refused(Refusal::StreamDeletionPending(_)) => {
            assert!(deletes, "nobody deletes {name}");
            // Nothing shows a deletion that is not durable.
            assert!(!is, "{name} is back");
        }
        Outcome::Refused(Refusal::Storage(_) | Refusal::Other(_)) => {
            panic!("nothing is wrong with the disk: {attempt:?}");
        }
        // Refused before it looked for the stream.
        Outcome::Refused(Refusal::HotServer(_) | Refusal::RateLimited { .. }) => {}
        // All of these showed a stream that is there durably.
        Outcome::Acked(_) | Outcome::Read(_) | Outcome::Tail(_) | Outcome::Refused(_) => {
            assert!(is || deletes, "{name} is lost");
        }
        Outcome::Unknown | Outcome::Listed(_) | Outcome::Done | Outcome::Unfinished(_) => {}
    }
}

/// The retention ages, in seconds, that may have been in force during the step; `before` is what
/// was there.
fn ages(
    name: &str,
    before: Option<&Known>,
    change: Option<&Attempt>,
    seen: &Seen,
) -> Vec<Option<u64>> {
    let change =
        change.filter(|change| !matches!(change.outcome, Outcome::Refused(Refusal::HotServer(_))));
    let asked = change.and_then(|change| match change.op {
        Op::Create { age_secs, .. } if before.is_none() => Some(age_secs),
        Op::Retain { age_secs, .. } => Some(age_secs),
        _ => None,
    });
    let answered = change.is_some_and(|change| matches!(change.outcome, Outcome::Done));
    let ages: Vec<_> = before.map(|before| before.age_secs).into_iter().chain(asked).collect();
    let may_be = match asked {
        Some(_) if answered => &ages[ages.len() - 1..],
        _ => &ages,
    };
    assert!(may_be.contains(&seen.age_secs), "{name}: {may_be:?}, not {:?}", seen.age_secs);
    ages
}

/// Checks that what is gone may be, and that what must be gone is.
fn check_gone(
    name: &str,
    before: &Known,
    order: &Order<'_>,
    ages: &[Option<u64>],
    attempts: &[&Attempt],
    seen: &Seen,
) {
    let first = seen.first();
    assert!(first >= before.first, "{name}: {first} is back, gone was all before {}", before.first);
    assert!(first >= order.trimmed, "{name}: {first} was trimmed, to {}", order.trimmed);
    let begun_ms = attempts.iter().map(|attempt| attempt.from_ms).min();
    let shortest_ms = ages.iter().flatten().min().map(|secs| secs * 1000);
    for seq_num in before.first.max(order.may_be_trimmed)..first {
        let held = before.records.get(&seq_num).map(|held| held.arrived_ms.0);
        let placed = order.placed.get(&seq_num).map(|placed| placed.arrived_ms.0);
        let arrived_ms = held.or(placed).or(begun_ms).expect("records come with attempts");
        let expired = shortest_ms.is_some_and(|age_ms| arrived_ms + age_ms < seen.to_ms);
        let (now_ms, tail) = ((seen.from_ms, seen.to_ms), seen.tail);
        let what = format!("{name}: {seq_num}, of {arrived_ms}, is gone at {now_ms:?}");
        assert!(expired, "{what}, first is {first}, {tail:?}, ages {ages:?}");
    }
}

/// The stream from now on.
fn after(name: &str, before: &Known, order: Order<'_>, ages: &[Option<u64>], seen: &Seen) -> Known {
    let mut known = Known {
        tail: seen.tail,
        token: seen.token,
        age_secs: seen.age_secs,
        first: seen.first(),
        records: before.records.clone(),
        ..Known::default()
    };
    // No batch arrives before the one before it, wherever the clock was set to.
    let mut latest_ms = before.records.values().map(|held| held.arrived_ms.1).max().unwrap_or(0);
    let trimmed = order.trimmed;
    for (seq_num, placed) in order.placed {
        let Some(shown) = placed.shown else { continue };
        let Shown { timestamp, headers, body, .. } = shown.clone();
        let (from_ms, to_ms) = placed.arrived_ms;
        // No timestamp is later than the arrival: clients' are capped.
        latest_ms = latest_ms.max(to_ms);
        let arrived_ms = (from_ms.max(timestamp), latest_ms);
        let held = HeldRecord { timestamp, headers, body, arrived_ms };
        known.records.insert(seq_num, held);
    }
    let living = known.records.split_off(&known.first);
    known.faded = before.faded.clone();
    known.faded.extend(std::mem::replace(&mut known.records, living));
    known.faded = known.faded.split_off(&trimmed);
    known.trimmed = trimmed;
    let longest_ms = ages.iter().map(|age| age.map_or(u64::MAX, |secs| secs * 1000)).max();
    let longest_ms = longest_ms.expect("some age is in force");
    for (seq_num, held) in &known.records {
        let expired = held.arrived_ms.1.saturating_add(longest_ms) < seen.from_ms;
        assert!(!(EXPIRED_ARE_HIDDEN && expired), "{name}: {seq_num} is served though expired");
    }
    known
}

impl Known {
    /// Checks, when the shard has rested for so long, that what outlived its age is gone.
    pub(super) fn check_overdue(&self, name: &str, now_ms: u64, rested_ms: u64) {
        empty::check_overdue(name, self, now_ms, rested_ms);
        let (Some(age_secs), Some((_, last))) = (self.age_secs, self.records.last_key_value())
        else {
            return;
        };
        let due_ms = last.arrived_ms.1 + age_secs * 1000 + OVERDUE_MS;
        assert!(now_ms <= due_ms, "{name}: all of it should be gone since {due_ms}, now {now_ms}");
    }
}
