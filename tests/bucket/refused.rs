//! What is no bucket of this server's, or not whole: refused with words, and left as it is.

use serde_json::json;

use crate::common::server::Server;
use crate::kit::{Bucket, SHARDS};
use crate::load::{Class, Load, is_log, prepare};

crate::on_both! {
    another_servers_directory,
    objects_that_are_not_ours,
    a_damaged_object,
    a_missing_object,
}

/// A bucket with some pieces in it, whose owner is gone.
fn left_behind(bucket: &Bucket) {
    let mut first = bucket.server(0);
    prepare(&first);
    let load = Load::start(&first, Class::Standard, "a");
    load.wait_for_more(10);
    first.kill();
    load.stop();
}

fn contents(bucket: &Bucket) -> Vec<(String, Vec<u8>)> {
    let names = bucket.objects().into_iter();
    names.map(|name| (name.clone(), bucket.get(&name))).collect()
}

fn another_servers_directory(bucket: &Bucket) {
    left_behind(bucket);
    let mut other = Server::start_with(SHARDS, &[]).expect("unset THALWEG_TEST_URL");
    other.client().post("/v1/basins", &json!({ "basin": "another-one" })).status(201);
    other.kill();
    let before = contents(bucket);
    let said = bucket.refuses(1, &other.data_dir());
    assert!(said.contains("another data directory"), "{said}");
    assert!(contents(bucket) == before, "the bucket was changed: {said}");
    // Neither is lost by it.
    other.restart();
    bucket.server(1);
}

fn objects_that_are_not_ours(bucket: &Bucket) {
    let name = format!("shard-0/log/{:020}", 1);
    bucket.put(&name, b"somebody's notes".to_vec());
    let before = contents(bucket);
    let said = bucket.refuses(0, &bucket.path("data"));
    assert!(said.contains(&name), "it does not say which: {said}");
    let mut after = contents(bucket);
    // What a start finds out about the store with.
    after.retain(|(name, _)| name != "probe");
    assert!(after == before, "the bucket was changed: {said}");
}

/// Some piece in the middle.
fn victim(bucket: &Bucket) -> String {
    let log: Vec<_> = bucket.objects().into_iter().filter(|name| is_log(name)).collect();
    let of_shard: Vec<_> = log.iter().filter(|name| name.starts_with("shard-1/")).collect();
    assert!(of_shard.len() >= 4, "too few to be in the middle: {log:?}");
    of_shard[of_shard.len() / 2].clone()
}

fn a_damaged_object(bucket: &Bucket) {
    left_behind(bucket);
    let name = victim(bucket);
    let whole = bucket.get(&name);
    // Its last byte, one in the middle, and its end.
    let flipped = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        bytes
    };
    let damaged = [
        flipped(whole.len() - 1),
        flipped(whole.len() / 2),
        whole[..whole.len() - 7].to_vec(),
        Vec::new(),
    ];
    for (number, bytes) in damaged.into_iter().enumerate() {
        bucket.put(&name, bytes);
        let said = bucket.refuses(1, &bucket.path(&format!("data-{number}")));
        assert!(said.contains(&name), "case {number} does not say which: {said}");
    }
    // Mended, it serves: what the attempts left behind is in nobody's way.
    bucket.put(&name, whole);
    bucket.server(1);
}

/// Whichever is missing, and however the newest is looked for: a gap is not the end of the log.
fn a_missing_object(bucket: &Bucket) {
    left_behind(bucket);
    let log: Vec<_> = bucket.objects().into_iter().filter(|name| is_log(name)).collect();
    let of_shard: Vec<_> = log.iter().filter(|name| name.starts_with("shard-1/")).collect();
    let last = of_shard.len() - 1;
    assert!(last >= 9, "too few to be in the middle: {log:?}");
    for place in [1, 2, 3, 4, 7, 8, last / 2, last - 1] {
        let name = of_shard[place];
        let whole = bucket.get(name);
        bucket.delete(name);
        let data_dir = bucket.path(&format!("data-{place}"));
        let said = bucket.refuses(1, &data_dir);
        assert!(said.contains(name), "it does not say that {name} is missing: {said}");
        let added: Vec<_> = bucket.objects().into_iter().filter(|name| is_log(name)).collect();
        assert!(!added.contains(name), "{name} was made anew: {said}");
        bucket.put(name, whole);
    }
    bucket.server(1);
}
