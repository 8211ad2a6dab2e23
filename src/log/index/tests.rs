use proptest::prelude::*;

use super::*;

/// Notes a batch: first record, timestamp, segment, offset.
fn push(index: &mut Index, (seq_num, timestamp, segment, offset_bytes): Run) {
    index.push(StreamPosition { seq_num, timestamp }, 0, LogPos { segment, offset_bytes });
}

fn sample() -> Index {
    let mut index = Index::default();
    for run in [
        (0, 10, 1, 4096),
        (5, 20, 1, 8192), // same span: no entry of its own
        (10, 20, 1, 4096 + SPAN_BYTES),
        (20, 30, 2, 4096), // same offset in another segment: another span
    ] {
        push(&mut index, run);
    }
    index
}

#[test]
fn one_entry_per_span() {
    let seqs: Vec<u64> = sample().iter().map(|e| e.seq_num).collect();
    assert_eq!(seqs, [0, 10, 20]);
}

#[test]
fn a_search_starts_at_the_last_span_that_may_hold_the_record() {
    let index = sample();
    let found = |entry: Option<IndexEntry>| entry.map(|e| e.seq_num);
    for (seq_num, start) in [(0, 0), (5, 0), (9, 0), (10, 10), (19, 10), (20, 20), (99, 20)] {
        assert_eq!(found(index.at_seq_num(seq_num)), Some(start), "seq {seq_num}");
    }
    // The first record of timestamp 20 may lie before the entry that starts with 20.
    for (timestamp, start) in [(0, 0), (10, 0), (11, 0), (20, 0), (21, 10), (31, 20)] {
        assert_eq!(found(index.at_timestamp(timestamp)), Some(start), "timestamp {timestamp}");
    }
    assert_eq!(Index::default().at_seq_num(7), None);
}

#[test]
fn trimming_keeps_the_run_that_holds_the_trim_point() {
    for (trim_point, first) in [(0, 0), (9, 0), (10, 10), (15, 10), (20, 20), (99, 20)] {
        let mut index = sample();
        index.trim(trim_point);
        assert_eq!(index.iter().next().map(|e| e.seq_num), Some(first), "trim {trim_point}");
    }
}

fn moved(first_seq_num: u64, end_seq_num: u64, segment: u64, offset_bytes: u32) -> MovedBatch {
    MovedBatch {
        first_seq_num,
        end_seq_num,
        first_timestamp: first_seq_num,
        last_timestamp: end_seq_num - 1,
        arrival_ms: first_seq_num,
        pos: LogPos { segment, offset_bytes },
    }
}

/// First record, timestamp, segment, offset.
type Run = (u64, u64, u64, u32);

fn runs(index: &Index) -> Vec<Run> {
    index.iter().map(|e| (e.seq_num, e.timestamp, e.pos.segment, e.pos.offset_bytes)).collect()
}

#[test]
fn a_move_takes_a_batch_out_of_its_run_and_leaves_the_rest() {
    let cases: &[(MovedBatch, &[Run])] = &[
        (moved(0, 30, 7, 4096), &[(0, 0, 7, 4096)]),
        (moved(0, 10, 7, 4096), &[(0, 0, 7, 4096), (10, 9, 1, 4096)]),
        (moved(10, 20, 7, 4096), &[(0, 0, 1, 4096), (10, 10, 7, 4096), (20, 19, 1, 4096)]),
        (moved(20, 30, 7, 4096), &[(0, 0, 1, 4096), (20, 20, 7, 4096)]),
    ];
    for (batch, expected) in cases {
        let mut index = Index::default();
        push(&mut index, (0, 0, 1, 4096));
        index.moved(batch, 30);
        assert_eq!(runs(&index), *expected, "{batch:?}");
    }
}

