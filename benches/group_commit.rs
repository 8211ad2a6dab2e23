//! Building groups: how fast batches become frames ready for the disk, checksums included.
//!
//! `cargo bench --bench group_commit`; under `cargo test` it runs tiny.

use std::time::Instant;

use glommio::io::DmaBuffer;
use glommio::{LocalExecutorBuilder, Placement};
use thalweg::log::entry::{self, BatchPlace};
use thalweg::log::format::{FRAME_HEADER_BYTES, FrameHeader, Salt};
use thalweg::log::group::Gather;
use thalweg::types::append::{AppendBuilder, Span};
use thalweg::types::{AppendInput, StorageClass, StreamId};

const BODY_BYTES: u32 = 1024;

fn batch() -> AppendInput {
    let buf: Vec<u8> = (0..BODY_BYTES).map(|n| n.to_le_bytes()[0]).collect();
    let mut builder = AppendBuilder::default();
    let body = Span { offset: 0, len: BODY_BYTES };
    builder.push_record(&buf, None, body).expect("one small record");
    builder.finish(buf, None, None).expect("one record")
}

/// Gathers `batches` and seals their frames; returns a checksum of all of them.
fn group(gather: &mut Gather<DmaBuffer, u64>, batch: &AppendInput, batches: u64) -> u32 {
    let bytes_max = entry::batch_bytes_max(batch);
    for number in 0..batches {
        let place = BatchPlace { stream: StreamId(1), first_seq_num: number, arrival_ms: 5 };
        let put = |out: &mut [u8]| entry::put_batch(out, place, batch, &[7]);
        let alloc = glommio::allocate_dma_buffer;
        gather.push(alloc, bytes_max, put, number, StorageClass::Express, 0);
    }
    let mut prev_crc = 0;
    while gather.bytes() > 0 {
        for mut frame in gather.take(usize::MAX) {
            let header = FrameHeader {
                shard: 0,
                epoch: 1,
                frame_seq: 1,
                durable_seq: 0,
                written_us: 0,
                prev_crc,
                payload_bytes: u32::try_from(frame.end - FRAME_HEADER_BYTES).expect("one frame"),
                payload_crc: frame.payload_crc,
                entry_count: u32::try_from(frame.notes.len()).expect("one frame"),
            };
            let end = frame.frame_bytes();
            frame.buf.as_bytes_mut()[frame.end..end].fill(0);
            prev_crc = header.encode(frame.buf.as_bytes_mut(), Salt::of(1));
        }
    }
    prev_crc
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the real clock")]
fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (rounds, groups) = if is_bench { (21, 200) } else { (3, 2) };
    let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(4 << 20).make();
    executor.expect("io_uring is there").run(async move {
        let batch = batch();
        println!("group_commit: {rounds} rounds of {groups} groups, batches of {BODY_BYTES} bytes");
        for batches in [1, 16, 256] {
            let mut gather = Gather::default();
            let mut hash = 0;
            let mut ns: Vec<u128> = (0..rounds)
                .map(|_| {
                    let start = Instant::now();
                    for _ in 0..groups {
                        hash = group(&mut gather, &batch, batches);
                    }
                    start.elapsed().as_nanos() / (u128::from(batches) * groups)
                })
                .collect();
            ns.sort_unstable();
            let median = ns[ns.len() / 2].max(1);
            let per_second = 1_000_000_000 / median;
            println!(
                "{batches:>4} batches a group: median {median} ns/batch (best {}, worst {}), \
                 {per_second} batches/s, hash {hash:08x}",
                ns[0],
                ns[ns.len() - 1]
            );
        }
    });
}
