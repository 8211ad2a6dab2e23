//! Which part of a list a token shows.
//!
//! A set of resources is one name or one prefix, so the part is again a page of the list: nobody
//! has to look through items that are left out, and whether more follows stays exact.

use crate::types::ResourceSet;

/// What is to be shown of the names that start with a prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Within {
    /// All.
    #[default]
    All,
    /// Only the one that the prefix is.
    Itself,
    /// None.
    Nothing,
}

/// Reduces a list of names that start with `prefix` to those in `set`; without one, everything is
/// permitted.
///
/// * Shape: a prefix that is at least as long, and what is to be shown of the names with it.
#[must_use]
pub fn narrow(set: Option<&ResourceSet>, prefix: String) -> (String, Within) {
    match set {
        None => (prefix, Within::All),
        Some(ResourceSet::Prefix(ours)) if prefix.starts_with(&**ours) => (prefix, Within::All),
        Some(ResourceSet::Prefix(ours)) if ours.starts_with(&*prefix) => {
            (ours.to_string(), Within::All)
        }
        Some(ResourceSet::Exact(ours)) if ours.starts_with(&*prefix) => {
            (ours.to_string(), Within::Itself)
        }
        Some(_) => (prefix, Within::Nothing),
    }
}

impl Within {
    /// Drops from a page of the names that start with `prefix`, sorted, what is not to be shown.
    /// Returns whether more follows, given whether the list has more.
    ///
    /// A name sorts first among those that start with it: if it is in the list behind where the
    /// page starts, it is on the page.
    pub fn keep<T>(
        self,
        prefix: &str,
        page: &mut Vec<T>,
        has_more: bool,
        name: impl Fn(&T) -> &str,
    ) -> bool {
        match self {
            Self::All => return has_more,
            Self::Itself => page.retain(|item| name(item) == prefix),
            Self::Nothing => page.clear(),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A page of a list that holds `names`, and whether it has more.
    fn page<'a>(
        names: &'a BTreeSet<String>,
        prefix: &str,
        start_after: &str,
        limit: usize,
    ) -> (Vec<&'a str>, bool) {
        let matching = |name: &&'a str| name.starts_with(prefix) && **name > *start_after;
        let mut found: Vec<&str> = names.iter().map(String::as_str).filter(matching).collect();
        let has_more = found.len() > limit;
        found.truncate(limit);
        (found, has_more)
    }

    fn sets() -> impl Strategy<Value = Option<ResourceSet>> {
        prop_oneof![
            Just(None),
            Just(Some(ResourceSet::Nothing)),
            "[ab]{1,3}".prop_map(|name| Some(ResourceSet::Exact(name.into()))),
            "[ab]{0,3}".prop_map(|prefix| Some(ResourceSet::Prefix(prefix.into()))),
        ]
    }

    proptest! {
        #[test]
        fn a_page_shows_exactly_what_is_asked_for_and_permitted(
            names in prop::collection::btree_set("[ab]{1,4}", 0..20),
            set in sets(),
            prefix in "[ab]{0,3}",
            start_after in "[ab]{0,3}",
            limit in 1usize..6,
        ) {
            let permitted = |name: &&String| set.as_ref().is_none_or(|set| set.has(name));
            let visible: BTreeSet<String> = names.iter().filter(permitted).cloned().collect();
            let expected = page(&visible, &prefix, &start_after, limit);

            let (narrowed, within) = narrow(set.as_ref(), prefix);
            let (mut found, has_more) = page(&names, &narrowed, &start_after, limit);
            let has_more = within.keep(&narrowed, &mut found, has_more, |name| name);
            prop_assert_eq!((found, has_more), expected);
        }
    }
}
