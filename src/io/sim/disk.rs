//! The simulated disk: what was written, what is durable, and what a crash makes of the rest.
//!
//! * A file reads as everything written to it; each write is remembered until a sync covers it.
//! * A sync makes durable the writes that had completed when it began. A write under way then, or
//!   one that failed, may reach the disk at any time, or never.
//! * A file's new length is made durable by its sync, its name by a sync of the directory.
//! * In a power cut every sector of every remembered write is kept or lost by itself; kept ones
//!   land in the order of the writes. Changes of names are kept or lost each by itself.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::rc::Rc;

use super::{Loss, SimIo, Stream};
use crate::io::{BLOCK_BYTES, Buffer, Extent, IoError, IoResult, LogFile};

/// What a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;
/// What fresh memory holds, so that whoever trusts it to be zero is found out.
const FRESH: u8 = 0xA5;

/// Memory of the simulated disk.
#[derive(Debug)]
pub struct SimBuf(Vec<u8>);

impl SimBuf {
    pub(super) fn new(len_bytes: usize) -> Self {
        assert!(len_bytes > 0 && len_bytes.is_multiple_of(BLOCK_BYTES));
        Self(vec![FRESH; len_bytes])
    }
}

impl AsRef<[u8]> for SimBuf {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for SimBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Buffer for SimBuf {
    fn truncate(&mut self, len_bytes: usize) {
        self.0.truncate(len_bytes);
    }
}

/// A file, whatever its name is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

/// A write that no sync covers yet.
#[derive(Debug, Clone)]
struct Pending {
    number: u64,
    offset: usize,
    buf: Rc<SimBuf>,
    completed: bool,
}

#[derive(Debug, Clone, Default)]
struct FileState {
    written: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

impl FileState {
    fn new(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), written: bytes, pending: Vec::new() }
    }

    fn complete(&mut self, number: u64) {
        let pending = self.pending.iter_mut().find(|p| p.number == number);
        let pending = pending.expect("no sync covers a write under way");
        pending.completed = true;
        put(&mut self.written, pending.offset, &pending.buf.0);
    }

    /// Makes durable the writes in `covered`, and the file's length.
    fn sync(&mut self, covered: &[u64]) {
        self.durable.resize(self.written.len(), 0);
        let (now_durable, rest) = self.pending.drain(..).partition(|p| covered.contains(&p.number));
        self.pending = rest;
        let now_durable: Vec<Pending> = now_durable;
        for write in now_durable {
            put(&mut self.durable, write.offset, &write.buf.0);
        }
    }

    /// The file after a crash; `keep` is asked about every sector in question.
    fn image(&self, keep_length: bool, mut keep: impl FnMut() -> bool) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        if keep_length && bytes.len() < self.written.len() {
            bytes.resize(self.written.len(), 0);
        }
        for write in &self.pending {
            for (index, sector) in write.buf.0.chunks(SECTOR_BYTES).enumerate() {
                if keep() {
                    put(&mut bytes, write.offset + index * SECTOR_BYTES, sector);
                }
            }
        }
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}

/// A change of the directory that no sync covers yet.
#[derive(Debug, Clone)]
enum NameChange {
    Create(String, FileId),
    Remove(String),
    Rename(String, String, FileId),
}

type Names = BTreeMap<String, FileId>;

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, id) => {
                if names.get(from) == Some(id) {
                    names.remove(from);
                }
                names.insert(to.clone(), *id);
            }
        }
    }
}

/// Every file, and the directory.
#[derive(Debug, Clone, Default)]
pub(super) struct DiskState {
    files: BTreeMap<FileId, FileState>,
    names: Names,
    durable_names: Names,
    changes: Vec<NameChange>,
    files_made: u64,
    writes_made: u64,
}

impl DiskState {
    pub(super) fn id(&self, name: &str) -> Option<FileId> {
        self.names.get(name).copied()
    }

    pub(super) fn list(&self) -> Vec<(String, u64)> {
        let len_bytes = |id| self.files[id].written.len() as u64;
        self.names.iter().map(|(name, id)| (name.clone(), len_bytes(id))).collect()
    }

