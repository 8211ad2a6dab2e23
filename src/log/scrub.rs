//! Reads a sealed segment again, and says what is no longer as it was written.
//!
//! * A sealed segment changes no more, so whatever fails a check there is damage: also a frame that
//!   is whole and not the next of its chain (a write that the disk lost, or put elsewhere).
//! * What follows a damaged place is still looked at.
//! * A segment is asked for before each read and again after it. Given up meanwhile, its file may
//!   be in use for other things: what was read then says nothing, and the look at it ends.
//! * Each read is followed by a pause, in proportion to its length.
//!
//! Where a segment ends is known if it was sealed in this life. If recovery found it, it ends where
//! the first frame of the next segment takes up the chain.

use super::entry::{Batch, entries};
use super::format::{
    FRAME_HEADER_BYTES, FormatError, FrameHeader, PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES,
    SegmentHeader, payload_of,
};
use super::quarantine::LostPlace;
use super::segment::LogFacts;
use super::segments::Segments;
use super::writer::Chain;
use crate::io::{BLOCK_BYTES, Clock, Disk, Extent, IoError, LogFile};
use crate::types::refusal::chain;
use crate::types::{LogPos, StreamId};

/// Bytes read at a time, unless a frame is longer.
const READ_BYTES: usize = 256 * 1024;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// Why a place counts as damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DamageReason {
    /// A check of the format fails.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A whole frame, or segment header, that does not belong here.
    #[error("not what was written here")]
    Misplaced,
    /// The disk does not give the bytes back.
    #[error("unreadable: {0}")]
    Unreadable(String),
}

/// A damaged stretch of a sealed segment: a frame, or several without a whole one between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins; offset 0 is the segment's header.
    pub pos: LogPos,
    /// Where the next whole frame begins, or the segment ends.
    pub end_bytes: u32,
    /// The segment's file.
    pub file: String,
    /// Number of the first frame in it, where that can be told.
    pub frame_seq: Option<u64>,
    /// Frames in it, as far as can be told; 0 for a segment's header.
    pub frames: u64,
    /// What is wrong with the first.
    pub reason: DamageReason,
    /// Streams whose batches can still be recognised in the first frame.
    pub streams: Vec<StreamId>,
}

/// What a look at a whole segment found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// What is damaged, in order.
    pub damaged: Vec<Damage>,
    /// What the next segment's first frame must say, where that can be told.
    pub chain: Option<Chain>,
}

/// Reads the sealed segments of one shard at a bounded rate.
pub struct Scrubber<'a, I: Disk, T> {
    /// Time, for the pauses.
    pub io: &'a I,
    /// What the segments say of themselves.
    pub log: LogFacts,
    /// The segments.
    pub segments: &'a Segments<I>,
    /// Bytes read in a second, at most; at least 1.
    pub bytes_per_sec: u64,
    /// Told of each read, in bytes.
    pub tally: T,
}

/// The segment was given up.
struct Released;

/// Bytes as the disk returns them.
type Read<D> = <<D as Disk>::File as LogFile>::Read;
/// What is at a place: bytes, or the disk's refusal to say.
type Got<'w> = Result<&'w [u8], IoError>;

impl<I: Disk + Clock, T: Fn(u64)> Scrubber<'_, I, T> {
    /// Looks at the sealed segment `epoch`, whose first frame must say `before`, if that is known.
    ///
    /// * Returns: `None` when the segment was given up before its end was reached.
    pub async fn scrub(&self, epoch: u64, before: Option<Chain>) -> Option<Scrubbed> {
        let mut walk = Walk::begin(self, epoch, before)?;
        walk.run().await.ok()?;
        Some(walk.scrubbed)
    }

    /// Reads at least `least` bytes at `offset_bytes` of the segment `epoch`, and as far as `most`
    /// when the disk is willing.
    async fn read(
        &self,
        epoch: u64,
        offset_bytes: u64,
        least: usize,
        most: usize,
    ) -> Result<Result<Read<I>, IoError>, Released> {
        let mut len_bytes = most;
        loop {
            let segment = self.segments.get(epoch).ok_or(Released)?;
            let read = segment.file.read_at(Extent { offset_bytes, len_bytes }).await;
            drop(segment);
            (self.tally)(len_bytes as u64);
            let pause_us = (len_bytes as u64).saturating_mul(1_000_000) / self.bytes_per_sec;
            let is_living = self.segments.get(epoch).is_some();
            self.io.sleep_us(pause_us).await;
            if !is_living {
                return Err(Released);
            }
            if read.is_ok() || len_bytes == least {
                return Ok(read);
            }
            len_bytes = least; // one bad sector is not to hide its neighbours
        }
    }
}

struct Walk<'s, 'a, I: Disk, T> {
    scrubber: &'s Scrubber<'a, I, T>,
    epoch: u64,
    file: String,
    /// Where the frames end, or the segment does if that is not known.
    limit: u64,
    end_is_known: bool,
    at: u64,
    expected: Option<Chain>,
    buf: Option<(u64, Read<I>)>,
    scrubbed: Scrubbed,
}

