//! Percent-decoding, once, of path segments and of query names and values.
//!
//! A `%` that two hex digits do not follow stands for itself. `+` stands for itself in a path and
//! for a blank in a query, where browsers and form encoders write blanks so.

use std::borrow::Cow;

/// Where the text stands, which decides what `+` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
}

/// Decodes `raw`; `None` when the result is not UTF-8.
pub(crate) fn decode(raw: &str, place: Place) -> Option<Cow<'_, str>> {
    let special = |b: u8| b == b'%' || (b == b'+' && place == Place::Query);
    if !raw.bytes().any(special) {
        return Some(Cow::Borrowed(raw));
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, after) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', tail),
            },
            (b'+', _) if place == Place::Query => (b' ', tail),
            _ => (*first, tail),
        };
        decoded.push(byte);
        rest = after;
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_decoded_once() {
        for (raw, path, query) in [
            ("", "", ""),
            ("abc", "abc", "abc"),
            ("a%2Fb", "a/b", "a/b"),
            ("a%2fb", "a/b", "a/b"),
            ("a%252Fb", "a%2Fb", "a%2Fb"),
            ("a%2Gb", "a%2Gb", "a%2Gb"),
            ("a%G2b", "a%G2b", "a%G2b"),
            ("%", "%", "%"),
            ("%2", "%2", "%2"),
            ("%%41", "%A", "%A"),
            ("%4%41", "%4A", "%4A"),
            ("a+b", "a+b", "a b"),
            ("a%2Bb", "a+b", "a+b"),
            ("x%20y", "x y", "x y"),
            ("%E6%97%A5%E6%9C%AC", "日本", "日本"),
            ("日本", "日本", "日本"),
            ("%00", "\0", "\0"),
        ] {
            assert_eq!(decode(raw, Place::Path).as_deref(), Some(path), "{raw}");
            assert_eq!(decode(raw, Place::Query).as_deref(), Some(query), "{raw}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_refused() {
        for raw in ["%FF", "a%C3", "%E6%97", "%ED%A0%80", "%C0%80", "%F4%90%80%80"] {
            assert_eq!(decode(raw, Place::Path), None, "{raw}");
            assert_eq!(decode(raw, Place::Query), None, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn every_text_survives_encoding(text in ".*") {
            let mut raw = String::new();
            for byte in text.bytes() {
                write!(raw, "%{byte:02X}").expect("a String takes everything");
            }
            prop_assert_eq!(decode(&raw, Place::Path).expect("UTF-8"), text.as_str());
            prop_assert_eq!(decode(&raw, Place::Query).expect("UTF-8"), text.as_str());
        }
    }
}
