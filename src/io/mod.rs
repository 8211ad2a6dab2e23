//! The seam to the outside: disk, clock, randomness, tasks and connections, and nothing about what
//! bytes mean.
//!
//! Everything below `shard` that waits does so through these traits, so a test can put a
//! simulated disk and clock underneath. `io::glommio` is the real thing; it is the only room that
//! names glommio's files and timers. `io::sim` keeps disk, clock, dice and network in memory.
//!
//! Rules that every implementation keeps:
//! * a write is handed over when `write_at` returns, durable only after a later `sync` returned;
//! * a file or a rename is durable only after `sync_dir`;
//! * offsets and lengths are multiples of [`BLOCK_BYTES`]; buffers come from [`Disk::alloc`];
//! * a buffer is immutable from submission to completion: writes share it by `Rc`.

pub mod glommio;
pub mod host;
pub mod limits;
pub mod memory;
pub mod notify;
pub mod permits;
pub mod pin;
pub mod privileges;
pub mod sim;
pub mod socket;

use std::fmt::Debug;
use std::future::Future;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use futures_util::io::{AsyncRead, AsyncWrite};

/// Alignment of every offset and length, in bytes: the unit in which a disk is written.
pub const BLOCK_BYTES: usize = 4096;

/// What went wrong at the seam: which operation, on which file, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{operation} of {file} at {offset_bytes} (+{len_bytes} bytes) failed")]
pub struct IoError {
    /// What was attempted: `write`, `sync`, `open` …
    pub operation: &'static str,
    /// The file's name inside its directory.
    pub file: String,
    /// Where in the file, in bytes; 0 where it does not apply.
    pub offset_bytes: u64,
    /// How much, in bytes; 0 where it does not apply.
    pub len_bytes: u64,
    /// The operating system's reason.
    #[source]
    pub source: std::io::Error,
}

impl IoError {
    /// Whether the disk (or a quota on it) is full.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self.source.kind(), StorageFull | QuotaExceeded)
    }

    /// The same error once more, for another one who waited for the same operation.
    #[must_use]
    pub fn again(&self) -> Self {
        let source = match self.source.raw_os_error() {
            Some(code) => std::io::Error::from_raw_os_error(code),
            None => std::io::Error::new(self.source.kind(), self.source.to_string()),
        };
        Self { file: self.file.clone(), source, ..*self }
    }
}

/// Result of an operation at the seam.
pub type IoResult<T> = Result<T, IoError>;

/// Memory that the disk can read and write directly. Its length is a multiple of
/// [`BLOCK_BYTES`].
pub trait Buffer: AsRef<[u8]> + AsMut<[u8]> + 'static {
    /// Shortens the buffer to its first `len_bytes`, for good; the memory stays whole.
    fn truncate(&mut self, len_bytes: usize);
}

/// Bytes `offset_bytes..offset_bytes + len_bytes` of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes from the start of the file.
    pub offset_bytes: u64,
    /// Length in bytes.
    pub len_bytes: usize,
}

/// One file opened for direct I/O; owned by exactly one shard.
pub trait LogFile: 'static {
    /// The disk's buffers.
    type Buf: Buffer;
    /// Bytes as the disk returns them: nobody writes to them any more.
    type Read: AsRef<[u8]> + 'static;

    /// The file's name inside its directory.
    fn name(&self) -> &str;

    /// Writes all of `buf` at `offset_bytes`.
    ///
    /// * Durable: no; `Ok` means handed over. A later [`sync`](Self::sync) makes it so.
    /// * Cancel: the write may still happen; the buffer lives until the disk is done with it.
    fn write_at(&self, buf: Rc<Self::Buf>, offset_bytes: u64)
    -> impl Future<Output = IoResult<()>>;

    /// Reads exactly `extent`.
    ///
    /// * Errors: `UnexpectedEof` when the file ends before it.
    /// * Cancel: the disk may go on reading, into memory of its own. Polled once, it is under way,
    ///   and goes on while nobody polls.
    fn read_at(&self, extent: Extent) -> impl Future<Output = IoResult<Self::Read>>;

    /// Makes durable every write that completed before this call.
    ///
    /// * Errors: final. The kernel may have dropped the pages; never call it again hoping.
    fn sync(&self) -> impl Future<Output = IoResult<()>>;

    /// As [`write_at`](Self::write_at) and then [`sync`](Self::sync), for a caller to whom that is
    /// worth more than what else its executor has to do: it may hold the thread until the device
    /// is done, instead of giving way to others.
    ///
    /// * Durable: yes, with every write that completed before this call.
    fn write_held(
        &self,
        buf: Rc<Self::Buf>,
        offset_bytes: u64,
    ) -> impl Future<Output = IoResult<()>> {
        async move {
            self.write_at(buf, offset_bytes).await?;
            self.sync().await
        }
    }
}

