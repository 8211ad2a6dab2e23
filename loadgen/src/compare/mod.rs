//! `loadgen compare`: the same loads on several servers, in rounds, and a report of it.
//!
//! * In each round every load is run once on every server, one after the other, and the order
//!   changes with the round and the load: what the machine does meanwhile hits all alike. Each run
//!   has a server of its own on a new directory of the same disk, and each of its steps a bound.
//! * After each run its data is deleted, the file system is synced, and there is a short rest, so
//!   that no run pays for the one before.
//! * A run is a call of this same program with another subcommand, so that a figure here is the
//!   figure that anybody gets from that call. [`workload`] is the table of them.
//! * What fails is told in the report and does not end the comparison.
//!
//! `compare.json` holds every figure; `compare.md` and the plots are pure functions of it.

mod behind;
mod chart;
mod counts;
pub(crate) mod figures;
pub(crate) mod markdown;
mod peer;
mod round;
pub(crate) mod server;
mod workload;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::cli::parse_duration;
use crate::environment::Environment;

use self::figures::{About, Comparison, FIGURES, LoadFacts, LoadKind, ServerFacts};
use self::peer::Peer;
use self::round::Bench;
use self::workload::{Kind, WORKLOADS, Workload};

/// Options of `loadgen compare`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompareArgs {
    /// Rounds; fewer than 3 are a check that it runs, and the report says so.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Measured time of each run.
    #[arg(long, default_value = "4s", value_parser = parse_duration, value_name = "D")]
    duration: Duration,
    /// Load before it, left out; catch-up has none.
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "D")]
    warmup: Duration,
    /// A few loads, a second each, one round; a check that it runs.
    #[arg(long)]
    quick: bool,
    /// Only this load, or with `*` at its end all that begin so; may be given several times.
    #[arg(long, value_name = "LOAD")]
    only: Vec<String>,
    /// Servers, with commas between them; the first is compared with the others.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::ALL)]
    peers: Vec<Peer>,
    /// Leave the counts out.
    #[arg(long)]
    no_counts: bool,
    /// Prints what would be run on which server, and ends.
    #[arg(long)]
    list: bool,
    /// Writes the report of this `compare.json` anew, and runs nothing.
    #[arg(long, value_name = "FILE")]
    render: Option<PathBuf>,
    /// Directory on the disk to compare on; emptied data directories are made in it.
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Where the report goes.
    #[arg(long, default_value = "compare", value_name = "DIR")]
    out: PathBuf,
    /// What the report says it is of: a commit, a date.
    #[arg(long, default_value = "", value_name = "TEXT")]
    label: String,
    /// Program of Thalweg: a path, or a name on `PATH`.
    #[arg(long, default_value = Peer::Thalweg.program(), value_name = "PROGRAM")]
    thalweg: PathBuf,
    /// Program of S2 Lite.
    #[arg(long, default_value = Peer::S2Lite.program(), value_name = "PROGRAM")]
    s2: PathBuf,
    /// Program of Durable Streams.
    #[arg(long, default_value = Peer::DurableStreams.program(), value_name = "PROGRAM")]
    durable_streams: PathBuf,
    /// Program of Redis.
    #[arg(long, default_value = Peer::Redis.program(), value_name = "PROGRAM")]
    redis: PathBuf,
}

impl CompareArgs {
    fn program(&self, peer: Peer) -> &Path {
        match peer {
            Peer::Thalweg => &self.thalweg,
            Peer::S2Lite => &self.s2,
            Peer::DurableStreams => &self.durable_streams,
            Peer::Redis => &self.redis,
        }
    }

    /// The loads that are asked for.
    fn workloads(&self) -> Result<Vec<Workload>> {
        let is_named = |name: &str| self.only.iter().any(|pattern| is_match(pattern, name));
        let chosen: Vec<_> = WORKLOADS
            .into_iter()
            .filter(|load| {
                if self.only.is_empty() {
                    !self.quick || load.is_quick
                } else {
                    is_named(load.name)
                }
            })
            .collect();
        ensure!(!chosen.is_empty(), "no load is called so; see --list");
        Ok(chosen)
    }
}

