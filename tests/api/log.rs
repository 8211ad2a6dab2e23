//! What shows only when the log turns over: segments fill up, are given up and are used again.

use serde_json::json;

use crate::common::client::{Client, fresh_basin_on};
use crate::common::server::Server;

/// One log, and a checkpoint whenever it may be written: segments are given up soon.
fn small_log() -> Option<Server> {
    Server::start_with(1, &[("THALWEG_CHECKPOINT_BYTES", "1048576")])
}

/// Appends `count` records of nearly 1 MiB each.
fn append_large(client: &mut Client, stream: &str, count: usize) {
    let body = "x".repeat(1_000_000);
    for _ in 0..count {
        client.append_bodies(stream, &[&body]);
    }
}

#[test]
fn a_read_goes_on_where_a_segment_is_full_to_its_last_block() {
    let Some(server) = small_log() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    append_large(&mut client, "s", 7);
    // One block each, so that nothing is left at the end of the segment.
    let bodies: Vec<String> = (0..400).map(|index| format!("r{index}")).collect();
    for body in &bodies {
        client.append_bodies("s", &[body]);
    }
    assert_eq!(client.read_bodies("s", "seq_num=7"), bodies);
}
