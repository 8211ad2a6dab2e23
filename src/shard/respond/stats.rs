//! Everything that is counted, for a page that asks often: asked of the shards, spelled as JSON.

use std::rc::Rc;

use serde::Serialize;

use super::unexpected;
use crate::api::ApiError;
use crate::api::response::Response;
use crate::io::Io;
use crate::metrics::{ByClass, ExecutorSnapshot, ShardStats, targets_us};
use crate::shard::call::{Answer, Call};
use crate::shard::core::Core;

/// The answer to `GET /debug/stats`. Counts are since the server opened its shards.
#[derive(Debug, Serialize)]
struct StatsForm {
    version: &'static str,
    /// The server's clock, in microseconds since the Unix epoch.
    time_us: u64,
    /// How long it has been counting, in microseconds. What is less than before is a new life.
    uptime_us: u64,
    /// The ack latency that each class aims for at p99.9, in microseconds.
    targets_us: ByClass<u64>,
    shards: Vec<ShardForm>,
    executors: Vec<ExecutorForm>,
}

#[derive(Debug, Serialize)]
struct ShardForm {
    shard: u16,
    executor: u16,
    #[serde(flatten)]
    stats: Box<ShardStats>,
}

#[derive(Debug, Serialize)]
struct ExecutorForm {
    executor: u16,
    #[serde(flatten)]
    counts: ExecutorSnapshot,
}

/// Answers `GET /debug/stats`.
pub(super) async fn stats<I: Io>(core: &Rc<Core<I>>) -> Result<Response, ApiError> {
    let mut shards = Vec::with_capacity(usize::from(core.shards));
    for shard in 0..core.shards {
        match core.call(shard, Call::Stats).await? {
            Answer::Stats(stats) => {
                shards.push(ShardForm { shard, executor: shard % core.cores(), stats });
            }
            other => return Err(unexpected(&other)),
        }
    }
    let executors = core.executors().await?;
    let form = StatsForm {
        version: env!("CARGO_PKG_VERSION"),
        time_us: core.clock().wall_us(),
        uptime_us: shards.iter().map(|form| form.stats.counted_us).max().unwrap_or(0),
        targets_us: targets_us(),
        shards,
        executors: executors
            .into_iter()
            .map(|(executor, counts)| ExecutorForm { executor, counts })
            .collect(),
    };
    Ok(Response::json(200, &form).with_header("cache-control", "no-store"))
}
