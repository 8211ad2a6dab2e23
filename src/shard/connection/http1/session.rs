//! A session on an HTTP/1.1 connection: both directions at once, chunked.

use std::io::IoSlice;
use std::pin::pin;

use bytes::Bytes;
use futures_util::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::{Connection, End};
use crate::api::ApiError;
use crate::api::access::shown_error;
use crate::api::response::Header;
use crate::codec::s2s::Deframer;
use crate::http1::{
    Conn, Event, Framing, LAST_CHUNK, Persistence, Version, chunk_head, reason_phrase,
    response_head,
};
use crate::io::{Io, Socket};
use crate::planted::{self, Bug};
use crate::shard::connection::held::FREE_BYTES;
use crate::shard::connection::session::{self, Ended, Gone, Inlet, Outlet};
use crate::shard::connection::{
    ConnectionSettings, Peer, Routed, SESSION_HEADERS, SessionKind, SessionRequest, patience_us,
};
use crate::shard::core::Core;
use crate::shard::lifeline::{Registered, Waiting};

/// Most bytes of later requests that are kept while a session goes on.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

impl<I: Io> Connection<'_, I> {
    /// Serves the session that the head asks for, here if the stream is, otherwise where it is.
    pub(super) async fn session(&mut self, mut routed: Routed) -> Result<(), End> {
        let Some(request) = routed.take_session() else { return Err(End::Done) };
        if let Some(core) = self.core.foreign_owner(request.open.path())
            && !self.core.drain.is_begun()
        {
            return Err(End::Move(core));
        }
        self.line.wait_for(Waiting::Answer, 0);
        self.core.metrics.request();
        let SessionRequest { open, kind } = request;
        let opened = self.line.guard(pin!(session::open(&self.core, open))).await;
        let session = match opened {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => {
                let error = shown_error(&routed.access, error);
                return self.say_refusal(error, &routed).await;
            }
            Err(_) => return Err(End::Done),
        };
        if self.conn.awaits_continue() {
            self.send_continue().await?;
        }
        let (chunked, keep_alive) = {
            let request = self.conn.stream_body();
            let head = request.head();
            (head.version() == Version::Http11, head.keep_alive())
        };
        // The head has arrived and is given up: for as long as the session lasts, only the buffer
        // that it came in is held.
        self.share.set((self.conn.memory_bytes() as u64).saturating_sub(FREE_BYTES));
        self.spell_session_head(kind.content_type(), &routed.extra, chunked, keep_alive);
        self.flush().await?;
        if routed.is_head {
            return Err(End::Linger);
        }
        // The head was taken. From here on either side may be silent for as long as it likes.
        self.line.wait_for(Waiting::Answer, 0);
        let asker = routed.asker();
        // The task that receives sends, too: answers must not wait for a look at what comes.
        self.socket.look_twice(false);
        let Self { core, conn, socket, line, settings, .. } = self;
        let (reader, writer) = AsyncReadExt::split(socket);
        let mut inlet = BodyIn { conn, reader, ended: false };
        let mut out =
            BodyOut { core, writer, line, settings, chunked, chunk_head: Vec::new(), watch: None };
        let ended = match kind {
            SessionKind::Append { coding } => {
                let ended = session::append(core, &session, asker, coding, &mut inlet, &mut out);
                line.guard(pin!(ended)).await
            }
            SessionKind::Read { feed } => {
                out.watch = Some(&mut inlet);
                line.guard(pin!(session::read(core, &session, asker, feed, &mut out))).await
            }
        };
        drop(out);
        let whole =
            inlet.skip().unwrap_or(false) && chunked && keep_alive && !core.drain.is_begun();
        // What has come of the next request came just now.
        let began = (core.now_us(), inlet.conn.unread().len() as u64);
        drop(inlet);
        (self.began_us, self.arrived_bytes) = began;
        self.socket.look_twice(true);
        match ended {
            Ok(Ended::Well) if whole => Ok(()),
            Ok(Ended::Well | Ended::Refused) => Err(End::Linger),
            Ok(Ended::Gone) | Err(_) => Err(End::Done),
        }
    }

    /// Refuses a request before its body.
    pub(super) async fn refuse_at_once(
        &mut self,
        error: ApiError,
        routed: &Routed,
    ) -> Result<(), End> {
        self.line.wait_for(Waiting::Answer, 0);
        self.core.metrics.request();
        self.say_refusal(error, routed).await
    }

    /// Answers with an error; what comes of the body is thrown away.
    async fn say_refusal(&mut self, error: ApiError, routed: &Routed) -> Result<(), End> {
        self.core.refused(&error, routed.asker());
        let Routed { extra, is_head, .. } = routed;
        self.spell(&error.into_response(), extra, Persistence::Close, *is_head);
        self.flush().await?;
        Err(End::Linger)
    }

    fn spell_session_head(
        &mut self,
        content_type: &'static str,
        extra: &[Header],
        chunked: bool,
        keep_alive: bool,
    ) {
        self.out.clear();
        let date = self.core.date.borrow();
        let fixed = [("content-type", content_type.as_bytes()), ("date", date.as_bytes())];
        let session = SESSION_HEADERS.iter().map(|(n, v)| (*n, v.as_bytes()));
        let extra = extra.iter().map(|(n, v)| (*n, v.as_bytes()));
        let headers = fixed.into_iter().chain(session).chain(extra);
        let framing = if chunked { Framing::Chunked } else { Framing::None };
        let close = !chunked || !keep_alive;
        let persistence = if close { Persistence::Close } else { Persistence::Implied };
        response_head(&mut self.out, 200, reason_phrase(200), headers, framing, persistence);
    }
}

