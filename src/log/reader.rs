//! Reads frames back: from memory while they are recent, from the disk after that.
//!
//! * Recent frames are the very buffers that were written, shared; a bounded window of them serves
//!   everyone who follows.
//! * Older ones come from the disk in chunks (`chunk`), which are shared (`loads`) and kept for a
//!   while (`cache`). What comes from the disk is checked before it is believed.
//! * Whoever comes to a new place reads a little. Where several places in a row were read, as the
//!   cache remembers, somebody goes through the log: whole chunks are read then, and the next ones
//!   ahead. So when more go through the log than the cache has room for, they read little again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future;

use super::chunk::{CHUNK_BYTES, Chunk, Place, SMALL_BYTES, Shape};
use super::format::{FRAME_HEADER_BYTES, FormatError, FrameHeader, frame_bytes};
use super::index::IndexEntry;
use super::loads::{Loads, ReadCounts, Wanted};
use super::segment::{LogFacts, Segment};
use super::segments::Segments;
use crate::io::{BLOCK_BYTES, Clock, Disk, IoError, LogFile};
use crate::types::LogPos;

/// How many chunks are read ahead of one who goes through the log.
const AHEAD_CHUNKS: u32 = 2;

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
pub struct ReadFrame {
    /// Where it lies.
    pub pos: LogPos,
    bytes: Rc<dyn AsRef<[u8]>>,
    start: usize,
    payload_bytes: usize,
}

impl ReadFrame {
    /// Its entries' bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let start = self.start + FRAME_HEADER_BYTES;
        &(*self.bytes).as_ref()[start..start + self.payload_bytes]
    }
}

/// How much memory a reader may hold on to.
#[derive(Debug, Clone, Copy)]
pub struct ReadMemory {
    /// Most bytes of recent frames.
    pub window_bytes_max: usize,
    /// Most bytes of what was read from the disk.
    pub cache_bytes_max: usize,
}

/// Recent frames by place, each with the memory that it holds on to, in bytes.
type Window<B> = BTreeMap<LogPos, (Rc<B>, usize)>;
/// A chunk of a disk.
type ChunkOf<D> = Rc<Chunk<<<D as Disk>::File as LogFile>::Read>>;

/// Reads one shard's log. All methods take `&self`: borrows end before any await.
pub struct Reader<D: Disk> {
    facts: LogFacts,
    segments: Rc<Segments<D>>,
    window: RefCell<Window<D::Buf>>,
    window_bytes: Cell<usize>,
    window_bytes_max: usize,
    durable_end: Cell<LogPos>,
    frames_handed: Cell<u64>,
    loads: Loads<D>,
}

/// A walk through the frames of a span.
struct Walk<'a, D: Disk> {
    segment: &'a Rc<Segment<D::File>>,
    /// How many places before were read after each other.
    run: u8,
    /// Whether who reads here goes through the log.
    goes_through: bool,
    /// The chunk that the last frame was in.
    chunk: Option<ChunkOf<D>>,
}

impl<'a, D: Disk> Walk<'a, D> {
    /// A walk from behind `before`, if that was read.
    fn new(segment: &'a Rc<Segment<D::File>>, before: Option<ChunkOf<D>>) -> Self {
        let run = before.as_ref().map_or(0, |chunk| chunk.run());
        let goes_through = before.is_some_and(|chunk| chunk.is_walked());
        Self { segment, run, goes_through, chunk: None }
    }
}

impl<D: Disk + Clock> Reader<D> {
    /// A reader that holds nothing yet; `durable_end` is where the log ends.
    pub fn new(
        facts: LogFacts,
        segments: Rc<Segments<D>>,
        memory: ReadMemory,
        durable_end: LogPos,
    ) -> Self {
        Self {
            facts,
            loads: Loads::new(Rc::clone(&segments), memory.cache_bytes_max),
            segments,
            window: RefCell::default(),
            window_bytes: Cell::default(),
            window_bytes_max: memory.window_bytes_max,
            durable_end: durable_end.into(),
            frames_handed: Cell::default(),
        }
    }

