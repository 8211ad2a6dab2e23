//! One shard: its log, its catalogue, and the tasks that keep them going.
//!
//! Generic over the seam, so the whole of it also runs on a simulated disk. Operations live in
//! the files beside this one; here is what they share:
//!
//! * an operation judges and logs without an await in between, so what it saw is still true;
//! * then it waits for the ticket of whatever its answer reveals, refusals included;
//! * a dropped operation has logged or it has not: nothing is half done.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::bucket::link::Link;
use crate::control::{BasinRecord, Catalog, Gone, Registry, Stream, StreamRecord, TokenRecord};
use crate::io::notify::Notify;
use crate::io::{Io, IoError};
use crate::log::entry::{BATCH_HEADER_BYTES, Kind, Trimmed};
use crate::log::footers::Footers;
use crate::log::index::MovedBatch;
use crate::log::reader::{ReadMemory, Reader};
use crate::log::recovery::{Recovered, RecoveryError, recover};
use crate::log::segment::LogFacts;
use crate::log::segments::Segments;
use crate::log::writer::{Chain, DurableFrame, Flushed, Writer};
use crate::metrics::{GroupWritten, Metrics};
use crate::planted::{self, Bug};
use crate::stream::State;
use crate::types::refusal::chain;
use crate::types::{BasinName, LogPos, Receipt, Refusal, StorageClass, StreamPosition, TokenId};

use super::aside::Aside;
use super::call::{Answer, Call, CallResult};
use super::checkpoint::{CheckpointPace, Checkpoints};
use super::cleaner::Cleaner;
use super::door::Progress;
use super::drain::Drain;
use super::durable::Durable;
use super::folder::Folder;
use super::read::Followed;
use super::receipt::ReceiptSlot;
use super::replay::Replay;
use super::scrub::{Findings, ScrubPolicy, note_lost};
use super::shipped::Shipped;

/// Settings of a shard; see `config` for what they mean to an operator.
#[derive(Debug, Clone, Copy)]
pub struct EngineConfig {
    /// What its log files say about themselves.
    pub log: LogFacts,
    /// When groups of Standard batches are written.
    pub policy: crate::log::group::Policy,
    /// Most record bytes accepted and not yet durable; more wait.
    pub inflight_bytes_max: u64,
    /// What is kept of the log for readers.
    pub read_memory: ReadMemory,
    /// Memory that the streams' indexes may take before old parts of them are folded, in bytes.
    pub index_bytes_max: u64,
    /// Bytes of log after which a checkpoint is written.
    pub checkpoint_bytes: u64,
    /// How a checkpoint gives way to everything else.
    pub checkpoint_pace: CheckpointPace,
    /// How often usage counters are saved while they change, in microseconds.
    pub usage_flush_us: u64,
    /// How old data is read again.
    pub scrub: ScrubPolicy,
}

/// What is handed to the log with each entry and comes back when it is durable.
#[derive(Debug)]
pub(super) enum Note {
    Batch {
        stream: Rc<Stream>,
        first: StreamPosition,
        after: State,
        arrival_ms: u64,
        bytes: u64,
        /// Where the receipt is laid that its client asked for.
        receipt: Option<Rc<ReceiptSlot>>,
    },
    Trimmed(Rc<Stream>, Trimmed),
    /// Without its place, which only the writer knows.
    Moved(Rc<Stream>, MovedBatch),
    StreamGone(Rc<Stream>),
    Stream(Rc<Stream>),
    Basin,
    BasinGone(BasinName),
    Token,
    TokenGone(TokenId),
    Usage,
}

/// A refusal, and the ticket of the state that it reveals.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) ticket: u64,
}

impl From<Refusal> for Refused {
    /// A refusal that reveals nothing that is not durable.
    fn from(refusal: Refusal) -> Self {
        Self { refusal, ticket: 0 }
    }
}

