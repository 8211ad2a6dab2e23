//! The deletion of the basin with all that is in it, through crashes.

use std::cell::Cell;

use futures_util::future::{self, Either};

use super::act::{list, look};
use super::life::{End, open};
use super::{NAMES, Run};
use crate::io::Clock;
use crate::io::sim::SimRuntime;
use crate::shard::call::{Answer, Call};
use crate::shard::testkit::{Shard, basin, create, create_basin};
use crate::types::Refusal;

impl Run {
    /// Deletes the basin, going on after each crash; then nothing of it comes back, though its
    /// name is used again.
    pub(super) fn delete_basin(&mut self) {
        let marked = Cell::new(false);
        let mut crashes = 0;
        loop {
            let cut_us =
                if crashes < 5 && self.dice().coin() { self.dice().below(3_000) } else { u64::MAX };
            let io = self.io.clone();
            let runtime = SimRuntime::new(&io);
            let is_done = runtime.block_on(async {
                let shard = open(&runtime, &io, self.config).await;
                let deleting = std::pin::pin!(delete(&shard, &marked));
                let cut = std::pin::pin!(io.sleep_us(cut_us));
                matches!(future::select(deleting, cut).await, Either::Left(_))
            });
            drop(runtime);
            self.tale.lines.push(format!("deletes the basin, cut: {cut_us}, done: {is_done}"));
            let end = if self.dice().coin() { End::PowerCut } else { End::Killed };
            self.pass_on(end);
            if is_done {
                break;
            }
            crashes += 1;
            self.reached.deletions_cut += 1;
        }
        // What the last life left undone goes with it.
        self.left.clear();
        self.streams.clear();
        let io = self.io.clone();
        let runtime = SimRuntime::new(&io);
        runtime.block_on(async {
            let shard = open(&runtime, &io, self.config).await;
            assert!(is_gone(&shard).await, "the basin is back");
            create_basin(&shard).await;
            for name in NAMES {
                assert!(look(&shard, name).await.is_none(), "{name} is back");
            }
        });
        drop(runtime);
        self.pass_on(End::Killed);
    }
}

async fn is_gone(shard: &Shard) -> bool {
    match shard.handle(Call::GetBasin(basin())).await {
        Ok(_) => false,
        Err(Refusal::BasinNotFound(_)) => true,
        other => panic!("the basin: {other:?}"),
    }
}

/// Deletes the basin as the core of shard 0 does; `marked` says whether that was promised before.
async fn delete(shard: &Shard, marked: &Cell<bool>) {
    let (unfinished, _) = shard.unfinished_deletions();
    if is_gone(shard).await {
        assert!(marked.get(), "it was never asked to go");
        return;
    }
    assert!(!marked.get() || unfinished == [basin()], "the mark is lost: {unfinished:?}");
    match shard.handle(Call::MarkBasinDeleted(basin())).await {
        Ok(Answer::Basin(record, _)) => {
            shard.handle(Call::CopyBasin(record)).await.expect("copied")
        }
        other => panic!("marking: {other:?}"),
    };
    marked.set(true);
    let refused = shard.handle(create("late")).await;
    assert!(matches!(refused, Err(Refusal::BasinDeletionPending(_))), "{refused:?}");
    shard.handle(Call::DeleteStreamsOf(basin())).await.expect("deleted");
    match shard.handle(list()).await {
        Ok(Answer::Streams(left)) => assert!(left.is_empty(), "{left:?}"),
        other => panic!("the listing: {other:?}"),
    }
    shard.handle(Call::ForgetBasin(basin())).await.expect("forgotten");
    shard.handle(Call::DropBasinCopy(basin())).await.expect("dropped");
    assert!(is_gone(shard).await, "it is still there");
}
