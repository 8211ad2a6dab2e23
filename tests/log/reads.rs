//! What reading old data costs the disk, and that it is never stale. On the simulated device,
//! whose trace says what was read.

use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future;
use thalweg::io::sim::{Faults, SimIo, SimRuntime, Stream};
use thalweg::io::{Clock, Disk};
use thalweg::log::chunk::CHUNK_BYTES;
use thalweg::log::entry::Kind;
use thalweg::log::index::IndexEntry;
use thalweg::log::loads::LOADS_MAX;
use thalweg::log::reader::ReadError;
use thalweg::log::segment::LogFacts;

use crate::kit::{Appended, FACTS, Life, appended, kept, open_as};

const LARGE: LogFacts = LogFacts { segment_bytes: 8 << 20, ..FACTS };

/// A log of one stream, `bytes` long at least, as the process before has left it: nothing of it
/// is in memory. Batches are of `lengths`, in turn.
fn old_log(seed: u64, facts: LogFacts, bytes: usize, lengths: &[usize]) -> (SimIo, Vec<Appended>) {
    let io = SimIo::new(seed);
    let mut dice = Stream::new(seed, "reads");
    let appended = SimRuntime::new(&io).block_on(async {
        let life = open_as(&Rc::new(io.clone()), facts).await.unwrap();
        let body = Box::pin(async {
            let mut written = 0;
            for len in lengths.iter().cycle() {
                life.append_durably(&mut dice, 1, *len).await;
                written += len;
                if written >= bytes {
                    break;
                }
            }
            life.appended.take()
        });
        kept(&life, body).await
    });
    (io.kill(seed), appended)
}

/// A life of the process on a log that was there before.
fn in_old_log<T>(io: &SimIo, facts: LogFacts, body: impl AsyncFnOnce(&Life<SimIo>) -> T) -> T {
    SimRuntime::new(io).block_on(async {
        let life = open_as(&Rc::new(io.clone()), facts).await.unwrap();
        Box::pin(body(&life)).await
    })
}

fn reads_of_disk(io: &SimIo) -> usize {
    io.trace().iter().filter(|event| event.what == "read").count()
}

fn spans(life: &Life<SimIo>) -> Vec<IndexEntry> {
    life.index.borrow()[&1].iter().collect()
}

/// The batches of a span, out of the frames that the reader returns.
async fn read_span(life: &Life<SimIo>, span: IndexEntry) -> Result<Vec<Appended>, ReadError> {
    let mut batches = Vec::new();
    for frame in life.reader.span(span).await? {
        for entry in thalweg::log::entry::entries(frame.payload()).map(Result::unwrap) {
            assert_eq!(entry.kind, Kind::Batch);
            let batch = thalweg::log::entry::Batch::of(&entry).unwrap();
            batches.push(appended(&batch).unwrap());
        }
    }
    Ok(batches)
}

#[test]
fn many_readers_of_one_stream_read_the_disk_once() {
    let (io, model) = old_log(1, LARGE, 6 << 20, &[3_000, 40_000, 90_000]);
    in_old_log(&io, LARGE, async |life| {
        let (before, counted) = (reads_of_disk(&io), life.reader.counts());
        let all = future::join_all((0..50).map(|_| life.read_stream(1))).await;
        assert!(all.iter().all(|read| *read == model));
        let reads = reads_of_disk(&io) - before;
        let chunks = (life.segments.active().end_bytes()).div_ceil(u64::from(CHUNK_BYTES));
        // Each chunk once, and a little at the first places, before they count as a walk.
        let most = usize::try_from(chunks).unwrap() + 3;
        assert!(reads <= most, "{reads} reads of {chunks} chunks");
        let counts = life.reader.counts();
        assert_eq!(counts.reads - counted.reads, reads as u64);
        assert!(counts.read_bytes <= (chunks + 1) * u64::from(CHUNK_BYTES), "{counts:?}");
        assert!(counts.cache_hits > 50 * (chunks - 2), "{counts:?}");
    });
}

