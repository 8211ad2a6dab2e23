//! Cross-origin rules, as permissive as browsers allow (S2 specification, section 1.9).
//!
//! Every response carries the headers, errors too; an OPTIONS request, preflight or not, is
//! answered by [`Operation::Options`](super::Operation::Options) and gets the preflight headers
//! besides.

use std::borrow::Cow;

use super::request::{Headers, Parts, trim};
use super::response::Header;

/// What every response carries.
static ALWAYS: [Header; 3] = [
    ("access-control-allow-credentials", Cow::Borrowed("true")),
    (
        "vary",
        Cow::Borrowed("origin, access-control-request-method, access-control-request-headers"),
    ),
    ("access-control-expose-headers", Cow::Borrowed("s2-provision-result, retry-after-ms")),
];

/// The headers to add to the response to `parts`: none when `enabled` is false.
///
/// * Cost: no allocation for a request of which nothing is echoed, as no browser sends it.
#[must_use]
pub fn headers(parts: &Parts<'_>, enabled: bool) -> Cow<'static, [Header]> {
    if !enabled {
        return Cow::Borrowed(&[]);
    }
    let mut added = Cow::Borrowed(&ALWAYS[..]);
    let mut echo = |from: &str, to: &'static str| {
        if let Some(value) = listed(parts.headers, from) {
            added.to_mut().push((to, value.into()));
        }
    };
    echo("origin", "access-control-allow-origin");
    if parts.method == "OPTIONS" {
        echo("access-control-request-method", "access-control-allow-methods");
        echo("access-control-request-headers", "access-control-allow-headers");
    }
    added
}

/// All values of the header `name` as one list; `None` when there is none, or when one holds
/// bytes that must not be echoed into a header.
fn listed(headers: &dyn Headers, name: &str) -> Option<String> {
    let mut list: Option<String> = None;
    let mut legal = true;
    headers.all(name, &mut |value| match std::str::from_utf8(trim(value)) {
        Ok(text) if text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) => {
            match &mut list {
                Some(list) => {
                    list.push_str(", ");
                    list.push_str(text);
                }
                None => list = Some(text.to_owned()),
            }
        }
        _ => legal = false,
    });
    list.filter(|_| legal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::request::testing::{Pairs, parts};

    fn value<'a>(added: &'a [Header], name: &str) -> Option<&'a str> {
        added.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_ref())
    }

    #[test]
    fn a_preflight_is_echoed() {
        let pairs = Pairs(&[
            ("Origin", "https://example.com"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "s2-basin, content-type"),
        ]);
        let added = headers(&parts("OPTIONS", "/v1/streams/s/records", &pairs), true);
        for (name, expected) in [
            ("access-control-allow-origin", "https://example.com"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "POST"),
            ("access-control-allow-headers", "s2-basin, content-type"),
            ("vary", "origin, access-control-request-method, access-control-request-headers"),
        ] {
            assert_eq!(value(&added, name), Some(expected), "{name}");
        }
    }

    #[test]
    fn other_responses_carry_no_preflight_headers() {
        let pairs = Pairs(&[("origin", "null"), ("access-control-request-method", "POST")]);
        let added = headers(&parts("GET", "/v1/basins", &pairs), true);
        assert_eq!(value(&added, "access-control-allow-origin"), Some("null"));
        assert_eq!(
            value(&added, "access-control-expose-headers"),
            Some("s2-provision-result, retry-after-ms")
        );
        assert_eq!(value(&added, "access-control-allow-methods"), None);
    }

    #[test]
    fn without_an_origin_none_is_allowed_by_name() {
        let added = headers(&parts("GET", "/health", &Pairs::<&str>(&[])), true);
        assert_eq!(value(&added, "access-control-allow-origin"), None);
        assert_eq!(value(&added, "access-control-allow-credentials"), Some("true"));
    }

    #[test]
    fn several_request_header_lines_become_one_list() {
        let name = "access-control-request-headers";
        let pairs = Pairs(&[(name, "a"), (name, " b ")]);
        let added = headers(&parts("OPTIONS", "/", &pairs), true);
        assert_eq!(value(&added, "access-control-allow-headers"), Some("a, b"));
        let pairs = Pairs(&[(name, "a"), (name, "b\r\n"), (name, "c")]);
        let added = headers(&parts("OPTIONS", "/", &pairs), true);
        assert_eq!(value(&added, "access-control-allow-headers"), None, "not in part either");
    }

    #[test]
    fn bytes_that_could_end_a_header_are_not_echoed() {
        for origin in ["a\r\nset-cookie: x=1", "日本", "a\0"] {
            let pairs = [("origin", origin)];
            let added = headers(&parts("GET", "/", &Pairs(&pairs)), true);
            assert_eq!(value(&added, "access-control-allow-origin"), None, "{origin:?}");
        }
    }

    #[test]
    fn switched_off_it_adds_nothing() {
        let pairs = Pairs(&[("origin", "https://example.com")]);
        assert_eq!(headers(&parts("OPTIONS", "/", &pairs), false), [].as_slice());
    }
}
