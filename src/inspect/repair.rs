//! `thalweg repair`: tells what is damaged in a stopped server's directory, and gives up a damaged
//! place when it is told to.
//!
//! * Nothing that is still whole is written again, and the damaged bytes stay where they are. They
//!   are copied aside first; then the place is entered in the shard's `log::quarantine`.
//! * A place can be given up when it lies before the newest checkpoint: a restart does not walk
//!   over it, and everything but the records that were there is known from the checkpoint. What a
//!   restart needs is not given up: tails would move back, and numbers be given out again.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use glommio::{LocalExecutorBuilder, Placement};

use super::Error;
use super::fault::Problems;
use super::saved::checkpoints;
use super::start::{FIRST_FRAME_BYTES, oldest};
use super::survey::{Hit, Survey};
use super::walk::walk;
use crate::directory::{DataDirectory, QUARANTINE};
use crate::io::glommio::GlommioIo;
use crate::io::{BLOCK_BYTES, Buffer, Disk, Extent, IoResult, LogFile};
use crate::log::quarantine::{LostPlace, LostRecords, Quarantine};
use crate::log::recovery::{Found, find};
use crate::log::segment::{LogFacts, Segment};
use crate::types::LogPos;

/// Bytes copied at a time.
const COPY_BYTES: usize = 1024 * 1024;

/// What `repair` is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairPlan {
    /// One shard alone; all when it is unset.
    pub shard: Option<u16>,
    /// The damaged place to give up, as `FILE:OFFSET`; nothing is changed when it is unset.
    pub quarantine: Option<String>,
}

/// What was found in a shard.
struct Surveyed<D: Disk> {
    found: Found<D>,
    survey: Survey,
    /// What is wrong beside damaged frames.
    other: Problems,
}

/// Carries out `plan` on the data directory at `path` and writes what it finds to `out`.
///
/// * Returns: false when damage is left that nobody has given up.
/// * Errors: [`Error`]; [`Error::Refused`] when the place cannot be given up, and nothing was
///   changed then.
/// * Durable: the copy and the entry in the quarantine, when it returns.
/// * Call it on a thread that runs no executor.
pub fn repair(path: &Path, plan: &RepairPlan, out: &mut impl Write) -> Result<bool, Error> {
    let directory = DataDirectory::open_locked(path)?;
    let shards = match plan.shard {
        None if plan.quarantine.is_some() && directory.shards() > 1 => {
            return Err(Error::Refused("which shard? Each has files of these names".to_owned()));
        }
        None => 0..directory.shards(),
        Some(shard) if shard < directory.shards() => shard..shard + 1,
        Some(shard) => return Err(Error::Refused(format!("there is no shard {shard}"))),
    };
    let mut whole = true;
    for shard in shards {
        directory.check_shard(shard)?;
        whole &= repair_shard(&directory, shard, plan, out)?;
    }
    out.flush()?;
    Ok(whole)
}

fn repair_shard(
    directory: &DataDirectory,
    shard: u16,
    plan: &RepairPlan,
    out: &mut impl Write,
) -> Result<bool, Error> {
    let (path, log) = (directory.shard_path(shard), directory.log_facts(shard));
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make().map_err(Error::Executor)?;
    executor.run(async {
        let Some(target) = &plan.quarantine else {
            let surveyed = survey(&GlommioIo::read_only(&path), log).await?;
            return Ok(tell(log, &surveyed, out)?);
        };
        let io = GlommioIo::new(&path);
        let surveyed = survey(&io, log).await?;
        let hit = surveyed.hit(target)?;
        let end_offset = surveyed.end_of(hit).map_err(Error::Refused)?;
        let copies = GlommioIo::new(&directory.make_quarantine()?);
        surveyed.give_up(log, (&io, &copies), hit, end_offset, out).await?;
        let surveyed = survey(&io, log).await?;
        Ok(tell(log, &surveyed, out)?)
    })
}

async fn survey<D: Disk>(disk: &D, log: LogFacts) -> Result<Surveyed<D>, Error> {
    let found = find(disk, log).await?;
    let (_, newest) = checkpoints(disk, log).await?;
    let mut other = Problems::default();
    let start = oldest(log, &found, newest.as_ref(), &mut other).await?;
    let mut survey = Survey::new(newest);
    if let Some(start) = start {
        walk::<D, _>(&found.segments, log.salt(), start, &mut survey).await?;
    }
    survey.finish();
    Ok(Surveyed { found, survey, other })
}

/// Writes what is damaged; returns whether nothing is.
fn tell<D: Disk>(
    log: LogFacts,
    surveyed: &Surveyed<D>,
    out: &mut impl Write,
) -> std::io::Result<bool> {
    let shard = log.shard;
    for problem in &surveyed.other.first {
        writeln!(out, "shard {shard}: {problem}")?;
    }
    for hit in &surveyed.survey.hits {
        let place = surveyed.name(hit.pos);
        writeln!(out, "shard {shard}: damaged at {place}: {}", hit.fault)?;
        show(out, "may have been there", &surveyed.survey.missing_at(hit.pos))?;
        match surveyed.end_of(hit) {
            Ok(_) => writeln!(out, "  can be given up with --quarantine {place}")?,
            Err(reason) => writeln!(out, "  cannot be given up: {reason}")?,
        }
    }
    let (hits, lost) = (surveyed.survey.hits.len(), surveyed.found.quarantine.places.len());
    writeln!(out, "shard {shard}: {hits} damaged places, {lost} more in quarantine")?;
    Ok(hits == 0 && surveyed.other.count == 0)
}

