//! Looks for changed certificate files, on a thread of its own: a slow file system must not hold
//! up anything.
//!
//! Certificate and key are two files, and are not replaced in one step. So a change counts when the
//! files were the same at two looks in a row; who cannot wait says so (SIGHUP).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::acceptor::Acceptor;
use super::identity::{Files, Identity};
use crate::types::refusal::chain;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Reloads the certificate for as long as it lives.
#[derive(Debug)]
pub struct Reloader {
    now: Sender<()>,
}

impl Reloader {
    /// Has `acceptor` show what is in `files` whenever that changes. What is there now counts as
    /// known.
    ///
    /// * Errors: no thread is left.
    pub fn start(acceptor: Acceptor, files: Files) -> io::Result<Self> {
        let (now, told) = mpsc::channel();
        let watch = Watch::new(acceptor, files);
        std::thread::Builder::new()
            .name("tls-reload".to_owned())
            .spawn(move || attend(watch, &told))?;
        Ok(Self { now })
    }

    /// Has the files read again, changed or not.
    pub fn reload(&self) {
        // The thread ends only after this.
        let _gone = self.now.send(());
    }
}

fn attend(mut watch: Watch, told: &Receiver<()>) {
    loop {
        match told.recv_timeout(PERIOD) {
            Ok(()) => watch.reload(),
            Err(RecvTimeoutError::Timeout) => watch.look(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What tells that a file is another one, or was written to: when, how long, which.
type Mark = Option<(i64, i64, u64, u64)>;

fn mark(path: &Path) -> Mark {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino()))
}

/// What was seen of the files so far.
pub(super) struct Watch {
    acceptor: Acceptor,
    files: Files,
    /// As they were when they were last read, with success or without.
    read: (Mark, Mark),
    /// As they were at the last look.
    seen: (Mark, Mark),
}

impl Watch {
    pub(super) fn new(acceptor: Acceptor, files: Files) -> Self {
        let marks = (mark(&files.cert), mark(&files.key));
        Self { acceptor, files, read: marks, seen: marks }
    }

    /// Looks once; reads the files when they have changed and then stayed the same for a look.
    pub(super) fn look(&mut self) {
        let marks = (mark(&self.files.cert), mark(&self.files.key));
        let is_settled = marks == self.seen;
        self.seen = marks;
        if is_settled && marks != self.read {
            self.reload();
        }
    }

    /// Reads the files. When that fails, what was there before stays, and it is said once.
    pub(super) fn reload(&mut self) {
        // Before they are read: a change meanwhile is then seen as one.
        self.read = (mark(&self.files.cert), mark(&self.files.key));
        match Identity::from_files(&self.files) {
            Ok(identity) => {
                self.acceptor.replace(identity);
                let fingerprint = self.acceptor.fingerprint();
                tracing::info!(fingerprint, "the certificate was read again");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "the new certificate cannot be used; the old one stays");
            }
        }
    }
}
