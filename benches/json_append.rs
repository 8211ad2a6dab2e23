//! Decoding of append bodies: ours against serde_json into an owned struct, in pairs.
//!
//! `cargo bench --bench json_append` measures; in a debug build, or with `--test`, every case
//! runs a few times only, as a test that the bench still works. A pair decodes the same body once
//! each way, in turns, so that both meet the same noise. Each body is copied into a fresh buffer
//! outside the measured time, as a connection would hand one over; dropping the result is outside
//! too. In base64 cases the comparison decodes base64 too.

use std::hint::black_box;
use std::time::Instant;

use serde::Deserialize;
use thalweg::codec::Format;
use thalweg::codec::json::AppendDecoder;
use thalweg::types::AppendInput;
use thalweg::wire::BodyBuf;

/// What a server built on serde would decode into.
#[derive(Deserialize)]
struct OwnedInput {
    records: Vec<OwnedRecord>,
    match_seq_num: Option<u64>,
}

#[derive(Deserialize)]
struct OwnedRecord {
    timestamp: Option<u64>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
}

/// A record as bytes, owned.
struct OwnedBytes {
    timestamp: Option<u64>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

struct Case {
    name: &'static str,
    records: usize,
    body_bytes: usize,
}

const CASES: [Case; 3] = [
    Case { name: "1 x 1 KiB", records: 1, body_bytes: 1024 },
    Case { name: "1000 x 100 B", records: 1000, body_bytes: 100 },
    Case { name: "10 x 64 KiB", records: 10, body_bytes: 64 * 1024 },
];

fn main() {
    let is_tiny = cfg!(debug_assertions) || std::env::args().any(|arg| arg == "--test");
    println!("json_append: text bodies (1 in 64 bytes a line feed, escaped), one header each");
    println!("mode: {}", if is_tiny { "tiny, figures mean nothing" } else { "measured" });
    for format in [Format::Raw, Format::Base64] {
        for case in &CASES {
            run(case, format, is_tiny);
        }
    }
}

fn run(case: &Case, format: Format, is_tiny: bool) {
    let json = body(case, format);
    let pairs = if is_tiny { 3 } else { (400_000_000 / (json.len() + 2_000)).clamp(500, 50_000) };
    let mut decoder = AppendDecoder::new();
    let (mut ours_ns, mut serde_ns) = (Vec::with_capacity(pairs), Vec::with_capacity(pairs));
    let mut hashes = (0, 0);
    for pair in 0..pairs {
        let mut turn_ours = || {
            let (input, ns) = timed(json.clone(), |buf| {
                decoder.decode(BodyBuf::from(buf), format).expect("a legal batch")
            });
            hashes.0 = hash_of_spans(&input);
            ours_ns.push(ns);
        };
        let mut turn_serde = || {
            let (input, ns) = timed(json.clone(), |buf| decode_owned(&buf, format));
            hashes.1 = hash_of_owned(&input);
            serde_ns.push(ns);
        };
        if pair % 2 == 0 {
            turn_ours();
            turn_serde();
        } else {
            turn_serde();
            turn_ours();
        }
    }
    assert_eq!(hashes.0, hashes.1, "both ways decode the same batch");
    report(case, format, json.len(), hashes.0, &mut ours_ns, &mut serde_ns);
}

fn report(
    case: &Case,
    format: Format,
    json_bytes: usize,
    hash: u32,
    ours_ns: &mut [u64],
    serde_ns: &mut [u64],
) {
    let (ours, serde) = (percentiles(ours_ns), percentiles(serde_ns));
    let format = format!("{format:?}");
    println!(
        "{:>12} {format:>6}: {json_bytes:>7} B, {} pairs, hash {hash:08x}",
        case.name,
        ours_ns.len()
    );
    for (name, (p50, p99)) in [("ours", ours), ("serde_json", serde)] {
        println!(
            "    {name:>10}: p50 {p50:>8} ns  p99 {p99:>8} ns  {:>7.0} MB/s",
            mb_s(json_bytes, p50)
        );
    }
    println!("    serde_json / ours at p50: {:.2}", serde.0 as f64 / ours.0 as f64);
}

fn mb_s(bytes: usize, ns: u64) -> f64 {
    bytes as f64 * 1e3 / ns as f64
}

fn percentiles(ns: &mut [u64]) -> (u64, u64) {
    ns.sort_unstable();
    (ns[ns.len() / 2], ns[ns.len() * 99 / 100])
}

/// Runs `work` on `buf` and says how long it took.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn timed<T>(buf: Vec<u8>, work: impl FnOnce(Vec<u8>) -> T) -> (T, u64) {
    let buf = black_box(buf);
    let start = Instant::now();
    let result = black_box(work(buf));
    let ns = start.elapsed().as_nanos();
    (result, u64::try_from(ns).expect("less than 584 years"))
}

fn body(case: &Case, format: Format) -> Vec<u8> {
    let string = |bytes: &[u8]| match format {
        Format::Raw => String::from_utf8(bytes.to_vec()).expect("made of ASCII"),
        Format::Base64 => base64_simd::STANDARD.encode_to_string(bytes),
    };
    let record = |index: usize| {
        let text: Vec<u8> = (0..case.body_bytes)
            .map(|at| match (index * 31 + at * 7) % 64 {
                63 => b'\n',
                letter => b"abcdefghijklmnopqrstuvwxyz "[letter % 27],
            })
            .collect();
        serde_json::json!({
            "timestamp": 1_700_000_000_000_u64 + index as u64,
            "headers": [[string(b"source"), string(b"bench")]],
            "body": string(&text),
        })
    };
    let records: Vec<_> = (0..case.records).map(record).collect();
    serde_json::json!({"records": records, "match_seq_num": 7}).to_string().into_bytes()
}

fn decode_owned(json: &[u8], format: Format) -> (Option<u64>, Vec<OwnedBytes>) {
    let input: OwnedInput = serde_json::from_slice(json).expect("a legal batch");
    let bytes = |text: String| match format {
        Format::Raw => text.into_bytes(),
        Format::Base64 => base64_simd::STANDARD.decode_to_vec(text).expect("legal base64"),
    };
    let record = |record: OwnedRecord| OwnedBytes {
        timestamp: record.timestamp,
        headers: record.headers.into_iter().map(|(n, v)| (bytes(n), bytes(v))).collect(),
        body: bytes(record.body),
    };
    (input.match_seq_num, input.records.into_iter().map(record).collect())
}

/// Folds numbers and bytes into a CRC that both ways must agree on.
fn fold(hash: u32, number: Option<u64>, bytes: &[u8]) -> u32 {
    let number = number.map_or(u64::MAX, |n| n).to_le_bytes();
    crc32c::crc32c_append(crc32c::crc32c_append(hash, &number), bytes)
}

fn hash_of_spans(input: &AppendInput) -> u32 {
    let mut hash = fold(0, input.match_seq_num, b"");
    for record in &input.records {
        for header in input.headers_of(record) {
            hash = fold(hash, None, header.name.of(&input.buf));
            hash = fold(hash, None, header.value.of(&input.buf));
        }
        hash = fold(hash, record.timestamp, record.body.of(&input.buf));
    }
    hash
}

fn hash_of_owned((match_seq_num, records): &(Option<u64>, Vec<OwnedBytes>)) -> u32 {
    let mut hash = fold(0, *match_seq_num, b"");
    for record in records {
        for (name, value) in &record.headers {
            hash = fold(hash, None, name);
            hash = fold(hash, None, value);
        }
        hash = fold(hash, record.timestamp, &record.body);
    }
    hash
}
