//! A file: what it holds, what of that is durable, and what a cut makes of the rest.
//!
//! * A write is a change of bytes, and when it goes beyond the end, a change of the length before
//!   that; `fallocate` and `ftruncate` are changes of the length.
//! * A sync makes durable the changes that were there when it arrived. One that fails decides on
//!   the spot, by chance, which of the writes that it covered reach the disk. No later sync covers
//!   the others: the kernel may have dropped them and taken their pages for clean.
//! * In a cut each other change is kept or lost by itself, so a later one may be there without an
//!   earlier one; of a write each sector of 512 bytes. A length may be kept without the bytes,
//!   which then are zeros, and bytes are not there without the length.

use std::sync::Arc;

use crate::content::Content;
use crate::dice::Dice;
use crate::loss::{Fate, Loss, Tally};

/// What a disk writes whole or not at all, in bytes.
pub(crate) const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone)]
enum Kind {
    Write { offset: u64, bytes: Arc<[u8]> },
    SetLen(u64),
}

/// A change that no sync made durable yet.
#[derive(Debug, Clone)]
struct Change {
    number: u64,
    kind: Kind,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    now: Content,
    durable: Content,
    pending: Vec<Change>,
    changes_made: u64,
}

impl File {
    fn with(content: Content) -> Self {
        Self { durable: content.clone(), now: content, ..Self::default() }
    }

    pub(crate) fn len_bytes(&self) -> u64 {
        self.now.len_bytes()
    }

    pub(crate) fn held_bytes(&self) -> u64 {
        self.now.held_bytes()
    }

    pub(crate) fn read(&self, offset: u64, len_bytes: usize) -> Vec<u8> {
        self.now.read(offset, len_bytes)
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        if end > self.now.len_bytes() {
            self.set_len(end);
        }
        self.change(Kind::Write { offset, bytes: bytes.into() });
    }

    pub(crate) fn set_len(&mut self, len_bytes: u64) {
        self.change(Kind::SetLen(len_bytes));
    }

    fn change(&mut self, kind: Kind) {
        apply(&mut self.now, &kind);
        self.pending.push(Change { number: self.changes_made, kind });
        self.changes_made += 1;
    }

    /// What a sync that arrives now covers; give it to `sync` or `fail_sync`.
    pub(crate) fn covered(&self) -> u64 {
        self.changes_made
    }

    /// Makes durable what was there at `covered`.
    pub(crate) fn sync(&mut self, covered: u64) {
        let end = self.pending.partition_point(|change| change.number < covered);
        for change in self.pending.drain(..end) {
            apply(&mut self.durable, &change.kind);
        }
    }

    /// Decides which of the writes that were there at `covered` reach the disk. Lengths still wait
    /// for a sync.
    pub(crate) fn fail_sync(&mut self, covered: u64, loss: &Loss, dice: &mut Dice) {
        let durable = &mut self.durable;
        self.pending.retain(|change| match &change.kind {
            Kind::Write { offset, bytes } if change.number < covered => {
                write_kept(durable, (*offset, bytes), loss.of_change(dice), dice);
                false
            }
            _ => true,
        });
    }

    /// What is left after a cut.
    pub(crate) fn cut(&self, loss: &Loss, dice: &mut Dice, tally: &mut Tally) -> Self {
        let mut content = self.durable.clone();
        let mut is_one_lost = false;
        for change in &self.pending {
            let fate = loss.of_change(dice);
            match &change.kind {
                Kind::SetLen(_) => {
                    tally.lengths += 1;
                    if fate == Fate::Kept {
                        apply(&mut content, &change.kind);
                        tally.lengths_kept += 1;
                    }
                }
                Kind::Write { offset, bytes } => {
                    let kept = write_kept(&mut content, (*offset, bytes), fate, dice);
                    let sectors = bytes.len().div_ceil(SECTOR_BYTES);
                    tally.count_write(kept, sectors, is_one_lost);
                    is_one_lost |= kept < sectors;
                }
            }
        }
        Self::with(content)
    }
}

