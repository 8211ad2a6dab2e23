//! Collects a history from a running server, or checks one.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use histories::check::{Bounds, Furthest, Outcome, Verdict, check};
use histories::collect::{Collected, Fault, Plan, collect};
use histories::event::Line;
use histories::history::History;
use tokio::signal::unix::{SignalKind, signal};

/// Histories of concurrent clients of an S2 stream: collects them and checks that they are
/// linearizable.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs clients against a server and writes what they did and were told. SIGTERM ends them
    /// early; then everything is read back.
    Collect {
        #[command(flatten)]
        plan: Plan,
        /// Where to write the history, in the format of s2-verification; beside it one that ends
        /// in `.found.jsonl`, in which appends that the last read found are successes
        #[arg(long)]
        out: PathBuf,
    },
    /// Searches for an order of the operations that explains every answer. Status: 0 there is one,
    /// 1 there is none, 2 the file is no history, 3 the search was given up.
    Check {
        /// The history, in the format of s2-verification
        file: PathBuf,
        /// The longest time, in seconds
        #[arg(long, default_value_t = 60)]
        time_s: u64,
        /// The most memory for what was tried, in MiB
        #[arg(long, default_value_t = 1024)]
        memory_mib: usize,
    },
}

/// No order explains the history.
const REFUSED: u8 = 1;
/// The file is no history, or cannot be written.
const FAULT: u8 = 2;
/// The search was given up.
const UNDECIDED: u8 = 3;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Collect { plan, out } => run_collect(&plan, &out),
        Command::Check { file, time_s, memory_mib } => {
            let time = Duration::from_secs(time_s);
            run_check(&file, Bounds { time, memory_bytes: memory_mib.saturating_mul(1 << 20) })
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("histories: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            eprintln!("histories: because: {error}");
            cause = error.source();
        }
        ExitCode::from(FAULT)
    })
}

fn run_collect(plan: &Plan, out: &Path) -> Result<ExitCode, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Collected { lines, found, totals } = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = async move {
            terminate.recv().await;
        };
        collect(plan, || println!("collect: at work"), stop).await
    })?;
    write(out, &lines)?;
    write(&out.with_extension("found.jsonl"), &found)?;
    println!(
        "collect: operations={} appended={} refused={} unknown={} observed={} unanswered={}",
        totals.operations,
        totals.appended,
        totals.refused,
        totals.unknown,
        totals.observed,
        totals.unanswered,
    );
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, lines: &[Line]) -> Result<(), Fault> {
    let mut file = BufWriter::new(File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}

fn run_check(path: &Path, bounds: Bounds) -> Result<ExitCode, Fault> {
    let history = History::read(BufReader::new(File::open(path)?))?;
    let began = Instant::now();
    let Outcome { verdict, configurations } = check(&history, bounds);
    let us = began.elapsed().as_micros();
    let (word, status) = match &verdict {
        Verdict::Linearizable(_) => ("linearizable", 0),
        Verdict::Refused(_) => ("REFUSED", REFUSED),
        Verdict::Undecided(_) => ("undecided", UNDECIDED),
    };
    println!(
        "check: {word} operations={} unknown={} without_effect={} configurations={configurations} \
         us={us}",
        history.operations.len(),
        history.uncertain(),
        history.without_effect,
    );
    match &verdict {
        Verdict::Linearizable(_) => {}
        Verdict::Refused(furthest) => explain(&history, furthest),
        Verdict::Undecided(bound) => println!("the bound of {bound} was reached"),
    }
    Ok(ExitCode::from(status))
}

/// Says where the search got stuck, for the one who has to find out why.
fn explain(history: &History, furthest: &Furthest) {
    let Some(stuck) = history.operations.get(furthest.stuck) else { return };
    println!(
        "no order goes further than {} of the certain operations, to {:?}; \
         by line {} this had to happen:",
        furthest.certain, furthest.state, stuck.end
    );
    println!(
        "  client {} operation {} (lines {} to {}): {:?}",
        stuck.client_id, stuck.op_id, stuck.start, stuck.end, stuck.action
    );
}
