//! Hosts with secrets: the probe of secrets, and files as Kubernetes mounts them.

use std::{fs, path::Path};

use super::host::Options;

/// The probe of a tenant, under `TENANT-secrets.test`; `secrets` and `config` are what the entries of these interfaces have
/// beyond their names, each with a comma before it.
pub fn probe_secrets(tenant: &str, secrets: &str, config: &str) -> String {
    format!(
        "\
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata: {{name: secrets, namespace: {tenant}}}
spec:
  ingress: {{host: {tenant}-secrets.test}}
  timeout: 60s
  template:
    spec:
      hostInterfaces:
        - {{namespace: wasi, package: config, interfaces: [runtime, store]{config}}}
        - {{namespace: wasmcloud, package: secrets, interfaces: [store, reveal]{secrets}}}
      components:
        - name: probe-secrets
          image: file:probe-secrets.wasm
---
"
    )
}

/// Writes a value of a secret, in one step, below the folder that `secret_dir` names.
pub fn write_secret(folder: &Path, path: &str, value: impl AsRef<[u8]>) {
    let path = folder.join("secrets").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let new = path.with_file_name("..new");
    fs::write(&new, value).unwrap();
    fs::rename(new, path).unwrap();
}

/// A host whose secrets are in `folder`.
pub fn secret_dir(folder: &Path, options: Options) -> Options {
    fs::create_dir_all(folder.join("secrets")).unwrap();
    options.flag("--secret-dir", folder.join("secrets").to_str().unwrap())
}
