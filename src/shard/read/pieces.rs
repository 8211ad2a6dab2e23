//! Where in the log a scan looks next.
//!
//! A run's span is looked at in one go, unless the run was folded: then the segment's footer says
//! where in it the record lies. Where it does not say, or is wrong, the span is gone through piece
//! by piece: from behind what was looked at last to its end, then once from its beginning.

use crate::control::Stream;
use crate::io::Io;
use crate::log::footer::Target;
use crate::log::index::{IndexEntry, SPAN_BYTES};
use crate::shard::engine::Engine;
use crate::types::LogPos;

/// What a scan remembers of the span that it is in.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Where the span starts.
    run: Option<LogPos>,
    /// The record for which the footer was asked last.
    asked_for: Option<u64>,
    /// The piece that is looked at is where the footer says.
    from_footer: bool,
    /// The last run of which it was asked what of it is hidden.
    hidden_in: Option<LogPos>,
    /// Where the piece ended that was looked at last.
    behind: Option<LogPos>,
    /// For the record that is looked for, the span is gone through from its beginning.
    from_start: bool,
}

impl Pieces {
    /// Takes note of where the piece ended that was looked at, and whether the record was in it.
    pub(super) fn ended(&mut self, end: LogPos, found: bool) {
        self.behind = Some(end);
        if found {
            self.from_start = false;
        }
    }

    /// Whether more of the run's span is to be looked at, when the record was not in `piece`.
    pub(super) fn goes_on(&mut self, run: &IndexEntry, piece: &IndexEntry) -> bool {
        if !run.is_folded() {
            return false;
        }
        let advanced = self.behind.is_some_and(|end| end > piece.pos && run.spans(end));
        if self.from_footer || advanced {
            return true;
        }
        self.behind = None;
        !std::mem::replace(&mut self.from_start, true)
    }

    /// The next piece when the span is gone through.
    fn walk(&mut self, run: &IndexEntry) -> IndexEntry {
        let behind = self.behind.filter(|pos| run.spans(*pos));
        self.from_start |= behind.is_none();
        self.from_footer = false;
        piece_at(run, behind.unwrap_or(run.pos))
    }
}

/// The part of a run's span from `pos` on that is looked at in one go.
fn piece_at(run: &IndexEntry, pos: LogPos) -> IndexEntry {
    let rest_bytes = run.end_bytes() - pos.offset_bytes;
    IndexEntry { pos, span_bytes: rest_bytes.min(SPAN_BYTES), ..*run }
}

impl<I: Io> Engine<I> {
    /// The piece of a run's span to look for the record `seq_num` in.
    pub(super) async fn piece_of(
        &self,
        stream: &Stream,
        run: &IndexEntry,
        seq_num: u64,
        pieces: &mut Pieces,
    ) -> IndexEntry {
        if pieces.run != Some(run.pos) {
            let hidden_in = pieces.hidden_in;
            *pieces = Pieces { run: Some(run.pos), hidden_in, ..Pieces::default() };
        }
        if !run.is_folded() {
            return *run;
        }
        if pieces.asked_for != Some(seq_num) {
            pieces.asked_for = Some(seq_num);
            let target = Target::SeqNum(seq_num);
            let found = self.footers.find(run.pos.segment, stream.id.0, target).await;
            let place = found.map(|f| LogPos { offset_bytes: f.offset_bytes, ..run.pos });
            if let Some(pos) = place.filter(|pos| run.spans(*pos)) {
                pieces.from_footer = true;
                return piece_at(run, pos);
            }
        }
        pieces.walk(run)
    }

    /// The first record of a folded run that may not be hidden, when its beginning is: what arrived
    /// before `hidden_before_ms` is. Asks once for each run.
    pub(super) async fn behind_hidden(
        &self,
        stream: &Stream,
        run: &IndexEntry,
        hidden_before_ms: u64,
        pieces: &mut Pieces,
    ) -> Option<u64> {
        let begins_hidden = run.is_folded() && run.arrival_ms < hidden_before_ms;
        if !begins_hidden || pieces.hidden_in.replace(run.pos) == Some(run.pos) {
            return None;
        }
        Some(self.record_before(stream, run, Target::Arrival(hidden_before_ms)).await)
    }

    /// The first record of a part of `run` that all comes before what is looked for, which is in
    /// the run or after it.
    pub(super) async fn record_before(
        &self,
        stream: &Stream,
        run: &IndexEntry,
        target: Target,
    ) -> u64 {
        if !run.is_folded() {
            return run.seq_num;
        }
        let end = stream.index().next_after(run.seq_num).unwrap_or(u64::MAX);
        let found = self.footers.find(run.pos.segment, stream.id.0, target).await;
        let found = found.filter(|found| (run.seq_num..end).contains(&found.seq_num));
        found.map_or(run.seq_num, |found| found.seq_num)
    }
}
