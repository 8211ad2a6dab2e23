//! What the objects in the bucket say.
//!
//! A claim, a piece or a base is one line, the JSON text that it announces, and then bytes:
//!
//! ```text
//!  TWO1 <BLAKE3 of all that follows this line, 64 hex digits> <bytes of the text>\n
//!  {"format":1,"directory_id":"...","shard":0,"number":7,"term":2,"node":"...", ...}<bytes>
//! ```
//!
//! Only pieces have bytes: frames, as they are in the segment.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::log::format::{NUMBER_MAX, SEGMENT_HEADER_BYTES};
use crate::log::writer::Chain;
use crate::types::{LogPos, json};

/// Version of what is said here.
const FORMAT: u32 = 1;
const MAGIC: &str = "TWO1";
/// Longest first line, in bytes.
const LINE_BYTES_MAX: usize = 96;
/// Most segments of a shard in a bucket.
const SEGMENTS_MAX: u64 = 1 << 24;
/// Longest text, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// The data directory's description.
pub(super) const DESCRIPTION: &str = "directory.json";

pub(super) fn log_name(shard: u16, number: u64) -> String {
    format!("shard-{shard}/log/{number:020}")
}

pub(super) fn base_name(shard: u16, ordinal: u64) -> String {
    format!("shard-{shard}/base/{ordinal:020}")
}

pub(super) fn segment_name(shard: u16, epoch: u64, term: u64) -> String {
    format!("shard-{shard}/segment/{epoch:020}-{term}")
}

pub(super) fn checkpoint_name(shard: u16, checkpoint: &Checkpoint) -> String {
    let Checkpoint { next_frame_seq, term, .. } = checkpoint;
    format!("shard-{shard}/checkpoint/{next_frame_seq:020}-{term}")
}

/// What every numbered object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    format: u32,
    /// The data directory's random name, 32 hexadecimal digits.
    pub(super) directory_id: String,
    pub(super) shard: u16,
    /// Of this object among those beside it.
    pub(super) number: u64,
    /// Whose it is: grows with each claim.
    pub(super) term: u64,
    /// Who that is.
    pub(super) node: String,
    /// Microseconds since the Unix epoch, for people.
    pub(super) made_us: u64,
    #[serde(flatten)]
    pub(super) body: Body,
}

/// What an object is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Body {
    /// Takes the shard over.
    Claim,
    /// Frames of the log.
    Piece(Piece),
    /// What is needed besides the pieces.
    Base(Base),
}

impl Body {
    /// Whether the numbers are some that a log comes to, so that what follows one is one, too.
    fn is_possible(&self) -> bool {
        match self {
            Self::Claim => true,
            Self::Piece(piece) => {
                piece.from < piece.to
                    && piece.first_frame_seq < piece.next_frame_seq
                    && piece.next_frame_seq.max(piece.segment).max(piece.segment_from) <= NUMBER_MAX
                    && u32::try_from(piece.segment_bytes).is_ok_and(|bytes| piece.to <= bytes)
            }
            Self::Base(base) => {
                let ascend = base
                    .segments
                    .iter()
                    .all(|run| run.first_epoch <= run.last_epoch && run.last_epoch <= NUMBER_MAX);
                let count = base.segments.iter().fold(0, |sum: u64, run| {
                    sum.saturating_add(run.last_epoch - run.first_epoch.min(run.last_epoch))
                });
                let end = base.end.map_or(1, |end| end.segment.max(end.next_frame_seq));
                ascend
                    && count <= SEGMENTS_MAX
                    && (1..=NUMBER_MAX).contains(&base.floor)
                    && end.max(base.first_epoch()) <= NUMBER_MAX
            }
        }
    }
}

/// Whole frames of one segment, that follow those of the piece before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    /// Epoch of the segment.
    pub(super) segment: u64,
    /// Length of the segment's file.
    pub(super) segment_bytes: u64,
    /// Where they begin in it.
    pub(super) from: u32,
    /// Where they end.
    pub(super) to: u32,
    /// Number of the first frame.
    pub(super) first_frame_seq: u64,
    /// Number of the frame behind the last.
    pub(super) next_frame_seq: u64,
    /// Checksum of the last frame's header.
    pub(super) prev_crc: u32,
    /// Number of the first piece of this segment.
    pub(super) segment_from: u64,
}

/// A place in a log, and what the next frame there must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u32,
    pub(super) next_frame_seq: u64,
    pub(super) prev_crc: u32,
}

impl Place {
    pub(super) fn of(pos: LogPos, chain: Chain) -> Self {
        let Chain { next_frame_seq, prev_crc } = chain;
        Self { segment: pos.segment, offset: pos.offset_bytes, next_frame_seq, prev_crc }
    }

    /// The beginning of a log.
    pub(super) fn start() -> Self {
        Self::of(first_in(1), Chain::START)
    }

    /// The first place of the next segment.
    pub(super) fn rolled(self) -> Self {
        let LogPos { segment, offset_bytes } = first_in(self.segment + 1);
        Self { segment, offset: offset_bytes, ..self }
    }

    /// Where a piece ends.
    pub(super) fn behind(piece: &Piece) -> Self {
        let &Piece { segment, to, next_frame_seq, prev_crc, .. } = piece;
        Self { segment, offset: to, next_frame_seq, prev_crc }
    }
}

/// Where the first frame of a segment lies.
fn first_in(segment: u64) -> LogPos {
    let offset_bytes = u32::try_from(SEGMENT_HEADER_BYTES).expect("4096");
    LogPos { segment, offset_bytes }
}

