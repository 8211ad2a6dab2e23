//! PATCH: change what is named, and nothing else.

use serde_json::{Value, json};

use crate::common::client::{batch, fresh_basin, fresh_basin_with, stream_path};
use crate::common::http::Request;
use crate::common::server::Server;
use crate::common::unique_name;

fn basin_with(default: &Value, on_append: bool, on_read: bool) -> Value {
    json!({
        "default_stream_config": default, "stream_cipher": null,
        "create_stream_on_append": on_append, "create_stream_on_read": on_read,
    })
}

#[test]
fn case_12_a_flag_is_set_and_kept() {
    let mut client = fresh_basin();
    let path = format!("/v1/basins/{}", client.basin());
    let on = basin_with(&json!(null), false, true);
    client.patch(&path, &json!({ "create_stream_on_read": true })).is(200, &on);
    client.patch(&path, &json!({})).is(200, &on);
    let nulls = json!({ "create_stream_on_read": null, "create_stream_on_append": null });
    client.patch(&path, &nulls).is(200, &on);
    client.patch(&path, &json!({ "unknown": { "a": null } })).is(200, &on);
    client.get(&path).is(200, &on);
    client.tail("by read").status(200);
    let off = basin_with(&json!(null), false, false);
    client.patch(&path, &json!({ "create_stream_on_read": false })).is(200, &off);
    client.tail("another").refused(404, "stream_not_found");
}

#[test]
fn case_13_a_default_is_shown_as_it_is_stored() {
    let mut client = fresh_basin();
    let path = format!("/v1/basins/{}", client.basin());
    let shown = |class: Value, timestamping: Value, delete_on_empty: Value| {
        let default = json!({
            "storage_class": class, "retention_policy": null,
            "timestamping": timestamping, "delete_on_empty": delete_on_empty,
        });
        basin_with(&default, false, false)
    };
    let null = || Value::Null;
    let steps = [
        (json!({ "storage_class": "standard" }), shown(json!("standard"), null(), null())),
        (
            json!({ "delete_on_empty": { "min_age_secs": 0 } }),
            shown(json!("standard"), null(), json!({ "min_age_secs": 0 })),
        ),
        (
            json!({ "timestamping": { "uncapped": false } }),
            shown(
                json!("standard"),
                json!({ "mode": null, "uncapped": false }),
                json!({ "min_age_secs": 0 }),
            ),
        ),
        (
            json!({ "timestamping": { "uncapped": null }, "delete_on_empty": null }),
            shown(json!("standard"), null(), null()),
        ),
        (json!({}), shown(json!("standard"), null(), null())),
        (json!({ "storage_class": null }), basin_with(&json!(null), false, false)),
        (json!({ "storage_class": "standard" }), shown(json!("standard"), null(), null())),
        (json!(null), basin_with(&json!(null), false, false)),
        (json!({}), basin_with(&json!(null), false, false)),
    ];
    for (patch, expected) in steps {
        let answer = client.patch(&path, &json!({ "default_stream_config": patch }));
        answer.is(200, &expected);
        client.get(&path).is(200, &expected);
    }
}

#[test]
fn case_24_25_a_stream_keeps_what_it_inherited_until_it_is_reset() {
    let config = json!({ "default_stream_config": { "storage_class": "standard" } });
    let mut client = fresh_basin_with(&config);
    client.create_stream_with("s", &json!({ "retention_policy": { "infinite": {} } }));
    let basin = format!("/v1/basins/{}", client.basin());
    let express = json!({ "default_stream_config": { "storage_class": "express" } });
    client.patch(&basin, &express).status(200);
    let mut expected = json!({
        "storage_class": "standard", "retention_policy": { "infinite": {} },
        "timestamping": { "mode": "client-prefer", "uncapped": false },
        "delete_on_empty": { "min_age_secs": 0 },
    });
    client.get("/v1/streams/s").is(200, &expected);
    expected["storage_class"] = json!("express");
    client.patch("/v1/streams/s", &json!({ "storage_class": null })).is(200, &expected);
    client.get("/v1/streams/s").is(200, &expected);
}

