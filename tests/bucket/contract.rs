//! What the other tests take for granted: the S3 server decides who was first, and the proxy does
//! what it says.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::common::http::Response;
use crate::common::{EVENTUALLY_WAIT, Stopwatch, poll};
use crate::kit::Bucket;
use crate::moto::send;

crate::on_s3! {
    a_conditional_write_succeeds_once,
    reads_lists_and_deletes,
    faults_are_what_they_say,
    cuts_lose_what_comes_meanwhile,
}

const ONLY_NEW: &[(&str, &str)] = &[("if-none-match", "*")];

/// The proxy's face 0, and the path below which the test may make objects.
fn place(bucket: &Bucket) -> (String, String) {
    (bucket.face(0).address().to_string(), bucket.target(""))
}

fn put(host: &str, target: &str, body: &[u8]) -> Result<Response, String> {
    send(host, "PUT", target, ONLY_NEW, body.to_vec())
}

fn get(host: &str, target: &str) -> Response {
    send(host, "GET", target, &[], Vec::new()).expect("an answer")
}

fn a_conditional_write_succeeds_once(bucket: &Bucket) {
    let (host, below) = place(bucket);
    for round in 0..20 {
        let barrier = Arc::new(Barrier::new(8));
        let target = format!("{below}race-{round}");
        let writers: Vec<_> = (0..8_u8)
            .map(|number| {
                let (host, target) = (host.clone(), target.clone());
                let barrier = Arc::clone(&barrier);
                thread::spawn(move || {
                    barrier.wait();
                    put(&host, &target, &vec![number; 50_000]).expect("an answer").status
                })
            })
            .collect();
        let told: Vec<u16> = writers.into_iter().map(|one| one.join().expect("it ends")).collect();
        let count = |status| told.iter().filter(|told| **told == status).count();
        assert_eq!((count(200), count(412)), (1, 7), "{told:?}");
        let winner = told.iter().position(|status| *status == 200).expect("one won");
        let there = get(&host, &target).status(200).body.clone();
        let expected = u8::try_from(winner).expect("few writers");
        assert!(there.iter().all(|byte| *byte == expected), "not what the winner wrote");
    }
}

fn reads_lists_and_deletes(bucket: &Bucket) {
    let (host, below) = place(bucket);
    for number in 0..25 {
        put(&host, &format!("{below}log/{number:03}"), b"hello world").expect("it").status(200);
    }
    let range = [("range", "bytes=2-4")];
    let part = send(&host, "GET", &format!("{below}log/003"), &range, Vec::new()).expect("it");
    assert_eq!(part.status(206).body, b"llo");
    let (root, prefix) = below.trim_start_matches('/').split_once('/').expect("bucket and prefix");
    let list = |more: &str| {
        let page = get(&host, &format!("/{root}?list-type=2&prefix={prefix}log/{more}"));
        String::from_utf8(page.status(200).body.clone()).expect("text")
    };
    let first = list(&format!("&max-keys=10&start-after={prefix}log/004"));
    assert_eq!(first.matches("<Key>").count(), 10, "{first}");
    assert!(first.contains("log/005</Key>") && first.contains("<IsTruncated>true"), "{first}");
    let (_, token) = first.split_once("<NextContinuationToken>").expect("there is more");
    let (token, _) = token.split_once('<').expect("its end");
    let second = list(&format!("&max-keys=10&continuation-token={token}"));
    assert!(second.contains("log/015</Key>") && !second.contains("log/014</Key>"), "{second}");
    for _ in 0..2 {
        let target = format!("{below}log/003");
        send(&host, "DELETE", &target, &[], Vec::new()).expect("it").status(204);
        get(&host, &target).status(404);
    }
    assert!(!list("").contains("log/003</Key>"));
}

fn faults_are_what_they_say(bucket: &Bucket) {
    let (host, below) = place(bucket);
    let object = |name: &str| format!("{below}{name}");
    let there = |name: &str| get(&bucket.face(1).address().to_string(), &object(name)).status;

    bucket.faults(0, "next=lose_answer");
    assert!(put(&host, &object("a"), b"1").is_err());
    assert_eq!(there("a"), 200);
    put(&host, &object("a"), b"1").expect("an answer").status(412);

    bucket.faults(0, "next=lose_request");
    assert!(put(&host, &object("b"), b"1").is_err());
    assert_eq!(there("b"), 404);

    bucket.faults(0, "next=late late_ms=500");
    assert!(put(&host, &object("c"), b"1").is_err());
    let arrived = poll(EVENTUALLY_WAIT, || (there("c") == 200).then_some(()));
    assert!(arrived.is_some(), "the late write never came");

    bucket.faults(0, "next=twice late_ms=10");
    put(&host, &object("d"), b"1").expect("an answer").status(200);
    let again = poll(EVENTUALLY_WAIT, || (bucket.face(0).counts().arrived >= 2).then_some(()));
    assert!(again.is_some() && there("d") == 200, "the second write never came");
    assert_eq!(bucket.face(0).counts().late_created, 1);

    bucket.faults(0, "next=slow_down");
    let told = put(&host, &object("e"), b"1").expect("an answer");
    assert!(String::from_utf8_lossy(&told.status(503).body).contains("SlowDown"));

    bucket.faults(0, "latency_ms=300");
    let watch = Stopwatch::start();
    put(&host, &object("f"), b"1").expect("an answer").status(200);
    assert!(watch.elapsed() >= Duration::from_millis(300));

    bucket.faults(0, "none stale_ms=3600000");
    let (root, prefix) = below.trim_start_matches('/').split_once('/').expect("bucket and prefix");
    let target = format!("/{root}?list-type=2&prefix={prefix}");
    let list = |host: &str| String::from_utf8(get(host, &target).body).expect("text");
    assert_eq!(list(&host).matches("<Key>").count(), 0, "made just now, and listed");
    bucket.faults(0, "none");
    assert_eq!(list(&host).matches("<Key>").count(), 4);
}

fn cuts_lose_what_comes_meanwhile(bucket: &Bucket) {
    let (host, below) = place(bucket);
    bucket.faults(0, "cut=closed");
    assert!(put(&host, &format!("{below}a"), b"1").is_err());
    bucket.faults(0, "cut=silent");
    let (to, target) = (host.clone(), format!("{below}b"));
    let waiting = thread::spawn(move || put(&to, &target, b"1").is_err());
    let came = poll(EVENTUALLY_WAIT, || (bucket.face(0).counts().requests >= 2).then_some(()));
    assert!(came.is_some() && !waiting.is_finished(), "it was answered");
    bucket.faults(0, "none");
    assert!(waiting.join().expect("it ends"), "it was answered after all");
    for name in ["a", "b"] {
        get(&host, &format!("{below}{name}")).status(404);
        put(&host, &format!("{below}{name}"), b"1").expect("an answer").status(200);
    }
}
