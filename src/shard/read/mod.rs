//! Reading: where a read starts, what it delivers, how long it waits (S2 specification,
//! sections 5.2 to 5.4).
//!
//! * Here: the unary read, and `deliver`, which both it and read sessions take batches from.
//! * `start` resolves where a read begins, `scan` walks through the log, `pieces` says which part
//!   of it is next, `live` knows the newest frames of streams that are followed, `passed` sees that
//!   what is past its age is trimmed before a reader learns of it.
//!
//! Only durable records are looked at. Records are spelled straight from the frame they lie in.

mod live;
mod passed;
mod pieces;
mod scan;
mod start;

use std::ops::ControlFlow;
use std::rc::Rc;

use futures_util::future::{self, Either};

use super::call::{Age, Asked, StreamPath};
use super::encryption::open;
use super::engine::Engine;
use crate::api::query::{ReadQuery, UnaryLimits};
use crate::audit::Origin;
use crate::codec::{BatchEncoder, BatchForm};
use crate::control::Stream;
use crate::crypto::StreamKey;
use crate::io::Io;
use crate::log::entry::Record;
use crate::planted::{self, Bug};
use crate::types::limits::{BATCH_METERED_BYTES_MAX, BATCH_RECORDS_MAX};
use crate::types::refusal::chain;
use crate::types::{Refusal, StreamPosition, SuppliedKey};

pub(super) use live::Followed;
pub(super) use start::start_of;

/// Where delivery starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    SeqNum(u64),
    Timestamp(u64),
}

/// A part of a stream: from where, and up to which number.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: From,
    end: u64,
}

/// What of a read is still to be delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) until: Option<u64>,
}

impl Budget {
    /// Whether nothing more can be delivered, whatever comes.
    pub(super) fn is_spent(&self) -> bool {
        self.count == 0 || self.bytes == 0
    }

    /// Takes a record out of the budget; `false` when it does not fit.
    fn spend(&mut self, record: &Record<'_>) -> bool {
        let fits = self.count > 0
            && record.metered_bytes <= self.bytes
            && self.until.is_none_or(|until| record.timestamp < until);
        if fits {
            self.count -= 1;
            self.bytes -= record.metered_bytes;
        }
        fits
    }
}

/// One batch that was delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered {
    pub(super) records: usize,
    pub(super) bytes: u64,
    /// Where the next batch starts.
    pub(super) next_seq_num: u64,
    /// The budget ends the read here.
    pub(super) bounded: bool,
    /// The next record does not open with the key given.
    pub(super) is_shut: bool,
}

impl<I: Io> Engine<I> {
    /// The durable tail of a stream.
    pub(super) async fn check_tail(
        self: &Rc<Self>,
        path: &StreamPath,
        from: Origin,
    ) -> Result<StreamPosition, Refusal> {
        let stream = match self.stream_for_tail(path, from) {
            Ok(stream) => stream,
            Err(refused) => return self.refuse(refused).await,
        };
        self.settle(stream.created_ticket).await?;
        if planted::has(Bug::TailEarly) {
            return Ok(stream.accepted.get().tail);
        }
        Ok(stream.durable.get().tail)
    }

    /// Reads records and returns the body of a unary answer, and where they came from.
    pub(super) async fn read(
        self: &Rc<Self>,
        (path, key): (&StreamPath, Option<SuppliedKey>),
        query: &ReadQuery,
        form: BatchForm,
        asked: &Asked,
    ) -> Result<(Vec<u8>, Age), Refusal> {
        let (stream, key) = match self.stream_for_read((path, key.as_ref()), asked) {
            Ok((stream, key)) => (stream, key.map(Rc::new)),
            Err(refused) => return self.refuse(refused).await,
        };
        self.settle(stream.created_ticket).await?;
        self.count_read(&stream, false);
        let limits = query.unary_limits();
        let budget = Budget { count: limits.count as u64, bytes: limits.bytes, until: query.until };
        if budget.is_spent() {
            return Ok((empty(form), Age::Recent));
        }
        let tail = stream.durable.get().tail;
        if let Some(start) = start_of(query, tail, limits.follows())? {
            let end = tail.seq_num;
            let (engine, of, key) = (Rc::clone(self), Rc::clone(&stream), key.clone());
            let part = Part { start, end };
            let work =
                async move { engine.spell((&of, key.as_deref()), part, budget, form, None).await };
            let is_old = self.is_old(&stream, start);
            let spelled = if is_old { self.aside(work).await? } else { work.await };
            let (delivered, body) = spelled?;
            if delivered.records > 0 || delivered.bounded || !limits.follows() {
                // Nothing is retained from there on: by timestamp that is a start at the tail.
                if matches!(start, From::Timestamp(_))
                    && delivered.records == 0
                    && !delivered.bounded
                {
                    return Err(Refusal::Unsatisfiable(tail));
                }
                return Ok((body, if is_old { Age::Old } else { Age::Recent }));
            }
        }
        let body =
            self.follow((&stream, key.as_deref()), tail.seq_num, budget, limits, form).await?;
        Ok((body, Age::Recent))
    }

