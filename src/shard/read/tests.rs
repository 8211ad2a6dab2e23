//! Followers on a simulated disk: what they cost, and that they get everything once, in order,
//! whatever happens to the log under them.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use serde_json::Value;

use super::*;
use crate::api::query::ReadStart;
use crate::codec::{Feed, Format};
use crate::io::Clock;
use crate::io::sim::{SimIo, Stream as Dice};
use crate::log::entry::{Kind, Trimmed};
use crate::shard::call::{Answer, Asked, Call};
use crate::shard::engine::Note;
use crate::shard::session::{Open, Out, Pipe};
use crate::shard::testkit::{Shard, basin, create, create_basin, live_with, path, provision};
use crate::types::AppendInput;
use crate::types::append::{AppendBuilder, Span};

/// A record that says its number.
fn batch(seq_num: u64, body_bytes: usize) -> AppendInput {
    let mut body = format!("{seq_num} ").into_bytes();
    body.resize(body_bytes.max(body.len()), b'x');
    let len = u32::try_from(body.len()).expect("small");
    let mut builder = AppendBuilder::default();
    builder.push_record(&body, None, Span { offset: 0, len }).expect("fits");
    builder.finish(body, None, None).expect("a batch")
}

async fn append(shard: &Shard, name: &str, body_bytes: usize) {
    let seq_num = stream(shard, name).accepted.get().tail.seq_num;
    let (input, asked) = (batch(seq_num, body_bytes), Asked::default());
    shard
        .handle(Call::Append { path: path(name), key: None, input, asked, receipt: false })
        .await
        .expect("appended");
}

fn stream(shard: &Shard, name: &str) -> Rc<Stream> {
    Rc::clone(shard.catalog.borrow().stream(&basin(), &path(name).stream).expect("there"))
}

fn query(seq_num: u64, wait_secs: Option<u32>) -> ReadQuery {
    let start = ReadStart::SeqNum(seq_num);
    ReadQuery { start, clamp: false, count: None, bytes: None, until: None, wait_secs }
}

/// The records of a `ReadBatch`; their bodies must say their numbers.
fn seq_nums(batch: &Value) -> Vec<u64> {
    let records = batch["records"].as_array().into_iter().flatten();
    let number = |record: &Value| {
        let seq_num = record["seq_num"].as_u64().expect("a number");
        let body = record["body"].as_str().expect("text");
        assert_eq!(body.split(' ').next(), Some(&*seq_num.to_string()), "another record's body");
        seq_num
    };
    records.map(number).collect()
}

async fn poll(shard: &Shard, name: &str, seq_num: u64, wait_secs: Option<u32>) -> Vec<u64> {
    let (query, form) = (query(seq_num, wait_secs), BatchForm::Json(Format::Raw));
    let asked = Asked::default();
    match shard.handle(Call::Read { path: path(name), key: None, query, form, asked }).await {
        Ok(Answer::Body(body, _)) => seq_nums(&serde_json::from_slice(&body).expect("JSON")),
        other => panic!("{other:?}"),
    }
}

/// A read session from the stream's start on; hands what comes to `each` until that says `false`.
async fn follow(shard: &Shard, name: &str, mut each: impl AsyncFnMut(Vec<u64>) -> bool) {
    let pipe = Rc::new(Pipe::default());
    let open = Open::Read {
        path: path(name),
        key: None,
        query: query(0, Some(3600)),
        feed: Feed::Sse { format: Format::Raw, resumed: None },
        asked: Asked::default(),
    };
    let client = async {
        loop {
            let bytes = match pipe.next_out().await {
                Out::Opened => continue,
                Out::Bytes(bytes, _) => bytes,
                other => panic!("{other:?}"),
            };
            pipe.taken(bytes.len());
            let text = String::from_utf8(bytes).expect("JSON");
            for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
                let batch = serde_json::from_str(data).expect("JSON");
                if !each(seq_nums(&batch)).await {
                    return;
                }
            }
        }
    };
    let session = std::pin::pin!(Rc::clone(shard).run_session(open, &pipe));
    match future::select(session, std::pin::pin!(client)).await {
        Either::Left(_) => panic!("the session ended"),
        Either::Right(_) => {}
    }
}

async fn begin(shard: &Shard) {
    create_basin(shard).await;
    provision(shard, create("s")).await;
    provision(shard, create("other")).await;
}

