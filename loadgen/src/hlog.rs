//! `loadgen hlog`: percentiles of an HdrHistogram interval log, and their ratio to those of an
//! earlier one. Reads what this program writes (`latency.hlog`) and what a server's
//! `/debug/latency?format=hdr` answers: nanoseconds, by tag.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

/// Options of `loadgen hlog`.
#[derive(Debug, Clone, Args)]
pub(crate) struct HlogArgs {
    /// The log.
    #[arg(value_name = "FILE")]
    log: PathBuf,
    /// An earlier log, which this one is compared with.
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
}

/// The columns.
const QUANTILES: [(f64, &str); 5] =
    [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")];
/// The name of intervals without a tag.
const UNTAGGED: &str = "(no tag)";

/// All intervals of a log added up, by tag.
type Sums = BTreeMap<String, Histogram<u64>>;

/// Prints the table.
pub(crate) fn run(args: &HlogArgs) -> Result<()> {
    let sums = read(&args.log)?;
    let base = args.base.as_deref().map(read).transpose()?;
    print!("{}", table(&sums, base.as_ref()));
    Ok(())
}

fn read(path: &Path) -> Result<Sums> {
    let name = || path.display().to_string();
    let bytes = std::fs::read(path).with_context(name)?;
    sums(&bytes).with_context(name)
}

fn sums(log: &[u8]) -> Result<Sums> {
    let mut sums = Sums::new();
    for entry in IntervalLogIterator::new(log) {
        let entry = entry.map_err(|error| anyhow!("not an interval log: {error:?}"))?;
        let LogEntry::Interval(interval) = entry else { continue };
        let bytes = STANDARD.decode(interval.encoded_histogram()).context("not base64")?;
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut &bytes[..])
            .map_err(|error| anyhow!("not a histogram: {error}"))?;
        let tag = interval.tag().map_or(UNTAGGED, |tag| tag.as_str()).to_owned();
        // One that grows takes what any other holds.
        let sum = sums.entry(tag).or_insert_with(|| Histogram::new(3).expect("three digits"));
        sum.add(&histogram).map_err(|error| anyhow!("histograms do not add up: {error}"))?;
    }
    Ok(sums)
}

/// A line for each tag in milliseconds, and one below it with ratios where the base has it too.
fn table(sums: &Sums, base: Option<&Sums>) -> String {
    let width = sums.keys().map(String::len).max().unwrap_or(0).max("  / base".len()) + 2;
    let mut text = format!("{:<width$}{:>12}", "tag", "count");
    for (_, name) in QUANTILES {
        let _ = write!(text, "{:>12}", format!("{name} ms"));
    }
    text.push('\n');
    for (tag, histogram) in sums {
        let _ = write!(text, "{tag:<width$}{:>12}", histogram.len());
        for (quantile, _) in QUANTILES {
            let _ = write!(text, "{:>12.3}", ns(histogram, quantile) / 1e6);
        }
        text.push('\n');
        let Some(base) = base.and_then(|base| base.get(tag)) else { continue };
        let _ = write!(text, "{:<width$}{:>12}", "  / base", "");
        for (quantile, _) in QUANTILES {
            let ratio = ns(histogram, quantile) / ns(base, quantile).max(1.0);
            let _ = write!(text, "{ratio:>12.2}");
        }
        text.push('\n');
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "three significant digits")]
fn ns(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::serialization::V2DeflateSerializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

    use super::*;
    use crate::stats::histogram;

    /// A log with these values, in milliseconds, each an interval of its own.
    fn log(intervals: &[(Option<&'static str>, u64)]) -> Vec<u8> {
        let (mut log, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
        let mut writer = IntervalLogWriterBuilder::new()
            .add_comment("for a test")
            .begin_log_with(&mut log, &mut serializer)
            .unwrap();
        for (tag, ms) in intervals {
            let mut histogram = histogram();
            histogram.record(ms * 1_000_000).unwrap();
            let tag = tag.and_then(Tag::new);
            let second = Duration::from_secs(1);
            writer.write_histogram(&histogram, second, second, tag).unwrap();
        }
        log
    }

    #[test]
    fn intervals_are_added_up_by_tag_and_compared() {
        let new = sums(&log(&[(None, 1), (Some("express/sync"), 4), (None, 3)])).unwrap();
        let old = sums(&log(&[(None, 2), (Some("other"), 9)])).unwrap();
        let text = table(&new, Some(&old));
        let lines: Vec<Vec<_>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..3], ["tag", "count", "p50"], "{text}");
        assert_eq!(lines[1][..4], ["(no", "tag)", "2", "1.000"], "{text}");
        assert_eq!(lines[2], ["/", "base", "0.50", "1.50", "1.50", "1.50", "1.50"], "{text}");
        assert_eq!(lines[3][..3], ["express/sync", "1", "4.002"], "{text}");
        assert_eq!(lines.len(), 4, "nothing to compare the tag with: {text}");
    }

    #[test]
    fn what_is_no_log_is_refused() {
        for bad in ["0.1,1.0,2.0,AAAA\n", "0.1,1.0,2.0,*\n", "words\n"] {
            assert!(sums(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(sums(b"#only a comment\n").unwrap().is_empty());
    }
}
