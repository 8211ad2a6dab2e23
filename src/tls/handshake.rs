//! A handshake as a state machine: bytes in, bytes out, no socket and no clock.

use std::io;

use futures_util::io::{AsyncRead, AsyncWrite};
use rustls::ServerConnection;

use super::acceptor::{Acceptor, Application};
use super::identity::Error;
use super::stream::Stream;

/// The first byte of every connection that begins a handshake.
pub const RECORD_HANDSHAKE: u8 = 22;
/// Most bytes that a peer may send before its handshake is done: a hello has some hundred, or two
/// thousand with keys that withstand quantum computers.
const BYTES_MAX: usize = 32 * 1024;

/// A handshake that is under way, or done.
#[derive(Debug)]
pub struct Handshake {
    session: Box<ServerConnection>,
    received_bytes: usize,
}

impl Handshake {
    /// A handshake of which nothing was received.
    ///
    /// * Errors: [`Error::Unusable`], for settings that do not go together.
    pub fn begin(acceptor: &Acceptor) -> Result<Self, Error> {
        Ok(Self { session: Box::new(acceptor.session()?), received_bytes: 0 })
    }

    /// Takes what was received, of which there must be less than 16 KiB at a time.
    ///
    /// * Errors: it is no handshake; [`output`](Self::output) may have something to say about it.
    /// * Cost: a signature and a key exchange; see [`Acceptor::is_slow`].
    pub fn receive(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.received_bytes += bytes.len();
        while !bytes.is_empty() {
            let taken = self.session.read_tls(&mut bytes)?;
            self.session.process_new_packets().map_err(io::Error::other)?;
            if taken == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if self.received_bytes > BYTES_MAX && !self.is_done() {
            return Err(io::Error::other("the handshake is too long"));
        }
        Ok(())
    }

    /// Puts what is to be sent behind what is in `out`.
    pub fn output(&mut self, out: &mut Vec<u8>) {
        while self.session.wants_write() {
            self.session.write_tls(out).expect("memory takes what is written to it");
        }
    }

    /// Whether both sides have agreed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        !self.session.is_handshaking()
    }

    /// What they agreed to speak; [`Application::Unnamed`] while they have not.
    #[must_use]
    pub fn application(&self) -> Application {
        Application::of(&self.session)
    }

    /// The private connection, once the handshake is done.
    pub fn into_stream<S: AsyncRead + AsyncWrite + Unpin>(self, socket: S) -> Stream<S> {
        debug_assert!(self.is_done(), "a connection is private only behind its handshake");
        Stream::new(socket, self.session)
    }
}
