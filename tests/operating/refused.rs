//! What is no backup, and where none can be restored to.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Room, back_up, files_below, thalweg, with_records};

fn restore(from: &str, to: &str) -> (bool, String) {
    thalweg(&["restore", "--from", from, "--data-dir", to])
}

/// Copies a directory with everything in it.
fn duplicate(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).expect("below it"));
        fs::create_dir_all(target.parent().expect("has one")).expect("made");
        fs::copy(&file, target).expect("copied");
    }
}

#[test]
fn a_damaged_backup_is_refused_and_nothing_is_left_of_the_attempt() {
    let Some((server, _client)) = with_records(&[]) else { return };
    let room = Room::new();
    let whole = room.at("whole");
    back_up(&server, &whole, &[]);
    let files = files_below(Path::new(&whole));
    assert!(files.len() >= 4, "{files:?}");
    for (number, file) in files.iter().enumerate() {
        let within: &PathBuf = &file.strip_prefix(&whole).expect("below it").to_owned();
        let name = within.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        for harm in ["flipped", "cut", "missing"] {
            let damaged = room.at(&format!("{harm}-{number}"));
            duplicate(Path::new(&whole), Path::new(&damaged));
            let path = Path::new(&damaged).join(within);
            let mut bytes = fs::read(&path).expect("read");
            match harm {
                "flipped" => bytes[20] ^= 1,
                "cut" => bytes.truncate(10),
                _ => fs::remove_file(&path).expect("removed"),
            }
            if harm != "missing" {
                fs::write(&path, bytes).expect("written");
            }
            let expected = match (name, harm) {
                ("manifest", _) => "is no complete backup",
                (_, "flipped") => "its checksum is wrong",
                (_, "cut") => "reading ",
                _ => "opening ",
            };
            let to = room.at("restored");
            for (ended_well, said) in
                [restore(&damaged, &to), thalweg(&["restore", "--check", "--from", &damaged])]
            {
                assert!(!ended_well && said.contains(expected), "{name} {harm}: {said}");
                let is_named = name == "manifest" || said.contains(name);
                assert!(is_named, "{name} {harm}: {said}");
                assert!(!Path::new(&to).exists(), "{name} {harm}");
            }
            fs::remove_dir_all(&damaged).expect("removed");
        }
    }
    let (ended_well, said) = restore(&whole, &room.at("restored"));
    assert!(ended_well, "{said}");
}

/// Harms the log in a backup, and has its manifest say that it was so when it was made.
fn harm_unseen(backup: &Path) {
    let manifest = fs::read_to_string(backup.join("manifest")).expect("read");
    let (_, text) = manifest.split_once('\n').expect("a first line");
    let mut text: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let mut harmed = 0;
    for part in text["shards"].as_array_mut().expect("shards") {
        let shard = backup.join("data").join(format!("shard-{}", part["shard"]));
        for file in part["files"].as_array_mut().expect("files") {
            let path = shard.join(file["name"].as_str().expect("a name"));
            let mut bytes = fs::read(&path).expect("read");
            let found = bytes.windows(6).position(|bytes| bytes == b"first-");
            let Some(at) = found else { continue };
            bytes[at] ^= 1;
            fs::write(&path, &bytes).expect("written");
            let front = usize::try_from(file["data_bytes"].as_u64().expect("a number"));
            let front = &bytes[..front.expect("it was read whole")];
            file["blake3"] = blake3::hash(front).to_hex().to_string().into();
            harmed += 1;
        }
    }
    assert_eq!(harmed, 1, "a segment has the record");
    let text = serde_json::to_string(&text).expect("JSON");
    let line = format!("TWB1 {} {}\n", blake3::hash(text.as_bytes()).to_hex(), text.len());
    fs::write(backup.join("manifest"), line + &text).expect("written");
}