/// The request's body as it arrives.
struct BodyIn<'a, S> {
    conn: &'a mut Conn,
    reader: ReadHalf<&'a mut S>,
    ended: bool,
}

impl<S: Socket> BodyIn<'_, S> {
    async fn read(&mut self) -> Result<(), Gone> {
        match self.reader.read(self.conn.recv_space()).await {
            Ok(0) => self.conn.received_eof(),
            Ok(n) => self.conn.received(n),
            Err(_) => return Err(Gone),
        }
        Ok(())
    }

    /// Drops what was received of the body; whether that is all of it.
    fn skip(&mut self) -> Result<bool, Gone> {
        while !self.ended {
            match self.conn.next_event() {
                Ok(Event::Data(_)) => {}
                Ok(Event::NeedInput) => return Ok(false),
                Ok(_) => self.ended = true,
                Err(_) => return Err(Gone),
            }
        }
        Ok(true)
    }

    /// Receives and drops the body, then waits for the client to go away.
    async fn gone(&mut self) -> Result<(), Gone> {
        while !self.skip()? {
            self.read().await?;
        }
        // The next request may come already; it is not looked at yet.
        while self.conn.unread().len() < AHEAD_BYTES_MAX {
            match self.reader.read(self.conn.recv_space()).await {
                Ok(n @ 1..) => self.conn.received(n),
                _ => return Err(Gone),
            }
        }
        std::future::pending().await
    }
}

impl<S: Socket> Inlet for BodyIn<'_, S> {
    async fn receive(&mut self, into: &mut Deframer) -> Result<bool, Gone> {
        loop {
            match self.conn.next_event() {
                Ok(Event::Data(piece)) => {
                    into.push_slice(piece);
                    return Ok(true);
                }
                Ok(Event::NeedInput) => {}
                Ok(_) => {
                    self.ended = true;
                    return Ok(false);
                }
                Err(_) => return Err(Gone),
            }
            self.read().await?;
        }
    }
}

/// The response's body.
struct BodyOut<'a, 'b, I: Io> {
    core: &'a Core<I>,
    writer: WriteHalf<&'b mut Peer<I>>,
    line: &'a Registered,
    settings: &'a ConnectionSettings,
    chunked: bool,
    /// Memory for the size line of a chunk.
    chunk_head: Vec<u8>,
    /// The other direction, when nobody else looks at it.
    watch: Option<&'a mut BodyIn<'b, Peer<I>>>,
}

impl<I: Io> BodyOut<'_, '_, I> {
    /// Sends what lies in several places; the peer has as long as its size deserves.
    async fn send_all(&mut self, bufs: &mut [IoSlice<'_>]) -> Result<(), Gone> {
        let len_bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        let deadline_us = self.core.now_us() + patience_us(self.settings, len_bytes as u64);
        if !planted::has(Bug::StallForgiven) {
            self.line.wait_for(Waiting::Peer, deadline_us);
        }
        let sent = write_all_vectored(&mut self.writer, bufs).await;
        self.line.wait_for(Waiting::Answer, 0);
        sent.map_err(|_| Gone)
    }

    /// Sends a piece of the body.
    async fn send_slice(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        if !self.chunked {
            return self.send_all(&mut [IoSlice::new(bytes)]).await;
        }
        let mut head = std::mem::take(&mut self.chunk_head);
        head.clear();
        chunk_head(&mut head, bytes.len());
        let mut bufs = [IoSlice::new(&head), IoSlice::new(bytes), IoSlice::new(b"\r\n")];
        let sent = self.send_all(&mut bufs).await;
        self.chunk_head = head;
        sent
    }
}

impl<I: Io> Outlet for BodyOut<'_, '_, I> {
    async fn send(&mut self, bytes: &mut Vec<u8>) -> Result<(), Gone> {
        let sent = self.send_slice(bytes).await;
        bytes.clear();
        sent
    }

    async fn send_piece(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.send_slice(&bytes).await
    }

    async fn end(&mut self) -> Result<(), Gone> {
        if self.chunked { self.send_all(&mut [IoSlice::new(LAST_CHUNK)]).await } else { Ok(()) }
    }

    async fn gone(&mut self) {
        match &mut self.watch {
            Some(body) => drop(body.gone().await),
            None => std::future::pending().await,
        }
    }
}

async fn write_all_vectored(
    writer: &mut (impl AsyncWrite + Unpin),
    mut bufs: &mut [IoSlice<'_>],
) -> std::io::Result<()> {
    while !bufs.is_empty() {
        let n = writer.write_vectored(bufs).await?;
        if n == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        if planted::has(Bug::ShortSendBelieved) {
            break;
        }
        IoSlice::advance_slices(&mut bufs, n);
    }
    writer.flush().await
}
