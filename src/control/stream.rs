//! One stream in memory: what it is, what was accepted, what is durable.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::ops::Range;
use std::rc::Rc;

use super::counted::Counted;
use super::expiry::Expiry;
use super::held::HeldBytes;
use super::kept::{Kept, Newest};
use super::record::StreamRecord;
use super::state::StateCell;
use super::trail::{Trail, TrailCell};
use crate::io::notify::Notify;
use crate::log::format::{FormatError, is_frame_place, u32_at, u64_at};
use crate::log::index::{Index, IndexEntry, MovedBatch, SPAN_BYTES};
use crate::stream::{State, Timestamping};
use crate::types::{
    Cipher, FencingToken, LogPos, Retention, StorageClass, StreamId, StreamPosition,
};

/// What a stream's configuration says of its deletion when it is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteOnEmpty {
    /// How long nothing may have been written, in seconds; at least 1.
    pub min_age_secs: u64,
    /// From when on that counts if nothing was ever written, microseconds since the Unix epoch.
    pub since_us: u64,
}

/// A stream, owned by exactly one shard.
///
/// Invariant: `durable` is `accepted` as it was at some earlier moment; answers and reads show
/// only `durable`, conditions are judged against `accepted`.
///
/// There may be millions, most of them idle: what few of them need is allocated when it is needed.
#[derive(Debug)]
pub struct Stream {
    /// Its id in this shard.
    pub id: StreamId,
    /// Its name; the catalogue has it as a key, and holds it together with this.
    pub(super) name: Rc<str>,
    kept: RefCell<Kept>,
    /// State after the last batch accepted.
    pub accepted: StateCell,
    /// State after the last batch that is durable.
    pub durable: StateCell,
    index: RefCell<Index>,
    /// When its last durable batch was accepted, milliseconds since the Unix epoch; 0 while there
    /// was none, `u64::MAX` when that is not known.
    pub last_arrival_ms: Cell<u64>,
    /// Ticket of the last entry about it, batch or metadata.
    pub last_ticket: Cell<u64>,
    /// Ticket of its creation.
    pub created_ticket: u64,
    /// Ticket of the last entry of its metadata.
    pub metadata_ticket: Cell<u64>,
    /// Whether it was logged that it is gone.
    pub gone: Cell<bool>,
    /// Records that an operator has given up for lost, by number: they are passed over.
    lost: OnceCell<Box<RefCell<Vec<Range<u64>>>>>,
    /// Its durable tail moved, or it is being deleted.
    pub changed: Notify,
    trail: TrailCell,
    pub(super) counted: Counted,
    pub(super) held: HeldBytes,
    pub(super) expiry: Expiry,
}

impl Stream {
    /// A stream with no records yet.
    #[must_use]
    pub fn new(record: StreamRecord, created_ticket: u64) -> Self {
        let expiry = Expiry::default();
        expiry.hide(record.hidden_before_ms.unwrap_or(0));
        Self {
            id: StreamId(record.id),
            name: Rc::from(record.name.as_str()),
            kept: RefCell::new(Kept::of(record)),
            accepted: StateCell::default(),
            durable: StateCell::default(),
            index: RefCell::default(),
            last_arrival_ms: Cell::default(),
            last_ticket: created_ticket.into(),
            created_ticket,
            metadata_ticket: created_ticket.into(),
            gone: Cell::default(),
            lost: OnceCell::new(),
            changed: Notify::default(),
            trail: TrailCell::default(),
            counted: Counted::default(),
            held: HeldBytes::default(),
            expiry,
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn record(&self) -> StreamRecord {
        self.kept.borrow().record(self.id, &self.name)
    }

    pub(super) fn kept(&self) -> Ref<'_, Kept> {
        self.kept.borrow()
    }

    /// Replaces its metadata, but for id and name: a stream keeps those.
    pub(super) fn set_record(&self, record: StreamRecord) {
        self.expiry.hide(record.hidden_before_ms.unwrap_or(0));
        *self.kept.borrow_mut() = Kept::of(record);
    }

    /// Holds its metadata together with the streams of its basin that have the same.
    pub(super) fn share(&self, newest: &mut Newest) {
        newest.share(&mut self.kept.borrow_mut());
    }

    /// Whether its deletion was asked for.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.kept.borrow().seldom().deleted_us.is_some()
    }

