//! What a core's connections make it hold for them, together.
//!
//! * [`HeldMemory`] counts bytes: of requests from when they arrive until they are answered, heads
//!   included; of answers until they are taken; or of HTTP/2 requests for being open, beyond
//!   [`FREE_REQUESTS`] of each connection. Each connection or request has a [`Share`] of it.
//! * What arrives is in the peers' hands: it may take [`ARRIVING_OF_4`] quarters of the whole, and
//!   each connection has [`FREE_BYTES`] beside it, so that small requests get through whatever
//!   others hold: requests of HTTP/2 that are counted have theirs counted, too, and sessions keep
//!   less of it. Who wants more waits in line, and is refused after [`ROOM_US`].
//! * What has arrived is in our hands and goes on by itself. Who only wants no more than there is
//!   memory for does not stand in line: see [`Share::no_excess`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::future::{self, Either};

use crate::io::Io;
use crate::io::notify::Notify;
use crate::types::AppendInput;

/// What a connection may receive without asking, in bytes.
pub(super) const FREE_BYTES: u64 = 16 * 1024;
/// What an append session may receive of a message without asking when it is one of many on its
/// connection, in bytes: it may last, and what it does not use is lost to others meanwhile.
pub(super) const FREE_SESSION_BYTES: u64 = 4 * 1024;
/// HTTP/2 requests that a connection may have open at a time without asking.
pub(super) const FREE_REQUESTS: usize = 4;
/// Memory of an open HTTP/2 request beside its body, in bytes: its task, what its head said, and
/// its place in the protocol.
pub(super) const REQUEST_BYTES: u64 = 8 * 1024;
/// How long a request waits for memory before it is refused, in microseconds.
pub(super) const ROOM_US: u64 = 1_000_000;
/// Quarters of the memory that may be in the hands of peers.
const ARRIVING_OF_4: u64 = 3;
/// Memory of a decoded record beside its bytes.
const RECORD_BYTES: u64 = 96;
/// Memory of a decoded header beside its bytes.
const HEADER_BYTES: u64 = 16;
/// Most that one HTTP/2 connection may be sent before it is looked at, beyond what every peer may
/// send without asking, in bytes.
const WINDOW_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Part of what is left that one HTTP/2 connection gets as its window.
const WINDOW_PART: u64 = 32;

/// The memory of one core's requests, or of its answers.
#[derive(Debug)]
pub(in crate::shard) struct HeldMemory {
    bytes_max: u64,
    bytes: Cell<u64>,
    /// Of these, what belongs to requests of which more has to come.
    arriving_bytes: Cell<u64>,
    /// Who waits, in order.
    line: RefCell<BTreeMap<u64, Waker>>,
    next_number: Cell<u64>,
    /// Said when no more is counted than there is room for.
    no_excess: Notify,
}

/// One holder's part of it, given back when dropped.
#[derive(Debug)]
pub(in crate::shard) struct Share {
    held: Rc<HeldMemory>,
    bytes: Cell<u64>,
    arriving_bytes: Cell<u64>,
}

/// A place in the line, left when dropped.
struct Place<'a> {
    held: &'a HeldMemory,
    number: u64,
}

impl HeldMemory {
    /// Room for that many bytes.
    pub(in crate::shard) fn new(bytes_max: u64) -> Rc<Self> {
        Rc::new(Self {
            bytes_max,
            bytes: Cell::default(),
            arriving_bytes: Cell::default(),
            line: RefCell::default(),
            next_number: Cell::default(),
            no_excess: Notify::default(),
        })
    }

    pub(in crate::shard) fn share(self: &Rc<Self>) -> Share {
        Share { held: Rc::clone(self), bytes: Cell::default(), arriving_bytes: Cell::default() }
    }

    /// What is counted now.
    #[cfg(test)]
    pub(in crate::shard) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Takes a part of what is left for the window of an HTTP/2 connection: much while there are
    /// few, ever less with each, never more than there is.
    pub(super) fn grant_window(self: &Rc<Self>) -> (Share, u32) {
        let left = self.bytes_max.saturating_sub(self.bytes.get());
        let window_bytes = (left / WINDOW_PART).min(WINDOW_BYTES_MAX);
        let share = self.share();
        share.add(window_bytes);
        (share, u32::try_from(window_bytes).expect("at most WINDOW_BYTES_MAX"))
    }

    /// Whether half of it is in use: then nothing is kept only to be used again.
    pub(super) fn is_short(&self) -> bool {
        self.bytes.get() >= self.bytes_max / 2
    }

    fn has_room(&self, arriving_bytes: u64, bytes: u64) -> bool {
        let arriving_max = self.bytes_max / 4 * ARRIVING_OF_4;
        let arriving =
            arriving_bytes == 0 || self.arriving_bytes.get() + arriving_bytes <= arriving_max;
        arriving && self.bytes.get() + arriving_bytes + bytes <= self.bytes_max
    }

