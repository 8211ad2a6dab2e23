//! Recovery: how fast a log is scanned and checked. The log lies in memory, on the simulated
//! disk, so this is the processor's share; a device adds its own.
//!
//! `cargo bench --bench recovery`; under `cargo test` it runs tiny.

use std::rc::Rc;
use std::time::Instant;

use futures_util::future;
use thalweg::io::sim::{Faults, SimIo, SimRuntime};
use thalweg::log::entry::{Batch, BatchPlace, Entry, Kind};
use thalweg::log::format::FormatError;
use thalweg::log::group::Policy;
use thalweg::log::recovery::{find, recover, replay};
use thalweg::log::scan::Visitor;
use thalweg::log::segment::LogFacts;
use thalweg::log::writer::Writer;
use thalweg::types::append::{AppendBuilder, Span};
use thalweg::types::{LogPos, StorageClass, StreamId};

const FACTS: LogFacts = LogFacts { directory_id: 1, shard: 0, segment_bytes: 16 << 20 };
const BATCHES_PER_GROUP: u64 = 32;

/// Does what a server's visitor must at least do: look at every batch's place.
#[derive(Default)]
struct Sum {
    batches: u64,
    hash: u64,
}

impl Visitor for Sum {
    fn entry(&mut self, _: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        if entry.kind == Kind::Batch {
            let batch = Batch::of(entry)?;
            self.batches += 1;
            self.hash = self.hash.rotate_left(5) ^ batch.end_seq_num() ^ batch.first_timestamp;
        }
        Ok(())
    }
}

/// Writes a log of about `log_bytes`; returns what was written.
async fn write(io: &Rc<SimIo>, log_bytes: u64) -> u64 {
    let recovered =
        recover(&**io, FACTS, u64::MAX, &mut Sum::default()).await.expect("an empty directory");
    let segments = Rc::new(recovered.segments);
    let policy = Policy { standard_wait_us_max: 0, standard_bytes_enough: 0 };
    let writer = Writer::new(Rc::clone(io), FACTS, policy, Rc::clone(&segments), recovered.chain);
    let buf = vec![7; 1024];
    let mut builder = AppendBuilder::default();
    builder.push_record(&buf, None, Span { offset: 0, len: 1024 }).expect("one small record");
    let batch = builder.finish(buf, None, None).expect("one record");
    let body = Box::pin(async {
        let (mut written, mut number) = (0, 0);
        while written < log_bytes {
            for _ in 0..BATCHES_PER_GROUP {
                let stream = StreamId(number % 100);
                let place = BatchPlace { stream, first_seq_num: number / 100, arrival_ms: 1 };
                writer.append_batch(place, &batch, &[number], StorageClass::Express, ());
                number += 1;
            }
            written += writer.flush_next().await.expect("no fault is on").written_bytes;
        }
        written
    });
    match future::select(body, Box::pin(segments.keep(io))).await {
        future::Either::Left((written, _)) => written,
        future::Either::Right(_) => unreachable!("the background never ends without a fault"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the real clock")]
fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (rounds, log_bytes) = if is_bench { (11, 128 << 20) } else { (2, 1 << 20) };
    let io = SimIo::new(1);
    io.set_faults(Faults { latency_us_max: 0, ..io.faults() });
    let runtime = SimRuntime::new(&io);
    let written = runtime.block_on(write(&Rc::new(io.clone()), log_bytes));
    println!(
        "recovery: {rounds} scans of {written} bytes in groups of {BATCHES_PER_GROUP} x 1 KiB"
    );
    let mut hash = 0;
    let mut us: Vec<u64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            let mut sum = Sum::default();
            runtime.block_on(async {
                let found = find(&io, FACTS).await.expect("it was just written");
                replay(&io, FACTS, &found, &mut sum).await.expect("it is whole");
            });
            assert!(sum.batches > 0);
            hash = sum.hash;
            u64::try_from(start.elapsed().as_micros()).expect("a short time").max(1)
        })
        .collect();
    us.sort_unstable();
    let median = us[us.len() / 2];
    println!("median {median} us, {} MB/s, hash {hash:016x}", written / median);
}
