//! One connection's life: take a due append, send it, judge the answer, note what happened.
//!
//! * One append in flight; the next request is encoded before the wait for its due time.
//! * An append is never repeated: each due time is one attempt, whatever becomes of it.
//! * Latency runs from the due time to the last byte of the answer. Acknowledged appends are
//!   recorded, and timeouts with the time they took so far; other errors are counted apart.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tokio::time::sleep;

use crate::cli::AppendArgs;
use crate::clock::{Clock, ns};
use crate::connection::{BACK_OFF_MAX, BACK_OFF_MIN, Connection, Failure};
use crate::desk::{Call, Desk};
use crate::input::{Input, Next};
use crate::journal::Fact;
use crate::record::{BatchId, Pool};
use crate::request::{Bodies, Encoded, Encoder, Heads};
use crate::setup::error_code;
use crate::stats::Stats;

/// Everything fixed before the load, shared by all threads.
pub(crate) struct Plan {
    pub(crate) args: AppendArgs,
    pub(crate) run: u32,
    pub(crate) addresses: Vec<std::net::SocketAddr>,
    pub(crate) heads: Arc<Heads>,
    pub(crate) pool: Pool,
    pub(crate) input: Option<Input>,
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

/// What the lanes of one thread share.
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
    async fn next_call(&self, lane: usize) -> Call {
        let now_ns = self.clock.now_ns();
        let is_aborted = self.plan.is_aborted.load(Ordering::Relaxed);
        match &self.desk {
            _ if is_aborted => Call::Done,
            Some(_) if now_ns >= self.window.drain_ns => Call::Done,
            Some(desk) => desk.take(lane, now_ns).await,
            None if now_ns >= self.window.end_ns => Call::Done,
            None => Call::Send { due_ns: now_ns },
        }
    }

    fn is_over(&self) -> bool {
        let limit_ns = if self.desk.is_some() { self.window.drain_ns } else { self.window.end_ns };
        self.clock.now_ns() >= limit_ns || self.plan.is_aborted.load(Ordering::Relaxed)
    }
}

/// Pause between two attempts to connect when the run is not to give up.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Pause before asking a lagging input again.
const INPUT_PAUSE: Duration = Duration::from_millis(1);

/// One connection and the streams it serves in turn.
pub(crate) struct Lane {
    /// Number within the thread.
    local: usize,
    /// Number within the run, written into every record.
    writer: u32,
    streams: Vec<u32>,
    turn: usize,
    next_batch: u32,
    encoder: Encoder,
    connection: Option<Connection>,
    /// True once the current connection has brought an answer.
    has_answered: bool,
}

/// What became of one append.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Acked { start: u64 },
    Refused(String),
    Doubtful(String),
}

/// A request ready to leave.
struct Prepared {
    id: BatchId,
    stream: u32,
    encoded: Encoded,
    /// When the connection was last busy with something that is not the generator's own doing.
    free_ns: u64,
}

impl Lane {
    /// Connects lane `writer`, number `local` of its thread.
    pub(crate) async fn open(plan: &Plan, local: usize, writer: u32) -> Result<Self> {
        let (streams, connections) = (plan.args.streams, plan.args.connections);
        // With fewer connections than streams each serves several, otherwise several share one.
        let served = if connections < streams {
            (writer..streams).step_by(connections as usize).collect()
        } else {
            vec![writer % streams]
        };
        let connection =
            Connection::open_patiently(&plan.addresses, plan.args.target.connect_retry)
                .await
                .context("connecting")?;
        let is_hashing = plan.args.is_tracked();
        let encoder = Encoder::new(Arc::clone(&plan.heads), plan.args.format, is_hashing);
        Ok(Self {
            local,
            writer,
            streams: served,
            turn: 0,
            next_batch: 0,
            encoder,
            connection: Some(connection),
            has_answered: true,
        })
    }

