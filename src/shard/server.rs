//! Starts the cores, opens the shards, serves, and shuts down in order.
//!
//! ```text
//!  main            core 0                      core k
//!  door: 503
//!  spawn ------->  open shards                 open shards
//!                                  <- Opened - link
//!                  copy basins
//!                  and tokens   ------------>  take copies
//!                  make what is to be there
//!                  take the port,
//!                  accept          - Listen -> accept
//!       <-------- Listening        <---------- Listening      "listening on http://…"
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::future;
use glommio::channels::shared_channel::{
    self, ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender,
};
use glommio::net::TcpListener;
use glommio::{
    ExecutorJoinHandle, GlommioError, Latency, LocalExecutorBuilder, Placement, Shares,
    TaskQueueHandle,
};

use super::aside::in_queue;
pub use super::connection::ConnectionSettings;
use super::connection::{MovingPeer, serve};
use super::core::Core;
use super::door::{Door, Progress};
use super::drain::Stage;
use super::engine::{Engine, EngineConfig};
pub use super::gate::AuthSettings;
use super::scrape;
use super::silence::{Silence, pulse};
use crate::bucket::link::Link;
use crate::io::glommio::GlommioIo;
use crate::io::memory::RING_MEMORY_BYTES;
use crate::io::socket::{MovingSocket, VectoredSocket, adopt_listener, keep_alive, receives};
use crate::io::{Clock, Io, Tasks};
use crate::resources::Resources;
use crate::tls::Acceptor;
use crate::types::refusal::chain;

/// What goes between our cores.
type Message = super::core::Message<MovingPeer<MovingSocket>>;

/// Messages that may wait on one link between two cores.
const LINK_MESSAGES_MAX: usize = 1024;
/// How long another server on our port may take to accept the connection that looks for it.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// How often another server is looked for: the kernel closes the listeners of a process that was
/// killed only some milliseconds after its end, when it has taken down its rings.
const PROBES: u32 = 100;
/// Pause between two looks.
const PROBE_PAUSE: Duration = Duration::from_millis(20);
/// How often deadlines and the shutdown flag are looked at.
pub(super) const SWEEP_US: u64 = 50_000;
/// How often the first core looks whether the door gave its listener.
const DOOR_US: u64 = 1_000;
/// How long all listeners may take to close.
const DEAF_US_MAX: u64 = 1_000_000;
/// How long an executor runs tasks at most before it looks at its rings, though there are more to
/// run: connections that always have something to receive do so without a ring. No shorter than
/// the kernel's own tick, since setting timers would take longer then.
const LOOKS_EVERY: Duration = Duration::from_millis(5);

/// Everything the cores need to know.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where metrics are served, if not there; port 0 takes a free one.
    pub metrics_listen: Option<SocketAddr>,
    /// Processors to pin an executor to, one each.
    pub cpus: Vec<usize>,
    /// How many shards the data directory has.
    pub shards: u16,
    /// Directory of each shard.
    pub shard_paths: Vec<PathBuf>,
    /// Settings of each shard.
    pub engine: EngineConfig,
    /// Settings of each connection.
    pub connection: ConnectionSettings,
    /// Most connections of the whole server.
    pub connections_max: usize,
    /// How long an executor looks for work before it sleeps.
    pub spin: Duration,
    /// How long requests under way may take once the server drains, in microseconds.
    pub drain_us: u64,
    /// For each shard, how it tells how far its log is to who ships it; none without a bucket.
    pub links: Vec<Arc<Link>>,
    /// What is to be there before anything is served.
    pub resources: Arc<Resources>,
}

impl ServerSettings {
    /// How long sessions may go on once the server drains, for their clients to leave by
    /// themselves, in microseconds.
    fn sessions_us(&self) -> u64 {
        self.drain_us / 5 * 2
    }
}

