//! What the command prints, and how it ends.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::Own;
use crate::common::client::Client;
use crate::common::server::Server;
use crate::common::{PROCESS_WAIT, poll};

pub(crate) fn doctor(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.arg("doctor").arg("--data-dir").arg(dir).args(arguments).stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> Output {
    command.output().expect("the binary can be run")
}

/// Its JSON, after its exit status was held against the verdict and the verdict against the
/// findings.
#[track_caller]
pub(crate) fn report(command: Command) -> Value {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    });
    let findings = report["findings"].as_array().expect("findings");
    let has = |level: &str| findings.iter().any(|finding| finding["level"] == level);
    let (verdict, status) = match (has("failure"), has("warning")) {
        (true, _) => ("not_fit", 1),
        (false, true) => ("fit_with_warnings", 3),
        (false, false) => ("fit", 0),
    };
    assert_eq!(report["verdict"], verdict, "{text}");
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(report["report_version"], 1);
    for finding in findings {
        for member in ["id", "group", "level", "what", "why", "do"] {
            assert!(finding[member].is_string(), "{member}: {finding}");
        }
        let is_bad = finding["level"] == "failure" || finding["level"] == "warning";
        assert!(!is_bad || (finding["why"] != "" && finding["do"] != ""), "{finding}");
    }
    report
}

#[track_caller]
pub(crate) fn finding<'a>(report: &'a Value, id: &str) -> &'a Value {
    let findings = report["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["id"] == id);
    found.unwrap_or_else(|| panic!("no {id}: {report:#}"))
}

