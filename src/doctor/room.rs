//! Room for the log: free bytes and free inodes.

use super::finding::{Finding, Group};
use crate::io::host::Volume;

const MIB: u64 = 1024 * 1024;
/// Free inodes below which it is worth a word; a shard has a file for each segment and two more.
const INODES_MIN: u64 = 1000;
/// Segments that a shard makes ahead of the one in use, and that one.
const SEGMENTS_AT_FIRST: u64 = 3;
/// Share of the file system that should be free: one part in so many.
const FREE_PART: u64 = 20;

/// What is free, and what is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomFacts {
    /// The file system.
    pub volume: Volume,
    /// Bytes that the first segments of all shards take; of a directory that has its own already,
    /// of one more for each.
    pub wanted_bytes: u64,
    /// Whether every shard has segments already: then a server starts without room, and refuses
    /// appends until there is some.
    pub is_initialised: bool,
}

/// Says whether there is room.
#[must_use]
pub fn judge(facts: &RoomFacts) -> Vec<Finding> {
    let mut findings = vec![bytes(facts)];
    let Volume { free_inodes, inodes, .. } = facts.volume;
    if inodes > 0 && free_inodes < INODES_MIN {
        let what = format!("{free_inodes} of {inodes} inodes are free");
        let few = if free_inodes == 0 && !facts.is_initialised {
            Finding::failure("room.inodes", Group::Directory, what).stops()
        } else {
            Finding::warning("room.inodes", Group::Directory, what)
        };
        let few = few.why("each segment is a file, and none can be made without an inode");
        findings.push(few.advice("remove files that nobody needs from this file system"));
    }
    findings
}

fn bytes(facts: &RoomFacts) -> Finding {
    let Volume { free_bytes, bytes, is_read_only, .. } = facts.volume;
    let wanted = facts.wanted_bytes / MIB;
    let what = format!("{} MiB of {} MiB are free", free_bytes / MIB, bytes / MIB);
    if is_read_only {
        return Finding::failure("room.read_only", Group::Directory, "mounted for reading only")
            .why("nothing can be written")
            .advice(
                "mount it for writing; a file system with errors does this by itself: see dmesg",
            )
            .stops();
    }
    if free_bytes < facts.wanted_bytes {
        let why = format!("the next segments of all shards take {wanted} MiB");
        let advice = "make room; for a new directory, a smaller --segment-bytes or fewer --shards";
        return if facts.is_initialised {
            let why = format!("{why}; appends are refused while there is no room for them");
            Finding::warning("room.bytes", Group::Directory, what).why(why).advice(advice)
        } else {
            Finding::failure("room.bytes", Group::Directory, what).why(why).advice(advice).stops()
        };
    }
    let at_first = facts.wanted_bytes.saturating_mul(SEGMENTS_AT_FIRST);
    if !facts.is_initialised && free_bytes < at_first {
        return Finding::warning("room.bytes", Group::Directory, what)
            .why(format!(
                "a new directory takes {} MiB at first, for {SEGMENTS_AT_FIRST} segments of each \
                 shard; with less, appends are refused early",
                at_first / MIB
            ))
            .advice("make room; or a smaller --segment-bytes, or fewer --shards");
    }
    if free_bytes < bytes / FREE_PART {
        return Finding::note("room.bytes", Group::Directory, what)
            .why("less than a twentieth: file systems and drives slow down when nearly full");
    }
    Finding::ok("room.bytes", Group::Directory, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn full_and_nearly_full_file_systems() {
        let full = |free_mib: u64, free_inodes: u64, is_initialised: bool| RoomFacts {
            volume: Volume {
                free_bytes: free_mib * MIB,
                bytes: 100_000 * MIB,
                free_inodes,
                inodes: 5000,
                is_read_only: false,
            },
            wanted_bytes: 384 * MIB,
            is_initialised,
        };
        for (facts, expected) in [
            (full(50_000, 4000, false), &[("room.bytes", Level::Ok, false)][..]),
            (full(1152, 4000, false), &[("room.bytes", Level::Note, false)]),
            (full(1151, 4000, false), &[("room.bytes", Level::Warning, false)]),
            (full(1000, 4000, true), &[("room.bytes", Level::Note, false)]),
            (full(383, 4000, false), &[("room.bytes", Level::Failure, true)]),
            (full(0, 4000, true), &[("room.bytes", Level::Warning, false)]),
            (
                full(50_000, 0, false),
                &[("room.bytes", Level::Ok, false), ("room.inodes", Level::Failure, true)],
            ),
            (
                full(50_000, 999, true),
                &[("room.bytes", Level::Ok, false), ("room.inodes", Level::Warning, false)],
            ),
        ] {
            let found = judge(&facts);
            let found: Vec<_> = found.iter().map(|f| (f.id, f.level, f.stops_server)).collect();
            assert_eq!(found, expected, "{facts:?}");
        }
        let mut facts = full(50_000, 4000, false);
        facts.volume.is_read_only = true;
        assert_eq!(judge(&facts)[0].id, "room.read_only");
        // Btrfs and others count no inodes.
        (facts.volume.inodes, facts.volume.free_inodes) = (0, 0);
        assert_eq!(judge(&facts).len(), 1);
    }
}
