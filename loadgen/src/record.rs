//! What a record says about itself, and the cheap text that fills it.
//!
//! Every record names its run, stream, writer (connection), append, place in the append and the
//! append's size, so that a reader can tell losses, duplicates and torn appends apart without any
//! other source. Generated records begin with this identity; lines of an input file carry it in a
//! header named [`IDENTITY_HEADER`].
//!
//! ```text
//! characters  6    4       3       6       2      2     = 23, six bits each, big-endian
//!             run  stream  writer  append  index  size
//! ```

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Length of an encoded identity.
pub(crate) const IDENTITY_BYTES: usize = 23;
/// Length of an encoded time, behind the identity in records that carry one.
pub(crate) const STAMP_BYTES: usize = 11;
/// Record header that carries the identity of a line from a file.
pub(crate) const IDENTITY_HEADER: &str = "loadgen";

const FIELD_CHARS: [usize; 6] = [6, 4, 3, 6, 2, 2];
/// 64 characters that JSON and every shell leave alone.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const _: () = {
    let mut sum = 0;
    let mut i = 0;
    while i < FIELD_CHARS.len() {
        sum += FIELD_CHARS[i];
        i += 1;
    }
    assert!(sum == IDENTITY_BYTES, "the fields fill the identity");
};

/// Names one append of one run. Ordered, so that facts can be found by bisection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BatchId {
    /// The run; different for every run on the same streams.
    pub(crate) run: u32,
    /// The connection within the run.
    pub(crate) writer: u32,
    /// Counts the connection's appends.
    pub(crate) batch: u32,
}

/// A record's place in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The append it belongs to.
    pub(crate) id: BatchId,
    /// Index of the stream it was meant for.
    pub(crate) stream: u32,
    /// Its place in the append.
    pub(crate) index: u16,
    /// Records in the append.
    pub(crate) size: u16,
}

impl Identity {
    /// The encoded form. Fields are masked to their width; the command line keeps them inside.
    pub(crate) fn encode(&self) -> [u8; IDENTITY_BYTES] {
        let fields = [
            u64::from(self.id.run),
            u64::from(self.stream),
            u64::from(self.id.writer),
            u64::from(self.id.batch),
            u64::from(self.index),
            u64::from(self.size),
        ];
        let mut text = [0; IDENTITY_BYTES];
        let mut at = 0;
        for (value, chars) in fields.into_iter().zip(FIELD_CHARS) {
            for i in 0..chars {
                let shift = 6 * (chars - 1 - i);
                text[at] = ALPHABET[usize::try_from(value >> shift & 63).expect("six bits")];
                at += 1;
            }
        }
        text
    }

    /// Reads an identity from the first [`IDENTITY_BYTES`] bytes of `text`.
    pub(crate) fn decode(text: &[u8]) -> Option<Self> {
        let mut rest = text.get(..IDENTITY_BYTES)?;
        let mut fields = [0_u64; 6];
        for (field, chars) in fields.iter_mut().zip(FIELD_CHARS) {
            let (head, tail) = rest.split_at(chars);
            for &byte in head {
                *field = *field << 6 | u64::from(digit(byte)?);
            }
            rest = tail;
        }
        let [run, stream, writer, batch, index, size] = fields;
        let identity = Self {
            id: BatchId {
                run: u32::try_from(run).ok()?,
                writer: u32::try_from(writer).ok()?,
                batch: u32::try_from(batch).ok()?,
            },
            stream: u32::try_from(stream).ok()?,
            index: u16::try_from(index).ok()?,
            size: u16::try_from(size).ok()?,
        };
        (identity.index < identity.size).then_some(identity)
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

/// A time of the run's clock, six bits a character.
pub(crate) fn encode_stamp(ns: u64) -> [u8; STAMP_BYTES] {
    let mut text = [0; STAMP_BYTES];
    for (i, char) in text.iter_mut().rev().enumerate() {
        *char = ALPHABET[usize::try_from(ns >> (6 * i) & 63).expect("six bits")];
    }
    text
}

/// Reads the time behind the identity of a record's body.
pub(crate) fn decode_stamp(body: &[u8]) -> Option<u64> {
    let text = body.get(IDENTITY_BYTES..IDENTITY_BYTES + STAMP_BYTES)?;
    let mut ns = 0_u64;
    for &char in text {
        ns = ns.checked_mul(64)? | u64::from(digit(char)?);
    }
    Some(ns)
}

/// Hash of an append's bodies, fed one by one. It covers order and boundaries.
pub(crate) fn chain_hash(so_far: u64, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, so_far ^ body.len() as u64)
}

/// Random text to cut record bodies from: one copy per record instead of a generator step per
/// character, and still nothing that compresses below its six bits per character.
#[derive(Debug)]
pub(crate) struct Pool {
    text: Vec<u8>,
    seed: u64,
}

/// Distinct offsets into the pool; the text fits a second-level cache.
const POOL_OFFSETS: u64 = 1 << 20;

impl Pool {
    /// Text enough for bodies of up to `body_bytes_max`.
    pub(crate) fn new(seed: u64, body_bytes_max: usize) -> Self {
        let len = usize::try_from(POOL_OFFSETS).expect("fits") + body_bytes_max;
        let mut state = seed;
        let mut text = Vec::with_capacity(len + 10);
        while text.len() < len {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let bits = mix(state);
            text.extend(
                (0..10).map(|i| ALPHABET[usize::try_from(bits >> (6 * i) & 63).expect("six bits")]),
            );
        }
        Self { text, seed }
    }

