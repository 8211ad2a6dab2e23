//! The disk format stands still: a log and a checkpoint written by the release that introduced
//! format 1 are opened by this one, and this one still writes the same bytes.
//!
//! `GOLDEN_WRITE=1 cargo test --test format` writes `tests/golden/format-1` anew. Only a new
//! version of the format is a reason to, and it goes to a directory of its own.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use futures_util::future::{self, Either};
use thalweg::io::sim::{Faults, SimIo, SimRuntime};
use thalweg::io::{Clock, Disk};
use thalweg::log::checkpoint::{CheckpointBuilder, CheckpointFacts};
use thalweg::log::entry::{Batch, BatchPlace, Entry, Kind};
use thalweg::log::format::{FormatError, FrameHeader};
use thalweg::log::group::Policy;
use thalweg::log::recovery::recover;
use thalweg::log::scan::Visitor;
use thalweg::log::segment::LogFacts;
use thalweg::log::writer::Writer;
use thalweg::types::append::{AppendBuilder, HeaderSpan, Span};
use thalweg::types::{AppendInput, LogPos, StorageClass, StreamId};

const FACTS: LogFacts = LogFacts {
    directory_id: 0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF,
    shard: 2,
    segment_bytes: 32 * 1024,
};

/// A batch with a header on every second record; bodies say where they belong.
fn batch(number: u64, count: u64, body_bytes: usize) -> AppendInput {
    let mut buf = Vec::new();
    let mut builder = AppendBuilder::default();
    for record in 0..count {
        let mut span = |bytes: &[u8]| {
            let offset = u32::try_from(buf.len()).unwrap();
            buf.extend_from_slice(bytes);
            Span { offset, len: u32::try_from(bytes.len()).unwrap() }
        };
        if record % 2 == 1 {
            builder.push_header(HeaderSpan { name: span(b"content-type"), value: span(b"text") });
        }
        let mut body = format!("batch {number}, record {record} ").into_bytes();
        body.resize(body_bytes.max(body.len()), b'.');
        let body = span(&body);
        builder.push_record(&buf, None, body).unwrap();
    }
    builder.finish(buf, None, None).unwrap()
}

fn append(writer: &Writer<SimIo, ()>, number: u64, first_seq_num: u64, batch: &AppendInput) {
    let place =
        BatchPlace { stream: StreamId(1 + number % 2), first_seq_num, arrival_ms: 1_700_000 };
    let timestamps: Vec<u64> =
        (0..batch.records.len() as u64).map(|n| 1_600_000_000_000 + 10 * number + n * n).collect();
    writer.append_batch(place, batch, &timestamps, StorageClass::Express, ());
}

