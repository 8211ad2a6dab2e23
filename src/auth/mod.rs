//! Who may do what: a pure yes, or a no with its reason (S2 specification, section 8).
//!
//! ```text
//!  secret --hash--> found among the tokens --> Access --+--> permit   may it do this there?
//!                                                       +--> issue    may it hand out that token?
//!                                                       +--> listing  which part of a list is its?
//! ```
//!
//! Invariants:
//!
//! * Every question is answered from a token's scope alone, by [`permit`] or, for tokens to be
//!   issued, by [`may_issue`]; nobody else looks into a scope to decide.
//! * No token permits more than the one that issued it, today or after an upgrade.
//! * A secret is kept only as a keyed hash, and is never shown but once, to who asked for it.

#![forbid(unsafe_code)]

mod issue;
mod listing;
pub mod secret;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::types::{Permission, PermissionSet, TokenInfo};

pub use issue::{NotIssued, may_issue};
pub use listing::{Within, narrow};

/// A token as one core knows it; sessions hold it for as long as they last.
#[derive(Debug)]
pub struct Grant {
    /// What it is.
    pub info: TokenInfo,
    name: Name,
    ended: Cell<bool>,
}

impl Grant {
    /// A token that holds.
    #[must_use]
    pub fn new(info: TokenInfo) -> Rc<Self> {
        let name = Name::Token(format!("token:{}", info.id).into());
        Rc::new(Self { info, name, ended: Cell::new(false) })
    }

    /// Says that it was revoked or has expired; there is no way back.
    pub fn end(&self) {
        self.ended.set(true);
    }

    /// Whether it was revoked or has expired.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended.get()
    }
}

/// How the audit log names who asks: no id of a token passes for another name. Cheap to clone, and
/// may cross cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// One of those that are always the same.
    Fixed(&'static str),
    /// That of a token.
    Token(Arc<str>),
}

impl Name {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Fixed(name) => name,
            Self::Token(name) => name,
        }
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::Fixed("nobody")
    }
}

/// In whose name something is asked for.
#[derive(Debug, Clone)]
pub enum Access {
    /// Nobody's that was let in: nothing is permitted, but what everybody may do.
    Nobody,
    /// Anybody's: this server has no root token, so it asks nobody who they are.
    Open,
    /// The operator's, who has the root token.
    Root,
    /// That of who has this token.
    Token(Rc<Grant>),
}

impl Access {
    /// The token, if there is one.
    #[must_use]
    pub fn token(&self) -> Option<&TokenInfo> {
        match self {
            Self::Nobody | Self::Open | Self::Root => None,
            Self::Token(grant) => Some(&grant.info),
        }
    }

    /// Whether everything is permitted.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        matches!(self, Self::Open | Self::Root)
    }

    /// How the audit log names who asks.
    #[must_use]
    pub fn name(&self) -> Name {
        match self {
            Self::Nobody => Name::default(),
            Self::Open => Name::Fixed("open"),
            Self::Root => Name::Fixed("root"),
            Self::Token(grant) => grant.name.clone(),
        }
    }

    /// What goes before every stream name that is said in this name, and is left out of answers.
    #[must_use]
    pub fn stream_prefix(&self) -> &str {
        self.token().map_or("", TokenInfo::stream_prefix)
    }

    /// Whether the token was revoked or has expired.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        match self {
            Self::Nobody | Self::Open | Self::Root => false,
            Self::Token(grant) => grant.is_ended(),
        }
    }
}

/// What something is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The account, or a list of which everybody sees only a part.
    Account,
    /// A basin.
    Basin(&'a str),
    /// A stream, by its full name.
    Stream {
        /// The basin that it is in.
        basin: &'a str,
        /// Its name.
        stream: &'a str,
    },
    /// An access token, by its id.
    Token(&'a str),
}

/// Why something is not permitted. The message is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody was let in.
    #[error("an access token is required")]
    Nobody,
    /// The token lacks the operation.
    #[error("the access token does not permit {}", .0.as_str())]
    Operation(Permission),
    /// The token is about other basins.
    #[error("the access token does not permit this in this basin")]
    Basin,
    /// The token is about other streams.
    #[error("the access token does not permit this on this stream")]
    Stream,
    /// The token is about other tokens.
    #[error("the access token does not permit this with this access token id")]
    Token,
    /// The token to be issued would permit more than its issuer's; says in what.
    #[error("an access token cannot permit more than the one that issues it: {0}")]
    Exceeds(&'static str),
}

/// Whether everything in `needed` may be done to `resource`.
///
/// * Errors: the first thing that is missing: operations before resources, basins before streams.
/// * Cost: no allocation; nothing but a comparison when everything is permitted to everybody.
pub fn permit(
    access: &Access,
    needed: PermissionSet,
    resource: Resource<'_>,
) -> Result<(), Denied> {
    let Some(info) = limits(access)? else { return Ok(()) };
    permit_operations(info, needed)?;
    permit_resource(info, resource)
}

/// Whether at least one operation of `candidates`, which holds some, may be done to `resource`:
/// for what says only later which of them it is.
///
/// * Errors: as [`permit`], with the first of `candidates` when all of them are missing.
pub fn permit_any(
    access: &Access,
    candidates: PermissionSet,
    resource: Resource<'_>,
) -> Result<(), Denied> {
    let Some(info) = limits(access)? else { return Ok(()) };
    let permissions = info.scope.permissions();
    if !candidates.iter().any(|candidate| permissions.has(candidate)) {
        permit_operations(info, candidates)?;
    }
    permit_resource(info, resource)
}

/// What limits it; `None` when everything is permitted.
fn limits(access: &Access) -> Result<Option<&TokenInfo>, Denied> {
    match access {
        Access::Nobody => Err(Denied::Nobody),
        Access::Open | Access::Root => Ok(None),
        Access::Token(grant) => Ok(Some(&grant.info)),
    }
}

fn permit_operations(info: &TokenInfo, needed: PermissionSet) -> Result<(), Denied> {
    let permissions = info.scope.permissions();
    if permissions.covers(needed) {
        return Ok(());
    }
    let mut missing = needed.iter().filter(|permission| !permissions.has(*permission));
    missing.next().map_or(Ok(()), |permission| Err(Denied::Operation(permission)))
}

fn permit_resource(info: &TokenInfo, resource: Resource<'_>) -> Result<(), Denied> {
    let scope = &info.scope;
    let has_basin = |basin| if scope.basins.has(basin) { Ok(()) } else { Err(Denied::Basin) };
    match resource {
        Resource::Account => Ok(()),
        Resource::Basin(basin) => has_basin(basin),
        Resource::Stream { basin, stream } => {
            has_basin(basin)?;
            if scope.streams.has(stream) { Ok(()) } else { Err(Denied::Stream) }
        }
        Resource::Token(id) if scope.access_tokens.has(id) => Ok(()),
        Resource::Token(_) => Err(Denied::Token),
    }
}

#[cfg(test)]
mod tests;
