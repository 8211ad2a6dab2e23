//! On a full disk, space comes back although it lies behind a segment of which all lives.

use super::*;
use crate::io::Disk;
use crate::io::sim::Faults;

const SECOND_US: u64 = 1_000_000;

/// A disk with room for so many segments, and some checkpoints.
fn small_disk(seed: u64, segments: u64) -> SimIo {
    let io = SimIo::new(seed);
    let capacity_bytes = segments * LOG.segment_bytes + (1 << 20);
    io.set_faults(Faults { capacity_bytes, ..io.faults() });
    io
}

/// Appends until the disk is full: first to "kept" alone, for more than a segment, then to "busy",
/// with a little for "kept" in between. Returns what "kept" holds.
async fn fill(shard: &Shard) -> Vec<Vec<u8>> {
    create_basin(shard).await;
    provision(shard, create("kept")).await;
    provision(shard, create("busy")).await;
    let mut kept = Vec::new();
    while shard.segments.active().epoch == 1 {
        kept.push(body(kept.len(), 60_000));
        append(shard, "kept", batch(&kept[kept.len() - 1])).await;
    }
    for number in 0.. {
        assert!(number < 1_000, "the disk is never full");
        let is_kept = number % 10 == 9;
        let next = body(if is_kept { kept.len() } else { number }, 60_000);
        let name = if is_kept { "kept" } else { "busy" };
        if !has_room_for(shard, name, batch(&next)).await {
            break;
        }
        if is_kept {
            kept.push(next);
        }
    }
    kept
}

/// Waits until an append is taken; returns how long that took, in microseconds.
async fn wait_for_room(shard: &Shard) -> u64 {
    let began_us = shard.io.now_us();
    while !has_room_for(shard, "busy", batch(b"again")).await {
        let took_us = shard.io.now_us() - began_us;
        assert!(took_us < 60 * SECOND_US, "no room after a minute");
        shard.io.sleep_us(SECOND_US / 10).await;
    }
    shard.io.now_us() - began_us
}

#[test]
fn space_behind_a_segment_of_which_all_lives_comes_back() {
    let io = small_disk(31, 8);
    live(&io, async |shard| {
        let kept = fill(&shard).await;
        shard.io.sleep_us(3 * SECOND_US).await;
        assert!(!has_room_for(&shard, "busy", batch(b"refused")).await);
        assert!(shard.segments.is_out_of_space());
        let oldest = shard.segments.get(1).expect("the oldest is there");
        assert!(
            shard.needed_bytes(&oldest).await.expect("readable") as u64 > oldest.bytes * 9 / 10
        );
        assert_eq!(shard.metrics.snapshot().moved_bytes, 0, "there was nothing to win");

        trim(&shard, "busy");
        let took_us = wait_for_room(&shard).await;
        assert!(took_us < 10 * SECOND_US, "{took_us} us");
        let moved_bytes = shard.metrics.snapshot().moved_bytes;
        assert!(moved_bytes > oldest.bytes * 9 / 10, "the oldest was copied: {moved_bytes}");
        assert!(shard.segments.oldest_epoch() > 2);
        // And it was no crumb: another segment is taken.
        for number in 0..60 {
            while !has_room_for(&shard, "busy", batch(&body(number, 60_000))).await {
                shard.io.sleep_us(SECOND_US / 10).await;
            }
        }
        assert_eq!(bodies(&shard, "kept").await, kept);
    });
    assert_whole(&io, LOG);
}

/// A checkpoint, without which no segment is given up, finds room only where some was kept for it.
#[test]
fn a_disk_without_room_for_a_checkpoint_gives_space_back() {
    let io = SimIo::new(33);
    live(&io, async |shard| {
        shard.io.sleep_us(SECOND_US).await;
        let files = shard.io.list().expect("lists");
        let others = files.iter().filter(|(name, _)| !name.starts_with("segment-"));
        let others_bytes: u64 = others.map(|(_, bytes)| bytes).sum();
        let capacity_bytes = 6 * LOG.segment_bytes + others_bytes;
        io.set_faults(Faults { capacity_bytes, ..io.faults() });
        let kept = fill(&shard).await;
        shard.io.sleep_us(3 * SECOND_US).await;
        assert!(shard.checkpoint().await.expect_err("no room").is_out_of_space());
        trim(&shard, "busy");
        wait_for_room(&shard).await;
        assert_eq!(bodies(&shard, "kept").await, kept);
    });
    assert_whole(&io, LOG);
}

