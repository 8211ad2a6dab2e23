//! Streams that come into being by their first use.

use std::thread;

use serde_json::{Value, json};

use crate::common::client::{
    Client, batch, check_ack, fresh_basin, fresh_basin_with, records_path,
};
use crate::common::http::{Request, Response};

const CONFIG_HEADER: &str = "s2-stream-config";

fn append_with_config(client: &mut Client, stream: &str, config: &str) -> Response {
    let request = Request::post(&records_path(stream), &batch(&["a"]));
    client.send(request.header(CONFIG_HEADER, config))
}

fn read_with_config(client: &mut Client, stream: &str, config: &str) -> Response {
    let request = Request::get(&format!("{}?seq_num=0", records_path(stream)));
    client.send(request.header(CONFIG_HEADER, config))
}

#[test]
fn case_70_an_append_creates_its_stream() {
    let defaults = json!({ "storage_class": "standard" });
    let config = json!({ "create_stream_on_append": true, "default_stream_config": defaults });
    let mut client = fresh_basin_with(&config);
    assert_eq!(client.append_bodies("new", &["a"]).u64_at("/start/seq_num"), 0);
    assert_eq!(client.config("new")["storage_class"], json!("standard"));
    assert_eq!(client.read_bodies("new", "seq_num=0"), ["a"]);
    // The other flag is another matter.
    client.read("other", "seq_num=0").refused(404, "stream_not_found");
    client.tail("other").refused(404, "stream_not_found");
    // An invalid append creates nothing; a failed condition is judged on the new stream.
    client.append("other", &json!({ "records": [] })).refused(422, "invalid");
    client.get("/v1/streams/other").refused(404, "stream_not_found");
    let conditional = json!({ "records": [{}], "match_seq_num": 1 });
    client.append("third", &conditional).is(412, &json!({ "seq_num_mismatch": 0 }));
    // Created by use, so no POST ever replays it.
    let post = Request::post("/v1/streams", &json!({ "stream": "new" }));
    client.send(post.header("s2-request-token", "t")).refused(409, "resource_already_exists");
}

#[test]
fn case_70_twenty_first_appends_at_once_all_succeed() {
    let client = fresh_basin_with(&json!({ "create_stream_on_append": true }));
    for round in 0..5 {
        let stream = format!("round {round}");
        let mut seq_nums: Vec<u64> = thread::scope(|scope| {
            let append =
                || client.another().append_bodies(&stream, &["a"]).u64_at("/start/seq_num");
            let writers: Vec<_> = (0..20).map(|_| scope.spawn(append)).collect();
            writers.into_iter().map(|writer| writer.join().expect("the append succeeds")).collect()
        });
        seq_nums.sort_unstable();
        assert_eq!(seq_nums, (0..20).collect::<Vec<u64>>(), "{stream}");
    }
}

#[test]
fn case_71_a_read_creates_its_stream() {
    let mut client = fresh_basin_with(&json!({ "create_stream_on_read": true }));
    let empty = json!({ "tail": { "seq_num": 0, "timestamp": 0 } });
    client.read("by read", "seq_num=0").is(416, &empty);
    client.get("/v1/streams/by%20read").status(200);
    client.tail("by tail").is(200, &empty);
    client.get("/v1/streams/by%20tail").status(200);
    client.read("by nothing", "seq_num=0&count=0").is(200, &json!({ "records": [] }));
    client.get("/v1/streams/by%20nothing").status(200);

    client.read("invalid", "timestamp=5&until=5").refused(422, "invalid");
    client.read("invalid", "seq_num=x").refused(400, "bad_query");
    client.get("/v1/streams/invalid").refused(404, "stream_not_found");
    client.append("by append", &batch(&["a"])).refused(404, "stream_not_found");
}