    /// The `len` bytes that follow the identity in a generated record's body.
    pub(crate) fn filling(&self, identity: &Identity, len: usize) -> &[u8] {
        let salt = u64::from(identity.id.run) << 32 | u64::from(identity.id.writer) << 10;
        let place = u64::from(identity.id.batch) << 10 | u64::from(identity.index);
        let offset = mix(self.seed ^ mix(salt) ^ place) % POOL_OFFSETS;
        let offset = usize::try_from(offset).expect("bounded by the pool");
        &self.text[offset..offset + len]
    }
}

/// The finaliser of SplitMix64.
fn mix(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(run: u32, writer: u32, batch: u32, index: u16, size: u16) -> Identity {
        Identity { id: BatchId { run, writer, batch }, stream: 7, index, size }
    }

    #[test]
    fn identities_survive_the_round_trip_at_their_limits() {
        for case in [
            identity(0, 0, 0, 0, 1),
            identity(u32::MAX, 65_535, u32::MAX, 999, 1_000),
            identity(1, 2, 3, 4, 5),
        ] {
            assert_eq!(Identity::decode(&case.encode()), Some(case));
        }
    }

    #[test]
    fn what_is_not_an_identity_is_refused() {
        let good = identity(1, 2, 3, 0, 1).encode();
        assert_eq!(Identity::decode(&good[..IDENTITY_BYTES - 1]), None, "short");
        for at in 0..IDENTITY_BYTES {
            let mut bad = good;
            bad[at] = b' ';
            assert_eq!(Identity::decode(&bad), None, "blank at {at}");
        }
        assert_eq!(Identity::decode(&identity(1, 2, 3, 5, 5).encode()), None, "index outside");
        let mut too_large = good;
        too_large[0] = b'_';
        assert_eq!(Identity::decode(&too_large), None, "run above 32 bits");
    }

    #[test]
    fn stamps_survive_the_round_trip_and_nothing_else_is_one() {
        let body = |stamp: &[u8]| [&[b'A'; IDENTITY_BYTES], stamp].concat();
        for ns in [0, 1, 63, 64, 1_000_000_007, u64::MAX] {
            assert_eq!(decode_stamp(&body(&encode_stamp(ns))), Some(ns));
        }
        assert_eq!(decode_stamp(&body(&[b'A'; STAMP_BYTES - 1])), None, "short");
        assert_eq!(decode_stamp(&body(&[b' '; STAMP_BYTES])), None, "blank");
        assert_eq!(decode_stamp(&body(&[b'_'; STAMP_BYTES])), None, "above 64 bits");
    }

    #[test]
    fn filling_depends_on_identity_and_seed_only() {
        let pool = Pool::new(1, 100);
        let one = identity(1, 2, 3, 0, 2);
        let other = identity(1, 2, 3, 1, 2);
        assert_eq!(pool.filling(&one, 100), Pool::new(1, 100).filling(&one, 100));
        assert_ne!(pool.filling(&one, 100), pool.filling(&other, 100));
        assert_ne!(pool.filling(&one, 100), Pool::new(2, 100).filling(&one, 100));
    }

    #[test]
    fn the_hash_sees_order_and_boundaries() {
        let of = |bodies: &[&[u8]]| bodies.iter().fold(0, |hash, body| chain_hash(hash, body));
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"a", b""]), of(&[b"a"]));
    }
}
