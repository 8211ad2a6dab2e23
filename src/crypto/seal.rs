//! Encrypting the records of a batch.

use std::fmt;

use ring::aead::{Aad, LessSafeKey};

use super::StreamKey;
use super::key::nonce;
use crate::types::Cipher;
use crate::types::sealed::{SEED_BYTES, Seal, SealedPlace, TAG_BYTES};

/// Encrypts the records of one batch.
pub struct Sealer<'k> {
    key: &'k StreamKey,
    seed: [u8; SEED_BYTES],
    /// The batch's key, where it is another one than the client's.
    derived: Option<LessSafeKey>,
}

impl<'k> Sealer<'k> {
    pub(super) fn new(key: &'k StreamKey, seed: [u8; SEED_BYTES]) -> Self {
        let derived = (key.cipher() == Cipher::Aes256Gcm).then(|| key.derived(&seed));
        Self { key, seed, derived }
    }
}

impl fmt::Debug for Sealer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("cipher", &self.key.cipher()).finish_non_exhaustive()
    }
}

impl Seal for Sealer<'_> {
    fn cipher(&self) -> Cipher {
        self.key.cipher()
    }

    fn seed(&self) -> &[u8; SEED_BYTES] {
        &self.seed
    }

    fn seal(&self, place: SealedPlace, bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        let context = self.key.context(place);
        match &self.derived {
            None => self.key.aegis(&self.seed, place.index).encrypt_in_place(bytes, &context),
            Some(key) => {
                let (nonce, aad) = (nonce(place.index), Aad::from(context));
                let sealed = key.seal_in_place_separate_tag(nonce, aad, bytes);
                let tag = sealed.expect("a record is far shorter than the 64 GiB of a message");
                tag.as_ref().try_into().expect("its tags have 16 bytes")
            }
        }
    }
}