#[test]
fn what_comes_next_is_read_while_the_reader_is_busy() {
    let (io, _) = old_log(2, LARGE, 6 << 20, &[16_000]);
    in_old_log(&io, LARGE, async |life| {
        io.set_faults(Faults { latency_us_max: 1000, ..io.faults() });
        let mut waited = Vec::new();
        for span in spans(life) {
            let before_us = io.now_us();
            read_span(life, span).await.unwrap();
            waited.push(io.now_us() - before_us);
            io.sleep_us(1_100).await; // it spells what it read
        }
        // Once where it came in, and once or twice before it counts as going through the log.
        let waits = waited.iter().filter(|us| **us > 0).count();
        assert!(waits <= 3, "{waits} of {} spans were waited for: {waited:?}", waited.len());
    });
}

#[test]
fn a_single_read_reads_little_and_the_same_again_nothing() {
    let (io, model) = old_log(3, LARGE, 4 << 20, &[16_000]);
    in_old_log(&io, LARGE, async |life| {
        let spans = spans(life);
        for at in [40, 20, 30] {
            let before = life.reader.counts();
            for _ in 0..3 {
                let batches = read_span(life, spans[at]).await.unwrap();
                let first = usize::try_from(spans[at].seq_num).unwrap();
                assert!(batches == model[first..first + batches.len()]);
            }
            let after = life.reader.counts();
            assert_eq!(after.reads - before.reads, 1);
            assert_eq!(after.read_bytes - before.read_bytes, 128 * 1024);
            assert_eq!(after.cache_hits - before.cache_hits, 2);
        }
    });
}

#[test]
fn two_single_reads_that_happen_to_meet_are_no_walk() {
    let (io, _) = old_log(11, LARGE, 4 << 20, &[60_000]);
    in_old_log(&io, LARGE, async |life| {
        let spans = spans(life);
        let before = life.reader.counts();
        // One span ends where the other begins, or a little before.
        for at in [10, 11, 14, 30, 29] {
            read_span(life, spans[at]).await.unwrap();
        }
        let after = life.reader.counts();
        let (reads, bytes) = (after.reads - before.reads, after.read_bytes - before.read_bytes);
        assert_eq!(reads, 5);
        assert_eq!(bytes, reads * 128 * 1024, "nothing is read ahead");
    });
}

#[test]
fn the_read_goes_on_when_who_began_it_goes_away() {
    let (io, model) = old_log(4, LARGE, 1 << 20, &[16_000]);
    in_old_log(&io, LARGE, async |life| {
        let span = spans(life)[3];
        let before = reads_of_disk(&io);
        let mut first = Box::pin(life.reader.span(span));
        assert!((&mut first).now_or_never().is_none(), "the disk takes time");
        let mut second = Box::pin(read_span(life, span));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        let at = usize::try_from(span.seq_num).unwrap();
        assert!(second.await.unwrap()[0] == model[at]);
        assert_eq!(reads_of_disk(&io) - before, 1);
        // When all go away, nothing is left behind that a later one would wait for.
        let span = spans(life)[9];
        let mut first = Box::pin(life.reader.span(span));
        assert!((&mut first).now_or_never().is_none());
        drop(first);
        read_span(life, span).await.unwrap();
        assert_eq!(reads_of_disk(&io) - before, 3);
    });
}

#[test]
fn readers_of_many_places_wait_in_line_and_none_is_left_out() {
    let (io, _) = old_log(5, LARGE, 7 << 20, &[16_000]);
    in_old_log(&io, LARGE, async |life| {
        let far_apart: Vec<IndexEntry> = spans(life).into_iter().step_by(3).collect();
        assert!(far_apart.len() > 4 * LOADS_MAX);
        let before = reads_of_disk(&io);
        let mut reading: Vec<_> =
            far_apart.iter().map(|span| Box::pin(read_span(life, *span))).collect();
        for read in &mut reading {
            assert!(read.now_or_never().is_none());
        }
        assert_eq!(reads_of_disk(&io) - before, LOADS_MAX, "under way");
        // Some give up: those under way, and those in line.
        let mut number = 0;
        reading.retain(|_| {
            number += 1;
            number % 3 != 0
        });
        for batches in future::join_all(reading).await {
            assert!(!batches.unwrap().is_empty());
        }
    });
}

#[test]
fn the_cache_keeps_to_its_bound() {
    let (io, model) = old_log(6, FACTS, 12 << 20, &[3_000, 200_000, 30_000]);
    in_old_log(&io, FACTS, async |life| {
        for _ in 0..2 {
            let mut read = Vec::new();
            for span in spans(life) {
                read.extend(read_span(life, span).await.unwrap());
                let cached = life.reader.cached_bytes();
                assert!((1..=4 << 20).contains(&cached), "{cached}");
            }
            assert!(read == model);
        }
    });
}