#[test]
fn case_81_a_header_configures_the_new_stream() {
    let defaults = json!({ "storage_class": "standard", "delete_on_empty": { "min_age_secs": 9 } });
    let config = json!({ "create_stream_on_append": true, "default_stream_config": defaults });
    let mut client = fresh_basin_with(&config);
    let header = r#"{"retention_policy":{"age":3600},"delete_on_empty":{"min_age_secs":300}}"#;
    check_ack(&append_with_config(&mut client, "s", header), 1);
    let expected = json!({
        "storage_class": "standard", "retention_policy": { "age": 3600 },
        "timestamping": { "mode": "client-prefer", "uncapped": false },
        "delete_on_empty": { "min_age_secs": 300 },
    });
    assert_eq!(client.config("s"), expected);
}

#[test]
fn case_82_the_header_may_hold_any_json_white_space_and_unknown_members() {
    let mut client = fresh_basin_with(&json!({ "create_stream_on_append": true }));
    let headers = [
        "{ \"storage_class\" :\t\"standard\" ,\t\"timestamping\": { \"mode\": \"arrival\" } }",
        "{}",
        "{ }",
        r#"{"unknown":[1,{"deep":null}]}"#,
        r#"{"storage_class":null,"retention_policy":null,"timestamping":null}"#,
    ];
    for (index, header) in headers.into_iter().enumerate() {
        check_ack(&append_with_config(&mut client, &format!("s{index}"), header), 1);
    }
    assert_eq!(client.config("s0")["storage_class"], json!("standard"));
    assert_eq!(client.config("s0")["timestamping"]["mode"], json!("arrival"));
    assert_eq!(client.config("s4")["storage_class"], json!("express"));
}

#[test]
fn case_83_an_invalid_header_is_refused_whether_or_not_the_stream_exists() {
    let mut client = fresh_basin_with(&json!({ "create_stream_on_append": true }));
    client.append_bodies("existing", &["a"]);
    let headers = [
        r#"{"retention_policy":{"age":0}}"#,
        "not json",
        r#"{"timestamping":{"mode":"x"}}"#,
        r#"{"storage_class":7}"#,
        r#"{"retention_policy":{"age":1,"infinite":{}}}"#,
        "{} {}",
        "{\"storage_class\":\"caf\u{e9}\"}",
        "",
    ];
    for header in headers {
        for stream in ["missing", "existing"] {
            let refused = append_with_config(&mut client, stream, header);
            refused.refused(400, "bad_header");
            let message = refused.at("/message");
            let named = message.as_str().is_some_and(|text| text.contains(CONFIG_HEADER));
            assert!(named, "the message names the header: {refused}");
        }
    }
    client.get("/v1/streams/missing").refused(404, "stream_not_found");
    assert_eq!(client.tail_seq_num("existing"), 1);
}

#[test]
fn case_84_the_header_changes_no_existing_stream() {
    let mut client = fresh_basin_with(&json!({ "create_stream_on_append": true }));
    client.create_stream("s");
    let before: Value = client.config("s");
    let header = r#"{"storage_class":"standard","timestamping":{"mode":"client-require"}}"#;
    check_ack(&append_with_config(&mut client, "s", header), 1);
    check_ack(&append_with_config(&mut client, "s", header), 1);
    assert_eq!(client.config("s"), before);
}

#[test]
fn case_85_a_reader_may_configure_the_new_stream_too() {
    let mut client = fresh_basin_with(&json!({ "create_stream_on_read": true }));
    let header = r#"{"retention_policy":{"infinite":{}}}"#;
    let read = read_with_config(&mut client, "s", header);
    read.is(416, &json!({ "tail": { "seq_num": 0, "timestamp": 0 } }));
    assert_eq!(client.config("s")["retention_policy"], json!({ "infinite": {} }));
    read_with_config(&mut client, "t", "not json").refused(400, "bad_header");
    client.get("/v1/streams/t").refused(404, "stream_not_found");
}