    /// Sends until there is nothing more to send.
    ///
    /// Errors: the server stayed unreachable for longer than allowed, or the input is unusable.
    pub(crate) async fn run(mut self, context: &Context) -> Result<()> {
        loop {
            let Some(mut connection) = self.connect(context).await? else { return Ok(()) };
            let Some(prepared) = self.prepare(context).await? else {
                context.is_input_over.set(true);
                return Ok(());
            };
            let Call::Send { due_ns } = context.next_call(self.local).await else {
                return Ok(());
            };
            let is_measured = context.window.measures(due_ns);
            let sent_ns = context.clock.now_ns();
            {
                let stats = &mut *context.stats.borrow_mut();
                stats.sent += 1;
                if is_measured && context.desk.is_some() {
                    let possible_ns = due_ns.max(prepared.free_ns);
                    stats.lateness.saturating_record(sent_ns.saturating_sub(possible_ns));
                }
            }
            let limit = context.plan.args.target.request_timeout;
            let result = connection.exchange(self.encoder.request(), limit).await;
            let done_ns = context.clock.now_ns();

            let is_timeout = matches!(result, Err(Failure::Timeout));
            let outcome = match result {
                Ok(answer) => {
                    self.has_answered = true;
                    let body = connection.body(&answer);
                    let outcome = judge(answer.status, body, prepared.encoded.count);
                    self.connection = answer.is_reusable.then_some(connection);
                    outcome
                }
                Err(failure @ Failure::NotSent(_)) => Outcome::Refused(failure.to_string()),
                Err(failure) => Outcome::Doubtful(failure.to_string()),
            };
            let stats = &mut *context.stats.borrow_mut();
            if is_measured && (is_timeout || matches!(outcome, Outcome::Acked { .. })) {
                stats.latency.saturating_record(done_ns.saturating_sub(due_ns));
                stats.service.saturating_record(done_ns.saturating_sub(sent_ns));
            }
            note(stats, context, &prepared, outcome, done_ns);
        }
    }

    /// Encodes the next append; `None` when the input has ended for all streams served here.
    async fn prepare(&mut self, context: &Context) -> Result<Option<Prepared>> {
        let plan = &*context.plan;
        let args = &plan.args;
        loop {
            let free_ns = context.clock.now_ns();
            let Some(&stream) = self.streams.get(self.turn) else { return Ok(None) };
            let lines;
            let bodies = match &plan.input {
                None => {
                    let (count, len) = (args.records_per_batch, args.record_bytes);
                    Bodies::Generated { pool: &plan.pool, count, len }
                }
                Some(input) => match input.next(stream, args.records_per_batch)? {
                    Next::Lines(taken) => {
                        lines = taken;
                        Bodies::Given { bodies: &lines, identity_header: args.is_tracked() }
                    }
                    Next::Later if context.is_over() => return Ok(None),
                    Next::Later => {
                        sleep(INPUT_PAUSE).await;
                        continue;
                    }
                    Next::End => {
                        self.streams.remove(self.turn);
                        self.turn = self.turn.min(self.streams.len().saturating_sub(1));
                        continue;
                    }
                },
            };
            let id = BatchId { run: plan.run, writer: self.writer, batch: self.next_batch };
            self.next_batch += 1;
            self.turn = (self.turn + 1) % self.streams.len();
            let encoded = self.encoder.encode(id, stream, &bodies);
            return Ok(Some(Prepared { id, stream, encoded, free_ns }));
        }
    }

    /// The open connection, or a new one; `None` when the run is over first.
    async fn connect(&mut self, context: &Context) -> Result<Option<Connection>> {
        if let Some(connection) = self.connection.take() {
            return Ok(Some(connection));
        }
        let patience = context.plan.args.target.connect_retry;
        let give_up_ns = context.clock.now_ns() + ns(patience);
        let mut pause = if patience.is_zero() { RETRY_PAUSE } else { BACK_OFF_MIN };
        if !std::mem::replace(&mut self.has_answered, false) {
            // Accepted and dropped again without an answer: do not hammer.
            sleep(RETRY_PAUSE).await;
        }
        while !context.is_over() {
            let error = match Connection::open(&context.plan.addresses).await {
                Ok(connection) => return Ok(Some(connection)),
                Err(error) => error,
            };
            context.stats.borrow_mut().error(connect_kind(&error));
            if !patience.is_zero() {
                if context.clock.now_ns() >= give_up_ns {
                    return Err(error).context("the server stayed unreachable");
                }
                pause = (pause * 2).min(BACK_OFF_MAX);
            }
            sleep(pause).await;
        }
        Ok(None)
    }
}

