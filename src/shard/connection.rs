//! One HTTP/1.1 connection: bytes in, requests, answers out, in order, until it ends.
//!
//! The protocol is `http1`'s, the meaning `api`'s; here are the socket, the deadlines, and the
//! order of things. A client that goes away changes nothing about what was accepted.

use std::net::Shutdown;
use std::rc::Rc;

use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;

use super::core::{Core, Message};
use super::lifeline::{Goodbye, Registered, Waiting};
use super::respond::{Aside, respond};
use crate::api::request::{Headers, Parts};
use crate::api::response::{Header, Response};
use crate::api::{ApiError, Code, cors, route};
use crate::http1::{
    CONTINUE, Conn, Event, Framing, HeadRef, Limits, Persistence, Request, Violation,
    reason_phrase, response_head,
};
use crate::io::Io;
use crate::io::socket::MovingSocket;

/// Bounds of a connection in time and size.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// Sizes.
    pub limits: Limits,
    /// How long a connection may have no request, in microseconds.
    pub idle_us: u64,
    /// How long a request may take to arrive, or an answer to be taken, in microseconds, before
    /// what `PEER_BYTES_PER_SECOND_MIN` adds.
    pub peer_us: u64,
    /// Whether cross-origin headers are sent.
    pub cors: bool,
}

/// A peer that sends or takes at least this many bytes a second is never too slow.
const PEER_BYTES_PER_SECOND_MIN: u64 = 16 * 1024;
/// Most bytes read and thrown away after the last answer, so that it is not lost to a reset.
const LINGER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest time that takes, in microseconds.
const LINGER_US: u64 = 2_000_000;
/// Appends in a row to one other core after which a connection moves there.
const MOVE_AFTER: u32 = 16;
/// Largest response buffer kept for the next answer, in bytes.
const OUT_BYTES_KEPT: usize = 256 * 1024;

/// Why a connection ends.
enum End {
    /// Both sides are done, or the peer is gone.
    Done,
    /// An answer was sent that the peer may not have read; it may still be sending.
    Linger,
    /// It goes on at this core, which owns the stream that it appends to.
    Move(usize),
}

/// A connection and what serves it.
struct Connection<I: Io> {
    core: Rc<Core<I>>,
    settings: Rc<ConnectionSettings>,
    socket: TcpStream,
    conn: Conn,
    line: Registered,
    out: Vec<u8>,
    /// How many appends in a row went to one other core, and which.
    elsewhere: (u32, usize),
    /// When the request that is arriving began to, microseconds on the monotonic clock.
    began_us: u64,
    /// Bytes of it that have arrived.
    arrived_bytes: u64,
}

/// What [`Event`] says, without its borrow.
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation per request")]
enum Step {
    NeedInput,
    Head,
    Request(Request),
    Closed,
    Refused(Violation),
}

/// Serves a connection that was just accepted, until it ends or moves.
pub(super) async fn serve<I: Io>(core: Rc<Core<I>>, socket: TcpStream) {
    let conn = Conn::new(core.connection.limits.clone());
    serve_from(core, socket, conn).await;
}

/// Serves a connection of which `conn` has received something already, until it ends or moves.
pub(super) async fn serve_from<I: Io>(core: Rc<Core<I>>, socket: TcpStream, conn: Conn) {
    let line = core.lifelines.add();
    core.publish_load();
    let settings = Rc::clone(&core.connection);
    let (out, elsewhere, began_us, arrived_bytes) = (Vec::new(), (0, 0), 0, 0);
    let mut connection =
        Connection { core, settings, socket, conn, line, out, elsewhere, began_us, arrived_bytes };
    let end = connection.run().await;
    if let End::Linger = end {
        connection.linger().await;
    }
    let Connection { core, socket, conn, line, .. } = connection;
    if let End::Move(to) = end {
        match MovingSocket::detach(socket) {
            // When that core is gone, so is the server, and the connection ends.
            Ok(socket) => drop(core.send(to, Message::Adopt(socket, Box::new(conn))).await),
            Err(error) => tracing::warn!(%error, "a connection could not move"),
        }
    }
    drop(line);
    core.publish_load();
    core.metrics.connection_left();
}

