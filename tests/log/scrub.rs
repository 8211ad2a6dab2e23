//! What reading sealed segments again finds: all damage, at its place, and nothing else.

use std::collections::BTreeMap;

use thalweg::io::sim::Stream;
use thalweg::io::{BLOCK_BYTES, Clock, Io, LogFile};
use thalweg::log::format::{FormatError, SEGMENT_HEADER_BYTES};
use thalweg::log::scrub::{Damage, DamageReason, Scrubbed, Scrubber};
use thalweg::types::{LogPos, StreamId};

use crate::device::{Device, Simulated, on_both_devices};
use crate::kit::{FACTS, Life, RawFrame, live, raw_frames, records, write_checkpoint};

on_both_devices! {
    a_healthy_log_is_found_whole,
    any_flipped_bit_is_found_at_its_frame,
    what_follows_the_last_whole_frame_is_missed,
    a_frame_that_is_whole_but_another_is_found,
    a_damaged_segment_header_is_found,
    damage_does_not_hide_damage_after_it,
}

/// Fast enough not to slow the tests down.
const FAST: u64 = 1 << 40;

/// A log over several segments, each batch of a stream of its own; then a checkpoint, so that
/// opening the log looks at none of it again.
fn write_log(device: &impl Device, seed: u64) {
    let mut dice = Stream::new(seed, "scrub");
    live(device, async |life| {
        let mut stream = 0;
        while life.segments.active().epoch < 4 {
            for _ in 0..=dice.below(2) {
                stream += 1;
                let len = 1 + dice.index(60_000);
                life.append(stream, records(&mut dice, &[len]));
            }
            life.flush_all().await;
        }
        write_checkpoint(life, 1, "{}").await;
    });
}

/// A pass over everything that is sealed.
async fn pass<I: Io>(life: &Life<I>) -> Vec<Scrubbed> {
    let (io, segments) = (&*life.io, &*life.segments);
    let scrubber = Scrubber { io, log: FACTS, segments, bytes_per_sec: FAST, tally: |_| () };
    let mut found: Vec<Scrubbed> = Vec::new();
    for epoch in segments.oldest_epoch()..segments.active().epoch {
        let before = found.last().and_then(|s| s.chain);
        found.push(scrubber.scrub(epoch, before).await.expect("nothing was given up"));
    }
    assert!(found.len() >= 3);
    found
}

/// What a pass finds after a restart, when nothing but the log says where its segments end.
fn found_after_restart(device: &impl Device) -> Vec<Damage> {
    let found = live(device, async |life| pass(life).await);
    found.into_iter().flat_map(|s| s.damaged).collect()
}

/// The frames that lie in sealed segments.
fn sealed_frames(files: &BTreeMap<String, Vec<u8>>) -> Vec<RawFrame> {
    let mut frames = raw_frames(files, FACTS);
    let active = frames.last().expect("a log").header.epoch;
    frames.retain(|f| f.header.epoch < active);
    frames
}

fn pos_of(frame: &RawFrame) -> LogPos {
    let offset_bytes = u32::try_from(frame.offset).unwrap();
    LogPos { segment: frame.header.epoch, offset_bytes }
}

/// Changes a file and gives the way back.
fn edit(device: &impl Device, file: &str, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let before = device.files()[file].clone();
    let mut bytes = before.clone();
    change(&mut bytes);
    device.put(file, &bytes);
    before
}

fn a_healthy_log_is_found_whole(device: &impl Device) {
    for seed in 1..=3 {
        let mut dice = Stream::new(seed, "healthy");
        live(device, async |life| {
            let epochs = life.segments.active().epoch + 3;
            while life.segments.active().epoch < epochs {
                life.append_durably(&mut dice, 1, 50_000).await;
                if dice.below(4) == 0 {
                    life.idle_until_marker().await;
                }
            }
            // Sealed in this life, and in lives before.
            let found = pass(life).await;
            let damaged: Vec<_> = found.iter().flat_map(|s| &s.damaged).collect();
            assert!(damaged.is_empty(), "seed {seed}: {damaged:?}");
            let next_frame_seq = found.last().unwrap().chain.unwrap().next_frame_seq;
            assert!(next_frame_seq > 1 && next_frame_seq < life.writer.chain().next_frame_seq);
        });
    }
}

