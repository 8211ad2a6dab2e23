//! Which tokens may be issued by whom (S2 specification, section 8.4).

use super::{Access, Denied, Resource, permit};
use crate::types::{Permission, PermissionSet, ResourceSet, TokenInfo};

/// Said of a token that would permit nothing; clients' tests ask for these words.
const NO_PERMISSIONS: &str = "Access token permissions cannot be empty";
/// The same of a token that would prefix, and has no prefix.
const NO_PREFIX: &str = "Auto prefixing is only allowed for streams with prefix matching";

/// Why a token is not issued. The message is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// It makes no sense, whoever asks for it.
    #[error("{0}")]
    Invalid(&'static str),
    /// It makes sense, but not in this name.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// Judges a token that is asked for in the name of `issuer`; returns it as it is to be issued.
///
/// * Units: `now_us` is microseconds since the Unix epoch.
/// * Shape: a token that states no expiry has that of its issuer.
/// * Errors: what makes no sense before what is not permitted.
pub fn may_issue(
    issuer: &Access,
    requested: TokenInfo,
    now_us: u64,
) -> Result<TokenInfo, NotIssued> {
    check_sense(&requested, now_us)?;
    let needed = PermissionSet::of(&[Permission::IssueAccessToken]);
    permit(issuer, needed, Resource::Token(requested.id.as_str()))?;
    let Some(own) = issuer.token() else { return Ok(requested) };
    check_containment(own, &requested)?;
    Ok(TokenInfo { expires_us: requested.expires_us.or(own.expires_us), ..requested })
}

fn check_sense(requested: &TokenInfo, now_us: u64) -> Result<(), NotIssued> {
    if requested.scope.permissions().is_empty() {
        return Err(NotIssued::Invalid(NO_PERMISSIONS));
    }
    let has_prefix = matches!(requested.scope.streams, ResourceSet::Prefix(_));
    if requested.auto_prefix_streams && !has_prefix {
        return Err(NotIssued::Invalid(NO_PREFIX));
    }
    if requested.is_expired(now_us) {
        return Err(NotIssued::Invalid("expires_at must be in the future"));
    }
    Ok(())
}

/// Checks that a token permits nothing that its issuer's, `own`, does not.
///
/// Groups count as groups: they extend to operations that are added later, so who has today's
/// operations of a group one by one cannot hand out the group.
fn check_containment(own: &TokenInfo, requested: &TokenInfo) -> Result<(), Denied> {
    let (ours, theirs) = (&own.scope, &requested.scope);
    let is_covered =
        ours.permissions().covers(theirs.permissions()) && ours.op_groups.covers(&theirs.op_groups);
    for (is_within, what) in [
        (is_covered, "operations"),
        (ours.basins.covers(&theirs.basins), "basins"),
        (ours.streams.covers(&theirs.streams), "streams"),
        (ours.access_tokens.covers(&theirs.access_tokens), "access tokens"),
        (expires_no_later(requested.expires_us, own.expires_us), "expiry"),
    ] {
        if !is_within {
            return Err(Denied::Exceeds(what));
        }
    }
    Ok(())
}

/// Whether what is asked for ends with the issuer's token at the latest. What states no expiry
/// inherits it.
fn expires_no_later(requested_us: Option<u64>, own_us: Option<u64>) -> bool {
    match (requested_us, own_us) {
        (Some(requested_us), Some(own_us)) => requested_us <= own_us,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
