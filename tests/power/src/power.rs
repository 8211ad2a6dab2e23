//! The disk behind its switch: whether there is power, and which faults are on.
//!
//! *Frozen* is the moment of a cut made long. What survives is decided when it begins; whoever
//! used the disk gets no answer any more, so nothing that it tells others can come of what is
//! lost. Then its process is killed. In the kernel it may still wait for an answer, and cannot end
//! before it has one: *off* gives all of them an error. *On* is the next start.
//!
//! Each answer is sent under the same lock under which the operation was done. So an answer that
//! went out before the cut is for something that the cut met.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fuser::Errno;
use parking_lot::{Condvar, Mutex};

use crate::dice::Dice;
use crate::disk::{Disk, DiskResult};
use crate::file::SECTOR_BYTES;
use crate::loss::{Loss, Tally};
use crate::names::{Ino, Name};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    On,
    Frozen,
    Off,
}

/// What goes wrong, or slowly, with power on.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Syncs fail.
    pub(crate) sync_fails: bool,
    /// Writes fail; some of their bytes may be there all the same.
    pub(crate) write_fails: bool,
    /// Reads fail.
    pub(crate) read_fails: bool,
    /// Syncs of files succeed and make nothing durable.
    pub(crate) sync_lies: bool,
    /// Syncs of directories do the same.
    pub(crate) names_lie: bool,
    /// Longest time that a read takes, in microseconds.
    pub(crate) read_us_max: u64,
    /// Longest time that a write takes, in microseconds.
    pub(crate) write_us_max: u64,
    /// Longest time that a sync takes, in microseconds.
    pub(crate) sync_us_max: u64,
}

/// Counts of what was done since the start.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) writes: u64,
    pub(crate) syncs: u64,
    pub(crate) syncs_failed: u64,
    pub(crate) writes_failed: u64,
    pub(crate) reads_failed: u64,
    pub(crate) refused_full: u64,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes, syncs, syncs_failed, writes_failed, reads_failed, refused_full } = self;
        write!(
            f,
            "writes={writes} syncs={syncs} syncs_failed={syncs_failed} \
             writes_failed={writes_failed} reads_failed={reads_failed} refused_full={refused_full}"
        )
    }
}

/// What the switch's lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) disk: Disk,
    pub(crate) faults: Faults,
    pub(crate) work: Work,
    pub(crate) tally: Tally,
    /// Decides how long operations take, and what a failed sync drops.
    dice: Dice,
    phase: Phase,
    /// Which use of the disk this is: what an earlier one began is not finished.
    generation: u64,
    /// What open directories held when they were opened, so that whoever reads one in pieces
    /// misses nothing while it changes.
    listings: BTreeMap<u64, Listing>,
    listings_made: u64,
}

/// The names of a directory, and what they stand for.
pub(crate) type Listing = Arc<[(Name, Ino)]>;

impl State {
    /// Writes to a file. One that fails leaves some of its sectors, as a disk may.
    pub(crate) fn write(&mut self, ino: Ino, offset: u64, bytes: &[u8]) -> DiskResult<()> {
        self.work.writes += 1;
        if !self.faults.write_fails {
            return self.disk.write(ino, offset, bytes);
        }
        self.work.writes_failed += 1;
        let sectors = self.dice.below((bytes.len() / SECTOR_BYTES) as u64 + 1) as usize;
        if sectors > 0 {
            self.disk.write(ino, offset, &bytes[..sectors * SECTOR_BYTES])?;
        }
        Err(Errno::EIO)
    }

    /// Reads from a file.
    pub(crate) fn read(&mut self, ino: Ino, offset: u64, len_bytes: usize) -> DiskResult<Vec<u8>> {
        if self.faults.read_fails {
            self.work.reads_failed += 1;
            return Err(Errno::EIO);
        }
        Ok(self.disk.file(ino)?.read(offset, len_bytes))
    }

    /// Finishes a sync of a file that covers what was there at `covered`.
    pub(crate) fn sync_file(&mut self, ino: Ino, covered: u64) -> DiskResult<()> {
        self.work.syncs += 1;
        let file = self.disk.file_mut(ino)?;
        if self.faults.sync_fails {
            self.work.syncs_failed += 1;
            let loss = Loss::draw(&mut self.dice);
            file.fail_sync(covered, &loss, &mut self.dice);
            return Err(Errno::EIO);
        }
        if !self.faults.sync_lies {
            file.sync(covered);
        }
        Ok(())
    }

