//! A simulated disk, clock, network and random source, all in memory and all decided by one seed.
//!
//! * The same seed gives the same trace: time moves only when nobody can run, and every purpose
//!   draws from a random stream of its own, so that a new draw does not shift old ones.
//! * The disk keeps what was *written* apart from what is *durable* (`sim::disk` says how), so
//!   that [`SimIo::crash`] can leave behind whatever a power cut might have left.
//! * Connections (`sim::network`) deliver in pieces and late, and are cut when that is asked for.
//! * Faults (`sim::faults`) are asked for one by one and happen only when asked for; those that
//!   need luck each draw it from a stream of their own. What happened is counted.

mod disk;
mod faults;
mod file;
mod network;
mod random;
mod runtime;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use disk::{DiskState, FileId};
use faults::FaultDice;
pub use faults::{FaultCounts, FaultKind, Faults, Mishap};
pub use file::{SimBuf, SimFile};
pub use network::{SILENCE_US, SimSocket, Wire};
pub use random::Stream;
use runtime::Spawned;
pub use runtime::{SimRuntime, SimTask};

use super::{Clock, Disk, IoError, IoResult, Rng};

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
    /// How far the wall clock was set back in this life.
    wall_back_us: Cell<u64>,
    /// The latest that it showed before it was set back.
    wall_high_us: Cell<u64>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    timers_made: Cell<u64>,
    trace: RefCell<Vec<Event>>,
    dice: RefCell<Stream>,
    secrets: RefCell<Stream>,
    connections_made: Cell<u64>,
    /// Tasks that the executor has not seen yet.
    spawned: Spawned,
}

impl World {
    fn new(seed: u64, wall_start_us: u64) -> Rc<Self> {
        Rc::new(Self {
            seed,
            now_us: 0.into(),
            wall_start_us,
            wall_back_us: 0.into(),
            wall_high_us: wall_start_us.into(),
            timers: RefCell::default(),
            timers_made: 0.into(),
            trace: RefCell::default(),
            dice: RefCell::new(Stream::new(seed, "rng")),
            secrets: RefCell::new(Stream::new(seed, "secrets")),
            connections_made: Cell::default(),
            spawned: Spawned::default(),
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
    dice: Rc<RefCell<FaultDice>>,
    /// Shared by all that came out of the first one, crashes included.
    counts: Rc<RefCell<FaultCounts>>,
    mishaps: Rc<RefCell<Vec<Mishap>>>,
}

impl SimIo {
    /// An empty directory; everything that happens follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::over(World::new(seed, WALL_START_US), DiskState::default(), Rc::default())
    }

    /// The next life over what this one leaves.
    fn next(&self, seed: u64, disk: DiskState) -> Self {
        let world = World::new(seed, self.wall_us());
        world.wall_high_us.set(self.wall_high_us());
        Self::over(world, disk, Rc::clone(&self.counts))
    }

    fn over(world: Rc<World>, disk: DiskState, counts: Rc<RefCell<FaultCounts>>) -> Self {
        let latency = Rc::new(RefCell::new(Stream::new(world.seed, "latency")));
        let dice = Rc::new(RefCell::new(FaultDice::new(world.seed)));
        let (faults, disk) = (Rc::new(Cell::new(Faults::default())), Rc::new(RefCell::new(disk)));
        Self { world, disk, faults, latency, dice, counts, mishaps: Rc::default() }
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
        let mut dice = Stream::new(seed, "crash");
        let image = self.disk.borrow().image(&mut dice, loss, &mut self.counts.borrow_mut());
        self.next(seed, image)
    }

    /// A copy of the directory as it reads now, everything in it durable, after `keep` has chosen
    /// among the sectors of writes that no sync covers: for going through the possible power cuts
    /// one by one. The sectors are numbered in the order in which they were written.
    #[must_use]
    pub fn crash_keeping(&self, seed: u64, keep: impl FnMut(usize) -> bool) -> Self {
        let image = self.disk.borrow().image_keeping(keep);
        self.next(seed, image)
    }

    /// What a power cut now leaves open: for each sector that makes a difference, in the order in
    /// which they were written, the number of its write; and how many changes of names.
    #[must_use]
    pub fn open_questions(&self) -> (Vec<u64>, usize) {
        self.disk.borrow().open_questions()
    }

    /// The directory as the power cut leaves it that keeps, of what is open, what these say; as
    /// [`crash_keeping`](Self::crash_keeping).
    #[must_use]
    pub fn crash_choosing(
        &self,
        seed: u64,
        keep_sector: impl FnMut(usize) -> bool,
        keep_name: impl FnMut(usize) -> bool,
    ) -> Self {
        let image = self.disk.borrow().image_of(keep_sector, keep_name);
        self.next(seed, image)
    }

    /// What tells one state of the disk from another, all that a power cut leaves open included.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.disk.borrow().fingerprint()
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
        if made == Err(std::io::ErrorKind::StorageFull) {
            self.count(FaultKind::NoSpace);
        }
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

    fn is_pinned(&self) -> bool {
        self.faults.get().pinned
    }
}

impl Clock for SimIo {
    fn now_us(&self) -> u64 {
        self.world.now_us.get()
    }

    fn wall_us(&self) -> u64 {
        let us = self.world.wall_start_us + self.world.now_us.get();
        us - self.world.wall_back_us.get()
    }

    async fn sleep_us(&self, us: u64) {
        self.world.sleep_us(us).await;
    }
}

impl Rng for SimIo {
    fn next_u64(&self) -> u64 {
        self.world.dice.borrow_mut().next_u64()
    }

    /// As foreseeable as everything else here.
    fn secret_bytes<const N: usize>(&self) -> [u8; N] {
        std::array::from_fn(|_| self.world.secrets.borrow_mut().next_u64().to_le_bytes()[0])
    }
}

#[cfg(test)]
mod tests;
