//! Each way in which a server cannot start, and the sentence that it ends with.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Own;
use crate::alone::Alone;
use crate::common::{PROCESS_WAIT, poll};

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

fn serve(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.args(["serve", "--shards=1", "--segment-bytes=8388608"]).args(arguments);
    if !arguments.iter().any(|argument| argument.starts_with("--listen")) {
        command.arg("--listen=127.0.0.1:0");
    }
    command.arg("--data-dir").arg(dir).stdin(Stdio::null());
    command
}

/// Under limits that the shell sets first.
fn limited(dir: &Path, limit: &str) -> Command {
    let inner = serve(dir, &[]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")]).arg(inner.get_program());
    command.args(inner.get_args()).stdin(Stdio::null());
    command
}

/// Runs a server that must end by itself with status 1, and gives all that it said.
#[track_caller]
fn run_to_end(mut command: Command) -> String {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be run");
    let status = poll(PROCESS_WAIT, || child.try_wait().expect("a child's state"));
    if status.is_none() {
        child.kill().expect("it can be killed");
    }
    let output = child.wait_with_output().expect("its words");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{said}");
    said
}

#[track_caller]
fn says(command: Command, words: &[&str]) {
    let said = run_to_end(command);
    assert!(!said.contains("panicked"), "{said}");
    let said = said.lines().last().unwrap_or_default();
    for words in [&["thalweg: "], words].concat() {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn rings_are_refused() {
    let own = Own::new();
    let data = own.0.join("data");
    let mut command = serve(&data, &[]);
    crate::filter::refuse(&mut command, crate::filter::without_rings(1));
    says(command, &["io_uring is refused: Operation not permitted", "seccomp filter is in force"]);
    assert!(!data.exists(), "nothing was made");
}

/// "A core ended early" was all that was said when an executor failed on its own thread.
#[cfg(target_arch = "x86_64")]
#[test]
fn an_executor_fails_on_its_own_thread() {
    let own = Own::new();
    let mut command = serve(&own.0.join("data"), &[]);
    crate::filter::refuse(&mut command, crate::filter::without_registering());
    let said = run_to_end(command);
    assert!(said.contains("an executor could not be started"), "{said}");
    assert!(!said.contains("a core ended early"), "{said}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_file_system_has_no_direct_io() {
    let own = Own::new();
    let data = own.0.join("data");
    let mut command = serve(&data, &[]);
    crate::filter::refuse(&mut command, crate::filter::without_direct_io());
    says(command, &["refuses direct I/O (O_DIRECT)", "put the data directory on ext4 or XFS"]);
    assert!(!data.exists(), "nothing was made");
}

#[test]
fn too_few_files_may_be_open() {
    let own = Own::new();
    says(
        limited(&own.0.join("data"), "ulimit -n 100"),
        &["100 files and connections may be open", "needs 128 to start", "LimitNOFILE"],
    );
}

/// A server of a user without rights, since root lifts the limit, under limits that the shell
/// sets; `None` where other users are kept from it.
fn of_nobody(limit: &str) -> Option<Alone> {
    let is_root = fs::metadata("/proc/self").expect("proc is mounted").uid() == 0;
    let mut is_reachable = true;
    let server = Alone::start(|command, dir| {
        let binary = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = Command::new("sh");
        command.args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")]).arg(binary);
        command.args(arguments).current_dir(dir).stdin(Stdio::null());
        let is_open = |dir: &Path| fs::metadata(dir).is_ok_and(|d| d.mode() & 1 == 1);
        is_reachable = !is_root || dir.ancestors().skip(1).all(is_open);
        if is_root && is_reachable {
            chown(dir, Some(NOBODY), Some(NOBODY)).expect("root gives files away");
            command.uid(NOBODY).gid(NOBODY);
        }
    });
    if !is_reachable {
        eprintln!("skipped: other users are kept from {}", server.dir.display());
    }
    is_reachable.then_some(server)
}

#[test]
fn too_little_memory_may_be_locked() {
    let Some(mut server) = of_nobody("ulimit -l 64") else { return };
    let status = server.host().expect_err("it must not start");
    let said = server.read("stderr");
    assert_eq!(status.code(), Some(1), "{said}");
    for words in ["memlock: 64 KiB of memory may be locked", "512 KiB", "LimitMEMLOCK=infinity"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
}

#[test]
fn a_limit_of_locked_memory_that_may_be_raised_is_raised() {
    let Some(mut server) = of_nobody("ulimit -S -l 64 && ulimit -H -l 4096") else { return };
    let host = server.host().unwrap_or_else(|status| panic!("{status}: {}", server.read("stderr")));
    assert!(!host.is_empty());
}

#[test]
fn the_directory_may_not_be_written() {
    let own = Own::new();
    let closed = own.0.join("closed");
    fs::create_dir(&closed).expect("a directory");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).expect("its mode");
    let user = fs::metadata("/proc/self").expect("proc is mounted").uid();
    // Root, too: the server has given up the right to write everywhere.
    let said = format!("user {user} may not do that");
    says(serve(&closed.join("data"), &[]), &["Permission denied", &said, "chown"]);
    says(serve(&closed, &[]), &["Permission denied", &said]);
}

#[test]
fn the_directory_is_a_file_or_of_another_format() {
    let own = Own::new();
    let file = own.0.join("file");
    fs::write(&file, "x").expect("a file");
    says(serve(&file, &[]), &["a file has that name"]);
    let data = own.0.join("data");
    fs::create_dir(&data).expect("a directory");
    fs::write(data.join("directory.json"), r#"{"format_version": 99}"#).expect("a file");
    says(serve(&data, &[]), &["format version 99", "the release that made it"]);
}

#[test]
fn the_disk_has_no_room_for_a_new_directory() {
    let own = Own::new();
    let data = own.0.join("data");
    // Two tebibytes: more than is free where tests run.
    let arguments = ["--shards=1024", "--segment-bytes=2147483648", "--listen=127.0.0.1:0"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.arg("serve").args(arguments).arg("--data-dir").arg(&data).stdin(Stdio::null());
    says(command, &["are free", "segments of all shards take 2097152 MiB", "make room"]);
    assert!(!data.exists(), "nothing was made");
}

#[test]
fn the_port_is_taken_or_the_directory_in_use() {
    let own = Own::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address");
    let listen = format!("--listen={address}");
    says(serve(&own.0.join("data"), &[&listen]), &[&format!("cannot listen on {address}")]);
    let lock = fs::File::create(own.0.join("data/lock")).expect("the lock's file");
    lock.try_lock().expect("nobody has it");
    says(serve(&own.0.join("data"), &[]), &["another server uses", "stop that server"]);
}
