//! `inspect` and `verify` on logs that the writer wrote, whole and damaged.

mod ahead;
mod repair;
mod sample;
mod stale;

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use sample::{Log, Rec, SEGMENT_BYTES, Sample};
use stale::StaleDisk;

use super::*;
use crate::log::entry::Kind;
use crate::log::segment::LogFacts;

const DATA: &[Rec] = &[Rec::Data("one"), Rec::Data("two")];
const FENCE: &[Rec] = &[Rec::Command("fence", b"secret-token")];
/// Keeps records 3 and later.
const TRIM: &[Rec] = &[Rec::Command("trim", &[0, 0, 0, 0, 0, 0, 0, 3])];

fn run_on(path: &Path, command: Command) -> (bool, String) {
    let mut out = Vec::new();
    let whole = run(path, command, &mut out).unwrap();
    (whole, String::from_utf8(out).unwrap())
}

fn verify_on(sample: &Sample) -> (bool, String) {
    run_on(sample.path(), Command::Verify)
}

/// Frames 1 to 6: two streams, data, a fence, a trim. Stream 1 has records 0 to 3, 3 readable.
async fn write_start(log: &Log) {
    log.create_stream(1, "first").await;
    log.create_stream(2, "second\u{1b}[2J").await;
    log.append(1, DATA).await;
    log.append(1, FENCE).await;
    log.append(1, TRIM).await;
    log.append(2, DATA).await;
}

/// Frames 7 to 36: 20 in the first two segments, 16 in the third. A checkpoint is in between.
async fn write_rest(log: &Log) {
    for _ in 0..10 {
        log.append(1, DATA).await;
    }
    log.checkpoint().await;
    for _ in 0..20 {
        log.append(2, DATA).await;
    }
}

fn whole_sample() -> Sample {
    Sample::new(|log, _| async move {
        write_start(&log).await;
        write_rest(&log).await;
    })
}

#[test]
fn a_whole_log_is_ok_from_its_oldest_segment_on() {
    let sample = whole_sample();
    let (whole, text) = verify_on(&sample);
    assert_eq!(text, "shard 0: ok, 3 segments, 36 frames, 66 records\n");
    assert!(whole);
}

#[test]
fn an_empty_log_is_ok() {
    let sample = Sample::new(|_, _| async {});
    let (whole, text) = verify_on(&sample);
    assert_eq!((whole, text.as_str()), (true, "shard 0: ok, 1 segments, 0 frames, 0 records\n"));
}

#[test]
fn any_damage_is_reported_with_file_and_offset_and_the_rest_is_still_read() {
    let checkpoint = whole_sample().checkpoint();
    let cases = [
        // A payload, a header in each part, a frame of the last segment.
        ("segment-00000001.log", 8192 + 64 + 20, 8192, "payload checksum", 35),
        ("segment-00000001.log", 4096 + 20, 4096, "header checksum", 35),
        ("segment-00000001.log", 8192 + 40, 8192, "header checksum", 35),
        ("segment-00000001.log", 8192, 8192, "no magic", 35),
        ("segment-00000002.log", 4096, 4096, "no magic", 35),
        ("segment-00000002.log", 4096 + 70, 4096, "payload checksum", 35),
        ("segment-00000001.log", 65536 - 4096 + 20, 65536 - 4096, "header checksum", 35),
        ("segment-00000003.log", 8192 + 70, 8192, "payload checksum", 35),
        // The checkpoint's head and its frame: the log is still whole.
        (&checkpoint, 100, 0, "header checksum", 36),
        (&checkpoint, 4096 + 70, 4096, "payload checksum", 36),
        (&checkpoint, 4096 + 30, 4096, "header checksum", 36),
        // Segments of unknown epoch: nothing can be said of the rest.
        ("segment-00000001.log", 30, 0, "header checksum", 0),
        ("segment-00000003.log", 0, 0, "no magic", 0),
    ];
    for (file, at, offset, reason, frames) in cases {
        let sample = whole_sample();
        sample.flip(file, at);
        let (whole, text) = verify_on(&sample);
        assert!(!whole, "{file} {at}: {text}");
        let place = format!("shard 0: {file}, offset {offset}: ");
        let named = text.lines().any(|l| l.starts_with(&place) && l.contains(reason));
        assert!(named, "{file} {at}: {text}");
        assert!(text.contains(&format!(", {frames} frames, ")), "{file} {at}: {text}");
    }
}

