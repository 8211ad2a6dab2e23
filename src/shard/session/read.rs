//! Read sessions on the shard that owns the stream (S2 specification, sections 5.5 and 7).
//!
//! ```text
//!             more below the tail                    nothing below the tail
//!   catch up ---------------------> catch up   ... ----------------------> at the tail
//!      ^                                                                   heartbeat, then live
//!      +-------- the client did not keep up: no heartbeat until it has ----+   batches
//! ```
//!
//! Catching up and following are the same delivery, from wherever the records are; a client that
//! falls behind simply comes back to older ones, without a gap or a repetition. A heartbeat
//! promises that everything below its tail was sent, so one goes out only behind all of that.

use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{self, Either};

use super::Out;
use super::pipe::Pipe;
use crate::api::query::ReadQuery;
use crate::codec::Feed;
use crate::codec::feed::{FeedEncoder, Stamp};
use crate::control::Stream;
use crate::control::trail::Trail;
use crate::crypto::StreamKey;
use crate::io::Io;
use crate::io::permits::Permit;
use crate::log::entry::Record;
use crate::shard::call::{Age, Asked, StreamPath};
use crate::shard::drain::Stage;
use crate::shard::engine::Engine;
use crate::shard::read::{Budget, From, start_of};
use crate::types::{Refusal, StreamPosition, SuppliedKey};

/// Shortest time between two heartbeats, in microseconds.
const HEARTBEAT_US_MIN: u64 = 5_000_000;
/// Longest.
const HEARTBEAT_US_MAX: u64 = 14_500_000;
/// Record bytes handed out in one go after which others go first.
const LENGTHY_BYTES: u64 = 64 * 1024;

/// A read session under way.
struct Reading<I: Io> {
    engine: Rc<Engine<I>>,
    stream: Rc<Stream>,
    key: Option<StreamKey>,
    pipe: Rc<Pipe>,
    encoder: FeedEncoder,
    budget: Budget,
    from: From,
    /// How long to wait at the tail, in microseconds.
    wait_us: Option<u64>,
    /// When that is over.
    wait_until_us: u64,
    /// When the next heartbeat is due; 0 when none has been sent since the last catch-up.
    heartbeat_at_us: u64,
    /// The client knows that it should reconnect.
    advised: bool,
    /// Record bytes of the last delivery.
    last_bytes: u64,
    /// Held once it was at the tail: from then on, its batches are known by their frames.
    trail: Option<Rc<Trail>>,
}

/// A batch as it is sent; empty when there was none.
struct Spelled {
    bytes: Vec<u8>,
    age: Age,
    /// Until it counts among what the client has not taken.
    _permit: Option<Permit>,
}

/// How a delivery left the read.
enum Step {
    /// There may be more.
    Again,
    /// Everything durable was sent.
    AtTail(StreamPosition),
    /// A bound is reached.
    Ended,
}

impl<I: Io> Engine<I> {
    /// Serves a read session until it ends; `Ok` is its good end.
    ///
    /// * Errors: before [`Out::Opened`] the refusal of the request, afterwards what went wrong.
    pub(super) async fn read_session(
        self: &Rc<Self>,
        (path, key): (&StreamPath, Option<SuppliedKey>),
        query: &ReadQuery,
        feed: Feed,
        asked: &Asked,
        pipe: &Rc<Pipe>,
    ) -> Result<(), Refusal> {
        let (stream, key) = match self.stream_for_read((path, key.as_ref()), asked) {
            Ok(found) => found,
            Err(refused) => return self.refuse(refused).await,
        };
        self.settle(stream.created_ticket).await?;
        self.count_read(&stream, true);
        pipe.count_in(&self.outstanding_bytes);
        let limits = query.streaming_limits();
        let mut reading = Reading {
            engine: Rc::clone(self),
            stream,
            key,
            pipe: Rc::clone(pipe),
            encoder: FeedEncoder::new(feed),
            budget: Budget { count: limits.count, bytes: limits.bytes, until: query.until },
            from: From::SeqNum(0),
            wait_us: limits.wait_secs.map(|secs| u64::from(secs) * 1_000_000),
            wait_until_us: u64::MAX,
            heartbeat_at_us: 0,
            advised: false,
            last_bytes: 0,
            trail: None,
        };
        if reading.budget.is_spent() {
            pipe.push_out(Out::Opened);
            return Ok(());
        }
        let tail = reading.stream.durable.get().tail;
        let start = start_of(query, tail, limits.may_start_at_tail)?;
        reading.from = start.unwrap_or(From::SeqNum(tail.seq_num));
        reading.run(limits.may_start_at_tail).await
    }
}

