//! From an operation to its answer: the one place that knows both the API and the cores.

mod control;
mod dashboard;
mod latency;
mod stats;
mod token;

use std::net::SocketAddr;
use std::rc::Rc;

use serde::Serialize;

use super::call::{Age, Answer, Asked, Call};
use super::core::Core;
use super::engine::json;
use super::scrub::DamagedPlace;
use super::usage::Tally;
use crate::api::access::{check_batch, shown_error};
use crate::api::receipt::{RECEIPT, header_value};
use crate::api::response::{JSON, PROMETHEUS, PROTOBUF, Response};
use crate::api::{ApiError, Code, Operation, credential};
use crate::audit::{self, Entry, Origin, UnderWay};
use crate::auth::Access;
use crate::codec::json::{encode_ack, encode_tail};
use crate::codec::{BatchForm, DecodeError, proto};
use crate::io::Io;
use crate::types::{Ack, AppendInput, Receipt, Refusal};
use crate::wire::Body;

/// Longest answer of old records that is sent like any other, in bytes.
const UNPACED_BYTES_MAX: usize = 16 * 1024;

/// What a connection learns beside the answer.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// The receive buffer of an append, to be used again.
    pub(super) spare: Vec<u8>,
    /// The core that an append crossed to, if it did.
    pub(super) appended_at: Option<usize>,
    /// Empty; the memory of an earlier answer, for that of an append.
    pub(super) body: Vec<u8>,
    /// Whether the answer is much old data, sent as `pace` says.
    pub(super) is_paced: bool,
    /// Who asks; set by the connection.
    pub(super) peer: Option<SocketAddr>,
    /// What was not permitted, when that is found only now.
    pub(super) tried: Option<Box<Entry>>,
}

/// Who asks for what, as far as the audit log is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    /// In whose name.
    pub(super) access: &'a Access,
    /// From where.
    pub(super) peer: Option<SocketAddr>,
    /// What, when that is known.
    pub(super) tried: Option<&'a Entry>,
}

impl Asker<'_> {
    /// Who it is, for who is told elsewhere.
    pub(super) fn origin(&self) -> Origin {
        Origin { name: self.access.name(), peer: self.peer }
    }
}

/// Header of `/health` that names what the server's addresses lack.
const INSECURE: &str = "thalweg-insecure";
/// More than an acknowledgement takes, in bytes.
const ACK_BYTES: usize = 192;

impl<I: Io> Core<I> {
    /// Counts a request that is refused before a shard is asked, or by a shard; who is refused for
    /// who they are is also written to the audit log.
    pub(super) fn refused(&self, error: &ApiError, asker: Asker<'_>) {
        self.metrics.refused(error.code_text());
        if audit::is_about_access(error) {
            self.refusals.note(self.now_us(), error, asker.tried, &asker.origin());
        }
    }
}

/// Does what a request asks in the name of `access`, as far as its head said permitted to that,
/// and spells the answer.
///
/// * Shape: `aside` gets what the connection may want to know.
/// * Errors: what to answer instead; nothing was changed unless its code says otherwise.
pub(super) async fn respond<I: Io>(
    core: &Rc<Core<I>>,
    access: &Access,
    operation: Operation,
    body: Body,
    aside: &mut Aside,
) -> Result<Response, ApiError> {
    // The body may have been long on its way.
    if access.is_ended() {
        return Err(credential::ended());
    }
    let tally = Tally::of(&operation);
    let answered = answer(core, access, operation, body, aside).await;
    if answered.is_ok() {
        core.count(tally);
    }
    answered.map_err(|error| shown_error(access, error))
}

async fn answer<I: Io>(
    core: &Rc<Core<I>>,
    access: &Access,
    operation: Operation,
    body: Body,
    aside: &mut Aside,
) -> Result<Response, ApiError> {
    match operation {
        Operation::Append { path, key, form, answer_proto, receipt, auto_create } => {
            let input = decode(core, body, form).map_err(refused_body)?;
            check_batch(access, &input)
                .inspect_err(|_| aside.tried = Some(Box::new(Entry::of_data("append", &path))))?;
            let from = Origin { name: access.name(), peer: aside.peer };
            let asked = Asked { auto_create: auto_create.unwrap_or_default(), from };
            let shard = core.shard_of(&path);
            let call = Call::Append { path, key, input, asked, receipt };
            let (ack, receipt) = append(core, shard, call, aside).await?;
            let mut body = std::mem::take(&mut aside.body);
            body.reserve(ACK_BYTES);
            let response = if answer_proto {
                proto::encode_ack(&mut body, &ack, None);
                Response::new(200, PROTOBUF, body)
            } else {
                encode_ack(&mut body, &ack);
                Response::new(200, JSON, body)
            };
            Ok(match receipt {
                Some(receipt) => response.with_header(RECEIPT, header_value(&receipt)),
                None => response,
            })
        }
        // Boxed: each append would carry the room of the largest of them.
        other => Box::pin(answer_other(core, access, other, &body, aside)).await,
    }
}

