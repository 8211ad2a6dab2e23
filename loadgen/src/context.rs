//! What the writers and readers of a run share, and what they all do alike: ask when to send, note
//! what became of it, and connect again.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use crate::board::Board;
use crate::cli::AppendArgs;
use crate::clock::{Clock, ns};
use crate::connection::{BACK_OFF_MAX, BACK_OFF_MIN, Failure};
use crate::desk::{Call, Desk};
use crate::feed::Prepared;
use crate::input::Input;
use crate::journal::Fact;
use crate::outcome::Outcome;
use crate::place::Place;
use crate::receipts::Receipt;
use crate::record::Pool;
use crate::request::Layout;
use crate::routes::Routes;
use crate::stats::Stats;

/// Pause between two attempts to connect when the run is not to give up.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Everything fixed before the load, shared by all threads.
pub(crate) struct Plan {
    pub(crate) args: AppendArgs,
    pub(crate) run: u32,
    pub(crate) place: Place,
    pub(crate) routes: Routes,
    pub(crate) layout: Arc<Layout>,
    pub(crate) pool: Pool,
    pub(crate) input: Option<Input>,
    /// Readers that follow the streams; 0 unless deliveries are measured.
    pub(crate) readers: u32,
    /// Next sequence number of each stream before the load, where anybody wants to know.
    pub(crate) tails: Vec<u64>,
    /// What writers tell readers; only when deliveries are measured.
    pub(crate) board: Option<Board>,
    /// Set by the first connection that gives up: the others follow.
    pub(crate) is_aborted: AtomicBool,
}

/// The times of a run, in nanoseconds of its clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// The load begins.
    pub(crate) start_ns: u64,
    /// The warm-up is over.
    pub(crate) measure_ns: u64,
    /// Nothing more becomes due.
    pub(crate) end_ns: u64,
    /// What is still unsent is given up.
    pub(crate) drain_ns: u64,
}

impl Window {
    /// True when an append due at `due_ns` counts for the figures.
    pub(crate) fn measures(&self, due_ns: u64) -> bool {
        (self.measure_ns..self.end_ns).contains(&due_ns)
    }
}

/// Why a connection or session could not be opened.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// No connection.
    Connect(io::Error),
    /// A connection, but no answer of use.
    Failed(Failure),
    /// An error instead of a session: its status and code.
    Answered(String),
}

impl std::fmt::Display for NotOpened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "connect: {}", error.kind()),
            Self::Failed(failure) => write!(f, "opening: {failure}"),
            Self::Answered(what) => write!(f, "opening: {what}"),
        }
    }
}

impl std::error::Error for NotOpened {}

impl From<io::Error> for NotOpened {
    fn from(error: io::Error) -> Self {
        Self::Connect(error)
    }
}

impl From<Failure> for NotOpened {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What the writers and readers of one thread share.
pub(crate) struct Context {
    pub(crate) plan: Arc<Plan>,
    pub(crate) clock: Clock,
    pub(crate) window: Window,
    /// Absent in a closed loop.
    pub(crate) desk: Option<Desk>,
    pub(crate) stats: RefCell<Stats>,
    pub(crate) is_input_over: Cell<bool>,
}

impl Context {
    /// Waits until writer `local` of this thread has something to send.
    pub(crate) async fn next_call(&self, local: usize) -> Call {
        let now_ns = self.clock.now_ns();
        match &self.desk {
            _ if self.is_aborted() => Call::Done,
            Some(_) if now_ns >= self.window.drain_ns => Call::Done,
            Some(desk) => desk.take(local, now_ns).await,
            None if now_ns >= self.window.end_ns => Call::Done,
            None => Call::Send { due_ns: now_ns },
        }
    }

    /// Takes writer `local` out of the queue of the free, after its [`Context::next_call`] was
    /// cancelled; returns when an append was due that it had been given meanwhile.
    pub(crate) fn withdraw(&self, local: usize) -> Option<u64> {
        match self.desk.as_ref()?.withdraw(local)? {
            Call::Send { due_ns } => Some(due_ns),
            Call::Done => None,
        }
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.plan.is_aborted.load(Ordering::Relaxed)
    }

    /// True when nothing more is to be sent.
    pub(crate) fn is_over(&self) -> bool {
        let limit_ns = if self.desk.is_some() { self.window.drain_ns } else { self.window.end_ns };
        self.clock.now_ns() >= limit_ns || self.is_aborted()
    }

