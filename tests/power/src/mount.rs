//! The file system as the kernel sees it: each request becomes an operation of the disk.
//!
//! Nothing is cached: files are opened for direct I/O, names and attributes are valid for no time.
//! Locks (`flock`) are the kernel's own. What the server does not use (links, extended attributes,
//! holes) is answered as not there.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};

use crate::disk::{Body, Disk, DiskResult};
use crate::file::{File, SECTOR_BYTES};
use crate::names::{Directory, Ino};
use crate::power::{Pace, Power, State};

/// How long the kernel may believe what it was told.
const NO_TIME: Duration = Duration::ZERO;
const BLOCK_BYTES: u32 = 4096;
/// Longest request of the kernel's.
const WRITE_BYTES_MAX: u32 = 1 << 20;
/// What the disk claims to have room for, in blocks.
const BLOCKS: u64 = 1 << 20;

/// See the module.
pub(crate) struct Mounted(pub(crate) Arc<Power>);

fn attributes(disk: &Disk, ino: Ino) -> DiskResult<FileAttr> {
    let node = disk.node(ino)?;
    let (kind, size, nlink) = match &node.body {
        Body::Directory(_) => (FileType::Directory, 0, 2),
        Body::File(file) => (FileType::RegularFile, file.len_bytes(), 1),
    };
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(SECTOR_BYTES as u64),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: u16::try_from(node.mode).unwrap_or(0o700),
        nlink,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    })
}

/// Direct I/O whatever the opener asked for; writes that do not make the file longer may overlap.
fn direct() -> FopenFlags {
    FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
}

fn entry(reply: ReplyEntry, done: DiskResult<FileAttr>) {
    match done {
        Ok(attr) => reply.entry(&NO_TIME, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attr(reply: ReplyAttr, done: DiskResult<FileAttr>) {
    match done {
        Ok(attr) => reply.attr(&NO_TIME, &attr),
        Err(error) => reply.error(error),
    }
}

fn empty(reply: ReplyEmpty, done: DiskResult<()>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Mounted {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let refused = |_| io::Error::other("the kernel does not take this size of writes");
        config.set_max_write(WRITE_BYTES_MAX).map_err(refused)?;
        // Pieces of one long write go out together where the kernel can do that.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let find = |disk: &Disk| attributes(disk, disk.lookup(parent.0, name)?);
        self.0.run(|state| find(&state.disk), |done| entry(reply, done));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.0.run(|state| attributes(&state.disk, ino.0), |done| attr(reply, done));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = |disk: &mut Disk| {
            mode.map_or(Ok(()), |mode| disk.set_mode(ino.0, mode))?;
            size.map_or(Ok(()), |size| disk.set_len(ino.0, size))?;
            attributes(disk, ino.0)
        };
        self.0.run(|state| set(&mut state.disk), |done| attr(reply, done));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let body = Body::Directory(Directory::default());
        let make = |disk: &mut Disk| {
            let ino = disk.make(parent.0, name, (body, mode & !umask))?;
            attributes(disk, ino)
        };
        self.0.run(|state| make(&mut state.disk), |done| entry(reply, done));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let body = Body::File(File::default());
        let make = |disk: &mut Disk| {
            let ino = disk.make(parent.0, name, (body, mode & !umask))?;
            disk.open(ino)?;
            attributes(disk, ino)
        };
        self.0.run(
            |state| make(&mut state.disk),
            |done| match done {
                Ok(attr) => {
                    reply.created(&NO_TIME, &attr, Generation(0), FileHandle(0), direct());
                }
                Err(error) => reply.error(error),
            },
        );
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.0.run(|state| state.disk.unlink(parent.0, name), |done| empty(reply, done));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.0.run(|state| state.disk.rmdir(parent.0, name), |done| empty(reply, done));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let is_plain = parent == newparent && flags.is_empty();
        let rename = |disk: &mut Disk| {
            if is_plain { disk.rename(parent.0, name, newname) } else { Err(Errno::EXDEV) }
        };
        self.0.run(|state| rename(&mut state.disk), |done| empty(reply, done));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.0.run(
            |state| state.disk.open(ino.0),
            |done| match done {
                Ok(()) => reply.opened(FileHandle(0), direct()),
                Err(error) => reply.error(error),
            },
        );
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.0.run(
            |state| {
                state.disk.close(ino.0);
                Ok(())
            },
            |done| empty(reply, done),
        );
    }

    fn flush(
        &self,
        _: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.0.run(|_| Ok(()), |done| empty(reply, done));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.0.run_slowly(
            Pace::Read,
            |state| state.read(ino.0, offset, size as usize),
            |_, bytes| Ok(bytes),
            |done| match done {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(error),
            },
        );
    }

    /// The bytes may reach the disk as soon as it has them, also when the power goes before the
    /// answer.
    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let len_bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.0.run_slowly(
            Pace::Write,
            |state| state.write(ino.0, offset, data),
            |_, ()| Ok(()),
            |done| match done {
                Ok(()) => reply.written(len_bytes),
                Err(error) => reply.error(error),
            },
        );
    }

    /// Room comes without bytes: what was not written reads as zeros.
    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.0.run(
            |state| {
                if mode != 0 {
                    return Err(Errno::EOPNOTSUPP);
                }
                state.disk.grow(ino.0, offset + length)
            },
            |done| empty(reply, done),
        );
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.run_slowly(
            Pace::Sync,
            |state| Ok(state.disk.file(ino.0)?.covered()),
            |state, covered| state.sync_file(ino.0, covered),
            |done| empty(reply, done),
        );
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.run_slowly(
            Pace::Sync,
            |state| Ok(state.disk.directory(ino.0)?.covered()),
            |state, covered| state.sync_directory(ino.0, covered),
            |done| empty(reply, done),
        );
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.0.run(
            |state| state.open_directory(ino.0),
            |done| match done {
                Ok(number) => reply.opened(FileHandle(number), FopenFlags::empty()),
                Err(error) => reply.error(error),
            },
        );
    }

    fn releasedir(
        &self,
        _: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.0.run(
            |state| {
                state.close_directory(fh.0);
                Ok(())
            },
            |done| empty(reply, done),
        );
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let list = |state: &State| {
            let kind = |ino: Ino| match state.disk.node(ino).map(|node| &node.body) {
                Ok(Body::Directory(_)) => FileType::Directory,
                _ => FileType::RegularFile,
            };
            let dots = [".", ".."].map(|dot| (dot.into(), ino.0));
            let listing = state.listing(fh.0)?;
            let all = dots.iter().chain(&*listing);
            Ok(all.map(|(name, ino)| (name.clone(), *ino, kind(*ino))).collect::<Vec<_>>())
        };
        self.0.run(
            |state| list(state),
            |done| match done {
                Ok(all) => {
                    let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
                    for (index, (name, ino, kind)) in all.into_iter().enumerate().skip(skipped) {
                        if reply.add(INodeNo(ino), index as u64 + 1, kind, name) {
                            break;
                        }
                    }
                    reply.ok();
                }
                Err(error) => reply.error(error),
            },
        );
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let free = |is_full| if is_full { 0 } else { BLOCKS / 2 };
        self.0.run(
            |state| Ok(free(state.disk.is_full)),
            |done| match done {
                Ok(free) => reply.statfs(BLOCKS, free, free, 0, 0, BLOCK_BYTES, 255, BLOCK_BYTES),
                Err(error) => reply.error(error),
            },
        );
    }
}
