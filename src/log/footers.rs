//! Asks the footers of sealed segments where a stream's records lie.
//!
//! * Blocks are read when they are needed, checked, and kept for a while: at most
//!   [`CACHE_BLOCKS`] of all footers together.
//! * A footer that is not there, or is damaged, or cannot be read answers nothing: who asks goes
//!   through the segment. It is remembered as missing, so that it is made again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use super::footer::{
    FooterRun, Shape, Target, check_block, decode, file_epoch, file_name, find_run, is_temporary,
};
use super::loads::LOADS_MAX;
use super::segment::LogFacts;
use crate::io::permits::Permits;
use crate::io::{BLOCK_BYTES, Disk, Extent, IoResult, LogFile};
use crate::types::refusal::chain;

/// Footers of one shard that are open at a time.
const OPEN_MAX: usize = 16;
/// Blocks of one shard's footers kept in memory.
pub const CACHE_BLOCKS: usize = 256;

/// Bytes as the disk returns them.
type Read<D> = <<D as Disk>::File as LogFile>::Read;

/// A block, and when it was used last.
type Cached<D> = (Rc<Read<D>>, u64);

/// What asking footers has cost since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FooterCounts {
    /// Runs that were asked for.
    pub lookups: u64,
    /// Blocks read from the disk for them.
    pub block_reads: u64,
    /// Footers that turned out to be missing or damaged.
    pub lost: u64,
}

/// The footers of one shard. Borrows end before any await.
pub struct Footers<D: Disk> {
    disk: Rc<D>,
    log: LogFacts,
    /// Lengths in bytes of those that there are, by epoch; `None` when that has to be looked up.
    lengths: RefCell<Option<BTreeMap<u64, u64>>>,
    open: RefCell<BTreeMap<u64, Rc<Footer<D>>>>,
    /// Bounds the reads under way, which appends have to share the disk with.
    reads: Rc<Permits>,
    missing: RefCell<BTreeSet<u64>>,
    blocks: RefCell<BTreeMap<(u64, u32), Cached<D>>>,
    uses: Cell<u64>,
    counts: Cell<FooterCounts>,
}

/// An open footer.
struct Footer<D: Disk> {
    file: D::File,
    shape: Shape,
}

