//! Each fault does what it says, is counted, and happens only when asked for.

use super::*;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// A disk with a file of eight blocks of ones, all durable; and the file.
async fn ones(io: &SimIo) -> SimFile {
    let file = io.create("file", 8 * BLOCK).await.unwrap();
    file.write_at(filled(io, 8, 1), 0).await.unwrap();
    file.sync().await.unwrap();
    io.sync_dir().await.unwrap();
    file
}

fn bytes(io: &SimIo) -> Vec<u8> {
    io.contents("file").expect("there")
}

fn live(seed: u64, life: impl AsyncFnOnce(&SimIo, SimFile)) -> SimIo {
    let io = SimIo::new(seed);
    SimRuntime::new(&io).block_on(async {
        let file = ones(&io).await;
        life(&io, file).await;
    });
    io
}

#[test]
fn a_short_write_leaves_its_beginning_and_fails() {
    for seed in 0..20 {
        let io = live(seed, async |io, file| {
            io.set_faults(Faults { short_write: Some(0), ..io.faults() });
            let failed = file.write_at(filled(io, 2, 2), BLOCK).await.unwrap_err();
            assert_eq!(failed.source.kind(), std::io::ErrorKind::WriteZero);
        });
        let after = bytes(&io);
        let written = after.iter().filter(|b| **b == 2).count();
        assert!(written < 2 * BLOCK_BYTES && written.is_multiple_of(512), "{written}");
        assert!(after[BLOCK_BYTES..][..written].iter().all(|b| *b == 2), "seed {seed}");
        assert_eq!(io.fault_counts().of(FaultKind::ShortWrite), 1);
    }
}

#[test]
fn a_lost_write_is_reported_as_done() {
    let io = live(1, async |io, file| {
        io.set_faults(Faults { lose_write: Some(1), ..io.faults() });
        file.write_at(filled(io, 1, 2), 0).await.unwrap();
        file.write_at(filled(io, 1, 2), BLOCK).await.unwrap();
        file.sync().await.unwrap();
    });
    assert_eq!((bytes(&io)[0], bytes(&io)[BLOCK_BYTES]), (2, 1));
    let [mishap] = &io.mishaps()[..] else { panic!("{:?}", io.mishaps()) };
    assert_eq!((mishap.kind, mishap.extent.offset_bytes), (FaultKind::LostWrite, BLOCK));
}

#[test]
fn a_misdirected_write_lands_elsewhere_and_durably() {
    for seed in 0..20 {
        let io = live(seed, async |io, file| {
            io.set_faults(Faults { misdirect_write: Some(0), ..io.faults() });
            file.write_at(filled(io, 1, 2), 3 * BLOCK).await.unwrap();
            file.sync().await.unwrap();
        });
        let after = bytes(&io.crash(seed));
        let hit = after.chunks(BLOCK_BYTES).position(|block| block == [2; BLOCK_BYTES]);
        let hit = hit.expect("one block was written");
        assert_ne!(hit, 3);
        assert_eq!(after.iter().filter(|b| **b == 2).count(), BLOCK_BYTES);
        let landed = io.mishaps()[0].landed.clone().expect("somewhere");
        assert_eq!(landed, ("file".to_owned(), hit as u64 * BLOCK));
    }
}

#[test]
fn an_unreadable_sector_stays_so_until_it_is_written() {
    let io = live(2, async |io, file| {
        io.spoil_sector("file", BLOCK + 700);
        let block = |at: u64| Extent { offset_bytes: at, len_bytes: BLOCK_BYTES };
        file.read_at(block(0)).await.unwrap();
        assert_eq!(file.read_at(block(BLOCK)).await.unwrap_err().offset_bytes, BLOCK);
    });
    let io = io.crash(3);
    SimRuntime::new(&io).block_on(async {
        let file = io.open("file").await.unwrap();
        let all = Extent { offset_bytes: 0, len_bytes: 8 * BLOCK_BYTES };
        file.read_at(all).await.unwrap_err();
        file.write_at(filled(&io, 1, 2), BLOCK).await.unwrap();
        file.read_at(all).await.unwrap();
    });
    assert_eq!(io.fault_counts().of(FaultKind::Unreadable), 2);
}

