//! Checkpoints that are written while things happen, on a simulated disk.

use futures_util::FutureExt;
use futures_util::future::{join, join_all};

use super::*;
use crate::io::sim::{SimIo, SimRuntime};
use crate::io::{Clock, Disk};
use crate::log::entry::{Kind, Trimmed};
use crate::shard::call::{Asked, Call};
use crate::shard::engine::Note;
use crate::shard::testkit::{
    LOG, Shard, age, assert_whole, basin, create, create_basin, live_with, patch, path, provision,
};
use crate::stream::State;
use crate::types::AppendInput;
use crate::types::append::{AppendBuilder, Span};

mod replayed;

fn live<T>(io: &SimIo, life: impl AsyncFnOnce(Shard) -> T) -> T {
    live_with(io, |_, _| {}, life)
}

fn batch(records: usize, body_bytes: usize) -> AppendInput {
    let mut builder = AppendBuilder::default();
    let buf = vec![b'x'; body_bytes];
    let len = u32::try_from(body_bytes).expect("small");
    for _ in 0..records {
        builder.push_record(&buf, None, Span { offset: 0, len }).expect("fits");
    }
    builder.finish(buf, None, None).expect("a batch")
}

async fn append(shard: &Shard, stream: &str, records: usize, body_bytes: usize) {
    let (input, asked) = (batch(records, body_bytes), Asked::default());
    let call = Call::Append { path: path(stream), key: None, input, asked, receipt: false };
    shard.handle(call).await.expect("appended");
}

fn stream(shard: &Shard, name: &str) -> Rc<Stream> {
    Rc::clone(shard.catalog.borrow().stream(&basin(), &path(name).stream).expect("there"))
}

/// Trims a stream as retention would, up to the record `trim_point`.
async fn trim(shard: &Shard, name: &str, trim_point: u64) {
    let stream = stream(shard, name);
    stream.accepted.set(State { trim_point, ..stream.accepted.get() });
    let trimmed = Trimmed { stream: stream.id, trim_point, at_ms: shard.io.wall_us() / 1000 };
    let note = Note::Trimmed(Rc::clone(&stream), trimmed);
    let ticket = shard.writer.append_in_passing(Kind::Trimmed, &trimmed.encode(), note);
    // What is written in passing waits for something else.
    append(shard, name, 1, RECORD_BYTES).await;
    shard.settle(ticket).await.expect("durable");
}

async fn delete(shard: &Shard, name: &str) {
    shard.handle(Call::DeleteStream(path(name))).await.expect("deleted");
}

/// A basin with these streams, each with two batches of which one is trimmed.
async fn begin(shard: &Shard, names: &[&str]) {
    create_basin(shard).await;
    for name in names {
        provision(shard, create(name)).await;
        append(shard, name, 2, RECORD_BYTES).await;
        append(shard, name, 1, RECORD_BYTES).await;
        trim(shard, name, 2).await;
    }
}

/// Writes a checkpoint that saves one stream at a time; before the first one and after each, what
/// `between` does happens, which is told how many are saved.
async fn checkpoint_while(shard: &Shard, mut between: impl AsyncFnMut(usize)) {
    let mut draft = shard.begin_checkpoint();
    let next_frame_seq = draft.facts.chain.next_frame_seq;
    let mut writer = CheckpointWriter::create(&*shard.io, LOG, next_frame_seq).await.expect("made");
    between(0).await;
    let mut saved = 0;
    while shard.save_streams(&mut draft, 1) {
        writer.write_full(&mut draft.builder).await.expect("written");
        saved += 1;
        between(saved).await;
    }
    shard.end_checkpoint(writer, draft).await.expect("written");
}

/// All that a restart must bring back: each stream, then the usage counters.
fn everything(shard: &Shard) -> Vec<String> {
    let catalog = shard.catalog.borrow();
    let streams = catalog.streams().map(|stream| {
        let (record, state, index) = (stream.record(), stream.durable.get(), stream.index());
        let (stored, last_ms) = (stream.stored_bytes(), stream.last_arrival_ms.get());
        format!("{record:?}\n  {state:?}\n  {stored} {last_ms} {index:?}")
    });
    let usage = catalog.usage.save().map(|saved| format!("{saved:?}"));
    let stored = format!("{} stored", catalog.usage.stored_bytes());
    streams.chain(usage).chain([stored]).collect()
}

