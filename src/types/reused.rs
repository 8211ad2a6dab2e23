//! Lists that take the memory of earlier ones: a batch's spans are needed for some microseconds,
//! and every append has some.
//!
//! * Each thread keeps at most `KEPT_LISTS` lists of each kind, none with room for more than
//!   [`Item::ITEMS_MAX`] items: few kilobytes each. A batch that goes to another core leaves its
//!   memory there.
//! * What is reused is memory only: a list is emptied before it is kept.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

use super::append::{HeaderSpan, RecordSpan};

/// Most lists of a kind that a thread keeps.
const KEPT_LISTS: usize = 64;

/// The lists that a thread keeps.
type Kept<T> = RefCell<Vec<Vec<T>>>;

/// What such lists are of.
pub trait Item: Sized + 'static {
    /// Most items that a list which is kept has room for.
    const ITEMS_MAX: usize;

    /// The lists of this thread.
    fn kept() -> &'static LocalKey<Kept<Self>>;
}

impl Item for RecordSpan {
    const ITEMS_MAX: usize = 64;

    fn kept() -> &'static LocalKey<Kept<Self>> {
        thread_local!(static KEPT: Kept<RecordSpan> = const { RefCell::new(Vec::new()) });
        &KEPT
    }
}

impl Item for HeaderSpan {
    const ITEMS_MAX: usize = 64;

    fn kept() -> &'static LocalKey<Kept<Self>> {
        thread_local!(static KEPT: Kept<HeaderSpan> = const { RefCell::new(Vec::new()) });
        &KEPT
    }
}

/// The bytes of a small message.
impl Item for u8 {
    const ITEMS_MAX: usize = 4096;

    fn kept() -> &'static LocalKey<Kept<Self>> {
        thread_local!(static KEPT: Kept<u8> = const { RefCell::new(Vec::new()) });
        &KEPT
    }
}

/// A list whose memory is kept for the next when it is dropped.
pub struct Reused<T: Item>(Vec<T>);

impl<T: Item> Reused<T> {
    /// An empty list with room for `items`.
    ///
    /// * Cost: no allocation when one with that much room is kept.
    #[must_use]
    pub fn with_room(items: usize) -> Self {
        // A thread that ends has nothing to give any more.
        let kept = T::kept().try_with(|kept| kept.borrow_mut().pop());
        let mut list = kept.ok().flatten().unwrap_or_default();
        list.reserve(items);
        Self(list)
    }
}

impl<T: Item> Drop for Reused<T> {
    fn drop(&mut self) {
        let mut list = std::mem::take(&mut self.0);
        if list.capacity() == 0 || list.capacity() > T::ITEMS_MAX {
            return;
        }
        list.clear();
        // Dropped with it when there are enough, or when the thread ends.
        let _kept = T::kept().try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < KEPT_LISTS {
                kept.push(list);
            }
        });
    }
}

impl AsRef<[u8]> for Reused<u8> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<T: Item> Default for Reused<T> {
    fn default() -> Self {
        Self::with_room(0)
    }
}

impl<T: Item> Deref for Reused<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Item> DerefMut for Reused<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T: Item + Clone> Clone for Reused<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Item + PartialEq> PartialEq for Reused<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Item + Eq> Eq for Reused<T> {}

impl<T: Item + fmt::Debug> fmt::Debug for Reused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'a, T: Item> IntoIterator for &'a Reused<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Span;

    fn header() -> HeaderSpan {
        HeaderSpan { name: Span::default(), value: Span::default() }
    }

    fn kept() -> usize {
        HeaderSpan::kept().with_borrow(Vec::len)
    }

    #[test]
    fn a_list_takes_the_memory_of_the_one_before() {
        let mut list = Reused::<HeaderSpan>::with_room(3);
        list.push(header());
        let address = list.as_ptr();
        drop(list);
        let list = Reused::<HeaderSpan>::with_room(2);
        assert!(list.is_empty());
        assert_eq!((list.as_ptr(), kept()), (address, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        drop(Reused::<HeaderSpan>::with_room(HeaderSpan::ITEMS_MAX + 1));
        drop(Reused::<HeaderSpan>::with_room(0));
        assert_eq!(kept(), 0, "neither what is large nor what is nothing");
        let many: Vec<_> =
            (0..KEPT_LISTS + 5).map(|_| Reused::<HeaderSpan>::with_room(1)).collect();
        drop(many);
        assert_eq!(kept(), KEPT_LISTS);
    }

    #[test]
    fn a_copy_has_memory_of_its_own() {
        let mut list = Reused::<HeaderSpan>::with_room(1);
        list.push(header());
        let copy = list.clone();
        assert_eq!(copy, list);
        assert_ne!(copy.as_ptr(), list.as_ptr());
    }
}
