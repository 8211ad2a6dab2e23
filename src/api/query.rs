//! Query parameters of listings and reads (S2 specification, sections 3.3, 5.1 and 5.2).
//!
//! Strict for what is known: a parameter given twice, an empty number, a sign or anything beyond
//! the type's range is 400 `bad_query`. Unknown parameters are ignored. Names and values are
//! form-encoded: `+` is a blank, because browsers and form encoders write it so; a literal plus is
//! `%2B`.

use std::borrow::Cow;

use super::error::{ApiError, Code};
use super::percent::{Place, decode};
use crate::auth::Within;
use crate::codec::sse::EventId;
use crate::types::limits::{
    BATCH_METERED_BYTES_MAX, BATCH_RECORDS_MAX, LIST_ITEMS_MAX, UNARY_WAIT_SECS_MAX,
};
use crate::types::name::NameError;
use crate::types::{BasinName, StreamName, TokenId};

/// Which page of a listing is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// Only names that start with this.
    pub prefix: String,
    /// Only names that sort after this, by bytes.
    pub start_after: String,
    /// Most items on the page, 1 to 1000.
    pub limit: usize,
    /// What of that may be seen; everything, until somebody is asked.
    pub within: Within,
}

impl ListQuery {
    /// Reads the query of a basin listing.
    pub(crate) fn basins(query: Option<&str>) -> Result<Self, ApiError> {
        Self::parse(query, BasinName::check_prefix)
    }

    /// Reads the query of a stream listing.
    pub(crate) fn streams(query: Option<&str>) -> Result<Self, ApiError> {
        Self::parse(query, StreamName::check_prefix)
    }

    /// Reads the query of a token listing.
    pub(crate) fn tokens(query: Option<&str>) -> Result<Self, ApiError> {
        Self::parse(query, TokenId::check_prefix)
    }

    fn parse(
        query: Option<&str>,
        check: impl Fn(&str) -> Result<(), NameError>,
    ) -> Result<Self, ApiError> {
        const NAMES: [&str; 3] = ["prefix", "start_after", "limit"];
        let [prefix, start_after, limit] = known(query, NAMES)?;
        let text = |name: &str, value: Option<Cow<'_, str>>| {
            let value = value.unwrap_or_default();
            check(&value).map_err(|error| bad_query(name, error.0))?;
            Ok::<_, ApiError>(value.into_owned())
        };
        let limit = unsigned("limit", limit)?
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| (1..=LIST_ITEMS_MAX).contains(limit))
            .unwrap_or(LIST_ITEMS_MAX);
        Ok(Self {
            prefix: text("prefix", prefix)?,
            start_after: text("start_after", start_after)?,
            limit,
            within: Within::All,
        })
    }
}

/// Where a read starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStart {
    /// At this sequence number.
    SeqNum(u64),
    /// At the first record with this timestamp or a later one; milliseconds since the Unix epoch.
    Timestamp(u64),
    /// This many records before the tail.
    TailOffset(u64),
}

/// What a read asks for, valid on its own: bounds are as given, not yet reduced to a mode's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadQuery {
    /// Where to start; by default at the tail.
    pub start: ReadStart,
    /// Start at the tail if the start is beyond it.
    pub clamp: bool,
    /// Most records.
    pub count: Option<u64>,
    /// Most metered bytes.
    pub bytes: Option<u64>,
    /// Only records with earlier timestamps; milliseconds since the Unix epoch.
    pub until: Option<u64>,
    /// How long to wait at the tail, in seconds.
    pub wait_secs: Option<u32>,
}

/// The bounds of a unary read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnaryLimits {
    /// Most records, at most 1000; 0 asks for none.
    pub count: usize,
    /// Most metered bytes, at most 1 MiB; 0 asks for none.
    pub bytes: u64,
    /// How long to wait at the tail, at most 60 seconds.
    pub wait_secs: u32,
}

impl UnaryLimits {
    /// Whether the read may wait at the tail.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.wait_secs > 0
    }
}

impl ReadQuery {
    /// The bounds in force when this is a unary read.
    #[must_use]
    pub fn unary_limits(&self) -> UnaryLimits {
        let count = self.count.and_then(|count| usize::try_from(count).ok());
        UnaryLimits {
            count: count.map_or(BATCH_RECORDS_MAX, |count| count.min(BATCH_RECORDS_MAX)),
            bytes: self.bytes.map_or(BATCH_METERED_BYTES_MAX, |b| b.min(BATCH_METERED_BYTES_MAX)),
            wait_secs: self.wait_secs.unwrap_or(0).min(UNARY_WAIT_SECS_MAX),
        }
    }

    /// The bounds in force when this is a read session: only a read without bounds waits unless
    /// told otherwise.
    #[must_use]
    pub fn streaming_limits(&self) -> StreamingLimits {
        let bounded = self.count.is_some() || self.bytes.is_some() || self.until.is_some();
        let wait_secs = if bounded { Some(self.wait_secs.unwrap_or(0)) } else { self.wait_secs };
        StreamingLimits {
            count: self.count.unwrap_or(u64::MAX),
            bytes: self.bytes.unwrap_or(u64::MAX),
            wait_secs,
            may_start_at_tail: !bounded || wait_secs != Some(0),
        }
    }

