//! What a run does next: operations drawn from the seed, knowing what the model knows.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::truth::Known;
use super::{Dice, NAMES, one_in};
use crate::api::query::{ReadQuery, ReadStart};
use crate::types::{Command, FencingToken};

/// Most body bytes in one batch, so that what gathers in a frame stays below a segment.
const BATCH_BODY_BYTES_MAX: u64 = 40 * 1024;
/// Most body bytes in one record.
const BODY_BYTES_MAX: u64 = 8 * 1024;
/// Longest retention age that is asked for, in seconds.
const AGE_SECS_MAX: u64 = 6;

/// A record as a client sends it.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) client_ms: Option<u64>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) command: Option<Command>,
}

/// A batch as a client sends it. All but single command records hold bytes that no other batch has.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<Sent>,
    pub(super) match_seq_num: Option<u64>,
    pub(super) token: Option<FencingToken>,
}

/// Work of the shard on itself that no client may notice.
#[derive(Debug, Clone, Copy)]
pub(super) enum Upkeep {
    /// Write a checkpoint, and give up what it makes superfluous.
    Checkpoint,
    /// Clean the oldest segment, whatever is in it.
    Clean,
    /// Fold the oldest runs of the index, or make a footer again.
    Fold,
}

impl Upkeep {
    /// Every kind, drawn alike. What else rewrites or gives up parts of the log is added here and
    /// in [`Upkeep::run`].
    const ALL: [Self; 3] = [Self::Checkpoint, Self::Clean, Self::Fold];
}

/// One operation. Times of retention are in seconds; `None` is for ever.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// `empty_secs`: deleted when it is empty for so long; 0 for never.
    Create {
        name: &'static str,
        age_secs: Option<u64>,
        standard: bool,
        empty_secs: u64,
    },
    Delete {
        name: &'static str,
    },
    Retain {
        name: &'static str,
        age_secs: Option<u64>,
    },
    Append {
        name: &'static str,
        batch: Rc<Batch>,
    },
    Read {
        name: &'static str,
        query: ReadQuery,
    },
    Tail {
        name: &'static str,
    },
    List,
    Upkeep(Upkeep),
    Sleep {
        us: u64,
    },
}

impl Op {
    /// The stream that it is about.
    pub(super) fn name(&self) -> Option<&'static str> {
        match self {
            Self::Create { name, .. }
            | Self::Delete { name }
            | Self::Retain { name, .. }
            | Self::Append { name, .. }
            | Self::Read { name, .. }
            | Self::Tail { name } => Some(name),
            Self::List | Self::Upkeep(_) | Self::Sleep { .. } => None,
        }
    }

    /// Whether it may change what the stream is, other than its records.
    pub(super) fn changes_stream(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Delete { .. } | Self::Retain { .. })
    }
}

/// Operations that are under way at the same time.
#[derive(Debug)]
pub(super) struct Step {
    /// Each with the time after which its client goes away, in microseconds.
    pub(super) ops: Vec<(Op, Option<u64>)>,
}

/// Draws steps and batches; numbers its batches, so that no two are alike.
#[derive(Debug, Clone)]
pub(super) struct Planner {
    pub(super) dice: Dice,
    batches: u64,
}

impl Planner {
    pub(super) fn new(dice: Dice) -> Self {
        Self { dice, batches: 0 }
    }

