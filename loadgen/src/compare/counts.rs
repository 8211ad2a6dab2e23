//! What the kernel, the device and the server itself count: read before a load and after it.
//!
//! * System calls, syncs and io_uring requests come from the kernel's trace points, by `perf stat`
//!   on the server's process, and instructions from the processor's counters, where it has any.
//! * Bytes and time of the process come from `/proc`, those of the device from `/sys/dev/block`.
//! * Syncs are the calls for one and the requests of io_uring for one. For a server that makes
//!   such requests both must have been counted.
//! * What Thalweg says of its log is its own count, of less: syncs of groups of the log, without
//!   those of anything around it.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::figures::Count;
use super::peer::Peer;
use super::server::{Server, ask_to_end, get, wait};

/// What `perf stat` counts.
const EVENTS: [&str; 5] = [
    "instructions",
    "raw_syscalls:sys_enter",
    "io_uring:io_uring_submit_req",
    "syscalls:sys_enter_fdatasync",
    "syscalls:sys_enter_fsync",
];
/// Of the last event, once more: only requests for a sync (`IORING_OP_FSYNC`).
const RING_EVENT: &str = "io_uring:io_uring_submit_req";
const RING_SYNCS: &str = "opcode == 3";
/// Longest wait for `perf` to begin or end.
const PERF_LIMIT: Duration = Duration::from_secs(10);
/// Clock ticks in a second, as `/proc` counts CPU time.
const TICK_US: u64 = 10_000;
/// Bytes in a sector, as `/sys/dev/block` counts.
const SECTOR_BYTES: u64 = 512;

/// Counters that only grow, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Snapshot {
    cpu_us: Option<u64>,
    written_bytes: Option<u64>,
    device_bytes: Option<u64>,
    device_flushes: Option<u64>,
    /// What Thalweg itself says of its log.
    log_syncs: Option<u64>,
    log_bytes: Option<u64>,
}

impl Snapshot {
    fn take(peer: Peer, pid: u32, address: SocketAddr, data: &Path) -> Self {
        let read = |path: PathBuf| std::fs::read_to_string(path).ok();
        let stat = read(format!("/proc/{pid}/stat").into());
        let io = read(format!("/proc/{pid}/io").into());
        let device = std::fs::metadata(data).ok().and_then(|metadata| {
            let device = metadata.dev();
            let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
            read(format!("/sys/dev/block/{major}:{minor}/stat").into())
        });
        let metrics =
            (peer == Peer::Thalweg).then(|| get(address, "/metrics", PERF_LIMIT).ok()).flatten();
        let own = |name| metrics.as_ref().and_then(|text| metric(text, name));
        Self {
            cpu_us: stat.and_then(|text| cpu_us(&text)),
            written_bytes: io.and_then(|text| io_written(&text)),
            device_bytes: device.as_ref().and_then(|text| field(text, 6)).map(|n| n * SECTOR_BYTES),
            // Field 15, where the kernel counts flushes at all.
            device_flushes: device.as_ref().and_then(|text| field(text, 15)),
            log_syncs: own("thalweg_syncs_total"),
            log_bytes: own("thalweg_written_bytes_total"),
        }
    }
}

/// A watch over a server's process.
pub(crate) struct Watch {
    peer: Peer,
    pid: u32,
    address: SocketAddr,
    data: PathBuf,
    before: Snapshot,
    perf: Option<(Child, PathBuf)>,
}

impl Watch {
    /// Begins; `output` is a file for `perf`.
    pub(crate) fn begin(peer: Peer, server: &Server, data: &Path, output: &Path) -> Self {
        let (pid, address) = (server.pid(), server.address);
        let perf = start_perf(pid, output).ok().map(|child| (child, output.to_owned()));
        let before = Snapshot::take(peer, pid, address, data);
        Self { peer, pid, address, data: data.to_owned(), before, perf }
    }

    /// Ends; what was counted goes into `count`.
    pub(crate) fn end(self, count: &mut Count) -> Result<()> {
        let after = Snapshot::take(self.peer, self.pid, self.address, &self.data);
        let before = self.before;
        let grown = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?));
        count.cpu_us = grown(before.cpu_us, after.cpu_us);
        count.written_bytes = grown(before.written_bytes, after.written_bytes);
        count.log_bytes = grown(before.log_bytes, after.log_bytes);
        count.log_syncs = grown(before.log_syncs, after.log_syncs);
        count.device_bytes = grown(before.device_bytes, after.device_bytes);
        count.device_flushes = grown(before.device_flushes, after.device_flushes);
        let Some((mut child, output)) = self.perf else { return Ok(()) };
        ask_to_end(&child, Signal::INT);
        if wait(&mut child, PERF_LIMIT)?.is_none() {
            child.kill()?;
            child.wait()?;
        }
        let text = std::fs::read_to_string(&output).context("what perf counted")?;
        fill_in(count, self.peer, &text);
        Ok(())
    }
}

/// Takes over what `perf` wrote.
fn fill_in(count: &mut Count, peer: Peer, text: &str) {
    let value = |event| perf_value(text, event);
    count.instructions = value(EVENTS[0]);
    count.system_calls = value(EVENTS[1]);
    count.ring_requests = value(EVENTS[2]);
    // The second one of its name has the filter.
    let of_ring = perf_values(text, RING_EVENT).nth(1).flatten();
    let of_ring = if peer.syncs_through_ring() { of_ring } else { of_ring.or(Some(0)) };
    let by_calls = value(EVENTS[3]).zip(value(EVENTS[4])).map(|(data, whole)| data + whole);
    count.syncs = by_calls.zip(of_ring).map(|(calls, ring)| calls + ring);
}

