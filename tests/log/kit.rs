//! What the tests have in common: a log with a model beside it, and a look at its raw bytes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use futures_util::future::{self, Either};
use thalweg::io::sim::Stream;
use thalweg::io::{BLOCK_BYTES, Extent, Io, IoError, LogFile};
use thalweg::log::checkpoint::{CheckpointBuilder, CheckpointFacts};
use thalweg::log::entry::{Batch, BatchPlace, Entry, Kind};
use thalweg::log::format::{FormatError, FrameHeader, SEGMENT_HEADER_BYTES};
use thalweg::log::group::Policy;
use thalweg::log::index::Index;
use thalweg::log::reader::{ReadMemory, Reader};
use thalweg::log::recovery::{RecoveryError, recover};
use thalweg::log::scan::Visitor;
use thalweg::log::segment::LogFacts;
use thalweg::log::segments::Segments;
use thalweg::log::writer::{Flushed, Writer};
use thalweg::types::append::{AppendBuilder, HeaderSpan, Span};
use thalweg::types::{AppendInput, LogPos, StorageClass, StreamId, StreamPosition};

use crate::device::Device;

/// The log of most tests: small segments, so that there are many.
pub(crate) const FACTS: LogFacts =
    LogFacts { directory_id: 0xD1EC_7041, shard: 3, segment_bytes: 1 << 20 };

/// Never waits: what was appended before a flush is one group.
pub(crate) const POLICY: Policy = Policy { standard_wait_us_max: 0, standard_bytes_enough: 0 };

/// Little enough that much is read from the disk.
const READ_MEMORY: ReadMemory =
    ReadMemory { window_bytes_max: 256 * 1024, cache_bytes_max: 4 * 1024 * 1024 };

/// A record as the model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) timestamp: u64,
    pub(crate) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// A batch as the model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) stream: u64,
    pub(crate) first_seq_num: u64,
    pub(crate) records: Vec<Record>,
}

/// An append of these records, as a decoder would have built it.
pub(crate) fn input_of(records: &[Record]) -> AppendInput {
    let mut buf = Vec::new();
    let mut builder = AppendBuilder::default();
    for record in records {
        let mut span = |bytes: &[u8]| {
            let offset = u32::try_from(buf.len()).unwrap();
            buf.extend_from_slice(bytes);
            Span { offset, len: u32::try_from(bytes.len()).unwrap() }
        };
        for (name, value) in &record.headers {
            builder.push_header(HeaderSpan { name: span(name), value: span(value) });
        }
        let body = span(&record.body);
        builder.push_record(&buf, Some(record.timestamp), body).unwrap();
    }
    builder.finish(buf, None, None).unwrap()
}

/// Records with bodies of these lengths and contents drawn from `dice`.
pub(crate) fn records(dice: &mut Stream, lengths: &[usize]) -> Vec<Record> {
    let mut timestamp = 1_700_000_000_000 + dice.below(1000);
    let mut one = |len: &usize| {
        timestamp += dice.below(10);
        let mut body = Vec::with_capacity(len + 8);
        while body.len() < *len {
            body.extend_from_slice(&dice.next_u64().to_le_bytes());
        }
        body.truncate(*len);
        let headers =
            (0..dice.below(3)).map(|n| (vec![b'a'; if n == 0 { 1 } else { 2 }], vec![7; 5]));
        Record { timestamp, headers: headers.collect(), body }
    };
    lengths.iter().map(&mut one).collect()
}

/// Collects everything that a scan meets.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) frames: Vec<(LogPos, FrameHeader)>,
    pub(crate) batches: Vec<Appended>,
    pub(crate) metadata: Vec<(Kind, Vec<u8>)>,
    pub(crate) index: BTreeMap<u64, Index>,
    /// Batches and metadata in one, for `Life`'s tickets.
    pub(crate) entry_count: usize,
    /// How far the scan said it was, as bytes read and in total.
    pub(crate) progress: Vec<(u64, u64)>,
}

impl Visitor for Collected {
    fn frame(&mut self, pos: LogPos, header: &FrameHeader) {
        self.frames.push((pos, *header));
    }

    fn progress(&mut self, read_bytes: u64, total_bytes: u64) {
        self.progress.push((read_bytes, total_bytes));
    }

    fn entry(&mut self, pos: LogPos, entry: &Entry<'_>) -> Result<(), FormatError> {
        self.entry_count += 1;
        if entry.kind != Kind::Batch {
            self.metadata.push((entry.kind, entry.metadata().to_vec()));
            return Ok(());
        }
        let batch = Batch::of(entry)?;
        let appended = appended(&batch)?;
        note_in(&mut self.index, &appended, pos);
        self.batches.push(appended);
        Ok(())
    }
}

