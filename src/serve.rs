//! The command `serve`: data directory, cores, signals, and what is said on the way.

#![forbid(unsafe_code)]

mod announce;
pub mod health;
mod manager;
mod safety;
pub mod token;

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::api::gate::{Port, Scraping};
use crate::auth::secret::{HashKey, SECRET_BYTES_MAX};
use crate::bucket::{self, Prepared, Shipping, Source};
use crate::config::{ROOT_TOKEN_BYTES_MAX, RootToken, Settings, Tls};
use crate::dashboard::{Facts, Privacy, Store};
use crate::directory::DataDirectory;
use crate::doctor::{self, Subject};
use crate::http1::Limits;
use crate::http2;
use crate::io::limits::{raise_locked_memory, raise_open_files};
use crate::io::memory::keep_freed_memory;
use crate::log::group::Policy;
use crate::log::reader::ReadMemory;
use crate::resources::Resources;
use crate::shard::checkpoint::CheckpointPace;
use crate::shard::engine::EngineConfig;
use crate::shard::scrub::ScrubPolicy;
use crate::shard::server::{AuthSettings, ConnectionSettings, Report, Server, ServerSettings};
use crate::tls::{Acceptor, Files, Identity, Reloader};
use crate::types::exposure::Exposed;
use crate::types::refusal::chain;
use announce::{Place, announce};
use manager::Manager;
use safety::{give_up_privileges, judge_exposure, read_scrape_token, warn_if_open_to_others};

/// Log bytes gathered beyond which a Standard batch waits no longer.
const STANDARD_BYTES_ENOUGH: usize = 256 * 1024;
/// Least memory of requests on one core, in bytes: the longest body fits while others arrive.
const CORE_MEMORY_BYTES_MIN: u64 = 32 * 1024 * 1024;

// Whoever has the root token must be able to present it.
const _: () = assert!(ROOT_TOKEN_BYTES_MAX <= SECRET_BYTES_MAX);

/// Serves until SIGTERM or SIGINT; a second one ends the process at once. With a root token, every
/// client must say who it is; without one, everybody may do everything. At SIGHUP certificates are
/// read again, and `hung_up` is called.
///
/// * Errors: why the server could not start or had to end, in words for an operator.
pub fn serve(
    settings: &Settings,
    root: Option<&RootToken>,
    cpus: &[usize],
    hung_up: &mut dyn FnMut(),
) -> Result<(), String> {
    keep_freed_memory();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "starting");
    let resources = resources(settings)?;
    let exposed = judge_exposure(settings, root.is_some())?;
    give_up_privileges(settings);
    let scraping = Scraping {
        is_elsewhere: settings.metrics_listen.is_some(),
        token: settings.metrics_token_file.as_deref().map(read_scrape_token).transpose()?,
    };
    let open_files = raise_open_files();
    let locked_bytes = raise_locked_memory();
    tracing::debug!(open_files, locked_bytes, "files and connections, and memory to be locked");
    let bucket = open_bucket(settings)?;
    // From here on: what is fetched from a bucket may be given up at any moment.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|e| chain(&e))?;
    doctor::quick(&subject(settings, cpus.len()))?;
    let (acceptor, reloader) = secure(settings)?;
    let mut manager = Manager::find();
    let (mut directory, bucket) = open_home(settings, bucket)?;
    let auth = auth_settings(&mut directory, root)?;
    let entry = Entry { scraping, exposed, tls: acceptor, auth, resources };
    let plan = plan(settings, (&directory, bucket.as_ref()), cpus, entry);
    let server = Server::start(&plan)?;
    let shipping = bucket.map(|bucket| ship(settings, bucket, &directory, &plan)).transpose()?;

    let mut listening = 0;
    let mut stopped = 0;
    let mut draining = false;
    while stopped < server.cores() {
        let pulse = server.pulse();
        manager.attend(&server);
        if let Some(reason) = shipping.as_ref().and_then(Shipping::failure) {
            // At once: whoever is waiting for an answer gets none.
            return Err(reason);
        }
        for signal in signals.pending() {
            if signal == SIGHUP {
                manager.reload(|| {
                    reloader.iter().for_each(Reloader::reload);
                    hung_up();
                });
                continue;
            }
            if draining {
                return Err("ended by a second signal, before all was finished".to_owned());
            }
            draining = true;
            tracing::info!(drain_secs = settings.drain_secs, "shutting down");
            manager.stopping();
            server.drain();
        }
        match server.reports.recv_timeout(pulse) {
            Ok(Report::Listening(address)) => {
                listening += 1;
                if listening == server.cores() {
                    directory.mark_initialised().map_err(|e| chain(&e))?;
                    let (metrics_address, has_root) = (server.metrics_address, root.is_some());
                    let place = Place { settings, has_root, address, metrics_address };
                    announce(&place).map_err(|e| chain(&e))?;
                    tracing::info!(%address, "listening");
                    manager.ready(&place.url());
                }
            }
            Ok(Report::Stopped) => stopped += 1,
            Ok(Report::Failed(message)) => return Err(message),
            Ok(Report::Gone(index)) => return Err(server.why_gone(index)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("a core ended early".to_owned()),
        }
    }
    shipping.into_iter().for_each(|shipping| ship_rest(settings, shipping));
    tracing::info!("stopped");
    Ok(())
}

