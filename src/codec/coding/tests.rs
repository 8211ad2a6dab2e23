use std::io::Write;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const MIB: usize = 1024 * 1024;
const LIMIT: usize = 16 * MIB;
const BOTH: [Coding; 2] = [Coding::Zstd, Coding::Gzip];

fn coded(coding: Coding, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(coding, body, &mut out);
    out
}

/// A frame that does not say how long its content is.
fn zstd_streamed(body: &[u8], window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A member with a file name and a comment, as `gzip` and others write them.
fn gzip_with_names(body: &[u8]) -> Vec<u8> {
    let builder = flate2::GzBuilder::new().filename("a.json").comment("c").mtime(1);
    let mut encoder = builder.write(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
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
fn bodies_of_every_kind_survive_a_round_trip() {
    let bodies =
        [vec![], b"x".to_vec(), vec![0; MIB], noise(3 * MIB), b"{\"a\":1}".repeat(200_000)];
    for coding in BOTH {
        for body in &bodies {
            let mut out = b"before".to_vec();
            compress(coding, body, &mut out);
            assert_eq!(out[..6], *b"before");
            assert_eq!(decompress(coding, &out[6..], LIMIT).as_ref(), Ok(body), "{coding:?}");
        }
    }
}

#[test]
fn other_libraries_read_what_is_written() {
    let body = b"{\"a\":1}".repeat(3000);
    assert_eq!(zstd::decode_all(&coded(Coding::Zstd, &body)[..]).unwrap(), body);
    let mut read = Vec::new();
    let written = coded(Coding::Gzip, &body);
    flate2::read::GzDecoder::new(&written[..]).read_to_end(&mut read).unwrap();
    assert_eq!(read, body);
    assert!(written.len() < body.len() / 20);
}

#[test]
fn a_frame_that_says_its_length_is_read_into_just_that() {
    let body = noise(300_000);
    let decoded = decompress(Coding::Zstd, &coded(Coding::Zstd, &body), LIMIT).unwrap();
    assert_eq!((decoded.len(), decoded.capacity()), (body.len(), body.len()));
}

#[test]
fn zstd_frames_need_not_say_their_length() {
    for body in [vec![], vec![7; 100], vec![0; MIB], noise(MIB)] {
        assert_eq!(decompress(Coding::Zstd, &zstd_streamed(&body, 17), LIMIT), Ok(body));
    }
}

#[test]
fn members_and_frames_may_be_concatenated_but_not_without_end() {
    let skippable = b"\x50\x2A\x4D\x18\x03\x00\x00\x00abc";
    let frames = [&coded(Coding::Zstd, b"one ")[..], skippable, &zstd_streamed(b"two", 17)];
    assert_eq!(decompress(Coding::Zstd, &frames.concat(), LIMIT).as_deref(), Ok(&b"one two"[..]));
    let members = [gzip_with_names(b"one "), coded(Coding::Gzip, b""), coded(Coding::Gzip, b"two")];
    assert_eq!(decompress(Coding::Gzip, &members.concat(), LIMIT).as_deref(), Ok(&b"one two"[..]));
    for coding in BOTH {
        let one = coded(coding, b"x");
        assert_eq!(decompress(coding, &one.repeat(1024), LIMIT), Ok(vec![b'x'; 1024]));
        let endless = one.repeat(1025);
        assert_eq!(decompress(coding, &endless, LIMIT), Err(DecompressError::Malformed));
    }
}

#[test]
fn whatever_is_not_whole_or_not_alone_is_refused() {
    let body = noise(2000);
    for coding in BOTH {
        for whole in [coded(coding, &body), coded(coding, b"")] {
            for cut in 0..whole.len() {
                let cut_short = decompress(coding, &whole[..cut], LIMIT);
                assert_eq!(cut_short, Err(DecompressError::Malformed), "{coding:?} cut at {cut}");
            }
            for trailing in [&b"\0"[..], b"abc", b"garbage behind it", &whole[..5]] {
                let longer = [&whole[..], trailing].concat();
                assert_eq!(decompress(coding, &longer, LIMIT), Err(DecompressError::Malformed));
            }
        }
    }
    let streamed = zstd_streamed(&body, 17);
    for cut in 0..streamed.len() {
        assert!(decompress(Coding::Zstd, &streamed[..cut], LIMIT).is_err(), "cut at {cut}");
    }
}

#[test]
fn the_other_coding_and_damage_are_refused() {
    let body = b"{\"a\":1}".repeat(300);
    let (zstd, mut gzip) = (coded(Coding::Zstd, &body), coded(Coding::Gzip, &body));
    assert_eq!(decompress(Coding::Gzip, &zstd, LIMIT), Err(DecompressError::Malformed));
    assert_eq!(decompress(Coding::Zstd, &gzip, LIMIT), Err(DecompressError::Malformed));
    assert_eq!(decompress(Coding::Zstd, &body, LIMIT), Err(DecompressError::Malformed));
    let crc_at = gzip.len() - 8;
    gzip[crc_at] ^= 1;
    assert_eq!(decompress(Coding::Gzip, &gzip, LIMIT), Err(DecompressError::Malformed));
    let mut streamed = zstd_streamed(&body, 17);
    *streamed.last_mut().unwrap() ^= 1; // its checksum
    assert_eq!(decompress(Coding::Zstd, &streamed, LIMIT), Err(DecompressError::Malformed));
}

#[test]
fn the_limit_is_inclusive_and_holds_whatever_the_body_claims() {
    for body in [noise(100_000), vec![0; 100_000]] {
        let forms = [
            (Coding::Zstd, coded(Coding::Zstd, &body)),
            (Coding::Zstd, zstd_streamed(&body, 17)),
            (Coding::Gzip, coded(Coding::Gzip, &body)),
        ];
        for (coding, form) in forms {
            assert_eq!(decompress(coding, &form, 100_000).as_ref(), Ok(&body));
            for limit in [0, 1, 99_999] {
                assert_eq!(decompress(coding, &form, limit), Err(DecompressError::TooLarge));
            }
            let twice = form.repeat(2);
            assert_eq!(decompress(coding, &twice, 150_000), Err(DecompressError::TooLarge));
        }
    }
    let mut liar = coded(Coding::Gzip, b"short");
    let at = liar.len() - 4;
    liar[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decompress(Coding::Gzip, &liar, LIMIT), Err(DecompressError::Malformed));
}

#[test]
fn legal_bodies_may_shrink_a_lot_but_bombs_are_refused() {
    for coding in BOTH {
        for legal in [vec![0; MIB + 100], b"\\u0000".repeat(MIB), vec![b' '; DENSE_BYTES_MAX]] {
            assert!(decompress(coding, &coded(coding, &legal), LIMIT).is_ok(), "{coding:?}");
        }
        let bomb = coded(coding, &vec![0; DENSE_BYTES_MAX + 1]);
        assert!(bomb.len() < DENSE_BYTES_MAX / RATIO_MAX);
        assert_eq!(decompress(coding, &bomb, LIMIT), Err(DecompressError::TooDense));
        assert_eq!(decompress(coding, &bomb, 2 * MIB), Err(DecompressError::TooLarge));
        let large = [noise(MIB), vec![0; 12 * MIB]].concat();
        assert_eq!(decompress(coding, &coded(coding, &large), LIMIT), Ok(large));
    }
}

#[test]
fn windows_are_bounded_and_unusual_ones_not_kept() {
    let body = noise(200_000);
    assert_eq!(decompress(Coding::Zstd, &zstd_streamed(&body, 24), LIMIT).as_ref(), Ok(&body));
    let kept = CONTEXTS.with_borrow(|contexts| contexts.zstd_in.sizeof());
    assert!(kept <= KEPT_CONTEXT_BYTES, "{kept}");
    let wide = zstd_streamed(&body, 25);
    assert_eq!(decompress(Coding::Zstd, &wide, LIMIT), Err(DecompressError::Malformed));
}

#[test]
fn nothing_of_a_failed_call_remains() {
    let (body, other) = (noise(50_000), b"other".to_vec());
    for coding in BOTH {
        let whole = coded(coding, &body);
        assert!(decompress(coding, &whole[..whole.len() / 2], LIMIT).is_err());
        assert!(decompress(coding, &whole, 10).is_err());
        assert_eq!(decompress(coding, &coded(coding, &other), LIMIT).as_ref(), Ok(&other));
    }
}

proptest! {
    #[test]
    fn random_input_never_breaks_the_bounds(
        bytes in vec(any::<u8>(), 0..200),
        flip in any::<prop::sample::Index>(),
        limit in 0..5000usize,
    ) {
        for coding in BOTH {
            let mut form = coded(coding, &bytes);
            let at = flip.index(form.len());
            form[at] ^= 0x10;
            for input in [&bytes, &form] {
                if let Ok(decoded) = decompress(coding, input, limit) {
                    prop_assert!(decoded.len() <= limit);
                }
            }
        }
    }
}
