//! shard
mod append;
mod basins;
pub mod call;
mod catalogue;
mod connection;
mod core;
mod durable;
pub mod engine;
mod lifeline;
mod read;
mod replay;
mod respond;
pub mod server;
