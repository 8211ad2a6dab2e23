//! The whole program against a server whose faults are known.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fake;
mod ladders;
mod private;
mod sessions;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

use fake::{Fake, Fault, STALL};

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("loadgen-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn result(&self) -> Value {
        serde_json::from_slice(&fs::read(self.0.join("result.json")).unwrap()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn command(fake: &Fake, subcommand: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.arg(subcommand).arg("--url").arg(format!("http://{}", fake.address));
    if !arguments.contains(&"--request-timeout") {
        command.args(["--request-timeout", "5s"]);
    }
    command.args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program; its own bounds end it.
fn run(fake: &Fake, subcommand: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command(fake, subcommand, arguments).output().unwrap();
    let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    (status.code(), text)
}

/// A closed loop of one connection: the faulty append is then known, and nothing is timed.
const STEADY: [&str; 8] =
    ["--rate", "max", "--connections", "1", "--records-per-batch", "4", "--duration", "300ms"];

#[test]
fn a_faultless_server_is_found_good_in_every_layout() {
    let layouts: [&[&str]; 4] = [
        &["--connections", "4", "--streams", "1"],
        &["--connections", "2", "--streams", "5", "--format", "base64"],
        &["--connections", "3", "--streams", "2", "--threads", "2", "--record-bytes", "23"],
        &["--connections", "2", "--rate", "200", "--records-per-batch", "9", "--token", "t"],
    ];
    for layout in layouts {
        let (fake, scratch) = (Fake::start(Fault::None), Scratch::new());
        let mut arguments =
            vec!["--duration", "300ms", "--verify", "--out", &scratch.0.to_str().unwrap()];
        if !layout.contains(&"--rate") {
            arguments.extend(["--rate", "max"]);
        }
        arguments.extend(layout);
        let (code, text) = run(&fake, "append", &arguments);
        // An open loop may find itself too slow on a busy machine; that is not at issue here.
        assert!(matches!(code, Some(0 | 3)), "{layout:?}: {text}");
        let result = scratch.result();
        let appends = fake.state.lock().unwrap().appends;
        assert!(appends > 20, "{text}");
        assert_eq!(result["verify"]["acknowledged"], appends, "{text}");
        let faults =
            ["lost", "duplicated", "torn", "wrong"].map(|kind| result["verify"][kind].clone());
        assert_eq!(faults, [0, 0, 0, 0], "{text}");
    }
}

#[test]
fn every_fault_is_found_and_named() {
    // (fault, lost, duplicated, torn); what is wrong besides is checked to be there or not.
    for (fault, lost, duplicated, torn, is_wrong) in [
        (Fault::LoseRecord, 0, 0, 1, true),
        (Fault::LoseBatch, 1, 0, 0, false),
        (Fault::Duplicate, 0, 1, 0, false),
        (Fault::Tear, 0, 0, 1, false),
        (Fault::WrongByte, 0, 0, 0, true),
        (Fault::RefuseAfterStore, 0, 0, 0, true),
    ] {
        let (fake, scratch) = (Fake::start(fault), Scratch::new());
        let out = scratch.0.to_str().unwrap();
        let arguments = [&STEADY[..], &["--verify", "--out", out]].concat();
        let (code, text) = run(&fake, "append", &arguments);
        assert_eq!(code, Some(1), "{fault:?}: {text}");
        let verdict = &scratch.result()["verify"];
        let counts = ["lost", "duplicated", "torn"].map(|kind| verdict[kind].clone());
        assert_eq!(counts, [lost, duplicated, torn], "{fault:?}: {text}");
        assert_eq!(verdict["wrong"] != 0, is_wrong, "{fault:?}: {text}");
        assert!(
            text.contains(&format!("{lost} lost, {duplicated} duplicated, {torn} torn")),
            "{text}"
        );
    }
}

#[test]
fn an_append_without_an_answer_may_be_there_or_not() {
    for (fault, present) in [(Fault::HangUpAfterStore, 1), (Fault::HangUpBeforeStore, 0)] {
        let (fake, scratch) = (Fake::start(fault), Scratch::new());
        let out = scratch.0.to_str().unwrap();
        let (code, text) =
            run(&fake, "append", &[&STEADY[..], &["--verify", "--out", out]].concat());
        assert_eq!(code, Some(0), "{fault:?}: {text}");
        let verdict = &scratch.result()["verify"];
        assert_eq!((&verdict["indeterminate"], &verdict["present"]), (&1.into(), &present.into()));
        assert!(verdict["acknowledged"].as_u64() > Some(30), "the load went on: {text}");
    }
}

#[test]
fn a_refusal_is_an_error_and_not_in_doubt() {
    let (fake, scratch) = (Fake::start(Fault::Refuse), Scratch::new());
    let out = scratch.0.to_str().unwrap();
    let (code, text) = run(&fake, "append", &[&STEADY[..], &["--verify", "--out", out]].concat());
    assert_eq!(code, Some(0), "{text}");
    let result = scratch.result();
    assert_eq!(result["errors"], serde_json::json!({"429 rate_limited": 1}), "{text}");
    assert_eq!(result["appends"]["indeterminate"], 0);
    assert_eq!(result["latency_us"]["count"], result["appends"]["acknowledged"]);
}

#[test]
fn a_run_without_any_acknowledgement_fails() {
    let fake = Fake::start(Fault::Unavailable);
    let (code, text) = run(&fake, "append", &STEADY);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("503 unavailable") && text.contains("no append"), "{text}");
}

#[test]
fn appends_that_never_found_a_connection_are_charged_with_their_wait() {
    let (fake, scratch) = (Fake::start(Fault::Silence), Scratch::new());
    let load = ["--rate", "200", "--connections", "1", "--duration", "500ms"];
    let limits = ["--request-timeout", "500ms", "--out", scratch.0.to_str().unwrap(), "--verify"];
    let (code, text) = run(&fake, "append", &[&load[..], &limits].concat());
    assert_eq!(code, Some(0), "{text}");
    let result = scratch.result();
    // 20 answered, two sent into the silence, the rest still waiting when the drain ends.
    assert_eq!(result["appends"]["acknowledged"], 20, "{text}");
    assert_eq!(result["errors"]["timeout"], 2, "{text}");
    assert_eq!(result["appends"]["never_sent"], 78, "{text}");
    assert_eq!(result["verify"]["indeterminate"], 2, "{text}");
    let latency = &result["latency_us"];
    assert_eq!(latency["count"], 100, "{text}");
    assert!(latency["p50"].as_f64() >= Some(500_000.0), "{text}");
    assert!(latency["p99"].as_f64() >= Some(800_000.0), "{text}");
}

/// Samples in the untagged intervals of an interval log.
fn logged_samples(path: &str) -> u64 {
    let log = fs::read(path).unwrap();
    let engine = base64::engine::general_purpose::STANDARD;
    let mut deserializer = Deserializer::new();
    let entries = IntervalLogIterator::new(&log).map(|entry| entry.expect("readable"));
    let histograms = entries.filter_map(|entry| match entry {
        LogEntry::Interval(interval) if interval.tag().is_none() => {
            Some(engine.decode(interval.encoded_histogram()).unwrap())
        }
        _ => None,
    });
    let counts = histograms.map(|bytes| {
        let histogram: Histogram<u64> = deserializer.deserialize(&mut bytes.as_slice()).unwrap();
        histogram.len()
    });
    counts.sum()
}

#[test]
fn an_open_loop_shows_a_stall_that_a_closed_loop_hides() {
    let stall_us = 1e6 * STALL.as_secs_f64();
    let latency = |rate: &str, connections: &str| {
        let (fake, scratch) = (Fake::start(Fault::Stall), Scratch::new());
        let out = scratch.0.to_str().unwrap();
        let arguments =
            ["--rate", rate, "--connections", connections, "--duration", "2s", "--out", out];
        let (code, text) = run(&fake, "append", &arguments);
        assert_eq!(code, Some(0), "{text}");
        for name in ["latency.hlog", "latency.svg"] {
            assert!(fs::metadata(scratch.path(name)).unwrap().len() > 1_000, "{name}");
        }
        let latency = scratch.result()["latency_us"].clone();
        assert_eq!(latency["count"], logged_samples(&scratch.path("latency.hlog")));
        move |name: &str| latency[name].as_f64().unwrap()
    };
    // 200 appends a second: a hundred of four hundred are due during the stall.
    let open = latency("200", "2");
    assert!(open("max") >= 0.99 * stall_us, "max {}", open("max"));
    assert!(open("p99") >= 0.9 * stall_us, "p99 {}", open("p99"));
    assert!(open("p90") >= 0.4 * stall_us, "p90 {}", open("p90"));
    // The same server in a closed loop: two appends meet the stall, thousands do not.
    let closed = latency("max", "2");
    assert!(closed("max") >= 0.99 * stall_us, "max {}", closed("max"));
    assert!(closed("p99") <= 0.2 * stall_us, "p99 {}", closed("p99"));
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(name).arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
}

#[test]
fn figures_are_refused_when_the_generator_itself_was_held_up() {
    let (fake, scratch) = (Fake::start(Fault::None), Scratch::new());
    fs::write(scratch.path("latency.svg"), "left by an earlier run").unwrap();
    let out = scratch.0.to_str().unwrap();
    let arguments = ["--rate", "200", "--duration", "1s", "--out", out];
    let child = command(&fake, "append", &arguments).spawn().unwrap();
    let limit = Instant::now() + Duration::from_secs(20);
    while fake.state.lock().unwrap().appends < 20 {
        assert!(Instant::now() < limit, "the load does not start");
        std::thread::yield_now();
    }
    signal(&child, "-STOP");
    // The pause is the stimulus, not a wait for something to happen.
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "-CONT");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("REFUSED") && !text.contains("p99.9"), "{text}");
    let result = scratch.result();
    assert_eq!(result["latency_us"], Value::Null);
    // Thirty of a hundred self-tests fell into the pause, and each of them counts.
    assert!(result["own_lateness"]["wake_ups_us"]["p90"].as_f64() > Some(50_000.0), "{result}");
    for name in ["latency.hlog", "latency.svg"] {
        assert!(!scratch.0.join(name).exists(), "{name}");
    }
}

