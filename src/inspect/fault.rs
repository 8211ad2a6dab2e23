//! What can be wrong with a shard's files, and where.

use std::fmt;

use crate::log::format::FormatError;

/// Problems kept to be shown; more are counted.
pub(super) const SHOWN_MAX: usize = 100;

/// One thing that is wrong. `stream` is a stream's id in its shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Format(#[from] FormatError),
    #[error("frame {frame_seq}: {reason}")]
    Frame { frame_seq: u64, reason: FormatError },
    #[error("frame {frame_seq} is of another shard, or claims to know the future")]
    FrameHeader { frame_seq: u64 },
    #[error("the segment with epoch {0} is missing")]
    SegmentMissing(u64),
    #[error("the log starts at epoch {0}, and no checkpoint can be read")]
    CheckpointMissing(u64),
    #[error("stream {stream}: {reason}")]
    Record { stream: u64, reason: &'static str },
    #[error("stream {stream}: batch starts with record {found}, {expected} comes next")]
    OutOfSequence { stream: u64, expected: u64, found: u64 },
    #[error("stream {stream}: record {seq_num} has an earlier timestamp than the one before")]
    TimestampFell { stream: u64, seq_num: u64 },
    #[error("metadata cannot be understood")]
    Metadata,
    #[error("knows of frame {expected}, but the log ends before frame {log_next}")]
    CheckpointBeyondLog { expected: u64, log_next: u64 },
    #[error("does not follow the frame that is before it in the log")]
    CheckpointChain,
    #[error("stream {stream}: tail is {saved} here and {replayed} in the log")]
    CheckpointTail { stream: u64, saved: u64, replayed: u64 },
    #[error("stream {stream}: {what} differs from the log's")]
    CheckpointState { stream: u64, what: &'static str },
    #[error("stream {stream} exists in the log and not here")]
    CheckpointLacks { stream: u64 },
    #[error("stream {stream} was deleted in the log and still exists here")]
    CheckpointKeeps { stream: u64 },
    #[error("stream {stream} has an id that is still to be given out")]
    CheckpointNextId { stream: u64 },
    #[error(
        "{checkpoint} says that a batch of stream {stream} starting with record {seq_num} is here"
    )]
    CheckpointIndex { checkpoint: String, stream: u64, seq_num: u64 },
}

/// A fault and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) file: String,
    /// Bytes from the start of the file.
    pub(super) offset_bytes: u64,
    pub(super) fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, offset {}: {}", self.file, self.offset_bytes, self.fault)
    }
}

/// All problems of one shard: the first ones, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) first: Vec<Problem>,
    pub(super) count: u64,
}

impl Problems {
    pub(super) fn push(&mut self, file: &str, offset_bytes: u64, fault: Fault) {
        self.count += 1;
        if self.first.len() < SHOWN_MAX {
            self.first.push(Problem { file: file.to_owned(), offset_bytes, fault });
        }
    }
}
