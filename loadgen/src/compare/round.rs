//! One round after the other: starts a server, loads it, reads the result, ends it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::CompareArgs;
use super::counts::Watch;
use super::figures::{Comparison, Count, DiskRun, Run};
use super::peer::Peer;
use super::server::{self, Server};
use super::workload::{Call, Kind, Workload};

/// Longest that a call of the load generator may take beyond its own times.
const CALL_LIMIT: Duration = Duration::from_secs(120);
/// How long streams are written before they are read: about 80 MiB in all.
const FILL_DURATION: Duration = Duration::from_secs(4);
/// Rest of the machine between two runs.
const PAUSE: Duration = Duration::from_millis(500);
/// Statuses of the load generator that leave a result: all well, and too slow for its own figures.
const ACCEPTED: [i32; 2] = [0, 3];

/// A comparison that is under way.
pub(crate) struct Bench {
    args: CompareArgs,
    programs: Vec<(Peer, PathBuf)>,
    loadgen: PathBuf,
    /// Data of servers; goes away with this.
    work: tempfile::TempDir,
    pub(crate) comparison: Comparison,
}

impl Bench {
    /// Nothing has run yet.
    pub(crate) fn new(
        args: &CompareArgs,
        programs: Vec<(Peer, PathBuf)>,
        comparison: Comparison,
    ) -> Result<Self> {
        let work = tempfile::Builder::new().prefix("compare-").tempdir_in(&args.dir)?;
        let loadgen = std::env::current_exe()?;
        Ok(Self { args: args.clone(), programs, loadgen, work, comparison })
    }

    /// Every load once on every server, and the bare disk.
    pub(crate) fn round(&mut self, round: u32, loads: &[Workload]) -> Result<()> {
        self.disk(round).context("measuring the disk")?;
        self.settle()?;
        for (place, load) in loads.iter().enumerate() {
            for (peer, program) in order(&self.programs, round, place) {
                let Some(call) = load.call(peer) else { continue };
                let name = format!("{}-{}-r{round}", load.name, peer.name());
                let measured = self.measure(peer, &program, load, &call, &name);
                self.settle()?;
                match measured {
                    Ok(run) => {
                        let run = Run { round, ..run };
                        println!("{}", line(&run));
                        self.comparison.runs.push(run);
                    }
                    Err(error) => self.failed(&name, &error),
                }
            }
        }
        Ok(())
    }

    /// Every load of appends once more on every server, counted.
    pub(crate) fn count(&mut self, loads: &[Workload]) -> Result<()> {
        for load in loads.iter().filter(|load| matches!(load.kind, Kind::Append(_))) {
            for (peer, program) in self.programs.clone() {
                let Some(call) = load.call(peer) else { continue };
                let name = format!("{}-{}-counts", load.name, peer.name());
                let counted = self.count_one(peer, &program, load, &call, &name);
                self.settle()?;
                match counted {
                    Ok(count) => self.comparison.counts.push(count),
                    Err(error) => self.failed(&name, &error),
                }
            }
        }
        let counts = &self.comparison.counts;
        let lacks = |value: fn(&Count) -> Option<u64>| {
            !counts.is_empty() && counts.iter().all(|count| value(count).is_none())
        };
        let lacking = [
            (
                lacks(|count| count.instructions),
                "instructions",
                "the processor's counters cannot be read here (`perf stat -e instructions`)",
            ),
            (
                lacks(|count| count.system_calls),
                "system calls, io_uring requests, syncs",
                "`perf stat` with trace points does not work here",
            ),
            (
                lacks(|count| count.device_flushes),
                "device flushes",
                "the kernel does not count them for this device",
            ),
        ];
        for (is_lacking, what, why) in lacking {
            if is_lacking {
                self.comparison.miss(what, why);
            }
        }
        Ok(())
    }

    fn failed(&mut self, name: &str, error: &anyhow::Error) {
        eprintln!("compare: FAILED {name}: {error:#}");
        self.comparison.miss(name, format!("FAILED: {error:#}"));
    }

    fn disk(&mut self, round: u32) -> Result<()> {
        let out = self.args.out.join(format!("disk-r{round}"));
        let seconds = (self.args.duration.as_secs_f64() * 1.5).max(1.0);
        let mut command = Command::new(&self.loadgen);
        command.arg("disk").arg("--dir").arg(self.work.path());
        command.arg("--duration").arg(format!("{seconds}s")).arg("--out").arg(&out);
        std::fs::create_dir_all(&out)?;
        server::run(&mut command, CALL_LIMIT, &out.join("summary.txt"), &[0])?;
        let result = json(&out.join("disk.json"))?;
        for size in result["disk"].as_array().context("no figures")? {
            let number = |name: &str| size[name].as_f64().context("no figure");
            let run = DiskRun {
                round,
                write_bytes: size["write_bytes"].as_u64().context("no size")?,
                p50_us: number("p50_us")?,
                p99_us: number("p99_us")?,
            };
            println!("round {round}  disk  {} B  p50 {} us", run.write_bytes, run.p50_us);
            self.comparison.disk.push(run);
        }
        Ok(())
    }

