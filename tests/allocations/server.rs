//! A server in this process, on one core with one shard.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use thalweg::auth::secret::HashKey;
use thalweg::directory::DataDirectory;
use thalweg::log::group::Policy;
use thalweg::log::reader::ReadMemory;
use thalweg::shard::checkpoint::CheckpointPace;
use thalweg::shard::engine::EngineConfig;
use thalweg::shard::scrub::ScrubPolicy;
use thalweg::shard::server::{AuthSettings, ConnectionSettings, Report, Server, ServerSettings};

use crate::counter::leave_out_this_thread;

const MIB: u64 = 1024 * 1024;
const HOUR_US: u64 = 3_600_000_000;
const START_WAIT: Duration = Duration::from_secs(45);

/// A server that runs until the process ends.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    /// Gone when this is dropped; the server writes on into what has no name.
    _dir: tempfile::TempDir,
}

impl Running {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let server = Server::start(&settings(&directory(dir.path()))).expect("it starts");
        let address = match server.reports.recv_timeout(START_WAIT) {
            Ok(Report::Listening(address)) => address,
            other => panic!("the server did not start: {other:?}"),
        };
        thread::spawn(move || {
            leave_out_this_thread();
            loop {
                let pulse = server.pulse();
                if let Ok(Report::Failed(message)) = server.reports.recv_timeout(pulse) {
                    panic!("{message}");
                }
            }
        });
        Self { address, _dir: dir }
    }
}

fn directory(path: &Path) -> DataDirectory {
    DataDirectory::open_or_create(path, 1, 64 * MIB, 1_700_000_000_000_000, 7).expect("it is made")
}

/// As the command `serve` has it, but nothing is done in passing that takes memory of its own:
/// no checkpoint, no usage counters, no scrub.
fn settings(directory: &DataDirectory) -> ServerSettings {
    ServerSettings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        metrics_listen: None,
        cpus: thalweg::serve::available_cpus()[..1].to_vec(),
        shards: 1,
        shard_paths: vec![directory.shard_path(0)],
        engine: EngineConfig {
            log: directory.log_facts(0),
            policy: Policy { standard_wait_us_max: 0, standard_bytes_enough: 0 },
            inflight_bytes_max: 64 * MIB,
            read_memory: ReadMemory { window_bytes_max: 1 << 24, cache_bytes_max: 1 << 24 },
            index_bytes_max: 64 * MIB,
            checkpoint_bytes: 1 << 40,
            checkpoint_pace: CheckpointPace::default(),
            usage_flush_us: HOUR_US,
            scrub: ScrubPolicy { bytes_per_sec: MIB, interval_us: HOUR_US },
        },
        connection: ConnectionSettings {
            limits: thalweg::http1::Limits::default(),
            http2_limits: thalweg::http2::Limits::default(),
            idle_us: HOUR_US,
            peer_us: HOUR_US,
            request_memory_bytes: 256 * MIB,
            cors: true,
            port: thalweg::api::gate::Port::Main,
            scraping: thalweg::api::gate::Scraping::default(),
            exposed: thalweg::types::exposure::Exposed::default(),
            dashboard: None,
            tls: None,
            auth: AuthSettings { key: HashKey::from_bytes([0; 32]), root: None },
        },
        connections_max: 1000,
        spin: Duration::ZERO,
        drain_us: 1_000_000,
        links: Vec::new(),
        resources: std::sync::Arc::default(),
    }
}
