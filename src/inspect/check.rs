//! The rules that a log and its checkpoint keep, judged entry by entry.

use std::collections::BTreeMap;

use super::ahead::{Ahead, Seen};
use super::command_of;
use super::fault::{Fault, Problems};
use super::saved::{Newest, SavedStream, check_usage, stream_record, token_record};
use super::start::Place;
use super::walk::Follower;
use crate::control::Gone;
use crate::log::entry::{Batch, Entry, Kind, Trimmed};
use crate::log::format::{FormatError, FrameHeader};
use crate::log::index::IndexEntry;
use crate::log::quarantine::LostPlace;
use crate::log::scan::Visitor;
use crate::stream::State;
use crate::types::limits::BATCH_RECORDS_MAX;
use crate::types::{LogPos, StreamId, StreamPosition};

/// Follows a walk and notes everything that is wrong.
pub(super) struct Checker<'a> {
    shard: u16,
    files: &'a BTreeMap<u64, String>,
    /// The walk starts where the log once began, so nothing came before.
    complete: bool,
    newest: Option<&'a Newest>,
    /// The checkpoint's place was passed.
    compared: bool,
    /// Streams that the checkpoint has as they were later than at its place, until that is met.
    ahead: Ahead,
    /// The frame before which all streams were saved was passed.
    saved: bool,
    /// Runs that the checkpoint's index points at and whose first batch was not met yet, by stream
    /// and first record.
    index: BTreeMap<(u64, u64), IndexEntry>,
    streams: BTreeMap<u64, Seen>,
    gaps: u64,
    /// Damaged places that were given up for lost.
    pub(super) lost: u64,
    pub(super) frames: u64,
    pub(super) records: u64,
    pub(super) problems: Problems,
}

impl<'a> Checker<'a> {
    pub(super) fn new(
        shard: u16,
        files: &'a BTreeMap<u64, String>,
        complete: bool,
        newest: Option<&'a Newest>,
        problems: Problems,
    ) -> Self {
        let mut checker = Self {
            shard,
            files,
            complete,
            newest,
            compared: newest.is_none(),
            ahead: Ahead::default(),
            saved: newest.is_none(),
            index: BTreeMap::new(),
            streams: BTreeMap::new(),
            gaps: 0,
            lost: 0,
            frames: 0,
            records: 0,
            problems,
        };
        checker.expect_index();
        checker
    }

    /// Notes what the checkpoint's index promises, but for segments that its streams gave up.
    fn expect_index(&mut self) {
        let Some(newest) = self.newest else { return };
        for (&stream, saved) in &newest.saved.streams {
            let Some(state) = &saved.state else { continue };
            let trimmed = state.state.trim_point >= state.state.tail.seq_num;
            let first_needed = if trimmed { newest.facts.first_epoch } else { 0 };
            for entry in state.index.iter().filter(|e| e.pos.segment >= first_needed) {
                self.index.insert((stream, entry.seq_num), *entry);
            }
        }
    }

    fn note(&mut self, pos: LogPos, fault: Fault) {
        let file = self.files.get(&pos.segment).map_or("a missing segment", String::as_str);
        self.problems.push(file, pos.offset_bytes.into(), fault);
    }

    fn note_checkpoint(&mut self, fault: Fault) {
        let name = self.newest.map_or("", |n| &n.name);
        self.problems.push(name, 0, fault);
    }

    fn batch(&mut self, pos: LogPos, batch: &Batch<'_>) {
        let StreamId(stream) = batch.place.stream;
        let first =
            StreamPosition { seq_num: batch.place.first_seq_num, timestamp: batch.first_timestamp };
        let count = usize::from(batch.record_count);
        let bad = |reason| Fault::Record { stream, reason };
        if count == 0 || count > BATCH_RECORDS_MAX {
            self.note(pos, bad("a batch holds 1 to 1000 records"));
        }
        self.meet_run(pos, stream, first);
        let mut seen = self.streams.remove(&stream).unwrap_or_default();
        if let Some(tail) = self.ahead.begins_at(stream, &seen, first) {
            seen.tail = Some(tail);
        }
        self.check_continuity(pos, stream, &seen, first);
        let known_from = if self.complete { 0 } else { first.seq_num };
        seen.trims_known_from.get_or_insert(known_from);
        let mut faults: Vec<Fault> = self.ahead.end_trims(stream, &seen).into_iter().collect();
        seen.gaps = self.gaps;
        let end_timestamp = self.records_of(pos, batch, &mut seen);
        let tail = StreamPosition { seq_num: batch.end_seq_num(), timestamp: end_timestamp };
        seen.tail = Some(tail);
        faults.extend(self.ahead.meet(stream, &seen, tail));
        self.streams.insert(stream, seen);
        if self.gaps == 0 {
            faults.into_iter().for_each(|fault| self.note_checkpoint(fault));
        }
    }

