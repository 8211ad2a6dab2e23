//! Takes the input of a session apart into messages.
//!
//! ```text
//! piece       [head body][head body][he
//! piece                                ad bo
//! piece                                     dy][head body]
//!              slice       slice     gathered   slice
//! ```
//!
//! Invariants:
//! * A frame whose body lies in one piece is a slice of it; one that spans pieces, or whose piece
//!   the caller keeps and ends with it, is gathered in a buffer with room for its length.
//! * When [`Deframer::next`] has returned `None`, no piece is held any more: what remains is at
//!   most a head and the body gathered so far, however small the pieces were.
//! * A frame is judged by its head as soon as the head is there, before any of its body.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::{BODY_BYTES_MAX, BadFrame, FrameHead, HEAD_BYTES};
use crate::codec::coding::{DecompressError, decompress};
use crate::types::Payload;
use crate::types::reused::Reused;

/// The body of a frame, decompressed.
#[derive(Debug)]
pub struct Message {
    /// What the body lies in.
    pub payload: Payload,
    /// Where it lies.
    pub range: Range<usize>,
}

impl Message {
    fn whole(payload: impl Into<Payload>) -> Self {
        let payload = payload.into();
        let range = 0..payload.len();
        Self { payload, range }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.payload[self.range.clone()]
    }
}

/// What is known of the frame that is being read.
#[derive(Debug)]
enum Partial {
    /// Some bytes of its head, perhaps all; none of its body.
    Head { bytes: [u8; HEAD_BYTES], filled: usize },
    /// Its head and the beginning of its body.
    Body { head: FrameHead, gathered: Reused<u8> },
}

impl Partial {
    const NOTHING: Self = Self::Head { bytes: [0; HEAD_BYTES], filled: 0 };
}

/// Input in, messages out. One per session; after an error its input has no meaning any more.
#[derive(Debug)]
pub struct Deframer {
    partial: Partial,
    /// Pieces not looked at yet; none is empty.
    pieces: VecDeque<Bytes>,
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deframer {
    /// What is held of a body that has not come whole, and its whole length, in bytes.
    #[must_use]
    pub fn gathered(&self) -> (usize, usize) {
        match &self.partial {
            Partial::Head { .. } => (0, 0),
            Partial::Body { head, gathered } => (gathered.len(), head.body_bytes),
        }
    }

    /// A deframer at the start of a session.
    #[must_use]
    pub fn new() -> Self {
        Self { partial: Partial::NOTHING, pieces: VecDeque::new() }
    }

    /// Takes the next piece of input. Call [`next`](Self::next) until it returns `None` before
    /// pushing more, or pieces pile up.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Like [`push`](Self::push), for input that the caller keeps: it is copied, once.
    pub fn push_slice(&mut self, piece: &[u8]) {
        let is_next = self.pieces.is_empty();
        let taken = if is_next { self.partial.take(piece, true).unwrap_or(0) } else { 0 };
        if taken < piece.len() {
            self.pieces.push_back(Bytes::copy_from_slice(&piece[taken..]));
        }
    }

    /// The next message, or `None` when more input is needed.
    ///
    /// * Errors: [`BadFrame`] for a frame that breaks the protocol: by its length, an unknown
    ///   compression, as a terminal frame, or with a body that does not decompress or is longer
    ///   than a frame then.
    #[expect(clippy::should_implement_trait, reason = "fails, and goes on after a `None`")]
    pub fn next(&mut self) -> Result<Option<Message>, BadFrame> {
        loop {
            if let Some((head, gathered)) = self.partial.take_whole()? {
                return message(head, gathered).map(Some);
            }
            let Some(piece) = self.pieces.front_mut() else { return Ok(None) };
            if let Some(head) = self.partial.head()?
                && head.body_bytes <= piece.len()
            {
                let body = piece.split_to(head.body_bytes);
                if piece.is_empty() {
                    self.pieces.pop_front();
                }
                self.partial = Partial::NOTHING;
                return message(head, body).map(Some);
            }
            let taken = self.partial.take(piece, false)?;
            if taken == piece.len() {
                self.pieces.pop_front();
            } else {
                drop(piece.split_to(taken));
            }
        }
    }

    /// Checks that the input may end here.
    ///
    /// * Errors: [`BadFrame`] inside a frame.
    pub fn finish(&self) -> Result<(), BadFrame> {
        match (&self.partial, self.pieces.is_empty()) {
            (Partial::Head { filled: 0, .. }, true) => Ok(()),
            _ => Err(BadFrame("the input ends inside a frame")),
        }
    }

    /// Bytes of input held that have not become a message.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        let partial = match &self.partial {
            Partial::Head { filled, .. } => *filled,
            Partial::Body { gathered, .. } => HEAD_BYTES + gathered.len(),
        };
        partial + self.pieces.iter().map(Bytes::len).sum::<usize>()
    }
}