/// One shard.
pub struct Engine<I: Io> {
    pub(super) io: Rc<I>,
    pub(super) config: EngineConfig,
    pub(super) writer: Writer<I, Note>,
    pub(super) reader: Reader<I>,
    pub(super) footers: Footers<I>,
    pub(super) segments: Rc<Segments<I>>,
    pub(super) catalog: RefCell<Catalog>,
    /// Decides about basins; empty but in shard 0.
    pub(super) registry: RefCell<Registry<BasinName, BasinRecord>>,
    /// Decides about access tokens; empty but in shard 0.
    pub(super) tokens: RefCell<Registry<TokenId, Rc<TokenRecord>>>,
    pub(super) durable: Durable,
    pub(super) shipped: Shipped,
    pub(super) metrics: Metrics,
    pub(super) timestamps: RefCell<Vec<u64>>,
    pub(super) inflight_bytes: Cell<u64>,
    /// When appends became durable last, microseconds on the monotonic clock.
    pub(super) appended_at_us: Cell<Option<u64>>,
    /// How many groups with appends became durable.
    pub(super) groups_appended: Cell<u64>,
    /// Streams of a group that somebody follows; kept for its memory, empty between groups.
    to_wake: RefCell<Vec<Rc<Stream>>>,
    /// Bytes of read sessions that were spelled and not yet taken.
    pub(super) outstanding_bytes: Rc<Cell<usize>>,
    /// Metered bytes of unary appends that wait for admission.
    pub(super) waiting_bytes: Cell<u64>,
    pub(super) admitted: Notify,
    pub(super) drain: Drain,
    pub(super) cleaner: Cleaner,
    pub(super) folder: Folder,
    pub(super) findings: Findings,
    /// Where the durable log ends.
    pub(super) durable_end: Cell<(LogPos, Chain)>,
    pub(super) checkpoints: Checkpoints,
    pub(super) followed: Followed,
    pub(super) aside: Aside,
}

impl<I: Io> Engine<I> {
    /// Opens the shard's log and replays it.
    ///
    /// * Durable: everything that is visible afterwards.
    /// * Errors: [`RecoveryError`]; on damage nothing was changed.
    pub async fn open(io: Rc<I>, config: EngineConfig) -> Result<Self, RecoveryError> {
        Self::open_watched(io, config, None, Arc::default()).await
    }

    /// The same, and says on the way how far it is. With a link its log is shipped, and segments
    /// stay that are not.
    pub(super) async fn open_watched(
        io: Rc<I>,
        config: EngineConfig,
        link: Option<Arc<Link>>,
        progress: Arc<Progress>,
    ) -> Result<Self, RecoveryError> {
        let kept_epoch = link.as_ref().map_or(u64::MAX, |link| link.needed_epoch());
        let engine = Self::open_keeping(io, config, kept_epoch, progress).await?;
        if let Some(link) = link {
            engine.ship_by(link);
        }
        Ok(engine)
    }

    async fn open_keeping(
        io: Rc<I>,
        config: EngineConfig,
        kept_epoch: u64,
        progress: Arc<Progress>,
    ) -> Result<Self, RecoveryError> {
        let mut replay = Replay::watched(Arc::clone(&progress));
        let started_us = io.now_us();
        let recovered: Recovered<I> = recover(&*io, config.log, kept_epoch, &mut replay)
            .await
            .inspect_err(|error| replay.name_damaged_streams(config.log.shard, error))?;
        progress.finish();
        let mut catalog = replay.into_catalog();
        note_lost(&catalog, &recovered.quarantine);
        catalog.raise_next_stream_id(recovered.next_stream_id);
        let owns_basins = config.log.shard == 0;
        let basins = catalog.basins().filter(|_| owns_basins);
        let registry = Registry::of(basins.map(|(name, basin)| (name.clone(), basin.clone())));
        let tokens = Registry::of(std::mem::take(&mut catalog.tokens).into_iter());
        let segments = Rc::new(recovered.segments);
        let active = segments.active();
        let offset_bytes = u32::try_from(active.end_bytes()).expect("segments are at most 4 GiB");
        let end = LogPos { segment: active.epoch, offset_bytes };
        tracing::info!(
            shard = config.log.shard,
            streams = catalog.stream_count(),
            segment = end.segment,
            offset_bytes,
            torn_bytes = recovered.torn_bytes,
            took_ms = (io.now_us() - started_us) / 1000,
            "log recovered"
        );
        let footers = Footers::new(Rc::clone(&io), config.log);
        footers.remove_unfinished()?;
        footers.remove_but(segments.oldest_epoch()..end.segment)?;
        let reader = Reader::new(config.log, Rc::clone(&segments), config.read_memory, end);
        let writer = Writer::new(
            Rc::clone(&io),
            config.log,
            config.policy,
            Rc::clone(&segments),
            recovered.chain,
        );
        Ok(Self {
            io,
            config,
            writer,
            reader,
            footers,
            folder: Folder::default(),
            segments,
            catalog: RefCell::new(catalog),
            registry: RefCell::new(registry),
            tokens: RefCell::new(tokens),
            durable: Durable::default(),
            shipped: Shipped::default(),
            metrics: Metrics::since(started_us),
            timestamps: RefCell::default(),
            inflight_bytes: Cell::default(),
            appended_at_us: Cell::default(),
            groups_appended: Cell::default(),
            to_wake: RefCell::default(),
            outstanding_bytes: Rc::default(),
            waiting_bytes: Cell::default(),
            admitted: Notify::default(),
            drain: Drain::default(),
            cleaner: Cleaner::default(),
            findings: Findings::default(),
            durable_end: (end, recovered.chain).into(),
            checkpoints: Checkpoints::default(),
            followed: Followed::default(),
            aside: Aside::default(),
        })
    }

