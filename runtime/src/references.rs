//! `configFrom` and `secretFrom`: names that stand for files of two folders, laid out as Kubernetes mounts its objects.
//! A workload's specification is given the values before anything else looks at it; what they are for is not known here.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
};

use roadstead_config::{
    Limits, Namespace, PackageName, ResourceName,
    manifest::{HostInterface, SourcePlace, Variables, WorkloadSpec},
};

use crate::{
    DeployError,
    object_files::{ObjectError, object_folder, object_values, open_value},
};

/// Where the objects are.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReferenceFolders {
    pub(crate) config: Option<PathBuf>,
    pub(crate) secret: Option<PathBuf>,
}

/// Names of values that came from `secretFrom` of `hostInterfaces`, by package.
pub(crate) type SecretNames = BTreeMap<PackageName, BTreeSet<String>>;

/// Why an object cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The host was given no folder of such objects.
    #[error("the host has no folder for it; start it with {flag} DIR")]
    NoFolder { flag: &'static str },
    /// It is not there, or cannot be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A value is no text.
    #[error("{} is not UTF-8 text", path.display())]
    NotText { path: PathBuf },
}

/// Which list of a manifest a name is in.
#[derive(Clone, Copy)]
enum Kind {
    Config,
    Secret,
}

impl Kind {
    fn field(self) -> &'static str {
        match self {
            Self::Config => "configFrom",
            Self::Secret => "secretFrom",
        }
    }
}

/// The specification with all values in place: `config`, under `configFrom`, under `secretFrom`. Reads files. The names in
/// `secretFrom` of the packages `left` stay what they are.
///
/// # Errors
/// When an object is not there or cannot be used; the error names the place in the manifest and the object.
pub(crate) fn resolve(
    spec: &WorkloadSpec,
    namespace: &Namespace,
    folders: &ReferenceFolders,
    limits: &Limits,
    left: &BTreeSet<PackageName>,
) -> Result<(WorkloadSpec, SecretNames), DeployError> {
    let mut spec = spec.clone();
    let mut secrets = SecretNames::new();
    let reader = Reader { namespace, folders, file_bytes_max: limits.config_file_bytes_max };
    for entry in &mut spec.host_interfaces {
        let kept = left.contains(&entry.package).then(|| std::mem::take(&mut entry.config.secret_from));
        let names = reader.fill(&mut entry.config, &entry.place)?;
        entry.config.secret_from.extend(kept.into_iter().flatten());
        if !names.is_empty() {
            secrets.entry(entry.package.clone()).or_default().extend(names);
        }
    }
    for component in &mut spec.components {
        reader.fill(&mut component.local_resources.environment, &component.place)?;
    }
    Ok((spec, secrets))
}

/// Those of `secrets` that belong to one of `interfaces`.
pub(crate) fn secret_names(interfaces: &[HostInterface], secrets: &SecretNames) -> BTreeSet<String> {
    interfaces.iter().filter_map(|entry| secrets.get(&entry.package)).flatten().cloned().collect()
}

struct Reader<'a> {
    namespace: &'a Namespace,
    folders: &'a ReferenceFolders,
    file_bytes_max: u64,
}

