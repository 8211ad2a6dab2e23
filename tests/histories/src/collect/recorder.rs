//! Writes events down in the order in which this process saw them.

use std::cell::RefCell;

use crate::event::{Event, Finish, Line, Start};

/// The history so far. Shared by all clients of one thread.
pub struct Recorder {
    inner: RefCell<Inner>,
    identities_max: u64,
}

struct Inner {
    lines: Vec<Line>,
    /// Ends of appends of unknown outcome: they stand last.
    unknown: Vec<Line>,
    /// Lines that belong before the line of that number.
    earlier: Vec<(usize, Line)>,
    identities: u64,
    next_op_id: u64,
    totals: Totals,
}

/// An operation that has begun.
#[derive(Clone, Copy)]
pub struct Begun {
    client_id: u64,
    op_id: u64,
    line: usize,
}

/// What a history holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Everything that was begun.
    pub operations: u64,
    /// Appends that were acknowledged.
    pub appended: u64,
    /// Appends that had no effect.
    pub refused: u64,
    /// Appends of unknown outcome.
    pub unknown: u64,
    /// Reads and questions for the tail that were answered.
    pub observed: u64,
    /// Reads and questions for the tail that were not.
    pub unanswered: u64,
}

/// Identities of those who are told a tail by a refusal, beside the one who was refused.
const TOLD_BY_REFUSAL: u64 = 1_000_000;

impl Recorder {
    /// An empty history of at most that many identities.
    pub fn new(identities_max: u64) -> Self {
        let inner = Inner {
            lines: Vec::new(),
            unknown: Vec::new(),
            earlier: Vec::new(),
            identities: 0,
            next_op_id: 0,
            totals: Totals::default(),
        };
        Self { inner: RefCell::new(inner), identities_max }
    }

    /// A new identity, or nothing when there are none left.
    pub fn identity(&self) -> Option<u64> {
        let mut inner = self.inner.borrow_mut();
        if inner.identities == self.identities_max {
            return None;
        }
        inner.identities += 1;
        Some(inner.identities)
    }

    /// The identity of the one who reads everything back.
    pub fn identity_of_reader(&self) -> u64 {
        self.identities_max + 1
    }

    /// To be called before the request is made.
    pub fn begin(&self, client_id: u64, asked: Start) -> Begun {
        let mut inner = self.inner.borrow_mut();
        let op_id = inner.next_op_id;
        inner.next_op_id += 1;
        inner.totals.operations += 1;
        let line = inner.lines.len();
        inner.lines.push(Line { event: Event::Start(asked), client_id, op_id });
        Begun { client_id, op_id, line }
    }

    /// To be called after the answer was taken. After an unknown outcome the identity is used up.
    pub fn end(&self, begun: Begun, answer: Finish) {
        let mut inner = self.inner.borrow_mut();
        let totals = &mut inner.totals;
        match answer {
            Finish::AppendSuccess { .. } => totals.appended += 1,
            Finish::AppendDefiniteFailure => totals.refused += 1,
            Finish::AppendIndefiniteFailure => totals.unknown += 1,
            Finish::ReadSuccess { .. } | Finish::CheckTailSuccess { .. } => totals.observed += 1,
            Finish::ReadFailure | Finish::CheckTailFailure => totals.unanswered += 1,
        }
        let is_unknown = answer == Finish::AppendIndefiniteFailure;
        let Begun { client_id, op_id, .. } = begun;
        let line = Line { event: Event::Finish(answer), client_id, op_id };
        if is_unknown { inner.unknown.push(line) } else { inner.lines.push(line) }
    }

    /// Records what a refusal of the append told: the tail at some moment of it. It stands as a
    /// question for the tail by somebody else, for as long as the append took. To be called before
    /// [`Self::end`] of the append.
    pub fn told(&self, append: Begun, tail: u64) {
        let mut inner = self.inner.borrow_mut();
        let op_id = inner.next_op_id;
        inner.next_op_id += 1;
        inner.totals.operations += 1;
        inner.totals.observed += 1;
        let client_id = TOLD_BY_REFUSAL + append.client_id;
        let line = |event| Line { event, client_id, op_id };
        inner.earlier.push((append.line, line(Event::Start(Start::CheckTail))));
        inner.lines.push(line(Event::Finish(Finish::CheckTailSuccess { tail })));
    }

    /// The whole history.
    pub fn take(&self) -> (Vec<Line>, Totals) {
        let mut inner = self.inner.borrow_mut();
        let mut earlier = std::mem::take(&mut inner.earlier);
        earlier.sort_by_key(|(before, _)| *before);
        let mut earlier = earlier.into_iter().peekable();
        let mut all = Vec::with_capacity(inner.lines.len() + earlier.len());
        for (number, line) in inner.lines.drain(..).enumerate() {
            while let Some((_, line)) = earlier.next_if(|(before, _)| *before == number) {
                all.push(line);
            }
            all.push(line);
        }
        all.append(&mut inner.unknown);
        (all, inner.totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Append;

    #[test]
    fn lines_stand_in_order_unknown_ends_last_and_what_was_told_around_its_append() {
        let append = || {
            Start::Append(Append {
                num_records: 1,
                record_hashes: vec![1],
                set_fencing_token: None,
                fencing_token: None,
                match_seq_num: None,
            })
        };
        let recorder = Recorder::new(2);
        let unknown = recorder.begin(1, append());
        let refused = recorder.begin(2, append());
        recorder.end(unknown, Finish::AppendIndefiniteFailure);
        let read = recorder.begin(3, Start::CheckTail);
        recorder.end(read, Finish::CheckTailSuccess { tail: 0 });
        recorder.told(refused, 5);
        recorder.end(refused, Finish::AppendDefiniteFailure);
        let (lines, totals) = recorder.take();
        let told = TOLD_BY_REFUSAL + 2;
        let order: Vec<_> = lines
            .iter()
            .map(|line| (matches!(line.event, Event::Start(_)), line.client_id))
            .collect();
        let expected = [
            (true, 1),
            (true, told),
            (true, 2),
            (true, 3),
            (false, 3),
            (false, told),
            (false, 2),
            (false, 1),
        ];
        assert_eq!(order, expected);
        let expected = Totals {
            operations: 4,
            appended: 0,
            refused: 1,
            unknown: 1,
            observed: 2,
            unanswered: 0,
        };
        assert_eq!(totals, expected);
    }

    #[test]
    fn identities_end() {
        let recorder = Recorder::new(2);
        let given = [recorder.identity(), recorder.identity(), recorder.identity()];
        assert_eq!(given, [Some(1), Some(2), None]);
        assert_eq!(recorder.identity_of_reader(), 3);
    }
}