#[test]
fn a_new_batch_costs_each_follower_one_frame() {
    const BATCHES: u64 = 200;
    live_with(
        &SimIo::new(1),
        |_, _| {},
        async |shard| {
            begin(&shard).await;
            // Others write too: what is new is not simply the log's last frame.
            let (seen, searched) = (Cell::new(0), Cell::new(0));
            let writer = async {
                for at in 0..BATCHES {
                    while seen.get() < at {
                        shard.io.sleep_us(10).await;
                    }
                    append(&shard, "other", 100).await;
                    // A read that does not follow has to search.
                    let before = shard.reader.frames_handed();
                    assert_eq!(poll(&shard, "other", at, None).await, [at]);
                    searched.set(searched.get() + shard.reader.frames_handed() - before);
                    append(&shard, "s", 100).await;
                }
            };
            let followed = async || {
                follow(&shard, "s", async |batch| {
                    batch.into_iter().for_each(|seq_num| {
                        assert_eq!(seq_num, seen.get());
                        seen.set(seq_num + 1);
                    });
                    seen.get() < BATCHES
                })
                .await;
            };
            future::join(writer, followed()).await;
            let followed = shard.reader.frames_handed() - searched.get();
            println!(
                "frames per batch: {} searched, {followed} followed, of {BATCHES}",
                searched.get()
            );
            assert_eq!(followed, BATCHES, "one frame for each batch");
            assert!(searched.get() > 4 * BATCHES, "what the comparison is with");
        },
    );
}

/// Remembers when it was woken, in the order of all that share the counter.
struct Turn {
    turns: Arc<AtomicUsize>,
    taken: AtomicUsize,
}

impl Turn {
    fn new(turns: &Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self { turns: Arc::clone(turns), taken: AtomicUsize::new(usize::MAX) })
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        self.taken.fetch_min(turn, Ordering::Relaxed);
    }
}

#[test]
fn who_appended_is_woken_before_those_who_follow() {
    live_with(
        &SimIo::new(4),
        |_, _| {},
        async |shard| {
            begin(&shard).await;
            let turns = Arc::default();
            let (follower, appender) = (Turn::new(&turns), Turn::new(&turns));
            let stream = stream(&shard, "s");
            let mut followed = std::pin::pin!(stream.changed.notified());
            let mut acked = std::pin::pin!(append(&shard, "s", 100));
            let waker = Waker::from(Arc::clone(&follower));
            assert!(followed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            let waker = Waker::from(Arc::clone(&appender));
            assert!(acked.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            for _ in 0..1000 {
                shard.io.sleep_us(100).await;
            }
            let taken = |turn: &Turn| turn.taken.load(Ordering::Relaxed);
            assert_eq!((taken(&appender), taken(&follower)), (0, 1));
        },
    );
}

#[test]
fn who_polls_finds_what_came_between_two_polls() {
    live_with(
        &SimIo::new(2),
        |_, _| {},
        async |shard| {
            begin(&shard).await;
            let both = future::join(poll(&shard, "s", 0, Some(5)), append(&shard, "s", 100)).await;
            assert_eq!(both.0, [0]);
            for at in 1..50 {
                append(&shard, "s", 100).await;
                let before = shard.reader.frames_handed();
                assert_eq!(poll(&shard, "s", at, Some(5)).await, [at]);
                assert_eq!(shard.reader.frames_handed() - before, 1, "{at}");
            }
            // Further behind than is remembered: by the index, and then on by the frames.
            for _ in 50..150 {
                append(&shard, "s", 100).await;
            }
            assert_eq!(poll(&shard, "s", 50, Some(5)).await, (50..150).collect::<Vec<_>>());
        },
    );
}

/// Whoever follows, on a log that is trimmed and cleaned, with a window of few frames.
struct Following<'a> {
    shard: &'a Shard,
    stream: Rc<Stream>,
    next: Cell<u64>,
}

impl Following<'_> {
    /// What came must be next, but for what was trimmed; `false` at the end.
    fn take(&self, seq_nums: &[u64], end: u64) -> bool {
        for seq_num in seq_nums {
            let next = self.next.get();
            let trimmed = self.stream.durable.get().trim_point;
            assert!(*seq_num >= next, "{seq_num} again, after {next}");
            assert!(*seq_num == next || *seq_num <= trimmed, "{next}..{seq_num} is missing");
            self.next.set(seq_num + 1);
        }
        self.next.get() < end
    }

    async fn by_session(&self, dice: &RefCell<Dice>, slow: bool, end: u64) {
        follow(self.shard, "s", async |batch| {
            if slow {
                let us = draw(dice, 30_000);
                self.shard.io.sleep_us(us).await;
            }
            self.take(&batch, end)
        })
        .await;
    }

    async fn by_polls(&self, end: u64) {
        loop {
            let seq_nums = poll(self.shard, "s", self.next.get(), Some(60)).await;
            assert!(!seq_nums.is_empty(), "in a minute");
            if !self.take(&seq_nums, end) {
                return;
            }
        }
    }
}

