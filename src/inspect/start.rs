//! Where the living part of a log starts.

use std::collections::BTreeMap;

use super::fault::{Fault, Problems, SHOWN_MAX};
use super::saved::Newest;
use crate::io::{BLOCK_BYTES, Disk, Extent, IoError, LogFile};
use crate::log::format::{FrameHeader, SEGMENT_HEADER_BYTES, Salt};
use crate::log::recovery::Found;
use crate::log::scan::SegmentMap;
use crate::log::segment::LogFacts;
use crate::log::writer::Chain;
use crate::types::LogPos;

/// Offset of a segment's first frame, in bytes.
#[expect(clippy::cast_possible_truncation, reason = "4096")]
pub(super) const FIRST_FRAME_BYTES: u32 = SEGMENT_HEADER_BYTES as u32;

/// A place in the chain: where a frame lies and what it must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pos: LogPos,
    pub(super) chain: Chain,
}

/// Names of segment files by epoch.
pub(super) fn file_names<D: Disk>(segments: &SegmentMap<D>) -> BTreeMap<u64, String> {
    segments.iter().map(|(epoch, s)| (*epoch, s.file.name().to_owned())).collect()
}

/// The first frame of the oldest segment that is needed; `None` when there is no log to walk.
///
/// Notes segments that are missing. What the frame before the first one was called only that
/// first frame knows, so its `prev_crc` is believed.
pub(super) async fn oldest<D: Disk>(
    log: LogFacts,
    found: &Found<D>,
    newest: Option<&Newest>,
    problems: &mut Problems,
) -> Result<Option<Place>, IoError> {
    let facts = newest.map(|n| n.facts);
    let first_found = found.segments.keys().next().copied();
    let first_needed = facts.map_or(1, |f| f.first_epoch);
    let last = found.segments.keys().next_back().copied().unwrap_or(0);
    let last_needed = last.max(facts.map_or(0, |f| f.pos.segment));
    match (facts, first_found) {
        (None, Some(epoch)) if epoch > 1 => {
            problems.push("the shard", 0, Fault::CheckpointMissing(epoch));
        }
        _ => {
            let missing = (first_needed..=last_needed).filter(|e| !found.segments.contains_key(e));
            // A checkpoint may name any epoch; more than are shown are not worth counting.
            missing
                .take(SHOWN_MAX)
                .for_each(|e| problems.push("the shard", 0, Fault::SegmentMissing(e)));
        }
    }
    let Some((&epoch, segment)) = found.segments.range(first_needed..).next() else {
        return Ok(None);
    };
    let pos = LogPos { segment: epoch, offset_bytes: FIRST_FRAME_BYTES };
    if epoch == 1 {
        return Ok(Some(Place { pos, chain: Chain::START }));
    }
    let extent = Extent { offset_bytes: FIRST_FRAME_BYTES.into(), len_bytes: BLOCK_BYTES };
    let block = segment.file.read_at(extent).await?;
    if let Some(place) = place_of(block.as_ref(), log.salt(), pos) {
        return Ok(Some(place));
    }
    // The log may end where this segment starts, or its first frame is damaged: then what the
    // checkpoint says goes for its own place.
    let facts = facts.filter(|f| f.pos == pos);
    let unknown = Chain { next_frame_seq: 0, prev_crc: 0 };
    Ok(Some(Place { pos, chain: facts.map_or(unknown, |f| f.chain) }))
}

/// The place that a frame at `pos` claims, if there is one of this segment's present use.
pub(super) fn place_of(block: &[u8], salt: Salt, pos: LogPos) -> Option<Place> {
    let (header, _) = FrameHeader::decode(block, salt).ok()?;
    let chain = Chain { next_frame_seq: header.frame_seq, prev_crc: header.prev_crc };
    (header.epoch == pos.segment).then_some(Place { pos, chain })
}
