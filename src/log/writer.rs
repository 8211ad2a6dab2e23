//! The detached writer of one shard: frames out of what gathered, on disk, synced, in order.
//!
//! * One group is in flight; the next gathers meanwhile.
//! * A ticket counts entries: entry *n* is durable once [`Flushed::durable_ticket`] has reached
//!   it. Tickets are handed out in log order, so durability is a single number that only grows.
//! * Whoever appended may go away; the entry is written all the same.
//! * The first failure is final: nothing is written, and no sync tried, after it.
//! * When the log falls quiet, an empty *marker* frame records that the last group is durable, so
//!   that recovery can tell damage in it from a torn tail. It is not synced: it is evidence, not
//!   a promise.

mod faulty;

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;

use futures_util::future::{self, Either};

use super::entry::{self, BatchPlace, Kind, sealed};
pub use super::flushed::{Chain, DurableFrame, Flushed};
use super::format::{FRAME_HEADER_BYTES, FrameHeader, SEGMENT_HEADER_BYTES};
use super::group::{Gather, OpenFrame, Policy, Step};
use super::segment::{LogFacts, Segment};
use super::segments::Segments;
use crate::io::notify::Notify;
use crate::io::{BLOCK_BYTES, Buffer, Io, IoError, LogFile};
use crate::planted::{self, Bug};
use crate::types::sealed::Seal;
use crate::types::{AppendInput, LogPos, StorageClass};

/// How long the log is quiet before a marker is written, in microseconds.
const MARKER_DELAY_US: u64 = 5_000;

/// Groups of a single entry in a row after which the log counts as used by one client at a time.
const LONE_GROUPS_MIN: u32 = 8;
/// Longest that a write and its sync may take on average for them to hold the thread, in
/// microseconds.
const HELD_US_MAX: u64 = 1_000;
/// Longest group that may hold the thread while others append, in bytes: a longer one takes the
/// device so long that others had better be received meanwhile.
const HELD_BYTES_MAX: usize = 128 * 1024;
/// What it takes to receive and answer an append, in microseconds; roughly.
const APPEND_US: u64 = 8;
/// What it is worth not to be woken for a write and for its sync, in microseconds; roughly.
const WAKES_US: u64 = 400;
/// Groups of one client after which the executor looks around before the next, as it does after
/// each that held the thread when others append: with one client it mostly has.
const LONE_HELD_MAX: u64 = 64;
/// How long they may have held the thread together by then, in microseconds.
const LONE_HELD_US_MAX: u64 = 5_000;
/// How often a group holds the thread to see how long that takes now, in microseconds.
const HELD_PROBE_US: u64 = 1_000_000;

/// The writer; one per shard. All methods take `&self`: borrows end before any await.
pub struct Writer<I: Io, N> {
    io: Rc<I>,
    facts: LogFacts,
    policy: Policy,
    segments: Rc<Segments<I>>,
    gather: RefCell<Gather<I::Buf, N>>,
    gathered: Notify,
    chain: Cell<Chain>,
    durable_frame_seq: Cell<u64>,
    tickets: Cell<u64>,
    flushed_tickets: Cell<u64>,
    sync_us: Cell<u64>,
    /// When the group under way was begun, on the monotonic clock.
    busy_since_us: Cell<Option<u64>>,
    /// How many groups in a row held a single entry.
    lone_groups: Cell<u32>,
    /// How long the thread was held by a write and its sync lately, in microseconds.
    held_us: Cell<u64>,
    /// When it was last held, on the monotonic clock.
    held_at_us: Cell<u64>,
    /// Groups that held it since the executor has looked around for sure.
    held_groups: Cell<u64>,
    /// When the last group became durable, on the monotonic clock.
    flushed_us: Cell<u64>,
    /// The timer after which the log may be quiet, while it runs.
    quiet: Cell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    /// The segment in use is to be left although it is not full.
    roll_wanted: Cell<bool>,
    /// A marker that the next sync makes durable.
    marker: RefCell<Option<DurableFrame<I::Buf, N>>>,
}

