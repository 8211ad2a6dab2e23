//! Admission: how many appends may be under way, how long one waits for its turn, and when it is
//! told to come again later instead.
//!
//! * What is accepted and not yet durable is bounded (`inflight_bytes_max`); more waits.
//! * A unary append waits no longer than its storage class promises an answer: if what is ahead of
//!   it would take the log longer than that, it is refused at once, and when the wait turns out
//!   longer than expected, then. Nothing was judged or logged before, so the refusal changes
//!   nothing and reveals nothing.
//! * A batch of a session waits however long it takes: its client is simply not read from.

use std::cell::Cell;
use std::pin::pin;

use futures_util::future::{self, Either};

use super::call::StreamPath;
use super::engine::Engine;
use crate::io::Io;
use crate::log::group::GROUP_BYTES_MAX;
use crate::types::{AppendInput, Refusal, StorageClass};

/// Longest that a refused client is told to wait, in milliseconds.
const RETRY_AFTER_MS_MAX: u64 = 2_000;

/// Longest that an append of this class may wait for admission, in microseconds: as long as its
/// whole answer is meant to take.
const fn target_us(class: StorageClass) -> u64 {
    match class {
        StorageClass::Express => 50_000,
        StorageClass::Standard => 500_000,
    }
}

/// Bytes of one who waits for admission, counted until dropped.
struct Waiting<'a> {
    total: &'a Cell<u64>,
    bytes: u64,
}

impl<'a> Waiting<'a> {
    fn new(total: &'a Cell<u64>, bytes: u64) -> Self {
        total.set(total.get() + bytes);
        Self { total, bytes }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.bytes);
    }
}

impl<I: Io> Engine<I> {
    /// Waits until a batch of a unary append may be in flight, no longer than its class allows.
    ///
    /// * Errors: [`Refusal::RateLimited`] when that is too long, known beforehand or not.
    /// * Cost: without a backlog of a whole group, two comparisons beyond [`admit`](Self::admit).
    pub(super) async fn admit_in_time(
        &self,
        path: &StreamPath,
        input: &AppendInput,
    ) -> Result<(), Refusal> {
        // A log that failed has groups ahead for ever.
        self.check_open()?;
        self.check_in_time(path, 0)?;
        if self.is_admitted(input) {
            return Ok(());
        }
        let _waiting = Waiting::new(&self.waiting_bytes, input.metered_bytes);
        let limit_us = self.longest_wait_us(path);
        let (admitted, late) = (pin!(self.admit(input)), pin!(self.io.sleep_us(limit_us)));
        match future::select(admitted, late).await {
            Either::Left((admitted, _)) => admitted,
            Either::Right(((), _)) => Err(come_again_after(limit_us)),
        }
    }

    /// Whether an append that has waited so long would have its turn in time, as far as can be
    /// told.
    ///
    /// * Errors: [`Refusal::RateLimited`] when it would not.
    /// * Cost: without a backlog of a whole group, two comparisons.
    pub(super) fn check_in_time(&self, path: &StreamPath, waited_us: u64) -> Result<(), Refusal> {
        match self.expected_wait_us() {
            0 => Ok(()),
            wait_us if waited_us + wait_us <= self.patience_us(path) => Ok(()),
            wait_us => Err(come_again_after(wait_us)),
        }
    }

    /// How long an append of this stream may wait before its own group is begun, in microseconds:
    /// the rest of what its class promises is for that, for the way, and for what was not foreseen.
    pub(super) fn patience_us(&self, path: &StreamPath) -> u64 {
        self.longest_wait_us(path) * 2 / 5
    }

    /// Waits until a batch more may be in flight.
    pub(super) async fn admit(&self, input: &AppendInput) -> Result<(), Refusal> {
        loop {
            self.check_open()?;
            if self.is_admitted(input) {
                return Ok(());
            }
            self.admitted.notified().await;
        }
    }

    fn is_admitted(&self, input: &AppendInput) -> bool {
        let inflight = self.inflight_bytes.get();
        let fits = inflight + input.metered_bytes <= self.config.inflight_bytes_max;
        // A batch larger than the limit is let in alone: it must get in some time. The log may
        // have promised all of its room while the next segment is prepared; only a full disk is a
        // reason to refuse.
        inflight == 0
            || fits && (self.segments.is_out_of_space() || self.check_room_for(input).is_ok())
    }

    /// How long the log will take for the whole groups that are ahead of a newcomer, in
    /// microseconds. The group under way is not counted: everyone waits for that, however slow the
    /// disk and however little there is to do.
    fn expected_wait_us(&self) -> u64 {
        let ahead_bytes = self.writer.gathered_bytes() as u64 + self.waiting_bytes.get();
        match ahead_bytes / GROUP_BYTES_MAX as u64 {
            0 => 0,
            groups => groups * self.writer.group_us(),
        }
    }

    fn longest_wait_us(&self, path: &StreamPath) -> u64 {
        // Whether there is such a stream is said later, when it can be said for certain.
        target_us(self.class_of(path).unwrap_or(StorageClass::Express))
    }
}

fn come_again_after(wait_us: u64) -> Refusal {
    let retry_after_ms = wait_us.div_ceil(1000).clamp(1, RETRY_AFTER_MS_MAX);
    Refusal::RateLimited { retry_after_ms }
}

#[cfg(test)]
mod tests;
