//! One shard of the directory that is copied: its newest checkpoint, its segments, and the place up
//! to which its log is copied.

use super::Error;
use super::pace::Pace;
use crate::io::{Disk, IoError};
use crate::log::checkpoint::{self, CheckpointError, CheckpointFacts};
use crate::log::entry::{Entry, Kind};
use crate::log::format::{FormatError, FrameHeader, SEGMENT_HEADER_BYTES, Salt};
use crate::log::recovery::{Found, RecoveryError, find};
use crate::log::scan::{LogEnd, ScanError, Visitor, behind, scan};
use crate::log::segment::LogFacts;
use crate::log::writer::Chain;
use crate::types::LogPos;

/// How often something is looked at again because a server may have changed it meanwhile.
const LOOKS_MAX: usize = 20;
/// Pause between two looks, in microseconds.
const LOOK_AGAIN_US: u64 = 10_000;

/// A checkpoint file that is open: it stays readable when a server removes it.
pub(super) struct Checkpoint<D: Disk> {
    pub(super) file: D::File,
    pub(super) bytes: u64,
    facts: CheckpointFacts,
}

/// One shard's files, as they are copied.
pub(super) struct Source<D: Disk> {
    pub(super) disk: D,
    pub(super) log: LogFacts,
    pub(super) checkpoint: Option<Checkpoint<D>>,
    /// The segments there were when the log ended at `end`.
    pub(super) found: Found<D>,
    pub(super) end: LogEnd,
}

/// Listens for what other shards depend on.
struct Heard {
    basins: bool,
    /// Of the shard whose log is heard.
    salt: Salt,
    /// Behind the last whole frame.
    end: Option<(LogPos, Chain)>,
}

impl Visitor for Heard {
    fn frame(&mut self, pos: LogPos, header: &FrameHeader) {
        self.end = Some(behind(pos, header, self.salt));
    }

    fn entry(&mut self, _pos: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        self.basins |= matches!(entry.kind, Kind::Basin | Kind::BasinGone);
        Ok(())
    }
}

impl<D: Disk> Source<D> {
    /// Finds the newest checkpoint. From now on the log before it is not looked at.
    pub(super) async fn open(disk: D, log: LogFacts, pace: &Pace) -> Result<Self, Error> {
        pace.rest(0).await;
        let checkpoint = newest_checkpoint(&disk, log, pace).await?;
        let (pos, chain) = match &checkpoint {
            Some(Checkpoint { facts, .. }) => (facts.pos, facts.chain),
            None => {
                let offset_bytes = u32::try_from(SEGMENT_HEADER_BYTES).expect("4096");
                (LogPos { segment: 1, offset_bytes }, Chain::START)
            }
        };
        let end = LogEnd { pos, chain, torn_to: None, torn_later: false };
        let found = find_again(&disk, log, pace).await?;
        Ok(Self { disk, log, checkpoint, found, end })
    }

    /// Epoch of the oldest segment that the copy needs.
    pub(super) fn first_epoch(&self) -> u64 {
        self.checkpoint.as_ref().map_or(1, |checkpoint| checkpoint.facts.first_epoch)
    }

