//! Requests of the control plane that are wrong twice or more: which fault is reported (S2
//! specification, section 1.10).

use serde_json::json;

use crate::common::client::fresh_basin;
use crate::common::http::Request;
use crate::common::unique_name;

/// Content type of a body; `Ignored` headers mean nothing on these routes, however wrong.
#[derive(Clone, Copy)]
enum With {
    /// A body declared as JSON.
    Json,
    /// A body without a type.
    Untyped,
    /// A body declared as something else.
    Text,
    /// A body declared as JSON in a coding that nobody knows, and of another type besides.
    Coded,
    /// As `Json`, with an overlong request token.
    Token,
    /// As `Json`, with headers of the data plane, each of them wrong.
    Ignored,
}

/// Where a request goes.
#[derive(Clone, Copy)]
enum In {
    /// A basin that is there.
    Basin,
    /// A basin that is not.
    Missing,
    /// A name that no basin can have.
    Illegal,
}

const AGE: &str = r#"{"retention_policy":{"age":0}}"#;
const BASIN_AGE: &str = r#"{"default_stream_config":{"retention_policy":{"age":0}}}"#;

type Row = (&'static str, &'static str, In, With, &'static str, u16, &'static str);

/// `MISSING` and `BASIN` in a target or body stand for a basin that is not there, and for one that
/// is; stream `s` exists.
const TABLE: &[Row] = &[
    // Route and method come first.
    ("PUT", "/v1/nope", In::Illegal, With::Text, "{", 404, "not_found"),
    ("PUT", "/v1/streams/", In::Illegal, With::Text, "{", 404, "not_found"),
    ("PATCH", "/v1/basins//", In::Illegal, With::Json, "{", 404, "not_found"),
    ("POST", "/v1/streams/s", In::Illegal, With::Text, "{", 405, "method_not_allowed"),
    ("POST", "/v1/basins/short", In::Basin, With::Text, "{", 405, "method_not_allowed"),
    ("PUT", "/v1/streams", In::Illegal, With::Json, "{", 405, "method_not_allowed"),
    ("PUT", "/v1/locations", In::Basin, With::Json, "{", 405, "method_not_allowed"),
    ("PATCH", "/v1/locations/default", In::Basin, With::Text, "{", 405, "method_not_allowed"),
    // Then the request token, where there is one.
    ("POST", "/v1/basins", In::Basin, With::Token, "{", 400, "bad_header"),
    ("POST", "/v1/streams", In::Basin, With::Token, "{", 400, "bad_header"),
    ("POST", "/v1/streams", In::Missing, With::Token, AGE, 400, "bad_header"),
    // Then the basin's header.
    ("PUT", "/v1/streams/%FF", In::Illegal, With::Json, "{", 400, "bad_header"),
    ("PATCH", "/v1/streams/..", In::Illegal, With::Text, AGE, 400, "bad_header"),
    ("DELETE", "/v1/streams/%FF", In::Illegal, With::Json, "", 400, "bad_header"),
    ("GET", "/v1/streams/%FF", In::Illegal, With::Json, "", 400, "bad_header"),
    ("GET", "/v1/streams?limit=x", In::Illegal, With::Json, "", 400, "bad_header"),
    // Then the path.
    ("PUT", "/v1/streams/%FF", In::Missing, With::Text, "{", 400, "bad_path"),
    ("PUT", "/v1/streams/.", In::Basin, With::Coded, AGE, 400, "bad_path"),
    ("PATCH", "/v1/streams/a%00b", In::Basin, With::Untyped, "{", 400, "bad_path"),
    ("PUT", "/v1/basins/short", In::Illegal, With::Text, "{", 400, "bad_path"),
    ("PATCH", "/v1/basins/Test-Basin-1", In::Illegal, With::Json, "{", 400, "bad_path"),
    ("GET", "/v1/streams/%FF", In::Missing, With::Json, "", 400, "bad_path"),
    ("DELETE", "/v1/streams/..", In::Missing, With::Json, "", 400, "bad_path"),
    // Then the query.
    ("GET", "/v1/streams?limit=x", In::Missing, With::Json, "", 400, "bad_query"),
    ("GET", "/v1/streams?prefix=a%00b", In::Missing, With::Json, "", 400, "bad_query"),
    // Then how the body is declared, and what it is.
    ("PUT", "/v1/streams/s", In::Missing, With::Coded, "{", 415, "unsupported_media_type"),
    ("PATCH", "/v1/basins/MISSING", In::Basin, With::Coded, "{", 415, "unsupported_media_type"),
    ("PUT", "/v1/streams/s", In::Missing, With::Text, AGE, 400, "bad_json"),
    ("PUT", "/v1/streams/s", In::Missing, With::Json, "{", 400, "bad_json"),
    (
        "PUT",
        "/v1/streams/new",
        In::Missing,
        With::Json,
        r#"{"storage_class":7,"retention_policy":{"age":0}}"#,
        400,
        "bad_json",
    ),
    ("PATCH", "/v1/streams/new", In::Missing, With::Untyped, AGE, 400, "bad_json"),
    ("PATCH", "/v1/streams/new", In::Missing, With::Json, "null", 400, "bad_json"),
    ("PATCH", "/v1/streams/new", In::Basin, With::Json, "[]", 400, "bad_json"),
    ("PATCH", "/v1/basins/MISSING", In::Basin, With::Untyped, BASIN_AGE, 400, "bad_json"),
    ("PATCH", "/v1/basins/MISSING", In::Basin, With::Json, "", 400, "bad_json"),
    (
        "PATCH",
        "/v1/basins/MISSING",
        In::Basin,
        With::Json,
        r#"{"default_stream_config":{"retention_policy":{"age":0}},"create_stream_on_read":1}"#,
        400,
        "bad_json",
    ),
    (
        "PUT",
        "/v1/basins/BASIN",
        In::Basin,
        With::Json,
        r#"{"location":"a b","config":{"default_stream_config":{"retention_policy":{"age":0}}}}"#,
        400,
        "bad_json",
    ),
    (
        "PUT",
        "/v1/basins/BASIN",
        In::Basin,
        With::Json,
        r#"{"location":"elsewhere","config":{"create_stream_on_append":"x"}}"#,
        400,
        "bad_json",
    ),
    (
        "POST",
        "/v1/basins",
        In::Basin,
        With::Json,
        r#"{"basin":"short","location":"elsewhere"}"#,
        400,
        "bad_json",
    ),
    ("POST", "/v1/streams", In::Missing, With::Json, r#"{"stream":""}"#, 400, "bad_json"),
    ("PUT", "/v1/locations/default", In::Illegal, With::Untyped, "\"x\"", 400, "bad_json"),
    ("PUT", "/v1/locations/default", In::Illegal, With::Json, "\"a b\" x", 400, "bad_json"),
    // Then what it means.
    ("PUT", "/v1/streams/new", In::Missing, With::Json, AGE, 422, "invalid"),
    ("PUT", "/v1/streams/new", In::Missing, With::Token, AGE, 422, "invalid"),
    ("PATCH", "/v1/streams/new", In::Missing, With::Json, AGE, 422, "invalid"),
    ("PATCH", "/v1/streams/new?limit=x", In::Basin, With::Ignored, AGE, 422, "invalid"),
    ("PATCH", "/v1/basins/MISSING", In::Illegal, With::Ignored, BASIN_AGE, 422, "invalid"),
    (
        "PUT",
        "/v1/basins/BASIN",
        In::Basin,
        With::Json,
        r#"{"location":"elsewhere","config":{"stream_cipher":"aegis-256"}}"#,
        422,
        "invalid",
    ),
    (
        "POST",
        "/v1/basins",
        In::Basin,
        With::Json,
        r#"{"basin":"BASIN","location":"elsewhere"}"#,
        422,
        "invalid",
    ),
    (
        "POST",
        "/v1/streams",
        In::Basin,
        With::Json,
        r#"{"stream":"s","config":{"retention_policy":{"age":0}}}"#,
        422,
        "invalid",
    ),
    (
        "POST",
        "/v1/streams",
        In::Missing,
        With::Json,
        r#"{"stream":"s","config":{"retention_policy":{"age":0}}}"#,
        422,
        "invalid",
    ),
    // Then whether the basin is there, and only then the stream.
    ("PUT", "/v1/streams/new", In::Missing, With::Ignored, "{}", 404, "basin_not_found"),
    ("PATCH", "/v1/streams/new", In::Missing, With::Token, "{}", 404, "basin_not_found"),
    ("GET", "/v1/streams/new", In::Missing, With::Token, "", 404, "basin_not_found"),
    ("DELETE", "/v1/streams/new", In::Missing, With::Token, "", 404, "basin_not_found"),
    ("PATCH", "/v1/streams/new", In::Basin, With::Ignored, "{}", 404, "stream_not_found"),
    ("PATCH", "/v1/basins/MISSING", In::Illegal, With::Token, "{}", 404, "basin_not_found"),
];

#[test]
fn of_several_faults_the_earliest_stage_speaks() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let config = client.config("s");
    let (basin, missing) = (client.basin().to_owned(), unique_name("missing"));
    let named = |text: &str| text.replace("MISSING", &missing).replace("BASIN", &basin);
    for (method, target, place, with, body, status, code) in TABLE {
        let mut request = Request::new(method, &named(target)).bytes(named(body));
        let place = match place {
            In::Basin => &basin,
            In::Missing => &missing,
            In::Illegal => "x",
        };
        request = request.header("s2-basin", place);
        request = match with {
            With::Untyped => request,
            With::Text => request.header("content-type", "text/plain"),
            With::Coded => {
                request.header("content-type", "text/plain").header("content-encoding", "br")
            }
            _ => request.header("content-type", "application/json"),
        };
        request = match with {
            With::Token => request.header("s2-request-token", "t".repeat(37)),
            With::Ignored => request
                .header("s2-format", "hex")
                .header("s2-stream-config", "x")
                .header("s2-encryption-key", "k".repeat(45))
                .header("last-event-id", "x"),
            _ => request,
        };
        client.send(request).refused(*status, code);
    }
    assert_eq!(client.config("s"), config, "nothing was changed");
    let listed = client.get("/v1/streams").json();
    assert_eq!(listed["streams"].as_array().map(Vec::len), Some(1), "nothing was created");
    let unset = json!({
        "default_stream_config": null, "stream_cipher": null,
        "create_stream_on_append": false, "create_stream_on_read": false,
    });
    client.get(&format!("/v1/basins/{basin}")).is(200, &unset);
    client.get(&format!("/v1/basins/{missing}")).refused(404, "basin_not_found");
}
