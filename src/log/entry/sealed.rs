//! Batches whose data records are encrypted, each for itself.
//!
//! ```text
//!  batch     5  u8  cipher: 1 aegis-256, 2 aes-256-gcm
//!           44  seed, 32 random bytes
//!           76  records
//!
//!  record    varint timestamp_delta
//!            varint 0
//!            varint bytes of all that follows
//!            varint metered_bytes
//!            the rest of a record as it is laid out in the clear, encrypted
//!            tag, 16 bytes
//! ```
//!
//! * Command records lie there as in any batch: they have one header, and what is encrypted has
//!   none to be seen. So whoever wants to know only how many records there are, when and of what
//!   size, or what they command, reads such a batch as any other, without a key.
//! * `metered_bytes` is the size by the API's measure, which is that of the plain record.

use super::{
    BATCH_HEADER_BYTES, BatchPlace, Record, batch_bytes_max, put_batch_header, put_content,
    put_length, take_content,
};
use crate::log::format::FormatError;
use crate::types::append::metered_bytes;
use crate::types::sealed::{SEED_BYTES, Seal, Sealed, SealedPlace, TAG_BYTES};
use crate::types::{AppendInput, Cipher, RecordSpan};
use crate::wire::{VARINT_BYTES_MAX, put_varint, take_varint, varint_len};

/// What the records of a batch are encrypted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cover<'a> {
    cipher: Cipher,
    seed: &'a [u8; SEED_BYTES],
}

/// How a cipher is numbered on disk; 0 stands for none.
const fn number(cipher: Cipher) -> u8 {
    match cipher {
        Cipher::Aegis256 => 1,
        Cipher::Aes256Gcm => 2,
    }
}

/// What the bytes of a batch's records are encrypted with, and where the records begin.
pub(super) fn cover_of(
    number_found: u8,
    bytes: &[u8],
) -> Result<(Option<Cover<'_>>, &[u8]), FormatError> {
    if number_found == 0 {
        return Ok((None, bytes));
    }
    let known = [Cipher::Aegis256, Cipher::Aes256Gcm];
    let cipher = known.into_iter().find(|cipher| number(*cipher) == number_found);
    let cipher = cipher.ok_or(FormatError::Entry("unknown cipher"))?;
    let (seed, records) =
        bytes.split_first_chunk().ok_or(FormatError::Entry("cut inside a batch's seed"))?;
    Ok((Some(Cover { cipher, seed }), records))
}

/// Most bytes that [`put_sealed`] can take for `batch`.
#[must_use]
pub fn sealed_bytes_max(batch: &AppendInput) -> usize {
    // In front of what is encrypted: the 0, and two lengths.
    let each = 1 + 2 * VARINT_BYTES_MAX + TAG_BYTES;
    batch_bytes_max(batch) + SEED_BYTES + batch.records.len() * each
}

/// Writes a batch entry with its data records encrypted at the front of `out`; returns its length
/// in bytes.
///
/// * Shape: `timestamps` has one for each record; `out` is at least [`sealed_bytes_max`] long.
/// * Cost: one copy of each record's bytes, which are then encrypted in place.
pub fn put_sealed(
    out: &mut [u8],
    place: BatchPlace,
    batch: &AppendInput,
    timestamps: &[u64],
    seal: &impl Seal,
) -> usize {
    put_batch_header(out, place, batch, timestamps);
    out[5] = number(seal.cipher());
    let mut at = BATCH_HEADER_BYTES + SEED_BYTES;
    out[BATCH_HEADER_BYTES..at].copy_from_slice(seal.seed());
    let mut before = timestamps[0];
    let mut stands = SealedPlace { index: 0, seq_num: place.first_seq_num, timestamp: 0 };
    for (record, timestamp) in batch.records.iter().zip(timestamps) {
        stands.timestamp = *timestamp;
        at = put_varint(out, at, timestamp - before);
        before = *timestamp;
        at = match record.command {
            Some(_) => put_content(out, at, batch, record),
            None => put_encrypted(out, at, batch, record, |bytes| seal.seal(stands, bytes)),
        };
        stands.index += 1;
        stands.seq_num += 1;
    }
    put_length(out, at);
    at
}

