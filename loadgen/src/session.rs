//! One append session's life, and that of the sessions that follow when it breaks.
//!
//! * Up to `--depth` batches are in flight; they are acknowledged in the order in which they left.
//! * A batch is never repeated. When a session ends with batches unacknowledged, nobody knows what
//!   became of them; unless a terminal message names an error that leaves nothing behind: then the
//!   first of them was refused and the others, which came after it, were not looked at (S2
//!   specification, section 4.7).
//! * A batch that became due while its session was broken is sent in the next, its clock running.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::clock::ns;
use crate::connection::Failure;
use crate::context::{Context, NotOpened, Plan};
use crate::desk::Call;
use crate::duplex::{self, Duplex, Incoming, Outgoing};
use crate::feed::{Feed, Prepared};
use crate::http2::Hub;
use crate::outcome::{Outcome, decode_ack, judge_error, judge_range};
use crate::s2s::Frame;

/// Longest sleep of a session that waits, so that a batch sent meanwhile is not forgotten.
const NAP: Duration = Duration::from_millis(100);

/// A writer of sessions.
pub(crate) struct Session {
    /// Number within the thread.
    local: usize,
    stream: u32,
    feed: Feed,
    /// The connection that is shared, over HTTP/2.
    hub: Option<Rc<Hub>>,
    open: Option<Duplex>,
    /// True once the current session has brought an acknowledgement.
    has_answered: bool,
    prepared: Option<Prepared>,
    /// When a batch was due that this writer was given but could not send.
    carried_ns: Option<u64>,
    is_done: bool,
}

/// Batches sent and not acknowledged, and how both directions speak to each other.
struct Flight {
    sent: RefCell<VecDeque<Sent>>,
    room: Notify,
    /// When there was room again.
    room_ns: Cell<u64>,
    has_acked: Cell<bool>,
    /// True once the request has ended: nothing more will be sent.
    is_closed: Cell<bool>,
}

struct Sent {
    prepared: Prepared,
    due_ns: u64,
    sent_ns: u64,
}

/// How a session ended.
enum End {
    /// By the end of its answer.
    Closed,
    /// By a terminal message.
    Terminal { status: u16, body: Bytes },
    /// An acknowledgement, or the end, did not come in time.
    Timeout,
    /// By an acknowledgement that was wrong.
    Misled,
    /// By something that must not be.
    Broken(String),
}

impl Session {
    /// Opens the session of writer `writer`, number `local` of its thread.
    pub(crate) async fn open(
        plan: &Plan,
        local: usize,
        writer: u32,
        hub: Option<Rc<Hub>>,
    ) -> Result<Self> {
        let stream = writer % plan.args.streams;
        let open = open(plan, stream, hub.as_deref()).await.context("opening an append session")?;
        Ok(Self {
            local,
            stream,
            feed: Feed::new(plan, writer),
            hub,
            open: Some(open),
            has_answered: true,
            prepared: None,
            carried_ns: None,
            is_done: false,
        })
    }

    /// Sends until there is nothing more to send, and waits for what is in flight.
    ///
    /// Errors: the server stayed unreachable for longer than allowed, or the input is unusable.
    pub(crate) async fn run(mut self, context: &Context) -> Result<()> {
        while !self.is_done {
            let Some((mut outgoing, mut incoming)) = self.connect(context).await? else { break };
            let flight = Flight {
                sent: RefCell::new(VecDeque::new()),
                room: Notify::new(),
                room_ns: Cell::new(context.clock.now_ns()),
                has_acked: Cell::new(false),
                is_closed: Cell::new(false),
            };
            let end = {
                let mut receive = pin!(receive(&mut incoming, &flight, context));
                let send = self.send(&mut outgoing, &flight, context);
                tokio::select! {
                    biased;
                    end = &mut receive => end,
                    sent = send => match sent {
                        Ok(()) => receive.await,
                        Err(error) => return Err(error),
                    },
                }
            };
            self.carried_ns = self.carried_ns.take().or_else(|| context.withdraw(self.local));
            self.settle(&end, &flight, context);
        }
        if let Some(due_ns) = self.carried_ns {
            context.unsent(due_ns, context.clock.now_ns());
        }
        Ok(())
    }

