//! The log here, as who ships it reads it: whole frames, one after the other, each checked, with
//! direct I/O, so that nothing is read from a cache that was filled before the log was written.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::task::yield_now;

use super::format::{Checkpoint, Place};
use super::link::Tail;
use super::{Error, Result};
use crate::io::BLOCK_BYTES;
use crate::log::checkpoint;
use crate::log::format::{
    FrameHeader, SEGMENT_HEADER_BYTES, SegmentHeader, frame_bytes, payload_of,
};
use crate::log::segment::{LogFacts, file_number};
use crate::log::writer::Chain;
use crate::types::LogPos;

/// Bytes read at a time, and most bytes of a piece unless one frame is longer.
pub(super) const PIECE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A segment's file.
struct Segment {
    epoch: u64,
    file: File,
    name: String,
    bytes: u64,
}

/// The log of one shard.
pub(super) struct LocalLog {
    path: PathBuf,
    log: LogFacts,
    /// The one that was looked at last.
    open: Option<Segment>,
}

/// Frames of one segment, as they are on the disk.
#[derive(Debug)]
pub(super) struct Frames {
    /// Where they begin.
    pub(super) from: Place,
    /// Where they end.
    pub(super) to: Place,
    pub(super) bytes: Bytes,
    /// Length of the segment's file.
    pub(super) segment_bytes: u64,
    /// When the first was written, in microseconds since the Unix epoch.
    pub(super) written_us: u64,
}

impl LocalLog {
    pub(super) fn new(path: &Path, log: LogFacts) -> Self {
        Self { path: path.to_owned(), log, open: None }
    }

    /// Looks through the segments for one.
    ///
    /// * Cost: a read of each, and no more than one that stays open.
    fn look_for(&mut self, epoch: u64) -> Result<()> {
        self.open = None;
        for name in names_in(&self.path)? {
            if file_number(&name).is_none() {
                continue;
            }
            let path = self.path.join(&name);
            let file = match open_direct(&path) {
                Ok(file) => file,
                // A segment that was given up.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::local("opening", &path)(error)),
            };
            // One that is being made has no header yet.
            let Ok(block) = read_aligned(&file, 0, BLOCK_BYTES) else { continue };
            let header = SegmentHeader::decode(&block);
            let is_ours = |h: &SegmentHeader| {
                h.directory_id == self.log.directory_id && h.shard == self.log.shard
            };
            let Some(header) = header.ok().filter(is_ours) else { continue };
            if header.epoch == epoch {
                self.open = Some(Segment { epoch, file, name, bytes: header.segment_bytes });
            }
        }
        Ok(())
    }

    fn segment(&mut self, epoch: u64) -> Result<&Segment> {
        if self.open.as_ref().is_none_or(|segment| segment.epoch != epoch) {
            self.look_for(epoch)?;
        }
        let shard = self.log.shard;
        self.open.as_ref().ok_or_else(|| {
            Error::Refused(format!(
                "shard {shard}: segment with epoch {epoch} is not in the bucket and not here any \
                 more; was the directory served without its bucket?"
            ))
        })
    }

    /// The next frames from `from` on, at most [`PIECE_BYTES_MAX`] or one; `None` when there are
    /// none before `tail`. When `any` is set, the first of them may follow on anything.
    ///
    /// * Errors: [`Error::Log`], when there must be a frame and is none.
    pub(super) fn frames(&mut self, from: Place, any: bool, tail: &Tail) -> Result<Option<Frames>> {
        let mut from = from;
        while from.segment <= tail.pos.segment {
            if let Some(frames) = self.frames_of(from, any, tail)? {
                return Ok(Some(frames));
            }
            if from.segment == tail.pos.segment {
                return Ok(None);
            }
            from = from.rolled();
        }
        Ok(None)
    }

