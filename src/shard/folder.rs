//! Folding: the index of old segments moves from memory to the disk when it takes too much memory.
//!
//! * Always the oldest segment whose runs are not folded: first its footer is written, out of what
//!   the index in memory says, then the runs of each stream in it become one. Without the footer on
//!   the disk nothing is folded. So on a full disk nothing is: what is in memory then is bounded by
//!   what fits the disk.
//! * A footer that was asked for and cannot be used is made again out of the segment itself.
//! * A crash at any moment costs nothing but the work: what is folded is in checkpoints as it is,
//!   and a footer that is there already is not written again.
//! * Streams are visited a few at a time, as everywhere.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::rc::Rc;

use super::engine::Engine;
use super::turns::Turns;
use crate::control::Stream;
use crate::io::{Io, IoError};
use crate::log::entry::Batch;
use crate::log::footer::{FooterRun, FooterWriter};
use crate::log::frames::Frames;
use crate::log::index::SPAN_BYTES;
use crate::log::reader::ReadError;
use crate::log::segment::Segment;
use crate::types::StreamId;
use crate::types::refusal::chain;

/// Pause before looking again whether there is something to fold, in microseconds.
const PAUSE_US: u64 = 250_000;
/// Pause after a failure, in microseconds.
const FAILED_PAUSE_US: u64 = 10_000_000;
/// Streams looked at without a pause, and entries that they have.
const STREAMS_STEP: usize = 1024;
const ENTRIES_STEP: usize = 64 * 1024;
/// Bytes of a segment looked at without a pause.
const LOOKED_AT_BYTES_MAX: usize = 1024 * 1024;
/// Most runs held in memory while a footer is made out of a segment, but for those of one stream:
/// with more, the segment is gone through once more for each as many.
const RUNS_MAX: usize = 512 * 1024;

/// What the folder knows from one step to the next.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Runs in segments before this epoch are folded.
    folded_to: Cell<u64>,
    /// Segments out of which no footer can be made: they are damaged.
    unreadable: RefCell<BTreeSet<u64>>,
    turns: Turns<()>,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folded {
    /// There is nothing to do.
    Nothing,
    /// The runs of some segments are folded.
    Segments,
    /// A footer that was lost is there again.
    Footer,
}

/// Why a footer cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum FoldError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("not all frames of the segment with epoch {0} can be recognised")]
    Incomplete(u64),
    #[error("behind the segment with epoch {0} the log does not go on yet")]
    NothingBehind(u64),
}

impl<I: Io> Engine<I> {
    /// Keeps the index within its bound and footers whole, for ever.
    pub async fn run_folder(self: Rc<Self>) {
        let mut reported = String::new();
        loop {
            match self.fold_step().await {
                Ok(Folded::Nothing) => self.io.sleep_us(PAUSE_US).await,
                Ok(Folded::Segments | Folded::Footer) => {}
                Err(error) => {
                    let (shard, error) = (self.config.log.shard, chain(&error));
                    if reported != error {
                        tracing::warn!(shard, error, "a footer cannot be made");
                        reported = error;
                    }
                    self.io.sleep_us(FAILED_PAUSE_US).await;
                }
            }
        }
    }

    /// Makes a footer that was lost, or folds the oldest runs if the index takes too much memory.
    /// One at a time: each removes what it finds half written.
    pub(super) async fn fold_step(&self) -> Result<Folded, FoldError> {
        let _alone = self.folder.turns.take(&()).await;
        let folded = self.fold_alone().await;
        if folded.is_err()
            && let Err(error) = self.footers.remove_unfinished()
        {
            // The next start removes it; until then it takes room that may be wanted.
            tracing::warn!(shard = self.config.log.shard, %error, "unfinished footer left");
        }
        folded
    }

    async fn fold_alone(&self) -> Result<Folded, FoldError> {
        if self.segments.is_out_of_space() || self.durable.failure().is_some() {
            return Ok(Folded::Nothing);
        }
        let missing = self.footers.first_missing(&self.folder.unreadable.borrow());
        let Some(epoch) = missing else { return self.fold_oldest().await };
        match self.make_again(epoch).await {
            Ok(()) => Ok(Folded::Footer),
            // Memory stays bounded although one segment cannot be read.
            Err(error) => self.fold_oldest().await.and(Err(error)),
        }
    }

