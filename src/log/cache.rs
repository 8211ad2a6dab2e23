//! Chunks of the log in memory, as many as are allowed; the one that was used longest ago goes
//! first.
//!
//! Small chunks may take an eighth of it. They are seldom wanted twice, and reading into memory
//! that was just let go is quicker than into memory that was never touched. It is enough to tell
//! who goes through the log: the cache has whole chunks for no more readers than that remembers.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::chunk::{Chunk, Place, Shape};
use crate::types::LogPos;

/// The part of the cache that small chunks may take: one of so many.
const SMALL_SHARE: usize = 8;

/// The chunks of one shard's log. A chunk that is let go lives on for those who still read it.
#[derive(Debug)]
pub struct Cache<R> {
    chunks: BTreeMap<Place, CachedChunk<R>>,
    /// Which chunk was used when; by shape, oldest first.
    by_use: BTreeMap<(Shape, u64), Place>,
    uses: u64,
    bytes: usize,
    small_bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct CachedChunk<R> {
    chunk: Rc<Chunk<R>>,
    used: u64,
}

impl<R: AsRef<[u8]>> Cache<R> {
    /// An empty cache that holds at most `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        let (chunks, by_use) = (BTreeMap::new(), BTreeMap::new());
        Self { chunks, by_use, uses: 0, bytes: 0, small_bytes: 0, bytes_max }
    }

    /// What it may hold, in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What it holds, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A chunk that holds all of `pos..pos + len_bytes`; it counts as used now.
    pub fn get(&mut self, pos: LogPos, len_bytes: usize) -> Option<Rc<Chunk<R>>> {
        let place = self.find(pos, len_bytes)?;
        let held = self.chunks.get_mut(&place)?;
        self.by_use.remove(&(place.shape, held.used));
        self.uses += 1;
        held.used = self.uses;
        self.by_use.insert((place.shape, held.used), place);
        Some(Rc::clone(&held.chunk))
    }

    /// The chunk that holds the block at `pos`, without using it.
    #[must_use]
    pub fn peek(&self, pos: LogPos) -> Option<Rc<Chunk<R>>> {
        self.chunks.get(&self.find(pos, 1)?).map(|held| Rc::clone(&held.chunk))
    }

    /// Whether a chunk holds all of `pos..pos + len_bytes`.
    #[must_use]
    pub fn holds(&self, pos: LogPos, len_bytes: usize) -> bool {
        self.find(pos, len_bytes).is_some()
    }

    fn find(&self, pos: LogPos, len_bytes: usize) -> Option<Place> {
        let holds = |held: &CachedChunk<R>| held.chunk.offset_of(pos, len_bytes).is_some();
        let whole = Place::whole(pos);
        if self.chunks.get(&whole).is_some_and(holds) {
            return Some(whole);
        }
        let start = LogPos { offset_bytes: 0, ..pos };
        let mut before = self.chunks.range(Place::small(start)..=Place::small(pos));
        let (place, held) = before.next_back()?;
        holds(held).then_some(*place)
    }

    /// Keeps a chunk, and lets others go to make room. Of two with the same place the longer one
    /// stays: a log only grows.
    pub fn insert(&mut self, chunk: &Rc<Chunk<R>>) {
        let place = chunk.place;
        if let Some(held) = self.chunks.get(&place) {
            if held.chunk.len_bytes() >= chunk.len_bytes() {
                return;
            }
            self.remove(place);
        }
        self.uses += 1;
        self.bytes += chunk.len_bytes();
        if place.shape == Shape::Small {
            self.small_bytes += chunk.len_bytes();
        }
        self.by_use.insert((place.shape, self.uses), place);
        self.chunks.insert(place, CachedChunk { chunk: Rc::clone(chunk), used: self.uses });
        while self.small_bytes > self.bytes_max / SMALL_SHARE {
            self.remove_oldest(Shape::Small);
        }
        while self.bytes > self.bytes_max {
            self.remove_oldest(Shape::Whole);
        }
    }

    fn remove_oldest(&mut self, shape: Shape) {
        let oldest = self.by_use.range((shape, 0)..=(shape, u64::MAX)).next();
        let (_, place) = oldest.expect("what takes up memory was used once");
        self.remove(*place);
    }

    fn remove(&mut self, place: Place) {
        if let Some(held) = self.chunks.remove(&place) {
            self.by_use.remove(&(place.shape, held.used));
            self.bytes -= held.chunk.len_bytes();
            if place.shape == Shape::Small {
                self.small_bytes -= held.chunk.len_bytes();
            }
        }
    }

    /// Lets go of every segment that is not `living`.
    ///
    /// * Cost: one search for each segment of which it holds anything.
    pub fn forget_dead(&mut self, living: impl Fn(u64) -> bool) {
        for shape in [Shape::Small, Shape::Whole] {
            let mut from = 0;
            while let Some(place) = self.first_at(shape, from) {
                let epoch = place.start.segment;
                if living(epoch) {
                    from = epoch + 1;
                } else {
                    self.remove(place);
                }
            }
        }
    }

