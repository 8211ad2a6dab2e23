//! From an operation to what it needs to be permitted, and to the names that it means.
//!
//! Two things happen to an operation between its head and its being done, both in [`authorize`],
//! in one match over all operations: it is refused with 403 `permission_denied` unless the access
//! permits it, and the stream names in it become full names (S2 specification, sections 8.3 and
//! 8.5). What only the body says is judged by the functions below when that is decoded.

use std::borrow::Cow;

use super::credential::unauthenticated;
use super::error::{ApiError, Code};
use super::query::{ListQuery, bad_query};
use super::route::{Operation, StreamPath};
use super::usage::UsageScope;
use crate::auth::{Access, Denied, NotIssued, Resource, narrow, permit, permit_any};
use crate::types::name::NameError;
use crate::types::{
    AppendInput, BasinName, Command, Permission, PermissionSet, ResourceSet, Scope, StreamName,
};

/// What a batch may need: which of it, its records say.
const APPENDING: PermissionSet =
    PermissionSet::of(&[Permission::Append, Permission::Trim, Permission::Fence]);

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Nobody => unauthenticated("an access token is required"),
            denied => Self::new(Code::PermissionDenied, denied.to_string()),
        }
    }
}

impl From<NotIssued> for ApiError {
    fn from(not_issued: NotIssued) -> Self {
        match not_issued {
            NotIssued::Invalid(problem) => Self::new(Code::Invalid, problem),
            NotIssued::Denied(denied) => denied.into(),
        }
    }
}

/// Judges what a request's head asks for, and gives it full names, and lists no more than may be
/// seen.
///
/// * Errors: 403 `permission_denied`; 400 `bad_path` or `bad_query` when a name is too long with
///   what goes before it.
/// * Cost: nothing but a comparison when everything is permitted to everybody.
pub fn authorize(access: &Access, operation: &mut Operation) -> Result<(), ApiError> {
    if access.is_unlimited() {
        return Ok(());
    }
    if let Some(path) = stream_of(operation) {
        path.stream = full_name(access, &path.stream).map_err(bad_path)?.into_owned();
    }
    check(access, operation)?;
    match operation {
        Operation::ListBasins(query) => query.narrow(access, |scope| &scope.basins),
        Operation::ListTokens(query) => query.narrow(access, |scope| &scope.access_tokens),
        Operation::ListStreams { query, .. } => {
            query.lengthen(access.stream_prefix())?;
            query.narrow(access, |scope| &scope.streams);
        }
        _ => {}
    }
    Ok(())
}

/// Whether the operation, with full names, is permitted as far as its head says what it is.
fn check(access: &Access, operation: &Operation) -> Result<(), Denied> {
    use Permission as P;
    let on_account = |needed| permit(access, PermissionSet::of(&[needed]), Resource::Account);
    let on_basin = |basin: &BasinName, needed: &[Permission]| {
        permit(access, PermissionSet::of(needed), Resource::Basin(basin.as_str()))
    };
    let on_stream = |path: &StreamPath, needed: &[Permission]| {
        permit(access, PermissionSet::of(needed), stream(path))
    };
    match operation {
        Operation::Options
        | Operation::Health
        | Operation::Metrics
        | Operation::Latency(_)
        | Operation::Dashboard { .. }
        | Operation::Stats => Ok(()),
        Operation::ListBasins(_) => on_account(P::ListBasins),
        // Which basin, the body says: `check_new_basin`.
        Operation::CreateBasin { .. } => on_account(P::CreateBasin),
        Operation::GetBasin(basin) => on_basin(basin, &[P::GetBasinConfig]),
        // It does one of the two, and who asks does not know beforehand which.
        Operation::EnsureBasin { basin, .. } => {
            on_basin(basin, &[P::CreateBasin, P::ReconfigureBasin])
        }
        Operation::ReconfigureBasin(basin) => on_basin(basin, &[P::ReconfigureBasin]),
        Operation::DeleteBasin(basin) => on_basin(basin, &[P::DeleteBasin]),
        Operation::ListStreams { basin, .. } => on_basin(basin, &[P::ListStreams]),
        // Which stream, the body says: `check_new_stream`.
        Operation::CreateStream { basin, .. } => on_basin(basin, &[P::CreateStream]),
        Operation::GetStream(path) => on_stream(path, &[P::GetStreamConfig]),
        Operation::EnsureStream { path, .. } => {
            on_stream(path, &[P::CreateStream, P::ReconfigureStream])
        }
        Operation::ReconfigureStream(path) => on_stream(path, &[P::ReconfigureStream]),
        Operation::DeleteStream(path) => on_stream(path, &[P::DeleteStream]),
        Operation::ListLocations => on_account(P::ListLocations),
        Operation::GetDefaultLocation => on_account(P::GetDefaultLocation),
        Operation::SetDefaultLocation => on_account(P::SetDefaultLocation),
        Operation::CheckTail(path) => on_stream(path, &[P::CheckTail]),
        // What of it is needed, the batches say: `check_batch`.
        Operation::Append { path, .. } | Operation::AppendSession { path, .. } => {
            permit_any(access, APPENDING, stream(path))
        }
        Operation::Read { path, .. } | Operation::ReadSession { path, .. } => {
            on_stream(path, &[P::Read])
        }
        Operation::Usage { scope, .. } => match scope {
            UsageScope::Account => on_account(P::AccountMetrics),
            UsageScope::Basin(basin) => on_basin(basin, &[P::BasinMetrics]),
            UsageScope::Stream(path) => on_stream(path, &[P::StreamMetrics]),
        },
        Operation::ListTokens(_) => on_account(P::ListAccessTokens),
        // Which token, and what it may permit, the body says: `auth::may_issue`.
        Operation::IssueToken => on_account(P::IssueAccessToken),
        Operation::RevokeToken(id) => {
            let needed = PermissionSet::of(&[P::RevokeAccessToken]);
            permit(access, needed, Resource::Token(id.as_str()))
        }
    }
}