/// How far the opening of the shards is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Shards that are open,
    pub shards_open: usize,
    /// of so many.
    pub shards: usize,
    /// Bytes of their logs that were read,
    pub read_bytes: u64,
    /// of those that will be, as far as that is known.
    pub total_bytes: u64,
}

/// What a core reports to whoever started it.
#[derive(Debug)]
pub enum Report {
    /// It accepts connections here.
    Listening(SocketAddr),
    /// It cannot go on.
    Failed(String),
    /// It has shut down in order.
    Stopped,
    /// Its thread ended without another word: [`Server::why_gone`] knows why.
    Gone(usize),
}

/// A running server.
pub struct Server {
    /// What the cores report.
    pub reports: mpsc::Receiver<Report>,
    /// Where metrics are served, if not with everything else.
    pub metrics_address: Option<SocketAddr>,
    drain: Arc<AtomicBool>,
    pulses: Vec<Arc<OnceLock<Waker>>>,
    threads: Vec<ExecutorJoinHandle<()>>,
    progress: Arc<[Arc<Progress>]>,
    beats: Arc<[AtomicU64]>,
    quiet: Arc<[AtomicBool]>,
}

impl Server {
    /// Takes the port, where every request is answered 503 until all shards are open, and starts
    /// the cores.
    ///
    /// * Errors: the port cannot be had; an executor cannot be made (io_uring forbidden, too little
    ///   locked memory …).
    pub fn start(settings: &ServerSettings) -> Result<Self, String> {
        let progress: Arc<[_]> = (0..settings.shards).map(|_| Arc::default()).collect();
        let (mut scrapes, metrics_address) =
            settings.metrics_listen.map(scrape::bind).transpose()?.unzip();
        let mut door = Some(bind(settings.listen, &progress, settings.connection.tls.clone())?);
        let mut settings = settings.clone();
        if let (Some(facts), Some(door)) = (&mut settings.connection.dashboard, &door) {
            Arc::make_mut(facts).port = door.address().port();
        }
        let (reporter, reports) = mpsc::channel();
        let drain = Arc::new(AtomicBool::new(false));
        let deaf = Arc::new(AtomicUsize::new(0));
        let drained = Arc::new(AtomicUsize::new(0));
        let loads: Arc<[_]> = (0..settings.cpus.len()).map(|_| AtomicUsize::new(0)).collect();
        let beats: Arc<[_]> = (0..settings.cpus.len()).map(|_| AtomicU64::new(0)).collect();
        let quiet: Arc<[_]> = (0..settings.cpus.len()).map(|_| AtomicBool::new(false)).collect();
        let pulses: Vec<_> = (0..settings.cpus.len()).map(|_| Arc::default()).collect();
        let mut links = link_all(settings.cpus.len());
        let mut threads = Vec::new();
        for (index, pulse) in pulses.iter().enumerate() {
            let plan = Plan {
                index,
                settings: settings.clone(),
                reporter: reporter.clone(),
                farewell: Farewell { index, reporter: Some(reporter.clone()) },
                drain: Arc::clone(&drain),
                deaf: Arc::clone(&deaf),
                drained: Arc::clone(&drained),
                loads: Arc::clone(&loads),
                beats: Arc::clone(&beats),
                quiet: Arc::clone(&quiet),
                pulse: Arc::clone(pulse),
                progress: Arc::clone(&progress),
                door: door.take(),
                scrapes: scrapes.take(),
            };
            let ends = links.remove(0);
            let thread = LocalExecutorBuilder::new(Placement::Fixed(settings.cpus[index]))
                .name(&format!("core-{index}"))
                .io_memory(RING_MEMORY_BYTES)
                .preempt_timer(LOOKS_EVERY)
                .spin_before_park(settings.spin)
                .spawn(move || run_core(plan, ends))
                .map_err(|error| unstarted(&error))?;
            threads.push(thread);
        }
        Ok(Self { reports, metrics_address, drain, pulses, threads, progress, beats, quiet })
    }

