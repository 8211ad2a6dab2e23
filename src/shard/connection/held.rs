//! What a core's connections have received and not yet handed to a shard, together.
//!
//! Each connection may hold a little whatever the others do, so that all of them get on; beyond
//! that they wait for each other, and their clients for them.

use std::cell::Cell;

use crate::io::notify::Notify;
use crate::types::AppendInput;

/// Memory of received bodies and batches per core above which whoever holds some reads no more,
/// in bytes.
const HELD_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Memory of a decoded record beside its bytes.
const RECORD_BYTES: u64 = 96;
/// Memory of a decoded header beside its bytes.
const HEADER_BYTES: u64 = 16;

/// The memory of one core's received bodies.
#[derive(Debug, Default)]
pub(in crate::shard) struct Held {
    bytes: Cell<u64>,
    fewer: Notify,
}

/// One holder's part of it, given back when dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    held: &'a Held,
    bytes: Cell<u64>,
}

impl Held {
    pub(super) fn share(&self) -> Share<'_> {
        Share { held: self, bytes: Cell::default() }
    }
}

impl Share<'_> {
    /// Waits until all hold little enough, or this holder nothing.
    pub(super) async fn wait_for_room(&self) {
        while self.bytes.get() > 0 && self.held.bytes.get() >= HELD_BYTES_MAX {
            self.held.fewer.notified().await;
        }
    }

    pub(super) fn add(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
        self.held.bytes.set(self.held.bytes.get() + bytes);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() - bytes);
        let before = self.held.bytes.get();
        self.held.bytes.set(before - bytes);
        if before >= HELD_BYTES_MAX {
            self.held.fewer.notify();
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.give_back(self.bytes.get());
    }
}

/// About how much memory a batch takes, in bytes.
pub(super) fn batch_bytes(input: &AppendInput) -> u64 {
    let (records, headers) = (input.records.len() as u64, input.headers.len() as u64);
    input.metered_bytes + records * RECORD_BYTES + headers * HEADER_BYTES
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn only_who_holds_something_waits_when_all_hold_too_much() {
        let held = Held::default();
        let (first, second) = (held.share(), held.share());
        first.add(HELD_BYTES_MAX);
        assert_eq!(first.wait_for_room().now_or_never(), None);
        assert_eq!(second.wait_for_room().now_or_never(), Some(()), "everyone gets on a little");
        second.add(1);
        assert_eq!(second.wait_for_room().now_or_never(), None);
        let mut waiting = std::pin::pin!(second.wait_for_room());
        assert_eq!((&mut waiting).now_or_never(), None);
        drop(first);
        assert_eq!(waiting.now_or_never(), Some(()));
        assert_eq!(held.bytes.get(), 1);
    }
}
