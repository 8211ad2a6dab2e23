//! Hands due appends to free connections of one thread.
//!
//! * Appends leave in the order in which they are due; connections serve in the order in which
//!   they became free.
//! * An append that is due while no connection is free stays due: its clock keeps running.
//! * Nothing is skipped. What is still due when the drain ends is told by [`Desk::unserved`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};

use tokio::sync::Notify;

use crate::clock::{Clock, PreciseTimer};
use crate::schedule::Schedule;

/// Longest sleep of the dispatcher, so that closing the desk is noticed.
const NAP_NS: u64 = 50_000_000;

/// What a free connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Send an append that was due at this time.
    Send { due_ns: u64 },
    /// There is nothing more to send.
    Done,
}

/// The queue of due appends and free connections.
pub(crate) struct Desk {
    state: RefCell<State>,
    someone_free: Notify,
}

struct State {
    schedule: Schedule,
    next: u64,
    free: VecDeque<usize>,
    seats: Vec<Seat>,
    is_closed: bool,
}

#[derive(Default)]
struct Seat {
    call: Option<Call>,
    waker: Option<Waker>,
}

impl Seat {
    fn hand(&mut self, call: Call) {
        self.call = Some(call);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.is_closed || self.next >= self.schedule.len()
    }

    /// Takes the next append if it is due.
    fn take_due(&mut self, now_ns: u64) -> Option<Call> {
        let due_ns = self.schedule.due_ns(self.next);
        (due_ns <= now_ns).then(|| {
            self.next += 1;
            Call::Send { due_ns }
        })
    }
}

impl Desk {
    /// A desk for `connections` connections, numbered from 0.
    pub(crate) fn new(schedule: Schedule, connections: usize) -> Self {
        let seats = (0..connections).map(|_| Seat::default()).collect();
        let state = State { schedule, next: 0, free: VecDeque::new(), seats, is_closed: false };
        Self { state: RefCell::new(state), someone_free: Notify::new() }
    }

