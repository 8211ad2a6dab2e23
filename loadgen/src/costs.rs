//! `loadgen costs`: cost curves, drawn from the results of many runs.
//!
//! A run is a directory `AXIS-VALUE-rROUND` with what `loadgen append --server-pid` wrote: the
//! runs of an axis differ in that one setting. `costs.md` has a table for each axis, and two plots:
//! throughput, and the server's processor time for each append.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::child::Figures;
use crate::compare::figures::Spread;
use crate::compare::markdown::{cell, number};
use crate::environment::Environment;
use crate::lines::{Line, Scale, Sheet, render};

/// Options of `loadgen costs`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CostsArgs {
    /// Directory with the runs.
    #[arg(value_name = "DIR")]
    runs: PathBuf,
    /// Where the tables and plots go.
    #[arg(long, default_value = "costs", value_name = "DIR")]
    out: PathBuf,
    /// What the tables say they are of: a commit, a date.
    #[arg(long, default_value = "", value_name = "TEXT")]
    label: String,
    /// The command that makes an axis, with `AXIS` for its name; shown below each table.
    #[arg(long, default_value = "", value_name = "TEXT")]
    command: String,
}

/// The axes that are known, with their titles.
const AXES: [(&str, &str); 4] = [
    ("record-bytes", "bytes of a record"),
    ("connections", "connections"),
    ("streams", "streams"),
    ("shards", "shards"),
];

/// Everything that is drawn.
#[derive(Debug, Clone, Default)]
struct Costs {
    label: String,
    machine: String,
    command: String,
    axes: Vec<Axis>,
}

#[derive(Debug, Clone, Default)]
struct Axis {
    name: &'static str,
    title: &'static str,
    /// What all of its runs have in common, as options of `loadgen append`.
    call: String,
    points: Vec<Point>,
}

/// One value of an axis, and its rounds.
#[derive(Debug, Clone, Default)]
struct Point {
    value: u64,
    rounds: Vec<Figures>,
}

impl Point {
    fn spread(&self, figure: fn(&Figures) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(figure))
    }
}

/// Reads all runs and writes tables and plots.
pub(crate) fn run(args: &CostsArgs) -> Result<()> {
    let mut costs = Costs {
        label: args.label.clone(),
        machine: Environment::of(&args.runs).line(),
        command: args.command.clone(),
        axes: Vec::new(),
    };
    for (name, title) in AXES {
        if let Some(axis) = read_axis(&args.runs, name, title)? {
            costs.axes.push(axis);
        }
    }
    ensure!(!costs.axes.is_empty(), "{}: no run of any axis", args.runs.display());
    std::fs::create_dir_all(&args.out)?;
    for axis in &costs.axes {
        for (kind, svg) in plots(&costs, axis) {
            std::fs::write(args.out.join(format!("{}-{kind}.svg", axis.name)), svg)?;
        }
    }
    let text = markdown(&costs);
    std::fs::write(args.out.join("costs.md"), &text)?;
    print!("{text}");
    Ok(())
}

/// The runs of an axis; `None` when there are none.
fn read_axis(runs: &Path, name: &'static str, title: &'static str) -> Result<Option<Axis>> {
    let mut points: BTreeMap<u64, Vec<Figures>> = BTreeMap::new();
    let mut call = String::new();
    let entries = std::fs::read_dir(runs).with_context(|| runs.display().to_string())?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    // The order of a directory is no order.
    paths.sort();
    for path in paths {
        let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(value) = value_of(file_name, name) else { continue };
        let (figures, result) = Figures::read(&path)?;
        call = call_of(&result["settings"], name);
        points.entry(value).or_default().push(figures);
    }
    if points.is_empty() {
        return Ok(None);
    }
    let points = points.into_iter().map(|(value, rounds)| Point { value, rounds }).collect();
    Ok(Some(Axis { name, title, call, points }))
}

/// The value in `AXIS-VALUE-rROUND`, if it is of this axis.
fn value_of(directory: &str, axis: &str) -> Option<u64> {
    let (value, round) = directory.strip_prefix(axis)?.strip_prefix('-')?.split_once("-r")?;
    round.parse::<u32>().ok()?;
    value.parse().ok()
}

