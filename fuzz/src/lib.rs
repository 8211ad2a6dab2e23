//! What is fuzzed, as plain functions of bytes: the fuzzers in `fuzz_targets/` call them for new
//! input, and `tests/replay.rs` calls them for what `corpus/` and `regressions/` keep.
//!
//! A function returns when all is well and panics when something is not. What "well" means is said
//! by each module: at least that nothing panics, runs on for ever or takes memory without bound,
//! and where another implementation or another way to the same result exists, that both agree.
//!
//! Invariants:
//!
//! * The same bytes do the same each time: no clock, no randomness, no state between two calls.
//! * Nothing here makes the server's answer look better: a difference that is meant is named where
//!   it is allowed, with the reason.

pub mod chunked;
pub mod directory;
pub mod http1_conn;
pub mod http1_head;
pub mod json_append;
pub mod log_entries;
pub mod path_query;
pub mod proto_append;
pub mod s2s_frames;
pub mod usage_saved;

pub mod checkpoint;
pub mod log_frame;
pub mod shard_open;

pub mod append;
pub mod connection;
pub mod image;
pub mod seeds;

/// A target: its name, which is also that of its corpus, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 13] = [
    ("checkpoint", checkpoint::run),
    ("chunked", chunked::run),
    ("directory", directory::run),
    ("http1_conn", http1_conn::run),
    ("http1_head", http1_head::run),
    ("json_append", json_append::run),
    ("log_entries", log_entries::run),
    ("log_frame", log_frame::run),
    ("path_query", path_query::run),
    ("proto_append", proto_append::run),
    ("s2s_frames", s2s_frames::run),
    ("shard_open", shard_open::run),
    ("usage_saved", usage_saved::run),
];
