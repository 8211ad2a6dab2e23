//! Receipts against the simulated disk and clock.

use futures_util::future::join_all;

use super::*;
use crate::io::sim::SimIo;
use crate::io::{Clock, LogFile};
use crate::log::entry::{Batch, entries};
use crate::log::format::{FrameHeader, payload_of};
use crate::metrics::Phase;
use crate::shard::call::{Answer, Asked, Call};
use crate::shard::testkit::{Shard, create, create_basin, live_with, path, provision};
use crate::types::append::{AppendBuilder, Span};
use crate::types::{Ack, AppendInput};

fn batch(body_bytes: usize) -> AppendInput {
    let mut builder = AppendBuilder::default();
    let buf = vec![b'x'; body_bytes];
    let len = u32::try_from(body_bytes).expect("small");
    builder.push_record(&buf, None, Span { offset: 0, len }).expect("fits");
    builder.finish(buf, None, None).expect("a batch")
}

async fn append(shard: &Shard, body_bytes: usize, receipt: bool) -> (Ack, Option<Receipt>) {
    let (path, input) = (path("s"), batch(body_bytes));
    let asked = Asked::default();
    match shard.handle(Call::Append { path, key: None, input, asked, receipt }).await {
        Ok(Answer::Ack(ack, _, receipt)) => (ack, receipt),
        other => panic!("{other:?}"),
    }
}

/// The first sequence numbers of the batches in the frame that lies at the receipt's place, and
/// how long the frame is.
fn found_at(shard: &Shard, receipt: &Receipt) -> (Vec<u64>, u64) {
    let segment = shard.segments.get(receipt.pos.segment).expect("a segment of the log");
    let bytes = shard.io.contents(segment.file.name()).expect("a file");
    let frame = &bytes[receipt.pos.offset_bytes as usize..];
    let (header, _) = FrameHeader::decode(frame, shard.config.log.salt()).expect("a frame");
    let payload = payload_of(&header, frame).expect("whole");
    let seq_num = |entry| Batch::of(&entry).expect("only batches are there").place.first_seq_num;
    let found = entries(payload).map(|entry| seq_num(entry.expect("whole"))).collect();
    (found, header.frame_bytes() as u64)
}

fn live<T>(seed: u64, life: impl AsyncFnOnce(Shard) -> T) -> T {
    live_with(
        &SimIo::new(seed),
        |_, _| {},
        async |shard| {
            create_basin(&shard).await;
            provision(&shard, create("s")).await;
            life(shard).await
        },
    )
}

#[test]
fn a_receipt_leads_to_the_batch_and_its_times_to_the_wait() {
    for seed in 1..=20 {
        live(seed, async |shard| {
            for round in 0..20_usize {
                let began_us = shard.io.now_us();
                let (ack, receipt) = append(&shard, 1 + 500 * round, true).await;
                let waited_us = shard.io.now_us() - began_us;
                let receipt = receipt.expect("it was asked for");
                let (found, frame_bytes) = found_at(&shard, &receipt);
                assert_eq!(found, [ack.start.seq_num], "seed {seed}: {receipt:?}");
                let group = (receipt.group_batches, receipt.group_bytes);
                assert_eq!(group, (1, frame_bytes), "seed {seed}: {receipt:?}");
                let said_us = receipt.queued_us + receipt.write_us + receipt.sync_us;
                // On this clock, waking up takes no time.
                assert_eq!(said_us, waited_us, "seed {seed}: {receipt:?}");
            }
        });
    }
}

/// What the latencies of all count is what the receipts of each say.
#[test]
fn latencies_are_made_of_what_receipts_say() {
    for seed in 1..=10 {
        live(seed, async |shard| {
            let mut most_us = [0; 4];
            for round in 0..20_usize {
                let began_us = shard.io.now_us();
                let receipt = append(&shard, 1 + 500 * round, true).await.1.expect("asked for");
                let whole_us = shard.io.now_us() - began_us;
                let parts = [receipt.queued_us, receipt.write_us, receipt.sync_us, whole_us];
                for (most_us, part_us) in most_us.iter_mut().zip(parts) {
                    *most_us = part_us.max(*most_us);
                }
            }
            let class = crate::types::StorageClass::Express;
            let latency = match shard.handle(Call::Latency).await {
                Ok(Answer::Latency(latency)) => latency,
                other => panic!("{other:?}"),
            };
            for (phase, most_us) in
                [Phase::Queue, Phase::Write, Phase::Sync, Phase::Whole].into_iter().zip(most_us)
            {
                let counted = latency.of(class, phase);
                assert_eq!(counted.len(), 20, "seed {seed}: {phase:?}");
                let apart_us = counted.max().abs_diff(most_us);
                assert!(apart_us <= most_us / 100, "seed {seed}: {phase:?} {most_us}");
            }
            // On this clock, waking up takes no time.
            assert_eq!(latency.of(class, Phase::Respond).max(), 0, "seed {seed}");
        });
    }
}

#[test]
fn those_who_share_a_group_say_so() {
    for seed in 1..=20 {
        live(seed, async |shard| {
            let appends = (0..30).map(|number| append(&shard, 100, number % 3 != 0));
            let mut groups = std::collections::BTreeMap::<_, Vec<u64>>::new();
            for (number, (ack, receipt)) in join_all(appends).await.into_iter().enumerate() {
                let Some(receipt) = receipt else {
                    assert_eq!(number % 3, 0, "seed {seed}: it was asked for");
                    continue;
                };
                assert_ne!(number % 3, 0, "seed {seed}: it was not asked for");
                let (found, frame_bytes) = found_at(&shard, &receipt);
                assert!(found.contains(&ack.start.seq_num), "seed {seed}: {receipt:?}");
                // So little is written as one frame.
                assert_eq!(receipt.group_batches, found.len() as u64, "seed {seed}");
                assert_eq!(receipt.group_bytes, frame_bytes, "seed {seed}");
                groups.entry(receipt.pos).or_default().push(ack.start.seq_num);
            }
            assert!(groups.values().any(|batches| batches.len() > 1), "seed {seed}: {groups:?}");
        });
    }
}
