//! What operators and browsers use: health, metrics, latencies, CORS.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::json;

use crate::common::client::{Client, fresh_basin, records_path};
use crate::common::http::{Request, Response};
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, poll};

#[test]
fn case_01_health_says_ok() {
    let mut client = Server::shared().client();
    for target in ["/health", "/ping"] {
        let health = client.get(target);
        health.status(200);
        assert_eq!(health.body, b"OK", "{health}");
        assert!(health.header("content-type").is_some_and(|is| is.starts_with("text/plain")));
    }
}

/// The samples of `/metrics` whose name speaks of appends.
fn append_samples(client: &mut Client) -> BTreeMap<String, f64> {
    let metrics = client.get("/metrics");
    metrics.status(200);
    let media_type = metrics.header("content-type").unwrap_or_default();
    assert!(media_type.starts_with("text/plain; version=0.0.4"), "{metrics}");
    let text = String::from_utf8(metrics.body.clone()).expect("the exposition is text");
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // A sample is `name{labels} value`; the labels may hold blanks, the value does not.
        let Some((series, value)) = line.rsplit_once(' ') else {
            metrics.fail(&format!("not a sample: {line:?}"));
        };
        let Ok(value) = value.parse::<f64>() else {
            metrics.fail(&format!("not a number at the end of {line:?}"));
        };
        if series.contains("append") {
            samples.insert(series.to_owned(), value);
        }
    }
    samples
}

#[test]
fn metrics_count_appends() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let before = append_samples(&mut client);
    for _ in 0..5 {
        client.append_bodies("s", &["a"]);
    }
    let mut after = BTreeMap::new();
    let grown = poll(EVENTUALLY_WAIT, || {
        after = append_samples(&mut client);
        let grew = |(series, value): (&String, &f64)| {
            *value >= before.get(series).copied().unwrap_or_default() + 5.0
        };
        after.iter().any(grew).then_some(())
    });
    assert!(grown.is_some(), "no sample about appends grew by 5: {before:?} then {after:?}");
}

/// Each tag of an interval log with how many values are in it.
fn counts_of_log(log: &Response) -> BTreeMap<String, u64> {
    let entries = IntervalLogIterator::new(&log.body).map(|entry| match entry {
        Ok(entry) => entry,
        Err(error) => log.fail(&format!("not an interval log: {error:?}")),
    });
    let intervals = entries.filter_map(|entry| match entry {
        LogEntry::Interval(interval) => Some(interval),
        _ => None,
    });
    let counts = intervals.map(|interval| {
        let bytes = base64_simd::STANDARD.decode_to_vec(interval.encoded_histogram());
        let bytes = bytes.unwrap_or_else(|error| log.fail(&format!("not base64: {error}")));
        let histogram: Histogram<u64> =
            Deserializer::new().deserialize(&mut &bytes[..]).expect("V2, compressed");
        let tag = interval.tag().map(|tag| tag.as_str().to_owned());
        (tag.unwrap_or_default(), histogram.len())
    });
    counts.collect()
}

#[test]
fn latencies_are_told_by_class_and_phase() {
    const PHASES: [&str; 5] = ["queue", "write", "sync", "respond", "whole"];
    let mut client = fresh_basin();
    for class in ["express", "standard"] {
        client.create_stream_with(class, &json!({ "storage_class": class }));
        for _ in 0..5 {
            client.append_bodies(class, &["a"]);
        }
    }
    let table = client.get("/debug/latency");
    let media_type = table.status(200).header("content-type").unwrap_or_default();
    assert!(media_type.starts_with("text/plain"), "{table}");
    let text = String::from_utf8(table.body.clone()).expect("a table is text");
    let log = client.get("/debug/latency?format=hdr");
    let logged = counts_of_log(log.status(200));
    for class in ["express", "standard"] {
        for phase in PHASES {
            let line = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let line = line.filter(|words| words.starts_with(&[class, phase])).collect::<Vec<_>>();
            let [words] = line.as_slice() else { table.fail(&format!("{class} {phase} once")) };
            let counted: u64 = words[2].parse().expect("a count");
            assert!(counted >= 5, "{class} {phase}: {table}");
            // Of the shared server, others may count in between.
            assert!(logged[&format!("{class}/{phase}")] >= counted, "{class} {phase}: {log}");
        }
    }
    // The streams may be on any shard, but a server has one of number 0.
    client.get("/debug/latency?shard=0").status(200);
    for query in ["format=json", "shard=x", "shard=65536"] {
        client.get(&format!("/debug/latency?{query}")).status(400);
    }
    client.post("/debug/latency", &json!({})).status(405);
}

#[test]
fn case_78_a_preflight_is_allowed_everything() {
    let mut client = fresh_basin();
    for target in [records_path("s"), "/v1/basins".into(), "/v1/nope".into()] {
        let preflight = Request::new("OPTIONS", &target)
            .header("origin", "https://app.example.com")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "s2-basin,content-type,x-other");
        let allowed = client.send(preflight);
        allowed.status(200);
        assert!(allowed.body.is_empty(), "{allowed}");
        let header = |name: &str| allowed.header(name).unwrap_or_default().to_ascii_lowercase();
        assert_eq!(header("access-control-allow-origin"), "https://app.example.com", "{allowed}");
        assert_eq!(header("access-control-allow-credentials"), "true", "{allowed}");
        assert!(header("access-control-allow-methods").contains("post"), "{allowed}");
        for name in ["s2-basin", "content-type", "x-other"] {
            assert!(header("access-control-allow-headers").contains(name), "{allowed}");
        }
    }
    let plain = client.send(Request::new("OPTIONS", "/v1/basins"));
    assert!(plain.status(200).body.is_empty(), "{plain}");
}

#[test]
fn every_answer_names_the_origin_that_asked() {
    let mut client = fresh_basin();
    for (target, status) in [("/v1/streams", 200), ("/v1/streams/s", 404), ("/v1/nope", 404)] {
        let answer = client.send(Request::get(target).header("origin", "https://app.example.com"));
        answer.status(status);
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, Some("https://app.example.com"), "{answer}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{answer}");
        let vary: Vec<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("vary"))
            .map(|(_, value)| value.to_ascii_lowercase())
            .collect();
        assert!(vary.join(",").contains("origin"), "{answer}");
    }
}
