//! A checkpoint as it is read: whole or refused, and what is handed on was all looked at first.

use thalweg::io::sim::SimRuntime;
use thalweg::log::checkpoint::{CheckpointError, CheckpointFacts, list, oldest_needed, read};
use thalweg::log::entry::Entry;
use thalweg::log::format::FormatError;
use thalweg::log::scan::Visitor;
use thalweg::types::LogPos;

use crate::image::{LOG, make, step};
use crate::log_entries::read_whole;

#[derive(Debug, Default)]
struct Met {
    facts: Option<CheckpointFacts>,
    entries: usize,
    refused: Option<FormatError>,
}

impl Visitor for Met {
    fn checkpoint(&mut self, facts: &CheckpointFacts) {
        self.facts = Some(*facts);
    }

    fn entry(&mut self, _: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        self.entries += 1;
        read_whole(entry).inspect_err(|reason| self.refused = Some(*reason))
    }
}

/// The input is an image of a directory, from the step behind that of a checkpoint.
pub fn run(data: &[u8]) {
    let io = make(&[&[step::CHECKPOINT], data].concat());
    SimRuntime::new(&io).block_on(async {
        for (name, len_bytes) in list(&io).expect("a simulated disk") {
            let mut met = Met::default();
            match read(&io, LOG, &name, len_bytes, &mut met).await {
                Ok(facts) => assert_eq!(met.facts, Some(facts)),
                Err(CheckpointError::Damaged { reason, offset_bytes, .. }) => {
                    assert!(offset_bytes <= len_bytes);
                    // Damage is found before anything is handed on, unless who was handed it
                    // found it.
                    assert!(met.facts.is_none() || met.refused == Some(reason));
                    assert!(met.facts.is_some() || met.entries == 0);
                }
                Err(CheckpointError::Io(error)) => panic!("a simulated disk: {error}"),
            }
        }
        let needed = oldest_needed(&io, LOG).await;
        needed.expect("a simulated disk");
    });
}
