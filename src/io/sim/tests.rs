//! The simulation itself: that a seed decides everything, and that a crash loses only what it may.

use futures_util::future;

use super::*;
use crate::io::{BLOCK_BYTES, Extent, Io, LogFile};

fn filled(io: &SimIo, blocks: usize, byte: u8) -> Rc<SimBuf> {
    let mut buf = io.alloc(blocks * BLOCK_BYTES);
    buf.as_mut().fill(byte);
    Rc::new(buf)
}

/// Some tasks that write, sync, sleep and draw numbers beside each other.
fn busy_run(seed: u64) -> (Vec<Event>, Vec<u64>) {
    let io = SimIo::new(seed);
    let runtime = SimRuntime::new(&io);
    let tasks: Vec<_> = (0..5u8)
        .map(|n| {
            let io = io.clone();
            runtime.spawn(async move {
                let name = format!("file-{n}");
                let file = io.create(&name, 4 * BLOCK_BYTES as u64).await.unwrap();
                for block in 0..4 {
                    file.write_at(filled(&io, 1, n), block * BLOCK_BYTES as u64).await.unwrap();
                    io.sleep_us(io.next_u64() % 100).await;
                    file.sync().await.unwrap();
                }
                io.now_us()
            })
        })
        .collect();
    let ends = runtime.block_on(future::join_all(tasks));
    (io.trace(), ends)
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for seed in 0..20 {
        assert_eq!(busy_run(seed), busy_run(seed), "seed {seed}");
        assert_ne!(busy_run(seed), busy_run(seed + 1), "seed {seed}");
    }
}

#[test]
fn streams_of_one_seed_are_unlike_each_other() {
    let draws = |purpose| {
        let mut stream = Stream::new(7, purpose);
        [stream.next_u64(), stream.next_u64()]
    };
    assert_eq!(draws("latency"), draws("latency"));
    assert_ne!(draws("latency"), draws("crash"));
    assert_ne!(draws("ab"), draws("ba"));
}

#[test]
fn time_moves_only_when_nobody_can_run_and_only_as_far_as_needed() {
    let io = SimIo::new(1);
    let runtime = SimRuntime::new(&io);
    runtime.block_on(async {
        io.sleep_us(70).await;
        assert_eq!(io.now_us(), 70);
        let long = std::pin::pin!(io.sleep_us(1_000_000));
        let short = std::pin::pin!(io.sleep_us(5));
        future::select(long, short).await;
        assert_eq!(io.now_us(), 75, "a wait that was given up moves no time");
        io.sleep_us(0).await;
        assert_eq!(io.now_us(), 75);
    });
}

#[test]
fn a_future_that_nothing_can_wake_is_found_out() {
    let io = SimIo::new(1);
    assert_eq!(SimRuntime::new(&io).run(future::pending::<()>()), None);
}

async fn read<I: Io>(io: &I, name: &str) -> Vec<u8> {
    let file = io.open(name).await.unwrap();
    let len_bytes = 2 * BLOCK_BYTES;
    file.read_at(Extent { offset_bytes: 0, len_bytes }).await.unwrap().as_ref().to_vec()
}

/// A file whose first block is synced; its second is written over it, and is not.
fn half_synced(seed: u64) -> SimIo {
    let io = SimIo::new(seed);
    SimRuntime::new(&io).block_on(async {
        let file = io.create("file", 2 * BLOCK_BYTES as u64).await.unwrap();
        file.write_at(filled(&io, 2, 1), 0).await.unwrap();
        file.sync().await.unwrap();
        io.sync_dir().await.unwrap();
        file.write_at(filled(&io, 1, 2), BLOCK_BYTES as u64).await.unwrap();
        assert_eq!(read(&io, "file").await[BLOCK_BYTES], 2, "reads see what was written");
    });
    io
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_tears_the_rest_at_sectors() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..50 {
        let after = half_synced(seed).crash(seed);
        let bytes = after.contents("file").expect("its name was synced");
        assert_eq!(bytes[..BLOCK_BYTES], [1; BLOCK_BYTES]);
        for sector in bytes[BLOCK_BYTES..].chunks(512) {
            assert!(sector == [1; 512] || sector == [2; 512], "old or new, never a mixture");
            *(if sector[0] == 2 { &mut kept } else { &mut lost }) += 1;
        }
        assert_eq!(after.crash(seed + 1).contents("file"), Some(bytes), "what survived stays");
    }
    assert!(kept > 100 && lost > 100, "both happen: {kept} kept, {lost} lost");
}