/// True when `pattern` is `name`, or its beginning with `*` behind it.
fn is_match(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// Runs the comparison, or only its report.
pub(crate) fn run(args: &CompareArgs) -> Result<()> {
    if let Some(path) = &args.render {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let comparison = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        return write_report(&comparison, &args.out);
    }
    let mut args = args.clone();
    if args.quick {
        (args.rounds, args.duration, args.warmup) =
            (1, Duration::from_secs(1), Duration::from_millis(500));
    }
    ensure!(!args.duration.is_zero(), "--duration must not be 0");
    let loads = args.workloads()?;
    if args.list {
        list(&loads);
        return Ok(());
    }
    let mut comparison = Comparison::default();
    let mut programs = Vec::new();
    for &peer in &args.peers {
        match peer::find(args.program(peer)) {
            Some(program) => programs.push((peer, program)),
            None => {
                let why = format!(
                    "SKIPPED, no `{}`: {}",
                    args.program(peer).display(),
                    peer.how_to_install()
                );
                eprintln!("compare: {}: {why}", peer.name());
                comparison.miss(peer.name(), why);
            }
        }
    }
    if programs.is_empty() {
        bail!("none of the servers is installed");
    }
    comparison.about = about(&args);
    comparison.servers = programs.iter().map(|(peer, program)| facts(*peer, program)).collect();
    comparison.loads = loads.iter().map(|load| load_facts(load, &programs)).collect();

    std::fs::create_dir_all(&args.out)?;
    let mut bench = Bench::new(&args, programs, comparison)?;
    for round in 1..=args.rounds {
        bench.round(round, &loads)?;
        // Whoever stops it later still has what was measured.
        write_report(&bench.comparison, &args.out)?;
    }
    if !args.no_counts {
        bench.count(&loads)?;
    }
    write_report(&bench.comparison, &args.out)?;
    println!("report      {}", args.out.join("compare.md").display());
    Ok(())
}

/// One table: what is run on which server.
fn list(loads: &[Workload]) {
    for load in loads {
        println!("{:<22} {}", load.name, load.title);
        for peer in Peer::ALL {
            let call = load.call(peer).map_or_else(|| "-".to_owned(), |call| call.join(" "));
            println!("  {:<17} {call}", peer.name());
        }
    }
}

fn about(args: &CompareArgs) -> About {
    let words: Vec<_> = std::env::args().skip(1).collect();
    About {
        label: args.label.clone(),
        machine: Environment::of(&args.dir).line(),
        command: format!("`loadgen {}`", words.join(" ")),
        rounds: args.rounds,
        duration_s: args.duration.as_secs_f64(),
        warmup_s: args.warmup.as_secs_f64(),
    }
}

fn facts(peer: Peer, program: &Path) -> ServerFacts {
    let version = peer.version_arguments().and_then(|argument| {
        let output = std::process::Command::new(program).arg(argument).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(text.lines().next()?.trim().to_owned())
    });
    ServerFacts {
        name: peer.name().to_owned(),
        version: version.unwrap_or_else(|| "it does not say".to_owned()),
        terms: peer.terms().to_owned(),
    }
}

fn load_facts(load: &Workload, programs: &[(Peer, PathBuf)]) -> LoadFacts {
    let stand_ins = programs
        .iter()
        .filter_map(|(peer, _)| Some((peer.name().to_owned(), load.stands_in(*peer)?)));
    LoadFacts {
        name: load.name.to_owned(),
        title: load.title.to_owned(),
        kind: match load.kind {
            Kind::Append(_) => LoadKind::Append,
            Kind::CatchUp { .. } => LoadKind::CatchUp,
            Kind::Follow { .. } => LoadKind::Follow,
        },
        stand_ins: stand_ins.collect(),
    }
}

/// Writes `compare.json`, `compare.md` and the plots.
fn write_report(comparison: &Comparison, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out)?;
    let json = serde_json::to_string_pretty(comparison)?;
    let [(_, rate, _), _, (_, p99, _)] = FIGURES;
    let [(rates, _), (p99s, _)] = markdown::PLOTS;
    for (name, text) in [
        ("compare.json", format!("{json}\n")),
        ("compare.md", markdown::render(comparison)),
        (
            rates,
            chart::render(comparison, "Appends, or records read, a second: more is better", rate),
        ),
        (
            p99s,
            chart::render(
                comparison,
                "99th percentile of latency, microseconds: less is better",
                p99,
            ),
        ),
    ] {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
