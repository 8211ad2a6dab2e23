//! Thalweg: a durable-streams server. An append is acknowledged only when it is on disk.
//!
//! Start with `docs/ARCHITECTURE.md`; the rooms below are in the order in which data meets them.

pub mod api;
pub mod control;
pub mod directory;
pub mod inspect;
pub mod io;
pub mod log;
pub mod stream;
pub mod types;
pub mod wire;
