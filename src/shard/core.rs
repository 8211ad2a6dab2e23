//! One core: the shards it runs, its links to the other cores, and the way to a shard.
//!
//! A call for a shard of this core is a function call. A call for another core's shard crosses
//! once, as a message with everything it needs, and its answer crosses back once. Who receives
//! messages never waits for room to send, so two cores cannot wait for each other.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use futures_util::future::{self, AbortHandle};
use glommio::channels::shared_channel::{ConnectedReceiver, ConnectedSender};

use super::call::{Answer, Call, CallResult, StreamPath, shard_of};
use super::connection::{self, ConnectionSettings, Handshakes, HeldMemory, MovingOf};
use super::crowd::Crowd;
use super::drain::{Drain, Stage};
use super::engine::Engine;
use super::gate::Gate;
use super::lifeline::{Lifelines, Looks};
use super::pace::Pace;
use super::session::{Pipe, RemoteSessions, Told};
use super::turns::Turns;
use crate::audit::Refusals;
use crate::codec::json::AppendDecoder;
use crate::http1::Conn;
use crate::io::notify::Notify;
use crate::io::permits::Permits;
use crate::io::{Io, Load};
use crate::metrics::{ExecutorMetrics, ExecutorSnapshot, Exporter};
use crate::types::{BasinName, Refusal, TokenId};

/// Coded bodies that a core decodes at a time.
const DECODED_AT_ONCE: usize = 4;

/// What goes from core to core; `M` is a connection on its way.
#[derive(Debug)]
pub(super) enum Message<M> {
    /// Do this on a shard of yours, and answer under this number.
    Call(u64, u16, Call),
    /// The answer to the call with this number.
    Answer(u64, CallResult),
    /// Nobody waits for the answer to this call any more.
    Forget(u64),
    /// To core 0, at start: my shards are open.
    Opened,
    /// Serve this connection from now on: it appends to a stream of yours.
    Adopt(M, Box<Conn>),
    /// About the session with this number between the two: one of yours on my shards, or one of
    /// mine on yours, as [`Told`] says.
    ToSession(u64, Told),
    /// From core 0, at start: everything is open and copied; listen here.
    Listen(SocketAddr),
}

/// Links to the other cores, by core; `None` in one's own place.
pub(super) type Links<I> = Vec<Option<ConnectedSender<Message<MovingOf<I>>>>>;

#[derive(Debug, Default)]
struct Pending {
    waker: Option<Waker>,
    result: Option<CallResult>,
}

/// How many connections each core has: a hint, nothing waits for it.
struct Loads {
    index: usize,
    connections: Arc<[AtomicUsize]>,
}

/// One core.
pub(super) struct Core<I: Io> {
    /// How many shards the data directory has.
    pub shards: u16,
    /// Its own shards.
    pub engines: BTreeMap<u16, Rc<Engine<I>>>,
    /// Its connections.
    pub lifelines: Rc<Lifelines>,
    /// Requests of its HTTP/2 connections.
    pub(super) streams: Rc<Lifelines>,
    /// When it looked for those whose time is up.
    looks: Looks,
    /// Who its clients are.
    pub(super) gate: Gate,
    /// Settings of its connections.
    pub(super) connection: Rc<ConnectionSettings>,
    /// Whether the server is shutting down.
    pub drain: Drain,
    /// Numbers of this core that belong to no shard.
    pub metrics: ExecutorMetrics,
    /// Refusals of access that the audit log is told of.
    pub(super) refusals: Refusals,
    /// The `date` header's value, for every answer of this second.
    pub date: RefCell<String>,
    /// Decodes appends; what it allocated once serves every connection.
    pub(super) decoder: RefCell<AppendDecoder>,
    /// Requests of its connections.
    pub(super) held: Rc<HeldMemory>,
    /// Answers to its connections.
    pub(super) answers: Rc<HeldMemory>,
    /// How fast its connections are sent old data.
    pub(super) pace: Pace,
    /// Large appends that wait to be received.
    pub(super) crowd: Crowd,
    /// What its HTTP/2 connections may be sent before they are looked at.
    pub(super) windows: Rc<HeldMemory>,
    /// Open HTTP/2 requests of connections that have many.
    pub(super) requests: Rc<HeldMemory>,
    /// Handshakes of its connections.
    pub(super) handshakes: Handshakes,
    /// Coded bodies that are decoded at a time: each may become as long as a body may be.
    pub(super) decoding: Rc<Permits>,
    /// Sessions of its connections that other cores serve.
    pub(super) remote_sessions: RemoteSessions,
    /// Sessions of other cores' connections that it serves, by core and number.
    pub(super) served_sessions: RefCell<BTreeMap<(usize, u64), Rc<Pipe>>>,
    /// Changes of one basin take turns (used on the core of shard 0).
    pub(super) basin_turns: Turns<BasinName>,
    /// The same for access tokens.
    pub(super) token_turns: Turns<TokenId>,
    queue: I::Queue,
    readers: I::Queue,
    links: Links<I>,
    loads: Loads,
    pending: RefCell<BTreeMap<u64, Pending>>,
    /// Calls of other cores that may wait for long, by core and number.
    waiting_calls: RefCell<BTreeMap<(usize, u64), AbortHandle>>,
    next_call: Cell<u64>,
    opened: Cell<usize>,
    listen: Cell<Option<SocketAddr>>,
    progress: Notify,
}

