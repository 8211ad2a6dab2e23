//! What writers tell the readers of a run, across threads: when an append was acknowledged, how far
//! each stream is acknowledged, and who still writes.
//!
//! The last [`REMEMBERED`] appends of each writer are remembered; a reader further behind than that
//! is told that it came too late to know.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::record::BatchId;

/// Appends of each writer whose acknowledgement is remembered.
const REMEMBERED: u32 = 4_096;
/// Bits of a place that hold the time: a month in nanoseconds.
const TIME_BITS: u32 = 52;
/// Laps that a place can tell apart.
const LAPS: u64 = 1 << (64 - TIME_BITS);

/// What is known of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acked {
    /// Not acknowledged so far.
    Not,
    /// Acknowledged at this time.
    At(u64),
    /// Later appends have taken its place.
    Forgotten,
}

/// Shared by all writers and readers.
pub(crate) struct Board {
    /// By writer, then by append in a ring: lap and time.
    acks: Vec<Box<[AtomicU64]>>,
    /// By stream: the end of the furthest range acknowledged.
    ends: Vec<AtomicU64>,
    writers_left: AtomicU32,
}

impl Board {
    /// A board for `writers` writers and streams that end at `tails`.
    pub(crate) fn new(writers: u32, tails: &[u64]) -> Self {
        let ring = || (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect();
        Self {
            acks: (0..writers).map(|_| ring()).collect(),
            ends: tails.iter().map(|tail| AtomicU64::new(*tail)).collect(),
            writers_left: AtomicU32::new(writers),
        }
    }

    /// Notes that `id` was acknowledged at `now_ns`, up to `end` of stream `stream`.
    pub(crate) fn acked(&self, id: BatchId, stream: u32, end: u64, now_ns: u64) {
        self.remember(id, now_ns);
        self.ends[stream as usize].fetch_max(end, Ordering::Release);
    }

    /// The same where an acknowledgement does not say where its `count` records are: those
    /// acknowledged are at least so many.
    pub(crate) fn counted(&self, id: BatchId, stream: u32, count: u64, now_ns: u64) {
        self.remember(id, now_ns);
        self.ends[stream as usize].fetch_add(count, Ordering::Release);
    }

    fn remember(&self, id: BatchId, now_ns: u64) {
        let place = &self.acks[id.writer as usize][(id.batch % REMEMBERED) as usize];
        // 0 is left for "nothing yet".
        place.store(lap(id) << TIME_BITS | now_ns.max(1), Ordering::Release);
    }

    /// What is known of `id`.
    pub(crate) fn look_up(&self, id: BatchId) -> Acked {
        let Some(ring) = self.acks.get(id.writer as usize) else { return Acked::Not };
        let value = ring[(id.batch % REMEMBERED) as usize].load(Ordering::Acquire);
        if value == 0 {
            return Acked::Not;
        }
        match (value >> TIME_BITS).wrapping_sub(lap(id)) % LAPS {
            0 => Acked::At(value & ((1 << TIME_BITS) - 1)),
            ahead if ahead < LAPS / 2 => Acked::Forgotten,
            _ => Acked::Not,
        }
    }

    /// Where the acknowledged part of a stream ends.
    pub(crate) fn end(&self, stream: u32) -> u64 {
        self.ends[stream as usize].load(Ordering::Acquire)
    }

    /// Notes that a writer will send nothing more and has had all its answers.
    pub(crate) fn writer_ended(&self) {
        self.writers_left.fetch_sub(1, Ordering::AcqRel);
    }

    /// True when no writer is left.
    pub(crate) fn is_over(&self) -> bool {
        self.writers_left.load(Ordering::Acquire) == 0
    }
}

fn lap(id: BatchId) -> u64 {
    u64::from(id.batch / REMEMBERED) % LAPS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(writer: u32, batch: u32) -> BatchId {
        BatchId { run: 1, writer, batch }
    }

    #[test]
    fn an_acknowledgement_is_known_until_a_later_one_takes_its_place() {
        let board = Board::new(2, &[7]);
        assert_eq!(board.look_up(id(1, 0)), Acked::Not);
        board.acked(id(1, 0), 0, 9, 55);
        assert_eq!(board.look_up(id(1, 0)), Acked::At(55));
        assert_eq!(board.look_up(id(0, 0)), Acked::Not, "another writer");
        assert_eq!(board.look_up(id(1, REMEMBERED)), Acked::Not, "the next lap");
        assert_eq!(board.look_up(id(9, 0)), Acked::Not, "no such writer");
        board.acked(id(1, REMEMBERED), 0, 12, 99);
        assert_eq!(board.look_up(id(1, 0)), Acked::Forgotten);
        assert_eq!(board.look_up(id(1, REMEMBERED)), Acked::At(99));
        // The laps themselves come round: the newest is still told from the one before.
        let last = u32::MAX - u32::MAX % REMEMBERED;
        board.acked(id(1, last), 0, 12, 100);
        assert_eq!(board.look_up(id(1, last)), Acked::At(100));
        assert_eq!(board.look_up(id(1, last - REMEMBERED)), Acked::Forgotten);
    }

    #[test]
    fn ends_only_move_forward_and_writers_only_leave() {
        let board = Board::new(2, &[7, 0]);
        assert_eq!((board.end(0), board.end(1)), (7, 0));
        board.acked(id(0, 1), 1, 5, 1);
        board.acked(id(0, 0), 1, 3, 2);
        assert_eq!((board.end(0), board.end(1)), (7, 5));
        board.counted(id(0, 2), 1, 2, 3);
        assert_eq!((board.end(1), board.look_up(id(0, 2))), (7, Acked::At(3)));
        board.writer_ended();
        assert!(!board.is_over());
        board.writer_ended();
        assert!(board.is_over());
    }
}
