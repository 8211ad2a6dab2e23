//! One HTTP/1.1 connection: bytes in, requests, answers out, in order, until it ends.
//!
//! A request is routed as soon as its head is there: one that opens a session is served while its
//! body arrives, on the core that owns the stream; every other body is received whole first.

use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;

use futures_util::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    ConnectionSettings, LINGER_BYTES_MAX, LINGER_US, Peer, ROOM_US, Routed, Share, answer,
    answer_bytes, is_waiting_read, no_room, part, patience_us, throw_away,
};
use crate::api::request::{Headers, Parts};
use crate::api::response::{Header, Response};
use crate::api::{ApiError, Code};
use crate::http1::{
    BodyLength, CONTINUE, Conn, Event, Framing, HeadRef, Persistence, Request, Violation,
    reason_phrase, response_head,
};
use crate::io::{Io, Socket};
use crate::shard::connection::held::FREE_BYTES;
use crate::shard::core::Core;
use crate::shard::lifeline::{Goodbye, Registered, Waiting};
use crate::shard::respond::Aside;
use crate::wire::Body;

mod session;

/// Appends in a row to one other core after which a connection moves there.
const MOVE_AFTER: u32 = 16;
/// Largest response buffer kept for the next answer, in bytes.
const OUT_BYTES_KEPT: usize = 256 * 1024;
/// The same of an answer's body, which is copied there.
const BODY_BYTES_KEPT: usize = 1024;

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
struct Connection<'a, I: Io> {
    core: Rc<Core<I>>,
    settings: Rc<ConnectionSettings>,
    socket: Peer<I>,
    peer: Option<SocketAddr>,
    conn: Conn,
    line: &'a Registered,
    /// What the head says whose body is arriving.
    routed: Option<Routed>,
    /// Why it is refused once its body has arrived, which nobody looks at.
    refusal: Option<ApiError>,
    out: Vec<u8>,
    /// Empty; memory for the answer to the next append.
    answer_body: Vec<u8>,
    /// Its part of the memory for requests, and of that for answers.
    share: Share,
    answer_share: Share,
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

/// Serves a connection of which `conn` may have received something already, until it ends or
/// moves: then it returns where to, with what it takes along.
pub(super) async fn serve<I: Io>(
    core: &Rc<Core<I>>,
    settings: Rc<ConnectionSettings>,
    mut socket: Peer<I>,
    conn: Conn,
    line: &Registered,
) -> Option<(usize, Peer<I>, Conn)> {
    let (core, peer) = (Rc::clone(core), socket.peer());
    let (out, elsewhere) = (Vec::new(), (0, 0));
    let (began_us, arrived_bytes) = (core.now_us(), conn.unread().len() as u64);
    let (share, answer_share) = (core.held.share(), core.answers.share());
    socket.look_twice(true);
    let mut connection = Connection {
        core,
        settings,
        socket,
        peer,
        conn,
        line,
        routed: None,
        refusal: None,
        out,
        answer_body: Vec::new(),
        share,
        answer_share,
        elsewhere,
        began_us,
        arrived_bytes,
    };
    match connection.run().await {
        End::Done => {
            part(&connection.core, &mut connection.socket, line).await;
            None
        }
        End::Linger => {
            connection.linger().await;
            None
        }
        End::Move(to) => Some((to, connection.socket, connection.conn)),
    }
}

