//! Certificates for tests: an authority that issues what a test asks for.

#![allow(unreachable_pub, dead_code, reason = "two test binaries have it, and each uses a part")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// Who issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub struct Issued {
    pub chain: String,
    pub key: String,
    pub der: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A certificate for these hosts and addresses; a client's names none.
    pub fn issue(&self, names: &[&str], subject: &str) -> Issued {
        self.issue_until(names, subject, 2090)
    }

    /// The same, valid to the beginning of a year.
    pub fn issue_until(&self, names: &[&str], subject: &str, year: i32) -> Issued {
        let mut params = params(names, subject);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        self.sign(params)
    }

    /// The same, valid from now on for so long.
    pub fn issue_for(&self, names: &[&str], subject: &str, time: Duration) -> Issued {
        let mut params = params(names, subject);
        params.not_before = SystemTime::now().into();
        params.not_after = (SystemTime::now() + time).into();
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Issued {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { chain: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
    }
}

fn params(names: &[&str], subject: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.use_authority_key_identifier_extension = true;
    params
}

impl Issued {
    /// Writes `STEM.crt` and `STEM.key`, each at once as a whole, and returns their paths.
    pub fn write(&self, folder: &Path, stem: &str) -> (PathBuf, PathBuf) {
        let (chain, key) = (folder.join(format!("{stem}.crt")), folder.join(format!("{stem}.key")));
        replace(&key, &self.key);
        replace(&chain, &self.chain);
        (chain, key)
    }
}

/// Puts a file that nobody else can read in the place of another.
pub fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::set_permissions(&beside, Permissions::from_mode(0o600)).unwrap();
    fs::rename(beside, path).unwrap();
}
