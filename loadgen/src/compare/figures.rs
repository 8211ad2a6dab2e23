//! What a comparison found, as it is kept in `compare.json`; and medians, spreads and ratios of it.

use serde::{Deserialize, Serialize};

/// Everything that the report is made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Comparison {
    pub(crate) about: About,
    /// In the order of the columns; the first is the one the others are compared with.
    pub(crate) servers: Vec<ServerFacts>,
    pub(crate) loads: Vec<LoadFacts>,
    pub(crate) disk: Vec<DiskRun>,
    pub(crate) runs: Vec<Run>,
    pub(crate) counts: Vec<Count>,
    /// What was not run or not counted, and why.
    pub(crate) missing: Vec<Missing>,
}

/// Where, when and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// What the caller says about it: commit, date.
    pub(crate) label: String,
    pub(crate) machine: String,
    pub(crate) command: String,
    pub(crate) rounds: u32,
    pub(crate) duration_s: f64,
    pub(crate) warmup_s: f64,
}

/// One server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerFacts {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) terms: String,
}

/// One load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoadFacts {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) kind: LoadKind,
    /// What stands in for a part of it, by server.
    pub(crate) stand_ins: Vec<(String, String)>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LoadKind {
    Append,
    CatchUp,
    Follow,
}

/// The bare disk in one round, for one size of write.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct DiskRun {
    pub(crate) round: u32,
    pub(crate) write_bytes: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// One load on one server in one round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) load: String,
    pub(crate) server: String,
    pub(crate) round: u32,
    /// Appends, or records read, a second.
    pub(crate) per_s: f64,
    pub(crate) mib_per_s: f64,
    /// Of appends, or from an append's intended send to its followers; absent for catch-up, and
    /// where the load generator was too slow for its own figures.
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// Bodies of records that were written before, to be read.
    pub(crate) filled_mib: Option<f64>,
    /// Answers that were errors, and connections lost.
    pub(crate) errors: u64,
    /// Share of the time that the load generator's busiest thread was on a core.
    pub(crate) generator_busy: Option<f64>,
}

/// What one load cost one server, counted in a run of its own. Absent: not to be had.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) load: String,
    pub(crate) server: String,
    pub(crate) appends: u64,
    pub(crate) record_bytes: u64,
    pub(crate) instructions: Option<u64>,
    pub(crate) cpu_us: Option<u64>,
    pub(crate) system_calls: Option<u64>,
    pub(crate) ring_requests: Option<u64>,
    /// Calls of fsync and fdatasync, and requests of io_uring for a sync; absent where a part of
    /// them could not be counted.
    pub(crate) syncs: Option<u64>,
    /// Syncs of its log, as the server says, without those of anything around the log.
    pub(crate) log_syncs: Option<u64>,
    /// Flushes that the device was asked for by anybody.
    pub(crate) device_flushes: Option<u64>,
    /// Bytes that the process wrote, to the disk or to be written back to it.
    pub(crate) written_bytes: Option<u64>,
    /// Bytes that the server says it wrote into its log, without what it does ahead of it.
    pub(crate) log_bytes: Option<u64>,
    /// Bytes that the device was given by anybody.
    pub(crate) device_bytes: Option<u64>,
}

/// What is not in the report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) what: String,
    pub(crate) why: String,
}

/// A median with the extremes around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of `values`; `None` when there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }
}

/// A figure of a run.
pub(crate) type Figure = fn(&Run) -> Option<f64>;

/// The figures that are compared, with whether more of it is better.
pub(crate) const FIGURES: [(&str, Figure, bool); 3] = [
    ("rate", |run| Some(run.per_s), true),
    ("p50", |run| run.p50_us, false),
    ("p99", |run| run.p99_us, false),
];

impl Comparison {
    /// The runs of a load on a server.
    pub(crate) fn runs_of(&self, load: &str, server: &str) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.load == load && run.server == server)
    }

    /// A figure's median and spread over the rounds.
    pub(crate) fn spread(&self, load: &str, server: &str, figure: Figure) -> Option<Spread> {
        Spread::of(self.runs_of(load, server).filter_map(figure))
    }

    /// Ours over theirs within each round: what the machine did meanwhile hit both.
    pub(crate) fn ratio(&self, load: &str, server: &str, figure: Figure) -> Option<Spread> {
        let ours = &self.servers.first()?.name;
        if ours == server {
            return None;
        }
        let ratios = self.runs_of(load, server).filter_map(|theirs| {
            let mine = self.runs_of(load, ours).find(|mine| mine.round == theirs.round)?;
            let (mine, theirs) = (figure(mine)?, figure(theirs)?);
            // Nothing done in a round is a ratio of 0, and the worst of all; it must not drop out.
            (theirs > 0.0).then(|| mine / theirs)
        });
        Spread::of(ratios)
    }

    /// Notes that something is not in the report.
    pub(crate) fn miss(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let missing = Missing { what: what.into(), why: why.into() };
        if !self.missing.contains(&missing) {
            self.missing.push(missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(server: &str, round: u32, per_s: f64, p99_us: Option<f64>) -> Run {
        let (load, server) = ("l".to_owned(), server.to_owned());
        Run { load, server, round, per_s, p99_us, ..Run::default() }
    }

    #[test]
    fn medians_lie_between_the_extremes() {
        for (values, median, min, max) in [
            (vec![3.0, 1.0, 2.0], 2.0, 1.0, 3.0),
            (vec![4.0, 1.0, 2.0, 3.0], 2.5, 1.0, 4.0),
            (vec![f64::NAN, 5.0], 5.0, 5.0, 5.0),
        ] {
            assert_eq!(Spread::of(values), Some(Spread { median, min, max }));
        }
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_only_of_what_both_have() {
        let facts = |name: &str| ServerFacts { name: name.to_owned(), ..ServerFacts::default() };
        let comparison = Comparison {
            servers: vec![facts("us"), facts("them")],
            runs: vec![
                run("us", 1, 10.0, Some(5.0)),
                run("them", 1, 5.0, Some(10.0)),
                run("us", 2, 30.0, None),
                run("them", 2, 10.0, Some(1.0)),
                run("us", 3, 0.0, None),
                run("them", 3, 10.0, None),
                run("us", 4, 1.0, None),
                run("us", 5, 1.0, None),
                run("them", 5, 0.0, None),
            ],
            ..Comparison::default()
        };
        let [(_, rate, _), _, (_, p99, _)] = FIGURES;
        let expected = Spread { median: 2.0, min: 0.0, max: 3.0 };
        assert_eq!(comparison.ratio("l", "them", rate), Some(expected));
        let expected = Spread { median: 0.5, min: 0.5, max: 0.5 };
        assert_eq!(comparison.ratio("l", "them", p99), Some(expected));
        assert_eq!(comparison.ratio("l", "us", rate), None);
        assert_eq!(comparison.ratio("other", "them", rate), None);
    }
}