    /// Meets the first batch of a run, if it is one and where the index has it.
    fn meet_run(&mut self, pos: LogPos, stream: u64, first: StreamPosition) {
        let run = self.index.get(&(stream, first.seq_num));
        if run.is_some_and(|run| run.spans(pos) && run.timestamp <= first.timestamp) {
            self.index.remove(&(stream, first.seq_num));
        }
    }

    /// Judges the copy of a batch that was met before, or lay in a segment that is gone.
    fn moved(&mut self, pos: LogPos, batch: &Batch<'_>) {
        let StreamId(stream) = batch.place.stream;
        let first =
            StreamPosition { seq_num: batch.place.first_seq_num, timestamp: batch.first_timestamp };
        self.meet_run(pos, stream, first);
        let tail = self.streams.get(&stream).and_then(|seen| seen.tail);
        let end = batch.end_seq_num();
        if let Some(tail) = tail.filter(|tail| end > tail.seq_num && self.gaps == 0) {
            let (expected, found) = (tail.seq_num, first.seq_num);
            self.note(pos, Fault::OutOfSequence { stream, expected, found });
        }
        // What it sets was set when it was appended.
        self.records_of(pos, batch, &mut Seen::default());
    }

    fn check_continuity(&mut self, pos: LogPos, stream: u64, seen: &Seen, first: StreamPosition) {
        let fresh = self.complete.then(StreamPosition::default);
        let Some(expected) = seen.tail.or(fresh) else { return };
        let gap = seen.gaps < self.gaps && first.seq_num > expected.seq_num;
        if first.seq_num != expected.seq_num && !gap {
            let (expected, found) = (expected.seq_num, first.seq_num);
            self.note(pos, Fault::OutOfSequence { stream, expected, found });
        }
        if first.timestamp < expected.timestamp {
            self.note(pos, Fault::TimestampFell { stream, seq_num: first.seq_num });
        }
    }

    /// Parses every record; returns the last one's timestamp.
    fn records_of(&mut self, pos: LogPos, batch: &Batch<'_>, seen: &mut Seen) -> u64 {
        let StreamId(stream) = batch.place.stream;
        let mut timestamp = batch.first_timestamp;
        let mut metered_bytes = 0;
        for record in batch.records() {
            let record = match record {
                Ok(record) => record,
                Err(FormatError::Entry(reason)) => {
                    self.note(pos, Fault::Record { stream, reason });
                    return timestamp;
                }
                Err(reason) => {
                    self.note(pos, reason.into());
                    return timestamp;
                }
            };
            self.records += 1;
            metered_bytes += record.metered_bytes;
            // Deltas are unsigned, but a later reader may rely on the order, not on its coding.
            if record.timestamp < timestamp {
                self.note(pos, Fault::TimestampFell { stream, seq_num: record.seq_num });
            }
            timestamp = record.timestamp;
            let Ok(command) = command_of(&record) else {
                let reason = "a command record that makes no sense";
                self.note(pos, Fault::Record { stream, reason });
                continue;
            };
            if let Some(command) = command {
                let mut state = State { trim_point: seen.trim_point, ..State::default() };
                state.apply(command, record.seq_num);
                seen.trim_point = state.trim_point;
                if let crate::types::Command::Fence(token) = command {
                    seen.fencing_token = Some(token);
                }
            }
        }
        if metered_bytes != u64::from(batch.metered_bytes) {
            self.note(pos, Fault::Record { stream, reason: "records do not add up to the batch" });
        }
        timestamp
    }

