//! Owners that lost their shards without knowing: paused, or cut off from the bucket.

use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, Stopwatch, poll};
use crate::kit::{Attempt, Bucket};
use crate::load::{
    Class, Load, STREAMS, Told, append, check, check_all, client, lag_bytes, prepare, read_all,
    wait_until_shipped,
};

crate::on_both! {
    a_paused_owner_acknowledges_nothing_more,
    an_owner_returns_only_with_an_empty_directory,
    a_replacement_is_replaced,
    of_two_replacements_at_most_one_serves,
}

mod cut_off {
    use super::{cut_closed, cut_silent};
    crate::on_s3! { cut_closed, cut_silent }
}

/// What the first owner's streams held when its Express appends were known to be shipped.
struct Shipped(Vec<Told>);

/// Writers on a server, after some Express appends that are known to be in the bucket.
fn start(server: &Server) -> (Shipped, Load, Load) {
    prepare(server);
    let early = Load::start(server, Class::Express, "early");
    early.wait_for_more(5);
    let early = early.stop();
    wait_until_shipped(server);
    let standard = Load::start(server, Class::Standard, "a");
    let express = Load::start(server, Class::Express, "a");
    standard.wait_for_more(10);
    express.wait_for_more(10);
    (Shipped(early), standard, express)
}

/// Appends that the second owner acknowledges, at the places it gives them.
fn append_to_all(server: &Server) -> Vec<(String, u64, String)> {
    let mut client = client(server);
    let mut told = Vec::new();
    for class in [Class::Standard, Class::Express] {
        for (number, round) in (0..STREAMS).flat_map(|number| [(number, 0), (number, 1)]) {
            let (stream, body) = (class.stream(number), format!("second {round}"));
            let place = append(&mut client, &stream, &body);
            told.push((stream, place, body));
        }
    }
    told
}

/// The old owner must end by itself, with an error and words for it.
#[track_caller]
fn must_end(old: &mut Server) {
    let (status, _) = old.wait_for_end(Stopwatch::start());
    let said = old.said();
    assert!(!status.success(), "{status}: {said}");
    assert!(said.contains("taken over"), "it does not say why: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// The new owner holds what each of the two promised, in one order.
#[track_caller]
fn check_both(
    second: &Server,
    Shipped(early): &Shipped,
    first: &[Told],
    told: &[(String, u64, String)],
) {
    let mut client = client(second);
    for old in first {
        let bodies = read_all(&mut client, &old.stream);
        let is_standard = old.stream.starts_with("standard");
        let found = check(&bodies, old, if is_standard { old.acked } else { 0 });
        let ours = told.iter().filter(|(stream, ..)| *stream == old.stream);
        for ((_, place, body), expected) in ours.zip(old.before + found..) {
            assert_eq!(*place, expected as u64, "{}: {bodies:?}", old.stream);
            assert_eq!(bodies.get(expected), Some(body), "{}", old.stream);
        }
    }
    for early in early {
        check(&read_all(&mut client, &early.stream), early, early.acked);
    }
}

fn a_paused_owner_acknowledges_nothing_more(bucket: &Bucket) {
    let mut first = bucket.server(0);
    let (shipped, standard, express) = start(&first);
    first.signal("STOP");
    // Its writers have sent what it will find when it goes on.
    let second = bucket.server(1);
    let told = append_to_all(&second);
    first.signal("CONT");
    must_end(&mut first);
    let old = [standard.stop(), express.stop()].concat();
    check_both(&second, &shipped, &old, &told);
    // The second one is not disturbed.
    append_to_all(&second);
}

/// The directory of an owner that lost its shards is refused, before and after it was used again.
fn an_owner_returns_only_with_an_empty_directory(bucket: &Bucket) {
    let mut first = bucket.server(0);
    let (shipped, standard, express) = start(&first);
    first.kill();
    let old = [standard.stop(), express.stop()].concat();
    let second = bucket.server(1);
    let told = append_to_all(&second);
    for _ in 0..2 {
        let said = bucket.refuses(0, &first.data_dir());
        assert!(said.contains("taken over") && said.contains("empty"), "{said}");
    }
    check_both(&second, &shipped, &old, &told);
    append_to_all(&second);
    drop(second);
    // A third one has all of it.
    let third = bucket.server(2);
    check_both(&third, &shipped, &old, &told);
}

/// A replacement is replaced while it serves: it ends like any other owner.
fn a_replacement_is_replaced(bucket: &Bucket) {
    let mut first = bucket.server(0);
    let (shipped, standard, express) = start(&first);
    first.kill();
    let old = [standard.stop(), express.stop()].concat();
    let mut second = bucket.server(1);
    let third = bucket.server(2);
    must_end(&mut second);
    let told = append_to_all(&third);
    check_both(&third, &shipped, &old, &told);
}

/// Two that begin at once: in the end at most one serves. If each took a shard from the other, none
/// does; whoever comes then does, and nothing is lost by any of it.
fn of_two_replacements_at_most_one_serves(bucket: &Bucket) {
    let mut first = bucket.server(0);
    let (_, standard, express) = start(&first);
    first.kill();
    let standard = standard.stop();
    express.stop();
    let mut both = [1, 2].map(|face| bucket.begin(face, &bucket.path(&format!("data-{face}"))));
    let settled = poll(EVENTUALLY_WAIT, || {
        let ended = both.iter_mut().filter_map(Attempt::ended).count();
        let serving = both.iter_mut().any(|one| one.ended().is_none() && one.host().is_some());
        (ended == 2 || (ended == 1 && serving)).then_some(())
    });
    let said = both.each_ref().map(Attempt::said).join("\n---\n");
    assert!(settled.is_some(), "both go on: {said}");
    for one in &mut both {
        // Who still serves may be about to find out that it lost one of the shards.
        if let Some(status) = one.ended() {
            assert!(!status.success() && !one.said().contains("panicked"), "{status}: {said}");
        }
    }
    drop(both);
    let third = bucket.server(1);
    check_all(&mut client(&third), &standard);
    append_to_all(&third);
}

fn cut_closed(bucket: &Bucket) {
    cut(bucket, "cut=closed");
}

fn cut_silent(bucket: &Bucket) {
    cut(bucket, "cut=silent");
}

/// The owner goes on with Express appends, which promise the local disk, and acknowledges no
/// Standard one; another takes over; the owner ends when it reaches the bucket again.
fn cut(bucket: &Bucket, how: &str) {
    let mut first = bucket.server(0);
    let (shipped, standard, express) = start(&first);
    bucket.faults(0, how);
    express.wait_for_more(10);
    // What was on its way when the cut came may still have been answered; nothing after that.
    let at_cut = standard.acked();
    express.wait_for_more(30);
    assert!(standard.acked() <= at_cut + STREAMS, "acknowledged without the bucket");
    let settled = standard.acked();
    let mut asking = first.client();
    let lags = poll(EVENTUALLY_WAIT, || (lag_bytes(&mut asking) > 0).then_some(()));
    assert!(lags.is_some(), "there is no lag to see");

    let second = bucket.server(1);
    let told = append_to_all(&second);
    express.wait_for_more(5);
    assert_eq!(standard.acked(), settled, "acknowledged after the takeover");
    bucket.faults(0, "none");
    must_end(&mut first);
    let old = [standard.stop(), express.stop()].concat();
    // What it acknowledged since can only be what had come to the bucket before the takeover, its
    // answer lost by the cut: then the second one has it.
    check_both(&second, &shipped, &old, &told);
    append_to_all(&second);
}
