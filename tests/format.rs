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
use thalweg::control::TokenRecord;
use thalweg::crypto::{StreamIdentity, StreamKey};
use thalweg::io::sim::{Faults, SimIo, SimRuntime};
use thalweg::io::{Clock, Disk};
use thalweg::log::checkpoint::{CheckpointBuilder, CheckpointFacts};
use thalweg::log::entry::sealed::{put_sealed, sealed_bytes_max};
use thalweg::log::entry::{
    Batch, BatchPlace, Entry, Kind, Record, Trimmed, batch_bytes_max, put_batch,
};
use thalweg::log::footer::{FooterRun, FooterWriter, Target};
use thalweg::log::footers::Footers;
use thalweg::log::format::{FormatError, FrameHeader};
use thalweg::log::group::Policy;
use thalweg::log::recovery::recover;
use thalweg::log::scan::Visitor;
use thalweg::log::segment::LogFacts;
use thalweg::log::writer::Writer;
use thalweg::types::append::{AppendBuilder, HeaderSpan, Span};
use thalweg::types::sealed::Sealed;
use thalweg::types::{
    AppendInput, BasinName, Cipher, LogPos, StorageClass, StreamId, SuppliedKey, TokenId, TokenInfo,
};
use thalweg::usage::{Class, Counter, Ledger, Saved};

const FACTS: LogFacts = LogFacts {
    directory_id: 0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF,
    shard: 2,
    segment_bytes: 32 * 1024,
};

/// The log that format 1 was introduced with.
const FORMAT_1: &str = "format-1";
/// One with usage counters, which came later.
const USAGE: &str = "format-1-usage";

/// One with what retention and the cleaner write, which came later still.
const MOVED: &str = "format-1-moved";

/// One with encrypted batches: format 2.
const SEALED: &str = "format-2-sealed";

/// A footer, which came later still.
const FOOTER: &str = "format-1-footer";

/// One with access tokens, which came later still.
const TOKENS: &str = "format-1-tokens";

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
    let recovered = recover(&**io, FACTS, u64::MAX, &mut Lines::default()).await.unwrap();
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

/// Counters of a basin and the account, with everything that can be saved.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    let book = ledger.basin(&BasinName::new("golden-basin").unwrap());
    book.stream_added(1_600_000_000);
    book.stream_removed(1_600_003_600, 0);
    book.stream_added(1_600_010_000);
    book.appended(Class::Express, 1_600_010_000, 100, (0, 100));
    book.appended(Class::Standard, 1_600_014_000, 50, (100, 90));
    book.count(Counter::ReadOpsUnary, 1_600_014_000, 1);
    book.count(Counter::ReadBytes, 1_600_014_000, 100);
    ledger.account().count(Counter::ListBasins, 1_600_014_060, 2);
    ledger
}

/// A group of unsaved counters, a checkpoint with all of them, and another group.
async fn write_usage(io: &Rc<SimIo>) {
    let recovered = recover(&**io, FACTS, u64::MAX, &mut Lines::default()).await.unwrap();
    let segments = Rc::new(recovered.segments);
    let policy = Policy { standard_wait_us_max: 0, standard_bytes_enough: 0 };
    let writer = Writer::new(Rc::clone(io), FACTS, policy, Rc::clone(&segments), recovered.chain);
    let json = |saved: &Saved| serde_json::to_vec(saved).unwrap();
    for saved in ledger().unsaved() {
        writer.append_in_passing(Kind::Usage, &json(&saved), ());
    }
    writer.flush_next().await.unwrap();
    let mut builder = CheckpointBuilder::default();
    ledger().save().for_each(|saved| builder.push(Kind::Usage, &json(&saved)));
    builder.push(Kind::Usage, &json(&Saved::of_streams([(1, 60), (2, 0), (3, 30)].into_iter())));
    let offset_bytes = u32::try_from(segments.active().end_bytes()).unwrap();
    let pos = LogPos { segment: 1, offset_bytes };
    let facts = CheckpointFacts {
        pos,
        chain: writer.chain(),
        first_epoch: 1,
        next_stream_id: 4,
        end_frame_seq: 0,
    };
    builder.write(&**io, FACTS, facts).await.unwrap();
    append(&writer, 0, 0, &batch(0, 1, 0));
    writer.flush_next().await.unwrap();
}

