//! What is spoken under TLS, and how connections end.

use std::time::Duration;

use serde_json::json;

use crate::common::client::{fresh_basin_on, records_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::Request;
use crate::common::s2s::AppendInput;
use crate::common::session::Session;
use crate::common::sse::{Events, sse_request};
use crate::common::tls::Secure;
use crate::common::{PROCESS_WAIT, poll};
use crate::secure_server;

#[test]
fn the_client_chooses_among_the_protocols_that_are_offered() {
    let Some(server) = secure_server(&[]) else { return };
    let cases: [(&[&[u8]], Option<&str>); 4] = [
        (&[b"h2", b"http/1.1"], Some("h2")),
        (&[b"http/1.1"], Some("http/1.1")),
        (&[b"h2"], Some("h2")),
        (&[], None),
    ];
    for (offered, expected) in cases {
        for version in rustls::ALL_VERSIONS {
            let client = Secure::open_with(server.secure_host(), offered, &[*version]);
            let client = client.expect("a handshake");
            assert_eq!(client.protocol().as_deref(), expected);
        }
    }
    assert!(Secure::open(server.secure_host(), &[b"spdy"]).is_err());
    // Without a name, the first bytes say what is spoken.
    let mut client = Secure::open(server.secure_host(), &[]).expect("a handshake");
    client.send("GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(client.rest().expect("an orderly end").ends_with("OK"));
    let mut client = Secure::open(server.secure_host(), &[]).expect("a handshake");
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert_eq!(client.exactly(9)[3], 4, "the server's settings come first");
}

#[test]
fn the_dashboard_is_there_and_says_that_it_is_private() {
    let Some(server) = secure_server(&[]) else { return };
    let ask = |target: &str| {
        let mut client = Secure::open(server.secure_host(), &[b"http/1.1"]).expect("a handshake");
        client.send(&format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
        client.rest().expect("an orderly end")
    };
    let page = ask("/dashboard/basins/x/studio?stream=s");
    assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("</html>\n"), "{page}");
    let config = ask("/dashboard/config.json");
    assert!(config.contains("\"tls\":\"self_signed\""), "{config}");
    let told = || server.said().contains("\ndashboard on https://").then_some(());
    poll(PROCESS_WAIT, told).expect("it says where its dashboard is");
}

#[test]
fn who_agreed_on_http2_speaks_it_or_nothing() {
    let Some(server) = secure_server(&[]) else { return };
    let mut client = Secure::open(server.secure_host(), &[b"h2"]).expect("a handshake");
    client.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(client.rest().expect("an orderly end"), "");
    let mut client = Secure::open(server.secure_host(), &[b"http/1.1"]).expect("a handshake");
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let answer = client.rest().expect("an orderly end");
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
}

#[test]
fn requests_sessions_and_events_work_on_both_protocols() {
    let Some(server) = secure_server(&[]) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    for protocol in Protocol::BOTH {
        // On two shards, some of these are foreign wherever the connection was accepted.
        for stream in ["a", "b", "c", "d"].map(|name| format!("{name}-{protocol:?}")) {
            client.create_stream(&stream);
            let mut session = Session::append(&client, protocol, &stream);
            for number in 0..50 {
                session.push(&AppendInput::one(format!("{number}")));
            }
            session.acks(0, 50);
            session.finish();
            assert!(session.next().is_none());
            let read = Request::get(&format!("{}?seq_num=0", records_path(&stream)));
            let answer = Exchange::start(&client, protocol, read).whole();
            assert_eq!(answer.records().len(), 50);
            let mut events =
                Events::open(&client, protocol, sse_request(&stream, "seq_num=49&wait=1"));
            assert_eq!(events.next().expect("a batch").seq_nums(), [49]);
        }
    }
}

#[test]
fn large_bodies_arrive_whole_in_both_directions_also_when_nobody_reads_for_a_while() {
    const READS: usize = 24;
    let Some(server) = secure_server(&[]) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    let text: String = ('a'..='z').cycle().take(900_000).collect();
    client.append_bodies("s", &[&text]);
    let target = format!("{}?seq_num=0&count=1", records_path("s"));
    let mut secure = Secure::open(server.secure_host(), &[b"http/1.1"]).expect("a handshake");
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: x\r\ns2-basin: {}\r\n\r\n", client.basin());
    // All at once: their answers are more than any socket holds.
    secure.send(&request.repeat(READS));
    let _nothing = poll::<()>(Duration::from_millis(500), || None);
    for _ in 0..READS {
        let head = secure.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body = secure.exactly(length.expect("a length").parse().expect("a number"));
        assert!(String::from_utf8_lossy(&body).contains(&text), "the record is not whole");
    }
}

#[test]
fn who_has_said_goodbye_is_still_answered_and_gets_one_back() {
    let Some(server) = secure_server(&[]) else { return };
    let mut client = Secure::open(server.secure_host(), &[b"http/1.1"]).expect("a handshake");
    client.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    client.half_close();
    assert!(client.rest().expect("an orderly end").ends_with("OK"));
}

#[test]
fn an_idle_connection_is_ended_in_order() {
    let Some(server) = secure_server(&[("THALWEG_IDLE_SECS", "1")]) else { return };
    for protocols in [&[b"http/1.1".as_slice()], &[b"h2".as_slice()]] {
        let mut client = Secure::open(server.secure_host(), protocols).expect("a handshake");
        assert_eq!(client.rest().expect("an orderly end"), "");
    }
    let mut client = Secure::open(server.secure_host(), &[b"http/1.1"]).expect("a handshake");
    client.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(client.rest().expect("an orderly end").ends_with("OK"));
}

#[test]
fn a_connection_moves_to_the_core_of_its_stream_and_loses_nothing() {
    let Some(server) = secure_server(&[]) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    for stream in ["a", "b", "c", "d", "e", "f"] {
        client.create_stream(stream);
        for number in 0..60 {
            client.append_bodies(stream, &[&format!("{number}")]);
        }
        let expected: Vec<String> = (0..60).map(|number| number.to_string()).collect();
        assert_eq!(client.read_bodies(stream, "seq_num=0"), expected);
    }
    assert_eq!(client.connects(), 1, "the connection was kept all the time");
    assert!(client.metric("thalweg_connections_moved_total") > 0, "it never moved");
}

#[test]
fn the_server_ends_in_time_with_connections_open() {
    let Some(mut server) = secure_server(&[]) else { return };
    let mut idle = Secure::open(server.secure_host(), &[b"http/1.1"]).expect("a handshake");
    let _unfinished = crate::common::tls::plain(server.secure_host());
    let (status, took) = server.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(9), "it took {took:?}");
    assert_eq!(idle.rest().expect("an orderly end"), "");
}
