//! `repair` on logs that the writer wrote: what it tells, what it gives up, and what it refuses.

use std::collections::BTreeMap;

use super::*;

/// Frames 1 to 15 are in the first segment, each a block long.
const FIRST: &str = "segment-00000001.log";
const SECOND: &str = "segment-00000002.log";

fn repair_on(sample: &Sample, quarantine: Option<&str>) -> (Result<bool, Error>, String) {
    let plan = RepairPlan { shard: None, quarantine: quarantine.map(str::to_owned) };
    let mut out = Vec::new();
    let result = repair(sample.path(), &plan, &mut out);
    (result, String::from_utf8(out).unwrap())
}

/// All files of the shard and of the quarantine, by name.
fn files(sample: &Sample) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in ["shard-0", "quarantine"] {
        let Ok(entries) = std::fs::read_dir(sample.path().join(dir)) else { continue };
        for entry in entries.map(Result::unwrap) {
            let name = format!("{dir}/{}", entry.file_name().into_string().unwrap());
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// Damages frames of the first segment, before the checkpoint.
fn damaged_sample(frames: &[usize]) -> Sample {
    let sample = whole_sample();
    frames.iter().for_each(|frame| sample.flip(FIRST, frame * 4096 + 70));
    sample
}

#[test]
fn a_whole_log_needs_no_repair() {
    let sample = whole_sample();
    let (result, text) = repair_on(&sample, None);
    assert!(matches!(result, Ok(true)), "{result:?} {text}");
    assert_eq!(text, "shard 0: 0 damaged places, 0 more in quarantine\n");
}

#[test]
fn damage_is_told_with_the_records_it_took_and_nothing_is_changed() {
    let sample = damaged_sample(&[9]);
    let before = files(&sample);
    let (result, text) = repair_on(&sample, None);
    assert!(matches!(result, Ok(false)), "{result:?} {text}");
    for line in [
        "damaged at segment-00000001.log:36864: frame 9: payload checksum mismatch",
        "  test-basin/first: records 8 to 9 may have been there",
        "  can be given up with --quarantine segment-00000001.log:36864",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("second"), "it lost nothing: {text}");
    assert!(files(&sample) == before);
}

#[test]
fn a_place_is_given_up_and_what_is_whole_stays_as_it_is() {
    let sample = damaged_sample(&[9]);
    let before = files(&sample);
    let (result, text) = repair_on(&sample, Some("segment-00000001.log:36864"));
    assert!(matches!(result, Ok(true)), "{result:?} {text}");
    assert!(text.contains("test-basin/first: records 8 to 9 are given up"), "{text}");
    assert!(text.contains("0 damaged places, 1 more in quarantine"), "{text}");
    let after = files(&sample);
    let copy = &after["quarantine/shard-0-segment-00000001.log-36864"];
    assert!(copy[..] == before["shard-0/segment-00000001.log"][36_864..40_960]);
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)));
    let new: Vec<_> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert_eq!(new.len(), 2, "the copy and the list: {new:?}");
    let (whole, text) = verify_on(&sample);
    assert!(whole && text.contains("1 place in quarantine"), "{text}");
    let (result, text) = repair_on(&sample, None);
    assert!(matches!(result, Ok(true)), "{result:?} {text}");
}

#[test]
fn neighbouring_frames_are_one_place_and_other_damage_is_still_damage() {
    let sample = damaged_sample(&[8, 12]);
    sample.flip(FIRST, 9 * 4096 + 20); // its header
    let (result, text) = repair_on(&sample, Some("segment-00000001.log:32768"));
    assert!(matches!(result, Ok(false)), "{result:?} {text}");
    assert!(text.contains("test-basin/first: records 6 to 9 are given up"), "{text}");
    let (whole, text) = verify_on(&sample);
    assert!(!whole && text.contains("offset 49152"), "{text}");
}

#[test]
fn records_that_may_have_been_at_two_places_wait_for_both() {
    let sample = damaged_sample(&[6, 9]);
    let (result, text) = repair_on(&sample, Some("segment-00000001.log:24576"));
    assert!(matches!(result, Ok(false)), "{result:?} {text}");
    let second = "test-basin/second\u{1b}[2J: records 0 to 1";
    assert!(text.contains(&format!("{second} stay refused")), "{text}");
    let (result, text) = repair_on(&sample, Some("segment-00000001.log:36864"));
    assert!(matches!(result, Ok(true)), "{result:?} {text}");
    for lost in [&format!("{second} are"), "test-basin/first: records 8 to 9 are"] {
        assert!(text.contains(&format!("{lost} given up")), "{text}");
    }
    let (whole, text) = verify_on(&sample);
    assert!(whole && text.contains("2 places in quarantine"), "{text}");
}

#[test]
fn what_a_restart_needs_is_not_given_up() {
    let sample = whole_sample();
    sample.flip(SECOND, 8 * 4096 + 70); // after the checkpoint
    let before = files(&sample);
    let (result, text) = repair_on(&sample, None);
    assert!(matches!(result, Ok(false)), "{result:?} {text}");
    assert!(text.contains("cannot be given up: it is not before the newest"), "{text}");
    for target in ["segment-00000002.log:32768", "segment-00000001.log:4096", "nonsense"] {
        let (result, text) = repair_on(&sample, Some(target));
        assert!(matches!(result, Err(Error::Refused(_))), "{target}: {result:?} {text}");
    }
    assert!(files(&sample) == before, "refused and yet changed");
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let sample = damaged_sample(&[9]);
    let _used = DataDirectory::open_locked(sample.path()).unwrap();
    let (result, _) = repair_on(&sample, None);
    let in_use = Err(Error::Directory(DirectoryError::InUse(sample.path().to_owned())));
    assert_eq!(format!("{result:?}"), format!("{in_use:?}", in_use = in_use as Result<bool, _>));
}
