//! The data directory on a real file system.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

const ID: u128 = 0x0123_4567_89AB_CDEF_0123_4567_89AB_CDEF;
const SEGMENT_BYTES: u64 = 1 << 20;

fn open(path: &Path) -> Result<DataDirectory, DirectoryError> {
    DataDirectory::open_or_create(path, 2, SEGMENT_BYTES, 77, ID)
}

fn temporary() -> (TempDir, PathBuf) {
    let outer = TempDir::new().unwrap();
    let path = outer.path().join("a/b");
    (outer, path)
}

fn put_segments(directory: &DataDirectory) {
    for shard in 0..directory.shards() {
        fs::write(directory.shard_path(shard).join("segment-00000001.log"), b"x").unwrap();
    }
}

/// An initialised directory that nobody has open.
fn initialised() -> (TempDir, PathBuf) {
    let (outer, path) = temporary();
    let mut directory = open(&path).unwrap();
    put_segments(&directory);
    directory.mark_initialised().unwrap();
    (outer, path)
}

#[test]
fn a_new_directory_is_described_private_and_not_yet_initialised() {
    let (_outer, path) = temporary();
    let directory = open(&path).unwrap();
    for made in [path.clone(), path.parent().unwrap().to_owned(), directory.shard_path(1)] {
        let mode = fs::metadata(&made).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", made.display());
    }
    let text = fs::read_to_string(path.join(DESCRIPTION)).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "format_version": 2,
        "directory_id": "0123456789abcdef0123456789abcdef",
        "shards": 2,
        "segment_bytes": SEGMENT_BYTES,
        "created_us": 77,
        "initialised": false,
    });
    assert_eq!(value, expected);
    assert!(!path.join(DESCRIPTION_TEMPORARY).exists());
}

#[test]
fn the_key_of_tokens_is_made_once_and_is_its_owners_alone() {
    let (_outer, path) = initialised();
    let made = |key| open(&path).and_then(|mut directory| directory.token_key_or([key; 32]));
    assert_eq!(made(7).unwrap(), [7; 32]);
    assert_eq!(made(8).unwrap(), [7; 32], "the one recorded");
    let file = path.join(DESCRIPTION);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(&format!("\"token_key\": \"{}\"", "07".repeat(32))), "{text}");
    for bad in ["07", "zz".repeat(32).as_str()] {
        fs::write(&file, text.replace(&"07".repeat(32), bad)).unwrap();
        assert!(matches!(open(&path), Err(DirectoryError::Description { .. })), "{bad}");
    }
}

#[test]
fn a_second_server_is_refused_until_the_first_is_gone() {
    let (_outer, path) = temporary();
    let first = open(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, DirectoryError::InUse(_)));
    assert!(error.to_string().contains("another server uses"), "{error}");
    assert!(DataDirectory::open_existing(&path).is_ok(), "reading needs no lock");
    drop(first);
    assert!(open(&path).is_ok());
}

#[test]
fn what_is_recorded_wins_over_what_is_wanted() {
    let (_outer, path) = initialised();
    let reopened = DataDirectory::open_or_create(&path, 7, 1 << 22, 99, 5).unwrap();
    assert_eq!(
        (reopened.shards(), reopened.segment_bytes(), reopened.id(), reopened.created_us()),
        (2, SEGMENT_BYTES, ID, 77)
    );
    assert!(!reopened.shard_path(2).exists());
    assert_eq!(reopened.log_facts(1).directory_id, ID);
}

#[test]
fn an_interrupted_first_start_goes_on() {
    let (_outer, path) = temporary();
    drop(open(&path).unwrap());
    fs::remove_dir(path.join("shard-1")).unwrap();
    fs::write(path.join(DESCRIPTION_TEMPORARY), b"{").unwrap();
    let directory = DataDirectory::open_or_create(&path, 2, SEGMENT_BYTES, 1, 5).unwrap();
    assert_eq!(directory.id(), ID, "the name of the first start is kept");
    assert!(directory.shard_path(1).is_dir());
}

#[test]
fn a_start_interrupted_before_the_description_begins_anew() {
    let (_outer, path) = temporary();
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join(DESCRIPTION_TEMPORARY), b"{\"format_v").unwrap();
    assert!(open(&path).is_ok());
}

