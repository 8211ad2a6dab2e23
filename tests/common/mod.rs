//! Harness of the black-box tests: a real server process on loopback, spoken to over raw sockets.
//!
//! * It uses nothing of the server's own code, so a mistake cannot hide on both sides.
//! * Every wait is bounded, and a wait that ends without its condition fails the test.
//! * A failed check prints what was sent, what came, and the end of the server's error output.
//! * No process and no directory outlives the run, not even a run that is killed.

#![allow(dead_code, reason = "every test file uses its own part of the harness")]
#![expect(clippy::disallowed_methods, reason = "a test's clock is the real one")]

pub(crate) mod client;
pub(crate) mod duplex;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod keys;
pub(crate) mod s2s;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod sse;
pub(crate) mod tls;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long an answer may take.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(45);
/// How long something that is promised "eventually" may take.
pub(crate) const EVENTUALLY_WAIT: Duration = Duration::from_secs(60);
/// How long the server may take to start, and to end after a signal.
pub(crate) const PROCESS_WAIT: Duration = Duration::from_secs(45);
const POLL_PAUSE: Duration = Duration::from_millis(10);

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_millis()).expect("milliseconds fit into 64 bits")
}

/// A stopwatch; the one place where the tests look at the monotonic clock.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Asks `probe` again and again until it gives a value; `None` when `wait` is over.
pub(crate) fn poll<T>(wait: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let watch = Stopwatch::start();
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if watch.elapsed() >= wait {
            return None;
        }
        std::thread::sleep(POLL_PAUSE);
    }
}

/// A basin name that no earlier run used on the same server.
pub(crate) fn unique_name(label: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{label}-{}-{count}", now_ms())
}
