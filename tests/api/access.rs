//! A server with a root token: who is let in, what they may do, and which names they see.

use serde_json::{Value, json};

use crate::common::client::{Client, batch, fresh_basin_on, percent_encoded};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::{Conn, Request};
use crate::common::server::Server;
use crate::common::session::{append_request, read_request};
use crate::common::sse::sse_request;
use crate::common::unique_name;

const ROOT: &str = "root-token-of-a-test";

fn enforced() -> Option<Server> {
    Server::start_with(2, &[("THALWEG_ROOT_TOKEN", ROOT)])
}

fn root(server: &Server) -> Client {
    server.client().with_token(ROOT)
}

/// A client of the same basin with a token of this scope, and `more` members beside it.
fn holder(root: &mut Client, scope: &Value, more: &[(&str, Value)]) -> Client {
    let mut body = json!({ "id": unique_name("t"), "scope": scope });
    for (name, value) in more {
        body[name] = value.clone();
    }
    let issued = root.post("/v1/access-tokens", &body);
    let secret = issued.status(201).at("/access_token");
    root.another().with_token(secret.as_str().expect("a text"))
}

/// A client in a basin of its own with the root token.
fn root_in_basin(server: &Server) -> Client {
    let basin = unique_name("case");
    let mut client = root(server);
    client.post("/v1/basins", &json!({ "basin": basin })).status(201);
    client.in_basin(&basin)
}

/// Names in a list, and whether there is more.
fn listed(client: &mut Client, target: &str, list: &str, name: &str) -> (Vec<String>, bool) {
    let page = client.get(target);
    let items = page.status(200).at(list);
    let names = items.as_array().expect("a list").iter();
    let names = names.map(|item| item[name].as_str().expect("a text").to_owned()).collect();
    (names, page.at("/has_more") == json!(true))
}

fn streams(client: &mut Client, query: &str) -> (Vec<String>, bool) {
    listed(client, &format!("/v1/streams?{query}"), "/streams", "name")
}

#[test]
fn nobody_is_let_in_without_a_token_whatever_they_ask_for() {
    let Some(server) = enforced() else { return };
    let mut client = server.client().in_basin("test-basin-1");
    let long = format!("Bearer {}", "x".repeat(4000));
    let presented =
        [None, Some("Bearer wrong"), Some("Basic abc"), Some(ROOT), Some("Bearer"), Some(&*long)];
    for authorization in presented {
        for (method, target) in [
            ("GET", "/v1/basins"),
            ("POST", "/v1/basins"),
            ("GET", "/v1/streams"),
            ("POST", "/v1/streams/s/records"),
            ("GET", "/v1/streams/s/records?seq_num=x"),
            ("DELETE", "/v1/streams/s"),
            ("GET", "/v1/access-tokens"),
            ("GET", "/v1/metrics?set=account-ops"),
            ("GET", "/v1/locations"),
            ("GET", "/v1/nothing"),
            ("PATCH", "/v1/basins"),
        ] {
            let mut request = Request::new(method, target).json(&json!({ "no": "matter" }));
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let refused = client.send(request);
            refused.refused(401, "authn");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"), "{refused}");
            let body = String::from_utf8_lossy(&refused.body).into_owned();
            assert!(!body.contains("root-token") && !body.contains("xxxx"), "{body}");
        }
    }
    for target in ["/health", "/ping", "/metrics"] {
        client.get(target).status(200);
    }
    client.send(Request::new("OPTIONS", "/v1/basins")).status(200);
    let twice = Request::get("/v1/basins").header("authorization", format!("Bearer {ROOT}"));
    let twice = twice.header("authorization", format!("Bearer {ROOT}"));
    client.send(twice).refused(401, "authn");
    root(&server).get("/v1/basins").status(200);
}

#[test]
fn sessions_are_refused_before_they_open() {
    let Some(server) = enforced() else { return };
    let mut root = root_in_basin(&server);
    root.create_stream("s");
    let scope = json!({ "basins": { "prefix": "" }, "streams": { "exact": "other" },
                        "ops": ["append", "read"] });
    let elsewhere = holder(&mut root, &scope, &[]);
    let unknown = root.another().with_token("unknown");
    for protocol in Protocol::BOTH {
        for (client, status, code) in
            [(&unknown, 401, "authn"), (&elsewhere, 403, "permission_denied")]
        {
            let refused = |mut exchange: Exchange| {
                exchange.whole().refused(status, code);
            };
            refused(Exchange::start_open(client, protocol, append_request("s")));
            refused(Exchange::start(client, protocol, read_request("s", "seq_num=0")));
            refused(Exchange::start(client, protocol, sse_request("s", "seq_num=0")));
        }
    }
    assert_eq!(root.tail_seq_num("s"), 0);
}

