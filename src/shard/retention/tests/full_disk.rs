//! On a full disk, what gives room back is still accepted.

use futures_util::future::{self, Either};

use crate::shard::testkit::change_basin;

use super::*;

/// Appends to a stream until the disk has no room for the smallest batch; returns how many large
/// ones it took.
async fn fill(shard: &Shard, stream: &str) -> usize {
    let (mut large, mut small) = (0, 0);
    for (body_bytes, taken) in [(100_000, &mut large), (10, &mut small)] {
        loop {
            match append_to(shard, stream, batch(1, body_bytes)).await {
                Ok(()) => *taken += 1,
                Err(Refusal::HotServer(_)) => break,
                Err(other) => panic!("{other:?}"),
            }
            assert!(*taken < 1_000, "the disk is never full");
        }
    }
    large
}

/// A life on a disk with room for three segments and some checkpoints.
fn live_on_a_small_disk(seed: u64, life: impl AsyncFnOnce(Shard)) {
    live_on_a_small_disk_with(seed, |_, _| {}, life);
}

/// The same, with more that goes on in the background.
fn live_on_a_small_disk_with(
    seed: u64,
    more: impl FnOnce(&SimRuntime, &Shard),
    life: impl AsyncFnOnce(Shard),
) {
    let io = SimIo::new(seed);
    let capacity_bytes = 3 * (4 << 20) + (1 << 20);
    io.set_faults(crate::io::sim::Faults { capacity_bytes, ..io.faults() });
    let also = |runtime: &SimRuntime, shard: &Shard| {
        runtime.spawn(Rc::clone(shard).run_retention());
        runtime.spawn(Rc::clone(shard).run_checkpoints());
        more(runtime, shard);
    };
    live_with(&io, also, async |shard| {
        create_basin(&shard).await;
        for stream in ["s", "small"] {
            provision(&shard, create(stream)).await;
        }
        life(shard).await;
    });
}

async fn assert_full(shard: &Shard) {
    for _ in 0..3 {
        sleep(shard, SECOND_US).await;
        let refused = append_to(shard, "small", batch(1, 10)).await;
        assert!(matches!(refused, Err(Refusal::HotServer(_))), "{refused:?}");
    }
    assert!(shard.segments.is_out_of_space());
}

/// Room is there again, and stays as large as it was.
async fn assert_room_again(shard: &Shard, taken: usize) {
    sleep(shard, 5 * SECOND_US).await;
    append_to(shard, "small", batch(1, 10)).await.expect("there is room again");
    provision(shard, create("t")).await;
    let again = fill(shard, "t").await;
    assert!(again * 2 > taken, "{taken} batches the first time, {again} now");
}

#[test]
fn a_full_disk_refuses_appends_and_takes_the_deletion_that_makes_room() {
    live_on_a_small_disk(21, async |shard| {
        let taken = fill(&shard, "s").await;
        assert!(taken > 50, "{taken}");
        assert_full(&shard).await;
        shard.handle(Call::DeleteStream(path("s"))).await.expect("deleted");
        assert_room_again(&shard, taken).await;
    });
}

#[test]
fn what_expires_on_a_full_disk_makes_room() {
    live_on_a_small_disk(22, async |shard| {
        change(&shard, "s", age(60)).await;
        let taken = fill(&shard, "s").await;
        assert_full(&shard).await;
        sleep(&shard, 60 * SECOND_US).await;
        let (first, tail) = kept(&shard);
        assert!(first == tail && tail > 50, "all of it was trimmed: {first} {tail}");
        assert_room_again(&shard, taken).await;
    });
}

/// Trims stop before the log is so full that a deletion would find no room.
#[test]
fn trims_leave_room_for_deletions() {
    live_on_a_small_disk(23, async |shard| {
        fill(&shard, "s").await;
        let refused_at = shard.segments.room_to_free_bytes();
        assert!(shard.check_room_to_trim().is_ok(), "when appends are refused: {refused_at}");
        // Metadata is logged here without asking for room, as deletions are.
        while shard.check_room_to_trim().is_ok() {
            let record = stream(&shard).expect("there").record();
            let ticket = shard.log_stream(&record, &stream(&shard).expect("there"));
            shard.settle(ticket).await.expect("durable");
        }
        let left = shard.segments.room_to_free_bytes();
        assert!(left < refused_at && left > 256 * 1024, "{left} of {refused_at}");
        shard.handle(Call::DeleteStream(path("s"))).await.expect("deleted");
        sleep(&shard, 5 * SECOND_US).await;
        append_to(&shard, "small", batch(1, 10)).await.expect("there is room again");
    });
}

