//! Walking through a stream's durable records in the log.
//!
//! Records are handed out straight from the frame they lie in. Batches follow each other without a
//! gap, wherever the cleaner has put them: each time the stream's trail says which frame holds the
//! next one, or the index where it lies. What was trimmed or is past its retention is passed over,
//! and a gap that nothing excuses is damage.

use std::ops::ControlFlow;
use std::rc::Rc;

use super::From;
use super::passed::Passed;
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
        stream: &Rc<Stream>,
        start: From,
        end_seq_num: u64,
        mut each: impl FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let Some(seq_num) = self.first_to_visit(stream, start).await else { return Ok(()) };
        let passed = Passed::default();
        let mut next = Next { start, seq_num, end_seq_num, hidden_before_ms: 0, passed };
        let mut pieces = Pieces::default();
        loop {
            let went = self.scan_on(stream, &mut next, &mut pieces, &mut each).await?;
            if went == Went::On {
                continue;
            }
            if next.passed.is_open(stream) {
                if let Some(seq_num) = self.trim_passed(stream, &mut next.passed).await {
                    next.seq_num = seq_num;
                    pieces = Pieces::default();
                }
            } else if went == Went::Ended {
                return Ok(());
            }
        }
    }

    /// Goes on by one stretch of the log, or by what is hidden.
    async fn scan_on(
        &self,
        stream: &Rc<Stream>,
        next: &mut Next,
        pieces: &mut Pieces,
        each: &mut impl FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<Went, ReadError> {
        next.hidden_before_ms = self.hidden_now(stream, next);
        if !next.passed.is_refused && next.seq_num < next.end_seq_num {
            next.pass(stream.hidden_to());
        }
        next.seq_num = next.seq_num.max(stream.durable.get().trim_point);
        if next.seq_num >= next.end_seq_num {
            return Ok(Went::Ended); // the rest was trimmed, and may be gone from the disk
        }
        if let Some(frame) = self.live_frame(stream, next.seq_num) {
            let before = next.seq_num;
            let went = visit(std::slice::from_ref(&frame), stream, next, each)?;
            if went != Went::On || next.seq_num > before {
                return Ok(went);
            }
        }
        let run = stream.index().at_seq_num(next.seq_num);
        let Some(run) = run else { return Ok(Went::Ended) };
        let visible = self.behind_hidden(stream, &run, next.hidden_before_ms, pieces).await;
        if let Some(seq_num) = visible.filter(|seq_num| *seq_num > next.seq_num) {
            next.pass(seq_num);
            return Ok(Went::On);
        }
        let missing = match self.scan_piece(stream, &run, next, pieces, each).await {
            Err(error @ (ReadError::Released(_) | ReadError::Damaged { .. })) => error,
            went => return went,
        };
        // Perhaps it was trimmed or moved while we came, and its file is in use again.
        if stream.is_deleting() {
            return Ok(Went::Ended);
        }
        if still_holds(stream, run, next.seq_num) { Err(missing) } else { Ok(Went::On) }
    }

    /// Goes through the next piece of a run's span.
    async fn scan_piece(
        &self,
        stream: &Stream,
        run: &IndexEntry,
        next: &mut Next,
        pieces: &mut Pieces,
        each: &mut impl FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<Went, ReadError> {
        let before = next.seq_num;
        let piece = self.piece_of(stream, run, before, pieces).await;
        let room = self.room(piece.pos).await;
        let (frames, end) = self.reader.stretch(piece).await?;
        let turn = self.turn(room.as_ref()).await;
        next.hidden_before_ms = self.hidden_now(stream, next);
        let went = visit(&frames, stream, next, each)?;
        if went != Went::On {
            return Ok(went);
        }
        drop((frames, room));
        pieces.ended(end, next.seq_num > before);
        if next.seq_num > before {
            if next.seq_num < next.end_seq_num {
                self.give_way(turn).await;
            }
            return Ok(Went::On);
        }
        if let Some(end) = stream.lost_to(before) {
            next.seq_num = end;
            return Ok(Went::On);
        }
        if pieces.goes_on(run, &piece) {
            self.give_way(turn).await;
            return Ok(Went::On);
        }
        Err(damaged(run.pos, FormatError::Entry("records before it are missing")))
    }

    /// What arrived before this is passed over now, milliseconds since the Unix epoch.
    fn hidden_now(&self, stream: &Stream, next: &Next) -> u64 {
        if next.passed.is_refused { 0 } else { self.hide_expired(stream) }
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

/// How a part of a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    /// There is more to look at.
    On,
    /// Before a record that would show that others are gone.
    BeforeVisible,
    /// At the end of what is there, or of what is wanted.
    Ended,
}

/// Which record of a stream a scan comes to next.
struct Next {
    start: From,
    seq_num: u64,
    end_seq_num: u64,
    /// Batches that arrived before this are past their retention.
    hidden_before_ms: u64,
    /// Those that it came by.
    passed: Passed,
}

impl Next {
    /// Passes over what is before `seq_num`, for its age.
    fn pass(&mut self, seq_num: u64) {
        if seq_num > self.seq_num {
            self.passed.note(self.seq_num, seq_num);
            self.seq_num = seq_num;
        }
    }

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
) -> Result<Went, ReadError> {
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
                next.pass(batch.end_seq_num());
                continue;
            }
            if next.passed.is_open(stream) {
                return Ok(Went::BeforeVisible);
            }
            next.passed.shown();
            for record in batch.records() {
                let record = record.map_err(unparsable)?;
                if record.seq_num >= next.end_seq_num {
                    return Ok(Went::Ended);
                }
                if record.seq_num < next.seq_num {
                    continue;
                }
                if next.wants(&record) && each(&record).is_break() {
                    return Ok(Went::Ended);
                }
                next.seq_num = record.seq_num + 1;
            }
        }
    }
    Ok(Went::On)
}
