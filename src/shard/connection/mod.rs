//! One connection: what was agreed on at its handshake, or its first bytes, say which protocol it
//! speaks, and that protocol's file serves it until it ends.
//!
//! The protocols are `http1`'s and `http2`'s, the meaning `api`'s; here are the sockets, the
//! deadlines, and the order of things. A client that goes away changes nothing about what was
//! accepted.

mod handshake;
mod held;
mod http1;
mod http2;
mod peer;
mod session;

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::{self, Either};
use futures_util::io::{AsyncRead, AsyncReadExt};

use super::call::Asked;
use super::core::{Core, Message};
use super::gate::{Admitted, AuthSettings};
use super::lifeline::{Registered, Waiting};
use super::respond::{Aside, Asker, respond};
use super::session::Open;
use crate::api::gate::{Port, Scraping};
use crate::api::negotiate::MediaType;
use crate::api::request::Parts;
use crate::api::response::{EVENT_STREAM, Header, Response, S2S};
use crate::api::{ApiError, Code, Operation, cors, gate, negotiate};
use crate::audit::{Entry, Origin};
use crate::auth::Access;
use crate::codec::coding::{compress, decompress};
use crate::codec::{BatchForm, Coding, Feed};
use crate::dashboard::Facts;
use crate::http1::{Conn, Limits};
use crate::http2::PREFACE;
use crate::io::permits::Permit;
use crate::io::{Io, Socket};
use crate::tls::{Acceptor, Application};
use crate::types::exposure::Exposed;
use crate::wire::Body;

pub(super) use handshake::Handshakes;
use held::ROOM_US;
pub(super) use held::{HeldMemory, Share};
pub(super) use peer::{MovingOf, MovingPeer};
use peer::{Peer, PeerSocket};

/// Bounds of a connection in time and size.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// Sizes, of HTTP/1.1 and of every body.
    pub limits: Limits,
    /// Sizes of HTTP/2.
    pub http2_limits: crate::http2::Limits,
    /// How long a connection may have no request, in microseconds.
    pub idle_us: u64,
    /// How long a request may take to arrive, or an answer to be taken, in microseconds, before
    /// what `PEER_BYTES_PER_SECOND_MIN` adds.
    pub peer_us: u64,
    /// Memory of requests on one core, in bytes, and as much again of answers.
    pub request_memory_bytes: u64,
    /// Whether cross-origin headers are sent.
    pub cors: bool,
    /// The address that the connection came to.
    pub port: Port,
    /// Who may scrape metrics, and where.
    pub scraping: Scraping,
    /// What the server's addresses lack.
    pub exposed: Exposed,
    /// What the dashboard says of the server; `None` when there is no dashboard.
    pub dashboard: Option<Arc<Facts>>,
    /// Who makes connections private; `None` when they are in the clear.
    pub tls: Option<Acceptor>,
    /// How clients are told apart.
    pub auth: AuthSettings,
}

/// A peer that sends or takes at least this many bytes a second is never too slow.
const PEER_BYTES_PER_SECOND_MIN: u64 = 16 * 1024;

/// Most bytes read and thrown away after the last answer, so that it is not lost to a reset.
const LINGER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest time that takes, in microseconds.
const LINGER_US: u64 = 2_000_000;
/// How long saying goodbye to a peer may take that has nothing more to read, in microseconds.
const GOODBYE_US: u64 = 1_000_000;

/// Headers of a session's answer: nobody on its way may keep it back or change it.
const SESSION_HEADERS: [(&str, &str); 2] =
    [("cache-control", "no-cache, no-transform"), ("x-accel-buffering", "no")];

/// Longest body of a request at the address of metrics, in bytes; nobody looks at it.
const SCRAPE_BODY_BYTES_MAX: usize = 1024;
/// How long a connection there may have no request, in microseconds.
const SCRAPE_IDLE_US: u64 = 120_000_000;
/// How long a request there may take to arrive, or an answer to be taken, in microseconds.
const SCRAPE_PEER_US: u64 = 10_000_000;