impl<D: Disk> Footers<D> {
    /// The footers on `disk`, none of them looked at yet.
    pub fn new(disk: Rc<D>, log: LogFacts) -> Self {
        Self {
            disk,
            log,
            lengths: RefCell::default(),
            open: RefCell::default(),
            reads: Permits::new(LOADS_MAX),
            missing: RefCell::default(),
            blocks: RefCell::default(),
            uses: Cell::default(),
            counts: Cell::default(),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> FooterCounts {
        self.counts.get()
    }

    /// Blocks in memory.
    #[must_use]
    pub fn cached_blocks(&self) -> usize {
        self.blocks.borrow().len()
    }

    /// The first segment whose footer was asked for and is not there, but for `others`.
    #[must_use]
    pub fn first_missing(&self, others: &BTreeSet<u64>) -> Option<u64> {
        self.missing.borrow().difference(others).next().copied()
    }

    /// Whether a segment's footer is there, as far as its first block tells.
    pub async fn is_there(&self, epoch: u64) -> bool {
        self.missing.borrow_mut().remove(&epoch);
        let is_there = self.footer(epoch).await.is_some();
        // To look is not to miss it.
        self.missing.borrow_mut().remove(&epoch);
        is_there
    }

    /// Where in the segment `epoch` to look for records of a stream; `None` when its footer does
    /// not say.
    ///
    /// * Cost: a read of the disk for each block on the way that is not in memory: at most three
    ///   for 1.8 million runs.
    pub async fn find(&self, epoch: u64, stream: u64, target: Target) -> Option<FooterRun> {
        self.count(|counts| counts.lookups += 1);
        let Some(footer) = self.footer(epoch).await else {
            self.miss(epoch);
            return None;
        };
        let (mut number, mut level) = footer.shape.root()?;
        loop {
            let block = self.block(epoch, &footer, number).await?;
            if level == 0 {
                return find_run((*block).as_ref(), stream, target);
            }
            number = footer.shape.child((*block).as_ref(), number, level, stream, target)?;
            level -= 1;
        }
    }

    /// The footer of a segment is another one now: what is known of it is forgotten.
    pub fn replaced(&self, epoch: u64) {
        self.lengths.take();
        self.open.borrow_mut().remove(&epoch);
        self.missing.borrow_mut().remove(&epoch);
        self.blocks.borrow_mut().retain(|(of, _), _| *of != epoch);
    }

    /// Removes what interrupted attempts left.
    pub fn remove_unfinished(&self) -> IoResult<()> {
        let files = self.disk.list()?;
        let mut unfinished = files.iter().filter(|(name, _)| is_temporary(name));
        unfinished.try_for_each(|(name, _)| self.disk.remove(name))
    }

    /// Removes the footers of all segments but these: the others are given up, or not sealed.
    pub fn remove_but(&self, living: Range<u64>) -> IoResult<()> {
        self.lengths.take();
        for (name, _) in self.disk.list()? {
            if file_epoch(&name).is_some_and(|epoch| !living.contains(&epoch)) {
                self.disk.remove(&name)?;
            }
        }
        self.open.borrow_mut().retain(|epoch, _| living.contains(epoch));
        self.missing.borrow_mut().retain(|epoch| living.contains(epoch));
        self.blocks.borrow_mut().retain(|(epoch, _), _| living.contains(epoch));
        Ok(())
    }

    async fn footer(&self, epoch: u64) -> Option<Rc<Footer<D>>> {
        if let Some(footer) = self.open.borrow().get(&epoch) {
            return Some(Rc::clone(footer));
        }
        if self.missing.borrow().contains(&epoch) {
            return None;
        }
        let len_bytes = self.length(epoch)?;
        let name = file_name(epoch);
        let opened = async {
            let file = self.disk.open(&name).await?;
            let extent = Extent { offset_bytes: 0, len_bytes: BLOCK_BYTES };
            let block = file.read_at(extent).await?;
            IoResult::Ok((file, decode(self.log, epoch, block.as_ref(), len_bytes)))
        };
        let reason = match opened.await {
            Ok((file, Ok(shape))) => {
                let footer = Rc::new(Footer { file, shape });
                let mut open = self.open.borrow_mut();
                if open.len() >= OPEN_MAX {
                    open.pop_first();
                }
                open.insert(epoch, Rc::clone(&footer));
                return Some(footer);
            }
            Ok((_, Err(reason))) => reason.to_string(),
            Err(error) => chain(&error),
        };
        self.distrust(epoch, &reason);
        None
    }

    /// How long the footer is, in bytes; `None` when there is none.
    fn length(&self, epoch: u64) -> Option<u64> {
        let mut lengths = self.lengths.borrow_mut();
        if lengths.is_none() {
            let files = self.disk.list().ok()?.into_iter();
            let footers =
                files.filter_map(|(name, len_bytes)| Some((file_epoch(&name)?, len_bytes)));
            *lengths = Some(footers.collect());
        }
        lengths.as_ref()?.get(&epoch).copied()
    }

    fn cached(&self, place: (u64, u32)) -> Option<Rc<Read<D>>> {
        self.uses.set(self.uses.get() + 1);
        let mut blocks = self.blocks.borrow_mut();
        let (block, used) = blocks.get_mut(&place)?;
        *used = self.uses.get();
        Some(Rc::clone(block))
    }

    async fn block(&self, epoch: u64, footer: &Footer<D>, number: u32) -> Option<Rc<Read<D>>> {
        if let Some(block) = self.cached((epoch, number)) {
            return Some(block);
        }
        let _permit = self.reads.acquire().await;
        // Perhaps another one has read it meanwhile.
        if let Some(block) = self.cached((epoch, number)) {
            return Some(block);
        }
        let offset_bytes = u64::from(number) * BLOCK_BYTES as u64;
        let read = footer.file.read_at(Extent { offset_bytes, len_bytes: BLOCK_BYTES }).await;
        self.count(|counts| counts.block_reads += 1);
        let reason = match read {
            Ok(block) => match check_block(self.log, epoch, number, block.as_ref()) {
                Ok(()) => {
                    let block = Rc::new(block);
                    self.keep((epoch, number), &block);
                    return Some(block);
                }
                Err(reason) => reason.to_string(),
            },
            Err(error) => chain(&error),
        };
        self.distrust(epoch, &reason);
        None
    }

    /// Keeps a block; the one that was not used for longest makes room for it.
    fn keep(&self, place: (u64, u32), block: &Rc<Read<D>>) {
        let mut blocks = self.blocks.borrow_mut();
        if blocks.len() >= CACHE_BLOCKS
            && let Some(oldest) = blocks.iter().min_by_key(|(_, (_, used))| *used)
        {
            let oldest = *oldest.0;
            blocks.remove(&oldest);
        }
        blocks.insert(place, (Rc::clone(block), self.uses.get()));
    }

    /// A footer is damaged, or cannot be read: it is not asked again before it was made anew.
    fn distrust(&self, epoch: u64, reason: &str) {
        let (shard, file) = (self.log.shard, file_name(epoch));
        tracing::warn!(shard, file, reason, "a footer cannot be used, and is made again");
        self.replaced(epoch);
        self.miss(epoch);
    }

    fn miss(&self, epoch: u64) {
        if self.missing.borrow_mut().insert(epoch) {
            self.count(|counts| counts.lost += 1);
        }
    }

    fn count(&self, change: impl FnOnce(&mut FooterCounts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}
