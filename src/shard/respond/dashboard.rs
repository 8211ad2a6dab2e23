//! The dashboard's files and facts as responses.

use crate::api::response::{JSON, Response};
use crate::api::{ApiError, Code};
use crate::dashboard::{Facts, HEADERS, Place};
use crate::shard::engine::json;

/// Answers a request for `place`, of which the browser may have a copy; `facts` are absent when
/// there is no dashboard.
///
/// * Errors: 404 then; the connection has refused such a request already.
pub(super) fn show(
    facts: Option<&Facts>,
    place: Place,
    is_known: bool,
) -> Result<Response, ApiError> {
    let facts = facts.ok_or_else(|| ApiError::new(Code::NotFound, "there is no dashboard"))?;
    let response = match place.file() {
        None => Response::new(200, JSON, json(facts)),
        Some(_) if is_known => Response::empty(304),
        Some(asset) => Response::new(200, asset.content_type, asset.bytes.to_vec()),
    };
    let tag = place.file().map(|asset| ("etag", asset.tag.clone().into()));
    let caching = [("cache-control", place.cache_control().into())];
    let fixed = HEADERS.map(|(name, value)| (name, value.into()));
    let headers = caching.into_iter().chain(tag).chain(fixed).collect();
    Ok(Response { headers, ..response })
}
