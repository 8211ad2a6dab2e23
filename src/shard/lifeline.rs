//! Deadlines and goodbyes for connections, at no cost per request.
//!
//! A connection says until when it may wait for what it waits for now; one task per core looks
//! over all connections now and then, and wakes those whose time is up, or all idle ones when the
//! server drains. No timer is set or cancelled on the request path.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Why a connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// What it waited for took longer than allowed.
    TimedOut,
    /// The server shuts down, and the connection has no request under way.
    Draining,
    /// The server shuts down, and its time is up.
    Aborted,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The next request.
    Idle,
    /// The peer: the rest of a request, or room for a response.
    Peer,
    /// Us: the answer. No deadline; long polls take as long as they may.
    Answer,
}

/// One connection's deadline, and how to wake it.
#[derive(Debug)]
pub(super) struct Lifeline {
    waiting: Cell<(Waiting, u64)>,
    /// Until when a blocked socket must take something, whatever is waited for.
    stalled_until_us: Cell<u64>,
    goodbye: Cell<Option<Goodbye>>,
    waker: RefCell<Option<Waker>>,
}

impl Lifeline {
    /// Says what is waited for, and until when (microseconds on the monotonic clock).
    pub(super) fn wait_for(&self, waiting: Waiting, deadline_us: u64) {
        self.waiting.set((waiting, deadline_us));
    }

    /// Says that the socket takes nothing, and until when that may last; `u64::MAX` when it does.
    pub(super) fn stalled_until(&self, deadline_us: u64) {
        self.stalled_until_us.set(deadline_us);
    }

