//! What is asked of the counters, and what one shard has to say to it.

use std::collections::{BTreeMap, BTreeSet};

/// A set of metrics, of the account, a basin or a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Account: basins that had a stream.
    ActiveBasins,
    /// Account: operations on the account.
    AccountOps,
    /// Account: what it costs. Nothing.
    BillableUsage,
    /// Basin: bytes stored.
    BasinStorage,
    /// Basin: appends by storage class.
    AppendOps,
    /// Basin: reads, streaming and unary.
    ReadOps,
    /// Basin: bytes read.
    ReadThroughput,
    /// Basin: bytes appended by storage class.
    AppendThroughput,
    /// Basin: operations on the basin and its streams other than appends and reads.
    BasinOps,
    /// Stream: bytes stored.
    StreamStorage,
}

impl Set {
    /// The intervals that it can be asked for in, the default first; none when it is no series.
    #[must_use]
    pub const fn intervals(self) -> &'static [Interval] {
        use Interval::{Day, Hour, Minute};
        match self {
            Self::ActiveBasins => &[],
            Self::AccountOps | Self::BasinOps => &[Hour, Minute, Day],
            Self::BillableUsage => &[Hour, Day],
            Self::BasinStorage => &[Hour],
            Self::StreamStorage => &[Minute],
            Self::AppendOps | Self::ReadOps | Self::ReadThroughput | Self::AppendThroughput => {
                &[Minute, Hour, Day]
            }
        }
    }
}

/// What one point of a series stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// 60 seconds.
    Minute,
    /// 3600 seconds.
    Hour,
    /// 86400 seconds, in UTC.
    Day,
}

impl Interval {
    /// Its length in seconds.
    #[must_use]
    pub const fn secs(self) -> u32 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// As the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// What is asked for: a set over the time `start_s..end_s`, in seconds since the Unix epoch.
///
/// Every interval that overlaps that time is answered whole: its point bears the interval's start,
/// which may be before `start_s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The set.
    pub set: Set,
    /// Start, included.
    pub start_s: u32,
    /// End, excluded.
    pub end_s: u32,
    /// What a point stands for; of no meaning where the set is no series.
    pub interval: Interval,
}

impl Query {
    /// Numbers of the buckets of `bucket_s` seconds that answer it: those that overlap the
    /// intervals asked for.
    pub(super) fn buckets(&self, bucket_s: u32) -> std::ops::Range<u32> {
        if self.start_s >= self.end_s {
            return 0..0;
        }
        let interval_s = self.interval.secs();
        let start_s = self.start_s / interval_s * interval_s;
        start_s / bucket_s..self.end_s.div_ceil(interval_s).saturating_mul(interval_s) / bucket_s
    }
}

/// What one shard has to say to a [`Query`]; those of all shards together are the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// By name: points by the start of their interval, in seconds since the Unix epoch.
    pub series: BTreeMap<&'static str, BTreeMap<u32, u64>>,
    /// Names of basins.
    pub labels: BTreeSet<String>,
}

impl Part {
    /// The stored bytes of a stream: only what they are now is known, so there is one point, at
    /// the present minute, or none when that was not asked for.
    #[must_use]
    pub fn storage_now(query: &Query, now_s: u64, bytes: u64) -> Self {
        let minute = u32::try_from(now_s / 60).unwrap_or(u32::MAX);
        let mut part = Self::default();
        if query.buckets(60).contains(&minute) {
            part.series.insert("storage", BTreeMap::from([(minute.saturating_mul(60), bytes)]));
        }
        part
    }

    /// Adds what another shard says: every record and operation is counted on one shard only.
    pub fn merge(&mut self, other: Self) {
        for (name, points) in other.series {
            let series = self.series.entry(name).or_default();
            for (at, value) in points {
                *series.entry(at).or_default() += value;
            }
        }
        self.labels.extend(other.labels);
    }
}
