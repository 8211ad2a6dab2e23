//! What a stream adds to its basin's usage counters.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use super::stream::Stream;
use crate::stream::State;
use crate::usage::{Book, Class, Counter, Stored};

/// The stream's own part of the counters.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Its basin's counters, at hand so that no append looks for them.
    book: OnceCell<Rc<Book>>,
    stored: RefCell<Stored>,
}

impl Stream {
    /// Counts a durable batch that begins with the record `first`, came at `arrival_ms` (since the
    /// Unix epoch), is `bytes` long by the API's measure, and left the stream in the state
    /// `after`.
    ///
    /// * Cost: no allocation but for the first batch of a minute.
    pub fn count_batch(&self, first: u64, after: &State, arrival_ms: u64, bytes: u64) {
        let mut stored = self.counted.stored.borrow_mut();
        let before = stored.bytes();
        stored.append(first, after.tail.seq_num, bytes);
        stored.trim(after.trim_point);
        if let Some(book) = self.counted.book.get() {
            let class = Class::of(&self.kept().alike.config.storage_class);
            book.appended(class, arrival_ms / 1000, bytes, (before, stored.bytes()));
        }
    }

    /// Counts a durable batch that is among what it stores already: it came at `arrival_ms`, since
    /// the Unix epoch, and is `bytes` long by the API's measure.
    pub fn count_saved_batch(&self, arrival_ms: u64, bytes: u64) {
        if let Some(book) = self.counted.book.get() {
            let class = Class::of(&self.kept().alike.config.storage_class);
            // What is stored now is known of this hour, too.
            book.appended(class, arrival_ms / 1000, bytes, (0, 0));
        }
    }

    /// Takes what retention trimmed from what it stores.
    pub(super) fn count_trim(&self, trim_point: u64, at_s: u64) {
        let mut stored = self.counted.stored.borrow_mut();
        let before = stored.bytes();
        stored.trim(trim_point);
        if let Some(book) = self.counted.book.get() {
            book.stored_changed(at_s, before, stored.bytes());
        }
    }

    /// Counts a read; the time is in seconds since the Unix epoch.
    pub fn count_read(&self, at_s: u64, streaming: bool) {
        let counter = if streaming { Counter::ReadOpsStreaming } else { Counter::ReadOpsUnary };
        self.count(counter, at_s, 1);
    }

    /// Counts metered bytes that were read.
    pub fn count_bytes_read(&self, at_s: u64, bytes: u64) {
        if bytes > 0 {
            self.count(Counter::ReadBytes, at_s, bytes);
        }
    }

    fn count(&self, counter: Counter, at_s: u64, value: u64) {
        if let Some(book) = self.counted.book.get() {
            book.count(counter, at_s, value);
        }
    }

    /// Metered bytes of its durable records that are not trimmed; see [`Stored`] for how exact.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.counted.stored.borrow().bytes()
    }

    /// Takes over from a checkpoint how much it stores; its position is known already.
    pub fn restore_stored(&self, bytes: u64) {
        let state = self.durable.get();
        let stored = Stored::restored(bytes, state.trim_point, state.tail.seq_num);
        if let Some(book) = self.counted.book.get() {
            book.stored_restored(stored.bytes());
        }
        *self.counted.stored.borrow_mut() = stored;
    }

    /// From now on it counts in its basin's counters.
    pub(super) fn join(&self, book: Rc<Book>) {
        let created_us = self.kept().created_us;
        if self.counted.book.set(book).is_ok()
            && let Some(book) = self.counted.book.get()
        {
            book.stream_added(created_us / 1_000_000);
        }
    }

    /// It is gone: its basin has a stream fewer, and what that stored is free.
    pub(super) fn leave(&self) {
        let kept = self.kept();
        let gone_us = kept.seldom().deleted_us.unwrap_or(kept.created_us);
        if let Some(book) = self.counted.book.get() {
            book.stream_removed(gone_us / 1_000_000, self.stored_bytes());
        }
    }
}