#[test]
fn each_leaf_of_a_stream_is_kept_set_or_reset() {
    let defaults = json!({
        "storage_class": "turbo-9", "timestamping": { "mode": "arrival" },
        "delete_on_empty": { "min_age_secs": 9 },
    });
    let mut client = fresh_basin_with(&json!({ "default_stream_config": defaults }));
    let own = json!({
        "storage_class": "standard", "retention_policy": { "age": 77 },
        "timestamping": { "mode": "client-require", "uncapped": true },
        "delete_on_empty": { "min_age_secs": 300 },
    });
    client.create_stream_with("s", &own);
    let mut expected = own;
    let steps = [
        (json!({}), "", json!(null)),
        (json!({ "timestamping": {}, "delete_on_empty": {} }), "", json!(null)),
        (json!({ "storage_class": "x" }), "/storage_class", json!("x")),
        (json!({ "storage_class": null }), "/storage_class", json!("turbo-9")),
        (
            json!({ "retention_policy": { "infinite": {} } }),
            "/retention_policy",
            json!({ "infinite": {} }),
        ),
        (json!({ "retention_policy": null }), "/retention_policy", json!({ "age": 604_800 })),
        (json!({ "timestamping": { "mode": null } }), "/timestamping/mode", json!("arrival")),
        (
            json!({ "timestamping": { "mode": "client-prefer" } }),
            "/timestamping/mode",
            json!("client-prefer"),
        ),
        (
            json!({ "timestamping": null }),
            "/timestamping",
            json!({ "mode": "arrival", "uncapped": false }),
        ),
        (
            json!({ "delete_on_empty": { "min_age_secs": 0 } }),
            "/delete_on_empty/min_age_secs",
            json!(0),
        ),
        (json!({ "delete_on_empty": null }), "/delete_on_empty/min_age_secs", json!(9)),
    ];
    for (patch, pointer, value) in steps {
        if !pointer.is_empty() {
            *expected.pointer_mut(pointer).expect("a member") = value;
        }
        client.patch("/v1/streams/s", &patch).is(200, &expected);
        client.get("/v1/streams/s").is(200, &expected);
    }
}

#[test]
fn case_26_what_is_invalid_or_missing_is_refused() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let basin = format!("/v1/basins/{}", client.basin());
    let age = json!({ "retention_policy": { "age": 0 } });
    client.patch("/v1/streams/s", &age).refused(422, "invalid");
    client.patch("/v1/streams/missing", &age).refused(422, "invalid");
    client.patch("/v1/streams/missing", &json!({})).refused(404, "stream_not_found");
    client.patch(&basin, &json!({ "default_stream_config": age })).refused(422, "invalid");
    let missing = format!("/v1/basins/{}", unique_name("missing"));
    client.patch(&missing, &json!({})).refused(404, "basin_not_found");

    let malformed = [
        json!(null),
        json!([]),
        json!("express"),
        json!({ "storage_class": 7 }),
        json!({ "retention_policy": { "age": -1 } }),
        json!({ "retention_policy": {} }),
        json!({ "timestamping": { "mode": "x" } }),
        json!({ "delete_on_empty": 5 }),
    ];
    for body in malformed {
        client.patch("/v1/streams/s", &body).refused(400, "bad_json");
        if !body.is_null() {
            let wrapped = json!({ "default_stream_config": body });
            client.patch(&basin, &wrapped).refused(400, "bad_json");
        }
    }
    for body in [json!(null), json!([]), json!({ "create_stream_on_read": "true" })] {
        client.patch(&basin, &body).refused(400, "bad_json");
    }
    for target in [basin.as_str(), "/v1/streams/s"] {
        client.send(Request::new("PATCH", target)).refused(400, "bad_json");
        client.send(Request::new("PATCH", target).bytes("{}")).refused(400, "bad_json");
        let empty = Request::new("PATCH", target).header("content-type", "application/json");
        client.send(empty).refused(400, "bad_json");
    }
    client.get(&basin).is(200, &basin_with(&json!(null), false, false));
    assert_eq!(client.config("s")["retention_policy"], json!({ "age": 604_800 }));
    let mut client = client.in_basin(&unique_name("missing"));
    client.patch("/v1/streams/s", &json!({})).refused(404, "basin_not_found");
}

