//! The counters of one basin on one shard, or of the account.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::counter::{Class, Counter};
use super::query::{Interval, Part, Query, Set};
use super::saved::{BadUsage, Saved};
use super::series::Series;

pub(super) const MINUTE_S: u32 = 60;
pub(super) const HOUR_S: u32 = 3_600;

/// Counters of a basin or of the account.
///
/// Times are seconds since the Unix epoch.
#[derive(Debug, Default)]
pub struct Book(RefCell<Pages>);

#[derive(Debug, Default)]
struct Pages {
    counts: [Option<Box<Count>>; Counter::COUNT],
    /// Stored bytes at the end of each hour in which they changed.
    storage: Series,
    stored_bytes: u64,
    streams: u64,
    /// When it had streams, in order: start and end. Never two in one hour.
    active: Vec<(u64, u64)>,
    active_since: Option<u64>,
    /// The first minute that was changed and not saved.
    unsaved_from: Option<u32>,
}

#[derive(Debug, Default)]
struct Count {
    minutes: Series,
    hours: Series,
}

fn bucket(at_s: u64, bucket_s: u32) -> u32 {
    u32::try_from(at_s / u64::from(bucket_s)).unwrap_or(u32::MAX)
}

impl Book {
    /// Counts something that the log does not tell.
    pub fn count(&self, counter: Counter, at_s: u64, value: u64) {
        let mut pages = self.0.borrow_mut();
        pages.add(counter, at_s, value);
        let minute = bucket(at_s, MINUTE_S);
        pages.unsaved_from = Some(pages.unsaved_from.map_or(minute, |first| first.min(minute)));
    }

    /// Counts a durable append.
    ///
    /// * Cost: no allocation but for the first append of a minute.
    pub(super) fn append(&self, class: Class, at_s: u64, bytes: u64) {
        let mut pages = self.0.borrow_mut();
        let (operations, volume) = class.counters();
        pages.add(operations, at_s, 1);
        pages.add(volume, at_s, bytes);
    }

    /// Counts a durable append by which a stream's stored bytes went from `before` to `after`.
    pub fn appended(&self, class: Class, at_s: u64, bytes: u64, (before, after): (u64, u64)) {
        self.append(class, at_s, bytes);
        self.stored_changed(at_s, before, after);
    }

    /// Takes note that a stream's stored bytes went from `before` to `after`.
    pub fn stored_changed(&self, at_s: u64, before: u64, after: u64) {
        let mut pages = self.0.borrow_mut();
        pages.stored_bytes = pages.stored_bytes.saturating_sub(before).saturating_add(after);
        let (hour, bytes) = (bucket(at_s, HOUR_S), pages.stored_bytes);
        // What later hours said carries on from here: the clock was ahead, or this came late.
        pages.storage.forget_after(hour);
        pages.storage.set(hour, bytes);
    }