impl<I: Io> Connection<I> {
    async fn run(&mut self) -> End {
        loop {
            let step = match self.conn.next_event() {
                Ok(Event::NeedInput) => Step::NeedInput,
                Ok(Event::Head) => Step::Head,
                Ok(Event::Request(request)) => Step::Request(request),
                Ok(Event::Closed | Event::Data(_) | Event::End) => Step::Closed,
                Err(violation) => Step::Refused(violation),
            };
            let go_on = match step {
                Step::NeedInput => self.receive().await,
                Step::Head => self.begin_body().await,
                Step::Request(request) => self.answer(request).await,
                Step::Closed => Err(End::Done),
                Step::Refused(violation) => Err(self.refuse(violation).await),
            };
            if let Err(end) = go_on {
                return end;
            }
        }
    }

    /// Receives more bytes, or finds out that none come in time.
    async fn receive(&mut self) -> Result<(), End> {
        let now_us = self.now_us();
        let idle = self.conn.unread().is_empty();
        if idle {
            (self.began_us, self.arrived_bytes) = (now_us, 0);
            if self.core.draining.get() {
                return Err(End::Done);
            }
            self.line.wait_for(Waiting::Idle, now_us + self.settings.idle_us);
        } else {
            self.wait_for_peer(self.arrived_bytes);
        }
        let read = self.socket.read(self.conn.recv_space());
        match self.line.guard(read).await {
            Ok(Ok(0)) => self.conn.received_eof(),
            Ok(Ok(n)) => {
                if idle {
                    self.began_us = self.now_us();
                }
                self.arrived_bytes += n as u64;
                self.conn.received(n);
            }
            Ok(Err(_)) => return Err(End::Done),
            Err(Goodbye::TimedOut) if !idle => {
                let error = ApiError::new(Code::RequestTimeout, "the request took too long");
                return Err(self.say_last(error.into_response()).await);
            }
            Err(_) => return Err(End::Done),
        }
        Ok(())
    }

    /// A head has arrived: the body is wanted, whatever the request is, up to the limit.
    async fn begin_body(&mut self) -> Result<(), End> {
        let awaits_continue = self.conn.awaits_continue();
        if let Err(violation) = self.conn.collect_body() {
            return Err(self.refuse(violation).await);
        }
        if awaits_continue {
            self.out.clear();
            self.out.extend_from_slice(CONTINUE);
            self.flush().await?;
        }
        Ok(())
    }

    /// Answers one request.
    async fn answer(&mut self, request: Request) -> Result<(), End> {
        self.line.wait_for(Waiting::Answer, 0);
        self.core.metrics.request();
        let head = request.head();
        let (is_head, keep_alive) = (head.method() == "HEAD", head.keep_alive());
        let mut persistence = head.persistence();
        let (operation, extra) = {
            let headers = Fields(head);
            let parts = Parts {
                method: head.method(),
                path: head.path(),
                query: head.query(),
                headers: &headers,
            };
            (route(&parts), cors::headers(&parts, self.settings.cors))
        };
        let mut aside = Aside::default();
        let result = match operation {
            Ok(operation) => respond(&self.core, operation, request.into_body(), &mut aside).await,
            Err(error) => Err(error),
        };
        self.conn.recycle(aside.spare);
        let response = result.unwrap_or_else(|error| {
            self.core.metrics.refused(error.code_text());
            error.into_response()
        });
        let close = !keep_alive || self.core.draining.get();
        if close {
            persistence = Persistence::Close;
        }
        self.spell(&response, &extra, persistence, is_head);
        self.flush().await?;
        if close { Err(End::Linger) } else { self.stay_or_move(aside.appended_at) }
    }

