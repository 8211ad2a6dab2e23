//! The one location of a single-site server (S2 specification, section 11).
//!
//! Every basin is there and it is always the default, so there is nothing to keep: to make it the
//! default is accepted and changes nothing.

use serde::Serialize;

use super::error::{ApiError, Code};
use super::response::Response;
use crate::types::json::text_from_slice;

/// The one location; every basin is there.
pub const LOCATION_NAME: &str = "local";

/// Longest location name, in characters.
const LOCATION_CHARS_MAX: usize = 64;

#[derive(Serialize)]
struct Location {
    name: &'static str,
    is_private: bool,
    storage_classes: &'static [&'static str],
    /// What a stream gets for which nobody named a class: dry runs of clients predict it by this.
    default_storage_class: &'static str,
}

const OURS: Location = Location {
    name: LOCATION_NAME,
    is_private: false,
    storage_classes: &["standard", "express"],
    default_storage_class: "express",
};

/// All locations, as a bare array.
#[must_use]
pub fn list() -> Response {
    Response::json(200, &[OURS])
}

/// The location of new basins.
#[must_use]
pub fn get_default() -> Response {
    Response::json(200, &OURS)
}

/// Makes the location that `body` names the one of new basins; `body` is a bare JSON string.
///
/// * Errors: 400 `bad_json`; 422 `invalid` for a location other than ours.
pub fn set_default(body: &[u8]) -> Result<Response, ApiError> {
    let bad_json = |error: serde_json::Error| ApiError::new(Code::BadJson, error.to_string());
    let name = text_from_slice(body).map_err(bad_json)?;
    Requested::parse(Some(&name))?.check()?;
    Ok(get_default())
}

/// A location that a request names: well-formed, but perhaps unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requested {
    is_ours: bool,
}

impl Requested {
    /// Judges the form of a name; no name is our location.
    ///
    /// * Errors: 400 `bad_json` when it is not a location name at all.
    pub(crate) fn parse(name: Option<&str>) -> Result<Self, ApiError> {
        let Some(name) = name else { return Ok(Self { is_ours: true }) };
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'.');
        if !(1..=LOCATION_CHARS_MAX).contains(&name.len()) || !name.bytes().all(legal) {
            let message = "location must be 1 to 64 ASCII letters, digits, colons, hyphens or dots";
            return Err(ApiError::new(Code::BadJson, message));
        }
        Ok(Self { is_ours: name == LOCATION_NAME })
    }

    /// Whether there is such a location.
    ///
    /// * Errors: 422 `invalid` when it is not ours.
    pub(crate) fn check(self) -> Result<(), ApiError> {
        if self.is_ours {
            return Ok(());
        }
        let message = format!("unknown location: the only one is {LOCATION_NAME}");
        Err(ApiError::new(Code::Invalid, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PartialStreamConfig;

    #[test]
    fn the_default_is_in_the_list_and_fills_in_what_streams_get() {
        let one = r#"{"name":"local","is_private":false,"storage_classes":["standard","express"],"default_storage_class":"express"}"#;
        assert_eq!(String::from_utf8_lossy(&get_default().body), one);
        assert_eq!(String::from_utf8_lossy(&list().body), format!("[{one}]"));
        let unset = PartialStreamConfig::default();
        assert_eq!(unset.resolve(&unset).storage_class, OURS.default_storage_class);
    }

    #[test]
    fn only_our_location_can_be_the_default() {
        for body in [r#""local""#, " \"local\"\n", r#""\u006cocal""#] {
            assert_eq!(set_default(body.as_bytes()), Ok(get_default()), "{body}");
        }
        let longest = format!("\"{}\"", "a".repeat(64));
        let too_long = format!("\"{}\"", "a".repeat(65));
        let cases = [
            (r#""aws:us-east-1""#, Code::Invalid),
            (r#""Local""#, Code::Invalid),
            (r#""a.b-c:9""#, Code::Invalid),
            (&longest, Code::Invalid),
            (&too_long, Code::BadJson),
            (r#""""#, Code::BadJson),
            (r#""a b""#, Code::BadJson),
            (r#""a_b""#, Code::BadJson),
            (r#""é""#, Code::BadJson),
            ("", Code::BadJson),
            ("local", Code::BadJson),
            ("null", Code::BadJson),
            ("7", Code::BadJson),
            (r#"["local"]"#, Code::BadJson),
            (r#"{"location":"local"}"#, Code::BadJson),
            (r#""local" "local""#, Code::BadJson),
        ];
        for (body, code) in cases {
            let refused = set_default(body.as_bytes()).expect_err(body);
            assert_eq!(refused.code(), Some(code), "{body}");
        }
    }
}
