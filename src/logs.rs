//! Where log events go: to standard error, and those of the audit log to a file of their own if
//! there is one.
//!
//! * [`LogFilter`] says what is written to standard error, as text or as JSON; it may change.
//! * The file of the audit log is opened again when that is asked for: so it can be moved away.
//! * What libraries say below `info` is never written: they print of what passes through them what
//!   they do not understand (`h2` paths and authorities, at `debug`), and no release promises
//!   not to print headers, which hold tokens, or buffers, which hold records.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, registry, reload};

use crate::audit;
use crate::config::{LogFilter, LogFormat};

/// A place that events go to.
type Sink = Box<dyn Layer<Registry> + Send + Sync>;

/// What may be changed of the logs while the process runs.
#[derive(Debug)]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    audit: Option<AuditFile>,
}

/// Starts logging; to be called once. `audit_log` is appended to, and made when it is missing, for
/// its owner alone.
///
/// * Errors: the file cannot be had.
pub fn start(
    filter: &LogFilter,
    format: LogFormat,
    audit_log: Option<&Path>,
) -> Result<Logs, String> {
    let audit = audit_log.map(AuditFile::open).transpose()?;
    let (layers, filter) = layers(filter, format, audit.as_ref());
    registry().with(layers).init();
    Ok(Logs { filter, audit })
}

/// Where events go, and what changes what of them goes to standard error.
///
/// All have a filter. A layer without one, also one that is none, counts as one that wants
/// everything, and each span of a library would be made before it is dropped.
fn layers(
    filter: &LogFilter,
    format: LogFormat,
    audit: Option<&AuditFile>,
) -> (Vec<Sink>, reload::Handle<EnvFilter, Registry>) {
    let has_file = audit.is_some();
    let (filter, handle) = reload::Layer::new(filter.to_env_filter());
    let fit = filter_fn(move |event| is_fit(event) && !(has_file && is_audit(event)));
    let lines = match format {
        LogFormat::Text => fmt::layer().with_writer(std::io::stderr).boxed(),
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
    };
    let mut layers = vec![lines.with_filter(filter.and(fit)).boxed()];
    if let Some(file) = audit {
        let lines = fmt::layer().json().flatten_event(true).with_writer(file.clone());
        let only = filter_fn(|event| is_audit(event) && *event.level() <= Level::INFO);
        layers.push(lines.with_filter(only).boxed());
    }
    (layers, handle)
}

impl Logs {
    /// Has other events be written from now on.
    ///
    /// * Errors: nobody logs any more.
    pub fn set_filter(&self, filter: &LogFilter) -> Result<(), String> {
        self.filter.reload(filter.to_env_filter()).map_err(|error| error.to_string())
    }

    /// Goes on with the audit log in the file that is now at `path`, made when it is missing;
    /// nothing if there was no file at the start.
    ///
    /// * Errors: the file cannot be had; then everything goes on in the old one.
    pub fn reopen_audit_log(&self, path: &Path) -> Result<(), String> {
        self.audit.as_ref().map_or(Ok(()), |audit| audit.reopen(path))
    }
}

/// The file of the audit log, which may be replaced under whoever writes: each line goes whole into
/// one of the two.
#[derive(Debug, Clone)]
struct AuditFile(Arc<ArcSwap<File>>);

impl AuditFile {
    fn open(path: &Path) -> Result<Self, String> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(open(path)?))))
    }

    fn reopen(&self, path: &Path) -> Result<(), String> {
        self.0.store(Arc::new(open(path)?));
        Ok(())
    }
}

impl MakeWriter<'_> for AuditFile {
    type Writer = Arc<File>;

    fn make_writer(&self) -> Arc<File> {
        self.0.load_full()
    }
}

fn open(path: &Path) -> Result<File, String> {
    // Who opens one waits for somebody to read it, and takes no signals meanwhile.
    if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        return Err(format!("audit log {}: it is a pipe, not a file", path.display()));
    }
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened.map_err(|error| format!("audit log {}: {error}", path.display()))
}

fn is_audit(event: &Metadata<'_>) -> bool {
    event.target() == audit::TARGET
}

/// Whether it is ours, or nothing that a library says of what passes through it.
fn is_fit(event: &Metadata<'_>) -> bool {
    let is_ours = event.target() == "thalweg" || event.target().starts_with("thalweg::");
    is_ours || *event.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;
    use tracing::{debug_span, info_span, trace_span};

    use super::*;

    #[test]
    fn a_span_that_nobody_wants_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = AuditFile::open(&dir.path().join("audit")).unwrap();
        for audit in [None, Some(&file)] {
            for (filter, wants_ours) in [("info", false), ("trace", true)] {
                let filter = LogFilter::new(filter).unwrap();
                let (layers, _handle) = layers(&filter, LogFormat::Text, audit);
                with_default(registry().with(layers), || {
                    let said = format!("{filter:?}, audit log: {}", audit.is_some());
                    let of_library = trace_span!(target: "h2", "poll");
                    assert!(of_library.is_disabled(), "{said}");
                    assert!(debug_span!(target: "rustls", "read").is_disabled(), "{said}");
                    assert!(!info_span!(target: "h2", "wanted").is_disabled(), "{said}");
                    let ours = trace_span!(target: "thalweg", "write");
                    assert_eq!(ours.is_disabled(), !wants_ours, "{said}");
                });
            }
        }
    }
}
