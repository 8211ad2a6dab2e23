use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{FRAME_BYTES_MAX, begin, finish};
use super::*;
use crate::codec::coding::{Coding, compress};

fn frame(body: &[u8], coding: Option<Coding>) -> Vec<u8> {
    let mut out = Vec::new();
    let start = begin(&mut out);
    out.extend_from_slice(body);
    finish(&mut out, start, coding, false).unwrap();
    out
}

/// A frame of exactly these bytes behind its length.
fn raw(flag: u8, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(body.len() + 1).unwrap().to_be_bytes();
    [&[a, b, c, flag][..], body].concat()
}

/// Pushes a piece in one of the two ways.
fn push(deframer: &mut Deframer, piece: &[u8], copied: bool) {
    if copied {
        deframer.push_slice(piece);
    } else {
        deframer.push(Bytes::copy_from_slice(piece));
    }
}

/// All messages of pieces; how it went on; whether the input may end there.
fn read(pieces: &[&[u8]], copied: bool) -> Result<Vec<Vec<u8>>, BadFrame> {
    let mut deframer = Deframer::new();
    let mut bodies = Vec::new();
    let mut pushed = 0;
    for piece in pieces {
        push(&mut deframer, piece, copied);
        pushed += piece.len();
        while let Some(message) = deframer.next()? {
            bodies.push(message.body().to_vec());
        }
        assert!(deframer.pieces.is_empty());
        assert!(deframer.buffered_bytes() <= pushed);
    }
    deframer.finish()?;
    Ok(bodies)
}

fn stream() -> (Vec<u8>, Vec<Vec<u8>>) {
    let bodies = [b"".to_vec(), b"hi".to_vec(), vec![7; 300], vec![0; 1500], vec![9; 1100], vec![]];
    let codings = [None, None, None, Some(Coding::Zstd), Some(Coding::Gzip), None];
    let frames = bodies.iter().zip(codings).map(|(body, coding)| frame(body, coding));
    (frames.collect::<Vec<_>>().concat(), bodies.to_vec())
}

#[test]
fn a_stream_reads_the_same_wherever_it_is_cut() {
    let (bytes, bodies) = stream();
    for copied in [false, true] {
        assert_eq!(read(&[&bytes], copied).as_ref(), Ok(&bodies));
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single, copied).as_ref(), Ok(&bodies));
        for at in 0..=bytes.len() {
            let (front, back) = bytes.split_at(at);
            assert_eq!(read(&[front, back], copied).as_ref(), Ok(&bodies), "cut at {at}");
        }
    }
}

#[test]
fn pieces_may_also_be_pushed_all_at_once() {
    let (bytes, bodies) = stream();
    for copied in [false, true] {
        for len in [1, 3, 5, 100] {
            let mut deframer = Deframer::new();
            bytes.chunks(len).for_each(|piece| push(&mut deframer, piece, copied));
            assert_eq!(deframer.buffered_bytes(), bytes.len());
            let mut read = Vec::new();
            while let Some(message) = deframer.next().unwrap() {
                read.push(message.body().to_vec());
            }
            assert_eq!(read, bodies);
            assert_eq!((deframer.buffered_bytes(), deframer.finish()), (0, Ok(())));
        }
    }
}

#[test]
fn the_input_may_end_only_between_frames() {
    let (bytes, _) = stream();
    let mut ends = vec![0];
    while let Some(head) = bytes.get(ends[ends.len() - 1]..).and_then(<[u8]>::first_chunk) {
        let body_bytes = FrameHead::parse(*head).unwrap().body_bytes;
        ends.push(ends[ends.len() - 1] + HEAD_BYTES + body_bytes);
    }
    assert_eq!(ends.len(), 7);
    for at in 0..=bytes.len() {
        assert_eq!(read(&[&bytes[..at]], false).is_ok(), ends.contains(&at), "end at {at}");
    }
}

#[test]
fn a_frame_in_one_piece_is_a_slice_and_one_across_pieces_is_gathered_once() {
    let bytes = Bytes::from([frame(&[1; 50], None), frame(&[2; 5000], None)].concat());
    let mut deframer = Deframer::new();
    deframer.push(bytes.slice(..1000));
    let first = deframer.next().unwrap().unwrap();
    assert_eq!(first.payload.as_ptr(), bytes[4..].as_ptr());
    assert!(deframer.next().unwrap().is_none());
    assert_eq!(deframer.buffered_bytes(), 1000 - 54);
    deframer.push(bytes.slice(1000..));
    let second = deframer.next().unwrap().unwrap();
    let Payload::Small(gathered) = &second.payload else { panic!("not gathered") };
    assert_eq!((gathered.len(), gathered.capacity()), (5000, 5000));
    assert_eq!(second.range, 0..5000);
}

