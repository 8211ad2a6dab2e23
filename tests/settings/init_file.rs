//! Init files: what they make, that they may be repeated and changed, and what is no start.

use serde_json::{Value, json};

use crate::common::client::{Client, stream_path};
use crate::common::server::Server;
use crate::program::Files;

const BASIN: &str = "orders-prod";

fn spec(age: &str, streams: &[&str]) -> Value {
    let streams: Vec<Value> = streams.iter().map(|name| json!({ "name": name })).collect();
    json!({ "$schema": "ignored", "basins": [{
        "name": BASIN,
        "config": {
            "create_stream_on_append": true,
            "stream_cipher": "aegis-256",
            "default_stream_config": {
                "retention_policy": age,
                "timestamping": { "mode": "arrival" },
                "delete_on_empty": { "min_age": "1day" },
            },
        },
        "streams": streams,
    }, { "name": "other-basin", "streams": [{ "name": "plain", "config": {
        "storage_class": "standard", "retention_policy": "infinite" } }] }]})
}

/// Operations in the audit log, with who did them.
fn audited(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| -> (String, String) {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let named = line["stream"].as_str().or(line["basin"].as_str()).unwrap_or_default();
        let by = line["by"].as_str().unwrap_or_default().to_owned();
        (format!("{} {named}", line["operation"].as_str().unwrap_or_default()), by)
    };
    text.lines().map(line).collect()
}

fn stream_age(client: &mut Client, stream: &str) -> Value {
    client.config(stream)["retention_policy"].clone()
}

#[test]
fn it_is_there_when_the_server_listens_and_is_followed_when_it_changes() {
    let files = Files::new();
    files.write("spec.json", &spec("7days", &["events", "a/b ü"]).to_string());
    let settings = [
        ("THALWEG_INIT_FILE", files.setting("spec.json")),
        ("THALWEG_AUDIT_LOG", files.setting("audit")),
    ];
    let Some(mut server) = Server::start_with(2, &settings) else { return };
    let mut client = server.client().in_basin(BASIN);
    let week = json!({ "age": 604_800 });
    assert_eq!(stream_age(&mut client, "events"), week);
    let config = client.config("a/b ü");
    assert_eq!(config["timestamping"]["mode"], "arrival", "{config}");
    assert_eq!(config["delete_on_empty"]["min_age_secs"], 86_400, "{config}");
    let listed = client.get("/v1/streams").status(200).json();
    assert_eq!(listed["streams"].as_array().map(Vec::len), Some(2), "{listed}");
    assert_eq!(listed["streams"][0]["cipher"], "aegis-256", "{listed}");
    let mut other = server.client().in_basin("other-basin");
    let config = other.config("plain");
    assert_eq!(config["storage_class"], "standard", "{config}");
    assert_eq!(config["retention_policy"], json!({ "infinite": {} }), "{config}");
    other.append_bodies("plain", &["kept"]);
    let made = audited(&files.read("audit"));
    let expected = [
        "ensure_basin orders-prod",
        "ensure_stream events",
        "ensure_stream a/b ü",
        "ensure_basin other-basin",
        "ensure_stream plain",
    ];
    let expected = expected.map(|operation| (operation.to_owned(), "init file".to_owned()));
    assert_eq!(made, expected);

    // As it was: nothing is written. What a client changed is as the file says again.
    client.create_stream_with("by-hand", &json!({ "retention_policy": { "age": 5 } }));
    client.patch(&stream_path("events"), &json!({ "retention_policy": { "age": 5 } })).status(200);
    server.kill();
    files.write("audit", "");
    server.restart();
    let mut client = server.client().in_basin(BASIN);
    assert_eq!(stream_age(&mut client, "events"), week);
    assert_eq!(stream_age(&mut client, "by-hand"), json!({ "age": 5 }), "it is left alone");
    let changed = audited(&files.read("audit"));
    assert_eq!(changed, [("ensure_stream events".to_owned(), "init file".to_owned())]);

    // Another file: configurations follow, what it does not name any more stays.
    server.terminate();
    files.write("spec.json", &spec("2h 30m", &["events", "new"]).to_string());
    server.restart();
    let mut client = server.client().in_basin(BASIN);
    for (stream, secs) in [("events", 9000), ("new", 9000), ("a/b ü", 604_800), ("by-hand", 5)] {
        assert_eq!(stream_age(&mut client, stream), json!({ "age": secs }), "{stream}");
    }
    let mut other = server.client().in_basin("other-basin");
    assert_eq!(other.read_bodies("plain", "seq_num=0"), ["kept"]);
}

#[test]
fn a_file_with_errors_is_no_start_and_changes_nothing() {
    let files = Files::new();
    let Some(mut server) = Server::start() else { return };
    server.kill();
    let path = files.setting("spec.json");
    let (status, said) = server.rival_with(&[("THALWEG_INIT_FILE", path)]);
    assert!(status.is_some_and(|status| status.code() == Some(1)), "{said}");
    assert!(said.contains(&format!("cannot read init file {path}: ")), "{said}");
    let mut broken = spec("soon", &["good", "good"]);
    broken["basins"][1]["config"] = json!({ "stream_cypher": null });
    files.write("spec.json", &broken.to_string());
    let (status, said) = server.rival_with(&[("THALWEG_INIT_FILE", path)]);
    assert!(status.is_some_and(|status| status.code() == Some(1)), "{said}");
    let problems = [
        "nothing was applied: 3 error(s)",
        "basin orders-prod, config.default_stream_config.retention_policy: \"soon\" is no duration",
        "basin orders-prod, stream \"good\" is there twice",
        "basin other-basin, config: unknown member \"stream_cypher\"",
    ];
    for problem in problems {
        assert!(said.contains(problem), "{problem}: {said}");
    }
    assert!(!said.contains("listening on"), "{said}");
    server.restart();
    let listed = server.client().get("/v1/basins").status(200).json();
    assert_eq!(listed["basins"], json!([]));
}

#[test]
fn what_a_crash_left_half_deleted_is_there_again() {
    let files = Files::new();
    files.write("spec.json", &spec("7days", &["events"]).to_string());
    // The name that the peer gives it.
    let settings = [("S2LITE_INIT_FILE", files.setting("spec.json"))];
    let Some(mut server) = Server::start_with(2, &settings) else { return };
    let mut client = server.client().in_basin(BASIN);
    for number in 0..50 {
        client.create_stream(&format!("s{number}"));
    }
    client.delete(&stream_path("events")).status(202);
    client.delete(&format!("/v1/basins/{BASIN}")).status(202);
    server.kill();
    server.restart();
    let mut client = server.client().in_basin(BASIN);
    let listed = client.get("/v1/streams").status(200).json();
    assert_eq!(listed["streams"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed["streams"][0]["name"], "events", "{listed}");
}
