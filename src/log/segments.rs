//! The segments of one shard: the one being written, those before it, and spares.
//!
//! * Up to two spares are prepared in the background, so rolling waits for nothing.
//! * Segments die oldest first; a dead one's file becomes the next spare. The number of files is
//!   the living plus `DEAD_FILES_MAX` plus `SPARES` plus one.
//! * No room on the disk for a spare is not an error here: the log goes on until the segment in
//!   use is full, and who appends is refused before that (see `room_bytes`).
//! * The last spare on a full disk is held back: it takes what gives room back, and never what is
//!   appended (see `room_to_free_bytes`). So there is room to copy what lives in the oldest
//!   segment, even when that is all of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use futures_util::future::{self, Either};

use super::segment::{LogFacts, Segment, Source, zeros};
use crate::io::notify::Notify;
use crate::io::{Clock, Disk, IoResult, LogFile};
use crate::types::refusal::chain;

/// Segments made ahead of the one in use: one to roll into, and one that is held back.
pub const SPARES: usize = 2;
/// Dead files kept for reuse beside the spares; more are removed.
const DEAD_FILES_MAX: usize = 1;
/// Length of a group from which on the log counts as crowded, in bytes: zeros then wait, since
/// they would take the bandwidth of which appends are short, to save a small part of a sync.
const CROWDED_BYTES: u64 = 128 * 1024;
/// Pause between two stretches of zeros, in microseconds: appends come first.
const ZERO_PAUSE_US: u64 = 500;
/// Pause before looking again whether there is time for zeros, in microseconds.
const CROWDED_PAUSE_US: u64 = 20_000;
/// Pause before looking again for room on a full disk, in microseconds.
const SPACE_RETRY_US: u64 = 1_000_000;

/// The files of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    /// Of segments that are not given up.
    pub in_use: u64,
    /// Of segments to roll into.
    pub spare: u64,
    /// Of segments given up, to be used again.
    pub free: u64,
    /// How long all of them are together.
    pub bytes: u64,
}

/// Segments by epoch. All methods take `&self`: borrows end before any await.
#[derive(Debug)]
pub struct Segments<D: Disk> {
    facts: LogFacts,
    active: RefCell<Rc<Segment<D::File>>>,
    sealed: RefCell<BTreeMap<u64, Rc<Segment<D::File>>>>,
    spares: RefCell<VecDeque<Rc<Segment<D::File>>>>,
    dead: RefCell<Vec<String>>,
    next_file_number: Cell<u64>,
    /// A spare was taken or made, or the disk ran out of room.
    changed: Notify,
    out_of_space: Cell<bool>,
    /// Epoch of the last segment that was held back on a full disk until it came into use.
    held_back_epoch: Cell<Option<u64>>,
    /// Whether groups are large: then the disk's bandwidth is worth more than quicker syncs.
    crowded: Cell<bool>,
}

impl<D: Disk + Clock> Segments<D> {
    /// What recovery found: the segment to write on, those before it, those for after it, dead
    /// files.
    pub fn new(
        facts: LogFacts,
        active: Rc<Segment<D::File>>,
        sealed: BTreeMap<u64, Rc<Segment<D::File>>>,
        spares: Vec<Rc<Segment<D::File>>>,
        dead: Vec<String>,
        next_file_number: u64,
    ) -> Self {
        Self {
            facts,
            active: RefCell::new(active),
            sealed: RefCell::new(sealed),
            spares: RefCell::new(spares.into()),
            dead: RefCell::new(dead),
            next_file_number: next_file_number.into(),
            changed: Notify::default(),
            out_of_space: false.into(),
            held_back_epoch: None.into(),
            crowded: false.into(),
        }
    }

    /// The segment being written.
    #[must_use]
    pub fn active(&self) -> Rc<Segment<D::File>> {
        Rc::clone(&self.active.borrow())
    }

    /// The segment with this epoch, unless it is dead.
    #[must_use]
    pub fn get(&self, epoch: u64) -> Option<Rc<Segment<D::File>>> {
        let active = self.active.borrow();
        if active.epoch == epoch {
            return Some(Rc::clone(&active));
        }
        self.sealed.borrow().get(&epoch).cloned()
    }

    /// Says how long the last group was.
    pub fn note_group(&self, bytes: u64) {
        self.crowded.set(bytes >= CROWDED_BYTES);
    }

