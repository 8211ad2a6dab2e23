//! The index stays within its bound, and what is folded is found again, whatever happens to
//! footers, on a simulated disk.

use futures_util::future;

use super::*;
use crate::io::sim::{Faults, SimIo, Stream as Dice};
use crate::io::{BLOCK_BYTES, Clock, Disk, LogFile};
use crate::log::footer;
use crate::log::index::{ENTRY_BYTES, IndexEntry};
use crate::shard::call::{Asked, Call};
use crate::shard::engine::EngineConfig;
use crate::shard::read::{Budget, From};
use crate::shard::testkit::{
    CONFIG, LOG, Shard, basin, create, create_basin, live_configured, path, provision,
};
use crate::types::append::{AppendBuilder, Span};
use crate::types::{AppendInput, Retention};

const STREAMS: u64 = 150;
const ROUNDS: u64 = 60;
const BODY_BYTES: usize = 150;

/// Small segments, no memory for the index beyond what it must have, none for records.
fn config() -> EngineConfig {
    EngineConfig {
        log: crate::log::segment::LogFacts { segment_bytes: 512 * 1024, ..LOG },
        read_memory: crate::log::reader::ReadMemory { window_bytes_max: 0, cache_bytes_max: 0 },
        index_bytes_max: 0,
        ..CONFIG
    }
}

fn live<T>(io: &SimIo, life: impl AsyncFnOnce(Shard) -> T) -> T {
    live_configured(io, config(), |_, _| {}, life)
}

fn name(stream: u64) -> String {
    format!("stream-{stream}")
}

/// A record that says where it belongs, as long as others.
fn batch(stream: u64, round: u64) -> AppendInput {
    let mut body = format!("{stream} {round} ").into_bytes();
    body.resize(BODY_BYTES, b'.');
    let mut builder = AppendBuilder::default();
    let len = u32::try_from(body.len()).expect("small");
    builder.push_record(&body, Some(1_000 + 10 * round), Span { offset: 0, len }).expect("fits");
    builder.finish(body, None, None).expect("a batch")
}

/// Appends a record to each stream, again and again, and checks how many segments that takes.
async fn fill(shard: &Shard) {
    create_basin(shard).await;
    for stream in 0..STREAMS {
        provision(shard, create(&name(stream))).await;
    }
    for round in 0..ROUNDS {
        let append = |stream| {
            let (path, asked) = (path(&name(stream)), Asked::default());
            shard.handle(Call::Append {
                path,
                key: None,
                input: batch(stream, round),
                asked,
                receipt: false,
            })
        };
        let acks = future::join_all((0..STREAMS).map(append)).await;
        assert!(acks.iter().all(Result::is_ok));
    }
    assert!(shard.segments.active().epoch >= 4, "{}", shard.segments.active().epoch);
}

async fn fold_all(shard: &Shard) {
    while shard.fold_step().await.expect("the disk is whole") != Folded::Nothing {}
}

fn held(shard: &Shard, name: &str) -> Rc<Stream> {
    Rc::clone(shard.catalog.borrow().stream(&basin(), &path(name).stream).expect("there"))
}

/// The first record at or after a place, as its stream, round and number.
async fn first(shard: &Shard, stream: u64, from: From) -> (u64, u64, u64) {
    let held = held(shard, &name(stream));
    let mut budget = Budget { count: 1, bytes: u64::MAX, until: None };
    let mut found = None;
    let each = |record: &crate::log::entry::Record<'_>| {
        let text = String::from_utf8(record.body.to_vec()).expect("UTF-8");
        let mut numbers = text.split(' ').map_while(|n| n.parse::<u64>().ok());
        let (of, round) = (numbers.next(), numbers.next());
        found = of.zip(round).map(|(of, round)| (of, round, record.seq_num));
        ControlFlow::Continue(())
    };
    shard.deliver((&held, None), from, ROUNDS, &mut budget, each).await.expect("readable");
    found.expect("a record")
}