impl<I: Io> Core<I> {
    /// A core with its shards opened and its links connected; `queue` runs requests.
    pub(super) fn new(
        shards: u16,
        engines: BTreeMap<u16, Rc<Engine<I>>>,
        links: Links<I>,
        (queue, readers): (I::Queue, I::Queue),
        connection: ConnectionSettings,
        (index, loads): (usize, Arc<[AtomicUsize]>),
    ) -> Self {
        let memory_bytes = connection.request_memory_bytes;
        Self {
            shards,
            gate: Gate::new(connection.auth.clone()),
            connection: Rc::new(connection),
            engines,
            lifelines: Rc::default(),
            streams: Rc::default(),
            looks: Looks::default(),
            drain: Drain::default(),
            metrics: ExecutorMetrics::default(),
            refusals: Refusals::default(),
            date: RefCell::default(),
            decoder: RefCell::new(AppendDecoder::new()),
            held: HeldMemory::new(memory_bytes),
            answers: HeldMemory::new(memory_bytes),
            pace: Pace::default(),
            crowd: Crowd::default(),
            windows: HeldMemory::new(memory_bytes / 2),
            requests: HeldMemory::new(memory_bytes / 2),
            handshakes: Handshakes::default(),
            decoding: Permits::new(DECODED_AT_ONCE),
            remote_sessions: RemoteSessions::default(),
            served_sessions: RefCell::default(),
            basin_turns: Turns::default(),
            token_turns: Turns::default(),
            queue,
            readers,
            links,
            loads: Loads { index, connections: loads },
            pending: RefCell::default(),
            waiting_calls: RefCell::default(),
            next_call: Cell::default(),
            opened: Cell::default(),
            listen: Cell::default(),
            progress: Notify::default(),
        }
    }

    /// Tells the other cores how many connections this one has.
    pub(super) fn publish_load(&self) {
        let count = self.lifelines.count();
        self.loads.connections[self.loads.index].store(count, Ordering::Relaxed);
    }

    /// Whether a connection that moves to `core` leaves the connections spread over the cores.
    pub(super) fn may_move_to(&self, core: usize) -> bool {
        let there = self.loads.connections[core].load(Ordering::Relaxed);
        there < self.lifelines.count()
    }

    /// The core of a stream's shard, when it is another one.
    pub(super) fn foreign_owner(&self, path: &StreamPath) -> Option<usize> {
        let shard = self.shard_of(path);
        (!self.engines.contains_key(&shard)).then(|| self.core_of(shard))
    }

    /// The shard of a stream.
    pub(super) fn shard_of(&self, path: &StreamPath) -> u16 {
        shard_of(&path.basin, &path.stream, self.shards)
    }

    /// A shard, when it is on this core.
    pub(super) fn engine(&self, shard: u16) -> Option<&Rc<Engine<I>>> {
        self.engines.get(&shard)
    }

    /// Ends connections and requests whose time is up, and tokens.
    pub(super) fn sweep(&self) {
        let now_us = self.now_us();
        self.gate.tokens.expire(self.clock().wall_us());
        if self.looks.is_fair(now_us) {
            self.lifelines.sweep(now_us);
            self.streams.sweep(now_us);
        }
        self.refusals.sweep(now_us);
    }

    /// Tells everything on this core how far the shutdown is.
    pub(super) fn enter(&self, stage: Stage) {
        self.drain.enter(stage);
        self.engines.values().for_each(|engine| engine.drain.enter(stage));
    }

    /// How many cores there are; no more than shards.
    pub(super) fn cores(&self) -> u16 {
        u16::try_from(self.links.len()).expect("no more cores than shards")
    }

    pub(super) fn core_of(&self, shard: u16) -> usize {
        usize::from(shard) % self.links.len()
    }

