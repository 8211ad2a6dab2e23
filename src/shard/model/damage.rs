//! Damage inside acknowledged data: it must be told, and never be served or passed over silently.
//!
//! A disk that rots, or that puts a write elsewhere or nowhere, cannot be survived on one copy. So
//! a *copy* of a shard's disk is damaged once, and that copy must say so: its start is refused, or
//! the read of what is lost is refused, or all that was acknowledged is there after all.
//!
//! One limit is known: nothing tells the loss of the last write from one that power cut short
//! before it was acknowledged. A batch is beyond it as soon as the log holds a later group, which
//! bears witness (FORMAT, "The end"): one that was begun after the batch was acknowledged.
//! `Witnesses` keeps what is not beyond it yet; only that may be missing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use super::act::{Attempt, Outcome, Shown, act, read_all, wall_ms};
use super::life::{SETTLED_US, try_open};
use super::plan::{Batch, Op};
use super::truth::Known;
use super::{Run, one_in};
use crate::audit::Origin;
use crate::io::sim::{FaultKind, Faults, Mishap, SimIo, SimRuntime};
use crate::io::{Clock, Disk};
use crate::shard::call::{Answer, Call};
use crate::shard::testkit::{Shard, path};
use crate::types::Refusal;

const SECTOR_BYTES: usize = 512;

/// What came of damaged copies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    pub(super) copies: u64,
    /// Starts that were refused, naming the place.
    pub(super) starts: u64,
    /// Reads that were refused.
    pub(super) reads: u64,
    /// Verdicts of `verify`.
    pub(super) verdicts: u64,
    /// Copies that had lost nothing.
    pub(super) harmless: u64,
    /// Copies that had lost what only the last write held.
    pub(super) last_writes: u64,
}

impl Told {
    pub(super) fn add(&mut self, other: Self) {
        self.copies += other.copies;
        self.starts += other.starts;
        self.reads += other.reads;
        self.verdicts += other.verdicts;
        self.harmless += other.harmless;
        self.last_writes += other.last_writes;
    }

    /// Checks that all of it was met.
    pub(super) fn check(&self) {
        let all = [self.starts, self.reads, self.verdicts, self.harmless, self.last_writes];
        assert!(all.iter().all(|times| *times > 0), "the damage is too tame: {self:?}");
    }
}

/// Which operations no later group bears witness of yet, by stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Witnesses {
    /// When the newest operation began that is durable, on this life's clock.
    newest_us: u64,
    /// Stream, when it was acknowledged, and where its records begin; `None` for what is not an
    /// append.
    open: Vec<(&'static str, u64, Option<u64>)>,
}

impl Witnesses {
    /// Takes note of what is durable at `now_us`, which ends a step.
    pub(super) fn note(&mut self, attempts: &[Attempt], now_us: u64) {
        for attempt in attempts {
            let Some(name) = attempt.op.name() else { continue };
            let (ended_us, start) = match (&attempt.op, &attempt.outcome) {
                (Op::Append { .. }, Outcome::Acked(ack)) => {
                    (attempt.to_us.unwrap_or(now_us), Some(ack.start.seq_num))
                }
                (Op::Create { .. } | Op::Delete { .. } | Op::Retain { .. }, Outcome::Done) => {
                    (attempt.to_us.unwrap_or(now_us), None)
                }
                // It may have been written at any time up to now.
                (_, Outcome::Unknown) => (now_us, None),
                _ => continue,
            };
            // A change to what is there already logs nothing that could bear witness.
            let may_log_nothing = matches!(attempt.op, Op::Retain { .. });
            if !matches!(attempt.outcome, Outcome::Unknown) && !may_log_nothing {
                self.newest_us = self.newest_us.max(attempt.began_us);
            }
            self.open.push((name, ended_us, start));
        }
        self.open.retain(|(_, ended_us, _)| *ended_us > self.newest_us);
    }

    /// A life began: its clock starts anew, and nothing is known to come after anything.
    pub(super) fn begin_life(&mut self) {
        self.newest_us = 0;
        self.open.iter_mut().for_each(|(_, ended_us, _)| *ended_us = 1);
    }

