//! `thalweg doctor`, and what a server says that cannot start: the real binary on real file
//! systems, under real limits and filters.

mod common;

#[allow(dead_code, reason = "these servers are not meant to live")]
#[path = "safety/alone.rs"]
mod alone;
#[path = "doctor/command.rs"]
mod command;
#[path = "doctor/filter.rs"]
mod filter;
#[path = "doctor/sentences.rs"]
mod sentences;

use std::path::{Path, PathBuf};

use crate::common::unique_name;

/// A directory of a test's own; gone with the value.
struct Own(PathBuf);

impl Own {
    /// In the directory for test data, which is on a disk.
    fn new() -> Self {
        Self::within(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    fn within(parent: &Path) -> Self {
        let path = parent.join(unique_name("doctor"));
        std::fs::create_dir(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir_all(&self.0);
        removed.unwrap_or_else(|error| eprintln!("{}: {error}", self.0.display()));
    }
}