    /// Why the core that said [`Report::Gone`] ended, in words for an operator.
    #[must_use]
    pub fn why_gone(mut self, index: usize) -> String {
        match self.threads.swap_remove(index).join() {
            Ok(()) => format!("core {index} ended early"),
            Err(error) => unstarted(&error),
        }
    }

    /// Wakes all cores, for as long as they run; says when to call it again, a few milliseconds
    /// later, or more while no client has said anything for a second.
    ///
    /// When an executor of glommio 0.9 loses its processor for the length of its preemption timer
    /// just before it runs its task queues, it takes them for empty and sleeps until something
    /// from outside wakes it: neither its timers nor its own tasks do
    /// (glommio/glommio pull request 53).
    pub fn pulse(&self) -> Duration {
        self.pulses.iter().filter_map(|pulse| pulse.get()).for_each(Waker::wake_by_ref);
        pulse(&self.quiet)
    }

    /// Asks all cores to finish what is under way and stop.
    pub fn drain(&self) {
        self.drain.store(true, Ordering::Relaxed);
    }

    /// How far the opening of the shards is.
    #[must_use]
    pub fn opening(&self) -> Opening {
        let mut opening =
            Opening { shards_open: 0, shards: self.progress.len(), read_bytes: 0, total_bytes: 0 };
        for progress in self.progress.iter() {
            let (read_bytes, total_bytes) = progress.read();
            opening.read_bytes += read_bytes;
            opening.total_bytes += total_bytes;
            opening.shards_open += usize::from(progress.is_finished());
        }
        opening
    }

    /// How often each core that serves has looked around so far: some twenty times a second. One
    /// that stands still is stuck.
    #[must_use]
    pub fn beats(&self) -> Vec<u64> {
        self.beats.iter().map(|beats| beats.load(Ordering::Relaxed)).collect()
    }

    /// How many cores there are.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.pulses.len()
    }
}

/// What a failure to make an executor, most often of the kernel's rings, says to an operator.
fn unstarted(error: &GlommioError<()>) -> String {
    format!(
        "an executor could not be started (is io_uring allowed here, and enough locked memory, \
         `ulimit -l`? `thalweg doctor` looks for reasons): {error}"
    )
}

/// The ends of the links that one core holds.
type Ends = Vec<Option<(SharedSender<Message>, SharedReceiver<Message>)>>;

/// A link in each direction between every two cores; element *k* is core *k*'s ends.
fn link_all(cores: usize) -> Vec<Ends> {
    let mut ends: Vec<Ends> = (0..cores).map(|_| (0..cores).map(|_| None).collect()).collect();
    for (a, b) in (0..cores).flat_map(|a| (0..a).map(move |b| (a, b))) {
        let (to_b, from_a) = shared_channel::new_bounded(LINK_MESSAGES_MAX);
        let (to_a, from_b) = shared_channel::new_bounded(LINK_MESSAGES_MAX);
        ends[a][b] = Some((to_b, from_b));
        ends[b][a] = Some((to_a, from_a));
    }
    ends
}

struct Plan {
    index: usize,
    settings: ServerSettings,
    reporter: mpsc::Sender<Report>,
    farewell: Farewell,
    drain: Arc<AtomicBool>,
    /// How many cores accept no connections any more.
    deaf: Arc<AtomicUsize>,
    /// How many cores have no connection left.
    drained: Arc<AtomicUsize>,
    /// How many connections each core has.
    loads: Arc<[AtomicUsize]>,
    /// How often each core has looked around.
    beats: Arc<[AtomicU64]>,
    /// Which cores are quiet: see [`Silence`].
    quiet: Arc<[AtomicBool]>,
    pulse: Arc<OnceLock<Waker>>,
    /// How far the opening of each shard is.
    progress: Arc<[Arc<Progress>]>,
    /// Who holds the port until requests are served; the first core's.
    door: Option<Door>,
    /// Where metrics are asked for; the first core's, if they have an address of their own.
    scrapes: Option<std::net::TcpListener>,
}