/// Whether a restart finds what there is when `life` ends, which has written a checkpoint.
fn assert_restored(seed: u64, life: impl AsyncFnOnce(&Shard)) {
    let io = SimIo::new(seed);
    let before = live(&io, async |shard| {
        life(&shard).await;
        everything(&shard)
    });
    let io = io.kill(seed);
    assert_whole(&io, LOG);
    let after = live(&io, async |shard| everything(&shard));
    assert_eq!(after, before, "after a restart, and before it");
    let names = io.list().expect("lists").into_iter().map(|(name, _)| name);
    assert_eq!(names.filter(|name| name.starts_with("checkpoint-")).count(), 1);
}

/// Of each record's body: of records of many lengths a trim takes about so much, as far as is known
/// after a restart.
const RECORD_BYTES: usize = 30_000;
/// Streams that are there where a checkpoint stands, in the order in which they are saved.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn appends_and_trims_in_between_are_restored_exactly() {
    for later in [false, true] {
        assert_restored(1, async |shard| {
            begin(shard, &NAMES).await;
            checkpoint_while(shard, async |saved| {
                // Of the streams that are saved already, and of those that are not.
                for name in NAMES {
                    append(shard, name, 1 + saved, RECORD_BYTES).await;
                    trim(shard, name, 4 + saved as u64).await;
                    shard.io.sleep_us(1_000_000).await;
                }
            })
            .await;
            if later {
                for name in NAMES {
                    append(shard, name, 3, RECORD_BYTES).await;
                    trim(shard, name, 14).await;
                }
            }
        });
    }
}

#[test]
fn metadata_that_changes_in_between_is_restored() {
    assert_restored(2, async |shard| {
        begin(shard, &NAMES).await;
        checkpoint_while(shard, async |saved| {
            for name in NAMES {
                let secs = 1_000_000 + saved as u64;
                shard.handle(patch(name, age(secs))).await.expect("changed");
                append(shard, name, 1, 10).await;
            }
        })
        .await;
    });
}

#[test]
fn a_stream_that_goes_in_between_is_gone_and_its_name_is_another_ones() {
    // After how many are saved which one goes; whether its name is used again, and that one goes.
    let cases = [(0, "a"), (0, "b"), (1, "a"), (1, "d"), (2, "c"), (4, "d")];
    for (goes_after, goes) in cases {
        for (comes_back, goes_again) in [(false, false), (true, false), (true, true)] {
            assert_restored(3, async |shard| {
                begin(shard, &NAMES).await;
                checkpoint_while(shard, async |saved| {
                    if saved != goes_after {
                        return;
                    }
                    append(shard, goes, 1, 1000).await;
                    shard.handle(patch(goes, age(5))).await.expect("changed");
                    append(shard, goes, 1, 1000).await;
                    delete(shard, goes).await;
                    if comes_back {
                        provision(shard, create(goes)).await;
                        append(shard, goes, 5, 1000).await;
                    }
                    if goes_again {
                        delete(shard, goes).await;
                        provision(shard, create(goes)).await;
                        append(shard, goes, 2, 10).await;
                    }
                })
                .await;
            });
        }
    }
}

#[test]
fn all_streams_of_a_basin_may_go_in_between() {
    assert_restored(4, async |shard| {
        begin(shard, &NAMES).await;
        checkpoint_while(shard, async |saved| {
            if saved == 2 {
                join_all(NAMES.iter().map(|name| delete(shard, name))).await;
            }
        })
        .await;
    });
}

/// It is left to the log, even if its creation is durable before all is saved.
#[test]
fn a_stream_whose_creation_was_not_durable_at_the_place_comes_from_the_log() {
    assert_restored(5, async |shard| {
        begin(shard, &NAMES).await;
        let call = shard.handle(create("late"));
        let mut creation = std::pin::pin!(call);
        assert!(creation.as_mut().now_or_never().is_none(), "logged, not durable");
        let mut creation = Some(creation);
        checkpoint_while(shard, async |saved| {
            if saved == 1 {
                creation.take().expect("once").await.expect("created");
                append(shard, "late", 3, 1000).await;
            }
        })
        .await;
    });
}

#[test]
fn batches_that_are_moved_in_between_are_found() {
    assert_restored(6, async |shard| {
        begin(shard, &NAMES).await;
        // Streams share the segments, and the batches the spans of the index.
        while shard.segments.active().epoch < 3 {
            for name in NAMES {
                append(shard, name, 1, 3_000).await;
                append(shard, name, 1, 40_000).await;
            }
        }
        checkpoint_while(shard, async |saved| {
            let epoch = shard.first_needed_epoch().await;
            assert_eq!(epoch, saved as u64 + 1, "one segment each time");
            shard.clean(epoch).await.expect("cleaned");
            append(shard, "a", 1, 3_000).await;
        })
        .await;
    });
}

