//! The tree of directories and files, without a kernel: what there is, and what a cut leaves.
//!
//! After a cut everything but the root has another number, so that nobody who still knows an old
//! one reaches what is there now.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

use fuser::Errno;

use crate::dice::Dice;
use crate::file::File;
use crate::loss::{Loss, Tally};
use crate::names::{Directory, Ino, Names};

/// The number of the root.
pub(crate) const ROOT: Ino = 1;

/// A directory or a file.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Directory(Directory),
    File(File),
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) body: Body,
    pub(crate) mode: u32,
    /// How often it is open: what is open stays when its name goes.
    opens: u32,
}

/// What there is.
#[derive(Debug)]
pub(crate) struct Disk {
    nodes: BTreeMap<Ino, Node>,
    ino_next: Ino,
    /// Nothing finds room that has none yet.
    pub(crate) is_full: bool,
}

pub(crate) type DiskResult<T> = Result<T, Errno>;

impl Disk {
    pub(crate) fn new() -> Self {
        let root = Node { body: Body::Directory(Directory::default()), mode: 0o755, opens: 0 };
        Self { nodes: BTreeMap::from([(ROOT, root)]), ino_next: ROOT + 1, is_full: false }
    }

    pub(crate) fn node(&self, ino: Ino) -> DiskResult<&Node> {
        self.nodes.get(&ino).ok_or(Errno::ESTALE)
    }

    fn node_mut(&mut self, ino: Ino) -> DiskResult<&mut Node> {
        self.nodes.get_mut(&ino).ok_or(Errno::ESTALE)
    }

    pub(crate) fn file(&self, ino: Ino) -> DiskResult<&File> {
        match &self.node(ino)?.body {
            Body::File(file) => Ok(file),
            Body::Directory(_) => Err(Errno::EISDIR),
        }
    }

    pub(crate) fn file_mut(&mut self, ino: Ino) -> DiskResult<&mut File> {
        match &mut self.node_mut(ino)?.body {
            Body::File(file) => Ok(file),
            Body::Directory(_) => Err(Errno::EISDIR),
        }
    }

