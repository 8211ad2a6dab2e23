//! `loadgen pair A B`: one load on two servers that run already, in turns, and the ratio of what
//! they do with a confidence interval.
//!
//! * In each round both get the load once, one after the other; who is first changes with each
//!   round.
//! * A run is a call of `loadgen append`, so a figure here is the figure that anybody gets from it.
//! * `pair.json` holds every figure; `pair.md` is a pure function of it.
//!
//! Two servers on one disk or one core disturb each other also while only one is under load. Two
//! addresses of the same server must give intervals around 1: what is left of the machine's noise.

mod ratio;

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use self::ratio::{ROUNDS_MIN, Ratio};
use crate::child::{Figures, Load, timed};
use crate::cli::parse_duration;
use crate::client::Target;
use crate::compare::markdown::{cell, number};
use crate::environment::Environment;

/// Options of `loadgen pair`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PairArgs {
    /// Address of the first server, plain HTTP.
    #[arg(value_parser = Target::parse, value_name = "URL_A")]
    a: Target,
    /// Address of the second one; ratios are the second over the first.
    #[arg(value_parser = Target::parse, value_name = "URL_B")]
    b: Target,
    /// Rounds; each runs the load once on both.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(5..=1_000))]
    rounds: u32,
    /// Measured time of each run.
    #[arg(long, default_value = "4s", value_parser = parse_duration, value_name = "D")]
    duration: Duration,
    /// Load before it, left out.
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "D")]
    warmup: Duration,
    /// Probability with which an interval holds the ratio, in per cent.
    #[arg(long, default_value_t = 95.0, value_name = "P")]
    confidence: f64,
    /// Where the report goes.
    #[arg(long, default_value = "pair", value_name = "DIR")]
    out: PathBuf,
    /// What the report says it is of: two commits, a date.
    #[arg(long, default_value = "", value_name = "TEXT")]
    label: String,
    /// Options of `loadgen append` for every run, behind `--`; `--rate max` compares throughput, a
    /// rate that both can follow compares latency.
    #[arg(last = true, value_name = "OPTION")]
    options: Vec<String>,
}

/// What each run sets itself.
const RESERVED: [&str; 4] = ["--url", "--duration", "--warmup", "--out"];

/// Everything that the report is made of.
#[derive(Debug, Clone, Default, Serialize)]
struct Pair {
    label: String,
    machine: String,
    command: String,
    servers: [String; 2],
    load: String,
    confidence: f64,
    duration_s: f64,
    warmup_s: f64,
    /// The first and the second server's, by round.
    rounds: Vec<[Figures; 2]>,
}

/// A figure that is compared.
type Figure = fn(&Figures) -> Option<f64>;

/// The figures that are compared, by name.
const FIGURES: [(&str, Figure); 3] = [
    ("appends/s", |figures| Some(figures.per_s)),
    ("p50 us", |figures| Some(figures.latency?.p50_us)),
    ("p99 us", |figures| Some(figures.latency?.p99_us)),
];

impl Pair {
    /// The second over the first.
    fn ratio(&self, figure: Figure) -> Option<Ratio> {
        let both = |round: &[Figures; 2]| Some((figure(&round[0])?, figure(&round[1])?));
        let pairs: Vec<_> = self.rounds.iter().filter_map(both).collect();
        Ratio::of(&pairs, self.confidence)
    }
}

/// Runs all rounds and writes the report.
pub(crate) fn run(args: &PairArgs) -> Result<()> {
    ensure!(!args.duration.is_zero(), "--duration must not be 0");
    let is_share = args.confidence >= 50.0 && args.confidence <= 99.99;
    ensure!(is_share, "--confidence: want 50 to 99.99");
    let load = Load::new(&args.options, &RESERVED)?;
    let words: Vec<_> = std::env::args().skip(1).collect();
    let servers = [&args.a, &args.b];
    let mut pair = Pair {
        label: args.label.clone(),
        machine: Environment::read().line(),
        command: format!("loadgen {}", words.join(" ")),
        servers: servers.map(|server| server.to_string()),
        load: load.line(),
        confidence: args.confidence / 100.0,
        duration_s: args.duration.as_secs_f64(),
        warmup_s: args.warmup.as_secs_f64(),
        rounds: Vec::new(),
    };
    for round in 1..=args.rounds {
        let mut figures = [None, None];
        let order = if round.is_multiple_of(2) { [1, 0] } else { [0, 1] };
        for side in order {
            let name = ["a", "b"][side];
            let mut own = vec!["--url".to_owned(), pair.servers[side].clone()];
            own.extend(timed("--duration", args.duration));
            own.extend(timed("--warmup", args.warmup));
            let found = load
                .run(&own, args.duration + args.warmup, &args.out.join(format!("{name}-r{round}")))
                .with_context(|| format!("{name} in round {round}"))?;
            println!("{}", line(round, name, &found));
            figures[side] = Some(found);
        }
        if let [Some(a), Some(b)] = figures {
            pair.rounds.push([a, b]);
        }
        // Whoever stops it later still has what was measured.
        write(&pair, args)?;
    }
    print!("{}", table(&pair));
    println!("report      {}", args.out.join("pair.md").display());
    Ok(())
}

