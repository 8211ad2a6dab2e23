//! Checkpoints: when they are due, and how they are written while everything goes on.
//!
//! * Which streams there are, basins, tokens and usage counters are saved as they are at one
//!   moment, which is the checkpoint's place in the log. Only this is done in one go.
//! * What is in each stream is saved a few streams at a time, each as it durably is then: its
//!   records, and what the log says of them from the place on, may be in it already, and
//!   `shard::replay` passes over that. A stream that goes meanwhile is saved all the same, as it
//!   was last: the log after the place says that it goes.
//! * So the memory that a checkpoint takes and the time for which it holds the core do not grow
//!   with the number of streams.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future;

use super::engine::{Engine, json};
use super::turns::Turns;
use crate::control::{Stream, TokenRecord};
use crate::io::notify::Notify;
use crate::io::{BLOCK_BYTES, Io, IoError};
use crate::log::checkpoint::{
    self, CheckpointBuilder, CheckpointFacts, CheckpointWriter, remove_unfinished,
};
use crate::log::entry::Kind;
use crate::planted::{self, Bug};
use crate::types::{LogPos, StreamId};
use crate::usage::Saved;

/// How often it is looked whether a backup that segments are kept for is over, in microseconds.
const PIN_LOOK_US: u64 = 5_000_000;
/// Full frames after which what was saved is written, however few streams it is.
const FULL_FRAMES_MAX: usize = 4;
/// Shortest and longest pause after checkpoints that failed, or gave nothing back on a full disk,
/// in microseconds; but no shorter than they took. A deletion may wait as long for its effect.
const IN_VAIN_PAUSE_US_MIN: u64 = 100_000;
const IN_VAIN_PAUSE_US_MAX: u64 = 2_000_000;
/// Keeps room on the disk for checkpoints; what is in it means nothing, and it may be missing.
const ROOM_FILE: &str = "checkpoint-room";
/// Its least length, in bytes.
const ROOM_BYTES_MIN: u64 = 256 * 1024;
/// Streams looked at without a pause for the oldest segment needed.
const STREAMS_STEP: usize = 1024;

/// How a checkpoint gives way to everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointPace {
    /// Most streams saved without a pause.
    pub streams: usize,
    /// The pause, in microseconds.
    pub pause_us: u64,
}

impl Default for CheckpointPace {
    /// Well below a millisecond of work, then whoever waits has a turn.
    fn default() -> Self {
        Self { streams: 256, pause_us: 1 }
    }
}

/// What a shard knows of its checkpoints.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// Bytes of log since the last one.
    logged_bytes: Cell<u64>,
    due: Notify,
    /// Segments are to be given up at once.
    release_due: Cell<bool>,
    previous_first_epoch: Cell<u64>,
    /// Segments before this epoch are kept for a backup alone.
    held_before: Cell<Option<u64>>,
    turns: Turns<()>,
    under_way: RefCell<Option<UnderWay>>,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self {
            logged_bytes: Cell::default(),
            due: Notify::default(),
            release_due: Cell::default(),
            previous_first_epoch: 1.into(),
            held_before: Cell::default(),
            turns: Turns::default(),
            under_way: RefCell::default(),
        }
    }
}

/// A checkpoint that is being written.
#[derive(Debug)]
struct UnderWay {
    /// Streams whose creation has a later ticket were not durable at its place.
    ticket: u64,
    /// Of those that were, the ones up to this id are saved.
    saved_to: StreamId,
    /// Those that are gone since and not saved yet.
    gone: BTreeMap<StreamId, Rc<Stream>>,
}

impl Checkpoints {
    /// Bytes of log since the last one.
    pub(super) fn logged_bytes(&self) -> u64 {
        self.logged_bytes.get()
    }

    /// Takes note that a stream is durably gone.
    pub(super) fn note_gone(&self, stream: &Rc<Stream>) {
        if let Some(under_way) = &mut *self.under_way.borrow_mut()
            && stream.created_ticket <= under_way.ticket
            && stream.id > under_way.saved_to
        {
            under_way.gone.insert(stream.id, Rc::clone(stream));
        }
    }
}

/// What a checkpoint holds so far.
pub(super) struct Draft {
    pub(super) facts: CheckpointFacts,
    pub(super) builder: CheckpointBuilder,
    /// Tokens that are not saved yet, as they durably were at its place.
    tokens: std::vec::IntoIter<Rc<TokenRecord>>,
}

