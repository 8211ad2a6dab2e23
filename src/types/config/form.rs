//! The JSON form of configurations, both directions (S2 specification, section 3.4).
//!
//! * In: every leaf may be absent or `null`; unknown members are ignored, except beside the one
//!   key of `retention_policy`.
//! * Out: every member is present; what is unset is `null`.
//!
//! The log keeps this form, so what is written here must be read back as the same value.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{BasinConfig, Cipher, PartialStreamConfig, Retention, StreamConfig, TimestampingMode};
use crate::types::json::{object, object_or_null};

/// `retention_policy`: exactly one of the two keys.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionForm {
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    age: Option<u64>,
    #[serde(default, deserialize_with = "present_object", skip_serializing_if = "Option::is_none")]
    infinite: Option<Infinite>,
}

/// Members inside `infinite` are ignored.
#[derive(Serialize, Deserialize)]
struct Infinite {}

/// A member that may be absent but not `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

fn present_object<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Infinite>, D::Error> {
    object(d).map(Some)
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match object(deserializer)? {
            RetentionForm { age: Some(secs), infinite: None } => Ok(Self::AgeSecs(secs)),
            RetentionForm { age: None, infinite: Some(Infinite {}) } => Ok(Self::Infinite),
            _ => Err(serde::de::Error::custom(
                "retention_policy must be {\"age\":seconds} or {\"infinite\":{}}",
            )),
        }
    }
}

impl Serialize for Retention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match *self {
            Self::AgeSecs(secs) => RetentionForm { age: Some(secs), infinite: None },
            Self::Infinite => RetentionForm { age: None, infinite: Some(Infinite {}) },
        };
        form.serialize(serializer)
    }
}

/// Reads one of the texts that `of` knows. A derived enum would also take `{"text":null}`.
fn word<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    of: impl FnOnce(&str) -> Option<T>,
    expected: &str,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    of(&text).ok_or_else(|| serde::de::Error::custom(expected))
}

impl<'de> Deserialize<'de> for TimestampingMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "timestamping mode must be client-prefer, client-require or arrival";
        word(deserializer, Self::from_text, expected)
    }
}

impl Serialize for TimestampingMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Cipher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer, Self::from_text, "stream cipher must be aegis-256 or aes-256-gcm")
    }
}

impl Serialize for Cipher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[derive(Serialize, Deserialize)]
struct StreamForm {
    storage_class: Option<String>,
    retention_policy: Option<Retention>,
    #[serde(default, deserialize_with = "object_or_null")]
    timestamping: Option<TimestampingForm>,
    #[serde(default, deserialize_with = "object_or_null")]
    delete_on_empty: Option<DeleteOnEmptyForm>,
}

#[derive(Serialize, Deserialize)]
struct TimestampingForm {
    mode: Option<TimestampingMode>,
    uncapped: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct DeleteOnEmptyForm {
    min_age_secs: Option<u64>,
}

impl<'de> Deserialize<'de> for PartialStreamConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form: StreamForm = object(deserializer)?;
        Ok(Self {
            storage_class: form.storage_class,
            retention: form.retention_policy,
            timestamping_mode: form.timestamping.as_ref().and_then(|t| t.mode),
            timestamping_uncapped: form.timestamping.as_ref().and_then(|t| t.uncapped),
            delete_on_empty_min_age_secs: form.delete_on_empty.and_then(|d| d.min_age_secs),
        })
    }
}

impl Serialize for PartialStreamConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mode, uncapped) = (self.timestamping_mode, self.timestamping_uncapped);
        let min_age_secs = self.delete_on_empty_min_age_secs;
        let form = StreamForm {
            storage_class: self.storage_class.clone(),
            retention_policy: self.retention,
            timestamping: (mode.is_some() || uncapped.is_some())
                .then_some(TimestampingForm { mode, uncapped }),
            delete_on_empty: min_age_secs.is_some().then_some(DeleteOnEmptyForm { min_age_secs }),
        };
        form.serialize(serializer)
    }
}

/// A member that the stored form lacks has its system default.
impl<'de> Deserialize<'de> for StreamConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let partial = PartialStreamConfig::deserialize(deserializer)?;
        Ok(partial.resolve(&PartialStreamConfig::default()))
    }
}

impl Serialize for StreamConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PartialStreamConfig::from(self).serialize(serializer)
    }
}

#[derive(Deserialize)]
struct BasinFormIn {
    default_stream_config: Option<PartialStreamConfig>,
    stream_cipher: Option<Cipher>,
    create_stream_on_append: Option<bool>,
    create_stream_on_read: Option<bool>,
}

#[derive(Serialize)]
struct BasinFormOut<'a> {
    default_stream_config: Option<&'a PartialStreamConfig>,
    stream_cipher: Option<Cipher>,
    create_stream_on_append: bool,
    create_stream_on_read: bool,
}

impl<'de> Deserialize<'de> for BasinConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form: BasinFormIn = object(deserializer)?;
        Ok(Self {
            default_stream_config: form.default_stream_config.unwrap_or_default(),
            stream_cipher: form.stream_cipher,
            create_stream_on_append: form.create_stream_on_append.unwrap_or(false),
            create_stream_on_read: form.create_stream_on_read.unwrap_or(false),
        })
    }
}

impl Serialize for BasinConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let default = &self.default_stream_config;
        let form = BasinFormOut {
            default_stream_config: (!default.is_unset()).then_some(default),
            stream_cipher: self.stream_cipher,
            create_stream_on_append: self.create_stream_on_append,
            create_stream_on_read: self.create_stream_on_read,
        };
        form.serialize(serializer)
    }
}
