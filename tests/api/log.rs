//! What shows only when the log turns over: segments fill up, are given up and are used again.

use serde_json::json;

use crate::common::client::{Client, fresh_basin_on};
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, poll};

/// One log, and a checkpoint whenever it may be written: segments are given up soon.
fn small_log() -> Option<Server> {
    Server::start_with(1, &[("THALWEG_CHECKPOINT_BYTES", "1048576")])
}

/// Appends `count` records of nearly 1 MiB each.
fn append_large(client: &mut Client, stream: &str, count: usize) {
    let body = "x".repeat(1_000_000);
    for _ in 0..count {
        client.append_bodies(stream, &[&body]);
    }
}

/// Trims everything that `stream` holds.
fn trim_all(client: &mut Client, stream: &str) {
    let trim = json!({ "headers": [["", "trim"]], "body": "\u{7f}".repeat(8) });
    client.append(stream, &json!({ "records": [trim] })).status(200);
}

fn wait_until_recycled(client: &mut Client, segments: u64) {
    let done = || (client.metric("thalweg_segments_recycled_total") >= segments).then_some(());
    poll(EVENTUALLY_WAIT, done).expect("segments without a living record are given up");
}

#[test]
fn a_read_goes_on_where_a_segment_is_full_to_its_last_block() {
    let Some(server) = small_log() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    append_large(&mut client, "s", 7);
    // One block each, so that nothing is left at the end of the segment.
    let bodies: Vec<String> = (0..400).map(|index| format!("r{index}")).collect();
    for body in &bodies {
        client.append_bodies("s", &[body]);
    }
    assert_eq!(client.read_bodies("s", "seq_num=7"), bodies);
}

#[test]
fn a_trimmed_stream_reads_as_empty_after_its_segments_were_given_up() {
    let Some(mut server) = small_log() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream("trimmed");
    client.create_stream("other");
    append_large(&mut client, "trimmed", 8);
    trim_all(&mut client, "trimmed");
    append_large(&mut client, "other", 12);
    wait_until_recycled(&mut client, 1);
    for _ in 0..2 {
        client.read("trimmed", "seq_num=0").is(200, &json!({ "records": [] }));
        client.read("trimmed", "timestamp=0").status(416);
        assert_eq!(client.tail_seq_num("trimmed"), 9);
        server.kill();
        server.restart();
        client = server.client().in_basin(&basin);
    }
    client.append_bodies("trimmed", &["after"]);
    assert_eq!(client.read_bodies("trimmed", "seq_num=0"), ["after"]);
}

#[test]
fn files_of_given_up_segments_outlive_any_number_of_restarts() {
    let Some(mut server) = small_log() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream("trimmed");
    client.create_stream("other");
    append_large(&mut client, "trimmed", 33);
    trim_all(&mut client, "trimmed");
    append_large(&mut client, "other", 4);
    wait_until_recycled(&mut client, 4);
    for round in 0..6 {
        if round % 2 == 0 {
            server.kill();
        } else {
            server.terminate();
        }
        server.restart();
        client = server.client().in_basin(&basin);
        for _ in 0..20 {
            client.append_bodies("trimmed", &["after"]);
        }
    }
    assert_eq!(client.tail_seq_num("other"), 4);
    assert_eq!(client.tail_seq_num("trimmed"), 34 + 6 * 20);
}

/// Segment files of a one-shard server.
fn segment_files(server: &Server) -> Vec<std::path::PathBuf> {
    let list = |dir: &std::path::Path| {
        let entries = std::fs::read_dir(dir).expect("a directory");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let dirs = list(&server.data_dir()).into_iter().filter(|path| path.is_dir());
    let files = dirs.flat_map(|dir| list(&dir));
    files.filter(|path| path.extension().is_some_and(|text| text == "log")).collect()
}

/// Flips a bit of byte `at` of the one block on disk that holds the word `needle`.
fn damage_the_needle(server: &Server, at: usize) {
    let mut found = 0;
    for path in segment_files(server) {
        let mut bytes = std::fs::read(&path).expect("the segment can be read");
        let blocks = bytes.chunks_mut(4096);
        for block in blocks.filter(|block| block.windows(6).any(|bytes| bytes == b"needle")) {
            block[at] ^= 1;
            found += 1;
        }
        std::fs::write(&path, bytes).expect("the segment can be written");
    }
    assert_eq!(found, 1);
}

#[test]
fn damage_inside_acknowledged_data_is_refused_at_start_by_name() {
    let Some(mut server) = Server::start_with(1, &[]) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("damaged-stream");
    for body in ["first", "needle", "last"] {
        client.append_bodies("damaged-stream", &[body]);
    }
    server.kill();
    damage_the_needle(&server, 70); // in the frame's payload
    let (status, said) = server.start_rival();
    assert!(status.is_some_and(|status| !status.success()), "{status:?} {said}");
    for word in ["segment-00000001.log", "offset", "checksum", "damaged-stream"] {
        assert!(said.contains(word), "it names {word}: {said}");
    }
}

#[test]
fn a_damaged_frame_is_reported_not_skipped() {
    let Some(mut server) = small_log() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream("s");
    for body in ["first", "needle", "last"] {
        client.append_bodies("s", &[body]);
    }
    // Its checkpoint stands after the frames: recovery does not look at them again.
    server.terminate();
    damage_the_needle(&server, 20); // in the frame's header
    server.restart();
    let mut client = server.client().in_basin(&basin);
    for query in ["seq_num=0", "seq_num=1", "timestamp=0"] {
        client.read("s", query).refused(500, "storage");
    }
    assert_eq!(client.read_bodies("s", "seq_num=0&count=1"), ["first"]);
    assert_eq!(client.tail_seq_num("s"), 3);
}

#[test]
fn the_checkpoint_before_a_damaged_one_still_says_everything() {
    let Some(mut server) = small_log() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream("trimmed");
    client.create_stream("other");
    append_large(&mut client, "trimmed", 36);
    client.append_bodies("other", &["kept"]);
    trim_all(&mut client, "trimmed");
    // The newest checkpoint needs none of the first segments, the one before it does.
    server.terminate();
    server.restart();
    client = server.client().in_basin(&basin);
    for _ in 0..20 {
        client.append_bodies("other", &["after"]);
    }
    server.kill();
    let dir = segment_files(&server)[0].parent().expect("a directory").to_owned();
    let entries = std::fs::read_dir(dir).expect("a directory");
    let checkpoints = entries.map(|entry| entry.expect("an entry").path());
    let newest = checkpoints.filter(|path| path.extension().is_some_and(|text| text == "ckpt"));
    let newest = newest.max().expect("a checkpoint");
    let mut bytes = std::fs::read(&newest).expect("the checkpoint can be read");
    bytes[100] ^= 1;
    std::fs::write(&newest, bytes).expect("the checkpoint can be written");
    server.restart();
    client = server.client().in_basin(&basin);
    assert_eq!(client.read_bodies("other", "seq_num=0&count=2"), ["kept", "after"]);
    assert_eq!(client.tail_seq_num("other"), 21);
    assert_eq!(client.tail_seq_num("trimmed"), 37);
}
