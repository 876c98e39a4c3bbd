//! Flags of registries: where images come from, as whom they are asked for, and where they are kept. What every command
//! that fetches images has in common.

mod progress;
mod secrets;

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use roadstead_config::{RegistryMirror, parse_duration};
use roadstead_runtime::artifact::{ArtifactCleaner, ArtifactOptions, PullProgress};

use progress::Bars;
pub(super) use secrets::PullSecrets;

/// Flags of registries.
#[derive(Debug, Args)]
pub(super) struct RegistryArguments {
    /// Directory that keeps images for the next start; hosts may share it. Made where it is not there; must belong to the
    /// user who runs this, and be closed to others (mode 0700). Without it they are kept for as long as this runs.
    #[arg(long, value_name = "DIR", env = "ROADSTEAD_OCI_CACHE_DIR")]
    oci_cache_dir: Option<PathBuf>,
    /// Certificates (PEM) of authorities that are believed beside those of the system.
    #[arg(long, value_name = "FILE", env = "ROADSTEAD_OCI_CA_PATH")]
    oci_ca_path: Option<PathBuf>,
    /// Speak to registries without TLS where the reference begins with http://, or where the registry has none.
    /// Images and credentials then go in the clear.
    #[arg(long, env = "ROADSTEAD_ALLOW_INSECURE_REGISTRIES", value_parser = clap::builder::FalseyValueParser::new())]
    allow_insecure_registries: bool,
    /// Longest time that the fetch of one image may take.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration,
        env = "ROADSTEAD_REGISTRY_PULL_TIMEOUT")]
    registry_pull_timeout: Duration,
    /// Ask another registry in place of one, such as ghcr.io=127.0.0.1:5000 or ghcr.io=mirror.example/ghcr; may be given
    /// several times.
    #[arg(long, value_name = "REGISTRY=MIRROR", value_delimiter = ',', env = "ROADSTEAD_REGISTRY_MIRROR")]
    registry_mirror: Vec<RegistryMirror>,
    /// Docker's configuration with credentials for registries (auths, credHelpers, credsStore).
    /// [default: $DOCKER_CONFIG/config.json or ~/.docker/config.json, where there is one]
    #[arg(long, value_name = "FILE", env = "ROADSTEAD_DOCKER_CONFIG", verbatim_doc_comment)]
    docker_config: Option<PathBuf>,
}

impl RegistryArguments {
    /// What the flags ask for.
    pub(super) fn options(&self) -> ArtifactOptions {
        ArtifactOptions {
            cache_directory: self.oci_cache_dir.clone(),
            temporary_directory: env::temp_dir(),
            allow_insecure: self.allow_insecure_registries,
            pull_timeout: self.registry_pull_timeout,
            ca_file: self.oci_ca_path.clone(),
            mirrors: self.registry_mirror.clone(),
            docker_config: self.docker_config.clone().or_else(users_docker_config),
            cleaner: Some(ArtifactCleaner::default()),
            progress: Bars::on_terminal().map(|bars| Arc::new(bars) as Arc<dyn PullProgress>),
        }
    }

    /// Whether images are kept beyond the end of this process.
    pub(super) fn keeps(&self) -> bool {
        self.oci_cache_dir.is_some()
    }
}

/// The configuration of the user who runs this, where there is one.
fn users_docker_config() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("DOCKER_CONFIG").or_else(|| Some(absolute("HOME")?.join(".docker")))?;
    Some(folder.join("config.json")).filter(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        registry: RegistryArguments,
    }

    #[test]
    fn the_flags_become_options() {
        let line = Line::try_parse_from([
            "roadstead",
            "--oci-cache-dir=/var/cache/images",
            "--allow-insecure-registries",
            "--registry-pull-timeout=5s",
            "--registry-mirror=ghcr.io=127.0.0.1:5000,docker.io=mirror.test/hub",
            "--docker-config=/etc/docker.json",
        ]);
        let options = line.unwrap_or_else(|error| panic!("{error}")).registry.options();
        assert_eq!(options.cache_directory, Some("/var/cache/images".into()));
        assert!(options.allow_insecure);
        assert_eq!(options.pull_timeout, Duration::from_secs(5));
        assert_eq!(options.mirrors.len(), 2);
        assert_eq!(options.docker_config, Some("/etc/docker.json".into()));
        let error = Line::try_parse_from(["roadstead", "--registry-mirror=ghcr.io"]).err().map(|e| e.to_string());
        assert!(error.is_some_and(|error| error.contains("ghcr.io=127.0.0.1:5000")));
    }
}
