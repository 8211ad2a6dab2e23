//! What tests of a shard on a simulated disk have in common.

use std::rc::Rc;

use super::call::{Answer, Call, StreamPath};
use super::checkpoint::CheckpointPace;
use super::connection::ConnectionSettings;
use super::engine::{Engine, EngineConfig};
use super::gate::AuthSettings;
use super::scrub::ScrubPolicy;
use crate::api::response::Provision;
use crate::auth::secret::HashKey;
use crate::io::sim::{SimIo, SimRuntime};
use crate::log::group::Policy;
use crate::log::reader::ReadMemory;
use crate::log::segment::LogFacts;
use crate::types::config::Change;
use crate::types::{
    BasinConfig, BasinName, PartialStreamConfig, Refusal, Retention, StreamConfigPatch, StreamName,
};

/// Settings of connections in the clear to a server that asks nobody who they are.
pub(super) fn connection_settings() -> ConnectionSettings {
    ConnectionSettings {
        limits: crate::http1::Limits::default(),
        http2_limits: crate::http2::Limits::default(),
        idle_us: 1_000_000,
        peer_us: 1_000_000,
        request_memory_bytes: 4 << 20,
        cors: false,
        port: crate::api::gate::Port::Main,
        scraping: crate::api::gate::Scraping::default(),
        exposed: crate::types::exposure::Exposed::default(),
        dashboard: None,
        tls: None,
        auth: AuthSettings { key: HashKey::from_bytes([1; 32]), root: None },
    }
}

pub(super) const LOG: LogFacts = LogFacts { directory_id: 7, shard: 0, segment_bytes: 4 << 20 };

pub(super) const CONFIG: EngineConfig = EngineConfig {
    log: LOG,
    policy: Policy { standard_wait_us_max: 0, standard_bytes_enough: 0 },
    inflight_bytes_max: 1 << 20,
    read_memory: ReadMemory { window_bytes_max: 1 << 20, cache_bytes_max: 4 << 20 },
    index_bytes_max: 1 << 30,
    checkpoint_bytes: 1 << 30,
    checkpoint_pace: CheckpointPace { streams: 256, pause_us: 1 },
    usage_flush_us: 10_000_000,
    scrub: ScrubPolicy { bytes_per_sec: 64 << 20, interval_us: 1_000_000 },
};

pub(super) type Shard = Rc<Engine<SimIo>>;

/// One life of the shard's process, which ends in a crash. Its log is written; what else goes on
/// in the background is `also`'s to say.
pub(super) fn live_with<T>(
    io: &SimIo,
    also: impl FnOnce(&SimRuntime, &Shard),
    life: impl AsyncFnOnce(Shard) -> T,
) -> T {
    live_configured(io, CONFIG, also, life)
}

/// The same, with settings of its own.
pub(super) fn live_configured<T>(
    io: &SimIo,
    config: EngineConfig,
    also: impl FnOnce(&SimRuntime, &Shard),
    life: impl AsyncFnOnce(Shard) -> T,
) -> T {
    let runtime = SimRuntime::new(io);
    runtime.block_on(async {
        let shard = Rc::new(Engine::open(Rc::new(io.clone()), config).await.expect("opens"));
        runtime.spawn(Rc::clone(&shard).run_writer());
        runtime.spawn(Rc::clone(&shard).run_segments());
        also(&runtime, &shard);
        life(shard).await
    })
}

pub(super) fn basin() -> BasinName {
    BasinName::new("test-basin-1").expect("legal")
}

pub(super) fn path(stream: &str) -> StreamPath {
    StreamPath { basin: basin(), stream: StreamName::new(stream).expect("legal") }
}

pub(super) fn age(secs: u64) -> StreamConfigPatch {
    let retention = Change::Set(Retention::AgeSecs(secs));
    StreamConfigPatch { retention, ..StreamConfigPatch::default() }
}

pub(super) fn create(stream: &str) -> Call {
    let config = PartialStreamConfig::default();
    Call::CreateStream { path: path(stream), config, creation: None }
}

pub(super) fn patch(stream: &str, patch: StreamConfigPatch) -> Call {
    Call::ReconfigureStream { path: path(stream), patch }
}

/// Does a change of a basin and has the shard's copy show it, as its core would.
pub(super) async fn change_basin(shard: &Shard, call: Call) -> Result<Provision, Refusal> {
    match shard.handle(call).await? {
        Answer::Basin(record, provision) => {
            shard.handle(Call::CopyBasin(record)).await?;
            Ok(provision)
        }
        other => panic!("{other:?}"),
    }
}

pub(super) async fn create_basin(shard: &Shard) {
    let config = BasinConfig::default();
    let call = Call::CreateBasin { basin: basin(), config, creation: None };
    assert_eq!(change_basin(shard, call).await, Ok(Provision::Created));
}

pub(super) async fn provision(shard: &Shard, call: Call) -> Provision {
    match shard.handle(call).await {
        Ok(Answer::Stream(_, provision)) => provision,
        other => panic!("{other:?}"),
    }
}

/// Checks that `verify` is content with the directory.
pub(super) fn assert_whole(io: &SimIo, log: LogFacts) {
    let mut said = Vec::new();
    let verdict =
        SimRuntime::new(io).block_on(async { crate::inspect::verify(io, log, &mut said).await });
    assert!(verdict.expect("readable"), "{}", String::from_utf8_lossy(&said));
}
