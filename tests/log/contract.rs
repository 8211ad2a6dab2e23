//! What an undisturbed log does.

use thalweg::io::sim::Stream;
use thalweg::io::{BLOCK_BYTES, Disk};
use thalweg::log::checkpoint;
use thalweg::log::entry::Kind;
use thalweg::log::format::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};

use crate::device::{Device, on_both_devices};
use crate::kit::{FACTS, Life, live, raw_frames, records, reopen, write_checkpoint};

on_both_devices! {
    an_empty_directory_becomes_a_log,
    what_was_appended_comes_back,
    frames_are_chained_padded_and_never_cross_segments,
    the_reader_returns_what_is_durable,
    a_span_that_ends_with_its_segment_can_be_read,
    metadata_keeps_its_place_among_batches,
    recovery_goes_on_from_a_checkpoint,
    a_damaged_checkpoint_falls_back_to_the_one_before,
    interrupted_checkpoints_do_not_pile_up,
    released_segments_are_used_again,
    a_spare_that_was_never_used_is_used_after_reopening,
    opening_says_how_far_it_is_up_to_the_end,
}

/// What lies behind the last frame is looked at and counted, spares too.
fn opening_says_how_far_it_is_up_to_the_end(device: &impl Device) {
    live(device, async |life| fill(life, &mut Stream::new(13, "contract"), 24).await);
    let bytes = |found: (String, Vec<u8>)| found.1.len() as u64;
    let files: u64 = device.files().into_iter().map(bytes).sum();
    let progress = reopen(device).progress;
    assert!(progress.is_sorted_by(|a, b| a.0 <= b.0), "it goes on");
    let expected = progress[0].1;
    assert!(progress.iter().all(|(_, total)| *total == expected), "of {expected} bytes");
    // A segment that was being made when the life ended holds nothing.
    let unfinished = FACTS.segment_bytes;
    assert!((files - unfinished..=files).contains(&expected), "{expected} of {files} bytes");
    assert_eq!(progress.last(), Some(&(expected, expected)), "and all is looked at");
    let sealed_bytes = progress[0].1 / 2;
    assert!(progress.iter().any(|(read, _)| *read > 0 && *read < sealed_bytes), "step by step");
}

fn an_empty_directory_becomes_a_log(device: &impl Device) {
    let found = reopen(device);
    assert!(found.frames.is_empty());
    let files = device.files();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["segment-00000001.log"]);
    assert_eq!(files["segment-00000001.log"].len() as u64, FACTS.segment_bytes);
    assert!(reopen(device).frames.is_empty());
    assert_eq!(device.files().len(), 1, "opening an empty log again makes nothing new");
}

/// Appends over several segments, in groups of one to several batches.
async fn fill<I: thalweg::io::Io>(life: &Life<I>, dice: &mut Stream, groups: u64) {
    for group in 0..groups {
        for _ in 0..=dice.below(4) {
            let records_count = 1 + dice.index(5);
            let lengths: Vec<usize> = (0..records_count)
                .map(|_| match group % 8 {
                    0 => dice.index(150_000),
                    _ => dice.index(3_000),
                })
                .collect();
            life.append(dice.below(5), records(dice, &lengths));
        }
        life.flush_all().await;
    }
}

fn what_was_appended_comes_back(device: &impl Device) {
    let mut dice = Stream::new(1, "contract");
    let mut model = Vec::new();
    for _ in 0..3 {
        let (found, appended) = live(device, async |life| {
            fill(life, &mut dice, 24).await;
            assert!(life.torn_bytes == 0);
            (life.found.batches.clone(), life.appended.take())
        });
        assert!(found == model, "what earlier lives appended");
        model.extend(appended);
    }
    assert!(reopen(device).batches == model);
    let segments = device.files().len();
    assert!(segments > 4, "it rolled: {segments} files");
}

