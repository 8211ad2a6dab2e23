//! Licences, sources and duplicates of everything that is built, held to `deny.toml`: what
//! `cargo deny` checks of that, with every run of the tests and without another tool.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

/// What `deny.toml` says, as far as it is held to here.
struct Policy {
    licences: BTreeSet<String>,
    /// More licences, for one crate each.
    exceptions: BTreeMap<String, BTreeSet<String>>,
    registries: BTreeSet<String>,
    /// Versions that may be there beside another, as `name@version`.
    skipped: BTreeSet<String>,
}

fn texts(list: &toml::Value) -> BTreeSet<String> {
    let list = list.as_array().expect("a list");
    list.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

impl Policy {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
        let text = std::fs::read_to_string(path).expect("the policy is there");
        let policy: toml::Value = toml::from_str(&text).expect("it is TOML");
        let name = |entry: &toml::Value| entry["crate"].as_str().expect("a crate").to_owned();
        let exceptions = policy["licenses"]["exceptions"].as_array().expect("a list");
        let skipped = policy["bans"]["skip"].as_array().expect("a list");
        Self {
            licences: texts(&policy["licenses"]["allow"]),
            exceptions: exceptions.iter().map(|e| (name(e), texts(&e["allow"]))).collect(),
            registries: texts(&policy["sources"]["allow-registry"]),
            skipped: skipped.iter().map(name).collect(),
        }
    }

    /// Whether `licence` leaves a choice that is allowed for the crate `name`.
    fn allows(&self, name: &str, licence: &str) -> bool {
        let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else { return false };
        expression.evaluate(|request| {
            let Some(id) = request.license.id() else { return false };
            let excepted = self.exceptions.get(name).is_some_and(|more| more.contains(id.name));
            self.licences.contains(id.name) || excepted
        })
    }
}

/// A crate of the build.
struct Package {
    name: String,
    version: String,
    licence: String,
    /// `None` for those of this tree.
    source: Option<String>,
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the tool that builds this can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("it speaks UTF-8")
}

/// Everything that the build of this machine's platform uses, tests included.
fn packages() -> Vec<Package> {
    let version = run("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a platform");
    let arguments = ["metadata", "--format-version=1", "--locked", "--filter-platform", host];
    let metadata = run(env!("CARGO"), &arguments);
    let metadata: Value = serde_json::from_str(&metadata).expect("it is JSON");
    let used = metadata["resolve"]["nodes"].as_array().expect("a list");
    let used: BTreeSet<&str> = used.iter().filter_map(|node| node["id"].as_str()).collect();
    let all = metadata["packages"].as_array().expect("a list");
    let text = |of: &Value| of.as_str().map(str::to_owned);
    all.iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| used.contains(id)))
        .map(|package| Package {
            name: text(&package["name"]).expect("a name"),
            version: text(&package["version"]).expect("a version"),
            licence: text(&package["license"]).unwrap_or_default(),
            source: text(&package["source"]),
        })
        .collect()
}

#[test]
fn every_crate_may_be_used_and_comes_from_the_registry() {
    let (policy, packages) = (Policy::read(), packages());
    assert!(packages.len() > 100, "{} crates", packages.len());
    let mut faults = Vec::new();
    for Package { name, version, licence, source } in &packages {
        if !policy.allows(name, licence) {
            faults.push(format!("{name} {version}: licence {licence:?}"));
        }
        let registry = source.as_ref().map(|source| source.trim_start_matches("registry+"));
        if registry.is_some_and(|registry| !policy.registries.contains(registry)) {
            faults.push(format!("{name} {version}: from {source:?}"));
        }
    }
    assert!(faults.is_empty(), "\n  {}", faults.join("\n  "));
}

#[test]
fn no_crate_is_there_twice_unless_it_is_known() {
    let (policy, packages) = (Policy::read(), packages());
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Package { name, version, .. } in &packages {
        versions.entry(name).or_default().insert(version);
    }
    let mut faults = Vec::new();
    let mut needed = BTreeSet::new();
    for (name, versions) in &versions {
        let known = |version: &&&str| policy.skipped.contains(&format!("{name}@{version}"));
        if versions.iter().filter(|version| !known(version)).count() > 1 {
            faults.push(format!("{name} is there as {versions:?}"));
        }
        if versions.len() > 1 {
            needed.extend(versions.iter().map(|version| format!("{name}@{version}")));
        }
    }
    faults.extend(policy.skipped.difference(&needed).map(|old| format!("{old}: no duplicate")));
    assert!(faults.is_empty(), "\n  {}", faults.join("\n  "));
}

/// The test above is only as good as its judgement.
#[test]
fn licences_accepted_and_refused() {
    let policy = Policy::read();
    let cases = [
        ("any", "MIT", true),
        ("any", "MIT/Apache-2.0", true),
        ("any", "Unlicense OR MIT", true),
        ("any", "(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("any", "GPL-3.0-only OR MIT", true),
        ("any", "GPL-3.0-only", false),
        ("any", "MIT AND AGPL-3.0-only", false),
        ("any", "MPL-2.0", false),
        ("bitmaps", "MPL-2.0+", true),
        ("any", "", false),
        ("any", "as you like", false),
    ];
    for (name, licence, expected) in cases {
        assert_eq!(policy.allows(name, licence), expected, "{name}: {licence:?}");
    }
}