    fn first_at(&self, shape: Shape, epoch: u64) -> Option<Place> {
        let start = LogPos { segment: epoch, offset_bytes: 0 };
        let (place, _) = self.chunks.range(Place { shape, start }..).next()?;
        (place.shape == shape).then_some(*place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::chunk::CHUNK_BYTES;

    fn pos(segment: u64, offset_bytes: u32) -> LogPos {
        LogPos { segment, offset_bytes }
    }

    fn chunk(place: Place, len_bytes: usize) -> Rc<Chunk<Vec<u8>>> {
        Rc::new(Chunk::new(place, vec![0; len_bytes]))
    }

    #[test]
    fn the_one_used_longest_ago_goes_first_and_the_bound_holds() {
        let mut cache = Cache::new(3 * 4096);
        let at = |n| pos(1, n * CHUNK_BYTES);
        for n in [0, 10, 20] {
            cache.insert(&chunk(Place::whole(at(n)), 4096));
        }
        assert!(cache.get(at(0), 4096).is_some());
        cache.insert(&chunk(Place::whole(at(30)), 4096));
        assert_eq!([0, 10, 20, 30].map(|n| cache.holds(at(n), 1)), [true, false, true, true]);
        assert_eq!(cache.bytes(), 3 * 4096);
        cache.insert(&chunk(Place::whole(at(40)), 3 * 4096));
        assert_eq!(cache.bytes(), 3 * 4096);
        assert!(cache.holds(at(40), 3 * 4096) && !cache.holds(at(0), 1));
        cache.insert(&chunk(Place::whole(at(50)), 4 * 4096));
        assert_eq!((cache.bytes(), cache.by_use.len()), (0, 0), "longer than all it may hold");
    }

    #[test]
    fn small_chunks_take_their_share_and_no_more() {
        let mut cache = Cache::new(16 * 4096);
        cache.insert(&chunk(Place::whole(pos(1, CHUNK_BYTES)), 14 * 4096));
        for n in [1, 2, 3, 4] {
            cache.insert(&chunk(Place::small(pos(1, n * 4096)), 4096));
        }
        assert_eq!(
            [1, 2, 3, 4].map(|n| cache.holds(pos(1, n * 4096), 1)),
            [false, false, true, true]
        );
        assert_eq!((cache.bytes(), cache.small_bytes), (16 * 4096, 2 * 4096));
        cache.insert(&chunk(Place::whole(pos(1, 2 * CHUNK_BYTES)), 4096));
        assert!(!cache.holds(pos(1, CHUNK_BYTES), 1), "the whole one had to go");
        cache.insert(&chunk(Place::small(pos(1, 4096)), 3 * 4096));
        assert_eq!((cache.bytes(), cache.small_bytes), (4096, 0), "longer than the share");
    }

    #[test]
    fn a_chunk_is_found_by_any_place_in_it_and_by_no_other() {
        let mut cache = Cache::new(1 << 20);
        cache.insert(&chunk(Place::whole(pos(2, CHUNK_BYTES + 1)), 8192));
        cache.insert(&chunk(Place::small(pos(2, 4096)), 8192));
        for (at, len_bytes, held) in [
            (pos(2, CHUNK_BYTES), 4096, true),
            (pos(2, CHUNK_BYTES + 4096), 4096, true),
            (pos(2, CHUNK_BYTES + 4096), 4097, false),
            (pos(2, CHUNK_BYTES + 8192), 1, false),
            (pos(2, 4096), 8192, true),
            (pos(2, 8192), 4096, true),
            (pos(2, 0), 1, false),
            (pos(2, 12_288), 1, false),
            (pos(1, 4096), 1, false),
            (pos(3, 4096), 1, false),
        ] {
            assert_eq!(cache.holds(at, len_bytes), held, "{at:?} + {len_bytes}");
        }
    }

    #[test]
    fn of_two_the_longer_stays() {
        let mut cache = Cache::new(1 << 20);
        for len_bytes in [4096, 12_288, 8192] {
            cache.insert(&chunk(Place::whole(pos(1, 0)), len_bytes));
        }
        assert_eq!((cache.bytes(), cache.chunks.len(), cache.by_use.len()), (12_288, 1, 1));
    }

    #[test]
    fn dead_segments_go_and_living_ones_stay() {
        let mut cache = Cache::new(1 << 20);
        for epoch in [1, 2, 3, 5] {
            cache.insert(&chunk(Place::whole(pos(epoch, 0)), 4096));
            cache.insert(&chunk(Place::small(pos(epoch, 4096)), 4096));
        }
        cache.forget_dead(|epoch| epoch == 2 || epoch == 5);
        let held = [1, 2, 3, 5].map(|epoch| cache.holds(pos(epoch, 0), 1));
        assert_eq!(held, [false, true, false, true]);
        assert_eq!((cache.bytes(), cache.by_use.len()), (4 * 4096, 4));
    }
}
