//! The protobuf messages of appends and reads, package `s2.v1`.
//!
//! Answers are decoded by a library; appends, on the hot path, are written by hand in
//! [`crate::request`] and compared with the library's reading of them in tests.
//! Source: S2 specification, section 4.1.

use bytes::Bytes;
use prost::Message;

use crate::receipts::Receipt;

/// A place in a stream.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Position {
    #[prost(uint64, tag = "1")]
    pub(crate) seq_num: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) timestamp: u64,
}

/// What a server answers to one append.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AppendAck {
    #[prost(message, optional, tag = "1")]
    pub(crate) start: Option<Position>,
    #[prost(message, optional, tag = "2")]
    pub(crate) end: Option<Position>,
    #[prost(message, optional, tag = "3")]
    pub(crate) tail: Option<Position>,
    /// Only in sessions that ask for it, of a server that knows it; not part of the S2 API.
    #[prost(message, optional, tag = "10001")]
    pub(crate) receipt: Option<Receipt>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Header {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) name: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// A record as it is read; its bytes share the memory of the message.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SequencedRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) seq_num: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) timestamp: u64,
    #[prost(message, repeated, tag = "3")]
    pub(crate) headers: Vec<Header>,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) body: Bytes,
}

/// One message of a read session; without records it is a heartbeat.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadBatch {
    #[prost(message, repeated, tag = "1")]
    pub(crate) records: Vec<SequencedRecord>,
    #[prost(message, optional, tag = "2")]
    pub(crate) tail: Option<Position>,
}

/// Writes `value` as a varint.
pub(crate) fn push_varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push((value & 0x7F | 0x80).to_le_bytes()[0]);
        value >>= 7;
    }
    buffer.push(value.to_le_bytes()[0]);
}

/// Length of `value` as a varint.
pub(crate) fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_the_length_foretold_and_read_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 1_048_576, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_len(usize::try_from(value).unwrap()), "{value}");
            assert_eq!(
                prost::decode_length_delimiter(&bytes[..]).ok().map(|v| v as u64),
                Some(value)
            );
        }
    }

    #[test]
    fn the_examples_of_the_specification_decode() {
        let heartbeat = ReadBatch::decode(&b"\x12\x05\x08\x05\x10\xE8\x07"[..]).unwrap();
        let tail = Position { seq_num: 5, timestamp: 1_000 };
        assert_eq!(heartbeat, ReadBatch { records: vec![], tail: Some(tail) });
        let empty = ReadBatch::decode(&b"\x12\x00"[..]).unwrap();
        assert_eq!(empty.tail, Some(Position::default()));
        assert_eq!(ReadBatch::decode(&b""[..]).unwrap().tail, None);
    }
}
