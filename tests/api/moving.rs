//! A connection moves to the core of the stream that it keeps appending to.

use serde_json::json;

use crate::common::client::fresh_basin_on;
use crate::common::http::Request;
use crate::common::server::Server;

#[test]
fn appends_to_one_stream_soon_cross_no_more_and_lose_nothing_on_the_way() {
    let Some(server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    // On two shards, some of these are foreign wherever the connection was accepted.
    for stream in ["a", "b", "c", "d", "e", "f"] {
        client.create_stream(stream);
        let before = client.metric("thalweg_forwarded_total");
        for number in 0..120 {
            client.append_bodies(stream, &[&format!("{number}")]);
        }
        let crossed = client.metric("thalweg_forwarded_total") - before;
        // Asking for the metrics crosses as well, a few times.
        assert!(crossed < 40, "{crossed} of 120 appends to {stream} crossed");
        let expected: Vec<String> = (0..120).map(|number| number.to_string()).collect();
        assert_eq!(client.read_bodies(stream, "seq_num=0"), expected);
    }
    assert_eq!(client.connects(), 1, "the connection was kept all the time");
}

#[test]
fn pipelined_appends_stay_in_order_across_a_move() {
    let Some(server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    for stream in ["a", "b", "c", "d"] {
        client.create_stream(stream);
        let path = format!("/v1/streams/{stream}/records");
        for round in 0..10 {
            let append = |at: u32| {
                let body = json!({ "records": [{ "body": format!("{}", 10 * round + at) }] });
                Request::post(&path, &body)
            };
            let sent: Vec<u8> = (0..10).flat_map(|at| client.encode(&append(at))).collect();
            client.conn().write(&sent).expect("the server reads");
            for _ in 0..10 {
                client.read_response("POST", &sent).expect("an answer to each").status(200);
            }
        }
        let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(client.read_bodies(stream, "seq_num=0"), expected);
    }
}
