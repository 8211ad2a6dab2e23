//! Records past their retention are hidden from reads at once, also where nothing trims them.

use futures_util::future;

use super::*;

mod clock;
use crate::api::query::{ReadQuery, ReadStart};
use crate::audit::Origin;
use crate::codec::{BatchForm, Feed, Format};
use crate::shard::call::{Answer, Asked};
use crate::shard::session::{Open, Out, Pipe};

use ReadStart::{SeqNum, TailOffset, Timestamp};

/// A life without the task that trims.
fn live_untrimmed<T>(io: &SimIo, life: impl AsyncFnOnce(Shard) -> T) -> T {
    live_with(io, |_, _| {}, life)
}

fn query(start: ReadStart, wait_secs: Option<u32>) -> ReadQuery {
    ReadQuery { start, clamp: false, count: None, bytes: None, until: None, wait_secs }
}

/// Numbers of the records in JSON text, whatever is around them.
fn seq_nums(text: &[u8]) -> Vec<u64> {
    let text = std::str::from_utf8(text).expect("JSON is UTF-8");
    let after = text.split("\"seq_num\":").skip(1);
    let digits = after.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.map(|digits| digits.expect("a number").parse().expect("a number")).collect()
}

/// Does a read; returns the numbers of its records.
async fn read_as(shard: &Shard, query: ReadQuery) -> Result<Vec<u64>, Refusal> {
    let (form, asked) = (BatchForm::Json(Format::Raw), Asked::default());
    match shard.handle(Call::Read { path: path("s"), key: None, query, form, asked }).await? {
        Answer::Body(body, _) => {
            let text = String::from_utf8(body).expect("JSON is UTF-8");
            let records = text.split("\"tail\"").next().expect("the front");
            Ok(seq_nums(records.as_bytes()))
        }
        other => panic!("{other:?}"),
    }
}

async fn read(shard: &Shard, start: ReadStart) -> Result<Vec<u64>, Refusal> {
    read_as(shard, query(start, None)).await
}

/// Numbers of all records that can be read.
pub(super) async fn all(shard: &Shard) -> Vec<u64> {
    read(shard, SeqNum(0)).await.expect("read")
}

async fn append_records(shard: &Shard, records: usize) {
    append_to(shard, "s", batch(records, 10)).await.expect("appended");
}

fn last_arrival_ms(shard: &Shard) -> u64 {
    stream(shard).expect("there").last_arrival_ms.get()
}

/// Sleeps until the wall clock shows that many microseconds since the Unix epoch.
async fn sleep_until(shard: &Shard, wall_us: u64) {
    let now_us = shard.io.wall_us();
    assert!(now_us <= wall_us, "{}us too late", now_us - wall_us);
    sleep(shard, wall_us - now_us).await;
}

/// A stream of age 5 s with batches of 3 records, the second a second after the first; sleeps until
/// only the first is hidden, and returns when both arrived.
async fn begin_with_two_batches(shard: &Shard) -> [u64; 2] {
    begin(shard).await;
    change(shard, "s", age(5)).await;
    append_records(shard, 3).await;
    let first_ms = last_arrival_ms(shard);
    sleep(shard, SECOND_US).await;
    append_records(shard, 3).await;
    let second_ms = last_arrival_ms(shard);
    sleep_until(shard, (first_ms + 5_001) * 1000).await;
    [first_ms, second_ms]
}

#[test]
fn a_batch_is_hidden_one_millisecond_after_the_age_and_not_at_it() {
    live_untrimmed(&SimIo::new(11), async |shard| {
        begin(&shard).await;
        change(&shard, "s", age(5)).await;
        append_records(&shard, 2).await;
        let first_ms = last_arrival_ms(&shard);
        sleep(&shard, 1_500).await; // another millisecond, in the same span of the index
        append_records(&shard, 2).await;
        let second_ms = last_arrival_ms(&shard);
        assert!(first_ms < second_ms);
        sleep_until(&shard, (first_ms + 5_001) * 1000 - 1).await;
        assert_eq!(all(&shard).await, [0, 1, 2, 3], "no more than the age, as far as is known");
        sleep(&shard, 1).await;
        assert_eq!(all(&shard).await, [2, 3], "exactly the first batch");
        sleep_until(&shard, (second_ms + 5_001) * 1000 - 1).await;
        assert_eq!(all(&shard).await, [2, 3]);
        sleep(&shard, 1).await;
        assert_eq!(kept(&shard), (2, 4), "as far as it was shown");
        assert_eq!(all(&shard).await, [0; 0]);
        assert_eq!(kept(&shard), (4, 4));
    });
}

