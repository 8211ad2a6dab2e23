//! The audit log: who changed what, and who was refused for who they are.
//!
//! * One event of `tracing` each, with the target [`TARGET`]: changes and refusals at `info`,
//!   looks at the control plane (lists, configurations) at `debug`. Of the data plane only what
//!   makes a stream, trims or fences one: nothing per request.
//! * Fields: `operation`, `basin`, `stream`, `token` (its id), `status`, `code` (of a refusal),
//!   `tried` (what was refused), `trim_point`, `by` (who was let in, as the access tokens have
//!   it), `peer` (address, where one is known).
//!   Names are quoted or escaped where they are written: no name can pass for another line.
//! * Never: tokens, keys, bodies, configurations, texts of errors.
//! * Refusals, failed changes and commands in batches cost their sender little, so there is a bound
//!   on how many are written: beyond [`PACED_PER_SECOND`] on a core they are counted, and the count
//!   is written.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Instant;

use crate::api::control::{CreateBasin, CreateStream};
use crate::api::route::StreamPath;
use crate::api::token::parse_issue;
use crate::api::usage::UsageScope;
use crate::api::{ApiError, Operation, Response};
use crate::auth::Name;
use crate::types::{AppendInput, BasinName, Command, StreamName, TokenId};

/// What filters and files know the events by.
pub const TARGET: &str = "thalweg::audit";
/// Refusals that one core writes in a second; and as many commands and failed changes.
pub const PACED_PER_SECOND: u32 = 100;

/// The code of what nobody waited for: it may have been done, or not.
const ABANDONED: &str = "abandoned";

const SECOND_US: u64 = 1_000_000;

/// Who asks, in a form that may cross cores.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// In whose name.
    pub name: Name,
    /// From where; `None` when nobody connected.
    pub peer: Option<SocketAddr>,
}

/// An operation, taken down before it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    operation: &'static str,
    basin: Option<BasinName>,
    stream: Option<StreamName>,
    token: Option<TokenId>,
    /// Whether it changes anything when it is let through.
    changes: bool,
}

impl Entry {
    /// Takes down `operation`, of which `body` may hold the name; `stream_prefix` goes before names
    /// of streams there, as who asks has it.
    #[must_use]
    pub fn of(operation: &Operation, stream_prefix: &str, body: &[u8]) -> Self {
        match operation {
            Operation::CreateBasin { .. } => {
                let named = CreateBasin::parse(body).ok().map(|create| create.basin);
                Self::change("create_basin", named, None)
            }
            Operation::EnsureBasin { basin, .. } => Self::of_basin("ensure_basin", basin),
            Operation::ReconfigureBasin(basin) => Self::of_basin("reconfigure_basin", basin),
            Operation::DeleteBasin(basin) => Self::of_basin("delete_basin", basin),
            Operation::CreateStream { basin, .. } => {
                let named = CreateStream::parse(body).ok().and_then(|create| {
                    StreamName::new(&format!("{stream_prefix}{}", create.stream)).ok()
                });
                Self::change("create_stream", Some(basin.clone()), named)
            }
            Operation::EnsureStream { path, .. } => Self::of_stream("ensure_stream", path),
            Operation::ReconfigureStream(path) => Self::of_stream("reconfigure_stream", path),
            Operation::DeleteStream(path) => Self::of_stream("delete_stream", path),
            Operation::SetDefaultLocation => Self::change("set_default_location", None, None),
            Operation::ListBasins(_) => Self::look("list_basins", None, None),
            Operation::GetBasin(basin) => Self::look("get_basin", Some(basin.clone()), None),
            Operation::ListStreams { basin, .. } => {
                Self::look("list_streams", Some(basin.clone()), None)
            }
            Operation::GetStream(path) => {
                Self::look("get_stream", Some(path.basin.clone()), Some(path.stream.clone()))
            }
            Operation::ListLocations => Self::look("list_locations", None, None),
            Operation::GetDefaultLocation => Self::look("get_default_location", None, None),
            Operation::Usage { scope, .. } => match scope {
                UsageScope::Account => Self::look("usage", None, None),
                UsageScope::Basin(basin) => Self::look("usage", Some(basin.clone()), None),
                UsageScope::Stream(path) => Self::of_data("usage", path),
            },
            Operation::IssueToken => {
                let named = parse_issue(body).ok().map(|asked| asked.id);
                Self { token: named, ..Self::change("issue_access_token", None, None) }
            }
            Operation::RevokeToken(id) => {
                let token = Some(id.clone());
                Self { token, ..Self::change("revoke_access_token", None, None) }
            }
            Operation::ListTokens(_) => Self::look("list_access_tokens", None, None),
            // Of the data plane; taken down for who is refused, and for nobody else.
            Operation::CheckTail(path) => Self::of_data("check_tail", path),
            Operation::Append { path, .. } | Operation::AppendSession { path, .. } => {
                Self::of_data("append", path)
            }
            Operation::Read { path, .. } | Operation::ReadSession { path, .. } => {
                Self::of_data("read", path)
            }
            // Nobody is refused these.
            Operation::Health
            | Operation::Metrics
            | Operation::Latency(_)
            | Operation::Dashboard { .. }
            | Operation::Stats
            | Operation::Options => Self::look("other", None, None),
        }
    }

