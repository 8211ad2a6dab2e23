//! Every setting of the server: what it means, unit, default, range.
//!
//! One precedence: command line, then environment (`THALWEG_…`), then the TOML file, then the
//! default. All of it is checked once, at start; a setting out of range is refused by name.

#![forbid(unsafe_code)]

mod elsewhere;
mod filter;
mod given;
mod layers;
mod live;
mod names;
mod root_token;
mod secret_file;
mod show;
mod size;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::types::exposure::Waived;
pub use elsewhere::Elsewhere;
pub use filter::{LogFilter, LogFilterError};
pub use layers::{Layers, Loaded, Source};
pub use live::{Changes, LIVE};
pub use names::{Described, described};
pub use root_token::{ROOT_TOKEN_BYTES_MAX, ROOT_TOKEN_VARIABLE, RootToken, RootTokenError};
pub use secret_file::{SecretFileError, read_secret};
pub use show::Form;
pub use size::{Size, SizeError};

/// Names the root token among settings, where it is only said to be there.
const ROOT_TOKEN: &str = "root_token";

/// Settings as given: on the command line, in the environment, or in a file. Unset ones are
/// `None`; [`Settings::from`] fills in the defaults.
#[derive(Debug, Clone, Default, Args, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:4440]
    #[arg(long, env = "THALWEG_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,

    /// Port to listen on, in place of that of --listen, at the same address [default: 4440]
    // No variable: Kubernetes sets THALWEG_PORT, to a URL, where a service is named `thalweg`.
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,

    /// Directory that holds everything; made when it is missing [default: ./thalweg-data]
    #[arg(long, visible_alias = "local-root", env = "THALWEG_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Shards of a new data directory; an existing one keeps its own number
    /// [default: cores available, or 1 when there are only two; range: 1 to 1024]
    #[arg(long, env = "THALWEG_SHARDS", value_name = "N")]
    pub shards: Option<u16>,

    /// Bytes of a segment file of a new data directory
    /// [default: 134217728 (128 MiB); range: 8 MiB to 2 GiB, in whole MiB]
    #[arg(long, env = "THALWEG_SEGMENT_BYTES", value_name = "BYTES")]
    pub segment_bytes: Option<Size>,

    /// Longest time, in microseconds, that an append of class Standard waits for others to share
    /// its sync [default: 20000; range: 0 to 200000]
    #[arg(long, env = "THALWEG_STANDARD_WAIT_US", value_name = "US")]
    pub standard_wait_us: Option<u64>,

    /// Record bytes that may be accepted and not yet on disk, in the whole server; more appends
    /// wait [default: 134217728 (128 MiB); at least 1 MiB]
    #[arg(long, env = "THALWEG_APPEND_INFLIGHT_BYTES", value_name = "BYTES")]
    pub append_inflight_bytes: Option<Size>,

    /// Bytes of recent log kept in memory for readers, in the whole server
    /// [default: 134217728 (128 MiB)]
    #[arg(long, env = "THALWEG_READ_WINDOW_BYTES", value_name = "BYTES")]
    pub read_window_bytes: Option<Size>,

    /// Bytes of older log, as read from the disk, kept in memory for readers, in the whole server:
    /// divided evenly over its shards [default: 67108864 (64 MiB)]
    #[arg(long, env = "THALWEG_READ_CACHE_BYTES", value_name = "BYTES")]
    pub read_cache_bytes: Option<Size>,

    /// Bytes of memory for saying where the streams' records lie, in the whole server: divided
    /// evenly over its shards. Beyond that, what is said of old records moves to the disk, as far
    /// as it can [default: 67108864 (64 MiB); at least 1 MiB]
    #[arg(long, env = "THALWEG_INDEX_BYTES", value_name = "BYTES")]
    pub index_bytes: Option<Size>,

    /// Bytes of log after which a shard writes a checkpoint: bounds how much a restart reads
    /// [default: 134217728 (128 MiB); at least 1 MiB]
    #[arg(long, env = "THALWEG_CHECKPOINT_BYTES", value_name = "BYTES")]
    pub checkpoint_bytes: Option<Size>,

    /// Bytes of old log that are read again in a second, in the whole server, to find damage before
    /// a reader does; 0 switches it off [default: 8388608 (8 MiB); 0, or at least 64 KiB]
    #[arg(long, env = "THALWEG_SCRUB_BYTES_PER_SEC", value_name = "BYTES")]
    pub scrub_bytes_per_sec: Option<Size>,

    /// Least seconds from one start of reading all old log again to the next
    /// [default: 3600; range: 1 to 31536000]
    #[arg(long, env = "THALWEG_SCRUB_INTERVAL_SECS", value_name = "SECS")]
    pub scrub_interval_secs: Option<u64>,

    /// Bucket that the log is shipped to: s3://NAME/PREFIX, gs://NAME/PREFIX, az://NAME/PREFIX or
    /// file:///DIRECTORY; credentials come from the environment, as for other tools of that store.
    /// With one, appends of class Standard are acknowledged when they are in it [default: none]
    #[arg(long, env = "THALWEG_BUCKET", value_name = "URL")]
    pub bucket: Option<String>,

    /// How long, in milliseconds, the log of a shard gathers at most before it is shipped
    /// [default: 200; range: 10 to 60000]
    #[arg(long, env = "THALWEG_BUCKET_INTERVAL_MS", value_name = "MS")]
    pub bucket_interval_ms: Option<u64>,

    /// Bytes of a shard's log that may wait to be shipped; beyond that its appends are refused
    /// until the bucket has caught up [default: 1073741824 (1 GiB); at least 16 MiB]
    #[arg(long, env = "THALWEG_BUCKET_LAG_BYTES", value_name = "BYTES")]
    pub bucket_lag_bytes: Option<Size>,

    /// Most connections at a time; more are closed at once [default: 10000]
    #[arg(long, env = "THALWEG_CONNECTIONS_MAX", value_name = "N")]
    pub connections_max: Option<usize>,

    /// Bytes of requests that are arriving or being answered, in the whole server, and as much
    /// again of answers that clients take, but at least 32 MiB of each on each core; more wait a
    /// little, then they are refused. Half as much again may go into windows of HTTP/2 connections,
    /// and half as much into HTTP/2 requests for being open: 8 KiB each, 24 KiB while a body may
    /// come, 12 KiB for an append session, beyond 4 of each connection; more are refused at once
    /// [default: 268435456 (256 MiB); at least 32 MiB]
    #[arg(long, env = "THALWEG_REQUEST_MEMORY_BYTES", value_name = "BYTES")]
    pub request_memory_bytes: Option<Size>,

    /// Seconds that a connection may have no request before it is closed
    /// [default: 300; range: 1 to 86400]
    #[arg(long, env = "THALWEG_IDLE_SECS", value_name = "SECS")]
    pub idle_secs: Option<u64>,

    /// Seconds that a request may take to arrive, or an answer to be taken, beyond one second for
    /// each 16 KiB of it [default: 30; range: 1 to 86400]
    #[arg(long, env = "THALWEG_PEER_SECS", value_name = "SECS")]
    pub peer_secs: Option<u64>,

    /// Seconds that requests and sessions under way may take once the server was asked to end;
    /// sessions whose clients do not leave by themselves are ended after two fifths of that. A
    /// second signal ends the server at once [default: 10; range: 1 to 3600]
    #[arg(long, env = "THALWEG_DRAIN_SECS", value_name = "SECS")]
    pub drain_secs: Option<u64>,

    /// Microseconds that an executor with nothing to do looks for work before it sleeps
    /// [default: 0; range: 0 to 100000]
    #[arg(long, env = "THALWEG_SPIN_US", value_name = "US")]
    pub spin_us: Option<u64>,

    /// Milliseconds between two savings of usage counters while they change; a crash takes what was
    /// counted since [default: 10000; range: 10 to 3600000]
    #[arg(long, env = "THALWEG_USAGE_FLUSH_MS", value_name = "MS", hide = true)]
    pub usage_flush_ms: Option<u64>,

    /// Serve metrics at this address and port alone, without TLS; they are then not at the address
    /// of --listen, where the dashboard looks for them. Beyond loopback it needs
    /// --metrics-token-file and --insecure-no-tls [default: with everything else]
    #[arg(long, env = "THALWEG_METRICS_LISTEN", value_name = "ADDR:PORT")]
    pub metrics_listen: Option<SocketAddr>,

    /// File with the token, 16 to 512 visible characters, that `/metrics`, `/debug/latency` and
    /// `/debug/stats` are answered for; closed to other users [default: none is asked for]
    #[arg(long, env = "THALWEG_METRICS_TOKEN_FILE", value_name = "FILE")]
    pub metrics_token_file: Option<PathBuf>,

    /// Listen where other machines reach the server, although nobody is asked for a token
    #[arg(
        long,
        env = "THALWEG_INSECURE_NO_AUTH",
        num_args = 0..=1,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub insecure_no_auth: Option<bool>,

    /// Listen where other machines reach the server, although nothing is encrypted
    #[arg(
        long,
        env = "THALWEG_INSECURE_NO_TLS",
        num_args = 0..=1,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub insecure_no_tls: Option<bool>,

    /// Write who changed what, and who was refused, to this file, a line of JSON each
    /// [default: to standard error, with everything else that is logged]
    #[arg(long, env = "THALWEG_AUDIT_LOG", value_name = "FILE")]
    pub audit_log: Option<PathBuf>,

    /// Let the kernel write the server's memory, with keys and records, to core files, and let
    /// debuggers and profilers of the same user attach
    #[arg(
        long,
        env = "THALWEG_ALLOW_CORE_DUMPS",
        num_args = 0..=1,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub allow_core_dumps: Option<bool>,
    /// Speak TLS with this certificate: PEM, with those that signed it behind it, up to but without
    /// the root; needs --tls-key. Read again when it changes, and at SIGHUP [default: no TLS]
    #[arg(long, env = "THALWEG_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key: PEM; needs --tls-cert
    #[arg(long, env = "THALWEG_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Speak TLS with a certificate made at start, for localhost and the address to listen on; its
    /// fingerprint is logged [default: no TLS]
    #[arg(
        long,
        visible_alias = "tls-self",
        env = "THALWEG_TLS_SELF_SIGNED",
        num_args = 0..=1,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub tls_self_signed: Option<bool>,
    /// File that holds the root token; no other user may read it. With one, every client must
    /// present it, or an access token that was issued; without one, everybody may do everything.
    /// Instead of the file, the environment variable THALWEG_ROOT_TOKEN may hold the token itself
    /// [default: none]
    #[arg(long, env = "THALWEG_ROOT_TOKEN_FILE", value_name = "FILE")]
    pub root_token_file: Option<PathBuf>,

    /// Do not send cross-origin (CORS) headers [default: send them]
    #[arg(
        long,
        env = "THALWEG_NO_CORS",
        num_args = 0..=1,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub no_cors: Option<bool>,

    /// Do not serve the web dashboard at /dashboard [default: serve it]
    #[arg(
        long,
        env = "THALWEG_NO_DASHBOARD",
        num_args = 0..=1,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub no_dashboard: Option<bool>,

    /// JSON file with basins and streams that are there, configured as it says, before anything is
    /// served; others are left alone. S2LITE_INIT_FILE counts where THALWEG_INIT_FILE is not set
    /// [default: none]
    #[arg(long, env = "THALWEG_INIT_FILE", value_name = "FILE")]
    pub init_file: Option<PathBuf>,

    /// What is logged: a level (off, error, warn, info, debug, trace), and others for rooms of the
    /// server or for libraries, such as `info,log=debug,tls=trace`. RUST_LOG counts where
    /// THALWEG_LOG is not set. Read again at SIGHUP [default: warn,thalweg=info]
    #[arg(long, env = "THALWEG_LOG", value_name = "FILTER")]
    pub log_level: Option<String>,

    /// How log lines are written [default: text]
    #[arg(long, env = "THALWEG_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object each.
    Json,
}

