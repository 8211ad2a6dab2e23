//! Encryption of records with keys that clients supply.
//!
//! ```text
//!  client's key (32 bytes) --- AEGIS-256:    the key itself;           nonce = seed, with the
//!                         |                                            index in its last 2 bytes
//!                         `--- AES-256-GCM:  HKDF-SHA-256(key, seed);  nonce = index
//! ```
//!
//! * Every batch has a *seed* of its own, 32 random bytes of the operating system, drawn when the
//!   batch is laid out and never again: not over restarts, and not for a batch that a crash took.
//!   Within a batch, records differ by their index. So no key meets a nonce twice, except by a
//!   chance that `docs/adr/0021-record-encryption.md` puts a number to.
//! * What is encrypted is bound to its stream (basin, name, moment of creation and number in its
//!   shard), to its sequence number and to its timestamp: elsewhere it does not open.
//! * Keys are wiped when they are dropped, and shown nowhere. What the ciphers make of them on the
//!   way, on the stack and within `ring`, is not wiped.
//!
//! Source: S2 specification, section 10.

#![forbid(unsafe_code)]

mod key;
mod open;
mod seal;

pub use key::{BadKey, StreamIdentity, StreamKey};
pub use open::Opener;
pub use seal::Sealer;

#[cfg(test)]
mod tests;
