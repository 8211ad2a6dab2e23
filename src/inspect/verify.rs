//! `thalweg verify`: checks everything that a shard's files say, against itself.

use std::io::Write;

use super::Error;
use super::check::Checker;
use super::fault::{Fault, Problems};
use super::saved::checkpoints;
use super::start::{file_names, oldest};
use super::walk::walk;
use crate::io::Disk;
use crate::log::recovery::{RecoveryError, find};
use crate::log::segment::LogFacts;

/// How often a shard is looked at again because a server changed its files meanwhile.
const ATTEMPTS_MAX: usize = 3;

/// What one look at a shard found.
#[derive(Debug, Default)]
struct Verdict {
    segments: usize,
    frames: u64,
    records: u64,
    /// Damaged places that were given up for lost.
    lost: u64,
    tail_moving: bool,
    problems: Problems,
}

/// Checks the shard whose files are on `disk` and writes its verdict to `out`: every checksum,
/// the chain, every entry and record, the order of each stream, and the checkpoints.
///
/// * Returns: whether everything is in order. An incomplete tail is: it was never acknowledged.
/// * Errors: [`Error`], when the files could not be read.
/// * Cost: reads all living segments and all checkpoints once; memory for each stream.
pub async fn verify<D: Disk>(disk: &D, log: LogFacts, out: &mut impl Write) -> Result<bool, Error> {
    let mut attempt = 1;
    let verdict = loop {
        let before = files(disk, log).await;
        let verdict = judge(disk, log).await;
        // A server that runs may have used a segment again, or removed a checkpoint, while it was
        // read. What stays wrong when nothing changed is wrong.
        let suspicious = verdict.as_ref().map_or(true, |v| v.problems.count > 0);
        if !suspicious || attempt == ATTEMPTS_MAX || before == files(disk, log).await {
            break verdict?;
        }
        attempt += 1;
    };
    show(log.shard, &verdict, out)?;
    Ok(verdict.problems.count == 0)
}

/// Which files there are, and which use each segment is in.
async fn files<D: Disk>(disk: &D, log: LogFacts) -> Option<(Vec<(String, u64)>, Vec<u64>)> {
    let found = find(disk, log).await.ok()?;
    Some((disk.list().ok()?, found.segments.keys().copied().collect()))
}

async fn judge<D: Disk>(disk: &D, log: LogFacts) -> Result<Verdict, Error> {
    let mut problems = Problems::default();
    let found = match find(disk, log).await {
        Ok(found) => found,
        Err(RecoveryError::SegmentHeader { file, reason }) => {
            problems.push(&file, 0, reason.into());
            return Ok(Verdict { problems, ..Verdict::default() });
        }
        Err(error) => return Err(error.into()),
    };
    let (files, newest) = checkpoints(disk, log).await?;
    for file in &files {
        if let Err((offset_bytes, reason)) = file.read {
            problems.push(&file.name, offset_bytes, Fault::Format(reason));
        }
    }
    let Some(start) = oldest(log, &found, newest.as_ref(), &mut problems).await? else {
        return Ok(Verdict { problems, ..Verdict::default() });
    };
    let names = file_names::<D>(&found.segments);
    let complete = start.pos.segment == 1;
    let mut checker = Checker::new(log.shard, &names, complete, newest.as_ref(), problems);
    let walked = walk::<D, _>(&found.segments, log.salt(), start, &mut checker).await?;
    checker.finish(walked.end);
    Ok(Verdict {
        segments: names.range(start.pos.segment..=walked.end.pos.segment).count(),
        frames: checker.frames,
        records: checker.records,
        lost: checker.lost,
        tail_moving: walked.tail_moving,
        problems: checker.problems,
    })
}

fn show(shard: u16, verdict: &Verdict, out: &mut impl Write) -> std::io::Result<()> {
    let Verdict { segments, frames, records, lost, tail_moving, problems } = verdict;
    for problem in &problems.first {
        writeln!(out, "shard {shard}: {problem}")?;
    }
    let left = problems.count - problems.first.len() as u64;
    if left > 0 {
        writeln!(out, "shard {shard}: and {left} more")?;
    }
    let judgement = match problems.count {
        0 => "ok".to_owned(),
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let quarantine = match lost {
        0 => String::new(),
        1 => ", 1 place in quarantine".to_owned(),
        count => format!(", {count} places in quarantine"),
    };
    let tail = if *tail_moving { ", tail still being written" } else { "" };
    writeln!(
        out,
        "shard {shard}: {judgement}, {segments} segments, {frames} frames, {records} records\
         {quarantine}{tail}"
    )
}