fn put_encrypted(
    out: &mut [u8],
    at: usize,
    batch: &AppendInput,
    record: &RecordSpan,
    encrypt: impl FnOnce(&mut [u8]) -> [u8; TAG_BYTES],
) -> usize {
    let metered_bytes = metered_bytes(batch.headers_of(record), record.body);
    let content_bytes = content_bytes(batch, record);
    let at = put_varint(out, at, 0);
    let bytes = varint_len(metered_bytes) + content_bytes + TAG_BYTES;
    let at = put_varint(out, at, bytes as u64);
    let start = put_varint(out, at, metered_bytes);
    let end = put_content(out, start, batch, record);
    assert_eq!(end - start, content_bytes, "its length was written before it");
    let tag = encrypt(&mut out[start..end]);
    out[end..end + TAG_BYTES].copy_from_slice(&tag);
    end + TAG_BYTES
}

/// Bytes that [`put_content`] takes for a record.
fn content_bytes(batch: &AppendInput, record: &RecordSpan) -> usize {
    let headers = batch.headers_of(record);
    let span_bytes = |len: u32| varint_len(len.into()) + len as usize;
    let of_headers = headers.iter().map(|h| span_bytes(h.name.len) + span_bytes(h.value.len));
    varint_len(headers.len() as u64) + of_headers.sum::<usize>() + span_bytes(record.body.len)
}

/// What a record of a batch is, whether that is encrypted or not; `None` when it does not parse.
pub(super) fn uncover<'a>(
    record: Record<'a>,
    cover: Option<Cover<'a>>,
    index: u16,
) -> Option<Record<'a>> {
    let Some(cover) = cover else { return Some(record) };
    if record.header_count > 0 {
        return record.is_command().then_some(record);
    }
    let (metered_bytes, rest) = take_varint(record.body)?;
    let (bytes, tag) = rest.split_last_chunk()?;
    // Its content has a byte for each of what counts, and two more: readers add sizes up.
    if !(8..=6 + bytes.len() as u64).contains(&metered_bytes) {
        return None;
    }
    let Record { seq_num, timestamp, .. } = record;
    let place = SealedPlace { index, seq_num, timestamp };
    let sealed = Sealed { cipher: cover.cipher, seed: cover.seed, place, bytes, tag };
    Some(Record { metered_bytes, body: &[], sealed: Some(sealed), ..record })
}

impl<'a> Record<'a> {
    /// Whether it is a command record, or meant to be one.
    #[must_use]
    pub fn is_command(&self) -> bool {
        self.header_count == 1 && self.headers().next().is_some_and(|(name, _)| name.is_empty())
    }

    /// The record that was encrypted, of what decryption made of it.
    ///
    /// * Errors: `None` when that is no record of the size that was said, which nobody but a holder
    ///   of the key can have brought about.
    #[must_use]
    pub fn opened<'b>(&self, plain: &'b [u8]) -> Option<Record<'b>> {
        let (record, rest) = take_content(plain, self.seq_num, self.timestamp)?;
        let is_whole = rest.is_empty() && record.metered_bytes == self.metered_bytes;
        is_whole.then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, Kind, entries};
    use super::*;

    /// Two records of which each says that it is of this size, around these bytes.
    fn saying(metered_bytes: u64, encrypted: &[u8]) -> Vec<u8> {
        let mut entry = vec![0; BATCH_HEADER_BYTES + SEED_BYTES];
        entry[4] = Kind::Batch as u8;
        entry[5] = number(Cipher::Aegis256);
        entry[6] = 2;
        for _ in 0..2 {
            let size_bytes = varint_len(metered_bytes);
            let bytes = size_bytes + encrypted.len() + TAG_BYTES;
            let mut record = vec![0; 2 + varint_len(bytes as u64) + bytes];
            let at = put_varint(&mut record, 2, bytes as u64);
            let at = put_varint(&mut record, at, metered_bytes);
            record[at..at + encrypted.len()].copy_from_slice(encrypted);
            entry.extend(record);
        }
        let end = entry.len();
        put_length(&mut entry, end);
        entry
    }

    #[test]
    fn an_encrypted_record_that_says_an_impossible_size_is_refused() {
        // No header and no body; and a body of one byte.
        for (encrypted, possible) in [(&[0, 0][..], 8), (&[0, 1, 7], 9)] {
            for size in [0, 7, 8, 9, 10, 1 << 20, u64::MAX / 2 + 1, u64::MAX] {
                let entry = saying(size, encrypted);
                let entry = entries(&entry).next().expect("one").expect("whole");
                let batch = Batch::of(&entry).expect("a batch");
                let sizes: Result<Vec<_>, _> =
                    batch.records().map(|record| record.map(|r| r.metered_bytes)).collect();
                if (8..=possible).contains(&size) {
                    assert_eq!(sizes, Ok(vec![size; 2]));
                } else {
                    let refused = FormatError::Entry("record cannot be parsed");
                    assert_eq!(sizes, Err(refused), "{size} around {encrypted:?}");
                }
            }
        }
    }
}
