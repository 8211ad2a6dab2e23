//! Simulated connections: two lanes of bytes each, one per direction, decided by the seed.
//!
//! * What is sent arrives in pieces of any length, each after a time of its own, in order. Order
//!   between connections there is none.
//! * A lane holds so many bytes that were sent and not read; who sends more waits.
//! * [`SimSocket::cut`] ends a connection at once and loses some of what is under way;
//!   [`SimSocket::vanish`] takes one end away without a word: the other finds out when the kernel's
//!   probes have not been answered, [`SILENCE_US`] later.
//! * An end that is closed with bytes unread, or that is sent more, resets the connection, as the
//!   kernel does: then the peer may lose what it has not read yet.
//!
//! A lane never loses, repeats or changes bytes in its middle: that would not be TCP.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::io::{AsyncRead, AsyncWrite};

use super::{SimIo, Sleep, Stream, World};
use crate::io::{Network, Socket};

/// How long the peer of a connection may be gone before that is noticed: keep-alive probes begin
/// after a minute, and the fourth is the last.
pub const SILENCE_US: u64 = 120_000_000;

/// What a connection is like.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    /// Most bytes that are sent and not read, in each direction.
    pub room_bytes: usize,
    /// Longest piece that arrives at once, in bytes.
    pub piece_bytes_max: usize,
    /// Longest time that a piece is under way, in microseconds.
    pub delay_us_max: u64,
}

/// How a lane ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Behind the last byte.
    Closed,
    /// At once.
    Broken(ErrorKind),
}