    /// The same, in one segment; `None` where it ends.
    pub(super) fn frames_of(
        &mut self,
        from: Place,
        any: bool,
        tail: &Tail,
    ) -> Result<Option<Frames>> {
        let (log, path) = (self.log, self.path.clone());
        let is_last = from.segment == tail.pos.segment;
        let segment = self.segment(from.segment)?;
        let end = if is_last { u64::from(tail.pos.offset_bytes) } else { segment.bytes };
        let mut buf = Piece::default();
        let (mut to, mut written_us) = (from, 0);
        let reason = loop {
            let at = u64::from(to.offset);
            if at >= end || (buf.frames_bytes >= PIECE_BYTES_MAX) {
                break None;
            }
            if !buf.holds(BLOCK_BYTES) {
                buf.grow(segment, u64::from(from.offset), end, &path)?;
            }
            let (header, crc) = match FrameHeader::decode(buf.rest(), log.salt()) {
                Ok(decoded) => decoded,
                Err(reason) => break Some(reason.to_string()),
            };
            let follows = (header.frame_seq, header.prev_crc) == (to.next_frame_seq, to.prev_crc);
            let is_first = any && buf.frames_bytes == 0;
            if header.epoch != from.segment || header.shard != log.shard || !(follows || is_first) {
                break Some("the frame is of another log or time".to_owned());
            }
            let frame_bytes = frame_bytes(header.payload_bytes as usize);
            if buf.frames_bytes > 0 && buf.frames_bytes + frame_bytes > PIECE_BYTES_MAX {
                break None;
            }
            while !buf.holds(frame_bytes) && buf.grow(segment, from.offset.into(), end, &path)? {}
            if let Err(reason) = payload_of(&header, buf.rest()) {
                break Some(reason.to_string());
            }
            if buf.frames_bytes == 0 {
                written_us = header.written_us;
            }
            buf.frames_bytes += frame_bytes;
            let frame_bytes = u32::try_from(frame_bytes).expect("at most 8 MiB and a block");
            to.offset += frame_bytes;
            (to.next_frame_seq, to.prev_crc) = (header.frame_seq + 1, crc);
        };
        let broken = reason.filter(|_| buf.frames_bytes == 0);
        // A segment before the last ends where no frame follows; the next must go on from there.
        if let Some(reason) = broken
            && (is_last || from.offset as usize == SEGMENT_HEADER_BYTES)
        {
            let (file, offset_bytes) = (segment.name.clone(), from.offset);
            return Err(Error::Log { file, offset_bytes, reason });
        }
        if buf.frames_bytes == 0 {
            return Ok(None);
        }
        let from = if any { first_of(from, &buf, log) } else { from };
        let segment_bytes = segment.bytes;
        Ok(Some(Frames { from, to, bytes: buf.frames(), segment_bytes, written_us }))
    }

    /// Where the log begins and ends in a sealed segment, every frame of it checked.
    pub(super) async fn ends_of(&mut self, epoch: u64) -> Result<(Place, Place)> {
        let mut place = Place { segment: epoch, ..Place::start() };
        // As if the log ended far behind: the segment ends where no frame follows.
        let pos = LogPos { segment: epoch + 1, offset_bytes: place.offset };
        let tail = Tail { pos, chain: Chain::START };
        let mut begin = None;
        while let Some(frames) = self.frames_of(place, begin.is_none(), &tail)? {
            begin.get_or_insert(frames.from);
            place = frames.to;
            // Who ships goes first.
            yield_now().await;
        }
        Ok((begin.unwrap_or(place), place))
    }

    /// A part of a segment, its header included, up to `end`; `None` behind that.
    pub(super) fn part(
        &mut self,
        epoch: u64,
        at: u64,
        end: u64,
        len_bytes: usize,
    ) -> Result<Option<Bytes>> {
        if at >= end {
            return Ok(None);
        }
        let path = self.path.clone();
        let segment = self.segment(epoch)?;
        let len_bytes = usize::try_from((end - at).min(len_bytes as u64)).expect("at most that");
        let read = read_aligned(&segment.file, at, len_bytes);
        let part = read.map_err(Error::local("reading", &path.join(&segment.name)))?;
        if at == 0 && SegmentHeader::decode(&part).map(|header| header.epoch) != Ok(epoch) {
            self.open = None;
            return Err(Error::Refused(format!("segment with epoch {epoch} was used again")));
        }
        Ok(Some(part))
    }

