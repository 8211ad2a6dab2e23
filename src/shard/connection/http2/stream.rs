//! One request on an HTTP/2 connection, and its answer.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::{self, Either};

use crate::api::ApiError;
use crate::api::access::shown_error;
use crate::api::request::{Headers, Parts};
use crate::api::response::{Header, Response};
use crate::codec::s2s::Deframer;
use crate::http2::{self, RecvStream, RequestHead, ResponseHead, SendResponse, SendStream};
use crate::io::Io;
use crate::shard::connection::held::{FREE_BYTES, FREE_SESSION_BYTES, REQUEST_BYTES, Share, soon};
use crate::shard::connection::session::{self, Ended, Gone, Inlet, Outlet};
use crate::shard::connection::{
    LINGER_BYTES_MAX, Routed, SESSION_HEADERS, SessionKind, SessionRequest, answer, answer_bytes,
    is_waiting_read, no_room, patience_us,
};
use crate::shard::core::Core;
use crate::shard::lifeline::{Registered, Waiting};
use crate::shard::respond::Aside;
use crate::wire::Body;

/// How long after a session's last answer its request is still received, in microseconds: then the
/// stream is reset.
const GRACE_US: u64 = 500_000;

/// One request and the way to answer it.
pub(super) struct Stream<I: Io> {
    core: Rc<Core<I>>,
    respond: SendResponse<Bytes>,
    peer: Option<SocketAddr>,
}

impl<I: Io> Stream<I> {
    pub(super) fn new(
        core: &Rc<Core<I>>,
        respond: SendResponse<Bytes>,
        peer: Option<SocketAddr>,
    ) -> Self {
        Self { core: Rc::clone(core), respond, peer }
    }

    /// Answers it, and returns when that is sent or nobody wants it any more; `is_free` says that
    /// its being open is not counted.
    pub(super) async fn serve(mut self, request: http2::Request, is_free: bool) {
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
            Routed::of(&parts, &core, &core.connection, self.peer)
        };
        let place = core.requests.share();
        if !is_free && !place.try_take(open_bytes(&body)) {
            // When it fails, the stream is gone.
            let _sent = self.refuse(&routed);
            return;
        }
        if head.expects_continue()
            && !body.is_end_stream()
            && http2::send_continue(&mut self.respond).is_err()
        {
            return;
        }
        let declared_bytes = head.declared_bytes();
        // It may be long, and the answer may take its time.
        drop(head);
        // When it fails, the stream is gone, or the server ends: nobody is there to be told.
        let served = async {
            if routed.is_session() {
                let many = (!is_free).then_some(&place);
                Box::pin(self.session(routed, body, many, &line)).await
            } else {
                self.unary(routed, body, declared_bytes, &line).await
            }
        };
        if let Err(error) = line.guard(pin!(served)).await.unwrap_or(Ok(())) {
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
        if let Some(error) = routed.refused_at_once(!body.is_end_stream()) {
            core.refused(&error, routed.asker());
            return self.send(error.into_response(), &routed, false, line).await;
        }
        let limit_bytes = core.connection.limits.body_bytes_max;
        let share = core.held.share();
        let body = if body.is_end_stream() {
            Body::default()
        } else {
            let expected_bytes = declared_bytes.unwrap_or(limit_bytes as u64);
            let patience_us = patience_us(&core.connection, expected_bytes.min(limit_bytes as u64));
            let deadline_us = core.now_us() + patience_us;
            line.wait_for(Waiting::Peer, deadline_us);
            let mut receiving = Receiving { core: &core, share: &share, line, deadline_us };
            match receiving.collect(&mut body, declared_bytes, limit_bytes).await? {
                Collected::Whole(body) => body,
                Collected::TooLarge => {
                    let error = ApiError::of_transport(413, "the body is too large");
                    return self.send(error.into_response(), &routed, false, line).await;
                }
                Collected::NoRoom => {
                    let refused = no_room(&core);
                    return self.send(refused, &routed, false, line).await;
                }
            }
        };
        share.arrived();
        line.wait_for(Waiting::Answer, 0);
        let waits = is_waiting_read(&routed.operation);
        let answer_share = core.answers.share();
        let wanted_bytes = answer_bytes(&routed.operation);
        if wanted_bytes > 0 && !soon(&*core.clock(), answer_share.take(wanted_bytes)).await {
            let refused = no_room(&core);
            return self.send(refused, &routed, false, line).await;
        }
        let mut aside = Aside { peer: self.peer, ..Aside::default() };
        let mut response = {
            let answered = pin!(answer(&core, &mut routed, body, &share, &mut aside));
            let reset = pin!(poll_fn(|cx| self.respond.poll_reset(cx)));
            match future::select(answered, reset).await {
                Either::Left((response, _)) => response,
                // Nobody waits for it any more. What was logged stays logged.
                Either::Right(_) => return Ok(()),
            }
        };
        drop(share);
        let response_bytes = response.body.len() as u64;
        let wants_room = waits && response_bytes > FREE_BYTES;
        if wants_room && !soon(&*core.clock(), answer_share.take(response_bytes)).await {
            response = no_room(&core);
        }
        answer_share.set(response.body.len() as u64);
        self.send(response, &routed, aside.is_paced, line).await
    }