/// Shortest answer that is coded, in bytes.
const CODED_BYTES_MIN: usize = 1024;
/// Longest body that is coded or decoded on the core itself, in bytes: some hundred microseconds.
const CODED_HERE_BYTES_MAX: usize = 64 * 1024;

/// What a request's head says.
struct Routed {
    /// In whose name it is asked for.
    access: Access,
    operation: Result<Operation, ApiError>,
    /// Headers that every answer to it carries.
    extra: Cow<'static, [Header]>,
    /// How its body is coded.
    body_coding: Option<Coding>,
    /// How a large answer may be coded.
    answer_coding: Option<Coding>,
    is_head: bool,
    /// It wanted to be an append session, whether or not it may be one.
    wants_append_session: bool,
    /// Who sent it.
    peer: Option<SocketAddr>,
    /// What was not permitted, or is a session.
    tried: Option<Box<Entry>>,
}

impl Routed {
    fn of<I: Io>(
        parts: &Parts<'_>,
        core: &Core<I>,
        settings: &ConnectionSettings,
        peer: Option<SocketAddr>,
    ) -> Self {
        let refusal = gate::refusal(parts, settings.port, &settings.scraping);
        let refusal = refusal.or_else(|| match settings.dashboard {
            Some(_) => None,
            None => gate::no_dashboard(parts),
        });
        let Admitted { access, operation, tried } = match refusal {
            Some(error) => Admitted::refused(core.gate.stranger(), error),
            None => core.gate.admit(parts, || core.clock().wall_us()),
        };
        Self {
            access,
            extra: cors::headers(parts, settings.cors),
            // When it is not understood, the operation is refused already if it has a body.
            body_coding: negotiate::request_coding(parts.headers).unwrap_or_default(),
            answer_coding: negotiate::response_coding(parts.headers),
            is_head: parts.method == "HEAD",
            wants_append_session: parts.method == "POST"
                && negotiate::media_type(parts.headers, "content-type") == Some(MediaType::S2s),
            peer,
            operation,
            tried,
        }
    }

    /// Who asks for it.
    fn asker(&self) -> Asker<'_> {
        Asker { access: &self.access, peer: self.peer, tried: self.tried.as_deref() }
    }

    /// Takes the session that it asks for; `None` when it is none.
    fn take_session(&mut self) -> Option<SessionRequest> {
        let operation = self.take_operation().ok()?;
        self.tried = Some(Box::new(Entry::of(&operation, "", b"")));
        SessionRequest::of(operation, self.asker().origin())
    }

    /// Takes the operation, which is done once. What is left in its place is nobody's to look at
    /// and takes no memory.
    fn take_operation(&mut self) -> Result<Operation, ApiError> {
        std::mem::replace(&mut self.operation, Ok(Operation::Options))
    }

    /// Whether its answer is a session.
    fn is_session(&self) -> bool {
        matches!(
            self.operation,
            Ok(Operation::AppendSession { .. } | Operation::ReadSession { .. })
        )
    }

    /// Why it is refused, when that is said before its body is received: who wants an append
    /// session sends nothing before it is answered, and for who is unknown nothing is kept, also
    /// where anybody may ask.
    fn refused_at_once(&self, has_body: bool) -> Option<ApiError> {
        let is_stranger = has_body && matches!(self.access, Access::Nobody);
        match &self.operation {
            Err(error) if is_stranger || self.wants_append_session => Some(error.clone()),
            Ok(_) if is_stranger => {
                Some(ApiError::of_transport(413, "nothing is asked with a body here"))
            }
            _ => None,
        }
    }
}

/// What a session's request asks for.
struct SessionRequest {
    open: Open,
    kind: SessionKind,
}

/// How a session speaks.
#[derive(Debug, Clone, Copy)]
enum SessionKind {
    Append { coding: Option<Coding> },
    Read { feed: Feed },
}

