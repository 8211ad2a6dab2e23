//! Chunks on their way from the disk: read once for all who want them, and ahead of readers who
//! go through the log.
//!
//! * One read serves everyone who comes while it is under way. It belongs to all of them: it goes
//!   on when the one who began it goes away, and ends when the last one does.
//! * At most [`LOADS_MAX`] reads that somebody waits for are under way at a time, so that old data
//!   cannot fill the device's queue in front of the log's writes. More wait in line.
//! * What is read ahead is wanted by nobody yet: at most [`AHEAD_MAX`] such reads are under way,
//!   beside the others, and more are not begun at all. Each is begun by polling it once; whoever
//!   comes for it, or the next one who reads ahead, takes it from there.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, WeakShared};

use super::cache::Cache;
use super::chunk::{CHUNK_BYTES, Chunk, Place};
use super::segment::Segment;
use super::segments::Segments;
use crate::io::permits::Permits;
use crate::io::{Clock, Disk, Extent, IoError, LogFile};
use crate::types::LogPos;

/// Most reads of one shard under way that somebody waits for.
pub const LOADS_MAX: usize = 4;
/// Most reads of one shard under way that nobody waits for yet.
pub const AHEAD_MAX: usize = 2;
/// A smaller cache would lose what was read ahead before it is wanted, in bytes.
const AHEAD_CACHE_BYTES_MIN: usize = 8 * CHUNK_BYTES as usize;

/// Bytes as the disk returns them.
type Read<D> = <<D as Disk>::File as LogFile>::Read;
/// A chunk that may be on its way.
type Load<D> = Shared<LocalBoxFuture<'static, LoadResult<D>>>;
type WeakLoad<D> = WeakShared<LocalBoxFuture<'static, LoadResult<D>>>;
type LoadResult<D> = Result<Rc<Chunk<Read<D>>>, Rc<IoError>>;

/// What reading the log has cost since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Reads of the disk.
    pub reads: u64,
    /// Bytes that they asked for.
    pub read_bytes: u64,
    /// Chunks that were found in memory, or on their way there.
    pub cache_hits: u64,
}

/// A chunk to read.
#[derive(Debug)]
pub struct Wanted<'a, F> {
    /// The segment.
    pub segment: &'a Rc<Segment<F>>,
    /// The chunk.
    pub place: Place,
    /// One past the last byte to read, in bytes from the start of the file.
    pub end_bytes: u64,
}

impl<F> Wanted<'_, F> {
    fn extent(&self) -> Extent {
        let offset_bytes = u64::from(self.place.start.offset_bytes);
        let len_bytes = self.end_bytes.saturating_sub(offset_bytes);
        Extent { offset_bytes, len_bytes: usize::try_from(len_bytes).expect("frames fit memory") }
    }
}

/// The chunks of one shard's log, in memory and on their way. Borrows end before any await.
pub struct Loads<D: Disk> {
    shared: Rc<LoadState<D>>,
    permits: Rc<Permits>,
    /// Reads that nobody waits for yet.
    ahead: RefCell<Vec<Load<D>>>,
}

struct LoadState<D: Disk> {
    segments: Rc<Segments<D>>,
    cache: RefCell<Cache<Read<D>>>,
    under_way: RefCell<BTreeMap<Place, UnderWay<D>>>,
    next_number: Cell<u64>,
    counts: Cell<ReadCounts>,
}

struct UnderWay<D: Disk> {
    /// Which load it is: a longer one of the same place may have taken over.
    number: u64,
    len_bytes: usize,
    load: WeakLoad<D>,
}

impl<D: Disk + Clock> Loads<D> {
    /// Nothing in memory, of which there may be `cache_bytes_max`.
    pub fn new(segments: Rc<Segments<D>>, cache_bytes_max: usize) -> Self {
        let shared = Rc::new(LoadState {
            segments,
            cache: RefCell::new(Cache::new(cache_bytes_max)),
            under_way: RefCell::default(),
            next_number: Cell::default(),
            counts: Cell::default(),
        });
        Self { shared, permits: Permits::new(LOADS_MAX), ahead: RefCell::default() }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> ReadCounts {
        self.shared.counts.get()
    }

    /// What is kept in memory, in bytes; at most what was allowed.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.shared.cache.borrow().bytes()
    }

    /// A chunk in memory that holds all of `pos..pos + len_bytes`.
    #[must_use]
    pub fn cached(&self, pos: LogPos, len_bytes: usize) -> Option<Rc<Chunk<Read<D>>>> {
        let found = self.shared.cache.borrow_mut().get(pos, len_bytes);
        if found.is_some() {
            self.shared.count(|counts| counts.cache_hits += 1);
        }
        found
    }

    /// The chunk in memory that holds the block at `pos`; it does not count as used.
    #[must_use]
    pub fn peek(&self, pos: LogPos) -> Option<Rc<Chunk<Read<D>>>> {
        self.shared.cache.borrow().peek(pos)
    }

