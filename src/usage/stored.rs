//! How many metered bytes of a stream are still kept.
//!
//! Exact until something is trimmed. What a trim takes is exact at the marks, one for each
//! [`MARK_BYTES`] appended since the shard was opened; between two marks all records are taken to
//! be equally long. Marks are not saved: what was there at a start lies between two of them. Once
//! all of that is trimmed, or everything is, the number is exact again.

use std::collections::VecDeque;

/// Metered bytes between two marks.
const MARK_BYTES: u64 = 64 * 1024;

/// The stored bytes of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Bytes appended since counting began.
    appended: u64,
    /// Of these, trimmed.
    trimmed: u64,
    /// Records before this one are trimmed.
    first: u64,
    /// Next record.
    tail: u64,
    /// What is appended next begins at a mark, however close the last one is.
    mark_due: bool,
    /// All after `first`. Boxed: a stream has none before it is long, and most never are.
    marks: Option<Box<Marks>>,
}

/// Places in a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marks {
    /// Record and bytes before it, ascending; not empty.
    places: VecDeque<(u64, u64)>,
}

impl Stored {
    /// What a checkpoint kept of a stream with the records `first..tail`.
    #[must_use]
    pub fn restored(bytes: u64, first: u64, tail: u64) -> Self {
        if first >= tail {
            return Self { first: tail, tail, ..Self::default() };
        }
        // What comes from now on is told apart from what was there.
        Self { appended: bytes, trimmed: 0, first, tail, mark_due: true, marks: None }
    }

    /// Bytes kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.appended - self.trimmed
    }

    /// Adds a batch of the records `first..tail`.
    pub fn append(&mut self, first: u64, tail: u64, bytes: u64) {
        let marks = self.marks.as_ref().and_then(|marks| marks.places.back());
        let last = marks.map_or(self.trimmed, |(_, before)| *before);
        if self.appended == self.trimmed {
            (self.first, self.trimmed) = (first, self.appended);
            self.marks = None;
        } else if self.mark_due || self.appended - last >= MARK_BYTES {
            self.marks.get_or_insert_default().places.push_back((first, self.appended));
        }
        self.mark_due = false;
        self.appended = self.appended.saturating_add(bytes);
        self.tail = tail;
    }

    /// Takes away the records before `trim_point`.
    pub fn trim(&mut self, trim_point: u64) {
        if trim_point >= self.tail {
            self.marks = None;
            (self.first, self.trimmed) = (self.tail, self.appended);
            return;
        }
        while let Some((first, before)) = self.first_mark()
            && first <= trim_point
        {
            (self.first, self.trimmed) = (first, before);
            self.pop_mark();
        }
        if trim_point > self.first {
            let (end, before) = self.first_mark().unwrap_or((self.tail, self.appended));
            let bytes = u128::from(before - self.trimmed) * u128::from(trim_point - self.first);
            let share = bytes / u128::from(end - self.first);
            self.trimmed += u64::try_from(share).expect("at most what lies before the mark");
            self.first = trim_point;
        }
    }

    fn first_mark(&self) -> Option<(u64, u64)> {
        self.marks.as_ref()?.places.front().copied()
    }

    fn pop_mark(&mut self) {
        let Some(marks) = &mut self.marks else { return };
        marks.places.pop_front();
        if marks.places.is_empty() {
            self.marks = None;
        }
    }
}
