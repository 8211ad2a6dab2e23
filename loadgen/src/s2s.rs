//! Frames of S2S sessions, put together from whatever pieces arrive.
//!
//! ```text
//! 3 bytes            1 byte   length - 1 bytes
//! length, big-endian flags    one protobuf message; in a terminal: HTTP status (2 bytes), JSON
//! ```
//!
//! Compression is never asked for, so a compressed frame is an error here. Source: S2
//! specification, section 6.1 to 6.3.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes before a frame's body.
pub(crate) const FRAME_HEAD_BYTES: usize = 4;
/// Largest length a frame may declare: its flags and body.
const FRAME_LENGTH_MAX: usize = 2 << 20;
const TERMINAL: u8 = 0x80;
const COMPRESSION: u8 = 0x60;

/// One frame of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A message.
    Message(Bytes),
    /// The session has failed; nothing follows.
    Terminal {
        /// HTTP status.
        status: u16,
        /// The error as JSON.
        body: Bytes,
    },
}

/// Bytes received, cut into frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: BytesMut,
}

impl Frames {
    /// Adds the next bytes of the session.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The next whole frame; `None` when more bytes are needed.
    ///
    /// Errors: not a frame that a server may send; the session cannot go on.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, &'static str> {
        let &[high, middle, low, ..] = &self.bytes[..] else { return Ok(None) };
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if length == 0 {
            return Err("frame of length 0");
        }
        if length > FRAME_LENGTH_MAX {
            return Err("frame above 2 MiB");
        }
        let Some(&flags) = self.bytes.get(3) else { return Ok(None) };
        if flags & COMPRESSION != 0 {
            return Err("compressed frame, which was not asked for");
        }
        let is_terminal = flags & TERMINAL != 0;
        if is_terminal && length < 3 {
            return Err("terminal frame without a status");
        }
        if self.bytes.len() < 3 + length {
            return Ok(None);
        }
        let mut body = self.bytes.split_to(3 + length).freeze();
        body.advance(FRAME_HEAD_BYTES);
        if !is_terminal {
            return Ok(Some(Frame::Message(body)));
        }
        let status = body.get_u16();
        Ok(Some(Frame::Terminal { status, body }))
    }

    /// True when a part of a frame is left.
    pub(crate) fn has_rest(&self) -> bool {
        !self.bytes.is_empty()
    }
}

/// The head of a frame with a body of `body_bytes`, which the caller keeps below the limit.
pub(crate) fn frame_head(body_bytes: usize) -> [u8; FRAME_HEAD_BYTES] {
    let length = u32::try_from(body_bytes + 1).expect("far below 2 MiB");
    let [_, high, middle, low] = length.to_be_bytes();
    [high, middle, low, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: &[u8]) -> Result<Vec<Frame>, &'static str> {
        let mut frames = Frames::default();
        frames.push(bytes);
        let mut found = Vec::new();
        while let Some(frame) = frames.next()? {
            found.push(frame);
        }
        Ok(found)
    }

    #[test]
    fn frames_are_whole_at_their_last_byte_and_not_before() {
        let mut bytes = frame_head(3).to_vec();
        bytes.extend_from_slice(b"abc\x00\x00\x01\x00");
        bytes.extend_from_slice(b"\x00\x00\x19\x80\x01\x9C{\"seq_num_mismatch\":5}");
        let expected = [
            Frame::Message(Bytes::from_static(b"abc")),
            Frame::Message(Bytes::new()),
            Frame::Terminal { status: 412, body: Bytes::from_static(b"{\"seq_num_mismatch\":5}") },
        ];
        assert_eq!(cut(&bytes).unwrap(), expected);
        for split in 0..bytes.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in [&bytes[..split], &bytes[split..]] {
                frames.push(piece);
                while let Some(frame) = frames.next().unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found, expected, "cut at {split}");
            assert!(!frames.has_rest());
        }
        assert!(cut(&bytes[..10]).unwrap().len() == 1);
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        for bytes in [
            &b"\x00\x00\x00"[..],
            b"\x00\x00\x00\x00",
            b"\x20\x00\x01\x00",
            b"\xFF\xFF\xFF\x00",
            b"\x00\x00\x02\x20x",
            b"\x00\x00\x02\x40x",
            b"\x00\x00\x02\x60x",
            b"\x00\x00\x01\x80",
            b"\x00\x00\x02\x80\x01",
        ] {
            assert!(cut(bytes).is_err(), "{bytes:?}");
        }
        // Advice to reconnect and reserved bits are not for us.
        assert_eq!(cut(b"\x00\x00\x02\x1Fx"), Ok(vec![Frame::Message(Bytes::from_static(b"x"))]));
    }
}
