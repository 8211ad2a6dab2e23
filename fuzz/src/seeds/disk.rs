//! Logs and checkpoints: the golden files taken apart, and directories that a shard opens.

use std::fs;
use std::path::Path;

use thalweg::log::entry::{
    BatchPlace, ENTRY_LENGTH_BYTES, Kind, Trimmed, batch_bytes_max, entries, put_batch,
};
use thalweg::log::format::{FrameHeader, Salt, payload_of};
use thalweg::log::index::SPAN_BYTES;
use thalweg::types::append::HeaderSpan;
use thalweg::types::{AppendBuilder, AppendInput, Span, StreamId};

use crate::image::step;

/// The random name of the golden files' directory.
const GOLDEN_ID: u128 = 0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF;

/// The payloads in a golden file, in order.
fn golden(path: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let bytes = fs::read(root.join(path)).expect("a golden file");
    let mut payloads = Vec::new();
    let mut rest = bytes.get(4096..).unwrap_or_default();
    while let Ok((header, _)) = FrameHeader::decode(rest, Salt::of(GOLDEN_ID)) {
        payloads.push(payload_of(&header, rest).expect("whole").to_vec());
        rest = rest.get(header.frame_bytes()..).unwrap_or_default();
    }
    payloads
}

const GOLDEN: [(&str, &[&str]); 3] = [
    ("format-1", &["segment-00000001.log", "checkpoint-00000000000000000003.ckpt"]),
    ("format-1-moved", &["segment-00000001.log", "checkpoint-00000000000000000003.ckpt"]),
    ("format-1-usage", &["segment-00000001.log", "checkpoint-00000000000000000002.ckpt"]),
];

fn golden_payloads() -> impl Iterator<Item = [Vec<Vec<u8>>; 2]> {
    GOLDEN.iter().map(|(directory, files)| {
        [files[0], files[1]].map(|file| golden(&format!("{directory}/{file}")))
    })
}

/// Kind and body of each entry.
type Entries = Vec<(u8, Vec<u8>)>;

fn entries_of(payload: &[u8]) -> Entries {
    let sound = entries(payload).map_while(Result::ok);
    sound.map(|entry| (entry.kind as u8, entry.bytes[ENTRY_LENGTH_BYTES + 1..].to_vec())).collect()
}

/// A frame as the image has it; long bodies are cut, for they teach nothing.
fn frame(entries: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![step::FRAME, u8::try_from(entries.len()).expect("few")];
    for (kind, body) in entries {
        out.push(*kind);
        out.extend_from_slice(&u16::try_from(body.len()).expect("short").to_le_bytes());
        out.extend_from_slice(body);
    }
    out
}

fn is_short(entries: &Entries) -> bool {
    entries.len() < 200 && entries.iter().map(|(_, body)| body.len()).sum::<usize>() < 1500
}

fn frames(payloads: &[Vec<u8>]) -> Vec<u8> {
    let short = payloads.iter().map(|payload| entries_of(payload)).filter(is_short);
    short.flat_map(|entries| frame(&entries)).collect()
}

pub(super) fn payloads() -> Vec<Vec<u8>> {
    let golden = golden_payloads().flatten().flatten().filter(|payload| payload.len() < 1500);
    let own = shard_entries().into_iter().map(|(kind, body)| {
        let entry_bytes = u32::try_from(1 + body.len()).expect("short");
        [&entry_bytes.to_le_bytes()[..], &[kind], &body].concat()
    });
    golden.chain(own).collect()
}

pub(super) fn logs() -> Vec<Vec<u8>> {
    let golden = golden_payloads().map(|[log, checkpoint]| {
        let (before, after) = log.split_at(log.len().min(2));
        let checkpoint = [&[step::CHECKPOINT][..], &frames(&checkpoint), &[step::LOG]].concat();
        [frames(before), checkpoint, vec![step::SEGMENT], frames(after)].concat()
    });
    golden.chain(shards()).collect()
}

pub(super) fn checkpoints() -> Vec<Vec<u8>> {
    let golden = golden_payloads().map(|[_, checkpoint]| frames(&checkpoint));
    let part = (Kind::Part as u8, b"{\"name\":\"test-".to_vec());
    let end = (Kind::Basin as u8, b"basin-1\"}".to_vec());
    golden.chain([frame(&[part, end]), frame(&saved())]).collect()
}