    /// Moves to the core that the connection keeps appending to: then its appends cross no more.
    /// Not when that core has as many connections as this one: then both are better off as it is.
    fn stay_or_move(&mut self, appended_at: Option<usize>) -> Result<(), End> {
        let (count, core) = self.elsewhere;
        self.elsewhere = match appended_at {
            Some(at) if at == core => (count + 1, at),
            Some(at) => (1, at),
            None => (0, core),
        };
        let (count, core) = self.elsewhere;
        let moves = count >= MOVE_AFTER
            && self.conn.unread().is_empty()
            && self.core.may_move_to(core)
            && !self.core.draining.get();
        if moves { Err(End::Move(core)) } else { Ok(()) }
    }

    /// Answers bytes that are not HTTP, or more than is allowed, and ends the connection.
    async fn refuse(&mut self, violation: Violation) -> End {
        let status = violation.status();
        self.core.metrics.http_violation(status);
        let error = ApiError::of_transport(status, &violation.to_string());
        self.say_last(error.into_response()).await
    }

    async fn say_last(&mut self, response: Response) -> End {
        self.spell(&response, &[], Persistence::Close, false);
        match self.flush().await {
            Ok(()) => End::Linger,
            Err(end) => end,
        }
    }

    fn spell(
        &mut self,
        response: &Response,
        extra: &[Header],
        persistence: Persistence,
        is_head: bool,
    ) {
        self.out.clear();
        let date = self.core.date.borrow();
        let content_type = response.content_type.map(|t| ("content-type", t.as_bytes()));
        let more = response.headers.iter().chain(extra).map(|(n, v)| (*n, v.as_bytes()));
        let headers = content_type.into_iter().chain([("date", date.as_bytes())]).chain(more);
        let framing = match response.status {
            204 => Framing::None,
            _ => Framing::Length(response.body.len() as u64),
        };
        let reason = reason_phrase(response.status);
        response_head(&mut self.out, response.status, reason, headers, framing, persistence);
        if !is_head {
            self.out.extend_from_slice(&response.body);
        }
    }

    /// Sends what was spelled.
    async fn flush(&mut self) -> Result<(), End> {
        let (now_us, len_bytes) = (self.now_us(), self.out.len() as u64);
        self.began_us = now_us;
        self.wait_for_peer(len_bytes);
        let sent = self.line.guard(self.socket.write_all(&self.out)).await;
        if self.out.capacity() > OUT_BYTES_KEPT {
            self.out = Vec::new();
        }
        match sent {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Done),
        }
    }

    /// Waits for the peer as long as one may that has `bytes` to send or to take.
    fn wait_for_peer(&self, bytes: u64) {
        let extra_us = bytes * 1_000_000 / PEER_BYTES_PER_SECOND_MIN;
        self.line.wait_for(Waiting::Peer, self.began_us + self.settings.peer_us + extra_us);
    }

    /// Lets the peer read the last answer: a socket closed with bytes unread is reset, and a
    /// reset throws away what the peer has not read yet.
    async fn linger(&mut self) {
        self.line.wait_for(Waiting::Peer, self.now_us() + LINGER_US);
        let drained = async {
            if self.socket.shutdown(Shutdown::Write).await.is_err() {
                return;
            }
            let mut scratch = vec![0; 16 * 1024];
            let mut left = LINGER_BYTES_MAX;
            while let Ok(n @ 1..) = self.socket.read(&mut scratch).await
                && n < left
            {
                left -= n;
            }
        };
        // However it ends, the connection does.
        let _ended = self.line.guard(drained).await;
    }

    fn now_us(&self) -> u64 {
        self.core.now_us()
    }
}

/// Header lines of an HTTP/1.1 head, as the API looks at them.
struct Fields<'a>(HeadRef<'a>);

impl Headers for Fields<'_> {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.header(name)
    }

    fn all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self.0.headers(name).for_each(each);
    }
}
