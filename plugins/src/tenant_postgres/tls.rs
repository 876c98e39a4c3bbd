//! TLS to a PostgreSQL server: whom a connection trusts, by libpq's modes. What goes over the connection is not known here.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

/// Largest file of authorities, in bytes.
const AUTHORITIES_BYTES_MAX: u64 = 1_048_576;

/// Whom a connection trusts. Without a file the authorities are the system's.
pub(super) enum Trust {
    /// Whoever answers: eavesdroppers are kept out, others in the server's place are not (`require`).
    Anybody,
    /// Who has a certificate of these authorities, for whatever name (`verify-ca`).
    Authorities(Option<PathBuf>),
    /// Who has one for the host's name (`verify-full`).
    AuthoritiesAndName(Option<PathBuf>),
}

/// Why authorities cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// The file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It is too large to be one.
    #[error("{} is larger than {AUTHORITIES_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// Nothing in it is a certificate.
    #[error("{} has no certificate of an authority in it, as PEM", .0.display())]
    NoCertificate(PathBuf),
    /// The system has none.
    #[error("the system has no certificates of authorities; is the package ca-certificates installed?")]
    NoSystemAuthorities,
    /// rustls takes none of it.
    #[error("TLS cannot be set up: {0}")]
    Refused(String),
}

/// What a connection is made with.
pub(super) fn client(trust: &Trust) -> Result<ClientConfig, TlsFileError> {
    let provider = Arc::new(ring::default_provider());
    let refused = |error: &dyn std::fmt::Display| TlsFileError::Refused(error.to_string());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Anybody => Arc::new(AnyName { provider: provider.clone(), chain: None }),
        Trust::Authorities(file) | Trust::AuthoritiesAndName(file) => {
            let roots = Arc::new(roots(file.as_ref())?);
            let chain = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
            let chain = chain.map_err(|error| refused(&error))?;
            match trust {
                Trust::Authorities(_) => Arc::new(AnyName { provider: provider.clone(), chain: Some(chain) }),
                _ => chain,
            }
        }
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| refused(&error))?.dangerous().with_custom_certificate_verifier(verifier);
    Ok(builder.with_no_client_auth())
}

fn roots(file: Option<&PathBuf>) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err(TlsFileError::NoSystemAuthorities) } else { Ok(roots) };
    };
    let unreadable = |source| TlsFileError::Unreadable { path: path.clone(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > AUTHORITIES_BYTES_MAX {
        return Err(TlsFileError::TooLarge(path.clone()));
    }
    let pem = std::fs::read(path).map_err(unreadable)?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| TlsFileError::NoCertificate(path.clone()))?;
        roots.add(certificate).map_err(|_| TlsFileError::NoCertificate(path.clone()))?;
    }
    if roots.is_empty() { Err(TlsFileError::NoCertificate(path.clone())) } else { Ok(roots) }
}

/// Looks at who issued a certificate, or not even at that, and never at its name. That the server has the certificate's
/// key is always found out.
#[derive(Debug)]
struct AnyName {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The chain is looked at before the name.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_authorities_is_of_no_use() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let refused = |text: &[u8]| {
            std::fs::write(&file, text).unwrap();
            client(&Trust::AuthoritiesAndName(Some(file.clone()))).unwrap_err()
        };
        assert!(matches!(refused(b""), TlsFileError::NoCertificate(_)));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(refused(broken), TlsFileError::NoCertificate(_)));
        let large = vec![b'\n'; usize::try_from(AUTHORITIES_BYTES_MAX).unwrap() + 1];
        assert!(matches!(refused(&large), TlsFileError::TooLarge(_)));
        assert!(client(&Trust::Authorities(None)).is_ok());
    }
}
