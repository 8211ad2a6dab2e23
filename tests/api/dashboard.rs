//! The web dashboard as a browser asks for it: the page, its files, the facts.

use serde_json::json;

use crate::common::client::Client;
use crate::common::duplex::{Exchange, Protocol};
use crate::common::http::{Request, Response};
use crate::common::server::Server;

const ROOT: &str = "root-token-of-the-dashboard-test";

fn page(client: &mut Client, target: &str) -> Response {
    let page = client.get(target);
    page.status(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{page}");
    assert_eq!(page.header("cache-control"), Some("no-cache"), "{page}");
    page
}

/// The addresses that the page loads.
fn loaded_by(page: &Response) -> Vec<String> {
    let text = String::from_utf8(page.body.clone()).expect("HTML is text");
    let links = text.split('"').filter(|part| part.starts_with("/dashboard/assets/"));
    links.map(str::to_owned).collect()
}

#[test]
fn case_103_the_page_is_wherever_it_is_bookmarked() {
    let mut client = Server::shared().client();
    let first = page(&mut client, "/dashboard");
    let others = [
        "/dashboard/",
        "/dashboard/basins/x/studio",
        "/dashboard/basins/NAME/studio?stream=S",
        "/dashboard/a/b/c/d/e/f/g/h",
        "/dashboard/server?x=%ff",
    ];
    for target in others {
        assert_eq!(page(&mut client, target).body, first.body, "{target}");
    }
    for target in [
        "/dashboard/assets/none.js",
        "/dashboard/assets/",
        "/dashboard/assets/../../../../etc/passwd",
        "/dashboard/assets/..%2f..%2f..%2fCargo.toml",
        "/dashboard/assets/%2e%2e/mod.rs",
        "/dashboards",
    ] {
        client.get(target).refused(404, "not_found");
    }
    let config = client.get("/dashboard/config.json");
    config.status(200);
    assert_eq!(config.header("cache-control"), Some("no-cache"), "{config}");
    assert_eq!(config.at("/version"), json!(env!("CARGO_PKG_VERSION")));
    assert_eq!(config.at("/store/kind"), json!("local"));
    for member in ["wal", "flush_interval_ms", "init_file"] {
        assert_eq!(config.at(&format!("/{member}")), json!(null), "{member}");
    }
    let (_, port) = client.host().rsplit_once(':').expect("a port");
    if config.at("/tls") == json!("none") {
        assert_eq!(config.u64_at("/port").to_string(), port);
    }
    let started = config.at("/started_at");
    assert!(started.as_str().is_some_and(|text| text.ends_with('Z')), "{config}");
}

#[test]
fn everything_that_the_page_loads_is_there_with_its_type() {
    let mut client = Server::shared().client();
    let loaded = loaded_by(&page(&mut client, "/dashboard"));
    assert!(loaded.len() >= 3, "{loaded:?}");
    for target in &loaded {
        let file = client.get(target);
        file.status(200);
        assert_eq!(file.header("cache-control"), Some("public, max-age=3600"), "{file}");
        let expected = match target.rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            other => panic!("{target} is of a kind that nobody expected: {other:?}"),
        };
        assert_eq!(file.header("content-type"), Some(expected), "{target}");
    }
    client.get("/dashboard/assets/app.js").status(200);
}

#[test]
fn nothing_of_it_may_be_framed_sniffed_or_extended() {
    let mut client = Server::shared().client();
    for target in ["/dashboard", "/dashboard/assets/app.js", "/dashboard/config.json"] {
        let answer = client.get(target);
        answer.status(200);
        let policy = answer.header("content-security-policy").unwrap_or_default();
        for part in ["default-src 'none'", "script-src 'self';", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{target}: {part} is not in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{target}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{target}");
    }
}

#[test]
fn a_browser_gets_only_heads_and_what_it_does_not_have() {
    let mut client = Server::shared().client();
    for target in ["/dashboard", "/dashboard/assets/app.js"] {
        let whole = client.get(target);
        let head = client.send(Request::new("HEAD", target));
        assert!(head.status(200).body.is_empty());
        assert_eq!(head.header("content-length"), whole.header("content-length"), "{target}");
        let tag = whole.header("etag").expect("files have a tag");
        let again = client.send(Request::get(target).header("if-none-match", tag));
        assert!(again.status(304).body.is_empty());
        assert_eq!((again.header("etag"), again.header("content-length")), (Some(tag), None));
        client.send(Request::get(target).header("if-none-match", "\"other\"")).status(200);
    }
    for method in ["POST", "PUT", "DELETE"] {
        let refused = client.send(Request::new(method, "/dashboard"));
        refused.refused(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    assert_eq!(client.connects(), 1, "no answer was a reason to close");
}

#[test]
fn it_is_the_same_over_http2() {
    let mut client = Server::shared().client();
    let first = page(&mut client, "/dashboard");
    let send = |request| Exchange::start(&client, Protocol::Http2, request).whole();
    let other = send(Request::get("/dashboard/basins/x/studio?stream=s"));
    assert_eq!(other.status(200).body, first.body);
    assert_eq!(other.header("content-type"), Some("text/html; charset=utf-8"));
    let tag = other.header("etag").expect("a tag");
    let known = send(Request::get("/dashboard").header("if-none-match", tag));
    assert_eq!((known.status(304).body.len(), known.header("content-length")), (0, None));
    send(Request::get("/dashboard/assets/none.js")).refused(404, "not_found");
}

#[test]
fn case_103_without_a_dashboard_its_routes_are_unknown() {
    let settings = [("THALWEG_NO_DASHBOARD", "true")];
    let Some(server) = Server::start_with(1, &settings) else { return };
    let mut client = server.client();
    let unknown = client.get("/no/such/route");
    for target in
        ["/dashboard", "/dashboard/", "/dashboard/assets/app.js", "/dashboard/config.json"]
    {
        let answer = client.get(target);
        assert_eq!(answer.refused(404, "not_found").body, unknown.body, "{target}");
        client.send(Request::new("POST", target)).refused(404, "not_found");
    }
    assert!(!server.said().contains("dashboard on"), "{}", server.said());
    client.get("/health").status(200);
}

#[test]
fn the_page_is_open_to_everybody_and_the_facts_to_who_has_a_token() {
    let Some(server) = Server::start_with(1, &[("THALWEG_ROOT_TOKEN", ROOT)]) else { return };
    assert!(server.said().contains("/dashboard\n"), "where it is: {}", server.said());
    let mut client = server.client();
    for target in loaded_by(&page(&mut client, "/dashboard/server")) {
        client.get(&target).status(200);
    }
    client.get("/dashboard/assets/none.js").refused(404, "not_found");
    client.get("/dashboard/config.json").refused(401, "authn");
    client.get("/v1/basins").refused(401, "authn");
    // Any token: it need not permit anything.
    let mut root = server.client().with_token(ROOT);
    let scope = json!({ "id": "none", "scope": { "ops": ["check-tail"] } });
    let issued = root.post("/v1/access-tokens", &scope);
    let token = issued.status(201).at("/access_token");
    let mut holder = server.client().with_token(token.as_str().expect("a secret"));
    let config = holder.get("/dashboard/config.json");
    assert_eq!(config.status(200).at("/access_tokens"), json!(true));
    assert!(!String::from_utf8_lossy(&config.body).contains(ROOT), "no secret: {config}");
}
