//! Waiting for durability: one number that only grows, and who waits for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// How far a shard's log is durable, by ticket, and the first reason why it never will be further.
#[derive(Debug, Default)]
pub(super) struct Durable {
    reached: Cell<u64>,
    failed: RefCell<Option<Rc<str>>>,
    /// In ascending order of tickets.
    waiters: RefCell<VecDeque<(u64, Waker)>>,
}

impl Durable {
    /// Every entry up to this ticket is durable.
    #[must_use]
    pub(super) fn reached(&self) -> u64 {
        self.reached.get()
    }

    /// The reason why the log was given up, if it was.
    #[must_use]
    pub(super) fn failure(&self) -> Option<Rc<str>> {
        self.failed.borrow().clone()
    }

    /// Moves on to `ticket` and wakes who waited for it, in order.
    pub(super) fn advance(&self, ticket: u64) {
        assert!(ticket >= self.reached.get(), "durability is not taken back");
        self.reached.set(ticket);
        let mut waiters = self.waiters.borrow_mut();
        while waiters.front().is_some_and(|(t, _)| *t <= ticket)
            && let Some((_, waker)) = waiters.pop_front()
        {
            waker.wake();
        }
    }

    /// Gives up: nothing more will become durable. Only the first reason is kept.
    pub(super) fn fail(&self, reason: &str) {
        self.failed.borrow_mut().get_or_insert_with(|| reason.into());
        for (_, waker) in self.waiters.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Waits until `ticket` is durable.
    ///
    /// * Errors: the reason when the log was given up before.
    /// * Cancel: leaves nothing behind but a waker that wakes nobody.
    pub(super) fn wait(&self, ticket: u64) -> Wait<'_> {
        Wait { durable: self, ticket, registered: None }
    }
}

/// Future of [`Durable::wait`].
#[derive(Debug)]
pub(super) struct Wait<'a> {
    durable: &'a Durable,
    ticket: u64,
    /// The waker that is among the waiters.
    registered: Option<Waker>,
}

impl Future for Wait<'_> {
    type Output = Result<(), Rc<str>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.durable.reached.get() >= self.ticket {
            return Poll::Ready(Ok(()));
        }
        if let Some(reason) = &*self.durable.failed.borrow() {
            return Poll::Ready(Err(Rc::clone(reason)));
        }
        if self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.registered = Some(cx.waker().clone());
        let mut waiters = self.durable.waiters.borrow_mut();
        let at = waiters.partition_point(|(t, _)| *t <= self.ticket);
        waiters.insert(at, (self.ticket, cx.waker().clone()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn only_what_is_reached_is_durable() {
        let durable = Durable::default();
        assert_eq!(durable.wait(0).now_or_never(), Some(Ok(())));
        assert_eq!(durable.wait(1).now_or_never(), None);
        durable.advance(2);
        assert_eq!(durable.wait(2).now_or_never(), Some(Ok(())));
        assert_eq!(durable.wait(3).now_or_never(), None);
    }

    #[test]
    fn a_failure_answers_who_waits_and_keeps_its_first_reason() {
        let durable = Durable::default();
        durable.advance(1);
        durable.fail("first");
        durable.fail("second");
        assert_eq!(durable.wait(1).now_or_never(), Some(Ok(())), "what was durable stays so");
        assert_eq!(durable.wait(2).now_or_never(), Some(Err("first".into())));
    }
}
