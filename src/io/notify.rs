//! A wake-up call between two tasks of one executor.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Wakes tasks of the same executor that wait for "something changed".
///
/// Carries no value and remembers no past call: whoever waits checks its condition first, and
/// again when woken. The check and the start of the wait happen without an await between them,
/// so on a single-threaded executor no call can be missed.
#[derive(Debug, Default)]
pub struct Notify {
    wakers: RefCell<Vec<Waker>>,
    calls: std::cell::Cell<u64>,
}

impl Notify {
    /// Wakes everyone who waits now.
    pub fn notify(&self) {
        self.calls.set(self.calls.get().wrapping_add(1));
        let wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        for waker in wakers {
            waker.wake();
        }
    }

    /// Waits for the next call of [`notify`](Self::notify).
    ///
    /// * Cancel: nothing is left behind but a waker that wakes nobody.
    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, seen: self.calls.get() }
    }
}

/// Future of [`Notify::notified`].
#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
    seen: u64,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.notify.calls.get() != self.seen {
            return Poll::Ready(());
        }
        let mut wakers = self.notify.wakers.borrow_mut();
        if !wakers.iter().any(|w| w.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
