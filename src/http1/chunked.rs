//! The chunked coding, undone one byte run at a time.
//!
//! ```text
//!  1a;ext=1 CRLF  <26 bytes> CRLF   0 CRLF   name: value CRLF   CRLF
//!  \___ size line ___/  data  end   last     trailers           end
//! ```
//!
//! The decoder keeps its whole state, so it consumes all it is given and how the bytes are cut
//! cannot matter. Stricter than RFC 9112 section 7.1 where that is about tolerance: no blanks
//! around the size, no LF without CR, no folded trailers.

use std::ops::Range;

use super::limits::Limits;
use super::parse::is_token_byte;
use super::violation::Violation;

/// What [`ChunkDecoder::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// All of the input is consumed and more is needed.
    Starved,
    /// This range of the input is body; the input is consumed up to the range's end.
    Data(Range<usize>),
    /// The body is over; that many bytes of the input were consumed.
    End(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    SizeFirst,
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerFirst,
    TrailerName,
    TrailerBlank,
    TrailerValue,
    TrailerLf,
    EndLf,
}

/// The state between two bytes of a chunked body.
#[derive(Debug, Clone)]
pub(super) struct ChunkDecoder {
    at: At,
    /// Bytes of the current chunk still to come; while its size line is read, the size so far.
    chunk_left: u64,
    /// Body bytes that may still be announced.
    body_left: u64,
    line_bytes: usize,
    extension_bytes: usize,
    trailer_bytes: usize,
}