    /// Sends a whole response; old data piece by piece, each when it is its turn.
    async fn send(
        &mut self,
        response: Response,
        routed: &Routed,
        is_paced: bool,
        line: &Registered,
    ) -> Result<(), http2::Error> {
        let Some(mut stream) = self.send_head(&response, routed)? else { return Ok(()) };
        let body = Bytes::from(response.body);
        if !is_paced {
            return send_in_time(&self.core, line, &mut stream, body, true).await;
        }
        line.wait_for(Waiting::Answer, 0);
        let send = async |piece: Range<usize>| {
            let end = piece.end == body.len();
            send_in_time(&self.core, line, &mut stream, body.slice(piece), end).await?;
            line.wait_for(Waiting::Answer, 0);
            Ok(())
        };
        self.core.send_old(body.len(), send).await
    }

    /// Says that there is no room for it, in a few bytes that wait for the peer by themselves.
    fn refuse(&mut self, routed: &Routed) -> Result<(), http2::Error> {
        let response = no_room(&self.core);
        match self.send_head(&response, routed)? {
            Some(mut stream) => stream.send_data(response.body.into(), true),
            None => Ok(()),
        }
    }

    /// Sends a response's head; `None` when no body follows.
    fn send_head(
        &mut self,
        response: &Response,
        routed: &Routed,
    ) -> Result<Option<SendStream<Bytes>>, http2::Error> {
        let Response { status, content_type, headers, body } = response;
        let headers = texts(headers).chain(texts(&routed.extra));
        let mut head = self.head(*status, *content_type, headers);
        if !matches!(status, 204 | 304) {
            head = head.with_length(body.len());
        }
        let empty = body.is_empty() || routed.is_head;
        let stream = head.send(&mut self.respond, empty)?;
        Ok((!empty).then_some(stream))
    }

    fn head<'h>(
        &self,
        status: u16,
        content_type: Option<&'static str>,
        headers: impl Iterator<Item = (&'static str, &'h str)>,
    ) -> ResponseHead {
        let date = self.core.date.borrow();
        let content_type = content_type.map(|value| ("content-type", value));
        let fixed = content_type.into_iter().chain([("date", date.as_str())]);
        ResponseHead::new(status).with_fields(fixed).with_fields(headers)
    }

    /// Serves a session; `counted` is what it is counted with, if it is.
    async fn session(
        &mut self,
        mut routed: Routed,
        body: RecvStream,
        counted: Option<&Share>,
        line: &Registered,
    ) -> Result<(), http2::Error> {
        let core = Rc::clone(&self.core);
        let Some(SessionRequest { open, kind }) = routed.take_session() else { return Ok(()) };
        let session = match session::open(&core, open).await {
            Ok(session) => session,
            Err(error) => {
                core.refused(&error, routed.asker());
                let error = shown_error(&routed.access, error);
                return self.send(error.into_response(), &routed, false, line).await;
            }
        };
        let headers = SESSION_HEADERS.into_iter().chain(texts(&routed.extra));
        let head = self.head(200, Some(kind.content_type()), headers);
        let stream = head.send(&mut self.respond, routed.is_head)?;
        if routed.is_head {
            return Ok(());
        }
        let free_bytes = match counted {
            Some(place) => {
                place.keep_at_most(REQUEST_BYTES + FREE_SESSION_BYTES);
                FREE_SESSION_BYTES
            }
            None => FREE_BYTES,
        };
        let mut outlet = BodyOut { core: &core, stream, line };
        let asker = routed.asker();
        let ended = match kind {
            SessionKind::Append { coding } => {
                let mut inlet = BodyIn { body, free_bytes };
                let ended =
                    session::append(&core, &session, asker, coding, &mut inlet, &mut outlet).await;
                // The body is kept until the response has ended, and a while longer: dropping it
                // resets the stream, and a client that is still sending may see that before it
                // has read why the session ended.
                if ended == Ended::Refused && !core.drain.is_begun() {
                    line.wait_for(Waiting::Peer, core.now_us() + GRACE_US);
                    inlet.throw_away(LINGER_BYTES_MAX).await;
                }
                drop(inlet);
                ended
            }
            SessionKind::Read { feed } => {
                session::read(&core, &session, asker, feed, &mut outlet).await
            }
        };
        if ended == Ended::Gone {
            outlet.stream.send_reset(http2::Reason::CANCEL);
        }
        Ok(())
    }
}

