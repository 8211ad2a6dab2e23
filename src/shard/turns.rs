//! Turns by name: who holds a name's turn is alone with it; other names go on.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::io::notify::Notify;

/// Who has a turn. Costs nothing for names that nobody is busy with.
#[derive(Debug)]
pub(super) struct Turns<K: Ord> {
    busy: RefCell<BTreeSet<K>>,
    ended: Notify,
}

impl<K: Ord> Default for Turns<K> {
    fn default() -> Self {
        Self { busy: RefCell::default(), ended: Notify::default() }
    }
}

impl<K: Ord + Clone> Turns<K> {
    /// Waits for the turn of `key`; it lasts until the result is dropped.
    ///
    /// * Cancel: leaves nothing behind.
    /// * Cost: whoever waits looks again at the end of any turn, which is right for the few
    ///   changes of basins.
    pub(super) async fn take(&self, key: &K) -> Turn<'_, K> {
        while !self.busy.borrow_mut().insert(key.clone()) {
            self.ended.notified().await;
        }
        Turn { turns: self, key: key.clone() }
    }
}

/// A turn of [`Turns::take`].
#[derive(Debug)]
pub(super) struct Turn<'a, K: Ord> {
    turns: &'a Turns<K>,
    key: K,
}

impl<K: Ord> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        self.turns.busy.borrow_mut().remove(&self.key);
        self.turns.ended.notify();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_name_is_held_by_one_at_a_time_and_others_go_on() {
        let turns = Turns::default();
        let first = turns.take(&"a").now_or_never().expect("free");
        let mut second = Box::pin(turns.take(&"a"));
        assert!((&mut second).now_or_never().is_none());
        let other = turns.take(&"b").now_or_never().expect("another name");
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        let second = (&mut second).now_or_never().expect("free again");
        assert!(turns.take(&"a").now_or_never().is_none());
        drop((second, other));
        assert!(turns.busy.borrow().is_empty(), "nothing is left behind");
    }

    #[test]
    fn who_gives_up_holds_up_nobody() {
        let turns = Turns::default();
        let first = turns.take(&1).now_or_never().expect("free");
        let (mut second, mut third) = (Box::pin(turns.take(&1)), Box::pin(turns.take(&1)));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        drop(first);
        drop(second);
        assert!((&mut third).now_or_never().is_some());
    }
}