    /// Has a shard do something, wherever it is.
    ///
    /// * Errors: the shard's [`Refusal`], or [`Refusal::Other`] when its core is gone.
    /// * Cancel: the shard may do it all the same.
    pub(super) async fn call(self: &Rc<Self>, shard: u16, call: Call) -> CallResult {
        if let Some(engine) = self.engines.get(&shard) {
            return self.handle(engine, call).await;
        }
        self.metrics.forwarded();
        let number = self.next_call.get();
        self.next_call.set(number + 1);
        let waits = call.may_wait_long().then(|| self.core_of(shard));
        let mut answer = AnswerSlot::new(self, number, waits);
        let sent = self.send(self.core_of(shard), Message::Call(number, shard, call)).await;
        if sent.is_err() {
            return Err(Refusal::Other("the core of this shard is gone".to_owned()));
        }
        answer.wait().await
    }

    /// Has a shard of this core do something.
    async fn handle(self: &Rc<Self>, engine: &Rc<Engine<I>>, call: Call) -> CallResult {
        if let Some(name) = call.changes_basin().cloned() {
            let (core, engine) = (Rc::clone(self), Rc::clone(engine));
            let change = async move { core.change_basin(&engine, &name, call).await };
            return self.run_to_end(Box::pin(change)).await;
        }
        if let Some(id) = call.changes_token().cloned() {
            let (core, engine) = (Rc::clone(self), Rc::clone(engine));
            let change = async move { core.change_token(&engine, &id, call).await };
            return self.run_to_end(Box::pin(change)).await;
        }
        match call {
            Call::CoreMetrics => Ok(Answer::CoreMetrics(self.snapshot())),
            Call::CopyTokens(records) => Ok(self.take_tokens(records)),
            Call::DropTokenCopy(id) => Ok(self.drop_token(&id)),
            call => engine.handle(call).await,
        }
    }

    /// Has every shard do the same, and collects the answers in shard order.
    pub(super) async fn call_all(
        self: &Rc<Self>,
        call: impl Fn() -> Call,
    ) -> Result<Vec<Answer>, Refusal> {
        let calls = (0..self.shards).map(|shard| self.call(shard, call()));
        futures_util::future::try_join_all(calls).await
    }

    /// Numbers of this core that belong to no shard.
    fn snapshot(&self) -> ExecutorSnapshot {
        let Load { busy_us, tasks } = self.clock().take_load();
        self.metrics.ran(busy_us, tasks);
        self.metrics.snapshot()
    }

    /// The same of every core.
    pub(super) async fn executors(
        self: &Rc<Self>,
    ) -> Result<Vec<(u16, ExecutorSnapshot)>, Refusal> {
        // The first shards are spread over all cores, one each.
        let mut executors = Vec::new();
        for core in 0..self.cores() {
            if let Answer::CoreMetrics(snapshot) = self.call(core, Call::CoreMetrics).await? {
                executors.push((core, snapshot));
            }
        }
        Ok(executors)
    }

    /// All numbers of the server as Prometheus text.
    pub(super) async fn render_metrics(self: &Rc<Self>) -> Result<Vec<u8>, Refusal> {
        let mut shards = Vec::new();
        for shard in 0..self.shards {
            if let Answer::Metrics(snapshot) = self.call(shard, Call::Metrics).await? {
                shards.push((shard, *snapshot));
            }
        }
        let executors = self.executors().await?;
        let exporter = Exporter::new(env!("CARGO_PKG_VERSION"));
        Ok(exporter.with_exposed(self.connection.exposed).render(&shards, &executors))
    }

