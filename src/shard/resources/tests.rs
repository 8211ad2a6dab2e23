//! Init files on a core with one shard, on a simulated disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::io::sim::{Faults, SimIo};
use crate::shard::testkit::{
    LOG, Shard, assert_whole, basin, connection_settings, live_with, path,
};
use crate::types::{BasinConfig, Cipher, PartialStreamConfig, Retention, StreamConfig, StreamName};

async fn core(shard: &Shard) -> Rc<Core<SimIo>> {
    let engines = BTreeMap::from([(0, Rc::clone(shard))]);
    let load = (0, Arc::from([AtomicUsize::new(0)]));
    let core = Core::new(1, engines, vec![None], ((), ()), connection_settings(), load);
    let core = Rc::new(core);
    core.share_all_basins().await.expect("the one shard is here");
    core
}

fn live<T>(io: &SimIo, life: impl AsyncFnOnce(Shard, Rc<Core<SimIo>>) -> T) -> T {
    live_with(
        io,
        |_, _| {},
        async |shard| {
            let core = core(&shard).await;
            life(shard, core).await
        },
    )
}

/// One basin with streams whose records stay for so many seconds.
fn resources(streams: &[&str], secs: u64) -> Resources {
    let stream = |name: &&str| StreamResource {
        name: StreamName::new(name).expect("legal"),
        config: PartialStreamConfig {
            retention: Some(Retention::AgeSecs(secs)),
            ..PartialStreamConfig::default()
        },
    };
    let config = BasinConfig { stream_cipher: Some(Cipher::Aegis256), ..BasinConfig::default() };
    let streams = streams.iter().map(stream).collect();
    Resources { basins: vec![BasinResource { name: basin(), config, streams }] }
}

async fn config_of(core: &Rc<Core<SimIo>>, stream: &str) -> StreamConfig {
    match core.call(0, Call::GetStream(path(stream))).await {
        Ok(Answer::StreamConfig(config)) => config,
        other => panic!("{other:?}"),
    }
}

fn counts(created: u64, updated: u64, unchanged: u64) -> Result<Applied, String> {
    Ok(Applied { created, updated, unchanged })
}

#[test]
fn what_is_applied_is_durable_and_follows_the_file() {
    let many: Vec<String> = (0..3 * AT_ONCE).map(|number| format!("s{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let count = many.len() as u64;
    let io = SimIo::new(11);
    live(&io, async |_, core| {
        assert_eq!(core.apply(&Resources::default()).await, counts(0, 0, 0));
        assert_eq!(core.apply(&resources(&many, 60)).await, counts(count + 1, 0, 0));
    });
    // Nothing but what was synced is left.
    let io = io.crash(1);
    assert_whole(&io, LOG);
    live(&io, async |_, core| {
        assert_eq!(core.apply(&resources(&many, 60)).await, counts(0, 0, count + 1));
        assert_eq!(config_of(&core, "s7").await.retention, Retention::AgeSecs(60));
        assert_eq!(core.apply(&resources(&["s7"], 90)).await, counts(0, 1, 1));
        assert_eq!(config_of(&core, "s7").await.retention, Retention::AgeSecs(90));
        assert_eq!(config_of(&core, "s8").await.retention, Retention::AgeSecs(60), "left alone");
        let bare =
            BasinResource { name: basin(), config: BasinConfig::default(), streams: Vec::new() };
        let bare = Resources { basins: vec![bare] };
        assert_eq!(core.apply(&bare).await, counts(0, 1, 0), "left out means the default");
    });
}

#[test]
fn a_deletion_is_waited_for_and_one_that_does_not_end_is_an_error() {
    let io = SimIo::new(12);
    live(&io, async |shard, core| {
        core.apply(&resources(&["s"], 60)).await.expect("applied");
        // As a crash between the two halves of a deletion leaves it.
        let marked = shard.handle(Call::MarkBasinDeleted(basin())).await;
        let Ok(Answer::Basin(record, _)) = marked else { panic!("{marked:?}") };
        shard.handle(Call::CopyBasin(record)).await.expect("copied");
    });
    let io = io.crash(2);
    live(&io, async |_, core| {
        let begin_us = core.now_us();
        let said = core.apply(&resources(&["s"], 60)).await.expect_err("nobody goes on with it");
        assert!(said.contains("basin test-basin-1: "), "{said}");
        assert!(core.now_us() - begin_us >= DELETION_US_MAX);
        core.resume_deletions();
        assert_eq!(core.apply(&resources(&["s"], 60)).await, counts(2, 0, 0), "made anew");
    });
}

#[test]
fn a_failing_disk_names_the_resource() {
    let io = SimIo::new(13);
    live(&io, async |_, core| {
        core.apply(&resources(&["a"], 60)).await.expect("applied");
        io.set_faults(Faults { fail_sync: Some(0), ..io.faults() });
        let said = core.apply(&resources(&["a", "b"], 60)).await.expect_err("the disk failed");
        assert!(said.contains("basin test-basin-1, stream \"b\": storage failed"), "{said}");
    });
}
