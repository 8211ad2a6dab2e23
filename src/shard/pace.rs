//! How fast old data goes while there are appends.
//!
//! * One at a time: who works on old data takes a turn, which is short.
//! * After it, nobody takes the next one before a rest in proportion to the work. So what all
//!   readers of old data together cost a core is a fixed part of it, however many they are.
//! * A core that has to share its processor does little in much time, and rests would be over
//!   before anybody else has done anything. So between two pieces that are sent, a group of appends
//!   becomes durable, too: readers get so much for each group, whatever the core has become.
//! * Without appends there is no rest: readers get what the core can give.

use std::cell::Cell;
use std::future::{self, Future};
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;

use super::core::Core;
use crate::io::permits::{Permit, Permits};
use crate::io::{Clock, Io};

/// A rest is so many times as long as the work before it.
const RESTS: u64 = 7;
/// Longest rest, in microseconds: who reads old data gets on, however slow core and disk are.
const REST_US_MAX: u64 = 10_000;
/// How often it is looked whether a group has become durable, in microseconds.
const LOOK_US: u64 = 200;
/// Most bytes of old data that are sent in one turn while there are appends.
const PIECE_BYTES: usize = 128 * 1024;
/// What a core sends at most in a microsecond, in bytes. Who only hands them to the connection's
/// task (HTTP/2) has not done that work himself, so it is taken to last at least as long as this.
const BYTES_PER_US: u64 = 2_048;

/// Turns to work on old data, and rests between them.
#[derive(Debug)]
pub(super) struct Pace {
    turn: Rc<Permits>,
    rest_until_us: Cell<u64>,
    /// Groups of appends when the last piece was sent: one more comes first,
    groups_before: Cell<Option<u64>>,
    /// or it is later than this.
    late_us: Cell<u64>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            turn: Permits::new(1),
            rest_until_us: Cell::default(),
            groups_before: Cell::default(),
            late_us: Cell::default(),
        }
    }
}

impl Pace {
    /// Waits for a turn, which lasts until the result is dropped. While there are appends, of which
    /// `appends` says how many groups became durable so far, it begins after a rest.
    ///
    /// * Order: first come, first served.
    pub(super) async fn turn<'a, C: Clock>(
        &'a self,
        clock: &'a C,
        appends: impl Fn() -> Option<u64>,
    ) -> Turn<'a, C> {
        let permit = self.turn.acquire().await;
        while let Some(groups) = appends() {
            let now_us = clock.now_us();
            let rest_us = self.rest_until_us.get().saturating_sub(now_us);
            let comes_first =
                self.groups_before.get() == Some(groups) && now_us < self.late_us.get();
            if rest_us == 0 && !comes_first {
                break;
            }
            clock.sleep_us(if rest_us > 0 { rest_us } else { LOOK_US }).await;
        }
        Turn { pace: self, clock, began_us: Some(clock.now_us()), _permit: permit }
    }

    /// Sends `len_bytes` of old data by `send`, which is told which of them: a piece in each turn
    /// while there are appends, otherwise all that is left. Who waits for its peer to take a piece
    /// keeps nobody else from a turn.
    ///
    /// * Errors: the first of `send`; nothing is sent after it.
    pub(super) async fn send<C: Clock, E>(
        &self,
        clock: &C,
        appends: impl Fn() -> Option<u64>,
        len_bytes: usize,
        mut send: impl AsyncFnMut(Range<usize>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut sent_bytes = 0;
        while sent_bytes < len_bytes {
            drop(self.turn(clock, &appends).await);
            let groups = appends();
            self.groups_before.set(groups);
            let end = if groups.is_some() { sent_bytes + PIECE_BYTES } else { len_bytes };
            let piece = sent_bytes..end.min(len_bytes);
            sent_bytes = piece.end;
            let (now_us, least_us) = (clock.now_us(), piece.len() as u64 / BYTES_PER_US);
            self.late_us.set(now_us + REST_US_MAX);
            self.rest(now_us, least_us);
            let (sent, worked_us) = timed(clock, send(piece)).await;
            self.rest(clock.now_us(), worked_us.saturating_sub(least_us));
            sent?;
        }
        Ok(())
    }

    /// Puts off the next turn because of so much work.
    fn rest(&self, now_us: u64, worked_us: u64) {
        let from_us = self.rest_until_us.get().max(now_us);
        let until_us = from_us.saturating_add(worked_us.saturating_mul(RESTS));
        self.rest_until_us.set(until_us.min(now_us + REST_US_MAX));
    }
}

/// A turn; what is done in it does not wait.
#[derive(Debug)]
pub(super) struct Turn<'a, C: Clock> {
    pace: &'a Pace,
    clock: &'a C,
    /// Until the work is done.
    began_us: Option<u64>,
    _permit: Permit,
}

impl<C: Clock> Turn<'_, C> {
    /// The work is done; the turn still lasts until it is dropped.
    pub(super) fn done(&mut self) {
        if let Some(began_us) = self.began_us.take() {
            let now_us = self.clock.now_us();
            self.pace.rest(now_us, now_us - began_us);
        }
    }
}

impl<C: Clock> Drop for Turn<'_, C> {
    fn drop(&mut self) {
        self.done();
    }
}

impl<I: Io> Core<I> {
    /// Sends old data by `send`, as [`Pace::send`] does, in turn with all of this core.
    pub(super) async fn send_old<E>(
        &self,
        len_bytes: usize,
        send: impl AsyncFnMut(Range<usize>) -> Result<(), E>,
    ) -> Result<(), E> {
        let appends = || {
            let has_appends = self.engines.values().any(|engine| engine.has_appends());
            let groups = self.engines.values().map(|engine| engine.groups_appended.get());
            has_appends.then(|| groups.sum())
        };
        self.pace.send(&*self.clock(), appends, len_bytes, send).await
    }
}

/// Does `work`, and tells for how many microseconds it held the core: not how long it waited.
async fn timed<T>(clock: &impl Clock, work: impl Future<Output = T>) -> (T, u64) {
    let (mut work, mut worked_us) = (pin!(work), 0);
    future::poll_fn(move |cx| {
        let began_us = clock.now_us();
        let polled = work.as_mut().poll(cx);
        worked_us += clock.now_us() - began_us;
        polled.map(|result| (result, worked_us))
    })
    .await
}

#[cfg(test)]
mod tests;
