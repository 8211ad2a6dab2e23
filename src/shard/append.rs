//! Appending: judge, sequence, log, wait, acknowledge.

use std::rc::Rc;

use super::call::{Answer, Asked, CallResult, StreamPath};
use super::encryption::check_seq_nums;
use super::engine::{Engine, Note, Refused};
use super::receipt::ReceiptSlot;
use crate::audit;
use crate::control::Stream;
use crate::crypto::StreamKey;
use crate::io::Io;
use crate::log::entry::sealed::sealed_bytes_max;
use crate::log::entry::{BatchPlace, batch_bytes_max, metadata_bytes};
use crate::types::{Ack, AppendInput, Command, Refusal, StreamPosition, SuppliedKey};

/// Log bytes kept free on a full disk for what gives room back: trims and deletions. No more than
/// a quarter of a segment: room for one is all that an empty log may count on.
const RESERVE_BYTES: u64 = 2 * 1024 * 1024;
/// Log bytes kept free beyond that so that a segment can be copied of which all lives, though the
/// copy takes a little more: the end of a segment that a frame does not fit into. No more than a
/// quarter of a segment either.
const COPY_WASTE_BYTES: u64 = 1024 * 1024 + 512 * 1024;
/// What a trim by retention takes in the log.
const TRIM_BYTES: usize = metadata_bytes(24);
/// More than a new basin or stream takes in the log, or its deletion.
const CREATION_BYTES_MAX: usize = 64 * 1024;

impl<I: Io> Engine<I> {
    /// Appends a batch and answers once it is durable.
    pub(super) async fn append(
        self: &Rc<Self>,
        (path, key): (&StreamPath, Option<SuppliedKey>),
        input: AppendInput,
        asked: &Asked,
        wants_receipt: bool,
    ) -> CallResult {
        let start_us = self.io.now_us();
        let bytes = input.metered_bytes;
        self.metrics.append_offered(input.records.len() as u64, bytes);
        self.admit_in_time(path, &input).await?;
        let admitted_us = self.io.now_us();
        self.metrics.append_admitted(admitted_us - start_us);
        let sequenced = self
            .check_room_for(&input)
            .map_err(Refused::from)
            .and_then(|()| self.stream_for_append((path, key.as_ref()), asked))
            .and_then(|(stream, key)| {
                let slot = wants_receipt.then(|| ReceiptSlot::new(start_us, stream.class()));
                let (ack, ticket) = self.sequence(&stream, &input, key.as_ref(), slot.clone())?;
                audit::commanded(path, &input, &asked.from);
                Ok((stream, ack, ticket, slot))
            });
        let records = input.records.len() as u64;
        let AppendInput { buf, .. } = input;
        let (stream, ack, ticket, slot) = match sequenced {
            Ok(sequenced) => sequenced,
            Err(refused) => return self.refuse(refused).await,
        };
        self.settle_for(stream.class(), ticket).await?;
        let latency_us = self.io.now_us() - start_us;
        self.metrics.append_acked(stream.class(), records, bytes, latency_us);
        self.metrics.append_waited(stream.class(), ticket, start_us, latency_us);
        let ack = Ack { tail: stream.durable.get().tail, ..ack };
        Ok(Answer::Ack(ack, buf.into_spare(), slot.and_then(|slot| slot.receipt())))
    }

    /// Judges a batch and hands it to the log, without an await: whole or not at all.
    ///
    /// * Shape: the acknowledgement, and the ticket that it waits for. When that is reached,
    ///   `slot` holds the receipt.
    pub(super) fn sequence(
        self: &Rc<Self>,
        stream: &Rc<Stream>,
        input: &AppendInput,
        key: Option<&StreamKey>,
        slot: Option<Rc<ReceiptSlot>>,
    ) -> Result<(Ack, u64), Refused> {
        let bytes_max =
            if key.is_some() { sealed_bytes_max(input) } else { batch_bytes_max(input) };
        self.check_room_for_bytes(input, bytes_max)?;
        if stream.is_deleting() {
            let refusal = Refusal::StreamDeletionPending(stream.record().name);
            return Err(Refused { refusal, ticket: stream.last_ticket.get() });
        }
        let now_ms = self.io.wall_us() / 1000;
        let before = stream.accepted.get();
        let mut timestamps = self.timestamps.borrow_mut();
        let judged = before.judge(input, stream.timestamping(), now_ms, &mut timestamps);
        let judged = judged
            .and_then(|after| check_seq_nums(key, input, before.tail.seq_num).map(|()| after));
        // What a refusal reveals may not be durable yet.
        let after =
            judged.map_err(|refusal| Refused { refusal, ticket: stream.last_ticket.get() })?;
        let first = StreamPosition { seq_num: before.tail.seq_num, timestamp: timestamps[0] };
        let arrival_ms = stream.arrive(now_ms);
        let place = BatchPlace { stream: stream.id, first_seq_num: first.seq_num, arrival_ms };
        let bytes = input.metered_bytes;
        let note = Note::Batch {
            stream: Rc::clone(stream),
            first,
            after,
            arrival_ms,
            bytes,
            receipt: slot,
        };
        let class = stream.class();
        let ticket = match key {
            None => self.writer.append_batch(place, input, &timestamps, class, note),
            Some(key) => {
                let sealer = key.sealer(self.io.secret_bytes());
                self.writer.append_sealed(place, input, (&timestamps, &sealer), class, note)
            }
        };
        stream.accepted.set(after);
        stream.last_ticket.set(ticket);
        self.inflight_bytes.set(self.inflight_bytes.get() + input.metered_bytes);
        let ack = Ack { start: first, end: after.tail, tail: after.tail };
        Ok((ack, ticket))
    }