    /// One run; its round is for the caller to fill in.
    fn measure(
        &self,
        peer: Peer,
        program: &Path,
        load: &Workload,
        call: &Call,
        name: &str,
    ) -> Result<Run> {
        let (server, out) = self.start(peer, program, load, name)?;
        let filled_mib = match load.fill(peer) {
            Some(_) => Some(filled_mib(&json(&out.join("result.json"))?).context("no fill")?),
            None => None,
        };
        self.call(&server, call, self.args.warmup, self.args.duration, &out)?;
        server.stop()?;
        let file =
            if matches!(load.kind, Kind::CatchUp { .. }) { "scan.json" } else { "result.json" };
        let result = json(&out.join(file))?;
        let run = run_of(load, peer, &result).context("a result without figures")?;
        Ok(Run { filled_mib, ..run })
    }

    fn count_one(
        &self,
        peer: Peer,
        program: &Path,
        load: &Workload,
        call: &Call,
        name: &str,
    ) -> Result<Count> {
        let (server, out) = self.start(peer, program, load, name)?;
        let data = self.data();
        // Makes the streams, which is not to be counted.
        self.call(&server, call, Duration::ZERO, Duration::from_millis(200), &out)?;
        let watch = Watch::begin(peer, &server, &data, &out.join("perf.csv"));
        self.call(&server, call, Duration::ZERO, self.args.duration, &out)?;
        let result = json(&out.join("result.json"))?;
        let (appends, record_bytes) = written(&result).context("no appends")?;
        let mut count = Count {
            load: load.name.to_owned(),
            server: peer.name().to_owned(),
            appends,
            record_bytes,
            ..Count::default()
        };
        watch.end(&mut count)?;
        server.stop()?;
        Ok(count)
    }

    /// Deletes what a run left and has the disk do all that is still to be done for it: the next
    /// run must not pay for the one before. The run's server has ended.
    fn settle(&self) -> Result<()> {
        let data = self.data();
        if data.exists() {
            std::fs::remove_dir_all(&data).context("deleting the data of a run")?;
        }
        let directory = File::open(self.work.path())?;
        rustix::fs::syncfs(directory).context("syncing after a run")?;
        std::thread::sleep(PAUSE);
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.work.path().join("data")
    }

    /// A server for a run, filled if the load wants it so, and the directory for its results.
    fn start(
        &self,
        peer: Peer,
        program: &Path,
        load: &Workload,
        name: &str,
    ) -> Result<(Server, PathBuf)> {
        let out = self.args.out.join(name);
        if out.exists() {
            // What an earlier comparison left must not pass for this one's.
            std::fs::remove_dir_all(&out)?;
        }
        std::fs::create_dir_all(&out)?;
        let server = Server::start(peer, program, &self.data(), &out.join("server.log"))?;
        if let Some(fill) = load.fill(peer) {
            self.call(&server, &fill, Duration::ZERO, FILL_DURATION, &out).context("filling it")?;
        }
        Ok((server, out))
    }

    /// Calls the load generator on `server`; results go to `out`.
    fn call(
        &self,
        server: &Server,
        call: &Call,
        warmup: Duration,
        duration: Duration,
        out: &Path,
    ) -> Result<()> {
        let mut command = Command::new(&self.loadgen);
        command.args(call).arg("--url").arg(format!("http://{}", server.address));
        command.args(["--connect-retry", "10s", "--request-timeout", "20s"]);
        command.arg("--duration").arg(format!("{}s", duration.as_secs_f64()));
        if call.first().is_some_and(|name| name != "scan") {
            command.arg("--warmup").arg(format!("{}s", warmup.as_secs_f64()));
        }
        command.arg("--out").arg(out);
        let limit = CALL_LIMIT + warmup + duration;
        server::run(&mut command, limit, &out.join("summary.txt"), &ACCEPTED)
    }
}

