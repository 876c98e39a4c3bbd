//! The backends that a host has for one interface that stores things, which of them an entry of `hostInterfaces` asks
//! for, and which entry serves what a guest names. What is stored is not known here.

use std::{collections::BTreeMap, sync::Arc};

use roadstead_config::manifest::HostInterface;
use roadstead_runtime::{LogText, PluginError, plugin::ComponentBinding};

/// The key of an entry's `config` that chooses a backend.
const BACKEND: &str = "backend";
/// Longest name of a backend that an error repeats, in bytes.
const ECHO_BYTES_MAX: usize = 64;
/// The published runtime's words for backends that are called otherwise here.
const ALIASES: [(&str, &str); 2] = [("in-memory", "memory"), ("filesystem", "disk")];

/// The backends of a host for one interface. The first is that of entries that ask for none.
pub(crate) struct Backends<B: ?Sized> {
    all: Vec<(&'static str, Arc<B>)>,
    /// Backends that a host could have, and what would bring them.
    remedies: Vec<(&'static str, &'static str)>,
}

impl<B: ?Sized> Backends<B> {
    pub(crate) fn new(name: &'static str, backend: Arc<B>) -> Self {
        Self { all: vec![(name, backend)], remedies: Vec::new() }
    }

    /// Adds a backend; one of a name that is there already is not reached.
    pub(crate) fn add(&mut self, name: &'static str, backend: Arc<B>) {
        self.all.push((name, backend));
    }

    pub(crate) fn explain(&mut self, name: &'static str, remedy: &'static str) {
        self.remedies.push((name, remedy));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<B>> {
        self.all.iter().map(|(_, backend)| backend)
    }

    /// The name of the backend that each entry of `binding` asks for, under the entry's own name.
    pub(crate) fn routes(&self, binding: &ComponentBinding<'_>) -> Result<Routes<&'static str>, PluginError> {
        let is_secret = binding.secrets.contains(BACKEND);
        let mut routes = Routes { named: BTreeMap::new(), unnamed: None };
        for entry in binding.interfaces {
            let chosen = self.chosen(entry, is_secret)?;
            match &entry.name {
                None => routes.unnamed = Some(chosen),
                Some(name) => match routes.named.insert(name.clone(), chosen) {
                    // Entries for several interfaces of the package may share a name, not a name for two things.
                    Some(other) if other != chosen => {
                        let text = format!("{}: the entries named {name} ask for {other} and {chosen}", entry.place);
                        return Err(PluginError::Configuration(text));
                    }
                    _ => {}
                },
            }
        }
        Ok(routes)
    }

    /// The backends to which `routes` lead.
    pub(crate) fn used_by(&self, routes: &Routes<&'static str>) -> Vec<(&'static str, Arc<B>)> {
        let mut used: Vec<(&'static str, Arc<B>)> = Vec::new();
        for name in routes.named.values().chain(&routes.unnamed) {
            let found = self.all.iter().find(|(known, _)| known == name);
            used.extend(found.filter(|_| used.iter().all(|(known, _)| known != name)).cloned());
        }
        used
    }

    fn chosen(&self, entry: &HostInterface, is_secret: bool) -> Result<&'static str, PluginError> {
        let asked = entry.config.config.get(BACKEND).map(String::as_str);
        let found = match asked {
            None => self.all.first(),
            Some(asked) => {
                let name = ALIASES.iter().find(|(alias, _)| *alias == asked).map_or(asked, |(_, name)| *name);
                self.all.iter().find(|(known, _)| *known == name)
            }
        };
        let found = found.map(|(name, _)| *name);
        found.ok_or_else(|| self.not_there(entry, asked.filter(|_| !is_secret).unwrap_or("(a secret)")))
    }

    fn not_there(&self, entry: &HostInterface, asked: &str) -> PluginError {
        let named = entry.name.as_ref().map(|name| format!(" named {name}")).unwrap_or_default();
        let there: Vec<&str> = self.all.iter().map(|(name, _)| *name).collect();
        let mut text = format!(
            "{}: the entry for {}{named} asks for the backend {:?}; this host has {}",
            entry.place,
            entry.package,
            LogText::new(asked, ECHO_BYTES_MAX).to_string(),
            there.join(", ")
        );
        for (name, remedy) in self.remedies.iter().filter(|(name, _)| !there.contains(name)) {
            text.push_str(&format!("; {remedy} brings {name}"));
        }
        PluginError::Configuration(text)
    }
}

/// Which entry serves what a guest names: the one of that name, else the one without a name.
pub(crate) struct Routes<T> {
    named: BTreeMap<Arc<str>, T>,
    unnamed: Option<T>,
}

/// No entry serves it.
#[derive(Debug, thiserror::Error)]
#[error("is the name of no entry of hostInterfaces for {package} ({names}), and no entry is without a name")]
pub(crate) struct NoEntry {
    package: &'static str,
    names: String,
}

impl<T> Routes<T> {
    /// The entry that serves `identifier`, the name that a guest gives to the function that opens something.
    pub(crate) fn of(&self, identifier: &str, package: &'static str) -> Result<&T, NoEntry> {
        let found = self.named.get(identifier).or(self.unnamed.as_ref());
        found.ok_or_else(|| {
            let names: Vec<&str> = self.named.keys().map(|name| &**name).collect();
            NoEntry { package, names: names.join(", ") }
        })
    }

    /// The same routes, to what was made of each.
    pub(crate) fn to<U: Clone>(&self, made: &BTreeMap<T, U>) -> Routes<U>
    where
        T: Ord,
    {
        let named = self.named.iter().filter_map(|(name, to)| Some((name.clone(), made.get(to)?.clone())));
        Routes { named: named.collect(), unnamed: self.unnamed.as_ref().and_then(|to| made.get(to)).cloned() }
    }
}