    /// Starts a task that nobody waits for, among the requests.
    pub(super) fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static) {
        self.clock().spawn(task, self.queue);
    }

    /// The queue that requests run in.
    #[must_use]
    pub(super) fn queue(&self) -> I::Queue {
        self.queue
    }

    /// The queue that read sessions spell in: as many as there are, together they have no larger
    /// part of the core than all requests have.
    #[must_use]
    pub(super) fn readers_queue(&self) -> I::Queue {
        self.readers
    }

    /// The core's clock.
    #[must_use]
    pub(super) fn clock(&self) -> Rc<I> {
        let (_, engine) = self.engines.first_key_value().expect("a core has a shard");
        Rc::clone(&engine.io)
    }

    /// Microseconds on the core's monotonic clock.
    #[must_use]
    pub(super) fn now_us(&self) -> u64 {
        self.clock().now_us()
    }

    /// Sets the `date` header's value to now.
    pub(super) fn tick(&self) {
        let now_us = i64::try_from(self.clock().wall_us()).unwrap_or(i64::MAX);
        let now = jiff::Timestamp::from_microsecond(now_us).unwrap_or_default();
        let text = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        *self.date.borrow_mut() = text;
    }

    /// Sends a message to another core, waiting for room.
    pub(super) async fn send(&self, core: usize, message: Message<MovingOf<I>>) -> Result<(), ()> {
        let Some(Some(link)) = self.links.get(core) else { return Err(()) };
        link.send(message).await.map_err(|_| ())
    }

    /// Serves one inbound link until its core closes it.
    pub(super) async fn receive(
        self: Rc<Self>,
        link: ConnectedReceiver<Message<MovingOf<I>>>,
        from: usize,
    ) {
        while let Some(message) = link.recv().await {
            match message {
                Message::Call(number, shard, call) => self.serve(from, number, shard, call),
                Message::Answer(number, result) => self.answered(number, result),
                Message::Forget(number) => {
                    // It may have been answered meanwhile.
                    if let Some(call) = self.waiting_calls.borrow_mut().remove(&(from, number)) {
                        call.abort();
                    }
                }
                Message::ToSession(number, told) => self.told_session(from, number, told),
                Message::Adopt(socket, conn) => self.adopt(socket, *conn),
                Message::Opened => {
                    self.opened.set(self.opened.get() + 1);
                    self.progress.notify();
                }
                Message::Listen(address) => {
                    self.listen.set(Some(address));
                    self.progress.notify();
                }
            }
        }
    }

    /// Goes on with a connection that another core accepted.
    fn adopt(self: &Rc<Self>, socket: MovingOf<I>, conn: Conn) {
        self.metrics.connection_moved_in();
        self.spawn(connection::adopt(Rc::clone(self), socket, conn));
    }

    /// Serves a call of another core. Its task outlives nobody's patience: the caller bounds how
    /// many calls it has under way by its connections.
    fn serve(self: &Rc<Self>, from: usize, number: u64, shard: u16, call: Call) {
        let core = Rc::clone(self);
        let waits = call.may_wait_long();
        let (task, handle) = future::abortable(async move {
            let result = match core.engines.get(&shard) {
                Some(engine) => core.handle(engine, call).await,
                None => Err(Refusal::Other("the shard is not here".to_owned())),
            };
            if waits {
                core.waiting_calls.borrow_mut().remove(&(from, number));
            }
            // When the other core is gone, so is whoever waited.
            let _gone = core.send(from, Message::Answer(number, result)).await;
        });
        if waits {
            self.waiting_calls.borrow_mut().insert((from, number), handle);
        }
        self.spawn(task);
    }

    fn answered(&self, number: u64, result: CallResult) {
        let mut pending = self.pending.borrow_mut();
        // Who asked may have gone away meanwhile.
        let Some(slot) = pending.get_mut(&number) else { return };
        slot.result = Some(result);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }

    /// Waits until `count` other cores have opened their shards.
    pub(super) async fn wait_opened(&self, count: usize) {
        while self.opened.get() < count {
            self.progress.notified().await;
        }
    }

    /// Waits for core 0's word to listen.
    pub(super) async fn wait_listen(&self) -> SocketAddr {
        loop {
            if let Some(address) = self.listen.get() {
                return address;
            }
            self.progress.notified().await;
        }
    }
}

/// The place where the answer to one call arrives; gone when its caller is.
struct AnswerSlot<'a, I: Io> {
    core: &'a Rc<Core<I>>,
    number: u64,
    /// Who is to be told when nobody waits any more.
    tell: Option<usize>,
}

impl<'a, I: Io> AnswerSlot<'a, I> {
    fn new(core: &'a Rc<Core<I>>, number: u64, tell: Option<usize>) -> Self {
        core.pending.borrow_mut().insert(number, Pending::default());
        Self { core, number, tell }
    }

    async fn wait(&mut self) -> CallResult {
        std::future::poll_fn(|cx| {
            let mut pending = self.core.pending.borrow_mut();
            let slot = pending.get_mut(&self.number).expect("removed only by drop");
            if let Some(result) = slot.result.take() {
                self.tell = None;
                return Poll::Ready(result);
            }
            slot.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl<I: Io> Drop for AnswerSlot<'_, I> {
    fn drop(&mut self) {
        self.core.pending.borrow_mut().remove(&self.number);
        if let Some(to) = self.tell {
            let (core, number) = (Rc::clone(self.core), self.number);
            // When that core is gone, so is the call.
            let told = async move { core.send(to, Message::Forget(number)).await };
            self.core.spawn(told);
        }
    }
}
