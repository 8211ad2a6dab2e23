//! The root token: who presents it may do everything.
//!
//! It is given in a file or in the environment, never on the command line, where every user of the
//! machine could read it. Neither is ever quoted in a message.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::secret_file::{SecretFileError, read_secret};

/// Shortest root token, in bytes: one that people make up is guessed below that for certain.
const BYTES_MIN: usize = 16;
/// Longest root token, in bytes.
pub const ROOT_TOKEN_BYTES_MAX: usize = 512;
/// Most bytes of a file that are looked at.
const FILE_BYTES_MAX: u64 = 4096;

/// The environment variable that may hold it.
pub const ROOT_TOKEN_VARIABLE: &str = "THALWEG_ROOT_TOKEN";

/// Why there is no root token although one was given.
#[derive(Debug, thiserror::Error)]
pub enum RootTokenError {
    /// Two of them.
    #[error("a root token is given twice: by --root-token-file and by {ROOT_TOKEN_VARIABLE}")]
    Twice,
    /// The file cannot be read.
    #[error("cannot read the root token in {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// Others than its owner may read or change the file.
    #[error("{} holds the root token and is open to every user: chmod 600 {}", .0.display(), .0.display())]
    Open(PathBuf),
    /// It cannot be sent in a header, or is too easy to guess.
    #[error(
        "{0}: a root token is 16 to 512 visible ASCII characters (see `thalweg token generate`)"
    )]
    Malformed(String),
}

/// A root token.
#[derive(Clone, PartialEq, Eq)]
pub struct RootToken(String);

impl RootToken {
    /// Takes the root token from a file or from the value of its environment variable; `None` when
    /// neither is given. An empty variable is none.
    ///
    /// * Errors: [`RootTokenError`]; white space at the end of the file is no part of it.
    pub fn load(
        file: Option<&Path>,
        variable: Option<OsString>,
    ) -> Result<Option<Self>, RootTokenError> {
        let variable = variable.filter(|value| !value.is_empty());
        match (file, variable) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(RootTokenError::Twice),
            (Some(path), None) => {
                let text = read(path)?;
                Self::new(text.trim_ascii_end(), &path.display().to_string()).map(Some)
            }
            (None, Some(value)) => {
                Self::new(value.as_encoded_bytes(), ROOT_TOKEN_VARIABLE).map(Some)
            }
        }
    }

    fn new(bytes: &[u8], place: &str) -> Result<Self, RootTokenError> {
        let fits = (BYTES_MIN..=ROOT_TOKEN_BYTES_MAX).contains(&bytes.len());
        let text = std::str::from_utf8(bytes).ok();
        match text.filter(|text| fits && text.bytes().all(|b| b.is_ascii_graphic())) {
            Some(text) => Ok(Self(text.to_owned())),
            None => Err(RootTokenError::Malformed(place.to_owned())),
        }
    }

    /// What clients present.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RootToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootToken(..)")
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RootTokenError> {
    read_secret(path, FILE_BYTES_MAX).map_err(|error| match error {
        SecretFileError::Read(error) => RootTokenError::Read(path.to_owned(), error),
        SecretFileError::Open => RootTokenError::Open(path.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn from_file(text: &str, mode: u32) -> Result<Option<RootToken>, RootTokenError> {
        let directory = tempfile::TempDir::new().expect("made");
        let path = directory.path().join("root");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
        RootToken::load(Some(&path), None)
    }

    fn from_variable(text: &str) -> Result<Option<RootToken>, RootTokenError> {
        RootToken::load(None, Some(text.into()))
    }

    #[test]
    fn root_tokens_accepted() {
        let longest = "a".repeat(512);
        for text in ["sixteen-bytes-ok", "tw_abcdefghijklmn/+=~", &longest] {
            let given = from_variable(text).expect("legal").expect("given");
            assert_eq!(given.reveal(), text);
            for (end, mode) in [("", 0o600), ("\n", 0o400), (" \r\n", 0o640)] {
                let read = from_file(&format!("{text}{end}"), mode).expect("legal");
                assert_eq!(read.as_ref(), Some(&given));
            }
            assert_eq!(format!("{given:?}"), "RootToken(..)");
        }
        assert_eq!(RootToken::load(None, None).expect("none"), None);
        assert_eq!(from_variable("").expect("none"), None);
    }

    #[test]
    fn root_tokens_refused_without_a_word_of_them() {
        let long = "a".repeat(513);
        for text in
            ["short", "fifteen-bytes--", "with a blank inside", "nicht-ascii-für-alle", &long]
        {
            for refused in [from_variable(text), from_file(text, 0o600)] {
                let error = refused.expect_err(text);
                assert!(matches!(error, RootTokenError::Malformed(_)), "{error}");
                assert!(!error.to_string().contains(text), "{error}");
            }
        }
        assert!(matches!(from_file("", 0o600), Err(RootTokenError::Malformed(_))), "empty");
        for mode in [0o604, 0o644, 0o602, 0o666, 0o620, 0o660] {
            let error = from_file("sixteen-bytes-ok", mode).expect_err("open to all");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        let nowhere = Path::new("/nowhere/root");
        let missing = RootToken::load(Some(nowhere), None);
        assert!(matches!(missing, Err(RootTokenError::Read(..))));
        let twice = RootToken::load(Some(nowhere), Some("sixteen-bytes-ok".into()));
        assert!(matches!(twice, Err(RootTokenError::Twice)));
    }
}
