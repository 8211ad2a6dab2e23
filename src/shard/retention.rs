//! Retention by age, and the deletion of streams that stay empty (S2 specification, section 12).
//!
//! * What outlived its retention is hidden from reads at once, and stays so: before a reader is
//!   shown that something is gone, a trim point that says so is durable (`read::passed`). So a wall
//!   clock that is set back brings nothing back that was seen to go.
//! * What nobody reads is trimmed later, by a pass over all streams and by the span of the index in
//!   which the boundary lies; when all of a stream is old enough, all of it goes.
//! * Never early: where whole milliseconds cannot tell, it is late.
//! * Streams are visited a few at a time, so a million of them hold up nobody.

use std::rc::Rc;

use super::engine::{Engine, Note};
use crate::control::{Stream, expiry};
use crate::io::Io;
use crate::log::entry::{Kind, Trimmed};
use crate::log::writer::Writer;
use crate::stream::State;
use crate::types::StreamId;

/// Pause between two visits, in microseconds.
const PAUSE_US: u64 = 250_000;
/// Visits in which all streams are seen, when there are many.
const VISITS: usize = 120;
/// Fewest streams seen at a visit.
const STREAMS_MIN: usize = 256;

impl<I: Io> Engine<I> {
    /// Trims what outlived its retention and deletes streams that stay empty, until the log fails.
    pub async fn run_retention(self: Rc<Self>) {
        let mut seen = StreamId(0);
        while self.durable.failure().is_none() {
            self.io.sleep_us(PAUSE_US).await;
            seen = self.visit_streams(seen);
        }
    }

    /// Sees to some streams after `seen`; returns the last of them, or 0 to begin anew.
    fn visit_streams(&self, seen: StreamId) -> StreamId {
        let some: Vec<Rc<Stream>> = {
            let catalog = self.catalog.borrow();
            let count = (catalog.stream_count() / VISITS).max(STREAMS_MIN);
            catalog.streams_after(seen).take(count).cloned().collect()
        };
        let now_ms = self.io.wall_us() / 1000;
        for stream in some.iter().filter(|stream| !stream.is_deleting()) {
            self.expire(stream, now_ms);
            if stays_empty(stream, now_ms) && self.check_room_to_delete(stream).is_ok() {
                self.log_deletion(stream);
            }
        }
        some.last().map_or(StreamId(0), |stream| stream.id)
    }

    /// Hides what is past its retention; what arrived before the time returned is hidden,
    /// milliseconds since the Unix epoch.
    ///
    /// A new age counts once it is durable. Until then nothing more is hidden: a restart may find
    /// the age before or the new one, and neither may bring anything back. When the log failed
    /// before that, it stays so until the restart.
    pub(super) fn hide_expired(&self, stream: &Stream) -> u64 {
        if stream.metadata_ticket.get() <= self.durable.reached() {
            stream.hide_expired(self.io.wall_us() / 1000);
        }
        stream.hidden_before_ms()
    }

    /// Logs what a stream loses to its age.
    fn expire(&self, stream: &Rc<Stream>, now_ms: u64) {
        self.hide_expired(stream);
        let trim_point = stream.hidden_to();
        // On a full disk it waits for better times; what gives more room back comes first.
        if trim_point <= stream.accepted.get().trim_point || self.check_room_to_trim().is_err() {
            return;
        }
        let trimmed = Trimmed { stream: stream.id, trim_point, at_ms: now_ms };
        self.log_trim(stream, trimmed, Writer::append_in_passing);
    }

    /// Has the records before `trim_point` trimmed, which are hidden; `true` once that is durable,
    /// `false` when it cannot be: then no reader may learn that they are gone.
    pub(super) async fn trim_hidden(&self, stream: &Rc<Stream>, trim_point: u64) -> bool {
        if trim_point > stream.accepted.get().trim_point {
            let is_open = self.check_open().is_ok() && !stream.is_deleting();
            if !is_open || self.check_room_to_trim().is_err() {
                return false;
            }
            let at_ms = self.io.wall_us() / 1000;
            let trimmed = Trimmed { stream: stream.id, trim_point, at_ms };
            self.log_trim(stream, trimmed, Writer::append_metadata);
        }
        // Or one that was logged before, by whomever.
        self.settle(stream.last_ticket.get()).await.is_ok()
    }

    fn log_trim(
        &self,
        stream: &Rc<Stream>,
        trimmed: Trimmed,
        log: impl FnOnce(&Writer<I, Note>, Kind, &[u8], Note) -> u64,
    ) {
        let accepted = stream.accepted.get();
        stream.accepted.set(State { trim_point: trimmed.trim_point, ..accepted });
        let note = Note::Trimmed(Rc::clone(stream), trimmed);
        stream.last_ticket.set(log(&self.writer, Kind::Trimmed, &trimmed.encode(), note));
    }
}

/// Whether a stream has been empty, and not written to, for as long as its configuration says.
fn stays_empty(stream: &Stream, now_ms: u64) -> bool {
    let Some(clock) = stream.delete_on_empty() else { return false };
    let durable = stream.durable.get();
    let is_empty = durable.trim_point >= durable.tail.seq_num;
    if !is_empty || stream.accepted.get().tail != durable.tail {
        return false;
    }
    let written_ms = match durable.tail.seq_num {
        0 => clock.since_us / 1000,
        _ => stream.last_arrival_ms.get(),
    };
    expiry::is_over(written_ms, now_ms, clock.min_age_secs)
}

#[cfg(test)]
mod tests;
