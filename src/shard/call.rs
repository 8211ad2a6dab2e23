//! What one core asks of the core that owns a shard, and what comes back.
//!
//! These values cross cores, so they own everything they say: a batch travels with its receive
//! buffer, a read comes back as the finished body.

use super::scrub::DamagedPlace;
use crate::api::query::ReadQuery;
use crate::api::response::Provision;
pub use crate::api::route::StreamPath;
pub use crate::api::usage::UsageScope;
use crate::audit::Origin;
use crate::codec::BatchForm;
use crate::control::{BasinRecord, Creation, StreamRecord, TokenRecord};
use crate::metrics::{ExecutorSnapshot, LatencySnapshot, ShardStats, Snapshot};
use crate::types::{
    Ack, AppendInput, BasinConfig, BasinConfigPatch, BasinName, PartialStreamConfig, Receipt,
    Refusal, StreamConfig, StreamConfigPatch, StreamName, StreamPosition, SuppliedKey, TokenId,
    TokenInfo,
};
use crate::usage::{Part, Query};

/// A page of a listing.
#[derive(Debug, Clone)]
pub struct Page {
    /// Only names that start with this.
    pub prefix: String,
    /// Only names that sort after this.
    pub start_after: String,
    /// Most items wanted from this shard.
    pub limit: usize,
}

/// How something is asked for that may create its stream.
#[derive(Debug, Default)]
pub struct Asked {
    /// What the request says about a stream that it creates.
    pub auto_create: PartialStreamConfig,
    /// Who sent it.
    pub from: Origin,
}

/// An operation on one shard.
#[derive(Debug)]
pub enum Call {
    /// Append a batch.
    Append {
        /// To which stream.
        path: StreamPath,
        /// The key to an encrypted stream.
        key: Option<SuppliedKey>,
        /// The batch.
        input: AppendInput,
        /// How that is asked for.
        asked: Asked,
        /// Whether the answer is to come with a receipt.
        receipt: bool,
    },
    /// Read records; answered with a body.
    Read {
        /// From which stream.
        path: StreamPath,
        /// The key to an encrypted stream.
        key: Option<SuppliedKey>,
        /// What to read.
        query: ReadQuery,
        /// How to spell it.
        form: BatchForm,
        /// How that is asked for.
        asked: Asked,
    },
    /// The durable tail.
    CheckTail(StreamPath, Origin),
    /// Create a stream.
    CreateStream {
        /// Which one.
        path: StreamPath,
        /// What its creator says about it.
        config: PartialStreamConfig,
        /// How its creation is recognised.
        creation: Option<Creation>,
    },
    /// Create a stream, or replace the configuration of the one that is there.
    EnsureStream {
        /// Which one.
        path: StreamPath,
        /// What is asked for; what is unset becomes the default.
        config: PartialStreamConfig,
    },
    /// Change a stream's configuration; answered with the whole of it.
    ReconfigureStream {
        /// Which one.
        path: StreamPath,
        /// The changes.
        patch: StreamConfigPatch,
    },
    /// A stream's configuration.
    GetStream(StreamPath),
    /// Delete a stream.
    DeleteStream(StreamPath),
    /// Streams of a basin, sorted.
    ListStreams(BasinName, Page),
    /// Create a basin; shard 0 only.
    CreateBasin {
        /// Its name.
        basin: BasinName,
        /// Its configuration.
        config: BasinConfig,
        /// How its creation is recognised.
        creation: Option<Creation>,
    },
    /// Create a basin, or replace the configuration of the one that is there; shard 0 only.
    EnsureBasin {
        /// Its name.
        basin: BasinName,
        /// Its configuration.
        config: BasinConfig,
    },
    /// Change a basin's configuration; shard 0 only.
    ReconfigureBasin {
        /// Its name.
        basin: BasinName,
        /// The changes.
        patch: BasinConfigPatch,
    },
    /// A basin as it is for everyone; shard 0 only.
    GetBasin(BasinName),
    /// Mark a basin as being deleted; shard 0 only.
    MarkBasinDeleted(BasinName),
    /// Basins as they are for everyone, sorted; shard 0 only.
    ListBasins(Page),
    /// Take over a copy of a basin from shard 0.
    CopyBasin(BasinRecord),
    /// Delete all streams of a basin.
    DeleteStreamsOf(BasinName),
    /// Log that a basin, whose streams are gone, is gone too; shard 0 only.
    ForgetBasin(BasinName),
    /// Drop the copy of a basin that is gone.
    DropBasinCopy(BasinName),
    /// Issue an access token; shard 0 only.
    IssueToken(Box<TokenRecord>),
    /// Revoke an access token; shard 0 only.
    RevokeToken(TokenId),
    /// Remove an access token if it has expired; shard 0 only.
    ForgetToken(TokenId),
    /// Access tokens as they are for everyone, sorted; shard 0 only.
    ListTokens(Page),
    /// Have the shard's core know these access tokens.
    CopyTokens(Vec<TokenRecord>),
    /// Have the shard's core forget an access token that is gone.
    DropTokenCopy(TokenId),
    /// What was used, as far as this shard knows.
    Usage(UsageScope, Query),
    /// Numbers of the shard for the metrics.
    Metrics,
    /// Where the time until its acks went.
    Latency,
    /// Numbers of the shard for a page that asks often.
    Stats,
    /// Numbers of the shard's core for the metrics.
    CoreMetrics,
    /// Whether the shard takes appends, and what is known to be damaged in it.
    Health,
}

