//! Deletion beside everything else: what races with it, what it leaves, what takes its place.

use std::thread;

use serde_json::{Value, json};

use crate::common::client::{Client, batch, fresh_basin};
use crate::common::http::{Request, Response};
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, poll, unique_name};

const STREAM_GONE: [(u16, &str); 2] = [(409, "stream_deletion_pending"), (404, "stream_not_found")];
const BASIN_GONE: [(u16, &str); 2] = [(409, "basin_deletion_pending"), (404, "basin_not_found")];

fn put(client: &mut Client, target: &str) -> Response {
    client.send(Request::new("PUT", target))
}

#[test]
fn case_73_a_deleted_stream_cannot_be_changed() {
    let mut client = fresh_basin();
    for round in 0..5 {
        client.create_stream("s");
        client.delete("/v1/streams/s").status(202);
        let patched = client.patch("/v1/streams/s", &json!({ "storage_class": "x" }));
        patched.refused_as(&STREAM_GONE);
        client.get("/v1/streams/s").refused_as(&STREAM_GONE);
        let again = put(&mut client, "/v1/streams/s");
        if again.status != 201 {
            again.refused(409, "stream_deletion_pending");
        }
        let free = || {
            let deleted = client.delete("/v1/streams/s");
            (deleted.status == 404).then_some(())
        };
        poll(EVENTUALLY_WAIT, free).unwrap_or_else(|| panic!("round {round}: the name is free"));
    }
}

/// A change that was answered before the deletion was on the stream; one after it finds none. In
/// no order does a change bring a stream back.
#[test]
fn changes_race_with_deletion_and_never_undo_it() {
    let mut client = fresh_basin();
    for round in 0..20 {
        let target = format!("/v1/streams/s{round}");
        client.create_stream(&format!("s{round}"));
        let answers: Vec<Response> = thread::scope(|scope| {
            let change = |index: u64| {
                let (client, target) = (client.another(), target.clone());
                scope.spawn(move || {
                    let mut client = client;
                    client.patch(&target, &json!({ "retention_policy": { "age": 1 + index } }))
                })
            };
            let mut callers: Vec<_> = (0..3).map(change).collect();
            let (mut deleter, doomed) = (client.another(), target.clone());
            callers.push(scope.spawn(move || deleter.delete(&doomed)));
            callers.extend((3..6).map(change));
            callers.into_iter().map(|caller| caller.join().expect("an answer")).collect()
        });
        for answer in &answers {
            match answer.status {
                200 | 202 => {}
                _ => {
                    answer.refused_as(&STREAM_GONE);
                }
            }
        }
        assert_eq!(answers[3].status, 202, "{}", answers[3]);
        client.get(&target).refused_as(&STREAM_GONE);
        let listed = client.get(&format!("/v1/streams?prefix=s{round}&limit=1")).json();
        for stream in listed["streams"].as_array().expect("a list") {
            assert!(stream["deleted_at"].is_string(), "alive again: {stream}");
        }
    }
}

/// Several deletions of one stream at once, and then the name is in use again: none of them may
/// take the new stream with it.
#[test]
fn deletions_of_a_former_stream_leave_the_new_one_alone() {
    let mut client = fresh_basin();
    for round in 0..20 {
        let stream = format!("s{}", round % 4);
        let target = format!("/v1/streams/{stream}");
        client.create_stream(&stream);
        client.append_bodies(&stream, &["old"]);
        thread::scope(|scope| {
            for _ in 0..6 {
                let (mut client, target) = (client.another(), target.clone());
                scope.spawn(move || {
                    let deleted = client.delete(&target);
                    if deleted.status != 202 {
                        deleted.refused(404, "stream_not_found");
                    }
                });
            }
        });
        client.create_stream(&stream);
        client.append_bodies(&stream, &["new"]);
        for _ in 0..3 {
            assert_eq!(client.read_bodies(&stream, "seq_num=0"), ["new"], "round {round}");
        }
        client.delete(&target).status(202);
    }
}

