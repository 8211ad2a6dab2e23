//! Who asks: the credential of a request (S2 specification, section 1.5).
//!
//! A credential is a secret: it is never quoted in a message.

use super::error::{ApiError, Code};
use super::gate::is_metrics;
use super::request::{Headers, Parts};
use crate::auth::secret::SECRET_BYTES_MAX;
use crate::dashboard;

/// Whether anybody may ask for this, without saying who they are.
#[must_use]
pub fn is_public(parts: &Parts<'_>) -> bool {
    let is_probe = matches!(parts.path, "/health" | "/ping");
    let is_named = is_probe || is_metrics(parts.path) || dashboard::is_public(parts.path);
    parts.method == "OPTIONS" || is_named
}

/// The secret in `Authorization: Bearer`.
///
/// * Errors: 401 `authn` when there is none, more than one, or one that cannot be ours.
/// * Cost: looks at no more bytes than a secret may have; no allocation unless it is refused.
pub fn bearer(headers: &dyn Headers) -> Result<&[u8], ApiError> {
    const NAME: &str = "authorization";
    let mut count = 0u32;
    headers.all(NAME, &mut |_| count = count.saturating_add(1));
    let value = match (count, headers.first(NAME)) {
        (1, Some(value)) => value,
        (2.., _) => return Err(unauthenticated("more than one authorization header")),
        _ => return Err(unauthenticated("an access token is required")),
    };
    secret(value).ok_or_else(|| unauthenticated("malformed authorization header"))
}

fn secret(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    // Blanks on either side beyond this are no secret either.
    if value.len() > SCHEME.len() + 2 * SECRET_BYTES_MAX {
        return None;
    }
    let value = super::request::trim(value);
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    let secret = super::request::trim(rest);
    let is_separated = matches!(rest, [b' ' | b'\t', ..]);
    let is_legal = secret.iter().all(u8::is_ascii_graphic);
    let fits = (1..=SECRET_BYTES_MAX).contains(&secret.len());
    (scheme.eq_ignore_ascii_case(SCHEME) && is_separated && is_legal && fits).then_some(secret)
}

/// 401 `authn`: `problem` is for people, and says nothing about tokens that exist.
#[must_use]
pub fn unauthenticated(problem: &'static str) -> ApiError {
    ApiError::new(Code::Authn, problem).with_header("www-authenticate", "Bearer")
}

/// 401 `authn` of what was let in when its token still held.
#[must_use]
pub fn ended() -> ApiError {
    unauthenticated("the access token was revoked or has expired")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::request::testing::{Pairs, parts};

    fn found(values: &[&str]) -> Result<Vec<u8>, ApiError> {
        let pairs: Vec<_> = values.iter().map(|value| ("Authorization", *value)).collect();
        bearer(&Pairs(&pairs)).map(<[u8]>::to_vec)
    }

    #[test]
    fn credentials_accepted() {
        let longest = "x".repeat(SECRET_BYTES_MAX);
        for (value, expected) in [
            ("Bearer tw_abc-_", "tw_abc-_"),
            ("bearer a", "a"),
            ("BEARER\t a.b~c+/= ", "a.b~c+/="),
            (&format!("Bearer {longest}"), &longest),
        ] {
            assert_eq!(found(&[value]).expect(value), expected.as_bytes());
        }
    }

    #[test]
    fn credentials_refused() {
        let long = format!("Bearer {}", "x".repeat(SECRET_BYTES_MAX + 1));
        let huge = format!("Bearer {}", "x".repeat(60_000));
        let blanks = format!("Bearer{}x", " ".repeat(60_000));
        for values in [
            &[][..],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Bearera"],
            &["Basic dXNlcjpwYXNz"],
            &["tw_abc"],
            &["Bearer a b"],
            &["Bearer a\u{e9}"],
            &["Bearer a\u{1}"],
            &["Bear"],
            &["Bearer a", "Bearer a"],
            &["Bearer a", ""],
            &[&long],
            &[&huge],
            &[&blanks],
        ] {
            let error = found(values).expect_err("malformed");
            assert_eq!((error.status(), error.code()), (401, Some(Code::Authn)), "{values:?}");
            let response = error.into_response();
            assert_eq!(response.headers, [("www-authenticate", "Bearer".into())]);
            let body = String::from_utf8(response.body).expect("JSON");
            assert!(!body.contains("tw_abc") && !body.contains("xxx"), "{body}");
        }
    }

    #[test]
    fn only_health_metrics_and_options_are_anybodys() {
        for (method, path, expected) in [
            ("GET", "/health", true),
            ("GET", "/ping", true),
            ("GET", "/metrics", true),
            ("OPTIONS", "/v1/basins", true),
            ("GET", "/v1/metrics", false),
            ("GET", "/v1/basins", false),
            ("GET", "/health/", false),
            ("GET", "/", false),
            ("GET", "/%68ealth", false),
        ] {
            assert_eq!(is_public(&parts(method, path, &Pairs::<&str>(&[]))), expected, "{path}");
        }
    }
}
