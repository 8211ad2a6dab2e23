//! Access tokens: issuing, listing, revoking; what is kept; the root token and the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::common::client::{Client, percent_encoded};
use crate::common::http::{Request, Response};
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, now_ms, poll, unique_name};

const ROOT: &str = "root-token-of-a-test";

fn everything() -> Value {
    let both = json!({ "read": true, "write": true });
    json!({
        "basins": { "prefix": "" },
        "streams": { "prefix": "" },
        "access_tokens": { "prefix": "" },
        "op_groups": { "account": both, "basin": both, "stream": both },
    })
}

fn issue(client: &mut Client, id: &str) -> Response {
    client.post("/v1/access-tokens", &json!({ "id": id, "scope": everything() }))
}

fn revoke(client: &mut Client, id: &str) -> Response {
    client.delete(&format!("/v1/access-tokens/{}", percent_encoded(id)))
}

/// Ids of a page, and whether there is more.
fn listed(client: &mut Client, query: &str) -> (Vec<String>, bool) {
    let page = client.get(&format!("/v1/access-tokens?{query}"));
    let tokens = page.status(200).at("/access_tokens");
    let ids = tokens.as_array().expect("a list").iter().map(|token| token["id"].as_str());
    let ids = ids.map(|id| id.expect("a text").to_owned()).collect();
    (ids, page.at("/has_more") == json!(true))
}

#[test]
fn case_76_a_token_is_issued_listed_and_revoked() {
    let mut client = Server::shared().client();
    let id = format!("{}/é b", unique_name("token"));
    let issued = issue(&mut client, &id);
    issued.status(201);
    let secret = issued.at("/access_token");
    let secret = secret.as_str().expect("a text");
    assert!(secret.len() >= 40 && secret.bytes().all(|b| b.is_ascii_graphic()), "{issued}");
    issue(&mut client, &id).refused(409, "resource_already_exists");

    let page = client.get(&format!("/v1/access-tokens?prefix={}", percent_encoded(&id)));
    let off = json!({ "read": true, "write": true });
    let expected = json!({
        "id": id,
        "expires_at": null,
        "auto_prefix_streams": false,
        "scope": {
            "basins": { "prefix": "" },
            "streams": { "prefix": "" },
            "access_tokens": { "prefix": "" },
            "op_groups": { "account": off, "basin": off, "stream": off },
            "ops": [],
        },
    });
    page.is(200, &json!({ "access_tokens": [expected], "has_more": false }));

    let revoked = revoke(&mut client, &id);
    assert!(revoked.status(204).body.is_empty(), "{revoked}");
    revoke(&mut client, &id).refused(404, "access_token_not_found");
    revoke(&mut client, "never-there").refused(404, "access_token_not_found");
    issue(&mut client, &id).status(201);
}

#[test]
fn case_76_senseless_tokens_are_refused_in_these_words() {
    let mut client = Server::shared().client();
    let id = unique_name("senseless");
    let mut refuse = |body: Value| client.post("/v1/access-tokens", &body);
    let prefixing = json!({ "streams": { "exact": "s" }, "ops": ["read"] });
    for (body, message) in [
        (json!({ "id": id, "scope": { "ops": [] } }), "Access token permissions cannot be empty"),
        (
            json!({ "id": id, "scope": prefixing, "auto_prefix_streams": true }),
            "Auto prefixing is only allowed for streams with prefix matching",
        ),
    ] {
        let refused = refuse(body);
        assert_eq!(refused.refused(422, "invalid").at("/message"), json!(message));
    }
    let past = json!({ "id": id, "scope": everything(), "expires_at": "2020-01-01T00:00:00Z" });
    refuse(past).refused(422, "invalid");
    for body in [
        json!({ "scope": everything() }),
        json!({ "id": id }),
        json!({ "id": "", "scope": everything() }),
        json!({ "id": "..", "scope": everything() }),
        json!({ "id": "a\u{0}b", "scope": everything() }),
        json!({ "id": "a".repeat(97), "scope": everything() }),
        json!({ "id": id, "scope": { "ops": ["fly"] } }),
        json!({ "id": id, "scope": everything(), "expires_at": "soon" }),
    ] {
        refuse(body).refused(400, "bad_json");
    }
    let long = json!({ "id": id, "scope": everything(), "padding": "x".repeat(70_000) });
    refuse(long).refused(413, "content_too_large");
    assert_eq!(listed(&mut client, &format!("prefix={id}")).0, Vec::<String>::new());
}

