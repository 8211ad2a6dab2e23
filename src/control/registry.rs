//! What was decided about basins and access tokens, by the one shard that decides.
//!
//! The catalogue's copies say what holds for everyone; here is what holds as soon as the log is
//! durable that far. Changes of one basin or token take turns: the next is decided when the one
//! before is durable.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Something as it was last decided to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided<R> {
    /// What it is.
    pub record: R,
    /// Ticket of the entry that says so.
    pub ticket: u64,
    /// What it was before.
    before: Option<R>,
}

impl<R> Decided<R> {
    /// What it is when entries up to `ticket` are durable; `None` when it is not there then.
    fn durable(&self, ticket: u64) -> Option<&R> {
        if self.ticket <= ticket { Some(&self.record) } else { self.before.as_ref() }
    }
}

/// Basins or tokens as they were last decided to be, sorted by name.
#[derive(Debug)]
pub struct Registry<N, R> {
    decided: BTreeMap<N, Decided<R>>,
}

impl<N, R> Default for Registry<N, R> {
    fn default() -> Self {
        Self { decided: BTreeMap::new() }
    }
}

impl<N: Ord, R> Registry<N, R> {
    /// What a catalogue that was rebuilt from the log holds: all of it is durable.
    pub fn of(records: impl Iterator<Item = (N, R)>) -> Self {
        let decided = |record| Decided { record, ticket: 0, before: None };
        Self { decided: records.map(|(name, record)| (name, decided(record))).collect() }
    }

    /// What has this name.
    #[must_use]
    pub fn get(&self, name: &N) -> Option<&Decided<R>> {
        self.decided.get(name)
    }

    /// Adds or replaces what has this name.
    pub fn put(&mut self, name: N, record: R, ticket: u64) {
        let before = self.decided.remove(&name).map(|decided| decided.record);
        self.decided.insert(name, Decided { record, ticket, before });
    }

    /// Removes what is durably gone.
    pub fn remove(&mut self, name: &N) {
        self.decided.remove(name);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.decided.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.decided.is_empty()
    }

    /// What there is when entries up to `ticket` are durable.
    pub fn durable(&self, ticket: u64) -> impl Iterator<Item = &R> {
        self.decided.values().filter_map(move |decided| decided.durable(ticket))
    }

    /// The same, from the name `first` on, sorted.
    pub fn durable_from(&self, first: &str, ticket: u64) -> impl Iterator<Item = &R>
    where
        N: Borrow<str>,
    {
        let range = self.decided.range::<str, _>((Bound::Included(first), Bound::Unbounded));
        range.filter_map(move |(_, decided)| decided.durable(ticket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_durable_yet_does_not_count() {
        let old = [("old", ("old", 1))];
        let mut registry = Registry::of(old.into_iter());
        registry.put("new", ("new", 2), 7);
        registry.put("old", ("old", 3), 8);
        let durable =
            |ticket: u64| -> Vec<(&str, u64)> { registry.durable(ticket).copied().collect() };
        assert_eq!(durable(6), [("old", 1)]);
        assert_eq!(durable(7), [("new", 2), ("old", 1)]);
        assert_eq!(durable(8), [("new", 2), ("old", 3)]);
        assert_eq!(registry.len(), 2);
        let from = |first| registry.durable_from(first, 8).map(|(name, _)| *name);
        assert_eq!(from("new").collect::<Vec<_>>(), ["new", "old"]);
        assert_eq!(from("new2").collect::<Vec<_>>(), ["old"]);
        registry.remove(&"new");
        assert_eq!(registry.get(&"new"), None);
    }
}
