//! Gathers the load threads' figures while the load runs: sums, the interval log, the journal.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::clock::SECOND_NS;
use crate::context::Window;
use crate::journal::{Fact, Writer};
use crate::server_cpu::ServerCpu;
use crate::stats::{CpuUse, Stats};
use crate::worker::{Ended, Interval, Message};

/// Most appends whose fate is kept in memory, 32 bytes each.
const FACTS_MAX: usize = 50_000_000;

/// One second for the plot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Second {
    /// Middle of the second, counted from the start of the measured time.
    pub(crate) at_s: f64,
    /// Latencies of what was answered in it, nanoseconds.
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
}

/// Everything known after the load.
pub(crate) struct Collected {
    pub(crate) total: Stats,
    pub(crate) seconds: Vec<Second>,
    /// The interval log's text.
    pub(crate) log: Vec<u8>,
    /// Fates by stream; empty unless asked for.
    pub(crate) facts: Vec<Vec<Fact>>,
    /// CPU use of the busiest load thread.
    pub(crate) busiest: Option<CpuUse>,
    /// Length of the measured time.
    pub(crate) measured: Duration,
    /// What the server used of the processor in it, when that was asked for.
    pub(crate) server_cpu: Option<ServerCpu>,
    /// The first thing that ended the load before its time.
    pub(crate) failure: Option<anyhow::Error>,
}

/// Gathers messages until all threads have ended.
pub(crate) struct Collector {
    window: Window,
    pending: BTreeMap<u64, Stats>,
    /// Per thread: the next second it will hand over; `u64::MAX` once it has ended.
    next_numbers: Vec<u64>,
    journal: Option<Writer>,
    keeps_facts: bool,
    fact_count: usize,
    is_input_over: bool,
    last_ns: u64,
    collected: Collected,
}

impl Collector {
    /// For `threads` threads and `streams` streams; `about` heads the interval log.
    pub(crate) fn new(
        window: Window,
        threads: usize,
        streams: usize,
        journal: Option<Writer>,
        keeps_facts: bool,
        about: &str,
    ) -> Result<Self> {
        let mut log = Vec::new();
        let delay = Duration::from_nanos(window.measure_ns - window.start_ns);
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(about)
            .add_comment("Nanoseconds from intended send to answer; Tag=service from actual send;")
            .add_comment("Tag=delivery from intended send to a reader; Tag=delivery-from-ack from the answer")
            .with_start_time(SystemTime::now() + delay)
            .begin_log_with(&mut log, &mut V2DeflateSerializer::new())?;
        log.extend_from_slice(
            b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        );
        Ok(Self {
            window,
            pending: BTreeMap::new(),
            next_numbers: vec![0; threads],
            journal,
            keeps_facts,
            fact_count: 0,
            is_input_over: false,
            last_ns: 0,
            collected: Collected {
                total: Stats::new(),
                seconds: Vec::new(),
                log,
                facts: vec![Vec::new(); streams],
                busiest: None,
                measured: Duration::from_nanos(window.end_ns - window.measure_ns),
                server_cpu: None,
                failure: None,
            },
        })
    }

    /// Takes messages until every thread has ended, `patience` at most.
    pub(crate) fn run(
        mut self,
        messages: &Receiver<Message>,
        patience: Duration,
    ) -> Result<Collected> {
        let give_up = Instant::now() + patience;
        while self.next_numbers.iter().any(|number| *number != u64::MAX) {
            let left = give_up.saturating_duration_since(Instant::now());
            match messages.recv_timeout(left).context("the load threads do not end")? {
                Message::Ready => {}
                Message::Interval(interval) => self.interval(interval)?,
                Message::Ended(ended) => self.ended(ended),
            }
            self.settle_seconds()?;
        }
        if std::io::stderr().is_terminal() {
            eprintln!();
        }
        if self.is_input_over && self.last_ns < self.window.end_ns {
            let measured_ns = self.last_ns.saturating_sub(self.window.measure_ns);
            self.collected.measured = Duration::from_nanos(measured_ns);
        }
        Ok(self.collected)
    }

