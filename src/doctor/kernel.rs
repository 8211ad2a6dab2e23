//! The kernel's version, held against versions that are known to be bad for a server like this.
//!
//! A range is listed only with a public source that names it, and only when the server does what
//! the fault is about. Vendors repair kernels without changing the numbers that we can see, so a
//! range is a reason to look, not a proof.

use std::fmt;
use std::fs;

use super::finding::{Finding, Group};

/// Version, patch level, sublevel: `6.1.115`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32, pub u32);

impl Release {
    /// Reads the numbers that `text` begins with; a missing third one is zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(str::parse::<u32>);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self(major, minor, numbers.next().and_then(Result::ok).unwrap_or(0)))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The oldest kernel that the executors work on, as glommio states it:
/// <https://docs.rs/glommio/0.9.0/glommio/>
const OLDEST: Release = Release(5, 8, 0);

/// Versions with a known fault.
struct KnownBad {
    id: &'static str,
    /// First that has it.
    from: Release,
    /// First that has it no more.
    until: Release,
    /// On this file system only.
    file_system: Option<&'static str>,
    /// What goes wrong, and for whom.
    fault: &'static str,
    /// Who says so.
    source: &'static str,
}

const HANG: &str = "processes that use io_uring were seen to hang for good in this version";
const HANG_6_1: &str = "https://github.com/axboe/liburing/issues/1289";
const AUDIT: &str =
    "where the audit system watches, opening files through io_uring can crash the kernel";
const LOST_WRITES: &str = "io_uring can lose the completion of a write, and the server then waits \
                           for ever";
const LOST_WRITES_SOURCE: &str = "https://github.com/MariaDB/server/pull/1953";

const KNOWN_BAD: &[KnownBad] = &[
    // MDEV-26674, for kernels since 5.11; the fix is in the changes of 5.14.19 and of 5.15.3.
    KnownBad {
        id: "kernel.lost_writes",
        from: Release(5, 11, 0),
        until: Release(5, 14, 19),
        file_system: None,
        fault: LOST_WRITES,
        source: LOST_WRITES_SOURCE,
    },
    KnownBad {
        id: "kernel.lost_writes",
        from: Release(5, 15, 0),
        until: Release(5, 15, 3),
        file_system: None,
        fault: LOST_WRITES,
        source: LOST_WRITES_SOURCE,
    },
    // Came with 5.16, repaired in 6.1.60, 6.5.9 and 6.6; glommio opens files through its rings.
    KnownBad {
        id: "kernel.audit",
        from: Release(5, 16, 0),
        until: Release(6, 1, 60),
        file_system: None,
        fault: AUDIT,
        source: "https://github.com/linuxkit/linuxkit/issues/3962",
    },
    KnownBad {
        id: "kernel.audit",
        from: Release(6, 2, 0),
        until: Release(6, 5, 9),
        file_system: None,
        fault: AUDIT,
        source: "https://github.com/linuxkit/linuxkit/issues/3962",
    },
    // 6.1.64 and 6.1.65 alone, as mainline releases go. It strikes writes at a file's own
    // position; the log names its offsets.
    KnownBad {
        id: "kernel.ext4_direct",
        from: Release(6, 1, 64),
        until: Release(6, 1, 66),
        file_system: Some("ext4"),
        fault: "on ext4 it puts direct writes into wrong places (those at a file's position, which \
                this server does not use, but others on this file system may)",
        source: "https://github.com/ValveSoftware/SteamOS/issues/1301, \
                 https://bugs.debian.org/1057843",
    },
    // Debian's 6.1.115 in the first source; Amazon's 6.1.115 bad and 6.1.119 good in
    // https://github.com/amazonlinux/amazon-linux-2023/issues/840. Where between 6.1.112 and
    // 6.1.115 it came in, neither says.
    KnownBad {
        id: "kernel.hang",
        from: Release(6, 1, 115),
        until: Release(6, 1, 119),
        file_system: None,
        fault: HANG,
        source: HANG_6_1,
    },
    // "6.6.57+" in the source; the patch was queued for 6.6 on the 6th of November 2024
    // (https://github.com/nix-community/infra/pull/1554), after 6.6.59.
    KnownBad {
        id: "kernel.hang",
        from: Release(6, 6, 57),
        until: Release(6, 6, 60),
        file_system: None,
        fault: HANG,
        source: "https://github.com/NixOS/nixpkgs/issues/353709",
    },
    // 6.15.3 good, 6.15.4 bad, 6.15.5 good. It strikes reads of event descriptors, by which
    // glommio wakes an executor.
    KnownBad {
        id: "kernel.slow_events",
        from: Release(6, 15, 4),
        until: Release(6, 15, 5),
        file_system: None,
        fault: "io_uring is very slow to notice that a thread is woken",
        source: "https://github.com/ghostty-org/ghostty/issues/7724, \
                 https://github.com/Locietta/xanmod-kernel-WSL2/issues/130",
    },
    // "xfs: fix error returns from xfs_bmapi_write", in 6.1.138. Segments are reserved so.
    KnownBad {
        id: "kernel.xfs_allocate",
        from: Release(5, 8, 0),
        until: Release(6, 1, 138),
        file_system: Some("xfs"),
        fault: "on XFS, reserving room for a file can fail as if the disk were full; appends then \
                wait or are refused too early",
        source: "https://github.com/IvorySQL/PGNexus/issues/154",
    },
];

/// What is known of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelFacts {
    /// `/proc/sys/kernel/osrelease`.
    pub osrelease: String,
    /// `/proc/version`, where Debian names the version its kernel is made from.
    pub version: String,
    /// `/proc/version_signature`, where Ubuntu does.
    pub signature: String,
    /// Name of the data directory's file system.
    pub file_system: String,
}

