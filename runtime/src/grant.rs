//! Which interfaces a component gets: what its workload declares and the host offers, and the base that is always there.

use std::sync::Arc;

use roadstead_config::{
    InterfaceName, InterfaceVersion, PackageName,
    manifest::{HostInterface, SourcePlace},
};

use crate::{DeployError, plugin::HostPlugin, plugin::InterfaceOffer};

/// Packages that every component may import undeclared, in their 0.2 versions.
const BASE_PACKAGES: [&str; 6] = ["io", "clocks", "random", "cli", "filesystem", "sockets"];
/// Interfaces of wasi:http that every component may import.
const BASE_HTTP: [&str; 2] = ["types", "outgoing-handler"];
/// The interface through which a trigger calls a component.
pub(crate) const INCOMING_HANDLER: &str = "incoming-handler";
/// The version of WASI that the base serves.
pub(crate) const WASI_VERSION: &str = "0.2.12";

/// What the host serves without a plugin.
pub(crate) fn base_offers() -> Vec<InterfaceOffer> {
    const ALL: [(&str, &[&str], &[&str]); 7] = [
        ("io", &["error", "poll", "streams"], &[]),
        ("clocks", &["monotonic-clock", "wall-clock"], &[]),
        ("random", &["random", "insecure", "insecure-seed"], &[]),
        (
            "cli",
            &[
                "environment",
                "exit",
                "stdin",
                "stdout",
                "stderr",
                "terminal-input",
                "terminal-output",
                "terminal-stdin",
                "terminal-stdout",
                "terminal-stderr",
            ],
            &["run"],
        ),
        ("filesystem", &["types", "preopens"], &[]),
        (
            "sockets",
            &["network", "instance-network", "ip-name-lookup", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
            &[],
        ),
        ("http", &["types", "outgoing-handler"], &["incoming-handler"]),
    ];
    ALL.iter()
        .filter_map(|(package, imports, exports)| {
            let offer = InterfaceOffer::new("wasi", package, WASI_VERSION).ok()?;
            Some(offer.with_imports(imports).with_exports(exports))
        })
        .collect()
}

/// Whether `name` belongs to the base.
pub(crate) fn is_base(name: &InterfaceName) -> bool {
    let track = WASI_VERSION.parse::<InterfaceVersion>().ok();
    let version_fits = match (&name.version, &track) {
        (Some(version), Some(track)) => version.is_same_track(track),
        _ => false,
    };
    version_fits
        && name.package.namespace() == "wasi"
        && (BASE_PACKAGES.contains(&name.package.package())
            || (name.package.package() == "http" && BASE_HTTP.contains(&&*name.interface)))
}

/// The offers of a host, base and plugins together.
pub(crate) struct Catalogue {
    offers: Vec<(Option<usize>, InterfaceOffer)>,
    /// What would bring packages that are not offered.
    remedies: Vec<(PackageName, String)>,
}

/// What one component imports from one plugin.
pub(crate) struct PluginImports {
    pub(crate) plugin: usize,
    pub(crate) interfaces: Vec<InterfaceName>,
}

impl Catalogue {
    pub(crate) fn new(plugins: &[Arc<dyn HostPlugin>], remedies: Vec<(PackageName, String)>) -> Self {
        let base = base_offers().into_iter().map(|offer| (None, offer));
        let of_plugins = plugins
            .iter()
            .enumerate()
            .flat_map(|(index, plugin)| plugin.offers().iter().cloned().map(move |offer| (Some(index), offer)));
        Self { offers: base.chain(of_plugins).collect(), remedies }
    }

    /// All offers, for status and heartbeats.
    pub(crate) fn offers(&self) -> impl Iterator<Item = &InterfaceOffer> {
        self.offers.iter().map(|(_, offer)| offer)
    }

    /// Checks that every declared interface is offered.
    pub(crate) fn check_declared(&self, declared: &[HostInterface]) -> Result<(), DeployError> {
        declared.iter().try_for_each(|entry| {
            entry.interfaces.iter().try_for_each(|interface| {
                let name = InterfaceName {
                    package: entry.package.clone(),
                    interface: interface.clone(),
                    version: entry.version.clone(),
                };
                self.find(&name).map(drop).ok_or_else(|| self.not_offered(name, entry.place.clone()))
            })
        })
    }

    /// The plugin that serves `name`, or `None` inside for the base.
    fn find(&self, name: &InterfaceName) -> Option<(Option<usize>, &InterfaceOffer)> {
        self.offers.iter().find_map(|(plugin, offer)| {
            let version_fits = name.version.as_ref().is_none_or(|version| version.is_same_track(&offer.version));
            (offer.package == name.package && version_fits && offer.has(&name.interface)).then_some((*plugin, offer))
        })
    }

    fn not_offered(&self, name: InterfaceName, place: SourcePlace) -> DeployError {
        let offered = self
            .offers()
            .filter(|offer| offer.package == name.package)
            .flat_map(|offer| {
                let names = offer.imports.iter().chain(offer.types).chain(offer.exports);
                names.map(|interface| format!("{interface}@{}", offer.version)).collect::<Vec<_>>()
            })
            .collect();
        let remedy = self.remedies.iter().find(|(package, _)| *package == name.package);
        let remedy = remedy.map(|(_, remedy)| remedy.clone());
        DeployError::InterfaceNotOffered { name, place, offered, remedy }
    }

    /// The entries of `declared` that belong to `plugin`.
    pub(crate) fn declared_for(&self, plugin: usize, declared: &[HostInterface]) -> Vec<HostInterface> {
        let belongs = |entry: &&HostInterface| {
            self.offers.iter().any(|(owner, offer)| *owner == Some(plugin) && offer.package == entry.package)
        };
        declared.iter().filter(belongs).cloned().collect()
    }

    /// Sorts a component's imports by plugin; an import that is neither base nor declared and offered is an error.
    pub(crate) fn grant_imports(
        &self,
        imports: &[InterfaceName],
        declared: &[HostInterface],
        component: &ComponentLabel<'_>,
    ) -> Result<Vec<PluginImports>, DeployError> {
        let mut granted: Vec<PluginImports> = Vec::new();
        for import in imports.iter().filter(|import| !is_base(import)) {
            let Some((Some(plugin), offer)) = self.find(import) else {
                return Err(self.not_offered(import.clone(), component.place.clone()));
            };
            if !is_declared(import, offer, declared) {
                return Err(DeployError::ImportNotDeclared {
                    component: component.name.to_owned(),
                    place: component.place.clone(),
                    import: import.clone(),
                });
            }
            match granted.iter_mut().find(|entry| entry.plugin == plugin) {
                Some(entry) => entry.interfaces.push(import.clone()),
                None => granted.push(PluginImports { plugin, interfaces: vec![import.clone()] }),
            }
        }
        Ok(granted)
    }

    /// The exports among `exports` that `plugin` calls and the workload declares.
    pub(crate) fn granted_exports(
        &self,
        plugin: usize,
        exports: &[InterfaceName],
        declared: &[HostInterface],
    ) -> Vec<InterfaceName> {
        let granted = |export: &&InterfaceName| {
            self.find(export).is_some_and(|(owner, offer)| {
                owner == Some(plugin)
                    && offer.exports.contains(&&*export.interface)
                    && is_declared(export, offer, declared)
            })
        };
        exports.iter().filter(granted).cloned().collect()
    }
}

/// A component as errors name it.
pub(crate) struct ComponentLabel<'a> {
    pub(crate) name: &'a str,
    pub(crate) place: &'a SourcePlace,
}

fn is_declared(name: &InterfaceName, offer: &InterfaceOffer, declared: &[HostInterface]) -> bool {
    let types_only = offer.types.contains(&&*name.interface);
    declared.iter().any(|entry| {
        let version_fits = match (&entry.version, &name.version) {
            (Some(declared), Some(asked)) => asked.is_same_track(declared),
            _ => true,
        };
        entry.package == name.package && version_fits && (types_only || entry.interfaces.contains(&name.interface))
    })
}