    /// Does one operation.
    ///
    /// * Errors: a [`Refusal`], which has waited for the state that it reveals.
    /// * Cancel: what was logged becomes durable all the same.
    pub async fn handle(self: &Rc<Self>, call: Call) -> CallResult {
        match call {
            Call::Append { path, key, input, asked, receipt } => {
                self.append((&path, key), input, &asked, receipt).await
            }
            // Boxed: each append would carry the room of the largest of them.
            other => Box::pin(self.handle_other(other)).await,
        }
    }

    async fn handle_other(self: &Rc<Self>, call: Call) -> CallResult {
        match call {
            Call::Append { .. } => Err(Refusal::Other("appends are handled before".to_owned())),
            Call::Read { path, key, query, form, asked } => {
                let read = self.read((&path, key), &query, form, &asked).await?;
                Ok(Answer::Body(read.0, read.1))
            }
            Call::CheckTail(path, from) => self.check_tail(&path, from).await.map(Answer::Tail),
            Call::CreateStream { path, config, creation } => {
                self.create_stream(&path, &config, creation).await
            }
            Call::EnsureStream { path, config } => self.ensure_stream(&path, &config).await,
            Call::ReconfigureStream { path, patch } => {
                self.reconfigure_stream(&path, &patch).await.map(Answer::StreamConfig)
            }
            Call::GetStream(path) => self.stream_config(&path).await.map(Answer::StreamConfig),
            Call::DeleteStream(path) => self.delete_stream(&path).await,
            Call::ListStreams(basin, page) => self.list_streams(&basin, &page),
            Call::CreateBasin { basin, config, creation } => {
                self.create_basin(&basin, config, creation).await
            }
            Call::EnsureBasin { basin, config } => self.ensure_basin(&basin, config).await,
            Call::ReconfigureBasin { basin, patch } => self.reconfigure_basin(&basin, &patch).await,
            Call::GetBasin(basin) => self.basin(&basin),
            Call::MarkBasinDeleted(basin) => self.mark_basin_deleted(&basin).await,
            Call::ListBasins(page) => Ok(self.list_basins(&page)),
            Call::CopyBasin(record) => self.copy_basin(record),
            Call::DeleteStreamsOf(basin) => self.delete_streams_of(&basin).await,
            Call::ForgetBasin(basin) => self.forget_basin(&basin).await,
            Call::DropBasinCopy(basin) => Ok(self.drop_basin_copy(&basin)),
            Call::IssueToken(record) => self.issue_token(*record).await,
            Call::RevokeToken(id) => self.revoke_token(&id).await,
            Call::ForgetToken(id) => self.forget_token(&id).await,
            Call::ListTokens(page) => Ok(self.list_tokens(&page)),
            Call::Usage(scope, query) => Ok(Answer::Usage(self.usage_part(&scope, &query))),
            Call::Metrics => Ok(Answer::Metrics(Box::new(self.snapshot()))),
            Call::Latency => Ok(Answer::Latency(Box::new(self.metrics.latency(self.io.now_us())))),
            Call::Stats => Ok(Answer::Stats(Box::new(self.stats()))),
            Call::CoreMetrics | Call::CopyTokens(_) | Call::DropTokenCopy(_) => {
                Err(Refusal::Other("asked of a core, not of a shard".to_owned()))
            }
            Call::Health => self.check_open().map(|()| Answer::Health(self.damaged_places())),
        }
    }

    /// Writes what gathers, for ever.
    ///
    /// Ends with the first failure, of its own or of the segments' task: from then on nothing is
    /// promised, and the shard is read-only.
    pub async fn run_writer(self: Rc<Self>) {
        while self.durable.failure().is_none() {
            match self.writer.flush_next().await {
                Ok(flushed) if self.durable.failure().is_none() => self.became_durable(flushed),
                Ok(_) => {}
                Err(error) => self.give_up(&error),
            }
        }
    }

