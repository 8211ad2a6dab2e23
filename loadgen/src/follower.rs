//! Judges what one reader of one stream is given, record by record. Pure: no I/O, no clock.
//!
//! * Sequence numbers go up by one: what is skipped is a *gap*, what comes again is *repeated*.
//! * Each writer's records come in the order in which it wrote them. One that comes once more under
//!   another number is *doubled*; one that comes after a later one is *disordered*; an append of
//!   which only a part comes is *torn*.
//! * An append that never comes was refused, is in doubt, or, if the writer was told otherwise, is
//!   *lost*.
//! * A heartbeat says that everything before the tail it names was delivered; one that says so too
//!   soon is *premature*.
//! * A record is what was sent, byte for byte; anything else of this run is *wrong*. Records of
//!   other runs are counted and left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use crate::board::{Acked, Board};
use crate::feed::streams_of;
use crate::record::{BatchId, IDENTITY_BYTES, Identity, Pool, STAMP_BYTES, decode_stamp};

/// Appends remembered as missing at a time.
const MISSING_MAX: usize = 100_000;
/// Faults described in words; the rest is only counted.
const EXAMPLES_MAX: usize = 10;

/// What must not happen, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Sequence numbers skipped.
    pub(crate) gaps: u64,
    /// Records delivered once more under the same number.
    pub(crate) repeated: u64,
    /// Records delivered once more under another number.
    pub(crate) doubled: u64,
    /// Records of an append behind those of a later one.
    pub(crate) disordered: u64,
    /// Appends of which a part is missing.
    pub(crate) torn: u64,
    /// Records that are not what was sent.
    pub(crate) wrong: u64,
    /// Heartbeats that came before what they promise.
    pub(crate) premature: u64,
    /// Appends acknowledged and passed over, and records acknowledged that never came.
    pub(crate) lost: u64,
    /// The first few, in words.
    pub(crate) examples: Vec<String>,
}

impl Faults {
    /// The counts with their names.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 8] {
        [
            ("gaps", self.gaps),
            ("repeated", self.repeated),
            ("doubled", self.doubled),
            ("disordered", self.disordered),
            ("torn", self.torn),
            ("wrong", self.wrong),
            ("premature", self.premature),
            ("lost", self.lost),
        ]
    }

    /// True when there is none.
    pub(crate) fn is_none(&self) -> bool {
        self.counts().iter().all(|(_, count)| *count == 0)
    }

    fn example(&mut self, describe: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(describe());
        }
    }
}

impl AddAssign<&Self> for Faults {
    fn add_assign(&mut self, other: &Self) {
        self.gaps += other.gaps;
        self.repeated += other.repeated;
        self.doubled += other.doubled;
        self.disordered += other.disordered;
        self.torn += other.torn;
        self.wrong += other.wrong;
        self.premature += other.premature;
        self.lost += other.lost;
        self.examples.extend_from_slice(&other.examples);
        self.examples.truncate(EXAMPLES_MAX);
    }
}

/// What a record turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The next record of this append, which was due at this time.
    Delivered { id: BatchId, due_ns: u64 },
    /// Not of this run.
    Foreign,
    /// Not a delivery; counted among the faults.
    Faulty,
}

/// What is known of the records beforehand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) run: u32,
    pub(crate) writers: u32,
    pub(crate) streams: u32,
    pub(crate) record_bytes: usize,
}

/// The state of one reader.
pub(crate) struct Follower {
    load: Load,
    stream: u32,
    next_seq_num: u64,
    places: BTreeMap<u32, Place>,
    missing: BTreeSet<BatchId>,
    /// What went wrong since it was last taken.
    pub(crate) faults: Faults,
}

/// What comes next from one writer.
#[derive(Debug, Clone, Copy)]
struct Place {
    batch: u32,
    index: u16,
    /// Appends of the writer from one to this stream to the next.
    step: u32,
}

impl Follower {
    /// A reader of `stream` from `next_seq_num` on.
    pub(crate) fn new(load: Load, stream: u32, next_seq_num: u64) -> Self {
        let (places, missing, faults) = (BTreeMap::new(), BTreeSet::new(), Faults::default());
        Self { load, stream, next_seq_num, places, missing, faults }
    }

    /// The next sequence number expected.
    pub(crate) fn next_seq_num(&self) -> u64 {
        self.next_seq_num
    }

    /// Judges a heartbeat that names `tail`.
    pub(crate) fn heartbeat(&mut self, tail: u64) {
        let next = self.next_seq_num;
        if tail > next {
            self.faults.premature += 1;
            self.faults.example(|| format!("heartbeat with tail {tail} where {next} was next"));
        }
    }

