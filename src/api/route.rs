//! From a request's head to the operation it asks for.
//!
//! The path is split at each literal `/` before anything is decoded, and nothing is collapsed:
//! `a%2Fb` is one segment, an empty segment is an empty name, a trailing `/` is another route.
//! Stages come in the order of section 1.10; see [`route`].

mod method;

use super::error::{ApiError, Code};
use super::header;
use super::latency::LatencyQuery;
use super::negotiate::{MediaType, media_type, request_coding, session_coding};
use super::percent::{Place, decode};
use super::query::{ListQuery, ReadParams, ReadQuery};
use super::request::Parts;
use super::usage::{UsageParams, UsageScope};
use crate::codec::{BatchForm, Coding, Feed};
use crate::dashboard::Place as Shown;
use crate::types::name::NameError;
use crate::types::{
    BasinName, PartialStreamConfig, RequestToken, StreamName, SuppliedKey, TokenId,
};
use method::Method;

/// What a request asks for, with every argument its head carries.
///
/// HEAD gives the operation of GET; the transport leaves the body out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Is the server well?
    Health,
    /// Prometheus metrics.
    Metrics,
    /// Where the time until the acks went.
    Latency(LatencyQuery),
    /// Something of the dashboard.
    Dashboard {
        /// What.
        place: Shown,
        /// Whether the browser has it already.
        is_known: bool,
    },
    /// Everything that is counted, for a page that asks often.
    Stats,
    /// Any OPTIONS request: an empty 200.
    Options,
    /// A page of basins.
    ListBasins(ListQuery),
    /// Create the basin that the body names
    /// ([`control::CreateBasin`](super::control::CreateBasin)).
    CreateBasin {
        /// The idempotency token.
        token: Option<RequestToken>,
    },
    /// A basin's configuration.
    GetBasin(BasinName),
    /// Create a basin, or replace the configuration of the one that is there
    /// ([`control::EnsureBasin`](super::control::EnsureBasin)).
    EnsureBasin {
        /// Its name.
        basin: BasinName,
        /// Whether the body counts: without a `content-type` it does not.
        has_body: bool,
    },
    /// Change a basin's configuration
    /// ([`control::reconfigure_basin`](super::control::reconfigure_basin)).
    ReconfigureBasin(BasinName),
    /// Delete a basin.
    DeleteBasin(BasinName),
    /// A page of a basin's streams.
    ListStreams {
        /// Where to look.
        basin: BasinName,
        /// Which page.
        query: ListQuery,
    },
    /// Create the stream that the body names
    /// ([`control::CreateStream`](super::control::CreateStream)).
    CreateStream {
        /// Where to create it.
        basin: BasinName,
        /// The idempotency token.
        token: Option<RequestToken>,
    },
    /// A stream's configuration.
    GetStream(StreamPath),
    /// Create a stream, or replace the configuration of the one that is there
    /// ([`control::ensure_stream`](super::control::ensure_stream)).
    EnsureStream {
        /// Which one.
        path: StreamPath,
        /// Whether the body counts: without a `content-type` it does not.
        has_body: bool,
    },
    /// Change a stream's configuration
    /// ([`control::reconfigure_stream`](super::control::reconfigure_stream)).
    ReconfigureStream(StreamPath),
    /// Delete a stream.
    DeleteStream(StreamPath),
    /// All locations.
    ListLocations,
    /// The location of new basins.
    GetDefaultLocation,
    /// Make the location that the body names the one of new basins
    /// ([`location::set_default`](super::location::set_default)).
    SetDefaultLocation,
    /// A stream's tail.
    CheckTail(StreamPath),
    /// Append the batch in the body.
    Append {
        /// Where to.
        path: StreamPath,
        /// The key to an encrypted stream.
        key: Option<SuppliedKey>,
        /// How the body spells it.
        form: BatchForm,
        /// Whether the answer is protobuf; otherwise it is JSON.
        answer_proto: bool,
        /// Whether the answer comes with a receipt.
        receipt: bool,
        /// Configuration of the stream, should this request create it.
        auto_create: Option<PartialStreamConfig>,
    },
    /// Append the batches of an S2S session.
    AppendSession {
        /// Where to.
        path: StreamPath,
        /// The key to an encrypted stream.
        key: Option<SuppliedKey>,
        /// How large answers are compressed.
        coding: Option<Coding>,
        /// Whether acknowledgements come with a receipt.
        receipt: bool,
        /// Configuration of the stream, should this request create it.
        auto_create: Option<PartialStreamConfig>,
    },
    /// Read one batch.
    Read {
        /// Where from.
        path: StreamPath,
        /// The key to an encrypted stream.
        key: Option<SuppliedKey>,
        /// What to read.
        query: ReadQuery,
        /// How the answer spells it.
        form: BatchForm,
        /// Configuration of the stream, should this request create it.
        auto_create: Option<PartialStreamConfig>,
    },
    /// Read batch after batch, as S2S messages or as server-sent events.
    ReadSession {
        /// Where from.
        path: StreamPath,
        /// The key to an encrypted stream.
        key: Option<SuppliedKey>,
        /// What to read.
        query: ReadQuery,
        /// How the answer spells it.
        feed: Feed,
        /// Configuration of the stream, should this request create it.
        auto_create: Option<PartialStreamConfig>,
    },
    /// What was used.
    Usage {
        /// By whom.
        scope: UsageScope,
        /// Of what, and when; still to be judged against the time.
        params: UsageParams,
    },
    /// A page of access tokens.
    ListTokens(ListQuery),
    /// Issue the access token that the body describes
    /// ([`token::parse_issue`](super::token::parse_issue)).
    IssueToken,
    /// Revoke an access token.
    RevokeToken(TokenId),
}

