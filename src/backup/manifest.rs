//! What a backup says of itself.
//!
//! ```text
//!  TWB1 <BLAKE3 of the text, 64 hex digits> <bytes of the text, decimal>\n
//!  text: JSON, see `Manifest`
//! ```

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::io::BLOCK_BYTES;
use crate::types::{hex, json};

const FILE: &str = "manifest";
const MAGIC: &str = "TWB1";
/// The only version so far.
const VERSION: u32 = 1;
/// Longest manifest that is read, in bytes: files of some hundred terabytes.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("its manifest cannot be read")]
    Io(#[from] std::io::Error),
    /// It is not what was written.
    #[error("its manifest is damaged")]
    Damaged,
    /// It is not what this release writes.
    #[error("its manifest cannot be understood by this release: {0}")]
    Unknown(&'static str),
}

/// A file of the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) name: String,
    /// Its length.
    pub(super) bytes: u64,
    /// How much of its front was copied; what follows is zeros.
    pub(super) data_bytes: u64,
    /// BLAKE3 of that front, as hexadecimal digits.
    pub(super) blake3: String,
    /// Of a sealed segment: then it is never another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed_epoch: Option<u64>,
}

/// One shard's part of the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) shard: u16,
    /// Where its log ends: what the next frame would be.
    pub(super) end_epoch: u64,
    pub(super) end_offset: u32,
    pub(super) next_frame_seq: u64,
    pub(super) files: Vec<Stored>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    version: u32,
    directory_id: String,
    /// When it was begun, microseconds since the Unix epoch.
    pub(super) made_us: u64,
    /// `directory.json`.
    pub(super) description: Stored,
    pub(super) shards: Vec<Part>,
}

/// Name of a shard's directory.
pub(super) fn shard_directory(shard: u16) -> String {
    format!("shard-{shard}")
}

impl Manifest {
    pub(super) fn new(directory_id: u128, made_us: u64, description: Stored) -> Self {
        let directory_id = hex::encode(&directory_id.to_be_bytes());
        Self { version: VERSION, directory_id, made_us, description, shards: Vec::new() }
    }

    /// Whether it is one of this data directory.
    pub(super) fn is_of(&self, directory_id: u128) -> bool {
        self.directory_id == hex::encode(&directory_id.to_be_bytes())
    }

    /// Reads that of the backup at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let read = || {
            let file = path.join(FILE);
            if fs::metadata(&file)?.len() > BYTES_MAX {
                return Err(ManifestError::Unknown("it is too long"));
            }
            Self::parse(&fs::read(&file)?)
        };
        read().map_err(|source| Error::Manifest { path: path.to_owned(), source })
    }

    fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let end = bytes.iter().position(|b| *b == b'\n').ok_or(ManifestError::Damaged)?;
        let (line, text) = (&bytes[..end], &bytes[end + 1..]);
        let line = std::str::from_utf8(line).map_err(|_| ManifestError::Damaged)?;
        if line != first_line(text) {
            let is_ours = line.starts_with(MAGIC);
            let unknown = ManifestError::Unknown("it does not begin with TWB1");
            return Err(if is_ours { ManifestError::Damaged } else { unknown });
        }
        let parsed: Self = json::from_slice(text)
            .map_err(|_| ManifestError::Unknown("it is not the JSON it should be"))?;
        parsed.check().map(|()| parsed)
    }

    /// Whether everything in it can be: names lead nowhere else, lengths are those of blocks.
    fn check(&self) -> Result<(), ManifestError> {
        if self.version != VERSION {
            return Err(ManifestError::Unknown("it is of another version"));
        }
        let shards = (0..).zip(&self.shards);
        let is_plain = |name: &str| {
            let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
            !name.starts_with('.') && !name.is_empty() && name.bytes().all(is_part)
        };
        let block = BLOCK_BYTES as u64;
        let is_sound = |file: &Stored| {
            is_plain(&file.name)
                && file.bytes >= file.data_bytes
                && file.data_bytes > 0
                && file.bytes.is_multiple_of(block)
                && file.data_bytes.is_multiple_of(block)
                && hex::decode::<32>(&file.blake3).is_some()
        };
        for (number, part) in shards {
            if part.shard != number || !part.files.iter().all(is_sound) {
                return Err(ManifestError::Unknown("a shard or a file in it cannot be"));
            }
        }
        if self.shards.is_empty() || !is_plain(&self.description.name) {
            return Err(ManifestError::Unknown("it has no shards"));
        }
        Ok(())
    }

    /// Writes it into the backup at `path`; its directory is the caller's to sync.
    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        let path = path.join(FILE);
        let mut text = serde_json::to_vec_pretty(self).expect("plain members");
        text.push(b'\n');
        let bytes = [first_line(&text).as_bytes(), b"\n", &text].concat();
        let written = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()
        };
        written().map_err(Error::file("writing", &path))
    }
}

fn first_line(text: &[u8]) -> String {
    format!("{MAGIC} {} {}", blake3::hash(text).to_hex(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let stored = |name: &str| Stored {
            name: name.to_owned(),
            bytes: 8192,
            data_bytes: 4096,
            blake3: "00".repeat(32),
            sealed_epoch: None,
        };
        let mut manifest = Manifest::new(7, 1, stored("directory.json"));
        let files = vec![stored("segment-00000001.log")];
        let part = Part { shard: 0, end_epoch: 1, end_offset: 4096, next_frame_seq: 1, files };
        manifest.shards.push(part);
        manifest
    }

    #[test]
    fn what_is_written_is_read_and_any_change_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        sample().write(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), sample());
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(Manifest::parse(&bytes).is_err(), "byte {at}");
            assert!(Manifest::parse(&whole[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../lock", "", ".", "a/b", "..", "\0"] {
            let mut manifest = sample();
            manifest.shards[0].files[0].name = name.to_owned();
            assert!(manifest.check().is_err(), "{name:?}");
        }
        let mut other = sample();
        other.shards[0].shard = 1;
        assert!(other.check().is_err());
        assert!(sample().check().is_ok());
    }
}