    /// Judges the next record delivered.
    pub(crate) fn see(&mut self, seq_num: u64, body: &[u8], pool: &Pool) -> Seen {
        if seq_num < self.next_seq_num {
            self.faults.repeated += 1;
            let next = self.next_seq_num;
            self.faults.example(|| format!("seq_num {seq_num} after {next} was next"));
            return Seen::Faulty;
        }
        if seq_num > self.next_seq_num {
            let next = self.next_seq_num;
            self.faults.gaps += seq_num - next;
            self.faults.example(|| format!("seq_num {seq_num} where {next} was next"));
        }
        self.next_seq_num = seq_num + 1;
        let Some(identity) = Identity::decode(body) else {
            return self.wrong(seq_num, "no identity");
        };
        if identity.id.run != self.load.run {
            return Seen::Foreign;
        }
        let stamp = IDENTITY_BYTES..IDENTITY_BYTES + STAMP_BYTES;
        let Some(due_ns) = decode_stamp(body) else { return self.wrong(seq_num, "no time") };
        if body.len() != self.load.record_bytes {
            return self.wrong(seq_num, "another length than sent");
        }
        if identity.stream != self.stream || identity.id.writer >= self.load.writers {
            return self.wrong(seq_num, "another stream's record");
        }
        let filling = pool.filling(&identity, body.len() - IDENTITY_BYTES);
        if body[stamp.end..] != filling[STAMP_BYTES..] {
            return self.wrong(seq_num, "other bytes than sent");
        }
        self.place(seq_num, &identity, due_ns)
    }

    fn wrong(&mut self, seq_num: u64, what: &str) -> Seen {
        self.faults.wrong += 1;
        self.faults.example(|| format!("seq_num {seq_num}: {what}"));
        Seen::Faulty
    }

    /// Compares a record's place among its writer's with the one that comes next.
    fn place(&mut self, seq_num: u64, identity: &Identity, due_ns: u64) -> Seen {
        let Identity { id, index, size, .. } = *identity;
        let (stream, Load { writers, streams, .. }) = (self.stream, self.load);
        let place = self.places.entry(id.writer).or_insert_with(|| {
            let served = streams_of(id.writer, writers, streams);
            let turn = served.iter().position(|served| *served == stream).unwrap_or(0);
            let small = |number: usize| u32::try_from(number).expect("at most a million");
            Place { batch: small(turn), index: 0, step: small(served.len()) }
        });
        if (id.batch, index) < (place.batch, place.index) {
            if self.missing.remove(&id) {
                self.faults.disordered += 1;
            } else {
                self.faults.doubled += 1;
            }
            self.faults
                .example(|| format!("seq_num {seq_num}: record {index} of {id:?} again or late"));
            return Seen::Faulty;
        }
        let is_torn =
            if id.batch > place.batch { place.index.max(index) > 0 } else { index > place.index };
        if is_torn {
            self.faults.torn += 1;
            self.faults
                .example(|| format!("seq_num {seq_num}: a part is missing before {id:?} {index}"));
        }
        let first =
            if place.index > 0 { place.batch.saturating_add(place.step) } else { place.batch };
        let skipped = (first..id.batch).step_by(place.step as usize);
        let room = MISSING_MAX.saturating_sub(self.missing.len());
        self.missing.extend(skipped.take(room).map(|batch| BatchId { batch, ..id }));
        *place = if index + 1 == size {
            Place { batch: id.batch.saturating_add(place.step), index: 0, step: place.step }
        } else {
            Place { batch: id.batch, index: index + 1, step: place.step }
        };
        Seen::Delivered { id, due_ns }
    }

    /// Looks up what was passed over: whatever was acknowledged is lost.
    pub(crate) fn look_for_missing(&mut self, board: &Board) {
        let (missing, faults) = (&mut self.missing, &mut self.faults);
        missing.retain(|id| match board.look_up(*id) {
            Acked::Not => true,
            Acked::Forgotten => false,
            Acked::At(_) => {
                faults.lost += 1;
                faults.example(|| format!("{id:?} was acknowledged and passed over"));
                false
            }
        });
    }

    /// Counts the records that were acknowledged and had not come when waiting ended.
    pub(crate) fn give_up(&mut self, end: u64) {
        let (next, stream) = (self.next_seq_num, self.stream);
        self.faults.lost += end.saturating_sub(next);
        self.faults.example(|| format!("stream {stream}: {next}..{end} acknowledged, never came"));
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
