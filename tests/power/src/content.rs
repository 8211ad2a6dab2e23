//! The bytes of a file, sparse: what was never written reads as zeros.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;

/// A length and the pages that were written; copies share pages until one of them is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    len_bytes: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE_BYTES]>>,
}

/// The pages that `len_bytes` bytes at `offset` touch: number, offset within, offset in the bytes,
/// length.
fn pieces(offset: u64, len_bytes: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE_BYTES as u64) as usize;
        let len = (len_bytes - done).min(PAGE_BYTES - within);
        let piece = (at / PAGE_BYTES as u64, within, done, len);
        done += len;
        (len > 0).then_some(piece)
    })
}

impl Content {
    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Bytes that take up memory.
    pub(crate) fn held_bytes(&self) -> u64 {
        (self.pages.len() * PAGE_BYTES) as u64
    }

    /// What lies at `offset`, at most `len_bytes`, and nothing beyond the end.
    pub(crate) fn read(&self, offset: u64, len_bytes: usize) -> Vec<u8> {
        let there = self.len_bytes.saturating_sub(offset);
        let len_bytes = usize::try_from(there).map_or(len_bytes, |there| there.min(len_bytes));
        let mut bytes = vec![0; len_bytes];
        for (page, within, at, len) in pieces(offset, len_bytes) {
            if let Some(page) = self.pages.get(&page) {
                bytes[at..at + len].copy_from_slice(&page[within..within + len]);
            }
        }
        bytes
    }

    /// Writes what lies within the length, which a write does not change.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let there = self.len_bytes.saturating_sub(offset);
        let len = usize::try_from(there).map_or(bytes.len(), |there| there.min(bytes.len()));
        for (page, within, at, len) in pieces(offset, len) {
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[within..within + len].copy_from_slice(&bytes[at..at + len]);
        }
    }

    /// Cuts the end off, or adds zeros.
    pub(crate) fn set_len(&mut self, len_bytes: u64) {
        if len_bytes < self.len_bytes {
            let within = (len_bytes % PAGE_BYTES as u64) as usize;
            let first_gone = len_bytes.div_ceil(PAGE_BYTES as u64);
            drop(self.pages.split_off(&first_gone));
            if let Some(page) = self.pages.get_mut(&(len_bytes / PAGE_BYTES as u64)) {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.len_bytes = len_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_written_or_was_cut_off_reads_as_zeros() {
        let mut content = Content::default();
        content.set_len(10_000);
        content.write(4090, &[7; 12]);
        assert_eq!(content.read(4088, 16), [0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0]);
        content.set_len(4095);
        content.set_len(10_000);
        assert_eq!(content.read(4090, 8), [7, 7, 7, 7, 7, 0, 0, 0]);
        assert_eq!(content.read(9_998, 100), [0, 0], "nothing beyond the end");
        assert!(content.read(20_000, 100).is_empty());
    }

    #[test]
    fn a_write_beyond_the_length_is_not_there() {
        let mut content = Content::default();
        content.set_len(100);
        content.write(96, &[1; 100]);
        content.set_len(104);
        assert_eq!(content.read(94, 10), [0, 0, 1, 1, 1, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_copy_keeps_what_it_was() {
        let mut content = Content::default();
        content.set_len(4096);
        content.write(0, &[1; 4]);
        let copy = content.clone();
        content.write(0, &[2; 4]);
        assert_eq!(copy.read(0, 4), [1; 4]);
    }
}
