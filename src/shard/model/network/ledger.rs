//! What clients offered, what they were told, and what was seen: the judge of a run.
//!
//! Each record's body says which batch it belongs to, so that whatever is read can be held to what
//! was offered, without knowing how it got there.

use std::collections::BTreeMap;

use super::words::{Ack, Record};
use super::{Reached, STREAMS};
use crate::io::sim::Stream as Dice;

/// What became of a batch, as far as clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nobody knows: it is there whole, or not at all.
    Open,
    /// It is there, at these numbers; told at this tick.
    Acked(Ack, u64),
    /// It is not there, and never will be.
    Refused,
}

/// Where a batch is offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) stream: usize,
    /// The connection: what one offers happens in order.
    pub(super) visit: u64,
    /// Then a refusal is the end of all that follows.
    pub(super) in_session: bool,
}

/// A batch that was offered.
#[derive(Debug)]
pub(super) struct Batch {
    place: Place,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) is_fence: bool,
    pub(super) match_seq_num: Option<u64>,
    pub(super) token: Option<String>,
    /// Its last byte was given to the network. A batch without it must never be there.
    is_whole: bool,
    /// When, in ticks of the ledger.
    offered: u64,
    outcome: Outcome,
}

impl Batch {
    /// Whether those that follow it go on when its conditions do not hold.
    fn may_be_refused(&self) -> bool {
        !self.place.in_session && (self.match_seq_num.is_some() || self.token.is_some())
    }

    /// A batch that no ledger knows.
    pub(super) fn plain(records: Vec<Vec<u8>>) -> Self {
        Self {
            place: Place { stream: 0, visit: 0, in_session: false },
            records,
            is_fence: false,
            match_seq_num: None,
            token: None,
            is_whole: true,
            offered: 0,
            outcome: Outcome::Open,
        }
    }
}

/// What is known of a stream.
#[derive(Debug, Default)]
struct Seen {
    /// What was read, ever: it does not change, and does not go away.
    records: BTreeMap<u64, (u64, Vec<u8>)>,
    /// Where the last acknowledged batch ends.
    acked_end: u64,
    /// The farthest tail that anybody was told.
    tail: u64,
    /// The token of the last fence that was acknowledged.
    token: String,
}

/// Everything that was offered, told and seen.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    batches: Vec<Batch>,
    streams: [Seen; STREAMS.len()],
    ticks: u64,
    visits: u64,
    pub(super) reached: Reached,
    /// What happened, in order.
    pub(super) lines: Vec<String>,
}

impl Ledger {
    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    /// A number for a connection.
    pub(super) fn visit(&mut self) -> u64 {
        self.visits += 1;
        self.visits
    }

    /// Draws a batch for a place; `pending` records of the same client are ahead of it. Nothing of
    /// it is sent yet.
    pub(super) fn draw(&mut self, dice: &mut Dice, place: Place, pending: u64) -> usize {
        let Place { stream, .. } = place;
        let id = self.batches.len();
        let seen = &self.streams[stream];
        let is_fence = dice.below(24) == 0;
        let records = if is_fence {
            vec![format!("f{id}").into_bytes()]
        } else {
            let filler = if dice.below(8) == 0 { 3_000 } else { 40 };
            let count = 1 + dice.below(5);
            let record = |at| {
                let fill = "abcdefghij".repeat(dice.index(filler).div_ceil(10));
                format!("{id}.{at}.{fill}").into_bytes()
            };
            (0..count).map(record).collect()
        };
        let match_seq_num = match dice.below(32) {
            0..6 => Some(seen.acked_end + pending),
            6 => Some(dice.below(seen.acked_end + 10)),
            _ => None,
        };
        let token = match dice.below(32) {
            0..4 => Some(seen.token.clone()),
            4 => Some("nobody".to_owned()),
            _ => None,
        };
        let offered = self.tick();
        let (is_whole, outcome) = (false, Outcome::Open);
        let batch =
            Batch { place, records, is_fence, match_seq_num, token, is_whole, offered, outcome };
        self.batches.push(batch);
        id
    }

