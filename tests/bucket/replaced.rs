//! A replacement machine with an empty data directory, and the same machine started again.

use serde_json::json;

use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, poll};
use crate::kit::{Bucket, SHARDS};
use crate::load::{
    Class, Load, append, check, check_all, client, is_log, prepare, read_all, wait_until_shipped,
};

crate::on_both! {
    it_serves_all_that_was_acknowledged,
    killed_under_load_it_keeps_every_promise,
    a_chain_of_replacements_keeps_everything,
    the_same_machine_goes_on,
    a_directory_that_was_there_before,
    objects_are_numbered_and_never_change,
}

fn it_serves_all_that_was_acknowledged(bucket: &Bucket) {
    let mut first = bucket.server(0);
    prepare(&first);
    let standard = Load::start(&first, Class::Standard, "a");
    let express = Load::start(&first, Class::Express, "a");
    standard.wait_for_more(10);
    express.wait_for_more(10);
    let told = [standard.stop(), express.stop()].concat();
    // Standard appends are promised as they are, Express ones when the bucket has them.
    wait_until_shipped(&first);
    let mut before = client(&first);
    let timestamps = |client: &mut crate::common::client::Client| -> Vec<serde_json::Value> {
        client.read("standard-0", "seq_num=0&count=1000").records()
    };
    let records = timestamps(&mut before);
    first.kill();

    let second = bucket.server(1);
    check_all(&mut client(&second), &told);
    let mut after = client(&second);
    assert_eq!(timestamps(&mut after), records, "numbers, timestamps or bytes changed");
    // It goes on where the first one ended, with the same rules.
    let tail = after.tail_seq_num("standard-0");
    assert_eq!(append(&mut after, "standard-0", "b"), tail);
    let late = json!({ "records": [{ "body": "x" }], "match_seq_num": tail });
    after.append("standard-0", &late).status(412);
    assert_eq!(after.config("express-0")["storage_class"], json!("express"));
}

/// It has given up segments, so its log does not begin at the first; files of those that were are
/// still there.
fn a_directory_that_was_there_before(bucket: &Bucket) {
    let mut settings = bucket.settings(0);
    settings
        .extend([("THALWEG_SEGMENT_BYTES", "8388608"), ("THALWEG_CHECKPOINT_BYTES", "1048576")]);
    let place = settings.iter().position(|(name, _)| *name == "THALWEG_BUCKET").expect("a bucket");
    let place = settings.swap_remove(place);
    let mut first = Server::start_with(SHARDS, &settings).expect("unset THALWEG_TEST_URL");
    prepare(&first);
    let mut asking = client(&first);
    asking.create_stream("large");
    let large = "x".repeat(900_000);
    let recycles = poll(EVENTUALLY_WAIT, || {
        (0..8).for_each(|_| drop(asking.append_bodies("large", &[&large])));
        asking.delete("/v1/streams/large").status(202);
        poll(EVENTUALLY_WAIT, || (asking.get("/v1/streams/large").status == 404).then_some(()));
        asking.create_stream("large");
        (asking.metric("thalweg_segments_recycled_total") >= 5).then_some(())
    });
    assert!(recycles.is_some(), "no segment is given up");
    let standard = Load::start(&first, Class::Standard, "a");
    standard.wait_for_more(10);
    let mut told = standard.stop();
    first.kill();

    first.restart_with(place);
    let standard = Load::start(&first, Class::Standard, "b");
    standard.wait_for_more(10);
    told.extend(standard.stop());
    wait_until_shipped(&first);
    first.kill();
    first.restart();
    wait_until_shipped(&first);
    first.kill();
    let second = bucket.server(1);
    let mut asking = client(&second);
    for told in &told {
        check(&read_all(&mut asking, &told.stream), told, told.acked);
    }
}