impl<'s, 'a, I: Disk + Clock, T: Fn(u64)> Walk<'s, 'a, I, T> {
    fn begin(s: &'s Scrubber<'a, I, T>, epoch: u64, before: Option<Chain>) -> Option<Self> {
        let segment = s.segments.get(epoch)?;
        let end_is_known = segment.end_bytes() > SEGMENT_HEADER_BYTES as u64;
        Some(Self {
            scrubber: s,
            epoch,
            file: segment.file.name().to_owned(),
            limit: if end_is_known { segment.end_bytes() } else { segment.bytes },
            end_is_known,
            at: SEGMENT_HEADER_BYTES as u64,
            expected: if epoch == 1 { Some(Chain::START) } else { before },
            buf: None,
            scrubbed: Scrubbed::default(),
        })
    }

    async fn run(&mut self) -> Result<(), Released> {
        self.header().await?;
        while self.at + BLOCK <= self.limit && self.step().await? {}
        self.scrubbed.chain = self.expected;
        Ok(())
    }

    /// Bytes `at..at + len`, which must lie before the limit.
    async fn get(&mut self, at: u64, len: usize) -> Result<Got<'_>, Released> {
        let hit = self.buf.as_ref().is_some_and(|(start, buf)| {
            *start <= at && at + len as u64 <= start + buf.as_ref().len() as u64
        });
        if !hit {
            self.buf = None;
            let left = usize::try_from(self.limit - at).expect("segments are at most 4 GiB");
            match self.scrubber.read(self.epoch, at, len, len.max(READ_BYTES).min(left)).await? {
                Ok(buf) => self.buf = Some((at, buf)),
                Err(error) => return Ok(Err(error)),
            }
        }
        let (start, buf) = self.buf.as_ref().expect("read above");
        let offset = usize::try_from(at - start).expect("inside the buffer");
        Ok(Ok(&buf.as_ref()[offset..offset + len]))
    }

    /// Checks the segment's header.
    async fn header(&mut self) -> Result<(), Released> {
        let (epoch, log) = (self.epoch, self.scrubber.log);
        let reason = match self.get(0, SEGMENT_HEADER_BYTES).await? {
            Err(error) => unreadable(&error),
            Ok(block) => match SegmentHeader::decode(block) {
                Err(reason) => reason.into(),
                Ok(h) if (h.epoch, h.shard) == (epoch, log.shard) => return Ok(()),
                Ok(_) => DamageReason::Misplaced,
            },
        };
        self.note(0, SEGMENT_HEADER_BYTES as u64, None, 0, reason, Vec::new());
        Ok(())
    }

    /// Checks what is at the present place and goes on; false when the segment's end is reached.
    async fn step(&mut self) -> Result<bool, Released> {
        let at = self.at;
        if let Some(lost) = self.lost_here() {
            (self.at, self.expected) = (u64::from(lost.end_offset), Some(lost.next()));
            return Ok(true);
        }
        let (header, crc) = match self.header_at(at).await? {
            Ok(decoded) => decoded,
            Err(reason) => return self.pass_over(reason).await,
        };
        let frame_end = at + header.frame_bytes() as u64;
        if frame_end > self.limit {
            return self.pass_over(FormatError::Length.into()).await;
        }
        let read = self.get(at, header.frame_bytes()).await?;
        let bad = match read {
            Err(error) => Some((unreadable(&error), Vec::new())),
            Ok(frame) => check(&header, frame).err().map(|r| (r.into(), legible_streams(frame))),
        };
        if let Some((reason, streams)) = bad {
            self.note(at, frame_end, Some(header.frame_seq), 1, reason, streams);
        }
        self.at = frame_end;
        self.expected = Some(Chain { next_frame_seq: header.frame_seq + 1, prev_crc: crc });
        Ok(true)
    }

    /// The damaged place that begins here and was given up for lost: that is known already.
    fn lost_here(&self) -> Option<LostPlace> {
        let segment = self.scrubber.segments.get(self.epoch)?;
        let at = u32::try_from(self.at).expect("segments are at most 4 GiB");
        segment.lost_at(at).filter(|lost| lost.offset == at).cloned()
    }

    /// The header at `at`, if it is whole and its frame the next of the chain.
    async fn header_at(
        &mut self,
        at: u64,
    ) -> Result<Result<(FrameHeader, u32), DamageReason>, Released> {
        let LogFacts { shard, .. } = self.scrubber.log;
        let (salt, epoch, expected) = (self.scrubber.log.salt(), self.epoch, self.expected);
        Ok(match self.get(at, BLOCK_BYTES).await? {
            Err(error) => Err(unreadable(&error)),
            Ok(block) => match FrameHeader::decode(block, salt) {
                Err(reason) => Err(reason.into()),
                Ok((h, crc))
                    if (h.epoch, h.shard) == (epoch, shard)
                        && expected.is_none_or(|c| c == place(&h)) =>
                {
                    Ok((h, crc))
                }
                Ok(_) => Err(DamageReason::Misplaced),
            },
        })
    }

    /// Goes on after a place where the next frame should be and is not; false when the segment
    /// ends there, or nothing follows in it.
    async fn pass_over(&mut self, reason: DamageReason) -> Result<bool, Released> {
        let begin = self.at;
        let next = self.next_segment().await?;
        if !self.end_is_known && next.is_some() && self.expected == next {
            return Ok(false);
        }
        let expected = self.expected;
        let found = self.find_frame().await?;
        // Without a frame after it here, what the next segment continues says what is missing.
        let is_end = found.is_none() && !self.end_is_known;
        let missing = |next: Chain| expected.is_none_or(|c| c.next_frame_seq < next.next_frame_seq);
        if is_end && !next.map_or(expected.is_none(), missing) {
            return Ok(false); // the next segment's own first frame is what is damaged
        }
        let after = found.or(next);
        let frames = match (expected, after) {
            (Some(c), Some(after)) => after.next_frame_seq.saturating_sub(c.next_frame_seq).max(1),
            _ => 1,
        };
        let end = if found.is_some() { self.at } else { self.limit };
        let len = usize::try_from(end - begin).expect("segments are at most 4 GiB");
        let streams = match self.get(begin, len.min(PAYLOAD_BYTES_MAX)).await? {
            Ok(frame) => legible_streams(frame),
            Err(_) => Vec::new(),
        };
        self.note(begin, end, expected.map(|c| c.next_frame_seq), frames, reason, streams);
        self.expected = after;
        Ok(found.is_some())
    }

    /// Goes to the next frame after the present place that is later in the chain, and returns
    /// what it continues.
    async fn find_frame(&mut self) -> Result<Option<Chain>, Released> {
        let (salt, epoch) = (self.scrubber.log.salt(), self.epoch);
        let least = self.expected.map_or(0, |c| c.next_frame_seq);
        let mut at = self.at + BLOCK;
        while at + BLOCK <= self.limit {
            let decoded = match self.get(at, BLOCK_BYTES).await? {
                Ok(block) => FrameHeader::decode(block, salt).ok(),
                Err(_) => None,
            };
            match decoded {
                Some((header, _)) if header.epoch == epoch && header.frame_seq > least => {
                    self.at = at;
                    return Ok(Some(place(&header)));
                }
                _ => at += BLOCK,
            }
        }
        Ok(None)
    }

    /// What the first frame of the next segment continues, if it can be read.
    async fn next_segment(&self) -> Result<Option<Chain>, Released> {
        let (epoch, salt) = (self.epoch + 1, self.scrubber.log.salt());
        let first = SEGMENT_HEADER_BYTES as u64;
        let read = self.scrubber.read(epoch, first, BLOCK_BYTES, BLOCK_BYTES).await?;
        let Ok(block) = read else { return Ok(None) };
        let decoded = FrameHeader::decode(block.as_ref(), salt).ok();
        Ok(decoded.filter(|(h, _)| h.epoch == epoch).map(|(h, _)| place(&h)))
    }

    fn note(
        &mut self,
        begin: u64,
        end: u64,
        frame_seq: Option<u64>,
        frames: u64,
        reason: DamageReason,
        streams: Vec<StreamId>,
    ) {
        let offset = |bytes: u64| u32::try_from(bytes).expect("segments are at most 4 GiB");
        self.scrubbed.damaged.push(Damage {
            pos: LogPos { segment: self.epoch, offset_bytes: offset(begin) },
            end_bytes: offset(end),
            file: self.file.clone(),
            frame_seq,
            frames,
            reason,
            streams,
        });
    }
}

/// The place in the chain that a frame claims.
fn place(header: &FrameHeader) -> Chain {
    Chain { next_frame_seq: header.frame_seq, prev_crc: header.prev_crc }
}

fn unreadable(error: &IoError) -> DamageReason {
    DamageReason::Unreadable(chain(error))
}

/// Checks a frame's payload, and that its entries can be told apart.
fn check(header: &FrameHeader, frame: &[u8]) -> Result<(), FormatError> {
    let mut count = 0;
    for entry in entries(payload_of(header, frame)?) {
        entry?;
        count += 1;
    }
    if count == header.entry_count { Ok(()) } else { Err(FormatError::Entry("entry count")) }
}

/// Streams whose batches can still be recognised in what is left of a frame.
fn legible_streams(frame: &[u8]) -> Vec<StreamId> {
    let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
    let batches = entries(payload).map_while(Result::ok).filter(|e| e.kind.is_batch());
    let mut streams: Vec<_> =
        batches.filter_map(|e| Batch::of(&e).ok()).map(|b| b.place.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    streams
}