/// Reads what the kernel says of itself.
#[must_use]
pub fn gather(file_system: &str) -> KernelFacts {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    KernelFacts {
        osrelease: read("/proc/sys/kernel/osrelease"),
        version: read("/proc/version"),
        signature: read("/proc/version_signature"),
        file_system: file_system.to_owned(),
    }
}

/// The version of the kernel that this one is made from; `None` where its numbers do not tell.
fn upstream(facts: &KernelFacts) -> Option<Release> {
    if facts.osrelease.contains(".el") {
        return None; // Red Hat's keep the number of years ago and change everything else.
    }
    let debian = facts.version.split("Debian ").nth(1).and_then(Release::parse);
    let ubuntu = facts.signature.split_whitespace().last().and_then(Release::parse);
    debian.or(ubuntu).or_else(|| Release::parse(&facts.osrelease))
}

/// Holds the version against what is known.
#[must_use]
pub fn judge(facts: &KernelFacts) -> Vec<Finding> {
    let osrelease = &facts.osrelease;
    let stated = Release::parse(osrelease);
    if let Some(release) = stated.filter(|release| *release < OLDEST) {
        let old = Finding::failure("kernel.old", Group::Kernel, format!("Linux {release}"))
            .why(format!("the server needs operations of io_uring that came with {OLDEST}"))
            .advice("boot a newer kernel; 6.1 or later is best")
            .stops();
        return vec![old];
    }
    let Some(release) = upstream(facts) else {
        let what = match osrelease.as_str() {
            "" => "the kernel does not tell its version here".to_owned(),
            _ => format!("Linux {osrelease}"),
        };
        let unknown = Finding::note("kernel.unknown", Group::Kernel, what)
            .why("its number does not tell which faults of the original are repaired in it")
            .advice("keep it as new as its vendor has it");
        return vec![unknown];
    };
    let applies = |bad: &&KnownBad| {
        (bad.from..bad.until).contains(&release)
            && bad.file_system.is_none_or(|name| name == facts.file_system)
    };
    let warn = |bad: &KnownBad| {
        Finding::warning(bad.id, Group::Kernel, format!("Linux {release} ({osrelease})"))
            .why(format!("{} ({})", bad.fault, bad.source))
            .advice(format!(
                "boot {} or a later version, unless its vendor says that this is repaired",
                bad.until
            ))
    };
    let mut findings: Vec<Finding> = KNOWN_BAD.iter().filter(applies).map(warn).collect();
    if findings.is_empty() {
        let what = format!("Linux {release}, in no range of versions known to be bad");
        findings.push(Finding::ok("kernel.version", Group::Kernel, what));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(osrelease: &str, version: &str, signature: &str, file_system: &str) -> KernelFacts {
        let [osrelease, version, signature, file_system] =
            [osrelease, version, signature, file_system].map(str::to_owned);
        KernelFacts { osrelease, version, signature, file_system }
    }

    #[test]
    fn versions_and_what_is_known_of_them() {
        let debian = "Linux version 6.1.0-27-amd64 (x) #1 SMP Debian 6.1.115-1 (2024-11-01)";
        let ubuntu = "Ubuntu 6.5.0-9.9-generic 6.5.3";
        for (facts, expected) in [
            (facts("6.18.44", "", "", "ext4"), &["kernel.version"][..]),
            (facts("5.4.0-42-generic", "", "", "ext4"), &["kernel.old"]),
            (facts("5.7.99", "", "", "ext4"), &["kernel.old"]),
            (facts("5.10.216", "", "", "ext4"), &["kernel.version"]),
            (facts("5.14.18-300.fc35.x86_64", "", "", "ext4"), &["kernel.lost_writes"]),
            (facts("5.14.19", "", "", "ext4"), &["kernel.version"]),
            (facts("5.14.0-427.el9.x86_64", "", "", "ext4"), &["kernel.unknown"]),
            (facts("5.15.2", "", "", "ext4"), &["kernel.lost_writes"]),
            (facts("5.15.3", "", "", "ext4"), &["kernel.version"]),
            (facts("6.0.7", "", "", "ext4"), &["kernel.audit"]),
            (facts("6.1.60", "", "", "ext4"), &["kernel.version"]),
            (facts("6.1.65", "", "", "ext4"), &["kernel.ext4_direct"]),
            (facts("6.1.65", "", "", "btrfs"), &["kernel.version"]),
            (facts("6.1.66", "", "", "ext4"), &["kernel.version"]),
            (facts("6.1.0-27-amd64", debian, "", "ext4"), &["kernel.hang"]),
            (facts("6.1.119-129.201.amzn2023", "", "", "ext4"), &["kernel.version"]),
            (facts("6.1.116", "", "", "xfs"), &["kernel.hang", "kernel.xfs_allocate"]),
            (facts("6.1.138", "", "", "xfs"), &["kernel.version"]),
            (facts("6.5.0-9-generic", "", ubuntu, "ext4"), &["kernel.audit"]),
            (facts("6.6.59", "", "", "ext4"), &["kernel.hang"]),
            (facts("6.6.60", "", "", "ext4"), &["kernel.version"]),
            (facts("6.15.4", "", "", "ext4"), &["kernel.slow_events"]),
            (facts("6.15.5", "", "", "ext4"), &["kernel.version"]),
            (facts("", "", "", "ext4"), &["kernel.unknown"]),
        ] {
            let found: Vec<&str> = judge(&facts).iter().map(|finding| finding.id).collect();
            assert_eq!(found, expected, "{facts:?}");
        }
    }

    #[test]
    fn every_range_names_a_source_and_is_not_empty() {
        for bad in KNOWN_BAD {
            assert!(bad.from < bad.until && bad.source.starts_with("https://"), "{}", bad.id);
        }
    }

    #[test]
    fn only_a_kernel_that_cannot_do_it_stops_the_server() {
        assert!(judge(&facts("5.4.1", "", "", "ext4"))[0].stops_server);
        assert!(!judge(&facts("6.15.4", "", "", "ext4"))[0].stops_server);
    }

    #[test]
    fn releases_are_read_however_they_end() {
        for (text, expected) in [
            ("6.1.0-27-amd64", Some(Release(6, 1, 0))),
            ("6.8", Some(Release(6, 8, 0))),
            ("6.18.44-fc-v857", Some(Release(6, 18, 44))),
            ("7.0-rc6", Some(Release(7, 0, 0))),
            ("6", None),
            ("", None),
            ("x.y", None),
        ] {
            assert_eq!(Release::parse(text), expected, "{text:?}");
        }
    }
}