#[test]
fn an_invalid_header_is_refused_by_reads_of_existing_streams_too() {
    let mut client = fresh_basin_with(&json!({ "create_stream_on_read": true }));
    client.create_stream("s");
    client.append_bodies("s", &["a"]);
    for header in ["not json", "[]", r#"{"retention_policy":{"age":0}}"#, "{\"a\":\"\u{e9}\"}"] {
        read_with_config(&mut client, "s", header).refused(400, "bad_header");
    }
    let before = client.config("s");
    let read = read_with_config(&mut client, "s", r#"{"storage_class":"standard"}"#);
    assert_eq!(read.status(200).records().len(), 1);
    assert_eq!(client.config("s"), before);
}

/// Of several first appends at once, each with a header of its own, one creates the stream; all
/// succeed, and the others' headers mean nothing.
#[test]
fn the_first_to_create_decides() {
    let mut client = fresh_basin_with(&json!({ "create_stream_on_append": true }));
    for round in 0..5 {
        let stream = format!("round {round}");
        let mut seq_nums: Vec<(u64, u64)> = thread::scope(|scope| {
            let append = |age: u64| {
                let (mut client, stream) = (client.another(), stream.clone());
                scope.spawn(move || {
                    let header = json!({ "retention_policy": { "age": age } }).to_string();
                    let ack = append_with_config(&mut client, &stream, &header);
                    (ack.status(200).u64_at("/start/seq_num"), age)
                })
            };
            let writers: Vec<_> = (1..=10).map(append).collect();
            writers.into_iter().map(|writer| writer.join().expect("the append succeeds")).collect()
        });
        seq_nums.sort_unstable();
        let (_, first) = seq_nums[0];
        let expected = json!({ "age": first });
        assert_eq!(client.config(&stream)["retention_policy"], expected, "{seq_nums:?}");
        assert!(seq_nums.iter().map(|(seq_num, _)| *seq_num).eq(0..10), "{seq_nums:?}");
    }
}

#[test]
fn a_tail_check_creates_with_the_defaults_whatever_the_header_says() {
    let defaults = json!({ "storage_class": "standard" });
    let config = json!({ "create_stream_on_read": true, "default_stream_config": defaults });
    let mut client = fresh_basin_with(&config);
    for (stream, header) in [("s", r#"{"storage_class":"x"}"#), ("t", "not json")] {
        let tail = Request::get(&format!("{}/tail", records_path(stream)));
        client.send(tail.header(CONFIG_HEADER, header)).status(200);
        assert_eq!(client.config(stream)["storage_class"], json!("standard"));
    }
}

#[test]
fn nothing_is_created_in_a_basin_that_is_being_deleted() {
    let flags = json!({ "create_stream_on_append": true, "create_stream_on_read": true });
    let mut client = fresh_basin_with(&flags);
    for index in 0..20 {
        client.create_stream(&format!("s{index}"));
    }
    client.delete(&format!("/v1/basins/{}", client.basin())).status(202);
    let gone = [(409, "basin_deletion_pending"), (404, "basin_not_found")];
    client.append("new", &batch(&["a"])).refused_as(&gone);
    client.read("new", "seq_num=0").refused_as(&gone);
    client.tail("new").refused_as(&gone);
}

#[test]
fn the_header_governs_the_very_append_that_brings_it() {
    let mut client = fresh_basin_with(&json!({ "create_stream_on_append": true }));
    let records = json!({ "records": [{ "timestamp": u64::MAX }] });
    let request = Request::post(&records_path("s"), &records);
    let ack = client.send(request.header(CONFIG_HEADER, r#"{"timestamping":{"uncapped":true}}"#));
    assert_eq!(ack.status(200).u64_at("/end/timestamp"), u64::MAX);
}

#[test]
fn case_86_the_header_does_not_switch_creation_on() {
    let mut client = fresh_basin();
    append_with_config(&mut client, "s", "{}").refused(404, "stream_not_found");
    read_with_config(&mut client, "s", "{}").refused(404, "stream_not_found");
    client.get("/v1/streams/s").refused(404, "stream_not_found");
}