fn any_flipped_bit_is_found_at_its_frame(device: &impl Device) {
    const SEED: u64 = 11;
    write_log(device, SEED);
    let mut dice = Stream::new(SEED, "flips");
    let frames = sealed_frames(&device.files());
    for round in 0..25 {
        let frame = &frames[dice.index(frames.len())];
        let used = 64 + frame.header.payload_bytes as usize;
        // The header is a small part of a frame and half of the interesting places.
        let within = if dice.coin() { 64 } else { used };
        let at = dice.index(within);
        let bit = 1u8 << dice.below(8);
        let before = edit(device, &frame.file, |bytes| bytes[frame.offset + at] ^= bit);
        let found = found_after_restart(device);
        let case = format!("seed {SEED}, round {round}: {frame:?} byte {at}: {found:?}");
        let [only] = &found[..] else { panic!("{case}") };
        assert_eq!((only.pos, only.frames), (pos_of(frame), 1), "{case}");
        // Only a pass that begins here does not know which number comes first in a segment.
        let first_of_all = frame.header.frame_seq == 1;
        assert!(only.frame_seq == Some(frame.header.frame_seq) || first_of_all, "{case}");
        let end = frame.offset + frame.header.frame_bytes();
        let is_last = !frames.iter().any(|f| f.file == frame.file && f.offset == end);
        assert!(is_last || only.end_bytes as usize == end, "{case}");
        device.put(&frame.file, &before);
    }
    assert_eq!(found_after_restart(device), []);
}

fn what_follows_the_last_whole_frame_is_missed(device: &impl Device) {
    write_log(device, 12);
    let frames = sealed_frames(&device.files());
    let in_second: Vec<_> = frames.iter().filter(|f| f.header.epoch == 2).collect();
    let [.., a, b, c] = in_second[..] else { panic!("a segment holds more frames") };
    edit(device, &c.file, |bytes| bytes[a.offset..].fill(0));
    let found = found_after_restart(device);
    let [only] = &found[..] else { panic!("{found:?}") };
    let named = (only.pos, only.frame_seq, only.frames, &only.reason);
    let expected = &DamageReason::Format(FormatError::Magic);
    assert_eq!(named, (pos_of(a), Some(b.header.frame_seq - 1), 3, expected));
}

fn a_frame_that_is_whole_but_another_is_found(device: &impl Device) {
    write_log(device, 13);
    let frames = sealed_frames(&device.files());
    // The disk lost a write, or put another one here.
    let [first, second] = [&frames[1], &frames[2]];
    edit(device, &first.file, |bytes| {
        let copy = bytes[second.offset..second.offset + BLOCK_BYTES].to_vec();
        bytes[first.offset..first.offset + BLOCK_BYTES].copy_from_slice(&copy);
    });
    let found = found_after_restart(device);
    let [only] = &found[..] else { panic!("{found:?}") };
    assert_eq!((only.pos, &only.reason), (pos_of(first), &DamageReason::Misplaced));
    assert_eq!(only.end_bytes as usize, second.offset);
}

fn a_damaged_segment_header_is_found(device: &impl Device) {
    let mut dice = Stream::new(14, "scrub");
    live(device, async |life| {
        while life.segments.active().epoch < 4 {
            life.append_durably(&mut dice, 1, 50_000).await;
        }
        let file = life.segments.get(2).unwrap().file.name().to_owned();
        edit(device, &file, |bytes| bytes[30] ^= 1);
        let found: Vec<Damage> = pass(life).await.into_iter().flat_map(|s| s.damaged).collect();
        let [only] = &found[..] else { panic!("{found:?}") };
        let expected = LogPos { segment: 2, offset_bytes: 0 };
        assert_eq!((only.pos, only.frames, only.frame_seq), (expected, 0, None));
        assert_eq!(only.end_bytes as usize, SEGMENT_HEADER_BYTES);
        assert_eq!(only.reason, DamageReason::Format(FormatError::HeaderChecksum));
    });
}

fn damage_does_not_hide_damage_after_it(device: &impl Device) {
    let mut dice = Stream::new(15, "scrub");
    live(device, async |life| {
        while life.segments.active().epoch < 4 {
            life.append_durably(&mut dice, 7, 50_000).await;
        }
        let frames = sealed_frames(&device.files());
        // Two neighbours, one a little later, and the last of a segment that was sealed just now.
        let last = frames.iter().rposition(|f| f.header.epoch == 2).unwrap();
        for (frame, at) in [(2, 0), (3, 20), (6, 4_000), (last, 100)] {
            let RawFrame { file, offset, .. } = &frames[frame];
            edit(device, file, |bytes| bytes[offset + at] ^= 0x10);
        }
        let found: Vec<Damage> = pass(life).await.into_iter().flat_map(|s| s.damaged).collect();
        let places: Vec<_> = found.iter().map(|d| (d.pos, d.frames)).collect();
        let expected = [(2, 2), (6, 1), (last, 1)].map(|(f, n)| (pos_of(&frames[f]), n));
        assert_eq!(places, expected, "{found:?}");
        let streams: Vec<_> = found.iter().map(|d| d.streams.as_slice()).collect();
        assert_eq!(streams, [[StreamId(7)]; 3], "{found:?}");
    });
}

