//! Bodies about access tokens (S2 specification, section 8.1).

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{ApiError, Code};
use super::info::rfc3339;
use super::response::Response;
use crate::auth::secret::Secret;
use crate::types::json::from_slice;
use crate::types::{Scope, TokenId, TokenInfo};

#[derive(Deserialize)]
struct IssueForm<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    expires_at: Option<Cow<'a, str>>,
    auto_prefix_streams: Option<bool>,
    scope: Scope,
}

/// Reads the body of a request to issue a token: the token as it is asked for, still to be judged
/// by [`auth::may_issue`](crate::auth::may_issue).
///
/// * Errors: 400 `bad_json`.
pub fn parse_issue(body: &[u8]) -> Result<TokenInfo, ApiError> {
    let form: IssueForm<'_> = from_slice(body).map_err(bad_json)?;
    let id = TokenId::new(&form.id).map_err(bad_json)?;
    let expires_us = form.expires_at.as_deref().map(time_us).transpose()?;
    let auto_prefix_streams = form.auto_prefix_streams.unwrap_or_default();
    Ok(TokenInfo { id, expires_us, auto_prefix_streams, scope: form.scope })
}

/// Microseconds since the Unix epoch; a time before it counts as its beginning, which is past.
fn time_us(text: &str) -> Result<u64, ApiError> {
    let time: Timestamp = text.parse().map_err(|error| {
        bad_json(format_args!("expires_at must be a time as in RFC 3339: {error}"))
    })?;
    Ok(u64::try_from(time.as_microsecond()).unwrap_or(0))
}

fn bad_json(problem: impl std::fmt::Display) -> ApiError {
    ApiError::new(Code::BadJson, problem.to_string())
}

/// The answer to a request to issue a token: the only one that ever shows its secret.
#[must_use]
pub fn issued(secret: &Secret) -> Response {
    #[derive(Serialize)]
    struct Form<'a> {
        access_token: &'a str,
    }
    Response::json(201, &Form { access_token: secret.reveal() })
}

/// A page of tokens; `has_more` says whether at least one more matches.
#[must_use]
pub fn page<'a>(tokens: impl IntoIterator<Item = &'a TokenInfo>, has_more: bool) -> Response {
    #[derive(Serialize)]
    struct Form<'a> {
        id: &'a str,
        expires_at: Option<String>,
        auto_prefix_streams: bool,
        scope: &'a Scope,
    }
    #[derive(Serialize)]
    struct Page<'a> {
        access_tokens: Vec<Form<'a>>,
        has_more: bool,
    }
    let form = |info: &'a TokenInfo| Form {
        id: info.id.as_str(),
        expires_at: info.expires_us.map(rfc3339),
        auto_prefix_streams: info.auto_prefix_streams,
        scope: &info.scope,
    };
    let access_tokens = tokens.into_iter().map(form).collect();
    Response::json(200, &Page { access_tokens, has_more })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Permission, PermissionSet, ResourceSet};

    #[test]
    fn requests_accepted() {
        let minimal = parse_issue(br#"{"id":"t","scope":{}}"#).expect("legal");
        let id = TokenId::new("t").expect("legal");
        let expected =
            TokenInfo { id, expires_us: None, auto_prefix_streams: false, scope: Scope::default() };
        assert_eq!(minimal, expected);
        let nulls = br#"{"id":"t","expires_at":null,"auto_prefix_streams":null,"scope":{},"x":1}"#;
        assert_eq!(parse_issue(nulls).expect("legal"), expected);

        let text = r#"{"id":"\u65e5","expires_at":"2030-01-02T03:04:05.678901+01:00","auto_prefix_streams":true,"scope":{"streams":{"prefix":"p/"},"ops":["read"]}}"#;
        let full = parse_issue(text.as_bytes()).expect("legal");
        assert_eq!((full.id.as_str(), full.auto_prefix_streams), ("日", true));
        assert_eq!(full.expires_us, Some(1_893_549_845_678_901));
        assert_eq!(full.scope.streams, ResourceSet::Prefix("p/".into()));
        assert_eq!(full.scope.ops, PermissionSet::of(&[Permission::Read]));

        let ancient = br#"{"id":"t","expires_at":"1960-01-01T00:00:00Z","scope":{}}"#;
        assert_eq!(parse_issue(ancient).expect("a time").expires_us, Some(0));
    }

    #[test]
    fn requests_refused() {
        let long = format!(r#"{{"id":"{}","scope":{{}}}}"#, "a".repeat(97));
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"id":"t"}"#,
            r#"{"scope":{}}"#,
            r#"{"id":"t","scope":null}"#,
            r#"{"id":"t","scope":[]}"#,
            r#"{"id":"","scope":{}}"#,
            r#"{"id":".","scope":{}}"#,
            r#"{"id":"..","scope":{}}"#,
            r#"{"id":1,"scope":{}}"#,
            r#"{"id":"t","scope":{"ops":["fly"]}}"#,
            r#"{"id":"t","scope":{},"expires_at":"tomorrow"}"#,
            r#"{"id":"t","scope":{},"expires_at":"2030-01-02"}"#,
            r#"{"id":"t","scope":{},"expires_at":1893549845}"#,
            r#"{"id":"t","scope":{},"auto_prefix_streams":"yes"}"#,
            &long,
        ] {
            let error = parse_issue(text.as_bytes()).expect_err(text);
            assert_eq!(error.code(), Some(Code::BadJson), "{text}");
        }
    }

    #[test]
    fn a_page_shows_every_member_of_every_token() {
        let id = TokenId::new("t").expect("legal");
        let info = TokenInfo {
            id,
            expires_us: Some(1),
            auto_prefix_streams: false,
            scope: Scope::default(),
        };
        let response = page([&info, &TokenInfo { expires_us: None, ..info.clone() }], true);
        let scope = serde_json::to_string(&info.scope).expect("plain");
        let shown = |time: &str| {
            format!(
                r#"{{"id":"t","expires_at":{time},"auto_prefix_streams":false,"scope":{scope}}}"#
            )
        };
        let (first, second) = (shown(r#""1970-01-01T00:00:00.000001Z""#), shown("null"));
        let expected = format!(r#"{{"access_tokens":[{first},{second}],"has_more":true}}"#);
        assert_eq!(String::from_utf8(response.body).expect("JSON"), expected);
        assert_eq!(page([], false).body, br#"{"access_tokens":[],"has_more":false}"#);
    }

    #[test]
    fn the_secret_is_shown_to_who_asked() {
        let response = issued(&Secret::from_random([0; 32]));
        assert_eq!(response.status, 201);
        let expected = format!(r#"{{"access_token":"tw_{}"}}"#, "A".repeat(43));
        assert_eq!(String::from_utf8(response.body).expect("JSON"), expected);
    }
}
