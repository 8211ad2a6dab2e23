//! Cleaning: an old segment's space comes back although something in it is still needed.
//!
//! * Always the oldest segment: what is needed of it is copied to the log's end, and then the
//!   segment is as dead as one that was trimmed away. So the log stays one piece without holes, and
//!   recovery needs to know nothing of cleaning.
//! * A copy counts once it is durable; until a checkpoint knows of it, and the one before that does
//!   too, the original stays. A crash at any moment finds one or the other.
//! * Cleaning starts when the log takes more than twice what lives in it and a fixed reserve. Then
//!   half of what is looked at is dead, and as much is copied as is won: bytes written for cleaning
//!   stay in proportion to bytes appended.
//! * On a full disk it begins earlier, and only when there is room for all that is needed of a
//!   segment: a part of it would take room and give none. Appends are refused meanwhile, and leave
//!   a segment free (`log::segments`): so there is room although all of the oldest lives. Space to
//!   win may lie behind it.
//! * When the segment in use is the oldest, is full and half dead, it is left for the one that is
//!   held back and cleaned like any other: a disk with room for two segments does with these.
//! * It yields to appends: little is under way at a time, with pauses between that get shorter as
//!   the space to win grows.

use std::cell::Cell;
use std::rc::Rc;

use super::append::copied_bytes;
use super::engine::{Engine, Note, json};
use crate::control::Stream;
use crate::io::Io;
use crate::log::entry::{Batch, Kind};
use crate::log::frames::Frames;
use crate::log::reader::ReadError;
use crate::log::segment::Segment;
use crate::metrics::Holdings;
use crate::types::LogPos;
use crate::usage::Saved;

/// Pause before looking again whether there is something to clean, in microseconds.
const PAUSE_US: u64 = 250_000;
/// The same on a full disk that has no room for what would have to be copied.
const NO_ROOM_PAUSE_US: u64 = 2_000_000;
/// Pause before a segment that could not be read is tried again, in microseconds.
const STALLED_PAUSE_US: u64 = 30_000_000;
/// Pause after each step while there are no appends, in microseconds.
const IDLE_PAUSE_US: u64 = 1_000;
/// Bytes copied at a time: no more are ever on their way to the disk.
const MOVED_BYTES_MAX: usize = 256 * 1024;
/// Bytes looked at at a time.
const LOOKED_AT_BYTES_MAX: usize = 1024 * 1024;
/// How much longer than the work the pause after it is, at most, while there are appends.
const PAUSE_FACTOR_MAX: u64 = 3;
/// More than a batch takes in the log.
const BATCH_BYTES_MAX: u64 = 1280 * 1024;
/// Segments beyond twice what lives that are left alone.
const RESERVE_SEGMENTS: u64 = 2;
/// Segments that must have been won for a checkpoint to be written only to give them up.
const RELEASE_SEGMENTS: u64 = 2;

/// What the cleaner knows from one step to the next.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    /// Segments before this epoch hold nothing that is needed; they wait for a checkpoint.
    cleaned_to: Cell<u64>,
    /// Of batches that were written: bytes in the log, and by the API's measure.
    entry_bytes: Cell<u64>,
    metered_bytes: Cell<u64>,
    /// Where the round through the log ends that is under way.
    round_end: Cell<u64>,
    /// Bytes of segments looked at in this round, and bytes that were copied out of them.
    round_bytes: Cell<u64>,
    round_moved_bytes: Cell<u64>,
    /// Set when a round has won too little.
    rest: Cell<Option<Rest>>,
    /// While this epoch was in use, the oldest segment could not be cleaned: there was no room,
    /// or it could not be read.
    stalled_in: Cell<u64>,
}

/// Why nothing is to be won: what lives is more than it is taken for.
#[derive(Debug, Clone, Copy)]
struct Rest {
    /// Until the log takes so many bytes,
    until_used_bytes: u64,
    /// or streams store no more than this.
    until_stored_bytes: u64,
    /// Found out on a full disk, where less is enough to go on.
    on_full_disk: bool,
}

/// How much there is, in bytes.
#[derive(Debug, Clone, Copy)]
struct Space {
    used: u64,
    stored: u64,
    segment: u64,
    is_full: bool,
}

impl Cleaner {
    /// Learns how long batches are in the log.
    pub(super) fn note_batch(&self, entry_bytes: u64, metered_bytes: u64) {
        // Halved now and then, so that what came last weighs most.
        let shift = u32::from(self.metered_bytes.get() > 1 << 30);
        self.entry_bytes.set((self.entry_bytes.get() >> shift) + entry_bytes);
        self.metered_bytes.set((self.metered_bytes.get() >> shift) + metered_bytes);
    }

