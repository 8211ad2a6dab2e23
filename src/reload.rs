//! What SIGHUP does: the settings file is read again, and what may change while the server runs
//! does; of the rest it is said that it needs a restart.

#![forbid(unsafe_code)]

use crate::config::{Changes, Layers, Settings};
use crate::logs::Logs;
use crate::types::refusal::chain;

/// The settings of a running server.
#[derive(Debug)]
pub struct Reload {
    layers: Layers,
    logs: Logs,
    /// Those in force.
    running: Settings,
}

impl Reload {
    /// A server that was started with the settings `running`, which came from `layers`.
    #[must_use]
    pub fn new(layers: Layers, logs: Logs, running: Settings) -> Self {
        Self { layers, logs, running }
    }

    /// Reads the file again. With a file that cannot be used everything stays as it is, and the
    /// audit log is opened again all the same.
    ///
    /// * It blocks: not for a thread that runs an executor.
    pub fn again(&mut self) {
        let loaded = self.layers.load().map_err(|error| chain(&error)).and_then(|loaded| {
            let changes = Changes::between(&self.running, &loaded.settings);
            changes.map(|changes| (loaded.settings, changes)).map_err(|error| chain(&error))
        });
        match loaded {
            Ok((settings, changes)) => self.take(&settings, &changes),
            Err(error) => {
                tracing::warn!(error, "the settings cannot be used; the old ones stay");
                self.reopen_audit_log();
            }
        }
    }

    fn take(&mut self, settings: &Settings, changes: &Changes) {
        let is_live = |name: &str| changes.live.iter().any(|changed| changed == name);
        if is_live("log_level") {
            match self.logs.set_filter(&settings.log_filter) {
                Ok(()) => self.running.log_filter = settings.log_filter.clone(),
                Err(error) => tracing::warn!(error, "the log filter stays"),
            }
        }
        let old = self.running.audit_log.clone();
        if is_live("audit_log") {
            self.running.audit_log.clone_from(&settings.audit_log);
        }
        if !self.reopen_audit_log() {
            self.running.audit_log = old;
        }
        let applied = changes.live.join(", ");
        let need_a_restart = changes.later.join(", ");
        if changes.later.is_empty() {
            tracing::info!(applied, "the settings were read again");
        } else {
            tracing::warn!(applied, need_a_restart, "the settings were read again");
        }
    }

    /// Whether it is open, or there is none.
    fn reopen_audit_log(&self) -> bool {
        let Some(path) = &self.running.audit_log else { return true };
        match self.logs.reopen_audit_log(path) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error, "the audit log goes on in the old file");
                false
            }
        }
    }
}