fn draw(dice: &RefCell<Dice>, below: u64) -> u64 {
    dice.borrow_mut().below(below)
}

/// Trims a stream up to a record, as retention would.
fn trim(shard: &Shard, stream: &Rc<Stream>, trim_point: u64) {
    let trimmed = Trimmed { stream: stream.id, trim_point, at_ms: 0 };
    let note = Note::Trimmed(Rc::clone(stream), trimmed);
    shard.writer.append_in_passing(Kind::Trimmed, &trimmed.encode(), note);
}

/// Appends, trims and cleaning in any order; returns how many segments were cleaned.
async fn stir(shard: &Shard, dice: &RefCell<Dice>, end: u64) -> u64 {
    let mut cleaned = 0;
    let stream = stream(shard, "s");
    while stream.accepted.get().tail.seq_num < end - 1 {
        let (what, amount) = (draw(dice, 12), draw(dice, 40_000));
        let bytes = usize::try_from(amount).expect("small");
        match what {
            0..5 => append(shard, "s", bytes / 8).await,
            5..8 => append(shard, "other", 50_000).await,
            8 => {
                let both = append(shard, "s", bytes);
                future::join(both, append(shard, "other", bytes)).await;
            }
            9 => {
                let state = stream.durable.get();
                let kept = state.tail.seq_num - state.trim_point;
                trim(shard, &stream, state.trim_point + kept * amount / 80_000);
                let other = self::stream(shard, "other");
                trim(shard, &other, other.durable.get().tail.seq_num / 2);
            }
            10 => {
                let epoch = shard.first_needed_epoch().await;
                if epoch < shard.durable_end.get().0.segment {
                    shard.clean(epoch).await.expect("the disk is whole");
                    cleaned += 1;
                    shard.checkpoint().await.expect("the disk is whole");
                }
            }
            _ => shard.io.sleep_us(amount).await,
        }
    }
    append(shard, "s", 10).await; // nobody trims the last one
    cleaned
}

/// Three followers of a log that is stirred; returns how many segments were cleaned.
fn follow_stirred(seed: u64, end: u64) -> u64 {
    let life = async |shard: Shard| {
        begin(&shard).await;
        let dice = RefCell::new(Dice::new(seed, "followers"));
        let new =
            || Following { shard: &shard, stream: stream(&shard, "s"), next: Cell::default() };
        let (quick, slow, polls) = (new(), new(), new());
        let quick = quick.by_session(&dice, false, end);
        let slow = slow.by_session(&dice, true, end);
        let all = future::join3(quick, slow, polls.by_polls(end));
        Box::pin(future::join(all, stir(&shard, &dice, end))).await.1
    };
    live_with(&SimIo::new(seed), |_, _| {}, life)
}

#[test]
fn followers_get_everything_once_whatever_happens_to_the_log() {
    let seeds = std::env::var("THALWEG_SEED").ok().map_or(0..6, |seed| {
        let seed: u64 = seed.parse().expect("a number");
        seed..seed + 1
    });
    let cleaned = seeds.map(|seed| {
        println!(
            "THALWEG_SEED={seed} cargo test --lib \
             followers_get_everything_once_whatever_happens_to_the_log"
        );
        follow_stirred(seed, 300)
    });
    assert!(cleaned.sum::<u64>() > 0, "nothing moved under the followers");
}