fn line(round: u32, name: &str, figures: &Figures) -> String {
    let latency = figures.latency.map_or_else(
        || "latency withheld".to_owned(),
        |latency| format!("p50 {:.0} us  p99 {:.0} us", latency.p50_us, latency.p99_us),
    );
    let errors =
        if figures.errors > 0 { format!("  {} errors", figures.errors) } else { String::new() };
    format!("round {round:<3} {name}  {:>10.1} /s  {latency}{errors}", figures.per_s)
}

fn write(pair: &Pair, args: &PairArgs) -> Result<()> {
    std::fs::create_dir_all(&args.out)?;
    let mut value = serde_json::to_value(pair)?;
    for (name, figure) in FIGURES {
        value["ratios"][name] = serde_json::to_value(pair.ratio(figure))?;
    }
    std::fs::write(args.out.join("pair.json"), format!("{value:#}\n"))?;
    std::fs::write(args.out.join("pair.md"), markdown(pair))?;
    Ok(())
}

fn markdown(pair: &Pair) -> String {
    let mut text = String::from("# Two servers\n\n");
    for (name, value) in [("Of", &pair.label), ("Machine", &pair.machine)] {
        if !value.is_empty() {
            let _ = writeln!(text, "* {name}: {}", cell(value));
        }
    }
    let [a, b] = &pair.servers;
    let _ = writeln!(
        text,
        "* a is {a}, b is {b}\n* Run by `{}`\n* {} rounds of {} s for each after {} s that are left \
         out, in turns\n",
        pair.command,
        pair.rounds.len(),
        pair.duration_s,
        pair.warmup_s
    );
    text.push_str(&table(pair));
    text
}

/// Geometric means of both, and b over a with its interval.
fn table(pair: &Pair) -> String {
    let percent = number(pair.confidence * 100.0);
    let mut text =
        format!("| | a | b | b / a | {percent} % interval | |\n|---|---:|---:|---:|---|---|\n");
    for (name, figure) in FIGURES {
        let mean = |side: usize| {
            let values = pair.rounds.iter().filter_map(|round| figure(&round[side]));
            let logs: Vec<f64> = values.filter(|value| *value > 0.0).map(f64::ln).collect();
            if logs.is_empty() {
                return "-".to_owned();
            }
            number((logs.iter().sum::<f64>() / logs.len() as f64).exp())
        };
        let (ratio, interval, words) = match pair.ratio(figure) {
            None => ("-".to_owned(), "-".to_owned(), format!("fewer than {ROUNDS_MIN} rounds")),
            Some(ratio) => (
                format!("{:.3}", ratio.ratio),
                format!("{:.3} to {:.3}", ratio.low, ratio.high),
                match ratio {
                    ratio if ratio.contains_one() => "no difference shown".to_owned(),
                    ratio if ratio.ratio > 1.0 => "b has more".to_owned(),
                    _ => "b has less".to_owned(),
                },
            ),
        };
        let (a, b) = (mean(0), mean(1));
        let _ = writeln!(text, "| {name} | {a} | {b} | {ratio} | {interval} | {words} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Latency;

    fn figures(per_s: f64, p99_us: Option<f64>) -> Figures {
        let latency = p99_us.map(|p99_us| Latency { p50_us: 100.0, p99_us, ..Latency::default() });
        Figures { per_s, latency, ..Figures::default() }
    }

    #[test]
    fn the_table_has_a_ratio_for_each_figure() {
        let rounds = (1..=5)
            .map(|n| {
                let noise = 1.0 + f64::from(n % 2) / 1_000.0;
                [figures(1_000.0, Some(300.0)), figures(2_000.0 * noise, Some(150.0 * noise))]
            })
            .collect();
        let mut pair = Pair { confidence: 0.95, rounds, ..Pair::default() };
        let text = markdown(&pair);
        assert!(text.contains("| | a | b | b / a | 95.0 % interval | |"), "{text}");
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("| ")).collect();
        assert!(lines[1].starts_with("| appends/s | 1000 | 2001 | 2.001 |"), "{text}");
        assert!(lines[1].ends_with("| b has more |"), "{text}");
        assert!(lines[2].ends_with("| 1.000 | 1.000 to 1.000 | no difference shown |"), "{text}");
        assert!(lines[3].ends_with("| b has less |"), "{text}");

        pair.rounds[0][1].latency = None;
        let text = markdown(&pair);
        assert!(text.contains("| p99 us | 300 | 150 | - | - | fewer than 5 rounds |"), "{text}");
        assert!(text.contains("b has more"), "throughput is known all the same: {text}");
    }
}
