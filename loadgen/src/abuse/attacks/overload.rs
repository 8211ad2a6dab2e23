//! Ten times as many appends as the server can take.
//!
//! First some clients append as fast as they are answered: what is acknowledged then is the rate
//! that saturates it. Then ten times that arrives, whatever the answers are. An arrival takes a
//! connection that is free; when none is, it is *shed*: counted, and never sent.

mod load;

use std::sync::Arc;
use std::thread::{JoinHandle, spawn};

use hdrhistogram::Histogram;

use super::*;
use crate::abuse::http1::append;
use load::{Arrivals, Plan, load};

const THREADS: usize = 2;
/// Connections of each thread that append as fast as they are answered.
const SATURATING: usize = 32;
/// Connections of each thread for ten times that.
const CONNECTIONS: usize = 320;
/// How long the saturating rate is looked for, and for how long before that nothing is counted.
const SATURATED_FOR: Duration = Duration::from_secs(4);
const WARM_FOR: Duration = Duration::from_secs(1);
/// How many times that rate arrives.
const TIMES: f64 = 10.0;
/// Least part of the saturating rate that is still acknowledged: who refuses most of what comes
/// must not be so busy with it that little else is done.
const KEPT_MIN: f64 = 0.1;
const RECORD_BYTES: usize = 64 << 10;

/// What became of the appends of a thread, or of all.
pub(super) struct Part {
    latency_us: Histogram<u64>,
    acked: u64,
    refused: u64,
    /// Refused without saying when to come again, or not answered.
    bad: u64,
    /// Arrived while no connection was free.
    shed: u64,
}

impl Part {
    fn new() -> Result<Self> {
        let latency_us = Histogram::new(3)?;
        Ok(Self { latency_us, acked: 0, refused: 0, bad: 0, shed: 0 })
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        self.latency_us.add(&other.latency_us)?;
        self.acked += other.acked;
        self.refused += other.refused;
        self.bad += other.bad;
        self.shed += other.shed;
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.acked + self.refused + self.bad
    }

    fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1000.0
    }
}

pub(super) fn run(field: &Field) -> Result<Made> {
    let closed = Plan { connections: SATURATING, arrivals: Arrivals::WhenAnswered };
    on_threads(field, closed, WARM_FOR)?;
    let saturating = on_threads(field, closed, SATURATED_FOR)?;
    anyhow::ensure!(saturating.acked > 0, "nothing is acknowledged even without an overload");
    let acked_per_second = saturating.acked as f64 / SATURATED_FOR.as_secs_f64();

    let offered_per_second = TIMES * acked_per_second;
    let arrivals = Arrivals::PerSecond(offered_per_second / THREADS as f64);
    let open = Plan { connections: CONNECTIONS, arrivals };
    let left = field.until().saturating_duration_since(std::time::Instant::now());
    let all = on_threads(field, open, left)?;
    let kept = all.acked as f64 / left.as_secs_f64() / acked_per_second;
    anyhow::ensure!(
        kept >= KEPT_MIN,
        "of the rate that saturates it, {kept:.3} was left under ten times as much; {KEPT_MIN} is \
         wanted"
    );

    let connections = THREADS * (2 * SATURATING + CONNECTIONS);
    Ok(Made {
        connections,
        open_max: THREADS * CONNECTIONS,
        sent_bytes: (saturating.sent() + all.sent()) * RECORD_BYTES as u64,
        note: format!(
            "{acked_per_second:.0}/s saturate it (p99 {:.1} ms); of {offered_per_second:.0}/s {} \
             sent, {} shed: {} acked, p50 {:.1} ms, p99 {:.1} ms; {} refused with retry-after-ms; \
             {} not answered so",
            saturating.quantile_ms(0.99),
            all.sent(),
            all.shed,
            all.acked,
            all.quantile_ms(0.5),
            all.quantile_ms(0.99),
            all.refused,
            all.bad
        ),
        admitted_us: Some(all.latency_us),
        held: Vec::new(),
    })
}

fn on_threads(field: &Field, plan: Plan, duration: Duration) -> Result<Part> {
    let request = Arc::new(append("wide", &field.headers, RECORD_BYTES));
    let threads: Vec<JoinHandle<Result<Part>>> = (0..THREADS)
        .map(|_| {
            let (address, request) = (field.address, Arc::clone(&request));
            spawn(move || load(address, &request, plan, duration))
        })
        .collect();
    let mut all = Part::new()?;
    for thread in threads {
        all.add(&thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??)?;
    }
    Ok(all)
}
