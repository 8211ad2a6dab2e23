//! A data directory out of the bucket: what a replacement machine begins with.
//!
//! The newest base says which checkpoint and which segments; the pieces from its floor on are the
//! rest of the log. All of it must be one log: the frames of each segment are read again, each must
//! follow on the one before, and a piece must begin where the one before it ended.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::format::{Base, Body, Piece, Place, checkpoint_name, log_name, segment_name};
use super::local::LocalLog;
use super::node::sync_directory;
use super::ownership::{Owned, read_log};
use super::store::Store;
use super::{Error, Result};
use crate::log::checkpoint;
use crate::log::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::log::segment::{LogFacts, file_name};

/// Pieces that are read at a time.
const READS_MAX: usize = 8;

/// What was fetched of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Where its log ends.
    pub(super) end: Place,
    /// When the last piece was made, in microseconds since the Unix epoch; 0 when there is none.
    pub(super) made_us: u64,
}

/// Fetches one shard into the directory `to`, which is made.
///
/// * Errors: [`Error::Damaged`] and [`Error::Refused`] name what is missing or damaged.
/// * Durable: what is in the directory, when it returns.
pub(super) async fn fetch_shard(
    store: &Store,
    owned: &Owned,
    log: LogFacts,
    to: &Path,
) -> Result<Fetched> {
    DirBuilder::new().mode(0o700).create(to).map_err(Error::local("creating", to))?;
    let has_checkpoint = owned.base.checkpoint.is_some();
    let mut shard = Shard { store, log, to, has_checkpoint, files: 0, place: None };
    fetch_checkpoint(store, &owned.base, log, to).await?;
    for (epoch, term) in owned.base.segments() {
        shard.fetch_segment(epoch, term).await?;
    }
    if let Some(end) = owned.base.end {
        shard.expect(end)?;
    }
    let made_us = shard.fetch_pieces(owned).await?;
    let end = match shard.place {
        Some(end) => end,
        None if has_checkpoint => return Err(shard.refuse("its log is not there")),
        None => shard.begin()?,
    };
    let reached =
        |checkpoint: &super::format::Checkpoint| checkpoint.next_frame_seq > end.next_frame_seq;
    if owned.base.checkpoint.as_ref().is_some_and(reached) {
        return Err(shard.refuse("its log ends before its checkpoint"));
    }
    sync_directory(to)?;
    Ok(Fetched { end, made_us })
}

async fn fetch_checkpoint(store: &Store, base: &Base, log: LogFacts, to: &Path) -> Result<()> {
    let Some(stored) = &base.checkpoint else { return Ok(()) };
    let name = checkpoint_name(log.shard, stored);
    let damaged = |reason: &str| Error::Damaged { name: name.clone(), reason: reason.to_owned() };
    if !checkpoint::is_name(&stored.file) {
        return Err(damaged("its file's name is none of a checkpoint"));
    }
    let path = to.join(&stored.file);
    let file = create(&path)?;
    let mut hasher = blake3::Hasher::new();
    let write = |at: u64, chunk: Bytes| {
        if at == 0 {
            hasher.reset();
        }
        hasher.update(&chunk);
        file.write_all_at(&chunk, at).map_err(Error::local("writing", &path))
    };
    let bytes = store.load(&name, write).await?;
    if bytes != stored.bytes || hasher.finalize().to_hex().as_str() != stored.blake3 {
        return Err(damaged(if bytes == 0 { "it is gone" } else { "its checksum is wrong" }));
    }
    file.sync_all().map_err(Error::local("syncing", &path))
}

/// A shard that is being fetched.
struct Shard<'a> {
    store: &'a Store,
    log: LogFacts,
    to: &'a Path,
    /// Whether the log need not begin at its very first frame.
    has_checkpoint: bool,
    /// Segments so far.
    files: u64,
    /// Where the log ends so far; `None` before its first segment.
    place: Option<Place>,
}

