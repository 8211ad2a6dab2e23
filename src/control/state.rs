//! A stream's state as memory holds it: without a fencing token, which few streams have.

use std::cell::Cell;
use std::fmt;

use crate::stream::State;
use crate::types::{FencingToken, StreamPosition};

/// A cell that holds a [`State`], in half the room.
#[derive(Default)]
pub struct StateCell {
    tail: Cell<StreamPosition>,
    trim_point: Cell<u64>,
    /// `None` is the empty token.
    token: Cell<Option<Box<FencingToken>>>,
}

impl StateCell {
    /// What it holds.
    #[must_use]
    pub fn get(&self) -> State {
        let token = self.token.take();
        let fencing_token = token.as_deref().copied().unwrap_or_default();
        self.token.set(token);
        State { tail: self.tail.get(), trim_point: self.trim_point.get(), fencing_token }
    }

    /// Replaces what it holds.
    ///
    /// * Cost: allocates only for a token where there was none.
    pub fn set(&self, state: State) {
        let State { tail, trim_point, fencing_token } = state;
        self.tail.set(tail);
        self.trim_point.set(trim_point);
        let before = self.token.take();
        if fencing_token != FencingToken::default() {
            let mut token = before.unwrap_or_default();
            *token = fencing_token;
            self.token.set(Some(token));
        }
    }
}

impl fmt::Debug for StateCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_set_last() {
        let cell = StateCell::default();
        assert_eq!(cell.get(), State::default());
        for (number, text) in (1..).zip(["", "a", "another", "another", "", "again"]) {
            let tail = StreamPosition { seq_num: number, timestamp: number + 1 };
            let fencing_token = FencingToken::new(text).expect("short");
            let state = State { tail, trim_point: number + 2, fencing_token };
            cell.set(state);
            assert_eq!((cell.get(), cell.get()), (state, state));
        }
    }
}