#[test]
fn case_91_classes_are_free_form_in_changes_too() {
    let config = json!({ "default_stream_config": { "storage_class": "turbo-9" } });
    let mut client = fresh_basin_with(&config);
    client.create_stream("s");
    assert_eq!(client.config("s")["storage_class"], json!("turbo-9"));
    for class in ["standard", "", "\u{e9} \"quoted\""] {
        let changed = client.patch("/v1/streams/s", &json!({ "storage_class": class }));
        assert_eq!(changed.status(200).at("/storage_class"), json!(class));
    }
    client.patch("/v1/streams/s", &json!({ "storage_class": 7 })).refused(400, "bad_json");
}

#[test]
fn a_change_governs_the_next_append() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let mode = |mode: &str| json!({ "timestamping": { "mode": mode } });
    for _ in 0..20 {
        client.patch("/v1/streams/s", &mode("client-require")).status(200);
        client.append("s", &batch(&["a"])).refused(422, "invalid");
        client.patch("/v1/streams/s", &mode("client-prefer")).status(200);
        client.append_bodies("s", &["a"]);
    }
    let uncapped = json!({ "timestamping": { "uncapped": true } });
    client.put("/v1/streams/s", &uncapped).status(200);
    let future = json!({ "records": [{ "timestamp": 5_000_000_000_000_u64 }] });
    let ack = client.append("s", &future);
    assert_eq!(ack.status(200).u64_at("/end/timestamp"), 5_000_000_000_000);
    assert_eq!(client.tail_seq_num("s"), 21);
}

/// A basin's flags and defaults are known to every shard as soon as the change is answered.
#[test]
fn a_change_of_a_basin_holds_for_the_next_request_on_any_shard() {
    let mut client = fresh_basin();
    let path = format!("/v1/basins/{}", client.basin());
    for round in 0..10 {
        let class = format!("class {round}");
        let patch = json!({
            "create_stream_on_append": true, "default_stream_config": { "storage_class": class },
        });
        client.patch(&path, &patch).status(200);
        for stream in 0..4 {
            let stream = format!("{round}/{stream}");
            client.append_bodies(&stream, &["a"]);
            assert_eq!(client.config(&stream)["storage_class"], json!(class));
        }
        client.patch(&path, &json!({ "create_stream_on_append": false })).status(200);
        for stream in 0..4 {
            let missing = format!("missing {stream}");
            client.append(&missing, &batch(&["a"])).refused(404, "stream_not_found");
        }
    }
}

#[test]
fn neither_creation_time_nor_idempotency_changes() {
    let mut client = Server::shared().client();
    let basin = unique_name("constant");
    let token = |request: Request| request.header("s2-request-token", "t");
    let config = json!({ "create_stream_on_append": true });
    let body = json!({ "basin": basin, "config": config });
    let created = client.send(token(Request::post("/v1/basins", &body)));
    let path = format!("/v1/basins/{basin}");
    client.patch(&path, &json!({ "create_stream_on_append": false })).status(200);
    client.put(&path, &json!({ "config": { "create_stream_on_read": true } })).status(200);
    let replay = client.send(token(Request::post("/v1/basins", &body)));
    assert_eq!(replay.status(200).json(), created.status(201).json());
    assert_eq!(client.get(&path).at("/create_stream_on_append"), json!(false), "not undone");

    let mut client = client.in_basin(&basin);
    let body = json!({ "stream": "s", "config": { "storage_class": "standard" } });
    let created = client.send(token(Request::post("/v1/streams", &body)));
    client.patch(&stream_path("s"), &json!({ "storage_class": "x" })).status(200);
    let replay = client.send(token(Request::post("/v1/streams", &body)));
    assert_eq!(replay.status(201).json(), created.status(201).json());
    assert_eq!(replay.header("s2-provision-result"), Some("noop"), "{replay}");
    let other = json!({ "stream": "s", "config": { "storage_class": "x" } });
    let other = client.send(token(Request::post("/v1/streams", &other)));
    other.refused(409, "resource_already_exists");
}
