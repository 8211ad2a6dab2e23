//! The bytes that a decoded batch points into, as they were received.

use std::ops::Deref;

use bytes::Bytes;

use super::reused::Reused;

/// A receive buffer that a batch keeps: given away whole by its connection, or a part of one that
/// other batches share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A buffer of its own, which may be used again afterwards.
    Own(Vec<u8>),
    /// A part of a buffer that is shared and counted.
    Shared(Bytes),
    /// A small message that was put together.
    Small(Reused<u8>),
}

impl Payload {
    /// The buffer, to be used again, when it is the batch's own; otherwise an empty one.
    #[must_use]
    pub fn into_spare(self) -> Vec<u8> {
        match self {
            Self::Own(buf) => buf,
            Self::Shared(_) | Self::Small(_) => Vec::new(),
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(buf) => buf,
            Self::Shared(bytes) => bytes,
            Self::Small(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(buf: Vec<u8>) -> Self {
        Self::Own(buf)
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(bytes)
    }
}

impl From<Reused<u8>> for Payload {
    fn from(bytes: Reused<u8>) -> Self {
        Self::Small(bytes)
    }
}