async fn answer_other<I: Io>(
    core: &Rc<Core<I>>,
    access: &Access,
    operation: Operation,
    body: &Body,
    aside: &mut Aside,
) -> Result<Response, ApiError> {
    match operation {
        Operation::Options => Ok(Response::empty(200)),
        Operation::Health => {
            let response = health(core).await?;
            Ok(match core.connection.exposed.header() {
                Some(lacking) => response.with_header(INSECURE, lacking),
                None => response,
            })
        }
        Operation::Metrics => metrics(core).await,
        Operation::Latency(query) => latency::latency(core, query).await,
        Operation::Dashboard { place, is_known } => {
            let facts = core.connection.dashboard.as_deref();
            dashboard::show(facts, place, is_known)
        }
        Operation::Stats => stats::stats(core).await,
        Operation::CheckTail(path) => {
            let from = Origin { name: access.name(), peer: aside.peer };
            match core.call_owner(&path, Call::CheckTail(path.clone(), from)).await? {
                Answer::Tail(tail) => {
                    let mut body = Vec::with_capacity(64);
                    encode_tail(&mut body, tail);
                    Ok(Response::new(200, JSON, body))
                }
                other => Err(unexpected(&other)),
            }
        }
        Operation::Read { path, key, query, form, auto_create } => {
            let from = Origin { name: access.name(), peer: aside.peer };
            let asked = Asked { auto_create: auto_create.unwrap_or_default(), from };
            let call = Call::Read { path: path.clone(), key, query, form, asked };
            match core.call_owner(&path, call).await? {
                // It may have waited for long.
                Answer::Body(..) if access.is_ended() => Err(credential::ended()),
                Answer::Body(body, age) => {
                    // A short answer costs little more than any other.
                    aside.is_paced = age == Age::Old && body.len() > UNPACED_BYTES_MAX;
                    let is_proto = form == BatchForm::Proto;
                    Ok(Response::new(200, if is_proto { PROTOBUF } else { JSON }, body))
                }
                other => Err(unexpected(&other)),
            }
        }
        Operation::Append { .. }
        | Operation::AppendSession { .. }
        | Operation::ReadSession { .. } => {
            debug_assert!(false, "answered elsewhere");
            Err(ApiError::new(Code::Other, "the request was routed wrongly"))
        }
        other => {
            let entry = Entry::of(&other, access.stream_prefix(), body.as_slice());
            let origin = Origin { name: access.name(), peer: aside.peer };
            let under_way = UnderWay::new(entry, origin);
            let answered = control::respond(core, access, other, body).await;
            aside.tried = under_way.ended(&answered).map(Box::new);
            answered
        }
    }
}

async fn append<I: Io>(
    core: &Rc<Core<I>>,
    shard: u16,
    call: Call,
    aside: &mut Aside,
) -> Result<(Ack, Option<Receipt>), ApiError> {
    if core.drain.is_begun() {
        return Err(Refusal::Draining.into());
    }
    aside.appended_at = core.engine(shard).is_none().then(|| core.core_of(shard));
    match core.call(shard, call).await? {
        Answer::Ack(ack, buf, receipt) => {
            aside.spare = buf;
            Ok((ack, receipt))
        }
        other => Err(unexpected(&other)),
    }
}

/// Decodes a batch where its bytes are.
fn decode<I: Io>(core: &Core<I>, body: Body, form: BatchForm) -> Result<AppendInput, DecodeError> {
    match (form, body) {
        (BatchForm::Json(format), body) => {
            core.decoder.borrow_mut().decode(body.into_buf(), format)
        }
        (BatchForm::Proto, Body::Shared(bytes)) => {
            let len_bytes = bytes.len();
            proto::decode_append(bytes, 0..len_bytes)
        }
        (BatchForm::Proto, Body::Buf(body)) => {
            let len_bytes = body.len();
            let (buf, start) = body.into_parts();
            proto::decode_append(buf, start..start + len_bytes)
        }
    }
}

fn refused_body(error: DecodeError) -> ApiError {
    match error {
        DecodeError::BadJson(message) => ApiError::new(Code::BadJson, message),
        DecodeError::BadProto(message) => ApiError::new(Code::BadProto, message),
        DecodeError::Invalid(message) => ApiError::new(Code::Invalid, message),
    }
}

async fn health<I: Io>(core: &Rc<Core<I>>) -> Result<Response, ApiError> {
    if core.drain.is_begun() {
        return Ok(Response::text(503, "shutting down"));
    }
    match core.call_all(|| Call::Health).await {
        Ok(answers) => Ok(healthy(answers)),
        Err(refusal) => Ok(Response::text(503, &refusal.to_string())),
    }
}

/// The shards serve. Damage in old data is told and is no reason to take the server out of use:
/// that would take everything else with it.
fn healthy(answers: Vec<Answer>) -> Response {
    let places = |answer| if let Answer::Health(places) = answer { places } else { Vec::new() };
    let damaged: Vec<_> = answers.into_iter().flat_map(places).collect();
    if damaged.is_empty() {
        return Response::text(200, "OK");
    }
    Response::new(200, JSON, json(&HealthForm { status: "damaged", damaged }))
}

/// The answer to `GET /health` while something is known to be damaged.
#[derive(Debug, Serialize)]
struct HealthForm {
    status: &'static str,
    damaged: Vec<DamagedPlace>,
}

async fn metrics<I: Io>(core: &Rc<Core<I>>) -> Result<Response, ApiError> {
    let body = core.render_metrics().await?;
    Ok(Response::new(200, PROMETHEUS, body))
}

fn unexpected(answer: &Answer) -> ApiError {
    debug_assert!(false, "a shard answered another question: {answer:?}");
    ApiError::new(Code::Other, "a shard answered another question")
}