    pub(crate) fn directory(&self, ino: Ino) -> DiskResult<&Directory> {
        match &self.node(ino)?.body {
            Body::Directory(directory) => Ok(directory),
            Body::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn directory_mut(&mut self, ino: Ino) -> DiskResult<&mut Directory> {
        match &mut self.node_mut(ino)?.body {
            Body::Directory(directory) => Ok(directory),
            Body::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn lookup(&self, parent: Ino, name: &OsStr) -> DiskResult<Ino> {
        self.directory(parent)?.get(name).ok_or(Errno::ENOENT)
    }

    pub(crate) fn make(
        &mut self,
        parent: Ino,
        name: &OsStr,
        (body, mode): (Body, u32),
    ) -> DiskResult<Ino> {
        if self.directory(parent)?.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        if self.is_full {
            return Err(Errno::ENOSPC);
        }
        let ino = self.ino_next;
        self.ino_next += 1;
        self.nodes.insert(ino, Node { body, mode: mode & 0o7777, opens: 0 });
        self.directory_mut(parent)?.create(name.to_owned(), ino);
        Ok(ino)
    }

    pub(crate) fn unlink(&mut self, parent: Ino, name: &OsStr) -> DiskResult<()> {
        let ino = self.lookup(parent, name)?;
        self.file(ino)?;
        self.directory_mut(parent)?.remove(name.to_owned(), ino);
        Ok(())
    }

    pub(crate) fn rmdir(&mut self, parent: Ino, name: &OsStr) -> DiskResult<()> {
        let ino = self.lookup(parent, name)?;
        if !self.directory(ino)?.names().is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.directory_mut(parent)?.remove(name.to_owned(), ino);
        Ok(())
    }

    /// Within one directory only: then it is one change, which is kept or lost as a whole.
    pub(crate) fn rename(&mut self, parent: Ino, from: &OsStr, to: &OsStr) -> DiskResult<()> {
        let ino = self.lookup(parent, from)?;
        if let Ok(replaced) = self.lookup(parent, to) {
            self.file(replaced)?;
        }
        self.directory_mut(parent)?.rename(from.to_owned(), to.to_owned(), ino);
        Ok(())
    }

    pub(crate) fn write(&mut self, ino: Ino, offset: u64, bytes: &[u8]) -> DiskResult<()> {
        self.check_room(ino, offset + bytes.len() as u64)?;
        self.file_mut(ino)?.write(offset, bytes);
        Ok(())
    }

    /// Makes the file at least so long.
    pub(crate) fn grow(&mut self, ino: Ino, len_bytes: u64) -> DiskResult<()> {
        self.check_room(ino, len_bytes)?;
        if len_bytes > self.file(ino)?.len_bytes() {
            self.file_mut(ino)?.set_len(len_bytes);
        }
        Ok(())
    }

    pub(crate) fn set_len(&mut self, ino: Ino, len_bytes: u64) -> DiskResult<()> {
        self.check_room(ino, len_bytes)?;
        if len_bytes != self.file(ino)?.len_bytes() {
            self.file_mut(ino)?.set_len(len_bytes);
        }
        Ok(())
    }

    fn check_room(&self, ino: Ino, len_bytes: u64) -> DiskResult<()> {
        let grows = len_bytes > self.file(ino)?.len_bytes();
        if self.is_full && grows { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    pub(crate) fn set_mode(&mut self, ino: Ino, mode: u32) -> DiskResult<()> {
        self.node_mut(ino)?.mode = mode & 0o7777;
        Ok(())
    }

    pub(crate) fn open(&mut self, ino: Ino) -> DiskResult<()> {
        self.node_mut(ino)?.opens += 1;
        Ok(())
    }

    pub(crate) fn close(&mut self, ino: Ino) {
        if let Ok(node) = self.node_mut(ino) {
            node.opens = node.opens.saturating_sub(1);
        }
    }

    /// Forgets files that have no name, will have none after a cut, and are not open.
    pub(crate) fn forget_unnamed(&mut self) {
        let mut named: BTreeSet<Ino> = BTreeSet::from([ROOT]);
        for node in self.nodes.values() {
            if let Body::Directory(directory) = &node.body {
                named.extend(directory.inos());
            }
        }
        self.nodes.retain(|ino, node| named.contains(ino) || node.opens > 0);
    }

    /// Bytes that all files take up in memory.
    pub(crate) fn held_bytes(&self) -> u64 {
        let held = |node: &Node| match &node.body {
            Body::File(file) => file.held_bytes(),
            Body::Directory(_) => 0,
        };
        self.nodes.values().map(held).sum()
    }

    /// Takes the power away: what is there afterwards is what survived.
    pub(crate) fn cut(&mut self, dice: &mut Dice, tally: &mut Tally) {
        let loss = Loss::draw(dice);
        let mut after = BTreeMap::new();
        // Directories whose names are still to be followed, by their number before and after.
        let mut open = vec![(ROOT, ROOT)];
        while let Some((before, ino)) = open.pop() {
            let Some(Node { body: Body::Directory(directory), mode, .. }) = self.nodes.get(&before)
            else {
                continue;
            };
            let mut names = Names::new();
            for (name, child) in directory.cut(&loss, dice, tally) {
                let Some(node) = self.nodes.get(&child) else { continue };
                let new = self.ino_next;
                self.ino_next += 1;
                match &node.body {
                    Body::Directory(_) => open.push((child, new)),
                    Body::File(file) => {
                        let body = Body::File(file.cut(&loss, dice, tally));
                        after.insert(new, Node { body, mode: node.mode, opens: 0 });
                    }
                }
                names.insert(name, new);
            }
            let body = Body::Directory(Directory::with(names));
            after.insert(ino, Node { body, mode: *mode, opens: 0 });
        }
        self.nodes = after;
        tally.cuts += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &mut Disk, parent: Ino, name: &str) -> Ino {
        let body = Body::File(File::default());
        disk.make(parent, OsStr::new(name), (body, 0o600)).unwrap()
    }

    #[test]
    fn a_file_without_a_durable_name_may_be_gone_though_its_bytes_are_durable() {
        let is_there = |seed| {
            let mut disk = Disk::new();
            let ino = file(&mut disk, ROOT, "a");
            disk.write(ino, 0, &[1; 512]).unwrap();
            let bytes = disk.file_mut(ino).unwrap();
            bytes.sync(bytes.covered());
            disk.cut(&mut Dice::new(seed), &mut Tally::default());
            assert!(disk.file(ino).is_err(), "the old number is not valid any more");
            let found = disk.lookup(ROOT, OsStr::new("a")).ok();
            found.inspect(|ino| assert_eq!(disk.file(*ino).unwrap().read(0, 512), [1; 512]))
        };
        let there = (0..100).filter(|seed| is_there(*seed).is_some()).count();
        assert!((1..100).contains(&there), "{there} of 100");
    }

    #[test]
    fn what_is_in_a_lost_directory_is_lost() {
        let is_there = |seed| {
            let mut disk = Disk::new();
            let body = Body::Directory(Directory::default());
            let inner = disk.make(ROOT, OsStr::new("d"), (body, 0o700)).unwrap();
            file(&mut disk, inner, "a");
            let names = disk.directory_mut(inner).unwrap();
            names.sync(names.covered());
            disk.cut(&mut Dice::new(seed), &mut Tally::default());
            let inner = disk.lookup(ROOT, OsStr::new("d")).ok();
            inner.inspect(|inner| assert!(disk.lookup(*inner, OsStr::new("a")).is_ok())).is_some()
        };
        let there = (0..100).filter(|seed| is_there(*seed)).count();
        assert!((1..100).contains(&there), "{there} of 100");
    }

    #[test]
    fn a_full_disk_takes_what_has_room_already() {
        let mut disk = Disk::new();
        let ino = file(&mut disk, ROOT, "a");
        disk.grow(ino, 4096).unwrap();
        disk.is_full = true;
        disk.write(ino, 0, &[1; 4096]).unwrap();
        assert!(disk.write(ino, 4096, &[1; 512]).is_err());
        assert!(disk.grow(ino, 4097).is_err());
        let body = Body::File(File::default());
        assert!(disk.make(ROOT, OsStr::new("b"), (body, 0o600)).is_err());
    }

    #[test]
    fn an_open_file_outlives_its_name() {
        let mut disk = Disk::new();
        let ino = file(&mut disk, ROOT, "a");
        disk.open(ino).unwrap();
        disk.unlink(ROOT, OsStr::new("a")).unwrap();
        let names = disk.directory_mut(ROOT).unwrap();
        names.sync(names.covered());
        disk.forget_unnamed();
        assert!(disk.file(ino).is_ok());
        disk.close(ino);
        disk.forget_unnamed();
        assert!(disk.file(ino).is_err());
    }
}
