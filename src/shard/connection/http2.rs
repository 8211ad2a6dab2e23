//! One HTTP/2 connection: streams come in, each is answered by a task of its own, and this file's
//! loop moves their bytes.
//!
//! Tasks that are ready at the same time put their frames into one buffer before the loop sends
//! it: answers of one log group go out together.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::{self, Either};

use super::session::{self, Ended, Gone, Inlet, Outlet};
use super::{Routed, SessionKind, SessionRequest, answer, patience_us};
use crate::api::request::{Headers, Parts};
use crate::api::response::{Header, Response};
use crate::api::{ApiError, Code};
use crate::codec::s2s::Deframer;
use crate::http2::{
    self, Collected, Connection, RecvStream, RequestHead, ResponseHead, SendResponse, SendStream,
    Transport, collect, send,
};
use crate::io::Io;
use crate::io::notify::Notify;
use crate::io::socket::VectoredSocket;
use crate::shard::core::{Core, spawn};
use crate::shard::lifeline::{Registered, Waiting};
use crate::shard::respond::Aside;
use crate::wire::Body;

/// How long a peer may take for the last frames of a connection, in microseconds.
const GOODBYE_US: u64 = 1_000_000;

type Wire = Connection<Transport<VectoredSocket>, Bytes>;

/// What the streams of a connection tell its loop.
#[derive(Default)]
struct Streams {
    open: Cell<usize>,
    changed: Notify,
}

/// Counts a stream for as long as it is served.
struct Counted(Rc<Streams>);

impl Counted {
    fn new(streams: &Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        Self(Rc::clone(streams))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if self.0.open.get() == 0 {
            self.0.changed.notify();
        }
    }
}

/// Serves a connection of which the preface was received, until it ends.
pub(super) async fn serve<I: Io>(
    core: &Rc<Core<I>>,
    socket: VectoredSocket,
    received: Vec<u8>,
    line: &Registered,
) {
    line.wait_for(Waiting::Peer, core.now_us() + core.connection.peer_us);
    let transport = Transport::new(socket, received);
    let handshake = http2::handshake(transport, &core.connection.http2_limits);
    let Ok(Ok(mut wire)) = line.guard(handshake).await else { return };
    let streams = Rc::new(Streams::default());
    if line.guard(run(core, &mut wire, &streams, line)).await.is_err() {
        say_goodbye(core, &mut wire, line).await;
    }
}

/// Tells a peer that was silent for too long that the connection ends, and what was not looked at.
async fn say_goodbye<I: Io>(core: &Rc<Core<I>>, wire: &mut Wire, line: &Registered) {
    wire.abrupt_shutdown(http2::Reason::NO_ERROR);
    line.wait_for(Waiting::Peer, core.now_us() + GOODBYE_US);
    // However it ends, the connection does.
    let _ended = line.guard(poll_fn(|cx| wire.poll_closed(cx))).await;
}

/// Accepts streams until there will be no more.
async fn run<I: Io>(core: &Rc<Core<I>>, wire: &mut Wire, streams: &Rc<Streams>, line: &Registered) {
    let mut draining = false;
    loop {
        if streams.open.get() == 0 {
            // Never idle: the last answers may not be sent yet, and a peer is told before we go.
            let quiet_us = if draining { GOODBYE_US } else { core.connection.idle_us };
            line.wait_for(Waiting::Peer, core.now_us() + quiet_us);
        } else {
            line.wait_for(Waiting::Answer, 0);
        }
        let accepted = {
            let told = pin!(told(core, streams, draining));
            match future::select(pin!(wire.accept()), told).await {
                Either::Left((accepted, _)) => Some(accepted),
                Either::Right(_) => None,
            }
        };
        match accepted {
            Some(Some(Ok((request, respond)))) => {
                let stream = Stream { core: Rc::clone(core), respond };
                let counted = Counted::new(streams);
                let task = async move {
                    stream.serve(request).await;
                    drop(counted);
                };
                spawn(task, core.queue());
            }
            Some(Some(Err(error))) => {
                tracing::debug!(%error, "HTTP/2 connection ended");
                return;
            }
            Some(None) => return,
            None if core.drain.is_begun() && !draining => {
                draining = true;
                wire.graceful_shutdown();
            }
            None => {}
        }
    }
}

