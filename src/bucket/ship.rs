//! Ships one shard's log: what is durable here and not in the bucket, piece after piece.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{self, Either};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::format::{Body, Piece, Place, log_name};
use super::link::{Link, Tail};
use super::local::{Frames, LocalLog};
use super::ownership::{Owned, lost_to};
use super::store::{Created, Store};
use super::thread::wall_us;
use super::{Error, Result};
use crate::types::LogPos;

/// How often somebody looks whether the shard is open.
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// How often somebody who has nothing to ship looks whether the shard is still theirs.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// How far the bucket's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Where the next piece begins; `None` when there is nothing yet.
    pub(super) place: Option<Place>,
    /// Number of the first piece of the segment that it lies in.
    pub(super) segment_from: u64,
}

/// Who ships one shard's log.
pub(super) struct Shipper {
    pub(super) store: Store,
    pub(super) link: Arc<Link>,
    pub(super) local: LocalLog,
    pub(super) owned: Owned,
    pub(super) interval: Duration,
    pub(super) progress: watch::Sender<Progress>,
    /// Whether to end as soon as all is shipped.
    pub(super) stop: watch::Receiver<bool>,
}

/// How far a shard's log in the bucket was when it was taken over.
pub(super) fn progress_of(owned: &Owned) -> Progress {
    let segment_from = owned.piece.as_ref().map_or(owned.next_number, |(_, p)| p.segment_from);
    Progress { place: owned.end, segment_from }
}

impl Shipper {
    /// Ships until it is to stop and all is shipped.
    ///
    /// * Errors: [`Error::Lost`], and whatever means that the log cannot be shipped any more.
    pub(super) async fn run(mut self) -> Result<()> {
        let first_tail = loop {
            match self.link.tail() {
                Some(tail) => break tail,
                None if *self.stop.borrow() => return Ok(()),
                None => sleep(OPEN_PAUSE).await,
            }
        };
        let mut place = self.first_place(&first_tail)?;
        let mut is_any = self.owned.end.is_none() && place != Place::start();
        loop {
            let began = Instant::now();
            let is_last = *self.stop.borrow();
            // The tail as it was when the round began: or else a round might never end.
            let tail = self.link.tail().unwrap_or(first_tail);
            while let Some(frames) = self.local.frames(place, is_any, &tail)? {
                place = self.ship(frames).await?;
                is_any = false;
            }
            self.say_shipped(place, 0);
            if is_last {
                return Ok(());
            }
            sleep_until(began + self.interval).await;
            let mut stop = self.stop.clone();
            let told = pin!(stop.wait_for(|stop| *stop));
            let more = self.link.has_more_than(place.next_frame_seq);
            let more = pin!(timeout(LOOK_PAUSE, more));
            match future::select(told, more).await {
                Either::Left((Err(_), _)) => return Ok(()),
                Either::Right((Err(_), _)) => self.look_for_claim().await?,
                Either::Left((Ok(_), _)) | Either::Right((Ok(()), _)) => {}
            }
        }
    }

    /// Without appends nothing is shipped, and a takeover would not be noticed: reads would show
    /// for ever what was there before it.
    ///
    /// * Errors: [`Error::Lost`].
    async fn look_for_claim(&self) -> Result<()> {
        let Owned { author, next_number, .. } = &self.owned;
        match self.store.has(&log_name(author.shard, *next_number)).await? {
            true => Err(lost_to(&self.store, author).await),
            false => Ok(()),
        }
    }

    /// Where the log goes on that the bucket has.
    fn first_place(&mut self, tail: &Tail) -> Result<Place> {
        let shard = self.owned.author.shard;
        match self.owned.end {
            Some(place) if place.next_frame_seq > tail.chain.next_frame_seq => {
                Err(Error::Refused(format!(
                    "shard {shard}: the bucket has the log up to frame {}, and here it ends at {}: \
                     this directory is older than what it shipped; start with an empty --data-dir",
                    place.next_frame_seq, tail.chain.next_frame_seq
                )))
            }
            Some(place) => Ok(place),
            None => {
                // Said by the shard before its tail.
                Ok(Place { segment: self.link.needed_epoch(), ..Place::start() })
            }
        }
    }

    /// Ships frames; returns where the next ones begin.
    pub(super) async fn ship(&mut self, frames: Frames) -> Result<Place> {
        let Frames { from, to, bytes, segment_bytes, written_us } = frames;
        self.say_shipped(from, written_us);
        let number = self.owned.next_number;
        let before = *self.progress.borrow();
        let is_first = before.place.is_none_or(|place| place.segment != from.segment);
        let segment_from = if is_first { number } else { before.segment_from };
        let piece = Piece {
            segment: from.segment,
            segment_bytes,
            from: from.offset,
            to: to.offset,
            first_frame_seq: from.next_frame_seq,
            next_frame_seq: to.next_frame_seq,
            prev_crc: to.prev_crc,
            segment_from,
        };
        let author = &self.owned.author;
        let head = author.encode(number, wall_us(), Body::Piece(piece), &bytes);
        let length = (head.len() + bytes.len()) as u64;
        let created = self.store.create(&log_name(author.shard, number), &[head, bytes]).await?;
        if created != Created::Made {
            return Err(lost_to(&self.store, author).await);
        }
        let counts = self.link.counts();
        counts.objects.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(length, Ordering::Relaxed);
        self.owned.next_number += 1;
        self.progress.send_replace(Progress { place: Some(to), segment_from });
        self.say_shipped(to, 0);
        Ok(to)
    }

    fn say_shipped(&self, place: Place, since_us: u64) {
        let pos = LogPos { segment: place.segment, offset_bytes: place.offset };
        self.link.set_shipped(pos, place.next_frame_seq, since_us);
    }
}
