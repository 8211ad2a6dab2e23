//! SIGHUP: what may change does, of the rest it is said that it needs a restart.

use std::fs;

use serde_json::json;

use crate::common::server::Server;
use crate::common::{PROCESS_WAIT, poll};
use crate::program::Files;

/// How often something was said so far.
fn times(server: &Server, words: &str) -> usize {
    server.said().matches(words).count()
}

/// Sends the signal and waits until its end is logged once more.
fn hang_up(server: &Server, words: &str) {
    let before = times(server, words);
    server.signal("HUP");
    let more = poll(PROCESS_WAIT, || (times(server, words) > before).then_some(()));
    assert!(more.is_some(), "{words:?} is not logged: {}", server.said());
}

fn create(server: &Server, basin: &str) {
    server.client().post("/v1/basins", &json!({ "basin": basin })).status(201);
}

const READ: &str = "the settings were read again";

#[test]
fn logs_change_and_the_rest_needs_a_restart() {
    let files = Files::new();
    files.write("t.toml", "idle_secs = 100\nlog_level = \"info,audit=off\"\n");
    let settings = [("THALWEG_CONFIG", files.setting("t.toml"))];
    let Some(mut server) = Server::start_with(1, &settings) else { return };
    create(&server, "basin-one");
    hang_up(&server, READ);
    assert_eq!(times(&server, "need_a_restart"), 0, "nothing changed: {}", server.said());
    files.write("t.toml", "idle_secs = 101\nshards = 7\n");
    hang_up(&server, READ);
    // The flag of the harness is above the file.
    let said = "applied=\"log_level\" need_a_restart=\"idle_secs\"";
    assert_eq!(times(&server, said), 1, "{}", server.said());
    create(&server, "basin-two");
    files.write("t.toml", "idel_secs = 102\n");
    hang_up(&server, "the settings cannot be used; the old ones stay");
    assert_eq!(times(&server, "did you mean idle_secs?"), 1, "{}", server.said());
    create(&server, "basin-three");
    server.terminate();
    let said = server.said();
    let audited: Vec<_> = said.lines().filter(|line| line.contains("thalweg::audit")).collect();
    assert_eq!(audited.len(), 2, "{said}");
    assert!(audited[0].contains("basin-two") && audited[1].contains("basin-three"), "{said}");
}

#[test]
fn the_audit_log_moves_on() {
    let files = Files::new();
    let settings = [("THALWEG_AUDIT_LOG", files.setting("audit"))];
    let Some(mut server) = Server::start_with(1, &settings) else { return };
    create(&server, "basin-one");
    fs::rename(files.path("audit"), files.path("audit.1")).expect("it is moved away");
    create(&server, "basin-two");
    hang_up(&server, READ);
    create(&server, "basin-three");
    server.terminate();
    let (old, new) = (files.read("audit.1"), files.read("audit"));
    assert_eq!((old.lines().count(), new.lines().count()), (2, 1), "{old}\n{new}");
    assert!(old.contains("basin-one") && old.contains("basin-two"), "{old}");
    assert!(new.contains("basin-three"), "{new}");
}