#[test]
fn every_start_passes_over_what_is_hidden_as_over_what_was_trimmed() {
    live_untrimmed(&SimIo::new(12), async |shard| {
        let [first_ms, second_ms] = begin_with_two_batches(&shard).await;
        let tail = stream(&shard).expect("there").durable.get().tail;
        let starts = [
            (SeqNum(0), &[3, 4, 5][..]),
            (SeqNum(1), &[3, 4, 5]),
            (SeqNum(4), &[4, 5]),
            (TailOffset(6), &[3, 4, 5]),
            (TailOffset(2), &[4, 5]),
            (Timestamp(0), &[3, 4, 5]),
            (Timestamp(first_ms), &[3, 4, 5]),
            (Timestamp(second_ms), &[3, 4, 5]),
        ];
        let nothing = [
            (SeqNum(0), Ok(vec![])),
            (SeqNum(5), Ok(vec![])),
            (TailOffset(6), Ok(vec![])),
            (Timestamp(0), Err(Refusal::Unsatisfiable(tail))),
            (Timestamp(second_ms), Err(Refusal::Unsatisfiable(tail))),
        ];
        for (start, expected) in starts {
            assert_eq!(read(&shard, start).await.as_deref(), Ok(expected), "{start:?}");
        }
        sleep_until(&shard, (second_ms + 5_001) * 1000).await;
        for (start, expected) in nothing.clone() {
            assert_eq!(read(&shard, start).await, expected, "{start:?} when all is hidden");
        }
        let tail_now = shard.handle(Call::CheckTail(path("s"), Origin::default())).await;
        assert!(matches!(tail_now, Ok(Answer::Tail(now)) if now == tail), "the tail stays");
        assert_eq!(kept(&shard), (6, 6), "what was shown to be gone is trimmed");
        for (start, expected) in nothing {
            assert_eq!(read(&shard, start).await, expected, "{start:?} when all is trimmed");
        }
    });
}

#[test]
fn who_waits_where_all_is_hidden_gets_what_comes() {
    for start in [SeqNum(0), Timestamp(0)] {
        live_untrimmed(&SimIo::new(13), async |shard| {
            let [_, second_ms] = begin_with_two_batches(&shard).await;
            sleep_until(&shard, (second_ms + 5_001) * 1000).await;
            let later = async {
                sleep(&shard, SECOND_US).await;
                append_records(&shard, 1).await;
            };
            let (got, ()) = future::join(read_as(&shard, query(start, Some(3))), later).await;
            assert_eq!(got, Ok(vec![6]), "{start:?}");
        });
    }
}

#[test]
fn spans_in_which_all_is_hidden_are_not_read() {
    let io = SimIo::new(14);
    live_untrimmed(&io, async |shard| {
        begin(&shard).await;
        change(&shard, "s", age(5)).await;
        for _ in 0..40 {
            append(&shard, 70_000).await; // each a span of its own, more than the window holds
        }
        sleep(&shard, 3 * SECOND_US).await;
        append(&shard, 10).await;
        sleep(&shard, 3 * SECOND_US).await;
        let reads = || io.trace().iter().filter(|event| event.what == "read").count();
        let before = reads();
        assert_eq!(all(&shard).await, [40]);
        assert_eq!(reads(), before, "only the last two spans, which are in memory");
        assert_eq!(read(&shard, Timestamp(0)).await, Ok(vec![40]));
        sleep(&shard, 3 * SECOND_US).await;
        assert_eq!(all(&shard).await, [0; 0]);
    });
}

#[test]
fn what_expires_while_the_disk_is_read_is_not_served() {
    live_untrimmed(&SimIo::new(19), async |shard| {
        begin(&shard).await;
        change(&shard, "s", age(5)).await;
        append(&shard, 70_000).await;
        let hidden_us = (last_arrival_ms(&shard) + 5_001) * 1000;
        sleep(&shard, 1_000).await;
        for _ in 0..40 {
            append(&shard, 70_000).await; // more than the window holds
        }
        let one = ReadQuery { count: Some(1), ..query(SeqNum(0), None) };
        sleep_until(&shard, hidden_us - 1).await; // the read of the disk ends later
        assert_eq!(read_as(&shard, one).await, Ok(vec![1]));
    });
}

