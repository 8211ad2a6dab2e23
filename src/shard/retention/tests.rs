//! What expires, when, and what stays gone, on a simulated disk and clock.

use crate::audit::Origin;
use crate::io::sim::{SimIo, SimRuntime};
use crate::io::{Clock, Disk};
use crate::shard::call::{Asked, Call};
use crate::shard::testkit::{
    Shard, age, basin, create, create_basin, live_with, patch, path, provision,
};
use crate::types::append::{AppendBuilder, Span};
use crate::types::config::Change;
use crate::types::{AppendInput, Refusal, Retention, StreamConfigPatch};

use super::*;

mod full_disk;
mod hidden;

const SECOND_US: u64 = 1_000_000;

fn live<T>(io: &SimIo, life: impl AsyncFnOnce(Shard) -> T) -> T {
    let also = |runtime: &SimRuntime, shard: &Shard| {
        runtime.spawn(Rc::clone(shard).run_retention());
    };
    live_with(io, also, life)
}

fn infinite() -> StreamConfigPatch {
    let retention = Change::Set(Retention::Infinite);
    StreamConfigPatch { retention, ..StreamConfigPatch::default() }
}

fn empty_for(secs: u64) -> StreamConfigPatch {
    let min_age = Change::Set(secs);
    StreamConfigPatch { delete_on_empty_min_age_secs: min_age, ..StreamConfigPatch::default() }
}

async fn change(shard: &Shard, stream: &str, change: StreamConfigPatch) {
    shard.handle(patch(stream, change)).await.expect("changed");
}

/// A basin, and a stream `s` in it.
async fn begin(shard: &Shard) {
    create_basin(shard).await;
    provision(shard, create("s")).await;
}

/// A batch of this many records, each with a body of this length.
fn batch(records: usize, body_bytes: usize) -> AppendInput {
    let mut builder = AppendBuilder::default();
    let buf = vec![b'x'; body_bytes];
    let len = u32::try_from(body_bytes).expect("small");
    for _ in 0..records {
        builder.push_record(&buf, None, Span { offset: 0, len }).expect("fits");
    }
    builder.finish(buf, None, None).expect("a batch")
}

/// Appends a batch to a stream.
async fn append_to(shard: &Shard, stream: &str, input: AppendInput) -> Result<(), Refusal> {
    let asked = Asked::default();
    shard
        .handle(Call::Append { path: path(stream), key: None, input, asked, receipt: false })
        .await
        .map(|_| ())
}

async fn append(shard: &Shard, body_bytes: usize) {
    append_to(shard, "s", batch(1, body_bytes)).await.expect("appended");
}

async fn sleep(shard: &Shard, us: u64) {
    shard.io.sleep_us(us).await;
}

fn stream(shard: &Shard) -> Option<Rc<Stream>> {
    shard.catalog.borrow().stream(&basin(), &path("s").stream).cloned()
}

/// First readable record, and the tail.
fn kept(shard: &Shard) -> (u64, u64) {
    let state = stream(shard).expect("there").durable.get();
    (state.trim_point, state.tail.seq_num)
}

#[test]
fn records_go_when_they_are_older_than_the_age_and_not_before() {
    live(&SimIo::new(1), async |shard| {
        begin(&shard).await;
        change(&shard, "s", age(5)).await;
        append(&shard, 10).await;
        sleep(&shard, 3 * SECOND_US).await;
        append(&shard, 10).await;
        // The last one is not old enough, and the index holds both as one.
        sleep(&shard, 4 * SECOND_US).await;
        assert_eq!(kept(&shard), (0, 2));
        sleep(&shard, SECOND_US / 2).await;
        assert_eq!(kept(&shard), (0, 2), "a second and a half early");
        sleep(&shard, 2 * SECOND_US).await;
        assert_eq!(kept(&shard), (2, 2), "the tail stays");
        assert_eq!(stream(&shard).expect("there").stored_bytes(), 0);
        append(&shard, 10).await;
        assert_eq!(kept(&shard), (2, 3), "what comes later is kept");
    });
}

#[test]
fn the_old_part_of_a_stream_goes_by_the_spans_of_its_index() {
    live(&SimIo::new(2), async |shard| {
        begin(&shard).await;
        change(&shard, "s", age(5)).await;
        for _ in 0..4 {
            append(&shard, 70_000).await; // each a span of its own
            sleep(&shard, SECOND_US).await;
        }
        // At 6.5 s those of 0 s and 1 s are old enough; that the second is shows the third's.
        sleep(&shard, 5 * SECOND_US / 2).await;
        let (first, tail) = kept(&shard);
        assert!((1..=2).contains(&first), "{first}");
        assert_eq!(tail, 4);
        sleep(&shard, 3 * SECOND_US).await;
        assert_eq!(kept(&shard), (4, 4));
    });
}

