//! Every kept input still does what it should: those that once did not (`regressions/`), and those
//! that reach as far as fuzzing came (`corpus/`).

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use thalweg_fuzz::{TARGETS, seeds};

/// Runs every file below `kind` through its target; returns how many there were of each.
fn replay(kind: &str) -> Vec<(&'static str, usize)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind);
    let mut failed = Vec::new();
    let mut counts = Vec::new();
    for (name, run) in TARGETS {
        let files = fs::read_dir(root.join(name)).into_iter().flatten();
        let mut paths: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
        paths.sort();
        for path in &paths {
            let input = fs::read(path).expect("readable");
            if panic::catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
                failed.push(format!("scripts/fuzz.sh --target {name} --repeat {}", path.display()));
            }
        }
        counts.push((name, paths.len()));
    }
    assert!(failed.is_empty(), "to repeat:\n{}", failed.join("\n"));
    counts
}

#[test]
fn what_once_went_wrong_goes_well() {
    replay("regressions");
}

#[test]
fn what_fuzzing_has_reached_goes_well() {
    for (name, count) in replay("corpus") {
        assert!(count > 0, "{name} has no corpus");
    }
}

#[test]
fn seeds_go_well() {
    for (name, run) in TARGETS {
        let seeds = seeds::of(name);
        assert!(!seeds.is_empty(), "{name} has nothing to start from");
        seeds.iter().for_each(|seed| run(seed));
    }
}
