//! Case tables and a model for the rules of one stream.

use proptest::prelude::*;

use super::*;
use crate::types::{AppendBuilder, HeaderSpan, Span};

const NOW: u64 = 1_000_000;
const PREFER: Timestamping = Timestamping { mode: TimestampingMode::ClientPrefer, uncapped: false };

fn token(text: &str) -> FencingToken {
    FencingToken::new(text).unwrap()
}

#[derive(Debug, Clone)]
enum Rec {
    Data(Option<u64>),
    Fence(String),
    Trim(u64),
}

fn batch(records: &[Rec]) -> AppendInput {
    let mut buf = b"fencetrim".to_vec();
    let mut builder = AppendBuilder::default();
    for record in records {
        let offset = u32::try_from(buf.len()).unwrap();
        let timestamp = if let Rec::Data(timestamp) = record { *timestamp } else { None };
        let empty = Span::default();
        match record {
            Rec::Data(_) => {}
            Rec::Fence(text) => {
                buf.extend_from_slice(text.as_bytes());
                builder.push_header(HeaderSpan { name: empty, value: Span { offset: 0, len: 5 } });
            }
            Rec::Trim(point) => {
                buf.extend_from_slice(&point.to_be_bytes());
                builder.push_header(HeaderSpan { name: empty, value: Span { offset: 5, len: 4 } });
            }
        }
        let len = u32::try_from(buf.len()).unwrap() - offset;
        builder.push_record(&buf, timestamp, Span { offset, len }).unwrap();
    }
    builder.finish(buf, None, None).unwrap()
}

fn stamps(records: &[Rec], timestamping: Timestamping, tail_timestamp: u64) -> Vec<u64> {
    let tail = StreamPosition { seq_num: 5, timestamp: tail_timestamp };
    let state = State { tail, ..State::default() };
    let mut out = vec![99];
    state.judge(&batch(records), timestamping, NOW, &mut out).unwrap();
    out
}

#[test]
fn timestamps_follow_mode_cap_and_order() {
    use Rec::Data;
    use TimestampingMode::{Arrival, ClientPrefer, ClientRequire};
    let future = NOW + 60_000;
    // Mode, uncapped, the tail's timestamp; what the clients say, what is assigned.
    type Case<'a> = (TimestampingMode, bool, u64, &'a [Option<u64>], &'a [u64]);
    let cases: &[Case<'_>] = &[
        (ClientPrefer, false, 0, &[None], &[NOW]),
        (ClientPrefer, false, 0, &[Some(1)], &[1]),
        (ClientPrefer, false, 0, &[Some(1000), Some(500)], &[1000, 1000]),
        (ClientPrefer, false, 0, &[Some(future)], &[NOW]),
        (ClientPrefer, true, 0, &[Some(future), None], &[future, future]),
        (ClientPrefer, false, future, &[Some(7)], &[future]),
        (ClientPrefer, true, 0, &[Some(u64::MAX)], &[u64::MAX]),
        (ClientRequire, false, 0, &[Some(3), Some(4)], &[3, 4]),
        (Arrival, false, 0, &[Some(1), None], &[NOW, NOW]),
        (Arrival, true, NOW + 5, &[None], &[NOW + 5]),
    ];
    for (mode, uncapped, tail, records, expected) in cases {
        let records: Vec<Rec> = records.iter().copied().map(Data).collect();
        let timestamping = Timestamping { mode: *mode, uncapped: *uncapped };
        assert_eq!(stamps(&records, timestamping, *tail), *expected, "{mode:?} {records:?}");
    }
}

#[test]
fn a_missing_required_timestamp_refuses_the_whole_batch() {
    let mode = Timestamping { mode: TimestampingMode::ClientRequire, uncapped: false };
    let records = [Rec::Data(Some(1)), Rec::Data(None)];
    let refused = State::default().judge(&batch(&records), mode, NOW, &mut Vec::new());
    assert!(matches!(refused, Err(Refusal::Invalid(_))));
}

