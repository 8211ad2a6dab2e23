//! Writes bytes as the inside of a JSON string.
//!
//! Most bodies need no escape, so the search for one goes first, 64 bytes at a time in vector
//! lanes, and what lies between escapes is copied as a run.

/// Appends `bytes` as UTF-8, each invalid sequence replaced by U+FFFD exactly as
/// [`String::from_utf8_lossy`] does, escaped for a JSON string; without the quotes.
pub(super) fn push_lossy(out: &mut Vec<u8>, bytes: &[u8]) {
    if simdutf8::basic::from_utf8(bytes).is_ok() {
        return push_escaped(out, bytes);
    }
    for chunk in bytes.utf8_chunks() {
        push_escaped(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
}

/// Appends UTF-8 `text`, with quotes, backslashes and control characters escaped.
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let clean_bytes = clean_prefix(rest);
        out.extend_from_slice(&rest[..clean_bytes]);
        let Some(&special) = rest.get(clean_bytes) else {
            return;
        };
        push_escape(out, special);
        rest = &rest[clean_bytes + 1..];
    }
}

/// How many bytes at the start of `text` need no escape.
fn clean_prefix(text: &[u8]) -> usize {
    const LANES: usize = 64;
    let (chunks, tail) = text.as_chunks::<LANES>();
    for (index, chunk) in chunks.iter().enumerate() {
        // No early exit within a chunk: that lets the compiler compare in vector lanes.
        if chunk.iter().fold(false, |any, &b| any | needs_escape(b)) {
            let at = chunk.iter().position(|&b| needs_escape(b));
            return index * LANES + at.unwrap_or(LANES);
        }
    }
    let clean_bytes = tail.iter().position(|&b| needs_escape(b)).unwrap_or(tail.len());
    text.len() - tail.len() + clean_bytes
}

fn needs_escape(b: u8) -> bool {
    (b < 0x20) | (b == b'"') | (b == b'\\')
}

/// Appends the shortest escape of `b`.
fn push_escape(out: &mut Vec<u8>, b: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match b {
        b'"' | b'\\' => b,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0C => b'f',
        _ => {
            let (high, low) = (HEX[usize::from(b >> 4)], HEX[usize::from(b & 0xF)]);
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> String {
        let mut out = vec![b'"'];
        push_lossy(&mut out, bytes);
        out.push(b'"');
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn every_byte_reads_back_as_its_lossy_text() {
        for b in 0..=u8::MAX {
            let text: String = serde_json::from_str(&written(&[b])).expect("valid JSON");
            assert_eq!(text, String::from_utf8_lossy(&[b]), "byte {b:#x}");
        }
    }

    #[test]
    fn escapes_are_the_shortest_there_are() {
        let cases: [(&[u8], &str); 6] = [
            (b"plain", r#""plain""#),
            (b"\"\\/", r#""\"\\/""#),
            (b"\n\r\t\x08\x0C", r#""\n\r\t\b\f""#),
            (b"\0\x1f\x7f", "\"\\u0000\\u001f\x7f\""),
            ("日本😀".as_bytes(), "\"日本😀\""),
            (b"a\xFFb\xF0\x9F\x98", "\"a\u{FFFD}b\u{FFFD}\""),
        ];
        for (bytes, json) in cases {
            assert_eq!(written(bytes), json, "{bytes:?}");
        }
    }

    #[test]
    fn an_escape_is_found_at_every_place_of_every_length() {
        for len in 1..200 {
            for at in 0..len {
                let mut bytes = vec![b'a'; len];
                bytes[at] = b'"';
                assert_eq!(clean_prefix(&bytes), at, "length {len}");
                bytes[at] = 0x20;
                assert_eq!(clean_prefix(&bytes), len);
            }
        }
    }
}
