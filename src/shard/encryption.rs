//! Where the keys of requests meet the streams: which stream needs one, and what opens with it.

use crate::control::{Stream, StreamRecord};
use crate::crypto::{BadKey, Opener, StreamIdentity, StreamKey};
use crate::io::Io;
use crate::log::entry::Record;
use crate::types::{AppendInput, Cipher, Refusal, SuppliedKey};

use super::engine::{Engine, Refused};

impl<I: Io> Engine<I> {
    /// The request's key to `stream`; `None` when that needs none, whatever the request has.
    ///
    /// * Errors: the stream is encrypted, and the request has no key or none that can be one.
    pub(super) fn key_to(
        &self,
        stream: &Stream,
        supplied: Option<&SuppliedKey>,
    ) -> Result<Option<StreamKey>, Refused> {
        let Some(cipher) = stream.cipher() else { return Ok(None) };
        let StreamRecord { basin, name, created_us, id, .. } = stream.record();
        let identity = StreamIdentity { basin: &basin, stream: &name, created_us, id };
        let key =
            StreamKey::new(cipher, supplied, identity).map_err(|BadKey(problem)| Refused {
                refusal: Refusal::EncryptionKey(problem),
                // Whoever learns that it is there may rely on it.
                ticket: stream.created_ticket,
            })?;
        Ok(Some(key))
    }
}

/// Refuses a key that cannot be one to a stream with that cipher: before such a stream is created
/// for who would then be refused.
pub(super) fn check_key(
    cipher: Option<Cipher>,
    supplied: Option<&SuppliedKey>,
) -> Result<(), Refusal> {
    let Some(_any_cipher) = cipher else { return Ok(()) };
    StreamKey::check(supplied).map_err(|BadKey(problem)| Refusal::EncryptionKey(problem))
}

/// Refuses data records with numbers that are beyond what the cipher may encrypt.
pub(super) fn check_seq_nums(
    key: Option<&StreamKey>,
    input: &AppendInput,
    first_seq_num: u64,
) -> Result<(), Refusal> {
    let Some(key) = key else { return Ok(()) };
    let Some(last) = input.records.iter().rposition(|r| r.command.is_none()) else {
        return Ok(());
    };
    if first_seq_num.saturating_add(last as u64) > key.seq_num_max() {
        let message = "a stream with this cipher holds no data records with such sequence numbers";
        return Err(Refusal::Invalid(message.to_owned()));
    }
    Ok(())
}

/// The record as it was appended; `None` when it does not open.
///
/// In an encrypted stream a data record that is not is nobody's who has the key, and elsewhere
/// nothing opens what is encrypted.
pub(super) fn open<'a>(
    opener: Option<&'a mut Opener<'_>>,
    record: &Record<'a>,
) -> Option<Record<'a>> {
    match (opener, &record.sealed) {
        (None, None) => Some(*record),
        (Some(_), None) => record.is_command().then_some(*record),
        (Some(opener), Some(sealed)) => record.opened(opener.open(sealed)?),
        (None, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests;