#[test]
fn nothing_is_received_of_the_body_of_somebody_unknown() {
    let Some(server) = enforced() else { return };
    let client = server.client().in_basin("test-basin-1");
    for protocol in Protocol::BOTH {
        let request = || Request::new("POST", "/v1/streams/s/records");
        let json = request().header("content-type", "application/json");
        // The body never comes.
        Exchange::start_open(&client, protocol, json).whole().refused(401, "authn");
        let coded = request().header("content-encoding", "gzip");
        Exchange::start_open(&client, protocol, coded).whole().refused(401, "authn");
    }
    let head = Request::new("PUT", "/v1/basins/test-basin-1").encode_head(client.host());
    let sent = [&head[..], b"content-length: 16000000\r\n\r\nx"].concat();
    server.client().answered_and_closed(&sent, &[401]);
    // Nor where anybody may ask.
    for (method, path, status) in [
        ("POST", "/dashboard", 405),
        ("GET", "/health", 413),
        ("OPTIONS", "/v1/basins", 413),
        ("GET", "/metrics", 413),
    ] {
        let head = Request::new(method, path).encode_head(client.host());
        let sent = [&head[..], b"content-length: 16000000\r\n\r\nx"].concat();
        server.client().answered_and_closed(&sent, &[status]);
    }
    let asked = Request::new("POST", "/dashboard");
    assert_eq!(Exchange::start_open(&client, Protocol::Http2, asked).whole().status, 405);
}

#[test]
fn a_token_permits_what_it_says_and_nothing_else() {
    let Some(server) = enforced() else { return };
    let mut root = root_in_basin(&server);
    let other = fresh_other_basin(&mut root);
    root.create_stream("logs/a");
    root.create_stream("s");
    root.append_bodies("logs/a", &["x"]);
    let basin = root.basin().to_owned();
    let scope = json!({
        "basins": { "exact": basin },
        "streams": { "prefix": "logs/" },
        "op_groups": { "stream": { "read": true } },
        "ops": ["append", "list-streams", "create-stream", "list-basins"],
    });
    let mut client = holder(&mut root, &scope, &[]);
    let denied = "permission_denied";
    assert_eq!(client.read_bodies("logs/a", "seq_num=0"), ["x"]);
    client.append_bodies("logs/a", &["y"]);
    assert_eq!(client.tail_seq_num("logs/a"), 2);
    client.create_stream("logs/b");
    client.get("/v1/streams/logs%2Fa").status(200);

    client.read("s", "seq_num=0").refused(403, denied);
    client.append("s", &batch(&["x"])).refused(403, denied);
    client.append("missing", &batch(&["x"])).refused(403, denied);
    client.post("/v1/streams", &json!({ "stream": "t" })).refused(403, denied);
    client.put("/v1/streams/logs%2Fb", &json!({})).refused(403, denied);
    client.delete("/v1/streams/logs%2Fa").refused(403, denied);
    client.get(&format!("/v1/basins/{basin}")).refused(403, denied);
    client.post("/v1/basins", &json!({ "basin": "basin-of-mine" })).refused(403, denied);
    client.get("/v1/access-tokens").refused(403, denied);
    client.get("/v1/locations").refused(403, denied);
    client.get("/v1/metrics?set=account-ops&start=1&end=2").refused(403, denied);
    let elsewhere = Request::get("/v1/streams").header("s2-basin", &other);
    client.send(elsewhere).refused(403, denied);

    let seen = streams(&mut client, "");
    assert_eq!(seen, (vec!["logs/a".to_owned(), "logs/b".to_owned()], false));
    assert_eq!(streams(&mut client, "limit=1"), (vec!["logs/a".to_owned()], true));
    assert_eq!(streams(&mut client, "prefix=s"), (vec![], false));
    let basins = listed(&mut client, "/v1/basins", "/basins", "name");
    assert_eq!(basins, (vec![basin], false));
}

