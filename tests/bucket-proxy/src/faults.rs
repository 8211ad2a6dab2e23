//! What goes wrong on one face of the proxy, and the dice that decide when.

use std::fmt::Write as _;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Pass,
    /// It is applied, and the connection closed without an answer.
    LoseAnswer,
    /// The connection is closed, and nothing is applied.
    LoseRequest,
    /// The connection is closed, and the request applied `late_ms` later.
    Late,
    /// It is answered, and applied once more `late_ms` later.
    Twice,
    /// It is answered with 503 `SlowDown`.
    SlowDown,
}

/// Whether requests come through at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// They do.
    #[default]
    No,
    /// Connections are closed.
    Closed,
    /// Nothing is ever answered, as with a cable that was pulled.
    Silent,
}

/// The settings of a face; all zero: it only forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A request and its answer together take this much longer.
    pub latency_ms: u64,
    /// Of a hundred requests that change something, how many answers are lost.
    pub lose_answer: u64,
    /// Of a hundred requests, how many are lost.
    pub lose_request: u64,
    /// Of a hundred writes, how many seem lost and arrive later.
    pub late: u64,
    /// Of a hundred writes, how many arrive a second time.
    pub twice: u64,
    /// How much later.
    pub late_ms: u64,
    /// Of a hundred requests, how many are asked to come back.
    pub slow_down: u64,
    /// Lists lack what is younger.
    pub stale_ms: u64,
    /// Whether requests come through at all.
    pub cut: Cut,
    /// What happens to the next write instead, if anything.
    pub next: Option<Fate>,
}

impl Faults {
    /// Changes settings: words such as `latency_ms=100`; `none` makes all zero.
    pub fn change<'a>(&mut self, words: impl Iterator<Item = &'a str>) -> Result<(), String> {
        let mut changed = self.clone();
        for word in words {
            if word == "none" {
                changed = Self::default();
                continue;
            }
            let bad = || format!("cannot use {word:?}");
            let (name, value) = word.split_once('=').ok_or_else(bad)?;
            let number = value.parse::<u64>().map_err(|_| bad());
            match name {
                "latency_ms" => changed.latency_ms = number?,
                "lose_answer" => changed.lose_answer = number?,
                "lose_request" => changed.lose_request = number?,
                "late" => changed.late = number?,
                "twice" => changed.twice = number?,
                "late_ms" => changed.late_ms = number?,
                "slow_down" => changed.slow_down = number?,
                "stale_ms" => changed.stale_ms = number?,
                "cut" => changed.cut = cut(value).ok_or_else(bad)?,
                "next" => changed.next = Some(fate(value).ok_or_else(bad)?),
                _ => return Err(bad()),
            }
        }
        *self = changed;
        Ok(())
    }

    /// What happens to a request of `method`.
    pub fn draw(&mut self, dice: &mut Dice, method: &str) -> Fate {
        let is_write = method == "PUT";
        if is_write && let Some(fate) = self.next.take() {
            return fate;
        }
        let drawn = dice.below(100);
        let mut reached = 0;
        let changes = method != "GET" && method != "HEAD";
        for (percent, applies, fate) in [
            (self.slow_down, true, Fate::SlowDown),
            (self.lose_request, true, Fate::LoseRequest),
            (self.lose_answer, changes, Fate::LoseAnswer),
            (self.late, is_write, Fate::Late),
            (self.twice, is_write, Fate::Twice),
        ] {
            reached += percent;
            if drawn < reached {
                return if applies { fate } else { Fate::Pass };
            }
        }
        Fate::Pass
    }
}

fn cut(word: &str) -> Option<Cut> {
    match word {
        "no" => Some(Cut::No),
        "closed" => Some(Cut::Closed),
        "silent" => Some(Cut::Silent),
        _ => None,
    }
}

fn fate(word: &str) -> Option<Fate> {
    match word {
        "lose_answer" => Some(Fate::LoseAnswer),
        "lose_request" => Some(Fate::LoseRequest),
        "late" => Some(Fate::Late),
        "twice" => Some(Fate::Twice),
        "slow_down" => Some(Fate::SlowDown),
        _ => None,
    }
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests that came.
    pub requests: u64,
    /// Writes that made an object.
    pub created: u64,
    /// Conditional writes of what was there already.
    pub refused: u64,
    /// Answers lost, also by a cut.
    pub lost_answers: u64,
    /// Requests lost, also by a cut.
    pub lost_requests: u64,
    /// Writes that came late.
    pub late: u64,
    /// Late and second writes that came to the bucket.
    pub arrived: u64,
    /// Those of them that made an object, after all.
    pub late_created: u64,
    /// Writes that came twice.
    pub twice: u64,
    /// Requests asked to come back.
    pub slowed: u64,
    /// Entries left out of lists.
    pub hidden: u64,
}

impl Counts {
    /// As one line of `name=number`.
    pub fn line(&self) -> String {
        let mut line = String::new();
        for (name, count) in [
            ("requests", self.requests),
            ("created", self.created),
            ("refused", self.refused),
            ("lost_answers", self.lost_answers),
            ("lost_requests", self.lost_requests),
            ("late", self.late),
            ("arrived", self.arrived),
            ("late_created", self.late_created),
            ("twice", self.twice),
            ("slowed", self.slowed),
            ("hidden", self.hidden),
        ] {
            let _ = write!(line, " {name}={count}");
        }
        line.trim_start().to_owned()
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_change_settings_all_or_none() {
        let mut faults = Faults::default();
        faults.change("latency_ms=100 cut=silent next=late".split(' ')).unwrap();
        assert_eq!((faults.latency_ms, faults.cut), (100, Cut::Silent));
        for words in ["latency_ms=1 what=2", "cut=maybe", "late", "late=-1", "next=never"] {
            let before = faults.clone();
            assert!(faults.change(words.split(' ')).is_err());
            assert_eq!(faults, before, "{words}");
        }
        assert_eq!(faults.draw(&mut Dice::new(1), "GET"), Fate::Pass);
        assert_eq!(faults.draw(&mut Dice::new(1), "PUT"), Fate::Late);
        assert_eq!(faults.draw(&mut Dice::new(1), "PUT"), Fate::Pass);
        faults.change("none".split(' ')).unwrap();
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn a_seed_decides_and_every_fault_comes() {
        let words = "lose_answer=10 lose_request=10 late=10 twice=10 slow_down=10";
        let fates = |seed| {
            let (mut faults, mut dice) = (Faults::default(), Dice::new(seed));
            faults.change(words.split(' ')).unwrap();
            (0..300).map(|_| faults.draw(&mut dice, "PUT")).collect::<Vec<_>>()
        };
        assert_eq!(fates(7), fates(7));
        assert_ne!(fates(7), fates(8));
        for fate in [
            Fate::Pass,
            Fate::LoseAnswer,
            Fate::LoseRequest,
            Fate::Late,
            Fate::Twice,
            Fate::SlowDown,
        ] {
            assert!(fates(7).contains(&fate), "{fate:?}");
        }
    }
}
