//! The block devices below the data directory, and whether they have a cache that a power cut
//! empties.
//!
//! Linux says of each device whether its cache is volatile (`queue/write_cache`, which is `write
//! back` then): only to such a device does a sync send a flush. It says what the device said, or
//! whoever poses as one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::file_system::{is_in_memory, is_remote};
use super::finding::{Finding, Group};
use super::mounts::Mount;
use crate::io::host;

/// Devices below devices that are followed.
const DEPTH_MAX: usize = 8;

/// What a device says of its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// A flush empties it; a power cut loses it.
    Volatile,
    /// There is none, or it outlives a power cut.
    None,
    /// Nothing is said.
    Unknown,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name below `/sys/block`.
    pub name: String,
    /// Its cache.
    pub cache: Cache,
    /// Whether it takes writes that pass the cache (FUA).
    pub has_fua: bool,
    /// Whether it says that it turns.
    pub is_rotational: bool,
    /// The file behind a loop device.
    pub backing_file: Option<String>,
}

/// The devices that a file system is on, uppermost first; empty where none can be seen.
#[must_use]
pub fn gather(seen: &Path, mount: &Mount) -> Vec<Device> {
    let own = fs::metadata(seen).ok().map(|found| found.dev());
    let source = fs::metadata(&mount.source).ok().map(|found| found.rdev());
    // A layered file system has a device of its own that is none; the layer that is written may
    // be in sight.
    let upper = mount.value("upperdir").and_then(|dir| fs::metadata(dir).ok()).map(|dir| dir.dev());
    let sysfs = [own, source, upper].into_iter().flatten().filter(|number| *number != 0).find_map(
        |number| {
            let (major, minor) = host::device_numbers(number);
            fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()
        },
    );
    let mut devices = Vec::new();
    if let Some(path) = sysfs {
        follow(&path, 0, &mut devices);
    }
    devices
}

/// Adds the device at `path` and those that it is made of.
fn follow(path: &Path, depth: usize, devices: &mut Vec<Device>) {
    let whole = match path.parent() {
        // A partition's caches are those of its disk.
        Some(parent) if path.join("partition").exists() => parent.to_owned(),
        _ => path.to_owned(),
    };
    let device = read(&whole);
    if depth >= DEPTH_MAX || devices.contains(&device) {
        return;
    }
    devices.push(device);
    let slaves = fs::read_dir(whole.join("slaves")).into_iter().flatten().flatten();
    let mut below: Vec<PathBuf> =
        slaves.filter_map(|slave| fs::canonicalize(slave.path()).ok()).collect();
    below.sort();
    below.iter().for_each(|path| follow(path, depth + 1, devices));
}

fn read(path: &Path) -> Device {
    let text = |name: &str| fs::read_to_string(path.join(name)).ok().map(|t| t.trim().to_owned());
    let cache = match text("queue/write_cache").as_deref() {
        Some("write back") => Cache::Volatile,
        Some("write through") => Cache::None,
        _ => Cache::Unknown,
    };
    Device {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        cache,
        has_fua: text("queue/fua").as_deref() == Some("1"),
        is_rotational: text("queue/rotational").as_deref() == Some("1"),
        backing_file: text("loop/backing_file"),
    }
}

/// Whether something below has a volatile cache: what all of them say together.
#[must_use]
pub fn cache_of(devices: &[Device]) -> Cache {
    if devices.iter().any(|device| device.cache == Cache::Volatile) {
        Cache::Volatile
    } else if devices.is_empty() || devices.iter().any(|device| device.cache == Cache::Unknown) {
        Cache::Unknown
    } else {
        Cache::None
    }
}

/// Says what is known of the devices.
#[must_use]
pub fn judge(mount: &Mount, devices: &[Device], is_virtual: bool) -> Vec<Finding> {
    if is_in_memory(&mount.kind) || is_remote(&mount.kind) {
        return Vec::new(); // The file system's own finding says it.
    }
    if devices.is_empty() {
        let what = "the devices below cannot be seen from here";
        let unseen = Finding::note("device.unknown", Group::Storage, what)
            .why("so whether a cache of theirs is volatile cannot be said");
        return vec![unseen];
    }
    devices.iter().flat_map(|device| judge_one(device, is_virtual)).collect()
}