fn fresh_other_basin(root: &mut Client) -> String {
    let basin = unique_name("other");
    root.post("/v1/basins", &json!({ "basin": basin })).status(201);
    basin
}

#[test]
fn commands_need_an_operation_each() {
    let Some(server) = enforced() else { return };
    let mut root = root_in_basin(&server);
    root.create_stream("s");
    let with = |root: &mut Client, ops: &[&str]| {
        let all = json!({ "prefix": "" });
        holder(root, &json!({ "basins": all, "streams": all, "ops": ops }), &[])
    };
    let data = || json!({ "body": "x" });
    let trim = || json!({ "headers": [["", "trim"]], "body": "\0\0\0\0\0\0\0\0" });
    let fence = || json!({ "headers": [["", "fence"]], "body": "" });
    for (ops, records, is_fine) in [
        (&["append"][..], json!([data(), data()]), true),
        (&["append"], json!([data(), trim()]), false),
        (&["append"], json!([fence()]), false),
        (&["trim"], json!([trim()]), true),
        (&["trim"], json!([trim(), fence()]), false),
        (&["trim"], json!([data()]), false),
        (&["fence", "trim"], json!([fence(), trim()]), true),
        (&["fence", "trim"], json!([fence(), data()]), false),
    ] {
        let answer = with(&mut root, ops).append("s", &json!({ "records": records }));
        if is_fine {
            answer.status(200);
        } else {
            answer.refused(403, "permission_denied");
        }
    }
    assert_eq!(root.tail_seq_num("s"), 5, "nothing of what was refused is there");
}

#[test]
fn a_token_that_prefixes_lives_in_a_world_of_its_own() {
    let Some(server) = enforced() else { return };
    let mut root = root_in_basin(&server);
    root.create_stream("outside");
    let scope = json!({
        "basins": { "prefix": "" },
        "streams": { "prefix": "team/" },
        "op_groups": {
            "basin": { "read": true, "write": true },
            "stream": { "read": true, "write": true },
        },
    });
    let mut client = holder(&mut root, &scope, &[("auto_prefix_streams", json!(true))]);
    let created = client.post("/v1/streams", &json!({ "stream": "a" }));
    assert_eq!(created.status(201).at("/name"), json!("a"));
    let ensured = client.put("/v1/streams/b%2Fc", &json!({}));
    assert_eq!(ensured.status(201).at("/name"), json!("b/c"));
    client.patch("/v1/streams/a", &json!({ "storage_class": "standard" })).status(200);
    client.append_bodies("a", &["x", "y"]);
    assert_eq!(client.read_bodies("a", "seq_num=1"), ["y"]);
    assert_eq!(client.tail_seq_num("a"), 2);
    let events = Exchange::start(&client, Protocol::Http1, sse_request("a", "seq_num=0&count=2"));
    drop(events);

    // The same stream, by the name that everybody else uses.
    assert_eq!(root.read_bodies("team/a", "seq_num=0"), ["x", "y"]);
    let (names, _) = streams(&mut root, "");
    assert_eq!(names, ["outside", "team/a", "team/b/c"]);

    assert_eq!(streams(&mut client, ""), (vec!["a".to_owned(), "b/c".to_owned()], false));
    assert_eq!(streams(&mut client, "limit=1"), (vec!["a".to_owned()], true));
    assert_eq!(streams(&mut client, "start_after=a"), (vec!["b/c".to_owned()], false));
    assert_eq!(streams(&mut client, "prefix=b"), (vec!["b/c".to_owned()], false));
    assert_eq!(streams(&mut client, "prefix=team"), (vec![], false));

    let missing = client.read("team/a", "seq_num=0");
    missing.refused(404, "stream_not_found");
    assert_eq!(missing.at("/message"), json!("stream `team/a` not found"));
    client.read("outside", "seq_num=0").refused(404, "stream_not_found");
    let taken = client.post("/v1/streams", &json!({ "stream": "a" }));
    taken.refused(409, "resource_already_exists");
    assert!(!taken.at("/message").as_str().expect("a text").contains("team/"), "{taken}");
    let longest = "x".repeat(512 - "team/".len());
    client.create_stream(&longest);
    client
        .post("/v1/streams", &json!({ "stream": format!("{longest}x") }))
        .refused(400, "bad_json");
    client.tail(&format!("{longest}x")).refused(400, "bad_path");
    let metrics = format!("/v1/metrics/{}/a?set=storage&start=1&end=2", root.basin());
    client.get(&metrics).status(200);
    client.delete("/v1/streams/a").status(202);
    root.read("team/a", "seq_num=0")
        .refused_as(&[(404, "stream_not_found"), (409, "stream_deletion_pending")]);
}