impl<I: Io> Reading<I> {
    async fn run(mut self, may_start_at_tail: bool) -> Result<(), Refusal> {
        let by_timestamp = matches!(self.from, From::Timestamp(_));
        let (mut step, first);
        let pipe = Rc::clone(&self.pipe);
        (self, step, first) = self.deliver_where_it_belongs().await.inspect_err(|refusal| {
            // The request was fine; that its key is not the one shows only in the stream.
            if *refusal == Refusal::DecryptionFailed {
                pipe.push_out(Out::Opened);
            }
        })?;
        // No record that is left has such a timestamp: the read starts at the tail.
        let at_tail = by_timestamp && first.bytes.is_empty() && !matches!(step, Step::Ended);
        if at_tail && !may_start_at_tail {
            return Err(Refusal::Unsatisfiable(self.stream.durable.get().tail));
        }
        self.pipe.push_out(Out::Opened);
        self.push(first);
        loop {
            step = match step {
                Step::Ended => return Ok(()),
                Step::Again => {
                    if !self.wait_for_room().await? {
                        return Ok(());
                    }
                    self.let_others_go_first().await;
                    let (step, batch);
                    (self, step, batch) = self.deliver_where_it_belongs().await?;
                    self.push(batch);
                    step
                }
                Step::AtTail(tail) => match self.stay_at(tail).await? {
                    true => Step::Again,
                    false => return Ok(()),
                },
            };
        }
    }

    /// Spells the next batch: here while it follows, aside while it catches up.
    async fn deliver_where_it_belongs(mut self) -> Result<(Self, Step, Spelled), Refusal> {
        let tail = self.stream.durable.get().tail;
        let is_old = self.from != From::SeqNum(tail.seq_num)
            && !self.engine.is_live(&self.stream, self.from);
        // A follower that fell behind a little is not kept from catching up.
        let is_paced = is_old && self.engine.is_old(&self.stream, self.from);
        let age = if is_paced { Age::Old } else { Age::Recent };
        let engine = Rc::clone(&self.engine);
        let work = async move {
            let mut bytes = Vec::new();
            let permit = if is_old { Some(self.engine.spelling().await) } else { None };
            let step = self.deliver(&mut bytes).await?;
            Ok((self, step, Spelled { bytes, age, _permit: permit }))
        };
        if is_old { engine.aside(work).await? } else { work.await }
    }