#[test]
fn a_flipped_bit_is_durable() {
    let io = live(3, async |io, _| io.flip_bit("file", 5000, 3));
    let after = bytes(&io.crash(4));
    assert_eq!(after[5000], 1 ^ 8);
    assert_eq!(after.iter().filter(|b| **b != 1).count(), 1);
}

#[test]
fn slow_and_stuck_operations_take_their_time_and_end() {
    live(4, async |io, file| {
        let before_us = io.now_us();
        io.set_faults(Faults { stick: Some((1, 5_000_000)), ..io.faults() });
        file.sync().await.unwrap();
        assert!(io.now_us() - before_us < 1_000);
        file.sync().await.unwrap();
        assert!(io.now_us() - before_us > 5_000_000);
        io.set_faults(Faults { slow: Some((2, 100_000)), ..Faults::default() });
        let before_us = io.now_us();
        for _ in 0..20 {
            file.sync().await.unwrap();
        }
        assert!(io.now_us() - before_us > 50_000);
        let counts = io.fault_counts();
        let slow = counts.of(FaultKind::Slow);
        assert!((2..19).contains(&slow) && counts.of(FaultKind::Stuck) == 1, "{counts}");
    });
}

#[test]
fn the_wall_clock_goes_back_and_the_other_does_not() {
    let io = live(5, async |io, _| {
        io.sleep_us(1_000_000).await;
        let (now_us, wall_us) = (io.now_us(), io.wall_us());
        io.set_wall_back(300_000);
        assert_eq!((io.now_us(), io.wall_us()), (now_us, wall_us - 300_000));
        assert_eq!(io.wall_high_us(), wall_us);
    });
    let next = io.crash(1);
    assert_eq!((next.wall_us(), next.wall_high_us()), (io.wall_us(), io.wall_high_us()));
}

#[test]
fn what_a_crash_did_is_counted_where_it_made_a_difference() {
    let io = live(6, async |_, _| {});
    let _after = io.crash(1);
    assert_eq!(io.fault_counts(), FaultCounts::default());
    for seed in 0..30 {
        live(seed, async |io, file| {
            file.write_at(filled(io, 1, 2), 0).await.unwrap();
            file.write_at(filled(io, 1, 3), BLOCK).await.unwrap();
            io.create("other", BLOCK).await.unwrap();
            for crash in 0..50 {
                let _after = io.crash(crash);
            }
            let counts = io.fault_counts();
            assert!(counts.of(FaultKind::TornWrite) > 50, "{counts}");
            assert!((10..40).contains(&counts.of(FaultKind::LostName)), "{counts}");
            assert_eq!(counts.of(FaultKind::NoSpace), 0, "{counts}");
        });
    }
}

#[test]
fn every_way_to_lose_what_is_open_can_be_asked_for() {
    let io = live(7, async |io, file| {
        let mut block = io.alloc(BLOCK_BYTES);
        block.as_mut().fill(1);
        block.as_mut()[..1000].fill(2);
        file.write_at(Rc::new(block), 0).await.unwrap();
        io.rename("file", "renamed").unwrap();
    });
    let (writes, names) = io.open_questions();
    assert_eq!((writes.len(), names), (2, 1), "the other sectors are as they were");
    let mut seen = std::collections::BTreeSet::new();
    for set in 0..8 {
        let image = io.crash_choosing(1, |at| set >> at & 1 == 1, |_| set & 4 != 0);
        let name = if set & 4 == 0 { "file" } else { "renamed" };
        seen.insert((name, image.contents(name).expect("under one name")));
    }
    assert_eq!(seen.len(), 8);
}