impl<I: Io, N> Writer<I, N> {
    /// A writer that goes on where recovery found the end of the log.
    pub fn new(
        io: Rc<I>,
        facts: LogFacts,
        policy: Policy,
        segments: Rc<Segments<I>>,
        chain: Chain,
    ) -> Self {
        Self {
            io,
            facts,
            policy,
            segments,
            gather: RefCell::new(Gather::for_segments(facts.segment_bytes)),
            gathered: Notify::default(),
            chain: chain.into(),
            durable_frame_seq: (chain.next_frame_seq - 1).into(),
            tickets: 0.into(),
            flushed_tickets: 0.into(),
            sync_us: 0.into(),
            busy_since_us: None.into(),
            lone_groups: 0.into(),
            held_us: 0.into(),
            held_at_us: 0.into(),
            held_groups: 0.into(),
            flushed_us: 0.into(),
            quiet: Cell::default(),
            roll_wanted: Cell::default(),
            marker: RefCell::default(),
        }
    }

    /// Adds a batch to the log and returns its ticket.
    ///
    /// * Durable: no; once a flush reports the ticket.
    /// * Cancel: not async, so whole or not at all.
    /// * Cost: one copy of the record bytes; no allocation while the frame's memory lasts.
    pub fn append_batch(
        &self,
        place: BatchPlace,
        batch: &AppendInput,
        timestamps: &[u64],
        class: StorageClass,
        note: N,
    ) -> u64 {
        let put = |out: &mut [u8]| entry::put_batch(out, place, batch, timestamps);
        self.push(entry::batch_bytes_max(batch), put, class, note)
    }

    /// The same, with the batch's data records encrypted.
    pub fn append_sealed(
        &self,
        place: BatchPlace,
        batch: &AppendInput,
        (timestamps, seal): (&[u64], &impl Seal),
        class: StorageClass,
        note: N,
    ) -> u64 {
        let put = |out: &mut [u8]| sealed::put_sealed(out, place, batch, timestamps, seal);
        self.push(sealed::sealed_bytes_max(batch), put, class, note)
    }

    /// Adds a change of metadata to the log and returns its ticket; as
    /// [`append_batch`](Self::append_batch).
    pub fn append_metadata(&self, kind: Kind, json: &[u8], note: N) -> u64 {
        let put = |out: &mut [u8]| entry::put_metadata(out, kind, json);
        self.push(entry::metadata_bytes(json.len()), put, StorageClass::Express, note)
    }

    /// The same for what nobody waits for: it goes with what else is written, or alone after a
    /// Standard batch's wait.
    pub fn append_in_passing(&self, kind: Kind, json: &[u8], note: N) -> u64 {
        let put = |out: &mut [u8]| entry::put_metadata(out, kind, json);
        self.push(entry::metadata_bytes(json.len()), put, StorageClass::Standard, note)
    }

    /// Adds a copy of a batch entry that lies elsewhere in the log; nobody waits for it either.
    pub fn append_moved(&self, batch: &[u8], note: N) -> u64 {
        let put = |out: &mut [u8]| entry::put_moved(out, batch);
        self.push(batch.len(), put, StorageClass::Standard, note)
    }

    fn push(
        &self,
        bytes_max: usize,
        put: impl FnOnce(&mut [u8]) -> usize,
        class: StorageClass,
        note: N,
    ) -> u64 {
        let alloc = |len| self.io.alloc(len);
        let now_us = self.io.now_us();
        self.gather.borrow_mut().push(alloc, bytes_max, put, note, class, now_us);
        let ticket = self.tickets.get() + 1;
        self.tickets.set(ticket);
        self.gathered.notify();
        ticket
    }

    /// Takes back the notes of a durable frame, so that a later one has their memory.
    pub fn take_back(&self, notes: Vec<N>) {
        self.gather.borrow_mut().take_back(notes);
    }

    /// The newest ticket handed out.
    #[must_use]
    pub fn newest_ticket(&self) -> u64 {
        self.tickets.get()
    }

    /// Bytes gathered and not yet handed to the disk.
    #[must_use]
    pub fn gathered_bytes(&self) -> usize {
        self.gather.borrow().bytes()
    }

