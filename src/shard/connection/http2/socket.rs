//! The socket under an HTTP/2 connection: it outlives the protocol, and knows when it is stuck.

use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::io::{AsyncRead, AsyncWrite};

use crate::http2::Socket;
use crate::io::{Io, Socket as _};
use crate::shard::connection::{LINGER_BYTES_MAX, LINGER_US, Peer, throw_away};
use crate::shard::core::Core;
use crate::shard::lifeline::{Lifeline, Registered, Waiting};

/// What a frame costs of a turn, in bytes: the smallest take as long as some hundred bytes of a
/// body.
const FRAME_BYTES: usize = 128;
/// Most that is still received of a peer that was sent away for sending too much, in bytes.
const FLOOD_BYTES_MAX: usize = 1024 * 1024;

/// A connection's socket, which outlives the protocol on it.
pub(super) struct SharedSocket<I: Io> {
    socket: Rc<RefCell<Peer<I>>>,
    line: Rc<Lifeline>,
    core: Rc<Core<I>>,
    /// The peer has sent more frames than it may.
    is_flooded: Rc<Cell<bool>>,
}

impl<I: Io> Clone for SharedSocket<I> {
    fn clone(&self) -> Self {
        let (socket, line, core) =
            (Rc::clone(&self.socket), Rc::clone(&self.line), Rc::clone(&self.core));
        Self { socket, line, core, is_flooded: Rc::clone(&self.is_flooded) }
    }
}

impl<I: Io> SharedSocket<I> {
    pub(super) fn new(core: &Rc<Core<I>>, socket: Peer<I>, line: &Registered) -> Self {
        let socket = Rc::new(RefCell::new(socket));
        Self { socket, line: line.share(), core: Rc::clone(core), is_flooded: Rc::default() }
    }

    /// Whether the peer has sent more frames than it may.
    pub(super) fn is_flooded(&self) -> bool {
        self.is_flooded.get()
    }

    /// Lets the peer read what was sent last.
    pub(super) async fn linger(mut self, line: &Registered) {
        line.wait_for(Waiting::Peer, self.core.now_us() + LINGER_US);
        let bytes_max = if self.is_flooded() { FLOOD_BYTES_MAX } else { LINGER_BYTES_MAX };
        // However it ends, the connection does.
        let _ended = line.guard(pin!(throw_away(&mut self, bytes_max))).await;
    }

    /// Notes since when the socket takes nothing.
    fn noted<T>(&self, written: Poll<T>) -> Poll<T> {
        if written.is_ready() {
            self.line.stalled_until(u64::MAX);
        } else if !self.line.is_stalled() {
            self.line.stalled_until(self.core.now_us() + self.core.connection.peer_us);
        }
        written
    }
}

impl<I: Io> Socket for SharedSocket<I> {
    fn now_us(&self) -> u64 {
        self.core.now_us()
    }

    fn took_frames(&mut self, frames: usize) {
        self.socket.borrow_mut().charge(frames * FRAME_BYTES);
    }

    fn exceeded(&mut self) {
        self.is_flooded.set(true);
    }
}

impl<I: Io> AsyncRead for SharedSocket<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_read(cx, buf)
    }
}

impl<I: Io> AsyncWrite for SharedSocket<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.noted(Pin::new(&mut *self.socket.borrow_mut()).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.noted(Pin::new(&mut *self.socket.borrow_mut()).poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.noted(Pin::new(&mut *self.socket.borrow_mut()).poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_close(cx)
    }
}
