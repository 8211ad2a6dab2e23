//! Streams as resources: names, creation, configuration, listing, deletion.

use serde_json::{Value, json};

use crate::common::client::{fresh_basin, fresh_basin_on, fresh_basin_with, stream_path};
use crate::common::http::Request;
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, poll, unique_name};

fn names(page: &Value) -> Vec<&str> {
    let items = page["streams"].as_array().expect("streams is an array");
    items.iter().map(|item| item["name"].as_str().expect("a name is a text")).collect()
}

#[test]
fn case_18_19_listing_pages_are_exact() {
    let mut client = fresh_basin();
    for stream in ["p/2", "q", "p/3", "o", "p/1"] {
        client.create_stream(stream);
    }
    let table: [(&str, &[&str], bool); 10] = [
        ("prefix=p/&limit=2", &["p/1", "p/2"], true),
        ("prefix=p/&limit=2&start_after=p/2", &["p/3"], false),
        ("prefix=p/&start_after=p/3", &[], false),
        ("prefix=p%2F&limit=3", &["p/1", "p/2", "p/3"], false),
        ("prefix=p/&start_after=a", &["p/1", "p/2", "p/3"], false),
        ("prefix=p/&start_after=z", &[], false),
        ("start_after=p/3", &["q"], false),
        ("limit=1", &["o"], true),
        ("limit=0", &["o", "p/1", "p/2", "p/3", "q"], false),
        ("prefix=..", &[], false),
    ];
    for (query, expected, has_more) in table {
        let page = client.get(&format!("/v1/streams?{query}"));
        let body = page.status(200).json();
        assert_eq!(names(&body), expected, "{query}: {page}");
        assert_eq!(body["has_more"], json!(has_more), "{query}: {page}");
    }
}

#[test]
fn streams_are_listed_by_the_bytes_of_their_names() {
    let mut client = fresh_basin();
    let ordered =
        ["A", "Z", "a", "a\u{1}", "a b", "a/b", "ab", "z", "\u{e9}", "\u{65e5}", "\u{1f600}"];
    for stream in ordered.iter().rev() {
        client.create_stream(stream);
    }
    let page = client.get("/v1/streams").status(200).json();
    assert_eq!(names(&page), ordered);
    let page = client.get("/v1/streams?prefix=a&start_after=a%20b").status(200).json();
    assert_eq!(names(&page), ["a/b", "ab"]);
    let page = client.get("/v1/streams?start_after=%C3%A9").status(200).json();
    assert_eq!(names(&page), ["\u{65e5}", "\u{1f600}"]);
}

#[test]
fn case_20_the_basin_header_is_needed() {
    let mut client = fresh_basin().in_basin("unused");
    let mut bare = client.another();
    for target in ["/v1/streams", "/v1/streams/s", "/v1/streams/s/records?seq_num=0"] {
        let basin = format!("s2-basin: {}\r\n", client.basin());
        let whole = String::from_utf8(client.encode(&Request::get(target))).expect("text");
        assert!(whole.contains(&basin), "the test must cut the header out of {whole}");
        bare.exchange(whole.replace(&basin, "").as_bytes(), "GET").refused(400, "bad_header");
        client.get(target).refused(400, "bad_header");
    }
}

#[test]
fn case_21_names_of_any_utf8_are_legal() {
    let mut client = fresh_basin();
    let created = client.post("/v1/streams", &json!({ "stream": "日本/x y" }));
    created.status(201);
    assert_eq!(created.header("s2-provision-result"), Some("created"), "{created}");
    let mut members = created.json();
    assert!(members["created_at"].take().is_string(), "{created}");
    assert_eq!(members["deleted_at"], json!(null));
    assert_eq!(members["cipher"], json!(null));
    assert!(members.as_object().is_some_and(|all| all.contains_key("deleted_at")), "{created}");
    let config = client.get("/v1/streams/%E6%97%A5%E6%9C%AC%2Fx%20y").status(200).json();
    assert_eq!(config["storage_class"], json!("express"));

    let longest = "a".repeat(512);
    for stream in ["...", " ", "a+b", "a%2Gb", "?&=#", "\u{7f}", "\t", "a//b", &longest] {
        client.create_stream(stream);
        client.append_bodies(stream, &[stream]);
        assert_eq!(client.read_bodies(stream, "seq_num=0"), [stream]);
    }
    // Literal in a path, not only encoded: a plus sign, and a percent sign without two digits.
    client.get("/v1/streams/a+b").status(200);
    client.get("/v1/streams/a%2Gb").status(200);
}