/// A stream and the basin it is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamPath {
    /// The basin.
    pub basin: BasinName,
    /// The stream.
    pub stream: StreamName,
}

/// Finds the operation that `parts` asks for.
///
/// * Order: OPTIONS, route, method, `s2-request-token`, `s2-basin`, path, query, the headers that
///   decide a body's mode, what the body's headers promise, semantics (422).
/// * Errors: as section 1.10 orders them.
pub fn route(parts: &Parts<'_>) -> Result<Operation, ApiError> {
    if parts.method == "OPTIONS" {
        return Ok(Operation::Options);
    }
    let resource = Resource::find(parts.path).ok_or_else(no_such_route)?;
    let method = Method::of(parts.method).filter(|method| resource.methods().contains(method));
    let method = method.ok_or_else(|| method_not_allowed(resource))?;
    match resource {
        Resource::Health => Ok(Operation::Health),
        Resource::Metrics => Ok(Operation::Metrics),
        Resource::Latency => Ok(Operation::Latency(LatencyQuery::parse(parts.query)?)),
        Resource::Dashboard(place) => {
            let known = parts.headers.first("if-none-match");
            let is_known = known.is_some_and(|tags| place.is_known(tags));
            Ok(Operation::Dashboard { place, is_known })
        }
        Resource::Stats => Ok(Operation::Stats),
        Resource::Basins => basins(method, parts),
        Resource::Basin(raw) => basin(method, raw, parts),
        Resource::Streams => streams(method, parts),
        Resource::Stream(raw) => stream(method, stream_path(raw, parts)?, parts),
        Resource::Tail(raw) => Ok(Operation::CheckTail(stream_path(raw, parts)?)),
        Resource::Records(raw) => {
            let path = stream_path(raw, parts)?;
            if method == Method::Post { append(path, parts) } else { read(path, parts) }
        }
        Resource::AccessTokens => tokens(method, parts),
        Resource::AccessToken(raw) => {
            Ok(Operation::RevokeToken(name_in_path("access token", raw, TokenId::new)?))
        }
        Resource::Usage(raw) => usage(raw, parts),
        Resource::Locations => Ok(Operation::ListLocations),
        Resource::DefaultLocation => default_location(method, parts),
    }
}

