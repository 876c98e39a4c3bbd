//! The host's side of `wasmcloud:secrets`: what a guest may ask for, and what it is told. Both versions are thin bindings
//! over the same two functions; where secrets are kept is not known here.

use std::sync::Arc;

use roadstead_config::{InterfaceName, SecretKey};
use roadstead_runtime::{InstanceState, LogText, ObjectError};
use wasmtime::component::{HasSelf, Linker, Resource};

use super::{
    Bound, DRAFT, SecretHandle,
    bindings::{draft::wasmcloud::secrets as draft, first::wasmcloud::secrets as first},
    source::{self, SecretBytes, SecretError},
};
use crate::store_call::CallTime;

/// Longest key of a guest's that an error or the log repeats, in bytes.
const ECHO_BYTES_MAX: usize = 128;

/// Puts the interfaces into a component's linker.
pub(super) fn link(interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    for name in interfaces {
        let is_draft = name.version.as_ref().is_some_and(|version| version.to_string() == DRAFT);
        match (&*name.interface, is_draft) {
            ("store", false) => first::store::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
            ("reveal", false) => first::reveal::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
            ("store", true) => draft::store::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
            ("reveal", true) => draft::reveal::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
            _ => {}
        }
    }
    Ok(())
}

/// Why a guest gets no secret.
enum Refusal {
    /// There is none that it was granted.
    NotFound,
    /// In words that name no file and no value.
    Io(String),
}

/// Looks a secret up, as it is now.
async fn get(state: &mut InstanceState, text: &str) -> wasmtime::Result<Result<Resource<SecretHandle>, Refusal>> {
    let bound = state
        .bound::<Bound>()
        .ok_or_else(|| wasmtime::Error::msg("wasmcloud:secrets is not bound to this component"))?;
    let time = CallTime::of(state, &bound.limits);
    let found = match time.wait(find(&bound, text)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Ok(Err(refused(state, text, &error))),
        Err(error) => return Ok(Err(Refusal::Io(error.to_string()))),
    };
    let Some(value) = found else { return Ok(Err(Refusal::NotFound)) };
    Ok(state.table().push(SecretHandle { value }).map_err(|error| Refusal::Io(error.to_string())))
}

async fn find(bound: &Bound, text: &str) -> Result<Option<Arc<SecretBytes>>, SecretError> {
    // What is no key of a file may still be the name of a setting.
    if let Ok(key) = text.parse::<SecretKey>() {
        let found = source::find(bound.objects.clone(), key, bound.limits.config_file_bytes_max).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(bound.settings.get(text).cloned())
}

/// The operator is told the file and what is wrong with it, the guest only that it cannot be read.
fn refused(state: &InstanceState, text: &str, error: &SecretError) -> Refusal {
    let (workload, key) = (state.workload(), shown(text));
    tracing::warn!(
        namespace = %workload.namespace,
        workload = %workload.name,
        key,
        error = %error,
        cause = std::error::Error::source(error).map(tracing::field::display),
        "a secret cannot be read"
    );
    match error {
        SecretError::Object(ObjectError::TooLarge { max, .. }) => {
            Refusal::Io(format!("the secret {key:?} is more than {max} bytes large"))
        }
        _ => Refusal::Io(format!("the secret {key:?} cannot be read")),
    }
}

fn shown(text: &str) -> String {
    LogText::new(text, ECHO_BYTES_MAX).to_string()
}

/// What a handle stands for: text where it is text.
fn reveal(state: &mut InstanceState, handle: &Resource<SecretHandle>) -> wasmtime::Result<Result<String, Vec<u8>>> {
    let value = state.table().get(handle)?.value.clone();
    let bytes = value.reveal();
    Ok(std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| bytes.to_vec()))
}

macro_rules! binding {
    ($version:ident) => {
        impl $version::store::Host for InstanceState {
            async fn get(
                &mut self,
                key: String,
            ) -> wasmtime::Result<Result<Resource<SecretHandle>, $version::store::SecretsError>> {
                Ok(get(self, &key).await?.map_err(|refusal| match refusal {
                    Refusal::NotFound => $version::store::SecretsError::NotFound,
                    Refusal::Io(reason) => $version::store::SecretsError::Io(reason),
                }))
            }
        }

        impl $version::store::HostSecret for InstanceState {
            async fn drop(&mut self, handle: Resource<SecretHandle>) -> wasmtime::Result<()> {
                self.table().delete(handle)?;
                Ok(())
            }
        }

        impl $version::reveal::Host for InstanceState {
            async fn reveal(
                &mut self,
                handle: Resource<SecretHandle>,
            ) -> wasmtime::Result<$version::store::SecretValue> {
                Ok(match reveal(self, &handle)? {
                    Ok(text) => $version::store::SecretValue::String(text),
                    Err(bytes) => $version::store::SecretValue::Bytes(bytes),
                })
            }
        }
    };
}

binding!(first);
binding!(draft);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_of_a_key_is_repeated() {
        assert_eq!(shown("a\nb"), "a\\nb");
        assert_eq!(shown(&"k".repeat(ECHO_BYTES_MAX + 1)), format!("{}... (1 bytes more)", "k".repeat(ECHO_BYTES_MAX)));
    }
}
