//! Looks at a machine before a server has to live on it: `thalweg doctor`, and the quick part of
//! it at the start of `serve`.
//!
//! ```text
//!  kernel  uring  limits  place  room  file_system  device  machine      flush
//!     each: facts, gathered from /proc, /sys and the system's own words    measured
//!     then: a judgement over the facts alone, tested by tables of cases
//!                               |
//!                            report     findings by group, a verdict, an exit status
//! ```
//!
//! Invariants:
//! * Nothing of a server is touched: the one file that is written has lost its name before its
//!   first byte, and a running server's lock is looked up, not tried.
//! * A finding says what is so, why it matters and what to do. What cannot be known is not guessed.
//! * Blocking calls: for before an executor runs.

#![forbid(unsafe_code)]

pub mod device;
pub mod file_system;
pub mod finding;
pub mod flush;
pub mod kernel;
pub mod limits;
pub mod machine;
pub mod measure;
pub mod mounts;
pub mod place;
pub mod report;
pub mod room;
pub mod trial;
pub mod uring;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::io::host;
use device::{Cache, cache_of};
use finding::{Finding, Group, Level, Verdict};
use flush::{FlushFacts, Row};
use measure::{FILE_BYTES, Measured};
use mounts::Mount;
use place::{Described, PlaceFacts};
use report::{REPORT_VERSION, Report};
use room::RoomFacts;
use trial::Scratch;

/// Room that must stay free beside the file that is measured with, in bytes.
const SPARE_BYTES: u64 = 64 * 1024 * 1024;

/// What the machine is to be fit for.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Executors that there will be.
    pub cores: u64,
    /// Connections that the settings allow.
    pub connections: u64,
    /// Bytes of buffers and caches that the settings allow.
    pub memory_bytes: u64,
    /// Bytes that the next segments of all shards take.
    pub segments_bytes: u64,
}

/// Looks at everything, and measures for as long as `budget`; `None` leaves the measuring out.
#[must_use]
pub fn examine(subject: &Subject, budget: Option<Duration>) -> Report {
    let place = place::gather(&subject.data_dir);
    let mount = mount_of(&place.seen);
    let (trial, scratch) = Scratch::make(&place.seen);
    let machine = machine::gather(subject.memory_bytes);
    let is_virtual = machine::is_virtual(&machine);
    let devices = device::gather(&place.seen, &mount);

    let mut findings = host_findings(subject, &mount);
    findings.extend(place::judge(&place, trial));
    findings.extend(room(subject, &place));
    findings.extend(file_system::judge(&mount, trial));
    findings.extend(device::judge(&mount, &devices, is_virtual));
    let mut measured = Vec::new();
    if let (Some(scratch), Some(budget)) = (scratch, budget) {
        match measured_in(&scratch, &place.seen, budget) {
            Ok(of) => measured = of,
            Err(why) => findings.push(unmeasured(why)),
        }
    }
    let is_in_memory = file_system::is_in_memory(&mount.kind);
    let (rows, flush) =
        judge_measured(&measured, cache_of(&devices), is_in_memory, place.holder.is_some());
    findings.extend(flush);
    findings.extend(machine::judge(&machine));
    findings.sort_by_key(|finding| finding.group);
    Report {
        report_version: REPORT_VERSION,
        thalweg_version: env!("CARGO_PKG_VERSION"),
        verdict: Verdict::of(&findings),
        data_dir: subject.data_dir.clone(),
        looked_at: place.seen,
        express: flush::expect(&rows),
        measured: rows,
        findings,
    }
}

/// The quick part for a server that is about to start, before it opens or makes anything: what the
/// system allows, room, the file system and a direct write. Warnings are logged.
///
/// * Errors: what keeps it from starting, in a sentence.
pub fn quick(subject: &Subject) -> Result<(), String> {
    let place = place::gather(&subject.data_dir);
    let mount = mount_of(&place.seen);
    let mut findings = host_findings(subject, &mount);
    findings.extend(room(subject, &place));
    // Where no file can be made, opening the directory fails and says why.
    let (trial, _scratch) = Scratch::make(&place.seen);
    findings.extend(file_system::judge(&mount, trial));
    let is_virtual = machine::is_virtual(&machine::gather(subject.memory_bytes));
    findings.extend(device::judge(&mount, &device::gather(&place.seen, &mount), is_virtual));
    tell(&findings)
}

/// Logs warnings and failures; the first that stops the server is the error.
fn tell(findings: &[Finding]) -> Result<(), String> {
    if let Some(stops) = findings.iter().find(|finding| finding.stops_server) {
        return Err(stops.sentence());
    }
    for finding in findings.iter().filter(|finding| finding.level >= Level::Warning) {
        let Finding { id, what, why, advice, .. } = finding;
        tracing::warn!(check = id, %what, %why, %advice, "the machine is not all it should be");
    }
    Ok(())
}

fn host_findings(subject: &Subject, mount: &Mount) -> Vec<Finding> {
    let mut findings = kernel::judge(&kernel::gather(&mount.kind));
    findings.push(uring::judge(&uring::gather()));
    findings.extend(limits::judge(&limits::gather(subject.cores, subject.connections)));
    findings
}

fn mount_of(seen: &Path) -> Mount {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts::holding(&mountinfo, seen).unwrap_or_default()
}

fn room(subject: &Subject, place: &PlaceFacts) -> Vec<Finding> {
    let Ok(volume) = host::volume(&place.seen) else { return Vec::new() };
    let (wanted_bytes, is_initialised) = match place.described {
        Described::Known { segments_bytes, is_initialised } => (segments_bytes, is_initialised),
        _ => (subject.segments_bytes, false),
    };
    room::judge(&RoomFacts { volume, wanted_bytes, is_initialised })
}

fn measured_in(scratch: &Scratch, seen: &Path, budget: Duration) -> Result<Vec<Measured>, String> {
    let free = host::volume(seen).map_or(0, |volume| volume.free_bytes);
    if free < FILE_BYTES + SPARE_BYTES {
        return Err("there is too little room to measure without filling the disk".to_owned());
    }
    measure::measure(scratch, budget)
}

fn unmeasured(what: String) -> Finding {
    Finding::warning("flush.unmeasured", Group::Flush, what)
        .why("so nothing is said of the latency to be expected")
        .advice("see the findings on room and storage")
}

fn judge_measured(
    measured: &[Measured],
    cache: Cache,
    is_in_memory: bool,
    has_server_beside: bool,
) -> (Vec<Row>, Vec<Finding>) {
    let rows: Vec<Row> = measured.iter().map(Row::of).collect();
    let facts = FlushFacts::of(measured, cache, is_in_memory);
    let mut findings: Vec<Finding> =
        facts.and_then(|f| flush::judge_honesty(&f)).into_iter().collect();
    if let Some(expected) = flush::expect(&rows) {
        findings.extend(flush::judge_latency(&rows, &expected, cache, has_server_beside));
    }
    (rows, findings)
}
