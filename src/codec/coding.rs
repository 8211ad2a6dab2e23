//! Content codings: zstd and gzip, for whole bodies and for the messages of a session.
//!
//! Invariants:
//! * What a coded body claims about its length is a hint, never trusted: output stops at a bound
//!   that the caller and the body's real length set, and so does memory.
//! * A body is one or more whole members (gzip) or frames (zstd) and nothing else.
//!
//! The contexts that the libraries need are large, so each thread keeps its own and uses it again
//! (`Contexts`). No call leaves anything in them that the next one could notice.
//!
//! Source: S2 specification, sections 1.7, 1.8 and 6.2; RFC 1952; RFC 8878.

use std::cell::RefCell;
use std::io::Read;

use flate2::bufread::GzDecoder;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_end;
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, compress_bound,
    get_frame_content_size,
};

/// Output up to this length is never called a bomb, however short the body: a legal batch of
/// equal bytes shrinks 20,000 times, and as escaped JSON it may be 6 MiB long.
const DENSE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Beyond [`DENSE_BYTES_MAX`], most output per byte of input. Real bodies of that length are far
/// below; bombs are not (gzip reaches 1032, zstd more).
const RATIO_MAX: usize = 200;
/// Most members or frames in one body: each costs set-up that its few bytes do not pay for.
const MEMBERS_MAX: usize = 1024;
/// Longest window of a zstd frame, as a power of two: 16 MiB, the longest body there is.
const WINDOW_LOG_MAX: u32 = 24;
/// Output is looked at after every so many bytes.
const STEP_BYTES: usize = 1024 * 1024;
/// First guess at the output when the body does not say.
const GUESS_BYTES_MIN: usize = 16 * 1024;
/// A decoding context that grew beyond this for an unusual window is given back.
const KEPT_CONTEXT_BYTES: usize = 4 * 1024 * 1024;
/// The fastest level of both libraries that still compresses well.
const LEVEL: i32 = 1;

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// The coding as headers spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// Why a coded body was not decoded. The messages are for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// Not whole, not of this coding, or with something else behind it.
    #[error("body does not decompress")]
    Malformed,
    /// More output than the caller's limit.
    #[error("body is too large when decompressed")]
    TooLarge,
    /// So much output from so little that nobody means it.
    #[error("body decompresses to too many times its length")]
    TooDense,
}

/// Decodes `body`, of which at most `limit_bytes` may come out.
///
/// * Shape: gzip members and zstd frames may be concatenated, up to 1024 of them; zstd frames
///   need not say how long their content is.
/// * Errors: [`DecompressError`]; the limit is held while decoding, not afterwards.
/// * Cost: one allocation when the body says truthfully how long it becomes; for zstd no copy
///   beyond the decoding then.
pub fn decompress(
    coding: Coding,
    body: &[u8],
    limit_bytes: usize,
) -> Result<Vec<u8>, DecompressError> {
    let bound = Bound::new(body.len(), limit_bytes);
    match coding {
        Coding::Zstd => Contexts::with(|contexts| contexts.unzstd(body, bound)),
        Coding::Gzip => gunzip(body, bound),
    }
}

/// Appends `body`, coded, to `out`.
///
/// * Cost: `out` is given room for a body that does not shrink.
pub fn compress(coding: Coding, body: &[u8], out: &mut Vec<u8>) {
    Contexts::with(|contexts| match coding {
        Coding::Zstd => contexts.zstd(body, out),
        Coding::Gzip => contexts.gzip(body, out),
    });
}

/// How much may come out of a body.
#[derive(Debug, Clone, Copy)]
struct Bound {
    output_bytes_max: usize,
    /// What more than that means.
    breach: DecompressError,
}

impl Bound {
    fn new(body_bytes: usize, limit_bytes: usize) -> Self {
        let dense = DENSE_BYTES_MAX.max(body_bytes.saturating_mul(RATIO_MAX));
        if dense < limit_bytes {
            Self { output_bytes_max: dense, breach: DecompressError::TooDense }
        } else {
            Self { output_bytes_max: limit_bytes, breach: DecompressError::TooLarge }
        }
    }

    fn check(self, output_bytes: usize) -> Result<(), DecompressError> {
        if output_bytes > self.output_bytes_max { Err(self.breach) } else { Ok(()) }
    }

    /// An output buffer for a body that claims to become `claimed` bytes long.
    fn buffer(self, claimed: Option<u64>, body_bytes: usize) -> Vec<u8> {
        let claimed = claimed.and_then(|bytes| usize::try_from(bytes).ok());
        let guess = claimed.unwrap_or_else(|| GUESS_BYTES_MIN.max(body_bytes.saturating_mul(4)));
        Vec::with_capacity(guess.min(self.output_bytes_max))
    }
}

/// What coding needs and a thread keeps.
struct Contexts {
    zstd_in: DCtx<'static>,
    zstd_out: CCtx<'static>,
    deflate: Compress,
}

