//! Where a read starts (S2 specification, section 5.3).

use super::From;
use crate::api::query::{ReadQuery, ReadStart};
use crate::types::{Refusal, StreamPosition};

/// Resolves where a read starts; `None` means at the tail, waiting.
///
/// * Errors: [`Refusal::Unsatisfiable`].
/// * Source: S2 specification, section 5.3.
pub(in crate::shard) fn start_of(
    query: &ReadQuery,
    tail: StreamPosition,
    follows: bool,
) -> Result<Option<From>, Refusal> {
    let at_tail = || if follows { Ok(None) } else { Err(Refusal::Unsatisfiable(tail)) };
    let seq_num = match query.start {
        ReadStart::Timestamp(timestamp) if timestamp > tail.timestamp => {
            return if query.clamp { at_tail() } else { Err(Refusal::Unsatisfiable(tail)) };
        }
        ReadStart::Timestamp(timestamp) => return Ok(Some(From::Timestamp(timestamp))),
        ReadStart::SeqNum(seq_num) => seq_num,
        ReadStart::TailOffset(offset) => tail.seq_num.saturating_sub(offset),
    };
    if seq_num < tail.seq_num {
        Ok(Some(From::SeqNum(seq_num)))
    } else if seq_num == tail.seq_num || query.clamp {
        at_tail()
    } else {
        Err(Refusal::Unsatisfiable(tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: StreamPosition = StreamPosition { seq_num: 3, timestamp: 50 };

    fn start(start: ReadStart, clamp: bool, follows: bool) -> Result<Option<From>, Refusal> {
        let query =
            ReadQuery { start, clamp, count: None, bytes: None, until: None, wait_secs: None };
        start_of(&query, TAIL, follows)
    }

    #[test]
    fn a_start_is_resolved_against_the_durable_tail() {
        use ReadStart::{SeqNum, TailOffset, Timestamp};
        let beyond = || Err(Refusal::Unsatisfiable(TAIL));
        let at = |seq_num| Ok(Some(From::SeqNum(seq_num)));
        let cases = [
            (SeqNum(0), false, false, at(0)),
            (SeqNum(2), true, true, at(2)),
            (SeqNum(3), false, true, Ok(None)),
            (SeqNum(3), false, false, beyond()),
            (SeqNum(4), false, true, beyond()),
            (SeqNum(99), true, true, Ok(None)),
            (SeqNum(99), true, false, beyond()),
            (TailOffset(0), false, false, beyond()),
            (TailOffset(0), false, true, Ok(None)),
            (TailOffset(2), false, false, at(1)),
            (TailOffset(10), false, false, at(0)),
            (Timestamp(50), false, false, Ok(Some(From::Timestamp(50)))),
            (Timestamp(51), false, true, beyond()),
            (Timestamp(51), true, true, Ok(None)),
            (Timestamp(51), true, false, beyond()),
        ];
        for (from, clamp, follows, expected) in cases {
            assert_eq!(start(from, clamp, follows), expected, "{from:?} {clamp} {follows}");
        }
    }
}
