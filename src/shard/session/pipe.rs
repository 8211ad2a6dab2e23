//! The two queues of a session, on one core.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::{In, OUTSTANDING_BYTES_MAX, Out};
use crate::io::notify::Notify;

/// What goes in and comes out of a session; its users keep it bounded.
#[derive(Debug, Default)]
pub(in crate::shard) struct Pipe {
    ins: RefCell<VecDeque<In>>,
    outs: RefCell<VecDeque<Out>>,
    outstanding_bytes: Cell<usize>,
    closed: Cell<bool>,
    to_shard: Notify,
    to_connection: Notify,
}

impl Pipe {
    /// Hands something to the shard.
    pub(super) fn push_in(&self, input: In) {
        self.ins.borrow_mut().push_back(input);
        self.to_shard.notify();
    }

    /// Waits for what comes in next; `None` when the connection has closed the session.
    pub(super) async fn next_in(&self) -> Option<In> {
        loop {
            if self.closed.get() {
                return None;
            }
            let next = self.ins.borrow_mut().pop_front();
            if next.is_some() {
                return next;
            }
            self.to_shard.notified().await;
        }
    }

    /// Answers something.
    pub(super) fn push_out(&self, out: Out) {
        if let Out::Bytes(bytes) = &out {
            self.outstanding_bytes.set(self.outstanding_bytes.get() + bytes.len());
        }
        self.outs.borrow_mut().push_back(out);
        self.to_connection.notify();
    }

    /// The next answer, if it is there.
    pub(in crate::shard) fn pop_out(&self) -> Option<Out> {
        self.outs.borrow_mut().pop_front()
    }

    /// Waits for the next answer.
    pub(in crate::shard) async fn next_out(&self) -> Out {
        loop {
            if let Some(out) = self.pop_out() {
                return out;
            }
            self.to_connection.notified().await;
        }
    }

    /// Waits for answers and takes all there are; `None` when the session is closed.
    pub(super) async fn next_outs(&self) -> Option<Vec<Out>> {
        loop {
            if self.closed.get() {
                return None;
            }
            let outs = std::mem::take(&mut *self.outs.borrow_mut());
            if !outs.is_empty() {
                return Some(outs.into());
            }
            self.to_connection.notified().await;
        }
    }

    /// Says that the client took that many bytes.
    pub(in crate::shard) fn taken(&self, bytes: usize) {
        let before = self.outstanding_bytes.get();
        let after = before.saturating_sub(bytes);
        self.outstanding_bytes.set(after);
        if before >= OUTSTANDING_BYTES_MAX && after < OUTSTANDING_BYTES_MAX {
            self.to_shard.notify();
        }
    }

    /// Bytes answered that the client has not taken.
    pub(super) fn outstanding_bytes(&self) -> usize {
        self.outstanding_bytes.get()
    }

    /// Ends the session: whoever waits at either end stops.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.ins.borrow_mut().clear();
        self.to_shard.notify();
        self.to_connection.notify();
    }

    /// Whether the session was ended.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Waits until the client has taken enough for more, or the session was ended.
    pub(super) async fn changed(&self) {
        self.to_shard.notified().await;
    }
}

/// Pipes of this core's connections whose sessions run on other cores.
#[derive(Debug, Default)]
pub(in crate::shard) struct RemoteSessions {
    pipes: RefCell<BTreeMap<u64, Rc<Pipe>>>,
    next_number: Cell<u64>,
}

impl RemoteSessions {
    /// Adds one; returns its number.
    pub(super) fn add(&self, pipe: &Rc<Pipe>) -> u64 {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        self.pipes.borrow_mut().insert(number, Rc::clone(pipe));
        number
    }

    pub(super) fn get(&self, number: u64) -> Option<Rc<Pipe>> {
        self.pipes.borrow().get(&number).map(Rc::clone)
    }

    pub(super) fn remove(&self, number: u64) {
        self.pipes.borrow_mut().remove(&number);
    }
}
