//! The seccomp profile in `docs/deploy` lets everything pass that the server does, and is the one
//! that is in force here: a server runs under it, and any call beyond it would end the process.
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;

use seccompiler::{BpfProgram, TargetArch, apply_filter, compile_from_json};
use serde_json::{Value, json};

use crate::alone::Alone;
use crate::common::client::Client;
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::Request;
use crate::common::s2s::AppendInput;
use crate::common::session::{Session, append_request, read_request};

/// The signal that ends a process for a forbidden call.
const SIGSYS: i32 = 31;

/// The profile's rules, as JSON.
fn profile() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy/seccomp.json");
    let text = fs::read_to_string(path).expect("the profile is there");
    let profile: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    profile["syscalls"].as_array().expect("a list of rules").clone()
}

fn names(rule: &Value) -> Vec<&str> {
    let names = rule["names"].as_array().expect("names");
    names.iter().map(|name| name.as_str().expect("a name")).collect()
}

/// The same rules as two filters in the form of `seccompiler`: what is not allowed ends the process
/// instead of failing, so that no call is refused unnoticed; what is refused by its own rule
/// fails as it would.
fn filters(rules: &[Value], without: &str) -> Vec<BpfProgram> {
    let (mut known, mut refused) = (Vec::new(), Vec::new());
    for rule in rules {
        let errno = rule["action"] == "SCMP_ACT_ERRNO";
        assert!(errno || rule["action"] == "SCMP_ACT_ALLOW", "{rule}");
        for name in names(rule).into_iter().filter(|name| *name != without) {
            let mut entry = json!({ "syscall": name });
            if let Some(conditions) = rule["args"].as_array() {
                let condition = |of: &Value| {
                    assert_eq!(of["op"], "SCMP_CMP_MASKED_EQ");
                    json!({
                        "index": of["index"],
                        "type": "qword",
                        "op": { "masked_eq": of["value"] },
                        "val": of["valueTwo"],
                    })
                };
                entry["args"] = conditions.iter().map(condition).collect();
            }
            if errno {
                assert_eq!(rule["errnoRet"], 38, "ENOSYS");
                refused.push(json!({ "syscall": name }));
            }
            known.push(entry);
        }
    }
    let text = json!({
        "known": { "mismatch_action": "kill_process", "match_action": "allow", "filter": known },
        "refused": {
            "mismatch_action": "allow", "match_action": { "errno": 38 }, "filter": refused,
        },
    });
    let arch: TargetArch = std::env::consts::ARCH.try_into().expect("a known architecture");
    let mut compiled = compile_from_json(text.to_string().as_bytes(), arch).expect("sound filters");
    // In this order: once the second is in force, loading another is forbidden.
    ["refused", "known"].map(|name| compiled.remove(name).expect("it was compiled")).into()
}

fn start_under(filters: Vec<BpfProgram>, ships: bool) -> Alone {
    Alone::start(|command, dir| {
        if ships {
            command.arg(format!("--bucket=file://{}/bucket", dir.display()));
        }
        command.args(["--metrics-listen=127.0.0.1:0", "--checkpoint-bytes=1048576"]);
        let apply = move || {
            for filter in &filters {
                apply_filter(filter).map_err(|_| std::io::Error::last_os_error())?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it makes system calls alone and allocates nothing: the
        // programs were compiled before.
        unsafe { command.pre_exec(apply) };
    })
}

/// Has a server do everything that it does: both protocols, sessions, segments that fill up and
/// are given up, old reads, metrics.
fn exercise(host: &str) {
    let mut client = Client::new(host, None);
    client.put("/v1/basins/under-a-filter", &json!({})).status(201);
    let mut client = client.in_basin("under-a-filter");
    client.create_stream("s");
    let large = "x".repeat(1_000_000);
    for _ in 0..20 {
        client.append_bodies("s", &[&large]);
    }
    client.read("s", "seq_num=0&count=1").status(200);
    for protocol in Protocol::BOTH {
        let sent = Exchange::start_open(&client, protocol, append_request("s"));
        let mut session = Session::open(sent);
        session.push(&AppendInput::one("x"));
        session.ack();
        session.finish();
        session.end();
        let query = "seq_num=0&count=3";
        let read = Exchange::start(&client, protocol, read_request("s", query));
        Session::open(read).all_batches();
        let tail = Request::get("/v1/streams/s/records/tail").header("accept-encoding", "zstd");
        Exchange::start(&client, protocol, tail).whole().status(200);
    }
    let trim = json!({ "headers": [["", "trim"]], "body": "\u{7f}".repeat(8) });
    client.append("s", &json!({ "records": [trim] })).status(200);
    client.get("/metrics").status(404); // it has an address of its own
    client.get("/health").status(200);
}

#[test]
fn the_server_needs_nothing_beyond_the_profile() {
    for ships in [false, true] {
        let mut server = start_under(filters(&profile(), ""), ships);
        for life in 0..2 {
            if life > 0 {
                server.restart();
            }
            match server.host() {
                Ok(host) if life == 0 => exercise(&host),
                Ok(host) => {
                    Client::new(&host, None).get("/health").status(200);
                }
                Err(status) => panic!("it ended at start with {status}, ships: {ships}"),
            }
            let status = server.terminate().expect("it ends in time");
            assert!(status.success(), "{status}, ships: {ships}: {}", server.read("stderr"));
        }
    }
}

#[test]
fn the_profile_is_in_force() {
    for missing in ["io_uring_setup", "umask"] {
        let mut server = start_under(filters(&profile(), missing), false);
        let status = server.host().expect_err("it must not start");
        assert_eq!(status.signal(), Some(SIGSYS), "{missing}: {status}");
    }
}

#[test]
fn the_profile_gives_nobody_more_than_that() {
    let rules = profile();
    let allowed: Vec<&str> = rules.iter().flat_map(names).collect();
    for never in [
        "ptrace",
        "mount",
        "umount2",
        "bpf",
        "unshare",
        "setns",
        "init_module",
        "finit_module",
        "kexec_load",
        "keyctl",
        "add_key",
        "perf_event_open",
        "process_vm_readv",
        "process_vm_writev",
        "userfaultfd",
        "open_by_handle_at",
        "pivot_root",
        "chroot",
        "reboot",
        "swapon",
        "personality",
        "memfd_create",
    ] {
        assert!(!allowed.contains(&never), "{never}");
    }
    let mut once = allowed.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), allowed.len(), "each name once");
}
