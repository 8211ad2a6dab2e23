//! A small log on the real disk, written the way a shard writes it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::{LocalExecutorBuilder, Placement};
use tempfile::TempDir;

use crate::control::{Gone, Stream, StreamRecord};
use crate::directory::DataDirectory;
use crate::io::glommio::GlommioIo;
use crate::log::checkpoint::{CheckpointBuilder, CheckpointFacts};
use crate::log::entry::{BatchPlace, Entry, Kind};
use crate::log::format::FormatError;
use crate::log::group::Policy;
use crate::log::recovery::recover;
use crate::log::scan::Visitor;
use crate::log::segment::LogFacts;
use crate::log::segments::Segments;
use crate::log::writer::Chain;
use crate::log::writer::Writer;
use crate::stream::{State, Timestamping};
use crate::types::{
    AppendBuilder, AppendInput, HeaderSpan, LogPos, Span, StorageClass, StreamConfig,
    StreamPosition, TimestampingMode,
};

/// One block of header and 15 of frames.
pub(super) const SEGMENT_BYTES: u64 = 64 * 1024;
const NOW_MS: u64 = 1_700_000_000_000;

/// A record: data, or a command by name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rec {
    Data(&'static str),
    Command(&'static str, &'static [u8]),
}

pub(super) fn batch(records: &[Rec]) -> AppendInput {
    let mut buf = Vec::new();
    let mut builder = AppendBuilder::default();
    let put = |buf: &mut Vec<u8>, bytes: &[u8]| {
        let offset = u32::try_from(buf.len()).unwrap();
        buf.extend_from_slice(bytes);
        Span { offset, len: u32::try_from(bytes.len()).unwrap() }
    };
    for record in records {
        let body = match record {
            Rec::Data(text) => text.as_bytes(),
            Rec::Command(name, body) => {
                let value = put(&mut buf, name.as_bytes());
                builder.push_header(HeaderSpan { name: Span::default(), value });
                body
            }
        };
        let body = put(&mut buf, body);
        builder.push_record(&buf, None, body).unwrap();
    }
    builder.finish(buf, None, None).unwrap()
}

#[derive(Debug)]
pub(super) struct Note {
    stream: Rc<Stream>,
    first: StreamPosition,
    after: State,
}

/// A log being written.
pub(super) struct Log {
    io: Rc<GlommioIo>,
    facts: LogFacts,
    pub(super) segments: Rc<Segments<GlommioIo>>,
    writer: Writer<GlommioIo, Option<Note>>,
    pub(super) streams: RefCell<BTreeMap<u64, Rc<Stream>>>,
    end: Cell<(LogPos, Chain)>,
}

struct Nothing;

impl Visitor for Nothing {
    fn entry(&mut self, _: LogPos, _: &Entry<'_>) -> Result<(), FormatError> {
        panic!("a new log is empty");
    }
}

impl Log {
    async fn create(path: &Path, facts: LogFacts) -> Self {
        let io = Rc::new(GlommioIo::new(path));
        let recovered = recover(&*io, facts, u64::MAX, &mut Nothing).await.unwrap();
        let segments = Rc::new(recovered.segments);
        let policy = Policy { standard_wait_us_max: 0, standard_bytes_enough: 0 };
        let chain = recovered.chain;
        let writer = Writer::new(Rc::clone(&io), facts, policy, Rc::clone(&segments), chain);
        let end = LogPos { segment: 1, offset_bytes: 4096 };
        Self { io, facts, segments, writer, streams: RefCell::default(), end: (end, chain).into() }
    }

    async fn flush(&self) {
        let flushed = self.writer.flush_next().await.unwrap();
        self.end.set(flushed.end);
        for frame in flushed.frames {
            for note in frame.notes.into_iter().flatten() {
                note.stream.became_durable(note.first, 0, frame.pos, note.after);
            }
        }
    }

    pub(super) async fn metadata(&self, kind: Kind, json: &[u8]) {
        self.writer.append_metadata(kind, json, None);
        self.flush().await;
    }

    pub(super) async fn create_stream(&self, id: u64, name: &str) {
        let record = StreamRecord {
            id,
            basin: "test-basin".to_owned(),
            name: name.to_owned(),
            created_us: 1,
            deleted_us: None,
            config: serde_json::from_str::<StreamConfig>("{}").unwrap(),
            cipher: None,
            creation: None,
            delete_on_empty_since_us: None,
            hidden_before_ms: None,
        };
        self.metadata(Kind::Stream, &serde_json::to_vec(&record).unwrap()).await;
        self.streams.borrow_mut().insert(id, Rc::new(Stream::new(record, 0)));
    }

    pub(super) async fn delete_stream(&self, id: u64) {
        let gone = Gone { id, name: String::new() };
        self.metadata(Kind::StreamGone, &serde_json::to_vec(&gone).unwrap()).await;
        self.streams.borrow_mut().remove(&id);
    }

