//! Encrypting batches into a frame's memory and opening their records, beside the same in the
//! clear.
//!
//! `cargo bench --bench encryption`; under `cargo test` it runs tiny.

use std::time::Instant;

use thalweg::crypto::{StreamIdentity, StreamKey};
use thalweg::log::entry::sealed::{put_sealed, sealed_bytes_max};
use thalweg::log::entry::{Batch, BatchPlace, entries, put_batch};
use thalweg::types::append::{AppendBuilder, Span};
use thalweg::types::{AppendInput, Cipher, StreamId, SuppliedKey};

/// Length of a body, and how many records a batch has.
const SHAPES: [(u32, u64); 5] = [(100, 1), (100, 1000), (1024, 1), (1024, 900), (65_536, 1)];
const PLACE: BatchPlace = BatchPlace { stream: StreamId(1), first_seq_num: 5, arrival_ms: 5 };
const TIMESTAMP: u64 = 1_700_000_000_000;

fn key_of(cipher: Cipher) -> StreamKey {
    let supplied = SuppliedKey::new(b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
    let identity = StreamIdentity { basin: "bench-basin", stream: "s", created_us: 1, id: 1 };
    StreamKey::new(cipher, Some(&supplied), identity).expect("32 bytes")
}

fn batch(body_bytes: u32, records: u64) -> AppendInput {
    let buf: Vec<u8> = (0..body_bytes).map(|n| n.to_le_bytes()[0]).collect();
    let mut builder = AppendBuilder::default();
    for _ in 0..records {
        let body = Span { offset: 0, len: body_bytes };
        builder.push_record(&buf, None, body).expect("within the limits");
    }
    builder.finish(buf, None, None).expect("some records")
}

/// Lays the batch out; its length. A new seed each time, as the server has.
fn lay_out(out: &mut [u8], batch: &AppendInput, key: Option<&StreamKey>, seed: u64) -> usize {
    let timestamps = &[TIMESTAMP; 1000][..batch.records.len()];
    let Some(key) = key else { return put_batch(out, PLACE, batch, timestamps) };
    let seed = std::array::from_fn(|byte| seed.to_le_bytes()[byte % 8]);
    put_sealed(out, PLACE, batch, timestamps, &key.sealer(seed))
}

/// Goes through the records as a reader does; a checksum of what is in them.
fn open(entry: &[u8], key: Option<&StreamKey>) -> u32 {
    let mut opener = key.map(StreamKey::opener);
    let entry = entries(entry).next().expect("an entry").expect("a whole one");
    let mut crc = 0;
    for record in Batch::of(&entry).expect("a batch").records() {
        let record = record.expect("it parses");
        let record = match (&mut opener, &record.sealed) {
            (Some(opener), Some(sealed)) => {
                let plain = opener.open(sealed).expect("its key");
                crc ^= u32::from(plain[plain.len() / 2]);
                continue;
            }
            _ => record,
        };
        crc ^= u32::from(record.body[record.body.len() / 2]);
    }
    crc
}

/// Nanoseconds that `work` takes, the median and the least of several rounds.
#[expect(clippy::disallowed_methods, reason = "a bench measures the real clock")]
fn time(rounds: usize, repeats: u64, mut work: impl FnMut(u64)) -> (f64, f64) {
    let mut took: Vec<f64> = (0..rounds)
        .map(|_| {
            let began = Instant::now();
            (0..repeats).for_each(&mut work);
            began.elapsed().as_secs_f64() * 1e9 / repeats as f64
        })
        .collect();
    took.sort_by(f64::total_cmp);
    (took[rounds / 2], took[0])
}

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let rounds = if is_bench { 21 } else { 3 };
    println!("a batch into a frame's memory, and its records out of it again");
    for (body_bytes, records) in SHAPES {
        let batch = batch(body_bytes, records);
        let repeats = if is_bench { 40_000_000 / (batch.metered_bytes + 4000) } else { 1 };
        for cipher in [None, Some(Cipher::Aegis256), Some(Cipher::Aes256Gcm)] {
            let key = cipher.map(key_of);
            let mut out = vec![0; sealed_bytes_max(&batch)];
            let mut len = 0;
            let put = time(rounds, repeats, |seed| {
                len = lay_out(&mut out, &batch, key.as_ref(), seed);
            });
            let mut crc = 0;
            let opened = time(rounds, repeats, |_| crc ^= open(&out[..len], key.as_ref()) + 1);
            let name = cipher.map_or("in the clear", Cipher::as_str);
            println!(
                "{records:4} x {body_bytes:5} B, {name:12}: in {:9.0} ns (least {:9.0}), \
                 out {:9.0} ns (least {:9.0}), {len} bytes, hash {:08x}",
                put.0,
                put.1,
                opened.0,
                opened.1,
                crc32c::crc32c(&out[..len]) ^ crc
            );
        }
    }
}
