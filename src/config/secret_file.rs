//! Files that hold a secret: read only when nobody but their owner, or a group that may not change
//! them, can get at it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Bits of a file's mode that let in who must not be: everything for others, writing for the group.
/// A group that reads is how a service manager hands a secret on.
const MODE_REFUSED: u32 = 0o027;

/// Why a secret is not read.
#[derive(Debug)]
pub enum SecretFileError {
    /// The file cannot be read.
    Read(io::Error),
    /// Others than its owner may read or change it.
    Open,
}

/// Reads the first bytes of such a file, at most `bytes_max`.
///
/// * Errors: [`SecretFileError`]. Its mode is that of the file that was opened, whatever has its
///   name by now.
pub fn read_secret(path: &Path, bytes_max: u64) -> Result<Vec<u8>, SecretFileError> {
    let file = File::open(path).map_err(SecretFileError::Read)?;
    let mode = file.metadata().map_err(SecretFileError::Read)?.permissions().mode();
    if mode & MODE_REFUSED != 0 {
        return Err(SecretFileError::Open);
    }
    let mut text = Vec::new();
    file.take(bytes_max).read_to_end(&mut text).map_err(SecretFileError::Read)?;
    Ok(text)
}
