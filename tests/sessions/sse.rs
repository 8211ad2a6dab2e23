//! Reads as server-sent events.

use serde_json::json;

use crate::common::client::Client;
use crate::common::duplex::{Exchange, Protocol};
use crate::common::sse::{Events, sse_request};
use crate::{both_ways, everywhere};

/// Reads to the done marker; gives the records' numbers and the last id.
#[track_caller]
fn read(
    client: &Client,
    protocol: Protocol,
    stream: &str,
    query: &str,
    last_id: Option<&str>,
) -> (Vec<u64>, Option<String>) {
    let mut request = sse_request(stream, query);
    if let Some(id) = last_id {
        request = request.header("last-event-id", id);
    }
    Events::open(client, protocol, request).rest()
}

#[test]
fn case_57_a_bounded_read_ends_with_the_done_marker() {
    everywhere(|client, protocol, stream| {
        client.append_bodies(stream, &["a", "bb", "ccc"]);
        let (seq_nums, id) = read(client, protocol, stream, "seq_num=0&count=2", None);
        assert_eq!((seq_nums, id.as_deref()), (vec![0, 1], Some("1,2,19")));
        for query in ["seq_num=0&wait=0", "seq_num=0&count=3", "seq_num=0&bytes=30"] {
            let (seq_nums, id) = read(client, protocol, stream, query, None);
            assert_eq!((seq_nums, id.as_deref()), (vec![0, 1, 2], Some("2,3,30")), "{query}");
        }
        for query in ["seq_num=0&count=0", "seq_num=9&bytes=0&wait=60", "seq_num=3&wait=0"] {
            Events::open(client, protocol, sse_request(stream, query)).done();
        }
    });
}

#[test]
fn case_58_a_ping_follows_the_last_record_at_once() {
    everywhere(|client, protocol, stream| {
        client.append_bodies(stream, &["a"]);
        let mut events = Events::open(client, protocol, sse_request(stream, "seq_num=0"));
        assert_eq!(events.event().seq_nums(), [0]);
        let before = crate::common::now_ms();
        let ping = events.event();
        assert_eq!((&*ping.name, &ping.id), ("ping", &None));
        assert_eq!(ping.json()["tail"]["seq_num"], 1);
        let at = ping.json()["timestamp"].as_u64().expect("a clock");
        assert!(at.abs_diff(before) < 10_000, "{at} is not now, {before}");
        // Live from here on, with the sums going on in the id.
        let ack = client.append_bodies(stream, &["b", "c"]);
        let batch = events.event();
        assert_eq!((batch.seq_nums(), batch.id.as_deref()), (vec![1, 2], Some("2,3,27")));
        assert_eq!(batch.json()["tail"], ack.at("/tail"));
    });
}

#[test]
fn case_59_a_read_resumes_behind_the_event_that_was_seen() {
    everywhere(|client, protocol, stream| {
        client.append_bodies(stream, &["a", "bb", "ccc"]);
        let resumed = |query: &str, id: &str| read(client, protocol, stream, query, Some(id));
        let (seq_nums, id) = resumed("seq_num=0&count=2", "0,1,9");
        assert_eq!((seq_nums, id.as_deref()), (vec![1], Some("1,2,19")));
        // Whatever the query's start says, and if the bounds are spent there is nothing.
        assert_eq!(resumed("tail_offset=1&count=3", "0,1,9").0, [1, 2]);
        assert_eq!(resumed("timestamp=0&wait=0", "1,2,19").0, [2]);
        assert_eq!(resumed("seq_num=0&count=2", "1,2,19"), (vec![], None));
        assert_eq!(resumed("seq_num=0&count=2", "1,5,19"), (vec![], None));
        assert_eq!(resumed("seq_num=0&bytes=19", "1,2,19"), (vec![], None));
        assert_eq!(resumed("seq_num=0&wait=0", "2,3,30"), (vec![], None));
        let refused = |query: &str, id: &str| {
            let request = sse_request(stream, query).header("last-event-id", id);
            Exchange::start(client, protocol, request).whole()
        };
        refused("seq_num=0&count=9", "2,3,30").status(416);
        for id in ["", "1", "1,2", "1,2,3,4", "a,b,c", "-1,2,3", "1,2,18446744073709551616"] {
            refused("seq_num=0", id).refused(400, "bad_header");
        }
        refused("seq_num=0&tail_offset=1", "0,1,9").refused(422, "invalid");
    });
}

