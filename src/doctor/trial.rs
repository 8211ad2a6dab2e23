//! A file of our own in the data directory, to write to as the server writes to its log.
//!
//! Its name is gone before the first byte is written, so that nothing is left however we end.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::io::{BLOCK_BYTES, host};

/// How far it came; the numbers are the system's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// No file could be made.
    NotMade(i32),
    /// It could not be opened for direct I/O.
    NotDirect(i32),
    /// One block could not be written and synced.
    NotWritten(i32),
    /// One block was written and synced.
    Written {
        /// What the kernel says that direct I/O must be aligned to, in bytes: memory, offsets.
        alignment: Option<(u32, u32)>,
    },
}

/// A file without a name, open for direct I/O.
#[derive(Debug)]
pub struct Scratch {
    file: File,
}

impl Scratch {
    /// Makes one in `directory`, and writes and syncs a block of it.
    pub fn make(directory: &Path) -> (Trial, Option<Self>) {
        // A name that nobody else has, not even one of ours that was killed at this moment.
        let random = RandomState::new().hash_one(directory);
        let path = directory.join(format!("doctor-{random:016x}.tmp"));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        if let Err(error) = made {
            return (Trial::NotMade(number(&error)), None);
        }
        let opened = host::open_direct(&path);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "could not remove a file of our own");
        }
        let file = match opened {
            Ok(file) => file,
            Err(error) => return (Trial::NotDirect(number(&error)), None),
        };
        let scratch = Self { file };
        let block = Aligned::new(BLOCK_BYTES, 0);
        match scratch.write(&block, 0).and_then(|()| scratch.sync()) {
            Ok(()) => {
                let alignment = host::direct_alignment(&scratch.file);
                (Trial::Written { alignment }, Some(scratch))
            }
            Err(error) => (Trial::NotWritten(number(&error)), None),
        }
    }

    /// Reserves room, as is done for a segment.
    pub fn allocate(&self, len_bytes: u64) -> std::io::Result<()> {
        host::allocate(&self.file, len_bytes)
    }

    /// Writes all of `bytes` past the page cache.
    pub fn write(&self, bytes: &Aligned, offset_bytes: u64) -> std::io::Result<()> {
        self.file.write_all_at(bytes.bytes(), offset_bytes)
    }

    /// Waits until what was written is on the disk (`fdatasync`).
    pub fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }
}

fn number(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// Memory as direct I/O needs it: on a block's boundary.
#[derive(Debug)]
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len_bytes: usize,
}

impl Aligned {
    /// `len_bytes` bytes of value `fill`.
    #[must_use]
    pub fn new(len_bytes: usize, fill: u8) -> Self {
        let memory = vec![fill; len_bytes + BLOCK_BYTES];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        Self { memory, start, len_bytes }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let (trial, scratch) = Scratch::make(directory.path());
        assert!(matches!(trial, Trial::Written { .. } | Trial::NotDirect(22)), "{trial:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        drop(scratch);
        let (trial, none) = Scratch::make(&directory.path().join("nowhere"));
        assert_eq!((trial, none.is_none()), (Trial::NotMade(2), true));
    }

    #[test]
    fn memory_lies_on_a_boundary() {
        for len_bytes in [4096, 65_536] {
            let aligned = Aligned::new(len_bytes, 7);
            assert_eq!(aligned.bytes().as_ptr().align_offset(4096), 0);
            assert!(aligned.bytes().len() == len_bytes && aligned.bytes()[len_bytes - 1] == 7);
        }
    }
}
