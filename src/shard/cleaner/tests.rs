//! Space comes back and nothing is lost, on a simulated disk that loses power in between.

use std::ops::ControlFlow;

use super::*;
use crate::io::Clock;
use crate::io::sim::{SimIo, SimRuntime};
use crate::log::entry::Kind;
use crate::shard::call::{Asked, Call};
use crate::shard::read::{Budget, From};
use crate::shard::testkit::{
    LOG, Shard, assert_whole, basin, create, create_basin, live_with, path, provision,
};
use crate::stream::State;
use crate::types::append::{AppendBuilder, Span};
use crate::types::{AppendInput, Refusal};

mod full_disk;

/// A life in which space is won back.
fn live<T>(io: &SimIo, life: impl AsyncFnOnce(Shard) -> T) -> T {
    let also = |runtime: &SimRuntime, shard: &Shard| {
        runtime.spawn(Rc::clone(shard).run_checkpoints());
        runtime.spawn(Rc::clone(shard).run_cleaner());
    };
    live_with(io, also, life)
}

fn batch(body: &[u8]) -> AppendInput {
    let mut builder = AppendBuilder::default();
    let len = u32::try_from(body.len()).expect("small");
    builder.push_record(body, None, Span { offset: 0, len }).expect("fits");
    builder.finish(body.to_vec(), None, None).expect("a batch")
}

/// Appends a batch; false when the disk is full.
async fn has_room_for(shard: &Shard, stream: &str, input: AppendInput) -> bool {
    let asked = Asked::default();
    let call = Call::Append { path: path(stream), key: None, input, asked, receipt: false };
    match shard.handle(call).await {
        Ok(_) => true,
        Err(Refusal::HotServer(_)) => false,
        Err(other) => panic!("{other:?}"),
    }
}

async fn append(shard: &Shard, stream: &str, input: AppendInput) {
    assert!(has_room_for(shard, stream, input).await, "appended");
}

fn stream(shard: &Shard, name: &str) -> Rc<Stream> {
    Rc::clone(shard.catalog.borrow().stream(&basin(), &path(name).stream).expect("there"))
}

/// Trims all of a stream, as retention would.
fn trim(shard: &Shard, name: &str) {
    let stream = stream(shard, name);
    let trim_point = stream.durable.get().tail.seq_num;
    stream.accepted.set(State { trim_point, ..stream.accepted.get() });
    let trimmed = crate::log::entry::Trimmed { stream: stream.id, trim_point, at_ms: 0 };
    let note = Note::Trimmed(Rc::clone(&stream), trimmed);
    shard.writer.append_in_passing(Kind::Trimmed, &trimmed.encode(), note);
}

/// The bodies of all records that a stream keeps.
async fn bodies(shard: &Shard, name: &str) -> Vec<Vec<u8>> {
    let stream = stream(shard, name);
    let state = stream.durable.get();
    let mut next = state.trim_point;
    let mut found = Vec::new();
    while next < state.tail.seq_num {
        let mut budget = Budget { count: 100, bytes: u64::MAX, until: None };
        let each = |record: &crate::log::entry::Record<'_>| {
            assert_eq!(record.seq_num, state.trim_point + found.len() as u64);
            found.push(record.body.to_vec());
            ControlFlow::Continue(())
        };
        let start = From::SeqNum(next);
        let tail = state.tail.seq_num;
        let delivered = shard.deliver((&stream, None), start, tail, &mut budget, each).await;
        next = delivered.expect("whole").next_seq_num;
    }
    found
}

fn body(number: usize, bytes: usize) -> Vec<u8> {
    let mut body = vec![u8::try_from(number % 251).expect("below 251"); bytes];
    body[..8].copy_from_slice(&(number as u64).to_le_bytes());
    body
}

#[test]
fn a_quiet_stream_does_not_pin_the_disk() {
    let io = SimIo::new(1);
    live(&io, async |shard| {
        create_basin(&shard).await;
        provision(&shard, create("quiet")).await;
        provision(&shard, create("busy")).await;
        append(&shard, "quiet", batch(b"still here")).await;
        for number in 0..1200 {
            append(&shard, "busy", batch(&body(number, 60_000))).await;
            if number % 16 == 15 {
                trim(&shard, "busy");
            }
        }
        shard.io.sleep_us(2_000_000).await;
        assert_eq!(bodies(&shard, "quiet").await, [b"still here"]);
        // 70 MiB were written: 17 segments. Two are left alone, two wait for a checkpoint.
        let files = shard.segments.file_count();
        assert!(files <= 9, "{files} files");
        assert!(shard.segments.oldest_epoch() > 10);
        let snapshot = shard.metrics.snapshot();
        assert!(snapshot.segments_cleaned >= 1);
        assert!(snapshot.moved_bytes < 4 << 20, "{} bytes moved", snapshot.moved_bytes);
    });
    assert_whole(&io, LOG);
    live(&io.crash(2), async |shard| {
        assert_eq!(bodies(&shard, "quiet").await, [b"still here"]);
    });
}

