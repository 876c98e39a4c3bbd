//! Flags of outgoing HTTP: what of the host's surroundings components may reach, beside the public internet that their
//! manifests open to them.

use std::path::PathBuf;

use clap::{Args, builder::FalseyValueParser};
use roadstead_config::Network;
use roadstead_runtime::egress::EgressOptions;

/// Flags of outgoing HTTP.
#[derive(Debug, Args)]
pub(super) struct EgressArguments {
    /// Let components reach a network that is not public, such as 10.0.0.0/8, where their manifests allow the host
    /// (allowedHosts); may be given several times. Loopback addresses are opened by networks of loopback addresses alone,
    /// metadata by its own address alone.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', env = "ROADSTEAD_ALLOW_EGRESS_CIDR")]
    allow_egress_cidr: Vec<Network>,
    /// Certificates (PEM) of authorities that are believed beside those of the system when components send requests.
    #[arg(long, value_name = "FILE", env = "ROADSTEAD_EGRESS_CA_PATH")]
    egress_ca_path: Option<PathBuf>,
    /// Let components reach those ports of the host's own loopback addresses that their manifests list
    /// (allowedHostLoopbackPorts).
    #[arg(long, env = "ROADSTEAD_ALLOW_HOST_LOOPBACK", value_parser = FalseyValueParser::new())]
    allow_host_loopback: bool,
}

impl EgressArguments {
    /// What the flags ask for.
    pub(super) fn options(&self) -> EgressOptions {
        EgressOptions {
            networks: self.allow_egress_cidr.iter().copied().collect(),
            host_loopback: self.allow_host_loopback,
            ca_file: self.egress_ca_path.clone(),
            ..EgressOptions::default()
        }
    }
}