#[test]
fn case_22_illegal_stream_names_in_bodies_are_refused() {
    let mut client = fresh_basin();
    for name in ["", ".", "..", &"a".repeat(513), &"é".repeat(257)] {
        client.post("/v1/streams", &json!({ "stream": name })).refused(400, "bad_json");
    }
    for body in [json!({}), json!({ "stream": 1 }), json!({ "stream": null }), json!("s")] {
        client.post("/v1/streams", &body).refused(400, "bad_json");
    }
    assert!(names(&client.get("/v1/streams").json()).is_empty());
}

#[test]
fn illegal_stream_names_in_paths_are_refused() {
    let mut client = fresh_basin();
    let too_long = "a".repeat(513);
    for name in [".", "..", "%2E", "%2e%2E", "%FF", "%E6%97", "", &too_long] {
        for rest in ["/records?seq_num=0", "/records/tail"] {
            client.get(&format!("/v1/streams/{name}{rest}")).refused(400, "bad_path");
        }
    }
    for name in [".", "%2e", "%FF", &too_long] {
        client.get(&format!("/v1/streams/{name}")).refused(400, "bad_path");
    }
    // No trailing slash, and an encoded slash never splits: both are other routes or names.
    let code = client.get("/v1/streams/").status(404).error_code();
    assert!(!code.contains("stream_not_found"), "unknown route, not an unknown stream: {code}");
    client.get("/v1/streams/s%2Frecords").refused(404, "stream_not_found");
}

#[test]
fn case_23_a_default_stream_is_fully_resolved() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let expected = json!({
        "storage_class": "express", "retention_policy": { "age": 604_800 },
        "timestamping": { "mode": "client-prefer", "uncapped": false },
        "delete_on_empty": { "min_age_secs": 0 },
    });
    client.get("/v1/streams/s").is(200, &expected);
}

#[test]
fn case_24_each_unset_leaf_inherits_from_the_basin() {
    let defaults = json!({
        "storage_class": "standard", "retention_policy": { "age": 77 },
        "timestamping": { "mode": "arrival" }, "delete_on_empty": { "min_age_secs": 300 },
    });
    let mut client = fresh_basin_with(&json!({ "default_stream_config": defaults }));
    client.create_stream_with("set", &json!({ "retention_policy": { "infinite": {} } }));
    let expected = json!({
        "storage_class": "standard", "retention_policy": { "infinite": {} },
        "timestamping": { "mode": "arrival", "uncapped": false },
        "delete_on_empty": { "min_age_secs": 300 },
    });
    client.get("/v1/streams/set").is(200, &expected);

    let other = json!({
        "storage_class": "express", "timestamping": { "uncapped": true },
        "delete_on_empty": { "min_age_secs": 0 }, "retention_policy": null, "unknown": [],
    });
    client.create_stream_with("leaf", &other);
    let expected = json!({
        "storage_class": "express", "retention_policy": { "age": 77 },
        "timestamping": { "mode": "arrival", "uncapped": true },
        "delete_on_empty": { "min_age_secs": 0 },
    });
    client.get("/v1/streams/leaf").is(200, &expected);
}

#[test]
fn invalid_stream_configurations_create_nothing() {
    let mut client = fresh_basin();
    let mut create =
        |config: Value| client.post("/v1/streams", &json!({ "stream": "s", "config": config }));
    create(json!({ "retention_policy": { "age": 0 } })).refused(422, "invalid");
    let malformed = [
        json!({ "retention_policy": { "age": -1 } }),
        json!({ "retention_policy": {} }),
        json!({ "timestamping": { "mode": "client-sometimes" } }),
        json!({ "timestamping": { "uncapped": 1 } }),
        json!({ "timestamping": "arrival" }),
        json!({ "delete_on_empty": { "min_age_secs": -1 } }),
        json!({ "storage_class": 7 }),
        json!([]),
    ];
    for config in malformed {
        create(config).refused(400, "bad_json");
    }
    client.get("/v1/streams/s").refused(404, "stream_not_found");
}

#[test]
fn a_stream_is_created_once_unless_its_token_repeats() {
    let mut client = fresh_basin();
    let body = json!({ "stream": "s" });
    let request = |token: &str, body: &Value| {
        Request::post("/v1/streams", body).header("s2-request-token", token)
    };
    let first = client.send(request("t", &body));
    first.status(201);
    let replay = client.send(request("t", &json!({ "stream": "s", "config": {} })));
    replay.status(201);
    assert_eq!(replay.header("s2-provision-result"), Some("noop"), "{replay}");
    assert_eq!(replay.json(), first.json());
    assert_eq!(client.get("/v1/streams").at("/streams/0"), first.json());

    client.send(request("u", &body)).refused(409, "resource_already_exists");
    client.post("/v1/streams", &body).refused(409, "resource_already_exists");
    let other = json!({ "stream": "s", "config": { "storage_class": "express" } });
    client.send(request("t", &other)).refused(409, "resource_already_exists");
    client.send(request(&"t".repeat(37), &other)).refused(400, "bad_header");
}

