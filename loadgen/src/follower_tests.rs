//! Tests of `follower`: each fault alone, and everything else in peace.

use super::*;
use crate::record::encode_stamp;

const LEN: usize = 60;

/// A follower of stream 0 with two writers to one stream, and what its writers make.
struct Case {
    pool: Pool,
    follower: Follower,
}

impl Case {
    fn new() -> Self {
        let load = Load { run: 7, writers: 2, streams: 1, record_bytes: LEN };
        Self { pool: Pool::new(1, LEN), follower: Follower::new(load, 0, 100) }
    }

    fn body(&self, writer: u32, batch: u32, index: u16) -> Vec<u8> {
        let id = BatchId { run: 7, writer, batch };
        let identity = Identity { id, stream: 0, index, size: 2 };
        let mut body = identity.encode().to_vec();
        body.extend_from_slice(self.pool.filling(&identity, LEN - IDENTITY_BYTES));
        let stamp = encode_stamp(u64::from(batch) + 5);
        body[IDENTITY_BYTES..IDENTITY_BYTES + STAMP_BYTES].copy_from_slice(&stamp);
        body
    }

    fn see(&mut self, seq_num: u64, (writer, batch, index): (u32, u32, u16)) -> Seen {
        let body = self.body(writer, batch, index);
        self.follower.see(seq_num, &body, &self.pool)
    }

    /// Sees whole records from 100 on.
    fn see_all(&mut self, records: &[(u32, u32, u16)]) -> Faults {
        for (seq_num, record) in (100..).zip(records) {
            self.see(seq_num, *record);
        }
        self.follower.faults.clone()
    }
}

fn counts(faults: &Faults) -> Vec<(&'static str, u64)> {
    faults.counts().into_iter().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn records_in_order_are_delivered_with_their_time() {
    let mut case = Case::new();
    let records = [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (0, 1, 0)];
    for (seq_num, record) in (100..).zip(records) {
        let (writer, batch, _) = record;
        let id = BatchId { run: 7, writer, batch };
        let due_ns = u64::from(batch) + 5;
        assert_eq!(case.see(seq_num, record), Seen::Delivered { id, due_ns });
    }
    case.follower.heartbeat(106);
    assert!(case.follower.faults.is_none());
    assert_eq!(case.follower.next_seq_num(), 106);
}

#[test]
fn every_fault_has_its_name() {
    for (records, expected) in [
        (&[(0, 0, 0), (0, 0, 0)][..], "doubled"),
        (&[(0, 0, 0), (0, 0, 1), (0, 0, 0)], "doubled"),
        (&[(0, 0, 0), (0, 1, 0)], "torn"),
        (&[(0, 0, 1)], "torn"),
        (&[(0, 1, 0), (0, 0, 0)], "disordered"),
    ] {
        let faults = Case::new().see_all(records);
        assert_eq!(counts(&faults), [(expected, 1)], "{records:?}");
        assert_eq!(faults.examples.len(), 1);
    }
    let mut case = Case::new();
    case.see(101, (0, 0, 0));
    assert_eq!(counts(&case.follower.faults), [("gaps", 1)]);
    case.see(101, (0, 0, 1));
    assert_eq!(counts(&case.follower.faults), [("gaps", 1), ("repeated", 1)]);

    let mut case = Case::new();
    case.follower.heartbeat(101);
    assert_eq!(counts(&case.follower.faults), [("premature", 1)]);
}

#[test]
fn what_was_not_sent_is_wrong_and_other_runs_are_left_alone() {
    let mut case = Case::new();
    let mut seq_num = 100;
    let mut see = |body: &[u8]| {
        seq_num += 1;
        case.follower.see(seq_num - 1, body, &case.pool)
    };
    let good = Case::new().body(0, 0, 0);
    let mut changed = good.clone();
    changed[LEN - 1] ^= 1;
    let mut no_time = good.clone();
    no_time[IDENTITY_BYTES] = b' ';
    for bad in [
        &changed,
        &no_time,
        &good[..IDENTITY_BYTES - 1],
        &b""[..],
        &good[..IDENTITY_BYTES],
        &[&good[..], b"x"].concat(),
    ] {
        assert_eq!(see(bad), Seen::Faulty);
    }
    for identity in [
        Identity { id: BatchId { run: 7, writer: 0, batch: 0 }, stream: 1, index: 0, size: 2 },
        Identity { id: BatchId { run: 7, writer: 2, batch: 0 }, stream: 0, index: 0, size: 2 },
    ] {
        assert_eq!(see(&[&identity.encode()[..], &good[IDENTITY_BYTES..]].concat()), Seen::Faulty);
    }
    let id = BatchId { run: 8, writer: 0, batch: 0 };
    let other = Identity { id, stream: 0, index: 0, size: 2 }.encode();
    assert_eq!(see(&other), Seen::Foreign);
    assert_eq!(counts(&case.follower.faults), [("wrong", 8)]);
}

#[test]
fn what_is_passed_over_is_lost_only_if_it_was_acknowledged() {
    let board = Board::new(2, &[100]);
    let mut case = Case::new();
    case.see_all(&[(0, 0, 0), (0, 0, 1), (0, 3, 0), (0, 3, 1)]);
    case.follower.look_for_missing(&board);
    assert!(case.follower.faults.is_none(), "1 and 2 may have been refused");
    board.acked(BatchId { run: 7, writer: 0, batch: 2 }, 0, 104, 1);
    case.follower.look_for_missing(&board);
    case.follower.look_for_missing(&board);
    assert_eq!(counts(&case.follower.faults), [("lost", 1)], "counted once");
    case.follower.give_up(107);
    assert_eq!(counts(&case.follower.faults), [("lost", 4)], "three more never came");
}

#[test]
fn appends_to_other_streams_are_not_missed() {
    // One writer for streams 0, 1, 2: its appends 1, 4, 7 are stream 1's.
    let pool = Pool::new(1, LEN);
    let load = Load { run: 7, writers: 1, streams: 3, record_bytes: LEN };
    let mut follower = Follower::new(load, 1, 0);
    let board = Board::new(1, &[0, 0, 0]);
    for (seq_num, batch) in [(0, 1), (1, 4), (2, 10)] {
        let id = BatchId { run: 7, writer: 0, batch };
        let identity = Identity { id, stream: 1, index: 0, size: 1 };
        let mut body = identity.encode().to_vec();
        body.extend_from_slice(pool.filling(&identity, LEN - IDENTITY_BYTES));
        body[IDENTITY_BYTES..IDENTITY_BYTES + STAMP_BYTES].copy_from_slice(&encode_stamp(1));
        assert!(matches!(follower.see(seq_num, &body, &pool), Seen::Delivered { .. }));
    }
    assert_eq!(follower.missing.iter().map(|id| id.batch).collect::<Vec<_>>(), [7]);
    for batch in 0..10 {
        board.acked(BatchId { run: 7, writer: 0, batch }, 0, 0, 1);
    }
    follower.look_for_missing(&board);
    assert_eq!(counts(&follower.faults), [("lost", 1)]);
}
