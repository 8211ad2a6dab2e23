//! The seam on glommio: io_uring, `O_DIRECT`, the executor's timers.
//!
//! Facts it deals with: writes may be short, `DmaBuffer`s come uninitialised, a dropped write is
//! cancelled asynchronously (so the buffer is shared by `Rc` and outlives the future), and the
//! alignment glommio reports is the logical block size, which is finer than ours.

use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use glommio::io::{Directory, DmaBuffer, DmaFile, OpenOptions, ReadResult};
use glommio::{GlommioError, TaskQueueHandle};
use rustix::rand::{GetRandomFlags, getrandom};

use super::socket::VectoredSocket;
use super::{
    BLOCK_BYTES, Buffer, Clock, Disk, Extent, IoError, IoResult, Load, LogFile, Network, Rng,
    Tasks, pin,
};

/// No time to speak of; but an executor looks at its rings before it notices that it is over.
const ROUND: Duration = Duration::from_micros(5);

/// Disk, clock and randomness of the executor that uses it; one per shard.
#[derive(Debug)]
pub struct GlommioIo {
    root: PathBuf,
    writable: bool,
    started: Instant,
    seed: Cell<u64>,
}

impl GlommioIo {
    /// The seam over the directory `root`, which must exist. Call it on the shard's executor.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock that the ban points to")]
    pub fn new(root: &Path) -> Self {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), root);
        // glommio opens by absolute path: it names no directory for a relative one to start from.
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { root, writable: true, started: Instant::now(), seed: seed.into() }
    }

    /// The same, with files opened for reading only: a write fails at the operating system.
    #[must_use]
    pub fn read_only(root: &Path) -> Self {
        Self { writable: false, ..Self::new(root) }
    }

    fn open_plain(&self, name: &str) -> std::io::Result<std::fs::File> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(self.writable).custom_flags(libc::O_DIRECT);
        options.open(self.root.join(name))
    }

    fn fail(
        operation: &'static str,
        file: &str,
        extent: Extent,
        source: impl Into<std::io::Error>,
    ) -> IoError {
        IoError {
            operation,
            file: file.to_owned(),
            offset_bytes: extent.offset_bytes,
            len_bytes: extent.len_bytes as u64,
            source: source.into(),
        }
    }
}

/// Creates a file that holds one block of zeros.
///
/// On the first file of a device that a thread opens, glommio tries whether reads may be polled
/// for, by reading; at the end of an empty file that seems to work whatever the device can do, and
/// then every later read fails with `EOPNOTSUPP`. So no file that it opens is empty.
fn create_readable(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    std::io::Write::write_all(&mut file, &[0; BLOCK_BYTES]).inspect_err(|_| {
        if let Err(error) = std::fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "could not remove a file without room");
        }
    })
}

const NOWHERE: Extent = Extent { offset_bytes: 0, len_bytes: 0 };

/// The operating system's error inside glommio's, so that its kind is kept.
fn cause(error: GlommioError<()>) -> std::io::Error {
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        other => std::io::Error::other(other.to_string()),
    }
}

impl Buffer for DmaBuffer {
    fn truncate(&mut self, len_bytes: usize) {
        self.trim_to_size(len_bytes);
    }
}

/// Longest read that is copied out of the memory it was read into, in bytes: up to here that is
/// most likely of the little memory that the rings have registered. Reads and writes that find
/// some free there are quicker, and whoever reads may keep what it gets for long.
const COPIED_BYTES_MAX: usize = 256 * 1024;

/// What was read.
#[derive(Debug)]
pub enum GlommioRead {
    /// A copy.
    Copied(Vec<u8>),
    /// The memory that the device put it into.
    Direct(ReadResult),
}

impl AsRef<[u8]> for GlommioRead {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Direct(read) => read,
        }
    }
}

/// A file opened through glommio with `O_DIRECT`.
#[derive(Debug)]
pub struct GlommioFile {
    file: DmaFile,
    /// The same file, also for direct I/O, for system calls that hold the thread.
    plain: std::fs::File,
    name: String,
}

impl LogFile for GlommioFile {
    type Buf = DmaBuffer;
    type Read = GlommioRead;

    fn name(&self) -> &str {
        &self.name
    }

    async fn write_at(&self, buf: Rc<DmaBuffer>, offset_bytes: u64) -> IoResult<()> {
        let len_bytes = buf.len();
        let extent = Extent { offset_bytes, len_bytes };
        debug_assert!(len_bytes.is_multiple_of(BLOCK_BYTES));
        let fail = |source| GlommioIo::fail("write", &self.name, extent, source);
        let mut written = self
            .file
            .write_rc_at(Rc::clone(&buf), offset_bytes)
            .await
            .map_err(|e| fail(cause(e)))?;
        // A short write is rare (a signal, a nearly full disk); the rest goes out block by block
        // from a copy, since the disk can only be handed whole buffers.
        while written < len_bytes {
            if written == 0 || !written.is_multiple_of(BLOCK_BYTES) {
                let short = std::io::Error::new(std::io::ErrorKind::WriteZero, "short write");
                return Err(fail(short));
            }
            let mut rest = self.file.alloc_dma_buffer(len_bytes - written);
            rest.as_bytes_mut().copy_from_slice(&buf.as_bytes()[written..]);
            let more = self.file.write_at(rest, offset_bytes + written as u64).await;
            let more = more.map_err(|e| fail(cause(e)))?;
            if more == 0 {
                let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
                return Err(fail(full));
            }
            written += more;
        }
        Ok(())
    }