impl Draft {
    /// Saves some of the tokens; false when all are saved.
    fn save_tokens(&mut self, tokens_max: usize) -> bool {
        let before = self.tokens.len();
        let mut saved = 0;
        while saved < tokens_max && self.builder.full_frames() < FULL_FRAMES_MAX {
            let Some(record) = self.tokens.next() else { break };
            self.builder.push(Kind::Token, &json(&*record));
            saved += 1;
        }
        before > 0
    }
}

impl<I: Io> Engine<I> {
    /// Writes checkpoints as the log grows, for ever. A failed one is tried again after as much
    /// more log: it bounds a restart, it promises nothing. Of failures in a row the first is
    /// reported: on a full disk, and without room for a checkpoint, each group would bring one.
    ///
    /// On a full disk it is what gives room back: little can be logged, so whatever is logged
    /// (trims and deletions) is followed by a checkpoint, and by the second one that it takes
    /// before a segment may go. One that fails, or gives nothing back there, is followed by a
    /// pause, which doubles as long as that goes on.
    pub async fn run_checkpoints(self: Rc<Self>) {
        let state = &self.checkpoints;
        let mut is_failing = false;
        let mut pause_us = 0;
        self.keep_room().await;
        loop {
            while state.logged_bytes.get() < self.checkpoint_due_bytes() {
                if state.held_before.get().is_none() {
                    state.due.notified().await;
                    continue;
                }
                let (due, later) =
                    (pin!(state.due.notified()), pin!(self.io.sleep_us(PIN_LOOK_US)));
                future::select(due, later).await;
                let given_up = state.held_before.get().map(|oldest| self.give_up_before(oldest));
                if let Some(Err(error)) = given_up {
                    tracing::warn!(shard = self.config.log.shard, %error, "not all was given up");
                }
            }
            state.logged_bytes.set(0);
            let (began_us, oldest_epoch) = (self.io.now_us(), self.segments.oldest_epoch());
            let mut written = self.checkpoint().await;
            if written.as_ref().is_err_and(IoError::is_out_of_space) && self.give_room().await {
                written = self.checkpoint().await;
            }
            let releases = self.segments.oldest_epoch() < state.previous_first_epoch.get();
            let at_once = state.release_due.take() || self.segments.is_out_of_space();
            if written.is_ok() && releases && at_once {
                written = self.checkpoint().await;
            }
            self.keep_room().await;
            let was_failing = std::mem::replace(&mut is_failing, written.is_err());
            let shard = self.config.log.shard;
            match written {
                Err(error) if !was_failing => {
                    tracing::error!(shard, %error, "checkpoint failed");
                }
                Err(error) => tracing::debug!(shard, %error, "checkpoint failed again"),
                Ok(()) if was_failing => tracing::info!(shard, "checkpoints are written again"),
                Ok(()) => {}
            }
            let is_full = self.segments.is_out_of_space();
            let is_in_vain =
                is_failing || (is_full && self.segments.oldest_epoch() == oldest_epoch);
            if !is_in_vain {
                pause_us = 0;
                continue;
            }
            pause_us = (2 * pause_us).clamp(IN_VAIN_PAUSE_US_MIN, IN_VAIN_PAUSE_US_MAX);
            let took_us = self.io.now_us().saturating_sub(began_us);
            self.io.sleep_us(pause_us.max(took_us)).await;
            if is_failing && is_full {
                self.note_logged(1); // what it would give back may be all that there is
            }
        }
    }

    /// Keeps a file of which nothing is needed, as long as the next two checkpoints, most likely:
    /// on a full disk it makes way for them. Whatever fails is tried again after the next one; a
    /// file that is too short is better than none, so it is not given up for a longer one that the
    /// disk has no room for.
    async fn keep_room(&self) {
        let kept = async {
            let newest = checkpoint::list(&*self.io)?.pop().map_or(0, |(_, bytes)| bytes);
            let bytes = (newest * 5 / 2).max(ROOM_BYTES_MIN).next_multiple_of(BLOCK_BYTES as u64);
            let kept = self.room_kept_bytes()?;
            let is_full = self.segments.is_out_of_space();
            match kept {
                Some(kept) if kept >= bytes || is_full => return Ok(()),
                Some(_) => self.io.remove(ROOM_FILE)?,
                None => {}
            }
            match (self.io.create(ROOM_FILE, bytes).await, kept) {
                (Err(error), Some(kept)) if error.is_out_of_space() => {
                    self.io.create(ROOM_FILE, kept).await.map(drop)
                }
                (created, _) => created.map(drop),
            }
        };
        let kept: Result<(), IoError> = kept.await;
        if let Err(error) = kept {
            tracing::debug!(shard = self.config.log.shard, %error, "no room kept for checkpoints");
        }
    }

