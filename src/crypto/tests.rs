//! What is encrypted opens with its key, in its stream and at its place, and nowhere else.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::types::sealed::{SEED_BYTES, Seal, Sealed, SealedPlace, TAG_BYTES};
use crate::types::{Cipher, SuppliedKey};

const CIPHERS: [Cipher; 2] = [Cipher::Aegis256, Cipher::Aes256Gcm];
/// 32 bytes of 7, and of 8.
const SEVENS: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const EIGHTS: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

const STREAM: StreamIdentity<'static> =
    StreamIdentity { basin: "test-basin-1", stream: "s", created_us: 1_700_000_000_000_000, id: 3 };
const PLACE: SealedPlace = SealedPlace { index: 2, seq_num: 12, timestamp: 1_700_000_000_000 };
const SEED: [u8; SEED_BYTES] = [0xA5; SEED_BYTES];

fn key_of(cipher: Cipher, text: &str, stream: StreamIdentity<'_>) -> StreamKey {
    StreamKey::new(cipher, Some(&SuppliedKey::new(text.as_bytes())), stream).unwrap()
}

fn sealed(key: &StreamKey, place: SealedPlace, plain: &[u8]) -> (Vec<u8>, [u8; TAG_BYTES]) {
    let mut bytes = plain.to_vec();
    let tag = key.sealer(SEED).seal(place, &mut bytes);
    (bytes, tag)
}

fn opens(key: &StreamKey, sealed: Sealed<'_>) -> Option<Vec<u8>> {
    key.opener().open(&sealed).map(<[u8]>::to_vec)
}

#[test]
fn what_one_key_encrypts_only_that_key_opens() {
    for cipher in CIPHERS {
        let key = key_of(cipher, SEVENS, STREAM);
        let (bytes, tag) = sealed(&key, PLACE, b"plain");
        assert_ne!(bytes, b"plain");
        let sealed = Sealed { cipher, seed: &SEED, place: PLACE, bytes: &bytes, tag: &tag };
        assert_eq!(opens(&key, sealed).as_deref(), Some(&b"plain"[..]), "{cipher:?}");
        assert_eq!(opens(&key_of(cipher, EIGHTS, STREAM), sealed), None, "{cipher:?}");
        let other = CIPHERS.into_iter().find(|other| *other != cipher).unwrap();
        assert_eq!(opens(&key_of(other, SEVENS, STREAM), sealed), None, "{cipher:?}");
        let renamed = Sealed { cipher: other, ..sealed };
        assert_eq!(opens(&key_of(other, SEVENS, STREAM), renamed), None, "{cipher:?}");
    }
}

#[test]
fn what_is_moved_to_another_stream_does_not_open() {
    let others = [
        StreamIdentity { basin: "test-basin-2", ..STREAM },
        StreamIdentity { stream: "t", ..STREAM },
        // The same letters, divided otherwise.
        StreamIdentity { basin: "test-basin-1s", stream: "", ..STREAM },
        StreamIdentity { basin: "test-basin-", stream: "1s", ..STREAM },
        // The same name in another life.
        StreamIdentity { created_us: STREAM.created_us + 1, ..STREAM },
        StreamIdentity { id: STREAM.id + 1, ..STREAM },
    ];
    for cipher in CIPHERS {
        let (bytes, tag) = sealed(&key_of(cipher, SEVENS, STREAM), PLACE, b"plain");
        let sealed = Sealed { cipher, seed: &SEED, place: PLACE, bytes: &bytes, tag: &tag };
        for other in others {
            assert_eq!(opens(&key_of(cipher, SEVENS, other), sealed), None, "{cipher:?} {other:?}");
        }
    }
}

#[test]
fn what_is_moved_within_its_stream_or_changed_does_not_open() {
    for cipher in CIPHERS {
        let key = key_of(cipher, SEVENS, STREAM);
        let (bytes, tag) = sealed(&key, PLACE, b"plain");
        let sealed = Sealed { cipher, seed: &SEED, place: PLACE, bytes: &bytes, tag: &tag };
        for place in [
            SealedPlace { index: 3, ..PLACE },
            SealedPlace { seq_num: 13, ..PLACE },
            SealedPlace { timestamp: PLACE.timestamp + 1, ..PLACE },
        ] {
            assert_eq!(opens(&key, Sealed { place, ..sealed }), None, "{cipher:?} {place:?}");
        }
        // All of the seed counts, but for what the index takes the place of in AEGIS-256's nonce.
        for byte in 0..SEED_BYTES - 2 {
            let mut seed = SEED;
            seed[byte] ^= 1;
            assert_eq!(opens(&key, Sealed { seed: &seed, ..sealed }), None, "{cipher:?} {byte}");
        }
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = Sealed { bytes: &changed, ..sealed };
            assert_eq!(opens(&key, changed), None, "{cipher:?} {bit}");
        }
        for bit in 0..8 * TAG_BYTES {
            let mut changed = tag;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opens(&key, Sealed { tag: &changed, ..sealed }), None, "{cipher:?} {bit}");
        }
        assert_eq!(opens(&key, Sealed { bytes: &bytes[1..], ..sealed }), None, "{cipher:?}");
    }
}

