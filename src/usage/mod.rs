//! What was used: operations and bytes by time, for the metrics endpoints (S2 specification,
//! section 9).
//!
//! Pure: the time and what happened go in, points come out. One [`Ledger`] for each shard; what
//! the shards say is added up when somebody asks.
//!
//! * Appends and stored bytes follow what is durable, and are told by the log itself: whoever
//!   replays it from a checkpoint comes to the same numbers. Everything else is counted in memory
//!   and saved now and then, so a crash may take the last of it.
//! * What is saved are totals of buckets, and the greater total wins: an entry may be applied
//!   twice, or after a newer one.
//! * Bounded: by the minute for [`MINUTES_KEPT`], by the hour for [`HOURS_KEPT`], only buckets
//!   with something in them, [`SAMPLES_MAX`] in all; when there would be more, less of the past is
//!   kept. The number of series of a basin is fixed.
//! * A clock that is set back adds to buckets that are there already; nothing is lost.

#![forbid(unsafe_code)]

mod book;
mod counter;
mod ledger;
mod query;
mod saved;
mod series;
mod stored;
#[cfg(test)]
mod tests;

pub use book::Book;
pub use counter::{Class, Counter};
pub use ledger::{HOURS_KEPT, Ledger, MINUTES_KEPT, SAMPLES_MAX};
pub use query::{Interval, Part, Query, Set};
pub use saved::{BadUsage, Saved};
pub use stored::Stored;
