//! HTTP/2 connections, shared by all that runs on them, and unary exchanges over them.
//!
//! * Any number of requests in flight; each is bounded by a time of its own, and one that runs out
//!   of it is reset without harm to the others.
//! * A connection that ended, or that the server asked to leave, is replaced by the next who asks.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::Request;
use tokio::sync::Mutex;
use tokio::time::{Instant, Sleep, sleep};

use crate::connection::{Answer, Connection, Failure};
use crate::place::Place;
use crate::prompt::Prompt;
use crate::receipts::{self, Receipt};
use crate::tls::Speaks;

/// What a server may send ahead, per stream and per connection: as the official clients do.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Largest answer to a unary append.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// An open connection; copies share it.
#[derive(Clone)]
pub(crate) struct Live {
    sender: SendRequest<Bytes>,
    is_ended: Rc<Cell<bool>>,
}

impl Live {
    /// Connects to the first address that accepts. Must be called within a `LocalSet`, on which
    /// the connection then runs.
    pub(crate) async fn open(place: &Place) -> io::Result<Self> {
        let stream = Connection::open_for(place, Speaks::Http2).await?.into_stream();
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .enable_push(false)
            .handshake(Prompt(stream))
            .await
            .map_err(io_error)?;
        let is_ended = Rc::new(Cell::new(false));
        let shared = Rc::clone(&is_ended);
        tokio::task::spawn_local(async move {
            // Whoever has a request on it learns of its end there.
            let _ = connection.await;
            shared.set(true);
        });
        Ok(Self { sender, is_ended })
    }

    /// Begins a request; `body` is the whole body, or nothing yet.
    pub(crate) async fn request(
        &self,
        request: Request<()>,
        body: Option<Bytes>,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), Failure> {
        let not_sent = |error| {
            // The server has ended the connection, or is about to: nothing new goes there.
            self.is_ended.set(true);
            Failure::NotSent(io_error(error))
        };
        let mut sender = self.sender.clone().ready().await.map_err(not_sent)?;
        let (response, mut outgoing) = sender.send_request(request, false).map_err(not_sent)?;
        if let Some(body) = body {
            outgoing.send_data(body, true).map_err(failure)?;
        }
        Ok((response, outgoing))
    }
}

/// One connection that many use, renewed when it has ended.
pub(crate) struct Hub {
    live: Mutex<Option<Live>>,
}

impl Hub {
    /// A hub whose connection is opened by the first who asks.
    pub(crate) fn new() -> Self {
        Self { live: Mutex::new(None) }
    }

    /// The connection; one attempt to open it when there is none.
    pub(crate) async fn get(&self, place: &Place) -> io::Result<Live> {
        let mut live = self.live.lock().await;
        if let Some(live) = live.as_ref().filter(|live| !live.is_ended.get()) {
            return Ok(live.clone());
        }
        *live = None;
        Ok(live.insert(Live::open(place).await?).clone())
    }
}

/// A place for one exchange at a time on a shared connection.
pub(crate) struct Slot {
    live: Live,
    received: Vec<u8>,
    deadline: Pin<Box<Sleep>>,
}

impl Slot {
    /// A place on `live`.
    pub(crate) fn new(live: Live) -> Self {
        Self { live, received: Vec::new(), deadline: Box::pin(sleep(Duration::ZERO)) }
    }

    /// Sends `request` with `body` and waits for the whole answer, `limit` at most.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<()>,
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        self.deadline.as_mut().reset(Instant::now() + limit);
        self.received.clear();
        tokio::select! {
            biased;
            answer = round_trip(&self.live, &mut self.received, request, body) => answer,
            () = self.deadline.as_mut() => Err(Failure::Timeout),
        }
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.received
    }
}

async fn round_trip(
    live: &Live,
    received: &mut Vec<u8>,
    request: Request<()>,
    body: Bytes,
) -> Result<Answer, Failure> {
    let (response, _outgoing) = live.request(request, Some(body)).await?;
    let (head, mut incoming) = response.await.map_err(failure)?.into_parts();
    while let Some(piece) = receive(&mut incoming).await? {
        received.extend_from_slice(&piece);
        if received.len() > ANSWER_BYTES_MAX {
            return Err(Failure::Protocol("answer too large"));
        }
    }
    let status = head.status.as_u16();
    let receipt = head.headers.get(receipts::HEADER);
    let receipt = receipt.and_then(|value| Receipt::parse(value.as_bytes()));
    let is_reusable = !live.is_ended.get();
    Ok(Answer { status, is_reusable, body: 0..received.len(), receipt })
}

/// The next piece of an answer's body; `None` at its end.
pub(crate) async fn receive(incoming: &mut RecvStream) -> Result<Option<Bytes>, Failure> {
    let Some(piece) = incoming.data().await else { return Ok(None) };
    let piece = piece.map_err(failure)?;
    incoming.flow_control().release_capacity(piece.len()).map_err(failure)?;
    Ok(Some(piece))
}

/// What `error` means for a request that had begun.
pub(crate) fn failure(error: h2::Error) -> Failure {
    match error.reason() {
        // The only reason that promises that nothing happened (RFC 9113, section 8.7).
        Some(Reason::REFUSED_STREAM) => Failure::Unprocessed("REFUSED_STREAM"),
        Some(reason) if error.is_go_away() => Failure::Reset("GOAWAY", reason),
        Some(reason) => Failure::Reset("stream reset", reason),
        None => Failure::Lost(io_error(error)),
    }
}

fn io_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::Other.into())
    } else {
        io::Error::other(error)
    }
}