/// The layout of what is encrypted is on people's disks.
#[test]
fn the_same_input_is_always_encrypted_the_same_way() {
    let encrypted = |cipher| {
        let (bytes, tag) = sealed(&key_of(cipher, SEVENS, STREAM), PLACE, b"plain");
        [&bytes[..], &tag].concat().iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    assert_eq!(encrypted(Cipher::Aegis256), "d736e3474dc494b55188995f5ce8e16b1c1fb909cf");
    // As another implementation of HKDF, SHA-256 and AES-GCM has it (Python's `cryptography`).
    assert_eq!(encrypted(Cipher::Aes256Gcm), "baee51fa8c4628494f5fca8a3b48bc45e00a688ba0");
}

#[test]
fn no_record_of_a_batch_is_encrypted_as_another() {
    for cipher in CIPHERS {
        let key = key_of(cipher, SEVENS, STREAM);
        let sealer = key.sealer(SEED);
        let all: BTreeSet<[u8; 16]> = (0..1000)
            .map(|index| {
                let mut bytes = [0; 16];
                sealer.seal(SealedPlace { index, ..PLACE }, &mut bytes);
                bytes
            })
            .collect();
        assert_eq!(all.len(), 1000, "{cipher:?}");
    }
}

#[test]
fn one_opener_opens_batch_after_batch() {
    for cipher in CIPHERS {
        let key = key_of(cipher, SEVENS, STREAM);
        let mut opener = key.opener();
        for (seed, text) in [(1, "first"), (1, "and again"), (2, ""), (1, "back"), (2, "x")] {
            let seed = [seed; SEED_BYTES];
            let mut bytes = text.as_bytes().to_vec();
            let tag = key.sealer(seed).seal(PLACE, &mut bytes);
            let sealed = Sealed { cipher, seed: &seed, place: PLACE, bytes: &bytes, tag: &tag };
            assert_eq!(opener.open(&sealed), Some(text.as_bytes()), "{cipher:?}");
            let shut = Sealed { tag: &[0; TAG_BYTES], ..sealed };
            assert_eq!(opener.open(&shut), None, "{cipher:?}");
        }
    }
}

#[test]
fn only_32_bytes_as_padded_base64_are_a_key() {
    let no_padding = &SEVENS[..43];
    let url_safe = SEVENS.replace("BwcH", "-_cH");
    let blank_inside = SEVENS.replacen("BwcH", "Bw H", 1);
    let shorter = format!("{}==", "A".repeat(42));
    let longer = "A".repeat(44);
    for text in ["!!!!", "", no_padding, &url_safe, &blank_inside, &shorter, &longer, "AAAA"] {
        for cipher in CIPHERS {
            let supplied = SuppliedKey::new(text.as_bytes());
            let key = StreamKey::new(cipher, Some(&supplied), STREAM);
            let BadKey(problem) = key.map(|_| ()).expect_err(text);
            assert!(text.len() < 4 || !problem.contains(text), "a key is never quoted");
        }
    }
    assert!(StreamKey::new(Cipher::Aegis256, None, STREAM).is_err());
    let long = SuppliedKey::new("A".repeat(4096).as_bytes());
    assert!(StreamKey::new(Cipher::Aegis256, Some(&long), STREAM).is_err());
}

#[test]
fn no_debug_text_has_the_key() {
    let key = key_of(Cipher::Aes256Gcm, SEVENS, STREAM);
    let shown = format!("{key:?} {:?} {:?}", key.sealer(SEED), key.opener());
    assert_eq!(
        shown,
        "StreamKey { cipher: Aes256Gcm, .. } Sealer { cipher: Aes256Gcm, .. } \
         Opener { cipher: Aes256Gcm, .. }"
    );
}

proptest! {
    #[test]
    fn whatever_is_encrypted_opens(
        plain in prop::collection::vec(any::<u8>(), 0..200),
        seed in any::<[u8; SEED_BYTES]>(),
        (index, seq_num, timestamp) in any::<(u16, u64, u64)>(),
    ) {
        let place = SealedPlace { index, seq_num, timestamp };
        for cipher in CIPHERS {
            let key = key_of(cipher, SEVENS, STREAM);
            let mut bytes = plain.clone();
            let tag = key.sealer(seed).seal(place, &mut bytes);
            let sealed = Sealed { cipher, seed: &seed, place, bytes: &bytes, tag: &tag };
            prop_assert_eq!(opens(&key, sealed), Some(plain.clone()));
        }
    }
}