impl Partial {
    /// The head, when it is whole and no byte of the body was taken.
    fn head(&self) -> Result<Option<FrameHead>, BadFrame> {
        match self {
            Self::Head { bytes, filled: HEAD_BYTES } => head_from_client(*bytes).map(Some),
            _ => Ok(None),
        }
    }

    /// The frame's head and gathered body, when all of it was taken.
    fn take_whole(&mut self) -> Result<Option<(FrameHead, Reused<u8>)>, BadFrame> {
        let (head, gathered) = match self {
            Self::Body { head, gathered } if gathered.len() == head.body_bytes => {
                (*head, std::mem::take(gathered))
            }
            Self::Head { .. } => match self.head()? {
                Some(head) if head.body_bytes == 0 => (head, Reused::default()),
                _ => return Ok(None),
            },
            Self::Body { .. } => return Ok(None),
        };
        *self = Self::NOTHING;
        Ok(Some((head, gathered)))
    }

    /// Takes from the front of `piece` what belongs to a head or to a body that does not lie in it
    /// whole; returns how much. A body that does is left, for the caller to slice, unless
    /// `to_its_end` it is all that is left of the piece.
    fn take(&mut self, piece: &[u8], to_its_end: bool) -> Result<usize, BadFrame> {
        let mut taken = 0;
        if let Self::Head { bytes, filled } = self {
            taken = piece.len().min(HEAD_BYTES - *filled);
            bytes[*filled..*filled + taken].copy_from_slice(&piece[..taken]);
            *filled += taken;
        }
        let rest = &piece[taken..];
        if !rest.is_empty()
            && let Some(head) = self.head()?
            && (rest.len() < head.body_bytes || (to_its_end && rest.len() == head.body_bytes))
        {
            *self = Self::Body { head, gathered: Reused::with_room(head.body_bytes) };
        }
        if let Self::Body { head, gathered } = self {
            let missing = head.body_bytes - gathered.len();
            let part = &rest[..rest.len().min(missing)];
            gathered.extend_from_slice(part);
            taken += part.len();
        }
        Ok(taken)
    }
}

fn head_from_client(bytes: [u8; HEAD_BYTES]) -> Result<FrameHead, BadFrame> {
    let head = FrameHead::parse(bytes)?;
    if head.is_terminal {
        return Err(BadFrame("a client may not send a terminal frame"));
    }
    Ok(head)
}

fn message(head: FrameHead, body: impl Into<Payload> + AsRef<[u8]>) -> Result<Message, BadFrame> {
    let Some(coding) = head.coding else { return Ok(Message::whole(body)) };
    match decompress(coding, body.as_ref(), BODY_BYTES_MAX) {
        Ok(decoded) => Ok(Message::whole(decoded)),
        Err(DecompressError::Malformed) => Err(BadFrame("frame body does not decompress")),
        Err(DecompressError::TooLarge | DecompressError::TooDense) => {
            Err(BadFrame("frame body is longer than 2097151 bytes when decompressed"))
        }
    }
}

#[cfg(test)]
mod tests;
