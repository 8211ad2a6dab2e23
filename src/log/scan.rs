//! Walks the log from a place in its chain to its end, and judges what it meets there.
//!
//! * A frame counts if its header, its place in the chain and its payload all check.
//! * Where one does not, the log has ended, or it was damaged. It was damaged if any later frame
//!   says that it was durable by then: that frame was written after the sync returned. Then
//!   nobody may pass over it silently. Otherwise it is a torn tail: never acknowledged, and cut.
//! * All-zero space proves nothing: the rest of the segment and all later ones are looked at.
//!
//! Read-only: recovery mends afterwards, `inspect` and `verify` never do.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::checkpoint::CheckpointFacts;
use super::entry::{Batch, Entry, entries};
use super::format::{
    FRAME_HEADER_BYTES, FormatError, FrameHeader, PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES, Salt,
    payload_of,
};
use super::segment::Segment;
use super::writer::Chain;
use crate::io::{BLOCK_BYTES, Disk, Extent, IoError, LogFile};
use crate::planted::{self, Bug};
use crate::types::{LogPos, StreamId};

/// Bytes read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// What is done with what a scan finds.
pub trait Visitor {
    /// Learns from which checkpoint the entries are that it meets before any frame.
    fn checkpoint(&mut self, facts: &CheckpointFacts) {
        let _ = facts;
    }

    /// Meets a whole frame, before its entries.
    fn frame(&mut self, pos: LogPos, header: &FrameHeader) {
        let _ = (pos, header);
    }

    /// Learns how far the scan is: bytes of the log looked at, of all that will be. What lies after
    /// the last frame is looked at, too, and counts: also spare segments, which hold nothing.
    fn progress(&mut self, read_bytes: u64, total_bytes: u64) {
        let _ = (read_bytes, total_bytes);
    }

    /// Meets an entry of that frame.
    ///
    /// * Errors: the entry makes no sense although its frame is whole; the scan ends with
    ///   [`ScanError::Damaged`].
    fn entry(&mut self, pos: LogPos, entry: &Entry<'_>) -> Result<(), FormatError>;
}

/// Why a scan could not reach the log's end.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The disk refused.
    #[error("reading the log failed")]
    Io(#[from] IoError),
    /// Written by a newer release.
    #[error("{file}, offset {offset_bytes}: format version {version} is not known to this build")]
    Version {
        /// The file.
        file: String,
        /// Bytes from the start of the file.
        offset_bytes: u32,
        /// The version.
        version: u16,
    },
    /// Acknowledged data was damaged.
    #[error(
        "damage inside acknowledged data: file {file}, offset {offset_bytes}, frame {frame_seq}: \
         {reason}; streams touched, as far as can be told: {streams:?}"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Bytes from the start of the file.
        offset_bytes: u32,
        /// Number of the frame that should be there.
        frame_seq: u64,
        /// What is wrong with it.
        reason: FormatError,
        /// Streams whose records were in it, as far as its bytes still tell.
        streams: Vec<StreamId>,
    },
}

/// Where a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// Segment and offset where the next frame goes.
    pub pos: LogPos,
    /// What that frame must say.
    pub chain: Chain,
    /// End of what an interrupted write left after `pos` in this segment, in bytes from the start
    /// of the file; `None` when nothing of this epoch is there.
    pub torn_to: Option<u32>,
    /// Whether an interrupted write left something in a later segment.
    pub torn_later: bool,
}

/// Where the frame at `pos` ends, and what the next one must say.
#[must_use]
pub fn behind(pos: LogPos, header: &FrameHeader, salt: Salt) -> (LogPos, Chain) {
    let prev_crc = header.encode(&mut [0; FRAME_HEADER_BYTES], salt);
    let offset_bytes = pos.offset_bytes + u32_of(header.frame_bytes());
    let chain = Chain { next_frame_seq: header.frame_seq + 1, prev_crc };
    (LogPos { offset_bytes, ..pos }, chain)
}

/// The segments to scan, by epoch.
pub type SegmentMap<D> = BTreeMap<u64, Rc<Segment<<D as Disk>::File>>>;