    pub(super) fn batch(&self, id: usize) -> &Batch {
        &self.batches[id]
    }

    /// The last byte of it is being sent.
    pub(super) fn sent_whole(&mut self, id: usize) {
        self.batches[id].is_whole = true;
    }

    /// It was acknowledged.
    pub(super) fn acked(&mut self, id: usize, ack: Ack) {
        let tick = self.tick();
        let batch = &mut self.batches[id];
        self.lines.push(format!("batch {id} of visit {}: {ack:?}", batch.place.visit));
        assert!(batch.is_whole, "batch {id} was acknowledged before it was sent");
        assert_eq!(batch.outcome, Outcome::Open, "batch {id} was answered twice");
        assert_eq!(ack.end - ack.start, batch.records.len() as u64, "batch {id}: {ack:?}");
        assert!(ack.tail >= ack.end, "batch {id}: {ack:?}");
        assert!(batch.match_seq_num.is_none_or(|m| m == ack.start), "batch {id}: {ack:?}");
        batch.outcome = Outcome::Acked(ack, tick);
        let seen = &mut self.streams[batch.place.stream];
        if batch.is_fence && ack.end > seen.acked_end {
            seen.token = String::from_utf8_lossy(&batch.records[0]).into_owned();
        }
        seen.acked_end = seen.acked_end.max(ack.end);
        seen.tail = seen.tail.max(ack.tail);
        self.reached.acked += 1;
    }

    /// It was refused, or what was before it on the same session.
    pub(super) fn refused(&mut self, id: usize) {
        let batch = &mut self.batches[id];
        self.lines.push(format!("batch {id} of visit {}: refused", batch.place.visit));
        assert_eq!(batch.outcome, Outcome::Open, "batch {id} was answered twice");
        batch.outcome = Outcome::Refused;
        self.reached.refused += 1;
    }

    /// How far the stream must be visible to who asks now.
    pub(super) fn acked_end(&self, stream: usize) -> u64 {
        self.streams[stream].acked_end
    }

    /// Somebody was told that the stream ends there, having asked when it had `at_least`.
    pub(super) fn told_tail(&mut self, stream: usize, tail: u64, at_least: u64) {
        assert!(tail >= at_least, "stream {stream} ends at {tail}, and was {at_least} long");
        let seen = &mut self.streams[stream];
        seen.tail = seen.tail.max(tail);
    }

    /// Somebody read a record.
    pub(super) fn saw(&mut self, stream: usize, record: &Record) {
        let id = self.owner(record);
        let batch = &self.batches[id];
        assert_eq!(batch.place.stream, stream, "a record of batch {id} is in another stream");
        assert!(batch.is_whole, "batch {id} is there, and was never sent whole");
        assert_ne!(batch.outcome, Outcome::Refused, "batch {id} is there, and was refused");
        assert_eq!(batch.is_fence, record.is_fence, "batch {id}");
        assert!(batch.records.contains(&record.body), "batch {id} holds no such record");
        let now = (record.timestamp, record.body.clone());
        let seen = &mut self.streams[stream];
        let before = seen.records.entry(record.seq_num).or_insert_with(|| now.clone());
        assert_eq!(*before, now, "record {} of stream {stream} has changed", record.seq_num);
        self.reached.records_read += 1;
    }

    fn owner(&self, record: &Record) -> usize {
        let text = std::str::from_utf8(&record.body).expect("ours are text");
        let text = text.strip_prefix('f').unwrap_or(text);
        let number = text.split('.').next().and_then(|number| number.parse().ok());
        let id: usize = number.unwrap_or_else(|| panic!("nobody offered {text:?}"));
        assert!(id < self.batches.len(), "nobody offered {text:?}");
        id
    }