    /// An operation on the records of a stream.
    #[must_use]
    pub fn of_data(operation: &'static str, path: &StreamPath) -> Self {
        Self::look(operation, Some(path.basin.clone()), Some(path.stream.clone()))
    }

    fn of_basin(operation: &'static str, basin: &BasinName) -> Self {
        Self::change(operation, Some(basin.clone()), None)
    }

    fn of_stream(operation: &'static str, path: &StreamPath) -> Self {
        Self::change(operation, Some(path.basin.clone()), Some(path.stream.clone()))
    }

    fn change(
        operation: &'static str,
        basin: Option<BasinName>,
        stream: Option<StreamName>,
    ) -> Self {
        Self { operation, basin, stream, token: None, changes: true }
    }

    fn look(operation: &'static str, basin: Option<BasinName>, stream: Option<StreamName>) -> Self {
        Self { operation, basin, stream, token: None, changes: false }
    }

    fn write(&self, status: Option<u16>, code: Option<&str>, origin: &Origin) {
        let Self { operation, changes, .. } = self;
        let (basin, stream, token) = self.names();
        let (by, peer) = (origin.name.as_str(), origin.peer.map(tracing::field::display));
        if *changes {
            tracing::info!(
                target: TARGET, operation, basin, stream, token, status, code, by, peer,
                "control plane"
            );
        } else {
            tracing::debug!(
                target: TARGET, operation, basin, stream, token, status, code, by, peer,
                "control plane"
            );
        }
    }

    fn names(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        let basin = self.basin.as_ref().map(BasinName::as_str);
        let stream = self.stream.as_ref().map(StreamName::as_str);
        (basin, stream, self.token.as_ref().map(TokenId::as_str))
    }
}

/// Writes that a first use created its stream; durable with the answer to it.
pub fn auto_created(path: &StreamPath, origin: &Origin) {
    let (by, peer) = (origin.name.as_str(), origin.peer.map(tracing::field::display));
    let (basin, stream) = (path.basin.as_str(), path.stream.as_str());
    tracing::info!(target: TARGET, operation = "auto_create_stream", basin, stream, by, peer, "used");
}

/// Writes what the commands of a batch change that was taken, in a line for each kind of them;
/// durable with the batch's acknowledgement. Of batches without any, nothing is written; of many in
/// a second, [`PACED_PER_SECOND`] are, and the rest is counted.
pub fn commanded(path: &StreamPath, batch: &AppendInput, origin: &Origin) {
    let commands = || batch.records.iter().filter_map(|record| record.command);
    if commands().next().is_none() {
        return;
    }
    let (by, peer) = (origin.name.as_str(), origin.peer.map(tracing::field::display));
    let (basin, stream) = (path.basin.as_str(), path.stream.as_str());
    if !paced() {
        return;
    }
    let trims = commands().filter_map(|command| match command {
        Command::Trim(trim_point) => Some(trim_point),
        Command::Fence(_) => None,
    });
    if let Some(trim_point) = trims.max() {
        tracing::info!(
            target: TARGET, operation = "trim", basin, stream, trim_point, by, peer, "command"
        );
    }
    if commands().any(|command| matches!(command, Command::Fence(_))) {
        tracing::info!(target: TARGET, operation = "fence", basin, stream, by, peer, "command");
    }
}

/// An operation on the control plane while it is done; written when that ends, however it does.
///
/// A client that resets its request ends the wait for the answer, not what was begun: without
/// this, a change would be done that nobody took down.
#[derive(Debug)]
pub struct UnderWay {
    entry: Option<Entry>,
    origin: Origin,
}

impl UnderWay {
    /// Begins.
    #[must_use]
    pub fn new(entry: Entry, origin: Origin) -> Self {
        Self { entry: Some(entry), origin }
    }

    /// Writes what became of it; gives what that was.
    pub fn ended(mut self, answered: &Result<Response, ApiError>) -> Option<Entry> {
        let entry = self.entry.take()?;
        match answered {
            Ok(response) => entry.write(Some(response.status), None, &self.origin),
            // A change takes a sync; that there is none takes nothing, and may be asked often.
            Err(error) => {
                if paced() {
                    entry.write(Some(error.status()), Some(error.code_text()), &self.origin);
                }
            }
        }
        Some(entry)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(entry) = &self.entry {
            entry.write(None, Some(ABANDONED), &self.origin);
        }
    }
}

