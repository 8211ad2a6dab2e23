//! What a peer may make us hold or read, in one place.

/// Most bytes that [`Limits::head_bytes_max`] may ask for: positions in a head are 16 bits wide.
pub const HEAD_BYTES_CEILING: usize = 65_536;
/// Most headers that [`Limits::header_count_max`] may ask for: the parser's slots are on the stack.
pub const HEADER_COUNT_CEILING: usize = 128;

/// The bounds of one connection; each breach is a [`Violation`](super::Violation) of its own.
///
/// All sizes are bytes on the wire. There is none for the total of a *streamed* body, because
/// nothing of it is kept: a session may run for days, and memory is bounded by the piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Request line and header lines with their line ends and the empty line; else 431, or 414
    /// when the request line alone is longer. At most [`HEAD_BYTES_CEILING`].
    pub head_bytes_max: usize,
    /// Request target; else 414. A stream name and a prefix of 512 bytes each, percent-encoded,
    /// need about 3 KiB; RFC 9112 section 3 asks for 8000 bytes at least.
    pub target_bytes_max: usize,
    /// Header lines; else 431. At most [`HEADER_COUNT_CEILING`].
    pub header_count_max: usize,
    /// Empty lines tolerated before a request line (RFC 9112 section 2.2); else 400.
    pub empty_lines_max: u32,
    /// A collected body after de-chunking; else 413. Twice what a legal batch needs in JSON.
    pub body_bytes_max: usize,
    /// One chunk-size line with its extensions and line end; else 400.
    pub chunk_line_bytes_max: usize,
    /// Chunk extensions of one body together; else 400. They are dropped, so they may not make
    /// us read for ever.
    pub chunk_extension_bytes_max: usize,
    /// Trailer lines of one body together, with line ends; else 431. They are checked and dropped.
    pub trailer_bytes_max: usize,
    /// Largest buffer kept for the next request; larger ones are dropped, so that an idle
    /// connection does not keep what its largest request needed.
    pub spare_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 65_536,
            target_bytes_max: 16_384,
            header_count_max: 100,
            empty_lines_max: 4,
            body_bytes_max: 16 * 1024 * 1024,
            chunk_line_bytes_max: 1024,
            chunk_extension_bytes_max: 16_384,
            trailer_bytes_max: 8192,
            spare_bytes_max: 256 * 1024,
        }
    }
}