impl<I: Io> Connection<'_, I> {
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
        // A request of which the head was taken is under way, whatever is left of it.
        let idle = self.routed.is_none() && self.conn.unread().is_empty();
        if idle {
            (self.began_us, self.arrived_bytes) = (now_us, 0);
            if self.core.drain.is_begun() {
                return Err(End::Done);
            }
            self.line.wait_for(Waiting::Idle, now_us + self.settings.idle_us);
        } else {
            self.wait_for_peer(self.arrived_bytes);
        }
        if let Some(bytes) = self.conn.memory_wanted()
            && !self.share.try_arrive(bytes as u64)
        {
            return self.wait_for_memory(bytes as u64).await;
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

    /// Waits until there is memory for more of a request, and refuses it if that takes too long.
    async fn wait_for_memory(&mut self, total_bytes: u64) -> Result<(), End> {
        self.line.wait_for(Waiting::Peer, self.now_us() + ROOM_US);
        let arrived = self.line.guard(pin!(self.share.arrive(total_bytes))).await;
        match arrived {
            Ok(()) => Ok(()),
            Err(Goodbye::TimedOut) => {
                let refused = no_room(&self.core);
                Err(self.say_last(refused).await)
            }
            Err(_) => Err(End::Done),
        }
    }

    /// A head has arrived: its body is wanted whole, up to the limit, unless it opens a session.
    async fn begin_body(&mut self) -> Result<(), End> {
        let head = self.conn.head();
        let headers = Fields(head);
        let parts = Parts {
            method: head.method(),
            path: head.path(),
            query: head.query(),
            headers: &headers,
        };
        let routed = Routed::of(&parts, &self.core, &self.settings, self.peer);
        let has_body = !matches!(head.body_length(), BodyLength::None | BodyLength::Known(0));
        if routed.is_session() {
            return Box::pin(self.session(routed)).await;
        }
        if let Some(error) = routed.refused_at_once(has_body) {
            return self.refuse_at_once(error, &routed).await;
        }
        let body_bytes = match head.body_length() {
            BodyLength::Known(bytes) => bytes,
            BodyLength::None | BodyLength::Chunked => 0,
        };
        let awaits_continue = self.conn.awaits_continue();
        // First of all: nothing below is asked about a length that is refused.
        if let Err(violation) = self.conn.collect_body() {
            return Err(self.refuse(violation).await);
        }
        if let Ok(operation) = &routed.operation {
            // A wait that is ours: a drain lets it end, and the peer is not late.
            self.line.wait_for(Waiting::Answer, 0);
            let let_in = pin!(self.core.let_in(operation, self.now_us(), body_bytes));
            self.refusal = match self.line.guard(let_in).await {
                Ok(let_in) => let_in.err(),
                Err(_) => return Err(End::Done),
            };
        }
        if awaits_continue && let Some(error) = self.refusal.take() {
            return self.refuse_at_once(error, &routed).await;
        }
        self.routed = Some(routed);
        if awaits_continue {
            self.send_continue().await?;
        }
        Ok(())
    }

    async fn send_continue(&mut self) -> Result<(), End> {
        self.out.clear();
        self.out.extend_from_slice(CONTINUE);
        self.flush().await
    }

    /// Answers one request.
    async fn answer(&mut self, request: Request) -> Result<(), End> {
        self.line.wait_for(Waiting::Answer, 0);
        self.core.metrics.request();
        let head = request.head();
        let (keep_alive, mut persistence) = (head.keep_alive(), head.persistence());
        let Some(mut routed) = self.routed.take() else { return Err(End::Done) };
        self.share.arrived();
        let body = std::mem::take(&mut self.answer_body);
        let mut aside = Aside { body, peer: self.peer, ..Aside::default() };
        let body = Body::Buf(request.into_body());
        let waits = is_waiting_read(&routed.operation);
        let mut response = if let Some(error) = self.refusal.take() {
            self.core.refused(&error, routed.asker());
            drop(body);
            error.into_response()
        } else if self.has_answer_room(answer_bytes(&routed.operation)).await? {
            answer(&self.core, &mut routed, body, &self.share, &mut aside).await
        } else {
            no_room(&self.core)
        };
        self.conn.recycle(aside.spare);
        if self.share.is_short() {
            self.conn.shrink();
        }
        self.share.set((self.conn.memory_bytes() as u64).saturating_sub(FREE_BYTES));
        let response_bytes = 2 * response.body.len() as u64;
        if waits && response_bytes > FREE_BYTES && !self.has_answer_room(response_bytes).await? {
            response = no_room(&self.core);
        }
        self.answer_share.set(2 * response.body.len() as u64);
        let close = !keep_alive || self.core.drain.is_begun();
        if close {
            persistence = Persistence::Close;
        }
        self.spell(&response, &routed.extra, persistence, routed.is_head);
        self.keep_body(response.body);
        self.flush_paced(aside.is_paced).await?;
        self.answer_share.set((self.out.capacity() as u64).saturating_sub(FREE_BYTES));
        if close { Err(End::Linger) } else { self.stay_or_move(aside.appended_at) }
    }

    /// Keeps the memory of a short answer for the next one.
    fn keep_body(&mut self, mut body: Vec<u8>) {
        if body.capacity() <= BODY_BYTES_KEPT {
            body.clear();
            self.answer_body = body;
        }
    }

    /// Whether there is room for an answer of that size, now or soon.
    async fn has_answer_room(&self, bytes: u64) -> Result<bool, End> {
        if bytes == 0 {
            return Ok(true);
        }
        self.line.wait_for(Waiting::Peer, self.now_us() + ROOM_US);
        match self.line.guard(pin!(self.answer_share.take(bytes))).await {
            Ok(()) => {
                self.line.wait_for(Waiting::Answer, 0);
                Ok(true)
            }
            Err(Goodbye::TimedOut) => Ok(false),
            Err(_) => Err(End::Done),
        }
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
            && !self.core.drain.is_begun();
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
            204 | 304 => Framing::None,
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
        self.flush_paced(false).await
    }

    /// Sends what was spelled, old data piece by piece, each when it is its turn.
    async fn flush_paced(&mut self, is_paced: bool) -> Result<(), End> {
        let (now_us, len_bytes) = (self.now_us(), self.out.len() as u64);
        self.began_us = now_us;
        self.wait_for_peer(len_bytes);
        let Self { core, settings, socket, line, out, .. } = self;
        let sending = async {
            if !is_paced {
                socket.write_all(out).await?;
                return socket.flush().await;
            }
            line.wait_for(Waiting::Answer, 0);
            let send = async |piece: Range<usize>| {
                let patience_us = patience_us(settings, piece.len() as u64);
                line.wait_for(Waiting::Peer, core.now_us() + patience_us);
                socket.write_all(&out[piece]).await?;
                socket.flush().await?;
                line.wait_for(Waiting::Answer, 0);
                Ok(())
            };
            core.send_old(out.len(), send).await
        };
        let sent = line.guard(pin!(sending)).await;
        if self.out.capacity() > OUT_BYTES_KEPT || self.answer_share.is_short() {
            self.out = Vec::new();
        }
        match sent {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Done),
        }
    }

    /// Waits for the peer as long as one may that has `bytes` to send or to take.
    fn wait_for_peer(&self, bytes: u64) {
        let deadline_us = self.began_us + patience_us(&self.settings, bytes);
        self.line.wait_for(Waiting::Peer, deadline_us);
    }

    /// Lets the peer read the last answer.
    async fn linger(&mut self) {
        self.line.wait_for(Waiting::Peer, self.now_us() + LINGER_US);
        let drained = async {
            if self.socket.shutdown(Shutdown::Write).await.is_ok() {
                throw_away(&mut self.socket, LINGER_BYTES_MAX).await;
            }
        };
        // However it ends, the connection does.
        let _ended = self.line.guard(pin!(drained)).await;
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
