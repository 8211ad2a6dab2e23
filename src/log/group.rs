//! Group commit: which batches share a sync. The decision is pure; the writer obeys.
//!
//! Entries gather in frames, in memory that the disk can write from. The device takes everything
//! gathered as soon as it is free (*greedy*), except that a gathering of nothing but Standard
//! batches may wait for company, a bounded time and only while company keeps coming.

use std::collections::VecDeque;

use super::format::{FRAME_HEADER_BYTES, PAYLOAD_BYTES_MAX, frame_bytes};
use crate::io::{BLOCK_BYTES, Buffer};
use crate::types::StorageClass;

/// Smallest memory taken for a frame, in bytes.
const FRAME_BYTES_MIN: usize = 4 * BLOCK_BYTES;
/// Largest memory taken for a frame unless a single entry needs more, in bytes.
const FRAME_BYTES_TARGET: usize = 512 * 1024;
/// Most bytes written under one sync; the rest waits for the next. Bounds how long a sync takes.
pub const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most notes that memory is kept for between two frames.
const NOTES_KEPT: usize = 1024;

const _: () = assert!(FRAME_BYTES_TARGET <= GROUP_BYTES_MAX);

/// When a gathering is written.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Longest that a Standard batch waits for company, in microseconds.
    pub standard_wait_us_max: u64,
    /// Gathered bytes beyond which nothing waits.
    pub standard_bytes_enough: usize,
}

impl Policy {
    /// How long a gathering of Standard batches may wait now, in microseconds.
    ///
    /// Adaptive: a device that takes long to sync leaves less of the class's budget for waiting,
    /// and a gathering that nobody joined for a quarter of the limit is complete: closed-loop
    /// clients have all sent what they had.
    fn standard_deadline_us(&self, oldest_us: u64, newest_us: u64, sync_us: u64) -> u64 {
        const BUDGET_US: u64 = 250_000;
        let limit = self.standard_wait_us_max.min(BUDGET_US.saturating_sub(4 * sync_us));
        (oldest_us + limit).min(newest_us + limit / 4)
    }
}

/// What the writer does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Write what has gathered.
    Write,
    /// Wait for a batch, at most until this time (microseconds on the monotonic clock).
    WaitUntilUs(u64),
    /// Nothing has gathered.
    Idle,
}

/// A frame being filled.
#[derive(Debug)]
pub struct OpenFrame<B, N> {
    /// The frame's memory; entries from [`FRAME_HEADER_BYTES`] on.
    pub buf: B,
    /// End of the entries so far, in bytes from the start of the buffer.
    pub end: usize,
    /// CRC-32C of the entries so far.
    pub payload_crc: u32,
    /// What to hand back for each entry once it is durable.
    pub notes: Vec<N>,
}

impl<B, N> OpenFrame<B, N> {
    /// Bytes that the frame will take on disk.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        frame_bytes(self.end - FRAME_HEADER_BYTES)
    }
}

/// Everything accepted and not yet handed to the disk, in order.
#[derive(Debug)]
pub struct Gather<B, N> {
    frames: VecDeque<OpenFrame<B, N>>,
    bytes: usize,
    urgent: bool,
    oldest_us: u64,
    newest_us: u64,
    frame_bytes_hint: usize,
    /// Most that the hint may be.
    frame_bytes_target: usize,
    /// Empty; memory for the notes of the next frame.
    spare_notes: Vec<N>,
}

impl<B, N> Default for Gather<B, N> {
    fn default() -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            urgent: false,
            oldest_us: 0,
            newest_us: 0,
            frame_bytes_hint: FRAME_BYTES_MIN,
            frame_bytes_target: FRAME_BYTES_TARGET,
            spare_notes: Vec::new(),
        }
    }
}

impl<B: Buffer, N> Gather<B, N> {
    /// Nothing yet; frames are to fit into segments of that size.
    #[must_use]
    pub fn for_segments(segment_bytes: u64) -> Self {
        let half = usize::try_from(segment_bytes / 2).unwrap_or(usize::MAX);
        let frame_bytes_target = half.clamp(FRAME_BYTES_MIN, FRAME_BYTES_TARGET);
        Self { frame_bytes_target, ..Self::default() }
    }

