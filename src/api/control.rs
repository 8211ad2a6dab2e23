//! Bodies of requests that create and change basins and streams (S2 specification, sections 3.5
//! and 3.7).
//!
//! Decoding comes first and fails with 400 `bad_json`; what is well-formed but invalid fails with
//! 422 `invalid`; what must not be promised yet, because it is not done, with 501
//! `not_implemented`. [`route`](super::route::route) has checked before that the body is declared
//! as JSON.

use std::borrow::Cow;

use serde::Deserialize;

use super::error::{ApiError, Code};
use super::location;
use crate::types::json::{from_slice, from_slice_or_null};
use crate::types::{
    BasinConfig, BasinConfigPatch, BasinName, PartialStreamConfig, StreamConfigPatch, StreamName,
};

/// A basin to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateBasin {
    /// Its name.
    pub basin: BasinName,
    /// Its configuration.
    pub config: BasinConfig,
}

/// A basin that is to be as described, whether or not it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnsureBasin {
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
struct EnsureBasinForm<'a> {
    config: Option<BasinConfig>,
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
    ///   ours.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let form: BasinForm<'_> = from_slice(body).map_err(bad_json)?;
        let basin = BasinName::new(&form.basin).map_err(bad_json)?;
        let config = judged(form.config, form.location.as_deref())?;
        Ok(Self { basin, config })
    }

    /// The requested configuration in the form that replays are compared by.
    #[must_use]
    pub fn idempotency_config(&self) -> String {
        canonical(&self.config)
    }
}

impl EnsureBasin {
    /// Reads and judges a request body; an empty one and `null` ask for the defaults.
    ///
    /// * Errors: as [`CreateBasin::parse`].
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let Some(form) = optional::<EnsureBasinForm<'_>>(body)? else {
            return Ok(Self::default());
        };
        Ok(Self { config: judged(form.config, form.location.as_deref())? })
    }
}

/// Judges what a request says about a basin, once its name is known to be legal.
fn judged(config: Option<BasinConfig>, location: Option<&str>) -> Result<BasinConfig, ApiError> {
    let location = location::Requested::parse(location)?;
    let config = config.unwrap_or_default();
    config.validate()?;
    location.check()?;
    Ok(config)
}

/// Reads and judges the body of a PUT of a stream: a bare configuration; an empty body and `null`
/// ask for the defaults.
///
/// * Errors: 400 `bad_json`; 422 `invalid` for a retention age of 0.
pub fn ensure_stream(body: &[u8]) -> Result<PartialStreamConfig, ApiError> {
    let config: PartialStreamConfig = optional(body)?.unwrap_or_default();
    config.validate()?;
    Ok(config)
}

/// Reads and judges the body of a PATCH of a basin.
///
/// * Errors: as [`CreateBasin::parse`].
pub fn reconfigure_basin(body: &[u8]) -> Result<BasinConfigPatch, ApiError> {
    let patch: BasinConfigPatch = from_slice(body).map_err(bad_json)?;
    patch.validate()?;
    Ok(patch)
}

/// Reads and judges the body of a PATCH of a stream.
///
/// * Errors: 400 `bad_json`; 422 `invalid` for a retention age of 0.
pub fn reconfigure_stream(body: &[u8]) -> Result<StreamConfigPatch, ApiError> {
    let patch: StreamConfigPatch = from_slice(body).map_err(bad_json)?;
    patch.validate()?;
    Ok(patch)
}

/// An object that need not be there.
fn optional<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<Option<T>, ApiError> {
    if body.is_empty() { Ok(None) } else { from_slice_or_null(body).map_err(bad_json) }
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

#[cfg(test)]
mod tests;