    /// Metered bytes stored now.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.0.borrow().stored_bytes
    }

    /// Takes over the stored bytes of a stream from a checkpoint, which has their history too.
    pub fn stored_restored(&self, bytes: u64) {
        let mut pages = self.0.borrow_mut();
        pages.stored_bytes = pages.stored_bytes.saturating_add(bytes);
    }

    /// Takes note that the basin has one more stream.
    pub fn stream_added(&self, at_s: u64) {
        let mut pages = self.0.borrow_mut();
        pages.streams += 1;
        if pages.active_since.is_some() {
            return;
        }
        let hour = |s: u64| s / u64::from(HOUR_S);
        let again = pages.active.pop_if(|(_, end)| hour(*end) >= hour(at_s));
        pages.active_since = Some(again.map_or(at_s, |(start, _)| start));
    }

    /// Takes note that the basin has one stream fewer, which stored `bytes`.
    pub fn stream_removed(&self, at_s: u64, bytes: u64) {
        self.stored_changed(at_s, bytes, 0);
        let mut pages = self.0.borrow_mut();
        pages.streams = pages.streams.saturating_sub(1);
        if pages.streams == 0 {
            pages.end_activity(at_s);
        }
    }

    /// After a replay: a checkpoint may know of a stream whose creation never became durable.
    pub(super) fn settle(&self) {
        let mut pages = self.0.borrow_mut();
        if pages.streams == 0 {
            pages.end_activity(0);
        }
    }

    /// Whether the basin had a stream during the time asked for.
    pub(super) fn was_active(&self, query: &Query) -> bool {
        let (start_s, end_s) = (u64::from(query.start_s), u64::from(query.end_s));
        let pages = self.0.borrow();
        pages.active_since.is_some_and(|since| since < end_s && start_s < end_s)
            || pages.active.iter().any(|(from, to)| *from < end_s && *to >= start_s)
    }

    /// The points that answer `query`.
    pub(super) fn part(&self, query: &Query, now_s: u64) -> Part {
        let pages = self.0.borrow();
        let mut part = Part::default();
        if query.set == Set::BasinStorage {
            let points = pages.storage_points(query, bucket(now_s, HOUR_S));
            if !points.is_empty() {
                part.series.insert("storage", points);
            }
            return part;
        }
        let (by_minute, bucket_s) = match query.interval {
            Interval::Minute => (true, MINUTE_S),
            Interval::Hour | Interval::Day => (false, HOUR_S),
        };
        for (counter, count) in pages.counts() {
            if counter.set() != query.set {
                continue;
            }
            let series = if by_minute { &count.minutes } else { &count.hours };
            let mut points = BTreeMap::<u32, u64>::new();
            let interval_s = query.interval.secs();
            for (bucket, value) in series.range(query.buckets(bucket_s)) {
                let at = bucket.saturating_mul(bucket_s) / interval_s * interval_s;
                *points.entry(at).or_default() += value;
            }
            if !points.is_empty() {
                part.series.insert(counter.name(), points);
            }
        }
        part
    }

    /// What changed and is not told by the log, as totals.
    pub(super) fn unsaved(&self) -> Option<Saved> {
        let pages = self.0.borrow();
        Some(pages.saved(pages.unsaved_from?, |counter| !counter.is_replayed()))
    }

    pub(super) fn mark_saved(&self) {
        self.0.borrow_mut().unsaved_from = None;
    }

    /// Everything.
    pub(super) fn save(&self) -> Saved {
        let pages = self.0.borrow();
        let mut saved = pages.saved(0, |_| true);
        saved.storage = pages.storage.encode(0);
        saved.active = pages.active.iter().flat_map(|(from, to)| [*from, *to]).collect();
        saved.active.extend(pages.active_since);
        saved
    }

    /// Takes over what [`save`](Self::save) or [`unsaved`](Self::unsaved) gave.
    pub(super) fn apply(&self, saved: &Saved) -> Result<(), BadUsage> {
        let mut pages = self.0.borrow_mut();
        for (rows, by_minute) in [(&saved.minutes, true), (&saved.hours, false)] {
            for (key, row) in rows {
                let samples = Series::decode(row).ok_or(BadUsage)?;
                let Some(counter) = Counter::of_key(key) else { continue };
                let count = pages.count_mut(counter);
                let series = if by_minute { &mut count.minutes } else { &mut count.hours };
                samples.into_iter().for_each(|(bucket, value)| series.raise(bucket, value));
            }
        }
        for (hour, bytes) in Series::decode(&saved.storage).ok_or(BadUsage)? {
            pages.storage.set(hour, bytes);
        }
        let (spans, open) = saved.active.as_chunks::<2>();
        if !saved.active.is_empty() {
            pages.active = spans.iter().map(|[from, to]| (*from, *to)).collect();
            pages.active_since = open.first().copied();
        }
        Ok(())
    }

    /// Forgets minutes and hours before these; what the storage was before stays known.
    pub(super) fn forget_before(&self, minute: u32, hour: u32) {
        let mut pages = self.0.borrow_mut();
        let pages = &mut *pages;
        for slot in &mut pages.counts {
            if let Some(count) = slot {
                count.minutes.forget_before(minute);
                count.hours.forget_before(hour);
                if count.minutes.is_empty() && count.hours.is_empty() {
                    *slot = None;
                }
            }
        }
        // What was stored then is still told by the last change before it, unless it was nothing.
        let level = pages.storage.before(hour).filter(|(_, bytes)| *bytes > 0);
        pages.storage.forget_before(level.map_or(hour, |(at, _)| at));
        let horizon_s = u64::from(hour) * u64::from(HOUR_S);
        pages.active.retain(|(_, end)| *end >= horizon_s);
    }

    /// How many numbers it holds.
    pub(super) fn samples(&self) -> usize {
        let pages = self.0.borrow();
        let of_count = |(_, count): (_, &Count)| count.minutes.len() + count.hours.len();
        pages.counts().map(of_count).sum::<usize>() + pages.storage.len() + pages.active.len()
    }

    /// Whether there is nothing in it worth keeping.
    pub(super) fn is_empty(&self) -> bool {
        self.samples() == 0 && self.0.borrow().active_since.is_none()
    }
}

impl Pages {
    fn counts(&self) -> impl Iterator<Item = (Counter, &Count)> {
        let pairs = Counter::ALL.iter().copied().zip(&self.counts);
        pairs.filter_map(|(counter, count)| Some((counter, count.as_deref()?)))
    }

    fn count_mut(&mut self, counter: Counter) -> &mut Count {
        self.counts[counter as usize].get_or_insert_default()
    }

    fn add(&mut self, counter: Counter, at_s: u64, value: u64) {
        let count = self.count_mut(counter);
        count.minutes.add(bucket(at_s, MINUTE_S), value);
        count.hours.add(bucket(at_s, HOUR_S), value);
    }

    fn end_activity(&mut self, at_s: u64) {
        if let Some(since) = self.active_since.take() {
            self.active.push((since, at_s.max(since)));
        }
    }

    /// Stored bytes at the end of each hour asked for, or now.
    fn storage_points(&self, query: &Query, hour_now: u32) -> BTreeMap<u32, u64> {
        let hours = query.buckets(HOUR_S);
        let mut level = self.storage.before(hours.start).map(|(_, bytes)| bytes);
        let mut changes = self.storage.range(hours.clone()).peekable();
        let mut points = BTreeMap::new();
        for hour in hours.start..hours.end.min(hour_now.saturating_add(1)) {
            if let Some((_, bytes)) = changes.next_if(|(at, _)| *at == hour) {
                level = Some(bytes);
            }
            if let Some(bytes) = level {
                points.insert(hour.saturating_mul(HOUR_S), bytes);
            }
        }
        points
    }

    fn saved(&self, from_minute: u32, wanted: impl Fn(Counter) -> bool) -> Saved {
        let mut saved = Saved::default();
        for (counter, count) in self.counts().filter(|(counter, _)| wanted(*counter)) {
            let rows = [
                (&mut saved.minutes, count.minutes.encode(from_minute)),
                (&mut saved.hours, count.hours.encode(from_minute / (HOUR_S / MINUTE_S))),
            ];
            for (by_counter, row) in rows.into_iter().filter(|(_, row)| !row.is_empty()) {
                by_counter.insert(counter.key().to_owned(), row);
            }
        }
        saved
    }
}
