//! `loadgen disk`: what the bare disk takes for a direct write and the sync after it.
//!
//! The yardstick for an acknowledgement: a file written once with zeros, then overwritten block
//! after block with `O_DIRECT`, each write followed by `fdatasync`; plain system calls, one thread.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rustix::fs::{Mode, OFlags};
use serde_json::json;

use crate::cli::DiskArgs;
use crate::environment::Environment;

/// Sizes of one write, in bytes.
const WRITE_BYTES: [usize; 3] = [4 * 1024, 64 * 1024, 1024 * 1024];
/// Length of the file that is overwritten, in bytes.
const FILE_BYTES: usize = 64 * 1024 * 1024;
/// What direct writes must be aligned to, in bytes.
const ALIGNMENT: usize = 4096;

/// Measures each size for a third of the duration and prints the latencies.
pub(crate) fn run(args: &DiskArgs) -> Result<()> {
    let file = tempfile::Builder::new().prefix("loadgen-disk-").tempfile_in(&args.dir)?;
    fill(file.as_file())?;
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let direct = rustix::fs::open(file.path(), flags, Mode::empty());
    let direct = File::from(direct.context("the file system has no direct I/O")?);
    println!("disk: direct write + fdatasync, overwriting {} MiB", FILE_BYTES >> 20);
    println!("machine     {}", Environment::read().line());
    let each = args.duration / 3;
    let mut results = Vec::new();
    for write_bytes in WRITE_BYTES {
        let latency_us = measure(&direct, write_bytes, each)?;
        println!("{:>8} B  {}", write_bytes, line(&latency_us));
        results.push(json!({
            "write_bytes": write_bytes,
            "count": latency_us.len(),
            "p50_us": latency_us.value_at_quantile(0.5),
            "p99_us": latency_us.value_at_quantile(0.99),
            "max_us": latency_us.max(),
        }));
    }
    if let Some(out) = &args.out {
        write_json(out, &json!({ "disk": results }))?;
    }
    Ok(())
}

/// Writes the whole file once, so that measured writes meet written blocks as a log's do.
fn fill(file: &File) -> Result<()> {
    let zeros = vec![0; 1 << 20];
    for index in 0..(FILE_BYTES / zeros.len()) as u64 {
        file.write_all_at(&zeros, index << 20)?;
    }
    file.sync_all().context("the disk does not take the file")
}

fn measure(file: &File, write_bytes: usize, duration: Duration) -> Result<Histogram<u64>> {
    let memory = vec![0x5A; write_bytes + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let buf = &memory[start..start + write_bytes];
    let mut latency_us = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let began = Instant::now();
    for index in 0.. {
        if began.elapsed() >= duration {
            break;
        }
        let offset = (index * write_bytes) % FILE_BYTES;
        let sent = Instant::now();
        let written = file.write_at(buf, offset as u64)?;
        ensure!(written == write_bytes, "short direct write");
        file.sync_data()?;
        latency_us.saturating_record(u64::try_from(sent.elapsed().as_micros())?);
    }
    Ok(latency_us)
}

fn line(latency_us: &Histogram<u64>) -> String {
    let ms = |quantile| latency_us.value_at_quantile(quantile) as f64 / 1000.0;
    format!(
        "{} times: p50 {:.3} ms, p90 {:.3} ms, p99 {:.3} ms, max {:.3} ms",
        latency_us.len(),
        ms(0.5),
        ms(0.9),
        ms(0.99),
        ms(1.0)
    )
}

fn write_json(directory: &Path, value: &serde_json::Value) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join("disk.json");
    std::fs::write(&path, format!("{value:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}
