//! One segment: a file of fixed length, filled with zeros ahead of the log.
//!
//! A write onto space that already holds data syncs without a journal commit; onto merely
//! allocated space it does not. So zeros run ahead of the log, in the background and unsynced.
//! They never touch what the log wrote: the filler claims a stretch beyond the log's end, the
//! writer waits when its own stretch meets a claim (rare and short), and a filler that was
//! overtaken jumps ahead.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::format::{SEGMENT_HEADER_BYTES, Salt, SegmentHeader};
use super::quarantine::LostPlace;
use crate::io::notify::Notify;
use crate::io::{Disk, IoResult, LogFile};
use crate::planted::{self, Bug};
use crate::types::LogPos;

/// Bytes zeroed by one write.
const ZERO_STEP_BYTES: u64 = 128 * 1024;
/// How far ahead of the log zeroing goes on when the log has caught up, in bytes.
const ZERO_LEAD_BYTES: u64 = 4 * 1024 * 1024;

/// What all segments of one shard's log have in common.
#[derive(Debug, Clone, Copy)]
pub struct LogFacts {
    /// Random name of the data directory.
    pub directory_id: u128,
    /// The shard.
    pub shard: u16,
    /// Length of new segments in bytes.
    pub segment_bytes: u64,
}

impl LogFacts {
    /// The salt of this directory's frame checksums.
    #[must_use]
    pub fn salt(&self) -> Salt {
        Salt::of(self.directory_id)
    }
}

/// An open segment.
#[derive(Debug)]
pub struct Segment<F> {
    /// Its file.
    pub file: F,
    /// Number of this use of the file.
    pub epoch: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    end: Cell<u64>,
    zeroed_to: Cell<u64>,
    zeroing: Cell<Option<u64>>,
    zeroed: Notify,
    /// What was given up for lost; none in a segment that was made in this life.
    lost: OnceCell<Vec<LostPlace>>,
}

/// Name of the segment file with this number.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("segment-{number:08}.log")
}

/// Number in a segment file's name, if it is one.
#[must_use]
pub fn file_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    if digits.len() == 8 { digits.parse().ok() } else { None }
}

impl<F: LogFile> Segment<F> {
    /// A segment found on disk, taken to be empty until [`set_end`](Self::set_end).
    pub fn found(file: F, header: &SegmentHeader) -> Self {
        Self {
            file,
            epoch: header.epoch,
            bytes: header.segment_bytes,
            end: (SEGMENT_HEADER_BYTES as u64).into(),
            zeroed_to: header.segment_bytes.into(),
            zeroing: None.into(),
            zeroed: Notify::default(),
            lost: OnceCell::new(),
        }
    }

    /// Creates the file of a new segment, or takes over a dead one, and makes its header durable.
    ///
    /// * Durable: header, length and name, when it returns.
    /// * Errors: out of space leaves nothing behind.
    pub async fn prepare<D: Disk<File = F>>(
        disk: &D,
        facts: LogFacts,
        source: Source,
        epoch: u64,
    ) -> IoResult<Self>
    where
        F: LogFile<Buf = D::Buf>,
    {
        let (file, zeroed_to) = match &source {
            Source::New(number) => {
                let file = disk.create(&file_name(*number), facts.segment_bytes).await?;
                (file, SEGMENT_HEADER_BYTES as u64)
            }
            // Its old frames serve as well as zeros: their epoch says that they are old.
            Source::Dead(name) => (disk.open(name).await?, facts.segment_bytes),
        };
        let header = SegmentHeader {
            directory_id: facts.directory_id,
            shard: facts.shard,
            epoch,
            segment_bytes: facts.segment_bytes,
        };
        let mut block = disk.alloc(SEGMENT_HEADER_BYTES);
        header.encode(block.as_mut());
        file.write_at(Rc::new(block), 0).await?;
        file.sync().await?;
        if !planted::has(Bug::DirectoryNotSynced) {
            disk.sync_dir().await?;
        }
        let segment = Self::found(file, &header);
        segment.zeroed_to.set(zeroed_to);
        Ok(segment)
    }