    /// Waits until connection `connection`, free since `now_ns`, has something to send.
    ///
    /// Cancel: [`Desk::withdraw`] must follow, or what is handed to the connection is lost.
    pub(crate) async fn take(&self, connection: usize, now_ns: u64) -> Call {
        {
            let mut state = self.state.borrow_mut();
            if state.is_over() {
                // The dispatcher may be waiting for a free connection to give an append to.
                self.someone_free.notify_one();
                return Call::Done;
            }
            if state.free.is_empty()
                && let Some(call) = state.take_due(now_ns)
            {
                return call;
            }
            state.free.push_back(connection);
        }
        self.someone_free.notify_one();
        poll_fn(|context| {
            let seat = &mut self.state.borrow_mut().seats[connection];
            match seat.call.take() {
                Some(call) => Poll::Ready(call),
                None => {
                    seat.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Takes back the offer of a connection whose [`Desk::take`] was cancelled; returns what it was
    /// told before it could.
    pub(crate) fn withdraw(&self, connection: usize) -> Option<Call> {
        let mut state = self.state.borrow_mut();
        state.free.retain(|free| *free != connection);
        let seat = &mut state.seats[connection];
        seat.waker = None;
        seat.call.take()
    }

    /// Matches due appends with free connections until all are sent or the desk is closed.
    pub(crate) async fn dispatch(&self, clock: Clock) -> io::Result<()> {
        let timer = PreciseTimer::new(clock)?;
        loop {
            let now_ns = clock.now_ns();
            let wake_ns = {
                let mut state = self.state.borrow_mut();
                while !state.is_over()
                    && !state.free.is_empty()
                    && let Some(call) = state.take_due(now_ns)
                {
                    let connection = state.free.pop_front().expect("checked");
                    state.seats[connection].hand(call);
                }
                if state.is_over() {
                    break;
                }
                let due_ns = state.schedule.due_ns(state.next);
                (!state.free.is_empty()).then(|| due_ns.min(now_ns + NAP_NS))
            };
            match wake_ns {
                Some(at_ns) => timer.wait_until(at_ns).await?,
                None => self.someone_free.notified().await,
            }
        }
        self.close();
        Ok(())
    }

    /// Sends every waiting connection home; nothing is handed out any more.
    pub(crate) fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.is_closed = true;
        while let Some(connection) = state.free.pop_front() {
            state.seats[connection].hand(Call::Done);
        }
        self.someone_free.notify_one();
    }

    /// The due times of all appends that were not handed out.
    pub(crate) fn unserved(&self) -> Vec<u64> {
        let state = self.state.borrow();
        (state.next..state.schedule.len()).map(|i| state.schedule.due_ns(i)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run(future: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(10), future).await.expect("bounded");
        });
    }

    #[test]
    fn appends_leave_in_order_and_never_early() {
        run(async {
            let clock = Clock::start();
            let schedule = Schedule::new(2_000.0, 0, 5_000_000, 0, 1);
            let desk = Desk::new(schedule, 1);
            let lane = async {
                let mut due = Vec::new();
                while let Call::Send { due_ns } = desk.take(0, clock.now_ns()).await {
                    assert!(clock.now_ns() >= due_ns);
                    due.push(due_ns);
                }
                assert_eq!(due, (0..10).map(|i| i * 500_000).collect::<Vec<_>>());
            };
            let (result, ()) = tokio::join!(desk.dispatch(clock), lane);
            result.unwrap();
            assert_eq!(desk.unserved(), [] as [u64; 0]);
        });
    }

    #[test]
    fn what_waited_keeps_its_due_time() {
        run(async {
            let clock = Clock::start();
            let desk = Desk::new(Schedule::new(1_000.0, 0, 10_000_000, 0, 1), 1);
            // Free only after everything is due: each is handed over at once, with its own time.
            for i in 0..10 {
                let call = desk.take(0, 20_000_000).await;
                assert_eq!(call, Call::Send { due_ns: i * 1_000_000 });
            }
            desk.dispatch(clock).await.unwrap();
        });
    }

    #[test]
    fn the_dispatcher_ends_when_a_connection_took_the_last_append_by_itself() {
        run(async {
            let clock = Clock::start();
            let desk = Desk::new(Schedule::new(1_000.0, 0, 1_000_000, 0, 1), 1);
            let lane = async {
                assert_eq!(desk.take(0, 0).await, Call::Send { due_ns: 0 });
                assert_eq!(desk.take(0, 0).await, Call::Done);
            };
            // Polled first, the dispatcher already waits for a free connection.
            tokio::join!(desk.dispatch(clock), lane).0.unwrap();
        });
    }

    #[test]
    fn a_cancelled_wait_gives_back_what_it_was_handed() {
        run(async {
            let clock = Clock::start();
            let desk = Desk::new(Schedule::new(1_000.0, 0, 3_000_000, 0, 1), 2);
            let cancel = |connection| {
                let mut take = Box::pin(desk.take(connection, 0));
                let mut context = std::task::Context::from_waker(Waker::noop());
                // Both find the desk with something due later and nobody ahead of them.
                assert!(take.as_mut().poll(&mut context).is_pending());
            };
            assert_eq!(desk.take(0, 0).await, Call::Send { due_ns: 0 });
            cancel(0);
            assert_eq!(desk.withdraw(0), None, "nothing was due yet");
            cancel(1);
            let lane = async {
                while desk.state.borrow().seats[1].call.is_none() {
                    tokio::task::yield_now().await;
                }
                assert_eq!(desk.withdraw(1), Some(Call::Send { due_ns: 1_000_000 }));
                assert_eq!(desk.take(0, clock.now_ns()).await, Call::Send { due_ns: 2_000_000 });
            };
            tokio::join!(desk.dispatch(clock), lane).0.unwrap();
            assert_eq!(desk.withdraw(1), None, "no longer among the free");
        });
    }

    #[test]
    fn closing_releases_the_waiting_and_returns_what_was_due() {
        run(async {
            let clock = Clock::start();
            let desk = Desk::new(Schedule::new(1.0, 3_600_000_000_000, 3_602_000_000_000, 0, 1), 2);
            let close = async {
                tokio::task::yield_now().await;
                desk.close();
            };
            let (result, one, two, ()) =
                tokio::join!(desk.dispatch(clock), desk.take(0, 0), desk.take(1, 0), close);
            result.unwrap();
            assert_eq!((one, two), (Call::Done, Call::Done));
            assert_eq!(desk.unserved(), [3_600_000_000_000, 3_601_000_000_000]);
            assert_eq!(desk.take(0, u64::MAX).await, Call::Done, "closed for good");
        });
    }
}