#[test]
fn nobody_issues_or_revokes_beyond_their_own_token() {
    let Some(server) = enforced() else { return };
    let mut root = root_in_basin(&server);
    let scope = json!({
        "basins": { "prefix": "" },
        "streams": { "prefix": "team/" },
        "access_tokens": { "prefix": "team-" },
        "op_groups": { "account": { "read": true, "write": true } },
        "ops": ["read"],
    });
    let until = "2100-01-01T00:00:00Z";
    let mut lead = holder(&mut root, &scope, &[("expires_at", json!(until))]);
    let reading = |streams: &str| json!({ "basins": { "prefix": "" }, "streams": { "prefix": streams }, "ops": ["read"] });
    let issue = |client: &mut Client, id: &str, scope: Value, expires_at: Value| {
        let body = json!({ "id": id, "scope": scope, "expires_at": expires_at });
        client.post("/v1/access-tokens", &body)
    };
    issue(&mut lead, "team-1", reading("team/a"), json!(null)).status(201);
    let denied = "permission_denied";
    issue(&mut lead, "other", reading("team/"), json!(null)).refused(403, denied);
    issue(&mut lead, "team-2", reading(""), json!(null)).refused(403, denied);
    let late = json!("2100-01-01T00:00:01Z");
    issue(&mut lead, "team-2", reading("team/"), late).refused(403, denied);
    let mut more = reading("team/");
    more["ops"] = json!(["read", "append"]);
    issue(&mut lead, "team-2", more, json!(null)).refused(403, denied);
    issue(&mut lead, "team-1", reading("team/"), json!(null))
        .refused(409, "resource_already_exists");

    let revoke = |client: &mut Client, id: &str| {
        client.delete(&format!("/v1/access-tokens/{}", percent_encoded(id)))
    };
    issue(&mut root, "mine", reading(""), json!(null)).status(201);
    revoke(&mut lead, "mine").refused(403, denied);
    let list = |client: &mut Client| {
        let target = "/v1/access-tokens";
        listed(client, target, "/access_tokens", "id").0
    };
    assert_eq!(list(&mut lead), ["team-1"]);
    assert!(list(&mut root).contains(&"mine".to_owned()));
    let page = lead.get("/v1/access-tokens");
    assert_eq!(page.at("/access_tokens/0/expires_at"), json!("2100-01-01T00:00:00.000000Z"));
    revoke(&mut lead, "team-1").status(204);
    assert!(list(&mut lead).is_empty());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test has no executor to stop")]
fn a_request_whose_token_ends_while_its_body_arrives_is_refused() {
    let Some(server) = enforced() else { return };
    let mut root = root(&server);
    let scope = json!({
        "access_tokens": { "prefix": "" },
        "ops": ["issue-access-token"],
    });
    let body = json!({ "id": "leaked", "scope": scope });
    let secret = root.post("/v1/access-tokens", &body).status(201).at("/access_token");
    let secret = secret.as_str().expect("a text");
    let body = json!({ "id": "survivor", "scope": scope }).to_string();
    let (first, rest) = body.split_at(5);
    let mut conn = Conn::open(server.host());
    let head = format!(
        "POST /v1/access-tokens HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{first}",
        body.len()
    );
    conn.write(head.as_bytes()).expect("it is taken");
    // So that its head is looked at before.
    std::thread::sleep(std::time::Duration::from_millis(300));
    root.delete("/v1/access-tokens/leaked").status(204);
    conn.write(rest.as_bytes()).expect("it is taken");
    conn.read_response("POST").expect("an answer").status(401);
    root.delete("/v1/access-tokens/survivor").refused(404, "access_token_not_found");
}

#[test]
fn an_open_server_asks_nobody_who_they_are() {
    let server = Server::shared();
    let mut client = fresh_basin_on(server, &json!(null));
    client.create_stream("s");
    let mut anybody = client.another().with_token("whatever this is");
    anybody.append_bodies("s", &["x"]);
    assert_eq!(client.tail_seq_num("s"), 1);
}
