//! The two queues of a session, on one core.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::{In, OUTSTANDING_BYTES_LEAST, OUTSTANDING_BYTES_MAX, OUTSTANDING_TOTAL_BYTES, Out};
use crate::io::notify::Notify;

/// What goes in and comes out of a session; its users keep it bounded.
#[derive(Debug, Default)]
pub(in crate::shard) struct Pipe {
    ins: RefCell<VecDeque<In>>,
    outs: RefCell<VecDeque<Out>>,
    outstanding_bytes: Cell<usize>,
    /// The same of all sessions of the shard, once this is one of them.
    outstanding_total: OnceCell<Rc<Cell<usize>>>,
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
        if let Out::Bytes(bytes, _) = &out {
            self.set_outstanding(self.outstanding_bytes.get() + bytes.len());
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
        self.set_outstanding(after);
        let falls_below = |limit| before >= limit && after < limit;
        if falls_below(OUTSTANDING_BYTES_MAX) || falls_below(OUTSTANDING_BYTES_LEAST) {
            self.to_shard.notify();
        }
    }

    /// Counts what is outstanding in `total`, too.
    pub(super) fn count_in(&self, total: &Rc<Cell<usize>>) {
        let _once = self.outstanding_total.set(Rc::clone(total));
    }

    fn set_outstanding(&self, bytes: usize) {
        let before = self.outstanding_bytes.replace(bytes);
        if let Some(total) = self.outstanding_total.get() {
            total.set(total.get() + bytes - before);
        }
    }

    /// Whether the client has to take some of what was answered before it gets more.
    pub(super) fn is_full(&self) -> bool {
        self.outstanding_bytes.get() >= self.limit_bytes()
    }

    /// Most bytes that may be outstanding: less when all sessions together have much.
    pub(super) fn limit_bytes(&self) -> usize {
        let total = self.outstanding_total.get().map_or(0, |total| total.get());
        if total < OUTSTANDING_TOTAL_BYTES {
            OUTSTANDING_BYTES_MAX
        } else {
            OUTSTANDING_BYTES_LEAST
        }
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

impl Drop for Pipe {
    fn drop(&mut self) {
        self.set_outstanding(0);
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
