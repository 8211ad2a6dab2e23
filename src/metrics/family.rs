//! Metric families in the form that the text encoder takes.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as ProtoHistogram, LabelPair, Metric, MetricFamily,
    MetricType,
};

use super::histogram::Histogram;

/// The families of one exposition, in order. A family without samples is left out, because it
/// says nothing and the encoder refuses it.
#[derive(Debug, Default)]
pub(super) struct Families(Vec<MetricFamily>);

/// A series' labels; names are fixed, values may be any text (the encoder escapes them).
pub(super) type Labels = Vec<(&'static str, String)>;

/// How many of a histogram's units make one of the exposition's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    /// Records, batches or bytes: exposed as they are.
    Plain,
    /// Microseconds, exposed as seconds.
    MicrosecondsAsSeconds,
}

impl Unit {
    fn of(self, value: u64) -> f64 {
        match self {
            Self::Plain => value as f64,
            Self::MicrosecondsAsSeconds => value as f64 / 1e6,
        }
    }
}

impl Families {
    /// A number that only grows while the process lives.
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.count(name, help, Unit::Plain, samples);
    }

    /// Microseconds that only grow while the process lives.
    pub(super) fn counter_of_seconds(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.count(name, help, Unit::MicrosecondsAsSeconds, samples);
    }

    fn count(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let metrics = samples.into_iter().map(|(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(unit.of(value));
            let mut metric = labelled(labels);
            metric.set_counter(counter);
            metric
        });
        self.push(name, help, MetricType::COUNTER, metrics.collect());
    }

    /// A number as it is now.
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let metrics = samples.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = labelled(labels);
            metric.set_gauge(gauge);
            metric
        });
        self.push(name, help, MetricType::GAUGE, metrics.collect());
    }

    /// Histograms that have at least one observation; the others are left out.
    pub(super) fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        samples: impl IntoIterator<Item = (Labels, &'a Histogram)>,
    ) {
        let observed = samples.into_iter().filter(|(_, histogram)| histogram.count() > 0);
        let metrics = observed.map(|(labels, histogram)| {
            let mut metric = labelled(labels);
            metric.set_histogram(histogram_of(histogram, unit));
            metric
        });
        self.push(name, help, MetricType::HISTOGRAM, metrics.collect());
    }

    /// Families that were built elsewhere.
    pub(super) fn extend(&mut self, families: Vec<MetricFamily>) {
        self.0.extend(families);
    }

    /// All families, each with at least one sample.
    pub(super) fn into_vec(self) -> Vec<MetricFamily> {
        self.0
    }

    fn push(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

fn labelled(labels: Labels) -> Metric {
    let pair = |(name, value): (&'static str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    };
    Metric::from_label(labels.into_iter().map(pair).collect())
}

/// The encoder adds the open bucket, `+Inf`, from the sample count.
fn histogram_of(histogram: &Histogram, unit: Unit) -> ProtoHistogram {
    let bucket = |(bound, count): (u64, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(unit.of(bound));
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut proto = ProtoHistogram::default();
    proto.set_bucket(histogram.cumulative().map(bucket).collect());
    proto.set_sample_count(histogram.count());
    proto.set_sample_sum(unit.of(histogram.sum()));
    proto
}