thread_local! {
    static CONTEXTS: RefCell<Contexts> = RefCell::new(Contexts::new());
}

impl Contexts {
    fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        CONTEXTS.with_borrow_mut(work)
    }

    fn new() -> Self {
        let mut zstd_out = CCtx::create();
        zstd_out
            .set_parameter(CParameter::CompressionLevel(LEVEL))
            .expect("the level is one that zstd has");
        let deflate = Compress::new(Compression::new(LEVEL.unsigned_abs()), false);
        Self { zstd_in: new_zstd_in(), zstd_out, deflate }
    }

    fn unzstd(&mut self, body: &[u8], bound: Bound) -> Result<Vec<u8>, DecompressError> {
        let decoded = unzstd(&mut self.zstd_in, body, bound);
        if self.zstd_in.sizeof() > KEPT_CONTEXT_BYTES {
            self.zstd_in = new_zstd_in();
        }
        decoded
    }

    fn zstd(&mut self, body: &[u8], out: &mut Vec<u8>) {
        const WHY: &str = "zstd fails only for want of memory";
        self.zstd_out.reset(ResetDirective::SessionOnly).expect(WHY);
        out.reserve(compress_bound(body.len()));
        let start = out.len();
        let mut output = OutBuffer::around_pos(out, start);
        let mut input = InBuffer::around(body);
        // With the whole body at hand, this writes the frame in one go and says its length in it.
        let left = self.zstd_out.compress_stream2(&mut output, &mut input, ZSTD_e_end).expect(WHY);
        assert_eq!(left, 0, "the output has room for the worst case");
    }

    fn gzip(&mut self, body: &[u8], out: &mut Vec<u8>) {
        // Deflate; no flags, no time; fastest; from no system in particular.
        out.extend_from_slice(&[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 4, 255]);
        self.deflate.reset();
        out.reserve(body.len() / 2 + 64);
        loop {
            let done = usize::try_from(self.deflate.total_in()).expect("counted in memory");
            let status = self.deflate.compress_vec(&body[done..], out, FlushCompress::Finish);
            if status.expect("the stream is used in order") == Status::StreamEnd {
                break;
            }
            out.reserve(body.len() / 2 + 64);
        }
        let mut crc = Crc::new();
        crc.update(body);
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&crc.amount().to_le_bytes());
    }
}

fn new_zstd_in() -> DCtx<'static> {
    let mut context = DCtx::create();
    context
        .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
        .expect("the window is one that zstd has");
    context
}

fn unzstd(context: &mut DCtx<'_>, body: &[u8], bound: Bound) -> Result<Vec<u8>, DecompressError> {
    let malformed = |_| DecompressError::Malformed;
    context.reset(ResetDirective::SessionOnly).map_err(malformed)?;
    let claimed = get_frame_content_size(body).ok().flatten();
    let mut out = bound.buffer(claimed, body.len());
    let mut input = InBuffer::around(body);
    let mut frames = 0;
    loop {
        if out.len() == out.capacity() {
            // One byte beyond the bound, so that a breach shows.
            let room = out.len().max(GUESS_BYTES_MIN).min(bound.output_bytes_max + 1 - out.len());
            out.reserve_exact(room);
        }
        let written = out.len();
        let mut output = OutBuffer::around_pos(&mut out, written);
        let hint = context.decompress_stream(&mut output, &mut input).map_err(malformed)?;
        bound.check(out.len())?;
        let is_all_read = input.pos() == body.len();
        if hint == 0 {
            frames += 1;
            if is_all_read {
                return Ok(out);
            }
            if frames == MEMBERS_MAX {
                return Err(DecompressError::Malformed);
            }
        } else if is_all_read && out.len() < out.capacity() {
            return Err(DecompressError::Malformed); // ends inside a frame
        }
    }
}

fn gunzip(body: &[u8], bound: Bound) -> Result<Vec<u8>, DecompressError> {
    let claimed = body.last_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
    // Deflate cannot do better than 1032, so a greater claim is a lie.
    let claimed = claimed.filter(|bytes| *bytes <= body.len() as u64 * 1032);
    let mut out = bound.buffer(claimed, body.len());
    let mut rest = body;
    for _ in 0..MEMBERS_MAX {
        let mut member = GzDecoder::new(rest);
        loop {
            let step = STEP_BYTES.min(bound.output_bytes_max + 1 - out.len());
            let read = member.by_ref().take(step as u64).read_to_end(&mut out);
            let read = read.map_err(|_| DecompressError::Malformed)?;
            bound.check(out.len())?;
            if read < step {
                break;
            }
        }
        rest = member.into_inner();
        if rest.is_empty() {
            return Ok(out);
        }
    }
    Err(DecompressError::Malformed)
}

#[cfg(test)]
mod tests;
