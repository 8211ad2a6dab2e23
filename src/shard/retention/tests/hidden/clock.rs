//! What a reader saw to be gone by its age stays gone when the wall clock is set back across a
//! restart.

use super::*;
use crate::io::sim::Faults;

/// How far the clock is set back, in microseconds: behind every arrival.
const BACK_US: u64 = 8 * SECOND_US;

/// Dies by a power cut, and begins anew with a wall clock that is behind.
fn crash_and_set_back(io: &SimIo, seed: u64) -> SimIo {
    let io = io.crash(seed);
    io.set_wall_back(BACK_US);
    io
}

#[test]
fn a_clock_set_back_brings_nothing_back_that_was_seen_to_go() {
    for (seed, start) in (30..).zip([SeqNum(0), SeqNum(1), TailOffset(6), Timestamp(0)]) {
        let io = SimIo::new(seed);
        live_untrimmed(&io, async |shard| {
            begin_with_two_batches(&shard).await;
            assert_eq!(read(&shard, start).await.as_deref(), Ok(&[3, 4, 5][..]), "{start:?}");
        });
        let io = crash_and_set_back(&io, seed);
        live_untrimmed(&io, async |shard| {
            assert_eq!(all(&shard).await, [3, 4, 5], "after {start:?}");
            append_records(&shard, 1).await;
            assert_eq!(all(&shard).await, [3, 4, 5, 6], "after {start:?}");
        });
    }
}

#[test]
fn nor_what_was_all_there_was() {
    for (seed, start) in (40..).zip([SeqNum(0), SeqNum(4), TailOffset(1), Timestamp(0)]) {
        let io = SimIo::new(seed);
        live_untrimmed(&io, async |shard| {
            let [_, second_ms] = begin_with_two_batches(&shard).await;
            sleep_until(&shard, (second_ms + 5_001) * 1000).await;
            let _empty_or_refused = read(&shard, start).await;
        });
        live_untrimmed(&crash_and_set_back(&io, seed), async |shard| {
            assert_eq!(all(&shard).await, [0; 0], "after {start:?}");
            assert_eq!(kept(&shard), (6, 6), "after {start:?}");
        });
    }
}

#[test]
fn what_nobody_saw_go_may_be_read_again() {
    let io = SimIo::new(50);
    live_untrimmed(&io, async |shard| {
        begin_with_two_batches(&shard).await;
        assert_eq!(read(&shard, SeqNum(3)).await, Ok(vec![3, 4, 5]), "behind what is hidden");
        assert_eq!(kept(&shard), (0, 6), "who does not ask for it waits for no trim");
    });
    live_untrimmed(&crash_and_set_back(&io, 50), async |shard| {
        assert_eq!(all(&shard).await, [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_read_is_not_answered_before_the_trim_is_durable() {
    live_untrimmed(&SimIo::new(51), async |shard| {
        begin_with_two_batches(&shard).await;
        shard.io.set_faults(Faults { stick: Some((0, SECOND_US / 2)), ..Faults::default() });
        let began_us = shard.io.now_us();
        assert_eq!(all(&shard).await, [3, 4, 5]);
        assert!(shard.io.now_us() - began_us >= SECOND_US / 2, "the disk was stuck");
        assert_eq!(kept(&shard), (3, 6));
        let tickets = shard.writer.newest_ticket();
        assert_eq!(all(&shard).await, [3, 4, 5]);
        assert_eq!(shard.writer.newest_ticket(), tickets, "said once");
    });
}

#[test]
fn reads_at_once_share_a_trim() {
    live_untrimmed(&SimIo::new(52), async |shard| {
        begin_with_two_batches(&shard).await;
        let tickets = shard.writer.newest_ticket();
        let reads = future::join_all((0..20).map(|_| all(&shard))).await;
        assert!(reads.iter().all(|read| *read == [3, 4, 5]), "{reads:?}");
        assert_eq!(shard.writer.newest_ticket(), tickets + 1);
    });
}

#[test]
fn on_a_log_that_failed_what_no_trim_says_is_served_still() {
    for seed in 60..70 {
        let io = SimIo::new(seed);
        live_untrimmed(&io, async |shard| {
            let [_, second_ms] = begin_with_two_batches(&shard).await;
            let is_seen = seed % 2 == 0;
            if is_seen {
                assert_eq!(all(&shard).await, [3, 4, 5]);
            }
            sleep_until(&shard, (second_ms + 5_001) * 1000).await;
            shard.io.set_faults(Faults { fail_sync: Some(0), ..Faults::default() });
            let rest: &[u64] = if is_seen { &[3, 4, 5] } else { &[0, 1, 2, 3, 4, 5] };
            assert_eq!(all(&shard).await, rest, "its own trim fails");
            assert!(shard.durable.failure().is_some());
            assert_eq!(all(&shard).await, rest, "none is begun");
        });
    }
}
