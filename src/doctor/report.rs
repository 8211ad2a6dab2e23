//! The report, for people and for programs.

use std::io::{Result, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::finding::{Finding, Group, Level, Verdict};
use super::flush::{Express, Latencies, Row};

/// Version of the JSON form: raised when a member changes its meaning or goes.
pub const REPORT_VERSION: u32 = 1;
/// Columns of the text.
const COLUMNS: usize = 96;
/// Where findings begin, behind their level.
const INDENT: usize = 11;

/// Everything that was found. The JSON form is this, member by member.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this form.
    pub report_version: u32,
    /// Version of the program.
    pub thalweg_version: &'static str,
    /// What it comes to.
    pub verdict: Verdict,
    /// The data directory, as asked for.
    pub data_dir: PathBuf,
    /// It, or the nearest directory above that exists: what was looked at.
    pub looked_at: PathBuf,
    /// Expected latency of Express appends; null when nothing was measured.
    pub express: Option<Express>,
    /// What was measured, by size; empty when nothing was.
    pub measured: Vec<Row>,
    /// Everything that was looked at, by group.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Writes it as one JSON object.
    ///
    /// * Errors: the output's.
    pub fn write_json(&self, out: &mut impl Write) -> Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    /// Writes it to be read.
    ///
    /// * Errors: the output's.
    pub fn write_text(&self, out: &mut impl Write) -> Result<()> {
        let mut group = None;
        for finding in &self.findings {
            if group != Some(finding.group) {
                group = Some(finding.group);
                writeln!(out, "{}", finding.group.heading())?;
                if finding.group == Group::Flush {
                    self.write_rows(out)?;
                }
            }
            write_finding(finding, out)?;
        }
        writeln!(out)?;
        self.write_verdict(out)
    }

    fn write_rows(&self, out: &mut impl Write) -> Result<()> {
        if self.measured.is_empty() {
            return Ok(());
        }
        let heads = ["p50 ms", "p90 ms", "p99 ms", "max ms", "count"];
        writeln!(out, "  {:<30}{}", "", heads.map(|head| format!("{head:>10}")).concat())?;
        for row in &self.measured {
            let size = format!("{} KiB", row.write_bytes / 1024);
            write_row(out, &format!("{size:>8}  write alone"), &row.write_alone)?;
            write_row(out, "          sync after a write", &row.sync)?;
            write_row(out, "          write and sync", &row.write_and_sync)?;
        }
        Ok(())
    }

    fn write_verdict(&self, out: &mut impl Write) -> Result<()> {
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        let plural = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        let failures = plural(count(Level::Failure), "failure");
        let warnings = plural(count(Level::Warning), "warning");
        let place = self.data_dir.display();
        let verdict = match self.verdict {
            Verdict::Fit => format!("Fit: a server can run on {place}."),
            Verdict::FitWithWarnings => {
                format!("Fit, with {warnings}: a server can run on {place}; see above.")
            }
            Verdict::NotFit => {
                format!("Not fit: {failures} and {warnings} for {place}; see above.")
            }
        };
        let derived = self.express.map(|express| format!("Latency: {}.", express.derived));
        for text in derived.into_iter().chain([verdict]) {
            wrap(&text, COLUMNS).iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        Ok(())
    }
}

fn write_row(out: &mut impl Write, name: &str, of: &Latencies) -> Result<()> {
    let ms = |us: u64| format!("{:>10}", format!("{}.{:03}", us / 1000, us % 1000));
    let times = [of.p50_us, of.p90_us, of.p99_us, of.max_us].map(ms).concat();
    writeln!(out, "  {name:<30}{times}{:>10}", of.count)
}

fn write_finding(finding: &Finding, out: &mut impl Write) -> Result<()> {
    let label = match finding.level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warning => "WARNING",
        Level::Failure => "FAILURE",
    };
    let advice = match finding.advice.as_str() {
        "" => String::new(),
        advice => format!("-> {advice}"),
    };
    let mut label = Some(label);
    for text in [&finding.what, &finding.why, &advice].into_iter().filter(|text| !text.is_empty()) {
        for line in wrap(text, COLUMNS - INDENT) {
            writeln!(out, "  {:<9}{line}", label.take().unwrap_or_default())?;
        }
    }
    Ok(())
}

/// Breaks a text at blanks; a word that is too long for a line has one of its own.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > columns {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: Vec<Finding>) -> Report {
        Report {
            report_version: REPORT_VERSION,
            thalweg_version: "1",
            verdict: Verdict::of(&findings),
            data_dir: "d".into(),
            looked_at: "/d".into(),
            express: None,
            measured: Vec::new(),
            findings,
        }
    }

    #[test]
    fn text_is_aligned_and_grouped() {
        let findings = vec![
            Finding::ok("a", Group::Kernel, "good"),
            Finding::warning("b", Group::Kernel, "bad").why("since ".repeat(16)).advice("do it"),
            Finding::note("c", Group::Machine, "so"),
        ];
        let mut out = Vec::new();
        report(findings).write_text(&mut out).unwrap();
        let since = "since ".repeat(14);
        let expected = format!(
            "Kernel\n  ok       good\n  WARNING  bad\n           {}\n           since since\n           \
             -> do it\nMachine\n  note     so\n\n\
             Fit, with 1 warning: a server can run on d; see above.\n",
            since.trim_end()
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_has_every_member() {
        let failure = Finding::failure("x.y", Group::Directory, "so").advice("do it").stops();
        let mut out = Vec::new();
        report(vec![failure]).write_json(&mut out).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let finding = serde_json::json!({
            "id": "x.y", "group": "directory", "level": "failure", "what": "so", "why": "",
            "do": "do it", "stops_server": true,
        });
        assert_eq!(
            value,
            serde_json::json!({
                "report_version": 1, "thalweg_version": "1", "verdict": "not_fit", "data_dir": "d",
                "looked_at": "/d", "express": null, "measured": [], "findings": [finding],
            })
        );
    }

    #[test]
    fn long_words_stay_whole() {
        assert_eq!(wrap("a https://long b", 5), ["a", "https://long", "b"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