#[test]
fn every_damaged_place_is_reported() {
    let sample = whole_sample();
    for (file, at) in [
        ("segment-00000001.log", 8292),
        ("segment-00000001.log", 20_600),
        ("segment-00000002.log", 8300),
    ] {
        sample.flip(file, at);
    }
    let (whole, text) = verify_on(&sample);
    assert!(!whole);
    for place in
        ["00000001.log, offset 8192", "00000001.log, offset 20480", "00000002.log, offset 8192"]
    {
        assert!(text.contains(place), "{text}");
    }
    assert!(text.contains(", 33 frames, "), "{text}");
}

#[test]
fn a_last_frame_that_nothing_proves_durable_is_a_tail_and_no_error() {
    let sample = whole_sample();
    sample.flip("segment-00000003.log", 4096 * 6 + 70);
    let (whole, text) = verify_on(&sample);
    let expected = "shard 0: ok, 3 segments, 35 frames, 64 records, tail still being written\n";
    assert_eq!((whole, text.as_str()), (true, expected));
}

#[test]
fn a_log_that_ends_before_its_checkpoint_is_not_whole() {
    let sample = Sample::new(|log, _| async move {
        write_start(&log).await;
        log.checkpoint().await;
    });
    assert!(verify_on(&sample).0);
    sample.flip("segment-00000001.log", 4096 * 6 + 70);
    let (whole, text) = verify_on(&sample);
    assert!(!whole);
    assert!(text.contains("ends before frame 6"), "{text}");
}

#[test]
fn a_missing_segment_is_reported() {
    let sample = whole_sample();
    std::fs::remove_file(sample.file("segment-00000002.log")).unwrap();
    let (whole, text) = verify_on(&sample);
    assert!(!whole);
    assert!(text.contains("segment with epoch 2 is missing"), "{text}");
}

/// A log that starts with its second segment. Stream 3 is trimmed whole and its index still points
/// into the first one; its last batch, after the checkpoint, is wrong by `seq_by`.
fn given_up_sample(seq_by: i64) -> Sample {
    Sample::new(|log, _| async move {
        let trim: &[Rec] = &[Rec::Command("trim", &[255; 8])];
        write_start(&log).await;
        log.create_stream(3, "third").await;
        log.append(3, DATA).await;
        log.append(3, trim).await;
        for _ in 0..17 {
            log.append(1, DATA).await;
        }
        log.append(2, trim).await;
        log.append(1, trim).await;
        log.append(1, DATA).await;
        let mut facts = log.facts();
        facts.first_epoch = 2;
        log.checkpoint_of(facts).await;
        log.append_at(3, seq_by, 0, DATA).await;
    })
}

#[test]
fn a_log_whose_oldest_segments_were_given_up_is_ok() {
    let sample = given_up_sample(0);
    let (whole, text) = verify_on(&sample);
    assert_eq!((whole, text.as_str()), (true, "shard 0: ok, 1 segments, 15 frames, 28 records\n"));
    std::fs::remove_file(sample.file("segment-00000001.log")).unwrap();
    assert_eq!(verify_on(&sample), (whole, text));
    std::fs::remove_file(sample.file(&sample.checkpoint())).unwrap();
    assert_refused(verify_on(&sample), "starts at epoch 2, and no checkpoint can be read");
}

#[test]
fn what_comes_next_in_a_stream_is_known_from_the_checkpoint_too() {
    let judged = verify_on(&given_up_sample(1));
    assert_refused(judged, "stream 3: batch starts with record 4, 3 comes next");
}

/// Lets `write` go on after [`write_start`]; what `verify` says then.
fn verify_after<F: Future<Output = ()>>(write: impl FnOnce(Rc<Log>) -> F) -> (bool, String) {
    let sample = Sample::new(|log, _| async move {
        write_start(&log).await;
        write(Rc::clone(&log)).await;
        log.append(2, DATA).await;
    });
    verify_on(&sample)
}

fn assert_refused((whole, text): (bool, String), reason: &str) {
    assert!(!whole, "{reason}: {text}");
    assert!(text.contains(reason), "{reason}: {text}");
}

#[test]
fn records_out_of_order_are_reported() {
    let gap = verify_after(|log| async move { log.append_at(1, 1, 0, DATA).await });
    assert_refused(gap, "offset 28672: stream 1: batch starts with record 5, 4 comes next");
    let again = verify_after(|log| async move { log.append_at(1, -2, 0, DATA).await });
    assert_refused(again, "offset 28672: stream 1: batch starts with record 2, 4 comes next");
    let fell = verify_after(|log| async move { log.append_at(1, 0, -1, DATA).await });
    assert_refused(fell, "offset 28672: stream 1: record 4 has an earlier timestamp");
}

