//! The exposition: every series in Prometheus' text format 0.0.4 (`series` says which).

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, TextEncoder};

use super::executor::ExecutorSnapshot;
use super::family::Families;
use super::series;
use super::snapshot::Snapshot;
use crate::types::exposure::Exposed;

/// Renders snapshots; one per process is enough.
#[derive(Debug)]
pub struct Exporter {
    process: ProcessCollector,
    version: String,
    exposed: Exposed,
}

impl Exporter {
    /// An exporter that reports this process and `version`, the server's own.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        let exposed = Exposed::default();
        Self { process: ProcessCollector::for_self(), version: version.into(), exposed }
    }

    /// The same, which also says what the server's addresses lack.
    #[must_use]
    pub fn with_exposed(self, exposed: Exposed) -> Self {
        Self { exposed, ..self }
    }

    /// The exposition of all shards, all executors and the process.
    ///
    /// * Shape: `shards` and `executors` carry each number once.
    /// * Cost: reads `/proc/self`, where counting the descriptors takes time in proportion to
    ///   them. Exporter and snapshots are `Send`: a busy server renders off its executors.
    #[must_use]
    pub fn render(
        &self,
        shards: &[(u16, Snapshot)],
        executors: &[(u16, ExecutorSnapshot)],
    ) -> Vec<u8> {
        let mut total = Snapshot::default();
        shards.iter().for_each(|(_, snapshot)| total.merge(snapshot));
        let mut everywhere = ExecutorSnapshot::default();
        executors.iter().for_each(|(_, snapshot)| everywhere.merge(snapshot));

        let mut families = Families::default();
        series::put_peer(&mut families, &total);
        series::put_appends(&mut families, &total);
        series::put_groups(&mut families, &total, shards);
        series::put_storage(&mut families, &total, shards);
        series::put_log(&mut families, shards);
        series::put_index(&mut families, shards);
        series::put_scrub(&mut families, shards);
        series::put_bucket(&mut families, shards);
        series::put_connections(&mut families, &everywhere, executors);
        let mut refusals = total.refusals;
        refusals.merge(&everywhere.refusals);
        series::put_refusals(&mut families, &refusals);
        let build = (vec![("version", self.version.clone())], 1.0);
        series::put_exposed(&mut families, &self.exposed);
        families.gauge("thalweg_build_info", "Which server this is; always 1.", [build]);
        families.extend(self.process.collect());

        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&families.into_vec(), &mut text)
            .expect("every family has a name and a sample, and a Vec takes every byte");
        text
    }
}
