//! `loadgen abuse`: does one bad thing to a server for some seconds, and watches whether it still
//! serves others and stays within its memory.
//!
//! * `attacks` holds one file per bad thing; each returns what it did when its time is up, and what
//!   it holds open is closed when that is dropped.
//! * `probe` asks for health and appends gently, on connections that are there before the attack.
//! * `server` looks at the process: memory, and connections by its own count.
//!
//! Threads and blocking sockets: an attack keeps nothing in order, and needs no runtime.

mod attacks;
mod http1;
mod http2;
mod probe;
mod server;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;

use crate::Exit;
use crate::cli::{TargetArgs, parse_duration};
use attacks::Attack;
use probe::{Appends, Health, Probes};
use server::Process;

/// Longest that health may go unanswered.
const HEALTH_BOUND: Duration = Duration::from_secs(2);
/// How soon after an attack a newcomer's append must succeed.
const NORMAL_BOUND: Duration = Duration::from_secs(1);
/// How soon after an attack its connections must be gone.
const GONE_BOUND: Duration = Duration::from_secs(5);

/// What `loadgen abuse` is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct AbuseArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// The server's process, on this machine.
    #[arg(long)]
    pub(crate) pid: u32,
    /// What to do.
    #[arg(long, value_enum)]
    pub(crate) attack: Attack,
    /// How long.
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "D")]
    pub(crate) duration: Duration,
    /// Memory that the server may have at most, in MiB, beside what each connection may take.
    #[arg(long)]
    pub(crate) ceiling_mib: u64,
    /// Memory that each connection may take, in KiB.
    #[arg(long, default_value_t = 192)]
    pub(crate) connection_kib: u64,
    /// What 99 of 100 Express appends that are admitted during an overload must stay below, in
    /// milliseconds; without it that is only reported, since it takes a machine with cores to spare
    /// for this program.
    #[arg(long)]
    pub(crate) admitted_ms: Option<u64>,
    /// Print the head of the table, too.
    #[arg(long)]
    pub(crate) head: bool,
    /// Basin, created when absent.
    #[arg(long, default_value = "abuse-basin")]
    pub(crate) basin: String,
}

/// What an attack needs to know.
pub(crate) struct Field {
    /// Where the server is.
    pub(crate) address: SocketAddr,
    /// Header lines of every request to the basin.
    pub(crate) headers: String,
    /// How long the attack lasts.
    pub(crate) duration: Duration,
    /// When it is over, once it has begun.
    until: Cell<Option<Instant>>,
}

impl Field {
    /// When the attack is over: it begins with the first who asks, which is when what it needs is
    /// there.
    fn until(&self) -> Instant {
        let until = self.until.get().unwrap_or_else(|| Instant::now() + self.duration);
        self.until.set(Some(until));
        until
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until()
    }
}

/// What an attack did.
#[derive(Default)]
pub(crate) struct Made {
    /// Connections that it opened.
    pub(crate) connections: usize,
    /// Most of them that were open at a time.
    pub(crate) open_max: usize,
    /// Bytes that it sent.
    pub(crate) sent_bytes: u64,
    /// What else there is to say.
    pub(crate) note: String,
    /// Latency of its own Express appends that were admitted, when that is to be judged.
    pub(crate) admitted_us: Option<Histogram<u64>>,
    /// What is open until this is dropped.
    pub(crate) held: Vec<http1::Wire>,
}

/// Attacks, watches, judges, and prints one line of the table.
pub(crate) fn run(args: &AbuseArgs) -> Result<Exit> {
    ensure!(!args.target.url.is_secure, "attacks are made in the clear");
    let address = *args.target.url.resolve()?.first().context("the server has no address")?;
    let headers = crate::client::common_headers(&args.target, Some(&args.basin));
    let account = crate::client::common_headers(&args.target, None);
    prepare(address, &account, &headers, args)?;
    let process = Process { pid: args.pid, address, headers: account };
    let before = process.connections()?;
    process.forget_peak()?;
    let probes = Probes::start(address, &headers);
    std::thread::sleep(Duration::from_millis(300));
    probes.begin();

    let (duration, until) = (args.duration, Cell::default());
    let field = Field { address, headers: headers.clone(), duration, until };
    let mut made = args.attack.run(&field)?;
    made.held.clear();
    let ended = Instant::now();
    let normal = probe::until_normal(address, &headers, ended + GONE_BOUND);
    let (health, appends) = probes.end()?;
    let gone = process.until_connections(before, ended + GONE_BOUND)?;
    let peak_bytes = process.peak_bytes()?;
    let ceiling_bytes =
        (args.ceiling_mib << 20) + ((made.open_max as u64 * args.connection_kib) << 10);
    let admitted_bound = args.admitted_ms.map(Duration::from_millis);
    let seen =
        Seen { made, health, appends, peak_bytes, ceiling_bytes, admitted_bound, normal, gone };
    if args.head {
        println!("{HEAD}");
    }
    println!("{}", seen.line(args.attack));
    let faults = seen.faults();
    for fault in &faults {
        println!("  FAULT {fault}");
    }
    Ok(if faults.is_empty() { Exit::Good } else { Exit::Wrong })
}

