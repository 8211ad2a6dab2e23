//! Vocabulary: ids, names, positions, batches, configurations, refusals.
//!
//! Plain data shared by every other room: no I/O, no clock, no HTTP. A value of one of these
//! types is already valid; whoever holds raw input turns it into one or refuses it here.

#![forbid(unsafe_code)]

pub mod append;
pub mod config;
pub mod exposure;
pub mod hex;
pub mod json;
pub mod limits;
pub mod name;
pub mod payload;
pub mod position;
pub mod receipt;
pub mod refusal;
pub mod reused;
pub mod sealed;
pub mod text;
pub mod token;

pub use append::{AppendBuilder, AppendInput, Command, HeaderSpan, RecordSpan, Span};
pub use config::{
    BasinConfig, BasinConfigPatch, Cipher, InvalidConfig, PartialStreamConfig, Retention,
    StorageClass, StreamConfig, StreamConfigPatch, TimestampingMode,
};
pub use name::{BasinName, FencingToken, RequestToken, StreamName};
pub use payload::Payload;
pub use position::{Ack, LogPos, StreamId, StreamPosition};
pub use receipt::Receipt;
pub use refusal::Refusal;
pub use sealed::SuppliedKey;
pub use token::{Permission, PermissionSet, ResourceSet, Scope, TokenId, TokenInfo};
