//! Sessions as a connection sees them, whatever its protocol: messages in, messages out.
//!
//! The response head is sent before anything of the body is looked at. What comes in is decoded
//! and handed to the stream's shard; what it answers is spelled and sent as it comes, several
//! answers at once when there are several.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::{self, Either};

use super::held::{FREE_BYTES, HeldMemory, Share, batch_bytes, soon};
use super::{no_room_error, patience_us};
use crate::api::access::{check_batch, shown_error};
use crate::api::credential::ended as ended_token;
use crate::api::{ApiError, Code};
use crate::auth::Access;
use crate::codec::s2s::Deframer;
use crate::codec::{Coding, DecodeError, Feed, proto, s2s, sse};
use crate::io::Io;
use crate::io::notify::Notify;
use crate::planted::{self, Bug};
use crate::shard::call::Age;
use crate::shard::core::Core;
use crate::shard::drain::Stage;
use crate::shard::respond::Asker;
use crate::shard::session::{In, Open, Out, PENDING_BATCHES_MAX, PENDING_BYTES_MAX, Session};
use crate::types::{AppendInput, Refusal};

/// More than the longest message of a session, in bytes.
const MESSAGE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// What most acknowledgements take as a frame, in bytes.
const ACK_FRAME_BYTES: usize = 64;
/// Most memory that a session keeps for the next acknowledgements, in bytes.
const ACKS_BYTES_KEPT: usize = 4096;

/// The client went away, or is not worth waiting for any longer.
#[derive(Debug)]
pub(super) struct Gone;

/// Where the body of a session's request comes from.
pub(super) trait Inlet {
    /// Receives more of the body; `false` when it has ended.
    async fn receive(&mut self, into: &mut Deframer) -> Result<bool, Gone>;

    /// Bytes of a message that may be held without asking, at most [`FREE_BYTES`].
    fn free_bytes(&self) -> u64 {
        FREE_BYTES
    }
}

/// Where the body of a session's response goes.
pub(super) trait Outlet {
    /// Sends some bytes of it; returns when the client's side has taken them. What is left is
    /// empty, and may be filled again.
    async fn send(&mut self, bytes: &mut Vec<u8>) -> Result<(), Gone>;

    /// The same for bytes that are shared.
    async fn send_piece(&mut self, bytes: Bytes) -> Result<(), Gone>;

    /// Ends it.
    async fn end(&mut self) -> Result<(), Gone>;

    /// Returns when the client goes away.
    async fn gone(&mut self);
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Well: everything was answered.
    Well,
    /// With an error as its last message; the client may still be sending.
    Refused,
    /// The client went away.
    Gone,
}

/// Opens a session.
///
/// * Errors: what to answer instead of a session.
pub(super) async fn open<I: Io>(core: &Rc<Core<I>>, open: Open) -> Result<Session<I>, ApiError> {
    if core.drain.is_begun() {
        return Err(Refusal::Draining.into());
    }
    let session = Session::open(core, open).await?;
    match session.recv().await {
        Out::Opened => Ok(session),
        Out::Failed(refusal) => Err(refusal.into()),
        _ => Err(ApiError::new(Code::Other, "the session did not open")),
    }
}

/// The batches of an append session that are not answered yet.
struct Unanswered {
    /// Metered bytes and memory of each.
    sizes: RefCell<VecDeque<(u64, u64)>>,
    bytes: Cell<u64>,
    share: Share,
    /// What has arrived of the next messages, beyond what is free.
    arriving: Share,
    free_bytes: u64,
    fewer: Notify,
    /// Why no more batches are taken; said when those before it are answered.
    failure: RefCell<Option<ApiError>>,
}

impl Unanswered {
    fn new(held: &Rc<HeldMemory>, free_bytes: u64) -> Self {
        Self {
            sizes: RefCell::default(),
            bytes: Cell::default(),
            share: held.share(),
            arriving: held.share(),
            free_bytes,
            fewer: Notify::default(),
            failure: RefCell::default(),
        }
    }