impl Call {
    /// The basin that this call may change; such calls take turns.
    pub(super) fn changes_basin(&self) -> Option<&BasinName> {
        match self {
            Self::CreateBasin { basin, .. }
            | Self::EnsureBasin { basin, .. }
            | Self::ReconfigureBasin { basin, .. }
            | Self::MarkBasinDeleted(basin) => Some(basin),
            _ => None,
        }
    }

    /// The access token that this call may change; such calls take turns.
    pub(super) fn changes_token(&self) -> Option<&TokenId> {
        match self {
            Self::IssueToken(record) => Some(&record.info.id),
            Self::RevokeToken(id) | Self::ForgetToken(id) => Some(id),
            _ => None,
        }
    }
}

impl Call {
    /// Whether it may wait for something to happen, rather than only for the disk.
    #[must_use]
    pub fn may_wait_long(&self) -> bool {
        matches!(self, Self::Read { query, .. } if query.wait_secs.is_some_and(|secs| secs > 0))
    }
}

/// Where spelled records came from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// From memory, most likely: appended a moment ago.
    #[default]
    Recent,
    /// From the disk: sent in pieces, so that it does not slow appends (`pace`).
    Old,
}

/// What an operation answers.
#[derive(Debug)]
pub enum Answer {
    /// Done, and nothing to say.
    Done,
    /// A batch is durable; its receive buffer comes back to be used again, with a receipt if one
    /// was asked for.
    Ack(Ack, Vec<u8>, Option<Receipt>),
    /// The finished body of a read.
    Body(Vec<u8>, Age),
    /// A durable tail.
    Tail(StreamPosition),
    /// A stream's configuration.
    StreamConfig(StreamConfig),
    /// A stream, and what this call did to it.
    Stream(StreamRecord, Provision),
    /// Streams, sorted.
    Streams(Vec<StreamRecord>),
    /// A basin, and what this call did to it.
    Basin(BasinRecord, Provision),
    /// Basins, sorted.
    Basins(Vec<BasinRecord>),
    /// An access token that was issued.
    Token(Box<TokenRecord>),
    /// Access tokens, sorted.
    Tokens(Vec<TokenInfo>),
    /// Nothing was to be done.
    Kept,
    /// What was used, as far as a shard knows.
    Usage(Part),
    /// Numbers of a shard for the metrics.
    Metrics(Box<Snapshot>),
    /// Where the time until a shard's acks went.
    Latency(Box<LatencySnapshot>),
    /// Numbers of a shard for a page that asks often.
    Stats(Box<ShardStats>),
    /// Numbers of a core for the metrics.
    CoreMetrics(ExecutorSnapshot),
    /// The shard takes appends; what is known to be damaged in it.
    Health(Vec<DamagedPlace>),
}

/// Result of a call.
pub type CallResult = Result<Answer, Refusal>;

/// The shard that owns a stream: fixed for the life of a data directory, and documented in
/// `docs/FORMAT.md`.
///
/// CRC-32C of `basin`, a NUL byte and `stream` (neither name can hold NUL), spread over the shards
/// by multiplication.
#[must_use]
pub fn shard_of(basin: &BasinName, stream: &StreamName, shards: u16) -> u16 {
    let crc = crc32c::crc32c(basin.as_str().as_bytes());
    let crc = crc32c::crc32c_append(crc, &[0]);
    let crc = crc32c::crc32c_append(crc, stream.as_str().as_bytes());
    // CRCs of similar names differ in few bits; Fibonacci hashing spreads them into the high ones.
    let mixed = u64::from(crc).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    u16::try_from((mixed * u64::from(shards)) >> 32).expect("below shards")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(stream: &str, shards: u16) -> u16 {
        let basin = BasinName::new("test-basin-1").unwrap();
        shard_of(&basin, &StreamName::new(stream).unwrap(), shards)
    }

    #[test]
    fn the_placement_of_streams_never_changes() {
        // These values are on people's disks.
        let placed: Vec<u16> = ["s", "a/b", "日本", "s1", "s2", "s3"].map(|s| shard(s, 8)).into();
        assert_eq!(placed, [0, 6, 1, 5, 5, 7]);
    }

    #[test]
    fn similar_names_are_spread_evenly() {
        let mut counts = [0u32; 8];
        for i in 0..8_000 {
            counts[usize::from(shard(&format!("stream-{i}"), 8))] += 1;
        }
        assert!(counts.iter().all(|c| (900..1_100).contains(c)), "{counts:?}");
    }
}
