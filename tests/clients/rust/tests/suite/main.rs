//! The official Rust client's public surface against the server named by `THALWEG_URL`.

mod account;
mod append_sessions;
mod basins;
mod common;
mod compression;
mod encryption;
mod faults;
mod read_sessions;
mod records;
mod streams;
mod tokens;
