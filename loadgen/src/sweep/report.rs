//! `sweep.json`, `sweep.md` and `sweep.svg`: pure functions of what was found.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::ladder::{Knee, Step, Sweep, Verdict, knee};
use crate::child::Latency;
use crate::compare::markdown::{cell, number};
use crate::lines::{Line, Mark, Scale, Sheet, render};

/// A quantile, in microseconds.
type Quantile = fn(&Latency) -> f64;

/// The percentiles that are drawn.
const DRAWN: [(&str, Quantile); 4] = [
    ("p50", |latency| latency.p50_us),
    ("p90", |latency| latency.p90_us),
    ("p99", |latency| latency.p99_us),
    ("p99.9", |latency| latency.p99_9_us),
];

/// Writes all three into `out`.
pub(super) fn write(sweep: &Sweep, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out)?;
    let mut value = serde_json::to_value(sweep)?;
    let Knee { holds, fails } = knee(&sweep.steps, sweep.p99_max_us);
    value["knee"] = json!({
        "holds_per_s": holds,
        "fails_per_s": fails.map(|(rate, _)| rate),
        "why": fails.map(|(_, verdict)| verdict.words()),
    });
    std::fs::write(out.join("sweep.json"), format!("{value:#}\n"))?;
    std::fs::write(out.join("sweep.md"), markdown(sweep))?;
    std::fs::write(out.join("sweep.svg"), svg(sweep))?;
    Ok(())
}

/// One rung for whoever watches.
pub(super) fn line(step: &Step, verdict: Verdict) -> String {
    let us = |of: Quantile| {
        step.figures.latency.as_ref().map_or_else(|| "-".to_owned(), |l| format!("{:.0}", of(l)))
    };
    format!(
        "offered {:>10} /s  acknowledged {:>10.1} /s  p50 {} us  p99 {} us  {}",
        step.offered_per_s,
        step.figures.per_s,
        us(|latency| latency.p50_us),
        us(|latency| latency.p99_us),
        verdict.words()
    )
}

/// Where the knee is, in one sentence.
pub(super) fn conclusion(sweep: &Sweep) -> String {
    let bound = number(sweep.p99_max_us / 1e3);
    match knee(&sweep.steps, sweep.p99_max_us) {
        Knee { holds: None, fails: None } => "nothing was measured".to_owned(),
        Knee { holds: Some(holds), fails: None } => format!(
            "{} appends/s held, with p99 within {bound} ms: no higher rate was tried",
            number(holds)
        ),
        Knee { holds: Some(holds), fails: Some((fails, why)) } => format!(
            "{} appends/s held, with p99 within {bound} ms; {} did not ({})",
            number(holds),
            number(fails),
            why.words()
        ),
        Knee { holds: None, fails: Some((fails, why)) } => {
            format!("the lowest rate, {} appends/s, did not hold ({})", number(fails), why.words())
        }
    }
}

fn markdown(sweep: &Sweep) -> String {
    let mut text = String::from("# Latency against throughput\n\n");
    for (name, value) in [("Of", &sweep.label), ("Machine", &sweep.machine)] {
        if !value.is_empty() {
            let _ = writeln!(text, "* {name}: {}", cell(value));
        }
    }
    let _ = writeln!(
        text,
        "* Run by `{}`\n* {} s for each rate after {} s that are left out, in an open loop: latency \
         counts from the intended send. The load generator runs on the same machine unless the \
         address says otherwise.\n\n**{}**\n\n![latency against throughput](sweep.svg)\n",
        sweep.command,
        sweep.duration_s,
        sweep.warmup_s,
        conclusion(sweep)
    );
    text.push_str(
        "| offered /s | acknowledged /s | MiB/s | p50 us | p90 us | p99 us | p99.9 us | max us | errors | tries | |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n",
    );
    for step in &sweep.steps {
        let figures = &step.figures;
        let [offered, per_s, mib] =
            [step.offered_per_s, figures.per_s, figures.mib_per_s].map(number);
        let _ = write!(text, "| {offered} | {per_s} | {mib} |");
        let of_all = DRAWN.map(|(_, of)| of).into_iter().chain([max as Quantile]);
        for of in of_all {
            let us = figures.latency.as_ref().map(|latency| number(of(latency)));
            let _ = write!(text, " {} |", us.as_deref().unwrap_or("-"));
        }
        let verdict = step.verdict(sweep.p99_max_us).words();
        let _ = writeln!(text, " {} | {} | {verdict} |", figures.errors, step.tries);
    }
    text
}

