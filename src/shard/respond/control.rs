//! Answers of the control plane: basins, streams, locations.

use std::rc::Rc;

use super::{token, unexpected};
use crate::api::access::{check_new_basin, check_new_stream, shown_name};
use crate::api::control::{CreateBasin, CreateStream, EnsureBasin, ensure_stream as stream_config};
use crate::api::control::{reconfigure_basin as basin_patch, reconfigure_stream as stream_patch};
use crate::api::info::{BasinInfo, StreamInfo};
use crate::api::query::ListQuery;
use crate::api::response::Response;
use crate::api::{ApiError, Code, Operation, location};
use crate::auth::Access;
use crate::control::{BasinRecord, Creation, StreamRecord};
use crate::io::Io;
use crate::shard::call::{Answer, Call, Page, StreamPath};
use crate::shard::core::Core;
use crate::types::{BasinName, Refusal, RequestToken};
use crate::wire::Body;

/// Does what a request to the control plane asks and spells the answer.
pub(super) async fn respond<I: Io>(
    core: &Rc<Core<I>>,
    access: &Access,
    operation: Operation,
    body: &Body,
) -> Result<Response, ApiError> {
    match operation {
        Operation::ListBasins(query) => list_basins(core, query).await,
        Operation::CreateBasin { token } => create_basin(core, access, token, body).await,
        Operation::GetBasin(basin) => get_basin(core, basin).await,
        Operation::EnsureBasin { basin, has_body } => {
            ensure_basin(core, basin, counting(body, has_body)).await
        }
        Operation::ReconfigureBasin(basin) => reconfigure_basin(core, basin, body.as_slice()).await,
        Operation::DeleteBasin(basin) => {
            core.call(0, Call::MarkBasinDeleted(basin)).await?;
            Ok(Response::empty(202))
        }
        Operation::ListStreams { basin, query } => list_streams(core, access, &basin, query).await,
        Operation::CreateStream { basin, token } => {
            create_stream(core, access, basin, token, body).await
        }
        Operation::GetStream(path) => get_stream(core, &path).await,
        Operation::EnsureStream { path, has_body } => {
            ensure_stream(core, access, path, counting(body, has_body)).await
        }
        Operation::ReconfigureStream(path) => reconfigure_stream(core, path, body.as_slice()).await,
        Operation::Usage { scope, params } => core.usage(access, scope, params).await,
        Operation::ListLocations => Ok(location::list()),
        Operation::GetDefaultLocation => Ok(location::get_default()),
        Operation::SetDefaultLocation => location::set_default(body.as_slice()),
        Operation::DeleteStream(path) => {
            core.call_owner(&path, Call::DeleteStream(path.clone())).await?;
            Ok(Response::empty(202))
        }
        Operation::ListTokens(query) => token::list(core, query).await,
        Operation::IssueToken => token::issue(core, access, body.as_slice()).await,
        Operation::RevokeToken(id) => token::revoke(core, id).await,
        other => {
            debug_assert!(false, "not of the control plane: {other:?}");
            Err(ApiError::new(Code::Other, "the request was routed wrongly"))
        }
    }
}

