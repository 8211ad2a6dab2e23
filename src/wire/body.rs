//! A received body, owned and contiguous, inside the buffer it was received into.

use bytes::Bytes;

/// Bytes `start..end` of a receive buffer that its connection has given away.
///
/// The whole buffer travels, so a body goes from the socket to the decoder, and on to another
/// core, without a copy.
#[derive(Debug, Default)]
pub struct BodyBuf {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl BodyBuf {
    /// Takes over `buf`, of which `start..end` is the body.
    ///
    /// # Panics
    ///
    /// When the range is not inside the buffer: the caller's arithmetic is wrong.
    #[must_use]
    pub fn new(buf: Vec<u8>, start: usize, end: usize) -> Self {
        assert!(start <= end && end <= buf.len());
        Self { buf, start, end }
    }

    /// The body's bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// The body's bytes, for decoders that unescape in place.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.end]
    }

    /// The body's length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether the body has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The buffer, and where the body starts in it (bytes).
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, usize) {
        (self.buf, self.start)
    }
}

/// A received body, in a buffer of its own or in a part of a shared one.
#[derive(Debug)]
pub enum Body {
    /// Alone in its buffer.
    Buf(BodyBuf),
    /// In a buffer that others share.
    Shared(Bytes),
}

impl Body {
    /// The body's bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Buf(buf) => buf.as_slice(),
            Self::Shared(bytes) => bytes,
        }
    }

    /// The body alone in a buffer, for decoders that unescape in place; a shared one is copied.
    #[must_use]
    pub fn into_buf(self) -> BodyBuf {
        match self {
            Self::Buf(buf) => buf,
            Self::Shared(bytes) => BodyBuf::from(Vec::from(bytes)),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Buf(BodyBuf::default())
    }
}

impl From<Vec<u8>> for Body {
    fn from(buf: Vec<u8>) -> Self {
        Self::Buf(buf.into())
    }
}

impl From<Vec<u8>> for BodyBuf {
    fn from(buf: Vec<u8>) -> Self {
        let end = buf.len();
        Self { buf, start: 0, end }
    }
}
