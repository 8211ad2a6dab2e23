//! The metrics endpoints: what they refuse, what they count, and that it outlives the process.

use std::process::Command;

use serde_json::{Value, json};

use crate::common::client::{Client, fresh_basin, fresh_basin_on, records_path};
use crate::common::http::Request;
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, now_ms, poll};

const DAY: u64 = 86_400;

fn now() -> u64 {
    now_ms() / 1000
}

/// The present day, to the latest end that is accepted.
fn today() -> String {
    format!("start={}&end={}&interval=day", now() - DAY, now() + 60)
}

/// The metrics of a set: the one key of each, and what is under it.
#[track_caller]
fn metrics(client: &mut Client, target: &str) -> Vec<(String, Value)> {
    let response = client.get(target);
    let values = response.status(200).at("/values");
    let values = values.as_array().expect("values is an array").clone();
    let metric = |value: Value| {
        let object = value.as_object().expect("a metric is an object").clone();
        assert_eq!(object.len(), 1, "a metric has one key: {response}");
        object.into_iter().next().expect("one key")
    };
    values.into_iter().map(metric).collect()
}

/// By name, the sum of each accumulation of a basin's set, for today.
#[track_caller]
fn sums(client: &mut Client, set: &str) -> Vec<(String, u64)> {
    let target = format!("/v1/metrics/{}?set={set}&{}", client.basin(), today());
    let sum = |(key, metric): (String, Value)| {
        assert_eq!((key.as_str(), &metric["interval"]), ("accumulation", &json!("day")));
        let values = metric["values"].as_array().expect("a series").clone();
        let number = |point: &Value| point[1].as_u64().expect("a count");
        (metric["name"].as_str().expect("a name").to_owned(), values.iter().map(number).sum())
    };
    metrics(client, &target).into_iter().map(sum).collect()
}

fn named(sums: &[(&str, u64)]) -> Vec<(String, u64)> {
    sums.iter().map(|(name, sum)| ((*name).to_owned(), *sum)).collect()
}

/// What is stored now, by the endpoint of the basin or of one of its streams (percent-encoded).
#[track_caller]
fn stored(client: &mut Client, stream: Option<&str>) -> Option<u64> {
    let (stream, interval) =
        stream.map_or((String::new(), "hour"), |s| (format!("/{s}"), "minute"));
    let range = format!("start={}&end={}&interval={interval}", now() - 60, now() + 60);
    let target = format!("/v1/metrics/{}{stream}?set=storage&{range}", client.basin());
    let (key, gauge) = metrics(client, &target).pop()?;
    assert_eq!(
        (key.as_str(), &gauge["unit"], &gauge["name"]),
        ("gauge", &json!("bytes"), &json!("storage"))
    );
    gauge["values"].as_array().expect("a series").last().expect("a point")[1].as_u64()
}

/// Everything that a basin's sets say, but for what asking for it adds.
fn everything(client: &mut Client) -> Vec<Value> {
    let mut all = Vec::new();
    for set in ["append-ops", "append-throughput", "read-ops", "read-throughput", "basin-ops"] {
        let mut found = sums(client, set);
        found.retain(|(name, _)| !name.ends_with("-metrics"));
        all.push(json!([set, found]));
    }
    all.push(json!([stored(client, None), stored(client, Some("s"))]));
    all
}

fn active(client: &mut Client) -> bool {
    let target = format!("/v1/metrics?set=active-basins&start={}&end={}", now() - 60, now() + 60);
    let (key, label) = metrics(client, &target).pop().expect("one metric");
    assert_eq!((key.as_str(), &label["name"]), ("label", &json!("active_basins")));
    label["values"].as_array().expect("labels").contains(&json!(client.basin()))
}

#[test]
fn case_77_times_are_checked() {
    let mut client = Server::shared().client();
    let cases = [
        (String::new(), 422),
        (format!("&start={}&end={}", now(), now() - 1), 422),
        (format!("&start={}&end={}", now(), now() + 600), 422),
        (format!("&start={}&end={}", now() - 91 * DAY, now()), 422),
        (format!("&start={}&end={}", now() - 89 * DAY, now()), 200),
        ("&start=1500000000&end=1500086400".to_owned(), 200),
    ];
    for (query, status) in cases {
        let response = client.get(&format!("/v1/metrics?set=active-basins{query}"));
        if status == 200 {
            response.status(200);
        } else {
            response.refused(422, "invalid");
        }
    }
    for target in ["/v1/metrics", "/v1/metrics?set=storage", "/v1/metrics?set=account-ops&start=x"]
    {
        client.get(target).refused(400, "bad_query");
    }
    client.get("/v1/metrics/X?set=storage").refused(400, "bad_path");
    client.send(Request::new("POST", "/v1/metrics")).status(405);
}