#[test]
fn case_14_a_deleted_basin_takes_no_changes_and_its_name_becomes_free() {
    let mut client = fresh_basin();
    let path = format!("/v1/basins/{}", client.basin());
    for index in 0..40 {
        client.create_stream(&format!("s{index}"));
    }
    client.delete(&path).status(202);
    let refused_or_new = |answer: Response| {
        if answer.status != 201 {
            answer.refused(409, "basin_deletion_pending");
        }
    };
    client.patch(&path, &json!({})).refused_as(&BASIN_GONE);
    client.get(&path).refused_as(&BASIN_GONE);
    client.patch("/v1/streams/s0", &json!({})).refused_as(&BASIN_GONE);
    put(&mut client, "/v1/streams/s0").refused_as(&BASIN_GONE);
    put(&mut client, "/v1/streams/new").refused_as(&BASIN_GONE);
    refused_or_new(put(&mut client, &path));

    let free = poll(EVENTUALLY_WAIT, || {
        let ensured = put(&mut client, &path);
        if ensured.status == 409 {
            ensured.refused(409, "basin_deletion_pending");
            return None;
        }
        Some(ensured)
    });
    let ensured = free.expect("the name becomes free");
    assert!([200, 201].contains(&ensured.status), "{ensured}");
    assert_eq!(client.get("/v1/streams").status(200).at("/streams"), json!([]), "nothing is left");
    for index in 0..4 {
        client.create_stream(&format!("s{index}"));
        assert_eq!(client.tail_seq_num(&format!("s{index}")), 0);
    }
}

/// PUT, PATCH, DELETE of one basin from all sides: each answer is one of those that some order of
/// them explains, and in the end the basin can be had.
#[test]
fn changes_of_a_basin_race_with_its_deletion() {
    let server = Server::shared();
    for _ in 0..10 {
        let basin = unique_name("race");
        let path = format!("/v1/basins/{basin}");
        thread::scope(|scope| {
            for caller in 0..8 {
                let (path, basin) = (&path, &basin);
                scope.spawn(move || {
                    let mut client = server.client().in_basin(basin);
                    let config = json!({ "create_stream_on_append": caller % 2 == 0 });
                    for _ in 0..4 {
                        let answer = match caller % 4 {
                            0 => client.put(path, &json!({ "config": config })),
                            1 => client.patch(path, &config),
                            2 => client.delete(path),
                            _ => client.append("s", &batch(&["a"])),
                        };
                        if !matches!(answer.status, 200..=202) {
                            let stream_gone = STREAM_GONE.iter().chain(&BASIN_GONE);
                            answer.refused_as(&stream_gone.copied().collect::<Vec<_>>());
                        }
                    }
                });
            }
        });
        let mut client = server.client().in_basin(&basin);
        let there = || {
            let ensured = put(&mut client, &path);
            (ensured.status != 409).then_some(ensured.status)
        };
        let status = poll(EVENTUALLY_WAIT, there).expect("the basin can be had");
        assert!([200, 201].contains(&status), "{status}");
        for index in 0..4 {
            put(&mut client, &format!("/v1/streams/after-{index}")).status(201);
        }
    }
}

#[test]
fn head_is_get_without_its_body_on_every_route_of_the_control_plane() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let basin = format!("/v1/basins/{}", client.basin());
    let one = format!("/v1/basins?prefix={}", client.basin());
    let targets = [
        basin.as_str(),
        &one,
        "/v1/basins/short",
        "/v1/streams",
        "/v1/streams/s",
        "/v1/streams/missing",
        "/v1/locations",
        "/v1/locations/default",
        "/v1/nope",
    ];
    for target in targets {
        let get = client.get(target);
        let head = client.send(Request::new("HEAD", target));
        head.status(get.status);
        let length = get.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()), "{target}: {head}");
        assert_eq!(head.header("content-type"), Some("application/json"), "{target}: {head}");
    }
    assert_eq!(client.connects(), 1);
}

