//! Reads sealed segments again in the background, remembers what is damaged there, and says so.
//!
//! * A pass looks at every segment that was sealed when it began, oldest first, at a bounded rate.
//! * A place that is remembered was damaged when its segment was looked at last. It is forgotten
//!   when the segment is given up, or when a later pass finds it whole.
//! * The memory is bounded: of very much damage only the first places are told, and that there are
//!   more is logged.
//! * Nothing is repaired here, and the shard goes on serving: who reads the place is told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Serialize;

use super::engine::Engine;
use crate::control::{Catalog, Stream, StreamRecord};
use crate::io::Io;
use crate::log::quarantine::Quarantine;
use crate::log::scrub::{Damage, Scrubber};
use crate::types::{LogPos, StreamId};

/// Damaged places remembered in each shard.
const PLACES_MAX: usize = 100;
/// Streams named for each place; more are counted.
const NAMES_MAX: usize = 20;
/// Streams looked at without a pause.
const STREAMS_STEP: usize = 1024;
/// Least pause between two passes, in microseconds.
const PAUSE_US_MIN: u64 = 1_000;

/// How old data is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubPolicy {
    /// Bytes read in a second, at most; 0 switches it off.
    pub bytes_per_sec: u64,
    /// Least time from the start of a pass to that of the next, in microseconds.
    pub interval_us: u64,
}

/// A damaged place as people are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedPlace {
    /// The shard.
    pub shard: u16,
    /// The segment's file in the shard's directory.
    pub file: String,
    /// Bytes from the start of the file.
    pub offset: u32,
    /// Where the next whole frame begins, or the segment ends.
    pub end_offset: u32,
    /// Number of the first damaged frame, where that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_seq: Option<u64>,
    /// Damaged frames, as far as can be told; 0 when it is the segment's header.
    pub frames: u64,
    /// What is wrong.
    pub reason: String,
    /// Streams that may have lost records, as `basin/stream`; the first ones.
    pub streams: Vec<String>,
    /// How many more such streams there are.
    pub more_streams: u64,
}

/// The damaged places of one shard that are known.
#[derive(Debug, Default)]
pub(super) struct Findings {
    places: RefCell<BTreeMap<LogPos, (Damage, DamagedPlace)>>,
    full: Cell<bool>,
}

impl<I: Io> Engine<I> {
    /// Looks at all sealed segments again and again, for ever: also when the log has failed, since
    /// what is stored can still be read.
    pub async fn run_scrub(self: Rc<Self>) {
        let ScrubPolicy { bytes_per_sec, interval_us } = self.config.scrub;
        if bytes_per_sec == 0 {
            return;
        }
        loop {
            let started_us = self.io.now_us();
            self.scrub_pass(bytes_per_sec).await;
            self.metrics.scrub_passed();
            let took_us = self.io.now_us() - started_us;
            self.io.sleep_us(interval_us.saturating_sub(took_us).max(PAUSE_US_MIN)).await;
        }
    }

    async fn scrub_pass(&self, bytes_per_sec: u64) {
        let scrubber = Scrubber {
            io: &*self.io,
            log: self.config.log,
            segments: &*self.segments,
            bytes_per_sec,
            tally: |bytes| self.metrics.scrubbed(bytes),
        };
        let end = self.segments.active().epoch;
        let mut epoch = self.segments.oldest_epoch();
        let mut before = None;
        while epoch < end {
            let scrubbed = scrubber.scrub(epoch, before).await;
            before = scrubbed.as_ref().and_then(|s| s.chain);
            if let Some(scrubbed) = scrubbed {
                self.note_damage(epoch, scrubbed.damaged).await;
            }
            epoch += 1;
            let oldest = self.segments.oldest_epoch();
            if epoch < oldest {
                (epoch, before) = (oldest, None);
            }
        }
    }

