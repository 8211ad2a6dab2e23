//! Who this node is: `bucket.json` in the data directory.
//!
//! Durable before anything is claimed in its name, so that a start that was interrupted is known
//! again. Says also that a directory is being fetched: then what is there is not yet all of it.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, Result};
use crate::types::{hex, json};

/// Name of the file.
pub(super) const FILE: &str = "bucket.json";
const TEMPORARY: &str = "bucket.json.tmp";
const FORMAT: u32 = 1;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) format: u32,
    /// Where the log is shipped to.
    pub(super) url: String,
    /// The node's random name, 32 hexadecimal digits.
    pub(super) node: String,
    /// Whether the directory is being fetched from the bucket.
    pub(super) fetching: bool,
}

impl Node {
    /// A new node, whose log will be at `url`.
    pub(super) fn new(url: &str, random: [u8; 16], fetching: bool) -> Self {
        Self { format: FORMAT, url: url.to_owned(), node: hex::encode(&random), fetching }
    }

    /// What a data directory says; `None` when it was never served with a bucket.
    pub(super) fn read(data_dir: &Path) -> Result<Option<Self>> {
        let path = data_dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // A file in the directory's place is for whoever opens it to explain.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(Error::local("reading", &path)(error)),
        };
        let node: Self = json::from_slice(&bytes)
            .map_err(|error| Error::Refused(format!("{}: {error}", path.display())))?;
        if node.format != FORMAT {
            let path = path.display();
            return Err(Error::Refused(format!(
                "{path} has a format that this build does not know"
            )));
        }
        Ok(Some(node))
    }

    /// Replaces the file: the old one or the new one is there, whatever happens.
    ///
    /// * Durable: yes, when it returns.
    pub(super) fn write(&self, data_dir: &Path) -> Result<()> {
        let temporary = data_dir.join(TEMPORARY);
        let mut text = serde_json::to_vec_pretty(self).expect("plain members");
        text.push(b'\n');
        let written = File::create(&temporary).and_then(|mut file| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(&text)?;
            file.sync_all()
        });
        written.map_err(Error::local("writing", &temporary))?;
        let renamed = fs::rename(&temporary, data_dir.join(FILE));
        renamed.map_err(Error::local("renaming", &temporary))?;
        sync_directory(data_dir)
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(Error::local("syncing", path))
}
