use std::collections::BTreeMap;

use proptest::prelude::*;

use super::series::Series;
use super::*;
use crate::types::BasinName;

/// A full hour, and the start of a day: 2023-11-15T00:00:00Z.
const DAY_S: u32 = 1_700_006_400;
const NOW: u64 = DAY_S as u64 + 12 * 3_600;

fn name(text: &str) -> BasinName {
    BasinName::new(text).expect("legal in tests")
}

fn query(set: Set, start_s: u32, end_s: u32, interval: Interval) -> Query {
    Query { set, start_s, end_s, interval }
}

fn at(secs: u32) -> u64 {
    u64::from(DAY_S + secs)
}

/// The points of one series of `test-basin-1`, by seconds since [`DAY_S`].
fn points(ledger: &Ledger, query: &Query, series: &str) -> Vec<(u32, u64)> {
    let part = ledger.part(Some(&name("test-basin-1")), query, NOW);
    let points = part.series.get(series).into_iter().flatten();
    points.map(|(at, value)| (at - DAY_S, *value)).collect()
}

#[test]
fn buckets_roll_over_by_minute_hour_and_day() {
    let mut ledger = Ledger::default();
    let book = ledger.basin(&name("test-basin-1"));
    for secs in [0, 59, 60, 119, 3_599, 3_600, 7_200, 86_399, 86_400] {
        book.count(Counter::ReadBytes, at(secs), 10);
    }
    let ask = |end, interval| {
        let query = query(Set::ReadThroughput, DAY_S, DAY_S + end, interval);
        points(&ledger, &query, "read_throughput")
    };
    let minutes = [(0, 20), (60, 20), (3_540, 10), (3_600, 10), (7_200, 10)];
    assert_eq!(ask(7_201, Interval::Minute), minutes);
    assert_eq!(ask(7_200, Interval::Minute), minutes[..4], "the end is excluded");
    let hours = [(0, 50), (3_600, 10), (7_200, 10), (82_800, 10), (86_400, 10)];
    assert_eq!(ask(90_000, Interval::Hour), hours);
    assert_eq!(ask(90_000, Interval::Day), [(0, 80), (86_400, 10)]);
    assert_eq!(ask(1, Interval::Day), [(0, 80)], "an interval is answered whole");
    assert_eq!(ask(0, Interval::Day), []);
}