    /// Waits until there may be one more.
    async fn wait_for_fewer(&self) {
        while self.sizes.borrow().len() >= PENDING_BATCHES_MAX
            || self.bytes.get() >= PENDING_BYTES_MAX
        {
            self.fewer.notified().await;
        }
    }

    /// Waits for room for more of the next message, of which `deframer` has gathered some: once
    /// and for all when that is much.
    ///
    /// * Errors: there is none for a long message. Not for ever, because what the peer sends
    ///   meanwhile may fill a window that others need.
    async fn wait_for_room(&self, clock: &impl Io, deframer: &Deframer) -> Result<(), ApiError> {
        // It holds nothing of other messages any more.
        self.arriving.set(0);
        let (gathered_bytes, whole_bytes) = deframer.gathered();
        if gathered_bytes as u64 <= self.free_bytes {
            // What is small gets through whatever others hold.
            self.share.no_excess().await;
            return Ok(());
        }
        // Once and for all of it, so that none of those who began waits for another.
        let room = self.arriving.arrive(whole_bytes as u64 + FREE_BYTES - self.free_bytes);
        if soon(clock, room).await { Ok(()) } else { Err(no_room_error()) }
    }

    fn push(&self, input: &AppendInput) {
        let (bytes, memory_bytes) = (input.metered_bytes, batch_bytes(input));
        self.sizes.borrow_mut().push_back((bytes, memory_bytes));
        self.bytes.set(self.bytes.get() + bytes);
        self.share.add(memory_bytes);
    }

    fn pop(&self) {
        if let Some((bytes, memory_bytes)) = self.sizes.borrow_mut().pop_front() {
            self.bytes.set(self.bytes.get() - bytes);
            self.share.give_back(memory_bytes);
            self.fewer.notify();
        }
    }
}

/// Serves an append session whose response head was sent.
pub(super) async fn append<I: Io>(
    core: &Core<I>,
    session: &Session<I>,
    asker: Asker<'_>,
    coding: Option<Coding>,
    inlet: &mut impl Inlet,
    outlet: &mut impl Outlet,
) -> Ended {
    let unanswered = Unanswered::new(&core.held, inlet.free_bytes());
    let intake = pin!(take_in(core, session, asker.access, &unanswered, inlet));
    let answers = pin!(answer(core, session, (asker, coding), &unanswered, outlet));
    let ended = match future::select(answers, intake).await {
        Either::Left((ended, _)) => ended,
        Either::Right((Err(Gone), _)) => Err(Gone),
        Either::Right((Ok(()), answers)) => answers.await,
    };
    ended.unwrap_or(Ended::Gone)
}

/// Hands batches to the shard until the body ends, or one cannot be taken.
async fn take_in<I: Io>(
    core: &Core<I>,
    session: &Session<I>,
    access: &Access,
    unanswered: &Unanswered,
    inlet: &mut impl Inlet,
) -> Result<(), Gone> {
    let batches = async {
        let mut deframer = Deframer::new();
        while let Some(input) = next_batch(core, &mut deframer, unanswered, inlet).await? {
            if access.is_ended() {
                return Err(Stop::Refused(ended_token()));
            }
            check_batch(access, &input).map_err(Stop::Refused)?;
            // It was counted as arriving up to here; between the two nobody else is looked at.
            unanswered.push(&input);
            session.send(In::Batch(input)).await?;
        }
        Ok(())
    };
    let ending = pin!(core.drain.reached(Stage::Ending));
    let token_ended = pin!(core.gate.tokens.ended(access));
    let stopped = future::select(ending, token_ended);
    let taken = match future::select(pin!(batches), stopped).await {
        Either::Left((taken, _)) => taken,
        Either::Right((Either::Left(_), _)) => Err(Stop::Refused(Refusal::Draining.into())),
        Either::Right((Either::Right(_), _)) => Err(Stop::Refused(ended_token())),
    };
    unanswered.arriving.set(0);
    match taken {
        Ok(()) => {}
        Err(Stop::Gone) => return Err(Gone),
        Err(Stop::Refused(error)) => *unanswered.failure.borrow_mut() = Some(error),
    }
    // What the shard says about this is said by its answers.
    session.send(In::End).await.map_err(|_| Gone)
}

