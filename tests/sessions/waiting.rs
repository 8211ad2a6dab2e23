//! Requests that do not come, or not whole.

use std::time::Duration;

use crate::common::client::fresh_basin_on;
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::{Conn, Request};
use crate::common::s2s::AppendInput;
use crate::common::server::Server;
use crate::common::session::{Session, append_request, read_request};
use crate::common::{EVENTUALLY_WAIT, poll};

/// Short enough to wait for in a test.
const PEER_SECS: (&str, &str) = ("THALWEG_PEER_SECS", "1");

#[test]
fn a_request_that_stops_arriving_is_told_so() {
    let Some(server) = Server::start_with(2, &[PEER_SECS]) else { return };
    for sent in [
        "GET /health HTTP/1.1\r\nhost: h\r\n",
        "POST /v1/basins HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n",
        "POST /v1/basins HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n12345",
        "POST /v1/basins HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST /v1/basins HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let mut conn = Conn::open(server.host());
        conn.write(sent.as_bytes()).expect("the server reads");
        let response = conn.read_response("POST").expect(sent);
        response.refused(408, "request_timeout");
        conn.expect_closed(&response);
    }
}

/// Sessions may be silent for much longer than a request may take to arrive.
#[test]
fn silent_sessions_are_left_alone() {
    let Some(server) = Server::start_with(2, &[PEER_SECS]) else { return };
    let mut client = fresh_basin_on(&server, &serde_json::json!(null));
    client.create_stream("s");
    let client = &client;
    std::thread::scope(|scope| {
        for protocol in Protocol::BOTH {
            scope.spawn(move || {
                let mut writer =
                    Session::open(Exchange::start_open(client, protocol, append_request("s")));
                let mut reader =
                    Session::open(Exchange::start(client, protocol, read_request("s", "")));
                reader.batch();
                writer.silent_for(Duration::from_millis(2500));
                writer.push(&AppendInput::one("x"));
                writer.ack();
                assert!(!reader.batch().is_heartbeat(), "the record is delivered");
                writer.finish();
                writer.end();
            });
        }
    });
}

/// The client of an append session waits for the head before it sends anything, so a refusal
/// may not wait for the body either.
#[test]
fn refusals_of_sessions_do_not_wait_for_a_body() {
    let mut client = crate::common::client::fresh_basin();
    client.create_stream("s");
    let refused = [
        (append_request("").header("s2-basin", client.basin()), 400, "bad_path"),
        (append_request("s").header("s2-basin", "x"), 400, "bad_header"),
        (append_request("s").header("s2-stream-config", "{"), 400, "bad_header"),
        (Request::new("POST", "/v1/nope").header("content-type", "s2s/proto"), 404, "not_found"),
    ];
    for protocol in Protocol::BOTH {
        for (request, status, code) in refused.clone() {
            let watch = crate::common::Stopwatch::start();
            let mut exchange = Exchange::start_open(&client, protocol, request);
            exchange.whole().refused(status, code);
            let elapsed = watch.elapsed();
            assert!(elapsed < Duration::from_secs(4), "refused only after {elapsed:?}");
        }
    }
}

/// A server that was held up, as by a machine that sleeps, has not looked at what came meanwhile:
/// nobody is late for that. On a slow machine a try may be lost before it begins.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test's own thread waits, no executor")]
fn who_sent_in_time_is_answered_by_a_server_that_was_held_up() {
    let Some(server) = Server::start_with(2, &[("THALWEG_PEER_SECS", "3")]) else { return };
    let all_are_answered = || {
        let mut conns: Vec<_> = (0..10).map(|_| Conn::open(server.host())).collect();
        for conn in &mut conns {
            conn.write(b"GET /health HTTP/1.1\r\n").expect("the server reads");
        }
        // So that it has begun to wait for the rest.
        std::thread::sleep(Duration::from_millis(300));
        server.signal("STOP");
        for conn in &mut conns {
            conn.write(b"host: h\r\n\r\n").expect("the system takes it");
        }
        std::thread::sleep(Duration::from_millis(4500));
        server.signal("CONT");
        let answered = |conn: &mut Conn| conn.read_response("GET").is_ok_and(|r| r.status == 200);
        conns.iter_mut().all(answered).then_some(())
    };
    poll(EVENTUALLY_WAIT, all_are_answered).expect("who is held up blames nobody else");
}
