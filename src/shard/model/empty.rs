//! Streams that are deleted when they stay empty: when one may have gone, and when it must have.

use super::OVERDUE_MS;
use super::act::{Attempt, Outcome, Seen};
use super::plan::Op;
use super::truth::Known;
use crate::types::{Command, Refusal};

/// How long it must be empty after the step, in seconds; 0 when it stays for ever.
pub(super) fn secs(before: &Known, change: Option<&Attempt>) -> u64 {
    match change.map(|change| &change.op) {
        // Of a stream that was there, a creation changes nothing.
        Some(Op::Create { empty_secs, .. }) if before.written_ms == (0, 0) => *empty_secs,
        _ => before.empty_secs,
    }
}

/// The stream that a step made, if nobody knew of it before: it may be gone again. If nobody waited
/// for its creation to be answered, others may have found it.
pub(super) fn made(before: Option<&Known>, attempts: &[&Attempt]) -> Option<Known> {
    let is_found = attempts.iter().any(|attempt| match &attempt.outcome {
        Outcome::Acked(_) | Outcome::Read(_) | Outcome::Tail(_) => true,
        Outcome::Refused(refusal) => !matches!(
            refusal,
            Refusal::StreamNotFound(_) | Refusal::HotServer(_) | Refusal::RateLimited { .. }
        ),
        _ => false,
    });
    attempts.iter().find_map(|attempt| match (&attempt.op, &attempt.outcome) {
        (Op::Create { empty_secs, age_secs, .. }, outcome)
            if before.is_none()
                && (matches!(outcome, Outcome::Done)
                    || matches!(outcome, Outcome::Unknown) && is_found) =>
        {
            let written_ms = (attempt.from_ms, attempt.to_ms);
            let (empty_secs, age_secs) = (*empty_secs, *age_secs);
            Some(Known { empty_secs, age_secs, written_ms, ..Known::default() })
        }
        _ => None,
    })
}

/// When it was last written to or made, after the step: not before the first, not after the second.
pub(super) fn written_ms(
    before: &Known,
    attempts: &[&Attempt],
    change: Option<&Attempt>,
    seen: &Seen,
) -> (u64, u64) {
    let made = change.filter(|c| matches!(c.op, Op::Create { .. }) && before.written_ms == (0, 0));
    let from_ms = made.map_or(before.written_ms.0, |made| made.from_ms);
    let grew = seen.tail.seq_num > before.tail.seq_num;
    let appended = attempts.iter().filter(|a| matches!(a.op, Op::Append { .. }));
    let first_ms = appended.map(|append| append.from_ms).min().filter(|_| grew);
    let to_ms = if grew || made.is_some() { seen.high_from_ms } else { before.written_ms.1 };
    // Behind a clock that was set back, the first batch may be older than its stream.
    (first_ms.unwrap_or(from_ms), to_ms)
}

/// Checks that a stream that nobody deleted may be gone by now.
pub(super) fn check_went(name: &str, known: &Known, attempts: &[&Attempt], now_ms: u64) {
    assert!(known.empty_secs > 0, "{name} went by itself");
    // Behind a clock that was set back, the first batch may be older than its stream.
    let is_first = |attempt: &&&Attempt| {
        let refused = matches!(attempt.outcome, Outcome::Refused(_));
        matches!(attempt.op, Op::Append { .. }) && !refused && known.tail.seq_num == 0
    };
    let first_ms = attempts.iter().filter(is_first).map(|append| append.from_ms).min();
    let written_ms = first_ms.map_or(known.written_ms.0, |ms| ms.min(known.written_ms.0));
    let due_ms = written_ms + known.empty_secs * 1000;
    assert!(due_ms <= now_ms, "{name} went early: not due before {due_ms}, it is {now_ms}");
    let batches = attempts.iter().filter_map(|attempt| match (&attempt.op, &attempt.outcome) {
        (Op::Append { .. }, Outcome::Refused(_)) => None,
        (Op::Append { batch, .. }, _) => Some(batch),
        _ => None,
    });
    let trims = batches.flat_map(|batch| &batch.records).filter_map(|sent| match sent.command {
        Some(Command::Trim(keep_from)) => Some(keep_from),
        _ => None,
    });
    let trimmed_to = trims.max().unwrap_or(0);
    let ages = attempts.iter().filter_map(|attempt| match attempt.op {
        Op::Retain { age_secs, .. } => Some(age_secs),
        _ => None,
    });
    let shortest_ms = ages.chain([known.age_secs]).flatten().min().map(|secs| secs * 1000);
    for (seq_num, held) in known.records.range(trimmed_to..) {
        let is_old = |age_ms: u64| held.arrived_ms.0 + age_ms < now_ms;
        let expired = shortest_ms.is_some_and(is_old);
        assert!(expired, "{name} went with its record {seq_num} in it");
    }
    for attempt in attempts {
        if let (Op::Append { .. }, Outcome::Acked(ack)) = (&attempt.op, &attempt.outcome) {
            let due_ms = attempt.from_ms + known.empty_secs * 1000;
            assert!(due_ms <= now_ms, "{name} went right after {ack:?}");
        }
        let refusal = matches!(&attempt.outcome, Outcome::Refused(Refusal::Other(_)));
        assert!(!refusal, "{name}: {attempt:?}");
    }
}

/// Checks, when the shard has rested for so long, that it is gone if it was to go.
pub(super) fn check_overdue(name: &str, known: &Known, now_ms: u64, rested_ms: u64) {
    // Two visits: one trims, and when that is durable the other finds it empty.
    let is_empty = known.first >= known.tail.seq_num;
    if known.empty_secs == 0 || !is_empty || rested_ms < 2 * OVERDUE_MS {
        return;
    }
    let longest_secs = known.empty_secs.max(known.age_secs.unwrap_or(0));
    let due_ms = known.written_ms.1 + longest_secs * 1000 + 2 * OVERDUE_MS;
    assert!(now_ms <= due_ms, "{name} is empty and still there at {now_ms}, not {due_ms}");
}