    /// What batches of `metered_bytes` by the API's measure take in the log, most likely.
    fn log_bytes(&self, metered_bytes: u64) -> u64 {
        let (entry, metered) = (self.entry_bytes.get().max(1), self.metered_bytes.get().max(1));
        let bytes =
            u128::from(metered_bytes) * u128::from(entry.max(metered)) / u128::from(metered);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Takes note that a segment was cleaned.
    fn note_segment(&self, bytes: u64, moved_bytes: u64) {
        self.round_bytes.set(self.round_bytes.get() + bytes);
        self.round_moved_bytes.set(self.round_moved_bytes.get() + moved_bytes);
    }

    /// Begins a round when the last one is through. One that won too little is not repeated before
    /// there is more log, or less in it that lives.
    fn begin_round(&self, next_epoch: u64, active_epoch: u64, space: Space) {
        if next_epoch < self.round_end.get() {
            return;
        }
        let (bytes, moved) = (self.round_bytes.take(), self.round_moved_bytes.take());
        let tenths = if space.is_full { 9 } else { 6 };
        let rest = Rest {
            until_used_bytes: space.used + space.used / 4,
            until_stored_bytes: space.stored.saturating_sub(space.segment / 2),
            on_full_disk: space.is_full,
        };
        self.rest.set((moved > bytes / 10 * tenths).then_some(rest));
        self.round_end.set(active_epoch);
    }

    fn rests(&self, space: Space) -> bool {
        self.rest.get().is_some_and(|rest| {
            space.used < rest.until_used_bytes
                && space.stored > rest.until_stored_bytes
                && (rest.on_full_disk || !space.is_full)
        })
    }
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cleaned {
    /// There is nothing to win.
    Nothing,
    /// The oldest segment holds nothing any more that is needed.
    Segment,
    /// There was no room on the disk for what is needed of it.
    NoRoom,
}

/// Why a segment cannot be cleaned.
#[derive(Debug, thiserror::Error)]
pub(super) enum CleanError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("segment with epoch {0} holds records that cannot be found in it any more")]
    Pinned(u64),
    #[error("the log failed: {0}")]
    Log(Rc<str>),
}

impl<I: Io> Engine<I> {
    /// Cleans whenever there is something to win, until the log fails. What is still needed of a
    /// segment that cannot be read pins all that come after it, until it is needed no more.
    pub async fn run_cleaner(self: Rc<Self>) {
        let mut reported = 0;
        while self.durable.failure().is_none() {
            let cleaned = self.clean_step().await;
            let is_stalled = matches!(cleaned, Ok(Cleaned::NoRoom) | Err(_));
            let active_epoch = self.segments.active().epoch;
            self.cleaner.stalled_in.set(if is_stalled { active_epoch } else { 0 });
            match cleaned {
                Ok(Cleaned::Segment) => {}
                Ok(Cleaned::Nothing) => self.io.sleep_us(PAUSE_US).await,
                Ok(Cleaned::NoRoom) => self.io.sleep_us(NO_ROOM_PAUSE_US).await,
                Err(CleanError::Log(_)) => return,
                Err(error) => {
                    let (shard, epoch) = (self.config.log.shard, self.cleaner.cleaned_to.get());
                    if std::mem::replace(&mut reported, epoch) != epoch {
                        tracing::error!(shard, epoch, %error, "a segment cannot be cleaned");
                    }
                    self.io.sleep_us(STALLED_PAUSE_US).await;
                }
            }
        }
    }

    /// Cleans the oldest segment if there is something to win.
    pub(super) async fn clean_step(&self) -> Result<Cleaned, CleanError> {
        if !self.wants_cleaning() && !self.wants_to_leave_active() {
            return Ok(Cleaned::Nothing);
        }
        let active_epoch = self.segments.active().epoch;
        let epoch = self.first_needed_epoch().await;
        self.cleaner.cleaned_to.set(epoch);
        self.release_if_worth_it();
        if epoch >= active_epoch && self.wants_to_leave_active() {
            return self.leave_active(active_epoch).await;
        }
        if epoch >= active_epoch || !self.wants_cleaning() {
            return Ok(Cleaned::Nothing);
        }
        self.cleaner.begin_round(epoch, active_epoch, self.space());
        self.clean(epoch).await
    }

    /// Cleans the segment `epoch`, which must be the oldest of which something is needed.
    pub(super) async fn clean(&self, epoch: u64) -> Result<Cleaned, CleanError> {
        let Some(segment) = self.segments.get(epoch) else { return Ok(Cleaned::Nothing) };
        if self.segments.is_out_of_space() {
            let bytes = self.needed_bytes(&segment).await?;
            if self.check_room_to_move(bytes).is_err() {
                return Ok(Cleaned::NoRoom);
            }
        }
        let moved_bytes = match self.move_out_of(&segment).await {
            Ok(Some(moved_bytes)) => moved_bytes,
            Ok(None) => return Ok(Cleaned::NoRoom),
            // All of it was given up while we went through it, and its file is in use again.
            Err(CleanError::Read(_)) if self.segments.get(epoch).is_none() => 0,
            Err(error) => return Err(error),
        };
        self.cleaner.note_segment(segment.bytes, moved_bytes);
        self.end_log_after(epoch).await?;
        let first_needed = self.first_needed_epoch().await;
        if first_needed <= epoch {
            return Err(CleanError::Pinned(epoch));
        }
        self.cleaner.cleaned_to.set(first_needed);
        self.metrics.segment_cleaned();
        self.release_if_worth_it();
        Ok(Cleaned::Segment)
    }