    /// Holds a stream, read whole when nobody writes, to everything that is known.
    pub(super) fn check(&mut self, stream: usize, contents: &[Record]) {
        let mut places: BTreeMap<usize, u64> = BTreeMap::new();
        let (mut at, mut last_ms, mut fence) = (0, 0, String::new());
        while at < contents.len() {
            let id = self.owner(&contents[at]);
            let batch = &self.batches[id];
            let len = batch.records.len();
            let there = contents.get(at..at + len);
            let there = there.unwrap_or_else(|| panic!("batch {id} is there in part"));
            let start = at as u64;
            for (index, (record, body)) in there.iter().zip(&batch.records).enumerate() {
                assert_eq!(record.seq_num, start + index as u64, "stream {stream} has a gap");
                assert!(record.timestamp >= last_ms, "time goes back at {}", record.seq_num);
                assert!(record.body == *body, "batch {id} is not what was offered");
                last_ms = record.timestamp;
            }
            assert!(places.insert(id, start).is_none(), "batch {id} is there twice");
            let matches = batch.match_seq_num.is_none_or(|number| number == start);
            assert!(matches, "batch {id} is at {start}, against {:?}", batch.match_seq_num);
            let fenced = batch.token.as_ref().is_none_or(|token| *token == fence);
            assert!(fenced, "batch {id} passed the fence {fence:?} with {:?}", batch.token);
            if batch.is_fence {
                fence = String::from_utf8_lossy(&batch.records[0]).into_owned();
            }
            at += len;
        }
        contents.iter().for_each(|record| self.saw(stream, record));
        let seen = &self.streams[stream];
        let (len, seen_len) = (contents.len() as u64, seen.records.len() as u64);
        assert_eq!(len, seen_len, "something that was read of stream {stream} is gone");
        assert!(len >= seen.tail, "stream {stream} ends at {len}, not at {}", seen.tail);
        self.check_outcomes(stream, &places);
        self.check_order(&places);
    }

    /// What was acknowledged is where it was said to be; what is not there now stays away.
    fn check_outcomes(&mut self, stream: usize, places: &BTreeMap<usize, u64>) {
        // Per connection: whether something that was offered before is not there.
        let mut hole: BTreeMap<u64, usize> = BTreeMap::new();
        for (id, batch) in self.batches.iter_mut().enumerate() {
            if batch.place.stream != stream {
                continue;
            }
            let place = places.get(&id).copied();
            match batch.outcome {
                Outcome::Acked(ack, _) => {
                    assert_eq!(place, Some(ack.start), "batch {id} was acknowledged: {ack:?}");
                }
                Outcome::Refused => assert_eq!(place, None, "batch {id} was refused"),
                // By itself it may have been refused, and the answer lost.
                Outcome::Open if place.is_none() && batch.may_be_refused() => {}
                Outcome::Open if place.is_none() => {
                    hole.entry(batch.place.visit).or_insert(id);
                }
                Outcome::Open => self.reached.unanswered_kept += 1,
            }
            if let (Some(_), Some(missing)) = (place, hole.get(&batch.place.visit)) {
                panic!("batch {id} is there, and {missing}, which was sent before it, is not");
            }
        }
        let lost =
            |batch: &&mut Batch| batch.place.stream == stream && batch.outcome == Outcome::Open;
        for (id, batch) in self.batches.iter_mut().enumerate() {
            if lost(&&mut *batch) && !places.contains_key(&id) {
                batch.outcome = Outcome::Refused;
                self.reached.unanswered_lost += u64::from(batch.is_whole);
            }
        }
    }

    /// What was acknowledged before something else was offered stands before it.
    fn check_order(&self, places: &BTreeMap<usize, u64>) {
        let mut by_place: Vec<_> = places.iter().map(|(id, place)| (*place, *id)).collect();
        by_place.sort_unstable();
        let mut acked_first = u64::MAX;
        for (place, id) in by_place.into_iter().rev() {
            let batch = &self.batches[id];
            assert!(
                acked_first > batch.offered,
                "batch {id}, at {place}, was offered after one behind it was acknowledged"
            );
            if let Outcome::Acked(_, tick) = batch.outcome {
                acked_first = acked_first.min(tick);
            }
        }
    }
}
