//! The four bytes in front of a frame's body.

use super::{BODY_BYTES_MAX, FRAME_BYTES_MAX, HEAD_BYTES};
use crate::codec::Coding;

const TERMINAL: u8 = 0x80;
const CODING: u8 = 0x60;
const ZSTD: u8 = 0x20;
const GZIP: u8 = 0x40;
const RECONNECT_ADVISED: u8 = 0x10;

/// What was received is no frame of the protocol (400 `bad_frame`). The message is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadFrame(pub &'static str);

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Length of the body as it is sent, at most [`BODY_BYTES_MAX`].
    pub body_bytes: usize,
    /// How the body is coded.
    pub coding: Option<Coding>,
    /// The session's last frame, holding an error.
    pub is_terminal: bool,
    /// The server asks the client to move to another connection.
    pub reconnect_advised: bool,
}

impl FrameHead {
    /// Reads a head; reserved bits are ignored.
    ///
    /// * Errors: [`BadFrame`] when the length is 0 or beyond the limit, or the coding unknown.
    pub fn parse(bytes: [u8; HEAD_BYTES]) -> Result<Self, BadFrame> {
        let [a, b, c, flag] = bytes;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length == 0 {
            return Err(BadFrame("frame of length 0"));
        }
        if length > FRAME_BYTES_MAX {
            return Err(BadFrame("frame is longer than 2097152 bytes"));
        }
        let coding = match flag & CODING {
            0 => None,
            ZSTD => Some(Coding::Zstd),
            GZIP => Some(Coding::Gzip),
            _ => return Err(BadFrame("frame has an unknown compression")),
        };
        Ok(Self {
            body_bytes: length - 1,
            coding,
            is_terminal: flag & TERMINAL != 0,
            reconnect_advised: flag & RECONNECT_ADVISED != 0,
        })
    }

    /// The head as bytes.
    ///
    /// # Panics
    ///
    /// When the body is longer than [`BODY_BYTES_MAX`].
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEAD_BYTES] {
        assert!(self.body_bytes <= BODY_BYTES_MAX);
        #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
        let [_, a, b, c] = (self.body_bytes as u32 + 1).to_be_bytes();
        let mut flag = match self.coding {
            None => 0,
            Some(Coding::Zstd) => ZSTD,
            Some(Coding::Gzip) => GZIP,
        };
        if self.is_terminal {
            flag |= TERMINAL;
        }
        if self.reconnect_advised {
            flag |= RECONNECT_ADVISED;
        }
        [a, b, c, flag]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(body_bytes: usize, coding: Option<Coding>) -> FrameHead {
        FrameHead { body_bytes, coding, is_terminal: false, reconnect_advised: false }
    }

    #[test]
    fn heads_survive_a_round_trip() {
        let (zstd, gzip) = (Some(Coding::Zstd), Some(Coding::Gzip));
        let cases = [
            (head(6, None), [0, 0, 7, 0]),
            (head(0, None), [0, 0, 1, 0]),
            (head(255, zstd), [0, 1, 0, 0x20]),
            (head(65_536, gzip), [1, 0, 1, 0x40]),
            (head(BODY_BYTES_MAX, None), [0x20, 0, 0, 0]),
            (FrameHead { is_terminal: true, ..head(24, None) }, [0, 0, 0x19, 0x80]),
            (FrameHead { reconnect_advised: true, ..head(9, zstd) }, [0, 0, 10, 0x30]),
        ];
        for (head, bytes) in cases {
            assert_eq!(head.to_bytes(), bytes);
            assert_eq!(FrameHead::parse(bytes), Ok(head));
        }
    }

    #[test]
    fn reserved_bits_are_ignored() {
        assert_eq!(FrameHead::parse([0, 0, 3, 0x2F]), Ok(head(2, Some(Coding::Zstd))));
    }

    #[test]
    fn impossible_heads_are_refused() {
        let cases: [[u8; 4]; 7] = [
            [0, 0, 0, 0],
            [0, 0, 0, 0x80],
            [0x20, 0, 1, 0],
            [0xFF, 0xFF, 0xFF, 0],
            [0, 0, 1, 0x60],
            [0, 0, 9, 0xE0],
            [0, 0, 9, 0x7F],
        ];
        for bytes in cases {
            assert!(FrameHead::parse(bytes).is_err(), "{bytes:x?}");
        }
    }
}
