//! The whole program against servers of other kinds that are known by heart: whatever they took is
//! what was acknowledged, and a follower that is kept from a record finds out.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod http;
mod resp;
mod store;

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use store::Store;

const KINDS: [&str; 2] = ["redis", "durable-streams"];

fn start(kind: &str, store: Store) -> store::Fake {
    store::serve(store, if kind == "redis" { resp::connection } else { http::connection })
}

/// Runs the program; its own bounds end it. Returns how it ended and what it wrote.
fn run(fake: &store::Fake, kind: &str, arguments: &str) -> (Output, Value) {
    let out = tempfile::tempdir().unwrap();
    let mut words: Vec<_> = arguments.split_whitespace().collect();
    let subcommand = words.remove(0);
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg(subcommand)
        .args(["--protocol", kind, "--request-timeout", "2s", "--url"])
        .arg(format!("http://{}", fake.address))
        .arg("--out")
        .arg(out.path())
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let file = if subcommand == "scan" { "scan.json" } else { "result.json" };
    let text = std::fs::read(out.path().join(file)).unwrap_or_else(|_| panic!("{output:?}"));
    (output, serde_json::from_slice(&text).unwrap())
}

const APPENDS: &str = "append --rate max --duration 300ms --connections 3 --streams 2 \
                       --records-per-batch 3 --record-bytes 100";

#[test]
fn what_is_acknowledged_is_what_the_server_took() {
    for kind in KINDS {
        let fake = start(kind, Store::default());
        let (output, result) = run(&fake, kind, APPENDS);
        assert!(output.status.success(), "{kind}: {output:?}");
        let acked = result["appends"]["acknowledged"].as_u64().unwrap();
        assert!(acked > 0, "{kind}");
        assert_eq!(acked, result["appends"]["sent"].as_u64().unwrap(), "{kind}");
        assert_eq!(fake.body_bytes(), acked * 300, "{kind}");
        assert_eq!(fake.names(), ["loadgen-1-0", "loadgen-1-1"], "{kind}");
    }
}

#[test]
fn what_is_refused_is_an_error_and_no_append() {
    for kind in KINDS {
        let fake = start(kind, Store { refuses_every: Some(5), ..Store::default() });
        let (output, result) = run(&fake, kind, APPENDS);
        assert!(output.status.success(), "{kind}: {output:?}");
        let appends = &result["appends"];
        let [sent, acked, doubtful] = ["sent", "acknowledged", "indeterminate"]
            .map(|name| appends[name].as_u64().unwrap_or_else(|| panic!("{kind}: {result}")));
        assert!(doubtful > 0 && acked > 0, "{kind}: {result}");
        assert_eq!(sent, acked + doubtful, "{kind}: {result}");
        let errors = result["errors"].as_object().unwrap();
        assert!(errors.keys().all(|name| name.contains("no, not this one")), "{kind}: {errors:?}");
    }
}

const FOLLOWERS: &str = "tail --rate 200 --duration 500ms --connections 2 --readers 3 \
                         --records-per-batch 2 --record-bytes 100";

#[test]
fn followers_get_every_record() {
    for kind in KINDS {
        let fake = start(kind, Store::default());
        let (output, result) = run(&fake, kind, FOLLOWERS);
        // 3 when the machine was too busy for latency figures: no fault of a reader.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{kind}: {output:?}");
        let acked = result["appends"]["acknowledged"].as_u64().unwrap();
        let delivered = result["delivery"]["records"].as_u64().unwrap();
        assert!(acked > 0, "{kind}: {result}");
        assert_eq!(delivered, acked * 2 * 3, "{kind}: {result}");
    }
}

#[test]
fn a_follower_that_is_kept_from_a_record_finds_out() {
    for kind in KINDS {
        let fake = start(kind, Store { hides: Some(7), ..Store::default() });
        let (output, result) = run(&fake, kind, FOLLOWERS);
        assert_eq!(output.status.code(), Some(1), "{kind}: {output:?}");
        let faults = &result["delivery"]["faults"];
        let found = faults["torn"].as_u64().unwrap() + faults["lost"].as_u64().unwrap();
        assert!(found > 0, "{kind}: {faults}");
    }
}

#[test]
fn a_stream_that_is_there_already_cannot_be_followed() {
    for kind in KINDS {
        let fake = start(kind, Store::default());
        assert!(run(&fake, kind, APPENDS).0.status.success(), "{kind}");
        let out = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["tail", "--protocol", kind, "--url", &format!("http://{}", fake.address)])
            .arg("--out")
            .arg(out.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(4), "{kind}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("already"), "{kind}: {output:?}");
    }
}

#[test]
fn readers_go_through_whole_streams() {
    for kind in KINDS {
        let fake = start(kind, Store::default());
        assert!(run(&fake, kind, APPENDS).0.status.success(), "{kind}");
        let scan = "scan --streams 2 --readers 2 --duration 400ms --record-bytes 100";
        let (output, result) = run(&fake, kind, scan);
        assert!(output.status.success(), "{kind}: {output:?}");
        assert!(result["passes"].as_u64().unwrap() >= 2, "{kind}: {result}");
    }
}
