//! The `append` and `tail` subcommands from beginning to end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::Exit;
use crate::board::Board;
use crate::cli::{AppendArgs, Format, HttpVersion, Protocol, Rate};
use crate::client::common_headers;
use crate::clock::{Clock, ns};
use crate::collect::{Collected, Collector};
use crate::context::{Plan, Window};
use crate::environment::Environment;
use crate::input::Input;
use crate::journal::{Header, Writer};
use crate::place::Place;
use crate::record::{IDENTITY_BYTES, Pool, STAMP_BYTES};
use crate::report::Report;
use crate::request::Layout;
use crate::routes::Routes;
use crate::server_cpu::Watch;
use crate::setup::{self, Streams};
use crate::worker::{self, Ended, Message};
use crate::{readback, trust};

/// Metered bytes of one append, as the API limits them, and of a record besides its body.
const BATCH_METERED_BYTES_MAX: usize = 1_048_576;
const RECORD_OVERHEAD_BYTES: usize = 8;
/// From "everything is connected" to the first append.
const START_DELAY: Duration = Duration::from_millis(20);
/// Longest wait for all connections, and for the threads to end beyond their own bounds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writers whose records are as many as an identity can name.
const WRITERS_MAX: u32 = 1 << 18;
/// Writers that readers can keep apart, at 32 KiB of memory each.
const WRITERS_FOLLOWED_MAX: u32 = 1 << 12;

/// Loads, with so many readers following, reports, verifies.
pub(crate) fn load(args: &AppendArgs, readers: u32) -> Result<Exit> {
    check(args)?;
    if readers > 0 {
        check_tail(args)?;
    }
    let environment = Environment::read();
    let run = args.run.unwrap_or_else(run_from_clock);
    let place = args.target.place()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let with_tails = args.is_tracked() || readers > 0;
    let streams = runtime.block_on(setup::prepare(args, with_tails))?;
    let journal = match &args.journal {
        Some(path) => Some(Writer::create(path, &journal_header(args, run, &streams))?),
        None => None,
    };
    let plan = Arc::new(plan(args, readers, run, place, &streams)?);
    let mut collected = drive(&plan, journal, &environment)?;
    let facts = std::mem::take(&mut collected.facts);

    let objections = match args.rate {
        Rate::PerSecond(_) => trust::objections(&collected.total, collected.busiest),
        Rate::Max => Vec::new(),
    };
    let mut report =
        Report { args, readers, run, environment, collected, objections, verdict: None };
    report.print();
    if args.verify {
        let claims = claims(args, streams, facts);
        report.verdict = Some(runtime.block_on(readback::verify(&args.target, claims))?);
    }
    if let Some(directory) = &args.out {
        report.write(directory).with_context(|| format!("writing to {}", directory.display()))?;
    }
    let verified = report.verdict.as_ref().map_or(Exit::Good, readback::print);
    match report.collected.failure {
        _ if verified == Exit::Wrong || !report.is_well_delivered() => Ok(Exit::Wrong),
        Some(failure) => Err(failure),
        None if report.collected.total.acked_ever == 0 => bail!("no append was acknowledged"),
        None if !report.objections.is_empty() => Ok(Exit::Untrusted),
        None => Ok(Exit::Good),
    }
}

fn plan(
    args: &AppendArgs,
    readers: u32,
    run: u32,
    place: Place,
    streams: &Streams,
) -> Result<Plan> {
    let headers = common_headers(&args.target, Some(&args.basin));
    let input = match &args.input {
        Some(path) => Some(Input::open(path, args.streams, args.format == Format::Raw)?),
        None => None,
    };
    Ok(Plan {
        args: args.clone(),
        run,
        place,
        routes: Routes::new(&streams.names, &headers, args),
        layout: Arc::new(Layout::new(&streams.names, &headers, args)),
        pool: Pool::new(args.seed, args.record_bytes),
        input,
        readers,
        tails: streams.tails.clone(),
        board: (readers > 0).then(|| Board::new(args.writers(), &streams.tails)),
        is_aborted: AtomicBool::new(false),
    })
}

fn check(args: &AppendArgs) -> Result<()> {
    let metered = usize::from(args.records_per_batch) * (args.record_bytes + RECORD_OVERHEAD_BYTES);
    if args.input.is_none() && metered > BATCH_METERED_BYTES_MAX {
        bail!(
            "an append of {metered} metered bytes exceeds the limit of {BATCH_METERED_BYTES_MAX}"
        );
    }
    if args.connections < args.threads {
        bail!("each of {} threads needs a connection", args.threads);
    }
    if args.measured().is_zero() {
        bail!("--duration must not be 0");
    }
    if args.input.is_some() && args.server_pid.is_some() {
        bail!("--server-pid needs a measured time that is known before, which --input has not");
    }
    if args.protocol.is_foreign() {
        check_foreign(args)?;
    }
    if args.http == HttpVersion::One {
        match args.protocol {
            Protocol::S2s if args.connections < args.streams => {
                bail!("over HTTP/1.1 each of {} streams needs a connection", args.streams);
            }
            Protocol::S2s => {}
            _ if args.depth > 1 => {
                bail!("--depth needs --http 2 or --protocol s2s");
            }
            _ => {}
        }
    }
    if args.writers() > WRITERS_MAX {
        bail!("{} appends in flight exceed the limit of {WRITERS_MAX}", args.writers());
    }
    Ok(())
}

