//! What a check says, and what all of it comes to.

use serde::Serialize;

/// How much a finding matters; the greatest of all decides the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// The server runs, but slower, with less room, or on something that cannot be known.
    Warning,
    /// The server cannot run, or its acknowledgements would not hold.
    Failure,
}

/// What a finding is about; the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The kernel and what it allows.
    Kernel,
    /// What the process may have.
    Limits,
    /// The data directory itself.
    Directory,
    /// File system and devices below it.
    Storage,
    /// What writes and syncs take.
    Flush,
    /// Processors, memory, clock.
    Machine,
}

impl Group {
    /// As it is headed in the report.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Kernel => "Kernel",
            Self::Limits => "Limits",
            Self::Directory => "Data directory",
            Self::Storage => "Storage",
            Self::Flush => "Flush",
            Self::Machine => "Machine",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Names the check and its outcome; stays the same between releases.
    pub id: &'static str,
    /// What it is about.
    pub group: Group,
    /// How much it matters.
    pub level: Level,
    /// What is so.
    pub what: String,
    /// Why it matters; empty where all is well.
    pub why: String,
    /// What to do about it; empty where there is nothing to do.
    #[serde(rename = "do")]
    pub advice: String,
    /// The server refuses to start because of it.
    pub stops_server: bool,
}

impl Finding {
    fn new(id: &'static str, group: Group, level: Level, what: impl Into<String>) -> Self {
        let (why, advice) = (String::new(), String::new());
        Self { id, group, level, what: what.into(), why, advice, stops_server: false }
    }

    /// Something that is as it should be.
    #[must_use]
    pub fn ok(id: &'static str, group: Group, what: impl Into<String>) -> Self {
        Self::new(id, group, Level::Ok, what)
    }

    /// Something worth knowing.
    #[must_use]
    pub fn note(id: &'static str, group: Group, what: impl Into<String>) -> Self {
        Self::new(id, group, Level::Note, what)
    }

    /// Something that makes the server worse.
    #[must_use]
    pub fn warning(id: &'static str, group: Group, what: impl Into<String>) -> Self {
        Self::new(id, group, Level::Warning, what)
    }

    /// Something that the server cannot do its work with.
    #[must_use]
    pub fn failure(id: &'static str, group: Group, what: impl Into<String>) -> Self {
        Self::new(id, group, Level::Failure, what)
    }

    /// The same, with the reason why it matters.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// The same, as one that keeps the server from starting.
    #[must_use]
    pub fn stops(mut self) -> Self {
        self.stops_server = true;
        self
    }

    /// All of it, on one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let parts = [&self.what, &self.why, &self.advice];
        let parts: Vec<&str> = parts.into_iter().map(String::as_str).collect();
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

/// What all findings come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing speaks against it.
    Fit,
    /// The server runs here, and something should be better.
    FitWithWarnings,
    /// The server should not run here as it is.
    NotFit,
}

impl Verdict {
    /// The verdict over all findings.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Self {
        match findings.iter().map(|finding| finding.level).max() {
            Some(Level::Failure) => Self::NotFit,
            Some(Level::Warning) => Self::FitWithWarnings,
            _ => Self::Fit,
        }
    }

    /// Exit status of the command: 0 fit, 1 not fit, 3 fit with warnings. The command line's own
    /// errors end with 2.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Fit => 0,
            Self::NotFit => 1,
            Self::FitWithWarnings => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let of = |levels: &[Level]| {
            let find = |level: &Level| Finding::new("x", Group::Kernel, *level, "so");
            let verdict = Verdict::of(&levels.iter().map(find).collect::<Vec<_>>());
            (verdict, verdict.exit_status())
        };
        assert_eq!(of(&[]), (Verdict::Fit, 0));
        assert_eq!(of(&[Level::Ok, Level::Note]), (Verdict::Fit, 0));
        assert_eq!(of(&[Level::Warning, Level::Ok]), (Verdict::FitWithWarnings, 3));
        assert_eq!(of(&[Level::Failure, Level::Warning]), (Verdict::NotFit, 1));
    }

    #[test]
    fn a_sentence_leaves_out_what_is_not_there() {
        let finding = Finding::note("x", Group::Kernel, "so");
        assert_eq!(finding.sentence(), "so");
        assert_eq!(finding.why("since").advice("do it").sentence(), "so; since; do it");
    }
}
