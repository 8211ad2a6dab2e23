//! What the audit log says of the data plane: streams that come into being, trims and fences, and
//! who was refused what. Of other requests, nothing.

use std::fs;

use serde_json::{Value, json};

use crate::audit::Temporary;
use crate::common::client::{Client, records_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::Request;
use crate::common::s2s::{AppendInput, AppendRecord};
use crate::common::server::Server;
use crate::common::session::{Session, append_request};

const ROOT: &str = "root-token-of-a-test";

fn lines(file: &Temporary) -> Vec<Value> {
    let text = fs::read_to_string(&file.0).expect("the audit log");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The named members of a line, those that are absent as null.
fn members(line: &Value, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| line[name].clone()).collect()
}

fn trim(seq_num: u64) -> Value {
    let body: String = seq_num.to_be_bytes().iter().map(|byte| char::from(*byte)).collect();
    json!({ "headers": [["", "trim"]], "body": body })
}

fn fence(token: &str) -> Value {
    json!({ "headers": [["", "fence"]], "body": token })
}

/// An append session with ordinary batches and one that trims; how it ends is for the caller.
fn trim_in_session(client: &Client, protocol: Protocol, stream: &str) -> Session {
    let exchange = Exchange::start_open(client, protocol, append_request(stream));
    let mut session = Session::open(exchange);
    session.push(&AppendInput::one("ordinary"));
    session.ack();
    let trim = AppendRecord::of(vec![0; 8]).header("", b"trim");
    session.push(&AppendInput::of(vec![trim]));
    session
}

#[test]
fn streams_made_by_use_and_commands_are_written_and_nothing_else() {
    let file = Temporary::new("audit");
    let Some(server) = Server::start_with(2, &[("THALWEG_AUDIT_LOG", file.setting())]) else {
        return;
    };
    let config = json!({ "create_stream_on_append": true, "create_stream_on_read": true });
    let body = json!({ "basin": "audited-basin", "config": config });
    server.client().post("/v1/basins", &body).status(201);
    let mut client = server.client().in_basin("audited-basin");
    client.append_bodies("a", &["x"]);
    client.append_bodies("a", &["x", "y"]);
    client.append("b", &json!({ "records": [{}], "match_seq_num": 7 })).status(412);
    client.read("c", "seq_num=0").status(416);
    client.tail("d").status(200);
    client.tail("d").status(200);
    let commands = json!({ "records": [trim(2), {}, trim(1), fence("f")] });
    client.append("a", &commands).status(200);
    for protocol in Protocol::BOTH {
        let mut session = trim_in_session(&client, protocol, "e");
        session.ack();
        session.finish();
        session.end();
    }
    let names = ["operation", "stream", "trim_point"];
    let told: Vec<_> = lines(&file).iter().map(|line| members(line, &names)).collect();
    let made = |stream: &str| vec![json!("auto_create_stream"), json!(stream), json!(null)];
    let trimmed = |stream: &str, at: u64| vec![json!("trim"), json!(stream), json!(at)];
    let expected = [
        vec![json!("create_basin"), json!(null), json!(null)],
        made("a"),
        made("b"),
        made("c"),
        made("d"),
        trimmed("a", 2),
        vec![json!("fence"), json!("a"), json!(null)],
        made("e"),
        trimmed("e", 0),
        trimmed("e", 0),
    ];
    assert_eq!(told, expected);
    for line in lines(&file) {
        assert_eq!(members(&line, &["basin", "by"]), [json!("audited-basin"), json!("open")]);
        assert!(line["peer"].as_str().is_some_and(|p| p.starts_with("127.0.0.1:")), "{line}");
    }
}

#[test]
fn who_is_refused_what_is_written_wherever_it_was_judged() {
    let file = Temporary::new("audit");
    let settings = [("THALWEG_AUDIT_LOG", file.setting()), ("THALWEG_ROOT_TOKEN", ROOT)];
    let Some(server) = Server::start_with(2, &settings) else { return };
    let mut root = server.client().with_token(ROOT);
    root.post("/v1/basins", &json!({ "basin": "audited-basin" })).status(201);
    let mut root = root.in_basin("audited-basin");
    root.create_stream("s");
    let scope = json!({
        "basins": { "prefix": "" }, "streams": { "exact": "s" }, "ops": ["append"],
    });
    let issued = root.post("/v1/access-tokens", &json!({ "id": "writer", "scope": scope }));
    let secret = issued.status(201).at("/access_token");
    let mut writer = root.another().with_token(secret.as_str().expect("a text"));
    let before = lines(&file).len();

    writer.delete("/v1/basins/audited-basin").refused(403, "permission_denied");
    writer.delete("/v1/access-tokens/writer").refused(403, "permission_denied");
    writer.read("s", "seq_num=0").refused(403, "permission_denied");
    writer.append("t", &json!({ "records": [{}] })).refused(403, "permission_denied");
    let commands = json!({ "records": [trim(1)] });
    writer.append("s", &commands).refused(403, "permission_denied");
    for protocol in Protocol::BOTH {
        let other = append_request("t");
        Exchange::start_open(&writer, protocol, other).whole().refused(403, "permission_denied");
        trim_in_session(&writer, protocol, "s").refused(403, "permission_denied");
    }
    let unknown = Request::get(&records_path("s")).header("authorization", "Bearer other");
    writer.send(unknown).refused(401, "authn");

    let names = ["tried", "basin", "stream", "token", "status", "by"];
    let told: Vec<_> = lines(&file)[before..].iter().map(|line| members(line, &names)).collect();
    let refused = |tried: &str, basin: Option<&str>, stream: Option<&str>, token: Option<&str>| {
        let by = json!("token:writer");
        vec![json!(tried), json!(basin), json!(stream), json!(token), json!(403), by]
    };
    let basin = Some("audited-basin");
    let on = |tried: &str, stream: &str| refused(tried, basin, Some(stream), None);
    let nobody = [json!(null), json!(null), json!(null), json!(null), json!(401), json!("nobody")];
    let expected = [
        refused("delete_basin", basin, None, None),
        refused("revoke_access_token", None, None, Some("writer")),
        on("read", "s"),
        on("append", "t"),
        on("append", "s"),
        on("append", "t"),
        on("append", "s"),
        on("append", "t"),
        on("append", "s"),
        nobody.to_vec(),
    ];
    assert_eq!(told, expected);
    for line in &lines(&file)[before..] {
        assert_eq!(line["operation"], "access", "{line}");
        assert!(line["peer"].as_str().is_some_and(|p| p.starts_with("127.0.0.1:")), "{line}");
    }
}
