//! A complete request that owns the bytes it arrived in.

use crate::wire::BodyBuf;

use super::head::{Head, HeadRef};

/// Head and body of one request in one buffer; independent of its connection.
///
/// A request whose body is streamed has an empty body here.
#[derive(Debug)]
pub struct Request {
    head: Head,
    buf: Vec<u8>,
    /// Where the head starts in `buf`; it ends where the body starts, chunk framing aside.
    head_at: usize,
    body_at: usize,
    body_end: usize,
}

impl Request {
    /// The request whose head starts at `head_at` of `buf` and is `head_bytes` long, with its
    /// body right behind it.
    pub(super) fn new(
        head: Head,
        (buf, head_at): (Vec<u8>, usize),
        head_bytes: usize,
        body_bytes: usize,
    ) -> Self {
        let body_at = head_at + head_bytes;
        assert!(body_at + body_bytes <= buf.len());
        Self { head, buf, head_at, body_at, body_end: body_at + body_bytes }
    }

    /// The request's head.
    #[must_use]
    pub fn head(&self) -> HeadRef<'_> {
        HeadRef::new(&self.head, &self.buf[self.head_at..self.body_at])
    }

    /// The request's body, de-chunked; empty when there is none.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.buf[self.body_at..self.body_end]
    }

    /// The body with the buffer it lies in; the head is given up. Nothing is copied.
    ///
    /// When the body is done with, its buffer belongs back in
    /// [`Conn::recycle`](super::Conn::recycle).
    #[must_use]
    pub fn into_body(self) -> BodyBuf {
        BodyBuf::new(self.buf, self.body_at, self.body_end)
    }
}
