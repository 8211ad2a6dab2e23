//! What a reader is shown to be gone by its age is trimmed first, durably.
//!
//! Which records are past their age says the wall clock, and that may be set back across a restart:
//! what one life has hidden, the next one might serve again. So a scan may pass over such records,
//! but it shows nothing behind them, nor that nothing is behind them, before a trim up to there is
//! durable.
//!
//! Where none can be logged (the log failed, the disk is full, the stream is being deleted) they
//! are served still: a reader that sees them late was never told that they were gone.

use std::ops::Range;
use std::rc::Rc;

use crate::control::Stream;
use crate::io::Io;
use crate::planted::{self, Bug};
use crate::shard::engine::Engine;

/// The records that a scan passed over for their age, and has yet to answer for.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// One stretch: it passes over more only from its end on, until something is shown.
    records: Range<u64>,
    /// They cannot be trimmed: from now on the scan passes over none.
    pub(super) is_refused: bool,
}

impl Passed {
    /// Takes note that the records from `from` up to `to` are passed over.
    pub(super) fn note(&mut self, from: u64, to: u64) {
        if self.records.is_empty() {
            self.records.start = from;
        }
        self.records.end = to;
    }

    /// Takes note that something is shown: what comes later is another stretch.
    pub(super) fn shown(&mut self) {
        self.records = 0..0;
    }

    /// Whether a reader may not learn of it yet.
    pub(super) fn is_open(&self, stream: &Stream) -> bool {
        !planted::has(Bug::HiddenEarly) && self.records.end > stream.durable.get().trim_point
    }
}

impl<I: Io> Engine<I> {
    /// Has what was passed over trimmed, durably; where that cannot be, returns where to go back
    /// to.
    pub(super) async fn trim_passed(
        &self,
        stream: &Rc<Stream>,
        passed: &mut Passed,
    ) -> Option<u64> {
        let Range { start, end } = std::mem::take(&mut passed.records);
        if self.trim_hidden(stream, end).await {
            return None;
        }
        passed.is_refused = true;
        Some(start)
    }
}
