//! Reads of old data go aside, so that they do not slow appends.
//!
//! * They run in a queue of their own, with fewer shares than requests and the log's writer. Which
//!   one it is says whoever runs the shard (`server`); on a simulated disk they run where they are.
//! * What is read from memory never waits, and a core looks at what its disk has finished only
//!   when nobody can run. So a read stops after each span of the log, and of all that read old data
//!   on a shard, one at a time goes through a span: before the next one, the core has looked at its
//!   disk and sockets, and has rested from it while there are appends ([`Pace`]).
//! * Few at a time hold a span in memory: while the disk reads it, and until its turn. The others
//!   wait without.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use futures_util::future::{self, LocalBoxFuture};
use glommio::TaskQueueHandle;

use super::engine::Engine;
use super::pace::{Pace, Turn};
use crate::io::Io;
use crate::io::permits::{Permit, Permits};
use crate::log::loads::LOADS_MAX;
use crate::types::{LogPos, Refusal};

/// Most spans of old data that are read from the disk, or wait for their turn, at a time.
const HELD_MAX: usize = 2 * LOADS_MAX;

/// Most sessions that spell old data at a time: what they spell counts as not taken by their
/// clients only when it is whole.
const SPELLING_MAX: usize = 16;

/// How long after the last append became durable it is taken for certain that more come, in
/// microseconds.
const APPENDS_LAST_US: u64 = 5_000;

/// Starts a task; the result is its end, and dropping that ends the task.
pub(super) type Start = Box<dyn Fn(LocalBoxFuture<'static, ()>) -> LocalBoxFuture<'static, ()>>;

/// Starts tasks in this queue of the executor.
pub(super) fn in_queue(queue: TaskQueueHandle) -> Start {
    Box::new(move |work| match glommio::spawn_local_into(work, queue) {
        Ok(task) => Box::pin(task),
        Err(error) => {
            tracing::error!(%error, "a task could not be started");
            Box::pin(future::ready(()))
        }
    })
}

/// Where reads of old data run, and whose turn it is.
pub(super) struct Aside {
    start: OnceCell<Start>,
    spelling: Rc<Permits>,
    room: Rc<Permits>,
    pace: Pace,
}

impl Default for Aside {
    fn default() -> Self {
        Self {
            start: OnceCell::new(),
            spelling: Permits::new(SPELLING_MAX),
            room: Permits::new(HELD_MAX),
            pace: Pace::default(),
        }
    }
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").field("has_queue", &self.start.get().is_some()).finish()
    }
}

impl<I: Io> Engine<I> {
    /// Says, once, how reads of old data are run.
    pub(super) fn run_aside_by(&self, start: Start) {
        assert!(self.aside.start.set(start).is_ok(), "said once, when the shard is opened");
    }

    /// Does `work`, which reads old data, aside.
    ///
    /// * Errors: [`Refusal::Other`] when the core takes no more tasks.
    /// * Cancel: the work ends too.
    pub(super) async fn aside<T: 'static>(
        &self,
        work: impl Future<Output = T> + 'static,
    ) -> Result<T, Refusal> {
        let Some(start) = self.aside.start.get() else { return Ok(work.await) };
        let result = Rc::new(Cell::new(None));
        let told = Rc::clone(&result);
        start(Box::pin(async move { told.set(Some(work.await)) })).await;
        result.take().ok_or_else(|| Refusal::Other("this core is stopping".to_owned()))
    }

    /// Waits until a session may spell old data, until the result is dropped.
    pub(super) async fn spelling(&self) -> Permit {
        self.aside.spelling.acquire().await
    }

    /// Waits for room to hold a span of the log at `pos`, if that is old.
    pub(super) async fn room(&self, pos: LogPos) -> Option<Permit> {
        if self.reader.is_old(pos) { Some(self.aside.room.acquire().await) } else { None }
    }

    /// Waits for the turn to go through a span that there was room for. The rest that follows is
    /// taken before the next turn, also when this read ends here.
    pub(super) async fn turn(&self, room: Option<&Permit>) -> Option<Turn<'_, I>> {
        room?;
        let appends = || self.has_appends().then(|| self.groups_appended.get());
        Some(self.aside.pace.turn(&*self.io, appends).await)
    }

    /// Lets everything else go first, after a span and before the next one. The turn is kept
    /// meanwhile: nobody takes what it gives way to.
    pub(super) async fn give_way(&self, turn: Option<Turn<'_, I>>) {
        // Not just behind whoever can run: the core looks at its disk when nobody can.
        let mut turn = turn;
        turn.iter_mut().for_each(Turn::done);
        self.io.sleep_us(1).await;
        drop(turn);
    }

    /// Whether appends are under way, or were a moment ago: between two of a client that waits for
    /// each answer there is always a moment without. None are any more when the log has failed:
    /// what was in flight then stays so, and reads would give way to nothing for ever.
    pub(super) fn has_appends(&self) -> bool {
        if self.durable.failure().is_some() {
            return false;
        }
        let lately = |at_us| self.io.now_us() < at_us + APPENDS_LAST_US;
        self.inflight_bytes.get() > 0 || self.appended_at_us.get().is_some_and(lately)
    }
}

#[cfg(test)]
mod tests;
