//! Text that is mostly short, kept where it stands instead of in memory of its own: names are
//! made, copied and compared with every request.

use std::fmt;
use std::hash::{Hash, Hasher};

/// Longest text that takes no memory of its own, in bytes.
pub const SHORT_BYTES_MAX: usize = 22;

/// A text that does not change. As long as a `Vec`.
#[derive(Clone)]
pub struct Text(Kept);

#[derive(Clone)]
enum Kept {
    Here { len_bytes: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Elsewhere(Box<str>),
}

const _: () = assert!(size_of::<Text>() == 24);

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kept::Here { .. } => {
                std::str::from_utf8(self.as_bytes()).expect("made from a text, and never changed")
            }
            Kept::Elsewhere(text) => text,
        }
    }

    /// Its bytes, which is quicker.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Kept::Here { len_bytes, bytes } => &bytes[..usize::from(*len_bytes)],
            Kept::Elsewhere(text) => text.as_bytes(),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT_BYTES_MAX];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(len_bytes), Some(place)) => {
                place.copy_from_slice(text.as_bytes());
                Self(Kept::Here { len_bytes, bytes })
            }
            _ => Self(Kept::Elsewhere(text.into())),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    /// As that of the text: UTF-8 sorts as its characters do.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Text {
    /// As that of the text, so that a map of names can be asked for a text.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use proptest::prelude::*;

    use super::*;

    fn hash(value: impl Hash) -> u64 {
        std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(value)
    }

    #[test]
    fn only_what_is_long_is_kept_elsewhere() {
        for len in [0, 1, SHORT_BYTES_MAX - 1, SHORT_BYTES_MAX, SHORT_BYTES_MAX + 1, 300] {
            let long = "x".repeat(len);
            let text = Text::from(&*long);
            assert_eq!(text.as_str(), long);
            let is_here = matches!(text.0, Kept::Here { .. });
            assert_eq!(is_here, len <= SHORT_BYTES_MAX, "{len}");
        }
    }

    proptest! {
        #[test]
        fn it_is_what_it_was_made_of(a in ".{0,12}", b in ".{0,12}") {
            let (x, y) = (Text::from(&*a), Text::from(&*b));
            prop_assert_eq!(x.as_str(), &a);
            let copy = x.clone();
            prop_assert_eq!(copy.as_bytes(), a.as_bytes());
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x == y, a == b);
            prop_assert_eq!(hash(&x), hash(&a));
            prop_assert_eq!(format!("{x:?}"), format!("{a:?}"));
        }
    }
}