    /// What reading from the disk has cost since the start.
    #[must_use]
    pub fn counts(&self) -> ReadCounts {
        self.loads.counts()
    }

    /// What is kept of what was read from the disk, in bytes.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.loads.cached_bytes()
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
    /// * Cost: nothing is read while the span is in memory. Otherwise one read of the disk, two
    ///   when a frame that begins in the span ends far outside; more for frames that are longer
    ///   than a chunk. Frames that cross chunks are copied.
    pub async fn span(&self, entry: IndexEntry) -> Result<Vec<ReadFrame>, ReadError> {
        self.stretch(entry).await.map(|(frames, _)| frames)
    }

    /// As [`span`](Self::span), and says where the next frame would be: at the entry's own place
    /// when there are none.
    pub async fn stretch(&self, entry: IndexEntry) -> Result<(Vec<ReadFrame>, LogPos), ReadError> {
        let mut frames = Vec::new();
        let mut pos = entry.pos;
        let segment = self.segments.get(pos.segment).ok_or(ReadError::Released(pos.segment))?;
        let mut walk = Walk::new(&segment, self.before(pos));
        while entry.spans(pos)
            && u64::from(pos.offset_bytes) + BLOCK_BYTES as u64 <= self.end_bytes(&segment)
        {
            if let Some(lost) = segment.lost_at(pos.offset_bytes) {
                pos.offset_bytes = lost.end_offset;
                continue;
            }
            let remembered = self.window.borrow().get(&pos).map(|(buf, _)| Rc::clone(buf));
            let frame = match remembered {
                Some(buf) => Some(self.remembered(&segment, pos, buf)?),
                None => self.fetch(&mut walk, pos).await?,
            };
            let Some(frame) = frame else { break };
            let len = frame_bytes(frame.payload_bytes);
            pos.offset_bytes += u32::try_from(len).expect("bounded by the format");
            frames.push(frame);
        }
        self.hand(frames.len());
        Ok((frames, pos))
    }

    /// The frame at `pos`, if it is among the recent ones that were written by this process.
    ///
    /// * Cost: one look-up; nothing is read or copied.
    pub fn recent(&self, pos: LogPos) -> Option<ReadFrame> {
        let window = self.window.borrow();
        let (buf, _) = window.get(&pos)?;
        let (header, _) = FrameHeader::decode((**buf).as_ref(), self.facts.salt()).ok()?;
        debug_assert_eq!(header.epoch, pos.segment);
        let payload_bytes = header.payload_bytes as usize;
        let frame = ReadFrame { pos, bytes: Rc::clone(buf) as _, start: 0, payload_bytes };
        drop(window);
        self.hand(1);
        Some(frame)
    }

    /// Whether the frame at `pos` is not among the recent ones: it is too old, or holds nothing but
    /// old records that were moved.
    pub fn is_old(&self, pos: LogPos) -> bool {
        !self.window.borrow().contains_key(&pos)
    }

    /// Frames handed out since the start, to be gone through by who asked: what a read costs when
    /// all is in memory.
    pub fn frames_handed(&self) -> u64 {
        self.frames_handed.get()
    }

    fn hand(&self, frames: usize) {
        self.frames_handed.set(self.frames_handed.get() + frames as u64);
    }

    /// The chunk in memory with the place before `pos`, so that whoever reads there may have come
    /// from it.
    fn before(&self, pos: LogPos) -> Option<ChunkOf<D>> {
        let block_bytes = u32::try_from(BLOCK_BYTES).expect("small");
        let offset_bytes = pos.offset_bytes.checked_sub(block_bytes)?;
        self.loads.peek(LogPos { offset_bytes, ..pos })
    }

