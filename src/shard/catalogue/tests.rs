//! A shard on a simulated disk: what is logged, what waits, what a crash leaves.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use futures_util::future::{self, Either};
use proptest::prelude::*;

use crate::io::Clock;
use crate::io::sim::SimIo;
use crate::shard::call::Call;
use crate::shard::testkit::{
    Shard, age, basin, change_basin, create, create_basin, live_with, patch, path, provision,
};
use crate::types::config::Change;
use crate::types::{BasinConfigPatch, Retention};

use super::*;

fn live<T>(io: &SimIo, life: impl AsyncFnOnce(Shard) -> T) -> T {
    live_with(io, |_, _| {}, life)
}

fn ensure(stream: &str) -> Call {
    Call::EnsureStream { path: path(stream), config: PartialStreamConfig::default() }
}

async fn retention(shard: &Shard, stream: &str) -> Result<Retention, Refusal> {
    shard.stream_config(&path(stream)).await.map(|config| config.retention)
}

#[test]
fn what_changes_nothing_is_not_logged() {
    live(&SimIo::new(1), async |shard| {
        create_basin(&shard).await;
        provision(&shard, create("s")).await;
        shard.handle(patch("s", age(5))).await.expect("changes");
        let before = shard.writer.newest_ticket();
        for call in [patch("s", StreamConfigPatch::default()), patch("s", age(5))] {
            shard.handle(call).await.expect("a change of nothing");
        }
        let same = PartialStreamConfig {
            retention: Some(Retention::AgeSecs(5)),
            ..PartialStreamConfig::default()
        };
        let call = Call::EnsureStream { path: path("s"), config: same };
        assert_eq!(provision(&shard, call).await, Provision::Noop);
        let call = Call::EnsureBasin { basin: basin(), config: BasinConfig::default() };
        assert_eq!(change_basin(&shard, call).await, Ok(Provision::Noop));
        let patch = BasinConfigPatch { create_stream_on_read: Some(false), ..<_>::default() };
        let call = Call::ReconfigureBasin { basin: basin(), patch };
        assert_eq!(change_basin(&shard, call).await, Ok(Provision::Noop));
        assert_eq!(shard.writer.newest_ticket(), before);
        assert_eq!(provision(&shard, ensure("s")).await, Provision::Updated);
        assert_eq!(shard.writer.newest_ticket(), before + 1);
    });
}

/// Answers are asked for while the entry that they reveal is logged and not yet durable.
#[test]
fn no_answer_reveals_what_is_not_durable() {
    live(&SimIo::new(2), async |shard| {
        create_basin(&shard).await;
        let revealing = |shard: &Shard| {
            [create("s"), ensure("s"), patch("s", <_>::default()), Call::GetStream(path("s"))].map(
                |call| {
                    let shard = Rc::clone(shard);
                    Box::pin(async move { shard.handle(call).await })
                },
            )
        };
        let mut first = Box::pin(shard.handle(create("s")));
        assert!((&mut first).now_or_never().is_none(), "a creation waits");
        for (index, mut answer) in revealing(&shard).into_iter().enumerate() {
            assert!((&mut answer).now_or_never().is_none(), "answer {index} waits too");
        }
        assert_eq!(shard.durable.reached(), 1, "only the basin is durable");
        first.await.expect("created");
        for (index, mut answer) in revealing(&shard).into_iter().enumerate() {
            assert!((&mut answer).now_or_never().is_some(), "answer {index} is durable already");
        }

        let mut change = Box::pin(shard.handle(patch("s", age(9))));
        assert!((&mut change).now_or_never().is_none(), "a change waits");
        assert!(retention(&shard, "s").now_or_never().is_none(), "what it shows is not durable");
        change.await.expect("changed");
        assert_eq!(retention(&shard, "s").now_or_never(), Some(Ok(Retention::AgeSecs(9))));

        let mut deletion = Box::pin(shard.handle(Call::DeleteStream(path("s"))));
        assert!((&mut deletion).now_or_never().is_none(), "a deletion waits");
        let again = shard.handle(Call::DeleteStream(path("s"))).now_or_never();
        assert!(again.is_none(), "asked for again, too");
        for (index, mut answer) in revealing(&shard).into_iter().enumerate() {
            assert!((&mut answer).now_or_never().is_none(), "refusal {index} waits");
        }
        deletion.await.expect("deleted");
        let gone = Refusal::StreamNotFound("s".to_owned());
        assert_eq!(retention(&shard, "s").now_or_never(), Some(Err(gone)));
    });
}

