use std::collections::BTreeSet;

use super::*;
use crate::io::sim::{SimIo, SimRuntime, Stream as Dice};
use crate::log::footers::{CACHE_BLOCKS, Footers};

const LOG: LogFacts = LogFacts { directory_id: 7, shard: 3, segment_bytes: 1 << 20 };
const EPOCH: u64 = 5;

/// Runs of some streams: every tenth number, timestamps that now and then stay the same.
fn runs(count: u64, per_stream: u64) -> Vec<FooterRun> {
    let run = |n: u64| FooterRun {
        stream: 3 + 2 * (n / per_stream),
        seq_num: 10 * (n % per_stream),
        timestamp: 100 * (n % per_stream / 3),
        arrival_ms: 50 * (n % per_stream / 2),
        offset_bytes: u32::try_from(4096 * (n % 1000)).expect("small"),
    };
    (0..count).map(run).collect()
}

async fn write(io: &SimIo, runs: &[FooterRun]) -> IoResult<()> {
    let mut writer = FooterWriter::create(io, LOG, EPOCH).await?;
    for run in runs {
        writer.push(*run);
        writer.write_full().await?;
    }
    writer.finish().await
}

fn footers(io: &SimIo) -> Footers<SimIo> {
    Footers::new(Rc::new(io.clone()), LOG)
}

/// What a search must find.
fn expected(runs: &[FooterRun], stream: u64, target: Target) -> Option<FooterRun> {
    let fits = |run: &&FooterRun| match target {
        Target::SeqNum(seq_num) => run.seq_num <= seq_num,
        Target::Timestamp(timestamp) => run.timestamp < timestamp,
        Target::Arrival(arrival_ms) => run.arrival_ms < arrival_ms,
    };
    runs.iter().filter(|run| run.stream == stream).take_while(fits).last().copied()
}

#[test]
fn every_run_is_found_by_number_and_time_in_a_tree_of_any_height() {
    // None, one leaf, a full one, one more; one level and two.
    for (count, per_stream) in [(0, 1), (1, 1), (113, 9), (114, 300), (2_000, 7), (30_000, 11)] {
        let io = SimIo::new(count);
        let runs = runs(count, per_stream);
        SimRuntime::new(&io).block_on(async {
            write(&io, &runs).await.expect("the disk is whole");
            let footers = footers(&io);
            let mut dice = Dice::new(count, "footer");
            for _ in 0..2_000 {
                let stream = dice.below(2 * count / per_stream + 8);
                let target = match dice.below(3) {
                    0 => Target::SeqNum(dice.below(10 * per_stream + 5)),
                    1 => Target::Timestamp(dice.below(40 * per_stream + 5)),
                    _ => Target::Arrival(dice.below(30 * per_stream + 5)),
                };
                let found = footers.find(EPOCH, stream, target).await;
                assert_eq!(found, expected(&runs, stream, target), "{count}: {stream} {target:?}");
            }
            assert!(footers.cached_blocks() <= CACHE_BLOCKS);
            assert_eq!(footers.counts().lost, 0);
        });
    }
}

#[test]
fn a_search_reads_a_block_for_each_level_and_none_again() {
    let io = SimIo::new(1);
    let runs = runs(30_000, 100);
    SimRuntime::new(&io).block_on(async {
        write(&io, &runs).await.expect("the disk is whole");
        let footers = footers(&io);
        for reads in [3, 3] {
            let found = footers.find(EPOCH, 3 + 2 * 150, Target::SeqNum(505)).await;
            assert_eq!(found, Some(runs[150 * 100 + 50]));
            assert_eq!(footers.counts().block_reads, reads);
        }
    });
}

#[test]
fn a_damaged_footer_answers_nothing_until_it_is_made_again() {
    let blocks = 30_000_u64.div_ceil(LEAF_RUNS as u64); // leaves; then three and one above them
    for damaged in [0, 1, blocks - 1, blocks, blocks + 1, blocks + 4] {
        let io = SimIo::new(damaged);
        let runs = runs(30_000, 30_000);
        SimRuntime::new(&io).block_on(async {
            write(&io, &runs).await.expect("the disk is whole");
            let mut bytes = io.contents(&file_name(EPOCH)).expect("written");
            bytes[usize::try_from(damaged).expect("small") * BLOCK_BYTES + 9] ^= 1;
            io.put_contents(&file_name(EPOCH), bytes);
            let footers = footers(&io);
            let mut silent = 0;
            for nth in (0..30_000).step_by(97) {
                let found = footers.find(EPOCH, 3, Target::SeqNum(10 * nth)).await;
                match found {
                    Some(run) => assert_eq!(run, runs[usize::try_from(nth).expect("small")]),
                    None => silent += 1,
                }
            }
            assert!(silent > 0 && footers.counts().lost == 1, "block {damaged}: {silent}");
            assert_eq!(footers.first_missing(&BTreeSet::new()), Some(EPOCH));
            write(&io, &runs).await.expect("the disk is whole");
            footers.replaced(EPOCH);
            assert_eq!(footers.first_missing(&BTreeSet::new()), None);
            assert!(footers.find(EPOCH, 3, Target::SeqNum(7)).await.is_some());
        });
    }
}

#[test]
fn a_footer_cut_short_or_of_another_segment_is_none() {
    let io = SimIo::new(2);
    SimRuntime::new(&io).block_on(async {
        write(&io, &runs(500, 5)).await.expect("the disk is whole");
        let bytes = io.contents(&file_name(EPOCH)).expect("written");
        io.put_contents(&file_name(EPOCH + 1), bytes.clone());
        io.put_contents(&file_name(EPOCH), bytes[..bytes.len() - BLOCK_BYTES].to_vec());
        let footers = footers(&io);
        for epoch in [EPOCH, EPOCH + 1, EPOCH + 2] {
            assert!(!footers.is_there(epoch).await, "{epoch}");
        }
    });
}

#[test]
fn a_crash_at_any_moment_leaves_a_whole_footer_or_none() {
    let (mut there, mut gone) = (0, 0);
    for seed in 0..200 {
        let io = SimIo::new(seed);
        let runs = runs(20_000, 40);
        let runtime = SimRuntime::new(&io);
        runtime.block_on(async {
            let cut_us = Dice::new(seed, "cut").below(2_000);
            let writing = std::pin::pin!(write(&io, &runs));
            let cut = std::pin::pin!(crate::io::Clock::sleep_us(&io, cut_us));
            futures_util::future::select(writing, cut).await;
        });
        let io = io.crash(seed);
        SimRuntime::new(&io).block_on(async {
            let footers = footers(&io);
            if footers.is_there(EPOCH).await {
                there += 1;
                for run in runs.iter().step_by(7) {
                    let found = footers.find(EPOCH, run.stream, Target::SeqNum(run.seq_num)).await;
                    assert_eq!(found.as_ref(), Some(run), "seed {seed}");
                }
            } else {
                gone += 1;
            }
            assert_eq!(footers.counts().lost, 0, "seed {seed}: never half of one");
            footers.remove_unfinished().expect("the disk is whole");
            let unfinished = io.list().expect("lists").iter().any(|(n, _)| is_temporary(n));
            assert!(!unfinished, "seed {seed}");
        });
    }
    assert!(there > 10 && gone > 10, "{there} there, {gone} gone");
}
