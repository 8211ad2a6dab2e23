//! What operators and browsers use: health, metrics, CORS.

use std::collections::BTreeMap;

use crate::common::client::{Client, fresh_basin, records_path};
use crate::common::http::Request;
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