    fn interval(&mut self, interval: Interval) -> Result<()> {
        let Interval { number, thread, mut stats } = interval;
        let facts = std::mem::take(&mut stats.facts);
        if let Some(journal) = &mut self.journal {
            journal.add(&facts)?;
        }
        if self.keeps_facts {
            self.fact_count += facts.len();
            if self.fact_count > FACTS_MAX {
                bail!("--verify remembers at most {FACTS_MAX} appends; use --journal instead");
            }
            for (stream, fact) in facts {
                self.collected.facts[stream as usize].push(fact);
            }
        }
        // The drain is not time of its own: what it answers counts in the last measured second.
        let number = number.min(self.last_number());
        self.pending.entry(number).or_insert_with(Stats::new).add(&stats);
        self.next_numbers[thread] = number + 1;
        Ok(())
    }

    /// The last second that has measured time in it.
    fn last_number(&self) -> u64 {
        (self.window.end_ns - 1 - self.window.start_ns) / SECOND_NS
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { thread, cpu, at_ns, is_input_over, result } = ended;
        self.next_numbers[thread] = u64::MAX;
        self.is_input_over |= is_input_over;
        self.last_ns = self.last_ns.max(at_ns);
        let busiest = self.collected.busiest.map_or(-1.0, CpuUse::busy_share);
        if let Some(cpu) = cpu.filter(|cpu| cpu.busy_share() > busiest) {
            self.collected.busiest = Some(cpu);
        }
        if let Err(error) = result {
            self.collected.failure.get_or_insert(error);
        }
    }

    /// Closes the seconds that every thread has handed over.
    fn settle_seconds(&mut self) -> Result<()> {
        let handed_over = self.next_numbers.iter().copied().min().unwrap_or(u64::MAX);
        let is_over = handed_over == u64::MAX;
        let complete = if is_over { handed_over } else { handed_over.min(self.last_number()) };
        while let Some(entry) = self.pending.first_entry() {
            if *entry.key() >= complete {
                break;
            }
            let (number, stats) = entry.remove_entry();
            self.second(number, &stats)?;
            self.collected.total.add(&stats);
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds for the plot")]
    fn second(&mut self, number: u64, stats: &Stats) -> Result<()> {
        let start_ns = self.window.start_ns + number * SECOND_NS;
        progress(number, stats);
        let delivery = &stats.delivery;
        // Where there are readers, their latency is what matters.
        let main = if delivery.latency.is_empty() { &stats.latency } else { &delivery.latency };
        if main.is_empty() {
            return Ok(());
        }
        // A measured time that begins in mid-second still begins at 0.
        let from_ns = start_ns.saturating_sub(self.window.measure_ns);
        let (from, length) = (Duration::from_nanos(from_ns), Duration::from_secs(1));
        let log = &mut self.collected.log;
        let mut serializer = V2DeflateSerializer::new();
        let mut writer = IntervalLogWriterBuilder::new().begin_log_with(log, &mut serializer)?;
        let histograms = [
            (&stats.latency, None),
            (&stats.service, Tag::new("service")),
            (&delivery.latency, Tag::new("delivery")),
            (&delivery.from_ack, Tag::new("delivery-from-ack")),
        ];
        for (histogram, tag) in histograms.into_iter().filter(|(one, _)| !one.is_empty()) {
            writer
                .write_histogram(histogram, from, length, tag)
                .map_err(|error| anyhow!("interval log: {error}"))?;
        }
        self.collected.seconds.push(Second {
            at_s: (from_ns + SECOND_NS / 2) as f64 / 1e9,
            p50_ns: main.value_at_quantile(0.5),
            p99_ns: main.value_at_quantile(0.99),
            max_ns: main.max(),
        });
        Ok(())
    }
}

/// One line a second for whoever watches.
fn progress(number: u64, stats: &Stats) {
    let mut stderr = std::io::stderr();
    if !stderr.is_terminal() {
        return;
    }
    let (sent, acked, errors) = (stats.sent, stats.acked_ever, stats.error_count());
    let note = if errors > 0 { format!(", {errors} errors") } else { String::new() };
    let second = number + 1;
    // Nobody is harmed if the terminal is gone.
    let _ = write!(stderr, "\r\x1b[K{second:>5} s  {sent} sent, {acked} acknowledged{note}");
}