    /// Goes on behind the event that a client saw last: bounds shrink by what it has.
    pub fn resume(&mut self, last: EventId) {
        self.start = ReadStart::SeqNum(last.seq_num.saturating_add(1));
        self.count = self.count.map(|count| count.saturating_sub(last.count));
        self.bytes = self.bytes.map(|bytes| bytes.saturating_sub(last.bytes));
    }
}

/// The bounds of a read session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamingLimits {
    /// Most records.
    pub count: u64,
    /// Most metered bytes.
    pub bytes: u64,
    /// How long to wait at the tail, in seconds; `None` for ever.
    pub wait_secs: Option<u32>,
    /// Whether a start at the tail is allowed.
    pub may_start_at_tail: bool,
}

/// The query of a read with every type checked, but not yet whether the parts go together: that
/// comes after the headers in the order of section 1.10.
#[derive(Debug)]
pub(crate) struct ReadParams {
    seq_num: Option<u64>,
    timestamp: Option<u64>,
    tail_offset: Option<u64>,
    clamp: bool,
    count: Option<u64>,
    bytes: Option<u64>,
    until: Option<u64>,
    wait_secs: Option<u32>,
}

impl ReadParams {
    /// Reads the query; errors are 400 `bad_query`.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        const NAMES: [&str; 8] =
            ["seq_num", "timestamp", "tail_offset", "clamp", "count", "bytes", "until", "wait"];
        let [seq_num, timestamp, tail_offset, clamp, count, bytes, until, wait] =
            known(query, NAMES)?;
        Ok(Self {
            seq_num: unsigned("seq_num", seq_num)?,
            timestamp: unsigned("timestamp", timestamp)?,
            tail_offset: unsigned("tail_offset", tail_offset)?,
            clamp: flag("clamp", clamp)?,
            count: unsigned("count", count)?,
            bytes: unsigned("bytes", bytes)?,
            until: unsigned("until", until)?,
            wait_secs: unsigned_32("wait", wait)?,
        })
    }

    /// Checks that the parts go together; errors are 422 `invalid`.
    pub(crate) fn validate(self) -> Result<ReadQuery, ApiError> {
        let start = match (self.seq_num, self.timestamp, self.tail_offset) {
            (None, None, None) => ReadStart::TailOffset(0),
            (Some(seq_num), None, None) => ReadStart::SeqNum(seq_num),
            (None, Some(timestamp), None) => ReadStart::Timestamp(timestamp),
            (None, None, Some(offset)) => ReadStart::TailOffset(offset),
            _ => {
                let message = "only one of seq_num, timestamp and tail_offset may be given";
                return Err(ApiError::new(Code::Invalid, message));
            }
        };
        if let (ReadStart::Timestamp(timestamp), Some(until)) = (start, self.until)
            && timestamp >= until
        {
            return Err(ApiError::new(Code::Invalid, "timestamp must be less than until"));
        }
        Ok(ReadQuery {
            start,
            clamp: self.clamp,
            count: self.count,
            bytes: self.bytes,
            until: self.until,
            wait_secs: self.wait_secs,
        })
    }
}

pub(crate) fn bad_query(name: &str, problem: &str) -> ApiError {
    ApiError::new(Code::BadQuery, format!("query parameter {name}: {problem}"))
}

/// The decoded values of the parameters in `names`, in that order.
pub(crate) fn known<'a, const N: usize>(
    query: Option<&'a str>,
    names: [&str; N],
) -> Result<[Option<Cow<'a, str>>; N], ApiError> {
    let mut values = [const { None }; N];
    for pair in query.unwrap_or_default().split('&') {
        let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = decode(raw_name, Place::Query) else { continue };
        let Some(index) = names.iter().position(|known| *known == name) else { continue };
        if values[index].is_some() {
            return Err(bad_query(&name, "given more than once"));
        }
        let value = decode(raw_value, Place::Query).ok_or_else(|| bad_query(&name, "not UTF-8"))?;
        values[index] = Some(value);
    }
    Ok(values)
}

/// Digits only: `u64::from_str` alone would take a leading plus.
fn unsigned(name: &str, value: Option<Cow<'_, str>>) -> Result<Option<u64>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    let number = value.parse().ok().filter(|_| digits);
    number.map(Some).ok_or_else(|| bad_query(name, "must be an unsigned integer"))
}

pub(crate) fn unsigned_32(
    name: &str,
    value: Option<Cow<'_, str>>,
) -> Result<Option<u32>, ApiError> {
    let number = unsigned(name, value)?.map(u32::try_from).transpose();
    number.map_err(|_| bad_query(name, "must fit into 32 bits"))
}

fn flag(name: &str, value: Option<Cow<'_, str>>) -> Result<bool, ApiError> {
    match value.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(bad_query(name, "must be true or false")),
    }
}

#[cfg(test)]
mod tests;