#[test]
fn journals_of_several_runs_are_verified_later_by_another_process() {
    let (fake, scratch) = (Fake::start(Fault::HangUpAfterStore), Scratch::new());
    let (one, two) = (scratch.path("one"), scratch.path("two"));
    for (run_number, journal) in [("1", &one), ("2", &two)] {
        let journal = ["--run", run_number, "--streams", "3", "--journal", journal];
        let (code, text) = run(&fake, "append", &[&STEADY[..], &journal].concat());
        assert_eq!(code, Some(0), "{text}");
    }
    let both = ["--journal", one.as_str(), "--journal", two.as_str()];
    let (code, text) = run(&fake, "verify", &both);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 indeterminate (1 present), 0 lost"), "{text}");
    let (code, text) = run(&fake, "verify", &both[2..]);
    assert_eq!(code, Some(0), "the second run alone: {text}");
    let (code, text) = run(&fake, "verify", &[&both[..], &both[..2]].concat());
    assert_eq!(code, Some(4), "a run given twice: {text}");

    let lost = fake.state.lock().unwrap().streams.get_mut("loadgen-1-2").unwrap().records.pop();
    assert!(lost.is_some());
    let (code, text) = run(&fake, "verify", &both);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("1 torn"), "{text}");
}

#[test]
fn a_server_gone_for_too_long_ends_the_run_and_the_journal_is_whole() {
    let (fake, scratch) = (Fake::start(Fault::Vanish), Scratch::new());
    let (out, journal) = (scratch.0.to_str().unwrap(), scratch.path("journal"));
    let load = ["--rate", "200", "--connections", "3", "--connect-retry", "300ms"];
    let output = ["--duration", "20s", "--out", out, "--journal", &journal];
    let start = Instant::now();
    let (code, text) = run(&fake, "append", &[&load[..], &output].concat());
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("stayed unreachable"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(10), "it does not wait for its duration");
    let result = scratch.result();
    assert!(result["failure"].as_str().unwrap().contains("stayed unreachable"), "{result}");
    assert!(result["appends"]["never_sent"].as_u64() > Some(20), "what was due meanwhile: {text}");
    let facts = fs::read_to_string(journal).unwrap();
    let acknowledged = facts.lines().filter(|line| line.starts_with("A ")).count();
    assert_eq!(result["appends"]["acknowledged"], acknowledged);
}

