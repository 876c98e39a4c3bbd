//! `imagePullSecret` without a cluster: secrets as Kubernetes mounts them, one folder each, looked up when a workload is
//! deployed. A namespace's own folder comes first. Contents are read and handed on, never shown.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use roadstead_config::{
    ImageReference, Namespace, OciReference, RegistryCredentials, ResourceName,
    manifest::{SourcePlace, WorkloadSpec},
};
use roadstead_runtime::artifact::{PullSecretError, pull_secret};

/// The file of a secret of the type kubernetes.io/dockerconfigjson.
const SECRET_FILE: &str = ".dockerconfigjson";
/// Size of a secret, as Kubernetes bounds it.
const SECRET_BYTES_MAX: u64 = 1_048_576;

/// Where secrets for registries lie.
#[derive(Debug, Clone, Args)]
pub(crate) struct PullSecrets {
    /// Folder with the secrets that manifests name as imagePullSecret, as Kubernetes mounts them:
    /// NAMESPACE/NAME/.dockerconfigjson, or NAME/.dockerconfigjson for all namespaces.
    #[arg(long, value_name = "DIR", env = "ROADSTEAD_PULL_SECRET_DIR")]
    pull_secret_dir: Option<PathBuf>,
}

/// Why a component's secret gives no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("{place}: imagePullSecret {name}: no folder with secrets was named; start with --pull-secret-dir")]
    NoFolder { place: SourcePlace, name: ResourceName },
    #[error("{place}: imagePullSecret {name} is not there; it would be {} or {}", .own.display(), .shared.display())]
    Missing { place: SourcePlace, name: ResourceName, own: PathBuf, shared: PathBuf },
    #[error("{place}: imagePullSecret {name} cannot be read: {}", .path.display())]
    Read {
        place: SourcePlace,
        name: ResourceName,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{place}: imagePullSecret {name} {source}")]
    Secret {
        place: SourcePlace,
        name: ResourceName,
        #[source]
        source: PullSecretError,
    },
}

impl PullSecrets {
    /// The credentials of all components of a workload that name a secret.
    pub(crate) fn of_workload(
        &self,
        namespace: &Namespace,
        spec: &WorkloadSpec,
    ) -> Result<BTreeMap<ResourceName, RegistryCredentials>, SecretError> {
        let mut credentials = BTreeMap::new();
        for component in &spec.components {
            if let (Some(name), ImageReference::Oci(image)) = (&component.image_pull_secret, &component.image) {
                let found = self.find(namespace, name, image, &component.image_place)?;
                credentials.insert(component.name.clone(), found);
            }
        }
        Ok(credentials)
    }

    fn find(
        &self,
        namespace: &Namespace,
        name: &ResourceName,
        image: &OciReference,
        place: &SourcePlace,
    ) -> Result<RegistryCredentials, SecretError> {
        let (place, name) = (place.clone(), name.clone());
        let Some(folder) = &self.pull_secret_dir else { return Err(SecretError::NoFolder { place, name }) };
        let own = folder.join(namespace.as_str()).join(name.as_str()).join(SECRET_FILE);
        let shared = folder.join(name.as_str()).join(SECRET_FILE);
        for path in [&own, &shared] {
            match read(path) {
                Ok(secret) => {
                    return pull_secret(&secret, image).map_err(|source| SecretError::Secret { place, name, source });
                }
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(SecretError::Read { place, name, path: path.clone(), source }),
            }
        }
        Err(SecretError::Missing { place, name, own, shared })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut secret = Vec::new();
    // One byte more than it may have shows that it is too large.
    File::open(path)?.take(SECRET_BYTES_MAX + 1).read_to_end(&mut secret)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn secret(folder: &Path, user: &str) {
        fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{error}"));
        let text = format!(r#"{{"auths": {{"ghcr.io": {{"username": "{user}", "password": "p"}}}}}}"#);
        fs::write(folder.join(SECRET_FILE), text).unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn a_namespaces_own_secret_comes_first() {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        secret(&folder.path().join("pull"), "shared");
        secret(&folder.path().join("team-a/pull"), "own");
        let secrets = PullSecrets { pull_secret_dir: Some(folder.path().to_owned()) };
        let place = SourcePlace::outside_files("here");
        let find = |secrets: &PullSecrets, namespace: &str, name: &str, image: &str| {
            let parsed = (namespace.parse(), name.parse(), image.parse());
            let (Ok(namespace), Ok(name), Ok(image)) = parsed else { panic!("names") };
            let found = secrets.find(&namespace, &name, &image, &place);
            found.map(|found| found.username().to_owned()).map_err(|error| error.to_string())
        };
        assert_eq!(find(&secrets, "team-a", "pull", "ghcr.io/a"), Ok("own".into()));
        assert_eq!(find(&secrets, "team-b", "pull", "ghcr.io/a"), Ok("shared".into()));
        let error = |secrets, name, image| find(secrets, "team-b", name, image).err().unwrap_or_default();
        assert!(error(&secrets, "none", "ghcr.io/a").contains("is not there; it would be"));
        assert!(error(&secrets, "pull", "quay.io/a").contains("has nothing for quay.io"));
        let none = PullSecrets { pull_secret_dir: None };
        assert!(error(&none, "pull", "ghcr.io/a").contains("--pull-secret-dir"));
        let large = vec![b' '; usize::try_from(SECRET_BYTES_MAX).unwrap_or_default() + 1];
        fs::write(folder.path().join("pull").join(SECRET_FILE), large).unwrap_or_else(|error| panic!("{error}"));
        assert!(error(&secrets, "pull", "ghcr.io/a").contains("is larger than"));
    }
}
