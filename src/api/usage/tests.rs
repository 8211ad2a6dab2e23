use super::*;
use crate::types::StreamName;

const NOW_S: u64 = 1_700_000_000;
const NOW: u32 = 1_700_000_000;
const DAY_S: u32 = 86_400;

fn scopes() -> [UsageScope; 3] {
    let basin = || BasinName::new("test-basin-1").expect("legal");
    let stream = StreamName::new("s").expect("legal");
    let path = StreamPath { basin: basin(), stream };
    [UsageScope::Account, UsageScope::Basin(basin()), UsageScope::Stream(path)]
}

fn ask(scope: &UsageScope, query: &str) -> Result<Query, ApiError> {
    UsageParams::parse(scope, Some(query))?.validate(NOW_S)
}

fn code(result: Result<Query, ApiError>) -> Option<Code> {
    result.err().and_then(|error| error.code())
}

#[test]
fn every_set_has_its_scope_its_default_interval_and_the_others_it_supports() {
    use Interval::{Day, Hour, Minute};
    let [account, basin, stream] = scopes();
    let cases: [(&UsageScope, &str, Set, Interval, &[Interval]); 10] = [
        (&account, "active-basins", Set::ActiveBasins, Hour, &[Minute, Hour, Day]),
        (&account, "account-ops", Set::AccountOps, Hour, &[Minute, Hour, Day]),
        (&account, "estimated-billable-usage", Set::BillableUsage, Hour, &[Hour, Day]),
        (&basin, "storage", Set::BasinStorage, Hour, &[Hour]),
        (&basin, "append-ops", Set::AppendOps, Minute, &[Minute, Hour, Day]),
        (&basin, "read-ops", Set::ReadOps, Minute, &[Minute, Hour, Day]),
        (&basin, "read-throughput", Set::ReadThroughput, Minute, &[Minute, Hour, Day]),
        (&basin, "append-throughput", Set::AppendThroughput, Minute, &[Minute, Hour, Day]),
        (&basin, "basin-ops", Set::BasinOps, Hour, &[Minute, Hour, Day]),
        (&stream, "storage", Set::StreamStorage, Minute, &[Minute]),
    ];
    for (scope, text, set, default, supported) in cases {
        let query = format!("set={text}&start=5&end=9");
        let expected = |interval| Query { set, start_s: 5, end_s: 9, interval };
        assert_eq!(ask(scope, &query).expect(text), expected(default), "{text}");
        for interval in [Minute, Hour, Day] {
            let result = ask(scope, &format!("{query}&interval={}", interval.as_str()));
            if supported.contains(&interval) {
                assert_eq!(result.expect(text), expected(interval), "{text} {interval:?}");
            } else {
                assert_eq!(code(result), Some(Code::Invalid), "{text} {interval:?}");
            }
        }
        for other in scopes().iter().filter(|other| *other != scope) {
            let known = other.set(text).is_some();
            let refused = code(ask(other, &query));
            assert_eq!(refused, (!known).then_some(Code::BadQuery), "{text} {other:?}");
        }
    }
}

#[test]
fn wrong_types_and_names_are_bad_query_whatever_else_is_wrong() {
    let [account, ..] = scopes();
    for query in [
        "",
        "start=0&end=1",
        "set=",
        "set",
        "set=unknown",
        "set=Account-Ops",
        "set=account-ops&set=account-ops&start=0&end=1",
        "set=account-ops&start=-1&end=1",
        "set=account-ops&start=&end=1",
        "set=account-ops&start=0.5&end=1",
        "set=account-ops&start=0&end=4294967296",
        "set=account-ops&start=x",
        "set=account-ops&start=9&end=1&end=1",
        "set=account-ops&start=0&end=1&interval=week",
        "set=account-ops&start=0&end=1&interval=",
        "set=account-ops&start=0&end=1&interval=Hour",
        "set=account-ops&start=0&end=1&interval=day&interval=day",
        "set=%FF&start=0&end=1",
    ] {
        assert_eq!(code(ask(&account, query)), Some(Code::BadQuery), "{query}");
    }
    assert_eq!(
        UsageParams::parse(&account, None).err().and_then(|e| e.code()),
        Some(Code::BadQuery)
    );
    assert!(ask(&account, "set=account-ops&start=0&end=1&other=1&other=2").is_ok());
}

#[test]
fn case_77_times_must_make_sense() {
    let [account, ..] = scopes();
    let set = "set=active-basins";
    let refused = [
        set.to_owned(),
        format!("{set}&start=1"),
        format!("{set}&end=1"),
        format!("{set}&start=2&end=1"),
        format!("{set}&start={NOW}&end={}", NOW + 61),
        format!("{set}&start={NOW}&end={}", NOW + 600),
        format!("{set}&start=0&end={}", u32::MAX),
        format!("{set}&start={}&end={NOW}", NOW - 90 * DAY_S - 1),
        format!("{set}&start={}&end={NOW}", NOW - 91 * DAY_S),
        format!("{set}&start=0&end={NOW}"),
    ];
    for query in refused {
        assert_eq!(code(ask(&account, &query)), Some(Code::Invalid), "{query}");
    }
    let accepted = [
        format!("{set}&start=0&end=0"),
        format!("{set}&start=1&end=1"),
        format!("{set}&start={NOW}&end={}", NOW + 60),
        format!("{set}&start={}&end={NOW}", NOW - 90 * DAY_S),
        format!("{set}&start={}&end={NOW}", NOW - 89 * DAY_S),
        format!("{set}&start=1000000&end=1003600"),
    ];
    for query in accepted {
        assert!(ask(&account, &query).is_ok(), "{query}");
    }
}

#[test]
fn answers_are_objects_with_one_key() {
    let spell = |set, interval, part: Part| {
        let response = response(&Query { set, start_s: 0, end_s: 1, interval }, part);
        assert_eq!((response.status, response.content_type), (200, Some("application/json")));
        String::from_utf8(response.body).expect("JSON is UTF-8")
    };
    let series = || BTreeMap::from([("a", BTreeMap::from([(60, 1), (120, u64::MAX)]))]);
    let part = || Part { series: series(), labels: ["b".to_owned(), "c".to_owned()].into() };
    let values = "[[60,1],[120,18446744073709551615]]";
    for (set, unit) in [
        (Set::AccountOps, "operations"),
        (Set::BasinOps, "operations"),
        (Set::AppendOps, "operations"),
        (Set::ReadOps, "operations"),
        (Set::ReadThroughput, "bytes"),
        (Set::AppendThroughput, "bytes"),
        (Set::BillableUsage, "usd"),
    ] {
        let expected = format!(
            r#"{{"values":[{{"accumulation":{{"name":"a","unit":"{unit}","interval":"day","values":{values}}}}}]}}"#
        );
        assert_eq!(spell(set, Interval::Day, part()), expected, "{set:?}");
        assert_eq!(spell(set, Interval::Day, Part::default()), r#"{"values":[]}"#);
    }
    for set in [Set::BasinStorage, Set::StreamStorage] {
        let expected = format!(
            r#"{{"values":[{{"gauge":{{"name":"a","unit":"bytes","values":{values}}}}}]}}"#
        );
        assert_eq!(spell(set, Interval::Hour, part()), expected, "{set:?}");
    }
    let label = |values: &str| {
        format!(r#"{{"values":[{{"label":{{"name":"active_basins","values":[{values}]}}}}]}}"#)
    };
    assert_eq!(spell(Set::ActiveBasins, Interval::Hour, part()), label(r#""b","c""#));
    assert_eq!(spell(Set::ActiveBasins, Interval::Hour, Part::default()), label(""));
}
