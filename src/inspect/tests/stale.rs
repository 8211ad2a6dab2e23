//! A disk on which some reads come too early: they miss what a server writes at that moment.

use std::cell::Cell;
use std::rc::Rc;

use glommio::io::DmaBuffer;

use crate::io::glommio::{GlommioFile, GlommioIo};
use crate::io::{BLOCK_BYTES, Disk, Extent, IoResult, LogFile};

/// The real disk, but the first `stale_reads` that cover `block` of `file` find zeros in it.
pub(super) struct StaleDisk {
    pub(super) inner: GlommioIo,
    pub(super) file: &'static str,
    pub(super) block: u64,
    pub(super) stale_reads: Rc<Cell<u32>>,
}

pub(super) struct StaleFile {
    inner: GlommioFile,
    block: Option<u64>,
    stale_reads: Rc<Cell<u32>>,
}

impl LogFile for StaleFile {
    type Buf = DmaBuffer;
    type Read = Vec<u8>;

    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn write_at(&self, _: Rc<DmaBuffer>, _: u64) -> IoResult<()> {
        panic!("inspection does not write");
    }

    async fn read_at(&self, extent: Extent) -> IoResult<Vec<u8>> {
        let mut buf = self.inner.read_at(extent).await?.as_ref().to_vec();
        let at = self.block.and_then(|b| (b * BLOCK_BYTES as u64).checked_sub(extent.offset_bytes));
        if let Some(at) = at.and_then(|at| usize::try_from(at).ok())
            && let Some(block) = buf.get_mut(at..at + BLOCK_BYTES)
            && let Some(left) = self.stale_reads.get().checked_sub(1)
        {
            self.stale_reads.set(left);
            block.fill(0);
        }
        Ok(buf)
    }

    async fn sync(&self) -> IoResult<()> {
        panic!("inspection does not write");
    }
}

impl Disk for StaleDisk {
    type Buf = DmaBuffer;
    type File = StaleFile;

    fn alloc(&self, len_bytes: usize) -> DmaBuffer {
        self.inner.alloc(len_bytes)
    }

    async fn create(&self, _: &str, _: u64) -> IoResult<StaleFile> {
        panic!("inspection does not write");
    }

    async fn open(&self, name: &str) -> IoResult<StaleFile> {
        let block = (name == self.file).then_some(self.block);
        let inner = self.inner.open(name).await?;
        Ok(StaleFile { inner, block, stale_reads: Rc::clone(&self.stale_reads) })
    }

    fn list(&self) -> IoResult<Vec<(String, u64)>> {
        self.inner.list()
    }

    fn rename(&self, _: &str, _: &str) -> IoResult<()> {
        panic!("inspection does not write");
    }

    fn remove(&self, _: &str) -> IoResult<()> {
        panic!("inspection does not write");
    }

    async fn sync_dir(&self) -> IoResult<()> {
        panic!("inspection does not write");
    }
}
