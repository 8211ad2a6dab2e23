//! Appends, acks and read batches as protobuf (`package s2.v1`, proto3).
//!
//! The hot directions are written by hand: [`append`] reads an `AppendInput` where it was
//! received, and [`encode`] pushes a `ReadBatch` record by record. [`messages`] holds the same
//! messages as `prost` has them: acks are written with it, and it is the other opinion in tests.
//!
//! Source: S2 specification, sections 4.1, 4.6 and 5.4.

pub mod append;
pub mod encode;
mod field;
pub mod messages;

pub use append::decode_append;
pub use encode::{ReadBatchEncoder, TAIL_BYTES_MAX, encode_ack, encoded_record_bytes};
