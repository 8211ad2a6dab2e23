//! Black-box conformance suite of the HTTP/1.1 API: a real server, raw sockets, one test for each
//! group of the specification's conformance cases (S2 specification, appendix B, whose numbers
//! the names carry) and for what a careful HTTP server owes its clients besides.
//!
//! `THALWEG_TEST_URL=http://ADDR:PORT` points the suite to a server that runs already; tests that
//! must kill or restart theirs are then skipped.

mod common;

#[path = "api/access.rs"]
mod access;
#[path = "api/access_tokens.rs"]
mod access_tokens;
#[path = "api/append.rs"]
mod append;
#[path = "api/auto_create.rs"]
mod auto_create;
#[path = "api/basins.rs"]
mod basins;
#[path = "api/commands.rs"]
mod commands;
#[path = "api/concurrent.rs"]
mod concurrent;
#[path = "api/conditions.rs"]
mod conditions;
#[path = "api/dashboard.rs"]
mod dashboard;
#[path = "api/encryption.rs"]
mod encryption;
#[path = "api/ensure.rs"]
mod ensure;
#[path = "api/follow.rs"]
mod follow;
#[path = "api/format.rs"]
mod format;
#[path = "api/framing.rs"]
mod framing;
#[path = "api/http.rs"]
mod http;
#[path = "api/lifecycle.rs"]
mod lifecycle;
#[path = "api/locations.rs"]
mod locations;
#[path = "api/log.rs"]
mod log;
#[path = "api/memory.rs"]
mod memory;
#[path = "api/metrics.rs"]
mod metrics;
#[path = "api/moving.rs"]
mod moving;
#[path = "api/ops.rs"]
mod ops;
#[path = "api/order.rs"]
mod order;
#[path = "api/precedence.rs"]
mod precedence;
#[path = "api/read.rs"]
mod read;
#[path = "api/reconfigure.rs"]
mod reconfigure;
#[path = "api/repair.rs"]
mod repair;
#[path = "api/restart.rs"]
mod restart;
#[path = "api/scrub.rs"]
mod scrub;
#[path = "api/stats.rs"]
mod stats;
#[path = "api/streams.rs"]
mod streams;
#[path = "api/timestamps.rs"]
mod timestamps;
#[path = "api/usage.rs"]
mod usage;
