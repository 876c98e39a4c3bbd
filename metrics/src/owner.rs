//! Whose series have names of their own: a host with more workloads than its bound counts the others together, so that
//! what a scrape costs is known.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// The value of all name labels of what is counted together.
pub const OVERFLOW: &str = "__overflow__";

/// Namespace and name; a namespace alone has no name.
type Name = (Box<str>, Box<str>);

/// Those who have names now.
#[derive(Debug)]
pub(crate) struct Owners {
    max: usize,
    named: Mutex<BTreeMap<Name, Weak<Place>>>,
}

/// Who something is counted for: a workload, a trigger or a namespace. Its place among those with names is free again when
/// the last copy is dropped.
#[derive(Debug, Clone)]
pub struct Owner(Option<Arc<Place>>);

#[derive(Debug)]
struct Place {
    name: Name,
    among: Weak<Owners>,
}

impl Owners {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, named: Mutex::default() })
    }

    pub(crate) fn enter(self: &Arc<Self>, namespace: &str, name: &str) -> Owner {
        let name: Name = (namespace.into(), name.into());
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = named.get(&name).and_then(Weak::upgrade) {
            return Owner(Some(place));
        }
        // One that is about to be taken out counts too: the bound is never passed.
        if named.len() >= self.max && !named.contains_key(&name) {
            return Owner(None);
        }
        let place = Arc::new(Place { name: name.clone(), among: Arc::downgrade(self) });
        named.insert(name, Arc::downgrade(&place));
        Owner(Some(place))
    }

    pub(crate) fn count(&self) -> usize {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Those who have names of their own now.
#[derive(Debug, Clone)]
pub struct Named(pub(crate) Arc<Owners>);

impl Named {
    /// How many they are.
    pub fn count(&self) -> usize {
        self.0.count()
    }
}

impl Owner {
    /// The one whom no bound is for.
    pub fn unbounded(namespace: &str, name: &str) -> Self {
        Self(Some(Arc::new(Place { name: (namespace.into(), name.into()), among: Weak::new() })))
    }

    /// The value of the label `namespace`.
    pub fn namespace(&self) -> &str {
        self.0.as_ref().map_or(OVERFLOW, |place| &place.name.0)
    }

    /// The value of the label `workload` or `trigger`.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or(OVERFLOW, |place| &place.name.1)
    }

    /// A further name of something that belongs to it, such as a component's.
    pub fn own<'a>(&self, name: &'a str) -> &'a str {
        if self.0.is_some() { name } else { OVERFLOW }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(owners) = self.among.upgrade() else { return };
        let mut named = owners.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.get(&self.name).is_some_and(|place| place.strong_count() == 0) {
            named.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_have_names_and_the_next_has_one_when_a_place_is_free() {
        let owners = Owners::new(2);
        let (one, _two) = (owners.enter("a", "one"), owners.enter("a", "two"));
        let three = owners.enter("a", "three");
        assert_eq!((three.namespace(), three.name(), three.own("app")), (OVERFLOW, OVERFLOW, OVERFLOW));
        let again = owners.enter("a", "one");
        drop(one);
        assert_eq!(owners.enter("a", "three").name(), OVERFLOW);
        drop(again);
        let three = owners.enter("a", "three");
        assert_eq!((three.namespace(), three.name(), three.own("app")), ("a", "three", "app"));
    }
}
