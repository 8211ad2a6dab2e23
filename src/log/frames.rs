//! Walks the frames of one segment that is no longer written, from its first to its last.
//!
//! For work in the background that goes through whole segments: nothing is kept in memory but the
//! stretch being looked at, and what readers have cached stays theirs.

use super::entry::{Batch, entries};
use super::format::{
    FRAME_HEADER_BYTES, FormatError, FrameHeader, SEGMENT_HEADER_BYTES, Salt, payload_of,
};
use super::reader::{ReadError, damaged};
use super::scan::Window;
use super::segment::Segment;
use crate::io::{BLOCK_BYTES, LogFile};
use crate::types::LogPos;

/// Where a segment's first frame starts, in bytes.
const FIRST_FRAME_BYTES: u32 = 4096;
const _: () = assert!(FIRST_FRAME_BYTES as usize == SEGMENT_HEADER_BYTES);

/// A frame of a segment.
#[derive(Debug)]
pub struct Frame<'w> {
    /// Where it lies.
    pub pos: LogPos,
    /// Its place in the shard's log.
    pub frame_seq: u64,
    /// Its entries' bytes, checked.
    pub payload: &'w [u8],
    file: &'w str,
}

impl<'w> Frame<'w> {
    /// Its batches in order, copies included, each with all bytes of its entry. Entries of other
    /// kinds are passed over.
    ///
    /// * Errors: [`ReadError::Damaged`] where an entry makes no sense; do not go on after it.
    pub fn batches(
        &self,
    ) -> impl Iterator<Item = Result<(&'w [u8], Batch<'w>), ReadError>> + use<'_, 'w> {
        entries(self.payload).filter_map(|entry| match entry {
            Ok(entry) if !entry.kind.is_batch() => None,
            Ok(entry) => {
                let batch = Batch::of(&entry).map(|batch| (entry.bytes, batch));
                Some(batch.map_err(|reason| self.unparsable(reason)))
            }
            Err(reason) => Some(Err(self.unparsable(reason))),
        })
    }

    /// The error of an entry that makes no sense although the frame is whole.
    pub fn unparsable(&self, reason: FormatError) -> ReadError {
        let (file, offset_bytes) = (self.file.to_owned(), self.pos.offset_bytes);
        ReadError::Damaged { file, offset_bytes, reason }
    }
}

/// The frames of a segment, in order.
pub struct Frames<'s, F: LogFile> {
    segment: &'s Segment<F>,
    salt: Salt,
    window: Window<'s, F>,
    next: LogPos,
}

impl<'s, F: LogFile> Frames<'s, F> {
    /// Starts at the segment's first frame.
    pub fn of(segment: &'s Segment<F>, salt: Salt) -> Self {
        let next = LogPos { segment: segment.epoch, offset_bytes: FIRST_FRAME_BYTES };
        Self { segment, salt, window: Window::new(segment), next }
    }

    /// The next frame, past what was given up for lost; `None` where no more can be recognised.
    ///
    /// * Errors: [`ReadError::Damaged`] when its payload is not what was written.
    pub async fn next(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        while let Some(lost) = self.segment.lost_at(self.next.offset_bytes) {
            self.next.offset_bytes = lost.end_offset;
        }
        let pos = self.next;
        let at = u64::from(pos.offset_bytes);
        if at + BLOCK_BYTES as u64 > self.segment.bytes {
            return Ok(None);
        }
        let block = self.window.get(at, BLOCK_BYTES).await?;
        let header = match FrameHeader::decode(block, self.salt) {
            Ok((header, _)) if header.epoch == pos.segment => header,
            _ => return Ok(None), // the writer rolled here
        };
        if at + header.frame_bytes() as u64 > self.segment.bytes {
            return Err(damaged(self.segment, pos, FormatError::Length));
        }
        let frame_bytes = u32::try_from(header.frame_bytes()).expect("bounded by the segment");
        self.next.offset_bytes += frame_bytes;
        let frame = self.window.get(at, header.frame_bytes()).await?;
        payload_of(&header, frame).map_err(|reason| damaged(self.segment, pos, reason))?;
        let end = FRAME_HEADER_BYTES + header.payload_bytes as usize;
        let frame_seq = header.frame_seq;
        let file = self.segment.file.name();
        Ok(Some(Frame { pos, frame_seq, payload: &frame[FRAME_HEADER_BYTES..end], file }))
    }
}