/// One directory of such files.
pub trait Disk: 'static {
    /// The disk's buffers.
    type Buf: Buffer;
    /// The disk's files.
    type File: LogFile<Buf = Self::Buf>;

    /// A buffer of `len_bytes`, a multiple of [`BLOCK_BYTES`], with unspecified contents.
    fn alloc(&self, len_bytes: usize) -> Self::Buf;

    /// Creates a file that must not exist yet, with `len_bytes` allocated on disk and reading as
    /// zeros.
    ///
    /// * Durable: no; see [`sync_dir`](Self::sync_dir).
    /// * Errors: out of space leaves no file behind.
    fn create(&self, name: &str, len_bytes: u64) -> impl Future<Output = IoResult<Self::File>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> impl Future<Output = IoResult<Self::File>>;

    /// Names and lengths (bytes) of all files, sorted by name.
    fn list(&self) -> IoResult<Vec<(String, u64)>>;

    /// Renames a file, replacing what bore the new name.
    fn rename(&self, from: &str, to: &str) -> IoResult<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> IoResult<()>;

    /// Makes durable which files exist and how they are named.
    fn sync_dir(&self) -> impl Future<Output = IoResult<()>>;

    /// Whether somebody copies the files and asks that none of them is given up meanwhile.
    fn is_pinned(&self) -> bool {
        false
    }
}

/// Time. Two clocks: one that never goes back, one that people read.
pub trait Clock: 'static {
    /// Microseconds since an arbitrary start; never goes back.
    fn now_us(&self) -> u64;

    /// Microseconds since the Unix epoch; may be set back by an operator.
    fn wall_us(&self) -> u64;

    /// Waits for at least `us` microseconds.
    fn sleep_us(&self, us: u64) -> impl Future<Output = ()>;
}

/// Randomness.
pub trait Rng: 'static {
    /// The next 64 random bits; not for secrets.
    fn next_u64(&self) -> u64;

    /// Random bytes that nobody can foretell and that never come again: not after a restart, not
    /// in a copy of this machine.
    fn secret_bytes<const N: usize>(&self) -> [u8; N];
}

/// How busy an executor was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Microseconds in which it ran tasks and looked at what the kernel had for it; its sleep and
    /// its spinning do not count.
    pub busy_us: u64,
    /// Times that it ran a task.
    pub tasks: u64,
}

/// Tasks of the executor that the shard runs on. They stay on its thread.
pub trait Tasks: 'static {
    /// Which kind of work a task is; an executor may share its time among them.
    type Queue: Copy + 'static;

    /// Starts a task that nobody waits for.
    fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static, queue: Self::Queue);

    /// Runs a task to its end; `None` when the executor takes no more.
    ///
    /// * Cancel: the task goes on.
    fn run_to_end<T: 'static>(
        &self,
        task: impl Future<Output = T> + 'static,
        queue: Self::Queue,
    ) -> impl Future<Output = Option<T>>;

    /// Waits until the executor has looked at what the kernel and other threads have for it, where
    /// it does not do so as long as its tasks have something to do.
    fn look_around(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// How busy the executor was since this was asked last.
    fn take_load(&self) -> Load {
        Load::default()
    }

    /// Does what would hold up everything else on the executor, on a thread of its own.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T>;
}

/// A connection to a client; several buffers are sent at once.
///
/// * Cancel: what was not received stays to be received; what was sent stays sent.
/// * Dropped, it is closed in both directions.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The connection on its way to another executor.
    type Moving: Debug + Send + 'static;

    /// Counts work that what was received stands for, as so many bytes more of the reader's turn,
    /// where turns are taken.
    fn charge(&mut self, _bytes: usize) {}

    /// Says whether its reader looks again, after others had their turn, before it waits: for
    /// readers that are polled for nothing but to receive. Whoever does something else in the same
    /// task, such as sending, would be held up by the second look.
    fn look_twice(&mut self, _twice: bool) {}

    /// The other end's address, where there are addresses and it is still there.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    /// Closes one direction or both, behind what was sent.
    ///
    /// * Errors: the peer is gone.
    fn shutdown(&mut self, how: Shutdown) -> impl Future<Output = std::io::Result<()>>;

    /// Takes the connection off the executor that runs.
    ///
    /// * Errors: it cannot move; it is closed then.
    fn detach(self) -> std::io::Result<Self::Moving>;

    /// Binds the connection to the executor that runs.
    fn attach(moving: Self::Moving) -> Self;
}

/// Where connections come from.
pub trait Network: 'static {
    /// Its connections.
    type Socket: Socket;
}

/// A connection of `I` on its way to another executor.
pub type Moving<I> = <<I as Network>::Socket as Socket>::Moving;

/// Everything a shard, and who serves it to clients, needs from outside.
pub trait Io: Disk + Clock + Rng + Tasks + Network {}

impl<T: Disk + Clock + Rng + Tasks + Network> Io for T {}
