//! What a shard finds in its old data, tells, and forgets, on a simulated disk and clock.

use crate::io::Clock;
use crate::io::sim::{SimIo, SimRuntime};
use crate::log::format::FrameHeader;
use crate::log::quarantine::LostPlace;
use crate::shard::call::{Answer, Asked, Call};
use crate::shard::testkit::{Shard, create, create_basin, live_with, path, provision};
use crate::types::AppendInput;
use crate::types::append::{AppendBuilder, Span};

use super::*;

const SECOND_US: u64 = 1_000_000;

fn live<T>(io: &SimIo, life: impl AsyncFnOnce(Shard) -> T) -> T {
    let also = |runtime: &SimRuntime, shard: &Shard| {
        runtime.spawn(Rc::clone(shard).run_scrub());
    };
    live_with(io, also, life)
}

fn batch(body_bytes: usize) -> AppendInput {
    let mut builder = AppendBuilder::default();
    let buf = vec![b'x'; body_bytes];
    let len = u32::try_from(body_bytes).expect("small");
    builder.push_record(&buf, None, Span { offset: 0, len }).expect("fits");
    builder.finish(buf, None, None).expect("a batch")
}

async fn append(shard: &Shard, stream: &str, body_bytes: usize) {
    let (path, input) = (path(stream), batch(body_bytes));
    let asked = Asked::default();
    shard
        .handle(Call::Append { path, key: None, input, asked, receipt: false })
        .await
        .expect("appended");
}

/// A basin with the streams `a` and `b`, whose records fill segments up to `epoch` in turn.
async fn fill(shard: &Shard, epoch: u64) {
    create_basin(shard).await;
    provision(shard, create("a")).await;
    provision(shard, create("b")).await;
    while shard.segments.active().epoch < epoch {
        append(shard, "a", 200_000).await;
        append(shard, "b", 200_000).await;
    }
}

/// Flips a bit 100 bytes into the frame `nth` with entries of a segment (0 is its first); returns
/// the frame's offset.
fn damage(shard: &Shard, epoch: u64, nth: usize) -> u32 {
    let segment = shard.segments.get(epoch).expect("living");
    let name = crate::io::LogFile::name(&segment.file);
    let mut bytes = shard.io.contents(name).expect("a file");
    let (mut offset, mut left) = (4096, nth);
    loop {
        let decoded = FrameHeader::decode(&bytes[offset..], shard.config.log.salt());
        let header = decoded.expect("a frame").0;
        if header.entry_count > 0 {
            match left.checked_sub(1) {
                Some(less) => left = less,
                None => break,
            }
        }
        offset += header.frame_bytes();
    }
    bytes[offset + 100] ^= 1;
    shard.io.put_contents(name, bytes);
    u32::try_from(offset).expect("small")
}

async fn health(shard: &Shard) -> Vec<DamagedPlace> {
    match shard.handle(Call::Health).await {
        Ok(Answer::Health(places)) => places,
        other => panic!("{other:?}"),
    }
}

/// Bytes and passes so far, and damaged frames now.
async fn metrics(shard: &Shard) -> (u64, u64, u64) {
    match shard.handle(Call::Metrics).await {
        Ok(Answer::Metrics(s)) => (s.scrub_bytes, s.scrub_passes, s.scrub_damaged_frames),
        other => panic!("{other:?}"),
    }
}

/// Waits for a pass that began after now.
async fn whole_pass(shard: &Shard) {
    let (_, passes, _) = metrics(shard).await;
    for _ in 0..1_000 {
        if metrics(shard).await.1 >= passes + 2 {
            return;
        }
        shard.io.sleep_us(SECOND_US / 10).await;
    }
    panic!("no pass was finished in 100 s");
}

#[test]
fn nothing_is_found_in_a_healthy_log() {
    for seed in 1..=3 {
        live(&SimIo::new(seed), async |shard| {
            fill(&shard, 4).await;
            whole_pass(&shard).await;
            let (bytes, passes, damaged) = metrics(&shard).await;
            assert!(bytes > 3 * 3_000_000 && passes >= 2, "seed {seed}: {bytes} {passes}");
            assert_eq!((damaged, health(&shard).await), (0, vec![]), "seed {seed}");
        });
    }
}