/// The batch of an entry, taken apart.
pub(crate) fn appended(batch: &Batch<'_>) -> Result<Appended, FormatError> {
    let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    let record = |r: Result<thalweg::log::entry::Record<'_>, FormatError>| {
        r.map(|r| Record {
            timestamp: r.timestamp,
            headers: r.headers().map(owned).collect(),
            body: r.body.to_vec(),
        })
    };
    let BatchPlace { stream, first_seq_num, .. } = batch.place;
    let records = batch.records().map(record).collect::<Result<_, _>>()?;
    Ok(Appended { stream: stream.0, first_seq_num, records })
}

fn note_in(index: &mut BTreeMap<u64, Index>, batch: &Appended, pos: LogPos) {
    let timestamp = batch.records[0].timestamp;
    let first = StreamPosition { seq_num: batch.first_seq_num, timestamp };
    index.entry(batch.stream).or_default().push(first, 0, pos);
}

/// An open log and the model of what was appended to it in this life.
pub(crate) struct Life<I: Io> {
    pub(crate) io: Rc<I>,
    pub(crate) segments: Rc<Segments<I>>,
    pub(crate) writer: Writer<I, usize>,
    pub(crate) reader: Reader<I>,
    pub(crate) found: Collected,
    pub(crate) torn_bytes: u64,
    pub(crate) appended: RefCell<Vec<Appended>>,
    pub(crate) index: RefCell<BTreeMap<u64, Index>>,
    tails: RefCell<BTreeMap<u64, u64>>,
    durable_ticket: Cell<u64>,
}

/// Opens the log, as the server does.
pub(crate) async fn open<I: Io>(io: &Rc<I>) -> Result<Life<I>, RecoveryError> {
    open_as(io, FACTS).await
}

pub(crate) async fn open_as<I: Io>(io: &Rc<I>, facts: LogFacts) -> Result<Life<I>, RecoveryError> {
    let mut found = Collected::default();
    let recovered = recover(&**io, facts, u64::MAX, &mut found).await?;
    let segments = Rc::new(recovered.segments);
    let active = segments.active();
    let end =
        LogPos { segment: active.epoch, offset_bytes: u32::try_from(active.end_bytes()).unwrap() };
    let writer = Writer::new(Rc::clone(io), facts, POLICY, Rc::clone(&segments), recovered.chain);
    let mut tails = BTreeMap::new();
    for batch in &found.batches {
        tails.insert(batch.stream, batch.first_seq_num + batch.records.len() as u64);
    }
    Ok(Life {
        io: Rc::clone(io),
        reader: Reader::new(facts, Rc::clone(&segments), READ_MEMORY, end),
        segments,
        writer,
        index: found.index.clone().into(),
        found,
        torn_bytes: recovered.torn_bytes,
        appended: RefCell::default(),
        tails: tails.into(),
        durable_ticket: 0.into(),
    })
}

impl<I: Io> Life<I> {
    /// Appends a batch to a stream, in its order; returns the ticket.
    pub(crate) fn append(&self, stream: u64, records: Vec<Record>) -> u64 {
        let input = input_of(&records);
        let timestamps: Vec<u64> = records.iter().map(|r| r.timestamp).collect();
        let mut tails = self.tails.borrow_mut();
        let tail = tails.entry(stream).or_default();
        let place =
            BatchPlace { stream: StreamId(stream), first_seq_num: *tail, arrival_ms: 1_700 };
        *tail += records.len() as u64;
        let mut appended = self.appended.borrow_mut();
        appended.push(Appended { stream, first_seq_num: place.first_seq_num, records });
        let note = appended.len() - 1;
        self.writer.append_batch(place, &input, &timestamps, StorageClass::Express, note)
    }

    /// Flushes one group, as the server's writer task does, and checks what it says.
    pub(crate) async fn flush(&self) -> Result<Flushed<I::Buf, usize>, IoError> {
        let flushed = self.writer.flush_next().await?;
        let notes: usize = flushed.frames.iter().map(|f| f.notes.len()).sum();
        assert_eq!(flushed.durable_ticket, self.durable_ticket.get() + notes as u64);
        self.durable_ticket.set(flushed.durable_ticket);
        let mut index = self.index.borrow_mut();
        for frame in &flushed.frames {
            self.reader.remember(frame.pos, &frame.buf, frame.memory_bytes);
            for note in &frame.notes {
                note_in(&mut index, &self.appended.borrow()[*note], frame.pos);
            }
        }
        Ok(flushed)
    }

    /// Flushes until everything appended is durable.
    pub(crate) async fn flush_all(&self) {
        while self.durable_ticket.get() < self.writer.newest_ticket() {
            self.flush().await.expect("no fault was asked for");
        }
    }

    /// Appends one record of `len` bytes and makes it durable.
    pub(crate) async fn append_durably(&self, dice: &mut Stream, stream: u64, len: usize) {
        self.append(stream, records(dice, &[len]));
        self.flush_all().await;
    }

