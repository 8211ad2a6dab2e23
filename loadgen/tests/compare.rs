//! `loadgen compare` as far as it goes without any server.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;

fn compare(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.arg("compare").args(arguments).current_dir(directory).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_server_that_is_not_installed_is_skipped_and_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let arguments =
        ["--peers", "thalweg,redis", "--thalweg", "/nowhere/t", "--redis", "/nowhere/r"];
    let output = compare(directory.path(), &arguments);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    for wanted in ["thalweg: SKIPPED", "redis: SKIPPED", "apt-get install redis-server"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn a_server_that_does_not_start_is_told_in_the_report_and_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--peers", "redis", "--redis", "false", "--quick", "--only", "unary-1k-c1"];
    let output = compare(directory.path(), &arguments);
    assert!(output.status.success(), "{output:?}");
    let report = std::fs::read_to_string(directory.path().join("compare/compare.md")).unwrap();
    assert!(report.contains("* unary-1k-c1-redis-r1: FAILED: redis ended at once"), "{report}");
    assert!(report.contains("| 4 KiB |"), "the disk was measured all the same: {report}");
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the report is left: {left:?}");
}

#[test]
fn loads_are_listed_and_chosen_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let listed = |arguments: &[&str]| {
        let output = compare(directory.path(), arguments);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let names = text.lines().filter(|line| !line.starts_with(' '));
        names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
    };
    let all: Vec<String> = listed(&["--list"]);
    assert!(all.len() > 20, "{all:?}");
    assert_eq!(listed(&["--list", "--only", "unary-1k-c1"]), ["unary-1k-c1"]);
    let sessions: Vec<String> = listed(&["--list", "--only", "session-64k-*"]);
    assert_eq!(sessions, ["session-64k-w1", "session-64k-w8", "session-64k-w64"]);
    let unknown = compare(directory.path(), &["--only", "nothing"]);
    assert_eq!(unknown.status.code(), Some(4), "{unknown:?}");
}

#[test]
fn a_report_is_written_anew_from_its_figures() {
    let directory = tempfile::tempdir().unwrap();
    let run = |server: &str, per_s: f64| {
        json!({"load": "l", "server": server, "round": 1, "per_s": per_s, "mib_per_s": 1.0,
               "p50_us": 1.0, "p99_us": null, "errors": 0, "generator_busy": null})
    };
    let server = |name: &str| json!({"name": name, "version": "1", "terms": "none"});
    let figures = json!({
        "about": {"label": "c0ffee", "machine": "m", "command": "c", "rounds": 3,
                  "duration_s": 1.0, "warmup_s": 0.0},
        "servers": [server("us"), server("them")],
        "loads": [{"name": "l", "title": "a load", "kind": "append", "stand_ins": []}],
        "disk": [], "runs": [run("us", 5.0), run("them", 10.0)], "counts": [], "missing": [],
    });
    std::fs::write(directory.path().join("kept.json"), figures.to_string()).unwrap();
    let output = compare(directory.path(), &["--render", "kept.json", "--out", "anew"]);
    assert!(output.status.success(), "{output:?}");
    let read =
        |name: &str| std::fs::read_to_string(directory.path().join("anew").join(name)).unwrap();
    assert!(read("compare.md").contains("| a load | them | 0.50 |"));
    assert!(read("rates.svg").contains("a load") && read("p99.svg").ends_with("</svg>\n"));
}
