//! Reads of what is there: where they start, where they stop, how they page.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::Stopwatch;
use crate::common::client::{Client, batch, fresh_basin};

fn stream_of(bodies: &[&str]) -> Client {
    let mut client = fresh_basin();
    client.create_stream("s");
    client.append_bodies("s", bodies);
    client
}

fn empty_stream() -> Client {
    let mut client = fresh_basin();
    client.create_stream("s");
    client
}

/// What a read of an exhausted range answers while the tail is where `client` sees it now.
fn beyond(client: &mut Client) -> Value {
    client.tail("s").status(200).json()
}

#[test]
fn case_49_an_empty_stream_has_nothing_to_read() {
    let mut client = empty_stream();
    let tail = json!({ "tail": { "seq_num": 0, "timestamp": 0 } });
    for query in ["seq_num=0", "timestamp=0", "timestamp=1", "tail_offset=0", "tail_offset=3", ""] {
        client.read("s", query).is(416, &tail);
    }
    // A time that no record has reached is beyond the tail even for a read that would wait.
    client.read("s", "timestamp=1&wait=1").is(416, &tail);
}

#[test]
fn case_50_51_a_start_is_resolved_against_the_tail() {
    let mut client = stream_of(&["0", "1", "2"]);
    let tail = beyond(&mut client);
    let refused = [
        "tail_offset=0",
        "",
        "count=5",
        "seq_num=3",
        "seq_num=99",
        "seq_num=99&clamp=true",
        "seq_num=3&clamp=true",
        "seq_num=99&clamp=false",
        "seq_num=4&wait=1",
        "seq_num=18446744073709551615",
        "timestamp=18446744073709551615",
        "timestamp=18446744073709551615&clamp=true",
    ];
    for query in refused {
        client.read("s", query).is(416, &tail);
    }
    let accepted: [(&str, &[u64]); 8] = [
        ("tail_offset=2", &[1, 2]),
        ("tail_offset=3", &[0, 1, 2]),
        ("tail_offset=10", &[0, 1, 2]),
        ("tail_offset=18446744073709551615", &[0, 1, 2]),
        ("seq_num=2", &[2]),
        ("seq_num=2&clamp=true", &[2]),
        ("timestamp=0", &[0, 1, 2]),
        ("seq_num=0&unknown=x&wait=0", &[0, 1, 2]),
    ];
    for (query, seq_nums) in accepted {
        assert_eq!(client.read_seq_nums("s", query), seq_nums, "{query}");
    }
}

#[test]
fn case_51_a_clamped_read_waits_at_the_tail() {
    let mut client = stream_of(&["0", "1", "2"]);
    for query in ["seq_num=99&clamp=true&wait=1", "seq_num=3&wait=1"] {
        let watch = Stopwatch::start();
        let read = client.read("s", query);
        assert!(read.records().is_empty(), "{read}");
        let waited = watch.elapsed();
        assert!(waited >= Duration::from_millis(990), "{query}: only {waited:?}");
        assert!(waited < Duration::from_secs(8), "{query}: {waited:?}");
    }
}

#[test]
fn case_52_contradictory_and_malformed_queries_are_refused() {
    let mut client = stream_of(&["0"]);
    let invalid = [
        "seq_num=0&timestamp=0",
        "seq_num=0&tail_offset=0",
        "timestamp=0&tail_offset=0",
        "timestamp=5&until=5",
        "timestamp=5&until=4",
    ];
    for query in invalid {
        client.read("s", query).refused(422, "invalid");
    }
    let malformed = [
        "seq_num=-1",
        "seq_num=",
        "seq_num=1.0",
        "seq_num=0x1",
        "seq_num=18446744073709551616",
        "seq_num=0&seq_num=0",
        "timestamp=now",
        "tail_offset=-1",
        "seq_num=0&clamp=1",
        "seq_num=0&clamp=",
        "seq_num=0&count=x",
        "seq_num=0&count=-1",
        "seq_num=0&bytes=1k",
        "seq_num=0&until=x",
        "seq_num=0&wait=-1",
        "seq_num=0&wait=4294967296",
        "seq_num=0&wait=1&wait=1",
    ];
    for query in malformed {
        client.read("s", query).refused(400, "bad_query");
    }
}

#[test]
fn case_53_limits_are_never_exceeded_not_even_by_the_first_record() {
    // Metered 18 bytes each.
    let mut client = stream_of(&["0123456789"; 4]);
    let table: [(&str, &[u64]); 10] = [
        ("count=0", &[]),
        ("count=1", &[0]),
        ("count=4", &[0, 1, 2, 3]),
        ("bytes=0", &[]),
        ("bytes=17", &[]),
        ("bytes=18", &[0]),
        ("bytes=35", &[0]),
        ("bytes=36", &[0, 1]),
        ("bytes=1000&count=3", &[0, 1, 2]),
        ("bytes=54&count=18446744073709551615", &[0, 1, 2]),
    ];
    for (limits, seq_nums) in table {
        let read = client.read("s", &format!("seq_num=0&{limits}"));
        assert_eq!(read.records().len(), seq_nums.len(), "{read}");
        assert_eq!(client.read_seq_nums("s", &format!("seq_num=0&{limits}")), seq_nums, "{limits}");
    }
    client.read("s", "seq_num=0&count=0").is(200, &json!({ "records": [] }));
}