    /// Gives up the room that was kept, when that lets segments be given up; false when it does not
    /// or there is none.
    async fn give_room(&self) -> bool {
        self.first_needed_epoch().await > self.segments.oldest_epoch()
            && self.room_kept_bytes().is_ok_and(|kept| kept.is_some())
            && self.io.remove(ROOM_FILE).is_ok()
    }

    fn room_kept_bytes(&self) -> Result<Option<u64>, IoError> {
        let files = self.io.list()?;
        Ok(files.into_iter().find(|(name, _)| name == ROOM_FILE).map(|(_, bytes)| bytes))
    }

    /// Takes note that the durable log grew.
    pub(super) fn note_logged(&self, bytes: u64) {
        let logged_bytes = self.checkpoints.logged_bytes.get() + bytes;
        self.checkpoints.logged_bytes.set(logged_bytes);
        if logged_bytes >= self.checkpoint_due_bytes() {
            self.checkpoints.due.notify();
        }
    }

    fn checkpoint_due_bytes(&self) -> u64 {
        match () {
            () if self.checkpoints.release_due.get() => 0,
            () if self.segments.is_out_of_space() => 1,
            () => self.config.checkpoint_bytes,
        }
    }

    /// Has checkpoints written until segments that hold nothing any more are given up.
    pub(super) fn release_soon(&self) {
        self.checkpoints.release_due.set(true);
        self.checkpoints.due.notify();
    }

    /// Epoch of the oldest segment of which something is needed; that in use if there is none.
    ///
    /// What a stream needs only moves on, and what is logged meanwhile lies in no older segment
    /// than the log's end at the beginning: so nothing before this epoch is needed when it returns.
    ///
    /// * Cost: looks at every stream, a few at a time.
    pub(super) async fn first_needed_epoch(&self) -> u64 {
        let mut first = self.durable_end.get().0.segment;
        let mut seen = StreamId(0);
        loop {
            let mut count = 0;
            for stream in self.catalog.borrow().streams_after(seen).take(STREAMS_STEP) {
                first = first.min(stream.first_needed_epoch().unwrap_or(first));
                (seen, count) = (stream.id, count + 1);
            }
            if count < STREAMS_STEP {
                return first;
            }
            self.io.sleep_us(1).await;
        }
    }

    /// Writes a checkpoint of what is durable, then gives up segments that hold nothing any more.
    /// One after the other: the last one, at shutdown, may come while another is under way, and
    /// each removes the temporary files that it finds.
    ///
    /// * Durable: yes, when it returns.
    /// * Cost: memory for a few hundred streams, however many there are.
    pub async fn checkpoint(&self) -> Result<(), IoError> {
        let _alone = self.checkpoints.turns.take(&()).await;
        let began_us = self.io.now_us();
        let written = self.write_checkpoint().await;
        self.checkpoints.under_way.take();
        match &written {
            Ok(_) => self.metrics.checkpoint_written(self.io.now_us() - began_us),
            Err(_) => self.metrics.checkpoint_failed(),
        }
        if written.is_err()
            && let Err(error) = remove_unfinished(&*self.io)
        {
            // The next attempt removes it; until then it takes room that may be wanted.
            tracing::warn!(shard = self.config.log.shard, %error, "unfinished checkpoint left");
        }
        let first_epoch = written?;
        // The checkpoint before this one may still be needed, and what it needs with it.
        let previous = self.checkpoints.previous_first_epoch.replace(first_epoch);
        let early = planted::has(Bug::ReleasedEarly);
        let oldest_needed = if early { first_epoch } else { previous.min(first_epoch) };
        self.give_up_before(oldest_needed)
    }

    /// Gives up the segments before this epoch, of which nothing is needed; while somebody copies
    /// them, later.
    fn give_up_before(&self, oldest_needed: u64) -> Result<(), IoError> {
        // On a full disk the copy, not the server, is what has to begin again.
        if self.io.is_pinned() && !self.segments.is_out_of_space() {
            tracing::debug!(shard = self.config.log.shard, "segments are kept for a backup");
            if self.checkpoints.held_before.replace(Some(oldest_needed)).is_none() {
                self.checkpoints.due.notify();
            }
            return Ok(());
        }
        self.checkpoints.held_before.set(None);
        let released = self.segments.release_before(self.oldest_unshipped(oldest_needed));
        if released > 0 {
            tracing::info!(shard = self.config.log.shard, released, "segments given up");
        }
        (0..released).for_each(|_| self.metrics.segment_recycled());
        if released > 0 {
            self.footers.remove_but(self.segments.oldest_epoch()..self.segments.active().epoch)?;
        }
        Ok(())
    }