/// Memory of a request for being open, in bytes: with what may arrive of its body unasked.
fn open_bytes(body: &RecvStream) -> u64 {
    if body.is_end_stream() { REQUEST_BYTES } else { REQUEST_BYTES + FREE_BYTES }
}

fn texts(headers: &[Header]) -> impl Iterator<Item = (&'static str, &str)> {
    headers.iter().map(|(name, value)| (*name, value.as_ref()))
}

/// What became of a body.
enum Collected {
    Whole(Body),
    TooLarge,
    /// Others hold too much.
    NoRoom,
}

/// A body on its way in.
struct Receiving<'a, I: Io> {
    core: &'a Core<I>,
    share: &'a Share,
    line: &'a Registered,
    /// Until when it must have come.
    deadline_us: u64,
}

impl<I: Io> Receiving<'_, I> {
    /// Receives a body whole.
    async fn collect(
        &mut self,
        body: &mut RecvStream,
        declared_bytes: Option<u64>,
        limit_bytes: usize,
    ) -> Result<Collected, http2::Error> {
        if declared_bytes.is_some_and(|bytes| bytes > limit_bytes as u64) {
            return Ok(Collected::TooLarge);
        }
        let mut whole = Vec::new();
        loop {
            // Taken off the connection's window only when there is room for it.
            let Some(piece) = body.data().await.transpose()? else {
                return Ok(Collected::Whole(whole.into()));
            };
            if whole.len() + piece.len() > limit_bytes {
                return Ok(Collected::TooLarge);
            }
            let mut total_bytes = (whole.len() + piece.len()) as u64;
            if total_bytes > FREE_BYTES {
                // Once and for all, so that none of those who began waits for another.
                total_bytes = total_bytes.max(declared_bytes.unwrap_or(0));
            }
            if !self.has_room(total_bytes).await {
                return Ok(Collected::NoRoom);
            }
            body.flow_control().release_capacity(piece.len())?;
            if whole.is_empty() && body.is_end_stream() {
                return Ok(Collected::Whole(Body::Shared(piece)));
            }
            whole.extend_from_slice(&piece);
        }
    }

    /// Whether there is room for so much of the body, now or soon.
    async fn has_room(&self, total_bytes: u64) -> bool {
        if self.share.try_arrive(total_bytes) {
            return true;
        }
        // A deadline on the line would end the whole stream: it is guarded as a whole.
        self.line.wait_for(Waiting::Answer, 0);
        let arrived = soon(&*self.core.clock(), self.share.arrive(total_bytes)).await;
        self.line.wait_for(Waiting::Peer, self.deadline_us);
        arrived
    }
}

/// Sends bytes; the peer has as long as each part of them deserves.
async fn send_in_time<I: Io>(
    core: &Core<I>,
    line: &Registered,
    stream: &mut SendStream<Bytes>,
    bytes: Bytes,
    end: bool,
) -> Result<(), http2::Error> {
    let patience_us = patience_us(&core.connection, bytes.len() as u64);
    let renew = || line.wait_for(Waiting::Peer, core.now_us() + patience_us);
    renew();
    http2::send(stream, bytes, end, renew).await
}

/// The request's body as it arrives.
struct BodyIn {
    body: RecvStream,
    free_bytes: u64,
}

impl BodyIn {
    /// Receives some bytes and throws them away, until the client ends or resets the stream.
    async fn throw_away(&mut self, bytes_max: usize) {
        let mut left = bytes_max;
        while let Some(Ok(piece)) = self.body.data().await
            && piece.len() < left
            && self.body.flow_control().release_capacity(piece.len()).is_ok()
        {
            left -= piece.len();
        }
    }
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

    fn free_bytes(&self) -> u64 {
        self.free_bytes
    }
}

/// The response's body.
struct BodyOut<'a, I: Io> {
    core: &'a Core<I>,
    stream: SendStream<Bytes>,
    line: &'a Registered,
}

impl<I: Io> Outlet for BodyOut<'_, I> {
    async fn send(&mut self, bytes: &mut Vec<u8>) -> Result<(), Gone> {
        self.send_piece(std::mem::take(bytes).into()).await
    }

    async fn send_piece(&mut self, bytes: Bytes) -> Result<(), Gone> {
        let sent = send_in_time(self.core, self.line, &mut self.stream, bytes, false).await;
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