#[test]
fn sectors_that_cannot_be_read_are_found_and_their_neighbours_are_not() {
    let device = Simulated::new();
    write_log(&device, 16);
    let frames = sealed_frames(&device.files());
    // A place that is inside a frame in one segment; what it is in the others follows.
    let frame = frames.iter().find(|f| f.header.frame_bytes() > 4 * BLOCK_BYTES).unwrap();
    let bad = (frame.offset + 2 * BLOCK_BYTES) as u64;
    let hit: Vec<_> = frames
        .iter()
        .filter(|f| f.offset as u64 <= bad && bad < (f.offset + f.header.frame_bytes()) as u64)
        .map(pos_of)
        .collect();
    let found = live(&device, async |life| {
        let faults = life.io.faults();
        life.io.set_faults(thalweg::io::sim::Faults { unreadable: Some((bad, 512)), ..faults });
        pass(life).await
    });
    let found: Vec<Damage> = found.into_iter().flat_map(|s| s.damaged).collect();
    assert_eq!(found.iter().map(|d| d.pos).collect::<Vec<_>>(), hit, "{found:?}");
    let all = found.iter().all(|d| matches!(d.reason, DamageReason::Unreadable(_)));
    assert!(all && !found.is_empty(), "{found:?}");
}

#[test]
fn a_segment_given_up_during_the_look_at_it_is_no_damage() {
    let device = Simulated::new();
    let mut dice = Stream::new(17, "scrub");
    live(&device, async |life| {
        while life.segments.active().epoch < 3 {
            life.append_durably(&mut dice, 1, 50_000).await;
        }
        let (io, segments) = (&*life.io, &*life.segments);
        // A quarter of a second for each quarter of the segment.
        let bytes_per_sec = 1 << 20;
        let scrubber = Scrubber { io, log: FACTS, segments, bytes_per_sec, tally: |_| () };
        let look = scrubber.scrub(1, None);
        let reuse = async {
            io.sleep_us(400_000).await;
            let name = segments.get(1).expect("still there").file.name().to_owned();
            assert_eq!(segments.release_before(2), 1);
            while segments.active().file.name() != name {
                life.append_durably(&mut dice, 1, 50_000).await;
            }
        };
        let (found, ()) = futures_util::future::join(look, reuse).await;
        assert_eq!(found, None);
        assert_eq!(scrubber.scrub(1, None).await, None, "it is not there any more");
        let second = scrubber.scrub(2, None).await.expect("it is");
        assert_eq!(second.damaged, []);
    });
}

#[test]
fn what_a_read_returns_after_its_segment_was_given_up_says_nothing() {
    for seed in 20..60 {
        let device = Simulated::new();
        write_log(&device, seed);
        live(&device, async |life| {
            let (io, segments) = (&*life.io, &*life.segments);
            let latency_us_max = 1_000_000;
            io.set_faults(thalweg::io::sim::Faults { latency_us_max, ..io.faults() });
            let scrubber =
                Scrubber { io, log: FACTS, segments, bytes_per_sec: FAST, tally: |_| () };
            let give_up = async {
                // The reads of a segment take some 3 s: during any of them, the last one too.
                io.sleep_us((seed - 20) * 100_000).await;
                let name = segments.get(1).expect("still there").file.name().to_owned();
                assert_eq!(segments.release_before(2), 1);
                io.put_contents(&name, vec![0xFF; 1 << 20]);
            };
            let (found, ()) = futures_util::future::join(scrubber.scrub(1, None), give_up).await;
            assert!(found.is_none_or(|s| s.damaged.is_empty()), "seed {seed}");
        });
    }
}

#[test]
fn reading_keeps_to_its_rate() {
    let device = Simulated::new();
    write_log(&device, 18);
    live(&device, async |life| {
        let (io, segments) = (&*life.io, &*life.segments);
        let read = std::cell::Cell::new(0);
        let tally = |bytes| read.set(read.get() + bytes);
        let scrubber = Scrubber { io, log: FACTS, segments, bytes_per_sec: 100_000, tally };
        let begin_us = io.now_us();
        scrubber.scrub(1, None).await.expect("it is there");
        let took_us = io.now_us() - begin_us;
        assert!(read.get() > 500_000, "most of a segment was read: {}", read.get());
        let at_rate_us = read.get() * 10;
        assert!((at_rate_us..at_rate_us + 100_000).contains(&took_us), "{took_us} {at_rate_us}");
    });
}