impl Reader<'_> {
    /// Puts the values into `variables`, and tells which of them are secrets.
    fn fill(&self, variables: &mut Variables, place: &SourcePlace) -> Result<BTreeSet<String>, DeployError> {
        let mut secrets = BTreeSet::new();
        for name in std::mem::take(&mut variables.config_from) {
            variables.config.extend(self.object(Kind::Config, &name, place)?);
        }
        for name in std::mem::take(&mut variables.secret_from) {
            let values = self.object(Kind::Secret, &name, place)?;
            secrets.extend(values.keys().cloned());
            variables.config.extend(values);
        }
        Ok(secrets)
    }

    fn object(
        &self,
        kind: Kind,
        name: &ResourceName,
        place: &SourcePlace,
    ) -> Result<BTreeMap<String, String>, DeployError> {
        self.read(kind, name).map_err(|source| DeployError::Reference {
            place: place.clone(),
            field: kind.field(),
            name: name.to_string(),
            source,
        })
    }

    fn read(&self, kind: Kind, name: &ResourceName) -> Result<BTreeMap<String, String>, ReferenceError> {
        let (folder, flag) = match kind {
            Kind::Config => (&self.folders.config, "--config-dir"),
            Kind::Secret => (&self.folders.secret, "--secret-dir"),
        };
        let folder = folder.as_deref().ok_or(ReferenceError::NoFolder { flag })?;
        let folder = object_folder(folder, self.namespace, name);
        object_values(&folder)?.into_iter().map(|(key, path)| Ok((key, self.value(&path)?))).collect()
    }

    fn value(&self, path: &Path) -> Result<String, ReferenceError> {
        let missing = || ObjectError::Missing { path: path.to_owned() };
        let (file, bytes) = open_value(path, self.file_bytes_max)?.ok_or_else(missing)?;
        let mut value = Vec::new();
        let read = file.take(bytes).read_to_end(&mut value);
        read.map_err(|source| ObjectError::Read { path: path.to_owned(), source })?;
        String::from_utf8(value).map_err(|_| ReferenceError::NotText { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use roadstead_config::{SourceFile, load, manifest::Document};

    use super::*;
    use crate::object_files::VALUES_MAX;

    fn spec(references: &str) -> WorkloadSpec {
        let manifest = format!(
            "
apiVersion: runtime.wasmcloud.dev/v1alpha1
kind: Workload
metadata: {{name: one}}
spec:
  hostInterfaces:
    - {{namespace: wasi, package: config, interfaces: [store], config: {{a: own, b: own, c: own}}, {references}}}
  components:
    - {{name: one, image: 'file:one.wasm'}}
"
        );
        let file = SourceFile { name: "app.yaml".into(), bytes: manifest.into() };
        match load(&[file], &Limits::default()).unwrap().documents.remove(0) {
            Document::Workload(workload) => workload.spec,
            other => panic!("{other:?}"),
        }
    }

    fn folders() -> (tempfile::TempDir, ReferenceFolders) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("config/settings/b", "from config"),
            ("config/settings/c", "from config"),
            ("secret/key/c", "from secret\n"),
            ("config/team-a/settings/b", "team a's"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let (config, secret) = (folder.path().join("config"), folder.path().join("secret"));
        (folder, ReferenceFolders { config: Some(config), secret: Some(secret) })
    }

    fn resolved(
        references: &str,
        namespace: &str,
        folders: &ReferenceFolders,
        limits: &Limits,
    ) -> Result<String, String> {
        let (spec, secrets) =
            resolve(&spec(references), &namespace.parse().unwrap(), folders, limits, &BTreeSet::new())
                .map_err(|error| crate::error_text(&error))?;
        let names = secret_names(&spec.host_interfaces, &secrets);
        let values: Vec<String> = spec.host_interfaces[0].config.config.values().cloned().collect();
        Ok(format!("{values:?} {names:?}"))
    }

    #[test]
    fn later_sources_win_and_secrets_are_known() {
        let (_folder, folders) = folders();
        let found = resolved(
            "configFrom: [{name: settings}], secretFrom: [{name: key}]",
            "default",
            &folders,
            &Limits::default(),
        );
        assert_eq!(found.unwrap(), r#"["own", "from config", "from secret\n"] {"c"}"#);
    }

    #[test]
    fn secrets_that_a_plugin_reads_are_left_to_it() {
        let (_folder, folders) = folders();
        let left = BTreeSet::from([PackageName::new("wasi", "config").unwrap()]);
        let spec = spec("configFrom: [{name: settings}], secretFrom: [{name: key}]");
        let (spec, secrets) =
            resolve(&spec, &Namespace::default(), &folders, &Limits::default(), &left).map_err(|_| ()).unwrap();
        let config = &spec.host_interfaces[0].config;
        assert_eq!(config.config.values().collect::<Vec<_>>(), ["own", "from config", "from config"]);
        assert_eq!(config.secret_from.iter().map(ResourceName::as_str).collect::<Vec<_>>(), ["key"]);
        assert!(secrets.is_empty());
    }

    #[test]
    fn a_namespace_has_its_own() {
        let (_folder, folders) = folders();
        let found =
            |namespace: &str| resolved("configFrom: [{name: settings}]", namespace, &folders, &Limits::default());
        assert_eq!(found("team-a").unwrap(), r#"["own", "team a's", "own"] {}"#);
        let error = found("team-b").unwrap_err();
        assert!(error.contains("configFrom") && error.contains("settings") && error.contains("team-b"), "{error}");
        // The folder of a namespace is no object of the default one.
        assert_eq!(
            resolved("configFrom: [{name: team-a}]", "default", &folders, &Limits::default()).unwrap(),
            r#"["own", "own", "own"] {}"#
        );
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (folder, mut folders) = folders();
        let limits = Limits { config_file_bytes_max: 11, ..Limits::default() };
        let error = |references: &str, folders: &ReferenceFolders| {
            resolved(references, "default", folders, &limits).unwrap_err()
        };
        let missing = error("secretFrom: [{name: none}]", &folders);
        assert!(missing.starts_with("app.yaml:7:7: secretFrom none cannot be used: there is no folder "), "{missing}");
        assert!(error("secretFrom: [{name: key}]", &folders).contains("more than 11 bytes"));
        fs::write(folder.path().join("config/settings/b"), [0xff]).unwrap();
        assert!(error("configFrom: [{name: settings}]", &folders).contains("not UTF-8"));
        folders.secret = None;
        assert!(error("secretFrom: [{name: key}]", &folders).contains("--secret-dir DIR"));
    }

    #[test]
    fn mounts_of_kubernetes_are_read() {
        let (folder, folders) = folders();
        let object = folder.path().join("config/mounted");
        fs::create_dir_all(object.join("..2026_01_01")).unwrap();
        fs::write(object.join("..2026_01_01/b"), "mounted").unwrap();
        symlink("..2026_01_01", object.join("..data")).unwrap();
        symlink("..data/b", object.join("b")).unwrap();
        let found = resolved("configFrom: [{name: mounted}]", "default", &folders, &Limits::default());
        assert_eq!(found.unwrap(), r#"["own", "mounted", "own"] {}"#);
    }

    #[test]
    fn an_object_has_so_many_values() {
        let (folder, folders) = folders();
        for number in 0..=VALUES_MAX {
            fs::write(folder.path().join(format!("config/settings/{number}")), "").unwrap();
        }
        let error = resolved("configFrom: [{name: settings}]", "default", &folders, &Limits::default()).unwrap_err();
        assert!(error.contains("more than 1000 files"), "{error}");
    }
}