#[test]
fn every_subset_of_unsynced_sectors_can_be_asked_for() {
    let io = half_synced(3);
    assert_eq!(io.unsynced_sectors(), 8);
    let after = io.crash_keeping(0, |sector| sector == 5);
    let bytes = after.contents("file").unwrap();
    let seen: Vec<u8> = bytes[BLOCK_BYTES..].chunks(512).map(|s| s[0]).collect();
    assert_eq!(seen, [1, 1, 1, 1, 1, 2, 1, 1]);
}

#[test]
fn the_death_of_the_process_loses_nothing_that_was_written() {
    let after = half_synced(9).kill(1);
    assert_eq!(after.contents("file").unwrap()[BLOCK_BYTES..], [2; BLOCK_BYTES]);
    assert_eq!(after.unsynced_sectors(), 8, "nor is it durable because of that");
}

#[test]
fn a_sync_covers_only_writes_that_had_completed() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..40 {
        let io = SimIo::new(seed);
        SimRuntime::new(&io).block_on(async {
            let file = io.create("file", 2 * BLOCK_BYTES as u64).await.unwrap();
            io.sync_dir().await.unwrap();
            // Both begin together, so the write is under way when the sync begins.
            let write = file.write_at(filled(&io, 1, 1), 0);
            future::join(write, file.sync()).await.0.unwrap();
        });
        let bytes = io.crash(seed).contents("file").unwrap();
        kept += bytes.iter().filter(|b| **b == 1).count();
        lost += BLOCK_BYTES - bytes[..BLOCK_BYTES].iter().filter(|b| **b == 1).count();
    }
    assert!(kept > 0 && lost > 0);
}

#[test]
fn names_are_kept_or_lost_until_the_directory_is_synced() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let io = SimIo::new(seed);
        SimRuntime::new(&io).block_on(async {
            for name in ["old", "gone"] {
                io.create(name, 8192).await.unwrap();
            }
            io.sync_dir().await.unwrap();
            io.create("new", 8192).await.unwrap();
            io.rename("old", "renamed").unwrap();
            io.remove("gone").unwrap();
        });
        let names = |io: &SimIo| -> Vec<String> {
            io.list().unwrap().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(&io), ["new", "renamed"]);
        assert_eq!(names(&io.kill(seed)), ["new", "renamed"]);
        seen.insert(names(&io.crash(seed)));
        SimRuntime::new(&io).block_on(io.sync_dir()).unwrap();
        assert_eq!(names(&io.crash(seed)), ["new", "renamed"], "synced names survive");
    }
    assert_eq!(seen.len(), 8, "three changes, each kept or lost by itself");
}

#[test]
fn faults_happen_when_asked_for_and_once() {
    let io = SimIo::new(4);
    SimRuntime::new(&io).block_on(async {
        let file = io.create("file", 8192).await.unwrap();
        let fail_write = Some((1, std::io::ErrorKind::StorageFull));
        io.set_faults(Faults { fail_write, fail_sync: Some(0), ..io.faults() });
        file.write_at(filled(&io, 1, 1), 0).await.unwrap();
        let failed = file.write_at(filled(&io, 1, 2), 0).await.unwrap_err();
        assert!(failed.is_out_of_space() && failed.operation == "write", "{failed}");
        file.write_at(filled(&io, 1, 3), 0).await.unwrap();
        assert_eq!(file.sync().await.unwrap_err().operation, "sync");
        file.sync().await.unwrap();

        io.set_faults(Faults { capacity_bytes: 16384, ..Faults::default() });
        assert!(io.create("large", 12288).await.unwrap_err().is_out_of_space());
        assert_eq!(io.list().unwrap().len(), 1, "no file is left behind");
        io.create("small", 8192).await.unwrap();
        assert!(io.create("small", 4096).await.is_err(), "it exists");
        assert!(io.open("none").await.is_err() && io.remove("none").is_err());
        let beyond = Extent { offset_bytes: 8192, len_bytes: 4096 };
        assert!(file.read_at(beyond).await.is_err());
    });
}

mod faults;