#[test]
fn a_file_is_appended_line_by_line_in_order() {
    let scratch = Scratch::new();
    let lines: Vec<String> =
        (0..1_000).map(|i| format!("line \"{i}\"\té {}", "x".repeat(i % 50))).collect();
    fs::write(scratch.path("input"), lines.join("\n")).unwrap();
    for extra in [&["--verify"][..], &["--verify", "--format", "base64"], &[]] {
        let fake = Fake::start(Fault::None);
        let input = scratch.path("input");
        let base = ["--input", &input, "--rate", "max", "--streams", "2", "--connections", "2"];
        let arguments = [&base[..], &["--records-per-batch", "7"], extra].concat();
        let (code, text) = run(&fake, "append", &arguments);
        assert_eq!(code, Some(0), "{text}");
        let state = fake.state.lock().unwrap();
        for stream in 0..2 {
            let records = &state.streams[&format!("loadgen-1-{stream}")].records;
            assert_eq!(records.len(), 500);
            if !extra.contains(&"base64") {
                let bodies = records.iter().map(|record| record["body"].as_str().unwrap());
                assert!(bodies.eq(lines.iter().skip(stream).step_by(2)), "stream {stream}");
            }
            assert_eq!(records[0].get("headers").is_some(), extra.contains(&"--verify"));
        }
    }
}

#[test]
fn a_stream_of_another_class_is_not_measured() {
    let fake = Fake::start(Fault::None);
    let (code, text) = run(&fake, "append", &STEADY);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) =
        run(&fake, "append", &[&STEADY[..], &["--storage-class", "standard"]].concat());
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("storage class express, not standard"), "{text}");
}

#[test]
fn an_unreachable_server_fails_at_once_or_after_the_time_given() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fake = Fake { address: unused, state: Fake::start(Fault::None).state };
    let (code, text) = run(&fake, "append", &STEADY);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("cannot connect"), "{text}");
    let start = Instant::now();
    let (code, _) = run(&fake, "append", &[&STEADY[..], &["--connect-retry", "400ms"]].concat());
    assert_eq!(code, Some(4));
    assert!(start.elapsed() >= Duration::from_millis(300));
}
