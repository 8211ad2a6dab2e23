//! What an operator does with a server: backup and restore, also of one at work; starting and
//! ending it as a service; running it in a container.

mod common;

#[path = "operating/at_work.rs"]
mod at_work;
#[path = "operating/container.rs"]
mod container;
#[path = "operating/documented.rs"]
mod documented;
#[path = "operating/interrupted.rs"]
mod interrupted;
#[path = "operating/refused.rs"]
mod refused;
#[path = "operating/service.rs"]
mod service;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use common::client::{Client, fresh_basin_on};
use common::server::Server;
use common::unique_name;

/// Runs the binary; gives whether it succeeded, and everything that it said.
fn thalweg<S: AsRef<OsStr>>(arguments: &[S]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary can be run");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Text with its lines joined, wherever they were broken.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A directory for a test's backups, removed with it.
struct Room(PathBuf);

impl Room {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("backups"));
        fs::create_dir_all(&path).expect("a directory can be made");
        Self(path)
    }

    /// A path in it.
    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_else(|error| eprintln!("{error}"));
    }
}

/// Backs the server's directory up; must succeed.
#[track_caller]
fn back_up(server: &Server, to: &str, more: &[&str]) -> String {
    let data_dir = server.data_dir();
    let data_dir = data_dir.to_str().expect("UTF-8");
    let arguments = [&["backup", "--data-dir", data_dir, "--to", to], more].concat();
    let (ended_well, said) = thalweg(&arguments);
    assert!(ended_well && said.contains("backup complete"), "{said}");
    said
}

/// Stops the server and starts it on what a backup holds instead.
#[track_caller]
fn restart_from(server: &mut Server, backup: &str) {
    server.terminate();
    let data_dir = server.data_dir();
    fs::remove_dir_all(&data_dir).expect("the data directory can be removed");
    let (ended_well, said) =
        thalweg(&["restore", "--from", backup, "--data-dir", data_dir.to_str().expect("UTF-8")]);
    assert!(ended_well && said.contains("restored"), "{said}");
    assert_private(&data_dir);
    server.restart();
}

/// All files below `path`.
fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(path) else { return files };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Whether nobody but the owner may do anything with what is below `path`.
#[track_caller]
fn assert_private(path: &Path) {
    for file in files_below(path).iter().flat_map(|file| file.ancestors()) {
        if !file.starts_with(path) {
            continue;
        }
        let mode = fs::metadata(file).expect("there").permissions().mode() & 0o777;
        let expected = if file.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{}: {mode:o}", file.display());
    }
}

/// A server with a stream "s" of a few records.
fn with_records(settings: &[(&'static str, &'static str)]) -> Option<(Server, Client)> {
    let server = Server::start_with(2, settings)?;
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    client.append_bodies("s", &["first", "second"]);
    Some((server, client))
}
