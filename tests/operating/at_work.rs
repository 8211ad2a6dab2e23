//! Backups of servers that append, trim, clean, write checkpoints, and make and delete basins.

#![expect(clippy::disallowed_methods, reason = "threads of a test run no executor")]

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{Room, assert_private, back_up, files_below, restart_from};
use crate::common::client::{Client, fresh_basin_on};
use crate::common::client::{batch, records_path};
use crate::common::http::Request;
use crate::common::keys::with_key;
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, poll, unique_name};

/// Streams of which everything is trimmed again and again.
const BUSY: usize = 2;
/// Records after which a busy stream is trimmed.
const TRIM_EVERY: u64 = 8;
const BACKUPS: usize = 2;

/// A stream that is written to, and how many of its records are acknowledged.
struct Written {
    name: String,
    body_bytes: usize,
    is_trimmed: bool,
    /// It is appended to without a pause.
    is_swift: bool,
    acknowledged: AtomicU64,
}

impl Written {
    fn new(name: &str, body_bytes: usize, is_trimmed: bool) -> Self {
        let (name, acknowledged) = (name.to_owned(), AtomicU64::new(0));
        Self { name, body_bytes, is_trimmed, is_swift: false, acknowledged }
    }

    fn body(&self, seq_num: u64) -> String {
        let front = format!("{} {seq_num} ", self.name);
        let letter = char::from(b'a' + u8::try_from(seq_num % 26).expect("below 26"));
        front + &letter.to_string().repeat(self.body_bytes)
    }

    fn is_trim(&self, seq_num: u64) -> bool {
        self.is_trimmed && seq_num % TRIM_EVERY == TRIM_EVERY - 1
    }

    /// Appends until it is told to stop; its records follow from their numbers.
    fn write(&self, mut client: Client, stop: &AtomicBool) {
        for seq_num in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if self.is_trim(seq_num) {
                let trim = json!({ "headers": [["", "trim"]], "body": "\u{7f}".repeat(8) });
                client.append(&self.name, &json!({ "records": [trim] })).status(200);
            } else {
                client.append_bodies(&self.name, &[&self.body(seq_num)]);
            }
            self.acknowledged.store(seq_num + 1, Ordering::Release);
            // Others run meanwhile. Of one of them, the log never rests.
            if !self.is_swift {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Checks that the first `acknowledged` records are there, but for trimmed ones, and that
    /// everything that is there is right.
    #[track_caller]
    fn check(&self, client: &mut Client, acknowledged: u64) {
        let tail = client.tail_seq_num(&self.name);
        assert!(tail >= acknowledged, "{}: {tail} of {acknowledged}", self.name);
        let mut next = 0;
        while next < tail {
            let records = client.read(&self.name, &format!("seq_num={next}")).records();
            if records.is_empty() {
                // A trim takes all before it, and itself.
                assert!(self.is_trim(tail - 1), "{}: nothing at {next} of {tail}", self.name);
                return;
            }
            for record in records {
                let seq_num = record["seq_num"].as_u64().expect("a number");
                let is_first = next == 0 && self.is_trimmed;
                assert!(seq_num == next || is_first, "{}: {seq_num} for {next}", self.name);
                if !self.is_trim(seq_num) {
                    let body = record["body"].as_str().expect("text");
                    assert_eq!(body, self.body(seq_num), "{}: {seq_num}", self.name);
                }
                next = seq_num + 1;
            }
        }
    }
}

/// Makes and deletes basins with a stream each in both shards, until it is told to stop.
fn change_basins(mut client: Client, stop: &AtomicBool) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let basin = format!("{}-{number}", unique_name("short"));
        client.post("/v1/basins", &json!({ "basin": basin })).status(201);
        let mut inside = client.another().in_basin(&basin);
        for stream in 0..4 {
            let stream = format!("stream {stream}");
            inside.create_stream(&stream);
            inside.append_bodies(&stream, &["here"]);
        }
        client.delete(&format!("/v1/basins/{basin}")).status(202);
        // Basins that change without a pause would keep every cut from being one.
        thread::sleep(Duration::from_millis(200));
    }
}

/// Every basin that is listed has its streams, and each of them its record.
#[track_caller]
fn check_basins(client: &mut Client) {
    let listed = client.get("/v1/basins?limit=1000");
    let basins = listed.status(200).json()["basins"].as_array().expect("a list").clone();
    for basin in basins.iter().filter_map(|basin| basin["name"].as_str()) {
        if !basin.starts_with("short-") {
            continue;
        }
        let mut inside = client.another().in_basin(basin);
        let listed = inside.get("/v1/streams?limit=1000");
        if listed.status != 200 {
            continue; // it is being deleted
        }
        let streams = listed.json()["streams"].as_array().expect("a list").clone();
        for stream in streams.iter().filter_map(|stream| stream["name"].as_str()) {
            let read = inside.read(stream, "seq_num=0");
            assert!(
                [200, 404, 409, 416].contains(&read.status),
                "{basin}/{stream}: {}",
                read.status
            );
        }
    }
}

