//! `thalweg restore`: a data directory out of a backup.
//!
//! * Only into a directory that is empty or not there yet.
//! * `directory.json` comes last: a server refuses shards without one, so a restore that was
//!   interrupted is never taken for a data directory.

use std::fs::{self, File};
use std::io::{Read as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::{LocalExecutorBuilder, Placement};

use super::manifest::{Manifest, Part, Stored, shard_directory};
use super::{DATA, Error, make_private, parent_of, sync_directory};
use crate::directory::DESCRIPTION;
use crate::inspect::{self, Command};
use crate::io::glommio::GlommioIo;
use crate::io::{BLOCK_BYTES, Buffer as _, Disk, LogFile};

/// Bytes read and written at a time.
const STEP_BYTES: usize = 1024 * 1024;

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct Restore {
    /// The backup.
    pub from: PathBuf,
    /// The data directory to make; `None` only checks the backup.
    pub data_dir: Option<PathBuf>,
}

/// Makes a data directory out of a backup, every byte checked against its manifest, and then all of
/// it as by `verify`; or only checks the backup.
///
/// * Errors: [`Error`]; then what was made is removed, but for a directory that was there.
/// * Durable: yes, when it returns.
/// * Call it on a thread that runs no executor.
pub fn restore(plan: &Restore, out: &mut impl Write) -> Result<(), Error> {
    let manifest = Manifest::read(&plan.from)?;
    let Some(to) = &plan.data_dir else {
        let mut bytes = check_file(&plan.from.join(DATA), &manifest.description)?;
        for part in &manifest.shards {
            let from = plan.from.join(DATA).join(shard_directory(part.shard));
            for stored in &part.files {
                bytes += check_file(&from, stored)?;
            }
        }
        writeln!(out, "{}: every checksum is right, {bytes} bytes", plan.from.display())?;
        return Ok(out.flush()?);
    };
    let is_new = begin(to)?;
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make().map_err(Error::Executor)?;
    let restored = executor.run(async {
        for part in &manifest.shards {
            restore_part(plan, part, to).await?;
        }
        restore_description(plan, &manifest.description, to)
    });
    drop(executor);
    let checked = restored.and_then(|()| match inspect::run(to, Command::Verify, out)? {
        true => Ok(()),
        false => Err(Error::Refused(format!(
            "what was backed up is damaged, see above; {} is not restored",
            to.display()
        ))),
    });
    if let Err(error) = checked {
        abandon(to, is_new, &manifest);
        return Err(error);
    }
    writeln!(out, "restored: {}", to.display())?;
    Ok(out.flush()?)
}

/// Makes the directory; tells whether it was not there before.
fn begin(to: &Path) -> Result<bool, Error> {
    match fs::read_dir(to) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(Error::Refused(format!("{} is not empty", to.display())));
            }
            // It will hold what is its owner's alone.
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(to, private).map_err(Error::file("closing", to))?;
            Ok(false)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(to);
            made.map_err(Error::file("creating", to))?;
            sync_directory(&parent_of(to))?;
            Ok(true)
        }
        Err(error) => Err(Error::file("listing", to)(error)),
    }
}

/// Removes what a restore that failed has made.
fn abandon(to: &Path, is_new: bool, manifest: &Manifest) {
    // First what makes it a data directory.
    let mut removed = match fs::remove_file(to.join(DESCRIPTION)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    for part in &manifest.shards {
        let path = to.join(shard_directory(part.shard));
        if path.exists() {
            removed = removed.and(fs::remove_dir_all(path));
        }
    }
    if is_new {
        removed = removed.and(fs::remove_dir(to));
    }
    if let Err(error) = removed {
        tracing::warn!(path = %to.display(), %error, "what was restored so far is not removed");
    }
}

async fn restore_part(plan: &Restore, part: &Part, to: &Path) -> Result<(), Error> {
    let directory = shard_directory(part.shard);
    let (from, to) = (plan.from.join(DATA).join(&directory), to.join(&directory));
    make_private(&to)?;
    // Through the seam: allocated whole, as the server makes them, so that it finds room to write.
    let disk = GlommioIo::new(&to);
    for stored in &part.files {
        let file = disk.create(&stored.name, stored.bytes).await?;
        let mut reader = Checked::open(&from, stored)?;
        let mut at = 0;
        loop {
            let mut buf = disk.alloc(STEP_BYTES);
            let len_bytes = reader.read(buf.as_mut())?;
            if len_bytes == 0 {
                break;
            }
            buf.truncate(len_bytes.next_multiple_of(BLOCK_BYTES));
            file.write_at(Rc::new(buf), at).await?;
            at += len_bytes as u64;
        }
        reader.finish()?;
        file.sync().await?;
    }
    disk.sync_dir().await?;
    Ok(())
}

fn restore_description(plan: &Restore, stored: &Stored, to: &Path) -> Result<(), Error> {
    sync_directory(to)?;
    let mut reader = Checked::open(&plan.from.join(DATA), stored)?;
    let mut bytes = vec![0; usize::try_from(stored.data_bytes).unwrap_or(0).min(STEP_BYTES)];
    reader.read(&mut bytes)?;
    reader.finish()?;
    let temporary = to.join(format!("{DESCRIPTION}.tmp"));
    let written = File::create(&temporary).and_then(|mut file| {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written.map_err(Error::file("writing", &temporary))?;
    fs::rename(&temporary, to.join(DESCRIPTION)).map_err(Error::file("renaming", &temporary))?;
    sync_directory(to)
}

/// Reads a file of the backup for nothing but its checksum; returns how many bytes it has.
fn check_file(from: &Path, stored: &Stored) -> Result<u64, Error> {
    let mut reader = Checked::open(from, stored)?;
    let mut buf = vec![0; STEP_BYTES];
    while reader.read(&mut buf)? > 0 {}
    reader.finish()?;
    Ok(stored.data_bytes)
}

/// A file of a backup, checked while it is read.
struct Checked<'s> {
    path: PathBuf,
    stored: &'s Stored,
    file: File,
    left_bytes: u64,
    hasher: blake3::Hasher,
}

impl<'s> Checked<'s> {
    fn open(from: &Path, stored: &'s Stored) -> Result<Self, Error> {
        let path = from.join(&stored.name);
        let file = File::open(&path).map_err(Error::file("opening", &path))?;
        let (left_bytes, hasher) = (stored.data_bytes, blake3::Hasher::new());
        Ok(Self { path, stored, file, left_bytes, hasher })
    }

    /// Fills `buf` as far as there is something left; returns how far.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        let len = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(buf.len());
        let buf = &mut buf[..len];
        self.file.read_exact(buf).map_err(Error::file("reading", &self.path))?;
        self.hasher.update(buf);
        self.left_bytes -= len as u64;
        Ok(len)
    }

    fn finish(self) -> Result<(), Error> {
        if self.left_bytes == 0 && self.hasher.finalize().to_hex().as_str() == self.stored.blake3 {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "{} is not what was backed up: its checksum is wrong; the backup is damaged",
            self.path.display()
        )))
    }
}
