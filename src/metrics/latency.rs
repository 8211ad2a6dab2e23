//! What shards know about the latency of acks, as a table for people and as a log for tools.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram as HdrHistogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::phase::{Parts, Phase};
use super::snapshot::{CLASSES, index_of, name_of};
use crate::types::StorageClass;

/// Quantiles of the table, with their names.
const QUANTILES: [(f64, &str); 5] =
    [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")];

/// Latencies where they are counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct LatencyRef<'a> {
    pub(super) parts: &'a [Parts; 2],
    pub(super) whole: [&'a HdrHistogram<u64>; 2],
}

impl<'a> LatencyRef<'a> {
    /// How long acks of `class` spent in `phase`, in microseconds.
    pub(super) fn of(self, class: StorageClass, phase: Phase) -> &'a HdrHistogram<u64> {
        let [queue, write, sync, respond] = &self.parts[index_of(class)];
        match phase {
            Phase::Queue => queue,
            Phase::Write => write,
            Phase::Sync => sync,
            Phase::Respond => respond,
            Phase::Whole => self.whole[index_of(class)],
        }
    }
}

/// The latency of all acks of a shard since it was opened, or of several shards together.
///
/// * Shape: plain data, `Send`. Microseconds; the whole at three significant digits, its parts at
///   two; what is longer than 60 s counts as 60 s.
/// * Cost: about 420 KB.
#[derive(Debug, Clone)]
pub struct LatencySnapshot {
    pub(super) parts: [Parts; 2],
    pub(super) whole: [HdrHistogram<u64>; 2],
    /// How long it was counted.
    pub(super) span: Duration,
}

impl LatencySnapshot {
    /// Adds what another shard has counted.
    pub fn merge(&mut self, other: &Self) {
        let same = "all have the same bounds";
        for (parts, more) in self.parts.iter_mut().zip(&other.parts) {
            for (part, more) in parts.iter_mut().zip(more) {
                part.add(more).expect(same);
            }
        }
        for (whole, more) in self.whole.iter_mut().zip(&other.whole) {
            whole.add(more).expect(same);
        }
        self.span = self.span.max(other.span);
    }

    /// How long acks of `class` spent in `phase`, in microseconds.
    #[must_use]
    pub fn of(&self, class: StorageClass, phase: Phase) -> &HdrHistogram<u64> {
        LatencyRef { parts: &self.parts, whole: self.whole.each_ref() }.of(class, phase)
    }

    /// Each class and phase, with their names and what was counted.
    fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, &HdrHistogram<u64>)> {
        CLASSES.into_iter().flat_map(move |class| {
            let of = move |phase: Phase| (name_of(class), phase.name(), self.of(class, phase));
            Phase::ALL.into_iter().map(of)
        })
    }

    /// A line for each class and phase: count, mean and quantiles, in microseconds.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "# acks of {:.1} s, in microseconds; queue + write + sync + respond = whole\n",
            self.span.as_secs_f64()
        );
        let _ = write!(text, "{:<9}{:<8}{:>12}{:>11}", "class", "phase", "count", "mean");
        for (_, name) in QUANTILES {
            let _ = write!(text, "{name:>10}");
        }
        text.push('\n');
        for (class, phase, histogram) in self.all() {
            let _ = write!(text, "{class:<9}{phase:<8}{:>12}", histogram.len());
            if histogram.is_empty() {
                let _ = write!(text, "{:>11}", "-");
            } else {
                let _ = write!(text, "{:>11.1}", histogram.mean());
            }
            for (quantile, _) in QUANTILES {
                // The largest value that counts as the same, but none that never was.
                let value = histogram.value_at_quantile(quantile).min(histogram.max());
                if histogram.is_empty() {
                    let _ = write!(text, "{:>10}", "-");
                } else {
                    let _ = write!(text, "{value:>10}");
                }
            }
            text.push('\n');
        }
        text
    }

    /// One interval, from the start until `now`, for each class and phase with an ack, in the text
    /// format of HdrHistogram's logs (version 1.3).
    ///
    /// * Shape: nanoseconds, which tools for such logs expect; tags are `express/queue` and alike.
    #[must_use]
    pub fn interval_log(&self, now: SystemTime) -> Vec<u8> {
        let mut log = Vec::new();
        let takes_all = "a Vec takes every byte, and deflating into one does not fail";
        let mut serializer = V2DeflateSerializer::new();
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("Nanoseconds from arrival to ack, by storage class and phase")
            .with_start_time(now.checked_sub(self.span).unwrap_or(SystemTime::UNIX_EPOCH))
            .begin_log_with(&mut log, &mut serializer)
            .expect(takes_all);
        log.extend_from_slice(
            b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
              \"Interval_Compressed_Histogram\"\n",
        );
        let mut writer = IntervalLogWriterBuilder::new()
            .begin_log_with(&mut log, &mut serializer)
            .expect(takes_all);
        for (class, phase, histogram) in self.all().filter(|(.., one)| !one.is_empty()) {
            let tag = format!("{class}/{phase}");
            let tag = Tag::new(&tag).expect("neither commas nor blanks");
            let nanoseconds = in_nanoseconds(histogram);
            let start = Duration::ZERO;
            writer.write_histogram(&nanoseconds, start, self.span, Some(tag)).expect(takes_all);
        }
        log
    }
}

/// The same counts for a thousand times the values.
fn in_nanoseconds(histogram: &HdrHistogram<u64>) -> HdrHistogram<u64> {
    const NS_PER_US: u64 = 1_000;
    // Beyond the largest value by as much as a bucket of two digits is wide.
    let high = histogram.high() * NS_PER_US * 2;
    let mut scaled = HdrHistogram::new_with_bounds(NS_PER_US, high, histogram.sigfig())
        .expect("the bounds are those of a histogram, a thousand times");
    for bucket in histogram.iter_recorded() {
        let value = bucket.value_iterated_to().min(histogram.max()) * NS_PER_US;
        scaled.saturating_record_n(value, bucket.count_at_value());
    }
    scaled
}

#[cfg(test)]
mod tests;
