//! Counters as they are saved: JSON, so that a later release can add members and counters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Saved counters that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("usage counters cannot be understood")]
pub struct BadUsage;

/// A part of a shard's counters. Rows are as `docs/FORMAT.md` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// Whose they are; of the account when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basin: Option<String>,
    /// Rows by counter, by the minute.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub minutes: BTreeMap<String, Vec<u64>>,
    /// Rows by counter, by the hour.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hours: BTreeMap<String, Vec<u64>>,
    /// Stored bytes by the hour: a row, in checkpoints only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<u64>,
    /// When the basin had streams, in seconds since the Unix epoch: start, end, start, and so on;
    /// without a last end when it still has. In checkpoints only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<u64>,
    /// Stream id, stored bytes, stream id, and so on; in checkpoints only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<u64>,
}

impl Saved {
    /// Stored bytes of a shard's streams.
    #[must_use]
    pub fn of_streams(streams: impl Iterator<Item = (u64, u64)>) -> Self {
        let stored = streams.filter(|(_, bytes)| *bytes > 0);
        Self { stored: stored.flat_map(|(id, bytes)| [id, bytes]).collect(), ..Self::default() }
    }

    /// The same, read back: stream ids and bytes.
    pub fn streams(&self) -> impl Iterator<Item = (u64, u64)> {
        self.stored.chunks_exact(2).map(|pair| (pair[0], pair[1]))
    }

    /// Reads an entry of the log or a checkpoint.
    ///
    /// * Errors: [`BadUsage`] when it is not the JSON wanted.
    pub fn parse(json: &[u8]) -> Result<Self, BadUsage> {
        let saved: Self = serde_json::from_slice(json).map_err(|_| BadUsage)?;
        if saved.stored.len().is_multiple_of(2) { Ok(saved) } else { Err(BadUsage) }
    }
}
