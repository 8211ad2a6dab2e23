//! Counts what a log holds: by segment, by stream, in all.

use std::collections::BTreeMap;
use std::io::Write;

use super::command_of;
use super::fault::{Fault, Problems};
use super::saved::{full_name, stream_record, token_record};
use super::table::time;
use super::walk::Follower;
use crate::control::Gone;
use crate::log::entry::{Batch, Entry, Kind, Trimmed};
use crate::log::format::{FormatError, FrameHeader};
use crate::log::quarantine::LostPlace;
use crate::log::scan::Visitor;
use crate::stream::State;
use crate::types::{Cipher, Command, LogPos};

/// The frames of one segment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SegmentCount {
    pub(super) frames: u64,
    /// End of the last frame, in bytes from the start of the file.
    pub(super) end_bytes: u64,
}

/// The records of one stream.
#[derive(Debug, Default)]
pub(super) struct StreamCount {
    pub(super) name: Option<String>,
    /// Next sequence number; `None` when the log holds no batch of it.
    pub(super) tail: Option<u64>,
    /// Whether the last fence in the log set a token; `None` when there was no fence.
    pub(super) fenced: Option<bool>,
    pub(super) trim_point: u64,
    pub(super) deleting: bool,
    pub(super) cipher: Option<Cipher>,
    pub(super) gone: bool,
}

/// Follows a walk and counts; writes one line per frame when asked to.
pub(super) struct Counter<'a, W> {
    files: &'a BTreeMap<u64, String>,
    /// Where lines about frames go, and the first error in writing one.
    lines: Option<&'a mut W>,
    pub(super) output: std::io::Result<()>,
    pub(super) segments: BTreeMap<u64, SegmentCount>,
    pub(super) streams: BTreeMap<u64, StreamCount>,
    /// Whether an access token is there, by its id, as the log says last.
    pub(super) tokens: BTreeMap<String, bool>,
    pub(super) entries: u64,
    pub(super) payload_bytes: u64,
    /// Record bytes of batches, copies not counted.
    pub(super) appended_bytes: u64,
    /// Where the newest copy of a batch lies that was moved, by stream and first record.
    pub(super) moved: BTreeMap<(u64, u64), LogPos>,
    pub(super) problems: Problems,
}

impl<'a, W: Write> Counter<'a, W> {
    pub(super) fn new(
        files: &'a BTreeMap<u64, String>,
        lines: Option<&'a mut W>,
        problems: Problems,
    ) -> Self {
        Self {
            files,
            lines,
            output: Ok(()),
            segments: BTreeMap::new(),
            streams: BTreeMap::new(),
            tokens: BTreeMap::new(),
            entries: 0,
            payload_bytes: 0,
            appended_bytes: 0,
            moved: BTreeMap::new(),
            problems,
        }
    }

    fn file(&self, pos: LogPos) -> &'a str {
        self.files.get(&pos.segment).map_or("a missing segment", String::as_str)
    }

    fn write_line(&mut self, pos: LogPos, header: &FrameHeader) {
        let file = self.file(pos);
        let Some(out) = &mut self.lines else { return };
        if self.output.is_ok() {
            self.output = writeln!(
                out,
                "  frame {:>10}  {file} {:>10}  {:>8} bytes  {:>5} entries  durable {:>10}  {}",
                header.frame_seq,
                pos.offset_bytes,
                header.frame_bytes(),
                header.entry_count,
                header.durable_seq,
                time(header.written_us),
            );
        }
    }

    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), FormatError> {
        self.appended_bytes += u64::from(batch.metered_bytes);
        let stream = self.streams.entry(batch.place.stream.0).or_default();
        stream.tail = Some(batch.end_seq_num());
        for record in batch.records() {
            let record = record?;
            let Ok(Some(command)) = command_of(&record) else { continue };
            let mut state = State { trim_point: stream.trim_point, ..State::default() };
            state.apply(command, record.seq_num);
            stream.trim_point = state.trim_point;
            if let Command::Fence(token) = command {
                stream.fenced = Some(!token.as_str().is_empty());
            }
        }
        Ok(())
    }
}

