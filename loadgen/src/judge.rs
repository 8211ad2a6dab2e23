//! Compares what a stream holds with what its writers were told. Pure: records in, verdict out.
//!
//! For each stream, over the range the writers had to themselves:
//!
//! * an acknowledged append is there once, whole, with its bytes, at the numbers it was told;
//! * an append in doubt is there whole and once, or not at all;
//! * nothing else is there, and the sequence numbers have no gap.
//!
//! How a fault is counted: *lost* — no trace of an acknowledged append; *torn* — only a part of an
//! append; *duplicated* — a second occurrence; *wrong* — other bytes, another place than told,
//! unknown records, gaps and steps back in the numbers. A gap counts besides the loss it causes.

use crate::journal::Fact;
use crate::record::{BatchId, Identity, chain_hash};

/// The result, for one stream or summed over several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Appends acknowledged.
    pub(crate) acked: u64,
    /// Appends in doubt.
    pub(crate) indeterminate: u64,
    /// Appends in doubt that are there.
    pub(crate) present: u64,
    /// Acknowledged appends of which nothing is there.
    pub(crate) lost: u64,
    /// Further occurrences of appends.
    pub(crate) duplicated: u64,
    /// Appends of which only a part is there.
    pub(crate) torn: u64,
    /// Everything else that must not be.
    pub(crate) wrong: u64,
    /// Records read.
    pub(crate) records: u64,
    /// The first few faults, in words.
    pub(crate) examples: Vec<String>,
}

/// Faults described in words; the rest is only counted.
const EXAMPLES_MAX: usize = 10;

impl Verdict {
    /// True when nothing is at fault.
    pub(crate) fn is_good(&self) -> bool {
        self.lost + self.duplicated + self.torn + self.wrong == 0
    }

    /// The one-line form that scripts read.
    pub(crate) fn line(&self) -> String {
        let Self { acked, indeterminate, present, lost, duplicated, torn, wrong, .. } = self;
        format!(
            "verify: {acked} batches acknowledged, {indeterminate} indeterminate ({present} present), \
             {lost} lost, {duplicated} duplicated, {torn} torn, {wrong} wrong"
        )
    }

    /// Adds another stream's verdict.
    pub(crate) fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.indeterminate += other.indeterminate;
        self.present += other.present;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.torn += other.torn;
        self.wrong += other.wrong;
        self.records += other.records;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES_MAX);
    }

    fn example(&mut self, describe: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(describe());
        }
    }
}

/// What has been seen of an append.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    in_place: bool,
    faulty: bool,
}

/// Judges one stream, record by record.
pub(crate) struct Judge {
    stream: u32,
    facts: Vec<Fact>,
    marks: Vec<Mark>,
    elsewhere: Vec<(usize, u64)>,
    next_seq_num: u64,
    open: Option<Occurrence>,
    verdict: Verdict,
}

/// Consecutive records of one append.
struct Occurrence {
    first: Identity,
    start: u64,
    next_index: u16,
    hash: u64,
}

impl Occurrence {
    fn is_whole(&self) -> bool {
        self.first.index == 0 && self.next_index == self.first.size
    }

    fn continues_with(&self, next: &Identity) -> bool {
        self.first.id == next.id && self.first.size == next.size && self.next_index == next.index
    }
}

