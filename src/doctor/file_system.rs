//! The data directory's file system: whether it lasts, and whether it can be written directly.

use super::finding::{Finding, Group};
use super::mounts::Mount;
use super::trial::Trial;
use crate::io::BLOCK_BYTES;

const EINVAL: i32 = 22;

/// File systems that live in memory.
const IN_MEMORY: &[&str] = &["tmpfs", "ramfs", "rootfs"];
/// File systems whose disks are elsewhere, or behind a program.
const REMOTE: &[&str] =
    &["nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "virtiofs", "glusterfs", "lustre", "fuse"];

/// Whether the file system lives in memory.
#[must_use]
pub fn is_in_memory(kind: &str) -> bool {
    IN_MEMORY.contains(&kind)
}

/// Whether its disks are elsewhere, or behind a program.
#[must_use]
pub fn is_remote(kind: &str) -> bool {
    REMOTE.contains(&kind) || kind.starts_with("fuse.")
}

/// Judges the file system by its kind, its options, and a block that was written to it.
#[must_use]
pub fn judge(mount: &Mount, trial: Trial) -> Vec<Finding> {
    let mut findings = vec![kind(mount)];
    findings.extend(options(mount));
    findings.extend(direct(mount, trial));
    findings
}

fn kind(mount: &Mount) -> Finding {
    let kind = &mount.kind;
    let what = format!("{kind} on {} ({})", mount.source, mount.point.display());
    if is_in_memory(kind) {
        return Finding::failure("storage.memory", Group::Storage, what)
            .why("it is in memory: everything that was acknowledged is lost when the machine stops")
            .advice("put the data directory on a disk; for tests alone it may stay here");
    }
    if is_remote(kind) {
        return Finding::warning("storage.remote", Group::Storage, what)
            .why(
                "its disks are elsewhere: what a sync means there cannot be known from here, and \
                 neither can whether a lock keeps servers on other machines away",
            )
            .advice("prefer a local disk; else make sure that whoever serves it honours syncs");
    }
    match kind.as_str() {
        "ext4" | "xfs" => Finding::ok("storage.kind", Group::Storage, what),
        "overlay" => Finding::warning("storage.overlay", Group::Storage, what)
            .why("it is the layer of a container: it goes when the container is removed")
            .advice("mount a volume at the data directory"),
        "btrfs" | "zfs" | "bcachefs" => {
            Finding::note("storage.copy_on_write", Group::Storage, what).why(
                "it writes every block to a new place, so a sync takes longer than on ext4 or XFS",
            )
        }
        "" => Finding::note("storage.unknown", Group::Storage, "a file system that is not known"),
        _ => {
            Finding::note("storage.kind", Group::Storage, what).why("the server is tested on ext4")
        }
    }
}

/// Options that take from a sync what it promises, or from direct I/O that it is direct:
/// <https://docs.kernel.org/admin-guide/ext4.html> (`barrier`, `data=journal`).
fn options(mount: &Mount) -> Option<Finding> {
    let no_barrier = ["nobarrier", "barrier=0"].into_iter().find(|option| mount.has(option));
    if let Some(option) = no_barrier {
        let what = format!("mounted with {option}");
        return Some(
            Finding::failure("storage.no_barrier", Group::Storage, what)
                .why("a sync does not flush the device's cache: a power cut takes what it holds")
                .advice("mount it without that option"),
        );
    }
    (mount.kind == "ext4" && mount.has("data=journal")).then(|| {
        Finding::warning("storage.data_journal", Group::Storage, "mounted with data=journal")
            .why("ext4 then has no direct I/O and writes everything twice")
            .advice("mount it with data=ordered, the default")
    })
}

fn direct(mount: &Mount, trial: Trial) -> Option<Finding> {
    let said = |number| std::io::Error::from_raw_os_error(number);
    match trial {
        // The directory's own check speaks of that.
        Trial::NotMade(_) => None,
        Trial::NotDirect(EINVAL) | Trial::NotWritten(EINVAL) => {
            let what = format!("{} refuses direct I/O (O_DIRECT)", mount.kind);
            let finding = Finding::failure("storage.no_direct", Group::Storage, what)
                .why(
                    "the server writes past the page cache in blocks of 4096 bytes; tmpfs knows \
                     that since Linux 6.6, and some network and FUSE file systems do not",
                )
                .advice("put the data directory on ext4 or XFS");
            Some(finding.stops())
        }
        Trial::NotDirect(number) | Trial::NotWritten(number) => {
            let what = format!("a block could not be written: {}", said(number));
            let finding = Finding::failure("storage.write", Group::Storage, what)
                .why("the server could not write its log either")
                .advice("look into dmesg for errors of the device; check space and quota");
            Some(finding)
        }
        Trial::Written { alignment: Some((_, offset)) } if offset as usize > BLOCK_BYTES => {
            let what = format!("direct I/O in units of {offset} bytes");
            let finding = Finding::warning("storage.alignment", Group::Storage, what)
                .why(format!(
                    "the log is written in blocks of {BLOCK_BYTES} bytes; that went well here, but \
                     each may take reading and writing such a unit"
                ))
                .advice("use a device or a file system with blocks of at most 4096 bytes");
            Some(finding)
        }
        Trial::Written { alignment: Some((0, 0)) } => Some(
            Finding::note("storage.buffered", Group::Storage, "direct writes seem to be buffered")
                .why(
                    "the kernel says that files here have no direct I/O, though a write went well",
                ),
        ),
        Trial::Written { alignment } => {
            let aligned = match alignment {
                Some((memory, offset)) => {
                    format!(", aligned to {offset} bytes ({memory} in memory)")
                }
                None => String::new(),
            };
            let what = format!("direct I/O works{aligned}");
            Some(Finding::ok("storage.direct", Group::Storage, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    fn mount(kind: &str, options: &str) -> Mount {
        Mount {
            point: "/data".into(),
            kind: kind.to_owned(),
            source: "/dev/vda".to_owned(),
            options: options.split(',').map(str::to_owned).collect(),
        }
    }

    #[test]
    fn file_systems_and_their_options() {
        let written = Trial::Written { alignment: Some((4, 512)) };
        for (kind, options, expected) in [
            ("ext4", "rw", &["storage.kind", "storage.direct"][..]),
            ("ext4", "rw,barrier=0", &["storage.kind", "storage.no_barrier", "storage.direct"]),
            ("ext4", "data=journal", &["storage.kind", "storage.data_journal", "storage.direct"]),
            ("xfs", "rw,nobarrier", &["storage.kind", "storage.no_barrier", "storage.direct"]),
            ("tmpfs", "rw", &["storage.memory", "storage.direct"]),
            ("nfs4", "rw", &["storage.remote", "storage.direct"]),
            ("fuse.sshfs", "rw", &["storage.remote", "storage.direct"]),
            ("fuseblk", "rw", &["storage.kind", "storage.direct"]),
            ("overlay", "rw", &["storage.overlay", "storage.direct"]),
            ("btrfs", "rw", &["storage.copy_on_write", "storage.direct"]),
            ("", "", &["storage.unknown", "storage.direct"]),
        ] {
            let found = judge(&mount(kind, options), written);
            let ids: Vec<&str> = found.iter().map(|finding| finding.id).collect();
            assert_eq!(ids, expected, "{kind} {options}");
        }
    }

    #[test]
    fn what_came_of_a_direct_write() {
        let written = |alignment| Trial::Written { alignment };
        for (trial, expected) in [
            (Trial::NotMade(13), None),
            (Trial::NotDirect(22), Some(("storage.no_direct", Level::Failure, true))),
            (Trial::NotWritten(22), Some(("storage.no_direct", Level::Failure, true))),
            (Trial::NotWritten(5), Some(("storage.write", Level::Failure, false))),
            (written(None), Some(("storage.direct", Level::Ok, false))),
            (written(Some((4, 4096))), Some(("storage.direct", Level::Ok, false))),
            (written(Some((4, 8192))), Some(("storage.alignment", Level::Warning, false))),
            (written(Some((0, 0))), Some(("storage.buffered", Level::Note, false))),
        ] {
            let found = direct(&mount("ext4", ""), trial);
            let found = found.map(|finding| (finding.id, finding.level, finding.stops_server));
            assert_eq!(found, expected, "{trial:?}");
        }
    }
}