    /// Refuses before any effect when the log might not find room on the disk.
    pub(super) fn check_room_for(&self, input: &AppendInput) -> Result<(), Refusal> {
        self.check_room_for_bytes(input, batch_bytes_max(input))
    }

    /// The same for a batch that takes at most `bytes_max`.
    fn check_room_for_bytes(&self, input: &AppendInput, bytes_max: usize) -> Result<(), Refusal> {
        let trims = input.records.iter().all(|r| matches!(r.command, Some(Command::Trim(_))));
        if trims { self.check_room_to_free(bytes_max) } else { self.check_room_to_add(bytes_max) }
    }

    /// Refuses to create a basin or stream when the log might not find room on the disk.
    pub(super) fn check_room_to_create(&self) -> Result<(), Refusal> {
        self.check_room_to_add(CREATION_BYTES_MAX)
    }

    /// Refuses what wins no room when the log might not find room for it on the disk, or when the
    /// cleaner needs what there is to win more.
    fn check_room_to_add(&self, bytes: usize) -> Result<(), Refusal> {
        self.check_not_far_behind()?;
        if self.wins_space() {
            return Err(Refusal::HotServer("the disk is full; space is being won".to_owned()));
        }
        check_room(self.segments.room_bytes(), self.wanted_bytes(bytes) + self.kept_bytes())
    }

    /// Refuses what gives room back when the log might not find room for it on the disk. Half of
    /// what is held back is left to the cleaner and to deletions, also when it is in use already;
    /// while the cleaner wins space with it, all of what is left.
    fn check_room_to_free(&self, bytes: usize) -> Result<(), Refusal> {
        let uses_held_back = self.segments.uses_held_back();
        let (room_bytes, left) = match self.wins_space() {
            true if uses_held_back => (self.segments.room_bytes(), 0),
            false if uses_held_back || self.is_held_back() => {
                (self.room_to_free_bytes(), self.config.log.segment_bytes / 2)
            }
            _ => (self.room_to_free_bytes(), 0),
        };
        let reserve = self.deletions_reserve_bytes().max(left);
        check_room(room_bytes, self.wanted_bytes(bytes) + reserve)
    }

    /// Refuses to log what retention trims when the log might not find room on the disk.
    pub(super) fn check_room_to_trim(&self) -> Result<(), Refusal> {
        self.check_room_to_free(TRIM_BYTES)
    }

    /// Refuses to copy a batch to the log's end when the log might not find room on the disk.
    pub(super) fn check_room_to_move(&self, bytes: usize) -> Result<(), Refusal> {
        let reserve = self.reserve_bytes();
        check_room(self.segments.room_to_free_bytes(), self.wanted_bytes(bytes) + reserve)
    }

    /// Refuses to delete a stream when the log might not find room on the disk: rather than have it
    /// wait for a segment that only a deletion could give.
    pub(super) fn check_room_to_delete(&self, stream: &Stream) -> Result<(), Refusal> {
        let frees = stream.first_needed_epoch().is_some();
        let reserve = if frees { 0 } else { self.freeing_reserve_bytes() };
        let wanted = self.wanted_bytes(CREATION_BYTES_MAX);
        check_room(self.room_to_free_bytes(), wanted + reserve)
    }

    /// Refuses to save usage counters when the log might not find room on the disk.
    pub(super) fn check_room_for_usage(&self, bytes: usize) -> Result<(), Refusal> {
        self.check_room_to_add(bytes)
    }

    /// Refuses to change a stream's configuration when the log might not find room on the disk: a
    /// shorter age may be what gives room.
    pub(super) fn check_room_to_change(&self) -> Result<(), Refusal> {
        self.check_room_to_free(CREATION_BYTES_MAX)
    }

    fn reserve_bytes(&self) -> u64 {
        RESERVE_BYTES.min(self.config.log.segment_bytes / 4)
    }

    /// Of the reserve, what trims leave to deletions.
    fn deletions_reserve_bytes(&self) -> u64 {
        self.reserve_bytes() / 2
    }

    /// Of the reserve, what deletions of streams that hold nothing leave to others.
    fn freeing_reserve_bytes(&self) -> u64 {
        self.reserve_bytes() / 4
    }

    /// What appends leave free of the segment in use: the reserve, and what a copy of a whole
    /// segment takes beyond the segment that is held back for it.
    pub(super) fn kept_bytes(&self) -> u64 {
        let segment_bytes = self.config.log.segment_bytes;
        let copy = copied_bytes(segment_bytes) - segment_bytes + COPY_WASTE_BYTES;
        let is_full = self.segments.is_out_of_space();
        self.reserve_bytes() + if is_full { copy.min(segment_bytes / 4) } else { 0 }
    }

    /// Room for what gives room back. While the cleaner wins space, what is held back is its own.
    fn room_to_free_bytes(&self) -> u64 {
        let cleaner_first = self.is_held_back() && self.wins_space();
        let segments = &self.segments;
        if cleaner_first { segments.room_bytes() } else { segments.room_to_free_bytes() }
    }

    /// Whether the disk is full and there is a segment that no append may use.
    pub(super) fn is_held_back(&self) -> bool {
        self.segments.is_out_of_space() && self.segments.spare_count() > 0
    }

    fn wanted_bytes(&self, bytes: usize) -> u64 {
        (self.writer.gathered_bytes() + bytes) as u64
    }
}

/// What copies of `bytes` of entries take in the log: each step also takes a frame's header and
/// rounds up to whole blocks.
pub(super) fn copied_bytes(bytes: u64) -> u64 {
    bytes + bytes / 60 + 8 * 1024
}

fn check_room(room_bytes: u64, wanted_bytes: u64) -> Result<(), Refusal> {
    if room_bytes < wanted_bytes {
        return Err(Refusal::HotServer("the disk is full; try again later".to_owned()));
    }
    Ok(())
}
