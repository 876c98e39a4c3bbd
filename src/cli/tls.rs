//! The flags that name certificates and keys. What is in the files is not known here.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgGroup, Args};
use roadstead_proxy::{CertificateFiles, TlsFiles};

/// Flags of the address that speaks TLS.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("certificates").args(["tls_dir", "tls_cert_path"]).multiple(true)))]
pub(super) struct TlsArguments {
    /// Address that answers the workloads' requests over TLS; or the passed socket `https`. Its certificates are --tls-dir,
    /// --tls-cert-path or both.
    #[arg(long, env = "ROADSTEAD_HTTPS_ADDR", value_name = "ADDR", requires = "certificates")]
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
    #[arg(requires = "certificates")]
    client_ca: Option<PathBuf>,
}

/// Flags that are of use together alone, of which one is missing.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsUsageError {
    #[error("certificates are for --https-addr, or for a passed socket with the name https; there is neither")]
    NoAddress,
    #[error("the passed socket https is of use only with certificates: --tls-dir, --tls-cert-path or both")]
    NoCertificates,
}

impl TlsArguments {
    /// The address that a flag names.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.https_addr
    }

    /// What is served over TLS, if anything is; `socket` says that a socket for it has been passed.
    pub(super) fn files(&self, socket: bool) -> Result<Option<TlsFiles>, TlsUsageError> {
        let pair = self.tls_cert_path.clone().zip(self.tls_key_path.clone());
        let files = TlsFiles {
            directory: self.tls_dir.clone(),
            default: pair.map(|(chain, key)| CertificateFiles { chain, key }),
            client_authorities: self.client_ca.clone(),
        };
        match (files.directory.is_some() || files.default.is_some(), socket || self.https_addr.is_some()) {
            (true, true) => Ok(Some(files)),
            (true, false) => Err(TlsUsageError::NoAddress),
            (false, true) => Err(TlsUsageError::NoCertificates),
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
        ] {
            assert!(files(&format!("{line} --https-addr 127.0.0.1:443"), false).is_some(), "{line}");
            assert!(files(line, true).is_some(), "{line}");
            assert!(files(line, false).is_none(), "{line}");
        }
        for line in [
            "--https-addr 127.0.0.1:443",
            "--https-addr 127.0.0.1:443 --client-ca ca.crt",
            "--https-addr 127.0.0.1:443 --tls-cert-path a.crt",
            "--https-addr 127.0.0.1:443 --tls-dir certs --tls-key-path a.key",
            "--client-ca ca.crt",
        ] {
            assert!(files(line, false).is_none(), "{line}");
        }
        assert!(files("", true).is_none());
        let both = files("--https-addr 127.0.0.1:443 --tls-dir certs --tls-ca-path ca.crt", false).unwrap().unwrap();
        assert_eq!(both.client_authorities, Some("ca.crt".into()));
        assert_eq!(both.default, None);
    }
}
