//! More appends than a slow disk can take: they are refused in time, and nothing else happens.

use std::rc::Rc;

use super::*;
use crate::audit::Origin;
use crate::io::Clock;
use crate::io::sim::{Faults, SimIo};
use crate::shard::call::{Answer, Asked, Call};
use crate::shard::testkit::{Shard, create_basin, live_with, path, provision};
use crate::types::StreamConfigPatch;
use crate::types::append::{AppendBuilder, Span};

const BATCH_BYTES: usize = 500_000;

fn batch(match_seq_num: Option<u64>) -> AppendInput {
    let mut builder = AppendBuilder::default();
    let buf = vec![b'x'; BATCH_BYTES];
    let len = u32::try_from(BATCH_BYTES).expect("small");
    builder.push_record(&buf, None, Span { offset: 0, len }).expect("fits");
    builder.finish(buf, match_seq_num, None).expect("a batch")
}

/// Appends, and says how long it took.
async fn append(shard: &Shard, match_seq_num: Option<u64>) -> (Result<(), Refusal>, u64) {
    let began_us = shard.io.now_us();
    let asked = Asked::default();
    let call = Call::Append {
        path: path("s"),
        key: None,
        input: batch(match_seq_num),
        asked,
        receipt: false,
    };
    let outcome = match shard.handle(call).await {
        Ok(Answer::Ack(..)) => Ok(()),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal),
    };
    (outcome, shard.io.now_us() - began_us)
}

/// A life on a disk of which an operation takes up to half a second, after some appends have shown
/// that.
fn live_slowly(seed: u64, class: &str, life: impl AsyncFnOnce(Shard)) {
    let io = SimIo::new(seed);
    let config = StreamConfigPatch {
        storage_class: crate::types::config::Change::Set(class.to_owned()),
        ..StreamConfigPatch::default()
    };
    live_with(
        &io,
        |_, _| {},
        async |shard| {
            create_basin(&shard).await;
            provision(&shard, crate::shard::testkit::create("s")).await;
            shard.handle(crate::shard::testkit::patch("s", config)).await.expect("changed");
            io.set_faults(Faults { latency_us_max: 500_000, ..io.faults() });
            for _ in 0..20 {
                let (outcome, _) = append(&shard, None).await;
                assert_eq!(outcome, Ok(()), "one at a time is no load, however slow the disk");
            }
            life(shard).await;
        },
    );
}

/// What is ahead of a newcomer never grows beyond what fits into flight and the groups that may
/// wait: one that takes longer than an Express append may wait, two that a Standard append may.
fn assert_bounded(shard: &Shard, class: StorageClass) {
    let held_bytes = shard.inflight_bytes.get() + shard.waiting_bytes.get();
    let groups = if class == StorageClass::Express { 1 } else { 2 };
    let bytes_max =
        shard.config.inflight_bytes_max + groups * GROUP_BYTES_MAX as u64 + 2 * BATCH_BYTES as u64;
    assert!(held_bytes <= bytes_max, "{held_bytes} bytes");
}

#[test]
fn a_slow_disk_is_not_asked_for_more_than_it_does_in_time() {
    for (class, seed) in [("express", 1), ("express", 2), ("standard", 3), ("standard", 4)] {
        live_slowly(seed, class, async |shard| {
            let class = StorageClass::of(class);
            let before =
                shard.check_tail(&path("s"), Origin::default()).await.expect("is there").seq_num;
            let one = |wave: u64| {
                let shard = Rc::clone(&shard);
                async move {
                    // Waves, so that newcomers find others in every state.
                    shard.io.sleep_us(wave / 10 * 20_000).await;
                    assert_bounded(&shard, class);
                    append(&shard, None).await
                }
            };
            let outcomes = future::join_all((0..300).map(one)).await;
            let (mut acked, mut refused) = (0, 0);
            for (outcome, took_us) in outcomes {
                match outcome {
                    Ok(()) => acked += 1,
                    Err(Refusal::RateLimited { retry_after_ms: 1.. }) => {
                        assert!(took_us <= target_us(class), "refused after {took_us} us");
                        refused += 1;
                    }
                    Err(other) => panic!("seed {seed}: {other:?}"),
                }
            }
            assert!(acked > 0 && refused > 0, "seed {seed}: {acked} acked, {refused} refused");
            let after =
                shard.check_tail(&path("s"), Origin::default()).await.expect("is there").seq_num;
            assert_eq!(after - before, acked, "seed {seed}: what was refused is not there");
            assert_eq!(shard.waiting_bytes.get(), 0);
            assert_eq!(append(&shard, None).await.0, Ok(()), "seed {seed}: all is as before");
        });
    }
}

#[test]
fn who_is_refused_for_want_of_time_learns_nothing_about_the_stream() {
    live_slowly(5, "express", async |shard| {
        let crowd = (0..40).map(|_| append(&shard, None));
        let wrong = async {
            shard.io.sleep_us(1).await;
            append(&shard, Some(u64::MAX)).await
        };
        let (_, (outcome, _)) = future::join(future::join_all(crowd), wrong).await;
        assert!(matches!(outcome, Err(Refusal::RateLimited { .. })), "{outcome:?}");
    });
}

#[test]
fn who_gives_up_waiting_is_no_longer_counted() {
    live_slowly(6, "standard", async |shard| {
        let crowd = future::join_all((0..8).map(|_| append(&shard, None)));
        match future::select(pin!(crowd), pin!(shard.io.sleep_us(1_000))).await {
            Either::Left(_) => panic!("the disk is not as slow as it should be"),
            Either::Right(((), crowd)) => {
                assert!(shard.waiting_bytes.get() > 0, "some wait");
                let _unfinished = crowd;
            }
        }
    });
}
