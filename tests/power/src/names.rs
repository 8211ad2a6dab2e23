//! A directory: its names, which of them are durable, and what a cut makes of the other changes.
//!
//! A change of names is durable when a sync of the directory that arrived after it returned. In a
//! cut each other change is kept or lost, in one of two ways:
//!
//! * *in order*: up to some change all are kept and the rest is lost, as with the journal of ext4
//!   or XFS;
//! * *by dependence*: any change may be lost, and with it all that came later for one of its names
//!   or for its file. So no file has two names, and none is renamed that was not created. This
//!   allows all that a file system does that keeps related changes in order.
//!
//! A file's sync makes none of its names durable, though ext4 and XFS do that for new files.

use std::collections::{BTreeMap, BTreeSet};

use crate::dice::Dice;
use crate::loss::{Loss, Tally};

/// What a name stands for.
pub(crate) type Ino = u64;
/// Names, as the kernel gives them.
pub(crate) type Name = std::ffi::OsString;
/// Names and what they stand for.
pub(crate) type Names = BTreeMap<Name, Ino>;

#[derive(Debug, Clone)]
enum Kind {
    Create(Name),
    Remove(Name),
    Rename { from: Name, to: Name, replaced: Option<Ino> },
}

#[derive(Debug, Clone)]
struct Change {
    number: u64,
    ino: Ino,
    kind: Kind,
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match &self.kind {
            Kind::Create(name) => {
                names.insert(name.clone(), self.ino);
            }
            Kind::Remove(name) => {
                names.remove(name);
            }
            Kind::Rename { from, to, .. } => {
                names.remove(from);
                names.insert(to.clone(), self.ino);
            }
        }
    }

    fn names(&self) -> impl Iterator<Item = &Name> {
        let (first, second) = match &self.kind {
            Kind::Create(name) | Kind::Remove(name) => (name, None),
            Kind::Rename { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }

    fn inos(&self) -> impl Iterator<Item = Ino> {
        let replaced = match &self.kind {
            Kind::Rename { replaced, .. } => *replaced,
            _ => None,
        };
        std::iter::once(self.ino).chain(replaced)
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory {
    now: Names,
    durable: Names,
    pending: Vec<Change>,
    changes_made: u64,
}

impl Directory {
    pub(crate) fn with(names: Names) -> Self {
        Self { durable: names.clone(), now: names, ..Self::default() }
    }

    pub(crate) fn names(&self) -> &Names {
        &self.now
    }

    pub(crate) fn get(&self, name: &std::ffi::OsStr) -> Option<Ino> {
        self.now.get(name).copied()
    }

    pub(crate) fn create(&mut self, name: Name, ino: Ino) {
        self.change(ino, Kind::Create(name));
    }

    /// Takes away `name`, which is there.
    pub(crate) fn remove(&mut self, name: Name, ino: Ino) {
        self.change(ino, Kind::Remove(name));
    }

    /// Gives `ino`, which is called `from`, the name `to`.
    pub(crate) fn rename(&mut self, from: Name, to: Name, ino: Ino) {
        let replaced = self.now.get(&to).copied();
        self.change(ino, Kind::Rename { from, to, replaced });
    }

    fn change(&mut self, ino: Ino, kind: Kind) {
        let change = Change { number: self.changes_made, ino, kind };
        self.changes_made += 1;
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    /// What a sync that arrives now covers.
    pub(crate) fn covered(&self) -> u64 {
        self.changes_made
    }

    /// Makes durable what was there at `covered`.
    pub(crate) fn sync(&mut self, covered: u64) {
        let end = self.pending.partition_point(|change| change.number < covered);
        for change in self.pending.drain(..end) {
            change.apply(&mut self.durable);
        }
    }

    /// Everything that a name stands for now, or may stand for after a cut.
    pub(crate) fn inos(&self) -> impl Iterator<Item = Ino> {
        let named = self.now.values().chain(self.durable.values()).copied();
        named.chain(self.pending.iter().flat_map(Change::inos))
    }

    /// The names that are left after a cut.
    pub(crate) fn cut(&self, loss: &Loss, dice: &mut Dice, tally: &mut Tally) -> Names {
        let mut names = self.durable.clone();
        let (mut lost_names, mut lost_inos) = (BTreeSet::new(), BTreeSet::new());
        for change in &self.pending {
            tally.names += 1;
            let is_in_order = !loss.names_in_order || lost_names.is_empty();
            let depends = change.names().any(|name| lost_names.contains(name))
                || change.inos().any(|ino| lost_inos.contains(&ino));
            if is_in_order && !depends && loss.keeps_name(dice) {
                change.apply(&mut names);
                tally.names_kept += 1;
            } else {
                lost_names.extend(change.names());
                lost_inos.extend(change.inos());
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(directory: &Directory) -> Vec<String> {
        let outcome = |seed| {
            let mut dice = Dice::new(seed);
            let loss = Loss::draw(&mut dice);
            let names = directory.cut(&loss, &mut dice, &mut Tally::default());
            let text = names.iter().map(|(name, ino)| format!("{}={ino}", name.display()));
            text.collect::<Vec<_>>().join(" ")
        };
        let mut all: Vec<_> = (0..2000).map(outcome).collect();
        all.sort();
        all.dedup();
        all
    }

    fn old() -> Directory {
        Directory::with(Names::from([("file".into(), 1)]))
    }

    #[test]
    fn a_replacement_leaves_the_old_file_or_the_new_one() {
        let mut directory = old();
        directory.create("tmp".into(), 2);
        directory.rename("tmp".into(), "file".into(), 2);
        assert_eq!(outcomes(&directory), ["file=1", "file=1 tmp=2", "file=2"]);
        assert_eq!(directory.inos().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2]));
    }

    #[test]
    fn changes_that_have_nothing_to_do_with_each_other_are_lost_each_by_itself() {
        let mut directory = old();
        directory.create("a".into(), 2);
        directory.remove("file".into(), 1);
        assert_eq!(outcomes(&directory), ["", "a=2", "a=2 file=1", "file=1"]);
    }

    #[test]
    fn a_sync_makes_durable_what_came_before_it_arrived() {
        let mut directory = old();
        directory.create("a".into(), 2);
        let covered = directory.covered();
        directory.create("b".into(), 3);
        directory.sync(covered);
        assert_eq!(outcomes(&directory), ["a=2 b=3 file=1", "a=2 file=1"]);
    }
}