fn prepare(address: SocketAddr, account: &str, headers: &str, args: &AbuseArgs) -> Result<()> {
    let basin = format!(r#"{{"basin":"{}"}}"#, args.basin);
    for (path, lines, body) in [
        ("/v1/basins", account, basin.as_str()),
        ("/v1/streams", headers, r#"{"stream":"probe","config":{"storage_class":"express"}}"#),
        ("/v1/streams", headers, r#"{"stream":"abused","config":{"storage_class":"standard"}}"#),
        ("/v1/streams", headers, r#"{"stream":"wide","config":{"storage_class":"express"}}"#),
    ] {
        let mut wire = http1::Wire::open(address)?;
        let answer = wire.exchange(&http1::json("POST", path, lines, body.as_bytes()))?;
        ensure!([200, 201, 409].contains(&answer.status), "POST {path}: {}", answer.status);
    }
    Ok(())
}

/// What was seen during an attack and after it.
struct Seen {
    made: Made,
    health: Health,
    appends: Appends,
    peak_bytes: u64,
    ceiling_bytes: u64,
    admitted_bound: Option<Duration>,
    /// From the attack's end to the first append of a newcomer.
    normal: Option<Duration>,
    /// From the attack's end until the server had no more connections than before.
    gone: Option<Duration>,
}

/// The head of the table.
pub(crate) const HEAD: &str = "attack            conns   sent MiB  health p99/worst ms  \
    probe ack/ref/fail   p99 ms  peak/ceiling MiB  normal ms  gone ms  note";

impl Seen {
    fn line(&self, attack: Attack) -> String {
        let ms = |us: u64| us as f64 / 1000.0;
        let since = |took: Option<Duration>| {
            took.map_or_else(|| "never".to_owned(), |took| took.as_millis().to_string())
        };
        let name = attack.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        let (health, appends) = (&self.health, &self.appends);
        format!(
            "{name:<16} {:>6} {:>10.1} {:>9.1} /{:>8.1} {:>9} /{:>4} /{:>4} {:>9.1} {:>7} /{:>7} \
             {:>10} {:>8}  {}",
            self.made.connections,
            self.made.sent_bytes as f64 / f64::from(1 << 20),
            ms(health.latency_us.value_at_quantile(0.99)),
            ms(health.latency_us.max()),
            appends.acked,
            appends.refused,
            appends.failed,
            ms(appends.latency_us.value_at_quantile(0.99)),
            self.peak_bytes >> 20,
            self.ceiling_bytes >> 20,
            since(self.normal),
            since(self.gone),
            self.made.note
        )
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.peak_bytes > self.ceiling_bytes {
            faults.push("the server took more memory than it may".to_owned());
        }
        if let Some(failure) = &self.health.failure {
            faults.push(format!("health was not answered: {failure}"));
        }
        if self.health.latency_us.is_empty() {
            faults.push("health was never asked for".to_owned());
        }
        if let Some(failure) = &self.appends.failure {
            faults.push(format!("an append got no answer, or one without a code: {failure}"));
        }
        if let (Some(bound), Some(its_us)) = (self.admitted_bound, &self.made.admitted_us) {
            for (whose, latency_us) in [("its", its_us), ("other", &self.appends.latency_us)] {
                let p99 = Duration::from_micros(latency_us.value_at_quantile(0.99));
                if p99 > bound {
                    faults.push(format!("p99 of {whose} admitted appends: {} ms", p99.as_millis()));
                }
            }
        }
        if self.normal.is_none_or(|took| took > NORMAL_BOUND) {
            faults.push("a newcomer's append does not succeed within a second".to_owned());
        }
        if self.gone.is_none() {
            faults.push("the attack's connections stay".to_owned());
        }
        faults
    }
}
