//! The pin of a data directory: who copies it while a server runs asks that no segment is given up
//! meanwhile.
//!
//! A file beside `directory.json`, locked (flock) by the copier for as long as it copies. A server
//! that would give segments up looks whether it is locked, and leaves them for later.
//!
//! * It ends with the copier: the kernel drops the lock, however that died. A copier that hangs
//!   loses it too: it must renew the file's time, and a pin that was not renewed for
//!   [`RENEWED_WITHIN`] holds nobody up.
//! * A request, no promise: a server whose disk is full gives segments up all the same. So who
//!   copies looks afterwards whether what it copied was still what it took it for.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Result;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Name of the file in the data directory.
pub const FILE: &str = "pin";
/// How old the last renewal of a pin may be for it to count.
pub const RENEWED_WITHIN: Duration = Duration::from_secs(60);

/// A pin that is held; given up when dropped.
#[derive(Debug)]
pub struct Pin {
    file: File,
}

impl Pin {
    /// Pins the data directory at `path`; `None` while another process does, or a server looks
    /// whether one does: asked again a little later, it says which.
    ///
    /// * Errors: the operating system's.
    pub fn take(path: &Path) -> Result<Option<Self>> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(path.join(FILE))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let (owner, mine) = (std::fs::metadata(path)?, file.metadata()?);
        if owner.uid() != mine.uid() {
            // Whoever serves the directory must be able to look; only root comes here.
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        let pin = Self { file };
        pin.renew()?;
        Ok(Some(pin))
    }

    /// Says that the copier is still at it; to be said well within [`RENEWED_WITHIN`].
    ///
    /// * Errors: the operating system's.
    pub fn renew(&self) -> Result<()> {
        self.file.set_modified(now())
    }
}

/// Whether somebody pins the data directory at `path`. Whoever cannot tell takes it for no.
///
/// * Cost: a few system calls on a file that is seldom written; nothing that waits.
#[must_use]
pub fn is_held(path: &Path) -> bool {
    let path: PathBuf = path.join(FILE);
    let Ok(file) = File::open(path) else { return false };
    // Shared, so that shards that look at the same time do not take each other for a copier.
    let is_locked = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    let renewed = file.metadata().and_then(|metadata| metadata.modified());
    // A clock that was set back since counts as no time at all.
    let is_recent = |at| now().duration_since(at).unwrap_or_default() <= RENEWED_WITHIN;
    is_locked && renewed.is_ok_and(is_recent)
}

/// The clock that files are dated with.
#[expect(clippy::disallowed_methods, reason = "compared with the time of a file, not simulated")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_held_by_one_until_it_is_dropped_or_not_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        assert!(!is_held(path), "nobody ever pinned it");
        let pin = Pin::take(path).unwrap().expect("free");
        assert!(is_held(path) && is_held(path));
        assert!(Pin::take(path).unwrap().is_none(), "one at a time");
        pin.file.set_modified(now() - 2 * RENEWED_WITHIN).unwrap();
        assert!(!is_held(path), "it hangs");
        pin.renew().unwrap();
        assert!(is_held(path));
        drop(pin);
        assert!(!is_held(path), "the file stays and means nothing");
        assert!(Pin::take(path).unwrap().is_some());
    }
}