    /// How long a group takes, in microseconds: as the last ones did, or as long as the one under
    /// way has taken already.
    #[must_use]
    pub fn group_us(&self) -> u64 {
        let under_way_us = |since_us| self.io.now_us().saturating_sub(since_us);
        self.sync_us.get().max(self.busy_since_us.get().map_or(0, under_way_us))
    }

    /// Has the log go on in the next segment, which must be there, as soon as nothing is to be
    /// written.
    pub fn roll_soon(&self) {
        let active = self.segments.active();
        self.roll_wanted.set(active.end_bytes() > SEGMENT_HEADER_BYTES as u64);
        self.gathered.notify();
    }

    /// Where the next frame goes in the chain. What a checkpoint needs is [`Flushed::end`]: later a
    /// marker or a group under way, which a crash may take away, would be counted in.
    #[must_use]
    pub fn chain(&self) -> Chain {
        self.chain.get()
    }

    /// Waits for something to write, writes it, syncs it, and says what is durable now.
    ///
    /// * Durable: everything up to the returned ticket.
    /// * Errors: final; do not call it again.
    /// * Cancel: only at shutdown. A write under way still happens.
    pub async fn flush_next(&self) -> Result<Flushed<I::Buf, N>, IoError> {
        let (segment, frames, standard_wait_us) = loop {
            self.wait_until_due().await?;
            self.busy_since_us.set(Some(self.io.now_us()));
            let segment = self.segments.active();
            let (standard_wait_us, frames) = {
                let mut gather = self.gather.borrow_mut();
                (gather.standard_wait_us(self.io.now_us()), gather.take(segment.room_bytes()))
            };
            if !frames.is_empty() {
                break (segment, frames, standard_wait_us);
            }
            let is_empty = segment.end_bytes() == SEGMENT_HEADER_BYTES as u64;
            assert!(!is_empty, "segments are longer than the longest frame");
            self.roll(&segment).await?;
        };
        let flushed = self.write_and_sync(&segment, frames).await?;
        self.busy_since_us.set(None);
        Ok(Flushed { standard_wait_us, ..flushed })
    }

    /// Goes on in the next segment. A marker may still be unsynced in this one, and no frame of
    /// the next may be durable before everything in this one is.
    async fn roll(&self, full: &Segment<I::File>) -> Result<(), IoError> {
        if !planted::has(Bug::RollBeforeSync) {
            full.file.sync().await?;
        }
        self.durable_frame_seq.set(self.chain.get().next_frame_seq - 1);
        self.segments.roll().await;
        self.roll_wanted.set(false);
        Ok(())
    }

    async fn wait_until_due(&self) -> Result<(), IoError> {
        loop {
            let (now_us, sync_us) = (self.io.now_us(), self.sync_us.get());
            let step = self.gather.borrow().step(&self.policy, now_us, sync_us);
            match step {
                Step::Write if self.owes_round() => {
                    self.held_groups.set(0);
                    self.io.look_around().await;
                }
                Step::Write => return Ok(()),
                Step::WaitUntilUs(at_us) => {
                    let wait_us = at_us.saturating_sub(self.io.now_us());
                    self.gathered_within(wait_us).await;
                }
                // Nothing gathered, so nothing is taken, and whoever takes nothing rolls.
                Step::Idle if self.roll_wanted.get() => return Ok(()),
                Step::Idle if self.marker_is_due() => {
                    if !self.gathered_before_quiet().await && self.is_quiet() {
                        self.write_marker().await?;
                    }
                }
                Step::Idle => self.gathered.notified().await,
            }
        }
    }

    /// Waits for an entry to gather; false when none did within `us` microseconds.
    async fn gathered_within(&self, us: u64) -> bool {
        let gathered = std::pin::pin!(self.gathered.notified());
        let timeout = std::pin::pin!(self.io.sleep_us(us));
        matches!(future::select(gathered, timeout).await, Either::Left(_))
    }