    /// Takes note of all that is damaged in a segment.
    async fn note_damage(&self, epoch: u64, damaged: Vec<Damage>) {
        let still = |pos: &LogPos| damaged.iter().any(|d| d.pos == *pos);
        self.findings.places.borrow_mut().retain(|pos, _| pos.segment != epoch || still(pos));
        for damage in damaged {
            let known = self.findings.places.borrow().get(&damage.pos).map(|(d, _)| d.clone());
            if known.as_ref() == Some(&damage) {
                continue;
            }
            if known.is_none() && self.findings.places.borrow().len() >= PLACES_MAX {
                if !self.findings.full.replace(true) {
                    let shard = self.config.log.shard;
                    tracing::error!(shard, "more damaged places than are remembered");
                }
                return;
            }
            let place = self.describe(&damage).await;
            if self.segments.get(epoch).is_none() {
                return; // given up meanwhile, and nothing was lost
            }
            tracing::error!(
                shard = place.shard,
                file = place.file,
                offset = place.offset,
                end_offset = place.end_offset,
                frame_seq = place.frame_seq,
                frames = place.frames,
                reason = place.reason,
                streams = ?place.streams,
                more_streams = place.more_streams,
                "damage inside acknowledged data"
            );
            self.findings.places.borrow_mut().insert(damage.pos, (damage, place));
        }
    }

    /// The damaged places that are known, in the log's order.
    pub(super) fn damaged_places(&self) -> Vec<DamagedPlace> {
        let mut places = self.findings.places.borrow_mut();
        places.retain(|pos, _| self.segments.get(pos.segment).is_some());
        if places.len() < PLACES_MAX {
            self.findings.full.set(false);
        }
        places.values().map(|(_, place)| place.clone()).collect()
    }

    /// How many frames are damaged there; a segment's header counts as one.
    pub(super) fn damaged_frames(&self) -> u64 {
        self.damaged_places().iter().map(|place| place.frames.max(1)).sum()
    }

    async fn describe(&self, damage: &Damage) -> DamagedPlace {
        let mut place = DamagedPlace {
            shard: self.config.log.shard,
            file: damage.file.clone(),
            offset: damage.pos.offset_bytes,
            end_offset: damage.end_bytes,
            frame_seq: damage.frame_seq,
            frames: damage.frames,
            reason: damage.reason.to_string(),
            streams: Vec::new(),
            more_streams: 0,
        };
        let mut seen = StreamId(0);
        loop {
            let some: Vec<Rc<Stream>> = {
                let catalog = self.catalog.borrow();
                catalog.streams_after(seen).take(STREAMS_STEP).cloned().collect()
            };
            let Some(last) = some.last() else { return place };
            seen = last.id;
            for stream in some.iter().filter(|stream| may_have_lost(stream, damage)) {
                if place.streams.len() == NAMES_MAX {
                    place.more_streams += 1;
                    continue;
                }
                let StreamRecord { basin, name, .. } = stream.record();
                place.streams.push(format!("{basin}/{name}"));
            }
            self.io.sleep_us(1).await;
        }
    }
}

/// Tells each stream which of its records an operator has given up for lost.
pub(super) fn note_lost(catalog: &Catalog, quarantine: &Quarantine) {
    for lost in &quarantine.records {
        if let Some(stream) = catalog.stream_by_id(StreamId(lost.stream)) {
            stream.give_up(lost.first_seq_num..lost.end_seq_num);
        }
    }
}

/// Whether readable records of a stream may have been in a damaged place: by its index, which
/// has each of them in a span of the log.
fn may_have_lost(stream: &Stream, damage: &Damage) -> bool {
    let (begin, end) = (damage.pos, LogPos { offset_bytes: damage.end_bytes, ..damage.pos });
    if stream.first_needed_epoch().is_none_or(|first| first > end.segment) {
        return false;
    }
    let in_index = stream.index().iter().any(|e| e.meets(begin, damage.end_bytes));
    in_index || damage.streams.contains(&stream.id)
}

#[cfg(test)]
mod tests;