/// Whether somebody is refused for who they are.
#[must_use]
pub fn is_about_access(error: &ApiError) -> bool {
    matches!(error.status(), 401 | 403)
}

/// The refusals of access of one core.
#[derive(Debug, Default)]
pub struct Refusals(RefCell<Pace>);

impl Refusals {
    /// Takes down a refusal of what was `tried`, as far as that is known: now, or as one of a
    /// number.
    ///
    /// * Units: `now_us` on a monotonic clock.
    pub fn note(&self, now_us: u64, error: &ApiError, tried: Option<&Entry>, origin: &Origin) {
        self.sweep(now_us);
        if self.0.borrow_mut().may_write() {
            let (status, code) = (error.status(), error.code_text());
            let (by, peer) = (origin.name.as_str(), origin.peer.map(tracing::field::display));
            let (basin, stream, token) = tried.map_or((None, None, None), Entry::names);
            let tried = tried.map(|entry| entry.operation);
            tracing::info!(
                target: TARGET, operation = "access", tried, basin, stream, token, status, code,
                by, peer, "refused"
            );
        }
    }

    /// Says how many were left out, when their second is over; to be called now and then.
    pub fn sweep(&self, now_us: u64) {
        let left_out = self.0.borrow_mut().turn(now_us);
        if left_out > 0 {
            tracing::info!(target: TARGET, operation = "access", left_out, "refused");
        }
        turn_paced();
    }
}

thread_local! {
    /// Lines of a core that cost who causes them next to nothing.
    static PACED: RefCell<Pace> = RefCell::default();
}

/// Whether another such line may be written in this second; it is counted otherwise.
fn paced() -> bool {
    turn_paced();
    PACED.with_borrow_mut(Pace::may_write)
}

/// Says how many were left out, when their second is over.
#[expect(clippy::disallowed_methods, reason = "lines are paced by real time")]
fn turn_paced() {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let now_us = u64::try_from(BEGAN.elapsed().as_micros()).unwrap_or(u64::MAX);
    let left_out = PACED.with_borrow_mut(|pace| pace.turn(now_us));
    if left_out > 0 {
        tracing::info!(target: TARGET, operation = "any", left_out, "failed changes and commands");
    }
}

/// How many were written in this second, and how many were not.
#[derive(Debug, Default)]
struct Pace {
    since_us: u64,
    written: u32,
    left_out: u64,
}

impl Pace {
    /// Begins another second when one is over; gives how many were left out in the last one.
    fn turn(&mut self, now_us: u64) -> u64 {
        if now_us < self.since_us.saturating_add(SECOND_US) {
            return 0;
        }
        std::mem::replace(self, Self { since_us: now_us, ..Self::default() }).left_out
    }

    fn may_write(&mut self) -> bool {
        let may = self.written < PACED_PER_SECOND;
        if may {
            self.written += 1;
        } else {
            self.left_out += 1;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Code;

    #[test]
    fn a_flood_of_refusals_is_counted_not_written() {
        let mut pace = Pace::default();
        assert_eq!(pace.turn(5 * SECOND_US), 0);
        let written = (0..1000).filter(|_| pace.may_write()).count();
        assert_eq!(written, 100);
        assert_eq!(pace.turn(6 * SECOND_US - 1), 0, "the second is not over");
        assert!(!pace.may_write());
        assert_eq!(pace.turn(6 * SECOND_US), 901, "said once");
        assert_eq!(pace.turn(7 * SECOND_US), 0);
        assert!(pace.may_write(), "another second, another hundred");
    }

    #[test]
    fn only_refusals_of_access_are_about_access() {
        for code in Code::ALL {
            let expected = [Code::Authn, Code::PermissionDenied, Code::QuotaExhausted];
            let is = is_about_access(&ApiError::new(*code, "x"));
            assert_eq!(is, expected.contains(code), "{code:?}");
        }
    }

    #[test]
    fn names_come_from_the_path_or_the_body() {
        let basin: BasinName = BasinName::new("some-basin").unwrap();
        let named =
            Entry::of(&Operation::CreateBasin { token: None }, "", br#"{"basin":"some-basin"}"#);
        assert_eq!(named, Entry::of_basin("create_basin", &basin));
        let broken = Entry::of(&Operation::CreateBasin { token: None }, "", b"not JSON");
        assert_eq!(broken, Entry::change("create_basin", None, None));
        let deleted = Entry::of(&Operation::DeleteBasin(basin.clone()), "", b"");
        assert_eq!(deleted, Entry::of_basin("delete_basin", &basin));
        let create = Operation::CreateStream { basin: basin.clone(), token: None };
        let full = StreamName::new("p/s").unwrap();
        let expected = Entry::change("create_stream", Some(basin.clone()), Some(full));
        assert_eq!(Entry::of(&create, "p/", br#"{"stream":"s"}"#), expected);
        assert!(!Entry::of(&Operation::GetBasin(basin), "", b"").changes);
    }
}
