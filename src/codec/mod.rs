//! The representations of batches on the wire, both directions: bytes in, [`types`] values out,
//! and back.
//!
//! Pure: a codec knows nothing of headers, status codes, streams or sockets. Each representation
//! is a room of its own.
//!
//! * [`json`]: unary appends, acks and read batches as JSON.
//! * [`proto`]: the same as protobuf.
//! * [`s2s`]: the frames that carry protobuf in a session.
//! * [`sse`]: server-sent events, with JSON inside.
//! * [`coding`]: zstd and gzip, for whole bodies and for the messages of a session.
//!
//! Source: S2 specification, sections 1.7, 4.1 to 4.3, 4.6, 5.4, 6 and 7.
//!
//! [`types`]: crate::types

#![forbid(unsafe_code)]

pub mod batch;
pub mod coding;
pub mod error;
pub mod feed;
pub mod format;
pub mod json;
pub mod proto;
pub mod s2s;
pub mod sse;

pub use batch::{BatchEncoder, BatchForm};
pub use coding::Coding;
pub use error::DecodeError;
pub use feed::Feed;
pub use format::Format;
