//! The command line: every option with its unit, default and range.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::abuse::AbuseArgs;
use crate::client::Target;
use crate::compare::CompareArgs;
use crate::costs::CostsArgs;
use crate::hlog::HlogArgs;
use crate::pair::PairArgs;
use crate::record::IDENTITY_BYTES;
use crate::sweep::SweepArgs;
use crate::tls::TrustArgs;

/// Load generator and verifier for S2 durable-streams servers.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Append records at a fixed rate (open loop) or as fast as answers come (closed loop).
    Append(Box<AppendArgs>),
    /// Append, and measure how long records take to reach readers that follow the streams.
    Tail(Box<TailArgs>),
    /// Go through whole streams of an earlier run, again and again, beside other load or alone.
    Scan(ScanArgs),
    /// Read back everything that earlier runs journalled, and compare.
    Verify(VerifyArgs),
    /// Do something bad to a server, and watch whether it serves others and keeps its bounds.
    Abuse(AbuseArgs),
    /// Run the same loads on several servers, in rounds, and write a report.
    Compare(Box<CompareArgs>),
    /// Climb a ladder of offered rates to where the server can no longer follow.
    Sweep(Box<SweepArgs>),
    /// Run one load on two servers that run already, in turns, and compare.
    Pair(Box<PairArgs>),
    /// Draw cost curves from the results of many runs.
    Costs(CostsArgs),
    /// Print percentiles of a latency log, beside those of an earlier one.
    Hlog(HlogArgs),
    /// Measure direct write + sync of the bare disk: the yardstick for an acknowledgement.
    Disk(DiskArgs),
}

/// Where the server is and how patient to be with it.
#[derive(Debug, Clone, Args)]
pub(crate) struct TargetArgs {
    /// Server address; with `https` under TLS.
    #[arg(long, default_value = "http://127.0.0.1:4440", value_parser = Target::parse)]
    pub(crate) url: Target,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// Bearer token, sent with every request.
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// Longest wait for one answer; also bounds the drain after the load.
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "D")]
    pub(crate) request_timeout: Duration,
    /// Give up when no connection succeeds for this long; during a load, 0 means never: keep
    /// counting errors and try again each 50 ms.
    #[arg(long, default_value = "0s", value_parser = parse_duration, value_name = "D")]
    pub(crate) connect_retry: Duration,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DiskArgs {
    /// Directory on the disk to measure; a file of 64 MiB is made there and removed.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Measured time, a third for each size.
    #[arg(long, default_value = "6s", value_parser = parse_duration, value_name = "D")]
    pub(crate) duration: Duration,
    /// Write `disk.json` into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct AppendArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Basin, created when absent.
    #[arg(long, default_value = "loadgen-basin")]
    pub(crate) basin: String,
    /// Appends per second in total, `k` for thousands; `max` is a closed loop.
    #[arg(long, default_value = "1k", value_parser = Rate::parse, value_name = "R|max")]
    pub(crate) rate: Rate,
    /// What appends look like: unary with a JSON or protobuf body, batches in S2S sessions, or
    /// what a server of another kind takes.
    #[arg(long, value_enum, default_value_t = Protocol::Json)]
    pub(crate) protocol: Protocol,
    /// HTTP version of the load; setting up and reading back always use HTTP/1.1.
    #[arg(long, value_enum, default_value_t = HttpVersion::One)]
    pub(crate) http: HttpVersion,
    /// Connections that append. With S2S each carries a session; over HTTP/2 several, when there
    /// are more streams than connections.
    #[arg(long, visible_alias = "writers", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) connections: u32,
    /// Appends in flight: on each HTTP/2 connection, or in each S2S session.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) depth: u32,
    /// Streams, created as `loadgen-<seed>-<i>`; connections serve them round robin.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) streams: u32,
    /// Body bytes of a generated record, also as `64KiB`.
    #[arg(long, default_value = "256", value_parser = parse_record_bytes, value_name = "BYTES")]
    pub(crate) record_bytes: usize,
    /// Records per append.
    #[arg(long, visible_alias = "batch-records", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) records_per_batch: u16,
    /// Measured time, after the warm-up [default: 10s, or 1h with --input].
    #[arg(long, value_parser = parse_duration, value_name = "D")]
    pub(crate) duration: Option<Duration>,
    /// Load before the measured time, left out of every figure.
    #[arg(long, default_value = "0s", value_parser = parse_duration, value_name = "D")]
    pub(crate) warmup: Duration,
    /// Storage class of the streams.
    #[arg(long, value_enum, default_value_t = StorageClass::Express)]
    pub(crate) storage_class: StorageClass,
    /// Representation of record bodies in JSON, for appending and reading back.
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    pub(crate) format: Format,
    /// Decides stream names and record contents.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Tells this run's records from those of other runs on the same streams [default: from the
    /// clock].
    #[arg(long)]
    pub(crate) run: Option<u32>,
    /// Load threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) threads: u32,
    /// Write result.json, latency.hlog and latency.svg into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Ask for receipts, and report where the server says the time of appends went.
    #[arg(long)]
    pub(crate) receipts: bool,
    /// Process of the server, if it runs here: reports how much of the processor it used.
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Append the lines of this file instead of generated records, and stop at its end.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Read everything back afterwards and compare (keeps 34 bytes of memory per append).
    #[arg(long)]
    pub(crate) verify: bool,
    /// Write what was acknowledged or left in doubt to this file, for `loadgen verify`.
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
}

