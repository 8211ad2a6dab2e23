//! Files and memory of the simulated disk: what a shard holds of it.

use std::io::ErrorKind;
use std::rc::Rc;

use super::SimIo;
use super::disk::FileId;
use super::faults::{FaultKind, Mishap, WriteFault};
use crate::io::{BLOCK_BYTES, Buffer, Extent, IoError, IoResult, LogFile};

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

    /// Remembers what the disk did to a write, unnoticed.
    fn mishap(&self, kind: FaultKind, extent: Extent, landed: Option<(FileId, usize)>) {
        let disk = self.io.disk.borrow();
        let landed = landed.map(|(id, at)| (disk.name_of(id), at as u64));
        let at_us = self.io.world.now_us.get();
        let file = self.name.clone();
        self.io.mishaps.borrow_mut().push(Mishap { kind, at_us, file, extent, landed });
        self.io.count(kind);
    }

    /// Writes to another place, and says that all is well.
    async fn write_elsewhere(&self, buf: Rc<SimBuf>, extent: Extent) -> IoResult<()> {
        let (here, len) = ((self.id, offset_of(extent)), buf.0.len());
        let place = {
            let disk = self.io.disk.borrow();
            disk.elsewhere(here, len, &mut self.io.dice.borrow_mut().misdirected)
        };
        let (id, offset) = place.expect("a file of more than one block");
        self.mishap(FaultKind::Misdirected, extent, place);
        let number = self.io.disk.borrow_mut().begin(id, offset, buf, len);
        self.io.take_time().await;
        self.io.disk.borrow_mut().complete(id, number);
        Ok(())
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
            self.io.count(FaultKind::NoSpace);
            self.io.take_time().await;
            return Err(self.fail("write", extent, ErrorKind::StorageFull));
        }
        match fault {
            Some(WriteFault::Lost) => {
                self.mishap(FaultKind::LostWrite, extent, None);
                self.io.take_time().await;
                return Ok(());
            }
            Some(WriteFault::Misdirected) => return self.write_elsewhere(buf, extent).await,
            Some(WriteFault::Failed(_) | WriteFault::Short) | None => {}
        }
        let len = match fault {
            Some(WriteFault::Short) => self.io.short_of(buf.0.len()),
            _ => buf.0.len(),
        };
        let number = self.io.disk.borrow_mut().begin(self.id, offset, buf, len);
        self.io.take_time().await;
        if let Some(WriteFault::Failed(kind)) = fault {
            return Err(self.fail("write", extent, kind));
        }
        self.io.disk.borrow_mut().complete(self.id, number);
        if fault.is_some() {
            return Err(self.fail("write", extent, ErrorKind::WriteZero));
        }
        Ok(())
    }

    async fn read_at(&self, extent: Extent) -> IoResult<SimBuf> {
        let offset = offset_of(extent);
        self.io.world.note("read", &self.name, extent.offset_bytes);
        self.io.take_time().await;
        let disk = self.io.disk.borrow();
        if self.io.is_unreadable(extent) || disk.is_unreadable(self.id, offset, extent.len_bytes) {
            self.io.count(FaultKind::Unreadable);
            return Err(self.fail("read", extent, ErrorKind::Other));
        }
        let bytes = disk.read(self.id, offset, extent.len_bytes);
        let bytes = bytes.ok_or_else(|| self.fail("read", extent, ErrorKind::UnexpectedEof))?;
        Ok(SimBuf(bytes.to_vec()))
    }

    async fn sync(&self) -> IoResult<()> {
        self.io.world.note("sync", &self.name, 0);
        let fault = self.io.sync_fault();
        let covered = self.io.disk.borrow_mut().completed(self.id);
        self.io.take_time().await;
        if fault {
            let nowhere = Extent { offset_bytes: 0, len_bytes: 0 };
            return Err(self.fail("sync", nowhere, ErrorKind::Other));
        }
        self.io.disk.borrow_mut().sync(self.id, &covered);
        Ok(())
    }
}
