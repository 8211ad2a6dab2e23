//! What the operating system says of itself and of a directory: asked for, never changed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, FallocateFlags, StatVfsMountFlags, StatxFlags};
use rustix::io_uring::{io_uring_params, io_uring_setup};
use rustix::process::{Resource, geteuid, getrlimit};
use rustix::thread::{CapabilitySet, capabilities, sched_getaffinity};

/// Entries of the ring that is tried, as many as each of an executor's rings has.
const RING_ENTRIES: u32 = 128;

/// Sets up a ring of `io_uring` and gives it back.
///
/// * Errors: the system's error number.
pub fn try_ring() -> Result<(), i32> {
    let mut params = io_uring_params::default();
    // SAFETY: the parameters ask for nothing, so the kernel takes no pointer from them; it only
    // fills them in. The ring is never mapped or entered, and closed here.
    let ring = unsafe { io_uring_setup(RING_ENTRIES, &mut params) };
    ring.map(drop).map_err(rustix::io::Errno::raw_os_error)
}

/// Bytes that the process may lock in memory; `None` is no limit. Who has the capability for it
/// lifts the limit at start.
#[must_use]
pub fn locked_bytes_max() -> Option<u64> {
    let is_free = |sets: rustix::thread::CapabilitySets| {
        let lifts = CapabilitySet::IPC_LOCK | CapabilitySet::SYS_RESOURCE;
        sets.effective.contains(lifts)
    };
    if capabilities(None).is_ok_and(is_free) { None } else { getrlimit(Resource::Memlock).maximum }
}

/// Files and connections that the process may ask to have open; `None` is no limit.
#[must_use]
pub fn open_files_max() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// How many processors this thread may run on.
#[must_use]
pub fn processors() -> Option<u32> {
    sched_getaffinity(None).ok().map(|set| set.count())
}

/// The user whose rights the process has.
#[must_use]
pub fn effective_user() -> u32 {
    geteuid().as_raw()
}

/// A file system, as seen from one of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// Files that may still be made; zero of zero where they are not counted.
    pub free_inodes: u64,
    /// Files in all.
    pub inodes: u64,
    /// Nothing can be written.
    pub is_read_only: bool,
}

/// Asks the file system that holds `path`.
///
/// * Errors: the operating system's.
pub fn volume(path: &Path) -> std::io::Result<Volume> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Volume {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_inodes: stat.f_favail,
        inodes: stat.f_files,
        is_read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

/// What direct I/O on `file` must be aligned to, in bytes: memory, then offsets and lengths. Zeros
/// say that there is none; `None`, that the kernel or the file system does not say (Linux 6.1).
#[must_use]
pub fn direct_alignment(file: &File) -> Option<(u32, u32)> {
    let stat = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::DIOALIGN);
    known.then_some((stat.stx_dio_mem_align, stat.stx_dio_offset_align))
}

/// Opens an existing file to write it directly, past the page cache.
///
/// * Errors: the operating system's; `EINVAL` where the file system has no direct I/O.
pub fn open_direct(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path)
}

/// Reserves the first `len_bytes` of `file`.
///
/// * Errors: the operating system's, as when there is no room.
pub fn allocate(file: &File, len_bytes: u64) -> std::io::Result<()> {
    Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len_bytes)?)
}

/// Major and minor number of a device, out of one number as `stat` gives it.
#[must_use]
pub fn device_numbers(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}