#[test]
fn senseless_entries_are_reported() {
    let kinds = [
        Kind::Stream,
        Kind::StreamGone,
        Kind::Basin,
        Kind::BasinGone,
        Kind::Token,
        Kind::TokenGone,
    ];
    for kind in kinds {
        let bad = verify_after(|log| async move { log.metadata(kind, b"{\"id\":").await });
        assert_refused(bad, "offset 28672: metadata cannot be understood");
    }
    for counters in ["", "{\"stored\":[1]}", "{\"hours\":{\"read_bytes\":[1]}}"] {
        let write = |log: Rc<Log>| async move {
            log.metadata(Kind::Usage, counters.as_bytes()).await;
        };
        assert_refused(verify_after(write), "offset 28672: metadata cannot be understood");
    }
    let state = verify_after(|log| async move { log.metadata(Kind::StreamState, b"x").await });
    assert_refused(state, "offset 28672: entry cannot be parsed: a checkpoint's entry in the log");
    let short = verify_after(|log| async move { log.metadata(Kind::Batch, b"x").await });
    assert_refused(short, "offset 28672: frame 7: entry cannot be parsed: not a batch");
}

#[test]
fn usage_counters_are_looked_at_and_are_no_records() {
    const COUNTERS: &[u8] = br#"{"hours":{"read_bytes":[472222,5]},"stored":[1,2],"more":true}"#;
    let sample = Sample::new(|log, _| async move {
        write_start(&log).await;
        log.metadata(Kind::Usage, COUNTERS).await;
        log.append(2, DATA).await;
    });
    let (whole, text) = verify_on(&sample);
    assert_eq!((whole, text.as_str()), (true, "shard 0: ok, 1 segments, 8 frames, 8 records\n"));
    assert!(run_on(sample.path(), Command::Inspect(Options::default())).0);
}

