//! When a reader that found nothing looks once more, or stands by, before the executor is asked to
//! say when something comes.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a watch lasts at most: what a peer on the same machine needs to ask again, and less
/// than a write with its sync, for which the core is held, too.
pub(super) const WATCH: Duration = Duration::from_micros(80);
/// How long watches may find something before the executor looks at its rings.
const WATCHES_LAST: Duration = Duration::from_millis(1);
/// Pauses of the processor between two looks.
pub(super) const WATCH_PAUSES: u32 = 16;

/// How often something is tried that may be in vain: the rarer, the more often it was.
#[derive(Debug, Default)]
struct Turns {
    /// How many are left out between two.
    skips: u8,
    /// Of these, how many are over.
    skipped: u8,
}

impl Turns {
    /// Whether it is tried this time.
    fn is_due(&mut self) -> bool {
        let is_due = self.skipped >= self.skips;
        self.skipped = if is_due { 0 } else { self.skipped + 1 };
        is_due
    }

    fn paid(&mut self) {
        self.skips = 0;
    }

    fn in_vain(&mut self, skips_max: u8) {
        self.skips = (2 * self.skips + 1).min(skips_max);
    }
}

/// Whether to stand by the socket for a moment, instead of being woken, which takes as long as a
/// short answer: when one peer asks again as soon as it has its answer, and nobody else wants
/// anything.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// A watch is to come: the reader gave way once, so that nobody who can go on waits for it.
    pub(super) is_next: bool,
    /// Receives in a row on this executor that were this connection's.
    alone: u8,
    /// Number of the last of them.
    last: u64,
    turns: Turns,
    /// When the first of the watches began that found something, without a wait between.
    found_since: Option<Instant>,
}

impl Watch {
    /// Receives in a row after which the peer counts as the only one.
    const ALONE_MIN: u8 = 16;
    /// Most waits in a row without a watch.
    const SKIPS_MAX: u8 = 127;

    /// Something was received.
    pub(super) fn received(&mut self) {
        let number = RECEIVES.get() + 1;
        RECEIVES.set(number);
        self.alone = if number == self.last + 1 { self.alone.saturating_add(1) } else { 0 };
        self.last = number;
    }

    /// Nothing was there: true when the reader is to give way and to watch then.
    pub(super) fn begins(&mut self) -> bool {
        if self.alone < Self::ALONE_MIN || self.last != RECEIVES.get() {
            return false;
        }
        if !self.turns.is_due() {
            return false;
        }
        // The executor looks at its rings, and so hears of other peers, only when its tasks wait.
        if self.found_since.is_some_and(|since| since.elapsed() >= WATCHES_LAST) {
            return false;
        }
        self.is_next = true;
        true
    }

    /// A watch is over that began then.
    pub(super) fn ended(&mut self, found: bool, began: Instant) {
        if found {
            self.turns.paid();
            self.found_since.get_or_insert(began);
        } else {
            self.turns.in_vain(Self::SKIPS_MAX);
        }
    }

    /// The executor had a look at its rings.
    pub(super) fn waited(&mut self) {
        self.found_since = None;
        self.received();
    }
}

thread_local! {
    /// Receives of all connections of this executor.
    static RECEIVES: Cell<u64> = const { Cell::new(0) };
}

/// How often a connection of this executor received something.
#[must_use]
pub fn receives() -> u64 {
    RECEIVES.get()
}

/// Whether to look once more, after others had their turn, before the executor is asked to say when
/// something arrives: who answers many requests finds the next ones there by the time it is done,
/// and asking takes longer than receiving.
#[derive(Debug, Default)]
pub(super) struct SecondLook {
    /// A look is under way: the reader gave way once.
    pub(super) under_way: bool,
    turns: Turns,
    /// Second looks in a row that found something.
    found: u8,
}

impl SecondLook {
    /// Most waits in a row without a second look.
    const SKIPS_MAX: u8 = 32;
    /// Most second looks in a row that find something. The executor looks at its rings, and lets
    /// other queues have their turn, only when none of its tasks has something to do, and one
    /// that looks again has: peers that are quick enough would keep it from that.
    const FOUND_MAX: u8 = 3;

    /// Nothing was there: true when the reader is to give way and look again.
    pub(super) fn begins(&mut self) -> bool {
        if self.under_way {
            (self.under_way, self.found) = (false, 0);
            self.turns.in_vain(Self::SKIPS_MAX);
            return false;
        }
        if self.found >= Self::FOUND_MAX {
            self.found = 0;
            return false;
        }
        if !self.turns.is_due() {
            return false;
        }
        self.under_way = true;
        true
    }

    /// Something was there.
    pub(super) fn found(&mut self) {
        if std::mem::take(&mut self.under_way) {
            self.turns.paid();
            self.found += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "sockets are real, and so is their time")]
    fn a_lone_peer_is_watched_until_it_is_late_or_others_come() {
        let began = Instant::now();
        let mut watch = Watch::default();
        for received in 0..Watch::ALONE_MIN {
            assert!(!watch.begins(), "after {received} receives");
            watch.received();
        }
        assert!(watch.begins(), "it is the only one");
        watch.ended(true, began);
        watch.received();
        assert!(watch.begins(), "again, since it was in time");
        watch.found_since = began.checked_sub(WATCHES_LAST);
        assert!(!watch.begins(), "the rings must be looked at now and then");
        watch.waited();
        let waits_of = |watch: &mut Watch| (0..1000).position(|_| watch.begins());
        for skips in [0, 1, 3, 7, 15, 31, 63, 127, 127] {
            assert_eq!(waits_of(&mut watch), Some(skips), "it was late each time");
            watch.ended(false, began);
        }
        let mut other = Watch::default();
        other.received();
        assert_eq!(waits_of(&mut watch), None, "another peer came");
        watch.received();
        assert_eq!(waits_of(&mut watch), None, "and it is not alone yet");
    }

    #[test]
    fn second_looks_become_rarer_while_they_are_in_vain_and_come_back_when_they_pay() {
        let mut look = SecondLook::default();
        // Each wait: did it begin a second look? Nothing is ever there.
        let wait = |look: &mut SecondLook| {
            let begins = look.begins();
            if begins {
                assert!(!look.begins(), "once, not for ever");
            }
            begins
        };
        let looks: Vec<usize> = (0..200).filter(|_| wait(&mut look)).collect();
        assert_eq!(looks, [0, 2, 6, 14, 30, 62, 95, 128, 161, 194]);
        // The next one pays: from then on most waits have one.
        while !look.begins() {}
        look.found();
        while look.begins() {
            look.found();
        }
        for _ in 0..10 {
            for _ in 0..SecondLook::FOUND_MAX {
                assert!(look.begins());
                look.found();
            }
            assert!(!look.begins(), "the executor looks at its rings now and then");
        }
    }
}
