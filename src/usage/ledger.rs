//! All counters of one shard.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::book::{Book, HOUR_S, MINUTE_S};
use super::query::{Part, Query, Set};
use super::saved::{BadUsage, Saved};
use crate::types::BasinName;

/// How long points by the minute are kept, in minutes: one day.
pub const MINUTES_KEPT: u32 = 24 * 60;
/// How long points by the hour are kept, in hours: the longest time that may be asked for.
pub const HOURS_KEPT: u32 = 90 * 24;
/// Most numbers kept by a shard; each takes 16 bytes of memory and about 6 of each checkpoint.
pub const SAMPLES_MAX: usize = 1 << 20;

/// All counters of one shard.
#[derive(Debug, Default)]
pub struct Ledger {
    account: Rc<Book>,
    basins: BTreeMap<BasinName, Rc<Book>>,
}

impl Ledger {
    /// The account's counters.
    #[must_use]
    pub fn account(&self) -> &Book {
        &self.account
    }

    /// A basin's counters. They outlive the basin: the past does not change when it is deleted.
    pub fn basin(&mut self, name: &BasinName) -> Rc<Book> {
        if let Some(book) = self.basins.get(name) {
            return Rc::clone(book);
        }
        Rc::clone(self.basins.entry(name.clone()).or_default())
    }

    /// Metered bytes that the shard's streams store.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.basins.values().map(|book| book.stored_bytes()).sum()
    }

    /// What this shard has to say to a query about the account, or about `basin`. A stream's
    /// storage is not in here.
    #[must_use]
    pub fn part(&self, basin: Option<&BasinName>, query: &Query, now_s: u64) -> Part {
        match (query.set, basin) {
            (Set::ActiveBasins, None) => {
                let active = self.basins.iter().filter(|(_, book)| book.was_active(query));
                let labels = active.map(|(name, _)| name.to_string()).collect();
                Part { labels, ..Part::default() }
            }
            (_, None) => self.account.part(query, now_s),
            (_, Some(name)) => {
                self.basins.get(name).map_or_else(Part::default, |book| book.part(query, now_s))
            }
        }
    }

    /// What was counted and is neither saved nor told by the log, as totals of the buckets that
    /// changed.
    pub fn unsaved(&self) -> impl Iterator<Item = Saved> {
        self.books().filter_map(|(basin, book)| {
            Some(Saved { basin: basin.map(BasinName::to_string), ..book.unsaved()? })
        })
    }

    /// Takes note that what [`unsaved`](Self::unsaved) gave is saved.
    pub fn mark_saved(&self) {
        self.books().for_each(|(_, book)| book.mark_saved());
    }

    /// Everything, for a checkpoint.
    pub fn save(&self) -> impl Iterator<Item = Saved> {
        let books = self.books().filter(|(_, book)| !book.is_empty());
        books.map(|(basin, book)| Saved { basin: basin.map(BasinName::to_string), ..book.save() })
    }

    /// Takes over what was saved. Twice, or an older state after a newer one, changes nothing.
    ///
    /// * Errors: [`BadUsage`]; a part may have been taken over.
    pub fn apply(&mut self, saved: &Saved) -> Result<(), BadUsage> {
        match &saved.basin {
            None => self.account.apply(saved),
            Some(name) => self.basin(&BasinName::new(name).map_err(|_| BadUsage)?).apply(saved),
        }
    }

    /// Ends a replay.
    pub fn settle(&self) {
        self.basins.values().for_each(|book| book.settle());
    }

    /// Forgets what is too old, and more when there is too much.
    pub fn prune(&mut self, now_s: u64) {
        self.prune_to(now_s, SAMPLES_MAX);
    }

    pub(super) fn prune_to(&mut self, now_s: u64, samples_max: usize) {
        const MINUTES_MIN: u32 = 15;
        const HOURS_MIN: u32 = 24;
        let before = |kept: u32, bucket_s: u32| {
            let now = u32::try_from(now_s / u64::from(bucket_s)).unwrap_or(u32::MAX);
            now.saturating_add(1).saturating_sub(kept)
        };
        let (mut minutes, mut hours) = (MINUTES_KEPT, HOURS_KEPT);
        loop {
            let (minute, hour) = (before(minutes, MINUTE_S), before(hours, HOUR_S));
            self.books().for_each(|(_, book)| book.forget_before(minute, hour));
            if self.samples() <= samples_max || hours <= HOURS_MIN {
                break;
            }
            if minutes > MINUTES_MIN {
                minutes = (minutes / 2).max(MINUTES_MIN);
            } else {
                hours = (hours / 2).max(HOURS_MIN);
            }
        }
        // Streams hold on to the counters of their basin.
        self.basins.retain(|_, book| Rc::strong_count(book) > 1 || !book.is_empty());
    }

    pub(super) fn samples(&self) -> usize {
        self.books().map(|(_, book)| book.samples()).sum()
    }

    fn books(&self) -> impl Iterator<Item = (Option<&BasinName>, &Book)> {
        let basins = self.basins.iter().map(|(name, book)| (Some(name), &**book));
        std::iter::once((None, &*self.account)).chain(basins)
    }
}