#[test]
fn batches_that_move_together_stay_one_run() {
    let mut index = Index::default();
    push(&mut index, (0, 0, 1, 4096));
    for (first, offset) in [(0, 4096), (10, 4096), (20, 8192)] {
        index.moved(&moved(first, first + 10, 7, offset), 40);
    }
    assert_eq!(runs(&index), [(0, 0, 7, 4096), (30, 29, 1, 4096)]);
    push(&mut index, (40, 40, 7, 12288));
    assert_eq!(runs(&index), [(0, 0, 7, 4096), (30, 29, 1, 4096), (40, 40, 7, 12288)]);
}

#[test]
fn folding_leaves_one_run_of_those_that_follow_each_other_in_a_segment() {
    const FAR: u32 = SPAN_BYTES;
    /// First record, segment, offset, length of the span.
    type Folded = (u64, u64, u32, u32);
    let cases: &[(&[Run], &[Folded])] = &[
        (&[], &[]),
        (&[(0, 0, 1, 4096)], &[(0, 1, 4096, SPAN_BYTES)]),
        (
            &[(0, 0, 1, 4096), (5, 5, 1, 4096 + FAR), (9, 9, 1, 4096 + 5 * FAR)],
            &[(0, 1, 4096, 6 * FAR)],
        ),
        // What lies in other segments is left alone, and parts what is around it.
        (
            &[(0, 0, 1, 0), (5, 5, 2, 0), (6, 6, 2, FAR), (9, 9, 1, FAR)],
            &[(0, 1, 0, FAR), (5, 2, 0, FAR), (6, 2, FAR, FAR), (9, 1, FAR, FAR)],
        ),
        // So is what does not follow by place.
        (&[(0, 0, 1, 4 * FAR), (5, 5, 1, 0)], &[(0, 1, 4 * FAR, FAR), (5, 1, 0, FAR)]),
    ];
    for (pushed, expected) in cases {
        let mut index = Index::default();
        pushed.iter().for_each(|run| push(&mut index, *run));
        index.fold(&(1..2));
        let folded = |e: IndexEntry| (e.seq_num, e.pos.segment, e.pos.offset_bytes, e.span_bytes);
        assert_eq!(index.iter().map(folded).collect::<Vec<_>>(), *expected, "{pushed:?}");
        assert!(index.memory_bytes() <= ENTRY_BYTES * (index.len() as u64 + 4));
    }
}

/// One stream's batches in a made-up log: what the index must find again.
#[derive(Debug)]
struct Log {
    index: Index,
    /// First record, end, and the place of the copy that counts, by first record.
    batches: Vec<(u64, u64, LogPos)>,
    /// All copies in log order, as (first record, end, place).
    copies: Vec<(u64, u64, LogPos)>,
    end: LogPos,
    tail: u64,
    trim_point: u64,
}

impl Log {
    /// The place of the next frame: some bytes further, perhaps in the next segment.
    fn place(&mut self, skip_blocks: u32) -> LogPos {
        self.end.offset_bytes += skip_blocks * 4096;
        if self.end.offset_bytes > 8 * SPAN_BYTES {
            self.end = LogPos { segment: self.end.segment + 1, offset_bytes: 4096 };
        }
        self.end
    }

    fn append(&mut self, count: u64, skip_blocks: u32) {
        let pos = self.place(skip_blocks);
        let (first, end) = (self.tail, self.tail + count);
        self.index.push(StreamPosition { seq_num: first, timestamp: first }, first, pos);
        self.index.trim(self.trim_point);
        self.batches.push((first, end, pos));
        self.copies.push((first, end, pos));
        self.tail = end;
    }