    /// Where what is durable ends in a segment, in bytes: nothing beyond may be read, since it may
    /// change.
    fn end_bytes(&self, segment: &Segment<D::File>) -> u64 {
        let end = self.durable_end.get();
        match segment.epoch.cmp(&end.segment) {
            std::cmp::Ordering::Less => segment.bytes,
            std::cmp::Ordering::Equal => u64::from(end.offset_bytes),
            std::cmp::Ordering::Greater => 0,
        }
    }

    /// A frame as it was written: its bytes never left our memory, so its payload is not checked.
    fn remembered(
        &self,
        segment: &Segment<D::File>,
        pos: LogPos,
        buf: Rc<D::Buf>,
    ) -> Result<ReadFrame, ReadError> {
        let decoded = FrameHeader::decode((*buf).as_ref(), self.facts.salt());
        let (header, _) = decoded.map_err(|reason| damaged(segment, pos, reason))?;
        debug_assert_eq!(header.epoch, pos.segment);
        let payload_bytes = header.payload_bytes as usize;
        Ok(ReadFrame { pos, bytes: buf, start: 0, payload_bytes })
    }

    /// The frame at `pos`, which must lie before the durable end; `None` when there is none.
    async fn fetch(
        &self,
        walk: &mut Walk<'_, D>,
        pos: LogPos,
    ) -> Result<Option<ReadFrame>, ReadError> {
        let segment = walk.segment;
        let before = walk.chunk.take();
        let here = before.as_ref().filter(|chunk| chunk.offset_of(pos, BLOCK_BYTES).is_some());
        let chunk = match here {
            Some(chunk) => Rc::clone(chunk),
            None => {
                walk.goes_through |= before.is_some_and(|c| c.place.shape == Shape::Whole);
                self.chunk(walk, pos, BLOCK_BYTES).await?
            }
        };
        let offset = chunk.offset_of(pos, BLOCK_BYTES);
        let offset = offset.ok_or_else(|| damaged(segment, pos, FormatError::Length))?;
        let bytes = &(*chunk).as_ref()[offset..];
        let header = match FrameHeader::decode(bytes, self.facts.salt()) {
            Ok((header, _)) if header.epoch == pos.segment => header,
            // The writer rolled here, and what is left is of the file's former life.
            _ => return Ok(None),
        };
        let (len, cut) = (header.frame_bytes(), bytes.len() < header.frame_bytes());
        if u64::from(pos.offset_bytes) + len as u64 > self.end_bytes(segment) {
            return Err(damaged(segment, pos, FormatError::Length));
        }
        let frame = if !cut {
            walk.chunk = Some(Rc::clone(&chunk));
            frame_of::<D>(segment, pos, chunk, &header)
        } else if !walk.goes_through {
            let chunk = self.chunk(walk, pos, len).await?;
            walk.chunk = Some(Rc::clone(&chunk));
            frame_of::<D>(segment, pos, chunk, &header)
        } else {
            self.joined(walk, pos, &header).await
        };
        frame.map(Some)
    }

    /// A chunk that holds `pos..pos + len_bytes`, or of that as much as is in the whole chunk, for
    /// one who goes through the log.
    async fn chunk(
        &self,
        walk: &Walk<'_, D>,
        pos: LogPos,
        len_bytes: usize,
    ) -> Result<ChunkOf<D>, ReadError> {
        let whole = self.whole(walk.segment, pos);
        if let Some(chunk) = self.loads.cached(pos, len_bytes) {
            if chunk.place.shape == Shape::Whole && chunk.is_first_entry() {
                self.read_ahead(walk.segment, whole.place);
            }
            chunk.continues(walk.run);
            return Ok(chunk);
        }
        let end = u64::from(pos.offset_bytes) + len_bytes as u64;
        let comes = end <= whole.end_bytes && self.loads.is_under_way(&whole);
        if walk.goes_through || comes {
            self.read_ahead(walk.segment, whole.place);
            return Ok(self.loads.load(whole).await?);
        }
        let len_bytes = len_bytes.next_multiple_of(SMALL_BYTES as usize) as u64;
        let end_bytes = self.end_bytes(walk.segment).min(u64::from(pos.offset_bytes) + len_bytes);
        let wanted = Wanted { segment: walk.segment, place: Place::small(pos), end_bytes };
        let chunk = self.loads.load(wanted).await?;
        chunk.continues(walk.run);
        Ok(chunk)
    }

