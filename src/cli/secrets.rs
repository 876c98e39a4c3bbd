//! Secrets for components (`wasmcloud:secrets`): which variables of the environment are some, and that the memory in which
//! they are is written to no file when the process crashes. What components are granted is not known here.

use std::os::unix::ffi::OsStrExt;

use clap::Args;
use roadstead_config::{PackageName, SecretVariable};
use roadstead_plugins::wasmcloud_secrets::{SecretBytes, Secrets};
use roadstead_runtime::host::HostBuilder;
use rustix::process::{Resource, Rlimit, setrlimit};

/// Flags of secrets in the environment.
#[derive(Debug, Args)]
pub(super) struct SecretArguments {
    /// Variables of the host's environment that stand for values of secrets, separated by commas: components read KEY by
    /// wasmcloud:secrets where their manifest names NAME in `secretFrom`. A file of --secret-dir comes first
    /// [default: none].
    #[arg(long, value_name = "[NAMESPACE/]NAME/KEY=VARIABLE", value_delimiter = ',', env = "ROADSTEAD_SECRET_ENV")]
    secret_env: Vec<SecretVariable>,
}

/// A variable that is not there.
#[derive(Debug, thiserror::Error)]
#[error("--secret-env {name}/{key}={variable}: the environment has no variable {variable}")]
pub(super) struct NoVariableError {
    name: String,
    key: String,
    variable: String,
}

impl SecretArguments {
    /// Gives the plugin what is in the environment.
    ///
    /// # Errors
    /// When a variable is not there.
    pub(super) fn tell(&self, mut secrets: Secrets) -> Result<Secrets, NoVariableError> {
        for SecretVariable { namespace, name, key, variable } in &self.secret_env {
            let value = std::env::var_os(variable).ok_or_else(|| NoVariableError {
                name: name.to_string(),
                key: key.to_string(),
                variable: variable.clone(),
            })?;
            let value = SecretBytes::of(value.as_bytes());
            secrets = secrets.with_value(namespace.clone(), name.clone(), key.clone(), value);
        }
        Ok(secrets)
    }

    /// Whether any variable is named.
    pub(super) fn are_some(&self) -> bool {
        !self.secret_env.is_empty()
    }
}

/// Says why the newer versions of the interface are not offered.
pub(super) fn explain(host: HostBuilder) -> HostBuilder {
    const REMEDY: &str = "from 2.0.0 on its functions are asynchronous, which this version of the host does not call: \
                          build the component with 1.0.0";
    match PackageName::new("wasmcloud", "secrets") {
        Ok(package) => host.with_remedy(package, REMEDY),
        Err(_) => host,
    }
}

/// Has the system write no image of this process's memory when it crashes, nor let another process of the same user read it.
pub(super) fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let bounded = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let bounded = bounded.and(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable));
    if let Err(error) = bounded {
        tracing::warn!(%error, "a crash may write secrets to a core file: core dumps cannot be turned off");
    }
}