    /// Moves what counts in the oldest segment, as the cleaner does.
    fn clean(&mut self, skip_blocks: u32) {
        let Some(oldest) = self.index.first_epoch().filter(|epoch| *epoch < self.end.segment)
        else {
            return;
        };
        for (first, end, at) in self.copies.clone() {
            let current = at.segment == oldest && self.index.is_at(first, at);
            if !current || end <= self.trim_point {
                continue;
            }
            let pos = self.place(skip_blocks);
            let mut batch = moved(first, end, pos.segment, pos.offset_bytes);
            (batch.first_timestamp, batch.last_timestamp) = (first, end - 1);
            self.index.moved(&batch, self.tail);
            self.index.trim(self.trim_point);
            let held = self.batches.iter_mut().find(|b| b.0 == first).expect("it was appended");
            held.2 = pos;
            self.copies.push((first, end, pos));
        }
        assert_ne!(self.first_needed_epoch(), Some(oldest), "it was emptied");
    }

    /// Folds runs in a segment that is full.
    fn fold(&mut self, nth: u64) {
        let before = self.index.len();
        if let Some(oldest) = self.index.first_epoch().filter(|epoch| *epoch < self.end.segment) {
            let epoch = oldest + nth % (self.end.segment - oldest);
            self.index.fold(&(epoch..epoch + 1));
        }
        assert!(self.index.len() <= before);
    }

    fn first_needed_epoch(&self) -> Option<u64> {
        self.index.first_epoch().filter(|_| self.trim_point < self.tail)
    }

    fn trim(&mut self, to: u64) {
        self.trim_point = self.trim_point.max(to.min(self.tail));
        self.index.trim(self.trim_point);
    }

    /// Reads all that is kept the way a scan does.
    fn read(&self) -> Vec<(u64, LogPos)> {
        let mut found = Vec::new();
        let mut next = self.trim_point;
        while next < self.tail {
            let before = next;
            let run = self.index.at_seq_num(next).expect("something is kept");
            for &(first, end, pos) in self.copies.iter().filter(|copy| run.spans(copy.2)) {
                if first <= next && next < end {
                    found.push((first, pos));
                    next = end;
                }
            }
            assert!(next > before, "record {next} is not in its run {run:?}");
        }
        found
    }

    fn check(&self) {
        let kept = self.batches.iter().filter(|b| b.1 > self.trim_point);
        let kept: Vec<(u64, LogPos)> = kept.map(|b| (b.0, b.2)).collect();
        let found = self.read();
        assert_eq!(
            found.iter().map(|f| f.0).collect::<Vec<_>>(),
            kept.iter().map(|k| k.0).collect::<Vec<_>>()
        );
        for timestamp in self.trim_point..self.tail {
            let run = self.index.at_timestamp(timestamp).expect("something is kept");
            assert!(run.seq_num <= timestamp, "{timestamp} is before {run:?}");
        }
        for (first, _, pos) in &self.batches {
            assert!(*first < self.trim_point || self.index.is_at(*first, *pos));
        }
        let entries: Vec<IndexEntry> = self.index.iter().collect();
        assert!(entries.is_sorted_by(|a, b| a.seq_num < b.seq_num && a.timestamp <= b.timestamp));
        // Batches arrive at the number of their first record.
        for floor_ms in self.trim_point..self.tail {
            let gone_to = self.index.arrived_before(floor_ms).unwrap_or(0);
            let late = self.batches.iter().find(|b| b.0 >= floor_ms);
            assert!(late.is_none_or(|late| gone_to <= late.0), "{floor_ms}: {gone_to}");
        }
    }
}

proptest! {
    #[test]
    fn every_record_is_found_wherever_it_was_moved(
        steps in prop::collection::vec((0..10u8, 1..6u64, 0..40u32), 1..120)
    ) {
        let mut log = Log {
            index: Index::default(),
            batches: Vec::new(),
            copies: Vec::new(),
            end: LogPos { segment: 1, offset_bytes: 4096 },
            tail: 0,
            trim_point: 0,
        };
        for (step, count, skip_blocks) in steps {
            match step {
                0 => log.trim(log.trim_point + 3 * count),
                1..=3 => log.clean(skip_blocks % 4),
                4 => log.fold(u64::from(skip_blocks)),
                _ => log.append(count, skip_blocks),
            }
            log.check();
        }
    }
}
