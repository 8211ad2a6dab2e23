//! The socket of a connection, in the clear or under TLS: who serves it need not know which.
//!
//! A private connection moves to another core as one in the clear does: what it agreed on with its
//! client goes along.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::io::{AsyncRead, AsyncWrite};

use crate::io::{Network, Socket};
use crate::tls::{Secret, Stream};

/// A connection's socket.
#[derive(Debug)]
pub(super) enum PeerSocket<S> {
    /// As it is.
    Clear(S),
    /// Under TLS; boxed, since connections in the clear should not carry its memory.
    Secured(Box<Stream<S>>),
}

/// The socket of a connection that `I` brought.
pub(super) type Peer<I> = PeerSocket<<I as Network>::Socket>;

/// A connection on its way to another core; `M` is its socket's part of it.
#[derive(Debug)]
pub(in crate::shard) enum MovingPeer<M> {
    /// In the clear.
    Clear(M),
    /// Under TLS.
    Secured(M, Box<Secret>),
}

/// A connection of `I` on its way to another core.
pub(in crate::shard) type MovingOf<I> = MovingPeer<crate::io::Moving<I>>;

impl<S: Socket> PeerSocket<S> {
    fn part(self: Pin<&mut Self>) -> Part<'_, S> {
        match self.get_mut() {
            Self::Clear(socket) => Part::Clear(Pin::new(socket)),
            Self::Secured(stream) => Part::Secured(Pin::new(&mut **stream)),
        }
    }
}

enum Part<'a, S> {
    Clear(Pin<&'a mut S>),
    Secured(Pin<&'a mut Stream<S>>),
}

impl<S: Socket> AsyncRead for PeerSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.part() {
            Part::Clear(socket) => socket.poll_read(cx, buf),
            Part::Secured(stream) => stream.poll_read(cx, buf),
        }
    }
}

impl<S: Socket> AsyncWrite for PeerSocket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.part() {
            Part::Clear(socket) => socket.poll_write(cx, buf),
            Part::Secured(stream) => stream.poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.part() {
            Part::Clear(socket) => socket.poll_write_vectored(cx, bufs),
            Part::Secured(stream) => stream.poll_write_vectored(cx, bufs),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.part() {
            Part::Clear(socket) => socket.poll_flush(cx),
            Part::Secured(stream) => stream.poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.part() {
            Part::Clear(socket) => socket.poll_close(cx),
            Part::Secured(stream) => stream.poll_close(cx),
        }
    }
}

impl<S: Socket> Socket for PeerSocket<S> {
    type Moving = MovingPeer<S::Moving>;

    fn charge(&mut self, bytes: usize) {
        match self {
            Self::Clear(socket) => socket.charge(bytes),
            Self::Secured(stream) => stream.socket_mut().charge(bytes),
        }
    }

    fn look_twice(&mut self, twice: bool) {
        match self {
            Self::Clear(socket) => socket.look_twice(twice),
            Self::Secured(stream) => stream.socket_mut().look_twice(twice),
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Clear(socket) => socket.peer(),
            Self::Secured(stream) => stream.socket().peer(),
        }
    }

    async fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Clear(socket) => socket.shutdown(how).await,
            Self::Secured(stream) => {
                if how != Shutdown::Read {
                    poll_fn(|cx| Pin::new(&mut **stream).poll_close(cx)).await?;
                }
                if how == Shutdown::Write {
                    Ok(())
                } else {
                    stream.socket_mut().shutdown(how).await
                }
            }
        }
    }

    fn detach(self) -> io::Result<Self::Moving> {
        Ok(match self {
            Self::Clear(socket) => MovingPeer::Clear(socket.detach()?),
            Self::Secured(stream) => {
                let (socket, secret) = stream.into_parts();
                MovingPeer::Secured(socket.detach()?, Box::new(secret))
            }
        })
    }

    fn attach(moving: Self::Moving) -> Self {
        match moving {
            MovingPeer::Clear(socket) => Self::Clear(S::attach(socket)),
            MovingPeer::Secured(socket, secret) => {
                let stream = Stream::from_parts(S::attach(socket), *secret);
                Self::Secured(Box::new(stream))
            }
        }
    }
}