/// Who is run after whom. The first one moves on by one with each load and each round, and every
/// second round goes backwards: nobody always follows the same one.
fn order<T: Clone>(all: &[T], round: u32, place: usize) -> Vec<T> {
    let mut order = all.to_vec();
    order.rotate_left((round as usize - 1 + place) % all.len());
    if round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Appends that were acknowledged, and the bytes of their records' bodies.
fn written(result: &Value) -> Option<(u64, u64)> {
    let appends = result["appends"]["acknowledged"].as_u64()?;
    let settings = &result["settings"];
    let records = settings["records_per_batch"].as_u64()?;
    Some((appends, appends * records * settings["record_bytes"].as_u64()?))
}

/// What streams were filled with.
fn filled_mib(result: &Value) -> Option<f64> {
    Some(written(result)?.1 as f64 / f64::from(1 << 20))
}

/// The figures of a result of the load generator.
fn run_of(load: &Workload, peer: Peer, result: &Value) -> Option<Run> {
    let mut run =
        Run { load: load.name.to_owned(), server: peer.name().to_owned(), ..Run::default() };
    let (rate, throughput, latency) = match load.kind {
        Kind::Append(_) => ("appends_per_s", &result["throughput"], &result["latency_us"]),
        Kind::CatchUp { .. } => ("records_per_s", result, &Value::Null),
        Kind::Follow { .. } => {
            ("records_per_s", &result["delivery"], &result["delivery"]["from_send_us"])
        }
    };
    run.per_s = throughput[rate].as_f64()?;
    run.mib_per_s = throughput["mib_per_s"].as_f64()?;
    run.p50_us = latency["p50"].as_f64();
    run.p99_us = latency["p99"].as_f64();
    let own =
        if matches!(load.kind, Kind::CatchUp { .. }) { result } else { &result["own_lateness"] };
    run.generator_busy = own["busy_share"].as_f64();
    let errors = result["errors"].as_object().into_iter().flat_map(|errors| errors.values());
    run.errors = errors.filter_map(Value::as_u64).sum();
    Some(run)
}

fn line(run: &Run) -> String {
    let us = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |us| format!("{us:.0}"));
    format!(
        "round {}  {:<22} {:<16} {:>10.1} /s {:>9.2} MiB/s  p50 {} us  p99 {} us{}",
        run.round,
        run.load,
        run.server,
        run.per_s,
        run.mib_per_s,
        us(run.p50_us),
        us(run.p99_us),
        if run.errors > 0 { format!("  {} errors", run.errors) } else { String::new() }
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::super::workload::WORKLOADS;
    use super::*;

    #[test]
    fn in_a_load_nobody_always_follows_the_same_one_and_everybody_comes_first() {
        let all = [0, 1, 2, 3];
        for place in 0..5 {
            let rounds: Vec<_> = (1..=4).map(|round| order(&all, round, place)).collect();
            for server in all {
                let mut sorted = order(&all, 1, place);
                sorted.sort_unstable();
                assert_eq!(sorted, all);
                let before: BTreeSet<_> = rounds
                    .iter()
                    .filter_map(|order| {
                        let at = order.iter().position(|other| *other == server)?;
                        Some(order[at.checked_sub(1)?])
                    })
                    .collect();
                assert!(before.len() > 1, "{server} follows {before:?} in {rounds:?}");
            }
        }
        let firsts: BTreeSet<_> = (0..4).map(|place| order(&all, 1, place)[0]).collect();
        assert_eq!(firsts.len(), all.len());
        assert_eq!(order(&["alone"], 2, 3), ["alone"]);
    }

    #[test]
    fn figures_are_taken_from_where_each_kind_of_load_writes_them() {
        let named = |name: &str| *WORKLOADS.iter().find(|load| load.name == name).unwrap();
        let append = json!({
            "throughput": {"appends_per_s": 5.0, "mib_per_s": 2.0},
            "latency_us": {"p50": 7.0, "p99": 9.0},
            "errors": {"timeout": 2, "429 rate_limited": 1},
        });
        let run = run_of(&named("unary-1k-c1"), Peer::Redis, &append).unwrap();
        assert_eq!(
            (run.per_s, run.mib_per_s, run.p50_us, run.p99_us),
            (5.0, 2.0, Some(7.0), Some(9.0))
        );
        assert_eq!((run.errors, run.server.as_str()), (3, "redis"));
        let scan = json!({"records_per_s": 4.0, "mib_per_s": 3.0, "busy_share": 0.5});
        let run = run_of(&named("catch-up-r1"), Peer::Thalweg, &scan).unwrap();
        assert_eq!((run.per_s, run.p50_us, run.generator_busy), (4.0, None, Some(0.5)));
        let tail =
            json!({"delivery": {"records_per_s": 1.0, "mib_per_s": 1.0, "from_send_us": null}});
        let run = run_of(&named("follow-1"), Peer::Thalweg, &tail).unwrap();
        assert_eq!((run.per_s, run.p99_us), (1.0, None), "withheld");
        assert_eq!(run_of(&named("follow-1"), Peer::Thalweg, &json!({})), None);
        let fill = json!({"appends": {"acknowledged": 512},
                          "settings": {"record_bytes": 1_024, "records_per_batch": 100}});
        assert_eq!((written(&fill), filled_mib(&fill)), (Some((512, 52_428_800)), Some(50.0)));
        assert_eq!(filled_mib(&json!({})), None);
    }
}