    /// The newest checkpoint here that needs no frame from `frames` on, without its checksum, and
    /// its file.
    pub(super) fn newest_checkpoint(&self, frames: u64) -> Result<Option<(Checkpoint, PathBuf)>> {
        let mut names = names_in(&self.path)?;
        names.retain(|name| checkpoint::is_name(name));
        names.sort();
        for file in names.into_iter().rev() {
            let path = self.path.join(&file);
            let read = open_direct(&path).and_then(|file| {
                let bytes = file.metadata()?.len();
                Ok((bytes, read_aligned(&file, 0, BLOCK_BYTES)?))
            });
            // One that is removed just now, or is damaged: there are others.
            let Ok((bytes, block)) = read else { continue };
            let Ok(facts) = checkpoint::facts(&block, self.log) else { continue };
            if facts.end_frame_seq > frames {
                continue;
            }
            let checkpoint = Checkpoint {
                next_frame_seq: facts.chain.next_frame_seq,
                term: 0,
                file,
                bytes,
                blake3: String::new(),
                first_epoch: facts.first_epoch,
            };
            return Ok(Some((checkpoint, path)));
        }
        Ok(None)
    }
}

/// Where frames begin of which the first may follow on anything.
fn first_of(from: Place, buf: &Piece, log: LogFacts) -> Place {
    let header = FrameHeader::decode(&buf.bytes[buf.start..], log.salt());
    let (header, _) = header.expect("it was decoded before");
    Place { next_frame_seq: header.frame_seq, prev_crc: header.prev_crc, ..from }
}

/// Frames that are being gathered.
#[derive(Default)]
struct Piece {
    /// What was read, from `start` on: direct I/O wants aligned memory.
    bytes: Vec<u8>,
    start: usize,
    /// Of whole frames.
    frames_bytes: usize,
}

impl Piece {
    fn read_bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether so many bytes are there behind the frames.
    fn holds(&self, len_bytes: usize) -> bool {
        self.read_bytes() >= self.frames_bytes + len_bytes
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[(self.start + self.frames_bytes).min(self.bytes.len())..]
    }

    /// Reads more; false when there is no more.
    fn grow(&mut self, segment: &Segment, from: u64, end: u64, path: &Path) -> Result<bool> {
        let at = from + self.read_bytes() as u64;
        if at >= end {
            return Ok(false);
        }
        let wanted = if self.bytes.is_empty() { PIECE_BYTES_MAX } else { 2 * self.read_bytes() };
        let wanted = usize::try_from((end - from).min(wanted as u64)).expect("at most that");
        // What was read is read again: it happens for a frame that is longer than a piece.
        let read = read_aligned_vec(&segment.file, from, wanted);
        let (bytes, start) = read.map_err(Error::local("reading", &path.join(&segment.name)))?;
        (self.bytes, self.start) = (bytes, start);
        Ok(true)
    }

    fn frames(self) -> Bytes {
        let end = self.start + self.frames_bytes;
        Bytes::from(self.bytes).slice(self.start..end)
    }
}

fn names_in(path: &Path) -> Result<Vec<String>> {
    let listed = std::fs::read_dir(path).and_then(|entries| {
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    });
    listed.map_err(Error::local("listing", path))
}

fn open_direct(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)
}

/// Reads `len_bytes` at `at`, both multiples of a block.
fn read_aligned(file: &File, at: u64, len_bytes: usize) -> std::io::Result<Bytes> {
    let (bytes, start) = read_aligned_vec(file, at, len_bytes)?;
    Ok(Bytes::from(bytes).slice(start..))
}

/// The same, in memory that begins with a few bytes of nothing.
fn read_aligned_vec(file: &File, at: u64, len_bytes: usize) -> std::io::Result<(Vec<u8>, usize)> {
    let mut bytes = vec![0; len_bytes + BLOCK_BYTES];
    let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
    bytes.truncate(start + len_bytes);
    file.read_exact_at(&mut bytes[start..], at)?;
    Ok((bytes, start))
}
