//! What an operation may answer instead of success.
//!
//! One value per cause; `api` alone turns it into status, code and body. A refusal crosses cores,
//! so it owns what it says.

use super::name::FencingToken;
use super::position::StreamPosition;

/// Why an operation on a basin, a stream or an access token was not done. Nothing was changed
/// unless said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 404: the basin does not exist.
    #[error("basin `{0}` not found")]
    BasinNotFound(String),
    /// 404: the stream does not exist and may not be created by this request.
    #[error("stream `{0}` not found")]
    StreamNotFound(String),
    /// 404: no access token has this id, or none any more.
    #[error("access token `{0}` not found")]
    AccessTokenNotFound(String),
    /// 400: the stream is encrypted, and the request has no key for it or none that can be one.
    #[error("header s2-encryption-key: {0}")]
    EncryptionKey(&'static str),
    /// 400: a record does not open with the key of the request.
    #[error("a record cannot be decrypted with the key given")]
    DecryptionFailed,
    /// 409: the basin exists and is being deleted.
    #[error("basin `{0}` is being deleted")]
    BasinDeletionPending(String),
    /// 409: the stream exists and is being deleted.
    #[error("stream `{0}` is being deleted")]
    StreamDeletionPending(String),
    /// 403: a bound on how many there may be was reached; nothing was done.
    #[error("{0}")]
    QuotaExhausted(String),
    /// 409: create of something that exists already.
    #[error("{0} already exists")]
    AlreadyExists(String),
    /// 412: the append named another fencing token; holds the stream's own.
    #[error("fencing token mismatch")]
    FencingTokenMismatch(FencingToken),
    /// 412: the append named another next sequence number; holds the stream's own.
    #[error("sequence number mismatch: next is {0}")]
    SeqNumMismatch(u64),
    /// 416: the read starts at or beyond the tail; holds the tail.
    #[error("read starts beyond the tail")]
    Unsatisfiable(StreamPosition),
    /// 422: well-formed, but semantically invalid.
    #[error("{0}")]
    Invalid(String),
    /// 500: a write or sync failed; the shard takes no more appends until it is restarted.
    #[error("storage failed: {0}")]
    Storage(String),
    /// 429: refused before any effect, to be tried again after that many milliseconds.
    #[error("the server has more to do than it can in time; try again later")]
    RateLimited {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// 502: refused before any effect because a bound was reached.
    #[error("{0}")]
    HotServer(String),
    /// 503: the server is shutting down; nothing was done.
    #[error("server is shutting down")]
    Draining,
    /// 500: dropped after it may have taken effect.
    #[error("{0}")]
    Other(String),
}

/// An error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
