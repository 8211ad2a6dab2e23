//! The command `token`: root tokens, and access tokens in the data directory of a stopped server.

use super::{engine_config, hash_key, wall_us};
use crate::api::token::parse_issue;
use crate::auth::secret::Secret;
use crate::auth::{Access, may_issue};
use crate::config::Settings;
use crate::control::TokenRecord;
use crate::directory::DataDirectory;
use crate::shard::call::{Answer, Call};
use crate::shard::offline;
use crate::types::refusal::chain;

/// A new secret that can be a root token; nothing else knows it.
///
/// * Errors: the system has no random bytes to give.
pub fn generate() -> Result<String, String> {
    Secret::generate().map(|secret| secret.reveal().to_owned()).map_err(|e| chain(&e))
}

/// An access token as an operator asks for it.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// Names it.
    pub id: String,
    /// What it permits, as JSON of the API.
    pub scope: String,
    /// When it expires, as in RFC 3339; `None` for never.
    pub expires_at: Option<String>,
    /// Whether its requests leave the prefix of its streams out.
    pub auto_prefix_streams: bool,
}

impl TokenRequest {
    /// The body that asks the API for the same.
    fn body(&self) -> Result<Vec<u8>, String> {
        let Self { id, scope, expires_at, auto_prefix_streams } = self;
        let scope: serde_json::Value = serde_json::from_str(scope)
            .map_err(|error| format!("the scope cannot be read as JSON: {error}"))?;
        let body = serde_json::json!({
            "id": id,
            "scope": scope,
            "expires_at": expires_at,
            "auto_prefix_streams": auto_prefix_streams,
        });
        Ok(body.to_string().into_bytes())
    }
}

/// Issues the access token that `request` describes into the data directory of a server that does
/// not run, with all that a root token may hand out. Returns its secret.
///
/// * Durable: yes, when it returns.
/// * Errors: why not, in words for an operator; nothing was issued then.
pub fn issue(settings: &Settings, request: &TokenRequest) -> Result<String, String> {
    let created_us = wall_us();
    let asked = parse_issue(&request.body()?).map_err(|e| e.message().to_owned())?;
    let info = may_issue(&Access::Root, asked, created_us).map_err(|e| chain(&e))?;
    let path = &settings.data_dir;
    let mut directory = DataDirectory::open_locked(path).map_err(|e| chain(&e))?;
    if !directory.is_initialised() {
        return Err(format!("{} was never served: start a server on it first", path.display()));
    }
    // An older release knows no entries of tokens, and would take this one for damage.
    directory.raise_version().map_err(|e| chain(&e))?;
    let key = hash_key(&mut directory)?;
    let secret = Secret::generate().map_err(|e| chain(&e))?;
    let hash = key.hash(secret.reveal().as_bytes()).to_bytes();
    let call =
        Call::IssueToken(Box::new(TokenRecord { info, hash, created_us, by_anybody: false }));
    let config = engine_config(settings, &directory);
    match offline::call(directory.shard_path(0), config, call)? {
        Ok(Answer::Token(_)) => Ok(secret.reveal().to_owned()),
        Ok(other) => Err(format!("the shard answered another question: {other:?}")),
        Err(refusal) => Err(refusal.to_string()),
    }
}