/// The body, if it counts.
pub(super) fn counting(body: &Body, counts: bool) -> &[u8] {
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
    access: &Access,
    path: StreamPath,
    body: &[u8],
) -> Result<Response, ApiError> {
    let config = stream_config(body)?;
    match core.call_owner(&path, Call::EnsureStream { path: path.clone(), config }).await? {
        Answer::Stream(record, provision) => Ok(stream_info(access, &record).ensured(provision)),
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

async fn list_basins<I: Io>(core: &Rc<Core<I>>, query: ListQuery) -> Result<Response, ApiError> {
    let Answer::Basins(mut records) = core.call(0, Call::ListBasins(one_more(&query))).await?
    else {
        return Err(unexpected(&Answer::Done));
    };
    let has_more = cut(&query, &mut records, |r| &r.name);
    let names = records.iter().map(basin_name).collect::<Result<Vec<_>, _>>()?;
    let infos: Vec<_> = names.iter().zip(&records).map(|(n, r)| basin_info(n, r)).collect();
    Ok(BasinInfo::page(&infos, has_more))
}

async fn create_basin<I: Io>(
    core: &Rc<Core<I>>,
    access: &Access,
    token: Option<RequestToken>,
    body: &Body,
) -> Result<Response, ApiError> {
    let request = CreateBasin::parse(body.as_slice())?;
    check_new_basin(access, &request.basin)?;
    let creation = creation(token, || request.idempotency_config());
    let call = Call::CreateBasin { basin: request.basin, config: request.config, creation };
    match core.call(0, call).await? {
        Answer::Basin(record, provision) => {
            let name = basin_name(&record)?;
            Ok(basin_info(&name, &record).provisioned(provision))
        }
        other => Err(unexpected(&other)),
    }
}

async fn get_basin<I: Io>(core: &Rc<Core<I>>, basin: BasinName) -> Result<Response, ApiError> {
    match core.call(0, Call::GetBasin(basin)).await? {
        Answer::Basin(record, _) if record.deleted_us.is_some() => {
            Err(Refusal::BasinDeletionPending(record.name).into())
        }
        Answer::Basin(record, _) => Ok(Response::json(200, &record.config)),
        other => Err(unexpected(&other)),
    }
}

async fn list_streams<I: Io>(
    core: &Rc<Core<I>>,
    access: &Access,
    basin: &BasinName,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let (mut records, has_more) = core.list_streams(basin, &page(&query)).await?;
    let has_more = query.within.keep(&query.prefix, &mut records, has_more, |r| &r.name);
    let infos: Vec<_> = records.iter().map(|record| stream_info(access, record)).collect();
    Ok(StreamInfo::page(&infos, has_more))
}

async fn create_stream<I: Io>(
    core: &Rc<Core<I>>,
    access: &Access,
    basin: BasinName,
    token: Option<RequestToken>,
    body: &Body,
) -> Result<Response, ApiError> {
    let request = CreateStream::parse(body.as_slice())?;
    let creation = creation(token, || request.idempotency_config());
    let path = check_new_stream(access, StreamPath { basin, stream: request.stream })?;
    let call = Call::CreateStream { path: path.clone(), config: request.config, creation };
    match core.call_owner(&path, call).await? {
        Answer::Stream(record, provision) => Ok(stream_info(access, &record).created(provision)),
        other => Err(unexpected(&other)),
    }
}

async fn get_stream<I: Io>(core: &Rc<Core<I>>, path: &StreamPath) -> Result<Response, ApiError> {
    match core.call_owner(path, Call::GetStream(path.clone())).await? {
        Answer::StreamConfig(config) => Ok(Response::json(200, &config)),
        other => Err(unexpected(&other)),
    }
}

/// The page that a query asks for and one entry more, which says whether there is another page.
pub(super) fn one_more(query: &ListQuery) -> Page {
    Page { limit: query.limit + 1, ..page(query) }
}

/// Cuts the answer to [`one_more`] to the page, and to what who asks may see of it; whether there
/// is more.
pub(super) fn cut<T>(query: &ListQuery, entries: &mut Vec<T>, name: impl Fn(&T) -> &str) -> bool {
    let has_more = entries.len() > query.limit;
    entries.truncate(query.limit);
    query.within.keep(&query.prefix, entries, has_more, name)
}

fn page(query: &ListQuery) -> Page {
    let ListQuery { prefix, start_after, limit, .. } = query.clone();
    Page { prefix, start_after, limit }
}

fn creation(token: Option<RequestToken>, requested: impl FnOnce() -> String) -> Option<Creation> {
    let token = token?;
    Some(Creation { token: token.as_str().to_owned(), requested: requested() })
}

fn basin_name(record: &BasinRecord) -> Result<BasinName, ApiError> {
    BasinName::new(&record.name).map_err(|e| ApiError::new(Code::Other, e.to_string()))
}

fn basin_info<'a>(name: &'a BasinName, record: &BasinRecord) -> BasinInfo<'a> {
    BasinInfo { name, created_at_us: record.created_us, deleted_at_us: record.deleted_us }
}

fn stream_info<'a>(access: &Access, record: &'a StreamRecord) -> StreamInfo<'a> {
    StreamInfo {
        name: shown_name(access, &record.name),
        created_at_us: record.created_us,
        deleted_at_us: record.deleted_us,
        cipher: record.cipher,
    }
}