/// Were it taken for a torn tail, streams would go on from records that are lost.
#[test]
fn a_log_that_ends_before_what_a_checkpoint_saved_is_damaged() {
    for cut in [false, true] {
        let io = SimIo::new(7);
        let end_bytes = live(&io, async |shard| {
            begin(&shard, &NAMES).await;
            let end_bytes = shard.segments.active().end_bytes();
            checkpoint_while(&shard, async |saved| {
                if saved == 1 {
                    append(&shard, "b", 1, 1000).await;
                }
            })
            .await;
            end_bytes
        });
        let io = io.kill(8);
        if cut {
            let segment = "segment-00000001.log";
            let mut bytes = io.contents(segment).expect("there");
            bytes[usize::try_from(end_bytes).expect("small")..].fill(0);
            io.put_contents(segment, bytes);
        }
        let opened = SimRuntime::new(&io).block_on(async {
            let mut replay = crate::shard::replay::Replay::default();
            crate::log::recovery::recover(&io, LOG, u64::MAX, &mut replay).await.map(drop)
        });
        let said = opened.err().map(|error| error.to_string());
        let is_named =
            |said: &str| said.contains("the log ends before a frame that the checkpoint");
        assert_eq!(said.as_deref().map(is_named), cut.then_some(true), "{said:?}");
    }
}

#[test]
fn appends_go_on_while_a_checkpoint_of_many_streams_is_written() {
    const STREAMS: u64 = 20_000;
    let slice = CheckpointPace::default().streams as u64;
    let io = SimIo::new(9);
    live(&io, async |shard| {
        create_basin(&shard).await;
        let names: Vec<String> = (0..STREAMS).map(|number| format!("s{number}")).collect();
        join_all(names.iter().map(|name| provision(&shard, create(name)))).await;
        // However many may be saved at once, no more of them is ever in memory.
        let mut draft = shard.begin_checkpoint();
        assert!(shard.save_streams(&mut draft, usize::MAX));
        assert_eq!(draft.builder.full_frames(), FULL_FRAMES_MAX);

        let written = Cell::new(false);
        let checkpoint = async {
            shard.checkpoint().await.expect("written");
            written.set(true);
        };
        let saved_to = || shard.checkpoints.under_way.borrow().as_ref().map_or(0, |u| u.saved_to.0);
        let acknowledged = async {
            let mut acknowledged = 0;
            while !written.get() {
                append(&shard, &names[acknowledged], 1, 100).await;
                acknowledged += usize::from(!written.get());
            }
            acknowledged
        };
        let stretch = async {
            let (mut seen, mut longest) = (0, 0);
            while !written.get() {
                longest = longest.max(saved_to().saturating_sub(seen));
                seen = saved_to().max(seen);
                shard.io.sleep_us(1).await;
            }
            (seen, longest)
        };
        let (((), acknowledged), (seen, longest)) =
            join(join(checkpoint, acknowledged), stretch).await;
        assert!(acknowledged >= 10, "{acknowledged} appends while it was written");
        assert!(seen > STREAMS - slice, "watched to the end: {seen}");
        // It may look before the one pause and after the next.
        assert!(longest <= 2 * slice, "{longest} streams without a pause");
    });
    let io = io.kill(10);
    assert_whole(&io, LOG);
    live(&io, async |shard| assert_eq!(shard.catalog.borrow().stream_count() as u64, STREAMS));
}

/// A failed one takes no room that the log may want.
#[test]
fn a_checkpoint_that_finds_no_room_leaves_nothing() {
    let io = SimIo::new(11);
    live(&io, async |shard| {
        begin(&shard, &NAMES).await;
        let used: u64 = io.list().expect("lists").iter().map(|(_, bytes)| bytes).sum();
        for room in [0, 4096] {
            let faults = io.faults();
            io.set_faults(crate::io::sim::Faults { capacity_bytes: used + room, ..faults });
            let error = shard.checkpoint().await.expect_err("no room");
            assert!(error.is_out_of_space(), "{error}");
            let names = io.list().expect("lists").into_iter().map(|(name, _)| name);
            assert_eq!(names.filter(|name| name.starts_with("checkpoint-")).count(), 0);
            io.set_faults(faults);
        }
        shard.checkpoint().await.expect("room");
    });
}