    fn is_exceeded(&self) -> bool {
        self.bytes.get() > self.bytes_max
    }

    fn wake_first(&self) {
        if let Some(first) = self.line.borrow().values().next() {
            first.wake_by_ref();
        }
    }

    /// Waits in line for room for that much; `ready` takes it.
    async fn wait(&self, arriving_bytes: u64, bytes: u64, ready: impl Fn()) {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let _place = Place { held: self, number };
        let poll = |cx: &mut Context<'_>| {
            let mut line = self.line.borrow_mut();
            let first = line.keys().next().is_none_or(|first| *first >= number);
            if first && self.has_room(arriving_bytes, bytes) {
                ready();
                return Poll::Ready(());
            }
            line.insert(number, cx.waker().clone());
            Poll::Pending
        };
        poll_fn(poll).await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.held.line.borrow_mut().remove(&self.number);
        // The next may have room, too.
        self.held.wake_first();
    }
}

impl Share {
    /// Counts `total_bytes` of a request of which more has to come, but for what is free, and
    /// waits for room if that is more than before.
    ///
    /// * Cancel: nothing is counted.
    pub(super) async fn arrive(&self, total_bytes: u64) {
        if !self.try_arrive(total_bytes) {
            let more_bytes = self.missing_bytes(total_bytes);
            self.held.wait(more_bytes, 0, || self.count_arriving(more_bytes)).await;
        }
    }

    /// The same without waiting; false when there is no room, or others wait for it.
    pub(super) fn try_arrive(&self, total_bytes: u64) -> bool {
        let more_bytes = self.missing_bytes(total_bytes);
        let fits = more_bytes == 0
            || self.held.line.borrow().is_empty() && self.held.has_room(more_bytes, 0);
        if fits {
            self.count_arriving(more_bytes);
        }
        fits
    }

    fn missing_bytes(&self, total_bytes: u64) -> u64 {
        total_bytes.saturating_sub(FREE_BYTES + self.bytes.get())
    }

    fn count_arriving(&self, more_bytes: u64) {
        self.arriving_bytes.set(self.arriving_bytes.get() + more_bytes);
        self.held.arriving_bytes.set(self.held.arriving_bytes.get() + more_bytes);
        self.add(more_bytes);
    }

    /// Nothing more has to come of what is counted.
    pub(super) fn arrived(&self) {
        let arrived_bytes = self.arriving_bytes.replace(0);
        if arrived_bytes > 0 {
            self.held.arriving_bytes.set(self.held.arriving_bytes.get() - arrived_bytes);
            self.held.wake_first();
        }
    }

    /// Waits for room for that much more, and counts it; nothing of it is in a peer's hands.
    pub(super) async fn take(&self, bytes: u64) {
        if !self.try_take(bytes) {
            self.held.wait(0, bytes, || self.add(bytes)).await;
        }
    }

    /// Counts that much more if there is room for it at once, and nobody waits for any.
    pub(super) fn try_take(&self, bytes: u64) -> bool {
        let fits = self.held.line.borrow().is_empty() && self.held.has_room(0, bytes);
        if fits {
            self.add(bytes);
        }
        fits
    }

    /// Waits while more is counted than there is room for, but for nobody who waits in line: for
    /// who goes on with what is counted, or cannot say how much that will be.
    ///
    /// * Progress: what somebody holds who waits here came by [`arrive`](Self::arrive) or
    ///   [`take`](Self::take), or is given back meanwhile: such parts alone are never an excess.
    pub(super) async fn no_excess(&self) {
        while self.held.is_exceeded() {
            self.held.no_excess.notified().await;
        }
    }

    pub(super) fn has_excess(&self) -> bool {
        self.held.is_exceeded()
    }