/// The data directory, and the bucket that it ships to.
fn open_home(
    settings: &Settings,
    mut bucket: Option<Prepared>,
) -> Result<(DataDirectory, Option<Prepared>), String> {
    let mut directory = open_directory(settings)?;
    warn_if_open_to_others(directory.path());
    if let Some(bucket) = &mut bucket {
        // What the bucket is told of the directory is told once.
        hash_key(&mut directory)?;
        bucket.attach(&directory).map_err(|e| chain(&e))?;
    }
    Ok((directory, bucket))
}

/// Ships what the shards have written last.
fn ship_rest(settings: &Settings, shipping: Shipping) {
    if !shipping.finish(Duration::from_secs(settings.drain_secs)) {
        tracing::warn!("the end of the log is not in the bucket; the next start ships it");
    }
}

/// What the bucket says, and the data directory out of it when there is none here.
fn open_bucket(settings: &Settings) -> Result<Option<Prepared>, String> {
    let Some(url) = &settings.bucket else {
        return bucket::refuse_without(&settings.data_dir).map(|()| None).map_err(|e| chain(&e));
    };
    let random = random_id().to_le_bytes();
    let place = bucket::Place { url: url.clone(), data_dir: settings.data_dir.clone(), random };
    bucket::prepare(&place).map(Some).map_err(|e| chain(&e))
}

/// Has the shards' logs shipped.
fn ship(
    settings: &Settings,
    bucket: Prepared,
    directory: &DataDirectory,
    plan: &ServerSettings,
) -> Result<Shipping, String> {
    let sources = (0..).zip(&plan.links).map(|(shard, link)| Source {
        path: directory.shard_path(shard),
        log: directory.log_facts(shard),
        link: Arc::clone(link),
    });
    let interval = Duration::from_millis(settings.bucket_interval_ms);
    Shipping::start(bucket, sources.collect(), interval).map_err(|e| chain(&e))
}

/// What the machine is to be fit for, by the settings alone.
#[must_use]
pub fn subject(settings: &Settings, cpus: usize) -> Subject {
    let caches = settings.read_window_bytes + settings.read_cache_bytes;
    let bounds = [
        settings.append_inflight_bytes,
        settings.index_bytes,
        // As much again may go into answers.
        2 * settings.request_memory_bytes,
        caches as u64,
    ];
    Subject {
        data_dir: settings.data_dir.clone(),
        cores: cpus.min(usize::from(settings.shards)) as u64,
        connections: settings.connections_max as u64,
        memory_bytes: bounds.iter().fold(0, |sum, bytes| u64::saturating_add(sum, *bytes)),
        segments_bytes: u64::from(settings.shards) * settings.segment_bytes,
    }
}

