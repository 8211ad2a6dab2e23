//! Lives of the shard's process: how they begin, go on and end.

use std::cell::RefCell;
use std::rc::Rc;

use futures_util::future::{self, Either};

use super::act::{Attempt, Outcome, act, high_ms, list_all, look, wall_ms};
use super::plan::{Op, Step, Upkeep};
use super::trouble::{self, Trouble};
use super::{LOG_FILES_RESERVE, NAMES, OVERDUE_MS, Run, empty, one_in, truth};
use crate::io::sim::{SimIo, SimRuntime};
use crate::io::{Clock, Disk};
use crate::log::footer;
use crate::log::recovery::RecoveryError;
use crate::shard::engine::{Engine, EngineConfig};
use crate::shard::testkit::{Shard, assert_whole, create_basin};
use crate::types::Refusal;

/// Which operation of a step ended, when (as [`Attempt::to_ms`] and `to_us`), and how.
type Ended = (usize, (u64, u64), Outcome);

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Shut down in order.
    Closed,
    /// The process dies; what it had written is there.
    Killed,
    /// The power goes; what no sync covers may be lost.
    PowerCut,
}

/// How long everything that was begun takes to be written when nothing new comes, in microseconds.
pub(super) const SETTLED_US: u64 = 20_000;
/// Longest that a step may take, whatever the trouble, in microseconds.
const STEP_US_MAX: u64 = 60_000_000;

/// Opens the shard and starts what a server has running beside it.
pub(super) async fn open(runtime: &SimRuntime, io: &SimIo, config: EngineConfig) -> Shard {
    try_open(runtime, io, config).await.expect("opens")
}

/// The same, where damage may be met.
pub(super) async fn try_open(
    runtime: &SimRuntime,
    io: &SimIo,
    config: EngineConfig,
) -> Result<Shard, RecoveryError> {
    let shard = Rc::new(Engine::open(Rc::new(io.clone()), config).await?);
    runtime.spawn(Rc::clone(&shard).run_writer());
    runtime.spawn(Rc::clone(&shard).run_segments());
    runtime.spawn(Rc::clone(&shard).run_checkpoints());
    runtime.spawn(Rc::clone(&shard).run_usage());
    runtime.spawn(Rc::clone(&shard).run_retention());
    runtime.spawn(Rc::clone(&shard).run_cleaner());
    runtime.spawn(Rc::clone(&shard).run_scrub());
    runtime.spawn(Rc::clone(&shard).run_folder());
    let (_, streams) = shard.unfinished_deletions();
    for stream in streams {
        shard.delete(&stream).await.expect("goes on");
    }
    Ok(shard)
}

impl Run {
    /// The first life: a basin.
    pub(super) fn begin(&mut self) {
        let runtime = SimRuntime::new(&self.io);
        runtime.block_on(async {
            create_basin(&open(&runtime, &self.io, self.config).await).await;
        });
        self.pass_on(End::PowerCut);
    }

    /// One life: a look at everything, steps, an end.
    pub(super) fn live(&mut self) {
        self.die_while_opening();
        let io = self.io.clone();
        let runtime = SimRuntime::new(&io);
        let end = runtime.block_on(async {
            let shard = open(&runtime, &io, self.config).await;
            self.witnesses.begin_life();
            let left = self.left_behind();
            self.learn(&shard, &left, &NAMES).await;
            for _ in 0..2 + self.dice().below(20) {
                let trouble = self.troubles.passing();
                let step = match trouble {
                    Some(Trouble::NoSpace { .. }) => self.fill(&shard),
                    _ => self.next_step(&shard),
                };
                self.step(&runtime, &shard, step, None, trouble).await;
                self.damage_a_copy(&shard).await;
            }
            let end = match self.dice().below(4) {
                0 => End::Closed,
                1 => End::Killed,
                _ => End::PowerCut,
            };
            if end == End::Closed {
                shard.close().await.expect("the disk is whole");
            } else {
                let cut_us = self.dice().below(1_500);
                let step = self.next_step(&shard);
                let trouble = self.troubles.last();
                let cut_us = trouble.is_none_or(|t| !t.is_final()).then_some(cut_us);
                self.step(&runtime, &shard, step, cut_us, trouble).await;
            }
            let footers = shard.footers.counts();
            self.reached.footers_read += footers.block_reads;
            self.reached.footers_lost += footers.lost;
            end
        });
        drop(runtime);
        self.pass_on(end);
        self.lives += 1;
        if let Some(us) = self.troubles.clock_between_lives() {
            self.tale.lines.push(format!("the wall clock is set back by {us} us"));
            self.io.set_wall_back(us);
        }
    }