    /// Whether the socket takes nothing.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled_until_us.get() != u64::MAX
    }

    /// Runs `future` unless the connection must end first.
    ///
    /// * Shape: `future` is pinned by the caller, where it lies: taking it would move it twice.
    /// * Errors: the [`Goodbye`]; `future` is dropped.
    pub(super) async fn guard<T>(
        &self,
        mut future: impl Future<Output = T> + Unpin,
    ) -> Result<T, Goodbye> {
        std::future::poll_fn(|cx| {
            if let Some(goodbye) = self.goodbye.get() {
                if goodbye == Goodbye::TimedOut {
                    // Said once: the connection may have an answer for it, with a time of its own.
                    self.goodbye.set(None);
                }
                return Poll::Ready(Err(goodbye));
            }
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            drop(waker);
            Pin::new(&mut future).poll(cx).map(Ok)
        })
        .await
    }

    /// Ends what is guarded.
    pub(super) fn say(&self, goodbye: Goodbye) {
        self.goodbye.set(Some(goodbye));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A core that did not look for so long was held up, in microseconds: many times as long as it
/// takes between two looks, and less than any peer is given.
const HELD_UP_US: u64 = 500_000;

/// When a core looked for connections whose time is up.
///
/// One that was held up (a machine that sleeps, is moved, or has no time for it) finds that all
/// are late, though it has not looked at what came from them meanwhile. So its first look ends
/// none; the next does, whatever happened in between, so that this is no way to stay.
#[derive(Debug, Default)]
pub(super) struct Looks {
    last_us: Cell<u64>,
    forgave: Cell<bool>,
}

impl Looks {
    /// Whether who is late at `now_us`, on the monotonic clock, is late by themselves.
    pub(super) fn is_fair(&self, now_us: u64) -> bool {
        let since_us = now_us.saturating_sub(self.last_us.replace(now_us));
        let forgives = since_us > HELD_UP_US && !self.forgave.get();
        self.forgave.set(forgives);
        !forgives
    }
}

/// The connections of one core.
#[derive(Debug, Default)]
pub(super) struct Lifelines {
    lines: RefCell<BTreeMap<u64, Rc<Lifeline>>>,
    next_number: Cell<u64>,
}

impl Lifelines {
    /// Adds a connection, removed again when the returned value is dropped.
    pub(super) fn add(self: &Rc<Self>) -> Registered {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let line = Rc::new(Lifeline {
            waiting: (Waiting::Answer, 0).into(),
            stalled_until_us: u64::MAX.into(),
            goodbye: None.into(),
            waker: None.into(),
        });
        self.lines.borrow_mut().insert(number, Rc::clone(&line));
        Registered { lines: Rc::clone(self), number, line }
    }

    /// How many connections there are.
    #[must_use]
    pub(super) fn count(&self) -> usize {
        self.lines.borrow().len()
    }

    /// Ends connections whose time is up.
    pub(super) fn sweep(&self, now_us: u64) {
        self.end(Goodbye::TimedOut, |line| {
            let (waiting, deadline_us) = line.waiting.get();
            let late = waiting != Waiting::Answer && now_us > deadline_us;
            late || now_us > line.stalled_until_us.get()
        });
    }

    /// Ends connections that have no request under way.
    pub(super) fn drain(&self) {
        self.end(Goodbye::Draining, |line| line.waiting.get().0 == Waiting::Idle);
    }

    /// Ends all connections.
    pub(super) fn abort(&self) {
        self.end(Goodbye::Aborted, |_| true);
    }

    fn end(&self, goodbye: Goodbye, which: impl Fn(&Lifeline) -> bool) {
        for line in self.lines.borrow().values() {
            if which(line) {
                line.say(goodbye);
            }
        }
    }
}

/// A connection's place among the [`Lifelines`].
#[derive(Debug)]
pub(super) struct Registered {
    lines: Rc<Lifelines>,
    number: u64,
    line: Rc<Lifeline>,
}

impl Registered {
    /// The line itself, for who outlives the borrow.
    pub(super) fn share(&self) -> Rc<Lifeline> {
        Rc::clone(&self.line)
    }
}

impl std::ops::Deref for Registered {
    type Target = Lifeline;

    fn deref(&self) -> &Lifeline {
        &self.line
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.lines.lines.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn only_who_waits_for_the_peer_too_long_times_out() {
        let lines = Rc::new(Lifelines::default());
        let line = lines.add();
        let guard = |line: &Lifeline| line.guard(std::future::pending::<()>()).now_or_never();
        line.wait_for(Waiting::Answer, 0);
        lines.sweep(u64::MAX);
        assert_eq!(guard(&line), None, "an answer may take its time");
        line.wait_for(Waiting::Peer, 10);
        lines.sweep(10);
        assert_eq!(guard(&line), None);
        lines.sweep(11);
        assert_eq!(guard(&line), Some(Err(Goodbye::TimedOut)));
        assert_eq!(guard(&line), None, "what it says last has a time of its own");
        lines.abort();
        assert_eq!(guard(&line), Some(Err(Goodbye::Aborted)));
        assert_eq!(guard(&line), Some(Err(Goodbye::Aborted)), "nothing goes on after that");
    }

    #[test]
    fn who_was_held_up_forgives_once() {
        let looks = Looks::default();
        assert!(!looks.is_fair(7_000_000), "nobody looked before");
        assert!(looks.is_fair(7_050_000) && looks.is_fair(7_050_000 + HELD_UP_US));
        assert!(!looks.is_fair(20_000_000));
        assert!(looks.is_fair(20_050_000));
        assert!(!looks.is_fair(30_000_000));
        assert!(looks.is_fair(40_000_000), "held up again, but not for ever");
        assert!(!looks.is_fair(50_000_000));
    }

    #[test]
    fn draining_ends_idle_connections_only() {
        let lines = Rc::new(Lifelines::default());
        let (idle, busy) = (lines.add(), lines.add());
        idle.wait_for(Waiting::Idle, 10);
        busy.wait_for(Waiting::Peer, 10);
        lines.drain();
        assert_eq!(idle.guard(pin!(async {})).now_or_never(), Some(Err(Goodbye::Draining)));
        assert_eq!(busy.guard(pin!(async {})).now_or_never(), Some(Ok(())));
        drop(idle);
        assert_eq!(lines.count(), 1);
    }
}
