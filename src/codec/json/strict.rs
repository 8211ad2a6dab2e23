//! Refuses what simd-json 0.17 lets pass although it is not JSON, and what would cost it too
//! much memory.
//!
//! * A NUL byte ends an atom or number there, and hides what follows: here no NUL anywhere.
//! * A high surrogate escape without its low one becomes U+0000 or another character there: here
//!   each pair is checked.
//! * What follows the digits of an integer (or float) of 19 digits or more is not looked at there:
//!   here such numbers are read again.
//!
//! simd-json 0.19 refuses the last two itself; after an upgrade the tests say what can go.
//!
//! Each is cheap to rule out for ordinary bodies: two or three vector searches that find nothing.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memchr2};

/// Most structural characters in a body of more than [`UNCOUNTED_BODY_BYTES`].
///
/// simd-json reserves 52 bytes for each and, where containers are nested, writes them all: this
/// bounds scratch to 130 MB. A legal batch has at most 2.2 million (1 MiB of headers that are
/// metered 3 bytes each and need 6).
pub(super) const STRUCTURALS_MAX: usize = 2_500_000;
/// Bodies up to this are parsed uncounted: they have no more structural characters than bytes.
const UNCOUNTED_BODY_BYTES: usize = 1024 * 1024;

/// Checks `body` before simd-json unescapes it.
///
/// * Errors: a message for the client.
pub(super) fn before_parse(body: &[u8]) -> Result<(), String> {
    // One search for both: large bodies often have neither.
    if let Some(at) = memchr2(0, b'\\', body) {
        let rest = &body[at..];
        if memchr(0, rest).is_some() {
            return Err("malformed JSON: a NUL byte".to_owned());
        }
        check_surrogates(rest)?;
    }
    if body.len() > UNCOUNTED_BODY_BYTES
        && boundaries_at_most(body) > STRUCTURALS_MAX
        && structurals(body, STRUCTURALS_MAX + 1) > STRUCTURALS_MAX
    {
        return Err("body has too many values".to_owned());
    }
    Ok(())
}

/// The two ways to begin a surrogate escape; kept, because preparing a search costs more than
/// searching a small body.
static SURROGATE_STARTS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"\\ud"), Finder::new(b"\\uD")]);

/// Checks that every escaped surrogate is half of a pair.
fn check_surrogates(body: &[u8]) -> Result<(), String> {
    if SURROGATE_STARTS.iter().all(|start| start.find(body).is_none()) {
        return Ok(());
    }
    let mut rest = body;
    while let Some(at) = memchr(b'\\', rest) {
        rest = &rest[at..];
        let escape_bytes = match (surrogate(rest), rest.get(6..).and_then(surrogate)) {
            (Some(Surrogate::High), Some(Surrogate::Low)) => 12,
            (Some(_), _) => return Err("malformed JSON: a lone surrogate escape".to_owned()),
            (None, _) => 2,
        };
        rest = rest.get(escape_bytes..).unwrap_or_default();
    }
    Ok(())
}

enum Surrogate {
    High,
    Low,
}

/// The surrogate that an escape at the start of `text` names, if it names one.
fn surrogate(text: &[u8]) -> Option<Surrogate> {
    let [b'\\', b'u', b'd' | b'D', second, third, fourth, ..] = text else {
        return None;
    };
    if !third.is_ascii_hexdigit() || !fourth.is_ascii_hexdigit() {
        return None;
    }
    match second {
        b'8' | b'9' | b'a' | b'A' | b'b' | b'B' => Some(Surrogate::High),
        b'c'..=b'f' | b'C'..=b'F' => Some(Surrogate::Low),
        _ => None,
    }
}

/// A bound, from above, on [`structurals`] that needs no state: a value starts at a structural
/// character or right after one or after white space.
fn boundaries_at_most(body: &[u8]) -> usize {
    let is_boundary = |b: u8| {
        let folded = b | 0x20; // brackets onto braces
        u8::from(
            (b <= b' ')
                | (b == b'"')
                | (b == b',')
                | (b == b':')
                | (folded == b'{')
                | (folded == b'}'),
        )
    };
    // A chunk's count fits a byte, so that the compiler can count in vector lanes.
    let of_chunk =
        |chunk: &[u8]| usize::from(chunk.iter().fold(0_u8, |count, &b| count + is_boundary(b)));
    1 + 2 * body.chunks(128).map(of_chunk).sum::<usize>()
}

