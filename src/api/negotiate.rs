//! Which representation a request speaks and wants (S2 specification, sections 1.6 and 4.1).

use super::request::{Headers, trim};

/// The media types that decide anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// `application/json` or `application/*+json`.
    Json,
    /// `application/protobuf` or `application/x-protobuf`.
    Protobuf,
    /// `s2s/proto`.
    S2s,
    /// `text/event-stream`.
    EventStream,
    /// Anything else, `*/*` included.
    Other,
}

/// The first media type of the first header called `name`; parameters are ignored.
pub(crate) fn media_type(headers: &dyn Headers, name: &str) -> Option<MediaType> {
    let value = headers.first(name)?;
    let end = value.iter().position(|b| matches!(b, b',' | b';')).unwrap_or(value.len());
    let text = trim(&value[..end]);
    let is = |known: &str| text.eq_ignore_ascii_case(known.as_bytes());
    let found = if is("application/json") || has_json_suffix(text) {
        MediaType::Json
    } else if is("application/protobuf") || is("application/x-protobuf") {
        MediaType::Protobuf
    } else if is("s2s/proto") {
        MediaType::S2s
    } else if is("text/event-stream") {
        MediaType::EventStream
    } else {
        MediaType::Other
    };
    Some(found)
}

/// Whether `text` is `application/<something>+json`.
fn has_json_suffix(text: &[u8]) -> bool {
    const PREFIX: &[u8] = b"application/";
    const SUFFIX: &[u8] = b"+json";
    text.len() > PREFIX.len() + SUFFIX.len()
        && text[..PREFIX.len()].eq_ignore_ascii_case(PREFIX)
        && text[text.len() - SUFFIX.len()..].eq_ignore_ascii_case(SUFFIX)
}

/// temp
pub(crate) fn session_coding(_: &dyn Headers) -> Option<crate::codec::Coding> {
    None
}
/// temp
pub(crate) fn response_coding(_: &dyn Headers) -> Option<crate::codec::Coding> {
    None
}
/// temp
pub(crate) fn request_coding(
    _: &dyn Headers,
) -> Result<Option<crate::codec::Coding>, super::ApiError> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::request::testing::Pairs;

    #[test]
    fn the_first_media_type_of_the_first_header_counts() {
        use MediaType::{EventStream, Json, Other, Protobuf, S2s};
        for (value, expected) in [
            ("application/json", Json),
            ("Application/JSON; charset=utf-8", Json),
            ("application/json;charset=utf-8", Json),
            ("application/problem+json", Json),
            ("APPLICATION/vnd.x+JSON ;q=0", Json),
            ("application/json, application/protobuf", Json),
            (" application/protobuf,application/json", Protobuf),
            ("application/x-protobuf", Protobuf),
            ("application/protobuf;q=0", Protobuf),
            ("s2s/proto", S2s),
            ("S2S/Proto", S2s),
            ("text/event-stream, */*", EventStream),
            ("*/*", Other),
            ("*/*, application/protobuf", Other),
            ("", Other),
            (";", Other),
            ("text/json", Other),
            ("application/+json", Other),
            ("text/x+json", Other),
            ("application/jsonx", Other),
            ("application/ json", Other),
        ] {
            let pairs = [("Accept", value), ("accept", "s2s/proto")];
            assert_eq!(media_type(&Pairs(&pairs), "accept"), Some(expected), "{value:?}");
        }
        assert_eq!(media_type(&Pairs::<&str>(&[]), "accept"), None);
    }
}
