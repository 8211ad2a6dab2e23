//! Rebuilds a shard's catalogue from its checkpoint and log.
//!
//! The checkpoint says which streams there were at its place in the log, but what is in each as of
//! a later moment, and usage counters as of the place. So up to the frame where all streams were
//! saved, the log tells some things again that are known already:
//!
//! * a batch that ends at a stream's tail or before it only counts as an append; one that goes on
//!   from the tail is new, and any other is an error, as everywhere;
//! * trim points only rise, and a copy of a batch that is where the index has it changes nothing;
//! * metadata goes back to what it was, and comes forward again as the log goes on: whatever of it
//!   is durable follows.

use std::rc::Rc;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::door::Progress;
use crate::control::{BasinRecord, Catalog, Gone, Stream, StreamRecord, TokenRecord};
use crate::log::checkpoint::CheckpointFacts;
use crate::log::entry::{Batch, Entry, Kind, Trimmed};
use crate::log::format::{FormatError, FrameHeader, NUMBER_MAX};
use crate::log::recovery::RecoveryError;
use crate::log::scan::{ScanError, Visitor};
use crate::planted::{self, Bug};
use crate::stream::State;
use crate::types::limits::BATCH_RECORDS_MAX;
use crate::types::{
    BasinName, Command, FencingToken, LogPos, StreamId, StreamName, StreamPosition, TokenId,
};
use crate::usage::Saved;

/// Applies entries in log order.
#[derive(Debug, Default)]
pub(super) struct Replay {
    catalog: Catalog,
    progress: Arc<Progress>,
    /// The frame that is being replayed; 0 before the first one.
    frame_seq: u64,
    /// Streams may be ahead of frames before this one.
    saved_to_frame_seq: u64,
}

impl Replay {
    /// Tells `progress` how far it is.
    pub(super) fn watched(progress: Arc<Progress>) -> Self {
        Self { progress, ..Self::default() }
    }

    pub(super) fn into_catalog(self) -> Catalog {
        self.catalog.usage.settle();
        self.catalog
    }

    /// Logs which streams lost records to damage, by the names that the log had for them so far.
    pub(super) fn name_damaged_streams(&self, shard: u16, error: &RecoveryError) {
        let RecoveryError::Scan(ScanError::Damaged { streams, .. }) = error else { return };
        for stream in streams.iter().filter_map(|id| self.catalog.stream_by_id(*id)) {
            let StreamRecord { basin, name, .. } = stream.record();
            tracing::error!(shard, basin, stream = name, "records of this stream are damaged");
        }
    }

    /// Whether streams may know already what is being replayed.
    fn may_be_saved(&self) -> bool {
        self.frame_seq < self.saved_to_frame_seq
    }

    fn stream(&mut self, record: StreamRecord) -> Result<(), FormatError> {
        if let Some(stream) = self.catalog.stream_by_id(StreamId(record.id)).cloned() {
            self.catalog.set_record(&stream, record);
            return Ok(());
        }
        let (basin, name) = names(&record).ok_or(FormatError::Entry("stream name"))?;
        if record.id > NUMBER_MAX {
            return Err(FormatError::Number);
        }
        if self.catalog.stream(&basin, &name).is_some() {
            return Err(FormatError::Entry("two streams of one name"));
        }
        let stream = Rc::new(Stream::new(record, 0));
        self.catalog.add_stream(basin, &stream);
        Ok(())
    }

    fn batch(&self, pos: LogPos, batch: &Batch<'_>) -> Result<(), FormatError> {
        check_count(batch)?;
        // A batch may follow its stream's deletion in the log: it was sequenced before.
        let Some(stream) = self.catalog.stream_by_id(batch.place.stream) else { return Ok(()) };
        let mut state = stream.durable.get();
        let bytes = u64::from(batch.metered_bytes);
        if self.may_be_saved() && batch.end_seq_num() <= state.tail.seq_num {
            stream.count_saved_batch(batch.place.arrival_ms, bytes);
            return Ok(());
        }
        if batch.place.first_seq_num != state.tail.seq_num {
            return Err(FormatError::Entry("batch out of sequence"));
        }
        for record in batch.records() {
            let record = record?;
            state.tail.timestamp = record.timestamp;
            apply_command(&mut state, record.seq_num, &record)?;
        }
        state.tail.seq_num = batch.end_seq_num();
        let first =
            StreamPosition { seq_num: batch.place.first_seq_num, timestamp: batch.first_timestamp };
        stream.accepted.set(state);
        stream.became_durable(first, batch.place.arrival_ms, pos, state);
        stream.count_batch(first.seq_num, &state, batch.place.arrival_ms, bytes);
        Ok(())
    }

    fn moved(&self, pos: LogPos, batch: &Batch<'_>) -> Result<(), FormatError> {
        check_count(batch)?;
        let Some(stream) = self.catalog.stream_by_id(batch.place.stream) else { return Ok(()) };
        if batch.end_seq_num() > stream.durable.get().tail.seq_num {
            return Err(FormatError::Entry("moved batch beyond the tail"));
        }
        if !self.may_be_saved() || !stream.index().is_at(batch.place.first_seq_num, pos) {
            stream.moved(&batch.moved_to(pos)?);
        }
        Ok(())
    }