/// Then no read could say durably that something is gone, so none says it.
#[test]
fn where_no_trim_finds_room_what_is_past_its_age_is_served() {
    // What "s" holds pins a segment that only the cleaner wins back.
    let cleaned = |runtime: &SimRuntime, shard: &Shard| {
        runtime.spawn(Rc::clone(shard).run_cleaner());
    };
    live_on_a_small_disk_with(26, cleaned, async |shard| {
        change(&shard, "s", age(60)).await;
        for _ in 0..60 {
            append_to(&shard, "small", batch(1, 100_000)).await.expect("there is room");
        }
        // Not in the first segment, which goes when nothing else is in it.
        append_to(&shard, "s", batch(2, 10)).await.expect("appended");
        fill(&shard, "small").await;
        let mut refused = 0;
        while refused < 2 {
            if shard.check_room_to_trim().is_err() {
                refused += 1;
                // The cleaner finds out that there is no room for what it would win space with.
                sleep(&shard, SECOND_US).await;
                continue;
            }
            refused = 0;
            let record = stream(&shard).expect("there").record();
            let ticket = shard.log_stream(&record, &stream(&shard).expect("there"));
            shard.settle(ticket).await.expect("durable");
        }
        sleep(&shard, 61 * SECOND_US).await;
        assert_eq!(hidden::all(&shard).await, [0, 1]);
        assert_eq!(kept(&shard), (0, 2));
        shard.handle(Call::DeleteStream(path("small"))).await.expect("deleted");
        sleep(&shard, 5 * SECOND_US).await;
        assert_eq!(hidden::all(&shard).await, [0; 0]);
    });
}

