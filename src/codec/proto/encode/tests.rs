use proptest::collection::vec;
use proptest::prelude::*;

use super::super::messages;
use super::*;
use crate::types::{LogPos, StorageClass};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs(headers: &Pairs) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    headers.iter().map(|(name, value)| (&name[..], &value[..]))
}

fn position(seq_num: u64, timestamp: u64) -> StreamPosition {
    StreamPosition { seq_num, timestamp }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write(&mut out);
    assert!(out.starts_with(b"before"));
    out.split_off(6)
}

#[test]
fn the_heartbeats_of_the_specification() {
    let heartbeat = |tail| {
        written(|out| {
            ReadBatchEncoder::new(out).finish(Some(tail));
        })
    };
    assert_eq!(heartbeat(position(5, 1000)), b"\x12\x05\x08\x05\x10\xE8\x07");
    assert_eq!(heartbeat(position(0, 0)), b"\x12\x00");
    assert_eq!(
        written(|out| {
            ReadBatchEncoder::new(out).finish(None);
        }),
        b""
    );
}

#[test]
fn an_ack_always_carries_all_three_positions() {
    assert_eq!(written(|out| encode_ack(out, &Ack::default(), None)), b"\x0A\x00\x12\x00\x1A\x00");
    let ack = Ack { start: position(0, 0), end: position(2, 7), tail: position(300, 9) };
    let expected = b"\x0A\x00\x12\x04\x08\x02\x10\x07\x1A\x05\x08\xAC\x02\x10\x09";
    assert_eq!(written(|out| encode_ack(out, &ack, None)), expected);
}

/// What a client that knows nothing of receipts passes over.
#[test]
fn a_receipt_stands_behind_the_positions() {
    let receipt = Receipt {
        shard: 1,
        pos: LogPos { segment: 12, offset_bytes: 409_600 },
        class: StorageClass::Express,
        group_batches: 17,
        group_bytes: 20_480,
        queued_us: 31,
        write_us: 0,
        sync_us: 55,
    };
    let ack = Ack { start: position(0, 0), end: position(2, 7), tail: position(300, 9) };
    let without = written(|out| encode_ack(out, &ack, None));
    let with = written(|out| encode_ack(out, &ack, Some(receipt)));
    let field = b"\x8A\xF1\x04\x14\x08\x01\x10\x0C\x18\x80\x80\x19\x20\x02\x28\x11\x30\x80\xA0\x01\x38\x1F\x48\x37";
    assert_eq!(with, [&without[..], field].concat());
}

#[test]
fn zeros_and_empty_values_are_left_out_but_not_headers() {
    let batch = written(|out| {
        let mut batch = ReadBatchEncoder::new(out);
        batch.record(0, 0, std::iter::empty(), b"");
        batch.record(1, 2, [(&b""[..], &b""[..]), (b"n", b"v")].into_iter(), b"hi");
        batch.finish(None);
    });
    let expected = b"\x0A\x00\x0A\x12\x08\x01\x10\x02\x1A\x00\x1A\x06\x0A\x01n\x12\x01v\x22\x02hi";
    assert_eq!(batch, expected);
}

#[test]
fn a_batch_written_into_room_reserved_for_it_does_not_move() {
    let headers: Pairs = vec![(b"name".to_vec(), vec![7; 200])];
    let body = vec![1; 70_000];
    let bytes = encoded_record_bytes(u64::MAX, 5, pairs(&headers), body.len()) + TAIL_BYTES_MAX;
    let mut out = Vec::with_capacity(bytes);
    let address = out.as_ptr();
    let mut batch = ReadBatchEncoder::new(&mut out);
    batch.record(u64::MAX, 5, pairs(&headers), &body);
    batch.finish(Some(position(u64::MAX, u64::MAX)));
    assert_eq!((out.as_ptr(), out.len()), (address, bytes));
}

proptest! {
    #[test]
    fn batches_are_written_as_prost_writes_them(
        records in vec(
            (
                prop_oneof![any::<u64>(), 0..3u64],
                prop_oneof![any::<u64>(), 0..3u64],
                vec((vec(any::<u8>(), 0..4), vec(any::<u8>(), 0..200)), 0..4),
                vec(any::<u8>(), 0..300),
            ),
            0..6,
        ),
        tail in proptest::option::of((prop_oneof![any::<u64>(), Just(0)], any::<u64>())),
    ) {
        let tail = tail.map(|(seq_num, timestamp)| position(seq_num, timestamp));
        let mut records_bytes = 0;
        let batch = written(|out| {
            let mut batch = ReadBatchEncoder::new(out);
            for (seq_num, timestamp, headers, body) in &records {
                batch.record(*seq_num, *timestamp, pairs(headers), body);
                records_bytes +=
                    encoded_record_bytes(*seq_num, *timestamp, pairs(headers), body.len());
            }
            batch.finish(tail);
        });
        let of_record = |(seq_num, timestamp, headers, body): (u64, u64, Pairs, Vec<u8>)| {
            let header = |(name, value)| messages::Header { name, value };
            let headers = headers.into_iter().map(header).collect();
            messages::SequencedRecord { seq_num, timestamp, headers, body }
        };
        let model = messages::ReadBatch {
            records: records.into_iter().map(of_record).collect(),
            tail: tail.map(Into::into),
        };
        prop_assert_eq!(&batch, &model.encode_to_vec());
        let without_tail = messages::ReadBatch { tail: None, ..model };
        prop_assert_eq!(records_bytes, without_tail.encoded_len());
        prop_assert!(batch.len() <= records_bytes + TAIL_BYTES_MAX);
    }

    #[test]
    fn acks_read_as_they_were(numbers in any::<[u64; 6]>()) {
        let [a, b, c, d, e, f] = numbers;
        let ack = Ack { start: position(a, b), end: position(c, d), tail: position(e, f) };
        let read = AppendAck::decode(&written(|out| encode_ack(out, &ack, None))[..]).unwrap();
        prop_assert_eq!(read.start, Some(ack.start.into()));
        prop_assert_eq!(read.end, Some(ack.end.into()));
        prop_assert_eq!(read.tail, Some(ack.tail.into()));
    }
}