#[test]
fn access_tokens_are_counted_and_are_no_records() {
    let token = |id: &str| {
        let info = format!(r#"{{"id":"{id}","auto_prefix_streams":false,"scope":{{}}}}"#);
        format!(r#"{{"info":{info},"hash":"{}","created_us":1,"more":true}}"#, "0a".repeat(32))
    };
    let sample = Sample::new(|log, _| async move {
        write_start(&log).await;
        for id in ["a", "b", "b", "c"] {
            log.metadata(Kind::Token, token(id).as_bytes()).await;
        }
        log.metadata(Kind::TokenGone, br#"{"name":"a"}"#).await;
    });
    let (whole, text) = verify_on(&sample);
    assert!(whole && text.contains("11 frames, 6 records"), "{text}");
    let (whole, text) = run_on(sample.path(), Command::Inspect(Options::default()));
    assert!(whole && text.contains("\n  access tokens: 2\n"), "{text}");
    let bad = verify_after(|log| async move { log.metadata(Kind::Token, b"{\"info\":{}}").await });
    assert_refused(bad, "metadata cannot be understood");
}

#[test]
fn senseless_batches_are_reported() {
    // Records, how many the batch says it has and their metered bytes.
    let cases: &[(&[u8], u16, u8, &str)] = &[
        (&[], 1, 0, "record cannot be parsed"),
        (&[0, 0, 1], 1, 9, "record cannot be parsed"),
        (&[], 0, 0, "a batch holds 1 to 1000 records"),
        (&[0; 3003], 1001, 0, "a batch holds 1 to 1000 records"),
        (&[0, 0, 0], 1, 9, "records do not add up to the batch"),
        (&[0, 1, 0, 1, 0, b'x'], 1, 11, "a command record that makes no sense"),
        (&[0, 1, 0, 4, 0, b't', b'r', b'i', b'm'], 1, 14, "a command record that makes no sense"),
    ];
    for (records, count, metered, reason) in cases {
        let mut body = vec![0; 39];
        body[1..3].copy_from_slice(&count.to_le_bytes());
        body[35] = *metered;
        body.extend_from_slice(records);
        let judged = verify_after(|log| async move { log.metadata(Kind::Batch, &body).await });
        assert_refused(judged, &format!("offset 28672: stream 0: {reason}"));
    }
    let mut beyond = vec![0; 39];
    beyond[1] = 1;
    beyond[11..19].fill(0xFF);
    let beyond = verify_after(|log| async move { log.metadata(Kind::Batch, &beyond).await });
    assert_refused(beyond, "entry cannot be parsed: sequence numbers beyond 64 bits");
}

#[test]
fn a_checkpoint_that_differs_from_the_log_is_reported() {
    let cases: &[(usize, u8, &str)] = &[
        (8, 5, "stream 1: tail is 5 here and 4 in the log"),
        (16, 1, "stream 1: tail's timestamp differs"),
        (24, 2, "stream 1: trim point differs"),
        (36, b'S', "stream 1: fencing token differs"),
        (48, 1, "says that a batch of stream 1 starting with record 1 is here"),
        (56, 1, "says that a batch of stream 1 starting with record 0 is here"),
        (74, 1, "says that a batch of stream 1 starting with record 0 is here"),
    ];
    for (at, byte, reason) in cases {
        let judged = verify_after(|log| async move {
            log.checkpoint_edited(log.facts(), |state| {
                assert_ne!(state[*at], *byte);
                state[*at] = *byte;
            })
            .await;
        });
        assert_refused(judged, reason);
    }
}

#[test]
fn a_checkpoint_of_other_streams_or_another_place_is_reported() {
    let lacks = verify_after(|log| async move {
        let stream = log.streams.borrow_mut().remove(&1).unwrap();
        log.checkpoint().await;
        log.streams.borrow_mut().insert(1, stream);
    });
    assert_refused(lacks, "stream 1 exists in the log and not here");
    let keeps = verify_after(|log| async move {
        let stream = Rc::clone(&log.streams.borrow()[&1]);
        log.delete_stream(1).await;
        log.streams.borrow_mut().insert(1, stream);
        log.checkpoint().await;
    });
    assert_refused(keeps, "stream 1 was deleted in the log and still exists here");
    let next_id = verify_after(|log| async move {
        let mut facts = log.facts();
        facts.next_stream_id = 2;
        log.checkpoint_of(facts).await;
    });
    assert_refused(next_id, "stream 2 has an id that is still to be given out");
    let chain = verify_after(|log| async move {
        let mut facts = log.facts();
        facts.chain.prev_crc ^= 1;
        log.checkpoint_of(facts).await;
    });
    assert_refused(chain, "does not follow the frame that is before it");
    let beyond = verify_after(|log| async move {
        let mut facts = log.facts();
        facts.chain.next_frame_seq += 3;
        log.checkpoint_of(facts).await;
    });
    assert_refused(beyond, "knows of frame 9, but the log ends before frame 8");
    let deleted = verify_after(|log| async move {
        log.delete_stream(1).await;
        log.checkpoint().await;
    });
    assert!(deleted.0, "{}", deleted.1);
}

/// The cells of the row that starts with `first`.
fn row<'t>(text: &'t str, first: &str) -> Vec<&'t str> {
    let mut rows = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>());
    rows.find(|r| r.first() == Some(&first)).unwrap_or_else(|| panic!("no {first} in {text}"))
}

#[test]
fn inspect_shows_segments_streams_checkpoints_and_totals() {
    let sample = whole_sample();
    let (whole, text) = run_on(sample.path(), Command::Inspect(Options::default()));
    assert!(whole, "{text}");
    assert!(text.starts_with("directory 0000000000000000000000000000002a: 1 shards, 65536 bytes"));
    let bytes = SEGMENT_BYTES.to_string();
    let first = ["segment-00000001.log", "1", &bytes, "65536", "621", "15", "sealed"];
    assert_eq!(row(&text, first[0]), first);
    let third = ["segment-00000003.log", "3", &bytes, "28672", "336", "6", "active"];
    assert_eq!(row(&text, third[0]), third);
    // 24 records of 8 + 3 bytes but for the commands: 8 + 2 + 5 + 12 and 8 + 2 + 4 + 8.
    let one = ["1", "24", "3", "24", "291", "242", "yes", "test-basin/first"];
    assert_eq!(row(&text, "1"), one, "{text}");
    let two = ["2", "42", "0", "42", "462", "462", "no", "test-basin/second\\u{1b}[2J"];
    assert_eq!(row(&text, "2"), two);
    let checkpoint = sample.checkpoint();
    let size = std::fs::metadata(sample.file(&checkpoint)).unwrap().len().to_string();
    assert_eq!(row(&text, &checkpoint), [&checkpoint, &size, "17", "2", "1", "whole"]);
    let total = text.lines().find(|l| l.contains("total")).unwrap();
    assert!(total.starts_with("  total: 2 streams, 36 frames, 36 entries, "), "{total}");
    assert!(total.ends_with("; 66 records, 753 record bytes, 704 of them live"), "{total}");
    assert!(!text.contains("secret-token") && !text.contains("frame  "), "{text}");
}