#[test]
fn frames_are_judged_by_their_head() {
    let cases: [[u8; 4]; 7] = [
        [0x20, 0, 1, 0],
        [0xFF, 0xFF, 0xFF, 0],
        [0, 0, 0, 0],
        [0, 0, 9, 0x60],
        [0, 0, 9, 0x80],
        [0, 0, 1, 0x80],
        [0, 0, 9, 0xA0],
    ];
    for bytes in cases {
        for copied in [false, true] {
            for behind in [&b""[..], b"some of the body"] {
                let input = [&bytes[..], behind].concat();
                let mut deframer = Deframer::new();
                push(&mut deframer, &frame(b"before", None), copied);
                push(&mut deframer, &input, copied);
                assert_eq!(deframer.next().unwrap().unwrap().body(), b"before");
                assert!(deframer.next().is_err(), "{bytes:x?}");
                assert!(deframer.next().is_err(), "an error stays");
            }
            assert!(read(&[&bytes[..3], &bytes[3..]], copied).is_err(), "{bytes:x?}");
        }
    }
}

#[test]
fn reserved_bits_and_advice_from_a_client_are_ignored() {
    for flag in [0x01, 0x0F, 0x10, 0x1F] {
        assert_eq!(read(&[&raw(flag, b"hi")], false), Ok(vec![b"hi".to_vec()]));
    }
}

#[test]
fn bodies_that_do_not_decompress_or_grow_too_long_are_refused() {
    let mut cases = Vec::new();
    for (coding, flag) in [(Coding::Zstd, 0x20), (Coding::Gzip, 0x40)] {
        let coded = |body: &[u8]| {
            let mut out = Vec::new();
            compress(coding, body, &mut out);
            out
        };
        let longest = vec![0; BODY_BYTES_MAX];
        assert_eq!(read(&[&raw(flag, &coded(&longest))], false), Ok(vec![longest]));
        let body = coded(b"hello");
        cases.push(raw(flag, &coded(&vec![0; BODY_BYTES_MAX + 1])));
        cases.push(raw(flag, b"garbage"));
        cases.push(raw(flag, b""));
        cases.push(raw(flag, &body[..body.len() - 1]));
        cases.push(raw(flag, &[&body[..], b"x"].concat()));
        cases.push(raw(flag ^ 0x60, &body));
    }
    for case in cases {
        for copied in [false, true] {
            assert!(read(&[&case], copied).is_err(), "{:x?}", &case[..10.min(case.len())]);
        }
    }
}

#[test]
fn the_longest_frame_is_taken() {
    let bytes = frame(&vec![3; BODY_BYTES_MAX], None);
    assert_eq!(bytes.len(), 3 + FRAME_BYTES_MAX);
    for copied in [false, true] {
        let pieces: Vec<&[u8]> = bytes.chunks(16_384).collect();
        assert_eq!(read(&pieces, copied), Ok(vec![vec![3; BODY_BYTES_MAX]]));
    }
}

proptest! {
    #[test]
    fn any_cuts_give_the_same_messages(
        bodies in vec((vec(any::<u8>(), 0..400), 0..3u8), 0..6),
        cuts in vec(any::<prop::sample::Index>(), 0..10),
        copied in vec(any::<bool>(), 11),
        drain in vec(any::<bool>(), 11),
    ) {
        let coding = |kind| [None, Some(Coding::Zstd), Some(Coding::Gzip)][usize::from(kind)];
        let of = |(body, kind): &(Vec<u8>, u8)| match coding(*kind) {
            None => raw(0, body),
            Some(coding) => {
                let mut coded = Vec::new();
                compress(coding, body, &mut coded);
                raw(if coding == Coding::Zstd { 0x20 } else { 0x40 }, &coded)
            }
        };
        let bytes: Vec<u8> = bodies.iter().flat_map(of).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut deframer = Deframer::new();
        let mut read = Vec::new();
        let mut from = 0;
        for (index, cut) in cuts.into_iter().enumerate() {
            push(&mut deframer, &bytes[from..cut], copied[index]);
            from = cut;
            while (drain[index] || cut == bytes.len())
                && let Some(message) = deframer.next().unwrap()
            {
                read.push(message.body().to_vec());
            }
        }
        prop_assert_eq!(deframer.finish(), Ok(()));
        let expected: Vec<Vec<u8>> = bodies.into_iter().map(|(body, _)| body).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn random_input_is_messages_or_an_error_but_nothing_else(
        pieces in vec(vec(prop_oneof![Just(0u8), 0..8u8, any::<u8>()], 0..40), 0..8),
    ) {
        let mut deframer = Deframer::new();
        'input: for piece in &pieces {
            deframer.push(Bytes::copy_from_slice(piece));
            loop {
                match deframer.next() {
                    Ok(Some(message)) => prop_assert!(message.body().len() <= BODY_BYTES_MAX),
                    Ok(None) => break,
                    Err(_) => break 'input,
                }
            }
            prop_assert!(deframer.pieces.is_empty());
        }
    }
}
