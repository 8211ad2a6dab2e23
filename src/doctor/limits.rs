//! What the process may have of the system: locked memory, open files.

use super::finding::{Finding, Group};
use crate::io::host;
use crate::io::memory::RING_MEMORY_BYTES;

/// Rings of one executor; each registers the same memory.
const RINGS: u64 = 3;
/// Locked memory below which an executor is not made at all, as glommio checks it at start:
/// <https://docs.rs/glommio/0.9.0/glommio/#memory-requirements>
const LOCKED_BYTES_MIN: u64 = 512 * 1024;
/// Open files below which the server may not even start: rings, listeners, segments of a shard.
const OPEN_FILES_MIN: u64 = 128;
/// Files that the server may have open beside connections.
const OWN_FILES: u64 = 512;

/// The limits, and what is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitFacts {
    /// Bytes that may be locked; `None` is no limit.
    pub locked_bytes: Option<u64>,
    /// Files that may be open; `None` is no limit.
    pub open_files: Option<u64>,
    /// Executors that there will be.
    pub cores: u64,
    /// Connections that there may be.
    pub connections: u64,
}

/// Asks for the limits.
#[must_use]
pub fn gather(cores: u64, connections: u64) -> LimitFacts {
    let (locked_bytes, open_files) = (host::locked_bytes_max(), host::open_files_max());
    LimitFacts { locked_bytes, open_files, cores, connections }
}

/// Says whether the server can live with them.
#[must_use]
pub fn judge(facts: &LimitFacts) -> Vec<Finding> {
    vec![locked(facts), open_files(facts)]
}

fn locked(facts: &LimitFacts) -> Finding {
    let wanted = facts.cores * RINGS * RING_MEMORY_BYTES as u64;
    let Some(bytes) = facts.locked_bytes else {
        return Finding::ok("limits.locked", Group::Limits, "memory may be locked without limit");
    };
    let what = format!("memlock: {} KiB of memory may be locked", bytes / 1024);
    let advice = "LimitMEMLOCK=infinity in a systemd unit, ulimit -l unlimited in a shell, \
                  --ulimit memlock=-1 in a container";
    if bytes < LOCKED_BYTES_MIN {
        return Finding::failure("limits.locked", Group::Limits, what)
            .why(format!("an executor is not made with less than {} KiB", LOCKED_BYTES_MIN / 1024))
            .advice(advice)
            .stops();
    }
    if bytes < wanted {
        return Finding::warning("limits.locked", Group::Limits, what)
            .why(format!(
                "the rings of {} cores register {} KiB; what does not fit is not registered, and \
                 each read and write of those cores takes a little longer",
                facts.cores,
                wanted / 1024
            ))
            .advice(advice);
    }
    Finding::ok("limits.locked", Group::Limits, what)
}

fn open_files(facts: &LimitFacts) -> Finding {
    let Some(files) = facts.open_files else {
        return Finding::ok("limits.files", Group::Limits, "files may be open without limit");
    };
    let what = format!("{files} files and connections may be open");
    let advice = "LimitNOFILE=65536 in a systemd unit, ulimit -n in a shell, --ulimit nofile in \
                  a container";
    if files < OPEN_FILES_MIN {
        return Finding::failure("limits.files", Group::Limits, what)
            .why(format!("the server needs {OPEN_FILES_MIN} to start"))
            .advice(advice)
            .stops();
    }
    if files < facts.connections + OWN_FILES {
        return Finding::warning("limits.files", Group::Limits, what)
            .why(format!(
                "{} connections are allowed by the settings; new ones fail before there are as many",
                facts.connections
            ))
            .advice(format!("{advice}; or a smaller --connections-max"));
    }
    Finding::ok("limits.files", Group::Limits, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn limits_and_what_they_are_worth() {
        const MIB: u64 = 1024 * 1024;
        for (locked_bytes, open_files, cores, expected) in [
            (None, None, 64, [Level::Ok, Level::Ok]),
            (Some(8 * MIB), Some(65_536), 2, [Level::Ok, Level::Ok]),
            (Some(8 * MIB), Some(65_536), 16, [Level::Warning, Level::Ok]),
            (Some(64 * 1024), Some(1024), 1, [Level::Failure, Level::Warning]),
            (Some(512 * 1024), Some(127), 1, [Level::Warning, Level::Failure]),
            (Some(3 * MIB / 2), Some(10_512), 1, [Level::Ok, Level::Ok]),
            (Some(3 * MIB / 2 - 1), Some(10_511), 1, [Level::Warning, Level::Warning]),
        ] {
            let facts = LimitFacts { locked_bytes, open_files, cores, connections: 10_000 };
            let found = judge(&facts);
            let levels: Vec<Level> = found.iter().map(|finding| finding.level).collect();
            assert_eq!(levels, expected, "{facts:?}");
            for finding in found {
                assert_eq!(finding.stops_server, finding.level == Level::Failure);
                assert_eq!(finding.advice.is_empty(), finding.level == Level::Ok);
            }
        }
    }
}
