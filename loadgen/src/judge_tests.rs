//! The judge against streams with one known fault each.

use super::*;

/// One append as the tests write it down: its number, its records, whether acknowledged and where.
struct Append {
    batch: u32,
    count: u16,
    acked_at: Option<u64>,
}

fn body(batch: u32, index: u16) -> Vec<u8> {
    format!("batch {batch} record {index}").into_bytes()
}

fn fact(append: &Append) -> Fact {
    let hash = (0..append.count).fold(0, |hash, i| chain_hash(hash, &body(append.batch, i)));
    Fact {
        id: BatchId { run: 1, writer: 0, batch: append.batch },
        count: append.count,
        is_acked: append.acked_at.is_some(),
        start: append.acked_at.unwrap_or(0),
        hash,
    }
}

/// Three acknowledged appends of two records from number 10 on; a fourth and fifth in doubt.
fn appends() -> Vec<Append> {
    let acked =
        (0..3).map(|i| Append { batch: i, count: 2, acked_at: Some(10 + 2 * u64::from(i)) });
    acked.chain((3..5).map(|batch| Append { batch, count: 2, acked_at: None })).collect()
}

/// A record as read: sequence number, append, index, body.
type Read = (u64, u32, u16, Vec<u8>);

fn stored(order: &[(u32, u16)]) -> Vec<Read> {
    (10..).zip(order).map(|(seq_num, &(b, i))| (seq_num, b, i, body(b, i))).collect()
}

fn judge(records: &[Read], tail: u64) -> Verdict {
    let facts = appends().iter().map(fact).collect();
    let mut judge = Judge::new(0, 10, facts).unwrap();
    for (seq_num, batch, index, body) in records {
        let id = BatchId { run: 1, writer: 0, batch: *batch };
        let identity = Identity { id, stream: 0, index: *index, size: 2 };
        judge.record(*seq_num, Some(identity), body);
    }
    judge.finish(tail)
}

const GOOD: [(u32, u16); 6] = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)];

/// (lost, duplicated, torn, wrong, present)
fn counts(verdict: &Verdict) -> (u64, u64, u64, u64, u64) {
    (verdict.lost, verdict.duplicated, verdict.torn, verdict.wrong, verdict.present)
}

#[test]
fn a_faultless_stream_is_good_with_doubtful_appends_there_or_not() {
    let none = judge(&stored(&GOOD), 16);
    assert!(none.is_good());
    assert_eq!((none.acked, none.indeterminate, none.records), (3, 2, 6));
    assert_eq!(none.examples, [] as [String; 0]);

    let one = judge(&stored(&[&GOOD[..], &[(4, 0), (4, 1)]].concat()), 18);
    assert_eq!(counts(&one), (0, 0, 0, 0, 1));
    assert_eq!(
        one.line(),
        "verify: 3 batches acknowledged, 2 indeterminate (1 present), \
         0 lost, 0 duplicated, 0 torn, 0 wrong"
    );
}

#[test]
fn an_append_missing_at_the_end_is_lost() {
    assert_eq!(counts(&judge(&stored(&GOOD[..4]), 14)), (1, 0, 0, 0, 0));
}

#[test]
fn a_hole_in_the_numbers_is_a_loss_and_a_gap() {
    let mut records = stored(&GOOD);
    records.drain(2..4);
    assert_eq!(counts(&judge(&records, 16)), (1, 0, 0, 1, 0));
}

#[test]
fn a_tail_beyond_the_last_record_is_a_gap() {
    assert_eq!(counts(&judge(&stored(&GOOD), 17)), (0, 0, 0, 1, 0));
}

#[test]
fn one_missing_record_tears_its_append_once() {
    for missing in [2, 3] {
        let mut records = stored(&GOOD);
        records.remove(missing);
        assert_eq!(counts(&judge(&records, 16)), (0, 0, 1, 1, 0), "record {missing}");
    }
}

#[test]
fn half_of_a_doubtful_append_is_torn() {
    for half in [(3, 0), (3, 1)] {
        let verdict = judge(&stored(&[&GOOD[..], &[half]].concat()), 17);
        assert_eq!(counts(&verdict), (0, 0, 1, 0, 0), "{half:?}");
    }
}

#[test]
fn a_second_copy_is_a_duplicate_whether_acknowledged_or_doubtful() {
    let again = judge(&stored(&[&GOOD[..], &[(1, 0), (1, 1)]].concat()), 18);
    assert_eq!(counts(&again), (0, 1, 0, 0, 0));
    let twice = judge(&stored(&[&GOOD[..], &[(3, 0), (3, 1), (3, 0), (3, 1)]].concat()), 20);
    assert_eq!(counts(&twice), (0, 1, 0, 0, 1));
}

#[test]
fn appends_that_changed_places_are_wrong() {
    let swapped = judge(&stored(&[(0, 0), (0, 1), (2, 0), (2, 1), (1, 0), (1, 1)]), 16);
    assert_eq!(counts(&swapped), (0, 0, 0, 2, 0));
}

#[test]
fn records_that_changed_places_within_an_append_are_torn() {
    let mut order = GOOD;
    order.swap(2, 3);
    assert_eq!(counts(&judge(&stored(&order), 16)), (0, 0, 1, 0, 0));
}

#[test]
fn a_changed_byte_is_wrong() {
    let mut records = stored(&GOOD);
    records[3].3[0] ^= 1;
    assert_eq!(counts(&judge(&records, 16)), (0, 0, 0, 1, 0));
}

#[test]
fn refused_and_foreign_records_are_wrong() {
    let refused = judge(&stored(&[&GOOD[..], &[(9, 0), (9, 1)]].concat()), 18);
    assert_eq!(counts(&refused), (0, 0, 0, 1, 0));

    let facts: Vec<_> = appends().iter().map(fact).collect();
    let mut foreign = Judge::new(0, 10, facts[..1].to_vec()).unwrap();
    for (seq_num, batch, index, body) in stored(&GOOD[..2]) {
        let id = BatchId { run: 1, writer: 0, batch };
        foreign.record(seq_num, Some(Identity { id, stream: 0, index, size: 2 }), &body);
    }
    foreign.record(12, None, b"hello");
    let id = BatchId { run: 1, writer: 0, batch: 0 };
    foreign.record(13, Some(Identity { id, stream: 5, index: 0, size: 1 }), b"misdirected");
    assert_eq!(counts(&foreign.finish(14)), (0, 0, 0, 2, 0));
}

#[test]
fn numbers_that_step_back_are_wrong() {
    let mut records = stored(&GOOD);
    let repeated = records[0..2].to_vec();
    records.splice(2..2, repeated);
    let verdict = judge(&records, 16);
    assert_eq!(verdict.duplicated, 1);
    assert!(verdict.wrong >= 1, "{verdict:?}");
}

#[test]
fn two_facts_of_one_name_are_refused() {
    let facts: Vec<_> = appends().iter().chain(&appends()).map(fact).collect();
    assert!(Judge::new(0, 10, facts).is_err());
}
