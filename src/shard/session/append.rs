//! Append sessions on the shard that owns the stream (S2 specification, section 4.7).
//!
//! Batches are judged and logged in the order of arrival without waiting for each other's
//! durability; acknowledgements wait, in that order. The first failure is the last answer, after
//! the acknowledgements of everything before it, and nothing behind it is looked at.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{self, Either};

use super::pipe::Pipe;
use super::{In, Out};
use crate::audit::{self, Origin};
use crate::control::Stream;
use crate::crypto::StreamKey;
use crate::io::Io;
use crate::io::notify::Notify;
use crate::planted::{self, Bug};
use crate::shard::call::{Asked, StreamPath};
use crate::shard::engine::Engine;
use crate::shard::receipt::ReceiptSlot;
use crate::types::{Ack, Refusal, StorageClass, SuppliedKey};

/// A batch that was judged, and what its answer waits for.
struct Judged {
    ticket: u64,
    outcome: Result<Accepted, Refusal>,
}

/// A batch that was logged.
struct Accepted {
    ack: Ack,
    ticket: u64,
    records: u64,
    bytes: u64,
    began_us: u64,
    receipt: Option<Rc<ReceiptSlot>>,
}

/// What intake hands to acknowledgement.
#[derive(Default)]
struct Pending {
    judged: RefCell<VecDeque<Judged>>,
    /// Whether any of them was promised what class Standard is: their acks go out in order.
    is_standard: Cell<bool>,
    ended: Cell<bool>,
    changed: Notify,
}

impl Pending {
    fn push(&self, judged: Judged) {
        self.judged.borrow_mut().push_back(judged);
        self.changed.notify();
    }

    fn end(&self) {
        self.ended.set(true);
        self.changed.notify();
    }

    fn note_class(&self, class: StorageClass) {
        self.is_standard.set(self.is_standard.get() || class == StorageClass::Standard);
    }

    /// What the strictest of them was promised.
    fn class(&self) -> StorageClass {
        if self.is_standard.get() { StorageClass::Standard } else { StorageClass::Express }
    }

    fn next_ticket(&self) -> Option<u64> {
        self.judged.borrow().front().map(|judged| judged.ticket)
    }

    fn take_durable(&self, reached: u64) -> Option<Judged> {
        let mut judged = self.judged.borrow_mut();
        judged.front().is_some_and(|j| j.ticket <= reached).then(|| judged.pop_front())?
    }
}

/// Where the batches of a session go, and who sends them.
struct To<'a> {
    stream: &'a Rc<Stream>,
    key: Option<StreamKey>,
    path: &'a StreamPath,
    from: &'a Origin,
}

impl<I: Io> Engine<I> {
    /// Serves an append session until it ends; `Ok` is its good end.
    ///
    /// * Errors: before [`Out::Opened`] the refusal of the request, afterwards the terminal error.
    pub(super) async fn append_session(
        self: &Rc<Self>,
        (path, key): (&StreamPath, Option<SuppliedKey>),
        asked: &Asked,
        wants_receipts: bool,
        pipe: &Pipe,
    ) -> Result<(), Refusal> {
        self.check_open()?;
        let (stream, key) = match self.stream_for_append((path, key.as_ref()), asked) {
            Ok(found) => found,
            Err(refused) => return self.refuse(refused).await,
        };
        self.settle(stream.created_ticket).await?;
        pipe.push_out(Out::Opened);
        let pending = Pending::default();
        let to = To { stream: &stream, key, path, from: &asked.from };
        let intake = pin!(self.take_in(to, wants_receipts, pipe, &pending));
        let acknowledge = pin!(self.acknowledge(&stream, pipe, &pending));
        match future::select(acknowledge, intake).await {
            Either::Left((ended, _)) => ended,
            // The client is gone; what was logged becomes durable all the same.
            Either::Right(((), _)) if pipe.is_closed() => Ok(()),
            Either::Right(((), acknowledge)) => acknowledge.await,
        }
    }

    /// Judges and logs what comes in, until it ends or something is refused.
    async fn take_in(
        self: &Rc<Self>,
        to: To<'_>,
        wants_receipts: bool,
        pipe: &Pipe,
        pending: &Pending,
    ) {
        let To { stream, key, path, from } = to;
        while let Some(input) = pipe.next_in().await {
            let In::Batch(input) = input else { return pending.end() };
            let began_us = self.io.now_us();
            let (records, bytes) = (input.records.len() as u64, input.metered_bytes);
            self.metrics.append_offered(records, bytes);
            if let Err(refusal) = self.admit(&input).await {
                return pending.push(Judged { ticket: 0, outcome: Err(refusal) });
            }
            if pipe.is_closed() {
                return;
            }
            self.metrics.append_admitted(self.io.now_us() - began_us);
            let receipt = wants_receipts.then(|| ReceiptSlot::new(began_us, stream.class()));
            match self.sequence(stream, &input, key.as_ref(), receipt.clone()) {
                Ok((ack, ticket)) => {
                    audit::commanded(path, &input, from);
                    pending.note_class(stream.class());
                    let outcome = Ok(Accepted { ack, ticket, records, bytes, began_us, receipt });
                    pending.push(Judged { ticket, outcome });
                }
                Err(refused) => {
                    let outcome = Err(refused.refusal);
                    pending.push(Judged { ticket: refused.ticket, outcome });
                    if !planted::has(Bug::SessionGoesOn) {
                        return;
                    }
                }
            }
        }
    }

    /// Answers what was judged as it becomes durable.
    async fn acknowledge(
        &self,
        stream: &Rc<Stream>,
        pipe: &Pipe,
        pending: &Pending,
    ) -> Result<(), Refusal> {
        loop {
            if let Some(ticket) = pending.next_ticket() {
                self.settle_for(pending.class(), ticket).await?;
                let reached = self.promised(pending.class()).reached();
                while let Some(judged) = pending.take_durable(reached) {
                    self.push_ack(stream, judged.outcome?, pipe);
                }
            } else if pending.ended.get() {
                return Ok(());
            } else if stream.is_deleting() {
                self.settle(stream.last_ticket.get()).await?;
                return Err(Refusal::StreamDeletionPending(stream.record().name));
            } else {
                let judged = pin!(pending.changed.notified());
                let deleted = pin!(stream.changed.notified());
                future::select(judged, deleted).await;
            }
        }
    }

    fn push_ack(&self, stream: &Stream, accepted: Accepted, pipe: &Pipe) {
        let Accepted { ack, ticket, records, bytes, began_us, receipt } = accepted;
        let latency_us = self.io.now_us() - began_us;
        self.metrics.append_acked(stream.class(), records, bytes, latency_us);
        self.metrics.append_waited(stream.class(), ticket, began_us, latency_us);
        let ack = Ack { tail: stream.durable.get().tail, ..ack };
        pipe.push_out(Out::Ack(ack, receipt.and_then(|slot| slot.receipt())));
    }
}