    fn next_step(&mut self, shard: &Shard) -> Step {
        let now_ms = wall_ms(shard);
        self.planner.step(|name| self.streams.get(name), now_ms)
    }

    /// More at once than a segment holds.
    fn fill(&mut self, shard: &Shard) -> Step {
        let now_ms = wall_ms(shard);
        let mut flood = || self.planner.flood(|name| self.streams.get(name), now_ms).ops;
        Step { ops: [flood(), flood(), flood()].into_iter().flatten().collect() }
    }

    /// The last life: everything is as it should be, then it is trimmed and then deleted, and its
    /// space comes back.
    pub(super) fn end(&mut self) {
        let io = self.io.clone();
        let runtime = SimRuntime::new(&io);
        runtime.block_on(async {
            let shard = open(&runtime, &io, self.config).await;
            self.witnesses.begin_life();
            let left = self.left_behind();
            self.learn(&shard, &left, &NAMES).await;
            let trim = self.planner.trim_all(&self.streams);
            self.step(&runtime, &shard, trim, None, None).await;
            // What they have left may lie in two segments.
            self.check_space(&runtime, &shard, LOG_FILES_RESERVE + 1).await;
            self.reached.segments_given_up += shard.segments.oldest_epoch() - 1;
            let delete = |name: &&'static str| (Op::Delete { name }, None);
            let step = Step { ops: self.streams.keys().map(delete).collect() };
            self.step(&runtime, &shard, step, None, None).await;
            self.check_space(&runtime, &shard, LOG_FILES_RESERVE).await;
        });
        drop(runtime);
        self.pass_on(End::Killed);
        let mut files = self.io.list().expect("lists");
        files.retain(|(name, _)| name != "checkpoint-room");
        let of_log = files.iter().filter(|(name, _)| name.starts_with("segment-")).count();
        assert!(of_log <= LOG_FILES_RESERVE, "{files:?}");
        // Of a segment that is there, or not finished when the process died.
        let footers = files.iter().filter(|(name, _)| name.starts_with("index-")).count();
        assert!(footers <= of_log, "{files:?}");
        assert!(files.len() - of_log - footers <= 2, "{files:?}");
    }

    /// What was under way when the life before this one ended: older than all that comes now.
    fn left_behind(&mut self) -> Vec<Attempt> {
        let mut left = std::mem::take(&mut self.left);
        for attempt in &mut left {
            (attempt.began_us, attempt.to_us) = (0, attempt.to_us.map(|_| 1));
        }
        left
    }

    /// Checks that after some checkpoints the log has no more files than these.
    async fn check_space(&mut self, runtime: &SimRuntime, shard: &Shard, files_max: usize) {
        for _ in 0..3 {
            let step = Step { ops: vec![(Op::Upkeep(Upkeep::Checkpoint), None)] };
            self.step(runtime, shard, step, None, None).await;
        }
        shard.io.sleep_us(SETTLED_US).await;
        let files = shard.segments.file_count();
        assert!(files <= files_max, "the log has {files} files, not {files_max}");
    }

    /// Sometimes a start is interrupted: then the next one has the same to do.
    fn die_while_opening(&mut self) {
        while one_in(self.dice(), 4) {
            let cut_us = self.dice().below(4_000);
            let io = self.io.clone();
            let trouble = self.troubles.opening();
            trouble.iter().for_each(|trouble| trouble.begin_on(&io));
            let runtime = SimRuntime::new(&io);
            let opened = runtime.block_on(async {
                let opening = std::pin::pin!(Engine::open(Rc::new(io.clone()), self.config));
                let cut = std::pin::pin!(io.sleep_us(cut_us));
                match future::select(opening, cut).await {
                    Either::Left((opened, _)) => opened.map(drop),
                    Either::Right(_) => Ok(()),
                }
            });
            if let Err(error) = opened {
                let is_trouble = trouble.is_some() && matches!(error, RecoveryError::Io(_));
                assert!(is_trouble, "{error:?}, {trouble:?}");
                self.reached.failed_starts += 1;
            }
            drop(runtime);
            let end = if self.dice().coin() { End::PowerCut } else { End::Killed };
            self.pass_on(end);
        }
    }

    /// What a life leaves to the next one.
    pub(super) fn pass_on(&mut self, end: End) {
        self.tale.lines.push(format!("{end:?}"));
        let seed = self.dice().next_u64();
        self.io = match end {
            End::PowerCut => self.io.crash(seed),
            End::Closed | End::Killed => self.io.kill(seed),
        };
        if one_in(self.dice(), 3) {
            self.lose_footers();
        }
        if one_in(self.dice(), 3) {
            assert_whole(&self.io, self.config.log);
        }
    }

