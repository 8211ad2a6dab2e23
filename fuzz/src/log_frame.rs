//! A log and its checkpoints as recovery, `verify` and `inspect` meet them: they come to an end,
//! and a log that was opened, and perhaps mended, opens again and says the same.

use std::io::sink;

use thalweg::inspect::{Options, inspect, verify};
use thalweg::io::sim::{SimIo, SimRuntime};
use thalweg::log::entry::{Entry, Kind};
use thalweg::log::format::FormatError;
use thalweg::log::frames::Frames;
use thalweg::log::recovery::{find, recover};
use thalweg::log::scan::Visitor;
use thalweg::types::LogPos;

use crate::image::{LOG, make};
use crate::log_entries::read_whole;

/// Everything that a replay met.
#[derive(Debug, Default, PartialEq, Eq)]
struct Met(Vec<(LogPos, Kind, Vec<u8>)>);

impl Visitor for Met {
    fn entry(&mut self, pos: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        read_whole(entry)?;
        self.0.push((pos, entry.kind, entry.bytes.to_vec()));
        Ok(())
    }
}

/// The input is an image of a directory.
pub fn run(data: &[u8]) {
    let io = make(data);
    SimRuntime::new(&io).block_on(async { look(&io).await });
}

async fn look(io: &SimIo) {
    // An error is an answer; what must not happen is that there is none.
    let _verdict = verify(io, LOG, &mut sink()).await;
    let _shown = inspect(io, LOG, Options { groups: true }, &mut sink()).await;
    walk(io).await;
    let mut met = Met::default();
    let Ok(opened) = recover(io, LOG, u64::MAX, &mut met).await else { return };
    let mut met_again = Met::default();
    let again = recover(io, LOG, u64::MAX, &mut met_again).await;
    let again = again.unwrap_or_else(|error| panic!("does not open again: {error}"));
    assert_eq!(met, met_again);
    assert_eq!(again.chain, opened.chain);
    assert_eq!(again.torn_bytes, 0, "the torn tail was cut");
}

/// As the scrubber and readers walk through a segment.
async fn walk(io: &SimIo) {
    let Ok(found) = find(io, LOG).await else { return };
    for segment in found.segments.values() {
        let mut frames = Frames::of(segment, LOG.salt());
        let frames_max = LOG.segment_bytes / 4096 + 1;
        let mut count = 0;
        while let Ok(Some(_)) = frames.next().await {
            count += 1;
            assert!(count <= frames_max, "more frames than blocks");
        }
    }
}
