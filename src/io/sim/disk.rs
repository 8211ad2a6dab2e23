//! The simulated disk: what was written, what is durable, and what a crash makes of the rest.
//!
//! * A file reads as everything written to it; each write is remembered until a sync covers it.
//! * A sync makes durable the writes that had completed when it began. A write under way then, or
//!   one that failed, may reach the disk at any time, or never.
//! * A file's new length is made durable by its sync, its name by a sync of the directory.
//! * In a power cut every sector of every remembered write is kept or lost by itself; kept ones
//!   land in the order of the writes. Changes of names are kept or lost each by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::rc::Rc;

use super::faults::{FaultCounts, FaultKind};
use super::file::SimBuf;
use super::{Loss, Stream};

/// What a disk writes whole or not at all, in bytes.
pub(super) const SECTOR_BYTES: usize = 512;
/// A file, whatever its name is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

/// A write that no sync covers yet.
#[derive(Debug, Clone)]
struct Pending {
    number: u64,
    offset: usize,
    buf: Rc<SimBuf>,
    /// How much of it is written, from its beginning.
    len: usize,
    completed: bool,
}

impl Pending {
    fn bytes(&self) -> &[u8] {
        &self.buf.as_ref().as_ref()[..self.len]
    }
}

#[derive(Debug, Clone, Default)]
struct FileState {
    written: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// Sectors, by number, that cannot be read until they are written again.
    unreadable: BTreeSet<usize>,
}

impl FileState {
    fn new(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), written: bytes, ..Self::default() }
    }

    fn complete(&mut self, number: u64) {
        let pending = self.pending.iter_mut().find(|p| p.number == number);
        let pending = pending.expect("no sync covers a write under way");
        pending.completed = true;
        let sectors = sectors(pending.offset, pending.bytes().len());
        self.unreadable.retain(|sector| !sectors.contains(sector));
        put(&mut self.written, pending.offset, pending.bytes());
    }

    /// Makes durable the writes in `covered`, and the file's length.
    fn sync(&mut self, covered: &[u64]) {
        self.durable.resize(self.written.len(), 0);
        let (now_durable, rest) = self.pending.drain(..).partition(|p| covered.contains(&p.number));
        self.pending = rest;
        let now_durable: Vec<Pending> = now_durable;
        for write in now_durable {
            put(&mut self.durable, write.offset, write.bytes());
        }
    }

    /// The file after a crash; `keep` is asked about every sector in question.
    fn image(
        &self,
        keep_length: bool,
        counts: &mut FaultCounts,
        mut keep: impl FnMut(Question) -> bool,
    ) -> Self {
        let mut bytes = self.durable.clone();
        if keep_length && bytes.len() < self.written.len() {
            bytes.resize(self.written.len(), 0);
        }
        let mut earlier_lost = false;
        for write in &self.pending {
            let (mut kept, mut lost) = (0, 0);
            for (index, sector) in write.bytes().chunks(SECTOR_BYTES).enumerate() {
                let at = write.offset + index * SECTOR_BYTES;
                let before = bytes.get(at..at + SECTOR_BYTES);
                let changes = before.is_none_or(|before| before != sector);
                if keep(Question { changes, write: write.number }) {
                    put(&mut bytes, at, sector);
                    kept += u64::from(changes);
                } else {
                    lost += u64::from(changes);
                }
            }
            match (kept, lost) {
                (0, 0) => {}
                (0, _) => counts.add(FaultKind::LostUnsynced),
                (_, 0) => {}
                _ => counts.add(FaultKind::TornWrite),
            }
            if kept > 0 && earlier_lost {
                counts.add(FaultKind::Reordered);
            }
            earlier_lost |= kept == 0 && lost > 0;
        }
        Self { unreadable: self.unreadable.clone(), ..Self::new(bytes) }
    }
}

/// A sector of a write that no sync covers, when it is asked whether a crash keeps it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    /// Whether it makes a difference to what is there without it.
    pub(super) changes: bool,
    /// Which write it is of.
    pub(super) write: u64,
}