    /// Compares the checkpoint with what the log said up to its place.
    fn compare(&mut self, prev_crc: u32) {
        self.compared = true;
        let Some(newest) = self.newest else { return };
        if self.gaps > 0 {
            return; // the replay lacks something; that is noted already
        }
        if prev_crc != newest.facts.chain.prev_crc {
            self.note_checkpoint(Fault::CheckpointChain);
        }
        for (&stream, saved) in &newest.saved.streams {
            if stream >= newest.facts.next_stream_id {
                self.note_checkpoint(Fault::CheckpointNextId { stream });
            }
            self.compare_stream(stream, saved);
        }
        let lacks = |(id, seen): (&u64, &Seen)| {
            (seen.exists && !newest.saved.streams.contains_key(id)).then_some(*id)
        };
        let lacking: Vec<u64> = self.streams.iter().filter_map(lacks).collect();
        for stream in lacking {
            self.note_checkpoint(Fault::CheckpointLacks { stream });
        }
    }

    /// Compares a stream with what the log said of it up to the checkpoint's place: it may have
    /// been saved later, never earlier.
    fn compare_stream(&mut self, stream: u64, saved: &SavedStream) {
        let state = saved.state.as_ref().map(|s| s.state).unwrap_or_default();
        let fresh = self.complete;
        let seen = self.streams.entry(stream).or_default();
        let mut faults = Vec::new();
        if seen.gone {
            faults.push(Fault::CheckpointKeeps { stream });
        }
        if fresh {
            seen.tail.get_or_insert_default();
            seen.fencing_token.get_or_insert_default();
            seen.trims_known_from.get_or_insert(0);
        }
        if state.trim_point > state.tail.seq_num {
            faults.push(Fault::CheckpointState { stream, what: "trim point" });
        }
        match seen.tail {
            Some(tail) if tail.seq_num > state.tail.seq_num => {
                let (saved, replayed) = (state.tail.seq_num, tail.seq_num);
                faults.push(Fault::CheckpointTail { stream, saved, replayed });
            }
            Some(tail) if tail.seq_num == state.tail.seq_num => {
                faults.extend(self.ahead.compare(stream, &state, seen));
            }
            _ => {
                if state.trim_point < seen.trim_point {
                    faults.push(Fault::CheckpointState { stream, what: "trim point" });
                }
                self.ahead.expect(stream, state);
            }
        }
        faults.into_iter().for_each(|fault| self.note_checkpoint(fault));
    }

    /// Judges, at the frame before which all streams were saved, what was not met by then.
    fn end_saving(&mut self) {
        self.saved = true;
        for (stream, state) in std::mem::take(&mut self.ahead.states) {
            if self.gaps > 0 {
                continue; // it may have been there
            }
            let seen = self.streams.entry(stream).or_default();
            let mut faults = Vec::new();
            match seen.tail {
                Some(tail) => {
                    let (saved, replayed) = (state.tail.seq_num, tail.seq_num);
                    faults.push(Fault::CheckpointTail { stream, saved, replayed });
                }
                // The log before the walk's start said so; from here on it is what comes next.
                None => {
                    // It may have been saved before what retention trimmed since.
                    let trim_point = seen.trim_point.min(state.trim_point);
                    let seen_then = Seen { trim_point, ..seen.clone() };
                    faults.extend(self.ahead.compare(stream, &state, &seen_then));
                    seen.tail = Some(state.tail);
                }
            }
            faults.into_iter().for_each(|fault| self.note_checkpoint(fault));
        }
        for stream in self.ahead.untrimmed() {
            let seen = self.streams.entry(stream).or_default();
            let fault = self.ahead.end_trims(stream, seen).filter(|_| self.gaps == 0);
            fault.into_iter().for_each(|fault| self.note_checkpoint(fault));
        }
    }

    /// Takes note of a trim by retention. One that follows its stream's deletion means nothing.
    fn trimmed(&mut self, pos: LogPos, trimmed: Trimmed) {
        let StreamId(stream) = trimmed.stream;
        let seen = self.streams.entry(stream).or_default();
        if seen.gone {
            return;
        }
        let fresh = self.complete.then(StreamPosition::default);
        let tail = seen.tail.or(fresh);
        seen.trim_point = seen.trim_point.max(trimmed.trim_point);
        if self.gaps == 0 && tail.is_some_and(|tail| trimmed.trim_point > tail.seq_num) {
            self.note(pos, Fault::Record { stream, reason: "trim point beyond the tail" });
        }
    }

