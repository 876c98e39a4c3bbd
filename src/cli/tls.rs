//! The flags that name certificates and keys. What is in the files is not known here.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use roadstead_proxy::{CertificateFiles, TlsFiles};

/// Flags of the address that speaks TLS.
#[derive(Debug, Args)]
pub(super) struct TlsArguments {
    /// Address that answers the workloads' requests over TLS; or the passed socket `https`. Its certificates are those of
    /// --tls-dir and --tls-cert-path, and those that triggers bring (spec.ingress.tls).
    #[arg(long, env = "ROADSTEAD_HTTPS_ADDR", value_name = "ADDR")]
    https_addr: Option<SocketAddr>,
    /// Folder with HOST.crt and HOST.key for each host, _.SUFFIX.crt and _.SUFFIX.key for *.SUFFIX (PEM).
    #[arg(long, env = "ROADSTEAD_TLS_DIR", value_name = "FOLDER")]
    tls_dir: Option<PathBuf>,
    /// Certificate, with its chain, for clients that name no host or an unknown one (PEM).
    #[arg(long, env = "ROADSTEAD_TLS_CERT_PATH", value_name = "FILE", requires = "tls_key_path")]
    tls_cert_path: Option<PathBuf>,
    /// Private key of --tls-cert-path (PEM).
    #[arg(long, env = "ROADSTEAD_TLS_KEY_PATH", value_name = "FILE", requires = "tls_cert_path")]
    tls_key_path: Option<PathBuf>,
    /// Authorities of client certificates (PEM): with it every client must show a certificate of theirs.
    #[arg(long, visible_alias = "tls-ca-path", env = "ROADSTEAD_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,
}

/// Certificates without an address.
#[derive(Debug, thiserror::Error)]
#[error("certificates are for --https-addr, or for a passed socket with the name https; there is neither")]
pub(super) struct NoTlsAddress;

impl TlsArguments {
    /// The address that a flag names.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.https_addr
    }

    /// Whether a flag names certificates.
    pub(super) fn names_files(&self) -> bool {
        self.tls_dir.is_some() || self.tls_cert_path.is_some() || self.client_ca.is_some()
    }

    /// What is served over TLS, if anything is; `socket` says that a socket for it has been passed.
    pub(super) fn files(&self, socket: bool) -> Result<Option<TlsFiles>, NoTlsAddress> {
        let pair = self.tls_cert_path.clone().zip(self.tls_key_path.clone());
        let files = TlsFiles {
            directory: self.tls_dir.clone(),
            default: pair.map(|(chain, key)| CertificateFiles { chain, key }),
            client_authorities: self.client_ca.clone(),
        };
        match (socket || self.https_addr.is_some(), self.names_files()) {
            (true, _) => Ok(Some(files)),
            (false, true) => Err(NoTlsAddress),
            (false, false) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        tls: TlsArguments,
    }

    fn files(line: &str, socket: bool) -> Option<Option<TlsFiles>> {
        let line = Line::try_parse_from(std::iter::once("roadstead").chain(line.split_whitespace())).ok()?;
        line.tls.files(socket).ok()
    }

    #[test]
    fn flags_that_need_each_other_come_together() {
        assert!(files("", false).is_some());
        for line in [
            "--tls-dir certs",
            "--tls-cert-path a.crt --tls-key-path a.key --client-ca ca.crt",
            "--tls-dir certs --tls-cert-path a.crt --tls-key-path a.key",
            "--client-ca ca.crt",
        ] {
            assert!(files(&format!("{line} --https-addr 127.0.0.1:443"), false).is_some(), "{line}");
            assert!(files(line, true).is_some(), "{line}");
            assert!(files(line, false).is_none(), "{line}");
        }
        for line in [
            "--https-addr 127.0.0.1:443 --tls-cert-path a.crt",
            "--https-addr 127.0.0.1:443 --tls-dir certs --tls-key-path a.key",
        ] {
            assert!(files(line, false).is_none(), "{line}");
        }
        // Triggers may bring certificates.
        assert!(files("", true).unwrap().is_some() && files("--https-addr 127.0.0.1:443", false).unwrap().is_some());
        let both = files("--https-addr 127.0.0.1:443 --tls-dir certs --tls-ca-path ca.crt", false).unwrap().unwrap();
        assert_eq!(both.client_authorities, Some("ca.crt".into()));
        assert_eq!(both.default, None);
    }
}
