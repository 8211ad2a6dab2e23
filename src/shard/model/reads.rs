//! Whether reads told the truth, when appends, trims and expiry went on beside them.

use super::act::{Attempt, Outcome, Seen, Shown};
use super::order::Order;
use super::plan::Op;
use super::truth::Known;
use crate::api::query::{ReadQuery, ReadStart};
use crate::types::{Refusal, StreamPosition};

/// Body bytes below which the API's limit on a read's size cannot have ended it.
const READ_BODY_BYTES_MAX: usize = 512 * 1024;

/// Checks reads and tail checks of a step: all that they showed is there afterwards, unless it was
/// trimmed or expired meanwhile, and they left out nothing else.
pub(super) fn check(
    name: &str,
    before: &Known,
    order: &Order<'_>,
    attempts: &[&Attempt],
    seen: &Seen,
) {
    for attempt in attempts {
        match (&attempt.op, &attempt.outcome) {
            (Op::Tail { .. }, Outcome::Tail(tail)) => check_tail(name, before, *tail, seen),
            (Op::Read { query, .. }, Outcome::Read(records)) => {
                records.iter().for_each(|shown| check_record(name, before, order, shown, seen));
                check_extent(name, before, query, records, seen);
            }
            (Op::Read { query, .. }, Outcome::Refused(Refusal::Unsatisfiable(tail))) => {
                check_tail(name, before, *tail, seen);
                check_unsatisfiable(name, before, query, *tail, seen);
            }
            _ => {}
        }
    }
}

fn check_tail(name: &str, before: &Known, tail: StreamPosition, seen: &Seen) {
    let is_between = (before.tail.seq_num..=seen.tail.seq_num).contains(&tail.seq_num);
    assert!(is_between, "{name}: {tail:?} is not between {:?} and {:?}", before.tail, seen.tail);
}

/// Checks one record that was read.
fn check_record(name: &str, before: &Known, order: &Order<'_>, shown: &Shown, seen: &Seen) {
    let seq_num = shown.seq_num;
    assert!(seq_num >= before.first, "{name}: {seq_num} is back");
    assert!(seq_num < seen.tail.seq_num, "{name}: read, and not there any more: {shown:?}");
    let is_so = match (before.records.get(&seq_num), order.placed.get(&seq_num)) {
        (Some(held), _) => held.is(shown),
        (None, Some(placed)) => {
            placed.is(shown) && placed.shown.is_none_or(|later| later.timestamp == shown.timestamp)
        }
        (None, None) => order.hidden,
    };
    assert!(is_so, "{name}: {shown:?} is not what is there");
}

/// Checks that a read began where it was asked to, left out nothing but what went meanwhile, and
/// did not end early.
fn check_extent(name: &str, before: &Known, query: &ReadQuery, records: &[Shown], seen: &Seen) {
    let follows = |a: &Shown, b: &Shown| {
        let (next, end) = (a.seq_num + 1, b.seq_num);
        next == end || next < end && end <= seen.first()
    };
    assert!(records.is_sorted_by(follows), "{name} has a gap: {query:?}");
    let first = records.first().map_or(seen.tail.seq_num, |shown| shown.seq_num);
    let left_out = |seq_num: u64| seq_num >= seen.first() && seq_num < first;
    match query.start {
        ReadStart::SeqNum(seq_num) => {
            assert!(first >= seq_num.min(seen.tail.seq_num), "{name}: {first}, not {seq_num}");
            let wanted = seq_num.max(seen.first());
            assert!(
                wanted >= before.tail.seq_num || !left_out(wanted),
                "{name}: {query:?} {first}"
            );
        }
        ReadStart::Timestamp(timestamp) => {
            let later = records.first().is_none_or(|shown| shown.timestamp >= timestamp);
            assert!(later, "{name}: {query:?} began at {first}");
            let mut wanted = before.records.iter().filter(|(_, held)| held.timestamp >= timestamp);
            assert!(!wanted.any(|(at, _)| left_out(*at)), "{name}: {query:?} began at {first}");
        }
        ReadStart::TailOffset(offset) => {
            let earliest = before.tail.seq_num.saturating_sub(offset);
            assert!(first >= earliest, "{name}: {query:?} began at {first}");
        }
    }
    let count = usize::try_from(query.count.unwrap_or(1000)).expect("small");
    assert!(records.len() <= count, "{name}: {query:?} got {}", records.len());
    let bytes: usize = records.iter().map(|shown| shown.body.len()).sum();
    if let Some(last) = records.last()
        && records.len() < count.min(1000)
        && bytes < READ_BODY_BYTES_MAX
    {
        let next = last.seq_num + 1;
        let went = next < seen.first();
        assert!(
            went || next >= before.tail.seq_num,
            "{name}: {query:?} ended after {}",
            last.seq_num
        );
    }
}

/// Checks a read that was refused for having nothing to show.
fn check_unsatisfiable(
    name: &str,
    before: &Known,
    query: &ReadQuery,
    tail: StreamPosition,
    seen: &Seen,
) {
    let is_so = match query.start {
        ReadStart::SeqNum(seq_num) => seq_num >= tail.seq_num,
        ReadStart::TailOffset(offset) => offset == 0 || tail.seq_num == 0,
        ReadStart::Timestamp(timestamp) => {
            let held = before.records.range(seen.first()..);
            held.filter(|(_, held)| held.timestamp >= timestamp).count() == 0
        }
    };
    assert!(is_so, "{name}: {query:?} was refused at {tail:?}");
}