    /// Judges what can only be judged at the log's end, which is `end`.
    pub(super) fn finish(&mut self, end: Place) {
        if let Some(newest) = self.newest {
            let expected = newest.facts.end_frame_seq;
            let log_next = end.chain.next_frame_seq;
            if log_next < expected {
                let expected = expected - 1;
                self.note_checkpoint(Fault::CheckpointBeyondLog { expected, log_next });
            } else {
                self.pass(log_next, end.chain.prev_crc);
            }
        }
        let checkpoint = self.newest.map_or("", |n| &n.name);
        for ((stream, seq_num), run) in std::mem::take(&mut self.index) {
            let checkpoint = checkpoint.to_owned();
            self.note(run.pos, Fault::CheckpointIndex { checkpoint, stream, seq_num });
        }
    }

    /// Compares with the checkpoint what is to be compared before the frame `frame_seq`.
    fn pass(&mut self, frame_seq: u64, prev_crc: u32) {
        let Some(newest) = self.newest else { return };
        if !self.compared && frame_seq >= newest.facts.chain.next_frame_seq {
            self.compare(prev_crc);
        }
        if !self.saved && frame_seq >= newest.facts.end_frame_seq {
            self.end_saving();
        }
    }

    fn metadata(&mut self, pos: LogPos, entry: &Entry<'_>) {
        match entry.kind {
            Kind::Stream => match stream_record(entry) {
                Ok(record) => {
                    let seen = self.streams.entry(record.id).or_default();
                    seen.exists = !seen.gone;
                }
                Err(_) => self.note(pos, Fault::Metadata),
            },
            Kind::StreamGone => match serde_json::from_slice::<Gone>(entry.metadata()) {
                Ok(gone) => {
                    let seen = self.streams.entry(gone.id).or_default();
                    (seen.exists, seen.gone) = (false, true);
                }
                Err(_) => self.note(pos, Fault::Metadata),
            },
            Kind::Basin => {
                let parsed =
                    serde_json::from_slice::<crate::control::BasinRecord>(entry.metadata());
                if parsed.is_err() {
                    self.note(pos, Fault::Metadata);
                }
            }
            Kind::Token => {
                if token_record(entry).is_err() {
                    self.note(pos, Fault::Metadata);
                }
            }
            Kind::BasinGone | Kind::TokenGone => {
                if serde_json::from_slice::<Gone>(entry.metadata()).is_err() {
                    self.note(pos, Fault::Metadata);
                }
            }
            Kind::Usage => {
                if check_usage(entry).is_err() {
                    self.note(pos, Fault::Metadata);
                }
            }
            Kind::Trimmed => match Trimmed::of(entry) {
                Ok(trimmed) => self.trimmed(pos, trimmed),
                Err(reason) => self.note(pos, reason.into()),
            },
            Kind::StreamState | Kind::Arrivals | Kind::Part | Kind::Batch | Kind::Moved => {
                self.note(pos, FormatError::Entry("a checkpoint's entry in the log").into());
            }
        }
    }
}

impl Visitor for Checker<'_> {
    fn frame(&mut self, pos: LogPos, header: &FrameHeader) {
        self.frames += 1;
        let frame_seq = header.frame_seq;
        if header.shard != self.shard || header.durable_seq >= frame_seq {
            self.note(pos, Fault::FrameHeader { frame_seq });
        }
        self.pass(frame_seq, header.prev_crc);
    }

    fn entry(&mut self, pos: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        match entry.kind {
            Kind::Batch => self.batch(pos, &Batch::of(entry)?),
            Kind::Moved => self.moved(pos, &Batch::of(entry)?),
            _ => self.metadata(pos, entry),
        }
        Ok(())
    }
}

impl Follower for Checker<'_> {
    fn damaged(&mut self, pos: LogPos, fault: Fault) {
        self.gaps += 1;
        self.note(pos, fault);
    }

    fn lost(&mut self, place: &LostPlace) {
        self.gaps += 1;
        self.lost += 1;
        // The first batch of a run that reaches into it may have been there.
        let begin = LogPos { segment: place.epoch, offset_bytes: place.offset };
        self.index.retain(|_, run| !run.meets(begin, place.end_offset));
    }
}