impl AppendArgs {
    /// The measured time: an input file ends the run itself, so its bound is only a long stop.
    pub(crate) fn measured(&self) -> Duration {
        let fallback = if self.input.is_some() { 3_600 } else { 10 };
        self.duration.unwrap_or(Duration::from_secs(fallback))
    }

    /// Parallel writers of the load: each takes appends, one after the other or, when it is a
    /// session, several at a time. Requests in flight on one HTTP/2 connection are writers too.
    pub(crate) fn writers(&self) -> u32 {
        match (self.protocol, self.http) {
            (Protocol::S2s, _) => self.connections.max(self.streams),
            (_, HttpVersion::One) => self.connections,
            (_, HttpVersion::Two) => self.connections.saturating_mul(self.depth),
        }
    }

    /// True when the fate of each append must be remembered.
    pub(crate) fn is_tracked(&self) -> bool {
        self.verify || self.journal.is_some()
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    pub(crate) load: AppendArgs,
    /// Readers, each an S2S read session on a connection of its own that follows one stream; they
    /// are dealt over the streams in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) readers: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Basin.
    #[arg(long, default_value = "loadgen-basin")]
    pub(crate) basin: String,
    /// Seed of the run that made the streams.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Streams, `loadgen-<seed>-<i>`; readers are dealt over them in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) streams: u32,
    /// Readers, each an S2S read session on a connection of its own.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) readers: u32,
    /// How they read: in S2S sessions, or as a server of another kind wants it.
    #[arg(long, value_enum, default_value_t = Protocol::S2s)]
    pub(crate) protocol: Protocol,
    /// Body bytes of a record, for servers that keep no records apart.
    #[arg(long, default_value = "256", value_parser = parse_record_bytes, value_name = "BYTES")]
    pub(crate) record_bytes: usize,
    /// How long they read.
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "D")]
    pub(crate) duration: Duration,
    /// Most that all readers together take, in MiB of records a second; without it, all they can.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000), value_name = "N")]
    pub(crate) mib_per_s: Option<u64>,
    /// Write `scan.json` into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// A journal written by `loadgen append --journal`; may be given several times.
    #[arg(long, required = true, value_name = "FILE")]
    pub(crate) journal: Vec<PathBuf>,
}

/// How appends are paced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    /// Open loop: this many appends per second in total.
    PerSecond(f64),
    /// Closed loop: the next append leaves when the last answer came.
    Max,
}

impl Rate {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let (digits, scale) = match text.strip_suffix('k') {
            Some(digits) => (digits, 1_000.0),
            None => (text, 1.0),
        };
        let rate = digits.parse::<f64>().map_err(|_| "want a number, a number and k, or max")?;
        let rate = rate * scale;
        if !(0.001..=10_000_000.0).contains(&rate) {
            return Err("want 0.001 to 10000k appends per second".to_owned());
        }
        Ok(Self::PerSecond(rate))
    }
}

