//! Where the time until the acks went: asked of the shards, merged, spelled.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::unexpected;
use crate::api::latency::{LatencyForm, LatencyQuery};
use crate::api::response::{Response, TEXT};
use crate::api::{ApiError, Code};
use crate::io::Io;
use crate::metrics::LatencySnapshot;
use crate::shard::call::{Answer, Call};
use crate::shard::core::Core;

/// Answers `GET /debug/latency`.
pub(super) async fn latency<I: Io>(
    core: &Rc<Core<I>>,
    query: LatencyQuery,
) -> Result<Response, ApiError> {
    let mut merged: Option<Box<LatencySnapshot>> = None;
    for shard in query.shards(core.shards)? {
        match core.call(shard, Call::Latency).await? {
            Answer::Latency(snapshot) => match &mut merged {
                Some(merged) => merged.merge(&snapshot),
                None => merged = Some(snapshot),
            },
            other => return Err(unexpected(&other)),
        }
    }
    let merged = merged.ok_or_else(|| ApiError::new(Code::Other, "there is no shard"))?;
    let body = match query.form {
        LatencyForm::Table => merged.table().into_bytes(),
        LatencyForm::Log => {
            let now = Duration::from_micros(core.clock().wall_us());
            merged.interval_log(SystemTime::UNIX_EPOCH + now)
        }
    };
    Ok(Response::new(200, TEXT, body))
}
