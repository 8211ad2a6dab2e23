//! Measures what an acknowledgement waits for: a direct write, and the `fdatasync` after it.
//!
//! With the calls that the server makes for an Express append, on one thread: blocks that were
//! written before are overwritten one after the other, as in a segment that was filled with zeros
//! ahead of the log.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::trial::{Aligned, Scratch};

/// Sizes of one write, in bytes: a small append, a group of many, a large one.
pub const WRITE_BYTES: [usize; 3] = [4 * 1024, 64 * 1024, 1024 * 1024];
/// Length of the file that is written to, in bytes.
pub const FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Longest latency that is told from a longer one, in nanoseconds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Part of a size's time that goes into writes without a sync: one in so many.
const ALONE_PART: u32 = 5;

/// Latencies of one size, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Bytes of each write.
    pub write_bytes: usize,
    /// Writes that nobody synced.
    pub alone_ns: Histogram<u64>,
    /// Syncs, each after one write.
    pub sync_ns: Histogram<u64>,
    /// Both together.
    pub both_ns: Histogram<u64>,
}

/// Measures all sizes within `budget`.
///
/// A call that is under way is not cut off: on a device that hangs, it takes as long as that.
///
/// * Errors: the operating system's, in words.
pub fn measure(scratch: &Scratch, budget: Duration) -> Result<Vec<Measured>, String> {
    let failed = |error: std::io::Error| format!("the measurement failed: {error}");
    scratch.allocate(FILE_BYTES).map_err(failed)?;
    let watch = Watch::start();
    let filled_bytes = fill(scratch, &watch, budget / 2).map_err(failed)?;
    let left = budget.saturating_sub(watch.elapsed());
    let sizes = WRITE_BYTES.into_iter().filter(|size| *size as u64 <= filled_bytes);
    let sizes: Vec<usize> = sizes.collect();
    let each = left / u32::try_from(sizes.len().max(1)).unwrap_or(1);
    let each = |size: usize| measure_size(scratch, size, filled_bytes, each).map_err(failed);
    sizes.into_iter().map(each).collect()
}

/// Writes zeros for as long as there is time, a mebibyte at least; returns how far it came.
fn fill(scratch: &Scratch, watch: &Watch, budget: Duration) -> std::io::Result<u64> {
    let zeros = Aligned::new(1 << 20, 0);
    let mut filled_bytes = 0;
    while filled_bytes < FILE_BYTES && (filled_bytes == 0 || watch.elapsed() < budget) {
        scratch.write(&zeros, filled_bytes)?;
        filled_bytes += 1 << 20;
    }
    scratch.sync()?;
    Ok(filled_bytes)
}

fn measure_size(
    scratch: &Scratch,
    write_bytes: usize,
    file_bytes: u64,
    budget: Duration,
) -> std::io::Result<Measured> {
    let bytes = Aligned::new(write_bytes, 0x5A);
    let empty = || Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).map_err(std::io::Error::other);
    let (mut alone_ns, mut sync_ns, mut both_ns) = (empty()?, empty()?, empty()?);
    let places = file_bytes / write_bytes as u64;
    let place = |index: u64| (index % places) * write_bytes as u64;
    let watch = Watch::start();
    for index in 0.. {
        let sent = Watch::start();
        scratch.write(&bytes, place(index))?;
        alone_ns.saturating_record(sent.nanoseconds());
        if watch.elapsed() >= budget / ALONE_PART {
            break;
        }
    }
    scratch.sync()?;
    for index in 0.. {
        let sent = Watch::start();
        scratch.write(&bytes, place(index))?;
        let written = Watch::start();
        scratch.sync()?;
        sync_ns.saturating_record(written.nanoseconds());
        both_ns.saturating_record(sent.nanoseconds());
        if watch.elapsed() >= budget {
            break;
        }
    }
    Ok(Measured { write_bytes, alone_ns, sync_ns, both_ns })
}

/// The one place here that looks at the clock.
struct Watch(Instant);

#[expect(clippy::disallowed_methods, reason = "no executor with a clock runs here")]
impl Watch {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn nanoseconds(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_measured_even_without_time() {
        let directory = tempfile::tempdir().unwrap();
        let (trial, scratch) = Scratch::make(directory.path());
        let Some(scratch) = scratch else { panic!("{trial:?}") };
        let measured = measure(&scratch, Duration::ZERO).unwrap();
        let sizes: Vec<usize> = measured.iter().map(|of| of.write_bytes).collect();
        assert_eq!(sizes, WRITE_BYTES, "a mebibyte is always filled");
        for of in &measured {
            assert_eq!((of.alone_ns.len(), of.sync_ns.len(), of.both_ns.len()), (1, 1, 1));
            assert!(of.both_ns.max() >= of.sync_ns.min());
        }
    }
}
