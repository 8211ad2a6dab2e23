//! What the process has given up, and who else can read what it wrote.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::json;

use crate::alone::Alone;
use crate::common::client::{Client, fresh_basin_on};
use crate::common::server::Server;

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

/// The fields of `/proc/PID/task/…/status` called `name`, one for each thread.
fn of_threads(pid: u32, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let statuses =
        tasks.map(|task| fs::read_to_string(task.expect("a task").path().join("status")));
    let field = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
        line.map(|value| value.trim_start_matches(':').trim().to_owned())
    };
    // A thread may end between being listed and being looked at.
    statuses.filter_map(|status| field(status.ok()?)).collect()
}

#[test]
fn no_thread_has_or_can_get_privileges() {
    let Some(server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    client.append_bodies("s", &["a"]);
    for (name, expected) in [
        ("NoNewPrivs", "1"),
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
    ] {
        let values = of_threads(server.pid(), name);
        assert!(values.len() > 2, "the cores are threads: {values:?}");
        assert!(values.iter().all(|value| value == expected), "{name}: {values:?}");
    }
}

/// Everything below `dir`, itself included.
fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    found.push(dir.to_owned());
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

#[test]
fn files_are_their_owners_alone_and_an_open_directory_is_warned_of() {
    let Some(mut server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    client.append_bodies("s", &["a"]);
    server.terminate();
    let data = server.data_dir();
    let mut paths = Vec::new();
    walk(&data, &mut paths);
    assert!(paths.len() > 8, "{paths:?}");
    for path in paths.iter().filter(|path| **path != data) {
        let mode = fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
    for (mode, warns) in [(0o700, false), (0o755, true), (0o750, true)] {
        let before = server.said().len();
        fs::set_permissions(&data, fs::Permissions::from_mode(mode)).expect("its mode");
        server.restart();
        let said = server.said()[before..].to_owned();
        server.kill();
        let has_warned = said.contains("open to other users");
        assert_eq!(has_warned, warns, "mode {mode:o}: {said}");
    }
}

/// Whether every user may go through all the directories above `path`.
fn is_reachable(path: &Path) -> bool {
    let is_open = |dir: &Path| fs::metadata(dir).is_ok_and(|d| d.permissions().mode() & 1 == 1);
    path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).all(is_open)
}

/// A server of a user without any rights, if we may become one who finds it; otherwise of our own.
fn unprivileged(arguments: &[&str]) -> Alone {
    unprivileged_and(arguments, |_| ())
}

/// The same, after `prepare` had a look at its command.
fn unprivileged_and(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Alone {
    Alone::start(|command, dir| {
        command.args(arguments);
        prepare(command);
        let is_root = fs::metadata("/proc/self").expect("proc is mounted").uid() == 0;
        if is_root && !is_reachable(dir) {
            eprintln!("run by root: other users are kept from {}", dir.display());
        } else if is_root {
            chown(dir, Some(NOBODY), Some(NOBODY)).expect("root gives files away");
            command.uid(NOBODY).gid(NOBODY);
        }
    })
}

/// A process that cannot be dumped belongs to root in `/proc`, whoever runs it.
#[test]
fn memory_is_kept_from_core_files_unless_allowed() {
    for (arguments, allowed) in [(&[][..], false), (&["--allow-core-dumps"][..], true)] {
        let mut server = unprivileged(arguments);
        let host = server.host().expect("it starts");
        let mut client = Client::new(&host, None);
        client.post("/v1/basins", &json!({ "basin": "any-basin" })).status(201);
        client = client.in_basin("any-basin");
        client.create_stream("s");
        client.append_bodies("s", &["a"]);
        assert_eq!(client.read_bodies("s", "seq_num=0"), ["a"]);
        assert!(client.metric("process_open_fds") > 5, "it can look at itself");
        let proc = format!("/proc/{}/environ", server.child.id());
        let owner = fs::metadata(&proc).expect("the process runs").uid();
        let own = fs::metadata(server.dir.join("data")).expect("it is there").uid();
        assert_eq!(owner, if allowed { own } else { 0 }, "{arguments:?}");
        assert_eq!(server.read("stderr").contains("core dumps are allowed"), allowed);
    }
}

/// The kernel counts an executor's rings as locked memory of whoever has no right to more.
#[test]
fn a_server_that_may_lock_no_memory_ends_and_says_why() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let mut server = unprivileged_and(&[], |command| {
        let lower = move || setrlimit(Resource::Memlock, none).map_err(Into::into);
        // SAFETY: between fork and exec it makes one system call and allocates nothing.
        unsafe { command.pre_exec(lower) };
    });
    if fs::metadata(&server.dir).expect("its directory").uid() == 0 {
        eprintln!("run by root, whose server lifts the limit: nothing to see");
        return;
    }
    let status = server.host().expect_err("it must not start");
    let said = server.read("stderr");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("io_uring is refused: "), "{said}");
    assert!(said.contains("raise the limit of locked memory"), "{said}");
}
