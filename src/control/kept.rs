//! A stream's metadata as memory holds it: there are many streams, and most are alike.

use std::collections::VecDeque;
use std::rc::Rc;

use super::record::{Creation, StreamRecord};
use crate::stream::Timestamping;
use crate::types::{Cipher, StorageClass, StreamConfig, StreamId};

/// Values that a basin remembers to share.
const ALIKE_MAX: usize = 16;

/// A [`StreamRecord`] without the id and the name, which never change.
#[derive(Debug)]
pub(super) struct Kept {
    /// Microseconds since the Unix epoch.
    pub(super) created_us: u64,
    pub(super) alike: Rc<Alike>,
    /// Boxed: few streams have any of it.
    seldom: Option<Box<Seldom>>,
}

/// What streams of a basin mostly have in common.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alike {
    pub(super) basin: String,
    pub(super) config: StreamConfig,
    /// What `config` says, for every append.
    pub(super) class: StorageClass,
    pub(super) timestamping: Timestamping,
    pub(super) cipher: Option<Cipher>,
}

impl Alike {
    fn new(basin: String, config: StreamConfig, cipher: Option<Cipher>) -> Self {
        let class = StorageClass::of(&config.storage_class);
        let timestamping = Timestamping::from(&config);
        Self { basin, config, class, timestamping, cipher }
    }
}

/// What few streams have; see [`StreamRecord`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seldom {
    pub(super) deleted_us: Option<u64>,
    creation: Option<Creation>,
    pub(super) delete_on_empty_since_us: Option<u64>,
    hidden_before_ms: Option<u64>,
}

/// Stands for those who have nothing of it.
const NEVER: &Seldom = &Seldom {
    deleted_us: None,
    creation: None,
    delete_on_empty_since_us: None,
    hidden_before_ms: None,
};

impl Kept {
    pub(super) fn of(record: StreamRecord) -> Self {
        let StreamRecord {
            id: _,
            basin,
            name: _,
            created_us,
            deleted_us,
            config,
            cipher,
            creation,
            delete_on_empty_since_us,
            hidden_before_ms,
        } = record;
        let seldom = Seldom { deleted_us, creation, delete_on_empty_since_us, hidden_before_ms };
        Self {
            created_us,
            alike: Rc::new(Alike::new(basin, config, cipher)),
            seldom: (seldom != *NEVER).then(|| Box::new(seldom)),
        }
    }

    /// The whole record again.
    pub(super) fn record(&self, id: StreamId, name: &str) -> StreamRecord {
        let Alike { basin, config, cipher, class: _, timestamping: _ } = &*self.alike;
        let Seldom { deleted_us, creation, delete_on_empty_since_us, hidden_before_ms } =
            self.seldom();
        StreamRecord {
            id: id.0,
            basin: basin.clone(),
            name: name.to_owned(),
            created_us: self.created_us,
            deleted_us: *deleted_us,
            config: config.clone(),
            cipher: *cipher,
            creation: creation.clone(),
            delete_on_empty_since_us: *delete_on_empty_since_us,
            hidden_before_ms: *hidden_before_ms,
        }
    }

    pub(super) fn seldom(&self) -> &Seldom {
        self.seldom.as_deref().unwrap_or(NEVER)
    }
}

/// The newest [`Alike`]s of one basin.
///
/// Bounded, and forgets the oldest: where each stream is configured differently, there is nothing
/// to share, and looking for it must not cost much.
#[derive(Debug, Default)]
pub(super) struct Newest {
    values: VecDeque<Rc<Alike>>,
}

impl Newest {
    /// Lets `kept` hold the value that others hold, if one is equal to its own.
    pub(super) fn share(&mut self, kept: &mut Kept) {
        if let Some(equal) = self.values.iter().find(|value| **value == kept.alike) {
            kept.alike = Rc::clone(equal);
            return;
        }
        self.values.truncate(ALIKE_MAX - 1);
        self.values.push_front(Rc::clone(&kept.alike));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(age_secs: u64) -> StreamRecord {
        let json = format!(
            r#"{{"id":1,"basin":"b","name":"s","created_us":1,
                "config":{{"retention_policy":{{"age":{age_secs}}}}}}}"#
        );
        serde_json::from_str(&json).expect("a record")
    }

    #[test]
    fn a_record_comes_back_whole() {
        let plain = record(1);
        let creation = Creation { token: "t".to_owned(), requested: "{}".to_owned() };
        let full = StreamRecord {
            deleted_us: Some(2),
            cipher: Some(Cipher::Aegis256),
            creation: Some(creation),
            delete_on_empty_since_us: Some(3),
            hidden_before_ms: Some(4),
            ..record(5)
        };
        let late = StreamRecord { hidden_before_ms: Some(0), ..record(6) };
        for record in [plain, full, late] {
            assert_eq!(Kept::of(record.clone()).record(StreamId(1), "s"), record);
        }
    }

    #[test]
    fn equal_values_are_held_once_and_few_are_remembered() {
        let mut newest = Newest::default();
        let mut share = |age_secs| {
            let mut kept = Kept::of(record(age_secs));
            newest.share(&mut kept);
            assert_eq!(kept.record(StreamId(1), "s"), record(age_secs));
            assert!(newest.values.len() <= ALIKE_MAX);
            kept.alike
        };
        let first = share(1);
        assert!(Rc::ptr_eq(&first, &share(1)));
        for age_secs in 2..=ALIKE_MAX as u64 {
            assert!(!Rc::ptr_eq(&first, &share(age_secs)));
        }
        assert!(Rc::ptr_eq(&first, &share(1)), "the oldest, but still remembered");
        share(100);
        assert!(!Rc::ptr_eq(&first, &share(1)), "one too many");
    }
}
