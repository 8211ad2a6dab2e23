//! Sessions on a server with a root token: what they may not do ends them, and so does the end of
//! their token.

use std::time::Duration;

use serde_json::{Value, json};

use crate::STREAMS;
use crate::common::client::Client;
use crate::common::duplex::Protocol;
use crate::common::s2s::{AppendInput, AppendRecord};
use crate::common::server::Server;
use crate::common::session::Session;
use crate::common::sse::{Events, sse_request};
use crate::common::{Stopwatch, now_ms, unique_name};

const ROOT: &str = "root-token-of-a-test";
/// How long a session may go on whose token has ended; a busy machine included.
const ENDED_WAIT: Duration = Duration::from_secs(10);

/// A client with the root token in a basin that has the streams.
fn root(server: &Server) -> Client {
    let basin = unique_name("case");
    let mut client = server.client().with_token(ROOT);
    client.post("/v1/basins", &json!({ "basin": basin })).status(201);
    let mut client = client.in_basin(&basin);
    STREAMS.iter().for_each(|stream| client.create_stream(stream));
    client
}

/// A client with a token of its own, and the token's id.
fn holder(root: &mut Client, ops: &[&str], expires_at: &Value) -> (Client, String) {
    let id = unique_name("t");
    let all = json!({ "prefix": "" });
    let scope = json!({ "basins": all, "streams": all, "ops": ops });
    let body = json!({ "id": id, "scope": scope, "expires_at": expires_at });
    let issued = root.post("/v1/access-tokens", &body);
    let secret = issued.status(201).at("/access_token");
    (root.another().with_token(secret.as_str().expect("a text")), id)
}

fn enforced() -> Option<Server> {
    Server::start_with(2, &[("THALWEG_ROOT_TOKEN", ROOT)])
}

/// One session of each kind on a stream, opened and silent.
struct Sessions {
    append: Session,
    read: Session,
    events: Events,
}

impl Sessions {
    fn open(client: &Client, protocol: Protocol, stream: &str) -> Self {
        let mut append = Session::append(client, protocol, stream);
        append.push(&AppendInput::one("x"));
        let start = append.ack().start.expect("checked").seq_num;
        let query = format!("seq_num={start}");
        let mut read = Session::read(client, protocol, stream, &query);
        assert_eq!(read.batch().seq_nums(), [start]);
        let mut events = Events::open(client, protocol, sse_request(stream, &query));
        assert_eq!(events.event().seq_nums(), [start]);
        Self { append, read, events }
    }

    /// All of them must end as those of a token that is no more.
    fn expect_refused(&mut self) {
        self.append.refused(401, "authn");
        loop {
            let frame = self.read.frame();
            if frame.is_terminal() {
                let (status, error) = frame.error();
                assert_eq!((status, error["code"].as_str()), (401, Some("authn")), "{error}");
                self.read.end();
                break;
            }
        }
        let event = loop {
            let event = self.events.event();
            if event.name != "ping" {
                break event;
            }
        };
        assert_eq!((&*event.name, event.json()["code"].as_str()), ("error", Some("authn")));
        assert_eq!(self.events.next(), None);
    }
}

#[test]
fn sessions_end_when_their_token_is_revoked() {
    let Some(server) = enforced() else { return };
    let mut root = root(&server);
    for protocol in Protocol::BOTH {
        let (client, id) = holder(&mut root, &["append", "read"], &json!(null));
        let (other, _) = holder(&mut root, &["append", "read"], &json!(null));
        let open = |stream: &&str| Sessions::open(&client, protocol, stream);
        let mut sessions: Vec<_> = STREAMS.iter().map(open).collect();
        let mut untouched = Session::append(&other, protocol, STREAMS[0]);
        root.delete(&format!("/v1/access-tokens/{id}")).status(204);
        let watch = Stopwatch::start();
        sessions.iter_mut().for_each(Sessions::expect_refused);
        assert!(watch.elapsed() < ENDED_WAIT, "{:?} over {protocol}", watch.elapsed());
        client.another().get("/v1/streams").refused(401, "authn");
        untouched.push(&AppendInput::one("y"));
        untouched.ack();
    }
}

#[test]
fn sessions_end_when_their_token_expires() {
    let Some(server) = enforced() else { return };
    let mut root = root(&server);
    for protocol in Protocol::BOTH {
        let expires_ms = now_ms() + 4_000;
        let expires_at = rfc3339(expires_ms);
        let (client, id) = holder(&mut root, &["append", "read"], &json!(expires_at));
        let open = |stream: &&str| Sessions::open(&client, protocol, stream);
        let mut sessions: Vec<_> = STREAMS[..2].iter().map(open).collect();
        assert!(now_ms() < expires_ms, "too slow a machine to see them open");
        sessions.iter_mut().for_each(Sessions::expect_refused);
        let now_ms = now_ms();
        assert!(now_ms >= expires_ms, "{} ms too early", expires_ms - now_ms);
        assert!(Duration::from_millis(now_ms - expires_ms) < ENDED_WAIT, "{now_ms}");
        client.another().get("/v1/streams").refused(401, "authn");
        root.delete(&format!("/v1/access-tokens/{id}")).refused(404, "access_token_not_found");
    }
}

/// The time as RFC 3339 spells it. The date comes from the system's own `date`.
fn rfc3339(ms: u64) -> String {
    let at = format!("@{}.{:03}", ms / 1000, ms % 1000);
    let date = std::process::Command::new("date")
        .args(["--utc", "--date", &at, "+%Y-%m-%dT%H:%M:%S.%3NZ"])
        .output()
        .expect("the system has `date`");
    assert!(date.status.success(), "{date:?}");
    String::from_utf8(date.stdout).expect("text").trim().to_owned()
}

#[test]
fn a_batch_that_is_not_permitted_is_the_last_answer() {
    let Some(server) = enforced() else { return };
    let mut root = root(&server);
    let (client, _) = holder(&mut root, &["append"], &json!(null));
    let fence = || AppendInput::of(vec![AppendRecord::of("token").header("", b"fence")]);
    for protocol in Protocol::BOTH {
        for stream in STREAMS {
            let before = root.tail_seq_num(stream);
            let mut session = Session::append(&client, protocol, stream);
            let data = |body: &str| AppendInput::one(body).frame();
            session.push_bytes(&[data("a"), data("b"), fence().frame(), data("c")].concat());
            session.acks(before, before + 2);
            session.refused(403, "permission_denied");
            assert_eq!(root.tail_seq_num(stream), before + 2, "nothing behind it is there");
        }
    }
    // The stream was not fenced either.
    let (fencer, _) = holder(&mut root, &["fence"], &json!(null));
    let before = root.tail_seq_num("s");
    let mut session = Session::append(&fencer, Protocol::Http1, "s");
    session.push(&fence());
    session.acks(before, before + 1);
    session.push(&AppendInput::one("x"));
    session.refused(403, "permission_denied");
}
