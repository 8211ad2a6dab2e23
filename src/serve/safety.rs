//! What a server is careful about before it starts: whom it can be reached by, what it gives up,
//! and who else can read its files.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::api::gate::ScrapeToken;
use crate::config::{SecretFileError, Settings, read_secret};
use crate::io::privileges::{
    Dropped, drop_capabilities, refuse_core_dumps, renounce_new_privileges,
};
use crate::types::exposure::{Exposed, Exposure, Protection, judge};

/// Bits of a file's mode that let others than its owner do anything.
const MODE_OTHERS: u32 = 0o077;

/// Decides whether the server may listen where it is to, and warns of what lacks there.
///
/// * Errors: it may not; in words for an operator.
pub(super) fn judge_exposure(settings: &Settings, has_root: bool) -> Result<Exposed, String> {
    let judge = |address, protection| {
        judge(address, protection, settings.waived).map_err(|error| error.to_string())
    };
    let scraping = Protection { tokens: settings.metrics_token_file.is_some(), tls: false };
    let main = Protection { tokens: has_root, tls: settings.tls.is_some() };
    let main = judge(settings.listen, main)?;
    let metrics = match settings.metrics_listen {
        Some(address) => judge(address, scraping)?,
        None => Exposure::default(),
    };
    warn(&settings.listen.to_string(), main);
    if let Some(address) = settings.metrics_listen {
        warn(&address.to_string(), metrics);
    }
    Ok(Exposed { main, metrics })
}

fn warn(address: &str, exposure: Exposure) {
    if exposure.no_auth {
        tracing::warn!(address, "INSECURE: whoever reaches this address is asked for no token");
    }
    if exposure.no_tls {
        tracing::warn!(address, "INSECURE: what passes at this address is not encrypted");
    }
}

/// Gives up what the server does not need; to be called before it has other threads.
pub(super) fn give_up_privileges(settings: &Settings) {
    if let Err(error) = renounce_new_privileges() {
        tracing::warn!(%error, "could not renounce new privileges");
    }
    if settings.allow_core_dumps {
        tracing::warn!("core dumps are allowed: they would hold keys and records");
    } else if let Err(error) = refuse_core_dumps() {
        tracing::warn!(%error, "could not refuse core dumps");
    }
    let ports = [settings.listen.port(), settings.metrics_listen.map_or(0, |to| to.port())];
    match drop_capabilities(&ports) {
        Ok(Dropped::Nothing) => {}
        Ok(Dropped::Capabilities) => tracing::info!(
            "capabilities given up: a data directory of another user cannot be opened"
        ),
        Err(error) => tracing::warn!(%error, "could not give up capabilities"),
    }
}

/// Reads the token for metrics.
///
/// * Errors: the file cannot be read, others may read it, or it holds no token.
pub(super) fn read_scrape_token(path: &Path) -> Result<ScrapeToken, String> {
    let fail = |problem: &str| format!("metrics token file {}: {problem}", path.display());
    let text = read_secret(path, ScrapeToken::BYTES_MAX as u64 + 2).map_err(|e| match e {
        SecretFileError::Read(error) => fail(&error.to_string()),
        SecretFileError::Open => fail("others may read or change it; take that away (chmod 600)"),
    })?;
    ScrapeToken::new(text.trim_ascii())
        .ok_or_else(|| fail("it must hold one token of 16 to 512 visible ASCII characters"))
}

/// Warns when others than its owner can look into the data directory.
///
/// Everything in it is made for the owner alone, but may have been made by an earlier release.
pub(super) fn warn_if_open_to_others(path: &Path) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & MODE_OTHERS != 0 {
        let mode = format!("{mode:04o}");
        tracing::warn!(
            path = %path.display(), mode,
            "the data directory is open to other users; close it with chmod 700"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn token_files_accepted_and_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let cases = [
            ("0123456789abcdef\n", 0o600, None),
            ("0123456789abcdef", 0o400, None),
            ("0123456789abcdef", 0o640, None),
            ("0123456789abcdef", 0o644, Some("others may read")),
            ("0123456789abcdef", 0o620, Some("others may read")),
            ("too short", 0o600, Some("16 to 512")),
            ("two tokens are not one token\n", 0o600, Some("16 to 512")),
            ("", 0o600, Some("16 to 512")),
        ];
        for (text, mode, expected) in cases {
            let _none = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match (read_scrape_token(&path), expected) {
                (Ok(_), None) => {}
                (Err(said), Some(words)) => {
                    assert!(said.contains(words), "{said}");
                    assert!(text.is_empty() || !said.contains(text.trim()), "{said}");
                }
                (read, _) => panic!("{text:?} {mode:o}: {read:?}"),
            }
        }
        fs::remove_file(&path).unwrap();
        assert!(read_scrape_token(&path).is_err());
        fs::write(&path, "x".repeat(600)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read_scrape_token(&path).is_err(), "longer than any token");
    }
}