    async fn read_at(&self, extent: Extent) -> IoResult<GlommioRead> {
        let fail = |source| GlommioIo::fail("read", &self.name, extent, source);
        let read = self.file.read_at_aligned(extent.offset_bytes, extent.len_bytes).await;
        let read = read.map_err(|e| fail(cause(e)))?;
        if read.len() < extent.len_bytes {
            return Err(fail(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(if read.len() <= COPIED_BYTES_MAX {
            GlommioRead::Copied(read.to_vec())
        } else {
            GlommioRead::Direct(read)
        })
    }

    async fn sync(&self) -> IoResult<()> {
        let synced = self.file.fdatasync().await;
        synced.map_err(|e| GlommioIo::fail("sync", &self.name, NOWHERE, cause(e)))
    }

    /// Plain system calls: through io_uring this thread would sleep twice, once for the write and
    /// once for the thread to which the kernel hands the sync, and on a quick device each of those
    /// wake-ups takes as long as the work.
    async fn write_held(&self, buf: Rc<DmaBuffer>, offset_bytes: u64) -> IoResult<()> {
        let extent = Extent { offset_bytes, len_bytes: buf.len() };
        let written = self.plain.write_all_at(buf.as_bytes(), offset_bytes);
        written.map_err(|e| GlommioIo::fail("write", &self.name, extent, e))?;
        self.plain.sync_data().map_err(|e| GlommioIo::fail("sync", &self.name, NOWHERE, e))
    }
}

impl Disk for GlommioIo {
    type Buf = DmaBuffer;
    type File = GlommioFile;

    fn alloc(&self, len_bytes: usize) -> DmaBuffer {
        debug_assert!(len_bytes > 0 && len_bytes.is_multiple_of(BLOCK_BYTES));
        glommio::allocate_dma_buffer(len_bytes)
    }

    async fn create(&self, name: &str, len_bytes: u64) -> IoResult<GlommioFile> {
        let path = self.root.join(name);
        let fail = |source| Self::fail("create", name, NOWHERE, source);
        create_readable(&path).map_err(fail)?;
        let opened = OpenOptions::new().read(true).write(true).dma_open(&path).await;
        let file = opened.map_err(|e| fail(cause(e)))?;
        if len_bytes > 0
            && let Err(error) = file.pre_allocate(len_bytes, false).await
        {
            // Leave nothing half made: the name is tried again when there is room.
            let removed = std::fs::remove_file(&path);
            if let Err(error) = removed {
                tracing::warn!(file = name, %error, "could not remove a file that found no room");
            }
            return Err(fail(cause(error)));
        }
        let plain = self.open_plain(name).map_err(fail)?;
        Ok(GlommioFile { file, plain, name: name.to_owned() })
    }

    async fn open(&self, name: &str) -> IoResult<GlommioFile> {
        let fail = |source| Self::fail("open", name, NOWHERE, source);
        let plain = self.open_plain(name).map_err(fail)?;
        // A file may be removed meanwhile, by a server that we look on or by another task, and
        // glommio panics when the name is gone between its open and its look at the file system:
        // it gets one that stays.
        let stays = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), plain.as_raw_fd()));
        let path = if stays.exists() { stays } else { self.root.join(name) };
        let opened = OpenOptions::new().read(true).write(self.writable).dma_open(path).await;
        let file = opened.map_err(|e| fail(cause(e)))?;
        Ok(GlommioFile { file, plain, name: name.to_owned() })
    }

    fn list(&self) -> IoResult<Vec<(String, u64)>> {
        let fail = |source: std::io::Error| Self::fail("list", ".", NOWHERE, source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.root).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let metadata = entry.metadata().map_err(fail)?;
            if metadata.is_file() {
                names.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
            }
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> IoResult<()> {
        let renamed = std::fs::rename(self.root.join(from), self.root.join(to));
        renamed.map_err(|e| Self::fail("rename", from, NOWHERE, e))
    }

    fn remove(&self, name: &str) -> IoResult<()> {
        let removed = std::fs::remove_file(self.root.join(name));
        removed.map_err(|e| Self::fail("remove", name, NOWHERE, e))
    }

    async fn sync_dir(&self) -> IoResult<()> {
        let fail = |e| Self::fail("sync", ".", NOWHERE, cause(e));
        let directory = Directory::open(&self.root).await.map_err(fail)?;
        directory.sync().await.map_err(fail)?;
        directory.close().await.map_err(fail)
    }

    fn is_pinned(&self) -> bool {
        self.root.parent().is_some_and(pin::is_held)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that the ban points to")]
impl Clock for GlommioIo {
    fn now_us(&self) -> u64 {
        let elapsed = Instant::now().duration_since(self.started).as_micros();
        u64::try_from(elapsed).expect("584,000 years of uptime")
    }

    fn wall_us(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).expect("584,000 years since 1970")
    }

    async fn sleep_us(&self, us: u64) {
        glommio::timer::sleep(Duration::from_micros(us)).await;
    }
}

impl Rng for GlommioIo {
    /// SplitMix64 from a seed of the operating system.
    fn next_u64(&self) -> u64 {
        let state = self.seed.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.seed.set(state);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From the operating system, each time: a generator of our own would have a state to copy.
    fn secret_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        let mut filled = 0;
        while filled < N {
            filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())
                .expect("the kernel has random bytes once it has booted");
        }
        bytes
    }
}

impl Tasks for GlommioIo {
    type Queue = TaskQueueHandle;

    fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static, queue: TaskQueueHandle) {
        match glommio::spawn_local_into(task, queue) {
            Ok(task) => drop(task.detach()),
            Err(error) => tracing::error!(%error, "a task could not be started"),
        }
    }

    async fn run_to_end<T: 'static>(
        &self,
        task: impl Future<Output = T> + 'static,
        queue: TaskQueueHandle,
    ) -> Option<T> {
        glommio::spawn_local_into(task, queue).ok()?.detach().await
    }

    async fn look_around(&self) {
        glommio::timer::sleep(ROUND).await;
    }

    fn take_load(&self) -> Load {
        // Glommio starts anew each time it is asked.
        let stats = glommio::executor().executor_stats();
        let busy_us = u64::try_from(stats.total_runtime().as_micros()).unwrap_or(u64::MAX);
        Load { busy_us, tasks: stats.tasks_executed() }
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        glommio::executor().spawn_blocking(work).await
    }
}

impl Network for GlommioIo {
    type Socket = VectoredSocket;
}

#[cfg(test)]
mod tests {
    use glommio::LocalExecutorBuilder;

    use super::*;

    #[test]
    fn a_file_can_be_read_on_the_executor_that_created_the_first_one() {
        let outer = tempfile::TempDir::new().unwrap();
        let executor = LocalExecutorBuilder::default().make().unwrap();
        executor.run(async {
            let io = GlommioIo::new(outer.path());
            let file = io.create("a", 4 * BLOCK_BYTES as u64).await.unwrap();
            let mut buf = io.alloc(BLOCK_BYTES);
            buf.as_mut().fill(7);
            file.write_at(Rc::new(buf), BLOCK_BYTES as u64).await.unwrap();
            // Alone: a read that also meets unwritten space is not polled for.
            let extent = Extent { offset_bytes: BLOCK_BYTES as u64, len_bytes: BLOCK_BYTES };
            assert_eq!(file.read_at(extent).await.unwrap().as_ref(), [7; BLOCK_BYTES]);
            let extent = Extent { offset_bytes: 0, len_bytes: 3 * BLOCK_BYTES };
            let read = file.read_at(extent).await.unwrap();
            let (zeros, rest) = read.as_ref().split_at(BLOCK_BYTES);
            let (sevens, more_zeros) = rest.split_at(BLOCK_BYTES);
            assert!(zeros.iter().chain(more_zeros).all(|b| *b == 0));
            assert!(sevens.iter().all(|b| *b == 7));
            assert_eq!(io.list().unwrap(), [("a".to_owned(), 4 * BLOCK_BYTES as u64)]);
            assert!(io.create("a", BLOCK_BYTES as u64).await.is_err(), "it exists");
            assert_eq!(io.list().unwrap().len(), 1, "and still does");
        });
    }

    #[test]
    fn who_only_reads_is_not_hurt_by_files_that_are_removed_meanwhile() {
        let outer = tempfile::TempDir::new().unwrap();
        let path = outer.path().join("a");
        let executor = LocalExecutorBuilder::default().make().unwrap();
        std::thread::scope(|scope| {
            // Ends by itself, also when the other side panics.
            let other = scope.spawn(|| {
                for _ in 0..20_000 {
                    std::fs::write(&path, [1; BLOCK_BYTES]).unwrap();
                    std::fs::remove_file(&path).unwrap();
                }
            });
            executor.run(async {
                let io = GlommioIo::read_only(outer.path());
                while !other.is_finished() {
                    // There or not: either is an answer, a panic is none.
                    drop(io.open("a").await);
                }
            });
        });
    }

    #[test]
    fn a_read_only_seam_cannot_write() {
        let outer = tempfile::TempDir::new().unwrap();
        std::fs::write(outer.path().join("a"), [1; BLOCK_BYTES]).unwrap();
        let executor = LocalExecutorBuilder::default().make().unwrap();
        executor.run(async {
            let io = GlommioIo::read_only(outer.path());
            let file = io.open("a").await.unwrap();
            let extent = Extent { offset_bytes: 0, len_bytes: BLOCK_BYTES };
            assert_eq!(file.read_at(extent).await.unwrap().as_ref(), [1; BLOCK_BYTES]);
            let mut buf = io.alloc(BLOCK_BYTES);
            buf.as_mut().fill(0);
            assert!(file.write_at(Rc::new(buf), 0).await.is_err());
        });
    }
}
