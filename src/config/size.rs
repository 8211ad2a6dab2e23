//! Numbers of bytes as people write them: `134217728`, `128MiB`, `1.5 GB`.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// Most bytes that a setting may name: what TOML can say as a number.
const BYTES_MAX: u64 = i64::MAX as u64;

/// A number of bytes. Units of 1000 are `kB`, `MB`, `GB`, of 1024 `KiB`, `MiB`, `GiB`; case does
/// not matter, nor does a blank before the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Why a text is no number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no number of bytes: write 134217728 or 128MiB, at most 8191PiB")]
pub struct SizeError(String);

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let refused = || SizeError(text.to_owned());
        let size: bytesize::ByteSize = text.parse().map_err(|_| refused())?;
        if size.0 > BYTES_MAX { Err(refused()) } else { Ok(Self(size.0)) }
    }
}

/// With the largest unit of 1024 that it is a whole number of.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["PiB", "TiB", "GiB", "MiB", "KiB"];
        for (unit, power) in units.iter().zip((1..=5).rev()) {
            let one = 1_u64 << (10 * power);
            if self.0 >= one && self.0.is_multiple_of(one) {
                return write!(f, "{}{unit}", self.0 / one);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or a text like \"128MiB\"")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Size, E> {
        let refused = |_| E::invalid_value(Unexpected::Signed(value), &self);
        u64::try_from(value).map(Size).map_err(refused)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Size, E> {
        Ok(Size(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_accepted() {
        let cases = [
            ("0", 0, "0"),
            ("1", 1, "1"),
            ("1023", 1023, "1023"),
            ("1024", 1024, "1KiB"),
            ("134217728", 128 << 20, "128MiB"),
            ("128MiB", 128 << 20, "128MiB"),
            ("128mib", 128 << 20, "128MiB"),
            ("128 MiB", 128 << 20, "128MiB"),
            ("128Mi", 128 << 20, "128MiB"),
            ("1.5GiB", 3 << 29, "1536MiB"),
            ("128MB", 128_000_000, "125000KiB"),
            ("128M", 128_000_000, "125000KiB"),
            ("10kB", 10_000, "10000"),
            ("10B", 10, "10"),
            ("2TiB", 2 << 40, "2TiB"),
            ("8191PiB", 8191 << 50, "8191PiB"),
            ("9223372036854775807", u64::MAX >> 1, "9223372036854775807"),
        ];
        for (text, bytes, shown) in cases {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown), "{text}");
            assert_eq!(shown.parse(), Ok(size), "what is printed is read again");
        }
    }

    #[test]
    fn sizes_refused() {
        for text in [
            "",
            " ",
            "x",
            "MiB",
            "-1",
            "-1MiB",
            "1e6",
            "1,5GiB",
            "128 miles",
            "0x10",
            "NaN",
            "inf",
            "8192PiB",
            "8EiB",
            "9223372036854775808",
            "99999999999999999999999",
            "1.2.3MiB",
            ".",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn files_hold_them_as_numbers_and_as_texts() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct File {
            a: Size,
        }
        for text in ["a = 1048576", "a = \"1MiB\"", "a = 0x100000", "a = 1_048_576"] {
            assert_eq!(toml::from_str(text), Ok(File { a: Size(1 << 20) }), "{text}");
        }
        for text in ["a = -1", "a = 1.5", "a = \"x\"", "a = true", "a = [1]"] {
            assert!(toml::from_str::<File>(text).is_err(), "{text}");
        }
    }
}