    /// The first record of this stream that may be missing; 0 when the stream itself may be
    /// another.
    fn may_miss(&self, name: &str) -> Option<u64> {
        let about = self.open.iter().filter(|(about, ..)| *about == name);
        about.map(|(.., start)| start.unwrap_or(0)).min()
    }
}

/// A stream as it must be found.
#[derive(Debug, Clone)]
struct Expected {
    known: Known,
    /// What was appended since, with where each begins and the batch's number among all.
    appended: BTreeMap<u64, Shown>,
}

/// What is damaged, and how.
#[derive(Debug)]
#[expect(dead_code, reason = "shown by Debug alone")]
enum Damage {
    Rot { file: String, offset: usize, bit: u8 },
    Unreadable { file: String, offset: usize },
    Write(Vec<Mishap>),
}

impl Run {
    /// Now and then, damages a copy of the disk as it is, and sees what it says. All that the
    /// model knows is durable, and nothing is under way.
    pub(super) async fn damage_a_copy(&mut self, shard: &Shard) {
        if !one_in(&mut self.damage_dice, 6) {
            return;
        }
        let seed = self.damage_dice.next_u64();
        let copy = shard.io.kill(seed);
        self.told.copies += 1;
        self.tale.lines.push(format!("damages a copy, {seed}"));
        let streams = self.streams.iter();
        let mut expected: BTreeMap<&'static str, Expected> = streams
            .map(|(name, known)| {
                (*name, Expected { known: known.clone(), appended: BTreeMap::new() })
            })
            .collect();
        let mut witnesses = self.witnesses.clone();
        let (damage, image) = match self.damage_dice.below(4) {
            0 => self.rot(copy),
            1 => self.unreadable(copy),
            kind => {
                let kind = if kind == 2 { FaultKind::LostWrite } else { FaultKind::Misdirected };
                match self.live_with_mishap(copy, kind, &mut expected, &mut witnesses) {
                    Some(lived) => lived,
                    None => return,
                }
            }
        };
        self.tale.lines.push(format!("  {damage:?}"));
        let judge = Judge { expected, witnesses, damage };
        let told = judge.judge(&image, self.config);
        self.tale.lines.push(format!("  {told:?}"));
        self.told.add(told);
    }

    /// A file and a place in it, where something is.
    fn some_place(&mut self, io: &SimIo) -> (String, usize) {
        let files = io.list().expect("lists");
        let dice = &mut self.damage_dice;
        // Half of the time where records are, if there are any.
        let wants_body = dice.coin();
        let (mut places, mut bodies) = (Vec::new(), Vec::new());
        for (name, _) in files {
            let bytes = io.contents(&name).expect("listed");
            for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if bytes.iter().any(|b| *b != 0) {
                    places.push((name.clone(), sector * SECTOR_BYTES));
                }
                if bytes.windows(6).any(|w| w == b"batch ") {
                    bodies.push((name.clone(), sector * SECTOR_BYTES));
                }
            }
        }
        if wants_body && !bodies.is_empty() {
            places = bodies;
        }
        assert!(!places.is_empty(), "a basin is there");
        let (name, offset) = places.swap_remove(dice.index(places.len()));
        (name, offset + dice.index(SECTOR_BYTES))
    }

    fn rot(&mut self, io: SimIo) -> (Damage, SimIo) {
        let (file, offset) = self.some_place(&io);
        let bit = u8::try_from(self.damage_dice.below(8)).expect("small");
        io.flip_bit(&file, offset as u64, bit);
        (Damage::Rot { file, offset, bit }, io)
    }

    fn unreadable(&mut self, io: SimIo) -> (Damage, SimIo) {
        let (file, offset) = self.some_place(&io);
        io.spoil_sector(&file, offset as u64);
        (Damage::Unreadable { file, offset }, io)
    }

    /// Lives on a copy whose disk once does not write where it was told to, and has it die;
    /// `None` when that did not come to pass.
    fn live_with_mishap(
        &mut self,
        io: SimIo,
        kind: FaultKind,
        expected: &mut BTreeMap<&'static str, Expected>,
        witnesses: &mut Witnesses,
    ) -> Option<(Damage, SimIo)> {
        let nth = Some(self.damage_dice.below(20));
        let early = one_in(&mut self.damage_dice, 3);
        let faults = match kind {
            FaultKind::LostWrite => Faults { lose_write: nth, ..io.faults() },
            _ => Faults { misdirect_write: nth, ..io.faults() },
        };
        if early {
            io.set_faults(faults);
        }
        let runtime = SimRuntime::new(&io);
        let now_ms = io.wall_us() / 1000;
        let batches = self.planner.appends(|name| self.streams.get(name), now_ms);
        let config = self.config;
        let dice = &mut self.damage_dice;
        let lived = runtime.block_on(async {
            let shard = try_open(&runtime, &io, config).await.ok()?;
            witnesses.begin_life();
            if !early {
                io.set_faults(faults);
            }
            for (name, batch) in batches {
                let attempt = append_one(&shard, name, batch).await;
                take(expected, witnesses, attempt, &io.mishaps());
                if one_in(dice, 6) {
                    // Whatever comes of it.
                    let _written = shard.checkpoint().await;
                }
            }
            Some(())
        });
        drop(runtime);
        let mishaps = io.mishaps();
        if lived.is_none() || mishaps.is_empty() {
            return None;
        }
        let seed = dice.next_u64();
        let image = if dice.coin() { io.kill(seed) } else { io.crash(seed) };
        Some((Damage::Write(mishaps), image))
    }
}

