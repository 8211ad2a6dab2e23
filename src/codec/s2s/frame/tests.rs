use super::*;
use crate::codec::coding::decompress;
use crate::codec::proto;
use crate::types::{Ack, StreamPosition};

fn framed(body: &[u8], coding: Option<Coding>, reconnect_advised: bool) -> (FrameHead, Vec<u8>) {
    let mut out = b"before".to_vec();
    let start = begin(&mut out);
    out.extend_from_slice(body);
    finish(&mut out, start, coding, reconnect_advised).unwrap();
    assert!(out.starts_with(b"before"));
    let head = FrameHead::parse(out[6..10].try_into().unwrap()).unwrap();
    assert_eq!(head.body_bytes, out.len() - 10);
    (head, out.split_off(10))
}

/// Bytes that do not shrink.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    (0..len).map(step).collect()
}

#[test]
fn the_examples_of_the_specification() {
    let mut out = Vec::new();
    for (seq_num, timestamp) in [(5, 1000), (0, 0)] {
        let start = begin(&mut out);
        let tail = StreamPosition { seq_num, timestamp };
        proto::ReadBatchEncoder::new(&mut out).finish(Some(tail));
        finish(&mut out, start, Some(Coding::Zstd), false).unwrap();
    }
    push_terminal(&mut out, 412, b"{\"seq_num_mismatch\":5}");
    let expected: [&[u8]; 3] = [
        b"\x00\x00\x08\x00\x12\x05\x08\x05\x10\xE8\x07",
        b"\x00\x00\x03\x00\x12\x00",
        b"\x00\x00\x19\x80\x01\x9C{\"seq_num_mismatch\":5}",
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn frames_follow_one_another_without_separators() {
    let mut out = Vec::new();
    for _ in 0..2 {
        let start = begin(&mut out);
        proto::encode_ack(&mut out, &Ack::default(), None);
        finish(&mut out, start, None, false).unwrap();
    }
    assert_eq!(out, b"\x00\x00\x07\x00\x0A\x00\x12\x00\x1A\x00".repeat(2));
}

#[test]
fn only_long_bodies_that_shrink_are_coded() {
    for coding in [Coding::Zstd, Coding::Gzip] {
        let zeros = vec![0; 20_000];
        let (head, body) = framed(&zeros, Some(coding), false);
        assert_eq!(head.coding, Some(coding));
        assert_eq!(decompress(coding, &body, 20_000), Ok(zeros.clone()));

        assert_eq!(framed(&zeros[..1024], Some(coding), false).0.coding, Some(coding));
        let (head, body) = framed(&zeros[..1023], Some(coding), false);
        assert_eq!((head.coding, &body[..]), (None, &zeros[..1023]));

        let noise = noise(5000);
        let (head, body) = framed(&noise, Some(coding), false);
        assert!(head.coding.is_none() && body == noise, "{coding:?}");
    }
    assert_eq!(framed(&[0; 20_000], None, false).0.coding, None);
}

#[test]
fn advice_combines_with_coding() {
    assert!(framed(b"x", None, true).0.reconnect_advised);
    let (head, _) = framed(&[0; 2000], Some(Coding::Gzip), true);
    assert_eq!(head.to_bytes()[3], 0x50);
}

#[test]
fn a_frame_holds_what_the_protocol_allows_and_not_a_byte_more() {
    let longest = vec![1; BODY_BYTES_MAX];
    assert_eq!(framed(&longest, None, false).0.body_bytes, BODY_BYTES_MAX);
    let mut out = b"before".to_vec();
    let start = begin(&mut out);
    out.extend_from_slice(&longest);
    out.push(1);
    let refused = finish(&mut out, start, Some(Coding::Zstd), false);
    assert_eq!(refused, Err(FrameTooLong { body_bytes: BODY_BYTES_MAX + 1 }));
    assert_eq!(out, b"before");
}

/// A legal record of nothing but the shortest headers comes as near to a frame as records come:
/// it fits while its sequence number is below 2^21 and no tail goes with it.
#[test]
fn the_fattest_legal_record_fits_a_frame_but_for_large_sequence_numbers() {
    let headers = std::iter::repeat_n((&b"n"[..], &b"v"[..]), (1_048_576 - 8) / 4);
    let now_ms = 1_800_000_000_000;
    let bytes = |seq_num| proto::encoded_record_bytes(seq_num, now_ms, headers.clone(), 0);
    assert_eq!(bytes((1 << 21) - 1), BODY_BYTES_MAX);
    assert_eq!(bytes(1 << 21), BODY_BYTES_MAX + 1);
}
