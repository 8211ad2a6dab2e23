//! Reading: where a read starts, what it delivers, how long it waits (S2 specification,
//! sections 5.2 to 5.4).
//!
//! Only durable records are looked at. Records are spelled straight from the frame they lie in.

use std::ops::ControlFlow;
use std::rc::Rc;

use futures_util::future::{self, Either};

use super::call::StreamPath;
use super::engine::Engine;
use crate::api::query::{ReadQuery, ReadStart, UnaryLimits};
use crate::codec::Format;
use crate::codec::json::ReadBatchEncoder;
use crate::control::Stream;
use crate::io::Io;
use crate::log::entry::{Batch, Kind, Record, entries};
use crate::log::format::FormatError;
use crate::log::index::IndexEntry;
use crate::log::reader::{ReadError, ReadFrame};
use crate::types::refusal::chain;
use crate::types::{LogPos, PartialStreamConfig, Refusal, StreamPosition};

/// Where delivery starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    SeqNum(u64),
    Timestamp(u64),
}

/// What of a read is still to be delivered.
#[derive(Debug, Clone, Copy)]
struct Budget {
    count: usize,
    bytes: u64,
    until: Option<u64>,
}

/// How a scan went.
#[derive(Debug, Clone, Copy, Default)]
struct Delivered {
    records: usize,
    /// A bound ended it before the tail did.
    bounded: bool,
}

impl<I: Io> Engine<I> {
    /// The durable tail of a stream.
    pub(super) async fn check_tail(
        self: &Rc<Self>,
        path: &StreamPath,
    ) -> Result<StreamPosition, Refusal> {
        let stream = match self.stream_for_read(path, &PartialStreamConfig::default()) {
            Ok(stream) => stream,
            Err(refused) => return self.refuse(refused).await,
        };
        self.settle(stream.created_ticket).await?;
        Ok(stream.durable.get().tail)
    }

    /// Reads records and returns the JSON body of a unary answer.
    pub(super) async fn read(
        self: &Rc<Self>,
        path: &StreamPath,
        query: &ReadQuery,
        format: Format,
        auto_create: &PartialStreamConfig,
    ) -> Result<Vec<u8>, Refusal> {
        let stream = match self.stream_for_read(path, auto_create) {
            Ok(stream) => stream,
            Err(refused) => return self.refuse(refused).await,
        };
        self.settle(stream.created_ticket).await?;
        self.count_read(&stream, false);
        let limits = query.unary_limits();
        let mut body = Vec::new();
        if limits.count == 0 || limits.bytes == 0 {
            ReadBatchEncoder::new(&mut body, format).finish(None);
            return Ok(body);
        }
        let budget = Budget { count: limits.count, bytes: limits.bytes, until: query.until };
        let tail = stream.durable.get().tail;
        if let Some(start) = start_of(query, tail, limits.follows())? {
            let delivered =
                self.deliver(&stream, start, tail.seq_num, budget, format, &mut body, None).await?;
            if delivered.records > 0 || delivered.bounded {
                return Ok(body);
            }
            // Nothing is retained from there on: by timestamp that is a start at the tail.
            if matches!(start, From::Timestamp(_)) && !limits.follows() {
                return Err(Refusal::Unsatisfiable(tail));
            }
            if !limits.follows() {
                return Ok(body);
            }
            body.clear();
        }
        self.follow(&stream, tail.seq_num, budget, limits, format).await
    }

    /// Waits at the tail for records, and returns the first that become durable.
    async fn follow(
        &self,
        stream: &Rc<Stream>,
        seq_num: u64,
        budget: Budget,
        limits: UnaryLimits,
        format: Format,
    ) -> Result<Vec<u8>, Refusal> {
        let mut body = Vec::new();
        let timeout = self.io.sleep_us(u64::from(limits.wait_secs) * 1_000_000);
        let mut timeout = std::pin::pin!(timeout);
        let tail = loop {
            if stream.is_deleting() {
                self.settle(stream.last_ticket.get()).await?;
                let name = stream.record().name;
                return Err(Refusal::StreamDeletionPending(name));
            }
            let tail = stream.durable.get().tail;
            if tail.seq_num > seq_num {
                break tail;
            }
            let changed = std::pin::pin!(stream.changed.notified());
            if let Either::Right(_) = future::select(changed, timeout.as_mut()).await {
                ReadBatchEncoder::new(&mut body, format).finish(None);
                return Ok(body);
            }
        };
        let start = From::SeqNum(seq_num);
        self.deliver(stream, start, tail.seq_num, budget, format, &mut body, Some(tail)).await?;
        Ok(body)
    }