fn frames_are_chained_padded_and_never_cross_segments(device: &impl Device) {
    let mut dice = Stream::new(2, "contract");
    // Where each group ended, by its last frame: durable_seq must name exactly these.
    let groups: Vec<usize> = live(device, async |life| {
        let mut groups = Vec::new();
        for _ in 0..40 {
            for _ in 0..1 + dice.below(6) {
                let len = 1 + dice.index(60_000);
                life.append(1, records(&mut dice, &[len]));
            }
            groups.push(life.flush().await.unwrap().frames.len());
            life.flush_all().await;
        }
        groups
    });
    assert!(groups.iter().any(|frames| *frames > 1), "some group has several frames");
    let files = device.files();
    let frames = raw_frames(&files, FACTS);
    let (mut prev_crc, mut durable_seq, mut epoch) = (0, 0, 1);
    for (frame, expected_seq) in frames.iter().zip(1..) {
        let header = frame.header;
        assert_eq!((header.frame_seq, header.prev_crc), (expected_seq, prev_crc));
        assert_eq!(header.shard, FACTS.shard);
        assert!(header.durable_seq >= durable_seq && header.durable_seq < header.frame_seq);
        assert!(header.epoch == epoch || header.epoch == epoch + 1);
        let end = frame.offset + header.frame_bytes();
        assert!(end as u64 <= FACTS.segment_bytes, "a frame never crosses a segment");
        let payload_end = frame.offset + FRAME_HEADER_BYTES + header.payload_bytes as usize;
        let padding = &files[&frame.file][payload_end..end];
        assert!(padding.len() < BLOCK_BYTES && padding.iter().all(|b| *b == 0), "padding");
        (prev_crc, durable_seq, epoch) = (frame.crc, header.durable_seq, header.epoch);
    }
    assert!(epoch > 2, "it rolled");
    let seen = reopen(device).frames;
    assert_eq!(seen.len(), frames.len(), "a scan sees what is there");
    // Every frame knows of the group before it, and of nothing in its own group.
    let first = frames.iter().filter(|f| f.header.durable_seq + 1 == f.header.frame_seq).count();
    assert!(first >= groups.len(), "the first frame of each group");
}

fn the_reader_returns_what_is_durable(device: &impl Device) {
    let mut dice = Stream::new(3, "contract");
    let model = live(device, async |life| {
        fill(life, &mut dice, 30).await;
        let model = life.appended.take();
        check_reads(life, &model).await;
        model
    });
    // Now nothing is in the window: everything comes from the disk.
    live(device, async |life| check_reads(life, &model).await);
}

async fn check_reads<I: thalweg::io::Io>(life: &Life<I>, model: &[crate::kit::Appended]) {
    for stream in 0..5 {
        let expected: Vec<_> = model.iter().filter(|b| b.stream == stream).cloned().collect();
        assert!(!expected.is_empty());
        assert!(life.read_stream(stream).await == expected, "stream {stream}");
    }
}

/// Fills the active segment to its last byte with frames of one block.
async fn fill_segment_exactly<I: thalweg::io::Io>(life: &Life<I>, dice: &mut Stream) {
    while life.segments.active().room_bytes() > 0 {
        life.append_durably(dice, 1, 100).await;
    }
}

fn a_span_that_ends_with_its_segment_can_be_read(device: &impl Device) {
    let mut dice = Stream::new(4, "contract");
    let model = live(device, async |life| {
        fill_segment_exactly(life, &mut dice).await;
        life.append_durably(&mut dice, 1, 100).await;
        assert_eq!(life.segments.active().epoch, 2);
        let model = life.appended.take();
        assert!(life.read_stream(1).await == model);
        model
    });
    live(device, async |life| assert!(life.read_stream(1).await == model));
}

