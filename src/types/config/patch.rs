//! What a PATCH says about a configuration (S2 specification, section 3.7).
//!
//! Every member has three states: absent changes nothing, a value is set, `null` clears. What a
//! cleared leaf becomes is decided where the patch is applied: unset in a basin's default stream
//! configuration, the basin's current default in a stream's.

use serde::{Deserialize, Deserializer};

use super::{
    BasinConfig, Cipher, InvalidConfig, PartialStreamConfig, Retention, StreamConfig,
    TimestampingMode,
};
use crate::types::json::{object, object_or_null};

/// What a patch says about one member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Absent: it stays as it is.
    #[default]
    Keep,
    /// `null`: it becomes unset.
    Clear,
    /// It becomes this.
    Set(T),
}

impl<T> Change<T> {
    /// What the member is after the change, when it was `current`.
    fn of(&self, current: &Option<T>) -> Option<T>
    where
        T: Clone,
    {
        match self {
            Self::Keep => current.clone(),
            Self::Clear => None,
            Self::Set(value) => Some(value.clone()),
        }
    }

    /// The change of a leaf inside of this member: a cleared member clears all its leaves.
    fn leaf<L>(&self, of: impl FnOnce(&T) -> Change<L>) -> Change<L> {
        match self {
            Self::Keep => Change::Keep,
            Self::Clear => Change::Clear,
            Self::Set(value) => of(value),
        }
    }
}

impl<T> From<Option<T>> for Change<T> {
    /// A member that is there: `None` is `null`.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Clear, Self::Set)
    }
}

/// Needs `#[serde(default)]` on the member, so that an absent one is kept.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::from)
    }
}

fn object_change<'de, D, T>(deserializer: D) -> Result<Change<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    object_or_null(deserializer).map(Change::from)
}

/// Changes of a stream's configuration, or of a basin's default one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamConfigPatch {
    /// `storage_class`.
    pub storage_class: Change<String>,
    /// `retention_policy`.
    pub retention: Change<Retention>,
    /// `timestamping.mode`.
    pub timestamping_mode: Change<TimestampingMode>,
    /// `timestamping.uncapped`.
    pub timestamping_uncapped: Change<bool>,
    /// `delete_on_empty.min_age_secs`.
    pub delete_on_empty_min_age_secs: Change<u64>,
}

impl StreamConfigPatch {
    /// A partial configuration after the changes: a cleared leaf is unset.
    #[must_use]
    pub fn apply(&self, to: &PartialStreamConfig) -> PartialStreamConfig {
        PartialStreamConfig {
            storage_class: self.storage_class.of(&to.storage_class),
            retention: self.retention.of(&to.retention),
            timestamping_mode: self.timestamping_mode.of(&to.timestamping_mode),
            timestamping_uncapped: self.timestamping_uncapped.of(&to.timestamping_uncapped),
            delete_on_empty_min_age_secs: self
                .delete_on_empty_min_age_secs
                .of(&to.delete_on_empty_min_age_secs),
        }
    }

    /// A stream's configuration after the changes: a cleared leaf gets the basin's default as it
    /// is now, else the system's.
    #[must_use]
    pub fn apply_to_stream(
        &self,
        to: &StreamConfig,
        basin_default: &PartialStreamConfig,
    ) -> StreamConfig {
        self.apply(&to.into()).resolve(basin_default)
    }

    /// Checks what the JSON form cannot express, as [`PartialStreamConfig::validate`].
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.apply(&PartialStreamConfig::default()).validate()
    }
}

/// Changes of a basin's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasinConfigPatch {
    /// `default_stream_config`; to clear it is to clear all its leaves.
    pub default_stream_config: Change<StreamConfigPatch>,
    /// `stream_cipher`.
    pub stream_cipher: Change<Cipher>,
    /// `create_stream_on_append`; `null` changes nothing.
    pub create_stream_on_append: Option<bool>,
    /// `create_stream_on_read`; `null` changes nothing.
    pub create_stream_on_read: Option<bool>,
}

impl BasinConfigPatch {
    /// A basin's configuration after the changes.
    #[must_use]
    pub fn apply(&self, to: &BasinConfig) -> BasinConfig {
        let default = &to.default_stream_config;
        BasinConfig {
            default_stream_config: match &self.default_stream_config {
                Change::Keep => default.clone(),
                Change::Clear => PartialStreamConfig::default(),
                Change::Set(patch) => patch.apply(default),
            },
            stream_cipher: self.stream_cipher.of(&to.stream_cipher),
            create_stream_on_append: self
                .create_stream_on_append
                .unwrap_or(to.create_stream_on_append),
            create_stream_on_read: self.create_stream_on_read.unwrap_or(to.create_stream_on_read),
        }
    }

    /// Checks the changes of the default stream configuration.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        match &self.default_stream_config {
            Change::Set(patch) => patch.validate(),
            Change::Keep | Change::Clear => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct StreamForm {
    #[serde(default)]
    storage_class: Change<String>,
    #[serde(default)]
    retention_policy: Change<Retention>,
    #[serde(default, deserialize_with = "object_change")]
    timestamping: Change<TimestampingForm>,
    #[serde(default, deserialize_with = "object_change")]
    delete_on_empty: Change<DeleteOnEmptyForm>,
}

#[derive(Deserialize)]
struct TimestampingForm {
    #[serde(default)]
    mode: Change<TimestampingMode>,
    #[serde(default)]
    uncapped: Change<bool>,
}

#[derive(Deserialize)]
struct DeleteOnEmptyForm {
    #[serde(default)]
    min_age_secs: Change<u64>,
}

impl<'de> Deserialize<'de> for StreamConfigPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form: StreamForm = object(deserializer)?;
        Ok(Self {
            timestamping_mode: form.timestamping.leaf(|t| t.mode),
            timestamping_uncapped: form.timestamping.leaf(|t| t.uncapped),
            delete_on_empty_min_age_secs: form.delete_on_empty.leaf(|d| d.min_age_secs),
            storage_class: form.storage_class,
            retention: form.retention_policy,
        })
    }
}

#[derive(Deserialize)]
struct BasinForm {
    #[serde(default)]
    default_stream_config: Change<StreamConfigPatch>,
    #[serde(default)]
    stream_cipher: Change<Cipher>,
    create_stream_on_append: Option<bool>,
    create_stream_on_read: Option<bool>,
}

impl<'de> Deserialize<'de> for BasinConfigPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form: BasinForm = object(deserializer)?;
        Ok(Self {
            default_stream_config: form.default_stream_config,
            stream_cipher: form.stream_cipher,
            create_stream_on_append: form.create_stream_on_append,
            create_stream_on_read: form.create_stream_on_read,
        })
    }
}

#[cfg(test)]
mod tests;
