//! What of the settings may change while the server runs.

use super::{ConfigError, Settings};

/// Settings that change at SIGHUP; all others need a restart. The contents of certificate files are
/// no settings: they are read again, too.
pub const LIVE: &[&str] = &["audit_log", "log_level"];

/// Which settings differ, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that may change now.
    pub live: Vec<String>,
    /// Those that need a restart.
    pub later: Vec<String>,
}

impl Changes {
    /// What `after` says otherwise than `before`.
    ///
    /// * Errors: a path that is no UTF-8.
    pub fn between(before: &Settings, after: &Settings) -> Result<Self, ConfigError> {
        let (before, after) = (before.to_given().table()?, after.to_given().table()?);
        let mut changes = Self::default();
        let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for name in names {
            if before.get(name) == after.get(name) {
                continue;
            }
            // A file that is there may be another; whether there is one is decided at start.
            let is_set = before.contains_key(name) && after.contains_key(name);
            let is_live = LIVE.contains(&name.as_str()) && is_set;
            let list = if is_live { &mut changes.live } else { &mut changes.later };
            list.push(name.clone());
        }
        Ok(changes)
    }
}
