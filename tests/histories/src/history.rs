//! A file of events as operations, each with its place in time.
//!
//! Bytes from outside are not trusted: a history that no collector would write is malformed, which
//! is neither linearizable nor not.

use std::collections::BTreeMap;
use std::io::BufRead;

use crate::event::{Append, Event, Finish, Line, Start};
use crate::model::{Action, Batch, Token};

/// The longest line that is read, in bytes: a batch of 1000 records takes some 21 KB.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// The most lines that are read.
const LINES_MAX: usize = 1_000_000;

/// Operations in the order of their begin.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What can be learnt from: see [`Action`].
    pub operations: Vec<Operation>,
    /// Operations that nothing can be learnt from: definite failures and failed reads.
    pub without_effect: usize,
}

/// An operation and its place in time.
#[derive(Clone, Debug)]
pub struct Operation {
    /// What was done and answered.
    pub action: Action,
    /// The number of the line where it began.
    pub start: usize,
    /// The number of the line where it ended; `usize::MAX` if it may take effect at any time.
    pub end: usize,
    /// Who did it.
    pub client_id: u64,
    /// Its name in the file.
    pub op_id: u64,
}

/// Why a file is not a history.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The file cannot be read.
    #[error("line {line}: cannot be read")]
    Io {
        /// From 1.
        line: usize,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not an event.
    #[error("line {line}: is not an event")]
    Json {
        /// From 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// The events do not fit together.
    #[error("line {line}: {what}")]
    Order {
        /// From 1.
        line: usize,
        /// What no collector would write.
        what: &'static str,
    },
}

/// What began and has not ended.
struct Open {
    asked: Start,
    start: usize,
    client_id: u64,
}

/// Puts events together.
#[derive(Default)]
struct Reader {
    history: History,
    open: BTreeMap<u64, Open>,
    seen: std::collections::BTreeSet<u64>,
    busy: BTreeMap<u64, u64>,
    tokens: BTreeMap<String, Token>,
    line: usize,
}

impl History {
    /// Reads a file of JSON lines; empty lines are allowed.
    pub fn read(mut file: impl BufRead) -> Result<Self, Malformed> {
        let mut reader = Reader::default();
        let mut text = String::new();
        loop {
            text.clear();
            let line = reader.line + 1;
            let bytes = std::io::Read::take(&mut file, LINE_BYTES_MAX)
                .read_line(&mut text)
                .map_err(|source| Malformed::Io { line, source })?;
            if bytes == 0 {
                return reader.finish();
            }
            if text.trim().is_empty() {
                reader.line += 1;
                continue;
            }
            let event =
                serde_json::from_str(&text).map_err(|source| Malformed::Json { line, source })?;
            reader.add(event)?;
        }
    }

    /// A history of these events.
    pub fn of(lines: impl IntoIterator<Item = Line>) -> Result<Self, Malformed> {
        let mut reader = Reader::default();
        lines.into_iter().try_for_each(|line| reader.add(line))?;
        reader.finish()
    }

    /// How many appends have an unknown outcome.
    pub fn uncertain(&self) -> usize {
        self.operations.iter().filter(|operation| !operation.action.is_certain()).count()
    }
}

impl Reader {
    fn wrong(&self, what: &'static str) -> Malformed {
        Malformed::Order { line: self.line, what }
    }

    fn add(&mut self, line: Line) -> Result<(), Malformed> {
        self.line += 1;
        if self.line > LINES_MAX {
            return Err(self.wrong("too many lines"));
        }
        match line.event {
            Event::Start(asked) => self.start(asked, line.client_id, line.op_id),
            Event::Finish(answer) => self.end(answer, line.client_id, line.op_id),
        }
    }

    fn start(&mut self, asked: Start, client_id: u64, op_id: u64) -> Result<(), Malformed> {
        if !self.seen.insert(op_id) {
            return Err(self.wrong("an operation begins that has begun before"));
        }
        if self.busy.insert(client_id, op_id).is_some() {
            return Err(self.wrong("a client begins an operation while it has one under way"));
        }
        if let Start::Append(append) = &asked {
            if append.num_records != append.record_hashes.len() as u64 {
                return Err(self.wrong("not one hash for each record"));
            }
            if append.record_hashes.is_empty() {
                return Err(self.wrong("an append of nothing"));
            }
        }
        self.open.insert(op_id, Open { asked, start: self.line, client_id });
        Ok(())
    }

    fn end(&mut self, answer: Finish, client_id: u64, op_id: u64) -> Result<(), Malformed> {
        let Some(open) = self.open.remove(&op_id) else {
            return Err(self.wrong("an operation ends that is not under way"));
        };
        if open.client_id != client_id {
            return Err(self.wrong("an operation ends at another client"));
        }
        self.busy.remove(&client_id);
        let end = self.line;
        let (action, end) = match (open.asked, answer) {
            (Start::Append(append), Finish::AppendSuccess { tail }) => {
                (Action::Appended(self.batch(append), tail), end)
            }
            // The place of this line says nothing: what is unknown stays so for ever.
            (Start::Append(append), Finish::AppendIndefiniteFailure) => {
                (Action::MayAppend(self.batch(append)), usize::MAX)
            }
            (Start::Read, Finish::ReadSuccess { tail, stream_hash }) => {
                (Action::Read { tail, hash: stream_hash }, end)
            }
            (Start::CheckTail, Finish::CheckTailSuccess { tail }) => {
                (Action::CheckTail { tail }, end)
            }
            (Start::Append(_), Finish::AppendDefiniteFailure)
            | (Start::Read, Finish::ReadFailure)
            | (Start::CheckTail, Finish::CheckTailFailure) => {
                self.history.without_effect += 1;
                return Ok(());
            }
            _ => return Err(self.wrong("an answer to another question")),
        };
        let start = open.start;
        self.history.operations.push(Operation { action, start, end, client_id, op_id });
        Ok(())
    }

    fn batch(&mut self, append: Append) -> Batch {
        Batch {
            record_hashes: append.record_hashes,
            sets: append.set_fencing_token.map(|token| self.token(token)),
            needs: append.fencing_token.map(|token| self.token(token)),
            match_seq_num: append.match_seq_num,
        }
    }

    fn token(&mut self, text: String) -> Token {
        if text.is_empty() {
            return Token::NONE;
        }
        let next = u32::try_from(self.tokens.len() + 1).unwrap_or(u32::MAX);
        *self.tokens.entry(text).or_insert(Token(next))
    }

    /// What never ended: an append may take effect, a read has taught nothing.
    fn finish(mut self) -> Result<History, Malformed> {
        for (op_id, Open { asked, start, client_id }) in std::mem::take(&mut self.open) {
            match asked {
                Start::Append(append) => {
                    let action = Action::MayAppend(self.batch(append));
                    let operation = Operation { action, start, end: usize::MAX, client_id, op_id };
                    self.history.operations.push(operation);
                }
                Start::Read | Start::CheckTail => self.history.without_effect += 1,
            }
        }
        self.history.operations.sort_by_key(|operation| operation.start);
        Ok(self.history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(asked: Start, client_id: u64, op_id: u64) -> Line {
        Line { event: Event::Start(asked), client_id, op_id }
    }

    fn end(answer: Finish, client_id: u64, op_id: u64) -> Line {
        Line { event: Event::Finish(answer), client_id, op_id }
    }

    fn append(num_records: u64, hashes: &[u64]) -> Start {
        Start::Append(Append {
            num_records,
            record_hashes: hashes.to_vec(),
            set_fencing_token: None,
            fencing_token: None,
            match_seq_num: None,
        })
    }

    #[test]
    fn what_no_collector_would_write_is_malformed() {
        let told = Finish::CheckTailSuccess { tail: 0 };
        let cases = [
            vec![end(told.clone(), 1, 1)],
            vec![start(Start::Read, 1, 1), start(Start::Read, 1, 2)],
            vec![start(Start::Read, 1, 1), end(Finish::ReadFailure, 2, 1)],
            vec![start(Start::Read, 1, 1), end(told.clone(), 1, 1)],
            vec![start(Start::CheckTail, 1, 1), end(told.clone(), 1, 1), end(told.clone(), 1, 1)],
            vec![start(Start::CheckTail, 1, 1), end(told, 1, 1), start(Start::CheckTail, 1, 1)],
            vec![start(append(2, &[1]), 1, 1)],
            vec![start(append(0, &[]), 1, 1)],
        ];
        for lines in cases {
            let text = format!("{lines:?}");
            assert!(matches!(History::of(lines), Err(Malformed::Order { .. })), "{text}");
        }
        let cases: [&[u8]; 3] =
            [b"{}", b"{\"event\":{\"Start\":\"Trim\"},\"client_id\":1,\"op_id\":1}", b"["];
        for text in cases {
            assert!(matches!(History::read(text), Err(Malformed::Json { line: 1, .. })));
        }
        assert!(matches!(History::read(&b"\n\xff"[..]), Err(Malformed::Io { line: 2, .. })));
    }

    #[test]
    fn operations_come_in_the_order_of_their_begin_and_unknown_ones_never_end() {
        let lines = [
            start(append(1, &[7]), 1, 10),
            start(Start::Read, 2, 11),
            start(append(1, &[8]), 3, 12),
            end(Finish::ReadSuccess { tail: 0, stream_hash: 0 }, 2, 11),
            start(append(1, &[9]), 4, 13),
            end(Finish::AppendDefiniteFailure, 4, 13),
            end(Finish::AppendIndefiniteFailure, 1, 10),
        ];
        let text: String =
            lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        let history = History::read(text.as_bytes()).unwrap();
        let spans: Vec<_> =
            history.operations.iter().map(|op| (op.op_id, op.start, op.end)).collect();
        assert_eq!(spans, [(10, 1, usize::MAX), (11, 2, 4), (12, 3, usize::MAX)]);
        assert_eq!((history.uncertain(), history.without_effect), (2, 1));
    }

    #[test]
    fn no_token_and_the_empty_one_are_the_same() {
        let mut reader = Reader::default();
        let tokens = ["", "a", "b", "a"].map(|text| reader.token(text.into()));
        assert_eq!(tokens, [Token::NONE, Token(1), Token(2), Token(1)]);
    }
}
