//! `thalweg backup` and `thalweg restore`: a copy of a data directory, also of a running server's.
//!
//! ```text
//!  DEST/manifest              what is in the copy, with checksums; written last
//!  DEST/data/directory.json   \
//!  DEST/data/shard-<n>/...     > a data directory, as a server that stopped might leave it
//! ```
//!
//! The log only grows, so a copy of it up to any place is a log. What makes that a data directory:
//! * *The newest checkpoint first, then the log.* The copy has the newest checkpoint that there is
//!   at its beginning, all segments that this one needs, and the log up to a later place, the *cut*
//!   (`source`). What was acknowledged before is before the cut: it was on the disk.
//! * *Segments stay what they are while they are copied.* A server uses them again once nothing in
//!   them is needed; it is asked not to ([`crate::io::pin`]), and because that is a request and no
//!   promise, each is looked at again afterwards: its header changes before anything else in it
//!   does. The files are opened at the cut, so a removed one stays readable.
//! * *Shards agree on basins.* A basin is logged by shard 0 and its streams by theirs. The cut of
//!   the others lies between two looks at shard 0 between which no basin changed: what they know of
//!   basins is what shard 0 knows. Streams of two shards have no such order among them.
//! * *Nothing is half there.* All is written below `DEST.incomplete`, checked there as by `verify`,
//!   synced, and then renamed.
//!
//! Hard links or clones of segments would not do: a segment's file is written over when it is used
//! again, and with it whatever shares its blocks by link; not every file system can clone.
//!
//! Runs in a process of its own and reads with direct I/O, at a bounded rate (`pace`).

#![forbid(unsafe_code)]

mod copy;
mod manifest;
mod pace;
mod plain;
mod restore;
mod source;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::{GlommioError, LocalExecutorBuilder, Placement};

pub use restore::{Restore, restore};

use crate::directory::{DataDirectory, DirectoryError};
use crate::inspect;
use crate::io::glommio::GlommioIo;
use crate::io::limits::raise_open_files;
use crate::io::pin::Pin;
use crate::io::{Clock, IoError};
use crate::log::checkpoint::CheckpointError;
use crate::log::recovery::RecoveryError;
use crate::log::scan::ScanError;
use copy::{copy_description, copy_shard};
use manifest::{Manifest, ManifestError};
use pace::Pace;
use plain::PlainDisk;
use source::Source;

/// The data directory in a backup.
const DATA: &str = "data";
/// What a backup's name ends with until it is one.
const INCOMPLETE: &str = ".incomplete";
/// How often the cut is tried while basins change.
const CUTS_MAX: usize = 100;
/// Pause between two tries, and between two attempts to pin the directory, in microseconds.
const PAUSE_US: u64 = 20_000;
/// Attempts to pin the directory: a server that looks whether it is pinned is in the way shortly.
const PINS_MAX: usize = 50;