/// Reads single records of all streams by number and by time.
async fn read_some(shard: &Shard, seed: u64, count: u64) {
    let mut dice = Dice::new(seed, "reads");
    for _ in 0..count {
        let (stream, round) = (dice.below(STREAMS), dice.below(ROUNDS));
        let found = first(shard, stream, From::SeqNum(round)).await;
        assert_eq!(found, (stream, round, round));
        let found = first(shard, stream, From::Timestamp(1_000 + 10 * round - 3)).await;
        assert_eq!(found, (stream, round, round));
    }
}

/// Sealed segments that hold records.
fn sealed_epochs(shard: &Shard) -> BTreeSet<u64> {
    let active = shard.segments.active().epoch;
    let catalog = shard.catalog.borrow();
    let epochs = catalog.streams().map(|s| s.index().iter().map(|run| run.pos.segment).collect());
    let epochs: Vec<BTreeSet<u64>> = epochs.collect();
    epochs.into_iter().flatten().filter(|epoch| *epoch < active).collect()
}

/// Entries that all indexes have, in segments that are sealed and in the one in use.
fn entries_of(shard: &Shard) -> (u64, u64) {
    let active = shard.segments.active().epoch;
    let (mut sealed, mut in_use) = (0, 0);
    for stream in shard.catalog.borrow().streams() {
        for run in stream.index().iter() {
            *(if run.pos.segment < active { &mut sealed } else { &mut in_use }) += 1;
        }
    }
    (sealed, in_use)
}

#[test]
fn folded_streams_have_one_entry_for_each_segment_and_read_the_same_in_few_reads() {
    let io = SimIo::new(1);
    let entries = live(&io, async |shard| {
        fill(&shard).await;
        read_some(&shard, 1, 30).await;
        assert_eq!(shard.footers.counts().lookups, 0, "nothing is folded yet");
        let before = entries_of(&shard);
        let checkpoint_bytes = newest_checkpoint_bytes(&io, &shard).await;
        fold_all(&shard).await;
        let sealed_segments = sealed_epochs(&shard).len() as u64;
        let (sealed, in_use) = entries_of(&shard);
        assert_eq!(sealed, STREAMS * sealed_segments, "{before:?} before");
        assert!(before.0 >= 3 * sealed, "{before:?}");
        let bytes = shard.catalog.borrow().index_bytes();
        assert!(bytes <= 2 * ENTRY_BYTES * (sealed + in_use), "{bytes} bytes");
        assert!(newest_checkpoint_bytes(&io, &shard).await < checkpoint_bytes / 3 * 2);
        for nth in 0..40 {
            let (footers, log) = (shard.footers.counts(), shard.reader.counts());
            read_some(&shard, nth, 1).await;
            let blocks = shard.footers.counts().block_reads - footers.block_reads;
            // Two starts: each of at most three blocks, and a place in the log.
            assert!(blocks <= 6, "{blocks} blocks");
            let reads = shard.reader.counts().reads - log.reads;
            assert!(reads <= 4, "{reads} reads of the log");
        }
        assert_eq!(shard.footers.counts().lost, 0);
        entries_of(&shard)
    });
    // It is so after a restart, and no footer is needed again for that.
    let io = io.kill(2);
    live(&io, async |shard| {
        assert_eq!(entries_of(&shard), entries);
        fold_all(&shard).await;
        assert_eq!(entries_of(&shard), entries);
        read_some(&shard, 3, 100).await;
        assert_eq!(shard.footers.counts().lost, 0);
        assert!(shard.footers.counts().block_reads > 0);
    });
}

async fn newest_checkpoint_bytes(io: &SimIo, shard: &Shard) -> u64 {
    shard.checkpoint().await.expect("the disk is whole");
    let files = io.list().expect("lists");
    let mut checkpoints = files.iter().filter(|(name, _)| name.starts_with("checkpoint-"));
    checkpoints.next_back().expect("written").1
}

