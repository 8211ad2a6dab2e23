//! Deciding about basins, in shard 0, and the copies that every shard keeps of them.
//!
//! Copies show only what is durable. What is decided here is logged at once; the caller, whose turn
//! it is, has the copies show it when this returns.

use super::call::{Answer, CallResult, Page};
use super::engine::{Engine, Note, Refused, json};
use crate::api::response::Provision;
use crate::control::{BasinRecord, Creation, Decided, Gone};
use crate::io::Io;
use crate::log::entry::Kind;
use crate::types::{BasinConfig, BasinConfigPatch, BasinName, Refusal};

/// What is to become of a basin.
type Decision = Result<(BasinRecord, Provision), Refusal>;

impl<I: Io> Engine<I> {
    /// Creates a basin, or recognises the same request.
    pub(super) async fn create_basin(
        &self,
        name: &BasinName,
        config: BasinConfig,
        creation: Option<Creation>,
    ) -> CallResult {
        let decide = |known: Option<&BasinRecord>| match known {
            None => Ok((self.new_basin(name, config, creation), Provision::Created)),
            Some(basin) => {
                check_is_staying(basin)?;
                if creation.is_none() || basin.creation != creation {
                    return Err(Refusal::AlreadyExists(format!("basin `{name}`")));
                }
                Ok((basin.clone(), Provision::Noop))
            }
        };
        self.decide(name, decide).await
    }

    /// Creates a basin, or gives the one that is there the configuration asked for.
    pub(super) async fn ensure_basin(&self, name: &BasinName, config: BasinConfig) -> CallResult {
        let decide = |known: Option<&BasinRecord>| match known {
            None => Ok((self.new_basin(name, config, None), Provision::Created)),
            Some(basin) => with_config(basin, config),
        };
        self.decide(name, decide).await
    }

    /// Changes a basin's configuration.
    pub(super) async fn reconfigure_basin(
        &self,
        name: &BasinName,
        patch: &BasinConfigPatch,
    ) -> CallResult {
        let decide = |known: Option<&BasinRecord>| {
            let basin = known.ok_or_else(|| Refusal::BasinNotFound(name.to_string()))?;
            with_config(basin, patch.apply(&basin.config))
        };
        self.decide(name, decide).await
    }

    /// Marks a basin as being deleted.
    pub(super) async fn mark_basin_deleted(&self, name: &BasinName) -> CallResult {
        let decide = |known: Option<&BasinRecord>| {
            let basin = known.ok_or_else(|| Refusal::BasinNotFound(name.to_string()))?;
            if basin.deleted_us.is_some() {
                return Ok((basin.clone(), Provision::Noop));
            }
            let deleted_us = Some(self.io.wall_us());
            Ok((BasinRecord { deleted_us, ..basin.clone() }, Provision::Updated))
        };
        self.decide(name, decide).await
    }

    /// Has `decide` say what becomes of a basin, logs it, and waits until the answer, a refusal
    /// too, is durable.
    async fn decide(
        &self,
        name: &BasinName,
        decide: impl FnOnce(Option<&BasinRecord>) -> Decision,
    ) -> CallResult {
        let (decided, ticket) = self.decide_and_log(name, decide);
        match decided {
            Ok((record, provision)) => {
                self.settle(ticket).await?;
                Ok(Answer::Basin(record, provision))
            }
            Err(refusal) => self.refuse(Refused { refusal, ticket }).await,
        }
    }

    /// Without an await: whole or not at all. Returns the ticket of what the answer reveals.
    fn decide_and_log(
        &self,
        name: &BasinName,
        decide: impl FnOnce(Option<&BasinRecord>) -> Decision,
    ) -> (Decision, u64) {
        let known = self.registry.borrow().get(name).cloned();
        let ticket = known.as_ref().map_or(0, |decided| decided.ticket);
        let decide = || {
            self.check_open()?;
            let (record, provision) = decide(known.as_ref().map(|Decided { record, .. }| record))?;
            let gives_room_back = record.deleted_us.is_some();
            if provision != Provision::Noop && !gives_room_back {
                self.check_room_to_create()?;
            }
            Ok((record, provision))
        };
        let decided = decide();
        match &decided {
            Ok((record, Provision::Created | Provision::Updated)) => {
                let ticket = self.log_basin(record);
                self.registry.borrow_mut().put(name.clone(), record.clone(), ticket);
                (decided, ticket)
            }
            _ => (decided, ticket),
        }
    }

    /// Logs a basin; returns the ticket.
    fn log_basin(&self, record: &BasinRecord) -> u64 {
        self.writer.append_metadata(Kind::Basin, &json(record), Note::Basin)
    }

    /// Logs that a basin is gone; returns the ticket.
    fn log_basin_gone(&self, name: &BasinName) -> u64 {
        let gone = Gone { id: 0, name: name.as_str().to_owned() };
        self.writer.append_metadata(Kind::BasinGone, &json(&gone), Note::BasinGone(name.clone()))
    }

    fn new_basin(
        &self,
        name: &BasinName,
        config: BasinConfig,
        creation: Option<Creation>,
    ) -> BasinRecord {
        let (name, created_us) = (name.to_string(), self.io.wall_us());
        BasinRecord { name, created_us, deleted_us: None, config, creation }
    }

    /// A basin as it is for everyone.
    pub(super) fn basin(&self, name: &BasinName) -> CallResult {
        let basin = self.basin_copy(name);
        let basin = basin.ok_or_else(|| Refusal::BasinNotFound(name.to_string()))?;
        Ok(Answer::Basin(basin, Provision::Noop))
    }

    /// Basins, sorted, as they are for everyone.
    pub(super) fn list_basins(&self, page: &Page) -> Answer {
        let catalog = self.catalog.borrow();
        let basins = catalog.basins_from(&page.prefix, &page.start_after);
        Answer::Basins(basins.take(page.limit).cloned().collect())
    }

    /// Logs that a basin without streams is gone; the copies are still to be dropped.
    pub(super) async fn forget_basin(&self, name: &BasinName) -> CallResult {
        let ticket = self.log_basin_gone(name);
        self.settle(ticket).await.map(|()| Answer::Done)
    }

    /// The copy of a basin.
    pub(super) fn basin_copy(&self, name: &BasinName) -> Option<BasinRecord> {
        self.catalog.borrow().basin(name).cloned()
    }

    /// Takes over a copy of a basin.
    pub(super) fn copy_basin(&self, record: BasinRecord) -> CallResult {
        let name = BasinName::new(&record.name).expect("shard 0 keeps only valid names");
        self.catalog.borrow_mut().put_basin(name, record);
        Ok(Answer::Done)
    }

    /// Drops the copy of a basin that is gone.
    pub(super) fn drop_basin_copy(&self, name: &BasinName) -> Answer {
        self.catalog.borrow_mut().remove_basin(name);
        Answer::Done
    }

    /// All basins, for handing copies to the other shards at start.
    pub fn basin_records(&self) -> Vec<BasinRecord> {
        self.catalog.borrow().basins().map(|(_, basin)| basin.clone()).collect()
    }
}

fn check_is_staying(basin: &BasinRecord) -> Result<(), Refusal> {
    match basin.deleted_us {
        None => Ok(()),
        Some(_) => Err(Refusal::BasinDeletionPending(basin.name.clone())),
    }
}

/// The basin with another configuration, if it is another.
fn with_config(basin: &BasinRecord, config: BasinConfig) -> Decision {
    check_is_staying(basin)?;
    if basin.config == config {
        return Ok((basin.clone(), Provision::Noop));
    }
    Ok((BasinRecord { config, ..basin.clone() }, Provision::Updated))
}
