//! The headers of S2's own that decide what a request means. Each is looked at only where it has
//! a meaning, so each has its own function here and the router says when.
//!
//! Values of keys and tokens are never quoted in a message.

use super::error::{ApiError, Code};
use super::negotiate::{MediaType, media_type, request_coding, unsupported_coding};
use super::receipt::RECEIPT;
use super::request::{Headers, trim};
use crate::codec::Format;
use crate::codec::sse::EventId;
use crate::types::json::from_slice;
use crate::types::{BasinName, PartialStreamConfig, RequestToken, SuppliedKey};

/// Longest `s2-encryption-key`, in characters: 32 bytes as base64.
const ENCRYPTION_KEY_CHARS_MAX: usize = 44;

fn bad_header(name: &str, problem: &str) -> ApiError {
    ApiError::new(Code::BadHeader, format!("header {name}: {problem}"))
}

/// `s2-request-token`, if the request has one; an empty one is a token like any other.
pub(crate) fn request_token(headers: &dyn Headers) -> Result<Option<RequestToken>, ApiError> {
    const NAME: &str = "s2-request-token";
    let Some(value) = headers.first(NAME) else { return Ok(None) };
    let text = std::str::from_utf8(trim(value))
        .map_err(|_| bad_header(NAME, "may hold only visible ASCII"))?;
    let token = RequestToken::new(text).map_err(|error| bad_header(NAME, error.0))?;
    Ok(Some(token))
}

/// The basin that a basin-scoped request names in `s2-basin`.
pub(crate) fn basin(headers: &dyn Headers) -> Result<BasinName, ApiError> {
    const NAME: &str = "s2-basin";
    let value = headers.first(NAME).ok_or_else(|| bad_header(NAME, "missing"))?;
    let text = std::str::from_utf8(trim(value)).map_err(|_| bad_header(NAME, "not UTF-8"))?;
    BasinName::new(text).map_err(|error| bad_header(NAME, error.0))
}

/// Whether `thalweg-receipt` asks for a receipt: its value is `1`. Anything else asks for nothing,
/// so that another value may mean something one day.
pub(crate) fn wants_receipt(headers: &dyn Headers) -> bool {
    headers.first(RECEIPT).is_some_and(|value| trim(value) == b"1")
}

/// `s2-encryption-key`, if the request has one. Its length is judged here, even where no key is
/// needed; the rest of it only where one is.
pub(crate) fn encryption_key(headers: &dyn Headers) -> Result<Option<SuppliedKey>, ApiError> {
    const NAME: &str = "s2-encryption-key";
    let Some(value) = headers.first(NAME) else { return Ok(None) };
    let value = trim(value);
    if !(1..=ENCRYPTION_KEY_CHARS_MAX).contains(&value.len()) {
        return Err(bad_header(NAME, "must be 1 to 44 characters long"));
    }
    Ok(Some(SuppliedKey::new(value)))
}

/// The configuration in `s2-stream-config` for a stream that this request creates.
///
/// Whatever is wrong with it is 400 `bad_header`, a retention age of 0 included.
pub(crate) fn stream_config(
    headers: &dyn Headers,
) -> Result<Option<PartialStreamConfig>, ApiError> {
    const NAME: &str = "s2-stream-config";
    let Some(value) = headers.first(NAME) else { return Ok(None) };
    if !value.iter().all(|b| b.is_ascii_graphic() || *b == b' ' || *b == b'\t') {
        return Err(bad_header(NAME, "may hold only visible ASCII, blanks and tabs"));
    }
    let config: PartialStreamConfig =
        from_slice(value).map_err(|error| bad_header(NAME, &error.to_string()))?;
    config.validate().map_err(|error| bad_header(NAME, error.0))?;
    Ok(Some(config))
}

/// `s2-format`; absent means raw.
pub(crate) fn format(headers: &dyn Headers) -> Result<Format, ApiError> {
    const NAME: &str = "s2-format";
    Format::parse(headers.first(NAME)).map_err(|error| bad_header(NAME, &error.to_string()))
}

/// `Last-Event-ID` of a client that resumes an event stream.
pub(crate) fn last_event_id(headers: &dyn Headers) -> Result<Option<EventId>, ApiError> {
    const NAME: &str = "last-event-id";
    let Some(value) = headers.first(NAME) else { return Ok(None) };
    let id = EventId::parse(value)
        .map_err(|_| bad_header(NAME, "must be three unsigned numbers: seq_num,count,bytes"))?;
    Ok(Some(id))
}

/// Checks that a session comes without a content coding: its messages have their own.
pub(crate) fn check_uncoded_body(headers: &dyn Headers) -> Result<(), ApiError> {
    match request_coding(headers)? {
        None => Ok(()),
        Some(_) => Err(unsupported_coding("identity")),
    }
}

/// Checks that a body can be taken as JSON: declared so, and coded as we understand it or not.
pub(crate) fn check_json_body(headers: &dyn Headers) -> Result<(), ApiError> {
    request_coding(headers)?;
    if media_type(headers, "content-type") != Some(MediaType::Json) {
        return Err(ApiError::new(Code::BadJson, "content-type must be application/json"));
    }
    Ok(())
}

/// Whether a request with an optional JSON body has one that counts: without a `content-type` it
/// has none.
///
/// * Errors: a body declared as anything but JSON, as [`check_json_body`].
pub(crate) fn has_json_body(headers: &dyn Headers) -> Result<bool, ApiError> {
    if headers.first("content-type").is_none() {
        request_coding(headers)?;
        return Ok(false);
    }
    check_json_body(headers)?;
    Ok(true)
}