#[test]
fn case_95_nothing_is_billed() {
    let mut client = Server::shared().client();
    let target =
        format!("/v1/metrics?set=estimated-billable-usage&start={}&end={}", now() - DAY, now());
    client.get(&target).is(200, &json!({ "values": [] }));
    client.get(&format!("{target}&interval=day")).is(200, &json!({ "values": [] }));
    client.get(&format!("{target}&interval=minute")).refused(422, "invalid");
}

#[test]
fn unknown_basins_and_streams_and_times_without_data_have_empty_answers() {
    let mut client = fresh_basin();
    let basin = client.basin().to_owned();
    client.create_stream("s");
    client.append_bodies("s", &["a"]);
    let empty = json!({ "values": [] });
    for (path, set) in [
        ("never-made-basin".to_owned(), "append-ops"),
        ("never-made-basin".to_owned(), "storage"),
        ("never-made-basin/s".to_owned(), "storage"),
        (format!("{basin}/other"), "storage"),
    ] {
        let range = format!("start={}&end={}", now() - 600, now());
        client.get(&format!("/v1/metrics/{path}?set={set}&{range}")).is(200, &empty);
    }
    for (path, set) in
        [(&basin, "append-ops"), (&basin, "storage"), (&format!("{basin}/s"), "storage")]
    {
        let range = "start=1500000000&end=1500086400";
        client.get(&format!("/v1/metrics/{path}?set={set}&{range}")).is(200, &empty);
    }
}

#[test]
fn appends_reads_operations_and_storage_are_counted() {
    let mut client = fresh_basin();
    assert!(!active(&mut client), "a basin without streams");
    // Over both shards.
    let names: Vec<String> = (0..6).map(|n| format!("s{n}")).collect();
    for name in &names {
        client.create_stream_with(
            name,
            &json!({ "storage_class": if name == "s0" { "standard" } else { "express" } }),
        );
        client.append_bodies(name, &["abcd", "efgh"]);
        client.append_bodies(name, &["ij"]);
        assert_eq!(client.read_bodies(name, "seq_num=0&count=2"), ["abcd", "efgh"]);
    }
    assert!(active(&mut client));
    // Refusals are no appends, and reads of nothing are reads.
    client.append("s1", &json!({ "records": [{}], "match_seq_num": 9 })).status(412);
    client.append("none", &json!({ "records": [{}] })).status(404);
    client.read("s1", "seq_num=3&wait=0").status(416);
    client.read("none", "seq_num=0").status(404);

    // 8 bytes a record and its body: 24 in the first batch, 10 in the second.
    assert_eq!(sums(&mut client, "append-ops"), named(&[("express", 10), ("standard", 2)]));
    assert_eq!(
        sums(&mut client, "append-throughput"),
        named(&[("express", 170), ("standard", 34)])
    );
    assert_eq!(sums(&mut client, "read-ops"), named(&[("unary", 7)]));
    assert_eq!(sums(&mut client, "read-throughput"), named(&[("read_throughput", 6 * 24)]));
    assert_eq!(stored(&mut client, None), Some(204));
    assert_eq!(stored(&mut client, Some("s0")), Some(34));

    client.tail("s0").status(200);
    client.config("s0");
    client.config("s1");
    let expected = [
        ("basin-metrics", 5),
        ("check-tail", 1),
        ("create-stream", 6),
        ("get-stream-config", 2),
        ("stream-metrics", 1),
    ];
    let mut found = sums(&mut client, "basin-ops");
    found.sort();
    assert_eq!(found, named(&expected), "with the five questions about the basin before this one");

    let trim = json!({ "headers": [["", "trim"]], "body": "\u{7f}".repeat(8) });
    client.append("s0", &json!({ "records": [trim] })).status(200);
    assert_eq!(stored(&mut client, Some("s0")), Some(0));
    assert_eq!(stored(&mut client, None), Some(170));
    for name in &names {
        client.delete(&format!("/v1/streams/{name}")).status(202);
    }
    assert_eq!(stored(&mut client, None), Some(0));
    assert_eq!(stored(&mut client, Some("s0")), None);
    assert_eq!(sums(&mut client, "append-ops"), named(&[("express", 10), ("standard", 3)]));
    assert!(active(&mut client), "it had streams in this minute");
}

