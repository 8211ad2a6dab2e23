//! The receive buffer: one growable vector, of which `start..end` holds what was received and is
//! not yet handed on.
//!
//! The vector's length is what has ever been initialised, not what is filled, so that a buffer
//! which comes back from a request is lent to the socket again without being zeroed again.

use std::ops::Range;

/// Bytes by which the buffer may grow ahead of what was received (or twofold, if that is more),
/// so that a declared length alone costs nothing.
pub const READ_BYTES: usize = 64 * 1024;
/// Size of a first buffer: a head with room for a small body.
const FIRST_BYTES: usize = 8 * 1024;
/// Least room worth asking the socket to fill.
const ROOM_BYTES_MIN: usize = 1024;

/// See the module's text. Positions given out are relative to `start` unless said otherwise.
#[derive(Debug, Default)]
pub(super) struct RecvBuf {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    spare: Option<Vec<u8>>,
}

impl RecvBuf {
    /// What was received and not handed on.
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// As [`filled`](Self::filled), to move a body together.
    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Room for the socket, never empty. `ahead` is how many more bytes are sure to come; zero
    /// when nobody knows.
    ///
    /// Cost: growth is geometric, so each received byte is moved a bounded number of times.
    pub(super) fn room(&mut self, ahead: usize) -> &mut [u8] {
        if self.is_short(self.end, ahead) && self.start > 0 {
            // At most once per message: its own start is 0 from here on.
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let growth = self.growth(ahead);
        if growth > 0 {
            self.bytes.reserve_exact(growth);
            self.bytes.resize(self.bytes.len() + growth, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// By how many bytes [`room`](Self::room) would grow the buffer.
    pub(super) fn growth(&self, ahead: usize) -> usize {
        let end = self.end - self.start; // when all is moved to the front
        if !self.is_short(self.end, ahead) || !self.is_short(end, ahead) {
            return 0;
        }
        let room = match ahead {
            0 => end.max(FIRST_BYTES),
            known => known.clamp(ROOM_BYTES_MIN, end.max(READ_BYTES)),
        };
        end + room - self.bytes.len()
    }

    /// Whether a buffer filled up to `end` has too little room: for what is sure to come, unless
    /// half of what the buffer may grow by is still there; for a guess, when a read is not worth
    /// its cost.
    fn is_short(&self, end: usize, ahead: usize) -> bool {
        let enough = match ahead {
            0 => ROOM_BYTES_MIN,
            known => known.min(end.max(READ_BYTES) / 2),
        };
        self.bytes.len() - end < enough
    }

    /// Memory of the buffer and its spare, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.spare.as_ref().map_or(0, Vec::capacity)
    }

    /// Gives back what is kept only to be used again.
    pub(super) fn shrink(&mut self) {
        self.spare = None;
        if self.filled().is_empty() {
            (self.bytes, self.start, self.end) = (Vec::new(), 0, 0);
        }
    }

    /// Counts `n` bytes of the room as received.
    pub(super) fn received(&mut self, n: usize) {
        assert!(n <= self.bytes.len() - self.end, "more received than there was room for");
        self.end += n;
    }

    /// Forgets the first `n` bytes. They stay readable through [`slice`](Self::slice) until the
    /// next call of [`room`](Self::room).
    pub(super) fn consume(&mut self, n: usize) {
        assert!(n <= self.end - self.start);
        self.start += n;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// The absolute position of the first filled byte.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Bytes by absolute position.
    pub(super) fn slice(&self, at: Range<usize>) -> &[u8] {
        &self.bytes[at]
    }

    /// Forgets everything behind the first `n` bytes.
    pub(super) fn truncate(&mut self, n: usize) {
        assert!(n <= self.end - self.start);
        self.end = self.start + n;
    }

    /// Gives away the first `n` bytes: a vector, and where in it they start.
    ///
    /// Cost: nothing when nothing follows them; else a copy of them or of what follows, whichever
    /// is less, so a long pipeline is not moved once per request.
    pub(super) fn take_front(&mut self, n: usize) -> (Vec<u8>, usize) {
        let rest = self.end - self.start - n;
        let mut other = self.spare.take().unwrap_or_default();
        if rest > n {
            copy_to_front(&mut other, &self.bytes[self.start..self.start + n]);
            self.start += n;
            return (other, 0);
        }
        if rest > 0 {
            copy_to_front(&mut other, &self.bytes[self.end - rest..self.end]);
        }
        let given = std::mem::replace(&mut self.bytes, other);
        let given_at = self.start;
        (self.start, self.end) = (0, rest);
        (given, given_at)
    }

    /// Keeps `buf` for a later request, unless there is one already that is no smaller.
    pub(super) fn recycle(&mut self, buf: Vec<u8>) {
        if self.bytes.is_empty() {
            self.bytes = buf;
        } else if self.spare.as_ref().is_none_or(|spare| spare.len() < buf.len()) {
            self.spare = Some(buf);
        }
    }
}

/// Puts `bytes` at the start of `to`, which is lengthened when needed and never shortened.
fn copy_to_front(to: &mut Vec<u8>, bytes: &[u8]) {
    if to.len() < bytes.len() {
        // The old content is nobody's: do not let a reallocation copy it.
        to.clear();
        to.extend_from_slice(bytes);
    } else {
        to[..bytes.len()].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(buf: &mut RecvBuf, bytes: &[u8]) {
        for piece in bytes.chunks(1000) {
            buf.room(0)[..piece.len()].copy_from_slice(piece);
            buf.received(piece.len());
        }
    }

    #[test]
    fn a_declared_length_alone_does_not_allocate() {
        let mut buf = RecvBuf::default();
        assert_eq!(buf.room(16 << 20).len(), READ_BYTES);
        let mut received = 0;
        while received < 16 << 20 {
            let room = buf.room((16 << 20) - received).len();
            assert!(received + room <= 2 * received.max(READ_BYTES), "{received} {room}");
            buf.received(room);
            received += room;
        }
        assert_eq!(buf.bytes.len(), 16 << 20, "no slack behind a body of known length");
    }

    #[test]
    fn small_reads_do_not_make_it_grow_in_small_steps() {
        let mut buf = RecvBuf::default();
        let (mut received, mut growths) = (0, 0);
        while received < 16 << 20 {
            let size = buf.bytes.len();
            let n = buf.room((16 << 20) - received).len().min(1460);
            growths += usize::from(buf.bytes.len() > size);
            buf.received(n);
            received += n;
        }
        assert!(growths < 25, "{growths} reallocations");
    }

    #[test]
    fn the_smaller_side_is_copied_when_the_front_is_taken() {
        for (front, rest) in [(0, 5000), (10, 5000), (5000, 10), (5000, 0), (2500, 2500)] {
            let mut buf = RecvBuf::default();
            let bytes: Vec<u8> = (0..=250).cycle().take(front + rest).collect();
            put(&mut buf, &bytes);
            let origin = buf.bytes.as_ptr();
            let (given, at) = buf.take_front(front);
            assert_eq!(given[at..at + front], bytes[..front]);
            assert_eq!(buf.filled(), &bytes[front..]);
            assert_eq!(given.as_ptr() == origin, front >= rest);
        }
    }

    #[test]
    fn a_recycled_buffer_is_used_again_in_place() {
        let mut buf = RecvBuf::default();
        put(&mut buf, b"abc");
        let (first, _) = buf.take_front(3);
        let origin = first.as_ptr();
        buf.recycle(first);
        put(&mut buf, b"def");
        let (second, at) = buf.take_front(3);
        assert_eq!(second.as_ptr(), origin);
        assert_eq!(&second[at..at + 3], b"def");
    }

    #[test]
    fn consumed_bytes_make_room_without_growth() {
        let mut buf = RecvBuf::default();
        put(&mut buf, &[7; 3000]);
        let size = buf.bytes.len();
        for _ in 0..100 {
            buf.consume(2000);
            put(&mut buf, &[7; 2000]);
            assert_eq!(buf.filled(), [7; 3000]);
        }
        assert_eq!(buf.bytes.len(), size);
    }
}
