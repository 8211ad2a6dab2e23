//! What the writer says of a group that is durable.

use std::rc::Rc;

use crate::types::LogPos;

/// Place in the chain of frames: what the next frame must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// `frame_seq` of the next frame.
    pub next_frame_seq: u64,
    /// `header_crc` of the frame before.
    pub prev_crc: u32,
}

impl Chain {
    /// Where a log starts.
    pub const START: Self = Self { next_frame_seq: 1, prev_crc: 0 };
}

/// A frame that is durable.
#[derive(Debug)]
pub struct DurableFrame<B, N> {
    /// Where it lies.
    pub pos: LogPos,
    /// Its bytes, as on disk.
    pub buf: Rc<B>,
    /// Memory that those bytes hold on to, in bytes.
    pub memory_bytes: usize,
    /// What was handed in with each of its entries, in order.
    pub notes: Vec<N>,
}

/// A group that is durable.
#[derive(Debug)]
pub struct Flushed<B, N> {
    /// Its frames, in order, after the marker before them if there was one.
    pub frames: Vec<DurableFrame<B, N>>,
    /// Every entry up to this ticket is durable.
    pub durable_ticket: u64,
    /// Where the log ends now, and what the next frame there must say: what a checkpoint needs.
    pub end: (LogPos, Chain),
    /// Bytes written.
    pub written_bytes: u64,
    /// How long a group of nothing but Standard batches waited for company, in microseconds.
    pub standard_wait_us: Option<u64>,
    /// When it was begun, on the monotonic clock.
    pub began_us: u64,
    /// Time spent writing, in microseconds; 0 when that is counted as sync.
    pub write_us: u64,
    /// Time spent in the sync, in microseconds.
    pub sync_us: u64,
}