impl Plan {
    fn report(&self, report: Report) {
        // Nobody listens any more when the process is about to end.
        let _gone = self.reporter.send(report);
    }
}

/// Reports [`Report::Gone`] when a core ends in any way but by [`run_core`]'s own: its executor
/// could not be made, or it panicked. Whoever started it would wait for ever otherwise.
struct Farewell {
    index: usize,
    reporter: Option<mpsc::Sender<Report>>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if let Some(reporter) = self.reporter.take() {
            let _gone = reporter.send(Report::Gone(self.index));
        }
    }
}

async fn run_core(mut plan: Plan, ends: Ends) {
    let report = match start_core(&plan, ends).await {
        Ok(core) => {
            if let Some(listener) = plan.scrapes.take() {
                core.spawn(scrape::accept(Rc::clone(&core), listener));
            }
            serve_until_drained(&plan, &core).await;
            match close(&core).await {
                Ok(()) => Report::Stopped,
                Err(message) => Report::Failed(message),
            }
        }
        Err(message) => Report::Failed(message),
    };
    plan.farewell.reporter = None;
    plan.report(report);
}

/// Is there to be woken, for ever; see [`Server::pulse`].
async fn feel(pulse: Arc<OnceLock<Waker>>) {
    future::poll_fn(|cx| {
        // The same each time; kept, since a task that was woken but not run registers none.
        pulse.get_or_init(|| cx.waker().clone());
        Poll::<()>::Pending
    })
    .await;
}

/// Opens the core's shards and links it to the others.
async fn start_core(plan: &Plan, ends: Ends) -> Result<Rc<Core<GlommioIo>>, String> {
    let settings = &plan.settings;
    drop(glommio::spawn_local(feel(Arc::clone(&plan.pulse))).detach());
    let equal = |name| queue(Shares::Static(1000), Latency::NotImportant, name);
    let (requests, readers, log) = (equal("requests"), equal("readers"), equal("log"));
    let old_reads = queue(Shares::Static(200), Latency::NotImportant, "old reads");
    let background = queue(Shares::Static(50), Latency::NotImportant, "background");

    let mut engines = BTreeMap::new();
    for shard in
        (0..settings.shards).filter(|s| usize::from(*s) % settings.cpus.len() == plan.index)
    {
        let io = Rc::new(GlommioIo::new(&settings.shard_paths[usize::from(shard)]));
        let mut config = settings.engine;
        config.log.shard = shard;
        let progress = Arc::clone(&plan.progress[usize::from(shard)]);
        let link = settings.links.get(usize::from(shard)).cloned();
        let opened = Engine::open_watched(io, config, link, progress).await;
        let engine = Rc::new(opened.map_err(|e| failure(shard, &e))?);
        engine.run_aside_by(in_queue(old_reads));
        let io = Rc::clone(&engine.io);
        io.spawn(Rc::clone(&engine).run_writer(), log);
        io.spawn(Rc::clone(&engine).run_segments(), background);
        io.spawn(Rc::clone(&engine).run_checkpoints(), background);
        io.spawn(Rc::clone(&engine).run_usage(), background);
        io.spawn(Rc::clone(&engine).run_retention(), background);
        io.spawn(Rc::clone(&engine).run_cleaner(), background);
        io.spawn(Rc::clone(&engine).run_folder(), background);
        io.spawn(Rc::clone(&engine).run_scrub(), background);
        io.spawn(Rc::clone(&engine).run_shipped(), log);
        engines.insert(shard, engine);
    }

    // All at once: each end waits for the other to be connected.
    let connected = future::join_all(ends.into_iter().map(connect)).await;
    let (mut links, mut inbound) = (Vec::new(), Vec::new());
    for (from, end) in connected.into_iter().enumerate() {
        let (out, link) = end.unzip();
        links.push(out);
        inbound.extend(link.map(|link| (from, link)));
    }
    let load = (plan.index, Arc::clone(&plan.loads));
    let (queues, connection) = ((requests, readers), settings.connection.clone());
    let core = Rc::new(Core::new(settings.shards, engines, links, queues, connection, load));
    for (from, link) in inbound {
        core.spawn(Rc::clone(&core).receive(link, from));
    }
    Ok(core)
}

