//! What a request means, and how an answer is spelled.
//!
//! Pure: a request's head and body in, an [`Operation`] or an [`ApiError`] out; a result in, a
//! [`Response`] out. No files, sockets, cores or clocks.
//!
//! ```text
//!  Parts --route--> Operation --(shard: judge, store)--> result --info, response--> Response
//!    |                  ^ ^                                 |                           ^
//!    |                  | control, token (JSON bodies)   Refusal --------error---------+
//!    |                access (may it be done, full names)
//!    +--credential--> who asks, before anything else
//!    +--cors--> headers added to every response
//! ```
//!
//! Invariants:
//!
//! * A request is refused at the first failing stage of section 1.10, whatever else is wrong.
//! * Each error code has one status, in one table ([`error::Code`]).
//! * Only [`access`] asks whether something is permitted, before it is done.
//! * Every error body is JSON and shorter than 1 KiB.
//!
//! Source: S2 specification, sections 1 to 5. Routes of the specification that are not served
//! yet answer 501 `not_implemented`, after the checks that precede it.

#![forbid(unsafe_code)]

pub mod access;
pub mod control;
pub mod cors;
pub mod credential;
pub mod error;
pub mod gate;
mod header;
pub mod info;
pub mod latency;
pub mod location;
pub mod negotiate;
mod percent;
pub mod query;
pub mod receipt;
pub mod request;
pub mod response;
pub mod route;
pub mod token;
pub mod usage;

pub use error::{ApiError, Code};
pub use request::{Headers, Parts};
pub use response::Response;
pub use route::{Operation, route};