    /// Adds one entry of at most `bytes_max` bytes, which `put` writes and measures.
    ///
    /// * Errors: none; who calls has bounded what may gather.
    /// * Cost: no allocation while entries fit the frame's memory.
    pub fn push(
        &mut self,
        alloc: impl FnOnce(usize) -> B,
        bytes_max: usize,
        put: impl FnOnce(&mut [u8]) -> usize,
        note: N,
        class: StorageClass,
        now_us: u64,
    ) {
        assert!(bytes_max <= PAYLOAD_BYTES_MAX, "an entry never crosses a frame");
        if self.frames.is_empty() {
            (self.oldest_us, self.urgent) = (now_us, false);
        }
        self.newest_us = now_us;
        self.urgent |= class == StorageClass::Express;
        let fits = |f: &OpenFrame<B, N>| f.buf.as_ref().len() - f.end >= bytes_max;
        if !self.frames.back().is_some_and(fits) {
            let needed = (FRAME_HEADER_BYTES + bytes_max).next_multiple_of(BLOCK_BYTES);
            let buf = alloc(needed.max(self.frame_bytes_hint));
            self.frames.push_back(OpenFrame {
                buf,
                end: FRAME_HEADER_BYTES,
                payload_crc: 0,
                notes: std::mem::take(&mut self.spare_notes),
            });
        }
        let frame = self.frames.back_mut().expect("pushed above when there was none");
        let room = &mut frame.buf.as_mut()[frame.end..];
        let len = put(room);
        assert!(len <= bytes_max, "an entry is as long as its caller said at most");
        frame.payload_crc = crc32c::crc32c_append(frame.payload_crc, &room[..len]);
        frame.end += len;
        frame.notes.push(note);
        self.bytes += len;
    }

    /// What to do now that the device is free.
    #[must_use]
    pub fn step(&self, policy: &Policy, now_us: u64, sync_us: u64) -> Step {
        if self.frames.is_empty() {
            return Step::Idle;
        }
        if self.urgent || self.bytes >= policy.standard_bytes_enough {
            return Step::Write;
        }
        let deadline_us = policy.standard_deadline_us(self.oldest_us, self.newest_us, sync_us);
        if now_us >= deadline_us { Step::Write } else { Step::WaitUntilUs(deadline_us) }
    }

    /// How long what gathered has waited for company, in microseconds, if it is nothing but
    /// Standard batches.
    #[must_use]
    pub fn standard_wait_us(&self, now_us: u64) -> Option<u64> {
        let waits = !self.urgent && !self.frames.is_empty();
        waits.then(|| now_us.saturating_sub(self.oldest_us))
    }

    /// Takes the oldest frames, at least one and at most `room_bytes` on disk (or
    /// [`GROUP_BYTES_MAX`]); none when the oldest does not fit.
    pub fn take(&mut self, room_bytes: usize) -> Vec<OpenFrame<B, N>> {
        let mut taken = Vec::with_capacity(1);
        let mut bytes = 0;
        while let Some(frame) = self.frames.front() {
            let after = bytes + frame.frame_bytes();
            if after > room_bytes || (after > GROUP_BYTES_MAX && !taken.is_empty()) {
                break;
            }
            bytes = after;
            taken.extend(self.frames.pop_front());
        }
        let payload_bytes: usize = taken.iter().map(|f| f.end - FRAME_HEADER_BYTES).sum();
        self.bytes -= payload_bytes;
        if bytes > 0 {
            // Next time most likely gathers as much again; twice that leaves room to grow, and a
            // frame that turns out too small costs only a second frame.
            let hint = (2 * bytes).next_power_of_two();
            self.frame_bytes_hint = hint.clamp(FRAME_BYTES_MIN, self.frame_bytes_target);
        }
        taken
    }

    /// Takes back the notes of a frame, emptied, so that the next has their memory.
    pub fn take_back(&mut self, mut notes: Vec<N>) {
        notes.clear();
        if (self.spare_notes.capacity()..=NOTES_KEPT).contains(&notes.capacity()) {
            self.spare_notes = notes;
        }
    }

    /// Bytes of entries that have gathered.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