/// A server that shuts down writes a last checkpoint while the background may be at one.
#[test]
fn a_checkpoint_waits_for_the_one_under_way() {
    let io = SimIo::new(1);
    live_with(
        &io,
        |_, _| {},
        async |shard| {
            create_basin(&shard).await;
            provision(&shard, create("s")).await;
            let mut first = Box::pin(shard.checkpoint());
            assert!((&mut first).now_or_never().is_none(), "it is under way");
            let (first, last) = futures_util::future::join(first, shard.close()).await;
            first.expect("written");
            last.expect("written");
        },
    );
    let names = io.list().expect("lists").into_iter().map(|(name, _)| name);
    let (whole, other): (Vec<_>, Vec<_>) =
        names.filter(|name| name.starts_with("checkpoint-")).partition(|n| n.ends_with(".ckpt"));
    assert_eq!((whole.len(), other.len()), (2, 0), "of the same place in the log, each a file");
    live_with(
        &io.kill(2),
        |_, _| {},
        async |shard| {
            assert_eq!(shard.catalog.borrow().stream_count(), 1);
        },
    );
}

/// When the newest is damaged, the one before it says what is there, and all that it needs is: also
/// when both are of one place, where the second must not take the name of the first.
#[test]
fn the_checkpoint_before_a_damaged_one_has_what_it_needs() {
    for newer in [1, 2] {
        let io = SimIo::new(12);
        live(&io, async |shard| {
            begin(&shard, &["a"]).await;
            for _ in 0..40 {
                append(&shard, "a", 10, RECORD_BYTES).await;
            }
            shard.checkpoint().await.expect("needs all");
            trim(&shard, "a", 404).await;
            for _ in 0..newer {
                shard.checkpoint().await.expect("needs the last record");
            }
            let oldest = shard.segments.oldest_epoch();
            assert_eq!(oldest > 1, newer > 1, "{newer} need no more than that, {oldest} is there");
        });
        let io = io.kill(12);
        let files = io.list().expect("lists").into_iter().map(|(name, _)| name);
        let newest = files.filter(|name| name.ends_with(".ckpt")).max().expect("a checkpoint");
        let mut bytes = io.contents(&newest).expect("there");
        bytes[100] ^= 1;
        io.put_contents(&newest, bytes);
        live(&io, async |shard| {
            assert_eq!(stream(&shard, "a").durable.get().tail.seq_num, 405);
        });
    }
}

/// A file that is too short for the next checkpoints is better than none.
#[test]
fn room_for_checkpoints_is_not_given_up_for_more_that_there_is_not() {
    let io = SimIo::new(12);
    live(&io, async |shard| {
        shard.io.sleep_us(1_000_000).await;
        let kept = 4 * BLOCK_BYTES as u64;
        io.create(ROOM_FILE, kept).await.expect("created");
        let used: u64 = io.list().expect("lists").iter().map(|(_, bytes)| bytes).sum();
        let faults = io.faults();
        io.set_faults(crate::io::sim::Faults { capacity_bytes: used + kept, ..faults });
        shard.keep_room().await;
        assert_eq!(shard.room_kept_bytes().expect("lists"), Some(kept));
        io.set_faults(faults);
        shard.keep_room().await;
        assert_eq!(shard.room_kept_bytes().expect("lists"), Some(ROOM_BYTES_MIN));
    });
}

/// Who copies the directory keeps its segments in their present use, and holds nothing up when that
/// would cost appends.
#[test]
fn segments_are_kept_while_somebody_copies_them_unless_the_disk_is_full() {
    for is_full in [false, true] {
        let io = SimIo::new(13);
        let checkpoints = |runtime: &SimRuntime, shard: &Shard| {
            runtime.spawn(Rc::clone(shard).run_checkpoints());
        };
        live_with(&io, checkpoints, async |shard| {
            let faults = io.faults();
            io.set_faults(crate::io::sim::Faults { pinned: true, ..faults });
            begin(&shard, &["a"]).await;
            for _ in 0..40 {
                append(&shard, "a", 10, RECORD_BYTES).await;
            }
            trim(&shard, "a", 404).await;
            for _ in 0..3 {
                shard.checkpoint().await.expect("written");
            }
            assert_eq!(shard.segments.oldest_epoch(), 1, "it is pinned");
            if is_full {
                let full = crate::io::sim::Faults { capacity_bytes: 0, pinned: true, ..faults };
                io.set_faults(full);
                while !shard.segments.is_out_of_space() {
                    append(&shard, "a", 10, RECORD_BYTES).await;
                }
                io.set_faults(crate::io::sim::Faults { pinned: true, ..faults });
                shard.checkpoint().await.expect("written");
            } else {
                shard.io.sleep_us(10 * PIN_LOOK_US).await;
                assert_eq!(shard.segments.oldest_epoch(), 1, "still");
                io.set_faults(faults);
                shard.io.sleep_us(2 * PIN_LOOK_US).await;
            }
            assert!(shard.segments.oldest_epoch() > 1, "full: {is_full}");
        });
    }
}
