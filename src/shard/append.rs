//! Appending: judge, sequence, log, wait, acknowledge.

use std::rc::Rc;

use super::call::{Answer, CallResult, StreamPath};
use super::engine::{Engine, Note, Refused};
use crate::control::Stream;
use crate::io::Io;
use crate::log::entry::{BatchPlace, batch_bytes_max, metadata_bytes};
use crate::types::{Ack, AppendInput, Command, PartialStreamConfig, Refusal, StreamPosition};

/// Log bytes kept free on a full disk for what gives room back: trims and deletions. No more than
/// a quarter of a segment: room for one is all that an empty log may count on.
const RESERVE_BYTES: u64 = 2 * 1024 * 1024;
/// What a trim by retention takes in the log.
const TRIM_BYTES: usize = metadata_bytes(24);
/// More than a new basin or stream takes in the log, or its deletion.
const CREATION_BYTES_MAX: usize = 64 * 1024;

impl<I: Io> Engine<I> {
    /// Appends a batch and answers once it is durable.
    pub(super) async fn append(
        self: &Rc<Self>,
        path: &StreamPath,
        input: AppendInput,
        auto_create: &PartialStreamConfig,
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
            .and_then(|()| self.stream_for_append(path, auto_create))
            .and_then(|stream| {
                let (ack, ticket) = self.sequence(&stream, &input)?;
                Ok((stream, ack, ticket))
            });
        let records = input.records.len() as u64;
        let AppendInput { buf, .. } = input;
        let (stream, ack, ticket) = match sequenced {
            Ok(sequenced) => sequenced,
            Err(refused) => return self.refuse(refused).await,
        };
        self.settle(ticket).await?;
        let latency_us = self.io.now_us() - start_us;
        self.metrics.append_acked(stream.class(), records, bytes, latency_us);
        Ok(Answer::Ack(Ack { tail: stream.durable.get().tail, ..ack }, buf.into_spare()))
    }

    /// Judges a batch and hands it to the log, without an await: whole or not at all.
    ///
    /// * Shape: the acknowledgement, and the ticket that it waits for.
    pub(super) fn sequence(
        self: &Rc<Self>,
        stream: &Rc<Stream>,
        input: &AppendInput,
    ) -> Result<(Ack, u64), Refused> {
        self.check_room_for(input)?;
        if stream.is_deleting() {
            let refusal = Refusal::StreamDeletionPending(stream.record().name);
            return Err(Refused { refusal, ticket: stream.last_ticket.get() });
        }
        let now_ms = self.io.wall_us() / 1000;
        let before = stream.accepted.get();
        let mut timestamps = self.timestamps.borrow_mut();
        let judged = before.judge(input, stream.timestamping(), now_ms, &mut timestamps);
        // What a refusal reveals may not be durable yet.
        let after =
            judged.map_err(|refusal| Refused { refusal, ticket: stream.last_ticket.get() })?;
        let first = StreamPosition { seq_num: before.tail.seq_num, timestamp: timestamps[0] };
        let arrival_ms = stream.arrive(now_ms);
        let place = BatchPlace { stream: stream.id, first_seq_num: first.seq_num, arrival_ms };
        let bytes = input.metered_bytes;
        let note = Note::Batch { stream: Rc::clone(stream), first, after, arrival_ms, bytes };
        let ticket = self.writer.append_batch(place, input, &timestamps, stream.class(), note);
        stream.accepted.set(after);
        stream.last_ticket.set(ticket);
        self.inflight_bytes.set(self.inflight_bytes.get() + input.metered_bytes);
        let ack = Ack { start: first, end: after.tail, tail: after.tail };
        Ok((ack, ticket))
    }

    /// Refuses before any effect when the log might not find room on the disk.
    pub(super) fn check_room_for(&self, input: &AppendInput) -> Result<(), Refusal> {
        let trims = input.records.iter().all(|r| matches!(r.command, Some(Command::Trim(_))));
        if trims {
            return self.check_room(batch_bytes_max(input), self.deletions_reserve_bytes());
        }
        self.check_room_to_add(batch_bytes_max(input))
    }

    /// Refuses to create a basin or stream when the log might not find room on the disk.
    pub(super) fn check_room_to_create(&self) -> Result<(), Refusal> {
        self.check_room_to_add(CREATION_BYTES_MAX)
    }

    /// Refuses what wins no room when the log might not find room for it on the disk, or when the
    /// cleaner needs what there is to win more.
    fn check_room_to_add(&self, bytes: usize) -> Result<(), Refusal> {
        if self.wins_space() {
            return Err(Refusal::HotServer("the disk is full; space is being won".to_owned()));
        }
        self.check_room(bytes, self.reserve_bytes())
    }

    /// Refuses to log what retention trims when the log might not find room on the disk.
    pub(super) fn check_room_to_trim(&self) -> Result<(), Refusal> {
        self.check_room(TRIM_BYTES, self.deletions_reserve_bytes())
    }

    /// Refuses to copy a batch to the log's end when the log might not find room on the disk.
    pub(super) fn check_room_to_move(&self, bytes: usize) -> Result<(), Refusal> {
        self.check_room(bytes, self.reserve_bytes())
    }

    /// Refuses to delete a stream when the log might not find room on the disk: rather than have it
    /// wait for a segment that only a deletion could give.
    pub(super) fn check_room_to_delete(&self, stream: &Stream) -> Result<(), Refusal> {
        let frees = stream.first_needed_epoch().is_some();
        self.check_room(CREATION_BYTES_MAX, if frees { 0 } else { self.freeing_reserve_bytes() })
    }

    /// Refuses to save usage counters when the log might not find room on the disk.
    pub(super) fn check_room_for_usage(&self, bytes: usize) -> Result<(), Refusal> {
        self.check_room_to_add(bytes)
    }

    /// Refuses to change a stream's configuration when the log might not find room on the disk: a
    /// shorter age may be what gives room.
    pub(super) fn check_room_to_change(&self) -> Result<(), Refusal> {
        self.check_room(CREATION_BYTES_MAX, self.deletions_reserve_bytes())
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

    fn check_room(&self, bytes: usize, reserve: u64) -> Result<(), Refusal> {
        let wanted = (self.writer.gathered_bytes() + bytes) as u64;
        if self.segments.room_bytes() < wanted + reserve {
            return Err(Refusal::HotServer("the disk is full; try again later".to_owned()));
        }
        Ok(())
    }
}
