//! The fields of one protobuf message, read where they lie.
//!
//! ```text
//! message   [key][value][key][value]…
//! key       varint: field number << 3 | wire type
//! value     0: varint   1: 8 bytes   2: varint length, bytes   5: 4 bytes
//!           3: fields of a group, up to the key with the same number and wire type 4
//! ```
//!
//! Refuses exactly what `prost` refuses, so that both are one opinion.

use crate::types::Span;
use crate::wire::take_varint;

/// How deep messages and groups may be nested, counted from the outermost message.
pub(super) const DEPTH_MAX: u32 = 100;

/// The bytes are no protobuf message of the wanted type; says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

const CUT_SHORT: Malformed = Malformed("malformed protobuf: a field reaches beyond its message");
const BAD_VARINT: Malformed = Malformed("malformed protobuf: invalid varint");
const BAD_GROUP: Malformed = Malformed("malformed protobuf: unexpected end of a group");
const WRONG_TYPE: Malformed = Malformed("malformed protobuf: a field has the wrong wire type");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WireType {
    Varint,
    Fixed64,
    Delimited,
    GroupStart,
    GroupEnd,
    Fixed32,
}

/// What precedes a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// The field's number, at least 1.
    pub(super) number: u32,
    wire_type: WireType,
}

/// Reads the fields of a message from front to back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    /// Everything from the start of the payload to the end of the message.
    bytes: &'a [u8],
    at: usize,
    /// How many levels may still be entered from this message.
    depth_left: u32,
}

impl<'a> Fields<'a> {
    /// The outermost message: all of `bytes` from `at` on. Spans count from the start of `bytes`.
    pub(super) fn of_payload(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, depth_left: DEPTH_MAX }
    }

    /// The message that a field of this one holds.
    pub(super) fn nested(&self, span: Span) -> Self {
        let at = span.offset as usize;
        let bytes = &self.bytes[..at + span.len as usize];
        Self { bytes, at, depth_left: self.depth_left - 1 }
    }

    /// What spans of this message point into.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The key of the next field, or `None` at the end of the message.
    pub(super) fn next_key(&mut self) -> Result<Option<Key>, Malformed> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        self.key().map(Some)
    }

    fn key(&mut self) -> Result<Key, Malformed> {
        let key = u32::try_from(self.varint()?)
            .map_err(|_| Malformed("malformed protobuf: field number out of range"))?;
        let wire_type = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Delimited,
            3 => WireType::GroupStart,
            4 => WireType::GroupEnd,
            5 => WireType::Fixed32,
            _ => return Err(Malformed("malformed protobuf: unknown wire type")),
        };
        let number = key >> 3;
        if number == 0 {
            return Err(Malformed("malformed protobuf: field number 0"));
        }
        Ok(Key { number, wire_type })
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        // Most keys, lengths and numbers of small records are one byte.
        if let Some(&byte) = self.bytes.get(self.at)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        let (value, rest) = take_varint(&self.bytes[self.at..]).ok_or(BAD_VARINT)?;
        self.at = self.bytes.len() - rest.len();
        Ok(value)
    }

    fn advance(&mut self, bytes: u64) -> Result<(), Malformed> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= left => {
                self.at += bytes;
                Ok(())
            }
            _ => Err(CUT_SHORT),
        }
    }

    /// The value of a field that holds an unsigned integer.
    pub(super) fn integer(&mut self, key: Key) -> Result<u64, Malformed> {
        if key.wire_type != WireType::Varint {
            return Err(WRONG_TYPE);
        }
        self.varint()
    }

    /// The value of a field that holds bytes, text or a message.
    pub(super) fn delimited(&mut self, key: Key) -> Result<Span, Malformed> {
        if key.wire_type != WireType::Delimited {
            return Err(WRONG_TYPE);
        }
        let len = self.varint()?;
        let offset = self.at;
        self.advance(len)?;
        #[expect(clippy::cast_possible_truncation, reason = "decode_append bounds the payload")]
        Ok(Span { offset: offset as u32, len: len as u32 })
    }

    /// Passes over a field that is not known.
    pub(super) fn skip(&mut self, key: Key) -> Result<(), Malformed> {
        self.skip_within(key, self.depth_left)
    }

    fn skip_within(&mut self, key: Key, depth_left: u32) -> Result<(), Malformed> {
        let Some(inner_depth) = depth_left.checked_sub(1) else {
            return Err(Malformed("malformed protobuf: nested too deeply"));
        };
        match key.wire_type {
            WireType::Varint => self.varint().map(|_| ()),
            WireType::Fixed64 => self.advance(8),
            WireType::Fixed32 => self.advance(4),
            WireType::Delimited => {
                let len = self.varint()?;
                self.advance(len)
            }
            WireType::GroupStart => loop {
                let inner = self.key()?;
                if inner.wire_type == WireType::GroupEnd {
                    return if inner.number == key.number { Ok(()) } else { Err(BAD_GROUP) };
                }
                self.skip_within(inner, inner_depth)?;
            },
            WireType::GroupEnd => Err(BAD_GROUP),
        }
    }
}
