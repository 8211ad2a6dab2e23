use proptest::prelude::*;

use super::*;

fn code<T>(result: Result<T, ApiError>) -> Option<Code> {
    result.err().and_then(|error| error.code())
}

fn read(query: &str) -> Result<ReadQuery, ApiError> {
    ReadParams::parse(Some(query))?.validate()
}

const NOTHING: ReadQuery = ReadQuery {
    start: ReadStart::TailOffset(0),
    clamp: false,
    count: None,
    bytes: None,
    until: None,
    wait_secs: None,
};

#[test]
fn listings_default_to_everything() {
    let all = ListQuery {
        prefix: String::new(),
        start_after: String::new(),
        limit: 1000,
        within: Within::All,
    };
    for query in [None, Some(""), Some("&"), Some("=x"), Some("prefix=&start_after"), Some("x=%FF")]
    {
        assert_eq!(ListQuery::basins(query).expect("legal"), all, "{query:?}");
        assert_eq!(ListQuery::streams(query).expect("legal"), all, "{query:?}");
    }
}

#[test]
fn limit_zero_or_above_1000_is_1000() {
    for (value, limit) in [
        ("0", 1000),
        ("1", 1),
        ("007", 7),
        ("999", 999),
        ("1000", 1000),
        ("1001", 1000),
        ("5000", 1000),
        ("18446744073709551615", 1000),
    ] {
        let query = format!("limit={value}");
        assert_eq!(ListQuery::basins(Some(&query)).expect("legal").limit, limit, "{value}");
    }
}

#[test]
fn what_is_no_limit_is_bad_query() {
    for value in
        ["", "x", "-1", "+1", "%2B1", "1.0", "1e3", " 1", "1+", "18446744073709551616", "%FF"]
    {
        let query = format!("limit={value}");
        assert_eq!(code(ListQuery::basins(Some(&query))), Some(Code::BadQuery), "{value}");
    }
}

#[test]
fn prefix_and_start_after_are_decoded_and_checked() {
    let list = ListQuery::streams(Some("prefix=p%2F+x%2B&start%5Fafter=.&other=1&other=2"));
    let expected = ListQuery {
        prefix: "p/ x+".into(),
        start_after: ".".into(),
        limit: 1000,
        within: Within::All,
    };
    assert_eq!(list.expect("legal"), expected);
    let list = ListQuery::basins(Some("prefix=test-&start_after=a&limit=2")).expect("legal");
    let expected = ListQuery {
        prefix: "test-".into(),
        start_after: "a".into(),
        limit: 2,
        within: Within::All,
    };
    assert_eq!(list, expected);

    let long = format!("prefix={}", "a".repeat(513));
    for query in ["prefix=a%00b", "start_after=a%00b", "prefix=%FF", "prefix=a&prefix=a", &long] {
        assert_eq!(code(ListQuery::streams(Some(query))), Some(Code::BadQuery), "{query}");
    }
    let long = format!("start_after={}", "a".repeat(49));
    for query in ["prefix=A", "prefix=-a", "start_after=a_b", "limit=1&%6Cimit=1", &long] {
        assert_eq!(code(ListQuery::basins(Some(query))), Some(Code::BadQuery), "{query}");
    }
}

#[test]
fn reads_start_where_they_say() {
    let starts = [
        ("", ReadStart::TailOffset(0)),
        ("seq_num=0", ReadStart::SeqNum(0)),
        ("seq_num=18446744073709551615", ReadStart::SeqNum(u64::MAX)),
        ("timestamp=5", ReadStart::Timestamp(5)),
        ("tail_offset=10", ReadStart::TailOffset(10)),
    ];
    for (query, start) in starts {
        assert_eq!(read(query).expect(query), ReadQuery { start, ..NOTHING }, "{query}");
    }
}

#[test]
fn every_read_parameter_is_taken() {
    let query = "seq_num=1&clamp=true&count=2&bytes=3&until=4&wait=5&unknown=&unknown=";
    let expected = ReadQuery {
        start: ReadStart::SeqNum(1),
        clamp: true,
        count: Some(2),
        bytes: Some(3),
        until: Some(4),
        wait_secs: Some(5),
    };
    assert_eq!(read(query).expect("legal"), expected);
    assert!(!read("clamp=false").expect("legal").clamp);
    assert_eq!(read("wait=4294967295").expect("legal").wait_secs, Some(u32::MAX));
    assert_eq!(read("count=0&bytes=0").expect("legal").count, Some(0));
}

#[test]
fn wrong_types_in_reads_are_bad_query() {
    for query in [
        "seq_num=-1",
        "seq_num=",
        "seq_num",
        "seq_num=18446744073709551616",
        "timestamp=x",
        "tail_offset=1.0",
        "count=-1",
        "bytes=1k",
        "until=%20",
        "wait=4294967296",
        "wait=-1",
        "clamp=1",
        "clamp=",
        "clamp=TRUE",
        "clamp",
        "count=1&count=1",
        "seq_num=0&timestamp=0&clamp=1",
    ] {
        assert_eq!(code(read(query)), Some(Code::BadQuery), "{query}");
    }
}

#[test]
fn parts_that_do_not_go_together_are_invalid() {
    for query in [
        "seq_num=0&timestamp=0",
        "seq_num=0&tail_offset=0",
        "timestamp=0&tail_offset=0",
        "seq_num=0&timestamp=0&tail_offset=0",
        "timestamp=5&until=5",
        "timestamp=6&until=5",
        "timestamp=0&until=0",
    ] {
        assert!(ReadParams::parse(Some(query)).is_ok(), "{query} is well-formed");
        assert_eq!(code(read(query)), Some(Code::Invalid), "{query}");
    }
    for query in ["timestamp=4&until=5", "seq_num=9&until=5", "until=0"] {
        assert!(read(query).is_ok(), "{query}");
    }
}

#[test]
fn unary_bounds_are_reduced_to_the_limits() {
    let cases = [
        ("", (1000, 1_048_576, 0), false),
        ("count=5000&bytes=9999999&wait=61", (1000, 1_048_576, 60), true),
        ("count=18446744073709551615&bytes=18446744073709551615", (1000, 1_048_576, 0), false),
        ("count=1000&bytes=1048576&wait=60", (1000, 1_048_576, 60), true),
        ("count=1&bytes=9&wait=1", (1, 9, 1), true),
        ("count=0&bytes=0&wait=0", (0, 0, 0), false),
    ];
    for (query, (count, bytes, wait_secs), follows) in cases {
        let limits = read(query).expect(query).unary_limits();
        assert_eq!(limits, UnaryLimits { count, bytes, wait_secs }, "{query}");
        assert_eq!(limits.follows(), follows, "{query}");
    }
}

proptest! {
    #[test]
    fn any_number_is_read_back(seq_num: u64, count: u64, wait: u32) {
        let query = read(&format!("seq_num={seq_num}&count={count}&wait={wait}")).expect("legal");
        prop_assert_eq!(query.start, ReadStart::SeqNum(seq_num));
        prop_assert_eq!(query.count, Some(count));
        prop_assert_eq!(query.wait_secs, Some(wait));
    }
}
