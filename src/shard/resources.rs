//! Makes what is to be there before the server serves anybody: the basins and streams of its init
//! file, with the calls, and so with the meaning, of PUT.
//!
//! * In the order of the file; when it is over, everything is durable, and every core knows it.
//! * What a restart goes on deleting is waited for a while: then the name is free again.
//! * Changes are in the audit log, by [`BY`]; what was there already as it is to be is not.

use std::fmt;
use std::rc::Rc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::call::{Answer, Call, CallResult, StreamPath};
use super::core::Core;
use crate::api::response::{Provision, Response};
use crate::api::{ApiError, Operation};
use crate::audit::{Entry, Origin, UnderWay};
use crate::auth::Name;
use crate::io::Io;
use crate::resources::{BasinResource, Resources, StreamResource};
use crate::types::Refusal;

/// Who changes things here, as the audit log names them.
const BY: &str = "init file";
/// Streams of one basin that are under way at a time: they share the log's groups.
const AT_ONCE: usize = 64;
/// How long a deletion that is under way may take, in microseconds.
const DELETION_US_MAX: u64 = 30_000_000;
/// How often it is looked for, in microseconds.
const DELETION_LOOK_US: u64 = 20_000;

/// What became of the resources.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Applied {
    created: u64,
    updated: u64,
    unchanged: u64,
}

impl Applied {
    fn count(&mut self, provision: Provision) {
        match provision {
            Provision::Created => self.created += 1,
            Provision::Updated => self.updated += 1,
            Provision::Noop => self.unchanged += 1,
        }
    }
}

impl<I: Io> Core<I> {
    /// Has every resource be there as described.
    ///
    /// * Durable: yes, when it returns.
    /// * Errors: the first resource that cannot be had, and why; those before it are there.
    pub(super) async fn apply(self: &Rc<Self>, resources: &Resources) -> Result<Applied, String> {
        let mut applied = Applied::default();
        for basin in &resources.basins {
            applied.count(self.apply_basin(basin).await?);
            let streams = basin.streams.iter().map(|stream| self.apply_stream(basin, stream));
            let mut made = stream::iter(streams).buffered(AT_ONCE);
            while let Some(provision) = made.try_next().await? {
                applied.count(provision);
            }
        }
        if !resources.basins.is_empty() {
            let Applied { created, updated, unchanged } = applied;
            tracing::info!(created, updated, unchanged, "the init file was applied");
        }
        Ok(applied)
    }

    async fn apply_basin(self: &Rc<Self>, resource: &BasinResource) -> Result<Provision, String> {
        let BasinResource { name: basin, config, .. } = resource;
        let operation = Operation::EnsureBasin { basin: basin.clone(), has_body: true };
        let call = || Call::EnsureBasin { basin: basin.clone(), config: config.clone() };
        self.ensure(0, &operation, call, || format!("basin {basin}")).await
    }

    async fn apply_stream(
        self: &Rc<Self>,
        basin: &BasinResource,
        resource: &StreamResource,
    ) -> Result<Provision, String> {
        let StreamResource { name, config } = resource;
        let path = StreamPath { basin: basin.name.clone(), stream: name.clone() };
        let operation = Operation::EnsureStream { path: path.clone(), has_body: true };
        let call = || Call::EnsureStream { path: path.clone(), config: config.clone() };
        let named = || format!("basin {}, stream {:?}", basin.name, name.as_str());
        self.ensure(self.shard_of(&path), &operation, call, named).await
    }

    async fn ensure(
        self: &Rc<Self>,
        shard: u16,
        operation: &Operation,
        call: impl Fn() -> Call,
        named: impl Fn() -> String,
    ) -> Result<Provision, String> {
        let until_us = self.now_us() + DELETION_US_MAX;
        let mut answered = self.call(shard, call()).await;
        while is_being_deleted(&answered) && self.now_us() < until_us {
            self.clock().sleep_us(DELETION_LOOK_US).await;
            answered = self.call(shard, call()).await;
        }
        let origin = || Origin { name: Name::Fixed(BY), peer: None };
        let entry = || UnderWay::new(Entry::of(operation, "", &[]), origin());
        match answered {
            Ok(Answer::Basin(_, provision) | Answer::Stream(_, provision)) => {
                let status = if provision == Provision::Created { 201 } else { 200 };
                if provision != Provision::Noop {
                    entry().ended(&Ok(Response::empty(status)));
                }
                Ok(provision)
            }
            Ok(other) => Err(failed(named(), &format!("another question was answered: {other:?}"))),
            Err(refusal) => {
                let said = failed(named(), &refusal);
                entry().ended(&Err(ApiError::from(refusal)));
                Err(said)
            }
        }
    }
}

fn failed(named: String, problem: &dyn fmt::Display) -> String {
    format!("the init file was not applied: {named}: {problem}")
}

fn is_being_deleted(answered: &CallResult) -> bool {
    use Refusal::{BasinDeletionPending, StreamDeletionPending};
    matches!(answered, Err(BasinDeletionPending(_) | StreamDeletionPending(_)))
}

#[cfg(test)]
mod tests;