#[test]
fn a_bucket_is_answered_by_minute_hour_and_day() {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.append_bodies("s", &["a"]);
    for (interval, secs) in [("minute", 60), ("hour", 3_600), ("day", DAY)] {
        let range = format!("start={}&end={}&interval={interval}", now() - 60, now() + 60);
        let target = format!("/v1/metrics/{}?set=append-ops&{range}", client.basin());
        let (_, metric) = metrics(&mut client, &target).pop().expect("one series");
        assert_eq!(
            (&metric["unit"], &metric["interval"]),
            (&json!("operations"), &json!(interval))
        );
        let point = metric["values"][0].clone();
        assert_eq!(point[1], json!(1), "{metric}");
        let at = point[0].as_u64().expect("seconds");
        assert!(at.is_multiple_of(secs) && at <= now() && now() - at <= secs + 60, "{metric}");
    }
    let target = format!("/v1/metrics?set=account-ops&{}", today());
    let names: Vec<_> =
        metrics(&mut client, &target).into_iter().map(|(_, m)| m["name"].clone()).collect();
    assert!(names.contains(&json!("create-basin")), "{names:?}");
}

#[test]
fn every_operation_counts_where_it_belongs_and_only_when_it_succeeds() {
    let mut client = fresh_basin();
    let basin_path = format!("/v1/basins/{}", client.basin());
    client.create_stream("s");
    client.post("/v1/streams", &json!({ "stream": "s" })).status(409);
    client.get("/v1/streams").status(200);
    client.get("/v1/streams?limit=x").status(400);
    client.get(&basin_path).status(200);
    client.tail("s").status(200);
    client.tail("none").status(404);
    client.config("s");
    client.delete("/v1/streams/s").status(202);
    client.delete("/v1/streams/none").status(404);
    stored(&mut client, Some("s"));
    let mut found = sums(&mut client, "basin-ops");
    found.sort();
    let expected = [
        ("check-tail", 1),
        ("create-stream", 1),
        ("delete-stream", 1),
        ("get-basin-config", 1),
        ("get-stream-config", 1),
        ("list-streams", 1),
        ("stream-metrics", 1),
    ];
    assert_eq!(found, named(&expected));

    // Other tests use the same account.
    let target = format!("/v1/metrics?set=account-ops&{}", today());
    let count = |client: &mut Client, name: &str| {
        let found = metrics(client, &target);
        let of_name = found.into_iter().find(|(_, metric)| metric["name"] == json!(name));
        let points = of_name.map(|(_, metric)| metric["values"].as_array().cloned());
        let numbers = points.flatten().into_iter().flatten().map(|point| point[1].as_u64());
        numbers.map(|number| number.expect("a count")).sum::<u64>()
    };
    client.get("/v1/basins").status(200);
    for name in ["create-basin", "list-basins", "account-metrics"] {
        assert!(count(&mut client, name) > 0, "{name}");
    }
    let before = count(&mut client, "delete-basin");
    client.delete(&basin_path).status(202);
    assert!(count(&mut client, "delete-basin") > before);
}

#[test]
fn counters_survive_an_orderly_end() {
    let Some(mut server) = Server::start_with(2, &[("THALWEG_USAGE_FLUSH_MS", "3600000")]) else {
        return;
    };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    for name in ["s", "t", "u"] {
        client.create_stream(name);
        client.append_bodies(name, &["abcd", "ef"]);
        client.read_bodies(name, "seq_num=0");
    }
    client.delete("/v1/streams/u").status(202);
    let before = everything(&mut client);
    for _ in 0..2 {
        assert!(server.terminate().0.success());
        server.restart();
        client = server.client().in_basin(&basin);
        assert_eq!(everything(&mut client), before);
        assert!(active(&mut client));
    }
}