fn max(latency: &Latency) -> f64 {
    latency.max_us
}

fn svg(sweep: &Sweep) -> String {
    let lines = DRAWN.map(|(name, of)| {
        let point = |step: &Step| {
            let latency = step.figures.latency.as_ref()?;
            Some((step.figures.per_s, of(latency) / 1e3))
        };
        let mut points: Vec<_> = sweep.steps.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { name: name.to_owned(), points }
    });
    let mut marks = vec![Mark::AtY(sweep.p99_max_us / 1e3, "bound of p99".to_owned())];
    if let Some(holds) = knee(&sweep.steps, sweep.p99_max_us).holds {
        marks.push(Mark::AtX(holds, "highest rate that held".to_owned()));
    }
    let load = if sweep.load.is_empty() { "" } else { "; " };
    render(&Sheet {
        title: "Latency against throughput",
        subtitle: &format!("{}{load}{}", sweep.machine, sweep.load),
        x: ("acknowledged appends/s", Scale::Linear),
        y: ("latency (ms)", Scale::Logarithmic),
        lines: &lines,
        marks: &marks,
    })
}

#[cfg(test)]
mod tests {
    use super::super::ladder::example;
    use super::*;

    fn sweep() -> Sweep {
        let steps = vec![
            example(1_000.0, 1_000.0, Some(400.0)),
            example(2_000.0, 1_999.0, Some(800.0)),
            example(4_000.0, 3_000.0, Some(900_000.0)),
            example(8_000.0, 7_999.0, None),
        ];
        Sweep { machine: "m".to_owned(), p99_max_us: 50_000.0, steps, ..Sweep::default() }
    }

    #[test]
    fn the_report_names_the_knee_and_every_rung() {
        let sweep = sweep();
        let text = markdown(&sweep);
        let wanted = "**2000 appends/s held, with p99 within 50.0 ms; 4000 did not (behind";
        assert!(text.contains(wanted), "{text}");
        assert!(
            text.contains("| 2000 | 1999 | 1.95 | 200 | 400 | 800 | 1600 | 2400 | 0 | 1 | holds |")
        );
        assert!(
            text.contains("| 8000 | 7999 | 7.81 | - | - | - | - | - | 0 | 1 | withheld"),
            "{text}"
        );
        let svg = svg(&sweep);
        for wanted in ["p99.9", "bound of p99", "highest rate that held"] {
            assert!(svg.contains(wanted), "{wanted}: {svg}");
        }
        let directory = tempfile::tempdir().unwrap();
        write(&sweep, directory.path()).unwrap();
        let json = std::fs::read_to_string(directory.path().join("sweep.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["knee"]["holds_per_s"], 2_000.0);
        assert_eq!(value["steps"][1]["figures"]["latency"]["p99_us"], 800.0);
    }

    #[test]
    fn ladders_without_a_knee_say_so() {
        let mut sweep = sweep();
        sweep.steps.truncate(2);
        assert!(conclusion(&sweep).ends_with("no higher rate was tried"));
        sweep.steps.drain(..);
        assert_eq!(conclusion(&sweep), "nothing was measured");
        sweep.steps = vec![example(10.0, 1.0, None)];
        assert!(conclusion(&sweep).starts_with("the lowest rate, 10.0 appends/s, did not hold"));
    }
}
