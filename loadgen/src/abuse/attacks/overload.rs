//! Far more appends than the server can take.

use std::thread::{ScopedJoinHandle, scope};
use std::time::Instant;

use hdrhistogram::Histogram;

use super::*;
use crate::abuse::http1::append;

const THREADS: usize = 4;
/// Connections of each thread, all of which have an append under way.
const CONNECTIONS: usize = 160;
const RECORD_BYTES: usize = 64 << 10;

/// What one thread saw.
struct Part {
    latency_us: Histogram<u64>,
    acked: u64,
    refused: u64,
    /// Refused without saying when to come again, or not answered.
    bad: u64,
}

pub(super) fn run(field: &Field) -> Result<Made> {
    let mut made = Made { open_max: THREADS * CONNECTIONS, ..Made::default() };
    made.connections = made.open_max;
    let (address, headers, until) = (field.address, field.headers.as_str(), field.until());
    let parts: Result<Vec<Part>> = scope(|scope| {
        let threads: Vec<ScopedJoinHandle<'_, Result<Part>>> =
            (0..THREADS).map(|_| scope.spawn(|| load(address, headers, until))).collect();
        threads
            .into_iter()
            .map(|t| t.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
            .collect()
    });
    let mut all = Part { latency_us: Histogram::new(3)?, acked: 0, refused: 0, bad: 0 };
    for part in parts? {
        all.latency_us.add(part.latency_us)?;
        all.acked += part.acked;
        all.refused += part.refused;
        all.bad += part.bad;
    }
    made.sent_bytes = (all.acked + all.refused + all.bad) * RECORD_BYTES as u64;
    made.note = format!(
        "{} acked, p50 {} ms, p99 {} ms; {} refused with retry-after-ms; {} not answered so",
        all.acked,
        all.latency_us.value_at_quantile(0.5) / 1000,
        all.latency_us.value_at_quantile(0.99) / 1000,
        all.refused,
        all.bad
    );
    Ok(made)
}

fn load(address: SocketAddr, headers: &str, until: Instant) -> Result<Part> {
    let mut part = Part { latency_us: Histogram::new(3)?, acked: 0, refused: 0, bad: 0 };
    let request = append("wide", headers, RECORD_BYTES);
    let open = || Wire::open(address);
    let mut wires: Vec<_> = (0..CONNECTIONS).map(|_| open()).collect::<Result<_>>()?;
    let mut asked = vec![Instant::now(); CONNECTIONS];
    while Instant::now() < until {
        for (wire, asked) in wires.iter_mut().zip(&mut asked) {
            *asked = Instant::now();
            if wire.send(&request).is_err() {
                part.bad += 1;
                *wire = open()?;
            }
        }
        for (wire, asked) in wires.iter_mut().zip(&asked) {
            match wire.answer() {
                Ok(answer) if answer.status == 200 => {
                    part.acked += 1;
                    let took_us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
                    part.latency_us.record(took_us)?;
                }
                Ok(answer) if answer.is_refusal() && answer.says_when() => {
                    part.refused += 1;
                    if answer.closes {
                        *wire = open()?;
                    }
                }
                _ => {
                    part.bad += 1;
                    *wire = open()?;
                }
            }
        }
    }
    Ok(part)
}
