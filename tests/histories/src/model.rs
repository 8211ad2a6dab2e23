//! What a stream is to a client, and what an operation makes of it.
//!
//! The state is of constant size: the content is one chained hash, so a wrong, missing, repeated
//! or reordered record makes every later complete read impossible.

use crate::event::chain;

/// A fencing token, as its place among the tokens of a history; [`Token::NONE`] is the empty one,
/// which every stream begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u32);

impl Token {
    /// No fence has been set.
    pub const NONE: Self = Self(0);
}

/// A stream at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The next sequence number.
    pub tail: u64,
    /// The chained hash of all records.
    pub hash: u64,
    /// The token in force.
    pub token: Token,
}

impl State {
    /// A stream that was just made.
    pub const EMPTY: Self = Self { tail: 0, hash: 0, token: Token::NONE };
}

/// What an append asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// One for each record.
    pub record_hashes: Vec<u64>,
    /// The token that it sets.
    pub sets: Option<Token>,
    /// The token that it needs.
    pub needs: Option<Token>,
    /// The tail that it needs.
    pub match_seq_num: Option<u64>,
}

/// An operation together with what was answered. Definite failures and reads that failed are none:
/// nothing happened and nothing was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The append has taken effect, and this was the tail after it.
    Appended(Batch, u64),
    /// The append takes effect at some time, or never.
    MayAppend(Batch),
    /// A complete read.
    Read {
        /// The tail that it reached.
        tail: u64,
        /// What it read.
        hash: u64,
    },
    /// A question for the tail.
    CheckTail {
        /// The answer.
        tail: u64,
    },
}

impl Action {
    /// The state after the action takes effect in `state`, or nothing if it cannot: its conditions
    /// do not hold, or the answer would have been another one.
    pub fn apply(&self, state: State) -> Option<State> {
        match self {
            Self::Appended(batch, tail) => {
                let next = state.tail.checked_add(batch.record_hashes.len() as u64)?;
                if next == *tail { batch.apply(state) } else { None }
            }
            Self::MayAppend(batch) => batch.apply(state),
            Self::Read { tail, hash } => {
                (state.tail == *tail && state.hash == *hash).then_some(state)
            }
            Self::CheckTail { tail } => (state.tail == *tail).then_some(state),
        }
    }

    /// The only tail at which a certain action can take effect, if there is only one.
    pub fn tail_before(&self) -> Option<u64> {
        match self {
            Self::Appended(batch, tail) => tail.checked_sub(batch.record_hashes.len() as u64),
            Self::MayAppend(_) => None,
            Self::Read { tail, .. } | Self::CheckTail { tail } => Some(*tail),
        }
    }

    /// Whether it must have taken effect by its end.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::MayAppend(_))
    }
}

impl Batch {
    fn apply(&self, state: State) -> Option<State> {
        if self.needs.is_some_and(|token| token != state.token)
            || self.match_seq_num.is_some_and(|tail| tail != state.tail)
        {
            return None;
        }
        Some(State {
            tail: state.tail.checked_add(self.record_hashes.len() as u64)?,
            hash: self.record_hashes.iter().fold(state.hash, |hash, record| chain(hash, *record)),
            token: self.sets.unwrap_or(state.token),
        })
    }
}
