//! Walking through a stream's durable records in the log.
//!
//! Records are handed out straight from the frame they lie in. Batches follow each other without a
//! gap, wherever the cleaner has put them: each time the stream's trail says which frame holds the
//! next one, or the index where it lies. What was trimmed or is past its retention is passed over,
//! and a gap that nothing excuses is damage.

use std::ops::ControlFlow;

use super::From;
use super::pieces::Pieces;
use crate::control::Stream;
use crate::io::Io;
use crate::log::entry::{Batch, Record, entries};
use crate::log::footer::Target;
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
        let Some(seq_num) = self.first_to_visit(stream, start).await else { return Ok(()) };
        let mut next = Next { start, seq_num, end_seq_num, hidden_before_ms: 0 };
        let mut pieces = Pieces::default();
        loop {
            next.hidden_before_ms = self.hide_expired(stream);
            next.seq_num = next.seq_num.max(stream.hidden_to());
            next.seq_num = next.seq_num.max(stream.durable.get().trim_point);
            if next.seq_num >= end_seq_num {
                return Ok(()); // the rest was trimmed, and may be gone from the disk
            }
            if let Some(frame) = self.live_frame(stream, next.seq_num) {
                let before = next.seq_num;
                let frame = std::slice::from_ref(&frame);
                if visit(frame, stream, &mut next, &mut each)?.is_break() {
                    return Ok(());
                }
                if next.seq_num > before {
                    continue;
                }
            }
            let run = stream.index().at_seq_num(next.seq_num);
            let Some(run) = run else { return Ok(()) };
            let hidden_before_ms = next.hidden_before_ms;
            let visible = self.behind_hidden(stream, &run, hidden_before_ms, &mut pieces).await;
            if let Some(seq_num) = visible.filter(|seq_num| *seq_num > next.seq_num) {
                next.seq_num = seq_num;
                continue;
            }
            let piece = self.piece_of(stream, &run, next.seq_num, &mut pieces).await;
            let room = self.room(piece.pos).await;
            let missing = match self.reader.stretch(piece).await {
                Ok((frames, end)) => {
                    let turn = self.turn(room.as_ref()).await;
                    let before = next.seq_num;
                    next.hidden_before_ms = self.hide_expired(stream);
                    if visit(&frames, stream, &mut next, &mut each)?.is_break() {
                        return Ok(());
                    }
                    drop((frames, room));
                    pieces.ended(end, next.seq_num > before);
                    if next.seq_num > before {
                        if next.seq_num < end_seq_num {
                            self.give_way(turn).await;
                        }
                        continue;
                    }
                    if let Some(end) = stream.lost_to(before) {
                        next.seq_num = end;
                        continue;
                    }
                    if pieces.goes_on(&run, &piece) {
                        self.give_way(turn).await;
                        continue;
                    }
                    damaged(run.pos, FormatError::Entry("records before it are missing"))
                }
                Err(error @ (ReadError::Released(_) | ReadError::Damaged { .. })) => error,
                Err(error) => return Err(error),
            };
            // Perhaps it was trimmed or moved while we came, and its file is in use again.
            if stream.is_deleting() {
                return Ok(());
            }
            if still_holds(stream, run, next.seq_num) {
                return Err(missing);
            }
        }
    }

    /// Number of the first record to look at; `None` when the stream has none.
    async fn first_to_visit(&self, stream: &Stream, start: From) -> Option<u64> {
        match start {
            From::SeqNum(seq_num) => {
                let first = stream.index().at_seq_num(seq_num)?;
                Some(first.seq_num.max(seq_num))
            }
            From::Timestamp(timestamp) => {
                let first = stream.index().at_timestamp(timestamp)?;
                Some(self.record_before(stream, &first, Target::Timestamp(timestamp)).await)
            }
        }
    }
}

/// Whether the record `seq_num` is wanted, and still to be found in that run's span.
fn still_holds(stream: &Stream, run: IndexEntry, seq_num: u64) -> bool {
    let now = stream.index().at_seq_num(seq_num);
    let is_trimmed = stream.durable.get().trim_point > seq_num;
    !is_trimmed && now.is_some_and(|now| now.pos == run.pos)
}

/// Which record of a stream a scan comes to next.
struct Next {
    start: From,
    seq_num: u64,
    end_seq_num: u64,
    /// Batches that arrived before this are past their retention.
    hidden_before_ms: u64,
}

impl Next {
    fn wants(&self, record: &Record<'_>) -> bool {
        match self.start {
            From::SeqNum(_) => true, // the walk begins there
            From::Timestamp(timestamp) => record.timestamp >= timestamp,
        }
    }
}

fn damaged(pos: LogPos, reason: FormatError) -> ReadError {
    let file = format!("segment with epoch {}", pos.segment);
    ReadError::Damaged { file, offset_bytes: pos.offset_bytes, reason }
}

/// Goes through the frames of a span.
fn visit(
    frames: &[ReadFrame],
    stream: &Stream,
    next: &mut Next,
    each: &mut impl FnMut(&Record<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ReadError> {
    for frame in frames {
        let unparsable = |reason| damaged(frame.pos, reason);
        for entry in entries(frame.payload()) {
            let entry = entry.map_err(unparsable)?;
            if !entry.kind.is_batch() {
                continue;
            }
            let batch = Batch::of(&entry).map_err(unparsable)?;
            // Other batches of the stream belong to other runs, or moved on from here.
            let is_next = (batch.place.first_seq_num..batch.end_seq_num()).contains(&next.seq_num);
            if batch.place.stream != stream.id || !is_next {
                continue;
            }
            if batch.place.arrival_ms < next.hidden_before_ms {
                next.seq_num = batch.end_seq_num();
                continue;
            }
            for record in batch.records() {
                let record = record.map_err(unparsable)?;
                if record.seq_num >= next.end_seq_num {
                    return Ok(ControlFlow::Break(()));
                }
                if record.seq_num < next.seq_num {
                    continue;
                }
                if next.wants(&record) && each(&record).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                next.seq_num = record.seq_num + 1;
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}
