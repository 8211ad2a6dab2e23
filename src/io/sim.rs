//! A simulated disk, clock and random source, all in memory and all decided by one seed.
//!
//! * The same seed gives the same trace: time moves only when nobody can run, and every purpose
//!   draws from a random stream of its own, so that a new draw does not shift old ones.
//! * The disk keeps what was *written* apart from what is *durable* (`sim::disk` says how), so
//!   that [`SimIo::crash`] can leave behind whatever a power cut might have left.
//! * Faults are asked for one by one and happen only when asked for.
//!
//! Not simulated yet: misdirected writes, a wall clock that steps back.

mod disk;
mod random;
mod runtime;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use disk::{DiskState, FileId};
pub use disk::{SimBuf, SimFile};
pub use random::Stream;
pub use runtime::{SimRuntime, SimTask};

use super::{Clock, Disk, Extent, IoError, IoResult, Rng};

/// Wall clock at the first start of a simulation, microseconds since the Unix epoch.
const WALL_START_US: u64 = 1_700_000_000_000_000;

/// One thing that happened, for comparing two runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, microseconds on the simulated clock.
    pub at_us: u64,
    /// What: an operation of the disk, or a task that ran.
    pub what: &'static str,
    /// The file's name; empty for a task.
    pub file: String,
    /// Bytes from the start of the file, or the task's number.
    pub at: u64,
}

/// Time, timers and the trace: what the executor and the disk share.
#[derive(Debug)]
pub(crate) struct World {
    seed: u64,
    now_us: Cell<u64>,
    wall_start_us: u64,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    timers_made: Cell<u64>,
    trace: RefCell<Vec<Event>>,
    dice: RefCell<Stream>,
}

impl World {
    fn new(seed: u64, wall_start_us: u64) -> Rc<Self> {
        Rc::new(Self {
            seed,
            now_us: 0.into(),
            wall_start_us,
            timers: RefCell::default(),
            timers_made: 0.into(),
            trace: RefCell::default(),
            dice: RefCell::new(Stream::new(seed, "rng")),
        })
    }

    fn note(&self, what: &'static str, file: &str, at: u64) {
        let event = Event { at_us: self.now_us.get(), what, file: file.to_owned(), at };
        self.trace.borrow_mut().push(event);
    }

    fn sleep_us(self: &Rc<Self>, us: u64) -> Sleep {
        let number = self.timers_made.get();
        self.timers_made.set(number + 1);
        let key = (self.now_us.get().saturating_add(us), number);
        Sleep { world: Rc::clone(self), key }
    }

    /// Moves time to the next timer and wakes whoever waits for it; false when there is none.
    fn advance(&self) -> bool {
        let Some(next_us) = self.timers.borrow().keys().next().map(|(at_us, _)| *at_us) else {
            return false;
        };
        self.now_us.set(self.now_us.get().max(next_us));
        let later = self.timers.borrow_mut().split_off(&(next_us + 1, 0));
        let due = self.timers.replace(later);
        due.into_values().for_each(Waker::wake);
        true
    }
}

/// A wait on the simulated clock. Dropped early, it no longer moves time.
#[derive(Debug)]
struct Sleep {
    world: Rc<World>,
    key: (u64, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.world.now_us.get() >= self.key.0 {
            return Poll::Ready(());
        }
        self.world.timers.borrow_mut().insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.world.timers.borrow_mut().remove(&self.key);
    }
}

/// What the disk does wrong, and how slow it is. Everything is off at first.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// The n-th write from now fails (0 is the next one), with this kind of error.
    pub fail_write: Option<(u64, std::io::ErrorKind)>,
    /// The n-th sync of a file from now fails (0 is the next one).
    pub fail_sync: Option<u64>,
    /// Bytes of every file that cannot be read: where they start, and how many.
    pub unreadable: Option<(u64, u64)>,
    /// Bytes that all files together may take; a file that would need more is not created.
    pub capacity_bytes: u64,
    /// Longest that an operation takes, in microseconds; each takes a random part of it.
    pub latency_us_max: u64,
}

impl Default for Faults {
    fn default() -> Self {
        let (fail_write, fail_sync, unreadable) = (None, None, None);
        Self { fail_write, fail_sync, unreadable, capacity_bytes: u64::MAX, latency_us_max: 200 }
    }
}

/// What a crash takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// The process: what was handed over survives.
    Process,
    /// Power: what was not synced may be lost, sector by sector.
    Power,
}

/// A simulated directory, clock and random source; clones share all three.
#[derive(Debug, Clone)]
pub struct SimIo {
    world: Rc<World>,
    disk: Rc<RefCell<DiskState>>,
    faults: Rc<Cell<Faults>>,
    latency: Rc<RefCell<Stream>>,
}