    fn trimmed(&self, trimmed: Trimmed) -> Result<(), FormatError> {
        // It may follow its stream's deletion in the log, as a batch may.
        let Some(stream) = self.catalog.stream_by_id(trimmed.stream) else { return Ok(()) };
        if trimmed.trim_point > stream.durable.get().tail.seq_num {
            return Err(FormatError::Entry("trim point beyond the tail"));
        }
        stream.trimmed(trimmed.trim_point, trimmed.at_ms);
        Ok(())
    }

    fn usage(&mut self, entry: &Entry<'_>) -> Result<(), FormatError> {
        let bad = |_| FormatError::Entry("usage counters");
        let saved = Saved::parse(entry.metadata()).map_err(bad)?;
        for (id, bytes) in saved.streams() {
            if let Some(stream) = self.catalog.stream_by_id(StreamId(id)) {
                stream.restore_stored(bytes);
            }
        }
        self.catalog.usage.apply(&saved).map_err(bad)
    }
}

/// An index of batches that hold nothing would have two runs of one number.
fn check_count(batch: &Batch<'_>) -> Result<(), FormatError> {
    let is_legal = (1..=BATCH_RECORDS_MAX).contains(&batch.record_count.into());
    if is_legal { Ok(()) } else { Err(FormatError::Entry("a batch holds 1 to 1000 records")) }
}

fn apply_command(
    state: &mut State,
    seq_num: u64,
    record: &crate::log::entry::Record<'_>,
) -> Result<(), FormatError> {
    const BAD: FormatError = FormatError::Entry("command record");
    let mut headers = record.headers();
    let command = match (headers.next(), headers.next()) {
        (Some((b"", b"fence")), None) if planted::has(Bug::FenceForgotten) => return Ok(()),
        (Some((b"", b"fence")), None) => {
            let text = std::str::from_utf8(record.body).map_err(|_| BAD)?;
            Command::Fence(FencingToken::new(text).map_err(|_| BAD)?)
        }
        (Some((b"", b"trim")), None) => {
            Command::Trim(u64::from_be_bytes(record.body.try_into().map_err(|_| BAD)?))
        }
        _ => return Ok(()),
    };
    state.apply(command, seq_num);
    Ok(())
}

/// Parses names that were valid when they were logged.
fn names(record: &StreamRecord) -> Option<(BasinName, StreamName)> {
    Some((BasinName::new(&record.basin).ok()?, StreamName::new(&record.name).ok()?))
}

fn parse<T: DeserializeOwned>(entry: &Entry<'_>) -> Result<T, FormatError> {
    serde_json::from_slice(entry.metadata()).map_err(|_| FormatError::Entry("metadata"))
}

impl Visitor for Replay {
    fn checkpoint(&mut self, facts: &CheckpointFacts) {
        self.saved_to_frame_seq = facts.end_frame_seq;
    }

    fn frame(&mut self, _pos: LogPos, header: &FrameHeader) {
        self.frame_seq = header.frame_seq;
    }

    fn progress(&mut self, read_bytes: u64, total_bytes: u64) {
        self.progress.advance(read_bytes, total_bytes);
    }

    fn entry(&mut self, pos: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        match entry.kind {
            Kind::Batch => self.batch(pos, &Batch::of(entry)?),
            Kind::Moved => self.moved(pos, &Batch::of(entry)?),
            Kind::Trimmed if planted::has(Bug::TrimForgotten) => Ok(()),
            Kind::Trimmed => self.trimmed(Trimmed::of(entry)?),
            Kind::Stream => self.stream(parse(entry)?),
            Kind::StreamGone => {
                let gone: Gone = parse(entry)?;
                self.catalog.remove_stream(StreamId(gone.id));
                Ok(())
            }
            Kind::Basin => {
                let record: BasinRecord = parse(entry)?;
                let name =
                    BasinName::new(&record.name).map_err(|_| FormatError::Entry("basin name"))?;
                self.catalog.put_basin(name, record);
                Ok(())
            }
            Kind::BasinGone => {
                let gone: Gone = parse(entry)?;
                let name =
                    BasinName::new(&gone.name).map_err(|_| FormatError::Entry("basin name"))?;
                self.catalog.remove_basin(&name);
                Ok(())
            }
            Kind::Token => {
                let record: TokenRecord = parse(entry)?;
                self.catalog.tokens.insert(record.info.id.clone(), Rc::new(record));
                Ok(())
            }
            Kind::TokenGone => {
                let gone: Gone = parse(entry)?;
                let id =
                    TokenId::new(&gone.name).map_err(|_| FormatError::Entry("access token id"))?;
                self.catalog.tokens.remove(&id);
                Ok(())
            }
            Kind::StreamState => {
                let id = Stream::state_id(entry.metadata())?;
                let stream = self.catalog.stream_by_id(id);
                let stream = stream.ok_or(FormatError::Entry("state of an unknown stream"))?;
                stream.decode_state(entry.metadata())
            }
            Kind::Arrivals => {
                let id = Stream::state_id(entry.metadata())?;
                let stream = self.catalog.stream_by_id(id);
                let stream = stream.ok_or(FormatError::Entry("arrivals of an unknown stream"))?;
                stream.decode_arrivals(entry.metadata())
            }
            Kind::Usage => self.usage(entry),
            Kind::Part => Err(FormatError::Entry("part of an entry outside of a checkpoint")),
        }
    }
}