    /// Takes footers away, or damages them: nothing is lost with them.
    fn lose_footers(&mut self) {
        for (name, len_bytes) in self.io.list().expect("lists") {
            if footer::file_epoch(&name).is_none() {
                continue;
            }
            self.tale.lines.push(format!("{name} is lost"));
            if self.dice().coin() {
                self.io.remove(&name).expect("it is there");
                continue;
            }
            let mut bytes = self.io.contents(&name).expect("it is there");
            let at = self.dice().below(len_bytes);
            bytes[usize::try_from(at).expect("small")] ^= 1;
            self.io.put_contents(&name, bytes);
        }
    }

    /// Does a step and learns what came of it. When it is cut short, after `cut_us`, it is what
    /// the next life learns of first; so it is when the log fails.
    pub(super) async fn step(
        &mut self,
        runtime: &SimRuntime,
        shard: &Shard,
        step: Step,
        cut_us: Option<u64>,
        trouble: Option<Trouble>,
    ) {
        let brief = Brief(&step);
        let line = format!("{} {brief:?}, cut: {cut_us:?}, {trouble:?}", wall_ms(shard));
        self.tale.lines.push(line);
        let (mut attempts, is_cut) = self.attempt(runtime, shard, step, cut_us, trouble).await;
        if is_cut {
            self.left = attempts;
            return;
        }
        if let Some(trouble) = trouble {
            trouble.end(shard).await;
            if trouble.is_final() && shard.durable.failure().is_some() {
                self.reached.failed_logs += 1;
                let more = self.go_on_without_log(runtime, shard, trouble, &attempts).await;
                attempts.extend(more);
                self.left = attempts;
                return;
            }
        }
        if attempts.iter().any(|attempt| matches!(attempt.outcome, Outcome::Unknown)) {
            shard.io.sleep_us(SETTLED_US).await;
        }
        let is_for_all = attempts.iter().any(|a| a.op.name().is_none());
        let touched = |name: &&str| attempts.iter().any(|a| a.op.name() == Some(name));
        let names = NAMES.into_iter().filter(|name| is_for_all || touched(name));
        let names: Vec<&'static str> = names.collect();
        self.learn(shard, &attempts, &names).await;
        let slept = attempts.iter().find_map(|attempt| match attempt.op {
            Op::Sleep { us } => Some(us / 1000),
            _ => None,
        });
        if let Some(slept_ms) = slept.filter(|ms| *ms > OVERDUE_MS) {
            let now_ms = wall_ms(shard);
            let streams = self.streams.iter();
            streams.for_each(|(name, known)| known.check_overdue(name, now_ms, slept_ms));
        }
        let damaged = shard.damaged_places();
        assert!(damaged.is_empty(), "nothing is damaged: {damaged:?}");
    }

    /// Appends and reads when the log has failed: no append is taken, and what is read is durable,
    /// which the next life will see. A read is refused only where the stream may be about to go:
    /// whether it does, the next life decides.
    async fn go_on_without_log(
        &mut self,
        runtime: &SimRuntime,
        shard: &Shard,
        trouble: Trouble,
        before: &[Attempt],
    ) -> Vec<Attempt> {
        let now_ms = wall_ms(shard);
        let step = self.planner.without_log(|name| self.streams.get(name), now_ms);
        let (attempts, _) = self.attempt(runtime, shard, step, None, Some(trouble)).await;
        let may_go = |name: &str| {
            let deletes = |a: &Attempt| matches!(a.op, Op::Delete { name: n } if n == name);
            before.iter().any(deletes) || self.streams.get(name).is_some_and(|s| s.empty_secs > 0)
        };
        for attempt in &attempts {
            let is_right = match (&attempt.op, &attempt.outcome) {
                // It may be gone, or about to.
                (_, Outcome::Refused(Refusal::StreamNotFound(_))) => true,
                (Op::Append { .. }, outcome) => matches!(outcome, Outcome::Unknown),
                (Op::Read { name, .. } | Op::Tail { name }, Outcome::Unknown) => may_go(name),
                _ => true,
            };
            assert!(is_right, "not what a log that failed says: {attempt:?}");
        }
        attempts
    }