    /// The next step. `known` tells what the model knows of a stream, `now_ms` the time.
    pub(super) fn step<'k>(
        &mut self,
        known: impl Fn(&str) -> Option<&'k Known>,
        now_ms: u64,
    ) -> Step {
        if one_in(&mut self.dice, 8) {
            let us = if self.dice.coin() { 4_000_000 } else { 300_000 };
            return Step { ops: vec![(Op::Sleep { us: 1 + self.dice.below(us) }, None)] };
        }
        if one_in(&mut self.dice, 8) {
            return self.flood(known, now_ms);
        }
        let count = if self.dice.coin() { 1 } else { 2 + self.dice.below(5) };
        let mut ops: Vec<(Op, Option<u64>)> = Vec::new();
        for _ in 0..count {
            let name = NAMES[self.dice.index(NAMES.len())];
            let op = self.op(name, known(name), now_ms);
            // What a step did to a stream must follow from its answers and one look at the end.
            let is_second = |other: &Op| other.changes_stream() && other.name() == op.name();
            if op.changes_stream() && ops.iter().any(|(other, _)| is_second(other)) {
                continue;
            }
            // Only clients go away; the shard's own work ends with its process.
            let may_leave = !matches!(op, Op::Upkeep(_)) && one_in(&mut self.dice, 8);
            let impatient_us = may_leave.then(|| self.dice.below(500));
            ops.push((op, impatient_us));
        }
        Step { ops }
    }

    /// What is tried when the log has failed: an append to each stream, and reads.
    pub(super) fn without_log<'k>(
        &mut self,
        known: impl Fn(&str) -> Option<&'k Known>,
        now_ms: u64,
    ) -> Step {
        let mut ops = Vec::new();
        for name in NAMES {
            let Some(stream) = known(name) else { continue };
            ops.push((self.append(name, None, now_ms), None));
            ops.push((self.read(name, stream), None));
            ops.push((Op::Tail { name }, None));
        }
        Step { ops }
    }

    /// Appends alone, a few batches to each stream.
    pub(super) fn appends<'k>(
        &mut self,
        known: impl Fn(&str) -> Option<&'k Known>,
        now_ms: u64,
    ) -> Vec<(&'static str, Rc<Batch>)> {
        let mut batches = Vec::new();
        for _ in 0..3 + self.dice.below(12) {
            let name = NAMES[self.dice.index(NAMES.len())];
            if known(name).is_some() {
                let longest = if one_in(&mut self.dice, 3) { BODY_BYTES_MAX } else { 500 };
                let count = 1 + self.dice.below(5);
                self.batches += 1;
                let records = (0..count).map(|index| self.record(index, longest, now_ms));
                let batch = Batch { records: records.collect(), match_seq_num: None, token: None };
                batches.push((name, Rc::new(batch)));
            }
        }
        batches
    }

    /// A batch of `count` records of `body_bytes` each, and nothing drawn.
    pub(super) fn exactly(&mut self, count: u64, body_bytes: usize) -> Rc<Batch> {
        self.batches += 1;
        let record = |index| {
            let mut body = format!("batch {} record {index} ", self.batches).into_bytes();
            body.resize(body_bytes, b'x');
            Sent { client_ms: None, headers: Vec::new(), body, command: None }
        };
        let records = (0..count).map(record).collect();
        Rc::new(Batch { records, match_seq_num: None, token: None })
    }

    /// Much at once, about a segment full.
    pub(super) fn flood<'k>(
        &mut self,
        known: impl Fn(&str) -> Option<&'k Known>,
        now_ms: u64,
    ) -> Step {
        let mut ops = Vec::new();
        for _ in 0..8 {
            let name = NAMES[self.dice.index(NAMES.len())];
            let tail = known(name).map_or(0, |stream| stream.tail.seq_num);
            let mut records: Vec<Sent> =
                (0..5).map(|index| self.record(index, BODY_BYTES_MAX, now_ms)).collect();
            if self.dice.coin() {
                records.push(self.trim(tail));
            }
            self.batches += 1;
            let batch = Rc::new(Batch { records, match_seq_num: None, token: None });
            let impatient_us = one_in(&mut self.dice, 8).then(|| self.dice.below(1_500));
            ops.push((Op::Append { name, batch }, impatient_us));
        }
        Step { ops }
    }

    /// Trims all that there is, each stream by a batch of its own, which stays.
    pub(super) fn trim_all(&self, streams: &BTreeMap<&'static str, Known>) -> Step {
        let trim = |(name, known): (&&'static str, &Known)| {
            let keep_from = known.tail.seq_num;
            let body = keep_from.to_be_bytes().to_vec();
            let records = vec![command("trim", body, Command::Trim(keep_from))];
            let batch = Rc::new(Batch { records, match_seq_num: None, token: None });
            (Op::Append { name, batch }, None)
        };
        Step { ops: streams.iter().map(trim).collect() }
    }

    fn op(&mut self, name: &'static str, known: Option<&Known>, now_ms: u64) -> Op {
        let Some(stream) = known else {
            return match self.dice.below(4) {
                0 => self.append(name, None, now_ms),
                _ => self.create(name),
            };
        };
        match self.dice.below(100) {
            0..55 => self.append(name, Some(stream), now_ms),
            55..69 => self.read(name, stream),
            69..72 => Op::Tail { name },
            72..75 => Op::List,
            75..82 => Op::Retain { name, age_secs: self.age() },
            // One that may go by itself could be created anew in the same step.
            82..84 if stream.empty_secs == 0 => self.create(name),
            82..84 => Op::Tail { name },
            84..88 => Op::Delete { name },
            _ => Op::Upkeep(Upkeep::ALL[self.dice.index(Upkeep::ALL.len())]),
        }
    }

    fn create(&mut self, name: &'static str) -> Op {
        let (age_secs, standard) = (self.age(), self.dice.coin());
        let empty_secs = if one_in(&mut self.dice, 3) { 1 + self.dice.below(3) } else { 0 };
        Op::Create { name, age_secs, standard, empty_secs }
    }

    fn age(&mut self) -> Option<u64> {
        self.dice.coin().then(|| 1 + self.dice.below(AGE_SECS_MAX))
    }

    fn read(&mut self, name: &'static str, stream: &Known) -> Op {
        let tail = stream.tail;
        let start = match self.dice.below(4) {
            0 => ReadStart::Timestamp(self.timestamp_near(stream)),
            1 => ReadStart::TailOffset(self.dice.below(20)),
            2 => ReadStart::SeqNum(0),
            _ => ReadStart::SeqNum(self.dice.below(tail.seq_num + 2)),
        };
        let count = self.dice.coin().then(|| 1 + self.dice.below(40));
        let query =
            ReadQuery { start, clamp: false, count, bytes: None, until: None, wait_secs: None };
        Op::Read { name, query }
    }

    /// The timestamp of a record, or one beside it.
    fn timestamp_near(&mut self, stream: &Known) -> u64 {
        let beside = self.dice.below(3);
        let ordinal = self.dice.index(stream.records.len().max(1));
        let held = stream.records.values().nth(ordinal);
        held.map_or(stream.tail.timestamp, |held| held.timestamp) + beside
    }

    fn append(&mut self, name: &'static str, known: Option<&Known>, now_ms: u64) -> Op {
        let tail = known.map_or(0, |stream| stream.tail.seq_num);
        let match_seq_num = match self.dice.below(6) {
            0 => Some(tail),
            1 => Some(self.dice.below(tail + 3)),
            _ => None,
        };
        let token = match self.dice.below(6) {
            0 => Some(known.map_or_else(FencingToken::default, |stream| stream.token)),
            1 => Some(token("nobody's")),
            _ => None,
        };
        self.batches += 1;
        let records = self.records(tail, now_ms);
        Op::Append { name, batch: Rc::new(Batch { records, match_seq_num, token }) }
    }

    fn records(&mut self, tail: u64, now_ms: u64) -> Vec<Sent> {
        if one_in(&mut self.dice, 8) {
            return vec![self.command(tail)];
        }
        let count = match self.dice.below(4) {
            0 => 1 + self.dice.below(60),
            _ => 1 + self.dice.below(4),
        };
        let longest = (BATCH_BODY_BYTES_MAX / count).min(BODY_BYTES_MAX);
        let longest = if self.dice.coin() { longest } else { longest.min(100) };
        let mut records: Vec<Sent> =
            (0..count).map(|index| self.record(index, longest, now_ms)).collect();
        if one_in(&mut self.dice, 6) {
            let command = self.command(tail);
            records.push(command);
        }
        records
    }

    fn record(&mut self, index: u64, longest: u64, now_ms: u64) -> Sent {
        let mut body = format!("batch {} record {index} ", self.batches).into_bytes();
        let letter = b'a' + u8::try_from(self.dice.below(26)).expect("a letter");
        body.resize(body.len() + self.dice.index(usize::try_from(longest).expect("small")), letter);
        let headers = (0..self.dice.below(3)).map(|h| (format!("h{h}"), format!("{index}")));
        let headers = headers.collect();
        // Around now, some of them in the future, which counts as now.
        let client_ms = one_in(&mut self.dice, 4).then(|| now_ms - 50 + self.dice.below(100));
        Sent { client_ms, headers, body, command: None }
    }

    fn command(&mut self, tail: u64) -> Sent {
        if self.dice.coin() {
            return self.trim(tail);
        }
        let text = format!("token {}", self.batches);
        command("fence", text.clone().into_bytes(), Command::Fence(token(&text)))
    }

    /// Mostly leaves something; sometimes goes beyond the record itself.
    fn trim(&mut self, tail: u64) -> Sent {
        let keep_from = match self.dice.below(4) {
            0 => tail + 9,
            1 => self.dice.below(tail + 1),
            _ => tail.saturating_sub(self.dice.below(20)),
        };
        command("trim", keep_from.to_be_bytes().to_vec(), Command::Trim(keep_from))
    }
}

fn command(word: &str, body: Vec<u8>, command: Command) -> Sent {
    let headers = vec![(String::new(), word.to_owned())];
    Sent { client_ms: None, headers, body, command: Some(command) }
}

fn token(text: &str) -> FencingToken {
    FencingToken::new(text).expect("at most 36 bytes")
}