#[test]
fn a_restore_whose_last_check_fails_leaves_nothing() {
    let Some((server, mut client)) = with_records(&[]) else { return };
    client.append_bodies("s", &["first-of-all"]);
    client.append_bodies("s", &["later"]);
    let room = Room::new();
    back_up(&server, &room.at("whole"), &[]);
    harm_unseen(Path::new(&room.at("whole")));
    fs::create_dir(room.at("empty")).expect("made");
    for (to, is_left) in [(room.at("new"), false), (room.at("empty"), true)] {
        let (ended_well, said) = restore(&room.at("whole"), &to);
        assert!(!ended_well && said.contains("what was backed up is damaged"), "{said}");
        assert_eq!(Path::new(&to).exists(), is_left, "{to}");
        assert_eq!(
            files_below(Path::new(&room.at("."))).iter().filter(|f| f.starts_with(&to)).count(),
            0
        );
    }
}

#[test]
fn nothing_is_written_over() {
    let Some((server, mut client)) = with_records(&[]) else { return };
    let room = Room::new();
    let whole = room.at("whole");
    back_up(&server, &whole, &[]);
    let data_dir = server.data_dir();
    let data_dir = data_dir.to_str().expect("UTF-8");
    fs::create_dir(room.at("full")).expect("made");
    fs::write(room.at("full/file"), "mine").expect("written");
    for to in [data_dir.to_owned(), room.at("full")] {
        let (ended_well, said) = restore(&whole, &to);
        assert!(!ended_well && said.contains("is not empty"), "{said}");
    }
    assert_eq!(fs::read(room.at("full/file")).expect("read"), b"mine");
    let cases = [
        (whole.clone(), "is there already"),
        (room.at("full"), "is there already"),
        (format!("{data_dir}/backup"), "must not lie in the data directory"),
        (room.at("nowhere/backup"), "finding"),
    ];
    for (to, expected) in cases {
        let (ended_well, said) = thalweg(&["backup", "--data-dir", data_dir, "--to", &to]);
        assert!(!ended_well && said.contains(expected), "{to}: {said}");
    }
    let (ended_well, said) =
        thalweg(&["backup", "--data-dir", &room.at("full"), "--to", &room.at("b")]);
    assert!(!ended_well && said.contains("is no data directory"), "{said}");
    client.append_bodies("s", &["after"]);

    fs::create_dir(room.at("empty")).expect("made");
    let (ended_well, said) = restore(&whole, &room.at("empty"));
    assert!(ended_well, "{said}");
    // Another directory's backup is none to link from.
    let Some((other, _client)) = with_records(&[]) else { return };
    let other = other.data_dir();
    let arguments = ["backup", "--data-dir", other.to_str().expect("UTF-8"), "--to"];
    let (ended_well, said) =
        thalweg(&[&arguments[..], &[&room.at("b"), "--reuse", &whole]].concat());
    assert!(!ended_well && said.contains("of another data directory"), "{said}");
}

/// Damage in the source is told, not copied into what looks like a good backup.
#[test]
fn a_damaged_directory_is_not_backed_up() {
    let Some((mut server, _client)) = with_records(&[]) else { return };
    let room = Room::new();
    server.terminate();
    let mut damaged = 0;
    for path in files_below(&server.data_dir()) {
        let mut bytes = fs::read(&path).expect("read");
        let word = b"first";
        if let Some(at) = bytes.windows(word.len()).position(|at| at == word) {
            bytes[at] ^= 1;
            fs::write(&path, bytes).expect("written");
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1, "the record is in one place");
    let data_dir = server.data_dir();
    let arguments = ["backup", "--data-dir", data_dir.to_str().expect("UTF-8"), "--to"];
    let (ended_well, said) = thalweg(&[&arguments[..], &[&room.at("b")]].concat());
    assert!(!ended_well && said.contains("is damaged; see above"), "{said}");
    assert_eq!(fs::read_dir(&room.0).expect("a directory").count(), 0);
}