async fn append_one(shard: &Shard, name: &'static str, batch: Rc<Batch>) -> Attempt {
    let (from_ms, began_us) = (wall_ms(shard), shard.io.now_us());
    let op = Op::Append { name, batch };
    let outcome = act(shard, &op).await;
    let to_us = Some(shard.io.now_us());
    Attempt { op, from_ms, to_ms: wall_ms(shard), began_us, to_us, outcome }
}

/// Takes note of an append that ended.
fn take(
    expected: &mut BTreeMap<&'static str, Expected>,
    witnesses: &mut Witnesses,
    attempt: Attempt,
    mishaps: &[Mishap],
) {
    let (Op::Append { name, batch }, Outcome::Acked(ack)) = (&attempt.op, &attempt.outcome) else {
        return; // a shard may be gone, or the log may have failed: nothing was promised
    };
    let stream = expected.get_mut(name).expect("appended to those that are known");
    for (seq_num, sent) in (ack.start.seq_num..).zip(&batch.records) {
        let body = String::from_utf8_lossy(&sent.body).into_owned();
        let headers = sent.headers.clone();
        stream.appended.insert(seq_num, Shown { seq_num, timestamp: 0, headers, body });
    }
    // What was itself under way when the disk failed it bears no witness.
    let ended_us = attempt.to_us.unwrap_or(0);
    let is_hit = mishaps.iter().any(|m| (attempt.began_us..=ended_us).contains(&m.at_us));
    if is_hit {
        witnesses.open.push((name, ended_us, Some(ack.start.seq_num)));
    } else {
        witnesses.note(std::slice::from_ref(&attempt), ended_us);
    }
}

/// Judges what a damaged disk says.
struct Judge {
    expected: BTreeMap<&'static str, Expected>,
    witnesses: Witnesses,
    damage: Damage,
}

impl Judge {
    fn judge(&self, io: &SimIo, config: crate::shard::engine::EngineConfig) -> Told {
        let mut told = Told::default();
        let verdict = verdict(io, config);
        told.verdicts += u64::from(verdict.is_some());
        let runtime = SimRuntime::new(io);
        runtime.block_on(async {
            let shard = match try_open(&runtime, io, config).await {
                Ok(shard) => shard,
                Err(error) => {
                    let text = crate::types::refusal::chain(&error);
                    let names = [".log", ".ckpt", "epoch"].iter().any(|part| text.contains(part));
                    assert!(names, "it does not say where: {text}");
                    assert!(verdict.is_some(), "refused, and `verify` is content: {text}");
                    told.starts += 1;
                    return;
                }
            };
            let (mut refused, mut missing) = (0, 0);
            for (name, expected) in &self.expected {
                match self.look(&shard, name, expected).await {
                    Found::All => {}
                    Found::Refused => refused += 1,
                    Found::EndMissing => missing += 1,
                }
            }
            told.reads += refused;
            told.last_writes += u64::from(missing > 0);
            told.harmless += u64::from(refused + missing == 0);
            let damage = &self.damage;
            assert!(refused == 0 || verdict.is_some(), "`verify` is content: {damage:?}");
            shard.io.sleep_us(SETTLED_US).await;
        });
        told
    }

