//! Strict JSON input: what serde alone would let through.
//!
//! serde's derived structs also accept an array of their members in order, and `serde_json` leaves
//! the strings of ignored members unchecked. The API takes objects only, of valid UTF-8, with
//! nothing but white space after them (S2 specification, section 4.1). Members that repeat a known
//! name are refused by the derived code.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

/// Parses `bytes` as one JSON object.
///
/// * Errors: malformed JSON or UTF-8, trailing bytes, or whatever `T` does not accept.
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, serde_json::Error> {
    whole(bytes).map(|Object(value)| value)
}

/// Parses `bytes` as one JSON object, or as `null`.
///
/// * Errors: as [`from_slice`].
pub fn from_slice_or_null<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
) -> Result<Option<T>, serde_json::Error> {
    Ok(whole::<Option<Object<T>>>(bytes)?.map(|object| object.0))
}

/// Parses `bytes` as one JSON string.
///
/// * Errors: malformed JSON or UTF-8, trailing bytes, or anything but a string.
pub fn text_from_slice(bytes: &[u8]) -> Result<String, serde_json::Error> {
    whole(bytes)
}

fn whole<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, serde_json::Error> {
    let text = std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = T::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Deserializes `T` from an object and from nothing else; for `#[serde(deserialize_with)]`.
pub fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

/// Like [`object`], but `null` counts as unset. Needs `#[serde(default)]` beside it.
pub fn object_or_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Pair {
        a: u64,
        #[serde(default, deserialize_with = "object_or_null")]
        b: Option<Inner>,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Inner {
        c: u64,
    }

    #[test]
    fn objects_are_accepted_with_unknown_members() {
        let cases = [
            (r#"{"a":1}"#, None),
            ("{\"a\":1}\n\t ", None),
            (r#" {"a":1,"b":null,"x":[{"y":"z"}]}"#, None),
            (r#"{"b":{"c":2,"d":3},"a":1}"#, Some(Inner { c: 2 })),
        ];
        for (text, b) in cases {
            assert_eq!(from_slice::<Pair>(text.as_bytes()).expect(text), Pair { a: 1, b });
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let cases: [&[u8]; 14] = [
            b"",
            b"null",
            b"[1,null]",
            b"[1]",
            br#"{"a":1,"b":[2]}"#,
            br#"{"a":1,"b":2}"#,
            br#"{"a":1.0}"#,
            br#"{"a":-1}"#,
            br#"{"a":1,"a":1}"#,
            br#"{"a":1}x"#,
            br#"{"a":1}{}"#,
            b"\xef\xbb\xbf{\"a\":1}",
            b"{\"a\":1,\"x\":\"\xff\"}",
            br#"{"a":18446744073709551616}"#,
        ];
        for bytes in cases {
            assert!(from_slice::<Pair>(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn null_is_accepted_where_it_is_asked_for() {
        let read = |text: &'static str| from_slice_or_null::<Inner>(text.as_bytes());
        for text in ["null", " null\n"] {
            assert_eq!(read(text).expect(text), None, "{text}");
        }
        assert_eq!(read(r#"{"c":1}"#).expect("an object"), Some(Inner { c: 1 }));
        for text in ["", " ", "nul", "null x", "null{}", "[1]", "1", r#"{"c":null}"#, "false"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_text_is_a_string_and_nothing_else() {
        for (text, expected) in
            [(r#""a""#, "a"), (r#" "" "#, ""), (r#""\u00e9\n""#, "\u{e9}\n"), ("\"日本\"", "日本")]
        {
            assert_eq!(text_from_slice(text.as_bytes()).expect(text), expected);
        }
        for text in ["", "null", "a", r#""a"#, r#""a" "b""#, r#"["a"]"#, "1", r#""\ud800""#] {
            assert!(text_from_slice(text.as_bytes()).is_err(), "{text}");
        }
        assert!(text_from_slice(b"\"\xff\"").is_err());
    }

    #[test]
    fn deeply_nested_unknown_members_do_not_exhaust_the_stack() {
        let deep = format!("{{\"a\":1,\"x\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(from_slice::<Pair>(deep.as_bytes()).expect("legal"), Pair { a: 1, b: None });
    }
}