    /// Spells the records from `start` up to `end_seq_num` into `body`, as far as the budget goes.
    #[expect(clippy::too_many_arguments, reason = "each is a plain value of one read")]
    async fn deliver(
        &self,
        stream: &Rc<Stream>,
        start: From,
        end_seq_num: u64,
        mut budget: Budget,
        format: Format,
        body: &mut Vec<u8>,
        tail: Option<StreamPosition>,
    ) -> Result<Delivered, Refusal> {
        let mut delivered = Delivered::default();
        let mut encoder = ReadBatchEncoder::new(body, format);
        let mut bytes_read = 0;
        let each = |record: &Record<'_>| {
            let fits = budget.count > 0
                && record.metered_bytes <= budget.bytes
                && budget.until.is_none_or(|until| record.timestamp < until);
            if !fits {
                delivered.bounded = true;
                return ControlFlow::Break(());
            }
            budget.count -= 1;
            budget.bytes -= record.metered_bytes;
            bytes_read += record.metered_bytes;
            delivered.records += 1;
            encoder.record(record.seq_num, record.timestamp, record.headers(), record.body);
            if budget.count == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let scanned = self.scan(stream, start, end_seq_num, each).await;
        scanned.map_err(|error| {
            let error = chain(&error);
            tracing::error!(shard = self.config.log.shard, error, "reading the log failed");
            self.metrics.read_damaged();
            Refusal::Storage(format!("reading failed: {error}"))
        })?;
        encoder.finish(tail.filter(|_| delivered.records > 0));
        self.metrics.records_read(delivered.records as u64, bytes_read);
        self.count_bytes_read(stream, bytes_read);
        Ok(delivered)
    }

    /// Hands the stream's durable records from `start` up to `end_seq_num` to `each`, in order,
    /// until it breaks.
    async fn scan(
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

/// Resolves where a read starts; `None` means at the tail, waiting.
///
/// * Errors: [`Refusal::Unsatisfiable`].
/// * Source: S2 specification, section 5.3.
fn start_of(
    query: &ReadQuery,
    tail: StreamPosition,
    follows: bool,
) -> Result<Option<From>, Refusal> {
    let at_tail = || if follows { Ok(None) } else { Err(Refusal::Unsatisfiable(tail)) };
    let seq_num = match query.start {
        ReadStart::Timestamp(timestamp) if timestamp > tail.timestamp => {
            return if query.clamp { at_tail() } else { Err(Refusal::Unsatisfiable(tail)) };
        }
        ReadStart::Timestamp(timestamp) => return Ok(Some(From::Timestamp(timestamp))),
        ReadStart::SeqNum(seq_num) => seq_num,
        ReadStart::TailOffset(offset) => tail.seq_num.saturating_sub(offset),
    };
    if seq_num < tail.seq_num {
        Ok(Some(From::SeqNum(seq_num)))
    } else if seq_num == tail.seq_num || query.clamp {
        at_tail()
    } else {
        Err(Refusal::Unsatisfiable(tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: StreamPosition = StreamPosition { seq_num: 3, timestamp: 50 };

    fn start(start: ReadStart, clamp: bool, follows: bool) -> Result<Option<From>, Refusal> {
        let query =
            ReadQuery { start, clamp, count: None, bytes: None, until: None, wait_secs: None };
        start_of(&query, TAIL, follows)
    }

    #[test]
    fn a_start_is_resolved_against_the_durable_tail() {
        use ReadStart::{SeqNum, TailOffset, Timestamp};
        let beyond = || Err(Refusal::Unsatisfiable(TAIL));
        let at = |seq_num| Ok(Some(From::SeqNum(seq_num)));
        let cases = [
            (SeqNum(0), false, false, at(0)),
            (SeqNum(2), true, true, at(2)),
            (SeqNum(3), false, true, Ok(None)),
            (SeqNum(3), false, false, beyond()),
            (SeqNum(4), false, true, beyond()),
            (SeqNum(99), true, true, Ok(None)),
            (SeqNum(99), true, false, beyond()),
            (TailOffset(0), false, false, beyond()),
            (TailOffset(0), false, true, Ok(None)),
            (TailOffset(2), false, false, at(1)),
            (TailOffset(10), false, false, at(0)),
            (Timestamp(50), false, false, Ok(Some(From::Timestamp(50)))),
            (Timestamp(51), false, true, beyond()),
            (Timestamp(51), true, true, Ok(None)),
            (Timestamp(51), true, false, beyond()),
        ];
        for (from, clamp, follows, expected) in cases {
            assert_eq!(start(from, clamp, follows), expected, "{from:?} {clamp} {follows}");
        }
    }
}