/// The processors that this process may use, as many as its quota is worth; at least one.
#[must_use]
pub fn available_cpus() -> Vec<usize> {
    let quota = std::thread::available_parallelism().map_or(1, usize::from);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let mut cpus = list.and_then(|list| cpu_list(list.trim())).unwrap_or_default();
    if cpus.is_empty() {
        cpus = (0..quota).collect();
    }
    cpus.truncate(quota);
    cpus
}

/// Reads a list as the kernel writes it, like `0-3,8`.
fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

/// Finds out whether a server could start with these settings, as far as that can be known without
/// a look at its data directory and its address.
///
/// * Errors: why not, in words for an operator.
pub fn check(settings: &Settings, has_root: bool) -> Result<(), String> {
    judge_exposure(settings, has_root)?;
    settings.metrics_token_file.as_deref().map(read_scrape_token).transpose()?;
    if let Some(Tls::Files { cert, key }) = &settings.tls {
        let files = Files { cert: cert.clone(), key: key.clone() };
        Identity::from_files(&files).map_err(|e| chain(&e))?;
    }
    resources(settings).map(|_| ())
}

/// What is to be there before anything is served.
fn resources(settings: &Settings) -> Result<Arc<Resources>, String> {
    let Some(path) = settings.init_file.as_deref() else { return Ok(Arc::default()) };
    Resources::from_file(path).map(Arc::new).map_err(|e| chain(&e))
}

/// Microseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "before there is an executor with a clock")]
fn wall_us() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(0)
}

/// How clients are told apart; the key of the directory is made if it has none.
fn auth_settings(
    directory: &mut DataDirectory,
    root: Option<&RootToken>,
) -> Result<AuthSettings, String> {
    let key = hash_key(directory)?;
    let root = root.map(|token| key.hash(token.reveal().as_bytes()));
    tracing::info!(required = root.is_some(), "access tokens");
    Ok(AuthSettings { key, root })
}

fn hash_key(directory: &mut DataDirectory) -> Result<HashKey, String> {
    let random = HashKey::generate().map_err(|e| chain(&e))?.to_bytes();
    directory.token_key_or(random).map(HashKey::from_bytes).map_err(|e| chain(&e))
}

fn open_directory(settings: &Settings) -> Result<DataDirectory, String> {
    DataDirectory::open_or_create(
        &settings.data_dir,
        settings.shards,
        settings.segment_bytes,
        wall_us(),
        random_id(),
    )
    .map_err(|e| doctor::place::explain(&e))
}

/// A random name.
fn random_id() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(wall_us()));
    (half() << 64) | half()
}

/// What connections are made private with, and who reads it again.
fn secure(settings: &Settings) -> Result<(Option<Acceptor>, Option<Reloader>), String> {
    let Some(tls) = &settings.tls else { return Ok((None, None)) };
    match tls {
        Tls::SelfSigned => {
            let identity = Identity::self_signed(names(settings.listen)).map_err(|e| chain(&e))?;
            let fingerprint = identity.fingerprint();
            tracing::info!(fingerprint, "a certificate was made, signed by itself (SHA-256)");
            Ok((Some(Acceptor::new(identity).map_err(|e| chain(&e))?), None))
        }
        Tls::Files { cert, key } => {
            let files = Files { cert: cert.clone(), key: key.clone() };
            let identity = Identity::from_files(&files).map_err(|e| chain(&e))?;
            let acceptor = Acceptor::new(identity).map_err(|e| chain(&e))?;
            let reloader = Reloader::start(acceptor.clone(), files).map_err(|e| chain(&e))?;
            Ok((Some(acceptor), Some(reloader)))
        }
    }
}

/// What a client may call a server that listens there.
fn names(listen: SocketAddr) -> Vec<String> {
    let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let address = listen.ip().to_string();
    if !listen.ip().is_unspecified() && !names.contains(&address) {
        names.push(address);
    }
    names
}

/// Who is let in, and how.
struct Entry {
    scraping: Scraping,
    exposed: Exposed,
    tls: Option<Acceptor>,
    auth: AuthSettings,
    resources: Arc<Resources>,
}

