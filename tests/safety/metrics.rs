//! `/metrics` at an address of its own, and for whoever shows its token.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::common::client::Client;
use crate::common::http::{Conn, Request};
use crate::common::http2::Http2;
use crate::common::server::Server;
use crate::common::{ANSWER_WAIT, poll, unique_name};

/// Connections that the address of metrics has room for.
const CONNECTIONS_MAX: usize = 16;
const TOKEN: &str = "scrape-token-0123456789";

/// Where the server said that its metrics are.
fn metrics_host(server: &Server) -> String {
    let said = server.said();
    let line = said.lines().find_map(|line| line.strip_prefix("metrics on http://"));
    let host = line.and_then(|line| line.strip_suffix("/metrics"));
    host.unwrap_or_else(|| panic!("no address of metrics in: {said}")).to_owned()
}

#[test]
fn metrics_and_nothing_else_are_at_their_own_address() {
    let settings = [("THALWEG_METRICS_LISTEN", "127.0.0.1:0")];
    let Some(server) = Server::start_with(2, &settings) else { return };
    let mut main = server.client();
    main.get("/metrics").refused(404, "not_found");
    main.get("/debug/stats").refused(404, "not_found");
    main.get("/health").status(200);
    main.post("/v1/basins", &json!({ "basin": "the-only-basin" })).status(201);
    Http2::open(server.host()).send(&Request::get("/metrics")).refused(404, "not_found");

    let mut metrics = Client::new(&metrics_host(&server), None);
    let text = metrics.get("/metrics");
    let text = String::from_utf8(text.status(200).body.clone()).expect("text");
    for shard in ["shard=\"0\"", "shard=\"1\""] {
        assert!(text.contains(shard), "numbers of all cores: {shard}");
    }
    metrics.get("/debug/stats").status(200);
    assert_eq!(metrics.get("/health").status(200).body, b"OK");
    assert!(metrics.send(Request::new("HEAD", "/metrics")).status(200).body.is_empty());
    metrics.post("/metrics", &json!({})).refused(405, "method_not_allowed");
    for target in
        ["/v1/basins", "/v1/basins/the-only-basin", "/v1/metrics", "/", "/ping", "/dashboard"]
    {
        metrics.get(target).refused(404, "not_found");
    }
    metrics.post("/v1/basins", &json!({ "basin": "another-basin" })).refused(404, "not_found");
    main.get("/v1/basins/another-basin").status(404);
}

#[test]
fn who_keeps_connections_to_metrics_keeps_only_others_like_it_out() {
    let settings = [("THALWEG_METRICS_LISTEN", "127.0.0.1:0")];
    let Some(server) = Server::start_with(1, &settings) else { return };
    let host = metrics_host(&server);
    let mut kept: Vec<Client> = (0..CONNECTIONS_MAX).map(|_| Client::new(&host, None)).collect();
    for client in &mut kept {
        client.get("/health").status(200);
    }
    let ask = || {
        let mut conn = Conn::open(&host);
        // It may be closed before it is written to.
        let _taken = conn.write(&Request::get("/health").encode(&host));
        conn.read_response("GET").is_ok()
    };
    assert!(!ask(), "one more is closed at once");
    server.client().get("/health").status(200);
    drop(kept);
    assert!(poll(ANSWER_WAIT, || ask().then_some(())).is_some(), "there is room again");
}

#[test]
fn metrics_are_for_whoever_shows_the_token() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("token"));
    fs::write(&path, format!("{TOKEN}\n")).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    let file = path.to_str().expect("a plain path").to_owned();
    // Settings of the harness live as long as the process.
    let settings = [("THALWEG_METRICS_TOKEN_FILE", &*Box::leak(file.into_boxed_str()))];
    let server = Server::start_with(1, &settings);
    fs::remove_file(&path).expect("the file was there");
    let Some(server) = server else { return };
    let mut client = server.client();
    let ask = |authorization: &str| Request::get("/metrics").header("authorization", authorization);
    client.get("/metrics").refused(401, "authn");
    client.get("/debug/stats").refused(401, "authn");
    for wrong in [&TOKEN[1..], &format!("Bearer {}", &TOKEN[1..]), &format!("Basic {TOKEN}")] {
        client.send(ask(wrong)).refused(401, "authn");
    }
    let right = format!("Bearer {TOKEN}");
    client.send(ask(&right)).status(200);
    Http2::open(server.host()).send(&Request::get("/metrics")).refused(401, "authn");
    Http2::open(server.host()).send(&ask(&right)).status(200);
    client.get("/health").status(200);
    let said = server.said();
    assert!(said.contains("thalweg::audit") && said.contains("authn"), "{said}");
    assert!(!said.contains(&TOKEN[1..]), "no token is written down: {said}");
}
