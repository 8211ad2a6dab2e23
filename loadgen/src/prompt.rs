//! A socket that acknowledges at once what it receives.
//!
//! A server that leaves Nagle's algorithm on holds a small frame back until the one before it is
//! acknowledged, which an idle receiver puts off by 40 ms. Two such frames in a row, as a window
//! update and an acknowledgement of an append are, then measure the two kernels' timers and not the
//! server. Clients under steady load seldom meet this, a load generator with few batches in flight
//! always: so it is kept out of the figures, in favour of the server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::place::Wire;

/// The socket.
pub(crate) struct Prompt(pub(crate) Wire);

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(context, buf);
        if matches!(read, Poll::Ready(Ok(()))) {
            // The kernel forgets the wish, so it is told again. If it cannot be told, it is slower.
            let _ = rustix::net::sockopt::set_tcp_quickack(self.0.socket(), true);
        }
        read
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