#[test]
fn tokens_are_listed_in_pages() {
    let mut client = Server::shared().client();
    let prefix = unique_name("pages");
    let ids: Vec<String> = (0..5).map(|number| format!("{prefix}/{number}")).collect();
    for id in ids.iter().rev() {
        issue(&mut client, id).status(201);
    }
    let mut found = Vec::new();
    let mut more = true;
    while more {
        let after = found.last().cloned().unwrap_or_default();
        let page = listed(&mut client, &format!("prefix={prefix}/&limit=2&start_after={after}"));
        assert!(page.0.len() <= 2);
        found.extend(page.0);
        more = page.1;
    }
    assert_eq!(found, ids);
    assert_eq!(listed(&mut client, &format!("prefix={prefix}/&limit=5")), (ids, false));
    client.get("/v1/access-tokens?limit=x").refused(400, "bad_query");
    client.get("/v1/access-tokens?prefix=a%00").refused(400, "bad_query");
    client.delete("/v1/access-tokens/a%00b").refused(400, "bad_path");
}

#[test]
fn an_expired_token_counts_as_absent() {
    let mut client = Server::shared().client();
    let id = unique_name("brief");
    let now = jiff::Timestamp::now();
    let expires_at = (now + jiff::SignedDuration::from_millis(700)).to_string();
    let body = json!({ "id": id, "scope": everything(), "expires_at": expires_at });
    client.post("/v1/access-tokens", &body).status(201);
    assert_eq!(listed(&mut client, &format!("prefix={id}")).0.len(), 1);
    let gone = poll(EVENTUALLY_WAIT, || {
        listed(&mut client, &format!("prefix={id}")).0.is_empty().then_some(())
    });
    assert!(gone.is_some(), "it is still listed");
    revoke(&mut client, &id).refused(404, "access_token_not_found");
    issue(&mut client, &id).status(201);
}

/// Whether any file of the data directory holds these bytes.
fn is_on_disk(server: &Server, needle: &str) -> bool {
    let mut left = vec![server.data_dir()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).expect("readable").map(|e| e.expect("there").path()));
            continue;
        }
        let bytes = fs::read(&path).expect("readable");
        if memchr::memmem::find(&bytes, needle.as_bytes()).is_some() {
            return true;
        }
    }
    false
}

#[test]
fn tokens_survive_crashes_and_their_secrets_are_nowhere() {
    let Some(mut server) = Server::start() else { return };
    let mut client = server.client();
    let secret = issue(&mut client, "kept").at("/access_token");
    issue(&mut client, "gone").status(201);
    revoke(&mut client, "gone").status(204);
    for crashes in [true, false] {
        if crashes {
            server.kill();
        } else {
            assert!(server.terminate().0.success());
        }
        assert!(is_on_disk(&server, "\"kept\""), "the log is looked at");
        assert!(!is_on_disk(&server, secret.as_str().expect("a text")));
        let (status, said) = server.verify();
        assert!(status.success(), "{said}");
        server.restart();
        client = server.client();
        assert_eq!(listed(&mut client, ""), (vec!["kept".to_owned()], false));
        issue(&mut client, "kept").refused(409, "resource_already_exists");
    }
    revoke(&mut client, "kept").status(204);
}

/// A request in the name of who has this secret.
fn ask(client: &mut Client, secret: &str, request: Request) -> Response {
    client.send(request.header("authorization", format!("Bearer {secret}")))
}

#[test]
fn with_a_root_token_everybody_must_say_who_they_are() {
    let Some(mut server) = Server::start_with(2, &[("THALWEG_ROOT_TOKEN", ROOT)]) else { return };
    let basins = || Request::get("/v1/basins");
    server.client().get("/v1/basins").refused(401, "authn");
    ask(&mut server.client(), "another-token-than-that", basins()).refused(401, "authn");
    ask(&mut server.client(), ROOT, basins()).status(200);

    let scope = json!({ "basins": { "prefix": "" }, "ops": ["list-basins"] });
    let body = json!({ "id": "lister", "scope": scope });
    let issued = ask(&mut server.client(), ROOT, Request::post("/v1/access-tokens", &body));
    let secret = issued.status(201).at("/access_token");
    let secret = secret.as_str().expect("a text");
    // Connections are spread over the cores; each of them knows it.
    for _ in 0..8 {
        ask(&mut server.client(), secret, basins()).status(200);
    }
    let tokens = Request::get("/v1/access-tokens");
    ask(&mut server.client(), secret, tokens).refused(403, "permission_denied");
    server.kill();
    server.restart();
    for _ in 0..8 {
        ask(&mut server.client(), secret, basins()).status(200);
    }
    let revoked =
        ask(&mut server.client(), ROOT, Request::new("DELETE", "/v1/access-tokens/lister"));
    revoked.status(204);
    for _ in 0..8 {
        ask(&mut server.client(), secret, basins()).refused(401, "authn");
    }
}