    /// The same for the names of a directory; when it fails, they wait for another.
    pub(crate) fn sync_directory(&mut self, ino: Ino, covered: u64) -> DiskResult<()> {
        self.work.syncs += 1;
        if self.faults.sync_fails {
            self.work.syncs_failed += 1;
            return Err(Errno::EIO);
        }
        let directory = self.disk.directory_mut(ino)?;
        if !self.faults.names_lie {
            directory.sync(covered);
        }
        self.disk.forget_unnamed();
        Ok(())
    }

    /// Remembers what a directory holds; the number is for `listing`.
    pub(crate) fn open_directory(&mut self, ino: Ino) -> DiskResult<u64> {
        let names = self.disk.directory(ino)?.names();
        let listing = names.iter().map(|(name, ino)| (name.clone(), *ino)).collect();
        self.listings_made += 1;
        self.listings.insert(self.listings_made, listing);
        Ok(self.listings_made)
    }

    pub(crate) fn listing(&self, number: u64) -> DiskResult<Listing> {
        self.listings.get(&number).cloned().ok_or(Errno::EBADF)
    }

    pub(crate) fn close_directory(&mut self, number: u64) {
        self.listings.remove(&number);
    }
}

/// How long an operation takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    AtOnce,
    Read,
    Write,
    Sync,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Power {
    state: Mutex<State>,
    /// The phase has changed; nothing else notifies.
    switched: Condvar,
}

impl Power {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            disk: Disk::new(),
            faults: Faults::default(),
            work: Work::default(),
            tally: Tally::default(),
            dice: Dice::new(seed),
            phase: Phase::On,
            generation: 1,
            listings: BTreeMap::new(),
            listings_made: 0,
        };
        Self { state: Mutex::new(state), switched: Condvar::new() }
    }

    /// Does something that takes no time.
    pub(crate) fn run<T>(
        &self,
        operation: impl FnOnce(&mut State) -> DiskResult<T>,
        answer: impl FnOnce(DiskResult<T>),
    ) {
        self.run_slowly(Pace::AtOnce, operation, |_, done| Ok(done), answer);
    }

    /// Begins something, lets its time pass, finishes it, and answers.
    ///
    /// When the power is cut in between, it is never finished; without power it is not even begun.
    pub(crate) fn run_slowly<A, B>(
        &self,
        pace: Pace,
        begin: impl FnOnce(&mut State) -> DiskResult<A>,
        finish: impl FnOnce(&mut State, A) -> DiskResult<B>,
        answer: impl FnOnce(DiskResult<B>),
    ) {
        let mut state = self.state.lock();
        let (generation, is_on) = (state.generation, state.phase == Phase::On);
        let begun = if is_on { begin(&mut state) } else { Err(Errno::EIO) };
        let us_max = match pace {
            Pace::AtOnce => 0,
            Pace::Read => state.faults.read_us_max,
            Pace::Write => state.faults.write_us_max,
            Pace::Sync => state.faults.sync_us_max,
        };
        if begun.is_ok() && us_max > 0 {
            let time = Duration::from_micros(state.dice.below(us_max + 1));
            // Woken before its time only by a switch, after which it is not finished anyway.
            self.switched.wait_for(&mut state, time);
        }
        self.switched.wait_while(&mut state, |state| state.phase == Phase::Frozen);
        let is_same_use = state.phase == Phase::On && state.generation == generation;
        let done =
            begun.and_then(
                |begun| {
                    if is_same_use { finish(&mut state, begun) } else { Err(Errno::EIO) }
                },
            );
        if matches!(&done, Err(error) if error.code() == libc::ENOSPC) {
            state.work.refused_full += 1;
        }
        answer(done);
    }

    /// Cuts the power: decides what survives, and lets nobody have an answer until `off`.
    pub(crate) fn cut(&self, seed: u64) -> Tally {
        let mut state = self.state.lock();
        let mut tally = Tally::default();
        let mut dice = Dice::new(seed);
        state.disk.cut(&mut dice, &mut tally);
        state.tally.add(&tally);
        state.listings.clear();
        state.generation += 1;
        state.phase = Phase::Frozen;
        tally
    }

    /// Gives everybody who waits an error, and all who come now.
    pub(crate) fn off(&self) {
        self.state.lock().phase = Phase::Off;
        self.switched.notify_all();
    }

    /// Gives power again.
    pub(crate) fn on(&self) {
        self.state.lock().phase = Phase::On;
        self.switched.notify_all();
    }

    /// Looks at or changes the state whether there is power or not: for whoever holds the switch.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock())
    }
}
