//! PUT: create a basin or stream, or give the one that is there the configuration asked for.

use std::thread;

use serde_json::{Value, json};

use crate::common::client::{Client, fresh_basin, fresh_basin_with, stream_path};
use crate::common::http::{Request, Response};
use crate::common::server::Server;
use crate::common::unique_name;

const UNSET_BASIN: &str = r#"{"default_stream_config":null,"stream_cipher":null,
    "create_stream_on_append":false,"create_stream_on_read":false}"#;

/// Fails unless `answer` says that the resource was `result`.
#[track_caller]
fn provisioned(answer: &Response, status: u16, result: &str) -> Value {
    answer.status(status);
    if answer.header("s2-provision-result") != Some(result) {
        answer.fail(&format!("expected s2-provision-result: {result}"));
    }
    answer.json()
}

fn put(target: &str) -> Request {
    Request::new("PUT", target)
}

fn typed(target: &str, content_type: &str, body: &str) -> Request {
    put(target).bytes(body).header("content-type", content_type)
}

fn unset_basin() -> Value {
    serde_json::from_str(UNSET_BASIN).expect("JSON")
}

#[test]
fn case_10_11_a_basin_is_created_then_replaced() {
    let mut client = Server::shared().client();
    let basin = unique_name("ensure");
    let path = format!("/v1/basins/{basin}");
    let created = provisioned(&client.send(put(&path)), 201, "created");
    assert_eq!(created["name"], json!(basin));
    assert_eq!(created["deleted_at"], json!(null));
    assert_eq!(created["location"], json!("local"));
    assert_eq!(created["state"], json!("active"));
    assert_eq!(provisioned(&client.send(put(&path)), 200, "noop"), created);
    client.get(&path).is(200, &unset_basin());

    let flag = json!({ "config": { "create_stream_on_append": true } });
    assert_eq!(provisioned(&client.put(&path, &flag), 200, "updated"), created);
    assert_eq!(provisioned(&client.put(&path, &flag), 200, "noop"), created);
    assert_eq!(client.get(&path).at("/create_stream_on_append"), json!(true));
    assert_eq!(provisioned(&client.put(&path, &json!({})), 200, "updated"), created);
    client.get(&path).is(200, &unset_basin());

    let defaults =
        json!({ "config": { "default_stream_config": { "storage_class": "standard" } } });
    provisioned(&client.put(&path, &defaults), 200, "updated");
    let other = json!({ "config": { "create_stream_on_read": true } });
    provisioned(&client.put(&path, &other), 200, "updated");
    assert_eq!(client.get(&path).at("/default_stream_config"), json!(null), "replaced, not merged");
    provisioned(&client.send(put(&path)), 200, "updated");
    client.get(&path).is(200, &unset_basin());
    // Created by PUT, so no POST ever replays it.
    let post = Request::post("/v1/basins", &json!({ "basin": basin }));
    client.send(post.header("s2-request-token", "t")).refused(409, "resource_already_exists");
}

#[test]
fn a_stream_is_created_then_replaced_with_the_current_defaults() {
    let config = json!({ "default_stream_config": {
        "storage_class": "standard", "timestamping": { "uncapped": true } } });
    let mut client = fresh_basin_with(&config);
    let target = stream_path("a/é");
    let asked = json!({ "retention_policy": { "age": 5 } });
    let created = provisioned(&client.put(&target, &asked), 201, "created");
    assert_eq!(created["name"], json!("a/é"));
    assert!(created["deleted_at"].is_null() && created["cipher"].is_null());
    assert_eq!(client.get("/v1/streams").at("/streams/0"), created);
    let resolved = |class: &str, age: u64, uncapped: bool| {
        json!({
            "storage_class": class, "retention_policy": { "age": age },
            "timestamping": { "mode": "client-prefer", "uncapped": uncapped },
            "delete_on_empty": { "min_age_secs": 0 },
        })
    };
    assert_eq!(client.config("a/é"), resolved("standard", 5, true));
    assert_eq!(provisioned(&client.put(&target, &asked), 200, "noop"), created);

    let basin = format!("/v1/basins/{}", client.basin());
    let express = json!({ "default_stream_config": { "storage_class": "express" } });
    client.patch(&basin, &express).status(200);
    assert_eq!(client.config("a/é"), resolved("standard", 5, true), "frozen");
    // What is not named reverts to the default of now, not to that of then.
    assert_eq!(provisioned(&client.put(&target, &asked), 200, "updated"), created);
    assert_eq!(client.config("a/é"), resolved("express", 5, true));
    provisioned(&client.send(put(&target)), 200, "updated");
    assert_eq!(client.config("a/é"), resolved("express", 604_800, true));
    provisioned(&client.send(put(&target)), 200, "noop");
    let same = json!({ "storage_class": "express", "timestamping": { "uncapped": true } });
    provisioned(&client.put(&target, &same), 200, "noop");
    assert_eq!(client.config("a/é"), resolved("express", 604_800, true));
    client.append_bodies("a/é", &["a"]);
    provisioned(&client.put(&target, &asked), 200, "updated");
    assert_eq!(client.read_bodies("a/é", "seq_num=0"), ["a"], "records stay");
    let post = Request::post("/v1/streams", &json!({ "stream": "a/é", "config": asked }));
    client.send(post.header("s2-request-token", "t")).refused(409, "resource_already_exists");
}