#[test]
fn operations_on_tokens_are_counted() {
    let Some(server) = Server::start() else { return };
    let mut client = server.client();
    for id in ["a", "b", "a"] {
        issue(&mut client, id);
    }
    listed(&mut client, "");
    revoke(&mut client, "b").status(204);
    let now = now_ms() / 1000;
    let (start, end) = (now - 86_400, now + 60);
    let target = format!("/v1/metrics?set=account-ops&start={start}&end={end}&interval=day");
    let metrics = client.get(&target).status(200).at("/values");
    let metrics = metrics.as_array().expect("a list");
    for (name, count) in
        [("issue-access-token", 2), ("list-access-tokens", 1), ("revoke-access-token", 1)]
    {
        let mut series = metrics.iter().map(|metric| &metric["accumulation"]);
        let Some(found) = series.find(|series| series["name"] == name) else {
            panic!("{name} is not counted: {metrics:?}");
        };
        let values = found["values"].as_array().expect("a series");
        let sum: u64 = values.iter().map(|point| point[1].as_u64().expect("a count")).sum();
        assert_eq!(sum, count, "{name}");
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(arguments)
        .output()
        .expect("the server's binary can be run")
}

#[test]
fn a_token_is_issued_while_no_server_runs() {
    let Some(mut server) = Server::start_with(2, &[("THALWEG_ROOT_TOKEN", ROOT)]) else { return };
    let scope = json!({ "basins": { "prefix": "" }, "ops": ["list-basins"] }).to_string();
    let dir = server.data_dir();
    let dir = dir.to_str().expect("UTF-8").to_owned();
    let issue = |id: &str, scope: &str| {
        let output = run(&["token", "issue", "--data-dir", &dir, "--id", id, "--scope", scope]);
        let said = String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned();
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(said) } else { Err(complained) }
    };
    let refused = issue("offline", &scope).expect_err("a server runs");
    assert!(refused.contains("another server uses"), "{refused}");
    assert!(server.terminate().0.success());
    let secret = issue("offline", &scope).expect("issued");
    for (id, scope, reason) in [
        ("offline", scope.as_str(), "already exists"),
        ("other", "{}", "permissions cannot be empty"),
        ("other", "{", "cannot be read as JSON"),
        ("..", scope.as_str(), "access token id"),
    ] {
        let refused = issue(id, scope).expect_err(reason);
        assert!(refused.contains(reason), "{refused}");
    }
    assert!(!is_on_disk(&server, &secret));
    server.restart();
    ask(&mut server.client(), &secret, Request::get("/v1/basins")).status(200);
    let page = ask(&mut server.client(), ROOT, Request::get("/v1/access-tokens"));
    assert_eq!(page.status(200).at("/access_tokens/0/id"), json!("offline"));
}

#[test]
fn root_tokens_are_made_and_kept_from_others() {
    let made = || String::from_utf8(run(&["token", "generate"]).stdout).expect("UTF-8");
    let root = made();
    assert!(root.starts_with("tw_") && root != made(), "{root}");

    let dir = tempfile::TempDir::new().expect("made");
    let file = dir.path().join("root");
    fs::write(&file, &root).expect("written");
    let data = dir.path().join("data");
    let serve = || {
        let (file, data) = (file.to_str().expect("UTF-8"), data.to_str().expect("UTF-8"));
        let output = run(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            data,
            "--root-token-file",
            file,
        ]);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("set");
    let said = serve();
    assert!(said.contains("open to every user") && !said.contains(root.trim_end()), "{said}");
    fs::write(&file, "short\n").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
    assert!(serve().contains("16 to 512 visible ASCII characters"));
    assert!(!data.exists(), "nothing was made");
}

/// Anybody may have issued them: who has closed the server since is told.
#[test]
fn a_server_that_was_open_says_that_tokens_of_that_time_still_hold() {
    let Some(mut server) = Server::start() else { return };
    let mut client = server.client();
    for id in ["a", "b", "c"] {
        issue(&mut client, id).status(201);
    }
    revoke(&mut client, "b").status(204);
    server.terminate();
    server.restart();
    assert!(!server.said().contains("revoke those"), "nobody is asked for a token still");
    server.terminate();
    server.restart_with(("THALWEG_ROOT_TOKEN", ROOT));
    let said = server.said();
    let told: Vec<_> = said.lines().filter(|line| line.contains("revoke those")).collect();
    assert!(told.len() == 1 && told[0].contains("count=2"), "{said}");
    let mut client = server.client().with_token(ROOT);
    issue(&mut client, "d").status(201);
    revoke(&mut client, "a").status(204);
    revoke(&mut client, "c").status(204);
    server.terminate();
    server.restart();
    let again = server.said().matches("revoke those").count();
    assert_eq!(again, 1, "the one that root issued is root's to know");
}