    /// How long its records stay.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.kept.borrow().alike.config.retention
    }

    /// When it is to be deleted for being empty; `None` when never.
    #[must_use]
    pub fn delete_on_empty(&self) -> Option<DeleteOnEmpty> {
        let kept = self.kept.borrow();
        let min_age_secs = kept.alike.config.delete_on_empty_min_age_secs;
        let since_us = kept.seldom().delete_on_empty_since_us.unwrap_or(kept.created_us);
        (min_age_secs > 0).then_some(DeleteOnEmpty { min_age_secs, since_us })
    }

    /// How long its acks may take.
    #[must_use]
    pub fn class(&self) -> StorageClass {
        self.kept.borrow().alike.class
    }

    /// With which cipher its records are encrypted, if they are.
    #[must_use]
    pub fn cipher(&self) -> Option<Cipher> {
        self.kept.borrow().alike.cipher
    }

    /// How its records get their timestamps.
    #[must_use]
    pub fn timestamping(&self) -> Timestamping {
        self.kept.borrow().alike.timestamping
    }

    /// Takes note that a batch is durable. Who waits for `changed` is to be woken afterwards.
    pub fn became_durable(
        &self,
        first: StreamPosition,
        arrival_ms: u64,
        pos: LogPos,
        after: State,
    ) {
        self.change_index(|index| {
            index.push(first, arrival_ms, pos);
            index.trim(after.trim_point);
        });
        self.trail.note(first.seq_num, after.tail.seq_num, pos);
        self.durable.set(after);
        self.last_arrival_ms.set(arrival_ms);
        self.expiry.arrived(arrival_ms);
    }

    /// Where its newest batches lie, if somebody follows it.
    #[must_use]
    pub fn trail(&self) -> Option<Rc<Trail>> {
        self.trail.get()
    }

    /// The same, from now on, for as long as someone holds the result.
    #[must_use]
    pub fn begin_trail(&self) -> Rc<Trail> {
        self.trail.get().unwrap_or_else(|| self.trail.begin())
    }

    /// Takes note that the trim point that retention decided on at `at_ms`, milliseconds since the
    /// Unix epoch, is durable.
    pub fn trimmed(&self, trim_point: u64, at_ms: u64) {
        let raised = |state: State| State { trim_point: state.trim_point.max(trim_point), ..state };
        self.accepted.set(raised(self.accepted.get()));
        self.durable.set(raised(self.durable.get()));
        self.change_index(|index| index.trim(trim_point));
        self.count_trim(trim_point, at_ms / 1000);
    }

    /// Takes note that a copy of one of its batches is durable elsewhere.
    pub fn moved(&self, batch: &MovedBatch) {
        let durable = self.durable.get();
        if batch.end_seq_num > durable.trim_point {
            self.change_index(|index| {
                index.moved(batch, durable.tail.seq_num);
                // Of its old run, what is left before it may be trimmed.
                index.trim(durable.trim_point);
            });
        }
    }

    /// Where its durable records lie.
    #[must_use]
    pub fn index(&self) -> Ref<'_, Index> {
        self.index.borrow()
    }

    /// Folds what the index has of sealed segments ([`Index::fold`]).
    pub fn fold_index(&self, epochs: &Range<u64>) {
        self.change_index(|index| index.fold(epochs));
    }

    fn change_index(&self, change: impl FnOnce(&mut Index)) {
        let mut index = self.index.borrow_mut();
        let before = index.memory_bytes();
        change(&mut index);
        self.held.changed(before, index.memory_bytes());
    }

    /// Whether it still needs the batch of the records `first..end` in the frame at `pos`: the
    /// batch is not trimmed, and no other copy counts.
    #[must_use]
    pub fn needs(&self, first: u64, end: u64, pos: LogPos) -> bool {
        end > self.durable.get().trim_point && self.index.borrow().is_at(first, pos)
    }

    /// Epoch of the oldest segment that it still needs; `None` when it needs none.
    #[must_use]
    pub fn first_needed_epoch(&self) -> Option<u64> {
        let durable = self.durable.get();
        if durable.trim_point >= durable.tail.seq_num {
            return None;
        }
        self.index.borrow().first_epoch()
    }

    /// Gives records up for lost, as far as the stream has them: what is appended later is not.
    pub fn give_up(&self, records: Range<u64>) {
        let end = records.end.min(self.durable.get().tail.seq_num);
        if records.start < end {
            self.lost.get_or_init(Box::default).borrow_mut().push(records.start..end);
        }
    }

    /// Where the records end that were given up for lost, if this is one of them.
    #[must_use]
    pub fn lost_to(&self, seq_num: u64) -> Option<u64> {
        self.lost.get()?.borrow().iter().find(|lost| lost.contains(&seq_num)).map(|lost| lost.end)
    }

    /// Its durable position and index, for a checkpoint.
    ///
    /// ```text
    ///   0 u64 stream id        24 u64 trim_point       then per index entry:
    ///   8 u64 tail seq_num     32 u32 token bytes        u64 seq_num, u64 timestamp,
    ///  16 u64 tail timestamp   36 token                  u64 epoch, u32 offset_bytes,
    ///                                                    u32 span_bytes
    /// ```
    #[must_use]
    pub fn encode_state(&self) -> Vec<u8> {
        let durable = self.durable.get();
        let token = durable.fencing_token;
        let mut out = Vec::new();
        let numbers = [self.id.0, durable.tail.seq_num, durable.tail.timestamp, durable.trim_point];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let token_bytes = u32::try_from(token.as_str().len()).expect("at most 36");
        out.extend_from_slice(&token_bytes.to_le_bytes());
        out.extend_from_slice(token.as_str().as_bytes());
        for entry in self.index.borrow().iter() {
            out.extend_from_slice(&entry.seq_num.to_le_bytes());
            out.extend_from_slice(&entry.timestamp.to_le_bytes());
            out.extend_from_slice(&entry.pos.segment.to_le_bytes());
            out.extend_from_slice(&entry.pos.offset_bytes.to_le_bytes());
            out.extend_from_slice(&entry.span_bytes.to_le_bytes());
        }
        out
    }

    /// Takes over what [`encode_state`](Self::encode_state) wrote.
    ///
    /// * Errors: [`FormatError::Entry`] when the bytes do not parse.
    pub fn decode_state(&self, bytes: &[u8]) -> Result<(), FormatError> {
        let saved = SavedState::parse(bytes)?;
        self.accepted.set(saved.state);
        self.durable.set(saved.state);
        let was_written = saved.state.tail.seq_num > 0;
        self.last_arrival_ms.set(if was_written { u64::MAX } else { 0 });
        self.change_index(|index| *index = Index::restored(&saved.index));
        Ok(())
    }

    /// When its durable batches arrived, for a checkpoint, behind its state.
    ///
    /// ```text
    ///   0 u64 stream id     8 u64 last_arrival_ms     16 u64 arrival_ms, for each index entry
    /// ```
    #[must_use]
    pub fn encode_arrivals(&self) -> Vec<u8> {
        let index = self.index.borrow();
        let arrivals = index.iter().map(|entry| entry.arrival_ms);
        let numbers = [self.id.0, self.last_arrival_ms.get()].into_iter().chain(arrivals);
        numbers.flat_map(u64::to_le_bytes).collect()
    }

    /// Takes over what [`encode_arrivals`](Self::encode_arrivals) wrote of the index that is here.
    ///
    /// * Errors: [`FormatError::Entry`] when it is about another index.
    pub fn decode_arrivals(&self, bytes: &[u8]) -> Result<(), FormatError> {
        const BAD: FormatError = FormatError::Entry("arrivals of a stream");
        let (numbers, rest) = bytes.as_chunks::<8>();
        let [_, last_arrival_ms, arrivals @ ..] = numbers else { return Err(BAD) };
        if !rest.is_empty() || !self.index.borrow_mut().set_arrivals(arrivals) {
            return Err(BAD);
        }
        let last_arrival_ms = u64::from_le_bytes(*last_arrival_ms);
        self.last_arrival_ms.set(last_arrival_ms);
        if last_arrival_ms != u64::MAX {
            self.expiry.arrived(last_arrival_ms);
        }
        Ok(())
    }

    /// Which stream a state or arrivals entry is about.
    ///
    /// * Errors: [`FormatError::Entry`] when it is too short to say.
    pub fn state_id(bytes: &[u8]) -> Result<StreamId, FormatError> {
        if bytes.len() < 8 {
            return Err(FormatError::Entry("stream state"));
        }
        Ok(StreamId(u64_at(bytes, 0)))
    }
}

