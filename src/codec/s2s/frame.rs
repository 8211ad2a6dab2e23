//! Writes frames at the end of a response: the head's place is kept free, the body written behind
//! it, and the head filled in when the body is known.

use std::cell::RefCell;

use super::{BODY_BYTES_MAX, COMPRESS_BYTES_MIN, FrameHead, HEAD_BYTES};
use crate::codec::coding::{Coding, compress};

/// Where a frame that was begun starts.
#[derive(Debug)]
#[must_use = "a frame that is begun must be finished"]
pub struct FrameStart {
    offset: usize,
}

/// The body is longer than any frame: its writer should have split it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {body_bytes} bytes does not fit a frame")]
pub struct FrameTooLong {
    /// Length of the body.
    pub body_bytes: usize,
}

/// Begins a frame at the end of `out`. Everything pushed from now on is its body.
pub fn begin(out: &mut Vec<u8>) -> FrameStart {
    let offset = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    FrameStart { offset }
}

/// Finishes the frame that starts at `start` and reaches to the end of `out`.
///
/// A body of at least [`COMPRESS_BYTES_MIN`] is coded with `coding`, unless it would get longer.
///
/// * Errors: [`FrameTooLong`] for a body beyond [`BODY_BYTES_MAX`]; the frame is taken out again.
/// * Cost: without coding, none; with it, a copy of the coded body.
pub fn finish(
    out: &mut Vec<u8>,
    start: FrameStart,
    coding: Option<Coding>,
    reconnect_advised: bool,
) -> Result<(), FrameTooLong> {
    let body_at = start.offset + HEAD_BYTES;
    let body_bytes = out.len() - body_at;
    if body_bytes > BODY_BYTES_MAX {
        out.truncate(start.offset);
        return Err(FrameTooLong { body_bytes });
    }
    let coding = coding.filter(|coding| {
        body_bytes >= COMPRESS_BYTES_MIN && replace_by_coded(*coding, out, body_at)
    });
    let body_bytes = out.len() - body_at;
    let head = FrameHead { body_bytes, coding, is_terminal: false, reconnect_advised };
    out[start.offset..body_at].copy_from_slice(&head.to_bytes());
    Ok(())
}

/// Puts the coded form in the place of `out[at..]` if it is shorter; says whether it did.
fn replace_by_coded(coding: Coding, out: &mut Vec<u8>, at: usize) -> bool {
    thread_local! {
        /// Bounded: a body is at most a frame long.
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        compress(coding, &out[at..], scratch);
        let is_shorter = scratch.len() < out.len() - at;
        if is_shorter {
            out.truncate(at);
            out.extend_from_slice(scratch);
        }
        is_shorter
    })
}

/// Appends the frame that ends a session with an error: `json` as in the body of an error answer.
///
/// # Panics
///
/// When `json` does not fit a frame; error bodies are below 1 KiB.
pub fn push_terminal(out: &mut Vec<u8>, status: u16, json: &[u8]) {
    let head = FrameHead {
        body_bytes: 2 + json.len(),
        coding: None,
        is_terminal: true,
        reconnect_advised: false,
    };
    out.extend_from_slice(&head.to_bytes());
    out.extend_from_slice(&status.to_be_bytes());
    out.extend_from_slice(json);
}

#[cfg(test)]
mod tests;
