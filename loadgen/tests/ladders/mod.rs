//! What calls the load generator again and again, and what reads its logs.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::Scratch;
use crate::fake::{Fake, Fault};

/// Runs the program in the directory of `scratch`; its own bounds end it.
fn call(scratch: &Scratch, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments).current_dir(&scratch.0).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

fn json(scratch: &Scratch, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(scratch.path(file)).unwrap()).unwrap()
}

fn url(fake: &Fake) -> String {
    format!("http://{}", fake.address)
}

#[test]
fn a_sweep_ends_where_the_server_can_no_longer_follow() {
    // Every append is refused, so the first rate fails however busy this machine is.
    let (fake, scratch) = (Fake::start(Fault::Unavailable), Scratch::new());
    let url = url(&fake);
    let times =
        ["--duration", "200ms", "--warmup", "0s", "--refine", "1", "--beyond", "0", "--tries", "1"];
    let sweep = ["sweep", "--url", &url, "--rates", "100,200,400"];
    let (code, text) = call(&scratch, &[&sweep[..], &times].concat());
    // A run without any acknowledgement has failed, which is told and not drawn.
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("at 100 appends/s"), "{text}");

    let fake = Fake::start(Fault::None);
    let url = self::url(&fake);
    let sweep = ["sweep", "--url", &url, "--rates", "50,1000k,2000k,4000k"];
    let load = ["--", "--connections", "1", "--request-timeout", "1s"];
    let times =
        ["--duration", "200ms", "--warmup", "0s", "--refine", "1", "--beyond", "1", "--tries", "1"];
    let (code, text) = call(&scratch, &[&sweep[..], &times, &load].concat());
    assert_eq!(code, Some(0), "{text}");
    let found = json(&scratch, "sweep/sweep.json");
    let rates: Vec<_> =
        found["steps"].as_array().unwrap().iter().map(|s| &s["offered_per_s"]).collect();
    assert!(rates.contains(&&Value::from(1_000_000.0)), "{rates:?}");
    // On a busy machine the lowest may fail as well, by the generator's own doing.
    assert!(!rates.contains(&&Value::from(4_000_000.0)), "one beyond: {rates:?}");
    let fails = found["knee"]["fails_per_s"].as_f64().unwrap();
    assert!(fails <= 1_000_000.0, "{found}");
    let report = std::fs::read_to_string(scratch.path("sweep/sweep.md")).unwrap();
    assert!(report.contains("| 50.0 |"), "{report}");
    let svg = std::fs::read_to_string(scratch.path("sweep/sweep.svg")).unwrap();
    assert!(svg.ends_with("</svg>\n") && svg.contains("bound of p99"), "{svg}");
}

/// An interval this wide misses the truth once in ten thousand times, however busy the machine is.
#[test]
fn a_server_is_not_found_to_differ_from_itself() {
    let (fake, scratch) = (Fake::start(Fault::None), Scratch::new());
    let url = url(&fake);
    let pair = ["pair", &url, &url, "--rounds", "5", "--confidence", "99.99"];
    let times = ["--duration", "500ms", "--warmup", "50ms"];
    let load = ["--", "--rate", "max", "--connections", "2"];
    let (code, text) = call(&scratch, &[&pair[..], &times, &load].concat());
    assert_eq!(code, Some(0), "{text}");
    let found = json(&scratch, "pair/pair.json");
    assert_eq!(found["rounds"].as_array().unwrap().len(), 5, "{text}");
    for (name, path) in
        [("appends/s", "/per_s"), ("p50 us", "/latency/p50_us"), ("p99 us", "/latency/p99_us")]
    {
        assert!(text.contains(&format!("| {name} |")), "{text}");
        let ratio = &found["ratios"][name];
        let has_both = |round: &&Value| {
            let figure = |side: usize| round[side].pointer(path).and_then(Value::as_f64);
            [figure(0), figure(1)].iter().all(|figure| figure.is_some_and(|value| value > 0.0))
        };
        let rounds = found["rounds"].as_array().unwrap().iter().filter(has_both).count();
        if rounds < 5 {
            // A machine that gave a run no time at all in its half second.
            assert!(ratio.is_null(), "{name}: {found}");
            assert!(text.contains("fewer than 5 rounds"), "{text}");
            continue;
        }
        let [low, middle, high] = ["low", "ratio", "high"].map(|key| ratio[key].as_f64().unwrap());
        assert!(low <= middle && middle <= high, "{name}: {text}");
        assert!(low <= 1.0 && 1.0 <= high, "{name}: {text}");
    }

    for refused in [&["--rounds", "4"][..], &["--confidence", "100"], &["--", "--url", &url]] {
        let (code, text) = call(&scratch, &[&["pair", &url, &url], refused].concat());
        assert!(matches!(code, Some(2 | 4)), "{refused:?}: {text}");
    }
}

#[test]
fn a_log_is_as_fast_as_itself_and_the_servers_processor_time_is_told() {
    let (fake, scratch) = (Fake::start(Fault::None), Scratch::new());
    let (url, pid) = (url(&fake), std::process::id().to_string());
    let append = ["append", "--url", &url, "--rate", "max", "--connections", "1"];
    let rest = ["--duration", "300ms", "--out", "run", "--server-pid", &pid];
    let (code, text) = call(&scratch, &[&append[..], &rest].concat());
    assert_eq!(code, Some(0), "{text}");
    let cpu = &json(&scratch, "run/result.json")["server_cpu"];
    // The server is a part of this process.
    assert!(cpu["us_per_append"].as_f64().is_some_and(|us| us >= 0.0), "{cpu}: {text}");
    assert!(text.contains("us per append"), "{text}");

    let log = "run/latency.hlog";
    let (code, text) = call(&scratch, &["hlog", log, "--base", log]);
    assert_eq!(code, Some(0), "{text}");
    let ratios = text.lines().filter(|line| line.starts_with("  / base"));
    let ratios: Vec<_> = ratios.flat_map(|line| line.split_whitespace().skip(2)).collect();
    assert!(ratios.len() >= 5 && ratios.iter().all(|ratio| *ratio == "1.00"), "{text}");
    let (code, text) = call(&scratch, &["hlog", "nowhere.hlog"]);
    assert_eq!(code, Some(4), "{text}");
}
