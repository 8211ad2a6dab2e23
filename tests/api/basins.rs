//! Basins: creation, idempotency, names, listing, deletion.

use serde_json::{Value, json};

use crate::common::client::{Client, fresh_basin};
use crate::common::http::{Request, Response};
use crate::common::server::Server;
use crate::common::unique_name;

fn create_with_token(client: &mut Client, token: &str, body: &Value) -> Response {
    client.send(Request::post("/v1/basins", body).header("s2-request-token", token))
}

#[test]
fn case_02_03_a_basin_is_created_once() {
    let mut client = Server::shared().client();
    let basin = unique_name("once");
    let created = client.post("/v1/basins", &json!({ "basin": basin }));
    created.status(201);
    assert_eq!(created.header("s2-provision-result"), Some("created"), "{created}");
    assert_eq!(created.at("/name"), json!(basin));
    assert!(created.at("/created_at").as_str().is_some_and(|at| at.ends_with('Z')), "{created}");
    assert_eq!(created.at("/deleted_at"), json!(null));

    let again = client.post("/v1/basins", &json!({ "basin": basin }));
    again.refused(409, "resource_already_exists");

    let listed = client.get(&format!("/v1/basins?prefix={basin}"));
    assert_eq!(listed.status(200).at("/has_more"), json!(false));
    assert_eq!(listed.at("/basins/0/name"), json!(basin));
    assert_eq!(listed.at("/basins/0/created_at"), created.at("/created_at"), "{listed}");
    assert_eq!(listed.at("/basins/0/deleted_at"), json!(null));
}

#[test]
fn case_04_05_a_request_token_makes_creation_repeatable() {
    let mut client = Server::shared().client();
    for token in ["abc", "with inner blanks\tand tabs", &"t".repeat(36), ""] {
        let body = json!({ "basin": unique_name("token") });
        let first = create_with_token(&mut client, token, &body);
        first.status(201);
        let replay = create_with_token(&mut client, token, &body);
        if !matches!(replay.status, 200 | 201) {
            replay.fail("a replay succeeds");
        }
        assert_eq!(replay.header("s2-provision-result"), Some("noop"), "{replay}");
        assert_eq!(replay.at("/created_at"), first.at("/created_at"), "{replay}");

        let mut other = body.clone();
        other["config"] = json!({ "create_stream_on_append": true });
        create_with_token(&mut client, token, &other).refused(409, "resource_already_exists");
        create_with_token(&mut client, "def", &body).refused(409, "resource_already_exists");
        client.post("/v1/basins", &body).refused(409, "resource_already_exists");
    }
}

#[test]
fn replays_compare_configurations_by_meaning() {
    let mut client = Server::shared().client();
    let basin = unique_name("meaning");
    let asked = |config: Value| json!({ "basin": basin, "config": config });
    create_with_token(&mut client, "t", &json!({ "basin": basin })).status(201);
    let equal = [
        json!(null),
        json!({}),
        json!({ "create_stream_on_append": false, "create_stream_on_read": false }),
        json!({ "stream_cipher": null, "unknown": 1 }),
    ];
    for config in equal {
        let replay = create_with_token(&mut client, "t", &asked(config));
        if !matches!(replay.status, 200 | 201) {
            replay.fail("this configuration means the same as none");
        }
    }
    let different = [
        json!({ "default_stream_config": { "storage_class": "express" } }),
        json!({ "default_stream_config": { "retention_policy": { "age": 604_800 } } }),
        json!({ "create_stream_on_read": true }),
    ];
    for config in different {
        let replay = create_with_token(&mut client, "t", &asked(config));
        replay.refused(409, "resource_already_exists");
    }
}

#[test]
fn case_06_an_illegal_request_token_is_refused() {
    let mut client = Server::shared().client();
    for token in ["t".repeat(37).as_str(), "caf\u{e9}"] {
        let basin = unique_name("badtoken");
        let refused = create_with_token(&mut client, token, &json!({ "basin": basin }));
        refused.refused(400, "bad_header");
        client.get(&format!("/v1/basins/{basin}")).refused(404, "basin_not_found");
    }
}