    /// Bytes that can be appended for sure; 0 means that appends must be refused. On a full disk
    /// that is what is left of the segment in use, as long as a spare is held back.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        let active = self.active.borrow().room_bytes() as u64;
        match (self.out_of_space.get(), self.spares.borrow().front()) {
            (false, spare) => active + spare.map_or(self.facts.segment_bytes, |s| s.bytes),
            (true, Some(_)) => active,
            (true, None) => 0,
        }
    }

    /// Bytes that can be logged for sure when that gives room back: what is held back counts too.
    #[must_use]
    pub fn room_to_free_bytes(&self) -> u64 {
        let active = self.active.borrow().room_bytes() as u64;
        let spare_bytes: u64 = self.spares.borrow().iter().map(|s| s.bytes).sum();
        if self.out_of_space.get() { active + spare_bytes } else { self.room_bytes() }
    }

    /// How many segments there are to roll into.
    #[must_use]
    pub fn spare_count(&self) -> usize {
        self.spares.borrow().len()
    }

    /// Whether the disk had no room for another spare when last asked.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        self.out_of_space.get()
    }

    /// Whether the disk is full and the segment in use was held back before it came
    /// into use. Forgotten by a restart.
    #[must_use]
    pub fn uses_held_back(&self) -> bool {
        self.out_of_space.get() && self.held_back_epoch.get() == Some(self.active.borrow().epoch)
    }

    /// Epoch of the oldest segment that is not dead.
    #[must_use]
    pub fn oldest_epoch(&self) -> u64 {
        let active = self.active.borrow().epoch;
        self.sealed.borrow().keys().next().map_or(active, |oldest| active.min(*oldest))
    }

    /// Bytes of log in the segments from `epoch` on, spares not counted.
    #[must_use]
    pub fn used_bytes(&self, epoch: u64) -> u64 {
        let sealed = self.sealed.borrow();
        let sealed_bytes: u64 = sealed.range(epoch..).map(|(_, segment)| segment.bytes).sum();
        sealed_bytes + self.active.borrow().end_bytes()
    }

    /// The log's files and how long they are, for the metrics. Those of segments given up are taken
    /// to be as long as new ones are.
    #[must_use]
    pub fn files(&self) -> Files {
        let (sealed, spares) = (self.sealed.borrow(), self.spares.borrow());
        let free = self.dead.borrow().len() as u64;
        let open = sealed.values().chain(spares.iter()).map(|segment| segment.bytes);
        Files {
            in_use: 1 + sealed.len() as u64,
            spare: spares.len() as u64,
            free,
            bytes: self.active.borrow().bytes + open.sum::<u64>() + free * self.facts.segment_bytes,
        }
    }

    /// How many files the log holds, for the metrics.
    #[must_use]
    pub fn file_count(&self) -> usize {
        1 + self.spare_count() + self.sealed.borrow().len() + self.dead.borrow().len()
    }

    /// Seals the active segment and goes on in the next spare, waiting for it if need be.
    ///
    /// * Durable: the spare's header is; nothing of the sealed segment is outstanding, since a
    ///   group never crosses segments and each was synced.
    pub async fn roll(&self) -> Rc<Segment<D::File>> {
        let spare = loop {
            let spare = self.spares.borrow_mut().pop_front();
            match spare {
                Some(spare) => break spare,
                None => self.changed.notified().await,
            }
        };
        let sealed = std::mem::replace(&mut *self.active.borrow_mut(), Rc::clone(&spare));
        assert_eq!(sealed.epoch + 1, spare.epoch, "epochs are contiguous");
        self.sealed.borrow_mut().insert(sealed.epoch, sealed);
        if self.out_of_space.get() {
            self.held_back_epoch.set(Some(spare.epoch));
        }
        self.changed.notify();
        spare
    }

    /// Gives up every sealed segment before `epoch`; their files will be used again.
    ///
    /// No checkpoint that recovery may fall back to may need them.
    pub fn release_before(&self, epoch: u64) -> usize {
        let mut sealed = self.sealed.borrow_mut();
        let living = sealed.split_off(&epoch);
        let released = std::mem::replace(&mut *sealed, living);
        let mut dead = self.dead.borrow_mut();
        dead.extend(released.values().map(|s| s.file.name().to_owned()));
        if !released.is_empty() {
            self.changed.notify();
        }
        released.len()
    }

    /// Keeps spares ready and zeros running ahead, for ever.
    ///
    /// * Errors: a failed write or sync of the background, which is final.
    pub async fn keep(&self, disk: &D) -> IoResult<()> {
        let zeros = zeros(disk);
        let mut last_end_bytes = 0;
        loop {
            self.drop_surplus(disk)?;
            if self.spare_count() < SPARES {
                self.make_spare(disk, &zeros).await?;
                continue;
            }
            let (active, spare) = (self.active(), self.spares.borrow().front().cloned());
            let Some(spare) = spare else { continue };
            let end_bytes = active.end_bytes();
            let grows = std::mem::replace(&mut last_end_bytes, end_bytes) != end_bytes;
            // A spare counts as soon needed when half of the segment in use is full.
            let near_spare = active.room_bytes() as u64 <= active.bytes / 2;
            let wanted = active.wants_zeros() || (near_spare && spare.wants_zeros());
            if grows && (self.crowded.get() || !wanted) {
                // Woken early when a spare is needed.
                let changed = std::pin::pin!(self.changed.notified());
                let pause = std::pin::pin!(disk.sleep_us(CROWDED_PAUSE_US));
                future::select(changed, pause).await;
            } else if active.zero_step(disk, &zeros).await? || spare.zero_step(disk, &zeros).await?
            {
                disk.sleep_us(ZERO_PAUSE_US).await;
            } else {
                self.changed.notified().await;
            }
        }
    }

    async fn make_spare(&self, disk: &D, zeros: &Rc<D::Buf>) -> IoResult<()> {
        // Whatever rolls meanwhile, the sum stays.
        let epoch = self.active.borrow().epoch + 1 + self.spare_count() as u64;
        let dead = self.dead.borrow_mut().pop();
        let source = dead.map_or_else(|| Source::New(self.take_file_number()), Source::Dead);
        match Segment::prepare(disk, self.facts, source.clone(), epoch).await {
            Ok(segment) => {
                self.spares.borrow_mut().push_back(Rc::new(segment));
                if self.spare_count() == SPARES && self.out_of_space.replace(false) {
                    tracing::info!(shard = self.facts.shard, "there is room on the disk again");
                }
                self.changed.notify();
            }
            Err(error) if error.is_out_of_space() => {
                if !self.out_of_space.replace(true) {
                    let error = chain(&error);
                    tracing::error!(shard = self.facts.shard, error, "no room for a new segment");
                }
                // Nothing may be lost by trying: a file that is there is tried again.
                let name = source.file_name();
                if disk.list()?.iter().any(|(n, _)| *n == name) {
                    self.dead.borrow_mut().push(name);
                }
                self.wait_for_space(disk, zeros).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Waits before the next attempt to make a spare; zeros run ahead meanwhile. A file that comes
    /// free is taken at once, or after a stretch of zeros.
    async fn wait_for_space(&self, disk: &D, zeros: &Rc<D::Buf>) -> IoResult<()> {
        let until_us = disk.now_us() + SPACE_RETRY_US;
        let dead_count = self.dead.borrow().len();
        loop {
            let wait_us = until_us.saturating_sub(disk.now_us());
            if wait_us == 0 || self.dead.borrow().len() != dead_count {
                return Ok(());
            }
            let zeroes = !self.crowded.get() && self.active().zero_step(disk, zeros).await?;
            let changed = std::pin::pin!(self.changed.notified());
            let pause_us = if zeroes { ZERO_PAUSE_US.min(wait_us) } else { wait_us };
            let pause = std::pin::pin!(disk.sleep_us(pause_us));
            let woken = matches!(future::select(changed, pause).await, Either::Left(_));
            if woken {
                return Ok(());
            }
        }
    }

    fn take_file_number(&self) -> u64 {
        let number = self.next_file_number.get();
        self.next_file_number.set(number + 1);
        number
    }

    fn drop_surplus(&self, disk: &D) -> IoResult<()> {
        // Spares are made of dead files first.
        let missing = SPARES.saturating_sub(self.spare_count());
        let mut dead = self.dead.borrow_mut();
        while dead.len() > DEAD_FILES_MAX + missing {
            let name = dead.pop().expect("longer than the limit");
            disk.remove(&name)?;
        }
        Ok(())
    }
}