    /// Leaves the log idle until its marker is on disk.
    pub(crate) async fn idle_until_marker(&self) {
        let segment = self.segments.active();
        let extent = Extent { offset_bytes: segment.end_bytes(), len_bytes: BLOCK_BYTES };
        let seen = async {
            for _ in 0..10_000 {
                let block = segment.file.read_at(extent).await.unwrap();
                if FrameHeader::decode(block.as_ref(), FACTS.salt())
                    .is_ok_and(|(header, _)| header.epoch == segment.epoch)
                {
                    return;
                }
                self.io.sleep_us(1_000).await;
            }
            panic!("no marker was written");
        };
        let flushing = std::pin::pin!(self.writer.flush_next());
        match future::select(std::pin::pin!(seen), flushing).await {
            Either::Left(_) => {}
            Either::Right((flushed, _)) => panic!("nothing was appended: {:?}", flushed.err()),
        }
    }

    /// All records of a stream from its first indexed one on, by way of the reader.
    pub(crate) async fn read_stream(&self, stream: u64) -> Vec<Appended> {
        let index = self.index.borrow().get(&stream).cloned().unwrap_or_default();
        let mut batches = Vec::new();
        for entry in index.iter() {
            for frame in self.reader.span(entry).await.unwrap() {
                for entry in thalweg::log::entry::entries(frame.payload()) {
                    let entry = entry.unwrap();
                    if entry.kind != Kind::Batch {
                        continue;
                    }
                    let batch = appended(&Batch::of(&entry).unwrap()).unwrap();
                    if batch.stream == stream {
                        batches.push(batch);
                    }
                }
            }
        }
        batches
    }
}

/// A checkpoint of where the log stands; nothing may be outstanding.
pub(crate) async fn write_checkpoint<I: Io>(life: &Life<I>, first_epoch: u64, text: &str) {
    let mut builder = CheckpointBuilder::default();
    builder.push(Kind::Basin, text.as_bytes());
    for _ in 0..3 {
        builder.push(Kind::StreamState, &[7; 200_000]);
    }
    let active = life.segments.active();
    let facts = CheckpointFacts {
        pos: LogPos {
            segment: active.epoch,
            offset_bytes: u32::try_from(active.end_bytes()).unwrap(),
        },
        chain: life.writer.chain(),
        first_epoch,
        next_stream_id: 42,
        end_frame_seq: 0,
    };
    builder.write(&*life.io, FACTS, facts).await.unwrap();
}

/// Runs `body` beside the background task of the log, which must not end.
pub(crate) async fn kept<I: Io, T>(life: &Life<I>, body: impl Future<Output = T>) -> T {
    let keep = std::pin::pin!(life.segments.keep(&life.io));
    match future::select(std::pin::pin!(body), keep).await {
        Either::Left((output, _)) => output,
        Either::Right((ended, _)) => panic!("the background task ended: {ended:?}"),
    }
}

/// One life on `device`: open, do `body` beside the background task.
pub(crate) fn live<D: Device, T>(device: &D, body: impl AsyncFnOnce(&Life<D::Io>) -> T) -> T {
    device.run(async |io| {
        let life = open(&io).await.expect("the log can be opened");
        let body = Box::pin(body(&life));
        Box::pin(kept(&life, body)).await
    })
}

/// Opens the log, looks at what is found, and goes.
pub(crate) fn reopen<D: Device>(device: &D) -> Collected {
    device.run(async |io| open(&io).await.expect("the log can be opened").found)
}

/// What opening the log is refused with; nothing may be changed by it.
pub(crate) fn refused<D: Device>(device: &D) -> RecoveryError {
    let before = device.files();
    let refusal = device.run(async |io| open(&io).await.err().expect("it is refused"));
    assert!(device.files() == before, "refused ({refusal}) and yet changed");
    refusal
}

/// A frame found in the raw bytes.
#[derive(Debug, Clone)]
pub(crate) struct RawFrame {
    pub(crate) file: String,
    pub(crate) offset: usize,
    pub(crate) header: FrameHeader,
    pub(crate) crc: u32,
}

/// All frames of the log as its files hold them, in its order, those of former uses left out.
pub(crate) fn raw_frames(files: &BTreeMap<String, Vec<u8>>, facts: LogFacts) -> Vec<RawFrame> {
    use thalweg::log::format::SegmentHeader;
    let mut frames = Vec::new();
    for (file, bytes) in files.iter().filter(|(name, _)| name.starts_with("segment-")) {
        let Ok(segment) = SegmentHeader::decode(bytes) else { continue };
        let mut offset = SEGMENT_HEADER_BYTES;
        while offset < bytes.len() {
            match FrameHeader::decode(&bytes[offset..], facts.salt()) {
                Ok((header, crc)) if header.epoch == segment.epoch => {
                    frames.push(RawFrame { file: file.clone(), offset, header, crc });
                    offset += header.frame_bytes();
                }
                _ => break,
            }
        }
    }
    frames.sort_by_key(|f| f.header.frame_seq);
    frames
}
