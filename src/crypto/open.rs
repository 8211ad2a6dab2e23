//! Decrypting records.

use std::fmt;

use ring::aead::{Aad, LessSafeKey};

use super::StreamKey;
use super::key::nonce;
use crate::types::Cipher;
use crate::types::sealed::{SEED_BYTES, Sealed};

/// Decrypts records of one stream, one after the other.
pub struct Opener<'k> {
    key: &'k StreamKey,
    /// The key of the batch that the last record was in, and that batch's seed.
    derived: Option<([u8; SEED_BYTES], LessSafeKey)>,
    /// The last record; its memory is used for the next.
    plain: Vec<u8>,
}

impl fmt::Debug for Opener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("cipher", &self.key.cipher()).finish_non_exhaustive()
    }
}

impl<'k> Opener<'k> {
    pub(super) fn new(key: &'k StreamKey) -> Self {
        Self { key, derived: None, plain: Vec::new() }
    }

    /// What was encrypted; `None` when it was with another key or cipher, in another stream or at
    /// another place, or is not what it was.
    ///
    /// * Cost: one copy, since frames are shared by readers with other keys, or none.
    pub fn open(&mut self, sealed: &Sealed<'_>) -> Option<&[u8]> {
        if sealed.cipher != self.key.cipher() {
            return None;
        }
        self.plain.clear();
        self.plain.extend_from_slice(sealed.bytes);
        let context = self.key.context(sealed.place);
        match sealed.cipher {
            Cipher::Aegis256 => {
                let cipher = self.key.aegis(sealed.seed, sealed.place.index);
                cipher.decrypt_in_place(&mut self.plain, sealed.tag, &context).ok()?;
                Some(&self.plain)
            }
            Cipher::Aes256Gcm => {
                self.plain.extend_from_slice(sealed.tag);
                if self.derived.as_ref().is_none_or(|(seed, _)| seed != sealed.seed) {
                    self.derived = Some((*sealed.seed, self.key.derived(sealed.seed)));
                }
                let (_, key) = self.derived.as_ref()?;
                let (nonce, aad) = (nonce(sealed.place.index), Aad::from(context));
                key.open_in_place(nonce, aad, &mut self.plain).ok().map(|plain| &*plain)
            }
        }
    }
}
