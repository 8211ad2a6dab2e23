//! Answers to PUT and PATCH of basins and streams.

use std::rc::Rc;

use super::{basin_info, basin_name, stream_info, stream_name, unexpected};
use crate::api::ApiError;
use crate::api::control::{EnsureBasin, ensure_stream as stream_config};
use crate::api::control::{reconfigure_basin as basin_patch, reconfigure_stream as stream_patch};
use crate::api::response::Response;
use crate::io::Io;
use crate::shard::call::{Answer, Call, StreamPath};
use crate::shard::core::Core;
use crate::types::BasinName;
use crate::wire::BodyBuf;

/// The body, if it counts.
pub(super) fn counting(body: &BodyBuf, counts: bool) -> &[u8] {
    if counts { body.as_slice() } else { &[] }
}

pub(super) async fn ensure_basin<I: Io>(
    core: &Rc<Core<I>>,
    basin: BasinName,
    body: &[u8],
) -> Result<Response, ApiError> {
    let EnsureBasin { config } = EnsureBasin::parse(body)?;
    match core.call(0, Call::EnsureBasin { basin, config }).await? {
        Answer::Basin(record, provision) => {
            let name = basin_name(&record)?;
            Ok(basin_info(&name, &record).provisioned(provision))
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn reconfigure_basin<I: Io>(
    core: &Rc<Core<I>>,
    basin: BasinName,
    body: &[u8],
) -> Result<Response, ApiError> {
    let patch = basin_patch(body)?;
    match core.call(0, Call::ReconfigureBasin { basin, patch }).await? {
        Answer::Basin(record, _) => Ok(Response::json(200, &record.config)),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn ensure_stream<I: Io>(
    core: &Rc<Core<I>>,
    path: StreamPath,
    body: &[u8],
) -> Result<Response, ApiError> {
    let config = stream_config(body)?;
    match core.call_owner(&path, Call::EnsureStream { path: path.clone(), config }).await? {
        Answer::Stream(record, provision) => {
            let name = stream_name(&record)?;
            Ok(stream_info(&name, &record).ensured(provision))
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn reconfigure_stream<I: Io>(
    core: &Rc<Core<I>>,
    path: StreamPath,
    body: &[u8],
) -> Result<Response, ApiError> {
    let patch = stream_patch(body)?;
    match core.call_owner(&path, Call::ReconfigureStream { path: path.clone(), patch }).await? {
        Answer::StreamConfig(config) => Ok(Response::json(200, &config)),
        other => Err(unexpected(&other)),
    }
}