/// What a step copied becomes durable together with appends, so that none may be in flight at its
/// end, although the next ones are on their way.
#[test]
fn a_step_is_followed_by_a_pause_also_between_two_appends() {
    live_with(
        &SimIo::new(1),
        |_, _| (),
        async |shard| {
            create_basin(&shard).await;
            provision(&shard, create("s")).await;
            for (appends, pauses_us) in [(false, IDLE_PAUSE_US..2_000), (true, 30_000..60_000)] {
                let step = Step::begin(shard.io.now_us());
                shard.io.sleep_us(10_000).await;
                if appends {
                    append(&shard, "s", batch(b"one of many")).await;
                }
                assert_eq!(shard.inflight_bytes.get(), 0);
                let ended_us = shard.io.now_us();
                shard.end_step(step).await.expect("the log is well");
                let pause_us = shard.io.now_us() - ended_us;
                assert!(pauses_us.contains(&pause_us), "{pause_us} us, appends: {appends}");
            }
        },
    );
}

#[test]
fn nothing_is_moved_while_most_of_the_log_lives() {
    let io = SimIo::new(3);
    live(&io, async |shard| {
        create_basin(&shard).await;
        provision(&shard, create("kept")).await;
        for number in 0..400 {
            append(&shard, "kept", batch(&body(number, 60_000))).await;
        }
        shard.io.sleep_us(2_000_000).await;
        assert_eq!(shard.metrics.snapshot().moved_bytes, 0);
        assert_eq!(shard.segments.oldest_epoch(), 1);
    });
}

#[test]
fn records_that_are_tiny_by_the_api_s_measure_are_not_moved_for_ever() {
    let io = SimIo::new(4);
    live(&io, async |shard| {
        create_basin(&shard).await;
        provision(&shard, create("tiny")).await;
        // Each takes a frame of 4 KiB: once they are moved together, there is room.
        for number in 0..6000 {
            append(&shard, "tiny", batch(&body(number, 8))).await;
        }
        shard.io.sleep_us(5_000_000).await;
        let moved_bytes = shard.metrics.snapshot().moved_bytes;
        assert!(moved_bytes > 0 && moved_bytes < 2 << 20, "{moved_bytes}");
        shard.io.sleep_us(20_000_000).await;
        assert_eq!(shard.metrics.snapshot().moved_bytes, moved_bytes, "it came to rest");
        assert_eq!(bodies(&shard, "tiny").await.len(), 6000);
    });
}

#[test]
fn a_full_disk_is_cleaned_harder() {
    let io = SimIo::new(5);
    let capacity_bytes = 6 * LOG.segment_bytes + (1 << 20);
    io.set_faults(crate::io::sim::Faults { capacity_bytes, ..io.faults() });
    live(&io, async |shard| {
        create_basin(&shard).await;
        provision(&shard, create("kept")).await;
        provision(&shard, create("busy")).await;
        // Nearly half of what is written lives: less than twice that is never cleaned but now.
        let mut kept = 0;
        let mut refused = 0;
        for number in 0..700 {
            for (name, bytes) in [("kept", 30_000), ("busy", 40_000)] {
                if name == "kept" && kept == 320 {
                    continue;
                }
                if has_room_for(&shard, name, batch(&body(number, bytes))).await {
                    kept += usize::from(name == "kept");
                } else {
                    refused += 1;
                    shard.io.sleep_us(200_000).await;
                }
            }
            if number % 8 == 7 {
                trim(&shard, "busy");
            }
        }
        assert!(refused > 0 && refused < 200, "{refused} refused");
        shard.io.sleep_us(5_000_000).await;
        append(&shard, "busy", batch(b"there is room")).await;
        assert_eq!(bodies(&shard, "kept").await.len(), kept);
    });
    assert_whole(&io, LOG);
}

/// Lives one after the other, each ended by a power cut at any moment: long-lived records between
/// many that go soon, cleaned all the while.
fn churn(seed: u64) {
    let mut io = SimIo::new(seed);
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut dice = move |sides: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % sides
    };
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for life in 0..8 {
        live(&io, async |shard| {
            if life == 0 {
                create_basin(&shard).await;
                provision(&shard, create("kept")).await;
                provision(&shard, create("busy")).await;
            }
            assert_eq!(bodies(&shard, "kept").await, kept, "seed {seed}, life {life}");
            for number in 0..60 + dice(240) {
                let number = usize::try_from(number).expect("small");
                append(&shard, "busy", batch(&body(number, 50_000))).await;
                if dice(8) == 0 {
                    trim(&shard, "busy");
                }
                if dice(4) == 0 {
                    let body = body(kept.len(), 8 + usize::try_from(dice(30_000)).expect("small"));
                    append(&shard, "kept", batch(&body)).await;
                    kept.push(body);
                }
            }
            shard.io.sleep_us(dice(400_000)).await;
        });
        io = io.crash(seed + life);
        assert_whole(&io, LOG);
    }
    live(&io, async |shard| {
        assert_eq!(bodies(&shard, "kept").await, kept, "seed {seed}");
        shard.io.sleep_us(3_000_000).await;
        let live_bytes: usize = kept.iter().map(Vec::len).sum();
        let most = 2 * live_bytes as u64 / LOG.segment_bytes + 9;
        let files = shard.segments.file_count() as u64;
        assert!(files <= most, "seed {seed}: {files} files, at most {most}");
    });
}

#[test]
fn power_cuts_while_cleaning_lose_nothing() {
    let first: u64 = std::env::var("THALWEG_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    for seed in first..first + 6 {
        println!("repeat with THALWEG_SEED={seed} cargo test --lib power_cuts_while_cleaning");
        churn(seed);
    }
}
