//! Writes one shard's part of a copy.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, Part, Stored, shard_directory};
use super::pace::Pace;
use super::source::Source;
use super::{DATA, Error};
use crate::directory::DESCRIPTION;
use crate::io::{BLOCK_BYTES, Disk, Extent, LogFile};
use crate::log::format::SegmentHeader;
use crate::log::{footer, quarantine};

/// Bytes read at a time.
const READ_BYTES: u64 = 1024 * 1024;
/// Zeros that take no room in the copy when there are so many, in bytes.
const HOLE_BYTES: usize = 64 * 1024;
/// Bytes after which the copy is synced: the disk must not get much at once.
const SYNC_BYTES: u64 = 16 * 1024 * 1024;

/// Copies `directory.json`, which is replaced whole: it is one or the other.
pub(super) fn copy_description(from: &Path, to: &Path) -> Result<Stored, Error> {
    let path = from.join(DESCRIPTION);
    let bytes = fs::read(&path).map_err(Error::file("reading", &path))?;
    let mut sink = Sink::create(to, DESCRIPTION)?;
    sink.write(&bytes)?;
    sink.finish(bytes.len() as u64)
}

/// Copies what a start needs of a shard into the directory `to`.
///
/// * Durable: the files' contents; their names when the directory is synced.
pub(super) async fn copy_shard<D: Disk>(
    source: &Source<D>,
    to: &Path,
    earlier: Option<(&Path, &Manifest)>,
    pace: &Pace,
) -> Result<Part, Error> {
    let mut files = Vec::new();
    if let Some(checkpoint) = &source.checkpoint {
        files.push(copy_file(&checkpoint.file, to, checkpoint.bytes, pace).await?);
    }
    let shard = source.log.shard;
    let end = source.end.pos;
    for (&epoch, segment) in source.found.segments.range(source.first_epoch()..=end.segment) {
        let is_sealed = epoch < end.segment;
        let known = earlier.filter(|_| is_sealed).and_then(|(path, manifest)| {
            let part = manifest.shards.get(usize::from(shard))?;
            let stored = part.files.iter().find(|file| file.sealed_epoch == Some(epoch))?;
            Some((path.join(DATA).join(shard_directory(shard)).join(&stored.name), stored))
        });
        let name = segment.file.name();
        if let Some((path, stored)) = known
            && fs::hard_link(&path, to.join(name)).is_ok()
        {
            files.push(Stored { name: name.to_owned(), ..stored.clone() });
            continue;
        }
        // What follows the cut is no part of the copy, whatever the server writes there meanwhile.
        let data_bytes = if is_sealed { segment.bytes } else { u64::from(end.offset_bytes) };
        let mut stored = copy_file(&segment.file, to, data_bytes, pace).await?;
        let opened = OpenOptions::new().write(true).open(to.join(name));
        let lengthened = opened.and_then(|file| {
            file.set_len(segment.bytes)?;
            file.sync_all()
        });
        lengthened.map_err(Error::file("writing", &to.join(name)))?;
        stored.bytes = segment.bytes;
        stored.sealed_epoch = is_sealed.then_some(epoch);
        check_epoch(&segment.file, epoch).await?;
        files.push(stored);
    }
    files.extend(copy_rest(source, to, pace).await?);
    Ok(Part {
        shard,
        end_epoch: end.segment,
        end_offset: end.offset_bytes,
        next_frame_seq: source.end.chain.next_frame_seq,
        files,
    })
}

/// Copies what a start uses if it is there: footers of segments in the copy, and the quarantine.
async fn copy_rest<D: Disk>(
    source: &Source<D>,
    to: &Path,
    pace: &Pace,
) -> Result<Vec<Stored>, Error> {
    let mut files = Vec::new();
    let is_of_copy = |epoch: &u64| (source.first_epoch()..source.end.pos.segment).contains(epoch);
    for (name, bytes) in source.disk.list()? {
        let is_footer = footer::file_epoch(&name).filter(is_of_copy).is_some();
        if !is_footer && name != quarantine::FILE {
            continue;
        }
        match source.disk.open(&name).await {
            Ok(file) => files.push(copy_file(&file, to, bytes, pace).await?),
            // A footer only helps to find records, and is made again.
            Err(error) if is_footer && error.source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(files)
}

/// Copies the first `bytes` of a file.
async fn copy_file<F: LogFile>(
    file: &F,
    to: &Path,
    bytes: u64,
    pace: &Pace,
) -> Result<Stored, Error> {
    let mut sink = Sink::create(to, file.name())?;
    let mut at = 0;
    while at < bytes {
        let len_bytes = usize::try_from(READ_BYTES.min(bytes - at)).expect("at most 1 MiB");
        pace.spend(len_bytes).await;
        let read = file.read_at(Extent { offset_bytes: at, len_bytes }).await?;
        sink.write(read.as_ref())?;
        at += len_bytes as u64;
    }
    sink.finish(bytes)
}

/// Whether a segment that was copied was in the same use all the while: the header of the next one
/// is written before anything else.
async fn check_epoch<F: LogFile>(file: &F, epoch: u64) -> Result<(), Error> {
    let block = file.read_at(Extent { offset_bytes: 0, len_bytes: BLOCK_BYTES }).await?;
    match SegmentHeader::decode(block.as_ref()) {
        Ok(header) if header.epoch == epoch => Ok(()),
        _ => Err(Error::Refused(format!(
            "{} was used again while it was copied: the server's disk is full, it was restarted, or \
             the copy made no progress for a minute; try again",
            file.name()
        ))),
    }
}

/// A file of the copy that is being written.
struct Sink {
    path: PathBuf,
    name: String,
    file: File,
    hasher: blake3::Hasher,
    unsynced_bytes: u64,
}

impl Sink {
    fn create(to: &Path, name: &str) -> Result<Self, Error> {
        let path = to.join(name);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = opened.map_err(Error::file("creating", &path))?;
        let hasher = blake3::Hasher::new();
        Ok(Self { path, name: name.to_owned(), file, hasher, unsynced_bytes: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        for piece in bytes.chunks(HOLE_BYTES) {
            let is_hole = piece.len() == HOLE_BYTES && piece.iter().all(|b| *b == 0);
            let written = if is_hole {
                self.file.seek(SeekFrom::Current(HOLE_BYTES as i64)).map(drop)
            } else {
                self.file.write_all(piece)
            };
            written.map_err(Error::file("writing", &self.path))?;
        }
        self.unsynced_bytes += bytes.len() as u64;
        if self.unsynced_bytes >= SYNC_BYTES {
            self.unsynced_bytes = 0;
            self.file.sync_data().map_err(Error::file("syncing", &self.path))?;
        }
        Ok(())
    }

    fn finish(self, bytes: u64) -> Result<Stored, Error> {
        let ended = self.file.set_len(bytes).and_then(|()| self.file.sync_all());
        ended.map_err(Error::file("writing", &self.path))?;
        let blake3 = self.hasher.finalize().to_hex().to_string();
        Ok(Stored { name: self.name, bytes, data_bytes: bytes, blake3, sealed_epoch: None })
    }
}