#[test]
fn inspect_shows_each_group_when_asked() {
    let sample = whole_sample();
    let (whole, text) = run_on(sample.path(), Command::Inspect(Options { groups: true }));
    assert!(whole);
    let groups: Vec<&str> = text.lines().filter(|l| l.starts_with("  frame ")).collect();
    assert_eq!(groups.len(), 36);
    let cells: Vec<&str> = groups[15].split_whitespace().collect();
    let expected = ["frame", "16", "segment-00000002.log", "4096", "4096", "bytes", "1", "entries"];
    assert_eq!(cells[..8], expected, "{}", groups[15]);
    assert_eq!(cells[8..10], ["durable", "15"]);
    assert!(!text.contains("secret-token"));
}

#[test]
fn inspect_shows_what_it_can_of_a_damaged_log() {
    let sample = whole_sample();
    sample.flip("segment-00000001.log", 8192 + 70);
    let (whole, text) = run_on(sample.path(), Command::Inspect(Options::default()));
    assert!(!whole);
    assert_eq!(row(&text, "segment-00000001.log")[5], "14");
    assert!(text.contains("damaged: segment-00000001.log, offset 8192: frame 2"), "{text}");
}

#[test]
fn a_missing_shard_is_reported_and_an_unfinished_directory_is_not_wrong() {
    let sample = whole_sample();
    std::fs::remove_dir_all(sample.path().join("shard-0")).unwrap();
    let (whole, text) = verify_on(&sample);
    assert!(!whole && text.contains("shard 0 is missing"), "{text}");

    let outer = tempfile::TempDir::new().unwrap();
    drop(DataDirectory::open_or_create(outer.path(), 1, SEGMENT_BYTES, 1, 1).unwrap());
    let (whole, text) = run_on(outer.path(), Command::Verify);
    assert_eq!((whole, text.as_str()), (true, "shard 0: not made yet\n"));
    let nowhere = run(&outer.path().join("x"), Command::Verify, &mut Vec::new());
    assert!(matches!(nowhere, Err(Error::Directory(DirectoryError::NotFound(_)))));
}

#[test]
fn a_log_that_is_being_written_is_ok_at_every_look() {
    let sample = Sample::new(|log, shard_path| async move {
        write_start(&log).await;
        let writer = Rc::clone(&log);
        let task = glommio::spawn_local(async move {
            for n in 0..300 {
                writer.append(1 + n % 2, DATA).await;
                if n % 50 == 0 {
                    writer.checkpoint().await;
                }
            }
        });
        let io = GlommioIo::read_only(&shard_path);
        let facts = LogFacts { directory_id: 42, shard: 0, segment_bytes: SEGMENT_BYTES };
        for _ in 0..20 {
            let mut out = Vec::new();
            let whole = verify(&io, facts, &mut out).await.unwrap();
            assert!(whole, "{}", String::from_utf8(out).unwrap());
        }
        task.await;
    });
    assert_eq!(verify_on(&sample).1, "shard 0: ok, 21 segments, 306 frames, 606 records\n");
}

#[test]
fn a_tail_that_moves_while_it_is_read_is_no_damage() {
    // Frame 34 is missed at first, while the frames after it are met and prove it durable. Missed
    // again and again, it is not there.
    let sample = whole_sample();
    let file = "segment-00000003.log";
    let (ok, lost) = ("ok, 3 segments, 36 frames, 66 records", "1 problem, 3 segments, 35 frames");
    let cases =
        [(0, true, ok), (1, true, ok), (2, true, ok), (3, true, ok), (u32::MAX, false, lost)];
    for (stale_reads, expected_whole, expected) in cases {
        let executor = LocalExecutorBuilder::new(Placement::Unbound).make().unwrap();
        let (whole, text) = executor.run(async {
            let inner = GlommioIo::read_only(&sample.path().join("shard-0"));
            let stale_reads = Rc::new(Cell::new(stale_reads));
            let disk = StaleDisk { inner, file, block: 4, stale_reads };
            let facts = LogFacts { directory_id: 42, shard: 0, segment_bytes: SEGMENT_BYTES };
            let mut out = Vec::new();
            let whole = verify(&disk, facts, &mut out).await.unwrap();
            (whole, String::from_utf8(out).unwrap())
        });
        assert_eq!(whole, expected_whole, "{stale_reads}: {text}");
        assert!(text.contains(expected), "{stale_reads}: {text}");
    }
}
