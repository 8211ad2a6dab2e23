//! Who may scrape `/metrics`, `/debug/latency` and `/debug/stats`, and at which of the server's
//! addresses.
//!
//! * With an address of their own, metrics are there and nowhere else, and nothing else is there
//!   but `/health`.
//! * With a token of their own, they are answered to whoever shows it, at whichever address.

use std::hint::black_box;
use std::sync::Arc;

use super::credential::{bearer, unauthenticated};
use super::error::{ApiError, Code};
use super::request::Parts;
use super::route::no_such_route;
use crate::dashboard;

/// Which of the server's addresses a connection came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Port {
    /// The address of the API.
    #[default]
    Main,
    /// The address of metrics.
    Metrics,
}

/// Who may scrape, and where.
#[derive(Debug, Clone, Default)]
pub struct Scraping {
    /// Metrics have an address of their own.
    pub is_elsewhere: bool,
    /// What must be shown, if anything.
    pub token: Option<ScrapeToken>,
}

/// The token for `/metrics`. It is never printed.
#[derive(Clone)]
pub struct ScrapeToken(Arc<[u8]>);

impl ScrapeToken {
    /// Least length of a token, in bytes: 96 bits if it is base64.
    pub const BYTES_MIN: usize = 16;
    /// Greatest length of a token, in bytes.
    pub const BYTES_MAX: usize = 512;

    /// A token; `None` when it is too short or too long, or holds anything but visible ASCII.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let is_long = (Self::BYTES_MIN..=Self::BYTES_MAX).contains(&text.len());
        (is_long && text.iter().all(u8::is_ascii_graphic)).then(|| Self(text.into()))
    }

    /// Whether `shown` is the token, in a time that says only how long the token is.
    fn is(&self, shown: &[u8]) -> bool {
        let differences = self.0.iter().zip(shown).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
        self.0.len() == shown.len() && differences == 0
    }
}

impl std::fmt::Debug for ScrapeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScrapeToken(..)")
    }
}

/// Whether what is there is for whoever may scrape.
pub(super) fn is_metrics(path: &str) -> bool {
    matches!(path, "/metrics" | "/debug/latency" | "/debug/stats")
}

/// Why a request is not looked at any further, if it is not.
#[must_use]
pub fn refusal(parts: &Parts<'_>, port: Port, scraping: &Scraping) -> Option<ApiError> {
    let is_metrics = is_metrics(parts.path);
    let is_here = match port {
        Port::Main => !(is_metrics && scraping.is_elsewhere),
        Port::Metrics => is_metrics || parts.path == "/health",
    };
    if !is_here {
        return Some(no_such_route());
    }
    if port == Port::Metrics && !["GET", "HEAD"].contains(&parts.method) {
        return Some(ApiError::new(Code::MethodNotAllowed, "only GET is answered here"));
    }
    let token = scraping.token.as_ref().filter(|_| is_metrics)?;
    match bearer(parts.headers) {
        Ok(shown) if token.is(shown) => None,
        _ => Some(unauthenticated("the token for metrics is missing or wrong")),
    }
}