#[test]
fn lost_and_damaged_footers_cost_time_until_they_are_made_again() {
    for (seed, is_removed) in [(1, true), (2, false)] {
        let io = SimIo::new(seed);
        let (before, footers) = live(&io, async |shard| {
            fill(&shard).await;
            fold_all(&shard).await;
            shard.checkpoint().await.expect("the disk is whole");
            (entries_of(&shard), sealed_epochs(&shard).len() as u64)
        });
        let io = io.kill(seed);
        for (name, len_bytes) in io.list().expect("lists") {
            if footer::file_epoch(&name).is_none() {
                continue;
            }
            if is_removed {
                io.remove(&name).expect("there");
            } else {
                // Each block but the first one, so that it is found out late.
                let mut bytes = io.contents(&name).expect("there");
                (BLOCK_BYTES..usize::try_from(len_bytes).expect("small"))
                    .step_by(BLOCK_BYTES)
                    .for_each(|at| bytes[at] ^= 1);
                io.put_contents(&name, bytes);
            }
        }
        live(&io, async |shard| {
            read_some(&shard, seed, 40).await;
            assert_eq!(shard.footers.counts().lost, footers);
            fold_all(&shard).await;
            assert_eq!(entries_of(&shard), before);
            assert_eq!(shard.footers.first_missing(&BTreeSet::new()), None);
            let log = shard.reader.counts().reads;
            read_some(&shard, seed + 1, 40).await;
            assert!(shard.reader.counts().reads - log <= 40 * 4);
            assert_eq!(shard.footers.counts().lost, footers, "they are there again");
        });
    }
}

#[test]
fn a_crash_while_folding_loses_nothing_and_leaves_nothing() {
    let filled = SimIo::new(1);
    live(&filled, async |shard| fill(&shard).await);
    let (mut cut, mut folded) = (0, 0);
    for seed in 0..12 {
        let io = filled.kill(seed);
        live(&io, async |shard| {
            let at_us = Dice::new(seed, "cut").below(3_000);
            let folding = std::pin::pin!(fold_all(&shard));
            let ended = std::pin::pin!(shard.io.sleep_us(at_us));
            future::select(folding, ended).await;
        });
        let io = if seed % 2 == 0 { io.crash(seed) } else { io.kill(seed) };
        let files = io.list().expect("lists");
        cut += files.iter().filter(|(name, _)| footer::is_temporary(name)).count();
        folded += files.iter().filter(|(name, _)| footer::file_epoch(name).is_some()).count();
        live(&io, async |shard| {
            let files = io.list().expect("lists");
            assert!(!files.iter().any(|(name, _)| footer::is_temporary(name)), "{files:?}");
            read_some(&shard, seed, 5).await;
            fold_all(&shard).await;
            read_some(&shard, seed, 5).await;
            assert_eq!(shard.footers.counts().lost, 0, "seed {seed}");
        });
    }
    assert!(cut > 0 && folded > 0, "{cut} cut, {folded} folded");
}

#[test]
fn what_is_hidden_of_a_folded_run_is_passed_over_without_being_read() {
    let io = SimIo::new(1);
    live(&io, async |shard| {
        fill(&shard).await;
        fold_all(&shard).await;
        let stream = 6;
        let held = held(&shard, &name(stream));
        let (run, next) = {
            let runs: Vec<_> = held.index().iter().collect();
            let at = runs.iter().position(IndexEntry::is_folded).expect("it was folded");
            (runs[at], runs[at + 1])
        };
        let middle = run.seq_num.midpoint(next.seq_num);
        assert!(middle > run.seq_num + 5, "{run:?}, then {next:?}");
        // Hidden is all that arrived before the next run's first record.
        let Retention::AgeSecs(age_secs) = held.retention() else { panic!("nothing is hidden") };
        held.hide_expired(next.arrival_ms + age_secs * 1000);
        assert_eq!(held.hidden_before_ms(), next.arrival_ms);
        let log = shard.reader.counts().reads;
        let found = first(&shard, stream, From::SeqNum(0)).await;
        assert!(found.2 > middle && found.2 <= next.seq_num, "{found:?} of {run:?}");
        assert!(shard.reader.counts().reads - log <= 3);
    });
}