#[test]
fn initialised_is_recorded_only_once_every_shard_has_a_segment() {
    let (_outer, path) = temporary();
    let mut directory = open(&path).unwrap();
    let error = directory.mark_initialised().unwrap_err();
    assert!(matches!(error, DirectoryError::ShardEmpty { shard: 0, .. }), "{error}");
    assert!(!DataDirectory::open_existing(&path).unwrap().is_initialised());
    put_segments(&directory);
    directory.mark_initialised().unwrap();
    assert!(DataDirectory::open_existing(&path).unwrap().is_initialised());
}

#[test]
fn nothing_is_made_anew_because_it_is_missing() {
    let (_outer, path) = initialised();
    let segment = path.join("shard-1/segment-00000001.log");
    fs::rename(&segment, path.join("shard-1/other")).unwrap();
    assert!(matches!(open(&path), Err(DirectoryError::ShardEmpty { shard: 1, .. })));
    fs::rename(path.join("shard-1"), path.join("moved")).unwrap();
    assert!(matches!(open(&path), Err(DirectoryError::ShardMissing { shard: 1, .. })));
    assert!(!path.join("shard-1").exists());
    fs::remove_file(path.join(DESCRIPTION)).unwrap();
    assert!(matches!(open(&path), Err(DirectoryError::DescriptionMissing(_))));
    assert!(!path.join(DESCRIPTION).exists());
}

#[test]
fn a_place_without_a_directory_is_not_created_by_reading() {
    let (_outer, path) = temporary();
    let error = DataDirectory::open_existing(&path).unwrap_err();
    assert!(matches!(error, DirectoryError::NotFound(_)), "{error}");
    assert!(!path.exists());
}

#[test]
fn other_versions_are_refused_by_name_whatever_else_they_hold() {
    let (_outer, path) = initialised();
    for (text, found) in [
        (r#"{"format_version":3,"shape":"unknown"}"#, 3),
        (r#"{"format_version":0}"#, 0),
        (r#"{"format_version":4294967297}"#, 4_294_967_297),
    ] {
        fs::write(path.join(DESCRIPTION), text).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, DirectoryError::Version { found: f, .. } if f == found), "{error}");
        assert!(error.to_string().contains("knows only versions 1 to 2"), "{error}");
    }
}

#[test]
fn a_server_raises_an_older_version_and_a_reader_does_not() {
    let (_outer, path) = initialised();
    let newest = fs::read_to_string(path.join(DESCRIPTION)).unwrap();
    let older = newest.replace("\"format_version\": 2", "\"format_version\": 1");
    assert_ne!(older, newest);
    fs::write(path.join(DESCRIPTION), &older).unwrap();
    assert_eq!(DataDirectory::open_existing(&path).unwrap().id(), ID);
    drop(DataDirectory::open_locked(&path).unwrap());
    assert_eq!(fs::read_to_string(path.join(DESCRIPTION)).unwrap(), older);
    drop(open(&path).unwrap());
    assert_eq!(fs::read_to_string(path.join(DESCRIPTION)).unwrap(), newest);
}

#[test]
fn a_tampered_description_is_refused() {
    let (_outer, path) = initialised();
    let good = fs::read_to_string(path.join(DESCRIPTION)).unwrap();
    let id = format!("{ID:032x}");
    let cases = [
        (good.as_str(), ""),
        (good.as_str(), "null"),
        (good.as_str(), "[1]"),
        (id.as_str(), "0123"),
        (id.as_str(), "+123456789abcdef0123456789abcdef"),
        (id.as_str(), "g123456789abcdef0123456789abcdef"),
        ("\"shards\": 2", "\"shards\": 0"),
        ("\"shards\": 2", "\"shards\": 65536"),
        ("\"shards\": 2", "\"shard\": 2"),
        ("1048576", "1048577"),
        ("1048576", "4096"),
        ("1048576", "4294967296"),
        ("\"initialised\": true", "\"initialised\": 1"),
    ];
    for (from, to) in cases {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        fs::write(path.join(DESCRIPTION), &bad).unwrap();
        let error = open(&path).unwrap_err();
        let named =
            matches!(error, DirectoryError::Json { .. } | DirectoryError::Description { .. });
        assert!(named, "{to}: {error}");
    }
    fs::write(path.join(DESCRIPTION), &good).unwrap();
    assert!(open(&path).is_ok());
}