    /// Sends batches until there are none or the connection takes none; in the latter case the
    /// other direction tells why.
    async fn send(
        &mut self,
        outgoing: &mut Outgoing,
        flight: &Flight,
        context: &Context,
    ) -> Result<()> {
        let depth = context.plan.args.depth as usize;
        loop {
            if self.prepared.is_none() {
                self.prepared = self.feed.prepare(context).await?;
            }
            if self.prepared.is_none() {
                context.is_input_over.set(true);
                break;
            }
            while flight.sent.borrow().len() >= depth {
                flight.room.notified().await;
            }
            let due_ns = match self.carried_ns.take() {
                Some(due_ns) => due_ns,
                None => match context.next_call(self.local).await {
                    Call::Send { due_ns } => due_ns,
                    Call::Done => break,
                },
            };
            let mut prepared = self.prepared.take().expect("made above");
            self.feed.encoder.stamp(due_ns, &mut prepared.encoded);
            let sent_ns = context.clock.now_ns();
            context.sent(due_ns, prepared.free_ns.max(flight.room_ns.get()), sent_ns);
            flight.sent.borrow_mut().push_back(Sent { prepared, due_ns, sent_ns });
            if outgoing.send(&mut self.feed.encoder).await.is_err() {
                return Ok(());
            }
        }
        self.is_done = true;
        flight.is_closed.set(true);
        // A failure here shows on the way back.
        let _ = outgoing.finish().await;
        Ok(())
    }

    /// Notes what became of the batches that a session left behind.
    fn settle(&mut self, end: &End, flight: &Flight, context: &Context) {
        let now_ns = context.clock.now_ns();
        self.has_answered = flight.has_acked.get();
        let left = flight.sent.take();
        if left.is_empty() {
            let kind = match end {
                End::Closed if flight.is_closed.get() => return,
                // Charged to its own batch.
                End::Misled => return,
                End::Closed => "session ended by the server".to_owned(),
                End::Terminal { status, body } => kind_of(&judge_error(*status, body, "terminal ")),
                End::Timeout => "session without an end in time".to_owned(),
                End::Broken(what) => what.clone(),
            };
            context.stats.borrow_mut().error(kind);
            return;
        }
        for (index, sent) in left.iter().enumerate() {
            let outcome = match end {
                End::Closed => {
                    Outcome::Doubtful("session ended without acknowledgement".to_owned())
                }
                End::Timeout => {
                    context.latency(sent.due_ns, sent.sent_ns, now_ns);
                    Outcome::Doubtful("timeout".to_owned())
                }
                End::Misled => Outcome::Doubtful("behind a wrong acknowledgement".to_owned()),
                End::Broken(what) => Outcome::Doubtful(what.clone()),
                End::Terminal { status, body } => {
                    let outcome = judge_error(*status, body, "terminal ");
                    if index == 0 { outcome } else { behind(&outcome) }
                }
            };
            context.note(&sent.prepared, outcome, now_ns);
        }
    }

    /// The open session, or a new one; `None` when the run is over first.
    async fn connect(&mut self, context: &Context) -> Result<Option<Duplex>> {
        if let Some(open) = self.open.take() {
            return Ok(Some(open));
        }
        let (plan, stream, hub) = (&context.plan, self.stream, self.hub.as_deref());
        let open = async || open(plan, stream, hub).await;
        context.reopen(&mut self.has_answered, || context.is_over(), open).await
    }
}

/// Opens an append session to `stream`.
async fn open(plan: &Plan, stream: u32, hub: Option<&Hub>) -> Result<Duplex, NotOpened> {
    let limit = plan.args.target.request_timeout;
    match hub {
        None => {
            let head = plan.routes.append_session_head(stream);
            duplex::open_one(&plan.place, &head, limit).await
        }
        Some(hub) => {
            let live = hub.get(&plan.place).await?;
            duplex::open_two(&live, plan.routes.append(stream), false, limit).await
        }
    }
}

