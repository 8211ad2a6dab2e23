//! `loadgen sweep`: a ladder of offered rates, and where on it the server can no longer follow.
//!
//! * Each rung is a call of `loadgen append` in an open loop, so latency counts from the intended
//!   send and waiting is not forgotten; the rungs share streams and settings, only the rate
//!   differs.
//! * A rate holds when at least 95 % of what was offered is acknowledged and p99 is within a bound,
//!   at the first try or at another. The *knee* lies between the highest rate that held and the
//!   lowest that did not ([`knee`]). A few more runs between the two narrow it.
//! * `sweep.json` holds every figure; `sweep.md` and `sweep.svg` are pure functions of it.

mod ladder;
mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::ladder::{Step, Sweep, Verdict, knee};
use crate::child::{Load, timed};
use crate::cli::{Rate, parse_duration};
use crate::client::Target;
use crate::environment::Environment;

/// Options of `loadgen sweep`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SweepArgs {
    /// Server address, plain HTTP.
    #[arg(long, default_value = "http://127.0.0.1:4440", value_parser = Target::parse)]
    url: Target,
    /// Lowest rate, in appends a second.
    #[arg(long, default_value = "250", value_parser = rate, value_name = "R")]
    from: f64,
    /// Each rate is the one before times this.
    #[arg(long, default_value_t = 1.5, value_name = "N")]
    factor: f64,
    /// Most rates of the ladder.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    steps: u32,
    /// These rates instead, in rising order.
    #[arg(long, value_parser = rate, value_delimiter = ',', value_name = "R,R")]
    rates: Vec<f64>,
    /// Rates tried beyond the first that does not hold.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    beyond: u32,
    /// Runs between the last rate that holds and the first that does not.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=20))]
    refine: u32,
    /// Runs of a rate that does not hold: a machine may stall once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    tries: u32,
    /// Longest p99 with which a rate holds.
    #[arg(long, default_value = "50ms", value_parser = parse_duration, value_name = "D")]
    p99_max: Duration,
    /// Measured time of each run.
    #[arg(long, default_value = "5s", value_parser = parse_duration, value_name = "D")]
    duration: Duration,
    /// Load before it, left out.
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "D")]
    warmup: Duration,
    /// Where the report goes.
    #[arg(long, default_value = "sweep", value_name = "DIR")]
    out: PathBuf,
    /// What the report says it is of: a commit, a date.
    #[arg(long, default_value = "", value_name = "TEXT")]
    label: String,
    /// Options of `loadgen append` for every run, behind `--`.
    #[arg(last = true, value_name = "OPTION")]
    options: Vec<String>,
}

/// What each run sets itself.
const RESERVED: [&str; 5] = ["--url", "--rate", "--duration", "--warmup", "--out"];

fn rate(text: &str) -> Result<f64, String> {
    match Rate::parse(text)? {
        Rate::PerSecond(rate) => Ok(rate),
        Rate::Max => Err("want a number of appends a second".to_owned()),
    }
}

impl SweepArgs {
    /// The rates of the ladder.
    fn ladder(&self) -> Result<Vec<f64>> {
        if self.rates.is_empty() {
            ensure!(self.factor > 1.0 && self.factor <= 100.0, "--factor: want 1 to 100");
            let rates = (0..self.steps).scan(self.from, |next, _| {
                let rate = *next;
                *next *= self.factor;
                // Beyond what `loadgen append` takes there is no rate.
                (rate <= 10_000_000.0).then_some(rate)
            });
            return Ok(rates.collect());
        }
        ensure!(self.rates.is_sorted_by(|a, b| a < b), "--rates: want them in rising order");
        Ok(self.rates.clone())
    }
}

