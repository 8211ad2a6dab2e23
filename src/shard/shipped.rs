//! What a bucket changes for a shard: appends of class Standard wait until they are in it, segments
//! stay until they are, and a bucket that is far behind holds appends up.
//!
//! Readers see a record as soon as it is durable here, of either class.

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::durable::Durable;
use super::engine::Engine;
use crate::bucket::link::Link;
use crate::io::Io;
use crate::log::writer::Chain;
use crate::metrics::BucketState;
use crate::types::{LogPos, Refusal, StorageClass};

/// How far a shard's log is in the bucket.
#[derive(Debug, Default)]
pub(super) struct Shipped {
    link: OnceCell<Arc<Link>>,
    /// How far it is there, by ticket.
    reached: Durable,
    /// Groups that are not: number of the frame behind each, and its ticket. One for each group of
    /// the log that may wait to be shipped.
    waiting: RefCell<VecDeque<(u64, u64)>>,
}

impl Shipped {
    /// Gives up: nothing more will be in the bucket.
    pub(super) fn fail(&self, reason: &str) {
        self.reached.fail(reason);
    }

    /// Everything up to frame `frames`, exclusive, is in the bucket.
    fn advance(&self, frames: u64) {
        let mut waiting = self.waiting.borrow_mut();
        let mut reached = None;
        while waiting.front().is_some_and(|(end, _)| *end <= frames) {
            reached = waiting.pop_front();
        }
        drop(waiting);
        if let Some((_, ticket)) = reached {
            self.reached.advance(ticket);
        }
    }
}

impl<I: Io> Engine<I> {
    /// Has the log shipped; to be said before anything is served.
    pub(super) fn ship_by(&self, link: Arc<Link>) {
        let (pos, chain) = self.durable_end.get();
        link.set_oldest_epoch(self.segments.oldest_epoch());
        link.set_tail(pos, chain);
        assert!(self.shipped.link.set(link).is_ok(), "said once");
    }

    /// Notes that the log is durable up to `end`.
    pub(super) fn note_to_ship(&self, (pos, chain): (LogPos, Chain), ticket: u64) {
        if let Some(link) = self.shipped.link.get() {
            self.shipped.waiting.borrow_mut().push_back((chain.next_frame_seq, ticket));
            link.set_tail(pos, chain);
        }
    }

    /// Notes what is shipped, for ever.
    pub(super) async fn run_shipped(self: Rc<Self>) {
        let Some(link) = self.shipped.link.get() else { return };
        let mut frames = 0;
        loop {
            frames = link.has_shipped_more_than(frames).await;
            self.shipped.advance(frames);
        }
    }

    /// What an acknowledgement of that class waits for.
    pub(super) fn promised(&self, class: StorageClass) -> &Durable {
        match (class, self.shipped.link.get()) {
            (StorageClass::Standard, Some(_)) => &self.shipped.reached,
            _ => &self.durable,
        }
    }

    /// Refuses to add to a log of which too much is not in the bucket.
    pub(super) fn check_not_far_behind(&self) -> Result<(), Refusal> {
        match self.shipped.link.get() {
            Some(link) if link.is_far_behind() => Err(Refusal::HotServer(
                "too much of the log is not in the bucket yet; try again later".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// The oldest segment that has to stay: `oldest_needed`, or one that is not in the bucket.
    pub(super) fn oldest_unshipped(&self, oldest_needed: u64) -> u64 {
        let link = self.shipped.link.get();
        link.map_or(oldest_needed, |link| link.needed_epoch().min(oldest_needed))
    }

    /// For the metrics; `None` without a bucket.
    pub(super) fn bucket_state(&self) -> Option<BucketState> {
        let link = self.shipped.link.get()?;
        let counts = link.counts();
        Some(BucketState {
            lag_bytes: link.lag_bytes(),
            lag_us: link.lag_us(self.io.wall_us()),
            objects: counts.objects.load(Ordering::Relaxed),
            bytes: counts.bytes.load(Ordering::Relaxed),
            retries: counts.retries.load(Ordering::Relaxed),
        })
    }
}
