//! The flags that name certificates and keys. What is in the files is not known here.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgGroup, Args};
use roadstead_proxy::{CertificateFiles, TlsFiles};

/// Flags of the address that speaks TLS.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("certificates").args(["tls_dir", "tls_cert_path"]).multiple(true)))]
pub(super) struct TlsArguments {
    /// Address that answers the workloads' requests over TLS. Its certificates are --tls-dir, --tls-cert-path or both.
    #[arg(long, env = "ROADSTEAD_HTTPS_ADDR", value_name = "ADDR", requires = "certificates")]
    https_addr: Option<SocketAddr>,
    /// Folder with HOST.crt and HOST.key for each host, _.SUFFIX.crt and _.SUFFIX.key for *.SUFFIX (PEM).
    #[arg(long, env = "ROADSTEAD_TLS_DIR", value_name = "FOLDER", requires = "https_addr")]
    tls_dir: Option<PathBuf>,
    /// Certificate, with its chain, for clients that name no host or an unknown one (PEM).
    #[arg(long, env = "ROADSTEAD_TLS_CERT_PATH", value_name = "FILE", requires_all = ["https_addr", "tls_key_path"])]
    tls_cert_path: Option<PathBuf>,
    /// Private key of --tls-cert-path (PEM).
    #[arg(long, env = "ROADSTEAD_TLS_KEY_PATH", value_name = "FILE", requires = "tls_cert_path")]
    tls_key_path: Option<PathBuf>,
    /// Authorities of client certificates (PEM): with it every client must show a certificate of theirs.
    #[arg(long, visible_alias = "tls-ca-path", env = "ROADSTEAD_CLIENT_CA", value_name = "FILE")]
    #[arg(requires = "https_addr")]
    client_ca: Option<PathBuf>,
}

impl TlsArguments {
    /// The address and what is served there, where there is one.
    pub(super) fn listener(&self) -> Option<(SocketAddr, TlsFiles)> {
        let pair = self.tls_cert_path.clone().zip(self.tls_key_path.clone());
        let files = TlsFiles {
            directory: self.tls_dir.clone(),
            default: pair.map(|(chain, key)| CertificateFiles { chain, key }),
            client_authorities: self.client_ca.clone(),
        };
        self.https_addr.map(|address| (address, files))
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

    fn is_taken(line: &str) -> bool {
        Line::try_parse_from(std::iter::once("roadstead").chain(line.split_whitespace())).is_ok()
    }

    #[test]
    fn flags_that_need_each_other_come_together() {
        assert!(is_taken(""));
        assert!(is_taken("--https-addr 127.0.0.1:443 --tls-dir certs"));
        assert!(is_taken("--https-addr 127.0.0.1:443 --tls-cert-path a.crt --tls-key-path a.key --client-ca ca.crt"));
        for line in [
            "--https-addr 127.0.0.1:443",
            "--https-addr 127.0.0.1:443 --client-ca ca.crt",
            "--https-addr 127.0.0.1:443 --tls-cert-path a.crt",
            "--https-addr 127.0.0.1:443 --tls-dir certs --tls-key-path a.key",
            "--tls-dir certs",
            "--tls-cert-path a.crt --tls-key-path a.key",
            "--client-ca ca.crt",
        ] {
            assert!(!is_taken(line), "{line}");
        }
        let both = "roadstead --https-addr 127.0.0.1:443 --tls-dir certs --tls-ca-path ca.crt";
        let (_, files) = Line::parse_from(both.split(' ')).tls.listener().unwrap();
        assert_eq!(files.client_authorities, Some("ca.crt".into()));
        assert_eq!(files.default, None);
    }
}
