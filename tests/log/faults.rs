//! What happens when the device fails. Faults can only be asked of the simulated one.

use std::io::ErrorKind;
use std::rc::Rc;

use thalweg::io::Clock;
use thalweg::io::sim::{Faults, SimIo, SimRuntime, Stream};

use crate::kit::{kept, open, records};

/// Runs a log whose next flush meets `faults`; returns what it answers, and the device after.
fn flush_with(faults: impl FnOnce(Faults) -> Faults) -> (thalweg::io::IoError, SimIo) {
    let io = SimIo::new(5);
    let mut dice = Stream::new(1, "faults");
    let error = SimRuntime::new(&io).block_on(async {
        let life = open(&Rc::new(io.clone())).await.unwrap();
        life.append_durably(&mut dice, 1, 100).await;
        io.set_faults(faults(io.faults()));
        life.append(2, records(&mut dice, &[100]));
        life.flush().await.expect_err("the fault reaches who flushes")
    });
    (error, io)
}

#[test]
fn a_failed_write_is_reported_with_its_place() {
    let (error, _) = flush_with(|f| Faults { fail_write: Some((0, ErrorKind::Other)), ..f });
    assert_eq!((error.operation, error.file.as_str()), ("write", "segment-00000001.log"));
    assert_eq!((error.offset_bytes, error.len_bytes), (8192, 4096));
}

#[test]
fn a_failed_sync_is_reported_and_what_it_should_have_covered_is_whole_or_gone() {
    let mut kept = 0;
    for seed in 0..40 {
        let (error, io) = flush_with(|f| Faults { fail_sync: Some(0), ..f });
        assert_eq!(error.operation, "sync");
        let after = io.crash(seed);
        SimRuntime::new(&after).block_on(async {
            let found = open(&Rc::new(after.clone())).await.unwrap().found;
            assert_eq!(found.batches[0].stream, 1, "what was acknowledged is there");
            kept += found.batches.len() - 1;
        });
    }
    assert!((1..40).contains(&kept), "{kept}");
}

#[test]
fn one_failed_write_of_a_group_fails_the_group() {
    let io = SimIo::new(6);
    let mut dice = Stream::new(2, "faults");
    SimRuntime::new(&io).block_on(async {
        let life = open(&Rc::new(io.clone())).await.unwrap();
        for _ in 0..3 {
            life.append(1, records(&mut dice, &[200_000]));
        }
        io.set_faults(Faults { fail_write: Some((2, ErrorKind::Other)), ..io.faults() });
        assert_eq!(life.flush().await.unwrap_err().operation, "write");
    });
}

#[test]
fn a_full_disk_is_no_error_until_there_is_no_room_and_passes() {
    let io = SimIo::new(7);
    let mut dice = Stream::new(3, "faults");
    SimRuntime::new(&io).block_on(async {
        let life = open(&Rc::new(io.clone())).await.unwrap();
        let body = Box::pin(async {
            // Room for the segment in use and its spares, and no other.
            io.set_faults(Faults { capacity_bytes: 3 << 20, ..io.faults() });
            while life.segments.active().epoch == 1 {
                life.append_durably(&mut dice, 1, 100_000).await;
            }
            io.sleep_us(10_000_000).await;
            let room = life.segments.active().room_bytes() as u64;
            assert_eq!(life.segments.room_bytes(), room, "the last spare is held back");
            assert_eq!(life.segments.room_to_free_bytes(), room + (1 << 20));
            while life.segments.active().epoch == 2 {
                life.append_durably(&mut dice, 1, 100_000).await;
            }
            io.sleep_us(10_000_000).await;
            assert_eq!(life.segments.room_bytes(), 0, "there is none to hold back");
            io.set_faults(Faults::default());
            while life.segments.active().epoch == 3 {
                life.append_durably(&mut dice, 1, 100_000).await;
            }
            io.sleep_us(10_000_000).await;
        });
        kept(&life, body).await;
        assert_eq!(life.segments.file_count(), 6, "nothing was left behind meanwhile");
    });
}

#[test]
fn a_disk_that_fills_up_while_a_spare_is_made_loses_no_file() {
    let io = SimIo::new(8);
    let mut dice = Stream::new(4, "faults");
    SimRuntime::new(&io).block_on(async {
        let life = open(&Rc::new(io.clone())).await.unwrap();
        // The first write of the background is the header of the first spare.
        let fail_write = Some((0, ErrorKind::StorageFull));
        io.set_faults(Faults { fail_write, ..io.faults() });
        let body = Box::pin(async {
            io.sleep_us(5_000_000).await;
            while life.segments.active().epoch == 1 {
                life.append_durably(&mut dice, 1, 100_000).await;
            }
        });
        kept(&life, body).await;
    });
    let names: Vec<String> =
        thalweg::io::Disk::list(&io).unwrap().into_iter().map(|(n, _)| n).collect();
    assert!(names.iter().all(|n| n.as_str() <= "segment-00000004.log"), "{names:?}");
}

#[test]
fn a_failed_sync_of_the_background_ends_it() {
    let io = SimIo::new(9);
    SimRuntime::new(&io).block_on(async {
        let life = open(&Rc::new(io.clone())).await.unwrap();
        io.set_faults(Faults { fail_sync: Some(0), ..io.faults() });
        let error = Box::pin(life.segments.keep(&io)).await.unwrap_err();
        assert_eq!(error.operation, "sync");
    });
}
