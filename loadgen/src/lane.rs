//! One unary writer's life: take a due append, send it, judge the answer, note what happened.
//!
//! * One append in flight; the next request is encoded before the wait for its due time.
//! * An append is never repeated: each due time is one attempt, whatever becomes of it.
//! * Latency runs from the due time to the last byte of the answer. Acknowledged appends are
//!   recorded, and timeouts with the time they took so far; other errors are counted apart.
//! * Over HTTP/1.1 a writer has a connection of its own, over HTTP/2 it shares one.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cli::Protocol;
use crate::connection::{Answer, Connection, Failure};
use crate::context::{Context, NotOpened, Plan};
use crate::desk::Call;
use crate::feed::{Feed, Prepared};
use crate::http2::{Hub, Slot};
use crate::outcome::{Outcome, judge};
use crate::peers::resp;

/// One writer and what it writes on.
pub(crate) struct Lane {
    /// Number within the thread.
    local: usize,
    feed: Feed,
    /// The connection that is shared, over HTTP/2.
    hub: Option<Rc<Hub>>,
    line: Option<Line>,
    /// True once the current connection has brought an answer.
    has_answered: bool,
}

/// What carries one exchange at a time.
enum Line {
    One(Connection),
    Two(Slot),
}

impl Line {
    /// Sends the append prepared in `feed` and waits for the answer.
    async fn exchange(
        &mut self,
        plan: &Plan,
        feed: &mut Feed,
        prepared: &Prepared,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        match self {
            Self::One(connection) if plan.args.protocol == Protocol::Redis => {
                let parse = |bytes: &mut Vec<u8>| resp::answer(bytes, prepared.encoded.count);
                connection.exchange_by(feed.encoder.request(), limit, parse).await
            }
            Self::One(connection) => connection.exchange(feed.encoder.request(), limit).await,
            Self::Two(slot) => {
                let body = feed.encoder.take_request();
                let request = plan.routes.unary_append(prepared.stream, body.len());
                slot.exchange(request, body, limit).await
            }
        }
    }

    fn body(&self, answer: &Answer) -> &[u8] {
        match self {
            Self::One(connection) => connection.body(answer),
            Self::Two(slot) => slot.body(),
        }
    }

    /// True when the next exchange may use it too, after one that failed so.
    fn outlives(&self, failure: &Failure) -> bool {
        // A stream is given up alone; the connection serves others.
        matches!(self, Self::Two(_)) && matches!(failure, Failure::Timeout)
    }
}

impl Lane {
    /// Connects writer `writer`, number `local` of its thread.
    pub(crate) async fn open(
        plan: &Plan,
        local: usize,
        writer: u32,
        hub: Option<Rc<Hub>>,
    ) -> Result<Self> {
        let place = &plan.place;
        let line = match &hub {
            None => {
                let patience = plan.args.target.connect_retry;
                Line::One(Connection::open_patiently(place, patience).await.context("connecting")?)
            }
            Some(hub) => Line::Two(Slot::new(hub.get(place).await.context("connecting")?)),
        };
        let (feed, line) = (Feed::new(plan, writer), Some(line));
        Ok(Self { local, feed, hub, line, has_answered: true })
    }

    /// Sends until there is nothing more to send.
    ///
    /// Errors: the server stayed unreachable for longer than allowed, or the input is unusable.
    pub(crate) async fn run(mut self, context: &Context) -> Result<()> {
        let plan = &*context.plan;
        loop {
            let Some(line) = self.connect(context).await? else { return Ok(()) };
            let Some(mut prepared) = self.feed.prepare(context).await? else {
                context.is_input_over.set(true);
                return Ok(());
            };
            let Call::Send { due_ns } = context.next_call(self.local).await else {
                return Ok(());
            };
            self.feed.encoder.stamp(due_ns, &mut prepared.encoded);
            let sent_ns = context.clock.now_ns();
            context.sent(due_ns, prepared.free_ns, sent_ns);
            self.send(plan, context, line, prepared, due_ns, sent_ns).await;
        }
    }

    async fn send(
        &mut self,
        plan: &Plan,
        context: &Context,
        mut line: Line,
        prepared: Prepared,
        due_ns: u64,
        sent_ns: u64,
    ) {
        let limit = plan.args.target.request_timeout;
        let result = line.exchange(plan, &mut self.feed, &prepared, limit).await;
        let done_ns = context.clock.now_ns();
        let is_timeout = matches!(result, Err(Failure::Timeout));
        let receipt = result.as_ref().ok().and_then(|answer| answer.receipt);
        let outcome = match result {
            Ok(answer) => {
                self.has_answered = true;
                let body = line.body(&answer);
                let count = prepared.encoded.count;
                let outcome = judge(plan.args.protocol, answer.status, body, count);
                self.line = answer.is_reusable.then_some(line);
                outcome
            }
            Err(failure) => {
                let kind = failure.to_string();
                self.line = line.outlives(&failure).then_some(line);
                if failure.is_clean() { Outcome::Refused(kind) } else { Outcome::Doubtful(kind) }
            }
        };
        if is_timeout || matches!(outcome, Outcome::Acked { .. }) {
            context.latency(due_ns, sent_ns, done_ns);
        }
        if matches!(outcome, Outcome::Acked { .. }) {
            context.receipt(due_ns, receipt);
        }
        context.note(&prepared, outcome, done_ns);
    }

    /// What carries the next append, opened again if need be; `None` when the run is over first.
    async fn connect(&mut self, context: &Context) -> Result<Option<Line>> {
        if let Some(line) = self.line.take() {
            return Ok(Some(line));
        }
        let (place, hub) = (&context.plan.place, self.hub.as_deref());
        let open = async || -> Result<Line, NotOpened> {
            Ok(match hub {
                None => Line::One(Connection::open(place).await?),
                Some(hub) => Line::Two(Slot::new(hub.get(place).await?)),
            })
        };
        context.reopen(&mut self.has_answered, || context.is_over(), open).await
    }
}