/// How appends are put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// A request per append, JSON body.
    Json,
    /// A request per append, protobuf body.
    Proto,
    /// Sessions: batches framed in one long request, acknowledgements in its answer.
    S2s,
    /// A request per append to a server of the Durable Streams protocol, for comparison.
    DurableStreams,
    /// Redis Streams: a command per record, for comparison.
    Redis,
}

impl Protocol {
    /// The name on the command line and in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Proto => "proto",
            Self::S2s => "s2s",
            Self::DurableStreams => "durable-streams",
            Self::Redis => "redis",
        }
    }

    /// True for servers that speak another API than ours; see `peers`.
    pub(crate) fn is_foreign(self) -> bool {
        matches!(self, Self::DurableStreams | Self::Redis)
    }
}

/// HTTP version of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HttpVersion {
    /// HTTP/1.1.
    #[value(name = "1")]
    One,
    /// HTTP/2 with prior knowledge.
    #[value(name = "2")]
    Two,
}

impl HttpVersion {
    /// The name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "HTTP/1.1",
            Self::Two => "HTTP/2",
        }
    }
}

/// Storage class asked for when a stream is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StorageClass {
    Express,
    Standard,
}

impl StorageClass {
    /// The name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Express => "express",
            Self::Standard => "standard",
        }
    }
}

/// Value of the `s2-format` header, used for appends and for reading back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Raw,
    Base64,
}

impl Format {
    /// The name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Base64 => "base64",
        }
    }
}

/// Parses `500us`, `20ms`, `1.5s`, `2m` or `1h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let seconds_per_unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err("want a number with us, ms, s, m or h".to_owned()),
    };
    let value: f64 = digits.parse().map_err(|_| "want a number with us, ms, s, m or h")?;
    let seconds = value * seconds_per_unit;
    if !(0.0..=30.0 * 86_400.0).contains(&seconds) {
        return Err("want at most 30 days".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Parses `1024`, `64KiB` or `1MiB`.
fn parse_record_bytes(text: &str) -> Result<usize, String> {
    let (digits, scale) = [("KiB", 1 << 10), ("MiB", 1 << 20)]
        .into_iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))
        .unwrap_or((text, 1));
    let number: usize = digits.parse().map_err(|_| "want a number of bytes, KiB or MiB")?;
    let bytes = number.saturating_mul(scale);
    if !(IDENTITY_BYTES..=1_048_568).contains(&bytes) {
        return Err(format!("want {IDENTITY_BYTES} (a record's identity) to 1048568"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_accept_thousands_and_max() {
        for (text, rate) in [
            ("max", Rate::Max),
            ("50", Rate::PerSecond(50.0)),
            ("0.5", Rate::PerSecond(0.5)),
            ("20k", Rate::PerSecond(20_000.0)),
            ("1.5k", Rate::PerSecond(1_500.0)),
        ] {
            assert_eq!(Rate::parse(text), Ok(rate), "{text}");
        }
        for text in ["", "k", "0", "-1", "nan", "inf", "MAX", "1M", "99999k"] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, us) in
            [("0s", 0), ("20us", 20), ("1.5ms", 1_500), ("2s", 2_000_000), ("1m", 60_000_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_micros(us)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1d", "1 s", "nans", "infs", "1000h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_may_have_a_unit() {
        for (text, bytes) in [("23", 23), ("64KiB", 65_536), ("1KiB", 1_024)] {
            assert_eq!(parse_record_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "KiB", "1KB", "1MiB", "22", "-1", "1.5KiB", "99999999999999999MiB"] {
            assert!(parse_record_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for bad in [
            ["--record-bytes", "22"],
            ["--record-bytes", "1048569"],
            ["--records-per-batch", "0"],
            ["--records-per-batch", "1001"],
            ["--connections", "0"],
            ["--streams", "0"],
            ["--url", "ftp://127.0.0.1:1"],
        ] {
            let line = ["loadgen", "append"].into_iter().chain(bad);
            assert!(Cli::try_parse_from(line).is_err(), "{bad:?}");
        }
    }
}