#[test]
fn fencing_is_checked_before_the_sequence_number() {
    let tail = StreamPosition { seq_num: 5, timestamp: 0 };
    let state = State { tail, fencing_token: token("t1"), trim_point: 0 };
    let cases: &[(Option<&str>, Option<u64>, Option<Refusal>)] = &[
        (None, None, None),
        (Some("t1"), Some(5), None),
        (Some("t0"), None, Some(Refusal::FencingTokenMismatch(token("t1")))),
        (Some(""), None, Some(Refusal::FencingTokenMismatch(token("t1")))),
        (None, Some(4), Some(Refusal::SeqNumMismatch(5))),
        (Some("t0"), Some(4), Some(Refusal::FencingTokenMismatch(token("t1")))),
    ];
    for (fencing, match_seq_num, expected) in cases {
        let mut input = batch(&[Rec::Data(None)]);
        input.fencing_token = fencing.map(token);
        input.match_seq_num = *match_seq_num;
        let got = state.judge(&input, PREFER, NOW, &mut Vec::new());
        assert_eq!(got.err(), *expected, "{fencing:?} {match_seq_num:?}");
    }
}

#[test]
fn a_batch_is_checked_against_the_token_before_it_and_the_last_fence_wins() {
    let mut input = batch(&[Rec::Fence("t2".into()), Rec::Data(None), Rec::Fence("t3".into())]);
    input.fencing_token = Some(token(""));
    let after = State::default().judge(&input, PREFER, NOW, &mut Vec::new()).unwrap();
    assert_eq!(after.fencing_token, token("t3"));
}

#[test]
fn trim_goes_at_most_past_itself_and_never_back() {
    let tail = StreamPosition { seq_num: 3, timestamp: 0 };
    let cases = [(0, 0, 0), (2, 0, 2), (3, 0, 3), (4, 0, 4), (999_999, 0, 4), (1, 2, 2)];
    for (requested, before, expected) in cases {
        let state = State { tail, trim_point: before, ..State::default() };
        let input = batch(&[Rec::Trim(requested)]);
        let after = state.judge(&input, PREFER, NOW, &mut Vec::new()).unwrap();
        assert_eq!(after.trim_point, expected, "trim to {requested} from {before}");
        assert_eq!(after.tail.seq_num, 4);
    }
}

#[test]
fn sequence_numbers_do_not_wrap() {
    let tail = StreamPosition { seq_num: u64::MAX, timestamp: 0 };
    let state = State { tail, ..State::default() };
    let refused = state.judge(&batch(&[Rec::Data(None)]), PREFER, NOW, &mut Vec::new());
    assert!(matches!(refused, Err(Refusal::Invalid(_))));
}

fn any_record() -> impl Strategy<Value = Rec> {
    prop_oneof![
        4 => proptest::option::of(0..2 * NOW).prop_map(Rec::Data),
        1 => "[a-z]{0,4}".prop_map(Rec::Fence),
        1 => (0..40u64).prop_map(Rec::Trim),
    ]
}

proptest! {
    /// Whatever is appended: numbers are contiguous, timestamps never fall, the trim point never
    /// falls nor passes the tail, and the token is that of the last fence.
    #[test]
    fn any_history_keeps_the_invariants(
        batches in proptest::collection::vec(proptest::collection::vec(any_record(), 1..5), 1..8),
        uncapped: bool,
    ) {
        let timestamping = Timestamping { mode: TimestampingMode::ClientPrefer, uncapped };
        let mut state = State::default();
        let mut stamps = Vec::new();
        let mut last_token = String::new();
        for records in &batches {
            let after = state.judge(&batch(records), timestamping, NOW, &mut stamps).unwrap();
            prop_assert_eq!(after.tail.seq_num, state.tail.seq_num + records.len() as u64);
            prop_assert_eq!(stamps.len(), records.len());
            prop_assert!(stamps[0] >= state.tail.timestamp && stamps.is_sorted());
            prop_assert_eq!(stamps.last(), Some(&after.tail.timestamp));
            prop_assert!(after.trim_point >= state.trim_point);
            prop_assert!(after.trim_point <= after.tail.seq_num);
            for record in records {
                if let Rec::Fence(text) = record {
                    last_token.clone_from(text);
                }
            }
            prop_assert_eq!(after.fencing_token.as_str(), &last_token);
            state = after;
        }
    }
}
