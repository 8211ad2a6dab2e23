//! `directory.json`, as a server finds it: refused, or what it says is within bounds.

use std::fs;

use tempfile::TempDir;
use thalweg::directory::DataDirectory;

thread_local! {
    /// One for all inputs: each is written over the one before it.
    static PLACE: TempDir = TempDir::new().expect("a temporary directory");
}

/// The input is the file.
pub fn run(data: &[u8]) {
    PLACE.with(|place| {
        fs::write(place.path().join("directory.json"), data).expect("a temporary directory");
        let Ok(directory) = DataDirectory::open_existing(place.path()) else { return };
        assert!(directory.shards() > 0);
        let bytes = directory.segment_bytes();
        assert!((8192..=u64::from(u32::MAX)).contains(&bytes) && bytes % 4096 == 0, "{bytes}");
    });
}
