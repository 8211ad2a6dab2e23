//! Names and tokens, valid by construction. Source: S2 specification, section 3.1.

use std::fmt;

use super::limits::{
    BASIN_NAME_BYTES_MAX, BASIN_NAME_BYTES_MIN, FENCING_TOKEN_BYTES_MAX, REQUEST_TOKEN_BYTES_MAX,
    STREAM_NAME_BYTES_MAX,
};
use super::text::Text;

/// Why a text is not a name; the message names the rule, for the client to read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub &'static str);

/// A basin: 8 to 48 bytes of `a-z`, `0-9` and `-`, alphanumeric at both ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BasinName(Text);

impl BasinName {
    /// Checks `text` against the rules of a basin name.
    ///
    /// * Errors: [`NameError`] naming the rule that `text` breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let bytes = text.as_bytes();
        if !(BASIN_NAME_BYTES_MIN..=BASIN_NAME_BYTES_MAX).contains(&bytes.len()) {
            return Err(NameError("basin name must be 8 to 48 bytes long"));
        }
        check_basin_alphabet(bytes)?;
        if bytes.last() == Some(&b'-') {
            return Err(NameError("basin name must end with a letter or digit"));
        }
        Ok(Self(text.into()))
    }

    /// Checks the `prefix` or `start_after` of a basin listing: 0 to 48 bytes of the same
    /// alphabet, which may end in `-`.
    pub fn check_prefix(text: &str) -> Result<(), NameError> {
        if text.len() > BASIN_NAME_BYTES_MAX {
            return Err(NameError("basin prefix must be at most 48 bytes long"));
        }
        check_basin_alphabet(text.as_bytes())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

fn check_basin_alphabet(bytes: &[u8]) -> Result<(), NameError> {
    let legal = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    if !bytes.iter().all(legal) {
        return Err(NameError("basin name may hold only a-z, 0-9 and -"));
    }
    if bytes.first() == Some(&b'-') {
        return Err(NameError("basin name must start with a letter or digit"));
    }
    Ok(())
}

impl fmt::Display for BasinName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stream: 1 to 512 bytes of UTF-8 without NUL, neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Text);

impl StreamName {
    /// Checks `text` against the rules of a stream name.
    ///
    /// * Errors: [`NameError`] naming the rule that `text` breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError("stream name must not be empty"));
        }
        if text == "." || text == ".." {
            return Err(NameError("stream name must not be . or .."));
        }
        Self::check_prefix(text)?;
        Ok(Self(text.into()))
    }

    /// Checks the `prefix` or `start_after` of a stream listing: 0 to 512 bytes without NUL.
    pub fn check_prefix(text: &str) -> Result<(), NameError> {
        if text.len() > STREAM_NAME_BYTES_MAX {
            return Err(NameError("stream name must be at most 512 bytes long"));
        }
        if memchr::memchr(0, text.as_bytes()).is_some() {
            return Err(NameError("stream name must not hold the NUL character"));
        }
        Ok(())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl std::borrow::Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fencing token: 0 to 36 bytes of UTF-8; empty is the token of a stream never fenced.
///
/// Kept inline: a condition is checked on every append, and a token must cross cores by value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FencingToken {
    len_bytes: u8,
    bytes: [u8; FENCING_TOKEN_BYTES_MAX],
}

impl FencingToken {
    /// Checks `text` against the length limit.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.len() > FENCING_TOKEN_BYTES_MAX {
            return Err(NameError("fencing token must be at most 36 bytes long"));
        }
        let mut bytes = [0; FENCING_TOKEN_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "at most 36, checked above")]
        Ok(Self { len_bytes: text.len() as u8, bytes })
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = &self.bytes[..usize::from(self.len_bytes)];
        std::str::from_utf8(bytes).expect("built from a &str in `new`")
    }
}

impl Default for FencingToken {
    fn default() -> Self {
        Self { len_bytes: 0, bytes: [0; FENCING_TOKEN_BYTES_MAX] }
    }
}

impl fmt::Debug for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FencingToken({:?})", self.as_str())
    }
}

/// The value of `s2-request-token`: 0 to 36 bytes of visible ASCII, blanks and tabs inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestToken(Box<str>);

impl RequestToken {
    /// Checks `text` against length and alphabet.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.len() > REQUEST_TOKEN_BYTES_MAX {
            return Err(NameError("request token must be at most 36 bytes long"));
        }
        let legal = |b: u8| b.is_ascii_graphic() || b == b' ' || b == b'\t';
        if !text.bytes().all(legal) {
            return Err(NameError("request token may hold only visible ASCII"));
        }
        Ok(Self(text.into()))
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basin_names_accepted_and_refused() {
        for good in ["test-basin-1", "abcdefgh", "a2345678", &"a".repeat(48)] {
            assert!(BasinName::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(49);
        for bad in
            ["short", "Test-Basin-1", "test_basin_1", "-test-basin", "test-basin-", &long, ""]
        {
            assert!(BasinName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn basin_prefix_may_be_short_and_end_in_a_hyphen() {
        for good in ["", "a", "test-"] {
            assert!(BasinName::check_prefix(good).is_ok(), "{good}");
        }
        for bad in ["-a", "A", &"a".repeat(49)] {
            assert!(BasinName::check_prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stream_names_accepted_and_refused() {
        let longest = "a".repeat(512);
        for good in ["s", "日本/x y", "a\tb\u{1}c", "...", &longest] {
            assert!(StreamName::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(513);
        for bad in ["", ".", "..", "a\0b", &long] {
            assert!(StreamName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn fencing_token_keeps_text_and_length() {
        let longest = "x".repeat(36);
        for good in ["", "t1", "日本", &longest] {
            assert_eq!(FencingToken::new(good).expect("legal").as_str(), good);
        }
        assert!(FencingToken::new(&"x".repeat(37)).is_err());
    }
}
