//! Receipts on their way from the log to who asked for them.

use std::cell::Cell;
use std::rc::Rc;

use crate::types::{Receipt, StorageClass};

/// Where a batch's receipt is laid when the batch becomes durable: the log has one end, who waits
/// for the batch the other. Only batches whose client asks for a receipt have one.
#[derive(Debug)]
pub(super) struct ReceiptSlot {
    /// When the batch arrived at its shard, on the monotonic clock.
    pub(super) since_us: u64,
    /// The class that it is logged with.
    pub(super) class: StorageClass,
    receipt: Cell<Option<Receipt>>,
}

impl ReceiptSlot {
    /// An empty one.
    pub(super) fn new(since_us: u64, class: StorageClass) -> Rc<Self> {
        Rc::new(Self { since_us, class, receipt: Cell::default() })
    }

    pub(super) fn fill(&self, receipt: Receipt) {
        self.receipt.set(Some(receipt));
    }

    /// The receipt; `None` before the batch is durable.
    pub(super) fn receipt(&self) -> Option<Receipt> {
        self.receipt.get()
    }
}

#[cfg(test)]
mod tests;
