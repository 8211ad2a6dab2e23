//! A shard's directory, made from few bytes: what a mutation changes is a frame, an entry or a
//! field, and lengths and checksums are made right again, so that damage gets past them.
//!
//! The bytes are a run of steps, each a number and what belongs to it (integers little-endian):
//!
//! ```text
//!  0  frame           u8 n, n * (u8 kind, u16 bytes, body)
//!  1  frame, changed  u8 field, u64 value, then as 0
//!  2  frame, raw      u16 bytes, payload
//!  3  segment         the next one begins
//!  4  segment, changed  u8 field, u64 value
//!  5  checkpoint      of this place; the frames that follow are its own
//!  6  checkpoint, changed  u8 field, u64 value
//!  7  log             frames go to the log again
//!  8  raw             u8 bytes, bytes: written as they are, and padded to a block
//!  9  quarantine      u16 bytes, text
//! ```
//!
//! What is missing at the end counts as nothing. Bounded: [`STEPS_MAX`] steps, [`FILES_MAX`] files.

use std::collections::BTreeMap;

use thalweg::io::BLOCK_BYTES;
use thalweg::io::sim::{Faults, SimIo};
use thalweg::log::entry::entries;
use thalweg::log::format::{FRAME_HEADER_BYTES, FrameHeader, SegmentHeader};
use thalweg::log::quarantine;
use thalweg::log::segment::{LogFacts, file_name};
use thalweg::log::writer::Chain;

/// What the files say about themselves.
pub const LOG: LogFacts = LogFacts { directory_id: 7, shard: 0, segment_bytes: 16 * 4096 };

const STEPS_MAX: usize = 64;
const FILES_MAX: usize = 8;

/// The numbers of the steps, for who writes an image.
pub mod step {
    /// A frame of entries.
    pub const FRAME: u8 = 0;
    /// A frame with one field changed.
    pub const FRAME_CHANGED: u8 = 1;
    /// A frame of any payload.
    pub const FRAME_RAW: u8 = 2;
    /// The next segment.
    pub const SEGMENT: u8 = 3;
    /// The next segment with one field changed.
    pub const SEGMENT_CHANGED: u8 = 4;
    /// A checkpoint.
    pub const CHECKPOINT: u8 = 5;
    /// A checkpoint with one field changed.
    pub const CHECKPOINT_CHANGED: u8 = 6;
    /// Back to the log.
    pub const LOG: u8 = 7;
    /// Bytes as they are.
    pub const RAW: u8 = 8;
    /// What was given up for lost.
    pub const QUARANTINE: u8 = 9;
    /// How many there are.
    pub const COUNT: u8 = 10;
}

/// Reads the steps; what is missing counts as zero.
struct Tape<'a>(&'a [u8]);

impl<'a> Tape<'a> {
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self, bytes: usize) -> u64 {
        let mut value = [0; 8];
        let taken = self.bytes(bytes);
        value[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(value)
    }

    fn short(&mut self, bytes: usize) -> usize {
        usize::try_from(self.number(bytes)).expect("at most 16 bits")
    }

    fn change(&mut self) -> Option<(u64, u64)> {
        Some((self.number(1), self.number(8)))
    }

    fn payload(&mut self) -> Vec<u8> {
        let mut payload = Vec::new();
        for _ in 0..self.number(1) {
            let kind = self.number(1).to_le_bytes()[0];
            let len = self.short(2);
            let body = self.bytes(len);
            let entry_bytes = u32::try_from(1 + body.len()).expect("at most 16 bits");
            payload.extend_from_slice(&entry_bytes.to_le_bytes());
            payload.push(kind);
            payload.extend_from_slice(body);
            if self.0.is_empty() {
                break;
            }
        }
        payload
    }
}

/// A checkpoint's file while its frames are gathered.
#[derive(Debug)]
struct Checkpoint {
    name: String,
    block: Vec<u8>,
    change: Option<(u64, u64)>,
    frames: Vec<u8>,
    frame_count: u32,
    epoch: u64,
    prev_crc: u32,
}