fn show(out: &mut impl Write, what: &str, records: &[LostRecords]) -> std::io::Result<()> {
    for LostRecords { name, first_seq_num, end_seq_num, .. } in records {
        writeln!(out, "  {name}: records {first_seq_num} to {} {what}", end_seq_num - 1)?;
    }
    Ok(())
}

impl<D: Disk> Surveyed<D> {
    fn name(&self, pos: LogPos) -> String {
        let segment = self.found.segments.get(&pos.segment);
        let file = segment.map_or("a missing segment", |segment| segment.file.name());
        format!("{file}:{}", pos.offset_bytes)
    }

    fn hit(&self, target: &str) -> Result<&Hit, Error> {
        let hit = self.survey.hits.iter().find(|hit| self.name(hit.pos) == target);
        hit.ok_or_else(|| Error::Refused(format!("no damaged place begins at {target}")))
    }

    /// Where a damaged place ends that can be given up; why it cannot be, otherwise.
    fn end_of(&self, hit: &Hit) -> Result<u32, String> {
        let refuse = |reason: &str| Err(reason.to_owned());
        let Some(newest) = &self.survey.newest else {
            return refuse("there is no usable checkpoint");
        };
        let Some(next) = hit.next else { return refuse("where it ends cannot be told") };
        if next.chain.next_frame_seq > newest.facts.chain.next_frame_seq {
            return refuse("it is not before the newest checkpoint, so a restart needs it");
        }
        let first_after = LogPos { segment: hit.pos.segment + 1, offset_bytes: FIRST_FRAME_BYTES };
        match self.found.segments.get(&hit.pos.segment) {
            _ if next.pos.segment == hit.pos.segment => Ok(next.pos.offset_bytes),
            Some(segment) if next.pos == first_after => {
                Ok(u32::try_from(segment.bytes).expect("segments are at most 4 GiB"))
            }
            _ => refuse("it goes on in the next segment"),
        }
    }

    /// Copies the damaged bytes and enters the place in the quarantine.
    async fn give_up(
        &self,
        log: LogFacts,
        (disk, copies): (&D, &D),
        hit: &Hit,
        end_offset: u32,
        out: &mut impl Write,
    ) -> Result<(), Error> {
        let Some(next) = hit.next else { return Ok(()) };
        let segment = &self.found.segments[&hit.pos.segment];
        let file = segment.file.name();
        let copy = format!("shard-{}-{file}-{}", log.shard, hit.pos.offset_bytes);
        let unreadable =
            copy_aside(segment, hit.pos.offset_bytes, end_offset, copies, &copy).await?;
        if unreadable > 0 {
            writeln!(out, "  {unreadable} blocks cannot be read; the copy holds zeros there")?;
        }
        let oldest = self.found.segments.keys().next().copied().unwrap_or(0);
        let mut places = self.found.quarantine.places.clone();
        places.retain(|place| place.epoch >= oldest);
        places.push(LostPlace {
            epoch: hit.pos.segment,
            offset: hit.pos.offset_bytes,
            end_offset,
            frame_seq: hit.frame_seq,
            next_frame_seq: next.chain.next_frame_seq,
            next_prev_crc: next.chain.prev_crc,
            copy: format!("{QUARANTINE}/{copy}"),
        });
        places.sort_by_key(|place| (place.epoch, place.offset));
        let begin = |p: &LostPlace| LogPos { segment: p.epoch, offset_bytes: p.offset };
        let begins: BTreeSet<LogPos> = places.iter().map(begin).collect();
        let (records, left) = self.survey.lost_with(&begins);
        show(out, "are given up", &records)?;
        show(out, "stay refused, until other damage is given up too", &left)?;
        Quarantine { places, records }.write(disk).await?;
        writeln!(out, "  given up; the bytes are in {QUARANTINE}/{copy}")?;
        Ok(())
    }
}

/// Copies a stretch of a segment into a file of its own; returns how many blocks cannot be read.
///
/// * Durable: yes, name included, when it returns.
async fn copy_aside<D: Disk>(
    segment: &Segment<D::File>,
    begin: u32,
    end: u32,
    copies: &D,
    name: &str,
) -> IoResult<u64> {
    let temporary = format!("{name}.tmp");
    if copies.list()?.iter().any(|(left, _)| *left == temporary) {
        copies.remove(&temporary)?;
    }
    let (begin, end) = (u64::from(begin), u64::from(end));
    let file = copies.create(&temporary, end - begin).await?;
    let (mut at, mut unreadable) = (begin, 0);
    while at < end {
        let left = usize::try_from(end - at).expect("segments are at most 4 GiB");
        let mut extent = Extent { offset_bytes: at, len_bytes: left.min(COPY_BYTES) };
        let mut read = segment.file.read_at(extent).await;
        if read.is_err() {
            extent.len_bytes = BLOCK_BYTES;
            read = segment.file.read_at(extent).await;
        }
        let mut buf = copies.alloc(extent.len_bytes);
        match read {
            Ok(bytes) => buf.as_mut().copy_from_slice(bytes.as_ref()),
            Err(_) => {
                buf.as_mut().fill(0);
                unreadable += 1;
            }
        }
        buf.truncate(extent.len_bytes);
        file.write_at(Rc::new(buf), at - begin).await?;
        at += extent.len_bytes as u64;
    }
    file.sync().await?;
    copies.rename(&temporary, name)?;
    copies.sync_dir().await?;
    Ok(unreadable)
}
