//! `thalweg inspect`: shows what a shard's files hold.

use std::collections::BTreeMap;
use std::io::Write;

use super::count::{Counter, HeldCounter, HeldRecords, SegmentCount, StreamCount};
use super::fault::Problems;
use super::saved::{CheckpointFile, Newest, checkpoints};
use super::start::{file_names, oldest};
use super::table::Table;
use super::walk::walk;
use super::{Error, Options};
use crate::io::{Disk, LogFile};
use crate::log::format::SEGMENT_HEADER_BYTES;
use crate::log::recovery::{Found, find};
use crate::log::segment::LogFacts;
use crate::stream::State;
use crate::types::Cipher;

/// What the walk over a shard's log counted.
#[derive(Debug, Default)]
struct Counts {
    segments: BTreeMap<u64, SegmentCount>,
    /// Bytes of log that hold readable records, by segment.
    live_bytes: BTreeMap<u64, u64>,
    streams: Vec<StreamRow>,
    /// Access tokens, those that expired and are not removed yet included.
    tokens: usize,
    entries: u64,
    payload_bytes: u64,
    /// Record bytes of batches, copies not counted.
    appended_bytes: u64,
    /// Epochs of the oldest segment that is needed and of the one being written.
    living: Option<(u64, u64)>,
    tail_moving: bool,
    problems: Problems,
}

/// A stream as the log and the checkpoint together say it is.
#[derive(Debug)]
struct StreamRow {
    id: u64,
    name: String,
    tail: u64,
    trim_point: u64,
    fenced: bool,
    deleting: bool,
    cipher: Option<Cipher>,
    held: HeldRecords,
}

/// Writes to `out` what the shard whose files are on `disk` holds: segments, streams, checkpoints
/// and totals.
///
/// * Units: record bytes by the API's measure. *Live* are those that were not trimmed; what has
///   outlived its retention is not looked at.
/// * Returns: false when damage was met; what could be read is shown all the same.
/// * Errors: [`Error`], when the files could not be read.
/// * Cost: reads all living segments twice; memory for each stream and each batch that was moved.
pub async fn inspect<D: Disk>(
    disk: &D,
    log: LogFacts,
    options: Options,
    out: &mut impl Write,
) -> Result<bool, Error> {
    writeln!(out, "shard {}", log.shard)?;
    let found = find(disk, log).await?;
    let (files, newest) = checkpoints(disk, log).await?;
    let counts = count(log, &found, newest.as_ref(), options, out).await?;
    show_segments(&found, &counts, out)?;
    show_streams(&counts.streams, out)?;
    show_checkpoints(&files, out)?;
    show_totals(&counts, out)?;
    for problem in &counts.problems.first {
        writeln!(out, "  damaged: {problem}")?;
    }
    let damaged_checkpoint = files.iter().any(|f| f.read.is_err());
    Ok(counts.problems.count == 0 && !damaged_checkpoint)
}

/// Walks the log twice: what is live is known only once its end is.
async fn count<D: Disk>(
    log: LogFacts,
    found: &Found<D>,
    newest: Option<&Newest>,
    options: Options,
    out: &mut impl Write,
) -> Result<Counts, Error> {
    let mut problems = Problems::default();
    let Some(start) = oldest(log, found, newest, &mut problems).await? else {
        let streams = stream_rows(newest, BTreeMap::new());
        let tokens = token_count(newest, BTreeMap::new());
        return Ok(Counts { streams, tokens, problems, ..Counts::default() });
    };
    let names = file_names::<D>(&found.segments);
    let lines = options.groups.then_some(&mut *out);
    let mut counter = Counter::new(&names, lines, problems);
    let walked = walk::<D, _>(&found.segments, log.salt(), start, &mut counter).await?;
    let appended_bytes = counter.appended_bytes;
    let Counter { output, segments, streams, tokens, entries, payload_bytes, moved, .. } = counter;
    let problems = counter.problems;
    output?;
    let tokens = token_count(newest, tokens);
    if options.groups {
        writeln!(out)?;
    }
    let mut streams = stream_rows(newest, streams);
    let trim_points = streams.iter().map(|r| (r.id, r.trim_point)).collect();
    let mut held = HeldCounter {
        trim_points: &trim_points,
        moved: &moved,
        streams: BTreeMap::new(),
        segments: BTreeMap::new(),
    };
    walk::<D, _>(&found.segments, log.salt(), start, &mut held).await?;
    let HeldCounter { streams: held, segments: live_bytes, .. } = held;
    for row in &mut streams {
        row.held = held.get(&row.id).copied().unwrap_or_default();
    }
    let living = Some((start.pos.segment, walked.end.pos.segment));
    let tail_moving = walked.tail_moving;
    Ok(Counts {
        segments,
        live_bytes,
        streams,
        tokens,
        entries,
        payload_bytes,
        appended_bytes,
        living,
        tail_moving,
        problems,
    })
}

/// Access tokens that exist: what the log says of each, else what the checkpoint said before.
fn token_count(newest: Option<&Newest>, mut logged: BTreeMap<String, bool>) -> usize {
    for id in newest.iter().flat_map(|n| &n.saved.tokens) {
        logged.entry(id.clone()).or_insert(true);
    }
    logged.into_values().filter(|is_there| *is_there).count()
}