    /// Moves the cut to where the log ends now; tells whether a basin changed on the way.
    ///
    /// * Errors: damage, once it was seen twice: what a server just writes is whole at last. When a
    ///   later frame looks damaged then, the first one was such, and the cut is before the later.
    pub(super) async fn advance(&mut self, pace: &Pace) -> Result<bool, Error> {
        let mut suspect = None;
        for _ in 0..LOOKS_MAX {
            pace.rest(0).await;
            self.found = find_again(&self.disk, self.log, pace).await?;
            let salt = self.log.salt();
            let mut heard = Heard { basins: false, salt, end: None };
            let (start, chain) = (self.end.pos, self.end.chain);
            let segments = &self.found.segments;
            match scan::<D>(segments, salt, start, chain, &mut heard).await {
                Ok(end) => {
                    self.end = end;
                    self.check_whole()?;
                    return Ok(heard.basins);
                }
                Err(ScanError::Damaged { frame_seq, .. }) if suspect != Some(frame_seq) => {
                    let is_before =
                        |(_, chain): &(LogPos, Chain)| chain.next_frame_seq == frame_seq;
                    let moved = suspect.is_some_and(|before| before < frame_seq);
                    if let Some((pos, chain)) = heard.end.filter(is_before).filter(|_| moved) {
                        self.end = LogEnd { pos, chain, torn_to: None, torn_later: false };
                        self.check_whole()?;
                        return Ok(heard.basins);
                    }
                    suspect = Some(frame_seq);
                }
                Err(error) => return Err(error.into()),
            }
            pace.rest(LOOK_AGAIN_US).await;
        }
        Err(Error::Refused(format!("the log of shard {} moves too fast", self.log.shard)))
    }

    /// Whether all segments that the copy needs are there, and the log as far as it must.
    fn check_whole(&self) -> Result<(), Error> {
        let mut needed = self.first_epoch()..=self.end.pos.segment;
        if let Some(epoch) = needed.find(|epoch| !self.found.segments.contains_key(epoch)) {
            return Err(RecoveryError::SegmentMissing(epoch).into());
        }
        let ends_early = |checkpoint: &&Checkpoint<D>| {
            self.end.chain.next_frame_seq < checkpoint.facts.end_frame_seq
        };
        match self.checkpoint.as_ref().filter(ends_early) {
            Some(_) => Err(Error::Refused(format!(
                "the log of shard {} ends before a frame that its checkpoint knows of",
                self.log.shard
            ))),
            None => Ok(()),
        }
    }
}

/// Finds the segments, again when a server made or removed some meanwhile.
async fn find_again<D: Disk>(disk: &D, log: LogFacts, pace: &Pace) -> Result<Found<D>, Error> {
    for _ in 1..LOOKS_MAX {
        match find(disk, log).await {
            Ok(found) => return Ok(found),
            Err(error) => tracing::debug!(shard = log.shard, %error, "looking again"),
        }
        pace.rest(LOOK_AGAIN_US).await;
    }
    Ok(find(disk, log).await?)
}

async fn newest_checkpoint<D: Disk>(
    disk: &D,
    log: LogFacts,
    pace: &Pace,
) -> Result<Option<Checkpoint<D>>, Error> {
    for _ in 1..LOOKS_MAX {
        match try_checkpoints(disk, log).await {
            Err(error) if is_gone(&error) => pace.rest(LOOK_AGAIN_US).await,
            tried => return Ok(tried?),
        }
    }
    Ok(try_checkpoints(disk, log).await?)
}

/// The newest checkpoint that is whole; a damaged one is passed over, as at a start.
async fn try_checkpoints<D: Disk>(
    disk: &D,
    log: LogFacts,
) -> Result<Option<Checkpoint<D>>, CheckpointError> {
    for (name, bytes) in checkpoint::list(disk)?.into_iter().rev() {
        let file = disk.open(&name).await?;
        let mut heard = Heard { basins: false, salt: log.salt(), end: None };
        match checkpoint::read(disk, log, &name, bytes, &mut heard).await {
            Ok(facts) => return Ok(Some(Checkpoint { file, bytes, facts })),
            Err(error @ CheckpointError::Damaged { reason: FormatError::Version(_), .. }) => {
                return Err(error);
            }
            Err(error @ CheckpointError::Io(_)) => return Err(error),
            Err(error) => tracing::warn!(shard = log.shard, %error, "trying an older checkpoint"),
        }
    }
    Ok(None)
}

fn is_gone(error: &CheckpointError) -> bool {
    let is_gone = |error: &IoError| error.source.kind() == std::io::ErrorKind::NotFound;
    matches!(error, CheckpointError::Io(error) if is_gone(error))
}