#[test]
fn a_stream_made_anew_shows_nothing_of_the_old_one() {
    live_with(
        &SimIo::new(3),
        |_, _| {},
        async |shard| {
            begin(&shard).await;
            future::join(poll(&shard, "s", 0, Some(5)), append(&shard, "s", 100)).await;
            let old = stream(&shard, "s");
            let at_tail = shard.clone();
            let waiting = async move {
                let (query, form) = (query(1, Some(60)), BatchForm::Json(Format::Raw));
                let asked = Asked::default();
                at_tail.handle(Call::Read { path: path("s"), key: None, query, form, asked }).await
            };
            let deletion = async {
                shard.io.sleep_us(1000).await;
                shard.handle(Call::DeleteStream(path("s"))).await.expect("deleted");
            };
            let (refused, ()) = future::join(waiting, deletion).await;
            assert!(matches!(refused, Err(Refusal::StreamDeletionPending(_))), "{refused:?}");
            while shard.catalog.borrow().stream(&basin(), &path("s").stream).is_some() {
                shard.io.sleep_us(1000).await;
            }
            provision(&shard, create("s")).await;
            assert!(old.trail().is_some() && stream(&shard, "s").trail().is_none());
            let both = future::join(poll(&shard, "s", 0, Some(5)), append(&shard, "s", 50)).await;
            assert_eq!(both.0, [0]);
        },
    );
}

#[test]
fn appends_are_under_way_until_a_moment_after_the_last_one() {
    live_with(
        &SimIo::new(1),
        |_, _| (),
        async |shard| {
            create_basin(&shard).await;
            provision(&shard, create("s")).await;
            assert!(!shard.has_appends(), "a stream was created, and nothing was appended");
            append(&shard, "s", 10).await;
            assert!(shard.has_appends());
            shard.io.sleep_us(1_000).await;
            assert!(shard.has_appends(), "the next one of the same client may be on its way");
            shard.io.sleep_us(10_000).await;
            assert!(!shard.has_appends());
        },
    );
}

/// What is sent in pieces is what comes from the disk. The live end never is.
#[test]
fn old_records_are_said_to_be_old_and_the_live_end_is_not() {
    const OLD: u64 = 4;
    let io = SimIo::new(1);
    live_with(
        &io,
        |_, _| (),
        async |shard| {
            create_basin(&shard).await;
            provision(&shard, create("s")).await;
            for _ in 0..OLD {
                append(&shard, "s", 60_000).await;
            }
        },
    );
    let pipe = Rc::new(Pipe::default());
    let open = Open::Read {
        path: path("s"),
        key: None,
        query: query(0, Some(3600)),
        feed: Feed::Sse { format: Format::Raw, resumed: None },
        asked: Asked::default(),
    };
    live_with(
        &io.kill(2),
        |_, _| (),
        async |shard| {
            let client = async {
                let mut next = 0;
                while next <= OLD {
                    let (bytes, age) = match pipe.next_out().await {
                        Out::Opened => continue,
                        Out::Bytes(bytes, age) => (bytes, age),
                        other => panic!("{other:?}"),
                    };
                    pipe.taken(bytes.len());
                    let text = String::from_utf8(bytes).expect("JSON");
                    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
                    let batches = data.map(|data| serde_json::from_str(data).expect("JSON"));
                    let numbers: Vec<u64> = batches.flat_map(|batch| seq_nums(&batch)).collect();
                    let is_old = numbers.first().is_some_and(|first| *first < OLD);
                    assert_eq!(age, if is_old { Age::Old } else { Age::Recent }, "{numbers:?}");
                    next += numbers.len() as u64;
                    if next == OLD && numbers.is_empty() {
                        append(&shard, "s", 60_000).await; // it is at the tail, and follows
                    }
                }
            };
            let session = std::pin::pin!(Rc::clone(&shard).run_session(open, &pipe));
            match future::select(session, std::pin::pin!(client)).await {
                Either::Left(_) => panic!("the session ended"),
                Either::Right(_) => {}
            }
            let form = BatchForm::Json(Format::Raw);
            for (seq_num, age) in [(0, Age::Old), (OLD, Age::Recent)] {
                let query = ReadQuery { count: Some(1), ..query(seq_num, None) };
                let asked = Asked::default();
                let read = shard.read((&path("s"), None), &query, form, &asked).await;
                assert_eq!(read.expect("read").1, age, "{seq_num}");
            }
        },
    );
}