/// Why no more batches come.
enum Stop {
    Gone,
    Refused(ApiError),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

/// The next batch, as soon as there may be one more.
async fn next_batch<I: Io>(
    core: &Core<I>,
    deframer: &mut Deframer,
    unanswered: &Unanswered,
    inlet: &mut impl Inlet,
) -> Result<Option<AppendInput>, Stop> {
    let clock = core.clock();
    let mut deadline = None;
    unanswered.wait_for_fewer().await;
    loop {
        if let Some(message) = deframer.next().map_err(|e| bad_frame(e.to_string()))? {
            // What came with it is kept while its batch waits for its turn.
            let kept_bytes = deframer.buffered_bytes() as u64;
            unanswered.arriving.set(kept_bytes.saturating_sub(unanswered.free_bytes));
            let decoded = proto::decode_append(message.payload, message.range);
            return decoded.map(Some).map_err(|error| match error {
                DecodeError::Invalid(message) => {
                    Stop::Refused(ApiError::new(Code::Invalid, message))
                }
                DecodeError::BadProto(message) | DecodeError::BadJson(message) => {
                    bad_frame(message)
                }
            });
        }
        if deadline.is_none() {
            unanswered.wait_for_room(&*clock, deframer).await.map_err(Stop::Refused)?;
        }
        let more = if deframer.gathered().0 as u64 <= unanswered.free_bytes {
            inlet.receive(deframer).await?
        } else {
            // It keeps others waiting, and may not do so for ever.
            let patience_us = patience_us(&core.connection, MESSAGE_BYTES_MAX);
            let deadline = deadline.get_or_insert_with(|| Box::pin(clock.sleep_us(patience_us)));
            match future::select(pin!(inlet.receive(deframer)), deadline).await {
                Either::Left((more, _)) => more?,
                Either::Right(_) => {
                    let message = "a message took too long";
                    return Err(Stop::Refused(ApiError::new(Code::RequestTimeout, message)));
                }
            }
        };
        if !more {
            if !planted::has(Bug::CutFrameForgiven) {
                deframer.finish().map_err(|e| bad_frame(e.to_string()))?;
            }
            return Ok(None);
        }
    }
}

fn bad_frame(message: String) -> Stop {
    Stop::Refused(ApiError::new(Code::BadFrame, message))
}

/// Sends what the shard answers until that ends.
async fn answer<I: Io>(
    core: &Core<I>,
    session: &Session<I>,
    (asker, coding): (Asker<'_>, Option<Coding>),
    unanswered: &Unanswered,
    outlet: &mut impl Outlet,
) -> Result<Ended, Gone> {
    let mut bytes = Vec::new();
    loop {
        let mut next = Some(session.recv().await);
        let mut end = None;
        while let Some(out) = next {
            match out {
                Out::Ack(ack, receipt) => {
                    unanswered.pop();
                    bytes.reserve(ACK_FRAME_BYTES);
                    let start = s2s::begin(&mut bytes);
                    proto::encode_ack(&mut bytes, &ack, receipt);
                    let advised = core.drain.is_begun();
                    s2s::finish(&mut bytes, start, coding, advised)
                        .expect("an acknowledgement is short");
                }
                Out::Failed(refusal) => {
                    end = Some(Err(shown_error(asker.access, refusal.into())));
                }
                Out::Done => end = Some(unanswered.failure.take().map_or(Ok(()), Err)),
                Out::Opened | Out::Bytes(..) => {}
            }
            next = if end.is_none() { session.try_recv() } else { None };
        }
        if let Some(Err(error)) = &end {
            core.refused(error, asker);
            push_terminal(&mut bytes, error);
        }
        if !bytes.is_empty() {
            outlet.send(&mut bytes).await?;
            // Many at once are rare, and nobody counts what a session that waits keeps.
            if bytes.capacity() > ACKS_BYTES_KEPT {
                bytes = Vec::new();
            }
        }
        if let Some(end) = end {
            outlet.end().await?;
            return Ok(if end.is_ok() { Ended::Well } else { Ended::Refused });
        }
    }
}

fn push_terminal(out: &mut Vec<u8>, error: &ApiError) {
    let response = error.clone().into_response();
    s2s::push_terminal(out, response.status, &response.body);
}

/// Sends what the shard spelled; old data piece by piece, each when it is its turn.
async fn send_on<I: Io>(
    core: &Core<I>,
    session: &Session<I>,
    (bytes, age): (Bytes, Age),
    outlet: &mut impl Outlet,
) -> Result<(), Gone> {
    let mut send = async |piece: Range<usize>| {
        let len_bytes = piece.len();
        outlet.send_piece(bytes.slice(piece)).await?;
        session.taken(len_bytes).await.map_err(|_| Gone)
    };
    match age {
        Age::Recent => send(0..bytes.len()).await,
        Age::Old => core.send_old(bytes.len(), send).await,
    }
}

/// Serves a read session whose response head was sent.
pub(super) async fn read<I: Io>(
    core: &Core<I>,
    session: &Session<I>,
    asker: Asker<'_>,
    feed: Feed,
    outlet: &mut impl Outlet,
) -> Ended {
    let access = asker.access;
    let mut token_ended = pin!(core.gate.tokens.ended(access));
    let sent = async {
        loop {
            let out = {
                let gone = pin!(outlet.gone());
                let stopped = future::select(gone, &mut token_ended);
                match future::select(pin!(session.recv()), stopped).await {
                    // Asked again: while there is always more to send, nobody waits for the end.
                    Either::Left(_) if access.is_ended() => Err(ended_token()),
                    Either::Left((out, _)) => Ok(out),
                    Either::Right((Either::Left(_), _)) => return Err(Gone),
                    Either::Right((Either::Right(_), _)) => Err(ended_token()),
                }
            };
            match out {
                Ok(Out::Bytes(bytes, age)) => {
                    send_on(core, session, (bytes.into(), age), outlet).await?
                }
                Ok(Out::Failed(refusal)) => {
                    let error = shown_error(access, refusal.into());
                    return end_with(core, asker, feed, error, outlet).await;
                }
                Err(error) => return end_with(core, asker, feed, error, outlet).await,
                Ok(Out::Done) => {
                    if let Feed::Sse { .. } = feed {
                        let mut last = Vec::new();
                        sse::push_done(&mut last);
                        outlet.send(&mut last).await?;
                    }
                    outlet.end().await?;
                    return Ok(Ended::Well);
                }
                Ok(Out::Opened | Out::Ack(..)) => {}
            }
        }
    };
    sent.await.unwrap_or(Ended::Gone)
}

/// Ends a read session with an error, in the form that its feed has for one.
async fn end_with<I: Io>(
    core: &Core<I>,
    asker: Asker<'_>,
    feed: Feed,
    error: ApiError,
    outlet: &mut impl Outlet,
) -> Result<Ended, Gone> {
    core.refused(&error, asker);
    let mut last = Vec::new();
    match feed {
        Feed::S2s { .. } => push_terminal(&mut last, &error),
        Feed::Sse { .. } => sse::push_error(&mut last, &error.into_response().body),
    }
    outlet.send(&mut last).await?;
    outlet.end().await?;
    Ok(Ended::Refused)
}
