//! Retention by age, and the deletion of streams that stay empty (S2 specification, section 12).
//!
//! * What outlived its retention becomes unreadable by a trim point that is logged first. So it
//!   stays unreadable, whatever happens to the configuration, the clock or the process.
//! * Never early: a record goes when it and all before it arrived longer ago than the age says, as
//!   far as the index tells. Late by a pass over all streams, and by the span of the index in which
//!   the boundary lies; when all of a stream is old enough, all of it goes.
//! * Streams are visited a few at a time, so a million of them hold up nobody.

use std::rc::Rc;

use super::engine::{Engine, Note};
use crate::control::Stream;
use crate::io::Io;
use crate::log::entry::{Kind, Trimmed};
use crate::stream::State;
use crate::types::{Retention, StreamId};

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
            if stays_empty(stream, now_ms) {
                self.log_deletion(stream);
            }
        }
        some.last().map_or(StreamId(0), |stream| stream.id)
    }

    /// Logs what a stream loses to its age.
    fn expire(&self, stream: &Rc<Stream>, now_ms: u64) {
        let trim_point = expired_to(stream, now_ms);
        let accepted = stream.accepted.get();
        // On a full disk it waits for better times; what gives more room back comes first.
        if trim_point <= accepted.trim_point || self.check_room_to_trim().is_err() {
            return;
        }
        stream.accepted.set(State { trim_point, ..accepted });
        let trimmed = Trimmed { stream: stream.id, trim_point, at_ms: now_ms };
        let note = Note::Trimmed(Rc::clone(stream), trimmed);
        let ticket = self.writer.append_in_passing(Kind::Trimmed, &trimmed.encode(), note);
        stream.last_ticket.set(ticket);
    }
}

/// The first record that may not be old enough to go; those before it are.
fn expired_to(stream: &Stream, now_ms: u64) -> u64 {
    let Retention::AgeSecs(age_secs) = stream.retention() else { return 0 };
    let floor_ms = now_ms.saturating_sub(age_secs.saturating_mul(1000));
    if stream.last_arrival_ms.get() < floor_ms {
        return stream.durable.get().tail.seq_num;
    }
    stream.index.borrow().arrived_before(floor_ms).unwrap_or(0)
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
    now_ms.saturating_sub(written_ms) >= clock.min_age_secs.saturating_mul(1000)
}

#[cfg(test)]
mod tests;
