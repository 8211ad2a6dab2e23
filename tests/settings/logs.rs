//! What a server logs of its life: one line for each event, and none for requests.

use serde_json::{Value, json};

use crate::common::http::Request;
use crate::common::server::Server;

/// Requests of each kind.
const REQUESTS: usize = 250;

#[test]
fn a_life_is_a_line_for_each_event_and_requests_are_none() {
    let Some(mut server) = Server::start_with(1, &[("THALWEG_LOG_FORMAT", "json")]) else { return };
    let mut client = server.client();
    client.post("/v1/basins", &json!({ "basin": "logged-basin" })).status(201);
    let mut client = client.another().in_basin("logged-basin");
    client.create_stream("s");
    // What is logged of these is theirs alone.
    let lines = |server: &Server| -> Vec<Value> {
        let said = server.said();
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let before = lines(&server);
    for number in 0..REQUESTS {
        client.append_bodies("s", &["body"]);
        client.read("s", &format!("seq_num={number}&count=1")).status(200);
        client.tail("s").status(200);
        client.send(Request::get("/v1/nowhere")).status(404);
    }
    let after = lines(&server);
    assert_eq!(after.len(), before.len(), "{:#?}", &after[before.len().min(after.len())..]);
    server.terminate();
    let all = lines(&server);
    let messages: Vec<&str> = all.iter().filter_map(|line| line["message"].as_str()).collect();
    for once in ["starting", "listening", "shutting down", "stopped"] {
        assert_eq!(
            messages.iter().filter(|said| **said == once).count(),
            1,
            "{once}: {messages:?}"
        );
    }
    assert_eq!(messages.iter().filter(|said| **said == "control plane").count(), 2, "{messages:?}");
    assert!(all.iter().all(|line| line["timestamp"].is_string()), "{all:#?}");
    let starting = all.iter().find(|line| line["message"] == "starting").expect("seen above");
    assert_eq!(starting["version"], env!("CARGO_PKG_VERSION"), "{starting}");
}

#[test]
fn rooms_are_told_apart() {
    let settings = [("THALWEG_LOG", "off,serve=debug")];
    let Some(mut server) = Server::start_with(1, &settings) else { return };
    server.client().post("/v1/basins", &json!({ "basin": "logged-basin" })).status(201);
    server.terminate();
    let said = server.said();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("thalweg::")).collect();
    assert!(lines.iter().all(|line| line.contains(" thalweg::serve")), "{said}");
    assert!(lines.iter().any(|line| line.contains("DEBUG")), "{said}");
}

#[test]
fn behind_the_line_that_it_listens_are_lines_for_a_shell() {
    let Some(server) = Server::start_with(1, &[("THALWEG_ROOT_TOKEN", "0123456789abcdef")]) else {
        return;
    };
    let wait = crate::common::PROCESS_WAIT;
    let whole = || Some(server.said()).filter(|said| said.contains("\nexport S2_ACCESS_TOKEN="));
    let said = crate::common::poll(wait, whole).expect("the lines come");
    assert!(said.starts_with("listening on http"), "{said}");
    assert!(said.contains("\nexport S2_ACCOUNT_ENDPOINT=http"), "{said}");
    assert!(said.contains("\nexport S2_ACCESS_TOKEN=\"$THALWEG_ROOT_TOKEN\"\n"), "{said}");
    assert!(!said.contains("0123456789abcdef"), "{said}");
}
