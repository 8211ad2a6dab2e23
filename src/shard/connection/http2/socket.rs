//! The socket under an HTTP/2 connection: it outlives the protocol, and knows when it is stuck.

use std::cell::RefCell;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::io::{AsyncRead, AsyncWrite};

use crate::io::Io;
use crate::io::socket::VectoredSocket;
use crate::shard::connection::{LINGER_US, throw_away};
use crate::shard::core::Core;
use crate::shard::lifeline::{Lifeline, Registered, Waiting};

/// A connection's socket, which outlives the protocol on it.
pub(super) struct SharedSocket<I: Io> {
    socket: Rc<RefCell<VectoredSocket>>,
    line: Rc<Lifeline>,
    core: Rc<Core<I>>,
}

impl<I: Io> Clone for SharedSocket<I> {
    fn clone(&self) -> Self {
        let (socket, line, core) =
            (Rc::clone(&self.socket), Rc::clone(&self.line), Rc::clone(&self.core));
        Self { socket, line, core }
    }
}

impl<I: Io> SharedSocket<I> {
    pub(super) fn new(core: &Rc<Core<I>>, socket: VectoredSocket, line: &Registered) -> Self {
        let socket = Rc::new(RefCell::new(socket));
        Self { socket, line: line.share(), core: Rc::clone(core) }
    }

    /// Lets the peer read what was sent last.
    pub(super) async fn linger(mut self, line: &Registered) {
        line.wait_for(Waiting::Peer, self.core.now_us() + LINGER_US);
        // However it ends, the connection does.
        let _ended = line.guard(pin!(throw_away(&mut self))).await;
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
        Pin::new(&mut *self.socket.borrow_mut()).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_close(cx)
    }
}