/// Waits for the last stream to end, or for the server to drain if it does not yet.
async fn told<I: Io>(core: &Core<I>, streams: &Streams, draining: bool) {
    let ended = pin!(streams.changed.notified());
    if draining {
        ended.await;
    } else {
        future::select(ended, pin!(core.drain.begun())).await;
    }
}

/// One request and the way to answer it.
struct Stream<I: Io> {
    core: Rc<Core<I>>,
    respond: SendResponse<Bytes>,
}

impl<I: Io> Stream<I> {
    async fn serve(mut self, request: http2::Request) {
        let core = Rc::clone(&self.core);
        core.metrics.request();
        let line = core.streams.add();
        let (head, body) = RequestHead::of(request);
        let routed = {
            let headers = Fields(head.fields());
            let parts = Parts {
                method: head.method(),
                path: head.path(),
                query: head.query(),
                headers: &headers,
            };
            Routed::of(&parts, &core.connection)
        };
        // When it fails, the stream is gone, or the server ends: nobody is there to be told.
        let served = async {
            if routed.is_session() {
                self.session(routed, body, &line).await
            } else {
                self.unary(routed, body, head.declared_bytes(), &line).await
            }
        };
        if let Err(error) = line.guard(served).await.unwrap_or(Ok(())) {
            tracing::trace!(%error, "HTTP/2 stream ended early");
        }
    }

    async fn unary(
        &mut self,
        mut routed: Routed,
        mut body: RecvStream,
        declared_bytes: Option<u64>,
        line: &Registered,
    ) -> Result<(), http2::Error> {
        let core = Rc::clone(&self.core);
        if let Some(error) = routed.refused_session() {
            core.metrics.refused(error.code_text());
            return self.send(error.into_response(), &routed, line).await;
        }
        let limit_bytes = core.connection.limits.body_bytes_max;
        let body = if body.is_end_stream() {
            Body::default()
        } else {
            let expected_bytes = declared_bytes.unwrap_or(limit_bytes as u64);
            let patience_us = patience_us(&core.connection, expected_bytes.min(limit_bytes as u64));
            line.wait_for(Waiting::Peer, core.now_us() + patience_us);
            match collect(&mut body, declared_bytes, limit_bytes).await? {
                Collected::Piece(piece) => Body::Shared(piece),
                Collected::Buf(buf) => Body::Buf(buf.into()),
                Collected::TooLarge => {
                    let error = ApiError::of_transport(413, "the body is too large");
                    return self.send(error.into_response(), &routed, line).await;
                }
            }
        };
        line.wait_for(Waiting::Answer, 0);
        let response = answer(&core, &mut routed, body, &mut Aside::default()).await;
        self.send(response, &routed, line).await
    }

    /// Sends a whole response.
    async fn send(
        &mut self,
        response: Response,
        routed: &Routed,
        line: &Registered,
    ) -> Result<(), http2::Error> {
        let Response { status, content_type, headers, body } = response;
        let mut head = self.head(status, content_type, headers.iter().chain(&routed.extra));
        if status != 204 {
            head = head.with_length(body.len());
        }
        let empty = body.is_empty() || routed.is_head;
        let mut stream = head.send(&mut self.respond, empty)?;
        if empty {
            return Ok(());
        }
        let deadline_us =
            self.core.now_us() + patience_us(&self.core.connection, body.len() as u64);
        line.wait_for(Waiting::Peer, deadline_us);
        send(&mut stream, body.into(), true).await
    }