#[test]
fn every_counter_shows_in_its_set_under_its_name_and_no_key_or_name_comes_twice() {
    let mut seen = Vec::new();
    for counter in Counter::ALL.iter().copied() {
        let mut ledger = Ledger::default();
        ledger.basin(&name("test-basin-1")).count(counter, at(0), 3);
        ledger.account().count(counter, at(0), 5);
        let query = query(counter.set(), DAY_S, DAY_S + 60, Interval::Hour);
        let shown = BTreeMap::from([(counter.name(), BTreeMap::from([(DAY_S, 3)]))]);
        assert_eq!(ledger.part(Some(&name("test-basin-1")), &query, NOW).series, shown);
        let shown = BTreeMap::from([(counter.name(), BTreeMap::from([(DAY_S, 5)]))]);
        assert_eq!(ledger.part(None, &query, NOW).series, shown);
        assert_eq!(ledger.part(Some(&name("test-basin-2")), &query, NOW), Part::default());
        seen.extend([counter.key().to_owned(), format!("{:?} {}", counter.set(), counter.name())]);
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

#[test]
fn appends_are_told_apart_by_class() {
    let mut ledger = Ledger::default();
    let book = ledger.basin(&name("test-basin-1"));
    for (class, bytes) in [("express", 10), ("express", 1), ("standard", 20), ("gold", 30), ("", 4)]
    {
        book.appended(Class::of(class), at(5), bytes, (0, 0));
    }
    for (set, express, standard, other) in
        [(Set::AppendOps, 2, 1, 2), (Set::AppendThroughput, 11, 20, 34)]
    {
        let query = query(set, DAY_S, DAY_S + 60, Interval::Minute);
        assert_eq!(points(&ledger, &query, "express"), [(0, express)]);
        assert_eq!(points(&ledger, &query, "standard"), [(0, standard)]);
        assert_eq!(points(&ledger, &query, "other"), [(0, other)]);
    }
}

#[test]
fn shards_add_up() {
    let point = |at, value| BTreeMap::from([(at, value)]);
    let mut whole = Part::default();
    whole.merge(Part {
        series: BTreeMap::from([("a", point(60, 1)), ("b", point(60, 7))]),
        labels: ["one".to_owned(), "two".to_owned()].into(),
    });
    whole.merge(Part {
        series: BTreeMap::from([("a", BTreeMap::from([(60, 2), (120, 3)]))]),
        labels: ["two".to_owned(), "three".to_owned()].into(),
    });
    let a = BTreeMap::from([(60, 3), (120, 3)]);
    assert_eq!(whole.series, BTreeMap::from([("a", a), ("b", point(60, 7))]));
    assert_eq!(whole.labels, ["one".to_owned(), "two".to_owned(), "three".to_owned()].into());
}

#[test]
fn storage_carries_on_from_the_last_change() {
    let mut ledger = Ledger::default();
    let book = ledger.basin(&name("test-basin-1"));
    book.stored_changed(at(100), 0, 50);
    book.stored_changed(at(200), 0, 20);
    book.stored_changed(at(3 * 3_600 + 10), 50, 40);
    let ask = |start, end| {
        let query = query(Set::BasinStorage, DAY_S + start, DAY_S + end, Interval::Hour);
        points(&ledger, &query, "storage")
    };
    let all = [(0, 70), (3_600, 70), (7_200, 70), (10_800, 60), (14_400, 60)];
    assert_eq!(ask(0, 5 * 3_600), all);
    assert_eq!(ask(3_600, 3 * 3_600), all[1..3]);
    assert_eq!(ask(11 * 3_600, 20 * 3_600), [(39_600, 60), (43_200, 60)], "none in the future");
    let before = query(Set::BasinStorage, DAY_S - 7_200, DAY_S, Interval::Hour);
    assert_eq!(ledger.part(Some(&name("test-basin-1")), &before, NOW), Part::default());
}

#[test]
fn a_streams_storage_is_known_for_the_present_minute_only() {
    let now = u32::try_from(NOW).expect("before 2106");
    for (start, end, known) in [
        (now - 600, now + 1, true),
        (now, now + 60, true),
        (now - 600, now - 60, false),
        (now + 60, now + 120, false),
        (now + 1, now + 1, false),
    ] {
        let query = query(Set::StreamStorage, start, end, Interval::Minute);
        let part = Part::storage_now(&query, NOW, 9);
        let expected = known.then(|| ("storage", BTreeMap::from([(now, 9)])));
        assert_eq!(part.series, expected.into_iter().collect(), "{start} {end}");
    }
}

#[test]
fn a_basin_is_active_while_it_has_streams() {
    let ledger = &mut Ledger::default();
    ledger.account().count(Counter::ListBasins, at(0), 1);
    let gone = ledger.basin(&name("gone-basin"));
    gone.stream_added(at(100));
    gone.stream_added(at(200));
    gone.stream_removed(at(300), 0);
    gone.stream_removed(at(7_300), 0);
    ledger.basin(&name("live-basin")).stream_added(at(7_200));
    ledger.basin(&name("bare-basin")).count(Counter::ListStreams, at(0), 1);
    let ask = |start: u32, end: u32| {
        let query = query(Set::ActiveBasins, DAY_S + start, DAY_S + end, Interval::Hour);
        let part = ledger.part(None, &query, NOW);
        assert!(part.series.is_empty());
        part.labels.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(ask(0, 100), [""; 0]);
    assert_eq!(ask(50, 101), ["gone-basin"]);
    assert_eq!(ask(400, 7_201), ["gone-basin", "live-basin"]);
    assert_eq!(ask(7_301, 9_000), ["live-basin"]);
    assert_eq!(ask(8_000, 8_000), [""; 0], "nothing happens in no time");
}

#[test]
fn a_basin_that_keeps_changing_has_one_span_of_activity_an_hour() {
    let mut ledger = Ledger::default();
    let book = ledger.basin(&name("test-basin-1"));
    for secs in (0..10 * 3_600).step_by(10) {
        book.stream_added(at(secs));
        book.stream_removed(at(secs + 5), 0);
    }
    assert!(book.samples() <= 20, "{}", book.samples());
    let saved = ledger.save().find(|saved| saved.basin.is_some()).expect("it was active");
    assert!(saved.active.is_sorted() && saved.active.len() <= 20, "{:?}", saved.active);
}

#[test]
fn what_is_old_is_forgotten_and_the_level_of_storage_is_not() {
    let mut ledger = Ledger::default();
    let book = ledger.basin(&name("test-basin-1"));
    let kept_s = HOURS_KEPT * 3_600;
    let now_s = DAY_S + kept_s;
    for secs in [0, 3_600, kept_s - 90_000, kept_s - 86_400 + 60, kept_s] {
        book.count(Counter::ReadBytes, at(secs), 1);
    }
    book.stored_changed(at(0), 0, 5);
    book.stored_changed(at(10), 5, 7);
    ledger.basin(&name("gone-basin")).count(Counter::ReadBytes, at(0), 1);
    ledger.prune(u64::from(now_s));
    let ask = |set, interval, series: &str| {
        let query = query(set, DAY_S, now_s + 1, interval);
        let part = ledger.part(Some(&name("test-basin-1")), &query, u64::from(now_s));
        let points = part.series.get(series).into_iter().flatten();
        points.map(|(at, value)| (at - DAY_S, *value)).collect::<Vec<_>>()
    };
    let hours = [(3_600, 1), (kept_s - 90_000, 1), (kept_s - 86_400, 1), (kept_s, 1)];
    assert_eq!(ask(Set::ReadThroughput, Interval::Hour, "read_throughput"), hours);
    let minutes = [(kept_s - 86_340, 1), (kept_s, 1)];
    assert_eq!(ask(Set::ReadThroughput, Interval::Minute, "read_throughput"), minutes);
    let storage = ask(Set::BasinStorage, Interval::Hour, "storage");
    assert_eq!((storage.len(), storage.last()), (HOURS_KEPT as usize + 1, Some(&(kept_s, 7))));
    let names: Vec<_> = ledger.save().filter_map(|saved| saved.basin).collect();
    assert_eq!(names, ["test-basin-1"], "a basin of which nothing is left is not kept");
    book.stored_changed(u64::from(now_s), 7, 0);
    ledger.prune(u64::from(now_s + kept_s + 3_600));
    assert_eq!(book.samples(), 0, "nothing stored for 90 days is nothing known");
}

#[test]
fn memory_is_bounded_by_forgetting_the_past_sooner() {
    const BASINS: u32 = 20;
    const SAMPLES: usize = 20_000;
    let mut ledger = Ledger::default();
    let kept_s = HOURS_KEPT * 3_600;
    for basin in 0..BASINS {
        let book = ledger.basin(&name(&format!("test-basin-{basin}")));
        for hour in 0..HOURS_KEPT {
            book.appended(Class::Express, at(hour * 3_600), 1, (0, 1));
        }
        for minute in 0..MINUTES_KEPT {
            book.count(Counter::ReadBytes, at(kept_s - minute * 60), 1);
        }
    }
    let now_s = u64::from(DAY_S + kept_s);
    ledger.prune_to(now_s, usize::MAX);
    assert!(ledger.samples() > 5 * SAMPLES, "{} are too many", ledger.samples());
    ledger.prune_to(now_s, SAMPLES);
    assert!(ledger.samples() <= SAMPLES, "{} are left", ledger.samples());
    let recent = query(Set::ReadThroughput, DAY_S + kept_s - 600, DAY_S + kept_s, Interval::Minute);
    assert_eq!(points(&ledger, &recent, "read_throughput").len(), 10, "the newest stay");
    // Never less than what a day by the hour takes, however many basins there are.
    ledger.prune_to(now_s, 0);
    let day = query(Set::ReadThroughput, DAY_S + kept_s - 80_000, DAY_S + kept_s, Interval::Hour);
    assert!(points(&ledger, &day, "read_throughput").len() >= 22);
    let bound = BASINS as usize * (4 * 24 + 15 + 2 * 45 + 2);
    assert!(ledger.samples() <= bound, "{} <= {bound}", ledger.samples());
}

#[test]
fn a_clock_set_back_loses_nothing() {
    let mut ledger = Ledger::default();
    let book = ledger.basin(&name("test-basin-1"));
    for secs in [600, 660, 540, 600, 0, 660, 7_200, 30] {
        book.appended(Class::Express, at(secs), 1, (0, 1));
    }
    let minutes = query(Set::AppendThroughput, DAY_S, DAY_S + 8_000, Interval::Minute);
    let expected = [(0, 2), (540, 1), (600, 2), (660, 2), (7_200, 1)];
    assert_eq!(points(&ledger, &minutes, "express"), expected);
    let storage = query(Set::BasinStorage, DAY_S, DAY_S + 8_000, Interval::Hour);
    assert_eq!(points(&ledger, &storage, "storage"), [(0, 8), (3_600, 8), (7_200, 8)]);
}

#[test]
fn a_checkpoint_says_everything_and_saving_changes_only_what_the_log_does_not_tell() {
    let mut ledger = Ledger::default();
    let book = ledger.basin(&name("test-basin-1"));
    assert_eq!(ledger.unsaved().count(), 0);
    book.stream_added(at(0));
    book.appended(Class::Express, at(0), 100, (0, 100));
    assert_eq!(ledger.unsaved().count(), 0, "the log tells of appends");
    book.count(Counter::ReadBytes, at(0), 1);
    book.count(Counter::ReadBytes, at(4_000), 2);
    ledger.mark_saved();
    assert_eq!(ledger.unsaved().count(), 0);
    book.count(Counter::ReadBytes, at(4_000), 5);
    ledger.account().count(Counter::ListBasins, at(4_000), 1);
    let unsaved: Vec<_> = ledger.unsaved().collect();
    let minute = u64::from(DAY_S + 4_000) / 60;
    let hour = minute / 60;
    let row = |key: &str, bucket, value| BTreeMap::from([(key.to_owned(), vec![bucket, value])]);
    assert_eq!(
        unsaved,
        [
            Saved {
                minutes: row("op.list-basins", minute, 1),
                hours: row("op.list-basins", hour, 1),
                ..Saved::default()
            },
            Saved {
                basin: Some("test-basin-1".to_owned()),
                minutes: row("read_bytes", minute, 7),
                hours: row("read_bytes", hour, 7),
                ..Saved::default()
            },
        ]
    );
    let mut copy = Ledger::default();
    for saved in ledger.save() {
        let json = serde_json::to_vec(&saved).expect("plain values");
        copy.apply(&Saved::parse(&json).expect("as written")).expect("as saved");
    }
    assert_eq!(copy.save().collect::<Vec<_>>(), ledger.save().collect::<Vec<_>>());
    assert_eq!(copy.unsaved().count(), 0);
}

#[test]
fn what_was_saved_may_be_applied_twice_and_out_of_order() {
    let mut ledger = Ledger::default();
    let book = ledger.basin(&name("test-basin-1"));
    let mut entries = Vec::new();
    for round in 0..5 {
        book.count(Counter::ReadBytes, at(round * 40), u64::from(round) + 1);
        entries.extend(ledger.unsaved());
        ledger.mark_saved();
    }
    let expected: Vec<_> = ledger.save().collect();
    for order in [[0, 1, 2, 3, 4, 0, 4], [4, 3, 2, 1, 0, 1, 2], [2, 4, 1, 3, 0, 0, 0]] {
        let mut copy = Ledger::default();
        order.iter().for_each(|at| copy.apply(&entries[*at]).expect("as saved"));
        assert_eq!(copy.save().collect::<Vec<_>>(), expected, "{order:?}");
    }
}

#[test]
fn a_stream_that_never_came_to_be_ends_its_basins_activity() {
    let mut ledger = Ledger::default();
    ledger.basin(&name("test-basin-1")).stream_added(at(100));
    let saved = ledger.save().last().expect("an active basin");
    let mut copy = Ledger::default();
    copy.apply(&saved).expect("as saved");
    copy.settle();
    let later = query(Set::ActiveBasins, DAY_S + 200, DAY_S + 300, Interval::Hour);
    assert!(copy.part(None, &later, NOW).labels.is_empty());
    let mut copy = Ledger::default();
    copy.apply(&saved).expect("as saved");
    copy.basin(&name("test-basin-1")).stream_added(at(100));
    copy.settle();
    assert_eq!(copy.part(None, &later, NOW).labels.len(), 1);
}

#[test]
fn saved_counters_accepted_and_refused() {
    let accepted = [
        "{}",
        r#"{"basin":"test-basin-1","minutes":{"read_bytes":[28333333,5,1,6]}}"#,
        r#"{"hours":{"a counter to come":[1,2]},"a member to come":{}}"#,
        r#"{"basin":"test-basin-1","storage":[472222,5],"active":[1,2,3],"stored":[1,2]}"#,
        r#"{"minutes":{"read_bytes":[4294967295,18446744073709551615]}}"#,
    ];
    for json in accepted {
        let saved = Saved::parse(json.as_bytes()).expect(json);
        assert_eq!(Ledger::default().apply(&saved), Ok(()), "{json}");
    }
    let refused = [
        "",
        "[1]",
        r#"{"basin":"X"}"#,
        r#"{"basin":1}"#,
        r#"{"minutes":{"read_bytes":[1]}}"#,
        r#"{"minutes":{"read_bytes":[1,2,0,3]}}"#,
        r#"{"minutes":{"read_bytes":[4294967296,1]}}"#,
        r#"{"minutes":{"read_bytes":[4294967295,1,1,1]}}"#,
        r#"{"hours":{"a counter to come":[1,2,3]}}"#,
        r#"{"hours":{"read_bytes":[1,-1]}}"#,
        r#"{"storage":[1]}"#,
        r#"{"stored":[1]}"#,
    ];
    for json in refused {
        let applied =
            Saved::parse(json.as_bytes()).and_then(|saved| Ledger::default().apply(&saved));
        assert_eq!(applied, Err(BadUsage), "{json}");
    }
}

#[test]
fn stored_bytes_are_exact_without_trims_at_marks_and_when_nothing_is_left() {
    const MIB: u64 = 1 << 20;
    let mut stored = Stored::default();
    for batch in 0..10 {
        stored.append(batch * 10, batch * 10 + 10, MIB);
    }
    assert_eq!(stored.bytes(), 10 * MIB);
    stored.trim(0);
    assert_eq!(stored.bytes(), 10 * MIB);
    stored.trim(30);
    assert_eq!(stored.bytes(), 7 * MIB, "a batch this large has a mark of its own");
    stored.trim(35);
    assert_eq!(stored.bytes(), 6 * MIB + MIB / 2);
    stored.trim(20);
    assert_eq!(stored.bytes(), 6 * MIB + MIB / 2, "a trim point is never taken back");
    stored.trim(u64::MAX);
    assert_eq!(stored.bytes(), 0);
    stored.append(100, 101, 9);
    assert_eq!(stored.bytes(), 9);

    let mut restored = Stored::restored(1_000, 50, 150);
    restored.append(150, 160, 5);
    restored.trim(100);
    assert_eq!(restored.bytes(), 505, "what was there is taken to be all alike");
    restored.trim(150);
    assert_eq!(restored.bytes(), 5);
    assert_eq!(Stored::restored(7, 3, 4).bytes(), 7);
    assert_eq!(Stored::restored(1_000, 50, 50).bytes(), 0);
    assert_eq!(Stored::restored(0, 0, 50).bytes(), 0);
}

proptest! {
    /// Whatever is appended and trimmed, the number stays between nothing and what was appended,
    /// falls only by trims, is exact when nothing was trimmed, and off by no more than what lies
    /// between two marks.
    #[test]
    fn stored_bytes_stay_close_to_the_truth(
        batches in prop::collection::vec((1_u64..20, 1_u64..200_000), 1..60),
        trims in prop::collection::vec((0_usize..60, 0_u64..1_200), 0..8),
    ) {
        let mut stored = Stored::default();
        let mut records: Vec<u64> = Vec::new();
        let mut trim_point = 0_u64;
        let largest = batches.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        for (index, (count, bytes)) in batches.iter().enumerate() {
            let first = records.len() as u64;
            records.extend((0..*count).map(|n| bytes / count + u64::from(n < bytes % count)));
            stored.append(first, records.len() as u64, *bytes);
            for (_, to) in trims.iter().filter(|(after, _)| *after == index) {
                trim_point = trim_point.max((*to).min(records.len() as u64));
                let before = stored.bytes();
                stored.trim(trim_point);
                prop_assert!(stored.bytes() <= before);
            }
            let kept = &records[usize::try_from(trim_point).expect("small")..];
            let truth: u64 = kept.iter().sum();
            let error = stored.bytes().abs_diff(truth);
            if trim_point == 0 || kept.is_empty() {
                prop_assert_eq!(error, 0);
            }
            prop_assert!(error <= 64 * 1024 + largest, "{} against {}", stored.bytes(), truth);
        }
    }

    /// A series is a map from bucket to number, whatever the order of what comes.
    #[test]
    fn a_series_is_a_map(
        changes in prop::collection::vec((0_u32..40, 0_u64..9, 0_u8..3), 0..80),
        first in 0_u32..40,
    ) {
        let (mut series, mut model) = (Series::default(), BTreeMap::<u32, u64>::new());
        for (bucket, value, kind) in changes {
            let slot = model.entry(bucket).or_default();
            match kind {
                0 => { series.add(bucket, value); *slot += value; }
                1 => { series.set(bucket, value); *slot = value; }
                _ => { series.raise(bucket, value); *slot = value.max(*slot); }
            }
        }
        let whole: Vec<_> = model.iter().map(|(b, v)| (*b, *v)).collect();
        prop_assert_eq!(series.range(0..u32::MAX).collect::<Vec<_>>(), whole.clone());
        prop_assert_eq!(Series::decode(&series.encode(0)), Some(whole.clone()));
        let before = model.range(..first).next_back().map(|(b, v)| (*b, *v));
        prop_assert_eq!(series.before(first), before);
        let mut front = series.clone();
        front.forget_after(first);
        let rest: Vec<_> = model.range(..=first).map(|(b, v)| (*b, *v)).collect();
        prop_assert_eq!(front.range(0..u32::MAX).collect::<Vec<_>>(), rest);
        series.forget_before(first);
        let rest: Vec<_> = model.range(first..).map(|(b, v)| (*b, *v)).collect();
        prop_assert_eq!(series.range(0..u32::MAX).collect::<Vec<_>>(), rest);
    }
}
