//! Bugs planted on purpose, to show that the tests would find them: a suite that has never failed
//! proves nothing.
//!
//! They are there only in builds with the feature `planted-bugs`, and then at most one of them, the
//! one that `THALWEG_PLANTED` names. `scripts/controls.sh` plants each in turn and holds the suite
//! to failing. In every other build [`has`] is `false` before it is compiled, and nothing is left
//! of them.

#![forbid(unsafe_code)]

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its name in `THALWEG_PLANTED`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

bugs! {
    /// A group is acknowledged when it is written, and not synced.
    AckBeforeSync = "ack-before-sync",
    /// A group is acknowledged together with the one after it.
    AckOneAhead = "ack-one-ahead",
    /// The log goes on in the next segment before everything in this one is synced.
    RollBeforeSync = "roll-before-sync",
    /// A failed sync is tried again, and believed the second time.
    SyncTriedAgain = "sync-tried-again",
    /// A new segment's name is not made durable.
    DirectoryNotSynced = "directory-not-synced",
    /// What follows the entries in a frame is whatever the memory held before.
    PaddingNotZeroed = "padding-not-zeroed",
    /// The memory of a group is taken again before the disk is done with it.
    BufferReused = "buffer-reused",
    /// The log is cut at the first damaged frame, whatever follows it.
    CutAtDamage = "cut-at-damage",
    /// What an interrupted write left after the log's end stays there.
    TornTailKept = "torn-tail-kept",
    /// Recovery trusts what it read although it may so far be in a cache only.
    MendNotSynced = "mend-not-synced",
    /// Frames that a file held in an earlier life of it are taken for the log's.
    OldFramesBelieved = "old-frames-believed",
    /// Segments are given up as the newest checkpoint says, although recovery may have to fall
    /// back to the one before.
    ReleasedEarly = "released-early",
    /// Records that the cleaner did not copy are given up with their segment.
    LivingGivenUp = "living-given-up",
    /// A refusal is answered before the state that it reveals is durable.
    RefusalEarly = "refusal-early",
    /// Readers see what is accepted and not durable yet.
    TailEarly = "tail-early",
    /// A fencing token does not survive a restart.
    FenceForgotten = "fence-forgotten",
    /// An append that says which number it expects passes a fence.
    FencePassed = "fence-passed",
    /// A session goes on behind a batch that was refused.
    SessionGoesOn = "session-goes-on",
    /// A session whose last frame is cut off ends well.
    CutFrameForgiven = "cut-frame-forgiven",
    /// A send that the socket took in part is taken for whole.
    ShortSendBelieved = "short-send-believed",
    /// A session's client may take as long as it likes for what it is sent.
    StallForgiven = "stall-forgiven",
    /// Timestamps follow a clock that steps back.
    TimeStepsBack = "time-steps-back",
    /// A checkpoint counts in what is not durable yet.
    CheckpointAhead = "checkpoint-ahead",
    /// What retention trimmed comes back with a restart.
    TrimForgotten = "trim-forgotten",
    /// Readers see that records are past their age before a trim that says so is durable.
    HiddenEarly = "hidden-early",
}

/// Whether this bug is planted.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
#[inline(always)]
pub const fn has(_bug: Bug) -> bool {
    false
}

/// Whether this bug is planted.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn has(bug: Bug) -> bool {
    use std::sync::OnceLock;
    static PLANTED: OnceLock<Option<Bug>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| {
        let name = std::env::var("THALWEG_PLANTED").ok().filter(|name| !name.is_empty())?;
        let named = Bug::ALL.iter().find(|bug| bug.name() == name);
        assert!(named.is_some(), "THALWEG_PLANTED: there is no bug {name:?}");
        named.copied()
    });
    *planted == Some(bug)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scripts/controls.sh` reads the names from this test's output.
    #[test]
    fn names_tell_bugs_apart() {
        for (at, bug) in Bug::ALL.iter().enumerate() {
            println!("planted: {}", bug.name());
            assert!(Bug::ALL[..at].iter().all(|other| other.name() != bug.name()));
        }
    }
}
