//! Configurations of basins and streams, and how a stream's is resolved at creation.
//!
//! The serde form of these types is the API's JSON (S2 specification, section 3.4); the log keeps
//! the same form. Input is parsed strictly as the specification says: unknown members are
//! ignored, `null` counts as unset, `retention_policy` has exactly one known key.

mod form;
mod patch;
#[cfg(test)]
mod tests;

pub use patch::{BasinConfigPatch, Change, StreamConfigPatch};

use super::limits::{RETENTION_AGE_SECS_DEFAULT, STORAGE_CLASS_BYTES_MAX};

/// Why a well-formed configuration is semantically invalid (422 `invalid`). The message is for
/// the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConfig(pub &'static str);

/// How long an ack may take. Every class is equally durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StorageClass {
    /// No added wait: a group is written the moment the device is free.
    Express,
    /// May wait a little to fill larger groups.
    Standard,
}

impl StorageClass {
    /// The class that a stream's free-form `storage_class` means here: `standard` is Standard,
    /// every other text is Express.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if text == "standard" { Self::Standard } else { Self::Express }
    }
}

/// How long a record stays readable, measured from when it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// At least this many seconds; never 0 once validated.
    AgeSecs(u64),
    /// For ever.
    Infinite,
}

/// Where a record's timestamp comes from (S2 specification, section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampingMode {
    /// The client's if it gave one, else the time of arrival.
    ClientPrefer,
    /// The client's; a batch with a record that lacks one is refused.
    ClientRequire,
    /// The time of arrival.
    Arrival,
}

impl TimestampingMode {
    /// The mode as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientPrefer => "client-prefer",
            Self::ClientRequire => "client-require",
            Self::Arrival => "arrival",
        }
    }

    /// The mode that the API spells `text`.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::ClientPrefer, Self::ClientRequire, Self::Arrival]
            .into_iter()
            .find(|mode| mode.as_str() == text)
    }
}

/// Encryption with keys that clients supply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// AEGIS-256.
    Aegis256,
    /// AES-256 in Galois/Counter Mode.
    Aes256Gcm,
}

impl Cipher {
    /// The cipher as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aegis256 => "aegis-256",
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }

    /// The cipher that the API spells `text`.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Aegis256, Self::Aes256Gcm].into_iter().find(|cipher| cipher.as_str() == text)
    }
}

/// A stream's configuration as a client may state it: every leaf may be unset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartialStreamConfig {
    /// Free-form; `express` and `standard` are the well-known ones.
    pub storage_class: Option<String>,
    /// Retention of records.
    pub retention: Option<Retention>,
    /// `timestamping.mode`.
    pub timestamping_mode: Option<TimestampingMode>,
    /// `timestamping.uncapped`.
    pub timestamping_uncapped: Option<bool>,
    /// `delete_on_empty.min_age_secs`; 0 disables.
    pub delete_on_empty_min_age_secs: Option<u64>,
}

/// A stream's configuration in force: every leaf resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// Free-form; see [`StorageClass::of`].
    pub storage_class: String,
    /// Retention of records.
    pub retention: Retention,
    /// `timestamping.mode`.
    pub timestamping_mode: TimestampingMode,
    /// `timestamping.uncapped`: accept client timestamps from the future.
    pub timestamping_uncapped: bool,
    /// `delete_on_empty.min_age_secs`; 0 disables.
    pub delete_on_empty_min_age_secs: u64,
}

impl PartialStreamConfig {
    /// Whether no leaf is set.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        *self == Self::default()
    }

    /// Checks what the JSON form cannot express.
    ///
    /// * Errors: [`InvalidConfig`] when the retention age is 0, or the storage class too long.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        if self.storage_class.as_ref().is_some_and(|class| class.len() > STORAGE_CLASS_BYTES_MAX) {
            return Err(InvalidConfig("storage class must be at most 1024 bytes long"));
        }
        if self.retention == Some(Retention::AgeSecs(0)) {
            return Err(InvalidConfig("retention age must be at least 1 second"));
        }
        Ok(())
    }

    /// Resolves each leaf on its own: this value, else the basin's default, else the system's.
    #[must_use]
    pub fn resolve(&self, basin_default: &Self) -> StreamConfig {
        let class = self.storage_class.as_ref().or(basin_default.storage_class.as_ref());
        StreamConfig {
            storage_class: class.map_or_else(|| "express".to_owned(), Clone::clone),
            retention: self
                .retention
                .or(basin_default.retention)
                .unwrap_or(Retention::AgeSecs(RETENTION_AGE_SECS_DEFAULT)),
            timestamping_mode: self
                .timestamping_mode
                .or(basin_default.timestamping_mode)
                .unwrap_or(TimestampingMode::ClientPrefer),
            timestamping_uncapped: self
                .timestamping_uncapped
                .or(basin_default.timestamping_uncapped)
                .unwrap_or(false),
            delete_on_empty_min_age_secs: self
                .delete_on_empty_min_age_secs
                .or(basin_default.delete_on_empty_min_age_secs)
                .unwrap_or(0),
        }
    }
}

impl From<&StreamConfig> for PartialStreamConfig {
    /// The same configuration with every leaf set.
    fn from(config: &StreamConfig) -> Self {
        Self {
            storage_class: Some(config.storage_class.clone()),
            retention: Some(config.retention),
            timestamping_mode: Some(config.timestamping_mode),
            timestamping_uncapped: Some(config.timestamping_uncapped),
            delete_on_empty_min_age_secs: Some(config.delete_on_empty_min_age_secs),
        }
    }
}

/// A basin's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasinConfig {
    /// What a new stream inherits where its creator says nothing; stored as given.
    pub default_stream_config: PartialStreamConfig,
    /// The cipher that new streams are created with.
    pub stream_cipher: Option<Cipher>,
    /// Whether an append to a missing stream creates it.
    pub create_stream_on_append: bool,
    /// Whether a read or tail check of a missing stream creates it.
    pub create_stream_on_read: bool,
}

impl BasinConfig {
    /// Checks the default stream configuration; see [`PartialStreamConfig::validate`].
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.default_stream_config.validate()
    }
}