    /// Folds the oldest runs that are not folded, if the index takes too much memory.
    async fn fold_oldest(&self) -> Result<Folded, FoldError> {
        if self.catalog.borrow().index_bytes() <= self.config.index_bytes_max {
            return Ok(Folded::Nothing);
        }
        let end = self.segments.active().epoch;
        let first = self.folder.folded_to.get().max(self.segments.oldest_epoch());
        if first >= end {
            return Ok(Folded::Nothing);
        }
        let mut ready_to = first;
        while ready_to < end && self.footers.is_there(ready_to).await {
            ready_to += 1;
        }
        if ready_to == first {
            let made = self.make_footer(first).await;
            if made.is_err() && self.folder.unreadable.borrow().contains(&first) {
                self.folder.folded_to.set(first + 1); // the rest of it stays in memory
            }
            made?;
            ready_to = first + 1;
        }
        self.fold_runs(&(first..ready_to)).await;
        self.folder.folded_to.set(ready_to);
        Ok(Folded::Segments)
    }

    /// Makes the footer of a segment that has none.
    async fn make_footer(&self, epoch: u64) -> Result<(), FoldError> {
        if self.segments.get(epoch).is_some() && !self.write_footer(epoch).await? {
            self.make_again(epoch).await?;
        }
        Ok(())
    }

    /// Folds the runs of all streams in segments whose footers are there.
    async fn fold_runs(&self, epochs: &Range<u64>) {
        let mut seen = StreamId(0);
        let fold = |stream: &Stream| {
            stream.fold_index(epochs);
            ControlFlow::Continue(())
        };
        while self.some_streams(&mut seen, fold) {
            self.io.sleep_us(1).await;
        }
    }

    /// Hands some streams after `seen` to `each`, until it breaks; false when they are all.
    fn some_streams(
        &self,
        seen: &mut StreamId,
        mut each: impl FnMut(&Stream) -> ControlFlow<()>,
    ) -> bool {
        let (mut streams, mut entries) = (0, 0);
        for stream in self.catalog.borrow().streams_after(*seen) {
            if streams >= STREAMS_STEP || entries >= ENTRIES_STEP {
                return true;
            }
            *seen = stream.id;
            streams += 1;
            entries += stream.index().len();
            if each(stream).is_break() {
                return true;
            }
        }
        false
    }

