//! [`Ranges`]: a set of indexes that mostly lie next to each other.
//!
//! Invariant: ranges neither overlap nor touch.

use std::collections::BTreeMap;

/// A set of indexes as ranges, first to last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds everything from `first` to `last`.
    pub(crate) fn insert(&mut self, mut first: u64, mut last: u64) {
        if let Some((before, end)) = self.0.range(..=first).next_back()
            && end.saturating_add(1) >= first
        {
            first = *before;
            last = last.max(*end);
        }
        while let Some((next, end)) = self.0.range(first..=last.saturating_add(1)).next() {
            let (next, end) = (*next, *end);
            last = last.max(end);
            self.0.remove(&next);
        }
        self.0.insert(first, last);
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        let before = self.0.range(..=index).next_back();
        before.is_some_and(|(_, last)| index <= *last)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(first, last)| (*first, *last))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The part of the set between two indexes.
    pub(crate) fn within(&self, first: u64, last: u64) -> Self {
        let before = self.0.range(..first).next_back();
        let before = before.filter(|(_, end)| **end >= first);
        let inside = self.0.range(first..=last);
        Self(
            before
                .into_iter()
                .chain(inside)
                .map(|(a, b)| (*a, *b))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    proptest::proptest! {
        #[test]
        fn a_set_of_ranges_is_the_set_of_its_indexes(
            inserted in proptest::collection::vec((0..60_u64, 0..9_u64), 0..40),
        ) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (first, more) in inserted {
                ranges.insert(first, first + more);
                set.extend(first..=first + more);
            }
            for index in 0..80 {
                assert_eq!(ranges.contains(index), set.contains(&index), "{index}");
                assert_eq!(ranges.within(index, index + 3).contains(index + 1), set.contains(&(index + 1)));
            }
            let ends: Vec<_> = ranges.iter().collect();
            assert!(ends.windows(2).all(|w| w[0].1 + 1 < w[1].0), "{ends:?}");
            assert_eq!(ranges.len(), ends.len());
        }
    }
}
