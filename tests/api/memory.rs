//! What clients can make the server hold, together: beyond a bound they wait for each other, and
//! are told to come again when that takes too long. Small requests get through all the same.

use serde_json::json;

use crate::common::client::{batch, fresh_basin_on, records_path};
use crate::common::http::Request;
use crate::common::server::Server;

/// The least that may be set: 32 MiB for each core.
const SETTINGS: [(&str, &str); 1] = [("THALWEG_REQUEST_MEMORY_BYTES", "33554432")];
const LARGE_BYTES: usize = 900_000;
/// More than two cores have memory for.
const UNFINISHED: usize = 100;

#[test]
fn bodies_that_do_not_end_leave_room_for_small_ones_and_none_for_large_ones() {
    let Some(server) = Server::start_with(2, &SETTINGS) else { return };
    let mut client = fresh_basin_on(&server, &json!({}));
    client.create_stream("s");
    let large = batch(&[&"x".repeat(LARGE_BYTES)]);
    let request = client.scoped(Request::post(&records_path("s"), &large));
    let whole = client.encode(&request);
    let unfinished: Vec<_> = (0..UNFINISHED)
        .map(|_| {
            let mut one = client.another();
            // Refused ones may be closed before all is sent.
            let _sent = one.conn().write(&whole[..whole.len() - 1]);
            one
        })
        .collect();

    client.append_bodies("s", &["small"]);
    let refused = client.another().exchange(&whole, "POST");
    refused.refused(429, "rate_limited");
    let retry_after_ms = refused.header("retry-after-ms").and_then(|ms| ms.parse::<u64>().ok());
    assert!(retry_after_ms.is_some_and(|ms| ms > 0), "{refused}");
    assert_eq!(client.tail_seq_num("s"), 1, "what was refused changed nothing");

    drop(unfinished);
    let taken = crate::common::poll(crate::common::EVENTUALLY_WAIT, || {
        let answer = client.another().exchange(&whole, "POST");
        (answer.status == 200).then_some(())
    });
    assert!(taken.is_some(), "there is room again");
    assert_eq!(client.tail_seq_num("s"), 2);
}
