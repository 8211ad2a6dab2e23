//! One load thread: a single-threaded runtime, its share of the connections, and its self-watch.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep_until;

use crate::cli::{HttpVersion, Protocol, Rate};
use crate::clock::{Clock, PreciseTimer, SECOND_NS};
use crate::context::{Context, Plan, Window};
use crate::desk::Desk;
use crate::http2::Hub;
use crate::lane::Lane;
use crate::reader::Reader;
use crate::schedule::Schedule;
use crate::session::Session;
use crate::stats::{CpuUse, Stats};

/// Gap between two self-tests of the thread's own lateness.
const PROBE_GAP_NS: u64 = 10_000_000;

/// What a load thread tells the main thread.
pub(crate) enum Message {
    /// All connections are open.
    Ready,
    /// One second's figures.
    Interval(Interval),
    /// The thread has ended; no more will come from it.
    Ended(Ended),
}

/// The figures of one second of one thread.
pub(crate) struct Interval {
    /// Counts seconds from the start of the load.
    pub(crate) number: u64,
    pub(crate) thread: usize,
    pub(crate) stats: Box<Stats>,
}

/// A thread's last words.
pub(crate) struct Ended {
    pub(crate) thread: usize,
    /// CPU use in the measured time, where the kernel tells.
    pub(crate) cpu: Option<CpuUse>,
    /// When its last append was answered.
    pub(crate) at_ns: u64,
    /// True when the input file ended the load.
    pub(crate) is_input_over: bool,
    pub(crate) result: Result<()>,
}

/// Starts load thread `thread`; it waits for a window before it sends anything.
pub(crate) fn spawn(
    plan: Arc<Plan>,
    clock: Clock,
    thread: u32,
    windows: Receiver<Window>,
    messages: Sender<Message>,
) -> Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name(format!("load-{thread}"));
    let handle = builder.spawn(move || {
        let index = thread as usize;
        let ended = run(&plan, clock, thread, &windows, &messages).unwrap_or_else(|error| Ended {
            thread: index,
            cpu: None,
            at_ns: clock.now_ns(),
            is_input_over: false,
            result: Err(error),
        });
        // The main thread may have given up already; then nobody wants to know.
        let _ = messages.send(Message::Ended(ended));
    })?;
    Ok(handle)
}

fn run(
    plan: &Arc<Plan>,
    clock: Clock,
    thread: u32,
    windows: &Receiver<Window>,
    messages: &Sender<Message>,
) -> Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let writers = open_writers(plan, thread).await?;
        let mut readers = Vec::new();
        for reader in (thread..plan.readers).step_by(plan.args.threads as usize) {
            readers.push(Reader::open(plan, reader).await?);
        }
        messages.send(Message::Ready)?;
        let window = windows.recv().context("the run was called off")?;
        let desk = match plan.args.rate {
            Rate::Max => None,
            Rate::PerSecond(rate) => {
                let Window { start_ns, end_ns, .. } = window;
                let threads = plan.args.threads;
                let schedule = Schedule::new(rate, start_ns, end_ns, thread, threads);
                Some(Desk::new(schedule, writers.len()))
            }
        };
        let context = Rc::new(Context {
            plan: Arc::clone(plan),
            clock,
            window,
            desk,
            stats: RefCell::new(Stats::new()),
            is_input_over: Cell::new(false),
        });
        Ok(drive((writers, readers), &context, thread as usize, messages).await)
    })
}

/// One that appends.
enum Writer {
    Unary(Box<Lane>),
    Session(Box<Session>),
}

impl Writer {
    async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Unary(lane) => lane.run(context).await,
            Self::Session(session) => session.run(context).await,
        }
    }
}

/// The writers of thread `thread`, on its share of the connections.
async fn open_writers(plan: &Plan, thread: u32) -> Result<Vec<Writer>> {
    let args = &plan.args;
    let mut writers = Vec::new();
    for connection in (thread..args.connections).step_by(args.threads as usize) {
        let hub = (args.http == HttpVersion::Two).then(|| Rc::new(Hub::new()));
        // Numbered so that the writers of a connection are spread over the streams.
        for writer in (connection..args.writers()).step_by(args.connections as usize) {
            let (local, hub) = (writers.len(), hub.clone());
            writers.push(match args.protocol {
                Protocol::S2s => {
                    Writer::Session(Box::new(Session::open(plan, local, writer, hub).await?))
                }
                _ => Writer::Unary(Box::new(Lane::open(plan, local, writer, hub).await?)),
            });
        }
    }
    Ok(writers)
}