fn failure(shard: u16, error: &dyn std::error::Error) -> String {
    format!("shard {shard}: {}", chain(error))
}

/// Connects both directions of the link to another core.
async fn connect(
    end: Option<(SharedSender<Message>, SharedReceiver<Message>)>,
) -> Option<(ConnectedSender<Message>, ConnectedReceiver<Message>)> {
    let (out, inbound) = end?;
    Some(future::join(out.connect(), inbound.connect()).await)
}

/// Agrees with the other cores on the moment from which requests are served, serves, and returns
/// when the server drains and nothing is under way, or the time for that is up.
async fn serve_until_drained(plan: &Plan, core: &Rc<Core<GlommioIo>>) {
    let listener = match listen(plan, core).await {
        Ok(listener) => listener,
        Err(message) => return plan.report(Report::Failed(message)),
    };
    let accepting = {
        let (core, settings) = (Rc::clone(core), plan.settings.clone());
        let queue = core.queue();
        glommio::spawn_local_into(accept(core, settings, listener), queue)
    };
    let Ok(accepting) = accepting else {
        return plan.report(Report::Failed("the accept task could not be started".to_owned()));
    };
    let clock = core.clock();
    let mut silence = Silence::default();
    while !plan.drain.load(Ordering::Relaxed) {
        core.tick();
        core.sweep();
        plan.beats[plan.index].fetch_add(1, Ordering::Relaxed);
        let is_quiet = silence.goes_on(receives());
        plan.quiet[plan.index].store(is_quiet, Ordering::Relaxed);
        clock.sleep_us(SWEEP_US).await;
    }
    plan.quiet[plan.index].store(false, Ordering::Relaxed);
    accepting.cancel().await;
    // Who is told to reconnect must not meet a listener of ours that is still open.
    let all = plan.settings.cpus.len();
    let begin_us = clock.now_us();
    plan.deaf.fetch_add(1, Ordering::Relaxed);
    while plan.deaf.load(Ordering::Relaxed) < all && clock.now_us() < begin_us + DEAF_US_MAX {
        clock.sleep_us(SWEEP_US / 10).await;
    }
    core.enter(Stage::Draining);
    // Connections that want to say goodbye do so before those that need not are ended.
    clock.sleep_us(SWEEP_US / 10).await;
    let until_us = begin_us + plan.settings.drain_us;
    let sessions_until_us = begin_us + plan.settings.sessions_us();
    while core.lifelines.count() > 0 && clock.now_us() < until_us {
        end_sessions_in_time(core, sessions_until_us);
        core.lifelines.drain();
        core.sweep();
        clock.sleep_us(SWEEP_US / 5).await;
    }
    // Until then, requests on the other cores may need the shards of this one.
    plan.drained.fetch_add(1, Ordering::Relaxed);
    while plan.drained.load(Ordering::Relaxed) < all && clock.now_us() < until_us {
        end_sessions_in_time(core, sessions_until_us);
        clock.sleep_us(SWEEP_US / 5).await;
    }
    core.streams.abort();
    core.lifelines.abort();
}

/// Ends the sessions that are still there when their time is up, those of other cores'
/// connections too.
fn end_sessions_in_time<I: Io>(core: &Core<I>, until_us: u64) {
    if core.drain.stage() == Stage::Draining && core.now_us() >= until_us {
        core.enter(Stage::Ending);
    }
}