#[test]
fn case_54_pages_of_a_long_stream_are_exact() {
    let mut client = empty_stream();
    let bodies: Vec<String> = (0..1100).map(|index| format!("record {index}")).collect();
    let texts: Vec<&str> = bodies.iter().map(String::as_str).collect();
    client.append_bodies("s", &texts[..550]);
    client.append_bodies("s", &texts[550..]);
    assert_eq!(client.read_bodies("s", "seq_num=0&count=5000"), &bodies[..1000]);
    assert_eq!(client.read_bodies("s", "seq_num=0"), &bodies[..1000]);
    assert_eq!(client.read_bodies("s", "seq_num=1000"), &bodies[1000..]);
    assert_eq!(client.read_bodies("s", "tail_offset=1"), &bodies[1099..]);
    let mut seen = Vec::new();
    while seen.len() < bodies.len() {
        let page = client.read_bodies("s", &format!("seq_num={}&count=37", seen.len()));
        assert_eq!(page.len(), 37.min(bodies.len() - seen.len()), "after {}", seen.len());
        seen.extend(page);
    }
    assert_eq!(seen, bodies);
}

#[test]
fn case_55_timestamps_select_a_half_open_range() {
    let mut client = empty_stream();
    let records: Vec<Value> = [10, 20, 20, 30].map(|at| json!({ "timestamp": at })).into();
    client.append("s", &json!({ "records": records })).status(200);
    let table: [(&str, &[u64]); 10] = [
        ("timestamp=20", &[1, 2, 3]),
        ("timestamp=0", &[0, 1, 2, 3]),
        ("timestamp=11", &[1, 2, 3]),
        ("timestamp=21", &[3]),
        ("timestamp=30", &[3]),
        ("seq_num=0&until=20", &[0]),
        ("seq_num=0&until=10", &[]),
        ("seq_num=1&until=30", &[1, 2]),
        ("timestamp=20&until=21", &[1, 2]),
        ("tail_offset=2&until=31", &[2, 3]),
    ];
    for (query, seq_nums) in table {
        assert_eq!(client.read_seq_nums("s", query), seq_nums, "{query}");
    }
    let tail = beyond(&mut client);
    client.read("s", "timestamp=31").is(416, &tail);
}

#[test]
fn case_87_exhausted_limits_succeed_at_once_wherever_they_start() {
    let mut client = empty_stream();
    for limit in ["count=0", "bytes=0"] {
        for start in ["timestamp=0", "timestamp=1", "seq_num=0", "seq_num=1", "tail_offset=0"] {
            for wait in ["wait=0", "wait=60"] {
                let watch = Stopwatch::start();
                let read = client.read("s", &format!("{limit}&{start}&{wait}"));
                read.is(200, &json!({ "records": [] }));
                assert!(watch.elapsed() < Duration::from_secs(5), "it waited: {read}");
            }
        }
    }
}

#[test]
fn a_page_ends_before_the_record_that_would_exceed_one_mebibyte() {
    let mut client = empty_stream();
    let sizes = [600_000, 448_568, 600_000, 448_561, 1_048_568, 1_048_568, 10];
    for size in sizes {
        let body = "x".repeat(size);
        client.append_bodies("s", &[&body]);
    }
    // 600,008 + 448,576 is 8 too many; 600,008 + 448,569 is one too many.
    let pages: [(u64, &[usize]); 7] = [
        (0, &[600_000]),
        (1, &[448_568]),
        (2, &[600_000]),
        (3, &[448_561]),
        (4, &[1_048_568]),
        (5, &[1_048_568]),
        (6, &[10]),
    ];
    for (start, expected) in pages {
        let bodies = client.read_bodies("s", &format!("seq_num={start}"));
        let lengths: Vec<usize> = bodies.iter().map(String::len).collect();
        assert_eq!(lengths, expected, "from {start}");
    }
    client.append_bodies("s", &[&"y".repeat(1_048_550)]);
    // 18 + 1,048,558 fill the page exactly.
    let lengths: Vec<usize> =
        client.read_bodies("s", "seq_num=6").iter().map(String::len).collect();
    assert_eq!(lengths, [10, 1_048_550]);
    assert_eq!(client.read_seq_nums("s", "seq_num=6&bytes=1048575"), [6]);
    assert_eq!(client.read_seq_nums("s", "seq_num=4&bytes=1048575"), [0_u64; 0]);
    assert_eq!(client.read_seq_nums("s", "seq_num=4&bytes=99999999"), [4]);
}

#[test]
fn batches_of_many_sizes_read_back_as_they_were() {
    let mut client = empty_stream();
    let mut written = Vec::new();
    for (index, size) in [0_usize, 1, 7, 511, 512, 513, 4095, 4096, 4097, 70_000].iter().enumerate()
    {
        let letter = char::from(b'a' + u8::try_from(index).expect("few sizes"));
        let bodies = vec![letter.to_string().repeat(*size); index % 3 + 1];
        let texts: Vec<&str> = bodies.iter().map(String::as_str).collect();
        client.append("s", &batch(&texts)).status(200);
        written.extend(bodies);
    }
    assert_eq!(client.read_bodies("s", "seq_num=0"), written);
    for (start, body) in written.iter().enumerate() {
        let read = client.read_bodies("s", &format!("seq_num={start}&count=1"));
        assert_eq!(read, [body.as_str()], "record {start}");
    }
}