/// One direction of a connection.
#[derive(Debug)]
struct Lane {
    world: Rc<World>,
    /// The connection's number, doubled, and the direction.
    number: u64,
    wire: Wire,
    dice: Stream,
    /// Sent and not arrived, with the times of arrival, which ascend.
    under_way: VecDeque<(u64, Vec<u8>)>,
    arrived: VecDeque<u8>,
    last_us: u64,
    /// For who reads, and when it is noticed.
    end: Option<(u64, End)>,
    /// For who writes.
    refused: Option<(u64, ErrorKind)>,
    /// Nobody will read any more.
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Lane {
    fn new(world: &Rc<World>, number: u64, wire: Wire) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            world: Rc::clone(world),
            number,
            wire,
            dice: Stream::new(world.seed.wrapping_add(number), "network"),
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            last_us: 0,
            end: None,
            refused: None,
            unread: false,
            reader: None,
            writer: None,
        }))
    }

    fn held_bytes(&self) -> usize {
        self.arrived.len() + self.under_way.iter().map(|(_, piece)| piece.len()).sum::<usize>()
    }

    /// When something that is sent now arrives: not before what was sent before it.
    fn arrival_us(&mut self) -> u64 {
        let delay_us_max = self.wire.delay_us_max;
        let at_us = self.world.now_us.get() + self.dice.below(delay_us_max + 1);
        self.last_us = self.last_us.max(at_us);
        self.last_us
    }

    /// Takes what there is room for.
    fn send(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        let room = self.wire.room_bytes - self.held_bytes();
        let offered: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let most = offered.len().min(room);
        // The kernel takes what it has room for, which need not be all that there will be.
        let taken = if self.dice.below(4) == 0 { 1 + self.dice.index(most) } else { most };
        let mut rest = &offered[..taken];
        while !rest.is_empty() {
            let longest = rest.len().min(self.wire.piece_bytes_max);
            let (piece, after) = rest.split_at(1 + self.dice.index(longest));
            let at_us = self.arrival_us();
            self.under_way.push_back((at_us, piece.to_vec()));
            rest = after;
        }
        self.note("send", taken);
        wake(&mut self.reader);
        taken
    }

    /// Moves what has arrived, and says when there is something to notice next.
    fn arrive(&mut self) -> Option<u64> {
        let now_us = self.world.now_us.get();
        while self.under_way.front().is_some_and(|(at_us, _)| *at_us <= now_us) {
            let (_, piece) = self.under_way.pop_front().expect("it was looked at");
            self.arrived.extend(piece);
        }
        let next_us = self.under_way.front().map(|(at_us, _)| *at_us);
        let end_us = self.end.map(|(at_us, _)| at_us);
        next_us.into_iter().chain(end_us).min()
    }

    /// What a reader gets now, if it need not wait.
    fn receive(&mut self, buf: &mut [u8]) -> Option<io::Result<usize>> {
        let now_us = self.world.now_us.get();
        let end = self.end.filter(|(at_us, _)| *at_us <= now_us).map(|(_, end)| end);
        if let Some(End::Broken(kind)) = end {
            return Some(Err(kind.into()));
        }
        let n = self.arrived.len().min(buf.len());
        if n > 0 {
            for (to, byte) in buf.iter_mut().zip(self.arrived.drain(..n)) {
                *to = byte;
            }
            self.note("receive", n);
            wake(&mut self.writer);
            return Some(Ok(n));
        }
        (end == Some(End::Closed) && self.under_way.is_empty()).then_some(Ok(0))
    }

    /// Ends the lane behind what was sent.
    fn close(&mut self) {
        if self.end.is_none() {
            let at_us = self.arrival_us();
            self.end = Some((at_us, End::Closed));
        }
        self.refused.get_or_insert((0, ErrorKind::BrokenPipe));
        wake(&mut self.reader);
    }

    /// Ends the lane for both sides; some of what is under way is lost.
    fn break_off(&mut self, kind: ErrorKind, at_us: u64) {
        self.arrive();
        let kept = self.dice.index(self.under_way.len() + 1);
        self.under_way.truncate(kept);
        self.last_us = self.last_us.max(at_us);
        if !matches!(self.end, Some((_, End::Broken(_)))) {
            self.end = Some((at_us, End::Broken(kind)));
        }
        self.refuse(kind, at_us);
        wake(&mut self.reader);
    }

    /// Lets who writes know that nobody reads.
    fn refuse(&mut self, kind: ErrorKind, at_us: u64) {
        self.refused.get_or_insert((at_us, kind));
        wake(&mut self.writer);
    }

    fn note(&self, what: &'static str, bytes: usize) {
        self.world.note(what, "", self.number << 32 | bytes as u64);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// One end of a simulated connection.
#[derive(Debug)]
pub struct SimSocket {
    world: Rc<World>,
    inbound: Rc<RefCell<Lane>>,
    outbound: Rc<RefCell<Lane>>,
    reads_at: Option<Sleep>,
    writes_at: Option<Sleep>,
    is_gone: Cell<bool>,
}

impl SimIo {
    /// A new connection: the client's end, and the server's.
    #[must_use]
    pub fn connect(&self, wire: Wire) -> (SimSocket, SimSocket) {
        let number = 2 * self.world.connections_made.replace(self.world.connections_made.get() + 1);
        let up = Lane::new(&self.world, number, wire);
        let down = Lane::new(&self.world, number + 1, wire);
        let end = |inbound: &Rc<_>, outbound: &Rc<_>| SimSocket {
            world: Rc::clone(&self.world),
            inbound: Rc::clone(inbound),
            outbound: Rc::clone(outbound),
            reads_at: None,
            writes_at: None,
            is_gone: false.into(),
        };
        (end(&down, &up), end(&up, &down))
    }
}

impl SimSocket {
    /// Ends the connection at once for both sides; what is under way may be lost.
    pub fn cut(self) {
        self.is_gone.set(true);
        let at_us = {
            let mut lane = self.outbound.borrow_mut();
            let delay_us_max = lane.wire.delay_us_max;
            self.world.now_us.get() + lane.dice.below(delay_us_max + 1)
        };
        for lane in [&self.inbound, &self.outbound] {
            lane.borrow_mut().break_off(ErrorKind::ConnectionReset, at_us);
        }
        self.outbound.borrow().note("cut", 0);
    }

    /// Takes this end away without a word: the peer may send what there is room for, and notices
    /// nothing for [`SILENCE_US`].
    pub fn vanish(self) {
        self.is_gone.set(true);
        let at_us = self.world.now_us.get() + SILENCE_US;
        // What is kept under way arrives long before.
        self.outbound.borrow_mut().break_off(ErrorKind::TimedOut, at_us);
        self.inbound.borrow_mut().refuse(ErrorKind::TimedOut, at_us);
        self.outbound.borrow().note("vanish", 0);
    }

    /// How many bytes the peer has sent that were not read, arrived or not.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        self.inbound.borrow().held_bytes()
    }

    /// The peer sent to an end that is gone: the kernel answers with a reset.
    fn reset(&self) {
        let mut inbound = self.inbound.borrow_mut();
        let at_us = inbound.arrival_us();
        inbound.break_off(ErrorKind::ConnectionReset, at_us);
        self.outbound.borrow_mut().refuse(ErrorKind::ConnectionReset, at_us);
    }

    /// Waits for a time to come; at once when it has.
    fn poll_at(
        world: &Rc<World>,
        place: &mut Option<Sleep>,
        at_us: u64,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let left_us = at_us.saturating_sub(world.now_us.get());
        let sleep = place.insert(world.sleep_us(left_us));
        Pin::new(sleep).poll(cx)
    }
}

