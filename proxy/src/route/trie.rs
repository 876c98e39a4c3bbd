//! A tree over the segments of a name, with values for whole names and for all that lie below one. Copies share what
//! does not differ: to copy a tree costs nothing that grows with it, and to change one costs the way to the changed place,
//! also where a name has many neighbours. It knows neither hosts nor paths.

use std::sync::Arc;

use rpds::HashTrieMapSync;

/// Values by sequences of segments.
#[derive(Debug, Clone)]
pub(super) struct Trie<V> {
    /// `None` for none: most nodes have no children.
    children: Option<HashTrieMapSync<Arc<str>, Trie<V>>>,
    /// For exactly this sequence.
    exact: Option<V>,
    /// For sequences that begin like this.
    prefix: Option<V>,
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { children: None, exact: None, prefix: None }
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
            match node.child(segment) {
                Some((_, child)) => node = child,
                None => return Found { exact: None, prefix, shorter_prefix: prefix },
            }
        }
        Found { exact: node.exact.as_ref(), prefix: node.prefix.as_ref().or(prefix), shorter_prefix: prefix }
    }

    /// The value at a place.
    pub(super) fn value<'a>(&self, mut segments: impl Iterator<Item = &'a str>, reach: Reach) -> Option<&V> {
        let node = segments.try_fold(self, |node, segment| node.child(segment).map(|(_, child)| child))?;
        match reach {
            Reach::Exact => node.exact.as_ref(),
            Reach::Prefix => node.prefix.as_ref(),
        }
    }

    /// Changes the value at a place, which is made for it, and taken away, with the branches that held nothing else,
    /// where none is left.
    pub(super) fn update<'a, R>(
        &mut self,
        mut segments: impl Iterator<Item = &'a str>,
        reach: Reach,
        change: impl FnOnce(&mut Option<V>) -> R,
    ) -> R {
        let Some(segment) = segments.next() else {
            return match reach {
                Reach::Exact => change(&mut self.exact),
                Reach::Prefix => change(&mut self.prefix),
            };
        };
        let (key, mut child) = match self.child(segment) {
            Some((key, child)) => (key.clone(), child.clone()),
            None => (segment.into(), Self::default()),
        };
        let result = child.update(segments, reach, change);
        let children = self.children.get_or_insert_with(HashTrieMapSync::new_sync);
        if child.is_empty() {
            children.remove_mut(&key);
        } else {
            children.insert_mut(key, child);
        }
        self.children.take_if(|children| children.is_empty());
        result
    }

    /// Whether there is no value at all.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_none() && self.prefix.is_none() && self.children.is_none()
    }

    fn child(&self, segment: &str) -> Option<(&Arc<str>, &Self)> {
        self.children.as_ref()?.get_key_value(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(trie: &mut Trie<u8>, name: &str, reach: Reach, value: Option<u8>) {
        trie.update(name.split('/'), reach, |slot| *slot = value);
    }

    #[test]
    fn copies_are_independent() {
        let find = |trie: &Trie<u8>, name: &str| {
            let found = trie.find(name.split('/'));
            (found.exact.copied(), found.prefix.copied())
        };
        let mut first = Trie::default();
        set(&mut first, "a/b", Reach::Exact, Some(1));
        let mut second = first.clone();
        set(&mut second, "a/c", Reach::Prefix, Some(2));
        set(&mut second, "a/b", Reach::Exact, None);
        assert_eq!((find(&first, "a/b"), find(&first, "a/c")), ((Some(1), None), (None, None)));
        assert_eq!((find(&second, "a/b"), find(&second, "a/c/d")), ((None, None), (None, Some(2))));
        set(&mut second, "a/c", Reach::Prefix, None);
        assert!(second.is_empty());
    }

    #[test]
    fn a_change_to_nothing_leaves_nothing() {
        let mut trie = Trie::default();
        set(&mut trie, "a/b/c", Reach::Exact, None);
        assert!(trie.is_empty());
        // As many segments as a route's path can have.
        let deep = "s/".repeat(512);
        set(&mut trie, &deep, Reach::Prefix, Some(1));
        set(&mut trie, "s/s", Reach::Exact, Some(2));
        set(&mut trie, &deep, Reach::Prefix, None);
        assert_eq!(trie.find("s/s".split('/')).exact, Some(&2));
        assert!(trie.value("s/s/s".split('/'), Reach::Exact).is_none());
        set(&mut trie, "s/s", Reach::Exact, None);
        assert!(trie.is_empty());
    }
}
