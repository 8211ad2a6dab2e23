//! Appends, acks and read batches as JSON.
//!
//! * [`append`]: a body becomes an `AppendInput` whose spans point into the receive buffer.
//!   `tape` reads simd-json's tape into a draft; `strict` refuses what simd-json lets pass.
//! * [`encode`]: acks, tails and read batches, pushed into a byte vector; `escape` writes strings.
//!
//! Source: S2 specification, sections 4.1, 4.6 and 5.4.

pub mod append;
pub mod encode;
mod escape;
mod strict;
mod tape;

pub use append::AppendDecoder;
pub use encode::{ReadBatchEncoder, encode_ack, encode_tail};
