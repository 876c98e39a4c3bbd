//! A tree over the segments of a name, with values for whole names and for all that lie below one. Copies share what
//! does not differ, so that a change costs the changed branch. It knows neither hosts nor paths.

use std::{collections::HashMap, sync::Arc};

/// Values by sequences of segments.
#[derive(Debug, Clone)]
pub(super) struct Trie<V> {
    children: HashMap<Box<str>, Arc<Trie<V>>>,
    /// For exactly this sequence.
    exact: Option<V>,
    /// For sequences that begin like this.
    prefix: Option<V>,
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { children: HashMap::new(), exact: None, prefix: None }
    }
}

/// Which sequences a value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Exact,
    Prefix,
}

/// The values that apply to a sequence.
#[derive(Debug)]
pub(super) struct Found<'a, V> {
    /// The one of exactly this sequence.
    pub(super) exact: Option<&'a V>,
    /// The one of the longest prefix, the sequence itself included.
    pub(super) prefix: Option<&'a V>,
    /// The one of the longest prefix that is shorter than the sequence.
    pub(super) shorter_prefix: Option<&'a V>,
}

impl<V: Clone> Trie<V> {
    /// Finds what applies to `segments`, looking at each once.
    pub(super) fn find<'s>(&self, segments: impl Iterator<Item = &'s str>) -> Found<'_, V> {
        let mut node = self;
        let mut prefix = None;
        for segment in segments {
            prefix = node.prefix.as_ref().or(prefix);
            match node.children.get(segment) {
                Some(child) => node = child,
                None => return Found { exact: None, prefix, shorter_prefix: prefix },
            }
        }
        Found { exact: node.exact.as_ref(), prefix: node.prefix.as_ref().or(prefix), shorter_prefix: prefix }
    }

    /// The place of a value, made where it is not there yet.
    pub(super) fn slot<'a>(&mut self, segments: impl Iterator<Item = &'a str>, reach: Reach) -> &mut Option<V> {
        let mut node = self;
        for segment in segments {
            node = Arc::make_mut(node.children.entry(segment.into()).or_default());
        }
        match reach {
            Reach::Exact => &mut node.exact,
            Reach::Prefix => &mut node.prefix,
        }
    }

    /// The value at a place.
    pub(super) fn value<'a>(&self, mut segments: impl Iterator<Item = &'a str>, reach: Reach) -> Option<&V> {
        let node = segments.try_fold(self, |node, segment| node.children.get(segment).map(|child| &**child))?;
        match reach {
            Reach::Exact => node.exact.as_ref(),
            Reach::Prefix => node.prefix.as_ref(),
        }
    }

    /// Takes a value away, and the branches that held nothing else.
    pub(super) fn remove<'a>(&mut self, mut segments: impl Iterator<Item = &'a str>, reach: Reach) {
        let Some(segment) = segments.next() else {
            match reach {
                Reach::Exact => self.exact = None,
                Reach::Prefix => self.prefix = None,
            }
            return;
        };
        let Some(child) = self.children.get_mut(segment).map(Arc::make_mut) else { return };
        child.remove(segments, reach);
        if child.is_empty() {
            self.children.remove(segment);
        }
    }

    /// Whether there is no value at all.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_none() && self.prefix.is_none() && self.children.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_independent() {
        let mut first = Trie::default();
        *first.slot(["a", "b"].into_iter(), Reach::Exact) = Some(1);
        let mut second = first.clone();
        *second.slot(["a", "c"].into_iter(), Reach::Prefix) = Some(2);
        second.remove(["a", "b"].into_iter(), Reach::Exact);
        assert_eq!(first.find(["a", "b"].into_iter()).exact, Some(&1));
        assert_eq!(first.find(["a", "c"].into_iter()).prefix, None);
        assert_eq!(second.find(["a", "b"].into_iter()).exact, None);
        assert_eq!(second.find(["a", "c", "d"].into_iter()).prefix, Some(&2));
        second.remove(["a", "c"].into_iter(), Reach::Prefix);
        assert!(second.is_empty());
    }
}