/// What [`Stream::encode_state`] wrote, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// Which stream it is about.
    pub id: StreamId,
    /// Its durable state.
    pub state: State,
    /// Where its records lie, in their order.
    pub index: Vec<IndexEntry>,
}

impl SavedState {
    /// Parses the bytes of a state entry.
    ///
    /// * Errors: [`FormatError::Entry`] when they do not parse or the index is out of order.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        const BAD: FormatError = FormatError::Entry("stream state");
        if bytes.len() < 36 {
            return Err(BAD);
        }
        let token_bytes = u32_at(bytes, 32) as usize;
        let (token, entries) = bytes[36..].split_at_checked(token_bytes).ok_or(BAD)?;
        let token = std::str::from_utf8(token).map_err(|_| BAD)?;
        let state = State {
            tail: StreamPosition { seq_num: u64_at(bytes, 8), timestamp: u64_at(bytes, 16) },
            trim_point: u64_at(bytes, 24),
            fencing_token: FencingToken::new(token).map_err(|_| BAD)?,
        };
        if state.trim_point > state.tail.seq_num {
            return Err(FormatError::Entry("stream trimmed beyond its tail"));
        }
        let entries = entries.chunks(32).map(|entry| {
            if entry.len() != 32 {
                return Err(BAD);
            }
            let pos = LogPos { segment: u64_at(entry, 16), offset_bytes: u32_at(entry, 24) };
            let (seq_num, timestamp) = (u64_at(entry, 0), u64_at(entry, 8));
            let span_bytes = u32_at(entry, 28);
            let in_log = is_frame_place(pos) && span_bytes >= SPAN_BYTES;
            if !in_log || seq_num >= state.tail.seq_num {
                return Err(FormatError::Entry("stream index points beyond the log"));
            }
            // When it arrived is said by another entry. Without it, nothing of it expires early.
            Ok(IndexEntry { seq_num, timestamp, arrival_ms: u64::MAX, pos, span_bytes })
        });
        let index = entries.collect::<Result<Vec<_>, _>>()?;
        if !index.is_sorted_by(|a, b| a.seq_num < b.seq_num) {
            return Err(FormatError::Entry("stream index out of order"));
        }
        Ok(Self { id: StreamId(u64_at(bytes, 0)), state, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state with two runs, changed by `edit`.
    fn parsed(edit: impl FnOnce(&mut [u8])) -> Result<SavedState, FormatError> {
        let mut bytes = Vec::new();
        for number in [1_u64, 5, 0, 0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        for (seq_num, offset_bytes) in [(0_u64, 4096_u32), (4, 8192)] {
            bytes.extend_from_slice(&seq_num.to_le_bytes());
            bytes.extend_from_slice(&[0; 8]);
            bytes.extend_from_slice(&1_u64.to_le_bytes());
            bytes.extend_from_slice(&offset_bytes.to_le_bytes());
            bytes.extend_from_slice(&SPAN_BYTES.to_le_bytes());
        }
        edit(&mut bytes);
        SavedState::parse(&bytes)
    }

    #[test]
    fn a_trim_point_beyond_the_tail_is_refused() {
        let beyond = Err(FormatError::Entry("stream trimmed beyond its tail"));
        assert_eq!(parsed(|bytes| bytes[24] = 6), beyond);
        assert!(parsed(|bytes| bytes[24] = 5).is_ok());
    }

    #[test]
    fn an_index_that_points_where_no_record_can_be_is_refused() {
        assert_eq!(parsed(|_| ()).map(|saved| saved.index.len()), Ok(2));
        let beyond = Err(FormatError::Entry("stream index points beyond the log"));
        // The tail falls; the second run's number, segment, offset and span.
        for (at, byte) in [(8, 4), (68, 5), (91, 0xFF), (92, 1), (93, 0), (98, 0)] {
            assert_eq!(parsed(|bytes| bytes[at] = byte), beyond, "{at}");
        }
    }
}