/// The fixed input: two groups, a checkpoint, a marker, and groups until the log has rolled.
async fn write(io: &Rc<SimIo>) {
    let recovered = recover(&**io, FACTS, &mut Lines::default()).await.unwrap();
    let segments = Rc::new(recovered.segments);
    let policy = Policy { standard_wait_us_max: 0, standard_bytes_enough: 0 };
    let writer = Writer::new(Rc::clone(io), FACTS, policy, Rc::clone(&segments), recovered.chain);
    let body = async {
        writer.append_metadata(Kind::Basin, br#"{"name":"golden-basin"}"#, ());
        writer.append_metadata(Kind::Stream, br#"{"id":1}"#, ());
        append(&writer, 0, 0, &batch(0, 3, 0));
        append(&writer, 1, 0, &batch(1, 1, 100));
        writer.flush_next().await.unwrap();
        append(&writer, 2, 3, &batch(2, 2, 5_000));
        writer.flush_next().await.unwrap();
        write_checkpoint(io, &writer, segments.active().end_bytes()).await;
        let marked = std::pin::pin!(io.sleep_us(50_000));
        let idle = std::pin::pin!(writer.flush_next());
        assert!(matches!(future::select(marked, idle).await, Either::Left(_)));
        for number in 3..6 {
            append(&writer, number, 10 * number, &batch(number, 1, 7_000));
            writer.flush_next().await.unwrap();
        }
        writer.append_metadata(Kind::StreamGone, br#"{"id":1}"#, ());
        writer.flush_next().await.unwrap();
        assert_eq!(segments.active().epoch, 2, "it rolled");
    };
    let keep = std::pin::pin!(segments.keep(io));
    future::select(Box::pin(body), keep).await;
}

async fn write_checkpoint(io: &SimIo, writer: &Writer<SimIo, ()>, end_bytes: u64) {
    let mut builder = CheckpointBuilder::default();
    builder.push(Kind::Basin, br#"{"name":"golden-basin"}"#);
    builder.push(Kind::StreamState, &[9; 40]);
    let offset_bytes = u32::try_from(end_bytes).unwrap();
    let facts = CheckpointFacts {
        pos: LogPos { segment: 1, offset_bytes },
        chain: writer.chain(),
        first_epoch: 1,
        next_stream_id: 3,
    };
    builder.write(io, FACTS, facts).await.unwrap();
}

/// What a scan meets, a line each.
#[derive(Default)]
struct Lines(Vec<String>);

impl Visitor for Lines {
    fn frame(&mut self, pos: LogPos, header: &FrameHeader) {
        let FrameHeader { frame_seq, durable_seq, entry_count, .. } = header;
        let LogPos { segment, offset_bytes } = pos;
        self.0.push(format!(
            "frame {frame_seq} at {segment}:{offset_bytes}, durable {durable_seq}, \
             {entry_count} entries"
        ));
    }

    fn entry(&mut self, _: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        if entry.kind != Kind::Batch {
            let text = String::from_utf8_lossy(entry.metadata());
            self.0.push(format!("{:?} {text}", entry.kind));
            return Ok(());
        }
        let batch = Batch::of(entry)?;
        for record in batch.records() {
            let record = record?;
            let body = String::from_utf8_lossy(record.body);
            self.0.push(format!(
                "stream {} seq {} at {}: {} headers, {} bytes, {}",
                batch.place.stream.0,
                record.seq_num,
                record.timestamp,
                record.headers().count(),
                record.body.len(),
                body.trim_end_matches('.')
            ));
        }
        Ok(())
    }
}

fn golden_directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1")
}

fn golden_files() -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(golden_directory()).unwrap().map(Result::unwrap);
    entries
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
        .collect()
}

/// What the fixed input becomes today.
fn written_today() -> BTreeMap<String, Vec<u8>> {
    let io = SimIo::new(1);
    io.set_faults(Faults { latency_us_max: 0, ..io.faults() }); // so the clock says the same
    SimRuntime::new(&io).block_on(write(&Rc::new(io.clone())));
    let names = io.list().unwrap().into_iter().map(|(name, _)| name);
    names.map(|name| (name.clone(), io.contents(&name).unwrap())).collect()
}

#[test]
fn the_encoder_still_writes_the_golden_bytes() {
    let today = written_today();
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        for (name, bytes) in &today {
            std::fs::write(golden_directory().join(name), bytes).unwrap();
        }
    }
    let golden = golden_files();
    assert_eq!(today.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>());
    for (name, bytes) in &golden {
        let differs = bytes.iter().zip(&today[name]).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{name}: first byte that differs");
        assert_eq!(bytes.len(), today[name].len(), "{name}");
    }
}

/// Opens a copy of the golden files, `but` for some; returns what a scan meets.
fn open_golden(but: impl Fn(&str) -> bool) -> Vec<String> {
    let io = SimIo::new(2);
    for (name, bytes) in golden_files().into_iter().filter(|(name, _)| !but(name)) {
        io.put_contents(&name, bytes);
    }
    let mut lines = Lines::default();
    SimRuntime::new(&io).block_on(async {
        let recovered = recover(&io, FACTS, &mut lines).await.unwrap();
        assert_eq!((recovered.torn_bytes, recovered.chain.next_frame_seq), (0, 8));
    });
    lines.0
}

const TAIL: [&str; 9] = [
    "frame 3 at 1:20480, durable 2, 0 entries",
    "frame 4 at 1:24576, durable 2, 1 entries",
    "stream 2 seq 30 at 1600000000030: 0 headers, 7000 bytes, batch 3, record 0 ",
    "frame 5 at 2:4096, durable 4, 1 entries",
    "stream 1 seq 40 at 1600000000040: 0 headers, 7000 bytes, batch 4, record 0 ",
    "frame 6 at 2:12288, durable 5, 1 entries",
    "stream 2 seq 50 at 1600000000050: 0 headers, 7000 bytes, batch 5, record 0 ",
    "frame 7 at 2:20480, durable 6, 1 entries",
    "StreamGone {\"id\":1}",
];

#[test]
fn a_log_of_format_1_opens_from_its_checkpoint() {
    let lines = open_golden(|_| false);
    assert_eq!(lines[0], r#"Basin {"name":"golden-basin"}"#);
    assert!(lines[1].starts_with("StreamState "), "{}", lines[1]);
    assert_eq!(lines[2..], TAIL);
}

#[test]
fn a_log_of_format_1_opens_from_its_start() {
    let lines = open_golden(|name| name.starts_with("checkpoint"));
    let head = [
        "frame 1 at 1:4096, durable 0, 4 entries",
        r#"Basin {"name":"golden-basin"}"#,
        r#"Stream {"id":1}"#,
        "stream 1 seq 0 at 1600000000000: 0 headers, 18 bytes, batch 0, record 0 ",
        "stream 1 seq 1 at 1600000000001: 1 headers, 18 bytes, batch 0, record 1 ",
        "stream 1 seq 2 at 1600000000004: 0 headers, 18 bytes, batch 0, record 2 ",
        "stream 2 seq 0 at 1600000000010: 0 headers, 100 bytes, batch 1, record 0 ",
        "frame 2 at 1:8192, durable 1, 1 entries",
        "stream 1 seq 3 at 1600000000020: 0 headers, 5000 bytes, batch 2, record 0 ",
        "stream 1 seq 4 at 1600000000021: 1 headers, 5000 bytes, batch 2, record 1 ",
    ];
    assert_eq!(lines[..head.len()], head);
    assert_eq!(lines[head.len()..], TAIL);
}
