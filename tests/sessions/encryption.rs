//! Encryption with the client's key (S2 specification, section 10), in every mode, over both
//! protocols, with both ciphers.

use serde_json::{Value, json};

use crate::STREAMS;
use crate::common::client::{Client, batch, fresh_basin_with, records_path, stream_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::{Request, Response};
use crate::common::keys::{CIPHERS, KEY, NO_KEYS, OTHER_KEY, with_key};
use crate::common::s2s::{AppendInput, AppendRecord, ReadBatch};
use crate::common::session::{Session, append_request, read_request};
use crate::common::sse::{Events, sse_request};
use crate::common::{EVENTUALLY_WAIT, poll};

/// Runs a case with both ciphers over both protocols, on streams of both shards.
#[track_caller]
fn encrypted(case: impl Fn(&mut Client, Protocol, &str)) {
    for cipher in CIPHERS {
        for protocol in Protocol::BOTH {
            let mut client = fresh_basin_with(&json!({ "stream_cipher": cipher }));
            for stream in STREAMS {
                client.create_stream(stream);
                eprintln!("{cipher} over {protocol}, stream {stream}");
                case(&mut client, protocol, stream);
            }
        }
    }
}

#[track_caller]
fn send(client: &Client, protocol: Protocol, request: Request) -> Response {
    Exchange::start(client, protocol, request).whole()
}

/// A unary append of these bodies.
fn append(stream: &str, bodies: &[&str]) -> Request {
    Request::post(&records_path(stream), &batch(bodies))
}

fn read(stream: &str, query: &str) -> Request {
    Request::get(&format!("{}?{query}", records_path(stream)))
}

/// All modes of reading.
fn reads(stream: &str, query: &str) -> [Request; 4] {
    [
        read(stream, query),
        read(stream, query).header("accept", "application/protobuf"),
        read_request(stream, query),
        sse_request(stream, query),
    ]
}

/// Appends with a key through a session.
#[track_caller]
fn append_all(client: &Client, protocol: Protocol, stream: &str, inputs: &[AppendInput]) {
    let request = with_key(append_request(stream), KEY);
    let mut session = Session::open(Exchange::start_open(client, protocol, request));
    inputs.iter().for_each(|input| session.push(input));
    session.finish();
    for _ in inputs {
        session.ack();
    }
    session.end();
}

fn bodies(response: &Response) -> Vec<Value> {
    response.records().iter().map(|record| record["body"].clone()).collect()
}

/// The error event that must come next, and then the end.
#[track_caller]
fn error_event(events: &mut Events) -> Value {
    let event = events.event();
    assert_eq!(event.name, "error", "{event:?}");
    assert_eq!(events.next(), None, "nothing comes after an error");
    event.json()
}

#[test]
fn case_74_a_stream_of_a_basin_with_a_cipher() {
    encrypted(|client, protocol, stream| {
        let listed = client.get("/v1/streams").json()["streams"].clone();
        let info = listed.as_array().expect("streams").iter().find(|s| s["name"] == stream);
        let cipher = client.get(&format!("/v1/basins/{}", client.basin().to_owned()));
        let cipher = cipher.json()["stream_cipher"].clone();
        assert!(cipher.is_string());
        assert_eq!(info.expect("listed")["cipher"], cipher);

        let good = || append(stream, &["a"]);
        send(client, protocol, good()).refused(400, "bad_header");
        let short = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw==";
        send(client, protocol, with_key(good(), short)).refused(400, "bad_header");
        assert_eq!(client.tail_seq_num(stream), 0);
        send(client, protocol, with_key(good(), KEY)).status(200);
        let other = with_key(read(stream, "seq_num=0"), OTHER_KEY);
        send(client, protocol, other).refused(400, "decryption_failed");
        let read = send(client, protocol, with_key(read(stream, "seq_num=0"), KEY));
        assert_eq!(bodies(read.status(200)), ["a"]);
        assert_eq!(client.tail_seq_num(stream), 1);
    });
}

/// Before streaming starts, and before any condition: of append, and of where a read starts.
#[test]
fn without_a_key_nothing_begins() {
    encrypted(|client, protocol, stream| {
        for key in NO_KEYS {
            let keyed = |request: Request| match key {
                Some(key) => with_key(request, key),
                None => request,
            };
            let mismatch = json!({ "records": [{}], "match_seq_num": 7, "fencing_token": "t" });
            let mismatch = Request::post(&records_path(stream), &mismatch);
            let fence = json!({ "records": [{ "headers": [["", "fence"]], "body": "t" }] });
            let fence = Request::post(&records_path(stream), &fence);
            let invalid = Request::post(&records_path(stream), &json!({ "records": [] }));
            for request in [mismatch, fence, append_request(stream)] {
                send(client, protocol, keyed(request)).refused(400, "bad_header");
            }
            // What a request means is judged before it is looked for.
            send(client, protocol, keyed(invalid)).refused(422, "invalid");
            for query in ["seq_num=0", "seq_num=9", "count=0", "seq_num=9&wait=60"] {
                for request in reads(stream, query) {
                    send(client, protocol, keyed(request)).refused(400, "bad_header");
                }
            }
        }
        for key in ["", &"k".repeat(45)] {
            for request in reads(stream, "count=0").into_iter().chain([append(stream, &["a"])]) {
                send(client, protocol, with_key(request, key)).refused(400, "bad_header");
            }
        }
        for request in reads("missing", "seq_num=0").into_iter().chain([append("missing", &["a"])])
        {
            send(client, protocol, request).refused(404, "stream_not_found");
        }
        assert_eq!(client.tail_seq_num(stream), 0);
        // With one, the conditions count.
        let beyond = with_key(read(stream, "seq_num=9"), KEY);
        send(client, protocol, beyond).status(416);
        let mismatch = json!({ "records": [{}], "match_seq_num": 7 });
        let mismatch = with_key(Request::post(&records_path(stream), &mismatch), KEY);
        send(client, protocol, mismatch).is(412, &json!({ "seq_num_mismatch": 0 }));
    });
}

#[test]
fn what_was_appended_in_any_mode_is_read_in_every_mode() {
    encrypted(|client, protocol, stream| {
        let headed = AppendRecord::of("two").header("k", b"v").header("k", &[0xFF; 200]);
        let fence = AppendRecord::of("t").header("", b"fence");
        let input = AppendInput::of(vec![AppendRecord::of(""), headed, fence]);
        append_all(client, protocol, stream, &[input.clone(), AppendInput::one("more")]);
        let unary = json!({ "records": [{ "body": "three", "headers": [["a", "b"]] }] });
        let unary = with_key(Request::post(&records_path(stream), &unary), KEY);
        send(client, protocol, unary).status(200);

        let request = with_key(read_request(stream, "seq_num=0&count=5"), KEY);
        let batches = Session::open(Exchange::start(client, protocol, request)).all_batches();
        let records: Vec<_> = batches.into_iter().flat_map(|batch| batch.records).collect();
        let plain: Vec<&[u8]> = records.iter().map(|record| &*record.body).collect();
        assert_eq!(plain, [&b""[..], b"two", b"t", b"more", b"three"]);
        assert_eq!(records[1].headers, input.records[1].headers);
        assert_eq!(records[2].headers, input.records[2].headers);
        // Sizes are those of the plain records: 8, 8 + 3 + (2 + 1 + 1) + (2 + 1 + 200), and so on.
        let sizes = records.iter().map(|record| record.metered_bytes()).collect::<Vec<_>>();
        assert_eq!(sizes, [8, 218, 16, 12, 17]);
        let request = with_key(sse_request(stream, "seq_num=0&bytes=242"), KEY);
        let (seq_nums, id) = Events::open(client, protocol, request).rest();
        assert_eq!((seq_nums, id.as_deref()), (vec![0, 1, 2], Some("2,3,242")));
        let request = with_key(read(stream, "seq_num=2"), KEY);
        assert_eq!(bodies(&send(client, protocol, request)), ["t", "more", "three"]);
    });
}

#[test]
fn a_record_of_another_key_ends_a_read_behind_what_opens() {
    encrypted(|client, protocol, stream| {
        send(client, protocol, with_key(append(stream, &["a", "b"]), KEY)).status(200);
        // Which key is right is the client's duty.
        send(client, protocol, with_key(append(stream, &["c"]), OTHER_KEY)).status(200);
        for (key, query, expected) in [
            (KEY, "seq_num=0&count=2", Some(vec!["a", "b"])),
            (KEY, "seq_num=0&bytes=18", Some(vec!["a", "b"])),
            (OTHER_KEY, "seq_num=2", Some(vec!["c"])),
            (KEY, "seq_num=0", None),
            (KEY, "seq_num=2", None),
            (OTHER_KEY, "seq_num=0", None),
        ] {
            let read = send(client, protocol, with_key(read(stream, query), key));
            match expected {
                Some(expected) => assert_eq!(bodies(read.status(200)), expected),
                None => {
                    read.refused(400, "decryption_failed");
                }
            }
        }
        let request = with_key(read_request(stream, "seq_num=0"), KEY);
        let mut session = Session::open(Exchange::start(client, protocol, request));
        assert_eq!(session.batch().seq_nums(), [0, 1]);
        session.refused(400, "decryption_failed");
        let request = with_key(read_request(stream, "seq_num=0"), OTHER_KEY);
        let mut session = Session::open(Exchange::start(client, protocol, request));
        session.refused(400, "decryption_failed");

        let mut events =
            Events::open(client, protocol, with_key(sse_request(stream, "seq_num=0"), KEY));
        assert_eq!(events.event().seq_nums(), [0, 1]);
        assert_eq!(error_event(&mut events)["code"], "decryption_failed");
        let mut events =
            Events::open(client, protocol, with_key(sse_request(stream, "seq_num=2"), KEY));
        assert_eq!(error_event(&mut events)["code"], "decryption_failed");
    });
}

#[test]
fn a_follower_goes_on_until_a_record_of_another_key_comes() {
    encrypted(|client, protocol, stream| {
        let request = with_key(read_request(stream, "seq_num=0"), KEY);
        let mut session = Session::open(Exchange::start(client, protocol, request));
        session.heartbeat(0);
        for (index, body) in ["a", "b"].into_iter().enumerate() {
            send(client, protocol, with_key(append(stream, &[body]), KEY)).status(200);
            let batch: ReadBatch = session.batch();
            assert_eq!(batch.seq_nums(), [index as u64]);
            assert_eq!(batch.records[0].body, body.as_bytes());
        }
        send(client, protocol, with_key(append(stream, &["c"]), OTHER_KEY)).status(200);
        session.refused(400, "decryption_failed");
    });
}

/// They lie in the clear: whatever the key is, they are read, but there must be one.
#[test]
fn commands_need_a_key_and_are_not_encrypted() {
    encrypted(|client, protocol, stream| {
        let fence = json!({ "records": [{ "headers": [["", "fence"]], "body": "t" }] });
        let fence = || Request::post(&records_path(stream), &fence);
        send(client, protocol, fence()).refused(400, "bad_header");
        send(client, protocol, with_key(fence(), KEY)).status(200);
        let read = send(client, protocol, with_key(read(stream, "seq_num=0"), OTHER_KEY));
        assert_eq!(read.status(200).records()[0]["headers"], json!([["", "fence"]]));
        let mismatch = json!({ "records": [{}], "fencing_token": "u" });
        let mismatch = with_key(Request::post(&records_path(stream), &mismatch), KEY);
        send(client, protocol, mismatch).is(412, &json!({ "fencing_token_mismatch": "t" }));
    });
}

#[test]
fn the_largest_batches_fit() {
    encrypted(|client, protocol, stream| {
        if stream != STREAMS[0] {
            return; // much data, and nothing of it depends on the shard
        }
        // 1000 records of 1048 metered bytes, and one of 1 MiB.
        let many = AppendInput::of(vec![AppendRecord::of(vec![7; 1040]); 1000]);
        let one = AppendInput::one(vec![8; 1_048_568]);
        append_all(client, protocol, stream, &[many, one]);
        let request = with_key(read_request(stream, "seq_num=0&count=1001"), KEY);
        let batches = Session::open(Exchange::start(client, protocol, request)).all_batches();
        let records: Vec<_> = batches.into_iter().flat_map(|batch| batch.records).collect();
        assert_eq!(records.len(), 1001);
        assert!(records[..1000].iter().all(|record| record.body == [7; 1040]));
        assert!(records[1000].body == vec![8; 1_048_568]);
        let full = with_key(read(stream, "seq_num=1000"), KEY);
        let full = send(client, protocol, full.header("accept", "application/protobuf"));
        assert!(full.status(200).body.len() > 1_048_568);
    });
}

#[test]
fn a_stream_keeps_the_cipher_of_its_creation() {
    for cipher in CIPHERS {
        let mut client = fresh_basin_with(&json!({ "stream_cipher": cipher }));
        let basin = format!("/v1/basins/{}", client.basin());
        client.create_stream("covered");
        client.patch(&basin, &json!({ "stream_cipher": null })).status(200);
        client.create_stream("plain");
        let put = client.put("/v1/streams/covered", &json!({}));
        assert_eq!(put.status(200).json()["cipher"], cipher);
        assert_eq!(
            client.get("/v1/streams?prefix=plain").json()["streams"][0]["cipher"],
            json!(null)
        );
        client.append_bodies("plain", &["a"]);
        client.append("covered", &batch(&["a"])).refused(400, "bad_header");
        client.send(with_key(append("covered", &["a"]), KEY)).status(200);
        // A stream that was deleted and made anew is another one, in the clear this time.
        client.delete("/v1/streams/covered").status(202);
        let created = crate::common::poll(crate::common::EVENTUALLY_WAIT, || {
            let created = client.post("/v1/streams", &json!({ "stream": "covered" }));
            (created.status == 201).then_some(created)
        });
        assert_eq!(created.expect("it can be created anew").json()["cipher"], json!(null));
        client.append_bodies("covered", &["b"]);
        assert_eq!(client.read_bodies("covered", "seq_num=0"), ["b"]);
    }
}

/// By an append, a read, or the question for a tail, which needs no key.
#[test]
fn a_stream_that_is_created_on_the_way_is_encrypted() {
    for cipher in CIPHERS {
        for protocol in Protocol::BOTH {
            let mut client = fresh_basin_with(&json!({
                "stream_cipher": cipher,
                "create_stream_on_append": true, "create_stream_on_read": true,
            }));
            send(&client, protocol, with_key(append("a", &["x"]), KEY)).status(200);
            send(&client, protocol, with_key(read("r", "seq_num=0"), KEY)).status(416);
            client.tail("t").status(200);
            for stream in ["a", "r", "t"] {
                let found = client.get(&format!("/v1/streams?prefix={stream}"));
                assert_eq!(found.json()["streams"][0]["cipher"], cipher);
            }
            send(&client, protocol, with_key(append("b", &["x"]), KEY)).status(200);
            let read = send(&client, protocol, with_key(read("b", "seq_num=0"), KEY));
            assert_eq!(bodies(read.status(200)), ["x"]);
        }
    }
}

/// Section 3.9 of the specification lets a stream remain here; it had rather not be: whoever comes
/// next would find one that nobody was let in to.
#[test]
fn who_has_no_key_creates_no_stream() {
    for cipher in CIPHERS {
        for protocol in Protocol::BOTH {
            let mut client = fresh_basin_with(&json!({
                "stream_cipher": cipher,
                "create_stream_on_append": true,
                "create_stream_on_read": true,
            }));
            for stream in STREAMS {
                let with = |request: &Request, key: Option<&str>| {
                    let request = request.clone();
                    key.map_or_else(|| request.clone(), |key| with_key(request.clone(), key))
                };
                let mut requests = reads(stream, "seq_num=0").to_vec();
                requests.extend([append(stream, &["a"]), append_request(stream)]);
                for (request, key) in requests.iter().flat_map(|r| NO_KEYS.map(|key| (r, key))) {
                    send(&client, protocol, with(request, key)).refused(400, "bad_header");
                    let listed = client.get("/v1/streams").json()["streams"].clone();
                    assert_eq!(listed, json!([]), "{cipher} {protocol} {key:?} {}", request.target);
                }
                send(&client, protocol, with(&append(stream, &["a"]), Some(KEY))).status(200);
                let read = with(&read(stream, "seq_num=0"), Some(KEY));
                assert_eq!(bodies(&send(&client, protocol, read)), [json!("a")]);
                client.delete(&stream_path(stream)).status(202);
                let gone = || {
                    let listed = client.get("/v1/streams").json()["streams"].clone();
                    (listed == json!([])).then_some(())
                };
                poll(EVENTUALLY_WAIT, gone).expect("a deleted stream goes");
            }
        }
    }
}
