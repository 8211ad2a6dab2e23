//! Which representation a request speaks and wants, and how bodies are coded (S2 specification,
//! sections 1.6, 1.7, 4.1 and 6.2).

use super::error::{ApiError, Code};
use super::request::{Headers, trim};
use crate::codec::Coding;

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

/// How the body of a request is coded, from all its `Content-Encoding` headers.
///
/// * Errors: 415 for a coding other than zstd and gzip, and for more than one.
pub fn request_coding(headers: &dyn Headers) -> Result<Option<Coding>, ApiError> {
    let mut coding = None;
    let mut is_understood = true;
    headers.all("content-encoding", &mut |value| {
        for token in value.split(|b| *b == b',').map(trim) {
            if token.is_empty() || token.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let named = coding_named(token);
            is_understood &= named.is_some() && coding.is_none();
            coding = named;
        }
    });
    if is_understood {
        return Ok(coding);
    }
    Err(unsupported_coding("zstd,gzip"))
}

/// 415, saying which codings a body may have.
pub(crate) fn unsupported_coding(understood: &'static str) -> ApiError {
    let message = format!("content-encoding must be one of {understood}, or absent");
    let error = ApiError::new(Code::UnsupportedMediaType, message);
    error.with_header("accept-encoding", understood)
}

/// How to code the body of a unary answer: zstd before gzip, whatever their weights, as far as
/// the client accepts them. `*` stands for each that is not refused by name.
pub fn response_coding(headers: &dyn Headers) -> Option<Coding> {
    let accepted = Accepted::of(headers);
    let accepts = |one: Listing| one == Listing::Listed || one == Listing::Absent && accepted.any;
    choose(accepts(accepted.zstd), accepts(accepted.gzip))
}

/// How to code the messages of a session towards the client: zstd before gzip, as far as they are
/// listed by name.
pub fn session_coding(headers: &dyn Headers) -> Option<Coding> {
    let accepted = Accepted::of(headers);
    choose(accepted.zstd == Listing::Listed, accepted.gzip == Listing::Listed)
}

fn choose(zstd: bool, gzip: bool) -> Option<Coding> {
    match (zstd, gzip) {
        (true, _) => Some(Coding::Zstd),
        (_, true) => Some(Coding::Gzip),
        _ => None,
    }
}

fn coding_named(token: &[u8]) -> Option<Coding> {
    [Coding::Zstd, Coding::Gzip]
        .into_iter()
        .find(|coding| token.eq_ignore_ascii_case(coding.as_str().as_bytes()))
}

/// What a client says of a coding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Listing {
    #[default]
    Absent,
    /// Only with weight 0.
    Refused,
    Listed,
}

/// What all `Accept-Encoding` headers say.
#[derive(Debug, Default)]
struct Accepted {
    zstd: Listing,
    gzip: Listing,
    /// `*` is listed.
    any: bool,
}

impl Accepted {
    fn of(headers: &dyn Headers) -> Self {
        let mut accepted = Self::default();
        headers.all("accept-encoding", &mut |value| {
            value.split(|b| *b == b',').for_each(|entry| accepted.add(entry));
        });
        accepted
    }

    fn add(&mut self, entry: &[u8]) {
        let mut parts = entry.split(|b| *b == b';').map(trim);
        let name = parts.next().unwrap_or_default();
        let is_listed = !parts.any(is_zero_weight);
        let listing = match coding_named(name) {
            Some(Coding::Zstd) => &mut self.zstd,
            Some(Coding::Gzip) => &mut self.gzip,
            None => {
                self.any |= name == b"*" && is_listed;
                return;
            }
        };
        if is_listed {
            *listing = Listing::Listed;
        } else if *listing == Listing::Absent {
            *listing = Listing::Refused;
        }
    }
}

