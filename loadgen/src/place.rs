//! Where a server is and how it is spoken to there: in the clear, or under TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::tls::{Secure, Speaks};

/// A server's addresses, to be tried in order, and what makes connections to it private.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) secure: Option<Secure>,
}

impl Place {
    /// A place that is spoken to in the clear.
    pub(crate) fn clear(addresses: impl Into<Vec<SocketAddr>>) -> Self {
        Self { addresses: addresses.into(), secure: None }
    }

    /// Connects to the first address that accepts; unbounded in time.
    pub(crate) async fn connect(&self, speaks: Speaks) -> io::Result<Wire> {
        let stream = TcpStream::connect(&*self.addresses).await?;
        // Calling a free port again and again, a socket may meet itself: nobody else is there.
        if stream.local_addr()? == stream.peer_addr()? {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        match &self.secure {
            None => Ok(Wire::Clear(stream)),
            Some(secure) => Ok(Wire::Secured(Box::new(secure.connect(speaks, stream).await?))),
        }
    }
}

/// A connection. What was written must be flushed before an answer is waited for: under TLS a part
/// of it may be kept.
pub(crate) enum Wire {
    Clear(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

/// Its part that has bytes to give and to take.
enum Part<'a> {
    Clear(Pin<&'a mut TcpStream>),
    Secured(Pin<&'a mut TlsStream<TcpStream>>),
}

impl Wire {
    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(stream) => stream,
            Self::Secured(stream) => stream.get_ref().0,
        }
    }

    fn part(self: Pin<&mut Self>) -> Part<'_> {
        match self.get_mut() {
            Self::Clear(stream) => Part::Clear(Pin::new(stream)),
            Self::Secured(stream) => Part::Secured(Pin::new(&mut **stream)),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.part() {
            Part::Clear(stream) => stream.poll_read(context, buf),
            Part::Secured(stream) => stream.poll_read(context, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.part() {
            Part::Clear(stream) => stream.poll_write(context, bytes),
            Part::Secured(stream) => stream.poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.part() {
            Part::Clear(stream) => stream.poll_write_vectored(context, pieces),
            Part::Secured(stream) => stream.poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.part() {
            Part::Clear(stream) => stream.poll_flush(context),
            Part::Secured(stream) => stream.poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.part() {
            Part::Clear(stream) => stream.poll_shutdown(context),
            Part::Secured(stream) => stream.poll_shutdown(context),
        }
    }
}