/// Settings in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Shards of a new data directory.
    pub shards: u16,
    /// Bytes of a segment file of a new data directory.
    pub segment_bytes: u64,
    /// Longest wait of a Standard batch, microseconds.
    pub standard_wait_us: u64,
    /// Record bytes accepted and not durable, whole server.
    pub append_inflight_bytes: u64,
    /// Bytes of recent log kept for readers, whole server.
    pub read_window_bytes: usize,
    /// Bytes of older log kept for readers, whole server.
    pub read_cache_bytes: usize,
    /// Bytes of memory for saying where records lie, whole server.
    pub index_bytes: u64,
    /// Bytes of log between checkpoints.
    pub checkpoint_bytes: u64,
    /// Bytes of old log read again in a second, whole server; 0 for none.
    pub scrub_bytes_per_sec: u64,
    /// Seconds from one start of reading it again to the next.
    pub scrub_interval_secs: u64,
    /// Where the log is shipped to.
    pub bucket: Option<String>,
    /// How long a shard's log gathers before it is shipped, milliseconds.
    pub bucket_interval_ms: u64,
    /// Bytes of a shard's log that may wait to be shipped.
    pub bucket_lag_bytes: u64,
    /// Most connections.
    pub connections_max: usize,
    /// Bytes of requests, and as much again of answers, whole server.
    pub request_memory_bytes: u64,
    /// Seconds without a request before a connection is closed.
    pub idle_secs: u64,
    /// Seconds for a request to arrive or an answer to be taken.
    pub peer_secs: u64,
    /// Seconds for what is under way once the server was asked to end.
    pub drain_secs: u64,
    /// Microseconds of looking for work before sleeping.
    pub spin_us: u64,
    /// Milliseconds between two savings of usage counters.
    pub usage_flush_ms: u64,
    /// File that holds the root token.
    pub root_token_file: Option<PathBuf>,
    /// Whether CORS headers are sent.
    pub cors: bool,
    /// Whether the web dashboard is served.
    pub dashboard: bool,
    /// What is to be there before anything is served.
    pub init_file: Option<PathBuf>,
    /// What is logged.
    pub log_filter: LogFilter,
    /// How.
    pub log_format: LogFormat,
    /// Where metrics are served, if not with everything else.
    pub metrics_listen: Option<SocketAddr>,
    /// File with the token for metrics.
    pub metrics_token_file: Option<PathBuf>,
    /// What the operator does without.
    pub waived: Waived,
    /// File of the audit log, if it has one.
    pub audit_log: Option<PathBuf>,
    /// Whether the process's memory may be looked at.
    pub allow_core_dumps: bool,
    /// With what TLS is spoken; `None` for connections in the clear.
    pub tls: Option<Tls>,
}

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// From PEM files.
    Files {
        /// The certificate and those that signed it.
        cert: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// It is made at start.
    SelfSigned,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// The file is not TOML as described by [`Given`].
    #[error("{} is not a settings file", .0.display())]
    Parse(PathBuf, #[source] toml::de::Error),
    /// The file has settings that there are not.
    #[error("{}: {problems}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Each of them, and what may have been meant.
        problems: String,
    },
    /// A path cannot be written down.
    #[error("the settings cannot be printed")]
    Print(#[source] toml::ser::Error),
    /// What is logged cannot be.
    #[error("setting log_level: {0}")]
    LogFilter(#[from] LogFilterError),
    /// A setting is out of its range.
    #[error("setting {name}: {problem}")]
    Range {
        /// The setting.
        name: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

const MIB: u64 = 1024 * 1024;

impl Given {
    /// These settings, and where they are silent those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            port: self.port.or(other.port),
            data_dir: self.data_dir.or(other.data_dir),
            shards: self.shards.or(other.shards),
            segment_bytes: self.segment_bytes.or(other.segment_bytes),
            standard_wait_us: self.standard_wait_us.or(other.standard_wait_us),
            append_inflight_bytes: self.append_inflight_bytes.or(other.append_inflight_bytes),
            read_window_bytes: self.read_window_bytes.or(other.read_window_bytes),
            read_cache_bytes: self.read_cache_bytes.or(other.read_cache_bytes),
            index_bytes: self.index_bytes.or(other.index_bytes),
            checkpoint_bytes: self.checkpoint_bytes.or(other.checkpoint_bytes),
            scrub_bytes_per_sec: self.scrub_bytes_per_sec.or(other.scrub_bytes_per_sec),
            scrub_interval_secs: self.scrub_interval_secs.or(other.scrub_interval_secs),
            bucket: self.bucket.or(other.bucket),
            bucket_interval_ms: self.bucket_interval_ms.or(other.bucket_interval_ms),
            bucket_lag_bytes: self.bucket_lag_bytes.or(other.bucket_lag_bytes),
            connections_max: self.connections_max.or(other.connections_max),
            request_memory_bytes: self.request_memory_bytes.or(other.request_memory_bytes),
            idle_secs: self.idle_secs.or(other.idle_secs),
            peer_secs: self.peer_secs.or(other.peer_secs),
            drain_secs: self.drain_secs.or(other.drain_secs),
            spin_us: self.spin_us.or(other.spin_us),
            usage_flush_ms: self.usage_flush_ms.or(other.usage_flush_ms),
            metrics_listen: self.metrics_listen.or(other.metrics_listen),
            metrics_token_file: self.metrics_token_file.or(other.metrics_token_file),
            insecure_no_auth: self.insecure_no_auth.or(other.insecure_no_auth),
            insecure_no_tls: self.insecure_no_tls.or(other.insecure_no_tls),
            audit_log: self.audit_log.or(other.audit_log),
            allow_core_dumps: self.allow_core_dumps.or(other.allow_core_dumps),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            tls_self_signed: self.tls_self_signed.or(other.tls_self_signed),
            root_token_file: self.root_token_file.or(other.root_token_file),
            no_cors: self.no_cors.or(other.no_cors),
            no_dashboard: self.no_dashboard.or(other.no_dashboard),
            init_file: self.init_file.or(other.init_file),
            log_level: self.log_level.or(other.log_level),
            log_format: self.log_format.or(other.log_format),
        }
    }
}

/// Shards of a new data directory: one for each core, but one where there are only two. The second
/// has enough to do then with the kernel's share of the network and the disk, with our own threads
/// and often with clients: a second executor would take from these what it gives.
fn default_shards(cores: u16) -> u16 {
    if cores <= 2 { 1 } else { cores }
}

impl Settings {
    /// Fills in defaults and checks ranges. `cores` is the number of cores available.
    ///
    /// * Errors: [`ConfigError::Range`] naming the setting.
    pub fn from(given: Given, cores: u16) -> Result<Self, ConfigError> {
        let mut listen = given.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 4440)));
        listen.set_port(given.port.unwrap_or(listen.port()));
        let bytes = |size: Option<Size>, default| size.map_or(default, |size| size.0);
        let memory = |size, default| usize::try_from(bytes(size, default)).unwrap_or(usize::MAX);
        let settings = Self {
            listen,
            data_dir: given.data_dir.unwrap_or_else(|| PathBuf::from("./thalweg-data")),
            shards: given.shards.unwrap_or_else(|| default_shards(cores)),
            segment_bytes: bytes(given.segment_bytes, 128 * MIB),
            standard_wait_us: given.standard_wait_us.unwrap_or(20_000),
            append_inflight_bytes: bytes(given.append_inflight_bytes, 128 * MIB),
            read_window_bytes: memory(given.read_window_bytes, 128 * MIB),
            read_cache_bytes: memory(given.read_cache_bytes, 64 * MIB),
            index_bytes: bytes(given.index_bytes, 64 * MIB),
            checkpoint_bytes: bytes(given.checkpoint_bytes, 128 * MIB),
            scrub_bytes_per_sec: bytes(given.scrub_bytes_per_sec, 8 * MIB),
            scrub_interval_secs: given.scrub_interval_secs.unwrap_or(3600),
            bucket: given.bucket,
            bucket_interval_ms: given.bucket_interval_ms.unwrap_or(200),
            bucket_lag_bytes: bytes(given.bucket_lag_bytes, 1024 * MIB),
            connections_max: given.connections_max.unwrap_or(10_000),
            request_memory_bytes: bytes(given.request_memory_bytes, 256 * MIB),
            idle_secs: given.idle_secs.unwrap_or(300),
            peer_secs: given.peer_secs.unwrap_or(30),
            drain_secs: given.drain_secs.unwrap_or(10),
            spin_us: given.spin_us.unwrap_or(0),
            usage_flush_ms: given.usage_flush_ms.unwrap_or(10_000),
            root_token_file: given.root_token_file,
            cors: !given.no_cors.unwrap_or(false),
            dashboard: !given.no_dashboard.unwrap_or(false),
            metrics_listen: given.metrics_listen,
            metrics_token_file: given.metrics_token_file,
            waived: Waived {
                auth: given.insecure_no_auth.unwrap_or(false),
                tls: given.insecure_no_tls.unwrap_or(false),
            },
            audit_log: given.audit_log,
            allow_core_dumps: given.allow_core_dumps.unwrap_or(false),
            init_file: given.init_file,
            log_filter: given
                .log_level
                .as_deref()
                .map(LogFilter::new)
                .transpose()?
                .unwrap_or_default(),
            log_format: given.log_format.unwrap_or_default(),
            tls: tls(given.tls_cert, given.tls_key, given.tls_self_signed.unwrap_or(false))?,
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let require = |holds: bool, name, problem| {
            if holds { Ok(()) } else { Err(ConfigError::Range { name, problem }) }
        };
        let segment_ok = (8 * MIB..=2048 * MIB).contains(&self.segment_bytes)
            && self.segment_bytes.is_multiple_of(MIB);
        require((1..=1024).contains(&self.shards), "shards", "must be 1 to 1024")?;
        require(segment_ok, "segment_bytes", "must be 8 MiB to 2 GiB, in whole MiB")?;
        require(self.standard_wait_us <= 200_000, "standard_wait_us", "must be at most 200000")?;
        let inflight_ok = self.append_inflight_bytes >= MIB;
        require(inflight_ok, "append_inflight_bytes", "must be at least 1 MiB")?;
        require(self.index_bytes >= MIB, "index_bytes", "must be at least 1 MiB")?;
        require(self.checkpoint_bytes >= MIB, "checkpoint_bytes", "must be at least 1 MiB")?;
        let scrub_ok = self.scrub_bytes_per_sec == 0 || self.scrub_bytes_per_sec >= 64 * 1024;
        require(scrub_ok, "scrub_bytes_per_sec", "must be 0 or at least 64 KiB")?;
        let interval_ok = (1..=31_536_000).contains(&self.scrub_interval_secs);
        require(interval_ok, "scrub_interval_secs", "must be 1 to 31536000")?;
        let bucket_ok = (10..=60_000).contains(&self.bucket_interval_ms);
        require(bucket_ok, "bucket_interval_ms", "must be 10 to 60000")?;
        require(self.bucket_lag_bytes >= 16 * MIB, "bucket_lag_bytes", "must be at least 16 MiB")?;
        require(self.connections_max >= 1, "connections_max", "must be at least 1")?;
        let memory_ok = self.request_memory_bytes >= 32 * MIB;
        require(memory_ok, "request_memory_bytes", "must be at least 32 MiB")?;
        require((1..=86_400).contains(&self.idle_secs), "idle_secs", "must be 1 to 86400")?;
        require((1..=86_400).contains(&self.peer_secs), "peer_secs", "must be 1 to 86400")?;
        require((1..=3600).contains(&self.drain_secs), "drain_secs", "must be 1 to 3600")?;
        let flush_ok = (10..=3_600_000).contains(&self.usage_flush_ms);
        require(flush_ok, "usage_flush_ms", "must be 10 to 3600000")?;
        require(self.spin_us <= 100_000, "spin_us", "must be at most 100000")
    }
}

fn tls(
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    self_signed: bool,
) -> Result<Option<Tls>, ConfigError> {
    let refused = |name, problem| Err(ConfigError::Range { name, problem });
    match (cert, key, self_signed) {
        (None, None, false) => Ok(None),
        (None, None, true) => Ok(Some(Tls::SelfSigned)),
        (Some(cert), Some(key), false) => Ok(Some(Tls::Files { cert, key })),
        (Some(_), _, true) | (_, Some(_), true) => {
            refused("tls_self_signed", "cannot be used with tls_cert or tls_key")
        }
        (Some(_), None, false) => refused("tls_key", "must be given with tls_cert"),
        (None, Some(_), false) => refused("tls_cert", "must be given with tls_key"),
    }
}

#[cfg(test)]
mod tests;
