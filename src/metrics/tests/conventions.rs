//! Prometheus' conventions for names, and `docs/METRICS.md`, which lists every family.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::exposition::Exposition;
use super::{busy_executor, busy_shard, render};

/// Where the list in the document begins; what comes before it is written by hand.
const HEAD: &str = "| name | type | labels | meaning |\n|---|---|---|---|\n";
/// Words for which a base unit stands in a name.
const DERIVED_UNITS: &[&str] = &[
    "ms",
    "us",
    "ns",
    "millis",
    "micros",
    "nanos",
    "milliseconds",
    "microseconds",
    "minutes",
    "hours",
    "kb",
    "mb",
    "kib",
    "mib",
    "kilobytes",
    "megabytes",
    "bits",
    "percent",
    "pct",
];

/// Everything that can be exposed, each family with all its labels.
fn all() -> Exposition {
    render(&[&busy_shard()], &[&busy_executor()])
}

fn labels_of(exposition: &Exposition) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (series, names) in exposition.samples.keys() {
        let suffixes = ["_bucket", "_sum", "_count"].map(|end| series.strip_suffix(end));
        let histogram = suffixes
            .into_iter()
            .flatten()
            .find(|name| exposition.types.get(*name).is_some_and(|kind| kind == "histogram"));
        let of = labels.entry(histogram.unwrap_or(series)).or_default();
        of.extend(names.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "le"));
    }
    labels
}

#[test]
fn names_units_and_labels_are_as_prometheus_has_them() {
    let exposition = all();
    for (name, kind) in &exposition.types {
        let is_ours = ["thalweg_", "s2_", "process_"].iter().any(|start| name.starts_with(start));
        assert!(is_ours, "{name}: of an unknown namespace");
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        assert!(name.bytes().all(is_plain) && !name.contains("__"), "{name}: not snake case");
        let words: Vec<&str> = name.split('_').collect();
        for unit in DERIVED_UNITS {
            assert!(!words.contains(unit), "{name}: {unit} is no base unit");
        }
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        for reserved in ["_bucket", "_sum", "_count"] {
            assert!(!name.ends_with(reserved), "{name}: {reserved} is for a histogram's series");
        }
        // The unit comes last, but for what every counter ends with.
        let base = name.strip_suffix("_total").unwrap_or(name);
        for unit in ["seconds", "bytes"] {
            let is_inside = base.contains(&format!("_{unit}_")) && !base.ends_with(unit);
            assert!(!is_inside, "{name}: {unit} is not last");
        }
        let help = exposition.helps.get(name).unwrap_or_else(|| panic!("{name}: no HELP"));
        let is_sentence = help.ends_with('.') && help.starts_with(|c: char| c.is_uppercase());
        assert!(is_sentence, "{name}: HELP is no sentence: {help}");
    }
    for (name, labels) in labels_of(&exposition) {
        for label in labels {
            assert!(!label.starts_with("__") && label != "job" && label != "instance", "{name}");
            let is_said = name.split('_').any(|word| word == label);
            // The quantiles' name is older than this rule, and on people's graphs.
            let is_kept = label == "quantile";
            assert!(!is_said || is_kept, "{name}: the label {label} is in the name");
        }
    }
}

#[test]
fn times_are_in_seconds_and_lengths_in_bytes() {
    for (name, help) in &all().helps {
        let says = |words: &[&str]| words.iter().any(|word| help.starts_with(word));
        let base = name.strip_suffix("_total").unwrap_or(name);
        if says(&["Time that", "Time to", "Time from", "Time in", "Quantiles of the ack latency"]) {
            assert!(base.ends_with("_seconds"), "{name}: {help}");
        }
        if says(&["Bytes of", "Bytes written by groups:", "Metered bytes", "Length of"]) {
            assert!(base.ends_with("_bytes"), "{name}: {help}");
        }
    }
}

/// The list of `docs/METRICS.md`.
fn list(exposition: &Exposition) -> String {
    let labels = labels_of(exposition);
    let mut list = HEAD.to_owned();
    for (name, kind) in &exposition.types {
        let of = labels.get(name.as_str()).into_iter().flatten();
        let of: Vec<String> = of.map(|label| format!("`{label}`")).collect();
        let help = exposition.helps[name].replace('|', "\\|");
        writeln!(list, "| `{name}` | {kind} | {} | {help} |", of.join(", ")).unwrap();
    }
    list
}

#[test]
fn the_document_lists_every_family() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, listed) = document.split_once(HEAD).expect("the head of the list");
    let expected = list(&all());
    if std::env::var_os("METRICS_WRITE").is_some() {
        std::fs::write(&path, format!("{before}{expected}")).unwrap();
        return;
    }
    assert_eq!(
        format!("{HEAD}{listed}"),
        expected,
        "repeat with METRICS_WRITE=1 cargo test --lib the_document_lists_every_family"
    );
}
