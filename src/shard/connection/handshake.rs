//! The handshake of a connection on the port that speaks TLS.
//!
//! Whoever connects costs a task and some KiB until the handshake is done, and that only so often
//! at a time and for so long: when there are too many, who has kept us waiting longest makes room,
//! so that silence keeps nobody else out. Signatures that would hold up the executor are made on
//! its thread for such work, one at a time, so that they do not hold up what else is done there.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::rc::Rc;

use futures_util::io::{AsyncReadExt, AsyncWriteExt};

use super::throw_away;
use crate::api::{ApiError, response::Response};
use crate::http1::{Framing, Persistence, reason_phrase, response_head};
use crate::io::permits::Permits;
use crate::io::{Io, Socket};
use crate::shard::core::Core;
use crate::shard::lifeline::{Goodbye, Lifeline, Registered, Waiting};
use crate::tls::{Acceptor, Application, Handshake, RECORD_HANDSHAKE, Stream};

/// How long a handshake may take, in microseconds.
const HANDSHAKE_US: u64 = 10_000_000;
/// Handshakes that may be under way on one core.
const HANDSHAKES_MAX: usize = 512;
/// Bytes received at a time.
const PIECE_BYTES: usize = 4096;
/// Longest first line of a request in the clear that is answered, in bytes.
const LINE_BYTES_MAX: usize = 4096;
/// How long a peer may take to read why it was refused, in microseconds.
const REFUSED_US: u64 = 1_000_000;
/// Most that is received of it meanwhile, in bytes.
const REFUSED_BYTES_MAX: usize = 64 * 1024;

/// The handshakes of one core.
#[derive(Debug)]
pub(in crate::shard) struct Handshakes {
    /// In the order in which they began.
    open: RefCell<BTreeMap<u64, Open>>,
    next_number: Cell<u64>,
    aside: Rc<Permits>,
}

/// A handshake under way.
#[derive(Debug)]
struct Open {
    line: Rc<Lifeline>,
    /// It waits for us, not for its peer.
    is_ours: bool,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { open: RefCell::default(), next_number: Cell::default(), aside: Permits::new(1) }
    }
}

/// Counts a handshake for as long as it is under way.
struct Counted<'a> {
    handshakes: &'a Handshakes,
    number: u64,
}

impl Handshakes {
    /// Adds a handshake. When there are too many already, the oldest that waits for its peer is
    /// sent away; `None` when there is none.
    fn begin(&self, line: &Registered) -> Option<Counted<'_>> {
        let mut open = self.open.borrow_mut();
        if open.len() >= HANDSHAKES_MAX {
            let oldest = open.iter().find(|(_, open)| !open.is_ours).map(|(number, _)| *number)?;
            open.remove(&oldest)?.line.say(Goodbye::TimedOut);
        }
        let number = self.next_number.replace(self.next_number.get() + 1);
        open.insert(number, Open { line: line.share(), is_ours: false });
        Some(Counted { handshakes: self, number })
    }
}

impl Counted<'_> {
    /// Says whether it waits for us, not for its peer.
    fn is_ours(&self, is_ours: bool) {
        if let Some(open) = self.handshakes.open.borrow_mut().get_mut(&self.number) {
            open.is_ours = is_ours;
        }
    }

    /// Whether it had to make room for another.
    fn was_sent_away(&self) -> bool {
        !self.handshakes.open.borrow().contains_key(&self.number)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.handshakes.open.borrow_mut().remove(&self.number);
    }
}

/// Why there is no private connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Too many handshakes are under way.
    Crowded,
    /// It took too long.
    TimedOut,
    /// The peer closed the connection, or the server shuts down.
    Gone,
    /// What it sent is no handshake that can be agreed on.
    Invalid,
    /// It sent a request of HTTP/1 in the clear.
    Plaintext,
}

impl Failure {
    fn label(self) -> &'static str {
        match self {
            Self::Crowded => "crowded",
            Self::TimedOut => "timed_out",
            Self::Gone => "gone",
            Self::Invalid => "invalid",
            Self::Plaintext => "plaintext",
        }
    }
}

