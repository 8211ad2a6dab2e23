//! Reads frames back: from memory while they are recent, from the disk after that.
//!
//! Recent frames are the very buffers that were written, shared; a bounded window of them serves
//! everyone who follows. What comes from the disk is checked again before it is believed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::format::{FRAME_HEADER_BYTES, FormatError, FrameHeader, payload_of};
use super::index::{IndexEntry, SPAN_BYTES};
use super::segment::{LogFacts, Segment};
use super::segments::Segments;
use crate::io::{BLOCK_BYTES, Clock, Disk, Extent, IoError, LogFile};
use crate::types::LogPos;

/// Bytes read from the disk at a time: a span and most of the frame that crosses its end.
const READ_BYTES: usize = 2 * SPAN_BYTES as usize;

/// Why a frame cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// What the disk returned is not what was written.
    #[error("{file} at {offset_bytes}: {reason}")]
    Damaged {
        /// The file.
        file: String,
        /// Bytes from the start of the file.
        offset_bytes: u32,
        /// What is wrong.
        reason: FormatError,
    },
    /// The segment was given up meanwhile: everything in it had been trimmed or deleted.
    #[error("segment {0} was given up")]
    Released(u64),
}

/// A frame read back.
#[derive(Debug)]
pub struct ReadFrame<B> {
    /// Where it lies.
    pub pos: LogPos,
    buf: Rc<B>,
    start: usize,
    payload_bytes: usize,
}

impl<B: AsRef<[u8]>> ReadFrame<B> {
    /// Its entries' bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let start = self.start + FRAME_HEADER_BYTES;
        &self.buf.as_ref().as_ref()[start..start + self.payload_bytes]
    }
}

/// Recent frames by place, each with the memory that it holds on to, in bytes.
type Window<B> = BTreeMap<LogPos, (Rc<B>, usize)>;

/// Reads one shard's log. All methods take `&self`: borrows end before any await.
pub struct Reader<D: Disk> {
    facts: LogFacts,
    segments: Rc<Segments<D>>,
    window: RefCell<Window<D::Buf>>,
    window_bytes: Cell<usize>,
    window_bytes_max: usize,
    durable_end: Cell<LogPos>,
}

impl<D: Disk + Clock> Reader<D> {
    /// A reader with an empty window; `durable_end` is where the log ends.
    pub fn new(
        facts: LogFacts,
        segments: Rc<Segments<D>>,
        window_bytes_max: usize,
        durable_end: LogPos,
    ) -> Self {
        Self {
            facts,
            segments,
            window: RefCell::default(),
            window_bytes: Cell::default(),
            window_bytes_max,
            durable_end: durable_end.into(),
        }
    }

    /// Keeps a frame that just became durable, and forgets the oldest ones beyond the bound.
    /// `memory_bytes` is what it holds on to.
    pub fn remember(&self, pos: LogPos, buf: &Rc<D::Buf>, memory_bytes: usize) {
        let len = buf.as_ref().as_ref().len();
        let mut window = self.window.borrow_mut();
        window.insert(pos, (Rc::clone(buf), memory_bytes));
        let mut bytes = self.window_bytes.get() + memory_bytes;
        while bytes > self.window_bytes_max
            && let Some((_, (_, oldest_bytes))) = window.pop_first()
        {
            bytes -= oldest_bytes;
        }
        self.window_bytes.set(bytes);
        self.pass(pos, len);
    }

    /// Takes note of a frame of `len` bytes that just became durable and that nobody waits for.
    pub fn pass(&self, pos: LogPos, len: usize) {
        let end = pos.offset_bytes + u32::try_from(len).expect("bounded by the format");
        self.durable_end.set(LogPos { offset_bytes: end, ..pos });
    }