    pub(super) fn contents(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.files[self.names.get(name)?].written.clone())
    }

    pub(super) fn put_contents(&mut self, name: &str, bytes: Vec<u8>) {
        let id = self.id(name).unwrap_or_else(|| self.new_id());
        self.names.insert(name.to_owned(), id);
        self.durable_names.insert(name.to_owned(), id);
        self.files.insert(id, FileState::new(bytes));
    }

    fn new_id(&mut self) -> FileId {
        self.files_made += 1;
        FileId(self.files_made)
    }

    pub(super) fn create(
        &mut self,
        name: &str,
        len_bytes: u64,
        capacity_bytes: u64,
    ) -> Result<FileId, ErrorKind> {
        if self.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists);
        }
        if self.used_bytes() + len_bytes > capacity_bytes {
            return Err(ErrorKind::StorageFull);
        }
        let id = self.new_id();
        let len = usize::try_from(len_bytes).expect("fits memory");
        let file = FileState { written: vec![0; len], ..FileState::default() };
        self.files.insert(id, file);
        self.change(NameChange::Create(name.to_owned(), id));
        Ok(id)
    }

    fn used_bytes(&self) -> u64 {
        self.list().iter().map(|(_, len_bytes)| len_bytes).sum()
    }

    /// Whether a write up to `end` makes a file longer than the disk has room for.
    pub(super) fn is_full_for(&self, id: FileId, end: usize, capacity_bytes: u64) -> bool {
        let more = end.saturating_sub(self.files[&id].written.len()) as u64;
        more > 0 && self.used_bytes() + more > capacity_bytes
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), ErrorKind> {
        let id = self.id(from).ok_or(ErrorKind::NotFound)?;
        self.change(NameChange::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), ErrorKind> {
        self.id(name).ok_or(ErrorKind::NotFound)?;
        self.change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    /// How many changes of names a sync that begins now covers.
    pub(super) fn name_changes(&self) -> usize {
        self.changes.len()
    }

    /// Makes the oldest `covered` changes of names durable.
    pub(super) fn sync_names(&mut self, covered: usize) {
        // Another sync may have finished meanwhile, so there may be fewer.
        let covered = covered.min(self.changes.len());
        for change in self.changes.drain(..covered) {
            change.apply(&mut self.durable_names);
        }
    }

    pub(super) fn image(&self, dice: &mut Stream, loss: Loss) -> Self {
        if loss == Loss::Process {
            return self.after_process(dice);
        }
        let mut names = self.durable_names.clone();
        self.changes.iter().filter(|_| dice.coin()).for_each(|change| change.apply(&mut names));
        let mut image = Self { files_made: self.files_made, ..Self::default() };
        for (id, file) in &self.files {
            let keep_length = dice.coin();
            let bytes = file.image(keep_length, || dice.coin());
            image.files.insert(*id, FileState::new(bytes));
        }
        image.named(names)
    }

    /// Nothing written is lost, and nothing becomes durable by it: a power cut may follow. A write
    /// under way happens or does not.
    fn after_process(&self, dice: &mut Stream) -> Self {
        let mut image = self.clone();
        for file in image.files.values_mut() {
            file.pending.retain(|write| write.completed || dice.coin());
            let under_way = file.pending.iter().filter(|write| !write.completed);
            let numbers: Vec<u64> = under_way.map(|write| write.number).collect();
            numbers.into_iter().for_each(|number| file.complete(number));
        }
        image
    }

    pub(super) fn image_keeping(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut image = Self { files_made: self.files_made, ..Self::default() };
        let mut sector = 0;
        for (id, file) in &self.files {
            let bytes = file.image(true, || {
                sector += 1;
                keep(sector - 1)
            });
            image.files.insert(*id, FileState::new(bytes));
        }
        image.named(self.names.clone())
    }

    fn named(mut self, names: Names) -> Self {
        self.files.retain(|id, _| names.values().any(|named| named == id));
        self.durable_names.clone_from(&names);
        self.names = names;
        self
    }

    pub(super) fn unsynced_sectors(&self) -> usize {
        let sectors = |p: &Pending| p.buf.0.len() / SECTOR_BYTES;
        self.files.values().flat_map(|f| &f.pending).map(sectors).sum()
    }

    fn file(&mut self, id: FileId) -> &mut FileState {
        self.files.get_mut(&id).expect("files are never dropped, only their names")
    }
}

/// An open file of the simulated disk.
#[derive(Debug)]
pub struct SimFile {
    io: SimIo,
    name: String,
    id: FileId,
}

impl SimFile {
    pub(super) fn new(io: SimIo, name: String, id: FileId) -> Self {
        Self { io, name, id }
    }

    fn fail(&self, operation: &'static str, extent: Extent, kind: ErrorKind) -> IoError {
        let Extent { offset_bytes, len_bytes } = extent;
        let (file, len_bytes) = (self.name.clone(), len_bytes as u64);
        IoError { operation, file, offset_bytes, len_bytes, source: kind.into() }
    }
}

fn offset_of(extent: Extent) -> usize {
    assert!(extent.offset_bytes.is_multiple_of(BLOCK_BYTES as u64), "aligned offsets only");
    assert!(extent.len_bytes > 0 && extent.len_bytes.is_multiple_of(BLOCK_BYTES), "whole blocks");
    usize::try_from(extent.offset_bytes).expect("fits memory")
}

impl LogFile for SimFile {
    type Buf = SimBuf;
    type Read = SimBuf;

    fn name(&self) -> &str {
        &self.name
    }

    async fn write_at(&self, buf: Rc<SimBuf>, offset_bytes: u64) -> IoResult<()> {
        let extent = Extent { offset_bytes, len_bytes: buf.0.len() };
        let offset = offset_of(extent);
        self.io.world.note("write", &self.name, offset_bytes);
        let fault = self.io.write_fault();
        let capacity_bytes = self.io.faults.get().capacity_bytes;
        if self.io.disk.borrow().is_full_for(self.id, offset + buf.0.len(), capacity_bytes) {
            self.io.take_time().await;
            return Err(self.fail("write", extent, ErrorKind::StorageFull));
        }
        let number = {
            let mut disk = self.io.disk.borrow_mut();
            disk.writes_made += 1;
            let number = disk.writes_made;
            let write = Pending { number, offset, buf, completed: false };
            disk.file(self.id).pending.push(write);
            number
        };
        self.io.take_time().await;
        if let Some(kind) = fault {
            return Err(self.fail("write", extent, kind));
        }
        self.io.disk.borrow_mut().file(self.id).complete(number);
        Ok(())
    }

    async fn read_at(&self, extent: Extent) -> IoResult<SimBuf> {
        let offset = offset_of(extent);
        self.io.world.note("read", &self.name, extent.offset_bytes);
        self.io.take_time().await;
        if self.io.is_unreadable(extent) {
            return Err(self.fail("read", extent, ErrorKind::Other));
        }
        let mut disk = self.io.disk.borrow_mut();
        let bytes = disk.file(self.id).written.get(offset..offset + extent.len_bytes);
        let bytes = bytes.ok_or_else(|| self.fail("read", extent, ErrorKind::UnexpectedEof))?;
        Ok(SimBuf(bytes.to_vec()))
    }

    async fn sync(&self) -> IoResult<()> {
        self.io.world.note("sync", &self.name, 0);
        let fault = self.io.sync_fault();
        let covered: Vec<u64> = {
            let mut disk = self.io.disk.borrow_mut();
            let pending = disk.file(self.id).pending.iter();
            pending.filter(|p| p.completed).map(|p| p.number).collect()
        };
        self.io.take_time().await;
        if fault {
            let nowhere = Extent { offset_bytes: 0, len_bytes: 0 };
            return Err(self.fail("sync", nowhere, ErrorKind::Other));
        }
        self.io.disk.borrow_mut().file(self.id).sync(&covered);
        Ok(())
    }
}
