//! Walking through a stream's durable records in the log.
//!
//! Records are handed out straight from the frame they lie in; what was trimmed is passed over,
//! and a gap that nothing excuses is damage.

use std::ops::ControlFlow;

use super::From;
use crate::control::Stream;
use crate::io::Io;
use crate::log::entry::{Batch, Kind, Record, entries};
use crate::log::format::FormatError;
use crate::log::index::IndexEntry;
use crate::log::reader::{ReadError, ReadFrame};
use crate::shard::engine::Engine;
use crate::types::LogPos;

impl<I: Io> Engine<I> {
    /// Hands the stream's durable records from `start` up to `end_seq_num` to `each`, in order,
    /// until it breaks.
    pub(super) async fn scan(
        &self,
        stream: &Stream,
        start: From,
        end_seq_num: u64,
        mut each: impl FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut entry = match start {
            From::SeqNum(seq_num) => stream.index.borrow().at_seq_num(seq_num),
            From::Timestamp(timestamp) => stream.index.borrow().at_timestamp(timestamp),
        };
        let Some(IndexEntry { seq_num: met_to, mut pos, .. }) = entry else { return Ok(()) };
        let mut next = Next { start, seq_num: 0, end_seq_num, met_to };
        while let Some(span) = entry {
            pos = span.pos;
            next.seq_num = next.seq_num.max(stream.durable.get().trim_point);
            if next.seq_num >= end_seq_num {
                return Ok(()); // all of it was trimmed, and may be gone from the disk
            }
            match self.reader.span(span).await {
                Ok(frames) => {
                    if visit(&frames, stream, &mut next, &mut each)?.is_break() {
                        return Ok(());
                    }
                }
                // Everything in it was trimmed while we came, and its file may be in use again.
                Err(ReadError::Released(_) | ReadError::Damaged { .. })
                    if !is_needed(stream, span) => {}
                Err(error) => return Err(error),
            }
            entry = stream.index.borrow().after(span.seq_num);
        }
        next.meet(stream, pos, end_seq_num, end_seq_num)
    }
}

/// Whether the stream still needs what lies in this span.
fn is_needed(stream: &Stream, span: IndexEntry) -> bool {
    !stream.is_deleting() && stream.first_needed_pos().is_some_and(|first| first <= span.pos)
}

/// Which record of a stream a scan wants next.
struct Next {
    start: From,
    seq_num: u64,
    end_seq_num: u64,
    /// Records before this one were met, wanted or not, or needed not be.
    met_to: u64,
}

impl Next {
    /// Meets the records `first..end` in the frame at `pos`. A stream's batches follow each other
    /// without a gap, so one means that a frame between them could not be recognised any more.
    ///
    /// * Errors: [`ReadError::Damaged`], unless what is missing was trimmed or deleted.
    fn meet(
        &mut self,
        stream: &Stream,
        pos: LogPos,
        first: u64,
        end: u64,
    ) -> Result<(), ReadError> {
        let excused = stream.durable.get().trim_point >= first || stream.is_deleting();
        if first > self.met_to && !excused {
            return Err(damaged(pos, FormatError::Entry("records before it are missing")));
        }
        self.met_to = self.met_to.max(end);
        Ok(())
    }

    fn wants(&self, record: &Record<'_>) -> bool {
        let started = match self.start {
            From::SeqNum(seq_num) => record.seq_num >= seq_num,
            From::Timestamp(timestamp) => record.timestamp >= timestamp,
        };
        started && record.seq_num >= self.seq_num
    }
}

fn damaged(pos: LogPos, reason: FormatError) -> ReadError {
    let file = format!("segment with epoch {}", pos.segment);
    ReadError::Damaged { file, offset_bytes: pos.offset_bytes, reason }
}

/// Goes through the frames of a span.
fn visit<B: AsRef<[u8]>>(
    frames: &[ReadFrame<B>],
    stream: &Stream,
    next: &mut Next,
    each: &mut impl FnMut(&Record<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ReadError> {
    for frame in frames {
        let unparsable = |reason| damaged(frame.pos, reason);
        for entry in entries(frame.payload()) {
            let entry = entry.map_err(unparsable)?;
            if entry.kind != Kind::Batch {
                continue;
            }
            let batch = Batch::of(&entry).map_err(unparsable)?;
            if batch.place.stream != stream.id {
                continue;
            }
            next.meet(stream, frame.pos, batch.place.first_seq_num, batch.end_seq_num())?;
            if batch.end_seq_num() <= next.seq_num {
                continue;
            }
            for record in batch.records() {
                let record = record.map_err(unparsable)?;
                if record.seq_num >= next.end_seq_num {
                    return Ok(ControlFlow::Break(()));
                }
                if next.wants(&record) {
                    if each(&record).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    next.seq_num = record.seq_num + 1;
                }
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}
