//! Monotonic time as nanoseconds since the start of the run, and a precise timer.
//!
//! The runtime's own timers round up to a millisecond, too coarse for a schedule of appends that
//! take a tenth of one; `timerfd` keeps the kernel's precision for two system calls per wait.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// A point of time all threads count from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    zero: Instant,
}

impl Clock {
    /// Starts counting now.
    pub(crate) fn start() -> Self {
        Self { zero: Instant::now() }
    }

    /// Nanoseconds since [`Clock::start`].
    pub(crate) fn now_ns(self) -> u64 {
        ns(self.zero.elapsed())
    }

    /// The instant `at_ns` after the start.
    pub(crate) fn instant(self, at_ns: u64) -> Instant {
        self.zero + Duration::from_nanos(at_ns)
    }
}

/// A duration in whole nanoseconds, saturating after 584 years.
pub(crate) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A one-shot timer with the kernel's resolution.
pub(crate) struct PreciseTimer {
    fd: AsyncFd<OwnedFd>,
    clock: Clock,
}

impl PreciseTimer {
    /// Must be called on a runtime with I/O enabled.
    pub(crate) fn new(clock: Clock) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[allow(
            deprecated,
            reason = "newer versions want unsafe code for types that may lie about their \
                      descriptor; OwnedFd cannot"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self { fd, clock })
    }

    /// Returns once `at_ns` has passed. Cancelling it leaves a stale expiry, which the next call
    /// takes for a spurious wake-up and waits on.
    pub(crate) async fn wait_until(&self, at_ns: u64) -> io::Result<()> {
        loop {
            let now_ns = self.clock.now_ns();
            if now_ns >= at_ns {
                return Ok(());
            }
            let delay = Duration::from_nanos(at_ns - now_ns);
            let spec = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec {
                    tv_sec: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: i64::from(delay.subsec_nanos()),
                },
            };
            timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &spec)?;
            // The count is never read: re-arming clears it, and each expiry is a new edge.
            self.fd.readable().await?.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precise_timer_never_wakes_early_and_can_be_armed_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let clock = Clock::start();
            let timer = PreciseTimer::new(clock).unwrap();
            for at_us in [300, 700, 701, 100, 2_000] {
                let wait = timer.wait_until(at_us * 1_000);
                tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap().unwrap();
                assert!(clock.now_ns() >= at_us * 1_000);
            }
        });
    }
}
