//! A gentle client beside an attack: asks for health, and appends a little.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;

use super::HEALTH_BOUND;
use super::http1::{Wire, get, json};

/// Connections that append.
const APPENDERS: u32 = 4;
/// Pause between the intended times of two appends on one connection.
const APPEND_EVERY: Duration = Duration::from_millis(20);
/// The same of questions for health.
const HEALTH_EVERY: Duration = Duration::from_millis(20);
const BODY: &[u8] = br#"{"records":[{"body":"probe"}]}"#;

/// How health was answered.
pub(super) struct Health {
    pub(super) latency_us: Histogram<u64>,
    /// The first time that it was not, or not soon enough.
    pub(super) failure: Option<String>,
}

/// How appends were answered.
pub(super) struct Appends {
    pub(super) latency_us: Histogram<u64>,
    pub(super) acked: u64,
    /// Refused with a code that says so.
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) failure: Option<String>,
}

impl Appends {
    fn new() -> Result<Self> {
        let latency_us = Histogram::new(3)?;
        Ok(Self { latency_us, acked: 0, refused: 0, failed: 0, failure: None })
    }

    fn fail(&mut self, why: String) {
        self.failed += 1;
        self.failure.get_or_insert(why);
    }
}

/// The probing threads.
pub(super) struct Probes {
    counting: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    health: JoinHandle<Result<Health>>,
    appends: Vec<JoinHandle<Result<Appends>>>,
}

impl Probes {
    /// Begins to probe; nothing is counted yet.
    pub(super) fn start(address: SocketAddr, headers: &str) -> Self {
        let (counting, ended) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let flags = || (Arc::clone(&counting), Arc::clone(&ended));
        let health = {
            let ((counting, ended), headers) = (flags(), headers.to_owned());
            spawn(move || ask_health(address, &headers, &counting, &ended))
        };
        let appends = (0..APPENDERS).map(|_| {
            let ((counting, ended), headers) = (flags(), headers.to_owned());
            spawn(move || append(address, &headers, &counting, &ended))
        });
        let appends = appends.collect();
        Self { counting, ended, health, appends }
    }

    /// Counts from now on.
    pub(super) fn begin(&self) {
        self.counting.store(true, Ordering::Relaxed);
    }

    /// Ends, and says what was seen.
    pub(super) fn end(self) -> Result<(Health, Appends)> {
        self.ended.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow!("a probe panicked");
        let health = self.health.join().map_err(panicked)??;
        let mut all = Appends::new()?;
        for thread in self.appends {
            let one = thread.join().map_err(panicked)??;
            all.latency_us.add(one.latency_us)?;
            all.acked += one.acked;
            all.refused += one.refused;
            all.failed += one.failed;
            all.failure = all.failure.or(one.failure);
        }
        Ok((health, all))
    }
}

/// Waits for the next time of a schedule that does not wait for late answers.
fn pace(next: &mut Instant, every: Duration) {
    *next += every;
    sleep(next.saturating_duration_since(Instant::now()));
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn ask_health(
    address: SocketAddr,
    headers: &str,
    counting: &AtomicBool,
    ended: &AtomicBool,
) -> Result<Health> {
    let mut seen = Health { latency_us: Histogram::new(3)?, failure: None };
    let request = get("/health", headers);
    let mut wire = Wire::open(address)?;
    let mut next = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answered = wire.exchange(&request);
        let took_us = micros(asked);
        if counting.load(Ordering::Relaxed) {
            seen.latency_us.record(took_us)?;
            let failure = match &answered {
                Ok(answer) if answer.status != 200 => Some(format!("status {}", answer.status)),
                Ok(_) if Duration::from_micros(took_us) > HEALTH_BOUND => {
                    Some(format!("after {} ms", took_us / 1000))
                }
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            };
            seen.failure = seen.failure.or(failure);
        }
        if answered.is_err() {
            wire = Wire::open(address)?;
        }
        pace(&mut next, HEALTH_EVERY);
        next = next.max(Instant::now() - HEALTH_EVERY);
    }
    Ok(seen)
}

fn append(
    address: SocketAddr,
    headers: &str,
    counting: &AtomicBool,
    ended: &AtomicBool,
) -> Result<Appends> {
    let mut seen = Appends::new()?;
    let request = json("POST", "/v1/streams/probe/records", headers, BODY);
    let mut wire = Wire::open(address)?;
    let mut next = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answered = wire.exchange(&request);
        if counting.load(Ordering::Relaxed) {
            match &answered {
                Ok(answer) if answer.status == 200 => {
                    seen.acked += 1;
                    seen.latency_us.record(micros(asked))?;
                }
                Ok(answer) if answer.is_refusal() => seen.refused += 1,
                Ok(answer) => seen.fail(format!("status {}", answer.status)),
                Err(error) => seen.fail(error.to_string()),
            }
        }
        if answered.map_or(true, |answer| answer.closes) {
            wire = Wire::open(address)?;
        }
        pace(&mut next, APPEND_EVERY);
        next = next.max(Instant::now() - APPEND_EVERY);
    }
    Ok(seen)
}

/// How long it takes until an append on a new connection succeeds; `None` when it does not until
/// `deadline`.
pub(super) fn until_normal(
    address: SocketAddr,
    headers: &str,
    deadline: Instant,
) -> Option<Duration> {
    let began = Instant::now();
    let request = json("POST", "/v1/streams/probe/records", headers, BODY);
    while Instant::now() < deadline {
        let answered = Wire::open(address).and_then(|mut wire| wire.exchange(&request));
        if answered.is_ok_and(|answer| answer.status == 200) {
            return Some(began.elapsed());
        }
        sleep(Duration::from_millis(5));
    }
    None
}
