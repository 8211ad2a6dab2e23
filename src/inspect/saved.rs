//! What a shard's checkpoints say.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::{SavedState, StreamRecord, TokenRecord};
use crate::io::{Disk, IoError};
use crate::log::checkpoint::{self, CheckpointError, CheckpointFacts};
use crate::log::entry::{Entry, Kind};
use crate::log::format::FormatError;
use crate::log::scan::Visitor;
use crate::log::segment::LogFacts;
use crate::types::{Cipher, LogPos};
use crate::usage::{Ledger, Saved as Usage};

/// A stream in a checkpoint.
#[derive(Debug, Default)]
pub(super) struct SavedStream {
    /// `basin/name`, empty when the checkpoint has only the stream's state.
    pub(super) name: String,
    pub(super) deleting: bool,
    pub(super) cipher: Option<Cipher>,
    pub(super) state: Option<SavedState>,
}

/// The streams of a checkpoint, by id, and the ids of its access tokens.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) streams: BTreeMap<u64, SavedStream>,
    pub(super) tokens: BTreeSet<String>,
}

impl Visitor for Saved {
    fn entry(&mut self, _pos: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        match entry.kind {
            Kind::Stream => {
                let record = stream_record(entry)?;
                let stream = self.streams.entry(record.id).or_default();
                stream.name = full_name(&record);
                stream.deleting = record.deleted_us.is_some();
                stream.cipher = record.cipher;
            }
            Kind::StreamState => {
                let state = SavedState::parse(entry.metadata())?;
                let id = state.id.0;
                self.streams.entry(id).or_default().state = Some(state);
            }
            Kind::Usage => check_usage(entry)?,
            Kind::Token => {
                self.tokens.insert(token_record(entry)?.info.id.to_string());
            }
            Kind::Basin
            | Kind::BasinGone
            | Kind::TokenGone
            | Kind::StreamGone
            | Kind::Batch
            | Kind::Moved
            | Kind::Part
            | Kind::Trimmed
            | Kind::Arrivals => {}
        }
        Ok(())
    }
}

/// The metadata in a `Kind::Stream` entry.
pub(super) fn stream_record(entry: &Entry<'_>) -> Result<StreamRecord, FormatError> {
    serde_json::from_slice(entry.metadata()).map_err(|_| FormatError::Entry("stream metadata"))
}

/// The metadata in a `Kind::Token` entry.
pub(super) fn token_record(entry: &Entry<'_>) -> Result<TokenRecord, FormatError> {
    serde_json::from_slice(entry.metadata()).map_err(|_| FormatError::Entry("access token"))
}

/// Whether the counters in a `Kind::Usage` entry can be understood.
pub(super) fn check_usage(entry: &Entry<'_>) -> Result<(), FormatError> {
    let applied = Usage::parse(entry.metadata()).and_then(|usage| Ledger::default().apply(&usage));
    applied.map_err(|_| FormatError::Entry("usage counters"))
}

/// A stream's name with its basin's.
pub(super) fn full_name(record: &StreamRecord) -> String {
    format!("{}/{}", record.basin, record.name)
}

/// A checkpoint's file.
#[derive(Debug)]
pub(super) struct CheckpointFile {
    pub(super) name: String,
    pub(super) len_bytes: u64,
    pub(super) read: Result<(CheckpointFacts, usize), (u64, FormatError)>,
}

/// The checkpoint that a restart would use.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) name: String,
    pub(super) facts: CheckpointFacts,
    pub(super) saved: Saved,
}

/// Reads every checkpoint; keeps what the newest usable one says.
///
/// * Shape: files oldest first.
pub(super) async fn checkpoints<D: Disk>(
    disk: &D,
    log: LogFacts,
) -> Result<(Vec<CheckpointFile>, Option<Newest>), IoError> {
    let mut files = Vec::new();
    let mut newest = None;
    for (name, len_bytes) in checkpoint::list(disk)? {
        let mut saved = Saved::default();
        let read = match checkpoint::read(disk, log, &name, len_bytes, &mut saved).await {
            Ok(facts) => {
                let streams = saved.streams.len();
                newest = Some(Newest { name: name.clone(), facts, saved });
                Ok((facts, streams))
            }
            Err(CheckpointError::Io(error)) => return Err(error),
            Err(CheckpointError::Damaged { offset_bytes, reason, .. }) => {
                Err((offset_bytes, reason))
            }
        };
        files.push(CheckpointFile { name, len_bytes, read });
    }
    Ok((files, newest))
}
