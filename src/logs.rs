//! Where log events go: to standard error, and those of the audit log to a file of their own if
//! there is one.
//!
//! * `THALWEG_LOG` says what is written to standard error, in the syntax of `tracing`'s filters.
//! * What libraries say below `info` is never written: they print of what passes through them what
//!   they do not understand (`h2` paths and authorities, at `debug`), and no release promises
//!   not to print headers, which hold tokens, or buffers, which hold records.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::audit;

/// What is written when nothing else is asked for.
const FILTER: &str = "warn,thalweg=info";

/// Starts logging; to be called once. `audit_log` is appended to, and made when it is missing, for
/// its owner alone.
///
/// * Errors: the file cannot be had.
pub fn start(audit_log: Option<&Path>) -> Result<(), String> {
    let file = match audit_log {
        Some(path) => {
            let opened = open(path);
            Some(opened.map_err(|error| format!("audit log {}: {error}", path.display()))?)
        }
        None => None,
    };
    let has_file = file.is_some();
    let filter = EnvFilter::try_from_env("THALWEG_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER));
    let fit = filter_fn(move |event| is_fit(event) && !(has_file && is_audit(event)));
    let words = fmt::layer().with_writer(std::io::stderr).with_filter(filter.and(fit));
    let audit = file.map(|file| {
        let lines = fmt::layer().json().flatten_event(true).with_writer(Arc::new(file));
        lines.with_filter(filter_fn(|event| is_audit(event) && *event.level() <= Level::INFO))
    });
    registry().with(words).with(audit).init();
    Ok(())
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn is_audit(event: &Metadata<'_>) -> bool {
    event.target() == audit::TARGET
}

/// Whether it is ours, or nothing that a library says of what passes through it.
fn is_fit(event: &Metadata<'_>) -> bool {
    let is_ours = event.target() == "thalweg" || event.target().starts_with("thalweg::");
    is_ours || *event.level() <= Level::INFO
}