#[test]
fn what_expired_stays_gone_and_ages_outlive_a_restart() {
    for checkpoint in [false, true] {
        let io = SimIo::new(3);
        live(&io, async |shard| {
            begin(&shard).await;
            change(&shard, "s", age(5)).await;
            append(&shard, 10).await;
            sleep(&shard, 6 * SECOND_US).await;
            assert_eq!(kept(&shard), (1, 1));
            change(&shard, "s", age(1000)).await;
            append(&shard, 10).await;
            sleep(&shard, SECOND_US).await;
            assert_eq!(kept(&shard), (1, 2), "a longer age brings nothing back");
            change(&shard, "s", age(5)).await;
            if checkpoint {
                shard.checkpoint().await.expect("written");
            }
        });
        let io = io.crash(4);
        live(&io, async |shard| {
            assert_eq!(kept(&shard), (1, 2), "nor does a restart (checkpoint: {checkpoint})");
            sleep(&shard, 2 * SECOND_US).await;
            assert_eq!(kept(&shard), (1, 2), "its age goes on from when it arrived, not before");
            sleep(&shard, 3 * SECOND_US).await;
            assert_eq!(kept(&shard), (2, 2), "(checkpoint: {checkpoint})");
            assert!(!io.list().expect("lists").is_empty());
        });
    }
}

#[test]
fn without_an_age_nothing_expires() {
    live(&SimIo::new(5), async |shard| {
        begin(&shard).await;
        change(&shard, "s", infinite()).await;
        append(&shard, 10).await;
        sleep(&shard, 1_000 * SECOND_US).await;
        assert_eq!(kept(&shard), (0, 1));
    });
}

#[test]
fn a_stream_that_stays_empty_is_deleted_when_its_time_has_come() {
    live(&SimIo::new(6), async |shard| {
        begin(&shard).await;
        sleep(&shard, 10 * SECOND_US).await;
        change(&shard, "s", empty_for(4)).await;
        sleep(&shard, 3 * SECOND_US).await;
        assert!(stream(&shard).is_some(), "the clock starts when it is asked for");
        append(&shard, 10).await;
        sleep(&shard, 10 * SECOND_US).await;
        assert!(stream(&shard).is_some(), "it holds a record");
        change(&shard, "s", age(12)).await;
        sleep(&shard, SECOND_US).await;
        assert!(stream(&shard).is_some(), "not expired yet");
        // Expired at 12 s after the write, which is longer ago than 4 s: it goes at once.
        sleep(&shard, 2 * SECOND_US).await;
        assert!(stream(&shard).is_none());
        let call = Call::CheckTail(path("s"), Origin::default());
        let refusal = Refusal::StreamNotFound("s".to_owned());
        assert_eq!(shard.handle(call).await.err(), Some(refusal));
    });
}

#[test]
fn a_lower_age_counts_at_once_and_0_switches_deletion_off() {
    live(&SimIo::new(7), async |shard| {
        begin(&shard).await;
        change(&shard, "s", empty_for(100)).await;
        sleep(&shard, 5 * SECOND_US).await;
        change(&shard, "s", empty_for(0)).await;
        sleep(&shard, 200 * SECOND_US).await;
        assert!(stream(&shard).is_some(), "switched off");
        change(&shard, "s", empty_for(1000)).await;
        sleep(&shard, 5 * SECOND_US).await;
        change(&shard, "s", empty_for(4)).await;
        sleep(&shard, SECOND_US).await;
        assert!(stream(&shard).is_none(), "asked for 5 s ago, and 4 are enough now");
    });
}

#[test]
fn a_stream_is_not_deleted_a_fraction_of_a_millisecond_early() {
    live_with(
        &SimIo::new(8),
        |_, _| {},
        async |shard| {
            begin(&shard).await;
            change(&shard, "s", empty_for(4)).await;
            let stream = stream(&shard).expect("there");
            let since_us = stream.delete_on_empty().expect("asked for").since_us;
            assert!(!since_us.is_multiple_of(1000), "whole milliseconds tell nothing: {since_us}");
            for (after_us, empty) in [(3_999_999, false), (4_000_000, false), (4_001_000, true)] {
                let now_ms = (since_us + after_us) / 1000;
                assert_eq!(stays_empty(&stream, now_ms), empty, "after {after_us}");
            }
            // The last moment within the age: cut, it looks like the whole of it.
            let now_ms = since_us / 1000 + 4_000;
            assert!(now_ms * 1000 < since_us + 4_000_000 && !stays_empty(&stream, now_ms), "early");
        },
    );
}