fn connect_kind(error: &io::Error) -> String {
    format!("connect: {}", error.kind())
}

fn note(stats: &mut Stats, context: &Context, prepared: &Prepared, outcome: Outcome, done_ns: u64) {
    let Prepared { id, stream, encoded, .. } = *prepared;
    let mut fact = Fact { id, count: encoded.count, is_acked: false, start: 0, hash: encoded.hash };
    match outcome {
        Outcome::Acked { start } => {
            stats.acked_ever += 1;
            if context.window.measures(done_ns) {
                stats.acked += 1;
                stats.records += u64::from(encoded.count);
                stats.body_bytes += encoded.body_bytes;
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
    if context.plan.args.is_tracked() {
        stats.facts.push((stream, fact));
    }
}

/// What an answer says about an append of `count` records.
fn judge(status: u16, body: &[u8], count: u16) -> Outcome {
    #[derive(Deserialize)]
    struct Position {
        seq_num: u64,
    }
    #[derive(Deserialize)]
    struct Ack {
        start: Position,
        end: Position,
    }
    if status == 200 {
        return match serde_json::from_slice::<Ack>(body) {
            Ok(ack) if ack.start.seq_num.checked_add(u64::from(count)) == Some(ack.end.seq_num) => {
                Outcome::Acked { start: ack.start.seq_num }
            }
            Ok(_) => Outcome::Doubtful("200 with a range that is not the append's".to_owned()),
            Err(_) => Outcome::Doubtful("200 without an acknowledgement".to_owned()),
        };
    }
    let code = error_code(body);
    let is_clean = match status {
        // Source: S2 specification, section 2.2, column "Clean". 502 `hot_server` and 503
        // `server_draining` promise that nothing happened; a bare 502 or 503 does not.
        408 | 499 | 500 | 504 => false,
        502 => code == "hot_server",
        503 => code == "server_draining",
        _ => (400..600).contains(&status),
    };
    let kind = format!("{status} {code}");
    if is_clean { Outcome::Refused(kind) } else { Outcome::Doubtful(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_acknowledgements_refusals_or_leave_doubt() {
        let refused = |kind: &str| Outcome::Refused(kind.to_owned());
        let doubtful = |kind: &str| Outcome::Doubtful(kind.to_owned());
        let ack = r#"{"start":{"seq_num":5,"timestamp":1},"end":{"seq_num":7,"timestamp":1},"tail":{"seq_num":9,"timestamp":2}}"#;
        let code = |code: &str| format!(r#"{{"code":"{code}","message":"m"}}"#);
        for (status, body, outcome) in [
            (200, ack.to_owned(), Outcome::Acked { start: 5 }),
            (200, ack.replace('7', "8"), doubtful("200 with a range that is not the append's")),
            (200, "{}".to_owned(), doubtful("200 without an acknowledgement")),
            (201, ack.to_owned(), doubtful("201 end")),
            (412, r#"{"seq_num_mismatch":3}"#.to_owned(), refused("412 seq_num_mismatch")),
            (422, code("invalid"), refused("422 invalid")),
            (429, code("rate_limited"), refused("429 rate_limited")),
            (404, String::new(), refused("404 without JSON body")),
            (502, code("hot_server"), refused("502 hot_server")),
            (502, "<html>".to_owned(), doubtful("502 without JSON body")),
            (503, code("server_draining"), refused("503 server_draining")),
            (503, code("unavailable"), doubtful("503 unavailable")),
            (500, code("storage"), doubtful("500 storage")),
            (504, code("upstream_timeout"), doubtful("504 upstream_timeout")),
            (408, code("request_timeout"), doubtful("408 request_timeout")),
        ] {
            assert_eq!(judge(status, body.as_bytes(), 2), outcome, "{status} {body}");
        }
    }
}