#[test]
fn case_07_08_illegal_basin_names_are_refused_by_where_they_stand() {
    let mut client = fresh_basin();
    let too_long = "a".repeat(49);
    let names =
        ["short", "Test-Basin-1", "test_basin_1", "-test-basin", "test-basin-", &too_long, ""];
    for name in names {
        client.post("/v1/basins", &json!({ "basin": name })).refused(400, "bad_json");
        let listing = Request::get("/v1/streams").header("s2-basin", name);
        client.send(listing).refused(400, "bad_header");
        if !name.is_empty() {
            client.get(&format!("/v1/basins/{name}")).refused(400, "bad_path");
            client.delete(&format!("/v1/basins/{name}")).refused(400, "bad_path");
        }
    }
}

#[test]
fn the_shortest_and_the_longest_basin_name_are_accepted() {
    let mut client = Server::shared().client();
    for length in [8_usize, 48] {
        let unique = unique_name("n");
        let digits: String = unique.chars().rev().filter(char::is_ascii_alphanumeric).collect();
        let name: String = digits.chars().cycle().take(length).collect();
        client.post("/v1/basins", &json!({ "basin": name })).status(201);
    }
}

#[test]
fn case_09_an_invalid_default_creates_nothing() {
    let mut client = Server::shared().client();
    let basin = unique_name("invalid");
    let retention = |policy: Value| {
        let defaults = json!({ "retention_policy": policy });
        json!({ "basin": basin, "config": { "default_stream_config": defaults } })
    };
    client.post("/v1/basins", &retention(json!({ "age": 0 }))).refused(422, "invalid");
    let malformed = [
        json!({ "age": -1 }),
        json!({ "age": 1.5 }),
        json!({ "age": "1" }),
        json!({}),
        json!({ "age": 1, "infinite": {} }),
        json!({ "forever": {} }),
        json!({ "infinite": true }),
        json!("infinite"),
    ];
    for policy in malformed {
        client.post("/v1/basins", &retention(policy)).refused(400, "bad_json");
    }
    client.get(&format!("/v1/basins/{basin}")).refused(404, "basin_not_found");
}

#[test]
fn a_creation_needs_a_well_formed_json_body() {
    let mut client = Server::shared().client();
    let basin = unique_name("badbody");
    let whole = json!({ "basin": basin }).to_string();
    let untyped = Request::new("POST", "/v1/basins").bytes(whole.as_str());
    client.send(untyped).refused(400, "bad_json");
    let typed = |body: &str| {
        let request = Request::new("POST", "/v1/basins").bytes(body);
        request.header("content-type", "application/json")
    };
    for body in ["", "null", "[]", "{}", "{\"basin\":7}", "{\"basin\":null}", &whole[1..]] {
        client.send(typed(body)).refused(400, "bad_json");
    }
    client.send(typed(&format!("{whole} x"))).refused(400, "bad_json");
    let bad_config = json!({ "basin": basin, "config": { "create_stream_on_append": "yes" } });
    client.post("/v1/basins", &bad_config).refused(400, "bad_json");
    let bad_cipher = json!({ "basin": basin, "config": { "stream_cipher": "rot13" } });
    client.post("/v1/basins", &bad_cipher).refused(400, "bad_json");
    client.get(&format!("/v1/basins/{basin}")).refused(404, "basin_not_found");
}

#[test]
fn a_basin_configuration_is_shown_as_it_was_stored() {
    let mut client = fresh_basin();
    let unset = json!({
        "default_stream_config": null, "stream_cipher": null,
        "create_stream_on_append": false, "create_stream_on_read": false,
    });
    client.get(&format!("/v1/basins/{}", client.basin())).is(200, &unset);

    let basin = unique_name("stored");
    let defaults = json!({ "timestamping": { "uncapped": true }, "retention_policy": null });
    let config = json!({ "default_stream_config": defaults, "create_stream_on_read": true });
    client.post("/v1/basins", &json!({ "basin": basin, "config": config })).status(201);
    let stored = json!({
        "default_stream_config": {
            "storage_class": null, "retention_policy": null,
            "timestamping": { "mode": null, "uncapped": true }, "delete_on_empty": null,
        },
        "stream_cipher": null, "create_stream_on_append": false, "create_stream_on_read": true,
    });
    client.get(&format!("/v1/basins/{basin}")).is(200, &stored);
}

