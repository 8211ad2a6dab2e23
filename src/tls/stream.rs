//! A socket under TLS: plain bytes on this side, records on the other.
//!
//! ```text
//!  reader <- plaintext <- rustls <- inbox <- socket
//!  writer -> rustls -> a record (16 KiB) -> socket
//! ```
//!
//! * Nothing is received while there is plaintext that nobody took: the inbox and one record are
//!   all that waits here.
//! * No more than a record of what is sent waits here for a peer that reads slowly: that memory is
//!   counted nowhere, as what a connection may send us without asking is not.
//! * What a write took is on its way, and may need a flush to arrive: a write only goes on when
//!   everything before it was sent.
//! * The end of the bytes is an end only behind the peer's word for it (`close_notify`); without,
//!   it is an error, since anybody on the way can cut a connection.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead, AsyncWrite};
use rustls::ServerConnection;

/// Most bytes received at a time: a full record and its head.
const INBOX_BYTES: usize = 16 * 1024 + 256;
/// Most bytes taken from a writer before they are sent: what one record holds.
const OUTBOX_BYTES: usize = 16 * 1024;

/// What a connection needs beside its socket; it may move to another thread.
#[derive(Debug)]
pub struct Secret {
    session: Box<ServerConnection>,
    /// Received, and from `taken` on not understood yet.
    inbox: Vec<u8>,
    taken: usize,
    /// We said that we are done.
    is_closed: bool,
}

/// A private connection.
#[derive(Debug)]
pub struct Stream<S> {
    socket: S,
    secret: Secret,
    /// A writer waits for the socket: whoever else sent would take its wake-up.
    writer_waits: bool,
}

impl<S> Stream<S> {
    pub(super) fn new(socket: S, mut session: Box<ServerConnection>) -> Self {
        session.set_buffer_limit(Some(OUTBOX_BYTES));
        let secret = Secret { session, inbox: Vec::new(), taken: 0, is_closed: false };
        Self::from_parts(socket, secret)
    }

    /// Puts together what was taken apart.
    pub fn from_parts(socket: S, secret: Secret) -> Self {
        Self { socket, secret, writer_waits: false }
    }

    /// Takes the connection apart, for it to go on elsewhere.
    pub fn into_parts(self) -> (S, Secret) {
        (self.socket, self.secret)
    }

    /// The socket itself.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The same, to be changed.
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// Sends all records that wait.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.secret.session.wants_write() {
            let mut socket = Polled { socket: &mut self.socket, cx };
            match self.secret.session.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The same on behalf of a writer.
    fn poll_send_for_writer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.poll_send(cx);
        self.writer_waits = sent.is_pending();
        sent
    }

    /// Receives into the inbox, which stays empty at the end of the bytes.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Secret { inbox, taken, .. } = &mut self.secret;
        inbox.resize(INBOX_BYTES, 0);
        let received = Pin::new(&mut self.socket).poll_read(cx, inbox);
        *taken = 0;
        match &received {
            Poll::Ready(Ok(n)) => inbox.truncate(*n),
            // Who waits, maybe for long, needs no memory for it.
            _ => *inbox = Vec::new(),
        }
        received.map_ok(|_bytes| ())
    }

    /// Hands rustls a piece of what was received, and sends what it has to say to that, unless a
    /// writer will.
    fn understand(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Secret { session, inbox, taken, .. } = &mut self.secret;
        let mut rest = &inbox[*taken..];
        match session.read_tls(&mut rest)? {
            // Nothing counts behind the peer's last word, and nothing comes behind the end.
            0 => (*inbox, *taken) = (Vec::new(), 0),
            n => *taken += n,
        }
        let understood = session.process_new_packets().map_err(io::Error::other);
        if !self.writer_waits && self.secret.session.wants_write() {
            // What cannot be sent now goes out before the next write.
            if let Poll::Ready(sent) = self.poll_send(cx) {
                understood?;
                return sent;
            }
        }
        understood.map(|_state| ())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.secret.session.reader().read(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
            if self.secret.taken == self.secret.inbox.len() {
                // At the end, rustls is told so, and says what it means.
                ready!(self.poll_receive(cx))?;
            }
            self.understand(cx)?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
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
        ready!(self.poll_send_for_writer(cx))?;
        let n = self.secret.session.writer().write_vectored(bufs)?;
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send_for_writer(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Says that nothing more comes, and closes this direction of the socket.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.secret.is_closed {
            self.secret.is_closed = true;
            self.secret.session.send_close_notify();
        }
        ready!(self.poll_send_for_writer(cx))?;
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

/// A socket as rustls writes to it: who would have to wait is told so.
struct Polled<'a, 'b, S> {
    socket: &'a mut S,
    cx: &'a mut Context<'b>,
}

fn now(written: Poll<io::Result<usize>>) -> io::Result<usize> {
    match written {
        Poll::Ready(written) => written,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

impl<S: AsyncWrite + Unpin> Write for Polled<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.socket).poll_write(self.cx, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        now(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