/// Numbers of the sectors that these bytes lie in.
fn sectors(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / SECTOR_BYTES..(offset + len).div_ceil(SECTOR_BYTES)
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

    pub(super) fn image(&self, dice: &mut Stream, loss: Loss, counts: &mut FaultCounts) -> Self {
        if loss == Loss::Process {
            return self.after_process(dice);
        }
        let mut names = self.durable_names.clone();
        for change in &self.changes {
            if dice.coin() {
                change.apply(&mut names);
            } else {
                counts.add(FaultKind::LostName);
            }
        }
        let mut image = Self { files_made: self.files_made, ..Self::default() };
        for (id, file) in &self.files {
            let keep_length = dice.coin();
            image.files.insert(*id, file.image(keep_length, counts, |_| dice.coin()));
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

    /// As [`super::SimIo::crash_keeping`].
    pub(super) fn image_keeping(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut sector = 0;
        self.image_choosing(self.names.clone(), |_| {
            sector += 1;
            keep(sector - 1)
        })
    }

    /// What a crash leaves that keeps these names, and the sectors that `keep` says.
    fn image_choosing(&self, names: Names, mut keep: impl FnMut(Question) -> bool) -> Self {
        let mut image = Self { files_made: self.files_made, ..Self::default() };
        for (id, file) in &self.files {
            let file = file.image(true, &mut FaultCounts::default(), &mut keep);
            image.files.insert(*id, file);
        }
        image.named(names)
    }

    /// What is open if the power goes now: sectors that make a difference when all before them are
    /// kept, each with its write, then changes of names.
    pub(super) fn open_questions(&self) -> (Vec<u64>, usize) {
        let mut sectors = Vec::new();
        self.image_choosing(self.names.clone(), |question| {
            if question.changes {
                sectors.push(question.write);
            }
            true
        });
        (sectors, self.changes.len())
    }

    /// The directory after a crash that keeps, of what is open, what these say.
    pub(super) fn image_of(
        &self,
        mut keep_sector: impl FnMut(usize) -> bool,
        mut keep_name: impl FnMut(usize) -> bool,
    ) -> Self {
        let mut changing = BTreeSet::new();
        let mut asked = 0;
        self.image_choosing(self.names.clone(), |question| {
            asked += 1;
            if question.changes {
                changing.insert(asked);
            }
            true
        });
        let mut names = self.durable_names.clone();
        let changes = self.changes.iter().enumerate();
        changes.filter(|(at, _)| keep_name(*at)).for_each(|(_, change)| change.apply(&mut names));
        let (mut asked, mut ordinal) = (0, 0);
        self.image_choosing(names, |_| {
            asked += 1;
            let counts = changing.contains(&asked);
            ordinal += usize::from(counts);
            !counts || keep_sector(ordinal - 1)
        })
    }

    fn named(mut self, names: Names) -> Self {
        self.files.retain(|id, _| names.values().any(|named| named == id));
        self.durable_names.clone_from(&names);
        self.names = names;
        self
    }

    pub(super) fn unsynced_sectors(&self) -> usize {
        let sectors = |p: &Pending| p.len / SECTOR_BYTES;
        self.files.values().flat_map(|f| &f.pending).map(sectors).sum()
    }

    fn file(&mut self, id: FileId) -> &mut FileState {
        self.files.get_mut(&id).expect("files are never dropped, only their names")
    }

    /// Begins to write the first `len` bytes of `buf`; returns the write's number.
    pub(super) fn begin(&mut self, id: FileId, offset: usize, buf: Rc<SimBuf>, len: usize) -> u64 {
        self.writes_made += 1;
        let number = self.writes_made;
        let write = Pending { number, offset, buf, len, completed: false };
        self.file(id).pending.push(write);
        number
    }

    /// A write has happened.
    pub(super) fn complete(&mut self, id: FileId, number: u64) {
        self.file(id).complete(number);
    }

    /// The writes that a sync which begins now covers.
    pub(super) fn completed(&mut self, id: FileId) -> Vec<u64> {
        let pending = self.file(id).pending.iter();
        pending.filter(|p| p.completed).map(|p| p.number).collect()
    }

    /// Makes durable the writes in `covered`, and the file's length.
    pub(super) fn sync(&mut self, id: FileId, covered: &[u64]) {
        self.file(id).sync(covered);
    }

    /// Bytes of a file as they read now; `None` beyond its end.
    pub(super) fn read(&self, id: FileId, offset: usize, len: usize) -> Option<&[u8]> {
        self.files[&id].written.get(offset..offset + len)
    }

    /// Whether any of these bytes lies in a sector that cannot be read.
    pub(super) fn is_unreadable(&self, id: FileId, offset: usize, len: usize) -> bool {
        self.files[&id].unreadable.range(sectors(offset, len)).next().is_some()
    }

    /// Has the sector with this byte be unreadable until it is written again.
    pub(super) fn spoil(&mut self, id: FileId, offset: usize) {
        self.file(id).unreadable.insert(offset / SECTOR_BYTES);
    }

    /// Flips a bit where it lies, durably.
    pub(super) fn flip(&mut self, id: FileId, offset: usize, bit: u8) {
        let file = self.file(id);
        for bytes in [&mut file.written, &mut file.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= 1 << bit;
            }
        }
    }

    /// Some place at which `len` bytes fit, in any file that has a name, other than the one given.
    pub(super) fn elsewhere(
        &self,
        not: (FileId, usize),
        len: usize,
        dice: &mut Stream,
    ) -> Option<(FileId, usize)> {
        const BLOCK: usize = crate::io::BLOCK_BYTES;
        let blocks = |id: FileId| {
            let end = self.files[&id].written.len();
            let last = end.checked_sub(len).map_or(0, |last| last / BLOCK + 1);
            (0..last).map(move |block| (id, block * BLOCK))
        };
        // Mostly in the same file: that is where a wrong address most likely points.
        let same: Vec<_> = blocks(not.0).filter(|place| *place != not).collect();
        let any: Vec<_> =
            self.names.values().copied().flat_map(blocks).filter(|p| *p != not).collect();
        let places = if dice.below(4) > 0 && !same.is_empty() { same } else { any };
        (!places.is_empty()).then(|| places[dice.index(places.len())])
    }

    /// What tells one state of the disk from another, open questions included.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (id, file) in &self.files {
            (id.0, &file.durable, file.written.len(), &file.unreadable).hash(&mut hasher);
            for write in &file.pending {
                (write.offset, write.bytes()).hash(&mut hasher);
            }
        }
        let names = [&self.names, &self.durable_names];
        for (name, id) in names.into_iter().flatten() {
            (name, id.0).hash(&mut hasher);
        }
        self.changes.len().hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn name_of(&self, id: FileId) -> String {
        let name = self.names.iter().find(|(_, named)| **named == id);
        name.map_or_else(String::new, |(name, _)| name.clone())
    }
}
