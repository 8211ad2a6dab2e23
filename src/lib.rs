//! Thalweg: a durable-streams server. An append is acknowledged only when it is on disk.
//!
//! Start with `docs/ARCHITECTURE.md`. The rooms, from the socket to the disk; dependencies point
//! down, and `tests/tidy.rs` holds them to it.

pub mod backup;
pub mod bucket;
pub mod config;
pub mod doctor;
pub mod inspect;
pub mod logs;
pub mod reload;
pub mod resources;
pub mod serve;
pub mod shard;

pub mod api;
pub mod audit;
pub mod auth;
pub mod http1;
pub mod http2;
pub mod tls;

pub mod codec;
pub mod control;
pub mod dashboard;

pub mod crypto;
pub mod log;
pub mod stream;

pub mod directory;
pub mod io;

pub mod metrics;
pub mod planted;
pub mod types;
pub mod usage;
pub mod wire;