async fn listen(plan: &Plan, core: &Rc<Core<GlommioIo>>) -> Result<TcpListener, String> {
    let others = plan.settings.cpus.len() - 1;
    let gone = |()| "another core is gone".to_owned();
    let listener = if let Some(door) = &plan.door {
        let address = door.address();
        core.wait_opened(others).await;
        core.share_all_basins().await.map_err(|e| e.to_string())?;
        core.share_all_tokens().await.map_err(|e| e.to_string())?;
        core.spawn(Rc::clone(core).run_token_expiry());
        // First: what is to be there may wait for these.
        core.resume_deletions();
        core.apply(&plan.settings.resources).await?;
        for other in 1..=others {
            core.send(other, Message::Listen(address)).await.map_err(gone)?;
        }
        door.release();
        let listener = loop {
            if let Some(listener) = door.try_take()? {
                break listener;
            }
            core.clock().sleep_us(DOOR_US).await;
        };
        adopt_listener(listener)
    } else {
        core.resume_deletions();
        core.send(0, Message::Opened).await.map_err(gone)?;
        let address = core.wait_listen().await;
        TcpListener::bind(address).map_err(|e| format!("cannot listen on {address}: {e}"))?
    };
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    core.tick();
    plan.report(Report::Listening(address));
    Ok(listener)
}

/// Opens the door on the first listener. The port is shared by our own cores only: another server
/// on it would silently get a part of the connections, so it is looked for first.
///
/// It is looked for by connecting, not by binding: a plain bind also fails while connections of a
/// server that just ended wait for stray packets, and a restart must not wait for that.
#[expect(clippy::disallowed_methods, reason = "no executor runs yet that it could stop")]
fn bind(
    address: SocketAddr,
    progress: &Arc<[Arc<Progress>]>,
    tls: Option<Acceptor>,
) -> Result<Door, String> {
    let mut probes_left = if address.port() == 0 { 0 } else { PROBES };
    while probes_left > 0 && is_taken(address) {
        probes_left -= 1;
        if probes_left == 0 {
            return Err(format!("cannot listen on {address}: another server answers there"));
        }
        std::thread::sleep(PROBE_PAUSE);
    }
    Door::open(address, Arc::clone(progress), tls)
        .map_err(|error| format!("cannot listen on {address}: {error}"))
}

/// Whether somebody takes connections at `address`.
fn is_taken(address: SocketAddr) -> bool {
    let answers = std::net::TcpStream::connect_timeout(&reachable(address), PROBE_TIMEOUT);
    // A connection to a free port may meet itself.
    answers.is_ok_and(|s| s.local_addr().ok() != s.peer_addr().ok())
}

/// Where a server that listens on `address` can be reached from its own machine.
#[must_use]
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn accept(core: Rc<Core<GlommioIo>>, settings: ServerSettings, listener: TcpListener) {
    let connections_max = settings.connections_max.div_ceil(settings.cpus.len());
    loop {
        let socket = match listener.accept().await {
            Ok(socket) => socket,
            Err(error) => {
                // Out of descriptors, most likely; some will be given back.
                tracing::warn!(%error, "accept failed");
                core.clock().sleep_us(SWEEP_US).await;
                continue;
            }
        };
        if core.lifelines.count() >= connections_max {
            core.metrics.connection_refused();
            continue;
        }
        core.metrics.connection_accepted();
        if socket.set_nodelay(true).is_err() || keep_alive(&socket).is_err() {
            continue; // the peer is gone already
        }
        core.spawn(serve(Rc::clone(&core), VectoredSocket::new(socket)));
    }
}

/// Writes a last checkpoint of each shard, so that the next start is quick.
async fn close<I: Io>(core: &Rc<Core<I>>) -> Result<(), String> {
    for (shard, engine) in &core.engines {
        engine.close().await.map_err(|e| failure(*shard, &e))?;
    }
    Ok(())
}

fn queue(shares: Shares, latency: Latency, name: &str) -> TaskQueueHandle {
    glommio::executor().create_task_queue(shares, latency, name)
}
