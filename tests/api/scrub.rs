//! What an operator sees of damage in old data before any reader meets it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::client::{Client, fresh_basin_on};
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, poll};

/// One shard, whose old segments are read again every second.
fn scrubbing() -> Option<Server> {
    Server::start_with(
        1,
        &[
            ("THALWEG_CHECKPOINT_BYTES", "1048576"),
            ("THALWEG_SCRUB_INTERVAL_SECS", "1"),
            ("THALWEG_SCRUB_BYTES_PER_SEC", "67108864"),
        ],
    )
}

/// Appends `count` records of nearly 1 MiB each that begin with `mark`.
fn append_large(client: &mut Client, stream: &str, mark: &str, count: usize) {
    let body = format!("{mark}{}", "x".repeat(1_000_000));
    for _ in 0..count {
        client.append_bodies(stream, &[&body]);
    }
}

/// Where a word is on disk: the one file and offset.
fn find(dir: &Path, word: &[u8]) -> (PathBuf, u64) {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("the file can be read");
        let places = bytes.windows(word.len()).enumerate().filter(|(_, bytes)| *bytes == word);
        found.extend(places.map(|(at, _)| (path.clone(), at as u64)));
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Flips a bit of a file in place.
fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).expect("the file is opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("the byte can be read");
    file.write_all_at(&[byte[0] ^ 1], at).expect("the byte can be written");
    file.sync_all().expect("the file can be synced");
}

/// The damaged places that `/health` tells; `None` while it says `OK`.
fn damaged(client: &mut Client) -> Option<Vec<Value>> {
    let health = client.get("/health");
    health.status(200);
    if health.body == b"OK" {
        return None;
    }
    let body: Value = serde_json::from_slice(&health.body).expect("JSON");
    assert_eq!(body["status"], "damaged", "{health}");
    Some(body["damaged"].as_array().expect("an array").clone())
}

fn passes(client: &mut Client) -> u64 {
    client.metric("thalweg_scrub_passes_total")
}

#[test]
fn damage_in_a_sealed_segment_is_told_until_the_segment_is_given_up() {
    let Some(server) = scrubbing() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream("hit");
    client.create_stream("other");
    append_large(&mut client, "hit", "", 2);
    client.append_bodies("hit", &["needle"]);
    append_large(&mut client, "other", "", 16);
    let before = passes(&mut client);
    let passed = poll(EVENTUALLY_WAIT, || (passes(&mut client) >= before + 2).then_some(()));
    passed.expect("passes go on");
    assert_eq!(damaged(&mut client), None, "a whole log");
    assert!(client.metric("thalweg_scrub_bytes_total") > 8_000_000);
    assert_eq!(client.metric("thalweg_scrub_damaged_frames"), 0);

    let (path, at) = find(&server.data_dir().join("shard-0"), b"needle");
    flip(&path, at);
    let places = poll(EVENTUALLY_WAIT, || damaged(&mut client)).expect("the damage is found");
    let [place] = &places[..] else { panic!("{places:?}") };
    let file = path.file_name().and_then(|name| name.to_str()).expect("a name");
    assert_eq!(place["file"], file, "{place}");
    let offset = place["offset"].as_u64().expect("a number");
    assert!(offset <= at && at < offset + 4096 && offset % 4096 == 0, "{place}");
    assert_eq!((&place["shard"], &place["frames"]), (&json!(0), &json!(1)), "{place}");
    assert_eq!(place["streams"], json!([format!("{basin}/hit")]), "{place}");
    assert_eq!(client.metric("thalweg_scrub_damaged_frames"), 1);
    let logged = fs::read_to_string(server.data_dir().join("../stderr")).expect("the log");
    let lines = logged.lines().filter(|l| l.contains("ERROR") && l.contains("acknowledged data"));
    assert_eq!(lines.count(), 1, "{logged}");
    client.append_bodies("hit", &["it goes on"]);

    let trim = json!({ "headers": [["", "trim"]], "body": "\u{7f}".repeat(8) });
    for stream in ["hit", "other"] {
        client.append(stream, &json!({ "records": [trim] })).status(200);
    }
    append_large(&mut client, "other", "", 4);
    let gone = || damaged(&mut client).is_none().then_some(());
    poll(EVENTUALLY_WAIT, gone).expect("what nobody needs is not told");
    assert_eq!(client.metric("thalweg_scrub_damaged_frames"), 0);
}

#[test]
fn old_data_is_left_alone_when_that_is_switched_off() {
    let off = [("THALWEG_SCRUB_BYTES_PER_SEC", "0"), ("THALWEG_SCRUB_INTERVAL_SECS", "1")];
    let Some(server) = Server::start_with(1, &off) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    append_large(&mut client, "s", "", 10);
    let begun = || (passes(&mut client) > 0).then_some(());
    assert_eq!(poll(Duration::from_secs(2), begun), None);
    assert_eq!(client.metric("thalweg_scrub_bytes_total"), 0);
}