/// The options of a run, without the one that its axis varies.
fn call_of(settings: &Value, axis: &str) -> String {
    let mut call = "loadgen append".to_owned();
    for name in [
        "rate",
        "protocol",
        "http",
        "depth",
        "connections",
        "streams",
        "threads",
        "record_bytes",
        "records_per_batch",
        "storage_class",
    ] {
        let option = name.replace('_', "-");
        let value = match &settings[name] {
            // Results have the version's name, the command line its number.
            Value::String(text) if name == "http" => {
                if text == "HTTP/2" { "2" } else { "1" }.into()
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if option != axis {
            let _ = write!(call, " --{option} {value}");
        }
    }
    call
}

/// Throughput and processor time of an axis, each with a name for its file.
fn plots(costs: &Costs, axis: &Axis) -> [(&'static str, String); 2] {
    let plot = |title: &str, y_title: &str, figure: fn(&Figures) -> Option<f64>| {
        let of = |pick: fn(Spread) -> f64| -> Vec<(f64, f64)> {
            let point = |point: &Point| Some((point.value as f64, pick(point.spread(figure)?)));
            axis.points.iter().filter_map(point).collect()
        };
        let mut lines = vec![Line { name: "median".to_owned(), points: of(|s| s.median) }];
        if axis.points.iter().any(|point| point.rounds.len() > 1) {
            lines.push(Line { name: "highest".to_owned(), points: of(|s| s.max) });
            lines.push(Line { name: "lowest".to_owned(), points: of(|s| s.min) });
        }
        render(&Sheet {
            title: &format!("{title} by {}", axis.title),
            subtitle: &costs.machine,
            x: (axis.title, Scale::Logarithmic),
            y: (y_title, Scale::Linear),
            lines: &lines,
            marks: &[],
        })
    };
    [
        ("rate", plot("Throughput", "appends/s", |figures| Some(figures.per_s))),
        ("cpu", plot("Processor time", "us of the server per append", |figures| figures.cpu_us)),
    ]
}

fn markdown(costs: &Costs) -> String {
    let mut text = String::new();
    for (name, value) in [("Of", &costs.label), ("Machine", &costs.machine)] {
        if !value.is_empty() {
            let _ = writeln!(text, "* {name}: {}", cell(value));
        }
    }
    text.push_str(
        "* Medians over the rounds, with the extremes in brackets. Processor time is user and \
         system time of all of the server's threads over the measured time, divided by the appends \
         that were acknowledged in it. The load generator runs on the same machine and takes its \
         share of it.\n",
    );
    for axis in &costs.axes {
        let _ = writeln!(
            text,
            "\n### By {title}\n\n![throughput by {title}]({name}-rate.svg)\n\n\
             ![processor time by {title}]({name}-cpu.svg)\n\n\
             | {title} | appends/s | MiB/s | server us/append | p50 us | p99 us | rounds |\n\
             |---:|---:|---:|---:|---:|---:|---:|",
            title = axis.title,
            name = axis.name
        );
        for point in &axis.points {
            let figures: [fn(&Figures) -> Option<f64>; 5] = [
                |figures| Some(figures.per_s),
                |figures| Some(figures.mib_per_s),
                |figures| figures.cpu_us,
                |figures| Some(figures.latency?.p50_us),
                |figures| Some(figures.latency?.p99_us),
            ];
            let cells = figures.map(|figure| spread(point.spread(figure)));
            let rounds = point.rounds.len();
            let _ = writeln!(text, "| {} | {} | {rounds} |", point.value, cells.join(" | "));
        }
        let (call, name) = (&axis.call, axis.name);
        let _ = match name {
            // A setting of the server, not of the load.
            "shards" => writeln!(text, "\nEach run: `thalweg serve --shards VALUE` and `{call}`"),
            _ => writeln!(text, "\nEach run: `{call} --{name} VALUE`"),
        };
        if !costs.command.is_empty() {
            let _ = writeln!(text, "Made by `{}`", costs.command.replace("AXIS", axis.name));
        }
    }
    text
}

fn spread(spread: Option<Spread>) -> String {
    match spread {
        None => "-".to_owned(),
        Some(Spread { median, min, max }) if min < max => {
            format!("{} ({} to {})", number(median), number(min), number(max))
        }
        Some(Spread { median, .. }) => number(median),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_is_named_by_axis_value_and_round() {
        for (name, expected) in [
            ("record-bytes-1024-r1", Some(1_024)),
            ("record-bytes-1024-r12", Some(1_024)),
            ("record-bytes-1024", None),
            ("record-bytes-x-r1", None),
            ("record-bytes-1-rx", None),
            ("streams-1024-r1", None),
            ("record-bytes", None),
        ] {
            assert_eq!(value_of(name, "record-bytes"), expected, "{name}");
        }
    }

    #[test]
    fn runs_become_a_table_and_two_plots_for_each_axis() {
        let directory = tempfile::tempdir().unwrap();
        let (runs, out) = (directory.path().join("runs"), directory.path().join("out"));
        for (name, per_s, cpu_us) in [
            ("connections-1-r1", 100.0, 50.0),
            ("connections-16-r1", 900.0, 20.0),
            ("connections-16-r2", 1_100.0, 30.0),
            ("unknown-1-r1", 1.0, 1.0),
        ] {
            let result = json!({
                "settings": {"rate": "max", "protocol": "json", "http": "HTTP/1.1", "connections": 16, "streams": 1},
                "throughput": {"appends_per_s": per_s, "mib_per_s": 1.0},
                "appends": {"never_sent": 0}, "errors": {}, "latency_us": null,
                "server_cpu": {"us_per_append": cpu_us},
            });
            std::fs::create_dir_all(runs.join(name)).unwrap();
            std::fs::write(runs.join(name).join("result.json"), result.to_string()).unwrap();
        }
        let args = CostsArgs {
            runs,
            out: out.clone(),
            label: "c0ffee".to_owned(),
            command: "scripts/curves.sh --only AXIS".to_owned(),
        };
        run(&args).unwrap();
        let text = std::fs::read_to_string(out.join("costs.md")).unwrap();
        for wanted in [
            "* Of: c0ffee",
            "### By connections",
            "| 1 | 100 | 1.00 | 50.0 | - | - | 1 |",
            "| 16 | 1000 (900 to 1100) | 1.00 | 25.0 (20.0 to 30.0) | - | - | 2 |",
            "Each run: `loadgen append --rate max --protocol json --http 1 ",
            "Made by `scripts/curves.sh --only connections`",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(!text.contains("--connections 16") && !text.contains("unknown"), "{text}");
        for kind in ["rate", "cpu"] {
            let svg = std::fs::read_to_string(out.join(format!("connections-{kind}.svg"))).unwrap();
            assert!(svg.contains(">median<") && svg.contains(">lowest<"), "{svg}");
        }
        assert!(!out.join("streams-rate.svg").exists(), "an axis without runs is left out");
        assert!(run(&CostsArgs { runs: out, ..args }).is_err(), "nothing to draw");
    }
}
