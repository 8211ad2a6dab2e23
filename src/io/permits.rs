//! A bound on how much goes on at a time, among tasks of one executor.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A fixed number of permits; whoever finds none waits in line.
#[derive(Debug)]
pub struct Permits {
    free: Cell<usize>,
    /// Who waits, by number: the smallest has waited longest.
    waiting: RefCell<BTreeMap<u64, Waker>>,
    next_number: Cell<u64>,
}

impl Permits {
    /// So many permits, all free.
    #[must_use]
    pub fn new(count: usize) -> Rc<Self> {
        let waiting = RefCell::default();
        Rc::new(Self { free: count.into(), waiting, next_number: 0.into() })
    }

    /// Waits for a permit; it lasts until the result is dropped.
    ///
    /// * Order: first come, first served.
    /// * Cancel: leaves nothing behind; a permit that was meant for it goes to the next in line.
    pub fn acquire(self: &Rc<Self>) -> Acquire {
        Acquire { permits: Rc::clone(self), number: None }
    }

    /// Wakes whoever has waited longest, if a permit is free.
    fn pass_on(&self) {
        if self.free.get() > 0
            && let Some(first) = self.waiting.borrow().values().next()
        {
            first.wake_by_ref();
        }
    }
}

/// Future of [`Permits::acquire`].
#[derive(Debug)]
pub struct Acquire {
    permits: Rc<Permits>,
    number: Option<u64>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let permits = Rc::clone(&self.permits);
        let mut waiting = permits.waiting.borrow_mut();
        let first = waiting.keys().next().copied();
        if permits.free.get() > 0 && (first.is_none() || first == self.number) {
            if let Some(number) = self.number.take() {
                waiting.remove(&number);
            }
            drop(waiting);
            permits.free.set(permits.free.get() - 1);
            permits.pass_on(); // the next may have one, too
            return Poll::Ready(Permit { permits });
        }
        let number = self.number.unwrap_or_else(|| {
            let number = permits.next_number.get();
            permits.next_number.set(number + 1);
            number
        });
        waiting.insert(number, cx.waker().clone());
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.permits.waiting.borrow_mut().remove(&number);
            self.permits.pass_on();
        }
    }
}

/// A permit in use; its drop gives it back.
#[derive(Debug)]
pub struct Permit {
    permits: Rc<Permits>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.free.set(self.permits.free.get() + 1);
        self.permits.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn who_came_first_is_served_first() {
        let permits = Permits::new(1);
        let held = permits.acquire().now_or_never().expect("free");
        let (mut second, mut third) = (permits.acquire(), permits.acquire());
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        drop(held);
        assert!((&mut third).now_or_never().is_none(), "not its turn");
        assert!(permits.acquire().now_or_never().is_none(), "nor a newcomer's");
        let held = (&mut second).now_or_never().expect("its turn");
        assert!((&mut third).now_or_never().is_none());
        drop(held);
        assert!((&mut third).now_or_never().is_some());
    }

    #[test]
    fn who_gives_up_passes_its_turn_on() {
        let permits = Permits::new(1);
        let held = permits.acquire().now_or_never().expect("free");
        let (mut second, mut third) = (permits.acquire(), permits.acquire());
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        drop(held);
        drop(second);
        assert!((&mut third).now_or_never().is_some());
        assert!(permits.waiting.borrow().is_empty());
    }
}
