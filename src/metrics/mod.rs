//! Numbers out: counters and histograms, kept where they are counted, merged when scraped.
//!
//! ```text
//!  shard 0: Metrics --snapshot()--> Snapshot --.
//!  shard 1: Metrics --snapshot()--> Snapshot ---+--> Exporter::render -> Prometheus text
//!  executor: ExecutorMetrics ----> ExecutorSnapshot --'
//!
//!  shard n: Metrics --latency()--> LatencySnapshot --table, interval_log--> text
//!  shard n: Metrics --stats()----> ShardStats --------> JSON, for the dashboard
//! ```
//!
//! * [`Metrics`] belongs to one shard and [`ExecutorMetrics`] to one executor; neither is shared,
//!   so recording is plain arithmetic: no lock, no atomic and, on the append path, no allocation.
//! * A snapshot is plain data and `Send`: it is what crosses to the core that answers a scrape.
//! * Nothing here decides anything, reads a clock or knows what the numbers are used for.
//! * Counters saturate instead of wrapping: a number that is too large must not stop a shard.
//!
//! Units: microseconds and bytes inside; seconds and bytes in the exposition, as Prometheus has
//! it. *Record bytes* are metered bytes, the API's measure (S2 specification, section 4.2).

#![forbid(unsafe_code)]

mod bucket;
mod buckets;
mod executor;
mod family;
mod histogram;
mod holdings;
mod latency;
mod phase;
mod render;
mod series;
mod shard;
mod snapshot;
mod stats;
mod tally;
#[cfg(test)]
mod tests;

pub use bucket::BucketState;
pub use executor::{ExecutorMetrics, ExecutorSnapshot};
pub use histogram::Histogram;
pub use holdings::Holdings;
pub use latency::LatencySnapshot;
pub use phase::Phase;
pub use render::Exporter;
pub use shard::{GroupWritten, Metrics};
pub use snapshot::{AckSnapshot, Snapshot};
pub use stats::{ByClass, ShardStats, targets_us};
pub use tally::Tally;
