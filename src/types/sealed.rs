//! Encrypted records: the words that the log, which lays them out, and `crypto`, which makes and
//! opens them, have in common; and the key as its client sent it.
//!
//! * A key lives on the heap in one place and is wiped when it is dropped: values that move leave
//!   no copies of it behind.
//! * Neither is ever shown: `Debug` says only that there is one.

use std::fmt;

use zeroize::Zeroizing;

use super::Cipher;

/// Random bytes that each encrypted batch has of its own.
pub const SEED_BYTES: usize = 32;
/// What the encryption of a record adds to it.
pub const TAG_BYTES: usize = 16;

/// `s2-encryption-key` as it was sent: of legal length, and otherwise not looked at before it is
/// known whether the stream needs one.
#[derive(Clone, PartialEq, Eq)]
pub struct SuppliedKey(Zeroizing<Box<[u8]>>);

impl SuppliedKey {
    /// A copy of `text`.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// What was sent.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SuppliedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SuppliedKey(..)")
    }
}

/// Where a record stands: what its encryption is bound to beside its stream. None of it ever
/// changes, wherever the record's batch is copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedPlace {
    /// How many records of its batch come before it.
    pub index: u16,
    /// Its sequence number.
    pub seq_num: u64,
    /// Its timestamp, milliseconds since the Unix epoch.
    pub timestamp: u64,
}

/// Encrypts the records of one batch while they are written into the log.
pub trait Seal {
    /// With which cipher.
    fn cipher(&self) -> Cipher;

    /// The batch's own random bytes, kept in the clear.
    fn seed(&self) -> &[u8; SEED_BYTES];

    /// Encrypts `bytes` where they are, and returns the tag that belongs behind them.
    fn seal(&self, place: SealedPlace, bytes: &mut [u8]) -> [u8; TAG_BYTES];
}

/// An encrypted record as the log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// With which cipher.
    pub cipher: Cipher,
    /// Its batch's random bytes.
    pub seed: &'a [u8; SEED_BYTES],
    /// Where it stands.
    pub place: SealedPlace,
    /// What was encrypted.
    pub bytes: &'a [u8],
    /// What proves that nothing of this was changed.
    pub tag: &'a [u8; TAG_BYTES],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let key = SuppliedKey::new(b"secret");
        assert_eq!(format!("{key:?} {:?}", Some(&key)), "SuppliedKey(..) Some(SuppliedKey(..))");
        assert_eq!(key.text(), b"secret");
    }
}
