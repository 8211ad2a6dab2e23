//! One connection: its first bytes say which protocol it speaks, and that protocol's file serves
//! it until it ends.
//!
//! The protocols are `http1`'s and `http2`'s, the meaning `api`'s; here are the sockets, the
//! deadlines, and the order of things. A client that goes away changes nothing about what was
//! accepted.

mod http1;
mod http2;
mod session;

use std::rc::Rc;

use futures_util::io::AsyncReadExt;
use glommio::net::TcpStream;

use super::core::{Core, Message};
use super::lifeline::{Registered, Waiting};
use crate::api::request::Parts;
use crate::api::response::Header;
use crate::api::{ApiError, Operation, cors, negotiate, route};
use crate::codec::Coding;
use crate::http1::{Conn, Limits};
use crate::http2::PREFACE;
use crate::io::Io;
use crate::io::socket::{MovingSocket, VectoredSocket};

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
    /// Whether cross-origin headers are sent.
    pub cors: bool,
}

/// A peer that sends or takes at least this many bytes a second is never too slow.
const PEER_BYTES_PER_SECOND_MIN: u64 = 16 * 1024;

/// What a request's head says.
struct Routed {
    operation: Result<Operation, ApiError>,
    /// Headers that every answer to it carries.
    extra: Vec<Header>,
    /// How its body is coded.
    body_coding: Option<Coding>,
    /// How a large answer may be coded.
    answer_coding: Option<Coding>,
    is_head: bool,
}

impl Routed {
    fn of(parts: &Parts<'_>, settings: &ConnectionSettings) -> Self {
        let operation = route(parts);
        Self {
            extra: cors::headers(parts, settings.cors),
            // When it is not understood, the operation is refused already if it has a body.
            body_coding: negotiate::request_coding(parts.headers).unwrap_or_default(),
            answer_coding: negotiate::response_coding(parts.headers),
            is_head: parts.method == "HEAD",
            operation,
        }
    }

    /// Whether its answer is a session.
    fn is_session(&self) -> bool {
        matches!(
            self.operation,
            Ok(Operation::AppendSession { .. } | Operation::ReadSession { .. })
        )
    }
}

/// Serves a connection that was just accepted, until it ends or moves.
pub(super) async fn serve<I: Io>(core: Rc<Core<I>>, socket: TcpStream) {
    let line = core.lifelines.add();
    core.publish_load();
    let mut socket = VectoredSocket::new(socket);
    let mut conn = Conn::new(core.connection.limits.clone());
    match sniff(&core, &line, &mut socket, &mut conn).await {
        Some(Protocol::Http1) => serve_http1(core, socket, conn, line).await,
        Some(Protocol::Http2) => {
            http2::serve(&core, socket, conn.into_received(), &line).await;
            leave(&core, line);
        }
        None => leave(&core, line),
    }
}

/// Serves a connection that moved here, until it ends or moves on.
pub(super) async fn adopt<I: Io>(core: Rc<Core<I>>, socket: MovingSocket, conn: Conn) {
    let line = core.lifelines.add();
    core.publish_load();
    serve_http1(core, VectoredSocket::new(socket.attach()), conn, line).await;
}

async fn serve_http1<I: Io>(
    core: Rc<Core<I>>,
    socket: VectoredSocket,
    conn: Conn,
    line: Registered,
) {
    let moved = http1::serve(&core, socket, conn, &line).await;
    if let Some((to, socket, conn)) = moved {
        match MovingSocket::detach(socket.into_inner()) {
            // When that core is gone, so is the server, and the connection ends.
            Ok(socket) => drop(core.send(to, Message::Adopt(socket, Box::new(conn))).await),
            Err(error) => tracing::warn!(%error, "a connection could not move"),
        }
    }
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
    socket: &mut VectoredSocket,
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

/// How long a peer may take for `bytes`, in microseconds.
fn patience_us(settings: &ConnectionSettings, bytes: u64) -> u64 {
    settings.peer_us + bytes * 1_000_000 / PEER_BYTES_PER_SECOND_MIN
}