#[test]
fn case_89_reconnects_deliver_what_one_read_would() {
    both_ways(|client, protocol, _| {
        for (stream, bound) in [("by count", "count=10"), ("by bytes", "bytes=100")] {
            client.create_stream(stream);
            let query = format!("seq_num=0&wait=0&{bound}");
            client.append_bodies(stream, &["xx"; 4]);
            let (first, id) = read(client, protocol, stream, &query, None);
            assert_eq!((&*first, id.as_deref()), (&[0, 1, 2, 3][..], Some("3,4,40")));
            client.append_bodies(stream, &["xx"; 3]);
            let (second, id) = read(client, protocol, stream, &query, id.as_deref());
            assert_eq!((&*second, id.as_deref()), (&[4, 5, 6][..], Some("6,7,70")));
            client.append_bodies(stream, &["xx"; 13]);
            let (third, id) = read(client, protocol, stream, &query, id.as_deref());
            assert_eq!((&*third, id.as_deref()), (&[7, 8, 9][..], Some("9,10,100")));
            let (fourth, none) = read(client, protocol, stream, &query, id.as_deref());
            assert_eq!((fourth, none), (vec![], None));
        }
    });
}

#[test]
fn case_90_the_sums_stay_at_their_maximum() {
    both_ways(|client, protocol, stream| {
        client.append_bodies(stream, &["a", "b"]);
        let id = "0,18446744073709551615,18446744073709551615";
        let request = sse_request(stream, "seq_num=0").header("last-event-id", id);
        let mut events = Events::open(client, protocol, request);
        let batch = events.event();
        assert_eq!(batch.seq_nums(), [1]);
        let expected = "1,18446744073709551615,18446744073709551615";
        assert_eq!(batch.id.as_deref(), Some(expected));
    });
}

#[test]
fn records_are_spelled_as_the_format_says() {
    both_ways(|client, protocol, stream| {
        let body =
            json!({ "records": [{ "headers": [["n", "line\nbreak"]], "body": "ä\n\r\u{0}" }] });
        client.append(stream, &body).status(200);
        for (format, header, text) in [
            (None, "line\nbreak", "ä\n\r\u{0}"),
            (Some("raw"), "line\nbreak", "ä\n\r\u{0}"),
            (Some("base64"), "bGluZQpicmVhaw==", "w6QKDQA="),
        ] {
            let mut request = sse_request(stream, "seq_num=0&count=1");
            if let Some(format) = format {
                request = request.header("s2-format", format);
            }
            let mut events = Events::open(client, protocol, request);
            let batch = events.event().json();
            assert_eq!(batch["records"][0]["body"], text, "{format:?}");
            assert_eq!(batch["records"][0]["headers"][0][1], header, "{format:?}");
            events.done();
        }
        let request = sse_request(stream, "seq_num=0").header("s2-format", "hex");
        Exchange::start(client, protocol, request).whole().refused(400, "bad_header");
    });
}

#[test]
fn a_page_of_another_origin_may_read() {
    both_ways(|client, protocol, stream| {
        client.append_bodies(stream, &["a"]);
        let request =
            sse_request(stream, "seq_num=0&count=1").header("origin", "https://o.example");
        let response = Exchange::start(client, protocol, request).whole();
        assert_eq!(response.header("access-control-allow-origin"), Some("https://o.example"));
        assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
    });
}

/// They are never coded as a whole, whatever the client accepts.
#[test]
fn events_and_refusals_are_not_compressed() {
    both_ways(|client, protocol, stream| {
        client.append_bodies(stream, &[&"x".repeat(5000)]);
        let request = sse_request(stream, "seq_num=0&count=1");
        let mut events =
            Events::open(client, protocol, request.header("accept-encoding", "zstd, gzip"));
        assert_eq!(events.event().seq_nums(), [0]);
        events.done();
        let request = sse_request(stream, "seq_num=9").header("accept-encoding", "zstd, gzip");
        let refused = Exchange::start(client, protocol, request).whole();
        assert_eq!(refused.status(416).header("content-encoding"), None);
    });
}
