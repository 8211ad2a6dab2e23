//! Bodies of requests that create basins and streams (S2 specification, section 3.5).
//!
//! Decoding comes first and fails with 400 `bad_json`; what is well-formed but invalid fails with
//! 422 `invalid`. [`route`](super::route::route) has checked before that the body is declared as
//! JSON.

use std::borrow::Cow;

use serde::Deserialize;

use super::error::{ApiError, Code};
use super::info::LOCATION_NAME;
use crate::types::json::from_slice;
use crate::types::{BasinConfig, BasinName, PartialStreamConfig, StreamName};

/// Longest location name, in characters.
const LOCATION_CHARS_MAX: usize = 64;

/// A basin to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateBasin {
    /// Its name.
    pub basin: BasinName,
    /// Its configuration.
    pub config: BasinConfig,
}

/// A stream to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateStream {
    /// Its name.
    pub stream: StreamName,
    /// Its configuration as far as the request states it.
    pub config: PartialStreamConfig,
}

#[derive(Deserialize)]
struct BasinForm<'a> {
    #[serde(borrow)]
    basin: Cow<'a, str>,
    config: Option<BasinConfig>,
    /// `scope` is the name that older clients use.
    #[serde(borrow, alias = "scope")]
    location: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct StreamForm<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    config: Option<PartialStreamConfig>,
}

impl CreateBasin {
    /// Reads and judges a request body.
    ///
    /// * Errors: 400 `bad_json`; 422 `invalid` for a retention age of 0 or a location other than
    ///   ours; 501 `not_implemented` for a cipher, which must not be promised before it is applied.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let form: BasinForm<'_> = from_slice(body).map_err(bad_json)?;
        let basin = BasinName::new(&form.basin).map_err(bad_json)?;
        let known = form.location.as_deref().map(is_our_location).transpose()?;
        let config = form.config.unwrap_or_default();
        config.validate()?;
        if known == Some(false) {
            let message = format!("unknown location: the only one is {LOCATION_NAME}");
            return Err(ApiError::new(Code::Invalid, message));
        }
        if config.stream_cipher.is_some() {
            return Err(ApiError::new(Code::NotImplemented, "stream ciphers: not implemented"));
        }
        Ok(Self { basin, config })
    }

    /// The requested configuration in the form that replays are compared by.
    #[must_use]
    pub fn idempotency_config(&self) -> String {
        canonical(&self.config)
    }
}

impl CreateStream {
    /// Reads and judges a request body.
    ///
    /// * Errors: 400 `bad_json`; 422 `invalid` for a retention age of 0.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let form: StreamForm<'_> = from_slice(body).map_err(bad_json)?;
        let stream = StreamName::new(&form.stream).map_err(bad_json)?;
        let config = form.config.unwrap_or_default();
        config.validate()?;
        Ok(Self { stream, config })
    }

    /// The requested configuration in the form that replays are compared by.
    #[must_use]
    pub fn idempotency_config(&self) -> String {
        canonical(&self.config)
    }
}

/// Two configurations have the same text exactly when the same leaves are set to the same values:
/// absent, `null` and `{}` agree, and so do an absent flag and `false`; but a stream member that
/// is unset differs from one set to its default.
fn canonical(config: &impl serde::Serialize) -> String {
    serde_json::to_string(config).expect("configurations are structs of plain values")
}

fn bad_json(problem: impl std::fmt::Display) -> ApiError {
    ApiError::new(Code::BadJson, problem.to_string())
}

/// Whether the location is ours; 400 `bad_json` when it is not a location name at all.
fn is_our_location(name: &str) -> Result<bool, ApiError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'.');
    if !(1..=LOCATION_CHARS_MAX).contains(&name.len()) || !name.bytes().all(legal) {
        let message = "location must be 1 to 64 ASCII letters, digits, colons, hyphens or dots";
        return Err(bad_json(message));
    }
    Ok(name == LOCATION_NAME)
}

#[cfg(test)]
mod tests;