    /// Has the log durably end in a later segment than `epoch` if it goes on in one: as long as it
    /// ends in it, a segment is needed. Nothing may have been written since the log left it.
    async fn end_log_after(&self, epoch: u64) -> Result<(), CleanError> {
        let ends_in = self.durable_end.get().0.segment;
        if ends_in > epoch || epoch >= self.segments.active().epoch {
            return Ok(());
        }
        let entry = json(&Saved::default());
        let ticket = self.writer.append_metadata(Kind::Usage, &entry, Note::Usage);
        self.settled(ticket).await
    }

    /// Copies what is needed of a segment to the log's end; returns how many bytes when all of it
    /// is durable, `None` when the disk has no room for more.
    async fn move_out_of(&self, segment: &Segment<I::File>) -> Result<Option<u64>, CleanError> {
        let mut moved_bytes = 0;
        let mut step = Step::begin(self.io.now_us());
        let mut frames = Frames::of(segment, self.config.log.salt());
        while let Some(frame) = frames.next().await? {
            step.looked_at_bytes += frame.payload.len();
            for batch in frame.batches() {
                let (bytes, batch) = batch?;
                let Some(stream) = self.stream_that_needs(frame.pos, &batch) else { continue };
                if !self.wait_for_room(bytes.len()).await {
                    self.settled(step.ticket).await?;
                    return Ok(None);
                }
                // The place is the writer's to give.
                let copy = batch.moved_to(frame.pos).map_err(|reason| frame.unparsable(reason))?;
                step.ticket = self.writer.append_moved(bytes, Note::Moved(stream, copy));
                step.moved_bytes += bytes.len();
                moved_bytes += bytes.len() as u64;
                self.cleaner.note_batch(bytes.len() as u64, batch.metered_bytes.into());
                if step.moved_bytes >= MOVED_BYTES_MAX {
                    step = self.end_step(step).await?;
                }
            }
            if step.looked_at_bytes >= LOOKED_AT_BYTES_MAX {
                step = self.end_step(step).await?;
            }
        }
        self.end_step(step).await?;
        self.metrics.batches_moved(moved_bytes);
        Ok(Some(moved_bytes))
    }

    /// Bytes of a segment's entries that are still needed.
    async fn needed_bytes(&self, segment: &Segment<I::File>) -> Result<usize, CleanError> {
        let mut bytes = 0;
        let mut frames = Frames::of(segment, self.config.log.salt());
        while let Some(frame) = frames.next().await? {
            for batch in frame.batches() {
                let (entry_bytes, batch) = batch?;
                let needed = self.stream_that_needs(frame.pos, &batch).is_some();
                bytes += if needed { entry_bytes.len() } else { 0 };
            }
        }
        Ok(usize::try_from(copied_bytes(bytes as u64)).expect("little more than a segment"))
    }

    /// The stream of this batch, if it needs it in the frame at `pos`.
    fn stream_that_needs(&self, pos: LogPos, batch: &Batch<'_>) -> Option<Rc<Stream>> {
        let catalog = self.catalog.borrow();
        let stream = catalog.stream_by_id(batch.place.stream)?;
        let needs = stream.needs(batch.place.first_seq_num, batch.end_seq_num(), pos);
        needs.then(|| Rc::clone(stream))
    }

    /// Waits until what was copied is durable, then lets appends go first for a while.
    async fn end_step(&self, step: Step) -> Result<Step, CleanError> {
        self.settled(step.ticket).await?;
        let took_us = self.io.now_us().saturating_sub(step.began_us);
        // What was just made durable took what was appended with it: nothing may be in flight now.
        if self.has_appends() && !self.segments.is_out_of_space() {
            let over = self.used_bytes().saturating_sub(self.allowed_bytes());
            let limit = 2 * RESERVE_SEGMENTS * self.config.log.segment_bytes;
            let factor_max = u128::from(PAUSE_FACTOR_MAX * took_us);
            let pause_us = factor_max * u128::from(limit.saturating_sub(over)) / u128::from(limit);
            self.io.sleep_us(u64::try_from(pause_us).unwrap_or(PAUSE_US).min(PAUSE_US)).await;
        } else {
            self.io.sleep_us(IDLE_PAUSE_US).await;
        }
        Ok(Step::begin(self.io.now_us()))
    }