fn judge_one(device: &Device, is_virtual: bool) -> Vec<Finding> {
    let name = &device.name;
    let mut findings = Vec::new();
    if name.starts_with("zram") || name.starts_with("ram") {
        let memory = Finding::failure("device.memory", Group::Storage, format!("{name} is memory"))
            .why("everything is lost when the machine stops")
            .advice("put the data directory on a disk");
        return vec![memory];
    }
    if let Some(file) = &device.backing_file {
        let what = format!("{name} is the file {file}");
        let looped = Finding::note("device.loop", Group::Storage, what)
            .why("each write and sync passes a second file system, and its disk is not looked at");
        findings.push(looped);
    }
    let fua = if device.has_fua { ", can write past it (FUA)" } else { "" };
    findings.push(match device.cache {
        Cache::Volatile => {
            let what = format!("{name} has a volatile cache{fua}: each sync sends a flush");
            Finding::ok("device.cache", Group::Storage, what)
        }
        Cache::None => {
            let what = format!("{name} says that it has no volatile cache: a sync sends no flush");
            let through = Finding::ok("device.cache", Group::Storage, what);
            if is_virtual {
                let what = through.what;
                Finding::note("device.trust", Group::Storage, what).why(
                    "in a virtual machine that is the host's word, and all durability is on it",
                )
            } else {
                through
            }
        }
        Cache::Unknown => {
            let what = format!("{name} does not say whether its cache is volatile");
            Finding::note("device.cache", Group::Storage, what)
        }
    });
    // Virtual disks often say that they turn, whatever they are on.
    if device.is_rotational && !is_virtual && device.backing_file.is_none() {
        let turns = Finding::warning("device.rotational", Group::Storage, format!("{name} turns"))
            .why("a sync waits for the platter: some ten milliseconds each")
            .advice("use a solid-state drive, best one with protection against power loss");
        findings.push(turns);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, cache: Cache) -> Device {
        let name = name.to_owned();
        Device { name, cache, has_fua: false, is_rotational: false, backing_file: None }
    }

    #[test]
    fn devices_and_what_is_said_of_them() {
        let ext4 = Mount { kind: "ext4".to_owned(), ..Mount::default() };
        let turning = || Device { is_rotational: true, ..device("sda", Cache::Volatile) };
        let backing_file = Some("/var/x.img".to_owned());
        let looped = Device { backing_file, ..device("loop0", Cache::None) };
        for (devices, is_virtual, expected) in [
            (vec![device("nvme0n1", Cache::Volatile)], false, &["device.cache"][..]),
            (vec![device("nvme0n1", Cache::None)], false, &["device.cache"]),
            (vec![device("vda", Cache::None)], true, &["device.trust"]),
            (vec![turning()], false, &["device.cache", "device.rotational"]),
            (vec![turning()], true, &["device.cache"]),
            (vec![looped], false, &["device.loop", "device.cache"]),
            (vec![device("zram0", Cache::Volatile)], false, &["device.memory"]),
            (vec![device("dm-0", Cache::Unknown)], false, &["device.cache"]),
            (vec![], false, &["device.unknown"]),
        ] {
            let found = judge(&ext4, &devices, is_virtual);
            let ids: Vec<&str> = found.iter().map(|finding| finding.id).collect();
            assert_eq!(ids, expected, "{devices:?}");
        }
        let tmpfs = Mount { kind: "tmpfs".to_owned(), ..Mount::default() };
        assert!(judge(&tmpfs, &[], false).is_empty());
    }

    #[test]
    fn one_volatile_cache_makes_all_of_it_volatile() {
        let of = |caches: &[Cache]| {
            cache_of(&caches.iter().map(|cache| device("x", *cache)).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), Cache::Unknown);
        assert_eq!(of(&[Cache::None, Cache::None]), Cache::None);
        assert_eq!(of(&[Cache::None, Cache::Volatile, Cache::Unknown]), Cache::Volatile);
        assert_eq!(of(&[Cache::None, Cache::Unknown]), Cache::Unknown);
    }

    /// `sys/dm-0` on a partition of `sys/sda`, as the kernel lays it out.
    #[test]
    fn a_stack_is_followed_through_partitions() {
        let sys = tempfile::tempdir().unwrap();
        let sys = fs::canonicalize(sys.path()).unwrap();
        let write = |name: &str, text: &str| {
            fs::create_dir_all(sys.join(name).parent().unwrap()).unwrap();
            fs::write(sys.join(name), text).unwrap();
        };
        write("sda/queue/write_cache", "write back\n");
        write("sda/queue/fua", "1\n");
        write("sda/queue/rotational", "1\n");
        write("sda/sda1/partition", "1\n");
        write("dm-0/queue/write_cache", "write through\n");
        fs::create_dir_all(sys.join("dm-0/slaves")).unwrap();
        std::os::unix::fs::symlink("../../sda/sda1", sys.join("dm-0/slaves/sda1")).unwrap();
        let mut devices = Vec::new();
        follow(&sys.join("dm-0"), 0, &mut devices);
        let disk = Device { has_fua: true, is_rotational: true, ..device("sda", Cache::Volatile) };
        assert_eq!(devices, [device("dm-0", Cache::None), disk]);
    }
}