#[test]
fn a_body_counts_when_it_is_declared() {
    let mut client = fresh_basin();
    let basin = format!("/v1/basins/{}", unique_name("body"));
    let json_type = "application/json";
    for target in [basin.as_str(), "/v1/streams/s"] {
        provisioned(&client.send(put(target)), 201, "created");
        // Without a type there is no body, whatever is sent.
        for ignored in ["", "{}", "not json", r#"{"storage_class":7}"#] {
            provisioned(&client.send(put(target).bytes(ignored)), 200, "noop");
        }
        for nothing in ["", "null", " null\n", "{}", r#"{"unknown":[1]}"#] {
            provisioned(&client.send(typed(target, json_type, nothing)), 200, "noop");
        }
        let with_charset = typed(target, "application/json; charset=utf-8", "{}");
        provisioned(&client.send(with_charset), 200, "noop");
        for other in ["text/plain", "application/protobuf", "application/x-www-form-urlencoded", ""]
        {
            client.send(typed(target, other, "{}")).refused(400, "bad_json");
        }
        for malformed in [" ", "[]", "{", "7", "\"a\"", "{} {}", "nul"] {
            client.send(typed(target, json_type, malformed)).refused(400, "bad_json");
        }
    }
    // A stream's configuration is bare: wrapped, it is an unknown member.
    let wrapped = json!({ "config": { "storage_class": "standard" } });
    provisioned(&client.put("/v1/streams/s", &wrapped), 200, "noop");
    let bare = json!({ "create_stream_on_append": true });
    provisioned(&client.put(&basin, &bare), 200, "noop");
}

#[test]
fn an_invalid_request_creates_and_changes_nothing() {
    let mut client = fresh_basin();
    let basin = format!("/v1/basins/{}", unique_name("invalid"));
    let age = json!({ "retention_policy": { "age": 0 } });
    let wrapped = json!({ "config": { "default_stream_config": age } });
    for exists in [false, true] {
        client.put(&basin, &wrapped).refused(422, "invalid");
        client.put(&basin, &json!({ "location": "aws:us-east-1" })).refused(422, "invalid");
        client.put(&basin, &json!({ "scope": "aws:us-east-1" })).refused(422, "invalid");
        client.put(&basin, &json!({ "location": "a b" })).refused(400, "bad_json");
        client.put("/v1/streams/s", &age).refused(422, "invalid");
        client.put("/v1/streams/s", &json!({ "storage_class": 7 })).refused(400, "bad_json");
        if exists {
            client.get(&basin).is(200, &unset_basin());
            assert_eq!(client.config("s")["retention_policy"], json!({ "age": 604_800 }));
        } else {
            client.get(&basin).refused(404, "basin_not_found");
            client.get("/v1/streams/s").refused(404, "stream_not_found");
            client.put(&basin, &json!({ "location": "local" })).status(201);
            client.put("/v1/streams/s", &json!({ "storage_class": null })).status(201);
        }
    }
    client.put("/v1/basins/short", &json!({})).refused(400, "bad_path");
    client.put("/v1/streams/%FF", &json!({})).refused(400, "bad_path");
    let mut client = client.in_basin(&unique_name("missing"));
    client.put("/v1/streams/s", &json!({})).refused(404, "basin_not_found");
}