/// Power goes at any moment of it, several times: what was held back is there for the next life.
#[test]
fn power_cuts_on_a_full_disk_lose_nothing_and_space_comes_back() {
    let first: u64 = std::env::var("THALWEG_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    for seed in first..first + 12 {
        println!("repeat with THALWEG_SEED={seed} cargo test --lib power_cuts_on_a_full_disk");
        let mut io = small_disk(seed, 6);
        let faults = io.faults();
        let mut kept = Vec::new();
        live(&io, async |shard| {
            kept = fill(&shard).await;
            trim(&shard, "busy");
            shard.io.sleep_us(seed * 37_000).await;
        });
        for cut in 0..3 {
            io = io.crash(seed * 10 + cut);
            io.set_faults(faults);
            live(&io, async |shard| {
                assert_eq!(bodies(&shard, "kept").await, kept, "seed {seed}, cut {cut}");
                // Should the first cut have taken it.
                trim(&shard, "busy");
                shard.io.sleep_us((seed * 53_000 + cut * 71_000) % 400_000).await;
            });
            assert_whole(&io, LOG);
        }
        io = io.kill(seed);
        io.set_faults(faults);
        live(&io, async |shard| {
            wait_for_room(&shard).await;
            assert_eq!(bodies(&shard, "kept").await, kept, "seed {seed}");
        });
    }
}

/// Room for two segments: the oldest is the one in use.
#[test]
fn a_disk_with_room_for_two_segments_goes_on() {
    let io = small_disk(32, 2);
    live(&io, async |shard| {
        create_basin(&shard).await;
        provision(&shard, create("kept")).await;
        provision(&shard, create("busy")).await;
        let mut kept = Vec::new();
        let mut waited_us = 0;
        for number in 0..400 {
            let next = batch(&body(number, 60_000));
            if !has_room_for(&shard, "busy", next).await {
                trim(&shard, "busy");
                waited_us += wait_for_room(&shard).await;
            }
            if number % 40 == 0 {
                kept.push(body(kept.len(), 60_000));
                while !has_room_for(&shard, "kept", batch(&kept[kept.len() - 1])).await {
                    trim(&shard, "busy");
                    waited_us += wait_for_room(&shard).await;
                }
            }
        }
        assert!(waited_us > 0, "it was full at times");
        assert!(shard.segments.active().epoch > 8, "24 MiB went through it");
        assert_eq!(bodies(&shard, "kept").await, kept);
    });
    assert_whole(&io, LOG);
}