/// A checkpoint in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Number of the first frame after it, which its file is named by.
    pub(super) next_frame_seq: u64,
    /// Of whoever stored it.
    pub(super) term: u64,
    /// Of its file.
    pub(super) file: String,
    pub(super) bytes: u64,
    /// Of its bytes, 64 hexadecimal digits.
    pub(super) blake3: String,
    /// Epoch of the oldest segment that it needs.
    pub(super) first_epoch: u64,
}

/// Segments in the bucket, one after the other, stored in one term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) first_epoch: u64,
    pub(super) last_epoch: u64,
    pub(super) term: u64,
}

/// What is needed of the bucket besides the pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Base {
    /// Objects of the log before this number are not needed, and may be gone, but for claims.
    pub(super) floor: u64,
    /// Where the first piece from there on begins; `None` when no segment was stored.
    pub(super) end: Option<Place>,
    pub(super) checkpoint: Option<Checkpoint>,
    /// In ascending order.
    pub(super) segments: Vec<Run>,
    /// Numbers of all claims so far, which stay for ever.
    pub(super) claims: Vec<u64>,
}

impl Base {
    /// Epoch of the oldest segment that is needed.
    pub(super) fn first_epoch(&self) -> u64 {
        self.checkpoint.as_ref().map_or(1, |checkpoint| checkpoint.first_epoch)
    }

    /// Adds a segment behind those that there are.
    pub(super) fn push_segment(&mut self, epoch: u64, term: u64) {
        match self.segments.last_mut() {
            Some(run) if run.term == term && run.last_epoch + 1 == epoch => run.last_epoch = epoch,
            _ => self.segments.push(Run { first_epoch: epoch, last_epoch: epoch, term }),
        }
    }

    /// Takes out the segments before `epoch`, and says which they are.
    pub(super) fn drop_before(&mut self, epoch: u64) -> Vec<(u64, u64)> {
        let mut dropped = Vec::new();
        for run in &mut self.segments {
            let end = epoch.min(run.last_epoch + 1);
            dropped.extend((run.first_epoch..end).map(|epoch| (epoch, run.term)));
            run.first_epoch = run.first_epoch.max(end);
        }
        self.segments.retain(|run| run.first_epoch <= run.last_epoch);
        dropped
    }

    /// Every segment with the term that it was stored in.
    pub(super) fn segments(&self) -> impl Iterator<Item = (u64, u64)> {
        let each = |run: &Run| {
            let term = run.term;
            (run.first_epoch..=run.last_epoch).map(move |epoch| (epoch, term))
        };
        self.segments.iter().flat_map(each)
    }
}

/// Who says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Author {
    pub(super) directory_id: u128,
    pub(super) shard: u16,
    pub(super) term: u64,
    pub(super) node: String,
}

impl Author {
    /// The text of an object, and what comes before it.
    pub(super) fn encode(&self, number: u64, made_us: u64, body: Body, bytes: &[u8]) -> Bytes {
        let head = Head {
            format: FORMAT,
            directory_id: format!("{:032x}", self.directory_id),
            shard: self.shard,
            number,
            term: self.term,
            node: self.node.clone(),
            made_us,
            body,
        };
        let text = serde_json::to_vec(&head).expect("plain members");
        let mut hasher = blake3::Hasher::new();
        let hash = hasher.update(&text).update(bytes).finalize();
        let mut out = format!("{MAGIC} {} {}\n", hash.to_hex(), text.len()).into_bytes();
        out.extend_from_slice(&text);
        out.into()
    }
}

/// Reads an object that `directory_id`, `shard` and `number` name; returns what it says and its
/// bytes.
///
/// * Errors: what is wrong with it.
pub(super) fn decode(
    object: &Bytes,
    (directory_id, shard, number): (u128, u16, u64),
) -> Result<(Head, Bytes), &'static str> {
    let line_end = object.iter().take(LINE_BYTES_MAX).position(|b| *b == b'\n');
    let line_end = line_end.ok_or("it has no first line")?;
    let line = std::str::from_utf8(&object[..line_end]).map_err(|_| "its first line is no text")?;
    let mut words = line.split(' ');
    let (magic, hash, length) = (words.next(), words.next(), words.next());
    if magic != Some(MAGIC) || words.next().is_some() {
        return Err("its first line is another");
    }
    let rest = object.slice(line_end + 1..);
    if hash != Some(blake3::hash(&rest).to_hex().as_str()) {
        return Err("its checksum is wrong");
    }
    let length = length.and_then(|digits| digits.parse().ok());
    let length = length.filter(|bytes| *bytes <= rest.len().min(TEXT_BYTES_MAX));
    let length: usize = length.ok_or("its text is longer than it is")?;
    let head: Head =
        json::from_slice(&rest[..length]).map_err(|_| "its text is not as expected")?;
    if head.format != FORMAT {
        return Err("its format is not known to this build");
    }
    if head.directory_id != format!("{directory_id:032x}") || head.shard != shard {
        return Err("it is of another directory or shard");
    }
    if head.number != number {
        return Err("it has another number");
    }
    let bytes = rest.slice(length..);
    let is_possible = number <= NUMBER_MAX && head.term <= NUMBER_MAX && head.body.is_possible();
    let fits = match &head.body {
        Body::Piece(piece) => bytes.len() as u64 == u64::from(piece.to - piece.from),
        Body::Claim | Body::Base(_) => bytes.is_empty(),
    };
    if is_possible && fits { Ok((head, bytes)) } else { Err("a number in it is out of bounds") }
}