fn ids(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings");
    findings.iter().map(|finding| finding["id"].as_str().expect("an id")).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_disk_is_measured_and_nothing_is_left() {
    let own = Own::new();
    let new = own.0.join("not-yet/data");
    let report = report(doctor(&new, &["--json", "--seconds", "1"]));
    let rows = report["measured"].as_array().expect("rows");
    let sizes: Vec<u64> = rows.iter().filter_map(|row| row["write_bytes"].as_u64()).collect();
    assert_eq!(sizes, [4096, 65_536, 1_048_576]);
    for row in rows {
        for part in ["write_alone", "sync", "write_and_sync"] {
            let of = |name: &str| row[part][name].as_u64().expect("a number");
            assert!(of("count") > 0, "{row}");
            assert!(of("p50_us") <= of("p99_us") && of("p99_us") <= of("max_us"), "{row}");
        }
    }
    let express = &report["express"];
    assert_eq!(express["alone_p50_us"], rows[0]["write_and_sync"]["p50_us"]);
    assert!(
        finding(&report, "directory.rights")["what"].as_str().unwrap().contains("not exist yet")
    );
    finding(&report, "ring.allowed");
    finding(&report, "storage.direct");
    assert_eq!(names(&own.0), [""; 0], "it made nothing");
    assert_eq!(Path::new(report["looked_at"].as_str().unwrap()), own.0.canonicalize().unwrap());
}

#[test]
fn the_quick_part_measures_nothing_and_the_text_ends_with_the_verdict() {
    let own = Own::new();
    let report = report(doctor(&own.0, &["--json", "--quick"]));
    assert_eq!((&report["measured"], &report["express"]), (&Value::Array(vec![]), &Value::Null));
    let output = run(doctor(&own.0, &["--quick"]));
    let text = String::from_utf8(output.stdout).expect("text");
    let expected = match report["verdict"].as_str().expect("a verdict") {
        "fit" => "Fit: ",
        "fit_with_warnings" => "Fit, with ",
        _ => "Not fit: ",
    };
    let last = text.rsplit("\n\n").next().expect("a paragraph");
    assert!(last.starts_with(expected) && last.ends_with(".\n"), "{text}");
    for heading in ["Kernel", "Limits", "Data directory", "Storage", "Machine"] {
        assert!(text.lines().any(|line| line == heading), "{heading}: {text}");
    }
    let is_too_long = |line: &&str| line.chars().count() > 96 && line.trim().contains(' ');
    assert_eq!(text.lines().find(is_too_long), None, "{text}");
    assert!(names(&own.0).is_empty());
}

#[test]
fn memory_is_no_place_for_data() {
    let shared = Path::new("/dev/shm");
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("proc is mounted");
    if !mounts.lines().any(|line| line.starts_with("tmpfs /dev/shm ") && line.contains("rw")) {
        eprintln!("skipped: /dev/shm is no tmpfs here");
        return;
    }
    let own = Own::within(shared);
    let report = report(doctor(&own.0, &["--json", "--seconds", "1"]));
    assert_eq!(report["verdict"], "not_fit");
    let memory = finding(&report, "storage.memory");
    assert!(memory["what"].as_str().unwrap().starts_with("tmpfs on "), "{memory}");
    assert_eq!(memory["stops_server"], false, "tests may run there");
    assert!(
        !ids(&report).iter().any(|id| id.starts_with("flush.impossible")),
        "known, not suspected"
    );
}

#[test]
fn a_running_server_is_left_alone_and_named() {
    let Some(server) = Server::start() else { return };
    let before = names(&server.data_dir());
    let report = report(doctor(&server.data_dir(), &["--json", "--seconds", "1"]));
    let used = finding(&report, "directory.in_use");
    assert!(used["what"].as_str().unwrap().contains(&server.pid().to_string()), "{used}");
    finding(&report, "flush.beside");
    assert_eq!(names(&server.data_dir()), before);
    Client::new(server.host(), None).get("/health").status(200);
}

#[test]
fn an_interrupted_measurement_leaves_nothing() {
    let own = Own::new();
    for signal in ["INT", "KILL"] {
        let mut child = doctor(&own.0, &["--seconds", "600"])
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary can be run");
        let pid = child.id().to_string();
        // It measures when a file without a name is open.
        let measures = poll(PROCESS_WAIT, || {
            let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
            let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
            let mut links = links.map(|link| link.to_string_lossy().into_owned());
            links.any(|link| link.contains("doctor-") && link.ends_with("(deleted)")).then_some(())
        });
        assert!(measures.is_some(), "it never measured");
        let sent =
            Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        let status = child.wait().expect("it ends");
        assert!(status.code().is_none(), "{signal}: {status}");
        assert!(names(&own.0).is_empty(), "{signal}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_filter_that_refuses_rings_is_explained() {
    let own = Own::new();
    for (errno, words) in [(1, "a seccomp filter is in force"), (38, "a seccomp filter, as")] {
        let mut command = doctor(&own.0, &["--json", "--quick"]);
        crate::filter::refuse(&mut command, crate::filter::without_rings(errno));
        let report = report(command);
        let refused = finding(&report, "ring.filter");
        assert!(refused["why"].as_str().unwrap().contains(words), "{refused}");
        assert_eq!(
            (&refused["level"], &refused["stops_server"]),
            (&"failure".into(), &true.into())
        );
    }
    let mut command = doctor(&own.0, &["--json", "--quick"]);
    crate::filter::refuse(&mut command, crate::filter::without_direct_io());
    finding(&report(command), "storage.no_direct");
}

#[test]
fn bad_places_are_named() {
    let own = Own::new();
    let file = own.0.join("file");
    std::fs::write(&file, "x").expect("a file");
    finding(&report(doctor(&file, &["--json", "--quick"])), "directory.not_one");
    let data = own.0.join("data");
    std::fs::create_dir(&data).expect("a directory");
    std::fs::write(data.join("directory.json"), r#"{"format_version": 99}"#).expect("a file");
    let report = report(doctor(&data, &["--json", "--quick"]));
    let refused = finding(&report, "directory.refused");
    assert!(refused["what"].as_str().unwrap().contains("format version 99"), "{refused}");
    let output = run(doctor(&data, &["--seconds", "0"]));
    assert_eq!(output.status.code(), Some(2), "the command line's own errors");
}
