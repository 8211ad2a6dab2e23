//! What the simulated disk and its clock do wrong, and how often they did.
//!
//! * What fails (a write, a sync, a full disk) says so; what is *silent* does not: a lost or a
//!   misdirected write is reported as done. Those are remembered, so that a test knows what it may
//!   hold against whoever wrote.
//! * Counters are shared by all images that came out of one simulation: what a crash did counts,
//!   too, as far as it made a difference.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;

use super::disk::SECTOR_BYTES;
use super::{SimIo, Stream};
use crate::io::{Clock, Extent};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A crash kept some sectors of a write that no sync covered, and not others.
    TornWrite,
    /// A crash took a whole write that no sync covered.
    LostUnsynced,
    /// A crash kept a write and took an earlier one to the same file.
    Reordered,
    /// A crash took a change of the directory that no sync covered.
    LostName,
    /// A write failed.
    FailedWrite,
    /// A write was written in part, then it failed.
    ShortWrite,
    /// A sync failed.
    FailedSync,
    /// There was no room.
    NoSpace,
    /// An operation was slow.
    Slow,
    /// An operation took so long that it seemed never to end.
    Stuck,
    /// A bit is no longer as it was written.
    BitFlip,
    /// Bytes could not be read.
    Unreadable,
    /// A write was reported as done and never happened.
    LostWrite,
    /// A write was reported as done and happened elsewhere.
    Misdirected,
    /// The wall clock was set back.
    ClockBack,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::TornWrite,
        Self::LostUnsynced,
        Self::Reordered,
        Self::LostName,
        Self::FailedWrite,
        Self::ShortWrite,
        Self::FailedSync,
        Self::NoSpace,
        Self::Slow,
        Self::Stuck,
        Self::BitFlip,
        Self::Unreadable,
        Self::LostWrite,
        Self::Misdirected,
        Self::ClockBack,
    ];
}

/// How often each fault happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultCounts(BTreeMap<FaultKind, u64>);

impl FaultCounts {
    pub(super) fn add(&mut self, kind: FaultKind) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// Adds those of another simulation.
    pub fn add_all(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            *self.0.entry(*kind).or_default() += count;
        }
    }

    /// How often this one happened.
    #[must_use]
    pub fn of(&self, kind: FaultKind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// Those that never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<FaultKind> {
        FaultKind::ALL.into_iter().filter(|kind| self.of(*kind) == 0).collect()
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, kind) in FaultKind::ALL.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{kind:?} {}", self.of(kind))?;
        }
        Ok(())
    }
}

/// Something that the disk did to a write and told nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mishap {
    /// [`FaultKind::LostWrite`] or [`FaultKind::Misdirected`].
    pub kind: FaultKind,
    /// When, microseconds on the simulated clock.
    pub at_us: u64,
    /// The file that was to be written.
    pub file: String,
    /// What was to be written of it.
    pub extent: Extent,
    /// Where it was written instead: a file, and bytes from its start.
    pub landed: Option<(String, u64)>,
}

/// What the disk does wrong, and how slow it is. Everything is off at first.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// The n-th write from now fails (0 is the next one), with this kind of error. It may happen
    /// all the same.
    pub fail_write: Option<(u64, ErrorKind)>,
    /// Of the n-th write from now only the first sectors are written; then it fails.
    pub short_write: Option<u64>,
    /// The n-th write from now is reported as done and never happens.
    pub lose_write: Option<u64>,
    /// The n-th write from now is reported as done and happens at another place.
    pub misdirect_write: Option<u64>,
    /// The n-th sync of a file from now fails (0 is the next one).
    pub fail_sync: Option<u64>,
    /// Bytes of every file that cannot be read: where they start, and how many.
    pub unreadable: Option<(u64, u64)>,
    /// Bytes that all files together may take; a file that would need more is not created.
    pub capacity_bytes: u64,
    /// Longest that an operation takes, in microseconds; each takes a random part of it.
    pub latency_us_max: u64,
    /// One operation in so many takes up to so long more, in microseconds.
    pub slow: Option<(u64, u64)>,
    /// The n-th operation from now takes so long more, in microseconds.
    pub stick: Option<(u64, u64)>,
    /// Somebody copies the files.
    pub pinned: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            fail_write: None,
            short_write: None,
            lose_write: None,
            misdirect_write: None,
            fail_sync: None,
            unreadable: None,
            capacity_bytes: u64::MAX,
            latency_us_max: 200,
            slow: None,
            stick: None,
            pinned: false,
        }
    }
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteFault {
    Failed(ErrorKind),
    Short,
    Lost,
    Misdirected,
}

/// The luck that faults need, a stream for each.
#[derive(Debug)]
pub(super) struct FaultDice {
    pub(super) misdirected: Stream,
    slow: Stream,
    short: Stream,
}