fn plan(
    settings: &Settings,
    (directory, bucket): (&DataDirectory, Option<&Prepared>),
    cpus: &[usize],
    entry: Entry,
) -> ServerSettings {
    let Entry { scraping, exposed, tls, auth, resources } = entry;
    let shards = directory.shards();
    let cores = cpus.len().min(usize::from(shards)) as u64;
    ServerSettings {
        listen: settings.listen,
        // The last ones: the first are where the kernel mostly has its own work done.
        cpus: cpus[cpus.len().saturating_sub(usize::from(shards))..].to_vec(),
        metrics_listen: settings.metrics_listen,
        shards,
        shard_paths: (0..shards).map(|shard| directory.shard_path(shard)).collect(),
        engine: engine_config(settings, directory),
        connection: ConnectionSettings {
            limits: Limits::default(),
            http2_limits: http2::Limits::default(),
            idle_us: settings.idle_secs * 1_000_000,
            peer_us: settings.peer_secs * 1_000_000,
            request_memory_bytes: (settings.request_memory_bytes / cores)
                .max(CORE_MEMORY_BYTES_MIN),
            cors: settings.cors,
            port: Port::Main,
            scraping,
            exposed,
            dashboard: settings.dashboard.then(|| Arc::new(facts(settings, shards, &auth))),
            tls,
            auth,
        },
        connections_max: settings.connections_max,
        spin: Duration::from_micros(settings.spin_us),
        drain_us: settings.drain_secs * 1_000_000,
        links: bucket.map_or_else(Vec::new, |b| b.links(directory, settings.bucket_lag_bytes)),
        resources,
    }
}

/// What the dashboard says of the server; which port it got is said later.
fn facts(settings: &Settings, shards: u16, auth: &AuthSettings) -> Facts {
    let directory = std::path::absolute(&settings.data_dir);
    let root = directory.unwrap_or_else(|_| settings.data_dir.clone());
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        started_us: wall_us(),
        store: Store::Local { root: root.to_string_lossy().into_owned() },
        wal: None,
        path: "",
        flush_interval_ms: None,
        tls: match settings.tls {
            None => Privacy::None,
            Some(Tls::SelfSigned) => Privacy::SelfSigned,
            Some(Tls::Files { .. }) => Privacy::Certificate,
        },
        port: settings.listen.port(),
        cors: settings.cors,
        init_file: settings.init_file.as_ref().map(|path| path.display().to_string()),
        append_inflight_bytes: settings.append_inflight_bytes,
        shards,
        access_tokens: auth.root.is_some(),
    }
}

/// Settings of each shard.
fn engine_config(settings: &Settings, directory: &DataDirectory) -> EngineConfig {
    let shards = directory.shards();
    let per_shard = u64::from(shards);
    EngineConfig {
        log: directory.log_facts(0),
        policy: Policy {
            standard_wait_us_max: settings.standard_wait_us,
            standard_bytes_enough: STANDARD_BYTES_ENOUGH,
        },
        inflight_bytes_max: settings.append_inflight_bytes / per_shard,
        read_memory: ReadMemory {
            window_bytes_max: settings.read_window_bytes / usize::from(shards),
            cache_bytes_max: settings.read_cache_bytes / usize::from(shards),
        },
        index_bytes_max: settings.index_bytes / per_shard,
        checkpoint_bytes: settings.checkpoint_bytes,
        checkpoint_pace: CheckpointPace::default(),
        usage_flush_us: settings.usage_flush_ms * 1000,
        scrub: ScrubPolicy {
            bytes_per_sec: settings.scrub_bytes_per_sec.div_ceil(per_shard),
            interval_us: settings.scrub_interval_secs * 1_000_000,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_accepted_and_refused() {
        let cases: [(&str, Option<&[usize]>); 7] = [
            ("0", Some(&[0])),
            ("0-3", Some(&[0, 1, 2, 3])),
            ("2-3,8,10-11", Some(&[2, 3, 8, 10, 11])),
            ("", None),
            ("x", None),
            ("1-", None),
            ("1,,2", None),
        ];
        for (text, expected) in cases {
            assert_eq!(cpu_list(text).as_deref(), expected, "{text:?}");
        }
        assert!(!available_cpus().is_empty());
    }
}