/// Streams that exist: what the log says of each, else what the checkpoint said before.
fn stream_rows(newest: Option<&Newest>, mut counted: BTreeMap<u64, StreamCount>) -> Vec<StreamRow> {
    let mut saved = BTreeMap::new();
    for (id, stream) in newest.map(|n| &n.saved.streams).into_iter().flatten() {
        saved.insert(*id, stream);
        counted.entry(*id).or_default();
    }
    let existing = counted.into_iter().filter(|(id, stream)| {
        // Batches of a stream that is gone stay in the log; its metadata is in neither.
        !stream.gone && (stream.name.is_some() || saved.contains_key(id))
    });
    let row = |(id, stream): (u64, StreamCount)| {
        let before = saved.get(&id);
        let state = before.and_then(|s| s.state.as_ref()).map_or(State::default(), |s| s.state);
        StreamRow {
            id,
            name: stream.name.unwrap_or_else(|| before.map_or("", |s| &s.name).to_owned()),
            tail: stream.tail.unwrap_or(state.tail.seq_num),
            trim_point: stream.trim_point.max(state.trim_point),
            fenced: stream.fenced.unwrap_or(!state.fencing_token.as_str().is_empty()),
            deleting: stream.deleting || before.is_some_and(|s| s.deleting),
            cipher: stream.cipher.or_else(|| before.and_then(|s| s.cipher)),
            held: HeldRecords::default(),
        }
    };
    existing.map(row).collect()
}

fn show_segments<D: Disk>(
    found: &Found<D>,
    counts: &Counts,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let mut table = Table::new(&["<SEGMENT", "EPOCH", "BYTES", "USED", "LIVE", "FRAMES", "<STATE"]);
    for (epoch, segment) in &found.segments {
        let count = counts.segments.get(epoch).copied().unwrap_or_default();
        let state = match counts.living {
            Some((oldest, _)) if *epoch < oldest => "dead",
            Some((_, active)) if *epoch < active => "sealed",
            Some((_, active)) if *epoch == active && counts.tail_moving => {
                "active, tail still being written"
            }
            Some((_, active)) if *epoch == active => "active",
            _ => "spare",
        };
        table.push(vec![
            segment.file.name().to_owned(),
            epoch.to_string(),
            segment.bytes.to_string(),
            count.end_bytes.max(SEGMENT_HEADER_BYTES as u64).to_string(),
            counts.live_bytes.get(epoch).copied().unwrap_or(0).to_string(),
            count.frames.to_string(),
            state.to_owned(),
        ]);
    }
    for name in &found.unfinished {
        let [epoch, bytes, used, live, frames] = ["-"; 5].map(str::to_owned);
        table.push(vec![name.clone(), epoch, bytes, used, live, frames, "dead".to_owned()]);
    }
    table.write(out)
}

fn show_streams(rows: &[StreamRow], out: &mut impl Write) -> std::io::Result<()> {
    let mut table =
        Table::new(&["STREAM", "TAIL", "TRIM", "RECORDS", "BYTES", "LIVE", "<FENCED", "<NAME"]);
    for row in rows {
        let deleting = if row.deleting { " (being deleted)" } else { "" };
        let cipher = row.cipher.map_or(String::new(), |cipher| format!(" ({})", cipher.as_str()));
        table.push(vec![
            row.id.to_string(),
            row.tail.to_string(),
            row.trim_point.to_string(),
            row.held.records.to_string(),
            row.held.metered_bytes.to_string(),
            row.held.live_bytes.to_string(),
            (if row.fenced { "yes" } else { "no" }).to_owned(),
            // A name may hold control characters, which a terminal would obey.
            format!("{}{cipher}{deleting}", row.name.escape_debug()),
        ]);
    }
    table.write(out)
}

fn show_checkpoints(files: &[CheckpointFile], out: &mut impl Write) -> std::io::Result<()> {
    let mut table =
        Table::new(&["<CHECKPOINT", "BYTES", "NEXT FRAME", "STREAMS", "OLDEST EPOCH", "<STATE"]);
    for file in files {
        let (numbers, state) = match &file.read {
            Ok((facts, streams)) => {
                let numbers = [facts.chain.next_frame_seq, *streams as u64, facts.first_epoch];
                (numbers.map(|n| n.to_string()), "whole".to_owned())
            }
            Err((offset_bytes, reason)) => {
                (["-"; 3].map(str::to_owned), format!("damaged at {offset_bytes}: {reason}"))
            }
        };
        let [next_frame, streams, oldest] = numbers;
        let bytes = file.len_bytes.to_string();
        table.push(vec![file.name.clone(), bytes, next_frame, streams, oldest, state]);
    }
    table.write(out)
}

fn show_totals(counts: &Counts, out: &mut impl Write) -> std::io::Result<()> {
    let sum = |of: fn(&StreamRow) -> u64| counts.streams.iter().map(of).sum::<u64>();
    let frames: u64 = counts.segments.values().map(|s| s.frames).sum();
    writeln!(
        out,
        "  total: {} streams, {frames} frames, {} entries, {} payload bytes; {} records, {} record \
         bytes, {} of them live",
        counts.streams.len(),
        counts.entries,
        counts.payload_bytes,
        sum(|r| r.held.records),
        sum(|r| r.held.metered_bytes),
        sum(|r| r.held.live_bytes),
    )?;
    if counts.tokens > 0 {
        writeln!(out, "  access tokens: {}", counts.tokens)?;
    }
    let frame_bytes: u64 =
        counts.segments.values().map(|s| s.end_bytes - SEGMENT_HEADER_BYTES as u64).sum();
    writeln!(
        out,
        "  amplification: {frame_bytes} bytes of frames; {} for each record byte appended (copies \
         not counted), {} for each live one",
        ratio(frame_bytes, counts.appended_bytes),
        ratio(frame_bytes, sum(|r| r.held.live_bytes)),
    )
}

fn ratio(bytes: u64, of: u64) -> String {
    if of == 0 { "-".to_owned() } else { format!("{:.2}", bytes as f64 / of as f64) }
}