/// A batch of two records, one with a header, as the log holds it.
fn batch(place: BatchPlace, headers: &[(&[u8], &[u8])], body: &[u8]) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut span = |bytes: &[u8]| {
        let offset = u32::try_from(buf.len()).expect("short");
        buf.extend_from_slice(bytes);
        Span { offset, len: u32::try_from(bytes.len()).expect("short") }
    };
    let headers: Vec<HeaderSpan> = headers
        .iter()
        .map(|(name, value)| HeaderSpan { name: span(name), value: span(value) })
        .collect();
    let body = span(body);
    let mut builder = AppendBuilder::default();
    builder.push_record(&buf, None, body).expect("legal");
    headers.into_iter().for_each(|header| builder.push_header(header));
    builder.push_record(&buf, None, body).expect("legal");
    let input: AppendInput = builder.finish(buf, None, None).expect("legal");
    let mut out = vec![0; batch_bytes_max(&input)];
    let timestamps = [1_600_000_000_000, 1_600_000_000_005];
    let end = put_batch(&mut out, place, &input, &timestamps);
    out[ENTRY_LENGTH_BYTES + 1..end].to_vec()
}

fn place(first_seq_num: u64) -> BatchPlace {
    BatchPlace { stream: StreamId(1), first_seq_num, arrival_ms: 1_600_000_000_000 }
}

fn catalogue() -> Entries {
    let basin = br#"{"name":"test-basin-1","created_us":1,"config":{}}"#;
    let stream = br#"{"id":1,"basin":"test-basin-1","name":"s","created_us":1,"config":{}}"#;
    let aged = br#"{"id":2,"basin":"test-basin-1","name":"t","created_us":1,"config":{"retention_policy":{"age":60},"storage_class":"standard"}}"#;
    vec![
        (Kind::Basin as u8, basin.to_vec()),
        (Kind::Stream as u8, stream.to_vec()),
        (Kind::Stream as u8, aged.to_vec()),
    ]
}

/// Every kind of entry of a log, in an order that a replay takes.
fn shard_entries() -> Entries {
    let trimmed = Trimmed { stream: StreamId(1), trim_point: 1, at_ms: 1_600_000_001_000 }.encode();
    let mut entries = catalogue();
    entries.extend([
        (Kind::Batch as u8, batch(place(0), &[(b"n", b"v")], b"hello")),
        (Kind::Batch as u8, batch(place(2), &[(b"", b"fence")], b"token")),
        (Kind::Batch as u8, batch(place(4), &[(b"", b"trim")], &[0, 0, 0, 0, 0, 0, 0, 1])),
        (Kind::Trimmed as u8, trimmed.to_vec()),
        (Kind::Moved as u8, batch(place(2), &[(b"", b"fence")], b"token")),
        (Kind::Usage as u8, br#"{"hours":{"rr":[472222,11]}}"#.to_vec()),
        (Kind::StreamGone as u8, br#"{"id":2}"#.to_vec()),
    ]);
    entries
}

/// What a checkpoint holds of the same shard after its first batch.
fn saved() -> Entries {
    let mut state = Vec::new();
    for number in [1_u64, 2, 1_600_000_000_005, 0] {
        state.extend_from_slice(&number.to_le_bytes());
    }
    state.extend_from_slice(&0_u32.to_le_bytes());
    for number in [0_u64, 1_600_000_000_000, 1] {
        state.extend_from_slice(&number.to_le_bytes());
    }
    state.extend_from_slice(&4096_u32.to_le_bytes());
    state.extend_from_slice(&SPAN_BYTES.to_le_bytes());
    let arrivals = [1_u64, 1_600_000_000_000, 1_600_000_000_000].map(u64::to_le_bytes).concat();
    let mut entries = catalogue();
    entries.extend([
        (Kind::StreamState as u8, state),
        (Kind::Arrivals as u8, arrivals),
        (Kind::Usage as u8, br#"{"stored":[1,26]}"#.to_vec()),
    ]);
    entries
}

pub(super) fn shards() -> Vec<Vec<u8>> {
    let all = shard_entries();
    let (before, after) = all.split_at(4);
    let one_frame = frame(&all);
    let many_frames: Vec<u8> = all
        .chunks(2)
        .enumerate()
        .flat_map(|(at, chunk)| {
            let roll: &[u8] = if at % 2 == 1 { &[step::SEGMENT] } else { &[] };
            [roll, &frame(chunk)].concat()
        })
        .collect();
    let checkpoint = [&[step::CHECKPOINT][..], &frame(&saved()), &[step::LOG]].concat();
    let from_checkpoint = [frame(before), checkpoint, frame(after)].concat();
    let lost = br#"{"places":[{"epoch":1,"offset":8192,"end_offset":12288,"frame_seq":2,"next_frame_seq":3,"next_prev_crc":0,"copy":"c"}],"records":[{"stream":1,"name":"test-basin-1/s","first_seq_num":2,"end_seq_num":4}]}"#;
    let mut with_lost = from_checkpoint.clone();
    with_lost.push(step::QUARANTINE);
    with_lost.extend_from_slice(&u16::try_from(lost.len()).expect("short").to_le_bytes());
    with_lost.extend_from_slice(lost);
    vec![one_frame, many_frames, from_checkpoint, with_lost]
}
