//! Memory that the indexes of a shard's streams take.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use super::stream::Stream;

/// A stream's part in the sum of its shard, while it is in the catalogue.
#[derive(Default)]
pub(super) struct HeldBytes {
    sum: Cell<Option<Rc<Cell<u64>>>>,
}

impl fmt::Debug for HeldBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBytes").finish_non_exhaustive()
    }
}

impl HeldBytes {
    /// Its index takes `after` bytes now, and took `before`.
    pub(super) fn changed(&self, before: u64, after: u64) {
        if before == after {
            return;
        }
        if let Some(sum) = self.sum.take() {
            sum.set(sum.get() - before + after);
            self.sum.set(Some(sum));
        }
    }
}

impl Stream {
    /// From now on its index counts in `sum`, in bytes.
    pub(super) fn hold_in(&self, sum: &Rc<Cell<u64>>) {
        sum.set(sum.get() + self.index().memory_bytes());
        self.held.sum.set(Some(Rc::clone(sum)));
    }

    /// It is gone, and its index counts no more.
    pub(super) fn let_go(&self) {
        if let Some(sum) = self.held.sum.take() {
            sum.set(sum.get() - self.index().memory_bytes());
        }
    }
}
