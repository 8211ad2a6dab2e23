//! Histories of concurrent clients, and whether one order of their operations explains them.
//!
//! * [`event`]: one line of a history, as it stands in its file
//! * [`history`]: a file of such lines as operations with a begin and an end
//! * [`model`]: what a stream is to a client (tail, content, fencing token) and what an operation
//!   makes of it
//! * [`check`]: the search for an order
//! * [`collect`]: clients of a running server that write a history
//!
//! Format, chained hash and the treatment of appends of unknown outcome are those of the public
//! model of this API for the checker Porcupine:
//! <https://github.com/s2-streamstore/s2-verification>,
//! `golang/s2-porcupine/main.go` and `rust/s2-verification/src/history.rs` at 031aaf3. A history
//! from here can be given to `s2-porcupine -file`, and one from its collector to `check`.

pub mod check;
pub mod collect;
pub mod event;
pub mod history;
pub mod model;