impl SessionRequest {
    /// `None` when the operation is not a session.
    fn of(operation: Operation, from: Origin) -> Option<Self> {
        Some(match operation {
            Operation::AppendSession { path, key, coding, receipt, auto_create } => {
                let asked = Asked { auto_create: auto_create.unwrap_or_default(), from };
                Self {
                    open: Open::Append { path, key, asked, receipt },
                    kind: SessionKind::Append { coding },
                }
            }
            Operation::ReadSession { path, key, query, feed, auto_create } => {
                let asked = Asked { auto_create: auto_create.unwrap_or_default(), from };
                Self {
                    open: Open::Read { path, key, query, feed, asked },
                    kind: SessionKind::Read { feed },
                }
            }
            _ => return None,
        })
    }
}

impl SessionKind {
    fn content_type(self) -> &'static str {
        match self {
            Self::Append { .. } | Self::Read { feed: Feed::S2s { .. } } => S2S,
            Self::Read { feed: Feed::Sse { .. } } => EVENT_STREAM,
        }
    }
}

/// Most memory of the answer to a read that does not wait, in bytes: a batch, and its spelling.
const READ_ANSWER_BYTES: u64 = 3 * 512 * 1024;
/// When a request that found no room is to be tried again, in milliseconds.
const ROOM_RETRY_MS: u64 = 1_000;

/// Memory that is sure to be needed for the answer, in bytes, before there is one.
fn answer_bytes(operation: &Result<Operation, ApiError>) -> u64 {
    match operation {
        // A read that waits may wait for long, and holds nothing meanwhile.
        Ok(Operation::Read { .. }) if !is_waiting_read(operation) => READ_ANSWER_BYTES,
        _ => 0,
    }
}

/// Whether it is a read whose answer needs memory only when there is one. It has no effect, so it
/// may be refused even then.
fn is_waiting_read(operation: &Result<Operation, ApiError>) -> bool {
    matches!(
        operation,
        Ok(Operation::Read { query, .. }) if query.wait_secs.is_some_and(|secs| secs > 0)
    )
}

/// What is said when there is no room for a request, or for its answer, in time.
fn no_room_error() -> ApiError {
    ApiError::rate_limited(ROOM_RETRY_MS, "too much is under way; try again later")
}

fn no_room<I: Io>(core: &Core<I>) -> Response {
    let error = no_room_error();
    core.metrics.refused(error.code_text());
    error.into_response()
}