/// Nobody waits for anything here: what a Standard append promises must hold at any moment.
fn killed_under_load_it_keeps_every_promise(bucket: &Bucket) {
    let mut first = bucket.server(0);
    prepare(&first);
    let early = Load::start(&first, Class::Express, "early");
    early.wait_for_more(5);
    let early = early.stop();
    wait_until_shipped(&first);
    let standard = Load::start(&first, Class::Standard, "a");
    let express = Load::start(&first, Class::Express, "late");
    standard.wait_for_more(20);
    express.wait_for_more(20);
    first.kill();
    let (standard, express) = (standard.stop(), express.stop());

    let second = bucket.server(1);
    check_all(&mut client(&second), &standard);
    let mut after = client(&second);
    for (early, late) in early.iter().zip(&express) {
        let bodies = read_all(&mut after, &early.stream);
        check(&bodies, early, early.acked);
        // Of what was shipped by chance, the beginning: never a later record without an earlier.
        let found = check(&bodies, late, 0);
        assert_eq!(bodies.len(), late.before + found, "{} holds a gap", late.stream);
    }
}

fn a_chain_of_replacements_keeps_everything(bucket: &Bucket) {
    let mut server = bucket.server(0);
    prepare(&server);
    let mut lives = Vec::new();
    for label in ["a", "b", "c", "d"] {
        let load = Load::start(&server, Class::Standard, label);
        load.wait_for_more(5);
        server.kill();
        lives.push(load.stop());
        server = bucket.server(lives.len() % 3);
    }
    let mut client = client(&server);
    for (number, told) in lives.iter().flat_map(|life| life.iter().enumerate()) {
        let bodies = read_all(&mut client, &Class::Standard.stream(number));
        check(&bodies, told, told.acked);
    }
}

fn the_same_machine_goes_on(bucket: &Bucket) {
    let mut server = bucket.server(0);
    prepare(&server);
    let mut lives = Vec::new();
    for (number, label) in ["a", "b", "c"].iter().enumerate() {
        let standard = Load::start(&server, Class::Standard, label);
        let express = Load::start(&server, Class::Express, label);
        standard.wait_for_more(5);
        express.wait_for_more(5);
        if number == 1 {
            let told = [standard.stop(), express.stop()].concat();
            let (status, _) = server.terminate();
            assert!(status.success(), "{status}: {}", server.said());
            lives.push(told);
        } else {
            server.kill();
            lives.push([standard.stop(), express.stop()].concat());
        }
        server.restart();
        // Its own disk has the Express ones, too, whatever the bucket has.
        let mut client = client(&server);
        for told in lives.iter().flatten() {
            let bodies = read_all(&mut client, &told.stream);
            check(&bodies, told, told.acked);
        }
    }
    // And all of it gets into the bucket.
    wait_until_shipped(&server);
    server.kill();
    let second = bucket.server(1);
    let mut client = client(&second);
    for told in lives.iter().flatten() {
        check(&read_all(&mut client, &told.stream), told, told.acked);
    }
}

fn objects_are_numbered_and_never_change(bucket: &Bucket) {
    let mut first = bucket.server(0);
    prepare(&first);
    let load = Load::start(&first, Class::Standard, "a");
    load.wait_for_more(10);
    let before: Vec<_> = bucket.objects().into_iter().filter(|name| is_log(name)).collect();
    let bytes: Vec<_> = before.iter().map(|name| bucket.get(name)).collect();
    load.wait_for_more(10);
    first.kill();
    load.stop();
    let _second = bucket.server(1);
    for (name, bytes) in before.iter().zip(&bytes) {
        assert!(bucket.get(name) == *bytes, "{name} changed");
    }
    for shard in 0..crate::kit::SHARDS {
        let below = format!("shard-{shard}/log/");
        let objects = bucket.objects();
        let numbers = objects.iter().filter_map(|name| name.strip_prefix(&below)?.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        let first = *numbers.first().expect("a claim, at least");
        let wanted: Vec<u64> = (first..first + numbers.len() as u64).collect();
        assert_eq!(numbers, wanted, "{below} has a gap");
    }
}
