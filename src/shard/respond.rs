//! From an operation to its answer: the one place that knows both the API and the cores.

use std::rc::Rc;

use super::call::{Answer, Call, Page, StreamPath};
use super::core::Core;
use super::usage::Tally;
use crate::api::control::{CreateBasin, CreateStream};
use crate::api::info::{BasinInfo, StreamInfo};
use crate::api::query::ListQuery;
use crate::api::response::{JSON, PROMETHEUS, Provision, Response};
use crate::api::{ApiError, Code, Operation};
use crate::codec::json::{DecodeError, encode_ack, encode_tail};
use crate::control::{BasinRecord, Creation, StreamRecord};
use crate::io::Io;
use crate::types::{BasinName, PartialStreamConfig, Refusal, RequestToken, StreamName};
use crate::wire::BodyBuf;

/// What a connection learns beside the answer.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// The receive buffer of an append, to be used again.
    pub(super) spare: Vec<u8>,
    /// The core that an append crossed to, if it did.
    pub(super) appended_at: Option<usize>,
}

/// Does what a request asks and spells the answer.
///
/// * Shape: `aside` gets what the connection may want to know.
/// * Errors: what to answer instead; nothing was changed unless its code says otherwise.
pub(super) async fn respond<I: Io>(
    core: &Rc<Core<I>>,
    operation: Operation,
    body: BodyBuf,
    aside: &mut Aside,
) -> Result<Response, ApiError> {
    let tally = Tally::of(&operation);
    let answered = answer(core, operation, body, aside).await;
    if answered.is_ok() {
        core.count(tally);
    }
    answered
}

async fn answer<I: Io>(
    core: &Rc<Core<I>>,
    operation: Operation,
    body: BodyBuf,
    aside: &mut Aside,
) -> Result<Response, ApiError> {
    match operation {
        Operation::Usage { scope, params } => core.usage(scope, params).await,
        Operation::Options => Ok(Response::empty(200)),
        Operation::Health => health(core).await,
        Operation::Metrics => metrics(core).await,
        Operation::ListBasins(query) => list_basins(core, query).await,
        Operation::CreateBasin { token } => create_basin(core, token, &body).await,
        Operation::GetBasin(basin) => get_basin(core, basin).await,
        Operation::DeleteBasin(basin) => {
            core.call(0, Call::MarkBasinDeleted(basin)).await?;
            Ok(Response::empty(202))
        }
        Operation::ListStreams { basin, query } => list_streams(core, &basin, query).await,
        Operation::CreateStream { basin, token } => create_stream(core, basin, token, &body).await,
        Operation::GetStream(path) => get_stream(core, &path).await,
        Operation::DeleteStream(path) => {
            core.call_owner(&path, Call::DeleteStream(path.clone())).await?;
            Ok(Response::empty(202))
        }
        Operation::CheckTail(path) => {
            match core.call_owner(&path, Call::CheckTail(path.clone())).await? {
                Answer::Tail(tail) => {
                    let mut body = Vec::with_capacity(64);
                    encode_tail(&mut body, tail);
                    Ok(Response::new(200, JSON, body))
                }
                other => Err(unexpected(&other)),
            }
        }
        Operation::Append { path, format, auto_create } => {
            let decoded = core.decoder.borrow_mut().decode(body, format);
            let input = decoded.map_err(refused_body)?;
            let auto_create = auto_create.unwrap_or_default();
            append(core, path, input, auto_create, aside).await
        }
        Operation::Read { path, query, format, auto_create } => {
            let auto_create = auto_create.unwrap_or_default();
            let call = Call::Read { path: path.clone(), query, format, auto_create };
            match core.call_owner(&path, call).await? {
                Answer::Body(body) => Ok(Response::new(200, JSON, body)),
                other => Err(unexpected(&other)),
            }
        }
    }
}

async fn append<I: Io>(
    core: &Rc<Core<I>>,
    path: StreamPath,
    input: crate::types::AppendInput,
    auto_create: PartialStreamConfig,
    aside: &mut Aside,
) -> Result<Response, ApiError> {
    if core.draining.get() {
        return Err(Refusal::Draining.into());
    }
    aside.appended_at = core.foreign_owner(&path);
    let call = Call::Append { path: path.clone(), input, auto_create };
    match core.call_owner(&path, call).await? {
        Answer::Ack(ack, buf) => {
            aside.spare = buf;
            let mut body = Vec::with_capacity(192);
            encode_ack(&mut body, &ack);
            Ok(Response::new(200, JSON, body))
        }
        other => Err(unexpected(&other)),
    }
}

fn refused_body(error: DecodeError) -> ApiError {
    match error {
        DecodeError::BadJson(message) => ApiError::new(Code::BadJson, message),
        DecodeError::Invalid(message) => ApiError::new(Code::Invalid, message),
    }
}

