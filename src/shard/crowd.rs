//! A crowd of large appends: who is let in when more arrive than a core can look at at once.
//!
//! A body of 64 KiB takes a core some 50 us to receive and understand. When hundreds arrive at the
//! same time and each is taken as its task comes, whoever waits for an answer that is long durable
//! waits behind all of them, and so does everyone who has just come.
//!
//! * In one lap (a turn of every task that has something to do) so many bytes of bodies are let in
//!   and no more. The other requests wait with their heads understood and their bodies in the
//!   kernel.
//! * Of those that wait, the newest comes first: it can still be answered in time.
//! * Who has waited for two fifths of what its class promises is refused, and its body, though
//!   received, is not looked at. So nobody waits for ever.
//! * Who is refused at once, since the log has too much ahead, never waits here and is in no lap:
//!   its body is received in turns of its socket (`io::socket`), like one of any size that is
//!   thrown away.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{self, Future};
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::core::Core;
use crate::api::{ApiError, Operation};
use crate::io::Io;
use crate::types::Refusal;

/// Shortest body that counts, in bytes: shorter ones take less time than turns would cost.
const COUNTED_BYTES_MIN: u64 = 16 * 1024;
/// Most bytes of bodies let in, and as much again of those that waited and are refused, in one lap;
/// one body more of each, since the last may exceed it.
const LAP_BYTES: u64 = 512 * 1024;

/// What became of one who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Enter,
    Late,
}

/// One who waits.
#[derive(Debug)]
struct Waiter {
    /// When it is refused, in microseconds.
    late_us: u64,
    bytes: u64,
    verdict: Cell<Option<Verdict>>,
    waker: RefCell<Option<Waker>>,
}