    /// Spells the next batch into `out`, which stays empty when there is none.
    async fn deliver(&mut self, out: &mut Vec<u8>) -> Result<Step, Refusal> {
        let tail = self.stream.durable.get().tail;
        if self.from == From::SeqNum(tail.seq_num) {
            return Ok(Step::AtTail(tail));
        }
        let (of, encoder) = ((&self.stream, self.key.as_ref()), &mut self.encoder);
        let mut batch = encoder.begin(out);
        let (mut last_seq_num, mut too_large) = (0, false);
        let (limit_bytes, mut spelled_bytes) = (self.pipe.limit_bytes() as u64, 0);
        let each = |record: &Record<'_>| {
            if spelled_bytes >= limit_bytes {
                return ControlFlow::Break(());
            }
            spelled_bytes += record.metered_bytes;
            let fits =
                batch.record(record.seq_num, record.timestamp, record.headers(), record.body);
            too_large = !fits;
            last_seq_num = record.seq_num;
            if fits { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let (from, end, budget) = (self.from, tail.seq_num, &mut self.budget);
        let delivered = self.engine.deliver(of, from, end, budget, each).await?;
        self.from = From::SeqNum(delivered.next_seq_num);
        self.last_bytes = delivered.bytes;
        self.engine.count_delivered(&self.stream, &delivered);
        if delivered.records == 0 {
            batch.abandon();
            if delivered.is_shut {
                return Err(Refusal::DecryptionFailed);
            }
            if too_large {
                let message = "a record is too large for a message of this protocol";
                return Err(Refusal::Other(message.to_owned()));
            }
        } else {
            let durable = self.stream.durable.get().tail;
            let reached = delivered.next_seq_num >= durable.seq_num;
            let live = self.heartbeat_at_us > 0;
            let stamp = Stamp {
                tail: (reached || live).then_some(durable),
                last_seq_num,
                records: delivered.records as u64,
                bytes: delivered.bytes,
                advise_reconnect: self.engine.drain.is_begun(),
            };
            batch.finish(stamp);
            self.advised |= self.engine.drain.is_begun();
            self.restart_clocks();
        }
        Ok(if delivered.bounded { Step::Ended } else { Step::Again })
    }

    fn push(&self, spelled: Spelled) {
        if !spelled.bytes.is_empty() {
            self.pipe.push_out(Out::Bytes(spelled.bytes, spelled.age));
        }
    }

    /// A batch was delivered: the wait begins anew, and so does the time to the next heartbeat.
    fn restart_clocks(&mut self) {
        if self.heartbeat_at_us > 0 {
            let now_us = self.engine.io.now_us();
            self.heartbeat_at_us = self.next_heartbeat_us(now_us);
            self.wait_until_us = self.wait_us.map_or(u64::MAX, |wait_us| now_us + wait_us);
        }
    }

    fn next_heartbeat_us(&self, now_us: u64) -> u64 {
        let spread = HEARTBEAT_US_MAX - HEARTBEAT_US_MIN;
        now_us + HEARTBEAT_US_MIN + self.engine.io.next_u64() % spread
    }

    /// Waits until the client has taken enough; `false` when it is gone.
    async fn wait_for_room(&mut self) -> Result<bool, Refusal> {
        while self.pipe.is_full() {
            self.check_ending()?;
            // It did not keep up, and is not at the tail until it is again.
            self.heartbeat_at_us = 0;
            if self.pipe.is_closed() {
                return Ok(false);
            }
            let taken = pin!(self.pipe.changed());
            let ending = pin!(self.engine.drain.reached(Stage::Ending));
            future::select(taken, ending).await;
        }
        self.check_ending()?;
        self.check_staying().await?;
        Ok(!self.pipe.is_closed())
    }

    /// After much at once: what is read from memory keeps the core busy without ever waiting, and
    /// what the disk has finished for others is looked at only when somebody waits.
    async fn let_others_go_first(&self) {
        if self.last_bytes >= LENGTHY_BYTES {
            self.engine.io.sleep_us(1).await;
        }
    }

    fn check_ending(&self) -> Result<(), Refusal> {
        if self.engine.drain.stage() == Stage::Ending { Err(Refusal::Draining) } else { Ok(()) }
    }

    async fn check_staying(&self) -> Result<(), Refusal> {
        if !self.stream.is_deleting() {
            return Ok(());
        }
        self.engine.settle(self.stream.last_ticket.get()).await?;
        Err(Refusal::StreamDeletionPending(self.stream.record().name))
    }

    /// Stays at the tail until there is more (`true`) or the read ends well (`false`).
    async fn stay_at(&mut self, tail: StreamPosition) -> Result<bool, Refusal> {
        if self.wait_us == Some(0) {
            return Ok(false);
        }
        if self.trail.is_none() {
            self.trail = Some(self.engine.follow_closely(&self.stream));
        }
        if self.heartbeat_at_us == 0 {
            let now_us = self.engine.io.now_us();
            self.wait_until_us = self.wait_us.map_or(u64::MAX, |wait_us| now_us + wait_us);
            self.send_heartbeat(tail);
        }
        loop {
            self.check_ending()?;
            self.check_staying().await?;
            if self.pipe.is_closed() {
                return Ok(false);
            }
            if self.stream.durable.get().tail != tail {
                return Ok(true);
            }
            let draining = self.engine.drain.is_begun();
            let now_us = self.engine.io.now_us();
            if now_us >= self.wait_until_us {
                return Ok(false);
            }
            if now_us >= self.heartbeat_at_us || (draining && !self.advised) {
                self.send_heartbeat(tail);
            }
            let wake_at_us = self.heartbeat_at_us.min(self.wait_until_us);
            let timer = pin!(self.engine.io.sleep_us(wake_at_us.saturating_sub(now_us)));
            let changed = pin!(self.stream.changed.notified());
            let closed = pin!(self.pipe.changed());
            let next = if draining { Stage::Ending } else { Stage::Draining };
            let drained = pin!(self.engine.drain.reached(next));
            let told = future::select(changed, closed);
            if let Either::Left(_) = future::select(told, future::select(timer, drained)).await {}
        }
    }

    fn send_heartbeat(&mut self, tail: StreamPosition) {
        let advise_reconnect = self.engine.drain.is_begun();
        self.advised |= advise_reconnect;
        let wall_ms = self.engine.io.wall_us() / 1000;
        let mut out = Vec::new();
        self.encoder.heartbeat(&mut out, tail, wall_ms, advise_reconnect);
        self.push(Spelled { bytes: out, age: Age::Recent, _permit: None });
        self.heartbeat_at_us = self.next_heartbeat_us(self.engine.io.now_us());
    }
}