    /// Counts an append that leaves at `sent_ns`.
    pub(crate) fn sent(&self, due_ns: u64, free_ns: u64, sent_ns: u64) {
        let stats = &mut *self.stats.borrow_mut();
        stats.sent += 1;
        if self.window.measures(due_ns) && self.desk.is_some() {
            let possible_ns = due_ns.max(free_ns);
            stats.lateness.saturating_record(sent_ns.saturating_sub(possible_ns));
        }
    }

    /// Counts an append that was due but never sent, and the time it waited, a lower bound.
    pub(crate) fn unsent(&self, due_ns: u64, now_ns: u64) {
        let stats = &mut *self.stats.borrow_mut();
        stats.unsent += 1;
        if self.window.measures(due_ns) {
            stats.latency.saturating_record(now_ns.saturating_sub(due_ns));
        }
    }

    /// Records the latency of an append that ended at `done_ns`, if it is one of those measured.
    pub(crate) fn latency(&self, due_ns: u64, sent_ns: u64, done_ns: u64) {
        if self.window.measures(due_ns) {
            let stats = &mut *self.stats.borrow_mut();
            stats.latency.saturating_record(done_ns.saturating_sub(due_ns));
            stats.service.saturating_record(done_ns.saturating_sub(sent_ns));
        }
    }

    /// Counts the receipt of an acknowledged append, or that it had none, when receipts are asked
    /// for and the append is one of those measured.
    pub(crate) fn receipt(&self, due_ns: u64, receipt: Option<Receipt>) {
        if self.plan.args.receipts && self.window.measures(due_ns) {
            let stats = &mut *self.stats.borrow_mut();
            stats.receipts.get_or_insert_with(Box::default).count(receipt);
        }
    }

    /// Notes what became of an append.
    pub(crate) fn note(&self, prepared: &Prepared, outcome: Outcome, done_ns: u64) {
        let Prepared { id, stream, encoded, .. } = *prepared;
        let stats = &mut *self.stats.borrow_mut();
        let mut fact =
            Fact { id, count: encoded.count, is_acked: false, start: 0, hash: encoded.hash };
        match outcome {
            Outcome::Acked { start } => {
                stats.acked_ever += 1;
                if self.window.measures(done_ns) {
                    stats.acked += 1;
                    stats.records += u64::from(encoded.count);
                    stats.body_bytes += encoded.body_bytes;
                }
                if let Some(board) = &self.plan.board {
                    let count = u64::from(encoded.count);
                    if self.plan.args.protocol.is_foreign() {
                        board.counted(id, stream, count, done_ns);
                    } else {
                        board.acked(id, stream, start + count, done_ns);
                    }
                }
                fact.is_acked = true;
                fact.start = start;
            }
            Outcome::Refused(kind) => {
                stats.error(kind);
                return;
            }
            Outcome::Doubtful(kind) => {
                stats.error(kind);
                stats.indeterminate += 1;
            }
        }
        if self.plan.args.is_tracked() {
            stats.facts.push((stream, fact));
        }
    }

    /// Opens what had ended, again and again until `is_over`; `None` when that came first.
    /// `has_answered` tells whether the last one was of any use, and is taken back.
    ///
    /// Errors: it failed for longer than the command line allows.
    pub(crate) async fn reopen<T>(
        &self,
        has_answered: &mut bool,
        is_over: impl Fn() -> bool,
        mut open: impl AsyncFnMut() -> Result<T, NotOpened>,
    ) -> Result<Option<T>> {
        let patience = self.plan.args.target.connect_retry;
        let give_up_ns = self.clock.now_ns() + ns(patience);
        let mut pause = if patience.is_zero() { RETRY_PAUSE } else { BACK_OFF_MIN };
        if !std::mem::replace(has_answered, false) {
            // Accepted and dropped again without an answer: do not hammer.
            sleep(RETRY_PAUSE).await;
        }
        while !is_over() {
            let error = match open().await {
                Ok(opened) => return Ok(Some(opened)),
                Err(error) => error,
            };
            self.stats.borrow_mut().error(error.to_string());
            if !patience.is_zero() {
                if self.clock.now_ns() >= give_up_ns {
                    return Err(error).context("the server stayed unreachable");
                }
                pause = (pause * 2).min(BACK_OFF_MAX);
            }
            sleep(pause).await;
        }
        Ok(None)
    }
}