    /// Keeps segments ready, until a write or sync fails; as [`run_writer`](Self::run_writer).
    pub async fn run_segments(self: Rc<Self>) {
        if let Err(error) = self.segments.keep(&*self.io).await {
            self.give_up(&error);
        }
    }

    fn give_up(&self, error: &IoError) {
        let shard = self.config.log.shard;
        let reason = chain(error);
        tracing::error!(shard, reason, "log failed: the shard takes no more appends");
        self.durable.fail(&reason);
        self.shipped.fail(&reason);
        self.admitted.notify();
    }

    fn became_durable(&self, flushed: Flushed<I::Buf, Note>) {
        let (mut batches, mut record_bytes, frames) = (0, 0, flushed.frames.len() as u64);
        let mut asked = Vec::new(); // no memory is taken for none
        let mut to_wake = self.to_wake.take();
        for mut frame in flushed.frames {
            self.show_readers(&frame);
            for note in frame.notes.drain(..) {
                match note {
                    Note::Batch { stream, first, after, arrival_ms, bytes, receipt } => {
                        stream.became_durable(first, arrival_ms, frame.pos, after);
                        stream.count_batch(first.seq_num, &after, arrival_ms, bytes);
                        batches += 1;
                        record_bytes += bytes;
                        asked.extend(receipt.map(|slot| (slot, frame.pos)));
                        note_follower(&mut to_wake, stream);
                    }
                    Note::Trimmed(stream, to) => stream.trimmed(to.trim_point, to.at_ms),
                    Note::Moved(stream, batch) => {
                        stream.moved(&MovedBatch { pos: frame.pos, ..batch });
                    }
                    Note::StreamGone(stream) => {
                        self.catalog.borrow_mut().remove_stream(stream.id);
                        self.checkpoints.note_gone(&stream);
                        stream.changed.notify();
                    }
                    Note::Stream(stream) => stream.changed.notify(),
                    Note::Basin | Note::Token | Note::Usage => {}
                    Note::BasinGone(name) => self.registry.borrow_mut().remove(&name),
                    Note::TokenGone(id) => self.tokens.borrow_mut().remove(&id),
                }
            }
            self.writer.take_back(frame.notes);
        }
        for (slot, pos) in asked {
            slot.fill(Receipt {
                shard: self.config.log.shard,
                pos,
                class: slot.class,
                group_batches: batches,
                group_bytes: flushed.written_bytes,
                queued_us: flushed.began_us.saturating_sub(slot.since_us),
                write_us: flushed.write_us,
                sync_us: flushed.sync_us,
            });
        }
        if batches > 0 {
            let entry_bytes = record_bytes + batches * BATCH_HEADER_BYTES as u64;
            self.cleaner.note_batch(entry_bytes, record_bytes);
            self.appended_at_us.set(Some(self.io.now_us()));
            self.groups_appended.set(self.groups_appended.get() + 1);
        }
        self.durable_end.set(flushed.end);
        self.inflight_bytes.set(self.inflight_bytes.get() - record_bytes);
        self.admitted.notify();
        if let Some(wait_us) = flushed.standard_wait_us {
            self.metrics.standard_waited(wait_us);
        }
        self.note_to_ship(flushed.end, flushed.durable_ticket);
        self.metrics.group_written(GroupWritten {
            batches,
            frames,
            written_bytes: flushed.written_bytes,
            record_bytes,
            ticket: flushed.durable_ticket,
            began_us: flushed.began_us,
            write_us: flushed.write_us,
            sync_us: flushed.sync_us,
        });
        self.durable.advance(flushed.durable_ticket + u64::from(planted::has(Bug::AckOneAhead)));
        self.wake_followers(to_wake);
        self.note_logged(flushed.written_bytes);
    }

    /// Wakes who follows these streams, behind who appended: tasks run in the order in which they
    /// are woken, and there may be very many followers of what one client waits for.
    fn wake_followers(&self, mut streams: Vec<Rc<Stream>>) {
        streams.drain(..).for_each(|stream| stream.changed.notify());
        self.to_wake.replace(streams);
    }

    /// Keeps a durable frame for readers, unless it holds nothing but old records that were moved:
    /// these are not what they follow.
    fn show_readers(&self, frame: &DurableFrame<I::Buf, Note>) {
        if !frame.notes.is_empty() && frame.notes.iter().all(|n| matches!(n, Note::Moved(..))) {
            self.reader.pass(frame.pos, frame.buf.as_ref().as_ref().len());
        } else {
            self.reader.remember(frame.pos, &frame.buf, frame.memory_bytes);
        }
    }