/// A batch, a trim by retention, a copy of the batch, and a checkpoint with the time it arrived.
async fn write_moved(io: &Rc<SimIo>) {
    let recovered = recover(&**io, FACTS, u64::MAX, &mut Lines::default()).await.unwrap();
    let segments = Rc::new(recovered.segments);
    let policy = Policy { standard_wait_us_max: 0, standard_bytes_enough: 0 };
    let writer = Writer::new(Rc::clone(io), FACTS, policy, Rc::clone(&segments), recovered.chain);
    append(&writer, 0, 0, &batch(0, 3, 0));
    writer.flush_next().await.unwrap();
    let trimmed = Trimmed { stream: StreamId(1), trim_point: 1, at_ms: 1_700_000_000_000 };
    writer.append_in_passing(Kind::Trimmed, &trimmed.encode(), ());
    let place = BatchPlace { stream: StreamId(1), first_seq_num: 0, arrival_ms: 1_700_000 };
    let moved = batch(0, 3, 0);
    let mut bytes = vec![0; batch_bytes_max(&moved)];
    let len = put_batch(
        &mut bytes,
        place,
        &moved,
        &[1_600_000_000_000, 1_600_000_000_001, 1_600_000_000_004],
    );
    writer.append_moved(&bytes[..len], ());
    writer.flush_next().await.unwrap();
    let mut builder = CheckpointBuilder::default();
    let arrivals = [1_u64, 1_700_000, 1_700_000].map(u64::to_le_bytes).concat();
    builder.push(Kind::Arrivals, &arrivals);
    let offset_bytes = u32::try_from(segments.active().end_bytes()).unwrap();
    let pos = LogPos { segment: 1, offset_bytes };
    let chain = writer.chain();
    let facts = CheckpointFacts { pos, chain, first_epoch: 1, next_stream_id: 2, end_frame_seq: 0 };
    builder.write(&**io, FACTS, facts).await.unwrap();
}

/// Tokens of every form, one of them replaced, another gone; then a checkpoint with those left.
async fn write_tokens(io: &Rc<SimIo>) {
    let recovered = recover(&**io, FACTS, u64::MAX, &mut Lines::default()).await.unwrap();
    let segments = Rc::new(recovered.segments);
    let policy = Policy { standard_wait_us_max: 0, standard_bytes_enough: 0 };
    let writer = Writer::new(Rc::clone(io), FACTS, policy, Rc::clone(&segments), recovered.chain);
    let put = |record: &TokenRecord| {
        writer.append_metadata(Kind::Token, &serde_json::to_vec(record).unwrap(), ());
    };
    let [all, replaced, newer, gone] = tokens();
    [&all, &replaced, &gone].into_iter().for_each(put);
    writer.flush_next().await.unwrap();
    put(&newer);
    writer.append_metadata(Kind::TokenGone, br#"{"id":0,"name":"gone"}"#, ());
    writer.flush_next().await.unwrap();
    let mut builder = CheckpointBuilder::default();
    for record in [&all, &newer] {
        builder.push(Kind::Token, &serde_json::to_vec(record).unwrap());
    }
    let offset_bytes = u32::try_from(segments.active().end_bytes()).unwrap();
    let pos = LogPos { segment: 1, offset_bytes };
    let chain = writer.chain();
    let facts = CheckpointFacts { pos, chain, first_epoch: 1, next_stream_id: 1, end_frame_seq: 0 };
    builder.write(&**io, FACTS, facts).await.unwrap();
}

fn tokens() -> [TokenRecord; 4] {
    let token = |id: &str, number: u8, expires_us, scope: &str| TokenRecord {
        info: TokenInfo {
            id: TokenId::new(id).unwrap(),
            expires_us,
            auto_prefix_streams: number == 2,
            scope: serde_json::from_str(scope).unwrap(),
        },
        hash: std::array::from_fn(|at| 31 * number + u8::try_from(at).unwrap()),
        created_us: 1_700_000_000_000_000 + u64::from(number),
        by_anybody: false,
    };
    let groups = r#"{"basins":{"prefix":""},"streams":{"prefix":""},"access_tokens":{"prefix":""},
        "op_groups":{"account":{"read":true,"write":true},"basin":{"read":true,"write":true},
        "stream":{"read":true,"write":true}}}"#;
    let exact = r#"{"basins":{"exact":"golden-basin"},"streams":{"prefix":"p/"},"ops":["read"]}"#;
    let some = r#"{"basins":{"prefix":"g"},"streams":{"exact":"a \"b\""},
        "ops":["trim","append"]}"#;
    [
        token("all", 1, None, groups),
        token("é/\"1\"", 2, Some(1_700_000_001_000_000), exact),
        token("é/\"1\"", 3, Some(1_900_000_000_000_000), some),
        token("gone", 4, None, exact),
    ]
}