fn kind_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(kind) | Outcome::Doubtful(kind) => kind.clone(),
        Outcome::Acked { .. } => unreachable!("an error acknowledges nothing"),
    }
}

/// What a terminal message says about the batches behind the one it is about.
fn behind(outcome: &Outcome) -> Outcome {
    let kind = "behind a terminal message".to_owned();
    match outcome {
        Outcome::Refused(_) => Outcome::Refused(kind),
        _ => Outcome::Doubtful(kind),
    }
}

/// Takes acknowledgements until the session ends.
async fn receive(incoming: &mut Incoming, flight: &Flight, context: &Context) -> End {
    let limit = context.plan.args.target.request_timeout;
    let mut nap = pin!(sleep(NAP));
    let mut closed_ns = None;
    loop {
        tokio::select! {
            biased;
            more = incoming.receive() => {
                let now_ns = context.clock.now_ns();
                if let Some(end) = take_frames(incoming, flight, context, now_ns) {
                    return end;
                }
                match more {
                    Ok(true) => {}
                    Ok(false) if incoming.has_rest() => {
                        return End::Broken("answer ends within a frame".to_owned());
                    }
                    Ok(false) => return End::Closed,
                    Err(failure) => return End::of(&failure),
                }
            }
            () = &mut nap => {
                let now_ns = context.clock.now_ns();
                if flight.is_closed.get() {
                    closed_ns.get_or_insert(now_ns);
                }
                let oldest_ns = flight.sent.borrow().front().map(|sent| sent.sent_ns);
                let waiting_ns = oldest_ns.or(closed_ns).map_or(0, |since_ns| now_ns - since_ns);
                if waiting_ns >= ns(limit) {
                    return End::Timeout;
                }
                let left = Duration::from_nanos(ns(limit) - waiting_ns);
                nap.as_mut().reset(Instant::now() + left.min(NAP));
            }
        }
    }
}

/// Takes the frames received; tells when one of them ends the session.
fn take_frames(
    incoming: &mut Incoming,
    flight: &Flight,
    context: &Context,
    now_ns: u64,
) -> Option<End> {
    loop {
        match incoming.next() {
            Ok(None) => return None,
            Ok(Some(Frame::Message(message))) => {
                if let Err(end) = flight.acknowledge(&message, context, now_ns) {
                    return Some(end);
                }
            }
            Ok(Some(Frame::Terminal { status, body })) => {
                return Some(End::Terminal { status, body });
            }
            Err(what) => return Some(End::Broken(format!("bad S2S: {what}"))),
        }
    }
}

impl End {
    fn of(failure: &Failure) -> Self {
        Self::Broken(failure.to_string())
    }
}

impl Flight {
    /// Notes the acknowledgement of the oldest batch.
    ///
    /// Errors: it cannot be one, so that nothing that follows it can be trusted.
    fn acknowledge(&self, message: &[u8], context: &Context, now_ns: u64) -> Result<(), End> {
        let broken = |what: &str| End::Broken(what.to_owned());
        let (range, receipt) =
            decode_ack(message).ok_or_else(|| broken("message without an acknowledgement"))?;
        let sent = self.sent.borrow_mut().pop_front();
        let sent = sent.ok_or_else(|| broken("acknowledgement of nothing"))?;
        self.room_ns.set(now_ns);
        self.room.notify_one();
        let outcome = judge_range(&range, sent.prepared.encoded.count);
        let is_acked = matches!(outcome, Outcome::Acked { .. });
        if is_acked {
            self.has_acked.set(true);
            context.latency(sent.due_ns, sent.sent_ns, now_ns);
            context.receipt(sent.due_ns, receipt);
        }
        context.note(&sent.prepared, outcome, now_ns);
        if is_acked { Ok(()) } else { Err(End::Misled) }
    }
}