/// Whether a parameter is `q=0` in any spelling: `Q=0.000` too.
fn is_zero_weight(parameter: &[u8]) -> bool {
    let Some((b'q' | b'Q', rest)) = parameter.split_first() else { return false };
    let Some(weight) = trim(rest).strip_prefix(b"=").map(trim) else { return false };
    // Digits that are all zero, with a point among them or not.
    let is_zero = |b: &u8| matches!(b, b'0' | b'.');
    weight.first() == Some(&b'0') && weight.iter().all(is_zero)
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

    const ZSTD: Option<Coding> = Some(Coding::Zstd);
    const GZIP: Option<Coding> = Some(Coding::Gzip);

    fn lines<'a>(name: &'a str, values: &[&'a str]) -> Vec<(&'a str, &'a str)> {
        values.iter().map(|value| (name, *value)).collect()
    }

    #[test]
    fn a_body_is_coded_once_at_most() {
        let cases: [(&[&str], Option<Coding>); 13] = [
            (&[], None),
            (&[""], None),
            (&[" \t"], None),
            (&["identity"], None),
            (&["Identity", "identity"], None),
            (&["zstd"], ZSTD),
            (&[" ZSTD "], ZSTD),
            (&["gzip"], GZIP),
            (&["GZip"], GZIP),
            (&["identity, gzip"], GZIP),
            (&["zstd,identity,"], ZSTD),
            (&["identity", "zstd"], ZSTD),
            (&["gzip", ""], GZIP),
        ];
        for (values, expected) in cases {
            let pairs = lines("Content-Encoding", values);
            assert_eq!(request_coding(&Pairs(&pairs)).unwrap(), expected, "{values:?}");
        }
    }

    #[test]
    fn other_codings_and_several_are_refused() {
        let cases: [&[&str]; 16] = [
            &["br"],
            &["deflate"],
            &["x-gzip"],
            &["compress"],
            &["none"],
            &["*"],
            &["gzip;q=1"],
            &["gzipped"],
            &["gzip zstd"],
            &["gzip, zstd"],
            &["gzip, gzip"],
            &["zstd", "gzip"],
            &["br, gzip"],
            &["gzip, br"],
            &["gzip", "br"],
            &["identity, identity2"],
        ];
        for values in cases {
            let pairs = lines("content-encoding", values);
            let error = request_coding(&Pairs(&pairs)).unwrap_err();
            let response = error.into_response();
            assert_eq!(response.status, 415, "{values:?}");
            let header = response.headers.iter().find(|(name, _)| *name == "accept-encoding");
            assert_eq!(header.map(|(_, value)| value.as_ref()), Some("zstd,gzip"));
        }
    }

    #[test]
    fn answers_are_coded_as_the_client_accepts() {
        // Values; coding of a unary answer; coding of a session's messages.
        let cases: [(&[&str], Option<Coding>, Option<Coding>); 36] = [
            (&[], None, None),
            (&[""], None, None),
            (&["identity"], None, None),
            (&["br, deflate"], None, None),
            (&["x-gzip"], None, None),
            (&["zstdx, gzip2"], None, None),
            (&["gzip"], GZIP, GZIP),
            (&["GZIP"], GZIP, GZIP),
            (&["zstd"], ZSTD, ZSTD),
            (&["gzip, deflate, br, zstd"], ZSTD, ZSTD),
            (&["gzip;q=1.0, zstd;q=0.001"], ZSTD, ZSTD),
            (&["gzip", "zstd"], ZSTD, ZSTD),
            (&["br", "", "gzip"], GZIP, GZIP),
            (&["zstd;q=0, gzip"], GZIP, GZIP),
            (&["zstd; q=0 , gzip"], GZIP, GZIP),
            (&["zstd ;Q=0.000,gzip"], GZIP, GZIP),
            (&["zstd;q=0.,gzip"], GZIP, GZIP),
            (&["zstd;a=b;q=0,gzip"], GZIP, GZIP),
            (&["zstd;q=0;a=b,gzip"], GZIP, GZIP),
            (&["gzip;q=0"], None, None),
            (&["gzip;q=0", "zstd;q=0.0"], None, None),
            (&["gzip;q=0.01"], GZIP, GZIP),
            (&["gzip;q=00"], None, None),
            (&["gzip;q="], GZIP, GZIP),
            (&["gzip;q=0.001"], GZIP, GZIP),
            (&["gzip;q=x"], GZIP, GZIP),
            (&["gzip;q"], GZIP, GZIP),
            (&["gzip;quality=0"], GZIP, GZIP),
            (&["zstd;q=0", "zstd"], ZSTD, ZSTD),
            (&["zstd, zstd;q=0"], ZSTD, ZSTD),
            (&["*"], ZSTD, None),
            (&["*;q=0"], None, None),
            (&["*;q=0.5, gzip"], ZSTD, GZIP),
            (&["zstd;q=0, *"], GZIP, None),
            (&["*, zstd;q=0, gzip;q=0"], None, None),
            (&["gzip, *;q=0"], GZIP, GZIP),
        ];
        for (values, response, session) in cases {
            let pairs = lines("Accept-Encoding", values);
            assert_eq!(response_coding(&Pairs(&pairs)), response, "{values:?}");
            assert_eq!(session_coding(&Pairs(&pairs)), session, "{values:?}");
        }
    }
}