#[test]
fn frames_longer_than_a_chunk_are_put_together() {
    let lengths = [900_000, 100, 700_000, 30_000];
    let (io, model) = old_log(7, LARGE, 20 << 20, &lengths);
    in_old_log(&io, LARGE, async |life| {
        let far: Vec<_> = spans(life).into_iter().rev().collect();
        for span in far {
            let first = usize::try_from(span.seq_num).unwrap();
            assert!(read_span(life, span).await.unwrap()[0] == model[first]);
        }
        assert!(life.read_stream(1).await == model);
    });
}

/// What lies beyond the durable end when a chunk is read must not be remembered as it was.
#[test]
fn a_growing_tail_is_never_stale() {
    let (io, mut model) = old_log(8, LARGE, 1 << 20, &[16_000]);
    let mut dice = Stream::new(8, "tail");
    in_old_log(&io, LARGE, async |life| {
        for round in 0..200 {
            // The window forgets, so that all of it comes from the disk after a while.
            let len = 1 + dice.index(60_000);
            life.append_durably(&mut dice, 1, len).await;
            model.extend(life.appended.take());
            if round % 7 == 0 {
                assert!(life.read_stream(1).await == model, "round {round}");
            }
            let last = *spans(life).last().unwrap();
            let read = read_span(life, last).await.unwrap();
            assert!(read.last() == model.last(), "round {round}");
        }
    });
}

#[test]
fn damage_is_reported_with_its_place_each_time_and_a_failed_read_is_tried_again() {
    let (io, _) = old_log(9, LARGE, 2 << 20, &[16_000]);
    in_old_log(&io, LARGE, async |life| {
        let span = spans(life)[5];
        let name = life.segments.active();
        let name = thalweg::io::LogFile::name(&name.file).to_owned();
        let whole = io.contents(&name).unwrap();
        let mut bad = whole.clone();
        bad[span.pos.offset_bytes as usize + 5_000] ^= 1;
        io.put_contents(&name, bad);
        for _ in 0..2 {
            match read_span(life, span).await {
                Err(ReadError::Damaged { file, offset_bytes, .. }) => {
                    assert_eq!((file, offset_bytes), (name.clone(), span.pos.offset_bytes));
                }
                other => panic!("{:?}", other.map(|batches| batches.len())),
            }
        }
        // Too short now: the read itself fails, for both who wait for it, and mends later.
        let span = spans(life)[20];
        io.put_contents(&name, whole[..span.pos.offset_bytes as usize].to_vec());
        let both = future::join(read_span(life, span), read_span(life, span)).await;
        for failed in [both.0, both.1] {
            assert!(matches!(failed, Err(ReadError::Io(error)) if error.operation == "read"));
        }
        io.put_contents(&name, whole);
        assert!(!read_span(life, span).await.unwrap().is_empty());
    });
}

#[test]
fn a_segment_that_was_given_up_is_not_read_from_memory() {
    let (io, model) = old_log(10, FACTS, 4 << 20, &[16_000]);
    in_old_log(&io, FACTS, async |life| {
        let spans = spans(life);
        assert!(life.read_stream(1).await == model);
        // One read is under way when its segment is given up, and the file used again.
        let (first, last) = (spans[0], *spans.last().unwrap());
        assert!(first.pos.segment + 2 < last.pos.segment);
        let mut under_way = Box::pin(life.reader.span(first));
        let pending = (&mut under_way).now_or_never().is_none();
        life.segments.release_before(last.pos.segment);
        let file = thalweg::log::segment::file_name(1);
        let bytes = io.contents(&file).unwrap();
        io.put_contents(&file, vec![0; bytes.len()]);
        if pending {
            assert!(matches!(under_way.await.as_deref(), Ok([]) | Err(_)));
        }
        let again = read_span(life, first).await;
        assert!(matches!(again, Err(ReadError::Released(epoch)) if epoch == first.pos.segment));
        // What is read next finds the room that the dead took.
        read_span(life, last).await.unwrap();
        assert!(life.reader.cached_bytes() <= usize::try_from(FACTS.segment_bytes).unwrap());
        assert!(io.list().unwrap().len() > 2);
    });
}
