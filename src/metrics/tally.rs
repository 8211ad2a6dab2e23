//! Counts by a small set of keys, such as refusals by code.

use serde::{Serialize, Serializer};

/// Keys for which a tally has room from the start; more cost an allocation each time it grows.
const KEYS_EXPECTED: usize = 48;

/// How often each key was counted, in the order in which the keys first appeared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally<K> {
    entries: Vec<(K, u64)>,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { entries: Vec::with_capacity(KEYS_EXPECTED) }
    }
}

/// An object with a member for each key.
impl<K: Serialize> Serialize for Tally<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries.iter().map(|(key, count)| (key, count)))
    }
}

impl<K: Copy + PartialEq> Tally<K> {
    /// Adds `count` to `key`.
    ///
    /// * Cost: a walk over the keys seen so far, which are few.
    pub fn add(&mut self, key: K, count: u64) {
        if let Some((_, total)) = self.entries.iter_mut().find(|(known, _)| *known == key) {
            *total = total.saturating_add(count);
        } else {
            self.entries.push((key, count));
        }
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        for &(key, count) in &other.entries {
            self.add(key, count);
        }
    }

    /// Each key that was counted, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> {
        self.entries.iter().copied()
    }
}
