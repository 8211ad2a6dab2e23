//! The thread that ships: one for all shards, with an executor of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::{self, Either, try_join_all};
use tokio::sync::watch;

use super::Result;
use super::archive::Archiver;
use super::link::Link;
use super::local::LocalLog;
use super::ownership::Owned;
use super::ship::{Shipper, progress_of};
use super::start::Prepared;
use super::store::Store;
use crate::log::segment::LogFacts;
use crate::types::refusal::chain;

/// A shard whose log is shipped.
#[derive(Debug, Clone)]
pub struct Source {
    /// The shard's directory.
    pub path: PathBuf,
    /// What its log says of itself.
    pub log: LogFacts,
    /// How it says how far it is.
    pub link: Arc<Link>,
}

/// The log is being shipped.
#[derive(Debug)]
pub struct Shipping {
    stop: watch::Sender<bool>,
    failures: mpsc::Receiver<String>,
    thread: JoinHandle<()>,
}

impl Shipping {
    /// Ships the logs of these shards, one for each that is owned, at most so often.
    ///
    /// * Errors: the operating system's, when there can be no thread.
    pub fn start(
        prepared: Prepared,
        sources: Vec<Source>,
        interval: Duration,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (failed, failures) = mpsc::channel();
        let Prepared { runtime, store, owned, .. } = prepared;
        let thread = std::thread::Builder::new().name("bucket".to_owned()).spawn(move || {
            let shipped = runtime.block_on(ship_all(store, owned, sources, interval, stopped));
            if let Err(error) = shipped {
                // Whoever would listen has gone when the process ends.
                let _gone = failed.send(chain(&error));
            }
            // Objects that are on their way may be left there.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop, failures, thread })
    }

    /// Why nothing is shipped any more, if that is so; asked for again and again.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failures.try_recv().ok()
    }

    /// Ships what is left, for as long as `within`, when no shard writes any more; tells whether
    /// that was enough.
    #[must_use]
    pub fn finish(self, within: Duration) -> bool {
        self.stop.send_replace(true);
        // Ends without a word when all is shipped.
        match self.failures.recv_timeout(within) {
            Err(mpsc::RecvTimeoutError::Disconnected) => self.thread.join().is_ok(),
            Err(mpsc::RecvTimeoutError::Timeout) => false,
            Ok(failure) => {
                tracing::error!(failure, "the rest of the log is not in the bucket");
                false
            }
        }
    }
}

async fn ship_all(
    store: Store,
    owned: Vec<Owned>,
    sources: Vec<Source>,
    interval: Duration,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let (mut shippers, mut archivers) = (Vec::new(), Vec::new());
    for (owned, source) in owned.into_iter().zip(sources) {
        let Source { path, log, link } = source;
        let (said, progress) = watch::channel(progress_of(&owned));
        let store = store.counted_by(Arc::clone(&link) as _);
        let local = || LocalLog::new(&path, log);
        let archiver = Archiver {
            store: store.clone(),
            link: Arc::clone(&link),
            local: local(),
            owned: owned.clone(),
            progress,
        };
        archivers.push(archiver.run());
        let stop = stopped.clone();
        let local = local();
        let shipper = Shipper { store, link, local, owned, interval, progress: said, stop };
        shippers.push(shipper.run());
    }
    // Who archives has nothing more to do when all is shipped; what it has begun is begun again.
    let (shippers, archivers) = (try_join_all(shippers), try_join_all(archivers));
    match future::select(shippers, archivers).await {
        Either::Left((shipped, _)) => shipped.map(drop),
        Either::Right((archived, shippers)) => {
            archived?;
            shippers.await.map(drop)
        }
    }
}

/// Microseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "for people, on a thread without a clock of ours")]
pub(super) fn wall_us() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(0)
}
