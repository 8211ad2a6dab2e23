//! What opening a log mends, and what it refuses: cut what was never acknowledged, never pass
//! over what was.

use std::collections::BTreeMap;

use thalweg::io::sim::Stream;
use thalweg::io::{BLOCK_BYTES, Clock, Io};
use thalweg::log::format::{FormatError, FrameHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use thalweg::log::recovery::RecoveryError;
use thalweg::log::scan::ScanError;
use thalweg::log::segments::SPARES;
use thalweg::types::StreamId;

use crate::device::{Device, on_both_devices};
use crate::kit::{
    Appended, FACTS, Life, RawFrame, live, open_as, raw_frames, records, refused, reopen,
};

on_both_devices! {
    an_unproven_frame_is_cut_and_the_log_goes_on,
    a_flipped_bit_in_proven_frames_is_refused,
    zeroed_blocks_in_the_middle_are_refused,
    damage_in_the_last_frame_is_refused_once_a_marker_says_that_it_was_durable,
    a_missing_segment_is_refused,
    a_segment_of_another_directory_or_shard_is_refused,
    an_unknown_version_is_refused_wherever_it_stands,
    a_damaged_segment_header_with_frames_after_it_is_refused,
    two_segments_of_one_epoch_are_refused,
    an_interrupted_creation_is_cleaned_up,
    unknown_files_are_left_alone,
    frames_of_a_former_use_are_not_taken_for_new_ones,
}

/// Groups of a few batches each over some segments, each batch of a stream of its own number.
fn write_log(device: &impl Device, seed: u64, groups: u64) -> Vec<Appended> {
    let mut dice = Stream::new(seed, "recovery");
    live(device, async |life| {
        for group in 0..groups {
            for _ in 0..=dice.below(2) {
                let len = 1 + dice.index(100_000);
                life.append(group, records(&mut dice, &[len]));
            }
            life.flush_all().await;
        }
        // Else a segment may be left half made, when the device is quicker than its making.
        for _ in 0..10_000 {
            if life.segments.spare_count() >= SPARES {
                break;
            }
            life.io.sleep_us(1_000).await;
        }
        life.appended.take()
    })
}

/// The streams with batches in a frame.
fn streams_in(files: &BTreeMap<String, Vec<u8>>, frame: &RawFrame) -> Vec<StreamId> {
    let payload = &files[&frame.file][frame.offset + 64..][..frame.header.payload_bytes as usize];
    let entries = thalweg::log::entry::entries(payload).map(Result::unwrap);
    let mut streams: Vec<StreamId> =
        entries.map(|e| thalweg::log::entry::Batch::of(&e).unwrap().place.stream).collect();
    streams.dedup();
    streams
}

fn flip(device: &impl Device, file: &str, at: usize) {
    let mut bytes = device.files()[file].clone();
    bytes[at] ^= 0x04;
    device.put(file, &bytes);
}

/// Checks that opening is refused because of damage in `frame`, and names it.
fn assert_damaged(
    device: &impl Device,
    frame: &RawFrame,
    streams: Option<&[StreamId]>,
    case: &str,
) {
    let refusal = refused(device);
    let RecoveryError::Scan(ScanError::Damaged {
        file,
        offset_bytes,
        frame_seq,
        streams: named,
        ..
    }) = &refusal
    else {
        panic!("{case}: {refusal}");
    };
    assert_eq!(
        (file.as_str(), *offset_bytes as usize, *frame_seq),
        (frame.file.as_str(), frame.offset, frame.header.frame_seq),
        "{case}"
    );
    if let Some(streams) = streams {
        assert_eq!(named, streams, "{case}");
    }
    assert!(refusal.to_string().contains(&frame.file), "{case}");
}

fn an_unproven_frame_is_cut_and_the_log_goes_on(device: &impl Device) {
    let mut model = write_log(device, 1, 13);
    // Without a marker nothing proves that the last group was durable.
    let files = device.files();
    let last = raw_frames(&files, FACTS).pop().unwrap();
    assert!(last.offset > SEGMENT_HEADER_BYTES, "it shares its segment with acknowledged frames");
    let lost = streams_in(&files, &last);
    flip(device, &last.file, last.offset + 100);
    let kept: Vec<Appended> = {
        let found = reopen(device);
        assert_eq!(found.frames.last().unwrap().1.frame_seq, last.header.frame_seq - 1);
        found.batches
    };
    assert!(model.starts_with(&kept) && kept.len() < model.len());
    assert!(model[kept.len()..].iter().all(|b| lost.contains(&StreamId(b.stream))));
    let end = last.offset + last.header.frame_bytes();
    let cut = &device.files()[&last.file][last.offset..end];
    assert!(cut.iter().all(|b| *b == 0), "the torn frame's place is zeroed");
    model = kept;
    let mut dice = Stream::new(2, "recovery");
    for _ in 0..3 {
        live(device, async |life| {
            assert_eq!(life.torn_bytes, 0);
            life.append_durably(&mut dice, 77, 5_000).await;
            model.extend(life.appended.take());
        });
        assert!(reopen(device).batches == model);
    }
}

fn a_flipped_bit_in_proven_frames_is_refused(device: &impl Device) {
    write_log(device, 3, 40);
    let files = device.files();
    let frames = raw_frames(&files, FACTS);
    let newest_durable = frames.last().unwrap().header.durable_seq;
    let proven: Vec<&RawFrame> =
        frames.iter().filter(|f| f.header.frame_seq <= newest_durable).collect();
    let first_of_segments = proven.iter().filter(|f| f.offset == SEGMENT_HEADER_BYTES);
    assert!(first_of_segments.count() >= 3, "several segments");
    let last_of_segment = proven.windows(2).filter(|w| w[0].file != w[1].file).map(|w| w[0]);
    let mut chosen: Vec<&RawFrame> = last_of_segment.collect();
    chosen.extend(proven.iter().filter(|f| f.offset == SEGMENT_HEADER_BYTES));
    chosen.extend([proven[1], proven[proven.len() / 2], proven[proven.len() - 1]]);
    for frame in chosen {
        let streams = streams_in(&files, frame);
        let payload_end = 64 + frame.header.payload_bytes as usize;
        // The last byte of a payload is a record's, so its streams are still told.
        let places = [(0, true), (17, true), (63, true), (payload_end - 1, true), (72, false)];
        for (place, told) in places {
            flip(device, &frame.file, frame.offset + place);
            let case = format!("frame {} byte {place}", frame.header.frame_seq);
            assert_damaged(device, frame, told.then_some(&streams), &case);
            device.put(&frame.file, &files[&frame.file]);
        }
    }
    assert_eq!(reopen(device).frames.len(), frames.len(), "undamaged, it opens");
}

fn zeroed_blocks_in_the_middle_are_refused(device: &impl Device) {
    write_log(device, 4, 30);
    let files = device.files();
    let frames = raw_frames(&files, FACTS);
    let large =
        frames[frames.len() / 2..].iter().find(|f| f.header.frame_bytes() > 3 * BLOCK_BYTES);
    let large = large.unwrap();
    for block in 0..3 {
        let mut bytes = files[&large.file].clone();
        let at = large.offset + block * BLOCK_BYTES;
        bytes[at..at + BLOCK_BYTES].fill(0);
        device.put(&large.file, &bytes);
        assert_damaged(device, large, None, &format!("block {block}"));
    }
    // A whole hole of several frames, as a lost stretch of a device would be.
    let mut bytes = files[&large.file].clone();
    bytes[SEGMENT_HEADER_BYTES..large.offset + BLOCK_BYTES].fill(0);
    device.put(&large.file, &bytes);
    let first = frames.iter().find(|f| f.file == large.file).unwrap();
    assert_damaged(device, first, None, "hole");
}

fn damage_in_the_last_frame_is_refused_once_a_marker_says_that_it_was_durable(
    device: &impl Device,
) {
    let mut dice = Stream::new(5, "recovery");
    live(device, async |life| {
        life.append_durably(&mut dice, 1, 3_000).await;
        life.append_durably(&mut dice, 2, 9_000).await;
        life.idle_until_marker().await;
    });
    let files = device.files();
    let frames = raw_frames(&files, FACTS);
    let [_, last, marker] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((marker.header.entry_count, marker.header.durable_seq), (0, 2));
    flip(device, &last.file, last.offset + 5_000);
    assert_damaged(device, last, Some(&[StreamId(2)]), "the last frame with records");
    // The marker itself is only evidence: without it the log is as good.
    device.put(&marker.file, &files[&marker.file]);
    flip(device, &marker.file, marker.offset + 10);
    assert_eq!(reopen(device).batches.len(), 2);
}

fn a_missing_segment_is_refused(device: &impl Device) {
    write_log(device, 7, 40);
    let files = device.files();
    assert!(files.len() >= 4);
    let epoch_of = |name: &String| SegmentHeader::decode(&files[name]).unwrap().epoch;
    let last = files.keys().map(epoch_of).max().unwrap();
    for name in files.keys().filter(|name| epoch_of(name) < last) {
        device.remove(name);
        match refused(device) {
            RecoveryError::SegmentMissing(epoch) => assert_eq!(epoch, epoch_of(name)),
            RecoveryError::CheckpointMissing(2) => assert_eq!(epoch_of(name), 1),
            other => panic!("{name}: {other}"),
        }
        device.put(name, &files[name]);
    }
    reopen(device);
}

/// Replaces a segment's header, checksum and all.
fn rewrite_header(bytes: &mut [u8], change: impl FnOnce(&mut SegmentHeader)) {
    let mut header = SegmentHeader::decode(bytes).unwrap();
    change(&mut header);
    header.encode(&mut bytes[..SEGMENT_HEADER_BYTES]);
}

fn a_segment_of_another_directory_or_shard_is_refused(device: &impl Device) {
    type Change = fn(&mut SegmentHeader);
    write_log(device, 8, 20);
    let files = device.files();
    let changes: [(&str, Change); 4] = [
        ("directory", |h| h.directory_id += 1),
        ("shard", |h| h.shard += 1),
        ("longer than the file", |h| h.segment_bytes += 4096),
        ("no whole blocks", |h| h.segment_bytes -= 512),
    ];
    for (case, change) in changes {
        for (name, bytes) in &files {
            let mut bytes = bytes.clone();
            rewrite_header(&mut bytes, change);
            device.put(name, &bytes);
            let RecoveryError::SegmentHeader { file, .. } = refused(device) else {
                panic!("{case}: another refusal");
            };
            assert_eq!(&file, name, "{case}");
            device.put(name, &files[name]);
        }
    }
}

/// Gives an encoded header another version, and the checksum that goes with it.
fn reversion(bytes: &mut [u8], salt: u32) {
    bytes[4..6].copy_from_slice(&9u16.to_le_bytes());
    let crc = crc32c::crc32c_append(salt, &bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
}

fn an_unknown_version_is_refused_wherever_it_stands(device: &impl Device) {
    write_log(device, 9, 20);
    let files = device.files();
    let frames = raw_frames(&files, FACTS);
    let salt = crc32c::crc32c(&FACTS.directory_id.to_le_bytes());
    for frame in [&frames[0], &frames[frames.len() / 2], &frames[frames.len() - 1]] {
        let mut bytes = files[&frame.file].clone();
        reversion(&mut bytes[frame.offset..], salt);
        let decoded = FrameHeader::decode(&bytes[frame.offset..], FACTS.salt());
        assert_eq!(decoded, Err(FormatError::Version(9)));
        device.put(&frame.file, &bytes);
        let refusal = refused(device).to_string();
        assert!(refusal.contains("version 9 is not known"), "{refusal}");
        assert!(refusal.contains(&frame.file), "{refusal}");
        device.put(&frame.file, &files[&frame.file]);
    }
    let (name, bytes) = files.iter().next().unwrap();
    let mut bytes = bytes.clone();
    reversion(&mut bytes, 0);
    device.put(name, &bytes);
    let refusal = refused(device).to_string();
    assert!(refusal.contains("version 9 is not known"), "{refusal}");
}

fn a_damaged_segment_header_with_frames_after_it_is_refused(device: &impl Device) {
    write_log(device, 10, 30);
    let files = device.files();
    let with_frames: Vec<String> = raw_frames(&files, FACTS).into_iter().map(|f| f.file).collect();
    for name in files.keys().filter(|name| with_frames.contains(name)) {
        for at in [0, 9, 30, 62] {
            flip(device, name, at);
            let refusal = refused(device);
            let RecoveryError::SegmentHeader { file, .. } = &refusal else { panic!("{refusal}") };
            assert_eq!(file, name);
            device.put(name, &files[name]);
        }
    }
}

fn two_segments_of_one_epoch_are_refused(device: &impl Device) {
    write_log(device, 11, 20);
    let files = device.files();
    device.put("segment-00000099.log", files.values().next().unwrap());
    let refusal = refused(device).to_string();
    assert!(refusal.contains("two segments of one epoch"), "{refusal}");
}

fn an_interrupted_creation_is_cleaned_up(device: &impl Device) {
    let model = write_log(device, 12, 20);
    let before = device.files().len();
    let whole = vec![0; usize::try_from(FACTS.segment_bytes).unwrap()];
    let cases: [(&str, &[u8]); 4] = [
        ("segment-00000090.log", &[]),
        ("segment-00000091.log", &whole[..4096]),
        ("segment-00000092.log", &whole[..65536]),
        ("segment-00000093.log", &whole),
    ];
    for (name, bytes) in cases {
        device.put(name, bytes);
    }
    assert!(reopen(device).batches == model);
    let files = device.files();
    assert_eq!(files.len(), before, "they are gone, also the one of full length");
    live(device, async |life| {
        let mut dice = Stream::new(13, "recovery");
        let epoch = life.segments.active().epoch;
        while life.segments.active().epoch < epoch + 2 {
            life.append_durably(&mut dice, 1, 300_000).await;
        }
    });
    assert!(reopen(device).batches.starts_with(&model));
}

fn unknown_files_are_left_alone(device: &impl Device) {
    let model = write_log(device, 14, 20);
    let strangers = ["notes.txt", "segment-1.log", "segment-0000000x.log", "checkpoint-x.ckpt"];
    for name in strangers {
        device.put(name, b"not ours");
    }
    assert!(reopen(device).batches == model);
    let files = device.files();
    for name in strangers {
        assert_eq!(files[name], b"not ours", "{name}");
    }
}

async fn append_to_epoch<I: Io>(life: &Life<I>, dice: &mut Stream, epoch: u64, len: usize) {
    while life.segments.active().epoch < epoch {
        life.append_durably(dice, 1, len).await;
    }
}

fn frames_of_a_former_use_are_not_taken_for_new_ones(device: &impl Device) {
    use crate::kit::write_checkpoint;
    let mut dice = Stream::new(15, "recovery");
    let mut model = live(device, async |life| {
        // Frames of one block: whatever the end, an old frame starts right there.
        append_to_epoch(life, &mut dice, 4, 100).await;
        // Two, as the server has before it gives up anything: the older one needs no more.
        for text in ["all before is dead", "it still is"] {
            life.append_durably(&mut dice, 1, 100).await;
            write_checkpoint(life, 4, text).await;
        }
        life.appended.take();
        life.segments.release_before(4);
        append_to_epoch(life, &mut dice, 6, 100_000).await;
        life.append_durably(&mut dice, 1, 100).await;
        life.appended.take()
    });
    let names = device.files().len();
    for _ in 0..3 {
        let found = reopen(device);
        assert!(found.batches == model, "{} of {}", found.batches.len(), model.len());
        live(device, async |life| {
            life.append_durably(&mut dice, 1, 5_000).await;
            model.extend(life.appended.take());
        });
    }
    // The first life may have ended before the second spare was made.
    assert!(device.files().len() <= names + 1, "no other file was needed anew");
}

#[test]
fn any_part_of_the_last_group_is_cut_at_its_last_good_frame() {
    use thalweg::io::sim::{SimIo, SimRuntime};
    let io = SimIo::new(1);
    let mut dice = Stream::new(16, "recovery");
    let model = SimRuntime::new(&io).block_on(async {
        let life = crate::kit::open(&std::rc::Rc::new(io.clone())).await.unwrap();
        life.append_durably(&mut dice, 1, 500).await;
        let faults = thalweg::io::sim::Faults { fail_sync: Some(0), ..io.faults() };
        io.set_faults(faults);
        life.append(2, records(&mut dice, &[5_000]));
        assert!(life.flush().await.is_err(), "its sync fails, so it is not acknowledged");
        life.appended.take()
    });
    let sectors = io.unsynced_sectors();
    assert_eq!(sectors, 16, "a frame of two blocks");
    // The sectors that hold the frame's 5.1 kB must all be there; padding may be missing.
    let needed = (0..sectors).take_while(|sector| sector * 512 < 5_200).count();
    let mut whole = 0;
    for kept in 0u32..1 << sectors {
        // All 65,536 subsets would take minutes: those that keep or lose at most two sectors, and
        // some of the others.
        let interesting = kept % 97 == 0 || kept.count_ones() <= 2 || kept.count_zeros() <= 18;
        if !interesting {
            continue;
        }
        let after = io.crash_keeping(u64::from(kept), |sector| kept >> sector & 1 == 1);
        let is_whole = (0..needed).all(|sector| kept >> sector & 1 == 1);
        whole += u32::from(is_whole);
        check_reopening(&after, if is_whole { &model } else { &model[..1] }, kept);
    }
    assert!(whole >= 16, "some subsets keep the frame: {whole}");
}

/// Opens the log, expects `model`, appends, and opens it again.
fn check_reopening(io: &thalweg::io::sim::SimIo, model: &[Appended], kept: u32) {
    let facts = FACTS;
    let io = std::rc::Rc::new(io.clone());
    let runtime = thalweg::io::sim::SimRuntime::new(&io);
    runtime.block_on(async {
        let life = open_as(&io, facts).await.unwrap();
        assert!(life.found.batches == model, "sectors {kept:016b}");
        let mut dice = Stream::new(17, "recovery");
        life.append_durably(&mut dice, 3, 300).await;
        let again = open_as(&io, facts).await.unwrap();
        assert_eq!((again.found.batches.len(), again.torn_bytes), (model.len() + 1, 0));
    });
}

#[test]
fn a_quiet_log_with_a_full_segment_waits_for_nothing_but_appends() {
    use thalweg::io::Clock;
    use thalweg::io::sim::{SimIo, SimRuntime};
    let io = SimIo::new(2);
    let mut dice = Stream::new(6, "recovery");
    SimRuntime::new(&io).block_on(async {
        let life = crate::kit::open(&std::rc::Rc::new(io.clone())).await.unwrap();
        while life.segments.active().room_bytes() > 0 {
            life.append_durably(&mut dice, 1, 100).await;
        }
        let before = io.trace().len();
        let flush = std::pin::pin!(life.writer.flush_next());
        let wait = std::pin::pin!(io.sleep_us(1_000_000));
        futures_util::future::select(flush, wait).await;
        let events = io.trace().len() - before;
        assert!(events <= 2, "it woke {events} times although there is no room for a marker");
    });
}

#[test]
fn a_marker_is_durable_before_anything_in_the_next_segment_is() {
    use thalweg::io::sim::{SimIo, SimRuntime};
    for seed in 0..20 {
        let io = SimIo::new(seed);
        let mut dice = Stream::new(seed, "recovery");
        SimRuntime::new(&io).block_on(async {
            let life = crate::kit::open(&std::rc::Rc::new(io.clone())).await.unwrap();
            let body = Box::pin(async {
                life.append_durably(&mut dice, 1, 700_000).await;
                life.idle_until_marker().await;
                life.append_durably(&mut dice, 1, 700_000).await;
            });
            Box::pin(crate::kit::kept(&life, body)).await;
        });
        let after = io.crash(seed);
        SimRuntime::new(&after).block_on(async {
            let life = crate::kit::open(&std::rc::Rc::new(after.clone())).await.unwrap();
            assert_eq!(life.found.batches.len(), 2, "seed {seed}: both were acknowledged");
        });
    }
}

#[test]
fn what_recovery_has_shown_survives_a_power_cut_after_it() {
    use thalweg::io::sim::{Faults, SimIo, SimRuntime};
    for seed in 0..20 {
        let io = SimIo::new(seed);
        let mut dice = Stream::new(seed, "recovery");
        SimRuntime::new(&io).block_on(async {
            let life = crate::kit::open(&std::rc::Rc::new(io.clone())).await.unwrap();
            io.set_faults(Faults { fail_sync: Some(0), ..io.faults() });
            life.append(1, records(&mut dice, &[5_000]));
            assert!(life.flush().await.is_err(), "written and not synced");
        });
        let mut after = io.kill(seed);
        for _ in 0..2 {
            SimRuntime::new(&after).block_on(async {
                let life = crate::kit::open(&std::rc::Rc::new(after.clone())).await.unwrap();
                assert_eq!(life.found.batches.len(), 1, "seed {seed}");
            });
            after = after.crash(seed);
        }
    }
}