/// The structural characters and starts of values that simd-json would index in `body`, counted
/// up to `limit`. As there, a backslash hides the next byte even outside strings.
fn structurals(body: &[u8], limit: usize) -> usize {
    let (mut count, mut in_string, mut escaped, mut at_boundary) = (0, false, false, true);
    for &b in body {
        if count >= limit {
            break;
        }
        let is_quote = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        if in_string {
            in_string = !is_quote;
            continue;
        }
        let is_space = matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        let is_mark = is_quote || matches!(b, b',' | b':' | b'[' | b']' | b'{' | b'}');
        count += usize::from(is_mark || (at_boundary && !is_space));
        at_boundary = is_space || is_mark;
        in_string = is_quote;
    }
    count
}

/// Reads again every number of a parsed `body`, of which `structurals` are the places where a
/// value or a structural character is.
pub(super) fn check_numbers(body: &[u8], structurals: &[u32]) -> Result<(), String> {
    let starts = structurals.iter().map(|&at| &body[at as usize..]);
    let mut numbers = starts.filter(|text| matches!(text, [b'-' | b'0'..=b'9', ..]));
    if numbers.all(starts_with_number) {
        Ok(())
    } else {
        Err("malformed JSON: a malformed number".to_owned())
    }
}

/// Whether `text` starts with a whole number token of RFC 8259, and something else follows.
fn starts_with_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (integer, mut text) = split_digits(text);
    if integer.is_empty() || (integer.len() > 1 && integer[0] == b'0') {
        return false;
    }
    if let [b'.', rest @ ..] = text {
        let (fraction, rest) = split_digits(rest);
        if fraction.is_empty() {
            return false;
        }
        text = rest;
    }
    if let [b'e' | b'E', rest @ ..] = text {
        let unsigned = match rest {
            [b'+' | b'-', unsigned @ ..] => unsigned,
            _ => rest,
        };
        let (exponent, rest) = split_digits(unsigned);
        if exponent.is_empty() {
            return false;
        }
        text = rest;
    }
    matches!(text, [] | [b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b']' | b'}', ..])
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    text.split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrogate_escapes_must_come_in_pairs() {
        for good in
            [r"\ud83d\ude00", r"\uD83D\uDE00", r"\\ud800", r"\ud7ff\ue000", r"\\\\ud800", r"\\\n"]
        {
            assert!(before_parse(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            r"\ud800",
            r"\uD800x",
            r"\udc00",
            r"\uDFFF",
            r"\ud800\ue000",
            r"\ud800\uffff",
            r"\ud800\u0041",
            r"\ud800\ud800\udc00",
            r"\ud800\n",
            r"\\\ud800",
            r"\udbff\udbff",
        ] {
            assert!(before_parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn number_tokens_accepted_and_refused() {
        for good in ["0", "-0", "10", "1.5", "0.50", "1e9", "1E+9", "-1.0e-12", "1,", "1]", "1 x"] {
            assert!(starts_with_number(good.as_bytes()), "{good}");
        }
        for bad in [
            "", "-", "01", "1.", ".5", "1e", "1e+", "1x", "1.5x", "1e5x", "1\0", "--1", "+1", "1\"",
        ] {
            assert!(!starts_with_number(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn structurals_are_counted_as_simd_json_indexes_them() {
        let cases = [
            r#"{"a":[1,2,"x,y:[]{}"],"b":null}"#,
            r#"[ 1 , "\"" , {} , "\\" ]"#,
            "[[[[]]]]",
            r#"  "quote \" and \\" "#,
            "true",
        ];
        for case in cases {
            let mut buffers = simd_json::Buffers::default();
            let mut text = case.as_bytes().to_vec();
            simd_json::to_tape_with_buffers(&mut text, &mut buffers).expect("valid");
            let indexed = buffers.structural_indexes().len();
            assert_eq!(structurals(case.as_bytes(), usize::MAX), indexed, "{case}");
            assert!(boundaries_at_most(case.as_bytes()) >= indexed, "{case}");
        }
    }
}