    /// Logs a stream's metadata; returns the ticket.
    pub(super) fn log_stream(&self, record: &StreamRecord, stream: &Rc<Stream>) -> u64 {
        self.writer.append_metadata(Kind::Stream, &json(record), Note::Stream(Rc::clone(stream)))
    }

    /// Logs once that a stream is gone.
    pub(super) fn log_stream_gone(&self, stream: &Rc<Stream>) {
        if stream.gone.replace(true) {
            return;
        }
        let gone = Gone { id: stream.id.0, name: String::new() };
        let note = Note::StreamGone(Rc::clone(stream));
        stream.last_ticket.set(self.writer.append_metadata(Kind::StreamGone, &json(&gone), note));
    }

    /// Waits until `ticket` is durable.
    pub(super) async fn settle(&self, ticket: u64) -> Result<(), Refusal> {
        self.durable.wait(ticket).await.map_err(|reason| Refusal::Storage(reason.to_string()))
    }

    /// Waits until what has that ticket may be acknowledged to whom that class was promised.
    pub(super) async fn settle_for(&self, class: StorageClass, ticket: u64) -> Result<(), Refusal> {
        let promised = self.promised(class).wait(ticket).await;
        promised.map_err(|reason| Refusal::Storage(reason.to_string()))
    }

    /// Waits until what the refusal reveals is durable.
    pub(super) async fn refuse<T>(&self, refused: Refused) -> Result<T, Refusal> {
        if !planted::has(Bug::RefusalEarly) {
            self.settle(refused.ticket).await?;
        }
        Err(refused.refusal)
    }

    /// Whether the log takes entries.
    pub(super) fn check_open(&self) -> Result<(), Refusal> {
        self.durable.failure().map_or(Ok(()), |reason| Err(Refusal::Storage(reason.to_string())))
    }

    fn snapshot(&self) -> crate::metrics::Snapshot {
        self.note_now();
        self.metrics.snapshot()
    }

    fn stats(&self) -> crate::metrics::ShardStats {
        self.note_now();
        self.metrics.stats(self.io.now_us())
    }

    /// Has the metrics know what is true now.
    fn note_now(&self) {
        self.metrics.set_inflight_bytes(self.inflight_bytes.get());
        self.metrics.set_streams_open(self.catalog.borrow().stream_count() as u64);
        self.metrics.set_scrub_damaged_frames(self.damaged_frames());
        self.metrics.set_stored_bytes(self.catalog.borrow().usage.stored_bytes());
        self.metrics.set_segment_files(self.segments.file_count() as u64);
        self.metrics.set_index_bytes(self.catalog.borrow().index_bytes());
        let footers = self.footers.counts();
        self.metrics.set_index_reloads(footers.lookups, footers.block_reads);
        let read = self.reader.counts();
        self.metrics.set_log_reads(read.reads, read.read_bytes, read.cache_hits);
        self.metrics.set_holdings(self.holdings());
        self.metrics.set_bucket(self.bucket_state());
    }

    /// Writes a last checkpoint, so that the next start is quick; nothing else may be under way.
    ///
    /// * Durable: yes, when it returns.
    pub async fn close(&self) -> Result<(), IoError> {
        if self.durable.failure().is_some() {
            return Ok(()); // nothing more is written to a log that failed
        }
        self.checkpoint().await
    }

    /// Names of the basins that are being deleted, and streams that are: what a restart resumes.
    pub fn unfinished_deletions(&self) -> (Vec<BasinName>, Vec<Rc<Stream>>) {
        let catalog = self.catalog.borrow();
        let basins = catalog.basins().filter(|(_, basin)| basin.deleted_us.is_some());
        let streams = catalog.streams().filter(|s| s.is_deleting());
        (basins.map(|(name, _)| name.clone()).collect(), streams.cloned().collect())
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records are structs of plain values")
}

/// Lists a stream of which something is durable, if somebody waits for that; once for each run.
fn note_follower(to_wake: &mut Vec<Rc<Stream>>, stream: Rc<Stream>) {
    let is_listed = to_wake.last().is_some_and(|last| Rc::ptr_eq(last, &stream));
    if !is_listed && stream.changed.is_waited_for() {
        to_wake.push(stream);
    }
}