    /// Does the operations of a step, all at once; says also whether it was cut short.
    pub(super) async fn attempt(
        &mut self,
        runtime: &SimRuntime,
        shard: &Shard,
        step: Step,
        cut_us: Option<u64>,
        trouble: Option<Trouble>,
    ) -> (Vec<Attempt>, bool) {
        let back_ms = trouble.map_or(0, Trouble::back_ms);
        let from_ms = wall_ms(shard) - back_ms;
        let began_us = shard.io.now_us();
        if let Some(trouble) = trouble {
            trouble.begin(runtime, shard);
        }
        let mut attempts: Vec<Attempt> = Vec::new();
        let ended: Rc<RefCell<Vec<Ended>>> = Rc::default();
        let mut tasks = Vec::new();
        for (index, (op, impatient_us)) in step.ops.into_iter().enumerate() {
            let (shard, ended, doing) = (Rc::clone(shard), Rc::clone(&ended), op.clone());
            tasks.push(runtime.spawn(async move {
                let acting = std::pin::pin!(act(&shard, &doing));
                let patience = std::pin::pin!(shard.io.sleep_us(impatient_us.unwrap_or(u64::MAX)));
                if let Either::Left((outcome, _)) = future::select(acting, patience).await {
                    let when = (high_ms(&shard), shard.io.now_us());
                    ended.borrow_mut().push((index, when, outcome));
                }
            }));
            let (outcome, to_us) = (Outcome::Unknown, None);
            attempts.push(Attempt { op, from_ms, to_ms: from_ms, began_us, to_us, outcome });
        }
        self.operations += attempts.len() as u64;
        let all = future::join_all(tasks);
        let cut = std::pin::pin!(shard.io.sleep_us(cut_us.unwrap_or(STEP_US_MAX)));
        let is_over = matches!(future::select(all, cut).await, Either::Right(_));
        assert!(!is_over || cut_us.is_some(), "the step does not end");
        for (index, (to_ms, to_us), outcome) in ended.take() {
            self.tale.lines.push(format!("  {index}: {:.300}", format!("{outcome:?}")));
            let attempt = &mut attempts[index];
            (attempt.to_ms, attempt.to_us, attempt.outcome) = (to_ms, Some(to_us), outcome);
            self.reached.refused_for_room += trouble::excuse(attempt, trouble, shard);
        }
        (attempts, is_over)
    }

    /// Looks at these streams, and at the listing, and learns what the attempts did.
    pub(super) async fn learn(
        &mut self,
        shard: &Shard,
        attempts: &[Attempt],
        names: &[&'static str],
    ) {
        let were: Vec<(String, Option<u64>)> = self.listing();
        for name in names {
            let about = |attempt: &&Attempt| attempt.op.name() == Some(name);
            let about: Vec<&Attempt> = attempts.iter().filter(about).collect();
            let seen = look(shard, name).await;
            let before = self.streams.remove(name);
            let (before, seen, now_ms) = (before.as_ref(), seen.as_ref(), high_ms(shard));
            let known = truth::learn(name, before, &about, seen, now_ms, &mut self.reached);
            self.streams.extend(known.map(|known| (*name, known)));
        }
        self.witnesses.note(attempts, shard.io.now_us());
        let listed = list_all(shard).await;
        // Streams that stay empty may go at any time.
        let now_ms = high_ms(shard);
        self.streams.retain(|name, known| {
            let is_listed = listed.iter().any(|(listed, _)| listed == name);
            if !is_listed {
                empty::check_went(name, known, &[], now_ms);
            }
            is_listed
        });
        let are = self.listing();
        assert_eq!(listed, are, "the listing");
        for attempt in attempts {
            if let Outcome::Listed(listed) = &attempt.outcome {
                check_listed(listed, &were, &are);
            }
        }
    }

    /// What a listing should show.
    fn listing(&self) -> Vec<(String, Option<u64>)> {
        let shown = self.streams.iter().map(|(name, known)| ((*name).to_owned(), known.age_secs));
        shown.collect()
    }
}

/// Checks a listing that was made between two moments: what was there at both is in it, and
/// nothing that was there at neither.
fn check_listed(
    listed: &[(String, Option<u64>)],
    were: &[(String, Option<u64>)],
    are: &[(String, Option<u64>)],
) {
    let has = |list: &[(String, Option<u64>)], name: &str| list.iter().any(|(n, _)| n == name);
    for name in NAMES {
        let (was, is) = (has(were, name), has(are, name));
        let fits = if was == is { has(listed, name) == was } else { true };
        assert!(fits, "{name}, listed as {listed:?}, between {were:?} and {are:?}");
    }
}

/// A step in few words.
struct Brief<'a>(&'a Step);

impl std::fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (op, impatient_us) in &self.0.ops {
            match op {
                Op::Append { name, batch } => {
                    let bytes: usize = batch.records.iter().map(|r| r.body.len()).sum();
                    let command = batch.records.last().and_then(|r| r.command);
                    let (count, at, token) =
                        (batch.records.len(), batch.match_seq_num, batch.token);
                    write!(f, "\n  Append {name} {count} records, {bytes} bytes, ends with ")?;
                    write!(f, "{command:?}, at {at:?}, token {token:?}")?;
                }
                op => write!(f, "\n  {op:?}")?,
            }
            if let Some(us) = impatient_us {
                write!(f, ", for {us} us")?;
            }
        }
        Ok(())
    }
}