/// Answers a request that opens no session: decodes its body, does it, and codes a large answer.
async fn answer<I: Io>(
    core: &Rc<Core<I>>,
    routed: &mut Routed,
    body: Body,
    share: &Share,
    aside: &mut Aside,
) -> Response {
    let result = match routed.take_operation() {
        Ok(operation) => match decoded(core, body, share, routed.body_coding, &operation).await {
            Ok(body) => respond(core, &routed.access, operation, body, aside).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match result {
        Ok(response) => coded(core, response, routed.answer_coding).await,
        Err(error) => {
            let tried = aside.tried.take();
            let asker = routed.asker();
            core.refused(&error, Asker { tried: tried.as_deref().or(asker.tried), ..asker });
            error.into_response()
        }
    }
}

/// The body without its coding.
async fn decoded<I: Io>(
    core: &Core<I>,
    body: Body,
    share: &Share,
    coding: Option<Coding>,
    operation: &Operation,
) -> Result<Body, ApiError> {
    let Some(coding) = coding else { return Ok(body) };
    let _permit = decoding_permit(core, share).await?;
    let limit_bytes = core.connection.limits.body_bytes_max;
    let code = match operation {
        Operation::Append { form: BatchForm::Proto, .. } => Code::BadProto,
        _ => Code::BadJson,
    };
    let large = body.as_slice().len() > CODED_HERE_BYTES_MAX;
    let decode = move || decompress(coding, body.as_slice(), limit_bytes);
    let decoded = if large { core.clock().blocking(decode).await } else { decode() };
    let decoded = decoded.map_err(|error| ApiError::new(code, error.to_string()))?;
    share.add(decoded.capacity() as u64);
    Ok(decoded.into())
}

/// A permit to decode a body, got when there is room. Nobody waits for room with a permit in hand.
///
/// * Errors: there was no room in time. Those who have a permit already may go beyond the room by
///   a body each.
async fn decoding_permit<I: Io>(core: &Core<I>, share: &Share) -> Result<Permit, ApiError> {
    let clock = core.clock();
    let mut late = pin!(clock.sleep_us(ROOM_US));
    loop {
        let room = pin!(share.no_excess());
        if let Either::Right(_) = future::select(room, &mut late).await {
            return Err(no_room_error());
        }
        let permit = core.decoding.acquire().await;
        // Others may have taken the room meanwhile.
        if !share.has_excess() {
            return Ok(permit);
        }
    }
}

/// A successful response, coded when it is large enough and the client understands it.
async fn coded<I: Io>(core: &Core<I>, mut response: Response, coding: Option<Coding>) -> Response {
    let Some(coding) = coding else { return response };
    if !(200..300).contains(&response.status) || response.body.len() < CODED_BYTES_MIN {
        return response;
    }
    let plain = std::mem::take(&mut response.body);
    let large = plain.len() > CODED_HERE_BYTES_MAX;
    let code = move || {
        let mut out = Vec::new();
        compress(coding, &plain, &mut out);
        out
    };
    response.body = if large { core.clock().blocking(code).await } else { code() };
    response.with_header("content-encoding", coding.as_str())
}

/// Serves a connection that was just accepted, until it ends or moves.
pub(super) async fn serve<I: Io>(core: Rc<Core<I>>, socket: I::Socket) {
    let line = core.lifelines.add();
    core.publish_load();
    let settings = Rc::clone(&core.connection);
    let Some(acceptor) = &settings.tls else {
        return speak(core, PeerSocket::Clear(socket), Application::Unnamed, line).await;
    };
    // Boxed: a connection has no use for its memory once it is private.
    match Box::pin(handshake::secure(&core, acceptor, socket, &line)).await {
        Some((stream, application)) => {
            speak(core, PeerSocket::Secured(Box::new(stream)), application, line).await;
        }
        None => leave(&core, line),
    }
}

/// Serves a connection in the protocol that was agreed on, or that its first bytes are of.
async fn speak<I: Io>(
    core: Rc<Core<I>>,
    mut socket: Peer<I>,
    application: Application,
    line: Registered,
) {
    let mut conn = Conn::new(core.connection.limits.clone());
    match (sniff(&core, &line, &mut socket, &mut conn).await, application) {
        (Some(Protocol::Http2), Application::Http2 | Application::Unnamed) => {
            http2::serve(&core, socket, conn.into_received(), &line).await;
            leave(&core, line);
        }
        // Who agreed on HTTP/2 and speaks something else is not understood at all.
        (Some(Protocol::Http1), Application::Http2) | (None, _) => {
            part(&core, &mut socket, &line).await;
            leave(&core, line);
        }
        // Who agreed on HTTP/1.1 and speaks HTTP/2 is told by HTTP/1.1 what is wrong.
        (Some(_), _) => serve_http1(core, socket, conn, line).await,
    }
}

/// Says that nothing more comes to a peer that may be gone.
async fn part<I: Io>(core: &Core<I>, socket: &mut Peer<I>, line: &Registered) {
    if let PeerSocket::Secured(_) = socket {
        line.wait_for(Waiting::Peer, core.now_us() + GOODBYE_US);
        let mut closing = pin!(socket.shutdown(Shutdown::Write));
        // Once in any case: who must leave at once may say so, if there is room for it.
        let first = poll_fn(|cx| Poll::Ready(closing.as_mut().poll(cx))).await;
        if first.is_pending() {
            // However it ends, the connection does.
            let _ended = line.guard(closing).await;
        }
    }
}

/// Serves a connection that moved here, until it ends or moves on.
pub(super) async fn adopt<I: Io>(core: Rc<Core<I>>, socket: MovingOf<I>, conn: Conn) {
    let socket = PeerSocket::attach(socket);
    let line = core.lifelines.add();
    core.publish_load();
    serve_http1(core, socket, conn, line).await;
}

async fn serve_http1<I: Io>(core: Rc<Core<I>>, socket: Peer<I>, conn: Conn, line: Registered) {
    let settings = Rc::clone(&core.connection);
    let moved = http1::serve(&core, settings, socket, conn, &line).await;
    if let Some((to, socket, conn)) = moved {
        match socket.detach() {
            // When that core is gone, so is the server, and the connection ends.
            Ok(socket) => drop(core.send(to, Message::Adopt(socket, Box::new(conn))).await),
            Err(error) => tracing::warn!(%error, "a connection could not move"),
        }
    }
    leave(&core, line);
}

/// Serves a connection to the address of metrics, until it ends.
///
/// Whoever scrapes needs neither HTTP/2 nor bodies, and has no reason to stay for long.
pub(super) async fn serve_scrape<I: Io>(core: Rc<Core<I>>, socket: I::Socket) {
    let line = core.lifelines.add();
    core.publish_load();
    let main = &*core.connection;
    let settings = ConnectionSettings {
        limits: Limits { body_bytes_max: SCRAPE_BODY_BYTES_MAX, ..main.limits.clone() },
        idle_us: main.idle_us.min(SCRAPE_IDLE_US),
        peer_us: main.peer_us.min(SCRAPE_PEER_US),
        port: Port::Metrics,
        ..main.clone()
    };
    let conn = Conn::new(settings.limits.clone());
    // It appends to no stream, so it never moves.
    let socket = PeerSocket::Clear(socket);
    let _stays = http1::serve(&core, Rc::new(settings), socket, conn, &line).await;
    leave(&core, line);
}

fn leave<I: Io>(core: &Rc<Core<I>>, line: Registered) {
    drop(line);
    core.publish_load();
    core.metrics.connection_left();
}

enum Protocol {
    Http1,
    Http2,
}

/// Receives as many bytes as it takes to know the protocol; `None` when they do not come.
async fn sniff<I: Io>(
    core: &Core<I>,
    line: &Registered,
    socket: &mut Peer<I>,
    conn: &mut Conn,
) -> Option<Protocol> {
    line.wait_for(Waiting::Idle, core.now_us() + core.connection.idle_us);
    loop {
        let received = conn.unread();
        if received.len() >= PREFACE.len() && received.starts_with(PREFACE) {
            return Some(Protocol::Http2);
        }
        if !received.is_empty() && !PREFACE.starts_with(received) {
            return Some(Protocol::Http1);
        }
        match line.guard(socket.read(conn.recv_space())).await {
            Ok(Ok(n @ 1..)) => conn.received(n),
            // HTTP/1.1 says what is wrong with a piece of a preface.
            Ok(Ok(0)) if !conn.unread().is_empty() => {
                conn.received_eof();
                return Some(Protocol::Http1);
            }
            _ => return None,
        }
        if conn.unread().len() < PREFACE.len() {
            line.wait_for(Waiting::Peer, core.now_us() + core.connection.peer_us);
        }
    }
}

/// Reads and throws away what the peer still sends, until it closes or that is too much: a socket
/// closed with bytes unread is reset, and a reset throws away what the peer has not read yet.
async fn throw_away(socket: &mut (impl AsyncRead + Unpin), bytes_max: usize) {
    let mut scratch = vec![0; 16 * 1024];
    let mut left = bytes_max;
    while let Ok(n @ 1..) = socket.read(&mut scratch).await
        && n < left
    {
        left -= n;
    }
}

/// How long a peer may take for `bytes`, in microseconds.
fn patience_us(settings: &ConnectionSettings, bytes: u64) -> u64 {
    settings.peer_us + bytes * 1_000_000 / PEER_BYTES_PER_SECOND_MIN
}