/// What to copy, and where to.
#[derive(Debug, Clone)]
pub struct Backup {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The backup; must not exist.
    pub to: PathBuf,
    /// An earlier backup of the same directory, whose sealed segments are linked instead of copied.
    pub reuse: Option<PathBuf>,
    /// Most bytes to read in a second; 0 is no bound.
    pub bytes_per_sec: u64,
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be opened.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The data directory's disk refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A shard's segments cannot be told apart.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The log is damaged where a start would read it.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file of the copy cannot be read or written.
    #[error("{operation} {} failed", path.display())]
    File {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The backup's manifest cannot be used.
    #[error("{} is no complete backup", path.display())]
    Manifest {
        /// The backup.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// The copy could not be checked.
    #[error("the copy could not be checked")]
    Check(#[from] inspect::Error),
    /// Anything else, in words.
    #[error("{0}")]
    Refused(String),
    /// What was done could not be written out.
    #[error("the output failed")]
    Output(#[from] std::io::Error),
    /// There is no io_uring executor to read with.
    #[error("an executor could not be started")]
    Executor(#[source] GlommioError<()>),
}

impl Error {
    fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { operation, path: path.to_owned(), source }
    }
}

/// Copies a data directory, and checks the copy.
///
/// * Errors: [`Error`]; then there is no backup, and what was made of it is removed.
/// * Durable: yes, when it returns.
/// * Call it on a thread that runs no executor.
pub fn backup(plan: &Backup, out: &mut impl Write) -> Result<(), Error> {
    let directory = DataDirectory::open_existing(&plan.data_dir)?;
    if !directory.is_initialised() {
        let text = format!("{} was never served from; start it once", plan.data_dir.display());
        return Err(Error::Refused(text));
    }
    (0..directory.shards()).try_for_each(|shard| directory.check_shard(shard))?;
    raise_open_files();
    let earlier = plan.reuse.as_deref().map(|path| Manifest::read(path).map(|m| (path, m)));
    let earlier = earlier.transpose()?;
    if earlier.as_ref().is_some_and(|(_, m)| !m.is_of(directory.id())) {
        return Err(Error::Refused("--reuse names a backup of another data directory".to_owned()));
    }
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make().map_err(Error::Executor)?;
    let incomplete = begin(plan)?;
    let earlier = earlier.as_ref().map(|(path, manifest)| (*path, manifest));
    let copied = executor.run(async {
        let made = copy_all(plan, &directory, &incomplete, earlier, out).await?;
        made.write(&incomplete)?;
        end(&incomplete, &plan.to)
    });
    if let Err(error) = copied {
        if let Err(error) = fs::remove_dir_all(&incomplete) {
            tracing::warn!(path = %incomplete.display(), %error, "not removed");
        }
        return Err(error);
    }
    writeln!(out, "backup complete: {}", plan.to.display())?;
    Ok(out.flush()?)
}

/// Makes the directory that becomes the backup.
fn begin(plan: &Backup) -> Result<PathBuf, Error> {
    let to = &plan.to;
    let name =
        to.file_name().ok_or_else(|| Error::Refused("--to names no directory".to_owned()))?;
    if to.symlink_metadata().is_ok() {
        return Err(Error::Refused(format!("{} is there already", to.display())));
    }
    let parent = parent_of(to);
    let (source, parent) = (real(&plan.data_dir)?, real(&parent)?);
    if parent.starts_with(&source) {
        return Err(Error::Refused("a backup must not lie in the data directory".to_owned()));
    }
    let mut marked: OsString = name.to_owned();
    marked.push(INCOMPLETE);
    let incomplete = to.with_file_name(marked);
    if incomplete.symlink_metadata().is_ok() {
        let text = format!(
            "{} is left from a backup that was not finished, or is being made; remove it first",
            incomplete.display()
        );
        return Err(Error::Refused(text));
    }
    make_private(&incomplete)?;
    Ok(incomplete)
}

async fn copy_all(
    plan: &Backup,
    directory: &DataDirectory,
    incomplete: &Path,
    earlier: Option<(&Path, &Manifest)>,
    out: &mut impl Write,
) -> Result<Manifest, Error> {
    let clock = GlommioIo::read_only(directory.path());
    let pin = pin(directory.path(), &clock).await?;
    let made_us = clock.wall_us();
    let pace = Rc::new(Pace::new(clock, plan.bytes_per_sec, pin));
    let mut sources = Vec::new();
    for shard in 0..directory.shards() {
        let disk = GlommioIo::read_only(&directory.shard_path(shard));
        sources.push(Source::open(disk, directory.log_facts(shard), &pace).await?);
    }
    cut(&mut sources, &pace).await?;

    let data = incomplete.join(DATA);
    make_private(&data)?;
    // After the cut: what it has that records depend on was there before them.
    let description = copy_description(directory.path(), &data)?;
    let mut manifest = Manifest::new(directory.id(), made_us, description);
    for source in sources {
        let path = data.join(manifest::shard_directory(source.log.shard));
        make_private(&path)?;
        manifest.shards.push(copy_shard(&source, &path, earlier, &pace).await?);
        sync_directory(&path)?;
    }
    pace.unpin();
    for part in &manifest.shards {
        let path = data.join(manifest::shard_directory(part.shard));
        let disk = PlainDisk::new(&path, Rc::clone(&pace));
        if !inspect::verify(&disk, directory.log_facts(part.shard), out).await? {
            let linked = if earlier.is_some() {
                "; or --reuse names a backup from before a restore: try without it"
            } else {
                ""
            };
            let shard = part.shard;
            let text = format!("shard {shard} is damaged; see above, and thalweg repair{linked}");
            return Err(Error::Refused(text));
        }
    }
    sync_directory(&data)?;
    Ok(manifest)
}

async fn pin(path: &Path, clock: &GlommioIo) -> Result<Pin, Error> {
    for _ in 0..PINS_MAX {
        if let Some(pin) = Pin::take(path).map_err(Error::file("pinning", path))? {
            return Ok(pin);
        }
        clock.sleep_us(PAUSE_US).await;
    }
    Err(Error::Refused(format!("another backup of {} is under way", path.display())))
}

/// Decides up to which place of each log the copy goes.
async fn cut(sources: &mut [Source<GlommioIo>], pace: &Pace) -> Result<(), Error> {
    for _ in 0..CUTS_MAX {
        for source in &mut *sources {
            source.advance(pace).await?;
        }
        if !sources[0].advance(pace).await? {
            return Ok(());
        }
        pace.rest(PAUSE_US).await;
    }
    Err(Error::Refused("basins changed all the time; try again later".to_owned()))
}

fn end(incomplete: &Path, to: &Path) -> Result<(), Error> {
    sync_directory(incomplete)?;
    // A rename replaces an empty directory of that name, which nobody misses.
    fs::rename(incomplete, to).map_err(Error::file("renaming", incomplete))?;
    sync_directory(&parent_of(to))
}

fn parent_of(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

fn real(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(Error::file("finding", path))
}

/// Makes a directory for its owner alone.
fn make_private(path: &Path) -> Result<(), Error> {
    DirBuilder::new().mode(0o700).create(path).map_err(Error::file("creating", path))
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|opened| opened.sync_all()).map_err(Error::file("syncing", path))
}
