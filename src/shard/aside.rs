//! Reads of old data go aside, so that they do not slow appends.
//!
//! * They run in a queue of their own, with fewer shares than requests and the log's writer. Which
//!   one it is says whoever runs the shard (`server`); on a simulated disk they run where they are.
//! * What is read from memory never waits, and a core looks at what its disk has finished only
//!   when nobody can run. So of all that read old data on a shard, one at a time goes through a
//!   span of the log, and before the next one the core has looked at its disk and sockets.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::engine::Engine;
use crate::io::Io;
use crate::io::permits::{Permit, Permits};
use crate::types::Refusal;

/// Starts a task; the result is its end, and dropping that ends the task.
pub(super) type Start = Box<dyn Fn(LocalBoxFuture<'static, ()>) -> LocalBoxFuture<'static, ()>>;

/// Where reads of old data run, and whose turn it is.
pub(super) struct Aside {
    start: OnceCell<Start>,
    turn: Rc<Permits>,
}

impl Default for Aside {
    fn default() -> Self {
        Self { start: OnceCell::new(), turn: Permits::new(1) }
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

    /// Waits for the turn to go through a span of old data; `last` is the caller's turn before.
    pub(super) async fn next_turn(&self, last: Option<Permit>) -> Permit {
        if last.is_some() {
            // Held meanwhile: nobody else uses up what is given way to.
            self.io.sleep_us(1).await;
        }
        drop(last);
        self.aside.turn.acquire().await
    }
}