/// Every one of several at once succeeds, and exactly one of them creates.
#[track_caller]
fn one_creates(client: &Client, target: &str, bodies: &[Value]) {
    let answers: Vec<Response> = thread::scope(|scope| {
        let one = |index: usize| client.another().put(target, &bodies[index % bodies.len()]);
        let callers: Vec<_> = (0..20).map(|index| scope.spawn(move || one(index))).collect();
        callers.into_iter().map(|caller| caller.join().expect("an answer")).collect()
    });
    let result = |answer: &Response| answer.header("s2-provision-result").map(str::to_owned);
    let created: Vec<_> =
        answers.iter().filter(|a| result(a).as_deref() == Some("created")).collect();
    assert_eq!(created.len(), 1, "{target}: created once");
    assert_eq!(created[0].status(201).json()["deleted_at"], json!(null));
    for answer in &answers {
        if answer.status != 201 {
            answer.status(200);
        }
        assert_eq!(answer.at("/created_at"), created[0].at("/created_at"), "one resource");
        let updated = result(answer).as_deref() == Some("updated");
        assert!(!updated || bodies.len() > 1, "nobody asked for anything else: {answer}");
    }
}

#[test]
fn twenty_at_once_all_succeed() {
    let client = fresh_basin();
    for round in 0..4 {
        let basin = format!("/v1/basins/{}", unique_name("crowd"));
        let stream = format!("/v1/streams/s{round}");
        if round % 2 == 0 {
            one_creates(&client, &basin, &[json!({})]);
            one_creates(&client, &stream, &[json!({})]);
        } else {
            let flags =
                [true, false].map(|on| json!({ "config": { "create_stream_on_read": on } }));
            one_creates(&client, &basin, &flags);
            let classes = ["a", "b", "c"].map(|class| json!({ "storage_class": class }));
            one_creates(&client, &stream, &classes);
        }
    }
}

/// The same token and configuration, twenty times at once: one creation and nineteen replays.
#[test]
fn twenty_replays_at_once_all_succeed() {
    let client = fresh_basin();
    let basin = json!({ "basin": unique_name("replays") });
    for (target, body, replayed) in
        [("/v1/basins", basin, 200), ("/v1/streams", json!({ "stream": "s" }), 201)]
    {
        let answers: Vec<Response> = thread::scope(|scope| {
            let body = &body;
            let one = || {
                let request = Request::post(target, body).header("s2-request-token", "t");
                client.another().send(request)
            };
            let callers: Vec<_> = (0..20).map(|_| scope.spawn(one)).collect();
            callers.into_iter().map(|caller| caller.join().expect("an answer")).collect()
        });
        let created = |a: &&Response| a.header("s2-provision-result") == Some("created");
        assert_eq!(answers.iter().filter(created).count(), 1, "{target}");
        for answer in answers.iter().filter(|a| !created(a)) {
            provisioned(answer, replayed, "noop");
            assert_eq!(answer.json(), answers[0].json());
        }
    }
}

/// Whoever was told that a basin is there can use it through any core, and sees its newest state.
#[test]
fn an_answer_about_a_basin_holds_for_every_shard() {
    let server = Server::shared();
    for _ in 0..10 {
        let basin = unique_name("everywhere");
        let path = format!("/v1/basins/{basin}");
        let body = json!({ "config": { "create_stream_on_append": true } });
        thread::scope(|scope| {
            for caller in 0..4 {
                let (basin, path, body) = (&basin, &path, &body);
                scope.spawn(move || {
                    let mut client = server.client();
                    let answer = if caller % 2 == 0 {
                        client.put(path, body)
                    } else {
                        let whole = json!({ "basin": basin, "config": body["config"] });
                        client.post("/v1/basins", &whole)
                    };
                    assert!([200, 201, 409].contains(&answer.status), "{answer}");
                    let mut client = client.in_basin(basin);
                    for stream in 0..4 {
                        client.append_bodies(&format!("{caller}/{stream}"), &["a"]);
                    }
                    client.get(path).status(200);
                });
            }
        });
        let mut client = server.client().in_basin(&basin);
        let off = json!({ "config": { "create_stream_on_append": false } });
        provisioned(&client.put(&path, &off), 200, "updated");
        for stream in 0..8 {
            let append = client.append(&format!("new {stream}"), &json!({ "records": [{}] }));
            append.refused(404, "stream_not_found");
        }
        assert_eq!(client.get("/v1/streams").at("/streams").as_array().map(Vec::len), Some(16));
    }
}