impl ChunkDecoder {
    /// A decoder for a body of at most `body_bytes_max` bytes.
    pub(super) fn new(body_bytes_max: u64) -> Self {
        Self {
            at: At::SizeFirst,
            chunk_left: 0,
            body_left: body_bytes_max,
            line_bytes: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }

    /// How many bytes of the current chunk's data are still to come; 0 between chunks.
    pub(super) fn data_left(&self) -> u64 {
        if self.at == At::Data { self.chunk_left } else { 0 }
    }

    /// Consumes `input` up to and including the next piece of data.
    pub(super) fn next(&mut self, input: &[u8], limits: &Limits) -> Result<Piece, Violation> {
        for (i, &byte) in input.iter().enumerate() {
            if self.at == At::Data {
                // Else callers would loop without progress.
                assert!(self.chunk_left > 0, "an empty chunk has no data");
                let len = usize::try_from(self.chunk_left).unwrap_or(usize::MAX);
                let len = len.min(input.len() - i);
                self.chunk_left -= len as u64;
                if self.chunk_left == 0 {
                    self.at = At::DataCr;
                }
                return Ok(Piece::Data(i..i + len));
            }
            if self.at == At::EndLf {
                expect_lf(byte)?;
                return Ok(Piece::End(i + 1));
            }
            self.at = self.after(byte, limits)?;
        }
        Ok(Piece::Starved)
    }

    /// The state after one byte of framing.
    fn after(&mut self, byte: u8, limits: &Limits) -> Result<At, Violation> {
        match self.at {
            At::SizeFirst | At::Size | At::Extension | At::SizeLf => self.size_line(byte, limits),
            At::DataCr => match byte {
                b'\r' => Ok(At::DataLf),
                b'\n' => Err(Violation::BareLf),
                _ => Err(Violation::ChunkEnd),
            },
            At::DataLf => {
                expect_lf(byte)?;
                self.line_bytes = 0;
                Ok(At::SizeFirst)
            }
            At::Data | At::EndLf => unreachable!("handled by the caller, where pieces end"),
            _ => self.trailer(byte, limits),
        }
    }

    fn size_line(&mut self, byte: u8, limits: &Limits) -> Result<At, Violation> {
        self.line_bytes += 1;
        if self.line_bytes > limits.chunk_line_bytes_max {
            return Err(Violation::ChunkLineTooLong);
        }
        match (self.at, byte) {
            (At::SizeLf, _) => {
                expect_lf(byte)?;
                self.open_chunk()
            }
            (_, b'\n') => Err(Violation::BareLf),
            (At::Size | At::Extension, b'\r') => Ok(At::SizeLf),
            (At::Size, b';') | (At::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension_bytes += 1;
                if self.extension_bytes > limits.chunk_extension_bytes_max {
                    return Err(Violation::ChunkExtensionsTooLong);
                }
                Ok(At::Extension)
            }
            (At::Extension, _) => Err(Violation::ChunkExtension),
            _ => {
                let digit = char::from(byte).to_digit(16).ok_or(Violation::ChunkSize)?;
                let size = self.chunk_left.checked_mul(16).ok_or(Violation::ChunkSizeOverflow)?;
                self.chunk_left = size + u64::from(digit);
                Ok(At::Size)
            }
        }
    }

    /// The end of a size line: refuses a chunk that the body has no room for.
    fn open_chunk(&mut self) -> Result<At, Violation> {
        self.body_left =
            self.body_left.checked_sub(self.chunk_left).ok_or(Violation::BodyTooLarge)?;
        Ok(if self.chunk_left == 0 { At::TrailerFirst } else { At::Data })
    }

    fn trailer(&mut self, byte: u8, limits: &Limits) -> Result<At, Violation> {
        if self.at == At::TrailerFirst && byte == b'\r' {
            return Ok(At::EndLf);
        }
        self.trailer_bytes += 1;
        if self.trailer_bytes > limits.trailer_bytes_max {
            return Err(Violation::TrailersTooLarge);
        }
        match (self.at, byte) {
            (At::TrailerLf, _) => expect_lf(byte).map(|()| At::TrailerFirst),
            (_, b'\n') => Err(Violation::BareLf),
            (At::TrailerFirst, b' ' | b'\t') => Err(Violation::ObsFold),
            (At::TrailerFirst, b':') => Err(Violation::HeaderNameEmpty),
            (At::TrailerName, b':') => Ok(At::TrailerValue),
            (At::TrailerName | At::TrailerBlank, b' ' | b'\t') => Ok(At::TrailerBlank),
            (At::TrailerBlank, b':') => Err(Violation::SpaceBeforeColon),
            (At::TrailerFirst | At::TrailerName, name) if is_token_byte(name) => {
                Ok(At::TrailerName)
            }
            (At::TrailerValue, b'\r') => Ok(At::TrailerLf),
            (At::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => Ok(At::TrailerValue),
            (At::TrailerValue, _) => Err(Violation::HeaderValue),
            _ => Err(Violation::HeaderName),
        }
    }
}

/// A CR was read: nothing but LF may follow.
fn expect_lf(byte: u8) -> Result<(), Violation> {
    if byte == b'\n' { Ok(()) } else { Err(Violation::BareCr) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        head_bytes_max: 0,
        target_bytes_max: 0,
        header_count_max: 0,
        empty_lines_max: 0,
        body_bytes_max: 0,
        chunk_line_bytes_max: 24,
        chunk_extension_bytes_max: 16,
        trailer_bytes_max: 20,
        spare_bytes_max: 0,
    };

    /// Decodes `input`, given in pieces of `piece_bytes`, and returns body and bytes consumed.
    fn decode(input: &[u8], piece_bytes: usize) -> Result<(Vec<u8>, Option<usize>), Violation> {
        let mut decoder = ChunkDecoder::new(40);
        let mut body = Vec::new();
        let mut consumed = 0;
        for mut piece in input.chunks(piece_bytes) {
            loop {
                match decoder.next(piece, &LIMITS)? {
                    Piece::Starved => {
                        consumed += piece.len();
                        break;
                    }
                    Piece::Data(at) => {
                        body.extend_from_slice(&piece[at.clone()]);
                        consumed += at.end;
                        piece = &piece[at.end..];
                    }
                    Piece::End(n) => return Ok((body, Some(consumed + n))),
                }
            }
        }
        Ok((body, None))
    }

    /// Decodes in every piece size and demands one answer.
    fn decode_all(input: &[u8]) -> Result<(Vec<u8>, Option<usize>), Violation> {
        let whole = decode(input, input.len());
        for piece_bytes in 1..input.len() {
            assert_eq!(decode(input, piece_bytes), whole, "{}", input.escape_ascii());
        }
        whole
    }

    #[test]
    fn well_formed_bodies_are_decoded() {
        let cases: &[(&[u8], &[u8])] = &[
            (b"0\r\n\r\n", b""),
            (b"000\r\n\r\n", b""),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
            (b"00000000000000000002\r\nhi\r\n0\r\n\r\n", b"hi"),
            (b"2;x\r\nhi\r\n0;y=\"a b\"\r\n\r\n", b"hi"),
            (b"2;\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
            (b"1\r\nx\r\n0\r\na: b\r\n\r\n", b"x"),
            (b"1\r\nx\r\n0\r\na:\r\nb: \xff \t\r\n\r\n", b"x"),
        ];
        for (input, body) in cases {
            let expected = Ok((body.to_vec(), Some(input.len())));
            assert_eq!(decode_all(input), expected, "{}", input.escape_ascii());
            let followed = [input, &b"GET /"[..]].concat();
            assert_eq!(decode_all(&followed), expected, "{}", input.escape_ascii());
            for cut in 0..input.len() {
                let (_, end) = decode(&input[..cut], 1000).expect("a prefix is no violation");
                assert_eq!(end, None, "{}", input[..cut].escape_ascii());
            }
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        use Violation as V;
        let cases: &[(&[u8], Violation)] = &[
            (b"\r\n", V::ChunkSize),
            (b";x\r\n", V::ChunkSize),
            (b"g\r\n", V::ChunkSize),
            (b"0x5\r\n", V::ChunkSize),
            (b"+5\r\n", V::ChunkSize),
            (b"-1\r\n", V::ChunkSize),
            (b" 5\r\n", V::ChunkSize),
            (b"5 \r\n", V::ChunkSize),
            (b"5\t\r\n", V::ChunkSize),
            (b"5 ;x\r\n", V::ChunkSize),
            (b"5_0\r\n", V::ChunkSize),
            (b"\xef\xbc\x95\r\n", V::ChunkSize),
            (b"10000000000000000\r\n", V::ChunkSizeOverflow),
            (b"ffffffffffffffff\r\n", V::BodyTooLarge),
            (b"29\r\n", V::BodyTooLarge),
            (b"14\r\n01234567890123456789\r\n15\r\n", V::BodyTooLarge),
            (b"5\nhello\r\n", V::BareLf),
            (b"\n", V::BareLf),
            (b"5\rhello\r\n", V::BareCr),
            (b"5\r\rhello", V::BareCr),
            (b"5;a\nhello\r\n", V::BareLf),
            (b"5;a\rb\r\n", V::BareCr),
            (b"5;a\0\r\n", V::ChunkExtension),
            (b"5;a\x7f\r\n", V::ChunkExtension),
            (b"0000000000000000000000005\r\n", V::ChunkLineTooLong),
            (b"5;0123456789abcdef\r\n", V::ChunkExtensionsTooLong),
            (b"1;abcdefgh\r\nx\r\n1;abcdefgh\r\nx\r\n", V::ChunkExtensionsTooLong),
            (b"5\r\nhello0\r\n\r\n", V::ChunkEnd),
            (b"5\r\nhello!\r\n", V::ChunkEnd),
            (b"5\r\nhello\n0\r\n\r\n", V::BareLf),
            (b"5\r\nhello\r0\r\n\r\n", V::BareCr),
            (b"0\r\n\n", V::BareLf),
            (b"0\r\n\rx", V::BareCr),
            (b"0\r\na: b\n\r\n", V::BareLf),
            (b"0\r\na: b\rc\r\n\r\n", V::BareCr),
            (b"0\r\na: b\r\n c\r\n\r\n", V::ObsFold),
            (b"0\r\n: b\r\n\r\n", V::HeaderNameEmpty),
            (b"0\r\na : b\r\n\r\n", V::SpaceBeforeColon),
            (b"0\r\na b: c\r\n\r\n", V::HeaderName),
            (b"0\r\nab\r\n\r\n", V::HeaderName),
            (b"0\r\na\xe9: b\r\n\r\n", V::HeaderName),
            (b"0\r\na: \0\r\n\r\n", V::HeaderValue),
            (b"0\r\na: 0123456789\r\nb: 0123456789\r\n\r\n", V::TrailersTooLarge),
        ];
        for (input, violation) in cases {
            assert_eq!(decode_all(input), Err(*violation), "{}", input.escape_ascii());
        }
    }
}