/// Scans `segments` from `start`, which expects `chain` there.
///
/// * Errors: [`ScanError`]; the visitor has seen everything before the place it names.
pub async fn scan<D: Disk>(
    segments: &SegmentMap<D>,
    salt: Salt,
    start: LogPos,
    chain: Chain,
    visitor: &mut impl Visitor,
) -> Result<LogEnd, ScanError> {
    let mut end = LogEnd { pos: start, chain, torn_to: None, torn_later: false };
    let total_bytes = segments.range(start.segment..).map(|(_, s)| s.bytes).sum();
    let mut before_bytes = 0;
    let mut epoch = start.segment;
    let mut offset_bytes = start.offset_bytes;
    let reason = loop {
        let Some(segment) = segments.get(&epoch) else { break FormatError::Magic };
        let mut window = Window::new(segment);
        let reason = loop {
            let pos = LogPos { segment: epoch, offset_bytes };
            match next_frame(&mut window, salt, pos, end.chain).await? {
                Err(reason) => break reason,
                Ok((header, crc, frame)) => {
                    visit(visitor, pos, &header, frame).map_err(|reason| {
                        damaged(segment.file.name(), pos, end.chain, reason, frame)
                    })?;
                    offset_bytes += u32_of(header.frame_bytes());
                    visitor.progress(before_bytes + u64::from(offset_bytes), total_bytes);
                    end.pos = LogPos { segment: epoch, offset_bytes };
                    end.chain =
                        Chain { next_frame_seq: end.chain.next_frame_seq + 1, prev_crc: crc };
                }
            }
        };
        // The chain may go on in the next segment: the writer rolled.
        let goes_on = match segments.get(&(epoch + 1)) {
            None => false,
            Some(next) => {
                let first =
                    LogPos { segment: epoch + 1, offset_bytes: u32_of(SEGMENT_HEADER_BYTES) };
                next_frame(&mut Window::new(next), salt, first, end.chain).await?.is_ok()
            }
        };
        if !goes_on {
            break reason;
        }
        before_bytes += segment.bytes;
        epoch += 1;
        offset_bytes = u32_of(SEGMENT_HEADER_BYTES);
    };
    let looked_at = &mut |bytes| visitor.progress(before_bytes + bytes, total_bytes);
    judge_end::<D>(segments, salt, &mut end, reason, looked_at).await?;
    Ok(end)
}

fn visit(
    visitor: &mut impl Visitor,
    pos: LogPos,
    header: &FrameHeader,
    frame: &[u8],
) -> Result<(), FormatError> {
    visitor.frame(pos, header);
    let payload = &frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_bytes as usize];
    let mut count = 0;
    for entry in entries(payload) {
        visitor.entry(pos, &entry?)?;
        count += 1;
    }
    if count == header.entry_count { Ok(()) } else { Err(FormatError::Entry("entry count")) }
}

type FrameRead<'a> = Result<(FrameHeader, u32, &'a [u8]), FormatError>;

/// The frame at `pos`, if it is whole and the next of the chain.
async fn next_frame<'w, F: LogFile>(
    window: &'w mut Window<'_, F>,
    salt: Salt,
    pos: LogPos,
    chain: Chain,
) -> Result<FrameRead<'w>, IoError> {
    let at = u64::from(pos.offset_bytes);
    if at + BLOCK_BYTES as u64 > window.segment.bytes {
        return Ok(Err(FormatError::Length));
    }
    let block = window.get(at, BLOCK_BYTES).await?;
    let (header, crc) = match FrameHeader::decode(block, salt) {
        Ok(decoded) => decoded,
        Err(reason) => return Ok(Err(reason)),
    };
    let in_chain = header.epoch == pos.segment
        && header.frame_seq == chain.next_frame_seq
        && header.prev_crc == chain.prev_crc;
    if !in_chain && !planted::has(Bug::OldFramesBelieved) {
        return Ok(Err(FormatError::Magic));
    }
    if at + header.frame_bytes() as u64 > window.segment.bytes {
        return Ok(Err(FormatError::Length));
    }
    let frame = window.get(at, header.frame_bytes()).await?;
    Ok(payload_of(&header, frame).map(|_| (header, crc, frame)))
}

/// Looks at everything after the end that was found, and tells a torn tail from damage.
/// `looked_at` is told how far it is, in bytes from the start of the segment where the end is.
async fn judge_end<D: Disk>(
    segments: &SegmentMap<D>,
    salt: Salt,
    end: &mut LogEnd,
    reason: FormatError,
    looked_at: &mut impl FnMut(u64),
) -> Result<(), ScanError> {
    let expected = end.chain.next_frame_seq;
    let mut before_bytes = 0;
    for (epoch, segment) in segments.range(end.pos.segment..) {
        let same = *epoch == end.pos.segment;
        let mut at =
            if same { u64::from(end.pos.offset_bytes) } else { SEGMENT_HEADER_BYTES as u64 };
        let mut window = Window::new(segment);
        while at + BLOCK_BYTES as u64 <= segment.bytes {
            match FrameHeader::decode(window.get(at, BLOCK_BYTES).await?, salt) {
                Ok((header, _)) if header.epoch == *epoch && header.frame_seq >= expected => {
                    let frame_end = (at + header.frame_bytes() as u64).min(segment.bytes);
                    if same {
                        end.torn_to = end.torn_to.max(Some(u32_of_u64(frame_end)));
                    } else {
                        end.torn_later = true;
                    }
                    if header.durable_seq >= expected && !planted::has(Bug::CutAtDamage) {
                        return Err(locate::<D>(segments, salt, end, reason).await?);
                    }
                }
                Err(FormatError::Version(version)) => {
                    let file = segment.file.name().to_owned();
                    let offset_bytes = u32_of_u64(at);
                    return Err(ScanError::Version { file, offset_bytes, version });
                }
                _ => {}
            }
            at += BLOCK_BYTES as u64;
            looked_at(before_bytes + at);
        }
        before_bytes += segment.bytes;
    }
    looked_at(before_bytes);
    Ok(())
}