async fn health<I: Io>(core: &Rc<Core<I>>) -> Result<Response, ApiError> {
    if core.draining.get() {
        return Ok(Response::text(503, "shutting down"));
    }
    match core.call_all(|| Call::Health).await {
        Ok(_) => Ok(Response::text(200, "OK")),
        Err(refusal) => Ok(Response::text(503, &refusal.to_string())),
    }
}

async fn metrics<I: Io>(core: &Rc<Core<I>>) -> Result<Response, ApiError> {
    let body = core.render_metrics().await?;
    Ok(Response::new(200, PROMETHEUS, body))
}

async fn list_basins<I: Io>(core: &Rc<Core<I>>, query: ListQuery) -> Result<Response, ApiError> {
    let limit = query.limit;
    let page = Page { limit: limit + 1, ..page(query) };
    let Answer::Basins(mut records) = core.call(0, Call::ListBasins(page)).await? else {
        return Err(unexpected(&Answer::Done));
    };
    let has_more = records.len() > limit;
    records.truncate(limit);
    let names = records.iter().map(basin_name).collect::<Result<Vec<_>, _>>()?;
    let infos: Vec<_> = names.iter().zip(&records).map(|(n, r)| basin_info(n, r)).collect();
    Ok(BasinInfo::page(&infos, has_more))
}

async fn create_basin<I: Io>(
    core: &Rc<Core<I>>,
    token: Option<RequestToken>,
    body: &BodyBuf,
) -> Result<Response, ApiError> {
    let request = CreateBasin::parse(body.as_slice())?;
    let creation = creation(token, || request.idempotency_config());
    let call = Call::CreateBasin { basin: request.basin, config: request.config, creation };
    match core.call(0, call).await? {
        Answer::Basin(record, created) => {
            let name = basin_name(&record)?;
            Ok(basin_info(&name, &record).provisioned(provision(created)))
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
    basin: &BasinName,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let (records, has_more) = core.list_streams(basin, &page(query)).await?;
    let names = records.iter().map(stream_name).collect::<Result<Vec<_>, _>>()?;
    let infos: Vec<_> = names.iter().zip(&records).map(|(n, r)| stream_info(n, r)).collect();
    Ok(StreamInfo::page(&infos, has_more))
}

async fn create_stream<I: Io>(
    core: &Rc<Core<I>>,
    basin: BasinName,
    token: Option<RequestToken>,
    body: &BodyBuf,
) -> Result<Response, ApiError> {
    let request = CreateStream::parse(body.as_slice())?;
    let creation = creation(token, || request.idempotency_config());
    let path = StreamPath { basin, stream: request.stream };
    let call = Call::CreateStream { path: path.clone(), config: request.config, creation };
    match core.call_owner(&path, call).await? {
        Answer::Stream(record, created) => {
            let name = stream_name(&record)?;
            Ok(stream_info(&name, &record).provisioned(provision(created)))
        }
        other => Err(unexpected(&other)),
    }
}

async fn get_stream<I: Io>(core: &Rc<Core<I>>, path: &StreamPath) -> Result<Response, ApiError> {
    match core.call_owner(path, Call::GetStream(path.clone())).await? {
        Answer::StreamConfig(config) => Ok(Response::json(200, &config)),
        other => Err(unexpected(&other)),
    }
}

fn page(query: ListQuery) -> Page {
    Page { prefix: query.prefix, start_after: query.start_after, limit: query.limit }
}

fn creation(token: Option<RequestToken>, requested: impl FnOnce() -> String) -> Option<Creation> {
    let token = token?;
    Some(Creation { token: token.as_str().to_owned(), requested: requested() })
}

fn provision(created: bool) -> Provision {
    if created { Provision::Created } else { Provision::Noop }
}

fn basin_name(record: &BasinRecord) -> Result<BasinName, ApiError> {
    BasinName::new(&record.name).map_err(|e| ApiError::new(Code::Other, e.to_string()))
}

fn stream_name(record: &StreamRecord) -> Result<StreamName, ApiError> {
    StreamName::new(&record.name).map_err(|e| ApiError::new(Code::Other, e.to_string()))
}

fn basin_info<'a>(name: &'a BasinName, record: &BasinRecord) -> BasinInfo<'a> {
    BasinInfo { name, created_at_us: record.created_us, deleted_at_us: record.deleted_us }
}

fn stream_info<'a>(name: &'a StreamName, record: &StreamRecord) -> StreamInfo<'a> {
    StreamInfo {
        name,
        created_at_us: record.created_us,
        deleted_at_us: record.deleted_us,
        cipher: record.cipher,
    }
}

fn unexpected(answer: &Answer) -> ApiError {
    debug_assert!(false, "a shard answered another question: {answer:?}");
    ApiError::new(Code::Other, "a shard answered another question")
}
