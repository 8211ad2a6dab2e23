//! What was decided about basins, by the one shard that decides.
//!
//! The catalogue's copies say what holds for everyone; here is what holds as soon as the log is
//! durable that far. Changes of one basin take turns: the next is decided when the one before is
//! durable.

use std::collections::BTreeMap;

use super::catalog::Catalog;
use super::record::BasinRecord;
use crate::types::BasinName;

/// A basin as it was last decided to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What it is.
    pub record: BasinRecord,
    /// Ticket of the entry that says so.
    pub ticket: u64,
    /// What it was before.
    before: Option<BasinRecord>,
}

/// Basins as they were last decided to be, sorted by name.
#[derive(Debug, Default)]
pub struct Registry {
    basins: BTreeMap<BasinName, Decided>,
}

impl Registry {
    /// The basins of a catalogue that was rebuilt from the log: all of it is durable.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        let decided =
            |record: &BasinRecord| Decided { record: record.clone(), ticket: 0, before: None };
        let basins = catalog.basins().map(|(name, record)| (name.clone(), decided(record)));
        Self { basins: basins.collect() }
    }

    /// The basin of this name.
    #[must_use]
    pub fn get(&self, name: &BasinName) -> Option<&Decided> {
        self.basins.get(name)
    }

    /// Adds or replaces a basin.
    pub fn put(&mut self, name: BasinName, record: BasinRecord, ticket: u64) {
        let before = self.basins.remove(&name).map(|decided| decided.record);
        self.basins.insert(name, Decided { record, ticket, before });
    }

    /// Removes a basin that is durably gone.
    pub fn remove(&mut self, name: &BasinName) {
        self.basins.remove(name);
    }

    /// The basins as they are when entries up to `ticket` are durable.
    pub fn durable(&self, ticket: u64) -> impl Iterator<Item = &BasinRecord> {
        self.basins.values().filter_map(move |decided| {
            if decided.ticket <= ticket { Some(&decided.record) } else { decided.before.as_ref() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::BasinConfig;

    #[test]
    fn what_is_not_durable_yet_does_not_count() {
        let record = |name: &str, created_us: u64| BasinRecord {
            name: name.to_owned(),
            created_us,
            deleted_us: None,
            config: BasinConfig::default(),
            creation: None,
        };
        let name = |text: &str| BasinName::new(text).expect("legal");
        let mut catalog = Catalog::default();
        catalog.put_basin(name("basin-old"), record("basin-old", 1));
        let mut registry = Registry::of(&catalog);
        registry.put(name("basin-new"), record("basin-new", 2), 7);
        registry.put(name("basin-old"), record("basin-old", 3), 8);
        let durable = |ticket: u64| -> Vec<(&str, u64)> {
            registry.durable(ticket).map(|r| (r.name.as_str(), r.created_us)).collect()
        };
        assert_eq!(durable(6), [("basin-old", 1)]);
        assert_eq!(durable(7), [("basin-new", 2), ("basin-old", 1)]);
        assert_eq!(durable(8), [("basin-new", 2), ("basin-old", 3)]);
        registry.remove(&name("basin-new"));
        assert_eq!(registry.get(&name("basin-new")), None);
    }
}
