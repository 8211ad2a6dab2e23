//! Operations on basins: shard 0 decides and logs, every shard holds a copy, shard 0 last.
//!
//! An answer goes out only when all copies show what it says, so whoever got it can use the basin
//! through any core at once. Changes of one basin take turns on the core of shard 0, from the
//! decision until all copies are made, so an older state never overtakes a newer one; those of
//! different basins share the log's groups like appends.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::call::{Answer, Call, CallResult, Page, StreamPath};
use super::core::Core;
use super::engine::Engine;
use crate::api::response::Provision;
use crate::control::{BasinRecord, StreamRecord};
use crate::io::Io;
use crate::types::{BasinName, Refusal};

impl<I: Io> Core<I> {
    /// Has the owner of a stream do something.
    pub(super) async fn call_owner(self: &Rc<Self>, path: &StreamPath, call: Call) -> CallResult {
        self.call(self.shard_of(path), call).await
    }

    /// Streams of a basin, merged over the shards: at most `page.limit`, and whether there is more.
    pub(super) async fn list_streams(
        self: &Rc<Self>,
        basin: &BasinName,
        page: &Page,
    ) -> Result<(Vec<StreamRecord>, bool), Refusal> {
        let page_and_one = Page { limit: page.limit + 1, ..page.clone() };
        let list = || Call::ListStreams(basin.clone(), page_and_one.clone());
        let mut streams = Vec::new();
        for answer in self.call_all(list).await? {
            if let Answer::Streams(more) = answer {
                streams.extend(more);
            }
        }
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        let has_more = streams.len() > page.limit;
        streams.truncate(page.limit);
        Ok((streams, has_more))
    }

    /// Changes a basin on shard 0, which is on this core, and has all copies show it.
    pub(super) async fn change_basin(
        self: &Rc<Self>,
        engine: &Rc<Engine<I>>,
        name: &BasinName,
        call: Call,
    ) -> CallResult {
        let _turn = self.basin_turns.take(name).await;
        let deletes = matches!(call, Call::MarkBasinDeleted(_));
        let result = engine.handle(call).await;
        if let Ok(Answer::Basin(record, provision)) = &result {
            if *provision != Provision::Noop {
                self.copy_basin(record).await?;
            }
            if deletes {
                self.finish_basin_deletion(engine, name.clone());
            }
        }
        result
    }

    /// Runs a change of all copies to its end, or other shards would never hear of what was logged.
    /// Boxed because it calls the other shards in turn.
    pub(super) async fn run_to_end(
        &self,
        change: LocalBoxFuture<'static, CallResult>,
    ) -> CallResult {
        let stopped = || Refusal::Other("the core of this shard is stopping".to_owned());
        let ended = self.clock().run_to_end(change, self.queue()).await;
        ended.unwrap_or_else(|| Err(stopped()))
    }

    /// Deletes a marked basin's streams, then the basin; in the background. One basin that cannot
    /// be finished holds up no other; a restart tries again.
    pub(super) fn finish_basin_deletion(self: &Rc<Self>, engine: &Rc<Engine<I>>, basin: BasinName) {
        let (core, engine) = (Rc::clone(self), Rc::clone(engine));
        let task = async move {
            if let Err(error) = core.purge_basin(&engine, &basin).await {
                tracing::warn!(basin = basin.as_str(), %error, "basin deletion not finished");
            }
        };
        self.spawn(task);
    }

    async fn purge_basin(
        self: &Rc<Self>,
        engine: &Rc<Engine<I>>,
        basin: &BasinName,
    ) -> Result<(), Refusal> {
        // Asked for twice, the other call may have done it, and the name may be in use again.
        let marked = |record: &BasinRecord| record.deleted_us.is_some();
        let Some(found) = engine.basin_copy(basin).filter(marked) else { return Ok(()) };
        self.call_all(|| Call::DeleteStreamsOf(basin.clone())).await?;
        let _turn = self.basin_turns.take(basin).await;
        if engine.basin_copy(basin).as_ref() != Some(&found) {
            return Ok(());
        }
        // The copies afterwards, so that nobody sees the basin gone before that is durable.
        self.call(0, Call::ForgetBasin(basin.clone())).await?;
        self.to_every_copy(|| Call::DropBasinCopy(basin.clone())).await
    }

    /// At start: has all shards hold copies of shard 0's basins.
    pub(super) async fn share_all_basins(self: &Rc<Self>) -> Result<(), Refusal> {
        let Some(engine) = self.engines.get(&0) else { return Ok(()) };
        for record in engine.basin_records() {
            self.copy_basin(&record).await?;
        }
        Ok(())
    }

    /// At start: goes on with the deletions that a restart interrupted.
    pub(super) fn resume_deletions(self: &Rc<Self>) {
        for engine in self.engines.values() {
            let (basins, streams) = engine.unfinished_deletions();
            for stream in streams {
                let engine = Rc::clone(engine);
                let task = async move {
                    if let Err(error) = engine.delete(&stream).await {
                        tracing::warn!(%error, "stream deletion not finished");
                    }
                };
                self.spawn(task);
            }
            // Only shard 0 decides about basins; the others hold copies.
            if let Some(owner) = self.engines.get(&0)
                && Rc::ptr_eq(owner, engine)
            {
                basins.into_iter().for_each(|basin| self.finish_basin_deletion(engine, basin));
            }
        }
    }

    /// Has all copies show a basin's state.
    async fn copy_basin(self: &Rc<Self>, record: &BasinRecord) -> Result<(), Refusal> {
        self.to_every_copy(|| Call::CopyBasin(record.clone())).await
    }

    /// Has every shard change its copy; shard 0, which shows the basin to clients, last.
    async fn to_every_copy(self: &Rc<Self>, call: impl Fn() -> Call) -> Result<(), Refusal> {
        let others = (1..self.shards).map(|shard| self.call(shard, call()));
        futures_util::future::try_join_all(others).await?;
        self.call(0, call()).await.map(|_| ())
    }
}
