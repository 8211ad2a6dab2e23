//! A bucket that is slow, loses requests and answers, refuses, repeats, or is away for a while.

use crate::common::{EVENTUALLY_WAIT, poll};
use crate::kit::Bucket;
use crate::load::{Class, Load, check_all, client, lag_bytes, prepare, wait_until_shipped};
use crate::proxy::faults::Counts;

crate::on_s3! {
    a_lost_answer_is_no_lost_shard,
    every_fault_at_once,
    away_and_back,
    a_replacement_through_faults,
}

/// A write whose answer was lost is there: whoever finds it must know it for its own.
fn a_lost_answer_is_no_lost_shard(bucket: &Bucket) {
    let mut first = bucket.server(0);
    prepare(&first);
    let load = Load::start(&first, Class::Standard, "a");
    for fate in ["lose_answer", "twice", "lose_request", "lose_answer", "late", "slow_down"] {
        let before = load.acked();
        bucket.faults(0, &format!("next={fate} late_ms=100"));
        load.wait_for_more(3);
        assert!(load.acked() > before, "{fate}");
    }
    let counts = bucket.face(0).counts();
    assert!(counts.lost_answers >= 2 && counts.lost_requests >= 1, "{counts:?}");
    assert!(counts.late >= 1 && counts.twice >= 1 && counts.slowed >= 1, "{counts:?}");
    let told = load.stop();
    check_all(&mut client(&first), &told);
    first.kill();
    check_all(&mut client(&bucket.server(1)), &told);
}

const FAULTS: &str = "latency_ms=20 lose_answer=6 lose_request=6 late=4 twice=6 late_ms=300 \
                      slow_down=6 stale_ms=1000";

fn has_all(counts: &Counts) -> bool {
    counts.lost_answers > 0
        && counts.lost_requests > 0
        && counts.late > 0
        && counts.twice > 0
        && counts.slowed > 0
}

fn every_fault_at_once(bucket: &Bucket) {
    let mut first = bucket.server(0);
    prepare(&first);
    bucket.faults(0, FAULTS);
    let standard = Load::start(&first, Class::Standard, "a");
    let express = Load::start(&first, Class::Express, "a");
    standard.wait_for_more(10);
    let came = poll(EVENTUALLY_WAIT, || has_all(&bucket.face(0).counts()).then_some(()));
    assert!(came.is_some(), "not every fault came: {:?}", bucket.face(0).counts());
    standard.wait_for_more(3);
    let told = [standard.stop(), express.stop()].concat();
    for told in &told {
        assert_eq!(told.ended, None, "{} was not served", told.stream);
    }
    wait_until_shipped(&first);
    first.kill();
    check_all(&mut client(&bucket.server(1)), &told);
}

/// Without a takeover a cut costs lag only.
fn away_and_back(bucket: &Bucket) {
    let mut first = bucket.server(0);
    prepare(&first);
    let standard = Load::start(&first, Class::Standard, "a");
    let express = Load::start(&first, Class::Express, "a");
    standard.wait_for_more(5);
    for how in ["cut=closed", "cut=silent"] {
        bucket.faults(0, how);
        express.wait_for_more(10);
        let at_cut = standard.acked();
        express.wait_for_more(30);
        assert!(standard.acked() <= at_cut + crate::load::STREAMS, "acknowledged nowhere");
        assert!(lag_bytes(&mut first.client()) > 0, "there is no lag to see");
        bucket.faults(0, "none");
        standard.wait_for_more(3);
    }
    let told = [standard.stop(), express.stop()].concat();
    wait_until_shipped(&first);
    check_all(&mut client(&first), &told);
    first.kill();
    check_all(&mut client(&bucket.server(1)), &told);
}

/// The replacement's own way is bad, and its first lists lack what is youngest.
fn a_replacement_through_faults(bucket: &Bucket) {
    let mut first = bucket.server(0);
    prepare(&first);
    let load = Load::start(&first, Class::Standard, "a");
    load.wait_for_more(10);
    first.kill();
    let told = load.stop();
    bucket.faults(1, &format!("{FAULTS} stale_ms=60000"));
    let mut second = bucket.server(1);
    check_all(&mut client(&second), &told);
    let load = Load::start(&second, Class::Standard, "b");
    load.wait_for_more(3);
    second.kill();
    let later = load.stop();
    check_all(&mut client(&bucket.server(2)), &later);
}