    /// The whole chunk that `pos` lies in, as far as it is durable.
    fn whole<'a>(&self, segment: &'a Rc<Segment<D::File>>, pos: LogPos) -> Wanted<'a, D::File> {
        let place = Place::whole(pos);
        let end_bytes = u64::from(place.start.offset_bytes) + u64::from(CHUNK_BYTES);
        Wanted { segment, place, end_bytes: end_bytes.min(self.end_bytes(segment)) }
    }

    /// Begins to read what comes after a whole chunk, as far as it is not in the window.
    fn read_ahead(&self, segment: &Rc<Segment<D::File>>, from: Place) {
        for place in (1..=AHEAD_CHUNKS).filter_map(|count| from.ahead(count)) {
            let recent = self.window.borrow().keys().next().is_some_and(|pos| *pos <= place.start);
            if recent {
                break;
            }
            self.loads.load_ahead(self.whole(segment, place.start));
        }
    }

    /// Puts a frame together that does not lie in one chunk, out of all that it lies in.
    async fn joined(
        &self,
        walk: &Walk<'_, D>,
        pos: LogPos,
        header: &FrameHeader,
    ) -> Result<ReadFrame, ReadError> {
        let whole = Walk { goes_through: true, chunk: None, ..*walk };
        let end = u64::from(pos.offset_bytes) + header.frame_bytes() as u64;
        let part = async |start: LogPos, len: usize| {
            let chunk = self.chunk(&whole, start, len).await?;
            let offset = chunk.offset_of(start, len);
            let offset = offset.ok_or_else(|| damaged(walk.segment, pos, FormatError::Length))?;
            Ok::<_, ReadError>((chunk, offset..offset + len))
        };
        let mut parts = Vec::new();
        let mut start = u64::from(pos.offset_bytes);
        while start < end {
            let next = ((start / u64::from(CHUNK_BYTES) + 1) * u64::from(CHUNK_BYTES)).min(end);
            let offset_bytes = u32::try_from(start).expect("segments are at most 4 GiB");
            let len = usize::try_from(next - start).expect("at most a chunk");
            parts.push(part(LogPos { offset_bytes, ..pos }, len));
            start = next;
        }
        let mut bytes = Vec::with_capacity(header.frame_bytes());
        for (chunk, range) in future::try_join_all(parts).await? {
            bytes.extend_from_slice(&(*chunk).as_ref()[range]);
        }
        super::format::payload_of(header, &bytes)
            .map_err(|reason| damaged(walk.segment, pos, reason))?;
        let payload_bytes = header.payload_bytes as usize;
        Ok(ReadFrame { pos, bytes: Rc::new(bytes), start: 0, payload_bytes })
    }
}

/// The frame at `pos` out of a chunk that holds all of it.
fn frame_of<D: Disk>(
    segment: &Segment<D::File>,
    pos: LogPos,
    chunk: ChunkOf<D>,
    header: &FrameHeader,
) -> Result<ReadFrame, ReadError> {
    let damaged = |reason| damaged(segment, pos, reason);
    let start = chunk.offset_of(pos, header.frame_bytes());
    let start = start.ok_or_else(|| damaged(FormatError::Length))?;
    chunk.check(start, header).map_err(damaged)?;
    Ok(ReadFrame { pos, bytes: chunk, start, payload_bytes: header.payload_bytes as usize })
}

/// The error of a frame in a segment that is not what was written.
pub fn damaged<F: LogFile>(segment: &Segment<F>, pos: LogPos, reason: FormatError) -> ReadError {
    let file = segment.file.name().to_owned();
    ReadError::Damaged { file, offset_bytes: pos.offset_bytes, reason }
}