#[test]
fn a_late_deletion_does_not_touch_the_stream_that_came_after() {
    live(&SimIo::new(3), async |shard| {
        create_basin(&shard).await;
        provision(&shard, create("s")).await;
        // Found by a deletion that is slow to go on.
        let old = shard.find_stream(&path("s")).expect("there");
        shard.handle(Call::DeleteStream(path("s"))).await.expect("deleted");
        assert_eq!(provision(&shard, create("s")).await, Provision::Created);
        let before = shard.writer.newest_ticket();
        shard.delete(&old).await.expect("long done");
        assert_eq!(shard.writer.newest_ticket(), before, "nothing is logged of it any more");
        let new = shard.find_stream(&path("s")).expect("untouched");
        assert_ne!(new.id, old.id);
        // As late: that of all streams of a basin which is not being deleted any more.
        shard.handle(Call::DeleteStreamsOf(basin())).await.expect("nothing to do");
        assert!(shard.find_stream(&path("s")).is_ok());
    });
}

#[test]
fn a_deletion_that_nobody_waits_for_is_finished() {
    live(&SimIo::new(4), async |shard| {
        create_basin(&shard).await;
        provision(&shard, create("s")).await;
        let given_up = shard.handle(Call::DeleteStream(path("s"))).now_or_never();
        assert!(given_up.is_none(), "it would have waited");
        provision(&shard, create("later")).await;
        assert_eq!(provision(&shard, create("s")).await, Provision::Created, "the name is free");
    });
}

#[test]
fn a_change_that_was_answered_survives_crashes_and_checkpoints() {
    for checkpoint in [false, true] {
        let io = SimIo::new(5);
        live(&io, async |shard| {
            create_basin(&shard).await;
            provision(&shard, create("s")).await;
            shard.handle(patch("s", age(5))).await.expect("changed");
            let patch = BasinConfigPatch { create_stream_on_read: Some(true), ..<_>::default() };
            let call = Call::ReconfigureBasin { basin: basin(), patch };
            assert_eq!(change_basin(&shard, call).await, Ok(Provision::Updated));
            if checkpoint {
                shard.checkpoint().await.expect("written");
            }
        });
        let io = io.crash(6);
        live(&io, async |shard| {
            assert_eq!(retention(&shard, "s").await, Ok(Retention::AgeSecs(5)));
            let basin = shard.basin_copy(&basin()).expect("kept");
            assert!(basin.config.create_stream_on_read);
            shard.handle(patch("s", age(6))).await.expect("changed");
            assert_eq!(provision(&shard, ensure("t")).await, Provision::Created);
        });
        live(&io.crash(7), async |shard| {
            assert_eq!(retention(&shard, "s").await, Ok(Retention::AgeSecs(6)));
            let week = Retention::AgeSecs(604_800);
            assert_eq!(retention(&shard, "t").await, Ok(week));
        });
    }
}

/// A checkpoint may be written while a change is on its way to the disk.
#[test]
fn what_a_checkpoint_says_of_basins_is_durable() {
    let io = SimIo::new(8);
    live(&io, async |shard| {
        create_basin(&shard).await;
        let patch = BasinConfigPatch { create_stream_on_read: Some(true), ..<_>::default() };
        let call = Call::ReconfigureBasin { basin: basin(), patch };
        let mut change = Box::pin(shard.handle(call));
        assert!((&mut change).now_or_never().is_none());
        let kept: Vec<_> =
            shard.registry.borrow().durable(shard.durable.reached()).cloned().collect();
        assert!(!kept[0].config.create_stream_on_read, "not yet");
        change.await.expect("changed");
        let kept: Vec<_> =
            shard.registry.borrow().durable(shard.durable.reached()).cloned().collect();
        assert!(kept[0].config.create_stream_on_read);
        assert!(!shard.basin_copy(&basin()).expect("there").config.create_stream_on_read);
    });
}