impl Shard<'_> {
    fn refuse(&self, what: &str) -> Error {
        Error::Refused(format!(
            "shard {} cannot be fetched from the bucket: {what}",
            self.log.shard
        ))
    }

    /// Checks that the log goes on at `next`, which is where it ends or the beginning of the
    /// segment after that.
    fn expect(&mut self, next: Place) -> Result<()> {
        match self.place {
            Some(place) if place == next || place.rolled() == next => {
                self.place = Some(next);
                Ok(())
            }
            Some(place) => Err(self.refuse(&format!(
                "frames from {} (segment {}, offset {}) to {} are missing",
                place.next_frame_seq, place.segment, place.offset, next.next_frame_seq
            ))),
            None if !self.has_checkpoint && next != Place::start() => {
                Err(self.refuse("the beginning of its log is not there, nor a checkpoint"))
            }
            None => {
                self.place = Some(next);
                Ok(())
            }
        }
    }

    fn next_path(&mut self) -> PathBuf {
        self.files += 1;
        self.to.join(file_name(self.files))
    }

    async fn fetch_segment(&mut self, epoch: u64, term: u64) -> Result<()> {
        let name = segment_name(self.log.shard, epoch, term);
        let path = self.next_path();
        let file = create(&path)?;
        let write = |at: u64, chunk: Bytes| {
            file.write_all_at(&chunk, at).map_err(Error::local("writing", &path))
        };
        let bytes = self.store.load(&name, write).await?;
        let damaged =
            |reason: &str| Error::Damaged { name: name.clone(), reason: reason.to_owned() };
        if bytes == 0 {
            return Err(damaged("it is gone"));
        }
        let mut block = [0; SEGMENT_HEADER_BYTES];
        let read = file.read_exact_at(&mut block, 0);
        read.map_err(|_| damaged("it is too short"))?;
        let header = SegmentHeader::decode(&block).map_err(|error| damaged(&error.to_string()))?;
        let is_ours = header.directory_id == self.log.directory_id
            && (header.shard, header.epoch) == (self.log.shard, epoch);
        if !is_ours {
            return Err(damaged("it is another segment"));
        }
        lengthen(&file, header.segment_bytes, &path)?;
        let ends = LocalLog::new(self.to, self.log).ends_of(epoch).await;
        let (begin, end) = ends.map_err(|error| damaged(&error.to_string()))?;
        if u64::from(end.offset) != bytes {
            return Err(damaged("a frame in it is damaged"));
        }
        self.expect(begin)?;
        self.place = Some(end);
        Ok(())
    }

    /// Writes the pieces; returns when the last was made.
    async fn fetch_pieces(&mut self, owned: &Owned) -> Result<u64> {
        let (id, shard) = (self.log.directory_id, self.log.shard);
        let store = self.store;
        let numbers = stream::iter(owned.base.floor..owned.next_number);
        let reads = numbers
            .map(|number| async move { (number, read_log(store, (id, shard), number).await) });
        let mut reads = reads.buffered(READS_MAX);
        let mut file: Option<(File, PathBuf)> = None;
        let mut made_us = 0;
        while let Some((number, read)) = reads.next().await {
            let Some((head, bytes)) = read? else {
                let name = log_name(shard, number);
                return Err(Error::Damaged { name, reason: "it is gone".to_owned() });
            };
            let Body::Piece(piece) = head.body else { continue };
            // Of segments that are there as a whole.
            if owned.base.end.is_some_and(|end| piece.segment < end.segment) {
                continue;
            }
            let begin = begin_of(&piece, self.place);
            self.expect(begin)?;
            let is_new = file.is_none() || begin.offset as usize == SEGMENT_HEADER_BYTES;
            if is_new {
                if let Some((file, path)) = file.take() {
                    file.sync_all().map_err(Error::local("syncing", &path))?;
                }
                file = Some(self.begin_segment(piece.segment, piece.segment_bytes)?);
            }
            if let Some((file, path)) = &file {
                let written = file.write_all_at(&bytes, piece.from.into());
                written.map_err(Error::local("writing", path))?;
            }
            self.place = Some(Place::behind(&piece));
            made_us = head.made_us;
        }
        match file {
            Some((file, path)) => file.sync_all().map_err(Error::local("syncing", &path))?,
            // The next frame goes into a segment of its own.
            None => {
                if let Some(end) = owned.base.end {
                    self.begin_segment(end.segment, self.log.segment_bytes)?;
                }
            }
        }
        Ok(made_us)
    }

    /// The first segment of a log that has nothing yet.
    fn begin(&mut self) -> Result<Place> {
        self.begin_segment(1, self.log.segment_bytes)?;
        Ok(Place::start())
    }

    fn begin_segment(&mut self, epoch: u64, segment_bytes: u64) -> Result<(File, PathBuf)> {
        let path = self.next_path();
        let file = create(&path)?;
        let (directory_id, shard) = (self.log.directory_id, self.log.shard);
        let mut block = [0; SEGMENT_HEADER_BYTES];
        SegmentHeader { directory_id, shard, epoch, segment_bytes }.encode(&mut block);
        let mut writer = &file;
        writer.write_all(&block).map_err(Error::local("writing", &path))?;
        lengthen(&file, segment_bytes, &path)?;
        Ok((file, path))
    }
}

/// Where a piece says that it begins. The checksum of the frame before is not among what it says:
/// recovery checks the chain.
fn begin_of(piece: &Piece, place: Option<Place>) -> Place {
    let begin = Place {
        segment: piece.segment,
        offset: piece.from,
        next_frame_seq: piece.first_frame_seq,
        prev_crc: 0,
    };
    Place { prev_crc: place.map_or(0, |place| place.prev_crc), ..begin }
}

/// Makes the file as long as its segment, with room on the disk for all of it.
fn lengthen(file: &File, segment_bytes: u64, path: &Path) -> Result<()> {
    let made = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, segment_bytes);
    made.map_err(|errno| Error::local("lengthening", path)(errno.into()))?;
    file.sync_all().map_err(Error::local("syncing", path))
}

fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let created = options.read(true).write(true).create_new(true).mode(0o600).open(path);
    created.map_err(Error::local("creating", path))
}

/// Removes what an earlier attempt to fetch has left.
pub(super) fn remove_unfinished(data_dir: &Path) -> Result<()> {
    let listed = fs::read_dir(data_dir).map_err(Error::local("listing", data_dir))?;
    for entry in listed {
        let entry = entry.map_err(Error::local("listing", data_dir))?;
        let path = entry.path();
        let name = entry.file_name();
        let removed = match name.to_string_lossy() {
            name if name.starts_with("shard-") => fs::remove_dir_all(&path),
            name if name == crate::directory::DESCRIPTION => fs::remove_file(&path),
            _ => Ok(()),
        };
        removed.map_err(Error::local("removing", &path))?;
    }
    Ok(())
}