impl FaultDice {
    pub(super) fn new(seed: u64) -> Self {
        let stream = |purpose| Stream::new(seed, purpose);
        Self {
            misdirected: stream("misdirected write"),
            slow: stream("slow"),
            short: stream("short write"),
        }
    }
}

/// Counts down; true when this one is meant.
fn is_due(left: &mut Option<u64>) -> bool {
    let Some(before) = *left else { return false };
    *left = before.checked_sub(1);
    before == 0
}

impl SimIo {
    pub(super) fn count(&self, kind: FaultKind) {
        self.counts.borrow_mut().add(kind);
    }

    /// How often each fault happened, here and in what this came out of.
    #[must_use]
    pub fn fault_counts(&self) -> FaultCounts {
        self.counts.borrow().clone()
    }

    /// What happened to writes of this life unnoticed.
    #[must_use]
    pub fn mishaps(&self) -> Vec<Mishap> {
        self.mishaps.borrow().clone()
    }

    /// Sets the wall clock back, now.
    pub fn set_wall_back(&self, us: u64) {
        self.world.note("wall clock set back", "", us);
        self.world.wall_high_us.set(self.wall_high_us());
        self.world.wall_back_us.set(self.world.wall_back_us.get() + us);
        self.count(FaultKind::ClockBack);
    }

    /// The latest time that the wall clock ever showed, microseconds since the Unix epoch.
    #[must_use]
    pub fn wall_high_us(&self) -> u64 {
        self.world.wall_high_us.get().max(self.wall_us())
    }

    /// Flips a bit of a file: rot. Does nothing beyond its end.
    pub fn flip_bit(&self, name: &str, offset_bytes: u64, bit: u8) {
        let mut disk = self.disk.borrow_mut();
        if let Some(id) = disk.id(name) {
            disk.flip(id, usize::try_from(offset_bytes).expect("fits memory"), bit % 8);
            self.count(FaultKind::BitFlip);
        }
    }

    /// Has the sector of a file with this byte be unreadable until it is written again, crashes
    /// included.
    pub fn spoil_sector(&self, name: &str, offset_bytes: u64) {
        let mut disk = self.disk.borrow_mut();
        if let Some(id) = disk.id(name) {
            disk.spoil(id, usize::try_from(offset_bytes).expect("fits memory"));
        }
    }

    pub(super) async fn take_time(&self) {
        let mut faults = self.faults.get();
        let mut us = self.latency.borrow_mut().below(faults.latency_us_max + 1);
        if let Some((one_in, us_max)) = faults.slow {
            let slow = &mut self.dice.borrow_mut().slow;
            if slow.below(one_in) == 0 {
                us += slow.below(us_max);
                self.count(FaultKind::Slow);
            }
        }
        if let Some((left, stuck_us)) = faults.stick {
            faults.stick = left.checked_sub(1).map(|left| (left, stuck_us));
            self.faults.set(faults);
            if left == 0 {
                us = us.saturating_add(stuck_us);
                self.count(FaultKind::Stuck);
            }
        }
        self.world.sleep_us(us).await;
    }

    /// What becomes of this write.
    pub(super) fn write_fault(&self) -> Option<WriteFault> {
        let mut faults = self.faults.get();
        let mut fault = None;
        if let Some((left, kind)) = faults.fail_write {
            faults.fail_write = left.checked_sub(1).map(|left| (left, kind));
            if left == 0 {
                fault = Some(WriteFault::Failed(kind));
                self.count(FaultKind::FailedWrite);
            }
        }
        if is_due(&mut faults.short_write) {
            fault = Some(WriteFault::Short);
            self.count(FaultKind::ShortWrite);
        }
        if is_due(&mut faults.lose_write) {
            fault = Some(WriteFault::Lost);
        }
        if is_due(&mut faults.misdirect_write) {
            fault = Some(WriteFault::Misdirected);
        }
        self.faults.set(faults);
        fault
    }

    /// How much of a write of `len` bytes happens when it is short: less than all.
    pub(super) fn short_of(&self, len: usize) -> usize {
        self.dice.borrow_mut().short.index(len / SECTOR_BYTES) * SECTOR_BYTES
    }

    /// Whether this sync is the one that fails.
    pub(super) fn sync_fault(&self) -> bool {
        let mut faults = self.faults.get();
        let due = is_due(&mut faults.fail_sync);
        self.faults.set(faults);
        if due {
            self.count(FaultKind::FailedSync);
        }
        due
    }

    /// Whether any of these bytes cannot be read, in any file.
    pub(super) fn is_unreadable(&self, extent: Extent) -> bool {
        let end = extent.offset_bytes + extent.len_bytes as u64;
        let bad = |(start, len): (u64, u64)| start < end && extent.offset_bytes < start + len;
        self.faults.get().unreadable.is_some_and(bad)
    }
}