    /// Writes the footer of a sealed segment out of what the index in memory has of it; false when
    /// that is folded already.
    ///
    /// What changes meanwhile moves elsewhere, and is looked for there.
    async fn write_footer(&self, epoch: u64) -> Result<bool, IoError> {
        let mut writer = FooterWriter::create(&*self.io, self.config.log, epoch).await?;
        let mut seen = StreamId(0);
        let mut is_folded = false;
        loop {
            let has_more = self.some_streams(&mut seen, |stream| {
                for run in stream.index().iter().filter(|run| run.pos.segment == epoch) {
                    is_folded |= run.is_folded();
                    writer.push(FooterRun {
                        stream: stream.id.0,
                        seq_num: run.seq_num,
                        timestamp: run.timestamp,
                        arrival_ms: run.arrival_ms,
                        offset_bytes: run.pos.offset_bytes,
                    });
                }
                let enough = is_folded || writer.is_full();
                if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if is_folded {
                writer.abandon()?;
                return Ok(false);
            }
            writer.write_full().await?;
            if !has_more {
                break;
            }
            self.io.sleep_us(1).await;
        }
        self.end_footer(writer, epoch).await.map(|()| true)
    }

    async fn end_footer(&self, writer: FooterWriter<'_, I>, epoch: u64) -> Result<(), IoError> {
        writer.finish().await?;
        self.footers.replaced(epoch);
        if self.segments.get(epoch).is_none() {
            // Given up meanwhile.
            self.footers.remove_but(self.segments.oldest_epoch()..self.segments.active().epoch)?;
        }
        Ok(())
    }

    /// Makes the footer of a sealed segment out of its frames.
    async fn make_again(&self, epoch: u64) -> Result<(), FoldError> {
        let Some(segment) = self.segments.get(epoch) else {
            self.footers.replaced(epoch); // given up meanwhile
            return Ok(());
        };
        let made = self.footer_of_frames(&segment).await;
        let is_damaged = matches!(
            made,
            Err(FoldError::Incomplete(_) | FoldError::Read(ReadError::Damaged { .. }))
        );
        if is_damaged {
            self.folder.unreadable.borrow_mut().insert(epoch);
        }
        made
    }

    async fn footer_of_frames(&self, segment: &Segment<I::File>) -> Result<(), FoldError> {
        let epoch = segment.epoch;
        let next = self.segments.get(epoch + 1).ok_or(FoldError::NothingBehind(epoch))?;
        let mut frames = Frames::of(&next, self.config.log.salt());
        let next_frame_seq = frames.next().await?.map(|frame| frame.frame_seq);
        let next_frame_seq = next_frame_seq.ok_or(FoldError::NothingBehind(epoch))?;
        let mut writer = FooterWriter::create(&*self.io, self.config.log, epoch).await?;
        let mut after = None;
        loop {
            let (found, end_frame_seq) = self.runs_in(segment, after).await?;
            if end_frame_seq != next_frame_seq {
                writer.abandon()?;
                return Err(FoldError::Incomplete(epoch));
            }
            let Found { runs, cut_after, .. } = found;
            for (stream, of_stream) in runs {
                for (seq_num, run) in of_stream {
                    let Run { timestamp, arrival_ms, offset_bytes } = run;
                    writer.push(FooterRun { stream, seq_num, timestamp, arrival_ms, offset_bytes });
                }
                writer.write_full().await?;
            }
            if cut_after.is_none() {
                break;
            }
            after = cut_after;
        }
        Ok(self.end_footer(writer, epoch).await?)
    }

    /// The runs in a segment of streams with greater ids than `after`, as far as there is memory
    /// for them, and the number of the frame after the segment's last one.
    async fn runs_in(
        &self,
        segment: &Segment<I::File>,
        after: Option<u64>,
    ) -> Result<(Found, u64), FoldError> {
        let mut found = Found { after, ..Found::default() };
        let mut frames = Frames::of(segment, self.config.log.salt());
        let (mut looked_at_bytes, mut end_frame_seq) = (0, 0);
        while let Some(frame) = frames.next().await? {
            end_frame_seq = frame.frame_seq + 1;
            for batch in frame.batches() {
                found.add(&batch?.1, frame.pos.offset_bytes);
            }
            looked_at_bytes += frame.payload.len();
            if looked_at_bytes >= LOOKED_AT_BYTES_MAX {
                looked_at_bytes = 0;
                self.io.sleep_us(1).await;
            }
        }
        Ok((found, end_frame_seq))
    }
}

/// A run that was met in a segment.
#[derive(Debug, Clone, Copy)]
struct Run {
    timestamp: u64,
    arrival_ms: u64,
    offset_bytes: u32,
}

/// Runs by stream and number.
type Runs = BTreeMap<u64, BTreeMap<u64, Run>>;

/// What was found in a segment so far.
#[derive(Debug, Default)]
struct Found {
    /// Streams up to this id are passed over.
    after: Option<u64>,
    runs: Runs,
    run_count: usize,
    /// Of each stream, where the batch met last ends, and where its run began.
    open: BTreeMap<u64, (u64, u32)>,
    /// There are more streams after this one.
    cut_after: Option<u64>,
}

impl Found {
    fn add(&mut self, batch: &Batch<'_>, offset_bytes: u32) {
        let stream = batch.place.stream.0;
        let is_passed = self.after.is_some_and(|after| stream <= after);
        if is_passed || self.cut_after.is_some_and(|last| stream > last) {
            return;
        }
        let first = batch.place.first_seq_num;
        let open = self.open.get(&stream).copied();
        let begun = open.filter(|(end, begun)| *end == first && offset_bytes - begun < SPAN_BYTES);
        if begun.is_none() {
            let (timestamp, arrival_ms) = (batch.first_timestamp, batch.place.arrival_ms);
            let run = Run { timestamp, arrival_ms, offset_bytes };
            let before = self.runs.entry(stream).or_default().insert(first, run);
            self.run_count += usize::from(before.is_none());
        }
        let begun = begun.map_or(offset_bytes, |(_, begun)| begun);
        self.open.insert(stream, (batch.end_seq_num(), begun));
        while self.run_count > RUNS_MAX && self.runs.len() > 1 {
            let Some((stream, runs)) = self.runs.pop_last() else { break };
            self.run_count -= runs.len();
            self.open.remove(&stream);
            self.cut_after = self.runs.last_key_value().map(|(last, _)| *last);
        }
    }
}

#[cfg(test)]
mod tests;
