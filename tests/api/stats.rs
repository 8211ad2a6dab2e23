//! `/debug/stats`: everything that is counted, for a page that asks each second.

use serde_json::{Value, json};

use crate::common::client::{Client, fresh_basin};
use crate::common::http::Request;
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, poll};

/// Most buckets of one histogram: as many as are promised.
const BUCKETS_MAX: usize = 120;
const PHASES: [&str; 5] = ["queue", "write", "sync", "respond", "whole"];

fn stats(client: &mut Client) -> Value {
    let answer = client.get("/debug/stats");
    assert_eq!(answer.status(200).header("content-type"), Some("application/json"), "{answer}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer}");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Sums what `pointer` names over all shards.
fn sum(stats: &Value, pointer: &str) -> u64 {
    let shards = stats["shards"].as_array().expect("shards");
    let of = |shard: &Value| shard.pointer(pointer).and_then(Value::as_u64);
    shards.iter().map(|shard| of(shard).unwrap_or_else(|| panic!("{pointer}: {shard}"))).sum()
}

/// How many values all shards have in the buckets of a class and phase.
fn counted(stats: &Value, class: &str, phase: &str) -> u64 {
    let shards = stats["shards"].as_array().expect("shards");
    let of = |shard: &Value| -> u64 {
        let buckets = &shard["acks"][class]["latency_us"][phase];
        let buckets: Vec<(u64, u64)> =
            serde_json::from_value(buckets.clone()).unwrap_or_else(|e| panic!("{e}: {buckets}"));
        assert!(buckets.len() <= BUCKETS_MAX, "{class} {phase}: {}", buckets.len());
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0), "{class} {phase}: {buckets:?}");
        assert!(buckets.iter().all(|(_, count)| *count > 0), "sparse: {buckets:?}");
        buckets.iter().map(|(_, count)| count).sum()
    };
    shards.iter().map(of).sum()
}

#[test]
fn appends_and_reads_show_in_the_difference_of_two_answers() {
    let mut client = fresh_basin();
    let before = stats(&mut client);
    for class in ["express", "standard"] {
        client.create_stream_with(class, &json!({ "storage_class": class }));
        for _ in 0..5 {
            client.append_bodies(class, &["a", "b"]);
        }
        client.get(&format!("/v1/streams/{class}/records?seq_num=0")).status(200);
    }
    // An ack is sent before the group that it came with is counted.
    let after = poll(EVENTUALLY_WAIT, || {
        let after = stats(&mut client);
        let batches = |stats| sum(stats, "/groups/batches");
        (batches(&after) >= batches(&before) + 10).then_some(after)
    });
    let after = after.expect("the batches are in groups");
    for class in ["express", "standard"] {
        for (name, least) in [("appends", 5), ("records", 10), ("record_bytes", 90)] {
            let pointer = format!("/acks/{class}/{name}");
            let grown = sum(&after, &pointer) - sum(&before, &pointer);
            assert!(grown >= least, "{pointer}: {grown}");
        }
        let acks = counted(&after, class, "whole");
        assert_eq!(acks, sum(&after, &format!("/acks/{class}/appends")), "{class}");
        for phase in PHASES {
            assert_eq!(counted(&after, class, phase), acks, "{class} {phase}");
        }
    }
    for (pointer, least) in [
        ("/offered", 10),
        ("/groups/batches", 10),
        ("/groups/syncs", 1),
        ("/groups/written_bytes", 4096),
        ("/groups/record_bytes", 180),
        ("/reads/reads", 2),
        ("/reads/records", 20),
    ] {
        let grown = sum(&after, pointer) - sum(&before, pointer);
        assert!(grown >= least, "{pointer}: {grown}");
    }
}

#[test]
fn what_is_now_fits_together() {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.append_bodies("s", &["a"]);
    let stats = stats(&mut client);
    assert_eq!(stats["targets_us"], json!({ "express": 50_000, "standard": 500_000 }));
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"));
    assert!(stats["time_us"].as_u64() > Some(1_600_000_000_000_000), "{}", stats["time_us"]);
    let uptime_us = stats["uptime_us"].as_u64().expect("a number");
    let executors = stats["executors"].as_array().expect("a list");
    for shard in stats["shards"].as_array().expect("a list") {
        let number = |pointer: &str| shard.pointer(pointer).and_then(Value::as_u64).expect(pointer);
        assert!(number("/counted_us") <= uptime_us);
        assert!(number("/executor") < executors.len() as u64);
        assert!(number("/log/segments_in_use") >= 1);
        assert!(number("/log/live_bytes") <= number("/log/log_bytes"), "{shard}");
        assert!(number("/log/log_bytes") <= number("/log/file_bytes"), "{shard}");
        assert_eq!(number("/log/failed"), 0);
    }
    let of_all = |name: &str| {
        executors.iter().map(|one| one[name].as_u64().expect(name)).collect::<Vec<_>>()
    };
    assert!(of_all("connections").iter().sum::<u64>() >= 1, "this one");
    assert!(of_all("requests").iter().sum::<u64>() >= 3, "those of this test");
    assert!(of_all("tasks").iter().all(|tasks| *tasks > 0), "every executor runs");
}

#[test]
fn refusals_are_counted_by_code() {
    let mut client = fresh_basin();
    let count = |client: &mut Client| -> u64 {
        let stats = stats(client);
        let executors = stats["executors"].as_array().expect("a list");
        executors.iter().filter_map(|one| one["refusals"]["stream_not_found"].as_u64()).sum()
    };
    let before = count(&mut client);
    client.get("/v1/streams/none/records/tail").refused(404, "stream_not_found");
    assert!(count(&mut client) > before);
}

#[test]
fn it_is_asked_with_get_and_heeds_no_query() {
    let mut client = Server::shared().client();
    client.get("/debug/stats?x=1").status(200);
    assert!(client.send(Request::new("HEAD", "/debug/stats")).status(200).body.is_empty());
    client.post("/debug/stats", &json!({})).status(405);
    client.get("/debug/stats/").status(404);
}