#[test]
fn without_room_for_a_footer_nothing_is_folded_and_nothing_is_left() {
    let io = SimIo::new(1);
    live(&io, async |shard| {
        fill(&shard).await;
        let before = entries_of(&shard);
        let full = std::io::ErrorKind::StorageFull;
        let faults = io.faults();
        for fault in [
            Faults { capacity_bytes: 0, ..faults },
            Faults { fail_write: Some((0, full)), ..faults },
            Faults { fail_sync: Some(0), ..faults },
        ] {
            io.set_faults(fault);
            let failed = shard.fold_step().await;
            io.set_faults(faults);
            assert!(matches!(failed, Err(FoldError::Io(_))), "{fault:?}: {failed:?}");
            assert_eq!(entries_of(&shard), before);
            let files = io.list().expect("lists");
            assert!(!files.iter().any(|(name, _)| name.starts_with("index-")), "{files:?}");
        }
        fold_all(&shard).await;
        assert!(entries_of(&shard).0 < before.0);
        read_some(&shard, 1, 10).await;
    });
}

#[test]
fn out_of_a_damaged_segment_no_footer_is_made_and_what_is_whole_is_read() {
    let io = SimIo::new(1);
    let epoch = live(&io, async |shard| {
        fill(&shard).await;
        fold_all(&shard).await;
        shard.checkpoint().await.expect("the disk is whole");
        *sealed_epochs(&shard).first().expect("filled")
    });
    let io = io.kill(1);
    io.remove(&footer::file_name(epoch)).expect("there");
    live(&io, async |shard| {
        let segment = shard.segments.get(epoch).expect("there");
        let file = segment.file.name();
        let mut bytes = io.contents(file).expect("there");
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64 * 1024].fill(0);
        io.put_contents(file, bytes);
        let stream = held(&shard, &name(6));
        let run = stream.index().iter().find(|run| run.pos.segment == epoch).expect("there");
        assert!(run.is_folded());
        let found = first(&shard, 6, From::SeqNum(run.seq_num)).await;
        assert_eq!(found.2, run.seq_num);
        assert_eq!(shard.footers.counts().lost, 1);
        // Tried when it is missed and when it is its turn, and never again; others are folded.
        let mut refused = 0;
        loop {
            match shard.fold_step().await {
                Ok(Folded::Nothing) => break,
                Ok(Folded::Segments) => {}
                Err(FoldError::Incomplete(_) | FoldError::Read(ReadError::Damaged { .. })) => {
                    refused += 1;
                    assert!(refused <= 2);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(refused, 2);
        assert!(!shard.footers.is_there(epoch).await);
    });
}

#[test]
fn a_footer_is_made_out_of_a_segment_only_when_the_log_goes_on_behind_it() {
    let io = SimIo::new(1);
    live(&io, async |shard| {
        fill(&shard).await;
        let epoch = shard.segments.active().epoch;
        shard.segments.roll().await;
        assert_eq!(shard.footers.find(epoch, 7, footer::Target::SeqNum(0)).await, None);
        let made = shard.fold_step().await;
        assert!(matches!(made, Err(FoldError::NothingBehind(of)) if of == epoch), "{made:?}");
        let append = (path(&name(0)), batch(0, ROUNDS), Asked::default());
        let (path, input, asked) = append;
        shard
            .handle(Call::Append { path, key: None, input, asked, receipt: false })
            .await
            .expect("appended");
        assert_eq!(shard.fold_step().await.expect("now it does"), Folded::Footer);
        assert!(shard.footers.find(epoch, 7, footer::Target::SeqNum(ROUNDS)).await.is_some());
    });
}