/// Climbs the ladder and writes the report.
pub(crate) fn run(args: &SweepArgs) -> Result<()> {
    ensure!(!args.duration.is_zero(), "--duration must not be 0");
    let ladder = args.ladder()?;
    let load = Load::new(&args.options, &RESERVED)?;
    let words: Vec<_> = std::env::args().skip(1).collect();
    let mut sweep = Sweep {
        label: args.label.clone(),
        machine: Environment::read().line(),
        command: format!("loadgen {}", words.join(" ")),
        load: load.line(),
        p99_max_us: args.p99_max.as_secs_f64() * 1e6,
        duration_s: args.duration.as_secs_f64(),
        warmup_s: args.warmup.as_secs_f64(),
        steps: Vec::new(),
    };
    let mut failed = 0;
    for rate in ladder {
        if step(args, &load, rate, &mut sweep)? != Verdict::Holds {
            failed += 1;
        }
        // Whoever stops it later still has what was measured.
        report::write(&sweep, &args.out)?;
        if failed > args.beyond {
            break;
        }
    }
    for _ in 0..args.refine {
        let knee = knee(&sweep.steps, sweep.p99_max_us);
        let (Some(holds), Some((fails, _))) = (knee.holds, knee.fails) else { break };
        step(args, &load, (holds * fails).sqrt(), &mut sweep)?;
        report::write(&sweep, &args.out)?;
    }
    println!("{}", report::conclusion(&sweep));
    println!("report      {}", args.out.join("sweep.md").display());
    Ok(())
}

/// Runs `rate`, again if it does not hold; tells how it went.
fn step(args: &SweepArgs, load: &Load, rate: f64, sweep: &mut Sweep) -> Result<Verdict> {
    // Whole appends a second, unless there are so few that it would matter.
    let rate = if rate >= 100.0 { rate.round() } else { rate };
    let out = directory(&args.out, rate);
    let mut own = vec!["--url".to_owned(), args.url.to_string()];
    own.extend(["--rate".to_owned(), format!("{rate}")]);
    own.extend(timed("--duration", args.duration));
    own.extend(timed("--warmup", args.warmup));
    let run = |tries: u32| -> Result<(Step, Verdict)> {
        let figures = load
            .run(&own, args.duration + args.warmup, &out)
            .with_context(|| format!("at {rate} appends/s"))?;
        let step = Step { offered_per_s: rate, tries, figures };
        let verdict = step.verdict(sweep.p99_max_us);
        println!("{}", report::line(&step, verdict));
        Ok((step, verdict))
    };
    let (mut step, mut verdict) = run(1)?;
    for again in 2..=args.tries {
        if verdict == Verdict::Holds {
            break;
        }
        (step, verdict) = run(again)?;
    }
    sweep.steps.push(step);
    sweep.steps.sort_by(|a, b| a.offered_per_s.total_cmp(&b.offered_per_s));
    Ok(verdict)
}

fn directory(out: &Path, rate: f64) -> PathBuf {
    out.join(format!("rate-{rate}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(line: &str) -> SweepArgs {
        let words = ["loadgen", "sweep"].into_iter().chain(line.split_whitespace());
        let Command::Sweep(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        *args
    }

    #[test]
    fn a_ladder_rises_by_a_factor_or_as_it_is_told() {
        assert_eq!(
            args("--from 100 --factor 2 --steps 4").ladder().unwrap(),
            [100.0, 200.0, 400.0, 800.0]
        );
        assert_eq!(args("--from 4000k --factor 2").ladder().unwrap(), [4e6, 8e6]);
        assert_eq!(args("--rates 500,2k").ladder().unwrap(), [500.0, 2_000.0]);
        for bad in ["--rates 5,5", "--rates 5,2", "--factor 1", "--factor nan"] {
            assert!(args(bad).ladder().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_behind_two_dashes_goes_to_the_load() {
        let args = args("--rates 5 -- --protocol s2s --depth 4");
        let load = Load::new(&args.options, &RESERVED).unwrap();
        assert_eq!(load.line(), "--protocol s2s --depth 4");
    }
}
