//! One core: connections in, shards run, answers out. The only room that knows there are cores.
//!
//! * `server` starts and ends the cores, `core` is one of them with its links to the others.
//! * `connection` serves one socket, `respond` turns an operation into an answer, `session` keeps a
//!   stream open for appending or reading, `lifeline` keeps the deadlines, `drain` the shutdown.
//! * `gate` knows who asks, by the `tokens` of its core.
//! * `call` is what crosses from core to core; `engine` does it on a shard, with `append`, `read`,
//!   `catalogue` (streams), `registry` (basins) and `token_registry` beside it.
//! * `admission` decides when an append may go on, or has to come again later.
//! * `aside` and `pace` keep reads of old data from slowing appends.
//! * `basins` keeps the shards' copies of basins in step, in `turns`.
//! * `crowd` says who is let in when large appends come faster than a core can look at them.
//! * `usage` counts what is done and answers what was, for the metrics endpoints.
//! * `retention` trims what is too old and deletes streams that stay empty, `cleaner` wins back
//!   the space of what is gone.
//! * `checkpoint` saves what a shard is, so that a restart is quick and old segments may go.
//! * `scrub` reads old data again and says what is damaged.
//! * `resources` makes what an init file says is to be there.
//! * `door` answers while the shards are being opened.
//! * `durable` is what every answer waits for, `replay` rebuilds a shard when it is opened.

#![forbid(unsafe_code)]

mod admission;
mod append;
mod aside;
mod basins;
pub mod call;
mod catalogue;
pub mod checkpoint;
mod cleaner;
mod connection;
mod core;
mod crowd;
mod door;
mod drain;
mod durable;
mod encryption;
pub mod engine;
mod folder;
mod gate;
mod lifeline;
#[cfg(test)]
mod model;
pub mod offline;
mod pace;
mod read;
mod receipt;
mod registry;
mod replay;
mod resources;
mod respond;
mod retention;
mod scrape;
pub mod scrub;
pub mod server;
mod session;
mod shipped;
mod silence;
#[cfg(test)]
mod testkit;
mod token_registry;
mod tokens;
mod turns;
mod usage;
