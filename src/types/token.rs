//! Access tokens: who they are, and what they permit (S2 specification, section 8).
//!
//! Here is what a token says; what follows from it is `auth`'s to decide. The JSON form of a
//! [`Scope`] is the same on the wire and in the log.

mod form;
mod permission;

use std::fmt;

use super::limits::TOKEN_ID_BYTES_MAX;
use super::name::NameError;
use super::text::Text;

pub use permission::{OpGroups, Permission, PermissionSet, ReadWrite};

/// Names a token: 1 to 96 bytes of UTF-8 without NUL, neither `.` nor `..`. Not a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(Text);

impl TokenId {
    /// Checks `text` against the rules of a token's id.
    ///
    /// * Errors: [`NameError`] naming the rule that `text` breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError("access token id must not be empty"));
        }
        if text == "." || text == ".." {
            return Err(NameError("access token id must not be . or .."));
        }
        Self::check_prefix(text)?;
        Ok(Self(text.into()))
    }

    /// Checks the `prefix` or `start_after` of a token listing: 0 to 96 bytes without NUL.
    pub fn check_prefix(text: &str) -> Result<(), NameError> {
        if text.len() > TOKEN_ID_BYTES_MAX {
            return Err(NameError("access token id must be at most 96 bytes long"));
        }
        if memchr::memchr(0, text.as_bytes()).is_some() {
            return Err(NameError("access token id must not hold the NUL character"));
        }
        Ok(())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl std::borrow::Borrow<str> for TokenId {
    fn borrow(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which basins, streams or tokens a token is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ResourceSet {
    /// None.
    #[default]
    Nothing,
    /// The one of this name, which is never empty.
    Exact(Box<str>),
    /// All whose names start with this; the empty text is everything.
    Prefix(Box<str>),
}

impl ResourceSet {
    /// Whether it holds the one of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Exact(exact) => **exact == *name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }

    /// Whether it holds everything that `other` does.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Nothing) => true,
            (Self::Nothing, _) | (Self::Exact(_), Self::Prefix(_)) => false,
            (Self::Exact(ours), Self::Exact(theirs)) => ours == theirs,
            (Self::Prefix(ours), Self::Exact(theirs) | Self::Prefix(theirs)) => {
                theirs.starts_with(&**ours)
            }
        }
    }
}

/// What a token permits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// On which basins.
    pub basins: ResourceSet,
    /// On which streams of them; full names, whether or not the token prefixes.
    pub streams: ResourceSet,
    /// On which tokens.
    pub access_tokens: ResourceSet,
    /// Operations permitted by group.
    pub op_groups: OpGroups,
    /// Operations permitted one by one.
    pub ops: PermissionSet,
}

impl Scope {
    /// All operations that are permitted.
    #[must_use]
    pub fn permissions(&self) -> PermissionSet {
        self.ops.union(self.op_groups.implied())
    }
}

/// A token as everyone may see it who may list tokens. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Names it.
    pub id: TokenId,
    /// From when on it is as if it were not there; microseconds since the Unix epoch.
    pub expires_us: Option<u64>,
    /// Whether stream names in its requests and answers leave the prefix of
    /// [`Scope::streams`] out.
    pub auto_prefix_streams: bool,
    /// What it permits.
    pub scope: Scope,
}

impl TokenInfo {
    /// Whether it has expired at `now_us`, in microseconds since the Unix epoch.
    #[must_use]
    pub fn is_expired(&self, now_us: u64) -> bool {
        self.expires_us.is_some_and(|expires_us| expires_us <= now_us)
    }

    /// What goes before every stream name that its requests say.
    ///
    /// Empty when it does not prefix, or when its streams are not a prefix set, which no token
    /// that prefixes is issued with.
    #[must_use]
    pub fn stream_prefix(&self) -> &str {
        match &self.scope.streams {
            ResourceSet::Prefix(prefix) if self.auto_prefix_streams => prefix,
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_ids_accepted_and_refused() {
        let longest = "a".repeat(96);
        for good in ["t", "日本/x y", "...", &longest] {
            assert_eq!(TokenId::new(good).expect("legal").as_str(), good);
        }
        let long = "a".repeat(97);
        for bad in ["", ".", "..", "a\0b", &long] {
            assert!(TokenId::new(bad).is_err(), "{bad:?}");
        }
        assert!(TokenId::check_prefix("").is_ok() && TokenId::check_prefix("..").is_ok());
        assert!(TokenId::check_prefix(&long).is_err());
    }

    #[test]
    fn a_set_holds_what_it_names() {
        let exact = ResourceSet::Exact("a/b".into());
        let prefix = ResourceSet::Prefix("a/".into());
        let all = ResourceSet::Prefix("".into());
        for (set, name, expected) in [
            (&ResourceSet::Nothing, "a/b", false),
            (&ResourceSet::Nothing, "", false),
            (&exact, "a/b", true),
            (&exact, "a/bc", false),
            (&exact, "a/", false),
            (&prefix, "a/b", true),
            (&prefix, "a/", true),
            (&prefix, "a", false),
            (&prefix, "b/a/", false),
            (&all, "anything", true),
        ] {
            assert_eq!(set.has(name), expected, "{set:?} {name}");
        }
    }

    #[test]
    fn a_token_expires_at_its_time() {
        let info = |expires_us| TokenInfo {
            id: TokenId::new("t").expect("legal"),
            expires_us,
            auto_prefix_streams: false,
            scope: Scope::default(),
        };
        assert!(!info(None).is_expired(u64::MAX));
        assert!(!info(Some(10)).is_expired(9));
        assert!(info(Some(10)).is_expired(10));
    }

    #[test]
    fn only_a_token_that_says_so_prefixes() {
        let mut info = TokenInfo {
            id: TokenId::new("t").expect("legal"),
            expires_us: None,
            auto_prefix_streams: false,
            scope: Scope { streams: ResourceSet::Prefix("p/".into()), ..Scope::default() },
        };
        assert_eq!(info.stream_prefix(), "");
        info.auto_prefix_streams = true;
        assert_eq!(info.stream_prefix(), "p/");
        info.scope.streams = ResourceSet::Exact("p/".into());
        assert_eq!(info.stream_prefix(), "");
    }
}