impl SimIo {
    /// An empty directory; everything that happens follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::over(World::new(seed, WALL_START_US), DiskState::default())
    }

    fn over(world: Rc<World>, disk: DiskState) -> Self {
        let latency = Rc::new(RefCell::new(Stream::new(world.seed, "latency")));
        let faults = Rc::new(Cell::new(Faults::default()));
        Self { world, disk: Rc::new(RefCell::new(disk)), faults, latency }
    }

    /// The directory as one possible power cut now would leave it, with a clock of its own.
    ///
    /// * Shape: each 512-byte sector of each write that no sync covers is kept or lost; so is
    ///   each change of a name that no `sync_dir` covers. `seed` decides which, and everything
    ///   after.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        self.after(seed, Loss::Power)
    }

    /// The directory after the process died now: what was handed over is there, and still as little
    /// durable as before; `seed` decides whether a write under way happens.
    #[must_use]
    pub fn kill(&self, seed: u64) -> Self {
        self.after(seed, Loss::Process)
    }

    fn after(&self, seed: u64, loss: Loss) -> Self {
        let image = self.disk.borrow().image(&mut Stream::new(seed, "crash"), loss);
        Self::over(World::new(seed, self.wall_us()), image)
    }

    /// A copy of the directory as it reads now, everything in it durable, after `keep` has chosen
    /// among the sectors of writes that no sync covers: for going through the possible power cuts
    /// one by one. The sectors are numbered in the order in which they were written.
    #[must_use]
    pub fn crash_keeping(&self, seed: u64, keep: impl FnMut(usize) -> bool) -> Self {
        let image = self.disk.borrow().image_keeping(keep);
        Self::over(World::new(seed, self.wall_us()), image)
    }

    /// How many sectors were written that no sync covers.
    #[must_use]
    pub fn unsynced_sectors(&self) -> usize {
        self.disk.borrow().unsynced_sectors()
    }

    /// What the disk does wrong now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.get()
    }

    /// Switches faults on and off.
    pub fn set_faults(&self, faults: Faults) {
        self.faults.set(faults);
    }

    /// A file's bytes as they read now.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.disk.borrow().contents(name)
    }

    /// Gives a file these bytes, durably: rot, or another program's doing.
    pub fn put_contents(&self, name: &str, bytes: Vec<u8>) {
        self.disk.borrow_mut().put_contents(name, bytes);
    }

    /// Everything that has happened so far.
    #[must_use]
    pub fn trace(&self) -> Vec<Event> {
        self.world.trace.borrow().clone()
    }

    async fn take_time(&self) {
        let us = self.latency.borrow_mut().below(self.faults.get().latency_us_max + 1);
        self.world.sleep_us(us).await;
    }

    /// Whether this write is the one that fails.
    fn write_fault(&self) -> Option<std::io::ErrorKind> {
        let mut faults = self.faults.get();
        let (left, kind) = faults.fail_write?;
        faults.fail_write = left.checked_sub(1).map(|left| (left, kind));
        self.faults.set(faults);
        if left == 0 { Some(kind) } else { None }
    }

    /// Whether this sync is the one that fails.
    fn sync_fault(&self) -> bool {
        let mut faults = self.faults.get();
        let Some(left) = faults.fail_sync else { return false };
        faults.fail_sync = left.checked_sub(1);
        self.faults.set(faults);
        left == 0
    }

    /// Whether any of these bytes cannot be read.
    fn is_unreadable(&self, extent: Extent) -> bool {
        let end = extent.offset_bytes + extent.len_bytes as u64;
        let bad = |(start, len): (u64, u64)| start < end && extent.offset_bytes < start + len;
        self.faults.get().unreadable.is_some_and(bad)
    }

    fn file(&self, name: &str, id: FileId) -> SimFile {
        SimFile::new(self.clone(), name.to_owned(), id)
    }
}

fn error(operation: &'static str, file: &str, kind: std::io::ErrorKind) -> IoError {
    IoError { operation, file: file.to_owned(), offset_bytes: 0, len_bytes: 0, source: kind.into() }
}

impl Disk for SimIo {
    type Buf = SimBuf;
    type File = SimFile;

    fn alloc(&self, len_bytes: usize) -> SimBuf {
        SimBuf::new(len_bytes)
    }

    async fn create(&self, name: &str, len_bytes: u64) -> IoResult<SimFile> {
        self.world.note("create", name, len_bytes);
        self.take_time().await;
        let capacity_bytes = self.faults.get().capacity_bytes;
        let made = self.disk.borrow_mut().create(name, len_bytes, capacity_bytes);
        made.map(|id| self.file(name, id)).map_err(|kind| error("create", name, kind))
    }

    async fn open(&self, name: &str) -> IoResult<SimFile> {
        self.world.note("open", name, 0);
        self.take_time().await;
        let id = self.disk.borrow().id(name);
        let id = id.ok_or_else(|| error("open", name, std::io::ErrorKind::NotFound))?;
        Ok(self.file(name, id))
    }

    fn list(&self) -> IoResult<Vec<(String, u64)>> {
        Ok(self.disk.borrow().list())
    }

    fn rename(&self, from: &str, to: &str) -> IoResult<()> {
        self.world.note("rename", from, 0);
        self.disk.borrow_mut().rename(from, to).map_err(|kind| error("rename", from, kind))
    }

    fn remove(&self, name: &str) -> IoResult<()> {
        self.world.note("remove", name, 0);
        self.disk.borrow_mut().remove(name).map_err(|kind| error("remove", name, kind))
    }

    async fn sync_dir(&self) -> IoResult<()> {
        self.world.note("sync directory", "", 0);
        let covered = self.disk.borrow().name_changes();
        self.take_time().await;
        self.disk.borrow_mut().sync_names(covered);
        Ok(())
    }
}

impl Clock for SimIo {
    fn now_us(&self) -> u64 {
        self.world.now_us.get()
    }

    fn wall_us(&self) -> u64 {
        self.world.wall_start_us + self.world.now_us.get()
    }

    async fn sleep_us(&self, us: u64) {
        self.world.sleep_us(us).await;
    }
}

impl Rng for SimIo {
    fn next_u64(&self) -> u64 {
        self.world.dice.borrow_mut().next_u64()
    }
}

#[cfg(test)]
mod tests;
