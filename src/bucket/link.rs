//! What a shard and who ships its log tell each other, without waiting for each other.

use std::future::{self, Future};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use arc_swap::ArcSwap;
use futures_util::task::AtomicWaker;

use crate::log::writer::Chain;
use crate::types::LogPos;

/// How far a shard's log is durable here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Where the next frame goes.
    pub pos: LogPos,
    /// What it must say.
    pub chain: Chain,
}

/// Between a shard and who ships its log. Whoever reads a number may see an older one: all of them
/// only grow, but for those that are for people.
#[derive(Debug)]
pub struct Link {
    segment_bytes: u64,
    lag_bytes_max: u64,
    tail: ArcSwap<Tail>,
    shipped_frames: AtomicU64,
    /// Places in the log as bytes from its beginning, all segments as long as new ones are; 0 while
    /// they are not known.
    tail_bytes: AtomicU64,
    shipped_bytes: AtomicU64,
    lag_since_us: AtomicU64,
    needed_epoch: AtomicU64,
    /// Of who ships.
    shipper: AtomicWaker,
    /// Of who waits for what is shipped.
    shard: AtomicWaker,
    counts: Counts,
}

/// What was asked of the store, for the metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Objects stored.
    pub objects: AtomicU64,
    /// Bytes of them.
    pub bytes: AtomicU64,
    /// Requests that failed and were, or will be, tried again.
    pub retries: AtomicU64,
}

impl Link {
    /// Between a shard whose segments have this length and who ships its log, which may be so many
    /// bytes behind before appends are refused.
    #[must_use]
    pub fn new(segment_bytes: u64, lag_bytes_max: u64) -> Arc<Self> {
        let pos = LogPos { segment: 0, offset_bytes: 0 };
        Arc::new(Self {
            segment_bytes,
            lag_bytes_max,
            tail: ArcSwap::from_pointee(Tail { pos, chain: Chain::START }),
            shipped_frames: AtomicU64::new(0),
            tail_bytes: AtomicU64::new(0),
            shipped_bytes: AtomicU64::new(0),
            lag_since_us: AtomicU64::new(0),
            needed_epoch: AtomicU64::new(u64::MAX),
            shipper: AtomicWaker::new(),
            shard: AtomicWaker::new(),
            counts: Counts::default(),
        })
    }

    /// Said by the shard: everything before is durable.
    pub fn set_tail(&self, pos: LogPos, chain: Chain) {
        self.tail_bytes.store(self.bytes_before(pos), Ordering::Relaxed);
        self.tail.store(Arc::new(Tail { pos, chain }));
        self.shipper.wake();
    }

    /// How far the log is durable; `None` before the shard is open.
    #[must_use]
    pub fn tail(&self) -> Option<Tail> {
        Some(**self.tail.load()).filter(|tail| tail.pos.segment > 0)
    }

    /// Said by who ships: everything before `pos`, where frame `next_frame_seq` goes, is in the
    /// bucket. `since_us` is when the first frame that is not was written, on the wall clock; 0
    /// when all is.
    pub fn set_shipped(&self, pos: LogPos, next_frame_seq: u64, since_us: u64) {
        self.shipped_frames.store(next_frame_seq, Ordering::Release);
        self.shipped_bytes.store(self.bytes_before(pos), Ordering::Relaxed);
        self.lag_since_us.store(since_us, Ordering::Relaxed);
        self.shard.wake();
    }

    /// Waits until the log has a frame of this number, or a later one; for one at a time.
    ///
    /// * Cancel: leaves nothing behind.
    pub fn has_more_than(&self, frame_seq: u64) -> impl Future<Output = ()> {
        future::poll_fn(move |cx| {
            self.shipper.register(cx.waker());
            match self.tail() {
                Some(tail) if tail.chain.next_frame_seq > frame_seq => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
    }

    /// Waits until more is in the bucket than every frame before this one; for one at a time.
    ///
    /// * Cancel: leaves nothing behind.
    pub fn has_shipped_more_than(&self, frames: u64) -> impl Future<Output = u64> {
        future::poll_fn(move |cx| {
            self.shard.register(cx.waker());
            let shipped = self.shipped_frames();
            if shipped > frames { Poll::Ready(shipped) } else { Poll::Pending }
        })
    }

    fn bytes_before(&self, pos: LogPos) -> u64 {
        pos.segment.saturating_mul(self.segment_bytes).saturating_add(pos.offset_bytes.into())
    }

    /// Every frame before this one is in the bucket.
    #[must_use]
    pub fn shipped_frames(&self) -> u64 {
        self.shipped_frames.load(Ordering::Acquire)
    }

    /// Bytes of log that are durable here and not in the bucket; of segments between, all of their
    /// length. 0 while one of both is not known.
    #[must_use]
    pub fn lag_bytes(&self) -> u64 {
        match self.shipped_bytes.load(Ordering::Relaxed) {
            0 => 0,
            shipped => self.tail_bytes.load(Ordering::Relaxed).saturating_sub(shipped),
        }
    }

    /// How long the oldest of them waits, in microseconds.
    #[must_use]
    pub fn lag_us(&self, wall_us: u64) -> u64 {
        match self.lag_since_us.load(Ordering::Relaxed) {
            0 => 0,
            since_us => wall_us.saturating_sub(since_us),
        }
    }

    /// Whether so much is not in the bucket that appends have to wait for it.
    #[must_use]
    pub fn is_far_behind(&self) -> bool {
        self.lag_bytes() > self.lag_bytes_max
    }

    /// Said by who ships: segments before this epoch are not looked at any more.
    pub fn set_needed_epoch(&self, epoch: u64) {
        self.needed_epoch.store(epoch, Ordering::Release);
    }

    /// Said by the shard, before anything is shipped: `epoch` is the oldest that it has. Where
    /// nothing is in the bucket yet, shipping begins there.
    pub fn set_oldest_epoch(&self, epoch: u64) {
        let (unset, order) = (u64::MAX, Ordering::AcqRel);
        let _known = self.needed_epoch.compare_exchange(unset, epoch, order, Ordering::Acquire);
    }

    /// Epoch of the oldest segment that has to stay for who ships; the greatest number before
    /// anybody has said so.
    #[must_use]
    pub fn needed_epoch(&self) -> u64 {
        self.needed_epoch.load(Ordering::Acquire)
    }

    /// What was asked of the store.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_what_lies_between_two_places() {
        let link = Link::new(1 << 20, 5000);
        assert_eq!(link.tail(), None);
        let at = |segment, offset_bytes| LogPos { segment, offset_bytes };
        let chain = Chain { next_frame_seq: 9, prev_crc: 1 };
        link.set_tail(at(3, 12288), chain);
        link.set_shipped(at(3, 8192), 8, 40);
        assert_eq!((link.lag_bytes(), link.lag_us(50), link.is_far_behind()), (4096, 10, false));
        link.set_shipped(at(2, 8192), 7, 0);
        assert_eq!((link.lag_bytes(), link.lag_us(50)), ((1 << 20) + 4096, 0));
        assert!(link.is_far_behind());
        link.set_shipped(at(4, 0), 9, 0);
        assert_eq!(link.lag_bytes(), 0, "ahead of what was said last");
    }
}
