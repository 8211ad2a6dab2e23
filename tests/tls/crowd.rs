//! Many who never finish their handshake, beside one who works.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::common::client::fresh_basin_on;
use crate::common::server::Server;
use crate::common::tls::{Secure, plain};
use crate::common::{EVENTUALLY_WAIT, Stopwatch, poll};
use crate::{handshakes, secure_server};

#[test]
fn appends_go_on_beside_a_hundred_handshakes_that_never_end() {
    let Some(server) = secure_server(&[]) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    let mut crowd = Vec::new();
    for number in 0..100 {
        let mut socket = plain(server.secure_host());
        // Nothing, the first byte, the start of a hello, or of a request in the clear.
        let start = [&b""[..], &[22], &[22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3], b"GET /"];
        socket.write_all(start[number % 4]).expect("a fresh connection takes bytes");
        crowd.push(socket);
    }
    let watch = Stopwatch::start();
    for number in 0..50 {
        client.append_bodies("s", &[&format!("{number}")]);
    }
    let took = watch.elapsed();
    assert_eq!(client.tail_seq_num("s"), 50);
    assert!(took < Duration::from_secs(9), "50 appends took {took:?}");
    // Their time is up after ten seconds.
    let ended = poll(EVENTUALLY_WAIT, || (handshakes(&server, "timed_out") == 100).then_some(()));
    ended.expect("all of them are sent away");
    drop(crowd);
}

/// Connections that say nothing, or only begin to: more than there may be handshakes on one core.
fn silent_crowd(server: &Server) -> Vec<TcpStream> {
    let begin = |number: usize| {
        let mut socket = plain(server.secure_host());
        let start = [&b""[..], &[22, 3, 1, 1]];
        socket.write_all(start[number % 2]).expect("a fresh connection takes bytes");
        socket
    };
    (0..600).map(begin).collect()
}

/// A machine that is much too slow for the time that handshakes have proves nothing by one crowd;
/// so there are several, until who goes on gets in beside one of which nobody's time was up.
#[test]
fn who_says_nothing_keeps_nobody_out() {
    let settings = [("THALWEG_TLS_SELF_SIGNED", "true")];
    let Some(server) = Server::start_with(1, &settings) else { return };
    let gets_in = || {
        let late = handshakes(&server, "timed_out");
        let crowd = silent_crowd(&server);
        let newcomer = Secure::open(server.secure_host(), &[b"http/1.1"]);
        drop(crowd);
        (newcomer.is_ok() && handshakes(&server, "timed_out") == late).then_some(())
    };
    poll(EVENTUALLY_WAIT, gets_in).expect("there is room for who goes on");
    assert!(handshakes(&server, "crowded") >= 80, "others made room");
}