    /// Whether all of a chunk is on its way.
    #[must_use]
    pub fn is_under_way(&self, wanted: &Wanted<'_, D::File>) -> bool {
        self.shared.join(wanted.place, wanted.extent().len_bytes).is_some()
    }

    /// Reads a chunk, or waits for it when it is on its way.
    ///
    /// * Errors: the disk's; the next one who asks has it tried again.
    /// * Cancel: the read goes on for the others who wait for it.
    pub async fn load(&self, wanted: Wanted<'_, D::File>) -> Result<Rc<Chunk<Read<D>>>, IoError> {
        let len_bytes = wanted.extent().len_bytes;
        // It may have come since the caller looked: whatever begins to read ahead takes in what
        // has been read.
        if let Some(chunk) = self.cached(wanted.place.start, len_bytes) {
            return Ok(chunk);
        }
        let load = match self.shared.join(wanted.place, len_bytes) {
            Some(load) => {
                self.shared.count(|counts| counts.cache_hits += 1);
                load
            }
            None => self.shared.start(&wanted, Some(Rc::clone(&self.permits))),
        };
        load.await.map_err(|error| error.again())
    }

    /// Begins to read a chunk that will be wanted, unless it is here or on its way, or there is
    /// enough to do.
    pub fn load_ahead(&self, wanted: Wanted<'_, D::File>) {
        let Extent { len_bytes, .. } = wanted.extent();
        let place = wanted.place;
        let small_cache = self.shared.cache.borrow().bytes_max() < AHEAD_CACHE_BYTES_MIN;
        if len_bytes == 0
            || small_cache
            || self.shared.cache.borrow().holds(place.start, len_bytes)
            || self.is_under_way(&wanted)
        {
            return;
        }
        let mut ahead = self.ahead.borrow_mut();
        ahead.retain(|load| load.clone().now_or_never().is_none());
        if ahead.len() < AHEAD_MAX {
            let load = self.shared.start(&wanted, None);
            if load.clone().now_or_never().is_none() {
                ahead.push(load);
            }
        }
    }
}

impl<D: Disk + Clock> LoadState<D> {
    fn count(&self, add: impl FnOnce(&mut ReadCounts)) {
        let mut counts = self.counts.get();
        add(&mut counts);
        self.counts.set(counts);
    }

    fn join(&self, place: Place, len_bytes: usize) -> Option<Load<D>> {
        let under_way = self.under_way.borrow();
        let found = under_way.get(&place).filter(|found| found.len_bytes >= len_bytes)?;
        found.load.upgrade()
    }

    /// Makes the read that everyone who wants it shares. It runs while one of them polls it.
    fn start(
        self: &Rc<Self>,
        wanted: &Wanted<'_, D::File>,
        permits: Option<Rc<Permits>>,
    ) -> Load<D> {
        let (place, extent) = (wanted.place, wanted.extent());
        let segment = Rc::clone(wanted.segment);
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let entry = Entry { state: Rc::downgrade(self), place, number };
        let load = async move {
            // Taken out when the load ends, however it does.
            let entry = entry;
            let _permit = match permits {
                Some(permits) => Some(permits.acquire().await),
                None => None,
            };
            if let Some(state) = entry.state.upgrade() {
                state.count(|counts| {
                    counts.reads += 1;
                    counts.read_bytes += extent.len_bytes as u64;
                });
            }
            let bytes = segment.file.read_at(extent).await.map_err(Rc::new)?;
            let chunk = Rc::new(Chunk::new(place, bytes));
            if let Some(state) = entry.state.upgrade() {
                state.keep(&chunk);
            }
            Ok(chunk)
        };
        let load = load.boxed_local().shared();
        if let Some(weak) = load.downgrade() {
            let under_way = UnderWay { number, len_bytes: extent.len_bytes, load: weak };
            self.under_way.borrow_mut().insert(place, under_way);
        }
        load
    }

    /// Keeps a chunk in memory, unless its segment was given up meanwhile: its file may be in use
    /// again, and what was read is of no use to anybody new.
    fn keep(&self, chunk: &Rc<Chunk<Read<D>>>) {
        let living = |epoch| self.segments.get(epoch).is_some();
        let mut cache = self.cache.borrow_mut();
        cache.forget_dead(living);
        if living(chunk.place.start.segment) {
            cache.insert(chunk);
        }
    }
}

/// A load's entry among those under way; its drop takes it out.
struct Entry<D: Disk> {
    state: Weak<LoadState<D>>,
    place: Place,
    number: u64,
}

impl<D: Disk> Drop for Entry<D> {
    fn drop(&mut self) {
        if let Some(state) = self.state.upgrade() {
            let mut under_way = state.under_way.borrow_mut();
            if under_way.get(&self.place).is_some_and(|found| found.number == self.number) {
                under_way.remove(&self.place);
            }
        }
    }
}
