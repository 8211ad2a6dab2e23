//! Locations: there is one, and every basin is in it.

use serde_json::{Value, json};

use crate::common::client::fresh_basin;
use crate::common::http::Request;
use crate::common::unique_name;

fn local() -> Value {
    json!({
        "name": "local", "is_private": false,
        "storage_classes": ["standard", "express"], "default_storage_class": "express",
    })
}

#[test]
fn case_94_the_default_location_is_in_the_list_and_fills_in_what_streams_get() {
    let mut client = fresh_basin();
    client.get("/v1/locations").is(200, &json!([local()]));
    client.get("/v1/locations?limit=x&unknown=1").is(200, &json!([local()]));
    client.get("/v1/locations/default").is(200, &local());
    client.create_stream("s");
    let default = client.get("/v1/locations/default").at("/default_storage_class");
    assert_eq!(client.config("s")["storage_class"], default);
    client.get("/v1/locations/local").status(404).error_code();
}

#[test]
fn only_our_location_can_be_made_the_default() {
    let mut client = fresh_basin();
    client.put("/v1/locations/default", &json!("local")).is(200, &local());
    for unknown in ["aws:us-east-1", "Local", &"a".repeat(64)] {
        client.put("/v1/locations/default", &json!(unknown)).refused(422, "invalid");
    }
    let malformed = [
        json!(""),
        json!("a b"),
        json!("a_b"),
        json!("é"),
        json!("a".repeat(65)),
        json!(null),
        json!(7),
        json!(["local"]),
        json!({ "location": "local" }),
    ];
    for body in malformed {
        client.put("/v1/locations/default", &body).refused(400, "bad_json");
    }
    let put = || Request::new("PUT", "/v1/locations/default");
    client.send(put()).refused(400, "bad_json");
    client.send(put().bytes("\"local\"")).refused(400, "bad_json");
    let bare = put().bytes("local").header("content-type", "application/json");
    client.send(bare).refused(400, "bad_json");
    client.get("/v1/locations/default").is(200, &local());
}

#[test]
fn a_basin_says_where_it_is_and_may_be_asked_for_there_only() {
    let mut client = fresh_basin();
    for (member, location) in [
        ("location", json!("local")),
        ("location", json!(null)),
        ("scope", json!("local")),
        ("scope", json!(null)),
    ] {
        let basin = unique_name("located");
        let created = client.post("/v1/basins", &json!({ "basin": basin, member: location }));
        assert_eq!(created.status(201).at("/location"), json!("local"));
        let path = format!("/v1/basins/{basin}");
        let ensured = client.put(&path, &json!({ member: location }));
        assert_eq!(ensured.status(200).at("/location"), json!("local"));
        let listed = client.get(&format!("/v1/basins?prefix={basin}"));
        assert_eq!(listed.at("/basins/0/location"), json!("local"), "{listed}");
        for (elsewhere, status, code) in
            [("aws:us-east-1", 422, "invalid"), ("", 400, "bad_json"), ("a/b", 400, "bad_json")]
        {
            client.put(&path, &json!({ member: elsewhere })).refused(status, code);
            let body = json!({ "basin": unique_name("nowhere"), member: elsewhere });
            client.post("/v1/basins", &body).refused(status, code);
        }
    }
    assert_eq!(client.get("/v1/basins?prefix=nowhere").at("/basins"), json!([]));
}
