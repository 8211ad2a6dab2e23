//! shard
mod append;
pub mod call;
mod catalogue;
pub mod durable;
pub mod engine;
mod read;
mod replay;
