//! Runs of `loadgen append` by this same program, one after the other: a figure here is the figure
//! that anybody gets from that call.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::{AppendArgs, Cli, Command as Subcommand};
use crate::compare::server;

/// Longest that a call may take beyond its own times.
const CALL_LIMIT: Duration = Duration::from_secs(120);
/// Statuses that leave a result: all well, and too slow for its own latency figures.
const ACCEPTED: [i32; 2] = [0, 3];

/// What a run found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Appends a second that were due; absent in a closed loop.
    pub(crate) offered_per_s: Option<f64>,
    /// Appends a second that were acknowledged.
    pub(crate) per_s: f64,
    pub(crate) mib_per_s: f64,
    /// From intended send in an open loop, from actual send in a closed one; in microseconds.
    /// Absent where the generator was too slow for its own figures.
    pub(crate) latency: Option<Latency>,
    /// Processor time of the server for each append, in microseconds, where it was asked for.
    pub(crate) cpu_us: Option<f64>,
    /// Answers that were errors, and connections lost.
    pub(crate) errors: u64,
    /// Appends that were due and never found a free connection.
    pub(crate) never_sent: u64,
}

/// Latency by quantile, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p99_9_us: f64,
    pub(crate) max_us: f64,
}

impl Figures {
    /// Reads `result.json`; `None` when it is none.
    pub(crate) fn of(result: &Value) -> Option<Self> {
        let throughput = &result["throughput"];
        let errors = result["errors"].as_object()?.values().filter_map(Value::as_u64).sum();
        Some(Self {
            offered_per_s: result["settings"]["rate"].as_f64(),
            per_s: throughput["appends_per_s"].as_f64()?,
            mib_per_s: throughput["mib_per_s"].as_f64()?,
            latency: Latency::of(&result["latency_us"]),
            cpu_us: result["server_cpu"]["us_per_append"].as_f64(),
            errors,
            never_sent: result["appends"]["never_sent"].as_u64()?,
        })
    }

    /// The figures in the `result.json` of `directory`.
    pub(crate) fn read(directory: &Path) -> Result<(Self, Value)> {
        let path = directory.join("result.json");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let result: Value =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let figures =
            Self::of(&result).with_context(|| format!("{} without figures", path.display()))?;
        Ok((figures, result))
    }
}

impl Latency {
    fn of(quantiles: &Value) -> Option<Self> {
        let us = |name: &str| quantiles[name].as_f64();
        Some(Self {
            p50_us: us("p50")?,
            p90_us: us("p90")?,
            p99_us: us("p99")?,
            p99_9_us: us("p99_9")?,
            max_us: us("max")?,
        })
    }
}

/// The options of `loadgen append` that are the same in all runs.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    options: Vec<String>,
}

impl Load {
    /// Checks `options` as `loadgen append` would.
    ///
    /// Errors: they are not its options, or set one of `reserved`, which the caller sets.
    pub(crate) fn new(options: &[String], reserved: &[&str]) -> Result<Self> {
        let is_reserved = |option: &&String| {
            let name = option.split('=').next().unwrap_or_default();
            reserved.contains(&name)
        };
        if let Some(option) = options.iter().find(is_reserved) {
            bail!("{option} is set for each run, not behind --");
        }
        let load = Self { options: options.to_vec() };
        load.parsed()?;
        Ok(load)
    }

    /// The options as `loadgen append` understands them.
    pub(crate) fn parsed(&self) -> Result<AppendArgs> {
        let words = ["loadgen".to_owned(), "append".to_owned()];
        let command = Cli::try_parse_from(words.iter().chain(&self.options))?.command;
        let Subcommand::Append(args) = command else { bail!("not options of loadgen append") };
        Ok(*args)
    }

    /// The options in one line.
    pub(crate) fn line(&self) -> String {
        self.options.join(" ")
    }

    /// One run with `own` options besides; what it says and finds stays in `out`.
    pub(crate) fn run(&self, own: &[String], times: Duration, out: &Path) -> Result<Figures> {
        if out.exists() {
            // What an earlier run left must not pass for this one's.
            std::fs::remove_dir_all(out)?;
        }
        std::fs::create_dir_all(out)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("append").args(&self.options).args(own).arg("--out").arg(out);
        let log = out.join("summary.txt");
        server::run(&mut command, CALL_LIMIT + times, &log, &ACCEPTED)?;
        Ok(Figures::read(out)?.0)
    }
}

/// An option with a time.
pub(crate) fn timed(name: &str, time: Duration) -> [String; 2] {
    [name.to_owned(), format!("{}s", time.as_secs_f64())]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_are_those_of_append_and_leave_the_callers_alone() {
        let load = Load::new(&words("--connections 4 --protocol s2s"), &["--rate"]).unwrap();
        assert_eq!(load.parsed().unwrap().connections, 4);
        for line in ["--rate 5", "--rate=5", "--no-such-option", "word", "--connections 0"] {
            assert!(Load::new(&words(line), &["--rate"]).is_err(), "{line}");
        }
    }

    #[test]
    fn figures_are_taken_from_where_a_run_writes_them() {
        let mut result = json!({
            "settings": {"rate": 500.0},
            "throughput": {"appends_per_s": 499.0, "mib_per_s": 2.0},
            "appends": {"never_sent": 3},
            "errors": {"timeout": 2, "429 rate_limited": 1},
            "latency_us": {"p50": 1.0, "p90": 2.0, "p99": 3.0, "p99_9": 4.0, "max": 5.0},
            "server_cpu": {"us_per_append": 40.5},
        });
        let latency = Latency { p50_us: 1.0, p90_us: 2.0, p99_us: 3.0, p99_9_us: 4.0, max_us: 5.0 };
        let figures = Figures {
            offered_per_s: Some(500.0),
            per_s: 499.0,
            mib_per_s: 2.0,
            latency: Some(latency),
            cpu_us: Some(40.5),
            errors: 3,
            never_sent: 3,
        };
        assert_eq!(Figures::of(&result), Some(figures.clone()));
        result["latency_us"] = Value::Null;
        result["settings"]["rate"] = json!("max");
        let withheld = Figures { latency: None, offered_per_s: None, ..figures };
        assert_eq!(Figures::of(&result), Some(withheld));
        assert_eq!(Figures::of(&json!({})), None);
    }
}
