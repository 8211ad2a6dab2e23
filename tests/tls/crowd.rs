//! Many who never finish their handshake, beside one who works.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::common::client::fresh_basin_on;
use crate::common::tls::plain;
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