    /// End of the log in this segment, in bytes; where the next frame goes.
    #[must_use]
    pub fn end_bytes(&self) -> u64 {
        self.end.get()
    }

    /// Says where the log ends in this segment, as recovery found it.
    pub fn set_end(&self, end_bytes: u64) {
        assert!(end_bytes <= self.bytes);
        self.end.set(end_bytes);
    }

    /// Says which places in it were given up for lost; once.
    pub fn set_lost(&self, places: Vec<LostPlace>) {
        assert!(self.lost.set(places).is_ok(), "said by recovery alone");
    }

    /// The place that was given up for lost and that holds this offset.
    #[must_use]
    pub fn lost_at(&self, offset_bytes: u32) -> Option<&LostPlace> {
        let holds = |p: &&LostPlace| (p.offset..p.end_offset).contains(&offset_bytes);
        self.lost.get()?.iter().find(holds)
    }

    /// Bytes left for frames.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        usize::try_from(self.bytes - self.end.get()).expect("segments are far below 16 EiB")
    }

    /// Takes the next `len_bytes` for a frame, which must fit, and waits until nothing else
    /// writes there.
    pub async fn claim(&self, len_bytes: usize) -> LogPos {
        let start = self.end.get();
        let end = start + len_bytes as u64;
        assert!(end <= self.bytes, "who claims has asked for the room");
        self.end.set(end);
        while self.zeroing.get().is_some_and(|at| at < end && start < at + ZERO_STEP_BYTES) {
            self.zeroed.notified().await;
        }
        let offset_bytes = u32::try_from(start).expect("segments are at most 4 GiB");
        LogPos { segment: self.epoch, offset_bytes }
    }

    /// Whether the log will soon meet space that holds no zeros yet.
    #[must_use]
    pub fn wants_zeros(&self) -> bool {
        self.zeroed_to.get() < self.bytes.min(self.end.get() + 2 * ZERO_LEAD_BYTES)
    }

    /// Writes the next stretch of zeros; false when there is nothing left to do.
    ///
    /// * Durable: no, and it need not be.
    pub async fn zero_step<D: Disk<File = F, Buf = F::Buf>>(
        &self,
        disk: &D,
        zeros: &Rc<F::Buf>,
    ) -> IoResult<bool> {
        let overtaken = self.end.get() + ZERO_LEAD_BYTES;
        let mut at = self.zeroed_to.get();
        if at < overtaken && self.end.get() > SEGMENT_HEADER_BYTES as u64 {
            at = overtaken.next_multiple_of(ZERO_STEP_BYTES);
        }
        if at >= self.bytes {
            self.zeroed_to.set(self.bytes);
            return Ok(false);
        }
        let len = (ZERO_STEP_BYTES - at % ZERO_STEP_BYTES).min(self.bytes - at);
        let stretch = if len == ZERO_STEP_BYTES { Rc::clone(zeros) } else { zeroed(disk, len) };
        self.zeroing.set(Some(at));
        let written = self.file.write_at(stretch, at).await;
        self.zeroing.set(None);
        self.zeroed.notify();
        self.zeroed_to.set(at + len);
        written.map(|()| true)
    }
}

/// Where a segment's file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A new file with this number.
    New(u64),
    /// An existing file, by name, of which nothing is needed any more.
    Dead(String),
}

impl Source {
    /// The file's name.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self {
            Self::New(number) => file_name(*number),
            Self::Dead(name) => name.clone(),
        }
    }
}

/// Memory full of zeros for [`Segment::zero_step`].
pub fn zeros<D: Disk>(disk: &D) -> Rc<D::Buf> {
    zeroed(disk, ZERO_STEP_BYTES)
}

fn zeroed<D: Disk>(disk: &D, len_bytes: u64) -> Rc<D::Buf> {
    let mut buf = disk.alloc(usize::try_from(len_bytes).expect("at most one step"));
    buf.as_mut().fill(0);
    Rc::new(buf)
}