impl AsyncRead for SimSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { world, inbound, reads_at, .. } = &mut *self;
        loop {
            let mut lane = inbound.borrow_mut();
            let next_us = lane.arrive();
            if let Some(received) = lane.receive(buf) {
                *reads_at = None;
                return Poll::Ready(received);
            }
            lane.reader = Some(cx.waker().clone());
            drop(lane);
            match next_us {
                Some(at_us) if Self::poll_at(world, reads_at, at_us, cx).is_ready() => {}
                _ => return Poll::Pending,
            }
        }
    }
}

impl AsyncWrite for SimSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let now_us = self.world.now_us.get();
        let mut lane = self.outbound.borrow_mut();
        if let Some((at_us, kind)) = lane.refused
            && at_us <= now_us
        {
            return Poll::Ready(Err(kind.into()));
        }
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        if lane.held_bytes() < lane.wire.room_bytes {
            let n = lane.send(bufs);
            let unread = lane.unread;
            drop(lane);
            if unread {
                self.reset();
            }
            return Poll::Ready(Ok(n));
        }
        lane.writer = Some(cx.waker().clone());
        let refused = lane.refused;
        drop(lane);
        if let Some((at_us, _)) = refused {
            let Self { world, writes_at, .. } = &mut *self;
            let waits = Self::poll_at(world, writes_at, at_us, cx);
            debug_assert!(waits.is_pending(), "it was looked at above");
        }
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbound.borrow_mut().close();
        Poll::Ready(Ok(()))
    }
}

impl Socket for SimSocket {
    type Moving = Nowhere;

    async fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            self.outbound.borrow_mut().close();
        }
        Ok(())
    }

    fn detach(self) -> io::Result<Nowhere> {
        Err(ErrorKind::Unsupported.into())
    }

    fn attach(moving: Nowhere) -> Self {
        match moving {}
    }
}

/// Where a simulated connection can move: there is one executor.
#[derive(Debug)]
pub enum Nowhere {}

impl Network for SimIo {
    type Socket = SimSocket;
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        if self.is_gone.get() {
            return;
        }
        let has_unread = self.inbound.borrow().held_bytes() > 0;
        let mut outbound = self.outbound.borrow_mut();
        let at_us = outbound.arrival_us();
        if has_unread {
            outbound.break_off(ErrorKind::ConnectionReset, at_us);
        } else {
            outbound.close();
        }
        drop(outbound);
        let mut inbound = self.inbound.borrow_mut();
        inbound.unread = true;
        inbound.arrived.clear();
        inbound.under_way.clear();
        if has_unread {
            inbound.refuse(ErrorKind::ConnectionReset, at_us);
        }
        wake(&mut inbound.writer);
    }
}

#[cfg(test)]
mod tests;