/// Makes a connection that was just accepted private; `None` when that fails.
pub(super) async fn secure<I: Io>(
    core: &Rc<Core<I>>,
    acceptor: &Acceptor,
    mut socket: I::Socket,
    line: &Registered,
) -> Option<(Stream<I::Socket>, Application)> {
    let shaken = match core.handshakes.begin(line) {
        None => Err(Failure::Crowded),
        Some(counted) => {
            // A shutdown does not wait for those that have not asked for anything yet.
            line.wait_for(Waiting::Idle, core.now_us() + HANDSHAKE_US);
            match line.guard(pin!(shake(core, acceptor, &mut socket, &counted))).await {
                Ok(shaken) => shaken,
                Err(_) if counted.was_sent_away() => Err(Failure::Crowded),
                Err(Goodbye::TimedOut) => Err(Failure::TimedOut),
                Err(_) => Err(Failure::Gone),
            }
        }
    };
    core.metrics.tls_handshake(shaken.as_ref().map_or_else(|failure| failure.label(), |_| "done"));
    match shaken {
        Ok(shaken) => {
            let application = shaken.application();
            return Some((shaken.into_stream(socket)?, application));
        }
        Err(Failure::Plaintext) => {
            let answer = clear_answer(&core.date.borrow());
            line.wait_for(Waiting::Peer, core.now_us() + REFUSED_US);
            if line.guard(pin!(socket.write_all(&answer))).await.is_ok_and(|told| told.is_ok()) {
                part(&mut socket, line).await;
            }
        }
        // Its alert was sent, if there was one.
        Err(Failure::Invalid) => {
            line.wait_for(Waiting::Peer, core.now_us() + REFUSED_US);
            part(&mut socket, line).await;
        }
        Err(_) => {}
    }
    None
}

/// Runs the handshake to its end.
async fn shake<I: Io>(
    core: &Rc<Core<I>>,
    acceptor: &Acceptor,
    socket: &mut I::Socket,
    counted: &Counted<'_>,
) -> Result<Handshake, Failure> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut received = receive(socket, &mut piece).await?;
    if received[0] != RECORD_HANDSHAKE {
        return Err(in_the_clear(socket, received.to_vec()).await);
    }
    let mut handshake = Handshake::begin(acceptor);
    let mut out = Vec::new();
    loop {
        let mut understood = handshake.receive(received);
        if understood.is_ok() && handshake.is_work_due() {
            (handshake, understood) = work(core, acceptor, handshake, counted).await;
        }
        handshake.output(&mut out);
        let sent = socket.write_all(&out).await;
        out.clear();
        if let Err(error) = understood {
            tracing::debug!(%error, "a handshake failed");
            return Err(Failure::Invalid);
        }
        sent.map_err(|_| Failure::Gone)?;
        if handshake.is_done() {
            return Ok(handshake);
        }
        received = receive(socket, &mut piece).await?;
    }
}

/// Does what of a handshake takes long; aside, if it takes very long.
async fn work<I: Io>(
    core: &Core<I>,
    acceptor: &Acceptor,
    mut handshake: Handshake,
    counted: &Counted<'_>,
) -> (Handshake, io::Result<()>) {
    if !acceptor.is_slow() {
        let done = handshake.work();
        return (handshake, done);
    }
    counted.is_ours(true);
    let _permit = core.handshakes.aside.acquire().await;
    let work = move || {
        let done = handshake.work();
        (handshake, done)
    };
    let worked = core.clock().blocking(work).await;
    counted.is_ours(false);
    worked
}

/// Receives something.
async fn receive<'a>(socket: &mut impl Socket, piece: &'a mut [u8]) -> Result<&'a [u8], Failure> {
    match socket.read(piece).await {
        Ok(n @ 1..) => Ok(&piece[..n]),
        _ => Err(Failure::Gone),
    }
}

/// What is the matter with a peer whose first bytes are no handshake.
async fn in_the_clear(socket: &mut impl Socket, mut line: Vec<u8>) -> Failure {
    let mut piece = [0; 512];
    loop {
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            return judged(&line[..end]);
        }
        // Not for everybody who sends something: only for what may be the start of such a line.
        let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\r');
        let may_be = line.len() < LINE_BYTES_MAX && line.iter().all(is_text);
        if !may_be {
            return Failure::Invalid;
        }
        match receive(socket, &mut piece).await {
            Ok(more) => line.extend_from_slice(more),
            Err(failure) => return failure,
        }
    }
}

fn judged(line: &[u8]) -> Failure {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    if version.starts_with(b"HTTP/1.") { Failure::Plaintext } else { Failure::Invalid }
}

/// What a client is told that speaks HTTP/1 in the clear where TLS is spoken.
fn clear_answer(date: &str) -> Vec<u8> {
    let error = ApiError::of_transport(400, "this port speaks TLS; use https");
    let response: Response = error.into_response();
    let content_type = response.content_type.map(|value| ("content-type", value.as_bytes()));
    let headers = content_type.into_iter().chain([("date", date.as_bytes())]);
    let framing = Framing::Length(response.body.len() as u64);
    let mut out = Vec::new();
    let reason = reason_phrase(response.status);
    response_head(&mut out, response.status, reason, headers, framing, Persistence::Close);
    out.extend_from_slice(&response.body);
    out
}

/// Closes a connection so that the peer can read what was sent last.
async fn part(socket: &mut impl Socket, line: &Registered) {
    let parted = async {
        if socket.shutdown(Shutdown::Write).await.is_ok() {
            throw_away(socket, REFUSED_BYTES_MAX).await;
        }
    };
    // However it ends, the connection does.
    let _ended = line.guard(pin!(parted)).await;
}