/// Whether the basin that a body names may be created.
pub fn check_new_basin(access: &Access, basin: &BasinName) -> Result<(), ApiError> {
    let needed = PermissionSet::of(&[Permission::CreateBasin]);
    Ok(permit(access, needed, Resource::Basin(basin.as_str()))?)
}

/// The full path of the stream that a body names, if it may be created.
///
/// * Errors: 403 `permission_denied`; 400 `bad_json` when the name is too long with what goes
///   before it.
pub fn check_new_stream(access: &Access, path: StreamPath) -> Result<StreamPath, ApiError> {
    let bad_json = |error: NameError| ApiError::new(Code::BadJson, error.0);
    let name = full_name(access, &path.stream).map_err(bad_json)?.into_owned();
    let path = StreamPath { stream: name, ..path };
    permit(access, PermissionSet::of(&[Permission::CreateStream]), stream(&path))?;
    Ok(path)
}

/// Whether a batch may be appended to a stream that [`authorize`] let through: commands need an
/// operation each, everything else needs `append`.
pub fn check_batch(access: &Access, batch: &AppendInput) -> Result<(), ApiError> {
    if access.is_unlimited() {
        return Ok(());
    }
    let needed = |command: Option<Command>| match command {
        None => Permission::Append,
        Some(Command::Trim(_)) => Permission::Trim,
        Some(Command::Fence(_)) => Permission::Fence,
    };
    let needed = batch.records.iter().map(|record| needed(record.command)).collect();
    Ok(permit(access, needed, Resource::Account)?)
}

/// A stream's name as answers to this access show it.
#[must_use]
pub fn shown_name<'a>(access: &Access, name: &'a str) -> &'a str {
    name.strip_prefix(access.stream_prefix()).unwrap_or(name)
}

/// An error as answers to this access show it: names of streams in it are quoted.
#[must_use]
pub fn shown_error(access: &Access, error: ApiError) -> ApiError {
    match access.stream_prefix() {
        "" => error,
        prefix => error.with_message(|message| message.replace(&format!("`{prefix}"), "`")),
    }
}

fn stream(path: &StreamPath) -> Resource<'_> {
    Resource::Stream { basin: path.basin.as_str(), stream: path.stream.as_str() }
}

/// The stream that the operation's head names.
fn stream_of(operation: &mut Operation) -> Option<&mut StreamPath> {
    match operation {
        Operation::GetStream(path)
        | Operation::EnsureStream { path, .. }
        | Operation::ReconfigureStream(path)
        | Operation::DeleteStream(path)
        | Operation::CheckTail(path)
        | Operation::Append { path, .. }
        | Operation::AppendSession { path, .. }
        | Operation::Read { path, .. }
        | Operation::ReadSession { path, .. }
        | Operation::Usage { scope: UsageScope::Stream(path), .. } => Some(path),
        Operation::Options
        | Operation::Health
        | Operation::Metrics
        | Operation::Latency(_)
        | Operation::Dashboard { .. }
        | Operation::Stats
        | Operation::ListBasins(_)
        | Operation::CreateBasin { .. }
        | Operation::GetBasin(_)
        | Operation::EnsureBasin { .. }
        | Operation::ReconfigureBasin(_)
        | Operation::DeleteBasin(_)
        | Operation::ListStreams { .. }
        | Operation::CreateStream { .. }
        | Operation::ListLocations
        | Operation::GetDefaultLocation
        | Operation::SetDefaultLocation
        | Operation::Usage { scope: UsageScope::Account | UsageScope::Basin(_), .. }
        | Operation::ListTokens(_)
        | Operation::IssueToken
        | Operation::RevokeToken(_) => None,
    }
}

/// The full name of the stream that a request calls `name`; the limits hold for the whole of it.
fn full_name<'a>(access: &Access, name: &'a StreamName) -> Result<Cow<'a, StreamName>, NameError> {
    match access.stream_prefix() {
        "" => Ok(Cow::Borrowed(name)),
        prefix => StreamName::new(&format!("{prefix}{name}")).map(Cow::Owned),
    }
}

fn bad_path(error: NameError) -> ApiError {
    ApiError::new(Code::BadPath, format!("stream in path, with its prefix: {}", error.0))
}

impl ListQuery {
    /// Reduces it to what may be seen.
    fn narrow(&mut self, access: &Access, set: impl FnOnce(&Scope) -> &ResourceSet) {
        let set = access.token().map(|info| set(&info.scope));
        (self.prefix, self.within) = narrow(set, std::mem::take(&mut self.prefix));
    }

    /// Puts `prefix` before the names that it says.
    fn lengthen(&mut self, prefix: &str) -> Result<(), ApiError> {
        if prefix.is_empty() {
            return Ok(());
        }
        for (name, text) in [("prefix", &mut self.prefix), ("start_after", &mut self.start_after)] {
            text.insert_str(0, prefix);
            StreamName::check_prefix(text).map_err(|error| bad_query(name, error.0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
