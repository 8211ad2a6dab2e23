//! What the log looks like on disk. `docs/FORMAT.md` draws the same; the golden files in
//! `tests/` hold the layout still.
//!
//! All integers are little-endian. A segment is one block of header and then frames:
//!
//! ```text
//!  segment   0        4096                                              segment_bytes
//!            +--------+---------+-------------+-----+--------------------+
//!            | header | frame   | frame       | ... | zeros, or frames   |
//!            | 4096   | n*4096  | n*4096      |     | of an older epoch  |
//!            +--------+---------+-------------+-----+--------------------+
//!
//!  frame     0                64                    64+payload_bytes    n*4096
//!            +----------------+----------------------+------------------+
//!            | header         | entries              | zeros            |
//!            +----------------+----------------------+------------------+
//!
//!  frame header
//!    0  u32 magic "TWF1"        24 u64 durable_seq        48 u32 payload_crc
//!    4  u16 version             32 u64 written_us         52 u32 entry_count
//!    6  u16 shard               40 u32 prev_crc           56 u32 reserved, 0
//!    8  u64 epoch               44 u32 payload_bytes      60 u32 header_crc (of 0..60)
//!   16  u64 frame_seq
//!
//!  segment header
//!    0  u32 magic "TWS1"        24 u64 epoch              60 u32 header_crc (of 0..60)
//!    4  u16 version             32 u64 segment_bytes      64 .. zeros
//!    6  u16 shard               40 .. zeros
//!    8  u128 directory_id
//! ```
//!
//! Both headers lie within one 512-byte sector, so an interrupted write leaves the old one or the
//! new one.
//!
//! Frames are chained: `prev_crc` is the `header_crc` of the frame before, across segments, and a
//! header's checksum covers its payload's. `header_crc` starts from a salt made of the directory's
//! random name, so nothing that a client stores can be mistaken for a frame. `durable_seq` is the
//! newest frame known to be durable when this one was written: it is what lets recovery tell a
//! torn tail from damage inside acknowledged data.

use crate::io::BLOCK_BYTES;
use crate::types::LogPos;

/// Version of everything in this file.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 64;
/// Bytes of a segment's header, one block.
pub const SEGMENT_HEADER_BYTES: usize = BLOCK_BYTES;
/// Largest payload of a frame, in bytes: a maximal batch and its overhead, with room.
pub const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Greatest epoch, number of a frame and id of a stream that is believed. They go up one by one
/// from 1, so none comes near it, and what follows one of them is always a number too.
pub const NUMBER_MAX: u64 = u64::MAX / 2;

const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"TWF1");
const SEGMENT_MAGIC: u32 = u32::from_le_bytes(*b"TWS1");
const SEGMENT_CRC_AT: usize = 60;

const _: () = assert!(FRAME_HEADER_BYTES <= 512 && SEGMENT_CRC_AT + 4 <= 512);
const _: () = assert!(PAYLOAD_BYTES_MAX < u32::MAX as usize);

/// Why bytes from disk are not what was expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Another magic number, or zeros.
    #[error("no magic number")]
    Magic,
    /// Written by a version of the format that this build does not know.
    #[error("format version {0} is not known to this build")]
    Version(u16),
    /// The header's checksum does not match.
    #[error("header checksum mismatch")]
    HeaderChecksum,
    /// The payload's checksum does not match.
    #[error("payload checksum mismatch")]
    PayloadChecksum,
    /// A length beyond what the format allows.
    #[error("length out of bounds")]
    Length,
    /// A number or an offset that no log comes to.
    #[error("number out of bounds")]
    Number,
    /// An entry that cannot be parsed although its frame's checksum matches.
    #[error("entry cannot be parsed: {0}")]
    Entry(&'static str),
}

/// What a directory's frame checksums start from, so that no record's bytes can pass for a frame
/// of the log that stores them, nor a frame of one directory for one of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(u32);

impl Salt {
    /// The salt of the directory named `directory_id`.
    #[must_use]
    pub fn of(directory_id: u128) -> Self {
        Self(crc32c::crc32c(&directory_id.to_le_bytes()))
    }
}

/// The header of a frame; see the drawing above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Shard whose log this is.
    pub shard: u16,
    /// Epoch of the segment it lies in.
    pub epoch: u64,
    /// Place in the shard's log; contiguous.
    pub frame_seq: u64,
    /// Newest frame known durable when this one was written.
    pub durable_seq: u64,
    /// Microseconds since the Unix epoch when it was written.
    pub written_us: u64,
    /// `header_crc` of the frame before.
    pub prev_crc: u32,
    /// Bytes of entries after the header.
    pub payload_bytes: u32,
    /// CRC-32C of those bytes.
    pub payload_crc: u32,
    /// How many entries.
    pub entry_count: u32,
}