    /// Waits for an entry to gather; false when the quiet timer ran out first. It runs on from one
    /// wait to the next: a timer for each group would cost the busy log more than the group's own
    /// bookkeeping.
    async fn gathered_before_quiet(&self) -> bool {
        let timer = self.quiet.take().unwrap_or_else(|| {
            let io = Rc::clone(&self.io);
            Box::pin(async move { io.sleep_us(MARKER_DELAY_US).await })
        });
        let gathered = std::pin::pin!(self.gathered.notified());
        match future::select(gathered, timer).await {
            Either::Left(((), timer)) => {
                self.quiet.set(Some(timer));
                true
            }
            Either::Right(_) => false,
        }
    }

    /// Whether nothing was written for as long as a marker waits.
    fn is_quiet(&self) -> bool {
        self.io.now_us() - self.flushed_us.get() >= MARKER_DELAY_US
    }

    /// Whether the disk does not know yet that its last frame with entries is durable, and there
    /// is room to say so.
    fn marker_is_due(&self) -> bool {
        let last_frame_seq = self.chain.get().next_frame_seq - 1;
        self.durable_frame_seq.get() == last_frame_seq
            && self.flushed_tickets.get() > 0
            && self.segments.active().room_bytes() >= BLOCK_BYTES
    }

    async fn write_marker(&self) -> Result<(), IoError> {
        let segment = self.segments.active();
        let frame = OpenFrame::<_, N> {
            buf: self.io.alloc(BLOCK_BYTES),
            end: FRAME_HEADER_BYTES,
            payload_crc: 0,
            notes: Vec::new(),
        };
        let marker = self.place(&segment, frame).await;
        let offset_bytes = u64::from(marker.pos.offset_bytes);
        segment.file.write_at(Rc::clone(&marker.buf), offset_bytes).await?;
        *self.marker.borrow_mut() = Some(marker);
        Ok(())
    }

    async fn write_and_sync(
        &self,
        segment: &Segment<I::File>,
        open: Vec<OpenFrame<I::Buf, N>>,
    ) -> Result<Flushed<I::Buf, N>, IoError> {
        let began_us = self.io.now_us();
        let mut frames = Vec::with_capacity(open.len() + 1); // and a marker
        for frame in open {
            frames.push(self.place(segment, frame).await);
        }
        let written_bytes = frames.iter().map(|f| f.buf.as_ref().as_ref().len() as u64).sum();
        let write = |f: &DurableFrame<I::Buf, N>| {
            let buf =
                if planted::has(Bug::BufferReused) { self.reused(f) } else { Rc::clone(&f.buf) };
            segment.file.write_at(buf, u64::from(f.pos.offset_bytes))
        };
        let written_us = match &*frames {
            [only] if self.may_hold(only, began_us) => {
                let offset_bytes = u64::from(only.pos.offset_bytes);
                segment.file.write_held(Rc::clone(&only.buf), offset_bytes).await?;
                self.note_held(began_us);
                began_us // both in one; counted as sync
            }
            all => {
                match all {
                    // Joining them takes memory, and there is mostly one.
                    [only] => write(only).await?,
                    all => drop(future::try_join_all(all.iter().map(write)).await?),
                }
                let written_us = self.io.now_us();
                self.sync_group(&segment.file).await?;
                written_us
            }
        };
        let synced_us = self.io.now_us();

        self.flushed_us.set(synced_us);
        let tickets: usize = frames.iter().map(|f| f.notes.len()).sum();
        self.segments.note_group(written_bytes);
        let durable_ticket = self.flushed_tickets.get() + tickets as u64;
        self.flushed_tickets.set(durable_ticket);
        self.durable_frame_seq.set(self.chain.get().next_frame_seq - 1);
        if let Some(marker) = self.marker.take() {
            frames.insert(0, marker);
        }
        let (write_us, sync_us) = (written_us - began_us, synced_us - written_us);
        self.sync_us.set((7 * self.sync_us.get() + write_us + sync_us) / 8);
        let offset_bytes = u32::try_from(segment.end_bytes()).expect("segments are at most 4 GiB");
        let end = (LogPos { segment: segment.epoch, offset_bytes }, self.chain.get());
        Ok(Flushed {
            frames,
            durable_ticket,
            end,
            written_bytes,
            standard_wait_us: None,
            began_us,
            write_us,
            sync_us,
        })
    }

