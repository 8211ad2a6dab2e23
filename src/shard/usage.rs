//! Counting what is done, saving the counts, and answering for them.
//!
//! Appends are counted when they become durable, and again by whoever replays the log. The rest is
//! counted here when it is answered, and logged at most once in [`EngineConfig::usage_flush_us`],
//! only when there is something new: a crash takes what was counted since.
//!
//! [`EngineConfig::usage_flush_us`]: super::engine::EngineConfig::usage_flush_us

use std::rc::Rc;

use super::call::{Answer, Call, UsageScope};
use super::core::Core;
use super::engine::{Engine, Note, json};
use crate::api::usage::{UsageParams, response};
use crate::api::{ApiError, Operation, Response};
use crate::auth::Access;
use crate::control::Stream;
use crate::io::Io;
use crate::log::entry::{Kind, metadata_bytes};
use crate::types::BasinName;
use crate::usage::{Counter, Part, Query, Set};

/// What to count when an operation is answered; nothing for those that count on the way.
#[derive(Debug)]
pub(super) struct Tally(Option<(Option<BasinName>, Counter)>);

impl Tally {
    /// What `operation` counts as. Operations on a stream count for its basin.
    pub(super) fn of(operation: &Operation) -> Self {
        use Counter as C;
        let account = |counter| Some((None, counter));
        let basin = |name: &BasinName, counter| Some((Some(name.clone()), counter));
        Self(match operation {
            Operation::Options
            | Operation::Health
            | Operation::Metrics
            | Operation::Latency(_)
            | Operation::Dashboard { .. }
            | Operation::Stats
            | Operation::Append { .. }
            | Operation::AppendSession { .. }
            | Operation::Read { .. }
            | Operation::ReadSession { .. } => None,
            Operation::ListBasins(_) => account(C::ListBasins),
            Operation::CreateBasin { .. } => account(C::CreateBasin),
            Operation::EnsureBasin { .. } => account(C::CreateBasin),
            Operation::ReconfigureBasin(_) => account(C::ReconfigureBasin),
            Operation::DeleteBasin(_) => account(C::DeleteBasin),
            Operation::GetBasin(name) => basin(name, C::GetBasinConfig),
            Operation::ListStreams { basin: name, .. } => basin(name, C::ListStreams),
            Operation::CreateStream { basin: name, .. } => basin(name, C::CreateStream),
            Operation::GetStream(path) => basin(&path.basin, C::GetStreamConfig),
            Operation::EnsureStream { path, .. } => basin(&path.basin, C::CreateStream),
            Operation::ReconfigureStream(path) => basin(&path.basin, C::ReconfigureStream),
            Operation::DeleteStream(path) => basin(&path.basin, C::DeleteStream),
            Operation::CheckTail(path) => basin(&path.basin, C::CheckTail),
            Operation::ListTokens(_) => account(C::ListAccessTokens),
            Operation::IssueToken => account(C::IssueAccessToken),
            Operation::RevokeToken(_) => account(C::RevokeAccessToken),
            Operation::ListLocations => account(C::ListLocations),
            Operation::GetDefaultLocation => account(C::GetDefaultLocation),
            Operation::SetDefaultLocation => account(C::SetDefaultLocation),
            Operation::Usage { scope, .. } => match scope {
                UsageScope::Account => account(C::AccountMetrics),
                UsageScope::Basin(name) => basin(name, C::BasinMetrics),
                UsageScope::Stream(path) => basin(&path.basin, C::StreamMetrics),
            },
        })
    }
}

impl<I: Io> Core<I> {
    /// Counts an operation that was answered; on a shard of this core, whichever.
    pub(super) fn count(&self, tally: Tally) {
        if let Some((basin, counter)) = tally.0
            && let Some((_, engine)) = self.engines.first_key_value()
        {
            engine.count(basin.as_ref(), counter);
        }
    }

    /// Answers a request to a metrics endpoint.
    pub(super) async fn usage(
        self: &Rc<Self>,
        access: &Access,
        scope: UsageScope,
        params: UsageParams,
    ) -> Result<Response, ApiError> {
        let query = params.validate(self.clock().wall_us() / 1_000_000)?;
        let mut whole = Part::default();
        for answer in self.call_all(|| Call::Usage(scope.clone(), query)).await? {
            if let Answer::Usage(part) = answer {
                whole.merge(part);
            }
        }
        if let Some(info) = access.token() {
            // Who may not list a basin does not learn its name here either.
            whole.labels.retain(|basin| info.scope.basins.has(basin));
        }
        Ok(response(&query, whole))
    }
}

impl<I: Io> Engine<I> {
    fn now_s(&self) -> u64 {
        self.io.wall_us() / 1_000_000
    }

    /// Counts an operation on the account or on a basin. One that is not there is not counted:
    /// anyone can ask for any name.
    fn count(&self, basin: Option<&BasinName>, counter: Counter) {
        let mut catalog = self.catalog.borrow_mut();
        match basin {
            None => catalog.usage.account().count(counter, self.now_s(), 1),
            Some(name) if catalog.basin(name).is_some() => {
                catalog.usage.basin(name).count(counter, self.now_s(), 1);
            }
            Some(_) => {}
        }
    }

    /// Counts a read: a unary one each, a streaming one once, when it begins.
    pub(super) fn count_read(&self, stream: &Stream, streaming: bool) {
        stream.count_read(self.now_s(), streaming);
    }

    /// Counts metered bytes of records that were handed to a reader.
    pub(super) fn count_bytes_read(&self, stream: &Stream, bytes: u64) {
        stream.count_bytes_read(self.now_s(), bytes);
    }

    /// What this shard has to say to a query.
    pub(super) fn usage_part(&self, scope: &UsageScope, query: &Query) -> Part {
        let catalog = self.catalog.borrow();
        let now_s = self.now_s();
        let basin = match scope {
            UsageScope::Account => None,
            UsageScope::Basin(name) => Some(name),
            UsageScope::Stream(path) => {
                let mut part = Part::default();
                if let Some(stream) = catalog.stream(&path.basin, &path.stream)
                    && stream.created_ticket <= self.durable.reached()
                    && query.set == Set::StreamStorage
                {
                    part = Part::storage_now(query, now_s, stream.stored_bytes());
                }
                return part;
            }
        };
        catalog.usage.part(basin, query, now_s)
    }

    /// Saves counters while they change and forgets old ones, until the log fails.
    pub async fn run_usage(self: Rc<Self>) {
        let mut pruned_minute = 0;
        while self.durable.failure().is_none() {
            self.io.sleep_us(self.config.usage_flush_us).await;
            self.save_usage();
            let minute = self.now_s() / 60;
            if minute != pruned_minute {
                pruned_minute = minute;
                self.catalog.borrow_mut().usage.prune(self.now_s());
            }
        }
    }

    /// Logs what was counted since the last time. On a full disk it waits for better times.
    fn save_usage(&self) {
        let catalog = self.catalog.borrow();
        let entries: Vec<_> = catalog.usage.unsaved().map(|saved| json(&saved)).collect();
        let bytes = entries.iter().map(|entry| metadata_bytes(entry.len())).sum();
        if entries.is_empty() || self.check_room_for_usage(bytes).is_err() {
            return;
        }
        for entry in entries {
            self.writer.append_in_passing(Kind::Usage, &entry, Note::Usage);
        }
        catalog.usage.mark_saved();
    }
}
