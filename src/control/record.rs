//! Basins, streams and access tokens as the log keeps them: JSON text inside a checksummed frame,
//! so that a later release can add members.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{BasinConfig, Cipher, StreamConfig, TokenInfo, hex};

/// What a creating POST is recognised by when it is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creation {
    /// Its request token.
    pub token: String,
    /// The configuration it asked for, normalised (S2 specification, section 3.5).
    pub requested: String,
}

/// A basin as it is: the whole of it, each time it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasinRecord {
    /// Its name.
    pub name: String,
    /// Microseconds since the Unix epoch.
    pub created_us: u64,
    /// When deletion was asked for, microseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_us: Option<u64>,
    /// Its configuration.
    pub config: BasinConfig,
    /// How its creation is recognised, if it had a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<Creation>,
}

/// A stream's metadata as it is: the whole of it, each time it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Its id in this shard.
    pub id: u64,
    /// Its basin.
    pub basin: String,
    /// Its name.
    pub name: String,
    /// Microseconds since the Unix epoch.
    pub created_us: u64,
    /// When deletion was asked for, microseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_us: Option<u64>,
    /// Its configuration, resolved.
    pub config: StreamConfig,
    /// The basin's cipher when it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cipher: Option<Cipher>,
    /// How its creation is recognised, if it had a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<Creation>,
    /// When its configuration began to ask for deletion on empty, microseconds since the Unix
    /// epoch, if it did not from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_on_empty_since_us: Option<u64>,
    /// Batches that arrived before this are hidden whatever the age is now, milliseconds since the
    /// Unix epoch: they were past an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_before_ms: Option<u64>,
}

/// An access token as it was issued. It holds no secret: that is told once, to who asked for it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Who it is and what it permits.
    pub info: TokenInfo,
    /// The keyed hash of its secret, as hexadecimal digits.
    #[serde(with = "hex::text")]
    pub hash: [u8; 32],
    /// When it was issued, microseconds since the Unix epoch.
    pub created_us: u64,
    /// Whether the server was open then: anybody may have it. Earlier builds do not say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_anybody: bool,
}

/// Without the hash, which is nobody's to see.
impl fmt::Debug for TokenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { info, hash: _, created_us, by_anybody } = self;
        let mut shown = f.debug_struct("TokenRecord");
        shown.field("info", info).field("created_us", created_us);
        shown.field("by_anybody", by_anybody).finish_non_exhaustive()
    }
}

/// A basin, stream or access token that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// The stream's id; 0 for others.
    #[serde(default)]
    pub id: u64,
    /// The basin's name or the token's id; empty for a stream.
    #[serde(default)]
    pub name: String,
}