    /// Whether a group is to hold the thread until it is durable. Through io_uring the thread is
    /// woken twice more, and on a quick device that takes longer than what else there is to do
    /// meanwhile: about as much again as the group took.
    fn may_hold(&self, group: &DurableFrame<I::Buf, N>, now_us: u64) -> bool {
        let bugs = [Bug::AckBeforeSync, Bug::BufferReused, Bug::SyncTriedAgain];
        if bugs.into_iter().any(planted::has) {
            return false; // planted in the other way to write
        }
        let entries = group.notes.len() as u64;
        let lone_groups = if entries == 1 { self.lone_groups.get().saturating_add(1) } else { 0 };
        self.lone_groups.set(lone_groups);
        let is_long = group.buf.as_ref().as_ref().len() > HELD_BYTES_MAX;
        if is_long && lone_groups <= LONE_GROUPS_MIN {
            return false;
        }
        let held_us = self.held_us.get();
        let is_worth_it = held_us < HELD_US_MAX && held_us.min(entries * APPEND_US) <= WAKES_US;
        is_worth_it || now_us - self.held_at_us.get() >= HELD_PROBE_US
    }

    /// Says that the thread was held until now. When it has not been for long, what was known of
    /// that is old, and one slow group then would have kept others from showing that it was one.
    fn note_held(&self, began_us: u64) {
        let now_us = self.io.now_us();
        let us = now_us - began_us;
        let is_first = began_us - self.held_at_us.get() >= HELD_PROBE_US;
        let mean_us = (7 * self.held_us.get() + us.min(4 * HELD_US_MAX)) / 8;
        self.held_us.set(if is_first { us } else { mean_us });
        self.held_at_us.set(now_us);
        self.held_groups.set(self.held_groups.get() + 1);
    }

    /// Whether the executor is to look around before the next group. As long as tasks have
    /// something to do it does not by itself, and who waits for a connection or another core could
    /// wait long.
    fn owes_round(&self) -> bool {
        let is_lone = self.lone_groups.get() > LONE_GROUPS_MIN;
        let groups = self.held_groups.get();
        groups >= if is_lone { LONE_HELD_MAX } else { 1 }
            || groups * self.held_us.get() >= LONE_HELD_US_MAX
    }

    /// Gives a frame its place in the segment and the chain, and seals it.
    async fn place(
        &self,
        segment: &Segment<I::File>,
        frame: OpenFrame<I::Buf, N>,
    ) -> DurableFrame<I::Buf, N> {
        let OpenFrame { mut buf, end, payload_crc, notes } = frame;
        let frame_bytes = end.next_multiple_of(BLOCK_BYTES);
        let pos = segment.claim(frame_bytes).await;
        let chain = self.chain.get();
        let count = |n: usize| u32::try_from(n).expect("bounded by PAYLOAD_BYTES_MAX");
        let header = FrameHeader {
            shard: self.facts.shard,
            epoch: segment.epoch,
            frame_seq: chain.next_frame_seq,
            durable_seq: self.durable_frame_seq.get(),
            written_us: self.io.wall_us(),
            prev_crc: chain.prev_crc,
            payload_bytes: count(end - FRAME_HEADER_BYTES),
            payload_crc,
            entry_count: count(notes.len()),
        };
        // The memory was not zeroed when it was taken: nothing of an older frame, or of another
        // use of this memory, may reach the disk.
        if !planted::has(Bug::PaddingNotZeroed) {
            buf.as_mut()[end..frame_bytes].fill(0);
        }
        let prev_crc = header.encode(buf.as_mut(), self.facts.salt());
        let memory_bytes = buf.as_ref().len();
        buf.truncate(frame_bytes);
        self.chain.set(Chain { next_frame_seq: chain.next_frame_seq + 1, prev_crc });
        DurableFrame { pos, buf: Rc::new(buf), memory_bytes, notes }
    }
}