/// Says where the damage is: where the chain ended, unless the writer rolled there; then in the
/// next segment's first frame.
async fn locate<D: Disk>(
    segments: &SegmentMap<D>,
    salt: Salt,
    end: &LogEnd,
    reason: FormatError,
) -> Result<ScanError, IoError> {
    let expected = end.chain.next_frame_seq;
    let (mut pos, mut reason) = (end.pos, reason);
    let first = LogPos { segment: pos.segment + 1, offset_bytes: u32_of(SEGMENT_HEADER_BYTES) };
    if end.torn_to.is_none()
        && let Some(next) = segments.get(&first.segment)
    {
        let mut window = Window::new(next);
        let block = window.get(u64::from(first.offset_bytes), BLOCK_BYTES).await?;
        let decoded = FrameHeader::decode(block, salt);
        // A whole first frame with a later number says that the expected one was not in here.
        let later = |h: &FrameHeader| h.epoch == first.segment && h.frame_seq > expected;
        if !decoded.is_ok_and(|(header, _)| later(&header)) {
            let read = next_frame(&mut window, salt, first, end.chain).await?;
            (pos, reason) = (first, read.err().unwrap_or(reason));
        }
    }
    let segment = &segments[&pos.segment];
    let frame = rest_of_frame(segment, salt, pos).await?;
    Ok(damaged(segment.file.name(), pos, end.chain, reason, &frame))
}

/// The bytes from `pos` to the next frame of the segment: what is left of a damaged one.
async fn rest_of_frame<F: LogFile>(
    segment: &Segment<F>,
    salt: Salt,
    pos: LogPos,
) -> Result<Vec<u8>, IoError> {
    let mut bytes = Vec::new();
    let mut window = Window::new(segment);
    let mut at = u64::from(pos.offset_bytes);
    while at + BLOCK_BYTES as u64 <= segment.bytes && bytes.len() < PAYLOAD_BYTES_MAX {
        let block = window.get(at, BLOCK_BYTES).await?;
        if !bytes.is_empty() && FrameHeader::decode(block, salt).is_ok() {
            break;
        }
        bytes.extend_from_slice(block);
        at += BLOCK_BYTES as u64;
    }
    Ok(bytes)
}

fn damaged(file: &str, pos: LogPos, chain: Chain, reason: FormatError, frame: &[u8]) -> ScanError {
    let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
    let batches = entries(payload).map_while(Result::ok).filter(|e| e.kind.is_batch());
    let mut streams: Vec<StreamId> =
        batches.filter_map(|e| Batch::of(&e).ok()).map(|b| b.place.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    ScanError::Damaged {
        file: file.to_owned(),
        offset_bytes: pos.offset_bytes,
        frame_seq: chain.next_frame_seq,
        reason,
        streams,
    }
}

/// Reads a segment ahead in large steps.
pub(super) struct Window<'s, F: LogFile> {
    segment: &'s Segment<F>,
    start: u64,
    buf: Option<F::Read>,
}

impl<'s, F: LogFile> Window<'s, F> {
    pub(super) fn new(segment: &'s Segment<F>) -> Self {
        Self { segment, start: 0, buf: None }
    }

    /// Bytes `at..at + len`, which must lie inside the segment.
    pub(super) async fn get(&mut self, at: u64, len: usize) -> Result<&[u8], IoError> {
        let have = self.buf.as_ref().map_or(0, |b| b.as_ref().len() as u64);
        let hit = self.start <= at && at + len as u64 <= self.start + have;
        if !hit {
            let left = usize::try_from(self.segment.bytes - at).expect("far below 16 EiB");
            let extent = Extent { offset_bytes: at, len_bytes: len.max(READ_BYTES).min(left) };
            self.buf = Some(self.segment.file.read_at(extent).await?);
            self.start = at;
        }
        let offset = usize::try_from(at - self.start).expect("inside the window");
        let buf = self.buf.as_ref().expect("read above");
        Ok(&buf.as_ref()[offset..offset + len])
    }
}

fn u32_of(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("segments are at most 4 GiB")
}

fn u32_of_u64(bytes: u64) -> u32 {
    u32::try_from(bytes).expect("segments are at most 4 GiB")
}
