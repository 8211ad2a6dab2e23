//! What the service manager is told (`sd_notify(3)`): how far the start is, that the server serves,
//! reloads or stops, and that its cores are alive. Whoever started it otherwise is told nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::shard::server::{Opening, Server};
use crate::types::refusal::chain;

/// Least time between two reports of how far the start is.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// The service manager, if there is one.
#[derive(Debug)]
pub(super) struct Manager {
    is_there: bool,
    stage: Stage,
    /// When it was last told how far the start is.
    told_at: Option<Instant>,
    /// How often to say that the cores are alive; `None` when nobody asked for it.
    alive_every: Option<Duration>,
    alive_at: Instant,
    /// How often each core had looked around when that was said last.
    beats: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Serving,
    Stopping,
}

impl Manager {
    /// Looks for one in the environment.
    pub(super) fn find() -> Self {
        Self {
            is_there: std::env::var_os("NOTIFY_SOCKET").is_some(),
            stage: Stage::Starting,
            told_at: None,
            // Well within the time after which it would end the server.
            alive_every: sd_notify::watchdog_enabled().map(|limit| limit / 4),
            alive_at: now(),
            beats: Vec::new(),
        }
    }

    /// Says how far the start is, and that the cores are alive, when it is time to.
    pub(super) fn attend(&mut self, server: &Server) {
        if !self.is_there {
            return;
        }
        let is_due = self.told_at.is_none_or(|at| at.elapsed() >= STATUS_EVERY);
        if self.stage == Stage::Starting && is_due {
            self.told_at = Some(now());
            tell(&[NotifyState::Status(&opening_text(server.opening()))]);
        }
        if self.alive_every.is_some_and(|every| self.alive_at.elapsed() >= every) {
            let beats = server.beats();
            // A start and an end take as long as they take; both have limits of their own.
            let is_alive = self.stage != Stage::Serving || have_all_moved(&self.beats, &beats);
            if is_alive {
                (self.alive_at, self.beats) = (now(), beats);
                tell(&[NotifyState::Watchdog]);
            }
        }
    }

    /// Says that connections are taken.
    pub(super) fn ready(&mut self, address: &str) {
        self.stage = Stage::Serving;
        let status = format!("listening on {address}");
        self.tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// Has files read again, and says so before and after.
    pub(super) fn reload(&self, reload: impl FnOnce()) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(error = chain(&error), "no time for the service manager"),
        }
        reload();
        if self.stage == Stage::Serving {
            self.tell(&[NotifyState::Ready]);
        }
    }

    /// Says that the server drains.
    pub(super) fn stopping(&mut self) {
        self.stage = Stage::Stopping;
        self.tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if self.is_there {
            tell(states);
        }
    }
}

/// What cannot be said is not tried again: the manager has limits of its own for what it misses.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(error = chain(&error), "the service manager could not be told");
    }
}

/// Whether every core looked around since.
fn have_all_moved(before: &[u64], now: &[u64]) -> bool {
    before.len() != now.len() || before.iter().zip(now).all(|(before, now)| before != now)
}

fn opening_text(opening: Opening) -> String {
    let Opening { shards_open, shards, read_bytes, total_bytes } = opening;
    let percent = (read_bytes * 100).checked_div(total_bytes).unwrap_or(0).min(100);
    format!("reading the logs: {shards_open} of {shards} shards open, {percent} % read")
}

#[expect(clippy::disallowed_methods, reason = "the main thread has no executor with a clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_core_that_stands_still_is_noticed() {
        assert!(have_all_moved(&[], &[1, 1]), "the first look");
        assert!(have_all_moved(&[1, 1], &[2, 2]));
        assert!(!have_all_moved(&[1, 1], &[2, 1]));
    }

    #[test]
    fn a_start_is_told_in_numbers() {
        let opening = Opening { shards_open: 1, shards: 2, read_bytes: 0, total_bytes: 0 };
        assert!(opening_text(opening).contains("1 of 2 shards open, 0 % read"));
        let opening = Opening { read_bytes: 512, total_bytes: 1024, ..opening };
        assert!(opening_text(opening).contains("50 % read"));
    }
}
