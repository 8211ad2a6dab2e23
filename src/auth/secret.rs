//! Secrets of tokens: made, shown once, and from then on known only by a keyed hash.
//!
//! A secret is 32 random bytes, so nobody finds it by trying, and its hash needs no work factor.
//! The hash is keyed, with a key of the data directory: who learns the hashes alone, from a copy
//! of the log, can neither use nor compare them with those of another server. What is presented
//! is hashed before it is compared or looked up, so how long that takes says nothing about the
//! secrets that exist; and whole hashes are compared in constant time.
//!
//! Nothing here shows a secret or a key in `Debug`.

use std::cmp::Ordering;
use std::fmt;

use base64_simd::URL_SAFE_NO_PAD;

/// What every secret made here starts with, so that people and scanners recognise one.
pub const SECRET_PREFIX: &str = "tw_";
/// Longest secret that is looked at, in bytes: root tokens are made by operators.
pub const SECRET_BYTES_MAX: usize = 512;

/// Random bytes of a secret, and bytes of a key and of a hash.
const RANDOM_BYTES: usize = 32;

/// The system has no random bytes to give.
#[derive(Debug, thiserror::Error)]
#[error("no random bytes: {0}")]
pub struct NoRandomBytes(#[from] getrandom::Error);

fn random_bytes() -> Result<[u8; RANDOM_BYTES], NoRandomBytes> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// What a client presents to be known as the holder of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new secret.
    ///
    /// * Errors: the system has no random bytes to give.
    pub fn generate() -> Result<Self, NoRandomBytes> {
        random_bytes().map(Self::from_random)
    }

    /// The secret made of these bytes, which must be random.
    #[must_use]
    pub fn from_random(bytes: [u8; RANDOM_BYTES]) -> Self {
        Self(format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode_to_string(bytes)))
    }

    /// The secret as text: visible ASCII, fit for a header. Only for who asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Keys the hashes of one data directory. As secret as the directory itself.
#[derive(Clone)]
pub struct HashKey([u8; RANDOM_BYTES]);

impl HashKey {
    /// A new key.
    ///
    /// * Errors: the system has no random bytes to give.
    pub fn generate() -> Result<Self, NoRandomBytes> {
        random_bytes().map(Self)
    }

    /// The key that is stored as these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; RANDOM_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; RANDOM_BYTES] {
        self.0
    }

    /// The hash of what was presented, or of a new secret.
    ///
    /// * Cost: some hundred nanoseconds for a secret; no allocation.
    #[must_use]
    pub fn hash(&self, secret: &[u8]) -> SecretHash {
        SecretHash(blake3::keyed_hash(&self.0, secret))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// What is kept of a secret. Two are compared in constant time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash(blake3::Hash);

impl SecretHash {
    /// The hash that is stored as these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; RANDOM_BYTES]) -> Self {
        Self(blake3::Hash::from_bytes(bytes))
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; RANDOM_BYTES] {
        *self.0.as_bytes()
    }
}

/// So that a hash can be found among many. That takes longer the more of its first bytes are those
/// of another; who does not know the key cannot choose them, so it says nothing.
impl Ord for SecretHash {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_bytes().cmp(other.0.as_bytes())
    }
}

impl PartialOrd for SecretHash {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_recognisable_fit_for_a_header_and_its_own() {
        let secret = Secret::generate().expect("the system has random bytes");
        let text = secret.reveal();
        assert!(text.starts_with(SECRET_PREFIX) && text.len() == SECRET_PREFIX.len() + 43);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        assert!(text.len() <= SECRET_BYTES_MAX);
        assert_ne!(secret, Secret::generate().expect("the system has random bytes"));
        assert_eq!(Secret::from_random([0; 32]).reveal(), format!("tw_{}", "A".repeat(43)));
    }

    #[test]
    fn a_hash_depends_on_key_and_secret_and_is_kept_as_its_bytes() {
        let (key, other) = (HashKey::from_bytes([1; 32]), HashKey::from_bytes([2; 32]));
        let hash = key.hash(b"tw_secret");
        assert_eq!(hash, HashKey::from_bytes(key.to_bytes()).hash(b"tw_secret"));
        assert_eq!(SecretHash::from_bytes(hash.to_bytes()), hash);
        assert_ne!(hash, other.hash(b"tw_secret"));
        assert_ne!(hash, key.hash(b"tw_secreT"));
        assert_ne!(hash, key.hash(b""));
        assert_ne!(hash.to_bytes(), *blake3::hash(b"tw_secret").as_bytes());
    }

    /// Hashes are on people's disks: the same key and secret must give them for ever.
    #[test]
    fn hashes_never_change() {
        let hash = HashKey::from_bytes([7; 32]).hash(b"tw_secret");
        let independent = {
            let mut hasher = blake3::Hasher::new_keyed(&[7; 32]);
            hasher.update(b"tw_");
            hasher.update(b"secret");
            hasher.finalize()
        };
        assert_eq!(hash.to_bytes(), *independent.as_bytes());
    }

    #[test]
    fn what_is_printed_tells_nothing() {
        let secret = Secret::from_random([0x41; 32]);
        let key = HashKey::from_bytes([0x42; 32]);
        let hash = key.hash(secret.reveal().as_bytes());
        let printed = format!("{secret:?} {key:?} {hash:?} {secret:#?} {key:#?} {hash:#?}");
        assert_eq!(
            printed,
            "Secret(..) HashKey(..) SecretHash(..) Secret(..) HashKey(..) SecretHash(..)"
        );
    }
}