impl Waiter {
    fn settle(&self, verdict: Verdict) {
        self.verdict.set(Some(verdict));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// Who waits at one core, and how much this lap has let in.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    lap_bytes: Cell<u64>,
    /// Whether somebody counts the laps.
    is_counted: Cell<bool>,
    /// In order of arrival; no more than there are connections.
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

impl Crowd {
    /// Whether a body of that size may be taken at once.
    fn enter(&self, bytes: u64) -> bool {
        let lap_bytes = self.lap_bytes.get().saturating_add(bytes);
        let enters = self.waiting.borrow().is_empty()
            && (self.lap_bytes.get() == 0 || lap_bytes <= LAP_BYTES);
        if enters {
            self.lap_bytes.set(lap_bytes);
        }
        enters
    }

    /// Waits to be let in; true when it was too late for that.
    ///
    /// * Cancel: leaves a place behind that is skipped.
    fn wait(&self, bytes: u64, late_us: u64) -> impl Future<Output = bool> + use<> {
        let waiter =
            Rc::new(Waiter { late_us, bytes, verdict: Cell::default(), waker: RefCell::default() });
        self.waiting.borrow_mut().push_back(Rc::clone(&waiter));
        future::poll_fn(move |cx| {
            if let Some(verdict) = waiter.verdict.get() {
                return Poll::Ready(verdict == Verdict::Late);
            }
            *waiter.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
    }

    /// Begins a lap: refuses who is late, and lets in the newest. False when there is nothing more
    /// to count.
    fn next_lap(&self, now_us: u64) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let was_quiet = self.lap_bytes.take() == 0 && waiting.is_empty();
        let mut late_bytes = 0;
        waiting.retain(|waiter| {
            // Whoever held it too has gone.
            if Rc::strong_count(waiter) == 1 {
                return false;
            }
            let stays = now_us < waiter.late_us || late_bytes >= LAP_BYTES;
            if !stays {
                late_bytes = waiter.bytes.saturating_add(late_bytes);
                waiter.settle(Verdict::Late);
            }
            stays
        });
        let mut lap_bytes = 0;
        while lap_bytes < LAP_BYTES
            && let Some(at) = waiting.iter().rposition(|waiter| now_us < waiter.late_us)
            && let Some(newest) = waiting.remove(at)
        {
            lap_bytes = newest.bytes.saturating_add(lap_bytes);
            newest.settle(Verdict::Enter);
        }
        self.lap_bytes.set(lap_bytes);
        !was_quiet
    }
}

impl<I: Io> Core<I> {
    /// Waits until a request of which the head was understood at `came_us` and whose body has that
    /// many bytes may have it received, and says why it is refused instead: an append for which
    /// the time is too short. Others never wait.
    pub(super) async fn let_in(
        self: &Rc<Self>,
        operation: &Operation,
        came_us: u64,
        bytes: u64,
    ) -> Result<(), ApiError> {
        let Operation::Append { path, .. } = operation else { return Ok(()) };
        if bytes < COUNTED_BYTES_MIN {
            return Ok(());
        }
        // What another core's shard has to do is only known there.
        let Some(engine) = self.engine(self.shard_of(path)) else { return Ok(()) };
        engine.check_in_time(path, 0)?;
        // Noted first, so that nobody begins a second count before this one has run. Nothing can
        // come between: spawning neither waits nor fails, and only the count itself takes it back.
        if !self.crowd.is_counted.replace(true) {
            self.spawn(Rc::clone(self).count_laps());
        }
        if self.crowd.enter(bytes) {
            return Ok(());
        }
        let patience_us = engine.patience_us(path);
        if self.crowd.wait(bytes, came_us + patience_us).await {
            return Err(Refusal::RateLimited { retry_after_ms: patience_us / 1000 }.into());
        }
        Ok(engine.check_in_time(path, self.now_us().saturating_sub(came_us))?)
    }

    /// Counts laps for as long as large appends come.
    async fn count_laps(self: Rc<Self>) {
        let clock = self.clock();
        loop {
            // Everyone else has a turn meanwhile, and what the disk has done is noticed.
            clock.look_around().await;
            if !self.crowd.next_lap(clock.now_us()) {
                self.crowd.is_counted.set(false);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_lap_lets_in_the_newest_and_refuses_who_is_late() {
        let crowd = Crowd::default();
        let bytes = LAP_BYTES / 2;
        assert!(crowd.enter(bytes) && crowd.enter(bytes) && !crowd.enter(bytes));
        let mut waits: Vec<_> =
            (0..5).map(|at| Some(Box::pin(crowd.wait(bytes, 10 + at)))).collect();
        let mut settled = |which: usize| waits[which].as_mut().and_then(|w| w.now_or_never());
        assert!(crowd.next_lap(10), "the first is late, the last two are let in");
        assert_eq!(
            (0..5).map(&mut settled).collect::<Vec<_>>(),
            [Some(true), None, None, Some(false), Some(false)]
        );
        assert!(!crowd.enter(1), "nobody overtakes who waits");
        waits[2] = None;
        assert!(crowd.next_lap(10));
        assert_eq!(waits[1].as_mut().and_then(|w| w.now_or_never()), Some(false));
        assert!(crowd.waiting.borrow().is_empty(), "who gave up is no longer there");
        assert!(crowd.next_lap(10) && !crowd.next_lap(10), "a lap with nobody ends the count");
        assert!(crowd.enter(10 * LAP_BYTES), "what is larger than a lap comes in alone");
        assert!(!crowd.enter(1));
        assert!(!crowd.enter(u64::MAX), "sums do not overflow");
        let _waits = [crowd.wait(u64::MAX, 20), crowd.wait(u64::MAX, 20), crowd.wait(1, 0)];
        assert!(crowd.next_lap(10) && crowd.next_lap(30));
    }

    #[test]
    fn who_is_late_is_passed_over_by_who_is_not() {
        let crowd = Crowd::default();
        assert!(crowd.enter(LAP_BYTES));
        // More than one lap refuses, so the last of them is late and still there.
        let _late = [crowd.wait(LAP_BYTES, 1_000), crowd.wait(LAP_BYTES, 5), crowd.wait(1, 5)];
        assert!(crowd.next_lap(10));
        assert_eq!(crowd.waiting.borrow().len(), 1, "one refused, one let in");
        assert_eq!(crowd.waiting.borrow().front().map(|waiter| waiter.late_us), Some(5));
    }
}