#[test]
fn damage_is_found_within_a_pass_and_told_with_its_streams() {
    live(&SimIo::new(4), async |shard| {
        fill(&shard, 4).await;
        // Frames 0 to 2 hold the basin and the streams; then `a` and `b` in turn.
        let offset = damage(&shard, 1, 5);
        whole_pass(&shard).await;
        let places = health(&shard).await;
        let [place] = &places[..] else { panic!("{places:?}") };
        assert_eq!((place.shard, place.offset, place.frames), (0, offset, 1));
        assert_eq!(place.reason, "payload checksum mismatch");
        assert!(place.file.starts_with("segment-"), "{places:?}");
        assert_eq!(place.streams, ["test-basin-1/a"]);
        assert_eq!(metrics(&shard).await.2, 1);
        append(&shard, "a", 10).await; // it goes on serving

        let second = damage(&shard, 3, 2);
        whole_pass(&shard).await;
        let offsets: Vec<u32> = health(&shard).await.iter().map(|p| p.offset).collect();
        assert_eq!(offsets, [offset, second], "each once, in the log's order");
        damage(&shard, 1, 5); // flips it back
        whole_pass(&shard).await;
        let offsets: Vec<u32> = health(&shard).await.iter().map(|p| p.offset).collect();
        assert_eq!(offsets, [second], "what is whole again is not told");
    });
}

#[test]
fn damage_is_found_again_after_a_restart() {
    let io = SimIo::new(5);
    let offset = live(&io, async |shard| {
        fill(&shard, 3).await;
        shard.checkpoint().await.expect("written");
        damage(&shard, 2, 3)
    });
    live(&io.crash(6), async |shard| {
        whole_pass(&shard).await;
        let places = health(&shard).await;
        let [place] = &places[..] else { panic!("{places:?}") };
        assert_eq!(place.offset, offset);
        assert_eq!(place.streams.len(), 1, "{places:?}");
    });
}

/// The place of the frame at `offset` of segment 1, for the quarantine.
fn place_at(shard: &Shard, offset: u32) -> LostPlace {
    let segment = shard.segments.get(1).expect("living");
    let bytes = shard.io.contents(crate::io::LogFile::name(&segment.file)).expect("a file");
    let header = |at: u32| {
        FrameHeader::decode(&bytes[at as usize..], shard.config.log.salt()).expect("a header").0
    };
    let frame = header(offset);
    let end_offset = offset + u32::try_from(frame.frame_bytes()).expect("small");
    let next = header(end_offset);
    LostPlace {
        epoch: 1,
        offset,
        end_offset,
        frame_seq: frame.frame_seq,
        next_frame_seq: next.frame_seq,
        next_prev_crc: next.prev_crc,
        copy: String::new(),
    }
}

#[test]
fn what_was_given_up_is_told_no_more_and_other_damage_is() {
    let io = SimIo::new(9);
    let second = live(&io, async |shard| {
        fill(&shard, 3).await;
        shard.checkpoint().await.expect("written");
        let (first, second) = (damage(&shard, 1, 5), damage(&shard, 1, 8));
        let places = vec![place_at(&shard, first)];
        let quarantine = Quarantine { places, records: Vec::new() };
        quarantine.write(&*shard.io).await.expect("written");
        whole_pass(&shard).await;
        assert_eq!(health(&shard).await.len(), 2, "it counts from the next start on");
        second
    });
    live(&io.crash(10), async |shard| {
        whole_pass(&shard).await;
        let offsets: Vec<u32> = health(&shard).await.iter().map(|p| p.offset).collect();
        assert_eq!(offsets, [second]);
    });
}

#[test]
fn damage_goes_with_its_segment() {
    live(&SimIo::new(7), async |shard| {
        fill(&shard, 4).await;
        damage(&shard, 1, 5);
        damage(&shard, 2, 5);
        whole_pass(&shard).await;
        assert_eq!(metrics(&shard).await.2, 2);
        let epoch = shard.segments.active().epoch;
        assert_eq!(shard.segments.release_before(2), 1);
        let places = health(&shard).await;
        assert_eq!(places.len(), 1, "at once: {places:?}");
        while shard.segments.active().epoch < epoch + 4 {
            append(&shard, "a", 200_000).await; // its file is used again
        }
        whole_pass(&shard).await;
        assert_eq!(health(&shard).await, places, "and nothing in its next life is taken for it");
    });
}

#[test]
fn very_much_damage_is_told_in_part() {
    live(&SimIo::new(8), async |shard| {
        create_basin(&shard).await;
        provision(&shard, create("a")).await;
        while shard.segments.active().epoch < 2 {
            append(&shard, "a", 5_000).await;
        }
        for nth in 0..2 * PLACES_MAX {
            damage(&shard, 1, 3 + 2 * nth);
        }
        whole_pass(&shard).await;
        let places = health(&shard).await;
        assert_eq!(places.len(), PLACES_MAX);
        assert!(places.is_sorted_by_key(|place| place.offset));
        whole_pass(&shard).await;
        assert_eq!(health(&shard).await, places);
        assert_eq!(shard.segments.release_before(2), 1);
        assert_eq!(health(&shard).await, []);
    });
}
