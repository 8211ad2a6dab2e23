//! Whether the server is shutting down, and the waking of those who want to know.

use std::cell::Cell;

use crate::io::notify::Notify;

/// How far a shutdown is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Not begun.
    #[default]
    Serving,
    /// No new connections or requests; sessions are advised to reconnect.
    Draining,
    /// Sessions that are still there are ended.
    Ending,
}

/// One core's view of a shutdown.
#[derive(Debug, Default)]
pub(super) struct Drain {
    stage: Cell<Stage>,
    moved: Notify,
}

impl Drain {
    /// Moves on.
    pub(super) fn enter(&self, stage: Stage) {
        debug_assert!(stage >= self.stage.get(), "a shutdown is not taken back");
        self.stage.set(stage);
        self.moved.notify();
    }

    /// How far it is.
    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Whether it has begun.
    pub(super) fn is_begun(&self) -> bool {
        self.stage.get() >= Stage::Draining
    }

    /// Waits until it begins.
    pub(super) async fn begun(&self) {
        self.reached(Stage::Draining).await;
    }

    /// Waits until it is this far.
    pub(super) async fn reached(&self, stage: Stage) {
        while self.stage.get() < stage {
            self.moved.notified().await;
        }
    }
}
