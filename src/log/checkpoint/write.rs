//! Writing a checkpoint: frames go out as they fill, so that no more than a part of it is ever in
//! memory.

use std::collections::VecDeque;
use std::rc::Rc;

use super::super::entry::{Kind, metadata_bytes, put_metadata};
use super::super::format::{FRAME_HEADER_BYTES, FrameHeader, frame_bytes};
use super::super::segment::LogFacts;
use super::{
    CheckpointFacts, FRAME_PAYLOAD_BYTES, KEEP, PART_BYTES, TEMPORARY, encode, file_name, list,
    number, remove_unfinished,
};
use crate::io::{BLOCK_BYTES, Clock, Disk, IoResult, LogFile};

/// Collects entries of a checkpoint, in memory, until a [`CheckpointWriter`] takes them.
#[derive(Debug, Default)]
pub struct CheckpointBuilder {
    pub(super) frames: VecDeque<(Vec<u8>, u32)>,
}

impl CheckpointBuilder {
    /// Adds an entry whose bytes after the kind are `body`.
    pub fn push(&mut self, kind: Kind, body: &[u8]) {
        let mut rest = body;
        while let Some((part, after)) = rest.split_at_checked(PART_BYTES)
            && !after.is_empty()
        {
            self.push_part(Kind::Part, part);
            rest = after;
        }
        self.push_part(kind, rest);
    }

    pub(super) fn push_part(&mut self, kind: Kind, body: &[u8]) {
        let needed = metadata_bytes(body.len());
        let full = |(bytes, _): &(Vec<u8>, u32)| bytes.len() + needed > FRAME_PAYLOAD_BYTES;
        if self.frames.back().is_none_or(full) {
            self.frames.push_back((Vec::new(), 0));
        }
        let (bytes, count) = self.frames.back_mut().expect("pushed above");
        let start = bytes.len();
        bytes.resize(start + needed, 0);
        put_metadata(&mut bytes[start..], kind, body);
        *count += 1;
    }

    /// How many frames are full.
    #[must_use]
    pub fn full_frames(&self) -> usize {
        self.frames.len().saturating_sub(1)
    }

    fn take_full(&mut self) -> Option<(Vec<u8>, u32)> {
        if self.full_frames() > 0 { self.frames.pop_front() } else { None }
    }

    /// Writes a whole checkpoint; see [`CheckpointWriter::finish`].
    pub async fn write<D: Disk + Clock>(
        mut self,
        disk: &D,
        log: LogFacts,
        facts: CheckpointFacts,
    ) -> IoResult<()> {
        let mut writer = CheckpointWriter::create(disk, log, facts.chain.next_frame_seq).await?;
        writer.write_full(&mut self).await?;
        writer.finish(self, facts).await
    }
}

/// A checkpoint that is being written, under a temporary name.
#[derive(Debug)]
pub struct CheckpointWriter<'d, D: Disk> {
    disk: &'d D,
    log: LogFacts,
    /// Number of the frame that goes where the checkpoint stands.
    next_frame_seq: u64,
    file: D::File,
    end_bytes: u64,
    frame_count: usize,
    prev_crc: u32,
}

impl<'d, D: Disk + Clock> CheckpointWriter<'d, D> {
    /// Begins a checkpoint that stands where the frame `next_frame_seq` goes; what interrupted
    /// attempts left, this one's or an earlier one's, is removed.
    pub async fn create(disk: &'d D, log: LogFacts, next_frame_seq: u64) -> IoResult<Self> {
        remove_unfinished(disk)?;
        let temporary = format!("{}{TEMPORARY}", file_name(next_frame_seq));
        // How long it will be is not known: it grows.
        let file = disk.create(&temporary, BLOCK_BYTES as u64).await?;
        let end_bytes = BLOCK_BYTES as u64;
        Ok(Self { disk, log, next_frame_seq, file, end_bytes, frame_count: 0, prev_crc: 0 })
    }

    /// Writes the frames that are full and takes them out of `builder`.
    pub async fn write_full(&mut self, builder: &mut CheckpointBuilder) -> IoResult<()> {
        while let Some((payload, entry_count)) = builder.take_full() {
            self.write_frame(&payload, entry_count).await?;
        }
        Ok(())
    }

    async fn write_frame(&mut self, payload: &[u8], entry_count: u32) -> IoResult<()> {
        self.frame_count += 1;
        let mut buf = self.disk.alloc(frame_bytes(payload.len()));
        let out = buf.as_mut();
        out[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + payload.len()].copy_from_slice(payload);
        out[FRAME_HEADER_BYTES + payload.len()..].fill(0);
        let header = FrameHeader {
            shard: self.log.shard,
            epoch: self.next_frame_seq,
            frame_seq: self.frame_count as u64,
            durable_seq: 0,
            written_us: self.disk.wall_us(),
            prev_crc: self.prev_crc,
            payload_bytes: u32::try_from(payload.len()).expect("bounded by the builder"),
            payload_crc: crc32c::crc32c(payload),
            entry_count,
        };
        self.prev_crc = header.encode(out, self.log.salt());
        let len_bytes = out.len() as u64;
        self.file.write_at(Rc::new(buf), self.end_bytes).await?;
        self.end_bytes += len_bytes;
        Ok(())
    }

    /// Writes what is left in `builder`, gives the checkpoint its name and removes those that it
    /// makes superfluous.
    ///
    /// * Durable: yes, name included, when it returns.
    pub async fn finish(
        mut self,
        mut builder: CheckpointBuilder,
        facts: CheckpointFacts,
    ) -> IoResult<()> {
        assert_eq!(facts.chain.next_frame_seq, self.next_frame_seq, "it stands where it began");
        while let Some((payload, entry_count)) = builder.frames.pop_front() {
            self.write_frame(&payload, entry_count).await?;
        }
        let mut block = self.disk.alloc(BLOCK_BYTES);
        encode(block.as_mut(), self.log, facts, self.frame_count);
        self.file.write_at(Rc::new(block), 0).await?;
        self.file.sync().await?;
        let old = list(self.disk)?;
        // One that stands where the newest does takes the next number instead of its place: what
        // both need less than the one before them may be given up then.
        let newest = old.last().map_or(0, |(name, _)| number(name));
        let name = file_name(self.next_frame_seq.max(newest.saturating_add(1)));
        self.disk.rename(self.file.name(), &name)?;
        self.disk.sync_dir().await?;
        for (old, _) in old.iter().filter(|(n, _)| *n != name).rev().skip(KEEP - 1) {
            self.disk.remove(old)?;
        }
        Ok(())
    }
}
