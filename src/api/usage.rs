//! The metrics endpoints (S2 specification, section 9): their queries and their answers.
//!
//! Types are checked first and fail with 400 `bad_query`; whether the parts make sense needs to
//! know the time, comes after the headers and fails with 422 `invalid`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::{ApiError, Code};
use super::query::{bad_query, known, unsigned_32};
use super::response::Response;
use super::route::StreamPath;
use crate::types::BasinName;
use crate::usage::{Interval, Part, Query, Set};

/// Longest time that may be asked for, in seconds: 90 days.
const SPAN_SECS_MAX: u32 = 90 * 86_400;
/// How far in the future the end may lie, in seconds: clocks differ.
const AHEAD_SECS_MAX: u64 = 60;

/// Whose usage is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageScope {
    /// The account's.
    Account,
    /// A basin's, which need not exist.
    Basin(BasinName),
    /// A stream's, which need not exist.
    Stream(StreamPath),
}

impl UsageScope {
    fn set(&self, text: &str) -> Option<Set> {
        Some(match (self, text) {
            (Self::Account, "active-basins") => Set::ActiveBasins,
            (Self::Account, "account-ops") => Set::AccountOps,
            (Self::Account, "estimated-billable-usage") => Set::BillableUsage,
            (Self::Basin(_), "storage") => Set::BasinStorage,
            (Self::Basin(_), "append-ops") => Set::AppendOps,
            (Self::Basin(_), "read-ops") => Set::ReadOps,
            (Self::Basin(_), "read-throughput") => Set::ReadThroughput,
            (Self::Basin(_), "append-throughput") => Set::AppendThroughput,
            (Self::Basin(_), "basin-ops") => Set::BasinOps,
            (Self::Stream(_), "storage") => Set::StreamStorage,
            _ => return None,
        })
    }
}

/// The query of a metrics endpoint with every type checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageParams {
    set: Set,
    start_s: Option<u32>,
    end_s: Option<u32>,
    interval: Option<Interval>,
}

impl UsageParams {
    /// Reads the query; errors are 400 `bad_query`.
    pub(crate) fn parse(scope: &UsageScope, query: Option<&str>) -> Result<Self, ApiError> {
        let [set, start, end, interval] = known(query, ["set", "start", "end", "interval"])?;
        let set = set.ok_or_else(|| bad_query("set", "missing"))?;
        let set = scope.set(&set).ok_or_else(|| bad_query("set", "not a metric set of this"))?;
        let interval = interval.map(|text| match &*text {
            "minute" => Ok(Interval::Minute),
            "hour" => Ok(Interval::Hour),
            "day" => Ok(Interval::Day),
            _ => Err(bad_query("interval", "must be minute, hour or day")),
        });
        Ok(Self {
            set,
            start_s: unsigned_32("start", start)?,
            end_s: unsigned_32("end", end)?,
            interval: interval.transpose()?,
        })
    }

    /// Checks that the parts make sense at the time `now_s`, in seconds since the Unix epoch.
    ///
    /// * Errors: 422 `invalid`.
    pub fn validate(self, now_s: u64) -> Result<Query, ApiError> {
        let invalid = |problem: &str| Err(ApiError::new(Code::Invalid, problem));
        let (Some(start_s), Some(end_s)) = (self.start_s, self.end_s) else {
            return invalid("start and end must be given");
        };
        if start_s > end_s {
            return invalid("start must not be after end");
        }
        if u64::from(end_s) > now_s.saturating_add(AHEAD_SECS_MAX) {
            return invalid("end must not be in the future");
        }
        if end_s - start_s > SPAN_SECS_MAX {
            return invalid("start and end may be at most 90 days apart");
        }
        let supported = self.set.intervals();
        let default = supported.first().copied().unwrap_or(Interval::Hour);
        let interval = self.interval.unwrap_or(default);
        // Of no meaning where there is no series; some clients send it all the same.
        if !supported.is_empty() && !supported.contains(&interval) {
            return invalid("this set does not support this interval");
        }
        Ok(Query { set: self.set, start_s, end_s, interval })
    }
}

#[derive(Serialize)]
struct Metrics {
    values: Vec<Metric>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Metric {
    Accumulation { name: &'static str, unit: &'static str, interval: &'static str, values: Points },
    Gauge { name: &'static str, unit: &'static str, values: Points },
    Label { name: &'static str, values: Vec<String> },
}

type Points = Vec<(u32, u64)>;

/// Spells the answer to `query`. What has no point in the time asked for is left out.
#[must_use]
pub fn response(query: &Query, part: Part) -> Response {
    let unit = match query.set {
        Set::ActiveBasins => {
            let values = part.labels.into_iter().collect();
            let label = Metric::Label { name: "active_basins", values };
            return Response::json(200, &Metrics { values: vec![label] });
        }
        Set::BillableUsage => "usd",
        Set::AccountOps | Set::BasinOps | Set::AppendOps | Set::ReadOps => "operations",
        Set::BasinStorage | Set::StreamStorage | Set::ReadThroughput | Set::AppendThroughput => {
            "bytes"
        }
    };
    let is_gauge = matches!(query.set, Set::BasinStorage | Set::StreamStorage);
    let interval = query.interval.as_str();
    let metric = |(name, points): (&'static str, BTreeMap<u32, u64>)| {
        let values = points.into_iter().collect();
        if is_gauge {
            Metric::Gauge { name, unit, values }
        } else {
            Metric::Accumulation { name, unit, interval, values }
        }
    };
    Response::json(200, &Metrics { values: part.series.into_iter().map(metric).collect() })
}

#[cfg(test)]
mod tests;