#[test]
fn wrong_methods_name_the_right_ones() {
    let mut client = fresh_basin();
    let basin = format!("/v1/basins/{}", client.basin());
    let table: [(&str, &str, &str); 8] = [
        ("POST", &basin, "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("POST", "/v1/streams/s", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("PUT", "/v1/basins", "GET, HEAD, POST, OPTIONS"),
        ("PUT", "/v1/streams", "GET, HEAD, POST, OPTIONS"),
        ("POST", "/v1/locations", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/locations", "GET, HEAD, OPTIONS"),
        ("PATCH", "/v1/locations/default", "GET, HEAD, PUT, OPTIONS"),
        ("DELETE", "/v1/locations/default", "GET, HEAD, PUT, OPTIONS"),
    ];
    for (method, target, allowed) in table {
        let answer = client.send(Request::new(method, target).json(&Value::Null));
        assert_eq!(answer.status(405).error_code(), "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allowed), "{answer}");
    }
}

/// What was asked for is recorded and shown, by both kinds of resource.
#[test]
fn delete_on_empty_is_recorded() {
    let mut client = fresh_basin();
    let basin = format!("/v1/basins/{}", client.basin());
    let secs = |secs: Value| json!({ "delete_on_empty": { "min_age_secs": secs } });
    let set = client.patch(&basin, &json!({ "default_stream_config": secs(json!(300)) }));
    let shown = set.status(200).at("/default_stream_config/delete_on_empty");
    assert_eq!(shown, json!({ "min_age_secs": 300 }));
    client.create_stream("inherits");
    assert_eq!(client.config("inherits")["delete_on_empty"], json!({ "min_age_secs": 300 }));
    put(&mut client, "/v1/streams/ensured").status(201);
    assert_eq!(client.config("ensured")["delete_on_empty"], json!({ "min_age_secs": 300 }));
    let longest = secs(json!(u64::MAX));
    let changed = client.patch("/v1/streams/inherits", &longest);
    assert_eq!(changed.status(200).at("/delete_on_empty"), longest["delete_on_empty"]);
    client.patch("/v1/streams/inherits", &secs(json!(-1))).refused(400, "bad_json");
    let zero = client.patch(&basin, &json!({ "default_stream_config": secs(json!(0)) }));
    let shown = zero.status(200).at("/default_stream_config/delete_on_empty");
    assert_eq!(shown, json!({ "min_age_secs": 0 }), "an explicit 0 is kept");
    let cleared = client.patch("/v1/streams/inherits", &json!({ "delete_on_empty": null }));
    assert_eq!(cleared.status(200).at("/delete_on_empty"), json!({ "min_age_secs": 0 }));
}

/// Retention takes effect by itself; the tail stays, and nothing goes before its time.
#[test]
fn records_expire_by_age_and_an_empty_stream_is_deleted() {
    let mut client = fresh_basin();
    client.create_stream_with("s", &json!({ "retention_policy": { "age": 2 } }));
    let since = crate::common::now_ms();
    client.append_bodies("s", &["a", "b"]);
    poll(EVENTUALLY_WAIT, || {
        let readable = !client.read_seq_nums("s", "seq_num=0").is_empty();
        // Answered after the look, so no later than it.
        assert!(readable || crate::common::now_ms() >= since + 2000, "gone too early");
        (!readable).then_some(())
    })
    .expect("expired");
    assert_eq!(client.tail_seq_num("s"), 2);
    client.append_bodies("s", &["c"]);
    assert_eq!(client.read_seq_nums("s", "seq_num=0"), [2], "what is new is kept");

    client.patch("/v1/streams/s", &json!({ "delete_on_empty": { "min_age_secs": 1 } })).status(200);
    let free = || (client.get("/v1/streams/s").status == 404).then_some(());
    poll(EVENTUALLY_WAIT, free).expect("expired again, empty, and deleted");
}