impl FrameHeader {
    /// Writes the header into the first [`FRAME_HEADER_BYTES`] of `block`; returns its checksum.
    pub fn encode(&self, block: &mut [u8], salt: Salt) -> u32 {
        let out = &mut block[..FRAME_HEADER_BYTES];
        out[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[6..8].copy_from_slice(&self.shard.to_le_bytes());
        out[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        out[16..24].copy_from_slice(&self.frame_seq.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable_seq.to_le_bytes());
        out[32..40].copy_from_slice(&self.written_us.to_le_bytes());
        out[40..44].copy_from_slice(&self.prev_crc.to_le_bytes());
        out[44..48].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[48..52].copy_from_slice(&self.payload_crc.to_le_bytes());
        out[52..56].copy_from_slice(&self.entry_count.to_le_bytes());
        out[56..60].fill(0);
        let crc = crc32c::crc32c_append(salt.0, &out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Reads and checks the header at the start of `block`; returns it with its checksum.
    ///
    /// * Errors: [`FormatError::Magic`], [`HeaderChecksum`](FormatError::HeaderChecksum),
    ///   [`Version`](FormatError::Version), [`Length`](FormatError::Length) or
    ///   [`Number`](FormatError::Number), in this order.
    pub fn decode(block: &[u8], salt: Salt) -> Result<(Self, u32), FormatError> {
        let bytes = block.get(..FRAME_HEADER_BYTES).ok_or(FormatError::Length)?;
        if u32_at(bytes, 0) != FRAME_MAGIC {
            return Err(FormatError::Magic);
        }
        let crc = u32_at(bytes, 60);
        if crc32c::crc32c_append(salt.0, &bytes[..60]) != crc {
            return Err(FormatError::HeaderChecksum);
        }
        let version = u16_at(bytes, 4);
        if version != FORMAT_VERSION {
            return Err(FormatError::Version(version));
        }
        let header = Self {
            shard: u16_at(bytes, 6),
            epoch: u64_at(bytes, 8),
            frame_seq: u64_at(bytes, 16),
            durable_seq: u64_at(bytes, 24),
            written_us: u64_at(bytes, 32),
            prev_crc: u32_at(bytes, 40),
            payload_bytes: u32_at(bytes, 44),
            payload_crc: u32_at(bytes, 48),
            entry_count: u32_at(bytes, 52),
        };
        if header.payload_bytes as usize > PAYLOAD_BYTES_MAX {
            return Err(FormatError::Length);
        }
        if header.epoch > NUMBER_MAX || header.frame_seq > NUMBER_MAX {
            return Err(FormatError::Number);
        }
        Ok((header, crc))
    }

    /// Bytes that the frame takes on disk, padding included.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes as usize)
    }
}

/// Whether a frame can begin at `pos`.
#[must_use]
pub fn is_frame_place(pos: LogPos) -> bool {
    let offset_bytes = pos.offset_bytes as usize;
    pos.segment <= NUMBER_MAX
        && offset_bytes >= SEGMENT_HEADER_BYTES
        && offset_bytes.is_multiple_of(BLOCK_BYTES)
}

/// Bytes on disk of a frame with `payload_bytes` of entries.
#[must_use]
pub fn frame_bytes(payload_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(BLOCK_BYTES)
}

/// The entries of the frame at the start of `bytes`, its payload checked.
///
/// * Errors: [`FormatError::Length`] when `bytes` ends before the payload does,
///   [`FormatError::PayloadChecksum`] when it was damaged.
pub fn payload_of<'a>(header: &FrameHeader, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
    let end = FRAME_HEADER_BYTES + header.payload_bytes as usize;
    let payload = bytes.get(FRAME_HEADER_BYTES..end).ok_or(FormatError::Length)?;
    if crc32c::crc32c(payload) != header.payload_crc {
        return Err(FormatError::PayloadChecksum);
    }
    Ok(payload)
}

/// The header of a segment; see the drawing above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Random name of the data directory, so that segments of two cannot be mixed up.
    pub directory_id: u128,
    /// Shard whose log this is.
    pub shard: u16,
    /// Number of this use of the file; grows by one from segment to segment.
    pub epoch: u64,
    /// Length of the file in bytes.
    pub segment_bytes: u64,
}

impl SegmentHeader {
    /// Writes the header over `block`, which is [`SEGMENT_HEADER_BYTES`] long.
    pub fn encode(&self, block: &mut [u8]) {
        assert_eq!(block.len(), SEGMENT_HEADER_BYTES);
        block.fill(0);
        block[0..4].copy_from_slice(&SEGMENT_MAGIC.to_le_bytes());
        block[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[6..8].copy_from_slice(&self.shard.to_le_bytes());
        block[8..24].copy_from_slice(&self.directory_id.to_le_bytes());
        block[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        block[32..40].copy_from_slice(&self.segment_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&block[..SEGMENT_CRC_AT]);
        block[SEGMENT_CRC_AT..SEGMENT_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads and checks the header in `block`.
    ///
    /// * Errors: as [`FrameHeader::decode`].
    pub fn decode(block: &[u8]) -> Result<Self, FormatError> {
        let bytes = block.get(..SEGMENT_HEADER_BYTES).ok_or(FormatError::Length)?;
        if u32_at(bytes, 0) != SEGMENT_MAGIC {
            return Err(FormatError::Magic);
        }
        if crc32c::crc32c(&bytes[..SEGMENT_CRC_AT]) != u32_at(bytes, SEGMENT_CRC_AT) {
            return Err(FormatError::HeaderChecksum);
        }
        let version = u16_at(bytes, 4);
        if version != FORMAT_VERSION {
            return Err(FormatError::Version(version));
        }
        let id: [u8; 16] = bytes[8..24].try_into().expect("16 bytes by the range");
        let header = Self {
            shard: u16_at(bytes, 6),
            directory_id: u128::from_le_bytes(id),
            epoch: u64_at(bytes, 24),
            segment_bytes: u64_at(bytes, 32),
        };
        if header.epoch > NUMBER_MAX { Err(FormatError::Number) } else { Ok(header) }
    }
}

/// Reads a little-endian `u16`; the caller has checked the length.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("2 bytes by the range"))
}

/// Reads a little-endian `u32`; the caller has checked the length.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes by the range"))
}

/// Reads a little-endian `u64`; the caller has checked the length.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes by the range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(77);

    fn header() -> FrameHeader {
        FrameHeader {
            shard: 3,
            epoch: 7,
            frame_seq: 11,
            durable_seq: 9,
            written_us: 1_700_000_000_000_000,
            prev_crc: 0xDEAD_BEEF,
            payload_bytes: 5,
            payload_crc: crc32c::crc32c(b"hello"),
            entry_count: 1,
        }
    }

    #[test]
    fn frame_header_survives_a_round_trip() {
        let mut block = [0xAA; BLOCK_BYTES];
        let crc = header().encode(&mut block, SALT);
        assert_eq!(FrameHeader::decode(&block, SALT), Ok((header(), crc)));
    }

    #[test]
    fn a_frame_of_another_directory_is_not_taken_for_one_of_this() {
        let mut block = [0; BLOCK_BYTES];
        header().encode(&mut block, SALT);
        let other = FrameHeader::decode(&block, Salt::of(5));
        assert_eq!(other, Err(FormatError::HeaderChecksum));
    }

    #[test]
    fn any_flipped_bit_of_a_frame_header_is_noticed() {
        let mut block = [0; FRAME_HEADER_BYTES];
        header().encode(&mut block, SALT);
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut bad = block;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&bad, SALT).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn any_flipped_bit_of_a_segment_header_is_noticed() {
        let segment =
            SegmentHeader { directory_id: 1 << 100, shard: 1, epoch: 2, segment_bytes: 8 << 20 };
        let mut block = [0; SEGMENT_HEADER_BYTES];
        segment.encode(&mut block);
        assert_eq!(SegmentHeader::decode(&block), Ok(segment));
        for bit in 0..(SEGMENT_CRC_AT + 4) * 8 {
            let mut bad = block;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn numbers_that_no_log_comes_to_are_refused() {
        for (epoch, frame_seq, is_sound) in
            [(NUMBER_MAX, NUMBER_MAX, true), (NUMBER_MAX + 1, 1, false), (1, u64::MAX, false)]
        {
            let frame = FrameHeader { epoch, frame_seq, ..header() };
            let mut block = [0; BLOCK_BYTES];
            let crc = frame.encode(&mut block, SALT);
            let expected = if is_sound { Ok((frame, crc)) } else { Err(FormatError::Number) };
            assert_eq!(FrameHeader::decode(&block, SALT), expected);
            let segment =
                SegmentHeader { directory_id: 1, shard: 1, epoch, segment_bytes: 8 << 20 };
            segment.encode(&mut block);
            let expected = if epoch > NUMBER_MAX { Err(FormatError::Number) } else { Ok(segment) };
            assert_eq!(SegmentHeader::decode(&block), expected);
        }
        for (segment, offset_bytes, is_place) in [
            (1, 4096, true),
            (NUMBER_MAX, u32::MAX - 4095, true),
            (NUMBER_MAX + 1, 4096, false),
            (1, 0, false),
            (1, 4097, false),
        ] {
            assert_eq!(is_frame_place(LogPos { segment, offset_bytes }), is_place);
        }
    }

    #[test]
    fn zeros_and_short_input_are_refused() {
        assert_eq!(FrameHeader::decode(&[0; 64], SALT), Err(FormatError::Magic));
        assert_eq!(FrameHeader::decode(&[0; 63], SALT), Err(FormatError::Length));
        assert_eq!(SegmentHeader::decode(&[0; 4096]), Err(FormatError::Magic));
    }

    #[test]
    fn payload_is_checked_before_it_is_returned() {
        let mut frame = vec![0; BLOCK_BYTES];
        header().encode(&mut frame, SALT);
        frame[64..69].copy_from_slice(b"hello");
        assert_eq!(payload_of(&header(), &frame), Ok(&b"hello"[..]));
        frame[66] ^= 1;
        assert_eq!(payload_of(&header(), &frame), Err(FormatError::PayloadChecksum));
        assert_eq!(payload_of(&header(), &frame[..66]), Err(FormatError::Length));
    }

    #[test]
    fn frames_fill_whole_blocks() {
        assert_eq!(frame_bytes(0), 4096);
        assert_eq!(frame_bytes(4032), 4096);
        assert_eq!(frame_bytes(4033), 8192);
    }
}