/// Starts `perf stat` on all threads of a process; it counts until it is interrupted.
fn start_perf(pid: u32, output: &Path) -> Result<Child> {
    // What an earlier run left must not be taken for this one's.
    let _ = std::fs::remove_file(output);
    let mut command = Command::new("perf");
    command.args(["stat", "-x", ",", "-o"]).arg(output).args(["-e", &EVENTS.join(",")]);
    // A filter is of the event before it only.
    command.args(["-e", RING_EVENT, "--filter", RING_SYNCS, "-p", &pid.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    // It says nothing when it has begun; a moment is enough, and what it misses is the beginning.
    if wait(&mut child, Duration::from_millis(300))?.is_some() {
        anyhow::bail!("perf ended at once");
    }
    Ok(child)
}

/// The sum of a metric over all its labels.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn metric(text: &str, name: &str) -> Option<u64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        (rest.starts_with('{') || rest.starts_with(' ')).then_some(())?;
        line.rsplit_once(' ')?.1.trim().parse::<f64>().ok()
    });
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
}

/// User and system time in `/proc/PID/stat`; a program's name may hold spaces and brackets.
fn cpu_us(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    Some((field(rest, 11)? + field(rest, 12)?) * TICK_US)
}

fn io_written(io: &str) -> Option<u64> {
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

/// Number `index` among words, counted from 0.
fn field(text: &str, index: usize) -> Option<u64> {
    text.split_ascii_whitespace().nth(index)?.parse().ok()
}

/// The value of an event in what `perf stat -x,` wrote: `VALUE,UNIT,EVENT,...`.
fn perf_value(text: &str, event: &str) -> Option<u64> {
    perf_values(text, event).next()?
}

/// The values of all events of this name, in the order in which they were asked for.
fn perf_values(text: &str, event: &str) -> impl Iterator<Item = Option<u64>> {
    let is_of = move |name: &str| name == event || name.strip_prefix(event) == Some(":u");
    text.lines()
        .filter(move |line| line.split(',').nth(2).is_some_and(is_of))
        .map(|line| line.split(',').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_in_what_the_kernel_writes() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 10 0 0 0 30 12 0 0 20 0 1";
        assert_eq!(cpu_us(stat), Some(420_000));
        assert_eq!(cpu_us("nothing"), None);
        let io = "rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert_eq!(io_written(io), Some(4_096));
        assert_eq!(field(" 1 2 3\n", 2), Some(3));
        assert_eq!(field("1 2", 2), None);
    }

    #[test]
    fn what_perf_cannot_count_is_absent_and_not_zero() {
        let text = "# started\n<not supported>,,instructions,0,100.00,,\n\
                    12,,raw_syscalls:sys_enter,157284,100.00,,\n5,,instructions:u,1,1,,\n";
        assert_eq!(perf_value(text, "raw_syscalls:sys_enter"), Some(12));
        assert_eq!(perf_value(text, "instructions"), None);
        assert_eq!(perf_value("5,,instructions:u,1,1,,", "instructions"), Some(5));
        assert_eq!(perf_value(text, "syscalls:sys_enter_fsync"), None);
    }

    #[test]
    fn syncs_are_absent_where_calls_are_not_all_of_them() {
        let calls = "7,,instructions,1,1,,\n5,,syscalls:sys_enter_fdatasync,1,1,,\n\
                     2,,syscalls:sys_enter_fsync,1,1,,\n90,,io_uring:io_uring_submit_req,1,1,,\n";
        let all = format!("{calls}4,,io_uring:io_uring_submit_req,1,1,,\n");
        for (peer, text, syncs) in [
            (Peer::Redis, calls, Some(7)),
            (Peer::Thalweg, calls, None),
            (Peer::Thalweg, &all, Some(11)),
            (Peer::Thalweg, "", None),
        ] {
            let mut count = Count { log_syncs: Some(3), ..Count::default() };
            fill_in(&mut count, peer, text);
            assert_eq!((count.syncs, count.log_syncs), (syncs, Some(3)), "{}", peer.name());
        }
    }

    #[test]
    fn without_perf_the_other_counts_are_there() {
        let watch = Watch {
            peer: Peer::Redis,
            pid: std::process::id(),
            address: SocketAddr::from(([127, 0, 0, 1], 9)),
            data: PathBuf::from("."),
            before: Snapshot { cpu_us: Some(0), ..Snapshot::default() },
            perf: None,
        };
        let mut count = Count::default();
        watch.end(&mut count).unwrap();
        assert!(count.cpu_us.is_some() && count.system_calls.is_none(), "{count:?}");
        assert_eq!(count.log_syncs, None, "nobody was there to say it");
    }

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_mixed_with_others() {
        let text = "x_total{shard=\"0\"} 2\nx_total{shard=\"1\"} 3\nx_total_other 9\n# x_total 1\n";
        assert_eq!(metric(text, "x_total"), Some(5));
        assert_eq!(metric(text, "y"), None);
    }
}