/// Each takes a block of the log, and as long as "s" is there none gives any back. Without a bound
/// they took the last one, and the log waited for ever, for a segment that nothing could free.
#[test]
fn deletions_that_free_nothing_leave_room_for_one_that_does() {
    live_on_a_small_disk(24, async |shard| {
        let name = |i: usize| format!("empty-{i}");
        let count = 600;
        for i in 0..count {
            provision(&shard, create(&name(i))).await;
        }
        fill(&shard, "s").await;
        // Metadata is logged here without asking for room.
        while shard.segments.room_to_free_bytes() > 1 << 20 {
            let stream = stream(&shard).expect("there");
            shard.settle(shard.log_stream(&stream.record(), &stream)).await.expect("durable");
        }
        let mut deleted = 0;
        for i in 0..count {
            match shard.handle(Call::DeleteStream(path(&name(i)))).await {
                Ok(_) => deleted += 1,
                Err(Refusal::HotServer(_)) => break,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!((100..count).contains(&deleted), "{deleted}");
        shard.handle(Call::DeleteStream(path("s"))).await.expect("it holds records");
        sleep(&shard, 5 * SECOND_US).await;
        for i in deleted..count {
            shard.handle(Call::DeleteStream(path(&name(i)))).await.expect("there is room again");
        }
    });
}

#[test]
fn a_basin_is_deleted_on_a_full_disk_by_what_frees_room_first() {
    live_on_a_small_disk(25, async |shard| {
        provision(&shard, create("empty")).await;
        fill(&shard, "s").await;
        let empty = shard.catalog.borrow().stream(&basin(), &path("empty").stream).cloned();
        let empty = empty.expect("there");
        change_basin(&shard, Call::MarkBasinDeleted(basin())).await.expect("marked");
        while shard.check_room_to_delete(&empty).is_ok() {
            let ticket = shard.log_stream(&empty.record(), &empty);
            shard.settle(ticket).await.expect("durable");
        }
        // By name, "empty" comes before "s".
        let deleted = std::pin::pin!(shard.handle(Call::DeleteStreamsOf(basin())));
        let timeout = std::pin::pin!(sleep(&shard, 60 * SECOND_US));
        let Either::Left((deleted, _)) = future::select(deleted, timeout).await else {
            panic!("it waits for room that only itself can make");
        };
        deleted.expect("deleted");
        assert_eq!(shard.catalog.borrow().stream_count(), 0);
    });
}

/// What is logged at `info` and above while `act` runs.
fn logged(act: impl FnOnce()) -> String {
    let (sender, lines) = std::sync::mpsc::channel();
    let subscriber = tracing_subscriber::fmt().with_ansi(false);
    let subscriber = subscriber.with_writer(move || Lines(sender.clone())).finish();
    // As long as there is only one subscriber, the first thread that comes to an event decides for
    // all threads whether anybody wants it; in other threads that is nobody.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    tracing::subscriber::with_default(subscriber, act);
    lines.iter().collect()
}

struct Lines(std::sync::mpsc::Sender<String>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        sent.map(|()| bytes.len()).map_err(std::io::Error::other)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// While a segment of which half is left takes appends, each group is followed by an attempt.
#[test]
fn checkpoints_that_find_no_room_are_reported_once() {
    let lines = logged(|| {
        live_on_a_small_disk(24, async |shard| {
            let io = Rc::clone(&shard.io);
            let faults = io.faults();
            let used: u64 = io.list().expect("lists").iter().map(|(_, bytes)| bytes).sum();
            io.set_faults(crate::io::sim::Faults { capacity_bytes: used, ..faults });
            let taken = fill(&shard, "s").await;
            assert!(taken > 10, "{taken}");
            assert_full(&shard).await;
            io.set_faults(faults);
            sleep(&shard, 5 * SECOND_US).await;
            append_to(&shard, "small", batch(1, 10)).await.expect("there is room again");
            shard.release_soon();
            sleep(&shard, SECOND_US).await;
        });
    });
    let count = |what| lines.matches(what).count();
    assert_eq!(count("checkpoint failed"), 1, "{lines}");
    assert_eq!(count("no room for a new segment"), 1, "{lines}");
    assert_eq!(count("checkpoints are written again"), 1, "{lines}");
}

/// Names of the checkpoints that were begun.
fn checkpoints_begun(io: &crate::io::sim::SimIo) -> usize {
    let begun =
        |event: &&crate::io::sim::Event| event.what == "create" && event.file.contains(".ckpt");
    io.trace().iter().filter(begun).count()
}

/// Each append is a group of its own. Without a pause each would bring a checkpoint, or two.
#[test]
fn checkpoints_on_a_full_disk_do_not_follow_each_other_without_a_pause() {
    for finds_room in [true, false] {
        live_on_a_small_disk(26, async |shard| {
            let io = Rc::clone(&shard.io);
            let used: u64 = io.list().expect("lists").iter().map(|(_, bytes)| bytes).sum();
            let faults = io.faults();
            let capacity_bytes = used + if finds_room { 64 * 1024 } else { 0 };
            io.set_faults(crate::io::sim::Faults { capacity_bytes, ..faults });
            while !shard.segments.is_out_of_space() {
                append_to(&shard, "s", batch(1, 100_000)).await.expect("appended");
            }
            let (begun, began_us) = (checkpoints_begun(&io), io.now_us());
            for _ in 0..100 {
                append_to(&shard, "small", batch(1, 10)).await.expect("appended");
                sleep(&shard, SECOND_US / 20).await;
            }
            let took_us = io.now_us() - began_us;
            let begun = checkpoints_begun(&io) - begun;
            let most = usize::try_from(took_us / SECOND_US).expect("small") + 8;
            assert!((1..most).contains(&begun), "{begun} checkpoints in {took_us} us");
            // What a deletion gives back does not wait for long.
            shard.handle(Call::DeleteStream(path("s"))).await.expect("deleted");
            io.set_faults(faults);
            sleep(&shard, 5 * SECOND_US).await;
            assert!(!shard.segments.is_out_of_space(), "finds room: {finds_room}");
        });
    }
}
