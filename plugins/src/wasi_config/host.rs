//! The host's side of `wasi:config`, under each of its published names: thin bindings over one look at the settings.

use std::sync::Arc;

use roadstead_config::InterfaceName;
use roadstead_runtime::InstanceState;
use wasmtime::component::{HasSelf, Linker};

use super::{
    Bound, DRAFT, Settings,
    bindings::{candidate::wasi::config as candidate, draft::wasi::config as draft},
};

/// Puts the interfaces into a component's linker.
pub(super) fn link(interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    for name in interfaces {
        let is_draft = name.version.as_ref().is_some_and(|version| version.to_string() == DRAFT);
        match (&*name.interface, is_draft) {
            ("runtime", _) => draft::runtime::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
            ("store", true) => draft::store::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
            ("store", false) => candidate::store::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
            _ => {}
        }
    }
    Ok(())
}

/// What is bound; without it nothing of this interface is linked, but a guest's call is no place to panic.
fn settings(state: &InstanceState) -> Result<Arc<Settings>, String> {
    let bound = state.bound::<Bound>().ok_or_else(|| "no settings are bound to this component".to_owned())?;
    Ok(bound.settings.now())
}

fn one(state: &InstanceState, key: &str) -> Result<Option<String>, String> {
    Ok(settings(state)?.get(key).cloned())
}

fn all(state: &InstanceState) -> Result<Vec<(String, String)>, String> {
    let settings = settings(state)?;
    Ok(settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

impl candidate::store::Host for InstanceState {
    fn get(&mut self, key: String) -> Result<Option<String>, candidate::store::Error> {
        one(self, &key).map_err(candidate::store::Error::Io)
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, candidate::store::Error> {
        all(self).map_err(candidate::store::Error::Io)
    }
}

impl draft::store::Host for InstanceState {
    fn get(&mut self, key: String) -> Result<Option<String>, draft::store::Error> {
        one(self, &key).map_err(draft::store::Error::Io)
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, draft::store::Error> {
        all(self).map_err(draft::store::Error::Io)
    }
}

impl draft::runtime::Host for InstanceState {
    fn get(&mut self, key: String) -> Result<Option<String>, draft::runtime::ConfigError> {
        one(self, &key).map_err(draft::runtime::ConfigError::Io)
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, draft::runtime::ConfigError> {
        all(self).map_err(draft::runtime::ConfigError::Io)
    }
}
