//! A stretch of a segment as the disk returned it, shared by everyone who reads there.
//!
//! * A *whole* chunk starts at a multiple of [`CHUNK_BYTES`]: what readers who go through the log
//!   read, one after the other. A *small* one starts with the frame that was asked for.
//! * A chunk ends where the segment does, or where the log was durable when it was read: beyond
//!   that its bytes may change, so they are not in it.

use std::cell::Cell;

use super::format::{FormatError, FrameHeader, payload_of};
use crate::io::BLOCK_BYTES;
use crate::types::LogPos;

/// Length of a whole chunk, in bytes.
pub const CHUNK_BYTES: u32 = 512 * 1024;
/// What a small chunk's length is a multiple of, in bytes: a span of the index and most of the
/// frame that crosses its end. A frame that is longer makes it as long as it needs.
pub const SMALL_BYTES: u32 = 128 * 1024;

/// How many places after each other must have been read for the next one to be taken for a part of
/// a walk through the log: by chance, two single reads seldom meet, and three hardly ever.
const RUN_MIN: u8 = 2;

const CHUNK_BLOCKS: usize = CHUNK_BYTES as usize / BLOCK_BYTES;
const _: () = assert!(CHUNK_BLOCKS <= u128::BITS as usize, "a bit for each block");

/// How a chunk came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// By one that may be a single read.
    Small,
    /// By one of many that follow each other.
    Whole,
}

/// Which chunk.
///
/// Epochs are never used again, so a place never means other bytes later, only more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its shape.
    pub shape: Shape,
    /// Where it starts.
    pub start: LogPos,
}

impl Place {
    /// The small chunk that starts at `pos`.
    #[must_use]
    pub fn small(pos: LogPos) -> Self {
        Self { shape: Shape::Small, start: pos }
    }

    /// The whole chunk that `pos` lies in.
    #[must_use]
    pub fn whole(pos: LogPos) -> Self {
        let offset_bytes = pos.offset_bytes - pos.offset_bytes % CHUNK_BYTES;
        Self { shape: Shape::Whole, start: LogPos { offset_bytes, ..pos } }
    }

    /// The whole chunk `count` chunks on in the same segment, if an offset can say where that is.
    #[must_use]
    pub fn ahead(&self, count: u32) -> Option<Self> {
        let offset_bytes = self.start.offset_bytes.checked_add(count * CHUNK_BYTES)?;
        Some(Self::whole(LogPos { offset_bytes, ..self.start }))
    }
}

/// Bytes of a segment in memory.
#[derive(Debug)]
pub struct Chunk<R> {
    /// Which they are.
    pub place: Place,
    bytes: R,
    /// A bit for each of the first blocks, at which a frame starts whose payload was checked in
    /// these bytes. Further ones, in small chunks of long frames, are checked each time.
    checked: Cell<u128>,
    /// Whether somebody has come here already: the first one has the next chunks read ahead.
    entered: Cell<bool>,
    /// How many places were read after each other, up to here.
    run: Cell<u8>,
}

impl<R: AsRef<[u8]>> Chunk<R> {
    /// The bytes at `place`, none of them checked.
    pub fn new(place: Place, bytes: R) -> Self {
        let run = match place.shape {
            Shape::Small => 1,
            Shape::Whole => RUN_MIN,
        };
        let (checked, entered) = (Cell::default(), Cell::default());
        Self { place, bytes, checked, entered, run: run.into() }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.as_ref().len()
    }

    /// Whether this is the first call.
    #[must_use]
    pub fn is_first_entry(&self) -> bool {
        !self.entered.replace(true)
    }

    /// Notes that it was read after the place before it, at which `before` places had been read.
    pub fn continues(&self, before: u8) {
        self.run.set(self.run.get().max(before.saturating_add(1)));
    }

    /// How many places were read after each other, up to here.
    #[must_use]
    pub fn run(&self) -> u8 {
        self.run.get()
    }

    /// Whether who reads on behind it goes through the log.
    #[must_use]
    pub fn is_walked(&self) -> bool {
        self.run.get() >= RUN_MIN
    }

    /// Where `pos` lies in it, if all of `pos..pos + len_bytes` does.
    #[must_use]
    pub fn offset_of(&self, pos: LogPos, len_bytes: usize) -> Option<usize> {
        if pos.segment != self.place.start.segment {
            return None;
        }
        let offset = pos.offset_bytes.checked_sub(self.place.start.offset_bytes)? as usize;
        (offset + len_bytes <= self.len_bytes()).then_some(offset)
    }

    /// Checks the payload of the frame that starts `offset` bytes on, unless that was done.
    ///
    /// * Errors: [`FormatError`] when it is cut or is not what was written.
    pub fn check(&self, offset: usize, header: &FrameHeader) -> Result<(), FormatError> {
        let block = u32::try_from(offset / BLOCK_BYTES).unwrap_or(u32::MAX);
        let bit = 1_u128.checked_shl(block).unwrap_or(0);
        if self.checked.get() & bit == 0 {
            payload_of(header, &self.bytes.as_ref()[offset..])?;
            self.checked.set(self.checked.get() | bit);
        }
        Ok(())
    }
}

impl<R: AsRef<[u8]>> AsRef<[u8]> for Chunk<R> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}