    /// Waits at the tail for records, and returns the first that become durable.
    async fn follow(
        &self,
        (stream, key): (&Rc<Stream>, Option<&StreamKey>),
        seq_num: u64,
        budget: Budget,
        limits: UnaryLimits,
        form: BatchForm,
    ) -> Result<Vec<u8>, Refusal> {
        let _trail = self.follow_closely(stream);
        let timeout = self.io.sleep_us(u64::from(limits.wait_secs) * 1_000_000);
        let mut timeout = std::pin::pin!(timeout);
        let tail = loop {
            if stream.is_deleting() {
                self.settle(stream.last_ticket.get()).await?;
                let name = stream.record().name;
                return Err(Refusal::StreamDeletionPending(name));
            }
            let tail = stream.durable.get().tail;
            if tail.seq_num > seq_num {
                break tail;
            }
            let changed = std::pin::pin!(stream.changed.notified());
            let drained = std::pin::pin!(self.drain.begun());
            let woken = future::select(changed, drained);
            match future::select(woken, timeout.as_mut()).await {
                Either::Left((Either::Left(_), _)) => {}
                _ => return Ok(empty(form)),
            }
        };
        let part = Part { start: From::SeqNum(seq_num), end: tail.seq_num };
        let (_, body) = self.spell((stream, key), part, budget, form, Some(tail)).await?;
        Ok(body)
    }

    /// One batch as the body of a unary answer, with this tail if it holds any record.
    async fn spell(
        &self,
        (stream, key): (&Rc<Stream>, Option<&StreamKey>),
        part: Part,
        mut budget: Budget,
        form: BatchForm,
        tail: Option<StreamPosition>,
    ) -> Result<(Delivered, Vec<u8>), Refusal> {
        let mut body = Vec::new();
        let mut encoder = form.encoder(&mut body);
        let each = spell_into(&mut encoder);
        let (of, Part { start, end }) = ((stream, key), part);
        let delivered = self.deliver(of, start, end, &mut budget, each).await?;
        if delivered.is_shut {
            return Err(Refusal::DecryptionFailed);
        }
        self.count_delivered(stream, &delivered);
        encoder.finish(tail.filter(|_| delivered.records > 0));
        Ok((delivered, body))
    }

    /// Hands one batch of durable records from `start` up to `end_seq_num` to `spell`, as far as
    /// the budget and the size of a batch allow; `spell` may break before a record that it has no
    /// room for.
    pub(super) async fn deliver(
        &self,
        (stream, key): (&Rc<Stream>, Option<&StreamKey>),
        start: From,
        end_seq_num: u64,
        budget: &mut Budget,
        mut spell: impl FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<Delivered, Refusal> {
        let mut opener = key.map(StreamKey::opener);
        let mut delivered = Delivered {
            records: 0,
            bytes: 0,
            next_seq_num: end_seq_num,
            bounded: false,
            is_shut: false,
        };
        let each = |record: &Record<'_>| {
            let bytes = delivered.bytes + record.metered_bytes;
            let mut rest = *budget;
            let fits = rest.spend(record);
            let full = delivered.records == BATCH_RECORDS_MAX || bytes > BATCH_METERED_BYTES_MAX;
            delivered.bounded = !fits;
            let ends = !fits || full || {
                let opened = open(opener.as_mut(), record);
                delivered.is_shut = opened.is_none();
                opened.is_none_or(|record| spell(&record).is_break())
            };
            if ends {
                delivered.next_seq_num = record.seq_num;
                return ControlFlow::Break(());
            }
            *budget = rest;
            delivered.records += 1;
            delivered.bytes = bytes;
            if budget.is_spent() {
                delivered.bounded = true;
                delivered.next_seq_num = record.seq_num + 1;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let scanned = self.scan(stream, start, end_seq_num, each).await;
        scanned.map_err(|error| {
            let error = chain(&error);
            tracing::error!(shard = self.config.log.shard, error, "reading the log failed");
            self.metrics.read_damaged();
            Refusal::Storage(format!("reading failed: {error}"))
        })?;
        Ok(delivered)
    }

    /// Counts what was delivered, once it is on its way to the reader.
    pub(super) fn count_delivered(&self, stream: &Stream, delivered: &Delivered) {
        self.metrics.records_read(delivered.records as u64, delivered.bytes);
        self.count_bytes_read(stream, delivered.bytes);
    }
}

/// Spells a record into a unary answer, which has room for all that a batch may hold.
fn spell_into<'e, 'out>(
    encoder: &'e mut BatchEncoder<'out>,
) -> impl FnMut(&Record<'_>) -> ControlFlow<()> + use<'e, 'out> {
    |record| {
        encoder.record(record.seq_num, record.timestamp, record.headers(), record.body);
        ControlFlow::Continue(())
    }
}

/// A batch without records or tail.
fn empty(form: BatchForm) -> Vec<u8> {
    let mut body = Vec::new();
    form.encoder(&mut body).finish(None);
    body
}

#[cfg(test)]
mod tests;