#[test]
fn backups_of_a_server_at_work_hold_all_that_was_acknowledged_before() {
    let settings = [("THALWEG_CHECKPOINT_BYTES", "1048576")];
    let Some(mut server) = Server::start_with(2, &settings) else { return };
    let room = Room::new();
    let mut client = fresh_basin_on(&server, &json!(null));
    let mut written = vec![Written::new("kept", 2_000, false), Written::new("also", 500, false)];
    written[1].is_swift = true;
    written.extend((0..BUSY).map(|n| Written::new(&format!("busy {n}"), 120_000, true)));
    written.iter().for_each(|stream| client.create_stream(&stream.name));

    let stop = AtomicBool::new(false);
    let mut before = Vec::new();
    thread::scope(|scope| {
        for stream in &written {
            let (client, stop) = (client.another(), &stop);
            scope.spawn(move || stream.write(client, stop));
        }
        let (other, flag) = (client.another(), &stop);
        scope.spawn(move || change_basins(other, flag));
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 0..BACKUPS {
                // Segments are used again, and what is kept is copied on, before each of them.
                let name = "thalweg_segments_recycled_total";
                let so_far = client.metric(name);
                poll(EVENTUALLY_WAIT, || (client.metric(name) > so_far).then_some(()))
                    .expect("segments are given up between backups");
                before.push(
                    written
                        .iter()
                        .map(|s| s.acknowledged.load(Ordering::Acquire))
                        .collect::<Vec<_>>(),
                );
                let to = room.at(&format!("backup-{number}"));
                let said = back_up(&server, &to, &["--bytes-per-sec", "33554432"]);
                assert!(said.contains("shard 0: ok") && said.contains("shard 1: ok"), "{said}");
                assert_private(Path::new(&to));
            }
        }));
        stop.store(true, Ordering::Relaxed);
        made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });

    for (number, acknowledged) in before.iter().enumerate() {
        let backup = room.at(&format!("backup-{number}"));
        restart_from(&mut server, &backup);
        let mut after = server.client().in_basin(client.basin());
        for (stream, acknowledged) in written.iter().zip(acknowledged) {
            stream.check(&mut after, *acknowledged);
        }
        check_basins(&mut after);
        after.append_bodies("kept", &["goes on"]);
        server.kill();
        let (status, said) = server.verify();
        assert!(status.success(), "{said}");
        server.restart();
    }
}

#[test]
fn a_later_backup_links_what_an_earlier_one_has() {
    let settings = [("THALWEG_CHECKPOINT_BYTES", "1048576")];
    let Some(mut server) = Server::start_with(1, &settings) else { return };
    let room = Room::new();
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    let written = Written::new("s", 900_000, false);
    let mut append = |from: u64, to: u64| {
        (from..to).for_each(|seq_num| {
            client.append_bodies("s", &[&written.body(seq_num)]);
        });
    };
    append(0, 20);
    let (first, second) = (room.at("first"), room.at("second"));
    back_up(&server, &first, &[]);
    append(20, 30);
    back_up(&server, &second, &["--reuse", &first]);
    let links = |backup: &str| {
        let files = files_below(Path::new(backup));
        files.iter().filter(|file| file.metadata().expect("there").nlink() == 2).count()
    };
    assert_eq!((links(&first), links(&second)), (2, 2), "two segments were full at the first one");

    let basin = client.basin().to_owned();
    for (backup, records) in [(&first, 20), (&second, 30)] {
        restart_from(&mut server, backup);
        let mut after = server.client().in_basin(&basin);
        assert_eq!(after.tail_seq_num("s"), records);
        written.check(&mut after, records);
        // A restored directory shares nothing with the backup.
        after.append_bodies("s", &["more"]);
    }
    let (ended_well, said) = super::thalweg(&["restore", "--check", "--from", &second]);
    assert!(ended_well && said.contains("every checksum is right"), "{said}");
}

#[test]
fn tokens_go_on_to_be_known_and_encrypted_records_stay_encrypted() {
    const ROOT: &str = "a-root-token-of-at-least-32-characters";
    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let settings = [("THALWEG_ROOT_TOKEN", ROOT)];
    let Some(mut server) = Server::start_with(2, &settings) else { return };
    let room = Room::new();
    let mut root = server.client().with_token(ROOT);
    let config = json!({ "stream_cipher": "aegis-256" });
    root.post("/v1/basins", &json!({ "basin": "secret-basin", "config": config })).status(201);
    let mut root = root.in_basin("secret-basin");
    root.create_stream("s");
    let append = Request::post(&records_path("s"), &batch(&["a needle in clear"]));
    root.send(with_key(append, KEY)).status(200);
    let scope = json!({
        "streams": { "prefix": "" },
        "basins": { "prefix": "" },
        "op_groups": { "stream": { "read": true } }
    });
    let issued = root.post("/v1/access-tokens", &json!({ "id": "reader", "scope": scope }));
    let secret = issued.status(201).json()["access_token"].as_str().expect("text").to_owned();

    // The server is stopped: that makes no difference.
    server.terminate();
    let backup = room.at("backup");
    back_up(&server, &backup, &[]);
    for file in files_below(Path::new(&backup)) {
        let bytes = std::fs::read(&file).expect("the file can be read");
        for word in ["needle", &secret] {
            let is_there = bytes.windows(word.len()).any(|at| at == word.as_bytes());
            assert!(!is_there, "{}: {word}", file.display());
        }
    }
    server.restart();
    restart_from(&mut server, &backup);
    let mut reader = server.client().with_token(&secret).in_basin("secret-basin");
    let read = Request::get(&format!("{}?seq_num=0", records_path("s")));
    let records = reader.send(with_key(read, KEY)).records();
    assert_eq!(records[0]["body"], "a needle in clear");
    reader.append("s", &batch(&["no"])).refused(403, "permission_denied");
}
