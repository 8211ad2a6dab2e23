//! Streams by id, in little more room than a pointer each.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::stream::Stream;
use crate::types::StreamId;

/// Ids that share a block.
const BLOCK_IDS: u64 = 64;

/// Streams by id. Ids are given out one after the other, so most blocks are full; those that are
/// not take as much room as they hold streams.
#[derive(Debug, Default)]
pub(super) struct ById {
    /// Sorted by id, and none empty; the key is the id divided by [`BLOCK_IDS`].
    blocks: BTreeMap<u64, Vec<Rc<Stream>>>,
    count: usize,
}

impl ById {
    pub(super) fn get(&self, id: StreamId) -> Option<&Rc<Stream>> {
        let block = self.blocks.get(&(id.0 / BLOCK_IDS))?;
        position(block, id).ok().map(|at| &block[at])
    }

    /// Adds a stream that is not there yet.
    pub(super) fn insert(&mut self, stream: &Rc<Stream>) {
        let block = self.blocks.entry(stream.id.0 / BLOCK_IDS).or_default();
        let at = position(block, stream.id).expect_err("who adds has looked");
        block.insert(at, Rc::clone(stream));
        self.count += 1;
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<Rc<Stream>> {
        let key = id.0 / BLOCK_IDS;
        let block = self.blocks.get_mut(&key)?;
        let stream = block.remove(position(block, id).ok()?);
        self.count -= 1;
        if block.is_empty() {
            self.blocks.remove(&key);
        } else if block.len() <= block.capacity() / 2 {
            block.shrink_to_fit();
        }
        Some(stream)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// All, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<Stream>> {
        self.blocks.values().flatten()
    }

    /// Those with greater ids than `after`, in the order of their ids.
    pub(super) fn after(&self, after: StreamId) -> impl Iterator<Item = &Rc<Stream>> {
        let blocks = self.blocks.range(after.0 / BLOCK_IDS..);
        blocks.flat_map(|(_, block)| block).skip_while(move |stream| stream.id <= after)
    }
}

/// Where a stream is in its block, or where it would be.
fn position(block: &[Rc<Stream>], id: StreamId) -> Result<usize, usize> {
    // Where it is when none before it is gone: looking at the others' ids costs a miss each.
    let full = (id.0 % BLOCK_IDS) as usize;
    match block.get(full) {
        Some(stream) if stream.id == id => Ok(full),
        _ => block.binary_search_by_key(&id, |stream| stream.id),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::control::StreamRecord;

    fn stream(id: u64) -> Rc<Stream> {
        let json = format!(r#"{{"id":{id},"basin":"b","name":"s","created_us":1,"config":{{}}}}"#);
        Rc::new(Stream::new(serde_json::from_str::<StreamRecord>(&json).expect("a record"), 0))
    }

    proptest! {
        /// It is a map from id to stream, whatever the order of what comes and goes.
        #[test]
        fn streams_by_id_are_a_map(
            changes in prop::collection::vec((1_u64..300, prop::bool::weighted(0.6)), 0..400),
            after in 0_u64..310,
        ) {
            let (mut by_id, mut model) = (ById::default(), BTreeMap::new());
            let ids = |streams: Vec<&Rc<Stream>>| -> Vec<u64> {
                streams.iter().map(|stream| stream.id.0).collect()
            };
            for (id, is_added) in changes {
                if is_added {
                    if model.insert(id, ()).is_none() {
                        by_id.insert(&stream(id));
                    }
                } else {
                    let removed = by_id.remove(StreamId(id)).map(|stream| stream.id.0);
                    prop_assert_eq!(removed, model.remove(&id).map(|()| id));
                }
                let found = by_id.get(StreamId(id)).map(|stream| stream.id.0);
                prop_assert_eq!(found, model.contains_key(&id).then_some(id));
                prop_assert_eq!(by_id.len(), model.len());
            }
            let found = (0..310).filter(|id| by_id.get(StreamId(*id)).is_some());
            prop_assert!(found.eq(model.keys().copied()));
            prop_assert_eq!(ids(by_id.iter().collect()), model.keys().copied().collect::<Vec<_>>());
            let later: Vec<u64> = model.range(after + 1..).map(|(id, ())| *id).collect();
            prop_assert_eq!(ids(by_id.after(StreamId(after)).collect()), later);
            let is_any_empty = by_id.blocks.values().any(Vec::is_empty);
            prop_assert!(!is_any_empty);
        }
    }
}