#[test]
fn a_missing_basin_is_reported_as_such() {
    let mut client = fresh_basin().in_basin(&unique_name("missing"));
    client.post("/v1/streams", &json!({ "stream": "s" })).refused(404, "basin_not_found");
    client.get("/v1/streams/s").refused(404, "basin_not_found");
    client.delete("/v1/streams/s").refused(404, "basin_not_found");
}

#[test]
fn case_73_a_deleted_stream_gives_way_to_a_new_one() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let fence = json!({ "records": [{ "headers": [["", "fence"]], "body": "old" }] });
    client.append("s", &fence).status(200);
    let deleted = client.delete("/v1/streams/s");
    deleted.status(202);
    assert_eq!(deleted.header("content-length"), Some("0"), "{deleted}");

    let gone = [(409, "stream_deletion_pending"), (404, "stream_not_found")];
    client.get("/v1/streams/s").refused_as(&gone);
    client.append("s", &json!({ "records": [{}] })).refused_as(&gone);
    client.read("s", "seq_num=0").refused_as(&gone);
    client.tail("s").refused_as(&gone);
    for stream in client.get("/v1/streams").status(200).at("/streams").as_array().expect("a list") {
        assert!(stream["deleted_at"].is_string(), "listed as if it lived: {stream}");
    }
    let again = client.delete("/v1/streams/s");
    if again.status != 202 {
        again.refused(404, "stream_not_found");
    }

    let recreated = poll(EVENTUALLY_WAIT, || {
        let created = client.post("/v1/streams", &json!({ "stream": "s" }));
        if created.status == 409 {
            created.refused(409, "stream_deletion_pending");
            return None;
        }
        Some(created)
    });
    recreated.expect("the name becomes free").status(201);
    client.tail("s").is(200, &json!({ "tail": { "seq_num": 0, "timestamp": 0 } }));
    let unfenced = json!({ "records": [{ "body": "new" }], "fencing_token": "" });
    assert_eq!(client.append("s", &unfenced).status(200).u64_at("/start/seq_num"), 0);
    assert_eq!(client.read_bodies("s", "seq_num=0"), ["new"]);
}

#[test]
fn an_unknown_stream_cannot_be_deleted() {
    fresh_basin().delete("/v1/streams/s").refused(404, "stream_not_found");
}

#[test]
fn case_91_92_storage_classes_are_free_form() {
    let config = json!({ "default_stream_config": { "storage_class": "turbo-9" } });
    let mut client = fresh_basin_with(&config);
    client.create_stream("inherits");
    assert_eq!(client.config("inherits")["storage_class"], json!("turbo-9"));
    for class in ["", "Express", "standard", "\u{e9} \"quoted\""] {
        let stream = format!("class {class}");
        client.create_stream_with(&stream, &json!({ "storage_class": class }));
        assert_eq!(client.config(&stream)["storage_class"], json!(class));
        client.append_bodies(&stream, &["a"]);
    }
    let mut client = fresh_basin();
    client.create_stream_with("unset", &json!({ "storage_class": null }));
    assert_eq!(client.config("unset")["storage_class"], json!("express"));
}

#[test]
fn case_93_only_nul_is_refused_in_names() {
    let mut client = fresh_basin();
    client.post("/v1/streams", &json!({ "stream": "a\0b" })).refused(400, "bad_json");
    client.get("/v1/streams?prefix=a%00b").refused(400, "bad_query");
    client.get("/v1/streams?start_after=a%00b").refused(400, "bad_query");
    client.get("/v1/streams/a%00b").refused(400, "bad_path");
    let created = client.post("/v1/streams", &json!({ "stream": "a\tb\u{1}c" }));
    assert_eq!(created.status(201).at("/name"), json!("a\tb\u{1}c"));
    client.get(&stream_path("a\tb\u{1}c")).status(200);
}

/// A storage class is stored with its stream: what does not fit an entry of the log must never
/// get that far.
#[test]
fn a_storage_class_has_a_largest_length() {
    let Some(server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    for bytes in [1025, 9_000_000] {
        let config = json!({ "storage_class": "c".repeat(bytes) });
        let stream = json!({ "stream": "s", "config": config });
        client.post("/v1/streams", &stream).refused(422, "invalid");
        let basin =
            json!({ "basin": unique_name("case"), "config": { "default_stream_config": config } });
        client.post("/v1/basins", &basin).refused(422, "invalid");
    }
    client.create_stream_with("s", &json!({ "storage_class": "c".repeat(1024) }));
}