/// Trims take half of what was held back, also when it is in use already: the other half is the
/// cleaner's.
#[test]
fn trims_leave_room_to_clean_a_segment_of_which_little_lives() {
    let io = small_disk(34, 4);
    live(&io, async |shard| {
        create_basin(&shard).await;
        provision(&shard, create("kept")).await;
        provision(&shard, create("busy")).await;
        let mut kept = Vec::new();
        for number in 0.. {
            assert!(number < 1_000, "the disk is never full");
            let is_kept = number % 5 == 4;
            let next = body(if is_kept { kept.len() } else { number }, 60_000);
            let name = if is_kept { "kept" } else { "busy" };
            if !has_room_for(&shard, name, batch(&next)).await {
                break;
            }
            if is_kept {
                kept.push(next);
            }
        }
        let full_in = shard.segments.active().epoch;
        let mut refused = 0;
        while refused < 2 {
            if shard.check_room_to_trim().is_err() {
                refused += 1;
                // The cleaner finds out that there is no room for what it would win space with.
                shard.io.sleep_us(SECOND_US).await;
                continue;
            }
            refused = 0;
            // Metadata is logged here without asking for room, and takes as much as a trim.
            let stream = stream(&shard, "kept");
            shard.settle(shard.log_stream(&stream.record(), &stream)).await.expect("durable");
        }
        assert!(shard.segments.uses_held_back(), "{full_in} is left");
        assert_eq!(shard.segments.spare_count(), 0);
        let left = shard.segments.room_to_free_bytes();
        let half = LOG.segment_bytes / 2;
        assert!((half - 64 * 1024..half + 64 * 1024).contains(&left), "{left} bytes left");
        assert_eq!(shard.metrics.snapshot().moved_bytes, 0, "there was nothing to win");

        let call = Call::DeleteStream(path("busy"));
        shard.handle(call).await.expect("deletions may use the other half");
        provision_when_there_is_room(&shard, "busy").await;
        assert!(shard.metrics.snapshot().moved_bytes > 0, "each segment holds some of \"kept\"");
        assert!(!shard.segments.is_out_of_space());
        assert_eq!(bodies(&shard, "kept").await, kept);
    });
    assert_whole(&io, LOG);
}

async fn provision_when_there_is_room(shard: &Shard, name: &str) {
    for _ in 0..600 {
        match shard.handle(create(name)).await {
            Ok(_) => return,
            Err(Refusal::HotServer(_)) => shard.io.sleep_us(SECOND_US / 10).await,
            Err(Refusal::StreamDeletionPending(_)) => shard.io.sleep_us(SECOND_US / 10).await,
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("no room after a minute");
}

/// The log leaves the segment in use later than the cleaner waits for it, and then nothing comes
/// that would be written to the next one.
#[test]
fn a_slow_disk_leaves_the_segment_in_use_later_and_still_gives_it_back() {
    for seed in 35..39 {
        let io = small_disk(seed, 2);
        live(&io, async |shard| {
            create_basin(&shard).await;
            provision(&shard, create("busy")).await;
            let mut number = 0;
            while has_room_for(&shard, "busy", batch(&body(number, 60_000))).await {
                number += 1;
            }
            trim(&shard, "busy");
            while stream(&shard, "busy").stored_bytes() > 0 {
                shard.io.sleep_us(100).await;
            }
            let faults = io.faults();
            io.set_faults(Faults { latency_us_max: 3 * SECOND_US, ..faults });
            shard.io.sleep_us(10 * SECOND_US).await;
            assert_eq!(shard.segments.active().epoch, 2, "seed {seed}: it was left");
            io.set_faults(faults);
            wait_for_room(&shard).await;
        });
        assert_whole(&io, LOG);
    }
}

fn segment_files(io: &SimIo) -> usize {
    let files = io.list().expect("lists");
    files.iter().filter(|(name, _)| name.starts_with("segment-")).count()
}

/// A file that was removed would have to be created anew, and filled with zeros.
#[test]
fn dead_files_are_kept_for_the_spares_that_are_missing() {
    let io = small_disk(40, 7);
    live(&io, async |shard| {
        create_basin(&shard).await;
        provision(&shard, create("busy")).await;
        let mut number = 0;
        while has_room_for(&shard, "busy", batch(&body(number, 60_000))).await {
            number += 1;
        }
        shard.io.sleep_us(SECOND_US).await;
        assert_eq!((segment_files(&io), shard.segments.spare_count()), (7, 1));
        shard.handle(Call::DeleteStream(path("busy"))).await.expect("deleted");
        shard.io.sleep_us(5 * SECOND_US).await;
        assert_eq!(shard.segments.spare_count(), 2);
        assert_eq!(segment_files(&io), 4, "the one in use, two spares and a dead one");
    });
}

#[test]
fn zeros_run_ahead_of_the_log_on_a_full_disk() {
    let io = small_disk(41, 2);
    live(&io, async |shard| {
        shard.io.sleep_us(3 * SECOND_US).await;
        assert!(shard.segments.is_out_of_space());
        assert!(!shard.segments.active().wants_zeros());
    });
}
