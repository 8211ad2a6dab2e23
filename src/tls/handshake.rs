//! A handshake as a state machine: bytes in, bytes out, no socket and no clock.
//!
//! What takes long is told apart from what does not: a client that sends its hello in a thousand
//! pieces has one signature made, when the hello is whole.

use std::fmt;
use std::io;

use futures_util::io::{AsyncRead, AsyncWrite};
use rustls::server::{Accepted, AcceptedAlert, Acceptor as Hello};
use rustls::{HandshakeKind, ServerConnection};

use super::acceptor::{Acceptor, Application};
use super::stream::Stream;

/// The first byte of every connection that begins a handshake.
pub const RECORD_HANDSHAKE: u8 = 22;
/// Most bytes that a peer may send before its handshake is done: a hello has some hundred, or two
/// thousand with keys that withstand quantum computers.
const BYTES_MAX: usize = 32 * 1024;
/// Most pieces in which a second hello may come, which follows when the first had no key that we
/// understand: each costs as much as a signature, since it may be the last.
const SECOND_PIECES_MAX: u32 = 32;

/// A handshake that is under way, or done.
pub struct Handshake {
    acceptor: Acceptor,
    step: Step,
    received_bytes: usize,
    second_pieces: u32,
    alert: Option<AcceptedAlert>,
}

enum Step {
    /// The hello is not whole yet.
    Hello(Box<Hello>),
    /// The hello is whole, and there is work to do; then come these bytes.
    Work(Box<Work>, Vec<u8>),
    /// The rest.
    Agreeing(Box<ServerConnection>),
    /// It failed.
    Failed,
}

enum Work {
    First(Accepted),
    Second(ServerConnection),
}

impl fmt::Debug for Handshake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received_bytes, .. } = self;
        out.debug_struct("Handshake")
            .field("received_bytes", received_bytes)
            .finish_non_exhaustive()
    }
}

impl Handshake {
    /// A handshake of which nothing was received.
    #[must_use]
    pub fn begin(acceptor: &Acceptor) -> Self {
        let step = Step::Hello(Box::default());
        let acceptor = acceptor.clone();
        Self { acceptor, step, received_bytes: 0, second_pieces: 0, alert: None }
    }

    /// Takes what was received, of which there must be less than 16 KiB at a time; then
    /// [`work`](Self::work) may be due.
    ///
    /// * Errors: it is no handshake; [`output`](Self::output) may have something to say about it.
    pub fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.received_bytes += bytes.len();
        self.step = match std::mem::replace(&mut self.step, Step::Failed) {
            Step::Hello(hello) => self.greet(hello, bytes)?,
            Step::Agreeing(session) if awaits_second_hello(&session) => {
                self.second_pieces += 1;
                if self.second_pieces > SECOND_PIECES_MAX {
                    return Err(io::Error::other("the second hello comes in too many pieces"));
                }
                Step::Work(Box::new(Work::Second(*session)), bytes.to_vec())
            }
            Step::Agreeing(session) => self.agree(session, bytes)?,
            Step::Work(..) | Step::Failed => {
                return Err(io::Error::other("it is not the peer's turn"));
            }
        };
        if self.received_bytes > BYTES_MAX && !self.is_done() {
            return Err(io::Error::other("the handshake is too long"));
        }
        Ok(())
    }

    /// Whether [`work`](Self::work) comes next.
    #[must_use]
    pub fn is_work_due(&self) -> bool {
        matches!(self.step, Step::Work(..))
    }

    /// Does what takes long; nothing when it is not due.
    ///
    /// * Errors: as for [`receive`](Self::receive).
    /// * Cost: a signature and a key exchange; see [`Acceptor::is_slow`].
    pub fn work(&mut self) -> io::Result<()> {
        let (work, rest) = match std::mem::replace(&mut self.step, Step::Failed) {
            Step::Work(work, rest) => (work, rest),
            other => {
                self.step = other;
                return Ok(());
            }
        };
        let session = match *work {
            Work::Second(session) => session,
            Work::First(accepted) => match accepted.into_connection(self.acceptor.config()) {
                Ok(session) => session,
                Err((error, alert)) => {
                    self.alert = Some(alert);
                    return Err(io::Error::other(error));
                }
            },
        };
        self.step = self.agree(Box::new(session), &rest)?;
        Ok(())
    }

    /// Gathers the hello.
    fn greet(&mut self, mut hello: Box<Hello>, mut bytes: &[u8]) -> io::Result<Step> {
        while !bytes.is_empty() {
            if hello.read_tls(&mut bytes)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match hello.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return Ok(Step::Work(Box::new(Work::First(accepted)), bytes.to_vec()));
                }
                Err((error, alert)) => {
                    self.alert = Some(alert);
                    return Err(io::Error::other(error));
                }
            }
        }
        Ok(Step::Hello(hello))
    }

    /// Understands what follows the hello. A session that failed stays: it has an alert to send.
    fn agree(&mut self, mut session: Box<ServerConnection>, bytes: &[u8]) -> io::Result<Step> {
        let understood = understand(&mut session, bytes);
        let step = Step::Agreeing(session);
        match understood {
            Ok(()) => Ok(step),
            Err(error) => {
                self.step = step;
                Err(error)
            }
        }
    }

    /// Puts what is to be sent behind what is in `out`.
    pub fn output(&mut self, out: &mut Vec<u8>) {
        const TAKEN: &str = "memory takes what is written to it";
        if let Some(mut alert) = self.alert.take() {
            alert.write_all(out).expect(TAKEN);
        }
        let Step::Agreeing(session) = &mut self.step else { return };
        while session.wants_write() {
            session.write_tls(out).expect(TAKEN);
        }
    }

    /// Whether both sides have agreed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(&self.step, Step::Agreeing(session) if !session.is_handshaking())
    }

    /// What they agreed to speak; [`Application::Unnamed`] while they have not.
    #[must_use]
    pub fn application(&self) -> Application {
        match &self.step {
            Step::Agreeing(session) => Application::of(session),
            _ => Application::Unnamed,
        }
    }

    /// The private connection; `None` unless the handshake is done.
    #[must_use]
    pub fn into_stream<S: AsyncRead + AsyncWrite + Unpin>(self, socket: S) -> Option<Stream<S>> {
        match self.step {
            Step::Agreeing(session) if !session.is_handshaking() => {
                Some(Stream::new(socket, session))
            }
            _ => None,
        }
    }
}

/// Whether the client was asked for another hello, whose answer is then signed.
fn awaits_second_hello(session: &ServerConnection) -> bool {
    session.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest)
}

fn understand(session: &mut ServerConnection, mut bytes: &[u8]) -> io::Result<()> {
    loop {
        session.process_new_packets().map_err(io::Error::other)?;
        if bytes.is_empty() {
            return Ok(());
        }
        if session.read_tls(&mut bytes)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