    /// The durable frames in the span of an index entry, in order.
    ///
    /// * Errors: [`ReadError`]; what was read before the damaged frame is lost to this call.
    /// * Cost: at most three reads of the disk, none while the span is in the window.
    pub async fn span(&self, entry: IndexEntry) -> Result<Vec<ReadFrame<D::Buf>>, ReadError> {
        let mut frames = Vec::new();
        let mut pos = entry.pos;
        let segment = self.segments.get(pos.segment).ok_or(ReadError::Released(pos.segment))?;
        let mut chunk: Option<(u32, Rc<D::Buf>)> = None;
        let in_segment =
            |pos: LogPos| u64::from(pos.offset_bytes) + BLOCK_BYTES as u64 <= segment.bytes;
        while entry.spans(pos) && pos < self.durable_end.get() && in_segment(pos) {
            let remembered = self.window.borrow().get(&pos).map(|(buf, _)| Rc::clone(buf));
            let frame = match remembered {
                Some(buf) => Some(self.remembered(&segment, pos, buf)?),
                None => self.fetch(&segment, pos, &mut chunk).await?,
            };
            let Some(frame) = frame else { break };
            let len = super::format::frame_bytes(frame.payload_bytes);
            pos.offset_bytes += u32::try_from(len).expect("bounded by the format");
            frames.push(frame);
        }
        Ok(frames)
    }

    /// A frame as it was written: its bytes never left our memory, so its payload is not checked.
    fn remembered(
        &self,
        segment: &Segment<D::File>,
        pos: LogPos,
        buf: Rc<D::Buf>,
    ) -> Result<ReadFrame<D::Buf>, ReadError> {
        let decoded = FrameHeader::decode(buf.as_ref().as_ref(), self.facts.salt());
        let (header, _) = decoded.map_err(|reason| damaged(segment, pos, reason))?;
        debug_assert_eq!(header.epoch, pos.segment);
        let payload_bytes = header.payload_bytes as usize;
        Ok(ReadFrame { pos, buf, start: 0, payload_bytes })
    }

    /// Reads the frame at `pos`, from `chunk` if it is in there.
    async fn fetch(
        &self,
        segment: &Segment<D::File>,
        pos: LogPos,
        chunk: &mut Option<(u32, Rc<D::Buf>)>,
    ) -> Result<Option<ReadFrame<D::Buf>>, ReadError> {
        let mut want = FRAME_HEADER_BYTES;
        loop {
            let hit = chunk.as_ref().and_then(|(start, buf)| {
                let offset = pos.offset_bytes.checked_sub(*start)? as usize;
                let bytes = buf.as_ref().as_ref().len();
                (offset + want <= bytes).then(|| (offset, Rc::clone(buf)))
            });
            let Some((offset, buf)) = hit else {
                let left = segment.bytes - u64::from(pos.offset_bytes);
                let left = usize::try_from(left).expect("segments are at most 4 GiB");
                let len_bytes = want.next_multiple_of(READ_BYTES).min(left);
                let offset_bytes = u64::from(pos.offset_bytes);
                let read = segment.file.read_at(Extent { offset_bytes, len_bytes }).await?;
                *chunk = Some((pos.offset_bytes, Rc::new(read)));
                continue;
            };
            let bytes = &buf.as_ref().as_ref()[offset..];
            let Ok((header, _)) = FrameHeader::decode(bytes, self.facts.salt()) else {
                return Ok(None); // the writer rolled here
            };
            if header.epoch != pos.segment {
                return Ok(None); // a frame of the file's former life
            }
            if bytes.len() < header.frame_bytes() {
                want = header.frame_bytes();
                if u64::from(pos.offset_bytes) + want as u64 > segment.bytes {
                    return Err(damaged(segment, pos, FormatError::Length));
                }
                continue;
            }
            return self.whole(segment, pos, buf, offset);
        }
    }

    fn whole(
        &self,
        segment: &Segment<D::File>,
        pos: LogPos,
        buf: Rc<D::Buf>,
        start: usize,
    ) -> Result<Option<ReadFrame<D::Buf>>, ReadError> {
        let bytes = &buf.as_ref().as_ref()[start..];
        let damaged = |reason| damaged(segment, pos, reason);
        let (header, _) = FrameHeader::decode(bytes, self.facts.salt()).map_err(damaged)?;
        if header.epoch != pos.segment {
            return Ok(None); // a frame of the file's former life
        }
        let payload_bytes = payload_of(&header, bytes).map_err(damaged)?.len();
        Ok(Some(ReadFrame { pos, buf, start, payload_bytes }))
    }
}

/// The error of a frame in a segment that is not what was written.
pub fn damaged<F: LogFile>(segment: &Segment<F>, pos: LogPos, reason: FormatError) -> ReadError {
    let file = segment.file.name().to_owned();
    ReadError::Damaged { file, offset_bytes: pos.offset_bytes, reason }
}