/// What a path names. Names are still percent-encoded: they are judged after the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource<'a> {
    Health,
    Metrics,
    Latency,
    Dashboard(Shown),
    Stats,
    Basins,
    Basin(&'a str),
    Streams,
    Stream(&'a str),
    Records(&'a str),
    Tail(&'a str),
    AccessTokens,
    AccessToken(&'a str),
    /// The basin, and the stream in it.
    Usage(Option<(&'a str, Option<&'a str>)>),
    Locations,
    DefaultLocation,
}

impl<'a> Resource<'a> {
    fn find(path: &'a str) -> Option<Self> {
        Self::of_api(path).or_else(|| Shown::find(path).map(Self::Dashboard))
    }

    fn of_api(path: &'a str) -> Option<Self> {
        const SEGMENTS_MAX: usize = 5;
        let rest = path.strip_prefix('/')?;
        if rest.ends_with('/') {
            return None;
        }
        let mut segments = [""; SEGMENTS_MAX];
        let mut count = 0;
        for segment in rest.split('/') {
            *segments.get_mut(count)? = segment;
            count += 1;
        }
        match segments[..count] {
            ["health" | "ping"] => Some(Self::Health),
            ["metrics"] => Some(Self::Metrics),
            ["debug", "latency"] => Some(Self::Latency),
            ["debug", "stats"] => Some(Self::Stats),
            ["v1", "basins"] => Some(Self::Basins),
            ["v1", "basins", basin] => Some(Self::Basin(basin)),
            ["v1", "streams"] => Some(Self::Streams),
            ["v1", "streams", stream] => Some(Self::Stream(stream)),
            ["v1", "streams", stream, "records"] => Some(Self::Records(stream)),
            ["v1", "streams", stream, "records", "tail"] => Some(Self::Tail(stream)),
            ["v1", "access-tokens"] => Some(Self::AccessTokens),
            ["v1", "access-tokens", id] => Some(Self::AccessToken(id)),
            ["v1", "metrics"] => Some(Self::Usage(None)),
            ["v1", "metrics", basin] => Some(Self::Usage(Some((basin, None)))),
            ["v1", "metrics", basin, stream] => Some(Self::Usage(Some((basin, Some(stream))))),
            ["v1", "locations"] => Some(Self::Locations),
            ["v1", "locations", "default"] => Some(Self::DefaultLocation),
            _ => None,
        }
    }

    /// The methods that the specification gives this resource.
    fn methods(self) -> &'static [Method] {
        use Method::{Delete, Get, Patch, Post, Put};
        match self {
            Self::Basins | Self::Streams | Self::Records(_) | Self::AccessTokens => &[Get, Post],
            Self::Basin(_) | Self::Stream(_) => &[Get, Put, Patch, Delete],
            Self::Health
            | Self::Metrics
            | Self::Latency
            | Self::Dashboard(_)
            | Self::Stats
            | Self::Tail(_)
            | Self::Usage(_)
            | Self::Locations => &[Get],
            Self::AccessToken(_) => &[Delete],
            Self::DefaultLocation => &[Get, Put],
        }
    }
}

/// 404 `not_found`: nothing is there.
pub(super) fn no_such_route() -> ApiError {
    ApiError::new(Code::NotFound, "no such route")
}

fn method_not_allowed(resource: Resource<'_>) -> ApiError {
    let mut allow = String::new();
    for method in resource.methods() {
        allow.push_str(method.listed());
        allow.push_str(", ");
    }
    allow.push_str("OPTIONS");
    let error = ApiError::new(Code::MethodNotAllowed, "the route does not have this method");
    error.with_header("allow", allow)
}

fn basins(method: Method, parts: &Parts<'_>) -> Result<Operation, ApiError> {
    if method != Method::Post {
        return Ok(Operation::ListBasins(ListQuery::basins(parts.query)?));
    }
    let token = header::request_token(parts.headers)?;
    header::check_json_body(parts.headers)?;
    Ok(Operation::CreateBasin { token })
}

fn basin(method: Method, raw: &str, parts: &Parts<'_>) -> Result<Operation, ApiError> {
    let basin = name_in_path("basin", raw, BasinName::new)?;
    match method {
        Method::Put => {
            let has_body = header::has_json_body(parts.headers)?;
            Ok(Operation::EnsureBasin { basin, has_body })
        }
        Method::Patch => {
            header::check_json_body(parts.headers)?;
            Ok(Operation::ReconfigureBasin(basin))
        }
        Method::Delete => Ok(Operation::DeleteBasin(basin)),
        Method::Get | Method::Post => Ok(Operation::GetBasin(basin)),
    }
}

fn streams(method: Method, parts: &Parts<'_>) -> Result<Operation, ApiError> {
    if method != Method::Post {
        let basin = header::basin(parts.headers)?;
        return Ok(Operation::ListStreams { basin, query: ListQuery::streams(parts.query)? });
    }
    let token = header::request_token(parts.headers)?;
    let basin = header::basin(parts.headers)?;
    header::check_json_body(parts.headers)?;
    Ok(Operation::CreateStream { basin, token })
}

fn stream(method: Method, path: StreamPath, parts: &Parts<'_>) -> Result<Operation, ApiError> {
    match method {
        Method::Put => {
            let has_body = header::has_json_body(parts.headers)?;
            Ok(Operation::EnsureStream { path, has_body })
        }
        Method::Patch => {
            header::check_json_body(parts.headers)?;
            Ok(Operation::ReconfigureStream(path))
        }
        Method::Delete => Ok(Operation::DeleteStream(path)),
        Method::Get | Method::Post => Ok(Operation::GetStream(path)),
    }
}

fn tokens(method: Method, parts: &Parts<'_>) -> Result<Operation, ApiError> {
    if method != Method::Post {
        return Ok(Operation::ListTokens(ListQuery::tokens(parts.query)?));
    }
    header::check_json_body(parts.headers)?;
    Ok(Operation::IssueToken)
}

fn default_location(method: Method, parts: &Parts<'_>) -> Result<Operation, ApiError> {
    if method != Method::Put {
        return Ok(Operation::GetDefaultLocation);
    }
    header::check_json_body(parts.headers)?;
    Ok(Operation::SetDefaultLocation)
}

fn append(path: StreamPath, parts: &Parts<'_>) -> Result<Operation, ApiError> {
    let headers = parts.headers;
    let key = header::encryption_key(headers)?;
    let auto_create = header::stream_config(headers)?;
    let receipt = header::wants_receipt(headers);
    let form = match media_type(headers, "content-type") {
        Some(MediaType::S2s) => {
            header::check_uncoded_body(headers)?;
            let coding = session_coding(headers);
            return Ok(Operation::AppendSession { path, key, coding, receipt, auto_create });
        }
        Some(MediaType::Protobuf) => {
            request_coding(headers)?;
            BatchForm::Proto
        }
        _ => {
            let format = header::format(headers)?;
            header::check_json_body(headers)?;
            BatchForm::Json(format)
        }
    };
    let answer_proto = media_type(headers, "accept") == Some(MediaType::Protobuf);
    Ok(Operation::Append { path, key, form, answer_proto, receipt, auto_create })
}

/// Only `Content-Type` asks for an S2S session: clients' `Accept` differs (section 1.6).
fn read(path: StreamPath, parts: &Parts<'_>) -> Result<Operation, ApiError> {
    let headers = parts.headers;
    let params = ReadParams::parse(parts.query)?;
    let key = header::encryption_key(headers)?;
    let auto_create = header::stream_config(headers)?;
    if media_type(headers, "content-type") == Some(MediaType::S2s) {
        let (query, coding) = (params.validate()?, session_coding(headers));
        let feed = Feed::S2s { coding };
        return Ok(Operation::ReadSession { path, key, query, feed, auto_create });
    }
    let format = header::format(headers)?;
    match media_type(headers, "accept") {
        Some(MediaType::EventStream) => {
            let resumed = header::last_event_id(headers)?;
            let mut query = params.validate()?;
            if let Some(id) = resumed {
                query.resume(id);
            }
            let feed = Feed::Sse { format, resumed };
            Ok(Operation::ReadSession { path, key, query, feed, auto_create })
        }
        Some(MediaType::Protobuf) => {
            let query = params.validate()?;
            let form = BatchForm::Proto;
            Ok(Operation::Read { path, key, query, form, auto_create })
        }
        _ => {
            let query = params.validate()?;
            let form = BatchForm::Json(format);
            Ok(Operation::Read { path, key, query, form, auto_create })
        }
    }
}

/// Names are judged before the query.
fn usage(raw: Option<(&str, Option<&str>)>, parts: &Parts<'_>) -> Result<Operation, ApiError> {
    let basin = |raw| name_in_path("basin", raw, BasinName::new);
    let scope = match raw {
        None => UsageScope::Account,
        Some((raw, None)) => UsageScope::Basin(basin(raw)?),
        Some((raw, Some(stream))) => {
            let basin = basin(raw)?;
            let stream = name_in_path("stream", stream, StreamName::new)?;
            UsageScope::Stream(StreamPath { basin, stream })
        }
    };
    let params = UsageParams::parse(&scope, parts.query)?;
    Ok(Operation::Usage { scope, params })
}

/// The stream that `raw` names in the basin of the header, which is judged first.
fn stream_path(raw: &str, parts: &Parts<'_>) -> Result<StreamPath, ApiError> {
    let basin = header::basin(parts.headers)?;
    let stream = name_in_path("stream", raw, StreamName::new)?;
    Ok(StreamPath { basin, stream })
}

fn name_in_path<T>(
    what: &str,
    raw: &str,
    new: impl FnOnce(&str) -> Result<T, NameError>,
) -> Result<T, ApiError> {
    let bad_path =
        |problem: &str| ApiError::new(Code::BadPath, format!("{what} in path: {problem}"));
    let text = decode(raw, Place::Path).ok_or_else(|| bad_path("not UTF-8"))?;
    new(&text).map_err(|error| bad_path(error.0))
}

#[cfg(test)]
mod tests;
