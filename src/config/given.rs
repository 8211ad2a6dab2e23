//! Settings to and from the form in which they are given.

use std::path::Path;

use super::names::{described, nearest};
use super::{ConfigError, Given, Settings, Size, Tls};

impl Given {
    /// Reads a TOML file of settings, named as on the command line with `_` for `-`.
    ///
    /// * Errors: [`ConfigError::Read`], [`ConfigError::Parse`], [`ConfigError::Unknown`].
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read(path.to_owned(), error))?;
        Self::from_text(path, &text)
    }

    pub(super) fn from_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let parse = |error| ConfigError::Parse(path.to_owned(), error);
        let table: toml::Table = toml::from_str(text).map_err(parse)?;
        let known: Vec<String> = described().into_iter().map(|setting| setting.name).collect();
        let unknown = table.keys().filter(|name| !known.contains(name));
        let problems = unknown.map(|name| {
            let meant = nearest(name, known.iter().map(String::as_str));
            format!("there is no setting {name:?}{meant}")
        });
        let problems = problems.collect::<Vec<_>>().join("\n  ");
        if !problems.is_empty() {
            return Err(ConfigError::Unknown { path: path.to_owned(), problems });
        }
        toml::from_str(text).map_err(parse)
    }

    /// What is set, by name.
    ///
    /// * Errors: [`ConfigError::Print`] for a path that is no UTF-8.
    pub(crate) fn table(&self) -> Result<toml::Table, ConfigError> {
        toml::Table::try_from(self).map_err(ConfigError::Print)
    }
}

impl Settings {
    /// The same as they would be given, the defaults too: what cannot be given is not set.
    #[must_use]
    pub fn to_given(&self) -> Given {
        let settings = self.clone();
        let memory = |bytes: usize| Some(Size(bytes as u64));
        let (tls_cert, tls_key) = match &settings.tls {
            Some(Tls::Files { cert, key }) => (Some(cert.clone()), Some(key.clone())),
            Some(Tls::SelfSigned) | None => (None, None),
        };
        Given {
            listen: Some(settings.listen),
            port: Some(settings.listen.port()),
            data_dir: Some(settings.data_dir),
            shards: Some(settings.shards),
            segment_bytes: Some(Size(settings.segment_bytes)),
            standard_wait_us: Some(settings.standard_wait_us),
            append_inflight_bytes: Some(Size(settings.append_inflight_bytes)),
            read_window_bytes: memory(settings.read_window_bytes),
            read_cache_bytes: memory(settings.read_cache_bytes),
            index_bytes: Some(Size(settings.index_bytes)),
            checkpoint_bytes: Some(Size(settings.checkpoint_bytes)),
            scrub_bytes_per_sec: Some(Size(settings.scrub_bytes_per_sec)),
            scrub_interval_secs: Some(settings.scrub_interval_secs),
            bucket: settings.bucket,
            bucket_interval_ms: Some(settings.bucket_interval_ms),
            bucket_lag_bytes: Some(Size(settings.bucket_lag_bytes)),
            connections_max: Some(settings.connections_max),
            request_memory_bytes: Some(Size(settings.request_memory_bytes)),
            idle_secs: Some(settings.idle_secs),
            peer_secs: Some(settings.peer_secs),
            spin_us: Some(settings.spin_us),
            usage_flush_ms: Some(settings.usage_flush_ms),
            metrics_listen: settings.metrics_listen,
            metrics_token_file: settings.metrics_token_file,
            insecure_no_auth: Some(settings.waived.auth),
            insecure_no_tls: Some(settings.waived.tls),
            audit_log: settings.audit_log,
            allow_core_dumps: Some(settings.allow_core_dumps),
            tls_cert,
            tls_key,
            tls_self_signed: Some(settings.tls == Some(Tls::SelfSigned)),
            root_token_file: settings.root_token_file,
            no_cors: Some(!settings.cors),
            no_dashboard: Some(!settings.dashboard),
            drain_secs: Some(settings.drain_secs),
            init_file: settings.init_file,
            log_level: Some(settings.log_filter.as_str().to_owned()),
            log_format: Some(settings.log_format),
        }
    }
}