    /// Returns the epoch of the oldest segment that the checkpoint needs.
    async fn write_checkpoint(&self) -> Result<u64, IoError> {
        let CheckpointPace { streams, pause_us } = self.config.checkpoint_pace;
        let mut draft = self.begin_checkpoint();
        let next_frame_seq = draft.facts.chain.next_frame_seq;
        let log = self.config.log;
        let mut writer = CheckpointWriter::create(&*self.io, log, next_frame_seq).await?;
        while self.save_streams(&mut draft, streams) {
            writer.write_full(&mut draft.builder).await?;
            self.io.sleep_us(pause_us).await;
        }
        self.end_checkpoint(writer, draft).await
    }

    /// Saves what is saved in one go.
    pub(super) fn begin_checkpoint(&self) -> Draft {
        let catalog = self.catalog.borrow();
        let ticket = self.durable.reached();
        let (mut pos, mut chain) = self.durable_end.get();
        if planted::has(Bug::CheckpointAhead) {
            let active = self.segments.active();
            let offset_bytes = u32::try_from(active.end_bytes()).unwrap_or(u32::MAX);
            (pos, chain) = (LogPos { segment: active.epoch, offset_bytes }, self.writer.chain());
        }
        let mut builder = CheckpointBuilder::default();
        for saved in catalog.usage.save() {
            builder.push(Kind::Usage, &json(&saved));
        }
        // Empty but in shard 0. Copies are handed out anew at start, never saved: a saved one would
        // outlive its basin.
        for record in self.registry.borrow().durable(ticket) {
            builder.push(Kind::Basin, &json(record));
        }
        let under_way = UnderWay { ticket, saved_to: StreamId(0), gone: BTreeMap::new() };
        *self.checkpoints.under_way.borrow_mut() = Some(under_way);
        let facts = CheckpointFacts {
            pos,
            chain,
            first_epoch: pos.segment,
            next_stream_id: catalog.next_stream_id(),
            end_frame_seq: chain.next_frame_seq,
        };
        // Held, not spelled: there may be many, and nothing else runs meanwhile.
        let tokens: Vec<_> = self.tokens.borrow().durable(ticket).cloned().collect();
        Draft { facts, builder, tokens: tokens.into_iter() }
    }

    /// Saves some of the tokens, or else of the streams, that there were at the checkpoint's place,
    /// these as they durably are now; false when all are saved.
    pub(super) fn save_streams(&self, draft: &mut Draft, streams_max: usize) -> bool {
        if draft.save_tokens(streams_max) {
            return true;
        }
        let mut under_way = self.checkpoints.under_way.borrow_mut();
        let Some(UnderWay { ticket, saved_to, gone }) = &mut *under_way else { return false };
        let catalog = self.catalog.borrow();
        let mut stored = Vec::new();
        let mut has_more = true;
        while stored.len() < streams_max && draft.builder.full_frames() < FULL_FRAMES_MAX {
            let there = catalog.streams_after(*saved_to).next().cloned();
            let there = there.filter(|s| s.id.0 < draft.facts.next_stream_id);
            let lost =
                gone.first_entry().filter(|lost| there.as_ref().is_none_or(|s| *lost.key() < s.id));
            let Some(stream) = lost.map(|lost| lost.remove()).or(there) else {
                has_more = false;
                break;
            };
            *saved_to = stream.id;
            if stream.created_ticket <= *ticket {
                save_stream(&stream, draft);
                stored.push((stream.id.0, stream.stored_bytes()));
            }
        }
        // Of the same moment as their states.
        let stored = Saved::of_streams(stored.into_iter());
        if !stored.stored.is_empty() {
            draft.builder.push(Kind::Usage, &json(&stored));
        }
        has_more
    }

    /// Finishes a checkpoint; returns the epoch of the oldest segment that it needs.
    pub(super) async fn end_checkpoint(
        &self,
        writer: CheckpointWriter<'_, I>,
        draft: Draft,
    ) -> Result<u64, IoError> {
        let (_, chain) = self.durable_end.get();
        let facts = CheckpointFacts { end_frame_seq: chain.next_frame_seq, ..draft.facts };
        writer.finish(draft.builder, facts).await?;
        Ok(facts.first_epoch)
    }
}

fn save_stream(stream: &Stream, draft: &mut Draft) {
    let Draft { facts, builder, .. } = draft;
    builder.push(Kind::Stream, &json(&stream.record()));
    builder.push(Kind::StreamState, &stream.encode_state());
    builder.push(Kind::Arrivals, &stream.encode_arrivals());
    if planted::has(Bug::LivingGivenUp) {
        return;
    }
    facts.first_epoch = facts.first_epoch.min(stream.first_needed_epoch().unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests;