/// The key to a stream of the golden files: 32 bytes of 7.
fn golden_key(cipher: Cipher) -> StreamKey {
    let key = SuppliedKey::new(b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
    let identity = StreamIdentity {
        basin: "golden-basin",
        stream: "golden-stream",
        created_us: 1_600_000_000_000_000,
        id: 1,
    };
    StreamKey::new(cipher, Some(&key), identity).unwrap()
}

/// Two data records with a command between them.
fn commanding_batch() -> AppendInput {
    let buf = b"firstfencetokensecondkv";
    let span = |offset, len| Span { offset, len };
    let mut builder = AppendBuilder::default();
    builder.push_record(buf, None, span(0, 5)).unwrap();
    builder.push_header(HeaderSpan { name: span(0, 0), value: span(5, 5) });
    builder.push_record(buf, None, span(10, 5)).unwrap();
    builder.push_header(HeaderSpan { name: span(21, 1), value: span(22, 1) });
    builder.push_record(buf, None, span(15, 6)).unwrap();
    builder.finish(buf.to_vec(), None, None).unwrap()
}

/// A batch under each cipher, and a copy of the last.
async fn write_sealed(io: &Rc<SimIo>) {
    let recovered = recover(&**io, FACTS, u64::MAX, &mut Lines::default()).await.unwrap();
    let segments = Rc::new(recovered.segments);
    let policy = Policy { standard_wait_us_max: 0, standard_bytes_enough: 0 };
    let writer = Writer::new(Rc::clone(io), FACTS, policy, Rc::clone(&segments), recovered.chain);
    let batch = commanding_batch();
    let timestamps = [1_600_000_000_000, 1_600_000_000_001, 1_600_000_000_004];
    for (first_seq_num, cipher) in [(0, Cipher::Aegis256), (3, Cipher::Aes256Gcm)] {
        let place = BatchPlace { stream: StreamId(1), first_seq_num, arrival_ms: 1_700_000 };
        let key = golden_key(cipher);
        let sealer = key.sealer([0xA0 + u8::try_from(first_seq_num).unwrap(); 32]);
        writer.append_sealed(place, &batch, (&timestamps, &sealer), StorageClass::Express, ());
        let mut bytes = vec![0; sealed_bytes_max(&batch)];
        let len = put_sealed(&mut bytes, place, &batch, &timestamps, &sealer);
        if cipher == Cipher::Aes256Gcm {
            writer.append_moved(&bytes[..len], ());
        }
    }
    writer.flush_next().await.unwrap();
}

/// Runs of two streams, in as many leaves as it takes to have a level above.
async fn write_footer(io: &Rc<SimIo>) {
    let mut writer = FooterWriter::create(&**io, FACTS, 3).await.unwrap();
    for run in footer_runs() {
        writer.push(run);
    }
    writer.finish().await.unwrap();
}

fn footer_runs() -> impl Iterator<Item = FooterRun> {
    (0..200).map(|n| FooterRun {
        stream: 1 + n / 150,
        seq_num: 10 * n,
        timestamp: 1_600_000_000_000 + n,
        arrival_ms: 1_700_000 + n / 2,
        offset_bytes: 4096 * (1 + u32::try_from(n % 7).unwrap()),
    })
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
        end_frame_seq: 0,
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
        if let Kind::Trimmed | Kind::Arrivals = entry.kind {
            let (numbers, _) = entry.metadata().as_chunks::<8>();
            let numbers = numbers.iter().map(|n| u64::from_le_bytes(*n).to_string());
            self.0.push(format!("{:?} {}", entry.kind, numbers.collect::<Vec<_>>().join(" ")));
            return Ok(());
        }
        if !entry.kind.is_batch() {
            let text = String::from_utf8_lossy(entry.metadata());
            self.0.push(format!("{:?} {text}", entry.kind));
            return Ok(());
        }
        let batch = Batch::of(entry)?;
        for record in batch.records() {
            let record = record?;
            if let Some(sealed) = record.sealed {
                self.0.push(opened(&record, &sealed));
                continue;
            }
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

/// What an encrypted record says without its key, and with it.
fn opened(record: &Record<'_>, sealed: &Sealed<'_>) -> String {
    let key = golden_key(sealed.cipher);
    let mut opener = key.opener();
    let plain = record.opened(opener.open(sealed).unwrap()).unwrap();
    format!(
        "sealed seq {} at {}: {} metered, {}; {} headers, {}",
        record.seq_num,
        record.timestamp,
        record.metered_bytes,
        sealed.cipher.as_str(),
        plain.headers().count(),
        String::from_utf8_lossy(plain.body)
    )
}

fn golden_directory(golden: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(golden)
}

fn golden_files(golden: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(golden_directory(golden)).unwrap().map(Result::unwrap);
    entries
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
        .collect()
}

/// What the fixed input becomes today.
fn written_today(golden: &str) -> BTreeMap<String, Vec<u8>> {
    let io = SimIo::new(1);
    io.set_faults(Faults { latency_us_max: 0, ..io.faults() }); // so the clock says the same
    let io_rc = Rc::new(io.clone());
    SimRuntime::new(&io).block_on(async {
        match golden {
            USAGE => write_usage(&io_rc).await,
            MOVED => write_moved(&io_rc).await,
            SEALED => write_sealed(&io_rc).await,
            FOOTER => write_footer(&io_rc).await,
            TOKENS => write_tokens(&io_rc).await,
            _ => write(&io_rc).await,
        }
    });
    let names = io.list().unwrap().into_iter().map(|(name, _)| name);
    names.map(|name| (name.clone(), io.contents(&name).unwrap())).collect()
}

#[test]
fn the_encoder_still_writes_the_golden_bytes() {
    for golden_name in [FORMAT_1, USAGE, MOVED, SEALED, FOOTER, TOKENS] {
        let today = written_today(golden_name);
        if std::env::var_os("GOLDEN_WRITE").is_some() {
            std::fs::create_dir_all(golden_directory(golden_name)).unwrap();
            for (name, bytes) in &today {
                std::fs::write(golden_directory(golden_name).join(name), bytes).unwrap();
            }
        }
        let golden = golden_files(golden_name);
        for (name, bytes) in today.iter().filter(|(name, _)| !golden.contains_key(*name)) {
            // Golden directories have one segment that was made ahead, today there are two.
            assert!(name.starts_with("segment-"), "{golden_name}/{name}");
            assert!(bytes[4096..].iter().all(|byte| *byte == 0), "{golden_name}/{name}");
        }
        for (name, bytes) in &golden {
            let differs = bytes.iter().zip(&today[name]).position(|(a, b)| a != b);
            assert_eq!(differs, None, "{golden_name}/{name}: first byte that differs");
            assert_eq!(bytes.len(), today[name].len(), "{golden_name}/{name}");
        }
    }
}

/// Opens a copy of the golden files, `but` for some; returns what a scan meets.
fn open_golden(golden: &str, next_frame_seq: u64, but: impl Fn(&str) -> bool) -> Vec<String> {
    let io = SimIo::new(2);
    for (name, bytes) in golden_files(golden).into_iter().filter(|(name, _)| !but(name)) {
        io.put_contents(&name, bytes);
    }
    let mut lines = Lines::default();
    SimRuntime::new(&io).block_on(async {
        let recovered = recover(&io, FACTS, u64::MAX, &mut lines).await.unwrap();
        let found = (recovered.torn_bytes, recovered.chain.next_frame_seq);
        assert_eq!(found, (0, next_frame_seq));
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
    let lines = open_golden(FORMAT_1, 8, |_| false);
    assert_eq!(lines[0], r#"Basin {"name":"golden-basin"}"#);
    assert!(lines[1].starts_with("StreamState "), "{}", lines[1]);
    assert_eq!(lines[2..], TAIL);
}

#[test]
fn a_log_of_format_1_opens_from_its_start() {
    let lines = open_golden(FORMAT_1, 8, |name| name.starts_with("checkpoint"));
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

#[test]
fn a_log_with_usage_counters_opens_from_its_checkpoint_and_from_its_start() {
    let counters = [
        r#"Usage {"minutes":{"op.list-basins":[26666901,2]},"hours":{"op.list-basins":[444448,2]}}"#,
        r#"Usage {"basin":"golden-basin","minutes":{"read_bytes":[26666900,100],"read_ops.unary":[26666900,1]},"hours":{"read_bytes":[444448,100],"read_ops.unary":[444448,1]}}"#,
    ];
    let last = [
        "frame 2 at 1:8192, durable 1, 1 entries",
        "stream 1 seq 0 at 1600000000000: 0 headers, 18 bytes, batch 0, record 0 ",
    ];
    let from_start = open_golden(USAGE, 3, |name| name.starts_with("checkpoint"));
    let first = ["frame 1 at 1:4096, durable 0, 2 entries"];
    assert_eq!(from_start, [&first[..], &counters, &last].concat());
    let checkpoint = [
        counters[0],
        r#"Usage {"basin":"golden-basin","minutes":{"append_bytes.express":[26666833,100],"append_bytes.standard":[26666900,50],"append_ops.express":[26666833,1],"append_ops.standard":[26666900,1],"read_bytes":[26666900,100],"read_ops.unary":[26666900,1]},"hours":{"append_bytes.express":[444447,100],"append_bytes.standard":[444448,50],"append_ops.express":[444447,1],"append_ops.standard":[444448,1],"read_bytes":[444448,100],"read_ops.unary":[444448,1]},"storage":[444445,0,2,100,1,90],"active":[1600000000,1600003600,1600010000]}"#,
        r#"Usage {"stored":[1,60,3,30]}"#,
    ];
    assert_eq!(open_golden(USAGE, 3, |_| false), [&checkpoint[..], &last].concat());
}

#[test]
fn a_log_with_moved_batches_opens_from_its_checkpoint_and_from_its_start() {
    let batch = [
        "stream 1 seq 0 at 1600000000000: 0 headers, 18 bytes, batch 0, record 0 ",
        "stream 1 seq 1 at 1600000000001: 1 headers, 18 bytes, batch 0, record 1 ",
        "stream 1 seq 2 at 1600000000004: 0 headers, 18 bytes, batch 0, record 2 ",
    ];
    let from_start = open_golden(MOVED, 3, |name| name.starts_with("checkpoint"));
    let second = ["frame 2 at 1:8192, durable 1, 2 entries", "Trimmed 1 1 1700000000000"];
    let first = ["frame 1 at 1:4096, durable 0, 1 entries"];
    assert_eq!(from_start, [&first[..], &batch, &second, &batch].concat());
    assert_eq!(open_golden(MOVED, 3, |_| false), ["Arrivals 1 1700000 1700000"]);
}

#[test]
fn a_log_with_tokens_opens_from_its_checkpoint_and_from_its_start() {
    let all = r#"Token {"info":{"id":"all","expires_us":null,"auto_prefix_streams":false,"scope":{"basins":{"prefix":""},"streams":{"prefix":""},"access_tokens":{"prefix":""},"op_groups":{"account":{"read":true,"write":true},"basin":{"read":true,"write":true},"stream":{"read":true,"write":true}},"ops":[]}},"hash":"1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e","created_us":1700000000000001}"#;
    let newer = r#"Token {"info":{"id":"é/\"1\"","expires_us":1900000000000000,"auto_prefix_streams":false,"scope":{"basins":{"prefix":"g"},"streams":{"exact":"a \"b\""},"access_tokens":null,"op_groups":{"account":{"read":false,"write":false},"basin":{"read":false,"write":false},"stream":{"read":false,"write":false}},"ops":["append","trim"]}},"hash":"5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c","created_us":1700000000000003}"#;
    assert_eq!(open_golden(TOKENS, 3, |_| false), [all, newer]);
    let from_start = open_golden(TOKENS, 3, |name| name.starts_with("checkpoint"));
    assert_eq!(from_start.len(), 7, "{from_start:?}");
    assert_eq!(from_start[1], all);
    assert_eq!(from_start[5..], [newer, r#"TokenGone {"id":0,"name":"gone"}"#]);
    for (line, record) in [&from_start[1..4], &from_start[5..6]].concat().iter().zip(&[0, 1, 3, 2])
    {
        let json = line.strip_prefix("Token ").unwrap();
        assert_eq!(serde_json::from_str::<TokenRecord>(json).unwrap(), tokens()[*record]);
    }
}

#[test]
fn a_log_with_encrypted_batches_opens() {
    let batch = |first: u64, cipher: &str| {
        vec![
            format!("sealed seq {first} at 1600000000000: 13 metered, {cipher}; 0 headers, first"),
            format!("stream 1 seq {} at 1600000000001: 1 headers, 5 bytes, token", first + 1),
            format!(
                "sealed seq {} at 1600000000004: 18 metered, {cipher}; 1 headers, second",
                first + 2
            ),
        ]
    };
    let frame = vec!["frame 1 at 1:4096, durable 0, 3 entries".to_owned()];
    let (first, second) = (batch(0, "aegis-256"), batch(3, "aes-256-gcm"));
    let lines = open_golden(SEALED, 2, |_| false);
    assert_eq!(lines, [frame, first, second.clone(), second].concat());
}

#[test]
fn a_footer_answers_for_each_of_its_runs() {
    let io = SimIo::new(2);
    for (name, bytes) in golden_files(FOOTER) {
        io.put_contents(&name, bytes);
    }
    SimRuntime::new(&io).block_on(async {
        let footers = Footers::new(Rc::new(io.clone()), FACTS);
        for run in footer_runs() {
            let found = footers.find(3, run.stream, Target::SeqNum(run.seq_num + 9)).await;
            assert_eq!(found, Some(run));
        }
        assert_eq!(footers.find(3, 3, Target::SeqNum(0)).await, None);
        assert_eq!(footers.counts().lost, 0);
    });
}