/// The files that are being made.
#[derive(Debug, Default)]
struct Maker {
    files: BTreeMap<String, Vec<u8>>,
    segments: u64,
    epoch: u64,
    next_frame_seq: u64,
    prev_crc: u32,
    open: Option<Checkpoint>,
}

/// The directory that `data` describes.
pub fn make(data: &[u8]) -> SimIo {
    let mut maker = Maker { next_frame_seq: Chain::START.next_frame_seq, ..Maker::default() };
    maker.segment(None);
    let mut tape = Tape(data);
    for _ in 0..STEPS_MAX {
        if tape.0.is_empty() || maker.files.len() >= FILES_MAX {
            break;
        }
        maker.step(&mut tape);
    }
    maker.close();
    let io = SimIo::new(0);
    io.set_faults(Faults { latency_us_max: 0, ..Faults::default() });
    for (name, mut bytes) in maker.files {
        if name.starts_with("segment-") {
            let len_bytes = usize::try_from(LOG.segment_bytes).expect("small");
            bytes.resize(len_bytes, 0);
        }
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        io.put_contents(&name, bytes);
    }
    io
}

/// Sets field number `field` of `bytes`, which starts at one of these places and has a length.
fn set(bytes: &mut [u8], fields: &[(usize, usize)], (field, value): (u64, u64)) {
    let index = usize::try_from(field).expect("8 bits") % fields.len();
    let (at, len) = fields[index];
    bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

impl Maker {
    fn step(&mut self, tape: &mut Tape<'_>) {
        match tape.number(1).to_le_bytes()[0] % step::COUNT {
            step::FRAME => self.frame(&tape.payload(), None),
            step::FRAME_CHANGED => {
                let change = tape.change();
                self.frame(&tape.payload(), change);
            }
            step::FRAME_RAW => {
                let len = tape.short(2);
                self.frame(tape.bytes(len), None);
            }
            step::SEGMENT => self.segment(None),
            step::SEGMENT_CHANGED => {
                let change = tape.change();
                self.segment(change);
            }
            step::CHECKPOINT => self.checkpoint(None),
            step::CHECKPOINT_CHANGED => {
                let change = tape.change();
                self.checkpoint(change);
            }
            step::LOG => self.close(),
            step::RAW => {
                let len = tape.short(1);
                let mut block = tape.bytes(len).to_vec();
                block.resize(len.max(1).next_multiple_of(BLOCK_BYTES), 0);
                self.out().extend_from_slice(&block);
            }
            _ => {
                let len = tape.short(2);
                let text = tape.bytes(len);
                let mut bytes =
                    format!("TWQ1 {:08x} {}\n", crc32c::crc32c(text), text.len()).into_bytes();
                bytes.extend_from_slice(text);
                self.files.insert(quarantine::FILE.to_owned(), bytes);
            }
        }
    }

    /// What frames are written to.
    fn out(&mut self) -> &mut Vec<u8> {
        match &mut self.open {
            Some(checkpoint) => &mut checkpoint.frames,
            None => self.files.entry(file_name(self.segments)).or_default(),
        }
    }

    fn segment(&mut self, change: Option<(u64, u64)>) {
        self.close();
        self.segments += 1;
        self.epoch = self.epoch.wrapping_add(1);
        let header = SegmentHeader {
            directory_id: LOG.directory_id,
            shard: LOG.shard,
            epoch: self.epoch,
            segment_bytes: LOG.segment_bytes,
        };
        let mut block = vec![0; BLOCK_BYTES];
        header.encode(&mut block);
        if let Some(change) = change {
            set(&mut block, &[(24, 8), (32, 8), (6, 2), (8, 8), (4, 2)], change);
            let crc = crc32c::crc32c(&block[..60]);
            block[60..64].copy_from_slice(&crc.to_le_bytes());
            if let Ok(changed) = SegmentHeader::decode(&block) {
                self.epoch = changed.epoch;
            }
        }
        self.files.insert(file_name(self.segments), block);
    }

    fn frame(&mut self, payload: &[u8], change: Option<(u64, u64)>) {
        let (epoch, frame_seq, prev_crc) = match &self.open {
            Some(c) => (c.epoch, u64::from(c.frame_count) + 1, c.prev_crc),
            None => (self.epoch, self.next_frame_seq, self.prev_crc),
        };
        let header = FrameHeader {
            shard: LOG.shard,
            epoch,
            frame_seq,
            durable_seq: frame_seq.wrapping_sub(1),
            written_us: 1_700_000_000_000_000,
            prev_crc,
            payload_bytes: u32::try_from(payload.len()).expect("an input is small"),
            payload_crc: crc32c::crc32c(payload),
            entry_count: u32::try_from(entries(payload).count()).expect("an input is small"),
        };
        let mut frame = vec![0; header.frame_bytes()];
        let mut crc = header.encode(&mut frame, LOG.salt());
        if let Some(change) = change {
            let fields = [(8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 4), (52, 4)];
            set(&mut frame, &[&fields[..], &[(6, 2), (4, 2), (56, 4)]].concat(), change);
            crc = again(&mut frame);
        }
        frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + payload.len()].copy_from_slice(payload);
        self.out().extend_from_slice(&frame);
        if let Some(checkpoint) = &mut self.open {
            (checkpoint.frame_count, checkpoint.prev_crc) = (checkpoint.frame_count + 1, crc);
        } else {
            (self.next_frame_seq, self.prev_crc) = (self.next_frame_seq + 1, crc);
        }
    }

    fn checkpoint(&mut self, change: Option<(u64, u64)>) {
        self.close();
        let offset_bytes = u32::try_from(self.out().len()).expect("an input is small");
        let mut block = vec![0; BLOCK_BYTES];
        block[0..4].copy_from_slice(b"TWC1");
        block[4..6].copy_from_slice(&1_u16.to_le_bytes());
        block[6..8].copy_from_slice(&LOG.shard.to_le_bytes());
        block[8..24].copy_from_slice(&LOG.directory_id.to_le_bytes());
        block[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        block[32..40].copy_from_slice(&1_u64.to_le_bytes());
        block[40..44].copy_from_slice(&offset_bytes.to_le_bytes());
        block[44..48].copy_from_slice(&self.prev_crc.to_le_bytes());
        block[48..56].copy_from_slice(&self.next_frame_seq.to_le_bytes());
        block[56..64].copy_from_slice(&100_u64.to_le_bytes());
        self.open = Some(Checkpoint {
            name: format!("checkpoint-{:020}.ckpt", self.next_frame_seq),
            block,
            change,
            frames: Vec::new(),
            frame_count: 0,
            epoch: self.next_frame_seq,
            prev_crc: 0,
        });
    }

    /// Ends the checkpoint, if there is one.
    fn close(&mut self) {
        let Some(mut checkpoint) = self.open.take() else { return };
        let block = &mut checkpoint.block;
        block[64..68].copy_from_slice(&checkpoint.frame_count.to_le_bytes());
        if let Some(change) = checkpoint.change {
            let numbers = [(24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8), (64, 4), (68, 8)];
            set(block, &[&numbers[..], &[(6, 2), (4, 2), (8, 8)]].concat(), change);
        }
        let crc = crc32c::crc32c(&block[..BLOCK_BYTES - 4]);
        block[BLOCK_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        let bytes = [checkpoint.block, checkpoint.frames].concat();
        self.files.insert(checkpoint.name, bytes);
    }
}

/// Makes the header's checksum right again; returns it.
fn again(frame: &mut [u8]) -> u32 {
    // The salt is the checksum of the directory's name.
    let salt = crc32c::crc32c(&LOG.directory_id.to_le_bytes());
    let crc = crc32c::crc32c_append(salt, &frame[..60]);
    frame[60..64].copy_from_slice(&crc.to_le_bytes());
    crc
}
