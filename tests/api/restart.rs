//! What survives the end of the process, and how it ends. Each test has a server of its own.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::client::{Client, fresh_basin_on, records_path, stream_path};
use crate::common::http::{Conn, Request};
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, poll};

/// Reads the whole listing in pages and checks that each page is full and `has_more` exact.
fn list_all(client: &mut Client, limit: usize, total: usize) -> Vec<Value> {
    let mut listed: Vec<Value> = Vec::new();
    loop {
        let last = listed.last().and_then(|item| item["name"].as_str()).unwrap_or_default();
        let target = format!("/v1/streams?limit={limit}&start_after={last}");
        let page = client.get(&target);
        let items = page.status(200).at("/streams");
        let items = items.as_array().expect("streams is an array");
        assert_eq!(items.len(), limit.min(total - listed.len()), "{page}");
        listed.extend(items.iter().cloned());
        assert_eq!(page.at("/has_more"), json!(listed.len() < total), "{page}");
        if listed.len() >= total {
            return listed;
        }
    }
}

#[test]
fn streams_of_all_shards_make_one_sorted_listing_and_survive_a_restart() {
    const STREAMS: usize = 50;
    let Some(mut server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    let mut names: Vec<String> =
        (0..STREAMS).map(|index| format!("s{}", index * 37 % 101)).collect();
    for name in &names {
        client.create_stream(name);
        client.append_bodies(name, &[name]);
    }
    assert_eq!(client.connects(), 1, "one connection reaches the streams of every shard");
    names.sort_unstable();
    let listed = list_all(&mut client, 7, STREAMS);
    let listed_names: Vec<&str> = listed.iter().filter_map(|item| item["name"].as_str()).collect();
    assert_eq!(listed_names, names);

    server.kill();
    server.restart();
    let mut client = server.client().in_basin(&basin);
    assert_eq!(list_all(&mut client, 7, STREAMS), listed);
    for name in &names {
        assert_eq!(client.read_bodies(name, "seq_num=0"), [name.as_str()]);
        assert_eq!(client.append_bodies(name, &["after"]).u64_at("/start/seq_num"), 1);
    }
}

#[test]
fn case_80_a_crash_after_the_ack_loses_nothing() {
    let Some(mut server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream_with("s", &json!({ "timestamping": { "uncapped": true } }));
    let mut expected = Vec::new();
    for round in 0..3_u64 {
        let token = format!("token {round}");
        let fence = json!({ "headers": [["", "fence"]], "body": token });
        let future = json!({ "timestamp": 5_000_000_000_000_u64 + round, "body": "\u{0}é" });
        let ack = client.append("s", &json!({ "records": [fence, future] }));
        ack.status(200);
        server.kill();
        server.restart();

        client = server.client().in_basin(&basin);
        client.tail("s").is(200, &json!({ "tail": ack.at("/tail") }));
        let records = client.read("s", "seq_num=0").records();
        assert_eq!(records[..expected.len()], expected[..], "older records changed");
        assert_eq!(records.len(), expected.len() + 2);
        assert_eq!(records[expected.len()]["body"], json!(token));
        assert_eq!(records[expected.len() + 1]["headers"], json!(null));
        assert_eq!(records[expected.len() + 1]["body"], json!("\u{0}é"));
        assert_eq!(records[expected.len() + 1]["timestamp"], json!(5_000_000_000_000_u64 + round));
        expected = records;
        let stale = json!({ "records": [{}], "fencing_token": "stale" });
        client.append("s", &stale).is(412, &json!({ "fencing_token_mismatch": token }));
    }
    // The greatest timestamp is remembered, not only shown.
    let ack = client.append("s", &json!({ "records": [{ "timestamp": 1 }], "match_seq_num": 6 }));
    assert_eq!(ack.status(200).u64_at("/end/timestamp"), 5_000_000_000_002);
}

#[test]
fn a_crash_loses_no_trim() {
    let Some(mut server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream("s");
    client.append_bodies("s", &["0", "1", "2", "3"]);
    let trim = json!({ "headers": [["", "trim"]], "body": "\0\0\0\0\0\0\0\u{3}" });
    client.append("s", &json!({ "records": [trim] })).status(200);
    server.kill();
    server.restart();
    let mut client = server.client().in_basin(&basin);
    // Deletion is eventual: a server may come to it only in its next round of such work.
    let held = poll(Duration::from_secs(90), || {
        (client.read_seq_nums("s", "seq_num=0") == [3, 4]).then_some(())
    });
    assert!(held.is_some(), "the trim was forgotten");
    assert_eq!(client.tail_seq_num("s"), 5);
}

#[test]
fn case_101_a_creation_that_was_answered_survives_a_crash() {
    let Some(mut server) = Server::start() else { return };
    let flags = json!({ "create_stream_on_append": true });
    let body = json!({ "basin": "survivor-basin", "config": flags });
    let create =
        |path: &str, body: &Value| Request::post(path, body).header("s2-request-token", "t");
    let basin = server.client().send(create("/v1/basins", &body));
    basin.status(201);
    server.kill();
    server.restart();
    let mut client = server.client().in_basin("survivor-basin");
    let replay = client.send(create("/v1/basins", &body));
    assert_eq!(replay.header("s2-provision-result"), Some("noop"), "{replay}");
    assert_eq!(replay.at("/created_at"), basin.at("/created_at"), "{replay}");
    let config = client.get("/v1/basins/survivor-basin");
    assert_eq!(config.status(200).at("/create_stream_on_append"), json!(true));

    let config = json!({ "storage_class": "turbo-9", "delete_on_empty": { "min_age_secs": 777 } });
    let body = json!({ "stream": "s", "config": config });
    let stream = client.send(create("/v1/streams", &body));
    stream.status(201);
    server.kill();
    server.restart();
    let mut client = server.client().in_basin("survivor-basin");
    let replay = client.send(create("/v1/streams", &body));
    assert_eq!(replay.header("s2-provision-result"), Some("noop"), "{replay}");
    assert_eq!(replay.json(), stream.json());
    assert_eq!(client.config("s")["storage_class"], json!("turbo-9"));
    assert_eq!(client.config("s")["delete_on_empty"], json!({ "min_age_secs": 777 }));
    client.append_bodies("by use", &["a"]);
    server.kill();
    server.restart();
    let mut client = server.client().in_basin("survivor-basin");
    assert_eq!(client.read_bodies("by use", "seq_num=0"), ["a"]);
}

#[test]
fn case_101_a_deletion_that_was_answered_survives_a_crash() {
    let Some(mut server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream("kept");
    client.create_stream("gone");
    client.append_bodies("gone", &["a"]);
    client.delete(&stream_path("gone")).status(202);
    server.kill();
    server.restart();
    let mut client = server.client().in_basin(&basin);
    let refusals = [(409, "stream_deletion_pending"), (404, "stream_not_found")];
    client.get("/v1/streams/gone").refused_as(&refusals);
    client.read("gone", "seq_num=0").refused_as(&refusals);
    let listed = client.get("/v1/streams").status(200).json();
    for stream in listed["streams"].as_array().expect("a list") {
        let lives = stream["deleted_at"].is_null();
        assert_eq!(lives, stream["name"] == json!("kept"), "{stream}");
    }

    client.delete(&format!("/v1/basins/{basin}")).status(202);
    server.kill();
    server.restart();
    let mut client = server.client().in_basin(&basin);
    let refusals = [(409, "basin_deletion_pending"), (404, "basin_not_found")];
    client.post("/v1/streams", &json!({ "stream": "new" })).refused_as(&refusals);
    let listed = client.get(&format!("/v1/basins?prefix={basin}")).status(200).json();
    for item in listed["basins"].as_array().expect("a list") {
        assert!(item["deleted_at"].is_string(), "it came back to life: {item}");
    }
}

/// PUT and PATCH, answered just before the process dies; then the same after a shutdown in order,
/// which writes checkpoints, with a change in the log after them.
#[test]
fn changes_of_configurations_survive_a_crash() {
    let Some(mut server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    let path = format!("/v1/basins/{basin}");
    for stream in ["patched", "replaced"] {
        client.create_stream(stream);
        client.append_bodies(stream, &["a"]);
    }
    let mut created = client.get("/v1/streams").json();
    for (round, orderly) in [false, true, false].into_iter().enumerate() {
        let class = format!("class {round}");
        let defaults = json!({ "storage_class": class, "delete_on_empty": { "min_age_secs": 0 } });
        let patch = json!({ "default_stream_config": defaults, "create_stream_on_append": true });
        let of_basin = client.patch(&path, &patch).status(200).json();
        let age = json!({ "retention_policy": { "age": 100 + round } });
        let patched = client.patch(&stream_path("patched"), &age).status(200).json();
        client.put(&stream_path("replaced"), &age).status(200);
        let replaced = client.config("replaced");
        assert_eq!(replaced["storage_class"], json!(class));
        let ensured = format!("ensured {round}");
        client.put(&stream_path(&ensured), &json!({})).status(201);
        created["streams"] = client.get("/v1/streams").at("/streams");
        if orderly {
            server.terminate();
        } else {
            server.kill();
        }
        server.restart();
        client = server.client().in_basin(&basin);
        client.get(&path).is(200, &of_basin);
        assert_eq!(client.config("patched"), patched);
        assert_eq!(client.config("replaced"), replaced);
        assert_eq!(client.config(&ensured)["storage_class"], json!(class));
        assert_eq!(client.get("/v1/streams").json(), created, "round {round}");
        for stream in ["patched", "replaced"] {
            assert_eq!(client.read_bodies(stream, "seq_num=0"), ["a"]);
        }
        client.put(&stream_path("replaced"), &age).status(200);
        let noop = client.put(&stream_path("replaced"), &age);
        assert_eq!(noop.header("s2-provision-result"), Some("noop"), "{noop}");
        // The flag is known to every shard again.
        for index in 0..4 {
            client.append_bodies(&format!("by use {round} {index}"), &["a"]);
        }
    }
    server.terminate();
    let (status, said) = server.verify();
    assert!(status.success(), "{said}");
    assert_eq!(said.matches(": ok").count(), 2, "{said}");
}

#[test]
fn large_records_survive_a_crash_across_segments() {
    let Some(mut server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream("s");
    // Sixteen records of 1 MiB are twice a segment of these tests.
    for letter in b'a'..=b'p' {
        client.append_bodies("s", &[&char::from(letter).to_string().repeat(1_048_568)]);
    }
    server.kill();
    server.restart();
    let mut client = server.client().in_basin(&basin);
    for (start, letter) in (b'a'..=b'p').enumerate() {
        let bodies = client.read_bodies("s", &format!("seq_num={start}"));
        assert_eq!(bodies.len(), 1);
        assert_eq!(bodies[0].len(), 1_048_568);
        assert!(bodies[0].bytes().all(|byte| byte == letter), "record {start} changed");
    }
}

#[test]
fn a_data_directory_has_one_server_at_a_time() {
    let Some(mut server) = Server::start() else { return };
    let (status, said) = server.start_rival();
    let status = status.expect("the second server ends by itself");
    assert!(!status.success(), "the second server ended with {status}: {said}");
    let data_dir = server.data_dir().display().to_string();
    let said = said.to_lowercase();
    let clear = said.contains(&data_dir.to_lowercase())
        || ["lock", "in use", "another", "already"].iter().any(|word| said.contains(word));
    assert!(clear, "the second server does not say why it ends: {said:?}");
    assert!(!said.contains("panicked"), "a refusal is no panic: {said}");
    // The first is unharmed, and its crash leaves no lock behind.
    server.client().get("/health").status(200);
    server.kill();
    server.restart();
    server.client().get("/health").status(200);
}

#[test]
fn a_termination_signal_ends_the_server_at_once_when_connections_are_idle() {
    let Some(mut server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream("s");
    client.append_bodies("s", &["a"]);
    let mut idle: Vec<Client> = (0..8).map(|_| client.another()).collect();
    for client in &mut idle {
        client.tail("s").status(200);
    }
    let (status, elapsed) = server.terminate();
    assert!(status.success(), "ended with {status}");
    assert!(elapsed < Duration::from_secs(5), "idle connections held it up for {elapsed:?}");

    server.restart();
    let mut client = server.client().in_basin(&basin);
    assert_eq!(client.read_bodies("s", "seq_num=0"), ["a"]);
    assert_eq!(client.append_bodies("s", &["b"]).u64_at("/start/seq_num"), 1);
}

/// Connections that owe a request, or are owed an answer: the specification grants about ten
/// seconds.
#[test]
fn unfinished_requests_hold_up_termination_only_so_long() {
    let Some(mut server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    let read = client.encode(&Request::get(&format!("{}?seq_num=0&wait=60", records_path("s"))));
    let append = client.encode(&Request::post(&records_path("s"), &json!({ "records": [{}] })));
    let begun: [&[u8]; 4] =
        [&read, &append[..append.len() - 1], b"GET /health HTTP/1.1\r\nho", b""];
    let conns = begun.map(|bytes| {
        let mut conn = Conn::open(server.host());
        conn.write(bytes).expect("the socket takes it");
        conn
    });
    // An answer on a later connection: the server had time to see the others.
    client.another().tail("s").status(200);
    let (status, elapsed) = server.terminate();
    assert!(status.success(), "ended with {status}");
    assert!(elapsed < Duration::from_secs(14), "it took {elapsed:?}");
    drop(conns);
}

/// Every shard holds copies of the basins, but only one of them knows which are gone.
#[test]
fn a_deleted_basin_is_gone_from_every_shard_after_a_restart() {
    let Some(mut server) = Server::start() else { return };
    let client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    // A shutdown in order writes checkpoints.
    server.terminate();
    server.restart();
    let mut client = server.client().in_basin(&basin);
    client.delete(&format!("/v1/basins/{basin}")).status(202);
    let gone = || (client.delete(&format!("/v1/basins/{basin}")).status == 404).then_some(());
    poll(EVENTUALLY_WAIT, gone).expect("an empty basin is purged");
    server.kill();
    server.restart();
    let mut client = server.client().in_basin(&basin);
    for index in 0..16 {
        let stream = json!({ "stream": format!("s{index}") });
        client.post("/v1/streams", &stream).refused(404, "basin_not_found");
    }
}

/// A request may need another core than that of its connection.
#[test]
fn a_request_under_way_is_answered_before_any_core_stops() {
    let Some(mut server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let forwarded = |client: &mut Client| {
        let text = String::from_utf8_lossy(&client.get("/metrics").status(200).body).into_owned();
        let lines = text.lines().filter(|line| line.starts_with("thalweg_forwarded_total"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    // Asking for the numbers forwards some calls itself, as many each time.
    let (first, second) = (forwarded(&mut client), forwarded(&mut client));
    let mut before = second;
    let foreign = (0..64).map(|index| format!("s{index}")).find(|stream| {
        client.create_stream(stream);
        let after = forwarded(&mut client);
        let crossed = after - before > second - first;
        before = after;
        crossed
    });
    let stream = foreign.expect("one of so many streams is on the other core");
    let target = format!("{}?seq_num=0&wait=2", records_path(&stream));
    let read = client.encode(&Request::get(&target));
    client.conn().write(&read).expect("the socket takes it");
    // Answers on later connections: the server had time to see it.
    for _ in 0..8 {
        client.another().tail(&stream).status(200);
    }
    let (status, elapsed) = server.terminate();
    assert!(status.success(), "ended with {status}");
    // Waits at shutdown are cut after 10 s; this one is answered.
    assert!(elapsed < Duration::from_secs(9), "it took {elapsed:?}");
    let answer = client.read_response("GET", &read).expect("an answer");
    answer.is(200, &json!({ "records": [] }));
}