    /// Looks at one stream.
    async fn look(&self, shard: &Shard, name: &'static str, expected: &Expected) -> Found {
        let Expected { known, appended } = expected;
        let may_miss = self.witnesses.may_miss(name);
        let say = |what: &str| format!("{name}: {what}, {:?}, may miss {may_miss:?}", self.damage);
        let tail = match shard.handle(Call::CheckTail(path(name), Origin::default())).await {
            Ok(Answer::Tail(tail)) => tail.seq_num,
            Err(Refusal::StreamNotFound(_) | Refusal::StreamDeletionPending(_)) => {
                // It may also have stayed empty for long enough.
                let excused = may_miss.is_some() || known.empty_secs > 0;
                assert!(excused, "{}", say("the stream is missing"));
                return Found::EndMissing;
            }
            other => panic!("{}: {other:?}", say("the tail")),
        };
        let end = appended.last_key_value().map_or(known.tail.seq_num, |(last, _)| last + 1);
        assert!(tail <= end, "{}", say("more than there was"));
        if tail < end {
            let least = may_miss.unwrap_or(u64::MAX);
            assert!(tail >= least, "{}", say(&format!("{tail} to {end} are missing silently")));
        }
        if may_miss == Some(0) {
            // What it was made anew with may be what is missing.
            return if tail < end { Found::EndMissing } else { Found::All };
        }
        let records = match read_all(shard, name, tail).await {
            Ok(records) => records,
            Err(Refusal::Storage(_)) => return Found::Refused,
            Err(other) => panic!("{}: {other:?}", say("reading")),
        };
        let mut next = records.first().map_or(tail, |shown| shown.seq_num);
        for shown in &records {
            assert_eq!(shown.seq_num, next, "{}", say("a gap"));
            next += 1;
            let is_so = match (known.records.get(&shown.seq_num), appended.get(&shown.seq_num)) {
                (Some(held), None) => held.is(shown),
                (None, Some(sent)) => (&sent.headers, &sent.body) == (&shown.headers, &shown.body),
                // Gone by age or a trim, and what said so is lost now.
                (None, None) => {
                    let faded = known.faded.get(&shown.seq_num);
                    faded.is_some_and(|held| held.is(shown)) || may_miss.is_some()
                }
                (Some(_), Some(_)) => panic!("{}", say("two records of one number")),
            };
            assert!(is_so, "{}", say(&format!("{shown:?} was never written")));
        }
        assert_eq!(next, tail, "{}", say("the end is missing"));
        let first = records.first().map_or(tail, |shown| shown.seq_num);
        let expires = known.age_secs.is_some();
        let trims = appended.is_empty();
        if !expires && trims && first > known.first {
            panic!("{}", say(&format!("the records up to {first} are missing")));
        }
        if tail < end { Found::EndMissing } else { Found::All }
    }
}

/// What became of a stream.
enum Found {
    All,
    Refused,
    EndMissing,
}

/// What `verify` says against the directory; `None` when it is content.
fn verdict(io: &SimIo, config: crate::shard::engine::EngineConfig) -> Option<String> {
    let mut said = Vec::new();
    let runtime = SimRuntime::new(io);
    let verdict =
        runtime.block_on(async { crate::inspect::verify(io, config.log, &mut said).await });
    let mut said = String::from_utf8_lossy(&said).into_owned();
    match verdict {
        Ok(true) => None,
        Ok(false) => Some(said),
        Err(error) => {
            let _written = write!(said, "{error:?}");
            Some(said)
        }
    }
}