async fn drive(
    (writers, readers): (Vec<Writer>, Vec<Reader>),
    context: &Rc<Context>,
    thread: usize,
    messages: &Sender<Message>,
) -> Ended {
    let number = Rc::new(Cell::new(0));
    let cpu = Rc::new(Cell::new(None));
    let mut helpers = JoinSet::new();
    helpers.spawn_local(hand_over(
        Rc::clone(context),
        Rc::clone(&number),
        thread,
        messages.clone(),
    ));
    helpers.spawn_local(probe(Rc::clone(context)));
    helpers.spawn_local(watch_cpu(Rc::clone(context), Rc::clone(&cpu)));
    let dispatcher = Rc::clone(context);
    helpers.spawn_local(async move {
        if let Some(desk) = &dispatcher.desk {
            // Without a dispatcher the lanes would wait for ever.
            desk.dispatch(dispatcher.clock).await.inspect_err(|_| desk.close())?;
        }
        Ok(())
    });

    if context.desk.is_none() {
        // Without a schedule nothing else would hold the first appends back.
        sleep_until(context.clock.instant(context.window.start_ns).into()).await;
    }
    let mut reading = JoinSet::new();
    for reader in readers {
        reading.spawn_local(reader.run(Rc::clone(context)));
    }
    let mut writing = JoinSet::new();
    for writer in writers {
        let context = Rc::clone(context);
        writing.spawn_local(async move {
            let result = writer.run(&context).await;
            if let Some(board) = &context.plan.board {
                board.writer_ended();
            }
            result
        });
    }
    let mut result = join(&mut writing, context).await;
    let at_ns = context.clock.now_ns();
    result = result.and(join(&mut reading, context).await);
    let is_input_over = context.is_input_over.get();
    charge_unsent(context, at_ns);
    if cpu.get().is_none_or(|cpu: CpuUse| cpu.wall_ns == 0) {
        let measured_ns = at_ns.saturating_sub(context.window.measure_ns);
        cpu.set(cpu.get().and_then(|start| cpu_since(start, measured_ns)));
    }
    helpers.abort_all();
    while let Some(joined) = helpers.join_next().await {
        // A helper that ended by an error of its own has left its watch: that is a failed run.
        if let Ok(Err(error)) = joined {
            result = result.and(Err(error));
        }
    }
    let stats = Box::new(context.stats.replace(Stats::new()));
    let last = Interval { number: number.get(), thread, stats };
    let result = result.and(messages.send(Message::Interval(last)).map_err(anyhow::Error::from));
    Ended { thread, cpu: cpu.get(), at_ns, is_input_over, result }
}

/// Waits for all; the first that fails calls the others off.
async fn join(tasks: &mut JoinSet<Result<()>>, context: &Context) -> Result<()> {
    let mut result = Ok(());
    while let Some(joined) = tasks.join_next().await {
        if let Err(error) = joined.unwrap_or_else(|error| Err(error.into())) {
            context.plan.is_aborted.store(true, Ordering::Relaxed);
            if let Some(desk) = &context.desk {
                desk.close();
            }
            result = result.and(Err(error));
        }
    }
    result
}

/// Charges what never found a free connection with the time it waited, a lower bound.
fn charge_unsent(context: &Context, now_ns: u64) {
    let Some(desk) = &context.desk else { return };
    desk.close();
    if context.is_input_over.get() {
        // The file ended before the schedule did: those appends do not exist.
        return;
    }
    for due_ns in desk.unserved().into_iter().filter(|due_ns| *due_ns <= now_ns) {
        context.unsent(due_ns, now_ns);
    }
}

/// Hands the figures over at each full second.
async fn hand_over(
    context: Rc<Context>,
    number: Rc<Cell<u64>>,
    thread: usize,
    messages: Sender<Message>,
) -> Result<()> {
    loop {
        let next_ns = context.window.start_ns + (number.get() + 1) * SECOND_NS;
        sleep_until(context.clock.instant(next_ns).into()).await;
        if context.plan.is_aborted.load(Ordering::Relaxed)
            && let Some(desk) = &context.desk
        {
            desk.close();
        }
        let stats = Box::new(context.stats.replace(Stats::new()));
        messages.send(Message::Interval(Interval { number: number.get(), thread, stats }))?;
        number.set(number.get() + 1);
    }
}

/// Measures how late this thread gets round to a timer of its own.
async fn probe(context: Rc<Context>) -> Result<()> {
    let timer = PreciseTimer::new(context.clock)?;
    let mut at_ns = context.window.measure_ns;
    while at_ns < context.window.end_ns {
        timer.wait_until(at_ns).await?;
        let late_ns = context.clock.now_ns() - at_ns;
        // After a long stall every missed test counts, or one stall would look like one sample.
        context.stats.borrow_mut().probe.saturating_record(late_ns);
        at_ns += PROBE_GAP_NS;
    }
    Ok(())
}

/// Samples the thread's CPU use at both ends of the measured time.
async fn watch_cpu(context: Rc<Context>, cpu: Rc<Cell<Option<CpuUse>>>) -> Result<()> {
    let Window { measure_ns, end_ns, .. } = context.window;
    sleep_until(context.clock.instant(measure_ns).into()).await;
    let start = CpuUse::of_this_thread();
    cpu.set(start);
    sleep_until(context.clock.instant(end_ns).into()).await;
    cpu.set(start.and_then(|start| cpu_since(start, end_ns - measure_ns)));
    Ok(())
}

fn cpu_since(start: CpuUse, wall_ns: u64) -> Option<CpuUse> {
    CpuUse::of_this_thread().map(|now| now.since(start, wall_ns))
}