fn apply(content: &mut Content, kind: &Kind) {
    match kind {
        Kind::Write { offset, bytes } => content.write(*offset, bytes),
        Kind::SetLen(len_bytes) => content.set_len(*len_bytes),
    }
}

/// Writes the sectors that survive and says how many those are.
fn write_kept(
    content: &mut Content,
    (offset, bytes): (u64, &[u8]),
    fate: Fate,
    dice: &mut Dice,
) -> usize {
    let sectors = bytes.len().div_ceil(SECTOR_BYTES);
    let edge = dice.below(sectors as u64 + 1) as usize;
    let mut kept = 0;
    for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
        let is_kept = match fate {
            Fate::Kept => true,
            Fate::Lost => false,
            Fate::OnlyBeginning => index < edge,
            Fate::OnlyEnd => index >= edge,
            Fate::SomeSectors => dice.percent(50),
        };
        if is_kept {
            content.write(offset + (index * SECTOR_BYTES) as u64, sector);
            kept += 1;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(file: &File) -> Vec<(u64, Vec<u8>)> {
        let outcome = |seed| {
            let mut dice = Dice::new(seed);
            let loss = Loss::draw(&mut dice);
            let left = file.cut(&loss, &mut dice, &mut Tally::default());
            (left.len_bytes(), left.read(0, 1 << 20))
        };
        let mut all: Vec<_> = (0..2000).map(outcome).collect();
        all.sort();
        all.dedup();
        all
    }

    fn synced(bytes: &[u8]) -> File {
        let mut file = File::default();
        file.write(0, bytes);
        file.sync(file.covered());
        file
    }

    #[test]
    fn what_a_sync_covered_is_there_after_every_cut() {
        let file = synced(&[1; 2000]);
        assert_eq!(outcomes(&file), [(2000, vec![1; 2000])]);
    }

    #[test]
    fn a_sync_covers_only_what_came_before_it_arrived() {
        let mut file = synced(&[1; 512]);
        file.write(0, &[2; 512]);
        let covered = file.covered();
        file.write(0, &[3; 512]);
        file.sync(covered);
        assert_eq!(outcomes(&file), [(512, vec![2; 512]), (512, vec![3; 512])]);
    }

    #[test]
    fn what_a_failed_sync_dropped_is_not_covered_by_later_ones() {
        let outcome = |seed| {
            let mut file = synced(&[1; 512]);
            let mut dice = Dice::new(seed);
            file.write(0, &[2; 512]);
            let loss = Loss::draw(&mut dice);
            file.fail_sync(file.covered(), &loss, &mut dice);
            assert_eq!(file.read(0, 512), [2; 512], "what is read says nothing of it");
            file.sync(file.covered());
            outcomes(&file)
        };
        let mut all: Vec<_> = (0..100).map(outcome).collect();
        all.sort();
        all.dedup();
        assert_eq!(all, [[(512, vec![1; 512])], [(512, vec![2; 512])]], "decided once for all");
    }

    #[test]
    fn writes_are_torn_at_sectors_and_nowhere_else() {
        let mut file = synced(&[0; 1024]);
        file.write(0, &[1; 1024]);
        let halves = |a: u8, b: u8| (1024, [[a; 512], [b; 512]].concat());
        assert_eq!(outcomes(&file), [halves(0, 0), halves(0, 1), halves(1, 0), halves(1, 1)]);
    }

    #[test]
    fn a_later_write_may_be_there_without_an_earlier_one() {
        let mut file = synced(&[0; 1024]);
        file.write(0, &[1; 512]);
        file.write(512, &[2; 512]);
        let all = outcomes(&file);
        assert!(all.contains(&(1024, [[0; 512], [2; 512]].concat())));
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_length_may_be_there_without_the_bytes_and_not_the_reverse() {
        let mut file = File::default();
        file.write(0, &[1; 512]);
        assert_eq!(outcomes(&file), [(0, vec![]), (512, vec![0; 512]), (512, vec![1; 512])]);
    }
}