    async fn settled(&self, ticket: u64) -> Result<(), CleanError> {
        self.durable.wait(ticket).await.map_err(CleanError::Log)
    }

    /// Waits until the log has room for a copy of so many bytes; false when the disk is full.
    async fn wait_for_room(&self, bytes: usize) -> bool {
        while self.check_room_to_move(bytes).is_err() {
            if self.segments.is_out_of_space() || self.durable.failure().is_some() {
                return false;
            }
            self.io.sleep_us(IDLE_PAUSE_US).await;
        }
        true
    }

    /// Bytes of log from the first segment on that is not cleaned yet.
    fn used_bytes(&self) -> u64 {
        self.segments.used_bytes(self.cleaner.cleaned_to.get())
    }

    /// Bytes of log that are left alone: twice what lives, and the reserve; less on a full disk.
    fn allowed_bytes(&self) -> u64 {
        let live_bytes = self.cleaner.log_bytes(self.catalog.borrow().usage.stored_bytes());
        let segment_bytes = self.config.log.segment_bytes;
        if self.segments.is_out_of_space() {
            // What was held back and is used up comes back first.
            let reserve = if self.is_held_back() { segment_bytes } else { 0 };
            return live_bytes.saturating_add(live_bytes / 4).saturating_add(reserve);
        }
        live_bytes.saturating_mul(2).saturating_add(RESERVE_SEGMENTS * segment_bytes)
    }

    /// Whether appends find no room in the segment in use although half of it, most likely, is
    /// dead, and there is one to go on in.
    fn wants_to_leave_active(&self) -> bool {
        let active = self.segments.active();
        let live_bytes = self.cleaner.log_bytes(self.catalog.borrow().usage.stored_bytes());
        let is_short = self.segments.room_bytes() < self.kept_bytes() + BATCH_BYTES_MAX;
        self.is_held_back()
            && is_short
            && live_bytes <= active.bytes / 2
            && active.end_bytes() > live_bytes + active.bytes / 4
            && active.epoch == self.segments.oldest_epoch()
    }

    /// Leaves the segment in use for the next one, and cleans it.
    async fn leave_active(&self, epoch: u64) -> Result<Cleaned, CleanError> {
        self.writer.roll_soon();
        self.io.sleep_us(PAUSE_US).await;
        if self.segments.active().epoch == epoch {
            return Ok(Cleaned::Nothing); // the log is busy, or its disk slow; it rolls later
        }
        self.clean(epoch).await
    }

    /// Whether there is something to win.
    fn wants_cleaning(&self) -> bool {
        let space = self.space();
        space.used > self.allowed_bytes() && !self.cleaner.rests(space)
    }

    /// Whether what there is to win on a full disk is about to be won.
    pub(super) fn wins_space(&self) -> bool {
        let is_stalled = self.cleaner.stalled_in.get() == self.segments.active().epoch;
        self.segments.is_out_of_space() && !is_stalled && self.wants_cleaning()
    }

    fn space(&self) -> Space {
        Space {
            used: self.used_bytes(),
            stored: self.catalog.borrow().usage.stored_bytes(),
            segment: self.config.log.segment_bytes,
            is_full: self.segments.is_out_of_space(),
        }
    }

    /// What the log takes on the disk, for the metrics.
    pub(super) fn holdings(&self) -> Holdings {
        let Space { used, stored, is_full, .. } = self.space();
        let files = self.segments.files();
        Holdings {
            segments_in_use: files.in_use,
            segments_spare: files.spare,
            segments_free: files.free,
            file_bytes: files.bytes,
            log_bytes: used,
            live_bytes: used.min(self.cleaner.log_bytes(stored)),
            unsaved_bytes: self.checkpoints.logged_bytes(),
            failed: u64::from(self.durable.failure().is_some()),
            full: u64::from(is_full),
        }
    }

    /// Asks for the checkpoints that it takes to give up what was cleaned, when that is enough or
    /// the disk is full.
    fn release_if_worth_it(&self) {
        let won = self.cleaner.cleaned_to.get().saturating_sub(self.segments.oldest_epoch());
        if won >= RELEASE_SEGMENTS || (won > 0 && self.segments.is_out_of_space()) {
            self.release_soon();
        }
    }
}

/// Work between two pauses.
#[derive(Debug, Clone, Copy)]
struct Step {
    began_us: u64,
    looked_at_bytes: usize,
    moved_bytes: usize,
    /// Of the last copy.
    ticket: u64,
}

impl Step {
    fn begin(now_us: u64) -> Self {
        Self { began_us: now_us, looked_at_bytes: 0, moved_bytes: 0, ticket: 0 }
    }
}

#[cfg(test)]
mod tests;
