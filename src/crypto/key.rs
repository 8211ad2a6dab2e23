//! A client's key, judged and made fit for one stream.

use std::fmt;

use aegis::aegis256::Aegis256;
use base64_simd::{AsOut, STANDARD};
use ring::aead::{AES_256_GCM, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use ring::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use super::{Opener, Sealer};
use crate::types::sealed::{SEED_BYTES, SealedPlace, TAG_BYTES};
use crate::types::{Cipher, SuppliedKey};

/// Length of a key, in bytes.
const KEY_BYTES: usize = 32;
/// Most bytes that base64 as long as a key's can stand for.
const DECODED_BYTES_MAX: usize = 33;
/// What a stream's identity is the digest of begins with this.
const IDENTITY_LABEL: &[u8] = b"thalweg stream identity 1";
/// Sets keys derived for records apart from whatever else may be derived from the same key.
const DERIVED_LABEL: &[u8] = b"thalweg aes-256-gcm records 1";
/// Greatest sequence number of a data record under AES-256-GCM (section 4.4 of the specification).
const AES_SEQ_NUM_MAX: u64 = u32::MAX as u64;

/// Length of what is authenticated beside a record, in bytes.
const CONTEXT_BYTES: usize = 32 + 8 + 8;

/// Which stream, and which life of it.
#[derive(Debug, Clone, Copy)]
pub struct StreamIdentity<'a> {
    /// The basin's name.
    pub basin: &'a str,
    /// The stream's name.
    pub stream: &'a str,
    /// When it was created, microseconds since the Unix epoch.
    pub created_us: u64,
    /// Its number in its shard, which no other stream there gets.
    pub id: u64,
}

impl StreamIdentity<'_> {
    /// SHA-256 over all of it; lengths keep the names apart.
    fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(IDENTITY_LABEL);
        for name in [self.basin, self.stream] {
            context.update(&(name.len() as u64).to_le_bytes());
            context.update(name.as_bytes());
        }
        context.update(&self.created_us.to_le_bytes());
        context.update(&self.id.to_le_bytes());
        let digest = context.finish();
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// Why a request's key opens nothing. The message is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadKey(pub &'static str);

/// The key of one request or session to one encrypted stream.
pub struct StreamKey {
    cipher: Cipher,
    key: Zeroizing<Box<[u8]>>,
    identity: [u8; 32],
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamKey").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

impl StreamKey {
    /// The key that `supplied` spells, for a stream with that cipher.
    ///
    /// * Errors: [`BadKey`] when there is none, or it is not 32 bytes as standard padded base64.
    pub fn new(
        cipher: Cipher,
        supplied: Option<&SuppliedKey>,
        identity: StreamIdentity<'_>,
    ) -> Result<Self, BadKey> {
        let key = Self::decoded(supplied)?;
        Ok(Self { cipher, key, identity: identity.digest() })
    }

    /// Whether `supplied` can be the key of any encrypted stream.
    ///
    /// * Errors: as for [`StreamKey::new`].
    pub fn check(supplied: Option<&SuppliedKey>) -> Result<(), BadKey> {
        Self::decoded(supplied).map(|_wiped| ())
    }

    fn decoded(supplied: Option<&SuppliedKey>) -> Result<Zeroizing<Box<[u8]>>, BadKey> {
        let supplied = supplied.ok_or(BadKey("missing, and the stream is encrypted"))?;
        let mut decoded = Zeroizing::new([0; DECODED_BYTES_MAX]);
        let bad = |_| BadKey("must be base64 with padding");
        // First, so that nothing longer than that is decoded.
        let bytes = STANDARD.decoded_length(supplied.text()).map_err(bad)?;
        if bytes > DECODED_BYTES_MAX {
            return Err(BadKey("must be 32 bytes as base64"));
        }
        let key = STANDARD.decode(supplied.text(), decoded.as_mut_slice().as_out()).map_err(bad)?;
        if key.len() != KEY_BYTES {
            return Err(BadKey("must be 32 bytes as base64"));
        }
        Ok(Zeroizing::new(Box::from(&*key)))
    }

    /// With which cipher it encrypts.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Greatest sequence number that a data record may have.
    #[must_use]
    pub fn seq_num_max(&self) -> u64 {
        match self.cipher {
            Cipher::Aegis256 => u64::MAX,
            Cipher::Aes256Gcm => AES_SEQ_NUM_MAX,
        }
    }

    /// What encrypts a batch whose own random bytes are `seed`: never the same twice.
    #[must_use]
    pub fn sealer(&self, seed: [u8; SEED_BYTES]) -> Sealer<'_> {
        Sealer::new(self, seed)
    }

    /// What decrypts records of the stream.
    #[must_use]
    pub fn opener(&self) -> Opener<'_> {
        Opener::new(self)
    }

    /// What is authenticated beside a record.
    pub(super) fn context(&self, place: SealedPlace) -> [u8; CONTEXT_BYTES] {
        let mut context = [0; CONTEXT_BYTES];
        context[..32].copy_from_slice(&self.identity);
        context[32..40].copy_from_slice(&place.seq_num.to_le_bytes());
        context[40..].copy_from_slice(&place.timestamp.to_le_bytes());
        context
    }

    /// AEGIS-256 for the record `index` of the batch with that seed.
    pub(super) fn aegis(&self, seed: &[u8; SEED_BYTES], index: u16) -> Aegis256<TAG_BYTES> {
        let key = self.key[..].try_into().expect("as long as `new` saw to");
        let mut nonce = *seed;
        nonce[SEED_BYTES - 2..].copy_from_slice(&index.to_le_bytes());
        Aegis256::new(key, &nonce)
    }

    /// The AES-256-GCM key of the batch with that seed.
    pub(super) fn derived(&self, seed: &[u8; SEED_BYTES]) -> LessSafeKey {
        let derived = Salt::new(HKDF_SHA256, seed).extract(&self.key);
        let okm = derived.expand(&[DERIVED_LABEL], &AES_256_GCM).expect("32 bytes are few");
        LessSafeKey::new(UnboundKey::from(okm))
    }
}

/// The AES-256-GCM nonce of the record `index`, under its batch's key.
pub(super) fn nonce(index: u16) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..2].copy_from_slice(&index.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}