    /// Appends as a shard does: one frame, durable when this returns.
    pub(super) async fn append(&self, id: u64, records: &[Rec]) {
        self.append_at(id, 0, 0, records).await;
    }

    /// The same with numbers and timestamps that are wrong by these much.
    pub(super) async fn append_at(&self, id: u64, seq_by: i64, ms_by: i64, records: &[Rec]) {
        let stream = Rc::clone(&self.streams.borrow()[&id]);
        let mut before = stream.accepted.get();
        before.tail.seq_num = before.tail.seq_num.checked_add_signed(seq_by).unwrap();
        before.tail.timestamp = before.tail.timestamp.saturating_add_signed(ms_by);
        let batch = batch(records);
        let mode = Timestamping { mode: TimestampingMode::Arrival, uncapped: true };
        let now_ms = NOW_MS.saturating_add_signed(ms_by);
        let mut timestamps = Vec::new();
        let after = before.judge(&batch, mode, now_ms, &mut timestamps).unwrap();
        let first = StreamPosition { seq_num: before.tail.seq_num, timestamp: timestamps[0] };
        let place =
            BatchPlace { stream: stream.id, first_seq_num: first.seq_num, arrival_ms: now_ms };
        stream.accepted.set(after);
        let note = Note { stream, first, after };
        let class = StorageClass::Express;
        self.writer.append_batch(place, &batch, &timestamps, class, Some(note));
        self.flush().await;
    }

    pub(super) fn facts(&self) -> CheckpointFacts {
        let next_stream_id = self.streams.borrow().keys().max().map_or(1, |id| id + 1);
        let (pos, chain) = self.end.get();
        let end_frame_seq = chain.next_frame_seq;
        CheckpointFacts { pos, chain, first_epoch: 1, next_stream_id, end_frame_seq }
    }

    pub(super) async fn checkpoint(&self) {
        self.checkpoint_of(self.facts()).await;
    }

    pub(super) async fn checkpoint_of(&self, facts: CheckpointFacts) {
        let mut builder = CheckpointBuilder::default();
        let streams: Vec<_> = self.streams.borrow().values().cloned().collect();
        for stream in streams {
            builder.push(Kind::Stream, &serde_json::to_vec(&stream.record()).unwrap());
            builder.push(Kind::StreamState, &stream.encode_state());
        }
        builder.write(&*self.io, self.facts, facts).await.unwrap();
    }

    /// A checkpoint in which the state entry of stream 1 was changed by `edit`.
    pub(super) async fn checkpoint_edited(
        &self,
        facts: CheckpointFacts,
        edit: impl FnOnce(&mut Vec<u8>),
    ) {
        let stream = Rc::clone(&self.streams.borrow()[&1]);
        let mut state = stream.encode_state();
        edit(&mut state);
        let changed = Stream::new(stream.record(), 0);
        changed.decode_state(&state).unwrap();
        self.streams.borrow_mut().insert(1, Rc::new(changed));
        self.checkpoint_of(facts).await;
        self.streams.borrow_mut().insert(1, stream);
    }
}

/// A data directory with one shard.
pub(super) struct Sample {
    outer: TempDir,
}

impl Sample {
    /// Makes the directory and lets `write` fill its log.
    pub(super) fn new<F: Future<Output = ()>>(write: impl FnOnce(Rc<Log>, PathBuf) -> F) -> Self {
        let outer = TempDir::new().unwrap();
        let path = outer.path().to_owned();
        let mut directory = DataDirectory::open_or_create(&path, 1, SEGMENT_BYTES, 1, 42).unwrap();
        let (shard_path, facts) = (directory.shard_path(0), directory.log_facts(0));
        let executor = LocalExecutorBuilder::new(Placement::Unbound).make().unwrap();
        executor.run(async {
            let log = Rc::new(Log::create(&shard_path, facts).await);
            let (io, segments) = (Rc::clone(&log.io), Rc::clone(&log.segments));
            let keeper = glommio::spawn_local(async move { segments.keep(&*io).await });
            write(log, shard_path).await;
            keeper.cancel().await;
        });
        directory.mark_initialised().unwrap();
        Self { outer }
    }

    pub(super) fn path(&self) -> &Path {
        self.outer.path()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join("shard-0").join(name)
    }

    /// The name of its only checkpoint.
    pub(super) fn checkpoint(&self) -> String {
        let entries = std::fs::read_dir(self.path().join("shard-0")).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|n| n.starts_with("checkpoint-")).collect();
        assert_eq!(names.len(), 1);
        names.remove(0)
    }

    /// Flips one bit.
    pub(super) fn flip(&self, file: &str, offset_bytes: usize) {
        let path = self.file(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[offset_bytes] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
    }
}