impl Judge {
    /// `facts` of stream `stream`, whose records from `start_seq_num` on were written under them.
    ///
    /// Errors: two facts of one name, which would make every verdict about it meaningless.
    pub(crate) fn new(
        stream: u32,
        start_seq_num: u64,
        mut facts: Vec<Fact>,
    ) -> Result<Self, BatchId> {
        facts.sort_unstable_by_key(|fact| fact.id);
        if let Some(pair) = facts.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(pair[0].id);
        }
        let acked = facts.iter().filter(|fact| fact.is_acked).count() as u64;
        let indeterminate = facts.len() as u64 - acked;
        Ok(Self {
            stream,
            marks: vec![Mark::default(); facts.len()],
            facts,
            elsewhere: Vec::new(),
            next_seq_num: start_seq_num,
            open: None,
            verdict: Verdict { acked, indeterminate, ..Verdict::default() },
        })
    }

    /// The next sequence number expected.
    pub(crate) fn next_seq_num(&self) -> u64 {
        self.next_seq_num
    }

    /// Takes the next record as it was read.
    pub(crate) fn record(&mut self, seq_num: u64, identity: Option<Identity>, body: &[u8]) {
        self.verdict.records += 1;
        self.expect(seq_num);
        self.next_seq_num = seq_num + 1;
        let Some(identity) = identity.filter(|identity| identity.stream == self.stream) else {
            self.close();
            self.wrong(|| format!("seq_num {seq_num}: a record not written here"));
            return;
        };
        if self.open.as_ref().is_some_and(|open| !open.continues_with(&identity)) {
            self.close();
        }
        let open = self.open.get_or_insert(Occurrence {
            first: identity,
            start: seq_num,
            next_index: identity.index,
            hash: 0,
        });
        open.next_index += 1;
        open.hash = chain_hash(open.hash, body);
        if open.next_index == identity.size {
            self.close();
        }
    }

    /// The verdict, once everything below `tail` has been read.
    pub(crate) fn finish(mut self, tail: u64) -> Verdict {
        self.close();
        self.expect(tail);
        for (i, start) in std::mem::take(&mut self.elsewhere) {
            let fact = self.facts[i];
            if self.marks[i].in_place {
                self.verdict.duplicated += 1;
                self.verdict.example(|| format!("{:?}: again at seq_num {start}", fact.id));
            } else {
                // The first other place stands for the append itself; a next one is a duplicate.
                self.marks[i] = Mark { in_place: true, faulty: true };
                let told = fact.start;
                self.wrong(|| format!("{:?}: acknowledged at {told}, found at {start}", fact.id));
            }
        }
        for (fact, mark) in self.facts.iter().zip(&self.marks) {
            if fact.is_acked && !mark.in_place && !mark.faulty {
                self.verdict.lost += 1;
                self.verdict
                    .example(|| format!("{:?}: lost, was at seq_num {}", fact.id, fact.start));
            }
        }
        self.verdict
    }

    fn expect(&mut self, seq_num: u64) {
        let expected = self.next_seq_num;
        if seq_num != expected {
            self.close();
            self.wrong(|| format!("sequence numbers go on at {seq_num} instead of {expected}"));
        }
    }

    fn close(&mut self) {
        let Some(seen) = self.open.take() else { return };
        let Identity { id, size, .. } = seen.first;
        let start = seen.start;
        let Ok(i) = self.facts.binary_search_by_key(&id, |fact| fact.id) else {
            self.wrong(|| format!("seq_num {start}: {id:?} was refused or never sent"));
            return;
        };
        let (fact, mark) = (self.facts[i], self.marks[i]);
        if size != fact.count || (seen.is_whole() && seen.hash != fact.hash) {
            self.marks[i].faulty = true;
            self.wrong(|| format!("seq_num {start}: other bytes than sent in {id:?}"));
        } else if !seen.is_whole() {
            if !mark.faulty {
                self.verdict.torn += 1;
                let (from, to) = (seen.first.index, seen.next_index);
                self.verdict.example(|| {
                    format!("seq_num {start}: only records {from}..{to} of {size} of {id:?}")
                });
            }
            self.marks[i].faulty = true;
        } else if fact.is_acked && start != fact.start {
            self.elsewhere.push((i, start));
        } else if mark.in_place {
            self.verdict.duplicated += 1;
            self.verdict.example(|| format!("seq_num {start}: {id:?} again"));
        } else {
            self.marks[i].in_place = true;
            self.verdict.present += u64::from(!fact.is_acked);
        }
    }

    fn wrong(&mut self, describe: impl FnOnce() -> String) {
        self.verdict.wrong += 1;
        self.verdict.example(describe);
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