/// The refusal of a request to a dashboard that is not there; OPTIONS is answered at any route.
#[must_use]
pub fn no_dashboard(parts: &Parts<'_>) -> Option<ApiError> {
    let is_asked = parts.method != "OPTIONS" && dashboard::is_below(parts.path);
    is_asked.then(no_such_route)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::request::testing::{Pairs, parts};

    const TOKEN: &str = "0123456789abcdef";

    fn refused(port: Port, scraping: &Scraping, request: (&str, &str, &str)) -> Option<u16> {
        let (method, path, authorization) = request;
        let headers = [("authorization", authorization)];
        let headers = Pairs(if authorization.is_empty() { &headers[..0] } else { &headers });
        refusal(&parts(method, path, &headers), port, scraping).map(|error| error.status())
    }

    #[test]
    fn metrics_are_at_one_address() {
        let here = Scraping::default();
        let elsewhere = Scraping { is_elsewhere: true, token: None };
        let cases = [
            (Port::Main, &here, ("GET", "/metrics"), None),
            (Port::Main, &here, ("POST", "/v1/basins"), None),
            (Port::Main, &elsewhere, ("GET", "/metrics"), Some(404)),
            (Port::Main, &elsewhere, ("GET", "/debug/stats"), Some(404)),
            (Port::Main, &here, ("GET", "/debug/stats"), None),
            (Port::Metrics, &elsewhere, ("GET", "/debug/stats"), None),
            (Port::Main, &elsewhere, ("GET", "/metrics?x=1"), Some(404)),
            (Port::Main, &elsewhere, ("OPTIONS", "/metrics"), Some(404)),
            (Port::Main, &elsewhere, ("GET", "/health"), None),
            (Port::Main, &elsewhere, ("GET", "/v1/metrics"), None),
            (Port::Metrics, &elsewhere, ("GET", "/metrics"), None),
            (Port::Metrics, &elsewhere, ("HEAD", "/metrics"), None),
            (Port::Metrics, &elsewhere, ("GET", "/health"), None),
            (Port::Metrics, &elsewhere, ("POST", "/metrics"), Some(405)),
            (Port::Metrics, &elsewhere, ("OPTIONS", "/metrics"), Some(405)),
            (Port::Metrics, &elsewhere, ("GET", "/v1/basins"), Some(404)),
            (Port::Metrics, &elsewhere, ("POST", "/v1/streams/s/records"), Some(404)),
            (Port::Metrics, &elsewhere, ("GET", "/"), Some(404)),
            (Port::Metrics, &elsewhere, ("GET", "/dashboard"), Some(404)),
        ];
        for (port, scraping, (method, path), expected) in cases {
            let told = refused(port, scraping, (method, path, ""));
            assert_eq!(told, expected, "{port:?} {method} {path}");
        }
    }

    #[test]
    fn the_token_is_asked_for_metrics_alone() {
        for is_elsewhere in [false, true] {
            let scraping = Scraping { is_elsewhere, token: ScrapeToken::new(TOKEN.as_bytes()) };
            let port = if is_elsewhere { Port::Metrics } else { Port::Main };
            let shown = |text: &str| refused(port, &scraping, ("GET", "/metrics", text));
            for right in [
                "Bearer 0123456789abcdef",
                "bearer  0123456789abcdef ",
                "BEARER\t0123456789abcdef\t",
            ] {
                assert_eq!(shown(right), None, "{right:?}");
            }
            for wrong in [
                "",
                "Bearer",
                "Bearer ",
                "Bearer 0123456789abcde",
                "Bearer 0123456789abcdef0",
                "Bearer 0123456789abcdeF",
                "Basic 0123456789abcdef",
                "0123456789abcdef",
            ] {
                assert_eq!(shown(wrong), Some(401), "{wrong:?}");
            }
            for path in ["/debug/latency", "/debug/stats"] {
                assert_eq!(refused(port, &scraping, ("GET", path, "")), Some(401), "{path}");
            }
            let twice = format!("Bearer {TOKEN}");
            let twice = [("authorization", &*twice), ("authorization", &twice)];
            let told = refusal(&parts("GET", "/metrics", &Pairs(&twice)), port, &scraping);
            assert_eq!(told.map(|error| error.status()), Some(401), "which of them is meant?");
            assert_eq!(refused(port, &scraping, ("GET", "/health", "")), None);
        }
    }

    #[test]
    fn without_a_dashboard_its_paths_are_unknown() {
        let none = Pairs::<&str>(&[]);
        for (method, path, expected) in [
            ("GET", "/dashboard", Some(404)),
            ("HEAD", "/dashboard/config.json", Some(404)),
            ("POST", "/dashboard/assets/app.js", Some(404)),
            ("OPTIONS", "/dashboard", None),
            ("GET", "/dashboards", None),
            ("GET", "/v1/basins", None),
        ] {
            let told = no_dashboard(&parts(method, path, &none)).map(|error| error.status());
            assert_eq!(told, expected, "{method} {path}");
        }
    }

    #[test]
    fn weak_tokens_are_refused_and_none_is_printed() {
        let long = "x".repeat(513);
        for text in ["", "short", "with a blank inside", "0123456789abcde\n", long.as_str()] {
            assert!(ScrapeToken::new(text.as_bytes()).is_none(), "{text:?}");
        }
        let token = ScrapeToken::new(TOKEN.as_bytes());
        assert_eq!(format!("{token:?}"), "Some(ScrapeToken(..))");
    }
}