#[test]
fn the_streams_of_a_deleted_basin_go_in_few_groups() {
    const STREAMS: usize = DELETIONS_AT_ONCE * 2 + 5;
    live(&SimIo::new(9), async |shard| {
        create_basin(&shard).await;
        for index in 0..STREAMS {
            provision(&shard, create(&format!("s{index}"))).await;
        }
        let marked = change_basin(&shard, Call::MarkBasinDeleted(basin())).await;
        assert_eq!(marked, Ok(Provision::Updated));
        let refusal = Refusal::BasinDeletionPending(basin().to_string());
        for call in [create("new"), ensure("s1"), patch("s1", age(1))] {
            assert_eq!(shard.handle(call).await.err(), Some(refusal.clone()));
        }
        assert_eq!(retention(&shard, "s1").await, Ok(Retention::AgeSecs(604_800)), "still there");
        let groups = || shard.writer.chain().next_frame_seq;
        let before = groups();
        shard.handle(Call::DeleteStreamsOf(basin())).await.expect("deleted");
        assert_eq!(shard.catalog.borrow().stream_count(), 0);
        assert!(groups() - before < 20, "{} groups", groups() - before);
        shard.handle(Call::ForgetBasin(basin())).await.expect("forgotten");
        assert_eq!(shard.registry.borrow().get(&basin()), None);
    });
}

/// What a client may ask of a stream, with a retention age.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Create(u64),
    Ensure(u64),
    Patch(u64),
    Reset,
    Delete,
}

impl Asked {
    fn call(self, stream: &str) -> Call {
        let path = path(stream);
        let config = |secs| PartialStreamConfig {
            retention: Some(Retention::AgeSecs(secs)),
            ..PartialStreamConfig::default()
        };
        match self {
            Self::Create(secs) => Call::CreateStream { path, config: config(secs), creation: None },
            Self::Ensure(secs) => Call::EnsureStream { path, config: config(secs) },
            Self::Patch(secs) => patch(stream, age(secs)),
            Self::Reset => {
                let reset = StreamConfigPatch { retention: Change::Clear, ..<_>::default() };
                patch(stream, reset)
            }
            Self::Delete => Call::DeleteStream(path),
        }
    }

    /// What becomes of a stream's age.
    fn apply(self, age: Option<u64>) -> Option<u64> {
        match (self, age) {
            (Self::Create(secs), None) | (Self::Ensure(secs), _) | (Self::Patch(secs), Some(_)) => {
                Some(secs)
            }
            (Self::Reset, Some(_)) => Some(604_800),
            (Self::Delete, _) => None,
            (_, age) => age,
        }
    }
}

fn any_asked() -> impl Strategy<Value = (usize, Asked)> {
    let secs = 1_u64..4;
    let asked = prop_oneof![
        secs.clone().prop_map(Asked::Create),
        secs.clone().prop_map(Asked::Ensure),
        secs.prop_map(Asked::Patch),
        Just(Asked::Reset),
        Just(Asked::Delete),
    ];
    (0_usize..3, asked)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever was answered is there after a crash; what was under way is there or is not.
    #[test]
    fn a_crash_takes_nothing_that_was_answered(
        asked in prop::collection::vec(any_asked(), 0..12),
        checkpoint_after in 0_usize..12,
        under_way in any_asked(),
        seed in any::<u64>(),
    ) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let io = SimIo::new(seed);
        let mut model = BTreeMap::new();
        live(&io, async |shard| {
            create_basin(&shard).await;
            for (index, (stream, asked)) in asked.iter().enumerate() {
                let name = NAMES[*stream];
                let before = model.get(name).copied().flatten();
                let done = shard.handle(asked.call(name)).await.is_ok();
                let creates_again = matches!(asked, Asked::Create(_)) && before.is_some();
                let needs_one = !matches!(asked, Asked::Create(_) | Asked::Ensure(_));
                let refused = creates_again || (needs_one && before.is_none());
                assert_eq!(done, !refused, "{asked:?} of {before:?}");
                model.insert(name, asked.apply(before));
                if index == checkpoint_after {
                    shard.checkpoint().await.expect("written");
                }
            }
            let (name, asked) = (NAMES[under_way.0], under_way.1);
            let answer = Box::pin(shard.handle(asked.call(name)));
            let crash = Box::pin(shard.io.sleep_us(seed % 600));
            if let Either::Left(_) = future::select(answer, crash).await {
                let before = model.get(name).copied().flatten();
                model.insert(name, asked.apply(before));
            }
        });
        live(&io.crash(seed), async |shard| {
            for (index, name) in NAMES.into_iter().enumerate() {
                let answered = model.get(name).copied().flatten();
                let found = match retention(&shard, name).await {
                    Ok(Retention::AgeSecs(secs)) => Some(secs),
                    Ok(Retention::Infinite) => panic!("nobody asked for it"),
                    Err(_) => None,
                };
                let may_be = index == under_way.0 && found == under_way.1.apply(answered);
                assert!(found == answered || may_be, "{name}: {found:?}, not {answered:?}");
            }
        });
    }
}
