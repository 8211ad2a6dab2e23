//! Which basins and streams exist in one shard, sorted by name.
//!
//! Every shard holds copies of all basins, as they are durably and for everyone, and the streams
//! that it owns. Pure bookkeeping: what may be done, and when an answer may go out, is decided by
//! the callers.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use super::by_id::ById;
use super::kept::Newest;
use super::record::{BasinRecord, StreamRecord, TokenRecord};
use super::stream::Stream;
use crate::types::{BasinName, StreamId, StreamName, TokenId};
use crate::usage::Ledger;

/// Basins and streams of one shard.
#[derive(Debug)]
pub struct Catalog {
    basins: BTreeMap<BasinName, BasinRecord>,
    streams: BTreeMap<BasinName, BasinStreams>,
    by_id: ById,
    next_stream_id: u64,
    /// Memory that the indexes of its streams take, in bytes.
    index_bytes: Rc<Cell<u64>>,
    /// What was used of its basins.
    pub usage: Ledger,
    /// Access tokens, while the log is replayed; then they are the registry's.
    pub tokens: BTreeMap<TokenId, Rc<TokenRecord>>,
}

/// The streams of one basin.
#[derive(Debug, Default)]
struct BasinStreams {
    /// Valid names, each the stream's own.
    by_name: BTreeMap<Rc<str>, Rc<Stream>>,
    newest: Newest,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            basins: BTreeMap::new(),
            streams: BTreeMap::new(),
            by_id: ById::default(),
            next_stream_id: 1,
            index_bytes: Rc::default(),
            usage: Ledger::default(),
            tokens: BTreeMap::new(),
        }
    }
}

impl Catalog {
    /// The basin of this name.
    #[must_use]
    pub fn basin(&self, name: &BasinName) -> Option<&BasinRecord> {
        self.basins.get(name)
    }

    /// Adds or replaces a basin.
    pub fn put_basin(&mut self, name: BasinName, record: BasinRecord) {
        self.basins.insert(name, record);
    }

    /// Removes a basin; its streams are gone already.
    pub fn remove_basin(&mut self, name: &BasinName) {
        self.basins.remove(name);
    }

    /// All basins, sorted.
    pub fn basins(&self) -> impl Iterator<Item = (&BasinName, &BasinRecord)> {
        self.basins.iter()
    }

    /// Basins whose name starts with `prefix` and is greater than `start_after`, sorted.
    pub fn basins_from<'a>(
        &'a self,
        prefix: &'a str,
        start_after: &'a str,
    ) -> impl Iterator<Item = &'a BasinRecord> {
        // Names are few; the simplest walk is fast enough.
        let walk = self.basins.iter();
        walk.filter(move |(name, _)| {
            name.as_str() > start_after && name.as_str().starts_with(prefix)
        })
        .map(|(_, basin)| basin)
    }

    /// The stream of this name.
    #[must_use]
    pub fn stream(&self, basin: &BasinName, name: &StreamName) -> Option<&Rc<Stream>> {
        self.streams.get(basin)?.by_name.get(name.as_str())
    }

    /// The stream with this id.
    #[must_use]
    pub fn stream_by_id(&self, id: StreamId) -> Option<&Rc<Stream>> {
        self.by_id.get(id)
    }

    /// The id for the next stream, which is thereby used up.
    pub fn take_stream_id(&mut self) -> u64 {
        let id = self.next_stream_id;
        self.next_stream_id += 1;
        id
    }

    /// The next stream id, for checkpoints.
    #[must_use]
    pub fn next_stream_id(&self) -> u64 {
        self.next_stream_id
    }

    /// Makes sure that ids below `next` are not handed out again.
    pub fn raise_next_stream_id(&mut self, next: u64) {
        self.next_stream_id = self.next_stream_id.max(next);
    }

    /// Adds a stream that is not there yet to its basin.
    pub fn add_stream(&mut self, basin: BasinName, stream: &Rc<Stream>) {
        stream.join(self.usage.basin(&basin));
        stream.hold_in(&self.index_bytes);
        let streams = self.streams.entry(basin).or_default();
        stream.share(&mut streams.newest);
        let before = streams.by_name.insert(Rc::clone(&stream.name), Rc::clone(stream));
        assert!(before.is_none(), "who adds has looked");
        self.by_id.insert(stream);
        self.raise_next_stream_id(stream.id.0 + 1);
    }

    /// Replaces a stream's metadata, but for id and name: a stream keeps those.
    pub fn set_record(&mut self, stream: &Stream, record: StreamRecord) {
        let basin = BasinName::new(&record.basin);
        stream.set_record(record);
        if let Some(streams) = basin.ok().and_then(|basin| self.streams.get_mut(&basin)) {
            stream.share(&mut streams.newest);
        }
    }

    /// Removes a stream.
    pub fn remove_stream(&mut self, id: StreamId) {
        let Some(stream) = self.by_id.remove(id) else { return };
        stream.leave();
        stream.let_go();
        let basin = BasinName::new(&stream.kept().alike.basin);
        if let Ok(basin) = basin
            && let Some(streams) = self.streams.get_mut(&basin)
        {
            streams.by_name.remove(&stream.name);
            if streams.by_name.is_empty() {
                self.streams.remove(&basin);
            }
        }
    }

    /// All streams, by id.
    pub fn streams(&self) -> impl Iterator<Item = &Rc<Stream>> {
        self.by_id.iter()
    }

    /// Streams with greater ids than `after`, by id.
    pub fn streams_after(&self, after: StreamId) -> impl Iterator<Item = &Rc<Stream>> {
        self.by_id.after(after)
    }

    /// How many streams there are.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.by_id.len()
    }

    /// Memory that the indexes of all streams take, in bytes.
    #[must_use]
    pub fn index_bytes(&self) -> u64 {
        self.index_bytes.get()
    }

    /// Streams of a basin whose name starts with `prefix` and is greater than `start_after`,
    /// sorted.
    ///
    /// * Cost: logarithmic in the number of streams, then linear in what is taken.
    pub fn streams_from<'a>(
        &'a self,
        basin: &BasinName,
        prefix: &'a str,
        start_after: &'a str,
    ) -> impl Iterator<Item = &'a Rc<Stream>> {
        let streams = self.streams.get(basin);
        let start = if start_after >= prefix {
            Bound::Excluded(start_after)
        } else {
            Bound::Included(prefix)
        };
        let range = streams.map(|s| s.by_name.range::<str, _>((start, Bound::Unbounded)));
        range
            .into_iter()
            .flatten()
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(|(_, stream)| stream)
    }
}