/// What only matters with servers of another kind.
fn check_foreign(args: &AppendArgs) -> Result<()> {
    if args.is_tracked() {
        bail!("{} cannot be verified", args.protocol.name());
    }
    if args.http == HttpVersion::Two {
        bail!("{} does not go over HTTP/2", args.protocol.name());
    }
    if args.receipts {
        bail!("{} gives no receipts", args.protocol.name());
    }
    Ok(())
}

/// What only matters when readers follow.
fn check_tail(args: &AppendArgs) -> Result<()> {
    if args.input.is_some() {
        bail!("lines of a file do not carry the time that readers need");
    }
    if args.protocol == Protocol::Json && args.format != Format::Raw {
        bail!("tail needs --format raw");
    }
    let least = IDENTITY_BYTES + STAMP_BYTES;
    if args.record_bytes < least {
        bail!("tail needs records of at least {least} bytes");
    }
    if args.writers() > WRITERS_FOLLOWED_MAX {
        bail!("{} writers exceed tail's limit of {WRITERS_FOLLOWED_MAX}", args.writers());
    }
    Ok(())
}

/// A run number nobody else is likely to have used on the same streams.
fn run_from_clock() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mixed = (now.as_nanos() / 1_000) ^ (u128::from(std::process::id()) << 20);
    u32::try_from(mixed & u128::from(u32::MAX)).expect("masked")
}

fn journal_header(args: &AppendArgs, run: u32, streams: &Streams) -> Header {
    Header {
        version: 1,
        basin: args.basin.clone(),
        run,
        format: args.format,
        streams: streams.names.clone(),
        tails: streams.tails.clone(),
    }
}

fn claims(
    args: &AppendArgs,
    streams: Streams,
    facts: Vec<Vec<crate::journal::Fact>>,
) -> Vec<readback::Claim> {
    let streams = streams.names.into_iter().zip(streams.tails).zip(facts);
    (0..)
        .zip(streams)
        .map(|(index, ((name, start_seq_num), facts))| readback::Claim {
            basin: args.basin.clone(),
            name,
            index,
            format: args.format,
            start_seq_num,
            facts,
        })
        .collect()
}

/// Starts the threads together and gathers what they measure.
fn drive(
    plan: &Arc<Plan>,
    journal: Option<Writer>,
    environment: &Environment,
) -> Result<Collected> {
    let args = &plan.args;
    let clock = Clock::start();
    let (message_sender, messages) = channel();
    let mut starters = Vec::new();
    let mut threads = Vec::new();
    for thread in 0..args.threads {
        let (starter, windows) = channel();
        starters.push(starter);
        let sender = message_sender.clone();
        threads.push(worker::spawn(Arc::clone(plan), clock, thread, windows, sender)?);
    }
    drop(message_sender);
    wait_until_ready(&messages, threads.len())?;

    let start_ns = clock.now_ns() + ns(START_DELAY);
    let measure_ns = start_ns + ns(args.warmup);
    let end_ns = measure_ns + ns(args.measured());
    let timeout_ns = ns(args.target.request_timeout);
    let window = Window { start_ns, measure_ns, end_ns, drain_ns: end_ns + timeout_ns };
    for starter in starters {
        starter.send(window).context("a load thread ended early")?;
    }
    let watch = args.server_pid.map(|pid| Watch::begin(pid, clock, window)).transpose()?;
    let command = if plan.readers > 0 { "tail" } else { "append" };
    let about = format!("loadgen {command}, run {}, {}", plan.run, environment.line());
    let streams = args.streams as usize;
    let collector = Collector::new(window, threads.len(), streams, journal, args.verify, &about)?;
    // After the last answer, readers may wait once more for what it acknowledged.
    let bound_ns = window.drain_ns - start_ns + 2 * timeout_ns;
    let mut collected = collector.run(&messages, Duration::from_nanos(bound_ns) + PATIENCE)?;
    for thread in threads {
        if thread.join().is_err() {
            bail!("a load thread panicked");
        }
    }
    // A server that has ended meanwhile is the load's own failure, if it is one.
    collected.server_cpu = watch.and_then(|watch| watch.end().ok());
    Ok(collected)
}

fn wait_until_ready(messages: &Receiver<Message>, threads: usize) -> Result<()> {
    for _ in 0..threads {
        match messages.recv_timeout(PATIENCE).context("connecting takes too long")? {
            Message::Ready => {}
            Message::Ended(Ended { result, .. }) => {
                result?;
                bail!("a load thread ended early");
            }
            Message::Interval(_) => unreachable!("figures come after the start"),
        }
    }
    Ok(())
}
