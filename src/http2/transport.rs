//! A socket as the `h2` crate wants it, with an eye on what the peer sends.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead as Read, AsyncWrite as Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PREFACE;
use super::pace::Pace;

/// A socket under HTTP/2.
pub trait Socket: Read + Write + Unpin {
    /// Microseconds on a clock that never goes back.
    fn now_us(&self) -> u64;

    /// Told how many frames were received: work to come, however few bytes they were.
    fn took_frames(&mut self, frames: usize);

    /// Told that the peer has sent more frames than it may. Nothing is received any more.
    fn exceeded(&mut self);
}

/// A socket of which something was read already, with the I/O traits of tokio, without its
/// runtime.
#[derive(Debug)]
pub struct Transport<S> {
    socket: S,
    received: Vec<u8>,
    taken: usize,
    pace: Pace,
    /// The peer has sent too much.
    is_exceeded: bool,
}

impl<S: Socket> Transport<S> {
    /// A transport that yields `received`, which begins with the preface, before it reads from
    /// `socket`.
    pub fn new(socket: S, received: Vec<u8>) -> Self {
        let pace = Pace::new(PREFACE.len(), socket.now_us());
        Self { socket, received, taken: 0, pace, is_exceeded: false }
    }

    /// Counts what was received; whether the peer may go on.
    fn may_go_on(&mut self, bytes: &[u8]) -> bool {
        let frames = self.pace.received(bytes);
        self.socket.took_frames(frames);
        self.is_exceeded = self.pace.is_exceeded(|| self.socket.now_us());
        if self.is_exceeded {
            self.socket.exceeded();
        }
        !self.is_exceeded
    }

    /// Counts what was sent of `bufs`.
    fn count_sent(&mut self, bufs: &[IoSlice<'_>], sent: &Poll<io::Result<usize>>) {
        let &Poll::Ready(Ok(mut left)) = sent else { return };
        for buf in bufs {
            let n = left.min(buf.len());
            self.pace.sent(&buf[..n]);
            left -= n;
        }
    }
}

/// Once the peer has sent too much, it waits for ever: who drives the connection was told.
impl<S: Socket> AsyncRead for Transport<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_exceeded {
            return Poll::Pending;
        }
        let space = buf.initialize_unfilled();
        let n = if self.taken < self.received.len() {
            let rest = &self.received[self.taken..];
            let n = rest.len().min(space.len());
            space[..n].copy_from_slice(&rest[..n]);
            self.taken += n;
            if self.taken == self.received.len() {
                (self.received, self.taken) = (Vec::new(), 0);
            }
            n
        } else {
            ready!(Pin::new(&mut self.socket).poll_read(cx, space))?
        };
        if !self.may_go_on(&space[..n]) {
            return Poll::Pending;
        }
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> AsyncWrite for Transport<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.count_sent(&[IoSlice::new(buf)], &sent);
        sent
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.count_sent(bufs, &sent);
        sent
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}