#[test]
fn a_session_under_way_passes_over_what_was_hidden_meanwhile() {
    live_untrimmed(&SimIo::new(15), async |shard| {
        begin(&shard).await;
        change(&shard, "s", age(5)).await;
        for _ in 0..40 {
            append(&shard, 70_000).await;
        }
        let old_ms = last_arrival_ms(&shard);
        sleep(&shard, 3 * SECOND_US).await;
        append(&shard, 10).await;
        let pipe = Rc::new(Pipe::default());
        let open = Open::Read {
            path: path("s"),
            key: None,
            query: query(SeqNum(0), Some(0)),
            feed: Feed::Sse { format: Format::Raw, resumed: None },
            asked: Asked::default(),
        };
        let client = async {
            // It takes nothing for so long that the rest of the old ones is hidden.
            sleep_until(&shard, (old_ms + 5_001) * 1000).await;
            let mut text = Vec::new();
            loop {
                match pipe.next_out().await {
                    Out::Opened => {}
                    Out::Bytes(bytes, _) => {
                        pipe.taken(bytes.len());
                        text.extend(bytes);
                    }
                    Out::Done => return text,
                    other => panic!("{other:?}"),
                }
            }
        };
        let session = Rc::clone(&shard).run_session(open, &pipe);
        let ((), text) = future::join(session, client).await;
        // Numbers that stand in tails or ids come twice; records do not.
        let mut got = seq_nums(&text);
        got.dedup();
        let sent = got.iter().position(|seq_num| *seq_num >= 40).expect("the last one comes");
        assert!((1..40).contains(&sent), "some, not all: {got:?}");
        assert!(got[..sent].iter().copied().eq(0..sent as u64), "{got:?}");
        assert_eq!(got[sent], 40, "{got:?}");
    });
}

#[test]
fn a_longer_age_brings_nothing_back_nor_does_a_restart() {
    for seed in 16..24 {
        let longer = if seed & 1 == 0 { age(1000) } else { infinite() };
        let (checkpoint, is_read) = (seed & 2 == 0, seed & 4 == 0);
        let io = SimIo::new(seed);
        live_untrimmed(&io, async |shard| {
            begin_with_two_batches(&shard).await;
            if is_read {
                assert_eq!(all(&shard).await, [3, 4, 5]);
            }
            change(&shard, "s", longer).await;
            sleep(&shard, 10 * SECOND_US).await;
            if is_read {
                assert_eq!(all(&shard).await, [3, 4, 5], "neither back nor gone");
            }
            if checkpoint {
                shard.checkpoint().await.expect("written");
            }
        });
        let io = io.crash(seed);
        live(&io, async |shard| {
            let first = if is_read { 3 } else { 0 };
            assert_eq!(kept(&shard), (first, 6), "the log has all that nobody asked for");
            assert_eq!(all(&shard).await, [3, 4, 5], "(checkpoint: {checkpoint})");
            sleep(&shard, SECOND_US).await;
            assert_eq!(all(&shard).await, [3, 4, 5]);
            append_records(&shard, 1).await;
            assert_eq!(all(&shard).await, [3, 4, 5, 6]);
            change(&shard, "s", age(2)).await;
            assert_eq!(all(&shard).await, [6], "the age that is shorter again counts");
        });
    }
}

/// Changes of the age may be lost in a crash until they are durable. Whatever a reader saw hidden
/// before the crash is hidden after it; what no age ever hid is not.
#[test]
fn what_a_reader_saw_hidden_is_hidden_after_a_crash_amid_changes_of_the_age() {
    let mut seen_hidden = 0;
    for seed in 100..180 {
        let io = SimIo::new(seed);
        let before = live_untrimmed(&io, async |shard| {
            begin_with_two_batches(&shard).await;
            change(&shard, "s", age(1000)).await;
            sleep(&shard, 5 * SECOND_US).await;
            // So that the first read beside the changes has nothing to wait for.
            assert_eq!(all(&shard).await, [3, 4, 5]);
            // Of these, the age of 2 s hides the second batch, and may be lost.
            let shorter = change(&shard, "s", age(2));
            let longer = change(&shard, "s", age(1000));
            let reader = async {
                let mut seen = all(&shard).await.len();
                for _ in 0..seed % 40 {
                    sleep(&shard, 25).await;
                    let now = all(&shard).await.len();
                    assert!(now <= seen, "came back (seed {seed})");
                    seen = now;
                }
                seen
            };
            let changes = std::pin::pin!(async {
                shorter.await;
                longer.await;
                std::future::pending::<()>().await;
            });
            match future::select(changes, std::pin::pin!(reader)).await {
                future::Either::Right((seen, _)) => seen,
                future::Either::Left(_) => unreachable!("it never ends"),
            }
        });
        seen_hidden += usize::from(before == 0);
        live_untrimmed(&io.crash(seed), async |shard| {
            let after = all(&shard).await.len();
            assert!(after <= before, "came back: {before} before, {after} after (seed {seed})");
            assert!([0, 3].contains(&after), "the first batch stays hidden (seed {seed})");
        });
    }
    assert!((1..80).contains(&seen_hidden), "no crash amid the changes: {seen_hidden}");
}
