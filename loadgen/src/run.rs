//! The `append` subcommand from beginning to end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::Exit;
use crate::cli::{AppendArgs, Format, Rate};
use crate::client::common_headers;
use crate::clock::{Clock, ns};
use crate::collect::{Collected, Collector};
use crate::environment::Environment;
use crate::input::Input;
use crate::journal::{Header, Writer};
use crate::lane::{Plan, Window};
use crate::record::Pool;
use crate::report::Report;
use crate::request::Heads;
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

/// Loads, reports, verifies.
pub(crate) fn append(args: &AppendArgs) -> Result<Exit> {
    check(args)?;
    let environment = Environment::read();
    let run = args.run.unwrap_or_else(run_from_clock);
    let addresses = args.target.url.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let streams = runtime.block_on(setup::prepare(args))?;
    let journal = match &args.journal {
        Some(path) => Some(Writer::create(path, &journal_header(args, run, &streams))?),
        None => None,
    };
    let headers = common_headers(&args.target, Some(&args.basin));
    let input = match &args.input {
        Some(path) => Some(Input::open(path, args.streams, args.format == Format::Raw)?),
        None => None,
    };
    let plan = Arc::new(Plan {
        args: args.clone(),
        run,
        addresses,
        heads: Arc::new(Heads::new(&streams.names, &headers, args.format)),
        pool: Pool::new(args.seed, args.record_bytes),
        input,
        is_aborted: AtomicBool::new(false),
    });
    let mut collected = load(&plan, journal, &environment)?;
    let facts = std::mem::take(&mut collected.facts);

    let objections = match args.rate {
        Rate::PerSecond(_) => trust::objections(&collected.total, collected.busiest),
        Rate::Max => Vec::new(),
    };
    let mut report = Report { args, run, environment, collected, objections, verdict: None };
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
        _ if verified == Exit::Wrong => Ok(Exit::Wrong),
        Some(failure) => Err(failure),
        None if report.collected.total.acked_ever == 0 => bail!("no append was acknowledged"),
        None if !report.objections.is_empty() => Ok(Exit::Untrusted),
        None => Ok(Exit::Good),
    }
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
fn load(plan: &Arc<Plan>, journal: Option<Writer>, environment: &Environment) -> Result<Collected> {
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
    let about = format!("loadgen append, run {}, {}", plan.run, environment.line());
    let streams = args.streams as usize;
    let collector = Collector::new(window, threads.len(), streams, journal, args.verify, &about)?;
    let bound_ns = window.drain_ns - start_ns + timeout_ns;
    let collected = collector.run(&messages, Duration::from_nanos(bound_ns) + PATIENCE)?;
    for thread in threads {
        if thread.join().is_err() {
            bail!("a load thread panicked");
        }
    }
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
