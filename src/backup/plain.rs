//! The files of a copy, read as any file system can: a backup may lie where there is no direct I/O.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::pace::Pace;
use crate::io::{Buffer, Disk, Extent, IoError, IoResult, LogFile};

/// A directory whose files are only read, at a backup's pace.
pub(super) struct PlainDisk {
    root: PathBuf,
    pace: Rc<Pace>,
}

/// One of its files.
pub(super) struct PlainFile {
    name: String,
    file: File,
    pace: Rc<Pace>,
}

/// Memory as any other.
pub(super) struct PlainBuf(Vec<u8>);

impl AsRef<[u8]> for PlainBuf {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for PlainBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Buffer for PlainBuf {
    fn truncate(&mut self, len_bytes: usize) {
        self.0.truncate(len_bytes);
    }
}

impl PlainDisk {
    pub(super) fn new(root: &Path, pace: Rc<Pace>) -> Self {
        Self { root: root.to_owned(), pace }
    }
}

fn fail(operation: &'static str, file: &str) -> impl FnOnce(std::io::Error) -> IoError {
    let file = file.to_owned();
    move |source| IoError { operation, file, offset_bytes: 0, len_bytes: 0, source }
}

/// What is never asked for: who checks a copy changes nothing.
fn refuse<T>(operation: &'static str, file: &str) -> IoResult<T> {
    Err(fail(operation, file)(std::io::ErrorKind::ReadOnlyFilesystem.into()))
}

impl LogFile for PlainFile {
    type Buf = PlainBuf;
    type Read = Vec<u8>;

    fn name(&self) -> &str {
        &self.name
    }

    async fn write_at(&self, _buf: Rc<PlainBuf>, _offset_bytes: u64) -> IoResult<()> {
        refuse("write", &self.name)
    }

    async fn read_at(&self, extent: Extent) -> IoResult<Vec<u8>> {
        self.pace.spend(extent.len_bytes).await;
        let mut bytes = vec![0; extent.len_bytes];
        let read = self.file.read_exact_at(&mut bytes, extent.offset_bytes);
        read.map_err(|source| IoError {
            operation: "read",
            file: self.name.clone(),
            offset_bytes: extent.offset_bytes,
            len_bytes: extent.len_bytes as u64,
            source,
        })?;
        Ok(bytes)
    }

    async fn sync(&self) -> IoResult<()> {
        refuse("sync", &self.name)
    }
}

impl Disk for PlainDisk {
    type Buf = PlainBuf;
    type File = PlainFile;

    fn alloc(&self, len_bytes: usize) -> PlainBuf {
        PlainBuf(vec![0; len_bytes])
    }

    async fn create(&self, name: &str, _len_bytes: u64) -> IoResult<PlainFile> {
        refuse("create", name)
    }

    async fn open(&self, name: &str) -> IoResult<PlainFile> {
        let file = File::open(self.root.join(name)).map_err(fail("open", name))?;
        Ok(PlainFile { name: name.to_owned(), file, pace: Rc::clone(&self.pace) })
    }

    fn list(&self) -> IoResult<Vec<(String, u64)>> {
        let listed = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.root)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                names.push((name, entry.metadata()?.len()));
            }
            names.sort();
            Ok(names)
        };
        listed().map_err(fail("list", "."))
    }

    fn rename(&self, from: &str, _to: &str) -> IoResult<()> {
        refuse("rename", from)
    }

    fn remove(&self, name: &str) -> IoResult<()> {
        refuse("remove", name)
    }

    async fn sync_dir(&self) -> IoResult<()> {
        refuse("sync", ".")
    }
}
