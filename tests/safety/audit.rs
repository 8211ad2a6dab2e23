//! The audit log: every change, every refusal of access, and nothing that is secret.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::client::{Client, stream_path};
use crate::common::http::{Conn, Request};
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, Stopwatch, poll, unique_name};

/// A file of a test's own, removed at its end.
pub(crate) struct Temporary(pub(crate) PathBuf);

impl Temporary {
    pub(crate) fn new(label: &str) -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name(label)))
    }

    /// Settings of the harness live as long as the process.
    pub(crate) fn setting(&self) -> &'static str {
        Box::leak(self.0.to_str().expect("a plain path").to_owned().into_boxed_str())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may never have been made.
        let _removed = fs::remove_file(&self.0);
    }
}

fn change_things(client: &mut Client) {
    client.post("/v1/basins", &json!({ "basin": "audited-basin" })).status(201);
    client.post("/v1/basins", &json!({ "basin": "audited-basin" })).status(409);
    client.patch("/v1/basins/audited-basin", &json!({ "create_stream_on_append": true }));
    client.get("/v1/basins").status(200);
    let mut inside = client.another().in_basin("audited-basin");
    inside.create_stream("odd\nname \"quoted\"");
    inside.append_bodies("odd\nname \"quoted\"", &["a body"]);
    inside.delete(&stream_path("odd\nname \"quoted\"")).status(202);
    client.delete("/v1/basins/audited-basin").status(202);
    let scope = json!({ "basins": { "prefix": "" }, "ops": ["list-basins"] });
    let token = json!({ "id": "audited-token", "scope": scope });
    client.post("/v1/access-tokens", &token).status(201);
    client.delete("/v1/access-tokens/audited-token").status(204);
}

fn without<'a>(line: &'a Value, names: &[&str]) -> Vec<(&'a str, &'a Value)> {
    let members = line.as_object().expect("an object").iter();
    members.map(|(n, v)| (n.as_str(), v)).filter(|(n, _)| !names.contains(n)).collect()
}

#[test]
fn changes_are_lines_of_json_in_a_file_of_their_own() {
    let file = Temporary::new("audit");
    let settings = [("THALWEG_AUDIT_LOG", file.setting()), ("THALWEG_LOG", "trace")];
    let Some(mut server) = Server::start_with(2, &settings) else { return };
    change_things(&mut server.client());
    server.terminate();
    let mode = fs::metadata(&file.0).expect("the audit log").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&file.0).expect("the audit log");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            assert!(line["peer"].as_str().is_some_and(|p| p.starts_with("127.0.0.1:")), "{line}");
            assert!(line["timestamp"].is_string() && line["by"] == "open", "{line}");
            assert_eq!(line["target"], "thalweg::audit", "{line}");
            without(line, &["peer", "timestamp", "by", "target", "level", "message"])
        })
        .map(|members| json!(members.into_iter().collect::<std::collections::BTreeMap<_, _>>()))
        .collect();
    let basin = "audited-basin";
    let stream = "odd\nname \"quoted\"";
    let exists = "resource_already_exists";
    let expected = [
        json!({ "operation": "create_basin", "basin": basin, "status": 201 }),
        json!({ "operation": "create_basin", "basin": basin, "status": 409, "code": exists }),
        json!({ "operation": "reconfigure_basin", "basin": basin, "status": 200 }),
        json!({ "operation": "create_stream", "basin": basin, "stream": stream, "status": 201 }),
        json!({ "operation": "delete_stream", "basin": basin, "stream": stream, "status": 202 }),
        json!({ "operation": "delete_basin", "basin": basin, "status": 202 }),
        json!({ "operation": "issue_access_token", "token": "audited-token", "status": 201 }),
        json!({ "operation": "revoke_access_token", "token": "audited-token", "status": 204 }),
    ];
    assert_eq!(told, expected, "{text}");
    assert!(!server.said().contains("thalweg::audit"), "it is in the file alone");
}

#[test]
fn without_a_file_they_are_among_the_other_lines_one_each() {
    let Some(mut server) = Server::start() else { return };
    change_things(&mut server.client());
    server.terminate();
    let said = server.said();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("thalweg::audit")).collect();
    assert_eq!(lines.len(), 8, "{said}");
    // A name that could end a line does not.
    assert!(lines[3].contains(r#"stream="odd\nname \"quoted\"""#), "{}", lines[3]);
    assert!(!said.lines().any(|line| line.starts_with("name ")), "{said}");
    assert!(lines[1].contains("code=\"resource_already_exists\""), "{}", lines[1]);
}

/// Refusals of access, written one by one, and said to be left out.
fn refusals(text: &str) -> (usize, u64) {
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let written = lines.iter().filter(|line| line["status"] == 401).count();
    (written, lines.iter().filter_map(|line| line["left_out"].as_u64()).sum())
}

#[test]
fn a_flood_of_refusals_is_counted() {
    const SENT: usize = 1000;
    let (file, token) = (Temporary::new("audit"), Temporary::new("token"));
    fs::write(&token.0, "scrape-token-0123456789").expect("a file");
    fs::set_permissions(&token.0, fs::Permissions::from_mode(0o600)).expect("its mode");
    let settings =
        [("THALWEG_AUDIT_LOG", file.setting()), ("THALWEG_METRICS_TOKEN_FILE", token.setting())];
    let Some(server) = Server::start_with(1, &settings) else { return };
    let watch = Stopwatch::start();
    let mut conn = Conn::open(server.host());
    let one = Request::get("/metrics").encode(server.host());
    for _ in 0..SENT / 100 {
        conn.write(&one.repeat(100)).expect("they are taken");
        for _ in 0..100 {
            conn.read_response("GET").expect("an answer").status(401);
        }
    }
    let seconds = 2 + usize::try_from(watch.elapsed().as_secs()).expect("few");
    let text = || fs::read_to_string(&file.0).expect("the audit log");
    let all = || {
        let (written, left_out) = refusals(&text());
        (written + usize::try_from(left_out).expect("few") == SENT).then_some(written)
    };
    let written = poll(EVENTUALLY_WAIT, all);
    let written = written.unwrap_or_else(|| panic!("some are missing: {:?}", refusals(&text())));
    assert!((100..=100 * seconds).contains(&written), "{written} in {seconds} s");
}

#[test]
fn an_audit_log_that_cannot_be_had_is_no_start() {
    let Some(mut server) = Server::start() else { return };
    server.kill();
    let (status, said) = server.rival_with(&[("THALWEG_AUDIT_LOG", "/nowhere/audit.jsonl")]);
    assert!(status.is_some_and(|status| status.code() == Some(1)), "{status:?} {said}");
    assert!(said.contains("audit log /nowhere/audit.jsonl"), "{said}");
}
