//! Basins and streams that are to be there when a server has started: the resource spec, the JSON
//! file of `--init-file` (S2 specification, section 15.3).
//!
//! * Strict below the root: unknown members, wrong types, members given twice are errors.
//! * All errors of a file are told together, each with its place; a spec with one is none.
//! * What a spec leaves out has its default, as in the body of a PUT.

#![forbid(unsafe_code)]

mod age;
mod read;
#[cfg(test)]
mod tests;
mod tree;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::types::{BasinConfig, BasinName, PartialStreamConfig, StreamName};

/// Longest file, in bytes: more than any number of streams that a start should wait for.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most errors that are told.
const ERRORS_TOLD_MAX: usize = 100;

/// What is to be there, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// The basins, no name twice.
    pub basins: Vec<BasinResource>,
}

/// A basin that is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasinResource {
    /// Its name.
    pub name: BasinName,
    /// Its configuration.
    pub config: BasinConfig,
    /// Streams that are to be in it, no name twice.
    pub streams: Vec<StreamResource>,
}

/// A stream that is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamResource {
    /// Its name.
    pub name: StreamName,
    /// Its configuration, as far as it is stated.
    pub config: PartialStreamConfig,
}

/// Why a file is no resource spec.
#[derive(Debug, thiserror::Error)]
pub enum ResourcesError {
    /// It cannot be read.
    #[error("cannot read init file {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// It is longer than any that is read.
    #[error("init file {} is longer than 64 MiB", .0.display())]
    Long(PathBuf),
    /// It is not JSON.
    #[error("init file {} is not JSON", .0.display())]
    Json(PathBuf, #[source] serde_json::Error),
    /// It is JSON, and says what cannot be.
    #[error("init file {}: nothing was applied: {}", path.display(), told(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Each with its place.
        problems: Vec<String>,
    },
}

fn told(problems: &[String]) -> String {
    let mut text = format!("{} error(s)", problems.len());
    for problem in problems.iter().take(ERRORS_TOLD_MAX) {
        text.push_str("\n  ");
        text.push_str(problem);
    }
    if problems.len() > ERRORS_TOLD_MAX {
        text.push_str("\n  and more");
    }
    text
}

impl Resources {
    /// Reads and judges a file.
    ///
    /// * Errors: [`ResourcesError`]; all that is wrong with the file, if it is JSON at all.
    pub fn from_file(path: &Path) -> Result<Self, ResourcesError> {
        let read = |error| ResourcesError::Read(path.to_owned(), error);
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(read)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(ResourcesError::Long(path.to_owned()));
        }
        let root = serde_json::from_slice(&bytes)
            .map_err(|error| ResourcesError::Json(path.to_owned(), error))?;
        read::resources(root)
            .map_err(|problems| ResourcesError::Invalid { path: path.to_owned(), problems })
    }

    /// How many streams there are to be.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.basins.iter().map(|basin| basin.streams.len()).sum()
    }
}
