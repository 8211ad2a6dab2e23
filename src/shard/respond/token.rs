//! Answers about access tokens: issuing, listing, revoking.

use std::rc::Rc;

use super::control::{cut, one_more};
use super::unexpected;
use crate::api::query::ListQuery;
use crate::api::response::Response;
use crate::api::token::{issued, page, parse_issue};
use crate::api::{ApiError, Code};
use crate::auth::secret::Secret;
use crate::auth::{Access, may_issue};
use crate::control::TokenRecord;
use crate::io::Io;
use crate::shard::call::{Answer, Call};
use crate::shard::core::Core;
use crate::types::TokenId;

/// Longest body of a request to issue a token, in bytes: many times what the longest names take.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Issues the token that `body` describes in the name of `access`, and tells its secret.
///
/// * Durable: yes, and known to every core, when the secret is told.
/// * Errors: as the specification says (section 8.4); 413 for a body that is too long; 403
///   `quota_exhausted` when there are too many tokens.
pub(super) async fn issue<I: Io>(
    core: &Rc<Core<I>>,
    access: &Access,
    body: &[u8],
) -> Result<Response, ApiError> {
    if body.len() > BODY_BYTES_MAX {
        let message = format!("a token is described in at most {BODY_BYTES_MAX} bytes");
        return Err(ApiError::new(Code::ContentTooLarge, message));
    }
    let created_us = core.clock().wall_us();
    let info = may_issue(access, parse_issue(body)?, created_us)?;
    let secret = Secret::generate().map_err(|e| ApiError::new(Code::Other, e.to_string()))?;
    let hash = core.gate.key().hash(secret.reveal().as_bytes()).to_bytes();
    let by_anybody = matches!(access, Access::Open);
    let record = Box::new(TokenRecord { info, hash, created_us, by_anybody });
    match core.call(0, Call::IssueToken(record)).await? {
        Answer::Token(_) => Ok(issued(&secret)),
        other => Err(unexpected(&other)),
    }
}

/// Revokes a token, which the request was found to be permitted.
///
/// * Durable: yes, and no core lets it in any more, when this returns.
/// * Errors: 404 `access_token_not_found`, also when it has expired.
pub(super) async fn revoke<I: Io>(core: &Rc<Core<I>>, id: TokenId) -> Result<Response, ApiError> {
    core.call(0, Call::RevokeToken(id)).await?;
    Ok(Response::empty(204))
}

/// A page of the tokens that the request may see.
pub(super) async fn list<I: Io>(
    core: &Rc<Core<I>>,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let Answer::Tokens(mut infos) = core.call(0, Call::ListTokens(one_more(&query))).await? else {
        return Err(unexpected(&Answer::Done));
    };
    let has_more = cut(&query, &mut infos, |info| info.id.as_str());
    Ok(page(&infos, has_more))
}