impl<W: Write> Visitor for Counter<'_, W> {
    fn frame(&mut self, pos: LogPos, header: &FrameHeader) {
        let segment = self.segments.entry(pos.segment).or_default();
        segment.frames += 1;
        segment.end_bytes = u64::from(pos.offset_bytes) + header.frame_bytes() as u64;
        self.entries += u64::from(header.entry_count);
        self.payload_bytes += u64::from(header.payload_bytes);
        self.write_line(pos, header);
    }

    fn entry(&mut self, pos: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        match entry.kind {
            Kind::Batch => self.batch(&Batch::of(entry)?),
            Kind::Moved => {
                let place = Batch::of(entry)?.place;
                self.moved.insert((place.stream.0, place.first_seq_num), pos);
                Ok(())
            }
            Kind::Stream => {
                let record = stream_record(entry)?;
                let stream = self.streams.entry(record.id).or_default();
                stream.name = Some(full_name(&record));
                stream.deleting = record.deleted_us.is_some();
                stream.cipher = record.cipher;
                Ok(())
            }
            Kind::StreamGone => {
                let gone = serde_json::from_slice::<Gone>(entry.metadata());
                let gone = gone.map_err(|_| FormatError::Entry("stream metadata"))?;
                self.streams.entry(gone.id).or_default().gone = true;
                Ok(())
            }
            Kind::Token => {
                self.tokens.insert(token_record(entry)?.info.id.to_string(), true);
                Ok(())
            }
            Kind::TokenGone => {
                let gone = serde_json::from_slice::<Gone>(entry.metadata());
                let gone = gone.map_err(|_| FormatError::Entry("access token"))?;
                self.tokens.insert(gone.name, false);
                Ok(())
            }
            Kind::Trimmed => {
                let Trimmed { stream, trim_point, .. } = Trimmed::of(entry)?;
                let stream = self.streams.entry(stream.0).or_default();
                stream.trim_point = stream.trim_point.max(trim_point);
                Ok(())
            }
            Kind::Basin
            | Kind::BasinGone
            | Kind::StreamState
            | Kind::Arrivals
            | Kind::Part
            | Kind::Usage => Ok(()),
        }
    }
}

impl<W: Write> Follower for Counter<'_, W> {
    fn damaged(&mut self, pos: LogPos, fault: Fault) {
        let file = self.file(pos);
        self.problems.push(file, pos.offset_bytes.into(), fault);
    }

    /// Known, and nothing that is new to anybody.
    fn lost(&mut self, _place: &LostPlace) {}
}

/// What the log holds of one stream: of batches that were moved, the newest copy.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeldRecords {
    pub(super) records: u64,
    /// By the API's measure, as all record bytes here.
    pub(super) metered_bytes: u64,
    /// Of these, still readable.
    pub(super) live_bytes: u64,
}

/// Follows a second walk and counts what is held and what of it is still readable: what lies at or
/// after the trim points, which are known only once the log's end is.
pub(super) struct HeldCounter<'a> {
    /// First readable sequence number by stream.
    pub(super) trim_points: &'a BTreeMap<u64, u64>,
    /// As [`Counter`] found it.
    pub(super) moved: &'a BTreeMap<(u64, u64), LogPos>,
    pub(super) streams: BTreeMap<u64, HeldRecords>,
    /// Bytes of log that hold readable records, by segment.
    pub(super) segments: BTreeMap<u64, u64>,
}

impl Visitor for HeldCounter<'_> {
    fn entry(&mut self, pos: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        if !entry.kind.is_batch() {
            return Ok(());
        }
        let batch = Batch::of(entry)?;
        let stream = batch.place.stream.0;
        let Some(&trim_point) = self.trim_points.get(&stream) else { return Ok(()) };
        let newest = self.moved.get(&(stream, batch.place.first_seq_num));
        if newest.is_some_and(|newest| *newest != pos) {
            return Ok(());
        }
        let live = batch.records().filter_map(Result::ok).filter(|r| r.seq_num >= trim_point);
        let live_bytes = live.map(|r| r.metered_bytes).sum::<u64>();
        let held = self.streams.entry(stream).or_default();
        held.records += u64::from(batch.record_count);
        held.metered_bytes += u64::from(batch.metered_bytes);
        held.live_bytes += live_bytes;
        if live_bytes > 0 {
            *self.segments.entry(pos.segment).or_default() += entry.bytes.len() as u64;
        }
        Ok(())
    }
}

impl Follower for HeldCounter<'_> {
    /// The first walk has noted it.
    fn damaged(&mut self, _pos: LogPos, _fault: Fault) {}

    fn lost(&mut self, _place: &LostPlace) {}
}
