//! `/metrics` of a running server against what is said of it: the document, the alerting rules and
//! the Grafana dashboard.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use crate::common::client::{Client, fresh_basin};
use crate::common::{EVENTUALLY_WAIT, poll};

/// What every metric's name starts with.
const NAMESPACES: [&str; 3] = ["thalweg_", "s2_", "process_"];

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(docs(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

/// What a server tells when everything that can be caused here has happened.
struct Scrape {
    /// Families, with their types.
    types: BTreeMap<String, String>,
    /// Families with HELP.
    helps: BTreeSet<String>,
    /// Names of samples.
    samples: BTreeSet<String>,
}

impl Scrape {
    fn of(client: &mut Client) -> Self {
        let answer = client.get("/metrics");
        let text = String::from_utf8(answer.status(200).body.clone()).expect("text");
        let mut scrape =
            Self { types: BTreeMap::new(), helps: BTreeSet::new(), samples: BTreeSet::new() };
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words.as_slice() {
                ["#", "TYPE", name, kind] => {
                    let before = scrape.types.insert((*name).to_owned(), (*kind).to_owned());
                    assert_eq!(before, None, "{name}: TYPE twice");
                }
                ["#", "HELP", name, help] => {
                    assert!(!help.is_empty(), "{name}: HELP says nothing");
                    assert!(scrape.helps.insert((*name).to_owned()), "{name}: HELP twice");
                }
                _ => {
                    let name = line.split(['{', ' ']).next().unwrap_or_default();
                    scrape.samples.insert(name.to_owned());
                }
            }
        }
        scrape
    }

    /// After appends, reads and refusals.
    fn busy() -> Self {
        let mut client = fresh_basin();
        for class in ["express", "standard"] {
            client.create_stream_with(class, &json!({ "storage_class": class }));
            client.append_bodies(class, &["a"]);
            client.get(&format!("/v1/streams/{class}/records?seq_num=0")).status(200);
        }
        client.get("/v1/streams/none/records/tail").refused(404, "stream_not_found");
        // An ack is sent before its group is counted, and a group of Standard waits for company.
        let wanted = ["thalweg_sync_seconds_bucket", "thalweg_standard_wait_seconds_bucket"];
        let scrape = poll(EVENTUALLY_WAIT, || {
            client.append_bodies("standard", &["a"]);
            let scrape = Self::of(&mut client);
            wanted.iter().all(|name| scrape.samples.contains(*name)).then_some(scrape)
        });
        scrape.expect("groups are counted")
    }
}

/// The names of metrics in an expression.
fn named(expression: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(move |c| !is_name(c));
    words.filter(|word| NAMESPACES.iter().any(|start| word.starts_with(start)))
}

#[test]
fn every_family_that_is_told_is_in_the_document() {
    let document = read("METRICS.md");
    let scrape = Scrape::busy();
    assert!(scrape.types.len() > 50, "all of it: {:?}", scrape.types.keys());
    for (name, kind) in &scrape.types {
        assert!(scrape.helps.contains(name), "{name}: no HELP");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(document.contains(&format!("| `{name}` | {kind} |")), "{name} is not described");
    }
    for sample in &scrape.samples {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            sample.strip_suffix(end).filter(|name| scrape.types.contains_key(*name))
        });
        let family = family.unwrap_or(sample);
        assert!(scrape.types.contains_key(family), "{sample}: of no family");
    }
}

#[test]
fn alerting_rules_name_what_there_is() {
    let name = "deploy/prometheus-alerts.yml";
    let parsed = YamlLoader::load_from_str(&read(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let scrape = Scrape::busy();
    let mut seen = BTreeSet::new();
    for group in parsed[0]["groups"].as_vec().expect("groups") {
        for rule in group["rules"].as_vec().expect("rules") {
            let alert = rule["alert"].as_str().expect("an alert");
            assert!(seen.insert(alert.to_owned()), "{alert} twice");
            let expression = rule["expr"].as_str().unwrap_or_else(|| panic!("{alert}: no expr"));
            let mut count = 0;
            for metric in named(expression) {
                count += 1;
                assert!(scrape.samples.contains(metric), "{alert}: there is no {metric}");
            }
            assert!(count > 0 || alert == "ThalwegDown", "{alert}: of nothing that is ours");
            let severity = rule["labels"]["severity"].as_str();
            assert!(matches!(severity, Some("critical" | "warning")), "{alert}: {severity:?}");
            for text in ["summary", "description"] {
                let said = rule["annotations"][text].as_str().unwrap_or_default();
                assert!(said.ends_with('.'), "{alert}: {text} is no sentence");
            }
            let waits = &rule["for"];
            let is_span = waits.as_str().is_some_and(|span| span.ends_with(['m', 'h']));
            assert!(is_span || *waits == Yaml::BadValue, "{alert}: {waits:?}");
        }
    }
    assert!(seen.len() >= 10, "{seen:?}");
}

/// Every text below members of this name.
fn texts<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (key, inner) in members {
                match inner {
                    Value::String(text) if key == name => found.push(text),
                    _ => texts(inner, name, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|inner| texts(inner, name, found)),
        _ => {}
    }
}

#[test]
fn the_grafana_dashboard_names_what_there_is() {
    let name = "deploy/grafana-dashboard.json";
    let dashboard: Value =
        serde_json::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let scrape = Scrape::busy();
    let (mut expressions, mut queries) = (Vec::new(), Vec::new());
    texts(&dashboard, "expr", &mut expressions);
    texts(&dashboard, "query", &mut queries);
    assert!(expressions.len() >= 30, "{}", expressions.len());
    for expression in expressions.iter().chain(&queries) {
        for metric in named(expression) {
            assert!(scrape.samples.contains(metric), "there is no {metric}: {expression}");
        }
        let depth = |open, close| {
            let count = |of: char| expression.chars().filter(|c| *c == of).count();
            (count(open), count(close))
        };
        for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
            let (opened, closed) = depth(open, close);
            assert_eq!(opened, closed, "{expression}");
        }
    }
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
}

#[test]
fn metrics_in_the_document_are_metrics_of_the_server_or_of_rare_events() {
    // What cannot be caused on this server without breaking it for others.
    const RARE: [&str; 2] = ["thalweg_tls_handshakes_total", "thalweg_http_violations_total"];
    let scrape = Scrape::busy();
    let document = read("METRICS.md");
    let listed = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let names: Vec<&str> = listed.map(|(name, _)| name).collect();
    let names = names.iter().filter(|name| NAMESPACES.iter().any(|n| name.starts_with(n)));
    for name in names {
        let is_told = scrape.types.contains_key(*name);
        // Those of a bucket are told where there is one: tests/bucket reads them.
        let is_known = RARE.contains(name) || name.starts_with("thalweg_bucket_");
        assert!(is_told || is_known, "{name}: described, but not told");
    }
}
