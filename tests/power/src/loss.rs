//! How much a cut takes: all, nothing, or some by chance; and the count of it.

use std::fmt;

use crate::dice::Dice;

/// What becomes of an un-synced change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Lost,
    OnlyBeginning,
    OnlyEnd,
    SomeSectors,
}

/// One cut's inclination. Chance alone would hardly ever keep all of many changes, or lose all.
#[derive(Debug, Clone)]
pub(crate) struct Loss {
    kept_percent: u64,
    torn_percent: u64,
    /// Names are kept in the order in which they were changed, up to some change, as by a journal;
    /// otherwise whatever does not depend on a lost change may be kept.
    pub(crate) names_in_order: bool,
}

impl Loss {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let (kept_percent, torn_percent) = match dice.below(8) {
            0 => (100, 0),
            1 => (0, 0),
            2 => (0, 100),
            _ => (dice.below(90), 30),
        };
        Self { kept_percent, torn_percent, names_in_order: dice.percent(50) }
    }

    pub(crate) fn of_change(&self, dice: &mut Dice) -> Fate {
        if dice.percent(self.torn_percent) {
            return match dice.below(3) {
                0 => Fate::OnlyBeginning,
                1 => Fate::OnlyEnd,
                _ => Fate::SomeSectors,
            };
        }
        if dice.percent(self.kept_percent) { Fate::Kept } else { Fate::Lost }
    }

    pub(crate) fn keeps_name(&self, dice: &mut Dice) -> bool {
        dice.percent(self.kept_percent)
    }
}

/// What cuts met and what they did to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) cuts: u64,
    /// Un-synced writes, by what became of them.
    writes_kept: u64,
    writes_dropped: u64,
    writes_torn: u64,
    /// Writes of which something is there although an earlier one of the same file is not whole.
    writes_reordered: u64,
    pub(crate) lengths: u64,
    pub(crate) lengths_kept: u64,
    pub(crate) names: u64,
    pub(crate) names_kept: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.writes_kept += other.writes_kept;
        self.writes_dropped += other.writes_dropped;
        self.writes_torn += other.writes_torn;
        self.writes_reordered += other.writes_reordered;
        self.lengths += other.lengths;
        self.lengths_kept += other.lengths_kept;
        self.names += other.names;
        self.names_kept += other.names_kept;
    }

    pub(crate) fn count_write(&mut self, kept: usize, sectors: usize, is_one_lost: bool) {
        if kept == sectors {
            self.writes_kept += 1;
        } else if kept == 0 {
            self.writes_dropped += 1;
        } else {
            self.writes_torn += 1;
        }
        self.writes_reordered += u64::from(is_one_lost && kept > 0);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cuts={} kept={} dropped={} torn={} reordered={} lengths={} lengths_kept={} names={} \
             names_kept={}",
            self.cuts,
            self.writes_kept,
            self.writes_dropped,
            self.writes_torn,
            self.writes_reordered,
            self.lengths,
            self.lengths_kept,
            self.names,
            self.names_kept
        )
    }
}