    fn head<'h>(
        &self,
        status: u16,
        content_type: Option<&'static str>,
        headers: impl Iterator<Item = &'h Header>,
    ) -> ResponseHead {
        let date = self.core.date.borrow();
        let content_type = content_type.map(|value| ("content-type", value));
        let fields = content_type.into_iter().chain([("date", date.as_str())]);
        ResponseHead::new(status, fields.chain(headers.map(|(n, v)| (*n, v.as_ref()))))
    }

    async fn session(
        &mut self,
        mut routed: Routed,
        body: RecvStream,
        line: &Registered,
    ) -> Result<(), http2::Error> {
        let core = Rc::clone(&self.core);
        let operation = std::mem::replace(
            &mut routed.operation,
            Err(ApiError::new(Code::Other, "the session was opened")),
        );
        let Some(SessionRequest { open, kind }) = operation.ok().and_then(SessionRequest::of)
        else {
            return Ok(());
        };
        let session = match session::open(&core, open).await {
            Ok(session) => session,
            Err(error) => {
                core.metrics.refused(error.code_text());
                return self.send(error.into_response(), &routed, line).await;
            }
        };
        let fixed: [Header; 2] = [
            ("cache-control", "no-cache, no-transform".into()),
            ("x-accel-buffering", "no".into()),
        ];
        let headers = fixed.iter().chain(&routed.extra);
        let head = self.head(200, Some(kind.content_type()), headers);
        let stream = head.send(&mut self.respond, routed.is_head)?;
        if routed.is_head {
            return Ok(());
        }
        let mut outlet = BodyOut { core: &core, stream, line };
        let ended = match kind {
            SessionKind::Append { coding } => {
                let mut inlet = BodyIn { body };
                let ended = session::append(&core, &session, coding, &mut inlet, &mut outlet).await;
                // The body is kept until the response has ended: dropping it earlier would reset
                // the stream.
                drop(inlet);
                ended
            }
            SessionKind::Read { feed } => session::read(&session, feed, &mut outlet).await,
        };
        if ended == Ended::Gone {
            outlet.stream.send_reset(http2::Reason::CANCEL);
        }
        Ok(())
    }
}

/// The request's body as it arrives.
struct BodyIn {
    body: RecvStream,
}

impl Inlet for BodyIn {
    async fn receive(&mut self, into: &mut Deframer) -> Result<bool, Gone> {
        match self.body.data().await {
            Some(Ok(piece)) => {
                // Who reads no further stops the peer by not asking for more.
                let released = self.body.flow_control().release_capacity(piece.len());
                into.push(piece);
                released.map(|()| true).map_err(|_| Gone)
            }
            Some(Err(_)) => Err(Gone),
            None => Ok(false),
        }
    }
}

/// The response's body.
struct BodyOut<'a, I: Io> {
    core: &'a Core<I>,
    stream: SendStream<Bytes>,
    line: &'a Registered,
}

impl<I: Io> Outlet for BodyOut<'_, I> {
    async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
        let patience_us = patience_us(&self.core.connection, bytes.len() as u64);
        self.line.wait_for(Waiting::Peer, self.core.now_us() + patience_us);
        let sent = send(&mut self.stream, bytes.into(), false).await;
        self.line.wait_for(Waiting::Answer, 0);
        sent.map_err(|_| Gone)
    }

    async fn end(&mut self) -> Result<(), Gone> {
        self.stream.send_data(Bytes::new(), true).map_err(|_| Gone)
    }

    async fn gone(&mut self) {
        // Whatever it says, nobody waits for more.
        let _reason = poll_fn(|cx| self.stream.poll_reset(cx)).await;
    }
}

/// Header fields of an HTTP/2 head, as the API looks at them.
struct Fields<'a>(http2::Fields<'a>);

impl Headers for Fields<'_> {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.first(name)
    }

    fn all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self.0.all(name).for_each(each);
    }
}