    /// Counts what is there already.
    pub(super) fn add(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
        self.held.bytes.set(self.held.bytes.get() + bytes);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            self.bytes.set(self.bytes.get() - bytes);
            self.held.bytes.set(self.held.bytes.get() - bytes);
            self.held.wake_first();
            if !self.held.is_exceeded() {
                self.held.no_excess.notify();
            }
        }
    }

    /// Counts `bytes` from now on, whatever was counted before.
    pub(super) fn set(&self, bytes: u64) {
        self.arrived();
        match self.bytes.get() {
            before if before > bytes => self.give_back(before - bytes),
            before => self.add(bytes - before),
        }
    }

    /// Gives back what is counted beyond that.
    pub(super) fn keep_at_most(&self, bytes: u64) {
        self.give_back(self.bytes.get().saturating_sub(bytes));
    }

    pub(super) fn is_short(&self) -> bool {
        self.held.is_short()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Waits for `room` as long as a request may; whether it came.
///
/// * Cost: no timer when there is room at once.
pub(super) async fn soon(clock: &impl Io, room: impl Future<Output = ()>) -> bool {
    let late = pin!(clock.sleep_us(ROOM_US));
    matches!(future::select(pin!(room), late).await, Either::Left(_))
}

/// About how much memory a batch takes, in bytes.
pub(super) fn batch_bytes(input: &AppendInput) -> u64 {
    let (records, headers) = (input.records.len() as u64, input.headers.len() as u64);
    input.metered_bytes + records * RECORD_BYTES + headers * HEADER_BYTES
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use futures_util::FutureExt;

    use super::*;

    const MAX: u64 = 1024 * 1024;

    /// Whether somebody was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn small_requests_arrive_whatever_others_hold() {
        let held = HeldMemory::new(MAX);
        let (large, small) = (held.share(), held.share());
        assert!(large.try_arrive(FREE_BYTES + MAX / 4 * 3));
        assert!(!small.try_arrive(FREE_BYTES + 1));
        assert!(small.try_arrive(FREE_BYTES));
        assert_eq!(small.take(MAX / 4).now_or_never(), Some(()), "not in the hands of peers");
        assert_eq!(small.take(1).now_or_never(), None);
        large.arrived();
        assert_eq!(held.arriving_bytes.get(), 0);
        assert!(!small.try_arrive(FREE_BYTES + MAX / 4 + 1), "all is taken");
        drop((large, small));
        assert_eq!((held.bytes.get(), held.arriving_bytes.get()), (0, 0));
    }

    #[test]
    fn who_waits_goes_on_in_order() {
        let held = HeldMemory::new(MAX);
        let (first, second, third) = (held.share(), held.share(), held.share());
        first.add(MAX);
        let mut second_waits = pin!(second.arrive(FREE_BYTES + MAX / 2));
        assert_eq!((&mut second_waits).now_or_never(), None);
        assert_eq!(third.take(1).now_or_never(), None);
        first.give_back(MAX / 4);
        assert_eq!(third.take(1).now_or_never(), None, "not its turn");
        first.give_back(MAX / 4);
        assert_eq!(second_waits.now_or_never(), Some(()));
        assert_eq!(held.bytes.get(), MAX);
    }

    #[test]
    fn who_gives_up_passes_its_turn_on_and_counts_nothing() {
        let held = HeldMemory::new(MAX);
        let (first, second, third) = (held.share(), held.share(), held.share());
        first.add(MAX - 10);
        {
            let mut waits = pin!(second.arrive(FREE_BYTES + MAX / 2));
            assert_eq!((&mut waits).now_or_never(), None);
            assert_eq!(third.take(10).now_or_never(), None);
        }
        assert_eq!(third.take(10).now_or_never(), Some(()));
        assert_eq!((held.bytes.get(), held.line.borrow().len()), (MAX, 0));
    }

    #[test]
    fn who_wants_no_more_than_there_is_passes_those_in_line_but_waits_out_an_excess() {
        let held = HeldMemory::new(MAX);
        let (large, waiting, session) = (held.share(), held.share(), held.share());
        large.add(MAX);
        let mut first_in_line = pin!(waiting.take(MAX));
        assert_eq!((&mut first_in_line).now_or_never(), None);
        assert_eq!(session.no_excess().now_or_never(), Some(()), "all is taken, but no more");
        session.add(10);
        assert!(session.has_excess());
        let mut waits = pin!(session.no_excess());
        assert_eq!((&mut waits).now_or_never(), None);
        large.give_back(9);
        assert_eq!((&mut waits).now_or_never(), None, "one too many");
        large.give_back(1);
        assert_eq!((&mut waits).now_or_never(), Some(()));
        assert_eq!((&mut first_in_line).now_or_never(), None, "it still waits for all");
        session.give_back(10);
        large.give_back(MAX - 10);
        assert_eq!(first_in_line.now_or_never(), Some(()));
    }

    #[test]
    fn who_waits_out_an_excess_is_woken_when_it_ends() {
        let held = HeldMemory::new(MAX);
        let (large, session) = (held.share(), held.share());
        large.add(MAX + 1);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut waits = pin!(session.no_excess());
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(!woken.0.load(Ordering::Relaxed));
        large.give_back(1);
        assert!(woken.0.load(Ordering::Relaxed));
        assert_eq!(waits.now_or_never(), Some(()));
    }

    #[test]
    fn windows_shrink_with_their_number_and_never_exceed_the_whole() {
        let held = HeldMemory::new(64 * MAX);
        let windows: Vec<_> = (0..10_000).map(|_| held.grant_window()).collect();
        assert_eq!(u64::from(windows[0].1), 2 * MAX);
        assert!(windows.is_sorted_by(|a, b| a.1 >= b.1));
        assert!(held.bytes.get() <= 64 * MAX);
        drop(windows);
        assert_eq!(held.bytes.get(), 0);
    }
}
