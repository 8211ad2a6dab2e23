//! How fast a backup reads, and the pin that it renews meanwhile.

use std::cell::{Cell, RefCell};

use crate::io::Clock;
use crate::io::glommio::GlommioIo;
use crate::io::pin::{Pin, RENEWED_WITHIN};

/// How often the pin is renewed, in microseconds: often enough that one missed does not matter.
const RENEW_US: u64 = 5_000_000;
const SECOND_US: u128 = 1_000_000;

const _: () = assert!(RENEW_US as u128 * 4 <= RENEWED_WITHIN.as_micros());

/// Spreads what is read over time.
#[derive(Debug)]
pub(super) struct Pace {
    clock: GlommioIo,
    bytes_per_sec: u64,
    /// Until everything is copied.
    pin: RefCell<Option<Pin>>,
    /// When the next bytes may be read.
    free_us: Cell<u64>,
    renewed_us: Cell<u64>,
}

impl Pace {
    /// No more than `bytes_per_sec`; 0 is no bound.
    pub(super) fn new(clock: GlommioIo, bytes_per_sec: u64, pin: Pin) -> Self {
        let (free_us, renewed_us) = (Cell::new(0), Cell::new(clock.now_us()));
        Self { clock, bytes_per_sec, pin: Some(pin).into(), free_us, renewed_us }
    }

    /// Waits until so many bytes may be read.
    pub(super) async fn spend(&self, bytes: usize) {
        let now_us = self.clock.now_us();
        let begin_us = self.free_us.get().max(now_us);
        let rate = u128::from(self.bytes_per_sec);
        let took_us = (bytes as u128 * SECOND_US).checked_div(rate).unwrap_or(0);
        self.free_us.set(begin_us.saturating_add(u64::try_from(took_us).unwrap_or(u64::MAX)));
        self.rest(begin_us - now_us).await;
    }

    /// Gives the pin up: nothing of the source is read any more.
    pub(super) fn unpin(&self) {
        self.pin.take();
    }

    /// Waits for so many microseconds.
    pub(super) async fn rest(&self, us: u64) {
        let until_us = self.clock.now_us().saturating_add(us);
        loop {
            let now_us = self.clock.now_us();
            if now_us.saturating_sub(self.renewed_us.get()) >= RENEW_US {
                self.renewed_us.set(now_us);
                if let Some(Err(error)) = self.pin.borrow().as_ref().map(Pin::renew) {
                    // What it would have prevented is noticed.
                    tracing::warn!(%error, "the pin could not be renewed");
                }
            }
            if now_us >= until_us {
                return;
            }
            self.clock.sleep_us((until_us - now_us).min(RENEW_US)).await;
        }
    }
}
