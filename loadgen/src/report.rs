//! The result: for people on standard output, for machines in `result.json`.

use std::fs;
use std::path::Path;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::cli::{AppendArgs, Rate};
use crate::collect::Collected;
use crate::environment::Environment;
use crate::judge::Verdict;
use crate::stats::CpuUse;
use crate::{deliveries, plot, trust};

/// The quantiles shown, with their names in text and in JSON.
const QUANTILES: [(f64, &str, &str); 6] = [
    (0.5, "p50", "p50"),
    (0.9, "p90", "p90"),
    (0.99, "p99", "p99"),
    (0.999, "p99.9", "p99_9"),
    (0.9999, "p99.99", "p99_99"),
    (1.0, "max", "max"),
];

/// Everything about one run.
pub(crate) struct Report<'a> {
    pub(crate) args: &'a AppendArgs,
    /// Readers that followed the streams; 0 when only appends were measured.
    pub(crate) readers: u32,
    pub(crate) run: u32,
    pub(crate) environment: Environment,
    pub(crate) collected: Collected,
    /// Why latency figures are withheld; empty when they are shown.
    pub(crate) objections: Vec<String>,
    pub(crate) verdict: Option<Verdict>,
}

impl Report<'_> {
    /// Prints the summary to standard output.
    pub(crate) fn print(&self) {
        let total = &self.collected.total;
        println!("{}", self.title());
        println!("machine     {}", self.environment.line());
        let [appends, records, mib] = self.throughput();
        println!("throughput  {appends:.1} appends/s, {records:.1} records/s, {mib:.2} MiB/s");
        println!(
            "appends     {} sent, {} acknowledged, {} indeterminate, {} never sent",
            total.sent, total.acked_ever, total.indeterminate, total.unsent
        );
        for (kind, count) in &total.errors {
            println!("error       {count} x {kind}");
        }
        if total.unsent > 0 {
            println!(
                "overload    some appends never found a free connection; their latency is a lower bound"
            );
        }
        if self.readers > 0 {
            let Collected { total, measured, .. } = &self.collected;
            deliveries::print(&total.delivery, *measured, self.objections.is_empty());
        }
        if let Some(receipts) = &total.receipts {
            receipts.print();
        }
        if let Some(cpu) = &self.collected.server_cpu {
            cpu.print(total.acked);
        }
        self.print_latency();
    }

    /// True when no reader found a fault.
    pub(crate) fn is_well_delivered(&self) -> bool {
        self.collected.total.delivery.faults.is_none()
    }

    fn print_latency(&self) {
        let total = &self.collected.total;
        if !self.objections.is_empty() {
            for objection in &self.objections {
                println!("REFUSED     no latency figures: {objection}");
            }
            return;
        }
        if self.args.rate == Rate::Max {
            println!(
                "latency     closed loop: from actual send; waiting that a schedule would have"
            );
            println!("            counted is hidden (coordinated omission)");
        } else {
            println!("latency     open loop: from intended send");
        }
        println!("            {}", quantiles_text(&total.latency));
        if self.args.rate != Rate::Max {
            println!("service     {} (from actual send)", quantiles_text(&total.service));
            println!("own delay   {} (late sends)", quantiles_text(&total.lateness));
            println!("            {} (late wake-ups)", quantiles_text(&total.probe));
            let doubtful = self.doubtful();
            if !doubtful.is_empty() {
                println!("note        {} may be the generator's own doing", doubtful.join(", "));
            }
        }
    }

    /// Writes `result.json`, and the latency files unless the figures are withheld.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("result.json"), format!("{}\n", self.json()))?;
        let (log, svg) = (directory.join("latency.hlog"), directory.join("latency.svg"));
        if self.objections.is_empty() && !self.collected.total.latency.is_empty() {
            fs::write(log, &self.collected.log)?;
            fs::write(svg, self.svg())?;
        } else {
            // What an earlier run left here must not pass for this run's figures.
            for path in [log, svg] {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error.into());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn svg(&self) -> String {
        let total = &self.collected.total;
        let mut series =
            vec![plot::Series { name: "from intended send", histogram: &total.latency }];
        let is_open = self.args.rate != Rate::Max;
        if self.readers > 0 {
            // No more than three lines: the two that matter, and the append they began with.
            let delivery = &total.delivery;
            series[0].name = if is_open { "send to answer" } else { "actual send to answer" };
            series.insert(0, plot::Series { name: "send to reader", histogram: &delivery.latency });
            series.push(plot::Series { name: "answer to reader", histogram: &delivery.from_ack });
        } else if is_open {
            series.push(plot::Series { name: "from actual send", histogram: &total.service });
        } else {
            series[0].name = "from actual send";
        }
        plot::render(&plot::Plot {
            title: &self.title(),
            subtitle: &self.environment.line(),
            series: &series,
            seconds: &self.collected.seconds,
        })
    }

    fn title(&self) -> String {
        let args = self.args;
        let pace = match args.rate {
            Rate::Max => "closed loop".to_owned(),
            Rate::PerSecond(rate) => format!("open loop, {rate} appends/s"),
        };
        let content = match &args.input {
            Some(path) => format!("up to {} lines of {}", args.records_per_batch, path.display()),
            None => format!("{} x {} bytes", args.records_per_batch, args.record_bytes),
        };
        let class = args.storage_class.name();
        let connections = counted(args.connections, "connection");
        let streams = counted(args.streams, "stream");
        let (protocol, http) = (args.protocol.name(), args.http.name());
        let depth = match args.depth {
            1 => String::new(),
            depth => format!(", depth {depth}"),
        };
        let (command, readers) = match self.readers {
            0 => ("append", String::new()),
            readers => ("tail", format!(", {}", counted(readers, "reader"))),
        };
        format!(
            "{command}: {pace}, {content}, {protocol} over {http}{depth}, {connections}, \
             {streams}{readers}, {class}"
        )
    }

    /// Appends, records and MiB per second of measured time.
    #[expect(clippy::cast_precision_loss, reason = "rates")]
    fn throughput(&self) -> [f64; 3] {
        let seconds = self.collected.measured.as_secs_f64().max(1e-9);
        let total = &self.collected.total;
        let mib = total.body_bytes as f64 / f64::from(1 << 20);
        [total.acked as f64 / seconds, total.records as f64 / seconds, mib / seconds]
    }

    fn doubtful(&self) -> Vec<&'static str> {
        let doubtful = trust::doubtful_quantiles(&self.collected.total);
        let named = QUANTILES.into_iter().filter(|(quantile, ..)| doubtful.contains(quantile));
        named.map(|(_, name, _)| name).collect()
    }

    fn json(&self) -> Value {
        let Self { args, collected, .. } = self;
        let total = &collected.total;
        let is_open = args.rate != Rate::Max;
        let is_shown = self.objections.is_empty();
        let shown = |histogram| if is_shown { quantiles_json(histogram) } else { Value::Null };
        let [appends, records, mib] = self.throughput();
        let failure = collected.failure.as_ref().map(|error| format!("{error:#}"));
        let mut value = json!({
            "loop": if is_open { "open" } else { "closed" },
            "settings": self.settings(),
            "environment": self.environment,
            "measured_s": collected.measured.as_secs_f64(),
            "throughput": {"appends_per_s": appends, "records_per_s": records, "mib_per_s": mib},
            "appends": {
                "sent": total.sent,
                "acknowledged": total.acked_ever,
                "acknowledged_measured": total.acked,
                "indeterminate": total.indeterminate,
                "never_sent": total.unsent,
            },
            "errors": total.errors,
            "latency_us": shown(&total.latency),
            "service_us": if is_open { shown(&total.service) } else { Value::Null },
            "own_lateness": {
                "sends_us": quantiles_json(&total.lateness),
                "wake_ups_us": quantiles_json(&total.probe),
                "busy_share": collected.busiest.map(CpuUse::busy_share),
                "waiting_for_cpu_share": collected.busiest.map(CpuUse::wait_share),
            },
            "latency_refused": self.objections,
            "latency_doubtful": if is_open && is_shown { self.doubtful() } else { Vec::new() },
            "verify": self.verdict.as_ref().map(verdict_json),
            "failure": failure,
        });
        if self.readers > 0 {
            value["delivery"] = deliveries::json(&total.delivery, collected.measured, is_shown);
        }
        if let Some(receipts) = &total.receipts {
            value["receipts"] = receipts.json();
        }
        if let Some(cpu) = &collected.server_cpu {
            value["server_cpu"] = cpu.json(total.acked);
        }
        value
    }

    fn settings(&self) -> Value {
        let args = self.args;
        json!({
            "url": args.target.url.to_string(),
            "basin": args.basin,
            "rate": match args.rate { Rate::Max => json!("max"), Rate::PerSecond(rate) => json!(rate) },
            "protocol": args.protocol.name(),
            "http": args.http.name(),
            "depth": args.depth,
            "readers": self.readers,
            "connections": args.connections,
            "streams": args.streams,
            "threads": args.threads,
            "record_bytes": args.record_bytes,
            "records_per_batch": args.records_per_batch,
            "duration_s": args.measured().as_secs_f64(),
            "warmup_s": args.warmup.as_secs_f64(),
            "storage_class": args.storage_class.name(),
            "format": args.format.name(),
            "seed": args.seed,
            "run": self.run,
            "input": args.input,
            "request_timeout_s": args.target.request_timeout.as_secs_f64(),
            "connect_retry_s": args.target.connect_retry.as_secs_f64(),
            "verify": args.verify,
            "journal": args.journal,
            "receipts": args.receipts,
        })
    }
}

fn counted(count: u32, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn verdict_json(verdict: &Verdict) -> Value {
    json!({
        "acknowledged": verdict.acked,
        "indeterminate": verdict.indeterminate,
        "present": verdict.present,
        "records": verdict.records,
        "lost": verdict.lost,
        "duplicated": verdict.duplicated,
        "torn": verdict.torn,
        "wrong": verdict.wrong,
    })
}

pub(crate) fn quantiles_json(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let mut members = Map::new();
    members.insert("count".to_owned(), histogram.len().into());
    for (quantile, _, key) in QUANTILES {
        members.insert(key.to_owned(), us(histogram, quantile).into());
    }
    Value::Object(members)
}

pub(crate) fn quantiles_text(histogram: &Histogram<u64>) -> String {
    if histogram.is_empty() {
        return "nothing measured".to_owned();
    }
    let parts = QUANTILES.map(|(quantile, name, _)| {
        let ms = us(histogram, quantile) / 1e3;
        format!("{name} {ms:.3} ms")
    });
    parts.join(", ")
}

/// A quantile in microseconds, to a tenth.
#[expect(clippy::cast_precision_loss, reason = "three significant digits")]
fn us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    (histogram.value_at_quantile(quantile) as f64 / 100.0).round() / 10.0
}