#[test]
fn a_crash_takes_no_append_and_nothing_stored() {
    let settings = [("THALWEG_USAGE_FLUSH_MS", "3600000"), ("THALWEG_CHECKPOINT_BYTES", "1048576")];
    let Some(mut server) = Server::start_with(1, &settings) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream("s");
    client.create_stream("gone");
    client.append_bodies("gone", &["ab"]);
    let large = "x".repeat(500_000);
    let mut bytes = 10;
    for round in 1..4 {
        // Some of it into a checkpoint, some only into the log.
        for body in [large.as_str(), &large, &large, "end"] {
            client.append_bodies("s", &[body]);
            bytes += body.len() as u64 + 8;
        }
        if round == 2 {
            client.delete("/v1/streams/gone").status(202);
        }
        let left = if round == 1 { bytes } else { bytes - 10 };
        server.kill();
        server.restart();
        client = server.client().in_basin(&basin);
        assert_eq!(sums(&mut client, "append-ops"), named(&[("express", 4 * round + 1)]));
        assert_eq!(sums(&mut client, "append-throughput"), named(&[("express", bytes)]));
        assert_eq!(
            (stored(&mut client, Some("s")), stored(&mut client, None)),
            (Some(bytes - 10), Some(left))
        );
        assert!(active(&mut client));
    }
}

#[test]
fn checkpoints_under_way_count_each_append_once() {
    const CLIENTS: u64 = 4;
    const BATCHES: u64 = 60;
    const BODY_BYTES: u64 = 40_000;
    let Some(mut server) = Server::start_with(1, &[("THALWEG_CHECKPOINT_BYTES", "1048576")]) else {
        return;
    };
    let client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    let body = "x".repeat(usize::try_from(BODY_BYTES).expect("small"));
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (mut client, body) = (client.another(), body.as_str());
            scope.spawn(move || {
                let stream = format!("s{number}");
                client.create_stream(&stream);
                for _ in 0..BATCHES {
                    client.append_bodies(&stream, &[body]);
                }
            });
        }
    });
    for _ in 0..2 {
        server.kill();
        server.restart();
        let mut client = server.client().in_basin(&basin);
        let bytes = CLIENTS * BATCHES * (BODY_BYTES + 8);
        assert_eq!(sums(&mut client, "append-ops"), named(&[("express", CLIENTS * BATCHES)]));
        assert_eq!(sums(&mut client, "append-throughput"), named(&[("express", bytes)]));
        assert_eq!(stored(&mut client, None), Some(bytes));
    }
}

#[test]
fn a_crash_takes_no_more_than_what_was_counted_since_the_last_saving() {
    let Some(mut server) = Server::start_with(1, &[("THALWEG_USAGE_FLUSH_MS", "20")]) else {
        return;
    };
    let mut client = fresh_basin_on(&server, &json!(null));
    let basin = client.basin().to_owned();
    client.create_stream("s");
    client.append_bodies("s", &["abcd"]);
    for _ in 0..3 {
        client.read_bodies("s", "seq_num=0");
    }
    let mut before = everything(&mut client);
    // The first of two more groups may have been on its way; the second was not.
    for _ in 0..2 {
        let groups = client.metric("thalweg_groups_total");
        client.tail("s").status(200);
        let saved = || (client.metric("thalweg_groups_total") > groups).then_some(());
        poll(EVENTUALLY_WAIT, saved).expect("what was counted is saved");
    }
    before.remove(4);
    server.kill();
    let verified = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["verify".as_ref(), server.data_dir().as_os_str()])
        .output()
        .expect("the binary can be run");
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{said}");
    server.restart();
    client = server.client().in_basin(&basin);
    let mut after = everything(&mut client);
    let operations = after.remove(4);
    assert_eq!(after, before);
    let operations = operations[1].as_array().expect("a list").clone();
    assert!(operations.contains(&json!(["create-stream", 1])), "{operations:?}");
}

#[test]
fn a_server_that_nobody_uses_writes_nothing() {
    let Some(server) = Server::start_with(1, &[("THALWEG_USAGE_FLUSH_MS", "10")]) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    client.append_bodies("s", &["a"]);
    let (mut last, mut same) = (u64::MAX, 0);
    let settled = poll(EVENTUALLY_WAIT, || {
        // Asks for nothing that is counted; thirty rounds take longer than several savings.
        let groups = client.metric("thalweg_groups_total");
        same = if std::mem::replace(&mut last, groups) == groups { same + 1 } else { 0 };
        (same == 30).then_some(())
    });
    assert!(settled.is_some(), "groups are written although nothing is done");
    let ack = client.post(&records_path("s"), &json!({ "records": [{}] }));
    ack.status(200);
}
