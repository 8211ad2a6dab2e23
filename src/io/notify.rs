//! A wake-up call between tasks of one executor.

use std::cell::{Cell, OnceCell, RefCell};
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
    /// Allocated for the first that waits: each stream has a call, and few are waited for.
    waiting: OnceCell<Box<Waiting>>,
}

/// Who waits for a call.
#[derive(Debug, Default)]
struct Waiting {
    /// Ascending by number, so that one can be found to be removed.
    wakers: RefCell<Vec<(u64, Waker)>>,
    calls: Cell<u64>,
    next_number: Cell<u64>,
}

impl Notify {
    /// Wakes everyone who waits now.
    pub fn notify(&self) {
        let Some(waiting) = self.waiting.get() else { return };
        waiting.calls.set(waiting.calls.get() + 1);
        // Waking only marks tasks as ready, so nobody can begin to wait meanwhile.
        for (_, waker) in waiting.wakers.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Whether somebody waits now.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.waiting.get().is_some_and(|waiting| !waiting.wakers.borrow().is_empty())
    }

    /// Waits for the next call of [`notify`](Self::notify).
    ///
    /// * Cancel: leaves nothing behind.
    pub fn notified(&self) -> Notified<'_> {
        let waiting = self.waiting.get_or_init(Box::default);
        Notified { waiting, seen: waiting.calls.get(), number: None }
    }
}

/// Future of [`Notify::notified`].
#[derive(Debug)]
pub struct Notified<'a> {
    waiting: &'a Waiting,
    seen: u64,
    number: Option<u64>,
}

impl Notified<'_> {
    fn forget(&mut self) {
        let Some(number) = self.number.take() else { return };
        let mut wakers = self.waiting.wakers.borrow_mut();
        if let Ok(at) = wakers.binary_search_by_key(&number, |(n, _)| *n) {
            wakers.remove(at);
        }
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waiting = self.waiting;
        if waiting.calls.get() != self.seen {
            self.number = None;
            return Poll::Ready(());
        }
        let mut wakers = waiting.wakers.borrow_mut();
        if let Some(number) = self.number
            && let Ok(at) = wakers.binary_search_by_key(&number, |(n, _)| *n)
        {
            wakers[at].1.clone_from(cx.waker());
            return Poll::Pending;
        }
        let number = waiting.next_number.get();
        waiting.next_number.set(number + 1);
        wakers.push((number, cx.waker().clone()));
        drop(wakers);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if self.waiting.calls.get() == self.seen {
            self.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn only_a_later_call_wakes() {
        let notify = Notify::default();
        notify.notify();
        let mut waiting = notify.notified();
        assert_eq!((&mut waiting).now_or_never(), None);
        notify.notify();
        assert_eq!((&mut waiting).now_or_never(), Some(()));
    }

    #[test]
    fn who_gives_up_leaves_nothing_behind() {
        let notify = Notify::default();
        let mut kept = notify.notified();
        assert_eq!((&mut kept).now_or_never(), None);
        for _ in 0..10 {
            assert_eq!(notify.notified().now_or_never(), None);
        }
        assert_eq!((&mut kept).now_or_never(), None, "polled again");
        let count = || notify.waiting.get().expect("was waited for").wakers.borrow().len();
        assert_eq!(count(), 1);
        drop(kept);
        assert_eq!(count(), 0);
    }
}