fn metadata_keeps_its_place_among_batches(device: &impl Device) {
    let mut dice = Stream::new(5, "contract");
    let entries =
        [(Kind::Basin, "{}"), (Kind::Stream, r#"{"id":1}"#), (Kind::StreamGone, r#"{"id":1}"#)];
    live(device, async |life| {
        for (kind, json) in entries {
            life.append(1, records(&mut dice, &[10]));
            life.appended.borrow_mut().pop();
            life.writer.append_metadata(kind, json.as_bytes(), 0);
        }
        let flushed = life.writer.flush_next().await.unwrap();
        assert_eq!((flushed.frames.len(), flushed.durable_ticket), (1, 6));
        assert_eq!(flushed.frames[0].notes, [0; 6]);
    });
    let found = reopen(device);
    let expected = entries.map(|(kind, json)| (kind, json.as_bytes().to_vec()));
    assert_eq!(found.metadata, expected);
    assert_eq!((found.batches.len(), found.frames.len()), (3, 1));
}

/// Three checkpoints with records before, between and after them; returns what came after each.
fn with_checkpoints(device: &impl Device) -> [Vec<crate::kit::Appended>; 3] {
    let mut dice = Stream::new(6, "contract");
    live(device, async |life| {
        let mut after = [Vec::new(), Vec::new(), Vec::new()];
        fill(life, &mut dice, 12).await;
        for (number, after) in after.iter_mut().enumerate() {
            life.appended.take();
            write_checkpoint(life, 1, &format!("checkpoint {number}")).await;
            fill(life, &mut dice, 12).await;
            after.extend(life.appended.borrow().iter().cloned());
        }
        after
    })
}

fn recovery_goes_on_from_a_checkpoint(device: &impl Device) {
    let after = with_checkpoints(device);
    let names: Vec<String> =
        device.files().into_keys().filter(|n| n.starts_with("checkpoint")).collect();
    assert_eq!(names.len(), 2, "the newest two are kept: {names:?}");
    let found = reopen(device);
    assert_eq!(found.metadata.len(), 4);
    assert_eq!(found.metadata[0], (Kind::Basin, b"checkpoint 2".to_vec()));
    assert_eq!(found.metadata[1], (Kind::StreamState, vec![7; 200_000]));
    assert!(found.batches == after[2]);
}

fn a_damaged_checkpoint_falls_back_to_the_one_before(device: &impl Device) {
    let after = with_checkpoints(device);
    let files = device.files();
    let names: Vec<&String> = files.keys().filter(|n| n.starts_with("checkpoint")).collect();
    let newest = names[1];
    let len = files[newest].len();
    let whole_tail: Vec<_> = after[1].iter().chain(&after[2]).cloned().collect();
    let cut = |len: usize| files[newest][..len].to_vec();
    let flip = |at: usize| {
        let mut bytes = files[newest].clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let last_frame = len - 200_000; // inside its payload
    let cases = [
        ("magic", flip(0)),
        ("facts", flip(30)),
        ("end of the first block", flip(4090)),
        ("frame header", flip(4096 + 20)),
        ("payload of the first frame", flip(4096 + 70)),
        ("payload of the last frame", flip(last_frame)),
        ("empty", cut(0)),
        ("cut in its first block", cut(512)),
        ("cut after its first block", cut(4096)),
        ("cut before its last block", cut(len - 4096)),
        ("zeros", vec![0; len]),
    ];
    for (case, bytes) in cases {
        device.put(newest, &bytes);
        let found = reopen(device);
        assert_eq!(found.metadata[0], (Kind::Basin, b"checkpoint 1".to_vec()), "{case}");
        assert_eq!(found.metadata.len(), 4, "{case}: nothing of the damaged one was shown");
        assert!(found.batches == whole_tail, "{case}");
    }
}

fn interrupted_checkpoints_do_not_pile_up(device: &impl Device) {
    let mut dice = Stream::new(7, "contract");
    reopen(device);
    for number in 0..3 {
        device.put(&format!("checkpoint-{number:020}.ckpt.tmp"), b"cut short");
    }
    device.put("checkpoint-notes.txt", b"not ours");
    live(device, async |life| {
        life.append_durably(&mut dice, 1, 10).await;
        write_checkpoint(life, 1, "whole").await;
        let files = checkpoint::list(&*life.io).unwrap();
        assert_eq!(files.len(), 1, "{files:?}");
        let names = life.io.list().unwrap();
        assert!(!names.iter().any(|(name, _)| name.ends_with(".tmp")), "{names:?}");
    });
    assert!(device.files().contains_key("checkpoint-notes.txt"), "not ours, left alone");
}

fn released_segments_are_used_again(device: &impl Device) {
    let mut dice = Stream::new(8, "contract");
    let mut most_files = 0;
    for _ in 0..3 {
        live(device, async |life| {
            let first = life.segments.active().epoch;
            while life.segments.active().epoch < first + 6 {
                life.append_durably(&mut dice, 1, 200_000).await;
                let epoch = life.segments.active().epoch;
                write_checkpoint(life, epoch, "all before is dead").await;
                life.segments.release_before(epoch);
                most_files = most_files.max(life.segments.file_count());
            }
            assert!(life.segments.get(first).is_none(), "it was given up");
        });
        let files = device.files();
        let segments = files.keys().filter(|n| n.starts_with("segment")).count();
        assert!(segments <= 5, "one in use, two spares, one dead, one on its way: {segments}");
        let last = live(device, async |life| {
            // The last frame, and nothing of the former lives of its file.
            life.found.batches.clone()
        });
        assert!(last.is_empty(), "all frames lie before the checkpoint: {}", last.len());
    }
    assert!(most_files <= 5, "{most_files}");
}

fn a_spare_that_was_never_used_is_used_after_reopening(device: &impl Device) {
    let mut dice = Stream::new(9, "contract");
    let mut model = Vec::new();
    for _ in 0..8 {
        live(device, async |life| {
            life.append_durably(&mut dice, 1, 300_000).await;
            // One roll needs the spare; so it exists when this life ends.
            let epoch = life.segments.active().epoch;
            while life.segments.active().epoch == epoch {
                life.append_durably(&mut dice, 1, 300_000).await;
            }
            model.extend(life.appended.take());
        });
        assert!(reopen(device).batches == model);
    }
    let segments = device.files().len() as u64;
    let needed = model.len() as u64 * 304_000 / (FACTS.segment_bytes - SEGMENT_HEADER_BYTES as u64);
    assert!(segments <= 2 * needed + 2, "{segments} files for {needed} segments' worth");
}
