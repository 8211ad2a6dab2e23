//! One reader's life: follow a stream in read sessions, and time what arrives.
//!
//! * A session that ends is followed by another from where it ended: no record is asked for twice.
//! * A record's delivery runs from when its append was due, and from its acknowledgement, to the
//!   moment when its frame is complete here. A record may come before its writer has heard of the
//!   acknowledgement: that counts as 0 and is counted.
//! * The reader ends when all writers have and everything acknowledged has come, or when nothing
//!   has come for as long as an answer may take.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep};

use crate::board::{Acked, Board};
use crate::clock::ns;
use crate::context::{Context, Plan};
use crate::follower::{Follower, Load, Seen};
use crate::inlet::Inlet;
use crate::proto::ReadBatch;

/// Gap between two looks at whether the run is over.
const NAP: Duration = Duration::from_millis(50);

/// A reader of one stream.
pub(crate) struct Reader {
    stream: u32,
    follower: Follower,
    open: Option<Inlet>,
    /// True once the current session has brought a record.
    has_answered: bool,
    /// When something last came, or the writers had ended.
    progress_ns: u64,
}

impl Reader {
    /// Opens the session of reader `reader` of the run.
    pub(crate) async fn open(plan: &Plan, reader: u32) -> Result<Self> {
        let stream = reader % plan.args.streams;
        let start = plan.tails[stream as usize];
        let args = &plan.args;
        let (writers, streams) = (args.writers(), args.streams);
        let load = Load { run: plan.run, writers, streams, record_bytes: args.record_bytes };
        let follower = Follower::new(load, stream, start);
        let open = Some(Inlet::open(plan, stream, start).await.context("opening a read session")?);
        Ok(Self { stream, follower, open, has_answered: true, progress_ns: 0 })
    }

    /// Reads until everything acknowledged has come.
    pub(crate) async fn run(mut self, context: Rc<Context>) -> Result<()> {
        let board = context.plan.board.as_ref().expect("made for the readers");
        loop {
            let Some(mut inlet) = self.connect(&context, board).await? else { break };
            match self.follow(&mut inlet, &context, board).await {
                None => break,
                Some(kind) => context.stats.borrow_mut().error(format!("reader: {kind}")),
            }
        }
        self.follower.look_for_missing(board);
        let end = board.end(self.stream);
        if self.follower.next_seq_num() < end && !context.is_aborted() {
            self.follower.give_up(end);
        }
        self.hand_over_faults(&context);
        Ok(())
    }

    /// Takes one session's records; tells how it broke, or `None` when there is no more to read.
    async fn follow(
        &mut self,
        inlet: &mut Inlet,
        context: &Context,
        board: &Board,
    ) -> Option<String> {
        let mut nap = pin!(sleep(NAP));
        loop {
            tokio::select! {
                biased;
                () = &mut nap => {
                    self.follower.look_for_missing(board);
                    self.hand_over_faults(context);
                    if self.is_over(context, board) {
                        return None;
                    }
                    nap.as_mut().reset(Instant::now() + NAP);
                }
                more = inlet.receive() => {
                    if let Err(kind) = self.take_batches(inlet, context, board) {
                        return Some(kind);
                    }
                    match more {
                        Ok(true) => {}
                        Ok(false) if inlet.has_rest() => {
                            return Some("answer ends within a frame".to_owned());
                        }
                        Ok(false) => return Some("session ended by the server".to_owned()),
                        Err(failure) => return Some(failure.to_string()),
                    }
                }
            }
        }
    }

    /// Takes the batches received.
    ///
    /// Errors: how one of them ends the session.
    fn take_batches(
        &mut self,
        inlet: &mut Inlet,
        context: &Context,
        board: &Board,
    ) -> Result<(), String> {
        let now_ns = context.clock.now_ns();
        while let Some(batch) = inlet.next()? {
            self.take_batch(&batch, context, board, now_ns)?;
        }
        Ok(())
    }

    fn take_batch(
        &mut self,
        batch: &ReadBatch,
        context: &Context,
        board: &Board,
        now_ns: u64,
    ) -> Result<(), String> {
        let delivery = &mut context.stats.borrow_mut().delivery;
        let is_measured = context.window.measures(now_ns);
        if batch.records.is_empty() {
            delivery.heartbeats += 1;
            let tail = batch.tail.as_ref().ok_or("heartbeat without a tail")?;
            self.follower.heartbeat(tail.seq_num);
            return Ok(());
        }
        self.has_answered = true;
        self.progress_ns = now_ns;
        for record in &batch.records {
            delivery.records_ever += 1;
            match self.follower.see(record.seq_num, &record.body, &context.plan.pool) {
                Seen::Faulty => {}
                Seen::Foreign => delivery.foreign += 1,
                Seen::Delivered { id, due_ns } => {
                    if is_measured {
                        delivery.records += 1;
                        delivery.body_bytes += record.body.len() as u64;
                    }
                    if !context.window.measures(due_ns) {
                        continue;
                    }
                    delivery.latency.saturating_record(now_ns.saturating_sub(due_ns));
                    match board.look_up(id) {
                        Acked::At(at_ns) => {
                            delivery.from_ack.saturating_record(now_ns.saturating_sub(at_ns));
                        }
                        Acked::Not => {
                            delivery.early += 1;
                            delivery.from_ack.saturating_record(0);
                        }
                        Acked::Forgotten => delivery.forgotten += 1,
                    }
                }
            }
        }
        Ok(())
    }

    fn hand_over_faults(&mut self, context: &Context) {
        let faults = std::mem::take(&mut self.follower.faults);
        context.stats.borrow_mut().delivery.faults += &faults;
    }

    /// True when nothing more is to be waited for.
    fn is_over(&mut self, context: &Context, board: &Board) -> bool {
        if context.is_aborted() {
            return true;
        }
        if !board.is_over() {
            self.progress_ns = context.clock.now_ns();
            return false;
        }
        let waited_ns = context.clock.now_ns().saturating_sub(self.progress_ns);
        self.follower.next_seq_num() >= board.end(self.stream)
            || waited_ns >= ns(context.plan.args.target.request_timeout)
    }

    /// The open session, or a new one; `None` when there is nothing left to read.
    async fn connect(&mut self, context: &Context, board: &Board) -> Result<Option<Inlet>> {
        if let Some(open) = self.open.take() {
            return Ok(Some(open));
        }
        let (plan, stream, from) = (&context.plan, self.stream, self.follower.next_seq_num());
        let mut has_answered = std::mem::replace(&mut self.has_answered, false);
        let reader = std::cell::RefCell::new(&mut *self);
        let is_over = || reader.borrow_mut().is_over(context, board);
        let open = async || Inlet::open(plan, stream, from).await;
        context.reopen(&mut has_answered, is_over, open).await
    }
}
