//! Stores what a replacement needs besides the newest pieces, so that old pieces can go: sealed
//! segments in one object each, and checkpoints.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::format::{Base, Body, base_name, checkpoint_name, log_name, segment_name};
use super::link::{Link, Tail};
use super::local::LocalLog;
use super::ownership::{Owned, lost_to};
use super::ship::Progress;
use super::store::{Created, PART_BYTES, Store};
use super::thread::wall_us;
use super::{Error, Result};
use crate::log::writer::Chain;
use crate::types::LogPos;
use crate::types::refusal::chain;

/// How often it is looked whether there is another checkpoint.
const LOOK: Duration = Duration::from_secs(1);
/// Removals that are on their way at a time.
const REMOVALS_MAX: usize = 8;

/// Who stores one shard's segments and checkpoints.
pub(super) struct Archiver {
    pub(super) store: Store,
    pub(super) link: Arc<Link>,
    pub(super) local: LocalLog,
    pub(super) owned: Owned,
    pub(super) progress: watch::Receiver<Progress>,
}

/// What is in the bucket and not needed any more.
type Unneeded = Vec<String>;

impl Archiver {
    /// Stores what comes, for as long as the log is shipped.
    ///
    /// * Errors: as [`Shipper::run`](super::ship::Shipper::run).
    pub(super) async fn run(mut self) -> Result<()> {
        match self.store_all().await {
            Err(error @ Error::Log { .. }) => {
                // What is in pieces stays in pieces, and the log is shipped as before.
                let (shard, error) = (self.owned.author.shard, chain(&error));
                tracing::error!(shard, error, "segments are not stored in the bucket any more");
                Ok(())
            }
            ended => ended,
        }
    }

    async fn store_all(&mut self) -> Result<()> {
        let mut next_epoch = self.owned.base.end.map(|end| end.segment);
        loop {
            let Progress { place, segment_from } = *self.progress.borrow_and_update();
            if let Some(place) = place {
                // Without one a replacement needs the beginning of the log.
                if self.owned.base.checkpoint.is_none() {
                    self.store_checkpoint(place.next_frame_seq).await?;
                }
                // Nobody else raises it.
                let mut epoch = next_epoch.unwrap_or_else(|| self.link.needed_epoch());
                while epoch < place.segment {
                    let floor = (epoch + 1 == place.segment).then_some(segment_from);
                    self.store_segment(epoch, floor).await?;
                    epoch += 1;
                    self.link.set_needed_epoch(epoch);
                }
                next_epoch = Some(epoch);
                self.link.set_needed_epoch(epoch);
                self.store_checkpoint(place.next_frame_seq).await?;
            }
            if let Ok(Err(_gone)) = timeout(LOOK, self.progress.changed()).await {
                return Ok(());
            }
        }
    }

    /// Stores a sealed segment; pieces before `floor` are not needed then.
    ///
    /// * Errors: [`Error::Log`] when the segment is not whole here any more. Then its pieces stay.
    async fn store_segment(&mut self, epoch: u64, floor: Option<u64>) -> Result<()> {
        let (shard, term) = (self.owned.author.shard, self.owned.author.term);
        let (_, end) = self.local.ends_of(epoch).await?;
        // Damage looks like the end; but behind that, the log goes on in the next segment.
        let pos = LogPos { segment: epoch + 2, offset_bytes: 0 };
        let tail = Tail { pos, chain: Chain::START };
        if self.local.frames_of(end.rolled(), false, &tail)?.is_none() {
            let reason = "the next segment does not go on from there".to_owned();
            let file = format!("of epoch {epoch}");
            return Err(Error::Log { file, offset_bytes: end.offset, reason });
        }
        let name = segment_name(shard, epoch, term);
        let local = &mut self.local;
        let read = |at| local.part(epoch, at, u64::from(end.offset), PART_BYTES);
        let stored = self.store.store(&name, read).await?;
        self.count(stored);
        let mut base = self.owned.base.clone();
        base.push_segment(epoch, term);
        base.end = Some(end.rolled());
        let unneeded = floor.map(|floor| raise_floor(&mut base, shard, floor)).unwrap_or_default();
        self.replace_base(base, unneeded).await
    }

    /// Stores the newest checkpoint here, if it is newer than that in the bucket and the log there
    /// is as long as it needs.
    async fn store_checkpoint(&mut self, shipped_frame_seq: u64) -> Result<()> {
        let Some((mut newest, path)) = self.local.newest_checkpoint(shipped_frame_seq)? else {
            return Ok(());
        };
        let known = self.owned.base.checkpoint.as_ref().map_or(0, |c| c.next_frame_seq);
        if newest.next_frame_seq <= known {
            return Ok(());
        }
        let shard = self.owned.author.shard;
        newest.term = self.owned.author.term;
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            // There is a newer one.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::local("opening", &path)(error)),
        };
        let mut hasher = blake3::Hasher::new();
        let name = checkpoint_name(shard, &newest);
        let stored = self.store.store(&name, |at| {
            if at == 0 {
                hasher.reset();
            }
            let part =
                read_part(&file, at, newest.bytes).map_err(Error::local("reading", &path))?;
            part.iter().for_each(|part| {
                hasher.update(part);
            });
            Ok(part)
        });
        let stored = stored.await?;
        self.count(stored);
        newest.blake3 = hasher.finalize().to_hex().to_string();
        let mut base = self.owned.base.clone();
        let before = base.checkpoint.replace(newest);
        let mut unneeded: Unneeded =
            before.iter().map(|checkpoint| checkpoint_name(shard, checkpoint)).collect();
        let dropped = base.drop_before(base.first_epoch());
        unneeded.extend(dropped.into_iter().map(|(epoch, term)| segment_name(shard, epoch, term)));
        self.replace_base(base, unneeded).await
    }

    /// Makes the next base, and removes what only the ones before it need.
    pub(super) async fn replace_base(&mut self, base: Base, unneeded: Unneeded) -> Result<()> {
        let author = &self.owned.author;
        let ordinal = self.owned.ordinal + 1;
        let object = author.encode(ordinal, wall_us(), Body::Base(base.clone()), &[]);
        let length = object.len() as u64;
        if self.store.create(&base_name(author.shard, ordinal), &[object]).await? != Created::Made {
            return Err(lost_to(&self.store, author).await);
        }
        self.count(length);
        (self.owned.ordinal, self.owned.base) = (ordinal, base);
        let store = &self.store;
        let removals = stream::iter(unneeded).map(|name| async move { store.remove(&name).await });
        let mut removals = removals.buffer_unordered(REMOVALS_MAX);
        while let Some(removed) = removals.next().await {
            removed?;
        }
        Ok(())
    }

    fn count(&self, bytes: u64) {
        let counts = self.link.counts();
        counts.objects.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Raises the floor, and says which objects lie below it now. Claims stay.
pub(super) fn raise_floor(base: &mut Base, shard: u16, floor: u64) -> Unneeded {
    let below = base.floor..floor;
    base.floor = base.floor.max(floor);
    below.filter(|number| !base.claims.contains(number)).map(|n| log_name(shard, n)).collect()
}

fn read_part(file: &std::fs::File, at: u64, end: u64) -> std::io::Result<Option<Bytes>> {
    use std::os::unix::fs::FileExt as _;
    if at >= end {
        return Ok(None);
    }
    let mut part = vec![0; usize::try_from((end - at).min(PART_BYTES as u64)).expect("a part")];
    file.read_exact_at(&mut part, at)?;
    Ok(Some(part.into()))
}
