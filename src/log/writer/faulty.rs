//! Where bugs are planted in the writer that would change its course; without them, a plain sync.

use std::rc::Rc;

use super::{DurableFrame, Writer};
use crate::io::{Io, IoError, LogFile};
use crate::log::format::FRAME_HEADER_BYTES;
use crate::planted::{self, Bug};

impl<I: Io, N> Writer<I, N> {
    pub(super) async fn sync_group(&self, file: &I::File) -> Result<(), IoError> {
        if planted::has(Bug::AckBeforeSync) {
            return Ok(());
        }
        match file.sync().await {
            Err(_) if planted::has(Bug::SyncTriedAgain) => file.sync().await,
            synced => synced,
        }
    }

    /// What the disk finds of a frame when its memory is taken for the next group too early; only
    /// for [`Bug::BufferReused`].
    pub(super) fn reused(&self, frame: &DurableFrame<I::Buf, N>) -> Rc<I::Buf> {
        let bytes = (*frame.buf).as_ref();
        let mut other = self.io.alloc(bytes.len());
        other.as_mut()[..FRAME_HEADER_BYTES].copy_from_slice(&bytes[..FRAME_HEADER_BYTES]);
        Rc::new(other)
    }
}