#[test]
fn case_14_deletion_of_a_basin_is_idempotent() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let path = format!("/v1/basins/{}", client.basin());
    let deleted = client.delete(&path);
    deleted.status(202);
    assert_eq!(deleted.header("content-length"), Some("0"), "{deleted}");
    assert!(deleted.body.is_empty());
    let again = client.delete(&path);
    if again.status != 202 {
        again.refused(404, "basin_not_found");
    }
    let created = client.post("/v1/streams", &json!({ "stream": "t" }));
    created.refused_as(&[(409, "basin_deletion_pending"), (404, "basin_not_found")]);
    let listed = client.get(&format!("/v1/basins?prefix={}", client.basin())).status(200).json();
    for basin in listed["basins"].as_array().expect("a list") {
        assert!(
            basin["deleted_at"].is_string(),
            "still listed as if nothing had happened: {basin}"
        );
    }
    let recreated = client.post("/v1/basins", &json!({ "basin": client.basin() }));
    if recreated.status != 201 {
        recreated.refused(409, "basin_deletion_pending");
    }
}

#[test]
fn case_15_an_unknown_basin_is_not_found() {
    let mut client = Server::shared().client();
    let path = format!("/v1/basins/{}", unique_name("unknown"));
    client.get(&path).refused(404, "basin_not_found");
    client.delete(&path).refused(404, "basin_not_found");
}

#[test]
fn case_16_a_limit_of_zero_or_too_many_means_a_thousand() {
    let mut client = fresh_basin();
    for limit in ["0", "5000", "1000", "18446744073709551615"] {
        let listed = client.get(&format!("/v1/basins?limit={limit}")).status(200).json();
        let count = listed["basins"].as_array().map_or(0, Vec::len);
        assert!((1..=1000).contains(&count), "limit {limit} gave {count}");
    }
    let one = client.get("/v1/basins?limit=1&unknown=x");
    assert_eq!(one.status(200).at("/basins").as_array().map(Vec::len), Some(1));
}

#[test]
fn case_17_malformed_list_parameters_are_refused() {
    let mut client = fresh_basin();
    let queries =
        ["limit=x", "limit=", "limit=-1", "limit=18446744073709551616", "limit=1&limit=1"];
    for query in queries {
        client.get(&format!("/v1/basins?{query}")).refused(400, "bad_query");
        client.get(&format!("/v1/streams?{query}")).refused(400, "bad_query");
    }
    let too_long = format!("prefix={}", "a".repeat(49));
    for query in ["prefix=A", "prefix=-a", "start_after=a_b", "prefix=a&prefix=a", &too_long] {
        client.get(&format!("/v1/basins?{query}")).refused(400, "bad_query");
    }
    for query in ["prefix=", "prefix=a", "prefix=ends-in-", "start_after=a&prefix=zz"] {
        client.get(&format!("/v1/basins?{query}")).status(200);
    }
}

#[test]
fn basins_are_listed_in_order_and_page_by_page() {
    let mut client = Server::shared().client();
    let prefix = unique_name("page");
    let mut names: Vec<String> = (0..7).map(|index| format!("{prefix}-{index}x")).collect();
    for name in names.iter().rev() {
        client.post("/v1/basins", &json!({ "basin": name })).status(201);
    }
    let mut start_after = String::new();
    for (count, has_more) in [(3, true), (3, true), (1, false)] {
        let query = format!("prefix={prefix}-&limit=3&start_after={start_after}");
        let page = client.get(&format!("/v1/basins?{query}"));
        let listed: Vec<Value> =
            (0..count).map(|i| page.at(&format!("/basins/{i}/name"))).collect();
        let expected: Vec<String> = names.drain(..count).collect();
        assert_eq!(listed, expected, "{page}");
        assert_eq!(page.at("/has_more"), json!(has_more), "{page}");
        start_after.clone_from(expected.last().expect("a page is never empty"));
    }
    let full = client.get(&format!("/v1/basins?prefix={prefix}-&limit=7"));
    assert_eq!(full.at("/has_more"), json!(false), "a full last page is the last: {full}");
}
